//! `facecamerasrc` is a camera that comes back: it reads a network camera, a camera of this machine or a
//! file, and when that is lost, connects again for as long as it takes.
//!
//! Its pad `src` has the video as the camera sends it, coded and parsed, or raw; the pad `audio` comes when
//! the camera has sound and `audio=true` asks for it. For what is downstream it is one live stream:
//! times go on with the clock over every interruption, the first buffer of each connection is
//! marked DISCONT, and caps are sent again only when they change.
//!
//! Everything that may fail or hang (rtspsrc, v4l2src, demuxers) is in a pipeline of its own, which is
//! built for every connection and is no part of the application's. The thread `face-camera` connects,
//! watches and takes it down, so that errors of a camera are no errors of the application, and no change of
//! state waits for a network. docs/cameras.md has recipes, and what happens when.
//!
//! | message `face-camera` | |
//! |---|---|
//! | `state` | `connecting`, `connected`, `lost` or `failed` |
//! | `uri` | the camera, without user and password |
//! | `attempt` | connections tried since the last one that gave a picture, from 1; 0: none was |
//! | `reason` | of `lost`, `failed` and further attempts: why |
//!
//! ```bash
//! gst-launch-1.0 facecamerasrc uri=rtsp://camera.local/stream ! decodebin ! videoconvert ! onnxfacedetect ! facetrack ! faceannotate ! videoconvert ! autovideosink
//! ```

mod address;
mod backoff;
mod chain;
mod drift;
mod imp;
mod outlet;
mod settings;
mod worker;

use gst::prelude::*;

pub use settings::CameraProtocols;

glib::wrapper! {
    /// The element `facecamerasrc`.
    pub struct FaceCameraSrc(ObjectSubclass<imp::FaceCameraSrc>)
        @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "facecamerasrc",
        gst::Rank::NONE,
        FaceCameraSrc::static_type(),
    )
}
