//! What is written beside a clip: `face-clip/1`, in JSON. docs/schema/face-clip-1.schema.json
//! describes it for other readers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reference;

/// Name and version of the format.
pub const SCHEMA: &str = "face-clip/1";
const VERSION: u64 = 1;

/// Why a sidecar could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    #[error("it is no JSON of a clip ({0})")]
    Json(String),
    #[error("it is of version {version}, this program reads up to {VERSION}: use a newer one")]
    Newer { version: u64 },
    #[error("it has neither a schema nor the form of another known program")]
    Unknown,
}

/// Which program wrote a sidecar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// `face-clip`.
    #[default]
    Ours,
    /// The recorder of DeGirum Face, whose sidecars say less: no camera, no moment, no picture
    /// size.
    Reference,
}

/// What is known of a clip. Times `_ns` are nanoseconds: `running_time_ns` those of the pipeline,
/// `offset_ns` from the clip's first picture. Readers ignore fields that they do not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    /// [`SCHEMA`].
    pub schema: String,
    /// Of this clip alone, a UUID.
    pub id: String,
    /// As it was configured.
    pub camera: String,
    pub software: Software,
    /// Of the first picture, `2026-11-23T04:05:06.789Z`; absent if the clock was never right.
    pub start_utc: Option<String>,
    pub end_utc: Option<String>,
    pub start_running_time_ns: Option<u64>,
    pub end_running_time_ns: Option<u64>,
    pub duration_ns: u64,
    /// Not closed in the regular way: what is there plays, more may have been meant to come.
    #[serde(default)]
    pub truncated: bool,
    /// What should be in it and is not.
    #[serde(default)]
    pub missing: Vec<Missing>,
    /// By time, the one that started the clip first.
    pub triggers: Vec<Trigger>,
    pub media: Option<Media>,
    #[serde(default)]
    pub snapshot: Option<Snapshot>,
    #[serde(default)]
    pub models: Vec<Model>,
    #[serde(default)]
    pub gallery: Option<Gallery>,
    /// In force when the clip was made, by property: `facerecognize.threshold`.
    #[serde(default)]
    pub thresholds: BTreeMap<String, f64>,
    /// By time of the first observation.
    #[serde(default)]
    pub tracks: Vec<SidecarTrack>,
    /// By time. In the form of lines these follow, one in a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<Frame>,
    #[serde(skip)]
    pub origin: Origin,
}

/// What made the clip.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Software {
    pub name: String,
    pub version: String,
    /// Version of GStreamer.
    #[serde(default)]
    pub gstreamer: Option<String>,
    /// Versions of the elements that worked on the stream.
    #[serde(default)]
    pub elements: BTreeMap<String, String>,
}

/// A gap in a clip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// `pre-roll`, `post-roll`, `metadata` or `audio`.
    pub what: String,
    pub duration_ns: u64,
    /// Why, in words.
    pub reason: String,
}

/// Why a clip was made, or made longer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Of the event: that of the messages, too.
    pub id: String,
    /// `known-face`, `unknown-face`, `face-disappeared`, `identity-changed`, `zone-enter` …
    pub event: String,
    pub utc: Option<String>,
    pub running_time_ns: Option<u64>,
    pub offset_ns: Option<u64>,
    pub track_id: Option<u64>,
    pub person_id: Option<String>,
    pub name: Option<String>,
    /// Cosine, -1 to 1.
    pub similarity: Option<f32>,
    /// The nearest people, the nearest first.
    #[serde(default)]
    pub top_k: Vec<Candidate>,
    #[serde(default)]
    pub zone: Option<String>,
    /// Of a trigger that a program gave.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Somebody whom a face resembles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub person_id: String,
    pub name: String,
    pub similarity: f32,
}

/// The file of the clip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Media {
    pub key: String,
    /// `video/mp4`.
    pub container: String,
    pub bytes: u64,
    /// In lower-case hexadecimal.
    pub sha256: String,
    pub video: Option<Video>,
    pub audio: Option<Audio>,
}

/// The pictures of the clip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Video {
    /// `h264` or `h265`.
    pub codec: String,
    /// GStreamer's caps.
    pub caps: String,
    pub width: u32,
    pub height: u32,
    /// Numerator and denominator.
    pub pixel_aspect: [u32; 2],
    /// Numerator and denominator; 0/1 for a changing rate.
    pub frame_rate: [u32; 2],
}

/// The sound of the clip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Audio {
    pub codec: String,
    pub caps: String,
}

/// The best shot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub key: String,
    pub bytes: u64,
    pub sha256: String,
    pub track_id: Option<u64>,
    pub offset_ns: Option<u64>,
}

/// A model that looked at the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// `detector` or `embedder`.
    pub task: String,
    pub name: String,
    /// Of its file.
    #[serde(default)]
    pub sha256: Option<String>,
    /// `cpu`, `cuda` …
    #[serde(default)]
    pub provider: Option<String>,
}

/// The gallery that people were looked up in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gallery {
    /// Of the embedder that it was made with.
    pub fingerprint: String,
    /// Number of its changes so far.
    #[serde(default)]
    pub generation: Option<u64>,
}

/// One face, followed over the clip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SidecarTrack {
    pub track_id: u64,
    pub first_offset_ns: u64,
    pub last_offset_ns: u64,
    pub status: String,
    pub person_id: Option<String>,
    pub name: Option<String>,
    pub similarity: Option<f32>,
    /// Biometric data: only where it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<Vec<f32>>,
}

/// A picture of the clip on which faces were looked for or followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// As in the clip's file.
    pub pts_ns: u64,
    pub running_time_ns: Option<u64>,
    pub utc: Option<String>,
    /// A detector ran on this picture.
    #[serde(default)]
    pub looked: bool,
    pub faces: Vec<Face>,
}

/// A face on a picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Face {
    pub track_id: Option<u64>,
    /// x, y, width and height as fractions of the picture; absent if its size is not known.
    #[serde(rename = "box")]
    pub rect: Option<[f64; 4]>,
    /// The same in pixels.
    pub box_px: [f64; 4],
    pub score: Option<f32>,
    /// Eyes, nose, corners of the mouth: x and y in pixels, in turn.
    #[serde(default)]
    pub landmarks_px: Vec<f64>,
    /// False: predicted, not seen.
    #[serde(default = "yes")]
    pub observed: bool,
    pub status: String,
    pub person_id: Option<String>,
    pub name: Option<String>,
    pub similarity: Option<f32>,
    /// Why it was not recognised.
    #[serde(default)]
    pub filter: Option<String>,
    #[serde(default)]
    pub zones: Vec<String>,
    /// Biometric data: only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
}

fn yes() -> bool {
    true
}

impl Sidecar {
    /// Reads a sidecar: one JSON object, or its lines (the first without frames, then a frame in
    /// each), or one of the reference's recorder.
    ///
    /// # Errors
    /// [`SidecarError`]. Of lines that end in the middle, as those of a killed process do, what is
    /// whole is read and the sidecar is `truncated`.
    pub fn read(bytes: &[u8]) -> Result<Self, SidecarError> {
        let mut values =
            serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Value>();
        let wrong = |error: serde_json::Error| SidecarError::Json(error.to_string());
        let head = match values.next() {
            Some(value) => value.map_err(wrong)?,
            None => return Err(SidecarError::Json("it is empty".to_owned())),
        };
        match head.get("schema").and_then(serde_json::Value::as_str) {
            Some(schema) => check_version(schema)?,
            None if reference::is_one(&head) => return reference::read(&head),
            None => return Err(SidecarError::Unknown),
        }
        let mut sidecar: Self = serde_json::from_value(head).map_err(wrong)?;
        for value in values {
            match value {
                Ok(value) => sidecar.frames.push(serde_json::from_value(value).map_err(wrong)?),
                Err(error) if error.is_eof() => {
                    sidecar.truncated = true;
                    break;
                }
                Err(error) => return Err(wrong(error)),
            }
        }
        Ok(sidecar)
    }

    /// The sidecar as one JSON object. Embeddings are written only if asked for.
    ///
    /// # Errors
    /// [`SidecarError::Json`] for numbers that are not finite.
    pub fn to_json(&self, embeddings: bool) -> Result<Vec<u8>, SidecarError> {
        let mut text = Vec::new();
        self.for_writing(embeddings, |sidecar| line(sidecar, &mut text))?;
        Ok(text)
    }

    /// The sidecar as lines, which can be written one by one: the object without frames, then a
    /// frame in each line.
    ///
    /// # Errors
    /// As [`Sidecar::to_json`].
    pub fn to_lines(&self, embeddings: bool) -> Result<Vec<u8>, SidecarError> {
        let mut text = Vec::new();
        self.for_writing(embeddings, |sidecar| {
            let frames = std::mem::take(&mut sidecar.frames);
            line(sidecar, &mut text)?;
            frames.iter().try_for_each(|frame| line(frame, &mut text))
        })?;
        Ok(text)
    }

    fn for_writing(
        &self,
        embeddings: bool,
        write: impl FnOnce(&mut Self) -> Result<(), SidecarError>,
    ) -> Result<(), SidecarError> {
        let mut sidecar = Self { schema: SCHEMA.to_owned(), ..self.clone() };
        if !embeddings {
            sidecar.tracks.iter_mut().for_each(|track| track.embeddings.clear());
            let faces = sidecar.frames.iter_mut().flat_map(|frame| &mut frame.faces);
            faces.for_each(|face| face.embedding = None);
        }
        write(&mut sidecar)
    }
}

fn line(value: &impl Serialize, text: &mut Vec<u8>) -> Result<(), SidecarError> {
    serde_json::to_writer(&mut *text, value).map_err(|e| SidecarError::Json(e.to_string()))?;
    text.push(b'\n');
    Ok(())
}

fn check_version(schema: &str) -> Result<(), SidecarError> {
    let version = schema.strip_prefix("face-clip/").and_then(|version| version.parse().ok());
    match version {
        Some(version) if version > VERSION => Err(SidecarError::Newer { version }),
        Some(VERSION) => Ok(()),
        _ => Err(SidecarError::Unknown),
    }
}
