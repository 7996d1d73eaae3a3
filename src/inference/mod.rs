//! ONNX Runtime: finding and loading the library, execution providers, and the pool of workers
//! that all elements of a process share. The only module that names `ort`.
//!
//! On a CPU a pool has one-thread sessions, one per worker: two sessions of one thread embed
//! faces faster and more steadily than one session of two threads, and nothing spins while idle.
//! CUDA, TensorRT and OpenVINO get one session and one worker.
//!
//! `load` finds the runtime and makes sessions, `session` runs them. `queue` says which request is
//! next, `workers` are the threads, `handle` is what a stream has of them, and `pool` shares all of
//! it. Each handle has a line of its own in the queue, and the lines take turns, so that a stream
//! with many faces does not hold up one with few. `libraries` finds what the runtime's
//! providers need, `tensorrt` builds engines, `engines` keeps them, and `upgrade` lets one take the
//! place of CUDA.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ndarray::{Array4, ArrayD};
use serde::{Deserialize, Serialize};

use crate::model::ModelError;

mod engines;
mod gpu;
mod handle;
mod libraries;
mod load;
mod pool;
mod queue;
mod session;
mod tensorrt;
mod upgrade;
mod workers;

pub use engines::{ENGINE_CACHE_VARIABLE, engine_cache};
pub use gpu::{NvidiaDriver, nvidia_driver};
pub use handle::{Canceller, Handle, LONGEST_LINE};
pub use load::{
    OLDEST_RUNTIME, provider_loads, providers_present, runtime_build_info, runtime_path,
};
pub use pool::{LARGEST_BATCH, Pool};
pub use session::run_time;
pub use tensorrt::{WarmUp, warm_up};
pub use upgrade::{ProviderInfo, ProviderState};

/// Where a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// CUDA where it loads, else the CPU; what was chosen is reported.
    #[default]
    Auto,
    Cpu,
    Cuda,
    TensorRt,
    OpenVino,
}

impl Provider {
    pub const ALL: [Provider; 5] =
        [Provider::Auto, Provider::Cpu, Provider::Cuda, Provider::TensorRt, Provider::OpenVino];

    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Auto => "auto",
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
            Provider::OpenVino => "openvino",
        }
    }

    /// The provider of that name, or `None`.
    pub fn parse(name: &str) -> Option<Provider> {
        Provider::ALL.into_iter().find(|p| p.as_str() == name)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    #[error(
        "load ONNX Runtime: no usable library found; run scripts/setup.sh, or name the file with \
         the property runtime-library or GST_FACE_ORT_PATH. Tried: {}", .tried.join("; ")
    )]
    Runtime { tried: Vec<String> },
    #[error("start ONNX Runtime: {reason}")]
    Environment { reason: String },
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("load model '{}': {reason}", .path.display())]
    ModelLoad { path: PathBuf, reason: String },
    #[error("model '{}' is not what its specification '{id}' says: {reason}", .path.display())]
    ModelKind { path: PathBuf, id: String, reason: String },
    #[error(
        "provider {provider} cannot be used: {reason}. Choose provider=cpu, or provider=auto to \
         fall back"
    )]
    Provider { provider: Provider, reason: String },
    #[error("start inference thread")]
    Thread(#[source] std::io::Error),
    #[error("run model '{model}': {reason}")]
    Run { model: String, reason: String },
    #[error("model '{model}' missed its deadline")]
    Deadline { model: String },
    #[error("model '{model}' was not waited for: the stream stops")]
    Cancelled { model: String },
}

/// How a pool is made. Two equal sets of options on one file share one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolOptions {
    pub provider: Provider,
    /// Index of the GPU.
    pub device_id: u32,
    /// CPU workers; 0: one per core.
    pub threads: usize,
    /// Path of libonnxruntime.so, or of a folder that holds it; searched when absent.
    pub runtime_library: Option<PathBuf>,
    /// Folders that are searched for ONNX Runtime, such as the plugin's own.
    pub runtime_folders: Vec<PathBuf>,
    /// Folder that TensorRT's engines are kept in; [`ENGINE_CACHE_VARIABLE`] or the user's cache when absent.
    pub engine_cache: Option<PathBuf>,
}

/// What a pool does and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Requests that wait for a worker now.
    pub queued: usize,
    /// Requests that are being run now.
    pub running: u64,
    /// Runs of the model; fewer than requests where batches are run.
    pub runs: u64,
    /// Requests that were run, also those that failed.
    pub requests: u64,
    /// Time that workers spent in runs.
    pub wall: Duration,
    /// Processor time of their threads inside ONNX Runtime.
    pub cpu: Duration,
}

/// What became of the requests of one handle. Of a batch each request counts its share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandleStats {
    pub done: u64,
    pub failed: u64,
    /// Given up, because their deadline passed or the stream stopped.
    pub late: u64,
    /// Time in the queue.
    pub waited: Duration,
    /// Time that workers spent on them.
    pub wall: Duration,
    /// Processor time of the workers' threads inside ONNX Runtime.
    pub cpu: Duration,
}

/// A request and, when it comes back, its answer: the caller keeps it, so that its buffers are
/// used again.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Planar floats [batch, channels, height, width].
    pub input: Array4<f32>,
    /// The outputs, in the order of [`Pool::output_names`].
    pub outputs: Vec<ArrayD<f32>>,
}

impl Request {
    /// Takes the input's memory out, to be filled anew.
    pub fn take_input(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.input).into_raw_vec_and_offset().0
    }

    /// Values of an output in the order of its shape; empty if there is no such output.
    pub fn output(&self, index: usize) -> &[f32] {
        self.outputs.get(index).and_then(|o| o.as_slice()).unwrap_or_default()
    }
}
