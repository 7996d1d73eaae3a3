//! The gallery on disk. SQLite in WAL mode is the source of truth; every write is one transaction
//! that raises `generation`. Here and in the modules below alone is `rusqlite` named, but for tests.

mod changes;
mod copy;
mod forget;
mod needles;
mod people;
mod rows;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};
use sha2::{Digest, Sha256};

pub(super) use rows::{PersonRow, Pictures, SampleKey, SampleRow, Writing};

use super::{Access, Enrolled, GalleryError, NewSample, Person, file};
use crate::embed::{Embedding, Fingerprint};

/// `PRAGMA application_id` of gallery files: "Face".
const APPLICATION_ID: i64 = 0x4661_6365;

/// One step per schema version: the first makes version 1 of an empty file.
const STEPS: [&str; 3] =
    [include_str!("schema.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// The newest schema this program knows, and the one it writes.
pub(super) const SCHEMA_VERSION: u32 = STEPS.len() as u32;

const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

/// The generation of the write that is under way, which it raises at its end.
const NEXT: &str = "(SELECT generation + 1 FROM meta WHERE id = 1)";

/// How long to wait before a change to WAL mode, which does not wait by itself, is tried again.
const WAL_RETRY: Duration = Duration::from_millis(5);

/// An open gallery file.
pub(super) struct Store {
    conn: Connection,
    path: PathBuf,
    access: Access,
    /// The embedding space of what is read and written here. The contents of the file may be
    /// replaced by those of another space while it is open.
    space: Option<Fingerprint>,
}

/// Maps a SQLite error to what a caller can act on.
fn sqlite_error(op: &'static str, path: &Path, error: rusqlite::Error) -> GalleryError {
    let path = path.to_path_buf();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            GalleryError::Busy { op, path }
        }
        Some(ErrorCode::NotADatabase) => {
            GalleryError::Corrupt { op, path, reason: "it is not a gallery file".into() }
        }
        // `Unknown` is SQLite's general error, as for a missing table: the statements are fixed, so
        // it is the file that is not as it should be. Values of a wrong type have no code at all.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) | None => GalleryError::Corrupt {
            op,
            path,
            reason: format!("the file is damaged ({error}); restore it from a backup"),
        },
        Some(_) => GalleryError::Failed { op, path, source: error.into() },
    }
}

/// Waiting helps against a busy gallery; a file that may not be written has to be moved.
fn older(path: &Path, version: u32, error: GalleryError) -> GalleryError {
    match error {
        GalleryError::Failed { .. } => {
            GalleryError::OlderSchema { path: path.into(), version, source: error.into() }
        }
        other => other,
    }
}

impl Store {
    /// Opens the file, checks that it is a gallery of a known version, and with
    /// [`Access::Create`] makes an empty file a gallery of `fingerprint`. `busy` is how long a
    /// write waits for another process.
    pub(super) fn open(
        path: &Path,
        access: Access,
        fingerprint: Option<&Fingerprint>,
        busy: Duration,
    ) -> Result<Self, GalleryError> {
        let path = file::prepare(path, access)?;
        let mode = match access {
            Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::Write | Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let error = |e| sqlite_error("open", &path, e);
        let conn = Connection::open_with_flags(&path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(error)?;
        harden(&conn, busy).map_err(error)?;
        let mut store = Self { conn, path, access, space: None };
        let version = store.recognise(access == Access::Create)?;
        if access != Access::Read {
            store.use_wal(busy)?;
            store.upgrade(version, fingerprint)?;
        } else if version < SCHEMA_VERSION {
            // Readers know the newest schema only. This connection sees the change by itself.
            let upgraded = Self::open(&store.path, Access::Write, fingerprint, busy);
            upgraded.map_err(|e| older(&store.path, version, e))?;
        }
        Ok(store)
    }

    /// The schema version, 0 for an empty file that may become a gallery. Nothing is written, so
    /// that a file of another program stays as it is.
    fn recognise(&self, may_be_empty: bool) -> Result<u32, GalleryError> {
        // One read transaction: another process may be making it a gallery at this moment.
        let read = || {
            let tx = self.conn.unchecked_transaction()?;
            let pragma = |name| tx.pragma_query_value(None, name, |r| r.get::<_, i64>(0));
            let (application, version) = (pragma("application_id")?, pragma("user_version")?);
            let sql = "SELECT count(*) FROM sqlite_schema";
            let tables: i64 = tx.query_row(sql, [], |r| r.get(0))?;
            Ok((application, version, tables))
        };
        let (application, version, tables) = read().map_err(|e| self.error("open", e))?;
        let path = self.path.clone();
        let refuse = |reason: &str| {
            Err(GalleryError::Corrupt { op: "open", path: path.clone(), reason: reason.into() })
        };
        match u32::try_from(version) {
            Ok(0) if application == 0 && tables == 0 => {
                if may_be_empty {
                    Ok(0)
                } else {
                    refuse("it is empty; enrol somebody first")
                }
            }
            _ if application != APPLICATION_ID => {
                refuse("it is a database of another program, not a gallery")
            }
            Ok(version @ 1..=SCHEMA_VERSION) => Ok(version),
            Ok(version @ 1..) => {
                Err(GalleryError::NewerSchema { path, version, supported: SCHEMA_VERSION })
            }
            _ => refuse("it has no valid schema version; restore it from a backup"),
        }
    }

    fn use_wal(&self, busy: Duration) -> Result<(), GalleryError> {
        let started = Instant::now();
        loop {
            let set = self
                .conn
                .pragma_update_and_check(None, "journal_mode", "WAL", |r| r.get::<_, String>(0));
            match set.map_err(|e| self.error("open", e)) {
                Ok(mode) if mode == "wal" => return Ok(()),
                Ok(mode) => {
                    return Err(GalleryError::Failed {
                        op: "open",
                        path: self.path.clone(),
                        source: format!(
                            "its file system cannot share a write-ahead log (journal mode {mode})"
                        )
                        .into(),
                    });
                }
                // Another process is changing the mode at the same moment.
                Err(GalleryError::Busy { .. }) if started.elapsed() < busy => {
                    std::thread::sleep(WAL_RETRY);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes the missing steps to [`SCHEMA_VERSION`] in one transaction.
    fn upgrade(
        &mut self,
        version: u32,
        fingerprint: Option<&Fingerprint>,
    ) -> Result<(), GalleryError> {
        if version == SCHEMA_VERSION {
            return Ok(());
        }
        self.write("create", |tx| {
            // Another process may have been faster since `version` was read.
            let version: u32 = tx.pragma_query_value(None, "user_version", |r| r.get(0))?;
            for step in STEPS.iter().skip(version as usize) {
                tx.execute_batch(step)?;
            }
            if let Some(f) = fingerprint.filter(|_| version == 0) {
                tx.execute(
                    &format!(
                        "INSERT INTO meta (id, model, alignment, dim, probe, generation, \
                         rewritten, created) VALUES (1, ?1, ?2, ?3, ?4, 1, 1, {NOW})"
                    ),
                    params![f.model, f.alignment, f.dim() as i64, f.probe.to_bytes()],
                )?;
            }
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
            tx.pragma_update(None, "user_version", SCHEMA_VERSION)
        })
    }

    /// Runs `body` in one transaction; nothing of it remains if it fails.
    fn write<T>(
        &mut self,
        op: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, GalleryError> {
        self.write_in(op, true, body)
    }

    /// As [`Store::write`]; without `keep_space` also if the embedding space of the file is
    /// another one by now, or becomes one.
    fn write_in<T>(
        &mut self,
        op: &'static str,
        keep_space: bool,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, GalleryError> {
        if self.access == Access::Read {
            return Err(GalleryError::ReadOnly { op, path: self.path.clone() });
        }
        let path = &self.path;
        let error = |e| sqlite_error(op, path, e);
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(error)?;
        if let Some(space) = self.space.as_ref().filter(|_| keep_space) {
            check_space(&tx, path, space)?;
        }
        let value = body(&tx).map_err(error)?;
        tx.commit().map_err(error)?;
        Ok(value)
    }

    fn error(&self, op: &'static str, error: rusqlite::Error) -> GalleryError {
        sqlite_error(op, &self.path, error)
    }

    fn damaged(&self, what: impl std::fmt::Display) -> GalleryError {
        damaged(&self.path, what)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The embedding space of the file.
    pub(super) fn fingerprint(&self) -> Result<Fingerprint, GalleryError> {
        fingerprint_of(&self.conn, &self.path)
    }

    /// From now on nothing of another embedding space is read or written.
    pub(super) fn keep_to(&mut self, space: &Fingerprint) {
        self.space = Some(space.clone());
    }

    /// Counts the writes.
    pub(super) fn generation(&self) -> Result<u64, GalleryError> {
        let sql = "SELECT generation FROM meta WHERE id = 1";
        let read = self.conn.query_row(sql, [], |r| r.get(0));
        let generation: i64 = read.map_err(|e| self.error("read", e))?;
        u64::try_from(generation).map_err(|_| self.damaged("negative generation"))
    }

    /// Stores samples under a checked name. `new_id` is the person's id if the name is new.
    pub(super) fn enroll(
        &mut self,
        name: &str,
        new_id: &str,
        samples: &[NewSample],
    ) -> Result<Enrolled, GalleryError> {
        self.write("write", |tx| {
            let created = tx.execute(
                &format!(
                    "INSERT INTO persons (id, name, created, updated, generation) \
                     VALUES (?1, ?2, {NOW}, {NOW}, {NEXT}) ON CONFLICT (name) DO NOTHING"
                ),
                [new_id, name],
            )? > 0;
            let sql = "SELECT seq, id FROM persons WHERE name = ?1";
            let (seq, person_id): (i64, String) =
                tx.query_row(sql, [name], |r| Ok((r.get(0)?, r.get(1)?)))?;
            let mut added = 0;
            for sample in samples {
                added += usize::from(add_sample(tx, seq, sample, false)?);
            }
            if added > 0 {
                let sql = format!("UPDATE persons SET updated = {NOW} WHERE seq = ?1");
                tx.execute(&sql, [seq])?;
            }
            if created || added > 0 {
                people::audit(tx, "enroll", Some(&person_id), added)?;
                raise_generation(tx)?;
            }
            Ok(Enrolled { person_id, created, added, duplicates: samples.len() - added })
        })
    }

    /// Numbers of people and of samples.
    pub(super) fn counts(&self) -> Result<(u64, u64), GalleryError> {
        let sql = "SELECT (SELECT count(*) FROM persons), \
                   (SELECT count(*) FROM samples WHERE negative = 0)";
        let read = self.conn.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?)));
        let (persons, samples): (u32, u32) = read.map_err(|e| self.error("read", e))?;
        Ok((persons.into(), samples.into()))
    }

    /// Reads the whole file and checks its structure.
    pub(super) fn check(&self) -> Result<(), GalleryError> {
        let read = self.conn.query_row("PRAGMA quick_check(1)", [], |r| r.get::<_, String>(0));
        match read.map_err(|e| self.error("check", e))?.as_str() {
            "ok" => Ok(()),
            problem => Err(self.damaged(problem)),
        }
    }
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> GalleryError {
    GalleryError::Corrupt {
        op: "read",
        path: path.into(),
        reason: format!("the file is damaged ({what}); restore it from a backup"),
    }
}

fn fingerprint_of(conn: &Connection, path: &Path) -> Result<Fingerprint, GalleryError> {
    let sql = "SELECT model, alignment, dim, probe FROM meta WHERE id = 1";
    let (model, alignment, dim, probe): (String, String, i64, Vec<u8>) = conn
        .query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
        .map_err(|e| sqlite_error("read", path, e))?;
    let probe = Embedding::from_bytes(&probe)
        .map_err(|e| damaged(path, format_args!("fingerprint: {e}")))?;
    if usize::try_from(dim) != Ok(probe.dim()) {
        let dims = probe.dim();
        let what = format_args!("the fingerprint has {dims} dimensions, not {dim}");
        return Err(damaged(path, what));
    }
    Ok(Fingerprint { model, alignment, probe })
}

/// Refuses contents of another space: a restored backup or a migration may have brought them.
fn check_space(conn: &Connection, path: &Path, space: &Fingerprint) -> Result<(), GalleryError> {
    let written = fingerprint_of(conn, path)?;
    if written.same_space(space) {
        return Ok(());
    }
    Err(GalleryError::other_embedder(path, &written, space))
}

/// Settings of a connection. The file may come from anybody: nothing in it is run or trusted.
fn harden(conn: &Connection, busy: Duration) -> rusqlite::Result<()> {
    conn.busy_timeout(busy)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    // What is deleted is overwritten, and what is committed survives a power cut.
    conn.pragma_update(None, "secure_delete", true)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "cell_size_check", true)
}

fn raise_generation(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    match tx.execute("UPDATE meta SET generation = generation + 1 WHERE id = 1", [])? {
        1 => Ok(()),
        _ => Err(rusqlite::Error::QueryReturnedNoRows),
    }
}

/// Stores one sample; false if the person has the very same one.
fn add_sample(
    tx: &Transaction<'_>,
    person: i64,
    sample: &NewSample,
    negative: bool,
) -> rusqlite::Result<bool> {
    let bytes = sample.embedding.to_bytes();
    let sha256 = Sha256::digest(&bytes);
    let added = tx.execute(
        &format!(
            "INSERT INTO samples (person, embedding, sha256, source, created, negative, generation) \
             VALUES (?1, ?2, ?3, ?4, {NOW}, ?5, {NEXT}) ON CONFLICT (person, sha256) DO NOTHING"
        ),
        params![person, bytes, sha256.as_slice(), sample.source, negative],
    )? > 0;
    let id = tx.last_insert_rowid();
    if let Some(png) = sample.crop_png.as_ref().filter(|_| added) {
        tx.execute("INSERT INTO crops (sample, png) VALUES (?1, ?2)", params![id, png])?;
    }
    if let Some(loose) = sample.loose.as_ref().filter(|_| added) {
        let points: Vec<u8> = loose.points.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        let sql = "INSERT INTO loose_crops (sample, png, points) VALUES (?1, ?2, ?3)";
        tx.execute(sql, params![id, loose.png, points])?;
    }
    Ok(added)
}
