//! The entries in memory, beside their files: what is due, what has no room, what waits for what.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::courier::LONGEST_WAIT;
use super::entry::{Delivery, Entry, EntryId, Record, Unreadable, file_of};
use super::journal::{Found, Journal, Locked, remove_file};
use super::{Item, ItemState, Lane, Limits, Notice, OutboxError, Stats};
use crate::storage::Stored;

/// How often is looked for what other processes wrote.
pub(super) const REFRESH: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Slot {
    record: Record,
    found: Found,
    /// On its way: nobody else sends it, and it is not dropped for room.
    sending: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    slots: HashMap<EntryId, Slot>,
    unreadable: BTreeMap<String, (Found, Unreadable)>,
    counters: Stats,
    refreshed: Option<Instant>,
}

/// Lock order: `state`, then the lock of the journal's files.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) root: PathBuf,
    pub(super) journal: Journal,
    pub(super) limits: Limits,
    state: Mutex<State>,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Pick {
    Send(Box<Record>),
    /// Delivered by a run that ended before it could say so and tidy up.
    Done(Box<Record>),
    /// Nothing is due before this time; `None`: nothing waits.
    Idle(Option<SystemTime>),
}

impl Store {
    pub(super) fn new(root: PathBuf, journal: Journal, limits: Limits) -> Self {
        Self { root, journal, limits, state: Mutex::default() }
    }

    /// Changes entries, alone in this and all other processes. What happens is appended to
    /// `notices`, to be told when no lock is held any more.
    pub(super) fn change<T>(
        &self,
        notices: &mut Vec<Notice>,
        change: impl FnOnce(&mut Change<'_>) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        let mut state = self.state.lock();
        let locked = self.journal.lock()?;
        change(&mut Change { store: self, state: &mut state, locked, notices })
    }

    pub(super) fn stats(&self) -> Stats {
        let state = self.state.lock();
        let mut stats = state.counters.clone();
        stats.unreadable = state.unreadable.len() as u64;
        for slot in state.slots.values().filter(|slot| !slot.found.done) {
            let kept = if slot.record.failed { &mut stats.given_up } else { &mut stats.waiting };
            *kept += 1;
        }
        stats.bytes = state.bytes();
        stats
    }

    /// Size of an object's file, once it is on the disk.
    pub(super) fn settle(&self, delivery: &mut Delivery) -> Result<(), OutboxError> {
        let Delivery::Object(object) = delivery else { return Ok(()) };
        let path = file_of(&self.root, object);
        let failed = |error| OutboxError::io("read", &path, error);
        let metadata = path.symlink_metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(OutboxError::entry(format!("'{}' is no plain file", path.display())));
        }
        let synced = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        synced(&path).map_err(failed)?;
        synced(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        object.size = metadata.len();
        Ok(())
    }
}

impl State {
    /// Bytes of the entries and of their objects.
    fn bytes(&self) -> u64 {
        let of = |slot: &Slot| slot.found.bytes.saturating_add(slot.record.delivery.bytes());
        let entries = self.slots.values().map(of).fold(0, u64::saturating_add);
        self.unreadable.values().fold(entries, |sum, (found, _)| sum.saturating_add(found.bytes))
    }

    fn blocks(&self, id: &EntryId) -> bool {
        let waits = self.slots.get(id).is_some_and(|slot| !slot.found.done);
        waits || self.unreadable.contains_key(id.as_str())
    }
}

/// A change in progress; both locks are held.
#[derive(Debug)]
pub(super) struct Change<'a> {
    store: &'a Store,
    state: &'a mut State,
    locked: Locked<'a>,
    notices: &'a mut Vec<Notice>,
}

impl Change<'_> {
    /// Takes over what other processes changed; at most every [`REFRESH`] unless `now`.
    pub(super) fn refresh(&mut self, now: bool) -> Result<(), OutboxError> {
        let fresh = self.state.refreshed.is_some_and(|at| at.elapsed() < REFRESH);
        if fresh && !now {
            return Ok(());
        }
        let files = self.store.journal.scan()?;
        self.state.slots.retain(|id, _| files.contains_key(id.as_str()));
        self.state.unreadable.retain(|name, _| files.contains_key(name));
        for (name, found) in files {
            let id = EntryId::new(&name).ok();
            let known = id.as_ref().and_then(|id| self.state.slots.get(id)).map(|s| &s.found);
            let known = known.or(self.state.unreadable.get(&name).map(|(found, _)| found));
            if known == Some(&found) {
                continue;
            }
            match self.store.journal.read(&name, found.done) {
                None => {}
                Some(Ok(record)) => {
                    self.state.unreadable.remove(&name);
                    let sending = self.state.slots.get(&record.id).is_some_and(|s| s.sending);
                    self.state.slots.insert(record.id.clone(), Slot { record, found, sending });
                }
                Some(Err(why)) => {
                    if let Some(id) = id {
                        self.state.slots.remove(&id);
                    }
                    let item = self.unreadable_item(&name, &found, &why);
                    self.notices.push(Notice::Unreadable { item });
                    self.state.unreadable.insert(name, (found, why));
                }
            }
        }
        self.state.refreshed = Some(Instant::now());
        Ok(())
    }

    pub(super) fn insert(&mut self, entry: Entry, now: SystemTime) -> Result<EntryId, OutboxError> {
        let id = entry.id.clone().unwrap_or_else(|| EntryId::unique(now));
        if self.state.slots.contains_key(&id) {
            return Ok(id);
        }
        if self.state.unreadable.contains_key(id.as_str()) {
            return Err(OutboxError::entry(format!("there is a broken entry '{id}' already")));
        }
        if let Some(after) = &entry.after
            && self.state.slots.get(after).is_some_and(|slot| slot.record.failed)
        {
            return Err(OutboxError::entry(format!("'{after}', which it waits for, failed")));
        }
        let record = Record::new(id.clone(), entry, now);
        let bytes = record.to_json()?.len() as u64;
        self.make_room(&record, bytes.saturating_add(record.delivery.bytes()))?;
        let written = self.store.journal.write(&self.locked, &record);
        let found = written.inspect_err(|_| self.state.counters.refused += 1)?;
        self.state.slots.insert(id.clone(), Slot { record, found, sending: false });
        self.state.counters.appended += 1;
        Ok(id)
    }

    /// Drops notifications, those that were given up first, then the oldest, until `record` fits.
    fn make_room(&mut self, record: &Record, bytes: u64) -> Result<(), OutboxError> {
        let limits = self.store.limits;
        let notification = !record.delivery.is_object();
        let droppable =
            |slot: &&Slot| !slot.record.delivery.is_object() && !slot.sending && !slot.found.done;
        let mut old: Vec<&Slot> = self.state.slots.values().filter(droppable).collect();
        let mut count = old.len();
        let mut taken = self.state.bytes();
        let fits = |taken: u64, count: usize| {
            taken.saturating_add(bytes) <= limits.max_bytes
                && (!notification || count < limits.max_notifications)
        };
        if fits(taken, count) {
            return Ok(());
        }
        let most = old.iter().map(|slot| slot.found.bytes).fold(0, u64::saturating_add);
        if taken.saturating_sub(most).saturating_add(bytes) > limits.max_bytes {
            self.state.counters.refused += 1;
            return Err(OutboxError::Full {
                what: record.delivery.target(),
                path: self.store.root.clone(),
                bytes: taken,
                limit: limits.max_bytes,
            });
        }
        old.sort_by_key(|s| (!s.record.failed, s.record.created, s.record.id.clone()));
        let mut drops = Vec::new();
        for slot in old {
            if fits(taken, count) {
                break;
            }
            taken = taken.saturating_sub(slot.found.bytes);
            count -= 1;
            drops.push(slot.record.id.clone());
        }
        for id in drops {
            self.drop_entry(&id, "there was no room for it any more")?;
        }
        Ok(())
    }

    /// Takes an entry out. Its object's file goes, too.
    pub(super) fn drop_entry(&mut self, id: &EntryId, reason: &str) -> Result<(), OutboxError> {
        let slot = self.state.slots.get(id).filter(|slot| !slot.found.done);
        let Some(slot) = slot else {
            return Err(OutboxError::NoEntry { id: id.to_string() });
        };
        let record = slot.record.clone();
        // First those that wait for it: otherwise they would be sent after a crash.
        self.fail_followers(id, &format!("'{id}', which it waited for, was dropped"));
        self.store.journal.remove(&self.locked, id.as_str(), false)?;
        if let Delivery::Object(object) = &record.delivery {
            let path = file_of(&self.store.root, object);
            remove_file(&path).map_err(|error| OutboxError::io("remove", &path, error))?;
        }
        self.state.slots.remove(id);
        self.state.counters.dropped += 1;
        self.notices
            .push(Notice::Dropped { item: item(&record, false), reason: reason.to_owned() });
        Ok(())
    }

    /// Drops notifications that are too old.
    pub(super) fn expire(&mut self, now: SystemTime) -> Result<(), OutboxError> {
        let age = |slot: &Slot| now.duration_since(slot.record.created).unwrap_or_default();
        let old = |slot: &&Slot| {
            let waits = !slot.record.failed && !slot.sending && !slot.found.done;
            waits && !slot.record.delivery.is_object() && age(slot) > self.store.limits.max_age
        };
        let slots = self.state.slots.values().filter(old);
        let ids: Vec<EntryId> = slots.map(|slot| slot.record.id.clone()).collect();
        for id in ids {
            self.drop_entry(&id, "it is too old")?;
        }
        Ok(())
    }

    /// Gives an entry up, and those that wait for it. They are kept to be looked at.
    pub(super) fn fail(&mut self, id: &EntryId, error: &str) {
        let Some(slot) = self.state.slots.get_mut(id) else { return };
        slot.record.failed = true;
        slot.record.last_error = Some(error.to_owned());
        // What only waited for it was not tried itself.
        let tried = u32::from(std::mem::take(&mut slot.sending));
        slot.record.attempts = slot.record.attempts.saturating_add(tried);
        let item = item(&slot.record, false);
        self.state.counters.failed += 1;
        self.save(id);
        self.notices.push(Notice::Failed { item });
        self.fail_followers(id, &format!("'{id}', which it waited for, failed"));
    }

    fn fail_followers(&mut self, id: &EntryId, error: &str) {
        let follows = |slot: &&Slot| slot.record.after.as_ref() == Some(id) && !slot.record.failed;
        let slots = self.state.slots.values().filter(follows);
        let followers: Vec<EntryId> = slots.map(|slot| slot.record.id.clone()).collect();
        for follower in followers {
            // Ends: what has failed is not looked at again.
            self.fail(&follower, error);
        }
    }

    /// Notes a failed attempt.
    pub(super) fn postpone(&mut self, id: &EntryId, error: &str, next_try: SystemTime) {
        let Some(slot) = self.state.slots.get_mut(id) else { return };
        slot.sending = false;
        slot.record.attempts = slot.record.attempts.saturating_add(1);
        slot.record.last_error = Some(error.to_owned());
        slot.record.next_try = next_try;
        let item = item(&slot.record, false);
        self.state.counters.retries += 1;
        self.save(id);
        self.notices.push(Notice::Postponed { item });
    }

    /// Writes an entry's state. On a full disk it is known to this process alone: after a restart
    /// the entry is tried earlier than it might be, nothing else.
    fn save(&mut self, id: &EntryId) {
        let Some(slot) = self.state.slots.get_mut(id) else { return };
        if !self.store.journal.waits(&self.locked, id) {
            self.state.slots.remove(id);
            return;
        }
        match self.store.journal.write(&self.locked, &slot.record) {
            Ok(found) => slot.found = found,
            Err(_) => self.state.counters.journal_errors += 1,
        }
    }

    /// An attempt was given up half-way, by whoever stops the sender.
    pub(super) fn cancelled(&mut self, id: &EntryId) {
        if let Some(slot) = self.state.slots.get_mut(id) {
            slot.sending = false;
        }
    }

    /// From here on the entry is never sent again.
    pub(super) fn delivered(&mut self, record: &Record, stored: Option<Stored>) {
        if self.store.journal.mark_done(&self.locked, &record.id).is_err() {
            // It is removed in a moment; if the process dies before that, it is sent twice under
            // the same key.
            self.state.counters.journal_errors += 1;
        }
        if let Some(slot) = self.state.slots.get_mut(&record.id) {
            slot.found.done = true;
        }
        self.state.counters.delivered += 1;
        self.notices.push(Notice::Delivered { item: item(record, false), stored });
    }

    /// Removes what is left of a delivered entry.
    pub(super) fn tidy(&mut self, record: &Record) {
        let id = record.id.as_str();
        let file = match &record.delivery {
            Delivery::Object(object) => remove_file(&file_of(&self.store.root, object)).is_ok(),
            _ => true,
        };
        // The mark goes last: while it is there the next run tidies up, and does not send.
        let remove = |done| self.store.journal.remove(&self.locked, id, done).is_ok();
        if file && remove(false) && remove(true) {
            self.state.slots.remove(&record.id);
            return;
        }
        self.state.counters.journal_errors += 1;
        if let Some(slot) = self.state.slots.get_mut(&record.id) {
            // Left alone for as long as this process lives.
            slot.sending = true;
        }
    }

    /// Makes an entry due that failed or is postponed.
    pub(super) fn retry(&mut self, id: &EntryId, now: SystemTime) -> Result<(), OutboxError> {
        let slot = self.state.slots.get_mut(id).filter(|slot| !slot.found.done);
        let Some(slot) = slot else {
            return Err(OutboxError::NoEntry { id: id.to_string() });
        };
        let after = slot.record.after.clone();
        slot.record.failed = false;
        slot.record.next_try = now;
        // A notification is as young again as when it was made.
        slot.record.created = now;
        slot.found = self.store.journal.write(&self.locked, &slot.record)?;
        match after {
            Some(after) if self.state.slots.get(&after).is_some_and(|s| s.record.failed) => {
                self.retry(&after, now)
            }
            _ => Ok(()),
        }
    }

    /// The entry to send next. `held` tells until when a place is left alone, `skip` leaves entries
    /// out; with `all` the times of the entries do not count.
    pub(super) fn pick(
        &mut self,
        lane: Option<Lane>,
        now: SystemTime,
        held: &dyn Fn(&str) -> Option<SystemTime>,
        skip: &dyn Fn(&Record) -> bool,
        all: bool,
    ) -> Pick {
        self.fail_orphans();
        let mut best: Option<&Record> = None;
        let mut next: Option<SystemTime> = None;
        for slot in self.state.slots.values() {
            let record = &slot.record;
            let ours = lane.is_none_or(|lane| lane == Lane::of(&record.delivery));
            if !ours || record.failed || slot.sending || skip(record) {
                continue;
            }
            if slot.found.done {
                return Pick::Done(Box::new(record.clone()));
            }
            if record.after.as_ref().is_some_and(|after| self.state.blocks(after)) {
                continue;
            }
            // No wait is longer: the clock was set back.
            let wrong = record.next_try > now + LONGEST_WAIT;
            let own = if wrong || all { now } else { record.next_try };
            let due =
                if all { now } else { own.max(held(&record.delivery.place()).unwrap_or(own)) };
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
                continue;
            }
            let order = |r: &Record| (r.next_try.min(now), r.created, r.id.clone());
            if best.is_none_or(|best| order(record) < order(best)) {
                best = Some(record);
            }
        }
        let Some(record) = best.cloned() else { return Pick::Idle(next) };
        if let Some(slot) = self.state.slots.get_mut(&record.id) {
            slot.sending = true;
        }
        Pick::Send(Box::new(record))
    }

    /// Gives up what waits for something that failed, where a crash came in between.
    fn fail_orphans(&mut self) {
        let failed = |id: &EntryId| self.state.slots.get(id).is_some_and(|s| s.record.failed);
        let orphan = |slot: &&Slot| {
            !slot.record.failed
                && !slot.found.done
                && slot.record.after.as_ref().is_some_and(failed)
        };
        let slots = self.state.slots.values().filter(orphan);
        let orphans: Vec<EntryId> = slots.map(|slot| slot.record.id.clone()).collect();
        for id in orphans {
            self.fail(&id, "what it waited for failed");
        }
    }

    /// Entries that can be sent, now or later.
    pub(super) fn waiting(&self) -> usize {
        self.state.slots.values().filter(|s| !s.record.failed && !s.found.done).count()
    }

    /// All entries, the oldest first; unreadable ones at the end.
    pub(super) fn items(&self) -> Vec<Item> {
        let slots = self.state.slots.values().filter(|slot| !slot.found.done);
        let blocked =
            |record: &Record| record.after.as_ref().is_some_and(|id| self.state.blocks(id));
        let mut items: Vec<Item> =
            slots.map(|slot| item(&slot.record, blocked(&slot.record))).collect();
        items.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        let unreadable = self.state.unreadable.iter();
        items.extend(unreadable.map(|(name, (found, why))| self.unreadable_item(name, found, why)));
        items
    }

    fn unreadable_item(&self, name: &str, found: &Found, why: &Unreadable) -> Item {
        let file = self.store.journal.path(name, found.done);
        Item {
            id: name.to_owned(),
            kind: why.kind.clone().unwrap_or_else(|| "?".to_owned()),
            target: file.display().to_string(),
            key: None,
            after: None,
            created: None,
            attempts: 0,
            next_try: None,
            last_error: Some(why.reason.clone()),
            state: ItemState::Unreadable,
            bytes: found.bytes,
        }
    }

    /// Removes an entry that cannot be read.
    pub(super) fn drop_unreadable(&mut self, name: &str) -> Result<(), OutboxError> {
        let Some((found, _)) = self.state.unreadable.get(name) else {
            return Err(OutboxError::NoEntry { id: name.to_owned() });
        };
        self.store.journal.remove(&self.locked, name, found.done)?;
        self.state.unreadable.remove(name);
        Ok(())
    }
}

fn item(record: &Record, blocked: bool) -> Item {
    let state = match (record.failed, blocked) {
        (true, _) => ItemState::Failed,
        (false, true) => ItemState::Blocked,
        (false, false) => ItemState::Waiting,
    };
    let key = match &record.delivery {
        Delivery::Object(object) => Some(object.key.clone()),
        _ => None,
    };
    Item {
        id: record.id.to_string(),
        kind: record.delivery.kind().to_owned(),
        target: record.delivery.target(),
        key,
        after: record.after.as_ref().map(ToString::to_string),
        created: Some(record.created),
        attempts: record.attempts,
        next_try: (!record.failed).then_some(record.next_try),
        last_error: record.last_error.clone(),
        state,
        bytes: record.delivery.bytes(),
    }
}
