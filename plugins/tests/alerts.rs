//! Alerts, summaries and explanations of facerecognize, on faces whose identity is a colour.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use common::people::{BLUE, CAPS, GREEN, RED, enroll, frame, frame_with};
use common::{Picture, Rgb, Rig, at, element, error_of, info, read};
use face_core::gallery::{Access, Roster};
use gst::prelude::*;
use gstface::meta::{FrameFaces, TrackState};

/// A gallery that knows Ada, who is red, and Bob, who is green.
struct World {
    folder: tempfile::TempDir,
    rig: Rig,
    n: u64,
    /// The faces have sharp lines, as good crops have: a lost track is found again by no others.
    sharp: bool,
}

impl World {
    fn new(properties: &[(&str, &str)]) -> World {
        World::with(properties, |_| ())
    }

    fn with(properties: &[(&str, &str)], change: impl FnOnce(&PathBuf)) -> World {
        common::init();
        let folder = tempfile::tempdir().unwrap();
        let gallery = folder.path().join("people.gallery");
        enroll(&gallery, "Ada", RED);
        enroll(&gallery, "Bob", GREEN);
        change(&gallery);
        let element = element("facerecognize", "embedder.onnx");
        element.set_property("gallery", gallery.to_str().unwrap());
        element.set_property("camera", "front door");
        for (name, value) in properties {
            element.set_property_from_str(name, value);
        }
        World { folder, rig: Rig::new(element, CAPS), n: 0, sharp: false }
    }

    /// The next frame, 40 ms after the last one.
    fn see(&mut self, people: [Rgb; 2], tracks: [u64; 2]) -> FrameFaces {
        self.see_with(people, tracks, |_| ())
    }

    fn see_with(
        &mut self,
        people: [Rgb; 2],
        tracks: [u64; 2],
        change: impl FnOnce(&mut FrameFaces),
    ) -> FrameFaces {
        let mut buffer = frame_with(self.n, people, tracks, change);
        if self.sharp {
            let faces = read(&buffer);
            let dark = |x: u32, y: u32| (x / 2 + y / 2) % 2 == 1;
            let picture = Picture::new(128, 64, |x, y| {
                let color = people[x as usize / 64];
                if dark(x, y) { color.map(|c| c / 3) } else { color }
            });
            buffer = at(self.n, picture.to_buffer(&info(CAPS)));
            faces.write(buffer.get_mut().unwrap());
        }
        self.n += 1;
        self.rig.faces(buffer)
    }

    fn end(&mut self, people: [Rgb; 2], tracks: [u64; 2], ended: &[u64]) -> FrameFaces {
        self.see_with(people, tracks, |faces| faces.ended_tracks.extend(ended))
    }

    fn alerts(&self) -> Vec<gst::Structure> {
        self.rig.structures("face-alert")
    }

    fn explain(&self, track: u64) -> String {
        self.rig.element.emit_by_name("explain", &[&track])
    }
}

/// Kind and track of alerts.
fn told(alerts: &[gst::Structure]) -> Vec<(String, u64)> {
    alerts.iter().map(|a| (a.get("event").unwrap(), a.get("track-id").unwrap())).collect()
}

fn kinds(alerts: &[gst::Structure]) -> Vec<String> {
    told(alerts).into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn t6_t8_confirmed_faces_alert_once_with_all_that_is_known() {
    let mut world = World::new(&[]);
    let mut confirmed = None;
    for n in 0..60 {
        let faces = world.see([RED, BLUE], [7, 8]);
        if faces.faces[0].confirmed {
            confirmed.get_or_insert(n);
        }
        assert_eq!(faces.faces[0].name.as_deref(), Some("Ada"), "the name comes at once, {n}");
    }
    // Four agreeing results, on frames 0, 1, 3 and 7.
    assert_eq!(confirmed, Some(7));
    let alerts = world.alerts();
    assert_eq!(told(&alerts), [("known-face".to_owned(), 7), ("unknown-face".to_owned(), 8)]);
    let (known, unknown) = (&alerts[0], &alerts[1]);
    assert_eq!(known.get::<&str>("name").unwrap(), "Ada");
    assert_eq!(known.get::<&str>("camera").unwrap(), "front door");
    assert!(known.get::<f64>("similarity").unwrap() > 0.999);
    assert!(!known.get::<bool>("dry-run").unwrap());
    assert!(known.get::<&str>("utc").unwrap().ends_with('Z'));
    let top = known.get::<gst::Array>("top-k").unwrap();
    let best = top[0].get::<gst::Structure>().unwrap();
    assert_eq!(best.get::<&str>("person-id"), known.get::<&str>("person-id"));
    assert_eq!(top.len(), 2);
    assert!(known.get::<gst::Array>("zones").unwrap().is_empty());
    for absent in ["previous-name", "crop"] {
        assert!(!known.has_field(absent), "{known}");
    }
    assert!(!unknown.has_field("name") && !unknown.has_field("person-id"), "{unknown}");
    assert!(unknown.get::<f64>("similarity").unwrap() < 0.9, "with the nearest person");
    assert_eq!(world.rig.stat("alerts"), 2);
}

#[test]
fn t11_alert_has_the_time_of_the_buffer_that_triggered_it() {
    let mut world = World::new(&[]);
    // A segment that does not begin at 0: PTS and running time differ.
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(gst::ClockTime::from_mseconds(80));
    world.rig.harness.push_event(gst::event::Segment::new(&segment));
    world.n = 2;
    for n in 2..40 {
        let faces = world.see([RED, BLUE], [7, 0]);
        let first = faces.events.iter().find(|e| e.kind == "known-face");
        let alerts = world.alerts();
        let Some(alert) = alerts.first() else { continue };
        // Message and event come with the very buffer.
        let event = first.expect("the event on the buffer of the message");
        assert!(faces.faces[0].confirmed, "frame {n}");
        let pts = gst::ClockTime::from_mseconds(n * 40).nseconds();
        let running = pts - 80_000_000;
        assert_eq!(alert.get::<u64>("pts").unwrap(), pts);
        assert_eq!(alert.get::<u64>("running-time").unwrap(), running);
        assert_eq!(event.running_time_ns, Some(running));
        assert_eq!(alert.get::<&str>("event-id").unwrap(), event.id);
        assert_eq!(Some(alert.get::<&str>("utc").unwrap()), event.utc.as_deref());
        assert_eq!(
            (event.name.as_deref(), event.camera.as_deref()),
            (Some("Ada"), Some("front door"))
        );
        assert_eq!(event.top_k.len(), 2);
        return;
    }
    panic!("no alert");
}

#[test]
fn t10_events_outlive_the_loss_of_every_second_buffer() {
    let mut world = World::new(&[("confirm-count", "2")]);
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut posted = BTreeSet::new();
    for n in 0..120u64 {
        let faces = match n {
            // Nobody on track 8 from here on, which alone has its end on a buffer that is lost.
            60 => world.end([RED, BLUE], [7, 0], &[8]),
            61.. => world.see([RED, BLUE], [7, 0]),
            _ => world.see([RED, BLUE], [7, 8]),
        };
        for alert in world.alerts() {
            assert!(posted.insert(alert.get::<String>("event-id").unwrap()), "told twice");
        }
        // The even ones never arrive.
        if n % 2 == 1 {
            let ids: BTreeSet<_> = faces.events.iter().map(|e| e.id.clone()).collect();
            assert_eq!(ids.len(), faces.events.len(), "twice on one buffer");
            for event in faces.events.into_iter().filter(|e| e.kind != "face-identity") {
                *seen.entry(event.id).or_default() += 1;
            }
        }
    }
    assert_eq!(posted.len(), 3, "known, unknown, disappeared");
    assert_eq!(seen.keys().cloned().collect::<BTreeSet<_>>(), posted);
    // A second of 25 frames, every other of them.
    assert!(seen.values().all(|count| (12..=13).contains(count)), "{seen:?}");
}

#[test]
fn t10_face_that_disappears_is_told_with_its_track_end() {
    let mut world = World::new(&[("confirm-count", "1")]);
    world.see([RED, BLUE], [7, 8]);
    world.alerts();
    let faces = world.end([RED, BLUE], [7, 0], &[8, 99]);
    let alerts = world.alerts();
    assert_eq!(told(&alerts), [("face-disappeared".to_owned(), 8)]);
    assert_eq!(alerts[0].get::<u64>("pts").unwrap(), 40_000_000);
    assert!(faces.events.iter().any(|e| (e.kind.as_str(), e.track_id) == ("face-disappeared", 8)));
    // At the end of the stream there is no buffer any more, but the bus.
    world.rig.harness.push_event(gst::event::Eos::new());
    let alerts = world.alerts();
    assert_eq!(told(&alerts), [("face-disappeared".to_owned(), 7)]);
    assert_eq!(alerts[0].get::<&str>("name").unwrap(), "Ada");
    assert_eq!(alerts[0].get::<u64>("running-time").unwrap(), 40_000_000, "of the last picture");
}

#[test]
fn f9_small_face_moment_alerts_nobody_again() {
    let mut world = World::new(&[("confirm-count", "1"), ("min-face-size", "30")]);
    for _ in 0..30 {
        world.see([RED, BLUE], [7, 8]);
    }
    assert_eq!(world.alerts().len(), 2);
    for _ in 0..100 {
        let faces = world.see_with([RED, BLUE], [7, 8], |faces| {
            for face in &mut faces.faces {
                (face.bbox.w, face.bbox.h) = (20.0 / 128.0, 20.0 / 64.0);
            }
        });
        assert_eq!(faces.faces[0].filter, "small-face");
    }
    for _ in 0..30 {
        world.see([RED, BLUE], [7, 8]);
    }
    assert!(world.alerts().is_empty());
}

#[test]
fn t9_change_of_identity_names_both() {
    let mut world = World::new(&[("confirm-count", "1")]);
    world.see([BLUE, RED], [7, 8]);
    // Who the stranger is becomes known while the stranger is there.
    enroll(&world.folder.path().join("people.gallery"), "Cy", BLUE);
    world.rig.element.emit_by_name::<gst::Structure>("reload", &[]);
    for _ in 0..3 {
        world.see([BLUE, RED], [7, 8]);
    }
    let alerts = world.alerts();
    assert_eq!(kinds(&alerts), ["unknown-face", "known-face", "identity-changed"]);
    assert_eq!(alerts[2].get::<&str>("name").unwrap(), "Cy");
    assert!(!alerts[2].has_field("previous-name"), "it was nobody");
}

#[test]
fn t8_t9_mode_repeat_and_cooldown_are_properties_that_can_change_while_playing() {
    let mut world = World::new(&[("confirm-count", "1"), ("alert-mode", "knowns")]);
    world.see([RED, BLUE], [7, 8]);
    assert_eq!(kinds(&world.alerts()), ["known-face"]);
    world.rig.element.set_property_from_str("alert-mode", "all");
    world.see([RED, BLUE], [7, 8]);
    assert_eq!(kinds(&world.alerts()), ["unknown-face"]);
    world.rig.element.set_property_from_str("alert-repeat", "interval");
    world.rig.element.set_property("alert-interval", 400_000_000u64);
    for _ in 0..30 {
        world.see([RED, BLUE], [7, 8]);
    }
    assert_eq!(world.alerts().len(), 6, "three more times each");
    let meet = |world: &mut World, tracks: [u64; 2]| {
        world.see([RED, BLUE], tracks);
        let met = kinds(&world.alerts());
        world.end([RED, BLUE], [0, 0], &tracks);
        world.alerts();
        met
    };
    meet(&mut world, [7, 8]);
    assert_eq!(meet(&mut world, [9, 10]), ["known-face", "unknown-face"]);
    world.rig.element.set_property("alert-cooldown", 3_600_000_000_000u64);
    assert_eq!(meet(&mut world, [11, 12]), ["unknown-face"]);
    assert_eq!(world.rig.stat("alerts-cooled-down"), 2, "that she came, and that she went");
}

#[test]
fn relinked_track_neither_alerts_again_nor_is_summed_up_twice() {
    let mut world = World::new(&[("confirm-count", "1")]);
    world.sharp = true;
    for _ in 0..10 {
        world.see([RED, BLUE], [7, 8]);
    }
    assert_eq!(world.alerts().len(), 2);
    // The harness upstream agrees to everything, as facetrack does to this.
    for _ in 0..2 {
        world.see([RED, BLUE], [12, 8]);
    }
    for _ in 0..10 {
        let faces = world.see_with([RED, BLUE], [7, 8], |faces| faces.faces[0].was_id = 12);
        assert_eq!(faces.faces[0].name.as_deref(), Some("Ada"));
    }
    assert!(world.alerts().is_empty());
    world.end([RED, BLUE], [0, 8], &[12]);
    world.end([RED, BLUE], [0, 8], &[7]);
    let messages = world.rig.messages();
    let messages: Vec<_> = messages.iter().filter_map(|m| m.structure()).collect();
    let named = |name: &str| messages.iter().filter(|s| s.name() == name).collect::<Vec<_>>();
    let (alerts, tracks) = (named("face-alert"), named("face-track"));
    assert_eq!((alerts.len(), tracks.len()), (1, 1), "{messages:?}");
    assert_eq!(alerts[0].get::<&str>("event").unwrap(), "face-disappeared");
    let track = tracks[0];
    assert_eq!((track.get("track-id"), track.get("was-id")), (Ok(7u64), Ok(12u64)));
    assert_eq!(track.get::<u64>("observations").unwrap(), 22, "{track}");
}

#[test]
fn rules_by_group_ask_the_gallery() {
    let rules = r#"[{"groups":["staff"],"zones":["door"]},{"persons":["Bob"]}]"#;
    let mut world = World::with(&[("confirm-count", "1"), ("alert-rules", rules)], |gallery| {
        let mut roster = Roster::open(gallery, Access::Write).unwrap();
        let people = roster.persons().unwrap();
        let ada = people.iter().find(|p| p.name == "Ada").unwrap();
        roster.set_attributes(&ada.id, &serde_json::json!({"groups": ["staff"]})).unwrap();
    });
    world.see([RED, BLUE], [7, 8]);
    assert!(world.alerts().is_empty(), "she is not at the door");
    world.see_with([RED, BLUE], [7, 8], |faces| {
        faces.faces.iter_mut().for_each(|f| f.zones.push("door".into()));
    });
    let alerts = world.alerts();
    assert_eq!(told(&alerts), [("known-face".to_owned(), 7)]);
    let zones = alerts[0].get::<gst::Array>("zones").unwrap();
    assert_eq!(zones[0].get::<&str>().unwrap(), "door");
    world.see([GREEN, BLUE], [9, 8]);
    assert_eq!(told(&world.alerts()), [("known-face".to_owned(), 9)]);
}

#[test]
fn rules_that_are_none_fail_at_start_with_their_place() {
    common::init();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.json");
    let path = file.to_str().unwrap();
    let start = |rules: &str| {
        let element = element("facerecognize", "embedder.onnx");
        element.set_property("alert-rules", rules);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let failed = element.set_state(gst::State::Paused).is_err();
        element.set_state(gst::State::Null).unwrap();
        failed.then(|| error_of(&bus))
    };
    let error = start(r#"[{"zones":["door"]},{"persons":[7]}]"#).unwrap();
    assert!(error.matches(gst::ResourceError::Settings), "{error}");
    assert!(error.message().contains("[1].persons[0] is 7, a string is wanted"), "{error}");
    let error = start(path).unwrap();
    assert!(error.matches(gst::ResourceError::OpenRead), "{error}");
    assert!(error.message().contains(&format!("read alert-rules '{path}'")), "{error}");
    std::fs::write(&file, r#"[{"zone": ["door"]}]"#).unwrap();
    let error = start(path).unwrap();
    assert!(error.matches(gst::ResourceError::Settings), "{error}");
    assert!(error.message().contains(path) && error.message().contains("[0].zone"), "{error}");
    std::fs::write(&file, r#"[{"zones": ["front door"]}]"#).unwrap();
    assert!(start(path).is_none() && start("").is_none());
}

#[test]
fn dry_run_posts_and_counts_but_writes_no_event() {
    let mut world = World::new(&[("confirm-count", "1"), ("dry-run", "true")]);
    let faces = world.see([RED, BLUE], [7, 8]);
    assert!(faces.events.iter().all(|e| e.kind == "face-identity"), "{:?}", faces.events);
    let alerts = world.alerts();
    assert!(alerts.len() == 2 && alerts.iter().all(|a| a.get::<bool>("dry-run").unwrap()));
    assert_eq!(world.rig.stat("alerts"), 2);
}

#[test]
fn crop_comes_only_when_asked_for() {
    let mut world = World::new(&[("confirm-count", "1"), ("alert-crop", "true")]);
    world.see([RED, BLUE], [7, 8]);
    let alerts = world.alerts();
    let png = alerts[0].get::<glib::Bytes>("crop").unwrap();
    // Width and height stand first in a PNG (RFC 2083, 3.2 and 4.1.1).
    assert!(png.starts_with(b"\x89PNG\r\n") && png[16..24] == [0, 0, 0, 112, 0, 0, 0, 112]);
    world.end([RED, BLUE], [0, 0], &[7]);
    let tracks = world.rig.structures("face-track");
    assert_eq!(tracks[0].get::<glib::Bytes>("crop").unwrap(), png);
}

#[test]
fn t16_summary_at_the_end_of_a_track() {
    let mut world = World::new(&[]);
    for n in 0..50 {
        world.see_with([RED, BLUE], [7, 8], |faces| {
            let face = &mut faces.faces[0];
            face.track_state = TrackState::Confirmed;
            face.first_seen_ns = Some(0);
            if (10..20).contains(&n) {
                face.zones.push("door".into());
            }
            // The tracker never believed in the other one.
            faces.faces[1].track_state = TrackState::Tentative;
        });
    }
    assert!(world.rig.structures("face-track").is_empty());
    world.end([BLUE, BLUE], [0, 0], &[7, 8]);
    let tracks = world.rig.structures("face-track");
    let [track] = &tracks[..] else { panic!("{tracks:?}") };
    assert_eq!(track.get::<u64>("track-id").unwrap(), 7);
    assert_eq!(track.get::<u64>("first-seen").unwrap(), 0);
    assert_eq!(track.get::<u64>("last-seen").unwrap(), 49 * 40_000_000);
    assert_eq!(track.get::<u64>("observations").unwrap(), 50);
    assert_eq!(track.get::<&str>("status").unwrap(), "known");
    assert!(track.get::<bool>("confirmed").unwrap());
    assert_eq!(track.get::<&str>("name").unwrap(), "Ada");
    assert_eq!(track.get::<&str>("camera").unwrap(), "front door");
    assert!(track.get::<f64>("mean-similarity").unwrap() > 0.999);
    let votes = track.get::<gst::Array>("votes").unwrap();
    let vote = votes[0].get::<gst::Structure>().unwrap();
    assert_eq!((votes.len(), vote.get::<&str>("name").unwrap()), (1, "Ada"));
    assert!(vote.get::<u32>("votes").unwrap() >= 4, "{vote}");

    let best = track.get::<gst::Array>("best-box").unwrap();
    assert!((best[2].get::<f64>().unwrap() - 40.0 / 128.0).abs() < 1e-6, "{track}");
    // A flat colour is no good picture of a face.
    assert!(track.get::<f64>("best-quality").unwrap() < 0.1, "{track}");
    assert!(track.has_field("best-time") && !track.has_field("crop"), "{track}");
    let zones = track.get::<gst::Array>("zones").unwrap();
    let door = zones[0].get::<gst::Structure>().unwrap();
    assert_eq!((door.get("name"), door.get("dwell-time")), (Ok("door"), Ok(9 * 40_000_000u64)));
    assert_eq!(zones.len(), 1);
}

#[test]
fn t16_tracks_that_are_open_at_the_end_are_summed_up_once() {
    let ends: [fn(&mut World); 4] = [
        |world| {
            world.rig.harness.push_event(gst::event::Eos::new());
        },
        |world| {
            world.rig.harness.push_event(gst::event::FlushStart::new());
            world.rig.harness.push_event(gst::event::FlushStop::new(true));
        },
        |world| {
            world.rig.harness.push_event(gst::event::StreamStart::new("another"));
        },
        |_| (),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let mut world = World::new(&[]);
        for _ in 0..5 {
            world.see([RED, BLUE], [7, 8]);
        }
        end(&mut world);
        let ended = |world: &World| -> Vec<u64> {
            let tracks = world.rig.structures("face-track");
            tracks.iter().map(|t| t.get("track-id").unwrap()).collect()
        };
        let before_stop: &[u64] = if n == 3 { &[] } else { &[7, 8] };
        assert_eq!(ended(&world), before_stop, "{n}");
        world.rig.element.set_state(gst::State::Ready).unwrap();
        let at_stop: &[u64] = if n == 3 { &[7, 8] } else { &[] };
        assert_eq!(ended(&world), at_stop, "{n}");
        world.rig.element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn facetrack_leaves_the_summary_to_whoever_answers() {
    let world = World::new(&[]);
    let pad = world.rig.element.static_pad("sink").unwrap();
    let ask = |name: &str| pad.query(&mut gst::query::Custom::new(gst::Structure::new_empty(name)));
    assert!(ask("face-track-summary"));
    assert!(!ask("something-else"));
}

#[test]
fn explain_tells_what_was_compared() {
    let mut world = World::new(&[]);
    let idle = element("facerecognize", "embedder.onnx");
    let text: String = idle.emit_by_name("explain", &[&7u64]);
    assert_eq!(text, "The element has not started.");
    assert_eq!(world.explain(7), "There is no track 7 now: it has ended, or never was.");
    assert!(world.explain(0).starts_with("A face without a track is untracked"));
    world.see([RED, BLUE], [7, 8]);
    let text = world.explain(7);
    assert!(text.starts_with("Track 7 is confirming: perhaps \"Ada\"."), "{text}");
    assert!(text.contains("nearest with similarity 1.000, at least the threshold 0.9"), "{text}");
    assert!(text.contains("before the second, \"Bob\" with "), "{text}");
    assert!(text.contains("agree: 1, needed: 4. Votes so far: \"Ada\" 1."), "{text}");
    for _ in 0..10 {
        world.see([RED, BLUE], [7, 8]);
    }
    let text = world.explain(7);
    assert!(text.starts_with("Track 7 is known: \"Ada\"."), "{text}");
    assert!(text.contains(" Next look: in "), "{text}");
    let text = world.explain(8);
    assert!(text.starts_with("Track 8 is unknown: nobody of the gallery."), "{text}");
    assert!(text.contains(", below the threshold 0.9"), "{text}");
    world.see_with([RED, BLUE], [7, 8], |faces| faces.faces[0].landmarks = None);
    let text = world.explain(7);
    let filtered = "Track 7 is filtered (no-landmarks): the face has no landmarks. What was known \
                    of it stays: known, \"Ada\".";
    assert!(text.starts_with(filtered), "{text}");
    world.end([RED, BLUE], [0, 0], &[7]);
    assert!(world.explain(7).starts_with("There is no track 7"));
}

#[test]
fn faces_without_a_track_do_not_alert() {
    let mut world = World::new(&[("confirm-count", "1")]);
    for n in 0..10 {
        world.rig.run(frame(n, [RED, BLUE], [0, 0]));
    }
    assert!(world.alerts().is_empty());
    assert!(world.rig.structures("face-track").is_empty());
}
