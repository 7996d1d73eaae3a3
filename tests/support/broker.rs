//! A Mosquitto on loopback, and somebody who subscribes to it.
#![allow(dead_code, reason = "each test that includes this file uses another part of it")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const USER: &str = "gst-face-test";
pub(crate) const PASSWORD: &str = "gst-face-test-password";
/// For what is about to happen.
const PATIENCE: Duration = Duration::from_secs(90);

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(|path| path.join("scripts").is_dir()).expect("the repository").to_owned()
}

fn script(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(root().join("scripts/mqtt-server.sh"));
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("the script runs");
    let text = String::from_utf8(output.stdout).expect("it writes text");
    if !matches!(output.status.code(), Some(0 | 3)) {
        panic!("mqtt-server.sh: {}", String::from_utf8_lossy(&output.stderr));
    }
    (output.status.code(), text)
}

/// Ends when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    folder: tempfile::TempDir,
    pub(crate) plain: String,
    pub(crate) tls: String,
    /// Wants [`USER`] and [`PASSWORD`].
    pub(crate) password: String,
}

impl Server {
    /// `None`, and a word about it, where Mosquitto is not installed.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let (status, line) = script(&["start", folder.path().to_str().expect("a plain name")]);
        if status == Some(3) {
            eprintln!("skipped: mosquitto is not installed (scripts/setup.sh --tests)");
            return None;
        }
        let find = |name: &str| {
            let words = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            words.expect("the address of each listener").to_owned()
        };
        let (plain, tls, password) = (find("plain="), find("tls="), find("password="));
        Some(Self { folder, plain, tls, password })
    }

    pub(crate) fn ca_file() -> PathBuf {
        root().join("tests/data/tls/ca.pem")
    }

    fn folder(&self) -> &str {
        self.folder.path().to_str().expect("a plain name")
    }

    /// Ends it at once, as a power cut does.
    pub(crate) fn kill(&self) {
        let file = self.folder.path().join("pid");
        let pid = std::fs::read_to_string(&file).expect("it runs");
        let status = Command::new("kill").args(["-KILL", pid.trim()]).status();
        assert!(status.expect("kill runs").success());
        std::fs::remove_file(file).expect("the file is there");
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(authority(&self.plain)).is_ok() {
            assert!(Instant::now() < until, "it still answers");
            std::thread::yield_now();
        }
    }

    /// Starts it again on the same ports, with nothing left of what was retained.
    pub(crate) fn restart(&self) {
        let ports = [&self.plain, &self.tls, &self.password].map(|address| port(address));
        let [plain, tls, password] = ports.each_ref().map(String::as_str);
        script(&["start", self.folder(), plain, tls, password]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script(&["stop", self.folder()]);
    }
}

fn authority(address: &str) -> &str {
    address.split_once("://").expect("an address").1
}

fn port(address: &str) -> String {
    authority(address).rsplit_once(':').expect("a port").1.to_owned()
}

/// What came on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) topic: String,
    pub(crate) payload: String,
    /// It was there before who subscribes.
    pub(crate) retained: bool,
    pub(crate) qos: u64,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|e| panic!("{e}: {}", self.payload))
    }
}

/// Ends when dropped.
#[derive(Debug)]
pub(crate) struct Subscriber {
    child: Child,
    messages: Receiver<Got>,
}

impl Subscriber {
    /// Subscribes to the topics of a filter; from now on nothing is missed.
    pub(crate) fn new(server: &Server, filter: &str) -> Self {
        // Into a pipe it would keep back what it says.
        let mut child = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub", "-d"])
            .args(["-h", "127.0.0.1", "-p", &port(&server.plain), "-V", "mqttv5"])
            .args(["-q", "1", "-t", filter, "-F", "%j"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto_sub is installed with mosquitto (mosquitto-clients)");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (ready, is_ready) = channel();
        let (sender, messages) = channel();
        let read = move || Self::read(stdout, &ready, &sender);
        std::thread::Builder::new().name("subscriber".into()).spawn(read).expect("a thread");
        is_ready.recv_timeout(PATIENCE).expect("it subscribes");
        Self { child, messages }
    }

    fn read(lines: impl BufRead, ready: &Sender<()>, messages: &Sender<Got>) {
        for line in lines.lines().map_while(Result::ok) {
            if line.starts_with("Subscribed") {
                let _ = ready.send(());
            }
            let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
            let text = |name: &str| value[name].as_str().expect("a text").to_owned();
            let got = Got {
                topic: text("topic"),
                payload: text("payload"),
                retained: value["retain"] == 1,
                qos: value["qos"].as_u64().expect("a number"),
            };
            if messages.send(got).is_err() {
                return;
            }
        }
    }

    pub(crate) fn next(&self) -> Got {
        self.messages.recv_timeout(PATIENCE).expect("a message comes")
    }

    /// All up to the one that is wanted, with it.
    pub(crate) fn until(&self, wanted: impl Fn(&Got) -> bool) -> Vec<Got> {
        let mut all = Vec::new();
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(got) = self.messages.recv_timeout(left) else { break };
            all.push(got);
            if wanted(all.last().expect("it was just pushed")) {
                return all;
            }
        }
        panic!("it does not come, but {all:?}");
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
