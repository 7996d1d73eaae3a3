//! Reading everything, or what became different: in short transactions, however much it is.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};

use super::{NEXT, Store, check_space, raise_generation};
use crate::embed::Embedding;
use crate::gallery::GalleryError;
use crate::gallery::changes::{Changes, StoredRow};
use crate::gallery::search::{Known, moment};

/// Rows of one transaction, which lasts about a tenth of a second: a reader that stays longer keeps
/// others from emptying the log.
const PAGE: usize = 20_000;

/// How often to begin again, while others rewrite the gallery, before everything is read in one
/// transaction.
const ATTEMPTS: usize = 4;

/// Removals that are remembered: 300 kB. A reader that missed more of them, because it has not
/// looked for long, reads everything, which takes no longer than so many removals one by one.
const MAX_REMOVED: u32 = 10_000;

/// A person is gone, with all samples.
const PERSON: i64 = 0;
/// A sample is gone.
const SAMPLE: i64 = 1;

/// What is read of a store page by page.
struct Reading {
    /// What was known before; -1: nothing.
    since: i64,
    /// Of the first page. What is later is read after the last page.
    generation: i64,
    /// Highest `seq` and `id` read so far.
    person: i64,
    sample: i64,
    people_done: bool,
    done: bool,
}

impl Store {
    /// Hands over what changed after the generation `since`, or everything without one; what can
    /// no longer be told by its changes is handed over as a whole, too. In parts, each read at one
    /// moment; between them others may write. Samples written after the first part are left to the
    /// last, which is all that changed since the first: together they are the contents at the
    /// moment of the last. `take` may be given a whole in the midst, which makes
    /// void what it was given before.
    pub(in crate::gallery) fn changes(
        &self,
        dim: usize,
        since: Option<u64>,
        take: &mut dyn FnMut(Changes),
    ) -> Result<(), GalleryError> {
        self.changes_by(PAGE, dim, since, take)
    }

    pub(in crate::gallery) fn changes_by(
        &self,
        page: usize,
        dim: usize,
        since: Option<u64>,
        take: &mut dyn FnMut(Changes),
    ) -> Result<(), GalleryError> {
        let mut since = since.map_or(-1, |s| i64::try_from(s).unwrap_or(-1));
        for attempt in 0.. {
            let page = if attempt < ATTEMPTS { page } else { usize::MAX >> 1 };
            match self.read_pages(page, dim, since, take)? {
                // One page is one moment, and so is what a last look finds nothing after.
                Some((_, 1)) => break,
                Some((generation, _)) => since = generation,
                None => since = -1,
            }
        }
        Ok(())
    }

    /// The generation of the first page, and the number of pages; `None` if changes since then
    /// cannot be told.
    fn read_pages(
        &self,
        page: usize,
        dim: usize,
        since: i64,
        take: &mut dyn FnMut(Changes),
    ) -> Result<Option<(i64, usize)>, GalleryError> {
        let mut reading = Reading {
            since,
            generation: 0,
            person: i64::MIN,
            sample: i64::MIN,
            people_done: false,
            done: false,
        };
        for pages in 1.. {
            let Some(changes) = self.read_page(page, dim, pages == 1, &mut reading)? else {
                return Ok(None);
            };
            take(changes);
            if reading.done {
                return Ok(Some((reading.generation, pages)));
            }
        }
        Ok(None)
    }

    fn read_page(
        &self,
        page: usize,
        dim: usize,
        first: bool,
        reading: &mut Reading,
    ) -> Result<Option<Changes>, GalleryError> {
        // A read transaction, which ends with the guard: all reads see one moment.
        let _moment = self.conn.unchecked_transaction().map_err(|e| self.error("read", e))?;
        if let Some(space) = &self.space {
            check_space(&self.conn, &self.path, space)?;
        }
        let now = i64::try_from(self.generation()?).unwrap_or(i64::MAX);
        let sql = "SELECT rewritten FROM meta WHERE id = 1";
        let read = self.conn.query_row(sql, [], |r| r.get(0));
        let rewritten: i64 = read.map_err(|e| self.error("read", e))?;
        if first {
            reading.generation = now;
        }
        let known = if first { reading.since } else { reading.generation };
        // A generation that is yet to come was of other contents of this path.
        if known >= 0 && (known < rewritten || known > now) {
            return Ok(None);
        }
        let mut changes = Changes {
            generation: u64::try_from(reading.generation).unwrap_or(0),
            whole: first && reading.since < 0,
            ..Changes::default()
        };
        let mut room = page;
        if !reading.people_done {
            changes.people = self.read_people(room, reading)?;
            reading.people_done = changes.people.len() < room;
            room -= changes.people.len();
        }
        if reading.people_done && room > 0 {
            changes.samples = self.read_samples(room, dim, reading)?;
            reading.done = changes.samples.len() < room;
        }
        // Last: samples of a person who is gone may have gone to somebody else before.
        if reading.done && reading.since >= 0 {
            changes.removed_people = self.read_removed(PERSON, reading)?;
            changes.removed_samples = self.read_removed(SAMPLE, reading)?;
        }
        Ok(Some(changes))
    }

    fn read_people(&self, most: usize, reading: &mut Reading) -> Result<Vec<Known>, GalleryError> {
        // The plus keeps SQLite from an index: everything is read in the order of the table.
        let (all, changed) = if reading.since < 0 { ("+", "") } else { ("", "+") };
        let read = || {
            let mut statement = self.conn.prepare(&format!(
                "SELECT seq, id, name, threshold, expires FROM persons \
                 WHERE {changed}seq > ?1 AND {all}generation > ?2 ORDER BY {changed}seq LIMIT ?3"
            ))?;
            // Also who was changed after the first page: their samples were not.
            let values = params![reading.person, reading.since, most as i64];
            let people = statement.query_map(values, |r| {
                Ok(Known {
                    seq: r.get(0)?,
                    id: Arc::from(r.get_ref(1)?.as_str()?),
                    name: Arc::from(r.get_ref(2)?.as_str()?),
                    threshold: r.get(3)?,
                    expires: r.get::<_, Option<i64>>(4)?.map(moment),
                })
            })?;
            people.collect::<rusqlite::Result<Vec<_>>>()
        };
        let people = read().map_err(|e| self.error("read", e))?;
        reading.person = people.last().map_or(reading.person, |p| p.seq);
        Ok(people)
    }

    fn read_samples(
        &self,
        most: usize,
        dim: usize,
        reading: &mut Reading,
    ) -> Result<Vec<StoredRow>, GalleryError> {
        let error = |e| self.error("read", e);
        let (all, changed) = if reading.since < 0 { ("+", "") } else { ("", "+") };
        let mut statement = self
            .conn
            .prepare(&format!(
                "SELECT s.id, s.person, s.embedding, s.sha256, s.negative, p.seq IS NULL \
                 FROM samples s LEFT JOIN persons p ON p.seq = s.person \
                 WHERE {changed}s.id > ?1 AND {all}s.generation > ?2 AND {all}s.generation <= ?3 \
                 ORDER BY {changed}s.id LIMIT ?4"
            ))
            .map_err(error)?;
        let (since, now) = (reading.since, reading.generation);
        let mut found =
            statement.query(params![reading.sample, since, now, most as i64]).map_err(error)?;
        let mut samples = Vec::new();
        while let Some(row) = found.next().map_err(error)? {
            let id: i64 = row.get(0).map_err(error)?;
            let bytes = row.get_ref(2).and_then(|v| Ok(v.as_blob()?)).map_err(error)?;
            let sha256 = row.get_ref(3).and_then(|v| Ok(v.as_blob()?)).map_err(error)?;
            // A flipped bit makes another face, which nobody would notice.
            if Sha256::digest(bytes).as_slice() != sha256 {
                return Err(self.damaged(format_args!("sample {id}: wrong checksum")));
            }
            let embedding = Embedding::from_bytes(bytes)
                .map_err(|e| self.damaged(format_args!("sample {id}: {e}")))?;
            if embedding.dim() != dim {
                return Err(self.damaged(format_args!("sample {id}: wrong dimension")));
            }
            if row.get(5).map_err(error)? {
                return Err(self.damaged(format_args!("sample {id}: belongs to nobody")));
            }
            let person = row.get(1).map_err(error)?;
            let negative = row.get(4).map_err(error)?;
            samples.push(StoredRow { id, person, embedding, negative });
        }
        reading.sample = samples.last().map_or(reading.sample, |s| s.id);
        Ok(samples)
    }

    /// Keeps at most `most` removals.
    #[cfg(test)]
    pub(in crate::gallery) fn prune(&mut self, most: u32) -> Result<(), GalleryError> {
        self.write("write", |tx| prune(tx, most))
    }

    fn read_removed(&self, kind: i64, reading: &Reading) -> Result<Vec<i64>, GalleryError> {
        let read = || {
            let sql = "SELECT row FROM removed \
                       WHERE generation > ?1 AND generation <= ?2 AND +kind = ?3";
            let mut statement = self.conn.prepare(sql)?;
            let values = [reading.since, reading.generation, kind];
            let rows = statement.query_map(values, |r| r.get(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|e| self.error("read", e))
    }
}

/// Remembers that a person is removed by the write that is under way.
pub(super) fn person_goes(tx: &Transaction<'_>, seq: i64) -> rusqlite::Result<()> {
    let sql = format!("INSERT INTO removed (generation, kind, row) VALUES ({NEXT}, ?1, ?2)");
    tx.execute(&sql, [PERSON, seq]).map(drop)
}

/// Remembers that samples are removed: those of `samples` for which the condition holds.
pub(super) fn samples_go(
    tx: &Transaction<'_>,
    condition: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO removed (generation, kind, row) SELECT {NEXT}, {SAMPLE}, id FROM samples \
         WHERE {condition}"
    );
    tx.execute(&sql, values).map(drop)
}

/// Raises the generation after something was removed, and drops the oldest removals of too many.
pub(super) fn raise_after_removal(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    raise_generation(tx)?;
    prune(tx, MAX_REMOVED)
}

/// Keeps at most `most` removals, and says from when on they are whole.
fn prune(tx: &Transaction<'_>, most: u32) -> rusqlite::Result<()> {
    let sql = "SELECT generation FROM removed ORDER BY generation DESC LIMIT 1 OFFSET ?1";
    let last: Option<i64> = tx.query_row(sql, [most], |r| r.get(0)).optional()?;
    if let Some(last) = last {
        tx.execute("DELETE FROM removed WHERE generation <= ?1", [last])?;
        let sql = "UPDATE meta SET rewritten = max(rewritten, ?1) WHERE id = 1";
        tx.execute(sql, [last])?;
    }
    Ok(())
}

/// The next readers read everything: rows changed in ways that nobody noted.
pub(super) fn raise_rewritten(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    raise_generation(tx)?;
    tx.execute("DELETE FROM removed", [])?;
    tx.execute("UPDATE meta SET rewritten = generation WHERE id = 1", []).map(drop)
}
