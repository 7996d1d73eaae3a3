//! `facectl gallery`: looking after the people of a gallery.

mod audit;
mod backup;
mod calibrate;
mod copy;
pub(crate) mod edit;
mod forget;
mod list;
mod migrate;
mod plot;
mod reject;
mod search;
mod transfer;

use std::io::{IsTerminal, Write};

use anyhow::{Context, bail};
use clap::Subcommand;
use face_core::gallery::{Access, Location, Person, Roster};
use serde::Serialize;

use crate::output::{self, Exit, printable};

/// List, rename, merge, remove and forget the people of a gallery; back it up, move and migrate it
///
/// People are named by their name or their id. All but search, reject, audit, calibrate, migrate and
/// imports from another embedder work without models, and
/// while pipelines use the gallery, which see the change within their reload-interval.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::ListArguments),
    Show(list::ShowArguments),
    Stats(list::StatsArguments),
    Search(search::Arguments),
    Rename(edit::RenameArguments),
    Merge(edit::MergeArguments),
    Remove(edit::RemoveArguments),
    RemoveSample(edit::RemoveSampleArguments),
    Reject(reject::Arguments),
    SetThreshold(edit::SetThresholdArguments),
    Expire(edit::ExpireArguments),
    Audit(audit::Arguments),
    Calibrate(calibrate::Arguments),
    Forget(forget::Arguments),
    Clear(edit::ClearArguments),
    Backup(backup::BackupArguments),
    Restore(backup::RestoreArguments),
    Copy(copy::Arguments),
    Export(transfer::ExportArguments),
    Import(transfer::ImportArguments),
    Migrate(migrate::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    match &arguments.action {
        Action::List(arguments) => list::list(arguments),
        Action::Show(arguments) => list::show(arguments),
        Action::Stats(arguments) => list::stats(arguments),
        Action::Search(arguments) => search::run(arguments),
        Action::Rename(arguments) => edit::rename(arguments),
        Action::Merge(arguments) => edit::merge(arguments),
        Action::Remove(arguments) => edit::remove(arguments),
        Action::RemoveSample(arguments) => edit::remove_sample(arguments),
        Action::Reject(arguments) => reject::run(arguments),
        Action::SetThreshold(arguments) => edit::set_threshold(arguments),
        Action::Expire(arguments) => edit::expire(arguments),
        Action::Audit(arguments) => audit::run(arguments),
        Action::Calibrate(arguments) => calibrate::run(arguments),
        Action::Forget(arguments) => forget::run(arguments),
        Action::Clear(arguments) => edit::clear(arguments),
        Action::Backup(arguments) => backup::run_backup(arguments),
        Action::Restore(arguments) => backup::run_restore(arguments),
        Action::Copy(arguments) => copy::run(arguments),
        Action::Export(arguments) => transfer::run_export(arguments),
        Action::Import(arguments) => transfer::run_import(arguments),
        Action::Migrate(arguments) => migrate::run(arguments),
    }
}

/// Options of every command here.
#[derive(Debug, clap::Args)]
struct Common {
    /// Gallery file, or postgresql://ROLE@HOST/DATABASE of a shared gallery
    #[arg(long, short, value_name = "FILE")]
    gallery: Location,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Common {
    fn roster(&self, access: Access) -> anyhow::Result<Roster> {
        Ok(Roster::open(&self.gallery, access)?)
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

/// The option of what cannot be undone.
#[derive(Debug, clap::Args)]
pub(crate) struct Consent {
    /// Do it without asking
    #[arg(long, short)]
    yes: bool,
}

impl Consent {
    /// May it be done? Asks on a terminal.
    pub(crate) fn given(&self, what: &str) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            bail!("{what}: there is no terminal to ask on; give --yes if that is what you want");
        }
        // Not on standard output, which may be a file.
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "{} [y/N] ", printable(&format!("{what}?"))).and(stderr.flush());
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).context("read the answer")?;
        let given = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
        if !given {
            output::note("nothing was changed");
        }
        Ok(given)
    }
}

/// A person in JSON.
#[derive(Debug, Serialize)]
struct PersonRecord<'a> {
    person_id: &'a str,
    name: &'a str,
    samples: u32,
    negatives: u32,
    threshold: Option<f32>,
    expires: Option<&'a str>,
    expired: bool,
    created: &'a str,
    updated: &'a str,
    attributes: &'a serde_json::Value,
}

impl<'a> PersonRecord<'a> {
    fn new(person: &'a Person) -> Self {
        Self {
            person_id: &person.id,
            name: &person.name,
            samples: person.samples,
            negatives: person.negatives,
            threshold: person.threshold,
            expires: person.expires.as_deref(),
            expired: person.expired,
            created: &person.created,
            updated: &person.updated,
            attributes: &person.attributes,
        }
    }
}

/// Prints rows in columns as wide as their longest cell; the last one is as it comes.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> anyhow::Result<()> {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        output::line(line.trim_end())?;
    }
    Ok(())
}
