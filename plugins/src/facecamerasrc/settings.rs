//! The properties.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use face_core::outbox::SecretSource;
use gst::glib;
use gst::prelude::*;

use super::address::{self, Address, AddressError, Kind, Login};

/// How the media of an RTSP camera travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstOnnxFaceCameraProtocols")]
pub enum CameraProtocols {
    #[default]
    #[enum_value(name = "TCP, in the connection of the commands: nothing is lost", nick = "tcp")]
    Tcp,
    #[enum_value(name = "UDP", nick = "udp")]
    Udp,
    #[enum_value(name = "UDP, and TCP if nothing comes", nick = "auto")]
    Auto,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) uri: String,
    pub(super) protocols: CameraProtocols,
    pub(super) latency_ms: u32,
    pub(super) username: Option<String>,
    pub(super) password_env: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) tls_verify: bool,
    pub(super) audio: bool,
    pub(super) loops: bool,
    pub(super) stall_timeout_ns: u64,
    pub(super) max_retry_interval_ns: u64,
    pub(super) max_retries: i32,
}

/// Without the address, which may have a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            uri: String::new(),
            protocols: CameraProtocols::default(),
            latency_ms: 200,
            username: None,
            password_env: None,
            password_file: None,
            tls_verify: true,
            audio: false,
            loops: false,
            stall_timeout_ns: 5_000_000_000,
            max_retry_interval_ns: 1_000_000_000,
            max_retries: -1,
        }
    }
}

/// Why the element cannot start. The texts name the property.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("password-env and password-file are both set: one place of a secret is enough")]
    TwoPlaces,
    #[error("uri has a user, and username is set: one of them is enough")]
    TwoUsers,
    #[error("{0} is set without username")]
    NoUser(&'static str),
    #[error("{0} is for rtsp:// cameras: leave it out, or put it into the uri")]
    NotRtsp(&'static str),
    #[error("username: {0}")]
    Secret(String),
    #[error("element '{name}' is missing: install {package}")]
    Missing { name: &'static str, package: &'static str },
    #[error("cannot start the thread of the camera")]
    Thread(#[source] std::io::Error),
}

impl StartError {
    pub(super) fn message(&self) -> gst::ErrorMessage {
        let text = format!("start facecamerasrc: {}", crate::runtime::with_causes(self));
        match self {
            Self::Address(AddressError::File { .. }) => {
                gst::error_msg!(gst::ResourceError::NotFound, ("{text}"))
            }
            Self::Missing { .. } => gst::error_msg!(gst::CoreError::MissingPlugin, ("{text}")),
            Self::Thread(_) => gst::error_msg!(gst::ResourceError::Failed, ("{text}")),
            _ => gst::error_msg!(gst::ResourceError::Settings, ("{text}")),
        }
    }
}

/// Who asks a camera, where that does not stand in the address.
#[derive(Clone, Debug)]
struct User {
    name: String,
    password: Option<SecretSource>,
}

/// All that the properties say, checked.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) address: Address,
    user: Option<User>,
    pub(super) protocols: CameraProtocols,
    pub(super) latency_ms: u32,
    pub(super) tls_verify: bool,
    pub(super) audio: bool,
    pub(super) loops: bool,
    /// `None`: a camera may be silent for as long as it likes.
    pub(super) stall: Option<Duration>,
    pub(super) longest_wait: Duration,
    /// `None`: for ever.
    pub(super) retries: Option<u32>,
}

impl Plan {
    pub(super) fn new(settings: &Settings) -> Result<Self, StartError> {
        let address = Address::parse(&settings.uri)?;
        let password = match (&settings.password_env, &settings.password_file) {
            (Some(_), Some(_)) => return Err(StartError::TwoPlaces),
            (Some(name), None) => Some(SecretSource::Environment(name.clone())),
            (None, Some(path)) => Some(SecretSource::File(PathBuf::from(path))),
            (None, None) => None,
        };
        let named = match (&settings.password_env, &settings.password_file) {
            (Some(_), _) => Some("password-env"),
            (_, Some(_)) => Some("password-file"),
            _ => settings.username.as_ref().map(|_| "username"),
        };
        if let Some(named) = named {
            if address.kind != Kind::Rtsp {
                return Err(StartError::NotRtsp(named));
            }
            if settings.username.is_none() {
                return Err(StartError::NoUser(named));
            }
            if address.login.is_some() {
                return Err(StartError::TwoUsers);
            }
        }
        let user = settings.username.clone().map(|name| User { name, password });
        let stall = settings.stall_timeout_ns;
        let plan = Self {
            address,
            user,
            protocols: settings.protocols,
            latency_ms: settings.latency_ms,
            tls_verify: settings.tls_verify,
            audio: settings.audio,
            loops: settings.loops,
            stall: (stall > 0).then(|| Duration::from_nanos(stall)),
            longest_wait: Duration::from_nanos(settings.max_retry_interval_ns),
            retries: u32::try_from(settings.max_retries).ok(),
        };
        plan.login().map_err(StartError::Secret)?;
        plan.check_elements()?;
        Ok(plan)
    }

    /// User and password, looked up now: a file may hold a new one.
    pub(super) fn login(&self) -> Result<Option<Login>, String> {
        let Some(user) = &self.user else { return Ok(self.address.login.clone()) };
        let password = user.password.as_ref().map(SecretSource::read).transpose()?;
        Ok(Some(Login { user: user.name.clone(), password: password.unwrap_or_default() }))
    }

    fn check_elements(&self) -> Result<(), StartError> {
        let (good, bad) = ("gstreamer1.0-plugins-good", "gstreamer1.0-plugins-bad");
        let needed: &[(&str, &str)] = match self.address.kind {
            Kind::Rtsp => &[("rtspsrc", good), ("rtph264depay", good), ("h264parse", bad)],
            Kind::Device(_) => &[("v4l2src", good)],
            Kind::Other => &[("urisourcebin", "gstreamer1.0-plugins-base")],
        };
        match needed.iter().find(|(name, _)| gst::ElementFactory::find(name).is_none()) {
            Some(&(name, package)) => Err(StartError::Missing { name, package }),
            None => Ok(()),
        }
    }
}

impl Settings {
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        // GObject has checked type and range.
        match name {
            "uri" => {
                let uri: Option<String> = value.get().unwrap_or_default();
                self.uri = uri.unwrap_or_default();
            }
            "protocols" => assign(&mut self.protocols, value),
            "latency" => assign(&mut self.latency_ms, value),
            "username" => assign(&mut self.username, value),
            "password-env" => assign(&mut self.password_env, value),
            "password-file" => assign(&mut self.password_file, value),
            "tls-verify" => assign(&mut self.tls_verify, value),
            "audio" => assign(&mut self.audio, value),
            "loop" => assign(&mut self.loops, value),
            "stall-timeout" => assign(&mut self.stall_timeout_ns, value),
            "max-retry-interval" => assign(&mut self.max_retry_interval_ns, value),
            "max-retries" => assign(&mut self.max_retries, value),
            _ => {}
        }
    }

    /// The address is given back without its password.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "uri" => (!self.uri.is_empty()).then(|| address::shown(&self.uri)).to_value(),
            "protocols" => self.protocols.to_value(),
            "latency" => self.latency_ms.to_value(),
            "username" => self.username.to_value(),
            "password-env" => self.password_env.to_value(),
            "password-file" => self.password_file.to_value(),
            "tls-verify" => self.tls_verify.to_value(),
            "audio" => self.audio.to_value(),
            "loop" => self.loops.to_value(),
            "stall-timeout" => self.stall_timeout_ns.to_value(),
            "max-retry-interval" => self.max_retry_interval_ns.to_value(),
            "max-retries" => self.max_retries.to_value(),
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

fn time(name: Text, nick: Text, blurb: Text, range: (u64, u64), value: u64) -> glib::ParamSpec {
    let builder = glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb);
    builder.minimum(range.0).maximum(range.1).default_value(value).mutable_ready().build()
}

/// All properties. None changes while the element runs.
pub(super) fn properties() -> Vec<glib::ParamSpec> {
    let mut properties = what();
    properties.extend(who());
    properties.extend(when());
    properties.push(
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "state (string: stopped, connecting, connected, lost or failed), reason of the last \
                 loss (string, absent before one), attempt (uint, see the message), and counts \
                 since start: connections, losses, buffers, bytes, dropped (for which there was no \
                 room) and audio-buffers (uint64 each)",
            )
            .read_only()
            .build(),
    );
    properties
}

fn what() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        text(
            "uri",
            "URI",
            "Camera: rtsp://HOST/PATH or rtsps://, a device (/dev/video0), a file, or any address \
             that GStreamer reads. A user and a password in it are used, and shown nowhere",
        ),
        glib::ParamSpecEnum::builder_with_default("protocols", default.protocols)
            .nick("Protocols")
            .blurb("How the media of an RTSP camera travels")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("latency")
            .nick("Latency")
            .blurb(
                "How long packets of an RTSP camera may be late, in milliseconds; all pictures are \
                 shown so much later",
            )
            .maximum(60_000)
            .default_value(default.latency_ms)
            .mutable_ready()
            .build(),
        flag(
            "audio",
            "Audio",
            "Take the sound, too; it has the pad audio, which comes with the first of it",
            default.audio,
        ),
        flag("loop", "Loop", "Begin a file again at its end", default.loops),
    ]
}

fn who() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        text("username", "User name", "User at an RTSP camera (unset = what the uri says)"),
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
        flag(
            "tls-verify",
            "TLS verify",
            "Take no certificate of an rtsps:// camera that nobody vouches for",
            default.tls_verify,
        ),
    ]
}

fn when() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        time(
            "stall-timeout",
            "Stall timeout",
            "A camera that sends no picture for so long, in nanoseconds, is connected to again; the \
             first picture may take twice as long, and 10 s at least (0 = never)",
            (0, 3_600_000_000_000),
            default.stall_timeout_ns,
        ),
        time(
            "max-retry-interval",
            "Max retry interval",
            "Longest wait between two tries, in nanoseconds; they begin after 200 ms and double. \
             After a wrong password it is 30 s at least",
            (50_000_000, 3_600_000_000_000),
            default.max_retry_interval_ns,
        ),
        glib::ParamSpecInt::builder("max-retries")
            .nick("Max retries")
            .blurb(
                "So many tries in a row may fail before that is an error of the pipeline (-1 = for \
                 ever, 0 = none: what the camera ends, ends here, too)",
            )
            .minimum(-1)
            .default_value(default.max_retries)
            .mutable_ready()
            .build(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        gst::init().unwrap();
        let mut settings = Settings { uri: "rtsp://127.0.0.1/x".to_owned(), ..Settings::default() };
        change(&mut settings);
        Plan::new(&settings).unwrap_err().message().to_string()
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_by_name() {
        let some = |text: &str| Some(text.to_owned());
        let both = refused(|s| {
            (s.username, s.password_env, s.password_file) = (some("a"), some("P"), some("p"));
        });
        assert!(both.contains("password-env and password-file"), "{both}");
        let user = refused(|s| s.password_env = some("P"));
        assert!(user.contains("password-env is set without username"), "{user}");
        let two = refused(|s| (s.uri, s.username) = ("rtsp://a:geheim@h/".into(), some("b")));
        assert!(two.contains("uri has a user") && !two.contains("geheim"), "{two}");
        let device = refused(|s| (s.uri, s.username) = ("/dev/video0".into(), some("b")));
        assert!(device.contains("username is for rtsp"), "{device}");
        let gone = refused(|s| {
            (s.username, s.password_env) = (some("a"), some("GST_FACE_NO_SUCH_SECRET"));
        });
        assert!(gone.contains("'GST_FACE_NO_SUCH_SECRET'"), "{gone}");
    }

    #[test]
    fn password_of_a_file_is_read_with_every_connection() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "one\n").unwrap();
        let settings = Settings {
            uri: "rtsp://127.0.0.1/x".to_owned(),
            username: Some("ada".to_owned()),
            password_file: path.to_str().map(str::to_owned),
            ..Settings::default()
        };
        let plan = Plan::new(&settings).unwrap();
        assert_eq!(plan.login().unwrap().unwrap().password, "one");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(plan.login().unwrap().unwrap().password, "two");
    }
}
