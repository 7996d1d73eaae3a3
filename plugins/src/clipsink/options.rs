//! The settings of clipsink, and what start() makes of them.

use std::path::PathBuf;
use std::time::Duration;

use face_core::clip::{KeyTemplate, Notify, OnRetrigger, RecorderConfig};
use face_core::outbox::{
    self, Address, Channel, Delivery, Entry, Exec, Limits, LinkTo, Message, Object, SecretSource,
    Template, Webhook,
};
use face_core::storage::{LINK_EXPIRY, STORAGE_VARIABLE};
use gst::glib;
use gst::prelude::*;

use crate::runtime::with_causes;

/// What happens to a clip that is being made when another event comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstOnnxFaceOnRetrigger")]
pub enum OnRetriggerSetting {
    #[default]
    #[enum_value(name = "It goes on until the post-roll of the later event", nick = "extend")]
    Extend,
    #[enum_value(name = "It ends as it would have; the event is noted", nick = "ignore")]
    Ignore,
    #[enum_value(name = "It ends at the later event, where another begins", nick = "split")]
    Split,
}

/// What messages are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstOnnxFaceMessageFormat")]
pub enum MessageFormat {
    #[default]
    #[enum_value(name = "JSON", nick = "json")]
    Json,
    #[enum_value(name = "JSON whose texts are Markdown", nick = "json-markdown")]
    JsonMarkdown,
    #[enum_value(name = "Text", nick = "text")]
    Text,
    #[enum_value(name = "Markdown", nick = "markdown")]
    Markdown,
}

impl From<MessageFormat> for Channel {
    fn from(format: MessageFormat) -> Self {
        match format {
            MessageFormat::Json => Self::Json,
            MessageFormat::JsonMarkdown => Self::JsonMarkdown,
            MessageFormat::Text => Self::Text,
            MessageFormat::Markdown => Self::Markdown,
        }
    }
}

/// Events that make clips.
#[glib::flags(name = "GstOnnxFaceClipTriggers")]
pub enum ClipTriggers {
    #[flags_value(name = "A person of the gallery", nick = "known-face")]
    KNOWN_FACE = 0b000_0001,
    #[flags_value(name = "Somebody whom the gallery does not know", nick = "unknown-face")]
    UNKNOWN_FACE = 0b000_0010,
    #[flags_value(name = "Somebody who was confirmed is gone", nick = "face-disappeared")]
    FACE_DISAPPEARED = 0b000_0100,
    #[flags_value(name = "A track became another person's", nick = "identity-changed")]
    IDENTITY_CHANGED = 0b000_1000,
    #[flags_value(name = "A track enters a zone", nick = "zone-enter")]
    ZONE_ENTER = 0b001_0000,
    #[flags_value(name = "A track leaves a zone", nick = "zone-exit")]
    ZONE_EXIT = 0b010_0000,
    #[flags_value(name = "A track stays in a zone", nick = "zone-dwell")]
    ZONE_DWELL = 0b100_0000,
}

impl Default for ClipTriggers {
    fn default() -> Self {
        Self::KNOWN_FACE | Self::UNKNOWN_FACE
    }
}

impl ClipTriggers {
    /// The kind of an event; `None` for other kinds.
    fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            "known-face" => Self::KNOWN_FACE,
            "unknown-face" => Self::UNKNOWN_FACE,
            "face-disappeared" => Self::FACE_DISAPPEARED,
            "identity-changed" => Self::IDENTITY_CHANGED,
            "zone-enter" => Self::ZONE_ENTER,
            "zone-exit" => Self::ZONE_EXIT,
            "zone-dwell" => Self::ZONE_DWELL,
            _ => return None,
        })
    }

    /// Does an event of that kind make a clip?
    pub(super) fn want(self, kind: &str) -> bool {
        Self::of(kind).is_some_and(|kind| self.contains(kind))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    storage: Option<String>,
    prefix: Option<String>,
    template: Option<String>,
    camera: Option<String>,
    spool: Option<String>,
    pub(super) spool_max_bytes: u64,
    pub(super) pre_roll: u64,
    pub(super) post_roll: u64,
    pub(super) max_duration: u64,
    pub(super) cooldown: u64,
    pub(super) decision_delay: u64,
    pub(super) max_bytes: u64,
    pub(super) on_retrigger: OnRetriggerSetting,
    pub(super) triggers: ClipTriggers,
    pub(super) snapshot: bool,
    pub(super) embeddings: bool,
    pub(super) encoder: Option<String>,
    pub(super) bitrate: u32,
    pub(super) link_expiry: u32,
    webhook: Option<String>,
    webhook_key: Option<String>,
    webhook_token: Option<String>,
    pub(super) webhook_allow_http: bool,
    exec: Option<String>,
    message: Option<String>,
    message_stored: Option<String>,
    pub(super) message_format: MessageFormat,
}

impl Default for Settings {
    fn default() -> Self {
        let times = RecorderConfig::default();
        let ns = |time: i64| u64::try_from(time).unwrap_or(0);
        Self {
            storage: None,
            prefix: None,
            template: None,
            camera: None,
            spool: None,
            spool_max_bytes: Limits::default().max_bytes,
            pre_roll: ns(times.pre_roll),
            post_roll: ns(times.post_roll),
            max_duration: ns(times.max_duration),
            cooldown: ns(times.cooldown),
            decision_delay: ns(times.decision_delay),
            max_bytes: times.max_bytes,
            on_retrigger: OnRetriggerSetting::default(),
            triggers: ClipTriggers::default(),
            snapshot: true,
            embeddings: false,
            encoder: None,
            bitrate: 0,
            link_expiry: LINK_EXPIRY.as_secs() as u32,
            webhook: None,
            webhook_key: None,
            webhook_token: None,
            webhook_allow_http: false,
            exec: None,
            message: None,
            message_stored: None,
            message_format: MessageFormat::default(),
        }
    }
}

/// What clips are made and told by, checked.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) storage: String,
    pub(super) prefix: String,
    pub(super) template: KeyTemplate,
    pub(super) camera: String,
    pub(super) notify: Notify,
    pub(super) link_expiry: Duration,
}

impl Settings {
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        fn assign<T: for<'a> glib::value::FromValue<'a>>(target: &mut T, value: &glib::Value) {
            // GObject has checked type and range.
            if let Ok(value) = value.get() {
                *target = value;
            }
        }
        match name {
            "storage" => assign(&mut self.storage, value),
            "key-prefix" => assign(&mut self.prefix, value),
            "key-template" => assign(&mut self.template, value),
            "camera" => assign(&mut self.camera, value),
            "spool" => assign(&mut self.spool, value),
            "spool-max-bytes" => assign(&mut self.spool_max_bytes, value),
            "pre-roll" => assign(&mut self.pre_roll, value),
            "post-roll" => assign(&mut self.post_roll, value),
            "max-duration" => assign(&mut self.max_duration, value),
            "cooldown" => assign(&mut self.cooldown, value),
            "decision-delay" => assign(&mut self.decision_delay, value),
            "max-bytes" => assign(&mut self.max_bytes, value),
            "on-retrigger" => assign(&mut self.on_retrigger, value),
            "triggers" => assign(&mut self.triggers, value),
            "snapshot" => assign(&mut self.snapshot, value),
            "sidecar-embeddings" => assign(&mut self.embeddings, value),
            "encoder" => assign(&mut self.encoder, value),
            "bitrate" => assign(&mut self.bitrate, value),
            "link-expiry" => assign(&mut self.link_expiry, value),
            "webhook" => assign(&mut self.webhook, value),
            "webhook-key" => assign(&mut self.webhook_key, value),
            "webhook-token" => assign(&mut self.webhook_token, value),
            "webhook-allow-http" => assign(&mut self.webhook_allow_http, value),
            "exec" => assign(&mut self.exec, value),
            "message" => assign(&mut self.message, value),
            "message-stored" => assign(&mut self.message_stored, value),
            "message-format" => assign(&mut self.message_format, value),
            _ => return false,
        }
        true
    }

    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "storage" => self.storage.to_value(),
            "key-prefix" => self.prefix.to_value(),
            "key-template" => self.template.to_value(),
            "camera" => self.camera.to_value(),
            "spool" => self.spool.to_value(),
            "spool-max-bytes" => self.spool_max_bytes.to_value(),
            "pre-roll" => self.pre_roll.to_value(),
            "post-roll" => self.post_roll.to_value(),
            "max-duration" => self.max_duration.to_value(),
            "cooldown" => self.cooldown.to_value(),
            "decision-delay" => self.decision_delay.to_value(),
            "max-bytes" => self.max_bytes.to_value(),
            "on-retrigger" => self.on_retrigger.to_value(),
            "triggers" => self.triggers.to_value(),
            "snapshot" => self.snapshot.to_value(),
            "sidecar-embeddings" => self.embeddings.to_value(),
            "encoder" => self.encoder.to_value(),
            "bitrate" => self.bitrate.to_value(),
            "link-expiry" => self.link_expiry.to_value(),
            "webhook" => self.webhook.to_value(),
            "webhook-key" => self.webhook_key.to_value(),
            "webhook-token" => self.webhook_token.to_value(),
            "webhook-allow-http" => self.webhook_allow_http.to_value(),
            "exec" => self.exec.to_value(),
            "message" => self.message.to_value(),
            "message-stored" => self.message_stored.to_value(),
            "message-format" => self.message_format.to_value(),
            _ => return None,
        })
    }

    pub(super) fn recorder(&self) -> RecorderConfig {
        let ns = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
        RecorderConfig {
            pre_roll: ns(self.pre_roll),
            post_roll: ns(self.post_roll),
            max_duration: ns(self.max_duration),
            cooldown: ns(self.cooldown),
            decision_delay: ns(self.decision_delay),
            max_bytes: self.max_bytes,
            on_retrigger: match self.on_retrigger {
                OnRetriggerSetting::Extend => OnRetrigger::Extend,
                OnRetriggerSetting::Ignore => OnRetrigger::Ignore,
                OnRetriggerSetting::Split => OnRetrigger::Split,
            },
        }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { max_bytes: self.spool_max_bytes, ..Limits::default() }
    }

    /// The folder of the spool.
    pub(super) fn spool(&self) -> Result<PathBuf, String> {
        let named = self.spool.as_ref().filter(|spool| !spool.is_empty()).map(PathBuf::from);
        let no_home = "spool: there is no folder for the user's state: set the property spool";
        named.or_else(outbox::default_spool).ok_or_else(|| no_home.to_owned())
    }

    /// Checks everything that can be checked without a network.
    ///
    /// # Errors
    /// A text that names the property.
    pub(super) fn options(&self) -> Result<Options, String> {
        let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let from_environment = || std::env::var(STORAGE_VARIABLE).ok().filter(|u| !u.is_empty());
        let storage = named(&self.storage).or_else(from_environment).ok_or_else(|| {
            format!(
                "storage is not set: a folder, file:///FOLDER or s3://BUCKET/PREFIX, here or in \
                 {STORAGE_VARIABLE}"
            )
        })?;
        if let Some(name) = &self.encoder
            && gst::ElementFactory::find(name).is_none()
        {
            return Err(format!("encoder: there is no element '{name}'"));
        }
        let storage = absolute(storage)?;
        let object = Object::new("any", &storage, "any.mp4");
        let checked = Delivery::from(object).check();
        checked.map_err(|error| format!("storage: {}", with_causes(&error)))?;
        let template = named(&self.template);
        let template = template.map_or(Ok(KeyTemplate::default()), |t| KeyTemplate::parse(&t));
        let link_expiry = Duration::from_secs(u64::from(self.link_expiry));
        let options = Options {
            template: template.map_err(|error| error.to_string())?,
            prefix: self.prefix.clone().unwrap_or_default(),
            camera: self.camera.clone().unwrap_or_default(),
            notify: self.notify()?,
            link_expiry,
            storage,
        };
        options.check()?;
        Ok(options)
    }

    fn notify(&self) -> Result<Notify, String> {
        let nothing = || Message::json(&()).map_err(|error| error.to_string());
        let channel = Channel::from(self.message_format);
        let template = |property: &str, text: &Option<String>| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            let parsed = text.map(|text| Template::parse(text, channel)).transpose();
            parsed.map_err(|error| format!("{property}: {error}"))
        };
        let mut notify = Notify {
            alert: template("message", &self.message)?,
            stored: template("message-stored", &self.message_stored)?,
            ..Notify::default()
        };
        if let Some(address) = self.webhook.as_deref().filter(|text| !text.is_empty()) {
            let address = match place(address) {
                Some(place) => Address::Secret(place),
                None => Address::Plain(address.to_owned()),
            };
            notify.webhook = Some(Webhook {
                allow_http: self.webhook_allow_http,
                sign: secret("webhook-key", &self.webhook_key)?,
                bearer: secret("webhook-token", &self.webhook_token)?,
                ..Webhook::new(address, nothing()?)
            });
        }
        if let Some(command) = self.exec.as_deref().filter(|text| !text.is_empty()) {
            let words = glib::shell_parse_argv(command)
                .map_err(|error| format!("exec: '{command}': {}", error.message()))?;
            let mut words = words.into_iter().map(|word| word.into_string());
            let text = "exec: it is no text in UTF-8";
            let program = words.next().ok_or("exec: it names no program")?.map_err(|_| text)?;
            let arguments = words.collect::<Result<Vec<_>, _>>().map_err(|_| text)?;
            notify.exec = Some(Exec::new(program, arguments, nothing()?));
        }
        Ok(notify)
    }
}

impl Options {
    /// Would the outbox take the messages?
    fn check(&self) -> Result<(), String> {
        let event = face_core::event::FaceEvent::default();
        let trigger = face_core::clip::Trigger::default();
        let link = LinkTo { expiry: self.link_expiry, ..LinkTo::new(&self.storage, "any.mp4") };
        let alerts = self.notify.alerts(&event)?;
        let stored = self.notify.follow_ups(&self.camera, &trigger, &link)?;
        let entries = alerts.into_iter().map(|Entry { delivery, .. }| delivery);
        for delivery in entries.chain(stored.into_iter().map(|follow_up| follow_up.delivery)) {
            let property = match delivery {
                Delivery::Exec(_) => "exec",
                _ => "webhook",
            };
            delivery.check().map_err(|error| format!("{property}: {}", with_causes(&error)))?;
        }
        Ok(())
    }
}

/// A folder may be named from where the program was started; what sends later may be started elsewhere.
fn absolute(storage: String) -> Result<String, String> {
    if storage.contains("://") {
        return Ok(storage);
    }
    let path = std::path::absolute(&storage);
    let path = path.map_err(|error| format!("storage: '{storage}': {error}"))?;
    path.into_os_string().into_string().map_err(|_| "storage: it is no text in UTF-8".to_owned())
}

/// `env:NAME` or `file:PATH`, but not the URI of a file.
fn place(text: &str) -> Option<SecretSource> {
    let name = text.strip_prefix("env:").map(|name| SecretSource::Environment(name.to_owned()));
    name.or_else(|| text.strip_prefix("file:").map(|path| SecretSource::File(path.into())))
}

/// A secret itself never stands in a property: pipelines are logged, and seen in the process list.
fn secret(property: &str, text: &Option<String>) -> Result<Option<SecretSource>, String> {
    let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let found = place(text).map(Some);
    found.ok_or_else(|| format!("{property}: write env:NAME or file:PATH, never the secret itself"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Options, String> {
        let mut settings = Settings::default();
        settings.set("storage", &"/clips".to_value());
        for (name, value) in pairs {
            assert!(settings.set(name, &value.to_value()), "{name}");
        }
        settings.options()
    }

    #[test]
    fn every_property_can_be_set_and_read_and_has_its_default() {
        gst::init().unwrap();
        let mut settings = Settings::default();
        for spec in super::super::properties::all().iter().filter(|spec| spec.name() != "stats") {
            let value = settings.get(spec.name()).unwrap_or_else(|| panic!("{}", spec.name()));
            assert!(settings.set(spec.name(), &value), "{}", spec.name());
        }
        assert!(!settings.set("other", &1u32.to_value()) && settings.get("other").is_none());
    }

    #[test]
    fn wrong_settings_are_named() {
        for (property, value, word) in [
            ("storage", "ftp://x", "storage"),
            ("key-template", "{utc}", "{hash}"),
            ("webhook", "http://example.org/", "webhook"),
            ("webhook", "https://user:hunter2@example.org/", "webhook"),
            ("exec", "'x", "exec"),
            ("exec", " ", "exec"),
            ("message", "{nobody}", "message"),
        ] {
            let error = with(&[(property, value), ("message-format", "")][..1]).unwrap_err();
            assert!(error.contains(word), "{property}={value}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = with(&[("webhook", "https://example.org"), ("webhook-key", "hunter2")]);
        let error = error.unwrap_err();
        assert!(error.contains("webhook-key") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn folder_is_named_from_where_the_program_was_started() {
        let options = with(&[("storage", "kept clips")]).unwrap();
        let expected = std::env::current_dir().unwrap().join("kept clips");
        assert_eq!(options.storage, expected.to_str().unwrap());
        assert_eq!(with(&[("storage", "file:///srv")]).unwrap().storage, "file:///srv");
    }

    #[test]
    fn secrets_are_places_and_commands_are_words() {
        let options = with(&[
            ("webhook", "env:HOOK"),
            ("webhook-key", "file:/run/key"),
            ("exec", "notify --title 'a b' {name}"),
        ]);
        let notify = options.unwrap().notify;
        let webhook = notify.webhook.unwrap();
        assert_eq!(webhook.address, Address::Secret(SecretSource::Environment("HOOK".into())));
        assert_eq!(webhook.sign, Some(SecretSource::File("/run/key".into())));
        let exec = notify.exec.unwrap();
        assert_eq!(exec.program, PathBuf::from("notify"));
        assert_eq!(exec.args, ["--title", "a b", "{name}"], "nothing is filled into arguments");
    }

    #[test]
    fn triggers_are_kinds_of_events() {
        let triggers = ClipTriggers::default();
        assert!(triggers.want("known-face") && triggers.want("unknown-face"));
        assert!(!triggers.want("zone-enter") && !triggers.want("face-identity"));
        let all = ClipTriggers::all();
        for kind in
            ["face-disappeared", "identity-changed", "zone-enter", "zone-exit", "zone-dwell"]
        {
            assert!(all.want(kind), "{kind}");
        }
    }
}
