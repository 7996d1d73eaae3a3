//! What is done to people and samples that are there already.

use rusqlite::{OptionalExtension, Transaction, params};

use sha2::{Digest, Sha256};

use super::changes::{person_goes, raise_after_removal, raise_rewritten, samples_go};
use super::{GalleryError, NEXT, NOW, Person, Store, add_sample, raise_generation};
use crate::gallery::{AuditEntry, Merged, NewSample, StoredSample};

/// What a row of `persons` is read as; [`person`] takes the columns in this order.
const PERSON: &str = "SELECT id, name, attributes, threshold, created, updated, \
    (SELECT count(*) FROM samples WHERE person = seq AND negative = 0), \
    (SELECT count(*) FROM samples WHERE person = seq AND negative = 1), \
    strftime('%Y-%m-%dT%H:%M:%fZ', expires / 1000.0, 'unixepoch'), \
    coalesce(expires <= unixepoch('now', 'subsec') * 1000, 0) FROM persons";

fn person(row: &rusqlite::Row<'_>) -> rusqlite::Result<Person> {
    let attributes = row.get_ref(2)?.as_str()?;
    Ok(Person {
        id: row.get(0)?,
        name: row.get(1)?,
        attributes: serde_json::from_str(attributes).map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, e.into())
        })?,
        threshold: row.get(3)?,
        created: row.get(4)?,
        updated: row.get(5)?,
        samples: row.get(6)?,
        negatives: row.get(7)?,
        expires: row.get(8)?,
        expired: row.get(9)?,
    })
}

pub(super) fn audit(
    tx: &Transaction<'_>,
    what: &str,
    person: Option<&str>,
    count: usize,
) -> rusqlite::Result<()> {
    let sql = format!("INSERT INTO audit (at, what, person, count) VALUES ({NOW}, ?1, ?2, ?3)");
    tx.execute(&sql, params![what, person, count as i64]).map(drop)
}

/// Notes that a person was changed; readers take over what is known of them.
fn touch(tx: &Transaction<'_>, seq: i64) -> rusqlite::Result<()> {
    let sql = format!("UPDATE persons SET updated = {NOW}, generation = {NEXT} WHERE seq = ?1");
    tx.execute(&sql, [seq]).map(drop)
}

/// The row of the person with this id.
pub(super) fn seq_of(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<i64>> {
    tx.query_row("SELECT seq FROM persons WHERE id = ?1", [id], |r| r.get(0)).optional()
}

impl Store {
    /// Everybody, in the order of their enrolment.
    pub(in crate::gallery) fn persons(&self) -> Result<Vec<Person>, GalleryError> {
        let read = || {
            let mut statement = self.conn.prepare(&format!("{PERSON} ORDER BY seq"))?;
            let persons = statement.query_map([], person)?;
            persons.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|e| self.error("read", e))
    }

    /// The person with this id, else the one of this name.
    pub(in crate::gallery) fn find(&self, who: &str) -> Result<Option<Person>, GalleryError> {
        // An id first: somebody else's id as a name must not stand before its owner.
        let sql = format!("{PERSON} WHERE id = ?1 OR name = ?1 ORDER BY id <> ?1");
        self.conn.query_row(&sql, [who], person).optional().map_err(|e| self.error("read", e))
    }

    fn no_such_person(&self, id: &str) -> GalleryError {
        GalleryError::NoSuchPerson { path: self.path.clone(), id: id.into() }
    }

    /// Runs `body` on the row of a person.
    fn change<T>(
        &mut self,
        id: &str,
        body: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T>,
    ) -> Result<T, GalleryError> {
        let done = self.write("write", |tx| match seq_of(tx, id)? {
            Some(seq) => body(tx, seq).map(Some),
            None => Ok(None),
        })?;
        done.ok_or_else(|| self.no_such_person(id))
    }

    /// Gives a person a checked name.
    pub(in crate::gallery) fn rename(&mut self, id: &str, name: &str) -> Result<(), GalleryError> {
        let free = self.change(id, |tx, seq| {
            let sql = "SELECT count(*) FROM persons WHERE name = ?1 AND seq <> ?2";
            if tx.query_row(sql, params![name, seq], |r| r.get::<_, u32>(0))? > 0 {
                return Ok(false);
            }
            tx.execute("UPDATE persons SET name = ?1 WHERE seq = ?2", params![name, seq])?;
            touch(tx, seq)?;
            audit(tx, "rename", Some(id), 1)?;
            raise_generation(tx)?;
            Ok(true)
        })?;
        if free {
            Ok(())
        } else {
            Err(GalleryError::NameTaken { path: self.path.clone(), name: name.into() })
        }
    }

    /// Moves all samples of one person to another and removes the first.
    pub(in crate::gallery) fn merge(
        &mut self,
        from: &str,
        into: &str,
    ) -> Result<Merged, GalleryError> {
        if from == into {
            return Err(GalleryError::SamePerson { path: self.path.clone(), id: from.into() });
        }
        if self.find_by_id(from)?.is_none() {
            return Err(self.no_such_person(from));
        }
        let merged = self.change(into, |tx, target| {
            let Some(source) = seq_of(tx, from)? else { return Ok(None) };
            // One of the two said "not this person" of a picture of the other: now it is.
            let contradicted = "person IN (?1, ?2) AND negative = 1 AND sha256 IN \
                 (SELECT sha256 FROM samples WHERE person IN (?1, ?2) AND negative = 0)";
            samples_go(tx, contradicted, [source, target])?;
            tx.execute(&format!("DELETE FROM samples WHERE {contradicted}"), [source, target])?;
            let sql = format!(
                "UPDATE OR IGNORE samples SET person = ?2, generation = {NEXT} WHERE person = ?1"
            );
            let moved = tx.execute(&sql, [source, target])?;
            let sql = "SELECT count(*) FROM samples WHERE person = ?1";
            let duplicates: u32 = tx.query_row(sql, [source], |r| r.get(0))?;
            // What both know of themselves is as the remaining person has it.
            tx.execute(
                "UPDATE persons SET attributes = json_patch((SELECT attributes FROM persons \
                 WHERE seq = ?1), attributes) WHERE seq = ?2",
                [source, target],
            )?;
            person_goes(tx, source)?;
            tx.execute("DELETE FROM persons WHERE seq = ?1", [source])?;
            tx.execute("UPDATE audit SET person = ?2 WHERE person = ?1", [from, into])?;
            touch(tx, target)?;
            audit(tx, "merge", Some(into), moved)?;
            raise_after_removal(tx)?;
            Ok(Some(Merged { moved, duplicates: duplicates as usize }))
        })?;
        merged.ok_or_else(|| self.no_such_person(from))
    }

    fn find_by_id(&self, id: &str) -> Result<Option<i64>, GalleryError> {
        let sql = "SELECT seq FROM persons WHERE id = ?1";
        let found = self.conn.query_row(sql, [id], |r| r.get(0)).optional();
        found.map_err(|e| self.error("read", e))
    }

    /// Removes a person with all samples; their number.
    pub(in crate::gallery) fn remove_person(&mut self, id: &str) -> Result<usize, GalleryError> {
        self.change(id, |tx, seq| {
            person_goes(tx, seq)?;
            let count = tx.execute("DELETE FROM samples WHERE person = ?1", [seq])?;
            tx.execute("DELETE FROM persons WHERE seq = ?1", [seq])?;
            audit(tx, "remove", Some(id), count)?;
            raise_after_removal(tx)?;
            Ok(count)
        })
    }

    /// Removes one sample; the person's id.
    pub(in crate::gallery) fn remove_sample(
        &mut self,
        sample: i64,
    ) -> Result<String, GalleryError> {
        self.change_sample(sample, "remove-sample", |tx| {
            samples_go(tx, "id = ?1", [sample])?;
            tx.execute("DELETE FROM samples WHERE id = ?1", [sample]).map(drop)
        })
    }

    /// Makes a sample a negative one of its person; the person's id.
    pub(in crate::gallery) fn reject_sample(
        &mut self,
        sample: i64,
    ) -> Result<String, GalleryError> {
        self.change_sample(sample, "reject", |tx| {
            let sql = format!("UPDATE samples SET negative = 1, generation = {NEXT} WHERE id = ?1");
            tx.execute(&sql, [sample]).map(drop)
        })
    }

    /// Stores a negative sample of a person; false if it was there already.
    pub(in crate::gallery) fn reject(
        &mut self,
        id: &str,
        sample: &NewSample,
    ) -> Result<bool, GalleryError> {
        self.change(id, |tx, seq| {
            let sha256 = Sha256::digest(sample.embedding.to_bytes());
            let sql = format!(
                "UPDATE samples SET negative = 1, generation = {NEXT} \
                 WHERE person = ?1 AND sha256 = ?2 AND negative = 0"
            );
            let turned = tx.execute(&sql, params![seq, sha256.as_slice()])? > 0;
            let added = !turned && add_sample(tx, seq, sample, true)?;
            if turned || added {
                touch(tx, seq)?;
                audit(tx, "reject", Some(id), 1)?;
                raise_generation(tx)?;
            }
            Ok(turned || added)
        })
    }

    fn change_sample(
        &mut self,
        sample: i64,
        what: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<String, GalleryError> {
        let changed = self.write("write", |tx| {
            let owner = "SELECT persons.seq, persons.id FROM samples \
                         JOIN persons ON persons.seq = samples.person WHERE samples.id = ?1";
            let owner = tx.query_row(owner, [sample], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
            let Some((seq, id)): Option<(i64, String)> = owner else { return Ok(None) };
            change(tx)?;
            touch(tx, seq)?;
            audit(tx, what, Some(&id), 1)?;
            raise_after_removal(tx)?;
            Ok(Some(id))
        })?;
        changed.ok_or_else(|| GalleryError::NoSuchSample { path: self.path.clone(), sample })
    }

    /// Sets or removes a person's own threshold.
    pub(in crate::gallery) fn set_threshold(
        &mut self,
        id: &str,
        threshold: Option<f32>,
    ) -> Result<(), GalleryError> {
        self.change(id, |tx, seq| {
            tx.execute(
                "UPDATE persons SET threshold = ?2 WHERE seq = ?1",
                params![seq, threshold],
            )?;
            touch(tx, seq)?;
            audit(tx, "set-threshold", Some(id), 1)?;
            raise_generation(tx)
        })
    }

    /// Sets or removes the moment, in milliseconds since 1970, from which a person is not matched.
    pub(in crate::gallery) fn set_expiry(
        &mut self,
        id: &str,
        expires: Option<i64>,
    ) -> Result<(), GalleryError> {
        self.change(id, |tx, seq| {
            tx.execute("UPDATE persons SET expires = ?2 WHERE seq = ?1", params![seq, expires])?;
            touch(tx, seq)?;
            audit(tx, "set-expiry", Some(id), 1)?;
            raise_generation(tx)
        })
    }

    /// Replaces what else is known of a person.
    pub(in crate::gallery) fn set_attributes(
        &mut self,
        id: &str,
        attributes: &str,
    ) -> Result<(), GalleryError> {
        self.change(id, |tx, seq| {
            let sql = "UPDATE persons SET attributes = ?2 WHERE seq = ?1";
            tx.execute(sql, params![seq, attributes])?;
            touch(tx, seq)?;
            audit(tx, "set-attributes", Some(id), 1)?;
            raise_generation(tx)
        })
    }

    /// People who expired at `now`, milliseconds since 1970, or before.
    pub(in crate::gallery) fn expired(&self, now: i64) -> Result<Vec<Person>, GalleryError> {
        let read = || {
            let sql = format!("{PERSON} WHERE expires <= ?1 ORDER BY seq");
            let mut statement = self.conn.prepare(&sql)?;
            let persons = statement.query_map([now], person)?;
            persons.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|e| self.error("read", e))
    }

    /// Removes everybody; how many they were.
    pub(in crate::gallery) fn clear(&mut self) -> Result<usize, GalleryError> {
        self.write("write", |tx| {
            tx.execute("DELETE FROM samples", [])?;
            let count = tx.execute("DELETE FROM persons", [])?;
            audit(tx, "clear", None, count)?;
            raise_rewritten(tx)?;
            Ok(count)
        })
    }

    /// The samples of a person, oldest first.
    pub(in crate::gallery) fn samples_of(
        &self,
        id: &str,
    ) -> Result<Vec<StoredSample>, GalleryError> {
        let read = || {
            let mut statement = self.conn.prepare(
                "SELECT samples.id, negative, source, samples.created, \
                 EXISTS (SELECT 1 FROM crops WHERE sample = samples.id), \
                 EXISTS (SELECT 1 FROM loose_crops WHERE sample = samples.id) \
                 FROM samples JOIN persons ON persons.seq = samples.person \
                 WHERE persons.id = ?1 ORDER BY samples.id",
            )?;
            let samples = statement.query_map([id], |r| {
                Ok(StoredSample {
                    id: r.get(0)?,
                    negative: r.get(1)?,
                    source: r.get(2)?,
                    created: r.get(3)?,
                    crop: r.get(4)?,
                    loose: r.get(5)?,
                })
            })?;
            samples.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|e| self.error("read", e))
    }

    /// The last `most` entries of the audit log, oldest first; all people's or one person's.
    pub(in crate::gallery) fn audit_log(
        &self,
        person: Option<&str>,
        most: u32,
    ) -> Result<Vec<AuditEntry>, GalleryError> {
        let read = || {
            let mut statement = self.conn.prepare(
                "SELECT at, what, person, count FROM (SELECT * FROM audit \
                 WHERE ?1 IS NULL OR person = ?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
            )?;
            let entries = statement.query_map(params![person, most], |r| {
                Ok(AuditEntry {
                    at: r.get(0)?,
                    what: r.get(1)?,
                    person_id: r.get(2)?,
                    count: r.get(3)?,
                })
            })?;
            entries.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|e| self.error("read", e))
    }
}
