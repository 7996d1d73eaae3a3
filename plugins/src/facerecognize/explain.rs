//! What the signal `explain` answers.

use std::time::Instant;

use face_core::identity::explain::{self, Facts};
use face_core::identity::{NextLook, Status};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::imp::FaceRecognize;
use super::signals::LONGEST_WAIT;
use super::stream::{Options, Stream};

/// The action signal.
pub(super) fn signal() -> glib::subclass::Signal {
    glib::subclass::Signal::builder("explain")
        .param_types([u64::static_type()])
        .return_type::<String>()
        .action()
        .class_handler(|args| {
            let element = args.first()?.get::<super::FaceRecognize>().ok()?;
            let track_id = args.get(1).and_then(|a| a.get().ok()).unwrap_or_default();
            Some(element.imp().explain(track_id).to_value())
        })
        .build()
}

impl FaceRecognize {
    /// Why a track is what it is, in plain words.
    pub(super) fn explain(&self, track_id: u64) -> String {
        let options = self.options();
        let explained = self.with_state(Instant::now() + LONGEST_WAIT, |state| {
            Ok(explain_track(&state.stream, &options, track_id))
        });
        explained.unwrap_or_else(|reason| {
            let mut letters = reason.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(letters).chain(['.']).collect()
        })
    }
}

fn explain_track(stream: &Stream, options: &Options, track_id: u64) -> String {
    let track = stream.identities.get(stream.identities.resolve(track_id));
    let track = match (track_id, track) {
        (0, _) => None,
        (_, None) => return explain::no_such_track(track_id),
        (_, track) => track,
    };
    let best = track.and_then(|t| t.last.as_ref()).and_then(|last| last.best.as_ref());
    let own_threshold = best.zip(stream.gallery.as_ref()).and_then(|(best, gallery)| {
        let snapshot = gallery.snapshot();
        snapshot.people().iter().find(|p| p.id == best.person_id).and_then(|p| p.threshold)
    });
    let votes = track.map_or(&[][..], |t| t.votes()).iter();
    let failed = stream.watch.failed(track_id);
    explain::explain(&Facts {
        track_id,
        status: track.map_or(Status::Untracked, |t| t.status()),
        person: track.and_then(|t| t.person.as_ref()),
        last: track.and_then(|t| t.last.as_ref()),
        threshold: stream.threshold(options),
        own_threshold,
        min_margin: options.min_margin,
        agreeing: track.map_or(0, |t| t.agreeing()),
        needed: options.confirm.count.max(1),
        votes: votes.map(|v| (v.person.as_ref().map(|p| &*p.name), v.count)).collect(),
        filter: track.and_then(|t| t.rejection()).map(|r| (r.reason(), r.to_string())),
        error: failed.then_some("the gallery could not be searched"),
        next_look: track
            .map_or(NextLook::Now, |t| t.next_look(stream.watch.now(), &options.schedule)),
    })
}
