//! Faces in pictures and video, without GStreamer: frames, preprocessing, models, inference,
//! detection, embedding, tracking, identity and the gallery.
#![forbid(unsafe_code)]

pub mod align;
pub mod detect;
pub mod embed;
pub mod frame;
pub mod gallery;
pub mod geometry;
pub mod identity;
pub mod inference;
pub mod model;
pub mod preprocess;

pub mod track;

pub use runtime::user_settings_path;

mod onnx {
    pub fn free_dims(b: &[u8], _: &[crate::model::FreeDim]) -> Result<Vec<u8>, String> {
        Ok(b.to_vec())
    }
}
mod runtime;
