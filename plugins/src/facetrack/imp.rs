use std::sync::LazyLock;

use face_core::track::{SceneCutConfig, TrackerConfig};
use face_core::zone::Zones;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;

use super::stream::{Ended, SettingsError, Stamp, Stream};
use crate::event_hold::DEFAULT_HOLD_NS;
use crate::frame::{self, ViewError};
use crate::meta::{self, Event, FrameFaces, Mapping, MetaError};
use crate::stats::{Lap, Meter};
use crate::upstream_check::UpstreamCheck;
use crate::{camera_time, relink, split};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("facetrack", gst::DebugColorFlags::empty(), Some("Face tracker"))
});

#[derive(Debug)]
struct Settings {
    config: TrackerConfig,
    scene_cut: bool,
    cuts: SceneCutConfig,
    /// As [`Zones`] reads it; `None`: no zones.
    zones: Option<String>,
    zone_dwell_ns: u64,
    camera: Option<String>,
    event_hold_ns: u64,
    /// Set by a property, until the streaming thread has taken it.
    changed: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: TrackerConfig::default(),
            scene_cut: false,
            cuts: SceneCutConfig::default(),
            zones: None,
            zone_dwell_ns: 0,
            camera: None,
            event_hold_ns: DEFAULT_HOLD_NS,
            changed: false,
        }
    }
}

impl Settings {
    fn apply(&self, stream: &mut Stream) -> Result<(), SettingsError> {
        // All of them or none.
        self.cuts.validate()?;
        let zones: Zones = self.zones.as_deref().unwrap_or_default().parse()?;
        stream.set_config(self.config.clone())?;
        stream.set_scene_cut(self.scene_cut.then(|| self.cuts.clone()))?;
        stream.set_zones(zones, self.zone_dwell_ns);
        stream.set_events(self.camera.clone(), self.event_hold_ns);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct State {
    /// Outlives stop(), so that ids are never used twice by one element.
    stream: Option<Stream>,
    info: Option<gst_video::VideoInfo>,
    upstream: UpstreamCheck,
    logged_malformed: bool,
    logged_borders: bool,
    /// Since the last caps.
    logged_unreadable: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    faces: u64,
    without_meta: u64,
    malformed: u64,
    live: u64,
    ended: u64,
    relinked: u64,
    cuts: u64,
}

/// What a buffer gave to report once the state is unlocked.
#[derive(Default)]
pub(super) struct Report {
    pub(super) ended: Vec<Ended>,
    pub(super) events: Vec<Event>,
    pub(super) cut: Option<Cut>,
    pub(super) unreadable: Option<ViewError>,
    pub(super) no_upstream: bool,
    pub(super) malformed: Option<MetaError>,
    pub(super) borders: bool,
    /// Faces that leave with the buffer; `None`: it has no metadata that can be read.
    pub(super) faces: Option<usize>,
}

/// A new scene.
pub(super) struct Cut {
    pub(super) running_ns: u64,
    pub(super) score: f32,
}

/// Lock order: settings, state, stats. Nothing is posted under a lock.
#[derive(Debug, Default)]
pub struct FaceTrack {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    stats: Mutex<Stats>,
    meter: Meter,
}

#[glib::object_subclass]
impl ObjectSubclass for FaceTrack {
    // Unlike the factory's name this one is shared with all plugins of the process.
    const NAME: &'static str = "GstOnnxFaceTrack";
    type Type = super::FaceTrack;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for FaceTrack {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(super::properties::all);
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = self.settings.lock();
        let Settings { config, cuts, .. } = &mut *settings;
        // GObject has checked type and range.
        match pspec.name() {
            "high-threshold" => assign(&mut config.high_threshold, value),
            "low-threshold" => assign(&mut config.low_threshold, value),
            "new-threshold" => assign(&mut config.new_threshold, value),
            "confirm-hits" => assign(&mut config.confirm_hits, value),
            "max-lost-time" => assign(&mut config.max_lost_ns, value),
            "max-predicted-time" => assign(&mut config.max_predicted_ns, value),
            "scene-cut-score" => assign(&mut cuts.score, value),
            "scene-cut-ratio" => assign(&mut cuts.ratio, value),
            "scene-cut-gap" => assign(&mut cuts.gap_ns, value),
            "scene-cut" => assign(&mut settings.scene_cut, value),
            "zones" => assign(&mut settings.zones, value),
            "zone-dwell-time" => assign(&mut settings.zone_dwell_ns, value),
            "camera" => assign(&mut settings.camera, value),
            "event-hold" => assign(&mut settings.event_hold_ns, value),
            _ => return,
        }
        settings.changed = true;
        drop(settings);
        gst::info!(CAT, imp = self, "{} is now {value:?}", pspec.name());
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return self.stats().to_value();
        }
        let settings = self.settings.lock();
        let Settings { config, cuts, .. } = &*settings;
        match pspec.name() {
            "high-threshold" => config.high_threshold.to_value(),
            "low-threshold" => config.low_threshold.to_value(),
            "new-threshold" => config.new_threshold.to_value(),
            "confirm-hits" => config.confirm_hits.to_value(),
            "max-lost-time" => config.max_lost_ns.to_value(),
            "max-predicted-time" => config.max_predicted_ns.to_value(),
            "scene-cut" => settings.scene_cut.to_value(),
            "scene-cut-score" => cuts.score.to_value(),
            "scene-cut-ratio" => cuts.ratio.to_value(),
            "scene-cut-gap" => cuts.gap_ns.to_value(),
            "zones" => settings.zones.to_value(),
            "zone-dwell-time" => settings.zone_dwell_ns.to_value(),
            "camera" => settings.camera.to_value(),
            "event-hold" => settings.event_hold_ns.to_value(),
            _ => pspec.default_value().clone(),
        }
    }
}

fn assign<T: for<'a> glib::value::FromValue<'a>>(target: &mut T, value: &glib::Value) {
    if let Ok(value) = value.get() {
        *target = value;
    }
}

impl GstObjectImpl for FaceTrack {}

impl ElementImpl for FaceTrack {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face tracker",
                "Filter/Analyzer/Video",
                "Follows the faces of onnxfacedetect and gives them track ids",
                env!("CARGO_PKG_NAME"),
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_empty_simple("video/x-raw");
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

impl FaceTrack {
    /// Would it start, as far as the properties alone decide?
    pub(crate) fn check(&self) -> Result<(), String> {
        let settings = self.settings.lock();
        let built = Stream::new(settings.config.clone()).map_err(SettingsError::from);
        let applied = built.and_then(|mut stream| settings.apply(&mut stream));
        applied.map_err(|error| error.to_string())
    }
}

impl BaseTransformImpl for FaceTrack {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    // In passthrough the buffer would not be writable. `qos` stays off, as BaseTransform has it: on,
    // late buffers would be dropped, and with them detections that were paid for.
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let mut settings = self.settings.lock();
        let mut state = self.state.lock();
        let old = state.stream.take();
        let built = old.map_or_else(|| Ok(Stream::new(settings.config.clone())?), Ok);
        let applied = built.and_then(|mut stream| settings.apply(&mut stream).map(|()| stream));
        let stream = applied.map_err(|error| {
            gst::error_msg!(gst::ResourceError::Settings, ("start facetrack: {error}"))
        })?;
        *state = State { stream: Some(stream), ..Default::default() };
        settings.changed = false;
        *self.stats.lock() = Stats::default();
        self.meter.reset();
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        self.reset("stop");
        self.state.lock().info = None;
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _out: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = gst_video::VideoInfo::from_caps(incaps)
            .map_err(|_| gst::loggable_error!(CAT, "caps {incaps} describe no picture"))?;
        // Coordinates are fractions: tracks go on.
        let mut state = self.state.lock();
        (state.info, state.logged_unreadable) = (Some(info), false);
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::FlushStop(_) => self.reset("flush"),
            gst::EventView::StreamStart(_) => {
                self.reset("new stream");
                let mut state = self.state.lock();
                (state.logged_malformed, state.logged_borders) = (false, false);
            }
            gst::EventView::Eos(_) => self.reset("end of stream"),
            _ => (),
        }
        self.parent_sink_event(event)
    }

    fn src_event(&self, event: gst::Event) -> bool {
        if let Some(track_id) = split::track_id(&event) {
            self.split(track_id);
            return true;
        }
        if let Some((new_id, old_id)) = relink::ids(&event) {
            return self.relink(new_id, old_id);
        }
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
        self.take_settings();
        let running_ns = self.running_time(buffer);
        let report = {
            let mut state = self.state.lock();
            let report = state.process(buffer, running_ns);
            let live = state.stream.as_ref().map_or(0, |s| s.live_tracks() as u64);
            drop(state);
            let report = report.ok_or(gst::FlowError::NotNegotiated)?;
            self.count(&report, live, FrameFaces::is_on(buffer));
            report
        };
        let followed = report.faces.is_some();
        self.post(report);
        self.meter.end(lap, followed);
        Ok(gst::FlowSuccess::Ok)
    }
}

impl State {
    /// `None` before caps.
    fn process(&mut self, buffer: &mut gst::BufferRef, running_ns: Option<u64>) -> Option<Report> {
        let info = self.info.as_ref()?;
        let stream = self.stream.as_mut()?;
        let stamp = Stamp {
            running_ns,
            step_ns: crate::frame::duration_ns(info).or(buffer.duration().map(|d| d.nseconds())),
            discont: buffer.flags().contains(gst::BufferFlags::DISCONT),
            taken: camera_time::taken(buffer),
        };
        let mut report = Report::default();
        let (time_ns, jumped) = stream.advance(stamp);
        report.ended = jumped;
        if stream.wants_pixels() {
            match look(stream, time_ns, buffer, info) {
                Ok(None) => (),
                Ok(Some((score, ended))) => {
                    report.cut = Some(Cut { running_ns: time_ns, score });
                    report.ended.extend(ended);
                }
                Err(error) if !self.logged_unreadable => {
                    self.logged_unreadable = true;
                    report.unreadable = Some(error);
                }
                Err(_) => (),
            }
        }
        let updated = meta::update(buffer, |faces| {
            report.ended.extend(stream.follow(time_ns, faces));
            (Mapping::new(faces, info), faces.clone())
        });
        report.events = stream.take_events();
        report.no_upstream = self.upstream.saw(updated.is_some());
        match updated {
            Some(Ok((mapping, faces))) => {
                meta::write_mapped_rois(buffer, &faces, &mapping);
                report.faces = Some(faces.faces.len());
                report.borders = mapping.bordered() && !self.logged_borders;
                self.logged_borders |= report.borders;
            }
            Some(Err(error)) => report.malformed = Some(error),
            None => (),
        }
        Some(report)
    }
}

/// Shows the picture of a buffer to the stream: score and ended tracks if a new scene begins.
fn look(
    stream: &mut Stream,
    time_ns: u64,
    buffer: &gst::BufferRef,
    info: &gst_video::VideoInfo,
) -> Result<Option<(f32, Vec<Ended>)>, ViewError> {
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info)
        .map_err(|_| ViewError::Plane(0))?;
    Ok(stream.look(time_ns, &frame::view(&frame)?))
}

impl FaceTrack {
    /// Running time of a buffer, ns; 0 before the start of the segment, `None` without PTS.
    fn running_time(&self, buffer: &gst::BufferRef) -> Option<u64> {
        let pts = buffer.pts()?;
        let segment = self.obj().segment();
        let segment = segment.downcast_ref::<gst::ClockTime>()?;
        let running = segment.to_running_time_full(pts)?;
        Some(running.positive().map_or(0, |t| t.nseconds()))
    }

    /// Hands settings that were changed while playing to the tracker. A combination that cannot
    /// work leaves the old ones in force.
    fn take_settings(&self) {
        let refused = {
            let mut settings = self.settings.lock();
            if !std::mem::take(&mut settings.changed) {
                return;
            }
            let mut state = self.state.lock();
            state.stream.as_mut().and_then(|stream| settings.apply(stream).err())
        };
        if let Some(error) = refused {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Settings,
                ("the tracker goes on with its old settings: {error}")
            );
        }
    }

    fn reset(&self, why: &str) {
        let (ended, events) = match &mut self.state.lock().stream {
            Some(stream) => (stream.reset(), stream.take_events()),
            None => Default::default(),
        };
        gst::debug!(CAT, imp = self, "{why}: {} tracks ended", ended.len());
        let mut stats = self.stats.lock();
        stats.live = 0;
        stats.ended = stats.ended.saturating_add(ended.len() as u64);
        drop(stats);
        self.post(Report { ended, events, ..Report::default() });
    }

    /// facerecognize saw the track go over to another face.
    fn split(&self, track_id: u64) {
        let report = {
            let mut state = self.state.lock();
            let Some(stream) = &mut state.stream else { return };
            let Some(ended) = stream.end_track(track_id) else { return };
            Report { ended: vec![ended], events: stream.take_events(), ..Report::default() }
        };
        gst::debug!(CAT, imp = self, "track {track_id} went over to another face");
        self.stats.lock().ended += 1;
        self.post(report);
    }

    /// facerecognize knew the face of a new track: it is that of a lost one.
    fn relink(&self, new_id: u64, old_id: u64) -> bool {
        let (running_ns, events) = {
            let mut state = self.state.lock();
            let Some(stream) = &mut state.stream else { return false };
            if !stream.relink(new_id, old_id) {
                gst::debug!(CAT, imp = self, "track {new_id} cannot go on as {old_id}");
                return false;
            }
            (stream.time_ns(), stream.take_events())
        };
        gst::debug!(CAT, imp = self, "track {new_id} goes on as {old_id}");
        self.stats.lock().relinked += 1;
        self.post_relinked(new_id, old_id, running_ns);
        self.post(Report { events, ..Report::default() });
        true
    }

    fn count(&self, report: &Report, live: u64, has_meta: bool) {
        let mut stats = self.stats.lock();
        stats.faces += report.faces.unwrap_or(0) as u64;
        stats.without_meta += u64::from(!has_meta);
        stats.malformed += u64::from(report.malformed.is_some());
        stats.ended += report.ended.len() as u64;
        stats.cuts += u64::from(report.cut.is_some());
        stats.live = live;
    }

    /// True for the first malformed metadata of the stream; the counter in `stats` has them all.
    pub(super) fn is_first_malformed(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().logged_malformed, true)
    }

    fn stats(&self) -> gst::Structure {
        let stats = *self.stats.lock();
        let mut structure = gst::Structure::builder("stats")
            .field("faces", stats.faces)
            .field("without-meta", stats.without_meta)
            .field("malformed", stats.malformed)
            .field("live-tracks", stats.live)
            .field("ended-tracks", stats.ended)
            .field("relinked-tracks", stats.relinked)
            .field("scene-cuts", stats.cuts)
            .build();
        self.meter.write(&mut structure);
        structure
    }
}
