//! People and samples one by one, as exports, imports, copies and migrations need them.

use std::cell::RefCell;
use std::path::Path;

use postgres::Row;
use sha2::{Digest, Sha256};

use super::{Fault, GalleryError, Moment, NOW, New, Store};
use crate::embed::Embedding;
use crate::gallery::store::{PersonRow, Pictures, SampleKey, SampleRow};
use crate::gallery::{LooseCrop, TransferError};

impl Store {
    /// Number, id and name of everybody, in the order of their enrolment.
    pub(in crate::gallery) fn everybody(&self) -> Result<Vec<(i64, String, String)>, GalleryError> {
        self.read(false, |moment| {
            let rows = moment.tx.query("SELECT seq, id, name FROM persons ORDER BY seq", &[])?;
            let one = |r: &Row| Ok((r.try_get(0)?, r.try_get(1)?, r.try_get(2)?));
            rows.iter().map(one).collect()
        })
    }

    /// A person with all samples at one moment; `None` if they are gone.
    pub(in crate::gallery) fn person_rows(
        &self,
        number: i64,
    ) -> Result<Option<(PersonRow, Vec<SampleRow>)>, GalleryError> {
        self.read(true, |moment| {
            let sql = "SELECT id, name, attributes, threshold, expires, created FROM persons \
                       WHERE seq = $1";
            let Some(row) = moment.tx.query_opt(sql, &[&number])? else { return Ok(None) };
            let person = PersonRow {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                attributes: row.try_get(2)?,
                threshold: row.try_get(3)?,
                expires: row.try_get(4)?,
                created: row.try_get(5)?,
            };
            let sql = format!(
                "SELECT c.png, l.png, l.points, s.id, e.embedding::real[], e.sha256, s.source, \
                 s.negative, s.created FROM samples s JOIN {} e ON e.sample = s.id \
                 LEFT JOIN aligned_crops c ON c.sample = s.id LEFT JOIN loose_crops l ON l.sample = s.id \
                 WHERE s.person = $1 ORDER BY s.id",
                moment.table()
            );
            let rows = moment.tx.query(&sql, &[&number])?;
            let samples = rows.iter().map(|row| self.sample_row(row));
            Ok(Some((person, samples.collect::<Result<_, _>>()?)))
        })
    }

    /// The embeddings of a person's samples, without negative ones.
    pub(in crate::gallery) fn embeddings_of(
        &self,
        id: &str,
    ) -> Result<Vec<Embedding>, GalleryError> {
        self.read(true, |moment| {
            let sql = format!(
                "SELECT s.id, e.embedding::real[] FROM samples s JOIN {} e ON e.sample = s.id \
                 JOIN persons p ON p.seq = s.person WHERE p.id = $1 AND NOT s.negative \
                 ORDER BY s.id",
                moment.table()
            );
            let one = |row: &Row| -> Result<Embedding, Fault> {
                let (sample, values): (i64, Vec<f32>) = (row.try_get(0)?, row.try_get(1)?);
                let bad = |e| self.damaged(format_args!("sample {sample}: {e}"));
                Ok(Embedding::new(&values).map_err(bad)?)
            };
            moment.tx.query(&sql, &[&id])?.iter().map(one).collect()
        })
    }

    fn sample_row(&self, row: &Row) -> Result<SampleRow, Fault> {
        let id: i64 = row.try_get(3)?;
        let values: Vec<f32> = row.try_get(4)?;
        let embedding: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        if Sha256::digest(&embedding).as_slice() != row.try_get::<_, &[u8]>(5)? {
            return Err(self.damaged(format_args!("sample {id}: wrong checksum")).into());
        }
        let (crop_png, loose) = self.pictures_of(row, 0)?;
        Ok(SampleRow {
            embedding,
            crop_png,
            loose,
            source: row.try_get(6)?,
            negative: row.try_get(7)?,
            created: row.try_get(8)?,
        })
    }

    /// The aligned picture, the loose one and its points, from that column on.
    fn pictures_of(&self, row: &Row, first: usize) -> Result<Pictures, Fault> {
        let loose = match (row.try_get(first + 1)?, row.try_get::<_, Option<&[u8]>>(first + 2)?) {
            (Some(png), Some(bytes)) => {
                let (values, []) = bytes.as_chunks::<4>() else {
                    return Err(self.damaged("table loose_crops").into());
                };
                let mut points = [[0.0; 2]; 5];
                let values = values.iter().map(|b| f32::from_le_bytes(*b));
                points.as_flattened_mut().iter_mut().zip(values).for_each(|(p, v)| *p = v);
                Some(LooseCrop { png, points })
            }
            _ => None,
        };
        Ok((row.try_get(first)?, loose))
    }

    /// Every sample, in the order of enrolment.
    pub(in crate::gallery) fn sample_keys(&self) -> Result<Vec<SampleKey>, GalleryError> {
        self.read(false, sample_keys)
    }

    /// What is stored to see of a sample, and whose it is; `None` if it is gone.
    pub(in crate::gallery) fn pictures(
        &self,
        sample: i64,
    ) -> Result<Option<(String, Pictures)>, GalleryError> {
        self.read(false, |moment| {
            let sql = "SELECT p.name, c.png, l.png, l.points FROM samples s \
                 JOIN persons p ON p.seq = s.person LEFT JOIN aligned_crops c ON c.sample = s.id \
                 LEFT JOIN loose_crops l ON l.sample = s.id WHERE s.id = $1";
            let Some(row) = moment.tx.query_opt(sql, &[&sample])? else { return Ok(None) };
            Ok(Some((row.try_get(0)?, self.pictures_of(&row, 1)?)))
        })
    }

    /// Runs `body` in one transaction; nothing of it remains if it fails. With `keep_space` only
    /// if the contents are still of the space that was opened.
    pub(in crate::gallery) fn transact<T>(
        &mut self,
        op: &'static str,
        keep_space: bool,
        body: impl FnOnce(&Writing<'_>) -> Result<T, TransferError>,
    ) -> Result<T, TransferError> {
        self.refuse_reader(op)?;
        let mut session = self.session()?;
        let named = |fault: Fault| TransferError::from(fault.named(op, self.path()));
        let tx = session.transaction().map_err(|e| named(e.into()))?;
        let moment = self.moment(tx, keep_space, "FOR UPDATE OF meta").map_err(named)?;
        let writing = Writing { moment: RefCell::new(moment), path: self.path(), op };
        let value = body(&writing)?;
        writing.moment.into_inner().finish(&self.connector.schema).map_err(named)?;
        Ok(value)
    }
}

pub(super) fn sample_keys(moment: &mut Moment<'_>) -> Result<Vec<SampleKey>, Fault> {
    let sql = format!("SELECT sample, sha256 FROM {} ORDER BY sample", moment.table());
    let rows = moment.tx.query(&sql, &[])?;
    rows.iter().map(|r| Ok((r.try_get(0)?, r.try_get(1)?))).collect()
}

/// A transaction that writes people and samples.
pub(in crate::gallery) struct Writing<'a> {
    /// Borrowed within one method at a time, none of which calls another.
    moment: RefCell<Moment<'a>>,
    path: &'a Path,
    op: &'static str,
}

impl Writing<'_> {
    fn with<T>(
        &self,
        body: impl FnOnce(&mut Moment<'_>) -> Result<T, Fault>,
    ) -> Result<T, TransferError> {
        body(&mut self.moment.borrow_mut()).map_err(|f| f.named(self.op, self.path).into())
    }

    /// Numbers of the people who have this id and this name.
    pub(in crate::gallery) fn find(
        &self,
        id: &str,
        name: &str,
    ) -> Result<(Option<i64>, Option<i64>), TransferError> {
        self.with(|moment| {
            let by_id = super::people::seq_of(moment, id)?;
            let row = moment.tx.query_opt("SELECT seq FROM persons WHERE name = $1", &[&name])?;
            Ok((by_id, row.map(|row| row.try_get(0)).transpose()?))
        })
    }

    /// Makes a person; their number.
    pub(in crate::gallery) fn add_person(&self, person: &PersonRow) -> Result<i64, TransferError> {
        self.with(|moment| {
            let sql = format!(
                "INSERT INTO persons (id, name, attributes, threshold, expires, created, updated, \
                 generation) VALUES ($1, $2, $3, $4, $5, $6, {NOW}, $7) RETURNING seq"
            );
            let PersonRow { id, name, attributes, threshold, expires, created } = person;
            moment.changed = true;
            let next = moment.next();
            let row = moment
                .tx
                .query_one(&sql, &[id, name, attributes, threshold, expires, created, &next])?;
            Ok(row.try_get(0)?)
        })
    }

    /// Stores a sample; false if the person has the very same one.
    pub(in crate::gallery) fn add_sample(
        &self,
        person: i64,
        sample: &SampleRow,
    ) -> Result<bool, TransferError> {
        let new = New {
            embedding: &sample.embedding,
            crop_png: sample.crop_png.as_deref(),
            loose: sample.loose.as_ref(),
            source: &sample.source,
            negative: sample.negative,
            created: Some(&sample.created),
        };
        self.with(|moment| moment.add(person, &new))
    }

    /// Notes what was done to how many.
    pub(in crate::gallery) fn audit(&self, what: &str, count: usize) -> Result<(), TransferError> {
        self.with(|moment| moment.audit(what, None, count as u64))
    }
}
