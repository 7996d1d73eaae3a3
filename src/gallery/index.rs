//! Candidate retrieval for large galleries: the only file that names `usearch`.
//!
//! A graph is built once, aside, and then only read: reserving room while another thread searches
//! is a segmentation fault, and so is a damaged graph file, therefore none is ever stored. Keys are
//! row numbers of the snapshot's representatives, which stay the same while the graph is in use.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::search::GraphRows;

/// Searches that may run at once in one graph; usearch has a fixed number of places and gives no
/// error where they run out. Others scan exactly meanwhile.
const MAX_SEARCHES: usize = 64;

/// How many rows the graph search keeps in view.
const EXPANSION_SEARCH: usize = 256;
const EXPANSION_ADD: usize = 128;
const CONNECTIVITY: usize = 16;

/// Half-precision numbers take half the memory; without the kernels they are ten times slower.
const SCALAR: ScalarKind =
    if cfg!(feature = "simd-kernels") { ScalarKind::F16 } else { ScalarKind::F32 };

/// Why a graph could not be built. Searches stay exact then.
#[derive(Debug, thiserror::Error)]
pub(super) enum GraphError {
    #[error("the build was cancelled")]
    Cancelled,
    #[error("usearch: {0}")]
    Native(String),
}

fn native(error: impl std::fmt::Display) -> GraphError {
    GraphError::Native(error.to_string())
}

/// A search graph over the first rows of a snapshot; shared by all snapshots with these rows.
pub(super) struct Graph {
    rows: usize,
    dead: usize,
    forgotten: u64,
    failed: AtomicBool,
    index: OnceLock<Index>,
    searches: AtomicUsize,
    cancelled: AtomicBool,
}

/// Gives the place of one search back, also when it failed.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Graph {
    /// A graph, still to be built, over the first `rows` rows, of which `dead` are gone; so many
    /// people were `forgotten` by then.
    pub(super) fn new(rows: usize, dead: usize, forgotten: u64) -> Self {
        Self {
            rows,
            dead,
            forgotten,
            failed: AtomicBool::new(false),
            index: OnceLock::new(),
            searches: AtomicUsize::new(0),
            cancelled: AtomicBool::new(false),
        }
    }

    /// Number of rows that the graph covers.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// How many of them were gone from the beginning.
    pub(super) fn dead(&self) -> usize {
        self.dead
    }

    /// The number of people who were forgotten before this graph, which knows nothing of them.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn is_built(&self) -> bool {
        self.index.get().is_some()
    }

    /// Could it not be built?
    pub(super) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Makes a running [`Graph::build`] return after the row it is at.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Builds the graph and publishes it. One thread only: the same rows then give the same graph,
    /// and streaming threads keep their cores.
    pub(super) fn build(&self, rows: &GraphRows) -> Result<(), GraphError> {
        let built = self.built(rows);
        self.failed.store(built.is_err(), Ordering::Relaxed);
        // A second builder of the same graph would have built the same: keep the first.
        built.map(|index| drop(self.index.set(index)))
    }

    fn built(&self, rows: &GraphRows) -> Result<Index, GraphError> {
        let index = Index::new(&IndexOptions {
            dimensions: rows.dim(),
            metric: MetricKind::IP,
            quantization: SCALAR,
            connectivity: CONNECTIVITY,
            expansion_add: EXPANSION_ADD,
            expansion_search: EXPANSION_SEARCH,
            multi: false,
        })
        .map_err(native)?;
        let capacity = self.rows - self.dead;
        index.reserve_capacity_and_threads(capacity, MAX_SEARCHES).map_err(native)?;
        for (row, values) in rows.iter().take_while(|(row, _)| (*row as usize) < self.rows) {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(GraphError::Cancelled);
            }
            index.add(u64::from(row), values).map_err(native)?;
        }
        Ok(index)
    }

    /// Rows near `query` and how near they are, at most `count`; `None` if the graph is not there
    /// (yet) or cannot take another search now.
    pub(super) fn candidates(&self, query: &[f32], count: usize) -> Option<Vec<(u32, f32)>> {
        let index = self.index.get()?;
        let _place = self.place()?;
        let found = index.search(query, count).ok()?;
        let near = found.keys.iter().zip(&found.distances);
        Some(near.filter_map(|(key, d)| Some((u32::try_from(*key).ok()?, 1.0 - d))).collect())
    }

    fn place(&self) -> Option<Place<'_>> {
        let running = self.searches.fetch_add(1, Ordering::Acquire);
        let place = Place(&self.searches);
        (running < MAX_SEARCHES).then_some(place)
    }

    /// Takes every place, as so many searches at once would.
    #[cfg(test)]
    pub(super) fn occupy_all(&self) -> Vec<impl Drop> {
        std::iter::from_fn(|| self.place()).collect()
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("rows", &self.rows).field("built", &self.is_built()).finish()
    }
}
