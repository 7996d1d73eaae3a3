//! What a running stream tells.

use gst::glib;
use gst::prelude::*;
use gstface::meta::FrameFaces;
use serde_json::{Map, Value};

use super::error::TrackerError;
use crate::schema::FrameRecord;
use crate::summary;

/// What a running stream tells.
#[derive(Debug)]
pub enum Event {
    /// The faces of a frame; only when results were asked for.
    Frame(Box<TrackedFrame>),
    /// A message of an element of ours, or of the watchdog.
    Message(FaceMessage),
    /// Something that does not end the stream.
    Warning(String),
    /// The last event: the end of the source or why there was one, or the stop that was asked for.
    Ended(Result<(), TrackerError>),
}

/// A frame with its faces.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackedFrame {
    /// As `analyze_file` writes it: boxes in pixels.
    pub record: FrameRecord,
    /// Everything that the metadata has: quality, pose, zones, events, tracks that ended. Boxes are
    /// fractions of the picture.
    pub meta: FrameFaces,
}

impl TrackedFrame {
    pub(crate) fn new(frame: u64, pts_ns: Option<u64>, meta: FrameFaces) -> Self {
        let size = (meta.width as f32, meta.height as f32);
        let faces = meta.faces.iter().map(|face| summary::record(face, size)).collect();
        Self { record: FrameRecord { pts_ns, frame, faces }, meta }
    }
}

/// An element message of the face elements or of the watchdog, `face-identity` for instance.
/// docs/elements.md says which there are and what they hold.
#[derive(Clone, Debug)]
pub struct FaceMessage {
    /// Name of the element: detect, track, recognize, or that of the pipeline.
    pub element: String,
    pub structure: gst::Structure,
}

impl FaceMessage {
    /// The message, if it is one of ours.
    pub(crate) fn of(message: &gst::Message) -> Option<FaceMessage> {
        let gst::MessageView::Element(_) = message.view() else { return None };
        let structure = message.structure()?;
        let name = structure.name().as_str();
        let ours = name == "gallery-changed"
            || name == "provider-info"
            || ["face-", "clip-"].iter().any(|prefix| name.starts_with(prefix));
        let element = message.src().map(GstObjectExt::name);
        ours.then(|| FaceMessage {
            element: element.map(String::from).unwrap_or_default(),
            structure: structure.to_owned(),
        })
    }

    /// What happened: `face-identity`, `face-track`, `face-stall` …
    pub fn name(&self) -> &str {
        self.structure.name().as_str()
    }

    /// A field that is text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.structure.get::<&str>(field).ok()
    }

    /// A field that is a whole number without a sign: ids, times in nanoseconds.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.structure.get::<u64>(field).ok()
    }

    /// The message as one JSON object: `message`, `element`, and the fields with `_` for `-`.
    /// Pictures and other binary fields are left out.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("message".to_owned(), self.name().into());
        object.insert("element".to_owned(), self.element.clone().into());
        object.extend(fields(&self.structure));
        Value::Object(object)
    }
}

fn fields(structure: &gst::StructureRef) -> Map<String, Value> {
    let field = |(name, value): (&glib::GStr, &glib::SendValue)| {
        Some((name.as_str().replace('-', "_"), json(value)?))
    };
    structure.iter().filter_map(field).collect()
}

fn json(value: &glib::Value) -> Option<Value> {
    /// The first type that the value has.
    macro_rules! of {
        ($($kind:ty),*) => {$(
            if let Ok(value) = value.get::<$kind>() {
                return Some(value.into());
            }
        )*};
    }
    of!(u64, u32, i64, i32, f64, f32, bool, Option<String>);
    let all = |values: &[glib::SendValue]| values.iter().filter_map(|v| json(v)).collect();
    if let Ok(array) = value.get::<gst::Array>() {
        return Some(Value::Array(all(array.as_slice())));
    }
    if let Ok(list) = value.get::<gst::List>() {
        return Some(Value::Array(all(list.as_slice())));
    }
    value.get::<gst::Structure>().ok().map(|s| Value::Object(fields(&s)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t19_message_is_json_without_what_is_binary() {
        gst::init().unwrap();
        let top = gst::Structure::builder("face").field("name", "Ada").build();
        let structure = gst::Structure::builder("face-alert")
            .field("track-id", 7u64)
            .field("similarity", 0.5f64)
            .field("dry-run", true)
            .field("top-k", gst::Array::new([top]))
            .field("nothing", None::<String>)
            .field("strange", f64::NAN)
            .field("crop", gst::Buffer::new())
            .build();
        let message = gst::message::Element::builder(structure).build();
        let message = FaceMessage::of(&message).unwrap();
        assert_eq!((message.number("track-id"), message.text("track-id")), (Some(7), None));
        let wanted = serde_json::json!({
            "message": "face-alert", "element": "", "track_id": 7, "similarity": 0.5,
            "dry_run": true, "top_k": [{"name": "Ada"}], "nothing": null, "strange": null,
        });
        assert_eq!(message.json(), wanted);
    }

    #[test]
    fn t19_messages_of_others_are_not_ours() {
        gst::init().unwrap();
        for (name, ours) in [
            ("face-track", true),
            ("gallery-changed", true),
            ("facedetect", false),
            ("level", false),
        ] {
            let message = gst::message::Element::builder(gst::Structure::new_empty(name)).build();
            assert_eq!(FaceMessage::of(&message).is_some(), ours, "{name}");
        }
        assert!(FaceMessage::of(&gst::message::Eos::new()).is_none());
    }
}
