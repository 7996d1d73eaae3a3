//! The tracker: which detection belongs to which track.
//!
//! One look goes through these passes, each an optimal assignment of what the passes before have
//! left (1 to 3 are ByteTrack, arXiv:2110.06864):
//! 1. confirmed and lost tracks with detections of high score, by IoU with the predicted box;
//! 2. confirmed tracks that were seen at the last look with detections of low score, by IoU;
//! 3. tentative tracks with detections of high score, by IoU;
//! 4. every track with detections of high score, by the distance of the centres, gated by the
//!    uncertainty of the prediction: faces are small, and at a few looks per second a walking
//!    person's face overlaps nothing of its last box.

use super::assignment::Assignment;
use super::config::{TrackerConfig, TrackerConfigError};
use super::kalman::BoxFilter;
use crate::geometry::BBox;

/// Pass 1 takes the IoU of lost tracks times this: where two people cross, the track of the one
/// behind waits over the face of the one in front and must not take it over.
const LOST_WEIGHT: f32 = 0.6;
/// Pass 4: the squared Mahalanobis distance that 99 % of a normal distribution over a plane are
/// within (chi-squared, two degrees of freedom).
const GATE: f64 = 9.21;
/// Pass 4: a track's and a detection's sizes differ at most by this factor.
const MOST_GROWTH: f32 = 2.0;
/// Observations with a coordinate or side beyond this many pixels are no faces.
const LARGEST_PX: f32 = 1e7;
/// Predicted boxes with a side shorter than this many pixels are not reported.
const SMALLEST_PX: f32 = 1.0;

/// A detection as the tracker needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// In square pixels of the picture (pixel aspect ratio applied).
    pub bbox: BBox,
    /// Confidence, 0..=1.
    pub score: f32,
}

/// What is known of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackState {
    /// Seen less than [`TrackerConfig::confirm_hits`] times; ends at the first look without it.
    Tentative,
    /// Confirmed, and seen at the last look.
    Confirmed,
    /// Confirmed once, not seen at the last look.
    Lost,
}

/// A box of the current frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackBox {
    /// From 1, never used twice by the same tracker.
    pub track_id: u64,
    /// Index of the observation given to [`Tracker::update`]; `None`: the box is predicted.
    pub observation: Option<usize>,
    /// The observation's own box or, if predicted, the part of it that is in the picture; square
    /// pixels.
    pub bbox: BBox,
    pub state: TrackState,
    /// Time of the first observation, ns.
    pub first_seen_ns: u64,
    /// Time of the last observation, ns.
    pub last_seen_ns: u64,
}

/// A track that is over; its id will not come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedTrack {
    pub track_id: u64,
    /// Time of the first observation, ns.
    pub first_seen_ns: u64,
    /// Time of the last observation, ns; not before `first_seen_ns`.
    pub last_seen_ns: u64,
    /// Number of observations, at least 1.
    pub hits: u64,
    /// Was it ever confirmed?
    pub confirmed: bool,
}

#[derive(Clone, Debug)]
struct Track {
    id: u64,
    state: TrackState,
    filter: BoxFilter,
    /// `filter.bbox()`, kept because every pass reads it many times.
    predicted: BBox,
    /// Index and box of the observation in this frame.
    observed: Option<(usize, BBox)>,
    first_seen_ns: u64,
    last_seen_ns: u64,
    /// The same two times on the tracker's own clock.
    opened: u64,
    seen: u64,
    hits: u64,
    over: bool,
}

impl Track {
    fn observe(&mut self, index: usize, bbox: &BBox, time_ns: u64, clock: u64, confirm_hits: u32) {
        self.filter.observe(bbox);
        self.predicted = self.filter.bbox();
        self.observed = Some((index, *bbox));
        self.last_seen_ns = time_ns.max(self.first_seen_ns);
        self.seen = clock;
        self.hits += 1;
        if self.state != TrackState::Tentative || self.hits >= u64::from(confirm_hits) {
            self.state = TrackState::Confirmed;
        }
    }

    /// Time since the last observation, ns.
    fn age(&self, clock: u64) -> u64 {
        clock.wrapping_sub(self.seen)
    }

    fn summary(&self) -> EndedTrack {
        EndedTrack {
            track_id: self.id,
            first_seen_ns: self.first_seen_ns,
            last_seen_ns: self.last_seen_ns,
            hits: self.hits,
            confirmed: self.state != TrackState::Tentative,
        }
    }
}

/// The passes of the module documentation.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    High,
    Low,
    Tentative,
    Distance,
}

/// Follows faces from frame to frame. See the [module](super) documentation.
///
/// Call [`update`](Self::update) for every frame that a detector looked at and
/// [`predict`](Self::predict) for every other one, then read [`boxes`](Self::boxes) and
/// [`ended`](Self::ended). Times are those of the frames, in ns from any origin. A time before
/// that of the last call counts as the same moment; whether it (or a long jump) means another
/// stream is for the caller to decide, with [`reset`](Self::reset).
#[derive(Debug)]
pub struct Tracker {
    config: TrackerConfig,
    /// Width and height in square pixels.
    picture: Option<(f32, f32)>,
    /// By rising id, so from the oldest to the youngest.
    tracks: Vec<Track>,
    boxes: Vec<TrackBox>,
    ended: Vec<EndedTrack>,
    next_id: u64,
    /// Time of the last frame.
    time_ns: Option<u64>,
    /// Sum of all steps forward: the age of a track stays right where the caller's time does not.
    clock: u64,
    /// Has there been a look since the start or the last reset?
    looked: bool,
    // Buffers of `update`, kept from frame to frame.
    high: Vec<usize>,
    low: Vec<usize>,
    rows: Vec<usize>,
    assignment: Assignment,
}

impl Tracker {
    /// # Errors
    /// If the settings are not [valid](TrackerConfig::validate).
    pub fn new(config: TrackerConfig) -> Result<Self, TrackerConfigError> {
        config.validate()?;
        Ok(Self {
            config,
            picture: None,
            tracks: Vec::new(),
            boxes: Vec::new(),
            ended: Vec::new(),
            next_id: 1,
            time_ns: None,
            clock: 0,
            looked: false,
            high: Vec::new(),
            low: Vec::new(),
            rows: Vec::new(),
            assignment: Assignment::default(),
        })
    }

    /// Other settings from the next frame on; tracks go on.
    ///
    /// # Errors
    /// If they are not [valid](TrackerConfig::validate); the old ones stay.
    pub fn set_config(&mut self, config: TrackerConfig) -> Result<(), TrackerConfigError> {
        config.validate()?;
        self.config = config;
        Ok(())
    }

    pub fn config(&self) -> &TrackerConfig {
        &self.config
    }

    /// The size of the picture in square pixels: predicted boxes are cut at its border, and not
    /// reported when their centre is outside. Without it (at first, or after a size that is not
    /// finite and above 0) they are reported wherever they are. When a known size changes, the
    /// same scene is taken to be shown at another scale, and tracks are scaled with it.
    pub fn set_picture_size(&mut self, width: f32, height: f32) {
        let known = |v: f32| v.is_finite() && v > 0.0;
        let new = (known(width) && known(height)).then_some((width, height));
        if let (Some(old), Some(new)) = (self.picture, new)
            && old != new
        {
            let (sx, sy) = (f64::from(new.0 / old.0), f64::from(new.1 / old.1));
            for track in &mut self.tracks {
                track.filter.scale(sx, sy);
                track.predicted = track.filter.bbox();
            }
        }
        self.picture = new;
    }

    /// A frame of time `time_ns` in which a detector found `observations`. Degenerate boxes,
    /// scores that are not finite, and scores below [`TrackerConfig::low_threshold`] are ignored.
    pub fn update(&mut self, time_ns: u64, observations: &[Observation]) {
        self.advance(time_ns);
        self.sort_observations(observations);
        for pass in [Pass::High, Pass::Low, Pass::Tentative, Pass::Distance] {
            self.associate(pass, time_ns, observations);
        }
        for track in self.tracks.iter_mut().filter(|t| t.observed.is_none()) {
            match track.state {
                TrackState::Tentative => track.over = true,
                TrackState::Confirmed | TrackState::Lost => track.state = TrackState::Lost,
            }
        }
        self.join_duplicates(time_ns);
        self.open_tracks(time_ns, observations);
        self.looked = true;
        self.finish_frame();
    }

    /// A frame of time `time_ns` that no detector looked at: no track is missed in it.
    pub fn predict(&mut self, time_ns: u64) {
        self.advance(time_ns);
        self.finish_frame();
    }

    /// The boxes of the last frame by rising track id: all tracks that were observed, and of
    /// confirmed and lost ones that were not, the predicted box for
    /// [`TrackerConfig::max_predicted_ns`].
    pub fn boxes(&self) -> &[TrackBox] {
        &self.boxes
    }

    /// Is any track left, seen or lost?
    pub fn has_tracks(&self) -> bool {
        !self.tracks.is_empty()
    }

    /// The tracks that ended in the last call of `update`, `predict` or `reset`.
    pub fn ended(&self) -> &[EndedTrack] {
        &self.ended
    }

    /// Ends one track between two frames: whoever looked closer found another face in it. The next
    /// observation there opens a new track. `None` if there is no such track.
    pub fn end_track(&mut self, track_id: u64) -> Option<EndedTrack> {
        let place = self.tracks.iter().position(|t| t.id == track_id)?;
        Some(self.tracks.remove(place).summary())
    }

    /// Joins the track `new_id` with the older track `old_id` between two frames: whoever looked
    /// closer knows that it is the lost face come back. From the next frame on the track goes on
    /// as `old_id`, with the motion of the new track and the first time of the old one. The id
    /// `new_id` never comes again, and is not in [`ended`](Self::ended). [`boxes`](Self::boxes)
    /// stay those of the last frame.
    ///
    /// False, and nothing is changed, unless `new_id` is a track opened after the track `old_id`,
    /// and that one is lost and not over.
    pub fn relink(&mut self, new_id: u64, old_id: u64) -> bool {
        let place = |id| self.tracks.iter().position(|t| t.id == id && !t.over);
        let (Some(old), Some(new)) = (place(old_id), place(new_id)) else { return false };
        if old >= new || self.tracks[old].state != TrackState::Lost {
            return false;
        }
        let new = self.tracks.remove(new);
        let old = &mut self.tracks[old];
        // Lost tracks were confirmed once, and what is known of the face is not unlearned.
        let state = match new.state {
            TrackState::Tentative => TrackState::Confirmed,
            state => state,
        };
        *old = Track {
            id: old.id,
            state,
            first_seen_ns: old.first_seen_ns,
            opened: old.opened,
            hits: old.hits.saturating_add(new.hits),
            last_seen_ns: new.last_seen_ns.max(old.last_seen_ns),
            ..new
        };
        true
    }

    /// Ends all tracks, for a new stream or scene; the time may start anew. Ids go on.
    pub fn reset(&mut self) {
        self.ended.clear();
        self.boxes.clear();
        self.ended.extend(self.tracks.drain(..).map(|t| t.summary()));
        self.time_ns = None;
        self.looked = false;
    }

    /// Memory that the buffers hold.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        fn bytes<T>(buffer: &Vec<T>) -> usize {
            buffer.capacity() * size_of::<T>()
        }
        let indices = bytes(&self.high) + bytes(&self.low) + bytes(&self.rows);
        let tracks = bytes(&self.tracks) + bytes(&self.boxes) + bytes(&self.ended);
        indices + tracks + self.assignment.kept_bytes()
    }

    /// Moves all tracks on to `time_ns` and ends those lost for too long.
    fn advance(&mut self, time_ns: u64) {
        let dt_ns = self.time_ns.map_or(0, |last| time_ns.saturating_sub(last));
        self.time_ns = Some(time_ns);
        // A longer step would tell no more: every track ends. Ages are taken with wrapping too.
        self.clock = self.clock.wrapping_add(dt_ns.min(self.config.max_lost_ns + 1));
        self.ended.clear();
        for track in &mut self.tracks {
            track.observed = None;
            track.over = track.age(self.clock) > self.config.max_lost_ns;
        }
        self.remove_over();
        // Those left were seen within max_lost_ns, so dt_ns is not longer than that.
        if dt_ns > 0 {
            for track in &mut self.tracks {
                track.filter.predict(dt_ns);
                track.predicted = track.filter.bbox();
            }
        }
    }

    /// Fills `high` and `low` with the indices of the observations that count.
    fn sort_observations(&mut self, observations: &[Observation]) {
        self.high.clear();
        self.low.clear();
        for (i, o) in observations.iter().enumerate() {
            let b = &o.bbox;
            let sane = b.is_valid() && [b.x, b.y, b.w, b.h].iter().all(|v| v.abs() <= LARGEST_PX);
            // Comparisons with NaN are false.
            if sane && o.score >= self.config.high_threshold {
                self.high.push(i);
            } else if sane && o.score >= self.config.low_threshold {
                self.low.push(i);
            }
        }
        for list in [&mut self.high, &mut self.low] {
            if list.len() > self.config.max_tracks {
                let score = |i: &usize| observations[*i].score;
                list.sort_unstable_by(|a, b| score(b).total_cmp(&score(a)).then(a.cmp(b)));
                list.truncate(self.config.max_tracks);
            }
        }
    }

    fn associate(&mut self, pass: Pass, time_ns: u64, observations: &[Observation]) {
        let columns = if pass == Pass::Low { &mut self.low } else { &mut self.high };
        self.rows.clear();
        let picture = self.picture;
        let takes = |t: &Track| takes_part(t, pass) && !has_left(t, picture);
        self.rows.extend((0..self.tracks.len()).filter(|&i| takes(&self.tracks[i])));
        if columns.is_empty() || self.rows.is_empty() {
            return;
        }
        self.assignment.clear();
        for (row, &track) in self.rows.iter().enumerate() {
            let track = &self.tracks[track];
            for (col, &observation) in columns.iter().enumerate() {
                let observation = &observations[observation];
                if let Some(cost) = cost(&self.config, pass, track, observation) {
                    self.assignment.add(row, col, f64::from(cost));
                }
            }
        }
        // Every cost is below this limit.
        let limit =
            if pass == Pass::Distance { f64::from(self.config.match_distance) } else { 1.0 };
        for &(row, col) in self.assignment.solve(limit) {
            let index = columns[col];
            self.tracks[self.rows[row]].observe(
                index,
                &observations[index].bbox,
                time_ns,
                self.clock,
                self.config.confirm_hits,
            );
            columns[col] = usize::MAX;
        }
        columns.retain(|&i| i != usize::MAX);
    }

    /// Ends the younger of two tracks that are the same face: two that were both observed in the
    /// same place, or one that was opened after the older was last seen and is now where that one
    /// is predicted to be; the older then takes its observation. (Two that were once seen side by
    /// side are two people, however much one hides the other now.)
    fn join_duplicates(&mut self, time_ns: u64) {
        let limit = self.config.duplicate_iou;
        for young in 1..self.tracks.len() {
            let (older, rest) = self.tracks.split_at_mut(young);
            let young = &mut rest[0];
            let Some((index, bbox)) = young.observed else { continue };
            for old in older.iter_mut().filter(|t| !t.over) {
                match old.observed {
                    Some((_, other)) if other.iou(&bbox) > limit => {}
                    None if old.age(self.clock) > self.clock.wrapping_sub(young.opened)
                        && old.predicted.iou(&bbox) > limit =>
                    {
                        let hits = self.config.confirm_hits;
                        old.observe(index, &bbox, time_ns, self.clock, hits);
                    }
                    _ => continue,
                }
                young.over = true;
                young.observed = None;
                break;
            }
        }
        self.remove_over();
    }

    fn open_tracks(&mut self, time_ns: u64, observations: &[Observation]) {
        for n in 0..self.high.len() {
            let index = self.high[n];
            let Observation { bbox, score } = observations[index];
            if score < self.config.new_threshold || self.is_covered(&bbox) || !self.make_room() {
                continue;
            }
            let at_once = !self.looked || self.config.confirm_hits <= 1;
            self.tracks.push(Track {
                id: self.next_id,
                state: if at_once { TrackState::Confirmed } else { TrackState::Tentative },
                filter: BoxFilter::new(&bbox),
                predicted: bbox,
                observed: Some((index, bbox)),
                first_seen_ns: time_ns,
                last_seen_ns: time_ns,
                opened: self.clock,
                seen: self.clock,
                hits: 1,
                over: false,
            });
            self.next_id += 1;
        }
    }

    /// Is `bbox` a second detection of a face that a track was observed at in this frame?
    fn is_covered(&self, bbox: &BBox) -> bool {
        let limit = self.config.duplicate_iou;
        self.tracks.iter().any(|t| t.observed.is_some_and(|(_, b)| b.iou(bbox) > limit))
    }

    /// Makes sure that one more track may be opened; ends the one lost longest if it must.
    fn make_room(&mut self) -> bool {
        if self.tracks.len() < self.config.max_tracks {
            return true;
        }
        let lost = self.tracks.iter().enumerate().filter(|(_, t)| t.state == TrackState::Lost);
        let Some((oldest, _)) = lost.max_by_key(|(_, t)| t.age(self.clock)) else { return false };
        self.ended.push(self.tracks.remove(oldest).summary());
        // Fewer tracks may have been allowed by set_config.
        self.tracks.len() < self.config.max_tracks
    }

    fn remove_over(&mut self) {
        let ended = &mut self.ended;
        self.tracks.retain(|track| {
            if track.over {
                ended.push(track.summary());
            }
            !track.over
        });
    }

    fn finish_frame(&mut self) {
        self.boxes.clear();
        for track in &self.tracks {
            let (observation, bbox) = match track.observed {
                Some((index, bbox)) => (Some(index), bbox),
                None => match self.predicted_box(track) {
                    Some(bbox) => (None, bbox),
                    None => continue,
                },
            };
            self.boxes.push(TrackBox {
                track_id: track.id,
                observation,
                bbox,
                state: track.state,
                first_seen_ns: track.first_seen_ns,
                last_seen_ns: track.last_seen_ns,
            });
        }
    }

    fn predicted_box(&self, track: &Track) -> Option<BBox> {
        if track.state == TrackState::Tentative
            || track.age(self.clock) > self.config.max_predicted_ns
        {
            return None;
        }
        let mut bbox = track.predicted;
        if let Some((width, height)) = self.picture {
            let center = bbox.center();
            if !(0.0..=width).contains(&center.x) || !(0.0..=height).contains(&center.y) {
                return None;
            }
            let (x, y) = (bbox.x.max(0.0), bbox.y.max(0.0));
            let (right, bottom) = (bbox.x + bbox.w, bbox.y + bbox.h);
            bbox = BBox::new(x, y, right.min(width) - x, bottom.min(height) - y);
        }
        (bbox.is_valid() && bbox.min_side() >= SMALLEST_PX).then_some(bbox)
    }
}

fn takes_part(track: &Track, pass: Pass) -> bool {
    track.observed.is_none()
        && match pass {
            Pass::High => track.state != TrackState::Tentative,
            Pass::Low => track.state == TrackState::Confirmed,
            Pass::Tentative => track.state == TrackState::Tentative,
            Pass::Distance => true,
        }
}

/// Was the track lost, and did it then go on out of the picture? Who comes in there next is somebody
/// else, or is known again by the face.
fn has_left(track: &Track, picture: Option<(f32, f32)>) -> bool {
    let center = track.predicted.center();
    track.state == TrackState::Lost
        && picture.is_some_and(|(width, height)| {
            !(0.0..=width).contains(&center.x) || !(0.0..=height).contains(&center.y)
        })
}

/// The cost of giving an observation to a track, or `None` if it cannot be.
fn cost(config: &TrackerConfig, pass: Pass, track: &Track, observed: &Observation) -> Option<f32> {
    let (predicted, bbox) = (&track.predicted, &observed.bbox);
    if pass == Pass::Distance {
        let ratio = (bbox.area() / predicted.area()).sqrt();
        let size = predicted.area().max(bbox.area()).sqrt();
        let distance = predicted.center().distance(bbox.center()) / size;
        let possible = distance < config.match_distance
            && (1.0 / MOST_GROWTH..=MOST_GROWTH).contains(&ratio)
            && track.filter.distance2(bbox.center()) <= GATE;
        return possible.then_some(distance);
    }
    let iou = predicted.iou(bbox);
    let least = if pass == Pass::Low { config.low_match_iou } else { config.match_iou };
    if iou < least {
        return None;
    }
    let weight = match pass {
        Pass::Low => 1.0,
        _ if track.state == TrackState::Lost => observed.score.min(1.0) * LOST_WEIGHT,
        _ => observed.score.min(1.0),
    };
    Some(1.0 - iou * weight)
}
