//! `facectl clips`: looking after stored clips.

mod annotate;
mod fetch;
mod list;
mod remove;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use face_core::clip::{Clip, ClipError, Clips, Filter, KeyTemplate, Part, SidecarState, utc};
use face_core::storage::{STORAGE_VARIABLE, Storage, StorageError, StorageOptions};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::gallery::edit::{duration, moment};
use crate::output::{self, Exit, printable};

/// List, fetch, play, link, annotate, remove and export stored clips; forget people in them
///
/// The storage is s3://BUCKET/PREFIX?endpoint=…&region=…, file:///FOLDER or a folder, from --storage
/// or GST_FACE_STORAGE. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile
/// in ~/.aws, or the role of the machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::Arguments),
    Get(fetch::GetArguments),
    Play(fetch::PlayArguments),
    Link(fetch::LinkArguments),
    Annotate(annotate::Arguments),
    Remove(remove::RemoveArguments),
    Clear(remove::ClearArguments),
    Prune(remove::PruneArguments),
    Export(fetch::ExportArguments),
    Forget(remove::ForgetArguments),
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let result = match &arguments.action {
        Action::List(arguments) => list::run(arguments),
        Action::Get(arguments) => fetch::get(arguments),
        Action::Play(arguments) => fetch::play(arguments),
        Action::Link(arguments) => fetch::link(arguments),
        Action::Annotate(arguments) => annotate::run(arguments),
        Action::Remove(arguments) => remove::remove(arguments),
        Action::Clear(arguments) => remove::clear(arguments),
        Action::Prune(arguments) => remove::prune(arguments),
        Action::Export(arguments) => fetch::export(arguments),
        Action::Forget(arguments) => remove::forget(arguments),
    };
    match result {
        Err(error) if is_cancelled(&error) => {
            output::note("interrupted");
            Ok(Exit::Interrupted)
        }
        result => result,
    }
}

fn is_cancelled(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<ClipError>(),
        Some(ClipError::Cancelled | ClipError::Storage(StorageError::Cancelled))
    )
}

/// Options of every command here.
#[derive(Debug, clap::Args)]
struct Common {
    /// Where the clips are: s3://BUCKET/PREFIX?…, file:///FOLDER or a folder [default:
    /// GST_FACE_STORAGE]
    #[arg(long, short, value_name = "URI")]
    storage: Option<String>,
    /// How the keys of the clips were made; tells camera and time of clips without a sidecar
    #[arg(long, value_name = "TEMPLATE", default_value = KeyTemplate::DEFAULT,
          value_parser = template)]
    key_template: KeyTemplate,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn template(text: &str) -> Result<KeyTemplate, String> {
    KeyTemplate::parse(text).map_err(|error| error.to_string())
}

/// The clips of a storage; `uri` is what --storage says.
pub(crate) fn open(uri: Option<&str>, template: KeyTemplate) -> anyhow::Result<Clips> {
    let uri = uri.map(str::to_owned).or_else(storage_variable).filter(|uri| !uri.is_empty());
    let uri = uri.ok_or_else(|| {
        anyhow!("no storage is named: give --storage URI, or set {STORAGE_VARIABLE}")
    })?;
    // A folder that is not there has no clips: most likely its name is wrong.
    let options = StorageOptions { create: false, ..StorageOptions::default() };
    let storage = Storage::open_with(&uri, &options).context("open the storage")?;
    Ok(Clips::new(storage, template))
}

/// The storage that the environment names.
pub(crate) fn storage_variable() -> Option<String> {
    std::env::var(STORAGE_VARIABLE).ok().filter(|uri| !uri.is_empty())
}

impl Common {
    fn clips(&self) -> anyhow::Result<Clips> {
        open(self.storage.as_deref(), self.key_template.clone())
    }

    /// Says what was done: as JSON, or in a line.
    fn done(&self, value: &impl Serialize, text: &str) -> anyhow::Result<Exit> {
        if self.json {
            output::json(value)?;
        } else {
            output::line(&printable(text))?;
        }
        Ok(Exit::Success)
    }
}

/// Options that choose clips. A clip must fit all of them.
#[derive(Debug, clap::Args)]
struct Choice {
    /// Of this camera
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Began then or later: 2027-01-31, 2027-01-31T18:30:00Z, or so long ago: 90m, 12h, 30d
    #[arg(long, value_name = "TIME", value_parser = when)]
    since: Option<SystemTime>,
    /// Began before then
    #[arg(long, value_name = "TIME", value_parser = when)]
    until: Option<SystemTime>,
    /// Shows this person, by name or id
    #[arg(long, value_name = "PERSON", value_parser = NonEmptyStringValueParser::new())]
    person: Option<String>,
    /// Has this trigger, such as known-face
    #[arg(long, value_name = "KIND")]
    event: Option<String>,
}

impl Choice {
    /// Is any of them given?
    fn is_given(&self) -> bool {
        let Self { camera, since, until, person, event } = self;
        [camera, person, event].iter().any(|text| text.is_some()) || since.or(*until).is_some()
    }

    fn filter(&self) -> Filter {
        Filter {
            camera: self.camera.clone(),
            since: self.since,
            until: self.until,
            person: self.person.clone(),
            event: self.event.clone(),
        }
    }
}

/// A moment in UTC, or how long ago it was.
fn when(text: &str) -> Result<SystemTime, String> {
    let ago = |ago: Duration| SystemTime::now().checked_sub(ago);
    match duration(text) {
        Ok(time) => ago(time).ok_or_else(|| "that is before all times".to_owned()),
        Err(_) => moment(text).map_err(|error| format!("{error}, or 90m, 12h or 30d ago")),
    }
}

/// Stops what is going on when the user wants that, and shows how far it is.
struct Watch {
    stop: Arc<AtomicBool>,
    bar: ProgressBar,
}

impl Watch {
    /// `what` is counted, such as "clips".
    fn start(what: &'static str) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        crate::analyze::catch_signals(&stop)?;
        let bar = ProgressBar::new(0);
        let counts = if what == "bytes" { "{bytes}/{total_bytes}" } else { "{pos}/{len} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(&format!("{{wide_bar}} {counts}")) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(500));
        Ok(Self { stop, bar })
    }

    fn step(&self, done: u64, total: u64) -> ControlFlow<()> {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.go_on()
    }

    fn go_on(&self) -> ControlFlow<()> {
        if self.stop.load(Ordering::SeqCst) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn steps(&self) -> impl FnMut(usize, usize) -> ControlFlow<()> + '_ {
        |done, total| self.step(done as u64, total as u64)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The clips that fit.
fn chosen(clips: &Clips, filter: &Filter) -> anyhow::Result<Vec<Clip>> {
    let watch = Watch::start("sidecars")?;
    let found = clips.list(filter, &mut watch.steps())?;
    drop(watch);
    Ok(found)
}

/// A clip in JSON.
#[derive(Debug, Serialize)]
struct Record<'a> {
    clip: &'a str,
    camera: Option<&'a str>,
    start: String,
    event: Option<&'a str>,
    events: &'a [String],
    duration_s: Option<f64>,
    people: Vec<PersonRecord<'a>>,
    truncated: Option<bool>,
    bytes: u64,
    original: Option<&'a str>,
    json: Option<&'a str>,
    annotated: Option<&'a str>,
    snapshot: Option<&'a str>,
    sidecar: &'static str,
    sidecar_error: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct PersonRecord<'a> {
    name: &'a str,
    person_id: &'a str,
}

impl<'a> Record<'a> {
    fn new(clip: &'a Clip) -> Self {
        let summary = clip.summary();
        let key = |part| clip.part(part).map(|object| object.key.as_str());
        let (sidecar, sidecar_error) = match &clip.sidecar {
            SidecarState::Missing => ("missing", None),
            SidecarState::Broken(error) => ("broken", Some(error.as_str())),
            SidecarState::Read(_) => ("read", None),
        };
        let people = summary.map(|summary| summary.people.as_slice()).unwrap_or_default();
        Self {
            clip: &clip.stem,
            camera: clip.camera.as_deref(),
            start: utc::format(clip.start),
            event: clip.event.as_deref(),
            events: summary.map(|summary| summary.events.as_slice()).unwrap_or_default(),
            duration_s: summary.map(|summary| summary.duration.as_secs_f64()),
            people: people
                .iter()
                .map(|(name, person_id)| PersonRecord { name, person_id })
                .collect(),
            truncated: summary.map(|summary| summary.truncated),
            bytes: clip.bytes(),
            original: key(Part::Original),
            json: key(Part::Sidecar),
            annotated: key(Part::Annotated),
            snapshot: key(Part::Snapshot),
            sidecar,
            sidecar_error,
        }
    }
}

/// "3.2 MiB".
fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_may_be_long_ago() {
        let hour = Duration::from_secs(3600);
        let then = when("1h").unwrap();
        let ago = SystemTime::now().duration_since(then).unwrap();
        assert!(ago >= hour && ago < hour * 2, "{ago:?}");
        assert_eq!(Ok(when("2027-01-31").unwrap()), moment("2027-01-31"));
        for bad in ["", "yesterday", "1y", "2027-02-30"] {
            assert!(when(bad).is_err(), "{bad}");
        }
    }
}
