//! Streams for clipsink, and clips that came out of it.
#![allow(dead_code, reason = "each test that includes this file uses another part of it")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use face_core::clip::{Clip, Clips, Filter, KeyTemplate, Part, Sidecar};
use face_core::storage::Storage;
use gst::prelude::*;
use gstface::meta::{Event, Face, FrameFaces};
use tempfile::TempDir;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1000 * MS;
/// Pictures of all streams here are so far apart.
pub(crate) const FRAME: u64 = 40 * MS;

pub(crate) fn init() {
    // Muxers and parsers of GStreamer 1.22 compare, now and then, a field that there is not
    // (gst_value_compare), and say so; the clip is whole all the same, which these tests look at.
    glib::log_set_always_fatal(glib::LogLevels::LEVEL_ERROR);
    gst::init().unwrap();
    gstface::plugin_register_static().unwrap();
}

/// A coded stream.
#[derive(Clone, Debug)]
pub(crate) struct Coded {
    pub(crate) caps: gst::Caps,
    /// In the order of decoding.
    pub(crate) buffers: Vec<gst::Buffer>,
}

/// Runs a pipeline that ends with `appsink name=out` and collects what comes out.
pub(crate) fn collect(description: &str) -> Coded {
    init();
    let pipeline = gst::parse::launch(description).unwrap_or_else(|e| panic!("{description}: {e}"));
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("out").and_downcast::<gst_app::AppSink>().unwrap();
    sink.set_property("sync", false);
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut buffers, mut caps) = (Vec::new(), None);
    let patience = gst::ClockTime::from_seconds(30);
    while let Some(sample) = sink.try_pull_sample(patience) {
        let segment = sample.segment().unwrap().clone();
        let segment = segment.downcast::<gst::ClockTime>().unwrap();
        let mut buffer = sample.buffer_owned().unwrap();
        let time = |t: Option<gst::ClockTime>| segment.to_running_time_full(t?);
        let (pts, dts) = (time(buffer.pts()), time(buffer.dts()));
        let plus = |t: Option<gst::Signed<gst::ClockTime>>| {
            // A second later, so that decoding times are not negative.
            let second = gst::ClockTime::SECOND;
            t.map(|t| match t {
                gst::Signed::Positive(t) => second + t,
                gst::Signed::Negative(t) => second - t,
            })
        };
        let changed = buffer.make_mut();
        changed.set_pts(plus(pts));
        changed.set_dts(plus(dts));
        buffers.push(buffer);
        caps = sample.caps_owned();
    }
    pipeline.set_state(gst::State::Null).unwrap();
    Coded { caps: caps.unwrap_or_else(|| panic!("nothing came out of {description}")), buffers }
}

/// H.264 of 25 pictures a second with a key picture every second; `encoder` are further settings of
/// x264enc, `format` the stream format.
pub(crate) fn h264(pictures: u32, encoder: &str, format: &str) -> Coded {
    collect(&format!(
        "videotestsrc num-buffers={pictures} pattern=ball ! video/x-raw,format=I420,width=160,\
         height=120,framerate=25/1 ! x264enc speed-preset=veryfast key-int-max=25 threads=1 {encoder} \
         ! h264parse ! video/x-h264,stream-format={format},alignment=au ! appsink name=out"
    ))
}

pub(crate) fn h265(pictures: u32) -> Coded {
    collect(&format!(
        "videotestsrc num-buffers={pictures} pattern=ball ! video/x-raw,format=I420,width=160,\
         height=120,framerate=25/1 ! x265enc speed-preset=ultrafast key-int-max=25 log-level=0 \
         option-string=\"pools=1:bframes=2\" ! h265parse ! \
         video/x-h265,stream-format=byte-stream,alignment=au ! appsink name=out"
    ))
}

/// A pipeline around clipsink, with its folders.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) pipeline: gst::Pipeline,
    pub(crate) element: gst::Element,
    pub(crate) bus: gst::Bus,
}

impl Scene {
    /// Clips from a second before to a second after any event of the name `known-face`.
    pub(crate) fn new() -> Self {
        init();
        let folder = tempfile::tempdir().unwrap();
        let element = gst::ElementFactory::make("clipsink")
            .name("clips")
            .property("spool", folder.path().join("spool").to_str().unwrap())
            .property("storage", folder.path().join("clips").to_str().unwrap())
            .property("camera", "door")
            .property("pre-roll", S)
            .property("post-roll", S)
            .build()
            .unwrap();
        let pipeline = gst::Pipeline::new();
        pipeline.add(&element).unwrap();
        let bus = pipeline.bus().unwrap();
        Self { folder, pipeline, element, bus }
    }

    pub(crate) fn set(self, name: &str, value: impl Into<glib::Value>) -> Self {
        self.element.set_property(name, value);
        self
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// A source linked to a pad of clipsink.
    pub(crate) fn source(&self, pad: &str, caps: &gst::Caps) -> gst_app::AppSrc {
        let source =
            gst_app::AppSrc::builder().caps(caps).format(gst::Format::Time).block(false).build();
        self.pipeline.add(&source).unwrap();
        source.link_pads(Some("src"), &self.element, Some(pad)).unwrap();
        source.sync_state_with_parent().unwrap();
        source
    }

    pub(crate) fn play(&self) {
        self.pipeline.set_state(gst::State::Playing).unwrap();
    }

    pub(crate) fn wait_for(&self, kind: gst::MessageType) -> gst::Message {
        let kinds = [kind, gst::MessageType::Error];
        let message = self.bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
        let message = message.unwrap_or_else(|| panic!("no {kind:?}"));
        if let gst::MessageView::Error(error) = message.view()
            && kind != gst::MessageType::Error
        {
            panic!("{} ({:?})", error.error(), error.debug());
        }
        message
    }

    /// Waits for the element message of that name.
    pub(crate) fn message(&self, name: &str) -> gst::Structure {
        loop {
            let message = self.wait_for(gst::MessageType::Element);
            let structure = message.structure().unwrap().to_owned();
            if structure.name() == name {
                return structure;
            }
        }
    }

    /// Waits for the end, then stops; all element messages since.
    pub(crate) fn finish(&self) -> Vec<gst::Structure> {
        let mut structures = Vec::new();
        loop {
            let kinds = [gst::MessageType::Element, gst::MessageType::Eos, gst::MessageType::Error];
            let message = self.bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
            let message = message.expect("the end within a minute");
            match message.view() {
                gst::MessageView::Eos(_) => break,
                gst::MessageView::Error(error) => panic!("{}", error.error()),
                _ => structures.extend(message.structure().map(ToOwned::to_owned)),
            }
        }
        self.pipeline.set_state(gst::State::Null).unwrap();
        structures
    }

    pub(crate) fn storage(&self) -> Storage {
        Storage::open(self.folder.path().join("clips").to_str().unwrap()).unwrap()
    }

    /// The clips of the storage, the oldest first, when so many are there.
    pub(crate) fn clips(&self, count: usize) -> Vec<(Clip, Sidecar)> {
        let outbox = face_core::outbox::Outbox::open(&self.spool(), Default::default()).unwrap();
        let courier = face_core::outbox::Courier::new(&outbox).unwrap();
        courier.flush(&mut |_, _| {}, &|| false).unwrap();
        let clips = Clips::new(self.storage(), KeyTemplate::default());
        let mut found =
            clips.list(&Filter::default(), &mut |_, _| std::ops::ControlFlow::Continue(()));
        let found = found.as_mut().unwrap();
        found.sort_by_key(|clip| clip.start);
        assert_eq!(found.len(), count, "{found:?}");
        found
            .drain(..)
            .map(|clip| {
                let json = clips.get(&clip, Part::Sidecar, 1 << 26).unwrap();
                (clip, Sidecar::read(&json).unwrap())
            })
            .collect()
    }

    pub(crate) fn file(&self, clip: &Clip, part: Part) -> PathBuf {
        self.folder.path().join("clips").join(&clip.part(part).unwrap().key)
    }

    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.element.property::<gst::Structure>("stats").get(name).unwrap()
    }
}

/// Writes metadata onto a buffer: one face of track 7 at a quarter of the picture, and events.
pub(crate) fn with_meta(buffer: &gst::Buffer, events: &[Event]) -> gst::Buffer {
    let mut buffer = buffer.clone();
    let face = Face {
        bbox: face_core::geometry::BBox::new(0.25, 0.25, 0.5, 0.5),
        observed: true,
        score: 0.9,
        track_id: 7,
        name: Some("Ada".into()),
        status: face_core::identity::Status::Known,
        ..Face::default()
    };
    let faces = FrameFaces {
        looked: true,
        width: 160,
        height: 120,
        par: (1, 1),
        faces: vec![face],
        events: events.to_vec(),
        ..FrameFaces::default()
    };
    faces.write(buffer.make_mut());
    buffer
}

pub(crate) fn event(id: &str, time_ns: u64) -> Event {
    Event {
        id: id.to_owned(),
        kind: "known-face".to_owned(),
        track_id: 7,
        name: Some("Ada".into()),
        person_id: Some("p-1".into()),
        similarity: Some(0.5),
        running_time_ns: Some(time_ns),
        ..Event::default()
    }
}

pub(crate) fn pts(buffer: &gst::Buffer) -> Option<u64> {
    buffer.pts().map(gst::ClockTime::nseconds)
}

/// The coded pictures of a file, as byte stream.
pub(crate) fn demuxed(file: &Path, codec: &str) -> Coded {
    collect(&format!(
        "filesrc location={} ! qtdemux ! {codec}parse ! video/x-{codec},stream-format=byte-stream,\
         alignment=au ! appsink name=out",
        file.display()
    ))
}

/// Number of pictures that a decoder makes of a file without an error.
pub(crate) fn decoded(file: &Path) -> usize {
    collect(&format!(
        "filesrc location={} ! qtdemux name=d d.video_0 ! queue ! decodebin ! video/x-raw ! \
         appsink name=out",
        file.display()
    ))
    .buffers
    .len()
}

/// NAL units of byte streams that hold pictures (VCL) or SEI, by their bytes.
pub(crate) fn units(buffers: &[gst::Buffer], codec: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for buffer in buffers {
        let map = buffer.map_readable().unwrap();
        found.extend(nal_units(&map).into_iter().filter(|unit| kept(unit, codec)));
    }
    found
}

fn kept(unit: &[u8], codec: &str) -> bool {
    match codec {
        // Slices 1 to 5, SEI 6.
        "h264" => matches!(unit[0] & 0x1f, 1..=6),
        // Slices 0 to 31, SEI 39 and 40.
        _ => matches!((unit[0] >> 1) & 0x3f, 0..=31 | 39 | 40),
    }
}

fn nal_units(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at + 3 <= bytes.len() {
        if bytes[at..at + 3] == [0, 0, 1] {
            starts.push(at + 3);
            at += 3;
        } else {
            at += 1;
        }
    }
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([bytes.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| {
            let mut unit = bytes[*start..end].to_vec();
            while unit.last() == Some(&0) {
                unit.pop();
            }
            unit
        })
        .collect()
}

/// Is `part` a piece of `whole` without gaps? Where it begins.
pub(crate) fn position(part: &[Vec<u8>], whole: &[Vec<u8>]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}

/// Waits until something is so, for as long as a slow machine may need.
pub(crate) fn until(what: &str, so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(60), "not after a minute: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
