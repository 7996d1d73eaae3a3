//! What facerecognize knows of the stream at hand, and the work on one frame.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use face_core::align::AlignedCrop;
use face_core::cpu::Spent;
use face_core::embed::{Embedder, Embedding};
use face_core::frame::FrameView;
use face_core::gallery::{
    Gallery, GalleryError, Identification, Match, SearchError, SearchRules, VoteRule,
};
use face_core::identity::alert::AlertCounts;
use face_core::identity::{
    Budget, ConfirmConfig, FilterConfig, Rejection, ScheduleConfig, Status, TrackIdentities,
};
use face_core::inference::{HandleStats, InferenceError};

use super::alerts::AlertOptions;
use super::gallery::Patience;
use super::look::Relink;
use super::plan::{Plan, Planned};
use super::watch::{Told, Watch};
use crate::context_query;
use crate::event_hold::{self, EventHold};
use crate::live::LateCounts;
use crate::meta::{Candidate, Event, Face, FrameFaces, Mapping};

/// Name of the message and kind of the event of a track that gets, changes or loses its name.
pub(super) const FACE_IDENTITY: &str = "face-identity";

/// The settings that a frame's work depends on.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Cosine similarity from which a face is a person; 0: the model's.
    pub(super) threshold: f32,
    pub(super) min_margin: f32,
    pub(super) top_k: usize,
    pub(super) embed_output: bool,
    /// Cut the surroundings of faces too, for enrolling their tracks.
    pub(super) loose_crops: bool,
    pub(super) head_pose: bool,
    pub(super) schedule: ScheduleConfig,
    /// Faces embedded per second of the stream; 0: any number.
    pub(super) max_per_second: u32,
    pub(super) confirm: ConfirmConfig,
    pub(super) filters: Arc<FilterConfig>,
    pub(super) event_hold_ns: u64,
    pub(super) alerts: Arc<AlertOptions>,
    /// Age beyond which a live frame is not looked at; 0: any.
    pub(super) max_latency_ns: u64,
}

/// A track's news, for the bus.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub(super) track_id: u64,
    pub(super) person: Option<Match>,
    pub(super) previous: Option<Match>,
    pub(super) event: Event,
}

/// What one frame gave to tell others.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) news: Vec<News>,
    /// Tracks whose face became another person's.
    pub(super) splits: Vec<u64>,
    /// Tracks that may be lost ones come back.
    pub(super) relinks: Vec<Relink>,
    /// Alerts and summaries of tracks.
    pub(super) messages: Vec<gst::Structure>,
    /// Why somebody could not be looked up.
    pub(super) search_error: Option<SearchError>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub(super) frames: u64,
    pub(super) faces: u64,
    pub(super) embedded: u64,
    pub(super) unusable: u64,
    pub(super) search_errors: u64,
    pub(super) late: LateCounts,
    /// Frames without a face that was due.
    pub(super) passed: u64,
    pub(super) unreadable: u64,
    pub(super) malformed: u64,
    /// Times that a face had to wait because of the budget.
    pub(super) over_budget: u64,
    pub(super) relinked: u64,
    /// Filtered faces, by [`Rejection::index`].
    pub(super) filtered: [u64; Rejection::REASONS.len()],
    pub(super) alerts: AlertCounts,
    pub(super) spent: Spent,
    pub(super) handle: HandleStats,
}

/// Times of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) pts: Option<gst::ClockTime>,
    pub(super) running_time: Option<gst::ClockTime>,
    /// When the picture was taken, if the camera tells.
    pub(super) taken: Option<SystemTime>,
    /// What the schedule counts in: running time, or where a buffer without one should be.
    pub(super) time_ns: u64,
    pub(super) deadline: Option<Instant>,
}

/// Exists between start and stop.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) embedder: Embedder,
    /// Processor time that cutting faces out has taken.
    pub(super) cut_time: Duration,
    pub(super) gallery: Option<Gallery>,
    pub(super) patience: Patience,
    pub(super) identities: TrackIdentities,
    pub(super) stats: Stats,
    /// The gallery's generation that the identities are of.
    generation: u64,
    /// News of between two frames; the next one reports them.
    pub(super) pending: Report,
    pub(super) budget: Budget,
    /// Faces without a track that had their turn, and since when the others wait for it.
    pub(super) untracked_turn: usize,
    pub(super) untracked_since_ns: Option<u64>,
    /// Memory for the next frame's plan, and for the next crop.
    pub(super) planned: Vec<Planned>,
    pub(super) untracked: Vec<Planned>,
    pub(super) crop: AlignedCrop,
    held: EventHold,
    pub(super) watch: Watch,
    pub(super) fingerprint: String,
}

impl Stream {
    pub(super) fn new(embedder: Embedder, gallery: Option<Gallery>) -> Self {
        let fingerprint = embedder.fingerprint();
        Self {
            fingerprint: format!("{}/{}", fingerprint.model, fingerprint.alignment),
            embedder,
            cut_time: Duration::ZERO,
            generation: gallery.as_ref().map_or(0, |g| g.snapshot().generation()),
            gallery,
            patience: Patience::default(),
            identities: TrackIdentities::default(),
            stats: Stats::default(),
            pending: Report::default(),
            budget: Budget::default(),
            untracked_turn: 0,
            untracked_since_ns: None,
            planned: Vec::new(),
            untracked: Vec::new(),
            crop: AlignedCrop::default(),
            held: EventHold::default(),
            watch: Watch::default(),
        }
    }

    /// The stream ended or jumped: returns what is to be told of its tracks.
    pub(super) fn end_tracks(&mut self) -> Told {
        let told = self.watch.end_all(&self.identities);
        self.stats.alerts = self.watch.counts();
        told
    }

    /// Another stream begins, or this one jumped.
    pub(super) fn reset(&mut self) {
        self.identities.clear();
        self.pending = Report::default();
        self.budget = Budget::default();
        self.untracked_since_ns = None;
        self.held.clear();
    }

    /// Takes over what was written into the gallery. Returns its new generation if it changed.
    pub(super) fn refresh(
        &mut self,
        interval: Duration,
        when: &When,
    ) -> Result<Option<u64>, GalleryError> {
        let Some(gallery) = &self.gallery else {
            return Ok(None);
        };
        gallery.refresh(interval)?;
        let snapshot = gallery.snapshot();
        self.watch.refresh_groups(gallery, snapshot.generation())?;
        if snapshot.generation() == self.generation {
            return Ok(None);
        }
        self.generation = snapshot.generation();
        // An empty snapshot says of nobody that they are gone.
        if !gallery.is_loaded() {
            self.identities.look_again();
            return Ok(Some(self.generation));
        }
        let name_of = |id: &str| {
            snapshot.people().iter().find(|p| &*p.id == id).map(|person| person.name.clone())
        };
        for (track_id, person) in self.identities.gallery_changed(name_of) {
            let event = event(track_id, None, when);
            let news = News { track_id, event, person: None, previous: Some(person) };
            self.pending.news.push(news);
        }
        Ok(Some(self.generation))
    }

    /// Embeds the faces of the plan, looks them up, and writes what is known into `faces`. Without
    /// pixels only the latter. The second result is how the model failed, if it did: what was known
    /// before is reported nevertheless.
    pub(super) fn process(
        &mut self,
        view: Option<(&FrameView<'_>, &Mapping)>,
        plan: Plan,
        faces: &mut FrameFaces,
        options: &Options,
        when: &When,
    ) -> (Report, Result<(), InferenceError>) {
        let mut report = std::mem::take(&mut self.pending);
        let outcome = self.look(view, &plan, faces, options, when, &mut report);
        self.planned = plan.faces;
        self.planned.clear();
        for face in &mut faces.faces {
            self.describe(face, when);
        }
        self.watch.set_options(options.alerts.clone());
        let told = self.watch.frame(faces, &self.identities, when);
        self.stats.alerts = self.watch.counts();
        self.identities.end(&faces.ended_tracks, when.time_ns);
        report.messages = told.messages;
        let news = report.news.iter().map(|n| n.event.clone()).chain(told.events);
        self.held.write(news, when.time_ns, options.event_hold_ns, &mut faces.events);
        (report, outcome)
    }

    /// What looks people up, without the stream.
    pub(super) fn searcher(&self, options: &Options) -> Searcher {
        let rules = SearchRules {
            threshold: self.threshold(options),
            min_margin: options.min_margin,
            top_k: options.top_k,
            vote: VoteRule::Best,
        };
        Searcher { gallery: self.gallery.clone(), rules }
    }

    /// What a recorder downstream writes beside its clips.
    pub(super) fn facts(&self, options: &Options) -> gst::structure::Builder {
        let (spec, pool) = (self.embedder.spec(), self.embedder.pool());
        let facts = context_query::model("embedder", spec, pool.active_provider())
            .field("threshold", f64::from(self.threshold(options)))
            .field("min-margin", f64::from(options.min_margin));
        match &self.gallery {
            Some(_) => {
                facts.field("fingerprint", &self.fingerprint).field("generation", self.generation)
            }
            None => facts,
        }
    }

    /// Cosine similarity from which a face is a person who has no threshold of their own.
    pub(super) fn threshold(&self, options: &Options) -> f32 {
        match options.threshold {
            0.0 => self.embedder.spec().threshold,
            threshold => threshold,
        }
    }

    /// Writes what is known of a face's track. A filtered face keeps its name.
    fn describe(&mut self, face: &mut Face, when: &When) {
        if face.track_id == 0 || face.status == Status::Error {
            return;
        }
        let track = self.identities.mention(face.track_id, when.time_ns);
        let status = if face.filter.is_empty() { track.status() } else { Status::Filtered };
        fill(face, status, track.is_confirmed(), track.person.as_ref(), track.last.as_ref());
    }
}

/// Looks people up by the settings of a moment.
pub(super) struct Searcher {
    gallery: Option<Gallery>,
    rules: SearchRules,
}

impl Searcher {
    /// Who a face is; without a gallery everybody is unknown. A server is waited for `until` then.
    pub(super) fn identify(
        &self,
        embedding: &Embedding,
        until: Instant,
    ) -> Result<Identification, SearchError> {
        let Some(gallery) = &self.gallery else {
            let (best, margin, top) = (None, None, Vec::new());
            return Ok(Identification { status: Status::Unknown, best, margin, top });
        };
        let left = until.saturating_duration_since(Instant::now());
        gallery.identify(embedding, &self.rules, left)
    }
}

pub(super) fn fill(
    face: &mut Face,
    status: Status,
    confirmed: bool,
    person: Option<&Match>,
    result: Option<&Identification>,
) {
    face.status = status;
    face.confirmed = confirmed;
    face.person_id = person.map(|p| p.person_id.to_string());
    face.name = person.map(|p| p.name.to_string());
    let nearest = person.or_else(|| result.and_then(|r| r.best.as_ref()));
    face.similarity = nearest.map(|p| p.similarity);
    face.margin = result.and_then(|r| r.margin);
    face.top_k = result.map_or_else(Vec::new, |r| {
        let candidate = |m: &Match| Candidate {
            person_id: m.person_id.to_string(),
            name: m.name.to_string(),
            similarity: m.similarity,
        };
        r.top.iter().map(candidate).collect()
    });
}

pub(super) fn event(track_id: u64, person: Option<&Match>, when: &When) -> Event {
    let running_ns = when.running_time.map(gst::ClockTime::nseconds);
    Event {
        person_id: person.map(|p| p.person_id.to_string()),
        name: person.map(|p| p.name.to_string()),
        similarity: person.map(|p| p.similarity),
        ..event_hold::event(FACE_IDENTITY, track_id, running_ns, when.taken)
    }
}
