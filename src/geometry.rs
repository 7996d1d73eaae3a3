//! Points, boxes and landmarks. Unless a name says otherwise, coordinates are pixels of the
//! source picture, x to the right, y down, the centre of the first pixel at (0, 0).

use serde::{Deserialize, Serialize};

/// A point in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

impl Point {
    pub const fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    /// Euclidean distance in pixels.
    pub fn distance(self, other: Point) -> f32 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// An axis-parallel box: top left corner and size in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BBox {
    pub x: f32,
    pub y: f32,
    pub w: f32,
    pub h: f32,
}

impl BBox {
    pub const fn new(x: f32, y: f32, w: f32, h: f32) -> Self {
        Self { x, y, w, h }
    }

    /// Area in square pixels; 0 for a degenerate box.
    pub fn area(&self) -> f32 {
        self.w.max(0.0) * self.h.max(0.0)
    }

    pub fn center(&self) -> Point {
        Point::new(self.x + self.w / 2.0, self.y + self.h / 2.0)
    }

    /// The shorter side in pixels.
    pub fn min_side(&self) -> f32 {
        self.w.min(self.h)
    }

    /// True if every number is finite and both sides are longer than 0.
    pub fn is_valid(&self) -> bool {
        [self.x, self.y, self.w, self.h].iter().all(|v| v.is_finite())
            && self.w > 0.0
            && self.h > 0.0
    }

    /// The part of the box inside a picture of `width` × `height`, or `None` if nothing is.
    pub fn clipped(&self, width: u32, height: u32) -> Option<BBox> {
        let x0 = self.x.max(0.0);
        let y0 = self.y.max(0.0);
        let x1 = (self.x + self.w).min(width as f32);
        let y1 = (self.y + self.h).min(height as f32);
        let clipped = BBox::new(x0, y0, x1 - x0, y1 - y0);
        clipped.is_valid().then_some(clipped)
    }

    /// The box with x scaled by `sx` and y by `sy`.
    pub fn scaled(&self, sx: f32, sy: f32) -> BBox {
        BBox::new(self.x * sx, self.y * sy, self.w * sx, self.h * sy)
    }

    /// Intersection over union, 0..=1; 0 when a box is degenerate.
    pub fn iou(&self, other: &BBox) -> f32 {
        let w = (self.x + self.w).min(other.x + other.w) - self.x.max(other.x);
        let h = (self.y + self.h).min(other.y + other.h) - self.y.max(other.y);
        if w <= 0.0 || h <= 0.0 {
            return 0.0;
        }
        let intersection = w * h;
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }
}

/// Five points: image-left eye, image-right eye, nose tip, image-left and image-right mouth
/// corner (the order of the ArcFace template).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Landmarks(pub [Point; 5]);

impl Landmarks {
    pub fn is_finite(&self) -> bool {
        self.0.iter().all(|p| p.x.is_finite() && p.y.is_finite())
    }

    pub fn scaled(&self, sx: f32, sy: f32) -> Landmarks {
        Landmarks(self.0.map(|p| Point::new(p.x * sx, p.y * sy)))
    }
}

/// Greedy non-maximum suppression in place: keeps the boxes of highest score and removes every
/// box whose IoU with a kept one is above `threshold` (0..=1). The result is sorted by falling
/// score; of equal scores the box further left, then further up, then the smaller one is first, so
/// that the result depends on the boxes alone. Allocates nothing.
pub fn nms<T>(items: &mut Vec<T>, threshold: f32, key: impl Fn(&T) -> (BBox, f32)) {
    items.sort_unstable_by(|a, b| {
        let ((a, a_score), (b, b_score)) = (key(a), key(b));
        let sides = [(a.x, b.x), (a.y, b.y), (a.w, b.w), (a.h, b.h)];
        let sides = sides.into_iter().map(|(a, b)| a.total_cmp(&b));
        sides.fold(b_score.total_cmp(&a_score), std::cmp::Ordering::then)
    });
    let mut kept = 0;
    for i in 0..items.len() {
        let (candidate, _) = key(&items[i]);
        if items[..kept].iter().all(|k| key(k).0.iou(&candidate) <= threshold) {
            items.swap(kept, i);
            kept += 1;
        }
    }
    items.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_equal_disjoint_and_half_boxes() {
        let a = BBox::new(0.0, 0.0, 10.0, 10.0);
        assert_eq!(a.iou(&a), 1.0);
        assert_eq!(a.iou(&BBox::new(20.0, 0.0, 10.0, 10.0)), 0.0);
        let half = a.iou(&BBox::new(5.0, 0.0, 10.0, 10.0));
        assert!((half - 50.0 / 150.0).abs() < 1e-6);
        assert_eq!(a.iou(&BBox::new(2.0, 2.0, 0.0, 5.0)), 0.0);
    }

    #[test]
    fn nms_keeps_the_best_of_each_overlapping_group() {
        let mut v = vec![
            (BBox::new(0.0, 0.0, 10.0, 10.0), 0.6),
            (BBox::new(50.0, 0.0, 10.0, 10.0), 0.7),
            (BBox::new(1.0, 0.0, 10.0, 10.0), 0.9),
            (BBox::new(2.0, 0.0, 10.0, 10.0), 0.8),
        ];
        nms(&mut v, 0.45, |i| *i);
        assert_eq!(v.iter().map(|i| i.1).collect::<Vec<_>>(), [0.9, 0.7]);
    }

    #[test]
    fn nms_of_equal_scores_does_not_depend_on_their_order() {
        // A row of boxes, each of which overlaps its neighbours.
        let boxes = (0..40).map(|i| (BBox::new(6.0 * i as f32, 0.0, 10.0, 10.0), 0.5));
        let mut forward: Vec<_> = boxes.clone().collect();
        let mut backward: Vec<_> = boxes.rev().collect();
        nms(&mut forward, 0.2, |i| *i);
        nms(&mut backward, 0.2, |i| *i);
        assert_eq!(forward, backward);
        assert_eq!(forward.len(), 20);
    }

    #[test]
    fn clipped_box_outside_the_picture_is_none() {
        assert_eq!(BBox::new(-5.0, 0.0, 5.0, 5.0).clipped(10, 10), None);
        assert_eq!(
            BBox::new(-5.0, 2.0, 10.0, 20.0).clipped(10, 10),
            Some(BBox::new(0.0, 2.0, 5.0, 8.0))
        );
    }
}
