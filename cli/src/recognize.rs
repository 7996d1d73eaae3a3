//! `facectl recognize`: who is on these pictures.

use std::path::PathBuf;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use face_core::gallery::{Access, Gallery, Location, Match};
use face_core::identity::Status;
use face_core::recognizer::{FaceIdentity, PredictError, PredictOptions, Prediction, Properties};
use serde::Serialize;

use crate::options::{ModelOptions, similarity};
use crate::output::{self, Exit, printable};

/// Say who is on pictures
///
/// Finds every face of every picture and looks for it in the gallery. Pictures are worked on
/// several at a time; the results come in the order of the arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object per picture and line: file, width, height, frame_id (place of the picture \
among the arguments, from 0), faces: box [x, y, width, height] and landmarks [[x, y] × 5] in \
pixels of the upright picture, score, status (known, unknown, uncertain, filtered, error), name and \
person_id (null unless known), similarity with the nearest person and margin to the second (null if \
there is none), top_k (the nearest people: person_id, name, similarity), filter (why the face was \
not looked for, null if it was), properties (an object, empty as long as no model of attributes \
runs), embedding with --embeddings, crop with --crops (the aligned face, PNG in Base64, null if it \
cannot be aligned). A picture that cannot be read: file, error. Later versions add fields and change \
none of these.

Exit status: 0 if every picture could be read, 1 if not, 2 if the command could not be carried \
out.")]
pub(crate) struct Arguments {
    /// Gallery file, or postgresql://ROLE@HOST/DATABASE of a shared gallery
    #[arg(long, short, value_name = "FILE")]
    gallery: Location,
    /// Print one JSON object per picture
    #[arg(long)]
    json: bool,
    /// Add each face's embedding to the JSON
    #[arg(long, requires = "json")]
    embeddings: bool,
    /// Add each face's aligned crop to the JSON
    #[arg(long, requires = "json")]
    crops: bool,
    /// List so many of the nearest people in the JSON
    #[arg(long, value_name = "K", default_value_t = 3)]
    top_k: usize,
    /// A face is uncertain unless its person is nearer than the second by this much in cosine
    /// similarity; 0: any
    #[arg(long, value_name = "M", default_value_t = 0.0, value_parser = margin)]
    min_margin: f32,
    /// Least cosine similarity of a face with a person [default: the embedder's own]
    #[arg(long, value_name = "T", value_parser = similarity, allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// Pictures (JPEG, PNG, BMP, WebP)
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
    #[command(flatten)]
    models: ModelOptions,
}

fn margin(text: &str) -> Result<f32, String> {
    let margin = text.parse().ok().filter(|m| (0.0..=2.0).contains(m));
    margin.ok_or_else(|| "a difference of similarities from 0 to 2 is needed".to_owned())
}

#[derive(Debug, Serialize)]
struct PictureRecord {
    file: String,
    width: u32,
    height: u32,
    frame_id: u64,
    faces: Vec<FaceRecord>,
}

#[derive(Debug, Serialize)]
struct FaceRecord {
    #[serde(rename = "box")]
    bbox: [f32; 4],
    score: f32,
    landmarks: Option<[[f32; 2]; 5]>,
    status: Status,
    name: Option<String>,
    person_id: Option<String>,
    similarity: Option<f32>,
    margin: Option<f32>,
    top_k: Vec<MatchRecord>,
    filter: Option<&'static str>,
    properties: Properties,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Vec<f32>>,
    /// `None`: not asked for; `Some(None)`: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    crop: Option<Option<String>>,
}

#[derive(Debug, Serialize)]
struct MatchRecord {
    person_id: String,
    name: String,
    similarity: f32,
}

#[derive(Debug, Serialize)]
struct ErrorRecord {
    file: String,
    error: String,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut recognizer = arguments.models.recognizer()?;
    let gallery = Gallery::open(&arguments.gallery, recognizer.fingerprint(), Access::Read)?;
    let options = PredictOptions {
        threshold: arguments.threshold,
        min_margin: arguments.min_margin,
        top_k: arguments.top_k,
        crops: arguments.crops,
        embeddings: arguments.embeddings,
        ..PredictOptions::default()
    };
    let bar = output::progress(arguments.pictures.len());
    let mut exit = Exit::Success;
    let pictures = arguments.pictures.iter().cloned();
    let result = recognizer.predict_batch(&gallery, pictures, &options, |predicted| {
        bar.inc(1);
        let file = predicted.source;
        bar.suspend(|| match predicted.result {
            Ok(found) => {
                let record = PictureRecord::of(file, found, arguments.crops);
                if arguments.json { output::json(&record) } else { record.print() }
            }
            Err(PredictError::Unreadable(error)) => {
                exit = Exit::Negative;
                output::report(&error);
                let error = output::with_causes(&error);
                if arguments.json { output::json(&ErrorRecord { file, error }) } else { Ok(()) }
            }
            Err(error) => Err(error).with_context(|| format!("look at '{file}'")),
        })
    });
    bar.finish_and_clear();
    result?;
    Ok(exit)
}

impl FaceRecord {
    fn of(face: FaceIdentity, crops: bool) -> Self {
        let detection = face.detection;
        let b = detection.bbox;
        Self {
            bbox: [b.x, b.y, b.w, b.h],
            score: detection.score,
            landmarks: detection.landmarks.map(|l| l.0.map(|p| [p.x, p.y])),
            status: face.status,
            name: face.name.map(|name| name.to_string()),
            person_id: face.person_id.map(|id| id.to_string()),
            similarity: face.similarity,
            margin: face.margin,
            top_k: face.top.iter().map(MatchRecord::from).collect(),
            filter: face.filter,
            properties: face.properties,
            embedding: face.embedding.map(|embedding| embedding.as_slice().to_vec()),
            crop: crops.then(|| face.crop?.to_png().ok().map(|png| STANDARD.encode(png))),
        }
    }
}

impl From<&Match> for MatchRecord {
    fn from(found: &Match) -> Self {
        Self {
            person_id: found.person_id.to_string(),
            name: found.name.to_string(),
            similarity: found.similarity,
        }
    }
}

impl PictureRecord {
    fn of(file: String, found: Prediction, crops: bool) -> Self {
        let Prediction { frame_id, width, height, faces } = found;
        let faces = faces.into_iter().map(|face| FaceRecord::of(face, crops)).collect();
        Self { file, width, height, frame_id, faces }
    }

    fn print(&self) -> anyhow::Result<()> {
        let file = printable(&self.file);
        if self.faces.is_empty() {
            return output::line(&format!("{file}: no face"));
        }
        for face in &self.faces {
            let [x, y, w, h] = face.bbox;
            let who = match (&face.name, face.filter) {
                (Some(name), _) => printable(name),
                (None, Some("no-landmarks")) => {
                    "filtered, for its eyes, nose and mouth were not found".to_owned()
                }
                (None, Some(reason)) => format!("filtered, {reason}"),
                (None, None) => face.status.as_str().to_owned(),
            };
            let near = face.similarity.map_or(String::new(), |s| format!(", similarity {s:.3}"));
            output::line(&format!(
                "{file}: {who} ({w:.0}x{h:.0} at {x:.0},{y:.0}, score {:.2}{near})",
                face.score
            ))?;
        }
        Ok(())
    }
}
