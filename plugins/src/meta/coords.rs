//! From the fractions of the meta to the pixels of the picture a reader has in hand, and back.

use face_core::geometry::{BBox, Landmarks, Point};

use super::FrameFaces;

/// Display aspects that differ by less than this are equal: scalers round sizes to whole pixels.
const ASPECT_TOLERANCE: f64 = 0.01;

/// Maps the fractions of a [`FrameFaces`] to pixels of a reader's picture.
///
/// When the display aspect of the reader's picture is within 1 % of the one the fractions were
/// taken from, they hold as they are. Otherwise the picture is taken for one that `videoscale
/// add-borders=true` (its default) centred between borders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mapping {
    offset: (f32, f32),
    scale: (f32, f32),
    size: (u32, u32),
    bordered: bool,
}

impl Mapping {
    /// The mapping of `faces` to the picture that `info` describes.
    pub fn new(faces: &FrameFaces, info: &gst_video::VideoInfo) -> Mapping {
        let par = (info.par().numer(), info.par().denom());
        Self::between((faces.width, faces.height, faces.par), (info.width(), info.height(), par))
    }

    /// The mapping to the very picture of `width` × `height` pixels that the fractions are of.
    pub fn whole(width: u32, height: u32) -> Mapping {
        Mapping {
            offset: (0.0, 0.0),
            scale: (width as f32, height as f32),
            size: (width, height),
            bordered: false,
        }
    }

    fn between(from: (u32, u32, (i32, i32)), to: (u32, u32, (i32, i32))) -> Mapping {
        let (width, height, par) = to;
        let whole = Self::whole(width, height);
        let (Some(have), Some(want)) = (display_aspect(from), display_aspect(to)) else {
            return whole;
        };
        if (have / want - 1.0).abs() <= ASPECT_TOLERANCE {
            return whole;
        }
        // As videoscale computes it: whole pixels, the first border rounded down.
        let stored = have * f64::from(par.1) / f64::from(par.0);
        let fit_height = (f64::from(width) / stored).floor().max(1.0);
        let (w, h) = if fit_height <= f64::from(height) {
            (f64::from(width), fit_height)
        } else {
            ((f64::from(height) * stored).floor().max(1.0), f64::from(height))
        };
        let x = ((f64::from(width) - w) / 2.0).floor();
        let y = ((f64::from(height) - h) / 2.0).floor();
        Mapping {
            offset: (x as f32, y as f32),
            scale: (w as f32, h as f32),
            size: (width, height),
            bordered: true,
        }
    }

    /// True if the reader's picture has another aspect, so that borders were assumed. The caller
    /// logs that once.
    pub fn bordered(&self) -> bool {
        self.bordered
    }

    /// Size of the reader's picture in stored pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    pub fn box_to_pixels(&self, b: &BBox) -> BBox {
        let p = self.point_to_pixels(Point::new(b.x, b.y));
        BBox::new(p.x, p.y, b.w * self.scale.0, b.h * self.scale.1)
    }

    pub fn point_to_pixels(&self, p: Point) -> Point {
        Point::new(p.x * self.scale.0 + self.offset.0, p.y * self.scale.1 + self.offset.1)
    }

    pub fn landmarks_to_pixels(&self, l: &Landmarks) -> Landmarks {
        Landmarks(l.0.map(|p| self.point_to_pixels(p)))
    }

    /// The inverse of [`Mapping::box_to_pixels`]; not finite for an empty picture.
    pub fn box_to_fractions(&self, b: &BBox) -> BBox {
        let p = self.point_to_fractions(Point::new(b.x, b.y));
        BBox::new(p.x, p.y, b.w / self.scale.0, b.h / self.scale.1)
    }

    pub fn point_to_fractions(&self, p: Point) -> Point {
        Point::new((p.x - self.offset.0) / self.scale.0, (p.y - self.offset.1) / self.scale.1)
    }

    pub fn landmarks_to_fractions(&self, l: &Landmarks) -> Landmarks {
        Landmarks(l.0.map(|p| self.point_to_fractions(p)))
    }
}

/// Width divided by height as shown, or `None` for an empty picture or an impossible pixel aspect.
fn display_aspect((width, height, par): (u32, u32, (i32, i32))) -> Option<f64> {
    let possible = width > 0 && height > 0 && par.0 > 0 && par.1 > 0;
    possible.then(|| f64::from(width) * f64::from(par.0) / (f64::from(height) * f64::from(par.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACE: BBox = BBox::new(0.25, 0.5, 0.1, 0.2);

    #[test]
    fn equal_aspect_scales_fractions_and_pixel_aspect_counts() {
        let plain = Mapping::between((1920, 1080, (1, 1)), (640, 360, (1, 1)));
        assert!(!plain.bordered());
        assert_eq!(plain.box_to_pixels(&FACE), BBox::new(160.0, 180.0, 64.0, 72.0));
        // PAL 720x576 shown at 16:9 and its square-pixel twin.
        let pal = Mapping::between((720, 576, (64, 45)), (1024, 576, (1, 1)));
        assert!(!pal.bordered());
        // 854x480 is 16:9 within 1 %.
        assert!(!Mapping::between((1920, 1080, (1, 1)), (854, 480, (1, 1))).bordered());
    }

    #[test]
    fn other_aspect_is_letterboxed_or_pillarboxed_and_inverts() {
        let letter = Mapping::between((1920, 1080, (1, 1)), (640, 480, (1, 1)));
        assert!(letter.bordered());
        assert_eq!(letter.box_to_pixels(&FACE), BBox::new(160.0, 240.0, 64.0, 72.0));
        let pillar = Mapping::between((640, 480, (1, 1)), (1280, 720, (1, 1)));
        assert_eq!(pillar.box_to_pixels(&FACE), BBox::new(400.0, 360.0, 96.0, 144.0));
        for m in [letter, pillar] {
            let back = m.box_to_fractions(&m.box_to_pixels(&FACE));
            assert!((back.x - FACE.x).abs() < 1e-6 && (back.h - FACE.h).abs() < 1e-6, "{back:?}");
        }
    }

    #[test]
    fn pictures_without_size_or_aspect_do_not_divide_by_zero() {
        let m = Mapping::between((0, 1080, (1, 1)), (640, 480, (1, 1)));
        assert_eq!(m, Mapping::whole(640, 480));
        let m = Mapping::between((u32::MAX, 1, (1, 1)), (1, u32::MAX, (1, 1)));
        assert!(m.box_to_pixels(&FACE).is_valid());
        assert_eq!(display_aspect((4, 3, (0, 1))), None);
    }
}
