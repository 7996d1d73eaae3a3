//! What an analysis writes: `face-analysis/1` and the lines of the per-frame file. Readers must
//! ignore fields that they do not know.

use serde::{Deserialize, Serialize};

/// Name and version of the format of [`Analysis`].
pub const SCHEMA: &str = "face-analysis/1";

/// Who was seen when. Times are nanoseconds of stream time: the position that a player shows.
/// Boxes are pixels of the upright picture (a rotated recording is turned before the analysis).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// [`SCHEMA`].
    pub schema: String,
    /// The video, as it was named.
    pub source: String,
    /// Pictures in the video.
    pub frames: u64,
    /// End of the last picture; absent if the stream has no times.
    pub duration_ns: Option<u64>,
    pub models: Models,
    /// By time of the first observation.
    pub tracks: Vec<TrackSummary>,
    /// By number of frames, most first.
    pub people: Vec<PersonSummary>,
    /// People whom the gallery does not know, each with the tracks that show them; only when asked
    /// for. By number of frames, most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSummary>,
    /// What was not quite right with the file; not part of the format.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// The models used, by their registry names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Models {
    pub detector: String,
    pub embedder: String,
}

/// One face, followed over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackSummary {
    pub track_id: u64,
    pub first_pts_ns: Option<u64>,
    /// Time of the last frame on which the face was observed.
    pub last_pts_ns: Option<u64>,
    /// Frames on which the face was observed, predicted boxes not counted.
    pub frames: u64,
    /// `known` if the track has a name, else the status of the last observation.
    pub status: String,
    /// The name that the track carried on the most frames; of two equal ones the later.
    pub name: Option<String>,
    pub person_id: Option<String>,
    /// Greatest cosine similarity with that person, or with the nearest one if there is no name.
    pub similarity: Option<f32>,
    /// x, y, width and height of the clearest observation in pixels.
    pub best_box: [f32; 4],
    pub best_pts_ns: Option<u64>,
    /// The clearest observation with its surroundings, a JPEG file in Base64; only when pictures are
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_shot: Option<String>,
    /// What can be enrolled of the track, the most frequent look first. Biometric data: only when
    /// asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<SampleRecord>,
    /// Number of the [`GroupSummary`] that the track belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u64>,
}

/// An observation that stands for others like it, or, without clusters, for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    pub pts_ns: Option<u64>,
    /// Observations that it stands for, itself counted.
    pub observations: u64,
    /// x, y, width and height in pixels of the video.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// Detection score, 0..=1.
    pub score: f32,
    /// Eyes, nose and mouth corners in pixels of the video.
    pub landmarks: [[f32; 2]; 5],
    /// The face as the embedder saw it, a PNG file in Base64.
    pub crop: String,
    /// Unit vector of the embedder that `models` names.
    pub embedding: Vec<f32>,
}

/// Somebody whom the gallery does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// Counted from 1.
    pub group: u64,
    /// By time of the first observation.
    pub tracks: Vec<u64>,
    /// Frames with an observed face of these tracks.
    pub frames: u64,
    /// First and last time of each stretch; gaps of up to a second are part of it.
    pub intervals_ns: Vec<[u64; 2]>,
}

/// One person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonSummary {
    pub name: String,
    /// Frames with an observed face of that final name: faces of a track that were not recognised
    /// yet, or wrongly at first, have the name that the track got later.
    pub frames: u64,
    /// Ids of the tracks that showed the person. A track that went over from one person to another,
    /// as it may where a scene is cut, is listed with both.
    pub tracks: Vec<u64>,
    /// First and last time of each stretch; gaps of up to a second are part of it.
    pub intervals_ns: Vec<[u64; 2]>,
}

/// A line of the per-frame file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// Never falls from line to line; absent if the picture has no time.
    pub pts_ns: Option<u64>,
    /// Counted from 0.
    pub frame: u64,
    pub faces: Vec<FaceRecord>,
}

/// One face of a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaceRecord {
    /// x, y, width and height in pixels.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// Detection score, 0..=1.
    pub score: f32,
    /// Eyes, nose and mouth corners in pixels; absent on predicted faces.
    pub landmarks: Option<[[f32; 2]; 5]>,
    pub status: String,
    pub name: Option<String>,
    pub person_id: Option<String>,
    /// Cosine similarity with the nearest person, -1..=1.
    pub similarity: Option<f32>,
    /// Unit vector; only when asked for and only on faces embedded on this very frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// 0: not on a track.
    pub track_id: u64,
    /// false: predicted, the detector did not see it on this frame.
    pub observed: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    fn keys(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| {
                found.insert(key.clone());
                keys(value, found);
            }),
            Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_field_is_documented() {
        let sample = json!({"pts_ns": 0, "observations": 1, "box": [0.0, 0.0, 1.0, 1.0], "score": 1.0,
            "landmarks": [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], "crop": "",
            "embedding": [1.0]});
        let track = json!({"track_id": 1, "first_pts_ns": 0, "last_pts_ns": 1, "frames": 1,
            "status": "known", "name": "a", "person_id": "b", "similarity": 1.0,
            "best_box": [0.0, 0.0, 1.0, 1.0], "best_pts_ns": 0, "best_shot": "", "samples": [sample],
            "group": 1});
        let person = json!({"name": "a", "frames": 1, "tracks": [1], "intervals_ns": [[0, 1]]});
        let group = json!({"group": 1, "tracks": [1], "frames": 1, "intervals_ns": [[0, 1]]});
        let analysis: Analysis = serde_json::from_value(json!({"schema": SCHEMA, "source": "a",
            "frames": 1, "duration_ns": 1, "models": {"detector": "d", "embedder": "e"},
            "tracks": [track], "people": [person], "groups": [group]}))
        .unwrap();
        let face: FaceRecord =
            serde_json::from_value(json!({"box": [0.0, 0.0, 1.0, 1.0], "score": 1.0,
            "landmarks": null, "status": "known", "name": null, "person_id": null,
            "similarity": null, "embedding": [1.0], "track_id": 0, "observed": true}))
            .unwrap();
        let frame = FrameRecord { pts_ns: None, frame: 0, faces: vec![face] };
        let mut found = BTreeSet::new();
        keys(&serde_json::to_value(&analysis).unwrap(), &mut found);
        keys(&serde_json::to_value(&frame).unwrap(), &mut found);
        assert!(found.len() > 25, "{found:?}");
        let page = include_str!("../../docs/analysis.md");
        let missing: Vec<&String> =
            found.iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
        assert!(missing.is_empty(), "docs/analysis.md does not have {missing:?}");
    }

    #[test]
    fn analyses_of_before_there_were_samples_are_read() {
        let old = json!({"schema": SCHEMA, "source": "a", "frames": 1, "duration_ns": null,
            "models": {"detector": "d", "embedder": "e"}, "people": [], "later": "field",
            "tracks": [{"track_id": 1, "first_pts_ns": null, "last_pts_ns": null, "frames": 1,
                "status": "unknown", "name": null, "person_id": null, "similarity": null,
                "best_box": [0.0, 0.0, 1.0, 1.0], "best_pts_ns": null}]});
        let read: Analysis = serde_json::from_value(old).unwrap();
        assert!(read.groups.is_empty() && read.tracks[0].samples.is_empty());
    }
}
