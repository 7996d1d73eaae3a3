//! Optimal assignment of rows (tracks) to columns (detections) with a cost limit.
//!
//! Pairs that were not added cannot be assigned. The pairs fall into connected components, most of
//! them one row and one column, and each is solved alone by shortest augmenting paths with
//! potentials (Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse
//! linear assignment problems", Computing 38, 1987).

/// Components whose shorter side is above this are solved greedily instead: the exact solution
/// takes cubic time, and no real picture has that many boxes that overlap in one chain.
const MOST_EXACT: usize = 256;
/// "No row": the columns and rows of the solver count from 1.
const NONE: usize = 0;

#[derive(Clone, Copy, Debug)]
struct Edge {
    component: usize,
    row: usize,
    col: usize,
    cost: f64,
}

/// The solver; it keeps its buffers from call to call.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    edges: Vec<Edge>,
    /// Union-find over the rows, then the columns.
    parent: Vec<usize>,
    pairs: Vec<(usize, usize)>,
    component: Component,
}

/// One component as a dense matrix, the shorter side as its rows.
#[derive(Debug, Default)]
struct Component {
    rows: Vec<usize>,
    cols: Vec<usize>,
    /// cost − limit of the pairs, 0 for no pair; `rows.len()` × `cols.len()`.
    matrix: Vec<f64>,
    row_potential: Vec<f64>,
    col_potential: Vec<f64>,
    row_of_col: Vec<usize>,
    previous: Vec<usize>,
    distance: Vec<f64>,
    done: Vec<bool>,
}

impl Assignment {
    /// Memory that the larger buffers hold.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.edges.capacity() * size_of::<Edge>()
            + self.component.matrix.capacity() * size_of::<f64>()
            + (self.parent.capacity() + 2 * self.pairs.capacity()) * size_of::<usize>()
    }

    /// Forgets the pairs of the last call.
    pub(crate) fn clear(&mut self) {
        self.edges.clear();
        self.pairs.clear();
    }

    /// Allows `row` to be assigned to `col`, once per pair. A cost that is not finite is ignored.
    pub(crate) fn add(&mut self, row: usize, col: usize, cost: f64) {
        if cost.is_finite() {
            self.edges.push(Edge { component: 0, row, col, cost });
        }
    }

    /// The pairs (row, column) that make the sum of (cost − limit) least, each row and column at
    /// most once, none of a cost of `limit` or above. The same pairs added in the same order
    /// always give the same result.
    pub(crate) fn solve(&mut self, limit: f64) -> &[(usize, usize)] {
        self.pairs.clear();
        self.edges.retain(|e| e.cost < limit);
        self.label_components();
        let mut rest: &mut [Edge] = &mut self.edges;
        while let Some(first) = rest.first() {
            let component = first.component;
            let len = rest.partition_point(|e| e.component <= component);
            let (edges, tail) = rest.split_at_mut(len);
            rest = tail;
            match edges {
                [only] => self.pairs.push((only.row, only.col)),
                edges => self.component.solve(edges, limit, &mut self.pairs),
            }
        }
        &self.pairs
    }

    /// Gives the edges the number of their component and sorts them by it, then row and column.
    fn label_components(&mut self) {
        let rows = self.edges.iter().map(|e| e.row + 1).max().unwrap_or(0);
        let cols = self.edges.iter().map(|e| e.col + 1).max().unwrap_or(0);
        self.parent.clear();
        self.parent.extend(0..rows + cols);
        for edge in &self.edges {
            let a = root(&mut self.parent, edge.row);
            let b = root(&mut self.parent, rows + edge.col);
            // The smaller becomes the root: components are in the order of their first row.
            self.parent[a.max(b)] = a.min(b);
        }
        for edge in &mut self.edges {
            edge.component = root(&mut self.parent, edge.row);
        }
        self.edges.sort_unstable_by_key(|e| (e.component, e.row, e.col));
    }
}

fn root(parent: &mut [usize], mut node: usize) -> usize {
    while parent[node] != node {
        parent[node] = parent[parent[node]];
        node = parent[node];
    }
    node
}

impl Component {
    fn solve(&mut self, edges: &mut [Edge], limit: f64, pairs: &mut Vec<(usize, usize)>) {
        self.rows.clear();
        self.cols.clear();
        self.rows.extend(edges.iter().map(|e| e.row));
        self.rows.dedup(); // sorted already
        self.cols.extend(edges.iter().map(|e| e.col));
        self.cols.sort_unstable();
        self.cols.dedup();
        if self.rows.len().min(self.cols.len()) > MOST_EXACT {
            self.solve_greedily(edges, pairs);
            return;
        }
        let turned = self.rows.len() > self.cols.len();
        self.fill(edges, limit, turned);
        self.augment_all(self.rows.len(), self.cols.len());
        let (rows, cols) = (&self.rows, &self.cols);
        for (col, &row) in self.row_of_col.iter().enumerate().skip(1) {
            // Assigned at cost 0: no pair.
            if row == NONE || self.matrix[(row - 1) * cols.len() + col - 1] >= 0.0 {
                continue;
            }
            let (row, col) = (rows[row - 1], cols[col - 1]);
            pairs.push(if turned { (col, row) } else { (row, col) });
        }
    }

    /// Writes the matrix; when `turned`, rows and columns change their places.
    fn fill(&mut self, edges: &[Edge], limit: f64, turned: bool) {
        if turned {
            std::mem::swap(&mut self.rows, &mut self.cols);
        }
        self.matrix.clear();
        self.matrix.resize(self.rows.len() * self.cols.len(), 0.0);
        for edge in edges {
            let (row, col) = if turned { (edge.col, edge.row) } else { (edge.row, edge.col) };
            let row = self.rows.partition_point(|&r| r < row);
            let col = self.cols.partition_point(|&c| c < col);
            self.matrix[row * self.cols.len() + col] = edge.cost - limit;
        }
    }

    /// Assigns every row to a column (there are at least as many columns), least sum first. A row
    /// left at a cost of 0 stands for "unassigned", so this is also the best partial assignment.
    fn augment_all(&mut self, rows: usize, cols: usize) {
        reset(&mut self.row_potential, rows + 1, 0.0);
        reset(&mut self.col_potential, cols + 1, 0.0);
        reset(&mut self.row_of_col, cols + 1, NONE);
        reset(&mut self.previous, cols + 1, 0);
        for row in 1..=rows {
            reset(&mut self.distance, cols + 1, f64::INFINITY);
            reset(&mut self.done, cols + 1, false);
            let mut col = self.shortest_path(row, cols);
            while col != 0 {
                let before = self.previous[col];
                self.row_of_col[col] = self.row_of_col[before];
                col = before;
            }
        }
    }

    /// The free column at the end of the shortest alternating path from `row`; updates the
    /// potentials. Column 0 is the start.
    fn shortest_path(&mut self, row: usize, cols: usize) -> usize {
        self.row_of_col[0] = row;
        let mut col = 0;
        loop {
            self.done[col] = true;
            let row = self.row_of_col[col];
            let costs = &self.matrix[(row - 1) * cols..row * cols];
            let (mut least, mut nearest) = (f64::INFINITY, 0);
            for next in 1..=cols {
                if self.done[next] {
                    continue;
                }
                let reduced = costs[next - 1] - self.row_potential[row] - self.col_potential[next];
                if reduced < self.distance[next] {
                    self.distance[next] = reduced;
                    self.previous[next] = col;
                }
                if self.distance[next] < least {
                    least = self.distance[next];
                    nearest = next;
                }
            }
            for other in 0..=cols {
                if self.done[other] {
                    self.row_potential[self.row_of_col[other]] += least;
                    self.col_potential[other] -= least;
                } else {
                    self.distance[other] -= least;
                }
            }
            col = nearest;
            if self.row_of_col[col] == NONE {
                return col;
            }
        }
    }

    fn solve_greedily(&mut self, edges: &mut [Edge], pairs: &mut Vec<(usize, usize)>) {
        edges.sort_unstable_by(|a, b| {
            a.cost.total_cmp(&b.cost).then((a.row, a.col).cmp(&(b.row, b.col)))
        });
        // One flag per row, then one per column.
        reset(&mut self.done, self.rows.len() + self.cols.len(), false);
        for edge in edges {
            let row = self.rows.partition_point(|&r| r < edge.row);
            let col = self.rows.len() + self.cols.partition_point(|&c| c < edge.col);
            if !self.done[row] && !self.done[col] {
                self.done[row] = true;
                self.done[col] = true;
                pairs.push((edge.row, edge.col));
            }
        }
    }
}

fn reset<T: Clone>(buffer: &mut Vec<T>, len: usize, value: T) {
    buffer.clear();
    buffer.resize(len, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::simulation::Random;

    fn solve(edges: &[(usize, usize, f64)], limit: f64) -> Vec<(usize, usize)> {
        let mut assignment = Assignment::default();
        for &(row, col, cost) in edges {
            assignment.add(row, col, cost);
        }
        let mut pairs = assignment.solve(limit).to_vec();
        pairs.sort_unstable();
        pairs
    }

    /// Least sum of (cost − limit) over all partial assignments, by trying them.
    fn least(edges: &[(usize, usize, f64)], limit: f64, row: usize, used: u32) -> f64 {
        let Some(last) = edges.iter().map(|e| e.0).max() else { return 0.0 };
        if row > last {
            return 0.0;
        }
        let mut best = least(edges, limit, row + 1, used);
        for &(_, col, cost) in edges.iter().filter(|e| e.0 == row && used & (1 << e.1) == 0) {
            best = best.min(cost - limit + least(edges, limit, row + 1, used | 1 << col));
        }
        best
    }

    #[test]
    fn optimum_beats_the_nearest_first() {
        // Nearest first would take (0, 0) and leave 1 with 0.9.
        let edges = [(0, 0, 0.1), (0, 1, 0.2), (1, 0, 0.15), (1, 1, 0.9)];
        assert_eq!(solve(&edges, 1.0), [(0, 1), (1, 0)]);
    }

    #[test]
    fn nothing_at_or_above_the_limit_is_assigned() {
        assert_eq!(solve(&[(0, 0, 0.5), (1, 1, 0.49)], 0.5), [(1, 1)]);
        assert_eq!(solve(&[(0, 0, f64::NAN), (0, 1, f64::INFINITY)], 1.0), []);
        assert_eq!(solve(&[], 1.0), []);
    }

    #[test]
    fn more_rows_than_columns_and_the_reverse() {
        assert_eq!(solve(&[(0, 0, 0.3), (1, 0, 0.2), (2, 0, 0.4)], 1.0), [(1, 0)]);
        assert_eq!(solve(&[(7, 2, 0.3), (7, 9, 0.2), (7, 4, 0.4)], 1.0), [(7, 9)]);
    }

    #[test]
    fn random_problems_are_solved_as_well_as_by_trying_all() {
        let mut random = Random::new(7);
        let mut assignment = Assignment::default();
        for round in 0..400 {
            let (rows, cols) = (1 + random.below(6), 1 + random.below(6));
            let density = random.unit();
            let mut edges = Vec::new();
            for row in 0..rows {
                for col in 0..cols {
                    if random.unit() < density {
                        edges.push((row, col, f64::from(random.unit())));
                    }
                }
            }
            assignment.clear();
            for &(row, col, cost) in &edges {
                assignment.add(row, col, cost);
            }
            let limit = 0.8;
            let pairs = assignment.solve(limit);
            let mut seen = (0u32, 0u32);
            let mut sum = 0.0;
            for &(row, col) in pairs {
                assert!(seen.0 & (1 << row) == 0 && seen.1 & (1 << col) == 0, "used twice");
                seen = (seen.0 | 1 << row, seen.1 | 1 << col);
                let edge = edges.iter().find(|e| e.0 == row && e.1 == col);
                sum += edge.expect("only pairs that were added").2 - limit;
            }
            let best = least(&edges, limit, 0, 0);
            assert!((sum - best).abs() < 1e-9, "round {round}: {sum} instead of {best}");
        }
    }

    #[test]
    fn huge_components_are_assigned_once_each() {
        let n = MOST_EXACT + 10;
        let mut assignment = Assignment::default();
        for row in 0..n {
            for col in 0..n {
                assignment.add(row, col, if row == col { 0.1 } else { 0.5 });
            }
        }
        let mut pairs = assignment.solve(1.0).to_vec();
        pairs.sort_unstable();
        assert!(pairs.iter().enumerate().all(|(i, &p)| p == (i, i)) && pairs.len() == n);
    }

    #[test]
    fn buffers_are_kept_from_call_to_call() {
        let mut assignment = Assignment::default();
        let run = |assignment: &mut Assignment| {
            assignment.clear();
            for row in 0..20 {
                for col in 0..30 {
                    assignment.add(row, col, (row * 7 + col * 3) as f64 % 11.0);
                }
            }
            assignment.solve(9.0);
            (assignment.edges.capacity(), assignment.component.matrix.capacity())
        };
        let first = run(&mut assignment);
        for _ in 0..10 {
            assert_eq!(run(&mut assignment), first);
        }
    }
}
