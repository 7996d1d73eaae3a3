//! Faces in pictures and video, without GStreamer: frames, preprocessing, models, inference,
//! detection, embedding, tracking, identity and the gallery.
#![forbid(unsafe_code)]

pub mod detect;
pub mod embed;
pub mod frame;
pub mod gallery;
pub mod geometry;
pub mod identity;
pub mod model;
pub mod track;
