//! The motion of one box: a Kalman filter with constant velocity for the centre and a random
//! walk for the size.
//!
//! The usual filter over (x, y, aspect, height) of SORT (arXiv:1602.00763) and ByteTrack
//! (arXiv:2110.06864) has diagonal noise, so it is one small filter per coordinate; these are
//! written out here in closed form. The noise is that of white acceleration in continuous time,
//! so that predicting twice over half the time gives the same as predicting once. The size has no
//! velocity: extrapolated over a second without a detection it turns boxes inside out, and faces
//! change their size slowly.

use crate::geometry::{BBox, Point};

// All in box sizes, a size being the root of the area of the last observed box, as in ByteTrack,
// whose weights (1/20 for positions, 1/160 per frame for velocities at 30 frames a second) these
// are in units of time.

/// Standard deviation of an observed coordinate.
const OBSERVATION: f64 = 0.05;
/// Standard deviation of the unknown velocity of a new track, per second.
const FIRST_VELOCITY: f64 = 2.0;
/// Standard deviation that the velocity gains in one second without observation, per second. A
/// little less than ByteTrack's (1.0 at 30 frames a second): people who cross keep their pace.
const ACCELERATION: f64 = 0.8;
/// Standard deviation that the width and height gain in one second.
const GROWTH: f64 = 0.3;
/// Shortest size in pixels that the noise is taken from, so that no variance is ever 0.
const SMALLEST_PX: f64 = 0.01;

/// A coordinate of the centre: position and velocity (pixels, pixels per second) with their
/// covariance.
#[derive(Clone, Copy, Debug)]
struct Moving {
    position: f64,
    velocity: f64,
    var_position: f64,
    covariance: f64,
    var_velocity: f64,
}

impl Moving {
    fn new(position: f64, size: f64) -> Self {
        Self {
            position,
            velocity: 0.0,
            var_position: (OBSERVATION * size).powi(2),
            covariance: 0.0,
            var_velocity: (FIRST_VELOCITY * size).powi(2),
        }
    }

    fn predict(&mut self, dt: f64, size: f64) {
        let q = (ACCELERATION * size).powi(2);
        self.position += self.velocity * dt;
        self.var_position += dt * (2.0 * self.covariance + dt * (self.var_velocity + q * dt / 3.0));
        self.covariance += dt * (self.var_velocity + q * dt / 2.0);
        self.var_velocity += q * dt;
    }

    fn observe(&mut self, position: f64, noise: f64) {
        // noise > 0 and var_position >= 0: never a division by 0.
        let total = self.var_position + noise;
        let innovation = position - self.position;
        self.position += self.var_position / total * innovation;
        self.velocity += self.covariance / total * innovation;
        let left = noise / total;
        let lost = self.covariance * self.covariance / total;
        self.var_position *= left;
        self.covariance *= left;
        // Rounding must not make the matrix indefinite.
        let least = self.covariance * self.covariance / self.var_position;
        self.var_velocity = (self.var_velocity - lost).max(least);
    }

    fn scale(&mut self, factor: f64) {
        self.position *= factor;
        self.velocity *= factor;
        self.var_position *= factor * factor;
        self.covariance *= factor * factor;
        self.var_velocity *= factor * factor;
    }
}

/// A side of the box in pixels.
#[derive(Clone, Copy, Debug)]
struct Side {
    length: f64,
    variance: f64,
}

impl Side {
    fn new(length: f64, size: f64) -> Self {
        Self { length, variance: (OBSERVATION * size).powi(2) }
    }

    fn predict(&mut self, dt: f64, size: f64) {
        self.variance += (GROWTH * size).powi(2) * dt;
    }

    fn observe(&mut self, length: f64, noise: f64) {
        let gain = self.variance / (self.variance + noise);
        // Between two positive lengths, so positive.
        self.length += gain * (length - self.length);
        self.variance *= 1.0 - gain;
    }

    fn scale(&mut self, factor: f64) {
        self.length *= factor;
        self.variance *= factor * factor;
    }
}

/// The filter of one track. All numbers stay finite for valid boxes of coordinates up to 1e7 px
/// and times up to an hour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoxFilter {
    x: Moving,
    y: Moving,
    w: Side,
    h: Side,
    /// Root of the area of the last observed box, pixels.
    size: f64,
}

impl BoxFilter {
    /// A filter at rest on `bbox`, which must be valid.
    pub(crate) fn new(bbox: &BBox) -> Self {
        let (w, h) = (f64::from(bbox.w), f64::from(bbox.h));
        let (cx, cy) = (f64::from(bbox.x) + w / 2.0, f64::from(bbox.y) + h / 2.0);
        let size = size_of(w, h);
        Self {
            x: Moving::new(cx, size),
            y: Moving::new(cy, size),
            w: Side::new(w, size),
            h: Side::new(h, size),
            size,
        }
    }

    /// Moves the state `dt_ns` on.
    pub(crate) fn predict(&mut self, dt_ns: u64) {
        let dt = dt_ns as f64 * 1e-9;
        self.x.predict(dt, self.size);
        self.y.predict(dt, self.size);
        self.w.predict(dt, self.size);
        self.h.predict(dt, self.size);
    }

    /// Takes in an observed box, which must be valid, at the time predicted to.
    pub(crate) fn observe(&mut self, bbox: &BBox) {
        let (w, h) = (f64::from(bbox.w), f64::from(bbox.h));
        self.size = size_of(w, h);
        let noise = (OBSERVATION * self.size).powi(2);
        self.x.observe(f64::from(bbox.x) + w / 2.0, noise);
        self.y.observe(f64::from(bbox.y) + h / 2.0, noise);
        self.w.observe(w, noise);
        self.h.observe(h, noise);
    }

    /// The same motion in a picture that was scaled by `sx` and `sy`, both above 0.
    pub(crate) fn scale(&mut self, sx: f64, sy: f64) {
        self.x.scale(sx);
        self.y.scale(sy);
        self.w.scale(sx);
        self.h.scale(sy);
        self.size = (self.size * (sx * sy).sqrt()).max(SMALLEST_PX);
    }

    /// The box at the time predicted to.
    pub(crate) fn bbox(&self) -> BBox {
        BBox::new(
            (self.x.position - self.w.length / 2.0) as f32,
            (self.y.position - self.h.length / 2.0) as f32,
            self.w.length as f32,
            self.h.length as f32,
        )
    }

    /// Squared Mahalanobis distance of an observed centre from the predicted one.
    pub(crate) fn distance2(&self, center: Point) -> f64 {
        let noise = (OBSERVATION * self.size).powi(2);
        let dx = f64::from(center.x) - self.x.position;
        let dy = f64::from(center.y) - self.y.position;
        dx * dx / (self.x.var_position + noise) + dy * dy / (self.y.var_position + noise)
    }
}

fn size_of(w: f64, h: f64) -> f64 {
    (w * h).sqrt().max(SMALLEST_PX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_NS: u64 = 33_333_333;

    fn moving_right(frames: u64, px_per_s: f32) -> BoxFilter {
        let at = |i: u64| BBox::new(px_per_s * (i * FRAME_NS) as f32 * 1e-9, 50.0, 40.0, 50.0);
        let mut filter = BoxFilter::new(&at(0));
        for i in 1..frames {
            filter.predict(FRAME_NS);
            filter.observe(&at(i));
        }
        filter
    }

    #[test]
    fn constant_velocity_is_learned_and_extrapolated() {
        let mut filter = moving_right(30, 100.0);
        let before = filter.bbox();
        filter.predict(500_000_000);
        let moved = filter.bbox().x - before.x;
        assert!((moved - 50.0).abs() < 2.0, "moved {moved} px in half a second");
        assert!((filter.bbox().w - 40.0).abs() < 0.01);
    }

    #[test]
    fn one_long_prediction_equals_many_short_ones() {
        let mut long = moving_right(10, 80.0);
        let mut short = long;
        long.predict(400_000_000);
        for _ in 0..40 {
            short.predict(10_000_000);
        }
        assert!((long.bbox().x - short.bbox().x).abs() < 1e-3);
        let probe = Point::new(200.0, 90.0);
        let (a, b) = (long.distance2(probe), short.distance2(probe));
        assert!((a / b - 1.0).abs() < 1e-9, "{a} {b}");
    }

    #[test]
    fn uncertainty_grows_with_time_and_shrinks_when_seen() {
        let mut filter = moving_right(10, 0.0);
        let probe = Point::new(60.0, 75.0);
        let now = filter.distance2(probe);
        filter.predict(1_000_000_000);
        let later = filter.distance2(probe);
        assert!(later < now / 4.0, "{later} after a second, {now} at once");
        filter.observe(&BBox::new(0.0, 50.0, 40.0, 50.0));
        assert!(filter.distance2(probe) > later);
    }

    #[test]
    fn extreme_input_stays_finite() {
        for side in [f32::MIN_POSITIVE, 1e-3, 1e7] {
            let mut filter = BoxFilter::new(&BBox::new(-1e7, 1e7, side, side));
            for i in 0..200u64 {
                filter.predict(if i % 3 == 0 { 0 } else { 3_600_000_000_000 >> (i % 42) });
                let far = if i % 2 == 0 { 1e7 } else { -1e7 };
                filter.observe(&BBox::new(far, -far, 1e7, side));
                filter.predict(0);
                let b = filter.bbox();
                assert!(b.is_valid() || side == f32::MIN_POSITIVE, "{b:?} at {i}");
                assert!([b.x, b.y, b.w, b.h].iter().all(|v| v.is_finite()), "{b:?} at {i}");
                let d = filter.distance2(Point::new(0.0, 0.0));
                assert!(d.is_finite() && d >= 0.0, "{d} at {i}");
            }
        }
    }

    #[test]
    fn scaled_filter_moves_like_the_scaled_box() {
        let mut filter = moving_right(20, 100.0);
        let mut scaled = filter;
        scaled.scale(2.0, 0.5);
        filter.predict(300_000_000);
        scaled.predict(300_000_000);
        let (want, got) = (filter.bbox().scaled(2.0, 0.5), scaled.bbox());
        assert!(want.iou(&got) > 0.999, "{want:?} {got:?}");
    }
}
