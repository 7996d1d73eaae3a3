//! `facectl gallery backup` and `restore`.

use std::path::{Path, PathBuf};

use face_core::gallery::backup::{self, Manifest};
use face_core::gallery::{Gallery, Location};

use super::Consent;
use crate::output::{self, Exit, counted, printable};

/// Write a copy of a gallery to a file, while others use it
///
/// The file holds the gallery as it is at one moment, with checksums of every byte, and is readable
/// by you only. It gets its name when it is whole.
#[derive(Debug, clap::Args)]
pub(super) struct BackupArguments {
    /// Gallery file
    #[arg(short, long, value_name = "FILE")]
    gallery: Location,
    /// The backup
    #[arg(value_name = "BACKUP")]
    file: PathBuf,
    #[command(flatten)]
    consent: Consent,
    /// Print the backup's manifest as a JSON object
    #[arg(long)]
    json: bool,
}

/// Put a backup in the place of a gallery, or make a gallery of it
///
/// All of it or nothing: a backup with a single wrong byte is refused, and a killed restore leaves
/// the gallery as it was. Programs that have the gallery open go on and notice.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArguments {
    /// The backup
    #[arg(value_name = "BACKUP")]
    file: PathBuf,
    /// Gallery file
    #[arg(short, long, value_name = "FILE")]
    gallery: Location,
    #[command(flatten)]
    consent: Consent,
    /// Print the backup's manifest as a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run_backup(arguments: &BackupArguments) -> anyhow::Result<Exit> {
    let BackupArguments { gallery, file, consent, json } = arguments;
    let replace = exists(file);
    if replace && !consent.given(&format!("replace '{}'", file.display()))? {
        return Ok(Exit::Negative);
    }
    let manifest = backup::create(gallery, file, replace)?;
    let text = format!("{} backed up to '{}'", contents(&manifest), file.display());
    tell(&manifest, &text, *json)
}

pub(super) fn run_restore(arguments: &RestoreArguments) -> anyhow::Result<Exit> {
    let RestoreArguments { file, gallery, consent, json } = arguments;
    // Before anybody is asked.
    let manifest = backup::verify(file)?;
    let replace = gallery.file().is_some_and(exists);
    if replace {
        let there = match Gallery::inspect(gallery) {
            Ok(info) => people_and_samples(info.persons, info.samples),
            Err(error) => format!("something else ({error})"),
        };
        let question = format!(
            "replace {there} in '{gallery}' by {} of {}",
            contents(&manifest),
            manifest.created
        );
        if !consent.given(&question)? {
            return Ok(Exit::Negative);
        }
    }
    let manifest = backup::restore(file, gallery, replace)?;
    let text = format!("{} restored to '{gallery}'", contents(&manifest));
    tell(&manifest, &text, *json)
}

pub(super) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn contents(manifest: &Manifest) -> String {
    people_and_samples(manifest.persons, manifest.samples)
}

/// "2 people with 5 samples".
pub(super) fn people_and_samples(people: u64, samples: u64) -> String {
    let people = counted(people, "person", "people");
    format!("{people} with {}", counted(samples, "sample", "samples"))
}

fn tell(manifest: &Manifest, text: &str, as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        output::json(manifest)?;
    } else {
        output::line(&printable(text))?;
    }
    Ok(Exit::Success)
}
