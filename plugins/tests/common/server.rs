//! Galleries on the PostgreSQL server for tests, and a proxy in front of it that fails on demand.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// A gallery of its own on the server.
pub(crate) struct Server {
    role: String,
    /// Host and port.
    place: String,
    schema: String,
}

impl Server {
    /// `None` where there is none, and says so; and in the process that was started as the test:
    /// the password reaches an element through the environment only, so the test runs in a process
    /// of its own that has it there.
    pub(crate) fn of_test() -> Option<Server> {
        let url = std::env::var("GST_FACE_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
        let Some(url) = url else {
            eprintln!("skipped: GST_FACE_TEST_POSTGRES names no server");
            return None;
        };
        let (_, rest) = url.split_once("://").unwrap();
        let (login, place) = rest.split_once('@').unwrap();
        let (role, password) = login.split_once(':').unwrap();
        let test = std::thread::current().name().unwrap().to_owned();
        if std::env::var("PGPASSWORD").as_deref() != Ok(password) {
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &test, "--nocapture", "--test-threads", "1"])
                .env("PGPASSWORD", password)
                .status()
                .unwrap();
            assert!(status.success(), "{test} failed, see above");
            return None;
        }
        // The name of a test is unique, and the time tells runs apart; names have 63 letters at most.
        let test: String = test.chars().take(20).collect();
        let time = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let schema = format!("el_{test}_{time}");
        Some(Server { role: role.to_owned(), place: place.to_owned(), schema })
    }

    /// The address for whoever has the password.
    pub(crate) fn address(&self) -> String {
        let Server { role, place, schema } = self;
        format!("postgresql://{role}@{place}?schema={schema}")
    }

    /// As [`Server::address`], through the proxy.
    pub(crate) fn address_through(&self, proxy: &Proxy) -> String {
        let Server { role, place, schema } = self;
        let (_, database) = place.split_once('/').unwrap();
        format!("postgresql://{role}@127.0.0.1:{}/{database}?schema={schema}", proxy.port)
    }

    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::new(self.place.split_once('/').unwrap().0.to_owned())
    }
}

const PASSES: u8 = 0;
const CUT: u8 = 1;
const HANGS: u8 = 2;

/// Passes connections on to the server, or not.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn new(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(PASSES));
        let open = Arc::new(Mutex::new(Vec::new()));
        let (how, streams) = (mode.clone(), open.clone());
        run(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // Dropped: the server is not there.
                if how.load(Ordering::SeqCst) != CUT {
                    connect(client, &server, &how, &streams);
                }
            }
        });
        Proxy { port, mode, open }
    }

    /// All is well again.
    pub(crate) fn pass(&self) {
        self.mode.store(PASSES, Ordering::SeqCst);
    }

    /// Connections end, and no new ones are let in.
    pub(crate) fn cut(&self) {
        self.mode.store(CUT, Ordering::SeqCst);
        for stream in self.open.lock().drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Connections stay, and nothing comes through.
    pub(crate) fn hang(&self) {
        self.mode.store(HANGS, Ordering::SeqCst);
    }
}

fn run(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name("proxy".into()).spawn(work).unwrap();
}

fn connect(client: TcpStream, server: &str, mode: &Arc<AtomicU8>, open: &Mutex<Vec<TcpStream>>) {
    let server = TcpStream::connect(server).unwrap();
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let mode = mode.clone();
        run(move || pass_on(from, to, &mode));
    }
    let mut open = open.lock();
    // It may have been cut since this one was let in.
    if mode.load(Ordering::SeqCst) == CUT {
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
    open.extend([client, server]);
}

/// Passes on what comes until one of the two ends.
fn pass_on(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        while mode.load(Ordering::SeqCst) == HANGS {
            std::thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
