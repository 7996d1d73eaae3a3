//! The pools of the process: one per model, provider and options, shared by everybody who asks.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::handle::Handle;
use super::load::{self, Loader};
use super::session::{SessionRunner, has_free_batch};
use super::upgrade::{Engine, Progress};
use super::workers::{Batching, Runner, Workers};
use super::{InferenceError, PoolOptions, PoolStats, Provider, ProviderInfo};
use crate::model::ResolvedModel;

/// How many requests a GPU runs together.
pub const LARGEST_BATCH: usize = 16;
/// How long a batch that is not full waits for other streams: a fraction of a run on a GPU.
const GATHER: Duration = Duration::from_millis(1);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    path: PathBuf,
    id: String,
    options: PoolOptions,
}

/// Locked under [`load::building`], never the other way around.
static POOLS: LazyLock<Mutex<HashMap<Key, Weak<Pool>>>> = LazyLock::new(Mutex::default);

/// Workers that run one model. Shared by every element of the process that asks for the same
/// model with the same options.
pub struct Pool {
    model: ResolvedModel,
    workers: Arc<Workers>,
    progress: Arc<Progress>,
    output_names: Vec<String>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("model", &self.model.path)
            .field("provider", &self.progress.info())
            .field("workers", &self.workers.count())
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
        let loader = Arc::new(Loader::new(model, options)?);
        let (first, progress) = loader.start()?;
        load::check_signature(model, first.session())?;
        let outputs = first.session().outputs();
        let output_names = outputs.iter().map(|o| o.name().to_owned()).collect();
        let active = progress.info().active;
        let count = match active {
            Provider::Cpu if options.threads > 0 => options.threads,
            Provider::Cpu => std::thread::available_parallelism().map_or(1, usize::from),
            _ => 1,
        };
        let batching = match active {
            // A batch of n takes a CPU as long as n runs.
            Provider::Cuda | Provider::TensorRt if has_free_batch(first.session()) => {
                Batching { most: LARGEST_BATCH, gather: GATHER }
            }
            _ => Batching::NONE,
        };
        let mut engines = vec![first];
        for _ in 1..count {
            engines.push(Engine::plain(loader.session(active)?));
        }
        let workers = Arc::new(start(&model.spec.id, engines, batching)?);
        Ok(Pool { model: model.clone(), workers, progress, output_names })
    }

    pub fn model(&self) -> &ResolvedModel {
        &self.model
    }

    /// The provider that runs the model now; never [`Provider::Auto`].
    pub fn active_provider(&self) -> Provider {
        self.progress.info().active
    }

    /// Which provider runs the model, and how far the one asked for is.
    pub fn provider_info(&self) -> ProviderInfo {
        self.progress.info()
    }

    /// Goes up when [`Pool::provider_info`] changes: TensorRT starts on CUDA and takes over later.
    pub fn provider_changes(&self) -> u64 {
        self.progress.changes()
    }

    pub fn workers(&self) -> usize {
        self.workers.count()
    }

    /// Access for one stream.
    pub fn handle(&self) -> Handle {
        self.workers.handle()
    }

    pub fn stats(&self) -> PoolStats {
        self.workers.stats()
    }

    pub fn output_names(&self) -> &[String] {
        &self.output_names
    }
}

/// Starts a worker per engine.
fn start(model: &str, engines: Vec<Engine>, batching: Batching) -> Result<Workers, InferenceError> {
    let runner = |engine| {
        let mut runner = SessionRunner::new(engine);
        Box::new(move |requests: &mut [_]| runner.run(requests)) as Runner
    };
    Workers::start(model, engines.into_iter().map(runner).collect(), batching)
}
