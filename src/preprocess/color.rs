//! From luma and chroma to red, green and blue, and where those lie in interleaved pixels.

use crate::frame::{ColorMatrix, ColorRange, PixelFormat};

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
    #[inline(always)]
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
