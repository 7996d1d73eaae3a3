//! Runs a chain to its end: hands every frame to a tap, reports progress, turns what the pipeline
//! says into errors.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstface::meta::FrameFaces;
use parking_lot::Mutex;

use crate::chain::{
    AUDIO_FAILED, Chain, ChainOptions, ENOUGH, NO_STREAMS, NO_VIDEO, Reading, post, top_level_name,
};
use crate::copy::AUDIO_PREFIX;
use crate::error::AnalyzeError;
use crate::tap;

/// How often progress is reported and a request to stop is looked for.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// Warnings kept of one run; the rest repeats them.
const MAX_WARNINGS: usize = 16;

/// How far an analysis is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Frames done.
    pub frames: u64,
    /// Time of the last frame in the video, nanoseconds.
    pub position_ns: Option<u64>,
    /// Length of the video as its container has it, nanoseconds.
    pub duration_ns: Option<u64>,
}

/// A frame behind facerecognize.
pub(crate) struct Tapped<'a> {
    pub(crate) faces: FrameFaces,
    pub(crate) buffer: &'a gst::BufferRef,
    /// Stream time.
    pub(crate) pts_ns: Option<u64>,
    pub(crate) duration_ns: Option<u64>,
    pub(crate) pad: &'a gst::Pad,
}

/// How a run ended well.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) frames: u64,
    pub(crate) duration_ns: Option<u64>,
    pub(crate) warnings: Vec<String>,
}

/// What the streaming thread tells the caller's.
#[derive(Debug, Default)]
struct Shared {
    frames: AtomicU64,
    /// Time of the last frame plus one; 0: unknown.
    position: AtomicU64,
    malformed: Mutex<Option<String>>,
    failed: Mutex<Option<AnalyzeError>>,
}

/// Runs the chain. `tap` sees every frame, in order, on a streaming thread; [`ControlFlow::Break`]
/// ends the run as the end of the file does. `progress` is called on this thread;
/// [`ControlFlow::Break`] stops with [`AnalyzeError::Interrupted`].
pub(crate) fn run(
    options: &ChainOptions,
    tap: impl FnMut(&Tapped) -> Result<ControlFlow<()>, AnalyzeError> + Send + 'static,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Ended, RunError> {
    let chain = Chain::build(options)?;
    let shared = Arc::new(Shared::default());
    add_tap(&chain, tap, shared.clone());
    let bus = chain.pipeline.bus().ok_or_else(|| AnalyzeError::pipeline("it has no bus"))?;
    let mut messages = Messages::new(options);
    if chain.pipeline.set_state(gst::State::Playing).is_err() {
        // The reason is on the bus.
        while let Some(message) = bus.pop() {
            let _ = messages.handle(&message)?;
        }
        return Err(AnalyzeError::pipeline("it does not start").into());
    }
    let mut done = ControlFlow::Continue(());
    let mut reading = Reading::new(chain.streams.clone());
    while done.is_continue() {
        if let Some(message) = bus.timed_pop(TICK) {
            done = messages.handle(&message)?;
            if let Some(error) = shared.failed.lock().take() {
                return Err(error.into());
            }
        }
        if reading.is_lost() {
            let reason = NO_STREAMS.to_owned();
            return Err(AnalyzeError::Stream { path: options.video.clone(), reason }.into());
        }
        let frames = shared.frames.load(Ordering::Relaxed);
        if messages.ended.duration_ns.is_none() && frames > 0 {
            let duration = chain.pipeline.query_duration::<gst::ClockTime>();
            messages.ended.duration_ns = duration.map(gst::ClockTime::nseconds);
        }
        let position_ns = shared.position.load(Ordering::Relaxed).checked_sub(1);
        let now = Progress { frames, position_ns, duration_ns: messages.ended.duration_ns };
        if progress(now).is_break() {
            let path = options.video.clone();
            return Err(AnalyzeError::Interrupted { path }.into());
        }
    }
    messages.ended.frames = shared.frames.load(Ordering::Relaxed);
    if let Some(reason) = shared.malformed.lock().take() {
        messages.warn(format!("face metadata that could not be read was left out: {reason}"));
    }
    if messages.ended.frames == 0 {
        return Err(AnalyzeError::NoFrames { path: options.video.clone() }.into());
    }
    Ok(messages.ended)
}

/// Why a run failed.
#[derive(Debug)]
pub(crate) enum RunError {
    /// The sound spoilt it: without it, the run may succeed.
    Audio(String),
    Failed(AnalyzeError),
}

impl From<AnalyzeError> for RunError {
    fn from(error: AnalyzeError) -> Self {
        RunError::Failed(error)
    }
}

impl From<RunError> for AnalyzeError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Audio(reason) => AnalyzeError::Pipeline { reason },
            RunError::Failed(error) => error,
        }
    }
}

fn add_tap(
    chain: &Chain,
    tap: impl FnMut(&Tapped) -> Result<ControlFlow<()>, AnalyzeError> + Send + 'static,
    shared: Arc<Shared>,
) {
    let tap = Mutex::new((tap, false));
    chain.tap.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        let (tap, over) = &mut *tap.lock();
        if *over {
            return gst::PadProbeReturn::Drop;
        }
        let faces = tap::faces(buffer).unwrap_or_else(|e| {
            shared.malformed.lock().get_or_insert_with(|| e.to_string());
            FrameFaces::default()
        });
        let pts_ns = tap::stream_time(pad, buffer);
        let duration_ns = buffer.duration().map(gst::ClockTime::nseconds);
        let result = tap(&Tapped { faces, buffer, pts_ns, duration_ns, pad });
        shared.frames.fetch_add(1, Ordering::Relaxed);
        if let Some(pts) = pts_ns {
            shared.position.store(pts.saturating_add(1), Ordering::Relaxed);
        }
        let enough = match result {
            Ok(next) => next.is_break(),
            Err(error) => {
                shared.failed.lock().get_or_insert(error);
                true
            }
        };
        if enough {
            *over = true;
            if let Some(element) = pad.parent() {
                post(&element, ENOUGH, None);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Understands what a pipeline says.
pub(crate) struct Messages<'a> {
    options: &'a ChainOptions,
    /// Descriptions of streams that nothing here decodes: is it a picture, and its name.
    missing: Vec<(bool, String)>,
    ended: Ended,
}

impl<'a> Messages<'a> {
    pub(crate) fn new(options: &'a ChainOptions) -> Self {
        Self { options, missing: Vec::new(), ended: Ended::default() }
    }

    pub(crate) fn video(&self) -> PathBuf {
        self.options.video.clone()
    }

    /// [`ControlFlow::Break`] at the end.
    pub(crate) fn handle(&mut self, message: &gst::Message) -> Result<ControlFlow<()>, RunError> {
        let path = || self.options.video.clone();
        match message.view() {
            gst::MessageView::Eos(_) => {
                self.warn_of_missing();
                return Ok(ControlFlow::Break(()));
            }
            gst::MessageView::Error(error) => return Err(self.error(error)),
            gst::MessageView::Warning(warning) => {
                let element = message.src().map(top_level_name).unwrap_or_default();
                self.warn(format!("{element}: {}", warning.error()));
            }
            gst::MessageView::Element(element) => {
                if let Some(structure) =
                    element.structure().filter(|s| s.has_name("missing-plugin"))
                {
                    self.missing.push(missing_codec(structure));
                }
            }
            gst::MessageView::Application(application) => {
                let structure = application.structure();
                match structure.map_or("", |s| s.name().as_str()) {
                    NO_VIDEO => {
                        return Err(self
                            .unsupported()
                            .unwrap_or_else(|| AnalyzeError::NoVideo { path: path() })
                            .into());
                    }
                    AUDIO_FAILED => {
                        let reason = structure.and_then(|s| s.get::<String>("reason").ok());
                        return Err(RunError::Audio(reason.unwrap_or_default()));
                    }
                    ENOUGH => return Ok(ControlFlow::Break(())),
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn error(&self, error: &gst::message::Error) -> RunError {
        let name = error.src().map(top_level_name).unwrap_or_default();
        let reason = reason(error);
        let path = self.options.video.clone();
        if name.starts_with(AUDIO_PREFIX) || error.src().is_some_and(is_audio) {
            return RunError::Audio(reason);
        }
        if let Some(unsupported) = self.unsupported() {
            return unsupported.into();
        }
        let failed = match (name.as_str(), &self.options.annotate) {
            ("detect" | "track" | "recognize", _) => AnalyzeError::Element { path, reason },
            (name, Some((copy, _))) if name.starts_with("copy-") || name == "annotate" => {
                AnalyzeError::Copy { path: copy.clone(), reason }
            }
            _ => AnalyzeError::Stream { path, reason },
        };
        failed.into()
    }

    fn unsupported(&self) -> Option<AnalyzeError> {
        let (_, codec) = self.missing.iter().find(|(video, _)| *video)?;
        let path = self.options.video.clone();
        Some(AnalyzeError::Unsupported { path, codec: codec.clone() })
    }

    fn warn_of_missing(&mut self) {
        if self.options.audio && self.options.annotate.is_some() {
            for (_, codec) in std::mem::take(&mut self.missing) {
                self.warn(format!("sound left out of the copy: nothing here decodes {codec}"));
            }
        }
    }

    fn warn(&mut self, text: String) {
        let warnings = &mut self.ended.warnings;
        if warnings.len() < MAX_WARNINGS && !warnings.contains(&text) {
            warnings.push(text);
        }
    }
}

/// Is it an element for sound, such as a decoder that decodebin chose?
fn is_audio(source: &gst::Object) -> bool {
    let factory = source.downcast_ref::<gst::Element>().and_then(|e| e.factory());
    let class = factory.and_then(|f| f.metadata("klass").map(str::to_owned));
    class.is_some_and(|c| c.contains("Audio"))
}

/// Is it video, and how the plugin that is missing would be called, with what it would decode.
pub(crate) fn missing_codec(structure: &gst::StructureRef) -> (bool, String) {
    let caps = structure.get::<gst::Caps>("detail").ok();
    let kind = caps.as_ref().and_then(|c| c.structure(0)).map(|s| s.name().to_string());
    let name = structure.get::<String>("name").ok().or_else(|| kind.clone());
    let name = name.unwrap_or_else(|| "this stream".to_owned());
    let name = name.strip_suffix(" decoder").unwrap_or(&name).to_owned();
    (kind.is_some_and(|k| k.starts_with("video/") || k.starts_with("image/")), name)
}

/// The text of an error. Elements of GStreamer keep the useful half in the debug text, behind the
/// place in their source.
pub(crate) fn reason(error: &gst::message::Error) -> String {
    let text = error.error().to_string();
    let text = text.trim_end_matches('.').to_owned();
    let detail = error.debug().and_then(|debug| {
        let line = debug.lines().nth(1)?.trim().trim_end_matches('.').to_owned();
        (!line.is_empty() && !text.contains(&line)).then_some(line)
    });
    match detail {
        Some(detail) => format!("{text} ({detail})"),
        None => text,
    }
}
