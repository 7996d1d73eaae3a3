//! Streams for the tests: tiny models, made-up frames, a camera on loopback.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use face_core::frame::PixelFormat;
use face_core::inference::{PoolOptions, runtime_path};
use face_core::load::Interval;
use face_pipeline::Recognition;
use face_pipeline::tracker::{Event, FaceMessage, Frame, TrackerError, TrackerPipeline, Tracking};
use gst::prelude::*;

/// Longest that a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Path of a file in tests/data.
pub(crate) fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name);
    path.canonicalize().unwrap().to_str().unwrap().to_owned()
}

/// Two faces on every picture of 64 × 64, embedded by their colours; every frame is looked at.
/// Says so where ONNX Runtime is missing.
pub(crate) fn tiny() -> Option<TrackerPipeline> {
    if let Err(error) = runtime_path(&PoolOptions::default()) {
        eprintln!("skipped: {error}");
        return None;
    }
    Some(TrackerPipeline::new().recognition(tiny_models("two_faces.onnx")))
}

pub(crate) fn tiny_models(detector: &str) -> Recognition {
    Recognition {
        detector: Some(data(detector)),
        embedder: Some(data("embedder.onnx")),
        interval: Interval::Every(1),
        ..super::recognition()
    }
}

/// A grey picture of 64 × 64.
pub(crate) fn grey() -> Frame<'static> {
    Frame::new(PixelFormat::Rgb, 64, 64, vec![128; 64 * 64 * 3])
}

/// Small pictures that videotestsrc makes, as fast as they are taken.
pub(crate) const PICTURES: &str = "video/x-raw,format=RGB,width=64,height=64,framerate=30/1";

/// Events up to the end; the result that the last one has.
pub(crate) fn all(tracking: &Tracking) -> (Vec<Event>, Result<(), TrackerError>) {
    let mut events = Vec::new();
    loop {
        match tracking.wait_for(PATIENCE).expect("the stream ends") {
            Event::Ended(result) => return (events, result),
            event => events.push(event),
        }
    }
}

/// The next message of that name.
pub(crate) fn message(tracking: &Tracking, name: &str) -> FaceMessage {
    loop {
        match tracking.wait_for(PATIENCE) {
            Some(Event::Message(message)) if message.name() == name => return message,
            Some(Event::Ended(result)) => panic!("it ended without {name}: {result:?}"),
            Some(_) => {}
            None => panic!("no {name}"),
        }
    }
}

/// Runs a pipeline to its end.
pub(crate) fn launch(description: &str) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(description).unwrap();
    let bus = pipeline.bus().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let end = bus.timed_pop_filtered(
        gst::ClockTime::from_seconds(60),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    pipeline.set_state(gst::State::Null).unwrap();
    let end = end.expect("the end");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{description}: {end:?}");
}

/// Ten seconds of a ball that moves, in H.264.
pub(crate) fn clip(folder: &Path) -> PathBuf {
    let clip = folder.join("ball.mp4");
    launch(&format!(
        "videotestsrc num-buffers=300 pattern=ball ! {PICTURES} ! videoconvert ! x264enc \
         key-int-max=15 tune=zerolatency ! h264parse ! mp4mux ! filesink location={}",
        clip.display()
    ));
    clip
}

/// A clip served over RTSP on loopback; ends with this value.
pub(crate) struct RtspCamera {
    server: Child,
    pub(crate) address: String,
}

impl RtspCamera {
    /// `None`, and a word why, where GStreamer's RTSP server is not installed for Python.
    pub(crate) fn serve(clip: &Path) -> Option<RtspCamera> {
        Self::serve_at(clip, 0)
    }

    /// At a port that a camera was at before; 0: any.
    pub(crate) fn serve_at(clip: &Path, port: u16) -> Option<RtspCamera> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut server = Command::new("/usr/bin/python3")
            .arg(root.join("../cli/tests/examples/rtsp_server.py"))
            .arg(clip)
            .args(["--port", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut address = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
        if address.is_empty() {
            eprintln!("skipped: no RTSP server (gir1.2-gst-rtsp-server-1.0, python3-gi)");
            server.wait().unwrap();
            return None;
        }
        Some(RtspCamera { server, address: address.trim().to_owned() })
    }

    pub(crate) fn port(&self) -> u16 {
        let place = self.address.trim_start_matches("rtsp://127.0.0.1:");
        place.split('/').next().unwrap().parse().unwrap()
    }

    /// As a camera that loses its power.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// As a camera whose network cable is pulled: the connection stays, nothing comes.
    pub(crate) fn freeze(&mut self) {
        self.signal("-STOP");
    }

    fn signal(&self, signal: &str) {
        let id = self.server.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for RtspCamera {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
