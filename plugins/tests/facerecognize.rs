//! facerecognize on faces whose identity is a colour, and on real photographs.

mod common;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use common::people::{BLACK, BLUE, CAPS, GREEN, RED, enroll, fingerprint, frame, frame_with};
use common::{Rgb, Rig, element, pull, read, real_media, real_model};
use face_core::embed::Embedding;
use face_core::gallery::{Access, Gallery, NewSample};
use face_core::identity::Status;
use gst::prelude::*;
use gstface::meta::{Face, FrameFaces};

/// A gallery that knows Ada, who is red.
struct World {
    folder: tempfile::TempDir,
    rig: Rig,
}

impl World {
    fn new(properties: &[(&str, &str)]) -> World {
        common::init();
        let folder = tempfile::tempdir().unwrap();
        enroll(&folder.path().join("people.gallery"), "Ada", RED);
        let element = recognizer(properties);
        element.set_property("gallery", folder.path().join("people.gallery").to_str().unwrap());
        World { folder, rig: Rig::new(element, CAPS) }
    }

    fn gallery(&self) -> PathBuf {
        self.folder.path().join("people.gallery")
    }

    fn faces(&mut self, n: u64, people: [Rgb; 2], tracks: [u64; 2]) -> FrameFaces {
        self.rig.faces(frame(n, people, tracks))
    }

    fn enroll(&self, track: u64, name: &str) -> Result<String, String> {
        enroll_track(&self.rig.element, track, name)
    }
}

fn recognizer(properties: &[(&str, &str)]) -> gst::Element {
    let element = element("facerecognize", "embedder.onnx");
    // Faces of one colour are no pictures that the gate lets pass; that is tested by itself.
    element.set_property("enroll-force", true);
    // How names are confirmed is the matter of confirmation.rs.
    element.set_property("confirm-count", 1u32);
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    element
}

fn enroll_track(element: &gst::Element, track: u64, name: &str) -> Result<String, String> {
    let answer = element.emit_by_name::<gst::Structure>("enroll", &[&track, &name]);
    let (id, reason) = (answer.get("person-id").unwrap(), answer.get("reason").unwrap());
    if answer.get("ok").unwrap() { Ok(id) } else { Err(reason) }
}

fn names(faces: &FrameFaces) -> Vec<(Status, Option<&str>)> {
    faces.faces.iter().map(|f| (f.status, f.name.as_deref())).collect()
}

const ADA: (Status, Option<&str>) = (Status::Known, Some("Ada"));
const NOBODY: (Status, Option<&str>) = (Status::Unknown, None);

#[test]
fn known_track_is_named_and_told_once() {
    let mut world = World::new(&[]);
    for n in 0..50 {
        let faces = world.faces(n, [RED, BLUE], [7, 8]);
        assert_eq!(names(&faces), [ADA, NOBODY], "frame {n}");
        let face = &faces.faces[0];
        assert!(face.similarity.unwrap() > 0.999 && face.confirmed, "{face:?}");
        assert_eq!(face.top_k.len(), 1);
        assert_eq!(face.person_id, Some(face.top_k[0].person_id.clone()));
        // Who is nobody of the gallery is that for certain, too.
        assert!(faces.faces[1].similarity.unwrap() < 0.9 && faces.faces[1].confirmed);
    }
    let told = world.rig.structures("face-identity");
    let [told] = &told[..] else { panic!("{told:?}") };
    assert_eq!(told.get::<u64>("track-id").unwrap(), 7);
    assert_eq!(told.get::<&str>("name").unwrap(), "Ada");
    assert_eq!(told.get::<u64>("running-time").unwrap(), 0);
    assert!(told.get::<f64>("similarity").unwrap() > 0.999);
    assert!(told.get::<&str>("utc").unwrap().ends_with('Z'));
    assert!(!told.has_field("previous-name"));
    let (faces, embedded) = (world.rig.stat("faces"), world.rig.stat("embedded"));
    assert_eq!(faces, 100);
    assert!((10..20).contains(&embedded), "{embedded} of {faces}");
}

#[test]
fn event_stays_on_the_buffers_for_a_second() {
    let mut world = World::new(&[("alert-mode", "none")]);
    let mut ids = HashSet::new();
    for n in 0..40 {
        let faces = world.faces(n, [RED, BLUE], [7, 8]);
        // 25 frames a second.
        assert_eq!(faces.events.len(), usize::from(n < 25), "frame {n}");
        for event in faces.events {
            assert_eq!((event.kind.as_str(), event.track_id), ("face-identity", 7));
            assert_eq!(event.name.as_deref(), Some("Ada"));
            ids.insert(event.id);
        }
    }
    let told = world.rig.structures("face-identity");
    assert_eq!(told[0].get::<String>("event-id").ok(), ids.iter().next().cloned());
    assert_eq!((ids.len(), told.len()), (1, 1));
}

#[test]
fn event_of_buffers_without_time_does_not_stay_for_ever() {
    let mut world = World::new(&[("alert-mode", "none")]);
    for n in 0..40 {
        let mut buffer = frame(n, [RED, BLUE], [7, 8]);
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::NONE);
        assert_eq!(world.rig.faces(buffer).events.len(), usize::from(n < 25), "frame {n}");
    }
}

#[test]
fn streams_without_a_frame_rate_are_followed_and_named() {
    common::init();
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("people.gallery");
    enroll(&gallery, "Ada", RED);
    for time in [Some(gst::ClockTime::from_seconds(1)), None] {
        let recognizer = recognizer(&[("gallery", gallery.to_str().unwrap())]);
        let chain = gst::Bin::new();
        let track = gst::ElementFactory::make("facetrack").build().unwrap();
        chain.add_many([&track, &recognizer]).unwrap();
        track.link(&recognizer).unwrap();
        let (sink, src) =
            (track.static_pad("sink").unwrap(), recognizer.static_pad("src").unwrap());
        chain.add_pad(&gst::GhostPad::with_target(&sink).unwrap()).unwrap();
        chain.add_pad(&gst::GhostPad::with_target(&src).unwrap()).unwrap();
        let caps = CAPS.replace("25/1", "0/1");
        let mut rig = Rig::new(chain.upcast(), &caps);
        for n in 0..5 {
            let mut buffer = frame(n, [RED, BLUE], [0, 0]);
            buffer.get_mut().unwrap().set_pts(time.map(|t| t * n));
            buffer.get_mut().unwrap().set_duration(gst::ClockTime::NONE);
            assert_eq!(names(&rig.faces(buffer)), [ADA, NOBODY], "{time:?} {n}");
        }
    }
}

#[test]
fn every_face_embeds_all_that_were_observed() {
    let mut world = World::new(&[("every-face", "true")]);
    for n in 0..10 {
        // A predicted face has no landmarks and keeps its track's name.
        let buffer = frame_with(n, [RED, RED], [7, 8], |faces| {
            if n > 0 {
                faces.faces[1].observed = false;
                faces.faces[1].landmarks = None;
            }
        });
        assert_eq!(names(&world.rig.faces(buffer)), [ADA, ADA], "frame {n}");
    }
    assert_eq!(world.rig.stat("embedded"), 11);
}

#[test]
fn faces_without_a_track_are_looked_up_on_every_frame() {
    let mut world = World::new(&[]);
    for n in 0..3 {
        assert_eq!(names(&world.faces(n, [RED, BLUE], [0, 0])), [ADA, NOBODY]);
        assert_eq!(names(&world.faces(n, [GREEN, RED], [0, 0])), [NOBODY, ADA]);
    }
    assert_eq!(world.rig.stat("embedded"), 12);
    assert!(world.rig.structures("face-identity").is_empty(), "there is no track to name");
}

#[test]
fn embeddings_leave_the_element_only_when_asked_for() {
    let mut world = World::new(&[("every-face", "true")]);
    let faces = world.faces(0, [RED, BLUE], [7, 0]);
    assert!(faces.faces.iter().all(|f| f.embedding.is_none()));
    world.rig.element.set_property("embed-output", true);
    let faces = world.faces(1, [RED, BLUE], [7, 0]);
    for face in &faces.faces {
        assert_eq!(face.fingerprint.as_deref(), Some("embedder/arcface-112"));
        let embedding = Embedding::from_bytes(face.embedding.as_ref().unwrap()).unwrap();
        assert_eq!(embedding.dim(), 12);
    }
}

#[test]
fn faces_without_landmarks_are_filtered() {
    let mut world = World::new(&[]);
    let buffer = frame_with(0, [RED, RED], [7, 0], |faces| {
        faces.faces.iter_mut().for_each(|f| f.landmarks = None);
    });
    for face in &world.rig.faces(buffer).faces {
        assert_eq!((face.status, face.filter.as_str()), (Status::Filtered, "no-landmarks"));
    }
    assert_eq!(world.rig.stat("embedded"), 0);
}

#[test]
fn without_a_gallery_everybody_is_unknown() {
    let mut rig = Rig::new(recognizer(&[]), CAPS);
    for n in 0..3 {
        assert_eq!(names(&rig.faces(frame(n, [RED, BLUE], [7, 0]))), [NOBODY, NOBODY]);
    }
    assert_eq!(
        enroll_track(&rig.element, 7, "Bob"),
        Err("no gallery: set the property gallery".into())
    );
}

#[test]
fn enrolled_track_gets_its_name_at_once() {
    let mut world = World::new(&[]);
    assert_eq!(names(&world.faces(0, [RED, BLUE], [7, 8])), [ADA, NOBODY]);
    world.rig.messages();
    let id = world.enroll(8, "Bob").unwrap();
    let faces = world.faces(1, [RED, BLUE], [7, 8]);
    assert_eq!(names(&faces), [ADA, (Status::Known, Some("Bob"))]);
    assert_eq!(faces.faces[1].person_id.as_ref(), Some(&id));
    let told = world.rig.structures("face-identity");
    let [told] = &told[..] else { panic!("{told:?}") };
    assert_eq!((told.get("track-id"), told.get("name")), (Ok(8u64), Ok("Bob")));
    assert_eq!(told.get::<String>("person-id").unwrap(), id);
    // The crop is stored with the embedding, and the person is there for others too.
    let gallery = Gallery::open(world.gallery(), &fingerprint("embedder.onnx"), Access::Read);
    let people = gallery.unwrap().persons().unwrap();
    assert_eq!(people.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["Ada", "Bob"]);
    assert_eq!(world.enroll(8, "Bob"), Ok(id), "the same person again");
}

#[test]
fn enrolment_that_cannot_be_says_why() {
    let reason = |result: Result<String, String>| result.unwrap_err();
    assert_eq!(reason(enroll_track(&recognizer(&[]), 1, "x")), "the element has not started");
    let mut world = World::new(&[]);
    assert_eq!(reason(world.enroll(8, "Bob")), "there is no track 8 now");
    world.faces(0, [BLACK, BLUE], [7, 8]);
    assert_eq!(reason(world.enroll(7, "Bob")), "track 7 has no usable crop yet");
    assert!(reason(world.enroll(8, " ")).contains("it is empty"));
    assert!(reason(world.enroll(8, "a\nb")).contains("line break"));
    let ended = frame_with(1, [RED, BLUE], [7, 0], |faces| faces.ended_tracks.push(8));
    world.rig.run(ended);
    assert_eq!(reason(world.enroll(8, "Bob")), "there is no track 8 now");
    let answer =
        world.rig.element.emit_by_name::<gst::Structure>("enroll", &[&7u64, &None::<&str>]);
    assert!(!answer.get::<bool>("ok").unwrap(), "{answer}");
    std::fs::remove_file(world.gallery()).unwrap();
    let text = reason(world.enroll(7, "Bob"));
    assert!(text.contains(world.gallery().to_str().unwrap()), "{text}");
}

#[test]
fn change_of_the_gallery_by_others_is_taken_over() {
    let mut world = World::new(&[("reload-interval", "0")]);
    assert_eq!(names(&world.faces(0, [RED, BLUE], [7, 8])), [ADA, NOBODY]);
    assert!(world.rig.structures("gallery-changed").is_empty());
    enroll(&world.gallery(), "Bob", BLUE);
    let faces = world.faces(1, [RED, BLUE], [7, 8]);
    assert_eq!(names(&faces), [ADA, (Status::Known, Some("Bob"))]);
    let messages = world.rig.messages();
    let told: Vec<_> = messages.iter().filter_map(|m| m.structure()).map(|s| s.name()).collect();
    assert_eq!(told, ["gallery-changed", "face-identity", "face-alert"]);
    world.faces(2, [RED, BLUE], [7, 8]);
    assert!(world.rig.structures("gallery-changed").is_empty(), "once per change");
}

#[test]
fn gallery_damaged_or_removed_while_playing_goes_on_serving() {
    for remove in [false, true] {
        let mut world = World::new(&[("reload-interval", "0"), ("every-face", "true")]);
        assert_eq!(names(&world.faces(0, [RED, BLUE], [7, 0])), [ADA, NOBODY]);
        let path = world.gallery();
        if remove {
            std::fs::remove_file(&path).unwrap();
        } else {
            let length = std::fs::metadata(&path).unwrap().len();
            let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            std::io::Write::write_all(&mut file, &vec![0x5a; length as usize]).unwrap();
        }
        for n in 1..5 {
            assert_eq!(names(&world.faces(n, [RED, BLUE], [7, 0])), [ADA, NOBODY]);
        }
        let messages = world.rig.messages();
        assert!(!messages.iter().any(|m| m.type_() == gst::MessageType::Error), "{messages:?}");
    }
}

#[test]
fn reload_interval_is_kept() {
    let mut world = World::new(&[("reload-interval", "3600000")]);
    enroll(&world.gallery(), "Bob", BLUE);
    for n in 0..3 {
        assert_eq!(names(&world.faces(n, [RED, BLUE], [7, 8])), [ADA, NOBODY]);
    }
    world.rig.element.set_property("reload-interval", 0u32);
    assert_eq!(world.faces(3, [RED, BLUE], [7, 8]).faces[1].name.as_deref(), Some("Bob"));
}

#[test]
fn thresholds_decide_while_playing() {
    let mut world = World::new(&[("every-face", "true")]);
    // Nearer to red than the model's .9, and nearer to red than to green.
    let orange = [220, 100, 20];
    enroll(&world.gallery(), "Eve", [220, 130, 20]);
    world.rig.element.set_property("reload-interval", 0u32);
    let mut frame = 0;
    let mut status = |property: &str, value: &str| {
        world.rig.element.set_property_from_str(property, value);
        frame += 1;
        let faces = world.faces(frame, [orange, GREEN], [0, 0]);
        let Face { status, name, margin, similarity, top_k, .. } = faces.faces[0].clone();
        assert!(similarity.unwrap() > 0.9 && (0.0..0.2).contains(&margin.unwrap()));
        assert_eq!(name.is_some(), status == Status::Known);
        (status, top_k.len())
    };
    assert_eq!(status("threshold", "0"), (Status::Known, 2));
    assert_eq!(status("threshold", "0.999"), (Status::Unknown, 2));
    assert_eq!(status("threshold", "0.5"), (Status::Known, 2));
    assert_eq!(status("min-margin", "0.5"), (Status::Uncertain, 2));
    assert_eq!(status("min-margin", "0"), (Status::Known, 2));
    assert_eq!(status("top-k", "1"), (Status::Known, 1));
}

#[test]
fn person_keeps_a_threshold_of_their_own() {
    let mut world = World::new(&[("reload-interval", "0"), ("threshold", "0.1")]);
    let gallery = Gallery::open(world.gallery(), &fingerprint("embedder.onnx"), Access::Write);
    let gallery = gallery.unwrap();
    let ada = gallery.persons().unwrap().remove(0).id;
    let orange = [220, 100, 20];
    assert_eq!(names(&world.faces(0, [orange, BLUE], [0, 0])), [ADA, ADA]);
    gallery.set_threshold(&ada, Some(0.99)).unwrap();
    assert_eq!(names(&world.faces(1, [orange, RED], [0, 0])), [NOBODY, ADA]);
}

#[test]
fn track_that_becomes_another_person_loses_its_name_and_is_split() {
    let mut world = World::new(&[]);
    enroll(&world.gallery(), "Bob", BLUE);
    world.rig.element.set_property("reload-interval", 0u32);
    for n in 0..10 {
        world.faces(n, [RED, GREEN], [7, 8]);
    }
    let mut last = Vec::new();
    for n in 10..50 {
        last = names(&world.faces(n, [BLUE, GREEN], [7, 8]))
            .iter()
            .map(|n| n.1.map(str::to_owned))
            .collect();
    }
    assert_eq!(last[0].as_deref(), Some("Bob"));
    for n in 50..130 {
        world.faces(n, [GREEN, GREEN], [7, 8]);
    }
    let told = world.rig.structures("face-identity");
    let said = |s: &gst::Structure| {
        let field = |name: &str| s.get::<Option<String>>(name).ok().flatten();
        (s.get::<u64>("track-id").unwrap(), field("name"), field("previous-name"))
    };
    let text = |s: &str| Some(s.to_owned());
    assert_eq!(
        told.iter().map(said).collect::<Vec<_>>(),
        [
            (7, text("Ada"), None),
            (7, None, text("Ada")),
            (7, text("Bob"), None),
            (7, None, text("Bob"))
        ]
    );
    // There is no facetrack that would have ended the track the first time.
    let events = std::iter::from_fn(|| world.rig.harness.try_pull_upstream_event());
    let splits = events.filter_map(|e| {
        let structure = e.structure().filter(|s| s.name() == "face-track-split")?;
        structure.get::<u64>("track-id").ok()
    });
    assert_eq!(splits.collect::<Vec<_>>(), [7, 7]);
}

#[test]
fn flush_and_new_stream_forget_the_tracks() {
    let mut world = World::new(&[]);
    world.faces(0, [RED, BLUE], [7, 8]);
    world.faces(1, [RED, BLUE], [7, 8]);
    assert_eq!(world.rig.structures("face-identity").len(), 1);
    world.rig.harness.push_event(gst::event::FlushStart::new());
    world.rig.harness.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    world.rig.harness.push_event(gst::event::Segment::new(&segment));
    assert_eq!(world.enroll(7, "x"), Err("there is no track 7 now".into()));
    assert_eq!(names(&world.faces(0, [BLUE, RED], [7, 8])), [NOBODY, ADA]);
    let told = world.rig.structures("face-identity");
    assert_eq!(told.iter().map(|s| s.get("track-id")).collect::<Vec<_>>(), [Ok(8u64)]);
}

#[test]
fn unusable_crops_are_counted_and_cost_nobody_their_name() {
    let mut world = World::new(&[("every-face", "true")]);
    world.faces(0, [RED, BLACK], [7, 8]);
    let faces = world.faces(1, [BLACK, BLACK], [7, 0]);
    assert_eq!(names(&faces), [ADA, (Status::Untracked, None)]);
    assert_eq!(world.rig.stat("unusable"), 3);
    let together = frame_with(2, [RED, RED], [7, 0], |faces| {
        let points = &mut faces.faces[1].landmarks.as_mut().unwrap().0;
        *points = [points[0]; 5];
    });
    assert_eq!(names(&world.rig.faces(together)), [ADA, (Status::Untracked, None)]);
    assert_eq!(world.rig.stat("unusable"), 4);
}

#[test]
fn faces_are_found_again_in_a_picture_that_was_scaled() {
    let mut world = World::new(&[]);
    // The faces were found in a picture of twice the size and another pixel aspect.
    let scaled = frame_with(0, [RED, BLUE], [0, 0], |faces| {
        (faces.width, faces.height, faces.par) = (256, 256, (2, 1));
    });
    assert_eq!(names(&world.rig.faces(scaled)), [ADA, NOBODY]);
}

/// Finds and embeds the largest face of a photo: its meta.
fn largest(photo: &str, gallery: Option<&Path>, models: &(String, String)) -> Face {
    let gallery = gallery.map_or(String::new(), |g| format!("gallery={}", g.display()));
    let pipeline = gst::parse::launch(&format!(
        "filesrc location={photo} ! decodebin ! videoconvert ! onnxfacedetect threads=1 model={} \
         ! facerecognize threads=1 embed-output=true model={} {gallery} ! appsink name=out sync=false",
        models.0, models.1
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("out").and_downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let sample = pull(&pipeline, &sink);
    pipeline.set_state(gst::State::Null).unwrap();
    let faces = read(&sample.buffer_owned().unwrap()).faces;
    faces.into_iter().max_by(|a, b| a.bbox.area().total_cmp(&b.bbox.area())).expect("a face")
}

#[test]
fn real_person_is_named_from_another_photo_and_a_stranger_is_not() {
    let (Some(detector), Some(embedder), Some(people)) = (
        real_model("face_detection_yunet_n_dynamic.onnx"),
        real_model("face_recognition_mobilefacenet_dynamic.onnx"),
        real_media("people"),
    ) else {
        return;
    };
    common::init();
    let photo = |name: &str| format!("{people}/{name}");
    let models = (detector, embedder);
    let face = largest(&photo("amy/1.png"), None, &models);
    let embedding = Embedding::from_bytes(&face.embedding.unwrap()).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.gallery");
    let fingerprint = fingerprint(&models.1);
    let gallery = Gallery::open(&path, &fingerprint, Access::Create).unwrap();
    gallery.enroll("Amy", &[NewSample::new(embedding, "photo")]).unwrap();
    let again = largest(&photo("amy/2.png"), Some(&path), &models);
    assert_eq!((again.status, again.name.as_deref()), (Status::Known, Some("Amy")));
    let stranger = largest(&photo("penny/1.png"), Some(&path), &models);
    assert_eq!((stranger.status, stranger.name), (Status::Unknown, None));
}
