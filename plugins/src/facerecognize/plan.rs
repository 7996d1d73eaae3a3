//! Which faces of a frame are looked at, and which are filtered.

use std::cmp::Reverse;

use face_core::attributes::pose::HeadPose;
use face_core::identity::{Look, Moment, Rejection, Status, Subject};
use face_core::quality::shot::Shot;

use super::stream::{Options, Stream, When};
use crate::meta::{Attribute, Face, FrameFaces};

/// Name of the attributes that say how far a head is turned, tilted or raised.
const HEAD_POSE: &str = "head-pose";

/// A face whose crop is cut out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) index: usize,
    /// [`Shot::view`].
    pub(super) view: f32,
    /// Embedded only if its crop is of at least this quality; 0: in any case. (The filter of
    /// quality is another question.)
    pub(super) least: f32,
    /// Only measured: the filter of quality comes before that of tracks, which refuses the face.
    pub(super) measure_only: bool,
    rank: u64,
    /// Of equal ranks the first in turn.
    turn: usize,
}

/// The faces of a frame whose turn it is, in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) faces: Vec<Planned>,
    /// How many may be embedded.
    pub(super) available: usize,
}

impl Plan {
    pub(super) fn wants_pixels(&self) -> bool {
        !self.faces.is_empty()
    }
}

impl Stream {
    /// Takes in which faces a frame has, filters them and says which are to be looked at: to be
    /// called once per frame.
    pub(super) fn plan(&mut self, faces: &mut FrameFaces, options: &Options, when: &When) -> Plan {
        self.stats.frames += 1;
        self.stats.faces += faces.faces.len() as u64;
        self.use_joined_ids(faces);
        let now = Moment { frame: faces.frame_id, time_ns: when.time_ns };
        let observed = faces.faces.iter().filter(|f| f.observed);
        if faces.looked || observed.clone().next().is_some() {
            let tracked = observed.filter(|f| f.track_id != 0);
            self.identities.begin_frame(when.time_ns, tracked.map(|f| (f.track_id, f.bbox)));
        }
        let size = faces.square_size();
        // In memory that is kept from frame to frame.
        let mut planned = std::mem::take(&mut self.planned);
        let mut untracked = std::mem::take(&mut self.untracked);
        for (index, face) in faces.faces.iter_mut().enumerate().filter(|(_, f)| f.observed) {
            let turns = if face.track_id == 0 { &mut untracked } else { &mut planned };
            turns.extend(self.judge(index, face, size, options, now));
        }
        // Faces without a track have no past by which to rank them: they take turns.
        let turn = self.untracked_turn % untracked.len().max(1);
        untracked.rotate_left(turn);
        planned.append(&mut untracked);
        self.untracked = untracked;
        planned.iter_mut().enumerate().for_each(|(turn, planned)| planned.turn = turn);
        planned.sort_unstable_by_key(|p| (Reverse(p.rank), p.turn));
        let available = self.budget.available(options.max_per_second, when.time_ns);
        if available == 0 {
            self.stats.over_budget += due(&planned);
            planned.retain(|p| p.measure_only);
        }
        Plan { faces: planned, available }
    }

    /// Faces that were on their way while their track was joined with an older one have its id.
    fn use_joined_ids(&mut self, faces: &mut FrameFaces) {
        let mut joined = Vec::new();
        for face in &mut faces.faces {
            let id = self.identities.resolve(face.track_id);
            if id != face.track_id {
                face.was_id = std::mem::replace(&mut face.track_id, id);
                joined.push(id);
            }
        }
        // Where the lost track was still predicted to be it is not.
        faces.faces.retain(|f| f.observed || f.was_id != 0 || !joined.contains(&f.track_id));
    }

    /// Filters an observed face. Returns it if it is to be looked at.
    fn judge(
        &mut self,
        index: usize,
        face: &mut Face,
        size: (f32, f32),
        options: &Options,
        now: Moment,
    ) -> Option<Planned> {
        face.filter.clear();
        let landmarks = face.landmarks.map(|l| l.scaled(size.0, size.1));
        let pose = landmarks.as_ref().and_then(HeadPose::of);
        if options.head_pose {
            write_pose(face, pose.as_ref());
        }
        let bbox = face.bbox.scaled(size.0, size.1);
        let checked = options.filters.check(&Subject { bbox, landmarks, pose, zones: &face.zones });
        let measured = options.filters.min_quality > 0.0;
        let on_track = options.filters.check_track(face.track_id);
        let measure_only = measured && on_track.is_err();
        let checked = checked.and(if measured { Ok(()) } else { on_track });
        if let Err(rejection) = checked {
            self.reject(face, rejection, now.time_ns);
            return None;
        }
        let view = Shot::view_of(bbox.min_side(), pose.as_ref());
        let planned = Planned { index, view, least: 0.0, measure_only, rank: 0, turn: 0 };
        if face.track_id == 0 {
            let rank = self.untracked_rank(now.time_ns, options);
            return Some(Planned { rank, ..planned });
        }
        match self.identities.look(face.track_id, now, view, &options.schedule) {
            Look::Due { rank } => Some(Planned { rank, ..planned }),
            Look::IfClearer { quality, rank } => Some(Planned { least: quality, rank, ..planned }),
            Look::No => None,
        }
    }

    /// All faces without a track together wait as one face with a track does.
    fn untracked_rank(&mut self, time_ns: u64, options: &Options) -> u64 {
        let since = *self.untracked_since_ns.get_or_insert(time_ns);
        time_ns.saturating_sub(since).saturating_add(options.schedule.max_wait_ns.max(1))
    }

    /// The face is not looked at on this frame; its track stays what it is.
    pub(super) fn reject(&mut self, face: &mut Face, rejection: Rejection, time_ns: u64) {
        self.stats.filtered[rejection.index()] += 1;
        face.filter = rejection.reason().to_owned();
        face.status = Status::Filtered;
        if face.track_id != 0 {
            self.identities.reject(face.track_id, time_ns, rejection);
        }
    }
}

/// How many faces are embedded unless something hinders it.
fn due(planned: &[Planned]) -> u64 {
    planned.iter().filter(|p| !p.measure_only && p.least == 0.0).count() as u64
}

fn write_pose(face: &mut Face, pose: Option<&HeadPose>) {
    face.pose = pose.map(|p| [p.yaw, p.pitch, p.roll]);
    face.attributes.retain(|a| a.name != HEAD_POSE);
    let Some(pose) = pose else { return };
    let scores = pose.scores;
    let scores = [
        ("turned-left", scores.turned_left),
        ("turned-right", scores.turned_right),
        ("tilted-left", scores.tilted_left),
        ("tilted-right", scores.tilted_right),
        ("up", scores.up),
    ];
    // One that is missing is 0: most are.
    face.attributes.extend(scores.into_iter().filter(|(_, score)| *score > 0.0).map(
        |(label, score)| Attribute {
            name: HEAD_POSE.to_owned(),
            label: label.to_owned(),
            confidence: Some(score),
        },
    ));
}
