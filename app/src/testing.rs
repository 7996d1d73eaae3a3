//! Analyses made by hand, for tests.

use crate::schema::{Analysis, GroupSummary, Models, PersonSummary, SCHEMA, TrackSummary};

const SECOND: u64 = 1_000_000_000;

/// Ten seconds at 25 frames per second.
pub(crate) fn analysis(tracks: Vec<TrackSummary>) -> Analysis {
    Analysis {
        schema: SCHEMA.to_owned(),
        source: "clips/party.mp4".to_owned(),
        frames: 250,
        duration_ns: Some(10 * SECOND),
        models: Models { detector: "yunet".to_owned(), embedder: "mobilefacenet".to_owned() },
        tracks,
        people: Vec::new(),
        groups: Vec::new(),
        warnings: Vec::new(),
    }
}

/// A track from one second to another.
pub(crate) fn track(track_id: u64, name: Option<&str>, first: u64, last: u64) -> TrackSummary {
    TrackSummary {
        track_id,
        first_pts_ns: Some(first * SECOND),
        last_pts_ns: Some(last * SECOND),
        frames: 25 * last.saturating_sub(first) + 1,
        status: if name.is_some() { "known" } else { "unknown" }.to_owned(),
        name: name.map(str::to_owned),
        person_id: name.map(|name| format!("id of {name}")),
        similarity: Some(0.61),
        best_box: [10.0, 20.0, 80.0, 100.0],
        best_pts_ns: Some(first * SECOND),
        best_shot: None,
        samples: Vec::new(),
        group: None,
    }
}

/// A person; the intervals are in seconds.
pub(crate) fn person(name: &str, tracks: &[u64], intervals: &[[u64; 2]]) -> PersonSummary {
    PersonSummary {
        name: name.to_owned(),
        frames: 25,
        tracks: tracks.to_vec(),
        intervals_ns: intervals.iter().map(|times| times.map(|t| t * SECOND)).collect(),
    }
}

/// A group; the intervals are in seconds.
pub(crate) fn group(group: u64, tracks: &[u64], intervals: &[[u64; 2]]) -> GroupSummary {
    GroupSummary {
        group,
        tracks: tracks.to_vec(),
        frames: 12,
        intervals_ns: intervals.iter().map(|times| times.map(|t| t * SECOND)).collect(),
    }
}
