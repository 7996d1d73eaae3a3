//! The element facetrack: track ids over missed and skipped frames, and what ends a track.

mod meta_support;
mod track_bench;

use face_core::geometry::BBox;
use face_core::identity::Status;
use gst::prelude::*;
use gstface::meta::{Face, FrameFaces, META_NAME, TrackState};
use meta_support::{init, one_face, rois};
use track_bench::{Bench, FRAME_MS, face, nobody, not_looked, only};

#[test]
fn ids_are_stable_over_missed_detections_and_predicted_between() {
    let mut bench = Bench::new();
    for n in 0..40u8 {
        let x = 0.2 + 0.01 * f32::from(n);
        let missed = n >= 10 && n % 5 < 2;
        let out = bench.push(if missed { nobody() } else { face(x) });
        let out = only(&out);
        assert_eq!((out.track_id, out.observed), (1, !missed), "frame {n}");
        let state = if missed { TrackState::Lost } else { TrackState::Confirmed };
        assert_eq!((out.track_state, out.first_seen_ns), (state, Some(0)), "frame {n}");
        assert_eq!(out.status, Status::Identifying);
        assert!(out.bbox.iou(&BBox::new(x, 0.3, 0.15, 0.25)) > 0.9, "frame {n}: {:?}", out.bbox);
    }
    assert!(bench.summaries().is_empty());
}

#[test]
fn frames_that_were_not_looked_at_get_predicted_boxes() {
    let mut bench = Bench::new();
    for n in 0..30u8 {
        let x = 0.2 + 0.01 * f32::from(n);
        let looked = n < 6 || n % 3 == 0;
        let out = bench.push(if looked { face(x) } else { not_looked() });
        assert_eq!(out.looked, looked);
        let out = only(&out);
        assert_eq!((out.track_id, out.observed), (1, looked), "frame {n}");
        assert_eq!(out.track_state, TrackState::Confirmed, "frame {n}");
        assert!(out.bbox.iou(&BBox::new(x, 0.3, 0.15, 0.25)) > 0.85, "frame {n}: {:?}", out.bbox);
    }
}

#[test]
fn boxes_are_followed_in_square_pixels() {
    // A fall of 1.6 box sizes, within the tracker's reach of 2, in pixels twice as wide as high;
    // the same fractions of a picture of square pixels are a fall of 2.3 narrower boxes.
    let id_after_a_fall = |par| {
        let mut bench = Bench::new();
        let at = |y| FrameFaces { par, ..one_face(0, (360, 576), BBox::new(0.4, y, 0.05, 0.08)) };
        bench.push(at(0.3));
        // Long enough later for the tracker to expect it anywhere near.
        bench.frames = 20;
        bench.push(at(0.417)).faces[0].track_id
    };
    assert_eq!(id_after_a_fall((32, 15)), 1);
    assert_eq!(id_after_a_fall((1, 1)), 2);
}

#[test]
fn a_status_that_somebody_gave_stays() {
    let mut bench = Bench::new();
    let mut known = face(0.3);
    known.faces[0].status = Status::Known;
    known.faces[0].name = Some("Ada".into());
    let out = bench.push(known);
    assert_eq!((only(&out).status, only(&out).name.as_deref()), (Status::Known, Some("Ada")));
}

#[test]
fn faces_of_low_score_get_no_track() {
    let mut bench = Bench::new();
    let mut weak = face(0.3);
    weak.faces[0].score = 0.3;
    let out = bench.push(weak);
    assert_eq!((only(&out).track_id, only(&out).status), (0, Status::Untracked));
    assert_eq!(bench.stat("live-tracks"), 0);
}

#[test]
fn a_track_lost_for_too_long_ends_and_is_summed_up() {
    let mut bench = Bench::with(&[("max-lost-time", "200000000")]);
    for _ in 0..5 {
        bench.push(face(0.3));
    }
    let ended: Vec<(u64, Vec<u64>)> = (5..15)
        .map(|n| (n, bench.push(nobody()).ended_tracks))
        .filter(|(_, ended)| !ended.is_empty())
        .collect();
    // Last seen at 160 ms; 400 ms is the first frame more than 200 ms later.
    assert_eq!(ended, [(10, vec![1])]);
    assert_eq!(bench.summaries(), [(1, 0, 160, 5)]);
    assert_eq!((bench.stat("ended-tracks"), bench.stat("live-tracks")), (1, 0));
    assert_eq!(only(&bench.push(face(0.3))).track_id, 2);
}

#[test]
fn a_track_that_was_never_confirmed_ends_without_a_message() {
    let mut bench = Bench::new();
    bench.push(nobody());
    assert_eq!(only(&bench.push(face(0.3))).track_state, TrackState::Tentative);
    assert_eq!(bench.push(nobody()).ended_tracks, [1]);
    assert!(bench.summaries().is_empty());
}

#[test]
fn a_flush_ends_tracks_and_ids_go_on() {
    let mut bench = Bench::new();
    bench.push(face(0.3));
    bench.push(face(0.3));
    assert!(bench.harness.push_event(gst::event::FlushStart::new()));
    assert!(bench.harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(bench.harness.push_event(gst::event::Segment::new(&segment)));
    bench.frames = 0;
    let out = bench.push(face(0.3));
    assert_eq!((only(&out).track_id, only(&out).first_seen_ns), (2, Some(0)));
    assert_eq!(out.ended_tracks, [1]);
    assert_eq!(bench.summaries(), [(1, 0, 40, 2)]);
}

#[test]
fn a_new_stream_ends_tracks() {
    let mut bench = Bench::new();
    bench.push(face(0.3));
    assert!(bench.harness.push_event(gst::event::StreamStart::new("another")));
    assert_eq!(only(&bench.push(face(0.3))).track_id, 2);
    assert_eq!(bench.summaries(), [(1, 0, 0, 1)]);
}

#[test]
fn only_a_discontinuity_with_a_jump_ends_tracks() {
    let mut bench = Bench::new();
    let mut at = |ms, flags| {
        let out = bench.push_at(Some(gst::ClockTime::from_mseconds(ms)), flags, face(0.3));
        only(&out).track_id
    };
    let discont = gst::BufferFlags::DISCONT;
    assert_eq!(at(0, discont), 1);
    assert_eq!(at(40, discont), 1);
    assert_eq!(at(900, discont), 1);
    assert_eq!(at(60_000, discont), 2);
    assert_eq!(at(30_000, discont), 3);
}

#[test]
fn a_caps_change_keeps_tracks() {
    let mut bench = Bench::new();
    for n in 0..20u8 {
        let x = 0.2 + 0.01 * f32::from(n);
        let mut frame = face(x);
        if n == 10 {
            bench
                .harness
                .set_src_caps_str("video/x-raw,format=NV12,width=1280,height=720,framerate=25/1");
        }
        if n >= 10 {
            (frame.width, frame.height) = (1280, 720);
        }
        let mut buffer = gst::Buffer::new();
        frame.write(buffer.get_mut().unwrap());
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(u64::from(n) * FRAME_MS));
        let buffer = bench.push_buffer(buffer);
        let out = FrameFaces::read(&buffer).unwrap().unwrap();
        assert_eq!(only(&out).track_id, 1, "frame {n}");
        let (width, height) = if n >= 10 { (1280.0, 720.0) } else { (640.0, 480.0) };
        let (_, rect, params) = rois(&buffer).remove(0);
        assert_eq!((rect.0, rect.1), ((x * width) as u32, (0.3 * height) as u32), "frame {n}");
        assert_eq!(params, ["detection", "object_id"]);
    }
}

#[test]
fn the_end_of_the_stream_sums_up_and_comes_after_the_messages() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.push(face(0.3));
    }
    assert!(bench.harness.push_event(gst::event::Eos::new()));
    assert_eq!(bench.summaries(), [(1, 0, 80, 3)]);
    let mut events = std::iter::from_fn(|| bench.harness.try_pull_event());
    assert!(events.any(|e| e.type_() == gst::EventType::Eos));
}

#[test]
fn stopping_and_starting_again_uses_no_id_twice() {
    let mut bench = Bench::new();
    bench.push(face(0.3));
    let element = bench.harness.element().unwrap();
    element.set_state(gst::State::Ready).unwrap();
    assert_eq!(bench.summaries(), [(1, 0, 0, 1)]);
    element.set_state(gst::State::Playing).unwrap();
    bench.harness.push_event(gst::event::StreamStart::new("again"));
    bench.harness.set_src_caps_str("video/x-raw,format=I420,width=640,height=480,framerate=25/1");
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    bench.harness.push_event(gst::event::Segment::new(&segment));
    assert_eq!(only(&bench.push(face(0.3))).track_id, 2);
}

#[test]
fn buffers_without_pts_follow_the_frame_rate() {
    let mut bench = Bench::with(&[("max-lost-time", "200000000")]);
    let none = gst::BufferFlags::empty();
    bench.push_at(None, none, face(0.3));
    let mut frames = 0;
    while bench.push_at(None, none, nobody()).ended_tracks.is_empty() {
        frames += 1;
        assert!(frames < 20);
    }
    assert_eq!(frames, 5);
}

#[test]
fn a_malformed_meta_passes_unchanged_and_is_counted() {
    let mut bench = Bench::new();
    let mut buffer = gst::Buffer::new();
    let b = buffer.get_mut().unwrap();
    face(0.3).write(b);
    let mut custom = gst::meta::CustomMeta::from_mut_buffer(b, META_NAME).unwrap();
    custom.mut_structure().set("width", "wide");
    let before = custom.structure().to_string();
    let out = bench.push_buffer(buffer);
    let after =
        gst::meta::CustomMeta::from_buffer(&out, META_NAME).unwrap().structure().to_string();
    assert_eq!(after, before);
    assert_eq!((bench.stat("malformed"), bench.stat("buffers")), (1, 1));
    assert_eq!(only(&bench.push(face(0.3))).track_id, 1);
}

#[test]
fn sixty_buffers_without_meta_give_one_warning_that_names_the_alias() {
    let mut bench = Bench::new();
    let mut push = |n: usize| {
        for _ in 0..n {
            bench.push_buffer(gst::Buffer::new());
        }
        bench.warnings()
    };
    assert!(push(59).is_empty());
    let warnings = push(1);
    assert_eq!(warnings.len(), 1);
    let text = warnings[0].message();
    assert!(text.contains("onnxfacedetect"), "{text}");
    if let Some(owner) = gst::ElementFactory::find("facedetect").and_then(|f| f.plugin()) {
        assert!(text.contains(&format!("plugin '{}'", owner.plugin_name())), "{text}");
    }
    assert!(warnings[0].matches(gst::StreamError::WrongType));
    assert!(push(200).is_empty());
    assert_eq!(bench.stat("without-meta"), 260);
}

#[test]
fn settings_that_cannot_work_fail_at_start() {
    init();
    let element =
        gst::ElementFactory::make("facetrack").property("high-threshold", 0.9f32).build().unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let message = bus.pop_filtered(&[gst::MessageType::Error]).unwrap();
    let gst::MessageView::Error(error) = message.view() else { panic!("{message:?}") };
    assert!(error.error().matches(gst::ResourceError::Settings));
    assert!(error.error().message().contains("high_threshold"), "{}", error.error());
    element.set_property("high-threshold", 0.5f32);
    element.set_state(gst::State::Paused).unwrap();
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn settings_change_while_playing_and_refused_ones_leave_the_old() {
    let mut bench = Bench::new();
    assert_eq!(only(&bench.push(face(0.3))).track_id, 1);
    let element = bench.harness.element().unwrap();
    element.set_property("low-threshold", 0.8f32);
    assert_eq!(only(&bench.push(face(0.3))).track_id, 1);
    let warnings = bench.warnings();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].matches(gst::ResourceError::Settings));
    element.set_property("new-threshold", 1f32);
    element.set_property("high-threshold", 0.95f32);
    // 0.9 is now a low score: it continues the track, and opens none.
    let mut two = face(0.3);
    two.faces.push(Face { id: 1, bbox: BBox::new(0.7, 0.3, 0.15, 0.25), ..two.faces[0].clone() });
    let out = bench.push(two);
    assert_eq!([out.faces[0].track_id, out.faces[1].track_id], [1, 0]);
    assert!(bench.warnings().is_empty());
}

#[test]
fn a_buffer_held_elsewhere_is_not_changed_and_its_memory_is_shared() {
    let mut bench = Bench::new();
    let mut buffer = gst::Buffer::from_mut_slice(vec![9u8; 640 * 480 * 3 / 2]);
    face(0.3).write(buffer.get_mut().unwrap());
    let held = buffer.clone();
    let out = bench.push_buffer(buffer);
    assert_eq!(FrameFaces::read(&held).unwrap().unwrap(), face(0.3));
    assert_eq!(only(&FrameFaces::read(&out).unwrap().unwrap()).track_id, 1);
    let address = |b: &gst::Buffer| b.peek_memory(0).map_readable().unwrap().as_ptr();
    assert_eq!(address(&held), address(&out));
}

/// A picture of one shade of grey, in the caps of the bench, with a face.
fn shade(luma: u8) -> gst::Buffer {
    let mut data = vec![luma; 640 * 480];
    data.extend(vec![128; 640 * 480 / 2]);
    let mut buffer = gst::Buffer::from_mut_slice(data);
    face(0.3).write(buffer.get_mut().unwrap());
    buffer
}

/// Pushes 25 frames, the scene changing with the twelfth; the ids of the tracks on them.
fn two_scenes(bench: &mut Bench, picture: impl Fn(u8) -> gst::Buffer) -> Vec<u64> {
    (0..25)
        .map(|n| {
            let mut buffer = picture(if n < 12 { 40 } else { 200 });
            let time = gst::ClockTime::from_mseconds(n * FRAME_MS);
            buffer.get_mut().unwrap().set_pts(time);
            let out = FrameFaces::read(&bench.push_buffer(buffer)).unwrap().unwrap();
            only(&out).track_id
        })
        .collect()
}

/// The `face-scene-cut` messages since the last call: running time in ms, and score.
fn scene_cuts(bench: &Bench) -> Vec<(u64, f64)> {
    let messages = std::iter::from_fn(|| bench.bus.pop_filtered(&[gst::MessageType::Element]));
    messages
        .filter_map(|m| m.structure().map(|s| s.to_owned()))
        .filter(|s| s.name() == "face-scene-cut")
        .map(|s| (s.get::<u64>("running-time").unwrap() / 1_000_000, s.get("score").unwrap()))
        .collect()
}

#[test]
fn t21_a_scene_cut_ends_all_tracks_and_is_told_once() {
    let mut bench = Bench::with(&[("scene-cut", "true")]);
    let ids = two_scenes(&mut bench, shade);
    assert_eq!(ids, [[1; 12].as_slice(), &[2; 13]].concat());
    assert_eq!((bench.stat("scene-cuts"), bench.stat("ended-tracks")), (1, 1));
    let cuts = scene_cuts(&bench);
    // A third of the step from 40 to 200, in full range.
    let expected = 160.0 * 255.0 / 219.0 / 3.0;
    assert!(matches!(cuts[..], [(480, score)] if (score - expected).abs() < 0.1), "{cuts:?}");
}

#[test]
fn t21_scene_cuts_are_off_by_default_and_switched_while_playing() {
    let mut bench = Bench::new();
    assert_eq!(two_scenes(&mut bench, shade), [1; 25]);
    let element = bench.harness.element().unwrap();
    element.set_property("scene-cut", true);
    element.set_property("scene-cut-score", 70.0f32);
    let again = |bench: &mut Bench| {
        bench.harness.push_event(gst::event::StreamStart::new("again"));
        let caps = "video/x-raw,format=I420,width=640,height=480,framerate=25/1";
        bench.harness.set_src_caps_str(caps);
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        bench.harness.push_event(gst::event::Segment::new(&segment));
        two_scenes(bench, shade)
    };
    assert_eq!(again(&mut bench), [2; 25], "not that different");
    element.set_property("scene-cut-score", 60.0f32);
    assert_eq!(again(&mut bench)[11..13], [3, 4]);
    element.set_property("scene-cut", false);
    assert_eq!(again(&mut bench), [5; 25]);
    assert!(bench.warnings().is_empty());
}

#[test]
fn scene_cuts_are_found_on_frames_without_a_look_or_metadata() {
    let mut bench = Bench::with(&[("scene-cut", "true")]);
    for n in 0..25u64 {
        let luma = if n < 13 { 40 } else { 200 };
        let mut buffer = shade(luma);
        let b = buffer.get_mut().unwrap();
        b.set_pts(gst::ClockTime::from_mseconds(n * FRAME_MS));
        if n % 4 != 0 {
            let mut custom = gst::meta::CustomMeta::from_mut_buffer(b, META_NAME).unwrap();
            custom.mut_structure().set("looked", false);
            custom.mut_structure().remove_field("faces");
        }
        bench.push_buffer(buffer);
    }
    assert_eq!(scene_cuts(&bench).iter().map(|c| c.0).collect::<Vec<_>>(), [13 * FRAME_MS]);
    for n in 25..50 {
        let mut buffer = shade(if n < 40 { 200 } else { 40 });
        let b = buffer.get_mut().unwrap();
        b.set_pts(gst::ClockTime::from_mseconds(n * FRAME_MS));
        gst::meta::CustomMeta::from_mut_buffer(b, META_NAME).unwrap().remove().unwrap();
        bench.push_buffer(buffer);
    }
    assert_eq!(scene_cuts(&bench).iter().map(|c| c.0).collect::<Vec<_>>(), [40 * FRAME_MS]);
}

#[test]
fn scene_cuts_read_the_picture_and_copy_nothing() {
    let mut bench = Bench::with(&[("scene-cut", "true")]);
    let held = shade(40);
    let out = bench.push_buffer(held.clone());
    let address = |b: &gst::Buffer| b.peek_memory(0).map_readable().unwrap().as_ptr();
    assert_eq!(address(&held), address(&out));
}

#[test]
fn pictures_that_cannot_be_looked_at_pass_with_one_warning() {
    let mut bench = Bench::with(&[("scene-cut", "true")]);
    bench.harness.set_src_caps_str("video/x-raw,format=YUY2,width=640,height=480,framerate=25/1");
    let packed = |luma: u8| {
        let mut buffer = gst::Buffer::from_mut_slice([luma, 128].repeat(640 * 480));
        face(0.3).write(buffer.get_mut().unwrap());
        buffer
    };
    assert_eq!(two_scenes(&mut bench, packed), [1; 25]);
    let warnings = bench.warnings();
    assert_eq!(warnings.len(), 1);
    let text = warnings[0].message();
    assert!(text.contains("YUY2") && text.contains("videoconvert"), "{text}");
    // Buffers shorter than their caps say.
    let empty = |_| {
        let mut buffer = gst::Buffer::new();
        face(0.3).write(buffer.get_mut().unwrap());
        buffer
    };
    bench.harness.set_src_caps_str("video/x-raw,format=I420,width=640,height=480,framerate=25/1");
    assert_eq!(two_scenes(&mut bench, empty).len(), 25);
    assert_eq!(bench.warnings().len(), 1);
}

#[test]
fn what_downstream_accepts_is_offered_upstream() {
    let mut bench = Bench::new();
    bench.harness.add_propose_allocation_meta(gst_video::VideoMeta::meta_api(), None);
    bench.push(face(0.3));
    let caps: gst::Caps =
        "video/x-raw,format=I420,width=640,height=480,framerate=25/1".parse().unwrap();
    let mut query = gst::query::Allocation::new(Some(&caps), true);
    let pad = bench.harness.element().unwrap().static_pad("sink").unwrap();
    assert!(pad.query(&mut query));
    assert!(query.find_allocation_meta::<gst_video::VideoMeta>().is_some());
}
