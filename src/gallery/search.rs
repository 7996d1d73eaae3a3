//! Searching a gallery: an immutable picture of it in memory, exact by a scan, and helped by a
//! graph where the scan becomes slow.

mod rank;
mod selection;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rank::Ranking;
use selection::Selection;

use super::index::{Graph, GraphError};
use crate::embed::Embedding;
use crate::identity::Status;

/// From this many samples on a graph finds the candidates. Below it the exact scan is as fast: half
/// a millisecond for 20 000 rows of 128 values, five for 100 000.
pub(super) const INDEX_FROM: usize = 20_000;

/// Fewest rows that the graph is asked for.
const MIN_CANDIDATES: usize = 64;

/// How many samples of a person are compared, if nothing else is said.
pub(super) const MAX_SAMPLES: usize = 20;

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
    /// When the person stops being matched.
    pub expires: Option<SystemTime>,
    /// The number by which the samples of the store name their person; ascending.
    pub(super) seq: i64,
}

/// How the samples of a person make one similarity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VoteRule {
    /// That of the best sample.
    #[default]
    Best,
    /// The mean of the best three, of two or one where there are no more: one bad sample does not
    /// name anybody.
    MeanOfBestThree,
}

/// What decides who a face is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchRules {
    /// Cosine similarity from which a face is a person who has no threshold of their own.
    pub threshold: f32,
    /// By how much the nearest person must be nearer than the second; 0: off.
    pub min_margin: f32,
    /// How many people [`Identification::top`] lists.
    pub top_k: usize,
    pub vote: VoteRule,
}

/// Sizes from which a snapshot behaves otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Number of samples from which a graph is used, [`INDEX_FROM`] but for tests.
    pub(super) index_from: usize,
    /// Of a person with more samples only the so many most different ones are compared; 0: all.
    pub(super) max_samples: usize,
}

/// A person and how near they are.
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
    /// Which rows are compared.
    selection: Selection,
    negatives: Negatives,
    /// Highest sample id of the store in here.
    pub(super) last_sample: i64,
    limits: Limits,
    graph: Option<Arc<Graph>>,
}

/// Samples as the store hands them over.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) matrix: Vec<f32>,
    pub(super) owners: Vec<u32>,
    pub(super) negatives: Negatives,
    pub(super) last_sample: i64,
}

/// Pictures that are not the person they look like, sorted by the place of the person.
#[derive(Clone, Default)]
pub(super) struct Negatives(Vec<(u32, Embedding)>);

impl Negatives {
    pub(super) fn push(&mut self, person: u32, embedding: Embedding) {
        self.0.push((person, embedding));
    }

    fn sorted(mut self) -> Self {
        self.0.sort_by_key(|n| n.0);
        self
    }

    /// Is a negative sample of this person nearer than `similarity`?
    fn refuse(&self, person: u32, query: &[f32], similarity: f32) -> bool {
        let first = self.0.partition_point(|n| n.0 < person);
        let of_person = self.0[first..].iter().take_while(|n| n.0 == person);
        of_person.into_iter().any(|n| rank::dot(query, n.1.as_slice()) > similarity)
    }
}

impl Snapshot {
    /// `rows.owners` are places in `people`, `rows.matrix` has `dim` values for each.
    pub(super) fn new(
        generation: u64,
        dim: usize,
        people: Vec<Known>,
        rows: Rows,
        limits: Limits,
    ) -> Self {
        let samples = rows.owners.len();
        Self {
            generation,
            dim,
            selection: Selection::new(
                dim,
                &rows.matrix,
                &rows.owners,
                people.len(),
                limits.max_samples,
                None,
            ),
            people,
            matrix: rows.matrix,
            owners: rows.owners,
            negatives: rows.negatives.sorted(),
            last_sample: rows.last_sample,
            limits,
            graph: (samples >= limits.index_from).then(|| Arc::new(Graph::new(samples))),
        }
    }

    /// The same with people and samples added. `people` begins with those of this snapshot.
    pub(super) fn extended(&self, generation: u64, people: Vec<Known>, rows: Rows) -> Self {
        let mut matrix = Vec::with_capacity(self.matrix.len() + rows.matrix.len());
        matrix.extend_from_slice(&self.matrix);
        matrix.extend_from_slice(&rows.matrix);
        let owners: Vec<u32> = self.owners.iter().chain(&rows.owners).copied().collect();
        let mut negatives = self.negatives.clone();
        negatives.0.extend(rows.negatives.0);
        let max = self.limits.max_samples;
        let selection =
            Selection::new(self.dim, &matrix, &owners, people.len(), max, Some(&self.selection));
        // What came after the graph is scanned exactly, until that is as much as a gallery that
        // would get a graph of its own.
        let samples = owners.len();
        let kept = self.graph.as_ref().filter(|g| samples - g.rows() < self.limits.index_from);
        let graph = kept
            .cloned()
            .or_else(|| (samples >= self.limits.index_from).then(|| Arc::new(Graph::new(samples))));
        Self {
            generation,
            dim: self.dim,
            people,
            matrix,
            owners,
            selection,
            negatives: negatives.sorted(),
            last_sample: rows.last_sample.max(self.last_sample),
            limits: self.limits,
            graph,
        }
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

    /// Number of samples of all people, those included that are not compared because their person
    /// has too many; without negative samples.
    pub fn samples(&self) -> usize {
        self.owners.len()
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn graph(&self) -> Option<&Arc<Graph>> {
        self.graph.as_ref()
    }

    /// Builds the graph that this snapshot waits for.
    pub(super) fn build_graph(&self) -> Result<(), GraphError> {
        self.graph.as_ref().map_or(Ok(()), |graph| graph.build(&self.matrix, self.dim))
    }

    /// The `k` nearest people, nearest first; fewer if the gallery has fewer. Equally near people
    /// come in the order of their enrolment. Expired people are left out, and those of whom a
    /// negative sample is nearer than the best sample.
    ///
    /// # Errors
    /// [`SearchError::Dimension`] if the embedding is of another dimension than the gallery.
    pub fn search(
        &self,
        embedding: &Embedding,
        k: usize,
        vote: VoteRule,
    ) -> Result<Vec<Match>, SearchError> {
        Ok(self.matches(&self.nearest(embedding, k, vote)?))
    }

    /// [`Snapshot::decide`] by the best sample of each person.
    ///
    /// # Errors
    /// As [`Snapshot::decide`].
    pub fn identify(
        &self,
        embedding: &Embedding,
        threshold: f32,
        min_margin: f32,
        k: usize,
    ) -> Result<Identification, SearchError> {
        let rules = SearchRules { threshold, min_margin, top_k: k, vote: VoteRule::Best };
        self.decide(embedding, &rules)
    }

    /// Decides who a face is, among the people that [`Snapshot::search`] finds.
    ///
    /// The face is uncertain if the margin is too small, or if the nearest person's own threshold
    /// refuses it and a farther person's would take it.
    ///
    /// # Errors
    /// [`SearchError`] if the embedding is of another dimension, or a setting is not finite.
    pub fn decide(
        &self,
        embedding: &Embedding,
        rules: &SearchRules,
    ) -> Result<Identification, SearchError> {
        for (name, value) in [("threshold", rules.threshold), ("min-margin", rules.min_margin)] {
            if !value.is_finite() {
                return Err(SearchError::NotFinite { name, value });
            }
        }
        // Two at least: the margin needs the second.
        let nearest = self.nearest(embedding, rules.top_k.max(2), rules.vote)?;
        let passes = |(person, similarity): &(u32, f32)| {
            *similarity >= self.people[*person as usize].threshold.unwrap_or(rules.threshold)
        };
        let margin = match nearest.as_slice() {
            [first, second, ..] => Some(first.1 - second.1),
            _ => None,
        };
        let status = match nearest.split_first() {
            None => Status::Unknown,
            Some((first, _)) if passes(first) => {
                if margin.is_some_and(|m| m < rules.min_margin) {
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
        top.truncate(rules.top_k);
        Ok(Identification { status, best, margin, top })
    }

    /// Cosine similarities of an embedding with every sample of the person at `place` of
    /// [`Snapshot::people`], in the order of their enrolment.
    ///
    /// # Errors
    /// [`SearchError::Dimension`] if the embedding is of another dimension than the gallery.
    pub fn similarities(
        &self,
        embedding: &Embedding,
        place: usize,
    ) -> Result<Vec<f32>, SearchError> {
        if embedding.dim() != self.dim {
            return Err(SearchError::Dimension { expected: self.dim, got: embedding.dim() });
        }
        let own = self.rows().filter(|(owner, _)| *owner == place);
        Ok(own.map(|(_, row)| rank::dot(embedding.as_slice(), row).clamp(-1.0, 1.0)).collect())
    }

    /// The best cosine similarity of an embedding with each of [`Snapshot::people`], `None` for
    /// those without samples. The row at `without` of [`Snapshot::rows`] is left out.
    ///
    /// # Errors
    /// As [`Snapshot::similarities`].
    pub fn best_by_person(
        &self,
        embedding: &Embedding,
        without: Option<usize>,
    ) -> Result<Vec<Option<f32>>, SearchError> {
        if embedding.dim() != self.dim {
            return Err(SearchError::Dimension { expected: self.dim, got: embedding.dim() });
        }
        let mut best = vec![None; self.people.len()];
        for (i, (owner, row)) in self.rows().enumerate() {
            if Some(i) != without {
                let similarity = rank::dot(embedding.as_slice(), row).clamp(-1.0, 1.0);
                let best = &mut best[owner];
                *best = Some(best.map_or(similarity, |b: f32| b.max(similarity)));
            }
        }
        Ok(best)
    }

    /// Every sample, in the order of their enrolment: the place of its person in
    /// [`Snapshot::people`], and its embedding.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let rows = self.matrix.chunks_exact(self.dim);
        self.owners.iter().map(|owner| *owner as usize).zip(rows)
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

    fn nearest(
        &self,
        embedding: &Embedding,
        k: usize,
        vote: VoteRule,
    ) -> Result<Vec<(u32, f32)>, SearchError> {
        if embedding.dim() != self.dim {
            return Err(SearchError::Dimension { expected: self.dim, got: embedding.dim() });
        }
        let (query, limit) = (embedding.as_slice(), k.min(self.selection.represented()));
        if limit == 0 {
            return Ok(Vec::new());
        }
        let now = SystemTime::now();
        Ok(self
            .nearest_by_graph(query, limit, vote, now)
            .unwrap_or_else(|| self.nearest_by_scan(query, limit, vote, now)))
    }

    fn nearest_by_scan(
        &self,
        query: &[f32],
        limit: usize,
        vote: VoteRule,
        now: SystemTime,
    ) -> Vec<(u32, f32)> {
        let mut ranking = Ranking::new(limit);
        self.offer_rows_from(0, query, &mut ranking, &|p| self.score(p, query, vote, now));
        ranking.people
    }

    fn offer_rows_from(
        &self,
        first: usize,
        query: &[f32],
        ranking: &mut Ranking,
        score: &impl Fn(u32) -> Option<f32>,
    ) {
        let rows = self.matrix[first * self.dim..].chunks_exact(self.dim);
        let compared = &self.selection.compared()[first..];
        for ((row, owner), compared) in rows.zip(&self.owners[first..]).zip(compared) {
            if *compared {
                ranking.offer(*owner, rank::dot(query, row), score);
            }
        }
    }

    /// How near a person is by the rule; `None` if the face must not be theirs. Never more than
    /// the similarity of the person's best sample.
    fn score(&self, person: u32, query: &[f32], vote: VoteRule, now: SystemTime) -> Option<f32> {
        if self.people[person as usize].expires.is_some_and(|expires| expires <= now) {
            return None;
        }
        let rows = self.selection.rows_of(person).iter().map(|row| {
            let start = *row as usize * self.dim;
            rank::dot(query, &self.matrix[start..start + self.dim])
        });
        let (best, mean) = rank::best_and_mean(rows)?;
        if self.negatives.refuse(person, query, best) {
            return None;
        }
        Some(match vote {
            VoteRule::Best => best,
            VoteRule::MeanOfBestThree => mean,
        })
    }

    /// `None` if there is no graph (yet), or the scan costs no more.
    fn nearest_by_graph(
        &self,
        query: &[f32],
        limit: usize,
        vote: VoteRule,
        now: SystemTime,
    ) -> Option<Vec<(u32, f32)>> {
        let graph = self.graph.as_ref().filter(|g| g.is_built())?;
        let score = |person| self.score(person, query, vote, now);
        let mut count = limit.saturating_mul(4).max(MIN_CANDIDATES);
        loop {
            if count > graph.rows() / 4 {
                return None;
            }
            let mut ranking = Ranking::new(limit);
            let mut farthest = f32::INFINITY;
            for row in graph.candidates(query, count)? {
                let row = usize::try_from(row).ok()?;
                let values = self.matrix.get(row * self.dim..(row + 1) * self.dim)?;
                let similarity = rank::dot(query, values);
                farthest = farthest.min(similarity);
                if *self.selection.compared().get(row)? {
                    ranking.offer(*self.owners.get(row)?, similarity, &score);
                }
            }
            // The rows of one person may fill the whole list and hide the next person, or a mean
            // may be less than what the rows beyond the list could have: widen, before the later
            // rows, which the graph does not know, are added.
            if ranking.people.len() == limit
                && ranking.people.last().is_some_and(|last| last.1 >= farthest)
            {
                self.offer_rows_from(graph.rows(), query, &mut ranking, &score);
                return Some(ranking.people);
            }
            count = count.saturating_mul(4);
        }
    }
}

/// Milliseconds since 1970 as a moment; before 1970 and beyond all clocks the nearest there is.
pub(super) fn moment(millis: i64) -> SystemTime {
    let since = std::time::Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH + std::time::Duration::from_secs(1 << 40))
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

#[cfg(test)]
mod tests;
