//! Is a face good enough to stand for its person? What a picture of a face is measured by, the
//! gate that a sample passes before it goes into a gallery, and looks at a whole gallery: which
//! samples are suspect ([`audit`]), and which threshold fits ([`calibration`]).

pub mod audit;
pub mod calibration;
pub mod shot;

use std::time::Duration;

use serde::Serialize;

use crate::align::{AlignedCrop, CROP_SIDE};
use crate::attributes::pose::HeadPose;
use crate::embed::Embedding;
use crate::gallery::{Gallery, Match, SearchError, SearchRules, Snapshot, VoteRule};
use crate::geometry::Landmarks;

/// The part of an aligned crop that is face and not hair or background, in pixels of the crop:
/// from the brows to below the mouth, from cheek to cheek.
const INNER: [std::ops::Range<usize>; 2] = [24..88, 36..106];

/// Two embeddings this near are of the very same picture: what is left is rounding.
const SAME_PICTURE: f32 = 0.9999;

/// What the pixels of a face are like, measured on the inner part of its aligned crop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CropQuality {
    /// Variance of the Laplacian of the brightness, divided by the variance of the brightness: 0
    /// (flat, or blurred beyond recognition) to about 2, ordinarily below 1. Does not depend on
    /// exposure. Pictures smaller than the crop are enlarged for it and count as less sharp.
    pub sharpness: f32,
    /// Mean brightness, 0..=255.
    pub brightness: f32,
    /// Standard deviation of the brightness, 0..=128.
    pub contrast: f32,
}

impl CropQuality {
    /// Measures a crop. What lies outside the picture, which is black, does not count.
    pub fn of(crop: &AlignedCrop) -> CropQuality {
        // ITU-R BT.601.
        let brightness = |p: &[u8; 3]| {
            0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])
        };
        let pixels = crop.as_rgb().as_chunks::<3>().0;
        // Not on the heap: this is done on many frames.
        let mut luma = [0.0; CROP_SIDE * CROP_SIDE];
        luma.iter_mut().zip(pixels).for_each(|(luma, pixel)| *luma = brightness(pixel));
        let inside = inside(pixels);
        let [columns, rows] = INNER;
        let places = || {
            let all = rows.clone().flat_map(|y| columns.clone().map(move |x| y * CROP_SIDE + x));
            all.filter(|i| inside[*i])
        };
        let laplacian = |i: usize| {
            luma[i - 1] + luma[i + 1] + luma[i - CROP_SIDE] + luma[i + CROP_SIDE] - 4.0 * luma[i]
        };
        let (brightness, variance) = mean_and_variance(places().map(|i| luma[i]));
        let (_, edges) = mean_and_variance(places().map(laplacian));
        CropQuality {
            // A variance below 1 is that of a picture of one colour.
            sharpness: (edges / variance.max(1.0)) as f32,
            brightness: brightness as f32,
            contrast: variance.sqrt() as f32,
        }
    }
}

/// Which pixels are so far from what is black that the edge of the picture is no edge of the face:
/// pixels at the edge are half black, and the Laplacian sees their neighbours.
fn inside(pixels: &[[u8; 3]]) -> [bool; CROP_SIDE * CROP_SIDE] {
    let mut inside = [true; CROP_SIDE * CROP_SIDE];
    let black = pixels.iter().enumerate().filter(|(_, p)| **p == [0; 3]);
    for (x, y) in black.map(|(i, _)| (i % CROP_SIDE, i / CROP_SIDE)) {
        let end = |v: usize| (v + 3).min(CROP_SIDE);
        for row in y.saturating_sub(2)..end(y) {
            inside[row * CROP_SIDE + x.saturating_sub(2)..row * CROP_SIDE + end(x)].fill(false);
        }
    }
    inside
}

/// 0 and 0 of no values.
fn mean_and_variance(values: impl Iterator<Item = f32>) -> (f64, f64) {
    let (mut count, mut sum, mut squares) = (0.0f64, 0.0, 0.0);
    for value in values.map(f64::from) {
        count += 1.0;
        sum += value;
        squares += value * value;
    }
    let mean = sum / count.max(1.0);
    (mean, (squares / count.max(1.0) - mean * mean).max(0.0))
}

/// What a face must be like to go into a gallery, beside the size and the score of its detection
/// ([`crate::recognizer::SampleRules`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// Least [`CropQuality::sharpness`]; 0: any.
    pub min_sharpness: f32,
    /// Least [`CropQuality::brightness`], 0..=255.
    pub min_brightness: f32,
    /// Greatest [`CropQuality::brightness`], 0..=255.
    pub max_brightness: f32,
    /// Least [`CropQuality::contrast`], 0..=128.
    pub min_contrast: f32,
    /// Most degrees that the head is turned aside, 0..=90.
    pub max_yaw: f32,
    /// Most degrees that the head is raised or lowered, 0..=180.
    pub max_pitch: f32,
    /// Most degrees that the head is tilted, 0..=180. Alignment undoes a tilt: the limit is for
    /// pictures that lie on their side, where detectors find poor points.
    pub max_roll: f32,
    /// Cosine similarity with a sample of the same person from which a face adds nothing, -1..=1.
    pub near_duplicate: f32,
    /// Least cosine similarity with the person's nearest sample, -1..=1, once the person has
    /// [`Gate::outlier_from`] samples.
    pub outlier: f32,
    /// Samples that a person needs before a face can be an outlier among them.
    pub outlier_from: usize,
    /// Cosine similarity with another person from which it matters that they are nearer than the
    /// person whose face it shall be; `None`: the embedder's threshold.
    pub conflict: Option<f32>,
}

impl Gate {
    /// Measured on 47 stills of television and press photos of 12 people, and on the same pictures
    /// made worse (`tests/quality.rs`, docs/recognition.md). σ is that of a Gaussian blur, in parts
    /// of the face's shorter side:
    ///
    /// | | pictures | worse ones | default |
    /// |---|---|---|---|
    /// | sharpness | .075–1.36 (at 50 px: .023–.23) | blur σ 2 %: ≤ .022, σ 3 %: ≤ .013, 24 px enlarged: ≤ .05 | ≥ .05 |
    /// | brightness | 75–186 | light × .2: ≤ 37, × .15: ≤ 27 | 40–225 |
    /// | contrast | 26–72 | light × .2: ≤ 14.4 | ≥ 15 |
    /// | degrees aside | -50–25 | | ≤ 60 |
    /// | degrees up or down | -27–8 | | ≤ 40 |
    /// | degrees tilted | -17–8 | | ≤ 45 |
    /// | cosine with the person's nearest sample | .48–.83 | the same file again: 1 | < .97 |
    /// | the same, from the fourth sample on | .48–.83 | another person: ≤ .31 | ≥ .35 |
    pub const DEFAULT: Self = Self {
        min_sharpness: 0.05,
        min_brightness: 40.0,
        max_brightness: 225.0,
        min_contrast: 15.0,
        max_yaw: 60.0,
        max_pitch: 40.0,
        max_roll: 45.0,
        near_duplicate: 0.97,
        outlier: 0.35,
        outlier_from: 3,
        conflict: None,
    };

    /// Checks the pixels of a face.
    ///
    /// # Errors
    /// [`Unfit::Dark`], [`Unfit::Bright`], [`Unfit::LowContrast`] or [`Unfit::Blurred`], in this
    /// order.
    pub fn check_crop(&self, crop: &AlignedCrop) -> Result<(), Unfit> {
        let CropQuality { sharpness, brightness, contrast } = CropQuality::of(crop);
        if brightness < self.min_brightness {
            Err(Unfit::Dark { brightness, min: self.min_brightness })
        } else if brightness > self.max_brightness {
            Err(Unfit::Bright { brightness, max: self.max_brightness })
        } else if contrast < self.min_contrast {
            Err(Unfit::LowContrast { contrast, min: self.min_contrast })
        } else if sharpness < self.min_sharpness {
            Err(Unfit::Blurred { sharpness, min: self.min_sharpness })
        } else {
            Ok(())
        }
    }

    /// Checks which way the head is turned. The points are in square pixels.
    ///
    /// # Errors
    /// [`Unfit::Turned`] or [`Unfit::NoPose`].
    pub fn check_pose(&self, landmarks: &Landmarks) -> Result<(), Unfit> {
        let pose = HeadPose::of(landmarks).ok_or(Unfit::NoPose)?;
        let limits = [
            ("aside", pose.yaw, self.max_yaw),
            ("up or down", pose.pitch, self.max_pitch),
            ("over", pose.roll, self.max_roll),
        ];
        match limits.into_iter().find(|(_, degrees, max)| degrees.abs() > *max) {
            Some((way, degrees, max)) => Err(Unfit::Turned { way, degrees: degrees.abs(), max }),
            None => Ok(()),
        }
    }

    /// Compares a face with what the gallery has of the person of that name and of others.
    /// `threshold` is the embedder's.
    ///
    /// # Errors
    /// [`PersonCheckError::Unfit`] with [`Unfit::NearDuplicate`], [`Unfit::Conflict`] or
    /// [`Unfit::Outlier`], in this order; [`PersonCheckError::Search`] for an embedding of another
    /// dimension.
    pub fn check_person(
        &self,
        gallery: &Snapshot,
        name: &str,
        embedding: &Embedding,
        threshold: f32,
    ) -> Result<(), PersonCheckError> {
        self.check_person_with(gallery, name, &[], embedding, threshold)
    }

    /// As [`Gate::check_person`]. `pending` are samples of the same person that are about to be
    /// stored, too.
    ///
    /// # Errors
    /// As [`Gate::check_person`].
    pub fn check_person_with(
        &self,
        gallery: &Snapshot,
        name: &str,
        pending: &[&Embedding],
        embedding: &Embedding,
        threshold: f32,
    ) -> Result<(), PersonCheckError> {
        let person = gallery.people().by_place().find(|(_, p)| &*p.name == name.trim());
        let mut own: Vec<f32> = match person {
            Some((place, _)) => gallery.similarities(embedding, place)?,
            None => Vec::new(),
        };
        own.extend(pending.iter().filter_map(|p| p.cosine(embedding)));
        let nearest = own.iter().copied().max_by(f32::total_cmp);
        let own_id = person.map(|(_, p)| &p.id);
        let others = gallery.search(embedding, 2, VoteRule::Best)?;
        let other = others.into_iter().find(|m| Some(&m.person_id) != own_id);
        Ok(self.check_near(nearest, own.len(), other, threshold)?)
    }

    /// As [`Gate::check_person_with`] where the gallery is too large to be loaded: its server is
    /// asked for the nearest two people, until `limit` is over. How many samples the person has is
    /// not known then, so a face that is nobody's is no [`Unfit::Outlier`].
    ///
    /// # Errors
    /// As [`Gate::check_person_with`]; [`PersonCheckError::Search`] as
    /// [`Gallery::identify`](crate::gallery::Gallery::identify) gives it.
    pub fn check_person_by(
        &self,
        gallery: &Gallery,
        name: &str,
        pending: &[&Embedding],
        embedding: &Embedding,
        threshold: f32,
        limit: Duration,
    ) -> Result<(), PersonCheckError> {
        let rules = SearchRules { threshold, min_margin: 0.0, top_k: 2, vote: VoteRule::Best };
        let near = gallery.identify(embedding, &rules, limit)?.top;
        let (own, others): (Vec<_>, Vec<_>) =
            near.into_iter().partition(|found| &*found.name == name.trim());
        let own = own.iter().map(|found| found.similarity);
        let nearest =
            own.chain(pending.iter().filter_map(|p| p.cosine(embedding))).max_by(f32::total_cmp);
        Ok(self.check_near(nearest, 0, others.into_iter().next(), threshold)?)
    }

    /// Decides by the nearest of the person's `count` samples and the nearest other person.
    fn check_near(
        &self,
        nearest: Option<f32>,
        count: usize,
        other: Option<Match>,
        threshold: f32,
    ) -> Result<(), Unfit> {
        if let Some(similarity) = nearest.filter(|s| *s >= self.near_duplicate) {
            return Err(Unfit::NearDuplicate { similarity, max: self.near_duplicate });
        }
        let limit = self.conflict.unwrap_or(threshold);
        if let Some(other) = other
            && other.similarity >= limit
            && nearest.is_none_or(|own| other.similarity > own)
        {
            let (name, similarity) = (other.name.to_string(), other.similarity);
            return Err(Unfit::Conflict { name, similarity, own: nearest });
        }
        match nearest {
            Some(similarity) if count >= self.outlier_from && similarity < self.outlier => {
                Err(Unfit::Outlier { similarity, min: self.outlier })
            }
            _ => Ok(()),
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a face cannot stand for its person.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    #[error("the face is blurred: sharpness {sharpness:.3}, at least {min:.3} is needed")]
    Blurred { sharpness: f32, min: f32 },
    #[error("the face is dark: brightness {brightness:.0} of 255, at least {min:.0} is needed")]
    Dark { brightness: f32, min: f32 },
    #[error(
        "the face is too bright: brightness {brightness:.0} of 255, at most {max:.0} is allowed"
    )]
    Bright { brightness: f32, max: f32 },
    #[error("the face has little contrast: {contrast:.1}, at least {min:.1} is needed")]
    LowContrast { contrast: f32, min: f32 },
    #[error("the head is turned {way} by {degrees:.0} degrees, at most {max:.0} are allowed")]
    Turned {
        /// "aside", "up or down" or "over".
        way: &'static str,
        degrees: f32,
        max: f32,
    },
    #[error("the points of the face have no pose: it is seen from the side, or is no face")]
    NoPose,
    #[error(
        "the person has nearly the same sample: similarity {similarity:.3}, below {max:.3} is needed"
    )]
    NearDuplicate { similarity: f32, max: f32 },
    #[error(
        "the face is unlike the person's samples: similarity {similarity:.2} with the nearest, at \
         least {min:.2} is needed"
    )]
    Outlier { similarity: f32, min: f32 },
    #[error(
        "the face is nearer to {name:?} (similarity {similarity:.2}{})",
        own.map_or(String::new(), |own| format!(", {own:.2} with the person's own samples"))
    )]
    Conflict {
        /// The other person.
        name: String,
        similarity: f32,
        /// Similarity with the person's own nearest sample, if there is one.
        own: Option<f32>,
    },
}

impl Unfit {
    /// The reason in one word, for machines; stays the same in later versions.
    pub fn reason(&self) -> &'static str {
        match self {
            Unfit::Blurred { .. } => "blurred",
            Unfit::Dark { .. } => "dark",
            Unfit::Bright { .. } => "bright",
            Unfit::LowContrast { .. } => "low-contrast",
            Unfit::Turned { .. } | Unfit::NoPose => "pose",
            Unfit::NearDuplicate { .. } => "near-duplicate",
            Unfit::Outlier { .. } => "outlier",
            Unfit::Conflict { .. } => "conflict",
        }
    }

    /// The cosine similarity that decided, of those problems that one decides.
    pub fn similarity(&self) -> Option<f32> {
        match self {
            Unfit::NearDuplicate { similarity, .. }
            | Unfit::Outlier { similarity, .. }
            | Unfit::Conflict { similarity, .. } => Some(*similarity),
            _ => None,
        }
    }

    /// Of a conflict, the name of the other person.
    pub fn other_person(&self) -> Option<&str> {
        match self {
            Unfit::Conflict { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Is it the very picture that the person has already?
    pub(crate) fn is_same_picture(&self) -> bool {
        matches!(self, Unfit::NearDuplicate { similarity, .. } if *similarity >= SAME_PICTURE)
    }
}

/// Why a face is not compared with a gallery, or does not go with it.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum PersonCheckError {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Search(#[from] SearchError),
}

#[cfg(test)]
mod tests;
