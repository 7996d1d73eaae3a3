//! Taking over what became different in the store: at a cost that depends on the changes, not on
//! the gallery.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::rows::{NOBODY, Rows};
use super::{Limits, People, Snapshot, selection};
use crate::gallery::changes::{Changes, StoredRow};
use crate::gallery::index::Graph;

/// So many empty rows are never worth while to be removed.
const MIN_DEAD: usize = 4096;

/// The least number of changed representatives that a new graph is built for. Scanning so many
/// takes about 30 µs, a quarter of a search in the graph; a build takes the time of ten thousands
/// of searches.
const MIN_CHANGED: usize = 2048;

/// Of a large graph this part: the scan of the changed ones then takes as long as the rest.
const CHANGED_PART: usize = 32;

impl Snapshot {
    /// A gallery with nobody in it.
    pub(in crate::gallery) fn empty(dim: usize, limits: Limits) -> Self {
        Self {
            generation: 0,
            dim,
            limits,
            people: People::default(),
            rows: Rows::new(dim),
            negatives: Arc::default(),
            representatives: Rows::new(dim),
            represented: 0,
            forgotten: 0,
            graph: None,
            next_graph: None,
            loaded: true,
        }
    }

    /// A gallery as it was read.
    #[cfg(test)]
    pub(in crate::gallery) fn new(dim: usize, limits: Limits, changes: Changes) -> Self {
        Self::empty(dim, limits).apply(changes)
    }

    /// The same with changes. Copies the pieces in which something changes.
    #[cfg(test)]
    pub(in crate::gallery) fn apply(&self, changes: Changes) -> Self {
        let mut next = self.clone();
        next.take(changes);
        next.settled()
    }

    /// Takes changes over, or a part of them; after the last part [`Snapshot::settled`] is due.
    /// Each change is as the store has it at the end, so that changes taken twice do no harm.
    pub(in crate::gallery) fn take(&mut self, changes: Changes) {
        if changes.whole {
            *self = Self::empty(self.dim, self.limits);
        }
        self.generation = changes.generation;
        let mut touched = BTreeSet::new();
        changes.people.into_iter().for_each(|known| self.people.put(known));
        // Before people go: their samples may have gone to others.
        for sample in changes.samples {
            self.put_sample(sample, &mut touched);
        }
        for id in changes.removed_samples {
            self.remove_sample(id, &mut touched);
        }
        for seq in changes.removed_people {
            if let Some(place) = self.people.find(seq) {
                self.remove_person(place);
                touched.remove(&place);
            }
        }
        touched.into_iter().for_each(|place| self.choose(place));
        if wasteful(&self.rows) || wasteful(&self.representatives) {
            *self = self.compacted();
        }
    }

    fn put_sample(&mut self, sample: StoredRow, touched: &mut BTreeSet<u32>) {
        // The store checks both, and one bad sample must not hide all others.
        let Some(place) = self.people.find(sample.person) else { return };
        if sample.embedding.dim() != self.dim {
            return;
        }
        if !sample.negative
            && let Some(row) = self.rows.find(sample.id)
            && self.rows.values(row) == sample.embedding.as_slice()
        {
            let owner = self.rows.tag(row).owner;
            if owner != place {
                self.disown(owner, row);
                self.own(place, row);
                self.rows.give_to(row, place);
                touched.extend([owner, place]);
            }
            return;
        }
        self.remove_sample(sample.id, touched);
        if sample.negative {
            Arc::make_mut(&mut self.negatives).insert(sample.id, place);
            let own = Arc::make_mut(&mut self.people.entry_mut(place).negatives);
            own.push((sample.id, sample.embedding));
        } else {
            let row = self.rows.push(sample.id, place, sample.embedding.as_slice());
            self.own(place, row);
            touched.insert(place);
        }
    }

    fn own(&mut self, place: u32, row: u32) {
        let own = Arc::make_mut(&mut self.people.entry_mut(place).rows);
        if let Err(at) = own.binary_search(&row) {
            own.insert(at, row);
        }
    }

    fn disown(&mut self, place: u32, row: u32) {
        let own = Arc::make_mut(&mut self.people.entry_mut(place).rows);
        if let Ok(at) = own.binary_search(&row) {
            own.remove(at);
        }
    }

    fn remove_sample(&mut self, id: i64, touched: &mut BTreeSet<u32>) {
        if let Some(row) = self.rows.find(id) {
            let owner = self.rows.tag(row).owner;
            self.disown(owner, row);
            self.rows.erase(row);
            touched.insert(owner);
        } else if let Some(place) = self.negatives.get(&id).copied() {
            Arc::make_mut(&mut self.negatives).remove(&id);
            let own = Arc::make_mut(&mut self.people.entry_mut(place).negatives);
            own.retain(|(other, _)| *other != id);
        }
    }

    fn remove_person(&mut self, place: u32) {
        let entry = self.people.take(place);
        entry.rows.iter().for_each(|row| self.rows.erase(*row));
        entry.representatives.iter().for_each(|row| self.representatives.erase(*row));
        self.represented -= usize::from(!entry.representatives.is_empty());
        self.forgotten += u64::from(!entry.representatives.is_empty());
        if !entry.negatives.is_empty() {
            let all = Arc::make_mut(&mut self.negatives);
            entry.negatives.iter().for_each(|(id, _)| {
                all.remove(id);
            });
        }
    }

    /// Chooses anew which samples of a person are compared and what the person is looked up by.
    fn choose(&mut self, place: u32) {
        let rows = self.people.entry(place).rows.clone();
        let max = self.limits.max_samples;
        let compared = if max == 0 || rows.len() <= max {
            rows.clone()
        } else {
            Arc::new(selection::most_different(&self.rows, &rows, max))
        };
        for row in rows.iter() {
            self.rows.compare(*row, compared.binary_search(row).is_ok());
        }
        let vectors = selection::representatives(&self.rows, &compared);
        let add = |vector: &Vec<f32>| self.representatives.push(0, place, vector);
        let new: Vec<u32> = vectors.iter().map(add).collect();
        let represented = !new.is_empty();
        let entry = self.people.entry_mut(place);
        entry.compared = compared;
        let old = std::mem::replace(&mut entry.representatives, Arc::new(new));
        old.iter().for_each(|row| self.representatives.erase(*row));
        self.represented += usize::from(represented);
        self.represented -= usize::from(!old.is_empty());
    }

    /// The same without empty rows and places; all are numbered anew. So rare that on average it
    /// adds to the cost of a change only what the change itself costs.
    fn compacted(&self) -> Self {
        let mut next = Self::empty(self.dim, self.limits);
        next.generation = self.generation;
        let mut places = vec![NOBODY; self.people.places()];
        for (old, known) in self.people.by_place() {
            let place = next.people.places() as u32;
            places[old] = place;
            next.people.put(known.clone());
            next.people.entry_mut(place).negatives =
                self.people.entry(old as u32).negatives.clone();
        }
        let placed = |place: &u32| places[*place as usize];
        next.negatives = Arc::new(self.negatives.iter().map(|(i, p)| (*i, placed(p))).collect());
        for (_, tag, values) in self.rows.iter() {
            let place = placed(&tag.owner);
            let row = next.rows.push(tag.id, place, values);
            next.own(place, row);
        }
        (0..next.people.places() as u32).for_each(|place| next.choose(place));
        next
    }

    /// The same with the newest graph that is built, and a plan for the next if one is due.
    pub(in crate::gallery) fn settled(mut self) -> Self {
        if self.representatives.living() < self.limits.graph_from {
            (self.graph, self.next_graph) = (None, None);
            return self;
        }
        if let Some(built) = self.next_graph.take_if(|next| next.is_built()) {
            self.graph = Some(built);
        }
        let due = match (&self.next_graph, &self.graph) {
            // One that could not be built would not be either with the same rows.
            (Some(next), _) => next.is_failed() && self.is_outdated(next),
            (None, None) => true,
            // The vectors of who was removed must leave the memory.
            (None, Some(graph)) => graph.forgotten() < self.forgotten || self.is_outdated(graph),
        };
        if due {
            let (rows, dead) = (self.representatives.len(), self.representatives.dead());
            self.next_graph = Some(Arc::new(Graph::new(rows, dead, self.forgotten)));
        }
        self
    }

    /// Is the part of the representatives that the graph does not know, or knows in vain, large?
    fn is_outdated(&self, graph: &Graph) -> bool {
        let new = self.representatives.len() - graph.rows();
        let gone = self.representatives.dead() - graph.dead();
        new.max(gone) > MIN_CHANGED.min(self.limits.graph_from).max(graph.rows() / CHANGED_PART)
    }

    /// The graph that is to be built and from what; `None` if none is waited for.
    pub(in crate::gallery) fn wanted_graph(&self) -> Option<(Arc<Graph>, GraphRows)> {
        let next = self.next_graph.as_ref().filter(|g| !g.is_built() && !g.is_failed())?;
        Some((next.clone(), GraphRows(self.representatives.clone())))
    }

    /// Is this a graph that searches use or wait for?
    pub(in crate::gallery) fn has_graph(&self, graph: &Arc<Graph>) -> bool {
        [&self.graph, &self.next_graph].into_iter().flatten().any(|g| Arc::ptr_eq(g, graph))
    }

    #[cfg(test)]
    pub(in crate::gallery) fn graph(&self) -> Option<&Arc<Graph>> {
        self.graph.as_ref()
    }
}

/// The vectors of a graph, apart from the snapshot: while a graph is built, nothing else of an
/// outdated snapshot stays in memory.
pub(in crate::gallery) struct GraphRows(Rows);

impl GraphRows {
    /// The rows to add, with their numbers.
    pub(in crate::gallery) fn iter(&self) -> impl Iterator<Item = (u32, &[f32])> {
        self.0.iter().map(|(row, _, values)| (row, values))
    }

    pub(in crate::gallery) fn dim(&self) -> usize {
        self.0.dim()
    }
}

fn wasteful(rows: &Rows) -> bool {
    rows.dead() > rows.living().max(MIN_DEAD)
}
