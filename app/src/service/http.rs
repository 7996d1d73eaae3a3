//! A few pages over HTTP: one request per connection, read by the parser that hyper uses. Whoever
//! asks is hostile until answered: the head of a request, the time for it and the number of
//! connections are limited.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Longest head of a request, in bytes.
const LONGEST_HEAD: usize = 8 << 10;
/// Fields in the head of a request.
const MOST_FIELDS: usize = 64;
/// A request must be there, and its answer taken, within this time each.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a client may go on sending while it reads the answer.
const LEFT_OVER: usize = 64 << 10;
/// Connections at a time; further ones are closed at once.
const MOST_CONNECTIONS: usize = 16;
/// After an error of the listening socket, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Number and words: `200 OK`.
    pub(super) status: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Page {
    pub(super) fn text(status: &'static str, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// The page of a path; `None`: there is none.
pub(super) type Pages = Arc<dyn Fn(&str) -> Option<Page> + Send + Sync>;

/// Serves pages until it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.address).finish()
    }
}

impl Server {
    pub(super) fn start(address: SocketAddr, pages: Pages) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let listen = move || accept(&listener, &stopped, &pages);
        let thread = Builder::new().name("face-http".to_owned()).spawn(listen)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens; the port is the real one.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // accept() returns with the next connection, which is this one.
        if TcpStream::connect_timeout(&self.address, PATIENCE).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, stop: &AtomicBool, pages: &Pages) {
    let open = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let counted = Counted(open.clone());
        let pages = pages.clone();
        // A thread that does not start drops the connection with its closure.
        let _ = Builder::new().name("face-http-peer".to_owned()).spawn(move || {
            let _counted = counted;
            serve(stream, &pages);
        });
    }
}

/// One connection less when it is gone.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers one request. Clients that go away or are too slow are no event.
fn serve(mut stream: TcpStream, pages: &Pages) {
    let until = Instant::now() + PATIENCE;
    let Ok(request) = read(&mut stream, until) else { return };
    let head_only = matches!(&request, Request::Get { head_only: true, .. });
    let page = match request {
        Request::Get { path, .. } => {
            pages(&path).unwrap_or_else(|| Page::text("404 Not Found", "there is no such page\n"))
        }
        Request::Wrong(page) => page,
    };
    let mut answer = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         {}Connection: close\r\n\r\n",
        page.status,
        page.content_type,
        page.body.len(),
        if page.status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" },
    );
    if !head_only {
        answer.push_str(&page.body);
    }
    let until = Instant::now() + PATIENCE;
    if write(&mut stream, answer.as_bytes(), until).is_ok() {
        finish(&mut stream, until);
    }
}

enum Request {
    Get { path: String, head_only: bool },
    Wrong(Page),
}

fn read(stream: &mut TcpStream, until: Instant) -> std::io::Result<Request> {
    let mut head = vec![0; LONGEST_HEAD];
    let mut length = 0;
    while length < head.len() {
        stream.set_read_timeout(Some(left(until)?))?;
        let count = match stream.read(&mut head[length..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        };
        length += count;
        if let Some(request) = parse(&head[..length]) {
            return Ok(request);
        }
    }
    Ok(Request::Wrong(Page::text(
        "431 Request Header Fields Too Large",
        "the request is too long\n",
    )))
}

/// `None`: there is more to come.
fn parse(head: &[u8]) -> Option<Request> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => {
            let head_only = request.method == Some("HEAD");
            if !head_only && request.method != Some("GET") {
                let page = Page::text("405 Method Not Allowed", "only GET and HEAD are answered\n");
                return Some(Request::Wrong(page));
            }
            let target = request.path.unwrap_or_default();
            let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
            Some(Request::Get { path, head_only })
        }
        Err(_) => Some(Request::Wrong(Page::text("400 Bad Request", "this is no request\n"))),
    }
}

fn write(stream: &mut TcpStream, mut bytes: &[u8], until: Instant) -> std::io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Closing with something unread would take back what the client has not read yet.
fn finish(stream: &mut TcpStream, until: Instant) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut rest = [0; 1024];
    let mut taken = 0;
    while taken < LEFT_OVER {
        let Ok(left) = left(until) else { return };
        if stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match stream.read(&mut rest) {
            Ok(0) | Err(_) => return,
            Ok(count) => taken += count,
        }
    }
}

fn left(until: Instant) -> std::io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        let pages = |path: &str| {
            (path == "/page").then(|| Page {
                status: "200 OK",
                content_type: "text/html",
                body: "x".repeat(300_000),
            })
        };
        Server::start("127.0.0.1:0".parse().unwrap(), Arc::new(pages)).unwrap()
    }

    fn ask(server: &Server, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn pages_are_served_whole_and_their_heads_alone() {
        let server = server();
        let answer = ask(&server, b"GET /page?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Length: 300000\r\n"), "{head}");
        assert_eq!(body.len(), 300_000);
        let answer = ask(&server, b"HEAD /page HTTP/1.0\r\n\r\n");
        assert!(answer.ends_with("Connection: close\r\n\r\n"), "{answer}");
        assert!(ask(&server, b"GET /other HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    }

    #[test]
    fn what_is_no_request_for_a_page_is_refused() {
        let server = server();
        let post = b"POST /page HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        let answer = ask(&server, post);
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nAllow: GET, HEAD\r\n"));
        for wrong in
            [&b"\x16\x03\x01\x02\x00 tls\r\n\r\n"[..], b"GET\r\n\r\n", b"GET / FTP/9\r\n\r\n"]
        {
            assert!(ask(&server, wrong).starts_with("HTTP/1.1 400 "), "{wrong:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_FIELDS + 1));
        assert!(ask(&server, many.as_bytes()).starts_with("HTTP/1.1 400 "));
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(LONGEST_HEAD));
        assert!(ask(&server, long.as_bytes()).starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn clients_that_say_nothing_keep_nobody_out_for_long() {
        let server = server();
        let mut silent: Vec<TcpStream> =
            (0..MOST_CONNECTIONS).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        for stream in &mut silent {
            stream.write_all(b"GET /page HTT").unwrap();
        }
        // They are closed when their time is over; until then one more may find no place.
        for stream in &mut silent {
            stream.set_read_timeout(Some(20 * PATIENCE)).unwrap();
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        }
        // Its thread may need a moment more than its connection.
        while !ask(&server, b"GET /other HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 ") {}
    }

    #[test]
    fn port_is_free_again_when_the_server_is_dropped() {
        let first = server();
        let address = first.address();
        let taken = Server::start(address, Arc::new(|_: &str| None));
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(first);
        assert!(TcpStream::connect(address).is_err());
    }
}
