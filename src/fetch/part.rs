//! The file a download grows in, until it is whole.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::FetchError;
use crate::model;

/// How often a process that waits for another one's download looks again.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// `NAME.part`, locked against other processes and threads while this lives.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    /// Bytes in the file, all of them hashed.
    done: u64,
}

impl Part {
    /// Opens or creates the file at `path` and waits until no other download has it. `waiting`
    /// is told the bytes the other one has so far, and may give up.
    pub(super) fn lock(
        path: PathBuf,
        waiting: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Self, FetchError> {
        let failed = |source| FetchError::io(&path, source);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                // A file system without locks: the checksum still guards the result.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) => {
                    let bytes = file.metadata().map_err(failed)?.len();
                    if waiting(bytes).is_break() {
                        return Err(FetchError::Cancelled);
                    }
                    std::thread::sleep(LOCK_POLL);
                    continue;
                }
            }
            // The one who had the lock may have renamed or removed the file that was opened here.
            if is_at(&file, &path).map_err(failed)? {
                return Ok(Self { file, path, hasher: Sha256::new(), done: 0 });
            }
        }
    }

    /// Takes over what is in the file from before; nothing if it is longer than `limit`.
    pub(super) fn resume(&mut self, limit: u64) -> Result<(), FetchError> {
        let length = self.file.metadata().map_err(|e| self.failed(e))?.len();
        if length > limit {
            return self.restart();
        }
        self.file.seek(SeekFrom::Start(0)).map_err(|e| self.failed(e))?;
        self.hasher = Sha256::new();
        let mut before = (&self.file).take(length);
        let hashed = model::hash_into(&mut before, &mut self.hasher);
        self.done = hashed.map_err(|e| self.failed(e))?;
        Ok(())
    }

    /// Empties the file.
    pub(super) fn restart(&mut self) -> Result<(), FetchError> {
        self.file.set_len(0).map_err(|e| self.failed(e))?;
        self.file.seek(SeekFrom::Start(0)).map_err(|e| self.failed(e))?;
        self.hasher = Sha256::new();
        self.done = 0;
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(|e| self.failed(e))?;
        self.hasher.update(bytes);
        self.done += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// SHA-256 of the bytes so far, in lower-case hexadecimal.
    pub(super) fn sha256(&self) -> String {
        model::hex(&self.hasher.clone().finalize())
    }

    /// The first bytes of the file, at most `count`.
    pub(super) fn start(&mut self, count: u64) -> Result<Vec<u8>, FetchError> {
        let mut start = Vec::new();
        self.file.seek(SeekFrom::Start(0)).map_err(|e| self.failed(e))?;
        (&self.file).take(count).read_to_end(&mut start).map_err(|e| self.failed(e))?;
        self.file.seek(SeekFrom::Start(self.done)).map_err(|e| self.failed(e))?;
        Ok(start)
    }

    /// Gives the file its final name, once it is safely on the disk.
    pub(super) fn finish(self, target: &Path) -> Result<(), FetchError> {
        self.file.sync_all().map_err(|e| self.failed(e))?;
        std::fs::rename(&self.path, target).map_err(|e| FetchError::io(target, e))?;
        if let Some(folder) = target.parent() {
            // Without this the new name may be lost in a power cut, the file never.
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|e| FetchError::io(folder, e))?;
        }
        Ok(())
    }

    /// Removes the file.
    pub(super) fn remove(&self) -> Result<(), FetchError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> FetchError {
        FetchError::io(&self.path, source)
    }
}

/// Is `file` still the one that `path` names?
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
