//! Clips that are being made, on the disk, so that a process that dies loses none.
//!
//! `clips/NAME/` in the spool belongs to one recorder, which holds `NAME/lock` while it lives. Each
//! clip has `ID.open` there, a journal that appears before anything else and goes last; `ID.video.mp4`
//! and `ID.audio.mp4`, which grow; and `ID.lines`, the metadata. What is complete lies in `ready/`,
//! from where the outbox sends it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::key::Part;
use super::notify::FollowUp;
use super::sidecar::Sidecar;

const FOLDER: &str = "clips";
const READY: &str = "ready";
const LOCK: &str = "lock";
const JOURNAL: &str = "open";
const PARTIAL: &str = ".part-";
/// Longest journal that is read, bytes.
const LONGEST: u64 = 16 << 20;
const SCHEMA: &str = "face-spool/1";

/// Why the spool of clips cannot be used. What is in it stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("cannot {operation} '{}'", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the journal '{}' cannot be read: {reason}", path.display())]
    Journal { path: PathBuf, reason: String },
}

impl SpoolError {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), source }
    }
}

/// How far a clip is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Its pictures come, or came until the process died.
    #[default]
    Growing,
    /// All its files are complete in `ready/`, and given to the outbox or about to be.
    Ready,
}

/// A clip that is being made, as its journal has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenClip {
    pub schema: String,
    pub stage: Stage,
    /// URI of the storage that it goes to.
    pub storage: String,
    /// Key without an ending; `None` before its first picture.
    pub stem: Option<String>,
    /// What is known of it; its `id` names the files.
    pub sidecar: Sidecar,
    /// Where the first sound lies after the first picture is decoded, ns.
    #[serde(default)]
    pub sound_offset_ns: Option<i64>,
    /// What is sent when it is stored.
    #[serde(default)]
    pub follow_ups: Vec<FollowUp>,
}

impl OpenClip {
    pub fn id(&self) -> &str {
        &self.sidecar.id
    }

    /// Key of one of its parts; `None` before its first picture.
    pub fn key(&self, part: Part) -> Option<String> {
        self.stem.as_ref().map(|stem| format!("{stem}{}", part.ending()))
    }
}

/// A file of a clip that is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Video,
    Audio,
    /// Metadata, a frame in a line.
    Lines,
    /// The video as it will be stored.
    Whole,
    /// What is needed while that is written.
    Scratch,
}

impl Piece {
    const ALL: [Self; 5] = [Self::Video, Self::Audio, Self::Lines, Self::Whole, Self::Scratch];

    fn ending(self) -> &'static str {
        match self {
            Self::Video => "video.mp4",
            Self::Audio => "audio.mp4",
            Self::Lines => "lines",
            Self::Whole => "whole.mp4",
            Self::Scratch => "scratch",
        }
    }
}

/// The folder of one recorder in a spool.
#[derive(Debug)]
pub struct ClipSpool {
    spool: PathBuf,
    folder: PathBuf,
    _lock: File,
}

impl ClipSpool {
    /// Makes a folder of its own in the spool, for its owner only.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn create(spool: &Path) -> Result<Self, SpoolError> {
        let mut tries = 0;
        loop {
            let folder = spool.join(FOLDER).join(uuid::Uuid::new_v4().simple().to_string());
            for folder in [&folder, &spool.join(READY)] {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
                made.map_err(|e| SpoolError::io("make the folder", folder, e))?;
            }
            // Somebody who looks for abandoned folders may hold the new one for a moment.
            tries += 1;
            match Self::take(spool, &folder)? {
                Some(own) => return Ok(own),
                None if tries < 5 => {}
                None => {
                    let error = io::Error::from(ErrorKind::WouldBlock);
                    return Err(SpoolError::io("lock", &folder, error));
                }
            }
        }
    }

    /// The folders whose recorders are gone, with what they left.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn abandoned(spool: &Path) -> Result<Vec<Self>, SpoolError> {
        let folder = spool.join(FOLDER);
        let failed = |e| SpoolError::io("read", &folder, e);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.extend(Self::take(spool, &entry.path())?);
            }
        }
        Ok(found)
    }

    /// Locks a folder; `None` if its recorder lives, or it went meanwhile.
    fn take(spool: &Path, folder: &Path) -> Result<Option<Self>, SpoolError> {
        let path = folder.join(LOCK);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = match options.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            lock => lock.map_err(|e| SpoolError::io("open", &path, e))?,
        };
        match lock.try_lock() {
            Ok(()) if path.exists() => {
                let (spool, folder) = (spool.to_owned(), folder.to_owned());
                Ok(Some(Self { spool, folder, _lock: lock }))
            }
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(SpoolError::io("lock", &path, error)),
        }
    }

    /// The spool that it lies in.
    pub fn spool(&self) -> &Path {
        &self.spool
    }

    /// Where a file of a clip lies while the clip is being made.
    pub fn piece(&self, id: &str, piece: Piece) -> PathBuf {
        self.folder.join(format!("{id}.{}", piece.ending()))
    }

    /// Where a part of a complete clip lies, relative to the spool.
    pub fn ready(id: &str, part: Part) -> PathBuf {
        Path::new(READY).join(format!("{id}{}", part.ending()))
    }

    /// Writes a journal, in place of the one before. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`SpoolError::Io`]; the one before stays then.
    pub fn write(&self, clip: &OpenClip) -> Result<(), SpoolError> {
        let path = self.piece_named(clip.id(), JOURNAL);
        let clip = OpenClip { schema: SCHEMA.to_owned(), ..clip.clone() };
        let failed = |error| SpoolError::io("write", &path, error);
        let json = serde_json::to_vec(&clip).map_err(|e| failed(e.into()))?;
        self.write_whole(&path, &mut |file| file.write_all(&json)).map_err(failed)
    }

    /// Writes a file, here or in `ready/`, that appears whole and on the disk, or not at all.
    pub(super) fn write_whole(
        &self,
        path: &Path,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        // In this folder, where what a crash leaves of it is found.
        let mut part = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&self.folder)?;
        let mut file = BufWriter::new(part.as_file_mut());
        write(&mut file)?;
        file.flush()?;
        drop(file);
        part.as_file().sync_all()?;
        part.persist(path).map_err(|error| error.error)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }

    fn piece_named(&self, id: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{id}.{ending}"))
    }

    /// The journals in the folder, and the errors of those that cannot be read.
    ///
    /// # Errors
    /// [`SpoolError::Io`] if the folder cannot be read.
    pub fn clips(&self) -> Result<(Vec<OpenClip>, Vec<SpoolError>), SpoolError> {
        let failed = |e| SpoolError::io("read", &self.folder, e);
        let (mut clips, mut errors) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == JOURNAL) {
                match read(&path) {
                    Ok(clip) => clips.push(clip),
                    Err(error) => errors.push(error),
                }
            }
        }
        clips.sort_by(|a, b| a.sidecar.start_utc.cmp(&b.sidecar.start_utc));
        Ok((clips, errors))
    }

    /// Removes what was needed to make a clip, the journal last.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn remove(&self, id: &str) -> Result<(), SpoolError> {
        for piece in Piece::ALL {
            remove_file(&self.piece(id, piece))?;
        }
        remove_file(&self.piece_named(id, JOURNAL))
    }

    /// Removes the folder if nothing but its lock is in it.
    pub fn close(self) {
        let others = |folder: &Path| -> io::Result<bool> {
            let mut others = false;
            for entry in fs::read_dir(folder)? {
                let name = entry?.file_name();
                if name.to_string_lossy().starts_with(PARTIAL) {
                    fs::remove_file(folder.join(name))?;
                } else {
                    others |= name != LOCK;
                }
            }
            Ok(others)
        };
        // What stays is looked at again by the next that starts.
        if let Ok(false) = others(&self.folder) {
            let _ = fs::remove_file(self.folder.join(LOCK));
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

fn read(path: &Path) -> Result<OpenClip, SpoolError> {
    let wrong = |reason: String| SpoolError::Journal { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| SpoolError::io("open", path, e))?;
    let length = file.take(LONGEST + 1).read_to_end(&mut bytes);
    if length.map_err(|e| SpoolError::io("read", path, e))? as u64 > LONGEST {
        return Err(wrong(format!("it is longer than {LONGEST} bytes")));
    }
    let clip: OpenClip = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    if clip.schema != SCHEMA {
        return Err(wrong(format!("its format is '{}', this program reads {SCHEMA}", clip.schema)));
    }
    // The id names files.
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    if stem.as_deref() != Some(clip.id()) {
        return Err(wrong("it is of another clip".to_owned()));
    }
    Ok(clip)
}

/// Removes a file that may be gone already.
pub(super) fn remove_file(path: &Path) -> Result<(), SpoolError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(SpoolError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(id: &str) -> OpenClip {
        let sidecar = Sidecar { id: id.to_owned(), ..Sidecar::default() };
        OpenClip { storage: "/clips".to_owned(), sidecar, ..OpenClip::default() }
    }

    #[test]
    fn folder_of_one_that_lives_is_left_alone_and_of_one_that_is_gone_is_found() {
        let spool = tempfile::tempdir().unwrap();
        assert!(ClipSpool::abandoned(spool.path()).unwrap().is_empty());
        let living = ClipSpool::create(spool.path()).unwrap();
        let gone = ClipSpool::create(spool.path()).unwrap();
        gone.write(&clip("a")).unwrap();
        drop(gone);
        let found = ClipSpool::abandoned(spool.path()).unwrap();
        assert_eq!(found.len(), 1);
        let (clips, errors) = found[0].clips().unwrap();
        assert!(errors.is_empty());
        assert_eq!(clips.iter().map(OpenClip::id).collect::<Vec<_>>(), ["a"]);
        assert!(ClipSpool::abandoned(spool.path()).unwrap().is_empty(), "it is taken");
        found[0].remove("a").unwrap();
        found.into_iter().for_each(ClipSpool::close);
        living.close();
        assert_eq!(fs::read_dir(spool.path().join(FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn folder_with_a_clip_stays_when_it_is_closed() {
        let spool = tempfile::tempdir().unwrap();
        let own = ClipSpool::create(spool.path()).unwrap();
        own.write(&clip("a")).unwrap();
        own.close();
        assert_eq!(ClipSpool::abandoned(spool.path()).unwrap().len(), 1);
    }

    #[test]
    fn broken_and_newer_journals_are_named_and_kept() {
        let spool = tempfile::tempdir().unwrap();
        let own = ClipSpool::create(spool.path()).unwrap();
        own.write(&clip("a")).unwrap();
        let text = fs::read_to_string(own.piece_named("a", JOURNAL)).unwrap();
        for (name, text) in [
            ("b", "{".to_owned()),
            ("c", text.replace("face-spool/1", "face-spool/2")),
            ("d", text.clone()),
        ] {
            fs::write(own.piece_named(name, JOURNAL), text).unwrap();
        }
        let (clips, errors) = own.clips().unwrap();
        assert_eq!(clips, [OpenClip { schema: SCHEMA.to_owned(), ..clip("a") }]);
        let mut errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        errors.sort();
        assert!(errors[0].contains("b.open"), "{errors:?}");
        assert!(errors[1].contains("'face-spool/2'"), "{errors:?}");
        assert!(errors[2].contains("another clip"), "{errors:?}");
        assert!(own.piece_named("b", JOURNAL).exists());
    }

    #[test]
    fn journal_replaces_the_one_before_and_goes_last() {
        let spool = tempfile::tempdir().unwrap();
        let own = ClipSpool::create(spool.path()).unwrap();
        let mut clip = clip("a");
        own.write(&clip).unwrap();
        clip.stem = Some("cam/x".to_owned());
        clip.stage = Stage::Ready;
        own.write(&clip).unwrap();
        assert_eq!(own.clips().unwrap().0[0].key(Part::Sidecar).as_deref(), Some("cam/x.json"));
        fs::write(own.piece("a", Piece::Lines), "x").unwrap();
        own.remove("a").unwrap();
        own.remove("a").unwrap();
        assert!(own.clips().unwrap().0.is_empty() && !own.piece("a", Piece::Lines).exists());
    }
}
