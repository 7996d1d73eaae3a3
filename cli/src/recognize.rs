//! `facectl recognize`: who is on these pictures.

use std::path::{Path, PathBuf};

use anyhow::Context;
use face_core::embed::Embedding;
use face_core::gallery::{Access, Gallery, Snapshot};
use face_core::identity::Status;
use face_core::picture::{Picture, PictureError};
use face_core::recognizer::{PictureFace, RecognizeError, Recognizer, in_order};
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

/// Why a picture has no faces.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Picture(#[from] PictureError),
    #[error(transparent)]
    Model(#[from] RecognizeError),
}

/// What identifies the faces.
struct Search<'a> {
    snapshot: &'a Snapshot,
    threshold: f32,
    embeddings: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut recognizers = arguments.models.recognizers(arguments.pictures.len())?;
    let gallery = Gallery::open(&arguments.gallery, recognizers[0].fingerprint(), Access::Read)?;
    let search = Search {
        snapshot: &gallery.snapshot(),
        threshold: arguments.threshold.unwrap_or(recognizers[0].embedder().threshold),
        embeddings: arguments.embeddings,
    };
    let bar = output::progress(arguments.pictures.len());
    let mut exit = Exit::Success;
    let pictures = arguments.pictures.iter().cloned().zip(0u64..);
    let work = |recognizer: &mut Recognizer, (path, frame_id): (PathBuf, u64)| {
        let faces = look(recognizer, &path, frame_id, &search);
        (path, faces)
    };
    let result = in_order(&mut recognizers, pictures, work, |(path, result)| {
        bar.inc(1);
        let file = path.display().to_string();
        bar.suspend(|| match result {
            Ok(record) if arguments.json => output::json(&record?),
            Ok(record) => record?.print(),
            Err(Failure::Model(error)) => Err(error).with_context(|| format!("look at '{file}'")),
            Err(Failure::Picture(error)) => {
                exit = Exit::Negative;
                output::report(&error);
                let error = output::with_causes(&error);
                if arguments.json { output::json(&ErrorRecord { file, error }) } else { Ok(()) }
            }
        })
    });
    bar.finish_and_clear();
    result?;
    Ok(exit)
}

/// The outer error is the picture's or a model's, the inner one the gallery's.
fn look(
    recognizer: &mut Recognizer,
    path: &Path,
    frame_id: u64,
    search: &Search<'_>,
) -> Result<anyhow::Result<PictureRecord>, Failure> {
    let picture = Picture::open(path)?;
    let faces = recognizer.faces(&picture.view())?;
    let faces: anyhow::Result<Vec<FaceRecord>> = faces.iter().map(|f| search.face(f)).collect();
    Ok(faces.map(|faces| PictureRecord {
        file: path.display().to_string(),
        width: picture.width(),
        height: picture.height(),
        frame_id,
        faces,
    }))
}

impl Search<'_> {
    fn face(&self, face: &PictureFace) -> anyhow::Result<FaceRecord> {
        let detection = &face.detection;
        let b = &detection.bbox;
        let mut record = FaceRecord {
            bbox: [b.x, b.y, b.w, b.h],
            score: detection.score,
            landmarks: detection.landmarks.map(|l| l.0.map(|p| [p.x, p.y])),
            status: if face.crop.is_some() { Status::Error } else { Status::Filtered },
            name: None,
            person_id: None,
            similarity: None,
            embedding: None,
        };
        if let Some(embedding) = &face.embedding {
            self.identify(embedding, &mut record)?;
        }
        Ok(record)
    }

    fn identify(&self, embedding: &Embedding, record: &mut FaceRecord) -> anyhow::Result<()> {
        let found = self.snapshot.identify(embedding, self.threshold, 0.0, 1)?;
        record.status = found.status;
        record.similarity = found.best.as_ref().map(|b| b.similarity);
        if let (Status::Known, Some(best)) = (found.status, found.best) {
            record.name = Some(best.name.to_string());
            record.person_id = Some(best.person_id.to_string());
        }
        record.embedding = self.embeddings.then(|| embedding.as_slice().to_vec());
        Ok(())
    }
}

impl PictureRecord {
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
