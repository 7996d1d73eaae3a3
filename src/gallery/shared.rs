//! Keeping up with a gallery on a server, and asking the server where it is too large to be loaded.
//! Threads own the connections: whoever recognises faces waits for none of them.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use parking_lot::Mutex;

use super::postgres::{Dial, Scored, Store, chain};
use super::search::VoteRule;
use super::{GalleryError, Inner, SearchError};
use crate::embed::Embedding;

/// How often the server is asked, until [`Gallery::refresh`](super::Gallery::refresh) says.
const INTERVAL: Duration = Duration::from_millis(500);

/// The server is not asked more often, whatever was said.
const LEAST_INTERVAL: Duration = Duration::from_millis(20);

/// How long the thread listens before it looks whether it is to end.
const SLICE: Duration = Duration::from_millis(100);

/// Pauses between two attempts to connect: the first, and the longest; each is twice the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// How long a gallery that is closed waits for its threads. One that hangs in the network ends by
/// itself when its connection counts as lost.
const ENDING: Duration = Duration::from_secs(1);

/// Searches that may wait for the server.
const WAITING: usize = 16;

/// What a gallery on a server has besides.
pub(super) struct Shared {
    dial: Dial,
    /// Above so many samples nothing is loaded.
    pub(super) local_max: usize,
    /// Does the snapshot have everybody? Once false it stays so.
    pub(super) loaded: AtomicBool,
    /// Whoever reads changes and publishes them holds it, also over the network.
    pub(super) publishing: Mutex<()>,
    state: Mutex<State>,
    follower: Mutex<Option<Thread>>,
    questions: Mutex<Option<Sender<Question>>>,
}

struct State {
    interval: Duration,
    /// The generation that the caller of `refresh` knows of.
    told: u64,
    trouble: Trouble,
    /// What `trouble` is, in words, said or not.
    reason: Option<String>,
}

/// Why the snapshot may be old.
enum Trouble {
    None,
    /// Still to be said.
    New(GalleryError),
    /// Said; of this kind.
    Told(std::mem::Discriminant<GalleryError>),
}

/// A thread that can be told to end, and waited for.
struct Thread {
    id: std::thread::ThreadId,
    /// Dropped to end it.
    stop: Sender<()>,
    /// Disconnected when it has ended.
    ended: Receiver<()>,
}

/// A search for the server.
struct Question {
    embedding: Embedding,
    k: usize,
    vote: VoteRule,
    until: Instant,
    limit: Duration,
    answer: Sender<Result<Vec<Scored>, SearchError>>,
}

impl Shared {
    pub(super) fn new(dial: Dial, local_max: usize, loaded: bool, generation: u64) -> Self {
        let state =
            State { interval: INTERVAL, told: generation, trouble: Trouble::None, reason: None };
        Self {
            dial,
            local_max,
            loaded: AtomicBool::new(loaded),
            publishing: Mutex::new(()),
            state: Mutex::new(state),
            follower: Mutex::new(None),
            questions: Mutex::new(None),
        }
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// The part of `Gallery::refresh`: sets the interval, gives what went wrong, once, and says
    /// whether `generation` is news.
    pub(super) fn look(&self, interval: Duration, generation: u64) -> Result<bool, GalleryError> {
        let mut state = self.state.lock();
        state.interval = interval.max(LEAST_INTERVAL);
        if let Trouble::New(error) = &state.trouble {
            let told = Trouble::Told(std::mem::discriminant(error));
            if let Trouble::New(error) = std::mem::replace(&mut state.trouble, told) {
                return Err(error);
            }
        }
        let news = state.told != generation;
        state.told = generation;
        Ok(news)
    }

    /// The caller of `refresh` wrote it.
    pub(super) fn tell(&self, generation: u64) {
        self.state.lock().told = generation;
    }

    /// Why the snapshot may be old, as long as it may be.
    pub(super) fn trouble(&self) -> Option<String> {
        self.state.lock().reason.clone()
    }

    fn went(&self, result: Result<(), GalleryError>) {
        let mut state = self.state.lock();
        state.reason = result.as_ref().err().map(|e| chain(e));
        match (result, &state.trouble) {
            (Ok(()), _) => state.trouble = Trouble::None,
            (Err(error), Trouble::Told(kind)) if *kind == std::mem::discriminant(&error) => {}
            (Err(error), _) => state.trouble = Trouble::New(error),
        }
    }

    /// Starts the thread that follows the server.
    pub(super) fn follow(&self, gallery: Weak<Inner>) -> std::io::Result<()> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (end, ended) = crossbeam_channel::bounded(0);
        let dial = self.dial.clone();
        let thread = std::thread::Builder::new().name("face-gallery".into()).spawn(move || {
            let _end: Sender<()> = end;
            follow(&gallery, &dial, &stopped);
        })?;
        *self.follower.lock() = Some(Thread { id: thread.thread().id(), stop, ended });
        Ok(())
    }

    /// The nearest people, by the server.
    pub(super) fn nearest(
        &self,
        embedding: &Embedding,
        k: usize,
        vote: VoteRule,
        limit: Duration,
    ) -> Result<Vec<Scored>, SearchError> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        let until = Instant::now() + limit;
        let question = Question { embedding: embedding.clone(), k, vote, until, limit, answer };
        // Full: the server is behind already.
        self.questions()?.try_send(question).map_err(|error| match error {
            TrySendError::Full(_) => SearchError::Deadline { limit },
            TrySendError::Disconnected(_) => no_thread(&"it ended"),
        })?;
        match answered.recv_timeout(limit) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => Err(SearchError::Deadline { limit }),
            Err(RecvTimeoutError::Disconnected) => Err(no_thread(&"it ended")),
        }
    }

    fn questions(&self) -> Result<Sender<Question>, SearchError> {
        let mut questions = self.questions.lock();
        if let Some(questions) = questions.as_ref() {
            return Ok(questions.clone());
        }
        let (sender, receiver) = crossbeam_channel::bounded(WAITING);
        let dial = self.dial.clone();
        std::thread::Builder::new()
            .name("face-gallery-search".into())
            .spawn(move || answer(&dial, &receiver))
            .map_err(|e| no_thread(&e))?;
        Ok(questions.insert(sender).clone())
    }

    /// Ends the threads.
    pub(super) fn close(&self) {
        self.questions.lock().take();
        let Some(Thread { id, stop, ended }) = self.follower.lock().take() else { return };
        drop(stop);
        // The follower itself may have held the gallery last.
        if id != std::thread::current().id() {
            let _ = ended.recv_timeout(ENDING);
        }
    }
}

fn no_thread(why: &dyn std::fmt::Display) -> SearchError {
    SearchError::Server { reason: format!("no thread to ask it: {why}") }
}

/// Answers until nobody asks any more.
fn answer(dial: &Dial, questions: &Receiver<Question>) {
    let mut store: Option<Store> = None;
    for Question { embedding, k, vote, until, limit, answer } in questions {
        let left = until.saturating_duration_since(Instant::now());
        let found = if left.is_zero() {
            Err(SearchError::Deadline { limit })
        } else {
            let connected = match store.take() {
                Some(store) => Ok(store),
                None => dial.store(),
            };
            match connected {
                Ok(connected) => {
                    let found = store.insert(connected).nearest(&embedding, k, vote, left);
                    found.map_err(|error| match error {
                        // What was asked for, not what was left of it.
                        SearchError::Deadline { .. } => SearchError::Deadline { limit },
                        other => other,
                    })
                }
                Err(error) => Err(SearchError::Server { reason: error.to_string() }),
            }
        };
        if matches!(found, Err(SearchError::Server { .. })) {
            store = None;
        }
        // Who asked may have given up.
        let _ = answer.send(found);
    }
}

/// Takes over what is written on the server until `stopped` is disconnected.
fn follow(gallery: &Weak<Inner>, dial: &Dial, stopped: &Receiver<()>) {
    let mut store: Option<Store> = None;
    let mut pause = PAUSES.0;
    loop {
        let result = match store.take() {
            Some(store) => Ok(store),
            None => dial.store().and_then(|store| store.listen().map(|()| store)),
        };
        // The gallery is not held while this thread waits.
        let Some(inner) = gallery.upgrade() else { return };
        let result = result.and_then(|store| inner.take_over(&store).map(|_| store));
        let Some(shared) = &inner.shared else { return };
        let interval = shared.state.lock().interval;
        match result {
            Ok(connected) => {
                shared.went(Ok(()));
                drop(inner);
                pause = PAUSES.0;
                // A lost connection is found by the next look, which says so.
                if listen(&connected, interval, stopped).is_err() {
                    return;
                }
                store = Some(connected);
            }
            Err(error) => {
                shared.went(Err(error));
                drop(inner);
                if stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// The thread is to end.
struct Stopped;

/// Waits for a write or the end of the interval.
fn listen(store: &Store, interval: Duration, stopped: &Receiver<()>) -> Result<(), Stopped> {
    let until = Instant::now() + interval;
    loop {
        if let Err(crossbeam_channel::TryRecvError::Disconnected) = stopped.try_recv() {
            return Err(Stopped);
        }
        let left = until.saturating_duration_since(Instant::now()).min(SLICE);
        if left.is_zero() || !matches!(store.wait(left), Ok(false)) {
            return Ok(());
        }
    }
}
