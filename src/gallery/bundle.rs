//! The lines of an export: written, and read from files that may be anything.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::store::{PersonRow, SampleRow};
use super::transfer::{Exported, Out};
use super::{LooseCrop, TransferError, name};
use crate::embed::{Embedding, Fingerprint};
use crate::model::hex;

const KIND: &str = "export";

/// Beginning of the field `format`; the version follows.
const FORMAT: &str = "face-people/";

/// Version of the format.
const VERSION: u32 = 1;

/// Longest line: a sample with two pictures has some 150 KiB.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    program: String,
    created: String,
    model: String,
    alignment: String,
    dim: usize,
    probe: String,
}

impl Header {
    /// `created` is the time, UTC.
    pub(super) fn new(space: &Fingerprint, created: String) -> Self {
        Self {
            format: format!("{FORMAT}{VERSION}"),
            program: env!("CARGO_PKG_VERSION").into(),
            created,
            model: space.model.clone(),
            alignment: space.alignment.clone(),
            dim: space.dim(),
            probe: STANDARD.encode(space.probe.to_bytes()),
        }
    }
}

/// A line between the first and the last, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Record {
    Person(Person),
    Sample(Sample),
    End(End),
}

#[derive(Serialize, Deserialize)]
struct Person {
    id: String,
    name: String,
    attributes: serde_json::Map<String, serde_json::Value>,
    threshold: Option<f32>,
    expires: Option<i64>,
    created: String,
}

#[derive(Serialize, Deserialize)]
struct Sample {
    embedding: String,
    crop: Option<String>,
    loose: Option<Loose>,
    source: String,
    #[serde(default)]
    negative: bool,
    created: String,
}

#[derive(Serialize, Deserialize)]
struct Loose {
    png: String,
    points: [[f32; 2]; 5],
}

/// The last line.
#[derive(PartialEq, Serialize, Deserialize)]
struct End {
    persons: u64,
    samples: u64,
    /// Of all bytes before this line, in lower-case hexadecimal.
    sha256: String,
}

/// What a file holds between its first and its last line; samples are of the last person before.
pub(super) enum Line {
    Person(PersonRow),
    Sample(SampleRow),
}

/// Writes an export.
pub(super) struct Writer {
    out: Out,
    hasher: Sha256,
    exported: Exported,
}

impl Writer {
    pub(super) fn new(out: Out, header: &Header) -> io::Result<Self> {
        let exported = Exported { persons: 0, samples: 0 };
        let mut writer = Self { out, hasher: Sha256::new(), exported };
        writer.line(header)?;
        Ok(writer)
    }

    pub(super) fn person(&mut self, row: &PersonRow) -> io::Result<()> {
        self.exported.persons += 1;
        self.line(&Record::Person(Person {
            id: row.id.clone(),
            name: row.name.clone(),
            attributes: serde_json::from_str(&row.attributes)?,
            threshold: row.threshold,
            expires: row.expires,
            created: row.created.clone(),
        }))
    }

    pub(super) fn sample(&mut self, row: &SampleRow) -> io::Result<()> {
        self.exported.samples += 1;
        let loose =
            row.loose.as_ref().map(|l| Loose { png: STANDARD.encode(&l.png), points: l.points });
        self.line(&Record::Sample(Sample {
            embedding: STANDARD.encode(&row.embedding),
            crop: row.crop_png.as_ref().map(|png| STANDARD.encode(png)),
            loose,
            source: row.source.clone(),
            negative: row.negative,
            created: row.created.clone(),
        }))
    }

    /// Writes the last line.
    pub(super) fn finish(mut self) -> io::Result<(Exported, Out)> {
        let Exported { persons, samples } = self.exported;
        let sha256 = hex(&self.hasher.clone().finalize());
        self.line(&Record::End(End { persons, samples, sha256 }))?;
        Ok((self.exported, self.out))
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.hasher.update(&line);
        self.out.write_all(&line)
    }
}

/// Reads an export.
pub(super) struct Reader {
    input: BufReader<File>,
    path: PathBuf,
    hasher: Sha256,
    space: Fingerprint,
    line: u64,
}

impl Reader {
    /// Opens the file and reads its first line.
    pub(super) fn open(path: &Path) -> Result<Self, TransferError> {
        let mut input = BufReader::new(super::backup::open(path)?);
        let damaged = |reason: String| damaged(path, reason);
        let first = next_line(&mut input).map_err(|e| TransferError::io("read", path, e))?;
        let no_export = || damaged("it is no export of a gallery's people".into());
        let first = first.ok_or_else(no_export)?;
        let value: serde_json::Value = serde_json::from_slice(&first).map_err(|_| no_export())?;
        let version = value["format"].as_str().and_then(|f| f.strip_prefix(FORMAT));
        match version.ok_or_else(no_export)?.parse() {
            Ok(VERSION) => {}
            Ok(version @ VERSION..) => {
                let (path, supported) = (path.into(), VERSION);
                return Err(TransferError::NewerFormat { kind: KIND, path, version, supported });
            }
            _ => return Err(damaged("it has no valid format version".into())),
        }
        let header: Header = serde_json::from_value(value)
            .map_err(|e| damaged(format!("its first line cannot be read: {e}")))?;
        let (_, probe) = embedding(&header.probe)
            .map_err(|reason| damaged(format!("its embedding space: {reason}")))?;
        if probe.dim() != header.dim {
            return Err(damaged("its embedding space has another number of dimensions".into()));
        }
        let space = Fingerprint { model: header.model, alignment: header.alignment, probe };
        let hasher = Sha256::new_with_prefix(&first);
        Ok(Self { input, path: path.into(), hasher, space, line: 1 })
    }

    pub(super) fn space(&self) -> &Fingerprint {
        &self.space
    }

    /// Hands over every line, and gives an error in the end if the file is not whole: what was
    /// taken must not be used then.
    pub(super) fn for_each(
        mut self,
        each: &mut dyn FnMut(Line) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let (mut persons, mut samples) = (0, 0);
        loop {
            let line = next_line(&mut self.input);
            let line = line.map_err(|e| TransferError::io("read", &self.path, e))?;
            self.line += 1;
            let Some(line) = line else {
                return Err(self.damaged("the file is cut off"));
            };
            let record: Record = serde_json::from_slice(&line).map_err(|e| self.damaged(e))?;
            match record {
                Record::Person(person) => {
                    persons += 1;
                    each(Line::Person(self.person(person)?))?;
                }
                Record::Sample(_) if persons == 0 => {
                    return Err(self.damaged("a sample that belongs to nobody"));
                }
                Record::Sample(sample) => {
                    samples += 1;
                    each(Line::Sample(self.sample(sample)?))?;
                }
                Record::End(_) => {
                    let sha256 = hex(&self.hasher.clone().finalize());
                    let end = Record::End(End { persons, samples, sha256 });
                    let mut expected = serde_json::to_vec(&end).map_err(|e| self.damaged(e))?;
                    expected.push(b'\n');
                    // As bytes: a blank more would be the same JSON.
                    if line != expected {
                        return Err(self.damaged("wrong checksum"));
                    }
                    return match self.input.read(&mut [0]) {
                        Ok(0) => Ok(()),
                        Ok(_) => Err(self.damaged("more follows after its last line")),
                        Err(e) => Err(TransferError::io("read", &self.path, e)),
                    };
                }
            }
            self.hasher.update(&line);
        }
    }

    fn person(&self, person: Person) -> Result<PersonRow, TransferError> {
        let Person { id, name, attributes, threshold, expires, created } = person;
        let checked = name::checked(&name).map_err(|e| self.damaged(e))?;
        if uuid::Uuid::try_parse(&id).map(|u| u.to_string()) != Ok(id.clone()) {
            return Err(self.damaged(format_args!("{id:?} is no id of a person")));
        }
        if threshold.is_some_and(|t| !(-1.0..=1.0).contains(&t)) {
            return Err(self.damaged("a threshold that is no cosine similarity"));
        }
        let attributes = serde_json::Value::Object(attributes).to_string();
        let name = checked.to_owned();
        Ok(PersonRow { id, name, attributes, threshold, expires, created: self.time(created)? })
    }

    fn sample(&self, sample: Sample) -> Result<SampleRow, TransferError> {
        let Sample { embedding: values, crop, loose, source, negative, created } = sample;
        let (embedding, dim) = embedding(&values)
            .map(|(bytes, embedding)| (bytes, embedding.dim()))
            .map_err(|e| self.damaged(e))?;
        if dim != self.space.dim() {
            return Err(self.damaged("an embedding of another number of dimensions"));
        }
        let picture = |text: String| STANDARD.decode(text).map_err(|e| self.damaged(e));
        let crop_png = crop.map(picture).transpose()?;
        let loose = match loose {
            Some(Loose { points, .. }) if points.as_flattened().iter().any(|v| !v.is_finite()) => {
                return Err(self.damaged("a landmark that is not finite"));
            }
            Some(Loose { png, points }) => Some(LooseCrop { png: picture(png)?, points }),
            None => None,
        };
        let created = self.time(created)?;
        Ok(SampleRow { embedding, crop_png, loose, source, negative, created })
    }

    /// Times are compared as texts, so they have to look alike: `2026-11-22T09:30:00.000Z`.
    fn time(&self, text: String) -> Result<String, TransferError> {
        let like = b"0000-00-00T00:00:00.000Z";
        let same = |(a, b): (u8, &u8)| if *b == b'0' { a.is_ascii_digit() } else { a == *b };
        if text.len() == like.len() && text.bytes().zip(like).all(same) {
            Ok(text)
        } else {
            Err(self.damaged(format_args!("{text:?} is no time")))
        }
    }

    fn damaged(&self, what: impl std::fmt::Display) -> TransferError {
        damaged(&self.path, format!("line {} is not as it should be ({what})", self.line))
    }
}

fn damaged(path: &Path, reason: String) -> TransferError {
    TransferError::Damaged { kind: KIND, path: path.into(), reason }
}

/// An embedding and its bytes.
fn embedding(text: &str) -> Result<(Vec<u8>, Embedding), String> {
    let bytes = STANDARD.decode(text).map_err(|e| e.to_string())?;
    let embedding = Embedding::from_bytes(&bytes).map_err(|e| e.to_string())?;
    Ok((bytes, embedding))
}

/// A line with its end; `None` at the end of the file and for what is too long or not ended.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    Ok((line.last() == Some(&b'\n')).then_some(line))
}
