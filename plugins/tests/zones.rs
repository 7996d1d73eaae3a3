//! facetrack and zones: who is in one, and who enters, leaves and stays (F3, S13).

mod meta_support;
mod track_bench;

use std::collections::BTreeMap;

use face_core::geometry::BBox;
use gst::prelude::*;
use gst_check::Harness;
use gstface::meta::{Event, Face, TrackState};
use meta_support::one_face;
use track_bench::{Bench, FRAME_MS, SIZE, face, nobody, not_looked, only, relink};

/// The left half of the picture.
const LEFT: &str = "left=0,0 0.5,0 0.5,1 0,1";
/// Faces of the bench are 0.15 wide: centres in and outside the left half.
const INSIDE: f32 = 0.2;
const OUTSIDE: f32 = 0.6;

fn bench(zones: &str) -> Bench {
    Bench::with(&[("zones", zones)])
}

/// The `face-zone` messages since the last call: event, zone, track, running time and dwell in ms.
fn told(bench: &Bench) -> Vec<(String, String, u64, u64, u64)> {
    let read = |s: gst::Structure| {
        let text = |name| s.get::<String>(name).unwrap();
        let ms = |name| s.get::<u64>(name).unwrap() / 1_000_000;
        let track = s.get("track-id").unwrap();
        (text("event"), text("zone"), track, ms("running-time"), ms("dwell-time"))
    };
    bench.messages("face-zone").into_iter().map(read).collect()
}

fn zone_event(
    event: &str,
    zone: &str,
    track: u64,
    frame: u64,
    dwell_frames: u64,
) -> (String, String, u64, u64, u64) {
    (event.to_owned(), zone.to_owned(), track, frame * FRAME_MS, dwell_frames * FRAME_MS)
}

#[test]
fn f3_faces_carry_the_names_of_their_zones() {
    let mut bench =
        bench("left=0,0 0.5,0 0.5,1 0,1; all=0,0 1,0 1,1 0,1; !nobody=0.8,0 1,0 1,1 0.8,1");
    assert_eq!(only(&bench.push(face(INSIDE))).zones, ["left", "all"]);
    let predicted = bench.push(not_looked());
    assert!(!only(&predicted).observed);
    assert_eq!(only(&predicted).zones, ["left", "all"], "as it was last seen");
    // Without a track, by its place alone.
    let mut weak = face(INSIDE);
    weak.faces.push(Face {
        id: 1,
        score: 0.3,
        bbox: BBox::new(0.6, 0.3, 0.1, 0.1),
        ..weak.faces[0].clone()
    });
    weak.faces.push(Face {
        id: 2,
        score: 0.3,
        bbox: BBox::new(0.8, 0.3, 0.1, 0.1),
        ..weak.faces[0].clone()
    });
    let out = bench.push(weak);
    assert_eq!((out.faces[1].track_id, &out.faces[1].zones[..]), (0, &["all".to_owned()][..]));
    assert!(out.faces[2].zones.is_empty(), "excluded");
}

#[test]
fn f3_zones_hold_at_other_sizes_and_pixels_are_the_detectors() {
    let pixels = "left=0,0 320,0 320,480 0,480 px";
    for zones in [LEFT, pixels] {
        let mut bench = bench(zones);
        assert_eq!(only(&bench.push(face(INSIDE))).zones, ["left"]);
        // A videoscale upstream: other caps, the same metadata.
        bench
            .harness
            .set_src_caps_str("video/x-raw,format=I420,width=160,height=120,framerate=25/1");
        assert_eq!(only(&bench.push(face(INSIDE))).zones, ["left"], "{zones}");
        // The detector sees a larger picture of the same scene.
        let larger = one_face(0, (SIZE.0 * 2, SIZE.1 * 2), face(0.3).faces[0].bbox);
        let expected: &[String] = if zones == LEFT { &["left".to_owned()] } else { &[] };
        assert_eq!(only(&bench.push(larger)).zones, expected, "{zones}");
    }
}

#[test]
fn s13_events_are_told_and_held_in_the_metadata_for_a_second() {
    let mut bench = bench(LEFT);
    bench.harness.element().unwrap().set_property("camera", "gate");
    let mut frames: BTreeMap<String, (Event, Vec<u64>)> = BTreeMap::new();
    for n in 0..80u64 {
        let x = if (20..40).contains(&n) { 0.38 } else { 0.48 };
        for event in bench.push(face(x)).events {
            let (first, seen) =
                frames.entry(event.id.clone()).or_insert_with(|| (event.clone(), Vec::new()));
            assert_eq!(*first, event, "the same on every buffer");
            seen.push(n);
        }
    }
    let messages = bench.messages("face-zone");
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(frames.len(), 2, "{frames:?}");
    let (entered, left) = (20, 40);
    for (message, (kind, at)) in messages.iter().zip([("enter", entered), ("exit", left)]) {
        let id = message.get::<String>("event-id").unwrap();
        let (event, seen) = &frames[&id];
        assert_eq!(event.kind, format!("zone-{kind}"));
        assert_eq!((message.get::<&str>("event"), event.zone.as_deref()), (Ok(kind), Some("left")));
        assert_eq!((event.track_id, event.camera.as_deref()), (1, Some("gate")));
        assert_eq!(event.running_time_ns, Some(at * FRAME_MS * 1_000_000));
        assert_eq!(message.get::<u64>("running-time").ok(), event.running_time_ns);
        assert_eq!(message.get::<u64>("dwell-time").ok(), event.dwell_ns);
        assert_eq!(message.get::<String>("utc").ok(), event.utc);
        assert_eq!(message.get::<&str>("camera"), Ok("gate"));
        assert_eq!(*seen, (at..at + 25).collect::<Vec<_>>(), "one second of 25 frames");
    }
}

#[test]
fn s13_every_second_buffer_may_be_lost() {
    let mut bench = bench(LEFT);
    let mut seen = Vec::new();
    for n in 0..60u64 {
        let out =
            bench.push(if n == 31 { face(0.4) } else { face(if n < 32 { 0.3 } else { 0.5 }) });
        if n % 2 == 1 {
            seen.extend(out.events.into_iter().map(|e| (e.id, e.kind)));
        }
    }
    let told: Vec<(String, String)> = bench
        .messages("face-zone")
        .iter()
        .map(|s| {
            (
                s.get::<String>("event-id").unwrap(),
                format!("zone-{}", s.get::<&str>("event").unwrap()),
            )
        })
        .collect();
    assert_eq!(
        told.iter().map(|(_, kind)| kind.as_str()).collect::<Vec<_>>(),
        ["zone-enter", "zone-exit"]
    );
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), told.len());
    assert!(told.iter().all(|e| seen.contains(e)), "{seen:?}");
}

#[test]
fn s13_dwell_is_told_after_each_zone_dwell_time() {
    let mut bench = bench(LEFT);
    let element = bench.harness.element().unwrap();
    element.set_property("zone-dwell-time", 400_000_000u64);
    for _ in 0..25 {
        bench.push(face(INSIDE));
    }
    let expected = [
        zone_event("enter", "left", 1, 0, 0),
        zone_event("dwell", "left", 1, 10, 10),
        zone_event("dwell", "left", 1, 20, 20),
    ];
    assert_eq!(told(&bench), expected);
    element.set_property("zone-dwell-time", 0u64);
    for _ in 0..25 {
        bench.push(face(INSIDE));
    }
    assert!(told(&bench).is_empty());
}

#[test]
fn s13_trembling_on_a_border_is_told_once() {
    let mut bench = bench(LEFT);
    for n in 0..100 {
        // The centre goes 0.02 over the border and back, the face is 0.15 wide.
        bench.push(face(0.425 + if n % 2 == 0 { -0.02 } else { 0.02 }));
    }
    assert_eq!(told(&bench), [zone_event("enter", "left", 1, 0, 0)]);
}

#[test]
fn tracks_that_end_leave_their_zones_and_the_summary_knows_how_long_they_stayed() {
    let mut bench = bench("left=0,0 0.5,0 0.5,1 0,1; right=0.5,0 1,0 1,1 0.5,1");
    for n in 0..20u8 {
        // Best where it is largest.
        let mut frame = face(INSIDE);
        let grown = if n == 7 { 0.03 } else { 0.0 };
        frame.faces[0].bbox = BBox::new(INSIDE, 0.3, 0.1 + grown, 0.15 + grown);
        bench.push(frame);
    }
    bench.harness.push_event(gst::event::Eos::new());
    let mut all: Vec<gst::Structure> =
        std::iter::from_fn(|| bench.bus.pop_filtered(&[gst::MessageType::Element]))
            .map(|m| m.structure().unwrap().to_owned())
            .collect();
    let summary = all.pop().unwrap();
    let names: Vec<_> =
        all.iter().map(|s| (s.name().as_str(), s.get::<&str>("event").unwrap())).collect();
    assert_eq!(names, [("face-zone", "enter"), ("face-zone", "exit")], "before the summary");
    assert_eq!(summary.name(), "face-track");
    let zones = summary.get::<gst::Array>("zones").unwrap();
    let [zone] = zones.as_slice() else { panic!("{summary}") };
    let zone = zone.get::<gst::Structure>().unwrap();
    assert_eq!(zone.get::<&str>("name"), Ok("left"));
    assert_eq!(zone.get::<u64>("dwell-time"), Ok(19 * FRAME_MS * 1_000_000));
    let best = summary.get::<gst::Array>("best-box").unwrap();
    let best: Vec<f64> = best.iter().map(|v| v.get().unwrap()).collect();
    assert!((best[2] - 0.13).abs() < 1e-6 && best.len() == 4, "{best:?}");
    assert_eq!(summary.get::<u64>("best-time"), Ok(7 * FRAME_MS * 1_000_000));
}

#[test]
fn exits_at_a_flush_stand_in_the_metadata_that_follows() {
    let mut bench = bench(LEFT);
    bench.push(face(INSIDE));
    bench.harness.push_event(gst::event::FlushStart::new());
    bench.harness.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    bench.harness.push_event(gst::event::Segment::new(&segment));
    let next = bench.push(nobody());
    let kinds: Vec<_> = next.events.iter().map(|e| (e.kind.as_str(), e.track_id)).collect();
    assert_eq!((kinds, next.ended_tracks), (vec![("zone-exit", 1)], vec![1]));
    assert_eq!(told(&bench).len(), 2);
}

#[test]
fn clutter_is_told_of_no_zone() {
    let mut bench = bench(LEFT);
    bench.push(nobody());
    let out = bench.push(face(INSIDE));
    assert_eq!(only(&out).track_state, TrackState::Tentative);
    assert_eq!((&only(&out).zones[..], out.events.len()), (&["left".to_owned()][..], 0));
    bench.push(nobody());
    assert!(told(&bench).is_empty());
}

#[test]
fn zones_change_while_playing_and_wrong_ones_leave_the_old_with_a_warning() {
    let mut bench = bench(LEFT);
    bench.push(face(INSIDE));
    assert_eq!(told(&bench), [zone_event("enter", "left", 1, 0, 0)]);
    let element = bench.harness.element().unwrap();
    element.set_property("zones", "left=0,0 0.5");
    assert_eq!(only(&bench.push(face(INSIDE))).zones, ["left"]);
    let warnings = bench.warnings();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].matches(gst::ResourceError::Settings));
    let text = warnings[0].message();
    assert!(text.contains("zone 'left' has 2 points; give 3"), "{text}");
    element.set_property("zones", "other=0,0 1,0 1,1 0,1");
    assert_eq!(only(&bench.push(face(INSIDE))).zones, ["other"]);
    element.set_property("zones", None::<&str>);
    assert!(only(&bench.push(face(INSIDE))).zones.is_empty());
    let expected = [
        zone_event("exit", "left", 1, 1, 1),
        zone_event("enter", "other", 1, 2, 0),
        zone_event("exit", "other", 1, 2, 0),
    ];
    assert_eq!(told(&bench), expected);
    assert!(bench.warnings().is_empty());
}

#[test]
fn zones_that_cannot_work_fail_at_start() {
    meta_support::init();
    for (zones, word) in [
        ("door=0,0 1,0 1,1; door=0,0 1,0 1,1", "zone 'door' is there twice"),
        ("door=0,0 640,0 640,480", "640 is no fraction"),
        ("nothing", "zone 1 is 'nothing'; write name=x,y"),
    ] {
        let element =
            gst::ElementFactory::make("facetrack").property("zones", zones).build().unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err());
        let message = bus.pop_filtered(&[gst::MessageType::Error]).unwrap();
        let gst::MessageView::Error(error) = message.view() else { panic!("{message:?}") };
        assert!(error.error().matches(gst::ResourceError::Settings));
        assert!(error.error().message().contains(word), "{}", error.error());
        element.set_state(gst::State::Null).unwrap();
    }
}

/// Pushes a face that is lost, and then one elsewhere, which is track 2.
fn lost_and_new(bench: &mut Bench) {
    for _ in 0..10 {
        bench.push(face(INSIDE));
    }
    for _ in 0..5 {
        bench.push(nobody());
    }
    for _ in 0..3 {
        let out = bench.push(face(OUTSIDE));
        assert!(out.faces.iter().any(|f| f.track_id == 2 && f.was_id == 0), "{out:?}");
    }
}

#[test]
fn relinked_faces_carry_the_old_id_from_the_next_buffer_on() {
    let mut bench = bench(LEFT);
    lost_and_new(&mut bench);
    assert!(bench.harness.push_upstream_event(relink(2, 1)));
    for n in 0..3 {
        let out = bench.push(if n == 1 { not_looked() } else { face(OUTSIDE) });
        let face = only(&out);
        assert_eq!((face.track_id, face.was_id, face.observed), (1, 2, n != 1), "{n}");
        assert_eq!((face.track_state, face.first_seen_ns), (TrackState::Confirmed, Some(0)));
        assert!(out.ended_tracks.is_empty());
    }
    let all: Vec<_> = std::iter::from_fn(|| bench.bus.pop_filtered(&[gst::MessageType::Element]))
        .map(|m| m.structure().unwrap().to_owned())
        .collect();
    let relinked: Vec<_> = all.iter().filter(|s| s.name() == "face-track-relinked").collect();
    let [message] = &relinked[..] else { panic!("{all:?}") };
    assert_eq!((message.get("track-id"), message.get("was-id")), (Ok(1u64), Ok(2u64)));
    assert_eq!(message.get::<u64>("running-time"), Ok(17 * FRAME_MS * 1_000_000));
    assert_eq!(bench.stat("relinked-tracks"), 1);
    // It left the zone where it was last seen before.
    let exit = all.last().unwrap();
    assert_eq!((exit.get("event"), exit.get("track-id")), (Ok("exit"), Ok(1u64)));
    assert_eq!(exit.get::<u64>("running-time"), Ok(9 * FRAME_MS * 1_000_000));
    bench.harness.push_event(gst::event::Eos::new());
    assert_eq!(bench.summaries(), [(1, 0, 20 * FRAME_MS, 10 + 3 + 2)]);
}

#[test]
fn relinks_that_cannot_be_are_refused() {
    let mut bench = Bench::new();
    lost_and_new(&mut bench);
    for (new, old) in [(1, 2), (2, 2), (2, 7), (7, 1), (0, 1)] {
        assert!(!bench.harness.push_upstream_event(relink(new, old)), "{new} as {old}");
    }
    assert!(bench.harness.push_upstream_event(relink(2, 1)));
    assert!(!bench.harness.push_upstream_event(relink(2, 1)), "once only");
    assert_eq!(bench.messages("face-track-relinked").len(), 1);
    // A structure of that name with other contents is no such event.
    let other = gst::event::CustomUpstream::new(gst::Structure::new_empty("face-relink"));
    bench.harness.push_upstream_event(other);
    assert_eq!(only(&bench.push(face(OUTSIDE))).track_id, 1);
}

#[test]
fn an_id_that_nobody_saw_given_up_is_listed_as_ended() {
    let mut bench = Bench::new();
    lost_and_new(&mut bench);
    assert!(bench.harness.push_upstream_event(relink(2, 1)));
    bench.harness.push_event(gst::event::FlushStart::new());
    bench.harness.push_event(gst::event::FlushStop::new(true));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    bench.harness.push_event(gst::event::Segment::new(&segment));
    assert_eq!(bench.push(nobody()).ended_tracks, [2, 1]);
}

#[test]
fn the_summary_is_left_to_whoever_answers_for_it() {
    for answers in [false, true] {
        meta_support::init();
        let bin =
            gst::parse::bin_from_description("facetrack name=track ! identity name=next", true)
                .unwrap();
        let next = bin.by_name("next").unwrap().static_pad("sink").unwrap();
        next.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, move |_, info| {
            let asked =
                info.query().and_then(|q| q.structure()).map(|s| s.name() == "face-track-summary");
            if asked == Some(true) && answers {
                gst::PadProbeReturn::Handled
            } else {
                gst::PadProbeReturn::Ok
            }
        });
        let bus = gst::Bus::new();
        let mut harness = Harness::with_element(&bin, Some("sink"), Some("src"));
        bin.set_bus(Some(&bus));
        harness.set_src_caps_str("video/x-raw,format=I420,width=640,height=480,framerate=25/1");
        let mut buffer = gst::Buffer::new();
        face(INSIDE).write(buffer.get_mut().unwrap());
        harness.push(buffer).unwrap();
        harness.push_event(gst::event::Eos::new());
        let summaries = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Element]))
            .filter(|m| m.structure().is_some_and(|s| s.name() == "face-track"))
            .count();
        assert_eq!(summaries, usize::from(!answers));
    }
}

#[test]
fn t3_every_frame_has_the_box_of_every_track_so_that_a_trail_needs_no_state_of_ours() {
    let mut bench = Bench::new();
    let mut trail = Vec::new();
    for n in 0..30u8 {
        let x = 0.2 + 0.01 * f32::from(n);
        let out = bench.push(match n % 5 {
            3 if n > 10 => nobody(),
            4 => not_looked(),
            _ => face(x),
        });
        trail.extend(out.faces.iter().filter(|f| f.track_id == 1).map(|f| f.bbox));
    }
    assert_eq!(trail.len(), 30);
    assert!(trail.is_sorted_by(|a, b| b.x > a.x && b.x - a.x < 0.025), "{trail:?}");
}

#[test]
fn t5_tracks_that_are_over_leave_nothing_behind() {
    let mut bench = Bench::with(&[("zones", LEFT), ("max-lost-time", "100000000")]);
    let mut ended = 0;
    for n in 0..600u64 {
        // Another place every second, with a pause between.
        let x = 0.1 + 0.2 * ((n / 25) % 4) as f32;
        let out = bench.push(if n % 25 < 18 { face(x) } else { nobody() });
        ended += out.ended_tracks.len() as u64;
        let bound = out.events.len() + out.faces.len();
        assert!(bound < 16, "frame {n}: {bound}");
        assert!(bench.stat("live-tracks") <= 2, "frame {n}");
    }
    assert!(ended >= 23 && bench.stat("ended-tracks") == ended, "{ended}");
    for _ in 0..30 {
        bench.push(nobody());
    }
    assert_eq!(bench.stat("live-tracks"), 0);
    assert!(bench.push(nobody()).events.is_empty());
}
