//! A contact sheet of an analysis, to choose tracks by eye: a tile for each with its best shot.

use std::collections::{HashMap, HashSet};

use cairo::{Format, ImageSurface};
use face_core::picture::Picture;
use pango::{EllipsizeMode, FontDescription, Layout};

use crate::clock::clock;
use crate::report::counted;
use crate::rows::{self, Shot, initials, span};
use crate::schema::{Analysis, TrackSummary};

/// Tiles that are drawn at most: more would be a picture that few programs open.
const MAX_TILES: usize = 600;
/// Longest side of a picture that is drawn, pixels: best shots are far smaller.
const MAX_PICTURE_SIDE_PX: u32 = 2048;
/// Width of the picture and of the texts below it in pixels.
const SIDE: f64 = 168.0;
const GAP: f64 = 16.0;
const LINE: f64 = 18.0;
/// Title, who, time and number of pictures.
const LINES: usize = 4;
const TILE_WIDTH: f64 = SIDE + GAP;
const TILE_HEIGHT: f64 = SIDE + LINES as f64 * LINE + 2.0 * GAP;
const HEADER: f64 = 56.0;
/// The header needs room even above a single tile.
const MIN_COLUMNS: usize = 3;

type Rgb = u32;
const GROUND: Rgb = 0xff_ff_ff;
const INK: Rgb = 0x1b_1f_24;
const SOFT: Rgb = 0x57_60_6a;
const EMPTY: Rgb = 0xe3_e8_ed;

/// Why there is no contact sheet.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    #[error("draw the contact sheet")]
    Draw(#[from] cairo::Error),
    #[error("encode the contact sheet as PNG")]
    Encode(#[from] cairo::IoError),
}

/// A contact sheet.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// The file.
    pub png: Vec<u8>,
    /// Tracks and groups for which there was no room: those with the fewest pictures.
    pub left_out: usize,
}

/// A track, or a group with the tracks that it is of.
struct Tile<'a> {
    title: String,
    name: Option<String>,
    tracks: Vec<&'a TrackSummary>,
    /// First and last time.
    span: Option<[u64; 2]>,
    frames: u64,
}

impl Sheet {
    /// Draws a tile for each track and each group by time: number, name or "unknown", times, number
    /// of pictures and the best shot, as far as the analysis has it. At most 600 tiles are drawn.
    ///
    /// # Errors
    /// [`SheetError`], most likely for want of memory.
    pub fn draw(analysis: &Analysis) -> Result<Sheet, SheetError> {
        let (tiles, left_out) = chosen(tiles(analysis));
        // About as wide as high.
        let columns = ((tiles.len() as f64 * TILE_HEIGHT / TILE_WIDTH).sqrt().ceil() as usize)
            .clamp(MIN_COLUMNS, tiles.len().max(MIN_COLUMNS));
        let lines = tiles.len().div_ceil(columns);
        let width = columns as f64 * TILE_WIDTH + GAP;
        let height = lines as f64 * TILE_HEIGHT + HEADER + GAP;
        let surface = ImageSurface::create(Format::Rgb24, width as i32, height as i32)?;
        let canvas = Canvas::new(&surface)?;
        canvas.rectangle([0.0, 0.0, width, height], GROUND)?;
        canvas.header(analysis, tiles.len(), left_out, width - 2.0 * GAP);
        for (i, tile) in tiles.iter().enumerate() {
            let x = GAP + (i % columns) as f64 * TILE_WIDTH;
            let y = HEADER + (i / columns) as f64 * TILE_HEIGHT;
            canvas.tile(tile, x, y)?;
        }
        // A failed stroke leaves its error there.
        canvas.context.status()?;
        let mut png = Vec::new();
        surface.write_to_png(&mut png)?;
        Ok(Sheet { png, left_out })
    }
}

impl Sheet {
    /// What is missing, in words.
    pub fn warning(&self) -> Option<String> {
        (self.left_out > 0).then(|| {
            format!(
                "{} with the fewest pictures are not on the contact sheet, which has room for \
                 {MAX_TILES}",
                counted(self.left_out, "track or group", "tracks and groups")
            )
        })
    }
}

/// A tile for each group, and for each track that is in none.
fn tiles(analysis: &Analysis) -> Vec<Tile<'_>> {
    let by_id: HashMap<u64, &TrackSummary> =
        analysis.tracks.iter().map(|track| (track.track_id, track)).collect();
    let groups = analysis.groups.iter().map(|group| {
        let tracks: Vec<&TrackSummary> =
            group.tracks.iter().filter_map(|id| by_id.get(id).copied()).collect();
        let ids: Vec<String> = group.tracks.iter().map(u64::to_string).collect();
        let word = if ids.len() == 1 { "track" } else { "tracks" };
        let spans = tracks.iter().filter_map(|track| span(track));
        Tile {
            title: format!("group {}: {word} {}", group.group, ids.join(", ")),
            name: None,
            span: spans.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]),
            tracks,
            frames: group.frames,
        }
    });
    let grouped: HashSet<u64> =
        analysis.groups.iter().flat_map(|group| &group.tracks).copied().collect();
    let single = analysis.tracks.iter().filter(|track| !grouped.contains(&track.track_id));
    let tracks = single.map(|track| Tile {
        title: format!("track {}", track.track_id),
        name: track.name.as_deref().map(rows::name),
        tracks: vec![track],
        span: span(track),
        frames: track.frames,
    });
    groups.chain(tracks).collect()
}

/// Those that are drawn, by time, and the number of the others.
fn chosen(mut tiles: Vec<Tile<'_>>) -> (Vec<Tile<'_>>, usize) {
    let left_out = tiles.len().saturating_sub(MAX_TILES);
    if left_out > 0 {
        tiles.sort_by_key(|tile| std::cmp::Reverse(tile.frames));
        tiles.truncate(MAX_TILES);
    }
    tiles.sort_by_key(|tile| (tile.span.is_none(), tile.span));
    (tiles, left_out)
}

struct Canvas {
    context: cairo::Context,
    pango: pango::Context,
}

impl Canvas {
    fn new(surface: &ImageSurface) -> Result<Self, cairo::Error> {
        let context = cairo::Context::new(surface)?;
        let pango = pangocairo::functions::create_context(&context);
        Ok(Self { context, pango })
    }

    fn ink(&self, colour: Rgb) {
        let [_, r, g, b] = colour.to_be_bytes().map(|v| f64::from(v) / 255.0);
        self.context.set_source_rgb(r, g, b);
    }

    fn rectangle(&self, [x, y, width, height]: [f64; 4], colour: Rgb) -> Result<(), cairo::Error> {
        self.ink(colour);
        self.context.rectangle(x, y, width, height);
        self.context.fill()
    }

    fn header(&self, analysis: &Analysis, tiles: usize, left_out: usize, width: f64) {
        let source = face_core::text::one_line(&analysis.source, 1000);
        self.text(&source, (GAP, 8.0), width, "Noto Sans Bold 16px", INK);
        let mut text = if tiles == 0 {
            "no faces".to_owned()
        } else {
            format!("{}, by time", counted(tiles, "track or group", "tracks and groups"))
        };
        if left_out > 0 {
            text += &format!("; {left_out} with fewer pictures are left out");
        }
        self.text(&text, (GAP, 30.0), width, "Noto Sans 13px", SOFT);
    }

    fn tile(&self, tile: &Tile<'_>, x: f64, y: f64) -> Result<(), cairo::Error> {
        self.rectangle([x, y, SIDE, SIDE], EMPTY)?;
        let file = Shot::of_any(&tile.tracks).and_then(|shot| shot.decode());
        // A picture that cannot be read is one that is not there.
        let decode =
            |file: Vec<u8>| Picture::decode_within("best shot", &file, MAX_PICTURE_SIDE_PX);
        match file.and_then(|file| decode(file).ok()) {
            Some(picture) => self.picture(&picture, x, y)?,
            None => self.placeholder(tile, x, y),
        }
        let times = tile.span.map(|[from, to]| format!("{}–{}", clock(from), clock(to)));
        let lines = [
            (tile.title.clone(), "Noto Sans Bold 13px", INK),
            (tile.name.clone().unwrap_or_else(|| "unknown".to_owned()), "Noto Sans 13px", INK),
            (times.unwrap_or_else(|| "no times".to_owned()), "Noto Sans 13px", SOFT),
            (counted(tile.frames as usize, "picture", "pictures"), "Noto Sans 13px", SOFT),
        ];
        for (i, (text, font, colour)) in lines.into_iter().enumerate() {
            let top = y + SIDE + 4.0 + i as f64 * LINE;
            self.text(&text, (x, top), SIDE, font, colour);
        }
        Ok(())
    }

    /// The picture, as large as it can be without being cut.
    fn picture(&self, picture: &Picture, x: f64, y: f64) -> Result<(), cairo::Error> {
        let (width, height) = (picture.width(), picture.height());
        let mut pixels = ImageSurface::create(Format::Rgb24, width as i32, height as i32)?;
        let stride = pixels.stride() as usize;
        {
            let mut data = pixels.data().map_err(|_| cairo::Error::SurfaceFinished)?;
            let rows = data.chunks_mut(stride).zip(picture.as_rgb().chunks(3 * width as usize));
            for (row, source) in rows {
                let source = source.as_chunks::<3>().0;
                for (pixel, [r, g, b]) in row.as_chunks_mut::<4>().0.iter_mut().zip(source) {
                    *pixel = u32::from_be_bytes([0, *r, *g, *b]).to_ne_bytes();
                }
            }
        }
        let scale = SIDE / f64::from(width.max(height));
        let inset = |side: u32| (SIDE - f64::from(side) * scale) / 2.0;
        self.context.save()?;
        self.context.translate(x + inset(width), y + inset(height));
        self.context.scale(scale, scale);
        self.context.set_source_surface(&pixels, 0.0, 0.0)?;
        // Enlarged pictures are not to fade into the ground.
        self.context.source().set_extend(cairo::Extend::Pad);
        self.context.rectangle(0.0, 0.0, f64::from(width), f64::from(height));
        self.context.fill()?;
        self.context.restore()
    }

    fn placeholder(&self, tile: &Tile<'_>, x: f64, y: f64) {
        let layout = self.layout(&initials(tile.name.as_deref()), "Noto Sans 56px");
        let (width, height) = layout.pixel_size();
        self.ink(SOFT);
        let middle = |side: i32| (SIDE - f64::from(side)) / 2.0;
        self.context.move_to(x + middle(width), y + middle(height));
        pangocairo::functions::show_layout(&self.context, &layout);
    }

    /// A line of text, shortened where there is no room; (x, y) is its upper left corner.
    fn text(&self, text: &str, (x, y): (f64, f64), width: f64, font: &str, colour: Rgb) {
        let layout = self.layout(text, font);
        layout.set_width((width * f64::from(pango::SCALE)) as i32);
        layout.set_ellipsize(EllipsizeMode::End);
        // Also a name that is written from the right begins below the left edge of its picture.
        layout.set_auto_dir(false);
        self.ink(colour);
        self.context.move_to(x, y);
        pangocairo::functions::show_layout(&self.context, &layout);
    }

    fn layout(&self, text: &str, font: &str) -> Layout {
        let layout = Layout::new(&self.pango);
        layout.set_font_description(Some(&FontDescription::from_string(font)));
        layout.set_single_paragraph_mode(true);
        layout.set_text(text);
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{analysis, group, track};

    fn size(sheet: &Sheet) -> (u32, u32) {
        let picture = Picture::decode("sheet", &sheet.png).unwrap();
        (picture.width(), picture.height())
    }

    #[test]
    fn grouped_tracks_have_one_tile() {
        let mut analysis =
            analysis((1..=5).map(|i| track(i, (i == 4).then_some("Ada"), i, i + 1)).collect());
        analysis.groups = vec![group(1, &[2, 5], &[[2, 6]]), group(2, &[3], &[[3, 4]])];
        let tiles = tiles(&analysis);
        let titles: Vec<&str> = tiles.iter().map(|tile| tile.title.as_str()).collect();
        assert_eq!(titles, ["group 1: tracks 2, 5", "group 2: track 3", "track 1", "track 4"]);
        assert_eq!(tiles[0].span, Some([2_000_000_000, 6_000_000_000]));
        assert_eq!(tiles[3].name.as_deref(), Some("Ada"));
    }

    #[test]
    fn sheet_is_a_picture_whatever_is_in_the_analysis() {
        let nobody = Sheet::draw(&analysis(Vec::new())).unwrap();
        assert_eq!(size(&nobody), (568, 72));
        let mut odd = analysis(vec![track(1, Some("\u{0}\u{202e}"), 3, 1), track(2, None, 0, 1)]);
        odd.source = "x".repeat(100_000);
        odd.tracks[0].name = Some("name ".repeat(10_000));
        odd.tracks[0].best_shot = Some("/9j/AAAAAAA=".to_owned());
        odd.tracks[1].first_pts_ns = None;
        let sheet = Sheet::draw(&odd).unwrap();
        assert_eq!((size(&sheet), sheet.left_out), ((568, 344), 0));
    }

    #[test]
    fn pictures_are_drawn_in_their_colours() {
        use base64::Engine;
        let mut red = analysis(vec![track(1, None, 0, 1)]);
        let crop = [200u8, 30, 60].repeat(112 * 112);
        let png = face_core::align::AlignedCrop::from_rgb(crop).unwrap().to_png().unwrap();
        red.tracks[0].best_shot = Some(base64::engine::general_purpose::STANDARD.encode(png));
        let sheet = Picture::decode("sheet", &Sheet::draw(&red).unwrap().png).unwrap();
        let at = |x: u32, y: u32| {
            let start = 3 * (y * sheet.width() + x) as usize;
            sheet.as_rgb()[start..start + 3].to_vec()
        };
        let (left, top) = (GAP as u32, HEADER as u32);
        assert_eq!(at(left + 2, top + 2), [200, 30, 60]);
        assert_eq!(at(left + SIDE as u32 - 2, top + SIDE as u32 - 2), [200, 30, 60]);
        assert_eq!(at(left - 2, top + 2), [255, 255, 255]);
    }

    #[test]
    fn tracks_with_the_fewest_pictures_are_left_out() {
        let mut many = analysis((1..=610).map(|i| track(i, None, 700 - i, 701 - i)).collect());
        many.tracks[4].frames = 1;
        many.tracks[600].frames = 9000;
        many.tracks[609].first_pts_ns = None;
        many.tracks[609].frames = 9000;
        let (tiles, left_out) = chosen(tiles(&many));
        assert_eq!((tiles.len(), left_out), (600, 10));
        let has = |title: &str| tiles.iter().any(|tile| tile.title == title);
        assert!(!has("track 5") && has("track 601"));
        // By time, those without one last.
        assert!(tiles[..599].iter().map(|tile| tile.span).is_sorted());
        assert_eq!(tiles[599].title, "track 610");
    }
}
