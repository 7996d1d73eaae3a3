use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, LazyLock};
use std::thread::Builder;
use std::time::Duration;

use face_core::mqtt::Link;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;

use super::mailbox::{Item, Mailbox};
use super::outlet::{News, Pending, Publisher, Tell};
use super::settings::Settings;
use super::stream::Stream;
use super::target::{Plan, StartError};
use crate::camera_time;
use crate::meta::FrameFaces;
use crate::runtime::with_causes;
use crate::stats::{Lap, Meter};
use crate::upstream_check::{self, UpstreamCheck};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("facepublish", gst::DebugColorFlags::empty(), Some("Face publisher"))
});

/// Beyond the time for draining, for the thread to end: connections are closed then.
const END: Duration = Duration::from_secs(10);

/// What runs between start() and stop().
struct Running {
    stream: Stream,
    mailbox: Arc<Mailbox>,
    upstream: UpstreamCheck,
    logged_malformed: bool,
    told_full: bool,
    link: Option<Arc<Link>>,
    pending: Arc<Pending>,
    errors: Arc<AtomicU64>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
    limit: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    faces: u64,
    without_meta: u64,
    malformed: u64,
    frames: u64,
    events: u64,
    tracks: u64,
}

impl Stats {
    fn count(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Frame(_) => self.frames += 1,
                Item::Event(_) => self.events += 1,
                Item::Track(_) => self.tracks += 1,
                Item::Change(_) => {}
            }
        }
    }
}

/// Lock order: settings, state, stats. Nothing is posted under a lock.
#[derive(Default)]
pub struct FacePublish {
    settings: Mutex<Settings>,
    state: Mutex<Option<Running>>,
    stats: Mutex<Stats>,
    meter: Meter,
}

impl std::fmt::Debug for FacePublish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FacePublish").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[glib::object_subclass]
impl ObjectSubclass for FacePublish {
    // Unlike the factory's name this one is shared with all plugins of the process.
    const NAME: &'static str = "GstOnnxFacePublish";
    type Type = super::FacePublish;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for FacePublish {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> =
            LazyLock::new(super::settings::properties);
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        self.settings.lock().set(pspec.name(), value);
        // The address of a webhook may be a secret.
        gst::info!(CAT, imp = self, "{} is set", pspec.name());
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return self.stats().to_value();
        }
        let value = self.settings.lock().get(pspec.name());
        value.unwrap_or_else(|| pspec.default_value().clone())
    }
}

impl GstObjectImpl for FacePublish {}

impl ElementImpl for FacePublish {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face publisher",
                "Filter/Network/Video",
                "Tells others of faces, identities, events and tracks as JSON: in files, over MQTT, \
                 by webhooks",
                env!("CARGO_PKG_NAME"),
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_any();
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .into_iter()
                .map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                        .expect("name, direction and caps are valid")
                })
                .collect()
        });
        TEMPLATES.as_ref()
    }
}

impl FacePublish {
    /// Would it start, as far as the properties alone decide?
    pub(crate) fn check(&self) -> Result<(), String> {
        let settings = self.settings.lock().clone();
        Plan::new(&settings).map(drop).map_err(|error| with_causes(&error))
    }
}

impl BaseTransformImpl for FacePublish {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    // Only read: in passthrough not even the description of a shared buffer is copied.
    const PASSTHROUGH_ON_SAME_CAPS: bool = true;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().clone();
        let running = self.open(&settings).map_err(|error| error.message())?;
        *self.state.lock() = Some(running);
        *self.stats.lock() = Stats::default();
        self.meter.reset();
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        self.end_stream("stop");
        let Some(running) = self.state.lock().take() else { return Ok(()) };
        running.mailbox.close();
        // Nothing is ever sent: it is closed, or takes too long.
        if running.ended.recv_timeout(running.limit)
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            gst::warning!(CAT, imp = self, "the thread that publishes is still busy: left alone");
        }
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::FlushStop(_) => self.end_stream("flush"),
            gst::EventView::StreamStart(_) => {
                self.end_stream("new stream");
                if let Some(running) = &mut *self.state.lock() {
                    running.logged_malformed = false;
                }
            }
            gst::EventView::Eos(_) => self.end_stream("end of stream"),
            _ => (),
        }
        self.parent_sink_event(event)
    }

    fn submit_input_buffer(
        &self,
        is_discont: bool,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        crate::pads::require_caps(self.obj().upcast_ref())?;
        self.parent_submit_input_buffer(is_discont, buffer)
    }

    fn transform_ip_passthrough(
        &self,
        buffer: &gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let lap = Lap::begin();
        let (running_ns, taken) = (self.running_time(buffer), camera_time::taken(buffer));
        let read = FrameFaces::read(buffer);
        let readable = matches!(read, Some(Ok(_)));
        let mut stats = Stats { without_meta: u64::from(read.is_none()), ..Stats::default() };
        let (missing, mut malformed, mut full);
        {
            let mut state = self.state.lock();
            let Some(running) = &mut *state else { return Ok(gst::FlowSuccess::Ok) };
            missing = running.upstream.saw(read.is_some());
            (malformed, full) = (None, false);
            match read {
                Some(Ok(faces)) => {
                    let items = running.stream.take(&faces, running_ns, taken);
                    stats.faces = faces.faces.len() as u64;
                    stats.count(&items);
                    full = running.push(items);
                }
                Some(Err(error)) => {
                    stats.malformed = 1;
                    let first = !std::mem::replace(&mut running.logged_malformed, true);
                    malformed = first.then_some(error);
                }
                None => (),
            }
        }
        self.count(stats);
        if let Some(error) = malformed {
            gst::warning!(CAT, imp = self, "{error}; of such buffers nothing is told");
        }
        if missing {
            let text = upstream_check::warning();
            gst::element_imp_warning!(self, gst::StreamError::WrongType, ("{text}"));
        }
        if full {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Write,
                ("frames or events are dropped: the target is slower than the stream; lower rate, or \
                  leave frames out of events")
            );
        }
        self.meter.end(lap, readable);
        Ok(gst::FlowSuccess::Ok)
    }
}

impl Running {
    /// True the first time that something had no room.
    fn push(&mut self, items: Vec<Item>) -> bool {
        let mut full = false;
        for item in items {
            full |= self.mailbox.push(item);
        }
        full && !std::mem::replace(&mut self.told_full, true)
    }
}

impl FacePublish {
    fn open(&self, settings: &Settings) -> Result<Running, StartError> {
        let (plan, choice) = Plan::new(settings)?;
        let limit = Duration::from_nanos(plan.drain_ns) + END;
        let element = self.obj().downgrade();
        let tell: Tell = Arc::new(move |news: News| {
            let Some(element) = element.upgrade() else { return };
            match news {
                News::Trouble(text) => {
                    gst::element_warning!(element, gst::ResourceError::Write, ("{text}"));
                }
                News::Well(text) => gst::info!(CAT, obj = element, "{text}"),
            }
        });
        let (pending, errors) = (Arc::<Pending>::default(), Arc::<AtomicU64>::default());
        let faults = tell.clone();
        let (publisher, link) = Publisher::open(plan, pending.clone(), errors.clone(), tell)?;
        let mailbox = Arc::<Mailbox>::default();
        let (alive, ended) = channel::<()>();
        let mail = mailbox.clone();
        let run = move || {
            let _alive = alive;
            // The panic hook has printed it; nothing more is told, and the host lives.
            if catch_unwind(AssertUnwindSafe(|| publisher.run(&mail))).is_err() {
                faults(News::Trouble("publishing ended by a fault of this program".to_owned()));
            }
            mail.close();
        };
        Builder::new().name("face-publish".to_owned()).spawn(run).map_err(StartError::Thread)?;
        let stream = Stream::new(choice);
        let (upstream, logged_malformed, told_full) = (UpstreamCheck::default(), false, false);
        Ok(Running {
            stream,
            mailbox,
            upstream,
            logged_malformed,
            told_full,
            link,
            pending,
            errors,
            ended,
            limit,
        })
    }

    /// All tracks have ended.
    fn end_stream(&self, why: &str) {
        let mut stats = Stats::default();
        {
            let mut state = self.state.lock();
            let Some(running) = &mut *state else { return };
            let items = running.stream.end();
            stats.count(&items);
            running.push(items);
        }
        gst::debug!(CAT, imp = self, "{why}: {} tracks ended", stats.tracks);
        self.count(stats);
    }

    /// Running time of a buffer, ns; 0 before the start of the segment, `None` without PTS.
    fn running_time(&self, buffer: &gst::BufferRef) -> Option<u64> {
        let pts = buffer.pts()?;
        let segment = self.obj().segment();
        let segment = segment.downcast_ref::<gst::ClockTime>()?;
        let running = segment.to_running_time_full(pts)?;
        Some(running.positive().map_or(0, |t| t.nseconds()))
    }

    fn count(&self, more: Stats) {
        let mut stats = self.stats.lock();
        stats.faces += more.faces;
        stats.without_meta += more.without_meta;
        stats.malformed += more.malformed;
        stats.frames += more.frames;
        stats.events += more.events;
        stats.tracks += more.tracks;
    }

    fn stats(&self) -> gst::Structure {
        let (mut dropped, mut link, mut counts, mut errors) = Default::default();
        let mut depth = 0;
        if let Some(running) = &*self.state.lock() {
            dropped = running.mailbox.dropped();
            depth = running.mailbox.len() as u64;
            link = running.link.as_ref().map(|link| link.stats()).unwrap_or_default();
            counts = running.pending.counts();
            errors = running.errors.load(Ordering::Relaxed);
        }
        let (waiting, delivered): (u64, u64) = counts;
        let stats = *self.stats.lock();
        let mut structure = gst::Structure::builder("stats")
            .field("faces", stats.faces)
            .field("without-meta", stats.without_meta)
            .field("malformed", stats.malformed)
            .field("frames", stats.frames)
            .field("events", stats.events)
            .field("tracks", stats.tracks)
            .field("dropped-frames", dropped.frames.saturating_add(link.frames_dropped))
            .field("dropped-events", dropped.news)
            .field("errors", errors)
            .field("delivered", delivered)
            .field("waiting", waiting)
            .field("connected", link.connected)
            .field("queue-depth", depth)
            .build();
        self.meter.write(&mut structure);
        structure
    }
}
