//! Sidecars of the recorder of DeGirum Face: a `properties` object and one entry of `results` for
//! each picture.

use serde_json::Value;

use super::sidecar::{Face, Frame, Origin, Sidecar, SidecarError, SidecarTrack, Software, Trigger};

const SECOND_NS: f64 = 1e9;

pub(super) fn is_one(value: &Value) -> bool {
    value.get("properties").is_some_and(Value::is_object)
        && value.get("results").is_some_and(Value::is_array)
}

/// Puts it into our own form, as far as it says something. Its `timestamp` is when it was saved, in
/// local time of an unknown place: no moment can be made of it.
pub(super) fn read(value: &Value) -> Result<Sidecar, SidecarError> {
    let properties = value.get("properties").unwrap_or(&Value::Null);
    let rate = properties.get("target_fps").and_then(Value::as_f64);
    let rate = rate.filter(|rate| rate.is_finite() && (0.01..=1000.0).contains(rate));
    // Without a rate pictures still come one after another.
    let frame_ns = SECOND_NS / rate.unwrap_or(30.0);
    let at = |index: usize| (index as f64 * frame_ns).round() as u64;
    let results = value.get("results").and_then(Value::as_array);
    let results = results.ok_or(SidecarError::Unknown)?;
    let mut sidecar = Sidecar {
        schema: super::SCHEMA.to_owned(),
        software: Software { name: "degirum-face".to_owned(), ..Software::default() },
        duration_ns: at(results.len()),
        origin: Origin::Reference,
        ..Sidecar::default()
    };
    for (index, result) in results.iter().enumerate() {
        let faces = result.get("_inference_results").and_then(Value::as_array);
        let faces = faces.into_iter().flatten().filter_map(face).collect();
        let frame = Frame { pts_ns: at(index), looked: true, faces, ..Frame::default() };
        for face in &frame.faces {
            follow(&mut sidecar.tracks, face, frame.pts_ns);
        }
        sidecar.frames.push(frame);
        triggers(result, at(index), &mut sidecar.triggers);
    }
    Ok(sidecar)
}

/// A detection; `None` without a box.
fn face(value: &Value) -> Option<Face> {
    let corners: Vec<f64> =
        value.get("bbox")?.as_array()?.iter().filter_map(Value::as_f64).collect();
    let [left, top, right, bottom] = corners.try_into().ok()?;
    let (status, name) = meaning(value.get("label").and_then(Value::as_str).unwrap_or_default());
    let filter = value.get("face_filter_applied").and_then(Value::as_str);
    let filter = filter.filter(|filter| !filter.is_empty()).map(str::to_owned);
    let points = value.get("landmarks").and_then(Value::as_array).into_iter().flatten();
    let points = points.filter_map(|point| point.get("landmark").unwrap_or(point).as_array());
    Some(Face {
        track_id: value.get("track_id").and_then(Value::as_u64),
        rect: None,
        box_px: [left, top, right - left, bottom - top],
        score: value.get("score").and_then(Value::as_f64).map(|score| score as f32),
        landmarks_px: points.flatten().filter_map(Value::as_f64).collect(),
        observed: true,
        status: if filter.is_some() { "filtered" } else { status }.to_owned(),
        name,
        filter,
        ..Face::default()
    })
}

/// Its labels are either a status in words or a name.
fn meaning(label: &str) -> (&'static str, Option<String>) {
    match label {
        "UNKNOWN" => ("unknown", None),
        "confirming" => ("confirming", None),
        "identifying" => ("identifying", None),
        "not tracked" | "" => ("untracked", None),
        name => ("known", Some(name.to_owned())),
    }
}

fn follow(tracks: &mut Vec<SidecarTrack>, face: &Face, at_ns: u64) {
    let Some(track_id) = face.track_id else { return };
    let at = match tracks.iter().position(|track| track.track_id == track_id) {
        Some(at) => at,
        None => {
            tracks.push(SidecarTrack {
                track_id,
                first_offset_ns: at_ns,
                ..SidecarTrack::default()
            });
            tracks.len() - 1
        }
    };
    let Some(track) = tracks.get_mut(at) else { return };
    track.last_offset_ns = at_ns;
    if face.name.is_some() || track.name.is_none() {
        track.status.clone_from(&face.status);
        track.name.clone_from(&face.name);
    }
}

/// `events_detected`: by kind a list of tracks.
fn triggers(result: &Value, at_ns: u64, triggers: &mut Vec<Trigger>) {
    let events = result.get("events_detected").and_then(Value::as_object);
    for (kind, faces) in events.into_iter().flatten() {
        for face in faces.as_array().into_iter().flatten() {
            let text = |name: &str| face.get(name).and_then(Value::as_str).map(str::to_owned);
            triggers.push(Trigger {
                event: kind.replace('_', "-"),
                offset_ns: Some(at_ns),
                track_id: face.get("track_id").and_then(Value::as_u64),
                person_id: text("db_id"),
                name: text("attributes"),
                ..Trigger::default()
            });
        }
    }
}
