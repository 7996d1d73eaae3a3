//! Five-point alignment: the similarity transform onto a template, and the warped crop.
//! Everything is computed in square pixels: the picture's pixel aspect is applied first.

use crate::frame::{FrameView, PixelFormat};
use crate::geometry::{Landmarks, Point};
use crate::model::ChannelOrder;
use crate::preprocess::{Normalization, YuvCoefficients, interleaved};

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

    /// The point that is mapped onto (x, y).
    fn inverse(&self, x: f64, y: f64) -> (f64, f64) {
        let n = self.a * self.a + self.b * self.b;
        let (dx, dy) = (x - self.tx, y - self.ty);
        ((self.a * dx + self.b * dy) / n, (self.a * dy - self.b * dx) / n)
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

impl AlignedCrop {
    /// Cuts the face with these landmarks (pixels of `frame`) out of the frame. What lies outside
    /// the picture is black. `None` if the landmarks have no extent.
    pub fn cut(frame: &FrameView<'_>, landmarks: &Landmarks) -> Option<AlignedCrop> {
        let square = Landmarks(landmarks.0.map(|p| frame.to_square(p)));
        let similarity = Similarity::onto_template(&square)?;
        let sampler = Sampler::new(frame);
        let mut pixels = vec![0; CROP_SIDE * CROP_SIDE * 3].into_boxed_slice();
        for (i, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = similarity.inverse((i % CROP_SIDE) as f64, (i / CROP_SIDE) as f64);
            *pixel = sampler.at((x / f64::from(frame.pixel_aspect)) as f32, y as f32);
        }
        Some(AlignedCrop(pixels))
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

/// Bilinear samples of a frame; black outside.
pub(crate) struct Sampler<'a> {
    frame: &'a FrameView<'a>,
    coefficients: YuvCoefficients,
    interleaved: Option<([usize; 3], usize)>,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(frame: &'a FrameView<'a>) -> Self {
        Self {
            frame,
            coefficients: YuvCoefficients::new(frame.matrix, frame.range),
            interleaved: interleaved(frame.format()),
        }
    }

    /// Red, green and blue at a position in pixels of the stored picture.
    pub(crate) fn at(&self, x: f32, y: f32) -> [u8; 3] {
        let (w, h) = (self.frame.width() as f32, self.frame.height() as f32);
        if !(x > -1.0 && y > -1.0 && x < w && y < h) {
            return [0; 3];
        }
        let (x0, y0) = (x.floor(), y.floor());
        let (wx, wy) = (x - x0, y - y0);
        let weights = [(1.0 - wx) * (1.0 - wy), wx * (1.0 - wy), (1.0 - wx) * wy, wx * wy];
        let mut sum = [0.0; 3];
        if x0 >= 0.0 && y0 >= 0.0 && x0 + 1.0 < w && y0 + 1.0 < h {
            let (x, y) = (x0 as usize, y0 as usize);
            let taps = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)];
            for (weight, (x, y)) in weights.into_iter().zip(taps) {
                add(&mut sum, weight, self.stored(x, y));
            }
            // Interpolation and the colour matrix are linear: one conversion serves four samples.
            sum = self.rgb(sum);
        } else {
            let taps = [(x0, y0), (x0 + 1.0, y0), (x0, y0 + 1.0), (x0 + 1.0, y0 + 1.0)];
            for (weight, (x, y)) in weights.into_iter().zip(taps) {
                if x >= 0.0 && y >= 0.0 && x < w && y < h {
                    add(&mut sum, weight, self.rgb(self.stored(x as usize, y as usize)));
                }
            }
        }
        sum.map(|s| (s + 0.5) as u8)
    }

    /// The samples of a pixel as they are stored: red, green and blue, or luma and chroma.
    #[inline]
    fn stored(&self, x: usize, y: usize) -> [f32; 3] {
        let planes = self.frame.planes();
        let byte = |plane: usize, x: usize, y: usize| {
            f32::from(planes[plane].data[y * planes[plane].stride + x])
        };
        match (self.interleaved, self.frame.format()) {
            (Some((positions, step)), _) => positions.map(|c| byte(0, x * step + c, y)),
            (None, PixelFormat::Nv12) => {
                let chroma = x / 2 * 2;
                [byte(0, x, y), byte(1, chroma, y / 2), byte(1, chroma + 1, y / 2)]
            }
            (None, PixelFormat::I420) => {
                [byte(0, x, y), byte(1, x / 2, y / 2), byte(2, x / 2, y / 2)]
            }
            _ => [byte(0, x, y), 128.0, 128.0],
        }
    }

    #[inline]
    fn rgb(&self, [a, b, c]: [f32; 3]) -> [f32; 3] {
        match self.interleaved {
            Some(_) => [a, b, c],
            None => self.coefficients.rgb(a, b, c),
        }
    }
}

#[inline]
fn add(sum: &mut [f32; 3], weight: f32, sample: [f32; 3]) {
    for (s, v) in sum.iter_mut().zip(sample) {
        *s += weight * v;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let (x, y) = t.inverse(f64::from(q.x), f64::from(q.y));
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
