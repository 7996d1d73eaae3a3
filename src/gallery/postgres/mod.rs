//! A gallery that several machines share, in PostgreSQL with pgvector. Here and below alone is
//! `postgres` named, but for tests.
//!
//! Every write is one transaction that locks the row of `meta`, raises its `generation` and marks
//! with it what changed, so that readers ask for what came after the generation they have. The
//! embeddings of a space are in a table of their own; `meta.space` says which one is in use.

mod changes;
mod connect;
mod fault;
mod people;
mod rows;
mod search;
mod spaces;
#[cfg(test)]
mod tests;
mod tls;

use std::path::Path;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{Client, IsolationLevel, Transaction};
use sha2::{Digest, Sha256};

pub(super) use rows::Writing;
pub(super) use search::Scored;
pub(super) use spaces::Switched;

use super::location::Address;
use super::{Access, Enrolled, GalleryError, NewSample};
use crate::embed::{Embedding, Fingerprint};
use connect::Connector;
pub(super) use fault::chain;
use fault::{Fault, damaged_text, error};

/// One step per schema version: the first makes version 1 of an empty schema.
const STEPS: [&str; 1] = [include_str!("schema.sql")];

/// The newest schema this program knows, and the one it writes.
pub(super) const SCHEMA_VERSION: u32 = STEPS.len() as u32;

/// As the files of galleries have it: `2026-11-22T09:30:00.000Z`.
const NOW: &str =
    "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";

/// Are the tables of schema `$1` there? Not by `to_regclass`, which may remember that they were not.
const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_tables \
     WHERE schemaname = $1 AND tablename = 'meta')";

/// How long a server may take to answer whether it is there.
const ANSWER: Duration = Duration::from_secs(3);
const LEAST_ANSWER: Duration = Duration::from_millis(500);

/// Largest dimension that pgvector's HNSW index takes.
const MAX_DIM: usize = 2000;

/// For how many generations it is known what went; who has read an earlier one reads everything.
const REMEMBERED: i64 = 100_000;

/// An open shared gallery. A lost connection is made anew by the next call.
pub(super) struct Store {
    connector: Connector,
    session: Mutex<Client>,
    access: Access,
    /// How long a write waits for another one.
    busy: Duration,
    /// The embedding space of what is read and written here.
    space: Option<Fingerprint>,
}

/// How to connect to a gallery that is open already.
#[derive(Clone)]
pub(super) struct Dial {
    connector: Connector,
    busy: Duration,
    space: Option<Fingerprint>,
}

impl Dial {
    /// Connects, for reading.
    pub(super) fn store(&self) -> Result<Store, GalleryError> {
        let Self { connector, busy, space } = self.clone();
        let session = Mutex::new(connector.connect(busy)?);
        let store = Store { connector, session, access: Access::Read, busy, space };
        store.enter(&mut store.session.lock())?;
        Ok(store)
    }
}

/// A transaction, and what `meta` says in it.
struct Moment<'a> {
    tx: Transaction<'a>,
    generation: i64,
    rewritten: i64,
    space: i32,
    previous: Option<i32>,
    fingerprint: Fingerprint,
    /// Was something written, so that the generation is to be raised?
    changed: bool,
}

impl Moment<'_> {
    /// The table of the embeddings in use.
    fn table(&self) -> String {
        table(self.space)
    }

    /// The generation that is being written.
    fn next(&self) -> i64 {
        self.generation + 1
    }

    fn audit(&mut self, what: &str, person: Option<&str>, count: u64) -> Result<(), Fault> {
        let sql = format!("INSERT INTO audit (at, what, person, count) VALUES ({NOW}, $1, $2, $3)");
        self.tx.execute(&sql, &[&what, &person, &(count as i64)])?;
        Ok(())
    }

    /// Stores one sample; false if the person has the very same one.
    fn add(&mut self, person: i64, new: &New<'_>) -> Result<bool, Fault> {
        let sha256 = Sha256::digest(new.embedding);
        let table = self.table();
        let sql = format!("SELECT 1 FROM {table} WHERE person = $1 AND sha256 = $2");
        if self.tx.query_opt(&sql, &[&person, &sha256.as_slice()])?.is_some() {
            return Ok(false);
        }
        // PostgreSQL has no such character in texts.
        let source = new.source.replace('\0', "\u{fffd}");
        let sql = format!(
            "INSERT INTO samples (person, negative, source, created, generation) \
             VALUES ($1, $2, $3, coalesce($4, {NOW}), $5) RETURNING id"
        );
        let values: [&(dyn ToSql + Sync); 5] =
            [&person, &new.negative, &source, &new.created, &self.next()];
        let id: i64 = self.tx.query_one(&sql, &values)?.try_get(0)?;
        self.put_embedding(&table, (id, person, new.negative), new.embedding)?;
        if let Some(png) = new.crop_png {
            let sql = "INSERT INTO crops (sample, png, alignment) \
                 SELECT $1, $2, alignment FROM spaces WHERE id = $3";
            self.tx.execute(sql, &[&id, &png, &self.space])?;
        }
        if let Some(loose) = new.loose {
            let points: Vec<u8> =
                loose.points.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
            let sql = "INSERT INTO loose_crops (sample, png, points) VALUES ($1, $2, $3)";
            self.tx.execute(sql, &[&id, &loose.png, &points])?;
        }
        self.changed = true;
        Ok(true)
    }

    /// Stores the embedding of a sample; false if its person has the very same one.
    fn put_embedding(
        &mut self,
        table: &str,
        (sample, person, negative): (i64, i64, bool),
        bytes: &[u8],
    ) -> Result<bool, Fault> {
        let values: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let sha256 = Sha256::digest(bytes);
        let sql = format!(
            "INSERT INTO {table} (sample, person, negative, embedding, sha256) \
             VALUES ($1, $2, $3, $4::real[]::vector, $5) ON CONFLICT DO NOTHING"
        );
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&sample, &person, &negative, &values, &sha256.as_slice()];
        Ok(self.tx.execute(&sql, &parameters)? > 0)
    }

    /// Ends a write: raises the generation if something changed, and tells whoever listens.
    fn finish(mut self, schema: &str) -> Result<(), Fault> {
        if self.changed {
            let next = self.next();
            let forgotten = next - REMEMBERED;
            self.tx.execute("DELETE FROM gone WHERE generation <= $1", &[&forgotten])?;
            let sql = "UPDATE meta SET generation = $1, rewritten = greatest(rewritten, $2)";
            self.tx.execute(sql, &[&next, &forgotten])?;
            self.tx.execute("SELECT pg_notify($1, $2)", &[&schema, &next.to_string()])?;
        }
        Ok(self.tx.commit()?)
    }
}

/// A sample to be stored.
struct New<'a> {
    /// Little-endian 32-bit floats.
    embedding: &'a [u8],
    crop_png: Option<&'a [u8]>,
    loose: Option<&'a super::LooseCrop>,
    source: &'a str,
    negative: bool,
    created: Option<&'a str>,
}

fn table(space: i32) -> String {
    format!("embeddings_{space}")
}

impl Store {
    /// Connects, checks that there is a gallery of a known version, and with [`Access::Create`]
    /// makes one of `fingerprint`. `busy` is how long a write waits for another one, and whoever
    /// connects for the server, if that is not less than a second.
    pub(super) fn open(
        address: &Address,
        access: Access,
        fingerprint: Option<&Fingerprint>,
        busy: Duration,
    ) -> Result<Self, GalleryError> {
        let connector = Connector::new(address)?;
        let session = Mutex::new(connector.connect(busy)?);
        let store = Self { connector, session, access, busy, space: None };
        let create = fingerprint.filter(|_| access == Access::Create);
        store.prepare(create)?;
        Ok(store)
    }

    /// How threads of their own reach the same gallery.
    pub(super) fn dial(&self) -> Dial {
        Dial { connector: self.connector.clone(), busy: self.busy, space: self.space.clone() }
    }

    /// From now on [`Store::wait`] ends early when somebody writes.
    pub(super) fn listen(&self) -> Result<(), GalleryError> {
        let sql = format!("LISTEN \"{}\"", self.connector.schema);
        self.session()?.batch_execute(&sql).map_err(|e| error("read", self.path(), &e))
    }

    /// Waits until somebody writes, at most `limit`; true if somebody did.
    pub(super) fn wait(&self, limit: Duration) -> Result<bool, GalleryError> {
        let mut session = self.session.lock();
        let heard = {
            let mut notifications = session.notifications();
            let heard = notifications.timeout_iter(limit).next();
            // More of them say the same.
            while let Ok(Some(_)) = notifications.iter().next() {}
            heard
        };
        let heard = heard.map_err(|e| error("read", self.path(), &e))?;
        if session.is_closed() {
            let reason = "the connection was closed".into();
            return Err(GalleryError::Unreachable { op: "read", path: self.path().into(), reason });
        }
        Ok(heard.is_some())
    }

    /// The connection, made anew if it was lost.
    fn session(&self) -> Result<MutexGuard<'_, Client>, GalleryError> {
        let mut session = self.session.lock();
        if session.is_closed() || session.is_valid(ANSWER.min(self.busy.max(LEAST_ANSWER))).is_err()
        {
            *session = self.connector.connect(self.busy)?;
            self.enter(&mut session)?;
        }
        Ok(session)
    }

    /// Settings of a connection: where its tables and pgvector's operators are, and how long it may
    /// wait for a lock.
    fn enter(&self, session: &mut Client) -> Result<(), GalleryError> {
        let fail = |e: postgres::Error| error("open", self.path(), &e);
        let sql = "SELECT quote_ident(n.nspname) FROM pg_extension e \
             JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'";
        let home = session.query_opt(sql, &[]).map_err(fail)?;
        let home = home.map(|row| row.try_get::<_, String>(0)).transpose().map_err(fail)?;
        let Some(home) = home else {
            return Err(GalleryError::Refused {
                op: "open",
                path: self.path().into(),
                reason: "the database has no extension pgvector; install it on the server and let \
                         an administrator run: CREATE EXTENSION vector"
                    .into(),
            });
        };
        let (schema, busy) = (&self.connector.schema, self.busy.as_millis().max(1));
        let sql = format!(
            "SET search_path = \"{schema}\", {home}, pg_catalog; SET lock_timeout = {busy}; \
             SET idle_in_transaction_session_timeout = '60s'; SET TIME ZONE 'UTC'"
        );
        session.batch_execute(&sql).map_err(fail)
    }

    fn prepare(&self, create: Option<&Fingerprint>) -> Result<(), GalleryError> {
        let fail = |e: postgres::Error| error("open", self.path(), &e);
        let mut session = self.session.lock();
        if create.is_some() {
            // Whoever may not is told by `enter` what is missing.
            let _ = session.batch_execute("CREATE EXTENSION IF NOT EXISTS vector");
        }
        self.enter(&mut session)?;
        if !self.exists(&mut session)? {
            let Some(fingerprint) = create else {
                return Err(GalleryError::NotFound { path: self.path().into() });
            };
            self.create(&mut session, fingerprint)?;
        }
        let row = session.query_opt("SELECT schema_version FROM meta", &[]).map_err(fail)?;
        let row = row.ok_or_else(|| self.damaged("nothing in table meta"))?;
        let version: i32 = row.try_get(0).map_err(fail)?;
        match u32::try_from(version) {
            Ok(1..=SCHEMA_VERSION) => Ok(()),
            Ok(version @ 1..) => {
                let path = self.path().into();
                Err(GalleryError::NewerSchema { path, version, supported: SCHEMA_VERSION })
            }
            _ => Err(self.damaged("no valid schema version")),
        }
    }

    fn exists(&self, session: &mut Client) -> Result<bool, GalleryError> {
        let found = session.query_one(EXISTS, &[&self.connector.schema]);
        found.and_then(|row| row.try_get(0)).map_err(|e| error("open", self.path(), &e))
    }

    /// Makes the tables, unless another program is faster.
    fn create(&self, session: &mut Client, fingerprint: &Fingerprint) -> Result<(), GalleryError> {
        let schema = &self.connector.schema;
        let mut make = || -> Result<(), Fault> {
            let mut tx = session.transaction()?;
            // Two programs must not do it at once; the key is this gallery's.
            tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[schema])?;
            if tx.query_one(EXISTS, &[schema])?.try_get(0)? {
                return Ok(());
            }
            tx.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\""))?;
            for step in STEPS {
                tx.batch_execute(step)?;
            }
            let space = spaces::add(&mut tx, fingerprint, self.path())?;
            spaces::add_index(&mut tx, space)?;
            let sql = format!(
                "INSERT INTO meta (id, schema_version, space, entered, generation, rewritten, \
                 created) VALUES (1, $1, $2, {NOW}, 1, 1, {NOW})"
            );
            tx.execute(&sql, &[&(SCHEMA_VERSION as i32), &space])?;
            Ok(tx.commit()?)
        };
        make().map_err(|fault| fault.named("create", self.path()))
    }

    /// Runs `body` on one moment of the gallery.
    fn read<T>(
        &self,
        keep_space: bool,
        body: impl FnOnce(&mut Moment<'_>) -> Result<T, Fault>,
    ) -> Result<T, GalleryError> {
        let mut session = self.session()?;
        let run = || -> Result<T, Fault> {
            let tx = session
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()?;
            body(&mut self.moment(tx, keep_space, "")?)
        };
        run().map_err(|fault| fault.named("read", self.path()))
    }

    /// Runs `body` in one transaction; nothing of it remains if it fails.
    fn write<T>(
        &self,
        op: &'static str,
        body: impl FnOnce(&mut Moment<'_>) -> Result<T, Fault>,
    ) -> Result<T, GalleryError> {
        self.write_in(op, true, body)
    }

    fn write_in<T>(
        &self,
        op: &'static str,
        keep_space: bool,
        body: impl FnOnce(&mut Moment<'_>) -> Result<T, Fault>,
    ) -> Result<T, GalleryError> {
        self.refuse_reader(op)?;
        let mut session = self.session()?;
        let run = || -> Result<T, Fault> {
            let tx = session.transaction()?;
            let mut moment = self.moment(tx, keep_space, "FOR UPDATE OF meta")?;
            let value = body(&mut moment)?;
            moment.finish(&self.connector.schema)?;
            Ok(value)
        };
        run().map_err(|fault| fault.named(op, self.path()))
    }

    fn refuse_reader(&self, op: &'static str) -> Result<(), GalleryError> {
        match self.access {
            Access::Read => Err(GalleryError::ReadOnly { op, path: self.path().into() }),
            Access::Write | Access::Create => Ok(()),
        }
    }

    fn moment<'a>(
        &self,
        mut tx: Transaction<'a>,
        keep_space: bool,
        lock: &str,
    ) -> Result<Moment<'a>, Fault> {
        let sql = format!(
            "SELECT generation, rewritten, space, previous, model, alignment, dim, probe \
             FROM meta JOIN spaces ON spaces.id = meta.space {lock}"
        );
        let row = tx.query_opt(&sql, &[])?;
        let row = row.ok_or_else(|| self.damaged("nothing in table meta"))?;
        let fingerprint = fingerprint(&row, 4).map_err(|what| self.damaged(what))?;
        if let Some(space) =
            self.space.as_ref().filter(|s| keep_space && !fingerprint.same_space(s))
        {
            return Err(GalleryError::other_embedder(self.path(), &fingerprint, space).into());
        }
        Ok(Moment {
            tx,
            generation: row.try_get(0)?,
            rewritten: row.try_get(1)?,
            space: row.try_get(2)?,
            previous: row.try_get(3)?,
            fingerprint,
            changed: false,
        })
    }

    fn damaged(&self, what: impl std::fmt::Display) -> GalleryError {
        GalleryError::Corrupt { op: "read", path: self.path().into(), reason: damaged_text(what) }
    }

    /// The address without its password.
    pub(super) fn path(&self) -> &Path {
        &self.connector.shown
    }

    /// The embedding space in use.
    pub(super) fn fingerprint(&self) -> Result<Fingerprint, GalleryError> {
        self.read(false, |moment| Ok(moment.fingerprint.clone()))
    }

    /// From now on nothing of another embedding space is read or written.
    pub(super) fn keep_to(&mut self, space: &Fingerprint) {
        self.space = Some(space.clone());
    }

    /// Counts the writes.
    pub(super) fn generation(&self) -> Result<u64, GalleryError> {
        self.read(true, |moment| Ok(moment.generation as u64))
    }

    /// Numbers of people and of samples.
    pub(super) fn counts(&self) -> Result<(u64, u64), GalleryError> {
        self.read(false, |moment| {
            let sql = format!(
                "SELECT (SELECT count(*) FROM persons), \
                 (SELECT count(*) FROM {} WHERE NOT negative)",
                moment.table()
            );
            let row = moment.tx.query_one(&sql, &[])?;
            Ok((row.try_get::<_, i64>(0)? as u64, row.try_get::<_, i64>(1)? as u64))
        })
    }

    /// UTC, e.g. `2026-11-22T09:30:00.000Z`.
    pub(super) fn now(&self) -> Result<String, GalleryError> {
        self.read(false, |moment| {
            Ok(moment.tx.query_one(&format!("SELECT {NOW}"), &[])?.try_get(0)?)
        })
    }

    /// Stores samples under a checked name. `new_id` is the person's id if the name is new.
    pub(super) fn enroll(
        &mut self,
        name: &str,
        new_id: &str,
        samples: &[NewSample],
    ) -> Result<Enrolled, GalleryError> {
        self.write("write", |moment| {
            let sql = format!(
                "INSERT INTO persons (id, name, created, updated, generation) \
                 VALUES ($1, $2, {NOW}, {NOW}, $3) ON CONFLICT (name) DO NOTHING"
            );
            let next = moment.next();
            let created = moment.tx.execute(&sql, &[&new_id, &name, &next])? > 0;
            let sql = "SELECT seq, id FROM persons WHERE name = $1";
            let row = moment.tx.query_one(sql, &[&name])?;
            let (seq, person_id): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            let mut added = 0;
            for sample in samples {
                added += usize::from(people::add_new(moment, seq, sample, false)?);
            }
            if created || added > 0 {
                moment.changed = true;
                people::touch(moment, seq)?;
                moment.audit("enroll", Some(&person_id), added as u64)?;
            }
            Ok(Enrolled { person_id, created, added, duplicates: samples.len() - added })
        })
    }
}

/// Reads `model, alignment, dim, probe` from that column on.
fn fingerprint(row: &postgres::Row, first: usize) -> Result<Fingerprint, String> {
    let read = || -> Result<_, postgres::Error> {
        let (model, alignment) = (row.try_get(first)?, row.try_get(first + 1)?);
        Ok((model, alignment, row.try_get::<_, i32>(first + 2)?, row.try_get(first + 3)?))
    };
    let (model, alignment, dim, probe): (_, _, _, &[u8]) = read().map_err(|e| chain(&e))?;
    let probe = Embedding::from_bytes(probe).map_err(|e| format!("fingerprint: {e}"))?;
    if usize::try_from(dim) != Ok(probe.dim()) {
        return Err(format!("the fingerprint has {} dimensions, not {dim}", probe.dim()));
    }
    Ok(Fingerprint { model, alignment, probe })
}
