//! Cameras for the tests of facecamerasrc: GStreamer's RTSP server in a process that can be killed, a proxy that spoils
//! what it carries, and a pipeline that counts what comes.
#![allow(dead_code, reason = "not every test file uses everything")]

pub(crate) mod proxy;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::prelude::*;
use parking_lot::{Condvar, Mutex};

/// Longest that a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A small moving picture as a camera sends it, with a key picture twice a second.
pub(crate) fn video(size: (u32, u32)) -> String {
    format!(
        "videotestsrc is-live=true pattern=ball ! video/x-raw,width={},height={},framerate=10/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max=5 \
         ! rtph264pay name=pay0 pt=96 config-interval=-1",
        size.0, size.1
    )
}

pub(crate) const SOUND: &str =
    "audiotestsrc is-live=true wave=silence ! alawenc ! rtppcmapay name=pay1 pt=8";

/// A camera on loopback; ends with this value.
#[derive(Debug)]
pub(crate) struct Camera {
    server: Child,
    pub(crate) address: String,
}

impl Camera {
    /// `None`, and a word why, where GStreamer's RTSP server is not installed for Python.
    pub(crate) fn serve(media: &str) -> Option<Camera> {
        Self::run(&[&format!("( {media} )")])
    }

    /// At a port that a camera was at before.
    pub(crate) fn serve_at(media: &str, port: u16) -> Option<Camera> {
        Self::run(&[&format!("( {media} )"), "--port", &port.to_string()])
    }

    pub(crate) fn run(arguments: &[&str]) -> Option<Camera> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut server = Command::new("/usr/bin/python3")
            .arg(script.join("../cli/tests/examples/rtsp_server.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its warnings are none of the element's.
            .env_remove("G_DEBUG")
            .spawn()
            .ok()?;
        let mut address = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
        if address.is_empty() {
            eprintln!("skipped: no RTSP server (gir1.2-gst-rtsp-server-1.0, python3-gi)");
            server.wait().unwrap();
            return None;
        }
        Some(Camera { server, address: address.trim().to_owned() })
    }

    pub(crate) fn port(&self) -> u16 {
        port_of(&self.address)
    }

    /// As a camera that loses its power.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// As a camera whose network cable is pulled (`STOP`) and plugged in again (`CONT`).
    pub(crate) fn signal(&self, name: &str) {
        let id = self.server.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn port_of(address: &str) -> u16 {
    let (_, port) = address.split_once("127.0.0.1:").unwrap();
    port.split('/').next().unwrap().parse().unwrap()
}

/// A port of loopback that nobody listens at.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a buffer of the camera was.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) pts: gst::ClockTime,
    /// Running time of the pipeline when it came.
    pub(crate) now: gst::ClockTime,
    pub(crate) discont: bool,
    pub(crate) key: bool,
    /// The camera's own clock stands on it.
    pub(crate) reference: bool,
    pub(crate) caps: gst::Caps,
}

#[derive(Debug, Default)]
struct Tape {
    seen: Mutex<Vec<Seen>>,
    more: Condvar,
}

/// facecamerasrc in a pipeline, PLAYING, and what comes of it.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) pipeline: gst::Pipeline,
    pub(crate) source: gst::Element,
    tape: Arc<Tape>,
}

impl Rig {
    pub(crate) fn new(uri: &str, properties: &[(&str, &str)]) -> Rig {
        let rig = Self::stopped(uri, properties);
        rig.pipeline.set_state(gst::State::Playing).unwrap();
        rig
    }

    pub(crate) fn stopped(uri: &str, properties: &[(&str, &str)]) -> Rig {
        super::common::init();
        let pipeline = gst::Pipeline::new();
        let source =
            gst::ElementFactory::make("facecamerasrc").property("uri", uri).build().unwrap();
        for (name, value) in properties {
            source.set_property_from_str(name, value);
        }
        let tape = Arc::<Tape>::default();
        let recorder = tape.clone();
        let weak = pipeline.downgrade();
        let sink = gst_app::AppSink::builder()
            .sync(false)
            .async_(false)
            .callbacks(
                gst_app::AppSinkCallbacks::builder()
                    .new_sample(move |sink| {
                        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                        let now = weak.upgrade().and_then(|p| p.current_running_time());
                        recorder.put(&sample, now.unwrap_or_default());
                        Ok(gst::FlowSuccess::Ok)
                    })
                    .build(),
            )
            .build();
        pipeline.add_many([&source, sink.upcast_ref()]).unwrap();
        source.link(&sink).unwrap();
        Rig { pipeline, source, tape }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.tape.seen.lock().clone()
    }

    /// Waits until so many buffers more than `after` have come; all of them.
    pub(crate) fn wait_for(&self, after: usize, more: usize) -> Vec<Seen> {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.tape.seen.lock();
        while seen.len() < after + more {
            let late = self.tape.more.wait_until(&mut seen, until).timed_out();
            assert!(!late, "{} buffers, {:?}", seen.len(), self.stats());
        }
        seen.clone()
    }

    /// The next message `face-camera` of that state.
    pub(crate) fn message(&self, state: &str) -> gst::Structure {
        let bus = self.pipeline.bus().unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = gst::ClockTime::try_from(left).unwrap();
            let message = bus.timed_pop(left).unwrap_or_else(|| panic!("no {state}"));
            match message.view() {
                gst::MessageView::Error(error) => panic!("{error:?} instead of {state}"),
                gst::MessageView::Latency(_) => {
                    let _ = self.pipeline.recalculate_latency();
                }
                _ => {}
            }
            let found = message.structure().filter(|s| s.has_name("face-camera"));
            if let Some(found) = found.filter(|s| s.get::<&str>("state") == Ok(state)) {
                return found.to_owned();
            }
        }
    }

    /// The next message of one of the kinds.
    pub(crate) fn pop(&self, kinds: &[gst::MessageType]) -> gst::Message {
        let limit = gst::ClockTime::try_from(PATIENCE).unwrap();
        self.pipeline.bus().unwrap().timed_pop_filtered(limit, kinds).expect("a message")
    }

    pub(crate) fn stats(&self) -> gst::Structure {
        self.source.property("stats")
    }

    pub(crate) fn count(&self, field: &str) -> u64 {
        self.stats().get(field).unwrap()
    }
}

impl Tape {
    fn put(&self, sample: &gst::Sample, now: gst::ClockTime) {
        let buffer = sample.buffer().unwrap();
        let flags = buffer.flags();
        self.seen.lock().push(Seen {
            pts: buffer.pts().expect("every buffer has a time"),
            now,
            discont: flags.contains(gst::BufferFlags::DISCONT),
            key: !flags.contains(gst::BufferFlags::DELTA_UNIT),
            reference: buffer.iter_meta::<gst::ReferenceTimestampMeta>().next().is_some(),
            caps: sample.caps_owned().unwrap(),
        });
        self.more.notify_all();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Threads and open files of this process.
pub(crate) fn resources() -> (usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}
