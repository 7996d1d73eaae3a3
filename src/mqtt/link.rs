//! A connection that is kept, and what waits to go over it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::sync::Notify;

use super::{Broker, MqttError, check_topic, session};
use crate::{net, tls};

/// Frames that wait at most; then the oldest are dropped.
const MOST_FRAMES: usize = 64;
/// Topics with a retained message; further ones are refused.
const MOST_RETAINED: usize = 10_000;
/// How often is looked whether a delivery is to stop.
const POLL: Duration = Duration::from_millis(100);
/// How long the thread is waited for.
const END: Duration = Duration::from_secs(3);

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const ONLINE: &str = "online";
pub(super) const OFFLINE: &str = "offline";

/// Where it is said whether we are there: `online` or `offline`, retained. When the process dies the
/// broker says `offline`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    pub topic: String,
}

/// What becomes of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkNotice {
    Up,
    /// It is tried again; said once until it is up.
    Down {
        error: String,
    },
    /// The broker does not take what is to be retained.
    Refused {
        topic: String,
        error: String,
    },
}

/// Told what happens, on the thread of the connection. No lock is held meanwhile.
pub type LinkCallback = Arc<dyn Fn(&LinkNotice) + Send + Sync>;

/// What happened since the link was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    pub connected: bool,
    /// Connections that were made.
    pub connections: u64,
    pub frames_sent: u64,
    /// The oldest that waited, and those that the broker is too small for.
    pub frames_dropped: u64,
    /// Messages that the broker acknowledged.
    pub acknowledged: u64,
}

/// Why something was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing gets through.
    Away(String),
    /// This one does not, and may later.
    Refused(String),
    /// This one never will.
    Never(String),
    /// It was to stop.
    Cancelled,
}

/// A message of which is wanted to know whether it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) content_type: &'static str,
    pub(crate) retain: bool,
}

/// Something to send next.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) message: Outgoing,
    pub(super) then: Then,
}

/// What is done when the broker has it.
#[derive(Debug)]
pub(super) enum Then {
    /// A frame: nobody asks.
    Nothing,
    Online,
    Offline,
    Retained {
        revision: u64,
    },
    Tell(Sender<Result<(), Failure>>),
}

#[derive(Debug)]
pub(super) enum Next {
    Send(Job),
    /// Connect anew: the broker is to know another last will.
    Again,
    Goodbye,
    Nothing,
}

#[derive(Debug)]
struct Retained {
    payload: String,
    revision: u64,
    arrived: bool,
}

#[derive(Default)]
struct Mail {
    requests: VecDeque<(Outgoing, Sender<Result<(), Failure>>)>,
    frames: VecDeque<Outgoing>,
    presence: Option<Announced>,
    retained: BTreeMap<String, Retained>,
    revision: u64,
    /// Topics on which `offline` is still to be said.
    farewells: VecDeque<String>,
    /// The last will of the connection that is up.
    will: Option<String>,
    callbacks: Vec<(u64, LinkCallback)>,
    stats: LinkStats,
    /// Told already that it is down.
    told_down: bool,
    stop: Option<Instant>,
}

/// What is said about us.
struct Announced {
    topic: String,
    users: usize,
    said: bool,
}

/// What the thread and its users share. No lock is held over anything that waits.
pub(super) struct Shared {
    pub(super) broker: Broker,
    pub(super) tls: Option<Arc<ClientConfig>>,
    mail: Mutex<Mail>,
    pub(super) wake: Notify,
}

/// A connection to a broker that is kept for as long as somebody has it.
pub struct Link {
    shared: Arc<Shared>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("broker", &self.shared.broker).finish_non_exhaustive()
    }
}

/// The links of this process.
static OPEN: Mutex<Option<HashMap<Broker, Weak<Link>>>> = Mutex::new(None);

impl Link {
    /// The link to a broker, under one identity: there is one in the process. It connects when there
    /// is something to say.
    ///
    /// # Errors
    /// [`MqttError`], for what cannot work; a broker that is away is no error.
    pub fn open(broker: &Broker) -> Result<Arc<Self>, MqttError> {
        broker.check()?;
        let mut open = OPEN.lock();
        let open = open.get_or_insert_default();
        open.retain(|_, link| link.strong_count() > 0);
        if let Some(link) = open.get(broker).and_then(Weak::upgrade) {
            return Ok(link);
        }
        let tls = match broker.tls {
            true => Some(
                tls::client_config(broker.ca_file.as_deref(), "ca-file")
                    .map_err(|reason| MqttError::Tls { address: broker.shown(), reason })?,
            ),
            false => None,
        };
        let (mail, wake) = (Mutex::default(), Notify::new());
        let shared = Arc::new(Shared { broker: broker.clone(), tls, mail, wake });
        let (alive, ended) = bounded(0);
        let thread = shared.clone();
        Builder::new()
            .name("face-mqtt".to_owned())
            .spawn(move || thread.run(&alive))
            .map_err(|source| MqttError::Thread { address: broker.shown(), source })?;
        let link = Arc::new(Self { shared, ended });
        open.insert(broker.clone(), Arc::downgrade(&link));
        Ok(link)
    }

    /// Says that we are there for as long as what is returned lives, and tells `callback` of the
    /// connection.
    ///
    /// # Errors
    /// [`MqttError::Topic`]; [`MqttError::Presence`] if another topic is used for that already: a
    /// connection has one last will.
    pub fn announce(
        self: &Arc<Self>,
        presence: &Presence,
        callback: LinkCallback,
    ) -> Result<Present, MqttError> {
        check_topic(&presence.topic)?;
        let mut mail = self.shared.mail.lock();
        match &mut mail.presence {
            Some(other) if other.topic != presence.topic => {
                return Err(MqttError::Presence {
                    client_id: self.shared.broker.client_id.clone(),
                    other: other.topic.clone(),
                    address: self.shared.broker.shown(),
                });
            }
            Some(same) => same.users += 1,
            None => {
                let topic = presence.topic.clone();
                mail.farewells.retain(|old| *old != topic);
                mail.presence = Some(Announced { topic, users: 1, said: false });
            }
        }
        mail.revision += 1;
        let number = mail.revision;
        mail.callbacks.push((number, callback));
        drop(mail);
        self.shared.wake.notify_one();
        Ok(Present { link: self.clone(), number })
    }

    /// Sends a frame when that can be done, at most once; never waits. The oldest of 64 that wait is
    /// dropped.
    pub fn frame(&self, topic: &str, payload: String) {
        let message =
            Outgoing { topic: topic.to_owned(), payload, content_type: JSON, retain: false };
        let mut mail = self.shared.mail.lock();
        if mail.frames.len() >= MOST_FRAMES {
            mail.frames.pop_front();
            mail.stats.frames_dropped += 1;
        }
        mail.frames.push_back(message);
        drop(mail);
        self.shared.wake.notify_one();
    }

    pub fn stats(&self) -> LinkStats {
        self.shared.mail.lock().stats
    }

    /// Delivers a message: when this returns the broker has it.
    pub(crate) fn deliver(
        &self,
        message: Outgoing,
        timeout: Duration,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        let (tell, told) = bounded(1);
        self.shared.mail.lock().requests.push_back((message, tell));
        self.shared.wake.notify_one();
        let started = Instant::now();
        loop {
            match told.recv_timeout(POLL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Away(
                        "the connection to the broker was closed".to_owned(),
                    ));
                }
                Err(RecvTimeoutError::Timeout) if stop() => return Err(Failure::Cancelled),
                Err(RecvTimeoutError::Timeout) if started.elapsed() >= timeout => {
                    let (seconds, address) = (timeout.as_secs_f64(), self.shared.broker.shown());
                    let error = format!("'{address}' did not acknowledge within {seconds} s");
                    return Err(Failure::Away(error));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.mail.lock().stop = Some(Instant::now());
        self.shared.wake.notify_one();
        // Nothing is ever sent: it is closed, or takes too long.
        let _ = self.ended.recv_timeout(END);
    }
}

/// Says that we are there until it is dropped.
#[derive(Debug)]
pub struct Present {
    link: Arc<Link>,
    number: u64,
}

impl Present {
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What is to stand on a topic from now on. It is sent when the connection is there, again after
    /// each connection, and only in its last version. False: there are too many topics, or this is
    /// none.
    pub fn retain(&self, topic: &str, payload: String) -> bool {
        let mut mail = self.link.shared.mail.lock();
        match mail.retained.get(topic) {
            Some(known) if known.payload == payload => return true,
            None if mail.retained.len() >= MOST_RETAINED || check_topic(topic).is_err() => {
                return false;
            }
            _ => {}
        }
        mail.revision += 1;
        let revision = mail.revision;
        mail.retained.insert(topic.to_owned(), Retained { payload, revision, arrived: false });
        drop(mail);
        self.link.shared.wake.notify_one();
        true
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut mail = self.link.shared.mail.lock();
        mail.callbacks.retain(|(number, _)| *number != self.number);
        if let Some(presence) = &mut mail.presence {
            presence.users -= 1;
            if presence.users == 0 {
                let topic = presence.topic.clone();
                mail.presence = None;
                mail.farewells.push_back(topic);
            }
        }
        drop(mail);
        self.link.shared.wake.notify_one();
    }
}

impl Mail {
    /// What is to be acknowledged, in its order: who subscribes sees us come, then how things are,
    /// then us going.
    fn next_acknowledged(&mut self) -> Option<Next> {
        if let Some(presence) = &self.presence {
            if self.will.as_ref() != Some(&presence.topic) {
                return Some(Next::Again);
            }
            if !presence.said {
                return Some(Next::Send(status(presence.topic.clone(), ONLINE, Then::Online)));
            }
        }
        let waiting = self.retained.iter().find(|(_, retained)| !retained.arrived);
        if let Some((topic, retained)) = waiting {
            let message = Outgoing {
                topic: topic.clone(),
                payload: retained.payload.clone(),
                content_type: JSON,
                retain: true,
            };
            let then = Then::Retained { revision: retained.revision };
            return Some(Next::Send(Job { message, then }));
        }
        if let Some(topic) = self.farewells.front() {
            return Some(Next::Send(status(topic.clone(), OFFLINE, Then::Offline)));
        }
        let (message, tell) = self.requests.pop_front()?;
        Some(Next::Send(Job { message, then: Then::Tell(tell) }))
    }
}

impl Shared {
    fn run(&self, _alive: &Sender<()>) {
        let served = catch_unwind(AssertUnwindSafe(|| net::block_on(session::serve(self))));
        let error = match served {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            // The panic hook has printed it.
            Err(_) => "publishing failed by a fault of this program".to_owned(),
        };
        self.down(&error);
        // Nobody sends any more: who asks is told so.
        while self.stop().is_none() {
            std::thread::sleep(POLL);
            self.fail_requests(&error);
        }
    }

    /// When it was asked to end.
    pub(super) fn stop(&self) -> Option<Instant> {
        self.mail.lock().stop
    }

    /// Is there a reason to be connected?
    pub(super) fn wants(&self) -> bool {
        let mail = self.mail.lock();
        mail.presence.is_some() || !mail.requests.is_empty() || !mail.frames.is_empty()
    }

    /// Does somebody wait for an answer, or for the end?
    pub(super) fn is_urgent(&self) -> bool {
        let mail = self.mail.lock();
        mail.stop.is_some() || !mail.requests.is_empty()
    }

    /// The topic of the last will; from now on that of the connection.
    pub(super) fn take_will(&self) -> Option<String> {
        let mut mail = self.mail.lock();
        mail.will = mail.presence.as_ref().map(|presence| presence.topic.clone());
        mail.will.clone()
    }

    pub(super) fn up(&self) {
        let mut mail = self.mail.lock();
        mail.stats.connected = true;
        mail.stats.connections += 1;
        mail.told_down = false;
        // The broker may have forgotten, or have said that we are gone.
        for retained in mail.retained.values_mut() {
            retained.arrived = false;
        }
        if let Some(presence) = &mut mail.presence {
            presence.said = false;
        }
        drop(mail);
        self.tell(&LinkNotice::Up);
    }

    pub(super) fn down(&self, error: &str) {
        let mut mail = self.mail.lock();
        mail.stats.connected = false;
        // The broker says it.
        mail.farewells.clear();
        let first = !std::mem::replace(&mut mail.told_down, true);
        drop(mail);
        self.fail_requests(error);
        if first {
            self.tell(&LinkNotice::Down { error: error.to_owned() });
        }
    }

    fn fail_requests(&self, error: &str) {
        let requests = std::mem::take(&mut self.mail.lock().requests);
        for (_, tell) in requests {
            // Who asked may have stopped waiting.
            let _ = tell.send(Err(Failure::Away(error.to_owned())));
        }
    }

    /// What goes next over the connection that is up; `busy`: nothing that is to be acknowledged.
    pub(super) fn next(&self, busy: bool) -> Next {
        let mut mail = self.mail.lock();
        // Before frames, of which there may always be another one.
        if !busy && let Some(next) = mail.next_acknowledged() {
            return next;
        }
        if let Some(message) = mail.frames.pop_front() {
            return Next::Send(Job { message, then: Then::Nothing });
        }
        if !busy && mail.stop.is_some() { Next::Goodbye } else { Next::Nothing }
    }

    /// The broker has it, or has refused it.
    pub(super) fn done(&self, job: Job, result: Result<(), Failure>) {
        let mut mail = self.mail.lock();
        mail.stats.acknowledged += u64::from(result.is_ok());
        let topic = &job.message.topic;
        match job.then {
            Then::Nothing => {
                mail.stats.frames_sent += u64::from(result.is_ok());
                mail.stats.frames_dropped += u64::from(result.is_err());
                return;
            }
            Then::Tell(tell) => {
                drop(mail);
                let _ = tell.send(result);
                return;
            }
            Then::Online => {
                if let Some(presence) = &mut mail.presence {
                    presence.said = true;
                }
            }
            Then::Offline => {
                mail.farewells.retain(|said| said != topic);
                if mail.presence.is_none() {
                    mail.retained.clear();
                }
            }
            Then::Retained { revision } => {
                // A newer one still has to go.
                if let Some(known) = mail.retained.get_mut(topic) {
                    known.arrived = known.revision == revision;
                }
            }
        }
        drop(mail);
        if let Err(Failure::Never(error) | Failure::Refused(error)) = result {
            self.tell(&LinkNotice::Refused { topic: topic.clone(), error });
        }
    }

    fn tell(&self, notice: &LinkNotice) {
        let callbacks: Vec<LinkCallback> =
            self.mail.lock().callbacks.iter().map(|(_, callback)| callback.clone()).collect();
        for callback in callbacks {
            // A panic of somebody else's code must not end the connection; the hook has printed it.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(notice)));
        }
    }
}

fn status(topic: String, status: &str, then: Then) -> Job {
    let payload = status.to_owned();
    Job { message: Outgoing { topic, payload, content_type: TEXT, retain: true }, then }
}
