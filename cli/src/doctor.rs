//! `facectl doctor`: is everything there that the elements and commands need?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use face_core::embed::{Embedder, Fingerprint};
use face_core::gallery::{Access, Gallery, Location};
use face_core::inference::{self, InferenceError, Pool, PoolOptions, Provider};
use face_core::model::{ResolvedModel, Task};
use gst::prelude::*;
use serde::Serialize;

use crate::options::ModelOptions;
use crate::output::{self, Exit, counted, printable, with_causes};

/// Check that everything needed is there and works
///
/// Looks at GStreamer, the plugin, ONNX Runtime and its execution providers, the models, and the
/// gallery if one is named. One line each: ok, warning or problem, and what to do.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object: ok (no problem found), checks: check, status (ok, warning, problem), \
detail, advice.

Exit status: 0 without a problem (warnings are none), 1 with one.")]
pub(crate) struct Arguments {
    /// Look at this gallery, too: a file, or postgresql://ROLE@HOST/DATABASE
    #[arg(long, short, value_name = "FILE")]
    gallery: Option<Location>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: ModelOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warning,
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    check: String,
    status: State,
    detail: String,
    advice: Option<String>,
}

impl Check {
    fn ok(check: &str, detail: impl Into<String>) -> Self {
        Self { check: check.to_owned(), status: State::Ok, detail: detail.into(), advice: None }
    }

    fn warning(check: &str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { status: State::Warning, advice, ..Self::ok(check, detail) }
    }

    /// Errors say themselves what to do.
    fn failed(check: &str, error: &dyn std::error::Error) -> Self {
        Self { status: State::Problem, ..Self::ok(check, with_causes(error)) }
    }

    fn print(&self) -> anyhow::Result<()> {
        let status = match self.status {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Problem => "problem",
        };
        let (check, detail) = (&self.check, &self.detail);
        let advice = self.advice.as_ref().map_or(String::new(), |a| format!("; {a}"));
        output::line(&printable(&format!("{status:<7}  {check}: {detail}{advice}")))
    }
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    ok: bool,
    checks: &'a [Check],
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut checks = gstreamer();
    let pools = arguments.models.pools();
    let runtime = runtime(&pools);
    let runtime_works = runtime.status == State::Ok;
    checks.push(runtime);
    let detector = model(&arguments.models, Task::Detector, &mut checks);
    let embedder = model(&arguments.models, Task::Embedder, &mut checks);
    let mut fingerprint = None;
    if runtime_works {
        if let Some(detector) = &detector {
            checks.extend(providers(detector, &pools));
        }
        if let Some(embedder) = &embedder {
            fingerprint = embeds(embedder, &pools, &mut checks);
        }
    }
    if let Some(location) = &arguments.gallery {
        checks.push(gallery(location, fingerprint.as_deref()));
    }
    let ok = checks.iter().all(|c| c.status != State::Problem);
    if arguments.json {
        output::json(&Report { ok, checks: &checks })?;
    } else {
        checks.iter().try_for_each(Check::print)?;
    }
    Ok(if ok { Exit::Success } else { Exit::Negative })
}

fn gstreamer() -> Vec<Check> {
    if let Err(error) = gst::init() {
        return vec![Check::failed("gstreamer", &error)];
    }
    let (major, minor, micro, _) = gst::version();
    vec![Check::ok("gstreamer", format!("version {major}.{minor}.{micro}")), plugin(), facedetect()]
}

/// facectl has the elements built in, so that a missing plugin is nothing it suffers from.
fn plugin() -> Check {
    const NAME: &str = "plugin";
    let set = std::env::var("GST_PLUGIN_PATH").ok().filter(|v| !v.is_empty());
    let set = set.map_or("is not set".to_owned(), |path| format!("is '{path}'"));
    if let Some(file) = unloadable_plugin() {
        let file = file.display();
        return Check {
            status: State::Problem,
            advice: Some(format!("see why with 'ldd {file}', and install it again")),
            ..Check::ok(NAME, format!("GStreamer cannot load {file}"))
        };
    }
    let Some(plugin) = gst::Registry::get().find_plugin("face") else {
        return Check::warning(
            NAME,
            format!("GStreamer finds no plugin 'face' (GST_PLUGIN_PATH {set})"),
            "put the folder of libgstface.so into GST_PLUGIN_PATH; facectl works without it",
        );
    };
    let file = plugin.filename().map_or("built in".to_owned(), |f| f.display().to_string());
    let version = plugin.version();
    let own = env!("CARGO_PKG_VERSION");
    if !version.starts_with(own) {
        let advice = "install both from one build";
        return Check::warning(
            NAME,
            format!("{file} has version {version}, facectl {own}"),
            advice,
        );
    }
    Check::ok(NAME, format!("version {version}, {file}"))
}

/// GStreamer does not know the name of a plugin that it cannot load, only its file.
fn unloadable_plugin() -> Option<PathBuf> {
    let ours = |file: &PathBuf| file.file_name().is_some_and(|name| name == "libgstface.so");
    let plugins = gst::Registry::get().plugins();
    let bad = plugins.iter().filter(|p| p.plugin_flags().contains(gst::PluginFlags::BLACKLISTED));
    bad.filter_map(|p| p.filename()).find(ours)
}

/// OpenCV's plugin has an element of that name, too; in a fresh registry it wins.
fn facedetect() -> Check {
    const NAME: &str = "facedetect";
    let owner = |name: &str| {
        let feature = gst::Registry::get().lookup_feature(name)?;
        feature.plugin_name().map(|p| p.to_string())
    };
    match (owner("facedetect").as_deref(), owner("onnxfacedetect").is_some()) {
        (Some("face"), _) => Check::ok(NAME, "the element belongs to plugin 'face'"),
        (Some(other), true) => Check::warning(
            NAME,
            format!("the element of that name belongs to plugin '{other}'"),
            "write onnxfacedetect in pipelines",
        ),
        (Some(other), false) => Check::warning(
            NAME,
            format!("the element of that name belongs to plugin '{other}'"),
            "once plugin 'face' is found, write onnxfacedetect in pipelines",
        ),
        (None, _) => Check::warning(NAME, "no element of that name", "it comes with plugin 'face'"),
    }
}

fn runtime(pools: &PoolOptions) -> Check {
    match inference::runtime_path(pools) {
        Ok(path) => {
            let build = inference::runtime_build_info().unwrap_or("build unknown");
            let (version, path) = (runtime_version(&path), path.display());
            Check::ok("onnxruntime", format!("version {version}, {path}, {}", build.trim()))
        }
        Err(error) => Check::failed("onnxruntime", &error),
    }
}

/// ONNX Runtime tells its version through its C interface only, but its file is named after it. An
/// older one than the oldest accepted is not loaded.
fn runtime_version(path: &Path) -> String {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    match name.strip_prefix("libonnxruntime.so.") {
        Some(version) if version.contains('.') => version.to_owned(),
        _ => format!("1.{} or newer", inference::OLDEST_RUNTIME),
    }
}

/// Is the model there, and are its bytes those that the registry says?
fn model(models: &ModelOptions, task: Task, checks: &mut Vec<Check>) -> Option<ResolvedModel> {
    let name = task.to_string();
    match models.resolve(task) {
        Ok(model) => {
            let (id, path) = (&model.spec.id, model.path.display());
            let detail = if model.spec.file.sha256.is_empty() {
                format!("{id}, {path}, no checksum known")
            } else {
                format!("{id}, {path}, intact")
            };
            checks.push(Check::ok(&name, detail));
            Some(model)
        }
        Err(error) => {
            checks.push(Check::failed(&name, error.as_ref()));
            None
        }
    }
}

/// Loads the detector with every provider that lies beside ONNX Runtime: a library that is there
/// may still miss its driver.
fn providers(detector: &ResolvedModel, pools: &PoolOptions) -> Vec<Check> {
    let mut present = match inference::providers_present(pools) {
        Ok(present) => present,
        Err(error) => return vec![Check::failed("providers", &error)],
    };
    if pools.provider != Provider::Auto && !present.contains(&pools.provider) {
        present.push(pools.provider);
    }
    let check = |provider: Provider| {
        let name = format!("provider {provider}");
        let options = PoolOptions { provider, threads: 1, ..pools.clone() };
        match loads(detector, &options) {
            Ok(detail) => Check::ok(&name, detail),
            // auto falls back to the CPU; without that nothing works.
            Err(error) if provider != Provider::Cpu && provider != pools.provider => {
                Check::warning(&name, with_causes(&error), "provider=auto goes on without it")
            }
            Err(error) => Check::failed(&name, &error),
        }
    };
    let gpu = nvidia(&present);
    gpu.into_iter().chain(present.into_iter().map(check)).collect()
}

/// Does the provider load? TensorRT is not asked for the model: it would build an engine.
fn loads(detector: &ResolvedModel, options: &PoolOptions) -> Result<String, InferenceError> {
    if options.provider != Provider::TensorRt {
        return Pool::shared(detector, options).map(|_| format!("loads {}", detector.spec.id));
    }
    inference::provider_loads(options)?;
    let folder = inference::engine_cache(options).unwrap_or_default();
    Ok(format!("loads; its engines are kept in {}", folder.display()))
}

/// What NVIDIA's driver says, where it runs or is needed.
fn nvidia(present: &[Provider]) -> Option<Check> {
    const NAME: &str = "nvidia";
    let cuda = present.contains(&Provider::Cuda);
    let Some(driver) = inference::nvidia_driver() else {
        let advice = "install NVIDIA's driver, or use this ONNX Runtime on the CPU alone";
        return cuda.then(|| Check::warning(NAME, "no driver of NVIDIA runs", advice));
    };
    let detail = format!("driver {}, {}", driver.version, driver.gpus.join(", "));
    Some(if cuda {
        Check::ok(NAME, detail)
    } else {
        let detail = format!("{detail}, and this ONNX Runtime has no CUDA provider");
        Check::warning(NAME, detail, "run scripts/setup.sh --gpu to use the GPU")
    })
}

fn embeds(
    embedder: &ResolvedModel,
    pools: &PoolOptions,
    checks: &mut Vec<Check>,
) -> Option<Arc<Fingerprint>> {
    // A provider that does not work has a line of its own already.
    let options = PoolOptions { provider: Provider::Cpu, threads: 1, ..pools.clone() };
    match Embedder::load(embedder, &options) {
        Ok(embedder) => {
            let fingerprint = embedder.fingerprint().clone();
            let (id, dim) = (&embedder.spec().id, fingerprint.dim());
            checks.push(Check::ok("embedding", format!("{id} embeds in {dim} dimensions")));
            Some(fingerprint)
        }
        Err(error) => {
            checks.push(Check::failed("embedding", &error));
            None
        }
    }
}

fn gallery(location: &Location, fingerprint: Option<&Fingerprint>) -> Check {
    const NAME: &str = "gallery";
    let info = match Gallery::inspect(location) {
        Ok(info) => info,
        Err(error) => return Check::failed(NAME, &error),
    };
    if let Some(fingerprint) = fingerprint
        && let Err(error) = Gallery::open(location, fingerprint, Access::Read)
    {
        let advice = Some(format!("name its embedder with --embedder {}", info.model));
        return Check { advice, ..Check::failed(NAME, &error) };
    }
    let detail = format!(
        "'{location}' has {} with {}, embedded by {}",
        counted(info.persons, "person", "people"),
        counted(info.samples, "picture", "pictures"),
        info.model
    );
    if !info.private {
        let advice = format!("close it with 'chmod 600 {location}'");
        return Check::warning(NAME, detail + ", and others may read or write it", advice);
    }
    if location.has_password() {
        let advice = "put it into PGPASSWORD or a password file (PGPASSFILE, ~/.pgpass); \
                      facerecognize, analyze and watch refuse it in the address";
        return Check::warning(NAME, detail + "; its address has a password in it", advice);
    }
    Check::ok(NAME, detail)
}
