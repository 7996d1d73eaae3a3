//! UltraLight (Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, version-RFB and version-slim):
//! boxes without landmarks. Priors and variances are part of the file, so that it has one size.
//! Threshold .7 and NMS threshold .3 are those of `run_video_face_detect_onnx.py` and
//! `vision/ssd/config/fd_config.py`.

use super::output::{DecodeError, Output, of_kind};
use crate::detect::Detection;
use crate::geometry::BBox;

/// Cell sizes of the four grids in pixels, and the priors per cell (fd_config.py, `strides` and
/// `min_boxes`).
const LEVELS: [(usize, usize); 4] = [(8, 3), (16, 2), (32, 2), (64, 3)];

/// Number of anchors of an input of `width` × `height` pixels.
pub(crate) fn anchors(width: usize, height: usize) -> usize {
    let cells = |stride: usize| width.div_ceil(stride).saturating_mul(height.div_ceil(stride));
    LEVELS.iter().map(|(stride, per_cell)| cells(*stride).saturating_mul(*per_cell)).sum()
}

/// Reads the outputs of one picture of `size` (width, height) pixels: with N anchors, scores of
/// background and face 2 N, and corners of boxes 4 N in parts of the tensor. Appends every face
/// with a score of at least `threshold` to `faces`, in pixels of the tensor, not yet suppressed.
/// Returns how many were left out because a number was not finite.
///
/// # Errors
/// [`DecodeError`] if an output has another length, or there is not one of each kind.
pub(super) fn decode(
    outputs: &[Output<'_>; 2],
    (width, height): (usize, usize),
    threshold: f32,
    faces: &mut Vec<Detection>,
) -> Result<usize, DecodeError> {
    let total = anchors(width, height);
    let only = |kind| of_kind::<1>(outputs, Output::per_anchor, kind).map(|[output]| output);
    let scores = only(2)?.groups::<2>(total)?;
    let boxes = only(4)?.groups::<4>(total)?;
    let mut bad = 0;
    for ([_, score], [x0, y0, x1, y1]) in scores.iter().zip(boxes) {
        // A score that is not a number is seen below.
        if *score < threshold {
            continue;
        }
        let bbox = BBox::new(*x0, *y0, x1 - x0, y1 - y0).scaled(width as f32, height as f32);
        if score.is_finite() && bbox.is_valid() {
            faces.push(Detection { bbox, score: *score, landmarks: None });
        } else {
            bad += 1;
        }
    }
    Ok(bad)
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::{Blank, outputs};
    use super::*;

    const SIZE: (usize, usize) = (320, 240);
    const ANCHORS: usize = 4420;

    fn blank() -> Vec<Blank> {
        [("scores", 2), ("boxes", 4)].map(|(name, per)| Blank::new(name, &[1, ANCHORS, per])).into()
    }

    fn run(blanks: &[Blank]) -> Result<(Vec<Detection>, usize), DecodeError> {
        let mut faces = Vec::new();
        let bad = decode(&outputs(blanks), SIZE, 0.7, &mut faces)?;
        Ok((faces, bad))
    }

    #[test]
    fn anchors_are_those_of_the_published_files() {
        assert_eq!(anchors(320, 240), ANCHORS);
        assert_eq!(anchors(640, 480), 17640);
    }

    #[test]
    fn hand_made_anchors_decode_to_boxes_without_landmarks() {
        let mut out = blank();
        for (anchor, score) in [(7, 0.75), (ANCHORS - 1, 1.0)] {
            out[0].values[2 * anchor + 1] = score;
            out[1].values[4 * anchor..][..4].copy_from_slice(&[0.25, 0.5, 0.5, 1.25]);
        }
        out[0].values[2 * 9] = 1.0; // sure that it is none
        let wanted = BBox::new(80.0, 120.0, 80.0, 180.0);
        let wanted = [0.75, 1.0].map(|score| Detection { bbox: wanted, score, landmarks: None });
        assert_eq!(run(&out).unwrap(), (wanted.to_vec(), 0));
        out.reverse();
        assert_eq!(run(&out).unwrap(), (wanted.to_vec(), 0), "whatever the order");
    }

    #[test]
    fn not_finite_values_cost_their_face_only() {
        let mut out = blank();
        for anchor in 0..4 {
            out[0].values[2 * anchor + 1] = 0.9;
            out[1].values[4 * anchor..][..4].copy_from_slice(&[0.25, 0.5, 0.5, 0.75]);
        }
        out[0].values[1] = f32::NAN;
        out[1].values[4] = f32::NAN;
        out[1].values[8 + 2] = 0.25; // no width
        let (faces, bad) = run(&out).unwrap();
        assert_eq!((faces.len(), bad), (1, 3));
    }

    #[test]
    fn wrong_shapes_name_the_output_or_the_kind() {
        let mut out = blank();
        out[1].values.pop();
        let error = DecodeError::Length { output: "boxes".into(), wanted: 17680, got: 17679 };
        assert_eq!(run(&out).unwrap_err(), error);
        let mut out = blank();
        out[0].shape = vec![2 * ANCHORS];
        let error = run(&out).unwrap_err();
        assert_eq!(error, DecodeError::Kinds { kind: 2, wanted: 1, got: 0 });
    }
}
