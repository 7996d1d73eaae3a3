//! CenterFace (Xu, Yan, Yang, et al.: "CenterFace: Joint Face Detection and Alignment Using Face as
//! Point", 2019): a heat map of centres. The numbers are those of Star-Clouds/CenterFace,
//! `prj-python/centerface.py` and its demonstration: threshold .35, NMS threshold .3.

use super::output::{DecodeError, Output, of_kind};
use crate::detect::Detection;
use crate::geometry::{BBox, Landmarks, Point};

/// Pixels per cell of the maps.
const STRIDE: usize = 4;

/// Reads the outputs of one picture of `size` (width, height) pixels, with N = (width / 4) ·
/// (height / 4): a map of scores N; the logarithms of height and width in cells 2 N, before the
/// moves of the centre down and to the right, in cells, 2 N; five points 10 N, y before x, in
/// heights and widths from the box's corner. Appends every face with a score of at least
/// `threshold` to `faces`, in pixels of the tensor, not yet suppressed. Returns how many were left
/// out because a number was not finite.
///
/// # Errors
/// [`DecodeError`] if an output has another length, or there are not so many of each kind.
pub(super) fn decode(
    outputs: &[Output<'_>; 4],
    (width, height): (usize, usize),
    threshold: f32,
    faces: &mut Vec<Detection>,
) -> Result<usize, DecodeError> {
    let columns = width / STRIDE;
    let cells = columns * (height / STRIDE);
    let [heat] = of_kind::<1>(outputs, Output::maps, 1)?;
    let heat = heat.exactly(cells)?;
    let [sizes, moves] = of_kind::<2>(outputs, Output::maps, 2)?;
    let (sizes, moves) = (Maps::<2>::new(&sizes, cells)?, Maps::<2>::new(&moves, cells)?);
    let [points] = of_kind::<1>(outputs, Output::maps, 10)?;
    let points = Maps::<10>::new(&points, cells)?;
    let mut bad = 0;
    for (cell, score) in heat.iter().enumerate() {
        // A score that is not a number is seen below.
        if *score < threshold {
            continue;
        }
        let place = [(cell / columns) as f32, (cell % columns) as f32];
        match face(*score, place, sizes.at(cell), moves.at(cell), points.at(cell)) {
            Some(face) => faces.push(face),
            None => bad += 1,
        }
    }
    Ok(bad)
}

/// N maps, one behind the other.
#[derive(Clone, Copy, Debug)]
struct Maps<'a, const N: usize> {
    values: &'a [f32],
    cells: usize,
}

impl<'a, const N: usize> Maps<'a, N> {
    fn new(output: &Output<'a>, cells: usize) -> Result<Self, DecodeError> {
        Ok(Self { values: output.exactly(cells.saturating_mul(N))?, cells })
    }

    /// The values of all maps for a cell, of which there are as many as `new` was told.
    fn at(&self, cell: usize) -> [f32; N] {
        std::array::from_fn(|map| self.values[map * self.cells + cell])
    }
}

/// The face of a cell in row and column `cell`, or `None` if it is not finite or has no size.
fn face(
    score: f32,
    cell: [f32; 2],
    size: [f32; 2],
    moves: [f32; 2],
    points: [f32; 10],
) -> Option<Detection> {
    let stride = STRIDE as f32;
    let [h, w] = size.map(|side| side.exp() * stride);
    let center = |i: usize| (cell[i] + moves[i] + 0.5) * stride;
    let bbox = BBox::new(center(1) - w / 2.0, center(0) - h / 2.0, w, h);
    let landmarks = Landmarks(std::array::from_fn(|i| {
        Point::new(bbox.x + points[2 * i + 1] * w, bbox.y + points[2 * i] * h)
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

    /// Cells of a 64 × 32 tensor.
    const CELLS: usize = 16 * 8;

    fn blank() -> Vec<Blank> {
        [("537", 1), ("538", 2), ("539", 2), ("540", 10)]
            .map(|(name, maps)| Blank::new(name, &[1, maps, 8, 16]))
            .into()
    }

    fn run(blanks: &[Blank]) -> Result<(Vec<Detection>, usize), DecodeError> {
        let mut faces = Vec::new();
        let bad = decode(&outputs(blanks), (64, 32), 0.35, &mut faces)?;
        Ok((faces, bad))
    }

    #[test]
    fn hand_made_cell_decodes_to_its_box_and_points() {
        let mut out = blank();
        let cell = 3 * 16 + 5; // row 3, column 5
        let mut put = |output: usize, map: usize, value| {
            out[output].values[map * CELLS + cell] = value;
        };
        put(0, 0, 0.5);
        put(1, 0, 4f32.ln()); // height
        put(1, 1, 2f32.ln()); // width
        put(2, 0, 0.25); // down
        put(2, 1, -0.5); // to the left
        for i in 0..10 {
            put(3, i, i as f32 / 10.0);
        }
        let (faces, bad) = run(&out).unwrap();
        let [face] = faces.as_slice() else { panic!("{faces:?}") };
        assert_eq!((face.score, bad), (0.5, 0));
        let wanted = BBox::new(20.0 - 4.0, 15.0 - 8.0, 8.0, 16.0);
        for (a, b) in [
            (face.bbox.x, wanted.x),
            (face.bbox.y, wanted.y),
            (face.bbox.w, wanted.w),
            (face.bbox.h, wanted.h),
        ] {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        let points = face.landmarks.unwrap().0;
        assert!(points[0].distance(Point::new(16.0 + 0.1 * 8.0, 7.0)) < 1e-4);
        assert!(points[4].distance(Point::new(16.0 + 0.9 * 8.0, 7.0 + 0.8 * 16.0)) < 1e-4);
        // Sizes come before moves; all else goes by its shape.
        let order = [3, 1, 0, 2].map(|i| out[i].clone());
        assert_eq!(run(&order).unwrap().0, faces);
    }

    #[test]
    fn last_cell_is_read() {
        let mut out = blank();
        out[0].values[CELLS - 1] = 1.0;
        assert_eq!(run(&out).unwrap().0[0].bbox, BBox::new(60.0, 28.0, 4.0, 4.0));
    }

    #[test]
    fn not_finite_values_cost_their_face_only() {
        let mut out = blank();
        out[0].values[..6].fill(0.9);
        out[0].values[0] = f32::NAN;
        out[1].values[1] = f32::NAN;
        out[1].values[CELLS + 2] = 1000.0; // exp overflows
        out[2].values[3] = f32::INFINITY;
        out[3].values[9 * CELLS + 4] = f32::NAN;
        let (faces, bad) = run(&out).unwrap();
        assert_eq!((faces.len(), bad), (1, 5));
    }

    #[test]
    fn wrong_shapes_name_the_output_or_the_kind() {
        let mut out = blank();
        out[2].values.pop();
        let output = "539".to_owned();
        let wanted = 2 * CELLS;
        let error = DecodeError::Length { output, wanted, got: wanted - 1 };
        assert_eq!(run(&out).unwrap_err(), error);
        // Of another size, or of a batch.
        let ten = [("537", 1), ("538", 2), ("539", 2), ("540", 10)]
            .map(|(name, maps)| Blank::new(name, &[10, maps, 8, 16]));
        assert!(matches!(run(&ten), Err(DecodeError::Length { got: 1280, .. })));
        let mut out = blank();
        out[3].shape.remove(0);
        let error = run(&out).unwrap_err();
        assert_eq!(error, DecodeError::Kinds { kind: 10, wanted: 1, got: 0 });
    }
}
