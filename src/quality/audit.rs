//! Which samples of a gallery are suspect: one wrong picture spoils a person.

use std::sync::Arc;

use super::{Gate, Unfit};
use crate::embed::Embedding;
use crate::gallery::{SearchError, Snapshot, VoteRule};

/// A sample that had better be looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspect {
    pub person_id: Arc<str>,
    pub name: Arc<str>,
    /// Which sample of the person, from 0, in the order of their enrolment.
    pub sample: usize,
    /// [`Unfit::NearDuplicate`], [`Unfit::Conflict`] or [`Unfit::Outlier`].
    pub problem: Unfit,
    /// Of a near-duplicate: the earlier sample that it is like.
    pub duplicate_of: Option<usize>,
}

/// Passes every sample of a gallery through the part of the gate that compares it with the other
/// samples of its person and with other people. `threshold` is the embedder's. Sorted by person,
/// then sample. The time grows with samples times the cost of a search.
///
/// # Errors
/// [`SearchError`] if the gallery cannot be searched.
pub fn audit(gallery: &Snapshot, gate: &Gate, threshold: f32) -> Result<Vec<Suspect>, SearchError> {
    let mut samples: Vec<Vec<Embedding>> = vec![Vec::new(); gallery.people().places()];
    for (owner, row) in gallery.rows() {
        // Rows of a gallery are embeddings already.
        samples[owner].extend(Embedding::new(row).ok());
    }
    let mut suspects = Vec::new();
    for (place, person) in gallery.people().by_place() {
        let own = &samples[place];
        for (sample, embedding) in own.iter().enumerate() {
            let others = gallery.search(embedding, 2, VoteRule::Best)?;
            let other = others.into_iter().find(|m| m.person_id != person.id);
            let similarities = own.iter().map(|o| embedding.cosine(o).unwrap_or(-1.0)).collect();
            let looked = Looked { sample, similarities };
            let duplicate_of = looked.duplicate_of(gate.near_duplicate);
            let other = other.map(|m| (m.name, m.similarity));
            let limit = gate.conflict.unwrap_or(threshold);
            if let Some(problem) = looked.problem(gate, limit, other) {
                let duplicate = matches!(problem, Unfit::NearDuplicate { .. });
                suspects.push(Suspect {
                    person_id: person.id.clone(),
                    name: person.name.clone(),
                    sample,
                    problem,
                    duplicate_of: duplicate_of.filter(|_| duplicate),
                });
            }
        }
    }
    Ok(suspects)
}

/// One sample and its similarities with all samples of its person, itself among them.
struct Looked {
    sample: usize,
    similarities: Vec<f32>,
}

impl Looked {
    fn duplicate_of(&self, limit: f32) -> Option<usize> {
        self.similarities[..self.sample].iter().position(|s| *s >= limit)
    }

    /// A conflict weighs more than an outlier, that more than a duplicate.
    fn problem(&self, gate: &Gate, limit: f32, other: Option<(Arc<str>, f32)>) -> Option<Unfit> {
        let others = self.similarities.iter().enumerate().filter(|(i, _)| *i != self.sample);
        let own = others.clone().map(|(_, s)| *s).max_by(f32::total_cmp);
        if let Some((name, similarity)) = other
            && similarity >= limit
            && own.is_none_or(|own| similarity > own)
        {
            return Some(Unfit::Conflict { name: name.to_string(), similarity, own });
        }
        match own {
            Some(similarity)
                if others.count() >= gate.outlier_from && similarity < gate.outlier =>
            {
                return Some(Unfit::Outlier { similarity, min: gate.outlier });
            }
            _ => {}
        }
        let similarity = self.similarities[self.duplicate_of(gate.near_duplicate)?];
        Some(Unfit::NearDuplicate { similarity, max: gate.near_duplicate })
    }
}
