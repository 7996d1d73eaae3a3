//! The enrolment gate of the signals of facerecognize, and the pictures that they store.

mod common;

use std::path::PathBuf;

use common::people::{BLUE, GREEN, RED, enroll, fingerprint};
use common::{Picture, Rgb, Rig, at, element, info};
use face_core::gallery::{Access, Roster, StoredSample, migrate};
use face_core::geometry::{BBox, Landmarks, Point};
use gst::prelude::*;
use gstface::meta::{Face, FrameFaces};

const CAPS: &str = "video/x-raw,format=RGB,width=320,height=240,framerate=25/1";

/// Points of an upright face that looks ahead, fractions of its box.
const POINTS: [(f32, f32); 5] = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.63), (0.33, 0.86), (0.67, 0.86)];

/// One face of 120 × 120 px on track 7, in a colour, with or without the grain of a sharp picture.
fn frame(n: u64, color: Rgb, sharp: bool) -> gst::Buffer {
    let picture = Picture::new(320, 240, |x, y| match (sharp, (x / 2 + y / 2) % 2) {
        (false, _) => color,
        (true, 0) => color.map(|v| v.saturating_add(30)),
        (true, _) => color.map(|v| v.saturating_sub(30)),
    });
    let mut buffer = at(n, picture.to_buffer(&info(CAPS)));
    let bbox = BBox::new(100.0 / 320.0, 60.0 / 240.0, 120.0 / 320.0, 120.0 / 240.0);
    let point = |(x, y): (f32, f32)| Point::new(bbox.x + x * bbox.w, bbox.y + y * bbox.h);
    let landmarks = Some(Landmarks(POINTS.map(point)));
    let face =
        Face { id: 1, bbox, observed: true, score: 0.9, landmarks, track_id: 7, ..Face::default() };
    let faces = FrameFaces {
        frame_id: n,
        looked: true,
        width: 320,
        height: 240,
        par: (1, 1),
        faces: vec![face],
        ..Default::default()
    };
    faces.write(buffer.get_mut().unwrap());
    buffer
}

struct World {
    folder: tempfile::TempDir,
    rig: Rig,
}

impl World {
    fn new(properties: &[(&str, &str)]) -> World {
        common::init();
        let folder = tempfile::tempdir().unwrap();
        let gallery = folder.path().join("people.gallery");
        enroll(&gallery, "Ada", RED);
        let element = element("facerecognize", "embedder.onnx");
        element.set_property("gallery", gallery.to_str().unwrap());
        for (name, value) in properties {
            element.set_property_from_str(name, value);
        }
        World { folder, rig: Rig::new(element, CAPS) }
    }

    fn gallery(&self) -> PathBuf {
        self.folder.path().join("people.gallery")
    }

    fn call(&self, signal: &str, what: &dyn ToValue, name: &str) -> gst::Structure {
        let args = [what.to_value(), name.to_value()];
        self.rig.element.emit_by_name_with_values(signal, &args).unwrap().get().unwrap()
    }

    /// What is stored of a person; nothing if nobody has that name.
    fn stored(&self, name: &str) -> Vec<StoredSample> {
        let roster = Roster::open(self.gallery(), Access::Read).unwrap();
        roster.find(name).map_or(Vec::new(), |person| roster.samples(&person.id).unwrap())
    }
}

/// Verdict and reason of every crop.
fn verdicts(answer: &gst::Structure) -> Vec<(String, String)> {
    let samples = answer.get::<gst::Array>("samples").unwrap();
    let of = |v: &glib::SendValue| {
        let s = v.get::<gst::Structure>().unwrap();
        let detail = s.get::<String>("detail").unwrap();
        assert_eq!(detail.is_empty(), s.get::<&str>("verdict") != Ok("rejected"), "{s}");
        (s.get("verdict").unwrap(), s.get("reason").unwrap())
    };
    samples.iter().map(of).collect()
}

fn pair(verdict: &str, reason: &str) -> (String, String) {
    (verdict.to_owned(), reason.to_owned())
}

fn refused(answer: &gst::Structure, reason: &str) {
    assert!(!answer.get::<bool>("ok").unwrap(), "{answer}");
    assert_eq!(answer.get::<&str>("person-id"), Ok(""));
    let text = answer.get::<String>("reason").unwrap();
    assert!(text.starts_with(&format!("{reason}: ")), "{text}");
    let (verdict, first) = verdicts(answer).remove(0);
    assert_eq!((&*verdict, &*first), ("rejected", reason));
}

fn sample_of(buffer: gst::Buffer) -> gst::Sample {
    let caps: gst::Caps = CAPS.parse().unwrap();
    gst::Sample::builder().buffer(&buffer).caps(&caps).build()
}

#[test]
fn poor_faces_are_refused_with_a_reason_and_stored_by_force() {
    let mut world = World::new(&[]);
    world.rig.run(frame(0, GREEN, false));
    refused(&world.call("enroll", &7u64, "Grace"), "low-contrast");
    let poor = sample_of(frame(1, GREEN, false));
    refused(&world.call("enroll-sample", &poor, "Grace"), "low-contrast");
    assert!(world.stored("Grace").is_empty());

    world.rig.element.set_property("enroll-force", true);
    let answer = world.call("enroll", &7u64, "Grace");
    assert_eq!(verdicts(&answer), [pair("enrolled", "")]);
    let answer = world.call("enroll-sample", &poor, "Grace");
    assert!(answer.get::<bool>("ok").unwrap(), "{answer}");
    assert_eq!(verdicts(&answer), [pair("duplicate", "")]);
    assert_eq!(world.stored("Grace").len(), 1);
}

#[test]
fn face_of_somebody_else_is_a_conflict() {
    let world = World::new(&[]);
    let red = sample_of(frame(0, RED, true));
    refused(&world.call("enroll-sample", &red, "Eve"), "conflict");
    assert!(world.stored("Eve").is_empty());
}

#[test]
fn t17_crops_of_a_track_are_compared_with_each_other() {
    let mut world = World::new(&[("every-face", "true")]);
    for (n, blue) in [220, 190, 60].into_iter().enumerate() {
        world.rig.run(frame(n as u64, [20, 200, blue], true));
    }
    let answer = world.call("enroll", &7u64, "Grace");
    assert!(answer.get::<bool>("ok").unwrap(), "{answer}");
    let first = verdicts(&answer);
    assert_eq!(first[..2], [pair("enrolled", ""), pair("rejected", "near-duplicate")]);
    let stored = world.stored("Grace");
    assert_eq!(stored.len(), first.iter().filter(|v| v.0 == "enrolled").count());
    let again = verdicts(&world.call("enroll", &7u64, "Grace"));
    assert!(again.iter().all(|(verdict, _)| verdict != "enrolled"), "{again:?}");
    assert_eq!(world.stored("Grace").len(), stored.len());
}

#[test]
fn pictures_are_stored_as_the_setting_says() {
    for (setting, kept) in
        [("never", (false, false)), ("aligned", (true, false)), ("loose", (true, true))]
    {
        let mut world = World::new(&[("store-crops", setting)]);
        world.rig.run(frame(0, GREEN, true));
        let by_track = world.call("enroll", &7u64, "Grace");
        assert!(by_track.get::<bool>("ok").unwrap(), "{by_track}");
        let sample = sample_of(frame(1, [20, 150, 220], true));
        let by_sample = world.call("enroll-sample", &sample, "Mary");
        assert!(by_sample.get::<bool>("ok").unwrap(), "{by_sample}");
        for name in ["Grace", "Mary"] {
            let stored = world.stored(name);
            assert_eq!((stored.len(), (stored[0].crop, stored[0].loose)), (1, kept), "{setting}");
        }
        // What was kept is what another embedder can be given. Ada has no picture.
        let plan = migrate::plan(world.gallery(), &fingerprint("embedder_coarse.onnx")).unwrap();
        assert_eq!((plan.samples, plan.lost()), (3, if kept.0 { 1 } else { 3 }));
        let mut elsewhere = fingerprint("embedder_coarse.onnx");
        elsewhere.alignment = "another".into();
        let plan = migrate::plan(world.gallery(), &elsewhere).unwrap();
        assert_eq!(plan.lost(), if kept.1 { 1 } else { 3 });
    }
}

#[test]
fn names_come_through_the_messages_whole_or_are_refused() {
    let mut world = World::new(&[]);
    world.rig.run(frame(0, BLUE, true));
    let long = "x".repeat(10_240);
    for bad in ["", " ", "a\nb", "a\u{1b}[2Jb", &long] {
        let answer = world.call("enroll", &7u64, bad);
        assert!(!answer.get::<bool>("ok").unwrap(), "{answer}");
        let reason = answer.get::<String>("reason").unwrap();
        assert!(reason.contains("person name") && reason.len() < 1_000, "{reason}");
        assert!(!reason.contains('\u{1b}'), "{reason}");
    }
    world.rig.element.set_property("enroll-force", true);
    let mut previous: Option<String> = None;
    for (n, name) in
        ["O'Brien \"the\" {s}", "👩🏽‍🚀", "عبد الله \u{202e}gnp", "'; DROP TABLE persons; --"]
            .into_iter()
            .enumerate()
    {
        if let Some(previous) = previous.replace(name.to_owned()) {
            let roster = Roster::open(world.gallery(), Access::Write).unwrap();
            let id = roster.find(&previous).unwrap().id;
            drop(roster);
            let args = [id.to_value()];
            let answer = world.rig.element.emit_by_name_with_values("forget", &args).unwrap();
            let answer = answer.get::<gst::Structure>().unwrap();
            assert!(answer.get::<bool>("ok").unwrap(), "{answer}");
            world.rig.run(frame(3 * n as u64, BLUE, true));
            let told = world.rig.structures("face-identity");
            assert_eq!(told[0].get::<&str>("previous-name"), Ok(&*previous));
        }
        let answer = world.call("enroll", &7u64, name);
        assert!(answer.get::<bool>("ok").unwrap(), "{name}: {answer}");
        let faces = world.rig.faces(frame(3 * n as u64 + 1, BLUE, true));
        assert_eq!(faces.faces[0].name.as_deref(), Some(name));
        let told = world.rig.structures("face-identity");
        assert_eq!(told[0].get::<&str>("name"), Ok(name));
        // As a string, which is what programs in other languages print, it is whole too.
        assert!(told[0].to_string().parse::<gst::Structure>().is_ok_and(|s| s == told[0]));
        let sample = sample_of(frame(0, BLUE, true));
        let found = world.rig.element.emit_by_name_with_values("search", &[sample.to_value()]);
        let found = found.unwrap().get::<gst::Structure>().unwrap();
        let face = found.get::<gst::Array>("faces").unwrap();
        let face = face.first().unwrap().get::<gst::Structure>().unwrap();
        assert_eq!(face.get::<&str>("name"), Ok(name));
    }
}
