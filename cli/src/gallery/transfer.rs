//! `facectl gallery export` and `import`.

use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use face_core::embed::Embedder;
use face_core::gallery::transfer::{self, Clash, Imported};
use face_core::gallery::{Gallery, GalleryError, Location, TransferError};
use face_core::model::{self, Task};
use serde_json::json;

use super::Consent;
use super::backup::{exists, people_and_samples};
use crate::options::PlaceOptions;
use crate::output::{self, Exit, counted, note, printable};

/// Write people with their samples and pictures to a file, for another gallery
///
/// The file has a line of JSON per person and per sample, and a checksum. It is readable by you
/// only. Unlike a backup it can hold some of the people, and be imported into a gallery that has
/// people already, or another embedder.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArguments {
    /// Gallery file, or postgresql://ROLE@HOST/DATABASE of a shared gallery
    #[arg(short, long, value_name = "FILE")]
    gallery: Location,
    /// The export
    #[arg(value_name = "EXPORT")]
    file: PathBuf,
    /// Only this person, by id or name; may be given more than once
    #[arg(long, value_name = "PERSON")]
    person: Vec<String>,
    #[command(flatten)]
    consent: Consent,
    /// Print a JSON object: persons, samples
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnClash {
    /// Import nobody
    Refuse,
    /// Add the samples to those that are there; name, threshold and the rest stay
    Merge,
    /// Leave these people out
    Skip,
}

/// Take the people of an export into a gallery
///
/// All of them or nobody: a damaged file is refused as a whole. The gallery is made if there is
/// none. If it is of another embedder than the file, the stored pictures are embedded again;
/// samples without a picture cannot be, and are listed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 if everything is in the gallery now, 1 if samples were left out for want of a picture, 2 \
if nothing was imported.")]
pub(super) struct ImportArguments {
    /// The export
    #[arg(value_name = "EXPORT")]
    file: PathBuf,
    /// Gallery file, or postgresql://ROLE@HOST/DATABASE of a shared gallery
    #[arg(short, long, value_name = "FILE")]
    gallery: Location,
    /// What to do with people whom the gallery has already, by id or name
    #[arg(long, value_enum, default_value = "refuse")]
    on_clash: OnClash,
    /// The gallery's embedder, a name from the registry or an ONNX file; needed if EXPORT is of
    /// another one [default: the gallery's model; for a new gallery that of EXPORT]
    #[arg(long, value_name = "MODEL")]
    embedder: Option<String>,
    /// Print a JSON object: persons, merged, skipped, samples, duplicates, lost
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceOptions,
}

pub(super) fn run_export(arguments: &ExportArguments) -> anyhow::Result<Exit> {
    let ExportArguments { gallery, file, person, consent, json } = arguments;
    let replace = exists(file);
    if replace && !consent.given(&format!("replace '{}'", file.display()))? {
        return Ok(Exit::Negative);
    }
    let done = transfer::export(gallery, file, person, replace)?;
    if *json {
        output::json(&json!({ "persons": done.persons, "samples": done.samples }))?;
    } else {
        let what = people_and_samples(done.persons, done.samples);
        output::line(&printable(&format!("{what} exported to '{}'", file.display())))?;
    }
    Ok(Exit::Success)
}

pub(super) fn run_import(arguments: &ImportArguments) -> anyhow::Result<Exit> {
    let ImportArguments { file, gallery, on_clash, json, .. } = arguments;
    let clash = match on_clash {
        OnClash::Refuse => Clash::Refuse,
        OnClash::Merge => Clash::Merge,
        OnClash::Skip => Clash::Skip,
    };
    let mut embedder = embedder(arguments)?;
    let bar = output::progress(0);
    let imported = transfer::import(file, gallery, clash, embedder.as_mut(), &mut |done| {
        bar.set_length(done);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let imported = imported.map_err(|error| match error {
        TransferError::NeedsEmbedder { .. } => {
            anyhow::Error::from(error).context("name the gallery's embedder with --embedder")
        }
        other => other.into(),
    })?;
    tell(&imported, gallery, *json)?;
    Ok(if imported.lost.is_empty() { Exit::Success } else { Exit::Negative })
}

/// The model that embeds again, if that has to be.
fn embedder(arguments: &ImportArguments) -> anyhow::Result<Option<Embedder>> {
    let written = transfer::space_of(&arguments.file)?;
    let name = match &arguments.embedder {
        Some(name) => name.clone(),
        None => match Gallery::inspect(&arguments.gallery) {
            Ok(info) if info.model == written.model && info.dim == written.dim() => {
                return Ok(None);
            }
            Ok(info) => info.model,
            Err(GalleryError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        },
    };
    let model = model::resolve(&name, Task::Embedder)
        .with_context(|| "find the gallery's embedder, which --embedder can name")?;
    Ok(Some(Embedder::load(&model, &arguments.place.pools()).context("load the embedder")?))
}

fn tell(imported: &Imported, gallery: &Location, as_json: bool) -> anyhow::Result<()> {
    let Imported { persons, merged, skipped, samples, duplicates, lost } = imported;
    for (name, reason, count) in lost {
        let count = counted(*count, "sample", "samples");
        note(printable(&format!("left out: {count} of {name} {}", reason.as_str())));
    }
    if as_json {
        let lost: Vec<_> = lost
            .iter()
            .map(|(name, reason, count)| {
                json!({ "name": name, "reason": reason.as_str(), "samples": count })
            })
            .collect();
        return output::json(&json!({
            "persons": persons, "merged": merged, "skipped": skipped, "samples": samples,
            "duplicates": duplicates, "lost": lost,
        }));
    }
    let mut text = format!(
        "{} and {} imported into '{gallery}'",
        counted(*persons, "new person", "new people"),
        counted(*samples, "sample", "samples"),
    );
    for (count, what) in [
        (*merged, "people merged"),
        (*skipped, "people skipped"),
        (*duplicates, "samples there before"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    output::line(&printable(&text))
}
