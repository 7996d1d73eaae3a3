//! clipsink over coded streams: what is kept, and how.

mod clip_support;

use clip_support::*;
use face_core::clip::Part;
use gst::prelude::*;

/// Plays a stream with metadata on its own buffers, and one event at `at_ns`.
fn record(stream: &Coded, at_ns: u64) -> Scene {
    let scene = Scene::new();
    let source = scene.source("sink", &stream.caps);
    scene.play();
    let mut told = false;
    for buffer in &stream.buffers {
        let now = !told && pts(buffer).is_some_and(|pts| pts >= at_ns);
        told |= now;
        let events = if now { vec![event("a", at_ns)] } else { Vec::new() };
        source.push_buffer(with_meta(buffer, &events)).unwrap();
    }
    source.end_of_stream().unwrap();
    scene
}

/// The file of the only clip, which is there for as long as the scene.
fn only(scene: &Scene) -> (std::path::PathBuf, face_core::clip::Sidecar) {
    scene.finish();
    let mut clips = scene.clips(1);
    let (clip, sidecar) = clips.remove(0);
    (scene.file(&clip, Part::Original), sidecar)
}

/// The clip holds a piece of the stream, picture by picture, bit by bit.
fn assert_exact(stream: &Coded, codec: &str, expected: usize) {
    let scene = record(stream, 4 * S);
    let (file, sidecar) = only(&scene);
    let clip = demuxed(&file, codec);
    assert_eq!(clip.buffers.len(), expected, "pictures");
    assert_eq!(decoded(&file), expected, "decoded pictures");
    assert!(clip.buffers[0].flags() & gst::BufferFlags::DELTA_UNIT == gst::BufferFlags::empty());
    let byte_stream = match stream.caps.to_string().contains("byte-stream") {
        true => stream.clone(),
        false => return,
    };
    let (part, whole) = (units(&clip.buffers, codec), units(&byte_stream.buffers, codec));
    assert!(!part.is_empty() && position(&part, &whole).is_some(), "bytes differ");
    assert!(sidecar.missing.is_empty(), "{:?}", sidecar.missing);
    assert!(!sidecar.truncated);
}

#[test]
fn h264_is_kept_bit_by_bit_from_the_key_picture_before_the_pre_roll() {
    let stream = h264(200, "tune=zerolatency", "byte-stream");
    // 1 s before and after 4 s; key pictures at 1, 2, 3 … s.
    assert_exact(&stream, "h264", 50);
}

#[test]
fn h264_with_reordered_pictures_is_kept_bit_by_bit() {
    let stream = h264(200, "bframes=3 b-adapt=false", "byte-stream");
    let reordered = stream.buffers.windows(2).any(|w| pts(&w[0]) > pts(&w[1]));
    assert!(reordered, "the encoder makes B-frames");
    let scene = record(&stream, 4 * S);
    let (file, sidecar) = only(&scene);
    let clip = demuxed(&file, "h264");
    let (part, whole) = (units(&clip.buffers, "h264"), units(&stream.buffers, "h264"));
    assert!(position(&part, &whole).is_some(), "bytes differ");
    assert_eq!(decoded(&file), clip.buffers.len());
    // Up to where nothing that is shown earlier follows.
    assert!((50..=53).contains(&clip.buffers.len()), "{}", clip.buffers.len());
    assert_eq!(sidecar.frames.first().map(|frame| frame.pts_ns), Some(0));
}

#[test]
fn h264_without_decoding_times_is_shown_at_the_right_times() {
    for encoder in ["tune=zerolatency", "bframes=3 b-adapt=false", "bframes=2 b-pyramid=true"] {
        let mut stream = h264(200, encoder, "byte-stream");
        let shown = |coded: &Coded| {
            let mut times: Vec<u64> = coded.buffers.iter().filter_map(pts).collect();
            times.sort_unstable();
            times
        };
        for buffer in &mut stream.buffers {
            buffer.make_mut().set_dts(gst::ClockTime::NONE);
        }
        let scene = record(&stream, 4 * S);
        let (file, _) = only(&scene);
        let clip = demuxed(&file, "h264");
        let times = shown(&clip);
        let steps: Vec<u64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(steps.iter().all(|step| step.abs_diff(FRAME) < MS), "{encoder}: {steps:?}");
        assert_eq!(decoded(&file), clip.buffers.len(), "{encoder}");
        let (part, whole) = (units(&clip.buffers, "h264"), units(&stream.buffers, "h264"));
        assert!(position(&part, &whole).is_some(), "{encoder}: bytes differ");
    }
}

#[test]
fn open_groups_of_pictures_begin_with_a_picture_that_can_be_decoded() {
    let stream = h264(200, "bframes=2 b-adapt=false option-string=open-gop=1", "byte-stream");
    let scene = record(&stream, 4 * S);
    let (file, _) = only(&scene);
    let clip = demuxed(&file, "h264");
    let first = pts(&clip.buffers[0]).unwrap();
    assert!(clip.buffers.iter().all(|buffer| pts(buffer).unwrap() >= first));
    assert_eq!(decoded(&file), clip.buffers.len());
}

#[test]
fn first_pictures_without_a_time_are_kept() {
    let mut stream = h264(100, "tune=zerolatency", "byte-stream");
    for buffer in &mut stream.buffers[..2] {
        let buffer = buffer.make_mut();
        buffer.set_pts(gst::ClockTime::NONE);
        buffer.set_dts(gst::ClockTime::NONE);
    }
    let scene = record(&stream, S + 500 * MS);
    let (file, sidecar) = only(&scene);
    let clip = demuxed(&file, "h264");
    assert_eq!(decoded(&file), clip.buffers.len());
    // From the beginning of the stream to 2.5 s.
    assert!((37..=38).contains(&clip.buffers.len()), "{}", clip.buffers.len());
    assert_eq!(sidecar.missing[0].what, "pre-roll");
}

#[test]
fn time_that_jumps_forwards_and_back_ends_no_stream() {
    let stream = h264(300, "tune=zerolatency", "byte-stream");
    let shift = |buffer: &gst::Buffer, by: i64| {
        let mut buffer = buffer.clone();
        let moved = |t: Option<gst::ClockTime>| {
            t.map(|t| gst::ClockTime::from_nseconds((t.nseconds() as i64 + by) as u64))
        };
        let (pts, dts) = (moved(buffer.pts()), moved(buffer.dts()));
        let changed = buffer.make_mut();
        changed.set_pts(pts);
        changed.set_dts(dts);
        buffer
    };
    let scene = Scene::new();
    let source = scene.source("sink", &stream.caps);
    scene.play();
    for (i, buffer) in stream.buffers.iter().enumerate() {
        // An hour forwards after 100 pictures, back to the beginning after 200.
        let by = match i {
            0..100 => 0,
            100..200 => 3600 * S as i64,
            _ => -(8 * S as i64),
        };
        let buffer = shift(buffer, by);
        let time = pts(&buffer).unwrap();
        let events = match i {
            50 | 150 | 250 => vec![event(&i.to_string(), time)],
            _ => Vec::new(),
        };
        source.push_buffer(with_meta(&buffer, &events)).unwrap();
    }
    source.end_of_stream().unwrap();
    scene.finish();
    for (clip, sidecar) in scene.clips(3) {
        let file = scene.file(&clip, Part::Original);
        assert_eq!(decoded(&file), demuxed(&file, "h264").buffers.len());
        assert!(sidecar.duration_ns >= S, "{}", sidecar.duration_ns);
    }
}

#[test]
fn h265_is_kept_bit_by_bit_and_tagged_so_that_players_take_it() {
    let stream = h265(200);
    let scene = record(&stream, 4 * S);
    let (file, sidecar) = only(&scene);
    let clip = demuxed(&file, "h265");
    assert_eq!(decoded(&file), clip.buffers.len());
    let (part, whole) = (units(&clip.buffers, "h265"), units(&stream.buffers, "h265"));
    assert!(!part.is_empty() && position(&part, &whole).is_some(), "bytes differ");
    assert_eq!(sidecar.media.unwrap().video.unwrap().codec, "h265");
    let probe = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_tag_string", "-of", "csv=p=0"])
        .arg(&file)
        .output();
    match probe {
        Ok(probe) => {
            assert_eq!(String::from_utf8_lossy(&probe.stdout).trim(), "hvc1");
            assert!(probe.status.success() && probe.stderr.is_empty(), "{probe:?}");
        }
        Err(error) => eprintln!("skipped: no ffprobe ({error})"),
    }
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.windows(4).any(|w| w == b"hvc1") && !bytes.windows(4).any(|w| w == b"hev1"));
}

#[test]
fn index_is_at_the_beginning_of_the_file() {
    let scene = record(&h264(120, "tune=zerolatency", "avc"), 3 * S);
    let (file, _) = only(&scene);
    let bytes = std::fs::read(&file).unwrap();
    let place = |name: &[u8]| bytes.windows(4).position(|w| w == name).unwrap();
    assert!(place(b"moov") < place(b"mdat"));
    assert!(!bytes.windows(4).any(|w| w == b"moof"));
}

#[test]
fn other_parameter_sets_begin_another_file() {
    let first = h264(100, "tune=zerolatency", "byte-stream");
    let second = h264(100, "tune=zerolatency cabac=false dct8x8=false ref=2", "byte-stream");
    let scene = Scene::new();
    let source = scene.source("sink", &first.caps);
    scene.play();
    for buffer in &first.buffers {
        let events = match pts(buffer).unwrap() == 4 * S + 520 * MS {
            true => vec![event("a", 4 * S + 520 * MS)],
            false => Vec::new(),
        };
        source.push_buffer(with_meta(buffer, &events)).unwrap();
    }
    for buffer in &second.buffers {
        let mut buffer = buffer.clone();
        let later = gst::ClockTime::from_seconds(4);
        let (pts, dts) = (buffer.pts().unwrap() + later, buffer.dts().unwrap() + later);
        let changed = buffer.make_mut();
        changed.set_pts(pts);
        changed.set_dts(dts);
        source.push_buffer(with_meta(&buffer, &[])).unwrap();
    }
    source.end_of_stream().unwrap();
    scene.finish();
    let clips = scene.clips(2);
    for (clip, sidecar) in &clips {
        assert_eq!(sidecar.triggers[0].id, "a");
        let file = scene.file(clip, Part::Original);
        assert_eq!(decoded(&file), demuxed(&file, "h264").buffers.len());
    }
    // 3 to 5 s, and what is left of the post-roll.
    let lengths: Vec<u64> = clips.iter().map(|(_, s)| s.duration_ns / MS).collect();
    assert_eq!(lengths, [2000, 520]);
}

#[test]
fn raw_video_is_encoded_inside_with_key_pictures_at_least_every_second() {
    let raw = collect(
        "videotestsrc num-buffers=60 pattern=ball ! \
         video/x-raw,format=NV12,width=160,height=120,framerate=10/1 ! appsink name=out",
    );
    for encoder in ["openh264enc", "x264enc"] {
        let scene = Scene::new().set("encoder", encoder);
        let source = scene.source("sink", &raw.caps);
        scene.play();
        for (i, buffer) in raw.buffers.iter().enumerate() {
            let time = pts(buffer).unwrap();
            let events = if i == 35 { vec![event("a", time)] } else { Vec::new() };
            source.push_buffer(with_meta(buffer, &events)).unwrap();
        }
        source.end_of_stream().unwrap();
        scene.finish();
        let (clip, sidecar) = scene.clips(1).remove(0);
        let file = scene.file(&clip, Part::Original);
        let coded = demuxed(&file, "h264");
        // From the key picture at most a second before 3.5 s to 5.5 s.
        assert!((20..=30).contains(&coded.buffers.len()), "{encoder}: {}", coded.buffers.len());
        assert_eq!(decoded(&file), coded.buffers.len(), "{encoder}");
        let keys = coded
            .buffers
            .iter()
            .enumerate()
            .filter(|(_, buffer)| !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT));
        let keys: Vec<usize> = keys.map(|(i, _)| i).collect();
        assert!(keys.windows(2).all(|w| w[1] - w[0] <= 10), "{encoder}: {keys:?}");
        assert_eq!(sidecar.frames.len(), coded.buffers.len(), "{encoder}");
        let snapshot = std::fs::read(scene.file(&clip, Part::Snapshot)).unwrap();
        assert!(snapshot.starts_with(&[0xff, 0xd8]), "a JPEG");
        assert_eq!(sidecar.snapshot.unwrap().track_id, Some(7));
    }
}

#[test]
fn program_can_make_a_clip_by_a_signal() {
    let stream = h264(100, "tune=zerolatency", "byte-stream");
    let scene = Scene::new();
    let ask = |scene: &Scene| {
        scene.element.emit_by_name::<Option<String>>("trigger", &[&Some("a person asked")])
    };
    assert_eq!(ask(&scene), None, "it does not run");
    let source = scene.source("sink", &stream.caps);
    scene.play();
    for buffer in &stream.buffers[..60] {
        source.push_buffer(with_meta(buffer, &[])).unwrap();
    }
    until("the pictures are there", || scene.stat("pictures") >= 55);
    let id = ask(&scene).expect("the id of the event");
    for buffer in &stream.buffers[60..] {
        source.push_buffer(with_meta(buffer, &[])).unwrap();
    }
    source.end_of_stream().unwrap();
    let messages = scene.finish();
    let spooled = messages.iter().find(|s| s.name() == "clip-spooled").unwrap();
    assert_eq!(spooled.get::<String>("event").unwrap(), "trigger");
    let (_, sidecar) = scene.clips(1).remove(0);
    assert_eq!(sidecar.triggers[0].id, id);
    assert_eq!(sidecar.triggers[0].reason.as_deref(), Some("a person asked"));
}

#[test]
fn events_of_other_kinds_and_of_trial_make_no_clip_and_repeated_ones_make_one() {
    let stream = h264(100, "tune=zerolatency", "byte-stream");
    let scene = Scene::new();
    let source = scene.source("sink", &stream.caps);
    scene.play();
    for buffer in &stream.buffers {
        let mut events = vec![event("a", 3 * S)];
        events.push(gstface::meta::Event { kind: "zone-enter".into(), ..event("b", 3 * S) });
        events.push(gstface::meta::Event { dry_run: true, ..event("c", 3 * S) });
        let events = if pts(buffer) >= Some(3 * S) { events } else { Vec::new() };
        source.push_buffer(with_meta(buffer, &events)).unwrap();
    }
    source.end_of_stream().unwrap();
    scene.finish();
    let (_, sidecar) = scene.clips(1).remove(0);
    assert_eq!(sidecar.triggers.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(scene.stat("triggers"), 1);
}

#[test]
fn end_is_told_although_a_message_of_an_earlier_state_comes_late() {
    let stream = h264(50, "tune=zerolatency", "byte-stream");
    let scene = Scene::new();
    let source = scene.source("sink", &stream.caps);
    scene.play();
    let patience = gst::ClockTime::from_seconds(20);
    assert_eq!(scene.pipeline.state(patience).1, gst::State::Playing);
    // As a thread that is slow posts it, of decodebin that is done with PAUSED.
    let none = gst::State::VoidPending;
    let (ready, paused) = (gst::State::Ready, gst::State::Paused);
    let late =
        gst::message::StateChanged::builder(ready, paused, none).src(&scene.pipeline).build();
    scene.pipeline.post_message(late).unwrap();
    for buffer in &stream.buffers {
        source.push_buffer(with_meta(buffer, &[])).unwrap();
    }
    source.end_of_stream().unwrap();
    scene.finish();
}
