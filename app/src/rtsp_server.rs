//! Serves streams over RTSP, each under a path of its own, so that any player or recorder takes them as a camera.
//!
//! A [`Mount`] takes raw pictures from a [branch](Mount::branch) of somebody's pipeline. The encoder is in the pipeline that
//! the server makes when the first viewer comes, is shared by all viewers, and goes with the last: a stream that nobody watches
//! costs nothing. Pictures that it is not ready for are left out; the branch never holds its pipeline up.

mod factory;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use gst::glib;
use gst::prelude::*;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{RTSPFilterResult, RTSPMountPoints, RTSPServer, RTSPSessionPool};
use parking_lot::Mutex;

use crate::elements::{init, make, queue};
use crate::error::AnalyzeError;
use factory::{Factory, Served};

/// Viewers of all streams together.
const MOST_SESSIONS: u32 = 64;
/// How often viewers that have gone without a word are looked for.
const CLEANUP_SECONDS: u32 = 5;

/// Why a stream cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RtspServerError {
    #[error("serve RTSP at {address}: {reason}")]
    Bind { address: SocketAddr, reason: String },
    #[error("start the thread 'face-rtsp'")]
    Thread(#[source] std::io::Error),
    #[error("serve at '{path}': a path is /, then letters, digits, and any of - _ . /")]
    Path { path: String },
    #[error("serve at '{path}': another stream is served there")]
    Taken { path: String },
    #[error(transparent)]
    Element(#[from] AnalyzeError),
}

/// A server. Dropping it ends all its streams.
#[derive(Debug)]
pub struct RtspServer {
    server: RTSPServer,
    mounts: RTSPMountPoints,
    sessions: RTSPSessionPool,
    paths: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
    context: glib::MainContext,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RtspServer {
    /// Listens at an address; port 0: any. Whoever reaches the address sees everything, without a password: it should be
    /// one of this machine, 127.0.0.1.
    ///
    /// # Errors
    /// [`RtspServerError::Bind`] if the address is taken, or none of this machine.
    pub fn start(address: SocketAddr) -> Result<RtspServer, RtspServerError> {
        init()?;
        let fail = |reason: &str| RtspServerError::Bind { address, reason: reason.to_owned() };
        let server = RTSPServer::new();
        server.set_address(&address.ip().to_string());
        server.set_service(&address.port().to_string());
        let mounts = server.mount_points().ok_or_else(|| fail("the server has no mount points"))?;
        let sessions = server.session_pool().ok_or_else(|| fail("the server has no sessions"))?;
        sessions.set_max_sessions(MOST_SESSIONS);
        let context = glib::MainContext::new();
        let source = server.create_source(gst_rtsp_server::gio::Cancellable::NONE);
        let source = source.map_err(|error| fail(error.message()))?;
        source.attach(Some(&context));
        let port = u16::try_from(server.bound_port()).map_err(|_| fail("it has no port"))?;
        let expired = sessions.clone();
        let cleanup = glib::timeout_source_new_seconds(
            CLEANUP_SECONDS,
            None,
            glib::Priority::DEFAULT,
            move || {
                expired.cleanup();
                glib::ControlFlow::Continue
            },
        );
        cleanup.attach(Some(&context));
        let stop = Arc::<AtomicBool>::default();
        let (turning, stopped) = (context.clone(), stop.clone());
        // No main loop: one that is to quit before it has begun goes on for ever.
        let run = move || {
            while !stopped.load(Ordering::SeqCst) {
                turning.iteration(true);
            }
        };
        let thread = Builder::new().name("face-rtsp".to_owned()).spawn(run);
        let thread = Some(thread.map_err(RtspServerError::Thread)?);
        let address = SocketAddr::new(address.ip(), port);
        let paths = Arc::default();
        Ok(RtspServer { server, mounts, sessions, paths, address, context, stop, thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the stream at that path, for players on this machine.
    pub fn url(&self, path: &str) -> String {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("rtsp://{ip}:{}{path}", self.address.port())
    }

    /// Viewers that there are.
    pub fn viewers(&self) -> u32 {
        self.sessions.n_sessions()
    }

    /// Serves a stream at a path: `/door`. `bitrate_kbit` 0: by the size of its pictures.
    ///
    /// # Errors
    /// [`RtspServerError::Path`] and [`RtspServerError::Taken`].
    pub fn mount(&self, path: &str, bitrate_kbit: u32) -> Result<Mount, RtspServerError> {
        let name = path.strip_prefix('/').unwrap_or_default();
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if name.is_empty() || !name.chars().all(fits) || name.split('/').any(str::is_empty) {
            return Err(RtspServerError::Path { path: path.to_owned() });
        }
        let mut paths = self.paths.lock();
        if paths.iter().any(|taken| taken == path) {
            return Err(RtspServerError::Taken { path: path.to_owned() });
        }
        paths.push(path.to_owned());
        drop(paths);
        let served = Arc::new(Served::new(bitrate_kbit));
        self.mounts.add_factory(path, Factory::new(served.clone()));
        let (mounts, paths) = (self.mounts.clone(), self.paths.clone());
        Ok(Mount { served, mounts, paths, path: path.to_owned() })
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        let _ = self.server.client_filter(Some(&mut |_, _| RTSPFilterResult::Remove));
        let _ = self.sessions.filter(Some(&mut |_, _| RTSPFilterResult::Remove));
        self.stop.store(true, Ordering::SeqCst);
        self.context.wakeup();
        if let Some(thread) = self.thread.take() {
            // It was only a loop: there is nothing of a panic to hand on.
            let _ = thread.join();
        }
    }
}

/// A stream that is served. Dropping it takes it from the server; who watches it then sees no new pictures.
#[derive(Debug)]
pub struct Mount {
    served: Arc<Served>,
    mounts: RTSPMountPoints,
    paths: Arc<Mutex<Vec<String>>>,
    path: String,
}

impl Mount {
    /// Its path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Has a picture come, so that there is something to watch? Until then viewers get an error.
    pub fn is_ready(&self) -> bool {
        self.served.is_ready()
    }

    /// Does somebody watch?
    pub fn is_watched(&self) -> bool {
        self.served.is_watched()
    }

    /// A bin for the end of a pipeline, with a pad `sink` for raw video in the memory of the system. A picture that comes
    /// while nobody watches is dropped at once.
    ///
    /// # Errors
    /// [`RtspServerError::Element`] where GStreamer is not complete.
    pub fn branch(&self) -> Result<gst::Bin, RtspServerError> {
        init()?;
        let served = self.served.clone();
        let taken = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            served.push(&sample);
            Ok(gst::FlowSuccess::Ok)
        };
        let waiting = queue("served-queue")?;
        waiting.set_property_from_str("leaky", "downstream");
        let sink = make("appsink", "served")?;
        let sink = sink.downcast::<gst_app::AppSink>();
        let sink = sink.map_err(|_| AnalyzeError::pipeline("appsink is none"))?;
        sink.set_caps(Some(&gst::Caps::new_empty_simple("video/x-raw")));
        sink.set_property("sync", false);
        sink.set_property("async", false);
        sink.set_property("enable-last-sample", false);
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(taken).build());
        let bin = gst::Bin::new();
        bin.add_many([&waiting, sink.upcast_ref()]).map_err(AnalyzeError::pipeline)?;
        waiting.link(&sink).map_err(AnalyzeError::pipeline)?;
        let entry = crate::chain::pad(&waiting, "sink")?;
        let ghost = gst::GhostPad::builder_with_target(&entry).map_err(AnalyzeError::pipeline)?;
        bin.add_pad(&ghost.name("sink").build()).map_err(AnalyzeError::pipeline)?;
        Ok(bin)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.mounts.remove_factory(&self.path);
        self.served.close();
        self.paths.lock().retain(|path| *path != self.path);
    }
}
