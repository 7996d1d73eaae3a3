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
    create_folder_of(path)?;
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

/// Makes the missing folders above a file.
pub(super) fn create_folder_of(path: &Path) -> std::io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The gallery and everything beside it that was made from it: SQLite's files, and what begins with
/// its name and `-` or `.` and is being written (`.tmp`, `.part`, `.index`, `.outbox`). Copies that
/// somebody made on purpose are not among them.
pub(super) fn companions(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = vec![path.to_path_buf()];
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(files) };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let other = entry.file_name();
        let name = name.as_encoded_bytes();
        // Hidden temporary files: `.people.gallery.tmp1234`.
        let other = other.as_encoded_bytes();
        let other = other.strip_prefix(b".").filter(|o| o.starts_with(name)).unwrap_or(other);
        let Some(rest) = other.strip_prefix(name) else { continue };
        let unfinished = [".tmp", ".part", ".before-", ".index", ".outbox", ".staging"];
        if rest.starts_with(b"-") || unfinished.iter().any(|u| rest.starts_with(u.as_bytes())) {
            collect(&entry.path(), &mut files)?;
        }
    }
    Ok(files)
}

/// Adds a file, or all files of a folder and the folders in it. Links are not followed.
pub(super) fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            match collect(&entry?.path(), files) {
                // A temporary file that is gone is what is wanted.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    } else if kind.is_file() {
        files.push(path.to_path_buf());
    }
    Ok(())
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
