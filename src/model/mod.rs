//! Models: what each one is ([`ModelSpec`]), those known by name ([`registry`]), and where their
//! files are found ([`SearchPath`], [`resolve`]).

mod family;
mod file;
mod resolve;
mod spec;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

pub use file::{FileState, check, is_lfs_pointer};
pub(crate) use file::{hash_into, hex};
pub use resolve::{Copy, SearchPath, data_dir, installed, resolve};

use crate::onnx::{self, OnnxError};

/// Registry name of the detector used when none is named.
pub const DEFAULT_DETECTOR: &str = "yunet_n_dynamic";
/// Registry name of the embedder used when none is named.
pub const DEFAULT_EMBEDDER: &str = "mobilefacenet";
/// Folders searched for model files before the user's data folder, separated as in `PATH`.
pub const PATH_VARIABLE: &str = "GST_FACE_MODEL_PATH";
/// Names of the alignment templates an embedder may ask for.
pub const TEMPLATES: [&str; 1] = ["arcface-112"];

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    Detector,
    Embedder,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Detector => "detector",
            Self::Embedder => "embedder",
        })
    }
}

/// How the outputs of a model are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Decoder {
    /// YuNet: anchor-free, strides 8, 16, 32, box, score and five points per cell.
    Yunet,
    /// SCRFD with key points: strides 8, 16, 32, two anchors per cell, box, score and five points.
    Scrfd,
    /// RetinaFace: priors of six sizes over strides 8, 16, 32; box, two classes and five points.
    Retinaface,
    /// CenterFace: a heat map of centres a quarter of the picture's size; box and five points.
    Centerface,
    /// UltraLight (version-RFB and version-slim): boxes alone.
    Ultralight,
    /// One embedding vector per face.
    Embedding,
}

impl Decoder {
    /// The task of the models this decoder reads.
    pub fn task(self) -> Task {
        match self {
            Self::Embedding => Task::Embedder,
            _ => Task::Detector,
        }
    }

    /// Number of outputs of the models this decoder reads.
    pub fn outputs(self) -> usize {
        match self {
            Self::Yunet => 12,
            Self::Scrfd => 9,
            Self::Retinaface => 3,
            Self::Centerface => 4,
            Self::Ultralight => 2,
            Self::Embedding => 1,
        }
    }

    /// Do the faces that this decoder reads have five landmarks? Without them a face can be followed
    /// and drawn, but not recognised.
    pub fn has_landmarks(self) -> bool {
        matches!(self, Self::Yunet | Self::Scrfd | Self::Retinaface | Self::Centerface)
    }
}

/// Order of the colour channels in the input tensor (always planar, NCHW).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    Rgb,
    Bgr,
}

/// Everything that must be known to feed a model and to read its outputs. Written as TOML in the
/// registry, and by users in a file beside their own model; there `id`, `licence`, `commercial`,
/// `training-data`, `description` and `file` may be left out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelSpec {
    /// Registry name, e.g. `yunet_n_dynamic`; the stem of the file name for a user's own model.
    #[serde(default)]
    pub id: String,
    /// Embedders of one family share an embedding space; defaults to the id.
    #[serde(default)]
    pub family: Option<String>,
    pub task: Task,
    pub decoder: Decoder,
    pub channels: ChannelOrder,
    /// Subtracted per channel, in the order of `channels`, on the 0..=255 scale.
    pub mean: [f32; 3],
    /// Divides per channel after the mean, on the 0..=255 scale.
    pub std: [f32; 3],
    /// Detectors of any size: width and height of the input must be multiples of this.
    #[serde(default)]
    pub size_multiple: Option<u32>,
    /// Detectors of one size: width and height of the input, pixels.
    #[serde(default)]
    pub size: Option<[u32; 2]>,
    /// Embedders: name of the alignment template (`arcface-112`).
    #[serde(default)]
    pub template: Option<String>,
    /// Embedders: number of dimensions.
    #[serde(default)]
    pub dim: Option<usize>,
    /// Recommended threshold: least score of a detection, or least cosine similarity of one person.
    pub threshold: f32,
    /// Recommended IoU threshold of non-maximum suppression.
    #[serde(default)]
    pub nms: Option<f32>,
    /// Dimensions that are fixed in the file and made symbolic at load.
    #[serde(default)]
    pub free: Vec<FreeDim>,
    /// Licence of the weights, SPDX where there is an identifier.
    #[serde(default = "unknown")]
    pub licence: String,
    /// May the weights be used commercially?
    #[serde(default)]
    pub commercial: bool,
    /// What is known of the training data.
    #[serde(default = "unknown")]
    pub training_data: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub file: ModelFile,
}

fn unknown() -> String {
    "unknown".to_owned()
}

impl ModelSpec {
    /// The name embeddings of this model are compared under: the family, else the id.
    pub fn family(&self) -> &str {
        self.family.as_deref().unwrap_or(&self.id)
    }
}

/// A dimension of the input that is fixed in the file and made symbolic at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreeDim {
    Batch,
    Size,
}

/// The file of a model and where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelFile {
    /// File name, without a folder.
    #[serde(default)]
    pub name: String,
    /// Lower-case hexadecimal SHA-256 of the file.
    #[serde(default)]
    pub sha256: String,
    #[serde(default)]
    pub bytes: u64,
    /// Official address; `None`: bring your own file.
    #[serde(default)]
    pub url: Option<String>,
    /// Was the checksum confirmed by a download from `url`?
    #[serde(default)]
    pub url_verified: bool,
}

/// A model whose file was found.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedModel {
    pub spec: ModelSpec,
    pub path: PathBuf,
}

impl ResolvedModel {
    /// Reads the file and makes the dimensions in `spec.free` symbolic: the bytes to hand to the
    /// runtime.
    ///
    /// # Errors
    /// [`ModelError::Read`], [`ModelError::TooLarge`], [`ModelError::LfsPointer`], or
    /// [`ModelError::Graph`] if a dimension cannot be made symbolic.
    pub fn load(&self) -> Result<Vec<u8>, ModelError> {
        let bytes = file::read(&self.path)?;
        onnx::free_dims(&bytes, &self.spec.free)
            .map_err(|source| ModelError::graph(&self.path, source))
    }
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(
        "unknown model '{name}': known are {}; or give the path of an .onnx file",
        names().join(", ")
    )]
    UnknownName { name: String },
    #[error("model '{name}' is {} {is}, but {} {wanted} is needed", article(*is), article(*wanted))]
    WrongTask { name: String, is: Task, wanted: Task },
    #[error("model '{name}' not found ({}); {}", listed(tried), advice(name))]
    NotFound { name: String, tried: Vec<String> },
    #[error("cannot read model '{}'", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("model '{}' is {bytes} bytes long, more than the {limit} an ONNX file may have", path.display())]
    TooLarge { path: PathBuf, bytes: u64, limit: u64 },
    #[error(
        "model '{}' is a Git LFS pointer, not the model itself: run 'git lfs pull' where it comes \
         from, or fetch the file from elsewhere",
        path.display()
    )]
    LfsPointer { path: PathBuf },
    #[error(
        "model '{}' is damaged: its sha256 is {actual}, expected {expected}; delete it or replace \
         it with an intact file",
        path.display()
    )]
    Checksum { path: PathBuf, expected: String, actual: String },
    #[error("model '{}' is not a usable ONNX file", path.display())]
    Graph { path: PathBuf, source: OnnxError },
    #[error("model description '{}': {message}", path.display())]
    Description { path: PathBuf, message: String },
    #[error(
        "model '{}' looks like an embedder, but how to prepare its pictures cannot be told from \
         the file: describe it in '{}' (keys task, decoder, channels, mean, std, template, dim, \
         threshold)",
        path.display(), path.with_extension("toml").display()
    )]
    NeedsDescription { path: PathBuf },
    #[error(
        "model '{}' is of no known kind (outputs {outputs}): describe it in '{}' if a decoder for \
         it exists",
        path.display(), path.with_extension("toml").display()
    )]
    Unrecognised { path: PathBuf, outputs: String },
    #[error("model '{}' does not fit its description '{id}': {why}", path.display())]
    Mismatch { path: PathBuf, id: String, why: String },
}

impl ModelError {
    fn graph(path: &Path, source: OnnxError) -> Self {
        Self::Graph { path: path.to_owned(), source }
    }
}

fn article(task: Task) -> &'static str {
    match task {
        Task::Detector => "a",
        Task::Embedder => "an",
    }
}

fn names() -> Vec<&'static str> {
    registry().iter().map(|spec| spec.id.as_str()).collect()
}

fn listed(tried: &[String]) -> String {
    if tried.is_empty() {
        format!("{PATH_VARIABLE} is not set and there is no home folder")
    } else {
        format!("tried {}", tried.join(", "))
    }
}

/// What to do about a registry model that is not there.
fn advice(name: &str) -> String {
    match find(name) {
        Some(spec) if spec.file.url.is_some() => format!("run 'facectl models fetch {name}'"),
        Some(spec) => {
            format!("it cannot be downloaded: put {} into one of these folders", spec.file.name)
        }
        None => "check the path".to_owned(),
    }
}

#[derive(Deserialize)]
struct Registry {
    model: Vec<ModelSpec>,
}

static REGISTRY: LazyLock<Vec<ModelSpec>> = LazyLock::new(|| {
    toml::from_str::<Registry>(include_str!("../models.toml"))
        .expect("the embedded registry is valid, as a test checks")
        .model
});

/// The models known by name, the defaults first.
pub fn registry() -> &'static [ModelSpec] {
    &REGISTRY
}

/// The registry entry of that name.
pub fn find(id: &str) -> Option<&'static ModelSpec> {
    registry().iter().find(|spec| spec.id == id)
}

#[cfg(test)]
mod tests;
