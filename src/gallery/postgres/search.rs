//! Searching on the server, for galleries that are too large to be loaded.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postgres::error::SqlState;
use postgres::types::ToSql;

use super::{Fault, GalleryError, Moment, Store};
use crate::embed::Embedding;
use crate::gallery::search::VoteRule;
use crate::gallery::{Match, SearchError};

/// Fewest and most samples that the index is asked for: pgvector's largest `hnsw.ef_search`.
const CANDIDATES: (i64, i64) = (100, 1000);

/// How near people are, nearest first. `$1` is the face, `$2` the moment, `$3` how many.
///
/// The rule of [`Snapshot::search`](crate::gallery::Snapshot::search), but that all samples of a
/// person are compared: of each person the best sample, the mean of the best three, and the nearest
/// negative sample.
fn score_sql(table: &str, vote: VoteRule, some: bool) -> String {
    let wanted = if some { "WHERE person = ANY($4)" } else { "" };
    let score = match vote {
        VoteRule::Best => "best",
        // Rounding must not lift the mean above the best.
        VoteRule::MeanOfBestThree => "least(mean, best)",
    };
    format!(
        "SELECT p.id, p.name, p.threshold, {score} AS score FROM (\
           SELECT person, max(near) FILTER (WHERE NOT negative) AS best, \
             max(near) FILTER (WHERE negative) AS refused, \
             avg(near) FILTER (WHERE NOT negative AND place <= 3) AS mean FROM (\
               SELECT person, negative, near, \
                 row_number() OVER (PARTITION BY person, negative ORDER BY near DESC) AS place \
               FROM (SELECT person, negative, 1 - (embedding <=> $1::real[]::vector) AS near \
                 FROM {table} {wanted}) AS a) AS b \
           GROUP BY person) AS c JOIN persons p ON p.seq = c.person \
         WHERE best IS NOT NULL AND (refused IS NULL OR refused <= best) \
           AND (p.expires IS NULL OR p.expires > $2) ORDER BY score DESC, p.seq LIMIT $3"
    )
}

/// A person, how near they are, and their own threshold.
pub(in crate::gallery) type Scored = (Match, Option<f32>);

impl Store {
    /// The `k` nearest people, nearest first. The server gives up after `limit`.
    pub(in crate::gallery) fn nearest(
        &self,
        embedding: &Embedding,
        k: usize,
        vote: VoteRule,
        limit: Duration,
    ) -> Result<Vec<Scored>, SearchError> {
        let limit_ms = limit.as_millis().clamp(1, i32::MAX as u128);
        let found = self.read(true, |moment| {
            let expected = moment.fingerprint.dim();
            if embedding.dim() != expected {
                return Ok(Err(SearchError::Dimension { expected, got: embedding.dim() }));
            }
            moment.tx.batch_execute(&format!("SET LOCAL statement_timeout = {limit_ms}"))?;
            match nearest(moment, embedding, k, vote) {
                Err(Fault::Sql(e)) if e.code() == Some(&SqlState::QUERY_CANCELED) => {
                    Ok(Err(SearchError::Deadline { limit }))
                }
                Err(fault) => Err(fault),
                Ok(found) => Ok(Ok(found)),
            }
        });
        found.unwrap_or_else(|error| Err(SearchError::Server { reason: one_line(&error) }))
    }
}

fn one_line(error: &GalleryError) -> String {
    super::chain(error)
}

fn nearest(
    moment: &mut Moment<'_>,
    embedding: &Embedding,
    k: usize,
    vote: VoteRule,
) -> Result<Vec<Scored>, Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let (table, query) = (moment.table(), embedding.as_slice());
    let most = i64::try_from(k).unwrap_or(i64::MAX);
    let mut count = most.saturating_mul(4).max(CANDIDATES.0);
    while count <= CANDIDATES.1 {
        moment.tx.batch_execute(&format!("SET LOCAL hnsw.ef_search = {count}"))?;
        let sql = format!(
            "SELECT person, 1 - (embedding <=> $1::real[]::vector) FROM {table} \
             WHERE NOT negative ORDER BY embedding <=> $1::real[]::vector LIMIT $2"
        );
        let rows = moment.tx.query(&sql, &[&query, &count])?;
        let Some(last) = rows.last() else { break };
        let farthest: f64 = last.try_get(1)?;
        let mut people = rows.iter().map(|r| r.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        people.sort_unstable();
        people.dedup();
        let sql = score_sql(&table, vote, true);
        let found = scored(moment, &sql, &[&query, &now, &most, &people])?;
        // Who is not among the candidates has no sample nearer than the farthest of them. The
        // samples of one person may fill the list and hide the next: widen.
        let enough = found.len() == k
            && found.last().is_some_and(|(last, _)| f64::from(last.similarity) >= farthest);
        if enough {
            return Ok(found);
        }
        count =
            count.saturating_mul(4).min(if count < CANDIDATES.1 { CANDIDATES.1 } else { i64::MAX });
    }
    // The end of what the index gives: every sample is compared.
    let sql = score_sql(&table, vote, false);
    scored(moment, &sql, &[&query, &now, &most])
}

fn scored(
    moment: &mut Moment<'_>,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Scored>, Fault> {
    let rows = moment.tx.query(sql, parameters)?;
    let person = |row: &postgres::Row| -> Result<Scored, Fault> {
        let near: f64 = row.try_get(3)?;
        let found = Match {
            person_id: Arc::from(row.try_get::<_, &str>(0)?),
            name: Arc::from(row.try_get::<_, &str>(1)?),
            similarity: (near as f32).clamp(-1.0, 1.0),
        };
        Ok((found, row.try_get(2)?))
    };
    rows.iter().map(person).collect()
}
