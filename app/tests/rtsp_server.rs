//! Streams that are served over RTSP, read by rtspsrc and by ffprobe.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use face_pipeline::rtsp_server::{RtspServer, RtspServerError};
use gst::prelude::*;
use support::stream::PATIENCE;

fn server() -> RtspServer {
    RtspServer::start(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

/// A pipeline, PLAYING until it is dropped.
struct Playing(gst::Pipeline);

impl Playing {
    fn launch(description: &str) -> Playing {
        gst::init().unwrap();
        let pipeline = gst::parse::launch(description).unwrap().downcast::<gst::Pipeline>();
        let playing = Playing(pipeline.unwrap());
        playing.0.set_state(gst::State::Playing).unwrap();
        playing
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

/// A camera whose pictures are served. All of it is linked before it plays: a source that pushes into nothing ends.
fn camera(mount: &face_pipeline::rtsp_server::Mount) -> Playing {
    gst::init().unwrap();
    let camera = "videotestsrc is-live=true pattern=ball \
                  ! video/x-raw,width=160,height=120,framerate=10/1 ! identity name=end";
    let pipeline = gst::parse::launch(camera).unwrap().downcast::<gst::Pipeline>().unwrap();
    let branch = mount.branch().unwrap();
    pipeline.add(&branch).unwrap();
    pipeline.by_name("end").unwrap().link(&branch).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    Playing(pipeline)
}

/// Waits until that is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Somebody who watches, and has seen so many pictures; comes again, as players do, if there was an error.
fn viewer(url: &str, pictures: u64) -> Playing {
    let limit = Instant::now() + PATIENCE;
    loop {
        let playing = Playing::launch(&format!(
            "rtspsrc location={url} latency=50 protocols=tcp ! rtph264depay ! avdec_h264 \
             ! fakesink name=seen sync=false"
        ));
        let (sink, bus) = (playing.0.by_name("seen").unwrap(), playing.0.bus().unwrap());
        loop {
            let stats: gst::Structure = sink.property("stats");
            if stats.get::<u64>("rendered").unwrap() >= pictures {
                return playing;
            }
            let pause = gst::ClockTime::from_mseconds(20);
            let error = bus.timed_pop_filtered(pause, &[gst::MessageType::Error]);
            assert!(Instant::now() < limit, "pictures come: {error:?}");
            if let Some(error) = error {
                eprintln!("{error:?}");
                break;
            }
        }
    }
}

#[test]
fn stream_is_coded_once_and_only_while_somebody_watches() {
    let server = server();
    let door = server.mount("/door", 500).unwrap();
    let _camera = camera(&door);
    assert!(!door.is_watched());
    let url = server.url("/door");
    until("a picture comes", || door.is_ready());
    let first = viewer(&url, 5);
    let second = viewer(&url, 5);
    assert!(door.is_watched());
    assert_eq!(server.viewers(), 2);
    drop(first);
    drop(second);
    until("nobody watches", || !door.is_watched());
    drop(viewer(&url, 5));
}

#[test]
fn any_player_reads_it() {
    let server = server();
    let mount = server.mount("/front/door-1", 0).unwrap();
    let early = server.url("/front/door-1");
    let gone =
        Command::new("timeout").args(["60", "ffprobe", "-v", "error", &early]).output().unwrap();
    assert!(!gone.status.success(), "nothing is served before the first picture: {gone:?}");
    let _camera = camera(&mount);
    until("a picture comes", || mount.is_ready());
    let probe = Command::new("timeout")
        .args(["60", "ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-of", "csv"])
        .args(["-show_entries", "stream=codec_name,width,height", &server.url("/front/door-1")])
        .output()
        .unwrap();
    if probe.status.code() == Some(127) {
        eprintln!("skipped: ffprobe is not installed");
        return;
    }
    let said = String::from_utf8_lossy(&probe.stdout);
    assert!(said.contains("h264,160,120"), "{probe:?}");
}

#[test]
fn paths_and_addresses_that_cannot_be_are_named() {
    let server = server();
    for path in ["", "/", "door", "/a b", "/a//b", "/../ü", "/a?b"] {
        let error = server.mount(path, 0).unwrap_err();
        assert!(matches!(&error, RtspServerError::Path { .. }), "{error}");
    }
    let door = server.mount("/door", 0).unwrap();
    assert!(matches!(server.mount("/door", 0), Err(RtspServerError::Taken { .. })));
    drop(door);
    server.mount("/door", 0).unwrap();
    let taken = RtspServer::start(server.address()).unwrap_err().to_string();
    assert!(taken.contains(&server.address().to_string()), "{taken}");
}

#[test]
fn server_that_goes_takes_its_viewers_and_its_port_along() {
    let first = server();
    let door = first.mount("/door", 0).unwrap();
    let _camera = camera(&door);
    until("a picture comes", || door.is_ready());
    let watching = viewer(&first.url("/door"), 3);
    let address = first.address();
    drop(first);
    let again = RtspServer::start(address).unwrap();
    assert_eq!(again.viewers(), 0);
    drop(watching);
}
