//! The properties.

use gst::glib;
use gst::prelude::*;

use face_core::outbox::Limits;
use face_core::publish::homeassistant;

/// Where what is told goes, unless it is said.
const DEFAULT_TARGET: &str = "stdout";

/// What is told.
#[glib::flags(name = "GstOnnxFacePublishEvents")]
pub enum PublishEvents {
    #[flags_value(name = "The faces of frames", nick = "frames")]
    FRAMES = 1,
    #[flags_value(name = "Who a track is taken for", nick = "identities")]
    IDENTITIES = 1 << 1,
    #[flags_value(name = "Alerts", nick = "alerts")]
    ALERTS = 1 << 2,
    #[flags_value(name = "Tracks that ended", nick = "tracks")]
    TRACKS = 1 << 3,
    #[flags_value(name = "Who enters and leaves zones, and stays", nick = "zones")]
    ZONES = 1 << 4,
}

/// How it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstOnnxFacePublishFormat")]
pub enum PublishFormat {
    #[default]
    #[enum_value(name = "face-frame/1, face-event/1 and face-track/1", nick = "face")]
    Face,
    #[enum_value(name = "Frames as gvametaconvert of DL Streamer writes them", nick = "dlstreamer")]
    Dlstreamer,
}

/// Version of MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstOnnxFaceMqttVersion")]
pub enum MqttVersionSetting {
    #[default]
    #[enum_value(name = "MQTT 3.1.1", nick = "3.1.1")]
    V311,
    #[enum_value(name = "MQTT 5", nick = "5")]
    V5,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) target: String,
    pub(super) format: PublishFormat,
    pub(super) events: PublishEvents,
    pub(super) notify: Option<String>,
    pub(super) rate: f32,
    pub(super) empty_frames: bool,
    pub(super) camera: Option<String>,
    pub(super) max_file_size: u64,
    pub(super) keep_files: u32,
    pub(super) spool: Option<String>,
    pub(super) spool_max_bytes: u64,
    pub(super) drain_ns: u64,
    pub(super) allow_unencrypted: bool,
    pub(super) ca_file: Option<String>,
    pub(super) mqtt_version: MqttVersionSetting,
    pub(super) client_id: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password_env: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) token_env: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) sign_env: Option<String>,
    pub(super) sign_file: Option<String>,
    pub(super) home_assistant: bool,
    pub(super) home_assistant_prefix: String,
    pub(super) leave_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            target: DEFAULT_TARGET.to_owned(),
            format: PublishFormat::default(),
            events: PublishEvents::all(),
            notify: None,
            rate: 0.0,
            empty_frames: false,
            camera: None,
            max_file_size: 0,
            keep_files: 5,
            spool: None,
            spool_max_bytes: Limits::default().max_bytes,
            drain_ns: 2_000_000_000,
            allow_unencrypted: false,
            ca_file: None,
            mqtt_version: MqttVersionSetting::default(),
            client_id: None,
            username: None,
            password_env: None,
            password_file: None,
            token_env: None,
            token_file: None,
            sign_env: None,
            sign_file: None,
            home_assistant: false,
            home_assistant_prefix: homeassistant::DEFAULT_PREFIX.to_owned(),
            leave_ns: 5_000_000_000,
        }
    }
}

impl Settings {
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        // GObject has checked type and range.
        match name {
            "target" => {
                let target: Option<String> = value.get().unwrap_or_default();
                self.target = target.unwrap_or_else(|| DEFAULT_TARGET.to_owned());
            }
            "home-assistant-prefix" => {
                let prefix: Option<String> = value.get().unwrap_or_default();
                let default = || homeassistant::DEFAULT_PREFIX.to_owned();
                self.home_assistant_prefix = prefix.unwrap_or_else(default);
            }
            "format" => assign(&mut self.format, value),
            "events" => assign(&mut self.events, value),
            "rate" => assign(&mut self.rate, value),
            "empty-frames" => assign(&mut self.empty_frames, value),
            "max-file-size" => assign(&mut self.max_file_size, value),
            "keep-files" => assign(&mut self.keep_files, value),
            "spool-max-bytes" => assign(&mut self.spool_max_bytes, value),
            "drain-time" => assign(&mut self.drain_ns, value),
            "allow-unencrypted" => assign(&mut self.allow_unencrypted, value),
            "mqtt-version" => assign(&mut self.mqtt_version, value),
            "home-assistant" => assign(&mut self.home_assistant, value),
            "leave-time" => assign(&mut self.leave_ns, value),
            name => {
                if let Some(text) = self.text(name) {
                    assign(text, value);
                }
            }
        }
    }

    pub(super) fn get(&mut self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "target" => self.target.to_value(),
            "home-assistant-prefix" => self.home_assistant_prefix.to_value(),
            "format" => self.format.to_value(),
            "events" => self.events.to_value(),
            "rate" => self.rate.to_value(),
            "empty-frames" => self.empty_frames.to_value(),
            "max-file-size" => self.max_file_size.to_value(),
            "keep-files" => self.keep_files.to_value(),
            "spool-max-bytes" => self.spool_max_bytes.to_value(),
            "drain-time" => self.drain_ns.to_value(),
            "allow-unencrypted" => self.allow_unencrypted.to_value(),
            "mqtt-version" => self.mqtt_version.to_value(),
            "home-assistant" => self.home_assistant.to_value(),
            "leave-time" => self.leave_ns.to_value(),
            name => self.text(name)?.to_value(),
        })
    }

    /// The texts that may be unset.
    fn text(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "notify" => &mut self.notify,
            "camera" => &mut self.camera,
            "spool" => &mut self.spool,
            "ca-file" => &mut self.ca_file,
            "client-id" => &mut self.client_id,
            "username" => &mut self.username,
            "password-env" => &mut self.password_env,
            "password-file" => &mut self.password_file,
            "token-env" => &mut self.token_env,
            "token-file" => &mut self.token_file,
            "sign-env" => &mut self.sign_env,
            "sign-file" => &mut self.sign_file,
            _ => return None,
        })
    }
}

fn assign<T: for<'a> glib::value::FromValue<'a>>(target: &mut T, value: &glib::Value) {
    if let Ok(value) = value.get() {
        *target = value;
    }
}

type Text = &'static str;

fn text(name: Text, nick: Text, blurb: Text) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).mutable_ready().build()
}

fn flag(name: Text, nick: Text, blurb: Text, value: bool) -> glib::ParamSpec {
    let builder = glib::ParamSpecBoolean::builder(name).nick(nick).blurb(blurb);
    builder.default_value(value).mutable_ready().build()
}

fn number(name: Text, nick: Text, blurb: Text, most: u64, value: u64) -> glib::ParamSpec {
    let builder = glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb);
    builder.maximum(most).default_value(value).mutable_ready().build()
}

/// All properties. None changes while the element runs: what is told has one form from start to end.
pub(super) fn properties() -> Vec<glib::ParamSpec> {
    let mut properties = what();
    properties.extend(where_to());
    properties.extend(of_brokers());
    properties.extend(secrets());
    properties.push(crate::stats::property());
    properties
}

fn what() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        glib::ParamSpecEnum::builder_with_default("format", default.format)
            .nick("Format")
            .blurb(
                "How it is written: our own format, or frames alone in the layout of gvametaconvert \
                 of DL Streamer",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecFlags::builder::<PublishEvents>("events")
            .nick("Events")
            .blurb("What is told; frames go to no webhook")
            .default_value(default.events)
            .mutable_ready()
            .build(),
        text(
            "notify",
            "Notify",
            "Which of the events are told: a JSON array of rules with action, events, persons and \
             zones, or the path of a file that holds one; the first rule that fits decides (unset = \
             all)",
        ),
        glib::ParamSpecFloat::builder("rate")
            .nick("Rate")
            .blurb("Tell of at most so many frames per second of the stream (0 = every frame)")
            .minimum(0.0)
            .maximum(1000.0)
            .default_value(default.rate)
            .mutable_ready()
            .build(),
        flag(
            "empty-frames",
            "Empty frames",
            "Tell of every frame without faces, too; else only of the first after one with faces",
            default.empty_frames,
        ),
        text(
            "camera",
            "Camera",
            "Name of the camera in messages and topics (unset = none; camera in topics)",
        ),
    ]
}

fn where_to() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        glib::ParamSpecString::builder("target")
            .nick("Target")
            .blurb(
                "Where it goes: stdout, a file (a path or file:///…), a broker \
                 (mqtt://HOST[:PORT]/PREFIX or mqtts://…), or a webhook (https://…, or \
                 webhook+env:NAME and webhook+file:PATH where its address is a secret)",
            )
            .default_value(Some(DEFAULT_TARGET))
            .mutable_ready()
            .build(),
        number(
            "max-file-size",
            "Max file size",
            "A file that would become larger than so many bytes is put aside (0 = never)",
            u64::MAX,
            default.max_file_size,
        ),
        glib::ParamSpecUInt::builder("keep-files")
            .nick("Keep files")
            .blurb("So many files that were put aside are kept")
            .maximum(10_000)
            .default_value(default.keep_files)
            .mutable_ready()
            .build(),
        text(
            "spool",
            "Spool",
            "Folder of the outbox in which events wait for a broker or a webhook (unset = \
             GST_FACE_SPOOL, else gst-face/spool in the folder for the user's state)",
        ),
        glib::ParamSpecUInt64::builder("spool-max-bytes")
            .nick("Bytes of the spool")
            .blurb(
                "Most bytes that wait in the spool. All elements of a process with the same spool \
                 must agree",
            )
            .minimum(1 << 20)
            .default_value(default.spool_max_bytes)
            .mutable_ready()
            .build(),
        number(
            "drain-time",
            "Drain time",
            "At the end wait so long for events to be delivered, in nanoseconds; what is left stays \
             in the spool",
            60_000_000_000,
            default.drain_ns,
        ),
        flag(
            "allow-unencrypted",
            "Allow unencrypted",
            "Talk to other machines without TLS: everybody on the way can read names and passwords",
            default.allow_unencrypted,
        ),
    ]
}

fn of_brokers() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        text(
            "ca-file",
            "CA file",
            "PEM file with the certificates of the authorities that a broker's certificate may be \
             signed by (unset = those of the system)",
        ),
        glib::ParamSpecEnum::builder_with_default("mqtt-version", default.mqtt_version)
            .nick("MQTT version")
            .blurb("Version of the protocol that the broker is spoken to with")
            .mutable_ready()
            .build(),
        text(
            "client-id",
            "Client id",
            "Id of this client at the broker, of which there is one at a time (unset = made of \
             machine, topics and camera)",
        ),
        flag(
            "home-assistant",
            "Home Assistant",
            "With an MQTT broker: announce the camera and each person who is seen to Home Assistant",
            default.home_assistant,
        ),
        glib::ParamSpecString::builder("home-assistant-prefix")
            .nick("Home Assistant prefix")
            .blurb("Beginning of the topics where Home Assistant looks for what is announced")
            .default_value(Some(homeassistant::DEFAULT_PREFIX))
            .mutable_ready()
            .build(),
        number(
            "leave-time",
            "Leave time",
            "With an MQTT broker: a person who is not seen for so long has left, in nanoseconds of \
             running time",
            3_600_000_000_000,
            default.leave_ns,
        ),
    ]
}

fn secrets() -> Vec<glib::ParamSpec> {
    vec![
        text("username", "User name", "User at the broker (unset = none)"),
        text(
            "password-env",
            "Password variable",
            "Environment variable that holds the password of username",
        ),
        text(
            "password-file",
            "Password file",
            "File that holds the password of username; it is read with every connection",
        ),
        text(
            "token-env",
            "Token variable",
            "Environment variable that holds a token for the webhook's header Authorization",
        ),
        text(
            "token-file",
            "Token file",
            "File that holds a token for the webhook's header Authorization",
        ),
        text(
            "sign-env",
            "Signing key variable",
            "Environment variable that holds the key that webhooks are signed with",
        ),
        text(
            "sign-file",
            "Signing key file",
            "File that holds the key that webhooks are signed with",
        ),
    ]
}
