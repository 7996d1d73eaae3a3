//! Vectors and whose they are, in pieces that snapshots share: a change copies the pieces that it
//! touches, whatever the number of rows.

use std::sync::Arc;

use super::kernels::{self, Code, Scale, encode};
use super::rank::Highest;

/// Rows of a piece: 128 KiB of 128 values. A change copies some pieces and the list of all, and the
/// sum of both is least about here for galleries between ten thousand and a million rows.
const PIECE: usize = 256;

/// The owner of a row that is gone.
pub(super) const NOBODY: u32 = u32::MAX;

/// What is known of a row besides its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tag {
    /// As the store names it; 0 for what the store does not have.
    pub(super) id: i64,
    /// Place of the person, or [`NOBODY`].
    pub(super) owner: u32,
    /// Does a search look at it?
    pub(super) compared: bool,
}

/// Values and tags apart: another owner does not copy vectors.
#[derive(Clone)]
struct Piece {
    values: Arc<Vec<f32>>,
    /// The values once more, see [`encode`].
    codes: Arc<Vec<i8>>,
    scales: Arc<Vec<Scale>>,
    tags: Arc<Vec<Tag>>,
}

/// A matrix that grows at its end. The number of a row never changes; a row that goes leaves its
/// place behind, filled with zeros.
#[derive(Clone)]
pub(super) struct Rows {
    dim: usize,
    pieces: Vec<Piece>,
    len: usize,
    living: usize,
    /// Do the ids ascend with the rows? A store whose writers overtake each other may give them
    /// otherwise.
    ascending: bool,
    highest: i64,
}

impl Rows {
    pub(super) fn new(dim: usize) -> Self {
        let (pieces, ascending, highest) = (Vec::new(), true, i64::MIN);
        Self { dim, pieces, len: 0, living: 0, ascending, highest }
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// Number of rows, those included that are gone.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn living(&self) -> usize {
        self.living
    }

    pub(super) fn dead(&self) -> usize {
        self.len - self.living
    }

    /// Adds a row, which is compared; its number. `values` are as many as there are dimensions.
    pub(super) fn push(&mut self, id: i64, owner: u32, values: &[f32]) -> u32 {
        debug_assert_eq!(values.len(), self.dim);
        if self.len.is_multiple_of(PIECE) {
            self.pieces.push(Piece {
                values: Arc::new(Vec::with_capacity(PIECE * self.dim)),
                codes: Arc::new(Vec::with_capacity(PIECE * self.dim)),
                scales: Arc::new(Vec::with_capacity(PIECE)),
                tags: Arc::new(Vec::with_capacity(PIECE)),
            });
        }
        if let Some(last) = self.pieces.last_mut() {
            Arc::make_mut(&mut last.values).extend_from_slice(values);
            let scale = encode(values, Arc::make_mut(&mut last.codes));
            Arc::make_mut(&mut last.scales).push(scale);
            Arc::make_mut(&mut last.tags).push(Tag { id, owner, compared: true });
        }
        self.ascending &= self.len == 0 || id > self.highest;
        self.highest = self.highest.max(id);
        self.len += 1;
        self.living += 1;
        (self.len - 1) as u32
    }

    #[inline(always)]
    pub(super) fn values(&self, row: u32) -> &[f32] {
        let (piece, place) = split(row);
        &self.pieces[piece].values[place * self.dim..(place + 1) * self.dim]
    }

    #[inline(always)]
    pub(super) fn codes(&self, row: u32) -> (&[i8], Scale) {
        let (piece, place) = split(row);
        let piece = &self.pieces[piece];
        (&piece.codes[place * self.dim..(place + 1) * self.dim], piece.scales[place])
    }

    pub(super) fn tag(&self, row: u32) -> Tag {
        let (piece, place) = split(row);
        self.pieces[piece].tags[place]
    }

    fn tag_mut(&mut self, row: u32) -> &mut Tag {
        let (piece, place) = split(row);
        &mut Arc::make_mut(&mut self.pieces[piece].tags)[place]
    }

    /// Takes a row away and its values out of the memory of this and all later snapshots.
    pub(super) fn erase(&mut self, row: u32) {
        if self.tag(row).owner == NOBODY {
            return;
        }
        let tag = self.tag_mut(row);
        (tag.owner, tag.compared) = (NOBODY, false);
        let (piece, place) = split(row);
        let (piece, range) = (&mut self.pieces[piece], place * self.dim..(place + 1) * self.dim);
        Arc::make_mut(&mut piece.values)[range.clone()].fill(0.0);
        Arc::make_mut(&mut piece.codes)[range].fill(0);
        Arc::make_mut(&mut piece.scales)[place] = Scale::default();
        self.living -= 1;
    }

    pub(super) fn give_to(&mut self, row: u32, owner: u32) {
        if self.tag(row).owner != owner {
            self.tag_mut(row).owner = owner;
        }
    }

    pub(super) fn compare(&mut self, row: u32, compared: bool) {
        if self.tag(row).compared != compared {
            self.tag_mut(row).compared = compared;
        }
    }

    /// The row with this id, if it is not gone.
    pub(super) fn find(&self, id: i64) -> Option<u32> {
        if id > self.highest {
            return None;
        }
        let row = if self.ascending {
            let first = |p: &Piece| p.tags.first().is_some_and(|t| t.id <= id);
            let piece = self.pieces.partition_point(first).checked_sub(1)?;
            let place = self.pieces[piece].tags.binary_search_by_key(&id, |t| t.id).ok()?;
            piece * PIECE + place
        } else {
            let found = |(_, tag): &(u32, Tag)| tag.id == id && tag.owner != NOBODY;
            return self.tags().find(found).map(|(row, _)| row);
        };
        let row = row as u32;
        (self.tag(row).owner != NOBODY).then_some(row)
    }

    fn tags(&self) -> impl Iterator<Item = (u32, Tag)> {
        let tags = self.pieces.iter().flat_map(|p| p.tags.iter());
        tags.enumerate().map(|(row, tag)| (row as u32, *tag))
    }

    /// The rows that are not gone, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Tag, &[f32])> {
        let values = self.pieces.iter().flat_map(|p| p.values.chunks_exact(self.dim));
        let all = self.tags().zip(values).map(|((row, tag), values)| (row, tag, values));
        all.filter(|(_, tag, _)| tag.owner != NOBODY)
    }

    /// Hands over the owner and the similarity of all rows that are compared.
    #[inline]
    pub(super) fn each_compared(&self, query: &[f32], mut each: impl FnMut(u32, f32)) {
        let mut similarities = [0.0; PIECE];
        for piece in &self.pieces {
            kernels::dots(query, &piece.values, &mut similarities);
            for (similarity, tag) in similarities.iter().zip(piece.tags.iter()) {
                if tag.compared {
                    each(tag.owner, *similarity);
                }
            }
        }
    }

    /// Offers all rows from `first` on that are compared, with about their similarity.
    pub(super) fn offer_from(&self, first: u32, code: &Code, highest: &mut Highest) {
        let (piece, mut skip) = split(first);
        let mut similarities = [0.0; PIECE];
        for (i, piece) in self.pieces.iter().enumerate().skip(piece) {
            kernels::products(code, &piece.codes, &piece.scales, &mut similarities);
            let len = piece.tags.len();
            for (j, similarity) in similarities[..len].iter().enumerate().skip(skip) {
                // Few are near enough: the tags of the others are not even read.
                if highest.is_open_to(*similarity) && piece.tags[j].compared {
                    highest.offer((i * PIECE + j) as u32, *similarity);
                }
            }
            skip = 0;
        }
    }
}

#[inline(always)]
fn split(row: u32) -> (usize, usize) {
    (row as usize / PIECE, row as usize % PIECE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ids: &[i64]) -> Rows {
        let mut rows = Rows::new(1);
        for id in ids {
            rows.push(*id, *id as u32, &[*id as f32]);
        }
        rows
    }

    #[test]
    fn rows_are_found_by_id_in_order_and_out_of_it() {
        let ascending: Vec<i64> = (1..=600).map(|id| id * 2).collect();
        let mut other = ascending.clone();
        other.swap(3, 500);
        for ids in [ascending, other] {
            let mut rows = rows(&ids);
            for (row, id) in ids.iter().enumerate() {
                assert_eq!(rows.find(*id), Some(row as u32));
                assert_eq!(rows.find(*id + 1), None);
            }
            rows.erase(300);
            assert_eq!(rows.find(ids[300]), None);
            assert_eq!(rows.values(300), [0.0]);
            assert_eq!((rows.len(), rows.living(), rows.dead()), (600, 599, 1));
            rows.erase(300);
            assert_eq!(rows.living(), 599);
        }
        assert_eq!(Rows::new(3).find(0), None);
    }

    #[test]
    fn change_copies_the_pieces_it_touches_and_no_other() {
        let old = rows(&(0..1000).collect::<Vec<_>>());
        let mut new = old.clone();
        new.push(1000, 1, &[5.0]);
        new.give_to(3, 77);
        new.erase(300);
        assert_eq!((old.len(), old.tag(3).owner, old.values(300)), (1000, 3, &[300.0][..]));
        let shared = |i: usize| {
            let (a, b) = (&old.pieces[i], &new.pieces[i]);
            (Arc::ptr_eq(&a.values, &b.values), Arc::ptr_eq(&a.tags, &b.tags))
        };
        let shares: Vec<_> = (0..4).map(shared).collect();
        assert_eq!(shares, [(true, false), (false, false), (true, true), (false, false)]);
    }

    #[test]
    fn rows_from_anywhere_are_offered_once() {
        let mut rows = Rows::new(2);
        for id in 0..700 {
            rows.push(id, id as u32, &[1.0, 0.0]);
        }
        rows.compare(600, false);
        rows.erase(300);
        for first in [0u32, 255, 256, 257, 299, 699, 700] {
            let mut highest = Highest::new(1_000);
            rows.offer_from(first, &Code::new(&[1.0, 0.0]), &mut highest);
            let mut seen: Vec<u32> = highest.into_rows().collect();
            seen.sort_unstable();
            let expected: Vec<u32> = (first..700).filter(|r| ![300, 600].contains(r)).collect();
            assert_eq!(seen, expected);
        }
        assert_eq!(rows.iter().count(), 699);
        let mut owners = Vec::new();
        rows.each_compared(&[0.5, 0.0], |owner, similarity| {
            assert_eq!(similarity, 0.5);
            owners.push(owner);
        });
        assert_eq!(owners.len(), 698);
    }
}
