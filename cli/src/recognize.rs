//! `facectl recognize`: who is on these pictures.

use std::path::PathBuf;

use anyhow::Context;
use face_core::gallery::{Access, Gallery};
use face_core::identity::Status;
use face_core::recognizer::{FaceIdentity, PredictError, PredictOptions, Prediction};
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
pixels of the upright picture, score, status (known, unknown, uncertain, filtered: cannot be \
aligned, error), name and person_id (null unless known), similarity with the nearest person (null \
if there is none), embedding with --embeddings. A picture that cannot be read: file, error.

Exit status: 0 if every picture could be read, 1 if not, 2 if the command could not be carried \
out.")]
pub(crate) struct Arguments {
    /// Gallery file
    #[arg(long, short, value_name = "FILE")]
    gallery: PathBuf,
    /// Print one JSON object per picture
    #[arg(long)]
    json: bool,
    /// Add each face's embedding to the JSON
    #[arg(long, requires = "json")]
    embeddings: bool,
    /// Least cosine similarity of a face with a person [default: the embedder's own]
    #[arg(long, value_name = "T", value_parser = similarity, allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// Pictures (JPEG, PNG, BMP, WebP)
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
    #[command(flatten)]
    models: ModelOptions,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Vec<f32>>,
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
            Ok(found) if arguments.json => output::json(&PictureRecord::of(file, found)),
            Ok(found) => PictureRecord::of(file, found).print(),
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
    fn of(face: FaceIdentity) -> Self {
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
            embedding: face.embedding.map(|embedding| embedding.as_slice().to_vec()),
        }
    }
}

impl PictureRecord {
    fn of(file: String, found: Prediction) -> Self {
        let Prediction { frame_id, width, height, faces } = found;
        let faces = faces.into_iter().map(FaceRecord::of).collect();
        Self { file, width, height, frame_id, faces }
    }

    fn print(&self) -> anyhow::Result<()> {
        let file = printable(&self.file);
        if self.faces.is_empty() {
            return output::line(&format!("{file}: no face"));
        }
        for face in &self.faces {
            let [x, y, w, h] = face.bbox;
            let who = match &face.name {
                Some(name) => printable(name),
                None => face.status.as_str().to_owned(),
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
