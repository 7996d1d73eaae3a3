//! Searching a gallery: an immutable picture of it in memory, exact by a scan, and helped by a
//! graph where the scan becomes slow.

use std::sync::Arc;

use super::index::{Graph, GraphError};
use crate::embed::Embedding;
use crate::identity::Status;

/// From this many samples on a graph finds the candidates. Below it the exact scan is as fast: half
/// a millisecond for 20 000 rows of 128 values, five for 100 000.
pub(super) const INDEX_FROM: usize = 20_000;

/// Fewest rows that the graph is asked for.
const MIN_CANDIDATES: usize = 64;

/// Values that one step of the scan takes: enough independent sums for the widest vector units.
const LANES: usize = 16;

/// Why a search has no result. Never to be taken for "unknown".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SearchError {
    #[error("search gallery: the embedding has {got} dimensions, the gallery has {expected}")]
    Dimension { expected: usize, got: usize },
    #[error("search gallery: {name} is {value}, not a finite number")]
    NotFinite { name: &'static str, value: f32 },
}

/// A person of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub id: Arc<str>,
    pub name: Arc<str>,
    /// Cosine similarity from which a face is this person, instead of the general threshold.
    pub threshold: Option<f32>,
    /// The number by which the samples of the store name their person; ascending.
    pub(super) seq: i64,
}

/// A person and how near their nearest sample is.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    pub person_id: Arc<str>,
    pub name: Arc<str>,
    /// Cosine similarity, -1..=1.
    pub similarity: f32,
}

/// Who a face is.
#[derive(Clone, Debug, PartialEq)]
pub struct Identification {
    /// [`Status::Known`], [`Status::Unknown`] or [`Status::Uncertain`].
    pub status: Status,
    /// The nearest person. The face is theirs only if the status is [`Status::Known`]; `None` if
    /// the gallery has no samples.
    pub best: Option<Match>,
    /// How much nearer the nearest person is than the second, 0..=2; `None` without a second.
    pub margin: Option<f32>,
    /// The nearest people, nearest first, at most as many as were asked for.
    pub top: Vec<Match>,
}

/// All people and samples of a gallery at one moment. Immutable, so searched without any lock.
pub struct Snapshot {
    pub(super) generation: u64,
    dim: usize,
    people: Vec<Known>,
    /// Embeddings, row after row.
    matrix: Vec<f32>,
    /// Place in `people` of each row.
    owners: Vec<u32>,
    /// People with at least one row.
    represented: usize,
    /// Highest sample id of the store in here.
    pub(super) last_sample: i64,
    index_from: usize,
    graph: Option<Arc<Graph>>,
}

/// Samples as the store hands them over.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) matrix: Vec<f32>,
    pub(super) owners: Vec<u32>,
    pub(super) last_sample: i64,
}

impl Snapshot {
    /// `index_from` is the number of samples from which a graph is used, [`INDEX_FROM`] but for
    /// tests. `rows.owners` are places in `people`, `rows.matrix` has `dim` values for each.
    pub(super) fn new(
        generation: u64,
        dim: usize,
        people: Vec<Known>,
        rows: Rows,
        index_from: usize,
    ) -> Self {
        let samples = rows.owners.len();
        let mut snapshot = Self {
            generation,
            dim,
            people,
            matrix: rows.matrix,
            owners: rows.owners,
            represented: 0,
            last_sample: rows.last_sample,
            index_from,
            graph: (samples >= index_from).then(|| Arc::new(Graph::new(samples))),
        };
        snapshot.count_represented();
        snapshot
    }

    /// The same with people and samples added. `people` begins with those of this snapshot.
    pub(super) fn extended(&self, generation: u64, people: Vec<Known>, rows: Rows) -> Self {
        let mut matrix = Vec::with_capacity(self.matrix.len() + rows.matrix.len());
        matrix.extend_from_slice(&self.matrix);
        matrix.extend_from_slice(&rows.matrix);
        let owners: Vec<u32> = self.owners.iter().chain(&rows.owners).copied().collect();
        let rows = Rows { matrix, owners, last_sample: rows.last_sample.max(self.last_sample) };
        let mut snapshot = Self::new(generation, self.dim, people, rows, self.index_from);
        // What came after the graph is scanned exactly, until that is as much as a gallery that
        // would get a graph of its own.
        if let Some(graph) = &self.graph
            && snapshot.owners.len() - graph.rows() < self.index_from
        {
            snapshot.graph = Some(graph.clone());
        }
        snapshot
    }

    fn count_represented(&mut self) {
        let mut seen = vec![false; self.people.len()];
        self.owners.iter().for_each(|o| seen[*o as usize] = true);
        self.represented = seen.into_iter().filter(|s| *s).count();
    }

    /// Counts the writes to the gallery; another one means other contents.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of dimensions of every embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Everybody, in the order of their enrolment.
    pub fn people(&self) -> &[Known] {
        &self.people
    }

    /// Number of samples of all people.
    pub fn samples(&self) -> usize {
        self.owners.len()
    }

    pub(super) fn index_from(&self) -> usize {
        self.index_from
    }

    pub(super) fn graph(&self) -> Option<&Arc<Graph>> {
        self.graph.as_ref()
    }

    /// Builds the graph that this snapshot waits for.
    pub(super) fn build_graph(&self) -> Result<(), GraphError> {
        self.graph.as_ref().map_or(Ok(()), |graph| graph.build(&self.matrix, self.dim))
    }

    /// The `k` people whose best sample is nearest, nearest first; fewer if the gallery has fewer.
    /// Equally near people come in the order of their enrolment.
    ///
    /// # Errors
    /// [`SearchError::Dimension`] if the embedding is of another dimension than the gallery.
    pub fn search(&self, embedding: &Embedding, k: usize) -> Result<Vec<Match>, SearchError> {
        Ok(self.matches(&self.nearest(embedding, k)?))
    }

    /// Decides who a face is. `threshold` is the cosine similarity from which a face is a person
    /// who has no threshold of their own; `min_margin` (0 = off) is by how much the nearest person
    /// must be nearer than the second; `k` is how many people [`Identification::top`] lists.
    ///
    /// The face is uncertain if the margin is too small, or if the nearest person's own threshold
    /// refuses it and a farther person's would take it.
    ///
    /// # Errors
    /// [`SearchError`] if the embedding is of another dimension, or a setting is not finite.
    pub fn identify(
        &self,
        embedding: &Embedding,
        threshold: f32,
        min_margin: f32,
        k: usize,
    ) -> Result<Identification, SearchError> {
        for (name, value) in [("threshold", threshold), ("min-margin", min_margin)] {
            if !value.is_finite() {
                return Err(SearchError::NotFinite { name, value });
            }
        }
        // Two at least: the margin needs the second.
        let nearest = self.nearest(embedding, k.max(2))?;
        let passes = |(person, similarity): &(u32, f32)| {
            *similarity >= self.people[*person as usize].threshold.unwrap_or(threshold)
        };
        let margin = match nearest.as_slice() {
            [first, second, ..] => Some(first.1 - second.1),
            _ => None,
        };
        let status = match nearest.split_first() {
            None => Status::Unknown,
            Some((first, _)) if passes(first) => {
                if margin.is_some_and(|m| m < min_margin) {
                    Status::Uncertain
                } else {
                    Status::Known
                }
            }
            Some((_, others)) if others.iter().any(passes) => Status::Uncertain,
            Some(_) => Status::Unknown,
        };
        let mut top = self.matches(&nearest);
        let best = top.first().cloned();
        top.truncate(k);
        Ok(Identification { status, best, margin, top })
    }

    fn matches(&self, nearest: &[(u32, f32)]) -> Vec<Match> {
        let as_match = |(person, similarity): &(u32, f32)| {
            let person = &self.people[*person as usize];
            Match {
                person_id: person.id.clone(),
                name: person.name.clone(),
                similarity: similarity.clamp(-1.0, 1.0),
            }
        };
        nearest.iter().map(as_match).collect()
    }

    fn nearest(&self, embedding: &Embedding, k: usize) -> Result<Vec<(u32, f32)>, SearchError> {
        if embedding.dim() != self.dim {
            return Err(SearchError::Dimension { expected: self.dim, got: embedding.dim() });
        }
        let (query, limit) = (embedding.as_slice(), k.min(self.represented));
        if limit == 0 {
            return Ok(Vec::new());
        }
        Ok(self
            .nearest_by_graph(query, limit)
            .unwrap_or_else(|| self.nearest_by_scan(query, limit)))
    }

    fn nearest_by_scan(&self, query: &[f32], limit: usize) -> Vec<(u32, f32)> {
        let mut nearest = Nearest::new(limit);
        self.offer_rows_from(0, query, &mut nearest);
        nearest.people
    }

    fn offer_rows_from(&self, first: usize, query: &[f32], nearest: &mut Nearest) {
        let rows = self.matrix[first * self.dim..].chunks_exact(self.dim);
        for (row, owner) in rows.zip(&self.owners[first..]) {
            nearest.offer(*owner, dot(query, row));
        }
    }

    /// `None` if there is no graph (yet), or the scan costs no more.
    fn nearest_by_graph(&self, query: &[f32], limit: usize) -> Option<Vec<(u32, f32)>> {
        let graph = self.graph.as_ref().filter(|g| g.is_built())?;
        let mut count = limit.saturating_mul(4).max(MIN_CANDIDATES);
        loop {
            if count > graph.rows() / 4 {
                return None;
            }
            let mut nearest = Nearest::new(limit);
            for row in graph.candidates(query, count)? {
                let row = usize::try_from(row).ok()?;
                let values = self.matrix.chunks_exact(self.dim).nth(row)?;
                nearest.offer(*self.owners.get(row)?, dot(query, values));
            }
            // The rows of one person may fill the whole list and hide the next person: widen,
            // before the later rows, which the graph does not know, are added.
            if nearest.people.len() == limit {
                self.offer_rows_from(graph.rows(), query, &mut nearest);
                return Some(nearest.people);
            }
            count = count.saturating_mul(4);
        }
    }
}

impl std::fmt::Debug for Snapshot {
    /// Without names and embeddings, which have no place in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("dim", &self.dim)
            .field("people", &self.people.len())
            .field("samples", &self.owners.len())
            .field("graph", &self.graph)
            .finish()
    }
}

/// The best people so far, each once with their best similarity, best first; ties by place. The
/// result does not depend on the order of the offers.
struct Nearest {
    limit: usize,
    people: Vec<(u32, f32)>,
}

impl Nearest {
    /// `limit` is at least 1.
    fn new(limit: usize) -> Self {
        Self { limit, people: Vec::with_capacity(limit) }
    }

    #[inline]
    fn offer(&mut self, person: u32, similarity: f32) {
        let full = self.people.len() == self.limit;
        if full && self.people.last().is_some_and(|worst| !before((person, similarity), *worst)) {
            return;
        }
        self.insert(person, similarity);
    }

    fn insert(&mut self, person: u32, similarity: f32) {
        if let Some(place) = self.people.iter().position(|p| p.0 == person) {
            if self.people[place].1 >= similarity {
                return;
            }
            self.people.remove(place);
        } else if self.people.len() == self.limit {
            self.people.pop();
        }
        let place = self.people.partition_point(|p| before(*p, (person, similarity)));
        self.people.insert(place, (person, similarity));
    }
}

/// Does `a` come before `b` in a result?
fn before(a: (u32, f32), b: (u32, f32)) -> bool {
    a.1 > b.1 || (a.1 == b.1 && a.0 < b.0)
}

/// Scalar product of two rows of one length. Independent sums, so that the compiler may use vector
/// instructions without changing the order of a float addition.
#[inline]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests;
