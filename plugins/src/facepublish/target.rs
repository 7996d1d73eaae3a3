//! Where it goes: the properties, read and checked.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use face_core::mqtt::{Broker, MqttError, Version};
use face_core::outbox::{
    Address, Delivery, Limits, Message, OutboxError, SecretSource, Webhook, default_spool,
};
use face_core::publish::file::{LinesError, Rotation};
use face_core::publish::homeassistant::Discovery;
use face_core::publish::topic::{PrefixError, Topics, check_prefix};
use face_core::publish::{NotifyError, NotifyRules};

use super::settings::{MqttVersionSetting, PublishEvents, PublishFormat, Settings};
use super::stream::Choice;
use crate::runtime::with_causes;

/// Beginning of the topics of a broker whose address has none.
const DEFAULT_PREFIX: &str = "faces";
/// The camera in topics where none is named.
const NO_CAMERA: &str = "camera";

/// Why the element cannot start. The texts name the property.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("target '{target}' is none: use stdout, a path, mqtt://, mqtts:// or https://")]
    Target { target: String },
    #[error("target")]
    Broker(#[source] MqttError),
    #[error("target")]
    Prefix(#[source] PrefixError),
    #[error("home-assistant-prefix")]
    HomeAssistantPrefix(#[source] PrefixError),
    #[error("target '{shown}': {reason}")]
    Webhook { shown: String, reason: String },
    #[error("target")]
    File(#[source] LinesError),
    #[error("{property} is for {what} alone: leave it out, or name another target")]
    Misplaced { property: &'static str, what: &'static str },
    #[error("{a} and {b} are both set: one place of a secret is enough")]
    Both { a: &'static str, b: &'static str },
    #[error("with this format, target and events there is nothing to tell: see format and events")]
    Nothing,
    #[error("notify")]
    Notify(#[source] NotifyError),
    #[error("read notify '{path}': a JSON array in the property itself begins with [")]
    NotifyFile { path: String, source: std::io::Error },
    #[error("spool: no folder is named, and this user has none for state: name one")]
    NoSpool,
    #[error("spool '{}'", path.display())]
    Spool { path: PathBuf, source: OutboxError },
    #[error("cannot start the thread that tells what happened")]
    Thread(#[source] std::io::Error),
}

impl StartError {
    pub(super) fn message(&self) -> gst::ErrorMessage {
        let text = format!("start facepublish: {}", with_causes(self));
        match self {
            Self::NotifyFile { .. } => gst::error_msg!(gst::ResourceError::OpenRead, ("{text}")),
            Self::File(_) | Self::Spool { .. } => {
                gst::error_msg!(gst::ResourceError::OpenWrite, ("{text}"))
            }
            Self::Thread(_) => gst::error_msg!(gst::ResourceError::Failed, ("{text}")),
            _ => gst::error_msg!(gst::ResourceError::Settings, ("{text}")),
        }
    }
}

/// A broker, and what is told there.
#[derive(Clone, Debug)]
pub(super) struct BrokerTarget {
    pub(super) broker: Broker,
    pub(super) topics: Topics,
    /// `None`: Home Assistant is not to know.
    pub(super) discovery: Option<Discovery>,
}

#[derive(Debug)]
pub(super) enum Target {
    Stdout,
    File { path: PathBuf, rotation: Rotation },
    Broker(Box<BrokerTarget>),
    Webhook(Box<Webhook>),
}

/// All that the properties ask for of the target.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) format: PublishFormat,
    /// Of targets that have an outbox.
    pub(super) spool: PathBuf,
    pub(super) limits: Limits,
    /// Tells this target's entries of an event from those of others in the same outbox.
    pub(super) mark: String,
    pub(super) drain_ns: u64,
}

impl Plan {
    /// Also what of the stream is told there.
    pub(super) fn new(settings: &Settings) -> Result<(Self, Choice), StartError> {
        let target = target(settings)?;
        misplaced(settings, &target)?;
        let mut events = settings.events;
        if settings.format == PublishFormat::Dlstreamer {
            events &= PublishEvents::FRAMES;
        }
        if matches!(target, Target::Webhook(_)) {
            events -= PublishEvents::FRAMES;
        }
        if events.is_empty() {
            return Err(StartError::Nothing);
        }
        let spool = match (&target, &settings.spool) {
            (Target::Stdout | Target::File { .. }, _) => PathBuf::new(),
            (_, Some(spool)) => PathBuf::from(spool),
            (_, None) => default_spool().ok_or(StartError::NoSpool)?,
        };
        let people = matches!(target, Target::Broker(_)).then_some(settings.leave_ns);
        let choice = Choice {
            events,
            notify: notify(settings)?,
            rate: f64::from(settings.rate),
            empty_frames: settings.empty_frames,
            camera: settings.camera.clone(),
            people,
        };
        let mark = format!("{:016x}", hash(&settings.target));
        let (format, drain_ns) = (settings.format, settings.drain_ns);
        let limits = Limits { max_bytes: settings.spool_max_bytes, ..Limits::default() };
        Ok((Self { target, format, spool, limits, mark, drain_ns }, choice))
    }
}

fn notify(settings: &Settings) -> Result<NotifyRules, StartError> {
    let text = settings.notify.as_deref().unwrap_or_default();
    match text.trim_start().chars().next() {
        None | Some('[' | '{') => text.parse().map_err(StartError::Notify),
        Some(_) => {
            let read = std::fs::read_to_string(text);
            let read =
                read.map_err(|source| StartError::NotifyFile { path: text.into(), source })?;
            read.parse().map_err(StartError::Notify)
        }
    }
}

fn target(settings: &Settings) -> Result<Target, StartError> {
    let text = settings.target.as_str();
    let file = |path: &str| {
        let rotation = Rotation { max_bytes: settings.max_file_size, keep: settings.keep_files };
        Target::File { path: PathBuf::from(path), rotation }
    };
    let wrong = || StartError::Target { target: without_secrets(text) };
    match text.split_once(':') {
        _ if text == "stdout" || text == "-" => Ok(Target::Stdout),
        Some(("mqtt" | "mqtts", _)) => broker(settings),
        Some(("https" | "http", _)) => webhook(settings, Address::Plain(text.to_owned())),
        Some(("webhook+env", name)) if !name.is_empty() => {
            webhook(settings, Address::Secret(SecretSource::Environment(name.to_owned())))
        }
        Some(("webhook+file", path)) if !path.is_empty() => {
            webhook(settings, Address::Secret(SecretSource::File(PathBuf::from(path))))
        }
        Some(("file", path)) => match path.strip_prefix("//") {
            Some(path) if path.starts_with('/') && path.len() > 1 => Ok(file(path)),
            _ => Err(wrong()),
        },
        _ if text.is_empty() || text.contains("://") || text.contains('\0') => Err(wrong()),
        _ => Ok(file(text)),
    }
}

/// What is no target may be an address with a password in it.
fn without_secrets(text: &str) -> String {
    let shown = match text.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => text.to_owned(),
    };
    shown.split('?').next().unwrap_or_default().to_owned()
}

fn broker(settings: &Settings) -> Result<Target, StartError> {
    let camera = settings.camera.as_deref().unwrap_or(NO_CAMERA);
    let (broker, path) = Broker::parse(&settings.target, "").map_err(StartError::Broker)?;
    let prefix = if path.is_empty() { DEFAULT_PREFIX } else { path };
    let topics = Topics::new(prefix, camera).map_err(StartError::Prefix)?;
    let own = || format!("gst-face-{:012x}", hash(&(machine(), prefix, camera)) >> 16);
    let broker = Broker {
        version: match settings.mqtt_version {
            MqttVersionSetting::V311 => Version::V311,
            MqttVersionSetting::V5 => Version::V5,
        },
        client_id: settings.client_id.clone().unwrap_or_else(own),
        username: settings.username.clone(),
        password: secret(
            ("password-env", &settings.password_env),
            ("password-file", &settings.password_file),
        )?,
        ca_file: settings.ca_file.as_ref().map(PathBuf::from),
        allow_plain: settings.allow_unencrypted,
        ..broker
    };
    broker.check().map_err(StartError::Broker)?;
    let discovery = match settings.home_assistant {
        true => {
            let home = settings.home_assistant_prefix.as_str();
            check_prefix(home).map_err(StartError::HomeAssistantPrefix)?;
            Some(Discovery::new(home, prefix, camera, &topics))
        }
        false => None,
    };
    Ok(Target::Broker(Box::new(BrokerTarget { broker, topics, discovery })))
}

fn webhook(settings: &Settings, address: Address) -> Result<Target, StartError> {
    let message = Message::json(&()).map_err(|error| StartError::Webhook {
        shown: without_secrets(&settings.target),
        reason: error.to_string(),
    })?;
    let mut webhook = Webhook::new(address, message);
    webhook.allow_http = settings.allow_unencrypted;
    webhook.bearer =
        secret(("token-env", &settings.token_env), ("token-file", &settings.token_file))?;
    webhook.sign = secret(("sign-env", &settings.sign_env), ("sign-file", &settings.sign_file))?;
    let checked = Delivery::from(webhook.clone()).check();
    checked.map_err(|error| StartError::Webhook {
        shown: without_secrets(&settings.target),
        reason: with_causes(&error),
    })?;
    Ok(Target::Webhook(Box::new(webhook)))
}

type Named<'a> = (&'static str, &'a Option<String>);

fn secret(variable: Named, file: Named) -> Result<Option<SecretSource>, StartError> {
    Ok(match (variable.1, file.1) {
        (Some(_), Some(_)) => return Err(StartError::Both { a: variable.0, b: file.0 }),
        (Some(name), None) => Some(SecretSource::Environment(name.clone())),
        (None, Some(path)) => Some(SecretSource::File(PathBuf::from(path))),
        (None, None) => None,
    })
}

/// A setting that would do nothing is a mistake.
fn misplaced(settings: &Settings, target: &Target) -> Result<(), StartError> {
    let broker = matches!(target, Target::Broker(_));
    let webhook = matches!(target, Target::Webhook(_));
    let file = matches!(target, Target::File { .. });
    let (a_broker, a_webhook, a_file) = ("an MQTT broker", "a webhook", "a file");
    for (set, right, property, what) in [
        (settings.home_assistant, broker, "home-assistant", a_broker),
        (settings.client_id.is_some(), broker, "client-id", a_broker),
        (settings.username.is_some(), broker, "username", a_broker),
        (settings.password_env.is_some(), broker, "password-env", a_broker),
        (settings.password_file.is_some(), broker, "password-file", a_broker),
        (settings.ca_file.is_some(), broker, "ca-file", a_broker),
        (settings.token_env.is_some(), webhook, "token-env", a_webhook),
        (settings.token_file.is_some(), webhook, "token-file", a_webhook),
        (settings.sign_env.is_some(), webhook, "sign-env", a_webhook),
        (settings.sign_file.is_some(), webhook, "sign-file", a_webhook),
        (settings.max_file_size > 0, file, "max-file-size", a_file),
    ] {
        if set && !right {
            return Err(StartError::Misplaced { property, what });
        }
    }
    Ok(())
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What tells this machine from others: the same camera may be published by two of them. In a
/// container there may be no machine id, and on copied disks the same.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    read("/etc/machine-id") + &read("/proc/sys/kernel/hostname")
}
