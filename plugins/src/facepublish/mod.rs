//! `facepublish` tells others what the elements before it found: frames, identities, alerts, events
//! about zones, and what is known of tracks that ended, as JSON.
//!
//! | `target` | |
//! |---|---|
//! | `stdout` | a line each on standard output |
//! | a path or `file:///…` | a line each in a file that rotates |
//! | `mqtt://HOST/PREFIX`, `mqtts://…` | topics below `PREFIX/CAMERA` at a broker |
//! | `https://…`, `webhook+env:NAME`, `webhook+file:PATH` | a request each, without frames |
//!
//! It reads the metadata alone, so that any caps pass, and copies and changes nothing. Network and disk
//! are the business of a thread of its own: the stream never waits. What happened goes through the
//! outbox and arrives at least once, also after a crash; frames that cannot be told in time are
//! dropped, the oldest first. docs/publish.md has formats, topics and Home Assistant.
//!
//! ```text
//! gst-launch-1.0 -q filesrc location=clip.mp4 ! decodebin ! videoconvert ! onnxfacedetect ! facetrack ! facepublish camera=door target=faces.jsonl ! fakesink
//! ```

mod convert;
mod imp;
mod mailbox;
mod outlet;
mod settings;
mod stream;
mod target;

use gst::prelude::*;

pub use settings::{MqttVersionSetting, PublishEvents, PublishFormat};

glib::wrapper! {
    /// The element `facepublish`.
    pub struct FacePublish(ObjectSubclass<imp::FacePublish>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "facepublish", gst::Rank::NONE, FacePublish::static_type())
}
