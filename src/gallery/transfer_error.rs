//! Why a gallery cannot be backed up, restored, exported, imported or migrated.

use std::io;
use std::path::{Path, PathBuf};

use super::GalleryError;
use crate::inference::InferenceError;

/// What went wrong with the files that galleries are carried in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    #[error(transparent)]
    Gallery(#[from] GalleryError),
    /// A model failed.
    #[error("embed the stored pictures")]
    Embed(#[from] InferenceError),
    /// Nothing of such a file is used. `kind` is "backup" or "export".
    #[error("read {kind} '{path}': {reason}", path = path.display())]
    Damaged { kind: &'static str, path: PathBuf, reason: String },
    #[error(
        "read {kind} '{path}': has format version {version}, this program knows versions up to \
         {supported}; use a newer program",
        path = path.display()
    )]
    NewerFormat { kind: &'static str, path: PathBuf, version: u32, supported: u32 },
    #[error("write '{path}': there is such a file already", path = path.display())]
    Exists { path: PathBuf },
    #[error("write '{path}': another process is writing it; try again later", path = path.display())]
    Busy { path: PathBuf },
    #[error("write '{path}': '{leftover}' is left of a removed gallery; remove it first",
        path = path.display(), leftover = leftover.display())]
    Leftover { path: PathBuf, leftover: PathBuf },
    /// What is there cannot be replaced in place, because it is no intact gallery.
    #[error(
        "replace gallery '{path}': it is damaged; stop the programs that use it, move it and its \
         -wal and -shm away, and restore again",
        path = path.display()
    )]
    Irreplaceable {
        path: PathBuf,
        #[source]
        source: GalleryError,
    },
    #[error(
        "migrate gallery '{path}': it is in the embedding space of '{model}' already",
        path = path.display()
    )]
    SameSpace { path: PathBuf, model: String },
    #[error(
        "migrate gallery '{path}': {lost} samples cannot be taken along, {most} were to be expected",
        path = path.display()
    )]
    MoreLost { path: PathBuf, lost: u64, most: u64 },
    #[error(
        "migrate gallery '{path}': others keep on enrolling faster than samples are embedded;          stop them for the time of the migration",
        path = path.display()
    )]
    TooBusy { path: PathBuf },
    #[error(
        "roll gallery '{path}' back: there is no '{before}', the gallery before it came to '{model}'",
        path = path.display(), before = before.display()
    )]
    NoWayBack { path: PathBuf, before: PathBuf, model: String },
    #[error(
        "roll gallery '{path}' back: it has not been migrated, or was rolled back since",
        path = path.display()
    )]
    NeverMigrated { path: PathBuf },
    /// A copy goes between galleries of one embedding space.
    #[error(
        "copy to gallery '{path}': written by embedder '{to}', the other gallery by '{from}'; \
         migrate one of them, or export and import, which embeds the pictures again",
        path = path.display()
    )]
    OtherSpace { path: PathBuf, from: String, to: String },
    #[error("copy gallery '{path}' to itself", path = path.display())]
    SameGallery { path: PathBuf },
    /// Nothing was imported: people of the file are in the gallery already.
    #[error(
        "import '{path}': {count} of its people are in the gallery already, the first is {first:?}; \
         ask for them to be merged or left out",
        path = path.display()
    )]
    Clash { path: PathBuf, count: usize, first: String },
    /// Nothing was imported: which of two people is meant cannot be told.
    #[error(
        "import '{path}': {name:?} has the id of one person of the gallery and the name of another; \
         rename that one first",
        path = path.display()
    )]
    TwoPeople { path: PathBuf, name: String },
    /// The gallery has another embedding space than the file, and no model was given.
    #[error(
        "import '{path}': written by embedder '{written_by}', the gallery by '{gallery}'; its \
         pictures have to be embedded again",
        path = path.display()
    )]
    NeedsEmbedder { path: PathBuf, written_by: String, gallery: String },
    #[error("{op} '{path}'", path = path.display())]
    Io {
        op: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl TransferError {
    pub(super) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        TransferError::Io { op, path: path.into(), source }
    }
}
