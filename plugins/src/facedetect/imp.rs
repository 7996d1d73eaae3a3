//! SECTION:element-onnxfacedetect
//!
//! Finds faces with five landmarks in every frame, or in every second one, and writes them into
//! the buffers' metadata: `GstFaceMeta` (see docs/metadata.md) and one
//! `GstVideoRegionOfInterestMeta` of type "face" per face. The pixels are not touched.
//!
//! The element is registered as `onnxfacedetect` and as `facedetect`. Use the first: GStreamer's
//! OpenCV plugin has a `facedetect` of its own.
//!
//! ```bash
//! gst-launch-1.0 filesrc location=clip.mp4 ! decodebin ! videoconvert ! onnxfacedetect ! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! faceannotate ! videoconvert ! autovideosink
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use face_core::cpu::Spent;
use face_core::detect::{DetectError, Detection, Detector};
use face_core::geometry::{BBox, Landmarks, Point};
use face_core::inference::{HandleStats, InferenceError, Pool};
use face_core::load::{Interval, Share};
use face_core::model::{self, Task};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::GenerateOutputSuccess;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;

use super::properties::{self, LookSettings, Settings};
use crate::cancel::Cancel;
use crate::context_query;
use crate::live::{self, Late, LateCounts, Latency, Lateness};
use crate::meta::{Face, FrameFaces, write_rois};
use crate::runtime::{ProviderReport, start_error, with_causes};
use crate::stats::{Lap, Meter, Work, ns};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("facedetect", gst::DebugColorFlags::empty(), Some("Face detection"))
});

/// A buffer on its way through the element.
#[derive(Debug)]
struct Frame {
    buffer: gst::Buffer,
    /// The detector was given it.
    looked: bool,
    /// Its time in the stream.
    time_ns: u64,
    begun: Instant,
}

/// A buffer that goes on.
struct Finished {
    buffer: gst::Buffer,
    looked: bool,
    took: Duration,
}

/// Exists between start and stop.
#[derive(Debug)]
struct State {
    detector: Detector,
    info: Option<gst_video::VideoInfo>,
    faces: Vec<Detection>,
    /// Frames that have not gone on, the oldest first.
    frames: VecDeque<Frame>,
    /// Id of the next frame that goes on: how many have since stream-start.
    frame_id: u64,
    /// Frames until the next look.
    until_look: u64,
    /// With `interval=auto` on a live stream.
    share: Option<Share>,
    begun: Instant,
    last_warning: Option<Instant>,
}

impl State {
    /// Must the oldest frame go on before another one is taken? What the detector was not given
    /// waits for nothing but the frames before it.
    fn is_full(&self, lookahead: usize) -> bool {
        let Some(oldest) = self.frames.front() else { return false };
        // Frames between those that are looked at are held, too, but not any number.
        !oldest.looked || self.detector.submitted() > lookahead || self.frames.len() > 2 * lookahead
    }

    /// The next frame is looked at.
    fn restart(&mut self) {
        self.until_look = 0;
        if let Some(share) = &mut self.share {
            share.restart();
        }
    }

    fn give_up(&mut self) {
        self.detector.give_up();
        self.frames.clear();
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    frames: u64,
    /// Not looked at because of the interval.
    passed: u64,
    late: LateCounts,
    unreadable: u64,
    not_finite: u64,
    faces: u64,
    look_rate: f64,
    spent: Spent,
    handle: HandleStats,
}

/// Lock order: settings, state, then any of the others; none is held while a message is posted or a
/// buffer pushed.
/// `state` is held through inference: besides start() and stop() only the streaming thread takes
/// it.
#[derive(Debug, Default)]
pub struct FaceDetect {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    stats: Mutex<Stats>,
    provider: ProviderReport,
    pool: Mutex<Weak<Pool>>,
    lateness: Lateness,
    latency: Latency,
    meter: Meter,
    cancel: Cancel,
}

impl FaceDetect {
    /// Is it the turn of the frame of this time?
    fn is_due(&self, state: &mut State, settings: &LookSettings, time_ns: u64, live: bool) -> bool {
        if live && settings.interval() == Interval::Auto {
            let target = settings.cpu_target();
            let share = state.share.get_or_insert_with(|| Share::join(target));
            return share.is_due(time_ns, target);
        }
        state.share = None;
        let due = state.until_look == 0;
        state.until_look = state.until_look.saturating_sub(1);
        due
    }

    /// Why a frame whose turn it is comes too late for that, if it does.
    fn late(
        &self,
        state: &State,
        settings: &LookSettings,
        buffer: &gst::BufferRef,
        time_ns: u64,
    ) -> Option<Late> {
        let element = self.obj();
        let late = self.lateness.of(element.upcast_ref(), buffer, settings.max_latency_ns)?;
        // One look a second is promised, whatever the sink says.
        let overdue = state.share.as_ref().is_some_and(|share| share.is_overdue(time_ns));
        (late != Late::Qos || !overdue).then_some(late)
    }

    /// Gives the frame to the detector if it is its turn; was it?
    fn look(
        &self,
        state: &mut State,
        settings: &LookSettings,
        info: &gst_video::VideoInfo,
        (buffer, time_ns): (&gst::BufferRef, u64),
        live: bool,
    ) -> bool {
        if !self.is_due(state, settings, time_ns, live) {
            self.stats.lock().passed += 1;
            return false;
        }
        if live && let Some(late) = self.late(state, settings, buffer, time_ns) {
            self.stats.lock().late.add(late);
            return false;
        }
        state.until_look = settings.interval_at(info.fps()).saturating_sub(1);
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info);
        let view = frame.as_ref().map_err(|e| e.to_string());
        let view = view.and_then(|frame| crate::frame::view(frame).map_err(|e| e.to_string()));
        let view = match view {
            Ok(view) => view,
            Err(reason) => {
                self.stats.lock().unreadable += 1;
                let id = state.frame_id + state.frames.len() as u64;
                self.warn(state, &format!("frame {id} cannot be read: {reason}"));
                return false;
            }
        };
        let options = settings.detect_options(&state.detector);
        let deadline = live.then(|| Instant::now() + live::DEADLINE);
        state.detector.submit(&view, &options, deadline);
        true
    }

    /// Takes a buffer in.
    fn begin(
        &self,
        state: &mut State,
        settings: &LookSettings,
        buffer: gst::Buffer,
        live: bool,
    ) -> Result<(), gst::FlowError> {
        let info = state.info.clone().ok_or(gst::FlowError::NotNegotiated)?;
        let begun = Instant::now();
        let time_ns = live::running_time(self.obj().upcast_ref(), &buffer)
            .map_or_else(|| ns(begun - state.begun), gst::ClockTime::nseconds);
        let looked = self.look(state, settings, &info, (&buffer, time_ns), live);
        state.frames.push_back(Frame { buffer, looked, time_ns, begun });
        Ok(())
    }

    /// Waits for the oldest frame and writes into its buffer what was found.
    fn finish(&self, state: &mut State) -> Result<Option<Finished>, DetectError> {
        let Some(Frame { mut buffer, looked, time_ns, begun }) = state.frames.pop_front() else {
            return Ok(None);
        };
        let found = looked && self.wait(state)?;
        if let Some(share) = state.share.as_mut().filter(|_| looked) {
            share.looked(time_ns, begun.elapsed());
        }
        let Some(info) = &state.info else { return Ok(None) };
        let faces = frame_faces(state, info, found);
        let (width, height) = (info.width(), info.height());
        state.frame_id += 1;
        self.count(state, faces.faces.len());
        let target = buffer.make_mut();
        faces.write(target);
        write_rois(target, &faces, width, height);
        let took = begun.elapsed();
        self.meter.passed(took, found);
        Ok(Some(Finished { buffer, looked: found, took }))
    }

    /// A frame with so many faces goes on.
    fn count(&self, state: &State, faces: usize) {
        let mut stats = self.stats.lock();
        stats.frames += 1;
        stats.faces += faces as u64;
        stats.not_finite = state.detector.not_finite();
        stats.spent = state.detector.spent();
        stats.handle = state.detector.stats();
        stats.look_rate = state.share.as_ref().and_then(Share::rate).unwrap_or(0.0);
    }

    fn stats(&self) -> gst::Structure {
        let stats = *self.stats.lock();
        let pool = self.pool.lock().upgrade().map(|pool| pool.stats()).unwrap_or_default();
        let mut structure = gst::Structure::builder("stats")
            .field("frames", stats.frames)
            .field("faces", stats.faces)
            .field("skipped-interval", stats.passed)
            .field("unreadable", stats.unreadable)
            .field("not-finite", stats.not_finite)
            .field("look-rate", stats.look_rate)
            .build();
        stats.late.write(&mut structure);
        let work = Work { spent: stats.spent, handle: stats.handle, pool };
        self.meter.write_inference(&work, &mut structure);
        structure
    }

    /// Waits for what the detector found; false if that took too long.
    fn wait(&self, state: &mut State) -> Result<bool, DetectError> {
        match state.detector.finish(&mut state.faces) {
            Ok(()) => Ok(true),
            Err(DetectError::Inference(e @ InferenceError::Deadline { .. })) => {
                self.stats.lock().late.add(Late::Deadline);
                self.warn(state, &e.to_string());
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// The flow that an error means, which is posted unless the element only stops.
    fn flow_error(&self, error: &DetectError) -> gst::FlowError {
        if let DetectError::Inference(InferenceError::Cancelled { .. }) = error {
            return gst::FlowError::Flushing;
        }
        gst::element_imp_error!(self, gst::StreamError::Failed, ("{}", with_causes(error)));
        gst::FlowError::Error
    }

    /// Sends on the frames that are still here, before something else that is in order with them.
    fn drain(&self) {
        loop {
            let lap = Lap::begin();
            let finished = match &mut *self.state.lock() {
                Some(state) => self.finish(state),
                None => return,
            };
            self.meter.spent(lap);
            let sent = match finished {
                Ok(Some(Finished { buffer, .. })) => self.obj().src_pad().push(buffer).map(drop),
                Ok(None) => return,
                Err(error) => Err(self.flow_error(&error)),
            };
            if let Err(error) = sent {
                gst::debug!(CAT, imp = self, "the frames that were left are lost: {error}");
                if let Some(state) = &mut *self.state.lock() {
                    state.give_up();
                }
                return;
            }
        }
    }

    /// Logs a loss of data, at most once a second.
    fn warn(&self, state: &mut State, text: &str) {
        if state.last_warning.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            state.last_warning = Some(Instant::now());
            gst::warning!(CAT, imp = self, "{text}");
        }
    }
}

/// What the detector found, as the metadata says it.
fn frame_faces(state: &State, info: &gst_video::VideoInfo, looked: bool) -> FrameFaces {
    let (width, height) = (info.width(), info.height());
    let (fx, fy) = (1.0 / width as f32, 1.0 / height as f32);
    let faces = if looked { &state.faces[..] } else { &[] };
    FrameFaces {
        frame_id: state.frame_id,
        looked,
        width,
        height,
        par: (info.par().numer(), info.par().denom()),
        detector: state.detector.spec().id.clone(),
        faces: faces.iter().enumerate().map(|(i, d)| face(i, d, fx, fy)).collect(),
        ..FrameFaces::default()
    }
}

fn face(index: usize, detection: &Detection, fx: f32, fy: f32) -> Face {
    let BBox { x, y, w, h } = detection.bbox;
    Face {
        id: index as u32 + 1,
        bbox: BBox::new(x * fx, y * fy, w * fx, h * fy),
        observed: true,
        score: detection.score,
        landmarks: detection
            .landmarks
            .map(|l| Landmarks(l.0.map(|p| Point::new(p.x * fx, p.y * fy)))),
        ..Face::default()
    }
}

#[glib::object_subclass]
impl ObjectSubclass for FaceDetect {
    const NAME: &'static str = "GstOnnxFaceDetect";
    type Type = super::FaceDetect;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for FaceDetect {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(properties::all);
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        gst::info!(CAT, imp = self, "{} = {value:?}", pspec.name());
        if !self.settings.lock().set(pspec.name(), value) {
            gst::error!(CAT, imp = self, "property {} cannot be set", pspec.name());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if let Some(value) = self.settings.lock().get(pspec.name()) {
            return value;
        }
        match pspec.name() {
            "active-provider" => self.provider.active().to_value(),
            "stats" => self.stats().to_value(),
            _ => pspec.default_value().clone(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        crate::meta::register();
    }
}

impl GstObjectImpl for FaceDetect {}

impl ElementImpl for FaceDetect {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face detector",
                "Filter/Analyzer/Video",
                "Finds faces and their five landmarks and writes them into the buffers' metadata",
                "The gst-face maintainers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(crate::pads::templates);
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::PausedToReady {
            self.cancel.cancel();
        }
        self.parent_change_state(transition)
    }
}

impl BaseTransformImpl for FaceDetect {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().clone();
        let model = model::resolve(&settings.runtime.model, Task::Detector)
            .map_err(|e| crate::runtime::model_error(&e))?;
        let detector = Detector::load(&model, &settings.runtime.pool_options())
            .map_err(|e| start_error(&e))?;
        let pool = detector.pool().clone();
        gst::info!(
            CAT,
            imp = self,
            "{} on {} with {} workers",
            model.path.display(),
            pool.active_provider(),
            pool.workers()
        );
        self.cancel.set(detector.canceller());
        *self.stats.lock() = Stats::default();
        *self.pool.lock() = Arc::downgrade(&pool);
        self.lateness.reset();
        self.latency.reset();
        self.meter.reset();
        *self.state.lock() = Some(State {
            detector,
            info: None,
            faces: Vec::new(),
            frames: VecDeque::new(),
            frame_id: 0,
            until_look: 0,
            share: None,
            begun: Instant::now(),
            last_warning: None,
        });
        self.provider.start(self.obj().upcast_ref(), &settings.runtime, &pool);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let state = self.state.lock().take();
        // Joins the workers when this was the last user of the pool: not under the lock.
        drop(state);
        self.provider.stop();
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = gst_video::VideoInfo::from_caps(incaps)
            .map_err(|e| gst::loggable_error!(CAT, "caps {incaps} are no raw video: {e}"))?;
        if let Some(state) = &mut *self.state.lock() {
            state.info = Some(info);
            state.restart();
        }
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        let flush = matches!(event.view(), gst::EventView::FlushStop(_));
        if event.is_serialized() && !flush {
            self.drain();
        }
        match event.view() {
            gst::EventView::StreamStart(_) => {
                if let Some(state) = &mut *self.state.lock() {
                    state.frame_id = 0;
                    state.restart();
                }
            }
            gst::EventView::FlushStart(_) => self.cancel.cancel(),
            gst::EventView::FlushStop(_) => {
                self.cancel.resume();
                self.lateness.reset();
                if let Some(state) = &mut *self.state.lock() {
                    state.give_up();
                    state.restart();
                }
            }
            _ => {}
        }
        self.parent_sink_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if context_query::is(direction, query) {
            let look = self.settings.lock().look;
            let facts = self.state.lock().as_ref().map(|state| {
                let (spec, pool) = (state.detector.spec(), state.detector.pool());
                let options = look.detect_options(&state.detector);
                context_query::model("detector", spec, pool.active_provider())
                    .field("score-threshold", f64::from(options.score_threshold))
                    .field("iou-threshold", f64::from(options.nms_threshold))
            });
            if let Some(facts) = facts {
                context_query::add(query, self.obj().upcast_ref(), "onnxfacedetect", facts);
            }
        }
        if direction == gst::PadDirection::Sink && query.is_serialized() {
            self.drain();
        }
        let answered = BaseTransformImplExt::parent_query(self, direction, query);
        if answered {
            self.latency.add_to(direction, query);
        }
        answered
    }

    fn src_event(&self, event: gst::Event) -> bool {
        self.lateness.observe(&event);
        self.parent_src_event(event)
    }

    fn submit_input_buffer(
        &self,
        is_discont: bool,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        crate::pads::require_caps(self.obj().upcast_ref())?;
        self.parent_submit_input_buffer(is_discont, buffer)
    }

    /// Called after each buffer until there is no output: the oldest frame goes on when there are
    /// more than `lookahead` after it.
    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let lap = Lap::begin();
        let settings = self.settings.lock().look;
        let live = self.lateness.is_live(self.obj().upcast_ref());
        let lookahead = if live { 0 } else { settings.lookahead() };
        let queued = self.take_queued_buffer();
        let mut guard = self.state.lock();
        let Some(state) = guard.as_mut() else {
            return Err(gst::FlowError::Flushing);
        };
        if let Some(buffer) = queued {
            self.begin(state, &settings, buffer, live)?;
        }
        if !state.is_full(lookahead) {
            self.meter.spent(lap);
            return Ok(GenerateOutputSuccess::NoOutput);
        }
        let finished = self.finish(state);
        let provider_news = self.provider.news(state.detector.pool());
        drop(guard);
        self.meter.spent(lap);
        if let Some(pool) = provider_news {
            self.provider.tell(self.obj().upcast_ref(), &pool);
        }
        match finished {
            Ok(Some(Finished { buffer, looked, took })) => {
                if live && looked {
                    self.latency.looked(self.obj().upcast_ref(), took);
                }
                Ok(GenerateOutputSuccess::Buffer(buffer))
            }
            Ok(None) => Ok(GenerateOutputSuccess::NoOutput),
            Err(error) => Err(self.flow_error(&error)),
        }
    }
}
