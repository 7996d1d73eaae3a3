//! The clips of a storage: finding, fetching, removing them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::forget;
use super::key::{KeyTemplate, Part};
use super::sidecar::{Origin, Sidecar};
use super::utc;
use crate::storage::{Link, Object, Progress, Storage, StorageError, Stored};

/// Largest sidecar that is read, bytes. The reference writes pictures into its own as numbers.
const LARGEST_SIDECAR: u64 = 64 << 20;

/// Why something could not be done with clips.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("'{key}' is no clip of '{storage}'")]
    NoSuchClip { key: String, storage: String },
    #[error("the clip '{clip}' has no {part}", part = .part.as_str())]
    NoPart { clip: String, part: Part },
    #[error("cannot write '{}'", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cancelled")]
    Cancelled,
}

/// What the sidecar of a clip says, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub duration: Duration,
    /// Kinds of the triggers, each once, in their order.
    pub events: Vec<String>,
    /// Name and id of everybody recognised; either may be empty.
    pub people: Vec<(String, String)>,
    pub truncated: bool,
    pub origin: Origin,
    /// Checksum of the original.
    pub sha256: Option<String>,
}

/// What is known of a clip's sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SidecarState {
    /// There is none.
    Missing,
    /// There is one that cannot be read, and why.
    Broken(String),
    Read(Summary),
}

/// A clip, whatever of it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// What the keys of its parts begin with.
    pub stem: String,
    /// From the sidecar, else from the key, where only letters, digits, `-` and `_` are as they were.
    pub camera: Option<String>,
    /// From the sidecar, else from the key, else when the clip was stored.
    pub start: SystemTime,
    /// From the sidecar, else from the key.
    pub event: Option<String>,
    pub original: Option<Object>,
    pub json: Option<Object>,
    pub annotated: Option<Object>,
    pub snapshot: Option<Object>,
    pub sidecar: SidecarState,
}

/// Which clips are of interest. A clip must fit everything that is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub camera: Option<String>,
    /// Began at this moment or later.
    pub since: Option<SystemTime>,
    /// Began before this moment.
    pub until: Option<SystemTime>,
    /// Name or id.
    pub person: Option<String>,
    /// Kind of any trigger.
    pub event: Option<String>,
}

/// Which clips are to go.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    /// Only clips on which this person (name or id) was recognised.
    pub person: Option<String>,
    /// Of these, those that began before this moment.
    pub before: Option<SystemTime>,
    /// Then the oldest, until all of them together have no more bytes than this.
    pub max_bytes: Option<u64>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub clips: usize,
    pub objects: usize,
    pub bytes: u64,
}

/// How a person was forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Sidecars that named the person and do not any more.
    pub sidecars: usize,
    /// Snapshots and annotated videos that showed the person, or the name, and were removed.
    pub pictures: usize,
    /// Clips that were removed as a whole.
    pub clips: usize,
    /// Clips whose sidecar cannot be read: whether they name the person is not known.
    pub unreadable: Vec<String>,
}

/// Told how many of how many clips are done.
type Steps<'a> = dyn FnMut(usize, usize) -> ControlFlow<()> + 'a;

impl Clip {
    pub fn part(&self, part: Part) -> Option<&Object> {
        match part {
            Part::Original => self.original.as_ref(),
            Part::Sidecar => self.json.as_ref(),
            Part::Annotated => self.annotated.as_ref(),
            Part::Snapshot => self.snapshot.as_ref(),
        }
    }

    fn part_mut(&mut self, part: Part) -> &mut Option<Object> {
        match part {
            Part::Original => &mut self.original,
            Part::Sidecar => &mut self.json,
            Part::Annotated => &mut self.annotated,
            Part::Snapshot => &mut self.snapshot,
        }
    }

    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        Part::ALL.into_iter().filter_map(|part| self.part(part))
    }

    /// Of all parts.
    pub fn bytes(&self) -> u64 {
        self.objects().map(|object| object.size).sum()
    }

    /// What the sidecar says, if it could be read.
    pub fn summary(&self) -> Option<&Summary> {
        match &self.sidecar {
            SidecarState::Read(summary) => Some(summary),
            _ => None,
        }
    }

    /// Was this person (name or id) recognised on it? False if its sidecar cannot be read.
    pub fn shows(&self, person: &str) -> bool {
        let people = self.summary().map(|summary| summary.people.as_slice()).unwrap_or_default();
        !person.is_empty() && people.iter().any(|(name, id)| name == person || id == person)
    }

    fn fits(&self, filter: &Filter) -> bool {
        let event = |wanted: &String| match self.summary() {
            Some(summary) if !summary.events.is_empty() => summary.events.contains(wanted),
            _ => self.event.as_ref() == Some(wanted),
        };
        filter.camera.as_ref().is_none_or(|camera| self.camera.as_ref() == Some(camera))
            && filter.since.is_none_or(|since| self.start >= since)
            && filter.until.is_none_or(|until| self.start < until)
            && filter.event.as_ref().is_none_or(event)
            && filter.person.as_ref().is_none_or(|person| self.shows(person))
    }
}

impl Prune {
    /// The clips that are to go, the oldest first.
    pub fn choose<'a>(&self, clips: &'a [Clip]) -> Vec<&'a Clip> {
        let person = |clip: &&Clip| self.person.as_ref().is_none_or(|person| clip.shows(person));
        let mut clips: Vec<&Clip> = clips.iter().filter(person).collect();
        clips.sort_by(|a, b| (a.start, &a.stem).cmp(&(b.start, &b.stem)));
        let mut left: u64 = clips.iter().map(|clip| clip.bytes()).sum();
        let all = self.before.is_none() && self.max_bytes.is_none() && self.person.is_some();
        clips.retain(|clip| {
            let old = self.before.is_some_and(|before| clip.start < before);
            let much = self.max_bytes.is_some_and(|limit| left > limit);
            let goes = all || old || much;
            left -= if goes { clip.bytes() } else { 0 };
            goes
        });
        clips
    }
}

/// The clips of a storage. Objects that are none are left alone by everything here.
#[derive(Debug)]
pub struct Clips {
    storage: Storage,
    template: KeyTemplate,
}

impl Clips {
    /// `template` says how the keys of the clips were made; others are found by their endings, too.
    pub fn new(storage: Storage, template: KeyTemplate) -> Self {
        Self { storage, template }
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The clips that fit, the newest first. Sidecars are read one after another, `progress` is
    /// told before each.
    ///
    /// # Errors
    /// [`ClipError`]. A sidecar that cannot be read is no error, see [`SidecarState`].
    pub fn list(&self, filter: &Filter, progress: &mut Steps<'_>) -> Result<Vec<Clip>, ClipError> {
        let mut clips = self.group("")?;
        // Many clips can be told from their keys; their sidecars need not be read.
        clips.retain(|clip| self.may_fit(clip, filter));
        let total = clips.len();
        for (done, clip) in clips.iter_mut().enumerate() {
            if progress(done, total).is_break() {
                return Err(ClipError::Cancelled);
            }
            self.describe(clip)?;
        }
        clips.retain(|clip| clip.fits(filter));
        clips.sort_by(|a, b| (b.start, &b.stem).cmp(&(a.start, &a.stem)));
        Ok(clips)
    }

    /// Can the clip fit, by its key? The times of a key are those of its sidecar.
    fn may_fit(&self, clip: &Clip, filter: &Filter) -> bool {
        let Some(start) = self.template.read(&clip.stem).and_then(|parts| parts.start) else {
            return true;
        };
        filter.since.is_none_or(|since| start >= since) && filter.until.is_none_or(|u| start < u)
    }

    /// The clip that has this key, or this stem.
    ///
    /// # Errors
    /// [`ClipError::NoSuchClip`], [`ClipError::Storage`].
    pub fn find(&self, key: &str) -> Result<Clip, ClipError> {
        let stem = Part::of(key).map_or(key, |(stem, _)| stem);
        let folder = stem.rsplit_once('/').map_or("", |(folder, _)| folder);
        let clip = self.group(folder)?.into_iter().find(|clip| clip.stem == stem);
        let (key, storage) = (key.to_owned(), self.storage.uri().to_owned());
        let mut clip = clip.ok_or(ClipError::NoSuchClip { key, storage })?;
        self.describe(&mut clip)?;
        Ok(clip)
    }

    /// The objects below a folder, by clip.
    fn group(&self, folder: &str) -> Result<Vec<Clip>, ClipError> {
        let mut clips = BTreeMap::new();
        self.storage.list(folder, &mut |object| {
            if let Some((stem, part)) = Part::of(&object.key) {
                let clip = clips.entry(stem.to_owned()).or_insert_with(|| Clip {
                    stem: stem.to_owned(),
                    camera: None,
                    start: object.modified,
                    event: None,
                    original: None,
                    json: None,
                    annotated: None,
                    snapshot: None,
                    sidecar: SidecarState::Missing,
                });
                // What is made of a clip later is stored later.
                clip.start = clip.start.min(object.modified);
                *clip.part_mut(part) = Some(object);
            }
            ControlFlow::Continue(())
        })?;
        Ok(clips.into_values().collect())
    }

    /// Adds what key and sidecar say.
    fn describe(&self, clip: &mut Clip) -> Result<(), ClipError> {
        if let Some(parts) = self.template.read(&clip.stem) {
            clip.camera = parts.camera;
            clip.event = parts.event;
            clip.start = parts.start.unwrap_or(clip.start);
        }
        let Some(json) = &clip.json else { return Ok(()) };
        let bytes = match self.storage.get(&json.key, LARGEST_SIDECAR) {
            Ok(bytes) => bytes,
            // Removed since the list was made.
            Err(StorageError::NotFound { .. }) => {
                clip.json = None;
                return Ok(());
            }
            Err(error @ (StorageError::TooLarge { .. } | StorageError::Damaged { .. })) => {
                clip.sidecar = SidecarState::Broken(error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let sidecar = match Sidecar::read(&bytes) {
            Ok(sidecar) => sidecar,
            Err(error) => {
                clip.sidecar = SidecarState::Broken(error.to_string());
                return Ok(());
            }
        };
        if !sidecar.camera.is_empty() {
            clip.camera = Some(sidecar.camera.clone());
        }
        if let Some(start) = sidecar.start_utc.as_deref().and_then(utc::parse) {
            clip.start = start;
        }
        let summary = summary(sidecar);
        clip.event = summary.events.first().cloned().or(clip.event.take());
        clip.sidecar = SidecarState::Read(summary);
        Ok(())
    }

    fn object<'a>(&self, clip: &'a Clip, part: Part) -> Result<&'a Object, ClipError> {
        clip.part(part).ok_or_else(|| ClipError::NoPart { clip: clip.stem.clone(), part })
    }

    /// Reads a part of a clip of at most `limit` bytes.
    ///
    /// # Errors
    /// [`ClipError`].
    pub fn get(&self, clip: &Clip, part: Part, limit: u64) -> Result<Vec<u8>, ClipError> {
        Ok(self.storage.get(&self.object(clip, part)?.key, limit)?)
    }

    /// Reads a part of a clip into a file, which appears when all of it is there and it is what the
    /// sidecar says it should be.
    ///
    /// # Errors
    /// [`ClipError`]; [`StorageError::Damaged`] for a clip with another checksum.
    pub fn download(
        &self,
        clip: &Clip,
        part: Part,
        path: &Path,
        progress: &mut Progress<'_>,
    ) -> Result<Stored, ClipError> {
        let object = self.object(clip, part)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let aside = tempfile::Builder::new()
            .prefix(".part-")
            .tempdir_in(folder.unwrap_or(Path::new(".")))
            .map_err(|source| ClipError::Write { path: path.to_owned(), source })?;
        let file = aside.path().join("clip");
        let stored = self.storage.get_file(&object.key, &file, progress)?;
        let expected = clip.summary().and_then(|summary| summary.sha256.as_ref());
        if part == Part::Original && expected.is_some_and(|expected| *expected != stored.sha256) {
            let reason = "its checksum is not that of its sidecar".to_owned();
            return Err(StorageError::Damaged { place: object.key.clone(), reason }.into());
        }
        std::fs::rename(&file, path)
            .map_err(|source| ClipError::Write { path: path.to_owned(), source })?;
        Ok(stored)
    }

    /// A link to a part of a clip, see [`Storage::link`].
    ///
    /// # Errors
    /// [`ClipError`].
    pub fn link(&self, clip: &Clip, part: Part, expiry: Duration) -> Result<Link, ClipError> {
        Ok(self.storage.link(&self.object(clip, part)?.key, expiry)?)
    }

    /// Removes clips with everything that belongs to them. The sidecar goes last: a removal that
    /// stops in the middle leaves nothing that nobody knows of, and can be done again.
    ///
    /// # Errors
    /// [`ClipError`]; clips before the one that failed are gone.
    pub fn remove<'a>(
        &self,
        clips: impl IntoIterator<Item = &'a Clip>,
        progress: &mut Steps<'_>,
    ) -> Result<Report, ClipError> {
        let clips: Vec<&Clip> = clips.into_iter().collect();
        let mut report = Report::default();
        for (done, clip) in clips.iter().enumerate() {
            if progress(done, clips.len()).is_break() {
                return Err(ClipError::Cancelled);
            }
            for part in [Part::Original, Part::Annotated, Part::Snapshot, Part::Sidecar] {
                if let Some(object) = clip.part(part) {
                    self.storage.delete(&object.key)?;
                    report.objects += 1;
                    report.bytes += object.size;
                }
            }
            report.clips += 1;
        }
        Ok(report)
    }

    /// Downloads clips with everything that belongs to them into a folder, under their keys. What
    /// is there with the same size stays.
    ///
    /// # Errors
    /// [`ClipError`]; clips before the one that failed are there.
    pub fn export<'a>(
        &self,
        clips: impl IntoIterator<Item = &'a Clip>,
        folder: &Path,
        progress: &mut Steps<'_>,
    ) -> Result<Report, ClipError> {
        let clips: Vec<&Clip> = clips.into_iter().collect();
        let mut report = Report::default();
        for (done, clip) in clips.iter().enumerate() {
            for part in Part::ALL {
                if progress(done, clips.len()).is_break() {
                    return Err(ClipError::Cancelled);
                }
                let Some(object) = clip.part(part) else { continue };
                // The storage gives no key that leads elsewhere.
                let path = folder.join(&object.key);
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)
                        .map_err(|source| ClipError::Write { path: path.clone(), source })?;
                }
                let there = std::fs::metadata(&path).is_ok_and(|m| m.len() == object.size);
                if !(there && matches!(part, Part::Original | Part::Annotated)) {
                    self.download(clip, part, &path, &mut |_, _| progress(done, clips.len()))?;
                }
                report.objects += 1;
                report.bytes += object.size;
            }
            report.clips += 1;
        }
        Ok(report)
    }

    /// Takes a person (name or id) out of all sidecars, and removes snapshots that show them and
    /// annotated videos with their name; with `clips_too` the clips themselves. People of the same
    /// name are one here. What else a sidecar says stays, even if this program does not know it.
    ///
    /// # Errors
    /// [`ClipError`]; clips before the one that failed are done. It can be called again.
    pub fn forget(
        &self,
        person: &str,
        clips_too: bool,
        progress: &mut Steps<'_>,
    ) -> Result<Forgotten, ClipError> {
        let mut forgotten = Forgotten::default();
        if person.is_empty() {
            // Faces without a name are nobody's.
            return Ok(forgotten);
        }
        let clips = self.group("")?;
        for (done, clip) in clips.iter().enumerate() {
            if progress(done, clips.len()).is_break() {
                return Err(ClipError::Cancelled);
            }
            self.forget_in(clip, person, clips_too, &mut forgotten)?;
        }
        Ok(forgotten)
    }

    fn forget_in(
        &self,
        clip: &Clip,
        person: &str,
        clips_too: bool,
        forgotten: &mut Forgotten,
    ) -> Result<(), ClipError> {
        let Some(json) = &clip.json else { return Ok(()) };
        let mut values = match self.storage.get(&json.key, LARGEST_SIDECAR) {
            Ok(bytes) => match values(&bytes) {
                Some(values) => values,
                None => {
                    forgotten.unreadable.push(clip.stem.clone());
                    return Ok(());
                }
            },
            Err(StorageError::NotFound { .. }) => return Ok(()),
            Err(StorageError::TooLarge { .. } | StorageError::Damaged { .. }) => {
                forgotten.unreadable.push(clip.stem.clone());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let taken = forget::person(&mut values, person);
        if taken.places == 0 && taken.tracks.is_empty() {
            return Ok(());
        }
        if clips_too {
            self.remove([clip], &mut |_, _| ControlFlow::Continue(()))?;
            forgotten.clips += 1;
            return Ok(());
        }
        // Pictures first: as long as the sidecar names the person, another call finds them.
        let snapshot = clip.snapshot.as_ref().filter(|_| taken.snapshot || !knows(&values));
        for object in [snapshot, clip.annotated.as_ref()].into_iter().flatten() {
            self.storage.delete(&object.key)?;
            forgotten.pictures += 1;
        }
        let lines: Vec<String> = values.iter().map(|value| format!("{value}\n")).collect();
        self.storage.put(&json.key, lines.concat().as_bytes())?;
        forgotten.sidecars += 1;
        Ok(())
    }
}

/// Does the sidecar say whom its snapshot shows?
fn knows(values: &[Value]) -> bool {
    let snapshot = values.first().and_then(|value| value.get("snapshot"));
    snapshot.is_some_and(|snapshot| snapshot.get("track_id").is_some_and(Value::is_u64))
}

/// All values of a sidecar; a last one that is cut off is left out.
fn values(bytes: &[u8]) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        match value {
            Ok(value) => values.push(value),
            Err(error) if error.is_eof() && !values.is_empty() => break,
            Err(_) => return None,
        }
    }
    (!values.is_empty()).then_some(values)
}

fn summary(sidecar: Sidecar) -> Summary {
    let mut summary = Summary {
        duration: Duration::from_nanos(sidecar.duration_ns),
        truncated: sidecar.truncated,
        origin: sidecar.origin,
        sha256: sidecar.media.map(|media| media.sha256).filter(|sha256| !sha256.is_empty()),
        ..Summary::default()
    };
    let people = &mut summary.people;
    let mut add = |name: &Option<String>, id: &Option<String>| {
        let person = (name.clone().unwrap_or_default(), id.clone().unwrap_or_default());
        // With and without the id it is one person.
        let known = people.iter_mut().find(|(name, id)| {
            *name == person.0 && (*id == person.1 || id.is_empty() || person.1.is_empty())
        });
        match known {
            Some(known) if known.1.is_empty() => known.1 = person.1,
            Some(_) => {}
            None if person == Default::default() => {}
            None => people.push(person),
        }
    };
    for trigger in &sidecar.triggers {
        add(&trigger.name, &trigger.person_id);
    }
    for track in &sidecar.tracks {
        add(&track.name, &track.person_id);
    }
    for face in sidecar.frames.iter().flat_map(|frame| &frame.faces) {
        add(&face.name, &face.person_id);
    }
    for trigger in sidecar.triggers {
        if !summary.events.contains(&trigger.event) {
            summary.events.push(trigger.event);
        }
    }
    summary
}
