//! The packets that a client sends which publishes and does not subscribe, and those that it gets.
//!
//! Numbers of sections are those of the OASIS standard MQTT 5.0; 3.1.1 differs by what is said there
//! to be new.

use super::Version;

/// The longest packet that is taken from a broker, bytes. One that only acknowledges needs less.
const LONGEST_RECEIVED: usize = 64 << 10;
/// The longest that the length of a packet can say (1.5.5).
const LONGEST_SENT: usize = 268_435_455;

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 4;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;

const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS_1: u8 = 0x08;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

const PAYLOAD_FORMAT: u8 = 0x01;
const CONTENT_TYPE: u8 = 0x03;
const SERVER_KEEP_ALIVE: u8 = 0x13;
const MAXIMUM_QOS: u8 = 0x24;
const RETAIN_AVAILABLE: u8 = 0x25;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;

pub(super) const PING: [u8; 2] = [0xc0, 0];
/// Reason 0, normal disconnection, need not be written in either version.
pub(super) const GOODBYE: [u8; 2] = [0xe0, 0];

/// Why a packet cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PacketError {
    #[error("a text in it is longer than 65535 bytes")]
    Text,
    #[error("it is longer than MQTT allows")]
    Length,
}

/// What the broker is to publish when this client is gone without a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Will<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a str,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Connect<'a> {
    pub(super) client_id: &'a str,
    /// Seconds.
    pub(super) keep_alive: u16,
    pub(super) will: Option<Will<'a>>,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a str>,
}

impl Connect<'_> {
    /// 3.1. Every session is a new one: a broker keeps nothing for a client that only publishes, and
    /// what was not acknowledged is in the outbox.
    pub(super) fn encode(&self, version: Version) -> Result<Vec<u8>, PacketError> {
        let mut body = Vec::new();
        text(&mut body, "MQTT")?;
        body.push(if version == Version::V5 { 5 } else { 4 });
        let mut flags = CLEAN_START;
        if self.will.is_some() {
            flags |= WILL | WILL_QOS_1 | WILL_RETAIN;
        }
        if self.username.is_some() {
            flags |= USER_NAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        body.push(flags);
        body.extend_from_slice(&self.keep_alive.to_be_bytes());
        let properties = |body: &mut Vec<u8>| {
            if version == Version::V5 {
                body.push(0);
            }
        };
        properties(&mut body);
        text(&mut body, self.client_id)?;
        if let Some(will) = self.will {
            properties(&mut body);
            text(&mut body, will.topic)?;
            text(&mut body, will.payload)?;
        }
        for credential in [self.username, self.password].into_iter().flatten() {
            text(&mut body, credential)?;
        }
        packet(CONNECT, &body)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Publish<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) content_type: &'a str,
    pub(super) retain: bool,
    /// Number of the packet; `None`: it is sent at most once, and not acknowledged.
    pub(super) id: Option<u16>,
}

impl Publish<'_> {
    /// 3.3.
    pub(super) fn encode(&self, version: Version) -> Result<Vec<u8>, PacketError> {
        let mut body = Vec::with_capacity(self.payload.len().saturating_add(128));
        text(&mut body, self.topic)?;
        if let Some(id) = self.id {
            body.extend_from_slice(&id.to_be_bytes());
        }
        if version == Version::V5 {
            let mut properties = vec![PAYLOAD_FORMAT, 1, CONTENT_TYPE];
            text(&mut properties, self.content_type)?;
            length(&mut body, properties.len())?;
            body.extend_from_slice(&properties);
        }
        body.extend_from_slice(self.payload);
        let qos = if self.id.is_some() { 0x02 } else { 0 };
        packet(PUBLISH | qos | u8::from(self.retain), &body)
    }
}

fn text(to: &mut Vec<u8>, text: &str) -> Result<(), PacketError> {
    let length = u16::try_from(text.len()).map_err(|_| PacketError::Text)?;
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Seven bits a byte, the lowest first (1.5.5).
fn length(to: &mut Vec<u8>, mut length: usize) -> Result<(), PacketError> {
    if length > LONGEST_SENT {
        return Err(PacketError::Length);
    }
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        to.push(if length > 0 { low | 0x80 } else { low & 0x7f });
        if length == 0 {
            return Ok(());
        }
    }
}

fn packet(first: u8, body: &[u8]) -> Result<Vec<u8>, PacketError> {
    let mut packet = vec![first];
    length(&mut packet, body.len())?;
    packet.extend_from_slice(body);
    Ok(packet)
}

/// What a broker says it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Acknowledged messages.
    pub(super) qos_1: bool,
    pub(super) retain: bool,
    /// Bytes of a packet.
    pub(super) packet: usize,
    /// Seconds, if not those that were asked for.
    pub(super) keep_alive: Option<u16>,
}

impl Default for Offer {
    fn default() -> Self {
        Self { qos_1: true, retain: true, packet: LONGEST_SENT + 5, keep_alive: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Accepted(Offer),
    /// With the reason.
    Refused(u8),
    Acknowledged {
        id: u16,
        reason: u8,
    },
    Pong,
    /// With the reason.
    Disconnected(u8),
    /// Nothing that concerns who only publishes.
    Other,
}

/// What came is no packet of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads the first packet in `bytes` and tells its length; `None`: there is more to come.
pub(super) fn decode(
    bytes: &[u8],
    version: Version,
) -> Result<Option<(Received, usize)>, Malformed> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((body, size)) = measured(rest)? else { return Ok(None) };
    if body > LONGEST_RECEIVED {
        return Err(Malformed);
    }
    let end = 1 + size + body;
    let Some(body) = bytes.get(1 + size..end) else { return Ok(None) };
    let mut fields = Fields(body);
    let v5 = version == Version::V5;
    let received = match first >> 4 {
        CONNACK => {
            fields.byte().ok_or(Malformed)?;
            match fields.byte().ok_or(Malformed)? {
                0 if v5 => Received::Accepted(fields.offer().ok_or(Malformed)?),
                0 => Received::Accepted(Offer::default()),
                reason => Received::Refused(reason),
            }
        }
        PUBACK => {
            let id = fields.short().ok_or(Malformed)?;
            // Left out if it is 0 (3.4.2.1).
            Received::Acknowledged { id, reason: fields.byte().unwrap_or(0) }
        }
        PINGRESP => Received::Pong,
        DISCONNECT => Received::Disconnected(fields.byte().unwrap_or(0)),
        _ => Received::Other,
    };
    Ok(Some((received, end)))
}

/// A length and how many bytes say it.
fn measured(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0_usize;
    for (i, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((length, i + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Malformed) }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn long(&mut self) -> Option<u32> {
        Some((u32::from(self.short()?) << 16) | u32::from(self.short()?))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    fn skip_text(&mut self) -> Option<()> {
        let length = self.short()?;
        self.skip(usize::from(length))
    }

    /// The properties of a CONNACK (3.2.2.3).
    fn offer(&mut self) -> Option<Offer> {
        let (length, size) = measured(self.0).ok()??;
        self.skip(size)?;
        let mut properties = Fields(self.0.get(..length)?);
        let mut offer = Offer::default();
        while let Some(property) = properties.byte() {
            match property {
                SERVER_KEEP_ALIVE => offer.keep_alive = Some(properties.short()?),
                MAXIMUM_QOS => offer.qos_1 = properties.byte()? > 0,
                RETAIN_AVAILABLE => offer.retain = properties.byte()? > 0,
                MAXIMUM_PACKET_SIZE => {
                    offer.packet = usize::try_from(properties.long()?).unwrap_or(usize::MAX);
                }
                // Wildcards, identifiers of subscriptions, shared ones.
                0x28..=0x2a => properties.skip(1)?,
                // Receive maximum, maximum of topic aliases.
                0x21 | 0x22 => properties.skip(2)?,
                // Session expiry.
                0x11 => properties.skip(4)?,
                // Assigned client id, authentication, response information, reference, reason.
                0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => properties.skip_text()?,
                // User property.
                0x26 => {
                    properties.skip_text()?;
                    properties.skip_text()?;
                }
                _ => return None,
            }
        }
        Some(offer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_is_what_the_standard_shows() {
        let connect = Connect {
            client_id: "c",
            keep_alive: 30,
            will: Some(Will { topic: "t", payload: "no" }),
            username: Some("u"),
            password: Some("pw"),
        };
        let v311 = connect.encode(Version::V311).unwrap();
        assert_eq!(v311, b"\x10\x1b\0\x04MQTT\x04\xee\0\x1e\0\x01c\0\x01t\0\x02no\0\x01u\0\x02pw");
        let v5 = connect.encode(Version::V5).unwrap();
        assert_eq!(
            v5,
            b"\x10\x1d\0\x04MQTT\x05\xee\0\x1e\0\0\x01c\0\0\x01t\0\x02no\0\x01u\0\x02pw"
        );
        let least = Connect { will: None, username: None, password: None, ..connect };
        assert_eq!(least.encode(Version::V311).unwrap()[9], CLEAN_START);
    }

    #[test]
    fn publish_is_what_the_standard_shows() {
        let publish = Publish {
            topic: "a/b",
            payload: b"hi",
            content_type: "x",
            retain: true,
            id: Some(0x0102),
        };
        assert_eq!(publish.encode(Version::V311).unwrap(), b"\x33\x09\0\x03a/b\x01\x02hi");
        let v5 = publish.encode(Version::V5).unwrap();
        assert_eq!(v5, b"\x33\x10\0\x03a/b\x01\x02\x06\x01\x01\x03\0\x01xhi");
        let once = Publish { id: None, retain: false, ..publish };
        assert_eq!(once.encode(Version::V311).unwrap(), b"\x30\x07\0\x03a/bhi");
        let long = "x".repeat(65_536);
        let long = Publish { topic: &long, ..publish };
        assert_eq!(long.encode(Version::V5), Err(PacketError::Text));
    }

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for (number, bytes) in [
            (0, &[0_u8][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (16_383, &[0xff, 0x7f]),
            (LONGEST_SENT, &[0xff, 0xff, 0xff, 0x7f]),
        ] {
            let mut written = Vec::new();
            length(&mut written, number).unwrap();
            assert_eq!(written, bytes);
            assert_eq!(measured(bytes), Ok(Some((number, bytes.len()))));
        }
        assert_eq!(length(&mut Vec::new(), LONGEST_SENT + 1), Err(PacketError::Length));
        assert_eq!(measured(&[0x80; 3]), Ok(None));
        assert_eq!(measured(&[0x80; 4]), Err(Malformed));
    }

    #[test]
    fn answers_are_read_in_pieces_and_one_after_the_other() {
        let (old, new) = (Version::V311, Version::V5);
        let all = b"\x20\x02\0\0\x40\x02\x01\x02\xd0\0";
        assert_eq!(decode(all, old), Ok(Some((Received::Accepted(Offer::default()), 4))));
        let ack = Received::Acknowledged { id: 0x0102, reason: 0 };
        assert_eq!(decode(&all[4..], old), Ok(Some((ack, 4))));
        assert_eq!(decode(&all[8..], old), Ok(Some((Received::Pong, 2))));
        for end in 0..4 {
            assert_eq!(decode(&all[..end], old), Ok(None));
        }
        assert_eq!(decode(b"\x20\x02\0\x05", old), Ok(Some((Received::Refused(5), 4))));
        let offer = b"\x20\x12\0\0\x0f\x24\0\x25\0\x27\0\0\x01\0\x13\0\x0a\x1f\0\0";
        let wanted = Offer { qos_1: false, retain: false, packet: 256, keep_alive: Some(10) };
        assert_eq!(decode(offer, new), Ok(Some((Received::Accepted(wanted), 20))));
        let refused = Received::Acknowledged { id: 1, reason: 0x87 };
        assert_eq!(decode(b"\x40\x03\0\x01\x87", new), Ok(Some((refused, 5))));
        let gone = Received::Disconnected(0x8e);
        assert_eq!(decode(b"\xe0\x01\x8e", new), Ok(Some((gone, 3))));
    }

    #[test]
    fn what_is_no_packet_is_refused_and_nothing_panics() {
        for bytes in [
            &b"\x20\x01\0"[..],
            b"\x40\x01\0",
            // Longer than any answer, before it is read.
            b"\x30\xff\xff\xff\x7f",
            b"\x20\xff\xff\xff\xff\x01",
            // A property that there is not, and one that is cut off.
            b"\x20\x05\0\0\x02\x7e\0",
            b"\x20\x05\0\0\x02\x27\0",
            b"\x20\x03\0\0\x09",
        ] {
            assert_eq!(decode(bytes, Version::V5), Err(Malformed), "{bytes:?}");
        }
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let bytes = [first, 4, second, second, first, second];
                for version in [Version::V311, Version::V5] {
                    let _ = decode(&bytes, version);
                }
            }
        }
    }
}
