//! How good a picture of a face is for recognition, in one number.

use crate::align::CROP_SIDE;
use crate::attributes::pose::HeadPose;
use crate::quality::CropQuality;

/// The parts of a face's quality: what its place in the picture tells, and what its pixels tell.
/// The limits are where the pictures of [`crate::quality::Gate::DEFAULT`] begin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shot {
    /// Size and direction of the face, 0..=1.
    pub view: f32,
    /// Sharpness, contrast and light of its crop, 0..=1.
    pub clarity: f32,
}

impl Shot {
    /// How well a face of `side_px` (shorter side of its box, square pixels) that looks this way can
    /// be seen, 0..=1: 1 from the size of a crop on and for a head that looks straight ahead. A
    /// tilt does not count, alignment undoes it. 0 without a pose.
    pub fn view_of(side_px: f32, pose: Option<&HeadPose>) -> f32 {
        let size = (side_px / CROP_SIDE as f32).clamp(0.0, 1.0);
        // What is seen of a surface that is turned away.
        let front = pose.map_or(0.0, |pose| {
            let cos = |degrees: f32| degrees.to_radians().cos().max(0.0);
            cos(pose.yaw) * cos(pose.pitch)
        });
        size * front
    }

    /// How clear a crop is, 0..=1: 0 for one that is flat, black or white.
    pub fn clarity_of(crop: &CropQuality) -> f32 {
        let part = |value: f32, enough: f32| (value / enough).clamp(0.0, 1.0);
        let light = part(crop.brightness, 60.0).min(part(255.0 - crop.brightness, 45.0));
        part(crop.sharpness, 0.1) * part(crop.contrast, 25.0) * light
    }

    /// The product of both, 0..=1.
    pub fn quality(&self) -> f32 {
        self.view * self.clarity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Landmarks, Point};

    fn crop(sharpness: f32, brightness: f32, contrast: f32) -> f32 {
        Shot::clarity_of(&CropQuality { sharpness, brightness, contrast })
    }

    #[test]
    fn clarity_falls_with_blur_darkness_glare_and_fog() {
        assert_eq!(crop(0.3, 120.0, 40.0), 1.0);
        assert!((crop(0.05, 120.0, 40.0) - 0.5).abs() < 1e-6);
        assert!((crop(0.3, 30.0, 40.0) - 0.5).abs() < 1e-6);
        assert!((crop(0.3, 232.5, 40.0) - 0.5).abs() < 1e-6);
        assert!((crop(0.3, 120.0, 12.5) - 0.5).abs() < 1e-6);
        assert_eq!(
            [crop(0.0, 120.0, 40.0), crop(0.3, 0.0, 40.0), crop(0.3, 255.0, 40.0)],
            [0.0; 3]
        );
    }

    #[test]
    fn view_falls_with_size_and_with_the_angle() {
        let p = Point::new;
        let frontal = [p(30.0, 40.0), p(70.0, 40.0), p(50.0, 63.0), p(33.0, 86.0), p(67.0, 86.0)];
        let pose = |dx: f32| {
            let mut points = frontal;
            points[2].x += dx;
            HeadPose::of(&Landmarks(points))
        };
        let straight = Shot::view_of(200.0, pose(0.0).as_ref());
        assert!(straight > 0.99, "{straight}");
        assert!((Shot::view_of(56.0, pose(0.0).as_ref()) - straight / 2.0).abs() < 1e-6);
        let aside = Shot::view_of(200.0, pose(12.0).as_ref());
        assert!((0.5..0.95).contains(&aside), "{aside}");
        assert!(Shot::view_of(200.0, pose(20.0).as_ref()) < aside);
        assert_eq!(Shot::view_of(200.0, None), 0.0);
    }
}
