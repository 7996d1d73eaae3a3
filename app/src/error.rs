//! Why a video could not be analysed.

use std::path::{Path, PathBuf};

use face_core::clip::ClipError;
use face_core::embed::EmbeddingError;
use face_core::gallery::GalleryError;
use face_core::inference::InferenceError;
use face_core::storage::StorageError;

/// Why a video could not be analysed. Nothing is left under the name of an output file then,
/// except what was there before.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    #[error("open video '{}'", .path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("open video '{}': {reason}", .path.display())]
    NotAFile { path: PathBuf, reason: &'static str },
    #[error("read video '{}': it has no video stream", .path.display())]
    NoVideo { path: PathBuf },
    #[error(
        "read video '{}': not one picture could be decoded; the file is truncated or damaged",
        .path.display()
    )]
    NoFrames { path: PathBuf },
    #[error(
        "read video '{}': no GStreamer plugin here can decode {codec}; install gstreamer1.0-libav \
         or the plugin that can", .path.display()
    )]
    Unsupported { path: PathBuf, codec: String },
    #[error("read video '{}': {reason}", .path.display())]
    Stream { path: PathBuf, reason: String },
    #[error("analyse video '{}': {reason}", .path.display())]
    Element { path: PathBuf, reason: String },
    #[error("start GStreamer: {reason}")]
    GStreamer { reason: String },
    #[error("make GStreamer element {name}: not found; install {package}")]
    MissingElement { name: String, package: &'static str },
    #[error("set {element}'s property {property}: {reason}")]
    Property { element: String, property: String, reason: String },
    #[error("build the pipeline: {reason}")]
    Pipeline { reason: String },
    #[error("write '{}'", .path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("write '{}': {reason}", .path.display())]
    Target { path: PathBuf, reason: String },
    #[error("write annotated copy '{}': {reason}", .path.display())]
    Copy { path: PathBuf, reason: String },
    #[error("stopped before the end of '{}'", .path.display())]
    Interrupted { path: PathBuf },
    #[error(transparent)]
    Clip(#[from] ClipError),
    #[error(transparent)]
    Inference(#[from] InferenceError),
    #[error(transparent)]
    Gallery(#[from] GalleryError),
    #[error("embedding of a face")]
    Embedding(#[from] EmbeddingError),
    #[error(transparent)]
    Sheet(#[from] crate::sheet::SheetError),
    #[error("find model '{model}'")]
    Model { model: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "enrol from video '{}': nobody is on at least {wanted} good pictures of the first {seconds} \
         s{}; choose a longer part or a video with larger faces", .path.display(),
        if .refused.is_empty() { String::new() } else { format!(" (refused faces: {refused})") }
    )]
    Nobody {
        path: PathBuf,
        wanted: usize,
        seconds: u64,
        /// Reasons and numbers of the faces that were refused; may be empty.
        refused: String,
    },
}

impl AnalyzeError {
    /// Is it this video alone that cannot be analysed? Another one may be fine then. Not so if models,
    /// gallery, disk or network are to blame, or the user wants no more.
    pub fn is_of_the_video(&self) -> bool {
        match self {
            Self::Open { .. }
            | Self::NotAFile { .. }
            | Self::NoVideo { .. }
            | Self::NoFrames { .. }
            | Self::Unsupported { .. }
            | Self::Stream { .. }
            | Self::Copy { .. }
            | Self::Nobody { .. } => true,
            Self::Clip(ClipError::NoSuchClip { .. } | ClipError::NoPart { .. }) => true,
            Self::Clip(ClipError::Storage(error)) => matches!(
                error,
                StorageError::Key { .. }
                    | StorageError::NotFound { .. }
                    | StorageError::Damaged { .. }
                    | StorageError::TooLarge { .. }
                    | StorageError::Link { .. }
            ),
            _ => false,
        }
    }

    /// The same of a video that is called `name`, for one that lies in a temporary file meanwhile.
    pub(crate) fn of_video(mut self, name: &Path) -> Self {
        match &mut self {
            Self::Open { path, .. }
            | Self::NotAFile { path, .. }
            | Self::NoVideo { path }
            | Self::NoFrames { path }
            | Self::Unsupported { path, .. }
            | Self::Stream { path, .. }
            | Self::Element { path, .. }
            | Self::Copy { path, .. }
            | Self::Interrupted { path } => *path = name.to_owned(),
            _ => {}
        }
        self
    }

    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        AnalyzeError::Write { path: path.to_owned(), source }
    }

    pub(crate) fn pipeline(reason: impl std::fmt::Display) -> Self {
        AnalyzeError::Pipeline { reason: reason.to_string() }
    }
}
