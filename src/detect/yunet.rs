//! YuNet (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023): anchor-free, one
//! prediction per cell of three grids.

use crate::detect::{DecodeError, Detection};
use crate::geometry::{BBox, Landmarks, Point};

/// Cell sizes of the three grids in pixels.
const STRIDES: [usize; 3] = [8, 16, 32];

/// Names of the outputs, by kind and stride.
pub(crate) const OUTPUTS: [&str; 12] = [
    "cls_8", "cls_16", "cls_32", "obj_8", "obj_16", "obj_32", "bbox_8", "bbox_16", "bbox_32",
    "kps_8", "kps_16", "kps_32",
];

/// Reads the outputs of one picture: `outputs` in the order of [`OUTPUTS`], `width` × `height` the
/// tensor's size in pixels. Appends every face with a score of at least `threshold` to `faces`, in
/// pixels of the tensor, not yet suppressed. Returns how many were left out because a number was
/// not finite.
///
/// Shapes per stride s, with N = (width / s) · (height / s): cls and obj N, bbox 4 N, kps 10 N.
///
/// # Errors
/// [`DecodeError`] if an output has another length.
pub(crate) fn decode(
    outputs: &[&[f32]; 12],
    width: usize,
    height: usize,
    threshold: f32,
    faces: &mut Vec<Detection>,
) -> Result<usize, DecodeError> {
    let mut bad = 0;
    for (level, stride) in STRIDES.into_iter().enumerate() {
        let (columns, rows) = (width / stride, height / stride);
        let cells = columns * rows;
        let part = |kind: usize, per_cell: usize| {
            let (name, data) = (OUTPUTS[3 * kind + level], outputs[3 * kind + level]);
            let wanted = cells * per_cell;
            if data.len() == wanted {
                Ok(data)
            } else {
                Err(DecodeError::Length { output: name.to_owned(), wanted, got: data.len() })
            }
        };
        let (cls, obj, bbox, kps) = (part(0, 1)?, part(1, 1)?, part(2, 4)?, part(3, 10)?);
        let boxes = bbox.as_chunks::<4>().0.iter().zip(kps.as_chunks::<10>().0);
        for (cell, ((cls, obj), (b, k))) in cls.iter().zip(obj).zip(boxes).enumerate() {
            // f32::clamp keeps NaN, so a score that is not a number is seen below.
            let score = (cls.clamp(0.0, 1.0) * obj.clamp(0.0, 1.0)).sqrt();
            if score < threshold {
                continue;
            }
            let corner = ((cell % columns) as f32, (cell / columns) as f32);
            match face(score, corner, stride as f32, b, k) {
                Some(face) => faces.push(face),
                None => bad += 1,
            }
        }
    }
    Ok(bad)
}

/// The face of one cell, or `None` if it is not finite or has no size.
fn face(score: f32, cell: (f32, f32), s: f32, b: &[f32; 4], k: &[f32; 10]) -> Option<Detection> {
    let center = Point::new((cell.0 + b[0]) * s, (cell.1 + b[1]) * s);
    let (w, h) = (b[2].exp() * s, b[3].exp() * s);
    let bbox = BBox::new(center.x - w / 2.0, center.y - h / 2.0, w, h);
    let landmarks = Landmarks(std::array::from_fn(|i| {
        Point::new((cell.0 + k[2 * i]) * s, (cell.1 + k[2 * i + 1]) * s)
    }));
    (score.is_finite() && bbox.is_valid() && landmarks.is_finite()).then_some(Detection {
        bbox,
        score,
        landmarks: Some(landmarks),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All-zero outputs of a 64×32 tensor, to be changed by each test.
    fn blank() -> Vec<Vec<f32>> {
        let cells = [8 * 4, 4 * 2, 2];
        [1, 1, 4, 10].iter().flat_map(|per| cells.iter().map(move |n| vec![0.0; n * per])).collect()
    }

    fn run(outputs: &[Vec<f32>]) -> Result<(Vec<Detection>, usize), DecodeError> {
        let slices: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
        let mut faces = Vec::new();
        let bad = decode(&slices.try_into().unwrap(), 64, 32, 0.6, &mut faces)?;
        Ok((faces, bad))
    }

    #[test]
    fn hand_made_cell_decodes_to_its_box_and_points() {
        let mut out = blank();
        // Stride 16, cell 5 = column 1, row 1.
        out[1][5] = 0.81;
        out[4][5] = 1.7; // clamped to 1
        out[7][20..24].copy_from_slice(&[0.5, 0.25, 2f32.ln(), 3f32.ln()]);
        for i in 0..10 {
            out[10][50 + i] = i as f32 / 10.0;
        }
        let (faces, bad) = run(&out).unwrap();
        assert_eq!((faces.len(), bad), (1, 0));
        let face = &faces[0];
        assert!((face.score - 0.9).abs() < 1e-6);
        let expected = BBox::new(24.0 - 16.0, 20.0 - 24.0, 32.0, 48.0);
        for (a, b) in [
            (face.bbox.x, expected.x),
            (face.bbox.y, expected.y),
            (face.bbox.w, expected.w),
            (face.bbox.h, expected.h),
        ] {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        let points = face.landmarks.unwrap().0;
        assert_eq!(points[0], Point::new(16.0, 16.0 + 1.6));
        assert_eq!(points[4], Point::new(16.0 + 12.8, 16.0 + 14.4));
    }

    #[test]
    fn not_finite_values_cost_their_face_only() {
        let mut out = blank();
        out[0][..4].fill(1.0);
        out[3][..4].fill(1.0);
        out[6][0] = f32::NAN;
        out[6][4 + 2] = 1000.0; // exp overflows
        out[9][20] = f32::INFINITY;
        out[0][4] = f32::NAN; // score not a number
        let (faces, bad) = run(&out).unwrap();
        assert_eq!((faces.len(), bad), (1, 4));
    }

    #[test]
    fn wrong_output_length_names_the_output() {
        let mut out = blank();
        out[8].pop();
        let output = "bbox_32".to_owned();
        assert_eq!(run(&out).unwrap_err(), DecodeError::Length { output, wanted: 8, got: 7 });
    }
}
