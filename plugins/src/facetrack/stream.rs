//! What facetrack knows of its stream: the tracker, and the time of the last frame.

use std::collections::HashMap;
use std::time::SystemTime;

use face_core::frame::FrameView;
use face_core::identity::Status;
use face_core::track::{
    EndedTrack, Observation, SceneCutConfig, SceneCutDetector, TrackBox, TrackState as State,
    Tracker, TrackerConfig, TrackerConfigError,
};
use face_core::zone::{ZoneError, ZoneWatch, Zones};

use super::known::{Best, Known, WasId};
use super::messages::ZONE_KIND;
use crate::event_hold::{self, EventHold};
use crate::meta::{Event, Face, FrameFaces, TrackState};

/// Frame duration where neither caps nor buffer tell one, ns.
const FALLBACK_STEP_NS: u64 = 40_000_000;
/// A step back in time by more than this is another piece of the stream even without DISCONT, ns.
const LARGEST_STEP_BACK_NS: u64 = 1_000_000_000;

/// The time of a buffer as it came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamp {
    /// Running time, ns; `None` without PTS.
    pub(super) running_ns: Option<u64>,
    /// 1 / frame rate or, without one, the buffer's duration, ns.
    pub(super) step_ns: Option<u64>,
    pub(super) discont: bool,
    /// When the picture was taken, if the camera tells.
    pub(super) taken: Option<SystemTime>,
}

/// A setting that cannot work.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error(transparent)]
    Tracker(#[from] TrackerConfigError),
    #[error(transparent)]
    Zones(#[from] ZoneError),
}

/// A track that is over, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) track: EndedTrack,
    pub(super) best: Option<Best>,
    /// Zones that it was in, and for how long, ns.
    pub(super) dwells: Vec<(String, u64)>,
}

#[derive(Debug)]
pub(super) struct Stream {
    tracker: Tracker,
    /// `None` unless scene cuts are asked for.
    cuts: Option<SceneCutDetector>,
    last_ns: Option<u64>,
    last_step_ns: u64,
    /// Of the last picture.
    taken: Option<SystemTime>,
    /// Of every live track.
    known: HashMap<u64, Known>,
    /// Tracks that ended between two frames: the next meta lists them.
    ended_between: Vec<u64>,
    zones: ZoneWatch,
    camera: Option<String>,
    held: EventHold,
    hold_ns: u64,
    /// Events that are to be written to the next meta, and those that are to be posted.
    to_write: Vec<Event>,
    to_post: Vec<Event>,
}

impl Stream {
    pub(super) fn new(config: TrackerConfig) -> Result<Self, TrackerConfigError> {
        Ok(Self {
            tracker: Tracker::new(config)?,
            cuts: None,
            last_ns: None,
            last_step_ns: FALLBACK_STEP_NS,
            taken: None,
            known: HashMap::new(),
            ended_between: Vec::new(),
            zones: ZoneWatch::default(),
            camera: None,
            held: EventHold::default(),
            hold_ns: event_hold::DEFAULT_HOLD_NS,
            to_write: Vec::new(),
            to_post: Vec::new(),
        })
    }

    pub(super) fn set_config(&mut self, config: TrackerConfig) -> Result<(), TrackerConfigError> {
        self.tracker.set_config(config)
    }

    /// Looks for scene cuts with these settings, or no longer (`None`).
    pub(super) fn set_scene_cut(
        &mut self,
        config: Option<SceneCutConfig>,
    ) -> Result<(), TrackerConfigError> {
        match (config, &mut self.cuts) {
            (Some(config), Some(cuts)) => cuts.set_config(config)?,
            (Some(config), cuts) => *cuts = Some(SceneCutDetector::new(config)?),
            (None, cuts) => *cuts = None,
        }
        Ok(())
    }

    /// Other zones, and the time in one after which it is told, ns (0: never).
    pub(super) fn set_zones(&mut self, zones: Zones, dwell_ns: u64) {
        self.zones.set_zones(zones);
        self.zones.set_dwell_ns(dwell_ns);
    }

    /// The camera's name in events, and how long they stay in the metadata, ns.
    pub(super) fn set_events(&mut self, camera: Option<String>, hold_ns: u64) {
        (self.camera, self.hold_ns) = (camera.filter(|c| !c.is_empty()), hold_ns);
    }

    pub(super) fn wants_pixels(&self) -> bool {
        self.cuts.is_some()
    }

    /// Takes the picture of a frame of `time_ns`. If a new scene begins with it all tracks end;
    /// returns its score and those tracks.
    pub(super) fn look(
        &mut self,
        time_ns: u64,
        picture: &FrameView<'_>,
    ) -> Option<(f32, Vec<Ended>)> {
        let score = self.cuts.as_mut()?.look(time_ns, picture)?;
        Some((score, self.end_all()))
    }

    /// Tracks that were not yet ended.
    pub(super) fn live_tracks(&self) -> usize {
        self.known.len()
    }

    /// Time of the last frame, ns.
    pub(super) fn time_ns(&self) -> Option<u64> {
        self.last_ns
    }

    /// Ends all tracks and forgets the time. Returns the tracks that ended.
    pub(super) fn reset(&mut self) -> Vec<Ended> {
        self.last_ns = None;
        self.held.clear();
        if let Some(cuts) = &mut self.cuts {
            cuts.reset();
        }
        self.end_all()
    }

    /// Ends all tracks; the next meta lists them.
    fn end_all(&mut self) -> Vec<Ended> {
        self.tracker.reset();
        self.close_ended()
    }

    /// Ends one track; the next meta lists it. `None` if there is no such track.
    pub(super) fn end_track(&mut self, track_id: u64) -> Option<Ended> {
        let track = self.tracker.end_track(track_id)?;
        Some(self.close(track))
    }

    /// From the next frame on the track `new_id` is the older track `old_id`; false if it cannot be.
    pub(super) fn relink(&mut self, new_id: u64, old_id: u64) -> bool {
        // Whoever reads the metadata must see each id that was given up on at least one buffer.
        let unseen = |known: &Known| known.was.and_then(WasId::unseen);
        if self.known.get(&new_id).and_then(unseen).is_some()
            || !self.tracker.relink(new_id, old_id)
        {
            return false;
        }
        self.zones.relink(new_id, old_id);
        let new = self.known.remove(&new_id).unwrap_or_default();
        self.ended_between.extend(self.known.entry(old_id).or_default().absorb(new_id, new));
        true
    }

    /// What is known of the tracks that the tracker has just ended.
    fn close_ended(&mut self) -> Vec<Ended> {
        let ended = self.tracker.ended().to_vec();
        ended.into_iter().map(|track| self.close(track)).collect()
    }

    fn close(&mut self, track: EndedTrack) -> Ended {
        let id = track.track_id;
        let known = self.known.remove(&id).unwrap_or_default();
        self.ended_between.extend(known.was.and_then(WasId::unseen));
        self.ended_between.push(id);
        let dwells = self.zones.dwells(id).map(|(name, ns)| (name.to_owned(), ns)).collect();
        self.zones.end(id);
        Ended { track, best: known.best, dwells }
    }

    /// The events since the last call, to be posted.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        self.collect_events();
        std::mem::take(&mut self.to_post)
    }

    fn collect_events(&mut self) {
        for news in self.zones.drain_events() {
            let kind = format!("{ZONE_KIND}{}", news.kind.as_str());
            let mut event = event_hold::event(&kind, news.track_id, Some(news.time_ns), self.taken);
            event.zone = Some(news.zone.to_string());
            event.dwell_ns = Some(news.dwell_ns);
            event.camera.clone_from(&self.camera);
            self.to_write.push(event.clone());
            self.to_post.push(event);
        }
    }

    /// Takes the time of a buffer: its own, else that of the last one and a frame. Returns it, ns,
    /// and the tracks that a jump in time ended.
    pub(super) fn advance(&mut self, stamp: Stamp) -> (u64, Vec<Ended>) {
        let step = stamp.step_ns.filter(|s| *s > 0).unwrap_or(FALLBACK_STEP_NS);
        let expected = self.last_ns.map_or(0, |last| last.saturating_add(self.last_step_ns));
        let time = stamp.running_ns.unwrap_or(expected);
        self.taken = stamp.taken;
        let mut ended = Vec::new();
        if let Some(last) = self.last_ns {
            let back = last.saturating_sub(time);
            let ahead = time.saturating_sub(expected);
            let jump = back > step || ahead > self.tracker.config().max_lost_ns;
            if (stamp.discont && jump) || back > LARGEST_STEP_BACK_NS {
                ended = self.reset();
            }
        }
        self.last_ns = Some(time);
        self.last_step_ns = step;
        (time, ended)
    }

    /// Follows the faces of a frame of `time_ns` and writes the tracks into them. Returns the
    /// tracks that ended.
    pub(super) fn follow(&mut self, time_ns: u64, faces: &mut FrameFaces) -> Vec<Ended> {
        let size = faces.square_size();
        self.tracker.set_picture_size(size.0, size.1);
        self.zones.set_picture_size(faces.width, faces.height);
        // Boxes that another facetrack predicted are no observations.
        faces.faces.retain(|f| f.observed);
        if faces.looked || !faces.faces.is_empty() {
            let observations: Vec<Observation> = faces
                .faces
                .iter()
                .map(|f| Observation { bbox: f.bbox.scaled(size.0, size.1), score: f.score })
                .collect();
            self.tracker.update(time_ns, &observations);
        } else {
            self.tracker.predict(time_ns);
        }
        self.mark(time_ns, faces, size);
        let ended = self.close_ended();
        faces.ended_tracks.append(&mut self.ended_between);
        self.collect_events();
        let news = std::mem::take(&mut self.to_write);
        self.held.write(news, time_ns, self.hold_ns, &mut faces.events);
        ended
    }

    /// Writes the tracker's boxes into the faces: onto the observed ones, and as new ones where
    /// they are predicted. A predicted face is in the zones in which it was last seen: a guess
    /// leaves none.
    fn mark(&mut self, time_ns: u64, faces: &mut FrameFaces, size: (f32, f32)) {
        for face in &mut faces.faces {
            (face.track_id, face.was_id) = (0, 0);
            face.track_state = TrackState::None;
            face.first_seen_ns = None;
            face.zones.clear();
        }
        let mut next_id = faces.faces.iter().map(|f| f.id).max().map_or(0, |m| m.wrapping_add(1));
        for track in self.tracker.boxes() {
            let known = self.known.entry(track.track_id).or_default();
            match track.observation.and_then(|i| faces.faces.get_mut(i)) {
                Some(face) => {
                    known.observe(time_ns, face.bbox, face.score, track.bbox.min_side());
                    let confirmed = track.state != State::Tentative;
                    self.zones.observe(time_ns, track.track_id, confirmed, &face.bbox);
                    set_track(face, track, known, &self.zones);
                }
                None => {
                    let bbox = track.bbox.scaled(1.0 / size.0, 1.0 / size.1);
                    if bbox.is_valid() {
                        let (id, score) = (next_id, known.score);
                        let mut face = Face { id, bbox, score, ..Face::default() };
                        set_track(&mut face, track, known, &self.zones);
                        faces.faces.push(face);
                        next_id = next_id.wrapping_add(1);
                    }
                }
            }
        }
        for face in faces.faces.iter_mut().filter(|f| f.track_id == 0) {
            face.zones = self.zones.zones_at(&face.bbox).map(str::to_owned).collect();
        }
    }
}

fn set_track(face: &mut Face, track: &TrackBox, known: &mut Known, zones: &ZoneWatch) {
    face.track_id = track.track_id;
    face.was_id = known.show_was_id();
    face.zones = zones.zones_of(track.track_id).map(str::to_owned).collect();
    face.track_state = match track.state {
        State::Tentative => TrackState::Tentative,
        State::Confirmed => TrackState::Confirmed,
        State::Lost => TrackState::Lost,
    };
    face.first_seen_ns = Some(track.first_seen_ns);
    if face.status == Status::Untracked {
        face.status = Status::Identifying;
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
