//! `facectl models warmup`: building beforehand what a provider would build at its first start.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use face_core::inference::{self, PoolOptions, Provider, WarmUp};
use face_core::model::{self, DEFAULT_DETECTOR, DEFAULT_EMBEDDER, ResolvedModel, Task};
use indicatif::ProgressBar;

use crate::options::{PlaceOptions, provider_parser};
use crate::output;

/// Build what a provider needs of models beforehand, so that pipelines start with it.
///
/// TensorRT builds an engine per model, GPU and version, which takes minutes; a pipeline that finds
/// none runs on CUDA until then. Prints one line per model: its engine's folder, or that nothing has to be built.
/// The other providers only load the model, which shows that they work.
#[derive(Debug, clap::Args)]
pub(super) struct WarmupArgs {
    /// Models: names from the registry, or ONNX files [default: the default models].
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Where the models will run.
    #[arg(long, default_value = Provider::TensorRt.as_str(), value_parser = provider_parser())]
    provider: Provider,
    /// Number of the GPU.
    #[arg(long, value_name = "N", default_value_t = 0)]
    device_id: u32,
    /// Folder to keep engines in [default: GST_FACE_ENGINE_CACHE, else the user's cache folder].
    #[arg(long, value_name = "FOLDER")]
    engine_cache: Option<PathBuf>,
    /// ONNX Runtime: libonnxruntime.so, or the folder that holds it [default: searched].
    #[arg(long, value_name = "PATH")]
    runtime_library: Option<PathBuf>,
}

pub(super) fn run(args: &WarmupArgs) -> anyhow::Result<ExitCode> {
    let place = PlaceOptions {
        provider: args.provider,
        device_id: args.device_id,
        threads: 1,
        runtime_library: args.runtime_library.clone(),
    };
    let options = PoolOptions { engine_cache: args.engine_cache.clone(), ..place.pools() };
    let defaults = [DEFAULT_DETECTOR, DEFAULT_EMBEDDER].map(str::to_owned);
    let names = if args.models.is_empty() { &defaults[..] } else { &args.models };
    let mut failed = false;
    for name in names {
        match warm_up(name, &options) {
            Ok(line) => output::line(&line)?,
            // The other models are built nevertheless.
            Err(error) => {
                failed = true;
                output::report(error.as_ref());
            }
        }
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// The line to print.
fn warm_up(name: &str, options: &PoolOptions) -> anyhow::Result<String> {
    let model = resolve(name)?;
    let bar = ProgressBar::new_spinner().with_message(format!("{name}: {}", options.provider));
    // It shows nothing where standard error is no terminal.
    bar.enable_steady_tick(Duration::from_millis(200));
    let begun = Instant::now();
    let result = inference::warm_up(&model, options);
    bar.finish_and_clear();
    let WarmUp { active, note, engine, built } = result?;
    let note = note.map_or(String::new(), |note| format!(" ({note})"));
    Ok(match engine {
        Some(folder) if built => {
            let seconds = begun.elapsed().as_secs_f64();
            format!("{name}: {active}, built in {seconds:.0} s: {}", folder.display())
        }
        Some(folder) => format!("{name}: {active}, built before: {}", folder.display()),
        None => format!("{name}: loads on {active}, which builds nothing{note}"),
    })
}

/// A model of whatever task.
fn resolve(name: &str) -> anyhow::Result<ResolvedModel> {
    let task = model::find(name).map(|spec| spec.task);
    match task {
        Some(task) => Ok(model::resolve(name, task)?),
        // A file says itself what it is for.
        None => Ok(model::resolve(name, Task::Detector)
            .or_else(|error| model::resolve(name, Task::Embedder).map_err(|_| error))?),
    }
}
