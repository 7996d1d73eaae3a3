//! `facectl clips remove`, `clear`, `prune` and `forget`.

use std::time::{Duration, SystemTime};

use clap::builder::NonEmptyStringValueParser;
use face_core::clip::{Clip, Clips, Filter, Prune};
use serde_json::json;

use super::{Common, Watch, chosen, size};
use crate::gallery::Consent;
use crate::gallery::edit::duration;
use crate::output::{self, Exit, counted, printable};

/// Remove clips with all that belongs to them
#[derive(Debug, clap::Args)]
#[command(after_help = "With --json, one object: clips, objects, bytes.")]
pub(super) struct RemoveArguments {
    #[command(flatten)]
    common: Common,
    /// Keys of any part of the clips, or what the keys begin with, as list shows them
    #[arg(required = true)]
    clips: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

/// Remove all clips
///
/// What is no clip stays where it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "With --json, one object: clips, objects, bytes.")]
pub(super) struct ClearArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    consent: Consent,
}

/// Remove old clips, the oldest if there are too many, or those of a person
///
/// With --person only clips on which the person was recognised are looked at: all of them go, or
/// those that the other options say. A clip without a readable sidecar shows nobody.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).multiple(true)
        .args(["older_than", "max_bytes", "person"]),
    after_help = "With --json, one object: clips, objects, bytes."
)]
pub(super) struct PruneArguments {
    #[command(flatten)]
    common: Common,
    /// Clips that began longer ago: 90m, 12h or 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// The oldest clips, until the rest has no more bytes: 500M, 20G, 1T
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_bytes: Option<u64>,
    /// Clips of this person, by name or id
    #[arg(long, value_name = "PERSON", value_parser = NonEmptyStringValueParser::new())]
    person: Option<String>,
    /// Say what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    consent: Consent,
}

/// Take a person out of all sidecars
///
/// Their name, id, similarities and embeddings go; snapshots of their face and annotated videos of
/// clips that show them are removed. The videos themselves stay unless --clips is given. People of
/// the same name are one here. Old versions that a bucket keeps are not touched, nor copies
/// elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object: sidecars, pictures, clips, unreadable.

Exit status: 0 forgotten, 1 some sidecars cannot be read, 2 it could not be carried out.")]
pub(super) struct ForgetArguments {
    #[command(flatten)]
    common: Common,
    /// Name or id
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    person: String,
    /// Remove the clips that show the person, too
    #[arg(long)]
    clips: bool,
    #[command(flatten)]
    consent: Consent,
}

/// Asks, removes, tells.
fn away(
    clips: &Clips,
    going: &[&Clip],
    common: &Common,
    consent: &Consent,
) -> anyhow::Result<Exit> {
    let total = going.iter().map(|clip| clip.bytes()).sum();
    let what = format!("{}, {}", counted(going.len() as u64, "clip", "clips"), size(total));
    let question = format!("remove {what}, of '{}'", clips.storage().uri());
    if !going.is_empty() && !consent.given(&question)? {
        return Ok(Exit::Negative);
    }
    let watch = Watch::start("clips")?;
    let report = clips.remove(going.iter().copied(), &mut watch.steps())?;
    drop(watch);
    let record = json!({
        "clips": report.clips, "objects": report.objects, "bytes": report.bytes,
    });
    common.done(&record, &format!("removed {what}"))
}

pub(super) fn remove(arguments: &RemoveArguments) -> anyhow::Result<Exit> {
    let clips = arguments.common.clips()?;
    let found = arguments.clips.iter().map(|key| clips.find(key));
    let mut found = found.collect::<Result<Vec<_>, _>>()?;
    found.sort_by(|a, b| a.stem.cmp(&b.stem));
    found.dedup_by(|a, b| a.stem == b.stem);
    let going: Vec<&Clip> = found.iter().collect();
    away(&clips, &going, &arguments.common, &arguments.consent)
}

pub(super) fn clear(arguments: &ClearArguments) -> anyhow::Result<Exit> {
    let clips = arguments.common.clips()?;
    let found = chosen(&clips, &Filter::default())?;
    let going: Vec<&Clip> = found.iter().collect();
    away(&clips, &going, &arguments.common, &arguments.consent)
}

pub(super) fn prune(arguments: &PruneArguments) -> anyhow::Result<Exit> {
    let clips = arguments.common.clips()?;
    let found = chosen(&clips, &Filter::default())?;
    let prune = Prune {
        person: arguments.person.clone(),
        before: arguments.older_than.and_then(|age| SystemTime::now().checked_sub(age)),
        max_bytes: arguments.max_bytes,
    };
    let going = prune.choose(&found);
    if arguments.dry_run {
        if !arguments.common.json {
            for clip in &going {
                output::line(&printable(&clip.stem))?;
            }
        }
        let bytes: u64 = going.iter().map(|clip| clip.bytes()).sum();
        let objects: usize = going.iter().map(|clip| clip.objects().count()).sum();
        let record = json!({"clips": going.len(), "objects": objects, "bytes": bytes});
        let count = counted(going.len() as u64, "clip", "clips");
        return arguments.common.done(&record, &format!("{count}, {}, would go", size(bytes)));
    }
    away(&clips, &going, &arguments.common, &arguments.consent)
}

pub(super) fn forget(arguments: &ForgetArguments) -> anyhow::Result<Exit> {
    let clips = arguments.common.clips()?;
    let with_clips = if arguments.clips { " and all clips that show them" } else { "" };
    let uri = clips.storage().uri();
    let question = format!("forget '{}'{with_clips} in '{uri}' for ever", arguments.person);
    if !arguments.consent.given(&question)? {
        return Ok(Exit::Negative);
    }
    let watch = Watch::start("clips")?;
    let forgotten = clips.forget(&arguments.person, arguments.clips, &mut watch.steps())?;
    drop(watch);
    let record = json!({
        "sidecars": forgotten.sidecars, "pictures": forgotten.pictures,
        "clips": forgotten.clips, "unreadable": forgotten.unreadable,
    });
    let text = format!(
        "{} changed, {} and {} removed",
        counted(forgotten.sidecars as u64, "sidecar", "sidecars"),
        counted(forgotten.pictures as u64, "picture", "pictures"),
        counted(forgotten.clips as u64, "clip", "clips")
    );
    arguments.common.done(&record, &text)?;
    for clip in &forgotten.unreadable {
        let text = format!(
            "facectl: error: the sidecar of '{clip}' cannot be read: look at it, or remove the clip"
        );
        output::note(printable(&text));
    }
    Ok(if forgotten.unreadable.is_empty() { Exit::Success } else { Exit::Negative })
}

/// 1234, 500M, 20G or 1T; K, M, G, T are powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let expected = || "a number of bytes is needed, such as 500M, 20G or 1T".to_owned();
    let (number, factor) = match text.char_indices().next_back().ok_or_else(expected)? {
        (at, 'K') => (text.get(..at), 1 << 10),
        (at, 'M') => (text.get(..at), 1 << 20),
        (at, 'G') => (text.get(..at), 1 << 30),
        (at, 'T') => (text.get(..at), 1 << 40),
        _ => (Some(text), 1_u64),
    };
    let number = number.filter(|number| number.bytes().all(|b| b.is_ascii_digit()));
    let number: u64 = number.and_then(|number| number.parse().ok()).ok_or_else(expected)?;
    number.checked_mul(factor).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_or_none() {
        for (text, size) in
            [("0", 0), ("1234", 1234), ("2K", 2048), ("20G", 20 << 30), ("1T", 1 << 40)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for bad in ["", "G", "-1", "+1", "1.5G", "1g", "1B", "99999999999999T", "1é"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
