//! The gallery of enrolled people: a SQLite file is the source of truth, an immutable picture of it
//! in memory is what faces are compared with.
//!
//! ```
//! use face_core::embed::{Embedding, Fingerprint};
//! use face_core::gallery::{Access, Gallery, NewSample};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("family.gallery");
//! # let probe = Embedding::new(&[1.0, 0.0])?;
//! # let face = Embedding::new(&[0.6, 0.8])?;
//! let fingerprint = Fingerprint { model: "m".into(), alignment: "a".into(), probe };
//! let gallery = Gallery::open(&path, &fingerprint, Access::Create)?;
//! gallery.enroll("Ada Lovelace", &[NewSample::new(face.clone(), "ada.jpg")])?;
//! let found = gallery.snapshot().identify(&face, 0.4, 0.05, 3)?;
//! assert_eq!(&*found.best.unwrap().name, "Ada Lovelace");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod backup;
mod bundle;
mod error;
mod file;
mod index;
pub mod migrate;
mod name;
mod roster;
mod search;
mod staging;
mod store;
#[cfg(test)]
mod test_people;
#[cfg(test)]
mod tests;
pub mod transfer;
mod transfer_error;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

pub use error::GalleryError;
pub use name::MAX_NAME_CHARS;
pub(crate) use name::checked as checked_name;
pub use roster::{AuditEntry, Forgotten, Merged, Roster, StoredSample};
pub use search::{Identification, Known, Match, SearchError, SearchRules, Snapshot, VoteRule};
pub use transfer_error::TransferError;

use crate::embed::{Embedding, Fingerprint};
use index::Graph;
use search::Limits;
use store::Store;

/// How long a write waits for a write of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a gallery is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Searching only; the file must exist.
    Read,
    /// Searching and enrolling; the file must exist.
    Write,
    /// As [`Access::Write`]; a missing file is made.
    Create,
}

/// A picture of a person, to be enrolled.
#[derive(Clone, Debug)]
pub struct NewSample {
    pub embedding: Embedding,
    /// The aligned face as PNG, from which another model can embed it again.
    pub crop_png: Option<Vec<u8>>,
    /// The face with its surroundings, from which another alignment can be cut.
    pub loose: Option<LooseCrop>,
    /// Where the picture came from, e.g. a file name; may be empty.
    pub source: String,
}

/// A face with its surroundings: 1.6 times its box, at most 256 pixels a side.
#[derive(Clone, Debug, PartialEq)]
pub struct LooseCrop {
    pub png: Vec<u8>,
    /// The five landmarks, [x, y] in pixels of the picture.
    pub points: [[f32; 2]; 5],
}

impl NewSample {
    /// A sample without its picture.
    pub fn new(embedding: Embedding, source: impl Into<String>) -> Self {
        Self { embedding, crop_png: None, loose: None, source: source.into() }
    }
}

/// What an enrolment did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Id of the person, a random UUID.
    pub person_id: String,
    /// Was there no person of that name before?
    pub created: bool,
    /// Samples stored.
    pub added: usize,
    /// Samples that the person had already, exactly the same.
    pub duplicates: usize,
}

/// A person as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// A random UUID, kept for ever.
    pub id: String,
    /// The name to show; no two people have the same.
    pub name: String,
    /// What else is known, a JSON object.
    pub attributes: serde_json::Value,
    /// Cosine similarity from which a face is this person, instead of the general threshold.
    pub threshold: Option<f32>,
    /// Number of samples.
    pub samples: u32,
    /// Number of negative samples: pictures that are not this person, though they look like them.
    pub negatives: u32,
    /// From when on the person is not matched any more, UTC, e.g. `2026-11-22T09:30:00.000Z`.
    pub expires: Option<String>,
    /// Is that moment over?
    pub expired: bool,
    /// UTC, e.g. `2026-11-22T09:30:00.000Z`.
    pub created: String,
    /// UTC, of the last change to the person or their samples.
    pub updated: String,
}

/// What [`Gallery::inspect`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GalleryInfo {
    pub schema_version: u32,
    /// Registry id of the model that wrote the embeddings.
    pub model: String,
    /// Name of its alignment template.
    pub alignment: String,
    /// Number of dimensions of its embeddings.
    pub dim: usize,
    pub persons: u64,
    pub samples: u64,
    /// Is the file closed to everybody but its owner?
    pub private: bool,
}

/// An open gallery. Clones share it; it may be used from several threads.
///
/// Searching goes through [`Gallery::snapshot`] and waits for nobody. Only enrolling, listing and
/// a due [`Gallery::refresh`] touch the file.
#[derive(Clone)]
pub struct Gallery(Arc<Inner>);

/// Lock order: `store`, then `snapshot`, `checked`, `builder`, each of these held alone and
/// briefly. `store` is held over file work, by design: it is what makes writes of one process wait
/// for each other.
struct Inner {
    path: PathBuf,
    fingerprint: Fingerprint,
    store: Mutex<Store>,
    snapshot: RwLock<Arc<Snapshot>>,
    /// When the file was last looked at.
    checked: Mutex<Instant>,
    builder: Mutex<Option<Builder>>,
}

/// The thread that builds a search graph; searches are exact scans until it is done.
struct Builder {
    graph: Arc<Graph>,
    thread: JoinHandle<()>,
}

impl Builder {
    /// Ends within the time of one added row, about a millisecond.
    fn stop(self) {
        self.graph.cancel();
        // A builder that panicked built nothing: searches stay exact.
        let _ = self.thread.join();
    }
}

/// What tests set smaller.
#[derive(Clone, Copy)]
struct Tuning {
    busy: Duration,
    limits: Limits,
}

const TUNING: Tuning = Tuning {
    busy: BUSY_TIMEOUT,
    limits: Limits { index_from: search::INDEX_FROM, max_samples: search::MAX_SAMPLES },
};

impl Gallery {
    /// Opens the gallery at `path` for embeddings of `fingerprint` and reads it into memory. With
    /// [`Access::Create`] a missing file is made, readable by its owner only, and its missing
    /// folders likewise.
    ///
    /// # Errors
    /// [`GalleryError::NotFound`], [`GalleryError::Corrupt`] (damaged, or no gallery),
    /// [`GalleryError::NewerSchema`], [`GalleryError::OtherEmbedder`] if it holds embeddings of
    /// another space, [`GalleryError::Busy`], or [`GalleryError::Failed`].
    pub fn open(
        path: &Path,
        fingerprint: &Fingerprint,
        access: Access,
    ) -> Result<Self, GalleryError> {
        Self::open_tuned(path, fingerprint, access, TUNING)
    }

    /// As [`Gallery::open`], but waits at most so long for a write of another process, here and in
    /// every later call; [`Gallery::open`] waits 5 s.
    ///
    /// # Errors
    /// As [`Gallery::open`].
    pub fn open_with_timeout(
        path: &Path,
        fingerprint: &Fingerprint,
        access: Access,
        wait: Duration,
    ) -> Result<Self, GalleryError> {
        Self::open_tuned(path, fingerprint, access, Tuning { busy: wait, ..TUNING })
    }

    /// As [`Gallery::open`], but of a person with more than `max_samples` samples only the so many
    /// most different ones are compared; 0: all of them. [`Gallery::open`] takes 20.
    ///
    /// # Errors
    /// As [`Gallery::open`].
    pub fn open_limited(
        path: &Path,
        fingerprint: &Fingerprint,
        access: Access,
        max_samples: usize,
    ) -> Result<Self, GalleryError> {
        let limits = Limits { max_samples, ..TUNING.limits };
        Self::open_tuned(path, fingerprint, access, Tuning { limits, ..TUNING })
    }

    fn open_tuned(
        path: &Path,
        fingerprint: &Fingerprint,
        access: Access,
        tuning: Tuning,
    ) -> Result<Self, GalleryError> {
        let mut store = Store::open(path, access, Some(fingerprint), tuning.busy)?;
        let written = store.fingerprint()?;
        if !written.same_space(fingerprint) {
            return Err(GalleryError::other_embedder(store.path(), &written, fingerprint));
        }
        store.keep_to(&written);
        let snapshot = Arc::new(store.load(written.dim(), tuning.limits, None)?);
        let gallery = Self(Arc::new(Inner {
            path: store.path().into(),
            fingerprint: written,
            store: Mutex::new(store),
            snapshot: RwLock::new(snapshot.clone()),
            checked: Mutex::new(Instant::now()),
            builder: Mutex::new(None),
        }));
        gallery.0.build_graph_of(&snapshot);
        Ok(gallery)
    }

    /// Looks into a gallery without a model, and checks the structure of the whole file.
    ///
    /// # Errors
    /// As [`Gallery::open`], without [`GalleryError::OtherEmbedder`].
    pub fn inspect(path: &Path) -> Result<GalleryInfo, GalleryError> {
        let store = Store::open(path, Access::Read, None, BUSY_TIMEOUT)?;
        store.check()?;
        let fingerprint = store.fingerprint()?;
        let (persons, samples) = store.counts()?;
        Ok(GalleryInfo {
            schema_version: store::SCHEMA_VERSION,
            dim: fingerprint.dim(),
            model: fingerprint.model,
            alignment: fingerprint.alignment,
            persons,
            samples,
            private: file::is_private(store.path()),
        })
    }

    /// Absolute path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The embedding space, as the file has it.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.0.fingerprint
    }

    /// The contents to search in, as of the last enrolment or [`Gallery::refresh`] here.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.read().clone()
    }

    /// Takes over what other processes wrote; true if there was something. Looks at the file at
    /// most once per `reload_interval`, and not while another thread of this process reads or
    /// writes it. On an error the last snapshot stays.
    ///
    /// # Errors
    /// [`GalleryError::Corrupt`], [`GalleryError::Busy`] or [`GalleryError::Failed`].
    pub fn refresh(&self, reload_interval: Duration) -> Result<bool, GalleryError> {
        if self.0.checked.lock().elapsed() < reload_interval {
            return Ok(false);
        }
        let Some(store) = self.0.store.try_lock() else {
            return Ok(false);
        };
        *self.0.checked.lock() = Instant::now();
        self.0.reload(&store)
    }

    /// Adds samples to the person of that name, who is made if there is none. All or nothing is
    /// stored; samples that the person has already are not stored again. White space around the
    /// name is dropped.
    ///
    /// # Errors
    /// [`GalleryError::Name`], [`GalleryError::NoSamples`] or [`GalleryError::Dimension`] for what
    /// cannot be enrolled, [`GalleryError::ReadOnly`], [`GalleryError::Busy`],
    /// [`GalleryError::Corrupt`] or [`GalleryError::Failed`].
    pub fn enroll(&self, name: &str, samples: &[NewSample]) -> Result<Enrolled, GalleryError> {
        let name = name::checked(name)?;
        if samples.is_empty() {
            return Err(GalleryError::NoSamples { name: name.into() });
        }
        let expected = self.0.fingerprint.dim();
        if let Some(got) = samples.iter().map(|s| s.embedding.dim()).find(|d| *d != expected) {
            return Err(GalleryError::Dimension { name: name.into(), expected, got });
        }
        let mut store = self.0.store.lock();
        let enrolled = store.enroll(name, &uuid::Uuid::new_v4().to_string(), samples)?;
        self.0.reload_after_write(&store);
        Ok(enrolled)
    }

    /// Stores a picture that is not this person, though it looks like them: a face nearer to it
    /// than to the person's own samples is not matched with them. A sample of the person becomes a
    /// negative one if it is the very same. False if it was there already.
    ///
    /// # Errors
    /// [`GalleryError::Dimension`], [`GalleryError::NoSuchPerson`], or as [`Gallery::enroll`].
    pub fn reject(&self, person_id: &str, sample: &NewSample) -> Result<bool, GalleryError> {
        let (expected, got) = (self.0.fingerprint.dim(), sample.embedding.dim());
        if expected != got {
            return Err(GalleryError::Dimension { name: person_id.into(), expected, got });
        }
        let mut store = self.0.store.lock();
        let added = store.reject(person_id, sample)?;
        self.0.reload_after_write(&store);
        Ok(added)
    }

    /// Gives a person a threshold of their own (a cosine similarity, -1..=1), or takes it away.
    ///
    /// # Errors
    /// [`GalleryError::Threshold`], [`GalleryError::NoSuchPerson`], or as [`Gallery::enroll`].
    pub fn set_threshold(
        &self,
        person_id: &str,
        threshold: Option<f32>,
    ) -> Result<(), GalleryError> {
        if let Some(threshold) = threshold.filter(|t| !(-1.0..=1.0).contains(t)) {
            return Err(GalleryError::Threshold { threshold });
        }
        let mut store = self.0.store.lock();
        store.set_threshold(person_id, threshold)?;
        self.0.reload_after_write(&store);
        Ok(())
    }

    /// Everybody, in the order of their enrolment, as the file has them now.
    ///
    /// # Errors
    /// [`GalleryError::Corrupt`], [`GalleryError::Busy`] or [`GalleryError::Failed`].
    pub fn persons(&self) -> Result<Vec<Person>, GalleryError> {
        self.0.store.lock().persons()
    }
}

impl Inner {
    /// Publishes the contents of the file if they are newer. Whoever holds `store` is alone here,
    /// so snapshots are published in the order of their generations.
    fn reload(&self, store: &Store) -> Result<bool, GalleryError> {
        let current = self.snapshot.read().clone();
        if store.generation()? == current.generation() {
            return Ok(false);
        }
        let dim = self.fingerprint.dim();
        let next = Arc::new(store.load(dim, current.limits(), Some(&current))?);
        *self.snapshot.write() = next.clone();
        self.build_graph_of(&next);
        Ok(true)
    }

    /// What was written stays written if reading fails: the caller must not be told otherwise, and
    /// the next refresh, which still finds another generation, gives the error.
    fn reload_after_write(&self, store: &Store) {
        let _ = self.reload(store);
    }

    /// Starts the thread that builds the snapshot's graph, if it has one that nobody builds.
    fn build_graph_of(&self, snapshot: &Arc<Snapshot>) {
        let wanted = snapshot.graph().filter(|g| !g.is_built());
        let mut builder = self.builder.lock();
        if let (Some(wanted), Some(running)) = (wanted, builder.as_ref())
            && Arc::ptr_eq(wanted, &running.graph)
        {
            return;
        }
        let outdated = builder.take();
        if let Some(graph) = wanted.cloned() {
            let snapshot = snapshot.clone();
            let thread = std::thread::Builder::new().name("face-index".into()).spawn(move || {
                // Without a graph searches are slower and as right.
                let _ = snapshot.build_graph();
            });
            // No thread to be had is no reason to fail either; the next snapshot tries again.
            *builder = thread.ok().map(|thread| Builder { graph, thread });
        }
        drop(builder);
        if let Some(outdated) = outdated {
            outdated.stop();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(builder) = self.builder.lock().take() {
            builder.stop();
        }
    }
}

impl std::fmt::Debug for Gallery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gallery")
            .field("path", &self.0.path)
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

impl GalleryError {
    fn other_embedder(path: &Path, written: &Fingerprint, pipeline: &Fingerprint) -> Self {
        let (written_by, pipeline) = embedder_ids(written, pipeline);
        GalleryError::OtherEmbedder { path: path.into(), written_by, pipeline }
    }
}

/// Names two embedding spaces so that they read differently: by model, else by alignment and
/// dimension; files of one name with other weights are told apart by their probes only.
fn embedder_ids(written: &Fingerprint, pipeline: &Fingerprint) -> (String, String) {
    let long = |f: &Fingerprint| format!("{} ({}, {} dimensions)", f.model, f.alignment, f.dim());
    if written.model != pipeline.model {
        (written.model.clone(), pipeline.model.clone())
    } else if long(written) != long(pipeline) {
        (long(written), long(pipeline))
    } else {
        (written.model.clone(), format!("{} with other weights", pipeline.model))
    }
}
