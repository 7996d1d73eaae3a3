//! A server on loopback that webhooks are posted to.
#![allow(dead_code, reason = "each test that includes this file uses another part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

/// A request that came in whole.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) path: String,
    /// With names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Post {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// The rest of the answer's first line, and headers with `\r\n` behind each.
pub(crate) type Answer = (&'static str, &'static str);

/// Answers as it is told, and keeps what came. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Hook {
    address: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hook {
    /// `answer` is told the request and how many came before; `None`: the connection is cut.
    pub(crate) fn new(
        answer: impl Fn(&Post, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("the port has a number");
        let posts = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (posts.clone(), stop.clone());
        let serve = move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let mut reader = BufReader::new(stream);
                // A client that was killed: its request does not count.
                let Some(post) = receive(&mut reader) else { continue };
                let nth = kept.lock().len();
                let answer = answer(&post, nth);
                kept.lock().push(post);
                if let Some((status, headers)) = answer {
                    let text = format!(
                        "HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
                    );
                    // Whoever asked may be gone by now.
                    let _ = reader.into_inner().write_all(text.as_bytes());
                }
            }
        };
        let thread = std::thread::Builder::new().name("hook".to_owned()).spawn(serve);
        Self { address, posts, stop, thread: Some(thread.expect("a thread")) }
    }

    /// Takes everything.
    pub(crate) fn willing() -> Self {
        Self::new(|_, _| Some(("204 No Content", "")))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.posts.lock().clone()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn receive(reader: &mut BufReader<TcpStream>) -> Option<Post> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(Some(0), |n| n.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Post { path, headers, body: String::from_utf8(body).ok()? })
}
