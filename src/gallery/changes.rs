//! What a store hands over to the picture of the gallery in memory.

use super::search::Known;
use crate::embed::Embedding;

/// A sample as a store has it.
#[derive(Clone, Debug)]
pub(super) struct StoredRow {
    /// Never used for another sample.
    pub(super) id: i64,
    /// [`Known::seq`] of its person.
    pub(super) person: i64,
    pub(super) embedding: Embedding,
    /// The picture is not its person.
    pub(super) negative: bool,
}

/// Everything, or what became different after a generation, read at one moment.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Of the store at that moment.
    pub(super) generation: u64,
    /// This is everything: what was known before is void.
    pub(super) whole: bool,
    /// New people, and those of whom something changed; by `seq`, ascending.
    pub(super) people: Vec<Known>,
    /// `seq` of people who are gone, with all their samples.
    pub(super) removed_people: Vec<i64>,
    /// New samples, and those that changed (another person, or negative now); by `id`, ascending.
    pub(super) samples: Vec<StoredRow>,
    /// `id` of samples that are gone.
    pub(super) removed_samples: Vec<i64>,
}

#[cfg(test)]
mod tests;
