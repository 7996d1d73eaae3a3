//! A session that serves at once, and a better one that takes its place when it is ready.
//!
//! TensorRT needs minutes to build an engine. Until then CUDA serves; a thread builds, and hands the session
//! over. Before it serves, the worker compares both on one picture: an engine that computes something else
//! is not taken. CUDA stays for inputs of shapes that the engine was not built for, and for good if the
//! build fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, TryRecvError};
use ndarray::{Array4, ArrayD};
use ort::session::Session;
use ort::value::TensorRef;
use parking_lot::Mutex;

use super::Provider;

/// How far the provider that was asked for is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderState {
    /// The active provider is the one that will run the model.
    Ready,
    /// The one asked for is still being built; another one runs the model meanwhile.
    Building,
    /// It could not be built; the other one goes on.
    Failed,
}

impl ProviderState {
    pub fn as_str(self) -> &'static str {
        match self {
            ProviderState::Ready => "ready",
            ProviderState::Building => "building",
            ProviderState::Failed => "failed",
        }
    }
}

/// Which provider runs a model, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderInfo {
    /// Never [`Provider::Auto`].
    pub active: Provider,
    pub state: ProviderState,
    /// Why it is not another one, in words.
    pub note: Option<String>,
}

/// What is known of a pool's provider; written by its worker and by who builds.
#[derive(Debug)]
pub(super) struct Progress {
    info: Mutex<ProviderInfo>,
    changes: AtomicU64,
}

impl Progress {
    pub(super) fn new(active: Provider, note: Option<String>) -> Arc<Self> {
        let info = ProviderInfo { active, state: ProviderState::Ready, note };
        Arc::new(Self { info: Mutex::new(info), changes: AtomicU64::new(0) })
    }

    pub(super) fn info(&self) -> ProviderInfo {
        self.info.lock().clone()
    }

    /// Goes up with every change.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn set(&self, change: impl FnOnce(&mut ProviderInfo)) {
        change(&mut self.info.lock());
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn fail(&self, wanted: Provider, reason: &str) {
        self.set(|info| {
            info.state = ProviderState::Failed;
            info.note = Some(format!("{wanted} cannot be used, {} goes on: {reason}", info.active));
        });
    }
}

/// The shapes of the one input that a session takes: all between the least and the most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shapes {
    pub(super) least: [usize; 4],
    /// What it is fastest at, and tried with.
    pub(super) usual: [usize; 4],
    pub(super) most: [usize; 4],
}

impl Shapes {
    pub(super) fn take(&self, shape: &[usize]) -> bool {
        shape.len() == self.most.len()
            && shape.iter().zip(&self.least).all(|(n, least)| n >= least)
            && shape.iter().zip(&self.most).all(|(n, most)| n <= most)
    }
}

/// A session on the provider that was asked for.
pub(super) struct Better {
    pub(super) session: Session,
    pub(super) provider: Provider,
    pub(super) shapes: Shapes,
    /// A picture as the model wants it, of the usual shape.
    pub(super) probe: Array4<f32>,
    /// Least cosine between an output and the same one of the session that serves now.
    pub(super) least_cosine: f32,
}

/// What a worker runs.
pub(super) struct Engine {
    session: Session,
    better: Option<Better>,
    coming: Option<(Receiver<Better>, Arc<Progress>)>,
}

impl Engine {
    pub(super) fn plain(session: Session) -> Self {
        Self { session, better: None, coming: None }
    }

    /// The session that was there first.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Serves with `session`, and with what `build` makes on a thread of its own as soon as that
    /// is there. `progress` tells how it goes. Nobody waits for the thread: what it has built is
    /// of use to the next pipeline, too.
    pub(super) fn improving(
        session: Session,
        wanted: Provider,
        progress: &Arc<Progress>,
        build: impl FnOnce() -> Result<Better, String> + Send + 'static,
    ) -> Self {
        let (done, coming) = crossbeam_channel::bounded(1);
        progress.set(|info| {
            info.state = ProviderState::Building;
            info.note = Some(format!(
                "an engine of {wanted} is being built, which may take minutes; {} runs the model \
                 meanwhile",
                info.active
            ));
        });
        let told = progress.clone();
        let work = move || match catch_unwind(AssertUnwindSafe(build)) {
            // Nobody takes it when the pool is gone.
            Ok(Ok(better)) => drop(done.send(better)),
            Ok(Err(reason)) => told.fail(wanted, &reason),
            Err(_) => told.fail(wanted, "its build panicked"),
        };
        let thread = std::thread::Builder::new().name(format!("face-{wanted}")).spawn(work);
        if let Err(error) = thread {
            progress.fail(wanted, &format!("start its thread: {error}"));
        }
        Self { session, better: None, coming: Some((coming, progress.clone())) }
    }

    /// The session for an input of that shape: the better one if it is there and takes it.
    pub(super) fn session_for(&mut self, shape: &[usize]) -> &mut Session {
        self.take_what_came();
        match &mut self.better {
            Some(better) if better.shapes.take(shape) => &mut better.session,
            _ => &mut self.session,
        }
    }

    fn take_what_came(&mut self) {
        let Some((coming, progress)) = &self.coming else { return };
        let progress = progress.clone();
        match coming.try_recv() {
            Ok(better) => {
                let _ = self.adopt(better, &progress);
            }
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => {}
        }
        self.coming = None;
    }

    /// Serves with `better` from now on, if it computes the same as the session that served so far.
    ///
    /// # Errors
    /// What differs; it is told to `progress`, too.
    pub(super) fn adopt(&mut self, mut better: Better, progress: &Progress) -> Result<(), String> {
        let same = catch_unwind(AssertUnwindSafe(|| check(&mut self.session, &mut better)))
            .unwrap_or_else(|_| Err("its first run panicked".to_owned()));
        match &same {
            Ok(()) => progress.set(|info| {
                info.active = better.provider;
                info.state = ProviderState::Ready;
                info.note = None;
            }),
            Err(reason) => progress.fail(better.provider, reason),
        }
        if same.is_ok() {
            self.better = Some(better);
        }
        same
    }
}

/// Do both sessions compute the same?
fn check(session: &mut Session, better: &mut Better) -> Result<(), String> {
    let expected = outputs(session, &better.probe)?;
    let got = outputs(&mut better.session, &better.probe)?;
    if expected.len() != got.len() {
        return Err(format!("it has {} outputs, {} are expected", got.len(), expected.len()));
    }
    for (i, (expected, got)) in expected.iter().zip(&got).enumerate() {
        let wrong = |what: String| Err(format!("its output {i} {what}"));
        if expected.shape() != got.shape() {
            let (expected, got) = (expected.shape(), got.shape());
            return wrong(format!("has the shape {got:?}, {expected:?} is expected"));
        }
        let cosine = cosine(expected, got);
        // What is not a number is not enough either.
        let enough = cosine >= f64::from(better.least_cosine);
        if !enough {
            let least = better.least_cosine;
            return wrong(format!("differs: cosine {cosine:.4}, {least} is the least"));
        }
    }
    Ok(())
}

fn outputs(session: &mut Session, input: &Array4<f32>) -> Result<Vec<ArrayD<f32>>, String> {
    let input = TensorRef::from_array_view(input).map_err(|e| e.to_string())?;
    let outputs = session.run(ort::inputs![input]).map_err(|e| e.to_string())?;
    let arrays = outputs.values().map(|v| Ok(v.try_extract_array::<f32>()?.to_owned()));
    arrays.collect::<ort::Result<_>>().map_err(|e| e.to_string())
}

/// Of two arrays of one shape; 1 if both are nothing but zeros.
fn cosine(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f64 {
    let dot = |a: &ArrayD<f32>, b: &ArrayD<f32>| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths == 0.0 && dot(a, a) == dot(b, b) { 1.0 } else { dot(a, b) / lengths }
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
