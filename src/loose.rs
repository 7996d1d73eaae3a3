//! A face with its surroundings: what an embedder of another alignment, or another way to find the
//! five points, is given one day. Apart from the aligned crop, which is what today's embedders see.

use std::fmt;
use std::str::FromStr;

use crate::align::Sampler;
use crate::frame::FrameView;
use crate::gallery::LooseCrop;
use crate::geometry::{BBox, Landmarks, Point};
use crate::picture::PictureError;

/// How much larger than the face's box, on each axis and about its centre.
pub const AROUND: f32 = 1.6;

/// The longest side of a loose crop in pixels. A face then measures up to 160, more than the 112
/// that embedders take.
pub const MAX_SIDE_PX: u32 = 256;

/// Samples per axis that are averaged for one pixel, at most: without it, a large face shrinks to
/// noise.
const MOST_TAPS: u32 = 4;

/// Which pictures of its samples a gallery keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StoreCrops {
    /// None: less is known of people, and the gallery can never go to another embedder.
    Never,
    /// The aligned face, 112 × 112 pixels, about 17 KB: enough for every embedder of the same
    /// alignment, which all of the registry are.
    #[default]
    Aligned,
    /// The aligned face and the face with its surroundings, about 45 KB more: enough for an
    /// embedder of another alignment, too.
    Loose,
}

impl StoreCrops {
    /// All of them, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Never, Self::Aligned, Self::Loose];

    /// `never`, `aligned` or `loose`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Aligned => "aligned",
            Self::Loose => "loose",
        }
    }

    /// Is the aligned face kept?
    pub fn aligned(self) -> bool {
        self != Self::Never
    }

    /// Is the face with its surroundings kept?
    pub fn loose(self) -> bool {
        self == Self::Loose
    }
}

impl FromStr for StoreCrops {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|s| s.as_str() == text);
        known.ok_or_else(|| format!("'{text}' is not never, aligned or loose"))
    }
}

/// A loose crop before it is encoded: RGB, and the five points in its pixels.
#[derive(Clone, PartialEq)]
pub struct LooseFace {
    width: u32,
    height: u32,
    rgb: Box<[u8]>,
    points: [[f32; 2]; 5],
}

impl fmt::Debug for LooseFace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LooseFace {}x{}", self.width, self.height)
    }
}

impl LooseFace {
    /// Cuts the box of a face (pixels of `frame`, as the landmarks) times [`AROUND`] out of the
    /// frame, as far as it lies in the picture, in square pixels, shrunk to [`MAX_SIDE_PX`] if it is
    /// larger and never enlarged. `None` if nothing of it lies in the picture, or a number is not
    /// finite.
    pub fn cut(frame: &FrameView<'_>, bbox: &BBox, landmarks: &Landmarks) -> Option<LooseFace> {
        if !bbox.is_valid() || !landmarks.is_finite() {
            return None;
        }
        let aspect = frame.pixel_aspect;
        let bbox = bbox.scaled(aspect, 1.0);
        let (center, (width, height)) = (bbox.center(), frame.square_size());
        let columns = Span::of(center.x, bbox.w, width)?;
        let rows = Span::of(center.y, bbox.h, height)?;
        let shrink = (columns.length.max(rows.length) / MAX_SIDE_PX as f32).max(1.0);
        let (columns, rows) = (columns.shrunk(shrink), rows.shrunk(shrink));
        let taps = (shrink.ceil() as u32).clamp(1, MOST_TAPS);
        let sampler = Sampler::new(frame);
        let last = ((frame.width() - 1) as f32, (frame.height() - 1) as f32);
        let mut rgb = Vec::with_capacity((columns.pixels * rows.pixels * 3) as usize);
        for y in 0..rows.pixels {
            for x in 0..columns.pixels {
                let mut sum = [0u32; 3];
                for (tap_y, tap_x) in (0..taps * taps).map(|i| (i / taps, i % taps)) {
                    let x = columns.place(x, tap_x, taps) / aspect;
                    let y = rows.place(y, tap_y, taps);
                    // Half a pixel further out everything is black.
                    let pixel = sampler.at(x.min(last.0).max(0.0), y.min(last.1).max(0.0));
                    sum.iter_mut().zip(pixel).for_each(|(s, v)| *s += u32::from(v));
                }
                rgb.extend(sum.map(|s| ((s + taps * taps / 2) / (taps * taps)) as u8));
            }
        }
        let points = landmarks.0.map(|p| {
            let Point { x, y } = frame.to_square(p);
            [columns.back(x), rows.back(y)]
        });
        let (width, height) = (columns.pixels, rows.pixels);
        Some(LooseFace { width, height, rgb: rgb.into(), points })
    }

    /// As a gallery stores it.
    ///
    /// # Errors
    /// [`PictureError::Decode`] if the encoder fails, which for these sizes means that there is no
    /// memory.
    pub fn encode(&self) -> Result<LooseCrop, PictureError> {
        let png = crate::picture::png("loose crop", self.width, self.height, &self.rgb)?;
        Ok(LooseCrop { png, points: self.points })
    }

    /// As a JPEG file, to be looked at.
    ///
    /// # Errors
    /// [`PictureError::Decode`] if the encoder fails, as of [`LooseFace::encode`].
    pub fn to_jpeg(&self) -> Result<Vec<u8>, PictureError> {
        crate::picture::jpeg("face", self.width, self.height, &self.rgb)
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// RGB, row by row.
    pub fn as_rgb(&self) -> &[u8] {
        &self.rgb
    }
}

/// The columns, or the rows, of a loose crop, in square pixels of the picture. A pixel's number is
/// the place of its middle, as in [`crate::align`].
#[derive(Clone, Copy, Debug)]
struct Span {
    start: f32,
    length: f32,
    pixels: u32,
}

impl Span {
    /// Whole pixels, so that what is not shrunk is copied as it is.
    fn of(center: f32, side: f32, limit: f32) -> Option<Span> {
        let half = side * AROUND / 2.0;
        let start = (center - half).floor().max(0.0).min(limit);
        let end = (center + half).ceil().max(0.0).min(limit);
        let length = end - start;
        // Also if a number is not finite.
        (length >= 1.0).then_some(Span { start, length, pixels: 1 })
    }

    fn shrunk(self, shrink: f32) -> Span {
        let pixels = (self.length / shrink).round().clamp(1.0, MAX_SIDE_PX as f32) as u32;
        Span { pixels, ..self }
    }

    /// Square pixels of the picture per pixel of the crop.
    fn step(&self) -> f32 {
        self.length / self.pixels as f32
    }

    /// Place of one of the samples of a pixel, in square pixels of the picture.
    fn place(&self, pixel: u32, tap: u32, taps: u32) -> f32 {
        let part = (tap as f32 + 0.5) / taps as f32;
        self.start + (pixel as f32 + part) * self.step() - 0.5
    }

    /// Where a place of the picture is in the crop.
    fn back(&self, place: f32) -> f32 {
        (place - self.start + 0.5) / self.step() - 0.5
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::align::AlignedCrop;
    use crate::frame::PixelFormat;
    use crate::picture::Picture;

    /// Points of an upright face, fractions of its box.
    const POINTS: [(f32, f32); 5] =
        [(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)];

    fn points(bbox: &BBox) -> Landmarks {
        Landmarks(POINTS.map(|(x, y)| Point::new(bbox.x + x * bbox.w, bbox.y + y * bbox.h)))
    }

    /// A picture without steps: what is drawn larger or smaller stays nearly the same.
    fn waves(width: u32, height: u32) -> Vec<u8> {
        let value = |x: u32, y: u32| {
            let wave = |v: u32, length: f32| 127.0 + 100.0 * (v as f32 / length).sin();
            [wave(x, 40.0) as u8, wave(y, 55.0) as u8, wave(x + y, 70.0) as u8]
        };
        (0..height).flat_map(|y| (0..width).flat_map(move |x| value(x, y))).collect()
    }

    fn mean_difference(a: &AlignedCrop, b: &AlignedCrop) -> f32 {
        let pairs = a.as_rgb().iter().zip(b.as_rgb());
        let sum: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        sum as f32 / a.as_rgb().len() as f32
    }

    #[test]
    fn small_face_is_copied_with_what_is_around_it() {
        let data = waves(400, 300);
        let frame = FrameView::packed(PixelFormat::Rgb, 400, 300, &data).unwrap();
        let bbox = BBox::new(150.0, 100.0, 80.0, 100.0);
        let landmarks = points(&bbox);
        let loose = LooseFace::cut(&frame, &bbox, &landmarks).unwrap();
        assert_eq!(loose.size(), (128, 160));
        let row = &data[(70 * 400 + 126) * 3..][..128 * 3];
        assert_eq!(&loose.as_rgb()[..128 * 3], row);
        for (point, here) in landmarks.0.iter().zip(loose.points) {
            assert!((point.x - 126.0 - here[0]).abs() < 1e-3);
            assert!((point.y - 70.0 - here[1]).abs() < 1e-3);
        }
    }

    #[test]
    fn aligned_face_is_cut_again_from_it_and_is_the_same() {
        let data = waves(900, 800);
        let frame = FrameView::packed(PixelFormat::Rgb, 900, 800, &data).unwrap();
        // As it is, shrunk, and half outside of the picture.
        for bbox in [
            BBox::new(300.0, 300.0, 130.0, 150.0),
            BBox::new(200.0, 150.0, 400.0, 480.0),
            BBox::new(-60.0, 500.0, 300.0, 360.0),
        ] {
            let landmarks = points(&bbox);
            let direct = AlignedCrop::cut(&frame, &landmarks).unwrap();
            let loose = LooseFace::cut(&frame, &bbox, &landmarks).unwrap();
            assert!(loose.width <= MAX_SIDE_PX && loose.height <= MAX_SIDE_PX);
            let LooseCrop { png, points } = loose.encode().unwrap();
            let picture = Picture::decode("loose", &png).unwrap();
            assert_eq!((picture.width(), picture.height()), loose.size());
            let points = Landmarks(points.map(|[x, y]| Point::new(x, y)));
            let again = AlignedCrop::cut(&picture.view(), &points).unwrap();
            let difference = mean_difference(&direct, &again);
            assert!(difference < 2.0, "{bbox:?}: {difference}");
        }
    }

    #[test]
    fn face_to_look_at_is_a_jpeg_of_its_size() {
        let data = waves(400, 300);
        let frame = FrameView::packed(PixelFormat::Rgb, 400, 300, &data).unwrap();
        let bbox = BBox::new(150.0, 100.0, 80.0, 100.0);
        let loose = LooseFace::cut(&frame, &bbox, &points(&bbox)).unwrap();
        let jpeg = loose.to_jpeg().unwrap();
        assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.len() < 15_000, "{}", jpeg.len());
        let picture = Picture::decode("face", &jpeg).unwrap();
        assert_eq!((picture.width(), picture.height()), loose.size());
        let pairs = picture.as_rgb().iter().zip(loose.as_rgb());
        let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst < 40, "{worst}");
    }

    #[test]
    fn wide_pixels_become_square_ones() {
        let data = waves(300, 200);
        let mut frame = FrameView::packed(PixelFormat::Rgb, 300, 200, &data).unwrap();
        frame.pixel_aspect = 2.0;
        let bbox = BBox::new(100.0, 60.0, 30.0, 60.0);
        let landmarks = points(&bbox);
        let loose = LooseFace::cut(&frame, &bbox, &landmarks).unwrap();
        assert_eq!(loose.size(), (96, 96));
        let eyes = loose.points[1][0] - loose.points[0][0];
        assert!((eyes - 2.0 * 0.32 * 30.0).abs() < 1e-3, "{eyes}");
    }

    #[test]
    fn crop_ends_at_the_borders_of_the_picture() {
        let data = waves(100, 100);
        let frame = FrameView::packed(PixelFormat::Rgb, 100, 100, &data).unwrap();
        let corner = BBox::new(-20.0, -20.0, 50.0, 50.0);
        let loose = LooseFace::cut(&frame, &corner, &points(&corner)).unwrap();
        assert_eq!(loose.size(), (45, 45));
        assert_eq!(loose.as_rgb()[..3], data[..3]);
        let huge = BBox::new(-4000.0, 40.0, 8000.0, 20.0);
        let loose = LooseFace::cut(&frame, &huge, &points(&huge)).unwrap();
        assert_eq!(loose.size(), (100, 32));
    }

    #[test]
    fn what_is_no_face_in_the_picture_gives_nothing() {
        let data = waves(100, 100);
        let frame = FrameView::packed(PixelFormat::Rgb, 100, 100, &data).unwrap();
        let here = BBox::new(10.0, 10.0, 20.0, 20.0);
        let far = BBox::new(500.0, 10.0, 20.0, 20.0);
        let mut broken = points(&here);
        broken.0[3].y = f32::NAN;
        assert_eq!(LooseFace::cut(&frame, &far, &points(&far)), None);
        assert_eq!(LooseFace::cut(&frame, &here, &broken), None);
        for side in [f32::NAN, f32::INFINITY, 0.0, -3.0] {
            let bbox = BBox::new(10.0, 10.0, side, 20.0);
            assert_eq!(LooseFace::cut(&frame, &bbox, &points(&here)), None, "{side}");
        }
    }

    #[test]
    fn settings_are_read_as_they_are_written() {
        for setting in StoreCrops::ALL {
            assert_eq!(setting.as_str().parse(), Ok(setting));
        }
        assert!("both".parse::<StoreCrops>().unwrap_err().contains("never, aligned or loose"));
        assert_eq!(StoreCrops::default(), StoreCrops::Aligned);
    }
}
