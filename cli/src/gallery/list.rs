//! `facectl gallery list`, `show` and `stats`.

use std::path::{Path, PathBuf};

use face_core::gallery::{Access, AuditEntry, Gallery, Person, StoredSample};
use serde::Serialize;

use super::{Common, PersonRecord, table};
use crate::output::{self, Exit, counted, printable};

/// So many entries of the log are shown.
const LOG_ENTRIES: u32 = 20;

/// List everybody, in the order of their enrolment
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object per person and line: person_id, name, samples, negatives, threshold, \
expires, expired, created, updated, attributes.")]
pub(super) struct ListArguments {
    #[command(flatten)]
    common: Common,
}

/// Show one person with their samples and what was done to them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object: that of list, with stored (sample_id, negative, source, created, crop, \
loose) and log (at, what, count).")]
pub(super) struct ShowArguments {
    #[command(flatten)]
    common: Common,
    /// Name or id
    person: String,
}

/// Count people and samples, check the file, and show the last entries of its log
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object: file, schema_version, model, alignment, dim, persons, samples, negatives, \
expired, bytes (of all files), private, unfinished (people to be forgotten again), log.")]
pub(super) struct StatsArguments {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Serialize)]
struct SampleRecord<'a> {
    sample_id: i64,
    negative: bool,
    source: &'a str,
    created: &'a str,
    crop: bool,
    loose: bool,
}

#[derive(Debug, Serialize)]
struct LogRecord<'a> {
    at: &'a str,
    what: &'a str,
    person_id: Option<&'a str>,
    count: u32,
}

#[derive(Debug, Serialize)]
struct ShowRecord<'a> {
    #[serde(flatten)]
    person: PersonRecord<'a>,
    stored: Vec<SampleRecord<'a>>,
    log: Vec<LogRecord<'a>>,
}

#[derive(Debug, Serialize)]
struct StatsRecord<'a> {
    file: String,
    schema_version: u32,
    model: &'a str,
    alignment: &'a str,
    dim: usize,
    persons: u64,
    samples: u64,
    negatives: u64,
    expired: usize,
    /// Of the file; null on a server.
    bytes: Option<u64>,
    private: bool,
    unfinished: usize,
    log: Vec<LogRecord<'a>>,
}

impl<'a> SampleRecord<'a> {
    fn new(sample: &'a StoredSample) -> Self {
        let StoredSample { id, negative, source, created, crop, loose } = sample;
        Self { sample_id: *id, negative: *negative, source, created, crop: *crop, loose: *loose }
    }
}

impl<'a> LogRecord<'a> {
    fn new(entry: &'a AuditEntry) -> Self {
        let AuditEntry { at, what, person_id, count } = entry;
        Self { at, what, person_id: person_id.as_deref(), count: *count }
    }
}

pub(super) fn list(arguments: &ListArguments) -> anyhow::Result<Exit> {
    let persons = arguments.common.roster(Access::Read)?.persons()?;
    if arguments.common.json {
        for person in &persons {
            output::json(&PersonRecord::new(person))?;
        }
        return Ok(Exit::Success);
    }
    let header = ["SAMPLES", "NEGATIVE", "THRESHOLD", "EXPIRES", "ID", "NAME"];
    let mut rows = vec![header.map(str::to_owned)];
    for person in &persons {
        rows.push([
            person.samples.to_string(),
            person.negatives.to_string(),
            threshold(person),
            expires(person),
            person.id.clone(),
            person.name.clone(),
        ]);
    }
    table(&rows)?;
    output::line(&counted(persons.len() as u64, "person", "people"))?;
    Ok(Exit::Success)
}

fn threshold(person: &Person) -> String {
    person.threshold.map_or("-".to_owned(), |t| format!("{t:.3}"))
}

fn expires(person: &Person) -> String {
    match &person.expires {
        Some(moment) if person.expired => format!("{moment} (over)"),
        Some(moment) => moment.clone(),
        None => "-".to_owned(),
    }
}

pub(super) fn show(arguments: &ShowArguments) -> anyhow::Result<Exit> {
    let roster = arguments.common.roster(Access::Read)?;
    let person = roster.find(&arguments.person)?;
    let samples = roster.samples(&person.id)?;
    let log = roster.audit_log(Some(&person.id), LOG_ENTRIES)?;
    if arguments.common.json {
        output::json(&ShowRecord {
            person: PersonRecord::new(&person),
            stored: samples.iter().map(SampleRecord::new).collect(),
            log: log.iter().map(LogRecord::new).collect(),
        })?;
        return Ok(Exit::Success);
    }
    table(&[
        ["name".to_owned(), person.name.clone()],
        ["id".to_owned(), person.id.clone()],
        ["threshold".to_owned(), threshold(&person)],
        ["expires".to_owned(), expires(&person)],
        ["created".to_owned(), person.created.clone()],
        ["updated".to_owned(), person.updated.clone()],
        ["attributes".to_owned(), person.attributes.to_string()],
    ])?;
    let mut rows = vec![["SAMPLE", "KIND", "PICTURES", "CREATED", "SOURCE"].map(str::to_owned)];
    for sample in &samples {
        let pictures = match (sample.crop, sample.loose) {
            (true, true) => "aligned, loose",
            (true, false) => "aligned",
            (false, true) => "loose",
            (false, false) => "-",
        };
        rows.push([
            sample.id.to_string(),
            if sample.negative { "negative" } else { "positive" }.to_owned(),
            pictures.to_owned(),
            sample.created.clone(),
            sample.source.clone(),
        ]);
    }
    output::line("")?;
    table(&rows)?;
    print_log(&log)?;
    Ok(Exit::Success)
}

fn print_log(log: &[AuditEntry]) -> anyhow::Result<()> {
    let mut rows = vec![["TIME", "DONE", "COUNT", "PERSON"].map(str::to_owned)];
    rows.extend(log.iter().map(|entry| {
        let person = entry.person_id.as_deref().unwrap_or("-").to_owned();
        [entry.at.clone(), entry.what.clone(), entry.count.to_string(), person]
    }));
    output::line("")?;
    table(&rows)
}

pub(super) fn stats(arguments: &StatsArguments) -> anyhow::Result<Exit> {
    let info = Gallery::inspect(&arguments.common.gallery)?;
    let roster = arguments.common.roster(Access::Read)?;
    let persons = roster.persons()?;
    let log = roster.audit_log(None, LOG_ENTRIES)?;
    let record = StatsRecord {
        file: roster.location().to_string(),
        schema_version: info.schema_version,
        model: &info.model,
        alignment: &info.alignment,
        dim: info.dim,
        persons: info.persons,
        samples: info.samples,
        negatives: persons.iter().map(|p| u64::from(p.negatives)).sum(),
        expired: persons.iter().filter(|p| p.expired).count(),
        bytes: roster.location().file().map(bytes),
        private: info.private,
        unfinished: roster.unfinished()?,
        log: log.iter().map(LogRecord::new).collect(),
    };
    if arguments.common.json {
        output::json(&record)?;
        return Ok(Exit::Success);
    }
    output::line(&printable(&format!(
        "{}: schema {}, {} ({}, {} dimensions), {}{}",
        record.file,
        record.schema_version,
        record.model,
        record.alignment,
        record.dim,
        record.bytes.map_or("on a server".to_owned(), |bytes| format!("{bytes} bytes")),
        if record.private { "" } else { ", READABLE BY OTHERS" }
    )))?;
    let StatsRecord { persons, samples, negatives, expired, .. } = record;
    output::line(&format!(
        "{}, {}, {negatives} negative, {expired} expired",
        counted(persons, "person", "people"),
        counted(samples, "sample", "samples")
    ))?;
    if record.unfinished > 0 {
        output::line(&format!(
            "forgetting {} is not finished: run facectl gallery forget again",
            counted(record.unfinished as u64, "person", "people")
        ))?;
    }
    print_log(&log)?;
    Ok(Exit::Success)
}

/// Bytes of the gallery with its log.
fn bytes(path: &Path) -> u64 {
    let of = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(PathBuf::from(name)).map_or(0, |m| m.len())
    };
    of("") + of("-wal")
}
