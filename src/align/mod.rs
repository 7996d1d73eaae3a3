//! Five-point alignment: the similarity transform onto a template, and the warped crop.
//! Everything is computed in square pixels: the picture's pixel aspect is applied first.

use fearless_simd::{Level, dispatch};

use crate::frame::FrameView;
use crate::geometry::{Landmarks, Point};
use crate::model::ChannelOrder;
use crate::preprocess::Normalization;

mod warp;

pub(crate) use warp::Sampler;

/// Name of the only template so far: ArcFace, 112 × 112 pixels.
pub const ARCFACE_112: &str = "arcface-112";

/// Side of an aligned crop in pixels.
pub const CROP_SIDE: usize = 112;

/// Where the five points lie in an aligned crop (Deng et al., ArcFace; InsightFace's template).
const TEMPLATE: Landmarks = Landmarks([
    Point::new(38.2946, 51.6963),
    Point::new(73.5318, 51.5014),
    Point::new(56.0252, 71.7366),
    Point::new(41.5493, 92.3655),
    Point::new(70.7299, 92.2041),
]);

/// A similarity transform (rotation, uniform scale, shift): x' = a·x − b·y + tx,
/// y' = b·x + a·y + ty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    a: f64,
    b: f64,
    tx: f64,
    ty: f64,
}

impl Similarity {
    /// The transform that takes `points` (square pixels) nearest to the template, by least
    /// squares (Umeyama 1991, in two dimensions and without reflection). `None` if the points
    /// coincide or are not finite.
    pub fn onto_template(points: &Landmarks) -> Option<Similarity> {
        let mean = |l: &Landmarks| {
            let sum =
                l.0.iter().fold((0.0, 0.0), |s, p| (s.0 + f64::from(p.x), s.1 + f64::from(p.y)));
            (sum.0 / 5.0, sum.1 / 5.0)
        };
        let (from, to) = (mean(points), mean(&TEMPLATE));
        let (mut dot, mut cross, mut norm) = (0.0, 0.0, 0.0);
        for (p, q) in points.0.iter().zip(&TEMPLATE.0) {
            let (px, py) = (f64::from(p.x) - from.0, f64::from(p.y) - from.1);
            let (qx, qy) = (f64::from(q.x) - to.0, f64::from(q.y) - to.1);
            dot += px * qx + py * qy;
            cross += px * qy - py * qx;
            norm += px * px + py * py;
        }
        let (a, b) = (dot / norm, cross / norm);
        // A transform that shrinks by more than 10,000 or is undone only by dividing by 0 comes
        // from points that are no face.
        let scale = a.hypot(b);
        (scale.is_finite() && scale > 1e-4 && norm > 1e-6).then_some(Similarity {
            a,
            b,
            tx: to.0 - a * from.0 + b * from.1,
            ty: to.1 - b * from.0 - a * from.1,
        })
    }

    /// The points that are mapped onto the row (0, y), (1, y) …: the first, and the step to the next.
    fn inverse_row(&self, y: f64) -> Row {
        let n = self.a * self.a + self.b * self.b;
        let (dx, dy) = (-self.tx, y - self.ty);
        Row {
            first: [(self.a * dx + self.b * dy) / n, (self.a * dy - self.b * dx) / n],
            step: [self.a / n, -self.b / n],
        }
    }
}

/// Places in a picture on a straight line, equally far apart.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    first: [f64; 2],
    step: [f64; 2],
}

impl Row {
    /// The place of this number.
    #[inline(always)]
    fn at(&self, index: usize) -> [f64; 2] {
        let index = index as f64;
        [self.first[0] + index * self.step[0], self.first[1] + index * self.step[1]]
    }

    /// Each place with x divided by `aspect`.
    fn narrowed(self, aspect: f64) -> Row {
        let narrow = |[x, y]: [f64; 2]| [x / aspect, y];
        Row { first: narrow(self.first), step: narrow(self.step) }
    }
}

/// An aligned face: 112 × 112 RGB pixels.
#[derive(Clone, PartialEq)]
pub struct AlignedCrop(Box<[u8]>);

impl std::fmt::Debug for AlignedCrop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AlignedCrop")
    }
}

impl Default for AlignedCrop {
    /// Black, to be [cut anew](AlignedCrop::recut).
    fn default() -> Self {
        AlignedCrop(vec![0; CROP_SIDE * CROP_SIDE * 3].into())
    }
}

impl AlignedCrop {
    /// Cuts the face with these landmarks (pixels of `frame`) out of the frame. What lies outside
    /// the picture is black. `None` if the landmarks have no extent.
    pub fn cut(frame: &FrameView<'_>, landmarks: &Landmarks) -> Option<AlignedCrop> {
        let mut crop = AlignedCrop::default();
        crop.recut(frame, landmarks).then_some(crop)
    }

    /// As [`AlignedCrop::cut`], into the memory of this crop. False if the landmarks have no
    /// extent; the crop then stays what it is.
    pub fn recut(&mut self, frame: &FrameView<'_>, landmarks: &Landmarks) -> bool {
        let square = Landmarks(landmarks.0.map(|p| frame.to_square(p)));
        let Some(similarity) = Similarity::onto_template(&square) else { return false };
        let pixels = self.0.as_chunks_mut::<3>().0;
        let aspect = f64::from(frame.pixel_aspect);
        let rows = |y: usize| similarity.inverse_row(y as f64).narrowed(aspect);
        dispatch!(Level::new(), _ => warp::warp(frame, rows, pixels));
        true
    }

    /// From 112 · 112 · 3 bytes, RGB, row by row; `None` for another length.
    pub fn from_rgb(pixels: Vec<u8>) -> Option<AlignedCrop> {
        (pixels.len() == CROP_SIDE * CROP_SIDE * 3).then(|| AlignedCrop(pixels.into()))
    }

    /// RGB, row by row.
    pub fn as_rgb(&self) -> &[u8] {
        &self.0
    }

    /// Appends the crop as planar floats [3, 112, 112].
    pub(crate) fn append_to(&self, normalization: &Normalization, tensor: &mut Vec<f32>) {
        let Normalization { channels, mean, std } = normalization;
        for c in 0..3 {
            let source = match channels {
                ChannelOrder::Rgb => c,
                ChannelOrder::Bgr => 2 - c,
            };
            let pixels = self.0.as_chunks::<3>().0;
            tensor.extend(pixels.iter().map(|p| (f32::from(p[source]) - mean[c]) / std[c]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;

    fn moved(angle: f32, scale: f32, dx: f32, dy: f32) -> Landmarks {
        let (s, c) = angle.sin_cos();
        Landmarks(TEMPLATE.0.map(|p| {
            Point::new(scale * (c * p.x - s * p.y) + dx, scale * (s * p.x + c * p.y) + dy)
        }))
    }

    #[test]
    fn rotated_scaled_shifted_points_come_back_onto_the_template() {
        let points = moved(0.4, 2.5, 30.0, -12.0);
        let t = Similarity::onto_template(&points).unwrap();
        for (p, q) in points.0.iter().zip(&TEMPLATE.0) {
            let Row { first, step } = t.inverse_row(f64::from(q.y));
            let [x, y] = [0, 1].map(|axis| first[axis] + f64::from(q.x) * step[axis]);
            assert!((x - f64::from(p.x)).abs() < 1e-3 && (y - f64::from(p.y)).abs() < 1e-3);
        }
    }

    #[test]
    fn points_without_extent_have_no_transform() {
        assert!(Similarity::onto_template(&Landmarks([Point::new(3.0, 4.0); 5])).is_none());
        let mut nan = TEMPLATE;
        nan.0[2].x = f32::NAN;
        assert!(Similarity::onto_template(&nan).is_none());
    }

    #[test]
    fn face_already_on_the_template_is_copied() {
        let data: Vec<u8> = (0..112 * 112 * 3).map(|i| (i * 31 % 251) as u8).collect();
        let frame = FrameView::packed(PixelFormat::Rgb, 112, 112, &data).unwrap();
        let crop = AlignedCrop::cut(&frame, &TEMPLATE).unwrap();
        let equal = crop.as_rgb().iter().zip(&data).filter(|(a, b)| a.abs_diff(**b) <= 1).count();
        assert!(equal > data.len() * 99 / 100, "{equal}");
    }

    #[test]
    fn face_outside_the_picture_is_black() {
        let data = vec![200; 16 * 16 * 3];
        let frame = FrameView::packed(PixelFormat::Rgb, 16, 16, &data).unwrap();
        let crop = AlignedCrop::cut(&frame, &moved(0.0, 1.0, 500.0, 500.0)).unwrap();
        assert!(crop.as_rgb().iter().all(|p| *p == 0));
    }

    #[test]
    fn wide_pixels_are_applied_before_the_transform() {
        // The same scene with pixels twice as wide: every second column.
        let full: Vec<u8> = (0..112 * 112).map(|i| ((i % 112) * 2) as u8).collect();
        let half: Vec<u8> = full.chunks(2).map(|c| c[0]).collect();
        let mut wide = FrameView::packed(PixelFormat::Gray8, 56, 112, &half).unwrap();
        wide.pixel_aspect = 2.0;
        wide.range = crate::frame::ColorRange::Full;
        let points = Landmarks(TEMPLATE.0.map(|p| Point::new(p.x / 2.0, p.y)));
        let crop = AlignedCrop::cut(&wide, &points).unwrap();
        let at = |x: usize, y: usize| i32::from(crop.as_rgb()[(y * 112 + x) * 3]);
        assert!((at(50, 60) - 100).abs() <= 2, "{}", at(50, 60));
    }
}
