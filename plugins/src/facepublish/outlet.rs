//! What is open of a target, and the thread that writes and sends there.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use face_core::mqtt::{Link, LinkNotice, Presence, Present};
use face_core::outbox::{Delivery, Entry, EntryId, Message, Mqtt, Notice, Outbox, Sender, Webhook};
use face_core::publish::file::JsonLines;
use face_core::publish::homeassistant::Entity;
use face_core::publish::{Change, dlstreamer};
use parking_lot::{Condvar, Mutex};
use serde::Serialize;

use super::mailbox::{Item, Mailbox};
use super::settings::PublishFormat;
use super::target::{BrokerTarget, Plan, StartError, Target};
use crate::runtime::with_causes;

/// Something that the application is to know.
#[derive(Debug)]
pub(super) enum News {
    /// Data is lost, or waits.
    Trouble(String),
    Well(String),
}

/// Told on whichever thread it happens.
pub(super) type Tell = Arc<dyn Fn(News) + Send + Sync>;

/// Entries of this element that the outbox has not delivered yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    state: Mutex<PendingState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PendingState {
    ids: HashSet<String>,
    /// What was tried last did not get through.
    away: bool,
    delivered: u64,
}

impl Pending {
    /// Of entries waiting, and delivered.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.ids.len() as u64, state.delivered)
    }

    /// Waits until all is delivered, or cannot be now.
    fn drain(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut state = self.state.lock();
        while !state.ids.is_empty() && !state.away {
            if self.changed.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }

    /// Takes in a notice about one of ours: what is to be told of it.
    fn hear(&self, notice: &Notice) -> Option<News> {
        let mut state = self.state.lock();
        let news = match notice {
            Notice::Delivered { item, .. } => {
                if !state.ids.remove(&item.id) {
                    return None;
                }
                state.delivered += 1;
                std::mem::take(&mut state.away)
                    .then(|| News::Well(format!("'{}' takes events again", item.target)))
            }
            Notice::Postponed { item } if state.ids.contains(&item.id) => {
                let first = !std::mem::replace(&mut state.away, true);
                let error = item.last_error.as_deref().unwrap_or("it is away");
                first.then(|| {
                    News::Trouble(format!(
                        "events wait in the spool for '{}': {error}",
                        item.target
                    ))
                })
            }
            Notice::Failed { item } if state.ids.remove(&item.id) => {
                let error = item.last_error.as_deref().unwrap_or("it failed");
                Some(News::Trouble(format!("an event was given up for '{}': {error}", item.target)))
            }
            Notice::Dropped { item, reason } if state.ids.remove(&item.id) => {
                Some(News::Trouble(format!("an event was dropped for '{}': {reason}", item.target)))
            }
            Notice::Waiting { reason } => {
                state.away = true;
                Some(News::Trouble(format!("events wait in the spool: {reason}")))
            }
            _ => None,
        };
        drop(state);
        self.changed.notify_all();
        news
    }
}

struct Post {
    outbox: Outbox,
    /// Sends for as long as it lives.
    _sender: Sender,
}

impl Post {
    fn open(plan: &Plan, pending: &Arc<Pending>, tell: &Tell) -> Result<Self, StartError> {
        let failed = |source| StartError::Spool { path: plan.spool.clone(), source };
        let outbox = Outbox::open(&plan.spool, plan.limits).map_err(failed)?;
        let (pending, tell) = (pending.clone(), tell.clone());
        let callback = Arc::new(move |notice: &Notice| {
            if let Some(news) = pending.hear(notice) {
                tell(news);
            }
        });
        let sender = outbox.start(callback).map_err(failed)?;
        Ok(Self { outbox, _sender: sender })
    }
}

enum Outlet {
    Stdout,
    File(JsonLines),
    Broker { target: Box<BrokerTarget>, present: Present, post: Post },
    Webhook { webhook: Box<Webhook>, post: Post },
}

/// What the thread needs.
pub(super) struct Publisher {
    outlet: Outlet,
    format: PublishFormat,
    mark: String,
    drain: Duration,
    pending: Arc<Pending>,
    errors: Arc<AtomicU64>,
    tell: Tell,
    /// The last thing could not be written: said already.
    failing: bool,
    announced: HashSet<(String, String)>,
}

impl Publisher {
    /// Opens the target. The link is given out for its statistics.
    pub(super) fn open(
        plan: Plan,
        pending: Arc<Pending>,
        errors: Arc<AtomicU64>,
        tell: Tell,
    ) -> Result<(Self, Option<Arc<Link>>), StartError> {
        let mut opened = None;
        let post = |plan: &Plan| Post::open(plan, &pending, &tell);
        let outlet = match &plan.target {
            Target::Stdout => Outlet::Stdout,
            Target::File { path, rotation } => {
                Outlet::File(JsonLines::open(path, *rotation).map_err(StartError::File)?)
            }
            Target::Broker(target) => {
                // Before the outbox, which would connect without a last will.
                let link = Link::open(&target.broker).map_err(StartError::Broker)?;
                let present = announce(&link, target, &tell)?;
                opened = Some(link);
                Outlet::Broker { target: target.clone(), present, post: post(&plan)? }
            }
            Target::Webhook(webhook) => {
                Outlet::Webhook { webhook: webhook.clone(), post: post(&plan)? }
            }
        };
        let drain = Duration::from_nanos(plan.drain_ns);
        let (format, mark) = (plan.format, plan.mark);
        let (failing, announced) = (false, HashSet::new());
        let publisher =
            Self { outlet, format, mark, drain, pending, errors, tell, failing, announced };
        Ok((publisher, opened))
    }

    /// Tells everything until the mailbox is closed, and waits a while for it to arrive.
    pub(super) fn run(mut self, mailbox: &Mailbox) {
        self.introduce();
        while let Some(item) = mailbox.pop() {
            match self.publish(item) {
                Ok(()) => self.failing = false,
                Err(error) => {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                    if !std::mem::replace(&mut self.failing, true) {
                        (self.tell)(News::Trouble(error));
                    }
                }
            }
        }
        if matches!(self.outlet, Outlet::Broker { .. } | Outlet::Webhook { .. }) {
            self.pending.drain(self.drain);
        }
    }

    /// What Home Assistant is to know of the camera.
    fn introduce(&self) {
        let Outlet::Broker { target, present, .. } = &self.outlet else { return };
        if let Some(discovery) = &target.discovery {
            retain_all(present, &discovery.camera());
        }
    }

    fn publish(&mut self, item: Item) -> Result<(), String> {
        match item {
            Item::Frame(frame) => {
                let line = match self.format {
                    PublishFormat::Face => frame.to_json(),
                    PublishFormat::Dlstreamer => dlstreamer::frame(&frame).to_string(),
                };
                match &mut self.outlet {
                    Outlet::Broker { target, present, .. } => {
                        present.link().frame(&target.topics.frames(), line);
                        Ok(())
                    }
                    Outlet::Webhook { .. } => Ok(()),
                    outlet => write(outlet, &line),
                }
            }
            Item::Event(event) => {
                let topic = |target: &BrokerTarget| target.topics.event(&event.kind);
                self.keep(&event.id, &*event, event.to_json(), topic)
            }
            Item::Track(track) => {
                let topic = |target: &BrokerTarget| target.topics.tracks();
                self.keep(&track.id, &*track, track.to_json(), topic)
            }
            Item::Change(change) => self.change(&change),
        }
    }

    /// Something that has to arrive.
    fn keep(
        &mut self,
        id: &str,
        value: &impl Serialize,
        line: String,
        topic: impl FnOnce(&BrokerTarget) -> String,
    ) -> Result<(), String> {
        let message = || Message::json(value).map_err(|error| error.to_string());
        let (delivery, post): (Delivery, &Post) = match &mut self.outlet {
            Outlet::Broker { target, post, .. } => {
                (Mqtt::new(target.broker.clone(), &topic(target), message()?).into(), post)
            }
            Outlet::Webhook { webhook, post } => {
                (Webhook { message: message()?, ..(**webhook).clone() }.into(), post)
            }
            outlet => return write(outlet, &line),
        };
        let mut entry = Entry::new(delivery);
        // One event may go to several targets through the same outbox.
        let own = EntryId::new(&format!("{id}-{}", self.mark));
        let own = own.unwrap_or_else(|_| unnamed());
        let key = own.to_string();
        entry = entry.with_id(own);
        // Before it is there: it may be delivered at once.
        self.pending.state.lock().ids.insert(key.clone());
        post.outbox.append(entry).map(drop).map_err(|error| {
            self.pending.state.lock().ids.remove(&key);
            format!("an event could not be kept: {}", with_causes(&error))
        })
    }

    /// Who is seen now, retained.
    fn change(&mut self, change: &Change) -> Result<(), String> {
        let Outlet::Broker { target, present, .. } = &self.outlet else { return Ok(()) };
        let mut room = true;
        for person in &change.people {
            let who = (person.person_id.clone(), person.name.clone());
            if let Some(discovery) = &target.discovery
                && self.announced.insert(who)
            {
                let entities = discovery.person(&person.person_id, &person.name);
                room &= retain_all(present, &entities);
            }
            let text = serde_json::to_string(person).map_err(|error| error.to_string())?;
            room &= present.retain(&target.topics.person(&person.person_id), text);
        }
        if let Some((faces, people)) = &change.state {
            let state = serde_json::json!({"faces": faces, "people": people});
            room &= present.retain(&target.topics.state(), state.to_string());
        }
        if room {
            return Ok(());
        }
        let shown = target.broker.shown();
        Err(format!("'{shown}' is not told of more people: there are too many retained topics"))
    }
}

fn announce(link: &Arc<Link>, target: &BrokerTarget, tell: &Tell) -> Result<Present, StartError> {
    let presence = Presence { topic: target.topics.status() };
    let (tell, shown) = (tell.clone(), target.broker.shown());
    let callback = Arc::new(move |notice: &LinkNotice| match notice {
        LinkNotice::Up => tell(News::Well(format!("connected to '{shown}'"))),
        LinkNotice::Down { error } => tell(News::Trouble(error.clone())),
        LinkNotice::Refused { topic, error } => {
            tell(News::Trouble(format!("'{topic}' at '{shown}': {error}")));
        }
    });
    link.announce(&presence, callback).map_err(StartError::Broker)
}

/// False: there was no room for all.
fn retain_all(present: &Present, entities: &[Entity]) -> bool {
    entities.iter().all(|entity| present.retain(&entity.topic, entity.config.to_string()))
}

/// An id for an event whose own cannot be one.
fn unnamed() -> EntryId {
    let id = glib::uuid_string_random();
    EntryId::new(&id).expect("a UUID is letters, digits and hyphens")
}

fn write(outlet: &mut Outlet, line: &str) -> Result<(), String> {
    match outlet {
        Outlet::File(lines) => lines.write(line).map_err(|error| with_causes(&error)),
        _ => {
            // In one piece, and without the panic of println! when nobody reads.
            let mut stdout = std::io::stdout().lock();
            let written = stdout.write_all(format!("{line}\n").as_bytes());
            let flushed = written.and_then(|()| stdout.flush());
            flushed.map_err(|error| format!("cannot write to standard output: {error}"))
        }
    }
}
