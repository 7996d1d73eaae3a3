//! `facetrack` follows faces from frame to frame and gives them track ids.
//!
//! It reads the faces that `onnxfacedetect` put into `GstFaceMeta`, and writes there the track id,
//! the state of the track and the running time of its first observation. On frames where the
//! detector missed a face or did not look at all it adds the predicted box with `observed=false`.
//! Tracks that ended are listed in `ended-tracks`; when one that was confirmed ends, an element
//! message `face-track` has the fields `track-id` (uint64), `first-seen` and `last-seen`
//! (uint64, ns of running time) and `observations` (uint64).
//!
//! No pixel is changed, so every raw format in system memory passes. With `scene-cut=true` every
//! picture is looked at: where another scene begins all tracks end, and an element message
//! `face-scene-cut` has the fields `running-time` (uint64, ns) and `score` (double). A flush, a new stream, and a
//! discontinuity with a jump in time end all tracks; a caps change does not.
//!
//! ```text
//! gst-launch-1.0 -m filesrc location=clip.mp4 ! decodebin ! videoconvert ! onnxfacedetect ! facetrack ! fakesink
//! ```

mod imp;
mod known;
mod messages;
mod properties;
mod stream;

use gst::prelude::*;

glib::wrapper! {
    /// The element `facetrack`.
    pub struct FaceTrack(ObjectSubclass<imp::FaceTrack>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "facetrack", gst::Rank::NONE, FaceTrack::static_type())
}
