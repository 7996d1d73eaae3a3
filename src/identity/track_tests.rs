use super::*;
use crate::identity::ReidPolicy;

const T: f32 = 0.4;
const HERE: BBox = BBox::new(10.0, 10.0, 20.0, 20.0);
const THERE: BBox = BBox::new(35.0, 10.0, 20.0, 20.0);
const EAST: [f32; 3] = [1.0, 0.0, 0.0];
const NORTH: [f32; 3] = [0.0, 1.0, 0.0];
const UP: [f32; 3] = [0.0, 0.0, 1.0];

fn at(frame: u64) -> Moment {
    Moment { frame, time_ns: frame * 33_000_000 }
}

fn person(name: &str) -> Match {
    Match { person_id: name.into(), name: name.into(), similarity: 0.7 }
}

fn result(status: Status, best: Option<Match>) -> Identification {
    Identification { status, top: best.iter().cloned().collect(), best, margin: None }
}

fn known(name: &str) -> Identification {
    result(Status::Known, Some(person(name)))
}

fn unknown() -> Identification {
    result(Status::Unknown, None)
}

fn sample(direction: [f32; 3]) -> TrackSample {
    TrackSample {
        crop: AlignedCrop::from_rgb(vec![0; 112 * 112 * 3]).unwrap(),
        loose: None,
        embedding: Embedding::new(&direction).unwrap(),
        detection: Detection { bbox: HERE, score: 1.0, landmarks: None },
        weight: 0.5,
    }
}

/// The tracks of a stream, whose settings are the defaults.
#[derive(Default)]
struct World {
    all: TrackIdentities,
    schedule: ScheduleConfig,
    confirm: ConfirmConfig,
}

impl World {
    fn once() -> World {
        World { confirm: ConfirmConfig { count: 1, ..Default::default() }, ..Default::default() }
    }

    /// A frame with these tracks.
    fn frame(&mut self, frame: u64, tracks: &[(u64, BBox)]) {
        self.all.begin_frame(at(frame).time_ns, tracks.iter().copied());
    }

    fn is_due(&mut self, track: u64, frame: u64) -> bool {
        matches!(self.all.look(track, at(frame), 0.5, &self.schedule), Look::Due { .. })
    }

    fn observe(
        &mut self,
        track: u64,
        frame: u64,
        direction: [f32; 3],
        result: &Identification,
    ) -> Change {
        self.weighed(track, frame, direction, result, 0.5)
    }

    fn weighed(
        &mut self,
        track: u64,
        frame: u64,
        direction: [f32; 3],
        result: &Identification,
        weight: f32,
    ) -> Change {
        let sample = TrackSample { weight, ..sample(direction) };
        let shot = Shot { view: 0.5, clarity: 1.0 };
        let observation = Observation { sample, shot, result, threshold: T };
        self.all.observe(track, at(frame), observation, &self.schedule, &self.confirm)
    }

    fn track(&self, track: u64) -> &TrackIdentity {
        self.all.get(track).unwrap()
    }

    fn name(&self, track: u64) -> Option<&str> {
        self.track(track).person.as_ref().map(|p| &*p.name)
    }
}

#[test]
fn t4_schedule_of_a_track_at_30_frames_a_second() {
    let mut world = World::default();
    let mut looks = Vec::new();
    for frame in 100..240 {
        world.frame(frame, &[(1, HERE)]);
        if world.is_due(1, frame) {
            looks.push(frame - 100);
            world.observe(1, frame, EAST, &unknown());
        }
    }
    assert_eq!(looks, [0, 1, 3, 7, 15, 31, 62, 93, 124]);
}

#[test]
fn t6_name_is_there_at_once_and_confirmed_by_the_fourth_result() {
    let mut world = World::default();
    let mut seen = Vec::new();
    for frame in 0..4 {
        seen.push(world.observe(1, frame, EAST, &known("ada")));
        let track = world.track(1);
        assert_eq!(track.agreeing(), frame as u32 + 1);
        assert_eq!(track.is_confirmed(), frame == 3);
        let status = if frame == 3 { Status::Known } else { Status::Confirming };
        assert_eq!((track.status(), world.name(1)), (status, Some("ada")));
    }
    assert_eq!(seen, [Change::Named, Change::None, Change::None, Change::None]);
    let votes = world.track(1).votes();
    assert_eq!(votes, [Vote { person: Some(person("ada")), count: 4 }]);
}

#[test]
fn name_that_was_not_confirmed_is_lost_when_enough_results_know_nobody() {
    let mut world = World::default();
    world.observe(1, 0, EAST, &known("ada"));
    for frame in 1..4 {
        assert_eq!(world.observe(1, frame, EAST, &unknown()), Change::None);
        assert_eq!((world.track(1).status(), world.name(1)), (Status::Confirming, Some("ada")));
    }
    let change = world.observe(1, 4, EAST, &unknown());
    assert_eq!(change, Change::Lost { previous: person("ada") });
    assert_eq!((world.track(1).status(), world.name(1)), (Status::Unknown, None));
    assert!(world.track(1).is_confirmed());
    let counts: Vec<u32> = world.track(1).votes().iter().map(|v| v.count).collect();
    assert_eq!(counts, [1, 4]);
}

#[test]
fn t6_person_known_after_all_takes_the_confirmation_of_unknown_away() {
    let mut world = World::default();
    for frame in [0, 1, 3, 7, 15] {
        assert!(world.is_due(1, frame));
        world.observe(1, frame, EAST, &unknown());
    }
    assert_eq!(world.track(1).status(), Status::Unknown);
    assert_eq!(world.observe(1, 31, EAST, &known("ada")), Change::Named);
    assert_eq!(world.track(1).status(), Status::Confirming);
    // T4: the waits begin anew.
    let due: Vec<u64> = (32..48)
        .filter(|frame| {
            let due = world.is_due(1, *frame);
            if due {
                world.observe(1, *frame, EAST, &known("ada"));
            }
            due
        })
        .collect();
    assert_eq!(due, [32, 34, 38, 46]);
    assert_eq!(world.track(1).status(), Status::Known);
}

#[test]
fn name_stays_through_unknown_results_of_the_same_face() {
    let mut world = World::once();
    assert_eq!(world.observe(1, 0, EAST, &known("ada")), Change::Named);
    for frame in 1..20 {
        let change = world.observe(1, frame, [1.0, 0.8, 0.0], &unknown());
        assert_eq!(change, Change::None);
    }
    assert_eq!((world.track(1).status(), world.name(1)), (Status::Known, Some("ada")));
}

#[test]
fn name_is_lost_when_the_face_is_another() {
    let mut world = World::once();
    world.observe(1, 0, EAST, &known("ada"));
    assert_eq!(world.observe(1, 1, NORTH, &unknown()), Change::None);
    assert!(world.track(1).is_confirmed(), "one result alone takes nothing away");
    assert!(world.is_due(1, 2), "a contradiction is checked at once");
    let change = world.observe(1, 2, NORTH, &unknown());
    assert_eq!(change, Change::Another { previous: Some(person("ada")) }, "the tracker is told");
    assert_eq!((world.track(1).status(), world.name(1)), (Status::Identifying, None));
    assert!(world.track(1).votes().is_empty() && world.is_due(1, 3));
    assert_eq!(world.observe(1, 3, NORTH, &known("bob")), Change::Named);
}

#[test]
fn one_bad_result_does_not_rename_a_track_two_do() {
    let mut world = World::once();
    world.observe(1, 0, EAST, &known("ada"));
    assert_eq!(world.observe(1, 1, UP, &known("bob")), Change::None);
    assert_eq!(world.observe(1, 2, [1.0, 0.1, 0.0], &known("ada")), Change::None);
    assert_eq!(world.observe(1, 3, UP, &known("bob")), Change::None);
    let change = world.observe(1, 4, UP, &known("bob"));
    assert_eq!(change, Change::Another { previous: Some(person("ada")) });
    assert!(world.track(1).samples().is_empty(), "ada's crops are not bob's");
}

#[test]
fn t6_contradiction_starts_the_count_of_agreeing_results_anew() {
    let mut world = World::default();
    for frame in 0..3 {
        world.observe(1, frame, EAST, &known("ada"));
    }
    world.observe(1, 3, UP, &known("bob"));
    assert_eq!((world.track(1).agreeing(), world.name(1)), (0, Some("ada")));
    for frame in 4..7 {
        world.observe(1, frame, EAST, &known("ada"));
        assert_eq!(world.track(1).status(), Status::Confirming);
    }
    world.observe(1, 7, EAST, &known("ada"));
    assert_eq!(world.track(1).status(), Status::Known);
}

#[test]
fn face_that_jumps_is_looked_at_again_and_may_be_another_unknown() {
    let mut world = World::default();
    for frame in [0, 1, 3, 7] {
        world.frame(frame, &[(1, HERE)]);
        assert!(world.is_due(1, frame));
        world.observe(1, frame, EAST, &unknown());
    }
    world.frame(8, &[(1, HERE)]);
    assert!(!world.is_due(1, 8));
    // A poor crop in the same place is no other person.
    assert_eq!(world.observe(1, 8, NORTH, &unknown()), Change::None);
    assert_eq!(world.observe(1, 9, NORTH, &unknown()), Change::None);
    for (frame, change) in [(10, Change::None), (11, Change::Another { previous: None })] {
        world.frame(frame, &[(1, THERE)]);
        assert!(world.is_due(1, frame), "{frame}");
        assert_eq!(world.observe(1, frame, UP, &unknown()), change);
    }
}

#[test]
fn face_that_was_hidden_is_looked_at_again_and_one_that_was_missed_is_not() {
    let mut world = World::default();
    let mut frame = 0;
    let mut step = |world: &mut World, tracks: &[(u64, BBox)]| {
        world.frame(frame, tracks);
        let due = tracks.iter().any(|(id, _)| world.is_due(*id, frame));
        if due {
            world.observe(1, frame, EAST, &unknown());
        }
        frame += 1;
        due
    };
    for _ in 0..20 {
        step(&mut world, &[(1, HERE)]);
    }
    // Missed for one look, and for two that are shorter than an occlusion.
    step(&mut world, &[]);
    assert!(!step(&mut world, &[(1, HERE)]));
    for _ in 0..2 {
        step(&mut world, &[]);
    }
    assert!(!step(&mut world, &[(1, HERE)]));
    // Hidden.
    for _ in 0..6 {
        step(&mut world, &[]);
    }
    assert!(step(&mut world, &[(1, HERE)]));
    assert!(step(&mut world, &[(1, HERE)]), "and the waits begin anew");
}

#[test]
fn track_that_goes_on_into_a_new_scene_is_looked_at_again() {
    let mut world = World::default();
    for frame in 0..2 {
        world.frame(frame, &[(1, HERE), (2, THERE)]);
        world.observe(1, frame, EAST, &unknown());
        world.observe(2, frame, EAST, &unknown());
    }
    world.frame(2, &[(1, HERE), (2, THERE), (3, HERE)]);
    assert!(!world.is_due(1, 2), "one newcomer is no new scene");
    world.frame(2, &[(1, HERE), (4, THERE), (5, THERE)]);
    assert!(world.is_due(1, 2));
    assert!(!world.is_due(2, 2), "not on this frame");
}

#[test]
fn f9_rejected_face_keeps_name_confirmation_and_schedule() {
    let mut world = World::once();
    for frame in [0, 1, 3, 7, 15] {
        world.frame(frame, &[(1, HERE)]);
        assert!(world.is_due(1, frame));
        world.observe(1, frame, EAST, &known("ada"));
    }
    let small = Rejection::SmallFace { side_px: 20.0, min_px: 50.0 };
    // Two minutes of being small: longer than anybody is remembered unmentioned.
    for frame in 16..3600 {
        world.frame(frame, &[(1, HERE)]);
        world.all.reject(1, at(frame).time_ns, small);
        world.all.end(&[], at(frame).time_ns);
        let track = world.track(1);
        assert!(track.is_confirmed() && track.rejection() == Some(&small), "{frame}");
    }
    assert_eq!((world.name(1), world.track(1).votes().len()), (Some("ada"), 1));
    world.frame(3600, &[(1, HERE)]);
    assert!(world.is_due(1, 3600));
    assert_eq!(world.track(1).rejection(), None);
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
    let mut world = World::once();
    world.observe(1, 0, EAST, &known("ada"));
    world.observe(2, 0, NORTH, &known("bob"));
    let lost = world.all.gallery_changed(|id| (id == "ada").then(|| "Ada L.".into()));
    assert!(matches!(&lost[..], [(2, bob)] if &*bob.name == "bob"));
    assert_eq!((world.name(1), world.track(1).status()), (Some("Ada L."), Status::Known));
    assert_eq!(world.track(2).status(), Status::Identifying);
    assert!(world.track(2).votes().is_empty(), "a forgotten person has no votes");
    assert!(world.is_due(1, 0) && world.is_due(2, 0));
    world.schedule.policy = ReidPolicy::Once;
    assert!(world.is_due(1, 0), "whatever the policy");
}

#[test]
fn t12_best_crops_are_kept_for_enrolment() {
    let mut world = World::default();
    for (frame, weight) in [0.1, 0.5, 0.3, 0.4, 0.2].into_iter().enumerate() {
        world.weighed(1, frame as u64, EAST, &unknown(), weight);
    }
    let weights: Vec<f32> = world.track(1).samples().iter().map(|s| s.weight).collect();
    assert_eq!(weights, [0.5, 0.4, 0.3]);
}

/// Ada on track 1 until frame 9, Bob on track 2 for ever, and from frame 20 on track 3.
fn came_back() -> World {
    let mut world = World::once();
    for frame in 0..10 {
        world.frame(frame, &[(1, HERE), (2, THERE)]);
        world.observe(1, frame, EAST, &known("ada"));
        world.observe(2, frame, NORTH, &known("bob"));
    }
    (10..20).for_each(|frame| world.frame(frame, &[(2, THERE)]));
    world.frame(20, &[(2, THERE), (3, HERE)]);
    world
}

#[test]
fn lost_track_is_continued_by_the_one_with_its_face() {
    let world = came_back();
    let (ada, bob) = (person("ada"), person("bob"));
    let back = |direction, person| world.all.came_back(3, &sample(direction), person, T);
    assert_eq!(back([0.9, 0.1, 0.1], None), Some(1));
    assert_eq!(back([0.9, 0.1, 0.1], Some(&ada)), Some(1));
    assert_eq!(back([0.9, 0.1, 0.1], Some(&bob)), None, "named as somebody else");
    assert_eq!(back([0.3, 0.0, 0.95], None), None, "too unlike");
    assert_eq!(back([0.7, 0.7, 0.1], None), None, "as near to one who is there");
    assert_eq!(back(NORTH, None), None, "the one that it is like is there");
    let poor = TrackSample { weight: 0.05, ..sample(EAST) };
    assert_eq!(world.all.came_back(3, &poor, None, T), None, "poor crops are all alike");
}

#[test]
fn track_that_was_seen_together_with_another_is_not_its_continuation() {
    let mut world = World::once();
    for frame in 0..5 {
        world.frame(frame, &[(1, HERE), (3, THERE)]);
        world.observe(1, frame, EAST, &known("ada"));
    }
    world.frame(5, &[(3, THERE)]);
    assert_eq!(world.all.came_back(3, &sample(EAST), None, T), None);
    // And what is settled is not called into question.
    let mut world = came_back();
    world.observe(3, 20, EAST, &unknown());
    assert_eq!(world.all.came_back(3, &sample(EAST), None, T), None);
}

#[test]
fn joined_track_keeps_the_older_identity_and_takes_faces_of_both_ids() {
    let mut world = came_back();
    world.all.join(3, 1);
    assert_eq!((world.all.resolve(3), world.all.resolve(2), world.all.resolve(9)), (1, 2, 9));
    assert!(world.all.get(3).is_none());
    assert_eq!((world.name(1), world.track(1).votes()[0].count), (Some("ada"), 10));
    assert_eq!(world.track(1).observed_ns(), Some((0, at(20).time_ns)));
    assert!(world.is_due(1, 20));
    assert_eq!(world.observe(1, 20, EAST, &unknown()), Change::None);
    assert_eq!(world.track(1).status(), Status::Known);
    // The news that the given-up id is over ends nobody.
    world.all.end(&[3], at(21).time_ns);
    assert_eq!((world.all.resolve(3), world.name(1)), (1, Some("ada")));
    // Lost and back once more.
    world.frame(40, &[(2, THERE), (5, HERE)]);
    assert_eq!(world.all.came_back(5, &sample(EAST), None, T), Some(1));
    world.all.join(5, 1);
    assert_eq!((world.all.resolve(3), world.all.resolve(5)), (1, 1));
    world.all.end(&[1], at(41).time_ns);
    assert_eq!((world.all.resolve(3), world.all.resolve(5)), (3, 5), "ids of nobody");
}
