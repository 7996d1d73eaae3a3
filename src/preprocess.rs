//! From the source pixels to a model's input, without a full-frame colour conversion: the
//! letterboxed picture for detectors. Sampling is bilinear with half-pixel centres, as OpenCV's
//! INTER_LINEAR.

use crate::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat, Plane};
use crate::geometry::{BBox, Landmarks};
use crate::model::{ChannelOrder, ModelSpec};

/// How a detector's input relates to the source picture: the picture is stretched to square
/// pixels, shrunk (never enlarged) to fit, and put into the top left corner; the rest is black.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// Size of the tensor in pixels.
    pub width: usize,
    pub height: usize,
    /// Size of the picture in it.
    pub content_width: usize,
    pub content_height: usize,
    /// Tensor pixels per source pixel.
    pub scale_x: f32,
    pub scale_y: f32,
}

impl Letterbox {
    /// Fits a picture so that its longer side is at most `max_side` pixels, and rounds the
    /// tensor's sides up to multiples of `multiple` (0 counts as 1).
    pub fn fit(frame: &FrameView<'_>, max_side: u32, multiple: u32) -> Letterbox {
        let mut letterbox = Self::shrunk(frame, max_side, [f32::INFINITY; 2]);
        let round_up = |side: usize| side.next_multiple_of(multiple.max(1) as usize);
        letterbox.width = round_up(letterbox.content_width);
        letterbox.height = round_up(letterbox.content_height);
        letterbox
    }

    /// Fits a picture into a tensor of `size` (width, height; 0 counts as 1), its longer side at
    /// most `max_side` pixels.
    pub fn fit_into(frame: &FrameView<'_>, max_side: u32, size: [u32; 2]) -> Letterbox {
        let [width, height] = size.map(|side| side.max(1));
        let mut letterbox = Self::shrunk(frame, max_side, [width as f32, height as f32]);
        letterbox.width = width as usize;
        letterbox.height = height as usize;
        letterbox.content_width = letterbox.content_width.min(letterbox.width);
        letterbox.content_height = letterbox.content_height.min(letterbox.height);
        letterbox
    }

    /// [`Self::fit_into`] the size of a model that has one, else [`Self::fit`].
    pub fn for_model(frame: &FrameView<'_>, spec: &ModelSpec, max_side: u32) -> Letterbox {
        match spec.size {
            Some(size) => Self::fit_into(frame, max_side, size),
            None => Self::fit(frame, max_side, spec.size_multiple.unwrap_or(1)),
        }
    }

    /// A tensor as large as the picture, once it is shrunk to both limits.
    fn shrunk(frame: &FrameView<'_>, max_side: u32, limit: [f32; 2]) -> Letterbox {
        let (width, height) = frame.square_size();
        let longest = max_side.max(1) as f32 / width.max(height);
        let scale = longest.min(limit[0] / width).min(limit[1] / height).min(1.0);
        let content = |side: f32| ((side * scale).round() as usize).max(1);
        Letterbox {
            width: content(width),
            height: content(height),
            content_width: content(width),
            content_height: content(height),
            scale_x: frame.pixel_aspect * scale,
            scale_y: scale,
        }
    }

    /// A box of the tensor in pixels of the source picture.
    pub fn box_to_source(&self, b: &BBox) -> BBox {
        b.scaled(1.0 / self.scale_x, 1.0 / self.scale_y)
    }

    /// Landmarks of the tensor in pixels of the source picture.
    pub fn landmarks_to_source(&self, l: &Landmarks) -> Landmarks {
        l.scaled(1.0 / self.scale_x, 1.0 / self.scale_y)
    }
}

/// Channel order and normalisation of a model's input: (pixel − mean) / std per channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    pub channels: ChannelOrder,
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl From<&ModelSpec> for Normalization {
    fn from(spec: &ModelSpec) -> Self {
        Self { channels: spec.channels, mean: spec.mean, std: spec.std }
    }
}

/// Coefficients of Y'CbCr to R'G'B' on the 0..=255 scale: `y * (Y - y_offset)`, plus
/// `r_v * V`, `g_u * U + g_v * V`, `b_u * U` with U and V centred on 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct YuvCoefficients {
    y: f32,
    y_offset: f32,
    r_v: f32,
    g_u: f32,
    g_v: f32,
    b_u: f32,
}

impl YuvCoefficients {
    /// From Kr and Kb of ITU-R BT.601, BT.709 and BT.2020.
    pub(crate) fn new(matrix: ColorMatrix, range: ColorRange) -> Self {
        let (kr, kb) = match matrix {
            ColorMatrix::Bt601 => (0.299, 0.114),
            ColorMatrix::Bt709 => (0.2126, 0.0722),
            ColorMatrix::Bt2020 => (0.2627, 0.0593),
        };
        let (y, y_offset, c) = match range {
            ColorRange::Full => (1.0, 0.0, 1.0),
            ColorRange::Limited => (255.0 / 219.0, 16.0, 255.0 / 224.0),
        };
        let kg = 1.0 - kr - kb;
        Self {
            y,
            y_offset,
            r_v: 2.0 * (1.0 - kr) * c,
            g_u: -2.0 * kb * (1.0 - kb) / kg * c,
            g_v: -2.0 * kr * (1.0 - kr) / kg * c,
            b_u: 2.0 * (1.0 - kb) * c,
        }
    }

    /// Red, green and blue, clamped to 0..=255.
    #[inline]
    pub(crate) fn rgb(&self, y: f32, u: f32, v: f32) -> [f32; 3] {
        let (y, u, v) = (self.y * (y - self.y_offset), u - 128.0, v - 128.0);
        [y + self.r_v * v, y + self.g_u * u + self.g_v * v, y + self.b_u * u]
            .map(|c| c.clamp(0.0, 255.0))
    }
}

/// Position of red, green and blue in an interleaved pixel, and bytes per pixel.
pub(crate) fn interleaved(format: PixelFormat) -> Option<([usize; 3], usize)> {
    match format {
        PixelFormat::Rgb => Some(([0, 1, 2], 3)),
        PixelFormat::Bgr => Some(([2, 1, 0], 3)),
        PixelFormat::Rgba | PixelFormat::Rgbx => Some(([0, 1, 2], 4)),
        PixelFormat::Bgra | PixelFormat::Bgrx => Some(([2, 1, 0], 4)),
        PixelFormat::Nv12 | PixelFormat::I420 | PixelFormat::Gray8 => None,
    }
}

/// The two source positions and the weight of the second, per target position.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tap {
    first: u32,
    second: u32,
    weight: f32,
}

/// Fills `taps` for `target` positions over `source` samples, `per_target` samples apart.
fn fill_taps(taps: &mut Vec<Tap>, target: usize, source: usize, per_target: f64) {
    taps.clear();
    let last = source.saturating_sub(1);
    taps.extend((0..target).map(|i| {
        let position = ((i as f64 + 0.5) * per_target - 0.5).clamp(0.0, last as f64);
        let first = position as usize;
        let second = (first + 1).min(last);
        Tap { first: first as u32, second: second as u32, weight: (position - first as f64) as f32 }
    }));
}

/// Taps of a plane in both directions.
#[derive(Debug, Default)]
struct PlaneTaps {
    columns: Vec<Tap>,
    rows: Vec<Tap>,
}

/// Makes detector inputs. Keeps its scratch memory, so that a stream of equal frames allocates
/// nothing after the first.
#[derive(Debug, Default)]
pub struct Preprocessor {
    key: Option<(Letterbox, u32, u32, PixelFormat)>,
    full: PlaneTaps,
    chroma: PlaneTaps,
    /// One vertically interpolated source row.
    row: Vec<f32>,
    /// Three target rows: red, green, blue, or luma and chroma.
    lines: [Vec<f32>; 3],
}

impl Preprocessor {
    /// Writes the letterboxed `frame` as planar floats [3, height, width] to `out`, which is
    /// resized to fit.
    pub fn letterbox(
        &mut self,
        frame: &FrameView<'_>,
        letterbox: &Letterbox,
        normalization: &Normalization,
        out: &mut Vec<f32>,
    ) {
        self.prepare(frame, letterbox);
        let (width, plane) = (letterbox.width, letterbox.width * letterbox.height);
        let Normalization { channels, mean, std } = *normalization;
        let order = match channels {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        let black: [f32; 3] = std::array::from_fn(|c| -mean[c] / std[c]);
        out.resize(3 * plane, 0.0);
        for y in 0..letterbox.content_height {
            self.rgb_line(frame, y);
            for c in 0..3 {
                let line = &self.lines[order[c]];
                let target = &mut out[c * plane + y * width..][..width];
                let (content, rest) = target.split_at_mut(letterbox.content_width);
                let (mean, factor) = (mean[c], 1.0 / std[c]);
                for (t, v) in content.iter_mut().zip(line) {
                    *t = (v - mean) * factor;
                }
                rest.fill(black[c]);
            }
        }
        for c in 0..3 {
            out[c * plane + letterbox.content_height * width..(c + 1) * plane].fill(black[c]);
        }
    }

    fn prepare(&mut self, frame: &FrameView<'_>, letterbox: &Letterbox) {
        let key = (*letterbox, frame.width(), frame.height(), frame.format());
        if self.key == Some(key) {
            return;
        }
        self.key = Some(key);
        let (w, h) = (letterbox.content_width, letterbox.content_height);
        let (source_w, source_h) = (frame.width() as usize, frame.height() as usize);
        let (step_x, step_y) = (source_w as f64 / w as f64, source_h as f64 / h as f64);
        fill_taps(&mut self.full.columns, w, source_w, step_x);
        fill_taps(&mut self.full.rows, h, source_h, step_y);
        fill_taps(&mut self.chroma.columns, w, source_w.div_ceil(2), step_x / 2.0);
        fill_taps(&mut self.chroma.rows, h, source_h.div_ceil(2), step_y / 2.0);
        for line in &mut self.lines {
            line.resize(w, 0.0);
        }
    }

    /// Puts red, green and blue of target row `y` into `lines`.
    fn rgb_line(&mut self, frame: &FrameView<'_>, y: usize) {
        let planes = frame.planes();
        let row = &mut self.row;
        let [a, b, c] = &mut self.lines;
        if let Some((positions, step)) = interleaved(frame.format()) {
            vertical(&planes[0], &self.full.rows[y], frame.width() as usize * step, row);
            for (line, offset) in [a, b, c].into_iter().zip(positions) {
                horizontal(row, &self.full.columns, step, offset, line);
            }
            return;
        }
        vertical(&planes[0], &self.full.rows[y], frame.width() as usize, row);
        horizontal(row, &self.full.columns, 1, 0, a);
        let chroma_width = frame.width().div_ceil(2) as usize;
        match frame.format() {
            PixelFormat::Nv12 => {
                vertical(&planes[1], &self.chroma.rows[y], 2 * chroma_width, row);
                horizontal(row, &self.chroma.columns, 2, 0, b);
                horizontal(row, &self.chroma.columns, 2, 1, c);
            }
            PixelFormat::I420 => {
                vertical(&planes[1], &self.chroma.rows[y], chroma_width, row);
                horizontal(row, &self.chroma.columns, 1, 0, b);
                vertical(&planes[2], &self.chroma.rows[y], chroma_width, row);
                horizontal(row, &self.chroma.columns, 1, 0, c);
            }
            _ => {
                b.fill(128.0);
                c.fill(128.0);
            }
        }
        let coefficients = YuvCoefficients::new(frame.matrix, frame.range);
        for ((a, b), c) in a.iter_mut().zip(b.iter_mut()).zip(c.iter_mut()) {
            [*a, *b, *c] = coefficients.rgb(*a, *b, *c);
        }
    }
}

/// Interpolates between two rows of `len` bytes.
fn vertical(plane: &Plane<'_>, tap: &Tap, len: usize, row: &mut Vec<f32>) {
    row.resize(len, 0.0);
    let at = |y: u32| &plane.data[y as usize * plane.stride..][..len];
    let (first, second, weight) = (at(tap.first), at(tap.second), tap.weight);
    if weight == 0.0 {
        for (r, a) in row.iter_mut().zip(first) {
            *r = f32::from(*a);
        }
    } else {
        for ((r, a), b) in row.iter_mut().zip(first).zip(second) {
            let (a, b) = (f32::from(*a), f32::from(*b));
            *r = a + (b - a) * weight;
        }
    }
}

/// Samples every `step`th value of `row`, starting at `offset`, at the taps.
fn horizontal(row: &[f32], taps: &[Tap], step: usize, offset: usize, line: &mut [f32]) {
    for (value, tap) in line.iter_mut().zip(taps) {
        let a = row[tap.first as usize * step + offset];
        let b = row[tap.second as usize * step + offset];
        *value = a + (b - a) * tap.weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Normalization =
        Normalization { channels: ChannelOrder::Rgb, mean: [0.0; 3], std: [1.0; 3] };

    fn gradient(width: usize, height: usize, bytes: usize) -> Vec<u8> {
        let value = |i: usize| ((i * 7 + (i / (width * bytes)) * 13) % 256) as u8;
        (0..width * height * bytes).map(value).collect()
    }

    #[test]
    fn picture_that_fits_is_copied_and_padded() {
        let data = gradient(5, 3, 3);
        let frame = FrameView::packed(PixelFormat::Bgr, 5, 3, &data).unwrap();
        let letterbox = Letterbox::fit(&frame, 640, 4);
        assert_eq!((letterbox.width, letterbox.height), (8, 4));
        let bgr = Normalization { channels: ChannelOrder::Bgr, ..PLAIN };
        let mut out = Vec::new();
        Preprocessor::default().letterbox(&frame, &letterbox, &bgr, &mut out);
        for y in 0..4 {
            for x in 0..8 {
                for c in 0..3 {
                    let wanted = if x < 5 && y < 3 { data[(y * 5 + x) * 3 + c] } else { 0 };
                    assert_eq!(out[c * 32 + y * 8 + x], f32::from(wanted), "{x} {y} {c}");
                }
            }
        }
    }

    #[test]
    fn halving_takes_the_mean_of_four() {
        let data = gradient(8, 4, 1);
        let mut frame = FrameView::packed(PixelFormat::Gray8, 8, 4, &data).unwrap();
        frame.range = ColorRange::Full;
        let letterbox = Letterbox::fit(&frame, 4, 1);
        assert_eq!((letterbox.content_width, letterbox.content_height), (4, 2));
        let mut out = Vec::new();
        Preprocessor::default().letterbox(&frame, &letterbox, &PLAIN, &mut out);
        for y in 0..2 {
            for x in 0..4 {
                let at = |dx, dy| f32::from(data[(2 * y + dy) * 8 + 2 * x + dx]);
                let mean = (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4.0;
                assert!((out[y * 4 + x] - mean).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn primary_colours_come_back_from_every_format() {
        // Y'CbCr of pure red, BT.709, limited range.
        let (y, u, v) = (63u8, 102u8, 240u8);
        let luma = vec![y; 16];
        let nv: Vec<u8> = [u, v].repeat(4);
        let (iu, iv) = (vec![u; 4], vec![v; 4]);
        let plane = |data, stride| Plane { data, stride };
        let mut nv12 =
            FrameView::new(PixelFormat::Nv12, 4, 4, &[plane(&luma, 4), plane(&nv, 4)]).unwrap();
        let planes = [plane(&luma, 4), plane(&iu, 2), plane(&iv, 2)];
        let mut i420 = FrameView::new(PixelFormat::I420, 4, 4, &planes).unwrap();
        nv12.matrix = ColorMatrix::Bt709;
        i420.matrix = ColorMatrix::Bt709;
        let (rgb, bgra) = ([255, 0, 0].repeat(16), [0, 0, 255, 9].repeat(16));
        let frames = [
            nv12,
            i420,
            FrameView::packed(PixelFormat::Rgb, 4, 4, &rgb).unwrap(),
            FrameView::packed(PixelFormat::Bgra, 4, 4, &bgra).unwrap(),
        ];
        for frame in frames {
            let mut out = Vec::new();
            let letterbox = Letterbox::fit(&frame, 4, 4);
            Preprocessor::default().letterbox(&frame, &letterbox, &PLAIN, &mut out);
            for (c, wanted) in [255.0, 0.0, 0.0].into_iter().enumerate() {
                let got = out[c * 16 + 5];
                assert!((got - wanted).abs() <= 2.0, "{:?} {c}: {got}", frame.format());
            }
        }
    }

    #[test]
    fn wide_pixels_are_stretched() {
        let data = gradient(4, 4, 1);
        let mut frame = FrameView::packed(PixelFormat::Gray8, 4, 4, &data).unwrap();
        frame.pixel_aspect = 2.0;
        let letterbox = Letterbox::fit(&frame, 640, 1);
        assert_eq!((letterbox.width, letterbox.height), (8, 4));
        let back = letterbox.box_to_source(&BBox::new(4.0, 2.0, 2.0, 1.0));
        assert_eq!(back, BBox::new(2.0, 2.0, 1.0, 1.0));
    }

    #[test]
    fn model_of_one_size_gets_that_size() {
        let data = gradient(80, 40, 1);
        let frame = FrameView::packed(PixelFormat::Gray8, 80, 40, &data).unwrap();
        let content = |max_side, size| {
            let l = Letterbox::fit_into(&frame, max_side, size);
            assert_eq!([l.width, l.height], size.map(|side| side as usize));
            (l.content_width, l.content_height, l.scale_y)
        };
        assert_eq!(content(640, [320, 240]), (80, 40, 1.0), "never enlarged");
        assert_eq!(content(640, [40, 60]), (40, 20, 0.5));
        assert_eq!(content(640, [60, 10]), (20, 10, 0.25));
        assert_eq!(content(20, [320, 240]), (20, 10, 0.25), "the smaller limit counts");
        assert_eq!(content(0, [1, 1]).0, 1);
        let mut out = Vec::new();
        let letterbox = Letterbox::fit_into(&frame, 640, [24, 16]);
        Preprocessor::default().letterbox(&frame, &letterbox, &PLAIN, &mut out);
        assert_eq!(out.len(), 3 * 24 * 16);
        assert_eq!(out[12 * 24..16 * 24], [0.0; 4 * 24], "below the picture it is black");
        let mut spec = crate::model::find(crate::model::DEFAULT_DETECTOR).unwrap().clone();
        assert_eq!(Letterbox::for_model(&frame, &spec, 640).height, 64);
        (spec.size, spec.size_multiple) = (Some([48, 48]), None);
        assert_eq!(Letterbox::for_model(&frame, &spec, 640).height, 48);
    }

    #[test]
    fn one_pixel_frames_work_in_every_format() {
        for format in PixelFormat::ALL {
            let data = [77u8; 8];
            let planes = vec![Plane { data: &data, stride: 8 }; format.planes().len()];
            let frame = FrameView::new(format, 1, 1, &planes).unwrap();
            let mut out = Vec::new();
            let letterbox = Letterbox::fit(&frame, 640, 32);
            Preprocessor::default().letterbox(&frame, &letterbox, &PLAIN, &mut out);
            assert_eq!(out.len(), 3 * 32 * 32);
        }
    }
}
