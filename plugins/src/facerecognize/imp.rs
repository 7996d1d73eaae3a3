//! SECTION:element-facerecognize
//!
//! Says who the faces are: aligns each face by its five landmarks, embeds it, and looks it up in a
//! gallery. A face on a track (see facetrack) is embedded at once and then ever more rarely, up to
//! once in 30 frames or a second; in between it keeps its name. Faces without a track are looked up
//! on every frame, so that the element works on stills too.
//!
//! Posts the element message `face-identity` {track-id, event-id, person-id, name, similarity, previous-name,
//! running-time, utc} when a track gets a name or loses it (then without person-id, name and
//! similarity), and `gallery-changed` {generation} when the gallery was written to.
//!
//! When the face of a track turns out to be another person's, the element sends `face-track-split`
//! upstream: facetrack ends the track, and the face gets a new one.
//!
//! Action signals, each with a structure as its answer that has `ok` and, if that is false, `reason`;
//! none waits longer than two seconds for another process:
//! - `enroll(track-id, name)` → `person-id`, `samples`: enrols the best crops of a track that pass the
//!   enrolment gate; `samples` says of each crop what became of it (`verdict`, `reason`, `detail`).
//! - `enroll-sample(sample, name)` → the same: enrols the largest face of a sample that passed
//!   onnxfacedetect, such as one from an appsink.
//! - `search(sample)` → `faces`: who is in such a sample (`id`, `status`, and for the nearest person
//!   `person-id`, `name`, `similarity`).
//! - `forget(person-id)` → `person-id`: erases a person from the gallery, as `facectl gallery forget`.
//! - `reload()` → `generation`: takes over changes of the gallery at once.
//!
//! ```bash
//! gst-launch-1.0 filesrc location=clip.mp4 ! decodebin ! videoconvert ! onnxfacedetect ! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! facetrack ! facerecognize gallery=people.gallery ! faceannotate ! videoconvert ! autovideosink
//! ```

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use face_core::embed::Embedder;
use face_core::frame::FrameView;
use face_core::gallery::{Access, Gallery};
use face_core::inference::InferenceError;
use face_core::model::{self, Task};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;

use super::signals::{self, EnrollSettings};
use super::stream::{FACE_IDENTITY, Options, Report, Stats, Stream, When};
use crate::live::Lateness;
use crate::meta::{self, FrameFaces, Mapping};
use crate::runtime::{RuntimeSettings, gallery_error, start_error, with_causes};
use crate::upstream_check::UpstreamCheck;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "facerecognize",
        gst::DebugColorFlags::empty(),
        Some("Face recognition"),
    )
});

/// On a live stream a frame whose faces take longer than this goes on without new results.
const LIVE_DEADLINE: Duration = Duration::from_secs(1);
/// From one buffer to the next where neither has a time and the caps have no frame rate.
const FALLBACK_STEP_NS: u64 = 40_000_000;

#[derive(Clone, Debug)]
struct Settings {
    runtime: RuntimeSettings,
    gallery: Option<String>,
    threshold: f32,
    min_margin: f32,
    top_k: u32,
    every_face: bool,
    embed_output: bool,
    reload_interval: u32,
    enroll: EnrollSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runtime: RuntimeSettings::new(model::DEFAULT_EMBEDDER),
            gallery: None,
            threshold: 0.0,
            min_margin: 0.0,
            top_k: 3,
            every_face: false,
            embed_output: false,
            reload_interval: 500,
            enroll: EnrollSettings::default(),
        }
    }
}

impl Settings {
    fn options(&self) -> Options {
        Options {
            threshold: self.threshold,
            min_margin: self.min_margin,
            top_k: self.top_k as usize,
            every_face: self.every_face,
            embed_output: self.embed_output,
            loose_crops: self.enroll.loose_crops(),
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) stream: Stream,
    info: Option<gst_video::VideoInfo>,
    check: UpstreamCheck,
    /// What the schedule counts in: running time, or where a buffer without one should be.
    last_time_ns: Option<u64>,
    last_warning: Option<Instant>,
    borders_logged: bool,
    /// This element wrote to the gallery: the next frame reads it.
    pub(super) refresh_now: bool,
}

/// What is to be posted once no lock is held.
#[derive(Default)]
struct Posts {
    report: Report,
    /// New generation of the gallery.
    generation: Option<u64>,
    /// Somebody should have put faces on the buffers.
    missing_upstream: bool,
}

/// Lock order: settings, state, then any of the others; none is held while a message is posted or
/// the gallery is written. `state` is held through inference: besides start(), stop() and the
/// signal only the streaming thread takes it.
#[derive(Debug, Default)]
pub struct FaceRecognize {
    settings: Mutex<Settings>,
    pub(super) state: Mutex<Option<State>>,
    stats: Mutex<Stats>,
    active_provider: Mutex<&'static str>,
    lateness: Lateness,
}

impl FaceRecognize {
    /// Everything that is done with one buffer. An error ends the stream.
    fn work(
        &self,
        state: &mut State,
        options: &Options,
        reload_interval: Duration,
        buffer: &mut gst::BufferRef,
    ) -> Result<Posts, InferenceError> {
        let mut posts = Posts::default();
        let faces = match FrameFaces::read(buffer) {
            Some(Ok(faces)) => faces,
            Some(Err(e)) => {
                state.stream.stats.malformed += 1;
                self.warn(state, &e.to_string());
                return Ok(posts);
            }
            None => {
                posts.missing_upstream = state.check.saw(false);
                return Ok(posts);
            }
        };
        let _ = state.check.saw(true);
        let live = self.lateness.is_live(self.obj().upcast_ref());
        let when = self.when(state, buffer, live);
        let interval = match std::mem::take(&mut state.refresh_now) {
            true => Duration::ZERO,
            false => reload_interval,
        };
        match state.stream.refresh(interval, &when) {
            Ok(generation) => posts.generation = generation,
            // The last snapshot goes on serving.
            Err(e) => self.warn(state, &with_causes(&e)),
        }
        posts.report = self.recognize(state, options, buffer, faces, &when, live)?;
        Ok(posts)
    }

    fn recognize(
        &self,
        state: &mut State,
        options: &Options,
        buffer: &mut gst::BufferRef,
        mut faces: FrameFaces,
        when: &When,
        live: bool,
    ) -> Result<Report, InferenceError> {
        let late = live && self.lateness.is_late(self.obj().upcast_ref(), buffer);
        state.stream.stats.late += u64::from(late);
        let due = state.stream.wants_pixels(&faces, options, when) && !late;
        let info = state.info.clone().filter(|_| due);
        let frame = info
            .as_ref()
            .and_then(|info| gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).ok());
        let view = frame.as_ref().and_then(|frame| crate::frame::view(frame).ok());
        if due && view.is_none() {
            self.warn(state, &format!("frame {} cannot be read", faces.frame_id));
        }
        let mapping = info.as_ref().map(|info| Mapping::new(&faces, info));
        if mapping.is_some_and(|m| m.bordered()) && !state.borders_logged {
            state.borders_logged = true;
            gst::info!(CAT, imp = self, "the picture has borders since facedetect saw it");
        }
        let pixels: Option<(&FrameView<'_>, &Mapping)> = view.as_ref().zip(mapping.as_ref());
        let outcome = state.stream.process(pixels, &mut faces, options, when);
        let report = match outcome {
            Err(e @ InferenceError::Deadline { .. }) => {
                state.stream.stats.late += 1;
                self.warn(state, &e.to_string());
                Report::default()
            }
            other => other?,
        };
        drop(frame);
        // The meta was read without an error just now.
        meta::update(buffer, |present| *present = faces);
        Ok(report)
    }

    /// The settings that lookups depend on.
    pub(super) fn options(&self) -> Options {
        self.settings.lock().options()
    }

    /// What the signals that enrol go by.
    pub(super) fn enroll_settings(&self) -> EnrollSettings {
        self.settings.lock().enroll
    }

    fn when(&self, state: &mut State, buffer: &gst::BufferRef, live: bool) -> When {
        let segment = self.obj().segment();
        let running_time = segment
            .downcast_ref::<gst::ClockTime>()
            .and_then(|segment| segment.to_running_time(buffer.pts()));
        let step_ns = state.info.as_ref().and_then(crate::frame::duration_ns);
        let next = |last: u64| last.saturating_add(step_ns.unwrap_or(FALLBACK_STEP_NS));
        let time_ns = match running_time {
            Some(time) => time.nseconds(),
            None => state.last_time_ns.map_or(0, next),
        };
        state.last_time_ns = Some(time_ns);
        When { running_time, time_ns, deadline: live.then(|| Instant::now() + LIVE_DEADLINE) }
    }

    fn post(&self, posts: Posts) {
        let obj = self.obj();
        if posts.missing_upstream {
            let text = crate::upstream_check::warning();
            gst::element_imp_warning!(self, gst::StreamError::WrongType, ("{text}"));
        }
        let mut messages = Vec::new();
        if let Some(generation) = posts.generation {
            let changed = gst::Structure::builder("gallery-changed");
            messages.push(changed.field("generation", generation).build());
        }
        for news in posts.report.news {
            gst::debug!(CAT, imp = self, "track {} is {:?}", news.track_id, news.person);
            let mut s = gst::Structure::builder(FACE_IDENTITY)
                .field("track-id", news.track_id)
                .field("event-id", &news.event.id);
            if let Some(person) = &news.person {
                s = s
                    .field("person-id", meta::text(&person.person_id))
                    .field("name", meta::text(&person.name))
                    .field("similarity", f64::from(person.similarity));
            }
            if let Some(previous) = &news.previous {
                s = s.field("previous-name", meta::text(&previous.name));
            }
            if let Some(time) = news.event.running_time_ns {
                s = s.field("running-time", time);
            }
            if let Some(utc) = &news.event.utc {
                s = s.field("utc", utc);
            }
            messages.push(s.build());
        }
        for structure in messages {
            let message = gst::message::Element::builder(structure).src(&*obj).build();
            // Without a bus nobody listens.
            let _ = obj.post_message(message);
        }
        for track_id in posts.report.splits {
            gst::debug!(CAT, imp = self, "track {track_id} went over to another face");
            // Without a facetrack upstream the track keeps its id.
            let _ = obj.sink_pad().push_event(crate::split::event(track_id));
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

#[glib::object_subclass]
impl ObjectSubclass for FaceRecognize {
    const NAME: &'static str = "GstOnnxFaceRecognize";
    type Type = super::FaceRecognize;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for FaceRecognize {
    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(signals::all);
        &SIGNALS
    }

    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let defaults = Settings::default();
            let mut properties = RuntimeSettings::properties(&defaults.runtime.model);
            properties.extend([
                glib::ParamSpecString::builder("gallery")
                    .nick("Gallery")
                    .blurb(
                        "Path of the gallery of enrolled people, made by facectl enroll (unset = \
                         nobody is known)",
                    )
                    .mutable_ready()
                    .build(),
                glib::ParamSpecFloat::builder("threshold")
                    .nick("Similarity threshold")
                    .blurb(
                        "Cosine similarity from which a face is a person, 0 to 1 (0 = the one the \
                         model recommends); people with a threshold of their own keep it",
                    )
                    .minimum(0.0)
                    .maximum(1.0)
                    .default_value(defaults.threshold)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecFloat::builder("min-margin")
                    .nick("Minimum margin")
                    .blurb(
                        "A face is uncertain unless its person is nearer than the second by this \
                         much in cosine similarity, 0 to 2 (0 = any)",
                    )
                    .minimum(0.0)
                    .maximum(2.0)
                    .default_value(defaults.min_margin)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("top-k")
                    .nick("Candidates")
                    .blurb("Nearest people to report per face in the field top-k")
                    .minimum(1)
                    .maximum(100)
                    .default_value(defaults.top_k)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("every-face")
                    .nick("Every face")
                    .blurb("Embed every observed face of every frame instead of by schedule")
                    .default_value(defaults.every_face)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoolean::builder("embed-output")
                    .nick("Output embeddings")
                    .blurb(
                        "Put the embeddings into the metadata; they are biometric data, so off \
                         unless asked for",
                    )
                    .default_value(defaults.embed_output)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("reload-interval")
                    .nick("Reload interval")
                    .blurb(
                        "Look for changes of the gallery by other processes at most every so many \
                         milliseconds",
                    )
                    .default_value(defaults.reload_interval)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb(
                        "Counters since start: frames, faces, embedded, unusable (crops or \
                         embeddings), search-errors, late (skipped on a live stream), malformed \
                         (metadata)",
                    )
                    .read_only()
                    .build(),
            ]);
            properties.extend(EnrollSettings::properties());
            properties
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = self.settings.lock();
        gst::info!(CAT, imp = self, "{} = {value:?}", pspec.name());
        if settings.runtime.set(pspec.name(), value) || settings.enroll.set(pspec.name(), value) {
            return;
        }
        match pspec.name() {
            "gallery" => settings.gallery = value.get().unwrap_or_default(),
            "threshold" => settings.threshold = value.get().unwrap_or_default(),
            "min-margin" => settings.min_margin = value.get().unwrap_or_default(),
            "top-k" => settings.top_k = value.get().unwrap_or(1),
            "every-face" => settings.every_face = value.get().unwrap_or_default(),
            "embed-output" => settings.embed_output = value.get().unwrap_or_default(),
            "reload-interval" => settings.reload_interval = value.get().unwrap_or_default(),
            name => gst::error!(CAT, imp = self, "property {name} cannot be set"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings.lock();
        let own = || settings.enroll.get(pspec.name());
        if let Some(value) = settings.runtime.get(pspec.name()).or_else(own) {
            return value;
        }
        match pspec.name() {
            "active-provider" => self.active_provider.lock().to_value(),
            "gallery" => settings.gallery.to_value(),
            "threshold" => settings.threshold.to_value(),
            "min-margin" => settings.min_margin.to_value(),
            "top-k" => settings.top_k.to_value(),
            "every-face" => settings.every_face.to_value(),
            "embed-output" => settings.embed_output.to_value(),
            "reload-interval" => settings.reload_interval.to_value(),
            "stats" => {
                let stats = *self.stats.lock();
                gst::Structure::builder("stats")
                    .field("frames", stats.frames)
                    .field("faces", stats.faces)
                    .field("embedded", stats.embedded)
                    .field("unusable", stats.unusable)
                    .field("search-errors", stats.search_errors)
                    .field("late", stats.late)
                    .field("malformed", stats.malformed)
                    .build()
                    .to_value()
            }
            _ => pspec.default_value().clone(),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        meta::register();
    }
}

impl GstObjectImpl for FaceRecognize {}

impl ElementImpl for FaceRecognize {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face recogniser",
                "Filter/Analyzer/Video",
                "Says who the faces found by onnxfacedetect are, by a gallery of enrolled people",
                "The gst-face maintainers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(crate::pads::templates);
        &TEMPLATES
    }
}

impl BaseTransformImpl for FaceRecognize {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().clone();
        let model = model::resolve(&settings.runtime.model, Task::Embedder)
            .map_err(|e| crate::runtime::model_error(&e))?;
        let embedder = Embedder::load(&model, &settings.runtime.pool_options())
            .map_err(|e| start_error(&e))?;
        let gallery = match &settings.gallery {
            Some(path) => {
                let gallery = Gallery::open(Path::new(path), embedder.fingerprint(), Access::Read)
                    .map_err(|e| gallery_error(&e))?;
                gst::info!(CAT, imp = self, "{path}: {} people", gallery.snapshot().people().len());
                Some(gallery)
            }
            None => None,
        };
        let pool = embedder.pool().clone();
        *self.stats.lock() = Stats::default();
        *self.active_provider.lock() = pool.active_provider().as_str();
        self.lateness.reset();
        *self.state.lock() = Some(State {
            stream: Stream::new(embedder, gallery),
            info: None,
            check: UpstreamCheck::default(),
            last_time_ns: None,
            last_warning: None,
            borders_logged: false,
            refresh_now: false,
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
        }
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        let reset =
            matches!(event.view(), gst::EventView::StreamStart(_) | gst::EventView::FlushStop(_));
        if reset {
            self.lateness.reset();
            if let Some(state) = &mut *self.state.lock() {
                state.stream.reset();
                state.last_time_ns = None;
            }
        }
        self.parent_sink_event(event)
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

    fn transform_ip(
        &self,
        buffer: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        // Copied one by one: the settings as a whole hold strings.
        let (options, reload_interval) = {
            let settings = self.settings.lock();
            (settings.options(), Duration::from_millis(settings.reload_interval.into()))
        };
        let mut guard = self.state.lock();
        let Some(state) = guard.as_mut() else {
            return Err(gst::FlowError::Flushing);
        };
        let outcome = self.work(state, &options, reload_interval, buffer);
        *self.stats.lock() = state.stream.stats;
        drop(guard);
        match outcome {
            Ok(posts) => {
                self.post(posts);
                Ok(gst::FlowSuccess::Ok)
            }
            Err(e) => {
                gst::element_imp_error!(self, gst::StreamError::Failed, ("{}", with_causes(&e)));
                Err(gst::FlowError::Error)
            }
        }
    }
}
