//! The rules of the tracker.

use super::simulation::Random;
use super::{Observation, TrackBox, TrackState, Tracker, TrackerConfig};
use crate::geometry::BBox;

const MS: u64 = 1_000_000;
const FRAME: u64 = 40 * MS;

fn tracker() -> Tracker {
    Tracker::new(TrackerConfig::default()).expect("default settings")
}

/// A face of 40 × 50 px and score 0.9 with its centre there.
fn face(cx: f32, cy: f32) -> Observation {
    Observation { bbox: BBox::new(cx - 20.0, cy - 25.0, 40.0, 50.0), score: 0.9 }
}

fn scored(cx: f32, cy: f32, score: f32) -> Observation {
    Observation { score, ..face(cx, cy) }
}

fn ids(tracker: &Tracker) -> Vec<u64> {
    tracker.boxes().iter().map(|b| b.track_id).collect()
}

/// The id of the track that was given the observation of this index.
fn id_of(tracker: &Tracker, observation: usize) -> Option<u64> {
    tracker.boxes().iter().find(|b| b.observation == Some(observation)).map(|b| b.track_id)
}

fn ended(tracker: &Tracker) -> Vec<u64> {
    tracker.ended().iter().map(|e| e.track_id).collect()
}

#[test]
fn t2_ids_start_at_one_and_first_look_confirms_at_once() {
    let mut t = tracker();
    t.predict(0);
    assert!(t.boxes().is_empty());
    t.update(FRAME, &[face(100.0, 100.0), face(300.0, 100.0)]);
    assert_eq!(ids(&t), [1, 2]);
    assert!(t.boxes().iter().all(|b| b.state == TrackState::Confirmed));
    assert_eq!(t.boxes()[0].first_seen_ns, FRAME);
}

#[test]
fn t2_matched_observation_keeps_its_own_box() {
    let mut t = tracker();
    t.update(0, &[face(100.0, 100.0)]);
    let seen = [face(400.0, 100.0), face(103.3, 98.7)];
    t.update(FRAME, &seen);
    let b: &TrackBox = &t.boxes()[0];
    assert_eq!((b.track_id, b.observation, b.bbox), (1, Some(1), seen[1].bbox));
    assert_eq!((b.first_seen_ns, b.last_seen_ns), (0, FRAME));
}

#[test]
fn t2_tentative_track_is_confirmed_by_the_second_look() {
    let mut t = tracker();
    t.update(0, &[]);
    t.update(FRAME, &[face(100.0, 100.0)]);
    assert_eq!((t.boxes()[0].track_id, t.boxes()[0].state), (1, TrackState::Tentative));
    t.predict(2 * FRAME);
    assert!(t.boxes().is_empty(), "tentative tracks give no predicted boxes");
    assert!(t.ended().is_empty(), "a frame that was not looked at is no miss");
    t.update(3 * FRAME, &[face(101.0, 100.0)]);
    assert_eq!((t.boxes()[0].track_id, t.boxes()[0].state), (1, TrackState::Confirmed));
}

#[test]
fn tentative_track_ends_at_the_first_missed_look_and_its_id_is_not_reused() {
    let mut t = tracker();
    t.update(0, &[]);
    t.update(FRAME, &[face(100.0, 100.0)]);
    t.update(2 * FRAME, &[]);
    assert!(t.boxes().is_empty());
    let e = t.ended()[0];
    assert_eq!((e.track_id, e.hits, e.confirmed), (1, 1, false));
    assert_eq!((e.first_seen_ns, e.last_seen_ns), (FRAME, FRAME));
    t.update(3 * FRAME, &[face(100.0, 100.0)]);
    assert_eq!(ids(&t), [2]);
    assert!(t.ended().is_empty(), "ended() is of the last call only");
}

#[test]
fn clutter_never_confirms() {
    let mut t = tracker();
    let mut random = Random::new(11);
    t.update(0, &[]);
    for i in 1..500u64 {
        // A false detection somewhere else at every look.
        let cell = (i * 7 % 48) as f32;
        let (cx, cy) = (cell % 8.0 * 150.0, (cell / 8.0).floor() * 120.0);
        t.update(i * FRAME, &[face(cx + 20.0 * random.unit(), cy + 20.0 * random.unit())]);
        assert!(t.boxes().iter().all(|b| b.state == TrackState::Tentative), "frame {i}");
        assert!(t.boxes().len() <= 1);
        assert!(t.ended().iter().all(|e| !e.confirmed));
    }
}

#[test]
fn lost_track_keeps_id_after_gap() {
    let mut t = tracker();
    let at = |ms: u64| face(100.0 + 0.1 * ms as f32, 200.0);
    for i in 0..25 {
        t.update(i * FRAME, &[at(i * 40)]);
    }
    for i in 25..62 {
        t.update(i * FRAME, &[]);
        assert!(t.boxes().iter().all(|b| b.state == TrackState::Lost && b.observation.is_none()));
    }
    t.update(62 * FRAME, &[at(62 * 40)]);
    let b = t.boxes()[0];
    assert_eq!((t.boxes().len(), b.track_id, b.state), (1, 1, TrackState::Confirmed));
    assert_eq!((b.first_seen_ns, b.last_seen_ns), (0, 62 * FRAME));
}

#[test]
fn lost_track_that_stood_still_keeps_id_after_gap() {
    let mut t = tracker();
    for i in 0..10 {
        t.update(i * FRAME, &[face(100.0, 100.0)]);
    }
    t.update(10 * FRAME, &[]);
    t.update(9 * FRAME + 1900 * MS, &[face(130.0, 110.0)]);
    assert_eq!(ids(&t), [1]);
}

#[test]
fn t2_lost_track_ends_after_max_lost() {
    let mut t = tracker();
    t.update(0, &[face(100.0, 100.0)]);
    t.update(FRAME, &[face(100.0, 100.0)]);
    t.update(FRAME + 2000 * MS, &[]);
    assert!(t.ended().is_empty());
    t.update(FRAME + 2000 * MS + 1, &[face(100.0, 100.0)]);
    let e = t.ended()[0];
    assert_eq!((e.track_id, e.hits, e.confirmed), (1, 2, true));
    assert_eq!((e.first_seen_ns, e.last_seen_ns), (0, FRAME));
    assert_eq!(ids(&t), [2], "too late: a new track");
}

#[test]
fn lost_track_is_not_taken_by_a_face_elsewhere() {
    let mut t = tracker();
    for i in 0..10 {
        t.update(i * FRAME, &[face(100.0, 100.0)]);
    }
    t.update(10 * FRAME, &[face(190.0, 100.0)]);
    assert_eq!(id_of(&t, 0), Some(2), "two sizes away in one frame is another face");
    t.update(11 * FRAME, &[Observation { bbox: BBox::new(50.0, 20.0, 110.0, 160.0), score: 0.9 }]);
    assert_eq!(id_of(&t, 0), Some(3), "so is one of three times the size");
}

#[test]
fn predicted_boxes_follow_the_motion_for_a_bounded_time() {
    let mut t = tracker();
    for i in 0..25 {
        t.update(i * FRAME, &[face(100.0 + 4.0 * i as f32, 100.0)]);
    }
    let seen = 24 * FRAME;
    t.predict(seen + 400 * MS);
    let b = t.boxes()[0];
    assert_eq!((b.observation, b.state, b.last_seen_ns), (None, TrackState::Confirmed, seen));
    let want = face(196.0 + 40.0, 100.0).bbox;
    assert!(b.bbox.iou(&want) > 0.85, "{:?} instead of {want:?}", b.bbox);
    t.predict(seen + 500 * MS);
    assert_eq!(t.boxes().len(), 1);
    t.predict(seen + 501 * MS);
    assert!(t.boxes().is_empty() && t.ended().is_empty(), "still there, but no longer shown");
    let off = TrackerConfig { max_predicted_ns: 0, ..TrackerConfig::default() };
    t.set_config(off).expect("valid");
    t.update(seen + 600 * MS, &[face(256.0, 100.0)]);
    t.predict(seen + 601 * MS);
    assert!(t.boxes().is_empty());
}

#[test]
fn predicted_box_that_leaves_the_picture_is_cut_and_then_not_reported() {
    let mut t = tracker();
    t.set_picture_size(320.0, 240.0);
    for i in 0..10 {
        t.update(i * FRAME, &[face(200.0 + 10.0 * i as f32, 100.0)]);
    }
    t.predict(10 * FRAME);
    t.predict(10 * FRAME + FRAME / 2);
    let b = t.boxes()[0].bbox;
    assert!((b.x + b.w - 320.0).abs() < 0.01 && b.w < 40.0 && b.w > 20.0, "{b:?}");
    t.predict(13 * FRAME);
    assert!(t.boxes().is_empty() && t.ended().is_empty());
}

#[test]
fn track_that_left_the_picture_takes_nobody_who_comes_in() {
    let id_of_the_next = |size: Option<(f32, f32)>| {
        let mut t = tracker();
        if let Some((width, height)) = size {
            t.set_picture_size(width, height);
        }
        for i in 0..12 {
            t.update(i * FRAME, &[face(200.0 + 10.0 * i as f32, 100.0)]);
        }
        t.update(13 * FRAME, &[]);
        t.update(14 * FRAME, &[face(318.0, 102.0)]);
        assert!(t.ended().is_empty());
        id_of(&t, 0)
    };
    assert_eq!(id_of_the_next(Some((320.0, 240.0))), Some(2), "gone on the right");
    assert_eq!(id_of_the_next(Some((640.0, 240.0))), Some(1));
    assert_eq!(id_of_the_next(None), Some(1), "nobody knows where the picture ends");
}

#[test]
fn ids_survive_interval_four() {
    // 12 frames a second, every fourth one looked at; a face of 24 px at three sizes a second.
    let mut t = tracker();
    let small = |cx: f32| Observation { bbox: BBox::new(cx, 90.0, 22.0, 26.0), score: 0.8 };
    for i in 0..60u64 {
        let time_ns = i * 1_000_000_000 / 12;
        let walked = 72.0 * i as f32 / 12.0;
        if i % 4 == 0 {
            t.update(time_ns, &[small(50.0 + walked), small(900.0 - walked)]);
            assert_eq!((id_of(&t, 0), id_of(&t, 1)), (Some(1), Some(2)), "frame {i}");
        } else {
            t.predict(time_ns);
            assert_eq!(ids(&t), [1, 2], "frame {i}");
            if i > 12 {
                let b = t.boxes()[0].bbox;
                assert!((b.x - 50.0 - walked).abs() < 8.0, "frame {i}: {b:?}");
            }
        }
        assert!(t.ended().is_empty());
    }
}

#[test]
fn new_face_at_interval_four_is_confirmed_though_nothing_overlaps() {
    let mut t = tracker();
    t.update(0, &[]);
    t.update(333 * MS, &[face(100.0, 100.0)]);
    t.update(666 * MS, &[face(160.0, 100.0)]);
    assert_eq!((t.boxes()[0].track_id, t.boxes()[0].state), (1, TrackState::Confirmed));
}

#[test]
fn crossing_people_keep_ids() {
    // Two people walk through each other; while they overlap, only the one in front is found.
    let mut t = tracker();
    let mut hidden = 0;
    for i in 0..100u64 {
        let a = face(100.0 + 3.0 * i as f32, 100.0);
        let b = face(400.0 - 3.0 * i as f32, 106.0);
        let overlaps = a.bbox.iou(&b.bbox) > 0.2;
        hidden += u32::from(overlaps);
        let seen: &[Observation] = if overlaps { &[a] } else { &[a, b] };
        t.update(i * FRAME, seen);
        assert_eq!(id_of(&t, 0), Some(1), "frame {i}");
        if !overlaps {
            assert_eq!(id_of(&t, 1), Some(2), "frame {i}");
        }
    }
    assert!(hidden > 5, "the two must have crossed");
}

#[test]
fn face_in_front_keeps_its_id_while_another_passes_behind() {
    let mut random = Random::new(3);
    for round in 0..20 {
        let mut t = tracker();
        for i in 0..100u64 {
            let mut jitter = || 6.0 * (random.unit() - 0.5);
            let front = face(200.0 + jitter(), 100.0 + jitter());
            let behind = face(60.0 + 3.0 * i as f32, 100.0);
            let hidden = front.bbox.iou(&behind.bbox) > 0.3;
            let seen: &[Observation] = if hidden { &[front] } else { &[front, behind] };
            t.update(i * FRAME, seen);
            assert_eq!(id_of(&t, 0), Some(1), "round {round}, frame {i}");
            assert!(hidden || id_of(&t, 1) == Some(2), "round {round}, frame {i}");
        }
    }
}

#[test]
fn two_overlapping_faces_do_not_swap() {
    // Cheek to cheek, both always found, in changing order, with jitter.
    let mut t = tracker();
    let mut random = Random::new(5);
    for i in 0..300u64 {
        let mut jitter = || 3.0 * (random.unit() - 0.5);
        let left = face(100.0 + jitter(), 100.0 + jitter());
        let right = face(118.0 + jitter(), 104.0 + jitter());
        if i % 3 == 2 {
            t.update(i * FRAME, &[right, left]);
            assert_eq!((id_of(&t, 1), id_of(&t, 0)), (Some(1), Some(2)), "frame {i}");
        } else {
            t.update(i * FRAME, &[left, right]);
            assert_eq!((id_of(&t, 0), id_of(&t, 1)), (Some(1), Some(2)), "frame {i}");
        }
    }
}

#[test]
fn variable_frame_rate() {
    // The same walk, seen at irregular times: 8 to 250 ms apart.
    let mut t = tracker();
    let mut random = Random::new(9);
    let mut time_ns = 5_000_000_000;
    for i in 0..400 {
        let s = (time_ns - 5_000_000_000) as f32 * 1e-9;
        t.update(time_ns, &[face(100.0 + 60.0 * s, 100.0 + 20.0 * (s * 2.0).sin())]);
        assert_eq!(ids(&t), [1], "look {i}");
        time_ns += (8 + random.below(243) as u64) * MS;
    }
}

#[test]
fn t1_low_scores_continue_tracks_but_open_none() {
    let mut t = tracker();
    t.update(0, &[face(100.0, 100.0)]);
    t.update(FRAME, &[scored(101.0, 100.0, 0.2), scored(400.0, 100.0, 0.2)]);
    assert_eq!((t.boxes().len(), id_of(&t, 0)), (1, Some(1)));
    t.update(2 * FRAME, &[scored(102.0, 100.0, 0.05)]);
    assert_eq!((id_of(&t, 0), t.boxes()[0].state), (None, TrackState::Lost));
    t.update(3 * FRAME, &[scored(102.0, 100.0, 0.2)]);
    assert_eq!(id_of(&t, 0), None, "a low score brings no lost track back");
    t.update(4 * FRAME, &[scored(102.0, 100.0, 0.55), scored(300.0, 100.0, 0.55)]);
    assert_eq!((id_of(&t, 0), id_of(&t, 1)), (Some(1), None), "0.55 opens no track");
}

#[test]
fn t1_duplicate_observations_give_one_track() {
    let mut t = tracker();
    for i in 0..5 {
        t.update(i * FRAME, &[face(100.0, 100.0), face(100.5, 100.0), face(300.0, 100.0)]);
        assert_eq!(ids(&t), [1, 2], "frame {i}");
        assert_eq!(id_of(&t, 2), Some(2));
    }
}

#[test]
fn tracks_that_become_one_face_keep_the_older() {
    let mut t = tracker();
    for i in 0..40 {
        let x = (140.0 - 2.0 * i as f32).max(100.0);
        t.update(i * FRAME, &[face(100.0, 100.0), face(x, 100.0)]);
        assert_eq!(t.boxes()[0].track_id, 1);
    }
    assert_eq!(ids(&t), [1]);
}

#[test]
fn new_track_on_the_place_of_a_lost_one_joins_it() {
    let config = TrackerConfig { confirm_hits: 1, ..TrackerConfig::default() };
    let mut t = Tracker::new(config).expect("valid");
    for i in 0..10 {
        t.update(i * FRAME, &[face(100.0, 100.0)]);
    }
    // Too far off in one frame for the old track, then back to where that one waits.
    let back = [(138.0, 130.0), (128.0, 122.0), (119.0, 115.0), (112.0, 109.0), (106.0, 104.0)];
    for (i, (cx, cy)) in back.into_iter().enumerate() {
        t.update((10 + i as u64) * FRAME, &[face(cx, cy)]);
        assert_eq!(id_of(&t, 0), Some(2), "step {i}");
    }
    t.update(15 * FRAME, &[face(102.0, 101.0)]);
    assert_eq!(
        (t.boxes().len(), id_of(&t, 0), t.boxes()[0].last_seen_ns),
        (1, Some(1), 15 * FRAME)
    );
    assert_eq!(ended(&t), [2]);
}

#[test]
fn t2_reset_ends_all_tracks_and_ids_go_on() {
    let mut t = tracker();
    t.update(10 * FRAME, &[face(100.0, 100.0), face(300.0, 100.0)]);
    t.update(11 * FRAME, &[face(100.0, 100.0), face(500.0, 100.0)]);
    t.reset();
    assert!(t.boxes().is_empty());
    assert_eq!(ended(&t), [1, 2, 3]);
    assert_eq!(t.ended().iter().map(|e| e.confirmed).collect::<Vec<_>>(), [true, true, false]);
    t.reset();
    assert!(t.ended().is_empty());
    t.update(0, &[face(100.0, 100.0)]);
    assert_eq!((t.boxes()[0].track_id, t.boxes()[0].state), (4, TrackState::Confirmed));
}

#[test]
fn time_that_stands_still_or_goes_back_is_the_same_moment() {
    let mut t = tracker();
    for time_ns in [1000 * FRAME, 1000 * FRAME, 10 * FRAME, 11 * FRAME, 0, FRAME] {
        t.update(time_ns, &[face(100.0, 100.0)]);
        let b = t.boxes()[0];
        assert_eq!((t.boxes().len(), b.track_id), (1, 1));
        assert!(b.last_seen_ns >= b.first_seen_ns);
    }
    // Ages do not depend on the jump back: the track still ends in time.
    t.update(FRAME + 2001 * MS, &[]);
    assert_eq!(ended(&t), [1]);
    assert!(t.ended()[0].last_seen_ns >= t.ended()[0].first_seen_ns);
}

#[test]
fn huge_jump_ends_tracks_without_harm() {
    let mut t = tracker();
    t.update(0, &[face(100.0, 100.0)]);
    t.update(u64::MAX, &[face(100.0, 100.0)]);
    assert_eq!((ended(&t), ids(&t)), (vec![1], vec![2]));
    t.update(0, &[face(100.0, 100.0)]);
    t.update(u64::MAX, &[face(100.0, 100.0)]);
    assert!(t.boxes().len() == 1 && t.boxes()[0].bbox == face(100.0, 100.0).bbox);
}

#[test]
fn bad_observations_are_ignored() {
    let mut t = tracker();
    let boxed = |x, y, w, h| Observation { bbox: BBox::new(x, y, w, h), score: 0.9 };
    let bad = [
        boxed(f32::NAN, 0.0, 10.0, 10.0),
        boxed(0.0, f32::INFINITY, 10.0, 10.0),
        boxed(0.0, 0.0, 0.0, 10.0),
        boxed(0.0, 0.0, 10.0, -1.0),
        boxed(0.0, 2e7, 10.0, 10.0),
        scored(100.0, 100.0, f32::NAN),
    ];
    t.update(0, &bad);
    assert!(t.boxes().is_empty());
    t.update(FRAME, &[bad[0], face(100.0, 100.0), bad[5]]);
    assert_eq!(id_of(&t, 1), Some(1));
}

#[test]
fn hostile_input_gives_only_valid_boxes_and_every_id_once() {
    let mut t = tracker();
    t.set_picture_size(640.0, 480.0);
    let mut random = Random::new(99);
    let (mut ended, mut highest) = (Vec::new(), 0);
    for frame in 0..3000 {
        let time_ns = match random.below(20) {
            0 => u64::MAX - random.below(1000) as u64,
            1 => 0,
            _ => frame * random.below(100) as u64 * MS,
        };
        let number = |random: &mut Random| match random.below(12) {
            0 => 1e7,
            1 => -1e7,
            2 => f32::MIN_POSITIVE,
            3 => f32::NAN,
            _ => 640.0 * random.unit(),
        };
        let seen: Vec<_> = (0..random.below(30))
            .map(|_| Observation {
                bbox: BBox::new(
                    number(&mut random),
                    number(&mut random),
                    number(&mut random),
                    number(&mut random),
                ),
                score: random.unit() * 1.5,
            })
            .collect();
        match random.below(10) {
            0 => t.predict(time_ns),
            1 => {
                t.set_picture_size(number(&mut random), number(&mut random));
                continue;
            }
            2 if frame % 40 == 0 => t.reset(),
            _ => t.update(time_ns, &seen),
        }
        ended.extend(t.ended().iter().map(|e| e.track_id));
        for b in t.boxes() {
            assert!(b.bbox.is_valid(), "{b:?}");
            highest = highest.max(b.track_id);
        }
        assert!(t.boxes().is_sorted_by(|a, b| a.track_id < b.track_id));
    }
    t.reset();
    ended.extend(t.ended().iter().map(|e| e.track_id));
    ended.sort_unstable();
    assert!(highest > 100 && ended.last() >= Some(&highest));
    assert!(ended.iter().copied().eq(1..=ended.len() as u64), "each id ends once");
}

#[test]
fn scaled_picture_keeps_ids() {
    let mut t = tracker();
    t.set_picture_size(640.0, 480.0);
    for i in 0..10 {
        t.update(i * FRAME, &[face(100.0 + 5.0 * i as f32, 100.0)]);
    }
    t.set_picture_size(1920.0, 1080.0);
    let moved = face(150.0, 100.0).bbox.scaled(3.0, 2.25);
    t.predict(10 * FRAME);
    assert!(t.boxes()[0].bbox.iou(&moved) > 0.9, "{:?}", t.boxes()[0]);
    t.update(10 * FRAME, &[Observation { bbox: moved, score: 0.9 }]);
    assert_eq!(ids(&t), [1]);
}

#[test]
fn t5_number_of_tracks_is_bounded_and_the_longest_lost_goes_first() {
    let config = TrackerConfig { max_tracks: 3, ..TrackerConfig::default() };
    let mut t = Tracker::new(config).expect("valid");
    let at = |i: usize| face(100.0 + 200.0 * i as f32, 100.0);
    t.update(0, &[at(0), at(1), scored(2000.0, 100.0, 0.95), scored(2400.0, 100.0, 0.95)]);
    assert_eq!(t.boxes().len(), 3, "those of highest score");
    assert!(id_of(&t, 2).is_some() && id_of(&t, 3).is_some());
    let (third, first) = (id_of(&t, 2), id_of(&t, 0));
    t.update(FRAME, &[at(0), scored(2000.0, 100.0, 0.95)]);
    t.update(2 * FRAME, &[scored(2000.0, 100.0, 0.95), at(5)]);
    assert_eq!(t.ended().len(), 1, "a lost one makes room");
    t.update(3 * FRAME, &[scored(2000.0, 100.0, 0.95), at(5), at(7)]);
    assert_eq!(ended(&t), [first.expect("seen")]);
    assert_eq!(id_of(&t, 0), third);
    t.update(4 * FRAME, &[scored(2000.0, 100.0, 0.95), at(5), at(7), at(9)]);
    assert_eq!((t.boxes().len(), id_of(&t, 3)), (3, None), "none is lost: no new track");
}

#[test]
fn invalid_settings_are_refused_and_the_old_ones_stay() {
    let bad = TrackerConfig { confirm_hits: 0, ..TrackerConfig::default() };
    assert!(Tracker::new(bad.clone()).is_err());
    let mut t = tracker();
    assert!(t.set_config(bad).is_err());
    assert_eq!(t.config(), &TrackerConfig::default());
}
