//! The messages of our own format, beside [`FaceEvent`](crate::event::FaceEvent): frames and tracks.
//! docs/schema/face-publish-1.schema.json describes all three for other readers.

use serde::{Deserialize, Serialize};

use crate::event::Candidate;
use crate::identity::summary::TrackSummary;

/// The faces of one picture, format `face-frame/1`. Fractions are of the picture of `width` ×
/// `height` pixels that the detector saw. Readers ignore fields that they do not know.
///
/// ```
/// use face_core::publish::FaceFrame;
///
/// let frame = FaceFrame { width: 640, height: 480, ..FaceFrame::default() };
/// let text = frame.to_json();
/// assert!(text.starts_with(r#"{"schema":"face-frame/1","frame_id":0,"looked":false,"#));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "schema", rename = "face-frame/1")]
pub struct FaceFrame {
    /// The camera, as whoever set it up named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// When the picture passed by the wall clock, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_time_ns: Option<u64>,
    /// Frames since the stream began.
    pub frame_id: u64,
    /// A detector ran on this picture.
    pub looked: bool,
    /// Pixels.
    pub width: u32,
    pub height: u32,
    /// Registry id of the detector.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detector: String,
    pub faces: Vec<Face>,
    /// Tracks that ended on this picture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended_tracks: Vec<u64>,
}

/// A face on a picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// Unique on the picture.
    pub id: u32,
    /// x, y, width and height as fractions of the picture.
    #[serde(rename = "box")]
    pub rect: [f32; 4],
    /// Detection score, 0..=1.
    pub score: f32,
    /// False: predicted, not seen.
    pub observed: bool,
    /// x and y of the eyes, the nose and the corners of the mouth in turn, as fractions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub landmarks: Vec<f32>,
    /// 0..=1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<f32>,
    /// 0: no track.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub track_id: u64,
    /// `tentative`, `confirmed` or `lost`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub track_state: String,
    /// `untracked`, `identifying`, `confirming`, `known`, `unknown`, `uncertain`, `filtered`, `error`.
    pub status: String,
    /// The identity is sure.
    pub confirmed: bool,
    /// Why it was not looked at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Cosine similarity with the nearest person, -1..=1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// That minus the similarity of the second person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f32>,
    /// The nearest people, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_k: Vec<Candidate>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// Yaw, pitch and roll in degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pose: Option<[f32; 3]>,
}

/// A track that ended, format `face-track/1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "schema", rename = "face-track/1")]
pub struct FaceTrack {
    /// UUID: equal ones are the same message, however often it comes.
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// When it was told by the wall clock, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc: Option<String>,
    pub track_id: u64,
    /// The id that it had before it was joined with an older one; 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub was_id: u64,
    /// Running time of the first and the last observation, ns.
    pub first_seen_ns: u64,
    pub last_seen_ns: u64,
    /// Pictures on which the face was seen, predicted ones not counted.
    pub observations: u64,
    pub status: String,
    /// The identity was sure.
    pub confirmed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The last cosine similarity with that person, -1..=1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// How long zones held the face.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<Dwell>,
}

/// The clearest observation of a track.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// x, y, width and height as fractions of the picture.
    #[serde(rename = "box")]
    pub rect: [f32; 4],
    /// Running time, ns.
    pub running_time_ns: u64,
    /// Detection score, 0..=1.
    pub score: f32,
    /// 0..=1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<f32>,
}

/// A stay in a zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dwell {
    pub zone: String,
    pub dwell_ns: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl FaceFrame {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are always JSON")
    }
}

impl FaceTrack {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are always JSON")
    }

    /// What is known of a track, under an id of its own.
    pub fn new(summary: &TrackSummary, camera: Option<String>, utc: Option<String>) -> Self {
        let best = summary.best.as_ref().map(|best| Best {
            rect: [best.bbox.x, best.bbox.y, best.bbox.w, best.bbox.h],
            running_time_ns: best.time_ns,
            score: best.score,
            quality: best.quality,
        });
        let zones = summary.dwell_ns.iter();
        let person = summary.person.as_ref();
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            camera,
            utc,
            track_id: summary.track_id,
            was_id: summary.was_id,
            first_seen_ns: summary.first_seen_ns,
            last_seen_ns: summary.last_seen_ns,
            observations: summary.observations,
            status: summary.status.as_str().to_owned(),
            confirmed: summary.confirmed,
            person_id: person.map(|person| person.person_id.to_string()),
            name: person.map(|person| person.name.to_string()),
            similarity: person.map(|person| person.similarity),
            best,
            zones: zones
                .map(|(zone, dwell_ns)| Dwell { zone: zone.clone(), dwell_ns: *dwell_ns })
                .collect(),
        }
    }
}
