//! The properties about alerts, and the message `face-alert`.

use std::sync::Arc;
use std::time::SystemTime;

use face_core::identity::alert::{
    Alert, AlertMode, AlertRepeat, AlertRules, AlertSettings, RuleError,
};
use gst::glib;
use gst::prelude::*;

use crate::event_hold;
use crate::meta::{self, Candidate, Event};
use crate::runtime::with_causes;

/// Name of the message.
const FACE_ALERT: &str = "face-alert";

/// About whom there are alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstOnnxFaceAlertMode")]
pub enum AlertModeSetting {
    #[enum_value(name = "No alerts", nick = "none")]
    None,
    #[enum_value(name = "About faces that are nobody's of the gallery", nick = "unknowns")]
    Unknowns,
    #[enum_value(name = "About people of the gallery", nick = "knowns")]
    Knowns,
    #[default]
    #[enum_value(name = "About everybody", nick = "all")]
    All,
}

/// How often a track alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstOnnxFaceAlertRepeat")]
pub enum AlertRepeatSetting {
    #[enum_value(name = "Once about who it is", nick = "once")]
    Once,
    #[default]
    #[enum_value(name = "Once more when another identity is confirmed", nick = "on-change")]
    OnChange,
    #[enum_value(name = "Also the same again after alert-interval", nick = "interval")]
    Interval,
}

/// Why the rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RulesError {
    #[error("read alert-rules")]
    Text(#[source] RuleError),
    #[error("read alert-rules '{path}': a JSON array in the property itself begins with [")]
    Read { path: String, source: std::io::Error },
    #[error("read alert-rules '{path}'")]
    File { path: String, source: RuleError },
}

impl RulesError {
    pub(super) fn message(&self) -> gst::ErrorMessage {
        let text = format!("start facerecognize: {}", with_causes(self));
        match self {
            RulesError::Read { .. } => gst::error_msg!(gst::ResourceError::OpenRead, ("{text}")),
            _ => gst::error_msg!(gst::ResourceError::Settings, ("{text}")),
        }
    }
}

/// The settings behind the properties.
#[derive(Clone, Debug, Default)]
pub(super) struct AlertOptions {
    /// Its rules are those of `rules` when the element started.
    pub(super) settings: AlertSettings,
    mode: AlertModeSetting,
    repeat: AlertRepeatSetting,
    rules: Option<String>,
    pub(super) camera: Option<String>,
    /// Put the best crop of the track into the messages.
    pub(super) crop: bool,
}

impl AlertOptions {
    /// Reads the rules, which apply from now on: JSON, or the path of a file that holds it.
    pub(super) fn start(&mut self) -> Result<(), RulesError> {
        let text = self.rules.as_deref().unwrap_or_default();
        let rules = match text.trim_start().chars().next() {
            None | Some('[' | '{') => text.parse().map_err(RulesError::Text)?,
            Some(_) => {
                let read = std::fs::read_to_string(text);
                let read = read.map_err(|source| RulesError::Read { path: text.into(), source })?;
                read.parse().map_err(|source| RulesError::File { path: text.into(), source })?
            }
        };
        self.settings.rules = Arc::new(rules);
        Ok(())
    }

    pub(super) fn rules(&self) -> &AlertRules {
        &self.settings.rules
    }

    /// Sets a property; false if it is none of these settings.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        let settings = &mut self.settings;
        match name {
            "alert-mode" => {
                self.mode = value.get().unwrap_or_default();
                settings.mode = match self.mode {
                    AlertModeSetting::None => AlertMode::None,
                    AlertModeSetting::Unknowns => AlertMode::Unknowns,
                    AlertModeSetting::Knowns => AlertMode::Knowns,
                    AlertModeSetting::All => AlertMode::All,
                };
            }
            "alert-repeat" => {
                self.repeat = value.get().unwrap_or_default();
                settings.repeat = match self.repeat {
                    AlertRepeatSetting::Once => AlertRepeat::Once,
                    AlertRepeatSetting::OnChange => AlertRepeat::OnChange,
                    AlertRepeatSetting::Interval => AlertRepeat::Interval,
                };
            }
            "alert-interval" => settings.interval_ns = value.get().unwrap_or_default(),
            "alert-cooldown" => settings.cooldown_ns = value.get().unwrap_or_default(),
            "alert-rules" => self.rules = value.get().unwrap_or_default(),
            "alert-crop" => self.crop = value.get().unwrap_or_default(),
            "dry-run" => settings.dry_run = value.get().unwrap_or_default(),
            "camera" => self.camera = value.get().unwrap_or_default(),
            _ => return false,
        }
        true
    }

    /// The value of a property; `None` if it is none of these settings.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "alert-mode" => self.mode.to_value(),
            "alert-repeat" => self.repeat.to_value(),
            "alert-interval" => self.settings.interval_ns.to_value(),
            "alert-cooldown" => self.settings.cooldown_ns.to_value(),
            "alert-rules" => self.rules.to_value(),
            "alert-crop" => self.crop.to_value(),
            "dry-run" => self.settings.dry_run.to_value(),
            "camera" => self.camera.to_value(),
            _ => return None,
        })
    }
}

/// The properties about alerts.
pub(super) fn properties() -> Vec<glib::ParamSpec> {
    let defaults = AlertOptions::default();
    vec![
        glib::ParamSpecEnum::builder_with_default("alert-mode", defaults.mode)
            .nick("Alert mode")
            .blurb("About whom there are alerts, once the identity is confirmed")
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("alert-repeat", defaults.repeat)
            .nick("Alert repeat")
            .blurb(
                "How often a track alerts: once, once more when another identity is confirmed, or \
                 every alert-interval",
            )
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("alert-interval")
            .nick("Alert interval")
            .blurb(
                "With alert-repeat=interval: time from an alert to the same one about the same track, \
                 in nanoseconds of running time",
            )
            .default_value(defaults.settings.interval_ns)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("alert-cooldown")
            .nick("Alert cool-down")
            .blurb(
                "After an alert about a person this element gives no second one of the same kind \
                 about that person for so long, in nanoseconds of running time; faces of nobody \
                 always alert (0 = off)",
            )
            .default_value(defaults.settings.cooldown_ns)
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("alert-rules")
            .nick("Alert rules")
            .blurb(
                "What there are alerts about: a JSON array of rules with action, events, persons, \
                 groups and zones, or the path of a file that holds one; the first rule that fits \
                 decides (unset = everything)",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("alert-crop")
            .nick("Crop in messages")
            .blurb(
                "Put the best crop of the face, a PNG, into face-alert and face-track messages; it \
                 is biometric data, so off unless asked for",
            )
            .default_value(defaults.crop)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("dry-run")
            .nick("Dry run")
            .blurb(
                "Decide, count and post alerts, marked dry-run, but write none into the metadata, so \
                 that no element acts on them",
            )
            .default_value(defaults.settings.dry_run)
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("camera")
            .nick("Camera")
            .blurb("Name of the camera in events and messages (unset = none)")
            .mutable_playing()
            .build(),
    ]
}

/// The event of an alert.
pub(super) fn event(
    alert: &Alert,
    top_k: Vec<Candidate>,
    camera: Option<&str>,
    running_ns: Option<u64>,
    taken: Option<SystemTime>,
) -> Event {
    Event {
        camera: camera.map(str::to_owned),
        person_id: alert.person.as_ref().map(|p| p.person_id.to_string()),
        name: alert.person.as_ref().map(|p| p.name.to_string()),
        similarity: alert.similarity,
        previous_person_id: alert.previous.as_ref().map(|p| p.person_id.to_string()),
        previous_name: alert.previous.as_ref().map(|p| p.name.to_string()),
        top_k,
        dry_run: alert.dry_run,
        ..event_hold::event(alert.kind.as_str(), alert.track_id, running_ns, taken)
    }
}

/// The message of an alert; `pts` is that of the buffer that triggered it.
pub(super) fn message(
    event: &Event,
    zones: &[String],
    pts: Option<gst::ClockTime>,
    crop_png: Option<Vec<u8>>,
) -> gst::Structure {
    let mut s = gst::Structure::builder(FACE_ALERT)
        .field("event", &event.kind)
        .field("event-id", &event.id)
        .field("track-id", event.track_id)
        .field("zones", gst::Array::new(zones.iter().map(|z| meta::text(z))))
        .field("dry-run", event.dry_run)
        .build();
    for (name, value) in [
        ("person-id", &event.person_id),
        ("name", &event.name),
        ("previous-person-id", &event.previous_person_id),
        ("previous-name", &event.previous_name),
        ("camera", &event.camera),
        ("utc", &event.utc),
    ] {
        if let Some(value) = value {
            s.set(name, meta::text(value));
        }
    }
    if let Some(similarity) = event.similarity {
        s.set("similarity", f64::from(similarity));
    }
    if !event.top_k.is_empty() {
        let candidates = event.top_k.iter().map(|c| meta::candidate_structure(c).to_send_value());
        s.set("top-k", gst::Array::new(candidates));
    }
    if let Some(pts) = pts {
        s.set("pts", pts.nseconds());
    }
    if let Some(running_ns) = event.running_time_ns {
        s.set("running-time", running_ns);
    }
    if let Some(png) = crop_png {
        s.set("crop", glib::Bytes::from_owned(png));
    }
    s
}
