//! The people of a snapshot, in pieces that snapshots share.

use std::ops::Index;
use std::sync::Arc;
use std::time::SystemTime;

use crate::embed::Embedding;

/// People of a piece: some ten kilobytes.
const PIECE: usize = 64;

/// A person of a [`Snapshot`](super::Snapshot).
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub id: Arc<str>,
    pub name: Arc<str>,
    /// Cosine similarity from which a face is this person, instead of the general threshold.
    pub threshold: Option<f32>,
    /// When the person stops being matched.
    pub expires: Option<SystemTime>,
    /// The number by which the samples of the store name their person; ascending.
    pub(in crate::gallery) seq: i64,
}

/// A person and what is theirs.
#[derive(Clone)]
pub(super) struct Entry {
    seq: i64,
    /// `None`: gone.
    pub(super) known: Option<Known>,
    /// Rows of all samples, ascending.
    pub(super) rows: Arc<Vec<u32>>,
    /// Those of them that are compared, ascending.
    pub(super) compared: Arc<Vec<u32>>,
    /// Rows of the representatives.
    pub(super) representatives: Arc<Vec<u32>>,
    /// Pictures that are not this person, though they look like them.
    pub(super) negatives: Arc<Vec<(i64, Embedding)>>,
}

/// Everybody of a snapshot, in the order of their enrolment. Each has a place; places of people who
/// are gone stay empty.
#[derive(Clone, Default)]
pub struct People {
    pieces: Vec<Arc<Vec<Entry>>>,
    places: usize,
    living: usize,
    /// Some `seq` is less than an earlier one.
    unordered: bool,
}

impl People {
    /// Number of people.
    pub fn len(&self) -> usize {
        self.living
    }

    pub fn is_empty(&self) -> bool {
        self.living == 0
    }

    /// Every place is below this; at least [`People::len`].
    pub fn places(&self) -> usize {
        self.places
    }

    /// Everybody, in the order of their enrolment.
    pub fn iter(&self) -> impl Iterator<Item = &Known> {
        self.by_place().map(|(_, known)| known)
    }

    /// Everybody with their places, ascending.
    pub fn by_place(&self) -> impl Iterator<Item = (usize, &Known)> {
        let entries = self.pieces.iter().flat_map(|p| p.iter()).enumerate();
        entries.filter_map(|(place, entry)| Some((place, entry.known.as_ref()?)))
    }

    /// Who is at a place; `None` if nobody is.
    pub fn get(&self, place: usize) -> Option<&Known> {
        self.pieces.get(place / PIECE)?.get(place % PIECE)?.known.as_ref()
    }

    pub(super) fn entry(&self, place: u32) -> &Entry {
        &self.pieces[place as usize / PIECE][place as usize % PIECE]
    }

    pub(super) fn entry_mut(&mut self, place: u32) -> &mut Entry {
        let piece = Arc::make_mut(&mut self.pieces[place as usize / PIECE]);
        &mut piece[place as usize % PIECE]
    }

    /// The place of the person whom the store calls so.
    pub(super) fn find(&self, seq: i64) -> Option<u32> {
        let place = if self.unordered {
            self.pieces.iter().flat_map(|p| p.iter()).position(|e| e.seq == seq)?
        } else {
            let starts = |p: &Arc<Vec<Entry>>| p.first().is_some_and(|e| e.seq <= seq);
            let piece = self.pieces.partition_point(starts).checked_sub(1)?;
            piece * PIECE + self.pieces[piece].binary_search_by_key(&seq, |e| e.seq).ok()?
        };
        self.get(place).map(|_| place as u32)
    }

    /// Adds a person, or replaces what is known of them.
    pub(super) fn put(&mut self, known: Known) {
        if let Some(place) = self.find(known.seq) {
            self.entry_mut(place).known = Some(known);
            return;
        }
        let seq = known.seq;
        let last = self.pieces.last().and_then(|p| p.last());
        self.unordered |= last.is_some_and(|last| last.seq >= seq);
        if self.places.is_multiple_of(PIECE) {
            self.pieces.push(Arc::default());
        }
        let nothing = Arc::<Vec<u32>>::default();
        let entry = Entry {
            seq,
            known: Some(known),
            rows: nothing.clone(),
            compared: nothing.clone(),
            representatives: nothing,
            negatives: Arc::default(),
        };
        if let Some(piece) = self.pieces.last_mut() {
            Arc::make_mut(piece).push(entry);
        }
        self.places += 1;
        self.living += 1;
    }

    /// Empties a place; what was there.
    pub(super) fn take(&mut self, place: u32) -> Entry {
        let entry = self.entry_mut(place);
        let nothing = Arc::<Vec<u32>>::default();
        let empty = Entry {
            seq: entry.seq,
            known: None,
            rows: nothing.clone(),
            compared: nothing.clone(),
            representatives: nothing,
            negatives: Arc::default(),
        };
        let taken = std::mem::replace(entry, empty);
        self.living -= usize::from(taken.known.is_some());
        taken
    }
}

impl Index<usize> for People {
    type Output = Known;

    /// # Panics
    /// If nobody is at that place, see [`People::get`].
    fn index(&self, place: usize) -> &Known {
        self.get(place).expect("somebody is at the place")
    }
}

impl std::fmt::Debug for People {
    /// Without names, which have no place in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("People").field("len", &self.living).finish_non_exhaustive()
    }
}
