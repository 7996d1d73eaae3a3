//! Many cameras in one process, as one configuration file says: `facectl run`.
//!
//! Every camera has a pipeline and a thread of its own, so that a fault of one stops no other.
//! Models, their inference threads and galleries are shared, because the elements share those of a
//! process. A [`Service`] tells how its cameras are doing, goes on with another configuration, and ends
//! when everything that has begun is complete.

mod camera;
pub mod config;
mod degirum;
mod event;
mod fault;
mod health;
mod http;
mod line;
mod metrics;
mod passed;
mod reload;
mod state;
mod status;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use face_core::outbox::{self, Limits, Outbox, OutboxError, Sender, default_spool};
use parking_lot::Mutex;

use camera::{Handle, Order};
use config::{Camera, Config};
pub use degirum::{Import, Note, import_degirum};
pub use event::{Event, What};
pub use reload::Reload;
pub use state::CameraState;
pub use status::{CameraStatus, Counts, Delay, Process, Status};

use crate::error::AnalyzeError;
use crate::rtsp_server::{RtspServer, RtspServerError};

/// How long a camera that is started again, or taken out, may complete its clips.
const DRAIN: Duration = Duration::from_secs(10);
/// Events that wait to be taken; further ones are dropped.
const MOST_EVENTS: usize = 1024;
/// How often it is looked whether something has come to its end.
const TICK: Duration = Duration::from_millis(50);

/// Why a service does not start, or does not go on with another configuration.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It stays as it is until a person changes something.
    #[error("camera '{name}': {reason}")]
    Camera { name: String, reason: String },
    #[error(transparent)]
    Elements(#[from] AnalyzeError),
    #[error("serve /healthz and /metrics on {address}")]
    Http { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Rtsp(#[from] RtspServerError),
    #[error("open the spool")]
    Spool(#[source] OutboxError),
    #[error("start the thread of camera '{name}'")]
    Thread { name: String, source: std::io::Error },
}

impl ServiceError {
    /// Is the configuration to blame, so that another try is of no use?
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Camera { .. } | Self::Elements(_))
    }
}

/// How a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// All cameras have completed their clips and come down in time.
    pub complete: bool,
    /// Entries that wait in the spool for the next start, or for `facectl outbox flush`.
    pub waiting: u64,
}

/// What is shared with whoever asks over HTTP. The locks are held alone.
struct Shared {
    cameras: Mutex<Vec<Handle>>,
    spool: Mutex<Option<Spool>>,
    /// Seconds of the wall clock.
    started: f64,
    reloads: AtomicU64,
    refused_reloads: AtomicU64,
}

/// The outbox of the process. What is in it is sent for as long as the service lives, also after the
/// cameras.
struct Spool {
    outbox: Outbox,
    _sender: Sender,
}

/// Cameras that run.
pub struct Service {
    config: Config,
    shared: Arc<Shared>,
    http: Option<http::Server>,
    /// Serves the streams of the cameras that have an output.
    rtsp: Option<Arc<RtspServer>>,
    events: Receiver<Event>,
    tell: SyncSender<Event>,
    /// Cameras that were taken out, and are not at their end yet.
    leaving: Vec<Handle>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Service {
    /// Starts all cameras. Returns when their pipelines play, models and galleries being loaded; a
    /// camera that is not there is waited for while the others run.
    ///
    /// # Errors
    /// [`ServiceError`], and nothing runs then.
    pub fn start(config: Config) -> Result<Self, ServiceError> {
        crate::elements::init()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let shared = Arc::new(Shared {
            cameras: Mutex::default(),
            spool: Mutex::new(spool(&config)?),
            started: now.map_or(0.0, |since| since.as_secs_f64()),
            reloads: AtomicU64::new(0),
            refused_reloads: AtomicU64::new(0),
        });
        let (tell, events) = sync_channel(MOST_EVENTS);
        let http = config.http.map(|address| serve(address, &shared)).transpose()?;
        let rtsp = config.rtsp.map(RtspServer::start).transpose()?.map(Arc::new);
        let service = Self { config, shared, http, rtsp, events, tell, leaving: Vec::new() };
        let (first, started) = sync_channel(service.config.cameras.len());
        for camera in &service.config.cameras {
            let handle = service.handle(camera, first.clone())?;
            service.shared.cameras.lock().push(handle);
        }
        drop(first);
        // A camera whose thread panics tells nothing, and closes its end.
        for (name, result) in started {
            if let Err(fault) = result
                && fault.lasting
            {
                service.stop(Duration::ZERO);
                return Err(ServiceError::Camera { name, reason: fault.reason });
            }
        }
        Ok(service)
    }

    fn handle(
        &self,
        camera: &Camera,
        first: SyncSender<camera::First>,
    ) -> Result<Handle, ServiceError> {
        let failed = |source| ServiceError::Thread { name: camera.name.clone(), source };
        Handle::start(camera.clone(), self.rtsp.clone(), self.tell.clone(), first).map_err(failed)
    }

    /// What it runs by now.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where /healthz and /metrics are, with the real port.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(http::Server::address)
    }

    /// Where the stream of a camera is served again.
    pub fn stream(&self, camera: &Camera) -> Option<String> {
        Some(self.rtsp.as_ref()?.url(&camera.output.as_ref()?.mount))
    }

    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// The next event, if it comes in time.
    pub fn wait_for(&self, timeout: Duration) -> Option<Event> {
        self.events.recv_timeout(timeout).ok()
    }

    /// Has every camera come to the end of its source, as files do?
    pub fn is_over(&self) -> bool {
        let cameras = self.shared.cameras.lock();
        cameras.iter().all(|camera| camera.status().state == CameraState::Ended)
    }

    /// A configuration was refused before it came here.
    pub fn refused_reload(&self) {
        self.shared.refused_reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Completes what has begun, within `limit`: clips are closed and brought into the spool, and what
    /// is in the spool is sent. `tell` is given the events meanwhile.
    pub fn drain(self, limit: Duration, mut tell: impl FnMut(Event)) -> Drained {
        let until = Instant::now() + limit;
        self.order_stop(limit);
        while self.ended().is_none() && Instant::now() < until {
            if let Some(event) = self.wait_for(TICK) {
                tell(event);
            }
        }
        let complete = self.ended().unwrap_or(false);
        let waiting = || {
            let spool = self.shared.spool.lock();
            spool.as_ref().map_or(0, |spool| spool.outbox.stats().waiting)
        };
        while waiting() > 0 && Instant::now() < until {
            std::thread::sleep(TICK);
        }
        self.events.try_iter().for_each(tell);
        Drained { complete, waiting: waiting() }
    }

    fn order_stop(&self, limit: Duration) {
        for camera in self.shared.cameras.lock().iter() {
            camera.order(Order::Stop(limit));
        }
    }

    /// Are all cameras at their end, and was everything completed?
    fn ended(&self) -> Option<bool> {
        let cameras = self.shared.cameras.lock();
        let mut all = cameras.iter().chain(&self.leaving).map(Handle::ended);
        all.try_fold(true, |complete, camera| Some(complete & camera?))
    }

    /// Takes down what has hardly begun.
    fn stop(&self, limit: Duration) {
        let until = Instant::now() + limit + DRAIN;
        self.order_stop(limit);
        while self.ended().is_none() && Instant::now() < until {
            std::thread::sleep(TICK);
        }
    }
}

impl Shared {
    fn status(&self) -> Status {
        Status {
            cameras: self.cameras.lock().iter().map(Handle::status).collect(),
            outbox: self.spool.lock().as_ref().map(|spool| spool.outbox.stats()),
            process: Process::read(self.started),
            reloads: self.reloads.load(Ordering::Relaxed),
            refused_reloads: self.refused_reloads.load(Ordering::Relaxed),
        }
    }
}

/// The outbox that the cameras use; none if nothing of theirs leaves this machine.
fn spool(config: &Config) -> Result<Option<Spool>, ServiceError> {
    let uses = |camera: &Camera| camera.clips.is_some() || !camera.publish.is_empty();
    if !config.cameras.iter().any(uses) {
        return Ok(None);
    }
    // Without a folder the elements say so.
    let Some(folder) = config.spool.clone().or_else(default_spool) else { return Ok(None) };
    let mut limits = Limits::default();
    // All elements have the same.
    let users = config.cameras.iter().flat_map(|camera| camera.clips.iter().chain(&camera.publish));
    if let Some(bytes) = users.filter_map(|s| s.get("spool-max-bytes")?.parse().ok()).next() {
        limits.max_bytes = bytes;
    }
    let outbox = Outbox::open(&folder, limits).map_err(ServiceError::Spool)?;
    // The elements tell what becomes of what is theirs.
    let sender = outbox.start(Arc::new(|_: &outbox::Notice| {})).map_err(ServiceError::Spool)?;
    Ok(Some(Spool { outbox, _sender: sender }))
}

fn serve(address: SocketAddr, shared: &Arc<Shared>) -> Result<http::Server, ServiceError> {
    let shared = Arc::downgrade(shared);
    let pages = move |path: &str| health::page(path, &shared.upgrade()?.status());
    http::Server::start(address, Arc::new(pages))
        .map_err(|source| ServiceError::Http { address, source })
}
