//! Finds and loads ONNX Runtime and makes sessions of a model on a provider.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ort::ep;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use parking_lot::{Mutex, MutexGuard};

use super::libraries::{self, Places};
use super::upgrade::{Engine, Progress};
use super::{InferenceError, PoolOptions, Provider, tensorrt};
use crate::model::{Decoder, ResolvedModel};
use crate::runtime;

/// Held while files are read and sessions are made, so that two elements that start together
/// build one pool. Nothing but the table of pools is locked under it.
static BUILD: Mutex<()> = Mutex::new(());
static ENVIRONMENT: OnceLock<Runtime> = OnceLock::new();

pub(super) fn building() -> MutexGuard<'static, ()> {
    BUILD.lock()
}

pub(super) struct Runtime {
    environment: ort::environment::Environment,
    path: PathBuf,
}

/// Path of the ONNX Runtime library that this process uses; loads it if that has not happened.
///
/// # Errors
/// [`InferenceError::Runtime`] with every path tried.
pub fn runtime_path(options: &PoolOptions) -> Result<PathBuf, InferenceError> {
    let _building = building();
    Ok(runtime(options)?.path.clone())
}

/// Minor version of the oldest ONNX Runtime 1.x that is accepted.
pub const OLDEST_RUNTIME: u32 = ort::MINOR_VERSION;

/// What ONNX Runtime says of its own build, after [`runtime_path`] succeeded.
pub fn runtime_build_info() -> Option<&'static str> {
    ENVIRONMENT.get().map(|_| ort::info())
}

/// Loads the library once per process. Callers hold [`building`].
pub(super) fn runtime(options: &PoolOptions) -> Result<&'static Runtime, InferenceError> {
    if let Some(runtime) = ENVIRONMENT.get() {
        return Ok(runtime);
    }
    let mut tried = Vec::new();
    for candidate in
        runtime::candidates(options.runtime_library.as_deref(), &options.runtime_folders)
    {
        let path = match candidate {
            Ok(path) => path,
            Err(missing) => {
                tried.push(missing);
                continue;
            }
        };
        match ort::init_from(&path) {
            Ok(builder) => {
                let environment = builder
                    .with_name("gst-face")
                    .with_telemetry(false)
                    .build()
                    .map_err(|e| InferenceError::Environment { reason: e.to_string() })?;
                // Known by name alone, it was found by the system's loader.
                let path = Places::of(&path).find_file(path);
                return Ok(ENVIRONMENT.get_or_init(|| Runtime { environment, path }));
            }
            Err(e) => tried.push(format!("{} ({e})", path.display())),
        }
    }
    Err(InferenceError::Runtime { tried })
}

impl Runtime {
    fn builder(&self) -> Result<SessionBuilder, String> {
        let text = |e: ort::Error<SessionBuilder>| e.to_string();
        let builder = Session::builder(&self.environment).map_err(|e| e.to_string())?;
        let builder = builder.with_intra_threads(1).map_err(text)?;
        let builder = builder.with_inter_threads(1).map_err(text)?;
        let builder = builder.with_intra_op_spinning(false).map_err(text)?;
        let builder = builder.with_inter_op_spinning(false).map_err(text)?;
        // The models' own warnings (some 200 per load) are of no use to a user.
        builder.with_log_level(ort::logging::LogLevel::Error).map_err(text)
    }

    fn loads(&self, provider: Provider) -> Result<(), InferenceError> {
        let dispatch = match provider {
            Provider::Auto | Provider::Cpu => return Ok(()),
            Provider::Cuda => ep::CUDA::default().build(),
            Provider::TensorRt => ep::TensorRT::default().build(),
            Provider::OpenVino => ep::OpenVINO::default().build(),
        };
        self.prepare(provider)?;
        let added = self.builder().and_then(|builder| {
            let dispatch = [dispatch.error_on_failure()];
            builder.with_execution_providers(dispatch).map_err(|e| e.to_string())
        });
        added.map(drop).map_err(|said| self.unusable(provider, said))
    }

    /// Loads what the library of `provider` needs and the system's loader would not find.
    fn prepare(&self, provider: Provider) -> Result<(), InferenceError> {
        let Some(library) = provider_library(&self.path, provider) else {
            let (name, runtime) = (library_name(provider), self.path.display());
            let reason = format!("no library {name} beside {runtime}");
            return Err(InferenceError::Provider { provider, reason });
        };
        for library in Places::of(&self.path).to_preload(&library) {
            // If one does not load, the provider says so itself.
            let _ = ort::util::preload_dylib(&library);
        }
        Ok(())
    }

    /// Why `provider` cannot be used: libraries that are missing if there are any, else what the
    /// runtime said, which names the first of them at best.
    fn unusable(&self, provider: Provider, said: String) -> InferenceError {
        let library = provider_library(&self.path, provider);
        let missing = library.map(|library| Places::of(&self.path).missing(&library));
        let missing = missing.unwrap_or_default();
        let reason = match &missing[..] {
            // On one line.
            [] => said.split_whitespace().collect::<Vec<_>>().join(" "),
            missing => libraries::explain(missing),
        };
        InferenceError::Provider { provider, reason }
    }
}

/// Loads the library of `options.provider` and what it needs, and no model: TensorRT would build
/// an engine for one.
///
/// # Errors
/// As [`runtime_path`]; [`InferenceError::Provider`] with every library that is missing.
pub fn provider_loads(options: &PoolOptions) -> Result<(), InferenceError> {
    let _building = building();
    runtime(options)?.loads(options.provider)
}

/// Makes the sessions of one model.
pub(super) struct Loader {
    pub(super) model: ResolvedModel,
    pub(super) bytes: Vec<u8>,
    pub(super) options: PoolOptions,
    runtime: &'static Runtime,
}

impl Loader {
    pub(super) fn new(
        model: &ResolvedModel,
        options: &PoolOptions,
    ) -> Result<Self, InferenceError> {
        let runtime = runtime(options)?;
        let bytes = model.load()?;
        Ok(Self { model: model.clone(), bytes, options: options.clone(), runtime })
    }

    /// The first session, on the provider that was asked for, and what is told of that.
    pub(super) fn start(self: &Arc<Self>) -> Result<(Engine, Arc<Progress>), InferenceError> {
        let (active, note, session) = match self.options.provider {
            Provider::TensorRt => return tensorrt::start(self),
            Provider::Auto => self.automatic()?,
            provider => (provider, None, self.session(provider)?),
        };
        Ok((Engine::plain(session), Progress::new(active, note)))
    }

    /// CUDA where it works, else the CPU and the reason.
    fn automatic(&self) -> Result<(Provider, Option<String>, Session), InferenceError> {
        let note = match self.provider_library(Provider::Cuda) {
            Some(_) => match self.session(Provider::Cuda) {
                Ok(session) => return Ok((Provider::Cuda, None, session)),
                Err(e) => e.to_string(),
            },
            None => format!("{} has no CUDA provider", self.runtime.path.display()),
        };
        Ok((Provider::Cpu, Some(note), self.session(Provider::Cpu)?))
    }

    pub(super) fn runtime_path(&self) -> &Path {
        &self.runtime.path
    }

    /// The provider's library beside ONNX Runtime, if it is there.
    pub(super) fn provider_library(&self, provider: Provider) -> Option<PathBuf> {
        provider_library(&self.runtime.path, provider)
    }

    /// As [`provider_loads`].
    pub(super) fn loads(&self, provider: Provider) -> Result<(), InferenceError> {
        self.runtime.loads(provider)
    }

    pub(super) fn session(&self, provider: Provider) -> Result<Session, InferenceError> {
        let load = |e: &dyn fmt::Display| InferenceError::ModelLoad {
            path: self.model.path.clone(),
            reason: e.to_string(),
        };
        let mut builder = self.builder().map_err(|e| load(&e))?;
        if provider == Provider::Cpu {
            // One block for all of a run's tensors takes twice the memory of giving them room one by
            // one and using it again, in every session, and no less time.
            builder = builder.with_memory_pattern(false).map_err(|e| load(&e))?;
        } else {
            self.runtime.prepare(provider)?;
            builder = builder
                .with_execution_providers(self.dispatch(provider))
                .map_err(|e| self.runtime.unusable(provider, e.to_string()))?;
        }
        builder.commit_from_memory(&self.bytes).map_err(|e| match provider {
            Provider::Cpu => load(&e),
            _ => self.runtime.unusable(provider, e.to_string()),
        })
    }

    pub(super) fn builder(&self) -> Result<SessionBuilder, String> {
        self.runtime.builder()
    }

    /// Index of the GPU as the providers want it.
    pub(super) fn device(&self) -> i32 {
        i32::try_from(self.options.device_id).unwrap_or(i32::MAX)
    }

    pub(super) fn cuda(&self) -> ep::ExecutionProviderDispatch {
        ep::CUDA::default().with_device_id(self.device()).build().error_on_failure()
    }

    /// Those of sessions on one provider; TensorRT's are made by `tensorrt`.
    fn dispatch(&self, provider: Provider) -> Vec<ep::ExecutionProviderDispatch> {
        match provider {
            Provider::Auto | Provider::Cpu => Vec::new(),
            Provider::Cuda | Provider::TensorRt => vec![self.cuda()],
            Provider::OpenVino => vec![ep::OpenVINO::default().build().error_on_failure()],
        }
    }
}

fn library_name(provider: Provider) -> String {
    format!("libonnxruntime_providers_{provider}.so")
}

fn provider_library(runtime: &Path, provider: Provider) -> Option<PathBuf> {
    let folder = runtime.parent()?;
    Some(folder.join(library_name(provider))).filter(|path| path.is_file())
}

/// Providers whose library lies beside the loaded ONNX Runtime; the CPU is always there. Whether
/// one really works is known when a model is loaded with it.
///
/// # Errors
/// As [`runtime_path`].
pub fn providers_present(options: &PoolOptions) -> Result<Vec<Provider>, InferenceError> {
    let runtime = runtime_path(options)?;
    Ok(Provider::ALL
        .into_iter()
        .filter(|p| *p == Provider::Cpu || provider_library(&runtime, *p).is_some())
        .collect())
}

/// Is the file of the kind that its specification says?
pub(super) fn check_signature(
    model: &ResolvedModel,
    session: &Session,
) -> Result<(), InferenceError> {
    let wrong = |reason: String| InferenceError::ModelKind {
        path: model.path.clone(),
        id: model.spec.id.clone(),
        reason,
    };
    let [input] = session.inputs() else {
        return Err(wrong(format!("it has {} inputs, one is expected", session.inputs().len())));
    };
    if input.dtype().tensor_shape().is_none_or(|s| s.len() != 4) {
        return Err(wrong(format!("input '{}' is not a picture [n,3,h,w]", input.name())));
    }
    match model.spec.decoder {
        Decoder::Yunet => {
            let has = |name: &str| session.outputs().iter().any(|o| o.name() == name);
            let missing = crate::detect::yunet::OUTPUTS.iter().find(|name| !has(name));
            missing.map_or(Ok(()), |name| Err(wrong(format!("it has no output '{name}'"))))
        }
        decoder @ (Decoder::Scrfd
        | Decoder::Retinaface
        | Decoder::Centerface
        | Decoder::Ultralight) => {
            let (got, wanted) = (session.outputs().len(), decoder.outputs());
            (got == wanted)
                .then_some(())
                .ok_or_else(|| wrong(format!("it has {got} outputs, {wanted} are expected")))
        }
        Decoder::Embedding => {
            let dim = session.outputs().first().and_then(|o| o.dtype().tensor_shape());
            let dim = dim.and_then(|shape| shape.last().copied());
            match (dim, model.spec.dim) {
                (Some(got), Some(wanted)) if got < 0 || got as usize == wanted => Ok(()),
                (got, wanted) => Err(wrong(format!(
                    "its embedding has {got:?} dimensions, {wanted:?} are expected"
                ))),
            }
        }
    }
}
