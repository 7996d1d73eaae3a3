//! A service that runs: what it says, what it answers, and its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use crate::support::Setup;

/// Longest that anything is waited for; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(150);
pub(crate) const PATIENCE_CLOCK: gst::ClockTime = gst::ClockTime::from_seconds(150);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// A clip of so many seconds, with a key picture twice a second.
pub(crate) fn clip(path: &Path, seconds: u32) {
    let made = Command::new("gst-launch-1.0")
        .args(["-q", "videotestsrc", &format!("num-buffers={}", seconds * 15), "!"])
        .args(["video/x-raw,width=64,height=64,framerate=15/1", "!", "x264enc", "key-int-max=7"])
        .args(["!", "h264parse", "!", "mp4mux", "!", "filesink"])
        .arg(format!("location={}", path.display()))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// The value of a series.
pub(crate) fn metric(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// `facectl run --json`. It is killed with this value.
pub(crate) struct Running {
    child: Child,
    address: String,
    events: Receiver<Value>,
    /// Events that were taken already.
    taken: Mutex<Vec<Value>>,
    /// Lines of standard error.
    notes: Receiver<String>,
    /// Where a service manager would listen.
    manager: UnixDatagram,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Returns when it tells where it serves.
    pub(crate) fn start(setup: &Setup, config: &str) -> Running {
        let socket = setup.path("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut child = setup
            .command(&["run", "--json", "--drain", "120", config])
            .env("NOTIFY_SOCKET", &socket)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (event, events) = channel();
        let (note, notes) = channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let read = Builder::new().name("face-test-out".to_owned()).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value: Value = serde_json::from_str(&line).expect(&line);
                let _ = event.send(value);
            }
        });
        let hear = Builder::new().name("face-test-err".to_owned()).spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{line}");
                let _ = note.send(line);
            }
        });
        let readers = vec![read.unwrap(), hear.unwrap()];
        let (address, taken) = (String::new(), Mutex::default());
        let mut running = Running { child, address, events, taken, notes, manager, readers };
        let note = running.wait_for_note("http://");
        running.address = note.split('/').nth(2).unwrap().to_owned();
        running
    }

    /// The rest of the next line on standard error that has this, from there on.
    pub(crate) fn wait_for_note(&self, part: &str) -> String {
        loop {
            let line = self.notes.recv_timeout(PATIENCE).expect(part);
            if let Some(at) = line.find(part) {
                return line[at..].to_owned();
            }
        }
    }

    /// Waits until a service manager is told this.
    pub(crate) fn wait_for_notice(&self, wanted: &str) {
        let mut bytes = [0; 1000];
        loop {
            let length = self.manager.recv(&mut bytes).expect(wanted);
            if String::from_utf8_lossy(&bytes[..length]).lines().any(|line| line == wanted) {
                return;
            }
        }
    }

    /// Status and body of a page; status 0 if there is no answer.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let Ok(mut stream) = TcpStream::connect(&self.address) else { return (0, String::new()) };
        let mut answer = String::new();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        let asked = stream.write_all(request.as_bytes());
        if asked.and_then(|()| stream.read_to_string(&mut answer)).is_err() {
            return (0, String::new());
        }
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) fn wait_until(&self, what: &str, is: impl Fn(&Running) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is(self) {
            let (health, metrics) = (self.get("/healthz"), self.get("/metrics"));
            assert!(Instant::now() < until, "not in time: {what}\n{health:?}\n{}", metrics.1);
            std::thread::sleep(PAUSE);
        }
    }

    /// The first event of that kind from the start on.
    pub(crate) fn wait_for_event(&self, what: &str, is: impl Fn(&Value) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut taken = self.taken.lock();
        while !taken.iter().any(&is) {
            let left = until.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left);
            taken.push(event.unwrap_or_else(|_| panic!("not in time: {what}")));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Lets it read its configuration again, and waits until it has.
    pub(crate) fn reload(&self) {
        self.signal("HUP");
        self.wait_for_notice("RELOADING=1");
        self.wait_for_notice("READY=1");
    }

    /// Ends it by a signal; all events.
    pub(crate) fn stop(self, signal: &str, code: i32) -> Vec<Value> {
        self.signal(signal);
        self.wait(code)
    }

    /// Waits for its end; all events.
    pub(crate) fn wait(mut self, code: i32) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(PAUSE);
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let mut events = std::mem::take(&mut *self.taken.lock());
        events.extend(self.events.try_iter());
        assert_eq!(status.code(), Some(code), "{events:?}");
        events
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
