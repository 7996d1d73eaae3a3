//! Multi-object tracking of faces: Kalman prediction and two-stage association (ByteTrack).
//!
//! [`Tracker`] is fed the detections of every frame that a detector looked at and the time of
//! every frame that it did not; it gives the boxes of each frame with ids that stay the same for
//! as long as a face can be followed by its motion. All times are nanoseconds: nothing but
//! [`TrackerConfig::confirm_hits`] counts frames, so any and changing frame rates work.
//!
//! [`SceneCutDetector`] says when the picture shows another scene, in which no track goes on.

mod assignment;
mod config;
mod kalman;
mod scene_cut;
mod tracker;

#[cfg(test)]
mod families;
#[cfg(test)]
mod relink_tests;
#[cfg(test)]
mod score;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tracker_tests;

pub use config::{TrackerConfig, TrackerConfigError};
pub use scene_cut::{SceneCutConfig, SceneCutDetector};
pub use tracker::{EndedTrack, Observation, TrackBox, TrackState, Tracker};
