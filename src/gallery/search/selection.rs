//! Which samples of a person are compared: all, or of too many the most different ones.

use super::rank::dot;

/// The rows of a matrix that are compared, and whose they are.
pub(super) struct Selection {
    /// Is this row compared?
    compared: Vec<bool>,
    /// Where the rows of each person begin in `rows`; one more than there are people.
    starts: Vec<u32>,
    /// Compared rows, person after person.
    rows: Vec<u32>,
    /// People with at least one row.
    represented: usize,
}

impl Selection {
    /// Chooses at most `max` rows (0: all) of each of `people` people; `owners` are their places.
    /// What `previous` chose is kept for people who got no row since.
    pub(super) fn new(
        dim: usize,
        matrix: &[f32],
        owners: &[u32],
        people: usize,
        max: usize,
        previous: Option<&Selection>,
    ) -> Self {
        let (all_starts, all_rows) = by_person(owners, people, |_| true);
        let mut compared = vec![true; owners.len()];
        let known = previous.map_or(&[][..], |p| &p.compared);
        let mut represented = 0;
        for bounds in all_starts.windows(2) {
            let rows = &all_rows[bounds[0] as usize..bounds[1] as usize];
            represented += usize::from(!rows.is_empty());
            if max == 0 || rows.len() <= max {
                continue;
            }
            // Rows ascend: the last one tells whether there is a new one.
            if rows.last().is_some_and(|last| (*last as usize) < known.len()) {
                rows.iter().for_each(|r| compared[*r as usize] = known[*r as usize]);
                continue;
            }
            rows.iter().for_each(|r| compared[*r as usize] = false);
            for row in most_different(dim, matrix, rows, max) {
                compared[row as usize] = true;
            }
        }
        let (starts, rows) = by_person(owners, people, |row| compared[row]);
        Self { compared, starts, rows, represented }
    }

    pub(super) fn compared(&self) -> &[bool] {
        &self.compared
    }

    pub(super) fn represented(&self) -> usize {
        self.represented
    }

    /// The compared rows of the person at a place.
    pub(super) fn rows_of(&self, person: u32) -> &[u32] {
        let place = person as usize;
        &self.rows[self.starts[place] as usize..self.starts[place + 1] as usize]
    }
}

/// The rows that `wanted` takes, sorted by person and then by row, and where each person's begin.
fn by_person(
    owners: &[u32],
    people: usize,
    wanted: impl Fn(usize) -> bool,
) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; people + 1];
    let chosen = || owners.iter().enumerate().filter(|(row, _)| wanted(*row));
    chosen().for_each(|(_, owner)| starts[*owner as usize + 1] += 1);
    for place in 0..people {
        starts[place + 1] += starts[place];
    }
    let mut next = starts.clone();
    let mut rows = vec![0u32; starts[people] as usize];
    for (row, owner) in chosen() {
        let place = &mut next[*owner as usize];
        rows[*place as usize] = row as u32;
        *place += 1;
    }
    (starts, rows)
}

/// `count` of the rows by farthest-point selection (Gonzalez 1985): first the row nearest to the
/// mean, then ever the one that is least like all chosen before; the earlier of equal ones.
fn most_different(dim: usize, matrix: &[f32], rows: &[u32], count: usize) -> Vec<u32> {
    let values = |row: u32| &matrix[row as usize * dim..(row as usize + 1) * dim];
    let mut mean = vec![0.0f32; dim];
    for row in rows {
        mean.iter_mut().zip(values(*row)).for_each(|(sum, value)| *sum += value);
    }
    // The first maximum: `max_by` would give the last.
    let central = |best: usize, next: usize| {
        let similarity = |place: usize| dot(&mean, values(rows[place]));
        if similarity(next) > similarity(best) { next } else { best }
    };
    let mut chosen = (1..rows.len()).fold(0, central);
    let mut result = vec![rows[chosen]];
    // Similarity of each row with the most similar chosen one; the chosen ones are out.
    let mut nearest = vec![f32::NEG_INFINITY; rows.len()];
    while result.len() < count {
        nearest[chosen] = f32::INFINITY;
        for (place, row) in rows.iter().enumerate() {
            nearest[place] = nearest[place].max(dot(values(rows[chosen]), values(*row)));
        }
        let least =
            |best: usize, next: usize| if nearest[next] < nearest[best] { next } else { best };
        chosen = (1..rows.len()).fold(0, least);
        result.push(rows[chosen]);
    }
    result
}
