//! Engines that TensorRT has built, kept in a folder per model, GPU and version. A folder grows under another name
//! and gets its own when it is whole: what lies under it can be used.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::model;

/// Names the folder of engines where no property does.
pub const ENGINE_CACHE_VARIABLE: &str = "GST_FACE_ENGINE_CACHE";

/// Says in words what a folder's engines were built of.
const KEY_FILE: &str = "key.txt";

/// Why an engine cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    #[error("there is no home folder for engines: name one with {ENGINE_CACHE_VARIABLE}")]
    NoHome,
    #[error("{op} '{}'", .path.display())]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    /// An engine is a program for the GPU.
    #[error(
        "'{}' may be written by others, who could put engines of their own there; close it with \
         'chmod go-w', or name another folder with {ENGINE_CACHE_VARIABLE}", .0.display()
    )]
    Open(PathBuf),
}

fn failed<'a>(op: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CacheError + 'a {
    move |source| CacheError::Io { op, path: path.to_path_buf(), source }
}

/// The folder that TensorRT's engines are kept in, if nothing stands against one.
pub fn engine_cache(options: &super::PoolOptions) -> Option<PathBuf> {
    root(options.engine_cache.as_deref()).ok()
}

/// The folder of all engines: the one named, else that of the environment, else in the user's cache.
pub(super) fn root(named: Option<&Path>) -> Result<PathBuf, CacheError> {
    let from_variable = || std::env::var_os(ENGINE_CACHE_VARIABLE).filter(|v| !v.is_empty());
    named
        .map(Path::to_path_buf)
        .or_else(|| from_variable().map(PathBuf::from))
        .or_else(|| Some(dirs::cache_dir()?.join("gst-face").join("tensorrt")))
        .ok_or(CacheError::NoHome)
}

/// The place of one engine.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    folder: PathBuf,
    key: String,
}

/// Held by who builds; ends with the process at the latest.
#[derive(Debug)]
pub(super) struct Building {
    folder: PathBuf,
    _lock: File,
}

impl Entry {
    /// `key` says all that the engine depends on, one thing per line; `model` is for people.
    pub(super) fn new(root: &Path, model: &str, key: String) -> Self {
        let checksum = model::hex(&Sha256::digest(&key));
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = model.chars().take(40).map(plain).collect();
        Self { folder: root.join(format!("{name}-{}", &checksum[..16])), key }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Is there a whole engine that nobody else could have put there?
    ///
    /// # Errors
    /// [`CacheError::Open`].
    pub(super) fn is_complete(&self) -> Result<bool, CacheError> {
        if !self.folder.is_dir() {
            return Ok(false);
        }
        for folder in [self.root(), &self.folder] {
            check_private(folder)?;
        }
        Ok(fs::read_to_string(self.folder.join(KEY_FILE)).is_ok_and(|key| key == self.key))
    }

    fn root(&self) -> &Path {
        self.folder.parent().unwrap_or(Path::new("."))
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut name = self.folder.clone().into_os_string();
        name.push(extension);
        name.into()
    }

    /// Waits until no other process, and no other pipeline, builds this engine.
    pub(super) fn lock(&self) -> Result<File, CacheError> {
        let root = self.root();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.map_err(failed("make folder", root))?;
        check_private(root)?;
        let path = self.beside(".lock");
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(failed("open", &path))?;
        lock.lock().map_err(failed("lock", &path))?;
        Ok(lock)
    }

    /// An empty folder to build in. What a killed process left there is removed.
    pub(super) fn begin(&self, lock: File) -> Result<Building, CacheError> {
        let folder = self.beside(".building");
        remove(&folder)?;
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed("make folder", &folder))?;
        Ok(Building { folder, _lock: lock })
    }

    /// Gives what was built its name, once it is safely on the disk; replaces what had it.
    pub(super) fn publish(&self, building: &Building) -> Result<(), CacheError> {
        let from = &building.folder;
        let key = from.join(KEY_FILE);
        fs::write(&key, &self.key).map_err(failed("write", &key))?;
        for entry in from.read_dir().map_err(failed("read", from))?.flatten() {
            let path = entry.path();
            File::open(&path).and_then(|f| f.sync_all()).map_err(failed("write", &path))?;
        }
        remove(&self.folder)?;
        fs::rename(from, &self.folder).map_err(failed("make folder", &self.folder))?;
        let root = self.root();
        File::open(root).and_then(|f| f.sync_all()).map_err(failed("write", root))
    }
}

impl Building {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // Published, it has another name by now.
        let _ = remove(&self.folder);
    }
}

fn remove(folder: &Path) -> Result<(), CacheError> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", folder)(e)),
        _ => Ok(()),
    }
}

fn check_private(folder: &Path) -> Result<(), CacheError> {
    let read = |path: &Path| fs::metadata(path).map_err(failed("read", path));
    let meta = read(folder)?;
    // The entry of a process belongs to the user whose rights it has.
    let own = meta.uid() == read(Path::new("/proc/self"))?.uid();
    let closed = meta.mode() & 0o022 == 0;
    (own && closed).then_some(()).ok_or_else(|| CacheError::Open(folder.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn entry(root: &Path, key: &str) -> Entry {
        Entry::new(root, "../yunet n", key.to_owned())
    }

    #[test]
    fn engine_is_there_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        let entry = entry(&root, "model 1");
        assert!(!entry.is_complete().unwrap());
        let building = entry.begin(entry.lock().unwrap()).unwrap();
        fs::write(building.folder().join("x.engine"), b"engine").unwrap();
        assert!(!entry.is_complete().unwrap());
        entry.publish(&building).unwrap();
        drop(building);
        assert!(entry.is_complete().unwrap());
        assert_eq!(fs::read(entry.folder().join("x.engine")).unwrap(), b"engine");
        let mode = |p: &Path| fs::metadata(p).unwrap().mode() & 0o777;
        assert_eq!((mode(&root), mode(entry.folder())), (0o700, 0o700));
        let left: Vec<_> = root.read_dir().unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left.len(), 2, "the engine and its lock: {left:?}");
    }

    #[test]
    fn interrupted_build_leaves_nothing_and_does_not_stop_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let entry = entry(dir.path(), "model 1");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::create_dir(entry.beside(".building")).unwrap();
        fs::write(entry.beside(".building").join("half.engine"), b"ha").unwrap();
        let building = entry.begin(entry.lock().unwrap()).unwrap();
        assert_eq!(building.folder().read_dir().unwrap().count(), 0);
        drop(building);
        assert!(!entry.is_complete().unwrap() && !entry.beside(".building").exists());
    }

    #[test]
    fn engine_of_another_model_gpu_or_version_is_another_one() {
        let root = Path::new("/cache");
        let (a, b) = (entry(root, "model 1\ngpu A"), entry(root, "model 1\ngpu B"));
        assert_ne!(a.folder(), b.folder());
        assert_eq!(a.folder().parent(), Some(root));
        let name = a.folder().file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("___yunet_n-") && name.len() == 27, "{name}");
    }

    #[test]
    fn folder_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let entry = entry(dir.path(), "model 1");
        let error = entry.lock().unwrap_err().to_string();
        assert!(error.contains("chmod go-w") && error.contains(dir.path().to_str().unwrap()));
        fs::create_dir(entry.folder()).unwrap();
        assert!(matches!(entry.is_complete(), Err(CacheError::Open(_))));
    }

    #[test]
    fn named_folder_comes_before_the_users_cache() {
        assert_eq!(root(Some(Path::new("/e"))).unwrap(), Path::new("/e"));
    }
}
