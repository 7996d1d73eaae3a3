//! Which samples of a gallery are suspect: one wrong picture spoils a person.

use std::sync::Arc;
use std::time::Duration;

use super::{Gate, Unfit};
use crate::embed::Embedding;
use crate::gallery::{Gallery, GalleryError, Match, SearchError, SearchRules, Snapshot, VoteRule};

/// How long a server may take for one sample: nobody waits in front of a camera.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

/// Why a gallery could not be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    Gallery(#[from] GalleryError),
}

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
/// then sample. The time grows with samples times the cost of a search. Of a gallery that is not
/// loaded one person at a time is read, and its server is asked for other people.
///
/// # Errors
/// [`AuditError`] if the gallery cannot be searched or read.
pub fn audit(gallery: &Gallery, gate: &Gate, threshold: f32) -> Result<Vec<Suspect>, AuditError> {
    if gallery.is_loaded() {
        return Ok(audit_snapshot(&gallery.snapshot(), gate, threshold)?);
    }
    // Whoever is nearest, however far.
    let rules = SearchRules { threshold: -1.0, min_margin: 0.0, top_k: 2, vote: VoteRule::Best };
    let mut suspects = Vec::new();
    for person in gallery.persons()? {
        let own = gallery.embeddings_of(&person.id)?;
        let person = (Arc::from(person.id), Arc::from(person.name));
        suspects_of(&person, &own, gate, threshold, &mut suspects, |embedding| {
            Ok(gallery.identify(embedding, &rules, LONGEST_ANSWER)?.top)
        })?;
    }
    Ok(suspects)
}

fn audit_snapshot(
    gallery: &Snapshot,
    gate: &Gate,
    threshold: f32,
) -> Result<Vec<Suspect>, SearchError> {
    let mut samples: Vec<Vec<Embedding>> = vec![Vec::new(); gallery.people().places()];
    for (owner, row) in gallery.rows() {
        // Rows of a gallery are embeddings already.
        samples[owner].extend(Embedding::new(row).ok());
    }
    let mut suspects = Vec::new();
    for (place, person) in gallery.people().by_place() {
        let person = (person.id.clone(), person.name.clone());
        suspects_of(&person, &samples[place], gate, threshold, &mut suspects, |embedding| {
            gallery.search(embedding, 2, VoteRule::Best)
        })?;
    }
    Ok(suspects)
}

/// Adds the suspect ones of a person's samples. `nearest` finds the two nearest people.
fn suspects_of(
    (person_id, name): &(Arc<str>, Arc<str>),
    own: &[Embedding],
    gate: &Gate,
    threshold: f32,
    suspects: &mut Vec<Suspect>,
    nearest: impl Fn(&Embedding) -> Result<Vec<Match>, SearchError>,
) -> Result<(), SearchError> {
    for (sample, embedding) in own.iter().enumerate() {
        let other = nearest(embedding)?.into_iter().find(|m| m.person_id != *person_id);
        let similarities = own.iter().map(|o| embedding.cosine(o).unwrap_or(-1.0)).collect();
        let looked = Looked { sample, similarities };
        let duplicate_of = looked.duplicate_of(gate.near_duplicate);
        let other = other.map(|m| (m.name, m.similarity));
        let limit = gate.conflict.unwrap_or(threshold);
        if let Some(problem) = looked.problem(gate, limit, other) {
            let duplicate = matches!(problem, Unfit::NearDuplicate { .. });
            suspects.push(Suspect {
                person_id: person_id.clone(),
                name: name.clone(),
                sample,
                problem,
                duplicate_of: duplicate_of.filter(|_| duplicate),
            });
        }
    }
    Ok(())
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
