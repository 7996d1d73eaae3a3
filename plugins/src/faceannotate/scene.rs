//! What is drawn for the faces of one frame: lines, dots and labels as small images, so that the
//! cost is the length of the outlines and not the area of the picture.

use face_core::geometry::{BBox, Landmarks};

use super::image::{Image, Sprite, shaded};
use super::label::{LabelCache, LabelError, LabelStyle};
use super::style::{Color, Picture, Sizes, status_color};
use super::text::{LabelParts, LabelText};
use crate::meta::{Face, FrameFaces, Mapping};

/// Pixels beyond which a coordinate is cut off: far outside of every picture, and far from where
/// sums overflow.
const FAR: f32 = 1e6;

/// What to draw, from the element's properties.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DrawOptions {
    pub(super) boxes: bool,
    pub(super) landmarks: bool,
    pub(super) predicted: bool,
    pub(super) label: LabelParts,
    /// Rows; 0 = follow the picture.
    pub(super) line_width: u32,
    pub(super) font: String,
}

/// Everything that depends on the caps and the properties but not on the frame.
#[derive(Debug)]
pub(super) struct Drawing {
    options: DrawOptions,
    picture: Picture,
    sizes: Sizes,
    style: LabelStyle,
    labels: LabelCache,
    /// Disc and colour of the landmarks, per status.
    dots: Vec<(Color, Image)>,
}

/// An axis-parallel rectangle in whole pixels: first and last + 1 column and row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rect {
    x0: i32,
    y0: i32,
    x1: i32,
    y1: i32,
}

impl Drawing {
    pub(super) fn new(picture: Picture, options: DrawOptions) -> Drawing {
        let sizes = picture.sizes(options.line_width);
        let style = LabelStyle { picture, font: options.font.clone(), font_rows: sizes.font_rows };
        Drawing { options, picture, sizes, style, labels: LabelCache::default(), dots: Vec::new() }
    }

    /// True if it was made for these options.
    pub(super) fn is_for(&self, options: &DrawOptions) -> bool {
        self.options == *options
    }

    /// The sprites for a frame, in the order in which to draw them: labels lie over all boxes.
    /// A label that cannot be painted is left out; the error of the last one is returned too.
    pub(super) fn sprites(
        &mut self,
        faces: &FrameFaces,
        mapping: &Mapping,
    ) -> (Vec<Sprite>, Option<LabelError>) {
        let mut sprites = Vec::new();
        let mut labels = Vec::new();
        let mut failed = None;
        let predicted = self.options.predicted;
        for face in faces.faces.iter().filter(|f| f.observed || predicted) {
            let Some(rect) = self.rect(&mapping.box_to_pixels(&face.bbox)) else { continue };
            let color = status_color(face.status);
            if self.options.boxes {
                self.outline(rect, color, !face.observed, &mut sprites);
            }
            if let Some(points) = &face.landmarks
                && self.options.landmarks
            {
                self.points(&mapping.landmarks_to_pixels(points), color, &mut sprites);
            }
            match self.label(face, rect, color) {
                Ok(label) => labels.extend(label),
                Err(e) => failed = Some(e),
            }
        }
        sprites.append(&mut labels);
        (sprites, failed)
    }

    /// The box in whole pixels on the grid, or `None` if it is degenerate or outside of the
    /// picture.
    fn rect(&self, bbox: &BBox) -> Option<Rect> {
        if !bbox.is_valid() {
            return None;
        }
        let grid = self.picture.grid.max(1) as f32;
        let snap = |v: f32| ((v.clamp(-FAR, FAR) / grid).round() * grid) as i32;
        let step = self.picture.grid.max(1) as i32;
        let (x0, y0) = (snap(bbox.x), snap(bbox.y));
        let x1 = snap(bbox.x + bbox.w).max(x0 + step);
        let y1 = snap(bbox.y + bbox.h).max(y0 + step);
        let rect = Rect { x0, y0, x1, y1 };
        rect.clipped(self.picture).map(|_| rect)
    }

    /// Four lines inside the box. Those of a predicted box are dashed.
    fn outline(&self, rect: Rect, color: Color, dashed: bool, sprites: &mut Vec<Sprite>) {
        let Rect { x0, y0, x1, y1 } = rect;
        let rows = (self.sizes.line_rows as i32).min(y1 - y0);
        let columns = (self.sizes.line_columns as i32).min(x1 - x0);
        let lines = [
            (Rect { y1: y0 + rows, ..rect }, true),
            (Rect { y0: (y1 - rows).max(y0 + rows), ..rect }, true),
            (Rect { x1: x0 + columns, y0: y0 + rows, y1: y1 - rows, ..rect }, false),
            (
                Rect { x0: (x1 - columns).max(x0 + columns), y0: y0 + rows, y1: y1 - rows, ..rect },
                false,
            ),
        ];
        let solid = shaded(color, 1.0);
        for (line, horizontal) in lines {
            let Some(part) = line.clipped(self.picture) else { continue };
            // Counted from the corner of the box, also where the picture cuts it off.
            let (start, unit) =
                if horizontal { (part.x0 - x0, columns) } else { (part.y0 - y0, rows) };
            let image = Image::from_fn(part.width(), part.height(), |x, y| {
                let along = start + if horizontal { x } else { y } as i32;
                if dashed && along % (unit * 5) >= unit * 3 { [0; 4] } else { solid }
            });
            sprites.push(Sprite { x: part.x0, y: part.y0, image });
        }
    }

    fn points(&mut self, landmarks: &Landmarks, color: Color, sprites: &mut Vec<Sprite>) {
        if !landmarks.is_finite() {
            return;
        }
        let dot = self.dot(color);
        let corner = |at: f32, length: u32| {
            let grid = self.picture.grid.max(1) as f32;
            // 0 is the middle of the first pixel, half a pixel from its corner.
            let corner = at.clamp(-FAR, FAR) + 0.5 - length as f32 / 2.0;
            ((corner / grid).round() * grid) as i32
        };
        for point in landmarks.0 {
            let sprite = Sprite {
                x: corner(point.x, dot.width()),
                y: corner(point.y, dot.height()),
                image: dot.clone(),
            };
            if sprite.touches(self.picture.width, self.picture.height) {
                sprites.push(sprite);
            }
        }
    }

    fn dot(&mut self, color: Color) -> Image {
        if let Some((_, dot)) = self.dots.iter().find(|(c, _)| *c == color) {
            return dot.clone();
        }
        let rows = self.sizes.dot_rows;
        let columns = rows * self.picture.columns_per_row();
        let dot = Image::disc(self.picture.on_grid(columns), self.picture.on_grid(rows), color);
        self.dots.push((color, dot.clone()));
        dot
    }

    /// The label above the box; below it where there is no room, else at the upper edge. Always
    /// inside the picture.
    fn label(
        &mut self,
        face: &Face,
        rect: Rect,
        color: Color,
    ) -> Result<Option<Sprite>, LabelError> {
        let Some(text) = LabelText::of(face, self.options.label) else { return Ok(None) };
        let image = self.labels.get(&self.style, text, color)?;
        let (width, height) = (self.picture.width as i32, self.picture.height as i32);
        let (label_width, label_height) = (image.width() as i32, image.height() as i32);
        let x = rect.x0.min(width - label_width).max(0);
        let y = if rect.y0 >= label_height {
            (rect.y0 - label_height).min(height - label_height)
        } else if rect.y1 + label_height <= height {
            rect.y1.max(0)
        } else {
            rect.y0.clamp(0, (height - label_height).max(0))
        };
        Ok(Some(Sprite { x, y, image }))
    }
}

impl Rect {
    /// The part inside the picture, or `None`.
    fn clipped(self, picture: Picture) -> Option<Rect> {
        let rect = Rect {
            x0: self.x0.max(0),
            y0: self.y0.max(0),
            x1: self.x1.min(i32::try_from(picture.width).unwrap_or(i32::MAX)),
            y1: self.y1.min(i32::try_from(picture.height).unwrap_or(i32::MAX)),
        };
        (rect.x0 < rect.x1 && rect.y0 < rect.y1).then_some(rect)
    }

    fn width(self) -> u32 {
        (self.x1 - self.x0).unsigned_abs()
    }

    fn height(self) -> u32 {
        (self.y1 - self.y0).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use face_core::geometry::Point;
    use face_core::identity::Status;

    use super::super::text::SimilarityFormat;
    use super::*;

    const PICTURE: Picture = Picture { width: 320, height: 240, par: 1.0, grid: 1 };

    fn options() -> DrawOptions {
        DrawOptions {
            boxes: true,
            landmarks: true,
            predicted: true,
            label: LabelParts {
                name: true,
                similarity: Some(SimilarityFormat::Decimal),
                track_id: false,
            },
            line_width: 2,
            font: super::super::DEFAULT_FONT.to_owned(),
        }
    }

    fn face(bbox: BBox) -> Face {
        Face {
            bbox: bbox.scaled(1.0 / 320.0, 1.0 / 240.0),
            observed: true,
            status: Status::Known,
            name: Some("Ada".into()),
            ..Face::default()
        }
    }

    fn sprites(options: DrawOptions, faces: Vec<Face>) -> Vec<Sprite> {
        let faces = FrameFaces {
            width: 320,
            height: 240,
            par: (1, 1),
            looked: true,
            faces,
            ..FrameFaces::default()
        };
        let (sprites, failed) =
            Drawing::new(PICTURE, options).sprites(&faces, &Mapping::whole(320, 240));
        assert!(failed.is_none(), "{failed:?}");
        sprites
    }

    fn area(sprite: &Sprite) -> (i32, i32, u32, u32) {
        (sprite.x, sprite.y, sprite.image.width(), sprite.image.height())
    }

    #[test]
    fn box_has_four_lines_inside_and_a_label_above() {
        let all = sprites(options(), vec![face(BBox::new(100.0, 80.0, 60.0, 50.0))]);
        let areas: Vec<_> = all.iter().map(area).collect();
        let lines = [(100, 80, 60, 2), (100, 128, 60, 2), (100, 82, 2, 46), (158, 82, 2, 46)];
        assert_eq!(areas[..4], lines);
        let (x, y, _, height) = areas[4];
        assert_eq!((x, y + height as i32), (100, 80));
        assert_eq!(areas.len(), 5);
    }

    #[test]
    fn predicted_box_is_dashed_or_left_out() {
        let mut predicted = face(BBox::new(100.0, 80.0, 60.0, 50.0));
        predicted.observed = false;
        let all = sprites(options(), vec![predicted.clone()]);
        let row: Vec<bool> = (0..60).map(|x| all[0].image.pixel(x, 0)[0] != 0).collect();
        assert_eq!(row[..10], [true, true, true, true, true, true, false, false, false, false]);
        assert_eq!(row[..10], row[10..20]);
        let without = DrawOptions { predicted: false, ..options() };
        assert!(sprites(without, vec![predicted]).is_empty());
    }

    #[test]
    fn labels_stay_inside_the_picture_and_above_all_boxes() {
        let places = [
            BBox::new(0.0, 0.0, 60.0, 50.0),
            BBox::new(300.0, 100.0, 60.0, 50.0),
            BBox::new(-40.0, 230.0, 60.0, 50.0),
            BBox::new(-10.0, -10.0, 400.0, 300.0),
            BBox::new(-1e30, -1e30, 2e30, 2e30),
        ];
        let all = sprites(options(), places.map(face).to_vec());
        for sprite in &all[all.len() - places.len()..] {
            let (x, y, width, height) = area(sprite);
            assert!(height > 8, "a label");
            assert!(x >= 0 && x + width as i32 <= 320, "{:?}", area(sprite));
            assert!(y >= 0 && y + height as i32 <= 240, "{:?}", area(sprite));
        }
        for sprite in &all {
            assert!(sprite.touches(320, 240) && sprite.image.bytes() <= 320 * 240 * 4);
        }
    }

    #[test]
    fn degenerate_and_outside_boxes_draw_nothing() {
        let bad = [
            BBox::new(10.0, 10.0, 0.0, 20.0),
            BBox::new(10.0, 10.0, 20.0, -5.0),
            BBox::new(f32::NAN, 10.0, 20.0, 20.0),
            BBox::new(10.0, 10.0, f32::INFINITY, 20.0),
            BBox::new(400.0, 10.0, 20.0, 20.0),
            BBox::new(10.0, -90.0, 20.0, 20.0),
        ];
        assert!(sprites(options(), bad.map(face).to_vec()).is_empty());
        // Smaller than a pixel, but inside: one pixel and the label.
        let tiny = sprites(options(), vec![face(BBox::new(50.0, 60.0, 0.1, 0.1))]);
        assert_eq!(area(&tiny[0]), (50, 60, 1, 1));
        assert_eq!(tiny.len(), 2);
    }

    #[test]
    fn landmarks_are_dots_around_their_points() {
        let points = [(110, 90), (140, 90), (125, 105), (-50, 0), (140, 120)];
        let mut with = face(BBox::new(100.0, 80.0, 60.0, 50.0));
        let fraction = |(x, y): (i32, i32)| Point::new(x as f32 / 320.0, y as f32 / 240.0);
        with.landmarks = Some(Landmarks(points.map(fraction)));
        let all = sprites(options(), vec![with.clone()]);
        // Four lines, four of the five points, one label.
        assert_eq!(all.len(), 4 + 4 + 1);
        assert_eq!(area(&all[4]), (109, 89, 3, 3));
        assert_eq!(all[4].image.pixel(1, 1), shaded(status_color(Status::Known), 1.0));
        with.landmarks = Some(Landmarks([Point::new(f32::NAN, 0.0); 5]));
        assert_eq!(sprites(options(), vec![with.clone()]).len(), 5);
        let without = DrawOptions { landmarks: false, boxes: false, ..options() };
        assert_eq!(sprites(without, vec![with]).len(), 1);
    }
}
