//! What things look like: the colour of each status, and sizes that follow the picture.

use face_core::identity::Status;

/// An opaque sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Color {
    pub(super) r: u8,
    pub(super) g: u8,
    pub(super) b: u8,
}

impl Color {
    const fn new(r: u8, g: u8, b: u8) -> Self {
        Self { r, g, b }
    }

    /// Black or white, whichever is easier to read on this colour (weights of BT.601 luma).
    pub(super) fn readable_text(self) -> Color {
        let luma = 299 * u32::from(self.r) + 587 * u32::from(self.g) + 114 * u32::from(self.b);
        if luma > 128_000 { Color::new(0, 0, 0) } else { Color::new(255, 255, 255) }
    }
}

/// The palette of Okabe and Ito (Color Universal Design, 2008), which stays distinct for people
/// with any of the common colour-vision deficiencies. The element's documentation lists it.
pub(super) const fn status_color(status: Status) -> Color {
    match status {
        Status::Known => Color::new(0x00, 0x9E, 0x73),
        Status::Unknown => Color::new(0xD5, 0x5E, 0x00),
        Status::Uncertain => Color::new(0xE6, 0x9F, 0x00),
        Status::Identifying => Color::new(0x56, 0xB4, 0xE9),
        Status::Confirming => Color::new(0x00, 0x72, 0xB2),
        Status::Filtered => Color::new(0x99, 0x99, 0x99),
        Status::Error => Color::new(0xCC, 0x79, 0xA7),
        Status::Untracked => Color::new(0xF0, 0xE4, 0x42),
    }
}

/// The picture that is drawn on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Picture {
    /// Stored pixels.
    pub(super) width: u32,
    pub(super) height: u32,
    /// Width of a pixel divided by its height.
    pub(super) par: f64,
    /// Positions and sizes are multiples of this many pixels. 2 where chroma is subsampled, so
    /// that a line gets its full colour and no half of it leaks into the next pixel.
    pub(super) grid: u32,
}

/// Sizes for one picture. "Rows" are lengths in picture rows, the square pixel of the display.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizes {
    /// Thickness of horizontal lines, in rows.
    pub(super) line_rows: u32,
    /// Thickness of vertical lines, in columns: the same on the display.
    pub(super) line_columns: u32,
    /// Diameter of a landmark, in rows.
    pub(super) dot_rows: f64,
    /// Height of the type, in rows.
    pub(super) font_rows: f64,
}

impl Picture {
    /// Columns per row length, kept within what still can be drawn.
    pub(super) fn columns_per_row(&self) -> f64 {
        (1.0 / self.par).clamp(1.0 / 16.0, 16.0)
    }

    /// The shorter side on the display, in rows: a portrait picture gets no oversized type.
    fn short_side_rows(&self) -> f64 {
        (f64::from(self.width) / self.columns_per_row()).min(f64::from(self.height))
    }

    /// `length` rounded to the grid, at least one grid step.
    pub(super) fn on_grid(&self, length: f64) -> u32 {
        let grid = f64::from(self.grid);
        ((length / grid).round().max(1.0) * grid) as u32
    }

    /// Sizes for this picture; `line_width` in rows, 0 = follow the picture.
    pub(super) fn sizes(&self, line_width: u32) -> Sizes {
        let side = self.short_side_rows();
        let line =
            if line_width == 0 { (side / 300.0).round().max(1.0) } else { f64::from(line_width) };
        Sizes {
            line_rows: self.on_grid(line),
            line_columns: self.on_grid(line * self.columns_per_row()),
            dot_rows: (side / 180.0).round().max(3.0),
            // 1080p: 30 rows, 480p: 13. Below 11 rows type is not readable.
            font_rows: (side / 36.0).max(11.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_colour() {
        for a in Status::ALL {
            for b in Status::ALL {
                assert_eq!(a == b, status_color(a) == status_color(b), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn sizes_follow_the_shorter_side_of_the_display() {
        let hd = Picture { width: 1920, height: 1080, par: 1.0, grid: 2 };
        let upright = Picture { width: 1080, height: 1920, par: 1.0, grid: 2 };
        assert_eq!(hd.sizes(0), upright.sizes(0));
        assert_eq!(hd.sizes(0).line_rows, 4);
        assert_eq!(hd.sizes(0).font_rows, 30.0);
        assert_eq!(hd.sizes(6).line_rows, 6);
    }

    #[test]
    fn vertical_lines_have_fewer_columns_where_pixels_are_wide() {
        let wide = Picture { width: 720, height: 576, par: 2.0, grid: 1 };
        let sizes = wide.sizes(4);
        assert_eq!((sizes.line_rows, sizes.line_columns), (4, 2));
        let absurd = Picture { width: 720, height: 576, par: 1e-9, grid: 1 };
        assert_eq!(absurd.sizes(1).line_columns, 16);
    }
}
