//! Multi-object tracking of faces: Kalman prediction and two-stage association (ByteTrack).
//!
//! [`Tracker`] is fed the detections of every frame that a detector looked at and the time of
//! every frame that it did not; it gives the boxes of each frame with ids that stay the same for
//! as long as a face can be followed by its motion. All times are nanoseconds: nothing but
//! [`TrackerConfig::confirm_hits`] counts frames, so any and changing frame rates work.

mod assignment;
mod config;
mod kalman;
mod tracker;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tracker_tests;

pub use config::{TrackerConfig, TrackerConfigError};
pub use tracker::{EndedTrack, Observation, TrackBox, TrackState, Tracker};
