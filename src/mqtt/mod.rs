//! Publishing at an MQTT broker, version 3.1.1 or 5, over TCP or TLS.
//!
//! A [`Link`] is a connection that is kept: it connects again by itself, says `online` and `offline`
//! on a topic ([`Presence`]), sends what is retained whenever it comes back, and drops frames, the
//! oldest first, while the broker is away. What has to arrive goes through the
//! [outbox](crate::outbox) (kind `mqtt`), which uses the same connection.
//!
//! The protocol is written here: of it, who publishes and does not subscribe needs six packets. The
//! library for it, `rumqttc`, asks for a second version of the certificate checks and for
//! `rustls-pemfile`, which nobody maintains any more.

mod link;
mod packet;
mod reason;
mod session;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use link::{Failure, Outgoing};
pub use link::{Link, LinkCallback, LinkNotice, LinkStats, Presence, Present};

use crate::outbox::SecretSource;

/// Longest client id, bytes. What 3.1.1 promises is 23, what brokers take is more.
const LONGEST_CLIENT_ID: usize = 256;
/// Longest name of a topic, bytes.
const LONGEST_TOPIC: usize = 65_535;

/// Version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Version {
    #[default]
    #[serde(rename = "3.1.1")]
    V311,
    #[serde(rename = "5")]
    V5,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

/// Why nothing can be published there. No text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    #[error("'{address}' is no address of a broker: {reason}")]
    Address { address: String, reason: String },
    #[error("'{client_id}' cannot be a client id: {reason}")]
    ClientId { client_id: String, reason: &'static str },
    #[error(
        "'{address}' is not encrypted, so that everybody on the way can read names and passwords: \
         use mqtts, or allow it explicitly (allow-unencrypted)"
    )]
    Plain { address: String },
    #[error("a password for '{address}' needs a user name")]
    User { address: String },
    #[error("cannot use TLS for '{address}': {reason}")]
    Tls { address: String, reason: String },
    #[error(
        "the client id '{client_id}' says on '{other}' at '{address}' already whether it is there: \
         give each camera a client id of its own"
    )]
    Presence { client_id: String, other: String, address: String },
    #[error("'{topic}' cannot be a topic: {reason}")]
    Topic { topic: String, reason: &'static str },
    #[error("cannot start the thread that talks to '{address}'")]
    Thread { address: String, source: std::io::Error },
}

/// A broker, and who we are there. Equal ones share a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Broker {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    /// Encrypted, with the certificate checked.
    pub tls: bool,
    #[serde(default)]
    pub version: Version,
    /// Of this client alone: a broker ends the older of two connections with the same.
    pub client_id: String,
    #[serde(default)]
    pub username: Option<String>,
    /// Looked up with every connection.
    #[serde(default)]
    pub password: Option<SecretSource>,
    /// PEM file with the certificates to trust; `None`: those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Talk to another machine without TLS.
    #[serde(default)]
    pub allow_plain: bool,
}

impl Broker {
    /// Reads `mqtt://HOST[:PORT][/PATH]` or `mqtts://…` and gives the path back, without the `/`.
    /// Ports are 1883 and 8883 unless named.
    ///
    /// # Errors
    /// [`MqttError::Address`], without what may be secret in it.
    pub fn parse<'a>(address: &'a str, client_id: &str) -> Result<(Self, &'a str), MqttError> {
        let wrong = |shown: &str, reason: &str| MqttError::Address {
            address: shown.to_owned(),
            reason: reason.to_owned(),
        };
        let (tls, rest) = match address.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => {
                return Err(wrong(&hidden(address), "it begins with neither mqtt:// nor mqtts://"));
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            let reason =
                "credentials do not belong into it: name the username, and where the password is";
            return Err(wrong(&hidden(address), reason));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))),
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, Some("")),
            },
        };
        let letter =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(letter) {
            return Err(wrong(address, "it has no host"));
        }
        let port = match port {
            Some("") => Some(if tls { 8883 } else { 1883 }),
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => None,
        };
        let port = port.ok_or_else(|| wrong(address, "its port is no number from 1 to 65535"))?;
        let broker = Self {
            host: host.to_owned(),
            port,
            tls,
            version: Version::default(),
            client_id: client_id.to_owned(),
            username: None,
            password: None,
            ca_file: None,
            allow_plain: false,
        };
        Ok((broker, path))
    }

    /// As it is shown to people.
    pub fn shown(&self) -> String {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        let host = &self.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{scheme}://{host}:{}", self.port)
    }

    /// Can it be used at all?
    ///
    /// # Errors
    /// [`MqttError`], with what is wrong.
    pub fn check(&self) -> Result<(), MqttError> {
        let id = &self.client_id;
        let wrong = |reason| Err(MqttError::ClientId { client_id: id.clone(), reason });
        if id.is_empty() || id.len() > LONGEST_CLIENT_ID {
            return wrong("it has 1 to 256 bytes");
        }
        if id.chars().any(char::is_control) {
            return wrong("it holds a control character");
        }
        if self.host.is_empty() || self.port == 0 {
            let reason = "it has no host or no port".to_owned();
            return Err(MqttError::Address { address: self.shown(), reason });
        }
        if !self.tls && !self.allow_plain && !self.is_local() {
            return Err(MqttError::Plain { address: self.shown() });
        }
        // 3.1.1 cannot say it.
        if self.password.is_some() && self.username.is_none() {
            return Err(MqttError::User { address: self.shown() });
        }
        Ok(())
    }

    fn is_local(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

/// The address without what may be a password.
fn hidden(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => address.to_owned(),
    }
}

/// Can something be published there?
///
/// # Errors
/// [`MqttError::Topic`], with the reason.
pub fn check_topic(topic: &str) -> Result<(), MqttError> {
    let reason = if topic.is_empty() {
        "it is empty"
    } else if topic.len() > LONGEST_TOPIC {
        "it is longer than 65535 bytes"
    } else if topic.contains(['+', '#']) {
        "+ and # are for who subscribes"
    } else if topic.chars().any(char::is_control) {
        "it holds a control character"
    } else if topic.starts_with('$') {
        "what begins with $ is the broker's own"
    } else {
        return Ok(());
    };
    Err(MqttError::Topic { topic: topic.escape_debug().take(200).collect(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (address, shown, path) in [
            ("mqtt://broker", "mqtt://broker:1883", ""),
            ("mqtts://broker/", "mqtts://broker:8883", ""),
            ("mqtt://10.0.0.7:2000/a/b", "mqtt://10.0.0.7:2000", "a/b"),
            ("mqtts://[::1]:1/x", "mqtts://[::1]:1", "x"),
            ("mqtt://[fe80::1%eth0]", "mqtt://[fe80::1%eth0]:1883", ""),
        ] {
            let (broker, rest) = Broker::parse(address, "me").unwrap();
            assert_eq!((broker.shown().as_str(), rest), (shown, path), "{address}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_without_its_secret() {
        for address in [
            "",
            "broker",
            "http://broker",
            "mqtt://",
            "mqtt:///x",
            "mqtt://a b/",
            "mqtt://h:0",
            "mqtt://h:99999",
            "mqtt://h:1:2",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://me:hunter2@broker/x",
            "tcp://me:hunter2@broker/x",
        ] {
            let error = Broker::parse(address, "me").unwrap_err().to_string();
            assert!(error.contains("no address of a broker"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn plain_connections_stay_on_the_machine_unless_allowed() {
        for (address, fine) in [
            ("mqtt://127.0.0.1", true),
            ("mqtt://localhost", true),
            ("mqtt://[::1]", true),
            ("mqtt://192.168.0.2", false),
            ("mqtts://192.168.0.2", true),
        ] {
            let (mut broker, _) = Broker::parse(address, "me").unwrap();
            assert_eq!(broker.check().is_ok(), fine, "{address}");
            broker.allow_plain = true;
            assert!(broker.check().is_ok(), "{address}");
        }
        let (mut broker, _) = Broker::parse("mqtt://localhost", "").unwrap();
        assert!(matches!(broker.check(), Err(MqttError::ClientId { .. })));
        broker.client_id = "me".into();
        broker.password = Some(SecretSource::Environment("X".into()));
        assert!(broker.check().unwrap_err().to_string().contains("user name"));
    }

    #[test]
    fn topics_that_a_broker_would_end_the_connection_for_are_refused() {
        for topic in ["", "a/+/b", "a#", "a\0b", "a\nb", "$SYS/x"] {
            assert!(check_topic(topic).is_err(), "{topic:?}");
        }
        assert!(check_topic(&"x".repeat(65_536)).is_err());
        assert!(check_topic("faces/Tür 1/ä").is_ok());
    }
}
