//! The filters of facerecognize, F1 to F9 of the reference, on faces whose identity is a colour.

mod common;

use common::people::{BLUE, CAPS, RED, enroll, frame_with};
use common::{Rig, element};
use face_core::geometry::{BBox, Point};
use face_core::identity::Status;
use gst::prelude::*;
use gstface::meta::{Face, FrameFaces};

const REASONS: [&str; 7] = [
    "no-landmarks",
    "small-face",
    "not-in-zone",
    "not-frontal",
    "face-shifted",
    "low-quality",
    "no-track",
];

/// A recogniser that knows Ada, who is red, and confirms at the first result.
struct World {
    _folder: tempfile::TempDir,
    rig: Rig,
    next: u64,
}

impl World {
    fn new(properties: &[(&str, &str)]) -> World {
        common::init();
        let folder = tempfile::tempdir().unwrap();
        let gallery = folder.path().join("people.gallery");
        enroll(&gallery, "Ada", RED);
        let element = element("facerecognize", "embedder.onnx");
        element.set_property("gallery", gallery.to_str().unwrap());
        element.set_property("confirm-count", 1u32);
        let mut world = World { _folder: folder, rig: Rig::new(element, CAPS), next: 0 };
        world.set(properties);
        world
    }

    fn set(&mut self, properties: &[(&str, &str)]) {
        for (name, value) in properties {
            self.rig.element.set_property_from_str(name, value);
        }
    }

    /// The next frame: Ada on track 7, somebody blue without a track.
    fn faces(&mut self, change: impl FnOnce(&mut FrameFaces)) -> Vec<Face> {
        let buffer = frame_with(self.next, [RED, BLUE], [7, 0], change);
        self.next += 1;
        self.rig.faces(buffer).faces
    }

    /// What the filters say of both faces of the next frame.
    fn filters(&mut self, change: impl FnOnce(&mut FrameFaces)) -> [String; 2] {
        let faces = self.faces(change);
        assert_eq!(faces.len(), 2);
        for face in &faces {
            assert_eq!(face.status == Status::Filtered, !face.filter.is_empty(), "{face:?}");
        }
        [0, 1].map(|i| faces[i].filter.clone())
    }

    /// The counters of the reasons that are not 0.
    fn counted(&self) -> Vec<(&'static str, u64)> {
        let counts = REASONS.map(|reason| (reason, self.rig.stat(reason)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

/// Sets the `point`th landmark to a place in the box.
fn put(face: &mut Face, point: usize, x: f32, y: f32) {
    let BBox { x: left, y: top, w, h } = face.bbox;
    face.landmarks.as_mut().unwrap().0[point] = Point::new(left + x * w, top + y * h);
}

#[test]
fn f1_no_landmarks_are_filtered_without_being_asked_for() {
    let mut world = World::new(&[]);
    let filters = world.filters(|f| f.faces[1].landmarks = None);
    assert_eq!(filters, ["", "no-landmarks"]);
    assert_eq!(world.counted(), [("no-landmarks", 1)]);
    assert_eq!(world.rig.stat("embedded"), 1);
}

#[test]
fn f2_small_face_is_measured_in_square_pixels_of_the_source() {
    let mut world = World::new(&[("min-face-size", "40")]);
    assert_eq!(world.filters(|_| ()), ["", ""]);
    world.set(&[("min-face-size", "41")]);
    assert_eq!(world.filters(|_| ()), ["small-face", "small-face"]);
    // The detector saw pixels twice as wide: the boxes are 80 px wide now, and still 40 px high.
    assert_eq!(world.filters(|f| f.par = (2, 1)), ["small-face", "small-face"]);
    // It saw a picture of twice the size.
    assert_eq!(world.filters(|f| (f.width, f.height) = (256, 128)), ["", ""]);
    world.set(&[("min-face-size", "0")]);
    assert_eq!(world.filters(|f| f.faces[0].bbox.w = 0.001), ["", ""]);
    assert_eq!(world.counted(), [("small-face", 4)]);
}

#[test]
fn f3_not_in_zone_reads_the_zones_that_facetrack_wrote() {
    let mut world = World::new(&[("required-zones", "door, desk")]);
    let filters = world.filters(|f| {
        f.faces[0].zones = vec!["hall".into(), "desk".into()];
        f.faces[1].zones = vec!["hall".into()];
    });
    assert_eq!(filters, ["", "not-in-zone"]);
    assert_eq!(world.filters(|_| ()), ["not-in-zone", "not-in-zone"], "no facetrack, no zone");
    let property = world.rig.element.property::<Option<String>>("required-zones");
    assert_eq!(property.as_deref(), Some("door,desk"));
    world.set(&[("required-zones", " , ")]);
    assert_eq!(world.filters(|_| ()), ["", ""]);
    assert_eq!(world.rig.element.property::<Option<String>>("required-zones"), None);
}

#[test]
fn f4_not_frontal_by_the_nose_or_by_the_angles() {
    let mut world = World::new(&[("require-frontal", "true")]);
    let filters = world.filters(|f| put(&mut f.faces[1], 2, 0.3, 0.64));
    assert_eq!(filters, ["", "not-frontal"]);
    world.set(&[("require-frontal", "false"), ("max-yaw", "30")]);
    let filters = world.filters(|f| put(&mut f.faces[1], 2, 0.36, 0.64));
    assert_eq!(filters, ["", "not-frontal"]);
    world.set(&[("max-yaw", "0"), ("max-roll", "5")]);
    let filters = world.filters(|f| {
        put(&mut f.faces[1], 0, 0.34, 0.36);
        put(&mut f.faces[1], 3, 0.37, 0.72);
    });
    assert_eq!(filters, ["", "not-frontal"]);
    world.set(&[("max-roll", "0"), ("max-pitch", "20")]);
    let filters = world.filters(|f| put(&mut f.faces[1], 2, 0.5, 0.4));
    assert_eq!(filters, ["", "not-frontal"]);
    world.set(&[("max-pitch", "0")]);
    assert_eq!(world.filters(|f| put(&mut f.faces[1], 2, 0.0, 0.0)), ["", ""]);
}

#[test]
fn f5_face_shifted_in_its_box() {
    let mut world = World::new(&[("require-centered", "true")]);
    let filters = world.filters(|f| f.faces[1].bbox.x -= 0.4 * f.faces[1].bbox.w);
    assert_eq!(filters, ["", "face-shifted"]);
    let filters = world.filters(|f| f.faces[0].bbox.y -= f.faces[0].bbox.h);
    assert_eq!(filters, ["face-shifted", ""]);
}

#[test]
fn f6_no_track_is_filtered_where_one_is_required() {
    let mut world = World::new(&[("require-track", "true")]);
    assert_eq!(world.filters(|_| ()), ["", "no-track"]);
    assert_eq!(world.counted(), [("no-track", 1)]);
    assert_eq!(world.rig.stat("embedded"), 1);
}

#[test]
fn low_quality_is_measured_on_the_crop_and_asked_before_the_track() {
    // A face of one colour has neither sharpness nor contrast.
    let mut world = World::new(&[("require-track", "true"), ("min-quality", "0.1")]);
    let faces = world.faces(|_| ());
    assert_eq!(faces[0].quality, Some(0.0));
    let filters: Vec<&str> = faces.iter().map(|f| f.filter.as_str()).collect();
    assert_eq!(filters, ["low-quality", "low-quality"]);
    assert_eq!((world.rig.stat("embedded"), world.counted()), (0, vec![("low-quality", 2)]));
    // It is still the face's turn.
    world.set(&[("min-quality", "0")]);
    assert_eq!(world.filters(|_| ()), ["", "no-track"]);
    assert_eq!(world.rig.stat("embedded"), 1);
}

#[test]
fn f7_face_that_is_not_due_keeps_status_and_name() {
    let mut world = World::new(&[]);
    for n in 0..40 {
        let face = &world.faces(|_| ())[0];
        let seen = (face.status, face.name.as_deref(), face.filter.as_str(), face.confirmed);
        assert_eq!(seen, (Status::Known, Some("Ada"), "", true), "frame {n}");
    }
    // The face without a track on every frame, Ada's on frames 0, 1, 3, 7, 15 and 31.
    assert_eq!(world.rig.stat("embedded"), 46);
    assert_eq!(world.counted(), []);
}

#[test]
fn f8_first_filter_that_refuses_a_face_gives_the_reason() {
    let all = [
        ("min-face-size", "41"),
        ("required-zones", "door"),
        ("require-frontal", "true"),
        ("require-centered", "true"),
        ("min-quality", "0.5"),
        ("require-track", "true"),
    ];
    let mut world = World::new(&all);
    // The second face has everything against it.
    let spoil = |f: &mut FrameFaces| {
        put(&mut f.faces[1], 2, 0.2, 0.64);
        f.faces[1].bbox.x -= 0.4 * f.faces[1].bbox.w;
    };
    let none = world.filters(|f| {
        spoil(f);
        f.faces[1].landmarks = None;
    });
    assert_eq!(none[1], "no-landmarks");
    let off = ["0", "", "false", "false", "0", "false"];
    for ((name, _), (off, reason)) in all.iter().zip(off.into_iter().zip(&REASONS[1..])) {
        assert_eq!(world.filters(spoil)[1], *reason);
        world.set(&[(name, off)]);
    }
    assert_eq!(world.filters(spoil)[1], "");
    let second: Vec<u64> = REASONS.map(|reason| world.rig.stat(reason)).into();
    assert!(second.iter().all(|count| *count > 0), "{second:?}");
}

#[test]
fn f9_filtered_face_keeps_its_name_and_nobody_is_told_twice() {
    let mut world = World::new(&[("min-face-size", "30")]);
    world.faces(|_| ());
    // Ten seconds of being small.
    for n in 0..250 {
        let face = &world.faces(|f| f.faces[0].bbox.w *= 0.5)[0];
        let seen = (face.status, face.filter.as_str(), face.name.as_deref(), face.confirmed);
        assert_eq!(seen, (Status::Filtered, "small-face", Some("Ada"), true), "frame {n}");
    }
    let face = &world.faces(|_| ())[0];
    assert_eq!((face.status, face.name.as_deref()), (Status::Known, Some("Ada")));
    assert_eq!(world.rig.structures("face-identity").len(), 1);
    assert_eq!(world.counted(), [("small-face", 250)]);
}

#[test]
fn predicted_faces_are_never_filtered() {
    let mut world = World::new(&[("require-track", "true"), ("required-zones", "door")]);
    let faces = world.faces(|f| {
        for face in &mut f.faces {
            (face.observed, face.landmarks) = (false, None);
        }
    });
    let seen: Vec<_> = faces.iter().map(|f| (f.status, f.filter.as_str())).collect();
    assert_eq!(seen, [(Status::Identifying, ""), (Status::Untracked, "")]);
    assert_eq!(world.counted(), []);
}

#[test]
fn head_pose_is_written_for_every_observed_face_unless_it_is_off() {
    let mut world = World::new(&[("min-face-size", "1000")]);
    let faces = world.faces(|f| {
        put(&mut f.faces[0], 2, 0.64, 0.64);
        f.faces[0].attributes.push(gstface::meta::Attribute {
            name: "glasses".into(),
            label: "yes".into(),
            confidence: None,
        });
    });
    let [yaw, pitch, roll] = faces[0].pose.unwrap();
    assert!((25.0..70.0).contains(&yaw) && pitch.abs() < 20.0 && roll.abs() < 10.0);
    let attributes: Vec<(&str, &str)> =
        faces[0].attributes.iter().map(|a| (a.name.as_str(), a.label.as_str())).collect();
    assert_eq!(attributes[..2], [("glasses", "yes"), ("head-pose", "turned-right")]);
    assert!(faces[0].attributes[1].confidence.unwrap() > 0.5);
    assert!(faces[1].pose.unwrap()[0].abs() < 1.0);
    world.set(&[("head-pose", "false")]);
    assert!(world.faces(|_| ()).iter().all(|f| f.pose.is_none() && f.attributes.is_empty()));
}
