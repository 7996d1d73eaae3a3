//! Face detection: one pure decoder per model family, and the detector that feeds it.

use serde::{Deserialize, Serialize};

use crate::geometry::{BBox, Landmarks};

/// A face as a detector found it, in pixels of the source picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub bbox: BBox,
    /// Confidence, 0..=1.
    pub score: f32,
    /// `None` for detectors without landmarks.
    pub landmarks: Option<Landmarks>,
}
