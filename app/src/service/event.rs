//! What a service tells while it runs.

use serde_json::{Value, json};

use super::state::CameraState;
use crate::tracker::FaceMessage;

/// Something that happened at a camera.
#[derive(Clone, Debug)]
pub struct Event {
    pub camera: String,
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// Another state, and why if the camera does not run.
    State(CameraState, Option<String>),
    /// A message of an element.
    Message(FaceMessage),
    /// Something that stops nothing.
    Warning(String),
}

impl Event {
    /// One JSON object: `camera`, and the message as [`FaceMessage::json`] has it; a state is the
    /// message `camera-state` with `state` and `reason`, a warning the message `warning` with `text`.
    pub fn json(&self) -> Value {
        let mut value = match &self.what {
            What::State(state, reason) => {
                json!({ "message": "camera-state", "state": state.as_str(), "reason": reason })
            }
            What::Message(message) => message.json(),
            What::Warning(text) => json!({ "message": "warning", "text": text }),
        };
        if let Some(object) = value.as_object_mut() {
            object.insert("camera".to_owned(), self.camera.clone().into());
        }
        value
    }
}
