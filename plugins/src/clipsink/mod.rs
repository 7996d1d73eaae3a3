//! Keeps clips of what matters: each event in the metadata becomes a video file, with what was before
//! it, a JSON file that says what is in it, and a picture of the face, in a bucket or a folder.
//!
//! ```bash
//! gst-launch-1.0 -m filesrc location=clip.mp4 ! decodebin ! videoconvert ! onnxfacedetect ! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! facetrack ! facerecognize gallery=people.gallery ! clipsink storage=clips camera=door
//! ```
//!
//! docs/clips.md explains pads, times, messages and what is promised.

use gst::glib;
use gst::prelude::*;

pub mod encoder;
mod imp;
mod inlet;
mod making;
mod metadata;
mod options;
mod pads;
mod posts;
mod properties;
mod shots;
pub mod sound;
mod stream;
mod worker;
mod writer;

pub use options::{ClipTriggers, MessageFormat, OnRetriggerSetting};

glib::wrapper! {
    /// The element `clipsink`.
    pub struct ClipSink(ObjectSubclass<imp::ClipSink>)
        @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

/// Registers the element `clipsink`.
///
/// # Errors
/// If GStreamer refuses the registration.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "clipsink", gst::Rank::NONE, ClipSink::static_type())
}
