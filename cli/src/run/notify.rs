//! What a service manager is told, by the protocol of sd_notify(3): lines in a datagram to the socket
//! that the environment names. Without one nobody is told.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

pub(super) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often a sign of life is wanted, and when the last one was given.
    watchdog: Option<(Duration, Instant)>,
}

impl Notify {
    pub(super) fn from_env() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let address = variable("NOTIFY_SOCKET").and_then(|path| address(&path));
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        // The variables may be meant for a process that started this one.
        let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let every = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && meant);
        Self {
            // A socket that cannot be had is as good as none: what is told is a courtesy.
            socket: address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address))),
            watchdog: every.map(|usec| (Duration::from_micros(usec) / 2, Instant::now())),
        }
    }

    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    pub(super) fn reloading(&self) {
        self.tell("RELOADING=1\nSTATUS=reading the configuration again");
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=completing clips and sending what waits");
    }

    pub(super) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// Gives the sign of life when it is time. To be called often.
    pub(super) fn alive(&mut self) {
        let Some((every, last)) = &mut self.watchdog else { return };
        if last.elapsed() >= *every {
            *last = Instant::now();
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, lines: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(lines.as_bytes(), address);
        }
    }
}

/// A path, or with `@` in front a name that is in no folder.
fn address(path: &OsStr) -> Option<SocketAddr> {
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => SocketAddr::from_pathname(path).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_reach_the_socket_that_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("@gst-face-test-{}", std::process::id());
        let inside = UnixDatagram::bind(&path).unwrap();
        let abstract_name = address(OsStr::new(&name)).unwrap();
        let outside = UnixDatagram::bind_addr(&abstract_name).unwrap();
        for (server, named) in [(inside, path.as_os_str()), (outside, OsStr::new(&name))] {
            let socket = UnixDatagram::unbound().unwrap();
            let long_ago = Instant::now() - Duration::from_secs(1);
            let mut notify = Notify {
                socket: Some((socket, address(named).unwrap())),
                watchdog: Some((Duration::from_secs(1), long_ago)),
            };
            notify.ready("2 cameras");
            notify.alive();
            notify.alive();
            notify.stopping();
            let text = || {
                let mut bytes = [0; 100];
                let length = server.recv(&mut bytes).unwrap();
                String::from_utf8(bytes[..length].to_vec()).unwrap()
            };
            assert_eq!(text(), "READY=1\nSTATUS=2 cameras");
            assert_eq!(text(), "WATCHDOG=1");
            assert!(text().starts_with("STOPPING=1\n"));
        }
    }
}
