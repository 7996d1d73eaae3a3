//! The pipeline: a file is demuxed and decoded, its pictures turned upright, and then
//! onnxfacedetect, facetrack and facerecognize; what leaves facerecognize is tapped and either
//! dropped or drawn on and encoded (`copy`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use face_core::inference::Provider;
use gst::glib;
use gst::prelude::*;

use crate::copy::Copy;
use crate::error::AnalyzeError;

/// Formats that the elements read without a conversion.
const FORMATS: [&str; 9] = ["NV12", "I420", "RGB", "BGR", "RGBA", "BGRA", "RGBx", "BGRx", "GRAY8"];

/// How faces are found, followed and recognised.
#[derive(Clone, Debug, Default)]
pub struct Recognition {
    /// Registry name or path of the detector; the default one if absent.
    pub detector: Option<String>,
    /// Registry name or path of the embedder; the default one if absent.
    pub embedder: Option<String>,
    /// The detector looks at every N-th frame; 0: at every second one above 20 frames per second,
    /// else at every one.
    pub interval: u32,
    /// Cosine similarity from which a face is a person; the model's own if absent.
    pub threshold: Option<f32>,
    /// Look at every frame and embed every observed face, not only when a track needs it.
    pub every_face: bool,
    pub provider: Provider,
    /// Index of the GPU for CUDA and TensorRT.
    pub device_id: u32,
    /// Inference threads on a CPU; 0: one per core.
    pub threads: u32,
    /// Path of libonnxruntime.so; searched when absent.
    pub runtime_library: Option<PathBuf>,
}

/// What the chain is built from.
#[derive(Debug, Default)]
pub(crate) struct ChainOptions {
    pub(crate) video: PathBuf,
    pub(crate) recognition: Recognition,
    pub(crate) gallery: Option<PathBuf>,
    /// Put the embeddings into the metadata.
    pub(crate) embeddings: bool,
    /// Where the annotated copy is written, and a file to use meanwhile.
    pub(crate) annotate: Option<(PathBuf, PathBuf)>,
    /// Keep the sound of the source in the annotated copy.
    pub(crate) audio: bool,
}

/// A built pipeline, in state Null.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) pipeline: gst::Pipeline,
    /// Buffers with complete metadata pass here.
    pub(crate) tap: gst::Pad,
    pub(crate) streams: Arc<Streams>,
}

/// Which streams of the file were taken.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Was any stream found?
    pub(crate) found: AtomicBool,
    /// Reads from the file.
    pub(crate) reads: AtomicU64,
    video: AtomicBool,
    audio: AtomicUsize,
}

impl Drop for Chain {
    fn drop(&mut self) {
        // A pipeline must not be dropped while it runs. Going down to Null cannot fail.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Makes an element; `name` is unique in the pipeline and tells errors apart.
pub(crate) fn make(factory: &str, name: &str) -> Result<gst::Element, AnalyzeError> {
    gst::ElementFactory::make(factory).name(name).build().map_err(|_| missing(factory))
}

fn missing(factory: &str) -> AnalyzeError {
    let package = match factory {
        "videoconvert" | "videoscale" | "decodebin" | "audioconvert" | "audioresample" => {
            "gstreamer1.0-plugins-base"
        }
        "videoflip" | "mp4mux" | "aacparse" | "mpegaudioparse" | "ac3parse" => {
            "gstreamer1.0-plugins-good"
        }
        "x264enc" => "gstreamer1.0-plugins-ugly",
        "h264parse" | "openh264enc" | "opusparse" => "gstreamer1.0-plugins-bad",
        "onnxfacedetect" | "facetrack" | "facerecognize" | "faceannotate" => {
            "a complete build of the face plugin"
        }
        _ => "libgstreamer1.0-0",
    };
    AnalyzeError::MissingElement { name: factory.to_owned(), package }
}

/// Starts GStreamer and registers the face elements. May be called again.
pub(crate) fn init() -> Result<(), AnalyzeError> {
    let fail = |e: &dyn std::fmt::Display| AnalyzeError::GStreamer { reason: e.to_string() };
    gst::init().map_err(|e| fail(&e))?;
    gstface::plugin_register_static().map_err(|e| fail(&e))
}

impl Chain {
    pub(crate) fn build(options: &ChainOptions) -> Result<Chain, AnalyzeError> {
        let pipeline = gst::Pipeline::with_name("face-pipeline");
        let mut chain = upright()?;
        chain.extend(recognition(options)?);
        let recognizer = chain.last().cloned();
        let copy = match &options.annotate {
            Some((path, spool)) => Some(Copy::build(&pipeline, path, spool, &mut chain)?),
            None => {
                chain.push(discard("frames-end")?);
                None
            }
        };
        pipeline.add_many(&chain).map_err(AnalyzeError::pipeline)?;
        gst::Element::link_many(&chain).map_err(AnalyzeError::pipeline)?;
        let tap = recognizer
            .and_then(|e| e.static_pad("src"))
            .ok_or_else(|| AnalyzeError::pipeline("facerecognize has no source pad"))?;
        let entry = chain
            .first()
            .and_then(|e| e.static_pad("sink"))
            .ok_or_else(|| AnalyzeError::pipeline("videoconvert has no sink pad"))?;
        if let Some(copy) = &copy {
            copy.finish()?;
        }
        let copy = copy.filter(|_| options.audio);
        let streams = source(&pipeline, options, entry, copy)?;
        Ok(Chain { pipeline, tap, streams })
    }
}

/// Pictures in a format that the elements read, turned as the file says.
fn upright() -> Result<Vec<gst::Element>, AnalyzeError> {
    let convert = make("videoconvert", "convert")?;
    let formats = make("capsfilter", "formats")?;
    let caps = gst::Caps::builder("video/x-raw").field("format", gst::List::new(FORMATS));
    formats.set_property("caps", caps.build());
    let flip = make("videoflip", "upright")?;
    flip.set_property_from_str("video-direction", "auto");
    Ok(vec![convert, formats, flip])
}

fn recognition(options: &ChainOptions) -> Result<Vec<gst::Element>, AnalyzeError> {
    let Recognition { detector, embedder, interval, threshold, every_face, .. } =
        &options.recognition;
    let detect = make("onnxfacedetect", "detect")?;
    if let Some(model) = detector {
        detect.set_property("model", model);
    }
    detect.set_property("interval", if *every_face { 1 } else { *interval });
    let track = make("facetrack", "track")?;
    let recognize = make("facerecognize", "recognize")?;
    if let Some(model) = embedder {
        recognize.set_property("model", model);
    }
    if let Some(gallery) = &options.gallery {
        recognize.set_property("gallery", gallery.to_string_lossy().as_ref());
    }
    if let Some(threshold) = threshold {
        recognize.set_property("threshold", threshold);
    }
    recognize.set_property("every-face", every_face);
    recognize.set_property("embed-output", options.embeddings);
    for element in [&detect, &recognize] {
        inference(element, &options.recognition);
    }
    // Detection and recognition work side by side; two frames between them are enough.
    Ok(vec![detect, queue("detected")?, track, recognize])
}

fn inference(element: &gst::Element, options: &Recognition) {
    element.set_property_from_str("provider", options.provider.as_str());
    element.set_property("device-id", options.device_id);
    element.set_property("threads", options.threads);
    if let Some(path) = &options.runtime_library {
        element.set_property("runtime-library", path.to_string_lossy().as_ref());
    }
}

pub(crate) fn queue(name: &str) -> Result<gst::Element, AnalyzeError> {
    let queue = make("queue", name)?;
    queue.set_property("max-size-buffers", 2u32);
    queue.set_property("max-size-bytes", 0u32);
    queue.set_property("max-size-time", 0u64);
    Ok(queue)
}

fn discard(name: &str) -> Result<gst::Element, AnalyzeError> {
    let sink = make("fakesink", name)?;
    sink.set_property("sync", false);
    // A stream that never gets data must not hold up the start.
    sink.set_property("async", false);
    Ok(sink)
}

/// filesrc ! decodebin, whose streams are linked as they are found.
fn source(
    pipeline: &gst::Pipeline,
    options: &ChainOptions,
    entry: gst::Pad,
    copy: Option<Copy>,
) -> Result<Arc<Streams>, AnalyzeError> {
    let file = make("filesrc", "file")?;
    file.set_property("location", &options.video);
    let decode = make("decodebin", "decode")?;
    let streams = Arc::new(Streams::default());
    if let Some(pad) = file.static_pad("src") {
        let streams = streams.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            streams.reads.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
    pipeline.add_many([&file, &decode]).map_err(AnalyzeError::pipeline)?;
    file.link(&decode).map_err(AnalyzeError::pipeline)?;
    let wanted = copy.is_some();
    decode.connect("autoplug-continue", false, move |args| {
        let caps = args.get(2).and_then(|v| v.get::<gst::Caps>().ok());
        Some(caps.is_none_or(|caps| must_decode(&caps, wanted)).to_value())
    });
    let connected = streams.clone();
    let weak = pipeline.downgrade();
    decode.connect_pad_added(move |decode, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        if let Err(e) = connect(&pipeline, pad, &entry, copy.as_ref(), &connected) {
            let text = format!("link stream {}: {e}", pad.name());
            gst::element_error!(decode, gst::CoreError::Pad, ("{text}"));
        }
    });
    let all = streams.clone();
    decode.connect_no_more_pads(move |decode| {
        if !all.video.load(Ordering::SeqCst) {
            post(decode.upcast_ref(), NO_VIDEO, None);
        }
    });
    Ok(streams)
}

/// Application message: every stream of the file was looked at, none is video.
pub(crate) const NO_VIDEO: &str = "face-pipeline-no-video";
/// Application message: a stream of sound cannot be put into the copy; field `reason`.
pub(crate) const AUDIO_FAILED: &str = "face-pipeline-audio-failed";
/// Application message: enough was seen, or the tap failed.
pub(crate) const ENOUGH: &str = "face-pipeline-enough";

pub(crate) fn post(source: &gst::Object, name: &str, reason: Option<String>) {
    let structure = gst::Structure::builder(name).field_if_some("reason", reason).build();
    let message = gst::message::Application::builder(structure).src(source).build();
    if let Some(element) = source.downcast_ref::<gst::Element>() {
        // Fails only while the pipeline is going down.
        let _ = element.post_message(message);
    }
}

/// Sound is decoded only when it is wanted and cannot be copied; text never.
fn must_decode(caps: &gst::CapsRef, audio_wanted: bool) -> bool {
    let Some(structure) = caps.structure(0) else { return true };
    let name = structure.name().as_str();
    if name.starts_with("audio/") && !name.starts_with("audio/x-raw") {
        return audio_wanted && crate::copy::audio_parser(caps).is_none();
    }
    !(name.starts_with("text/")
        || name.starts_with("subpicture/")
        || name.starts_with("closedcaption/"))
}

fn connect(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    entry: &gst::Pad,
    copy: Option<&Copy>,
    streams: &Streams,
) -> Result<(), AnalyzeError> {
    streams.found.store(true, Ordering::Relaxed);
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let name = caps.structure(0).map_or("", |s| s.name().as_str());
    if name.starts_with("video/x-raw") && !streams.video.swap(true, Ordering::SeqCst) {
        pad.link(entry).map_err(AnalyzeError::pipeline)?;
        return Ok(());
    }
    if let Some(copy) = copy.filter(|_| name.starts_with("audio/")) {
        let index = streams.audio.fetch_add(1, Ordering::SeqCst);
        if let Err(e) = copy.add_audio(pipeline, pad, &caps, index) {
            post(pipeline.upcast_ref(), AUDIO_FAILED, Some(e.to_string()));
        }
        return Ok(());
    }
    let sink = discard(&format!("unused-{}", pad.name()))?;
    pipeline.add(&sink).map_err(AnalyzeError::pipeline)?;
    sink.sync_state_with_parent().map_err(AnalyzeError::pipeline)?;
    let target = sink.static_pad("sink").ok_or_else(|| AnalyzeError::pipeline("no sink pad"))?;
    pad.link(&target).map_err(AnalyzeError::pipeline)?;
    Ok(())
}

/// The element of the chain that a message is about: the one directly in the pipeline.
pub(crate) fn top_level_name(source: &gst::Object) -> glib::GString {
    let mut object = source.clone();
    while let Some(parent) = object.parent() {
        if parent.is::<gst::Pipeline>() {
            break;
        }
        object = parent;
    }
    object.name()
}
