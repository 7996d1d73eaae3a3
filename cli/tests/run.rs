//! `facectl run` as a service manager and its users see it.

mod examples;
#[path = "run/service.rs"]
mod service;
mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::fs;
use std::path::{Path, PathBuf};

use examples::{RtspCamera, shared_media};
use gst::prelude::*;
use serde_json::Value;
use service::{Running, clip, metric};
use support::Setup;

/// A configuration with the tiny models, whose detector finds two faces on every picture.
fn tiny_models(cameras: &str) -> String {
    format!(
        "version: 1\nmodels: {{detector: '{}', embedder: '{}', threads: 1}}\n\
         http: {{address: '127.0.0.1:0'}}\nspool: {{folder: spool}}\ncameras:\n{cameras}",
        tiny::data("two_faces.onnx"),
        tiny::data("embedder.onnx"),
    )
}

/// Cameras that show one clip again and again.
fn looped(name: &str, more: &str) -> String {
    format!("  {name}:\n    source: {{uri: clip.mp4, loop: true}}\n{more}")
}

#[test]
fn configuration_that_cannot_work_starts_nothing_and_says_everything() {
    let Some(setup) = Setup::new() else { return };
    let config = setup.path("wrong.yaml");
    fs::write(&config, "version: 1\ncameras:\n  door:\n    sorce: a\n    clips: {storage: x}\n")
        .unwrap();
    for arguments in [&["run", &config][..], &["run", "--check", &config]] {
        let answer = setup.run(arguments);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{answer:?}");
        let wrong = "wrong.yaml:4:5: cameras.door.sorce: unknown key, did you mean source?";
        assert!(answer.stderr.contains(wrong), "{answer:?}");
        assert!(answer.stderr.contains("cameras.door.source: is missing"), "{answer:?}");
    }
    assert!(!Path::new(&setup.path("x")).exists());
    setup.run(&["run", &setup.path("none.yaml")]).is_error(2, &["none.yaml"]);
    let missing = setup.path("missing.yaml");
    // The configuration is fine, the file of the camera is not there.
    fs::write(&missing, tiny_models(&looped("door", ""))).unwrap();
    setup.run(&["run", &missing]).is_error(2, &["clip.mp4"]);
}

#[test]
fn checked_configuration_is_summed_up() {
    let Some(setup) = Setup::new() else { return };
    clip(Path::new(&setup.path("clip.mp4")), 1);
    let publish = "    publish: [{target: a.jsonl}, {target: b.jsonl}]\n";
    let cameras = looped("hall", "") + &looped("yard", publish);
    let config = setup.path("config.yaml");
    fs::write(&config, tiny_models(&cameras)).unwrap();
    let answer = setup.run(&["run", "--check", &config]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let wanted = "configuration ok\nhall: recognition\nyard: recognition, 2 targets\n";
    assert_eq!(answer.stdout, wanted);
}

/// A camera whose clip goes on until the end, since somebody is always there.
fn door(dwell: &str) -> String {
    let more = format!(
        "    zones: {{all: '0,0 1,0 1,1 0,1'}}\n    tracking: {{zone-dwell-time: {dwell}}}\n    \
         clips: {{storage: clips, triggers: [zone-enter], pre-roll: 1 s, post-roll: 600 s, \
         max-duration: 600 s}}\n    publish: [{{target: events.jsonl}}]\n"
    );
    looped("door", &more)
}

#[test]
fn cameras_run_are_counted_reloaded_and_drained() {
    let Some(setup) = Setup::new() else { return };
    clip(Path::new(&setup.path("clip.mp4")), 3);
    let config = setup.path("config.yaml");
    fs::write(&config, tiny_models(&(door("60 s") + &looped("yard", "")))).unwrap();
    let running = Running::start(&setup, &config);
    running.wait_for_notice("READY=1");
    let value = |series: &str| metric(&running.get("/metrics").1, series);
    let started = "gst_face_clips_total{camera=\"door\",result=\"started\"}";
    running.wait_until("both run, and a clip begins", |r| {
        let looks = value("gst_face_looks_total{camera=\"yard\"}");
        let (faces, clips) = (value("gst_face_visible_faces{camera=\"yard\"}"), value(started));
        r.get("/healthz").0 == 200
            && (faces, clips) == (Some(2.0), Some(1.0))
            && looks.is_some_and(|n| n > 5.0)
    });
    assert!(value("process_resident_memory_bytes").is_some_and(|bytes| bytes > 1e6));

    // A file with an error changes nothing.
    fs::write(&config, "version: 1\ncameras: {door: {}}\n").unwrap();
    running.reload();
    assert_eq!(value("gst_face_reloads_total{result=\"refused\"}"), Some(1.0));
    running.wait_until("both still run", |r| r.get("/healthz").0 == 200);

    // What can change while it plays is set, and a camera is added; the clip of the door goes on.
    let cameras = door("1 s") + &looped("yard", "") + &looped("gate", "");
    fs::write(&config, tiny_models(&cameras)).unwrap();
    running.reload();
    running.wait_until("three cameras run, and somebody stays", |r| {
        let (code, health) = r.get("/healthz");
        let dwells = value("gst_face_events_total{camera=\"door\",kind=\"zone-dwell\"}");
        code == 200 && health.contains("\"gate\"") && dwells.is_some()
    });
    let failures = value("gst_face_camera_failures_total{camera=\"door\"}");
    assert_eq!((failures, value(started)), (Some(0.0), Some(1.0)));

    running.signal("TERM");
    running.wait_for_notice("STOPPING=1");
    let events = running.wait(0);
    let told: Vec<&str> = events.iter().filter_map(|event| event["message"].as_str()).collect();
    assert!(told.contains(&"face-zone") && told.contains(&"clip-spooled"), "{told:?}");
    let stored = clips(Path::new(&setup.path("clips")));
    let [video] = &stored[..] else { panic!("{stored:?}") };
    // From before the event to the end, with its index.
    assert!(pictures(video) > 15, "{video:?}");
    assert!(fs::read_to_string(setup.path("events.jsonl")).unwrap().contains("zone-enter"));
}

#[test]
fn camera_that_changes_what_it_cannot_while_playing_starts_again() {
    let Some(setup) = Setup::new() else { return };
    clip(Path::new(&setup.path("clip.mp4")), 3);
    let config = setup.path("config.yaml");
    fs::write(&config, tiny_models(&(door("60 s") + &looped("yard", "")))).unwrap();
    let running = Running::start(&setup, &config);
    let value = |series: &str| metric(&running.get("/metrics").1, series);
    running.wait_until("a clip begins", |_| {
        value("gst_face_clips_total{camera=\"door\",result=\"started\"}") == Some(1.0)
    });
    let frames = value("gst_face_frames_total{camera=\"yard\"}").unwrap();
    // The door is no longer kept, and the yard goes.
    fs::write(&config, tiny_models(&looped("door", ""))).unwrap();
    running.reload();
    running.wait_until("the door runs again, alone", |r| {
        let (code, health) = r.get("/healthz");
        let before = health.contains("\"yard\"");
        let spooled = value("gst_face_clips_total{camera=\"door\",result=\"spooled\"}");
        code == 200 && !before && spooled == Some(1.0)
    });
    assert!(frames > 0.0);
    // What was counted before goes on.
    assert!(value("gst_face_looks_total{camera=\"door\"}").is_some_and(|looks| looks > 1.0));
    running.stop("TERM", 0);
    assert_eq!(clips(Path::new(&setup.path("clips"))).len(), 1);
}

#[test]
fn second_signal_ends_at_once_what_a_first_one_takes_time_for() {
    let Some(setup) = Setup::new() else { return };
    clip(Path::new(&setup.path("clip.mp4")), 3);
    let config = setup.path("config.yaml");
    // Nobody listens there: what is told waits in the spool.
    let publish =
        "    publish: [{target: 'http://127.0.0.1:9/'}]\n    zones: {all: '0,0 1,0 1,1 0,1'}\n";
    fs::write(&config, tiny_models(&looped("door", publish))).unwrap();
    let running = Running::start(&setup, &config);
    running.wait_until("something waits", |r| {
        let waiting = "gst_face_outbox_entries{state=\"waiting\"}";
        metric(&r.get("/metrics").1, waiting).is_some_and(|n| n > 0.0)
    });
    running.signal("TERM");
    running.wait_for_notice("STOPPING=1");
    running.stop("TERM", 143);
}

#[test]
fn annotated_stream_is_a_camera_for_others() {
    let Some(setup) = Setup::new() else { return };
    clip(Path::new(&setup.path("clip.mp4")), 3);
    let config = setup.path("config.yaml");
    let text = tiny_models(&looped("door", "    output: true\n"));
    fs::write(&config, format!("rtsp: {{address: '127.0.0.1:0'}}\n{text}")).unwrap();
    let running = Running::start(&setup, &config);
    let address = running.wait_for_note("rtsp://");
    running.wait_until("it runs", |r| r.get("/healthz").0 == 200);
    gst::init().unwrap();
    let launch =
        "rtspsrc name=camera protocols=tcp ! rtph264depay ! decodebin ! fakesink num-buffers=5";
    // The first picture may still be on its way to the server: viewers who come before it are refused.
    running.wait_until("five pictures are seen", |_| {
        let viewer = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
        viewer.by_name("camera").unwrap().set_property("location", address.trim());
        viewer.set_state(gst::State::Playing).unwrap();
        let end = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = viewer.bus().unwrap().timed_pop_filtered(service::PATIENCE_CLOCK, &end);
        viewer.set_state(gst::State::Null).unwrap();
        message.expect("pictures or an error").type_() == gst::MessageType::Eos
    });
    running.stop("TERM", 0);
}

/// Videos below a folder.
fn clips(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(clips(&path));
        } else if path.extension().is_some_and(|e| e == "mp4") {
            found.push(path);
        }
    }
    found
}

/// Pictures that a video decodes to; it must end well.
fn pictures(video: &Path) -> u64 {
    gst::init().unwrap();
    let launch = "filesrc name=file ! decodebin ! fakesink name=sink sync=false";
    let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("file").unwrap().set_property("location", video);
    pipeline.set_state(gst::State::Playing).unwrap();
    let end = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(service::PATIENCE_CLOCK, &end);
    let message = message.expect("the end");
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    let stats: gst::Structure = pipeline.by_name("sink").unwrap().property("stats");
    pipeline.set_state(gst::State::Null).unwrap();
    stats.get("rendered").unwrap()
}

#[test]
fn camera_that_is_off_is_waited_for_and_stops_no_other() {
    let Some(setup) = Setup::new() else { return };
    let media = "( videotestsrc is-live=true ! video/x-raw,width=64,height=64,framerate=10/1 \
                 ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max=5 \
                 ! rtph264pay name=pay0 pt=96 config-interval=-1 )";
    let Some(mut camera) = RtspCamera::run(&[media]) else { return };
    clip(Path::new(&setup.path("clip.mp4")), 3);
    let port = camera.port().to_owned();
    let door = format!("  door:\n    source: {}\n", camera.address);
    let config = setup.path("config.yaml");
    fs::write(&config, tiny_models(&(door + &looped("yard", "")))).unwrap();
    let running = Running::start(&setup, &config);
    running.wait_until("both run", |r| r.get("/healthz").0 == 200);
    camera.kill();
    running.wait_until("the door is lost", |r| {
        let (code, health) = r.get("/healthz");
        code == 503 && health.contains(r#""name":"door","state":"connecting""#)
    });
    let yard = |r: &Running| {
        metric(&r.get("/metrics").1, "gst_face_frames_total{camera=\"yard\"}").unwrap()
    };
    let before = yard(&running);
    running.wait_until("the yard goes on", |r| yard(r) > before + 5.0);
    assert_eq!(running.get("/livez"), (200, "ok\n".to_owned()));
    let back = RtspCamera::run(&[media, "--port", &port]);
    assert!(back.is_some(), "the server is there again");
    running.wait_until("both run again", |r| r.get("/healthz").0 == 200);
    let losses = "gst_face_camera_losses_total{camera=\"door\"}";
    assert!(metric(&running.get("/metrics").1, losses).is_some_and(|n| n >= 1.0));
    running.stop("INT", 0);
}

#[test]
fn files_that_are_over_end_the_service() {
    let Some(setup) = Setup::new() else { return };
    clip(Path::new(&setup.path("clip.mp4")), 2);
    let config = setup.path("config.yaml");
    let cameras = "  a: {source: clip.mp4}\n  b: {source: clip.mp4, recognition: false}\n";
    fs::write(&config, tiny_models(cameras)).unwrap();
    let running = Running::start(&setup, &config);
    let events = running.wait(0);
    for camera in ["a", "b"] {
        let ended = |event: &&Value| event["camera"] == camera && event["state"] == "ended";
        assert_eq!(events.iter().filter(ended).count(), 1, "{events:?}");
    }
}

#[test]
fn address_that_is_taken_is_no_fault_of_the_configuration() {
    let Some(setup) = Setup::new() else { return };
    clip(Path::new(&setup.path("clip.mp4")), 1);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = setup.path("config.yaml");
    fs::write(&config, tiny_models(&looped("door", ""))).unwrap();
    setup.run(&["run", "--http", &address, &config]).is_error(1, &[&address, "/metrics"]);
}

#[test]
fn real_people_are_recognised_on_two_cameras() {
    let (Some(setup), Some(media)) = (Setup::new(), shared_media()) else { return };
    let clip = media.join("video/short_hamilton_clip.mp4");
    let cameras = [RtspCamera::serve(&clip), RtspCamera::serve(&clip)];
    let [Some(stage), Some(balcony)] = cameras else { return };
    let gallery = setup.people();
    let config = setup.path("config.yaml");
    let text = format!(
        "version: 1\nmodels: {{threads: 1}}\ngallery: '{gallery}'\nhttp: {{address: '127.0.0.1:0'}}\n\
         spool: {{folder: spool}}\ndefaults:\n  clips: {{storage: clips, triggers: [known-face]}}\n\
         cameras:\n  stage: {{source: '{}'}}\n  balcony: {{source: '{}'}}\n",
        stage.address, balcony.address
    );
    fs::write(&config, text).unwrap();
    let running = Running::start(&setup, &config);
    for camera in ["stage", "balcony"] {
        running.wait_for_event("somebody is recognised", |event| {
            event["camera"] == camera
                && event["message"] == "face-identity"
                && event["name"] == "lin-manuel-miranda"
        });
    }
    running.wait_until("both are counted, and kept", |r| {
        let text = r.get("/metrics").1;
        let count = |series: String| metric(&text, &series).unwrap_or(0.0);
        ["stage", "balcony"].iter().all(|camera| {
            let camera = format!("camera=\"{camera}\"");
            count(format!("gst_face_identifications_total{{{camera}}}")) >= 1.0
                && count(format!("gst_face_clips_total{{{camera},result=\"started\"}}")) >= 1.0
        })
    });
    running.stop("TERM", 0);
    let stored = clips(Path::new(&setup.path("clips")));
    assert!(stored.len() >= 2, "{stored:?}");
    for video in stored {
        assert!(pictures(&video) > 0, "{video:?}");
    }
}
