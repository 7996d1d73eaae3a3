//! The gallery of enrolled people: a SQLite file is the source of truth, an immutable picture of it
//! in memory is what faces are compared with. Several machines can share a gallery in a PostgreSQL
//! database in the place of the file.
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

mod backend;
pub mod backup;
#[cfg(test)]
mod behaviour;
mod bundle;
mod changes;
pub mod copy;
mod current;
mod error;
mod file;
mod index;
mod location;
pub mod migrate;
mod name;
mod postgres;
mod roster;
mod search;
mod shared;
mod staging;
mod store;
#[cfg(test)]
mod test_people;
#[cfg(test)]
mod tests;
pub mod transfer;
mod transfer_error;
mod writer;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use error::GalleryError;
use error::embedder_ids;
pub use location::{Address, Location};
pub use name::MAX_NAME_CHARS;
pub(crate) use name::checked as checked_name;
pub use roster::{AuditEntry, Forgotten, Merged, Roster, StoredSample};
pub use search::{
    Identification, Known, Match, People, SearchError, SearchRules, Snapshot, VoteRule,
};
pub use transfer_error::TransferError;
pub use writer::Writer;

use crate::embed::{Embedding, Fingerprint};
use backend::Backend;
use current::Current;
use search::Limits;
use shared::Shared;

/// How long a write waits for a write of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of samples up to which an element should load a shared gallery.
pub const LOCAL_MAX: usize = 1_000_000;

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
    /// Is the file closed to everybody but its owner? True for a server, which asks who comes.
    pub private: bool,
}

/// An open gallery. Clones share it; it may be used from several threads.
///
/// Searching goes through [`Gallery::snapshot`] and waits for nobody. Only enrolling, listing and
/// a due [`Gallery::refresh`] touch the file. [`Gallery::identify`] searches where a gallery on a
/// server is too large to be loaded, too.
#[derive(Clone)]
pub struct Gallery(Arc<Inner>);

/// Lock order: `store`, then `checked`, `trouble` or those of `current`, each of these held alone and
/// briefly. `store` is held over file work, by design: it is what makes writes of one process wait
/// for each other. `Shared::publishing` comes after `store` and before those of `current`.
struct Inner {
    location: Location,
    fingerprint: Fingerprint,
    store: Mutex<Backend>,
    current: Arc<Current>,
    /// When the file was last looked at.
    checked: Mutex<Instant>,
    /// Why the last look at the file failed, if it did.
    trouble: Mutex<Option<String>>,
    /// Of a gallery on a server.
    shared: Option<Shared>,
}

/// How a gallery is opened, where [`Gallery::open`] does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// How long a write waits for another process, now and in every later call; 5 s.
    pub wait: Duration,
    /// Of a person with more samples only so many, the most different ones, are compared; 0: all
    /// of them. 20.
    pub max_samples: usize,
    /// A gallery on a server with more samples is not loaded: [`Gallery::identify`] asks the
    /// server, and its snapshot cannot be searched. `usize::MAX`: all are loaded, as files always
    /// are; [`LOCAL_MAX`] is what recorders should take.
    pub local_max: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { wait: BUSY_TIMEOUT, max_samples: search::MAX_SAMPLES, local_max: usize::MAX }
    }
}

/// What tests set smaller.
#[derive(Clone, Copy)]
struct Tuning {
    busy: Duration,
    limits: Limits,
    local_max: usize,
}

const TUNING: Tuning = Tuning {
    busy: BUSY_TIMEOUT,
    limits: Limits {
        index_from: search::INDEX_FROM,
        graph_from: search::GRAPH_FROM,
        max_samples: search::MAX_SAMPLES,
    },
    local_max: usize::MAX,
};

impl Gallery {
    /// Opens the gallery at `location`, a path or the address of a shared one, for embeddings of
    /// `fingerprint` and reads it into memory. With [`Access::Create`] a missing file is made,
    /// readable by its owner only, and its missing folders likewise; or the tables of a shared one.
    ///
    /// # Errors
    /// [`GalleryError::NotFound`], [`GalleryError::Corrupt`] (damaged, or no gallery),
    /// [`GalleryError::NewerSchema`], [`GalleryError::OtherEmbedder`] if it holds embeddings of
    /// another space, [`GalleryError::Busy`], [`GalleryError::Failed`]; of a shared gallery
    /// [`GalleryError::Unreachable`] or [`GalleryError::Refused`].
    pub fn open(
        location: impl Into<Location>,
        fingerprint: &Fingerprint,
        access: Access,
    ) -> Result<Self, GalleryError> {
        Self::open_tuned(&location.into(), fingerprint, access, TUNING)
    }

    /// As [`Gallery::open`], but waits at most so long for a write of another process, here and in
    /// every later call; [`Gallery::open`] waits 5 s.
    ///
    /// # Errors
    /// As [`Gallery::open`].
    pub fn open_with_timeout(
        location: impl Into<Location>,
        fingerprint: &Fingerprint,
        access: Access,
        wait: Duration,
    ) -> Result<Self, GalleryError> {
        let tuning = Tuning { busy: wait, ..TUNING };
        Self::open_tuned(&location.into(), fingerprint, access, tuning)
    }

    /// As [`Gallery::open`], but of a person with more than `max_samples` samples only the so many
    /// most different ones are compared; 0: all of them. [`Gallery::open`] takes 20.
    ///
    /// # Errors
    /// As [`Gallery::open`].
    pub fn open_limited(
        location: impl Into<Location>,
        fingerprint: &Fingerprint,
        access: Access,
        max_samples: usize,
    ) -> Result<Self, GalleryError> {
        let options = OpenOptions { max_samples, ..OpenOptions::default() };
        Self::open_with(location, fingerprint, access, options)
    }

    /// As [`Gallery::open`], with `options`.
    ///
    /// # Errors
    /// As [`Gallery::open`].
    pub fn open_with(
        location: impl Into<Location>,
        fingerprint: &Fingerprint,
        access: Access,
        options: OpenOptions,
    ) -> Result<Self, GalleryError> {
        let OpenOptions { wait, max_samples, local_max } = options;
        let limits = Limits { max_samples, ..TUNING.limits };
        let tuning = Tuning { busy: wait, limits, local_max };
        Self::open_tuned(&location.into(), fingerprint, access, tuning)
    }

    fn open_tuned(
        location: &Location,
        fingerprint: &Fingerprint,
        access: Access,
        tuning: Tuning,
    ) -> Result<Self, GalleryError> {
        let mut store = Backend::open(location, access, Some(fingerprint), tuning.busy)?;
        let written = store.fingerprint()?;
        if !written.same_space(fingerprint) {
            return Err(GalleryError::other_embedder(store.path(), &written, fingerprint));
        }
        store.keep_to(&written);
        let location = match location {
            Location::File(_) => Location::File(store.path().into()),
            server => server.clone(),
        };
        let empty = Snapshot::empty(written.dim(), tuning.limits);
        let loaded = match &store {
            Backend::File(_) => true,
            Backend::Server(_) => store.counts()?.1 <= tuning.local_max as u64,
        };
        let snapshot =
            if loaded { store.newer(empty)? } else { empty.not_loaded(store.generation()?) };
        let shared = match &store {
            Backend::File(_) => None,
            Backend::Server(server) => {
                let (most, generation) = (tuning.local_max, snapshot.generation());
                Some(Shared::new(server.dial(), most, loaded, generation))
            }
        };
        let gallery = Self(Arc::new(Inner {
            location,
            fingerprint: written,
            store: Mutex::new(store),
            current: Current::new(snapshot),
            checked: Mutex::new(Instant::now()),
            trouble: Mutex::new(None),
            shared,
        }));
        if let Some(shared) = &gallery.0.shared {
            shared.follow(Arc::downgrade(&gallery.0)).map_err(|e| GalleryError::Failed {
                op: "open",
                path: gallery.0.location.shown(),
                source: e.into(),
            })?;
        }
        Ok(gallery)
    }

    /// Looks into a gallery without a model, and checks the structure of the whole file.
    ///
    /// # Errors
    /// As [`Gallery::open`], without [`GalleryError::OtherEmbedder`].
    pub fn inspect(location: impl Into<Location>) -> Result<GalleryInfo, GalleryError> {
        let location = location.into();
        let store = Backend::open(&location, Access::Read, None, BUSY_TIMEOUT)?;
        store.check()?;
        let fingerprint = store.fingerprint()?;
        let (persons, samples) = store.counts()?;
        Ok(GalleryInfo {
            schema_version: store.schema_version(),
            dim: fingerprint.dim(),
            model: fingerprint.model,
            alignment: fingerprint.alignment,
            persons,
            samples,
            private: location.is_server() || file::is_private(store.path()),
        })
    }

    /// The file, by its absolute path, or the address.
    pub fn location(&self) -> &Location {
        &self.0.location
    }

    /// Does the snapshot have everybody? False for a gallery on a server that has, or had while it
    /// was open, more samples than [`OpenOptions::local_max`]: its snapshot is empty and refuses to
    /// be searched ([`SearchError::NotLoaded`]); [`Gallery::identify`] searches.
    pub fn is_loaded(&self) -> bool {
        self.0.shared.as_ref().is_none_or(Shared::is_loaded)
    }

    /// Decides who a face is, as [`Snapshot::decide`] does on the snapshot. Where the gallery is
    /// not loaded, its server is asked, which compares all samples of a person; the answer is
    /// waited for until `deadline` is over. Whoever must not wait calls it from another thread.
    ///
    /// # Errors
    /// As [`Snapshot::decide`]; [`SearchError::Deadline`] and [`SearchError::Server`], neither of
    /// which says anything about the face.
    pub fn identify(
        &self,
        embedding: &Embedding,
        rules: &SearchRules,
        deadline: Duration,
    ) -> Result<Identification, SearchError> {
        let Some(shared) = self.0.shared.as_ref().filter(|s| !s.is_loaded()) else {
            return self.snapshot().decide(embedding, rules);
        };
        rules.check()?;
        let expected = self.0.fingerprint.dim();
        if embedding.dim() != expected {
            return Err(SearchError::Dimension { expected, got: embedding.dim() });
        }
        // Two at least: the margin needs the second.
        let nearest = shared.nearest(embedding, rules.top_k.max(2), rules.vote, deadline)?;
        let (status, margin) =
            rules.verdict(nearest.iter().map(|(found, own)| (found.similarity, *own)));
        let mut top: Vec<Match> = nearest.into_iter().map(|(found, _)| found).collect();
        let best = top.first().cloned();
        top.truncate(rules.top_k);
        Ok(Identification { status, best, margin, top })
    }

    /// The embeddings of a person's samples, in the order of their enrolment, without negative
    /// ones; empty if there is no such person. Where the gallery is not loaded its server is asked
    /// and waited for.
    ///
    /// # Errors
    /// As [`Gallery::persons`].
    pub fn embeddings_of(&self, person_id: &str) -> Result<Vec<Embedding>, GalleryError> {
        if let Backend::Server(server) = &*self.0.store.lock()
            && !self.is_loaded()
        {
            return server.embeddings_of(person_id);
        }
        let snapshot = self.snapshot();
        let place = snapshot.people().by_place().find(|(_, p)| &*p.id == person_id);
        let Some((place, _)) = place else { return Ok(Vec::new()) };
        let own = snapshot.rows().filter(|(owner, _)| *owner == place);
        Ok(own.filter_map(|(_, row)| Embedding::new(row).ok()).collect())
    }

    /// The embedding space, as the file has it.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.0.fingerprint
    }

    /// The contents to search in, as of the last enrolment or [`Gallery::refresh`] here.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.current.get()
    }

    /// Takes over what other processes wrote; true if there was something. Looks at the file at
    /// most once per `reload_interval`, and not while another thread of this process reads or
    /// writes it. On an error the last snapshot stays.
    ///
    /// Of a shared gallery a thread takes over what is written, as soon as the server tells or
    /// once per `reload_interval`; this call waits for nothing, says whether there was something,
    /// and gives an error once, until it is another one or all is well again.
    ///
    /// # Errors
    /// [`GalleryError::Corrupt`], [`GalleryError::Busy`], [`GalleryError::OtherEmbedder`],
    /// [`GalleryError::Unreachable`], [`GalleryError::Refused`] or [`GalleryError::Failed`].
    pub fn refresh(&self, reload_interval: Duration) -> Result<bool, GalleryError> {
        if let Some(shared) = &self.0.shared {
            return shared.look(reload_interval, self.snapshot().generation());
        }
        if self.0.checked.lock().elapsed() < reload_interval {
            return Ok(false);
        }
        let Some(store) = self.0.store.try_lock() else {
            return Ok(false);
        };
        *self.0.checked.lock() = Instant::now();
        self.0.look(&store)
    }

    /// As [`Gallery::refresh`], at once, and of a shared gallery, too: waits for its server, and in
    /// both cases for writes of this process. Not for a streaming thread.
    ///
    /// # Errors
    /// As [`Gallery::refresh`].
    pub fn reload(&self) -> Result<bool, GalleryError> {
        self.0.look(&self.0.store.lock())
    }

    /// Why the snapshot may be older than what is written: what the last look at the file gave, or
    /// why the server of a shared gallery cannot be read. `None` as long as all is well.
    pub fn trouble(&self) -> Option<String> {
        match &self.0.shared {
            Some(shared) => shared.trouble(),
            None => self.0.trouble.lock().clone(),
        }
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
        let mut store = self.0.store.lock();
        let enrolled = writer::enroll(&mut store, self.0.fingerprint.dim(), name, samples)?;
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
    /// [`Inner::reload`] that remembers how it went.
    fn look(&self, store: &Backend) -> Result<bool, GalleryError> {
        let looked = self.reload(store);
        *self.trouble.lock() = looked.as_ref().err().map(|e| postgres::chain(e));
        looked
    }

    /// Publishes the contents if they are newer. Whoever holds `store` is alone here with a file,
    /// so snapshots are published in the order of their generations.
    fn reload(&self, store: &Backend) -> Result<bool, GalleryError> {
        if let Backend::Server(server) = store {
            return self.take_over(server);
        }
        let current = self.current.get();
        if store.generation()? == current.generation() {
            return Ok(false);
        }
        self.current.publish(store.newer(Snapshot::clone(&current))?);
        Ok(true)
    }

    /// Publishes what is newer on a server; true if something is. Also called by the thread that
    /// follows it, with a connection of its own.
    fn take_over(&self, store: &postgres::Store) -> Result<bool, GalleryError> {
        let Some(shared) = &self.shared else { return Ok(false) };
        // In the order of their generations, and each on top of the last.
        let _alone = shared.publishing.lock();
        let current = self.current.get();
        let generation = store.generation()?;
        if generation <= current.generation() {
            return Ok(false);
        }
        let mut next = Snapshot::clone(&current);
        if shared.is_loaded() {
            let (dim, since) = (next.dim(), Some(next.generation()));
            store.changes(dim, since, &mut |changes| next.take(changes))?;
            shared.loaded.store(next.samples() <= shared.local_max, Ordering::Release);
        }
        if !shared.is_loaded() {
            let empty = Snapshot::empty(self.fingerprint.dim(), current.limits());
            next = empty.not_loaded(generation);
        }
        self.current.publish(next);
        Ok(true)
    }

    /// What was written stays written if reading fails: the caller must not be told otherwise, and
    /// the next refresh, which still finds another generation, gives the error.
    fn reload_after_write(&self, store: &Backend) {
        let _ = self.reload(store);
        if let Some(shared) = &self.shared {
            shared.tell(self.current.get().generation());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.close();
        }
        self.current.close();
    }
}

impl std::fmt::Debug for Gallery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gallery")
            .field("location", &self.0.location)
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}
