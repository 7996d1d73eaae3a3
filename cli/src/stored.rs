//! Videos on the command line: a file, or a stored clip.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use face_core::clip::{Clip, ClipError, Clips, KeyTemplate};
use face_core::storage::{STORAGE_VARIABLE, Storage, StorageError};

use crate::clips;

/// What a name on the command line means.
#[derive(Debug)]
pub(crate) enum Video {
    File(PathBuf),
    Clip(Clips, Box<Clip>),
}

/// Finds the video (or whatever `what` says) of that name. With `storage` (what --storage says) it is the key of a clip;
/// s3://… and file://… are the addresses of clips; else it is a file if there is one, and then the
/// key of a clip of the storage that the environment names.
pub(crate) fn find(what: &str, name: &Path, storage: Option<&str>) -> anyhow::Result<Video> {
    if let Some(uri) = storage {
        let key =
            name.to_str().ok_or_else(|| anyhow!("'{}' is no key of a clip", name.display()))?;
        return clip(clips::open(Some(uri), KeyTemplate::default())?, key);
    }
    let text = name.to_str().unwrap_or_default();
    if text.starts_with("s3://") || text.starts_with("file://") {
        let (uri, key) = Storage::split_address(text)?;
        return clip(clips::open(Some(&uri), KeyTemplate::default())?, &key);
    }
    // Whatever else is wrong with a file, it is there: reading it says what.
    let missing = |e: std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    if !std::fs::metadata(name).is_err_and(missing) {
        return Ok(Video::File(name.to_owned()));
    }
    let shown = name.display();
    let Some(uri) = clips::storage_variable() else {
        bail!(
            "open {what} '{shown}': there is no such file; for a stored clip give --storage URI, or \
             set {STORAGE_VARIABLE}"
        );
    };
    let clips = clips::open(Some(&uri), KeyTemplate::default())?;
    let storage = clips.storage().uri().to_owned();
    clip(clips, text).map_err(|error| match error.downcast_ref() {
        Some(ClipError::NoSuchClip { .. } | ClipError::Storage(StorageError::Key { .. })) => {
            anyhow!("open {what} '{shown}': it is neither a file nor a clip of '{storage}'")
        }
        _ => error,
    })
}

fn clip(clips: Clips, key: &str) -> anyhow::Result<Video> {
    let clip = clips.find(key)?;
    Ok(Video::Clip(clips, Box::new(clip)))
}
