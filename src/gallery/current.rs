//! The snapshot that searches use now, and the thread that builds its graph.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};

use super::index::Graph;
use super::search::Snapshot;

/// Lock order: `builder`, then `snapshot`, which is held for an exchange of pointers only.
pub(super) struct Current {
    snapshot: RwLock<Arc<Snapshot>>,
    builder: Mutex<Builder>,
}

#[derive(Default)]
struct Builder {
    thread: Option<JoinHandle<()>>,
    /// The thread looks once more for a graph that is wanted before it ends; false: it does not.
    looks: bool,
    /// What it is building.
    graph: Option<Arc<Graph>>,
    closed: bool,
}

impl Current {
    pub(super) fn new(snapshot: Snapshot) -> Arc<Self> {
        let first = Arc::new(snapshot.settled());
        let current = Arc::new(Self {
            snapshot: RwLock::new(first),
            builder: Mutex::new(Builder::default()),
        });
        current.build();
        current
    }

    pub(super) fn get(&self) -> Arc<Snapshot> {
        self.snapshot.read().clone()
    }

    /// Makes `next` the one that is searched.
    pub(super) fn publish(self: &Arc<Self>, next: Snapshot) {
        let next = Arc::new(next.settled());
        let old = std::mem::replace(&mut *self.snapshot.write(), next);
        // Nobody waits for the memory of the old one to be given back.
        drop(old);
        // The builder may have finished between the two: its own look came too early for this one.
        self.settle();
        self.build();
    }

    /// Lets searches use a graph that was built, and forgets the one before.
    fn settle(&self) {
        let old = {
            let mut snapshot = self.snapshot.write();
            let settled = Arc::new(Snapshot::clone(&snapshot).settled());
            std::mem::replace(&mut *snapshot, settled)
        };
        drop(old);
    }

    /// Starts the thread that builds the graphs that are wanted, unless it runs.
    fn build(self: &Arc<Self>) {
        let mut builder = self.builder.lock();
        let wanted = self.get();
        if let Some(graph) = builder.graph.as_ref().filter(|g| !wanted.has_graph(g)) {
            graph.cancel();
        }
        // A thread that panicked looks no more.
        let alive = builder.thread.as_ref().is_some_and(|t| !t.is_finished());
        if builder.closed || (builder.looks && alive) || wanted.wanted_graph().is_none() {
            return;
        }
        let current = self.clone();
        let thread = std::thread::Builder::new().name("face-index".into());
        // Without a thread searches are slower and as right; the next snapshot tries again.
        builder.thread = thread.spawn(move || current.build_wanted()).ok();
        builder.looks = builder.thread.is_some();
    }

    fn build_wanted(&self) {
        loop {
            let (graph, rows) = {
                let mut builder = self.builder.lock();
                let wanted = self.get().wanted_graph().filter(|_| !builder.closed);
                let Some((graph, rows)) = wanted else {
                    (builder.looks, builder.graph) = (false, None);
                    return;
                };
                builder.graph = Some(graph.clone());
                (graph, rows)
            };
            // Without a graph searches are slower and as right.
            let _ = graph.build(&rows);
            drop(rows);
            self.settle();
        }
    }

    /// Ends the thread, within the time of one added row: about a millisecond.
    pub(super) fn close(&self) {
        let thread = {
            let mut builder = self.builder.lock();
            builder.closed = true;
            builder.graph.iter().for_each(|g| g.cancel());
            builder.thread.take()
        };
        // One that panicked built nothing: searches stay exact.
        thread.into_iter().for_each(|t| drop(t.join()));
    }

    /// Waits until the thread has nothing to build.
    #[cfg(test)]
    pub(super) fn wait_for_graph(&self) {
        while let Some(thread) = { self.builder.lock().thread.take() } {
            thread.join().unwrap();
        }
    }
}
