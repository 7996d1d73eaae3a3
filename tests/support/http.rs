//! An HTTP server on loopback that answers as a test wants, right or wrong.
#![allow(dead_code, reason = "each test that includes this file uses another part of it")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// First byte of the `Range` header.
    pub(crate) range: Option<usize>,
    /// How many requests came before this one.
    pub(crate) nth: usize,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
    /// Announced length; `None` leaves it out.
    length: Option<usize>,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), length: Some(0) }
    }

    /// All of the file.
    pub(crate) fn whole(body: &[u8]) -> Self {
        Self { body: body.to_vec(), length: Some(body.len()), ..Self::status(200) }
    }

    /// The part that was asked for.
    pub(crate) fn ranged(body: &[u8], request: &Request) -> Self {
        let Some(start) = request.range else { return Self::whole(body) };
        if start >= body.len() {
            return Self::status(416);
        }
        let range = format!("Content-Range: bytes {start}-{}/{}", body.len() - 1, body.len());
        let part = Self::whole(&body[start..]);
        Self { status: 206, headers: vec![range], ..part }
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self { headers: vec![format!("Location: {to}")], ..Self::status(302) }
    }

    /// Ends the connection after `count` bytes of the body.
    pub(crate) fn cut(mut self, count: usize) -> Self {
        self.body.truncate(count);
        self
    }

    pub(crate) fn unannounced(mut self) -> Self {
        self.length = None;
        self
    }
}

/// Runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("the port has a number");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped) = (requests.clone(), stop.clone());
        let serve = move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Some((stream, mut request)) = stream.ok().and_then(receive) else { continue };
                {
                    let mut seen = seen.lock();
                    request.nth = seen.len();
                    seen.push(request.clone());
                }
                send(stream, &answer(&request));
            }
        };
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(serve);
        let thread = thread.expect("a thread");
        Self { address, requests, stop, thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn receive(stream: TcpStream) -> Option<(TcpStream, Request)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut range = None;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            return Some((reader.into_inner(), Request { path, range, nth: 0 }));
        }
        if let Some(value) = header.strip_prefix("range: bytes=") {
            range = value.split('-').next()?.parse().ok();
        }
    }
}

fn send(mut stream: TcpStream, reply: &Reply) {
    let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", reply.status);
    for header in &reply.headers {
        head.push_str(&format!("{header}\r\n"));
    }
    if let Some(length) = reply.length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    // The client may have hung up: that is its right.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply.body));
}
