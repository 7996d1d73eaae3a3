//! What facetrack knows of its stream: the tracker, and the time of the last frame.

use std::collections::HashMap;

use face_core::frame::FrameView;
use face_core::geometry::BBox;
use face_core::identity::Status;
use face_core::track::{
    EndedTrack, Observation, SceneCutConfig, SceneCutDetector, TrackBox, TrackState as State,
    Tracker, TrackerConfig, TrackerConfigError,
};

use crate::meta::{Face, FrameFaces, TrackState};

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
}

#[derive(Debug)]
pub(super) struct Stream {
    tracker: Tracker,
    /// `None` unless scene cuts are asked for.
    cuts: Option<SceneCutDetector>,
    last_ns: Option<u64>,
    last_step_ns: u64,
    /// Score of the last observation of every live track.
    scores: HashMap<u64, f32>,
    /// Tracks that ended between two frames: the next meta lists them.
    ended_between: Vec<u64>,
}

impl Stream {
    pub(super) fn new(config: TrackerConfig) -> Result<Self, TrackerConfigError> {
        Ok(Self {
            tracker: Tracker::new(config)?,
            cuts: None,
            last_ns: None,
            last_step_ns: FALLBACK_STEP_NS,
            scores: HashMap::new(),
            ended_between: Vec::new(),
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

    pub(super) fn wants_pixels(&self) -> bool {
        self.cuts.is_some()
    }

    /// Takes the picture of a frame of `time_ns`. If a new scene begins with it all tracks end;
    /// returns its score and those tracks.
    pub(super) fn look(
        &mut self,
        time_ns: u64,
        picture: &FrameView<'_>,
    ) -> Option<(f32, Vec<EndedTrack>)> {
        let score = self.cuts.as_mut()?.look(time_ns, picture)?;
        Some((score, self.end_all()))
    }

    /// Tracks that were not yet ended.
    pub(super) fn live_tracks(&self) -> usize {
        self.scores.len()
    }

    /// Ends all tracks and forgets the time. Returns the tracks that ended.
    pub(super) fn reset(&mut self) -> Vec<EndedTrack> {
        self.last_ns = None;
        if let Some(cuts) = &mut self.cuts {
            cuts.reset();
        }
        self.end_all()
    }

    /// Ends all tracks; the next meta lists them.
    fn end_all(&mut self) -> Vec<EndedTrack> {
        self.tracker.reset();
        self.scores.clear();
        let ended = self.tracker.ended().to_vec();
        self.ended_between.extend(ended.iter().map(|t| t.track_id));
        ended
    }

    /// Ends one track; the next meta lists it. `None` if there is no such track.
    pub(super) fn end_track(&mut self, track_id: u64) -> Option<EndedTrack> {
        let ended = self.tracker.end_track(track_id)?;
        self.scores.remove(&track_id);
        self.ended_between.push(track_id);
        Some(ended)
    }

    /// Takes the time of a buffer: its own, else that of the last one and a frame. Returns it, ns,
    /// and the tracks that a jump in time ended.
    pub(super) fn advance(&mut self, stamp: Stamp) -> (u64, Vec<EndedTrack>) {
        let step = stamp.step_ns.filter(|s| *s > 0).unwrap_or(FALLBACK_STEP_NS);
        let expected = self.last_ns.map_or(0, |last| last.saturating_add(self.last_step_ns));
        let time = stamp.running_ns.unwrap_or(expected);
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
    pub(super) fn follow(&mut self, time_ns: u64, faces: &mut FrameFaces) -> Vec<EndedTrack> {
        let size = square_size(faces);
        self.tracker.set_picture_size(size.0, size.1);
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
        self.mark(faces, size);
        let ended = self.tracker.ended().to_vec();
        faces.ended_tracks.append(&mut self.ended_between);
        for track in &ended {
            self.scores.remove(&track.track_id);
            faces.ended_tracks.push(track.track_id);
        }
        ended
    }

    /// Writes the tracker's boxes into the faces: onto the observed ones, and as new ones where
    /// they are predicted.
    fn mark(&mut self, faces: &mut FrameFaces, size: (f32, f32)) {
        for face in &mut faces.faces {
            face.track_id = 0;
            face.track_state = TrackState::None;
            face.first_seen_ns = None;
        }
        let mut next_id = faces.faces.iter().map(|f| f.id).max().map_or(0, |m| m.wrapping_add(1));
        for track in self.tracker.boxes() {
            match track.observation.and_then(|i| faces.faces.get_mut(i)) {
                Some(face) => {
                    self.scores.insert(track.track_id, face.score);
                    set_track(face, track);
                }
                None => {
                    let score = self.scores.get(&track.track_id).copied().unwrap_or(0.0);
                    let bbox = track.bbox.scaled(1.0 / size.0, 1.0 / size.1);
                    if let Some(face) = predicted(next_id, bbox, score, track) {
                        faces.faces.push(face);
                        next_id = next_id.wrapping_add(1);
                    }
                }
            }
        }
    }
}

fn predicted(id: u32, bbox: BBox, score: f32, track: &TrackBox) -> Option<Face> {
    let mut face = Face { id, bbox, score, observed: false, ..Default::default() };
    set_track(&mut face, track);
    bbox.is_valid().then_some(face)
}

fn set_track(face: &mut Face, track: &TrackBox) {
    face.track_id = track.track_id;
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

/// Size of the picture of the fractions in square pixels.
fn square_size(faces: &FrameFaces) -> (f32, f32) {
    let (n, d) = faces.par;
    let aspect = if n > 0 && d > 0 { n as f32 / d as f32 } else { 1.0 };
    ((faces.width as f32 * aspect).max(1.0), (faces.height as f32).max(1.0))
}

#[cfg(test)]
mod tests {
    use face_core::frame::PixelFormat;

    use super::*;

    const MS: u64 = 1_000_000;

    fn stamp(running_ms: Option<u64>, discont: bool) -> Stamp {
        Stamp { running_ns: running_ms.map(|t| t * MS), step_ns: Some(40 * MS), discont }
    }

    fn frame(x: Option<f32>) -> FrameFaces {
        let face = |x| Face {
            id: 3,
            bbox: BBox::new(x, 0.3, 0.1, 0.2),
            observed: true,
            score: 0.9,
            ..Default::default()
        };
        FrameFaces {
            looked: true,
            width: 720,
            height: 576,
            par: (16, 15),
            faces: x.map(face).into_iter().collect(),
            ..Default::default()
        }
    }

    #[test]
    fn buffers_without_time_follow_the_last_one() {
        let mut stream = Stream::new(TrackerConfig::default()).unwrap();
        assert_eq!(stream.advance(stamp(None, true)).0, 0);
        assert_eq!(stream.advance(stamp(Some(1000), false)).0, 1000 * MS);
        assert_eq!(stream.advance(stamp(None, false)).0, 1040 * MS);
        let unknown = Stamp::default();
        assert_eq!(stream.advance(unknown).0, 1080 * MS);
        assert_eq!(stream.advance(unknown).0, 1080 * MS + FALLBACK_STEP_NS);
    }

    #[test]
    fn only_a_jump_in_time_ends_tracks_at_a_discontinuity() {
        let mut stream = Stream::new(TrackerConfig::default()).unwrap();
        let mut step = |ms, discont| {
            let (time, ended) = stream.advance(stamp(Some(ms), discont));
            stream.follow(time, &mut frame(Some(0.4)));
            ended.len()
        };
        assert_eq!(step(0, true), 0);
        assert_eq!(step(40, true), 0);
        assert_eq!(step(500, true), 0, "a gap shorter than max-lost");
        assert_eq!(step(490, true), 0, "a step back of less than a frame");
        assert_eq!(step(5000, true), 1, "ahead");
        assert_eq!(step(4500, false), 0, "back without DISCONT");
        assert_eq!(step(4000, true), 1, "back");
        assert_eq!(step(100, false), 1, "far back without DISCONT");
    }

    #[test]
    fn predicted_faces_have_their_own_ids_and_the_last_score() {
        let mut stream = Stream::new(TrackerConfig::default()).unwrap();
        stream.follow(0, &mut frame(Some(0.4)));
        let mut missed = frame(None);
        stream.follow(40 * MS, &mut missed);
        let [face] = &missed.faces[..] else { panic!("{missed:?}") };
        assert!(!face.observed && face.landmarks.is_none());
        assert_eq!((face.track_id, face.track_state), (1, TrackState::Lost));
        assert_eq!((face.score, face.first_seen_ns), (0.9, Some(0)));
        assert!(face.bbox.iou(&BBox::new(0.4, 0.3, 0.1, 0.2)) > 0.99, "{:?}", face.bbox);
        // A second facetrack takes it for no observation.
        let mut second = Stream::new(TrackerConfig::default()).unwrap();
        second.follow(0, &mut missed);
        assert!(missed.faces.is_empty());
    }

    #[test]
    fn a_scene_cut_ends_tracks_and_time_goes_on() {
        let mut stream = Stream::new(TrackerConfig::default()).unwrap();
        let dark = [20; 64 * 64 * 3];
        let picture = |data| FrameView::packed(PixelFormat::Rgb, 64, 64, data).unwrap();
        assert!(stream.look(0, &picture(&dark)).is_none(), "off");
        stream.set_scene_cut(Some(SceneCutConfig::default())).unwrap();
        for n in 0..6 {
            assert_eq!(stream.advance(stamp(Some(40 * n), false)).0, 40 * n * MS);
            assert!(stream.look(40 * n * MS, &picture(&dark)).is_none());
            stream.follow(40 * n * MS, &mut frame(Some(0.4)));
        }
        // Settings that change while it plays do not make it forget.
        stream.set_scene_cut(Some(SceneCutConfig { ratio: 2.0, ..Default::default() })).unwrap();
        assert_eq!(stream.advance(stamp(None, false)).0, 240 * MS);
        let light = [220; 64 * 64 * 3];
        let (score, ended) = stream.look(240 * MS, &picture(&light)).unwrap();
        assert!((score - 200.0 / 3.0).abs() < 0.1, "{score}");
        assert_eq!(ended.iter().map(|t| t.track_id).collect::<Vec<_>>(), [1]);
        let mut next = frame(Some(0.4));
        stream.follow(240 * MS, &mut next);
        assert_eq!((next.ended_tracks.clone(), next.faces[0].track_id), (vec![1], 2));
        assert_eq!(stream.advance(stamp(None, false)).0, 280 * MS);
    }

    #[test]
    fn tracks_ended_by_a_reset_stand_in_the_next_meta() {
        let mut stream = Stream::new(TrackerConfig::default()).unwrap();
        stream.follow(0, &mut frame(Some(0.4)));
        let ended = stream.reset();
        assert_eq!(
            ended.iter().map(|t| (t.track_id, t.confirmed)).collect::<Vec<_>>(),
            [(1, true)]
        );
        assert_eq!(stream.live_tracks(), 0);
        let mut next = frame(Some(0.4));
        stream.follow(0, &mut next);
        assert_eq!((next.ended_tracks.clone(), next.faces[0].track_id), (vec![1], 2));
        let mut after = frame(Some(0.4));
        stream.follow(40 * MS, &mut after);
        assert!(after.ended_tracks.is_empty());
    }
}
