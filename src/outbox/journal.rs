//! The files of an outbox: one per entry, which appears whole or not at all.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::OutboxError;
use super::entry::{EntryId, Record, Unreadable};

/// Folder of the entries in the spool.
const FOLDER: &str = "outbox";
/// Held for as long as the files are changed.
const JOURNAL_LOCK: &str = "journal.lock";
/// Held by the one that sends.
const SENDER_LOCK: &str = "sender.lock";
/// Beginning of the names of files that are not whole yet.
const PARTIAL: &str = ".part-";
/// An entry that waits.
const WAITS: &str = ".json";
/// An entry that was delivered, and is not tidied away yet.
const DONE: &str = ".done";
/// Longest entry that is read, bytes.
const LONGEST: u64 = 4 << 20;

/// Which file it was; every change makes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    changed: Option<SystemTime>,
}

/// A file of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) stamp: Stamp,
    pub(super) bytes: u64,
    pub(super) done: bool,
}

#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    lock: File,
}

/// Nobody else changes the files while this lives.
#[derive(Debug)]
pub(super) struct Locked<'a>(&'a Journal);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Closing the file would free it anyway; there is nothing to do about a failure.
        let _ = self.0.lock.unlock();
    }
}

/// This process may send.
#[derive(Debug)]
pub(super) struct SenderLock {
    _file: File,
}

impl Journal {
    /// Opens the journal of the spool `root`, which is made with `create`.
    pub(super) fn open(root: &Path, create: bool) -> Result<Self, OutboxError> {
        let folder = root.join(FOLDER);
        if create {
            // They name people: for their owner only.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|e| OutboxError::io("make the folder", &folder, e))?;
        } else if !folder.is_dir() {
            return Err(OutboxError::NotFound { path: root.to_owned() });
        }
        let lock = lock_file(&folder.join(JOURNAL_LOCK))?;
        let journal = Self { folder, lock };
        let locked = journal.lock()?;
        journal.remove_remnants()?;
        drop(locked);
        Ok(journal)
    }

    /// Waits until nobody else changes the files, which takes them milliseconds.
    pub(super) fn lock(&self) -> Result<Locked<'_>, OutboxError> {
        self.lock.lock().map_err(|e| OutboxError::io("lock", &self.folder, e))?;
        Ok(Locked(self))
    }

    /// The right to send; `None` while another process, or another outbox of this one, has it.
    pub(super) fn lock_sender(&self) -> Result<Option<SenderLock>, OutboxError> {
        let path = self.folder.join(SENDER_LOCK);
        let file = lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(SenderLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(OutboxError::io("lock", &path, error)),
        }
    }

    /// With the lock held all files that are not whole were left by a process that died.
    fn remove_remnants(&self) -> Result<(), OutboxError> {
        let failed = |e| OutboxError::io("read", &self.folder, e);
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                let removed = fs::remove_file(entry.path());
                removed.map_err(|e| OutboxError::io("remove", &entry.path(), e))?;
            }
        }
        Ok(())
    }

    /// The entries' files by the entries' names.
    pub(super) fn scan(&self) -> Result<HashMap<String, Found>, OutboxError> {
        let failed = |e| OutboxError::io("read", &self.folder, e);
        let mut found = HashMap::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let (name, done) = match (name.strip_suffix(WAITS), name.strip_suffix(DONE)) {
                _ if name.starts_with('.') => continue,
                (Some(name), _) => (name, false),
                (_, Some(name)) => (name, true),
                _ => continue,
            };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Delivered meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            if metadata.is_file() {
                let stamp = stamp(&metadata);
                found.insert(name.to_owned(), Found { stamp, bytes: metadata.len(), done });
            }
        }
        Ok(found)
    }

    /// Reads an entry; `None`: it is gone.
    pub(super) fn read(&self, name: &str, done: bool) -> Option<Result<Record, Unreadable>> {
        let mut bytes = Vec::new();
        let read = File::open(self.path(name, done))
            .and_then(|file| file.take(LONGEST.saturating_add(1)).read_to_end(&mut bytes));
        match read {
            Ok(length) if length as u64 > LONGEST => {
                let reason = format!("it is longer than {LONGEST} bytes");
                Some(Err(Unreadable { reason, kind: None }))
            }
            Ok(_) => Some(Record::from_json(name, &bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(Err(Unreadable { reason: error.to_string(), kind: None })),
        }
    }

    /// Writes an entry. It is on the disk when this returns.
    pub(super) fn write(&self, _: &Locked<'_>, record: &Record) -> Result<Found, OutboxError> {
        let path = self.path(record.id.as_str(), false);
        let bytes = record.to_json()?;
        if bytes.len() as u64 > LONGEST {
            return Err(OutboxError::entry(format!("it is longer than {LONGEST} bytes")));
        }
        let written = self.replace(&path, &bytes);
        let stamp = written.map_err(|error| OutboxError::io("write", &path, error))?;
        Ok(Found { stamp, bytes: bytes.len() as u64, done: false })
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<Stamp> {
        // Removed when anything fails.
        let mut part = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&self.folder)?;
        part.write_all(bytes)?;
        part.as_file().sync_all()?;
        let stamp = stamp(&part.as_file().metadata()?);
        part.persist(path).map_err(|error| error.error)?;
        self.sync()?;
        Ok(stamp)
    }

    /// Is the entry still there, as it waits? Another process may have removed it.
    pub(super) fn waits(&self, _: &Locked<'_>, id: &EntryId) -> bool {
        self.path(id.as_str(), false).is_file()
    }

    /// Notes that an entry was delivered: it is never sent again.
    pub(super) fn mark_done(&self, _: &Locked<'_>, id: &EntryId) -> Result<(), OutboxError> {
        let path = self.path(id.as_str(), false);
        match fs::rename(&path, self.path(id.as_str(), true)) {
            // Somebody dropped it while it was being sent.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            renamed => renamed
                .and_then(|()| self.sync())
                .map_err(|error| OutboxError::io("mark as delivered", &path, error)),
        }
    }

    /// Removes an entry; one that is gone is removed already.
    pub(super) fn remove(&self, _: &Locked<'_>, name: &str, done: bool) -> Result<(), OutboxError> {
        let path = self.path(name, done);
        remove_file(&path)
            .and_then(|()| self.sync())
            .map_err(|error| OutboxError::io("remove", &path, error))
    }

    pub(super) fn path(&self, name: &str, done: bool) -> PathBuf {
        self.folder.join(format!("{name}{}", if done { DONE } else { WAITS }))
    }

    /// Without this a new name may be lost in a power cut, the file never.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    Stamp { inode: metadata.ino(), changed: metadata.modified().ok() }
}

fn lock_file(path: &Path) -> Result<File, OutboxError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| OutboxError::io("open", path, error))
}
