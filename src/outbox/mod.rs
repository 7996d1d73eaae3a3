//! What has to leave this machine, kept on the disk until it has: files for a storage, messages for
//! a webhook, an MQTT broker or a program.
//!
//! [`Outbox::append`] returns when the entry is on the disk; from then on it is delivered at least
//! once, under the same key, whatever happens to the network and to the process. A [`Sender`]
//! delivers in the background, a [`Courier`] when it is told to. Nothing here waits for the network
//! but these two.
//!
//! Policy when there is no room: notifications are dropped, those that were given up first, then
//! the oldest; objects never. An object that does not fit is refused to whoever appends it. Every
//! drop is counted and told by name.
//!
//! ```
//! use face_core::outbox::{Courier, Entry, Exec, Limits, Message, Outbox};
//!
//! let folder = tempfile::tempdir()?;
//! let outbox = Outbox::open(folder.path(), Limits::default())?;
//! let message = Message::json(&"somebody is at the door")?;
//! outbox.append(Entry::new(Exec::new("true", vec![], message)))?;
//! Courier::new(&outbox)?.round(std::time::SystemTime::now(), &|| false)?;
//! assert_eq!(outbox.stats().delivered, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod courier;
mod entry;
mod error;
mod exec;
mod journal;
mod mqtt;
mod secret;
mod sender;
mod store;
mod template;
mod webhook;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;

use crate::storage::Stored;
pub use courier::{Courier, Flush};
pub use entry::{Address, Delivery, Entry, EntryId, Exec, LinkTo, Mqtt, Object, Webhook};
pub use error::OutboxError;
use journal::Journal;
pub use secret::SecretSource;
pub use sender::Sender;
use store::Store;
pub use template::{Channel, Message, Placeholder, Template, TemplateError, Values};

/// Environment variable that names the spool where none is given.
pub const SPOOL_VARIABLE: &str = "GST_FACE_SPOOL";

/// The spool where none is given: that of the environment, else `gst-face/spool` among the user's
/// state. `None` where the user has no such folder.
pub fn default_spool() -> Option<PathBuf> {
    let named = std::env::var_os(SPOOL_VARIABLE).filter(|value| !value.is_empty());
    let own = || dirs::state_dir().map(|folder| folder.join("gst-face").join("spool"));
    named.map(PathBuf::from).or_else(own)
}

/// How much an outbox keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all entries and of the objects' files.
    pub max_bytes: u64,
    /// Messages of all kinds, with those that were given up.
    pub max_notifications: usize,
    /// Messages older than this are dropped; objects have no age.
    pub max_age: Duration,
}

impl Default for Limits {
    /// 10 GiB, 10,000 notifications, a day.
    fn default() -> Self {
        let max_age = Duration::from_secs(86_400);
        Self { max_bytes: 10 << 30, max_notifications: 10_000, max_age }
    }
}

/// What is in an outbox, and what happened since this process opened it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Entries that are still to be sent.
    pub waiting: u64,
    /// Entries that failed for good and are kept to be looked at.
    pub given_up: u64,
    /// Files in the journal that are broken, or of a kind or version that is not known here.
    pub unreadable: u64,
    /// Of all entries and of the objects' files.
    pub bytes: u64,
    pub appended: u64,
    pub delivered: u64,
    /// Attempts that failed and are repeated.
    pub retries: u64,
    /// Entries that were given up.
    pub failed: u64,
    /// Notifications that had no room or were too old, and what a person dropped.
    pub dropped: u64,
    /// Entries that had no room, by the limits or on the disk.
    pub refused: u64,
    /// Changes of an entry's state that could not be written.
    pub journal_errors: u64,
}

/// How an entry is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ItemState {
    /// To be sent.
    Waiting,
    /// Waits for another entry.
    Blocked,
    /// Given up, and kept.
    Failed,
    /// Broken, or of a kind or version that is not known here. It is kept.
    Unreadable,
}

impl ItemState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// An entry, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub id: String,
    /// `object`, `webhook`, `exec`, `mqtt`, or what a newer version wrote.
    pub kind: String,
    /// Where it goes, without secrets; of an unreadable entry its file.
    pub target: String,
    /// Of an object.
    pub key: Option<String>,
    /// The entry that it waits for, or waited for.
    pub after: Option<String>,
    pub created: Option<SystemTime>,
    pub attempts: u32,
    pub next_try: Option<SystemTime>,
    pub last_error: Option<String>,
    pub state: ItemState,
    /// Of an object's file.
    pub bytes: u64,
}

/// Something that happened to an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It arrived. Told again after a crash just then.
    Delivered {
        item: Item,
        /// Of an object; `None` when an earlier run of the process stored it.
        stored: Option<Stored>,
    },
    /// An attempt failed; it is repeated at `next_try`.
    Postponed { item: Item },
    /// It is given up, and kept.
    Failed { item: Item },
    /// It is gone without having been delivered.
    Dropped { item: Item, reason: String },
    /// The journal holds something that cannot be read. It is kept.
    Unreadable { item: Item },
    /// Nothing is sent at the moment, such as because another process does.
    Waiting { reason: String },
}

/// Told what happens; on the thread that sends, or the one that appends. No lock is held meanwhile.
pub type Callback = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Objects, which may take minutes, and messages, which must not wait for them, go separate ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Objects,
    Messages,
}

impl Lane {
    fn of(delivery: &Delivery) -> Self {
        if delivery.is_object() { Self::Objects } else { Self::Messages }
    }
}

/// The outbox of a spool: a handle, of which there may be many.
#[derive(Clone, Debug)]
pub struct Outbox {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    store: Store,
    callbacks: Mutex<Vec<(u64, Callback)>>,
    post: sender::Post,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("root", &self.store.root).finish_non_exhaustive()
    }
}

/// The outboxes that are open in this process, by the real path of their spool: elements that name
/// the same spool share one, and so one sender.
static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Inner>>>> = Mutex::new(None);

impl Outbox {
    /// Opens the outbox of a spool folder, which is made if it is missing, for its owner only. In
    /// one process all outboxes of a spool are the same.
    ///
    /// # Errors
    /// [`OutboxError::Io`]; [`OutboxError::Limits`] if it is open with others. A broken entry is no
    /// error: see [`Notice::Unreadable`] and [`Outbox::list`].
    pub fn open(spool: &Path, limits: Limits) -> Result<Self, OutboxError> {
        if limits.max_notifications == 0 {
            return Err(OutboxError::entry("an outbox without notifications has no use"));
        }
        let mut open = OPEN.lock();
        let open = open.get_or_insert_default();
        open.retain(|_, inner| inner.strong_count() > 0);
        let journal = Journal::open(spool, true)?;
        let failed = |error| OutboxError::io("open", spool, error);
        let root = spool.canonicalize().map_err(failed)?;
        if let Some(inner) = open.get(&root).and_then(Weak::upgrade) {
            if inner.store.limits != limits {
                return Err(OutboxError::Limits { path: root });
            }
            return Ok(Self { inner });
        }
        let outbox = Self::new(root.clone(), journal, limits)?;
        open.insert(root, Arc::downgrade(&outbox.inner));
        Ok(outbox)
    }

    /// Opens the outbox of a spool that is there, to look at it or to send what waits.
    ///
    /// # Errors
    /// [`OutboxError::NotFound`], [`OutboxError::Io`].
    pub fn existing(spool: &Path) -> Result<Self, OutboxError> {
        let journal = Journal::open(spool, false)?;
        let failed = |error| OutboxError::io("open", spool, error);
        Self::new(spool.canonicalize().map_err(failed)?, journal, Limits::default())
    }

    fn new(root: PathBuf, journal: Journal, limits: Limits) -> Result<Self, OutboxError> {
        let store = Store::new(root, journal, limits);
        let post = sender::Post::default();
        let outbox = Self { inner: Arc::new(Inner { store, callbacks: Mutex::default(), post }) };
        // Nobody listens yet: what cannot be read is told by list() and by the sender.
        outbox.inner.store.change(&mut Vec::new(), |change| change.refresh(true))?;
        Ok(outbox)
    }

    /// The real path of the spool.
    pub fn spool(&self) -> &Path {
        &self.inner.store.root
    }

    /// Writes an entry down. When this returns the entry and, for an object, its file are on the
    /// disk, and it will be delivered. An entry whose id is there already is not written again.
    ///
    /// # Errors
    /// [`OutboxError::Full`] when there is no room, [`OutboxError::Entry`],
    /// [`OutboxError::Storage`] and [`OutboxError::Mqtt`] for what can never be sent,
    /// [`OutboxError::Io`]. Nothing is left behind then; an object's file stays with the caller.
    pub fn append(&self, entry: Entry) -> Result<EntryId, OutboxError> {
        self.append_at(entry, SystemTime::now())
    }

    /// [`Outbox::append`], by another clock than that of the system.
    ///
    /// # Errors
    /// As [`Outbox::append`].
    pub fn append_at(&self, mut entry: Entry, now: SystemTime) -> Result<EntryId, OutboxError> {
        entry.delivery.check()?;
        self.inner.store.settle(&mut entry.delivery)?;
        let id = self.inner.change(|change| {
            change.refresh(false)?;
            change.insert(entry, now)
        })?;
        self.inner.post.wake();
        Ok(id)
    }

    /// All entries, the oldest first.
    ///
    /// # Errors
    /// [`OutboxError::Io`].
    pub fn list(&self) -> Result<Vec<Item>, OutboxError> {
        self.inner.change(|change| {
            change.refresh(true)?;
            Ok(change.items())
        })
    }

    /// Makes an entry due now that failed or is postponed, and what it waits for.
    ///
    /// # Errors
    /// [`OutboxError::NoEntry`], [`OutboxError::Io`].
    pub fn retry(&self, id: &str) -> Result<(), OutboxError> {
        let id = EntryId::new(id)?;
        self.inner.change(|change| {
            change.refresh(true)?;
            change.retry(&id, SystemTime::now())
        })?;
        self.inner.post.wake();
        Ok(())
    }

    /// Removes an entry, an object's file with it. What waits for it fails.
    ///
    /// # Errors
    /// [`OutboxError::NoEntry`], [`OutboxError::Io`].
    pub fn drop_entry(&self, id: &str) -> Result<(), OutboxError> {
        self.inner.change(|change| {
            change.refresh(true)?;
            match EntryId::new(id).map(|id| change.drop_entry(&id, "it was dropped by hand")) {
                Ok(Err(OutboxError::NoEntry { .. })) | Err(_) => change.drop_unreadable(id),
                Ok(dropped) => dropped,
            }
        })
    }

    /// What is in the outbox, and what happened.
    pub fn stats(&self) -> Stats {
        self.inner.store.stats()
    }

    /// Sends in the background for as long as the [`Sender`] lives, and tells `callback` what
    /// happens in this spool, to whomever's entries. All senders of a spool in a process share two
    /// threads. While another process sends from the spool this one waits, and says so.
    ///
    /// # Errors
    /// [`OutboxError::Thread`].
    pub fn start(&self, callback: Callback) -> Result<Sender, OutboxError> {
        Sender::start(&self.inner, callback)
    }
}

impl Inner {
    /// Changes entries, and tells what happened.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut store::Change<'_>) -> Result<T, OutboxError>,
    ) -> Result<T, OutboxError> {
        let mut notices = Vec::new();
        let result = self.store.change(&mut notices, change);
        for notice in &notices {
            self.tell(notice);
        }
        result
    }

    fn tell(&self, notice: &Notice) {
        // Copied: a callback may open, start and stop senders.
        let callbacks: Vec<Callback> =
            self.callbacks.lock().iter().map(|(_, callback)| callback.clone()).collect();
        for callback in callbacks {
            // A panic of somebody else's code must not end the thread that sends; it has been
            // printed by the panic hook.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(notice)));
        }
    }
}
