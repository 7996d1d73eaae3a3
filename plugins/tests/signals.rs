//! The action signals of facerecognize on samples, on faces whose identity is a colour.

mod common;

use common::people::{BLUE, CAPS, GREEN, RED, enroll, frame, frame_with};
use common::{Rgb, Rig, element};
use gst::prelude::*;

struct World {
    folder: tempfile::TempDir,
    rig: Rig,
}

impl World {
    fn new() -> World {
        common::init();
        let folder = tempfile::tempdir().unwrap();
        let gallery = folder.path().join("people.gallery");
        enroll(&gallery, "Ada", RED);
        let element = element("facerecognize", "embedder.onnx");
        element.set_property("gallery", gallery.to_str().unwrap());
        // Faces of one colour are no pictures that the gate lets pass; enroll_gate.rs tests it.
        element.set_property("enroll-force", true);
        World { folder, rig: Rig::new(element, CAPS) }
    }

    fn call(&self, signal: &str, args: &[&dyn ToValue]) -> gst::Structure {
        let args: Vec<glib::Value> = args.iter().map(|a| a.to_value()).collect();
        let answer = self.rig.element.emit_by_name_with_values(signal, &args).unwrap();
        answer.get().unwrap()
    }

    /// `Ok` with the person's id, or the reason.
    fn person(&self, signal: &str, args: &[&dyn ToValue]) -> Result<String, String> {
        let answer = self.call(signal, args);
        let (id, reason) = (answer.get("person-id").unwrap(), answer.get("reason").unwrap());
        if answer.get("ok").unwrap() { Ok(id) } else { Err(reason) }
    }

    fn found(&self, sample: &gst::Sample) -> Vec<(u64, String, Option<String>)> {
        let answer = self.call("search", &[sample]);
        assert!(answer.get::<bool>("ok").unwrap(), "{answer}");
        let faces = answer.get::<gst::Array>("faces").unwrap();
        let face = |v: &glib::SendValue| {
            let s = v.get::<gst::Structure>().unwrap();
            (s.get("id").unwrap(), s.get("status").unwrap(), s.get("name").ok())
        };
        faces.iter().map(face).collect()
    }
}

fn sample_of(buffer: gst::Buffer) -> gst::Sample {
    let caps: gst::Caps = CAPS.parse().unwrap();
    gst::Sample::builder().buffer(&buffer).caps(&caps).build()
}

fn sample(people: [Rgb; 2]) -> gst::Sample {
    sample_of(frame(0, people, [0, 0]))
}

/// A sample whose second face is much smaller than the first.
fn portrait(color: Rgb) -> gst::Sample {
    sample_of(frame_with(0, [color, BLUE], [0, 0], |faces| {
        faces.faces[1].bbox.w *= 0.5;
        faces.faces[1].bbox.h *= 0.5;
    }))
}

#[test]
fn sample_is_searched_and_nothing_is_stored() {
    let world = World::new();
    let mut found = world.found(&sample([RED, BLUE]));
    found.sort();
    assert_eq!((found[0].0, &*found[0].1, found[0].2.as_deref()), (1, "known", Some("Ada")));
    assert_eq!((found[1].0, &*found[1].1), (2, "unknown"));
    assert_eq!(world.call("reload", &[]).get::<bool>("ok"), Ok(true));
}

#[test]
fn largest_face_of_a_sample_is_enrolled() {
    let mut world = World::new();
    let id = world.person("enroll-sample", &[&portrait(GREEN), &"Grace"]).unwrap();
    let faces = world.rig.faces(frame(1, [GREEN, BLUE], [3, 4]));
    assert_eq!(faces.faces[0].name.as_deref(), Some("Grace"));
    assert_eq!(faces.faces[0].person_id, Some(id));
    assert_eq!(faces.faces[1].name, None);
}

#[test]
fn sample_that_cannot_be_enrolled_says_why() {
    let world = World::new();
    let reason = |args: &[&dyn ToValue]| world.person("enroll-sample", args).unwrap_err();
    world.rig.element.set_property("enroll-force", false);
    assert!(reason(&[&portrait(GREEN), &"Grace"]).starts_with("small-face: "));
    assert!(reason(&[&sample([GREEN, BLUE]), &"x"]).contains("several-faces"));
    assert!(reason(&[&portrait(GREEN), &" "]).contains("empty"));
    assert!(reason(&[&None::<gst::Sample>, &"x"]).contains("no sample"));
    let bare = sample_of(gst::Buffer::with_size(128 * 64 * 3).unwrap());
    assert!(reason(&[&bare, &"x"]).contains("onnxfacedetect"));
    let nobody = sample_of(frame_with(0, [RED, BLUE], [0, 0], |faces| faces.faces.clear()));
    assert!(reason(&[&nobody, &"x"]).contains("no observed face"));
    let sound: gst::Caps = "audio/x-raw".parse().unwrap();
    let buffer = frame(0, [RED, BLUE], [0, 0]);
    let sound = gst::Sample::builder().buffer(&buffer).caps(&sound).build();
    assert!(reason(&[&sound, &"x"]).contains("no raw video"));
}

#[test]
fn forgotten_person_is_dropped_with_the_next_frame() {
    let mut world = World::new();
    let id = world.rig.faces(frame(0, [RED, BLUE], [1, 2])).faces[0].person_id.clone().unwrap();
    world.rig.messages();
    assert_eq!(world.person("forget", &[&id]), Ok(id.clone()));
    let faces = world.rig.faces(frame(1, [RED, BLUE], [1, 2]));
    assert_eq!((&faces.faces[0].name, &faces.faces[0].person_id), (&None, &None));
    let told = world.rig.structures("face-identity");
    assert_eq!(told[0].get::<String>("previous-name").unwrap(), "Ada");
    assert!(world.person("forget", &[&id]).is_err(), "nobody is there to forget");
    assert!(world.folder.path().join("people.gallery").is_file());
}

#[test]
fn reload_takes_over_at_once_what_others_wrote() {
    let mut world = World::new();
    world.rig.element.set_property("reload-interval", u32::MAX);
    world.rig.faces(frame(0, [GREEN, BLUE], [1, 2]));
    enroll(&world.folder.path().join("people.gallery"), "Grace", GREEN);
    let before = world.rig.faces(frame(1, [GREEN, BLUE], [1, 2]));
    assert_eq!(before.faces[0].name, None);
    let answer = world.call("reload", &[]);
    assert!(answer.get::<u64>("generation").unwrap() > 0, "{answer}");
    let after = world.rig.faces(frame(2, [GREEN, BLUE], [1, 2]));
    assert_eq!(after.faces[0].name.as_deref(), Some("Grace"));
}
