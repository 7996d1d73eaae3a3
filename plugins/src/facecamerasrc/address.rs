//! Which camera: `uri` taken apart, and its user and password kept where nobody sees them.

use std::fmt;
use std::path::Path;

use gst::glib;

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// rtspsrc.
    Rtsp,
    /// v4l2src, by its device.
    Device(String),
    /// Anything else that GStreamer has a source for; it is played in its own time.
    Other,
}

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

/// A camera. What is printed of it has no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) kind: Kind,
    /// Without user and password.
    pub(super) uri: String,
    /// What stood in the address.
    pub(super) login: Option<Login>,
}

/// Why a uri is no camera.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    #[error("uri is not set: name a camera (rtsp://HOST/PATH, /dev/video0) or a file")]
    Missing,
    #[error(
        "uri '{shown}': nothing here reads {scheme}://; use rtsp://, rtsps://, /dev/video0 or a file"
    )]
    Scheme { shown: String, scheme: String },
    #[error("uri '{shown}' names no host")]
    Host { shown: String },
    #[error("uri '{path}': there is no such file")]
    File { path: String },
    #[error("uri '{path}' is no path: {reason}")]
    Path { path: String, reason: String },
}

impl Address {
    /// GStreamer must have been started: it knows which schemes can be read.
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(AddressError::Missing);
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Self::path(text) };
        let scheme = scheme.to_ascii_lowercase();
        let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, host) = match host.rsplit_once('@') {
            Some((login, host)) => (Some(Login::parse(login)), host),
            None => (None, host),
        };
        let uri = format!("{scheme}://{host}{path}");
        let kind = match scheme.as_str() {
            "rtsp" | "rtsps" if host.is_empty() => {
                return Err(AddressError::Host { shown: shown(text) });
            }
            "rtsp" | "rtsps" => Kind::Rtsp,
            "v4l2" => Kind::Device(path.to_owned()),
            "file" => return Self::file(&uri),
            // Other sources take user and password from the address alone.
            _ if gst::Element::make_from_uri(gst::URIType::Src, text, None).is_ok() => {
                return Ok(Self { kind: Kind::Other, uri: text.to_owned(), login: None });
            }
            _ => return Err(AddressError::Scheme { shown: shown(text), scheme }),
        };
        Ok(Self { kind, uri, login })
    }

    fn path(text: &str) -> Result<Self, AddressError> {
        if text.starts_with("/dev/") {
            let uri = format!("v4l2://{text}");
            return Ok(Self { kind: Kind::Device(text.to_owned()), uri, login: None });
        }
        if !Path::new(text).is_file() {
            return Err(AddressError::File { path: text.to_owned() });
        }
        let fail = |e: glib::Error| AddressError::Path {
            path: text.to_owned(),
            reason: e.message().to_owned(),
        };
        let uri = glib::filename_to_uri(std::path::absolute(text).unwrap_or_default(), None);
        Ok(Self { kind: Kind::Other, uri: uri.map_err(fail)?.to_string(), login: None })
    }

    fn file(uri: &str) -> Result<Self, AddressError> {
        let fail = |e: glib::Error| AddressError::Path {
            path: uri.to_owned(),
            reason: e.message().to_owned(),
        };
        let (path, _) = glib::filename_from_uri(uri).map_err(fail)?;
        if !path.is_file() {
            return Err(AddressError::File { path: path.display().to_string() });
        }
        Ok(Self { kind: Kind::Other, uri: uri.to_owned(), login: None })
    }

    /// As messages, logs and the property name it.
    pub(super) fn shown(&self) -> String {
        shown(&self.uri)
    }
}

impl Login {
    /// `USER:PASSWORD`, with % escapes.
    fn parse(text: &str) -> Self {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Self { user: unescaped(user), password: unescaped(password) }
    }
}

/// Text with its % escapes (RFC 3986, 2.1) resolved; as it is, if one of them is none.
fn unescaped(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                let byte = digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low);
                let Some(byte) = byte.and_then(|byte| u8::try_from(byte).ok()) else {
                    return text.to_owned();
                };
                bytes.push(byte);
                tail
            }
            (b'%', _) => return text.to_owned(),
            (byte, tail) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// An address with *** for its user and password.
pub(super) fn shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        gst::init().unwrap();
        Address::parse(text)
    }

    #[test]
    fn user_and_password_leave_the_address() {
        let address = parse("RTSP://ad%40a:p@ss:w%3Ard@cam:8554/s?a=b@c").unwrap();
        let login = Login { user: "ad@a".into(), password: "p@ss:w:rd".into() };
        assert_eq!((address.kind.clone(), address.login.clone()), (Kind::Rtsp, Some(login)));
        assert_eq!(address.uri, "rtsp://cam:8554/s?a=b@c");
        assert!(!format!("{address:?}").contains("p@ss"));
        assert_eq!(shown("http://ada:secret@cam/x"), "http://***@cam/x");
        assert_eq!(parse("rtsps://cam/").unwrap().login, None);
        for text in ["50%", "%zz", "%+1x", "%ff"] {
            assert_eq!(unescaped(text), text);
        }
    }

    #[test]
    fn devices_and_files_are_told_apart() {
        let device = || Kind::Device("/dev/video2".to_owned());
        assert_eq!(parse("/dev/video2").unwrap().kind, device());
        assert_eq!(parse("v4l2:///dev/video2").unwrap().kind, device());
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("a clip.mp4");
        std::fs::write(&clip, "x").unwrap();
        let address = parse(clip.to_str().unwrap()).unwrap();
        assert_eq!(address.kind, Kind::Other);
        assert!(address.uri.ends_with("/a%20clip.mp4"), "{address:?}");
        assert_eq!(parse(&address.uri).unwrap(), address);
    }

    #[test]
    fn what_is_no_camera_is_named_without_its_password() {
        assert_eq!(parse("  "), Err(AddressError::Missing));
        for (text, part) in [
            ("gopher://ada:secret@h/x", "gopher://***@h/x"),
            ("rtsp:///x", "no host"),
            ("rtsp://ada:secret@/x", "rtsp://***@/x"),
            ("nowhere/clip.mp4", "nowhere/clip.mp4"),
            ("file:///nowhere/clip.mp4", "/nowhere/clip.mp4"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
    }
}
