use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;

use super::outlet::{Outlet, Timing, signed};
use super::settings::{Plan, Settings, StartError};
use super::worker::{CameraState, Clocking, Worker, latency_of};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("facecamerasrc", gst::DebugColorFlags::empty(), Some("Camera source"))
});

/// Longest that a change of state waits for the thread. A network is left at once; a driver may hang.
const LONGEST_STOP: Duration = Duration::from_secs(5);

/// What a camera is doing, for `stats`.
#[derive(Clone, Debug, Default)]
struct Status {
    state: CameraState,
    attempt: u32,
    reason: Option<String>,
    connections: u64,
    losses: u64,
}

/// What the element, its thread and the threads of a connection share. The locks are never held together, nor
/// while anything is pushed or posted.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) video: Outlet,
    audio: Mutex<Option<Arc<Outlet>>>,
    /// Of the connection that there is, for a stream of sound that begins in the middle of it.
    timing: Mutex<Option<Timing>>,
    /// Number of the last connection.
    number: AtomicU64,
    /// What is told of the latency, ns. It never shrinks: downstream would have to hurry.
    latency: AtomicI64,
    status: Mutex<Status>,
}

impl Shared {
    fn new() -> Self {
        Self {
            video: Outlet::new("video"),
            audio: Mutex::default(),
            timing: Mutex::default(),
            number: AtomicU64::new(0),
            latency: AtomicI64::new(0),
            status: Mutex::default(),
        }
    }

    /// A connection begins; its number.
    pub(super) fn begin(&self, timing: &Timing) -> u64 {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        *self.timing.lock() = Some(timing.clone());
        self.video.begin(number, timing.clone());
        self.with_audio(|audio| audio.begin(number, timing.clone()));
        number
    }

    pub(super) fn end(&self) {
        *self.timing.lock() = None;
        self.video.end();
        self.with_audio(|audio| audio.end());
    }

    pub(super) fn with_audio(&self, act: impl FnOnce(&Outlet)) {
        let audio = self.audio.lock().clone();
        if let Some(audio) = audio {
            act(&audio);
        }
    }

    /// The stream of sound, which gets its pad when it comes first.
    pub(super) fn audio(
        &self,
        element: &glib::WeakRef<super::FaceCameraSrc>,
        number: u64,
    ) -> Option<Arc<Outlet>> {
        if let Some(audio) = self.audio.lock().clone() {
            return Some(audio);
        }
        if number != self.number.load(Ordering::Relaxed) {
            return None;
        }
        let timing = self.timing.lock().clone()?;
        let outlet = Arc::new(Outlet::new("audio"));
        outlet.source.set_min_latency(self.latency.load(Ordering::Relaxed));
        outlet.begin(number, timing);
        *self.audio.lock() = Some(outlet.clone());
        if let Err(error) = element.upgrade()?.imp().expose_audio(&outlet) {
            gst::warning!(CAT, obj = element.upgrade()?, "sound is left out: {error}");
        }
        Some(outlet)
    }

    /// Notes what the camera is doing; is the reason a new one?
    pub(super) fn note(&self, state: CameraState, attempt: u32, reason: Option<&str>) -> bool {
        let mut status = self.status.lock();
        status.state = state;
        status.attempt = attempt;
        status.connections += u64::from(state == CameraState::Connected);
        status.losses += u64::from(state == CameraState::Lost);
        let changed = reason.is_some() && status.reason.as_deref() != reason;
        if changed {
            status.reason = reason.map(str::to_owned);
        }
        changed
    }

    /// Tells downstream of the latency of a connection.
    pub(super) fn learn_latency(&self, pipeline: &gst::Pipeline) {
        let Some(latency) = latency_of(pipeline) else { return };
        if latency > self.latency.fetch_max(latency, Ordering::Relaxed) {
            self.tell_latency();
        }
    }

    /// The appsrcs post that it has changed.
    fn tell_latency(&self) {
        let latency = self.latency.load(Ordering::Relaxed);
        self.video.source.set_min_latency(latency);
        self.with_audio(|audio| audio.source.set_min_latency(latency));
    }
}

/// The thread, between PLAYING and PAUSED.
#[derive(Debug)]
struct Running {
    /// Dropped to stop it.
    stop: Sender<()>,
    /// Closed when it has ended.
    ended: Receiver<()>,
}

/// Lock order: settings, plan, running. None is held while the state of anything changes.
#[derive(Debug)]
pub struct FaceCameraSrc {
    settings: Mutex<Settings>,
    shared: Arc<Shared>,
    /// What `settings` said when the element started.
    plan: Mutex<Option<Plan>>,
    running: Mutex<Option<Running>>,
}

#[glib::object_subclass]
impl ObjectSubclass for FaceCameraSrc {
    const NAME: &'static str = "GstOnnxFaceCameraSrc";
    type Type = super::FaceCameraSrc;
    type ParentType = gst::Bin;

    fn new() -> Self {
        Self {
            settings: Mutex::default(),
            shared: Arc::new(Shared::new()),
            plan: Mutex::default(),
            running: Mutex::default(),
        }
    }
}

impl ObjectImpl for FaceCameraSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> =
            LazyLock::new(super::settings::properties);
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        self.settings.lock().set(pspec.name(), value);
        // Not the value: there may be a password in it.
        gst::info!(CAT, imp = self, "{} is set", pspec.name());
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return self.stats().to_value();
        }
        let value = self.settings.lock().get(pspec.name());
        value.unwrap_or_else(|| pspec.default_value().clone())
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        obj.set_suppressed_flags(gst::ElementFlags::SINK);
        obj.set_element_flags(gst::ElementFlags::SOURCE);
        if let Err(error) = self.expose("src", &self.shared.video) {
            gst::error!(CAT, imp = self, "it has no pad: {error}");
        }
    }
}

impl GstObjectImpl for FaceCameraSrc {}

impl ElementImpl for FaceCameraSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Camera source",
                "Source/Network/Video",
                "Reads a camera, and connects again when it is lost",
                env!("CARGO_PKG_NAME"),
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_any();
            [("src", gst::PadPresence::Always), ("audio", gst::PadPresence::Sometimes)]
                .into_iter()
                .map(|(name, presence)| {
                    gst::PadTemplate::new(name, gst::PadDirection::Src, presence, &caps)
                        .expect("name, direction and caps are valid")
                })
                .collect()
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => {
                let settings = self.settings.lock().clone();
                let plan = Plan::new(&settings).map_err(|error| self.refuse(&error))?;
                self.prepare(plan);
            }
            // Nothing of a camera that is paused is worth being kept.
            gst::StateChange::PlayingToPaused => self.disconnect(),
            _ => (),
        }
        let success = self.parent_change_state(transition)?;
        match transition {
            gst::StateChange::PausedToPlaying => {
                self.connect().map_err(|error| self.refuse(&error))?;
            }
            gst::StateChange::PausedToReady => self.forget(),
            _ => (),
        }
        Ok(success)
    }
}

impl BinImpl for FaceCameraSrc {}

impl FaceCameraSrc {
    /// Would it start, as far as the properties and what they name decide?
    pub(crate) fn check(&self) -> Result<(), String> {
        let settings = self.settings.lock().clone();
        Plan::new(&settings).map(drop).map_err(|error| crate::with_causes(&error))
    }

    fn refuse(&self, error: &StartError) -> gst::StateChangeError {
        self.post_error_message(error.message());
        gst::StateChangeError
    }

    fn prepare(&self, plan: Plan) {
        let shared = &self.shared;
        shared.video.reset();
        *shared.status.lock() = Status::default();
        let latency = match plan.address.kind {
            super::address::Kind::Rtsp => {
                signed(gst::ClockTime::from_mseconds(plan.latency_ms.into()))
            }
            _ => 0,
        };
        shared.latency.store(latency, Ordering::Relaxed);
        shared.tell_latency();
        *self.plan.lock() = Some(plan);
    }

    /// Starts the thread.
    fn connect(&self) -> Result<(), StartError> {
        let Some(plan) = self.plan.lock().clone() else { return Ok(()) };
        let obj = self.obj();
        let clock = obj.clock().unwrap_or_else(gst::SystemClock::obtain);
        let base = obj.base_time().unwrap_or_else(|| clock.time());
        let (stop, stopped) = bounded(0);
        let (alive, ended) = bounded::<()>(0);
        let worker = Worker {
            element: obj.downgrade(),
            shared: self.shared.clone(),
            plan,
            clocking: Clocking { clock, base },
            stop: stopped,
        };
        let element = obj.downgrade();
        let run = move || {
            let _alive = alive;
            // The panic hook has printed it; the host lives.
            if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err()
                && let Some(element) = element.upgrade()
            {
                let text = "reading the camera ended by a fault of this program";
                gst::element_error!(element, gst::LibraryError::Failed, ("{text}"));
            }
        };
        Builder::new().name("face-camera".to_owned()).spawn(run).map_err(StartError::Thread)?;
        *self.running.lock() = Some(Running { stop, ended });
        Ok(())
    }

    /// Stops the thread, which takes the connection down.
    fn disconnect(&self) {
        let Some(Running { stop, ended }) = self.running.lock().take() else { return };
        drop(stop);
        // Nothing is ever sent: it is closed, or takes too long.
        if ended.recv_timeout(LONGEST_STOP) == Err(RecvTimeoutError::Timeout) {
            gst::warning!(CAT, imp = self, "the camera does not let go: its thread is left alone");
        }
        // What that thread may still send belongs to no connection.
        self.shared.end();
        self.shared.note(CameraState::Stopped, 0, None);
    }

    /// The pad of the sound goes; it comes again with the next sound.
    fn forget(&self) {
        *self.plan.lock() = None;
        let Some(audio) = self.shared.audio.lock().take() else { return };
        let obj = self.obj();
        if let Some(pad) = obj.static_pad("audio") {
            // Neither fails for what is there.
            let _ = pad.set_active(false);
            let _ = obj.remove_pad(&pad);
        }
        let _ = audio.source.set_state(gst::State::Null);
        let _ = obj.remove(&audio.source);
    }

    /// Adds the pad of a stream.
    fn expose(&self, name: &str, outlet: &Outlet) -> Result<(), glib::BoolError> {
        let obj = self.obj();
        obj.add(&outlet.source)?;
        let source = outlet.source.static_pad("src");
        let source = source.ok_or_else(|| glib::bool_error!("an appsrc without a pad"))?;
        let template = obj.pad_template(name);
        let template = template.ok_or_else(|| glib::bool_error!("no template '{name}'"))?;
        let pad = gst::GhostPad::builder_from_template_with_target(&template, &source)?;
        let pad = pad.name(name).build();
        pad.set_active(true)?;
        obj.add_pad(&pad)
    }

    /// Adds the pad of the sound while the camera plays.
    pub(super) fn expose_audio(&self, outlet: &Outlet) -> Result<(), glib::BoolError> {
        // Sound that nobody takes is no error.
        if let Some(pad) = outlet.source.static_pad("src") {
            let obj = self.obj().downgrade();
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                let pad = obj.upgrade().and_then(|obj| obj.static_pad("audio"));
                match pad.is_some_and(|pad| pad.is_linked()) {
                    true => gst::PadProbeReturn::Ok,
                    false => gst::PadProbeReturn::Drop,
                }
            });
        }
        self.expose("audio", outlet)?;
        outlet.source.sync_state_with_parent()
    }

    fn stats(&self) -> gst::Structure {
        let status = self.shared.status.lock().clone();
        let video = self.shared.video.counts();
        let audio = self.shared.audio.lock().clone();
        let audio_buffers = audio.map_or(0, |audio| audio.counts().buffers);
        gst::Structure::builder("stats")
            .field("state", status.state.as_str())
            .field("attempt", status.attempt)
            .field_if_some("reason", status.reason)
            .field("connections", status.connections)
            .field("losses", status.losses)
            .field("buffers", video.buffers)
            .field("bytes", video.bytes)
            .field("dropped", video.dropped)
            .field("audio-buffers", audio_buffers)
            .build()
    }
}
