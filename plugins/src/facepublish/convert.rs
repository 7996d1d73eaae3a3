//! The metadata as messages.

use face_core::identity::summary::Sighting;
use face_core::publish::{Face, FaceFrame};

use crate::meta::{self, FrameFaces, TrackState};

/// A frame as it is told. Embeddings are biometric data and stay here.
pub(super) fn frame(
    faces: &FrameFaces,
    camera: Option<&str>,
    running_ns: Option<u64>,
    utc: Option<String>,
) -> FaceFrame {
    FaceFrame {
        camera: camera.map(str::to_owned),
        utc,
        running_time_ns: running_ns,
        frame_id: faces.frame_id,
        looked: faces.looked,
        width: faces.width,
        height: faces.height,
        detector: faces.detector.clone(),
        faces: faces.faces.iter().map(face).collect(),
        ended_tracks: faces.ended_tracks.clone(),
    }
}

fn face(face: &meta::Face) -> Face {
    let b = face.bbox;
    let points = face.landmarks.as_ref().map(|landmarks| landmarks.0);
    let track_state = match face.track_state {
        TrackState::None => "",
        state => state.as_str(),
    };
    Face {
        id: face.id,
        rect: [b.x, b.y, b.w, b.h],
        score: face.score,
        observed: face.observed,
        landmarks: points.into_iter().flatten().flat_map(|p| [p.x, p.y]).collect(),
        quality: face.quality,
        track_id: face.track_id,
        track_state: track_state.to_owned(),
        status: face.status.as_str().to_owned(),
        confirmed: face.confirmed,
        filter: face.filter.clone(),
        person_id: face.person_id.clone(),
        name: face.name.clone(),
        similarity: face.similarity,
        margin: face.margin,
        top_k: face.top_k.clone(),
        zones: face.zones.clone(),
        pose: face.pose,
    }
}

/// A face of a track for the summary of that track; `None` without one.
pub(super) fn sighting<'a>(
    face: &'a meta::Face,
    person: Option<&'a face_core::gallery::Match>,
) -> Option<Sighting<'a>> {
    (face.track_id != 0).then(|| Sighting {
        track_id: face.track_id,
        was_id: face.was_id,
        observed: face.observed,
        first_seen_ns: face.first_seen_ns,
        established: matches!(face.track_state, TrackState::Confirmed | TrackState::Lost),
        bbox: face.bbox,
        score: face.score,
        quality: face.quality,
        zones: &face.zones,
        status: face.status,
        confirmed: face.confirmed,
        person,
    })
}

/// Who a face is taken for.
pub(super) fn person(face: &meta::Face) -> Option<face_core::gallery::Match> {
    let (id, name) = (face.person_id.as_deref()?, face.name.as_deref()?);
    Some(face_core::gallery::Match {
        person_id: id.into(),
        name: name.into(),
        similarity: face.similarity.unwrap_or_default(),
    })
}
