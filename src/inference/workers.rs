//! The threads of a pool: they take requests from the queue, run them, and put the answers into
//! the mailboxes. What a run is they are told by a closure, and know nothing of ONNX Runtime.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::handle::{Answer, Handle, Mailbox, Outcome, Spent};
use super::queue::{Queue, StreamId, Waiting};
use super::{InferenceError, PoolStats, Request};

/// Runs requests of one shape as one batch and fills their outputs; returns the processor time
/// that the model took, or how it failed.
pub(super) type Runner = Box<dyn FnMut(&mut [Request]) -> Result<Duration, String> + Send>;

/// How many requests run together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batching {
    /// 1: each alone.
    pub(super) most: usize,
    /// How long a batch that is not full waits for the requests of other streams.
    pub(super) gather: Duration,
}

impl Batching {
    pub(super) const NONE: Batching = Batching { most: 1, gather: Duration::ZERO };
}

/// A request on its way.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) ticket: u64,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) submitted: Instant,
}

impl Job {
    fn answer(self, outcome: Outcome, spent: Spent) {
        let Job { request, ticket, mailbox, .. } = self;
        mailbox.put(Answer { request, ticket, outcome, spent });
    }
}

/// Joined when dropped.
pub(super) struct Workers {
    /// The model's id, for errors.
    pub(super) model: String,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads and the handles share. Its lock is never held together with a mailbox's.
struct Shared {
    state: Mutex<State>,
    /// There are new requests, or the end.
    news: Condvar,
    batching: Batching,
    counters: Counters,
}

#[derive(Default)]
struct State {
    queue: Queue<Job>,
    closed: bool,
}

#[derive(Default)]
struct Counters {
    running: AtomicU64,
    runs: AtomicU64,
    requests: AtomicU64,
    wall_ns: AtomicU64,
    cpu_ns: AtomicU64,
}

impl Workers {
    /// Starts a thread per runner.
    pub(super) fn start(
        model: &str,
        runners: Vec<Runner>,
        batching: Batching,
    ) -> Result<Workers, InferenceError> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            news: Condvar::new(),
            batching,
            counters: Counters::default(),
        });
        let threads = Vec::with_capacity(runners.len());
        let mut workers = Workers { model: model.to_owned(), shared, threads };
        for (i, runner) in runners.into_iter().enumerate() {
            let shared = workers.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("face-infer-{i}"))
                .spawn(move || Worker { shared: &shared, runner, requests: Vec::new() }.work())
                .map_err(InferenceError::Thread)?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    /// A new stream of requests.
    pub(super) fn handle(self: &Arc<Self>) -> Handle {
        let stream = self.shared.state.lock().queue.open();
        Handle::new(self.clone(), stream)
    }

    pub(super) fn close(&self, stream: StreamId) {
        self.shared.state.lock().queue.close(stream);
    }

    /// Puts requests into the queue, in their order.
    pub(super) fn submit(&self, waiting: impl Iterator<Item = Waiting<Job>>) {
        let mut count = 0;
        let mut state = self.shared.state.lock();
        for waiting in waiting {
            state.queue.push(waiting);
            count += 1;
        }
        drop(state);
        for _ in 0..count.min(self.threads.len()) {
            self.shared.news.notify_one();
        }
    }

    /// Takes back the requests of a stream that have not begun.
    pub(super) fn withdraw(
        &self,
        stream: StreamId,
        which: impl Fn(&Job) -> bool,
        take: impl FnMut(Job),
    ) {
        self.shared.state.lock().queue.withdraw(stream, which, take);
    }

    pub(super) fn stats(&self) -> PoolStats {
        let queued = self.shared.state.lock().queue.len();
        let counters = &self.shared.counters;
        PoolStats {
            queued,
            running: counters.running.load(Relaxed),
            runs: counters.runs.load(Relaxed),
            requests: counters.requests.load(Relaxed),
            wall: Duration::from_nanos(counters.wall_ns.load(Relaxed)),
            cpu: Duration::from_nanos(counters.cpu_ns.load(Relaxed)),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.news.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Waits for requests; false at the end.
    fn next(&self, batch: &mut Vec<Waiting<Job>>, late: &mut Vec<Waiting<Job>>) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return false;
            }
            state.queue.take(self.batching.most, Instant::now(), batch, late);
            if !batch.is_empty() || !late.is_empty() {
                self.gather(state, batch, late);
                return true;
            }
            self.news.wait(&mut state);
        }
    }

    /// Waits a moment for other streams to fill the batch.
    fn gather(
        &self,
        mut state: MutexGuard<'_, State>,
        batch: &mut Vec<Waiting<Job>>,
        late: &mut Vec<Waiting<Job>>,
    ) {
        let until = Instant::now() + self.batching.gather;
        while late.is_empty()
            && batch.len() < self.batching.most
            && !state.closed
            && state.queue.more_may_come(batch)
        {
            if self.news.wait_until(&mut state, until).timed_out() {
                return;
            }
            state.queue.take(self.batching.most, Instant::now(), batch, late);
        }
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    runner: Runner,
    /// The requests of the batch at hand; empty between batches.
    requests: Vec<Request>,
}

impl Worker<'_> {
    fn work(mut self) {
        let (mut batch, mut late) = (Vec::new(), Vec::new());
        while self.shared.next(&mut batch, &mut late) {
            for Waiting { item, .. } in late.drain(..) {
                let spent = Spent { waited: item.submitted.elapsed(), ..Spent::default() };
                item.answer(Outcome::Late, spent);
            }
            if !batch.is_empty() {
                self.serve(&mut batch);
            }
        }
    }

    /// Runs the batch. If that fails, each of its requests alone, so that a bad one costs the
    /// others nothing but time.
    fn serve(&mut self, batch: &mut Vec<Waiting<Job>>) {
        let begun = Instant::now();
        let count = batch.len();
        let counters = &self.shared.counters;
        counters.running.fetch_add(count as u64, Relaxed);
        self.requests.extend(batch.iter_mut().map(|w| std::mem::take(&mut w.item.request)));
        let (outcome, spent) = self.run(0..count);
        let good = count == 1 || outcome == Outcome::Done;
        let together = good.then(|| (outcome, spent.share(count)));
        for (i, Waiting { mut item, .. }) in batch.drain(..).enumerate() {
            let (outcome, spent) = match &together {
                Some(together) => together.clone(),
                None => self.run(i..i + 1),
            };
            counters.running.fetch_sub(1, Relaxed);
            counters.requests.fetch_add(1, Relaxed);
            item.request = std::mem::take(&mut self.requests[i]);
            let waited = begun.saturating_duration_since(item.submitted);
            item.answer(outcome, Spent { waited, ..spent });
        }
        self.requests.clear();
    }

    fn run(&mut self, range: Range<usize>) -> (Outcome, Spent) {
        let begun = Instant::now();
        let requests = &mut self.requests[range];
        // A panic in here must cost one request, not the host process.
        let result = catch_unwind(AssertUnwindSafe(|| (self.runner)(requests)))
            .unwrap_or_else(|_| Err("the inference thread panicked".to_owned()));
        let wall = begun.elapsed();
        let (outcome, cpu) = match result {
            Ok(cpu) => (Outcome::Done, cpu),
            Err(reason) => (Outcome::Failed(reason), Duration::ZERO),
        };
        let counters = &self.shared.counters;
        counters.runs.fetch_add(1, Relaxed);
        counters.wall_ns.fetch_add(nanoseconds(wall), Relaxed);
        counters.cpu_ns.fetch_add(nanoseconds(cpu), Relaxed);
        (outcome, Spent { waited: Duration::ZERO, wall, cpu })
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
