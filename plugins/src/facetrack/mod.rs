//! `facetrack` follows faces from frame to frame and gives them track ids.
//!
//! It reads the faces that `onnxfacedetect` put into `GstFaceMeta`, and writes there the track id,
//! the state of the track and the running time of its first observation. On frames where the
//! detector missed a face or did not look at all it adds the predicted box with `observed=false`.
//! Tracks that ended are listed in `ended-tracks`; when one that was confirmed ends, an element
//! message `face-track` has the fields `track-id` (uint64), `first-seen` and `last-seen`
//! (uint64, ns of running time), `observations` (uint64), `zones` (time in each), and `best-box` and
//! `best-time` of the clearest observation, unless a facerecognize downstream answers for it.
//!
//! With `zones`, faces carry the names of the zones that they are in. Who enters, leaves and stays
//! is told by an element message `face-zone` and an event of kind `zone-enter`, `zone-exit` or
//! `zone-dwell` that is repeated in the metadata for `event-hold`.
//!
//! The upstream event `face-track-split` (`track-id`) ends a track, `face-relink` (`new-id`,
//! `old-id`) gives a track the id of a lost one; then the faces have `was-id`, and a message
//! `face-track-relinked` has `track-id`, `was-id` and `running-time`.
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
