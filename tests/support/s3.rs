//! The S3 servers of scripts/s3-server.sh, and what stands between them and us when it goes wrong.
#![allow(dead_code, reason = "each test that includes this file uses another part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use face_core::storage::{Storage, StorageError, StorageOptions};
use parking_lot::Mutex;

/// Gives up early: tests wait for nothing.
pub(crate) const HASTY: StorageOptions = StorageOptions {
    timeout: Duration::from_secs(20),
    retries: 2,
    retry_timeout: Duration::from_secs(20),
    create: true,
};

/// A running server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    /// `http://127.0.0.1:PORT`.
    pub(crate) endpoint: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

/// The servers that scripts/test.sh started; says so if there are none.
pub(crate) fn servers() -> Vec<Server> {
    let get = |name: &str| std::env::var(name).unwrap_or_default();
    let servers: Vec<Server> = get("GST_FACE_TEST_S3")
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, endpoint)| Server {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            key: get("GST_FACE_TEST_S3_KEY"),
            secret: get("GST_FACE_TEST_S3_SECRET"),
        })
        .collect();
    if servers.is_empty() {
        eprintln!("skipped: GST_FACE_TEST_S3 names no S3 server (scripts/test.sh starts them)");
    }
    servers
}

/// The server that checks signatures; says so if it is not there.
pub(crate) fn strict_server() -> Option<Server> {
    servers().into_iter().find(|server| server.name == "s3s")
}

impl Server {
    /// A server that is none: nobody checks the credentials.
    pub(crate) fn at(endpoint: &str) -> Self {
        let text = |text: &str| text.to_owned();
        Self { name: text("fake"), endpoint: text(endpoint), key: text("k"), secret: text("s") }
    }

    /// A bucket of this test's own.
    pub(crate) fn new_bucket(&self) -> String {
        let bucket = format!("t-{}", uuid::Uuid::new_v4());
        if self.name == "moto" {
            // It does not check who asks.
            let (status, answer) = ask(&format!("{}/{bucket}", self.endpoint), "PUT");
            assert_eq!(status, 200, "{answer}");
        } else {
            // It makes a bucket when something is put there, and keeps it.
            let storage = self.try_open(&self.uri(&bucket, ""), &HASTY).expect("a storage");
            storage.put("first", b"").and_then(|_| storage.delete("first")).expect("a bucket");
        }
        bucket
    }

    pub(crate) fn uri(&self, bucket: &str, prefix: &str) -> String {
        format!(
            "s3://{bucket}/{prefix}?endpoint={}&region=eu-west-1&allow-http=true",
            self.endpoint
        )
    }

    pub(crate) fn try_open(
        &self,
        uri: &str,
        options: &StorageOptions,
    ) -> Result<Storage, StorageError> {
        let environment = HashMap::from([
            ("AWS_ACCESS_KEY_ID", self.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret.clone()),
        ]);
        Storage::open_in(uri, options, &|name| environment.get(name).cloned())
    }

    /// A storage in a new bucket.
    pub(crate) fn storage(&self) -> Storage {
        let bucket = self.new_bucket();
        self.try_open(&self.uri(&bucket, "some/prefix"), &HASTY).expect("the storage opens")
    }

    /// The same server behind `proxy`.
    pub(crate) fn behind(&self, proxy: &Proxy) -> Self {
        Self { endpoint: proxy.endpoint(), ..self.clone() }
    }
}

/// One request without credentials: status and answer.
pub(crate) fn ask(url: &str, method: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").expect("a plain address");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).expect("the server is there");
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the request is taken");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Pass,
    /// Answered with this status, these headers and this body; the server never hears of it.
    Answer(u16, &'static str, String),
    /// Passed on; the connection ends after so many bytes of the answer.
    Cut(usize),
    /// Never answered.
    Silence,
}

/// A request that came by.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// How many came before it.
    pub(crate) nth: usize,
}

/// Stands before a server, or before nothing, and lets happen what `fate` says. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn before(
        server: Option<&Server>,
        fate: impl Fn(&Seen) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("the port has a number");
        let upstream = server.map(|server| server.endpoint.replace("http://", ""));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (record, stopped, fate) = (seen.clone(), stop.clone(), Arc::new(fate));
        let serve = move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (record, fate, upstream) = (record.clone(), fate.clone(), upstream.clone());
                let stopped = stopped.clone();
                let connection = move || {
                    serve(stream, upstream.as_deref(), &record, &stopped, fate.as_ref());
                };
                connections.push(named("connection", connection));
            }
            for connection in connections {
                let _ = connection.join();
            }
        };
        Self { address, seen, stop, thread: Some(named("proxy", serve)) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn named(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread")
}

/// One request and its answer; then the connection ends.
fn serve(
    stream: TcpStream,
    upstream: Option<&str>,
    record: &Mutex<Vec<Seen>>,
    stopped: &AtomicBool,
    fate: &(dyn Fn(&Seen) -> Fate + Send + Sync),
) {
    let mut reader = BufReader::new(stream);
    let Some((head, body, mut seen)) = receive(&mut reader) else { return };
    let mut stream = reader.into_inner();
    {
        let mut record = record.lock();
        seen.nth = record.len();
        record.push(seen.clone());
    }
    let limit = match fate(&seen) {
        Fate::Pass => usize::MAX,
        Fate::Cut(count) => count,
        Fate::Answer(status, headers, body) => {
            let answer = format!(
                "HTTP/1.1 {status} Test\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
            return;
        }
        Fate::Silence => {
            // Until the client gives up and closes its end, or the test is over.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            while !stopped.load(Ordering::SeqCst) {
                match stream.read(&mut [0; 1]) {
                    Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock) => {}
                    _ => return,
                }
            }
            return;
        }
    };
    let Some(mut server) = upstream.and_then(|address| TcpStream::connect(address).ok()) else {
        return;
    };
    if server.write_all(head.as_bytes()).and_then(|()| server.write_all(&body)).is_err() {
        return;
    }
    let _ = std::io::copy(&mut server.take(limit as u64), &mut stream);
}

fn receive(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>, Seen)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split(' ');
    let seen = Seen { method: words.next()?.to_owned(), path: words.next()?.to_owned(), nth: 0 };
    let (mut head, mut length) = (first.clone(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim_end().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
    }
    head.push_str("Connection: close\r\n\r\n");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body, seen))
}
