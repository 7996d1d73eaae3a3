//! Model files on disk: reading them with a limit, and telling intact ones from damaged ones.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{ModelError, ModelFile};

/// Protobuf messages, and so ONNX files, end here.
const MAX_BYTES: u64 = i32::MAX as u64;
/// Longest file taken for a Git LFS pointer; real ones have some 130 bytes.
const MAX_POINTER: u64 = 1024;

/// What a file is, compared with what the registry says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// The checksum is right.
    Intact,
    /// The content is not what it should be; the actual SHA-256.
    Damaged { sha256: String },
    /// A Git LFS pointer stands in for the file.
    LfsPointer,
    /// There is something, but it cannot be read; the reason.
    Unreadable { reason: String },
    /// There is no such file.
    Missing,
}

/// Is this the text that Git leaves in place of a file kept in Git LFS? The first bytes of the
/// file are enough.
pub fn is_lfs_pointer(start: &[u8]) -> bool {
    start.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// Compares the file at `path` with the checksum of `file`. Reads all of it.
pub fn check(path: &Path, file: &ModelFile) -> FileState {
    match try_check(path, file) {
        Ok(state) => state,
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileState::Missing,
        Err(error) => FileState::Unreadable { reason: error.to_string() },
    }
}

fn try_check(path: &Path, expected: &ModelFile) -> io::Result<FileState> {
    let mut file = open(path)?;
    if file.metadata()?.len() <= MAX_POINTER {
        let mut start = Vec::new();
        file.by_ref().take(MAX_POINTER).read_to_end(&mut start)?;
        if is_lfs_pointer(&start) {
            return Ok(FileState::LfsPointer);
        }
        return Ok(state(expected, hex(&Sha256::digest(&start))));
    }
    Ok(state(expected, sha256(&mut file)?))
}

fn state(expected: &ModelFile, sha256: String) -> FileState {
    if sha256 == expected.sha256 { FileState::Intact } else { FileState::Damaged { sha256 } }
}

/// Opens a regular file. (Opening a named pipe would wait for a writer.)
fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    File::open(path)
}

/// SHA-256 of the rest of `reader` in lower-case hexadecimal.
pub(crate) fn sha256(reader: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    hash_into(reader, &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}

/// Feeds the rest of `reader` to `hasher`; the number of bytes.
pub(crate) fn hash_into(reader: &mut impl Read, hasher: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a model file that may be anything.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::Read { path: path.to_owned(), source };
    let file = open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let too_large = |bytes| ModelError::TooLarge { path: path.to_owned(), bytes, limit: MAX_BYTES };
    if bytes > MAX_BYTES {
        return Err(too_large(bytes));
    }
    let mut content = Vec::new();
    // The file may grow while it is read.
    file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(too_large(content.len() as u64));
    }
    if is_lfs_pointer(&content) {
        return Err(ModelError::LfsPointer { path: path.to_owned() });
    }
    Ok(content)
}
