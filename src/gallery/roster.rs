//! Looking after the people of a gallery without a model: listing, renaming, merging, removing,
//! forgetting.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::backend::Backend;
use super::{Access, BUSY_TIMEOUT, GalleryError, Location, Person, name};

/// What [`Roster::merge`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Samples that went over.
    pub moved: usize,
    /// Samples that both people had.
    pub duplicates: usize,
}

/// What [`Roster::forget`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Samples deleted by this call.
    pub samples: usize,
    /// People who stay and in whose name or attributes the name is, as "Ann" in "Annabel".
    pub elsewhere: usize,
    /// The gallery is on a server: what that keeps of deleted rows, in its files, its log, replicas
    /// and backups, was not searched.
    pub on_server: bool,
}

/// A sample as stored, without its numbers and pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSample {
    /// Never used again for another one.
    pub id: i64,
    /// The picture is not its person, though it looks like them.
    pub negative: bool,
    /// Where the picture came from; may be empty.
    pub source: String,
    /// UTC, e.g. `2026-11-22T09:30:00.000Z`.
    pub created: String,
    /// Is the aligned picture stored?
    pub crop: bool,
    /// Is the picture with its surroundings stored?
    pub loose: bool,
}

/// What was done to a gallery, without names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// UTC, e.g. `2026-11-22T09:30:00.000Z`.
    pub at: String,
    /// `enroll`, `rename`, `merge`, `remove`, `remove-sample`, `reject`, `set-threshold`,
    /// `set-expiry`, `set-attributes`, `clear`, `forget`, `import`, `copy`, `migrate`, `roll-back` or
    /// `restore`.
    pub what: String,
    /// To whom; `None` for what concerned everybody or somebody forgotten.
    pub person_id: Option<String>,
    /// Samples it was done to; people for `clear`.
    pub count: u32,
}

/// The people of a gallery, to be looked after. Needs no model and reads no embeddings; running
/// [`Gallery`](super::Gallery) objects, also of other processes, see every change at their next
/// refresh.
///
/// ```
/// use face_core::embed::{Embedding, Fingerprint};
/// use face_core::gallery::{Access, Gallery, NewSample, Roster};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("family.gallery");
/// # let probe = Embedding::new(&[1.0, 0.0])?;
/// # let face = Embedding::new(&[0.6, 0.8])?;
/// let fingerprint = Fingerprint { model: "m".into(), alignment: "a".into(), probe };
/// let gallery = Gallery::open(&path, &fingerprint, Access::Create)?;
/// gallery.enroll("Ada", &[NewSample::new(face, "ada.jpg")])?;
///
/// let mut roster = Roster::open(&path, Access::Write)?;
/// let ada = roster.find("Ada")?;
/// roster.rename(&ada.id, "Ada Lovelace")?;
/// gallery.refresh(std::time::Duration::ZERO)?;
/// assert_eq!(&*gallery.snapshot().people()[0].name, "Ada Lovelace");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Roster {
    store: Backend,
    location: Location,
}

impl Roster {
    /// Opens an existing gallery; [`Access::Create`] is as [`Access::Write`].
    ///
    /// # Errors
    /// As [`Gallery::open`](super::Gallery::open), without [`GalleryError::OtherEmbedder`].
    pub fn open(location: impl Into<Location>, access: Access) -> Result<Self, GalleryError> {
        Self::open_with_timeout(location, access, BUSY_TIMEOUT)
    }

    /// As [`Roster::open`]; a write waits so long for writes of other processes.
    ///
    /// # Errors
    /// As [`Roster::open`].
    pub fn open_with_timeout(
        location: impl Into<Location>,
        access: Access,
        timeout: Duration,
    ) -> Result<Self, GalleryError> {
        // Without an embedder no gallery can be made.
        let access = if access == Access::Create { Access::Write } else { access };
        let location = location.into();
        let store = Backend::open(&location, access, None, timeout)?;
        let location = match location {
            Location::File(_) => Location::File(store.path().into()),
            server => server,
        };
        Ok(Self { store, location })
    }

    /// The file, by its absolute path, or the address.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Everybody, in the order of their enrolment.
    ///
    /// # Errors
    /// [`GalleryError::Corrupt`], [`GalleryError::Busy`] or [`GalleryError::Failed`].
    pub fn persons(&self) -> Result<Vec<Person>, GalleryError> {
        self.store.persons()
    }

    /// The person with this id, else the one of this name.
    ///
    /// # Errors
    /// [`GalleryError::NoSuchPerson`], or as [`Roster::persons`].
    pub fn find(&self, who: &str) -> Result<Person, GalleryError> {
        let path = || self.store.path().to_path_buf();
        self.store
            .find(who)?
            .ok_or_else(|| GalleryError::NoSuchPerson { path: path(), id: who.into() })
    }

    /// The samples of a person, oldest first, negative ones among them.
    ///
    /// # Errors
    /// As [`Roster::persons`].
    pub fn samples(&self, person_id: &str) -> Result<Vec<StoredSample>, GalleryError> {
        self.store.samples_of(person_id)
    }

    /// The last `most` things done, oldest first, to everybody or to one person.
    ///
    /// # Errors
    /// As [`Roster::persons`].
    pub fn audit_log(
        &self,
        person_id: Option<&str>,
        most: u32,
    ) -> Result<Vec<AuditEntry>, GalleryError> {
        self.store.audit_log(person_id, most)
    }

    /// Gives a person another name. White space around it is dropped.
    ///
    /// # Errors
    /// [`GalleryError::Name`], [`GalleryError::NameTaken`], [`GalleryError::NoSuchPerson`],
    /// [`GalleryError::ReadOnly`], [`GalleryError::Busy`], [`GalleryError::Corrupt`] or
    /// [`GalleryError::Failed`].
    pub fn rename(&mut self, person_id: &str, name: &str) -> Result<(), GalleryError> {
        self.store.rename(person_id, name::checked(name)?)
    }

    /// Moves all samples of `from` to `into` and removes `from`. Name, threshold and expiry are
    /// those of `into`; attributes of `from` fill what `into` lacks. A picture that one of them
    /// was enrolled with is no negative sample of the other any more.
    ///
    /// # Errors
    /// [`GalleryError::SamePerson`], or as [`Roster::remove`].
    pub fn merge(&mut self, from: &str, into: &str) -> Result<Merged, GalleryError> {
        self.store.merge(from, into)
    }

    /// Removes a person with their samples; returns the number of samples. See
    /// [`Roster::forget`] for what this leaves behind.
    ///
    /// # Errors
    /// [`GalleryError::NoSuchPerson`], [`GalleryError::ReadOnly`], [`GalleryError::Busy`],
    /// [`GalleryError::Corrupt`] or [`GalleryError::Failed`].
    pub fn remove(&mut self, person_id: &str) -> Result<usize, GalleryError> {
        self.store.remove_person(person_id)
    }

    /// Removes one sample; returns the id of its person, who stays, be it without samples.
    ///
    /// # Errors
    /// [`GalleryError::NoSuchSample`], or as [`Roster::remove`].
    pub fn remove_sample(&mut self, sample: i64) -> Result<String, GalleryError> {
        self.store.remove_sample(sample)
    }

    /// Makes a sample a negative one of its person: it is not them. Returns the person's id.
    ///
    /// # Errors
    /// As [`Roster::remove_sample`].
    pub fn reject_sample(&mut self, sample: i64) -> Result<String, GalleryError> {
        self.store.reject_sample(sample)
    }

    /// Gives a person a threshold of their own (a cosine similarity, -1..=1), or takes it away.
    ///
    /// # Errors
    /// [`GalleryError::Threshold`], or as [`Roster::remove`].
    pub fn set_threshold(
        &mut self,
        person_id: &str,
        threshold: Option<f32>,
    ) -> Result<(), GalleryError> {
        if let Some(threshold) = threshold.filter(|t| !(-1.0..=1.0).contains(t)) {
            return Err(GalleryError::Threshold { threshold });
        }
        self.store.set_threshold(person_id, threshold)
    }

    /// From `expires` on (milliseconds count) the person is not matched any more; `None`: for ever.
    /// They stay in the gallery until [`Roster::remove_expired`].
    ///
    /// # Errors
    /// As [`Roster::remove`].
    pub fn set_expiry(
        &mut self,
        person_id: &str,
        expires: Option<SystemTime>,
    ) -> Result<(), GalleryError> {
        self.store.set_expiry(person_id, expires.map(millis))
    }

    /// Replaces what else is known of a person.
    ///
    /// # Errors
    /// [`GalleryError::Attributes`] for anything but a JSON object, or as [`Roster::remove`].
    pub fn set_attributes(
        &mut self,
        person_id: &str,
        attributes: &serde_json::Value,
    ) -> Result<(), GalleryError> {
        if !attributes.is_object() {
            return Err(GalleryError::Attributes);
        }
        self.store.set_attributes(person_id, &attributes.to_string())
    }

    /// Who has expired.
    ///
    /// # Errors
    /// As [`Roster::persons`].
    pub fn expired(&self) -> Result<Vec<Person>, GalleryError> {
        self.store.expired(millis(SystemTime::now()))
    }

    /// Removes everybody who has expired, each as by [`Roster::remove`]; returns who they were.
    ///
    /// # Errors
    /// As [`Roster::remove`]; who was removed before the error stays removed.
    pub fn remove_expired(&mut self) -> Result<Vec<Person>, GalleryError> {
        let expired = self.expired()?;
        for person in &expired {
            match self.store.remove_person(&person.id) {
                // Another process was faster.
                Ok(_) | Err(GalleryError::NoSuchPerson { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(expired)
    }

    /// Removes everybody; returns how many they were.
    ///
    /// # Errors
    /// As [`Roster::remove`], without [`GalleryError::NoSuchPerson`].
    pub fn clear(&mut self) -> Result<usize, GalleryError> {
        self.store.clear()
    }

    /// Forgets a person, by id or name: deletes them, writes the gallery's files anew, and searches
    /// these and `also` (files, or folders with all below) for the name, the id, the embeddings,
    /// their checksums and the pictures. `Ok` only if nothing is found. Else the same call can be
    /// made again, for it is remembered what to search for; `None` does so for everybody.
    ///
    /// Waits up to `wait` for other processes that read at the moment.
    ///
    /// In a shared gallery the person's rows are deleted, and [`Forgotten::on_server`] says that
    /// nothing was searched; files cannot be either ([`GalleryError::OnServer`]).
    ///
    /// # Errors
    /// [`GalleryError::Remnants`] with the files, [`GalleryError::Busy`] if the files could not be
    /// written anew, or as [`Roster::remove`]. The person is deleted even so.
    pub fn forget(
        &mut self,
        who: Option<&str>,
        also: &[PathBuf],
        wait: Duration,
    ) -> Result<Forgotten, GalleryError> {
        self.store.forget(who, also, wait)
    }

    /// People whose forgetting is not finished: call [`Roster::forget`] again.
    ///
    /// # Errors
    /// As [`Roster::persons`].
    pub fn unfinished(&self) -> Result<usize, GalleryError> {
        self.store.unfinished_count()
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").field("location", &self.location).finish_non_exhaustive()
    }
}

/// Milliseconds since 1970, at least 0; moments beyond all calendars are the last one.
fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // 31 December 9999, beyond which SQLite has no dates.
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX).min(253_402_300_799_999)
}

#[cfg(test)]
mod tests;
