//! When facerecognize looks at a track again, and when it is sure of a name: T4 and T6 of the
//! reference, on faces whose identity is a colour.

mod common;

use std::path::PathBuf;

use common::people::{BLUE, CAPS, GREEN, RED, enroll, frame, frame_with};
use common::{Picture, Rgb, Rig, at, element, info, pull, read};
use face_core::identity::Status;
use gst::prelude::*;
use gstface::meta::{Face, FrameFaces};

/// A recogniser that knows Ada, who is red.
struct World {
    folder: tempfile::TempDir,
    rig: Rig,
}

fn recognizer(folder: &tempfile::TempDir, properties: &[(&str, &str)]) -> gst::Element {
    let gallery = folder.path().join("people.gallery");
    enroll(&gallery, "Ada", RED);
    let element = element("facerecognize", "embedder.onnx");
    element.set_property("gallery", gallery.to_str().unwrap());
    element.set_property("reload-interval", 0u32);
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    element
}

impl World {
    fn new(properties: &[(&str, &str)]) -> World {
        common::init();
        let folder = tempfile::tempdir().unwrap();
        let rig = Rig::new(recognizer(&folder, properties), CAPS);
        World { folder, rig }
    }

    fn gallery(&self) -> PathBuf {
        self.folder.path().join("people.gallery")
    }

    /// The face on track 7 of frame `n`; the other face has no landmarks.
    fn face(&mut self, n: u64, color: Rgb) -> Face {
        let buffer = frame_with(n, [color, BLUE], [7, 0], |faces| faces.faces[1].landmarks = None);
        self.rig.faces(buffer).faces.remove(0)
    }

    /// Frames of `range` on which the face of track 7, in this colour, is looked at.
    fn looks(&mut self, range: std::ops::Range<u64>, color: Rgb) -> Vec<u64> {
        let mut looks = Vec::new();
        for n in range {
            let before = self.rig.stat("embedded");
            self.face(n, color);
            if self.rig.stat("embedded") > before {
                looks.push(n);
            }
        }
        looks
    }
}

fn seen(face: &Face) -> (Status, Option<&str>, bool) {
    (face.status, face.name.as_deref(), face.confirmed)
}

#[test]
fn t4_looks_come_at_once_and_then_twice_as_late() {
    assert_eq!(World::new(&[]).looks(0..100, RED), [0, 1, 3, 7, 15, 31, 61, 91]);
    // At 25 frames a second, ten frames are less than a second.
    let ten = ("reid-interval-max", "10");
    assert_eq!(World::new(&[ten]).looks(0..70, RED), [0, 1, 3, 7, 15, 40, 65]);
    let mut frames_alone = World::new(&[ten, ("reid-interval-max-time", "0")]);
    assert_eq!(frames_alone.looks(0..50, RED), [0, 1, 3, 7, 15, 25, 35, 45]);
}

#[test]
fn policies_look_at_every_face_or_until_it_is_settled() {
    assert_eq!(World::new(&[("reid-policy", "every")]).looks(0..5, RED), [0, 1, 2, 3, 4]);
    let mut world = World::new(&[("reid-policy", "once")]);
    assert_eq!(world.looks(0..200, RED), [0, 1, 3, 7]);
    // The gallery changed: who is known may be somebody else now.
    enroll(&world.gallery(), "Bob", BLUE);
    assert_eq!(world.looks(200..250, RED), [200]);
    let element = &world.rig.element;
    assert!(!element.property::<bool>("every-face"));
    element.set_property("every-face", true);
    let policy = element.property_value("reid-policy");
    let (_, value) = glib::EnumValue::from_value(&policy).unwrap();
    assert_eq!(value.nick(), "every");
    element.set_property("every-face", false);
    assert_eq!(world.looks(250..260, RED), [250, 252, 256], "adaptive again");
}

#[test]
fn t6_name_shows_at_once_and_is_confirmed_by_the_fourth_result() {
    let mut world = World::new(&[]);
    for n in 0..10 {
        let face = world.face(n, RED);
        // Looked at on frames 0, 1, 3 and 7.
        let status = if n < 7 { Status::Confirming } else { Status::Known };
        assert_eq!(seen(&face), (status, Some("Ada"), n >= 7), "frame {n}");
    }
    let told = world.rig.structures("face-identity");
    assert_eq!(told.len(), 1, "the name was there from the first frame on");
    assert_eq!(told[0].get::<u64>("running-time").unwrap(), 0);
}

#[test]
fn t6_nobody_is_an_identity_that_is_confirmed_too() {
    let mut world = World::new(&[]);
    for n in 0..10 {
        let face = world.face(n, BLUE);
        let status = if n < 7 { Status::Confirming } else { Status::Unknown };
        assert_eq!(seen(&face), (status, None, n >= 7), "frame {n}");
    }
    // Somebody gives the face a name.
    enroll(&world.gallery(), "Bob", BLUE);
    for n in 10..20 {
        let face = world.face(n, BLUE);
        // T4, T6: the change takes the confirmation away, and the waits begin anew.
        let status = if n < 17 { Status::Confirming } else { Status::Known };
        assert_eq!(seen(&face), (status, Some("Bob"), n >= 17), "frame {n}");
    }
}

#[test]
fn agreement_over_time_confirms_as_well() {
    let mut world = World::new(&[("confirm-count", "100"), ("confirm-time", "200000000")]);
    for n in 0..10 {
        // Looked at on frames 0, 1, 3 (120 ms) and 7 (280 ms).
        assert_eq!(world.face(n, RED).confirmed, n >= 7, "frame {n}");
    }
}

#[test]
fn t6_filtered_faces_and_failed_lookups_neither_confirm_nor_break() {
    let mut world = World::new(&[("reid-policy", "every")]);
    for n in 0..3 {
        assert_eq!(seen(&world.face(n, RED)), (Status::Confirming, Some("Ada"), false));
    }
    world.rig.element.set_property("min-face-size", 1000u32);
    for n in 3..9 {
        assert_eq!(seen(&world.face(n, RED)), (Status::Filtered, Some("Ada"), false));
    }
    world.rig.element.set_property("min-face-size", 0u32);
    // The embedder finds nothing in black.
    assert_eq!(seen(&world.face(9, [0; 3])), (Status::Confirming, Some("Ada"), false));
    assert_eq!(seen(&world.face(10, RED)), (Status::Known, Some("Ada"), true));
}

#[test]
fn face_that_comes_back_from_behind_something_is_looked_at_again() {
    let mut world = World::new(&[]);
    assert_eq!(world.looks(0..20, RED), [0, 1, 3, 7, 15]);
    for n in 20..28 {
        let nobody = |faces: &mut FrameFaces| {
            for face in &mut faces.faces {
                (face.observed, face.landmarks) = (false, None);
            }
        };
        world.rig.run(frame_with(n, [RED, BLUE], [7, 0], nobody));
    }
    assert_eq!(world.looks(28..40, RED), [28, 29, 31, 35]);
}

#[test]
fn budget_is_shared_by_all_and_new_faces_go_first() {
    let mut world = World::new(&[("max-inferences-per-second", "5"), ("reid-policy", "every")]);
    let mut looks = [0u64; 2];
    let mut last = [0; 2];
    for n in 0..250 {
        let before = world.rig.stat("embedded");
        let faces = world.rig.faces(frame(n, [RED, BLUE], [7, 8])).faces;
        for (i, face) in faces.iter().enumerate() {
            if face.fingerprint.is_some() {
                (looks[i], last[i]) = (looks[i] + 1, n);
            }
        }
        assert_eq!(looks[0] + looks[1], world.rig.stat("embedded"));
        assert!(world.rig.stat("embedded") - before <= 2);
        assert!(n < 20 || last.iter().all(|last| n - last < 20), "nobody starves: {n} {last:?}");
    }
    let all = looks[0] + looks[1];
    assert!((49..=52).contains(&all), "{all} in ten seconds");
    assert!(looks[0].abs_diff(looks[1]) <= 2, "{looks:?}");
    assert_eq!(world.rig.stat("over-budget"), 500 - all);
    // Two new faces come: they do not wait behind those that are always due.
    let newcomers = world.rig.faces(frame(260, [RED, BLUE], [17, 18])).faces;
    assert!(newcomers.iter().all(|f| f.fingerprint.is_some()), "{newcomers:?}");
}

#[test]
fn faces_without_a_track_take_turns_under_a_budget() {
    let mut world = World::new(&[("max-inferences-per-second", "5")]);
    let mut looks = [0u64; 2];
    for n in 0..250 {
        for (i, face) in world.rig.faces(frame(n, [RED, BLUE], [0, 0])).faces.iter().enumerate() {
            looks[i] += u64::from(face.fingerprint.is_some());
        }
    }
    assert!(looks[0].abs_diff(looks[1]) <= 2 && looks[0] + looks[1] >= 49, "{looks:?}");
}

/// facetrack and a facerecognize, which is named "recognize", as one element.
fn chain(folder: &tempfile::TempDir, properties: &[(&str, &str)]) -> gst::Bin {
    let recognize = recognizer(folder, properties);
    let chain = gst::Bin::new();
    let track = gst::ElementFactory::make("facetrack").build().unwrap();
    chain.add_many([&track, &recognize]).unwrap();
    track.link(&recognize).unwrap();
    let (sink, src) = (track.static_pad("sink").unwrap(), recognize.static_pad("src").unwrap());
    chain.add_pad(&gst::GhostPad::with_target(&sink).unwrap()).unwrap();
    chain.add_pad(&gst::GhostPad::with_target(&src).unwrap()).unwrap();
    chain
}

/// Frame `n` with faces in this colour that have sharp lines, as good crops have.
fn sharp(
    n: u64,
    color: Rgb,
    tracks: [u64; 2],
    change: impl FnOnce(&mut FrameFaces),
) -> gst::Buffer {
    let faces = read(&frame_with(n, [color, color], tracks, change));
    let dark = |x: u32, y: u32| (x / 2 + y / 2) % 2 == 1;
    let picture =
        Picture::new(128, 64, |x, y| if dark(x, y) { color.map(|c| c / 3) } else { color });
    let mut buffer = at(n, picture.to_buffer(&info(CAPS)));
    faces.write(buffer.get_mut().unwrap());
    buffer
}

/// Ids of the tracks of a frame on which one of two faces is to be seen: the left one, the right
/// one, or none.
fn one(rig: &mut Rig, n: u64, color: Rgb, side: Option<u32>) -> Vec<(u64, u64, Option<String>)> {
    let buffer = sharp(n, color, [0, 0], |faces| {
        faces.faces.retain(|face| side.is_some_and(|side| face.id == side + 1));
    });
    let observed = rig.faces(buffer).faces.into_iter().filter(|f| f.observed);
    observed.map(|f| (f.track_id, f.was_id, f.name)).collect()
}

#[test]
fn lost_face_that_comes_back_elsewhere_gets_its_track_back() {
    common::init();
    for (back, same) in [(RED, true), (GREEN, false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut rig = Rig::new(chain(&folder, &[]).upcast(), CAPS);
        let ada = || Some("Ada".to_owned());
        for n in 0..10 {
            assert_eq!(one(&mut rig, n, RED, Some(0)), [(1, 0, ada())], "frame {n}");
        }
        (10..16).for_each(|n| assert_eq!(one(&mut rig, n, RED, None), []));
        let mut seen = Vec::new();
        for n in 16..26 {
            seen.extend(one(&mut rig, n, back, Some(1)));
        }
        let ids: Vec<u64> = seen.iter().map(|(id, ..)| *id).collect();
        assert_eq!(seen.len(), 10, "{seen:?}");
        let messages = rig.messages();
        let structures: Vec<_> =
            messages.iter().filter_map(|m| m.structure()).map(|s| s.name().to_string()).collect();
        let count = |name: &str| structures.iter().filter(|s| *s == name).count();
        if same {
            assert!(ids[2..].iter().all(|id| *id == 1), "{seen:?}");
            assert!(seen.iter().any(|(id, was, _)| (*id, *was) == (1, 2)), "{seen:?}");
            assert!(seen[2..].iter().all(|(.., name)| *name == ada()), "{seen:?}");
            assert_eq!(count("face-track-relinked"), 1, "{structures:?}");
        } else {
            assert!(ids.iter().all(|id| *id == 2), "{seen:?}");
            assert_eq!(count("face-track-relinked"), 0);
        }
        assert_eq!(count("face-identity"), 1, "the same face is not named twice: {structures:?}");
    }
}

#[test]
fn without_a_tracker_upstream_a_new_track_stays_a_new_one() {
    common::init();
    let folder = tempfile::tempdir().unwrap();
    let recognize = recognizer(&folder, &[]);
    let caps = CAPS.parse::<gst::Caps>().unwrap();
    let source = gst_app::AppSrc::builder().caps(&caps).format(gst::Format::Time).build();
    let sink = gst_app::AppSink::builder().sync(false).build();
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([source.upcast_ref(), &recognize, sink.upcast_ref()]).unwrap();
    gst::Element::link_many([source.upcast_ref(), &recognize, sink.upcast_ref()]).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut told = Vec::new();
    for n in 0..20 {
        let track = if n < 10 { 7 } else { 9 };
        let one = |faces: &mut FrameFaces| faces.faces.truncate(1);
        source.push_buffer(sharp(n, RED, [track, 0], one)).unwrap();
        let face = read(&pull(&pipeline, &sink).buffer_owned().unwrap()).faces.remove(0);
        told.push((face.track_id, face.was_id, face.name));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    let ada = Some("Ada".to_owned());
    assert_eq!(told[10], (9, 0, None), "asked on this frame");
    assert!(told[11..].iter().all(|t| *t == (9, 0, ada.clone())), "{told:?}");
}
