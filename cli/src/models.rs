//! `facectl models`: list, fetch, path, verify, warmup.

mod warmup;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Subcommand};
use face_core::fetch::{FetchError, FetchOptions, fetch};
use face_core::model::{
    self, DEFAULT_DETECTOR, DEFAULT_EMBEDDER, FileState, ModelSpec, PATH_VARIABLE, SearchPath, Task,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// List, fetch, locate, verify and warm up models.
///
/// Models are searched in the folders of GST_FACE_MODEL_PATH (separated by ':'), then in the
/// user's data folder (~/.local/share/gst-face/models).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(ListArgs),
    Fetch(FetchArgs),
    Path(PathArgs),
    Verify(VerifyArgs),
    Warmup(warmup::WarmupArgs),
}

/// List the models known by name, their licences and which of them are installed.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

/// Download models, resume what was cut, check the checksum. Prints the path of each file.
///
/// A model that is installed and intact is not fetched again. A file gets its name only when it is
/// whole and its checksum is right.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("what").required(true).args(["names", "default", "all"]))]
struct FetchArgs {
    /// Names of models, as `facectl models list` shows them.
    #[arg(value_name = "NAME", value_parser = known_names())]
    names: Vec<String>,
    /// Fetch the default detector and the default embedder.
    #[arg(long)]
    default: bool,
    /// Fetch every model that has a download address and may be used commercially; with
    /// --accept-non-commercial the others too.
    #[arg(long)]
    all: bool,
    /// Folder to put the files into [default: the user's data folder].
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Download from this address instead of the official one; for one NAME only. The checksum
    /// stays that of the official file.
    #[arg(long, value_name = "URL", requires = "names")]
    url: Option<String>,
    /// Fetch models whose licence forbids commercial use, too.
    #[arg(long)]
    accept_non_commercial: bool,
}

/// Print the path of an installed model.
#[derive(Debug, clap::Args)]
struct PathArgs {
    /// Name of a model.
    #[arg(value_name = "NAME", value_parser = known_names())]
    name: String,
}

/// Compare the checksums of installed models with the registry. Exit code 1 if one is damaged or
/// missing.
#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// Names of models [default: the default models and every other one that is installed].
    #[arg(value_name = "NAME", value_parser = known_names())]
    names: Vec<String>,
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

fn known_names() -> PossibleValuesParser {
    PossibleValuesParser::new(model::registry().iter().map(|spec| spec.id.as_str()))
}

/// Runs the subcommand; the exit code if it could be run.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::List(args) => list(&args),
        Action::Fetch(args) => fetch_all(&args),
        Action::Path(args) => path(&args),
        Action::Verify(args) => verify(&args),
        Action::Warmup(args) => warmup::run(&args),
    }
}

/// A model as JSON tells it.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    task: Task,
    default: bool,
    description: &'static str,
    file: &'static str,
    bytes: u64,
    sha256: &'static str,
    licence: &'static str,
    commercial: bool,
    training_data: &'static str,
    url: Option<&'static str>,
    url_verified: bool,
    intact: bool,
    copies: Vec<CopyRow>,
}

#[derive(Serialize)]
struct CopyRow {
    path: PathBuf,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl CopyRow {
    fn new(copy: model::Copy) -> Self {
        let (state, detail) = match copy.state {
            FileState::Intact => ("intact", None),
            FileState::Damaged { sha256 } => ("damaged", Some(format!("its sha256 is {sha256}"))),
            FileState::LfsPointer => {
                ("lfs-pointer", Some("a Git LFS pointer stands in for the file".to_owned()))
            }
            FileState::Unreadable { reason } => ("unreadable", Some(reason)),
            FileState::Missing => ("missing", None),
        };
        Self { path: copy.path, state, detail }
    }
}

impl Row {
    fn new(spec: &'static ModelSpec, search: &SearchPath) -> Self {
        let copies: Vec<_> = search.copies(spec).into_iter().map(CopyRow::new).collect();
        Self {
            name: &spec.id,
            task: spec.task,
            default: is_default(spec),
            description: &spec.description,
            file: &spec.file.name,
            bytes: spec.file.bytes,
            sha256: &spec.file.sha256,
            licence: &spec.licence,
            commercial: spec.commercial,
            training_data: &spec.training_data,
            url: spec.file.url.as_deref(),
            url_verified: spec.file.url_verified,
            intact: copies.iter().any(|copy| copy.state == "intact"),
            copies,
        }
    }

    fn installed(&self) -> String {
        let intact = self.copies.iter().find(|copy| copy.state == "intact");
        match intact.or(self.copies.first()) {
            Some(copy) if copy.state == "intact" => copy.path.display().to_string(),
            Some(copy) => format!("{} ({})", copy.path.display(), copy.state),
            None => "no".to_owned(),
        }
    }
}

fn is_default(spec: &ModelSpec) -> bool {
    spec.id == DEFAULT_DETECTOR || spec.id == DEFAULT_EMBEDDER
}

/// What `models list` says about the download address.
fn address(url: Option<&str>, verified: bool) -> &'static str {
    match (url, verified) {
        (None, _) => "none: bring your own file",
        (Some(_), true) => "address verified",
        (Some(_), false) => "address not verified",
    }
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let search = SearchPath::from_env();
    let rows: Vec<_> = model::registry().iter().map(|spec| Row::new(spec, &search)).collect();
    let mut out = io::stdout().lock();
    if args.json {
        print_json(&mut out, &rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["NAME", "TASK", "SIZE", "LICENCE", "COMMERCIAL", "ADDRESS", "INSTALLED"];
    let mut table = vec![header.map(str::to_owned)];
    for row in &rows {
        table.push([
            format!("{}{}", row.name, if row.default { " *" } else { "" }),
            row.task.to_string(),
            size(row.bytes),
            row.licence.to_owned(),
            if row.commercial { "yes" } else { "no" }.to_owned(),
            address(row.url, row.url_verified).to_owned(),
            row.installed(),
        ]);
    }
    print_table(&mut out, &table)?;
    writeln!(out, "* used when no model is named")?;
    Ok(ExitCode::SUCCESS)
}

fn print_json(out: &mut impl Write, rows: &[impl Serialize]) -> io::Result<()> {
    // An error of serde_json hides the kind of the input/output error inside it: text first.
    let text = serde_json::to_string_pretty(rows).map_err(io::Error::from)?;
    writeln!(out, "{text}")
}

fn print_table<const N: usize>(out: &mut impl Write, table: &[[String; N]]) -> io::Result<()> {
    let width =
        |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    for row in table {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A length in bytes for people: 322.9 kB.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn fetch_all(args: &FetchArgs) -> anyhow::Result<ExitCode> {
    if args.url.is_some() && args.names.len() != 1 {
        let text = "--url needs exactly one NAME\n";
        clap::Error::raw(clap::error::ErrorKind::WrongNumberOfValues, text).exit();
    }
    let folder = match &args.dir {
        Some(folder) => folder.clone(),
        None => model::data_dir()
            .ok_or_else(|| anyhow!("there is no home folder for models: name one with --dir"))?,
    };
    let options = FetchOptions {
        url: args.url.clone(),
        accept_non_commercial: args.accept_non_commercial,
        ..FetchOptions::default()
    };
    let mut failed = 0;
    for spec in chosen(args) {
        let result = fetch_one(spec, &folder, args.dir.is_some(), &options);
        match result {
            Ok(path) => writeln!(io::stdout(), "{}", path.display())?,
            // The other models are fetched nevertheless.
            Err(error) => {
                failed += 1;
                crate::output::report(error.as_ref());
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The models asked for, each once.
fn chosen(args: &FetchArgs) -> Vec<&'static ModelSpec> {
    let wanted = |spec: &&ModelSpec| {
        if args.default {
            return is_default(spec);
        }
        if !args.all {
            return args.names.contains(&spec.id);
        }
        let skipped = if spec.file.url.is_none() {
            "it has no download address"
        } else if !spec.commercial && !args.accept_non_commercial {
            "its licence forbids commercial use (--accept-non-commercial)"
        } else {
            return true;
        };
        crate::output::note(format_args!("{}: skipped, {skipped}", spec.id));
        false
    };
    model::registry().iter().filter(wanted).collect()
}

/// Fetches one model into `folder`; the path of the file. If the user did not name the folder, a
/// copy elsewhere on the search path will do.
fn fetch_one(
    spec: &ModelSpec,
    folder: &Path,
    named: bool,
    options: &FetchOptions,
) -> anyhow::Result<PathBuf> {
    let search = SearchPath::from_env();
    if !named
        && let Some(copy) =
            search.copies(spec).into_iter().find(|copy| copy.state == FileState::Intact)
    {
        crate::output::note(format_args!("{}: already installed", spec.id));
        return Ok(copy.path);
    }
    let uses = if spec.commercial { "" } else { ", not for commercial use" };
    let verified = address(spec.file.url.as_deref(), spec.file.url_verified);
    crate::output::note(format_args!(
        "{}: {}, licence {}{uses}; trained on {}; {verified}",
        spec.id,
        size(spec.file.bytes),
        spec.licence,
        spec.training_data,
    ));
    let bar = bar(spec);
    let fetched = fetch(spec, folder, options, &mut |done, _| {
        bar.set_position(done);
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    let fetched = fetched.map_err(|error| match error {
        FetchError::NonCommercial { .. } => anyhow!("{error} (--accept-non-commercial)"),
        error => error.into(),
    })?;
    crate::output::note(format_args!(
        "{}: {}, checksum right",
        spec.id,
        if fetched.downloaded { "fetched" } else { "already there" },
    ));
    if !search.folders().iter().any(|searched| searched == folder) {
        crate::output::note(format_args!(
            "{}: '{}' is not searched for models: add it to {PATH_VARIABLE}",
            spec.id,
            folder.display(),
        ));
    }
    Ok(fetched.path)
}

/// A progress bar on standard error, which shows nothing if that is not a terminal.
fn bar(spec: &ModelSpec) -> ProgressBar {
    let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(spec.file.bytes).with_style(style).with_message(spec.id.clone())
}

fn path(args: &PathArgs) -> anyhow::Result<ExitCode> {
    let spec = known(&args.name)?;
    let found = model::resolve(&spec.id, spec.task)?;
    writeln!(io::stdout(), "{}", found.path.display())?;
    Ok(ExitCode::SUCCESS)
}

fn known(name: &str) -> anyhow::Result<&'static ModelSpec> {
    model::find(name).ok_or_else(|| anyhow!("unknown model '{name}'"))
}

fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let search = SearchPath::from_env();
    let named = |spec: &ModelSpec| args.names.contains(&spec.id);
    let rows: Vec<_> = model::registry()
        .iter()
        .filter(|spec| args.names.is_empty() || named(spec))
        .map(|spec| Row::new(spec, &search))
        .filter(|row| !args.names.is_empty() || row.default || !row.copies.is_empty())
        .collect();
    let mut out = io::stdout().lock();
    if args.json {
        print_json(&mut out, &rows)?;
    } else {
        print_verdicts(&mut out, &rows)?;
    }
    let good = |row: &Row| row.intact && row.copies.iter().all(|copy| copy.state == "intact");
    Ok(if rows.iter().all(good) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// One line for each copy, or that there is none.
fn print_verdicts(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    for row in rows {
        if row.copies.is_empty() {
            let todo = match row.url {
                Some(_) => format!("run 'facectl models fetch {}'", row.name),
                None => format!("bring your own file '{}'", row.file),
            };
            writeln!(out, "{}: missing; {todo}", row.name)?;
        }
        for copy in &row.copies {
            let detail = copy.detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
            writeln!(out, "{}: {}: {}{detail}", row.name, copy.path.display(), copy.state)?;
        }
    }
    Ok(())
}
