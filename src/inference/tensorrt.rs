//! TensorRT: how its engines are built, what they depend on, and building them beforehand.
//!
//! An engine is built with half precision for a range of shapes, so that nothing is built while
//! pictures run. CUDA serves until it is there, and shapes outside of that range.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Array4;
use ort::ep;
use ort::session::Session;
use sha2::{Digest, Sha256};

use super::engines::{self, CacheError, Entry};
use super::gpu;
use super::libraries::{Places, needed};
use super::load::{self, Loader};
use super::pool::LARGEST_BATCH;
use super::upgrade::{Better, Engine, Progress, Shapes};
use super::{InferenceError, PoolOptions, Provider};
use crate::embed::Fingerprint;
use crate::model::{self, ModelSpec, ResolvedModel, Task};

/// Least and most pixels of a side of a detector's input, and what videos of 16:9 come down to.
const LEAST_SIDE: usize = 32;
const MOST_SIDE: usize = 1280;
const USUAL_SIZE: (usize, usize) = (384, 640);
/// Outputs of a detector in half precision: scores and boxes that make the same faces.
const DETECTOR_COSINE: f32 = 0.99;

/// What [`warm_up`] found or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// The provider that runs the model.
    pub active: Provider,
    /// Why it is not the one asked for.
    pub note: Option<String>,
    /// The folder of the engine; `None` for providers that build none.
    pub engine: Option<PathBuf>,
    /// Was the engine built now? Else it was there.
    pub built: bool,
}

/// Loads `model` as a pipeline does. With [`Provider::TensorRt`] it builds the engine and waits for
/// it, so that a pipeline that starts later has it at once.
///
/// # Errors
/// [`InferenceError`] when the model cannot be loaded, or the engine not built.
pub fn warm_up(model: &ResolvedModel, options: &PoolOptions) -> Result<WarmUp, InferenceError> {
    let loader = {
        let _building = load::building();
        Arc::new(Loader::new(model, options)?)
    };
    if options.provider != Provider::TensorRt {
        let (engine, progress) = loader.start()?;
        load::check_signature(model, engine.session())?;
        let info = progress.info();
        return Ok(WarmUp { active: info.active, note: info.note, engine: None, built: false });
    }
    loader.loads(Provider::TensorRt)?;
    let session = loader.session(Provider::Cuda)?;
    load::check_signature(model, &session)?;
    let plan = Plan::new(&loader, &session).map_err(unusable)?;
    let folder = plan.entry.folder().to_path_buf();
    let built = !plan.entry.is_complete().map_err(cache)?;
    let progress = Progress::new(Provider::Cuda, None);
    let better = plan.build().map_err(unusable)?;
    Engine::plain(session).adopt(better, &progress).map_err(unusable)?;
    Ok(WarmUp { active: Provider::TensorRt, note: None, engine: Some(folder), built })
}

/// CUDA, and TensorRT as soon as its engine is there: at once if it was built before.
pub(super) fn start(loader: &Arc<Loader>) -> Result<(Engine, Arc<Progress>), InferenceError> {
    loader.loads(Provider::TensorRt)?;
    let session = loader.session(Provider::Cuda)?;
    let plan = Plan::new(loader, &session).map_err(unusable)?;
    let progress = Progress::new(Provider::Cuda, None);
    // Loaded here, not in the background: a file gives the same results from its first frame on.
    if plan.entry.is_complete().map_err(cache)?
        && let Ok(better) = plan.load()
    {
        let mut engine = Engine::plain(session);
        // CUDA goes on if they differ; `progress` knows.
        let _ = engine.adopt(better, &progress);
        return Ok((engine, progress));
    }
    let build = move || plan.build();
    Ok((Engine::improving(session, Provider::TensorRt, &progress, build), progress))
}

fn unusable(reason: String) -> InferenceError {
    InferenceError::Provider { provider: Provider::TensorRt, reason }
}

fn cache(error: CacheError) -> InferenceError {
    unusable(text(&error))
}

/// An error of the cache with its cause: both become one text.
fn text(error: &CacheError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// How the engine of one model is built, and where it lies.
struct Plan {
    loader: Arc<Loader>,
    entry: Entry,
    input: String,
    shapes: Shapes,
}

impl Plan {
    /// `session` has the same model, on whatever provider.
    fn new(loader: &Arc<Loader>, session: &Session) -> Result<Self, String> {
        let [input] = session.inputs() else {
            return Err("the model has several inputs".to_owned());
        };
        let dims = input.dtype().tensor_shape().ok_or("the model's input is no picture")?;
        let shapes = shapes(&loader.model.spec, dims)?;
        let name = input.name();
        // They separate names and numbers in TensorRT's options.
        if name.contains([':', ',']) {
            return Err(format!("the name of the model's input, '{name}', has ':' or ',' in it"));
        }
        let root = engines::root(loader.options.engine_cache.as_deref()).map_err(|e| text(&e))?;
        let entry = Entry::new(&root, &loader.model.spec.id, key(loader, &shapes));
        Ok(Self { loader: loader.clone(), entry, input: name.to_owned(), shapes })
    }

    /// The engine that lies there.
    fn load(&self) -> Result<Better, String> {
        Ok(self.better(self.session(self.entry.folder())?))
    }

    /// Builds the engine, or loads what another one has built while this one waited.
    fn build(&self) -> Result<Better, String> {
        let lock = self.entry.lock().map_err(|e| text(&e))?;
        if self.entry.is_complete().map_err(|e| text(&e))?
            && let Ok(better) = self.load()
        {
            return Ok(better);
        }
        let building = self.entry.begin(lock).map_err(|e| text(&e))?;
        let session = self.session(building.folder())?;
        self.entry.publish(&building).map_err(|e| text(&e))?;
        Ok(self.better(session))
    }

    fn better(&self, session: Session) -> Better {
        let spec = &self.loader.model.spec;
        let least_cosine = match spec.task {
            Task::Embedder => Fingerprint::SAME_SPACE,
            Task::Detector => DETECTOR_COSINE,
        };
        Better {
            session,
            provider: Provider::TensorRt,
            shapes: self.shapes.clone(),
            probe: probe(spec, self.shapes.usual),
            least_cosine,
        }
    }

    /// A session whose engine is read from `folder`, or built and written there.
    fn session(&self, folder: &Path) -> Result<Session, String> {
        let folder = folder.to_str().ok_or("the folder of engines has a name that is not UTF-8")?;
        let Shapes { least, usual, most } = self.shapes;
        let shape = |s: [usize; 4]| format!("{}:{}x{}x{}x{}", self.input, s[0], s[1], s[2], s[3]);
        let tensorrt = ep::TensorRT::default()
            .with_device_id(self.loader.device())
            .with_fp16(true)
            .with_engine_cache(true)
            .with_engine_cache_path(folder)
            .with_profile_min_shapes(shape(least))
            .with_profile_opt_shapes(shape(usual))
            .with_profile_max_shapes(shape(most));
        // Nodes that TensorRT does not take run on CUDA.
        let providers = [tensorrt.build().error_on_failure(), self.loader.cuda()];
        let builder = self.loader.builder()?;
        let mut builder = builder.with_execution_providers(providers).map_err(|e| e.to_string())?;
        builder.commit_from_memory(&self.loader.bytes).map_err(|e| e.to_string())
    }
}

/// The range of shapes for an input whose dimensions are `dims`; negative ones are free.
fn shapes(spec: &ModelSpec, dims: &[i64]) -> Result<Shapes, String> {
    let &[batch, channels, height, width] = dims else {
        return Err(format!("the model's input has {} dimensions, not 4", dims.len()));
    };
    let batches = match spec.task {
        Task::Detector => [1, 1, LARGEST_BATCH],
        Task::Embedder => [1, 4, LARGEST_BATCH],
    };
    let side = |usual| match spec.task {
        Task::Detector => [LEAST_SIDE, usual, MOST_SIDE],
        Task::Embedder => [crate::align::CROP_SIDE; 3],
    };
    let range = |fixed: i64, free: [usize; 3]| {
        usize::try_from(fixed).ok().filter(|n| *n > 0).map_or(free, |n| [n; 3])
    };
    let ranges = [
        range(batch, batches),
        range(channels, [3; 3]),
        range(height, side(USUAL_SIZE.0)),
        range(width, side(USUAL_SIZE.1)),
    ];
    let at = |place: usize| ranges.map(|range| range[place]);
    Ok(Shapes { least: at(0), usual: at(1), most: at(2) })
}

/// All that an engine depends on. A key that changes too often costs a build, one that changes too
/// seldom an engine that does not fit.
fn key(loader: &Loader, shapes: &Shapes) -> String {
    let places = Places::of(loader.runtime_path());
    let nvinfer = loader.provider_library(Provider::TensorRt).and_then(|library| {
        needed(&library).into_iter().find(|name| name.starts_with("libnvinfer.so"))
    });
    let gpus = gpu::nvidia_driver().map(|driver| driver.gpus.join(", ")).unwrap_or_default();
    // Which GPU has that number depends on both.
    let variable = |name| format!("{name}={}", std::env::var(name).unwrap_or_default());
    [
        format!("model {}", model::hex(&Sha256::digest(&loader.bytes))),
        format!("gpu {} of {gpus}", loader.options.device_id),
        variable("CUDA_VISIBLE_DEVICES"),
        variable("CUDA_DEVICE_ORDER"),
        format!("tensorrt {}", stamp(nvinfer.and_then(|name| places.find(&name)).as_deref())),
        format!("onnxruntime {}", stamp(Some(loader.runtime_path()))),
        format!("precision fp16, shapes {shapes:?}"),
    ]
    .join("\n")
}

/// A library's version: the name of its file, which mostly has it, and its length.
fn stamp(library: Option<&Path>) -> String {
    let path = library.and_then(|library| library.canonicalize().ok());
    let Some(path) = path else { return "unknown".to_owned() };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let length = path.metadata().map(|meta| meta.len()).unwrap_or_default();
    format!("{name}, {length} bytes")
}

/// Noise as a picture of the model's own scale, always the same (the generator of
/// [`Fingerprint`]'s probe).
fn probe(spec: &ModelSpec, shape: [usize; 4]) -> Array4<f32> {
    let mut state = 12345_u32;
    Array4::from_shape_fn(shape, |(_, channel, _, _)| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let pixel = f32::from((state >> 24) as u8);
        let [mean, std] = [spec.mean, spec.std].map(|v| v.get(channel).copied().unwrap_or(1.0));
        (pixel - mean) / std
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(id: &str) -> &'static ModelSpec {
        model::find(id).unwrap()
    }

    #[test]
    fn free_dimensions_become_ranges_and_fixed_ones_stay() {
        let detector = shapes(spec(model::DEFAULT_DETECTOR), &[-1, 3, -1, -1]).unwrap();
        assert_eq!(detector.least, [1, 3, 32, 32]);
        assert_eq!(detector.usual, [1, 3, 384, 640]);
        assert_eq!(detector.most, [16, 3, 1280, 1280]);
        assert!(detector.take(&[1, 3, 640, 640]) && !detector.take(&[1, 3, 640, 1312]));
        assert!(!detector.take(&[1, 3, 640]));
        let embedder = shapes(spec(model::DEFAULT_EMBEDDER), &[-1, 3, 112, 112]).unwrap();
        assert_eq!((embedder.least, embedder.most), ([1, 3, 112, 112], [16, 3, 112, 112]));
        let fixed = shapes(spec("ultralight_rfb320"), &[1, 3, 240, 320]).unwrap();
        assert_eq!((fixed.least, fixed.most), ([1, 3, 240, 320], [1, 3, 240, 320]));
        assert!(
            shapes(spec(model::DEFAULT_DETECTOR), &[-1, 3]).unwrap_err().contains("2 dimensions")
        );
    }

    #[test]
    fn version_of_a_library_changes_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libnvinfer.so.10.9.0");
        std::fs::write(&file, b"12345").unwrap();
        std::os::unix::fs::symlink(&file, folder.path().join("libnvinfer.so.10")).unwrap();
        let link = folder.path().join("libnvinfer.so.10");
        assert_eq!(stamp(Some(&link)), "libnvinfer.so.10.9.0, 5 bytes");
        std::fs::write(&file, b"123456").unwrap();
        assert_eq!(stamp(Some(&link)), "libnvinfer.so.10.9.0, 6 bytes");
        assert_eq!(stamp(None), "unknown");
    }

    #[test]
    fn probe_has_the_scale_of_the_model() {
        let spec = spec(model::DEFAULT_EMBEDDER);
        let probe = probe(spec, [1, 3, 112, 112]);
        for ((_, channel, _, _), value) in probe.indexed_iter() {
            let pixel = value * spec.std[channel] + spec.mean[channel];
            assert!((-0.01..=255.01).contains(&pixel), "{pixel}");
        }
        assert!(probe.iter().any(|v| *v > 1.0) && probe.iter().any(|v| *v < -1.0));
    }
}
