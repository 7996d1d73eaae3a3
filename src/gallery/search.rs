//! Searching a gallery: an immutable picture of it in memory. Small ones are scanned; in large ones
//! representatives of the people say whose samples are compared.

mod kernels;
mod near;
mod people;
mod rank;
mod rows;
mod selection;
mod take;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use people::{Known, People};
use rows::Rows;
pub(super) use take::GraphRows;

use super::index::Graph;
use crate::embed::Embedding;
use crate::identity::Status;

/// Up to this many samples all of them are compared: half a millisecond for 20,000 of 128 values.
/// Above it representatives of the people find whose samples are compared.
pub(super) const INDEX_FROM: usize = 20_000;

/// From this many representatives on a graph finds the nearest of them. Of 50,000 the comparison
/// with all takes at most two thirds of the time of a graph with kernels and finds more, see
/// docs/performance.md; its time grows with their number, that of a graph hardly does.
pub(super) const GRAPH_FROM: usize = 200_000;

/// How many samples of a person are compared, if nothing else is said.
pub(super) const MAX_SAMPLES: usize = 20;

/// Why a search has no result. Never to be taken for "unknown".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SearchError {
    #[error("search gallery: the embedding has {got} dimensions, the gallery has {expected}")]
    Dimension { expected: usize, got: usize },
    #[error("search gallery: {name} is {value}, not a finite number")]
    NotFinite { name: &'static str, value: f32 },
    /// A shared gallery that is searched by its server.
    #[error("search gallery: the server gave no answer within {limit:?}")]
    Deadline { limit: std::time::Duration },
    /// The snapshot of a shared gallery that is too large to be loaded.
    #[error("search gallery: it is not loaded, only its server can search it")]
    NotLoaded,
    #[error("search gallery: the server cannot search: {reason}")]
    Server { reason: String },
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

impl SearchRules {
    pub(super) fn check(&self) -> Result<(), SearchError> {
        for (name, value) in [("threshold", self.threshold), ("min-margin", self.min_margin)] {
            if !value.is_finite() {
                return Err(SearchError::NotFinite { name, value });
            }
        }
        Ok(())
    }

    /// Decides by the similarities and own thresholds of the nearest people, nearest first; with
    /// the margin to the second. At least two of them are needed, where there are two.
    pub(super) fn verdict(
        &self,
        nearest: impl Iterator<Item = (f32, Option<f32>)>,
    ) -> (Status, Option<f32>) {
        let nearest: Vec<_> = nearest.collect();
        let passes =
            |(similarity, own): &(f32, Option<f32>)| *similarity >= own.unwrap_or(self.threshold);
        let margin = match nearest.as_slice() {
            [first, second, ..] => Some(first.0 - second.0),
            _ => None,
        };
        let status = match nearest.split_first() {
            None => Status::Unknown,
            Some((first, _)) if passes(first) => {
                if margin.is_some_and(|m| m < self.min_margin) {
                    Status::Uncertain
                } else {
                    Status::Known
                }
            }
            Some((_, others)) if others.iter().any(passes) => Status::Uncertain,
            Some(_) => Status::Unknown,
        };
        (status, margin)
    }
}

/// Sizes from which a snapshot behaves otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Number of samples from which representatives are asked first, [`INDEX_FROM`] but for tests.
    pub(super) index_from: usize,
    /// Number of representatives from which a graph is used, [`GRAPH_FROM`] but for tests.
    pub(super) graph_from: usize,
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

/// All people and samples of a gallery at one moment. Immutable, so searched without any lock; the
/// next one shares with it all that did not change.
#[derive(Clone)]
pub struct Snapshot {
    generation: u64,
    dim: usize,
    limits: Limits,
    people: People,
    /// All samples but the negative ones.
    rows: Rows,
    /// Whose each negative sample is, by its id. Few, and copied by a change to one of them.
    negatives: Arc<BTreeMap<i64, u32>>,
    /// What people are looked up by: vectors that are like their samples.
    representatives: Rows,
    /// People with at least one sample.
    represented: usize,
    /// How many people were removed since the rows were numbered.
    forgotten: u64,
    /// The graph that searches use.
    graph: Option<Arc<Graph>>,
    /// The graph that is to replace it.
    next_graph: Option<Arc<Graph>>,
    /// False if the samples are on a server only.
    loaded: bool,
}

impl Snapshot {
    /// Counts the writes to the gallery; another one means other contents.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of dimensions of every embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Everybody, in the order of their enrolment.
    pub fn people(&self) -> &People {
        &self.people
    }

    /// Number of samples of all people, those included that are not compared because their person
    /// has too many; without negative samples.
    pub fn samples(&self) -> usize {
        self.rows.living()
    }

    /// Is an index being built with which searches will be faster, or free of who was removed?
    pub fn awaits_index(&self) -> bool {
        self.wanted_graph().is_some()
    }

    /// The `k` nearest people, nearest first; fewer if the gallery has fewer. Equally near people
    /// come in the order of their enrolment. Expired people are left out, and those of whom a
    /// negative sample is nearer than the best sample.
    ///
    /// Every similarity is exact. In a gallery of more than 20,000 samples the people whose
    /// representatives are nearest are compared; of 100 searches among 10,000 people one at most
    /// misses somebody whom [`Snapshot::search_exactly`] finds, and he is no match then.
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

    /// As [`Snapshot::search`], comparing every sample whatever the size of the gallery: what a
    /// search is measured by.
    ///
    /// # Errors
    /// As [`Snapshot::search`].
    pub fn search_exactly(
        &self,
        embedding: &Embedding,
        k: usize,
        vote: VoteRule,
    ) -> Result<Vec<Match>, SearchError> {
        Ok(self.matches(&self.nearest_of_all(embedding, k, vote)?))
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
        rules.check()?;
        // Two at least: the margin needs the second.
        let nearest = self.nearest(embedding, rules.top_k.max(2), rules.vote)?;
        let own = |person: u32| self.people.get(person as usize).and_then(|p| p.threshold);
        let (status, margin) = rules.verdict(nearest.iter().map(|(p, s)| (*s, own(*p))));
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
        self.check(embedding)?;
        if self.people.get(place).is_none() {
            return Ok(Vec::new());
        }
        let own = self.people.entry(place as u32).rows.iter();
        let similarity = |row: &u32| rank::dot(embedding.as_slice(), self.rows.values(*row));
        Ok(own.map(|row| similarity(row).clamp(-1.0, 1.0)).collect())
    }

    /// The best cosine similarity of an embedding with the person at each place of
    /// [`Snapshot::people`], `None` for those without samples. The row at `without` of
    /// [`Snapshot::rows`] is left out.
    ///
    /// # Errors
    /// As [`Snapshot::similarities`].
    pub fn best_by_person(
        &self,
        embedding: &Embedding,
        without: Option<usize>,
    ) -> Result<Vec<Option<f32>>, SearchError> {
        self.check(embedding)?;
        let mut best = vec![None; self.people.places()];
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
        self.rows.iter().map(|(_, tag, values)| (tag.owner as usize, values))
    }

    /// Something that cannot be searched: nobody must be taken for unknown by it.
    pub(super) fn not_loaded(self, generation: u64) -> Self {
        Self { loaded: false, generation, ..self }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    fn check(&self, embedding: &Embedding) -> Result<(), SearchError> {
        if !self.loaded {
            return Err(SearchError::NotLoaded);
        }
        if embedding.dim() != self.dim {
            return Err(SearchError::Dimension { expected: self.dim, got: embedding.dim() });
        }
        Ok(())
    }

    fn matches(&self, nearest: &[(u32, f32)]) -> Vec<Match> {
        let as_match = |(person, similarity): &(u32, f32)| {
            let person = self.people.get(*person as usize)?;
            Some(Match {
                person_id: person.id.clone(),
                name: person.name.clone(),
                similarity: similarity.clamp(-1.0, 1.0),
            })
        };
        nearest.iter().filter_map(as_match).collect()
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
            .field("samples", &self.rows.living())
            .field("representatives", &self.representatives.living())
            .field("graph", &self.graph)
            .finish()
    }
}

#[cfg(test)]
mod tests;
