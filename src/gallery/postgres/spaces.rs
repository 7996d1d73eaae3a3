//! Embedding spaces: a table of embeddings for each, one of them in use. A migration fills another
//! table while the gallery is in use, and then says in one transaction that it is the one.

use std::path::Path;

use postgres::Transaction;
use sha2::{Digest, Sha256};

use super::{Fault, GalleryError, MAX_DIM, NOW, Store, fingerprint, rows, table};
use crate::embed::{Embedding, Fingerprint};
use crate::gallery::migrate::{Done, WayBack};

/// Samples that one transaction stores.
const BATCH: usize = 64;

/// Readers that load everything hold up the removal of a table so long.
const PATIENT: &str = "SET LOCAL lock_timeout = '60s'";

/// How a switch to another space ended.
pub(in crate::gallery) enum Switched {
    /// Not at all: samples came meanwhile.
    Incomplete,
    /// Not at all: so many samples would be lost.
    Lost(u64),
    /// `samples` are in the new space, `lost` and `duplicates` are not.
    Done { samples: u64, lost: u64, duplicates: u64 },
}

/// Makes the table of a space, still without its index; the space's number.
pub(super) fn add(
    tx: &mut Transaction<'_>,
    space: &Fingerprint,
    shown: &Path,
) -> Result<i32, Fault> {
    if space.dim() > MAX_DIM {
        let reason = format!(
            "embeddings of '{}' have {} dimensions, pgvector's index takes up to {MAX_DIM}",
            space.model,
            space.dim()
        );
        return Err(GalleryError::Refused { op: "create", path: shown.into(), reason }.into());
    }
    let sql = "INSERT INTO spaces (model, alignment, dim, probe) VALUES ($1, $2, $3, $4) \
               RETURNING id";
    let dim = space.dim() as i32;
    let probe = space.probe.to_bytes();
    let id: i32 = tx.query_one(sql, &[&space.model, &space.alignment, &dim, &probe])?.try_get(0)?;
    let table = table(id);
    tx.batch_execute(&format!(
        "CREATE TABLE {table} (
             sample BIGINT PRIMARY KEY,
             person BIGINT NOT NULL,
             negative BOOLEAN NOT NULL,
             embedding vector({dim}) NOT NULL,
             sha256 BYTEA NOT NULL CHECK (length(sha256) = 32),
             UNIQUE (person, sha256),
             FOREIGN KEY (sample, person, negative) REFERENCES samples (id, person, negative)
                 ON UPDATE CASCADE ON DELETE CASCADE
         )"
    ))?;
    Ok(id)
}

/// Makes the search index of a space, which is faster once the table is filled.
pub(super) fn add_index(tx: &mut Transaction<'_>, space: i32) -> Result<(), Fault> {
    let table = table(space);
    let sql = format!(
        "CREATE INDEX IF NOT EXISTS {table}_near ON {table} \
         USING hnsw (embedding vector_cosine_ops) WHERE NOT negative"
    );
    Ok(tx.batch_execute(&sql)?)
}

fn remove(tx: &mut Transaction<'_>, space: i32) -> Result<(), Fault> {
    tx.batch_execute(&format!("DROP TABLE IF EXISTS {}", table(space)))?;
    tx.execute("DELETE FROM spaces WHERE id = $1", &[&space])?;
    Ok(())
}

impl Store {
    fn in_transaction<T>(
        &self,
        op: &'static str,
        body: impl FnOnce(&mut Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, GalleryError> {
        self.refuse_reader(op)?;
        let mut session = self.session()?;
        let run = || -> Result<T, Fault> {
            let mut tx = session.transaction()?;
            tx.batch_execute(PATIENT)?;
            let value = body(&mut tx)?;
            tx.commit()?;
            Ok(value)
        };
        run().map_err(|fault| fault.named(op, self.path()))
    }

    /// Makes an empty table for `to`; its number. What an interrupted migration left is removed.
    /// Until this store is dropped nobody else can begin one.
    pub(in crate::gallery) fn begin_migration(
        &self,
        to: &Fingerprint,
    ) -> Result<i32, GalleryError> {
        let schema = &self.connector.schema;
        self.in_transaction("migrate", |tx| {
            // Of the session, not of the transaction.
            let sql = "SELECT pg_try_advisory_lock(hashtextextended($1 || '.migrate', 0))";
            if !tx.query_one(sql, &[schema])?.try_get::<_, bool>(0)? {
                let path = self.path().into();
                return Err(GalleryError::Busy { op: "migrate", path }.into());
            }
            let sql = "SELECT s.id FROM spaces s, meta m WHERE s.id <> m.space \
                       AND s.id IS DISTINCT FROM m.previous";
            for row in tx.query(sql, &[])? {
                remove(tx, row.try_get(0)?)?;
            }
            add(tx, to, self.path())
        })
    }

    /// Stores new embeddings of samples in the table of a space, and makes its index.
    pub(in crate::gallery) fn fill<'a>(
        &self,
        space: i32,
        embeddings: impl Iterator<Item = (i64, &'a Embedding)>,
    ) -> Result<(), GalleryError> {
        let sql = format!(
            "INSERT INTO {} (sample, person, negative, embedding, sha256) \
             SELECT id, person, negative, $2::real[]::vector, $3 FROM samples WHERE id = $1 \
             ON CONFLICT DO NOTHING",
            table(space)
        );
        let mut embeddings: Vec<_> = embeddings.collect();
        embeddings.sort_by_key(|e| e.0);
        // Short transactions: writers wait for the rows that these look at.
        for batch in embeddings.chunks(BATCH) {
            self.in_transaction("migrate", |tx| {
                for (sample, embedding) in batch {
                    let sha256 = Sha256::digest(embedding.to_bytes());
                    tx.execute(&sql, &[sample, &embedding.as_slice(), &sha256.as_slice()])?;
                }
                Ok(())
            })?;
        }
        self.in_transaction("migrate", |tx| add_index(tx, space))
    }

    /// Takes the space into use, if it has every sample that can be taken along and loses no more
    /// than agreed. The one in use until now is kept for a roll-back, one before it is not.
    pub(in crate::gallery) fn switch(
        &self,
        space: i32,
        done: &Done,
        most_lost: u64,
    ) -> Result<Switched, GalleryError> {
        self.write("migrate", |moment| {
            moment.tx.batch_execute(PATIENT)?;
            let keys = rows::sample_keys(moment)?;
            let known: Vec<_> = keys.iter().filter_map(|key| done.get(key)).collect();
            if known.len() < keys.len() {
                return Ok(Switched::Incomplete);
            }
            let lost = known.iter().filter(|new| new.is_err()).count() as u64;
            if lost > most_lost {
                return Ok(Switched::Lost(lost));
            }
            let sql = format!("SELECT count(*) FROM {}", table(space));
            let samples: i64 = moment.tx.query_one(&sql, &[])?.try_get(0)?;
            let sql = format!(
                "UPDATE meta SET space = $1, previous = $2, rewritten = $3, entered = {NOW}"
            );
            let (old, next) = (moment.space, moment.next());
            moment.tx.execute(&sql, &[&space, &old, &next])?;
            if let Some(older) = moment.previous {
                remove(&mut moment.tx, older)?;
                delete_samples_without(&mut moment.tx, old)?;
            }
            moment.changed = true;
            moment.audit("migrate", None, keys.len() as u64)?;
            let samples = samples as u64;
            let duplicates = (keys.len() as u64).saturating_sub(lost + samples);
            Ok(Switched::Done { samples, lost, duplicates })
        })
    }

    /// Removes what a migration that failed has stored.
    pub(in crate::gallery) fn abandon(&self, space: i32) -> Result<(), GalleryError> {
        self.in_transaction("migrate", |tx| remove(tx, space))
    }

    /// The space that a roll-back returns to, and what came since it was left.
    pub(in crate::gallery) fn way_back(&self) -> Result<Option<WayBack>, GalleryError> {
        self.read(false, |moment| {
            let Some(previous) = moment.previous else { return Ok(None) };
            let sql = "SELECT model, alignment, dim, probe, entered FROM spaces, meta \
                       WHERE spaces.id = $1";
            let row = moment.tx.query_one(sql, &[&previous])?;
            let space = fingerprint(&row, 0).map_err(|what| self.damaged(what))?;
            let entered: String = row.try_get(4)?;
            let (old, new) = (table(previous), moment.table());
            let sql = format!(
                "SELECT (SELECT count(*) FROM persons WHERE created <= $1), \
                 (SELECT count(*) FROM {old} WHERE NOT negative), \
                 (SELECT count(*) FROM persons WHERE created > $1), \
                 (SELECT count(*) FROM {new} n WHERE NOT EXISTS \
                  (SELECT 1 FROM {old} o WHERE o.sample = n.sample))"
            );
            let row = moment.tx.query_one(&sql, &[&entered])?;
            let count = |column| row.try_get::<_, i64>(column).map(|c| c as u64);
            Ok(Some(WayBack {
                before: None,
                model: space.model,
                created: entered,
                kept_persons: count(0)?,
                kept_samples: count(1)?,
                persons: count(2)?,
                samples: count(3)?,
            }))
        })
    }

    /// Takes the space before the last migration into use again. What came since is deleted; false
    /// if there is no such space.
    pub(in crate::gallery) fn roll_back(&self) -> Result<bool, GalleryError> {
        self.write_in("roll back", false, |moment| {
            moment.tx.batch_execute(PATIENT)?;
            let Some(previous) = moment.previous else { return Ok(false) };
            delete_samples_without(&mut moment.tx, previous)?;
            let sql = "DELETE FROM persons p USING meta WHERE p.created > meta.entered \
                 AND NOT EXISTS (SELECT 1 FROM samples s WHERE s.person = p.seq)";
            moment.tx.execute(sql, &[])?;
            let sql = format!(
                "UPDATE meta SET space = $1, previous = NULL, rewritten = $2, entered = {NOW}"
            );
            let next = moment.next();
            moment.tx.execute(&sql, &[&previous, &next])?;
            let left = moment.space;
            remove(&mut moment.tx, left)?;
            moment.changed = true;
            moment.audit("roll-back", None, 0)?;
            Ok(true)
        })
    }
}

/// Nothing can be done with them any more.
fn delete_samples_without(tx: &mut Transaction<'_>, space: i32) -> Result<(), Fault> {
    let sql = format!(
        "DELETE FROM samples s WHERE NOT EXISTS (SELECT 1 FROM {} e WHERE e.sample = s.id)",
        table(space)
    );
    tx.execute(&sql, &[])?;
    Ok(())
}
