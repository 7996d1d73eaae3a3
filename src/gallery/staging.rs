//! A private folder beside a file, in which the file grows until it is whole and safely on the
//! disk.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::TransferError;

/// The file whose lock says that the folder is in use.
const LOCK: &str = "lock";

/// `NAME.part`, a folder that one process at a time has. What a killed process left in it is
/// removed by the next one; a fixed name, so that `forget` knows where to look for remnants.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    target: PathBuf,
    /// Held until the folder is gone.
    _lock: File,
}

impl Staging {
    /// Makes the folder beside `target`, an absolute path.
    pub(super) fn beside(target: &Path) -> Result<Self, TransferError> {
        let folder = folder_of(target);
        let failed = |source| TransferError::io("make folder", &folder, source);
        loop {
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e)),
                _ => {}
            }
            let Some(lock) = lock(&folder.join(LOCK), target)? else { continue };
            let staging = Self { folder: folder.clone(), target: target.into(), _lock: lock };
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if !path.ends_with(LOCK) {
                    fs::remove_file(&path)
                        .map_err(|e| TransferError::io("remove what was left in", &path, e))?;
                }
            }
            return Ok(staging);
        }
    }

    /// A path in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes a file in the folder, for its owner only.
    pub(super) fn create(&self, name: &str) -> Result<File, TransferError> {
        let path = self.path(name);
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| TransferError::io("write", &path, e))
    }

    /// Gives the file `name` the target's name, once it is safely on the disk. With `replace` a
    /// file of that name is replaced.
    pub(super) fn publish(&self, name: &str, replace: bool) -> Result<(), TransferError> {
        let (from, target) = (self.path(name), &self.target);
        let failed = |source| TransferError::io("write", target, source);
        File::open(&from).and_then(|file| file.sync_all()).map_err(failed)?;
        if replace {
            fs::rename(&from, target).map_err(failed)?;
        } else {
            // Unlike a rename it never replaces what somebody else made meanwhile.
            match fs::hard_link(&from, target) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(TransferError::Exists { path: target.clone() });
                }
                linked => linked.map_err(failed)?,
            }
        }
        sync_folder_of(target).map_err(failed)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next one.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The staging folder of a file.
pub(super) fn folder_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Removes a staging folder that a killed process left. One that is in use stays, and so does any
/// other folder.
pub(super) fn remove_left(folder: &Path) {
    let target = folder.to_str().and_then(|f| f.strip_suffix(".part"));
    if let Some(target) = target.filter(|_| folder.join(LOCK).is_file()) {
        // Whoever gets the folder removes what is in it, and in the end the folder.
        drop(Staging::beside(Path::new(target)));
    }
}

/// Makes the names in a file's folder survive a power cut; the file itself never needs it.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all())
}

/// The locked file; `None` if its last owner removed it meanwhile.
fn lock(path: &Path, target: &Path) -> Result<Option<File>, TransferError> {
    let failed = |source| TransferError::io("lock", path, source);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = match file {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(TransferError::Busy { path: target.into() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let opened = file.metadata().map_err(failed)?;
    let named = fs::metadata(path);
    let same = named.is_ok_and(|n| (n.dev(), n.ino()) == (opened.dev(), opened.ino()));
    Ok(same.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn one_process_at_a_time_has_the_folder_and_remnants_go() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let staging = Staging::beside(&target).unwrap();
        staging.create("a").unwrap().write_all(b"whole").unwrap();
        assert!(matches!(Staging::beside(&target), Err(TransferError::Busy { .. })));
        staging.publish("a", false).unwrap();
        drop(staging);
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert!(!folder_of(&target).exists());

        let left = || {
            fs::create_dir(folder_of(&target)).unwrap();
            fs::write(folder_of(&target).join("a"), b"left by a killed process").unwrap();
        };
        left();
        // Without its lock it may be anybody's.
        remove_left(&folder_of(&target));
        assert!(folder_of(&target).exists());
        fs::write(folder_of(&target).join(LOCK), b"").unwrap();
        remove_left(&folder_of(&target));
        assert!(!folder_of(&target).exists());
        let busy = Staging::beside(&target).unwrap();
        remove_left(&folder_of(&target));
        assert!(folder_of(&target).join(LOCK).exists());
        drop(busy);

        left();
        let staging = Staging::beside(&target).unwrap();
        staging.create("a").unwrap().write_all(b"other").unwrap();
        let refused = staging.publish("a", false).unwrap_err();
        assert!(matches!(refused, TransferError::Exists { .. }), "{refused}");
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        staging.publish("a", true).unwrap();
        drop(staging);
        assert_eq!(fs::read(&target).unwrap(), b"other");
        assert_eq!(target.metadata().unwrap().mode() & 0o777, 0o600);
    }
}
