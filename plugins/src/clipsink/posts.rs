//! What clipsink says on the bus, on whatever thread has something to say; no lock is held meanwhile.

use std::collections::HashSet;

use face_core::clip::{OpenClip, Part, Spooled, utc};
use face_core::outbox::{Item, Notice};
use face_core::storage::{Storage, Stored};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;

use super::imp::{CAT, ClipSink};
use super::making::Lost;
use super::worker::Report;
use crate::runtime::with_causes;

/// Ids of the clips of all elements in this process: of one that is stored, its own element tells.
static CLAIMED: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// The clips of one element.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashSet<String>>);

impl Claims {
    fn claim(&self, id: &str) {
        CLAIMED.lock().get_or_insert_default().insert(id.to_owned());
        self.0.lock().insert(id.to_owned());
    }

    /// Is it told by this element? It is if the clip is its own, or nobody's: left behind by a
    /// process that died.
    fn are_told(&self, id: &str) -> bool {
        let own = self.0.lock().remove(id);
        let claimed = CLAIMED.lock().get_or_insert_default().remove(id);
        own || !claimed
    }

    /// The element tells no more.
    pub(super) fn give_up(&self) {
        let own = std::mem::take(&mut *self.0.lock());
        if let Some(claimed) = &mut *CLAIMED.lock() {
            claimed.retain(|id| !own.contains(id));
        }
    }
}

/// The clip of an entry that stores a video; `None` for any other entry.
fn clip_of(item: &Item) -> Option<&str> {
    item.id.strip_prefix("clip-")?.strip_suffix("-original")
}

impl ClipSink {
    pub(super) fn report(&self, report: Report) {
        match report {
            Report::Started(open) => {
                self.stats.lock().started += 1;
                self.tell("clip-started", &open, |message| message);
            }
            Report::Spooled(open, spooled) => self.spooled(&open, &spooled),
            Report::Lost(open, lost) => self.lost(&open, &lost),
            Report::Warning(text) => self.warn(&text),
            Report::Drained => {
                gst::debug!(CAT, imp = self, "everything is in the spool");
                let eos = gst::message::Eos::builder().src(&*self.obj()).build();
                self.post(eos);
                self.remind_parent();
            }
            Report::Panicked(text) => {
                gst::element_imp_error!(self, gst::LibraryError::Failed, ("{text}"));
            }
        }
    }

    /// Lets a bin that plays look once more whether all its sinks have come to their end.
    ///
    /// A bin forwards the end only after it has posted that it plays, and takes a message of an
    /// earlier state that another thread posts late for a later one (`gst_bin_post_message` posts
    /// first, and notes what it posted then). Sinks that preroll keep such a thread and the change
    /// to PLAYING apart; this one does not preroll, and would now and then wait for ever.
    fn remind_parent(&self) {
        let parent = self.obj().parent().and_downcast::<gst::Bin>();
        let Some(parent) = parent.filter(|parent| {
            let (result, state, pending) = parent.state(gst::ClockTime::ZERO);
            result == Ok(gst::StateChangeSuccess::Success)
                && state == gst::State::Playing
                && pending == gst::State::VoidPending
        }) else {
            return;
        };
        let (playing, none) = (gst::State::Playing, gst::State::VoidPending);
        let message = gst::message::StateChanged::builder(playing, playing, none);
        // Fails only when nobody listens.
        let _ = parent.post_message(message.src(&parent).build());
    }

    fn spooled(&self, open: &OpenClip, spooled: &Spooled) {
        self.stats.lock().spooled += 1;
        self.claims.claim(open.id());
        let sidecar = &open.sidecar;
        self.tell("clip-spooled", open, |message| {
            message
                .field("size", spooled.bytes)
                .field("sha256", &spooled.sha256)
                .field("duration", sidecar.duration_ns)
                .field("truncated", sidecar.truncated)
                .field("missing", gst::Array::new(sidecar.missing.iter().map(|m| m.what.as_str())))
        });
    }

    fn lost(&self, open: &OpenClip, lost: &Lost) {
        self.stats.lock().failed += 1;
        let after = match lost.kept {
            true => {
                "; its files are kept, and it is tried again with the next clip, or at the next start"
            }
            false => "",
        };
        self.tell("clip-failed", open, |message| {
            message.field("reason", &lost.reason).field("kept", lost.kept)
        });
        let events: Vec<&str> =
            open.sidecar.triggers.iter().map(|trigger| trigger.id.as_str()).collect();
        let name = open.key(Part::Original).unwrap_or_else(|| open.id().to_owned());
        let events = events.join(", ");
        self.warn(&format!("no clip '{name}' of the event {events}: {}{after}", lost.reason));
    }

    /// What happened in the outbox, to anybody's entries.
    pub(super) fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Delivered { item, stored } => {
                if let Some(clip) = clip_of(item).filter(|clip| self.claims.are_told(clip)) {
                    self.stored(clip, item, stored.as_ref());
                }
            }
            Notice::Postponed { item } if clip_of(item).is_some() => {
                let key = item.key.as_deref().unwrap_or_default();
                let error = item.last_error.as_deref().unwrap_or("it failed");
                let text = format!("attempt {} to store '{key}': {error}", item.attempts);
                self.warn(&format!("{text}; it stays in the spool and is tried again"));
            }
            Notice::Failed { item } => {
                let error = item.last_error.clone().unwrap_or_default();
                self.undelivered(item, &error);
            }
            Notice::Dropped { item, reason } => self.undelivered(item, reason),
            Notice::Unreadable { item } => {
                let error = item.last_error.clone().unwrap_or_default();
                self.warn(&format!("the spool holds '{}', which cannot be read: {error}", item.id));
            }
            Notice::Waiting { reason } => {
                gst::info!(CAT, imp = self, "nothing is sent at the moment: {reason}");
            }
            Notice::Postponed { item } => {
                gst::info!(CAT, imp = self, "{} {} is tried again", item.kind, item.id);
            }
        }
    }

    fn undelivered(&self, item: &Item, reason: &str) {
        if let Some(clip) = clip_of(item).filter(|clip| self.claims.are_told(clip)) {
            self.stats.lock().failed += 1;
            let message = gst::Structure::builder("clip-failed")
                .field("clip-id", clip)
                .field("key", item.key.as_deref().unwrap_or_default())
                .field("reason", reason)
                .field("kept", false)
                .build();
            self.post_structure(message);
        }
        let what = item.key.as_deref().unwrap_or(&item.id);
        self.warn(&format!("{} '{what}' was not delivered: {reason}", item.kind));
    }

    fn stored(&self, clip: &str, item: &Item, stored: Option<&Stored>) {
        self.stats.lock().stored += 1;
        let key = item.key.as_deref().unwrap_or_default();
        let mut message = gst::Structure::builder("clip-stored")
            .field("clip-id", clip)
            .field("key", key)
            .field("size", stored.map_or(item.bytes, |stored| stored.size));
        if let Some(stored) = stored {
            message = message.field("sha256", &stored.sha256);
        }
        let options = self.link_options();
        let link = options
            .map(|(uri, expiry)| Storage::open(&uri).and_then(|storage| storage.link(key, expiry)));
        match link {
            Some(Ok(link)) => {
                message = message.field("url", &link.url);
                if let Some(expires) = link.expires {
                    message = message.field("expires-at", utc::format(expires));
                }
            }
            Some(Err(error)) => {
                gst::info!(CAT, imp = self, "no link to '{key}': {}", with_causes(&error));
            }
            None => {}
        }
        self.post_structure(message.build());
    }

    /// Posts a message about a clip.
    fn tell(
        &self,
        name: &str,
        open: &OpenClip,
        more: impl FnOnce(gst::structure::Builder) -> gst::structure::Builder,
    ) {
        let triggers = &open.sidecar.triggers;
        let mut message = gst::Structure::builder(name)
            .field("clip-id", open.id())
            .field("camera", &open.sidecar.camera)
            .field("storage", &open.storage)
            .field("event-ids", gst::Array::new(triggers.iter().map(|t| t.id.as_str())));
        if let Some(key) = open.key(Part::Original) {
            message = message.field("key", key);
        }
        if let Some(trigger) = triggers.first() {
            message = message.field("event", &trigger.event);
        }
        self.post_structure(more(message).build());
    }

    fn post_structure(&self, structure: gst::Structure) {
        let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
        self.post(message);
    }

    fn post(&self, message: gst::Message) {
        // Fails only when nobody listens.
        let _ = self.obj().post_message(message);
    }

    pub(super) fn warn(&self, text: &str) {
        gst::element_imp_warning!(self, gst::ResourceError::Write, ("{text}"));
    }
}

/// The property `stats`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub(super) faces: u64,
    pub(super) pictures: u64,
    pub(super) triggers: u64,
    pub(super) refused: u64,
    pub(super) started: u64,
    pub(super) spooled: u64,
    pub(super) stored: u64,
    pub(super) failed: u64,
    pub(super) audio_dropped: u64,
    pub(super) malformed: u64,
}

impl Stats {
    /// With what is so at the moment.
    pub(super) fn structure(self, open: u64, kept: u64, pending: u64) -> gst::Structure {
        gst::Structure::builder("stats")
            .field("faces", self.faces)
            .field("pictures", self.pictures)
            .field("triggers", self.triggers)
            .field("refused", self.refused)
            .field("clips-started", self.started)
            .field("clips-spooled", self.spooled)
            .field("clips-stored", self.stored)
            .field("clips-failed", self.failed)
            .field("audio-dropped", self.audio_dropped)
            .field("malformed", self.malformed)
            .field("open-clips", open)
            .field("kept-bytes", kept)
            .field("pending-bytes", pending)
            .build()
    }
}

/// The id of an event that a program tells.
pub(super) fn new_id() -> String {
    glib::uuid_string_random().to_string()
}
