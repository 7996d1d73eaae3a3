//! Who sends what waits: one attempt at a time, told the time by whoever calls.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::entry::{Delivery, EntryId, LinkTo, Object, Record, file_of};
use super::error::with_causes;
use super::journal::SenderLock;
use super::mqtt::Links;
use super::store::Pick;
use super::template::LinkText;
use super::webhook::Clients;
use super::{Inner, Item, ItemState, Lane, Notice, Outbox, OutboxError, exec};
use crate::clip::utc;
use crate::storage::{Storage, StorageError, StorageOptions, Stored};

/// Wait after the first failed attempt; doubles with each further one…
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … up to this.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// No wait is longer, whatever a server asks for.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Outcome {
    Delivered(Option<Stored>),
    Retry {
        error: String,
        /// The wait that the server asked for.
        after: Option<Duration>,
        /// Nothing else gets through to that place either.
        away: bool,
    },
    /// Another attempt would fail, too.
    Failed(String),
    /// Sending is to stop.
    Cancelled,
}

impl Outcome {
    pub(super) fn retry(error: String) -> Self {
        Self::Retry { error, after: None, away: false }
    }

    pub(super) fn away(error: String) -> Self {
        Self::Retry { error, after: None, away: true }
    }
}

/// A place that failed is left alone for a while, whatever waits for it.
#[derive(Clone, Copy, Debug)]
struct Hold {
    failures: u32,
    until: SystemTime,
    away: bool,
}

/// What [`Courier::flush`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    pub delivered: u64,
    /// Entries that are still to be sent, or failed.
    pub remaining: Vec<Item>,
}

/// Sends what waits in a spool. There is one per spool, in all processes.
#[derive(Debug)]
pub struct Courier {
    inner: Arc<Inner>,
    _lock: SenderLock,
    holds: Mutex<HashMap<String, Hold>>,
    storages: Mutex<HashMap<String, Arc<Storage>>>,
    clients: Clients,
    links: Links,
}

impl Courier {
    /// Takes the right to send.
    ///
    /// # Errors
    /// [`OutboxError::Busy`] while another process, or a [`super::Sender`], has it.
    pub fn new(outbox: &Outbox) -> Result<Self, OutboxError> {
        Self::of(&outbox.inner)
    }

    pub(super) fn of(inner: &Arc<Inner>) -> Result<Self, OutboxError> {
        let Some(lock) = inner.store.journal.lock_sender()? else {
            return Err(OutboxError::Busy { path: inner.store.root.clone() });
        };
        let (clients, links) = (Clients::default(), Links::default());
        let (holds, storages) = (Mutex::default(), Mutex::default());
        Ok(Self { inner: inner.clone(), _lock: lock, holds, storages, clients, links })
    }

    /// Sends everything that is due at `now`, and tells when the next is; `None`: nothing waits.
    /// Ends early when `stop` says so.
    ///
    /// # Errors
    /// [`OutboxError::Io`] for the journal; what cannot be delivered is no error.
    pub fn round(
        &self,
        now: SystemTime,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<SystemTime>, OutboxError> {
        self.inner.change(|change| change.refresh(true))?;
        while !stop() {
            if let Step::Idle(next) = self.step(None, now, stop)? {
                return Ok(next);
            }
        }
        Ok(None)
    }

    /// Tries every entry once, without waiting for its time, except those whose storage or server
    /// turns out to be away. `progress` is told how many are done of how many; it ends early when
    /// `stop` says so.
    ///
    /// # Errors
    /// [`OutboxError::Io`] for the journal.
    pub fn flush(
        &self,
        progress: &mut dyn FnMut(usize, usize),
        stop: &dyn Fn() -> bool,
    ) -> Result<Flush, OutboxError> {
        let delivered = self.inner.store.stats().delivered;
        let total = self.inner.change(|change| {
            change.refresh(true)?;
            Ok(change.waiting())
        })?;
        self.holds.lock().clear();
        let mut tried = HashSet::new();
        while !stop() {
            progress(tried.len(), total.max(tried.len()));
            let now = SystemTime::now();
            let skip = |record: &Record| {
                let away = self.holds.lock().get(&record.delivery.place()).is_some_and(|h| h.away);
                away || tried.contains(&record.id)
            };
            let pick = self.inner.change(|change| {
                change.refresh(false)?;
                change.expire(now)?;
                Ok(change.pick(None, now, &|_| None, &skip, true))
            })?;
            match pick {
                Pick::Idle(_) => break,
                Pick::Done(record) => self.tidy(&record, true)?,
                Pick::Send(record) => {
                    tried.insert(record.id.clone());
                    self.send(&record, now, stop)?;
                }
            }
        }
        let remaining = self.inner.change(|change| Ok(change.items()))?;
        let remaining = remaining.into_iter().filter(|i| i.state != ItemState::Unreadable);
        let delivered = self.inner.store.stats().delivered - delivered;
        Ok(Flush { delivered, remaining: remaining.collect() })
    }

    /// One attempt at what is due.
    pub(super) fn step(
        &self,
        lane: Option<Lane>,
        now: SystemTime,
        stop: &dyn Fn() -> bool,
    ) -> Result<Step, OutboxError> {
        let held = |place: &str| self.holds.lock().get(place).map(|hold| hold.until);
        let pick = self.inner.change(|change| {
            change.refresh(false)?;
            change.expire(now)?;
            Ok(change.pick(lane, now, &held, &|_| false, false))
        })?;
        match pick {
            Pick::Idle(next) => return Ok(Step::Idle(next)),
            Pick::Done(record) => self.tidy(&record, true)?,
            Pick::Send(record) => self.send(&record, now, stop)?,
        }
        Ok(Step::Tried)
    }

    fn send(
        &self,
        record: &Record,
        now: SystemTime,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), OutboxError> {
        let started = Instant::now();
        let outcome = self.deliver(record, now, stop);
        // Waits begin when the attempt has ended, which may have taken minutes.
        let now = now + started.elapsed();
        let (id, place) = (&record.id, record.delivery.place());
        match outcome {
            Outcome::Delivered(stored) => {
                self.holds.lock().remove(&place);
                // Told before it is tidied away: after a crash in between it is told again.
                self.inner.change(|change| {
                    change.delivered(record, stored);
                    Ok(())
                })?;
                self.tidy(record, false)?;
                // The other lane may have something that waited for this.
                self.inner.post.wake();
                Ok(())
            }
            Outcome::Retry { error, after, away } => {
                let wait = after.unwrap_or_else(|| self.hold(&place, id, now, away));
                if after.is_some() {
                    let failures = self.holds.lock().get(&place).map_or(1, |hold| hold.failures);
                    let hold = Hold { failures, until: now + wait, away };
                    self.holds.lock().insert(place, hold);
                }
                let own = back_off(record.attempts.saturating_add(1), id);
                let wait = after.map_or(own, |after| after.max(own));
                self.inner.change(|change| {
                    change.postpone(id, &error, now + wait);
                    Ok(())
                })
            }
            Outcome::Failed(error) => self.inner.change(|change| {
                change.fail(id, &error);
                Ok(())
            }),
            Outcome::Cancelled => self.inner.change(|change| {
                change.cancelled(id);
                Ok(())
            }),
        }
    }

    /// Leaves a place alone, longer with every failure in a row. One entry that always fails holds
    /// up others for a second only: their success ends the row.
    fn hold(&self, place: &str, id: &EntryId, now: SystemTime, away: bool) -> Duration {
        let mut holds = self.holds.lock();
        let failures = holds.get(place).map_or(0, |hold| hold.failures).saturating_add(1);
        let wait = back_off(failures, id);
        holds.insert(place.to_owned(), Hold { failures, until: now + wait, away });
        wait
    }

    /// Removes what is left of a delivered entry; tells of it `again` if an earlier run may not
    /// have.
    fn tidy(&self, record: &Record, again: bool) -> Result<(), OutboxError> {
        if again {
            self.inner.change(|change| {
                change.delivered(record, None);
                Ok(())
            })?;
        }
        self.inner.change(|change| {
            change.tidy(record);
            Ok(())
        })
    }

    fn deliver(&self, record: &Record, now: SystemTime, stop: &dyn Fn() -> bool) -> Outcome {
        let id = &record.id;
        match &record.delivery {
            Delivery::Object(object) => self.store(object, stop),
            Delivery::Webhook(webhook) => match self.link(webhook.link.as_ref()) {
                Ok(link) => {
                    let body = webhook.message.render(&link);
                    self.clients.post(webhook, id, body, now, stop)
                }
                Err(error) => Outcome::retry(error),
            },
            Delivery::Exec(exec) => match self.link(exec.link.as_ref()) {
                Ok(link) => exec::run(exec, id, &exec.message.render(&link), stop),
                Err(error) => Outcome::retry(error),
            },
            Delivery::Mqtt(mqtt) => match self.link(mqtt.link.as_ref()) {
                Ok(link) => self.links.publish(mqtt, mqtt.message.render(&link), stop),
                Err(error) => Outcome::retry(error),
            },
        }
    }

    /// Stores an object. Nothing but a missing file ends the attempts: a bucket can be made, and a
    /// right given, and then nothing is lost.
    fn store(&self, object: &Object, stop: &dyn Fn() -> bool) -> Outcome {
        let path = file_of(&self.inner.store.root, object);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Outcome::retry(format!("cannot read '{}': {error}", path.display()));
            }
            _ => return Outcome::Failed(format!("the file '{}' is gone", path.display())),
        }
        let storage = match self.storage(&object.storage) {
            Ok(storage) => storage,
            Err(error) => return Outcome::away(with_causes(&error)),
        };
        let mut progress = |_: u64, _: u64| match stop() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        match storage.put_file(&object.key, &path, &mut progress) {
            Ok(stored) => Outcome::Delivered(Some(stored)),
            Err(StorageError::Cancelled) => Outcome::Cancelled,
            Err(error) => {
                // Keys and credentials may have changed: they are read again.
                self.storages.lock().remove(&object.storage);
                let own =
                    matches!(&error, StorageError::Damaged { .. } | StorageError::Link { .. });
                let error = with_causes(&error);
                if own { Outcome::retry(error) } else { Outcome::away(error) }
            }
        }
    }

    fn link(&self, to: Option<&LinkTo>) -> Result<LinkText, String> {
        let Some(to) = to else { return Ok(LinkText::default()) };
        let storage = self.storage(&to.storage).map_err(|error| with_causes(&error))?;
        let link = storage.link(&to.key, to.expiry).map_err(|error| with_causes(&error))?;
        Ok(LinkText { url: link.url, expires_at: link.expires.map(utc::format) })
    }

    fn storage(&self, uri: &str) -> Result<Arc<Storage>, StorageError> {
        if let Some(storage) = self.storages.lock().get(uri) {
            return Ok(storage.clone());
        }
        // The outbox repeats by itself, and less hastily.
        let retry_timeout = Duration::from_secs(10);
        let options = StorageOptions { retries: 1, retry_timeout, ..StorageOptions::default() };
        let storage = Arc::new(Storage::open_with(uri, &options)?);
        self.storages.lock().insert(uri.to_owned(), storage.clone());
        Ok(storage)
    }

    /// Tells those who listen now what could not be read before.
    pub(super) fn tell_unreadable(&self) -> Result<(), OutboxError> {
        let items = self.inner.change(|change| {
            change.refresh(true)?;
            Ok(change.items())
        })?;
        for item in items.into_iter().filter(|item| item.state == ItemState::Unreadable) {
            self.inner.tell(&Notice::Unreadable { item });
        }
        Ok(())
    }
}

/// What [`Courier::step`] did.
#[derive(Debug)]
pub(super) enum Step {
    Tried,
    Idle(Option<SystemTime>),
}

/// Wait after so many failed attempts: doubling, with half of it left to chance, so that many
/// cameras do not come back at the same moment. The chance is the entry's own: no two are alike.
fn back_off(attempts: u32, id: &EntryId) -> Duration {
    let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let full = FIRST_WAIT.saturating_mul(factor).min(MAX_WAIT);
    let hash = Sha256::new().chain_update(id.as_str()).chain_update(attempts.to_le_bytes());
    let hash = hash.finalize();
    let chance = hash.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    full.mul_f64(0.5 + 0.5 * f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_differ() {
        let ids = ["a", "b", "c", "d"].map(|id| EntryId::new(id).unwrap());
        for id in &ids {
            for attempts in 1..100 {
                let wait = back_off(attempts, id).as_secs_f64();
                let full = 2_f64.powi(attempts as i32 - 1).min(300.0);
                assert!((full / 2.0..=full).contains(&wait), "{attempts}: {wait}");
            }
        }
        let waits: HashSet<Duration> = ids.iter().map(|id| back_off(9, id)).collect();
        assert_eq!(waits.len(), ids.len());
    }
}
