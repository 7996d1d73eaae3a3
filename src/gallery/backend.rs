//! The two places a gallery can be in, with the same operations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::store::{self, PersonRow, Pictures, SampleKey, SampleRow};
use super::{
    Access, AuditEntry, Enrolled, Forgotten, GalleryError, Location, Merged, NewSample, Person,
    Snapshot, StoredSample, TransferError, postgres,
};
use crate::embed::Fingerprint;

/// An open gallery: a file, or a database on a server.
pub(super) enum Backend {
    File(store::Store),
    Server(Box<postgres::Store>),
}

/// A transaction that writes people and samples.
pub(super) enum Writing<'a, 't> {
    File(&'a store::Writing<'t>),
    Server(&'a postgres::Writing<'t>),
}

/// The same call on whichever it is.
macro_rules! either {
    ($backend:expr, $store:ident => $call:expr) => {
        match $backend {
            Self::File($store) => $call,
            Self::Server($store) => $call,
        }
    };
}

impl Backend {
    /// As [`store::Store::open`] and [`postgres::Store::open`].
    pub(super) fn open(
        location: &Location,
        access: Access,
        fingerprint: Option<&Fingerprint>,
        busy: Duration,
    ) -> Result<Self, GalleryError> {
        match location {
            Location::File(path) => {
                store::Store::open(path, access, fingerprint, busy).map(Self::File)
            }
            Location::Server(address) => {
                let store = postgres::Store::open(address, access, fingerprint, busy)?;
                Ok(Self::Server(Box::new(store)))
            }
        }
    }

    /// The file, or the address without its password.
    pub(super) fn path(&self) -> &Path {
        either!(self, s => s.path())
    }

    pub(super) fn schema_version(&self) -> u32 {
        match self {
            Self::File(_) => store::SCHEMA_VERSION,
            Self::Server(_) => postgres::SCHEMA_VERSION,
        }
    }

    pub(super) fn fingerprint(&self) -> Result<Fingerprint, GalleryError> {
        either!(self, s => s.fingerprint())
    }

    pub(super) fn keep_to(&mut self, space: &Fingerprint) {
        either!(self, s => s.keep_to(space));
    }

    /// Counts the writes.
    pub(super) fn generation(&self) -> Result<u64, GalleryError> {
        either!(self, s => s.generation())
    }

    /// The snapshot with what was written since.
    pub(super) fn newer(&self, mut snapshot: Snapshot) -> Result<Snapshot, GalleryError> {
        let (dim, since) = (snapshot.dim(), snapshot.generation());
        // Generations begin at 1.
        let since = (since > 0).then_some(since);
        either!(self, s => s.changes(dim, since, &mut |changes| snapshot.take(changes)))?;
        Ok(snapshot)
    }

    pub(super) fn counts(&self) -> Result<(u64, u64), GalleryError> {
        either!(self, s => s.counts())
    }

    pub(super) fn now(&self) -> Result<String, GalleryError> {
        either!(self, s => s.now())
    }

    /// Reads all of a file and checks its structure; what a server does by itself.
    pub(super) fn check(&self) -> Result<(), GalleryError> {
        match self {
            Self::File(store) => store.check(),
            Self::Server(_) => Ok(()),
        }
    }

    pub(super) fn enroll(
        &mut self,
        name: &str,
        new_id: &str,
        samples: &[NewSample],
    ) -> Result<Enrolled, GalleryError> {
        either!(self, s => s.enroll(name, new_id, samples))
    }

    pub(super) fn reject(&mut self, id: &str, sample: &NewSample) -> Result<bool, GalleryError> {
        either!(self, s => s.reject(id, sample))
    }

    pub(super) fn persons(&self) -> Result<Vec<Person>, GalleryError> {
        either!(self, s => s.persons())
    }

    pub(super) fn find(&self, who: &str) -> Result<Option<Person>, GalleryError> {
        either!(self, s => s.find(who))
    }

    pub(super) fn rename(&mut self, id: &str, name: &str) -> Result<(), GalleryError> {
        either!(self, s => s.rename(id, name))
    }

    pub(super) fn merge(&mut self, from: &str, into: &str) -> Result<Merged, GalleryError> {
        either!(self, s => s.merge(from, into))
    }

    pub(super) fn remove_person(&mut self, id: &str) -> Result<usize, GalleryError> {
        either!(self, s => s.remove_person(id))
    }

    pub(super) fn remove_sample(&mut self, sample: i64) -> Result<String, GalleryError> {
        either!(self, s => s.remove_sample(sample))
    }

    pub(super) fn reject_sample(&mut self, sample: i64) -> Result<String, GalleryError> {
        either!(self, s => s.reject_sample(sample))
    }

    pub(super) fn set_threshold(
        &mut self,
        id: &str,
        threshold: Option<f32>,
    ) -> Result<(), GalleryError> {
        either!(self, s => s.set_threshold(id, threshold))
    }

    pub(super) fn set_expiry(
        &mut self,
        id: &str,
        expires: Option<i64>,
    ) -> Result<(), GalleryError> {
        either!(self, s => s.set_expiry(id, expires))
    }

    pub(super) fn set_attributes(
        &mut self,
        id: &str,
        attributes: &str,
    ) -> Result<(), GalleryError> {
        either!(self, s => s.set_attributes(id, attributes))
    }

    pub(super) fn expired(&self, now: i64) -> Result<Vec<Person>, GalleryError> {
        either!(self, s => s.expired(now))
    }

    pub(super) fn clear(&mut self) -> Result<usize, GalleryError> {
        either!(self, s => s.clear())
    }

    pub(super) fn samples_of(&self, id: &str) -> Result<Vec<StoredSample>, GalleryError> {
        either!(self, s => s.samples_of(id))
    }

    pub(super) fn audit_log(
        &self,
        person: Option<&str>,
        most: u32,
    ) -> Result<Vec<AuditEntry>, GalleryError> {
        either!(self, s => s.audit_log(person, most))
    }

    pub(super) fn forget(
        &mut self,
        who: Option<&str>,
        also: &[PathBuf],
        wait: Duration,
    ) -> Result<Forgotten, GalleryError> {
        either!(self, s => s.forget(who, also, wait))
    }

    /// People of whom files may still have remnants.
    pub(super) fn unfinished_count(&self) -> Result<usize, GalleryError> {
        match self {
            Self::File(store) => store.unfinished_count(),
            Self::Server(_) => Ok(0),
        }
    }

    pub(super) fn everybody(&self) -> Result<Vec<(i64, String, String)>, GalleryError> {
        either!(self, s => s.everybody())
    }

    pub(super) fn person_rows(
        &self,
        number: i64,
    ) -> Result<Option<(PersonRow, Vec<SampleRow>)>, GalleryError> {
        either!(self, s => s.person_rows(number))
    }

    pub(super) fn sample_keys(&self) -> Result<Vec<SampleKey>, GalleryError> {
        either!(self, s => s.sample_keys())
    }

    pub(super) fn pictures(&self, id: i64) -> Result<Option<(String, Pictures)>, GalleryError> {
        either!(self, s => s.pictures(id))
    }

    pub(super) fn transact<T>(
        &mut self,
        op: &'static str,
        body: impl FnOnce(&Writing<'_, '_>) -> Result<T, TransferError>,
    ) -> Result<T, TransferError> {
        match self {
            Self::File(store) => store.transact(op, true, |w| body(&Writing::File(w))),
            Self::Server(store) => store.transact(op, true, |w| body(&Writing::Server(w))),
        }
    }
}

impl Writing<'_, '_> {
    pub(super) fn find(
        &self,
        id: &str,
        name: &str,
    ) -> Result<(Option<i64>, Option<i64>), TransferError> {
        either!(self, w => w.find(id, name))
    }

    pub(super) fn add_person(&self, person: &PersonRow) -> Result<i64, TransferError> {
        either!(self, w => w.add_person(person))
    }

    pub(super) fn add_sample(
        &self,
        person: i64,
        sample: &SampleRow,
    ) -> Result<bool, TransferError> {
        either!(self, w => w.add_sample(person, sample))
    }

    /// Says that there is something new, where adding does not.
    pub(super) fn raise_generation(&self) -> Result<(), TransferError> {
        match self {
            Self::File(writing) => writing.raise_generation(),
            Self::Server(_) => Ok(()),
        }
    }

    pub(super) fn audit(&self, what: &str, count: usize) -> Result<(), TransferError> {
        either!(self, w => w.audit(what, count))
    }
}
