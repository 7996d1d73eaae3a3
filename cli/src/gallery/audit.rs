//! `facectl gallery audit`: samples that had better be looked at.

use std::collections::HashMap;

use face_core::gallery::{Access, Gallery, Location, OpenOptions, Roster, StoredSample};
use face_core::quality::audit::{Suspect, audit};
use serde::Serialize;

use crate::gate::ComparisonOptions;
use crate::options::ModelOptions;
use crate::output::{self, Exit, counted, printable};

/// List the suspect samples of a gallery
///
/// A sample is suspect if it is nearer to another person than to the rest of its own (conflict),
/// unlike all others of its person (outlier), or nearly the same as an earlier one
/// (near-duplicate). One wrong picture makes a person answer to strangers: look at what is listed,
/// and take away what does not belong there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object per sample and line: person_id, name, sample (its id), source, reason, \
detail, similarity, other (the nearer person, or the id of the earlier sample; or null).

Exit status: 0 if no sample is suspect, 1 if one is, 2 if the command could not be carried out.")]
pub(crate) struct Arguments {
    /// Gallery file, or postgresql://ROLE@HOST/DATABASE of a shared gallery
    #[arg(long, short, value_name = "FILE")]
    gallery: Location,
    /// Print one JSON object per suspect sample
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    comparison: ComparisonOptions,
    #[command(flatten)]
    models: ModelOptions,
}

#[derive(Debug, Serialize)]
struct Record {
    person_id: String,
    name: String,
    sample: Option<i64>,
    source: String,
    reason: &'static str,
    detail: String,
    similarity: Option<f32>,
    other: Option<serde_json::Value>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let recognizer = arguments.models.recognizer()?;
    // A shared gallery is not loaded: its server finds the people near each sample.
    let options = OpenOptions { local_max: 0, ..OpenOptions::default() };
    let fingerprint = recognizer.fingerprint();
    let gallery = Gallery::open_with(&arguments.gallery, fingerprint, Access::Read, options)?;
    let gate = arguments.comparison.gate();
    let suspects = audit(&gallery, &gate, recognizer.embedder().threshold)?;
    let roster = Roster::open(&arguments.gallery, Access::Read)?;
    let mut stored = HashMap::new();
    let mut records = Vec::with_capacity(suspects.len());
    for suspect in suspects {
        let id = suspect.person_id.to_string();
        let samples: &Vec<StoredSample> = match stored.entry(id) {
            std::collections::hash_map::Entry::Occupied(samples) => samples.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let mut samples = roster.samples(&suspect.person_id)?;
                samples.retain(|sample| !sample.negative);
                place.insert(samples)
            }
        };
        records.push(Record::of(suspect, samples));
    }
    for record in &records {
        if arguments.json {
            output::json(record)?;
        } else {
            output::line(&printable(&record.to_string()))?;
        }
    }
    let persons = roster.persons()?;
    let people = counted(persons.len() as u64, "person", "people");
    let samples = persons.iter().map(|p| u64::from(p.samples)).sum();
    let samples = counted(samples, "sample", "samples");
    let summary = format!("{} of {samples} of {people} suspect", records.len());
    if arguments.json {
        // Standard output is for the machine.
        output::note(summary);
    } else {
        output::line(&summary)?;
    }
    Ok(if records.is_empty() { Exit::Success } else { Exit::Negative })
}

impl Record {
    /// `samples` are the person's, in the order of their enrolment. They were read after the
    /// audit: what another process removed meanwhile has no id any more.
    fn of(suspect: Suspect, samples: &[StoredSample]) -> Self {
        let sample = samples.get(suspect.sample);
        let earlier = suspect.duplicate_of.and_then(|place| samples.get(place));
        let person = suspect.problem.other_person().map(serde_json::Value::from);
        Self {
            person_id: suspect.person_id.to_string(),
            name: suspect.name.to_string(),
            sample: sample.map(|s| s.id),
            source: sample.map(|s| s.source.clone()).unwrap_or_default(),
            reason: suspect.problem.reason(),
            detail: suspect.problem.to_string(),
            similarity: suspect.problem.similarity(),
            other: person.or_else(|| earlier.map(|s| s.id.into())),
        }
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sample = self.sample.map_or("removed".to_owned(), |id| id.to_string());
        write!(f, "{:<14}  {}  sample {sample}", self.reason, self.name)?;
        if !self.source.is_empty() {
            write!(f, " ({})", self.source)?;
        }
        write!(f, ": {}", self.detail)?;
        match &self.other {
            Some(serde_json::Value::Number(earlier)) => write!(f, ": sample {earlier}"),
            _ => Ok(()),
        }
    }
}
