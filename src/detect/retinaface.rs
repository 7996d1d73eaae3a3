//! RetinaFace (Deng, Guo, Zhou, Yu, Kotsia, Zafeiriou: "RetinaFace: Single-stage Dense Face
//! Localisation in the Wild", 2019) with MobileNet-0.25. The numbers are those of
//! biubug6/Pytorch_Retinaface: `data/config.py` (cfg_mnet), `layers/functions/prior_box.py`,
//! `utils/box_utils.py`; pictures are shown from .6 on (`detect.py`, vis_thres), NMS threshold .4.

use super::output::{DecodeError, Output, of_kind};
use crate::detect::Detection;
use crate::geometry::{BBox, Landmarks, Point};

/// Cell sizes of the three grids and, for each, the sides of the two priors of a cell, pixels.
const LEVELS: [(usize, [f32; 2]); 3] =
    [(8, [16.0, 32.0]), (16, [64.0, 128.0]), (32, [256.0, 512.0])];
/// Variances: what is learned of a place is in tenths of the prior's side, what is learned of a
/// size in fifths of the logarithm.
const PLACE: f32 = 0.1;
const SIZE: f32 = 0.2;

/// A square that the network changes into a face.
#[derive(Clone, Copy, Debug)]
struct Prior {
    center: Point,
    side: f32,
}

/// The priors of an input of `width` × `height` pixels, in the order of the outputs.
fn priors(width: usize, height: usize) -> impl Iterator<Item = Prior> {
    LEVELS.into_iter().flat_map(move |(stride, sides)| {
        let columns = width.div_ceil(stride);
        (0..columns * height.div_ceil(stride)).flat_map(move |cell| {
            let place = |c: usize| (c as f32 + 0.5) * stride as f32;
            let center = Point::new(place(cell % columns), place(cell / columns));
            sides.map(|side| Prior { center, side })
        })
    })
}

/// Number of priors of an input of `width` × `height` pixels.
fn count(width: usize, height: usize) -> usize {
    let cells = LEVELS.iter().map(|(s, _)| width.div_ceil(*s) * height.div_ceil(*s));
    cells.sum::<usize>() * LEVELS[0].1.len()
}

/// Reads the outputs of one picture of `size` (width, height) pixels: with N priors, boxes 4 N,
/// scores of background and face 2 N, points 10 N. Appends every face with a score of at least
/// `threshold` to `faces`, in pixels of the tensor, not yet suppressed. Returns how many were left
/// out because a number was not finite.
///
/// # Errors
/// [`DecodeError`] if an output has another length, or there is not one of each kind.
pub(super) fn decode(
    outputs: &[Output<'_>; 3],
    (width, height): (usize, usize),
    threshold: f32,
    faces: &mut Vec<Detection>,
) -> Result<usize, DecodeError> {
    let total = count(width, height);
    let only = |kind| of_kind::<1>(outputs, Output::per_anchor, kind).map(|[output]| output);
    let boxes = only(4)?.groups::<4>(total)?;
    let scores = only(2)?.groups::<2>(total)?;
    let points = only(10)?.groups::<10>(total)?;
    let mut bad = 0;
    for (((prior, [_, score]), b), k) in priors(width, height).zip(scores).zip(boxes).zip(points) {
        // A score that is not a number is seen below.
        if *score < threshold {
            continue;
        }
        match face(*score, prior, b, k) {
            Some(face) => faces.push(face),
            None => bad += 1,
        }
    }
    Ok(bad)
}

/// The face that a prior became, or `None` if it is not finite or has no size.
fn face(score: f32, prior: Prior, b: &[f32; 4], k: &[f32; 10]) -> Option<Detection> {
    let Prior { center, side } = prior;
    let moved =
        |x: f32, y: f32| Point::new(center.x + x * PLACE * side, center.y + y * PLACE * side);
    let middle = moved(b[0], b[1]);
    let (w, h) = (side * (b[2] * SIZE).exp(), side * (b[3] * SIZE).exp());
    let bbox = BBox::new(middle.x - w / 2.0, middle.y - h / 2.0, w, h);
    let landmarks = Landmarks(std::array::from_fn(|i| moved(k[2 * i], k[2 * i + 1])));
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

    /// Priors of a 64 × 32 tensor: 8 · 4, 4 · 2 and 2 · 1 cells.
    const PRIORS: usize = 2 * (32 + 8 + 2);

    fn blank() -> Vec<Blank> {
        [("loc", 4), ("conf", 2), ("landms", 10)]
            .map(|(name, per)| Blank::new(name, &[1, PRIORS, per]))
            .into()
    }

    fn run(blanks: &[Blank]) -> Result<(Vec<Detection>, usize), DecodeError> {
        let mut faces = Vec::new();
        let bad = decode(&outputs(blanks), (64, 32), 0.6, &mut faces)?;
        Ok((faces, bad))
    }

    fn assert_near(a: BBox, b: BBox) {
        for (a, b) in [(a.x, b.x), (a.y, b.y), (a.w, b.w), (a.h, b.h)] {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }

    #[test]
    fn hand_made_prior_decodes_to_its_box_and_points() {
        let mut out = blank();
        // Stride 16, column 1, row 1, the larger prior: 128 px around (24, 24).
        let prior = 2 * 32 + 2 * (4 + 1) + 1;
        out[1].values[2 * prior + 1] = 0.875;
        out[0].values[4 * prior..][..4].copy_from_slice(&[
            1.25,
            -0.625,
            5.0 * 0.5f32.ln(),
            5.0 * 0.25f32.ln(),
        ]);
        for i in 0..10 {
            out[2].values[10 * prior + i] = i as f32;
        }
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let out = order.map(|i| out[i].clone());
            let (faces, bad) = run(&out).unwrap();
            let [face] = faces.as_slice() else { panic!("{faces:?}") };
            assert_eq!((face.score, bad), (0.875, 0));
            assert_near(face.bbox, BBox::new(40.0 - 32.0, 16.0 - 16.0, 64.0, 32.0));
            let points = face.landmarks.unwrap().0;
            assert!(points[0].distance(Point::new(24.0, 24.0 + 12.8)) < 1e-3);
            assert!(points[4].distance(Point::new(24.0 + 8.0 * 12.8, 24.0 + 9.0 * 12.8)) < 1e-3);
        }
    }

    #[test]
    fn untouched_priors_are_squares_around_their_cells() {
        let mut out = blank();
        for scores in out[1].values.as_chunks_mut::<2>().0 {
            scores[1] = 1.0;
        }
        let (faces, bad) = run(&out).unwrap();
        assert_eq!((faces.len(), bad), (PRIORS, 0));
        assert_near(faces[0].bbox, BBox::new(4.0 - 8.0, 4.0 - 8.0, 16.0, 16.0));
        let last = faces[PRIORS - 1].bbox;
        assert_near(last, BBox::new(48.0 - 256.0, 16.0 - 256.0, 512.0, 512.0));
    }

    #[test]
    fn sizes_that_are_no_multiples_of_the_stride_have_a_cell_for_the_rest() {
        assert_eq!(count(640, 640), 16800);
        assert_eq!(count(300, 300), 2 * (38 * 38 + 19 * 19 + 10 * 10));
        assert_eq!(priors(300, 180).count(), count(300, 180));
    }

    #[test]
    fn not_finite_values_cost_their_face_only() {
        let mut out = blank();
        for scores in &mut out[1].values.as_chunks_mut::<2>().0[..5] {
            scores[1] = 1.0;
        }
        out[1].values[1] = f32::NAN;
        out[0].values[4] = f32::NAN;
        out[0].values[8 + 2] = 1000.0; // exp overflows
        out[2].values[30 + 9] = f32::INFINITY;
        let (faces, bad) = run(&out).unwrap();
        assert_eq!((faces.len(), bad), (1, 4));
    }

    #[test]
    fn wrong_shapes_name_the_output_or_the_kind() {
        let mut out = blank();
        out[2].values.pop();
        let output = "landms".to_owned();
        let wanted = 10 * PRIORS;
        let error = DecodeError::Length { output, wanted, got: wanted - 1 };
        assert_eq!(run(&out).unwrap_err(), error);
        let mut out = blank();
        out[1].shape[2] = 3;
        let error = run(&out).unwrap_err();
        assert_eq!(error, DecodeError::Kinds { kind: 2, wanted: 1, got: 0 });
        assert!(error.to_string().contains("0 of its outputs have 2 values"), "{error}");
    }
}
