//! Points in polygons. Coordinates are fractions of the picture.

use crate::geometry::{BBox, Point};

/// How far outside a polygon a face may be that was inside before, in widths and heights of its
/// box: more than detectors tremble by (about 0.05), and less than a step.
pub const MARGIN: f32 = 0.2;

/// Is the point inside, by the even-odd rule?
pub(super) fn contains(polygon: &[Point], p: Point) -> bool {
    edges(polygon).filter(|(a, b)| crosses(*a, *b, p)).count() % 2 == 1
}

/// Is the centre of `bbox` inside, or outside by no more than [`MARGIN`] of its sides?
pub(super) fn contains_nearly(polygon: &[Point], bbox: &BBox) -> bool {
    let center = bbox.center();
    // In a plane where the box is a unit square around the origin.
    let scaled = |p: Point| Point::new((p.x - center.x) / bbox.w, (p.y - center.y) / bbox.h);
    contains(polygon, center)
        || edges(polygon).any(|(a, b)| distance_from_origin(scaled(a), scaled(b)) <= MARGIN)
}

/// True if all points lie on one line: such a polygon holds nothing.
pub(super) fn is_flat(polygon: &[Point]) -> bool {
    let Some(first) = polygon.first() else { return true };
    let from_first = |p: &Point| (f64::from(p.x - first.x), f64::from(p.y - first.y));
    let length2 = |(x, y): (f64, f64)| x * x + y * y;
    let Some(longest) =
        polygon.iter().map(from_first).max_by(|a, b| length2(*a).total_cmp(&length2(*b)))
    else {
        return true;
    };
    let scale = length2(longest);
    // Less than a millionth of the length to the side is no side.
    polygon.iter().map(from_first).all(|(x, y)| {
        let cross = longest.0 * y - longest.1 * x;
        cross.abs() <= 1e-6 * scale
    })
}

fn edges(polygon: &[Point]) -> impl Iterator<Item = (Point, Point)> {
    let before = polygon.iter().cycle().skip(polygon.len().saturating_sub(1));
    before.copied().zip(polygon.iter().copied())
}

/// Does the ray from `p` to the right cross the edge? Each edge is taken from its upper end to its
/// lower one, whichever way the polygon goes round: two polygons with a common edge agree on it to
/// the last bit.
fn crosses(a: Point, b: Point, p: Point) -> bool {
    let (a, b) = if (a.y, a.x) <= (b.y, b.x) { (a, b) } else { (b, a) };
    if !(a.y <= p.y && p.y < b.y) {
        return false;
    }
    let part = (f64::from(p.y) - f64::from(a.y)) / (f64::from(b.y) - f64::from(a.y));
    f64::from(p.x) < f64::from(a.x) + part * (f64::from(b.x) - f64::from(a.x))
}

fn distance_from_origin(a: Point, b: Point) -> f32 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let length2 = dx * dx + dy * dy;
    let part = if length2 > 0.0 { (-(a.x * dx + a.y * dy) / length2).clamp(0.0, 1.0) } else { 0.0 };
    (a.x + part * dx).hypot(a.y + part * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polygon(points: &[(f32, f32)]) -> Vec<Point> {
        points.iter().map(|&(x, y)| Point::new(x, y)).collect()
    }

    fn square() -> Vec<Point> {
        polygon(&[(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)])
    }

    #[test]
    fn left_and_upper_border_are_inside_right_and_lower_are_not() {
        let square = square();
        let inside = |x, y| contains(&square, Point::new(x, y));
        assert!(inside(0.5, 0.5) && inside(0.25, 0.5) && inside(0.5, 0.25) && inside(0.25, 0.25));
        assert!(!inside(0.75, 0.5) && !inside(0.5, 0.75) && !inside(0.75, 0.75));
        assert!(!inside(0.1, 0.5) && !inside(0.5, 0.9) && !inside(f32::NAN, 0.5));
    }

    #[test]
    fn points_on_a_common_border_are_in_exactly_one_polygon() {
        // A slanted border, walked in opposite directions.
        let (top, bottom) = ((0.371, 0.113), (0.617, 0.887));
        let left = polygon(&[(0.0, 0.113), top, bottom, (0.0, 0.887)]);
        let right = polygon(&[bottom, top, (1.0, 0.113), (1.0, 0.887)]);
        for n in 0..=1000u16 {
            let part = f32::from(n) / 1000.0;
            for nudge in [0.0, 1e-7, -1e-7] {
                let x = top.0 + part * (bottom.0 - top.0) + nudge;
                let p = Point::new(x, top.1 + part * (bottom.1 - top.1));
                let held = usize::from(contains(&left, p)) + usize::from(contains(&right, p));
                assert_eq!(held, usize::from(p.y < bottom.1), "{p:?}");
            }
        }
    }

    #[test]
    fn concave_and_crossing_polygons_follow_the_even_odd_rule() {
        let u = polygon(&[
            (0.1, 0.1),
            (0.3, 0.1),
            (0.3, 0.7),
            (0.7, 0.7),
            (0.7, 0.1),
            (0.9, 0.1),
            (0.9, 0.9),
            (0.1, 0.9),
        ]);
        assert!(contains(&u, Point::new(0.2, 0.4)) && contains(&u, Point::new(0.5, 0.8)));
        assert!(!contains(&u, Point::new(0.5, 0.4)));
        let star = polygon(&[(0.5, 0.0), (0.8, 1.0), (0.0, 0.4), (1.0, 0.4), (0.2, 1.0)]);
        assert!(contains(&star, Point::new(0.5, 0.2)) && contains(&star, Point::new(0.15, 0.45)));
        assert!(!contains(&star, Point::new(0.5, 0.55)), "the middle is covered twice");
    }

    #[test]
    fn the_margin_is_in_sides_of_the_box() {
        let square = square();
        let at = |cx: f32, cy: f32| BBox::new(cx - 0.05, cy - 0.1, 0.1, 0.2);
        let nearly = |cx, cy| contains_nearly(&square, &at(cx, cy));
        assert!(nearly(0.5, 0.5) && nearly(0.769, 0.5) && nearly(0.5, 0.789));
        assert!(!nearly(0.771, 0.5) && !nearly(0.5, 0.791));
        assert!(!nearly(0.766, 0.782), "past the corner it is a circle");
    }

    #[test]
    fn flat_polygons_are_known() {
        assert!(is_flat(&[]));
        assert!(is_flat(&polygon(&[(0.1, 0.1), (0.1, 0.1), (0.1, 0.1)])));
        assert!(is_flat(&polygon(&[(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)])));
        assert!(!is_flat(&polygon(&[(0.1, 0.1), (0.5, 0.501), (0.9, 0.9)])));
        // A bow tie has an area, though its halves cancel each other out.
        assert!(!is_flat(&polygon(&[(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])));
    }
}
