//! A network between camera and element that can be bad: carries TCP and spoils it as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::Builder;

/// What happens to the bytes of the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fault {
    None,
    /// One byte in some hundred is another one.
    Corrupt,
    /// Pieces are left out.
    Drop,
    /// Nothing comes any more, and nothing is closed.
    Stall,
    /// Connections are cut.
    Cut,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    fault: Arc<AtomicU8>,
    closed: Arc<AtomicBool>,
}

impl Proxy {
    /// Carries to that port of loopback.
    pub(crate) fn new(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fault, closed) = (Arc::<AtomicU8>::default(), Arc::<AtomicBool>::default());
        let (carried, ended) = (fault.clone(), closed.clone());
        let accept = move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let (a, b) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let none = Arc::default();
                spawn(move || carry(a, b, &none));
                let fault = carried.clone();
                spawn(move || carry(server, client, &fault));
            }
        };
        spawn(accept);
        Proxy { port, fault, closed }
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Fault::Cut);
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) {
    Builder::new().name("test-proxy".to_owned()).spawn(run).unwrap();
}

fn carry(mut from: TcpStream, mut to: TcpStream, fault: &AtomicU8) {
    let mut bytes = [0; 4096];
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    while let Ok(count) = from.read(&mut bytes) {
        let fault = fault.load(Ordering::SeqCst);
        if count == 0 || fault == Fault::Cut as u8 {
            break;
        }
        let piece = &mut bytes[..count];
        if fault == Fault::Corrupt as u8 {
            for byte in piece.iter_mut() {
                if next() % 700 == 0 {
                    *byte ^= 1 << (next() % 8);
                }
            }
        }
        let dropped =
            fault == Fault::Stall as u8 || (fault == Fault::Drop as u8 && next() % 5 == 0);
        if !dropped && to.write_all(piece).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
