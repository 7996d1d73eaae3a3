use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use face_core::clip::{ClipSpool, Incoming, Packet, Trigger};
use face_core::event::FaceEvent;
use face_core::outbox::{Outbox, OutboxError, Sender};
use face_core::storage::Storage;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;

use super::encoder::Kind;
use super::inlet::{Inlet, Outlet};
use super::metadata;
use super::options::Settings;
use super::posts::{Claims, Stats, new_id};
use super::properties;
use super::shots::Shots;
use super::stream::{Anchor, Stream};
use super::worker::{Task, Worker};
use crate::runtime::with_causes;
use crate::stats::Meter;

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("clipsink", gst::DebugColorFlags::empty(), Some("Clips of events"))
});

/// What turns the streams of the pads into what is kept.
#[derive(Debug, Default)]
pub(super) struct Inlets {
    pub(super) video: Option<(Kind, Arc<Inlet>)>,
    pub(super) audio: Option<Arc<Inlet>>,
    /// Of the pad that is looked at, if it has raw pictures in memory.
    pub(super) pixels: Option<gst_video::VideoInfo>,
    pub(super) last_key: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct Pads {
    pub(super) meta: Option<gst::Pad>,
    pub(super) audio: Option<gst::Pad>,
}

/// Lock order: settings, pads, inlets, stream, shots, stats. None is held while a buffer or event is
/// pushed into an inlet, a query is asked or a message is posted.
#[derive(Debug)]
pub struct ClipSink {
    pub(super) settings: Mutex<Settings>,
    pub(super) sink: gst::Pad,
    pub(super) pads: Mutex<Pads>,
    pub(super) inlets: Mutex<Inlets>,
    pub(super) stream: Mutex<Option<Stream>>,
    pub(super) shots: Mutex<Shots>,
    pub(super) stats: Mutex<Stats>,
    pub(super) meter: Meter,
    pub(super) claims: Claims,
    outbox: Mutex<Option<Sender>>,
    /// Threads of the pads are to wait for nothing.
    pub(super) unblocked: AtomicBool,
    pub(super) live: Mutex<Option<bool>>,
}

#[glib::object_subclass]
impl ObjectSubclass for ClipSink {
    const NAME: &'static str = "GstOnnxFaceClipSink";
    type Type = super::ClipSink;
    type ParentType = gst::Bin;

    fn with_class(class: &Self::Class) -> Self {
        let template = class.pad_template("sink").expect("the class has this template");
        let sink = gst::Pad::builder_from_template(&template)
            .chain_function(|pad, parent, buffer| {
                ClipSink::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.sink_chain(pad, buffer),
                )
            })
            .event_function(|pad, parent, event| {
                ClipSink::catch_panic_pad_function(
                    parent,
                    || false,
                    |this| this.sink_event(pad, event),
                )
            })
            .build();
        Self {
            settings: Mutex::default(),
            sink,
            pads: Mutex::default(),
            inlets: Mutex::default(),
            stream: Mutex::default(),
            shots: Mutex::default(),
            stats: Mutex::default(),
            meter: Meter::default(),
            claims: Claims::default(),
            outbox: Mutex::default(),
            unblocked: AtomicBool::new(false),
            live: Mutex::default(),
        }
    }
}

impl ObjectImpl for ClipSink {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(properties::all);
        PROPERTIES.as_ref()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            let trigger = glib::subclass::Signal::builder("trigger")
                .param_types([Option::<String>::static_type()])
                .return_type::<Option<String>>()
                .action()
                .class_handler(|arguments| {
                    let element = arguments.first()?.get::<super::ClipSink>().ok()?;
                    let reason = arguments.get(1)?.get::<Option<String>>().ok()?;
                    Some(element.imp().trigger(reason).to_value())
                })
                .build();
            vec![trigger]
        });
        SIGNALS.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = self.settings.lock();
        settings.set(pspec.name(), value);
        if let Some(stream) = &mut *self.stream.lock() {
            stream.recorder.set_config(settings.recorder());
        }
        drop(settings);
        // Not the value: there may be a secret in it that does not belong there.
        gst::info!(CAT, imp = self, "{} was set", pspec.name());
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return self.stats_now().to_value();
        }
        let value = self.settings.lock().get(pspec.name());
        value.unwrap_or_else(|| pspec.default_value().clone())
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        // An encoder inside must not make a filter of it.
        element.set_suppressed_flags(gst::ElementFlags::SINK | gst::ElementFlags::SOURCE);
        element.set_element_flags(gst::ElementFlags::SINK);
        if element.add_pad(&self.sink).is_err() {
            gst::error!(CAT, imp = self, "the pad sink could not be added");
        }
    }
}

impl GstObjectImpl for ClipSink {}

impl BinImpl for ClipSink {}

impl ElementImpl for ClipSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Clip recorder",
                "Sink/Video",
                "Keeps a clip, with what was before it, of every event that the face elements tell",
                env!("CARGO_PKG_NAME"),
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let video = gst::Caps::builder_full()
                .structure(gst::Structure::new_empty("video/x-h264"))
                .structure(gst::Structure::new_empty("video/x-h265"))
                .structure(gst::Structure::new_empty("video/x-raw"))
                .build();
            let template = |name, presence, caps: &gst::Caps| {
                gst::PadTemplate::new(name, gst::PadDirection::Sink, presence, caps)
                    .expect("name, direction and caps are valid")
            };
            vec![
                template("sink", gst::PadPresence::Always, &video),
                template("meta", gst::PadPresence::Request, &gst::Caps::new_any()),
                // What MP4 files cannot hold is dropped by name: a link that is refused would stop
                // the pictures, too.
                template("audio", gst::PadPresence::Request, &gst::Caps::new_any()),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        _name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let name = template.name_template().to_owned();
        let mut pads = self.pads.lock();
        let place = if name == "meta" { &mut pads.meta } else { &mut pads.audio };
        if place.is_some() {
            gst::warning!(CAT, imp = self, "there is one pad {name} already");
            return None;
        }
        let pad = if name == "meta" { self.meta_pad(template) } else { self.audio_pad(template) };
        *place = Some(pad.clone());
        drop(pads);
        // In PAUSED and PLAYING the pad is active from the beginning.
        pad.set_active(self.stream.lock().is_some()).ok()?;
        self.obj().add_pad(&pad).ok()?;
        Some(pad)
    }

    fn release_pad(&self, pad: &gst::Pad) {
        let mut pads = self.pads.lock();
        let meta = pads.meta.as_ref() == Some(pad);
        let place = if meta { &mut pads.meta } else { &mut pads.audio };
        *place = None;
        drop(pads);
        // Fails only for a pad that is not active already.
        let _ = pad.set_active(false);
        let _ = self.obj().remove_pad(pad);
        self.with_stream(|stream| match meta {
            true => {
                stream.ended.meta = false;
                stream.recorder.meta_restarted();
            }
            false => stream.recorder.sound_ended(),
        });
        if !meta {
            self.close_inlet(|inlets| inlets.audio.take());
        }
        self.end_if_all();
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => {
                if let Err(message) = self.start() {
                    self.post_error_message(message);
                    return Err(gst::StateChangeError);
                }
            }
            gst::StateChange::PausedToReady => self.unblock(),
            _ => {}
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::ReadyToPaused if result.is_err() => self.stop(),
            gst::StateChange::PausedToReady => self.stop(),
            _ => {}
        }
        result
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        // As of any sink: the pipeline asks for latency, position and length.
        self.sink.peer_query(query)
    }
}

/// What comes out of the elements between a pad and the recorder.
pub(super) struct ToRecorder {
    pub(super) element: glib::WeakRef<super::ClipSink>,
    pub(super) video: bool,
    pub(super) segment: Mutex<Option<gst::FormattedSegment<gst::ClockTime>>>,
}

impl Outlet for ToRecorder {
    fn buffer(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let element = self.element.upgrade().ok_or(gst::FlowError::Flushing)?;
        let segment = self.segment.lock().clone().unwrap_or_default();
        let running = |time: Option<gst::ClockTime>| time.and_then(|t| running_ns(&segment, t));
        let (pts, dts) = (running(buffer.pts()), running(buffer.dts()));
        let duration = buffer.duration().and_then(|d| i64::try_from(d.nseconds()).ok());
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let bytes = buffer.size() as u64;
        let payload = own(&buffer)?;
        element.imp().with_stream(|stream| match self.video {
            true => stream.picture(Incoming { pts, dts, duration, key, bytes, payload }),
            false => {
                let Some(pts) = pts.or(dts) else { return };
                let duration = duration.unwrap_or(0);
                let (dts, key, boundary) = (pts, true, true);
                stream.sound(Packet { pts, dts, duration, key, boundary, bytes, payload });
            }
        });
        Ok(gst::FlowSuccess::Ok)
    }

    fn event(&self, event: gst::Event) {
        let Some(element) = self.element.upgrade() else { return };
        match event.view() {
            gst::EventView::Caps(event) => {
                let caps = event.caps_owned();
                element.imp().with_stream(|stream| match self.video {
                    true => stream.set_video_caps(&caps),
                    false => stream.set_sound_caps(&caps),
                });
            }
            gst::EventView::Segment(event) => {
                *self.segment.lock() = event.segment().downcast_ref().cloned();
            }
            _ => {}
        }
    }
}

/// Memory of its own: what is kept for seconds must not hold buffers that others wait for, or more
/// than its own bytes.
fn own(buffer: &gst::BufferRef) -> Result<gst::Buffer, gst::FlowError> {
    let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
    let mut copy = gst::Buffer::from_mut_slice(map.as_slice().to_vec());
    copy.make_mut().set_flags(buffer.flags() & !gst::BufferFlags::TAG_MEMORY);
    Ok(copy)
}

/// Running time in ns; before the segment it is negative.
pub(super) fn running_ns(
    segment: &gst::FormattedSegment<gst::ClockTime>,
    time: gst::ClockTime,
) -> Option<i64> {
    use gst::Signed::{Negative, Positive};
    let ns = |time: gst::ClockTime| i64::try_from(time.nseconds()).ok();
    match segment.to_running_time_full(time)? {
        Positive(time) => ns(time),
        Negative(time) => ns(time).map(|time| -time),
    }
}

impl ClipSink {
    /// Would it start, as far as the properties alone decide?
    pub(crate) fn check(&self) -> Result<(), String> {
        let settings = self.settings.lock().clone();
        settings.options().and_then(|_| settings.spool()).map(drop)
    }

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().clone();
        let wrong = |text: String| {
            gst::error_msg!(gst::ResourceError::Settings, ("start clipsink: {text}"))
        };
        let options = Arc::new(settings.options().map_err(wrong)?);
        // A folder is made now; a bucket may be away for as long as it likes.
        if !options.storage.starts_with("s3:") {
            Storage::open(&options.storage).map_err(|error| cannot_write(&error))?;
        }
        let spool = settings.spool().map_err(wrong)?;
        let outbox = Outbox::open(&spool, settings.limits()).map_err(|error| match error {
            OutboxError::Limits { .. } => wrong(format!("spool-max-bytes: {error}")),
            error => cannot_write(&error),
        })?;
        let own = ClipSpool::create(outbox.spool()).map_err(|error| cannot_write(&error))?;
        let weak = self.obj().downgrade();
        let told = weak.clone();
        let report = Arc::new(move |report| {
            if let Some(element) = told.upgrade() {
                element.imp().report(report);
            }
        });
        let worker = Worker::spawn(own, outbox.clone(), options, report);
        let worker = worker.map_err(|error| cannot_write(&error))?;
        let sender = outbox.start(Arc::new(move |notice| {
            if let Some(element) = weak.upgrade() {
                element.imp().notice(notice);
            }
        }));
        let sender = match sender {
            Ok(sender) => sender,
            Err(error) => {
                worker.stop();
                return Err(cannot_write(&error));
            }
        };
        *self.stats.lock() = Stats::default();
        self.meter.reset();
        self.shots.lock().clear();
        *self.live.lock() = None;
        self.unblocked.store(false, Ordering::SeqCst);
        *self.stream.lock() = Some(Stream::new(settings.recorder(), worker));
        *self.outbox.lock() = Some(sender);
        Ok(())
    }

    /// The threads of the pads come to their end.
    fn unblock(&self) {
        self.unblocked.store(true, Ordering::SeqCst);
        let inlets = self.inlets.lock();
        let video = inlets.video.as_ref().map(|(_, inlet)| inlet.clone());
        let both = [video, inlets.audio.clone()];
        drop(inlets);
        both.iter().flatten().for_each(|inlet| inlet.stop());
    }

    fn stop(&self) {
        self.close_inlet(|inlets| inlets.video.take().map(|(_, inlet)| inlet));
        self.close_inlet(|inlets| inlets.audio.take());
        *self.inlets.lock() = Inlets::default();
        self.with_stream(|stream| stream.recorder.close_all("the pipeline was stopped"));
        let stream = self.stream.lock().take();
        if let Some(stream) = stream {
            let counts = stream.counts;
            if !stream.worker.stop() {
                self.warn("clips are not complete yet; that is done at the next start");
            }
            let mut stats = self.stats.lock();
            (stats.pictures, stats.refused) = (counts.pictures, counts.refused);
        }
        // What it has to say it says before it is gone.
        let sender = self.outbox.lock().take();
        drop(sender);
        self.claims.give_up();
    }

    pub(super) fn close_inlet(&self, take: impl FnOnce(&mut Inlets) -> Option<Arc<Inlet>>) {
        let inlet = take(&mut self.inlets.lock());
        if let Some(inlet) = inlet {
            inlet.close(self.obj().upcast_ref());
        }
    }

    /// Lets the stream do something, and hands over what is to be done then.
    pub(super) fn with_stream(&self, change: impl FnOnce(&mut Stream)) {
        let mut guard = self.stream.lock();
        let Some(stream) = &mut *guard else { return };
        change(stream);
        let clock = self.obj().current_running_time();
        let clock = clock.and_then(|time| i64::try_from(time.nseconds()).ok());
        let live = *self.live.lock() == Some(true);
        let moment = |stream: &Stream, running: i64| moment(stream, running, clock, live);
        let shot = |tracks: Vec<u64>| self.shots.lock().of(tracks);
        stream.dispatch(&moment, &shot);
    }

    pub(super) fn link_options(&self) -> Option<(String, Duration)> {
        let options = self.settings.lock().options().ok()?;
        Some((options.storage, options.link_expiry))
    }

    fn stats_now(&self) -> gst::Structure {
        let stream = self.stream.lock();
        let mut stats = *self.stats.lock();
        let now = stream.as_ref().map(|stream| {
            (stats.pictures, stats.refused) = (stream.counts.pictures, stream.counts.refused);
            let open = stream.recorder.open_clips() as u64;
            let depth = stream.worker.waiting() as u64;
            (open, stream.recorder.bytes(), stream.worker.pending.bytes(), depth)
        });
        drop(stream);
        let (open, kept, pending, depth) = now.unwrap_or_default();
        let mut structure = stats.structure(open, kept, pending);
        structure.set("queue-depth", depth);
        self.meter.write(&mut structure);
        structure
    }

    /// The signal `trigger`: id of the event, or nothing while the element does not run.
    fn trigger(&self, reason: Option<String>) -> Option<String> {
        let id = new_id();
        let mut running = false;
        self.with_stream(|stream| {
            running = true;
            let time = stream.recorder.newest();
            let event = FaceEvent {
                id: id.clone(),
                kind: "trigger".to_owned(),
                running_time_ns: time.and_then(|time| u64::try_from(time).ok()),
                utc: Some(crate::camera_time::text(None)),
                ..FaceEvent::default()
            };
            let trigger = Trigger { reason, ..metadata::trigger(&event) };
            stream.worker.send(Task::Alert(Box::new(event)));
            stream.recorder.trigger(time, trigger);
        });
        if !running {
            return None;
        }
        self.stats.lock().triggers += 1;
        Some(id)
    }
}

fn cannot_write(error: &(dyn std::error::Error + 'static)) -> gst::ErrorMessage {
    let text = format!("start clipsink: {}", with_causes(error));
    gst::error_msg!(gst::ResourceError::OpenWrite, ("{text}"))
}

/// When the picture of a running time was taken. Of a camera that does not tell, the pipeline's clock
/// knows how long ago that was; of a file the latest picture is from now.
fn moment(stream: &Stream, running: i64, clock: Option<i64>, live: bool) -> SystemTime {
    if let Some(anchor) = stream.anchor {
        return anchor.at(running);
    }
    let newest = stream.recorder.newest().unwrap_or(running);
    let now = clock.filter(|_| live).map_or(newest, |clock| clock.max(newest));
    Anchor { running: now, moment: SystemTime::now() }.at(running)
}
