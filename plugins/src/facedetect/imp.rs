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
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use face_core::detect::{DetectError, DetectOptions, Detection, Detector};
use face_core::geometry::{BBox, Landmarks, Point};
use face_core::inference::InferenceError;
use face_core::model::{self, Task};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::GenerateOutputSuccess;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;

use crate::cancel::Cancel;
use crate::context_query;
use crate::live::Lateness;
use crate::meta::{Face, FrameFaces, write_rois};
use crate::runtime::{RuntimeSettings, start_error, with_causes};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("facedetect", gst::DebugColorFlags::empty(), Some("Face detection"))
});

/// Frame rate above which `interval=0` looks at every second frame only.
const FAST_FPS: f64 = 20.0;
/// On a live stream a frame that takes longer than this goes on without having been looked at.
const LIVE_DEADLINE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct Settings {
    runtime: RuntimeSettings,
    look: LookSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runtime: RuntimeSettings::new(model::DEFAULT_DETECTOR),
            look: LookSettings::default(),
        }
    }
}

/// What may change from one frame to the next: copied for each, without an allocation.
#[derive(Clone, Copy, Debug)]
struct LookSettings {
    input_size: u32,
    score_threshold: f32,
    iou_threshold: f32,
    min_face_size: u32,
    max_faces: u32,
    interval: u32,
    lookahead: u32,
}

impl Default for LookSettings {
    fn default() -> Self {
        Self {
            input_size: DetectOptions::DEFAULT_INPUT_SIZE,
            score_threshold: 0.0,
            iou_threshold: 0.0,
            min_face_size: 0,
            max_faces: 0,
            interval: 0,
            lookahead: 0,
        }
    }
}

impl LookSettings {
    fn detect_options(&self, detector: &Detector) -> DetectOptions {
        let mut options = DetectOptions::of(detector.spec());
        options.input_size = self.input_size;
        if self.score_threshold > 0.0 {
            options.score_threshold = self.score_threshold;
        }
        if self.iou_threshold > 0.0 {
            options.nms_threshold = self.iou_threshold;
        }
        options.min_face_size = self.min_face_size as f32;
        options.max_faces = self.max_faces as usize;
        options
    }

    /// Every how many frames the detector looks, at this frame rate.
    fn interval_at(&self, fps: gst::Fraction) -> u64 {
        let fast = fps.denom() != 0 && f64::from(fps.numer()) / f64::from(fps.denom()) > FAST_FPS;
        match self.interval {
            0 if fast => 2,
            0 => 1,
            n => u64::from(n),
        }
    }
}

/// A buffer on its way through the element.
#[derive(Debug)]
struct Frame {
    buffer: gst::Buffer,
    /// The detector was given it.
    looked: bool,
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

    fn give_up(&mut self) {
        self.detector.give_up();
        self.frames.clear();
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    frames: u64,
    looked: u64,
    late: u64,
    unreadable: u64,
    not_finite: u64,
    faces: u64,
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
    active_provider: Mutex<&'static str>,
    lateness: Lateness,
    cancel: Cancel,
}

impl FaceDetect {
    /// Gives the frame to the detector if it is its turn; was it?
    fn look(
        &self,
        state: &mut State,
        settings: &LookSettings,
        info: &gst_video::VideoInfo,
        buffer: &gst::BufferRef,
        live: bool,
    ) -> bool {
        if state.until_look > 0 {
            state.until_look -= 1;
            return false;
        }
        if live && self.lateness.is_late(self.obj().upcast_ref(), buffer) {
            self.stats.lock().late += 1;
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
        let deadline = live.then(|| Instant::now() + LIVE_DEADLINE);
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
        let looked = self.look(state, settings, &info, &buffer, live);
        state.frames.push_back(Frame { buffer, looked });
        Ok(())
    }

    /// Waits for the oldest frame and writes into its buffer what was found.
    fn finish(&self, state: &mut State) -> Result<Option<gst::Buffer>, DetectError> {
        let Some(Frame { mut buffer, looked }) = state.frames.pop_front() else { return Ok(None) };
        let looked = looked && self.wait(state)?;
        let Some(info) = &state.info else { return Ok(None) };
        let faces = frame_faces(state, info, looked);
        let (width, height) = (info.width(), info.height());
        state.frame_id += 1;
        {
            let mut stats = self.stats.lock();
            stats.frames += 1;
            stats.looked += u64::from(looked);
            stats.faces += faces.faces.len() as u64;
            stats.not_finite = state.detector.not_finite();
        }
        let target = buffer.make_mut();
        faces.write(target);
        write_rois(target, &faces, width, height);
        Ok(Some(buffer))
    }

    /// Waits for what the detector found; false if that took too long.
    fn wait(&self, state: &mut State) -> Result<bool, DetectError> {
        match state.detector.finish(&mut state.faces) {
            Ok(()) => Ok(true),
            Err(DetectError::Inference(e @ InferenceError::Deadline { .. })) => {
                self.stats.lock().late += 1;
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
            let finished = match &mut *self.state.lock() {
                Some(state) => self.finish(state),
                None => return,
            };
            let sent = match finished {
                Ok(Some(buffer)) => self.obj().src_pad().push(buffer).map(drop),
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
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let defaults = Settings::default();
            let mut properties = RuntimeSettings::properties(&defaults.runtime.model);
            properties.extend([
                glib::ParamSpecUInt::builder("input-size")
                    .nick("Input size")
                    .blurb(
                        "Longest side of the detector's input in pixels; larger pictures are \
                         shrunk to it, smaller ones are taken as they are",
                    )
                    .minimum(32)
                    .maximum(8192)
                    .default_value(defaults.look.input_size)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecFloat::builder("score-threshold")
                    .nick("Score threshold")
                    .blurb("Least score of a face, 0 to 1 (0 = the one the model recommends)")
                    .minimum(0.0)
                    .maximum(1.0)
                    .default_value(defaults.look.score_threshold)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecFloat::builder("iou-threshold")
                    .nick("IoU threshold")
                    .blurb(
                        "Of two boxes that overlap by more than this intersection over union the \
                         weaker is dropped, 0 to 1 (0 = the one the model recommends)",
                    )
                    .minimum(0.0)
                    .maximum(1.0)
                    .default_value(defaults.look.iou_threshold)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("min-face-size")
                    .nick("Minimum face size")
                    .blurb("Least shorter side of a face in pixels of the picture (0 = any)")
                    .default_value(defaults.look.min_face_size)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("max-faces")
                    .nick("Maximum number of faces")
                    .blurb("At most so many faces per frame, the best by score (0 = any number)")
                    .default_value(defaults.look.max_faces)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("interval")
                    .nick("Interval")
                    .blurb(
                        "Look at every n-th frame (0 = every second one above 20 frames per \
                         second, else every one)",
                    )
                    .default_value(defaults.look.interval)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("lookahead")
                    .nick("Lookahead")
                    .blurb(
                        "How many further frames are searched while one is waited for, so that one \
                         stream uses several cores; frames go on that much later, and the results \
                         are the same. Not on live streams (0 = each frame goes on before the next \
                         one is taken)",
                    )
                    .maximum(64)
                    .default_value(defaults.look.lookahead)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb(
                        "Counters since start: frames, looked, late (skipped on a live stream), \
                         unreadable, not-finite (faces left out), faces",
                    )
                    .read_only()
                    .build(),
            ]);
            properties
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = self.settings.lock();
        gst::info!(CAT, imp = self, "{} = {value:?}", pspec.name());
        if settings.runtime.set(pspec.name(), value) {
            return;
        }
        match pspec.name() {
            "input-size" => settings.look.input_size = value.get().unwrap_or_default(),
            "score-threshold" => settings.look.score_threshold = value.get().unwrap_or_default(),
            "iou-threshold" => settings.look.iou_threshold = value.get().unwrap_or_default(),
            "min-face-size" => settings.look.min_face_size = value.get().unwrap_or_default(),
            "max-faces" => settings.look.max_faces = value.get().unwrap_or_default(),
            "interval" => settings.look.interval = value.get().unwrap_or_default(),
            "lookahead" => settings.look.lookahead = value.get().unwrap_or_default(),
            name => gst::error!(CAT, imp = self, "property {name} cannot be set"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings.lock();
        if let Some(value) = settings.runtime.get(pspec.name()) {
            return value;
        }
        match pspec.name() {
            "active-provider" => self.active_provider.lock().to_value(),
            "input-size" => settings.look.input_size.to_value(),
            "score-threshold" => settings.look.score_threshold.to_value(),
            "iou-threshold" => settings.look.iou_threshold.to_value(),
            "min-face-size" => settings.look.min_face_size.to_value(),
            "max-faces" => settings.look.max_faces.to_value(),
            "interval" => settings.look.interval.to_value(),
            "lookahead" => settings.look.lookahead.to_value(),
            "stats" => {
                let stats = *self.stats.lock();
                gst::Structure::builder("stats")
                    .field("frames", stats.frames)
                    .field("looked", stats.looked)
                    .field("late", stats.late)
                    .field("unreadable", stats.unreadable)
                    .field("not-finite", stats.not_finite)
                    .field("faces", stats.faces)
                    .build()
                    .to_value()
            }
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
        *self.active_provider.lock() = pool.active_provider().as_str();
        self.lateness.reset();
        *self.state.lock() = Some(State {
            detector,
            info: None,
            faces: Vec::new(),
            frames: VecDeque::new(),
            frame_id: 0,
            until_look: 0,
            last_warning: None,
        });
        settings.runtime.post_provider(self.obj().upcast_ref(), &pool);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let state = self.state.lock().take();
        // Joins the workers when this was the last user of the pool: not under the lock.
        drop(state);
        *self.active_provider.lock() = "";
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = gst_video::VideoInfo::from_caps(incaps)
            .map_err(|e| gst::loggable_error!(CAT, "caps {incaps} are no raw video: {e}"))?;
        if let Some(state) = &mut *self.state.lock() {
            state.info = Some(info);
            // The first frame of the new picture is looked at.
            state.until_look = 0;
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
                    state.until_look = 0;
                }
            }
            gst::EventView::FlushStart(_) => self.cancel.cancel(),
            gst::EventView::FlushStop(_) => {
                self.cancel.resume();
                self.lateness.reset();
                if let Some(state) = &mut *self.state.lock() {
                    state.give_up();
                    state.until_look = 0;
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
        BaseTransformImplExt::parent_query(self, direction, query)
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
        let settings = self.settings.lock().look;
        let live = self.lateness.is_live(self.obj().upcast_ref());
        let lookahead = if live { 0 } else { settings.lookahead as usize };
        let queued = self.take_queued_buffer();
        let mut guard = self.state.lock();
        let Some(state) = guard.as_mut() else {
            return Err(gst::FlowError::Flushing);
        };
        if let Some(buffer) = queued {
            self.begin(state, &settings, buffer, live)?;
        }
        if !state.is_full(lookahead) {
            return Ok(GenerateOutputSuccess::NoOutput);
        }
        let finished = self.finish(state);
        drop(guard);
        match finished {
            Ok(Some(buffer)) => Ok(GenerateOutputSuccess::Buffer(buffer)),
            Ok(None) => Ok(GenerateOutputSuccess::NoOutput),
            Err(error) => Err(self.flow_error(&error)),
        }
    }
}
