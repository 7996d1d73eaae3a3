//! `TrackerPipeline::frames` on the tiny models.

mod support;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use face_core::frame::PixelFormat;
use face_pipeline::Stage;
use face_pipeline::tracker::{
    Frame, FrameFault, TapPoint, TrackedFrame, TrackerError, TrackerPipeline,
};
use parking_lot::Mutex;
use support::stream::{data, grey, tiny, tiny_models};

fn good(results: impl Iterator<Item = Result<TrackedFrame, TrackerError>>) -> Vec<TrackedFrame> {
    results.map(|result| result.unwrap()).collect()
}

#[test]
fn t18_every_frame_has_its_result_in_order_with_tracks() {
    let Some(pipeline) = tiny() else { return };
    let pixels = vec![128; 64 * 64 * 3];
    // Some borrowed, some owned, some with a time of their own.
    let frames = (0..60u64).map(|i| {
        let data = if i % 2 == 0 { Cow::Borrowed(&pixels[..]) } else { Cow::Owned(pixels.clone()) };
        let frame = Frame::new(PixelFormat::Rgb, 64, 64, data);
        if i >= 30 { frame.at(1_000_000_000 + (i - 30) * 50_000_000) } else { frame }
    });
    let mut results = pipeline.frames(frames, 30.0).unwrap();
    let found = good(&mut results);
    assert_eq!(found.len(), 60);
    assert!(found.iter().zip(0..).all(|(f, i)| f.record.frame == i && f.meta.frame_id == i));
    let times: Vec<u64> = found.iter().map(|f| f.record.pts_ns.unwrap()).collect();
    assert_eq!((times[1], times[29], times[31]), (33_333_333, 966_666_666, 1_050_000_000));
    for frame in &found {
        assert_eq!((frame.meta.width, frame.record.faces.len()), (64, 2), "{frame:?}");
        let [x, y, w, h] = frame.record.faces[0].bbox;
        assert!((x - 8.0).abs() + (y - 8.0).abs() + (w - 32.0).abs() + (h - 32.0).abs() < 1.0);
    }
    let ids = |f: &TrackedFrame| f.record.faces.iter().map(|f| f.track_id).collect::<Vec<_>>();
    assert!(found[1..].iter().all(|f| ids(f) == ids(&found[1]) && !ids(f).contains(&0)));
    assert!(results.next().is_none(), "once over, it stays so");
    let ended = results.messages().iter().filter(|m| m.name() == "face-track").count();
    assert_eq!(ended, 2, "the tracks end with the stream");
}

#[test]
fn t18_iterator_is_never_far_ahead_of_the_results() {
    for ahead in [1, 4] {
        let Some(pipeline) = tiny() else { return };
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        // It has no end: collecting it would have none either.
        let endless = std::iter::repeat_with(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            grey()
        });
        let mut results = pipeline.ahead(ahead).frames(endless, 30.0).unwrap();
        assert_eq!(taken.load(Ordering::SeqCst), 0, "nobody has asked for a result");
        for i in 0..50 {
            let frame = results.next().unwrap().unwrap();
            assert_eq!(frame.record.frame, i);
            let before = taken.load(Ordering::SeqCst) - i as usize;
            assert!((1..=ahead).contains(&before), "{before} of {ahead}");
        }
    }
}

#[test]
fn t18_early_drop_stops_everything() {
    let Some(pipeline) = tiny() else { return };
    let alive = Arc::new(());
    let held = alive.clone();
    let pipeline = pipeline.tap(TapPoint::Detector, move |_| drop(Arc::clone(&held)));
    let mut results = pipeline.frames(std::iter::repeat_with(grey), 30.0).unwrap();
    results.next().unwrap().unwrap();
    let start = Instant::now();
    drop(results);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(Arc::strong_count(&alive), 1, "the pipeline is gone, with its taps");
}

#[test]
fn t18_frame_of_another_size_or_format_goes_on() {
    let Some(pipeline) = tiny() else { return };
    let shapes = [
        (PixelFormat::Rgb, 64, 64),
        (PixelFormat::Nv12, 97u32, 81u32),
        (PixelFormat::Gray8, 64, 64),
    ];
    let frames = shapes.iter().flat_map(|&(format, w, h)| {
        let bytes = match format {
            PixelFormat::Rgb => w * h * 3,
            PixelFormat::Nv12 => w * h + 2 * w.div_ceil(2) * h.div_ceil(2),
            _ => w * h,
        };
        (0..5).map(move |_| Frame::new(format, w, h, vec![100; bytes as usize]))
    });
    let found = good(pipeline.frames(frames, 10.0).unwrap());
    let sizes: Vec<u32> = found.iter().map(|f| f.meta.width).collect();
    assert_eq!(sizes, [[64; 5], [97; 5], [64; 5]].concat());
    assert!(found.iter().all(|f| f.record.faces.len() >= 2), "{found:?}");
}

#[test]
fn t18_frame_that_cannot_be_used_is_an_error_in_its_place() {
    let Some(pipeline) = tiny() else { return };
    let short = || Frame::new(PixelFormat::Rgb, 64, 64, vec![0; 100]);
    let late = || grey().at(0);
    let frames = [short(), grey(), grey(), late(), short(), grey(), short()];
    let results: Vec<_> = pipeline.frames(frames, 30.0).unwrap().collect();
    assert_eq!(results.len(), 7);
    for (i, result) in results.iter().enumerate() {
        match (i, result) {
            (0 | 4 | 6, Err(error)) => {
                assert!(!error.is_final());
                let text = error.to_string();
                assert!(text.starts_with(&format!("frame {i}: 12288 bytes")), "{text}");
            }
            (3, Err(TrackerError::Frame { index: 3, fault: FrameFault::Time { .. } })) => {}
            (1 | 2 | 5, Ok(frame)) => assert_eq!(frame.record.frame, i as u64),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn t18_no_frames_and_only_bad_frames_have_an_end() {
    let Some(pipeline) = tiny() else { return };
    assert_eq!(pipeline.frames([], 30.0).unwrap().count(), 0);
    let Some(pipeline) = tiny() else { return };
    let bad = || Frame::new(PixelFormat::Rgb, 0, 0, vec![]);
    assert_eq!(pipeline.frames([bad(), bad()], 30.0).unwrap().count(), 2);
}

#[test]
fn t18_failing_model_ends_the_stream_with_its_error() {
    if tiny().is_none() {
        return;
    }
    let pipeline = TrackerPipeline::new().recognition(tiny_models("fails.onnx"));
    let mut results = pipeline.frames(std::iter::repeat_with(grey), 30.0).unwrap();
    let error = results.next().unwrap().unwrap_err();
    assert!(error.is_final(), "{error}");
    assert!(
        matches!(&error, TrackerError::Element { element, .. } if element == "detect"),
        "{error}"
    );
    assert!(results.next().is_none());
}

#[test]
fn t18_what_cannot_work_is_refused_before_the_first_frame() {
    let Some(pipeline) = tiny() else { return };
    for rate in [0.0, -1.0, f64::NAN, 1e9, 1e-12] {
        let error = TrackerPipeline::new().frames([], rate).unwrap_err();
        assert!(matches!(error, TrackerError::Rate(_)), "{error}");
    }
    let error = pipeline.gallery("/nowhere/g.gallery").frames([], 30.0).unwrap_err().to_string();
    assert!(error.contains("recognize") && error.contains("/nowhere/g.gallery"), "{error}");
    let models = face_pipeline::Recognition {
        detector: Some(data("two_faces.onnx").replace("two_faces", "gone")),
        ..tiny_models("two_faces.onnx")
    };
    let error = TrackerPipeline::new().recognition(models).frames([], 30.0).unwrap_err();
    assert!(error.to_string().contains("gone.onnx"), "{error}");
}

#[test]
fn t19_any_property_is_given_by_name_and_bad_ones_are_named() {
    let Some(_) = tiny() else { return };
    for (stage, name, value, part) in [
        (Stage::Detector, "no-such", "1", "no such property"),
        (Stage::Detector, "max-faces", "many", "'many' is no uint"),
        (Stage::Recognizer, "threshold", "3", "'3' is out of range"),
        (Stage::Recognizer, "threshold", "nan", "out of range"),
        (Stage::Recognizer, "top-k", "0", "out of range"),
        (Stage::Tracker, "stats", "x", "it cannot be set"),
        (Stage::Detector, "provider", "abacus", "one of auto, cpu"),
    ] {
        let pipeline = tiny().unwrap().property(stage, name, value);
        let error = pipeline.frames([], 30.0).unwrap_err().to_string();
        let element = match stage {
            Stage::Detector => "onnxfacedetect",
            Stage::Tracker => "facetrack",
            _ => "facerecognize",
        };
        for part in [element, name, part] {
            assert!(error.contains(part), "no '{part}' in {error}");
        }
    }
    let pipeline = tiny()
        .unwrap()
        .property(Stage::Detector, "max-faces", "1")
        .property(Stage::Tracker, "scene-cut", "true")
        .property(Stage::Recognizer, "threshold", "0.25");
    let found = good(pipeline.frames([grey(), grey()], 30.0).unwrap());
    assert!(found.iter().all(|f| f.record.faces.len() == 1), "{found:?}");
}

#[test]
fn t19_taps_see_what_the_detector_and_the_recognizer_say() {
    let Some(pipeline) = tiny() else { return };
    let seen: Arc<Mutex<[Vec<_>; 2]>> = Arc::default();
    let add = |place: usize| {
        let seen = seen.clone();
        move |frame: &face_pipeline::tracker::TapFrame| {
            let caps = frame.caps().unwrap();
            assert_eq!(caps.structure(0).unwrap().get::<i32>("width"), Ok(64));
            assert!(frame.sample().buffer().is_some());
            let tracked = frame.faces.faces.iter().filter(|f| f.track_id != 0).count();
            seen.lock()[place].push((frame.pts_ns.unwrap(), frame.faces.faces.len(), tracked));
        }
    };
    let pipeline = pipeline.tap(TapPoint::Detector, add(0)).tap(TapPoint::Recognizer, add(1));
    let found = good(pipeline.frames((0..10).map(|_| grey()), 30.0).unwrap());
    let [detected, recognized] = seen.lock().clone();
    let times: Vec<u64> = found.iter().map(|f| f.record.pts_ns.unwrap()).collect();
    for (tapped, tracked) in [(detected, 0), (recognized, 2)] {
        assert_eq!(tapped.iter().map(|t| t.0).collect::<Vec<_>>(), times);
        assert!(tapped[1..].iter().all(|t| (t.1, t.2) == (2, tracked)), "{tapped:?}");
    }
}

#[test]
fn t19_tap_that_panics_is_an_error_of_the_stream() {
    let Some(pipeline) = tiny() else { return };
    let pipeline = pipeline.tap(TapPoint::Detector, |frame| assert_eq!(frame.faces.frame_id, 0));
    let results: Vec<_> = pipeline.frames((0..50).map(|_| grey()), 30.0).unwrap().collect();
    let error = results.last().unwrap().as_ref().unwrap_err().to_string();
    assert!(error.contains("tap panicked"), "{error}");
    assert!(results.len() < 50, "{}", results.len());
}
