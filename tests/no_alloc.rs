//! What runs for every frame allocates nothing once it has seen a scene of that size: not the
//! tracker, not the zones, and not the schedule by which faces are looked at. In a process of its
//! own, whose allocator counts.

use allocation_counter::measure;
use face_core::align::AlignedCrop;
use face_core::attributes::pose::HeadPose;
use face_core::detect::Detection;
use face_core::embed::Embedding;
use face_core::gallery::Identification;
use face_core::geometry::{BBox, Landmarks, Point};
use face_core::identity::{
    self, Budget, ConfirmConfig, FilterConfig, Look, Moment, ScheduleConfig, Status, Subject,
    TrackIdentities, TrackSample,
};
use face_core::quality::shot::Shot;
use face_core::track::{Observation, TrackState, Tracker, TrackerConfig};
use face_core::zone::ZoneWatch;

const FACES: usize = 100;
const LOOKS: usize = 128;
const FRAME_NS: u64 = 40_000_000;
const PICTURE: (f32, f32) = (1000.0, 1000.0);

/// A linear congruential generator (the constants of Knuth's MMIX).
struct Random(u64);

impl Random {
    /// 0..1.
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }
}

/// Looks at 100 faces that sway around places `pitch` pixels apart: 10 % are missed, and beside
/// 5 % there is clutter. Every tenth place is empty for half of the time.
fn scene(pitch: f32) -> Vec<Vec<Observation>> {
    let mut random = Random(1);
    let mut look = |n: usize| {
        let mut seen = Vec::new();
        for i in 0..FACES {
            let sway = 20.0 * (n as f32 * std::f32::consts::TAU / LOOKS as f32 + i as f32).sin();
            let x = (i % 10) as f32 * pitch + sway + 4.0 * random.unit();
            let y = (i / 10) as f32 * pitch + 4.0 * random.unit();
            let away = i % 10 == 0 && n < LOOKS / 2;
            if random.unit() >= 0.1 && !away {
                seen.push(Observation { bbox: BBox::new(x, y, 60.0, 80.0), score: 0.8 });
            }
            if random.unit() < 0.05 {
                let (x, y) = (PICTURE.0 * random.unit(), PICTURE.1 * random.unit());
                seen.push(Observation { bbox: BBox::new(x, y, 60.0, 80.0), score: 0.65 });
            }
        }
        seen
    };
    (0..LOOKS).map(&mut look).collect()
}

/// Runs the looks over and over, every third frame without a look, and gives the allocations of
/// the frames after the first `warm` rounds, and how many frames those were.
fn allocations(
    looks: &[Vec<Observation>],
    duplicate_iou: f32,
    mut after: impl FnMut(u64, &Tracker),
) -> (u64, u64) {
    const WARM: usize = 6;
    const ROUNDS: usize = 10;
    // Half a second, so that tracks end and others begin within a round.
    let config =
        TrackerConfig { duplicate_iou, max_lost_ns: 500_000_000, ..TrackerConfig::default() };
    let mut tracker = Tracker::new(config).expect("valid settings");
    tracker.set_picture_size(PICTURE.0, PICTURE.1);
    let (mut count, mut frames, mut frame) = (0, 0, 0u64);
    for round in 0..WARM + ROUNDS {
        for look in looks {
            let info = measure(|| {
                for time in [frame, frame + 1] {
                    tracker.update(time * FRAME_NS, look);
                    after(time * FRAME_NS, &tracker);
                }
                tracker.predict((frame + 2) * FRAME_NS);
                after((frame + 2) * FRAME_NS, &tracker);
            });
            frame += 3;
            if round >= WARM {
                count += info.count_total;
                frames += 3;
            }
        }
    }
    let confirmed = tracker.boxes().iter().filter(|b| b.state != TrackState::Tentative).count();
    assert!(confirmed >= FACES * 7 / 10, "the scene lost its tracks: {confirmed}");
    (count, frames)
}

#[test]
fn the_counter_counts() {
    let info = measure(|| drop(std::hint::black_box(vec![1u8; 100])));
    assert_eq!(info.count_total, 1);
    let mut growing = Vec::with_capacity(1);
    let info = measure(|| growing.extend_from_slice(&[1u64; 100]));
    assert!(info.count_total >= 1, "a buffer that grows is counted too");
}

#[test]
fn tracker_allocates_nothing_after_the_warm_up() {
    let usual = TrackerConfig::default().duplicate_iou;
    assert_eq!(allocations(&scene(100.0), usual, |_, _| ()), (0, 3840));
}

#[test]
fn tracker_allocates_nothing_where_all_boxes_overlap() {
    assert_eq!(allocations(&scene(5.0), 1.0, |_, _| ()), (0, 3840));
}

#[test]
fn zones_allocate_nothing_after_the_warm_up() {
    let mut watch = ZoneWatch::default();
    let zones = "left=0,0 0.5,0 0.5,1 0,1; top=0,0 1000,0 1000,450 0,450 px; \
                 !middle=0.4,0.4 0.6,0.4 0.6,0.6 0.4,0.6";
    watch.set_zones(zones.parse().expect("valid zones"));
    watch.set_picture_size(1000, 1000);
    watch.set_dwell_ns(1_000_000_000);
    let mut told = 0u64;
    let mut named = 0u64;
    let follow = |time_ns, tracker: &Tracker| {
        for b in tracker.boxes().iter().filter(|b| b.observation.is_some()) {
            let bbox = b.bbox.scaled(1.0 / PICTURE.0, 1.0 / PICTURE.1);
            let confirmed = b.state != TrackState::Tentative;
            watch.observe(time_ns, b.track_id, confirmed, &bbox);
            named += watch.zones_of(b.track_id).count() as u64;
        }
        for ended in tracker.ended() {
            watch.end(ended.track_id);
        }
        told += watch.drain_events().count() as u64;
    };
    let usual = TrackerConfig::default().duplicate_iou;
    assert_eq!(allocations(&scene(100.0), usual, follow), (0, 3840));
    assert!(told > 1000 && named > 100_000, "{told} events, {named} names");
}

/// Places of the five points in parts of a face's box.
const POINTS: [(f32, f32); 5] = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)];

/// Takes in a look at a track that recognised nobody.
fn observe(identities: &mut TrackIdentities, track_id: u64, now: Moment, view: f32) {
    let shot = Shot { view, clarity: 1.0 };
    let sample = TrackSample {
        crop: AlignedCrop::default(),
        loose: None,
        embedding: Embedding::new(&[1.0, 0.0]).expect("a direction"),
        detection: Detection { bbox: BBox::default(), score: 1.0, landmarks: None },
        weight: shot.quality(),
    };
    let result =
        Identification { status: Status::Unknown, best: None, margin: None, top: Vec::new() };
    let observation = identity::Observation { sample, shot, result: &result, threshold: 0.4 };
    let (schedule, confirm) = (ScheduleConfig::default(), ConfirmConfig::default());
    identities.observe(track_id, now, observation, &schedule, &confirm);
}

#[test]
fn schedule_allocates_nothing_but_for_what_a_look_gave() {
    let mut identities = TrackIdentities::default();
    let (mut budget, filters) = (Budget::default(), FilterConfig::default());
    let schedule = ScheduleConfig::default();
    let (mut frame, mut count, mut looks) = (0, 0, 0);
    let mut due = Vec::with_capacity(FACES);
    for round in 0..40 {
        for look in scene(100.0) {
            let now = Moment { frame, time_ns: frame * FRAME_NS };
            // Every two seconds all tracks end, and there are new ones in their places.
            let first = FACES as u64 * (frame / 50 + 1);
            let ended = if frame % 50 == 0 { first - FACES as u64..first } else { 0..0 };
            let ended: Vec<u64> = ended.collect();
            let seen = (first..).zip(look.iter().take(FACES).map(|o| o.bbox));
            due.clear();
            let info = measure(|| {
                identities.begin_frame(now.time_ns, seen.clone());
                for (track_id, bbox) in seen.clone() {
                    let point = |(x, y)| Point::new(bbox.x + x * bbox.w, bbox.y + y * bbox.h);
                    let landmarks = Landmarks(POINTS.map(point));
                    let pose = HeadPose::of(&landmarks);
                    let landmarks = Some(landmarks);
                    let subject = Subject { bbox, landmarks, pose, zones: &[] };
                    if let Err(rejection) = filters.check(&subject) {
                        identities.reject(track_id, now.time_ns, rejection);
                        continue;
                    }
                    let view = Shot::view_of(bbox.min_side(), pose.as_ref());
                    if identities.look(track_id, now, view, &schedule) != Look::No {
                        due.push((track_id, view));
                    }
                }
                let available = budget.available(200, now.time_ns).min(due.len());
                budget.spend(available);
                due.truncate(available);
                identities.end(&ended, now.time_ns);
            });
            for (track_id, view) in &due {
                observe(&mut identities, *track_id, now, *view);
            }
            if round >= 8 {
                count += info.count_total;
                looks += due.len();
            }
            frame += 1;
        }
    }
    assert_eq!(count, 0);
    assert!(looks > 1000, "{looks} looks");
}
