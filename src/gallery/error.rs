//! Why a gallery cannot be opened, read or written.
//!
//! `path` is the file, or the address of a shared gallery, without a password.

use std::path::{Path, PathBuf};

use crate::embed::Fingerprint;

/// What went wrong with a gallery. The variants are apart where a caller acts differently: wait
/// for [`GalleryError::Busy`], create for [`GalleryError::NotFound`], ask the user for the rest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GalleryError {
    #[error("open gallery '{path}': there is no such {what}; enrol somebody to create it",
        path = path.display(), what = if path.starts_with("postgresql:") { "gallery" } else { "file" })]
    NotFound { path: PathBuf },
    #[error("{op} gallery '{path}': another process is writing to it; try again later", path = path.display())]
    Busy { op: &'static str, path: PathBuf },
    /// The file is damaged, or no gallery at all.
    #[error("{op} gallery '{path}': {reason}", path = path.display())]
    Corrupt { op: &'static str, path: PathBuf, reason: String },
    #[error(
        "open gallery '{path}': written by embedder '{written_by}', this pipeline uses '{pipeline}'",
        path = path.display()
    )]
    OtherEmbedder { path: PathBuf, written_by: String, pipeline: String },
    #[error(
        "open gallery '{path}': has schema version {version}, this program knows versions up to \
         {supported}; use a newer program",
        path = path.display()
    )]
    NewerSchema { path: PathBuf, version: u32, supported: u32 },
    #[error(
        "open gallery '{path}': has schema version {version} and cannot be upgraded where it is; \
         copy it to where you may write",
        path = path.display()
    )]
    OlderSchema {
        path: PathBuf,
        version: u32,
        #[source]
        source: Box<GalleryError>,
    },
    #[error("{op} gallery '{path}': it was opened for reading only", path = path.display())]
    ReadOnly { op: &'static str, path: PathBuf },
    #[error("refuse person name {name:?}: {reason}")]
    Name { name: String, reason: &'static str },
    #[error("enrol {name:?}: no samples were given")]
    NoSamples { name: String },
    #[error("enrol {name:?}: a sample has {got} dimensions, the gallery has {expected}")]
    Dimension { name: String, expected: usize, got: usize },
    #[error("gallery '{path}' has no person with id or name {id:?}", path = path.display())]
    NoSuchPerson { path: PathBuf, id: String },
    #[error("gallery '{path}' has no sample {sample}", path = path.display())]
    NoSuchSample { path: PathBuf, sample: i64 },
    #[error(
        "gallery '{path}' has another person of the name {name:?}; merge the two, or choose another \
         name",
        path = path.display()
    )]
    NameTaken { path: PathBuf, name: String },
    #[error("merge in gallery '{path}': both are the person {id:?}", path = path.display())]
    SamePerson { path: PathBuf, id: String },
    #[error("refuse attributes of a person: they are no JSON object")]
    Attributes,
    /// The person is deleted, and something of them is still in these files.
    #[error(
        "forget in gallery '{path}': deleted, but remnants are in {files}; end what reads the \
         gallery and forget again",
        path = path.display(), files = quoted(files)
    )]
    Remnants { path: PathBuf, files: Vec<PathBuf> },
    /// The server cannot be reached, or the connection was lost.
    #[error("{op} gallery '{path}': no connection to its server: {reason}", path = path.display())]
    Unreachable { op: &'static str, path: PathBuf, reason: String },
    /// The address, the password, the rights of the role, or the server itself are not as they have
    /// to be.
    #[error("{op} gallery '{path}': {reason}", path = path.display())]
    Refused { op: &'static str, path: PathBuf, reason: String },
    /// What only files can do.
    #[error("{op} gallery '{path}': it is shared, on a server; {instead}", path = path.display())]
    OnServer { op: &'static str, path: PathBuf, instead: &'static str },
    #[error("refuse threshold {threshold} of a person: it is no cosine similarity (-1 to 1)")]
    Threshold { threshold: f32 },
    /// The file system or SQLite refused: permissions, disk full, input/output error.
    #[error("{op} gallery '{path}'", path = path.display())]
    Failed {
        op: &'static str,
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn quoted(files: &[PathBuf]) -> String {
    files.iter().map(|f| format!("'{}'", f.display())).collect::<Vec<_>>().join(", ")
}

impl GalleryError {
    pub(super) fn other_embedder(
        path: &Path,
        written: &Fingerprint,
        pipeline: &Fingerprint,
    ) -> Self {
        let (written_by, pipeline) = embedder_ids(written, pipeline);
        GalleryError::OtherEmbedder { path: path.into(), written_by, pipeline }
    }
}

/// Names two embedding spaces so that they read differently: by model, else by alignment and
/// dimension; files of one name with other weights are told apart by their probes only.
pub(super) fn embedder_ids(written: &Fingerprint, pipeline: &Fingerprint) -> (String, String) {
    let long = |f: &Fingerprint| format!("{} ({}, {} dimensions)", f.model, f.alignment, f.dim());
    if written.model != pipeline.model {
        (written.model.clone(), pipeline.model.clone())
    } else if long(written) != long(pipeline) {
        (long(written), long(pipeline))
    } else {
        (written.model.clone(), format!("{} with other weights", pipeline.model))
    }
}
