//! What readers ask for: everything, or what became different since they last asked.

use postgres::Row;
use postgres::fallible_iterator::FallibleIterator;
use sha2::{Digest, Sha256};

use super::{Fault, GalleryError, Moment, Store};
use crate::embed::Embedding;
use crate::gallery::changes::{Changes, StoredRow};
use crate::gallery::search::{Known, moment as time};

/// Samples that are handed over at a time.
const PAGE: usize = 4096;

impl Store {
    /// Hands over what became different after the generation `since`, or everything without one, or
    /// if it is too long ago; in parts, all of one moment.
    pub(in crate::gallery) fn changes(
        &self,
        dim: usize,
        since: Option<u64>,
        take: &mut dyn FnMut(Changes),
    ) -> Result<(), GalleryError> {
        self.read(true, |moment| {
            if moment.fingerprint.dim() != dim {
                return Err(self.damaged("embeddings of another dimension").into());
            }
            let generation = u64::try_from(moment.generation)
                .map_err(|_| self.damaged("negative generation"))?;
            let since = since.and_then(|s| i64::try_from(s).ok());
            let since = since.filter(|s| *s >= moment.rewritten && *s <= moment.generation);
            let mut changes = Changes { generation, whole: since.is_none(), ..Changes::default() };
            if since == Some(moment.generation) {
                return Ok(());
            }
            let after = since.unwrap_or(i64::MIN);
            changes.people = people(moment, after)?;
            self.samples(moment, after, dim, &mut changes, take)?;
            if let Some(since) = since {
                let sql = "SELECT person, number FROM gone WHERE generation > $1";
                for row in moment.tx.query(sql, &[&since])? {
                    let list = match row.try_get(0)? {
                        true => &mut changes.removed_people,
                        false => &mut changes.removed_samples,
                    };
                    list.push(row.try_get(1)?);
                }
            }
            take(changes);
            Ok(())
        })
    }

    /// Row by row, and handed over by the page: all of them at once would be in memory twice. The
    /// last page stays in `changes`.
    fn samples(
        &self,
        moment: &mut Moment<'_>,
        after: i64,
        dim: usize,
        changes: &mut Changes,
        take: &mut dyn FnMut(Changes),
    ) -> Result<(), Fault> {
        let sql = format!(
            "SELECT s.id, e.person, e.negative, e.embedding::real[], e.sha256 \
             FROM samples s JOIN {} e ON e.sample = s.id WHERE s.generation > $1 ORDER BY s.id",
            moment.table()
        );
        let mut rows = moment.tx.query_raw(&sql, [after])?;
        while let Some(row) = rows.next()? {
            if changes.samples.len() == PAGE {
                let generation = changes.generation;
                take(std::mem::replace(changes, Changes { generation, ..Changes::default() }));
            }
            changes.samples.push(self.stored(&row, dim)?);
        }
        Ok(())
    }

    fn stored(&self, row: &Row, dim: usize) -> Result<StoredRow, Fault> {
        let id: i64 = row.try_get(0)?;
        let values: Vec<f32> = row.try_get(3)?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        // A flipped bit makes another face, which nobody would notice.
        if Sha256::digest(&bytes).as_slice() != row.try_get::<_, &[u8]>(4)? {
            return Err(self.damaged(format_args!("sample {id}: wrong checksum")).into());
        }
        let embedding =
            Embedding::new(&values).map_err(|e| self.damaged(format_args!("sample {id}: {e}")))?;
        if embedding.dim() != dim {
            return Err(self.damaged(format_args!("sample {id}: wrong dimension")).into());
        }
        Ok(StoredRow { id, person: row.try_get(1)?, embedding, negative: row.try_get(2)? })
    }
}

fn people(moment: &mut Moment<'_>, after: i64) -> Result<Vec<Known>, Fault> {
    let sql = "SELECT seq, id, name, threshold, expires FROM persons WHERE generation > $1 \
               ORDER BY seq";
    let rows = moment.tx.query(sql, &[&after])?;
    let known = |row: &Row| -> Result<Known, Fault> {
        Ok(Known {
            seq: row.try_get(0)?,
            id: row.try_get::<_, &str>(1)?.into(),
            name: row.try_get::<_, &str>(2)?.into(),
            threshold: row.try_get(3)?,
            expires: row.try_get::<_, Option<i64>>(4)?.map(time),
        })
    };
    rows.iter().map(known).collect()
}
