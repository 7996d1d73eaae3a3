//! Models: what each one is (`ModelSpec`), the registry of those known, and where files are found.

use std::path::PathBuf;

use serde::Deserialize;

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    Detector,
    Embedder,
}

/// How the outputs of a model are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decoder {
    /// YuNet: anchor-free, strides 8, 16, 32, box, score and five points per cell.
    Yunet,
    /// One embedding vector per face.
    Embedding,
}

/// Order of the colour channels in the input tensor (always planar, NCHW).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    Rgb,
    Bgr,
}

/// Everything that must be known to feed a model and to read its outputs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelSpec {
    /// Registry name, e.g. `yunet_n_dynamic`.
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
    /// Detectors: width and height of the input must be multiples of this.
    #[serde(default)]
    pub size_multiple: Option<u32>,
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
    pub licence: String,
    /// May the weights be used commercially?
    pub commercial: bool,
    /// What is known of the training data.
    pub training_data: String,
    pub description: String,
    pub file: ModelFile,
}

/// A dimension of the input that is fixed in the file and made symbolic at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreeDim {
    Batch,
    Size,
}

/// The file of a model and where it comes from.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelFile {
    pub name: String,
    /// Lower-case hexadecimal SHA-256 of the file.
    pub sha256: String,
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
