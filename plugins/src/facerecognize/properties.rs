//! The properties of facerecognize: their descriptions, and the settings behind them.

use std::sync::Arc;

use face_core::identity::{ConfirmConfig, FilterConfig, ReidPolicy, Rejection, ScheduleConfig};
use face_core::model;
use gst::glib;
use gst::prelude::*;

use super::alerts::{self, AlertOptions};
use super::gallery::GallerySettings;
use super::signals::EnrollSettings;
use super::stream::{Options, Stats};
use crate::event_hold;
use crate::live;
use crate::runtime::RuntimeSettings;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) runtime: RuntimeSettings,
    pub(super) gallery: GallerySettings,
    pub(super) threshold: f32,
    pub(super) min_margin: f32,
    pub(super) top_k: u32,
    pub(super) embed_output: bool,
    pub(super) head_pose: bool,
    pub(super) schedule: ScheduleConfig,
    pub(super) max_per_second: u32,
    pub(super) confirm: ConfirmConfig,
    pub(super) filters: Arc<FilterConfig>,
    pub(super) reload_interval: u32,
    pub(super) event_hold_ns: u64,
    pub(super) alerts: Arc<AlertOptions>,
    pub(super) enroll: EnrollSettings,
    pub(super) max_latency_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runtime: RuntimeSettings::new(model::DEFAULT_EMBEDDER),
            gallery: GallerySettings::default(),
            threshold: 0.0,
            min_margin: 0.0,
            top_k: 3,
            embed_output: false,
            head_pose: true,
            schedule: ScheduleConfig::default(),
            max_per_second: 0,
            confirm: ConfirmConfig::default(),
            filters: Arc::default(),
            reload_interval: 500,
            event_hold_ns: event_hold::DEFAULT_HOLD_NS,
            alerts: Arc::default(),
            enroll: EnrollSettings::default(),
            max_latency_ns: 0,
        }
    }
}

impl Settings {
    pub(super) fn options(&self) -> Options {
        Options {
            threshold: self.threshold,
            min_margin: self.min_margin,
            top_k: self.top_k as usize,
            embed_output: self.embed_output,
            loose_crops: self.enroll.loose_crops(),
            head_pose: self.head_pose,
            schedule: self.schedule,
            max_per_second: self.max_per_second,
            confirm: self.confirm,
            filters: self.filters.clone(),
            event_hold_ns: self.event_hold_ns,
            alerts: self.alerts.clone(),
            max_latency_ns: self.max_latency_ns,
        }
    }

    /// Sets a property; false if it is none of these settings.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        if self.runtime.set(name, value)
            || self.gallery.set(name, value)
            || self.enroll.set(name, value)
            || Arc::make_mut(&mut self.alerts).set(name, value)
        {
            return true;
        }
        match name {
            "threshold" => self.threshold = value.get().unwrap_or_default(),
            "min-margin" => self.min_margin = value.get().unwrap_or_default(),
            "top-k" => self.top_k = value.get().unwrap_or(1),
            "embed-output" => self.embed_output = value.get().unwrap_or_default(),
            "head-pose" => self.head_pose = value.get().unwrap_or_default(),
            "reload-interval" => self.reload_interval = value.get().unwrap_or_default(),
            "event-hold" => self.event_hold_ns = value.get().unwrap_or_default(),
            "max-latency" => self.max_latency_ns = value.get().unwrap_or_default(),
            _ => return self.set_schedule(name, value) || self.set_filter(name, value),
        }
        true
    }

    fn set_schedule(&mut self, name: &str, value: &glib::Value) -> bool {
        let (schedule, confirm) = (&mut self.schedule, &mut self.confirm);
        match name {
            "every-face" if value.get().unwrap_or_default() => schedule.policy = ReidPolicy::Every,
            "every-face" if schedule.policy == ReidPolicy::Every => {
                schedule.policy = ReidPolicy::Adaptive;
            }
            "every-face" => {}
            "reid-policy" => schedule.policy = value.get::<Policy>().unwrap_or_default().into(),
            "reid-interval-max" => schedule.max_wait_frames = value.get().unwrap_or(1),
            "reid-interval-max-time" => schedule.max_wait_ns = value.get().unwrap_or_default(),
            "max-inferences-per-second" => self.max_per_second = value.get().unwrap_or_default(),
            "confirm-count" => confirm.count = value.get().unwrap_or(1),
            "confirm-time" => confirm.time_ns = value.get().unwrap_or_default(),
            _ => return false,
        }
        true
    }

    fn set_filter(&mut self, name: &str, value: &glib::Value) -> bool {
        let filters = Arc::make_mut(&mut self.filters);
        let flag = || value.get::<bool>().unwrap_or_default();
        let number = || value.get::<f32>().unwrap_or_default();
        match name {
            "min-face-size" => filters.min_face_px = value.get::<u32>().unwrap_or_default() as f32,
            "required-zones" => {
                let zones = value.get::<Option<String>>().ok().flatten().unwrap_or_default();
                let names = zones.split(',').map(str::trim).filter(|zone| !zone.is_empty());
                filters.required_zones = names.map(str::to_owned).collect();
            }
            "require-frontal" => filters.require_frontal = flag(),
            "max-yaw" => filters.max_yaw = number(),
            "max-pitch" => filters.max_pitch = number(),
            "max-roll" => filters.max_roll = number(),
            "require-centered" => filters.require_centered = flag(),
            "min-quality" => filters.min_quality = number(),
            "require-track" => filters.require_track = flag(),
            _ => return false,
        }
        true
    }

    /// The value of a property; `None` if it is none of these settings.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        let parts = || {
            let own = self.gallery.get(name).or_else(|| self.enroll.get(name));
            own.or_else(|| self.alerts.get(name))
        };
        if let Some(value) = self.runtime.get(name).or_else(parts) {
            return Some(value);
        }
        Some(match name {
            "threshold" => self.threshold.to_value(),
            "min-margin" => self.min_margin.to_value(),
            "top-k" => self.top_k.to_value(),
            "embed-output" => self.embed_output.to_value(),
            "head-pose" => self.head_pose.to_value(),
            "every-face" => (self.schedule.policy == ReidPolicy::Every).to_value(),
            "reid-policy" => Policy::from(self.schedule.policy).to_value(),
            "reid-interval-max" => self.schedule.max_wait_frames.to_value(),
            "reid-interval-max-time" => self.schedule.max_wait_ns.to_value(),
            "max-inferences-per-second" => self.max_per_second.to_value(),
            "confirm-count" => self.confirm.count.to_value(),
            "confirm-time" => self.confirm.time_ns.to_value(),
            "reload-interval" => self.reload_interval.to_value(),
            "event-hold" => self.event_hold_ns.to_value(),
            "max-latency" => self.max_latency_ns.to_value(),
            _ => return self.filter(name),
        })
    }

    fn filter(&self, name: &str) -> Option<glib::Value> {
        let filters = &self.filters;
        Some(match name {
            // Set as a whole number of pixels.
            "min-face-size" => (filters.min_face_px as u32).to_value(),
            "required-zones" => {
                let zones = &filters.required_zones;
                (!zones.is_empty()).then(|| zones.join(",")).to_value()
            }
            "require-frontal" => filters.require_frontal.to_value(),
            "max-yaw" => filters.max_yaw.to_value(),
            "max-pitch" => filters.max_pitch.to_value(),
            "max-roll" => filters.max_roll.to_value(),
            "require-centered" => filters.require_centered.to_value(),
            "min-quality" => filters.min_quality.to_value(),
            "require-track" => filters.require_track.to_value(),
            _ => return None,
        })
    }
}

/// All properties of the element.
pub(super) fn all() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    let mut properties = RuntimeSettings::properties(&defaults.runtime.model);
    properties.extend([
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
        glib::ParamSpecUInt::builder("reload-interval")
            .nick("Reload interval")
            .blurb(
                "Look for changes of the gallery by other processes at most every so many \
                 milliseconds",
            )
            .default_value(defaults.reload_interval)
            .mutable_playing()
            .build(),
    ]);
    properties.extend(GallerySettings::properties());
    properties.extend(output(&defaults));
    properties.extend(schedule(&defaults));
    properties.extend(confirmation(&defaults.confirm));
    properties.extend(filters(&defaults.filters));
    properties.extend(directions(&defaults.filters));
    properties.extend(alerts::properties());
    properties.extend(EnrollSettings::properties());
    properties
}

/// What is written beside the identity.
fn output(defaults: &Settings) -> Vec<glib::ParamSpec> {
    vec![
        event_hold::property(),
        crate::stats::property(),
        live::max_latency_property(),
        glib::ParamSpecBoolean::builder("embed-output")
            .nick("Output embeddings")
            .blurb(
                "Put the embeddings into the metadata; they are biometric data, so off \
                 unless asked for",
            )
            .default_value(defaults.embed_output)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("head-pose")
            .nick("Head pose")
            .blurb("Write how the head of every observed face with landmarks is turned")
            .default_value(defaults.head_pose)
            .mutable_playing()
            .build(),
    ]
}

/// When faces are looked at.
fn schedule(defaults: &Settings) -> Vec<glib::ParamSpec> {
    let schedule = &defaults.schedule;
    vec![
        glib::ParamSpecEnum::builder_with_default::<Policy>("reid-policy", schedule.policy.into())
            .nick("Re-identification policy")
            .blurb(
                "How often the face of a track is looked at: adaptive (at once, then after 1, 2, 4, \
                 8 … frames up to the longest interval), every (on every frame that has it \
                 observed), once (as adaptive until the identity is settled, then only if the face \
                 may be another's or the gallery changed)",
            )
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("every-face")
            .nick("Every face")
            .blurb("The same as reid-policy=every (true), or adaptive (false)")
            .default_value(schedule.policy == ReidPolicy::Every)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("reid-interval-max")
            .nick("Longest interval")
            .blurb(
                "Frames between two looks at a track at most; if reid-interval-max-time is longer, \
                 that time",
            )
            .minimum(1)
            .default_value(schedule.max_wait_frames)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("reid-interval-max-time")
            .nick("Longest interval in time")
            .blurb(
                "Nanoseconds between two looks at a track at most; if reid-interval-max is longer, \
                 so many frames (0 = frames alone count)",
            )
            .default_value(schedule.max_wait_ns)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("max-inferences-per-second")
            .nick("Inferences per second")
            .blurb(
                "Embed at most so many faces per second of the stream, up to a quarter of them and \
                 one at once (0 = as many as are due); new faces go first, then those that wait \
                 longest",
            )
            .default_value(defaults.max_per_second)
            .mutable_playing()
            .build(),
    ]
}

/// When an identity is confirmed.
fn confirmation(confirm: &ConfirmConfig) -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder("confirm-count")
            .nick("Confirming results")
            .blurb(
                "An identity is confirmed by so many results in a row that agree, the first one \
                 included",
            )
            .minimum(1)
            .default_value(confirm.count)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("confirm-time")
            .nick("Confirming time")
            .blurb(
                "An identity is also confirmed when all results have agreed for so many nanoseconds \
                 (0 = only confirm-count confirms)",
            )
            .default_value(confirm.time_ns)
            .mutable_playing()
            .build(),
    ]
}

/// Which faces are not looked at because of where they are.
fn filters(defaults: &FilterConfig) -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder("min-face-size")
            .nick("Smallest face")
            .blurb(
                "Filter faces whose box has a side shorter than so many square pixels of the picture \
                 that the detector saw (0 = none)",
            )
            .default_value(defaults.min_face_px as u32)
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("required-zones")
            .nick("Required zones")
            .blurb(
                "Names of zones of facetrack, separated by commas: filter faces that are in none of \
                 them (unset = faces may be anywhere)",
            )
            .mutable_playing()
            .build(),
        flag(
            "require-centered",
            "Centred faces only",
            "Filter faces whose five points all lie in the left, right, upper or lower half of the box",
            defaults.require_centered,
        ),
        flag(
            "require-track",
            "Tracked faces only",
            "Filter faces without a track",
            defaults.require_track,
        ),
    ]
}

/// Which directions of the head, and which quality, are not looked at.
fn directions(defaults: &FilterConfig) -> Vec<glib::ParamSpec> {
    vec![
        flag(
            "require-frontal",
            "Frontal faces only",
            "Filter faces whose nose is not between eyes and corners of the mouth",
            defaults.require_frontal,
        ),
        number(
            "max-yaw",
            "Most degrees aside",
            "Filter heads that are turned to the left or right by more degrees (0 = none)",
            90.0,
            defaults.max_yaw,
        ),
        number(
            "max-pitch",
            "Most degrees up or down",
            "Filter heads that are raised or lowered by more degrees (0 = none); see docs/identity.md \
             for how sure that angle is",
            180.0,
            defaults.max_pitch,
        ),
        number(
            "max-roll",
            "Most degrees of tilt",
            "Filter heads that are tilted by more degrees (0 = none)",
            180.0,
            defaults.max_roll,
        ),
        number(
            "min-quality",
            "Least quality",
            "Filter crops of less quality, by size, direction, sharpness, contrast and light, 0 to 1 \
             (0 = none); measured when it is the face's turn",
            1.0,
            defaults.min_quality,
        ),
    ]
}

fn flag(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    default: bool,
) -> glib::ParamSpec {
    let flag = glib::ParamSpecBoolean::builder(name).nick(nick).blurb(blurb);
    flag.default_value(default).mutable_playing().build()
}

/// A number from 0 to `most`.
fn number(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    most: f32,
    default: f32,
) -> glib::ParamSpec {
    let number = glib::ParamSpecFloat::builder(name).nick(nick).blurb(blurb);
    number.minimum(0.0).maximum(most).default_value(default).mutable_playing().build()
}

/// The property `reid-policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[repr(u32)]
#[enum_type(name = "GstOnnxFaceReidPolicy")]
pub enum Policy {
    #[default]
    #[enum_value(name = "At once, then ever more rarely", nick = "adaptive")]
    Adaptive = 0,
    #[enum_value(name = "On every frame", nick = "every")]
    Every = 1,
    #[enum_value(name = "Until the identity is settled", nick = "once")]
    Once = 2,
}

impl From<Policy> for ReidPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Adaptive => ReidPolicy::Adaptive,
            Policy::Every => ReidPolicy::Every,
            Policy::Once => ReidPolicy::Once,
        }
    }
}

impl From<ReidPolicy> for Policy {
    fn from(policy: ReidPolicy) -> Self {
        match policy {
            ReidPolicy::Adaptive => Policy::Adaptive,
            ReidPolicy::Every => Policy::Every,
            ReidPolicy::Once => Policy::Once,
        }
    }
}

impl Stats {
    /// As the property `stats` has them.
    pub(super) fn structure(&self) -> gst::Structure {
        let mut stats = gst::Structure::builder("stats")
            .field("frames", self.frames)
            .field("faces", self.faces)
            .field("embedded", self.embedded)
            .field("unusable", self.unusable)
            .field("search-errors", self.search_errors)
            .field("skipped-interval", self.passed)
            .field("unreadable", self.unreadable)
            .field("malformed", self.malformed)
            .field("over-budget", self.over_budget)
            .field("relinked", self.relinked)
            .field("alerts", self.alerts.given)
            .field("alerts-cooled-down", self.alerts.cooled_down)
            .build();
        self.late.write(&mut stats);
        for (reason, count) in Rejection::REASONS.into_iter().zip(self.filtered) {
            stats.set(reason, count);
        }
        stats
    }
}
