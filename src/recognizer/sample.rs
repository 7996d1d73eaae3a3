//! The one face of a picture that stands for its person, and why there is none.

use crate::align::AlignedCrop;
use crate::detect::{DetectError, Detection};
use crate::embed::{Embedding, EmbeddingError};
use crate::inference::InferenceError;
use crate::picture::PictureError;
use crate::quality::Unfit;

/// The face of a picture that is to be enrolled or compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub detection: Detection,
    pub crop: AlignedCrop,
    pub embedding: Embedding,
}

/// What a face must be like to stand for its person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRules {
    /// Least shorter side of the face's box in square pixels.
    pub min_side_px: f32,
    /// Least score of the detection, 0..=1.
    pub min_score: f32,
    /// A second face of at least this part of the chosen one's area (0..=1) makes it unclear who
    /// is meant.
    pub rival_area: f32,
    /// Take the largest face even so.
    pub largest: bool,
}

impl SampleRules {
    /// For faces that stay in a gallery: 48 pixels and a score of .7. A worse picture would draw
    /// strangers towards its person.
    pub const ENROLMENT: Self =
        Self { min_side_px: 48.0, min_score: 0.7, rival_area: 0.6, largest: false };

    /// For a comparison whose result is not kept: every face that is found.
    pub const COMPARISON: Self =
        Self { min_side_px: 0.0, min_score: 0.0, rival_area: 0.6, largest: false };
}

/// Why a picture gives no sample. The picture is at fault, not the program: others may do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    #[error(transparent)]
    Unreadable(#[from] PictureError),
    #[error("no face was found")]
    NoFace,
    #[error("{} faces are about equally large; crop the picture, or ask for the largest", .rivals + 1)]
    SeveralFaces {
        /// Faces beside the largest that are nearly as large, or larger and unusable.
        rivals: usize,
    },
    #[error("the face measures {side_px:.0} pixels, at least {min_px} are needed")]
    SmallFace { side_px: f32, min_px: f32 },
    #[error("the face was found with a score of {score:.2}, at least {min:.2} is needed")]
    LowScore { score: f32, min: f32 },
    #[error("the eyes, nose and mouth were not found")]
    NoLandmarks,
    #[error("the face cannot be embedded")]
    NoEmbedding(#[source] EmbeddingError),
    /// Too poor, or not fit for the gallery.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

impl Rejection {
    /// The reason in one word, for machines; stays the same in later versions.
    pub fn reason(&self) -> &'static str {
        match self {
            Rejection::Unreadable(_) => "unreadable",
            Rejection::NoFace => "no-face",
            Rejection::SeveralFaces { .. } => "several-faces",
            Rejection::SmallFace { .. } => "small-face",
            Rejection::LowScore { .. } => "low-score",
            Rejection::NoLandmarks => "no-landmarks",
            Rejection::NoEmbedding(_) => "no-embedding",
            Rejection::Unfit(unfit) => unfit.reason(),
        }
    }
}

/// Why pictures cannot be looked at at all: a model failed.
#[derive(Debug, thiserror::Error)]
pub enum RecognizeError {
    #[error(transparent)]
    Detect(#[from] DetectError),
    #[error(transparent)]
    Embed(#[from] InferenceError),
}

/// Why there is no [`Sample`].
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Failed(#[from] RecognizeError),
}

impl SampleRules {
    /// The largest face that passes the checks; with `force`, or else the largest that can be
    /// aligned. If there is none, the reason is that of the largest.
    pub(super) fn choose_or_force<'a>(
        &self,
        faces: &'a [Detection],
        pixel_aspect: f32,
        force: bool,
    ) -> Result<&'a Detection, Rejection> {
        let rules = SampleRules { largest: self.largest || force, ..*self };
        match rules.choose(faces, pixel_aspect) {
            Err(Rejection::SmallFace { .. } | Rejection::LowScore { .. }) if force => {
                let any = SampleRules { largest: true, ..SampleRules::COMPARISON };
                any.choose(faces, pixel_aspect)
            }
            chosen => chosen,
        }
    }

    /// The largest face that passes the checks. If none does, the reason is that of the largest.
    fn choose<'a>(
        &self,
        faces: &'a [Detection],
        pixel_aspect: f32,
    ) -> Result<&'a Detection, Rejection> {
        let mut by_area: Vec<&Detection> = faces.iter().collect();
        by_area.sort_by(|a, b| b.bbox.area().total_cmp(&a.bbox.area()));
        let chosen = by_area.iter().find(|face| self.check(face, pixel_aspect).is_ok());
        let Some(chosen) = chosen.copied() else {
            let largest = by_area.first().ok_or(Rejection::NoFace)?;
            self.check(largest, pixel_aspect)?;
            return Ok(largest);
        };
        // A larger face that fails a check counts as well: the bystander would be enrolled under
        // the name of the person in front.
        let limit = self.rival_area * chosen.bbox.area();
        let rivals = by_area.iter().filter(|f| f.bbox.area() >= limit).count() - 1;
        if rivals > 0 && !self.largest {
            return Err(Rejection::SeveralFaces { rivals });
        }
        Ok(chosen)
    }

    /// May this face stand for its person?
    pub(super) fn check(&self, face: &Detection, pixel_aspect: f32) -> Result<(), Rejection> {
        let side_px = face.bbox.scaled(pixel_aspect, 1.0).min_side();
        if face.landmarks.is_none() {
            Err(Rejection::NoLandmarks)
        } else if side_px < self.min_side_px {
            Err(Rejection::SmallFace { side_px, min_px: self.min_side_px })
        } else if face.score < self.min_score {
            Err(Rejection::LowScore { score: face.score, min: self.min_score })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{BBox, Landmarks};

    fn face(x: f32, side: f32, score: f32) -> Detection {
        let bbox = BBox::new(x, 0.0, side, side);
        Detection { bbox, score, landmarks: Some(Landmarks::default()) }
    }

    fn reason(faces: &[Detection], rules: &SampleRules) -> &'static str {
        rules.choose(faces, 1.0).map_or_else(|r| r.reason(), |_| "chosen")
    }

    #[test]
    fn largest_face_that_passes_is_chosen() {
        let rules = SampleRules::ENROLMENT;
        let faces = [face(0.0, 50.0, 0.99), face(100.0, 100.0, 0.8)];
        assert_eq!(rules.choose(&faces, 1.0).unwrap(), &faces[1]);
        assert_eq!(reason(&[], &rules), "no-face");
        assert_eq!(reason(&[face(0.0, 47.9, 0.9)], &rules), "small-face");
        assert_eq!(reason(&[face(0.0, 48.0, 0.69)], &rules), "low-score");
        let blind = Detection { landmarks: None, ..face(0.0, 90.0, 0.9) };
        assert_eq!(reason(&[blind], &rules), "no-landmarks");
        assert_eq!(reason(&[face(0.0, 20.0, 0.6)], &SampleRules::COMPARISON), "chosen");
    }

    #[test]
    fn second_face_of_60_percent_of_the_area_makes_it_unclear_who_is_meant() {
        let rules = SampleRules::ENROLMENT;
        // Areas 10,000 and 6,084 or 5,929.
        assert_eq!(
            reason(&[face(0.0, 100.0, 0.9), face(200.0, 78.0, 0.9)], &rules),
            "several-faces"
        );
        assert_eq!(reason(&[face(0.0, 100.0, 0.9), face(200.0, 77.0, 0.9)], &rules), "chosen");
        // A larger face that is no good does not make the bystander the person.
        let faces = [face(0.0, 100.0, 0.9), face(200.0, 300.0, 0.65)];
        assert_eq!(reason(&faces, &rules), "several-faces");
        let largest = SampleRules { largest: true, ..rules };
        assert_eq!(largest.choose(&faces, 1.0).unwrap(), &faces[0]);
        assert_eq!(reason(&faces[1..], &largest), "low-score");
    }

    #[test]
    fn sides_are_measured_in_square_pixels() {
        let rules = SampleRules::ENROLMENT;
        let narrow = Detection { bbox: BBox::new(0.0, 0.0, 30.0, 60.0), ..face(0.0, 1.0, 0.9) };
        assert!(rules.choose(&[narrow], 1.0).is_err());
        assert!(rules.choose(&[narrow], 2.0).is_ok());
    }
}
