//! ONNX Runtime: finding and loading the library, execution providers, and the pool of workers
//! that all elements of a process share. The only module that names `ort`.
//!
//! On a CPU a pool has one-thread sessions, one per worker: two sessions of one thread embed
//! faces faster and more steadily than one session of two threads, and nothing spins while idle.
//! CUDA, TensorRT and OpenVINO get one session and one worker.
//!
//! Lock order: `BUILD`, then `POOLS`. Nothing else is locked under either; `BUILD` is held while
//! files are read and sessions are made, so that two elements that start together build one pool.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use ndarray::{Array4, ArrayD, IxDyn};
use ort::ep;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::model::{Decoder, ModelError, ResolvedModel};
use crate::runtime;

/// Where a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// CUDA where it loads, else the CPU; what was chosen is reported.
    #[default]
    Auto,
    Cpu,
    Cuda,
    TensorRt,
    OpenVino,
}

impl Provider {
    pub const ALL: [Provider; 5] =
        [Provider::Auto, Provider::Cpu, Provider::Cuda, Provider::TensorRt, Provider::OpenVino];

    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Auto => "auto",
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
            Provider::OpenVino => "openvino",
        }
    }

    /// The provider of that name, or `None`.
    pub fn parse(name: &str) -> Option<Provider> {
        Provider::ALL.into_iter().find(|p| p.as_str() == name)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    #[error(
        "load ONNX Runtime: no usable library found; run scripts/setup.sh, or name the file with \
         the property runtime-library or GST_FACE_ORT_PATH. Tried: {}", .tried.join("; ")
    )]
    Runtime { tried: Vec<String> },
    #[error("start ONNX Runtime: {reason}")]
    Environment { reason: String },
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("load model '{}': {reason}", .path.display())]
    ModelLoad { path: PathBuf, reason: String },
    #[error("model '{}' is not what its specification '{id}' says: {reason}", .path.display())]
    ModelKind { path: PathBuf, id: String, reason: String },
    #[error(
        "provider {provider} cannot be used: {reason}. Choose provider=cpu, or provider=auto to \
         fall back"
    )]
    Provider { provider: Provider, reason: String },
    #[error("start inference thread")]
    Thread(#[source] std::io::Error),
    #[error("run model '{model}': {reason}")]
    Run { model: String, reason: String },
    #[error("model '{model}' missed its deadline")]
    Deadline { model: String },
}

/// How a pool is made. Two equal sets of options on one file share one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolOptions {
    pub provider: Provider,
    /// Index of the GPU.
    pub device_id: u32,
    /// CPU workers; 0: one per core.
    pub threads: usize,
    /// Path of libonnxruntime.so, or of a folder that holds it; searched when absent.
    pub runtime_library: Option<PathBuf>,
    /// Folders that are searched for ONNX Runtime, such as the plugin's own.
    pub runtime_folders: Vec<PathBuf>,
}

/// A request and, when it comes back, its answer: the caller keeps it, so that its buffers are
/// used again.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Planar floats [batch, channels, height, width].
    pub input: Array4<f32>,
    /// The outputs, in the order of [`Pool::output_names`].
    pub outputs: Vec<ArrayD<f32>>,
}

impl Request {
    /// Takes the input's memory out, to be filled anew.
    pub fn take_input(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.input).into_raw_vec_and_offset().0
    }

    /// Values of an output in the order of its shape; empty if there is no such output.
    pub fn output(&self, index: usize) -> &[f32] {
        self.outputs.get(index).and_then(|o| o.as_slice()).unwrap_or_default()
    }
}

struct Job {
    request: Request,
    tag: usize,
    reply: Sender<Answer>,
}

struct Answer {
    request: Request,
    tag: usize,
    result: Result<(), String>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    path: PathBuf,
    id: String,
    options: PoolOptions,
}

static POOLS: LazyLock<Mutex<HashMap<Key, Weak<Pool>>>> = LazyLock::new(Mutex::default);
static BUILD: Mutex<()> = Mutex::new(());
static ENVIRONMENT: OnceLock<Runtime> = OnceLock::new();

struct Runtime {
    environment: ort::environment::Environment,
    path: PathBuf,
}

/// Path of the ONNX Runtime library that this process uses; loads it if that has not happened.
///
/// # Errors
/// [`InferenceError::Runtime`] with every path tried.
pub fn runtime_path(options: &PoolOptions) -> Result<PathBuf, InferenceError> {
    let _building = BUILD.lock();
    Ok(runtime(options)?.path.clone())
}

/// Minor version of the oldest ONNX Runtime 1.x that is accepted.
pub const OLDEST_RUNTIME: u32 = ort::MINOR_VERSION;

/// What ONNX Runtime says of its own build, after [`runtime_path`] succeeded.
pub fn runtime_build_info() -> Option<&'static str> {
    ENVIRONMENT.get().map(|_| ort::info())
}

/// Loads the library once per process. Callers hold `BUILD`.
fn runtime(options: &PoolOptions) -> Result<&'static Runtime, InferenceError> {
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
                return Ok(ENVIRONMENT.get_or_init(|| Runtime { environment, path }));
            }
            Err(e) => tried.push(format!("{} ({e})", path.display())),
        }
    }
    Err(InferenceError::Runtime { tried })
}

/// Workers that run one model. Shared by every element of the process that asks for the same
/// model with the same options.
pub struct Pool {
    model: ResolvedModel,
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
    active: Provider,
    note: Option<String>,
    output_names: Vec<String>,
    runs: Arc<AtomicU64>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("model", &self.model.path)
            .field("active", &self.active)
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// The pool of `model` with these options: the one that is there, else a new one.
    ///
    /// # Errors
    /// [`InferenceError`] when the runtime, the file or the provider cannot be used, or when the
    /// file's inputs and outputs are not those of its specification.
    pub fn shared(
        model: &ResolvedModel,
        options: &PoolOptions,
    ) -> Result<Arc<Pool>, InferenceError> {
        let path = model.path.canonicalize().unwrap_or_else(|_| model.path.clone());
        let key = Key { path, id: model.spec.id.clone(), options: options.clone() };
        let _building = BUILD.lock();
        if let Some(pool) = POOLS.lock().get(&key).and_then(Weak::upgrade) {
            return Ok(pool);
        }
        let pool = Arc::new(Pool::build(model, options)?);
        let mut pools = POOLS.lock();
        pools.retain(|_, pool| pool.strong_count() > 0);
        pools.insert(key, Arc::downgrade(&pool));
        Ok(pool)
    }

    fn build(model: &ResolvedModel, options: &PoolOptions) -> Result<Pool, InferenceError> {
        let runtime = runtime(options)?;
        let bytes = model.load()?;
        let loader = Loader { model, bytes: &bytes, options, runtime };
        let (active, note, first) = loader.choose_provider()?;
        check_signature(model, &first)?;
        let output_names = first.outputs().iter().map(|o| o.name().to_owned()).collect();
        let count = match active {
            Provider::Cpu if options.threads > 0 => options.threads,
            Provider::Cpu => std::thread::available_parallelism().map_or(1, usize::from),
            _ => 1,
        };
        let mut sessions = vec![first];
        for _ in 1..count {
            sessions.push(loader.session(active)?);
        }
        // Two waiting jobs per worker keep every worker busy; beyond that the submitter waits.
        let (jobs, queue) = crossbeam_channel::bounded(2 * count);
        let runs = Arc::new(AtomicU64::new(0));
        let mut pool = Pool {
            model: model.clone(),
            jobs: Some(jobs),
            workers: Vec::with_capacity(count),
            active,
            note,
            output_names,
            runs: runs.clone(),
        };
        for (i, session) in sessions.into_iter().enumerate() {
            let (queue, runs) = (queue.clone(), runs.clone());
            let worker = std::thread::Builder::new()
                .name(format!("face-infer-{i}"))
                .spawn(move || work(session, &queue, &runs))
                .map_err(InferenceError::Thread)?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    pub fn model(&self) -> &ResolvedModel {
        &self.model
    }

    /// The provider that runs the model; never [`Provider::Auto`].
    pub fn active_provider(&self) -> Provider {
        self.active
    }

    /// Why `provider=auto` did not choose a GPU, if it did not.
    pub fn provider_note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    pub fn output_names(&self) -> &[String] {
        &self.output_names
    }

    /// Runs finished since the pool was made.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Runs every request, spread over all workers, and waits for the last. Requests come back in
    /// their places with their outputs, also when one failed.
    ///
    /// # Errors
    /// [`InferenceError::Run`] of the first request that failed; [`InferenceError::Deadline`] if
    /// the answers are not there in time (the requests that are out are then lost).
    pub fn run(
        &self,
        requests: &mut [Request],
        deadline: Option<Instant>,
    ) -> Result<(), InferenceError> {
        let fail = |reason: &str| InferenceError::Run {
            model: self.model.spec.id.clone(),
            reason: reason.to_owned(),
        };
        let late = || InferenceError::Deadline { model: self.model.spec.id.clone() };
        let jobs = self.jobs.as_ref().ok_or_else(|| fail("the pool is closed"))?;
        let (reply, answers) = crossbeam_channel::bounded(requests.len().max(1));
        for (tag, slot) in requests.iter_mut().enumerate() {
            let job = Job { request: std::mem::take(slot), tag, reply: reply.clone() };
            let sent = match deadline {
                Some(deadline) => jobs.send_deadline(job, deadline).map_err(|e| e.is_timeout()),
                None => jobs.send(job).map_err(|_| false),
            };
            sent.map_err(|timeout| if timeout { late() } else { fail("the workers are gone") })?;
        }
        drop(reply);
        let mut failed = None;
        for _ in 0..requests.len() {
            let answer = match deadline {
                Some(deadline) => answers.recv_deadline(deadline).map_err(|e| e.is_timeout()),
                None => answers.recv().map_err(|_| false),
            };
            let answer = answer
                .map_err(|timeout| if timeout { late() } else { fail("the workers are gone") })?;
            requests[answer.tag] = answer.request;
            if let Err(reason) = answer.result {
                failed.get_or_insert(reason);
            }
        }
        failed.map_or(Ok(()), |reason| Err(fail(&reason)))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Without senders the workers leave after the job at hand.
        self.jobs = None;
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn work(mut session: Session, queue: &Receiver<Job>, runs: &AtomicU64) {
    while let Ok(Job { mut request, tag, reply }) = queue.recv() {
        // A panic in here must cost one request, not the host process.
        let result = catch_unwind(AssertUnwindSafe(|| run_session(&mut session, &mut request)))
            .unwrap_or_else(|_| Err("the inference thread panicked".to_owned()));
        runs.fetch_add(1, Ordering::Relaxed);
        // The receiver is gone when its deadline passed: nobody waits for this answer.
        let _ = reply.send(Answer { request, tag, result });
    }
}

fn run_session(session: &mut Session, request: &mut Request) -> Result<(), String> {
    let input = TensorRef::from_array_view(&request.input).map_err(|e| e.to_string())?;
    let outputs = session.run(ort::inputs![input]).map_err(|e| e.to_string())?;
    request.outputs.resize_with(outputs.len(), || ArrayD::zeros(IxDyn(&[0])));
    for (value, output) in outputs.values().zip(&mut request.outputs) {
        let value = value.try_extract_array::<f32>().map_err(|e| e.to_string())?;
        if value.shape() == output.shape() {
            output.assign(&value);
        } else {
            *output = value.to_owned();
        }
    }
    Ok(())
}

struct Loader<'a> {
    model: &'a ResolvedModel,
    bytes: &'a [u8],
    options: &'a PoolOptions,
    runtime: &'static Runtime,
}

impl Loader<'_> {
    fn choose_provider(&self) -> Result<(Provider, Option<String>, Session), InferenceError> {
        if self.options.provider != Provider::Auto {
            let provider = self.options.provider;
            return Ok((provider, None, self.session(provider)?));
        }
        let note = match self.provider_library(Provider::Cuda) {
            Some(_) => match self.session(Provider::Cuda) {
                Ok(session) => return Ok((Provider::Cuda, None, session)),
                Err(e) => e.to_string(),
            },
            None => format!("{} has no CUDA provider", self.runtime.path.display()),
        };
        Ok((Provider::Cpu, Some(note), self.session(Provider::Cpu)?))
    }

    /// The provider's library beside ONNX Runtime, if it is there.
    fn provider_library(&self, provider: Provider) -> Option<PathBuf> {
        provider_library(&self.runtime.path, provider)
    }

    fn session(&self, provider: Provider) -> Result<Session, InferenceError> {
        let load = |e: &dyn fmt::Display| InferenceError::ModelLoad {
            path: self.model.path.clone(),
            reason: e.to_string(),
        };
        let unusable = |reason: String| InferenceError::Provider { provider, reason };
        let mut builder = self.builder().map_err(|e| load(&e))?;
        if provider != Provider::Cpu {
            if self.provider_library(provider).is_none() {
                return Err(unusable(format!(
                    "no library libonnxruntime_providers_{provider}.so beside {}",
                    self.runtime.path.display()
                )));
            }
            builder = builder
                .with_execution_providers(self.dispatch(provider))
                .map_err(|e| unusable(e.to_string()))?;
        }
        builder.commit_from_memory(self.bytes).map_err(|e| match provider {
            Provider::Cpu => load(&e),
            _ => unusable(e.to_string()),
        })
    }

    fn builder(&self) -> Result<SessionBuilder, String> {
        let text = |e: ort::Error<SessionBuilder>| e.to_string();
        let builder = Session::builder(&self.runtime.environment).map_err(|e| e.to_string())?;
        let builder = builder.with_intra_threads(1).map_err(text)?;
        let builder = builder.with_inter_threads(1).map_err(text)?;
        let builder = builder.with_intra_op_spinning(false).map_err(text)?;
        let builder = builder.with_inter_op_spinning(false).map_err(text)?;
        // The models' own warnings (some 200 per load) are of no use to a user.
        builder.with_log_level(ort::logging::LogLevel::Error).map_err(text)
    }

    fn dispatch(&self, provider: Provider) -> Vec<ep::ExecutionProviderDispatch> {
        let device = i32::try_from(self.options.device_id).unwrap_or(i32::MAX);
        let cuda = || ep::CUDA::default().with_device_id(device).build().error_on_failure();
        match provider {
            Provider::Auto | Provider::Cpu => Vec::new(),
            Provider::Cuda => vec![cuda()],
            // Nodes that TensorRT does not take run on CUDA.
            Provider::TensorRt => vec![
                ep::TensorRT::default().with_device_id(device).build().error_on_failure(),
                cuda(),
            ],
            Provider::OpenVino => vec![ep::OpenVINO::default().build().error_on_failure()],
        }
    }
}

fn provider_library(runtime: &Path, provider: Provider) -> Option<PathBuf> {
    let name = format!("libonnxruntime_providers_{provider}.so");
    runtime.parent().map(|folder| folder.join(name)).filter(|path| path.is_file())
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
fn check_signature(model: &ResolvedModel, session: &Session) -> Result<(), InferenceError> {
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
