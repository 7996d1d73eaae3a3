//! Where a gallery is: a file of this machine, or a database that several machines share.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::GalleryError;

/// Beginnings of what is an address and no path.
const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

/// Name of the database schema, if an address says nothing else.
const SCHEMA: &str = "face_gallery";

const PORT: u16 = 5432;

/// Where a gallery is. Made of a path, or of a text like
/// `postgresql://role@host/database?schema=face_gallery`; whatever begins with `postgresql://` or
/// `postgres://` is an address, all else is a path. What is printed of it never has a password.
///
/// ```
/// use face_core::gallery::Location;
///
/// let shared = Location::from("postgresql://cam:secret@db.example/faces");
/// assert_eq!(shared.to_string(), "postgresql://cam@db.example/faces");
/// assert!(!format!("{shared:?}").contains("secret"));
/// assert_eq!(Location::from("people.gallery").to_string(), "people.gallery");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL database with pgvector.
    Server(Address),
}

/// The address of a shared gallery. It may hold a password, which nothing here prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

/// What an address says.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// A name, an IP address, or the folder of a Unix socket.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: String,
    /// Of the tables, a plain identifier.
    pub(super) schema: String,
    /// None: as the host asks for.
    pub(super) tls: Option<bool>,
    /// PEM file with the certificates to trust, instead of the system's.
    pub(super) root_certificates: Option<PathBuf>,
}

impl Location {
    /// The path of a gallery that is a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Location::File(path) => Some(path),
            Location::Server(_) => None,
        }
    }

    /// Is it a database on a server?
    pub fn is_server(&self) -> bool {
        matches!(self, Location::Server(_))
    }

    /// Does it have a password in it, for everybody to see who sees the command line?
    pub fn has_password(&self) -> bool {
        match self {
            Location::File(_) => false,
            Location::Server(address) => address.target().is_ok_and(|t| t.password.is_some()),
        }
    }

    /// Refuses an address with a password in it, where the text is for others to see.
    ///
    /// # Errors
    /// [`GalleryError::Refused`], which says where the password may be instead.
    pub fn refuse_password(&self) -> Result<(), GalleryError> {
        if !self.has_password() {
            return Ok(());
        }
        let reason = "its address has a password in it, which whoever sees the pipeline would see; \
                      leave it out and put it into PGPASSWORD or a password file (PGPASSFILE, \
                      ~/.pgpass)";
        Err(GalleryError::Refused { op: "open", path: self.shown(), reason: reason.to_owned() })
    }

    /// The whole text if there is no secret in it, else what is printed.
    pub fn public(&self) -> OsString {
        match self {
            Location::Server(address) if address.target().is_err() => self.to_string().into(),
            _ if self.has_password() => self.to_string().into(),
            _ => self.reveal(),
        }
    }

    /// The whole text, with the password if there is one: to be handed on, never to be printed.
    pub fn reveal(&self) -> OsString {
        match self {
            Location::File(path) => path.clone().into(),
            Location::Server(address) => address.0.clone().into(),
        }
    }

    /// As errors name it.
    pub(super) fn shown(&self) -> PathBuf {
        match self {
            Location::File(path) => path.clone(),
            Location::Server(_) => PathBuf::from(self.to_string()),
        }
    }
}

impl From<OsString> for Location {
    fn from(text: OsString) -> Self {
        match text.into_string() {
            Ok(text) if SCHEMES.iter().any(|s| text.starts_with(s)) => {
                Location::Server(Address(text))
            }
            Ok(text) => Location::File(text.into()),
            Err(text) => Location::File(text.into()),
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        path.as_os_str().to_owned().into()
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        path.into_os_string().into()
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Self {
        path.as_os_str().to_owned().into()
    }
}

impl From<&str> for Location {
    fn from(text: &str) -> Self {
        OsString::from(text).into()
    }
}

impl From<&String> for Location {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Self {
        location.clone()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::File(path) => path.display().fmt(f),
            Location::Server(address) => match address.target() {
                Ok(target) => target.fmt(f),
                // Where in it a password would be cannot be told.
                Err(_) => f.write_str("postgresql://…"),
            },
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({:?})", self.to_string())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Location::Server(self.clone()), f)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgresql://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        let port = if self.port == PORT { String::new() } else { format!(":{}", self.port) };
        match self.host.contains(':') {
            true => write!(f, "[{}]{port}/{}", self.host, self.database)?,
            false => write!(f, "{}{port}/{}", self.host, self.database)?,
        }
        if self.schema == SCHEMA { Ok(()) } else { write!(f, "?schema={}", self.schema) }
    }
}

impl Address {
    /// Takes the address apart; the text says what is wrong with it, without its contents.
    pub(super) fn target(&self) -> Result<Target, String> {
        let rest = SCHEMES.iter().find_map(|s| self.0.strip_prefix(s)).unwrap_or(&self.0);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let (user, password) = match login.map(|l| l.split_once(':').unwrap_or((l, ""))) {
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
            None => (None, None),
        };
        // A password with a bare '/', '?' or '@' would end up in what is printed.
        if [place, database, query].iter().any(|part| part.contains('@')) {
            return Err("write '@', '/' and '?' of a password as %40, %2F and %3F".into());
        }
        let (host, port) = host_and_port(place)?;
        let mut target = Target {
            user: user.filter(|u| !u.is_empty()),
            password: password.filter(|p| !p.is_empty()),
            host,
            port,
            database: decoded(database)?,
            schema: SCHEMA.into(),
            tls: None,
            root_certificates: None,
        };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            target.set(key, decoded(value)?)?;
        }
        if target.host.is_empty() || target.database.is_empty() || target.database.contains('/') {
            return Err("write it as postgresql://role@host:port/database".into());
        }
        Ok(target)
    }
}

impl Target {
    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        match (key, value.as_str()) {
            ("schema", name) if is_identifier(name) => self.schema = value,
            ("schema", _) => {
                return Err("its schema is to be a name of at most 63 of a-z, 0-9 and _".into());
            }
            ("sslmode", "disable") => self.tls = Some(false),
            ("sslmode", "require" | "verify-full") => self.tls = Some(true),
            ("sslmode", _) => {
                return Err("its sslmode is to be disable, require or verify-full; the last two \
                            both check the server's certificate"
                    .into());
            }
            ("sslrootcert", file) => self.root_certificates = Some(file.into()),
            // The folder of a socket cannot be written before the first '/'.
            ("host", folder) if folder.starts_with('/') && self.host.is_empty() => {
                self.host = value;
            }
            _ => {
                return Err("it may have schema, sslmode, sslrootcert and host=/FOLDER after the \
                            '?', nothing else"
                    .into());
            }
        }
        Ok(())
    }

    /// Does what is sent stay on this machine?
    pub(super) fn is_local(&self) -> bool {
        let ip = self.host.parse::<std::net::IpAddr>();
        self.host.starts_with('/')
            || self.host == "localhost"
            || ip.is_ok_and(|address| address.is_loopback())
    }
}

fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && name.len() <= 63
        && !name.starts_with("pg_")
}

fn host_and_port(place: &str) -> Result<(String, u16), String> {
    if place.contains(',') {
        return Err("it may name one host only".into());
    }
    let bracketed = place.strip_prefix('[').and_then(|p| p.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, rest)) => (host, rest.strip_prefix(':').unwrap_or(rest)),
        None => place.split_once(':').unwrap_or((place, "")),
    };
    let port = match port {
        "" => PORT,
        text => text.parse().ok().filter(|p| *p > 0).ok_or("its port is no number up to 65535")?,
    };
    Ok((decoded(host)?, port))
}

/// Resolves %XX.
fn decoded(text: &str) -> Result<String, String> {
    let wrong =
        || "it has a '%' that is not followed by two hexadecimal digits of UTF-8".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
        let value = |digit: u8| char::from(digit).to_digit(16).map(|v| v as u8);
        let (high, low) = (value(digits[0]), value(digits[1]));
        bytes.push(high.zip(low).map(|(h, l)| h * 16 + l).ok_or_else(wrong)?);
        rest = after;
    }
    String::from_utf8(bytes).ok().filter(|t| !t.contains('\0')).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, String> {
        match Location::from(text) {
            Location::Server(address) => address.target(),
            Location::File(path) => panic!("{path:?} is a path"),
        }
    }

    #[test]
    fn address_is_taken_apart() {
        let found = target(
            "postgres://r%40le:p%3A%2Fw@[::1]:6000/f%20c?schema=a_1&sslmode=disable&sslrootcert=/x",
        );
        let expected = Target {
            user: Some("r@le".into()),
            password: Some("p:/w".into()),
            host: "::1".into(),
            port: 6000,
            database: "f c".into(),
            schema: "a_1".into(),
            tls: Some(false),
            root_certificates: Some("/x".into()),
        };
        assert!(found == Ok(expected));
        let socket =
            target("postgresql:///faces?host=/run/postgresql").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            (&*socket.host, socket.port, socket.is_local()),
            ("/run/postgresql", 5432, true)
        );
        let remote = target("postgresql://db/faces").unwrap_or_else(|e| panic!("{e}"));
        assert!(!remote.is_local() && remote.user.is_none() && remote.tls.is_none());
    }

    #[test]
    fn wrong_addresses_are_refused_and_never_shown() {
        for (text, reason) in [
            ("postgresql://u:secret@host", "postgresql://role@host:port/database"),
            ("postgresql:///db", "postgresql://role@host:port/database"),
            ("postgresql://u:secret@a,b/db", "one host only"),
            ("postgresql://u:secret@h:70000/db", "port"),
            ("postgresql://u:secret@h/db?schema=A\"b", "schema"),
            ("postgresql://u:secret@h/db?schema=pg_x", "schema"),
            ("postgresql://u:secret@h/db?sslmode=prefer", "sslmode"),
            ("postgresql://u@h/db?password=secret", "nothing else"),
            ("postgresql://u:sec/ret@h/db", "%2F"),
            ("postgresql://u:sec?ret@h/db", "%3F"),
            ("postgresql://u:%zzsecret@h/db", "hexadecimal"),
            ("postgresql://u:%00secret@h/db", "hexadecimal"),
        ] {
            let error = target(text).err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(error.contains(reason), "{text}: {error}");
            let location = Location::from(text);
            assert_eq!(location.to_string(), "postgresql://…", "{text}");
            assert!(!format!("{location:?} {error}").contains("sec"), "{location:?} {error}");
        }
    }

    #[test]
    fn password_is_never_shown() {
        let location = Location::from("postgresql://u:secret@h:1/db?schema=mine&sslmode=disable");
        assert_eq!(location.to_string(), "postgresql://u@h:1/db?schema=mine");
        assert!(location.has_password());
        let refused = location.refuse_password().expect_err("there is a password");
        let said = [location.public().into_string().unwrap_or_default(), refused.to_string()];
        for text in [format!("{location:?}"), format!("{:?}", location.shown())].iter().chain(&said)
        {
            assert!(!text.contains("secret"), "{text}");
        }
        assert!(said[1].contains("PGPASSWORD"), "{}", said[1]);
        let whole = "postgresql://u@h:1/db?schema=mine&sslmode=disable";
        assert_eq!(Location::from(whole).public(), whole);
        assert!(Location::from(whole).refuse_password().is_ok());
        assert_eq!(Location::from("postgresql://u:secret@").public(), "postgresql://…");
    }

    #[test]
    fn all_else_is_a_path() {
        for text in ["people.gallery", "/a/postgresql://x", "file:x?mode=memory", ":memory:"] {
            assert_eq!(Location::from(text).file(), Some(Path::new(text)));
        }
    }
}
