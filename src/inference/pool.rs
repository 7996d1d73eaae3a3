//! The pools of the process: workers, each with a session, that take requests from one queue.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use ndarray::{ArrayD, IxDyn};
use ort::session::Session;
use ort::value::TensorRef;
use parking_lot::Mutex;

use super::load::{self, Loader};
use super::{InferenceError, PoolOptions, Provider, Request};
use crate::cpu;
use crate::model::ResolvedModel;

struct Job {
    request: Request,
    tag: usize,
    reply: Sender<Answer>,
}

struct Answer {
    request: Request,
    tag: usize,
    result: Result<(), String>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    path: PathBuf,
    id: String,
    options: PoolOptions,
}

/// Locked under [`load::building`], never the other way around.
static POOLS: LazyLock<Mutex<HashMap<Key, Weak<Pool>>>> = LazyLock::new(Mutex::default);
/// Nanoseconds that the threads of all pools were on a processor inside `Session::run`.
static RUN_TIME: AtomicU64 = AtomicU64::new(0);

/// Processor time that all pools of the process spent inside ONNX Runtime's `Run`, by the clocks of
/// their threads. What threads of the runtime itself did is not in it: on a CPU it has none here.
pub fn run_time() -> Duration {
    Duration::from_nanos(RUN_TIME.load(Ordering::Relaxed))
}

/// Workers that run one model. Shared by every element of the process that asks for the same
/// model with the same options.
pub struct Pool {
    model: ResolvedModel,
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
    active: Provider,
    note: Option<String>,
    output_names: Vec<String>,
    runs: Arc<AtomicU64>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("model", &self.model.path)
            .field("active", &self.active)
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// The pool of `model` with these options: the one that is there, else a new one.
    ///
    /// # Errors
    /// [`InferenceError`] when the runtime, the file or the provider cannot be used, or when the
    /// file's inputs and outputs are not those of its specification.
    pub fn shared(
        model: &ResolvedModel,
        options: &PoolOptions,
    ) -> Result<Arc<Pool>, InferenceError> {
        let path = model.path.canonicalize().unwrap_or_else(|_| model.path.clone());
        let key = Key { path, id: model.spec.id.clone(), options: options.clone() };
        let _building = load::building();
        if let Some(pool) = POOLS.lock().get(&key).and_then(Weak::upgrade) {
            return Ok(pool);
        }
        let pool = Arc::new(Pool::build(model, options)?);
        let mut pools = POOLS.lock();
        pools.retain(|_, pool| pool.strong_count() > 0);
        pools.insert(key, Arc::downgrade(&pool));
        Ok(pool)
    }

    fn build(model: &ResolvedModel, options: &PoolOptions) -> Result<Pool, InferenceError> {
        let runtime = load::runtime(options)?;
        let bytes = model.load()?;
        let loader = Loader { model, bytes: &bytes, options, runtime };
        let (active, note, first) = loader.choose_provider()?;
        load::check_signature(model, &first)?;
        let output_names = first.outputs().iter().map(|o| o.name().to_owned()).collect();
        let count = match active {
            Provider::Cpu if options.threads > 0 => options.threads,
            Provider::Cpu => std::thread::available_parallelism().map_or(1, usize::from),
            _ => 1,
        };
        let mut sessions = vec![first];
        for _ in 1..count {
            sessions.push(loader.session(active)?);
        }
        // Two waiting jobs per worker keep every worker busy; beyond that the submitter waits.
        let (jobs, queue) = crossbeam_channel::bounded(2 * count);
        let runs = Arc::new(AtomicU64::new(0));
        let mut pool = Pool {
            model: model.clone(),
            jobs: Some(jobs),
            workers: Vec::with_capacity(count),
            active,
            note,
            output_names,
            runs: runs.clone(),
        };
        for (i, session) in sessions.into_iter().enumerate() {
            let (queue, runs) = (queue.clone(), runs.clone());
            let worker = std::thread::Builder::new()
                .name(format!("face-infer-{i}"))
                .spawn(move || work(session, &queue, &runs))
                .map_err(InferenceError::Thread)?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    pub fn model(&self) -> &ResolvedModel {
        &self.model
    }

    /// The provider that runs the model; never [`Provider::Auto`].
    pub fn active_provider(&self) -> Provider {
        self.active
    }

    /// Why `provider=auto` did not choose a GPU, if it did not.
    pub fn provider_note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    pub fn output_names(&self) -> &[String] {
        &self.output_names
    }

    /// Runs finished since the pool was made.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Runs every request, spread over all workers, and waits for the last. Requests come back in
    /// their places with their outputs, also when one failed.
    ///
    /// # Errors
    /// [`InferenceError::Run`] of the first request that failed; [`InferenceError::Deadline`] if
    /// the answers are not there in time (the requests that are out are then lost).
    pub fn run(
        &self,
        requests: &mut [Request],
        deadline: Option<Instant>,
    ) -> Result<(), InferenceError> {
        let fail = |reason: &str| InferenceError::Run {
            model: self.model.spec.id.clone(),
            reason: reason.to_owned(),
        };
        let late = || InferenceError::Deadline { model: self.model.spec.id.clone() };
        let jobs = self.jobs.as_ref().ok_or_else(|| fail("the pool is closed"))?;
        let (reply, answers) = crossbeam_channel::bounded(requests.len().max(1));
        for (tag, slot) in requests.iter_mut().enumerate() {
            let job = Job { request: std::mem::take(slot), tag, reply: reply.clone() };
            let sent = match deadline {
                Some(deadline) => jobs.send_deadline(job, deadline).map_err(|e| e.is_timeout()),
                None => jobs.send(job).map_err(|_| false),
            };
            sent.map_err(|timeout| if timeout { late() } else { fail("the workers are gone") })?;
        }
        drop(reply);
        let mut failed = None;
        for _ in 0..requests.len() {
            let answer = match deadline {
                Some(deadline) => answers.recv_deadline(deadline).map_err(|e| e.is_timeout()),
                None => answers.recv().map_err(|_| false),
            };
            let answer = answer
                .map_err(|timeout| if timeout { late() } else { fail("the workers are gone") })?;
            requests[answer.tag] = answer.request;
            if let Err(reason) = answer.result {
                failed.get_or_insert(reason);
            }
        }
        failed.map_or(Ok(()), |reason| Err(fail(&reason)))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Without senders the workers leave after the job at hand.
        self.jobs = None;
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn work(mut session: Session, queue: &Receiver<Job>, runs: &AtomicU64) {
    while let Ok(Job { mut request, tag, reply }) = queue.recv() {
        // A panic in here must cost one request, not the host process.
        let result = catch_unwind(AssertUnwindSafe(|| run_session(&mut session, &mut request)))
            .unwrap_or_else(|_| Err("the inference thread panicked".to_owned()));
        runs.fetch_add(1, Ordering::Relaxed);
        // The receiver is gone when its deadline passed: nobody waits for this answer.
        let _ = reply.send(Answer { request, tag, result });
    }
}

fn run_session(session: &mut Session, request: &mut Request) -> Result<(), String> {
    let input = TensorRef::from_array_view(&request.input).map_err(|e| e.to_string())?;
    let begun = cpu::thread_time();
    let outputs = session.run(ort::inputs![input]).map_err(|e| e.to_string())?;
    let spent = cpu::thread_time().saturating_sub(begun).as_nanos();
    RUN_TIME.fetch_add(u64::try_from(spent).unwrap_or(u64::MAX), Ordering::Relaxed);
    request.outputs.resize_with(outputs.len(), || ArrayD::zeros(IxDyn(&[0])));
    for (value, output) in outputs.values().zip(&mut request.outputs) {
        let value = value.try_extract_array::<f32>().map_err(|e| e.to_string())?;
        if value.shape() == output.shape() {
            output.assign(&value);
        } else {
            *output = value.to_owned();
        }
    }
    Ok(())
}
