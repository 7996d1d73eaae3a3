//! The file of a gallery: found or made, private, and what kind of thing it is.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Access, GalleryError};

/// The absolute path, so that no name (`:memory:`, `file:…`) means anything special to SQLite.
/// With [`Access::Create`] the file and its folders exist afterwards, readable by nobody else.
pub(super) fn prepare(path: &Path, access: Access) -> Result<PathBuf, GalleryError> {
    let path = std::path::absolute(path).map_err(|e| failed(path, e))?;
    if access == Access::Create {
        create(&path).map_err(|e| failed(&path, e))?;
    }
    match fs::metadata(&path) {
        Ok(meta) if meta.is_file() => Ok(path),
        // Opening a pipe or a device could wait for ever.
        Ok(_) => Err(GalleryError::Corrupt {
            op: "open",
            path,
            reason: "it is a folder or a device, not a file".into(),
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(GalleryError::NotFound { path }),
        Err(e) => Err(failed(&path, e)),
    }
}

fn failed(path: &Path, source: std::io::Error) -> GalleryError {
    GalleryError::Failed { op: "open", path: path.into(), source: source.into() }
}

/// Makes an empty file where there is none. SQLite gives its `-wal` and `-shm` the same mode.
fn create(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        // Another process was faster: the same file.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

/// Is the file, and are the files SQLite keeps beside it, closed to everybody but their owner?
#[cfg(unix)]
pub(super) fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    ["", "-wal", "-shm"].iter().all(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::metadata(PathBuf::from(name)) {
            Ok(meta) => meta.permissions().mode() & 0o077 == 0,
            Err(_) => !suffix.is_empty(),
        }
    })
}

/// Without modes nothing is known of who may read: say the worse.
#[cfg(not(unix))]
pub(super) fn is_private(_: &Path) -> bool {
    false
}
