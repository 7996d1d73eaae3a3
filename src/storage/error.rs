//! What can go wrong with a storage.

use std::io;
use std::path::{Path, PathBuf};

use crate::net::NetError;

/// Why a storage could not do what was asked. `place` is the object: `s3://bucket/prefix/key`, or
/// the path of the file. No text holds a credential or a signature.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("storage '{uri}' cannot be used: {reason}")]
    Uri { uri: String, reason: String },
    #[error("'{key}' cannot be the key of an object: {reason}")]
    Key { key: String, reason: &'static str },
    #[error("no credentials for '{uri}': {reason}")]
    Credentials { uri: String, reason: String },
    #[error("'{place}' is not there")]
    NotFound { place: String },
    #[error("'{uri}' has no such bucket: create it, or correct the name")]
    NoBucket { uri: String },
    #[error("may not {operation} '{place}' ({reason}): check the credentials and what they may do")]
    Denied { operation: &'static str, place: String, reason: String },
    #[error(
        "cannot {operation} '{place}': the clocks of this machine and of the server differ by too \
         much; set the clock"
    )]
    ClockSkew { operation: &'static str, place: String },
    #[error("cannot {operation} '{place}': the server cannot be reached ({reason})")]
    Unreachable { operation: &'static str, place: String, reason: String },
    #[error("cannot {operation} '{place}': the server failed ({reason})")]
    Server { operation: &'static str, place: String, reason: String },
    #[error("cannot {operation} '{place}': {reason}")]
    Rejected { operation: &'static str, place: String, reason: String },
    #[error("'{place}' is not what was stored: {reason}")]
    Damaged { place: String, reason: String },
    #[error("'{place}' has {size} bytes, at most {limit} are read at once")]
    TooLarge { place: String, size: u64, limit: u64 },
    #[error("'{}' is a link: links in a storage are not followed", path.display())]
    Link { path: PathBuf },
    #[error("cannot {operation} '{}'", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("a link can be good for 1 s to 7 days, not for {seconds} s")]
    Expiry { seconds: u64 },
    #[error("cancelled")]
    Cancelled,
    #[error("cannot wait for the storage: {0}")]
    Wait(String),
}

impl StorageError {
    /// May the same call succeed later without anybody changing it? What is worth another try.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Server { .. }
            | Self::ClockSkew { .. }
            // Roles and keys are handed out by other machines, which may be away, too.
            | Self::Credentials { .. }
            | Self::Damaged { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::StaleNetworkFileHandle
            ),
            _ => false,
        }
    }

    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        // An object is no folder: below it there is nothing.
        if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            return Self::NotFound { place: path.display().to_string() };
        }
        Self::Io { operation, path: path.to_owned(), source }
    }
}

impl From<NetError> for StorageError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::InsideRuntime => Self::Wait(error.to_string()),
            NetError::Threads(source) => Self::Wait(format!("no threads: {source}")),
        }
    }
}
