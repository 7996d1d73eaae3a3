//! The properties of onnxfacedetect: their descriptions, and the settings behind them.

use face_core::detect::{DetectOptions, Detector};
use face_core::load::Interval;
use face_core::model;
use gst::glib;
use gst::prelude::*;

use super::interval::IntervalSetting;
use crate::live;
use crate::runtime::RuntimeSettings;
use crate::stats;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) runtime: RuntimeSettings,
    pub(super) look: LookSettings,
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
pub(super) struct LookSettings {
    input_size: u32,
    score_threshold: f32,
    iou_threshold: f32,
    min_face_size: u32,
    max_faces: u32,
    interval: IntervalSetting,
    lookahead: u32,
    /// Percent.
    cpu_target: u32,
    pub(super) max_latency_ns: u64,
}

impl Default for LookSettings {
    fn default() -> Self {
        Self {
            input_size: DetectOptions::DEFAULT_INPUT_SIZE,
            score_threshold: 0.0,
            iou_threshold: 0.0,
            min_face_size: 0,
            max_faces: 0,
            interval: IntervalSetting::default(),
            lookahead: 0,
            cpu_target: 80,
            max_latency_ns: 0,
        }
    }
}

impl LookSettings {
    pub(super) fn detect_options(&self, detector: &Detector) -> DetectOptions {
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

    pub(super) fn interval(&self) -> Interval {
        self.interval.into()
    }

    /// The share of the processors that is to be used, 0..=1.
    pub(super) fn cpu_target(&self) -> f64 {
        f64::from(self.cpu_target) / 100.0
    }

    /// How many further frames are searched while one is waited for.
    pub(super) fn lookahead(&self) -> usize {
        self.lookahead as usize
    }

    /// Every how many frames the detector looks, at this frame rate.
    pub(super) fn interval_at(&self, fps: gst::Fraction) -> u64 {
        let known = fps.denom() != 0;
        let fps = if known { f64::from(fps.numer()) / f64::from(fps.denom()) } else { 0.0 };
        self.interval().frames(fps)
    }
}

impl Settings {
    /// Sets a property; false if it is none of these settings.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        if self.runtime.set(name, value) {
            return true;
        }
        let look = &mut self.look;
        match name {
            "input-size" => look.input_size = value.get().unwrap_or_default(),
            "score-threshold" => look.score_threshold = value.get().unwrap_or_default(),
            "iou-threshold" => look.iou_threshold = value.get().unwrap_or_default(),
            "min-face-size" => look.min_face_size = value.get().unwrap_or_default(),
            "max-faces" => look.max_faces = value.get().unwrap_or_default(),
            "interval" => look.interval = value.get().unwrap_or_default(),
            "lookahead" => look.lookahead = value.get().unwrap_or_default(),
            "cpu-target" => look.cpu_target = value.get().unwrap_or(1),
            "max-latency" => look.max_latency_ns = value.get().unwrap_or_default(),
            _ => return false,
        }
        true
    }

    /// The value of a property; `None` if it is none of these settings.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        let look = &self.look;
        Some(match name {
            "input-size" => look.input_size.to_value(),
            "score-threshold" => look.score_threshold.to_value(),
            "iou-threshold" => look.iou_threshold.to_value(),
            "min-face-size" => look.min_face_size.to_value(),
            "max-faces" => look.max_faces.to_value(),
            "interval" => look.interval.to_value(),
            "lookahead" => look.lookahead.to_value(),
            "cpu-target" => look.cpu_target.to_value(),
            "max-latency" => look.max_latency_ns.to_value(),
            _ => return self.runtime.get(name),
        })
    }
}

/// All properties of the element.
pub(super) fn all() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    let mut properties = RuntimeSettings::properties(&defaults.runtime.model);
    properties.extend(faces(&defaults.look));
    properties.extend(frames(&defaults.look));
    properties.push(stats::property());
    properties
}

/// What counts as a face.
fn faces(defaults: &LookSettings) -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder("input-size")
            .nick("Input size")
            .blurb(
                "Longest side of the detector's input in pixels; larger pictures are \
                 shrunk to it, smaller ones are taken as they are",
            )
            .minimum(32)
            .maximum(8192)
            .default_value(defaults.input_size)
            .mutable_playing()
            .build(),
        glib::ParamSpecFloat::builder("score-threshold")
            .nick("Score threshold")
            .blurb("Least score of a face, 0 to 1 (0 = the one the model recommends)")
            .minimum(0.0)
            .maximum(1.0)
            .default_value(defaults.score_threshold)
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
            .default_value(defaults.iou_threshold)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("min-face-size")
            .nick("Minimum face size")
            .blurb("Least shorter side of a face in pixels of the picture (0 = any)")
            .default_value(defaults.min_face_size)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("max-faces")
            .nick("Maximum number of faces")
            .blurb("At most so many faces per frame, the best by score (0 = any number)")
            .default_value(defaults.max_faces)
            .mutable_playing()
            .build(),
    ]
}

/// Which frames are looked at.
fn frames(defaults: &LookSettings) -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecEnum::builder_with_default("interval", defaults.interval)
            .nick("Interval")
            .blurb(
                "Look at every n-th frame, 1 to 60; default: every second one above 20 frames per \
                 second, else every one; auto: on live streams as many as cpu-target allows, but one \
                 a second, else as default",
            )
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("cpu-target")
            .nick("Processor target")
            .blurb(
                "With interval=auto: percent of the processors that the process is to use, with all \
                 that it does; of several elements the least counts for all",
            )
            .minimum(1)
            .maximum(100)
            .default_value(defaults.cpu_target)
            .mutable_playing()
            .build(),
        live::max_latency_property(),
        glib::ParamSpecUInt::builder("lookahead")
            .nick("Lookahead")
            .blurb(
                "How many further frames are searched while one is waited for, so that one \
                 stream uses several cores; frames go on that much later, and the results \
                 are the same. Not on live streams (0 = each frame goes on before the next \
                 one is taken)",
            )
            .maximum(64)
            .default_value(defaults.lookahead)
            .mutable_playing()
            .build(),
    ]
}
