//! Ready pipelines of the face elements: analyse a video file or a stored clip, make an annotated
//! copy of it, enrol the people of a video, follow those of a running stream ([`tracker`]).
//!
//! The elements are registered statically: nothing has to be installed but GStreamer itself, ONNX
//! Runtime and the models.
#![forbid(unsafe_code)]

mod analyze;
mod bench;
mod chain;
mod clip;
mod clock;
mod collector;
mod copy;
mod elements;
mod enroll_analysis;
mod enroll_video;
mod error;
mod output;
mod people;
mod report;
mod rows;
pub mod rtsp_server;
mod run;
mod samples;
pub mod schema;
pub mod service;
mod sheet;
mod strangers;
mod summary;
mod tap;
#[cfg(test)]
mod testing;
pub mod tracker;

pub use analyze::{AnalyzeOptions, analyze_file};
pub use bench::{BenchOptions, BenchProgress, BenchReport, StreamRate, Versions, bench};
pub use clip::{ClipAnalysis, ClipProgress, analyze_clip};
pub use clock::clock;
pub use elements::{Recognition, Stage};
pub use enroll_analysis::{AnalysisFile, AnalysisFileError, AnalysisSample, enroll_from_analysis};
pub use enroll_video::{
    RejectedPicture, VideoEnrollOptions, VideoEnrollment, VideoPerson, enroll_from_video,
};
pub use error::AnalyzeError;
pub use output::PendingFile;
pub use report::report;
pub use run::Progress;
pub use schema::Analysis;
pub use sheet::{Sheet, SheetError};
