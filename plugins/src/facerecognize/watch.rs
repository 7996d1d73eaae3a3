//! Watches the tracks of a stream for what is to be told: alerts while they last, summaries when
//! they end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use face_core::gallery::{Gallery, GalleryError, Identification};
use face_core::identity::alert::{Alert, AlertCounts, Alerts, Verdict};
use face_core::identity::summary::{BestShot, Sighting, TrackSummaries, TrackSummary};
use face_core::identity::{Moment, Status, TrackIdentities};

use super::alerts::{self, AlertOptions};
use super::groups::PeopleGroups;
use super::stream::When;
use super::track_summary;
use crate::meta::{Event, Face, FrameFaces, TrackState};

/// So many tracks are remembered as failed, should the news of their ends be lost.
const MOST_FAILED: usize = 4096;

/// What is to be told: messages for the bus, events for the metadata.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) messages: Vec<gst::Structure>,
    pub(super) events: Vec<Event>,
}

/// Times of the last buffer: those of what happens between two, or after the last.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    pts: Option<gst::ClockTime>,
    running_ns: Option<u64>,
    taken: Option<SystemTime>,
    now: Moment,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    options: Arc<AlertOptions>,
    alerts: Alerts,
    summaries: TrackSummaries,
    /// Groups of the people of the gallery; only if rules ask for them.
    groups: PeopleGroups,
    /// Tracks whose last look-up failed.
    failed: HashSet<u64>,
    last: Last,
}

impl Watch {
    pub(super) fn set_options(&mut self, options: Arc<AlertOptions>) {
        self.options = options;
    }

    pub(super) fn counts(&self) -> AlertCounts {
        self.alerts.counts()
    }

    /// Reads the groups of people, if rules ask for them and the gallery has changed.
    pub(super) fn refresh_groups(
        &mut self,
        gallery: &Gallery,
        generation: u64,
    ) -> Result<(), GalleryError> {
        if !self.options.rules().want_groups() {
            return Ok(());
        }
        self.groups.refresh(gallery, generation)
    }

    /// Takes in a result about a track.
    pub(super) fn vote(
        &mut self,
        track_id: u64,
        result: &Identification,
        shot: BestShot,
        weight: f32,
    ) {
        self.failed.remove(&track_id);
        self.summaries.vote(track_id, result, shot, weight);
    }

    /// Did the last look-up of this track fail?
    pub(super) fn failed(&self, track_id: u64) -> bool {
        self.failed.contains(&track_id)
    }

    /// The last frame.
    pub(super) fn now(&self) -> Moment {
        self.last.now
    }

    /// Takes in what is known of the faces of a frame, and which tracks ended on it.
    pub(super) fn frame(
        &mut self,
        faces: &FrameFaces,
        identities: &TrackIdentities,
        when: &When,
    ) -> Told {
        self.last = Last {
            pts: when.pts,
            running_ns: when.running_time.map(gst::ClockTime::nseconds),
            taken: when.taken,
            now: Moment { frame: faces.frame_id, time_ns: when.time_ns },
        };
        let mut told = Told::default();
        for face in faces.faces.iter().filter(|f| f.track_id != 0) {
            if let Some(alert) = self.see(face, identities) {
                let top_k = face.top_k.clone();
                self.tell(&alert, top_k, identities, &mut told);
            }
        }
        for id in &faces.ended_tracks {
            self.end(*id, identities, &mut told);
        }
        told
    }

    /// The stream ended or jumped, and all tracks with it. The events come too late for any buffer.
    pub(super) fn end_all(&mut self, identities: &TrackIdentities) -> Told {
        let mut told = Told::default();
        let options = self.options.clone();
        for alert in self.alerts.end_all(self.last.now.time_ns, &options.settings) {
            self.tell(&alert, Vec::new(), identities, &mut told);
        }
        for track in self.summaries.end_all() {
            self.sum_up(&track, &mut told);
        }
        self.alerts.clear();
        self.failed.clear();
        told
    }

    fn see(&mut self, face: &Face, identities: &TrackIdentities) -> Option<Alert> {
        if face.status == Status::Error && self.failed.len() < MOST_FAILED {
            self.failed.insert(face.track_id);
        }
        let person = identities.get(face.track_id).and_then(|track| track.person.as_ref());
        let sighting = Sighting {
            track_id: face.track_id,
            was_id: face.was_id,
            observed: face.observed,
            first_seen_ns: face.first_seen_ns,
            established: face.track_state != TrackState::Tentative,
            bbox: face.bbox,
            score: face.score,
            quality: face.quality,
            zones: &face.zones,
            status: face.status,
            confirmed: face.confirmed,
            person,
        };
        self.summaries.see(&sighting, self.last.now.time_ns);
        let groups = person.map_or(&[][..], |p| self.groups.of(&p.person_id));
        let verdict = Verdict {
            track_id: face.track_id,
            was_id: face.was_id,
            observed: face.observed,
            status: face.status,
            confirmed: face.confirmed,
            person,
            similarity: face.similarity,
            groups,
            zones: &face.zones,
        };
        self.alerts.see(&verdict, self.last.now.time_ns, &self.options.settings)
    }

    fn end(&mut self, track_id: u64, identities: &TrackIdentities, told: &mut Told) {
        self.failed.remove(&track_id);
        let options = self.options.clone();
        if let Some(alert) = self.alerts.end(track_id, self.last.now.time_ns, &options.settings) {
            self.tell(&alert, Vec::new(), identities, told);
        }
        if let Some(track) = self.summaries.end(track_id) {
            self.sum_up(&track, told);
        }
    }

    fn tell(
        &self,
        alert: &Alert,
        top_k: Vec<crate::meta::Candidate>,
        identities: &TrackIdentities,
        told: &mut Told,
    ) {
        let camera = self.options.camera.as_deref();
        let Last { running_ns, taken, .. } = self.last;
        let event = alerts::event(alert, top_k, camera, running_ns, taken);
        let sample = || identities.get(alert.track_id)?.samples().first()?.crop.to_png().ok();
        let crop = if self.options.crop { sample() } else { None };
        told.messages.push(alerts::message(&event, &alert.zones, self.last.pts, crop));
        if !event.dry_run {
            told.events.push(event);
        }
    }

    fn sum_up(&self, track: &TrackSummary, told: &mut Told) {
        // What the tracker took back was no face.
        if track.established {
            told.messages.push(track_summary::message(
                track,
                self.options.camera.as_deref(),
                self.last.taken,
            ));
        }
    }
}
