//! SCRFD with key points (Guo, Deng, Lattas, Zafeiriou: "Sample and Computation Redistribution for
//! Efficient Face Detection", 2021): two anchors per cell of three grids. The numbers are those of
//! insightface, `detection/scrfd/tools/scrfd.py`; its own threshold is .5, its NMS threshold .4.
//!
//! The files have many names and orders for their outputs. They are told apart by their shapes: 1
//! value per anchor is a score, 4 are a box, 10 are points, and the finer the grid, the more there
//! are.

use std::cmp::Reverse;

use super::output::{DecodeError, Output, of_kind};
use crate::detect::Detection;
use crate::geometry::{BBox, Landmarks, Point};

/// Cell sizes of the three grids in pixels.
const STRIDES: [usize; 3] = [8, 16, 32];
/// Anchors at the corner of every cell.
const PER_CELL: usize = 2;

/// Number of anchors of an input of `width` × `height` pixels.
pub(crate) fn anchors(width: usize, height: usize) -> usize {
    STRIDES.iter().map(|s| (width / s).saturating_mul(height / s).saturating_mul(PER_CELL)).sum()
}

/// Reads the outputs of one picture of `size` (width, height) pixels. Appends every face with a
/// score of at least `threshold` to `faces`, in pixels of the tensor, not yet suppressed. Returns
/// how many were left out because a number was not finite.
///
/// # Errors
/// [`DecodeError`] if an output has another length, or there are not three of each kind.
pub(super) fn decode(
    outputs: &[Output<'_>; 9],
    (width, height): (usize, usize),
    threshold: f32,
    faces: &mut Vec<Detection>,
) -> Result<usize, DecodeError> {
    let (scores, boxes, points) =
        (by_stride(outputs, 1)?, by_stride(outputs, 4)?, by_stride(outputs, 10)?);
    let mut bad = 0;
    for (level, stride) in STRIDES.into_iter().enumerate() {
        let columns = width / stride;
        let anchors = columns * (height / stride) * PER_CELL;
        let scores = scores[level].exactly(anchors)?;
        let boxes = boxes[level].groups::<4>(anchors)?;
        let points = points[level].groups::<10>(anchors)?;
        for (anchor, ((score, b), k)) in scores.iter().zip(boxes).zip(points).enumerate() {
            // A score that is not a number is seen below.
            if *score < threshold {
                continue;
            }
            let cell = anchor / PER_CELL;
            let corner = [cell % columns, cell / columns].map(|c| (c * stride) as f32);
            match face(*score, corner, stride as f32, b, k) {
                Some(face) => faces.push(face),
                None => bad += 1,
            }
        }
    }
    Ok(bad)
}

/// The three outputs of a kind, the finest grid first.
fn by_stride<'a>(outputs: &[Output<'a>; 9], kind: usize) -> Result<[Output<'a>; 3], DecodeError> {
    let mut found = of_kind::<3>(outputs, Output::per_anchor, kind)?;
    found.sort_unstable_by_key(|output| Reverse(output.values.len()));
    Ok(found)
}

/// The face of an anchor: distances of the sides and offsets of the points from the cell's corner,
/// in cells. `None` if it is not finite or has no size.
fn face(
    score: f32,
    [x, y]: [f32; 2],
    stride: f32,
    b: &[f32; 4],
    k: &[f32; 10],
) -> Option<Detection> {
    let [left, top, right, bottom] = b.map(|distance| distance * stride);
    let bbox = BBox::new(x - left, y - top, left + right, top + bottom);
    let landmarks = Landmarks(std::array::from_fn(|i| {
        Point::new(x + k[2 * i] * stride, y + k[2 * i + 1] * stride)
    }));
    (score.is_finite() && bbox.is_valid() && landmarks.is_finite()).then_some(Detection {
        bbox,
        score,
        landmarks: Some(landmarks),
    })
}

#[cfg(test)]
mod tests {
    use super::super::output::testing::{Blank, outputs};
    use super::*;

    /// Outputs of a 64 × 32 tensor, in the order of insightface: by kind, then by stride.
    fn blank() -> Vec<Blank> {
        let grids = [("8", 64), ("16", 16), ("32", 4)];
        [1, 4, 10]
            .iter()
            .flat_map(|per| {
                grids.map(|(name, anchors)| {
                    Blank::new(&format!("{per}_{name}"), &[1, anchors, *per])
                })
            })
            .collect()
    }

    fn run(blanks: &[Blank]) -> Result<(Vec<Detection>, usize), DecodeError> {
        let mut faces = Vec::new();
        let bad = decode(&outputs(blanks), (64, 32), 0.5, &mut faces)?;
        Ok((faces, bad))
    }

    /// A face of the second anchor in column 1, row 1 of stride 16.
    fn with_face() -> Vec<Blank> {
        let mut out = blank();
        let anchor = 2 * (4 + 1) + 1;
        out[1].values[anchor] = 0.75;
        out[4].values[4 * anchor..][..4].copy_from_slice(&[0.5, 1.0, 1.5, 2.0]);
        for i in 0..10 {
            out[7].values[10 * anchor + i] = i as f32 / 8.0 - 0.5;
        }
        out
    }

    fn assert_face(faces: &[Detection]) {
        let [face] = faces else { panic!("{faces:?}") };
        assert_eq!((face.score, face.bbox), (0.75, BBox::new(8.0, 0.0, 32.0, 48.0)));
        let points = face.landmarks.unwrap().0;
        assert_eq!(points[0], Point::new(16.0 - 8.0, 16.0 - 6.0));
        assert_eq!(points[4], Point::new(16.0 + 8.0, 16.0 + 10.0));
    }

    #[test]
    fn hand_made_anchor_decodes_to_its_box_and_points() {
        let (faces, bad) = run(&with_face()).unwrap();
        assert_eq!(bad, 0);
        assert_face(&faces);
    }

    #[test]
    fn outputs_go_by_their_shapes_whatever_their_order() {
        let mut out = with_face();
        out.reverse();
        assert_face(&run(&out).unwrap().0);
        // By stride, as other exporters write them, and without the batch.
        let mut out = with_face();
        for blank in &mut out {
            blank.shape.remove(0);
        }
        let by_stride: Vec<_> = [0, 3, 6, 1, 4, 7, 2, 5, 8].map(|i| out[i].clone()).into();
        assert_face(&run(&by_stride).unwrap().0);
    }

    #[test]
    fn last_anchor_of_the_coarsest_grid_is_read() {
        let mut out = blank();
        out[2].values[3] = 0.5;
        out[5].values[12..].copy_from_slice(&[0.25; 4]);
        let (faces, _) = run(&out).unwrap();
        assert_eq!(faces[0].bbox, BBox::new(24.0, -8.0, 16.0, 16.0));
    }

    #[test]
    fn not_finite_values_cost_their_face_only() {
        let mut out = blank();
        out[0].values[..6].fill(1.0);
        out[3].values[..24].fill(1.0);
        out[0].values[0] = f32::NAN;
        out[3].values[4] = f32::NAN;
        out[3].values[8] = f32::INFINITY;
        out[6].values[35] = f32::NEG_INFINITY;
        out[3].values[16..20].fill(-1.0); // turned inside out
        let (faces, bad) = run(&out).unwrap();
        assert_eq!((faces.len(), bad), (1, 5));
    }

    #[test]
    fn wrong_shapes_name_the_output_or_the_kind() {
        let mut out = blank();
        out[8].values.pop();
        let output = "10_32".to_owned();
        assert_eq!(run(&out).unwrap_err(), DecodeError::Length { output, wanted: 40, got: 39 });
        let mut out = blank();
        out[4] = Blank::new("5_16", &[1, 16, 5]);
        let error = run(&out).unwrap_err();
        assert_eq!(error, DecodeError::Kinds { kind: 4, wanted: 3, got: 2 });
        assert!(run(&vec![Blank::new("", &[]); 9]).is_err());
        // One anchor per cell is another network.
        let out: Vec<_> =
            blank().iter().map(|b| Blank::new(&b.name, &[1, b.shape[1] / 2, b.shape[2]])).collect();
        assert!(matches!(run(&out), Err(DecodeError::Length { wanted: 64, got: 32, .. })));
    }
}
