//! `TrackerPipeline::start` on sources, with the tiny models.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use face_pipeline::Stage;
use face_pipeline::tracker::{
    Event, Source, State, TapPoint, TrackerError, Tracking, WatchdogLimits,
};
use gst::prelude::*;
use support::stream::{PATIENCE, PICTURES, RtspCamera, all, clip, message, tiny};

/// A camera at which nobody listens.
const NOBODY: &str = "rtsp://ada:secret@127.0.0.1:1/x";

/// Pictures of a source that is live or not.
fn bin(live: bool, count: i32) -> Source {
    let caps = PICTURES;
    Source::Bin(format!("videotestsrc is-live={live} num-buffers={count} ! {caps}"))
}

fn frames(events: &[Event]) -> Vec<u64> {
    let number = |event: &Event| match event {
        Event::Frame(frame) => Some(frame.record.frame),
        _ => None,
    };
    events.iter().filter_map(number).collect()
}

/// A watchdog that loses its patience soon.
fn soon(silence: Duration) -> Option<WatchdogLimits> {
    Some(WatchdogLimits { silence, ..WatchdogLimits::default() })
}

/// The end of a source within the time that a test has.
fn failure(tracking: &Tracking) -> TrackerError {
    all(tracking).1.expect_err("it cannot work")
}

#[test]
fn t19_source_is_followed_to_its_end() {
    let Some(pipeline) = tiny() else { return };
    let tapped = Arc::new(AtomicU64::new(0));
    let counter = tapped.clone();
    let tracking = pipeline
        .results(true)
        .tap(TapPoint::Recognizer, move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .start(&bin(false, 40))
        .unwrap();
    assert!(!tracking.is_live());
    let (events, result) = all(&tracking);
    result.unwrap();
    assert_eq!(frames(&events), (0..40).collect::<Vec<_>>());
    let tracks = events.iter().filter(
        |event| matches!(event, Event::Message(m) if m.name() == "face-track" && m.element == "recognize"),
    );
    assert_eq!(tracks.count(), 2);
    assert_eq!(tapped.load(Ordering::SeqCst), 40);
    assert!(tracking.wait().is_none(), "the end is told once");
    assert!(tracking.stop().is_ok() && tracking.stop().is_ok());
    assert_eq!(tracking.state(), State::Ended);
    let health = tracking.health();
    assert_eq!((health.ok, health.frames, tracking.dropped_events()), (false, 40, 0));
}

#[test]
fn t19_stop_is_bounded_and_may_come_twice() {
    for live in [true, false] {
        let Some(pipeline) = tiny() else { return };
        let tracking = pipeline.results(true).start(&bin(live, -1)).unwrap();
        assert_eq!(tracking.is_live(), live);
        let first = tracking.wait_for(PATIENCE);
        assert!(first.is_some());
        // Nobody takes frames: a file waits for room at this moment.
        let start = Instant::now();
        tracking.stop().unwrap();
        tracking.stop().unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(tracking.state(), State::Ended);
        let (_, result) = all(&tracking);
        assert!(result.is_ok());
        assert_eq!(tracking.pipeline().current_state(), gst::State::Null);
    }
}

#[test]
fn t19_dropped_handle_stops_the_source() {
    let Some(pipeline) = tiny() else { return };
    let tracking = pipeline.start(&bin(true, -1)).unwrap();
    let running = tracking.pipeline().clone();
    drop(tracking);
    assert_eq!(running.current_state(), gst::State::Null);
}

/// Registering the elements twice would leave the first ones without theirs.
#[test]
fn t19_elements_know_their_factory_after_a_second_start() {
    for _ in 0..3 {
        let Some(pipeline) = tiny() else { return };
        let tracking = pipeline.start(&bin(false, 2)).unwrap();
        let track = tracking.pipeline().by_name("track").unwrap();
        assert_eq!(track.factory().unwrap().name(), "facetrack");
        all(&tracking).1.unwrap();
    }
}

#[test]
fn t19_element_of_the_program_is_a_source() {
    let Some(pipeline) = tiny() else { return };
    let source = camera();
    let tracking = pipeline.start(&Source::Element(source.clone().upcast())).unwrap();
    assert!(tracking.is_live());
    (0..5).for_each(|n| push(&source, n));
    source.end_of_stream().unwrap();
    let (_, result) = all(&tracking);
    result.unwrap();
    assert!(tracking.health().frames >= 2);
    let again = tiny().unwrap().start(&Source::Element(source.upcast())).unwrap_err();
    assert!(again.to_string().contains("in a pipeline already"), "{again}");
}

/// An appsrc that is live.
fn camera() -> gst_app::AppSrc {
    gst::init().unwrap();
    let caps = PICTURES.parse::<gst::Caps>().unwrap();
    gst_app::AppSrc::builder().caps(&caps).is_live(true).format(gst::Format::Time).build()
}

fn push(source: &gst_app::AppSrc, n: u64) {
    let mut buffer = gst::Buffer::from_slice(vec![128; 64 * 64 * 3]);
    buffer.get_mut().unwrap().set_pts(n * 40 * gst::ClockTime::MSECOND);
    source.push_buffer(buffer).unwrap();
}

#[test]
fn t19_what_cannot_be_followed_is_told_by_name() {
    let Some(_) = tiny() else { return };
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.mp4");
    std::fs::write(&text, "this is no video\n").unwrap();
    let started = [
        (Source::File(folder.path().join("gone.mp4")), "gone.mp4"),
        (Source::File(folder.path().to_owned()), "is a folder"),
        (Source::Camera("/dev/video-none".to_owned()), "/dev/video-none"),
        (Source::Bin("nonsuch".to_owned()), "nonsuch"),
    ];
    for (source, part) in started {
        let error = tiny().unwrap().start(&source).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let later = [
        (Source::File(text.clone()), text.to_str().unwrap()),
        (Source::Bin("audiotestsrc num-buffers=3".to_owned()), "audiotestsrc"),
        (Source::Bin("videotestsrc num-buffers=0".to_owned()), "before its first picture"),
        // Nobody listens there.
        (Source::Rtsp(NOBODY.to_owned()), "rtsp://***@127.0.0.1:1/x"),
    ];
    for (source, part) in later {
        let mut pipeline = tiny().unwrap();
        if matches!(source, Source::Rtsp(_)) {
            pipeline = pipeline.property(Stage::Source, "max-retries", "0");
        }
        let error = match pipeline.start(&source) {
            Ok(tracking) => {
                let error = failure(&tracking).to_string();
                assert_eq!(tracking.state(), State::Failed(error.clone()));
                error
            }
            Err(error) => error.to_string(),
        };
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
    }
    let limits = WatchdogLimits { smoothing: 2.0, ..WatchdogLimits::default() };
    let error = tiny().unwrap().watchdog(Some(limits)).start(&bin(true, 1)).unwrap_err();
    assert!(error.to_string().starts_with("watchdog: "), "{error}");
    let error = tiny().unwrap().property(Stage::Source, "pattern", "ball").start(&bin(true, 1));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("source's property pattern"), "{error}");
    let error = tiny()
        .unwrap()
        .property(Stage::Source, "latency", "soon")
        .start(&Source::Rtsp("rtsp://127.0.0.1:1/x".to_owned()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("facecamerasrc") && error.contains("latency"), "{error}");
}

#[test]
fn t19_model_that_fails_is_the_end() {
    let Some(pipeline) = tiny() else { return };
    let pipeline = pipeline.recognition(support::stream::tiny_models("fails.onnx"));
    let tracking = pipeline.start(&bin(false, -1)).unwrap();
    let error = failure(&tracking);
    assert!(
        matches!(&error, TrackerError::Element { element, .. } if element == "detect"),
        "{error}"
    );
}

/// How many buffers a source gave, and the frames that came out, while a tap held the stream up.
fn held_up(live: bool, until: u64) -> Option<(u64, u64)> {
    let pipeline = tiny()?;
    let (let_go, wait) = mpsc::channel::<()>();
    let tracking = pipeline
        .tap(TapPoint::Detector, move |_| {
            // After the sender is gone nothing is held up.
            let _ = wait.recv();
        })
        .start(&Source::Bin(format!(
            "videotestsrc name=made is-live={live} num-buffers=100 ! {}",
            PICTURES.replace("30/1", "200/1")
        )))
        .unwrap();
    let made = Arc::new(AtomicU64::new(0));
    let counter = made.clone();
    let (enough, reached) = mpsc::channel();
    let source = tracking.pipeline().by_name("made").unwrap();
    source.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if counter.fetch_add(1, Ordering::SeqCst) + 1 == until {
            let _ = enough.send(());
        }
        gst::PadProbeReturn::Ok
    });
    reached.recv_timeout(PATIENCE).expect("the source goes on");
    drop(let_go);
    let (_, result) = all(&tracking);
    result.unwrap();
    Some((made.load(Ordering::SeqCst), tracking.health().frames))
}

#[test]
fn t20_live_source_drops_what_nobody_is_ready_for() {
    // The source goes on to its hundredth picture while the first one is still looked at.
    let Some((made, seen)) = held_up(true, 80) else { return };
    assert!(made == 100 && (3..60).contains(&seen), "{seen} of {made}");
}

#[test]
fn t20_source_that_is_not_live_waits_and_loses_nothing() {
    let Some((_, seen)) = held_up(false, 2) else { return };
    assert_eq!(seen, 100);
}

#[test]
fn t23_stall_and_recovery_are_posted_and_can_be_asked_for() {
    let Some(pipeline) = tiny() else { return };
    let source = camera();
    let tracking = pipeline
        .watchdog(soon(Duration::from_millis(700)))
        .start(&Source::Element(source.clone().upcast()))
        .unwrap();
    assert!(!tracking.health().ok && tracking.state() == State::Starting);
    let stall = message(&tracking, "face-stall");
    assert_eq!(stall.text("reason"), Some("no-first-frame"));
    // No more than the queue of a live source holds.
    (0..2).for_each(|n| push(&source, n));
    let back = message(&tracking, "face-stall");
    assert_eq!(back.structure.get::<bool>("stalled"), Ok(false));
    assert!(back.number("stalled-for").unwrap() >= 700_000_000, "{back:?}");
    assert!(tracking.state() == State::Running);
    let stall = message(&tracking, "face-stall");
    assert_eq!(
        (stall.text("reason"), stall.structure.get::<bool>("stalled")),
        (Some("silence"), Ok(true))
    );
    assert!(stall.number("silent-for").unwrap() >= 700_000_000, "{stall:?}");
    let health = tracking.health();
    assert_eq!((health.ok, health.frames, health.stalls), (false, 2, 2));
    assert!(health.stalled_for.unwrap() >= Duration::from_millis(700), "{health:?}");
    tracking.stop().unwrap();
}

#[test]
fn t23_switched_off_it_only_counts() {
    let Some(pipeline) = tiny() else { return };
    let tracking = pipeline.watchdog(None).start(&bin(false, 30)).unwrap();
    let (events, result) = all(&tracking);
    result.unwrap();
    assert!(!events.iter().any(|e| matches!(e, Event::Message(m) if m.name() == "face-stall")));
    assert_eq!(tracking.health().frames, 30);
}

#[test]
fn t19_network_camera_that_is_not_to_come_back_ends_with_an_error() {
    let Some(pipeline) = tiny() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(mut camera) = RtspCamera::serve(&clip(folder.path())) else { return };
    let tracking = pipeline
        .results(true)
        .property(Stage::Source, "latency", "50")
        .property(Stage::Source, "max-retries", "0")
        .watchdog(soon(Duration::from_secs(3)))
        .start(&Source::parse(&camera.address).unwrap())
        .unwrap();
    assert!(tracking.is_live());
    let mut seen = 0;
    while seen < 10 {
        match tracking.wait_for(PATIENCE).expect("the camera sends") {
            Event::Frame(frame) => seen += u64::from(frame.record.faces.len() == 2),
            Event::Ended(result) => panic!("after {seen} frames: {result:?}"),
            Event::Message(_) | Event::Warning(_) => {}
        }
    }
    camera.kill();
    let error = failure(&tracking).to_string();
    assert!(error.contains(&camera.address), "{error}");
    assert!(matches!(tracking.state(), State::Failed(_)));
}

#[test]
fn t19_network_camera_that_was_away_is_followed_again() {
    let Some(pipeline) = tiny() else { return };
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let Some(mut camera) = RtspCamera::serve(&clip) else { return };
    let tracking = pipeline
        .results(true)
        .property(Stage::Source, "latency", "50")
        .start(&Source::parse(&camera.address).unwrap())
        .unwrap();
    for round in 0..2 {
        let connected = loop {
            let told = message(&tracking, "face-camera");
            if told.text("state") == Some("connected") {
                break told;
            }
        };
        assert_eq!(connected.text("uri"), Some(camera.address.as_str()));
        let mut seen = 0;
        while seen < 10 {
            match tracking.wait_for(PATIENCE).expect("the camera sends") {
                Event::Frame(frame) => seen += u64::from(frame.record.faces.len() == 2),
                Event::Ended(result) => panic!("after {seen} frames: {result:?}"),
                Event::Message(_) | Event::Warning(_) => {}
            }
        }
        if round == 0 {
            camera.kill();
            let Some(next) = RtspCamera::serve_at(&clip, camera.port()) else { return };
            camera = next;
        }
    }
    tracking.stop().unwrap();
    assert_eq!(tracking.state(), State::Ended);
}

#[test]
fn t23_network_camera_that_falls_silent_is_a_stall() {
    let Some(pipeline) = tiny() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(mut camera) = RtspCamera::serve(&clip(folder.path())) else { return };
    let tracking = pipeline
        .property(Stage::Source, "latency", "50")
        .watchdog(soon(Duration::from_secs(1)))
        .start(&Source::parse(&camera.address).unwrap())
        .unwrap();
    while tracking.health().frames < 5 {
        let event = tracking.wait_for(Duration::from_millis(20));
        assert!(!matches!(event, Some(Event::Ended(_))), "{event:?}");
    }
    camera.freeze();
    let stall = loop {
        let stall = message(&tracking, "face-stall");
        if stall.text("reason") == Some("silence") {
            break stall;
        }
    };
    assert!(stall.number("silent-for").unwrap() > 1_000_000_000, "{stall:?}");
    assert!(!tracking.health().ok);
    let start = Instant::now();
    tracking.stop().unwrap();
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}
