//! clipsink when streams change: starts and stops, flushes, other sizes, other kinds.

mod clip_support;

use clip_support::*;
use face_core::clip::Part;
use gst::prelude::*;

fn raw(pictures: u32, width: u32, height: u32) -> Coded {
    collect(&format!(
        "videotestsrc num-buffers={pictures} pattern=ball ! video/x-raw,format=I420,\
         width={width},height={height},framerate=25/1 ! appsink name=out"
    ))
}

/// A buffer of a stream that goes on `by_ns` later.
fn later(buffer: &gst::Buffer, by_ns: u64) -> gst::Buffer {
    let mut buffer = buffer.clone();
    let by = gst::ClockTime::from_nseconds(by_ns);
    let (pts, dts) = (buffer.pts(), buffer.dts());
    let changed = buffer.make_mut();
    changed.set_pts(pts.map(|t| t + by));
    changed.set_dts(dts.map(|t| t + by));
    buffer
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn started_and_stopped_many_times_it_leaves_nothing_behind() {
    let stream = h264(30, "tune=zerolatency", "byte-stream");
    let scene = Scene::new();
    let source = scene.source("sink", &stream.caps);
    let round = || {
        scene.play();
        for buffer in &stream.buffers {
            source.push_buffer(with_meta(buffer, &[])).unwrap();
        }
        source.end_of_stream().unwrap();
        scene.finish();
    };
    round();
    until("threads of the first round have ended", || threads() < 30);
    let before = threads();
    for _ in 0..10 {
        round();
    }
    until("no thread is left", || threads() <= before);
    assert_eq!(std::fs::read_dir(scene.spool().join("clips")).unwrap().count(), 0);
    scene.clips(0);
}

#[test]
fn flush_closes_the_clip_and_the_next_one_is_whole() {
    let stream = h264(250, "tune=zerolatency", "byte-stream");
    let scene = Scene::new();
    let source = scene.source("sink", &stream.caps);
    scene.play();
    for buffer in &stream.buffers[..100] {
        let events = match pts(buffer).unwrap() {
            t if t == 4 * S + 520 * MS => vec![event("a", t)],
            _ => Vec::new(),
        };
        source.push_buffer(with_meta(buffer, &events)).unwrap();
    }
    until("the pictures are there", || scene.stat("pictures") >= 98);
    let pad = scene.element.static_pad("sink").unwrap();
    let peer = pad.peer().unwrap();
    assert!(peer.push_event(gst::event::FlushStart::new()));
    assert!(peer.push_event(gst::event::FlushStop::builder(false).build()));
    source.set_state(gst::State::Ready).unwrap();
    source.sync_state_with_parent().unwrap();
    for buffer in &stream.buffers {
        let events = match pts(buffer).unwrap() {
            t if t == 4 * S => vec![event("b", t)],
            _ => Vec::new(),
        };
        source.push_buffer(with_meta(buffer, &events)).unwrap();
    }
    source.end_of_stream().unwrap();
    scene.finish();
    let clips = scene.clips(2);
    let cut = clips.iter().find(|(_, sidecar)| sidecar.triggers[0].id == "a").unwrap();
    assert!(cut.1.truncated);
    let whole = clips.iter().find(|(_, sidecar)| sidecar.triggers[0].id == "b").unwrap();
    assert!(!whole.1.truncated && whole.1.missing.is_empty(), "{:?}", whole.1.missing);
    for (clip, _) in &clips {
        let file = scene.file(clip, Part::Original);
        assert_eq!(decoded(&file), demuxed(&file, "h264").buffers.len());
    }
}

#[test]
fn other_size_of_raw_video_begins_another_file_of_the_same_event() {
    let (small, large) = (raw(100, 160, 120), raw(100, 320, 240));
    let scene = Scene::new();
    let source = scene.source("sink", &small.caps);
    scene.play();
    let at = 4 * S + 600 * MS;
    for buffer in &small.buffers {
        let now = pts(buffer) == Some(at);
        let events = if now { vec![event("a", at)] } else { Vec::new() };
        source.push_buffer(with_meta(buffer, &events)).unwrap();
    }
    until("the small ones are taken", || source.current_level_buffers() == 0);
    source.set_caps(Some(&large.caps));
    for buffer in &large.buffers {
        source.push_buffer(with_meta(&later(buffer, 4 * S), &[])).unwrap();
    }
    source.end_of_stream().unwrap();
    scene.finish();
    let widths: Vec<u32> = scene
        .clips(2)
        .iter()
        .map(|(clip, sidecar)| {
            assert_eq!(sidecar.triggers[0].id, "a");
            let file = scene.file(clip, Part::Original);
            assert_eq!(decoded(&file), demuxed(&file, "h264").buffers.len());
            sidecar.media.clone().unwrap().video.unwrap().width
        })
        .collect();
    assert_eq!(widths, [160, 320]);
}

#[test]
fn stream_may_become_one_of_another_kind() {
    let (coded, raw) = (h264(100, "tune=zerolatency", "byte-stream"), raw(100, 320, 240));
    let scene = Scene::new();
    let source = scene.source("sink", &coded.caps);
    scene.play();
    for buffer in &coded.buffers {
        source.push_buffer(with_meta(buffer, &[])).unwrap();
    }
    until("the coded ones are taken", || source.current_level_buffers() == 0);
    source.set_caps(Some(&raw.caps));
    for buffer in &raw.buffers {
        let buffer = later(buffer, 4 * S);
        let now = pts(&buffer) == Some(7 * S);
        let events = if now { vec![event("a", 7 * S)] } else { Vec::new() };
        source.push_buffer(with_meta(&buffer, &events)).unwrap();
    }
    source.end_of_stream().unwrap();
    scene.finish();
    let (clip, sidecar) = scene.clips(1).remove(0);
    assert_eq!(sidecar.media.unwrap().video.unwrap().width, 320);
    let file = scene.file(&clip, Part::Original);
    assert_eq!(decoded(&file), demuxed(&file, "h264").buffers.len());
}
