//! The horizontal half of bilinear sampling: which samples of a row the columns of the target lie
//! between, and fetching them side by side, so that all columns are then computed alike.

use fearless_simd::{Level, Simd, i16x8, prelude::*, u8x16};

use super::rows::{FRACTION_BITS, position};

/// Bits of a column's weights: their sum fits into 16 bits.
const WEIGHT_BITS: u32 = 14;

/// What a weighted sum is multiplied by to be a sample again.
const UNIT: f32 = 1.0 / (1u32 << (FRACTION_BITS + WEIGHT_BITS)) as f32;

/// Samples that a vector instruction reads at once, and so many a row has behind its end.
pub(super) const WINDOW: usize = 8;

/// Columns are fetched in groups of 4, 2 or 1.
const LARGEST_GROUP: usize = 4;

/// The samples before and behind a column, or their weights.
pub(super) type Pair = [i16; 2];

/// The columns of a target row in a source row.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// Columns per group: as many as lie within a window.
    group: usize,
    /// Where the window of each group begins.
    starts: Vec<u32>,
    /// For each group, which bytes of its window make up the pairs.
    shuffles: Vec<[u8; 16]>,
    weights: Vec<Pair>,
}

impl Columns {
    /// For `target` columns of `source`, `per_target` apart, to be fetched by `level`.
    pub(super) fn fill(&mut self, level: Level, target: usize, source: usize, per_target: f64) {
        let first = |index: usize| {
            let (first, behind) = position(index.min(target - 1), source, per_target);
            // The last sample alone is the second of a pair.
            if first + 1 == source && first > 0 { (first - 1, 1.0) } else { (first, behind) }
        };
        self.weights.clear();
        self.weights.extend((0..target).map(|index| {
            let one = 1i16 << WEIGHT_BITS;
            let second = (first(index).1 * f64::from(one)).round() as i16;
            [one - second, second]
        }));
        let padded = target.next_multiple_of(LARGEST_GROUP);
        let fits = |group: &usize| {
            let groups = (0..padded).step_by(*group);
            groups.clone().all(|begin| first(begin + group - 1).0 + 2 - first(begin).0 <= WINDOW)
        };
        let group = [LARGEST_GROUP, 2].into_iter().find(fits);
        self.group = group.filter(|_| shuffles_bytes(level)).unwrap_or(1);
        self.starts.clear();
        self.shuffles.clear();
        for begin in (0..padded).step_by(self.group) {
            let start = first(begin).0;
            self.starts.push(start as u32);
            self.shuffles.push(std::array::from_fn(|byte| {
                let column = (byte / 4).min(self.group - 1);
                (2 * (first(begin + column).0 - start) + byte % 4) as u8
            }));
        }
    }

    /// Fetches the pairs of all columns from N rows alike, which go on for [`WINDOW`] samples
    /// behind their end. `pairs` are resized to fit.
    #[inline(always)]
    pub(super) fn fetch<S: Simd, const N: usize>(
        &self,
        simd: S,
        rows: [&[i16]; N],
        pairs: [&mut Vec<Pair>; N],
    ) {
        let padded = self.weights.len().next_multiple_of(LARGEST_GROUP);
        let pairs = pairs.map(|pairs| {
            pairs.resize(padded, [0; 2]);
            pairs.as_flattened_mut()
        });
        match self.group {
            4 => self.shuffle::<S, 8, N>(simd, rows, pairs),
            2 => self.shuffle::<S, 4, N>(simd, rows, pairs),
            _ => self.copy(rows, pairs),
        }
    }

    /// Fetches groups of L / 2 columns.
    #[inline(always)]
    fn shuffle<S: Simd, const L: usize, const N: usize>(
        &self,
        simd: S,
        rows: [&[i16]; N],
        pairs: [&mut [i16]; N],
    ) {
        let groups = self.starts.len();
        let pairs = pairs.map(|pairs| &mut pairs.as_chunks_mut::<L>().0[..groups]);
        let shuffles = &self.shuffles[..groups];
        for (group, start) in self.starts.iter().enumerate() {
            let start = *start as usize;
            let shuffle = u8x16::load_array_ref(simd, &shuffles[group]);
            for c in 0..N {
                let window = rows[c].get(start..start + WINDOW).and_then(<[i16]>::first_chunk);
                let Some(window) = window else { continue };
                let found = i16x8::load_array_ref(simd, window);
                let found: [i16; WINDOW] = found.swizzle_dyn(shuffle).into();
                pairs[c][group].copy_from_slice(&found[..L]);
            }
        }
    }

    /// Fetches columns one by one, where they lie further apart than shuffling reaches, and on
    /// processors that do not shuffle.
    #[inline(always)]
    fn copy<const N: usize>(&self, rows: [&[i16]; N], pairs: [&mut [i16]; N]) {
        for (row, pairs) in rows.into_iter().zip(pairs) {
            for (pair, start) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(&self.starts) {
                let start = *start as usize;
                if let Some(found) = row.get(start..start + 2).and_then(<[i16]>::first_chunk) {
                    *pair = *found;
                }
            }
        }
    }

    /// The weights of all columns.
    pub(super) fn weights(&self) -> &[Pair] {
        &self.weights
    }
}

/// Is there an instruction for it? Without one, byte by byte, it would take several times as long as
/// copying.
fn shuffles_bytes(level: Level) -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return level.as_sse4_2().is_some();
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    return !level.is_fallback();
}

/// The sample, 0..=255, at a column.
#[inline(always)]
pub(super) fn sample(pair: Pair, weights: Pair) -> f32 {
    let sum =
        i32::from(pair[0]) * i32::from(weights[0]) + i32::from(pair[1]) * i32::from(weights[1]);
    sum as f32 * UNIT
}
