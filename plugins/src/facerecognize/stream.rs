//! What facerecognize knows of the stream at hand, and the work on one frame.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use face_core::align::AlignedCrop;
use face_core::detect::Detection;
use face_core::embed::{Embedder, Embedding};
use face_core::frame::FrameView;
use face_core::gallery::{Gallery, GalleryError, Identification, Match};
use face_core::identity::{Change, Status, TrackIdentities, TrackSample};
use face_core::inference::InferenceError;
use face_core::loose::LooseFace;

use crate::crops::in_square_pixels;
use crate::meta::{Candidate, Event, Face, FrameFaces, Mapping};

/// An event stays on the buffers for so long, so that a dropped buffer loses nothing.
const EVENT_HOLD: gst::ClockTime = gst::ClockTime::from_seconds(1);
/// Name of the message and kind of the event of a track that gets, changes or loses its name.
pub(super) const FACE_IDENTITY: &str = "face-identity";

/// The settings that a frame's work depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// Cosine similarity from which a face is a person; 0: the model's.
    pub(super) threshold: f32,
    pub(super) min_margin: f32,
    pub(super) top_k: usize,
    pub(super) every_face: bool,
    pub(super) embed_output: bool,
    /// Cut the surroundings of faces too, for enrolling their tracks.
    pub(super) loose_crops: bool,
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
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub(super) frames: u64,
    pub(super) faces: u64,
    pub(super) embedded: u64,
    pub(super) unusable: u64,
    pub(super) search_errors: u64,
    pub(super) late: u64,
    pub(super) malformed: u64,
}

/// A face that is embedded on this frame.
struct Due {
    index: usize,
    crop: AlignedCrop,
    loose: Option<LooseFace>,
    /// In square pixels.
    detection: Detection,
}

/// Times of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) running_time: Option<gst::ClockTime>,
    /// What the schedule counts in: running time, or where a buffer without one should be.
    pub(super) time_ns: u64,
    pub(super) deadline: Option<Instant>,
}

/// Exists between start and stop.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) embedder: Embedder,
    pub(super) gallery: Option<Gallery>,
    pub(super) identities: TrackIdentities,
    pub(super) stats: Stats,
    /// The gallery's generation that the identities are of.
    generation: u64,
    /// News of between two frames; the next one reports them.
    pending: Vec<News>,
    held: VecDeque<(Event, gst::ClockTime)>,
    fingerprint: String,
}

impl Stream {
    pub(super) fn new(embedder: Embedder, gallery: Option<Gallery>) -> Self {
        let fingerprint = embedder.fingerprint();
        Self {
            fingerprint: format!("{}/{}", fingerprint.model, fingerprint.alignment),
            embedder,
            generation: gallery.as_ref().map_or(0, |g| g.snapshot().generation()),
            gallery,
            identities: TrackIdentities::default(),
            stats: Stats::default(),
            pending: Vec::new(),
            held: VecDeque::new(),
        }
    }

    /// Another stream begins, or this one jumped.
    pub(super) fn reset(&mut self) {
        self.identities.clear();
        self.pending.clear();
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
        if snapshot.generation() == self.generation {
            return Ok(None);
        }
        self.generation = snapshot.generation();
        let name_of = |id: &str| {
            snapshot.people().iter().find(|p| &*p.id == id).map(|person| person.name.clone())
        };
        for (track_id, person) in self.identities.gallery_changed(name_of) {
            let event = event(track_id, None, when);
            self.pending.push(News { track_id, event, person: None, previous: Some(person) });
        }
        Ok(Some(self.generation))
    }

    /// Takes in which faces a frame has: to be called once for each. Is any to be embedded?
    pub(super) fn wants_pixels(
        &mut self,
        faces: &FrameFaces,
        options: &Options,
        when: &When,
    ) -> bool {
        let tracked = faces.faces.iter().filter(|f| f.observed && f.track_id != 0);
        self.identities.begin_frame(tracked.map(|f| f.track_id));
        // No short circuit: the schedule is to see every face of the frame.
        let due = |face| self.is_due(face, faces.frame_id, options, when);
        faces.faces.iter().map(due).fold(false, |any, due| any | due)
    }

    fn is_due(&mut self, face: &Face, frame: u64, options: &Options, when: &When) -> bool {
        face.observed
            && face.landmarks.is_some()
            && (face.track_id == 0
                || self.identities.is_due(face.track_id, frame, when.time_ns, face.bbox)
                || options.every_face)
    }

    /// Embeds the faces that are due, looks them up, and writes what is known into `faces`.
    ///
    /// # Errors
    /// [`InferenceError`] if the model fails; `faces` then still has what was known before.
    pub(super) fn process(
        &mut self,
        view: Option<(&FrameView<'_>, &Mapping)>,
        faces: &mut FrameFaces,
        options: &Options,
        when: &When,
    ) -> Result<Report, InferenceError> {
        self.stats.frames += 1;
        self.stats.faces += faces.faces.len() as u64;
        let mut report = Report { news: std::mem::take(&mut self.pending), ..Report::default() };
        let outcome = match view {
            Some((view, mapping)) => self.look(view, mapping, faces, options, when, &mut report),
            None => Ok(()),
        };
        for face in &mut faces.faces {
            self.describe(face, when);
        }
        self.identities.end(&faces.ended_tracks, when.time_ns);
        self.hold(report.news.iter().map(|n| n.event.clone()), when);
        faces.events.extend(self.held.iter().map(|(event, _)| event.clone()));
        outcome.map(|()| report)
    }

    fn look(
        &mut self,
        view: &FrameView<'_>,
        mapping: &Mapping,
        faces: &mut FrameFaces,
        options: &Options,
        when: &When,
        report: &mut Report,
    ) -> Result<(), InferenceError> {
        let mut due = Vec::new();
        for (index, face) in faces.faces.iter().enumerate() {
            if !self.is_due(face, faces.frame_id, options, when) {
                continue;
            }
            let landmarks = face.landmarks.map(|l| mapping.landmarks_to_pixels(&l));
            let cut = landmarks.and_then(|l| Some((l, AlignedCrop::cut(view, &l)?)));
            let Some((landmarks, crop)) = cut else {
                self.stats.unusable += 1;
                continue;
            };
            let bbox = mapping.box_to_pixels(&face.bbox);
            let wanted = options.loose_crops && face.track_id != 0;
            let loose = wanted.then(|| LooseFace::cut(view, &bbox, &landmarks)).flatten();
            let detection = in_square_pixels(view, bbox, landmarks, face.score);
            due.push(Due { index, crop, loose, detection });
        }
        if due.is_empty() {
            return Ok(());
        }
        let crops: Vec<&AlignedCrop> = due.iter().map(|d| &d.crop).collect();
        let embeddings = self.embedder.embed(&crops, when.deadline)?;
        self.stats.embedded += embeddings.len() as u64;
        for (due, embedding) in due.into_iter().zip(embeddings) {
            let Ok(embedding) = embedding else {
                self.stats.unusable += 1;
                continue;
            };
            let frame = faces.frame_id;
            let face = &mut faces.faces[due.index];
            self.take_in(face, frame, due, embedding, options, when, report);
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // One face's whole story, used in one place.
    fn take_in(
        &mut self,
        face: &mut Face,
        frame: u64,
        due: Due,
        embedding: Embedding,
        options: &Options,
        when: &When,
        report: &mut Report,
    ) {
        face.fingerprint = Some(self.fingerprint.clone());
        if options.embed_output {
            face.embedding = Some(embedding.to_bytes());
        }
        let Some(result) = self.identify(&embedding, options) else {
            self.stats.search_errors += 1;
            face.status = Status::Error;
            return;
        };
        if face.track_id == 0 {
            let known = if result.status == Status::Known { result.best.as_ref() } else { None };
            fill(face, result.status, known, Some(&result));
            return;
        }
        let Due { crop, loose, detection, .. } = due;
        let sample = TrackSample { crop, loose, embedding, detection };
        let at = (frame, when.time_ns);
        let own = self.embedder.spec().threshold;
        let track_id = face.track_id;
        let previous = match self.identities.observe(track_id, at, sample, &result, own) {
            Change::None => return,
            Change::Named => None,
            Change::Another { previous } => {
                report.splits.push(track_id);
                if previous.is_none() {
                    return;
                }
                previous
            }
        };
        let person = self.identities.get(track_id).and_then(|t| t.person.clone());
        let event = event(track_id, person.as_ref(), when);
        report.news.push(News { track_id, event, person, previous });
    }

    /// Looks the embedding up; without a gallery everybody is unknown. `None`: the search failed.
    pub(super) fn identify(
        &self,
        embedding: &Embedding,
        options: &Options,
    ) -> Option<Identification> {
        let threshold = match options.threshold {
            0.0 => self.embedder.spec().threshold,
            threshold => threshold,
        };
        let Some(gallery) = &self.gallery else {
            return Some(Identification {
                status: Status::Unknown,
                best: None,
                margin: None,
                top: Vec::new(),
            });
        };
        let snapshot = gallery.snapshot();
        snapshot.identify(embedding, threshold, options.min_margin, options.top_k).ok()
    }

    /// Writes what is known of a face's track, or why nothing is.
    fn describe(&mut self, face: &mut Face, when: &When) {
        if face.observed && face.landmarks.is_none() {
            face.filter = "no-landmarks".to_owned();
            face.status = Status::Filtered;
            return;
        }
        if face.track_id == 0 || face.status == Status::Error {
            return;
        }
        let track = self.identities.mention(face.track_id, when.time_ns);
        fill(face, track.status, track.person.as_ref(), track.last.as_ref());
    }

    fn hold(&mut self, events: impl Iterator<Item = Event>, when: &When) {
        let now = when.running_time.unwrap_or(gst::ClockTime::from_nseconds(when.time_ns));
        self.held.retain(|(_, until)| *until > now);
        self.held.extend(events.map(|event| (event, now + EVENT_HOLD)));
    }
}

fn fill(face: &mut Face, status: Status, person: Option<&Match>, result: Option<&Identification>) {
    face.status = status;
    face.confirmed = status == Status::Known;
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

fn event(track_id: u64, person: Option<&Match>, when: &When) -> Event {
    let utc = gst::glib::DateTime::now_utc().and_then(|now| now.format("%Y-%m-%dT%H:%M:%S.%fZ"));
    Event {
        id: gst::glib::uuid_string_random().to_string(),
        kind: FACE_IDENTITY.to_owned(),
        track_id,
        person_id: person.map(|p| p.person_id.to_string()),
        name: person.map(|p| p.name.to_string()),
        similarity: person.map(|p| p.similarity),
        running_time_ns: when.running_time.map(gst::ClockTime::nseconds),
        utc: utc.ok().map(|s| s.to_string()),
    }
}
