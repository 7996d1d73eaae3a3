//! Labels as images: text shaped by Pango, painted by cairo, kept in a small cache.

use std::collections::HashMap;

use pango::prelude::*;

use super::image::Image;
use super::style::{Color, Picture};
use super::text::LabelText;

/// Labels kept, and the memory that they may take together.
const MAX_ENTRIES: usize = 256;
const MAX_BYTES: usize = 16 << 20;

/// Opacity of a label's background.
const BACKGROUND: f64 = 0.85;

/// How labels of one picture size are written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LabelStyle {
    pub(super) picture: Picture,
    /// Pango font description; its size, if it has one, counts rows of the picture.
    pub(super) font: String,
    /// Size in rows for a description without one.
    pub(super) font_rows: f64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LabelError {
    #[error("paint a label of {width}x{height} pixels")]
    Paint {
        width: u32,
        height: u32,
        #[source]
        source: cairo::Error,
    },
    #[error("read the pixels of a label of {width}x{height} pixels")]
    Read { width: u32, height: u32 },
}

impl LabelStyle {
    fn font_description(&self) -> pango::FontDescription {
        let mut font = pango::FontDescription::from_string(&self.font);
        let rows = if font.size() > 0 {
            f64::from(font.size()) / f64::from(pango::SCALE)
        } else {
            self.font_rows
        };
        // Larger type than the picture could not be seen.
        let rows = rows.min(f64::from(self.picture.height));
        font.set_absolute_size(rows * f64::from(pango::SCALE));
        font
    }

    /// Paints one label with the background `color`; it is never larger than the picture.
    pub(super) fn paint(&self, text: &LabelText, color: Color) -> Result<Image, LabelError> {
        let font = self.font_description();
        let rows = f64::from(font.size()) / f64::from(pango::SCALE);
        let columns_per_row = self.picture.columns_per_row();
        let (pad_x, pad_y) = ((rows * 0.3).max(2.0), (rows * 0.1).max(1.0));
        let room = f64::from(self.picture.width) / columns_per_row - 2.0 * pad_x;

        // Pango keeps a font map per thread; a context made from it is cheap.
        let context = pangocairo::FontMap::default().create_context();
        set_options(&context);
        let detail = line(&context, &font, &text.detail);
        let name = line(&context, &font, &text.name);
        let gap = if text.name.is_empty() || text.detail.is_empty() { 0.0 } else { rows * 0.5 };
        let name_room = (room.min(rows * 24.0) - size(&detail).0 - gap).max(rows);
        name.set_width((name_room * f64::from(pango::SCALE)) as i32);
        name.set_ellipsize(pango::EllipsizeMode::End);
        let name_width = if text.name.is_empty() { 0.0 } else { size(&name).0 };

        let baseline = ascent(&name).max(ascent(&detail));
        let below = (size(&name).1 - ascent(&name)).max(size(&detail).1 - ascent(&detail));
        let inner = name_width + gap + size(&detail).0 + 2.0 * pad_x;
        let canvas = Canvas {
            width: self.side((inner * columns_per_row).ceil(), self.picture.width),
            height: self.side((baseline + below + 2.0 * pad_y).ceil(), self.picture.height),
            columns_per_row,
        };
        let pieces = [
            (&name, pad_x - indent(&name), pad_y + baseline - ascent(&name)),
            (&detail, pad_x + name_width + gap, pad_y + baseline - ascent(&detail)),
        ];
        canvas.paint(color, &pieces)
    }

    /// `length` as a side of an image: on the grid, at least 1, at most `limit`.
    fn side(&self, length: f64, limit: u32) -> u32 {
        let grid = self.picture.grid.max(1);
        let length = length.clamp(1.0, f64::from(limit.max(1))) as u32;
        length.next_multiple_of(grid).min(limit.max(1))
    }
}

struct Canvas {
    width: u32,
    height: u32,
    columns_per_row: f64,
}

impl Canvas {
    fn paint(
        &self,
        color: Color,
        pieces: &[(&pango::Layout, f64, f64)],
    ) -> Result<Image, LabelError> {
        let (width, height) = (self.width, self.height);
        let failed = |source| LabelError::Paint { width, height, source };
        let mut surface =
            cairo::ImageSurface::create(cairo::Format::ARgb32, width as i32, height as i32)
                .map_err(failed)?;
        {
            let cr = cairo::Context::new(&surface).map_err(failed)?;
            cr.set_source_rgba(part(color.r), part(color.g), part(color.b), BACKGROUND);
            cr.paint().map_err(failed)?;
            let ink = color.readable_text();
            cr.set_source_rgb(part(ink.r), part(ink.g), part(ink.b));
            // Stored pixels are not square: what is drawn narrow is shown as it should be.
            cr.scale(self.columns_per_row, 1.0);
            for &(layout, x, y) in pieces {
                cr.move_to(x, y);
                pangocairo::functions::show_layout(&cr, layout);
            }
        }
        let stride = surface.stride() as usize;
        let rows = surface.data().map_err(|_| LabelError::Read { width, height })?;
        Image::from_rows(width, height, stride, &rows).ok_or(LabelError::Read { width, height })
    }
}

fn part(v: u8) -> f64 {
    f64::from(v) / 255.0
}

/// Grey antialiasing: coloured fringes are made for one kind of screen and spoil a video.
fn set_options(context: &pango::Context) {
    if let Ok(mut options) = cairo::FontOptions::new() {
        options.set_antialias(cairo::Antialias::Gray);
        options.set_hint_metrics(cairo::HintMetrics::Off);
        pangocairo::functions::context_set_font_options(context, Some(&options));
    }
}

/// One line of plain text: no markup, however the text looks.
fn line(context: &pango::Context, font: &pango::FontDescription, text: &str) -> pango::Layout {
    let layout = pango::Layout::new(context);
    layout.set_font_description(Some(font));
    layout.set_single_paragraph_mode(true);
    layout.set_text(text);
    layout
}

/// Width and height in rows; 0 for no text.
fn size(layout: &pango::Layout) -> (f64, f64) {
    if layout.character_count() == 0 {
        return (0.0, 0.0);
    }
    let (width, height) = layout.size();
    (f64::from(width) / f64::from(pango::SCALE), f64::from(height) / f64::from(pango::SCALE))
}

/// Where the text begins in the room it has, in rows: text from right to left is at the right end.
fn indent(layout: &pango::Layout) -> f64 {
    f64::from(layout.extents().1.x()) / f64::from(pango::SCALE)
}

/// From the top to the baseline in rows; 0 for no text.
fn ascent(layout: &pango::Layout) -> f64 {
    if layout.character_count() == 0 {
        return 0.0;
    }
    f64::from(layout.baseline()) / f64::from(pango::SCALE)
}

/// The labels drawn last. They change far more rarely than the picture does.
#[derive(Debug, Default)]
pub(super) struct LabelCache {
    entries: HashMap<(LabelText, Color), Entry>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    image: Image,
    used: u64,
}

impl LabelCache {
    /// The image of a label, painted if it is not here yet.
    ///
    /// # Errors
    /// [`LabelError`] if it cannot be painted.
    pub(super) fn get(
        &mut self,
        style: &LabelStyle,
        text: LabelText,
        color: Color,
    ) -> Result<Image, LabelError> {
        self.clock += 1;
        let key = (text, color);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.used = self.clock;
            return Ok(entry.image.clone());
        }
        let image = style.paint(&key.0, color)?;
        self.bytes += image.bytes();
        self.entries.insert(key, Entry { image: image.clone(), used: self.clock });
        while self.entries.len() > 1 && (self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES)
        {
            self.drop_oldest();
        }
        Ok(image)
    }

    fn drop_oldest(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, e)| e.used).map(|(key, _)| key.clone());
        if let Some(entry) = oldest.and_then(|key| self.entries.remove(&key)) {
            self.bytes -= entry.image.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use face_core::identity::Status;

    use super::super::style::status_color;
    use super::*;

    fn style(width: u32, height: u32, par: f64, font: &str) -> LabelStyle {
        let picture = Picture { width, height, par, grid: 2 };
        LabelStyle { picture, font: font.to_owned(), font_rows: picture.sizes(0).font_rows }
    }

    fn text(name: &str, detail: &str) -> LabelText {
        LabelText { name: name.to_owned(), detail: detail.to_owned() }
    }

    /// Glyphs that no installed font has, counted where the labels get theirs.
    fn unknown_glyphs(name: &str) -> i32 {
        let style = style(1280, 720, 1.0, super::super::DEFAULT_FONT);
        let context = pangocairo::FontMap::default().create_context();
        line(&context, &style.font_description(), name).unknown_glyphs_count()
    }

    #[test]
    fn every_script_has_its_glyphs() {
        // Without this the test below could not fail.
        assert_eq!(unknown_glyphs("\u{E123}"), 1, "a private-use character has no glyph");
        for name in [
            "Zoë Łukasz Nguyễn",
            "Юлия Їжак",
            "محمد الأمين",
            "अनुष्का शर्मा",
            "王小明 山田太郎 김민준",
            "😀 👩\u{200D}🚀",
        ] {
            assert_eq!(unknown_glyphs(name), 0, "no font has all of {name}");
        }
    }

    /// Pixels that are neither the background nor ink on it.
    fn saturated(image: &Image) -> usize {
        let all = (0..image.height()).flat_map(|y| (0..image.width()).map(move |x| (x, y)));
        all.filter(|&(x, y)| {
            let [_, r, g, b] = image.pixel(x, y).map(i32::from);
            r > 180 && g > 120 && b < 100
        })
        .count()
    }

    #[test]
    fn every_script_is_painted() {
        let style = style(1280, 720, 1.0, super::super::DEFAULT_FONT);
        let color = status_color(Status::Confirming);
        let blank = style.paint(&text(" ", ""), color).expect("painted");
        let background = blank.pixel(blank.width() / 2, blank.height() / 2);
        for name in ["Ada", "Юлия", "محمد", "शर्मा", "王小明", "😀"] {
            let image = style.paint(&text(name, ""), color).expect("painted");
            let ink = (0..image.height())
                .flat_map(|y| (0..image.width()).map(move |x| (x, y)))
                .filter(|&(x, y)| image.pixel(x, y) != background)
                .count();
            assert!(ink > 30, "{name}: {ink} pixels of ink");
            // White on blue has no yellow; an emoji in colour has.
            assert_eq!(saturated(&image) > 10, name == "😀", "{name}");
        }
    }

    #[test]
    fn long_name_is_shortened_and_keeps_its_detail() {
        let style = style(320, 240, 1.0, super::super::DEFAULT_FONT);
        let color = status_color(Status::Known);
        let short = style.paint(&text("Ada", "0.62"), color).expect("painted");
        let long = style.paint(&text(&"Ada ".repeat(24), "0.62"), color).expect("painted");
        assert!(long.width() > short.width() && long.width() <= 320, "{}", long.width());
        assert_eq!(long.height(), short.height());
        // A part that was cut off could make no difference.
        let other = style.paint(&text(&"Ada ".repeat(24), "0.99"), color).expect("painted");
        assert_ne!(long.as_ref(), other.as_ref());
        let longer = style.paint(&text(&"Ada ".repeat(25), "0.62"), color).expect("painted");
        assert_eq!(long.as_ref(), longer.as_ref(), "the name is cut off");
    }

    #[test]
    fn label_fits_into_any_picture() {
        for (width, height) in [(1, 1), (2, 3), (17, 5), (64, 9), (3, 200)] {
            for font in [super::super::DEFAULT_FONT, "Noto Sans 4000", "", "no such font 3"] {
                let style = style(width, height, 1.0, font);
                let color = status_color(Status::Known);
                let image = style.paint(&text("Grace Hopper", "0.71"), color).expect("painted");
                assert!(image.width() <= width && image.height() <= height, "{width}x{height}");
            }
        }
    }

    #[test]
    fn text_is_narrower_where_pixels_are_wide() {
        let color = status_color(Status::Known);
        let name = text("Grace Hopper", "0.71");
        let square = style(1440, 576, 1.0, "Noto Sans 20").paint(&name, color).expect("painted");
        let wide = style(720, 576, 2.0, "Noto Sans 20").paint(&name, color).expect("painted");
        assert_eq!(wide.height(), square.height());
        assert!(wide.width().abs_diff(square.width() / 2) <= 2);
    }

    #[test]
    fn markup_is_text() {
        let style = style(1280, 720, 1.0, super::super::DEFAULT_FONT);
        let color = status_color(Status::Known);
        let marked = style.paint(&text("<b>A</b>", ""), color).expect("painted");
        let plain = style.paint(&text("A", ""), color).expect("painted");
        assert!(marked.width() > 3 * plain.width());
    }

    #[test]
    fn cache_is_bounded_and_keeps_what_is_used() {
        let style = style(320, 240, 1.0, super::super::DEFAULT_FONT);
        let color = status_color(Status::Known);
        let mut cache = LabelCache::default();
        let first = cache.get(&style, text("first", ""), color).expect("painted");
        for i in 0..MAX_ENTRIES + 20 {
            cache.get(&style, text(&i.to_string(), ""), color).expect("painted");
            let again = cache.get(&style, text("first", ""), color).expect("painted");
            assert!(std::ptr::eq(first.as_ref().as_ptr(), again.as_ref().as_ptr()));
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        let held: usize = cache.entries.values().map(|e| e.image.bytes()).sum();
        assert_eq!(cache.bytes, held);
    }
}
