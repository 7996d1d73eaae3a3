//! Which samples of a person are compared, and by which vectors the person is looked up.

use super::rank::dot;
use super::rows::Rows;

/// A sample that is less like the mean of its person than this gets a representative of its own.
/// Pictures of one face have cosines about .65, of which the mean of some lies at .8 from each: only
/// a picture of another kind (a profile, a mask, somebody else) is below.
const LIKE: f32 = 0.6;

/// `count` of the rows by farthest-point selection (Gonzalez 1985): first the row nearest to the
/// mean, then ever the one that is least like all chosen before; the earlier of equal ones.
/// Ascending.
pub(super) fn most_different(matrix: &Rows, rows: &[u32], count: usize) -> Vec<u32> {
    let Some(mean) = sum(matrix, rows) else { return Vec::new() };
    // The first maximum: `max_by` would give the last.
    let central = |best: usize, next: usize| {
        let similarity = |place: usize| dot(&mean, matrix.values(rows[place]));
        if similarity(next) > similarity(best) { next } else { best }
    };
    let mut chosen = (1..rows.len()).fold(0, central);
    let mut result = vec![rows[chosen]];
    // Similarity of each row with the most similar chosen one; the chosen ones are out.
    let mut nearest = vec![f32::NEG_INFINITY; rows.len()];
    while result.len() < count.min(rows.len()) {
        nearest[chosen] = f32::INFINITY;
        for (place, row) in rows.iter().enumerate() {
            let similarity = dot(matrix.values(rows[chosen]), matrix.values(*row));
            nearest[place] = nearest[place].max(similarity);
        }
        let least =
            |best: usize, next: usize| if nearest[next] < nearest[best] { next } else { best };
        chosen = (1..rows.len()).fold(0, least);
        result.push(rows[chosen]);
    }
    result.sort_unstable();
    result
}

/// Unit vectors, one of which is like each of the rows: mostly one, their mean.
pub(super) fn representatives(matrix: &Rows, rows: &[u32]) -> Vec<Vec<f32>> {
    let mut left = rows.to_vec();
    let mut result = Vec::new();
    while let Some(mut mean) = sum(matrix, &left) {
        let length = dot(&mean, &mean).sqrt();
        mean.iter_mut().for_each(|v| *v /= length);
        let before = left.len();
        left.retain(|row| {
            let similarity = dot(&mean, matrix.values(*row));
            // NaN: the rows cancel each other out.
            similarity.is_nan() || similarity < LIKE
        });
        if left.len() == before {
            mean = matrix.values(left.remove(0)).to_vec();
        }
        result.push(mean);
    }
    result
}

/// The sum of the rows; `None` without any.
fn sum(matrix: &Rows, rows: &[u32]) -> Option<Vec<f32>> {
    let (first, others) = rows.split_first()?;
    let mut sum = matrix.values(*first).to_vec();
    for row in others {
        sum.iter_mut().zip(matrix.values(*row)).for_each(|(sum, value)| *sum += value);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: &[[f32; 2]]) -> (Rows, Vec<u32>) {
        let mut matrix = Rows::new(2);
        let numbers = rows.iter().map(|r| matrix.push(0, 0, r)).collect();
        (matrix, numbers)
    }

    #[test]
    fn like_samples_share_a_representative_and_odd_ones_have_their_own() {
        let (m, rows) = matrix(&[[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0], [0.8, -0.6]]);
        let found = representatives(&m, &rows);
        assert_eq!(found, [vec![1.0, 0.0], vec![-1.0, 0.0]]);
        // Opposite ones have no mean.
        let (m, rows) = matrix(&[[0.0, 1.0], [0.0, -1.0]]);
        assert_eq!(representatives(&m, &rows), [vec![0.0, 1.0], vec![0.0, -1.0]]);
        assert!(representatives(&m, &[]).is_empty());
    }
}
