//! A stream's end of a pool: sends its requests and waits for its answers.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::queue::{StreamId, Waiting};
use super::workers::{Job, Workers};
use super::{HandleStats, InferenceError, Request};

/// How many requests of one handle are with the pool at a time. More are sent in portions, so
/// that nobody's line grows without bound.
pub const LONGEST_LINE: usize = 64;

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Done,
    Failed(String),
    Late,
}

/// Times of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) waited: Duration,
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
}

impl Spent {
    /// What one of `count` requests that ran together has spent.
    pub(super) fn share(self, count: usize) -> Spent {
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        Spent { wall: self.wall / count, cpu: self.cpu / count, ..self }
    }
}

pub(super) struct Answer {
    pub(super) request: Request,
    pub(super) ticket: u64,
    pub(super) outcome: Outcome,
    pub(super) spent: Spent,
}

/// Where the workers put the answers of a handle.
#[derive(Default)]
pub(super) struct Mailbox {
    inbox: Mutex<Inbox>,
    complete: Condvar,
}

#[derive(Default)]
struct Inbox {
    answers: Vec<Answer>,
    /// Tickets whose answers the handle waits for, and how many of them are missing: it is woken
    /// once, by the last. Those of earlier tickets come too late and are dropped.
    wanted: Range<u64>,
    missing: usize,
    cancelled: bool,
}

impl Mailbox {
    pub(super) fn put(&self, answer: Answer) {
        let mut inbox = self.inbox.lock();
        if answer.ticket < inbox.wanted.start {
            return;
        }
        let wanted = inbox.wanted.contains(&answer.ticket);
        inbox.answers.push(answer);
        if wanted {
            inbox.missing = inbox.missing.saturating_sub(1);
            if inbox.missing == 0 {
                drop(inbox);
                self.complete.notify_one();
            }
        }
    }

    /// Waits for the answers of these tickets and moves those that came into `answers`.
    fn wait(
        &self,
        wanted: Range<u64>,
        deadline: Option<Instant>,
        answers: &mut Vec<Answer>,
    ) -> Waited {
        let mut inbox = self.inbox.lock();
        let here = inbox.answers.iter().filter(|answer| wanted.contains(&answer.ticket)).count();
        inbox.missing = (wanted.end - wanted.start) as usize - here;
        inbox.wanted = wanted.clone();
        while inbox.missing > 0 && !inbox.cancelled {
            let timed_out = match deadline {
                Some(deadline) => self.complete.wait_until(&mut inbox, deadline).timed_out(),
                None => {
                    self.complete.wait(&mut inbox);
                    false
                }
            };
            if timed_out {
                break;
            }
        }
        inbox.wanted = wanted.end..wanted.end;
        answers.extend(inbox.answers.extract_if(.., |answer| answer.ticket < wanted.end));
        match inbox.missing {
            // Also if the answers were quicker: who cancels wants none.
            _ if inbox.cancelled => Waited::Cancelled,
            0 => Waited::Complete,
            _ => Waited::TimedOut,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Waited {
    Complete,
    TimedOut,
    Cancelled,
}

/// Ends the waiting of a [`Handle`] from another thread.
#[derive(Clone)]
pub struct Canceller(Arc<Mailbox>);

impl Canceller {
    /// From now on the handle waits for nothing: [`InferenceError::Cancelled`].
    pub fn cancel(&self) {
        self.0.inbox.lock().cancelled = true;
        self.0.complete.notify_one();
    }

    /// The handle works again.
    pub fn resume(&self) {
        self.0.inbox.lock().cancelled = false;
    }
}

impl std::fmt::Debug for Canceller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Canceller")
    }
}

/// One stream's access to a pool. Handles are served in turns, request by request, and get their
/// answers in the order of their requests.
pub struct Handle {
    workers: Arc<Workers>,
    stream: StreamId,
    mailbox: Arc<Mailbox>,
    /// Tickets of the requests that are out.
    out: Range<u64>,
    /// Memory for the answers of one call.
    answers: Vec<Answer>,
    stats: HandleStats,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("model", &self.workers.model)
            .field("out", &self.out)
            .finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(workers: Arc<Workers>, stream: StreamId) -> Self {
        Self {
            workers,
            stream,
            mailbox: Arc::default(),
            out: 0..0,
            answers: Vec::new(),
            stats: HandleStats::default(),
        }
    }

    /// What became of this handle's requests so far.
    pub fn stats(&self) -> HandleStats {
        self.stats
    }

    pub fn canceller(&self) -> Canceller {
        Canceller(self.mailbox.clone())
    }

    /// Runs every request, spread over all workers, and waits for the last. Requests come back in
    /// their places with their outputs, also when one failed. Answers that were still out are
    /// given up.
    ///
    /// # Errors
    /// [`InferenceError::Run`] of the first request that failed; [`InferenceError::Deadline`] if
    /// the answers are not there in time, [`InferenceError::Cancelled`] if they are not waited for
    /// any more: what has not begun then comes back as it was, what runs is lost.
    pub fn run(
        &mut self,
        requests: &mut [Request],
        deadline: Option<Instant>,
    ) -> Result<(), InferenceError> {
        self.give_up();
        for portion in requests.chunks_mut(LONGEST_LINE) {
            self.send(portion.iter_mut().map(std::mem::take), deadline);
            let first = self.out.start;
            let outcome = self.collect(self.out.clone(), deadline);
            for answer in self.answers.drain(..) {
                portion[(answer.ticket - first) as usize] = answer.request;
            }
            outcome?;
        }
        Ok(())
    }

    /// Sends a request and does not wait: [`Handle::receive`] does.
    pub fn submit(&mut self, request: Request, deadline: Option<Instant>) {
        self.send(std::iter::once(request), deadline);
    }

    /// How many requests were submitted and not received.
    pub fn outstanding(&self) -> usize {
        (self.out.end - self.out.start) as usize
    }

    /// Waits for the oldest request that is out and puts it into `request`.
    ///
    /// # Errors
    /// As [`Handle::run`].
    pub fn receive(
        &mut self,
        request: &mut Request,
        deadline: Option<Instant>,
    ) -> Result<(), InferenceError> {
        if self.out.is_empty() {
            return Err(self.failed("no request is out"));
        }
        let outcome = self.collect(self.out.start..self.out.start + 1, deadline);
        if let Some(answer) = self.answers.pop() {
            *request = answer.request;
        }
        outcome
    }

    /// Gives up the answers that are out.
    pub fn give_up(&mut self) {
        if !self.out.is_empty() {
            // Whether they would have been good is of no interest.
            let _ = self.collect(self.out.clone(), Some(Instant::now()));
            self.answers.clear();
        }
    }

    fn failed(&self, reason: &str) -> InferenceError {
        InferenceError::Run { model: self.workers.model.clone(), reason: reason.to_owned() }
    }

    fn send(&mut self, requests: impl Iterator<Item = Request>, deadline: Option<Instant>) {
        let Self { stream, mailbox, out, .. } = self;
        let submitted = Instant::now();
        self.workers.submit(requests.map(|request| {
            let ticket = out.end;
            out.end += 1;
            let shape = request.input.dim().into();
            let job = Job { request, ticket, mailbox: mailbox.clone(), submitted };
            Waiting { stream: *stream, shape, deadline, item: job }
        }));
    }

    /// Waits for the answers of `tickets`, the oldest that are out, and leaves in `answers` what
    /// came back.
    fn collect(
        &mut self,
        tickets: Range<u64>,
        deadline: Option<Instant>,
    ) -> Result<(), InferenceError> {
        self.out.start = tickets.end;
        let waited = self.mailbox.wait(tickets.clone(), deadline, &mut self.answers);
        if waited != Waited::Complete {
            let answers = &mut self.answers;
            let stats = &mut self.stats;
            let ours = |job: &Job| tickets.contains(&job.ticket);
            self.workers.withdraw(self.stream, ours, |job| {
                let spent = Spent { waited: job.submitted.elapsed(), ..Spent::default() };
                let Job { request, ticket, .. } = job;
                answers.push(Answer { request, ticket, outcome: Outcome::Late, spent });
            });
            // What runs is not waited for.
            stats.late += tickets.end - tickets.start - answers.len() as u64;
        }
        self.count();
        match waited {
            Waited::Complete => self.verdict(),
            Waited::Cancelled => {
                Err(InferenceError::Cancelled { model: self.workers.model.clone() })
            }
            Waited::TimedOut => Err(self.late()),
        }
    }

    fn late(&self) -> InferenceError {
        InferenceError::Deadline { model: self.workers.model.clone() }
    }

    /// How the first request that did not succeed failed.
    fn verdict(&self) -> Result<(), InferenceError> {
        let bad = self.answers.iter().filter(|answer| answer.outcome != Outcome::Done);
        match bad.min_by_key(|answer| answer.ticket).map(|answer| &answer.outcome) {
            None | Some(Outcome::Done) => Ok(()),
            Some(Outcome::Failed(reason)) => Err(self.failed(reason)),
            Some(Outcome::Late) => Err(self.late()),
        }
    }

    fn count(&mut self) {
        let stats = &mut self.stats;
        for Answer { outcome, spent, .. } in &self.answers {
            match outcome {
                Outcome::Done => stats.done += 1,
                Outcome::Failed(_) => stats.failed += 1,
                Outcome::Late => stats.late += 1,
            }
            stats.waited += spent.waited;
            stats.wall += spent.wall;
            stats.cpu += spent.cpu;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.workers.close(self.stream);
    }
}
