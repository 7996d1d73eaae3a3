//! The options that say which models run, and where.

use std::path::PathBuf;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use face_core::inference::{PoolOptions, Provider};
use face_core::model::{self, ResolvedModel, Task};
use face_core::recognizer::Recognizer;

use crate::output;

/// Options of every command that looks at pictures.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct ModelOptions {
    /// Detector: a name from the registry, or an ONNX file
    #[arg(long, value_name = "MODEL", default_value = model::DEFAULT_DETECTOR)]
    pub(crate) detector: String,
    /// Embedder: a name from the registry, or an ONNX file. A gallery keeps to the embedder that
    /// it was made with
    #[arg(long, value_name = "MODEL", default_value = model::DEFAULT_EMBEDDER)]
    pub(crate) embedder: String,
    #[command(flatten)]
    pub(crate) place: PlaceOptions,
}

/// Options that say where models run.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct PlaceOptions {
    /// Where the models run. auto takes CUDA where it works, else the CPU; every other choice
    /// fails where it does not work
    #[arg(long, default_value = "auto", value_parser = provider_parser())]
    pub(crate) provider: Provider,
    /// Number of the GPU
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) device_id: u32,
    /// Pictures, and on a CPU inferences, that are worked on at a time; 0: one per core
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=256))]
    pub(crate) threads: u16,
    /// ONNX Runtime: libonnxruntime.so, or the folder that holds it [default: GST_FACE_ORT_PATH,
    /// ORT_DYLIB_PATH, beside this program, face.toml, the system's libraries]
    #[arg(long, value_name = "PATH")]
    pub(crate) runtime_library: Option<PathBuf>,
}

pub(crate) fn provider_parser() -> impl TypedValueParser<Value = Provider> {
    PossibleValuesParser::new(Provider::ALL.map(Provider::as_str))
        .map(|name| Provider::parse(&name).unwrap_or_default())
}

impl PlaceOptions {
    pub(crate) fn pools(&self) -> PoolOptions {
        let program = std::env::current_exe().ok();
        let folder = program.as_deref().and_then(std::path::Path::parent);
        PoolOptions {
            provider: self.provider,
            device_id: self.device_id,
            threads: usize::from(self.threads),
            runtime_library: self.runtime_library.clone(),
            runtime_folders: folder.map(PathBuf::from).into_iter().collect(),
            engine_cache: None,
        }
    }
}

impl ModelOptions {
    pub(crate) fn pools(&self) -> PoolOptions {
        self.place.pools()
    }

    pub(crate) fn resolve(&self, task: Task) -> anyhow::Result<ResolvedModel> {
        let name = match task {
            Task::Detector => &self.detector,
            Task::Embedder => &self.embedder,
        };
        Ok(model::resolve(name, task)?)
    }

    /// Detector and embedder, ready to look at pictures. Says so if nobody can be recognised by
    /// this detector.
    pub(crate) fn recognizer(&self) -> anyhow::Result<Recognizer> {
        let (detector, embedder) = (self.resolve(Task::Detector)?, self.resolve(Task::Embedder)?);
        if !detector.spec.decoder.has_landmarks() {
            output::note(format_args!(
                "the detector '{}' finds no landmarks: its faces can be neither enrolled nor \
                 recognised, choose another one with --detector",
                detector.spec.id
            ));
        }
        Recognizer::load(&detector, &embedder, &self.pools()).context("load the models")
    }
}

/// A cosine similarity from the command line.
pub(crate) fn similarity(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (-1.0..=1.0).contains(&value) => Ok(value),
        _ => Err("a cosine similarity from -1 to 1 is needed".to_owned()),
    }
}
