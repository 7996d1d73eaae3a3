//! What the tests of the elements share: the tiny models of tests/data, pictures in every format,
//! and an element in a harness.
#![allow(dead_code, reason = "not every test file uses everything")]

pub(crate) mod people;
pub(crate) mod server;

use std::path::{Path, PathBuf};

use gst::prelude::*;
use gst_check::Harness;
use gstface::meta::FrameFaces;

pub(crate) fn init() {
    gst::init().unwrap();
    gstface::plugin_register_static().unwrap();
}

/// Path of a file in tests/data.
pub(crate) fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name);
    path.canonicalize().unwrap_or(path).to_str().unwrap().to_owned()
}

/// Path of a real model; `None`, and a word about it, where there is none.
pub(crate) fn real_model(name: &str) -> Option<String> {
    let listed = std::env::var_os("GST_FACE_MODEL_PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&listed).collect();
    real_file(folders, "models", name)
}

/// Path of a real picture or clip; `None`, and a word about it, where there is none.
pub(crate) fn real_media(name: &str) -> Option<String> {
    let folder = std::env::var_os("GST_FACE_TEST_MEDIA").map(PathBuf::from);
    real_file(folder.into_iter().collect(), "media", name)
}

fn real_file(mut folders: Vec<PathBuf>, kind: &str, name: &str) -> Option<String> {
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(kind));
    let found = folders.iter().map(|f| f.join(name)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: no {name} in {folders:?}");
    }
    found.map(|path| path.to_str().unwrap().to_owned())
}

/// An element of ours on one inference thread, with this model of tests/data.
pub(crate) fn element(factory: &str, model: &str) -> gst::Element {
    init();
    gst::ElementFactory::make(factory)
        .property("model", data(model))
        .property_from_str("provider", "cpu")
        .property("threads", 1u32)
        .build()
        .unwrap()
}

pub(crate) type Rgb = [u8; 3];

/// A picture of RGB pixels without padding.
#[derive(Clone)]
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) rgb: Vec<u8>,
}

impl Picture {
    /// The colour of every pixel by its place.
    pub(crate) fn new(width: u32, height: u32, color: impl Fn(u32, u32) -> Rgb) -> Self {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Picture { width, height, rgb: pixels.flat_map(|(x, y)| color(x, y)).collect() }
    }

    /// The picture as `info` has it, converted by GStreamer's own library.
    pub(crate) fn to_buffer(&self, info: &gst_video::VideoInfo) -> gst::Buffer {
        let rgb =
            gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, self.width, self.height)
                .par(info.par())
                .fps(info.fps())
                .build()
                .unwrap();
        let stride = rgb.stride()[0] as usize;
        let mut rows = vec![0; rgb.size()];
        let row_bytes = 3 * self.width as usize;
        for (row, source) in rows.chunks_mut(stride).zip(self.rgb.chunks(row_bytes)) {
            row[..row_bytes].copy_from_slice(source);
        }
        let source = gst::Buffer::from_mut_slice(rows);
        let source = gst_video::VideoFrame::from_buffer_readable(source, &rgb).unwrap();
        let target = gst::Buffer::with_size(info.size()).unwrap();
        let mut target = gst_video::VideoFrame::from_buffer_writable(target, info).unwrap();
        gst_video::VideoConverter::new(&rgb, info, None).unwrap().frame(&source, &mut target);
        target.into_buffer()
    }
}

pub(crate) fn info(caps: &str) -> gst_video::VideoInfo {
    init();
    let caps = caps.parse::<gst::Caps>().unwrap();
    gst_video::VideoInfo::from_caps(&caps).unwrap_or_else(|e| panic!("{caps}: {e}"))
}

/// Puts frame `n` of 25 a second in its place in time.
pub(crate) fn at(n: u64, mut buffer: gst::Buffer) -> gst::Buffer {
    let b = buffer.make_mut();
    b.set_pts(gst::ClockTime::from_mseconds(n * 40));
    b.set_duration(gst::ClockTime::from_mseconds(40));
    buffer
}

/// An element in a harness, PLAYING, and the bus it posts on. (A harness says that it is live.)
pub(crate) struct Rig {
    pub(crate) element: gst::Element,
    pub(crate) harness: Harness,
    pub(crate) bus: gst::Bus,
    pub(crate) info: gst_video::VideoInfo,
}

impl Rig {
    pub(crate) fn new(element: gst::Element, caps: &str) -> Rig {
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps_str(caps);
        Rig { element, harness, bus, info: info(caps) }
    }

    /// A grey picture, frame `n` of 25 a second.
    pub(crate) fn grey(&self, n: u64) -> gst::Buffer {
        let picture = Picture::new(self.info.width(), self.info.height(), |_, _| [128; 3]);
        at(n, picture.to_buffer(&self.info))
    }

    /// Pushes a buffer through.
    pub(crate) fn run(&mut self, buffer: gst::Buffer) -> gst::Buffer {
        self.harness.push(buffer).unwrap();
        self.harness.try_pull().expect("an element in place gives a buffer for a buffer")
    }

    /// Pushes a buffer through and reads the faces of what comes out.
    pub(crate) fn faces(&mut self, buffer: gst::Buffer) -> FrameFaces {
        read(&self.run(buffer))
    }

    pub(crate) fn messages(&self) -> Vec<gst::Message> {
        std::iter::from_fn(|| self.bus.pop()).collect()
    }

    /// The element messages of that name since the last call.
    pub(crate) fn structures(&self, name: &str) -> Vec<gst::Structure> {
        let messages = self.messages();
        let structures = messages.iter().filter_map(|m| m.structure());
        structures.filter(|s| s.name() == name).map(|s| s.to_owned()).collect()
    }

    pub(crate) fn stat(&self, name: &str) -> u64 {
        stat(&self.element, name)
    }
}

pub(crate) fn stat(element: &gst::Element, name: &str) -> u64 {
    element.property::<gst::Structure>("stats").get::<u64>(name).unwrap()
}

/// The meta of a buffer that must have one.
pub(crate) fn read(buffer: &gst::Buffer) -> FrameFaces {
    FrameFaces::read(buffer).expect("a meta").expect("a well-formed one")
}

/// Decodes a JPEG file to RGB.
pub(crate) fn decode(path: &str) -> Picture {
    init();
    let pipeline = gst::parse::launch(
        "filesrc name=file ! jpegdec ! videoconvert ! video/x-raw,format=RGB \
         ! appsink name=out sync=false",
    )
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    pipeline.by_name("file").unwrap().set_property("location", path);
    let sink = pipeline.by_name("out").and_downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let sample = pull(&pipeline, &sink);
    pipeline.set_state(gst::State::Null).unwrap();
    let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &info)
        .unwrap();
    let rows = frame.plane_data(0).unwrap().chunks(info.stride()[0] as usize);
    let row_bytes = 3 * info.width() as usize;
    Picture {
        width: info.width(),
        height: info.height(),
        rgb: rows.take(info.height() as usize).flat_map(|r| &r[..row_bytes]).copied().collect(),
    }
}

/// The first error on the bus, waiting for it up to 20 s. Its text is the one for users, without the
/// debugging details.
pub(crate) fn error_of(bus: &gst::Bus) -> glib::Error {
    let message = bus
        .timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Error])
        .expect("an error message");
    match message.view() {
        gst::MessageView::Error(error) => error.error(),
        _ => unreachable!("only errors were asked for"),
    }
}

/// The next sample of a pipeline, waiting for it up to 20 s.
pub(crate) fn pull(pipeline: &gst::Pipeline, sink: &gst_app::AppSink) -> gst::Sample {
    sink.try_pull_sample(gst::ClockTime::from_seconds(20)).unwrap_or_else(|| {
        let error = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
        panic!("no sample: {error:?}")
    })
}
