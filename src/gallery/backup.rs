//! Backups of a gallery: one file with a manifest and checksums, restored all or nothing.
//!
//! A backup is two lines of text and a SQLite file. The first line has the format's name and the
//! checksum of the second; the second is the [`Manifest`] as JSON, which has length and checksum
//! of the rest. Every byte is covered, which SQLite's own format does not do: a flipped bit in a
//! picture or an embedding is still a good database. One file rather than a folder cannot be
//! carried away in part, and `head -2` shows what it is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::staging::Staging;
use super::store::{SCHEMA_VERSION, Store};
use super::{Access, BUSY_TIMEOUT, GalleryError, Location, TransferError};
use crate::model::hex;

const KIND: &str = "backup";

/// The first line is this, the version, a space and the checksum of the second line.
const MAGIC: &str = "face-gallery-backup/";

/// Version of the format of [`Manifest`] and of what surrounds it.
pub const BACKUP_VERSION: u32 = 1;

/// Longest line that is read: a manifest has some 500 bytes.
const MAX_LINE_BYTES: u64 = 64 << 10;

const COPY_BYTES: usize = 256 << 10;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// UTC, when the contents were as they are in it.
    pub created: String,
    /// Version of the program that wrote it.
    pub program: String,
    pub schema_version: u32,
    /// Registry id of the model that wrote the embeddings.
    pub model: String,
    /// Name of its alignment template.
    pub alignment: String,
    /// Number of dimensions of the embeddings.
    pub dim: usize,
    pub persons: u64,
    pub samples: u64,
    /// Length of the SQLite file that follows.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// Writes what the gallery at `gallery` holds at this moment to `file`, while others read and
/// write it. The file is readable by its owner only, and it gets its name when it is whole and
/// safely on the disk. `replace` allows to replace a file of that name.
///
/// ```no_run
/// use face_core::gallery::backup;
///
/// let manifest = backup::create("people.gallery", "people.backup".as_ref(), false)?;
/// println!("{} people", manifest.persons);
/// # Ok::<(), face_core::gallery::TransferError>(())
/// ```
///
/// # Errors
/// [`TransferError::Exists`], [`TransferError::Busy`] if another process writes the same file,
/// [`TransferError::Io`], or [`TransferError::Gallery`] as from
/// [`Gallery::open`](super::Gallery::open); also for a damaged gallery, which is not backed up, and
/// for a shared one ([`GalleryError::OnServer`]).
pub fn create(
    gallery: impl Into<Location>,
    file: &Path,
    replace: bool,
) -> Result<Manifest, TransferError> {
    let gallery = file_of(&gallery.into(), "back up")?;
    let store = Store::open(&gallery, Access::Read, None, BUSY_TIMEOUT)?;
    let file = absolute(file)?;
    refuse_to_overwrite_itself(store.path(), &file)?;
    if !replace && file.symlink_metadata().is_ok() {
        return Err(TransferError::Exists { path: file });
    }
    let staging = Staging::beside(&file)?;
    let copy = staging.path("copy");
    staging.create("copy")?;
    let created = store.now()?;
    store.copy_to(&copy)?;
    drop(store);
    let mut manifest = examined(&copy)?;
    manifest.created = created;
    let (bytes, sha256) = {
        let mut copied = open(&copy)?;
        transcribe(&mut copied, &mut io::sink()).map_err(|e| TransferError::io("read", &copy, e))?
    };
    manifest.bytes = bytes;
    manifest.sha256 = sha256;
    let mut out = staging.create("backup")?;
    let write = |out: &mut File| -> io::Result<(u64, String)> {
        let line = serde_json::to_string(&manifest)?;
        let sha256 = hex(&Sha256::digest(line.as_bytes()));
        write!(out, "{MAGIC}{BACKUP_VERSION} {sha256}\n{line}\n")?;
        transcribe(&mut File::open(&copy)?, out)
    };
    write(&mut out).map_err(|e| TransferError::io("write", &file, e))?;
    // The staging folder's lock keeps out every other backup to this name; `replace` was decided
    // above, and a rename works on file systems without links, too.
    staging.publish("backup", true)?;
    Ok(manifest)
}

/// A server has backups of its own, which also have what is beside the gallery.
fn file_of(gallery: &Location, op: &'static str) -> Result<PathBuf, GalleryError> {
    match gallery {
        Location::File(path) => Ok(path.clone()),
        Location::Server(_) => Err(GalleryError::OnServer {
            op,
            path: gallery.shown(),
            instead: "use the server's own means, such as pg_dump and pg_restore, or copy its \
                      people to a file with: facectl gallery copy",
        }),
    }
}

/// Reads a backup to its end and compares it with its checksums.
///
/// # Errors
/// [`TransferError::Damaged`], [`TransferError::NewerFormat`] or [`TransferError::Io`].
pub fn verify(file: &Path) -> Result<Manifest, TransferError> {
    unpack(file, &mut io::sink())
}

/// Puts the contents of a backup into the gallery at `gallery`: all of them or, whatever happens,
/// nothing. A missing gallery is made. With `replace` an existing one gets them in the place of
/// its own, in one transaction: whoever has it open sees the one or the other, and notices as
/// after any write. If the backup is of another embedder, they keep what they have and say so.
///
/// # Errors
/// [`TransferError::Damaged`], [`TransferError::NewerFormat`], [`TransferError::Exists`] without
/// `replace`, [`TransferError::Irreplaceable`] if what is there is no intact gallery,
/// [`TransferError::Leftover`], [`TransferError::Busy`], [`TransferError::Io`], or
/// [`TransferError::Gallery`].
pub fn restore(
    file: &Path,
    gallery: impl Into<Location>,
    replace: bool,
) -> Result<Manifest, TransferError> {
    let gallery = absolute(&file_of(&gallery.into(), "restore")?)?;
    refuse_to_overwrite_itself(&absolute(file)?, &gallery)?;
    let exists = gallery.symlink_metadata().is_ok();
    if exists && !replace {
        return Err(TransferError::Exists { path: gallery });
    }
    super::file::create_folder_of(&gallery)
        .map_err(|e| TransferError::io("make folder of", &gallery, e))?;
    let staging = Staging::beside(&gallery)?;
    let mut copy = staging.create("copy")?;
    let manifest = unpack(file, &mut copy)?;
    drop(copy);
    let path = staging.path("copy");
    let found = examined(&path).map_err(|e| match e {
        // The checksums are right, so it was written like this; the copy's name says nothing.
        TransferError::Gallery(GalleryError::Corrupt { reason, .. }) => damaged(file, &reason),
        TransferError::Gallery(GalleryError::NewerSchema { version, supported, .. }) => {
            let path = file.into();
            GalleryError::NewerSchema { path, version, supported }.into()
        }
        other => other,
    })?;
    if (found.persons, found.samples, &found.model)
        != (manifest.persons, manifest.samples, &manifest.model)
    {
        return Err(damaged(file, "its contents are not those of its manifest"));
    }
    if exists {
        replace_contents(&gallery, &path)?;
    } else {
        put_new(&gallery, &staging)?;
    }
    Ok(manifest)
}

/// Replaces the contents of an existing gallery by those of the file at `from`.
fn replace_contents(gallery: &Path, from: &Path) -> Result<(), TransferError> {
    let replace = || {
        let mut store = Store::open(gallery, Access::Write, None, BUSY_TIMEOUT)?;
        store.replace_by(from)
    };
    replace().map_err(|source| match source {
        GalleryError::Corrupt { .. } => {
            TransferError::Irreplaceable { path: gallery.into(), source }
        }
        other => other.into(),
    })
}

/// Gives the copy in `staging` the name of a gallery that is not there.
pub(super) fn put_new(gallery: &Path, staging: &Staging) -> Result<(), TransferError> {
    for ending in ["-wal", "-shm"] {
        let mut name = gallery.as_os_str().to_owned();
        name.push(ending);
        let leftover = PathBuf::from(name);
        // SQLite would take an old log for a part of the new file.
        if leftover.symlink_metadata().is_ok() {
            return Err(TransferError::Leftover { path: gallery.into(), leftover });
        }
    }
    staging.publish("copy", false)
}

/// Checks a copy that nobody else has open, brings it to this program's schema, and says what it
/// holds; length and checksum are left empty.
fn examined(copy: &Path) -> Result<Manifest, TransferError> {
    let mut store = Store::open(copy, Access::Write, None, BUSY_TIMEOUT)?;
    store.check()?;
    store.drop_forgetting()?;
    let fingerprint = store.fingerprint()?;
    // Every embedding against its checksum.
    store.changes(fingerprint.dim(), None, &mut |_| {})?;
    let (persons, samples) = store.counts()?;
    let created = store.now()?;
    drop(store);
    let mut log = copy.as_os_str().to_owned();
    log.push("-wal");
    // SQLite removes it with the last connection, once all of it is in the file.
    if Path::new(&log).exists() {
        let left = io::Error::other("its write-ahead log could not be written back");
        return Err(TransferError::io("close", copy, left));
    }
    Ok(Manifest {
        created,
        program: env!("CARGO_PKG_VERSION").into(),
        schema_version: SCHEMA_VERSION,
        dim: fingerprint.dim(),
        model: fingerprint.model,
        alignment: fingerprint.alignment,
        persons,
        samples,
        bytes: 0,
        sha256: String::new(),
    })
}

/// Writes the SQLite file of a backup to `out`, and gives the manifest once all of it was right.
fn unpack(file: &Path, out: &mut dyn Write) -> Result<Manifest, TransferError> {
    let mut input = BufReader::new(open(file)?);
    let first = line(&mut input, file)?;
    let Some((version, sha256)) = first.strip_prefix(MAGIC).and_then(|l| l.split_once(' ')) else {
        return Err(damaged(file, "it is not a backup of a gallery"));
    };
    match version.parse::<u32>() {
        Ok(BACKUP_VERSION) if version == BACKUP_VERSION.to_string() => {}
        Ok(version) if version > BACKUP_VERSION => {
            let (path, supported) = (file.into(), BACKUP_VERSION);
            return Err(TransferError::NewerFormat { kind: KIND, path, version, supported });
        }
        _ => return Err(damaged(file, "it has no valid format version")),
    }
    let second = line(&mut input, file)?;
    if hex(&Sha256::digest(second.as_bytes())) != sha256 {
        return Err(damaged(file, "the file is damaged (wrong checksum of the manifest)"));
    }
    let manifest: Manifest = serde_json::from_str(&second)
        .map_err(|e| damaged(file, &format!("its manifest cannot be read: {e}")))?;
    // One byte more shows what does not belong there.
    let mut rest = input.take(manifest.bytes.saturating_add(1));
    let (bytes, sha256) =
        transcribe(&mut rest, out).map_err(|e| TransferError::io("copy", file, e))?;
    if bytes != manifest.bytes {
        let problem =
            if bytes < manifest.bytes { "is cut off" } else { "has more than its manifest says" };
        return Err(damaged(file, &format!("the file {problem}")));
    }
    if sha256 != manifest.sha256 {
        return Err(damaged(file, "the file is damaged (wrong checksum of the contents)"));
    }
    Ok(manifest)
}

/// A line without its end.
fn line(input: &mut impl BufRead, file: &Path) -> Result<String, TransferError> {
    let mut line = Vec::new();
    let read = input.take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
    read.map_err(|e| TransferError::io("read", file, e))?;
    match (line.pop(), String::from_utf8(line)) {
        (Some(b'\n'), Ok(line)) => Ok(line),
        _ => Err(damaged(file, "it is not a backup of a gallery")),
    }
}

/// Copies to the end; the number of bytes and their checksum.
fn transcribe(input: &mut dyn Read, out: &mut dyn Write) -> io::Result<(u64, String)> {
    let (mut hasher, mut total) = (Sha256::new(), 0u64);
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        hasher.update(&buffer[..count]);
        out.write_all(&buffer[..count])?;
        total += count as u64;
    }
    out.flush()?;
    Ok((total, hex(&hasher.finalize())))
}

fn damaged(file: &Path, reason: &str) -> TransferError {
    TransferError::Damaged { kind: KIND, path: file.into(), reason: reason.into() }
}

/// Opens a plain file: a pipe or a device could keep a reader waiting for ever.
pub(super) fn open(path: &Path) -> Result<File, TransferError> {
    let failed = |source| TransferError::io("read", path, source);
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is a folder or a device, not a file")));
    }
    File::open(path).map_err(failed)
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf, TransferError> {
    std::path::absolute(path).map_err(|e| TransferError::io("find", path, e))
}

/// A backup or an export onto the very file that it is made from would be the end of both.
pub(super) fn refuse_to_overwrite_itself(from: &Path, to: &Path) -> Result<(), TransferError> {
    let same = match (from.canonicalize(), to.canonicalize()) {
        (Ok(from), Ok(to)) => from == to,
        _ => false,
    };
    if !same {
        return Ok(());
    }
    let reason = io::Error::other("it is the file that is read from; name another one");
    Err(TransferError::io("write", to, reason))
}

#[cfg(test)]
mod tests;
