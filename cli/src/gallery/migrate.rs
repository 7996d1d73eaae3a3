//! `facectl gallery migrate`.

use anyhow::Context;
use clap::ArgGroup;
use face_core::embed::Embedder;
use face_core::gallery::migrate::{self, Plan};
use face_core::gallery::{Location, TransferError};
use face_core::model::{self, Task};
use serde_json::json;

use super::Consent;
use super::backup::people_and_samples;
use crate::options::PlaceOptions;
use crate::output::{self, Exit, counted, note, printable};

/// Move a gallery to another embedder: its stored pictures are embedded again
///
/// Says first which samples cannot be, and why. The gallery stays in use until all is embedded and
/// changes at one moment; as it was it stays beside it, as GALLERY.before-MODEL, or in the database of a
/// shared gallery, for --rollback. Programs
/// that have it open keep what they read until they are started with the new embedder.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("way").required(true).args(["model", "rollback"]))]
pub(super) struct Arguments {
    /// Gallery file, or postgresql://ROLE@HOST/DATABASE of a shared gallery
    #[arg(short, long, value_name = "FILE")]
    gallery: Location,
    /// The new embedder: a name from the registry, or an ONNX file
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Bring the gallery back to what it was before its last migration
    #[arg(long)]
    rollback: bool,
    #[command(flatten)]
    consent: Consent,
    /// Print a JSON object: samples, lost, duplicates, before; with --rollback: model, samples
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceOptions,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    match &arguments.model {
        Some(model) => go(arguments, model),
        None => go_back(arguments),
    }
}

fn go(arguments: &Arguments, model: &str) -> anyhow::Result<Exit> {
    let Arguments { gallery, consent, json, place, .. } = arguments;
    let model = model::resolve(model, Task::Embedder)?;
    let mut embedder = Embedder::load(&model, &place.pools()).context("load the embedder")?;
    let plan = match migrate::plan(gallery, embedder.fingerprint()) {
        Err(TransferError::SameSpace { model, .. }) => {
            note(printable(&format!("'{gallery}' is of '{model}' already")));
            return Ok(Exit::Success);
        }
        other => other?,
    };
    announce(&plan, gallery);
    if !consent.given(&format!("migrate '{gallery}' to '{}'", plan.to))? {
        return Ok(Exit::Negative);
    }
    // What was agreed to; who says --yes agrees to all.
    let most_lost = if consent.yes { u64::MAX } else { plan.lost() };
    let bar = output::progress(usize::try_from(plan.samples).unwrap_or(usize::MAX));
    let done = migrate::run(gallery, &mut embedder, most_lost, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let done = done?;
    if *json {
        output::json(&json!({
            "samples": done.samples, "lost": done.lost, "duplicates": done.duplicates,
            "before": done.before,
        }))?;
    } else {
        let samples = counted(done.samples, "sample", "samples");
        let before = match &done.before {
            Some(before) => format!("'{}' is the way back", before.display()),
            None => "its tables keep the way back".to_owned(),
        };
        let text = format!("{samples} in the space of '{}'; {before}", plan.to);
        output::line(&printable(&text))?;
    }
    Ok(Exit::Success)
}

fn announce(plan: &Plan, gallery: &Location) {
    let Plan { from, to, samples, lost, emptied } = plan;
    let stay = counted(samples - plan.lost(), "sample", "samples");
    note(printable(&format!("'{gallery}': {stay} of {samples} can go from '{from}' to '{to}'")));
    for (reason, count) in lost {
        let count = counted(*count, "sample", "samples");
        note(format!("lost: {count} {}", reason.as_str()));
    }
    for name in emptied {
        note(printable(&format!("no sample left: {name}")));
    }
}

fn go_back(arguments: &Arguments) -> anyhow::Result<Exit> {
    let Arguments { gallery, consent, json, .. } = arguments;
    let way = migrate::way_back(gallery)?;
    let mut question = format!(
        "bring '{gallery}' back to '{}', {} of {}",
        way.model,
        people_and_samples(way.kept_persons, way.kept_samples),
        way.created
    );
    if way.persons + way.samples > 0 {
        let since = people_and_samples(way.persons, way.samples);
        question += &format!(", and lose what came since, {since}");
    }
    if !consent.given(&question)? {
        return Ok(Exit::Negative);
    }
    let way = migrate::roll_back(gallery)?;
    if *json {
        output::json(&json!({ "model": way.model, "samples": way.kept_samples }))?;
    } else {
        let what = people_and_samples(way.kept_persons, way.kept_samples);
        let text = format!("'{gallery}' is of '{}' again: {what}", way.model);
        output::line(&printable(&text))?;
    }
    Ok(Exit::Success)
}
