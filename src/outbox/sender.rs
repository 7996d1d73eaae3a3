//! Sending in the background.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Builder;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender as Channel, bounded};
use parking_lot::{Condvar, Mutex};

use super::courier::{Courier, Step};
use super::store::REFRESH;
use super::{Callback, Inner, Lane, Notice, OutboxError};

/// How often one who waits for another process's sender to end looks again.
const LOCK_POLL: Duration = Duration::from_secs(1);
/// After something that should not happen.
const LONG_PAUSE: Duration = Duration::from_secs(10);
/// How long the end of the threads is waited for. A request to a storage that hangs ends by itself
/// later; nothing of it is lost.
const END: Duration = Duration::from_secs(5);

/// The threads of an outbox.
#[derive(Default)]
pub(super) struct Post {
    running: Mutex<Option<Running>>,
    rounds: Mutex<u64>,
    woken: Condvar,
}

struct Running {
    users: usize,
    stop: Arc<AtomicBool>,
    /// Closed when both threads have ended.
    ended: Receiver<()>,
}

impl Post {
    /// There may be something to send.
    pub(super) fn wake(&self) {
        *self.rounds.lock() += 1;
        self.woken.notify_all();
    }

    /// Waits for [`Post::wake`] since `seen`, at most so long.
    fn wait(&self, seen: &mut u64, limit: Duration) {
        let mut rounds = self.rounds.lock();
        if *rounds == *seen {
            self.woken.wait_for(&mut rounds, limit);
        }
        *seen = *rounds;
    }
}

/// Sends in the background for as long as it lives. Dropping the last one of a spool stops the
/// threads, within 5 s; what was being sent is sent again later.
#[derive(Debug)]
pub struct Sender {
    inner: Arc<Inner>,
    callback: u64,
}

impl Sender {
    pub(super) fn start(inner: &Arc<Inner>, callback: Callback) -> Result<Self, OutboxError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        inner.callbacks.lock().push((number, callback));
        // From here on drop() takes it back.
        let mut running = inner.post.running.lock();
        match running.as_mut() {
            Some(running) => running.users += 1,
            None => match Running::spawn(inner) {
                Ok(threads) => *running = Some(threads),
                Err(error) => {
                    inner.callbacks.lock().retain(|(other, _)| *other != number);
                    return Err(error);
                }
            },
        }
        drop(running);
        Ok(Self { inner: inner.clone(), callback: number })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let post = &self.inner.post;
        let mut running = post.running.lock();
        let last = running.as_mut().is_none_or(|running| {
            running.users -= 1;
            running.users == 0
        });
        let threads = if last { running.take() } else { None };
        drop(running);
        if let Some(threads) = threads {
            threads.stop.store(true, Ordering::SeqCst);
            post.wake();
            // Nothing is ever sent: it is closed, or takes too long.
            let _ = threads.ended.recv_timeout(END);
        }
        self.inner.callbacks.lock().retain(|(number, _)| *number != self.callback);
    }
}

impl Running {
    fn spawn(inner: &Arc<Inner>) -> Result<Self, OutboxError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (alive, ended) = bounded(0);
        let shared = Arc::new(Shared::default());
        for (lane, name) in
            [(Lane::Messages, "face-outbox-msg"), (Lane::Objects, "face-outbox-obj")]
        {
            let worker = Worker {
                inner: inner.clone(),
                shared: shared.clone(),
                stop: stop.clone(),
                lane,
                _alive: alive.clone(),
            };
            let spawned = Builder::new().name(name.to_owned()).spawn(move || worker.run());
            if let Err(error) = spawned {
                stop.store(true, Ordering::SeqCst);
                inner.post.wake();
                return Err(OutboxError::Thread(error));
            }
        }
        Ok(Self { users: 1, stop, ended })
    }
}

/// What the two threads share: the right to send, and what the wait for it was told to be.
#[derive(Default)]
struct Shared {
    courier: Mutex<Option<Arc<Courier>>>,
    told: Mutex<Option<String>>,
}

struct Worker {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    lane: Lane,
    _alive: Channel<()>,
}

impl Worker {
    fn run(self) {
        let mut seen = 0;
        while !self.stopped() {
            let pause = match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(Ok(None)) => continue,
                Ok(Ok(Some(pause))) => pause,
                Ok(Err(error)) => {
                    self.waits(&error);
                    if matches!(error, OutboxError::Busy { .. }) { LOCK_POLL } else { LONG_PAUSE }
                }
                // The panic hook has printed it; other entries can still be sent.
                Err(_) => {
                    let reason = "sending failed by a fault of this program".to_owned();
                    self.inner.tell(&Notice::Waiting { reason });
                    LONG_PAUSE
                }
            };
            self.inner.post.wait(&mut seen, pause);
        }
    }

    /// One attempt, or how long there is nothing to do.
    fn turn(&self) -> Result<Option<Duration>, OutboxError> {
        let courier = self.courier()?;
        let now = SystemTime::now();
        match courier.step(Some(self.lane), now, &|| self.stopped())? {
            Step::Tried => Ok(None),
            Step::Idle(next) => {
                let wait = next.and_then(|next| next.duration_since(now).ok());
                Ok(Some(wait.unwrap_or(REFRESH).min(REFRESH)))
            }
        }
    }

    fn courier(&self) -> Result<Arc<Courier>, OutboxError> {
        let mut shared = self.shared.courier.lock();
        if let Some(courier) = shared.as_ref() {
            return Ok(courier.clone());
        }
        let courier = Arc::new(Courier::of(&self.inner)?);
        *shared = Some(courier.clone());
        drop(shared);
        *self.shared.told.lock() = None;
        courier.tell_unreadable()?;
        Ok(courier)
    }

    /// Says why nothing is sent, once.
    fn waits(&self, error: &OutboxError) {
        let reason = super::error::with_causes(error);
        let mut told = self.shared.told.lock();
        if told.as_ref() == Some(&reason) {
            return;
        }
        *told = Some(reason.clone());
        drop(told);
        self.inner.tell(&Notice::Waiting { reason });
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}
