//! What can go wrong with a server, told apart as callers act.

use std::path::{Path, PathBuf};

use postgres::error::SqlState;

use super::GalleryError;

/// Why something in a transaction failed.
pub(super) enum Fault {
    Sql(postgres::Error),
    Gallery(GalleryError),
}

impl From<postgres::Error> for Fault {
    fn from(error: postgres::Error) -> Self {
        Fault::Sql(error)
    }
}

impl From<GalleryError> for Fault {
    fn from(error: GalleryError) -> Self {
        Fault::Gallery(error)
    }
}

impl Fault {
    pub(super) fn named(self, op: &'static str, shown: &Path) -> GalleryError {
        match self {
            Fault::Sql(e) => error(op, shown, &e),
            Fault::Gallery(e) => e,
        }
    }
}

/// Maps an error of the server or the connection to what a caller can act on. Only the message is
/// taken over: details of the server may quote a row, and with it a name.
pub(super) fn error(op: &'static str, shown: &Path, error: &postgres::Error) -> GalleryError {
    let path = shown.to_path_buf();
    let Some(db) = error.as_db_error() else {
        return client_error(op, path, error);
    };
    let code = db.code();
    let message = db.message().to_owned();
    if [
        &SqlState::LOCK_NOT_AVAILABLE,
        &SqlState::T_R_SERIALIZATION_FAILURE,
        &SqlState::T_R_DEADLOCK_DETECTED,
    ]
    .contains(&code)
    {
        return GalleryError::Busy { op, path };
    }
    // Classes of SQLSTATE: connections, shut-downs, and too little of something.
    match code.code().get(..2) {
        Some("08" | "57") => GalleryError::Unreachable { op, path, reason: message },
        Some("28" | "3D") => {
            let reason = format!("the server lets nobody in: {message}");
            GalleryError::Refused { op, path, reason }
        }
        Some("25") => {
            let reason = format!("the server is for reading only: {message}");
            GalleryError::Refused { op, path, reason }
        }
        _ if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            let reason = format!("the role lacks a right: {message}");
            GalleryError::Refused { op, path, reason }
        }
        Some("42") => GalleryError::Corrupt { op, path, reason: damaged_text(&message) },
        _ => GalleryError::Failed { op, path, source: message.into() },
    }
}

/// An error that the server did not send. The crate tells its kinds apart by their texts only.
fn client_error(op: &'static str, path: PathBuf, error: &postgres::Error) -> GalleryError {
    let reason = chain(error);
    let is = |kinds: &[&str]| !error.is_closed() && kinds.iter().any(|k| reason.starts_with(k));
    if is(&["error deserializing", "error serializing", "invalid column", "query returned"]) {
        return GalleryError::Corrupt { op, path, reason: damaged_text(&reason) };
    }
    if is(&["invalid configuration", "authentication error"]) {
        let reason = format!(
            "the server lets nobody in: {reason}; the password may be in PGPASSWORD or ~/.pgpass"
        );
        return GalleryError::Refused { op, path, reason };
    }
    if is(&["error performing TLS handshake"]) {
        let reason = format!(
            "{reason}; sslrootcert=FILE in the address names the certificates to trust, \
             sslmode=disable sends faces unencrypted"
        );
        return GalleryError::Refused { op, path, reason };
    }
    GalleryError::Unreachable { op, path, reason }
}

/// An error with its causes, each said once.
pub(in crate::gallery) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

pub(super) fn damaged_text(what: impl std::fmt::Display) -> String {
    format!("its tables are not as they should be ({what}); restore the database from a backup")
}
