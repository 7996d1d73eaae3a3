//! A borrowed video frame: planes, strides, pixel format, colorimetry, pixel aspect.

use crate::geometry::Point;

/// Pixel formats that the preprocessing reads without converting the frame first. Names as in
/// GStreamer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    Nv12,
    I420,
    Rgb,
    Bgr,
    Rgba,
    Bgra,
    Rgbx,
    Bgrx,
    Gray8,
}

impl PixelFormat {
    pub const ALL: [PixelFormat; 9] = [
        PixelFormat::Nv12,
        PixelFormat::I420,
        PixelFormat::Rgb,
        PixelFormat::Bgr,
        PixelFormat::Rgba,
        PixelFormat::Bgra,
        PixelFormat::Rgbx,
        PixelFormat::Bgrx,
        PixelFormat::Gray8,
    ];

    /// Number of planes and, for each, (bytes per sample, horizontal and vertical subsampling).
    pub(crate) const fn planes(self) -> &'static [(usize, u32, u32)] {
        match self {
            PixelFormat::Nv12 => &[(1, 1, 1), (2, 2, 2)],
            PixelFormat::I420 => &[(1, 1, 1), (1, 2, 2), (1, 2, 2)],
            PixelFormat::Rgb | PixelFormat::Bgr => &[(3, 1, 1)],
            PixelFormat::Rgba | PixelFormat::Bgra | PixelFormat::Rgbx | PixelFormat::Bgrx => {
                &[(4, 1, 1)]
            }
            PixelFormat::Gray8 => &[(1, 1, 1)],
        }
    }
}

/// Luma/chroma matrix of a YUV frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ColorMatrix {
    #[default]
    Bt601,
    Bt709,
    Bt2020,
}

/// Sample range: full 0..=255, or limited (luma 16..=235, chroma 16..=240).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ColorRange {
    Full,
    #[default]
    Limited,
}

/// One plane of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// What is wrong with the planes of a frame.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum FrameError {
    #[error("a frame of {width}x{height} pixels has no picture")]
    Empty { width: u32, height: u32 },
    #[error("a {format:?} frame has {wanted} planes, got {got}")]
    PlaneCount { format: PixelFormat, wanted: usize, got: usize },
    #[error("plane {plane} of a {format:?} frame is too small: {got} bytes, {wanted} needed")]
    PlaneSize { format: PixelFormat, plane: usize, wanted: usize, got: usize },
}

/// A borrowed frame. Every plane was checked to hold the whole picture.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    format: PixelFormat,
    width: u32,
    height: u32,
    planes: [Plane<'a>; 3],
    /// Matrix of YUV formats; ignored for the others.
    pub matrix: ColorMatrix,
    /// Range of YUV and grey formats; RGB is always full range.
    pub range: ColorRange,
    /// Pixel aspect ratio (width of a pixel divided by its height); 1 for square pixels.
    pub pixel_aspect: f32,
}

const NO_PLANE: Plane<'static> = Plane { data: &[], stride: 0 };

impl<'a> FrameView<'a> {
    /// Checks that `planes` hold a picture of `width` × `height` pixels (odd sizes are fine:
    /// subsampled planes round up). Starts with BT.601, limited range and square pixels.
    ///
    /// # Errors
    /// [`FrameError`] if the picture is empty, or a plane is missing or too short.
    pub fn new(
        format: PixelFormat,
        width: u32,
        height: u32,
        planes: &[Plane<'a>],
    ) -> Result<Self, FrameError> {
        if width == 0 || height == 0 {
            return Err(FrameError::Empty { width, height });
        }
        let layout = format.planes();
        if planes.len() != layout.len() {
            return Err(FrameError::PlaneCount { format, wanted: layout.len(), got: planes.len() });
        }
        let mut own = [NO_PLANE; 3];
        for (i, (plane, &(bytes, sx, sy))) in planes.iter().zip(layout).enumerate() {
            let row = width.div_ceil(sx) as usize * bytes;
            let rows = height.div_ceil(sy) as usize;
            let wanted = plane
                .stride
                .checked_mul(rows - 1)
                .and_then(|n| n.checked_add(row))
                .filter(|_| rows == 1 || plane.stride >= row)
                .unwrap_or(usize::MAX);
            if plane.data.len() < wanted {
                let got = plane.data.len();
                return Err(FrameError::PlaneSize { format, plane: i, wanted, got });
            }
            own[i] = *plane;
        }
        Ok(Self {
            format,
            width,
            height,
            planes: own,
            matrix: ColorMatrix::default(),
            range: ColorRange::default(),
            pixel_aspect: 1.0,
        })
    }

    /// A tightly packed frame of an interleaved format (`data` has no row padding).
    ///
    /// # Errors
    /// As [`FrameView::new`].
    pub fn packed(
        format: PixelFormat,
        width: u32,
        height: u32,
        data: &'a [u8],
    ) -> Result<Self, FrameError> {
        let stride = width as usize * format.planes()[0].0;
        Self::new(format, width, height, &[Plane { data, stride }])
    }

    pub fn format(&self) -> PixelFormat {
        self.format
    }

    pub fn width(&self) -> u32 {
        self.width
    }

    pub fn height(&self) -> u32 {
        self.height
    }

    pub fn planes(&self) -> &[Plane<'a>] {
        &self.planes[..self.format.planes().len()]
    }

    /// Width and height in square pixels: non-square ones are stretched horizontally.
    pub fn square_size(&self) -> (f32, f32) {
        (self.width as f32 * self.pixel_aspect, self.height as f32)
    }

    /// A point of the stored picture in square pixels.
    pub fn to_square(&self, p: Point) -> Point {
        Point::new(p.x * self.pixel_aspect, p.y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_round_subsampled_planes_up() {
        let y = vec![0; 5 * 3];
        let uv = vec![0; 6 * 2];
        let planes = [Plane { data: &y, stride: 5 }, Plane { data: &uv, stride: 6 }];
        assert!(FrameView::new(PixelFormat::Nv12, 5, 3, &planes).is_ok());
        let short = [planes[0], Plane { data: &uv[..11], stride: 6 }];
        assert_eq!(
            FrameView::new(PixelFormat::Nv12, 5, 3, &short).unwrap_err(),
            FrameError::PlaneSize { format: PixelFormat::Nv12, plane: 1, wanted: 12, got: 11 }
        );
    }

    #[test]
    fn empty_frames_overlapping_rows_and_huge_strides_are_refused() {
        let d = [0u8; 64];
        let plane = |stride| [Plane { data: &d[..], stride }];
        assert!(FrameView::new(PixelFormat::Rgb, 0, 4, &plane(0)).is_err());
        assert!(FrameView::new(PixelFormat::Gray8, 8, 2, &plane(4)).is_err());
        assert!(FrameView::new(PixelFormat::Gray8, 8, 3, &plane(usize::MAX)).is_err());
        assert!(FrameView::new(PixelFormat::Nv12, 4, 4, &plane(4)).is_err());
    }
}
