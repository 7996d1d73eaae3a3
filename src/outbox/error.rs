//! What can go wrong with an outbox.

use std::io;
use std::path::{Path, PathBuf};

use crate::mqtt::MqttError;
use crate::storage::StorageError;

/// Why an outbox could not do what was asked. No text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("cannot {operation} '{}'", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("'{}' is no spool: it has no folder 'outbox'", path.display())]
    NotFound { path: PathBuf },
    #[error(
        "'{what}' has no room in the spool '{}': {bytes} of {limit} bytes are taken; send what waits \
         (facectl outbox flush), or allow more", path.display()
    )]
    Full { what: String, path: PathBuf, bytes: u64, limit: u64 },
    #[error(
        "another process sends what is in the spool '{}': end it, or wait for it",
        path.display()
    )]
    Busy { path: PathBuf },
    #[error("the spool '{}' is open with other limits in this process", path.display())]
    Limits { path: PathBuf },
    #[error("'{id}' cannot be the id of an entry: 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-'")]
    Id { id: String },
    #[error("the spool has no entry '{id}'")]
    NoEntry { id: String },
    #[error("the entry cannot be sent: {reason}")]
    Entry { reason: String },
    #[error("the entry cannot be sent")]
    Storage(#[from] StorageError),
    #[error("the entry cannot be sent")]
    Mqtt(#[from] MqttError),
    #[error("cannot write the entry as JSON")]
    Json(#[source] serde_json::Error),
    #[error("cannot start the thread that sends what is in the spool")]
    Thread(#[source] io::Error),
}

impl OutboxError {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), source }
    }

    pub(super) fn entry(reason: impl Into<String>) -> Self {
        Self::Entry { reason: reason.into() }
    }
}

/// The error with its causes, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
