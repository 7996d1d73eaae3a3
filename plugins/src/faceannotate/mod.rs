//! Draws what the face elements found: boxes, names, similarities and landmarks.
//!
//! `faceannotate` reads the face metadata that `onnxfacedetect`, `facetrack` and `facerecognize`
//! leave on every buffer. Where downstream takes overlay compositions (a sink that draws them
//! itself, with the caps feature `meta:GstVideoOverlayComposition`), the pixels stay untouched
//! and the drawing is attached to the buffer; otherwise it is blended into the picture. A buffer
//! without face metadata, or without faces, passes unchanged.
//!
//! The colour of a face is its status, in a palette that people with colour-vision deficiencies
//! can tell apart:
//!
//! | status | colour | label |
//! |---|---|---|
//! | known | green `#009E73` | the name |
//! | confirming | dark blue `#0072B2` | the name and a question mark |
//! | uncertain | orange `#E69F00` | the name and a question mark |
//! | identifying | light blue `#56B4E9` | `identifying…` |
//! | unknown | vermilion `#D55E00` | `unknown` |
//! | filtered | grey `#999999` | why the face is not looked at |
//! | error | purple `#CC79A7` | `error` |
//! | untracked | yellow `#F0E442` | none |
//!
//! A box that `facetrack` predicted, on a frame on which the face was not seen, is dashed. Line
//! width and type follow the size of the picture. Names are drawn in any script for which the
//! machine has a font (packages `fonts-noto-core`, `fonts-noto-cjk`, `fonts-noto-color-emoji`).
//!
//! # Example
//!
//! ```sh
//! gst-launch-1.0 filesrc location=clip.mp4 ! decodebin ! videoconvert ! onnxfacedetect \
//!     ! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! facetrack \
//!     ! facerecognize gallery=people.gallery ! faceannotate ! videoconvert ! autovideosink
//! ```

use glib::prelude::*;

mod blend;
mod image;
mod imp;
mod label;
mod overlay;
mod scene;
mod settings;
mod style;
mod text;

pub use text::SimilarityFormat;

/// Font of the labels when the property `font` is not set.
const DEFAULT_FONT: &str = "Noto Sans Bold";

glib::wrapper! {
    /// The element `faceannotate`.
    pub struct FaceAnnotate(ObjectSubclass<imp::FaceAnnotate>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the element `faceannotate`, for a plugin or (`None`) for this process alone.
///
/// # Errors
/// If GStreamer refuses the registration.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "faceannotate",
        gst::Rank::NONE,
        FaceAnnotate::static_type(),
    )
}
