//! The vertical half of bilinear sampling: two source rows become one, a channel at a time.

use crate::frame::Plane;

/// Bits behind the binary point of a blended sample: with 6 of them 255 fits into 16 bits, and
/// what is cut off is less than what a byte can say.
pub(super) const FRACTION_BITS: u32 = 6;

/// Bits of a row's weight: the products with differences of 8 + 7 bits keep their upper half.
const WEIGHT_BITS: u32 = 15;

/// The two source rows of a target row, and the weight of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RowTap {
    first: u32,
    second: u32,
    weight: i16,
}

/// Where target sample `index` lies among `source` samples that are `per_target` of its own apart:
/// the sample before it and how far behind that it is, 0..1.
pub(super) fn position(index: usize, source: usize, per_target: f64) -> (usize, f64) {
    let last = source.saturating_sub(1) as f64;
    let position = ((index as f64 + 0.5) * per_target - 0.5).clamp(0.0, last);
    (position as usize, position.fract())
}

/// Fills `taps` for `target` rows of `source`, `per_target` apart.
pub(super) fn fill_taps(taps: &mut Vec<RowTap>, target: usize, source: usize, per_target: f64) {
    taps.clear();
    taps.extend((0..target).map(|index| {
        let (first, behind) = position(index, source, per_target);
        let one = f64::from(1u32 << WEIGHT_BITS);
        let weight = (behind * one).round().min(one - 1.0) as i16;
        // A row of no weight is not read.
        let second = if weight == 0 { first } else { (first + 1).min(source - 1) };
        RowTap { first: first as u32, second: second as u32, weight }
    }));
}

/// Blends two rows of pixels of STEP bytes into one row for each of their first N bytes. All rows
/// have the length of the picture.
///
/// As plain as this the compiler takes the instructions that multiply 16 bits by 16 and keep the
/// upper half.
#[inline(always)]
pub(super) fn blend<const STEP: usize, const N: usize>(
    plane: &Plane<'_>,
    tap: RowTap,
    rows: [&mut [i16]; N],
) {
    let width = rows.first().map_or(0, |row| row.len());
    let at = |y: u32| {
        let bytes = &plane.data[y as usize * plane.stride..][..width * STEP];
        bytes.as_chunks::<STEP>().0
    };
    let (first, second) = (&at(tap.first)[..width], &at(tap.second)[..width]);
    let rows = rows.map(|row| &mut row[..width]);
    for x in 0..width {
        for c in 0..N {
            rows[c][x] = mix(first[x][c], second[x][c], tap.weight);
        }
    }
}

#[inline(always)]
fn mix(a: u8, b: u8, weight: i16) -> i16 {
    let (a, b) = (i16::from(a), i16::from(b));
    let difference = (b - a) << (FRACTION_BITS + 1);
    (a << FRACTION_BITS) + ((i32::from(difference) * i32::from(weight)) >> 16) as i16
}
