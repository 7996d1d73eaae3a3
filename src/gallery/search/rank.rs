//! The nearest people, from the similarities of samples.

use std::collections::HashSet;

/// Values that one step of the scan takes: enough independent sums for the widest vector units.
const LANES: usize = 16;

/// The best people so far, best first; ties by place. The result does not depend on the order of
/// the offers.
pub(super) struct Ranking {
    limit: usize,
    pub(super) people: Vec<(u32, f32)>,
    /// People whose score was asked for: it is final.
    scored: HashSet<u32>,
}

impl Ranking {
    /// `limit` is at least 1.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, people: Vec::with_capacity(limit), scored: HashSet::new() }
    }

    /// Takes in that one sample of a person has this similarity. `score` is asked once for each
    /// person who may belong to the best, and gives no more than the similarity of their best
    /// sample: who has no sample that beats the last of the list does not belong into it.
    #[inline]
    pub(super) fn offer(
        &mut self,
        person: u32,
        similarity: f32,
        score: &impl Fn(u32) -> Option<f32>,
    ) {
        let full = self.people.len() == self.limit;
        if full && self.people.last().is_some_and(|worst| !before((person, similarity), *worst)) {
            return;
        }
        if self.scored.insert(person)
            && let Some(score) = score(person)
        {
            self.insert(person, score);
        }
    }

    /// Takes in the final score of a person who was never offered.
    pub(super) fn take(&mut self, person: u32, score: f32) {
        self.insert(person, score);
    }

    /// Can nobody with at most this score come into the list any more?
    pub(super) fn is_closed_to(&self, score: f32) -> bool {
        self.people.len() == self.limit && self.people.last().is_some_and(|worst| score < worst.1)
    }

    fn insert(&mut self, person: u32, score: f32) {
        let place = self.people.partition_point(|p| before(*p, (person, score)));
        if place < self.limit {
            self.people.truncate(self.limit - 1);
            self.people.insert(place, (person, score));
        }
    }
}

/// Does `a` come before `b` in a result?
fn before(a: (u32, f32), b: (u32, f32)) -> bool {
    a.1 > b.1 || (a.1 == b.1 && a.0 < b.0)
}

/// The highest of the similarities, and the mean of the highest three, or of all if they are
/// fewer; `None` if there are none.
pub(super) fn best_and_mean(similarities: impl Iterator<Item = f32>) -> Option<(f32, f32)> {
    let mut best = [f32::NEG_INFINITY; 3];
    let mut count = 0;
    for similarity in similarities {
        count += 1;
        let place = best.iter().position(|b| similarity > *b);
        if let Some(place) = place {
            best[place..].rotate_right(1);
            best[place] = similarity;
        }
    }
    let used = &best[..count.min(3)];
    // Rounding must not lift the mean above the best.
    let mean = used.iter().sum::<f32>() / used.len() as f32;
    (count > 0).then(|| (best[0], mean.min(best[0])))
}

/// The `count` highest of many similarities.
pub(super) struct Highest {
    count: usize,
    kept: Vec<(u32, f32)>,
    /// Nothing below this is among them.
    floor: f32,
}

impl Highest {
    /// `count` is at least 1.
    pub(super) fn new(count: usize) -> Self {
        Self { count, kept: Vec::with_capacity(2 * count), floor: f32::NEG_INFINITY }
    }

    /// Could something with this similarity be among them, by what is known so far?
    #[inline]
    pub(super) fn is_open_to(&self, similarity: f32) -> bool {
        similarity > self.floor
    }

    #[inline]
    pub(super) fn offer(&mut self, row: u32, similarity: f32) {
        if self.is_open_to(similarity) {
            self.kept.push((row, similarity));
            if self.kept.len() == 2 * self.count {
                self.keep_highest();
            }
        }
    }

    fn keep_highest(&mut self) {
        if self.kept.len() > self.count {
            let (_, last, _) =
                self.kept.select_nth_unstable_by(self.count - 1, |a, b| b.1.total_cmp(&a.1));
            self.floor = last.1;
            self.kept.truncate(self.count);
        }
    }

    /// Their rows, the highest first.
    pub(super) fn into_rows(mut self) -> impl Iterator<Item = u32> {
        self.keep_highest();
        self.kept.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
        self.kept.into_iter().map(|(row, _)| row)
    }
}

/// Scalar product of two rows of one length. Independent sums, so that the compiler may use vector
/// instructions without changing the order of a float addition; they are added up in pairs, for
/// one after the other would take as long as the products.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    let eight: [f32; 8] = std::array::from_fn(|i| sums[i] + sums[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3]) + rest
}
