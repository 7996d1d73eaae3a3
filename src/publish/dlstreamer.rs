//! The layout of DL Streamer's `gvametaconvert` (format `json`), which consumers of `gvametapublish`
//! read already.
//!
//! An identity is a classification result `face_id`, as DL Streamer's own face recognition has it;
//! what it has no place for is in `extra_params`.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Face, FaceFrame};

/// What a face is called there.
const LABEL: &str = "face";

/// A frame in that layout.
pub fn frame(frame: &FaceFrame) -> Value {
    let mut value = Map::new();
    let resolution = json!({"width": frame.width, "height": frame.height});
    value.insert("resolution".to_owned(), resolution);
    if let Some(camera) = &frame.camera {
        value.insert("source".to_owned(), json!(camera));
    }
    if let Some(time) = frame.running_time_ns {
        value.insert("timestamp".to_owned(), json!(time));
    }
    let objects = frame.faces.iter().map(|face| object(face, frame));
    value.insert("objects".to_owned(), objects.collect());
    Value::Object(value)
}

fn object(face: &Face, frame: &FaceFrame) -> Value {
    let [x, y, w, h] = face.rect.map(f64::from);
    let (width, height) = (f64::from(frame.width), f64::from(frame.height));
    let mut value = Map::new();
    for (name, pixels) in [("x", x * width), ("y", y * height), ("w", w * width), ("h", h * height)]
    {
        value.insert(name.to_owned(), json!(whole(pixels)));
    }
    value.insert("region_id".to_owned(), json!(face.id));
    if face.track_id != 0 {
        value.insert("id".to_owned(), json!(face.track_id));
    }
    value.insert("roi_type".to_owned(), json!(LABEL));
    let bounding_box = json!({
        "x_min": x,
        "y_min": y,
        "x_max": x + w,
        "y_max": y + h,
    });
    let detection = json!({
        "bounding_box": bounding_box,
        "confidence": face.score,
        "label_id": 0,
        "label": LABEL,
    });
    value.insert("detection".to_owned(), detection);
    if let (Some(name), Some(id)) = (&face.name, &face.person_id) {
        let mut identity = Map::new();
        identity.insert("label".to_owned(), json!(name));
        if let Some(similarity) = face.similarity {
            identity.insert("confidence".to_owned(), json!(similarity));
        }
        identity.insert("label_id".to_owned(), json!(label_id(id)));
        value.insert("face_id".to_owned(), Value::Object(identity));
    }
    value.insert("extra_params".to_owned(), extra(face));
    Value::Object(value)
}

fn extra(face: &Face) -> Value {
    let mut extra = Map::new();
    extra.insert("status".to_owned(), json!(face.status));
    extra.insert("confirmed".to_owned(), json!(face.confirmed));
    extra.insert("observed".to_owned(), json!(face.observed));
    extra.insert("filter".to_owned(), json!(face.filter));
    if let Some(id) = &face.person_id {
        extra.insert("person_id".to_owned(), json!(id));
    }
    if let Some(margin) = face.margin {
        extra.insert("margin".to_owned(), json!(margin));
    }
    if !face.top_k.is_empty() {
        let top = face.top_k.iter().map(|c| json!([c.name, c.similarity]));
        extra.insert("top".to_owned(), top.collect());
    }
    if !face.zones.is_empty() {
        extra.insert("zones".to_owned(), json!(face.zones));
    }
    Value::Object(extra)
}

/// People have no numbers, the layout wants one: the same for the same person at all times.
fn label_id(person_id: &str) -> u32 {
    let hash = Sha256::digest(person_id);
    hash.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes) >> 1)
}

/// Whole pixels, as `gvametaconvert` has them; the cast saturates.
fn whole(pixels: f64) -> i64 {
    pixels.round() as i64
}
