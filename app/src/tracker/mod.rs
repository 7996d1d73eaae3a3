//! Follows the people of a running stream: frames that the program has, or a source that is read.
//!
//! [`TrackerPipeline`] says what is to be done; [`TrackerPipeline::frames`] does it to an iterator
//! of pictures, [`TrackerPipeline::start`] to a file, a camera or anything that GStreamer reads.
//!
//! ```no_run
//! use face_core::frame::PixelFormat;
//! use face_pipeline::tracker::{Frame, TrackerPipeline};
//!
//! # fn camera() -> impl Iterator<Item = Vec<u8>> { std::iter::empty() }
//! let pictures = camera().map(|rgb| Frame::new(PixelFormat::Rgb, 640, 480, rgb));
//! let pipeline = TrackerPipeline::new().gallery("people.gallery");
//! for result in pipeline.frames(pictures, 30.0)? {
//!     let frame = result?;
//!     for face in &frame.record.faces {
//!         println!("{}: track {} is {:?}", frame.record.frame, face.track_id, face.name);
//!     }
//! }
//! # Ok::<(), face_pipeline::tracker::TrackerError>(())
//! ```
//!
//! ```no_run
//! use face_pipeline::tracker::{Event, Source, TrackerPipeline};
//!
//! let source = Source::parse("rtsp://camera.local/stream")?;
//! let tracking = TrackerPipeline::new().gallery("people.gallery").start(&source)?;
//! while let Some(event) = tracking.wait() {
//!     match event {
//!         Event::Message(message) => println!("{}", message.json()),
//!         Event::Warning(text) => eprintln!("{text}"),
//!         Event::Ended(result) => result?,
//!         Event::Frame(_) => {}
//!     }
//! }
//! # Ok::<(), face_pipeline::tracker::TrackerError>(())
//! ```
//!
//! ## A live source and a slow machine
//!
//! Before the detector stands a queue of two pictures. Of a live source (a camera) it leaks: a
//! picture that nobody was ready for gives way to a newer one, so that results are never late by
//! more than a few frames. A file waits instead, and every one of its pictures is looked at. What
//! a source is, GStreamer says: a pipeline that needs no preroll is live.
//!
//! ## A source that stalls
//!
//! A watchdog ([`WatchdogLimits`]) posts `face-stall` when frames stay away or come too rarely,
//! and again when they are back; [`Tracking::health`] says the same to who asks. No frame is made
//! up in between. A program that needs a steady stream of pictures puts GStreamer's own videorate
//! behind the source: `Source::Bin("facecamerasrc uri=… ! decodebin ! videorate !
//! video/x-raw,framerate=25/1".into())` repeats the last picture over gaps, once the next one has
//! come; fallbackswitch of gst-plugins-rs shows another picture meanwhile. The watchdog counts what
//! such elements make up as frames.

mod error;
mod event;
mod frame;
mod frames;
mod mailbox;
mod source;
mod tap;
mod tracking;
mod watchdog;

use std::fmt;

pub use error::TrackerError;
pub use event::{Event, FaceMessage, TrackedFrame};
use face_core::gallery::Location;
pub use frame::{Frame, FrameFault};
pub use frames::TrackedFrames;
pub use source::Source;
pub use tap::{TapFrame, TapPoint};
pub use tracking::{State, Tracking};
pub(crate) use watchdog::Watchdog;
pub use watchdog::{Health, StallReason, WatchdogLimits};

use crate::elements::{FaceElements, FaceOptions, Property, Recognition, Stage};
use crate::error::AnalyzeError;
use tap::Tap;

/// Frames that are in work at a time: one in each of the detector and the recogniser, two between.
const AHEAD: usize = 4;

/// What is done with a stream. Nothing runs before [`TrackerPipeline::frames`] or
/// [`TrackerPipeline::start`].
pub struct TrackerPipeline {
    recognition: Recognition,
    gallery: Option<Location>,
    embeddings: bool,
    properties: Vec<Property>,
    taps: Vec<Tap>,
    watchdog: Option<WatchdogLimits>,
    results: bool,
    ahead: usize,
}

impl Default for TrackerPipeline {
    fn default() -> Self {
        Self {
            recognition: Recognition::default(),
            gallery: None,
            embeddings: false,
            properties: Vec::new(),
            taps: Vec::new(),
            watchdog: Some(WatchdogLimits::default()),
            results: false,
            ahead: AHEAD,
        }
    }
}

impl fmt::Debug for TrackerPipeline {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("TrackerPipeline")
            .field("recognition", &self.recognition)
            .field("gallery", &self.gallery)
            .field("properties", &self.properties)
            .field("taps", &self.taps.len())
            .field("watchdog", &self.watchdog)
            .finish_non_exhaustive()
    }
}

impl TrackerPipeline {
    /// The default models, no gallery, the default watchdog.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which models run where, the interval of the detector and the threshold.
    #[must_use]
    pub fn recognition(mut self, recognition: Recognition) -> Self {
        self.recognition = recognition;
        self
    }

    /// The people to recognise; without it faces are only found and followed.
    #[must_use]
    pub fn gallery(mut self, location: impl Into<Location>) -> Self {
        self.gallery = Some(location.into());
        self
    }

    /// Put embeddings into results and metadata. They are biometric data.
    #[must_use]
    pub fn embeddings(mut self, wanted: bool) -> Self {
        self.embeddings = wanted;
        self
    }

    /// Sets any property of an element, by its name and as text, as gst-launch-1.0 takes it:
    /// tracks, zones, filters, alerts. It is looked at when the pipeline is built, and wins over
    /// what the other methods say.
    #[must_use]
    pub fn property(
        mut self,
        stage: Stage,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.properties.push(Property { stage, name: name.into(), value: value.into() });
        self
    }

    /// Shows every buffer behind the detector or behind the recogniser to `look`, on a streaming
    /// thread: the stream waits for it. There may be several.
    ///
    /// A `look` that panics ends the stream with an error.
    #[must_use]
    pub fn tap(mut self, point: TapPoint, look: impl FnMut(&TapFrame) + Send + 'static) -> Self {
        self.taps.push(Tap::new(point, look));
        self
    }

    /// What is expected of a source; `None`: nothing.
    #[must_use]
    pub fn watchdog(mut self, limits: Option<WatchdogLimits>) -> Self {
        self.watchdog = limits;
        self
    }

    /// Of a source: give every frame's faces as [`Event::Frame`]; off at first. Who asks for them
    /// must take them: a file waits for it, of a live source the oldest are dropped.
    #[must_use]
    pub fn results(mut self, wanted: bool) -> Self {
        self.results = wanted;
        self
    }

    /// Of an iterator: frames taken from it before the first of them has its result, 4 unless told
    /// otherwise. 1: each frame's result comes before the next frame is taken, and nothing
    /// works side by side. 0 counts as 1.
    #[must_use]
    pub fn ahead(mut self, frames: usize) -> Self {
        self.ahead = frames.max(1);
        self
    }

    /// The elements for faces, with the properties that were asked for.
    fn faces(&self) -> Result<FaceElements, AnalyzeError> {
        FaceElements::build(&FaceOptions {
            recognition: self.recognition.clone(),
            gallery: self.gallery.as_ref(),
            embeddings: self.embeddings,
            lookahead: false,
            properties: &self.properties,
        })
    }
}
