//! Small pictures with alpha, and where to put them.

use std::sync::Arc;

use super::style::Color;

/// Premultiplied ARGB, 8 bits each, in the byte order of the machine: what cairo draws and what
/// overlay compositions take. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Image(Arc<Pixels>);

#[derive(Debug)]
struct Pixels {
    width: u32,
    height: u32,
    /// Rows without padding.
    data: Vec<u8>,
}

impl Image {
    /// An image whose pixel at (x, y) is `pixel(x, y)`: premultiplied [alpha, red, green, blue].
    pub(super) fn from_fn(
        width: u32,
        height: u32,
        mut pixel: impl FnMut(u32, u32) -> [u8; 4],
    ) -> Image {
        let mut data = Vec::with_capacity(width as usize * height as usize * 4);
        for y in 0..height {
            for x in 0..width {
                data.extend_from_slice(&u32::from_be_bytes(pixel(x, y)).to_ne_bytes());
            }
        }
        Image(Arc::new(Pixels { width, height, data }))
    }

    /// The first `width` × `height` pixels of a surface with rows of `stride` bytes, or `None` if
    /// it holds fewer.
    pub(super) fn from_rows(width: u32, height: u32, stride: usize, rows: &[u8]) -> Option<Image> {
        let row_bytes = width as usize * 4;
        let mut data = Vec::with_capacity(row_bytes * height as usize);
        for y in 0..height as usize {
            data.extend_from_slice(rows.get(y * stride..)?.get(..row_bytes)?);
        }
        Some(Image(Arc::new(Pixels { width, height, data })))
    }

    /// A disc of `width` × `height` pixels with smooth edges.
    pub(super) fn disc(width: u32, height: u32, color: Color) -> Image {
        let (rx, ry) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
        Image::from_fn(width, height, |x, y| {
            let dx = (f64::from(x) + 0.5 - rx) / rx;
            let dy = (f64::from(y) + 0.5 - ry) / ry;
            let inside = (1.0 - dx.hypot(dy)) * rx.min(ry) + 0.5;
            shaded(color, inside.clamp(0.0, 1.0))
        })
    }

    pub(super) fn width(&self) -> u32 {
        self.0.width
    }

    pub(super) fn height(&self) -> u32 {
        self.0.height
    }

    /// Bytes of memory that the pixels take.
    pub(super) fn bytes(&self) -> usize {
        self.0.data.len()
    }

    /// Premultiplied [alpha, red, green, blue] at (x, y); transparent outside.
    pub(super) fn pixel(&self, x: u32, y: u32) -> [u8; 4] {
        if x >= self.0.width || y >= self.0.height {
            return [0; 4];
        }
        let at = (y as usize * self.0.width as usize + x as usize) * 4;
        match self.0.data.get(at..at + 4) {
            Some(&[a, b, c, d]) => u32::from_ne_bytes([a, b, c, d]).to_be_bytes(),
            _ => [0; 4],
        }
    }
}

impl AsRef<[u8]> for Image {
    fn as_ref(&self) -> &[u8] {
        &self.0.data
    }
}

/// `color` with the opacity `alpha` (0..=1) as a premultiplied pixel.
pub(super) fn shaded(color: Color, alpha: f64) -> [u8; 4] {
    let part = |v: u8| (f64::from(v) * alpha).round() as u8;
    [part(255), part(color.r), part(color.g), part(color.b)]
}

/// An image at its place: the column and row of its top left pixel. It may reach out of the
/// picture.
#[derive(Clone, Debug)]
pub(super) struct Sprite {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) image: Image,
}

impl Sprite {
    /// True if a pixel of it is inside a picture of that size.
    pub(super) fn touches(&self, width: u32, height: u32) -> bool {
        let reaches = |at: i32, length: u32, limit: u32| {
            i64::from(at) < i64::from(limit) && i64::from(at) + i64::from(length) > 0
        };
        reaches(self.x, self.image.width(), width) && reaches(self.y, self.image.height(), height)
    }
}
