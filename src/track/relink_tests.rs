//! Tracks that come back under their old id, and what is kept over a long time.

use super::simulation::Random;
use super::{Observation, TrackState, Tracker, TrackerConfig};
use crate::geometry::BBox;

const MS: u64 = 1_000_000;
const FRAME: u64 = 40 * MS;

/// A face of 40 × 50 px and score 0.9 with its centre there.
fn face(cx: f32, cy: f32) -> Observation {
    Observation { bbox: BBox::new(cx - 20.0, cy - 25.0, 40.0, 50.0), score: 0.9 }
}

fn ids(tracker: &Tracker) -> Vec<u64> {
    tracker.boxes().iter().map(|b| b.track_id).collect()
}

/// Track 1 is seen at 100, 100 for ten frames, then lost, while track 2 stands at 900, 100; at
/// frame 20 a face comes in at 500, 100 that moves right by 3 px per frame, as track 3.
fn lost_and_new(new_frames: u64) -> (Tracker, u64) {
    let mut t = Tracker::new(TrackerConfig::default()).expect("default settings");
    for n in 0..20u64 {
        let both = [face(900.0, 100.0), face(100.0, 100.0)];
        t.update(n * FRAME, &both[..if n < 10 { 2 } else { 1 }]);
    }
    for n in 0..new_frames {
        t.update((20 + n) * FRAME, &[face(900.0, 100.0), face(500.0 + 3.0 * n as f32, 100.0)]);
    }
    (t, 20 + new_frames)
}

#[test]
fn relinked_track_goes_on_under_the_old_id_with_the_new_motion() {
    let (mut t, next) = lost_and_new(10);
    // The detections come in this order: 1 stands, 2 is lost, 3 is new.
    assert_eq!(t.boxes().last().map(|b| (b.track_id, b.first_seen_ns)), Some((3, 20 * FRAME)));
    assert!(t.relink(3, 2));
    t.predict(next * FRAME);
    assert_eq!(ids(&t), [1, 2]);
    let b = t.boxes()[1];
    assert_eq!((b.state, b.first_seen_ns), (TrackState::Confirmed, 0));
    assert_eq!(b.last_seen_ns, (next - 1) * FRAME);
    let want = face(530.0, 100.0).bbox;
    assert!(b.bbox.iou(&want) > 0.9, "{:?} instead of {want:?}", b.bbox);
    assert!(t.ended().is_empty(), "3 was joined, it did not end");
    t.update((next + 1) * FRAME, &[face(900.0, 100.0), face(533.0, 100.0), face(100.0, 400.0)]);
    assert_eq!(ids(&t), [1, 2, 4], "3 never comes again");
    t.reset();
    let two = t.ended().iter().find(|e| e.track_id == 2).copied().expect("2 ended");
    assert_eq!((two.first_seen_ns, two.last_seen_ns), (0, (next + 1) * FRAME));
    assert_eq!((two.hits, two.confirmed), (10 + 10 + 1, true));
}

#[test]
fn relinked_tentative_track_is_as_confirmed_as_the_old_one() {
    let (mut t, next) = lost_and_new(1);
    assert_eq!(t.boxes().last().map(|b| b.state), Some(TrackState::Tentative));
    assert!(t.relink(3, 2));
    t.update(next * FRAME, &[face(900.0, 100.0)]);
    assert!(t.ended().is_empty(), "one miss does not end it");
    let two = t.boxes().iter().find(|b| b.track_id == 2).expect("predicted");
    assert_eq!((two.state, two.observation), (TrackState::Lost, None));
}

#[test]
fn relink_is_refused_unless_the_old_track_is_lost_and_the_new_one_alive() {
    let (mut t, next) = lost_and_new(10);
    let before = format!("{t:?}");
    for (new, old) in [(3, 1), (2, 3), (3, 3), (1, 2), (3, 7), (7, 2), (0, 0), (u64::MAX, 2)] {
        assert!(!t.relink(new, old), "{new} as {old}");
        assert_eq!(format!("{t:?}"), before, "{new} as {old}");
    }
    assert!(t.relink(3, 2));
    assert!(!t.relink(3, 2), "once only");
    // Seen again, so no longer lost.
    t.update(next * FRAME, &[face(900.0, 100.0), face(530.0, 100.0), face(100.0, 400.0)]);
    assert!(!t.relink(4, 2));
    // Lost for too long.
    let (mut t, next) = lost_and_new(10);
    t.update(next * FRAME + 2000 * MS, &[face(900.0, 100.0), face(530.0, 100.0)]);
    assert!(!t.relink(3, 2));
}

#[test]
fn relinked_track_is_no_duplicate_of_one_that_was_opened_between() {
    let (mut t, next) = lost_and_new(10);
    assert!(t.relink(3, 2));
    for n in 0..50 {
        let x = 530.0 + 3.0 * n as f32;
        // The one who stands is missed now and then while the other walks by.
        let both = [face(x, 100.0), face(900.0, 100.0)];
        t.update((next + n) * FRAME, &both[..if n % 7 == 3 { 1 } else { 2 }]);
        assert_eq!(
            t.boxes().iter().find(|b| b.observation == Some(0)).map(|b| b.track_id),
            Some(2)
        );
        assert!(t.ended().is_empty());
    }
}

#[test]
fn t5_what_is_kept_does_not_grow_with_time() {
    // Two hours of a crowd of which everybody leaves after some seconds, with clutter and relinks.
    let mut t = Tracker::new(TrackerConfig::default()).expect("default settings");
    t.set_picture_size(1280.0, 720.0);
    let mut random = Random::new(21);
    let mut seen = Vec::new();
    let mut most = 0;
    for n in 0..2 * 3600 * 25u64 {
        seen.clear();
        for place in 0..12u64 {
            // Every place has somebody else every seven seconds, and nobody for a second.
            let phase = (n + place * 13) % 175;
            if phase < 150 && random.unit() > 0.1 {
                let x = 50.0 + 100.0 * place as f32;
                seen.push(face(x, 100.0 + 3.0 * phase as f32));
            }
        }
        if random.unit() < 0.6 {
            seen.push(face(1280.0 * random.unit(), 720.0 * random.unit()));
        }
        t.update(n * FRAME, &seen);
        if n % 50 == 0 {
            let new = t.boxes().iter().map(|b| b.track_id).max().unwrap_or(0);
            let lost = t.boxes().iter().find(|b| b.state == TrackState::Lost);
            if let Some(old) = lost.map(|b| b.track_id) {
                t.relink(new, old);
            }
        }
        most = most.max(t.boxes().len() + t.ended().len());
    }
    assert!(most < 64, "{most} boxes");
    assert!(t.kept_bytes() < 64 * 1024, "{} bytes", t.kept_bytes());
}
