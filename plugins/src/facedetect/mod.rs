//! facedetect, also registered as onnxfacedetect: finds faces.

use gst::glib;
use gst::prelude::*;

mod imp;
mod interval;
mod properties;

pub use interval::IntervalSetting;

glib::wrapper! {
    /// Finds faces and writes them into the buffers' metadata.
    pub struct FaceDetect(ObjectSubclass<imp::FaceDetect>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the element under both names: OpenCV's plugin has a `facedetect` of its own, and in a
/// fresh registry that one wins.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    for name in ["onnxfacedetect", "facedetect"] {
        gst::Element::register(Some(plugin), name, gst::Rank::NONE, FaceDetect::static_type())?;
    }
    Ok(())
}
