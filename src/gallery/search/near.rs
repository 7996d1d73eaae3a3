//! Finding the nearest people.

use std::time::SystemTime;

use super::kernels::{self, Code};
use super::rank::{self, Highest, Ranking};
use super::rows::NOBODY;
use super::{SearchError, Snapshot, VoteRule};
use crate::embed::Embedding;

/// How many representatives' people are compared, at least. Among 10,000 generated people of 10
/// samples the nearest person of a stranger is among the first 128 in 98.7 % of the searches, among
/// the first 256 in 99.8 %; that of somebody enrolled is always among the first 16.
const CANDIDATES: usize = 160;

impl Snapshot {
    /// The nearest people, by whatever is fastest for a gallery of this size.
    pub(super) fn nearest(
        &self,
        embedding: &Embedding,
        k: usize,
        vote: VoteRule,
    ) -> Result<Vec<(u32, f32)>, SearchError> {
        self.check(embedding)?;
        let (query, limit) = (embedding.as_slice(), k.min(self.represented));
        if limit == 0 {
            return Ok(Vec::new());
        }
        let now = SystemTime::now();
        Ok(self
            .nearest_by_representatives(query, limit, vote, now)
            .unwrap_or_else(|| self.nearest_by_scan(query, limit, vote, now)))
    }

    /// The nearest people by a comparison with every sample.
    pub(super) fn nearest_of_all(
        &self,
        embedding: &Embedding,
        k: usize,
        vote: VoteRule,
    ) -> Result<Vec<(u32, f32)>, SearchError> {
        self.check(embedding)?;
        match k.min(self.represented) {
            0 => Ok(Vec::new()),
            limit => Ok(self.nearest_by_scan(embedding.as_slice(), limit, vote, SystemTime::now())),
        }
    }

    pub(super) fn nearest_by_scan(
        &self,
        query: &[f32],
        limit: usize,
        vote: VoteRule,
        now: SystemTime,
    ) -> Vec<(u32, f32)> {
        let mut ranking = Ranking::new(limit);
        let score = |person| self.score(person, query, vote, now);
        self.rows.each_compared(query, |owner, similarity| {
            ranking.offer(owner, similarity, &score);
        });
        ranking.people
    }

    /// How near a person is by the rule; `None` if the face must not be theirs. Never more than
    /// the similarity of the person's best sample.
    fn score(&self, person: u32, query: &[f32], vote: VoteRule, now: SystemTime) -> Option<f32> {
        let entry = self.people.entry(person);
        if entry.known.as_ref()?.expires.is_some_and(|expires| expires <= now) {
            return None;
        }
        let mut similarities = Vec::with_capacity(entry.compared.len());
        kernels::dots_with(query, &self.rows, &entry.compared, &mut similarities);
        let (best, mean) = rank::best_and_mean(similarities.into_iter())?;
        // Is a negative sample of this person nearer?
        if entry.negatives.iter().any(|(_, n)| rank::dot(query, n.as_slice()) > best) {
            return None;
        }
        Some(match vote {
            VoteRule::Best => best,
            VoteRule::MeanOfBestThree => mean,
        })
    }

    /// The nearest of the people whose representatives are nearest; `None` if the scan costs no
    /// more.
    pub(super) fn nearest_by_representatives(
        &self,
        query: &[f32],
        limit: usize,
        vote: VoteRule,
        now: SystemTime,
    ) -> Option<Vec<(u32, f32)>> {
        let all = self.representatives.living();
        let by_graph = self.graph.is_some();
        // Most people have one sample, and there is no graph: two scans would be dearer than one.
        let vain = !by_graph && all > self.rows.living() / 2;
        if self.rows.living() < self.limits.index_from || vain {
            return None;
        }
        let code = Code::new(query);
        let mut count = limit.saturating_mul(8).max(CANDIDATES);
        while count <= all / 4 {
            let mut ranking = Ranking::new(limit);
            for (person, most) in self.candidates(query, &code, count, vote) {
                if ranking.is_closed_to(most) {
                    break;
                }
                if let Some(score) = self.score(person, query, vote, now) {
                    ranking.take(person, score);
                }
            }
            if ranking.people.len() == limit {
                return Some(ranking.people);
            }
            // Expired and refused people, or several representatives of one, filled the list.
            count = count.saturating_mul(4);
        }
        None
    }

    /// The people of the nearest representatives, and how near each may be by the rule at most;
    /// nearest first.
    fn candidates(
        &self,
        query: &[f32],
        code: &Code,
        count: usize,
        vote: VoteRule,
    ) -> Vec<(u32, f32)> {
        let rows = self.near_representatives(query, code, count).into_rows();
        let mut people: Vec<u32> = rows.map(|row| self.representatives.tag(row).owner).collect();
        people.sort_unstable();
        people.dedup();
        // First all addresses, then all products: the processor fetches the next rows meanwhile.
        let mut rows = Vec::with_capacity(people.len() * 16);
        for person in people {
            rows.extend(self.people.entry(person).compared.iter().map(|row| (person, *row)));
        }
        let mut most = Vec::with_capacity(rows.len());
        kernels::most_with(code, &self.rows, &rows, &mut most);
        let mut most = most.into_iter();
        let mut near = Vec::with_capacity(count);
        for own in rows.chunk_by(|a, b| a.0 == b.0) {
            let Some((best, mean)) = rank::best_and_mean(most.by_ref().take(own.len())) else {
                continue;
            };
            near.push(match vote {
                VoteRule::Best => (own[0].0, best),
                VoteRule::MeanOfBestThree => (own[0].0, mean),
            });
        }
        near.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
        near
    }

    /// The nearest representatives: those of the graph, and of those that are newer.
    fn near_representatives(&self, query: &[f32], code: &Code, count: usize) -> Highest {
        let mut highest = Highest::new(count);
        let mut first = 0;
        if let Some(graph) = &self.graph
            && let Some(found) = graph.candidates(query, count)
        {
            for (row, similarity) in found {
                // What was replaced since would keep others out.
                if (row as usize) < self.representatives.len()
                    && self.representatives.tag(row).owner != NOBODY
                {
                    highest.offer(row, similarity);
                }
            }
            first = graph.rows() as u32;
        }
        self.representatives.offer_from(first, code, &mut highest);
        highest
    }
}
