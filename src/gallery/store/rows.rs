//! People and samples one by one, as exports, imports and migrations need them.

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use super::{NEXT, NOW, Store, check_space, raise_generation, sqlite_error};
use crate::embed::{Embedding, Fingerprint};
use crate::gallery::{Access, GalleryError, LooseCrop, TransferError};

/// A person as an export carries them.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gallery) struct PersonRow {
    pub(in crate::gallery) id: String,
    pub(in crate::gallery) name: String,
    /// JSON.
    pub(in crate::gallery) attributes: String,
    pub(in crate::gallery) threshold: Option<f32>,
    /// Milliseconds since 1970, UTC.
    pub(in crate::gallery) expires: Option<i64>,
    pub(in crate::gallery) created: String,
}

/// A sample with everything that is stored of it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gallery) struct SampleRow {
    /// As stored: reading an [`Embedding`] may round it anew, which would make it another sample.
    pub(in crate::gallery) embedding: Vec<u8>,
    pub(in crate::gallery) crop_png: Option<Vec<u8>>,
    pub(in crate::gallery) loose: Option<LooseCrop>,
    pub(in crate::gallery) source: String,
    pub(in crate::gallery) negative: bool,
    pub(in crate::gallery) created: String,
}

/// The pictures of a sample.
pub(in crate::gallery) type Pictures = (Option<Vec<u8>>, Option<LooseCrop>);

/// Names a sample and its contents: a restored backup may have another one of the same id.
pub(in crate::gallery) type SampleKey = (i64, Vec<u8>);

const PERSON: &str = "SELECT seq, id, name, attributes, threshold, expires, created FROM persons";

const SAMPLE: &str = "SELECT s.embedding, c.png, l.png, l.points, s.source, s.negative, s.created, \
     s.sha256, s.id FROM samples s LEFT JOIN crops c ON c.sample = s.id \
     LEFT JOIN loose_crops l ON l.sample = s.id";

impl Store {
    /// Number, id and name of everybody, in the order of their enrolment.
    pub(in crate::gallery) fn everybody(&self) -> Result<Vec<(i64, String, String)>, GalleryError> {
        let read = || {
            let mut statement =
                self.conn.prepare("SELECT seq, id, name FROM persons ORDER BY seq")?;
            let people = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
            people.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|e| self.error("read", e))
    }

    /// A person with all samples at one moment; `None` if they are gone.
    pub(in crate::gallery) fn person_rows(
        &self,
        number: i64,
    ) -> Result<Option<(PersonRow, Vec<SampleRow>)>, GalleryError> {
        let error = |e| self.error("read", e);
        // Ends with the guard.
        let _moment = self.conn.unchecked_transaction().map_err(error)?;
        if let Some(space) = &self.space {
            check_space(&self.conn, &self.path, space)?;
        }
        let found = self.conn.query_row(&format!("{PERSON} WHERE seq = ?1"), [number], person_row);
        let Some(person) = found.optional().map_err(error)? else { return Ok(None) };
        let sql = format!("{SAMPLE} WHERE s.person = ?1 ORDER BY s.id");
        let mut statement = self.conn.prepare(&sql).map_err(error)?;
        let mut rows = statement.query([number]).map_err(error)?;
        let mut samples = Vec::new();
        while let Some(row) = rows.next().map_err(error)? {
            samples.push(self.sample_row(row)?);
        }
        Ok(Some((person, samples)))
    }

    fn sample_row(&self, row: &rusqlite::Row<'_>) -> Result<SampleRow, GalleryError> {
        let error = |e| self.error("read", e);
        let id: i64 = row.get(8).map_err(error)?;
        let bytes: Vec<u8> = row.get(0).map_err(error)?;
        let sha256: Vec<u8> = row.get(7).map_err(error)?;
        if Sha256::digest(&bytes).as_slice() != sha256 {
            return Err(self.damaged(format_args!("sample {id}: wrong checksum")));
        }
        let (crop_png, loose) = pictures(row, 1).map_err(error)?;
        Ok(SampleRow {
            embedding: bytes,
            crop_png,
            loose,
            source: row.get(4).map_err(error)?,
            negative: row.get(5).map_err(error)?,
            created: row.get(6).map_err(error)?,
        })
    }

    /// Every sample, in the order of enrolment.
    pub(in crate::gallery) fn sample_keys(&self) -> Result<Vec<SampleKey>, GalleryError> {
        let read = || {
            let mut statement = self.conn.prepare("SELECT id, sha256 FROM samples ORDER BY id")?;
            let keys = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
            keys.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|e| self.error("read", e))
    }

    /// What is stored to see of a sample, and whose it is; `None` if it is gone.
    pub(in crate::gallery) fn pictures(
        &self,
        sample: i64,
    ) -> Result<Option<(String, Pictures)>, GalleryError> {
        let sql = "SELECT p.name, c.png, l.png, l.points FROM samples s \
             JOIN persons p ON p.seq = s.person LEFT JOIN crops c ON c.sample = s.id \
             LEFT JOIN loose_crops l ON l.sample = s.id WHERE s.id = ?1";
        let read = self.conn.prepare(sql).and_then(|mut statement| {
            let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, pictures(r, 1)?));
            statement.query_row([sample], row).optional()
        });
        read.map_err(|e| self.error("read", e))
    }

    /// People and samples that came after a time (UTC, as the gallery writes it).
    pub(in crate::gallery) fn counts_since(&self, time: &str) -> Result<(u64, u64), GalleryError> {
        let sql = "SELECT (SELECT count(*) FROM persons WHERE created > ?1), \
             (SELECT count(*) FROM samples WHERE created > ?1)";
        let read = self.conn.query_row(sql, [time], |r| Ok((r.get(0)?, r.get(1)?)));
        let (persons, samples): (u32, u32) = read.map_err(|e| self.error("read", e))?;
        Ok((persons.into(), samples.into()))
    }

    /// Runs `body` in one transaction; nothing of it remains if it fails. With `keep_space` only
    /// if the contents are still of the space that was opened.
    pub(in crate::gallery) fn transact<T>(
        &mut self,
        op: &'static str,
        keep_space: bool,
        body: impl FnOnce(&Writing<'_>) -> Result<T, TransferError>,
    ) -> Result<T, TransferError> {
        if self.access == Access::Read {
            return Err(GalleryError::ReadOnly { op, path: self.path.clone() }.into());
        }
        let path = &self.path;
        let error = |e| TransferError::from(sqlite_error(op, path, e));
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate);
        let writing = Writing { tx: tx.map_err(error)?, path, op };
        if let Some(space) = self.space.as_ref().filter(|_| keep_space) {
            check_space(&writing.tx, path, space)?;
        }
        let value = body(&writing)?;
        writing.tx.commit().map_err(error)?;
        Ok(value)
    }
}

/// A transaction that writes people and samples.
pub(in crate::gallery) struct Writing<'a> {
    tx: Transaction<'a>,
    path: &'a std::path::Path,
    op: &'static str,
}

impl Writing<'_> {
    fn done<T>(&self, result: rusqlite::Result<T>) -> Result<T, TransferError> {
        result.map_err(|e| sqlite_error(self.op, self.path, e).into())
    }

    /// Numbers of the people who have this id and this name.
    pub(in crate::gallery) fn find(
        &self,
        id: &str,
        name: &str,
    ) -> Result<(Option<i64>, Option<i64>), TransferError> {
        let by = |sql: &str, value: &str| {
            self.done(self.tx.query_row(sql, [value], |r| r.get(0)).optional())
        };
        let by_id = by("SELECT seq FROM persons WHERE id = ?1", id)?;
        Ok((by_id, by("SELECT seq FROM persons WHERE name = ?1", name)?))
    }

    /// Makes a person; their number.
    pub(in crate::gallery) fn add_person(&self, person: &PersonRow) -> Result<i64, TransferError> {
        let sql = format!(
            "INSERT INTO persons (id, name, attributes, threshold, expires, created, updated, \
             generation) VALUES (?1, ?2, ?3, ?4, ?5, ?6, {NOW}, {NEXT})"
        );
        let PersonRow { id, name, attributes, threshold, expires, created } = person;
        let values = params![id, name, attributes, threshold, expires, created];
        self.done(self.tx.execute(&sql, values))?;
        Ok(self.tx.last_insert_rowid())
    }

    /// Stores a sample; false if the person has the very same one.
    pub(in crate::gallery) fn add_sample(
        &self,
        person: i64,
        sample: &SampleRow,
    ) -> Result<bool, TransferError> {
        let bytes = &sample.embedding;
        let sha256 = Sha256::digest(bytes);
        let sql = format!(
            "INSERT INTO samples (person, embedding, sha256, source, negative, created, generation) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, {NEXT}) ON CONFLICT (person, sha256) DO NOTHING"
        );
        let SampleRow { source, negative, created, .. } = sample;
        let values = params![person, bytes, sha256.as_slice(), source, negative, created];
        if self.done(self.tx.execute(&sql, values))? == 0 {
            return Ok(false);
        }
        let id = self.tx.last_insert_rowid();
        if let Some(png) = &sample.crop_png {
            let sql = "INSERT INTO crops (sample, png) VALUES (?1, ?2)";
            self.done(self.tx.execute(sql, params![id, png]))?;
        }
        if let Some(loose) = &sample.loose {
            let points: Vec<u8> =
                loose.points.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
            let sql = "INSERT INTO loose_crops (sample, png, points) VALUES (?1, ?2, ?3)";
            self.done(self.tx.execute(sql, params![id, loose.png, points]))?;
        }
        Ok(true)
    }

    /// Every sample as it is now.
    pub(in crate::gallery) fn sample_keys(&self) -> Result<Vec<SampleKey>, TransferError> {
        let read = || {
            let mut statement = self.tx.prepare("SELECT id, sha256 FROM samples ORDER BY id")?;
            let keys = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
            keys.collect::<rusqlite::Result<Vec<_>>>()
        };
        self.done(read())
    }

    /// Gives a sample another embedding, or takes the sample away: without an embedding, or if its
    /// person has the very same one already. True if it stays.
    pub(in crate::gallery) fn embed_again(
        &self,
        sample: i64,
        embedding: Option<&Embedding>,
    ) -> Result<bool, TransferError> {
        if let Some(embedding) = embedding {
            let bytes = embedding.to_bytes();
            let sha256 = Sha256::digest(&bytes);
            let sql = "UPDATE OR IGNORE samples SET embedding = ?2, sha256 = ?3 WHERE id = ?1";
            let values = params![sample, bytes, sha256.as_slice()];
            if self.done(self.tx.execute(sql, values))? > 0 {
                return Ok(true);
            }
        }
        self.done(self.tx.execute("DELETE FROM samples WHERE id = ?1", [sample]))?;
        Ok(false)
    }

    /// Takes all aligned pictures away: those of another alignment would be taken for what they are
    /// not. The looser ones, from which they can be cut again, stay.
    pub(in crate::gallery) fn remove_aligned(&self) -> Result<(), TransferError> {
        self.done(self.tx.execute("DELETE FROM crops", [])).map(drop)
    }

    /// Says that all samples are of this space now, and were replaced.
    pub(in crate::gallery) fn enter_space(&self, space: &Fingerprint) -> Result<(), TransferError> {
        let sql = "UPDATE meta SET model = ?1, alignment = ?2, dim = ?3, probe = ?4, \
             generation = generation + 1, rewritten = generation + 1 WHERE id = 1";
        let dim = space.dim() as i64;
        let values = params![space.model, space.alignment, dim, space.probe.to_bytes()];
        self.done(self.tx.execute(sql, values)).map(drop)
    }

    /// Says that there is something new.
    pub(in crate::gallery) fn raise_generation(&self) -> Result<(), TransferError> {
        self.done(raise_generation(&self.tx))
    }

    /// Notes what was done to how many.
    pub(in crate::gallery) fn audit(&self, what: &str, count: usize) -> Result<(), TransferError> {
        self.done(super::people::audit(&self.tx, what, None, count))
    }
}

fn person_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<PersonRow> {
    Ok(PersonRow {
        id: row.get(1)?,
        name: row.get(2)?,
        attributes: row.get(3)?,
        threshold: row.get(4)?,
        expires: row.get(5)?,
        created: row.get(6)?,
    })
}

/// The aligned picture, the loose one and its points, from that column on.
fn pictures(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Pictures> {
    let points: Option<[u8; 40]> = row.get(first + 2)?;
    let loose = match (row.get(first + 1)?, points) {
        (Some(png), Some(bytes)) => {
            let mut points = [[0.0; 2]; 5];
            let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            points.as_flattened_mut().iter_mut().zip(values).for_each(|(p, v)| *p = v);
            Some(LooseCrop { png, points })
        }
        _ => None,
    };
    Ok((row.get(first)?, loose))
}
