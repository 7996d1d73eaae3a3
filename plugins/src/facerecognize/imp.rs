//! SECTION:element-facerecognize
//!
//! Says who the faces are: aligns each face by its five landmarks, embeds it, and looks it up in a
//! gallery. A face on a track (see facetrack) is embedded at once and then ever more rarely
//! (`reid-policy`, `reid-interval-max`, `max-inferences-per-second`); in between it keeps its name.
//! Its name shows at the first result and is confirmed by `confirm-count` that agree. Faces without
//! a track are looked up on every frame, so that the element works on stills too. Filters
//! (`min-face-size`, `required-zones`, `require-frontal` …) leave faces alone, which keep the names of
//! their tracks.
//!
//! `gallery` is a file, or `postgresql://ROLE@HOST/DATABASE`, which several machines share. Such a
//! gallery is loaded and followed by a thread; while its server cannot be reached the last contents
//! serve, and a warning is posted, once. With more than `local-max` samples its server is asked
//! about every face instead: one that it does not answer about in time has the status error.
//!
//! Posts the element message `face-identity` {track-id, event-id, person-id, name, similarity,
//! previous-name, running-time, utc} when a track gets a name, confirmed or not yet, or loses it
//! (then without person-id, name and similarity), and `gallery-changed` {generation} when the gallery
//! was written to.
//!
//! Posts `face-alert` {event, event-id, track-id, person-id, name, similarity, top-k, zones, camera, pts,
//! running-time, utc, dry-run, crop} when the identity of a track is confirmed (known-face,
//! unknown-face), becomes another one (identity-changed), and when such a track ends
//! (face-disappeared). The same stands in the events of the metadata, from the buffer that triggered
//! it on. `alert-mode`, `alert-repeat`, `alert-cooldown` and `alert-rules` decide about whom, how often
//! and where. At the end of every track a `face-track` sums it up, in place of facetrack's. See
//! docs/alerts.md for all fields.
//!
//! When the face of a track turns out to be another person's, the element sends `face-track-split`
//! upstream: facetrack ends the track, and the face gets a new one. When a new track turns out to be
//! a lost one come back, it sends `face-relink`.
//!
//! Action signals, each with a structure as its answer that has `ok` and, if that is false, `reason`;
//! none waits longer than two seconds for another process:
//! - `enroll(track-id, name)` → `person-id`: enrols the best crops of a track.
//! - `enroll-sample(sample, name)` → `person-id`: enrols the largest face of a sample that passed
//!   onnxfacedetect, such as one from an appsink.
//! - `search(sample)` → `faces`: who is in such a sample (`id`, `status`, and for the nearest person
//!   `person-id`, `name`, `similarity`).
//! - `forget(person-id)` → `person-id`: erases a person from the gallery, as `facectl gallery forget`.
//! - `reload()` → `generation`: takes over changes of the gallery at once.
//!
//! The action signal `explain(track-id)` answers with a string: why the track is what it is.
//!
//! ```bash
//! gst-launch-1.0 filesrc location=clip.mp4 ! decodebin ! videoconvert ! onnxfacedetect ! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! facetrack ! facerecognize gallery=people.gallery ! faceannotate ! videoconvert ! autovideosink
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use face_core::embed::Embedder;
use face_core::frame::FrameView;
use face_core::gallery::Gallery;
use face_core::inference::{InferenceError, Pool};
use face_core::model::{self, Task};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;

use super::posts::Posts;
use super::properties::{self, Settings};
use super::signals::{self, EnrollSettings};
use super::stream::{Options, Report, Stats, Stream, When};
use super::watch::Told;
use crate::cancel::Cancel;
use crate::context_query;
use crate::live::{self, Late, Latency, Lateness};
use crate::meta::{self, FrameFaces, Mapping, Origin};
use crate::runtime::{ProviderReport, start_error, with_causes};
use crate::stats::{Lap, Meter, Work};
use crate::upstream_check::UpstreamCheck;

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "facerecognize",
        gst::DebugColorFlags::empty(),
        Some("Face recognition"),
    )
});

/// From one buffer to the next where neither has a time and the caps have no frame rate.
const FALLBACK_STEP_NS: u64 = 40_000_000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) stream: Stream,
    info: Option<gst_video::VideoInfo>,
    check: UpstreamCheck,
    /// What the schedule counts in: running time, or where a buffer without one should be.
    last_time_ns: Option<u64>,
    last_warning: Option<Instant>,
    borders_logged: bool,
    /// What is written to the gallery cannot be read; the bus was told.
    outage: bool,
}

/// Lock order: settings, state, then any of the others; none is held while a message is posted or
/// the gallery is written. `state` is held through inference: besides start(), stop() and the
/// signal only the streaming thread takes it.
#[derive(Debug, Default)]
pub struct FaceRecognize {
    settings: Mutex<Settings>,
    pub(super) state: Mutex<Option<State>>,
    stats: Mutex<Stats>,
    provider: ProviderReport,
    pool: Mutex<Weak<Pool>>,
    lateness: Lateness,
    cancel: Cancel,
    latency: Latency,
    meter: Meter,
    /// A signal wrote to the gallery: the next frame reads it.
    pub(super) refresh_now: AtomicBool,
    /// One more for every signal that works on the gallery, also after its caller gave up.
    pub(super) at_work: Arc<()>,
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
        let (faces, origin) = match meta::open(buffer) {
            Some(Ok(opened)) => opened,
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
        let interval = match self.refresh_now.swap(false, Ordering::AcqRel) {
            true => Duration::ZERO,
            false => reload_interval,
        };
        match state.stream.refresh(interval, &when) {
            Ok(generation) => posts.generation = generation,
            // The last snapshot goes on serving.
            Err(e) => self.warn(state, &with_causes(&e)),
        }
        posts.outage = self.outage(state);
        posts.report = self.recognize(state, options, buffer, (faces, &origin), &when, live)?;
        Ok(posts)
    }

    /// What the bus is to be told of an outage that begins; the log is told of its end.
    fn outage(&self, state: &mut State) -> Option<String> {
        let trouble = state.stream.gallery.as_ref().and_then(Gallery::trouble);
        let before = std::mem::replace(&mut state.outage, trouble.is_some());
        if before && trouble.is_none() {
            gst::info!(CAT, imp = self, "the gallery can be read again");
        }
        let loaded = state.stream.gallery.as_ref().is_some_and(Gallery::is_loaded);
        let meanwhile = match loaded {
            true => "until it can be, those are recognised who were known before",
            false => "until it can be, nobody is recognised",
        };
        trouble.filter(|_| !before).map(|reason| format!("{reason}; {meanwhile}"))
    }

    fn recognize(
        &self,
        state: &mut State,
        options: &Options,
        buffer: &mut gst::BufferRef,
        (mut faces, origin): (FrameFaces, &Origin),
        when: &When,
        live: bool,
    ) -> Result<Report, InferenceError> {
        let plan = state.stream.plan(&mut faces, options, when);
        let late = || self.lateness.of(self.obj().upcast_ref(), buffer, options.max_latency_ns);
        let late = if live && plan.wants_pixels() { late() } else { None };
        let stats = &mut state.stream.stats;
        stats.passed += u64::from(!plan.wants_pixels());
        late.into_iter().for_each(|late| stats.late.add(late));
        let due = plan.wants_pixels() && late.is_none();
        let info = state.info.clone().filter(|_| due);
        let frame = info
            .as_ref()
            .and_then(|info| gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).ok());
        let view = frame.as_ref().and_then(|frame| crate::frame::view(frame).ok());
        if due && view.is_none() {
            state.stream.stats.unreadable += 1;
            self.warn(state, &format!("frame {} cannot be read", faces.frame_id));
        }
        let mapping = info.as_ref().map(|info| Mapping::new(&faces, info));
        if mapping.is_some_and(|m| m.bordered()) && !state.borders_logged {
            state.borders_logged = true;
            gst::info!(CAT, imp = self, "the picture has borders since facedetect saw it");
        }
        let pixels: Option<(&FrameView<'_>, &Mapping)> = view.as_ref().zip(mapping.as_ref());
        let (report, outcome) = state.stream.process(pixels, plan, &mut faces, options, when);
        match outcome {
            Err(e @ InferenceError::Deadline { .. }) => {
                state.stream.stats.late.add(Late::Deadline);
                self.warn(state, &e.to_string());
            }
            other => other?,
        }
        drop(frame);
        if let Some(error) = &report.search_error {
            self.warn(state, &error.to_string());
        }
        origin.write(&faces, buffer);
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
        let (pts, taken) = (buffer.pts(), crate::camera_time::taken(buffer));
        let deadline = live.then(|| Instant::now() + live::DEADLINE);
        When { pts, running_time, taken, time_ns, deadline }
    }

    /// All tracks end; the stream does not go on if `reset`.
    fn end_tracks(&self, reset: bool) -> Told {
        let mut guard = self.state.lock();
        let Some(state) = guard.as_mut() else { return Told::default() };
        let told = state.stream.end_tracks();
        if reset {
            state.stream.reset();
            state.last_time_ns = None;
        }
        let stats = state.stream.stats;
        drop(guard);
        *self.stats.lock() = stats;
        told
    }

    fn stats(&self) -> gst::Structure {
        let stats = *self.stats.lock();
        let pool = self.pool.lock().upgrade().map(|pool| pool.stats()).unwrap_or_default();
        let mut structure = stats.structure();
        let work = Work { spent: stats.spent, handle: stats.handle, pool };
        self.meter.write_inference(&work, &mut structure);
        structure
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
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(properties::all);
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = self.settings.lock();
        if !settings.set(pspec.name(), value) {
            gst::error!(CAT, imp = self, "property {} cannot be set", pspec.name());
            return;
        }
        // As it is given back: the address of a gallery without its password.
        let shown = settings.get(pspec.name());
        drop(settings);
        gst::info!(CAT, imp = self, "{} = {shown:?}", pspec.name());
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

impl FaceRecognize {
    /// Would it start, as far as the properties alone decide?
    pub(crate) fn check(&self) -> Result<(), String> {
        let settings = self.settings.lock().clone();
        let mut alerts = settings.alerts.as_ref().clone();
        alerts.start().map_err(|error| with_causes(&error))
    }
}

impl BaseTransformImpl for FaceRecognize {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = {
            let mut settings = self.settings.lock();
            let read = Arc::make_mut(&mut settings.alerts).start();
            read.map_err(|error| error.message())?;
            settings.clone()
        };
        let model = model::resolve(&settings.runtime.model, Task::Embedder)
            .map_err(|e| crate::runtime::model_error(&e))?;
        let embedder = Embedder::load(&model, &settings.runtime.pool_options())
            .map_err(|e| start_error(&e))?;
        let gallery = settings.gallery.open(embedder.fingerprint(), &self.obj())?;
        let pool = embedder.pool().clone();
        *self.stats.lock() = Stats::default();
        *self.pool.lock() = Arc::downgrade(&pool);
        self.lateness.reset();
        self.cancel.set(embedder.canceller());
        self.latency.reset();
        self.meter.reset();
        let mut stream = Stream::new(embedder, gallery);
        stream.watch.set_options(settings.alerts.clone());
        *self.state.lock() = Some(State {
            stream,
            info: None,
            check: UpstreamCheck::default(),
            last_time_ns: None,
            last_warning: None,
            borders_logged: false,
            outage: false,
        });
        self.provider.start(self.obj().upcast_ref(), &settings.runtime, &pool);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let mut state = self.state.lock().take();
        let told = state.as_mut().map(|state| state.stream.end_tracks()).unwrap_or_default();
        self.post_elements(told.messages);
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
        }
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::FlushStart(_) => self.cancel.cancel(),
            gst::EventView::FlushStop(_) => self.cancel.resume(),
            _ => {}
        }
        let eos = matches!(event.view(), gst::EventView::Eos(_));
        let reset =
            matches!(event.view(), gst::EventView::StreamStart(_) | gst::EventView::FlushStop(_));
        if reset {
            self.lateness.reset();
        }
        if reset || eos {
            let told = self.end_tracks(reset);
            self.post_elements(told.messages);
        }
        self.parent_sink_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        // In every state: facetrack asks in its stop(), when this element has stopped.
        let summary = direction == gst::PadDirection::Sink && crate::summary_query::is(query);
        if context_query::is(direction, query) {
            let options = self.options();
            let facts = self.state.lock().as_ref().map(|state| state.stream.facts(&options));
            if let Some(facts) = facts {
                context_query::add(query, self.obj().upcast_ref(), "facerecognize", facts);
            }
        }
        let answered = summary || BaseTransformImplExt::parent_query(self, direction, query);
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

    fn transform_ip(
        &self,
        buffer: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let lap = Lap::begin();
        // Not the settings as a whole: they hold strings.
        let (options, reload_interval) = {
            let settings = self.settings.lock();
            (settings.options(), Duration::from_millis(settings.reload_interval.into()))
        };
        let mut guard = self.state.lock();
        let Some(state) = guard.as_mut() else {
            return Err(gst::FlowError::Flushing);
        };
        let before = state.stream.stats.embedded;
        let outcome = self.work(state, &options, reload_interval, buffer);
        let looked = state.stream.stats.embedded > before;
        *self.stats.lock() = state.stream.stats;
        let provider_news = self.provider.news(state.stream.embedder.pool());
        drop(guard);
        if let Some(pool) = provider_news {
            self.provider.tell(self.obj().upcast_ref(), &pool);
        }
        match outcome {
            Ok(posts) => {
                self.post(posts, &options);
                let took = self.meter.end(lap, looked);
                if looked && self.lateness.is_live(self.obj().upcast_ref()) {
                    self.latency.looked(self.obj().upcast_ref(), took);
                }
                Ok(gst::FlowSuccess::Ok)
            }
            Err(InferenceError::Cancelled { .. }) => Err(gst::FlowError::Flushing),
            Err(e) => {
                gst::element_imp_error!(self, gst::StreamError::Failed, ("{}", with_causes(&e)));
                Err(gst::FlowError::Error)
            }
        }
    }
}
