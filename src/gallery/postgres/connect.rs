//! A connection to the server: who logs in, with what password, and how long anything may take.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres::config::SslMode;
use postgres::{Client, Config, NoTls};

use super::tls::Tls;
use crate::gallery::GalleryError;
use crate::gallery::location::{Address, Target};

/// How long a server may take to accept a connection and let the role in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Less than that and nobody would get in, whatever a caller asks for.
const LEAST_LIMIT: Duration = Duration::from_secs(1);

/// How long sent data may stay unacknowledged before the connection counts as lost.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// When a silent connection is first probed, how often then, and how many probes it may miss.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// Reads a variable of the environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// How to connect to the server of a gallery, as often as need be.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: Option<Tls>,
    pub(super) schema: String,
    /// The address without its password.
    pub(super) shown: PathBuf,
}

impl Connector {
    /// Settles address, role, password and certificates.
    pub(super) fn new(address: &Address) -> Result<Self, GalleryError> {
        let target = address.target().map_err(|reason| GalleryError::Refused {
            op: "open",
            path: PathBuf::from("postgresql://…"),
            reason: format!("its address cannot be used; {reason}"),
        })?;
        let shown = PathBuf::from(target.to_string());
        Self::of(&target, shown.clone(), &|name| std::env::var_os(name))
            .map_err(|reason| GalleryError::Refused { op: "open", path: shown, reason })
    }

    fn of(target: &Target, shown: PathBuf, environment: Environment<'_>) -> Result<Self, String> {
        let variable = |name| environment(name).and_then(|v| v.into_string().ok());
        let user = target.user.clone();
        let user = user.or_else(|| ["PGUSER", "USER", "LOGNAME"].into_iter().find_map(variable));
        let user = user.ok_or("it names no role; write it as postgresql://role@host/database")?;
        let mut config = Config::new();
        if let Some(password) = password(target, &user, environment)? {
            config.password(password);
        }
        config
            .user(&user)
            .host(&target.host)
            .port(target.port)
            .dbname(&target.database)
            .application_name("gst-face")
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(USER_TIMEOUT)
            .keepalives_idle(KEEPALIVE.0)
            .keepalives_interval(KEEPALIVE.1)
            .keepalives_retries(KEEPALIVE.2);
        // Faces do not cross a network unencrypted unless somebody says so.
        let tls = if target.tls.unwrap_or(!target.is_local()) {
            config.ssl_mode(SslMode::Require);
            Some(Tls::new(target.root_certificates.as_deref())?)
        } else {
            config.ssl_mode(SslMode::Disable);
            None
        };
        Ok(Self { config, tls, schema: target.schema.clone(), shown })
    }

    /// Connects, or gives up after `limit`, at least a second, whatever the server does.
    pub(super) fn connect(&self, limit: Duration) -> Result<Client, GalleryError> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let (config, tls) = (self.config.clone(), self.tls.clone());
        // The time for a name's resolution, the handshake and the log-in has no limit of its own:
        // a server that stops answering there keeps a thread, not the caller.
        let work = move || {
            let client = match tls {
                Some(tls) => config.connect(tls),
                None => config.connect(NoTls),
            };
            // Nobody waits any more.
            let _ = sender.send(client);
        };
        let spawned = std::thread::Builder::new().name("face-gallery-connect".into()).spawn(work);
        spawned.map_err(|e| self.unreachable(&e))?;
        match receiver.recv_timeout(limit.clamp(LEAST_LIMIT, 2 * CONNECT_TIMEOUT)) {
            Ok(client) => client.map_err(|e| super::fault::error("open", &self.shown, &e)),
            Err(_) => Err(self.unreachable(&"the server does not answer")),
        }
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> GalleryError {
        let reason = reason.to_string();
        GalleryError::Unreachable { op: "open", path: self.shown.clone(), reason }
    }
}

/// That of the address, of `PGPASSWORD`, or of the password file, in this order.
fn password(
    target: &Target,
    user: &str,
    environment: Environment<'_>,
) -> Result<Option<String>, String> {
    if let Some(password) = &target.password {
        return Ok(Some(password.clone()));
    }
    if let Some(password) = environment("PGPASSWORD").filter(|p| !p.is_empty()) {
        let text = password.into_string().map_err(|_| "PGPASSWORD is not UTF-8")?;
        return Ok(Some(text));
    }
    let named = environment("PGPASSFILE").map(PathBuf::from);
    let home = || environment("HOME").map(|home| Path::new(&home).join(".pgpass"));
    let Some(path) = named.or_else(home).filter(|path| path.is_file()) else { return Ok(None) };
    refuse_open_to_others(&path)?;
    let text = std::fs::read_to_string(&path)
        .map_err(|e| format!("read password file '{}': {e}", path.display()))?;
    Ok(text.lines().find_map(|line| password_of(line, target, user)))
}

/// The rule of PostgreSQL's own programs, which ignore such a file; the reason would be missed.
fn refuse_open_to_others(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let modes = path.metadata().map(|meta| meta.permissions().mode());
    match modes {
        Ok(mode) if mode & 0o077 == 0 => Ok(()),
        Ok(_) => Err(format!(
            "password file '{0}' is open to others; close it with: chmod 600 '{0}'",
            path.display()
        )),
        Err(e) => Err(format!("read password file '{}': {e}", path.display())),
    }
}

/// The password of a line `host:port:database:user:password`, if it is about this connection. Each
/// of the first four may be `*`; `\` stands before `:` and `\`.
fn password_of(line: &str, target: &Target, user: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields: [String; 5] = Default::default();
    let mut field = 0;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => fields[field].extend(characters.next()),
            // Colons of the password need no '\'.
            ':' if field < 4 => field += 1,
            other => fields[field].push(other),
        }
    }
    if field < 4 {
        return None;
    }
    let [host, port, database, role, password] = fields;
    let is = |field: &str, value: &str| field == "*" || field == value;
    let local = target.host.starts_with('/') && host == "localhost";
    (local || is(&host, &target.host))
        .then_some(())
        .filter(|()| is(&port, &target.port.to_string()))
        .filter(|()| is(&database, &target.database) && is(&role, user))
        .map(|()| password)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::gallery::Location;

    fn target(text: &str) -> Target {
        let Location::Server(address) = Location::from(text) else { panic!("{text} is a path") };
        address.target().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn found(text: &str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let environment = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        };
        password(&target(text), "cam", &environment)
    }

    #[test]
    fn password_comes_from_address_then_environment_then_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".pgpass");
        let lines = "# comment\nother:*:*:*:no\nh:5432:d:dave:no\nh:5432:d\\:x:cam:no\n\
                     h:*:d:cam:a\\:b:c\\\\d\n*:*:*:*:last\n";
        fs::write(&file, lines).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let home = ("HOME", folder.path().to_str().unwrap());
        let named = ("PGPASSFILE", file.to_str().unwrap());
        let address = "postgresql://cam@h/d";
        let is = |variables: &[(&str, &str)], address: &str| found(address, variables).unwrap();
        let variable = ("PGPASSWORD", "env");
        assert_eq!(is(&[home, variable], "postgresql://cam:own@h/d").as_deref(), Some("own"));
        assert_eq!(is(&[home, variable], address).as_deref(), Some("env"));
        assert_eq!(is(&[home], address).as_deref(), Some("a:b:c\\d"));
        assert_eq!(is(&[named], "postgresql://cam@h:6000/e").as_deref(), Some("last"));
        assert_eq!(is(&[], address), None);
        assert_eq!(is(&[("HOME", "/nowhere")], address), None);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let error = found(address, &[home]).unwrap_err();
        assert!(error.contains("chmod 600"), "{error}");
        // Nobody looks into it where the password is known already.
        assert_eq!(is(&[home, variable], address).as_deref(), Some("env"));
    }

    #[test]
    fn servers_elsewhere_are_talked_to_with_tls_only() {
        let connector = |text: &str| {
            let user = |name: &str| (name == "PGUSER").then(|| "cam".into());
            Connector::of(&target(text), PathBuf::new(), &user)
        };
        for (address, encrypted) in [
            ("postgresql://127.0.0.1/d", false),
            ("postgresql:///d?host=/run/postgresql", false),
            ("postgresql://db.example/d?sslmode=disable", false),
        ] {
            let found = connector(address).unwrap_or_else(|e| panic!("{address}: {e}"));
            assert_eq!(found.tls.is_some(), encrypted, "{address}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roots.pem");
        fs::write(&file, "no certificate").unwrap();
        for address in ["postgresql://db.example/d", "postgresql://127.0.0.1/d?sslmode=require"] {
            let mut other = target(address);
            other.root_certificates = Some(file.clone());
            let refused = Connector::of(&other, PathBuf::new(), &|_| Some("cam".into())).err();
            assert!(refused.is_some_and(|e| e.contains("roots.pem': it has none")), "{address}");
        }
        let nobody = Connector::of(&target("postgresql://h/d"), PathBuf::new(), &|_| None).err();
        assert!(nobody.is_some_and(|e| e.contains("names no role")));
    }
}
