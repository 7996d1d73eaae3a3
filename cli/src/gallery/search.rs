//! `facectl gallery search`: who comes nearest.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use face_core::gallery::{Access, Gallery, Match, OpenOptions, SearchRules, VoteRule};
use face_core::identity::Status;
use face_core::picture::Picture;
use face_core::recognizer::Recognizer;
use serde::Serialize;

use super::Common;
use crate::options::{ModelOptions, similarity};
use crate::output::{self, Exit, printable};

/// How long the server of a shared gallery may search for one face: nobody is kept waiting but
/// whoever asked.
const SERVER_TIME: Duration = Duration::from_secs(60);

/// List the nearest people for every face of a picture
///
/// Expired people are left out, and those of whom a rejected picture is nearer than their own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object per face and line: face (number), box [x, y, width, height] in pixels, \
score, status (known, unknown, uncertain, filtered: cannot be aligned), margin to the second \
person, top: person_id, name, similarity.")]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// People per face
    #[arg(long, short = 'k', value_name = "K", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Least cosine similarity of a face with a person [default: the embedder's own]
    #[arg(long, value_name = "T", value_parser = similarity, allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// By how much the nearest person must be nearer than the second; less is uncertain
    #[arg(long, value_name = "M", default_value_t = 0.0, value_parser = similarity)]
    min_margin: f32,
    /// How a person's samples count
    #[arg(long, value_enum, default_value_t = Vote::Best)]
    vote: Vote,
    /// Compare at most so many samples of a person, the most different ones; 0: all, as the server of
    /// a shared gallery always does
    #[arg(long, value_name = "N", default_value_t = 20)]
    max_samples_per_person: u16,
    /// Picture (JPEG, PNG, BMP, WebP)
    picture: PathBuf,
    #[command(flatten)]
    models: ModelOptions,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Vote {
    /// The best sample
    Best,
    /// The mean of the best three
    Mean,
}

#[derive(Debug, Serialize)]
struct FaceRecord<'a> {
    face: usize,
    #[serde(rename = "box")]
    bbox: [f32; 4],
    score: f32,
    status: Status,
    margin: Option<f32>,
    top: Vec<MatchRecord<'a>>,
}

#[derive(Debug, Serialize)]
struct MatchRecord<'a> {
    person_id: &'a str,
    name: &'a str,
    similarity: f32,
}

impl<'a> MatchRecord<'a> {
    fn new(found: &'a Match) -> Self {
        let Match { person_id, name, similarity } = found;
        Self { person_id, name, similarity: *similarity }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut recognizer = arguments.models.recognizer()?;
    let options = OpenOptions {
        max_samples: arguments.max_samples_per_person.into(),
        // The index of a server finds one face sooner than everybody is loaded.
        local_max: 0,
        ..OpenOptions::default()
    };
    let gallery = &arguments.common.gallery;
    let gallery = Gallery::open_with(gallery, recognizer.fingerprint(), Access::Read, options)?;
    let rules = SearchRules {
        threshold: arguments.threshold.unwrap_or(recognizer.embedder().threshold),
        min_margin: arguments.min_margin,
        top_k: arguments.top.into(),
        vote: match arguments.vote {
            Vote::Best => VoteRule::Best,
            Vote::Mean => VoteRule::MeanOfBestThree,
        },
    };
    let faces = search(&mut recognizer, &gallery, arguments, &rules)?;
    if faces == 0 && !arguments.common.json {
        output::line("no face")?;
    }
    Ok(Exit::Success)
}

/// Prints every face; their number.
fn search(
    recognizer: &mut Recognizer,
    gallery: &Gallery,
    arguments: &Arguments,
    rules: &SearchRules,
) -> anyhow::Result<usize> {
    let picture = Picture::open(&arguments.picture)?;
    let faces = recognizer
        .faces(&picture.view())
        .with_context(|| format!("look at '{}'", arguments.picture.display()))?;
    for (number, face) in faces.iter().enumerate() {
        let b = &face.detection.bbox;
        let found = match &face.embedding {
            Some(embedding) => Some(gallery.identify(embedding, rules, SERVER_TIME)?),
            None => None,
        };
        let without = if face.crop.is_some() { Status::Error } else { Status::Filtered };
        let record = FaceRecord {
            face: number,
            bbox: [b.x, b.y, b.w, b.h],
            score: face.detection.score,
            status: found.as_ref().map_or(without, |f| f.status),
            margin: found.as_ref().and_then(|f| f.margin),
            top: found.iter().flat_map(|f| &f.top).map(MatchRecord::new).collect(),
        };
        if arguments.common.json {
            output::json(&record)?;
        } else {
            record.print()?;
        }
    }
    Ok(faces.len())
}

impl FaceRecord<'_> {
    fn print(&self) -> anyhow::Result<()> {
        let [x, y, w, h] = self.bbox;
        let margin = self.margin.map_or(String::new(), |m| format!(", margin {m:.3}"));
        let status = self.status.as_str();
        let number = self.face + 1;
        output::line(&format!("face {number} ({w:.0}x{h:.0} at {x:.0},{y:.0}): {status}{margin}"))?;
        for found in &self.top {
            let name = printable(found.name);
            output::line(&format!("  {:>6.3}  {name}  {}", found.similarity, found.person_id))?;
        }
        Ok(())
    }
}
