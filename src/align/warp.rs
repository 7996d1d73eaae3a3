//! Samples of a frame along the rows of a crop: one after the other, and a row at a time.

use super::{CROP_SIDE, Row};
use crate::frame::{FrameView, PixelFormat, Plane};
use crate::preprocess::{YuvCoefficients, interleaved};

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
        let weights = weights(x, y);
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

    #[inline(always)]
    fn rgb(&self, [a, b, c]: [f32; 3]) -> [f32; 3] {
        match self.interleaved {
            Some(_) => [a, b, c],
            None => self.coefficients.rgb(a, b, c),
        }
    }
}

/// Weights of the four pixels around a place: above left, above right, below left, below right.
#[inline(always)]
fn weights(x: f32, y: f32) -> [f32; 4] {
    let (wx, wy) = (x - x.floor(), y - y.floor());
    [(1.0 - wx) * (1.0 - wy), wx * (1.0 - wy), (1.0 - wx) * wy, wx * wy]
}

#[inline(always)]
fn add(sum: &mut [f32; 3], weight: f32, sample: [f32; 3]) {
    for (s, v) in sum.iter_mut().zip(sample) {
        *s += weight * v;
    }
}

/// Fills a crop: row y of it shows the frame along `rows(y)`.
#[inline(always)]
pub(super) fn warp(frame: &FrameView<'_>, rows: impl Fn(usize) -> Row, pixels: &mut [[u8; 3]]) {
    let sampler = Sampler::new(frame);
    let mut line = Line::default();
    for (y, pixels) in pixels.as_chunks_mut::<CROP_SIDE>().0.iter_mut().enumerate() {
        line.places.set(frame, &rows(y));
        line.fetch(frame);
        line.blend(&sampler, pixels);
        for (x, pixel) in pixels.iter_mut().enumerate() {
            if !line.places.inside[x] {
                *pixel = sampler.at(line.places.x[x], line.places.y[x]);
            }
        }
    }
}

/// Where the pixels of a row of a crop lie in the picture.
struct Places {
    x: [f32; CROP_SIDE],
    y: [f32; CROP_SIDE],
    /// Does the place lie between four pixels?
    inside: [bool; CROP_SIDE],
}

impl Places {
    #[inline(always)]
    fn set(&mut self, frame: &FrameView<'_>, row: &Row) {
        let (w, h) = (frame.width() as f32, frame.height() as f32);
        for i in 0..CROP_SIDE {
            let [x, y] = row.at(i).map(|v| v as f32);
            (self.x[i], self.y[i]) = (x, y);
            let (right, below) = (x.floor() + 1.0, y.floor() + 1.0);
            self.inside[i] = (x >= 0.0) & (y >= 0.0) & (right < w) & (below < h);
        }
    }

    /// The places between four pixels: number, and column and row of the first of the four.
    #[inline(always)]
    fn corners(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let inside = (0..CROP_SIDE).filter(|i| self.inside[*i]);
        inside.map(|i| (i, self.x[i] as usize, self.y[i] as usize))
    }
}

/// The four samples around each place of a row: two of the upper row of pixels, two of the lower.
type Taps = [[u8; CROP_SIDE]; 4];

/// A row of a crop: the same as [`Sampler::at`] for places that lie between four pixels of the
/// picture, a step for all of them at a time.
struct Line {
    places: Places,
    /// For each channel as it is stored. Those of places that do not lie between four pixels are
    /// left over from other rows.
    taps: [Taps; 3],
}

impl Default for Line {
    fn default() -> Self {
        let (zero, inside) = ([0.0; CROP_SIDE], [false; CROP_SIDE]);
        // No colour, for formats that have none.
        Line { places: Places { x: zero, y: zero, inside }, taps: [[[128; CROP_SIDE]; 4]; 3] }
    }
}

impl Line {
    #[inline(always)]
    fn fetch(&mut self, frame: &FrameView<'_>) {
        let Line { places, taps: [a, b, c] } = self;
        match (frame.format(), frame.planes()) {
            (PixelFormat::Nv12, [luma, chroma]) => {
                fetch(places, [a], luma, 1);
                fetch_chroma(places, [b, c], chroma, 2);
            }
            (PixelFormat::I420, [luma, u, v]) => {
                fetch(places, [a], luma, 1);
                fetch_chroma(places, [b], u, 1);
                fetch_chroma(places, [c], v, 1);
            }
            (PixelFormat::Gray8, [luma]) => fetch(places, [a], luma, 1),
            (PixelFormat::Rgb | PixelFormat::Bgr, [colours]) => {
                fetch(places, [a, b, c], colours, 3);
            }
            (_, planes) => {
                // Four bytes, of which the last one is no colour.
                planes
                    .iter()
                    .for_each(|colours| fetch(places, [&mut *a, &mut *b, &mut *c], colours, 4));
            }
        }
    }

    #[inline(always)]
    fn blend(&self, sampler: &Sampler<'_>, pixels: &mut [[u8; 3]; CROP_SIDE]) {
        let blue_first = sampler.interleaved.is_some_and(|(at, _)| at[0] > at[2]);
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let mut sum = [0.0; 3];
            let weights = weights(self.places.x[i], self.places.y[i]);
            for (tap, weight) in weights.into_iter().enumerate() {
                add(&mut sum, weight, [0, 1, 2].map(|c| f32::from(self.taps[c][tap][i])));
            }
            let [a, b, c] = sampler.rgb(sum).map(|s| (s + 0.5) as u8);
            *pixel = if blue_first { [c, b, a] } else { [a, b, c] };
        }
    }
}

/// Fetches the first N bytes of the pixels around every place, which have `step` bytes.
#[inline(always)]
fn fetch<const N: usize>(places: &Places, taps: [&mut Taps; N], plane: &Plane<'_>, step: usize) {
    for (i, x, y) in places.corners() {
        for row in 0..2 {
            let bytes = &plane.data[(y + row) * plane.stride + x * step..][..step + N];
            for c in 0..N {
                taps[c][2 * row][i] = bytes[c];
                taps[c][2 * row + 1][i] = bytes[step + c];
            }
        }
    }
}

/// Fetches the first N bytes of the chroma of the pixels around every place, `step` bytes for two
/// pixels in both directions.
#[inline(always)]
fn fetch_chroma<const N: usize>(
    places: &Places,
    taps: [&mut Taps; N],
    plane: &Plane<'_>,
    step: usize,
) {
    for (i, x, y) in places.corners() {
        for (tap, (dx, dy)) in [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().enumerate() {
            let at = (y + dy) / 2 * plane.stride + (x + dx) / 2 * step;
            let bytes = &plane.data[at..][..N];
            for c in 0..N {
                taps[c][tap][i] = bytes[c];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_of_places_is_what_each_place_alone_is() {
        let byte = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
        let data: Vec<u8> = (0..40 * 30 * 4).map(byte).collect();
        let rows = [
            Row { first: [-3.0, -2.0], step: [0.4, 0.3] },
            Row { first: [41.0, 20.5], step: [-0.5, 0.03] },
            Row { first: [0.0, 0.0], step: [0.25, 0.125] },
            Row { first: [1e9, 5.0], step: [-2e7, 0.0] },
            Row { first: [f64::NAN, 5.0], step: [0.1, 0.0] },
        ];
        for format in PixelFormat::ALL {
            // 33 × 25 pixels in rows of 40 samples: the last ones of chroma serve one pixel.
            let plane = |(bytes, ..): &(usize, u32, u32)| Plane { data: &data, stride: 40 * bytes };
            let planes: Vec<_> = format.planes().iter().map(plane).collect();
            let frame = FrameView::new(format, 33, 25, &planes).unwrap();
            let sampler = Sampler::new(&frame);
            let mut pixels = [[1; 3]; CROP_SIDE * 5];
            warp(&frame, |y| rows[y], &mut pixels);
            for (i, pixel) in pixels.iter().enumerate() {
                let [x, y] = rows[i / CROP_SIDE].at(i % CROP_SIDE);
                assert_eq!(*pixel, sampler.at(x as f32, y as f32), "{format:?} {x} {y}");
            }
        }
    }
}
