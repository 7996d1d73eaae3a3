//! facerecognize: says who the faces are.

use gst::glib;
use gst::prelude::*;

mod alerts;
mod explain;
mod gallery;
mod groups;
mod imp;
mod look;
mod plan;
mod posts;
mod properties;
mod signals;
mod stream;
mod track_summary;
mod watch;

glib::wrapper! {
    /// Embeds the faces that facedetect found, and names those that the gallery knows.
    pub struct FaceRecognize(ObjectSubclass<imp::FaceRecognize>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    let type_ = FaceRecognize::static_type();
    gst::Element::register(Some(plugin), "facerecognize", gst::Rank::NONE, type_)
}
