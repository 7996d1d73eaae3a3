//! From the source pixels to a model's input, without a full-frame colour conversion: the
//! letterboxed picture for detectors. Sampling is bilinear with half-pixel centres, as OpenCV's
//! INTER_LINEAR.
//!
//! A target row is made in three steps: `rows` blends two source rows, `columns` fetches the two
//! samples beside each column, and `Preprocessor::finish` computes all columns alike. Rows and
//! weights are whole numbers and float operations have one order: every machine gets the same
//! tensor. Luma and chroma are sampled each at its own resolution and become red, green and blue
//! at the target's.

use fearless_simd::{Level, Simd, dispatch};

use crate::frame::{FrameView, PixelFormat};
use crate::geometry::{BBox, Landmarks};
use crate::model::{ChannelOrder, ModelSpec};

mod color;
mod columns;
mod rows;

pub(crate) use color::{YuvCoefficients, interleaved};
use columns::{Columns, Pair, WINDOW, sample};
use rows::{RowTap, blend};

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

/// Taps of a plane in both directions.
#[derive(Debug, Default)]
struct Taps {
    columns: Columns,
    rows: Vec<RowTap>,
}

impl Taps {
    fn fill(&mut self, level: Level, target: [usize; 2], source: [usize; 2], per_target: [f64; 2]) {
        self.columns.fill(level, target[0], source[0], per_target[0]);
        rows::fill_taps(&mut self.rows, target[1], source[1], per_target[1]);
    }
}

/// One channel of the tensor, and how its values are normalised.
struct Target<'a> {
    plane: &'a mut [f32],
    mean: f32,
    factor: f32,
}

/// Makes detector inputs. Keeps its scratch memory, so that a stream of equal frames allocates
/// nothing after the first.
#[derive(Debug, Default)]
pub struct Preprocessor {
    key: Option<(Letterbox, u32, u32, PixelFormat)>,
    /// Of luma, and of formats without chroma.
    full: Taps,
    chroma: Taps,
    /// One blended source row per channel: luma and chroma, or the colours as they are stored.
    rows: [Vec<i16>; 3],
    /// For each channel, the two samples beside each column.
    pairs: [Vec<Pair>; 3],
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
        self.letterbox_by(Level::new(), frame, letterbox, normalization, out);
    }

    /// [`Self::letterbox`] by certain vector instructions.
    fn letterbox_by(
        &mut self,
        level: Level,
        frame: &FrameView<'_>,
        letterbox: &Letterbox,
        normalization: &Normalization,
        out: &mut Vec<f32>,
    ) {
        self.prepare(level, frame, letterbox);
        let plane = letterbox.width * letterbox.height;
        out.resize(3 * plane, 0.0);
        let (first, rest) = out.split_at_mut(plane);
        let (second, third) = rest.split_at_mut(plane);
        let Normalization { channels, mean, std } = *normalization;
        let mut channel = 0;
        let mut targets = [first, second, third].map(|plane| {
            let (mean, factor) = (mean[channel], 1.0 / std[channel]);
            channel += 1;
            Target { plane, mean, factor }
        });
        // Red first, or as the frame has its colours.
        let stored_blue_first = interleaved(frame.format()).is_some_and(|(at, _)| at[0] > at[2]);
        if stored_blue_first != (channels == ChannelOrder::Bgr) {
            targets.reverse();
        }
        let width = letterbox.width;
        dispatch!(level, simd => self.fill(simd, frame, width, &mut targets));
        let below = letterbox.content_height * width;
        for target in targets {
            target.plane[below..].fill(-target.mean * target.factor);
        }
    }

    fn prepare(&mut self, level: Level, frame: &FrameView<'_>, letterbox: &Letterbox) {
        let key = (*letterbox, frame.width(), frame.height(), frame.format());
        if self.key == Some(key) {
            return;
        }
        self.key = Some(key);
        let target = [letterbox.content_width, letterbox.content_height];
        let source = [frame.width() as usize, frame.height() as usize];
        let step = [source[0] as f64 / target[0] as f64, source[1] as f64 / target[1] as f64];
        let half = source.map(|side| side.div_ceil(2));
        self.full.fill(level, target, source, step);
        self.chroma.fill(level, target, half, step.map(|step| step / 2.0));
        let chroma = if has_chroma(frame.format()) { half[0] } else { source[0] };
        for (row, width) in self.rows.iter_mut().zip([source[0], chroma, chroma]) {
            row.resize(width + WINDOW, 0);
        }
        if frame.format() == PixelFormat::Gray8 {
            // No colour, in every column.
            for pairs in &mut self.pairs[1..] {
                pairs.clear();
                pairs.resize(target[0], [128 << rows::FRACTION_BITS; 2]);
            }
        }
    }

    /// Fills the rows that the picture lies in.
    #[inline(always)]
    fn fill<S: Simd>(
        &mut self,
        simd: S,
        frame: &FrameView<'_>,
        width: usize,
        targets: &mut [Target<'_>; 3],
    ) {
        let coefficients = interleaved(frame.format())
            .is_none()
            .then(|| YuvCoefficients::new(frame.matrix, frame.range));
        for y in 0..self.full.rows.len() {
            self.blend(frame, y);
            self.fetch(simd, frame.format());
            let lines = targets.each_mut().map(|target| {
                let line = &mut target.plane[y * width..][..width];
                Target { plane: line, mean: target.mean, factor: target.factor }
            });
            self.finish(coefficients.as_ref(), lines);
        }
    }

    /// Puts the source row of target row `y` into `rows`.
    #[inline(always)]
    fn blend(&mut self, frame: &FrameView<'_>, y: usize) {
        let planes = frame.planes();
        let [a, b, c] = self.rows.each_mut().map(|row| {
            let width = row.len() - WINDOW;
            &mut row[..width]
        });
        let full = self.full.rows[y];
        let chroma = self.chroma.rows[y];
        match frame.format() {
            PixelFormat::Rgb | PixelFormat::Bgr => blend::<3, 3>(&planes[0], full, [a, b, c]),
            PixelFormat::Rgba | PixelFormat::Bgra | PixelFormat::Rgbx | PixelFormat::Bgrx => {
                blend::<4, 3>(&planes[0], full, [a, b, c]);
            }
            PixelFormat::Nv12 => {
                blend::<1, 1>(&planes[0], full, [a]);
                blend::<2, 2>(&planes[1], chroma, [b, c]);
            }
            PixelFormat::I420 => {
                blend::<1, 1>(&planes[0], full, [a]);
                blend::<1, 1>(&planes[1], chroma, [b]);
                blend::<1, 1>(&planes[2], chroma, [c]);
            }
            PixelFormat::Gray8 => blend::<1, 1>(&planes[0], full, [a]),
        }
    }

    /// Puts the samples beside the columns of that row into `pairs`.
    #[inline(always)]
    fn fetch<S: Simd>(&mut self, simd: S, format: PixelFormat) {
        let [a, b, c] = self.rows.each_ref().map(Vec::as_slice);
        let [pairs_a, pairs_b, pairs_c] = &mut self.pairs;
        if interleaved(format).is_some() {
            self.full.columns.fetch(simd, [a, b, c], [pairs_a, pairs_b, pairs_c]);
            return;
        }
        self.full.columns.fetch(simd, [a], [pairs_a]);
        if has_chroma(format) {
            self.chroma.columns.fetch(simd, [b, c], [pairs_b, pairs_c]);
        }
    }

    /// Computes the columns of a row, from luma and chroma if there are coefficients, and puts
    /// black beside them.
    #[inline(always)]
    fn finish(&self, coefficients: Option<&YuvCoefficients>, lines: [Target<'_>; 3]) {
        let full = self.full.columns.weights();
        let width = full.len();
        let pairs = self.pairs.each_ref().map(|pairs| &pairs[..width]);
        let normal = lines.each_ref().map(|line| (line.mean, line.factor));
        let [a, b, c] = lines.map(|line| {
            let (content, rest) = line.plane.split_at_mut(width);
            rest.fill(-line.mean * line.factor);
            content
        });
        let set = |value: &mut f32, channel: usize, sample: f32| {
            *value = (sample - normal[channel].0) * normal[channel].1;
        };
        if let Some(coefficients) = coefficients {
            let chroma = &self.chroma.columns.weights()[..width];
            for x in 0..width {
                let y = sample(pairs[0][x], full[x]);
                let u = sample(pairs[1][x], chroma[x]);
                let v = sample(pairs[2][x], chroma[x]);
                let [red, green, blue] = coefficients.rgb(y, u, v);
                set(&mut a[x], 0, red);
                set(&mut b[x], 1, green);
                set(&mut c[x], 2, blue);
            }
        } else {
            for (channel, line) in [a, b, c].into_iter().enumerate() {
                for (x, value) in line.iter_mut().enumerate() {
                    set(value, channel, sample(pairs[channel][x], full[x]));
                }
            }
        }
    }
}

/// Does the format store chroma, at half the resolution of luma?
fn has_chroma(format: PixelFormat) -> bool {
    matches!(format, PixelFormat::Nv12 | PixelFormat::I420)
}

#[cfg(test)]
mod tests;
