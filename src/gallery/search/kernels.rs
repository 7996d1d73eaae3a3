//! Products of one vector with many, by the widest vector instructions that the processor has. The
//! order of all additions is the same whatever they are: every machine gets the same numbers.

use fearless_simd::{Level, dispatch};

use super::rank::dot;
use super::rows::Rows;

/// What 1 is as a value of [`Code`]. A product with a row of whole numbers up to 127 stays below
/// 2^31 for a million dimensions.
const ONE: f32 = 16384.0;

/// What floats lose where similarities of coded rows are computed, at most.
const ROUNDING: f32 = 1e-5;

/// A unit vector as whole numbers, to be multiplied with coded rows.
pub(super) struct Code {
    values: Vec<i16>,
    /// How far the code is from the vector, at most.
    error: f32,
}

impl Code {
    pub(super) fn new(values: &[f32]) -> Self {
        let error = (values.len() as f32).sqrt() / (2.0 * ONE);
        Self { values: values.iter().map(|v| (v * ONE).round() as i16).collect(), error }
    }

    /// How much nearer than its code says a row may be.
    #[inline(always)]
    pub(super) fn error(&self, scale: Scale) -> f32 {
        // The code of a row is longer than the row by its own error at most.
        self.error * (1.0 + scale.error) + scale.error + ROUNDING
    }
}

/// How a row of whole numbers is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Scale {
    /// What 1 of the row stands for.
    one: f32,
    /// How far the code is from the row.
    error: f32,
}

/// Appends the whole numbers, -127..=127, that are most like a row: a quarter of its memory, and
/// several times as many products at a time.
pub(super) fn encode(values: &[f32], codes: &mut Vec<i8>) -> Scale {
    let largest = values.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
    let one = largest / 127.0;
    let begin = codes.len();
    codes.extend(values.iter().map(|v| if one > 0.0 { (v / one).round() as i8 } else { 0 }));
    let wrong = codes[begin..].iter().zip(values).map(|(code, v)| f32::from(*code) * one - v);
    Scale { one, error: wrong.map(|w| w * w).sum::<f32>().sqrt() }
}

/// Similarities with all rows of a matrix, into `similarities`, of which there are as many.
pub(super) fn dots(query: &[f32], rows: &[f32], similarities: &mut [f32]) {
    dispatch!(Level::new(), _ => all_dots(query, rows, similarities));
}

#[inline(always)]
fn all_dots(query: &[f32], rows: &[f32], similarities: &mut [f32]) {
    for (row, similarity) in rows.chunks_exact(query.len()).zip(similarities) {
        *similarity = dot(query, row);
    }
}

/// Similarities with some rows, into `similarities`.
pub(super) fn dots_with(query: &[f32], matrix: &Rows, rows: &[u32], similarities: &mut Vec<f32>) {
    similarities.clear();
    dispatch!(Level::new(), _ => some_dots(query, matrix, rows, similarities));
}

#[inline(always)]
fn some_dots(query: &[f32], matrix: &Rows, rows: &[u32], similarities: &mut Vec<f32>) {
    similarities.extend(rows.iter().map(|row| dot(query, matrix.values(*row))));
}

/// About how near all coded rows of a matrix are, into `similarities`, of which there are as many.
pub(super) fn products(code: &Code, rows: &[i8], scales: &[Scale], similarities: &mut [f32]) {
    dispatch!(Level::new(), _ => all_products(code, rows, scales, similarities));
}

#[inline(always)]
fn all_products(code: &Code, rows: &[i8], scales: &[Scale], similarities: &mut [f32]) {
    let rows = rows.chunks_exact(code.values.len()).zip(scales);
    for ((row, scale), similarity) in rows.zip(similarities) {
        *similarity = product(code, row, *scale);
    }
}

/// How near some rows may be at most, by their codes; appended to `most`.
pub(super) fn most_with(code: &Code, matrix: &Rows, rows: &[(u32, u32)], most: &mut Vec<f32>) {
    dispatch!(Level::new(), _ => some_most(code, matrix, rows, most));
}

#[inline(always)]
fn some_most(code: &Code, matrix: &Rows, rows: &[(u32, u32)], most: &mut Vec<f32>) {
    most.extend(rows.iter().map(|(_, row)| {
        let (codes, scale) = matrix.codes(*row);
        product(code, codes, scale) + code.error(scale)
    }));
}

/// As plain as this the compiler takes the vector instruction that adds pairs of products, since
/// the order of whole numbers does not matter.
#[inline(always)]
fn product(code: &Code, row: &[i8], scale: Scale) -> f32 {
    let products = code.values.iter().zip(row).map(|(x, y)| i32::from(*x) * i32::from(*y));
    products.sum::<i32>() as f32 * (scale.one / ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in -1..1 that are the same in every run.
    fn noise(seed: u32, count: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn unit(mut values: Vec<f32>) -> Vec<f32> {
        let length = dot(&values, &values).sqrt();
        values.iter_mut().for_each(|v| *v /= length);
        values
    }

    #[test]
    fn every_instruction_set_gives_the_same_numbers_as_plain_code() {
        for dim in [1, 7, 16, 33, 128, 512] {
            let mut matrix = Rows::new(dim);
            let (mut codes, mut scales, mut values) = (Vec::new(), Vec::new(), Vec::new());
            for row in 0..20 {
                let unit = unit(noise(row, dim));
                matrix.push(i64::from(row), row, &unit);
                scales.push(encode(&unit, &mut codes));
                values.extend(unit);
            }
            let query = unit(noise(99, dim));
            let code = Code::new(&query);
            let exact: Vec<f32> = values.chunks(dim).map(|row| dot(&query, row)).collect();
            let mut found = [0.0; 20];
            dots(&query, &values, &mut found);
            assert_eq!(found[..], exact, "{dim} dimensions");
            let numbers: Vec<u32> = (0..20).collect();
            let mut found = Vec::new();
            dots_with(&query, &matrix, &numbers, &mut found);
            assert_eq!(found, exact, "{dim} dimensions");
            let mut plain = [0.0; 20];
            all_products(&code, &codes, &scales, &mut plain);
            let mut about = [0.0; 20];
            products(&code, &codes, &scales, &mut about);
            assert_eq!(about, plain, "{dim} dimensions");
        }
    }

    #[test]
    fn codes_are_wrong_by_no_more_than_they_say() {
        for dim in [1, 2, 7, 128, 512] {
            for seed in 0..50 {
                let (row, query) = (unit(noise(seed, dim)), unit(noise(seed + 100, dim)));
                let (code, mut codes) = (Code::new(&query), Vec::new());
                let scale = encode(&row, &mut codes);
                let wrong = product(&code, &codes, scale) - dot(&query, &row);
                let most = code.error(scale);
                assert!(wrong.abs() <= most && most < 0.02, "{dim} dimensions: {wrong}, {most}");
            }
        }
        let mut codes = Vec::new();
        assert_eq!(encode(&[0.0, 0.0], &mut codes), Scale::default());
        assert_eq!(codes, [0, 0]);
    }
}
