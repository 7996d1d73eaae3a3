//! Faces in pictures and video, without GStreamer: frames, preprocessing, models, inference,
//! detection, embedding, tracking, identity, the gallery, and the storage of clips.
#![forbid(unsafe_code)]

pub mod align;
pub mod attributes;
pub mod clip;
pub mod cluster;
pub mod cpu;
pub mod detect;
pub mod embed;
pub mod event;
pub mod fetch;
pub mod frame;
pub mod gallery;
pub mod geometry;
pub mod identity;
pub mod inference;
pub mod load;
pub mod loose;
pub mod model;
pub mod mqtt;
pub mod onnx;
pub mod outbox;
pub mod picture;
pub mod preprocess;
pub mod publish;
pub mod quality;
pub mod recognizer;
pub mod storage;
pub mod text;
pub mod track;
pub mod zone;

mod net;
mod runtime;
mod tls;
