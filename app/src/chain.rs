//! The pipeline: a file is demuxed and decoded, its pictures turned upright, and then
//! onnxfacedetect, facetrack and facerecognize; what leaves facerecognize is tapped and either
//! dropped or drawn on and encoded (`copy`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use face_core::gallery::Location;
use gst::glib;
use gst::prelude::*;

use crate::copy::Copy;
use crate::elements::{
    FaceElements, FaceOptions, Property, Recognition, Stage, discard, make, upright,
};
use crate::error::AnalyzeError;

/// What the chain is built from.
#[derive(Debug, Default)]
pub(crate) struct ChainOptions {
    pub(crate) video: PathBuf,
    pub(crate) recognition: Recognition,
    pub(crate) gallery: Option<Location>,
    /// Put the embeddings into the metadata.
    pub(crate) embeddings: bool,
    /// End tracks where another scene begins.
    pub(crate) scene_cuts: bool,
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

/// decodebin may lose the error of a demuxer that fails the moment it is started, and then waits
/// for ever (GStreamer 1.22). A file in which no stream was found and that nobody reads from for
/// this long has none.
const LOST: Duration = Duration::from_secs(10);
/// What is said of such a file.
pub(crate) const NO_STREAMS: &str = "no streams were found in it; it is truncated or damaged";

/// Looks whether a file is still being read.
#[derive(Debug)]
pub(crate) struct Reading {
    streams: Arc<Streams>,
    reads: u64,
    since: Instant,
}

impl Reading {
    pub(crate) fn new(streams: Arc<Streams>) -> Self {
        Self { streams, reads: 0, since: Instant::now() }
    }

    /// Was no stream found, and nothing read for long? To be called often.
    pub(crate) fn is_lost(&mut self) -> bool {
        let reads = self.streams.reads.load(Ordering::Relaxed);
        if reads != self.reads || self.streams.found.load(Ordering::Relaxed) {
            (self.reads, self.since) = (reads, Instant::now());
        }
        self.since.elapsed() > LOST
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // A pipeline must not be dropped while it runs.
        if self.pipeline.set_state(gst::State::Null).is_err() {
            // A decodebin that failed to start fails again when it is asked for the state that it is
            // in, Ready. Nothing fails that goes to Null at once.
            for element in self.pipeline.iterate_elements().into_iter().flatten() {
                let _ = element.set_state(gst::State::Null);
            }
            let _ = self.pipeline.set_state(gst::State::Null);
        }
    }
}

impl Chain {
    pub(crate) fn build(options: &ChainOptions) -> Result<Chain, AnalyzeError> {
        let pipeline = gst::Pipeline::with_name("face-pipeline");
        let mut chain = upright()?;
        let scene_cuts = [Property {
            stage: Stage::Tracker,
            name: "scene-cut".to_owned(),
            value: "true".to_owned(),
        }];
        let faces = FaceElements::build(&FaceOptions {
            recognition: options.recognition.clone(),
            gallery: options.gallery.as_ref(),
            embeddings: options.embeddings,
            lookahead: true,
            properties: if options.scene_cuts { &scene_cuts } else { &[] },
        })?;
        chain.extend(faces.in_order());
        let copy = match &options.annotate {
            Some((path, spool)) => Some(Copy::build(&pipeline, path, spool, &mut chain)?),
            None => {
                chain.push(discard("frames-end")?);
                None
            }
        };
        pipeline.add_many(&chain).map_err(AnalyzeError::pipeline)?;
        gst::Element::link_many(&chain).map_err(AnalyzeError::pipeline)?;
        let tap = pad(&faces.recognizer, "src")?;
        let entry = pad(&chain[0], "sink")?;
        if let Some(copy) = &copy {
            copy.finish()?;
        }
        let copy = copy.filter(|_| options.audio);
        let streams = file_source(&pipeline, &options.video, entry, copy)?.streams;
        Ok(Chain { pipeline, tap, streams })
    }
}

/// What reads and decodes, in a pipeline.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// What reads.
    pub(crate) source: gst::Element,
    pub(crate) streams: Arc<Streams>,
}

/// filesrc ! decodebin; the first video stream goes to `entry`.
pub(crate) fn file_source(
    pipeline: &gst::Pipeline,
    video: &Path,
    entry: gst::Pad,
    copy: Option<Copy>,
) -> Result<Decoded, AnalyzeError> {
    let file = make("filesrc", "source")?;
    file.set_property("location", video);
    let streams = Arc::new(Streams::default());
    let decode = decoder(pipeline, entry, copy, &streams)?;
    let counted = streams.clone();
    pad(&file, "src")?.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counted.reads.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    pipeline.add(&file).map_err(AnalyzeError::pipeline)?;
    file.link(&decode).map_err(AnalyzeError::pipeline)?;
    Ok(Decoded { source: file, streams })
}

/// decodebin, in the pipeline, whose streams are linked as they are found.
pub(crate) fn decoder(
    pipeline: &gst::Pipeline,
    entry: gst::Pad,
    copy: Option<Copy>,
    streams: &Arc<Streams>,
) -> Result<gst::Element, AnalyzeError> {
    let decode = make("decodebin", "decode")?;
    pipeline.add(&decode).map_err(AnalyzeError::pipeline)?;
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
    Ok(decode)
}

/// An always-pad of an element.
pub(crate) fn pad(element: &gst::Element, name: &str) -> Result<gst::Pad, AnalyzeError> {
    let missing = || AnalyzeError::pipeline(format!("{} has no pad '{name}'", element.name()));
    element.static_pad(name).ok_or_else(missing)
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
        return audio_wanted && gstface::clipsink::sound::parser(caps).is_none();
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
    pad.link(&self::pad(&sink, "sink")?).map_err(AnalyzeError::pipeline)?;
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
