//! The identity of a track: its name, when it is looked at again, and what it was seen with.

use std::collections::HashMap;
use std::sync::Arc;

use crate::align::AlignedCrop;
use crate::detect::Detection;
use crate::embed::Embedding;
use crate::gallery::{Identification, Match};
use crate::geometry::BBox;
use crate::identity::Status;
use crate::loose::LooseFace;

/// The longest wait between two looks at a track, in frames; at high frame rates it is at least
/// [`LONGEST_WAIT_NS`].
const LONGEST_WAIT_FRAMES: u64 = 30;
const LONGEST_WAIT_NS: u64 = 1_000_000_000;

/// So many results in a row that contradict a track's identity end it: one alone may be a bad crop.
const CONTRADICTIONS: u32 = 2;

/// A face whose box overlaps its last one by less than this has jumped.
const JUMP_IOU: f32 = 0.3;

/// A track that nobody mentioned for so long is forgotten, should the news of its end be lost.
const FORGET_AFTER_NS: u64 = 60_000_000_000;

/// Samples kept per track for enrolling it: the best crops.
const KEPT_SAMPLES: usize = 3;

/// A crop of a track and its embedding.
#[derive(Clone, Debug)]
pub struct TrackSample {
    pub crop: AlignedCrop,
    /// The face with its surroundings, where a gallery is to keep it.
    pub loose: Option<LooseFace>,
    pub embedding: Embedding,
    /// Where the face was found, in square pixels of the picture.
    pub detection: Detection,
}

impl TrackSample {
    /// Detection score times shorter side of the box in pixels: what makes a crop the better one.
    pub fn weight(&self) -> f32 {
        self.detection.score * self.detection.bbox.min_side()
    }
}

/// What a result did to a track's identity.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    None,
    /// The track has a name now; it had none.
    Named,
    /// The face is another person's than before: the tracker went over to another face. The track
    /// has no identity until the next look; it had better end. `previous`: the person it was.
    Another {
        previous: Option<Match>,
    },
}

/// Who a track is.
#[derive(Clone, Debug, Default)]
pub struct TrackIdentity {
    /// Status of the track; [`Status::Identifying`] until the first result.
    pub status: Status,
    /// The person, when the status is known.
    pub person: Option<Match>,
    /// The last result, whatever it was.
    pub last: Option<Identification>,
    samples: Vec<TrackSample>,
    /// Sum of the embeddings since the identity began.
    sum: Vec<f32>,
    contradictions: u32,
    /// Where the face was last observed.
    last_box: Option<BBox>,
    /// The face moved by more than its own size since the last look.
    jumped: bool,
    last_look: Option<(u64, u64)>,
    /// Frames from the last look to the next.
    wait: u64,
    last_mention_ns: u64,
}

impl TrackIdentity {
    /// The best crops, best first.
    pub fn samples(&self) -> &[TrackSample] {
        &self.samples
    }

    /// Is it time to embed this track's face? At once, then after 1, 2, 4, 8 … frames up to 30
    /// frames or one second, whichever is longer; anew from the start when the identity changed.
    fn is_due(&self, frame: u64, time_ns: u64) -> bool {
        let Some((last_frame, last_ns)) = self.last_look else {
            return true;
        };
        // A stream that starts again counts its frames anew.
        let frames = frame.checked_sub(last_frame);
        let over = frames.is_none_or(|frames| frames >= self.wait);
        let capped = self.wait >= LONGEST_WAIT_FRAMES;
        over && (!capped || time_ns.saturating_sub(last_ns) >= LONGEST_WAIT_NS)
    }

    fn looked(&mut self, frame: u64, time_ns: u64) {
        self.wait = (self.wait * 2).clamp(1, LONGEST_WAIT_FRAMES);
        self.last_look = Some((frame, time_ns));
    }

    /// Cosine of an embedding with the mean of those of this identity; `None` for the first one.
    fn consistency(&self, embedding: &Embedding) -> Option<f32> {
        Embedding::new(&self.sum).ok()?.cosine(embedding)
    }

    fn add(&mut self, sample: TrackSample) {
        self.sum.resize(sample.embedding.dim(), 0.0);
        for (s, v) in self.sum.iter_mut().zip(sample.embedding.as_slice()) {
            *s += v;
        }
        let weight = sample.weight();
        let place = self.samples.partition_point(|s| s.weight() >= weight);
        self.samples.insert(place, sample);
        self.samples.truncate(KEPT_SAMPLES);
    }

    /// A face that is suddenly elsewhere may be another one: it is looked at again.
    fn observed_at(&mut self, bbox: BBox) {
        if self.last_box.is_some_and(|last| last.iou(&bbox) < JUMP_IOU) {
            self.jumped = true;
            self.wait = 0;
        }
        self.last_box = Some(bbox);
    }

    /// Does the result say that the face is another one than before?
    fn contradicts(&self, known: Option<&Match>, embedding: &Embedding, threshold: f32) -> bool {
        if let (Some(new), Some(old)) = (known, &self.person) {
            return new.person_id != old.person_id;
        }
        // Crops of an unknown face may be too poor to be alike: without a name or a jump their
        // unlikeness says nothing.
        (self.person.is_some() || self.jumped)
            && self.consistency(embedding).is_some_and(|c| c < threshold / 2.0)
    }

    /// Starts a new identity: the face is another one than before.
    fn begin_anew(&mut self) -> Option<Match> {
        let previous = self.person.take();
        *self = TrackIdentity {
            status: Status::Identifying,
            last_box: self.last_box,
            last_mention_ns: self.last_mention_ns,
            ..TrackIdentity::default()
        };
        previous
    }
}

/// The identities of the tracks of one stream.
#[derive(Debug, Default)]
pub struct TrackIdentities {
    tracks: HashMap<u64, TrackIdentity>,
}

impl TrackIdentities {
    /// The track's identity; a track that was not known is `Identifying`.
    pub fn mention(&mut self, track_id: u64, time_ns: u64) -> &mut TrackIdentity {
        let new = || TrackIdentity { status: Status::Identifying, ..Default::default() };
        let track = self.tracks.entry(track_id).or_insert_with(new);
        track.last_mention_ns = time_ns;
        track
    }

    pub fn get(&self, track_id: u64) -> Option<&TrackIdentity> {
        self.tracks.get(&track_id)
    }

    /// Takes in which tracks a frame has observed faces of, before anything else of that frame. A
    /// frame on which at least as many tracks begin as go on may be the first of a new scene: those
    /// that go on are looked at again.
    pub fn begin_frame(&mut self, track_ids: impl Iterator<Item = u64> + Clone) {
        let (old, new): (usize, usize) = track_ids.clone().fold((0, 0), |(old, new), id| {
            let known = self.tracks.contains_key(&id);
            (old + usize::from(known), new + usize::from(!known))
        });
        if old == 0 || new < old {
            return;
        }
        for id in track_ids {
            if let Some(track) = self.tracks.get_mut(&id) {
                track.jumped = true;
                track.wait = 0;
            }
        }
    }

    /// Should the face of this track, observed at `bbox` (in any unit), be embedded on this frame?
    pub fn is_due(&mut self, track_id: u64, frame: u64, time_ns: u64, bbox: BBox) -> bool {
        let track = self.mention(track_id, time_ns);
        track.observed_at(bbox);
        track.is_due(frame, time_ns)
    }

    /// Takes in a result. A known result names the track. A name stays through results that are
    /// not known (a turned head is no other person), until the face contradicts it twice in a row:
    /// another person is known, or the face is unlike the track's earlier ones (cosine below half
    /// of `threshold`, the embedder's).
    pub fn observe(
        &mut self,
        track_id: u64,
        (frame, time_ns): (u64, u64),
        sample: TrackSample,
        result: &Identification,
        threshold: f32,
    ) -> Change {
        let track = self.mention(track_id, time_ns);
        track.looked(frame, time_ns);
        let known = result.best.clone().filter(|_| result.status == Status::Known);
        if track.contradicts(known.as_ref(), &sample.embedding, threshold) {
            track.contradictions += 1;
            // Asked again on the next frame.
            track.wait = 0;
            return if track.contradictions < CONTRADICTIONS {
                Change::None
            } else {
                Change::Another { previous: track.begin_anew() }
            };
        }
        track.contradictions = 0;
        track.jumped = false;
        track.last = Some(result.clone());
        track.add(sample);
        match (known, &mut track.person) {
            (Some(new), Some(old)) => old.similarity = new.similarity,
            (Some(new), person @ None) => {
                *person = Some(new);
                track.status = Status::Known;
                return Change::Named;
            }
            (None, Some(_)) => {}
            (None, None) => track.status = result.status,
        }
        Change::None
    }

    /// Forgets tracks that ended, and those that nobody mentioned for a minute.
    pub fn end(&mut self, ended: &[u64], time_ns: u64) {
        for id in ended {
            self.tracks.remove(id);
        }
        self.tracks.retain(|_, t| time_ns.saturating_sub(t.last_mention_ns) < FORGET_AFTER_NS);
    }

    /// After the gallery changed: every track is looked at again. `name_of` gives a person's present
    /// name, or `None` if the person is gone; returns the tracks that lost their person, and whom.
    pub fn gallery_changed(
        &mut self,
        name_of: impl Fn(&str) -> Option<Arc<str>>,
    ) -> Vec<(u64, Match)> {
        let mut lost = Vec::new();
        for (id, track) in &mut self.tracks {
            track.wait = 0;
            let Some(mut person) = track.person.take() else { continue };
            if let Some(name) = name_of(&person.person_id) {
                person.name = name;
                track.person = Some(person);
            } else {
                track.status = Status::Identifying;
                lost.push((*id, person));
            }
        }
        lost
    }

    /// Forgets all: another stream begins.
    pub fn clear(&mut self) {
        self.tracks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: f32 = 0.4;
    const HERE: BBox = BBox::new(10.0, 10.0, 20.0, 20.0);
    const THERE: BBox = BBox::new(35.0, 10.0, 20.0, 20.0);

    fn sample(direction: [f32; 3]) -> TrackSample {
        TrackSample {
            crop: AlignedCrop::from_rgb(vec![0; 112 * 112 * 3]).unwrap(),
            loose: None,
            embedding: Embedding::new(&direction).unwrap(),
            detection: Detection { bbox: HERE, score: 1.0, landmarks: None },
        }
    }

    fn known(name: &str) -> Identification {
        let best = Match { person_id: name.into(), name: name.into(), similarity: 0.7 };
        Identification {
            status: Status::Known,
            best: Some(best.clone()),
            margin: None,
            top: vec![best],
        }
    }

    fn unknown() -> Identification {
        Identification { status: Status::Unknown, best: None, margin: None, top: vec![] }
    }

    fn ms(frame: u64) -> (u64, u64) {
        (frame, frame * 33_000_000)
    }

    #[test]
    fn looks_come_at_once_and_then_ever_later() {
        let mut all = TrackIdentities::default();
        let mut looks = Vec::new();
        for frame in 100..240 {
            let (f, t) = ms(frame);
            if all.is_due(1, f, t, HERE) {
                looks.push(frame - 100);
                all.observe(1, (f, t), sample([1.0, 0.0, 0.0]), &unknown(), T);
            }
        }
        assert_eq!(looks, [0, 1, 3, 7, 15, 31, 62, 93, 124]);
    }

    #[test]
    fn cap_is_a_second_at_high_frame_rates() {
        let mut all = TrackIdentities::default();
        let mut last = 0;
        for frame in 0..1000u64 {
            let time = frame * 5_000_000;
            if all.is_due(1, frame, time, HERE) {
                all.observe(1, (frame, time), sample([1.0, 0.0, 0.0]), &unknown(), T);
                if frame > 300 {
                    assert!(frame - last >= 200, "{frame} {last}");
                }
                last = frame;
            }
        }
        assert!(last > 300);
    }

    #[test]
    fn name_stays_through_unknown_results_of_the_same_face() {
        let mut all = TrackIdentities::default();
        let change = all.observe(1, ms(0), sample([1.0, 0.0, 0.0]), &known("ada"), T);
        assert_eq!(change, Change::Named);
        for frame in 1..6 {
            let change = all.observe(1, ms(frame), sample([1.0, 0.8, 0.0]), &unknown(), T);
            assert_eq!(change, Change::None);
        }
        let track = all.get(1).unwrap();
        assert_eq!(track.status, Status::Known);
        assert_eq!(&*track.person.as_ref().unwrap().name, "ada");
    }

    #[test]
    fn name_is_lost_when_the_face_is_another() {
        let mut all = TrackIdentities::default();
        all.observe(1, ms(0), sample([1.0, 0.0, 0.0]), &known("ada"), T);
        let other = || sample([0.0, 1.0, 0.0]);
        assert_eq!(all.observe(1, ms(1), other(), &unknown(), T), Change::None);
        assert!(all.is_due(1, 2, 2 * 33_000_000, HERE), "a contradiction is checked at once");
        let change = all.observe(1, ms(2), other(), &unknown(), T);
        assert!(
            matches!(change, Change::Another { previous: Some(p) } if &*p.name == "ada"),
            "the tracker is told"
        );
        let track = all.get(1).unwrap();
        assert_eq!((track.status, &track.person), (Status::Identifying, &None));
        assert!(all.is_due(1, 3, 3 * 33_000_000, HERE));
        assert_eq!(all.observe(1, ms(3), other(), &known("bob"), T), Change::Named);
    }

    #[test]
    fn one_bad_result_does_not_rename_a_track_two_do() {
        let mut all = TrackIdentities::default();
        all.observe(1, ms(0), sample([1.0, 0.0, 0.0]), &known("ada"), T);
        let bob = || sample([0.0, 0.0, 1.0]);
        assert_eq!(all.observe(1, ms(1), bob(), &known("bob"), T), Change::None);
        assert_eq!(all.observe(1, ms(2), sample([1.0, 0.1, 0.0]), &known("ada"), T), Change::None);
        assert_eq!(all.observe(1, ms(3), bob(), &known("bob"), T), Change::None);
        let change = all.observe(1, ms(4), bob(), &known("bob"), T);
        assert!(matches!(change, Change::Another { previous: Some(p) } if &*p.name == "ada"));
        assert!(all.get(1).unwrap().samples().is_empty(), "ada's crops are not bob's");
    }

    #[test]
    fn face_that_jumps_is_looked_at_again_and_may_be_another_unknown() {
        let mut all = TrackIdentities::default();
        let at = |frame: u64| frame * 33_000_000;
        for frame in [0, 1, 3, 7] {
            assert!(all.is_due(1, frame, at(frame), HERE));
            all.observe(1, ms(frame), sample([1.0, 0.0, 0.0]), &unknown(), T);
        }
        assert!(!all.is_due(1, 8, at(8), HERE));
        // A poor crop in the same place is no other person.
        assert_eq!(all.observe(1, ms(8), sample([0.0, 1.0, 0.0]), &unknown(), T), Change::None);
        assert_eq!(all.observe(1, ms(9), sample([0.0, 1.0, 0.0]), &unknown(), T), Change::None);
        for (frame, change) in [(10, Change::None), (11, Change::Another { previous: None })] {
            assert!(all.is_due(1, frame, at(frame), THERE), "{frame}");
            assert_eq!(all.observe(1, ms(frame), sample([0.0, 0.0, 1.0]), &unknown(), T), change);
        }
    }

    #[test]
    fn track_that_goes_on_into_a_new_scene_is_looked_at_again() {
        let mut all = TrackIdentities::default();
        let looked = |all: &mut TrackIdentities| {
            for (frame, id) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
                all.observe(id, ms(frame), sample([1.0, 0.0, 0.0]), &unknown(), T);
            }
        };
        looked(&mut all);
        all.begin_frame([1, 2, 3].into_iter());
        assert!(!all.is_due(1, 2, ms(2).1, HERE), "one newcomer is no new scene");
        all.begin_frame([1, 4, 5].into_iter());
        assert!(all.is_due(1, 2, ms(2).1, HERE));
        assert!(!all.is_due(2, 2, ms(2).1, HERE), "not on this frame");
    }

    #[test]
    fn tracks_that_ended_or_went_silent_are_forgotten() {
        let mut all = TrackIdentities::default();
        for id in 1..=3 {
            all.mention(id, 0);
        }
        all.mention(3, 50_000_000_000);
        all.end(&[1], 61_000_000_000);
        assert!(all.get(1).is_none() && all.get(2).is_none() && all.get(3).is_some());
    }

    #[test]
    fn gallery_change_renames_removes_and_looks_again() {
        let mut all = TrackIdentities::default();
        all.observe(1, ms(0), sample([1.0, 0.0, 0.0]), &known("ada"), T);
        all.observe(2, ms(0), sample([0.0, 1.0, 0.0]), &known("bob"), T);
        let lost = all.gallery_changed(|id| (id == "ada").then(|| "Ada L.".into()));
        assert!(matches!(&lost[..], [(2, bob)] if &*bob.name == "bob"));
        assert_eq!(&*all.get(1).unwrap().person.as_ref().unwrap().name, "Ada L.");
        assert_eq!(all.get(2).unwrap().status, Status::Identifying);
        assert!(all.is_due(1, 0, 0, HERE) && all.is_due(2, 0, 0, HERE));
    }

    #[test]
    fn best_crops_are_kept_for_enrolment() {
        let mut all = TrackIdentities::default();
        for (frame, weight) in [1.0, 5.0, 3.0, 4.0, 2.0].into_iter().enumerate() {
            let mut sample = sample([1.0, 0.0, 0.0]);
            sample.detection.bbox = BBox::new(0.0, 0.0, weight, 2.0 * weight);
            all.observe(1, ms(frame as u64), sample, &unknown(), T);
        }
        let weights: Vec<f32> =
            all.get(1).unwrap().samples().iter().map(TrackSample::weight).collect();
        assert_eq!(weights, [5.0, 4.0, 3.0]);
    }
}
