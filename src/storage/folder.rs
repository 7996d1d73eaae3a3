//! A storage in a folder of this machine.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::key::PARTIAL;
use super::{CHUNK, Object, Progress, StorageError, Stored, Visit};
use crate::model;

/// A folder, by its real path. No link below it is followed, so that nothing outside of it can be
/// read, changed or removed.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens the folder; with `create` it is made if it is missing.
    pub(super) fn open(path: &Path, create: bool) -> Result<Self, StorageError> {
        let failed = |source| StorageError::Io { operation: "open", path: path.to_owned(), source };
        if create {
            make_folders(path).map_err(failed)?;
        }
        let root = path.canonicalize().map_err(|source| StorageError::io("open", path, source))?;
        if !root.is_dir() {
            return Err(failed(ErrorKind::NotADirectory.into()));
        }
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Path of the object, if it can be reached without following a link.
    pub(super) fn path(&self, key: &str) -> Result<PathBuf, StorageError> {
        let mut path = self.root.clone();
        for part in key.split('/') {
            path.push(part);
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_symlink() => return Err(StorageError::Link { path }),
                Err(error)
                    if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    return Err(StorageError::io("look at", &path, error));
                }
                _ => {}
            }
        }
        Ok(path)
    }

    /// Writes what `content` reads. The object appears whole, and once it is on the disk.
    pub(super) fn put(
        &self,
        key: &str,
        content: &mut dyn Read,
        stored: &Stored,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let folder = path.parent().unwrap_or(&self.root);
        let mut file = match part_in(folder) {
            Ok(file) => file,
            Err(source) => return Err(StorageError::Io { operation: "store", path, source }),
        };
        let failed = |source| StorageError::Io { operation: "store", path: path.clone(), source };
        let mut source = Source::new(content, stored, path.display().to_string());
        loop {
            if progress(source.done, stored.size).is_break() {
                return Err(StorageError::Cancelled);
            }
            let Some(chunk) = source.next_chunk()? else { break };
            file.write_all(&chunk).map_err(failed)?;
        }
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        // Without this the new name may be lost in a power cut, the file never.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    pub(super) fn read(&self, key: &str) -> Result<(File, Object), StorageError> {
        let path = self.path(key)?;
        let failed = |source| StorageError::io("read", &path, source);
        let file = File::open(&path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(StorageError::NotFound { place: path.display().to_string() });
        }
        Ok((file, object(key, &metadata)))
    }

    pub(super) fn head(&self, key: &str) -> Result<Object, StorageError> {
        let path = self.path(key)?;
        let metadata =
            path.symlink_metadata().map_err(|e| StorageError::io("look at", &path, e))?;
        if !metadata.is_file() {
            return Err(StorageError::NotFound { place: path.display().to_string() });
        }
        Ok(object(key, &metadata))
    }

    /// Removes the object, and the folders that are empty then. What is gone already is no error.
    pub(super) fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.path(key)?;
        match std::fs::remove_file(&path) {
            Err(error)
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Err(StorageError::io("delete", &path, error));
            }
            _ => {}
        }
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
        for folder in folders {
            // Not empty, or gone, or not ours to remove: it stays.
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Visits the objects below `prefix` in the order of their keys.
    pub(super) fn list(&self, prefix: &str, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        let folder = if prefix.is_empty() { self.root.clone() } else { self.path(prefix)? };
        self.walk(&folder, prefix, visit).map(|_| ())
    }

    fn walk(
        &self,
        folder: &Path,
        prefix: &str,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StorageError> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            // It may go away while the list is made.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(ControlFlow::Continue(()));
            }
            Err(error) => return Err(StorageError::io("list", folder, error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| StorageError::io("list", folder, e))?;
            // A name that is no text, or no key, was not stored by us and cannot be asked for.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !name.starts_with(PARTIAL) && super::key::check(&name).is_ok() {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let key = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let Ok(metadata) = path.symlink_metadata() else { continue };
            let flow = if metadata.is_dir() && key.len() < super::key::LONGEST {
                self.walk(&path, &key, visit)?
            } else if metadata.is_file() {
                visit(object(&key, &metadata))
            } else {
                ControlFlow::Continue(())
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The bytes of an object that is to be stored, in chunks, checked to be what they were when they
/// were hashed.
pub(super) struct Source<'a> {
    content: &'a mut dyn Read,
    expected: &'a Stored,
    /// The object, for errors.
    place: String,
    hasher: Sha256,
    /// Bytes read.
    pub(super) done: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(content: &'a mut dyn Read, expected: &'a Stored, place: String) -> Self {
        Self { content, expected, place, hasher: Sha256::new(), done: 0 }
    }

    /// Bytes there will be.
    pub(super) fn total(&self) -> u64 {
        self.expected.size
    }

    /// The next [`CHUNK`] bytes, fewer at the end. `None` comes only if all were as expected.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        // One more than is left, to notice a file that grew.
        let left = self.expected.size.saturating_sub(self.done).saturating_add(1);
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
        let count = read_up_to(self.content, &mut chunk).map_err(|source| StorageError::Io {
            operation: "read what is to be stored as",
            path: self.place.as_str().into(),
            source,
        })?;
        if count > 0 {
            chunk.truncate(count);
            self.hasher.update(&chunk);
            self.done += count as u64;
            return Ok(Some(chunk));
        }
        let sha256 = model::hex(&std::mem::take(&mut self.hasher).finalize());
        if self.done != self.expected.size || sha256 != self.expected.sha256 {
            let reason = "the file changed while it was read".to_owned();
            return Err(StorageError::Damaged { place: self.place.clone(), reason });
        }
        Ok(None)
    }
}

/// Reads until the buffer is full or there is no more.
pub(super) fn read_up_to(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A file for an object that is not whole yet. The folder is made; it may be removed at the same
/// moment because another object of it was.
fn part_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut tries = 0;
    loop {
        make_folders(folder)?;
        match tempfile::Builder::new().prefix(PARTIAL).tempfile_in(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound && tries < 10 => tries += 1,
            other => return other,
        }
    }
}

/// Clips show people: what is made here is for its owner only.
fn make_folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn object(key: &str, metadata: &Metadata) -> Object {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Object { key: key.to_owned(), size: metadata.len(), modified, sha256: None }
}
