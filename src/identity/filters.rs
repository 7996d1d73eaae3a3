//! Which observed faces are not looked at, and why.

use std::fmt;

use crate::attributes::pose::HeadPose;
use crate::geometry::{BBox, Landmarks, Point};

/// The filters, in the order in which they are asked. The default lets every face with landmarks
/// pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterConfig {
    /// Least shorter side of the box, square pixels of the source; 0: any.
    pub min_face_px: f32,
    /// Zones of which one must hold the face; none: it may be anywhere.
    pub required_zones: Vec<String>,
    /// The nose must lie inside the quadrilateral of eyes and corners of the mouth.
    pub require_frontal: bool,
    /// Most degrees that the head may be turned aside, raised or lowered, and tilted; 0: any.
    pub max_yaw: f32,
    pub max_pitch: f32,
    pub max_roll: f32,
    /// The points must not all lie in one half of the box: left, right, upper or lower.
    pub require_centered: bool,
    /// Least quality of the crop ([`crate::quality::shot::Shot::quality`]), 0..=1; 0: any.
    pub min_quality: f32,
    /// The face must be on a track.
    pub require_track: bool,
}

/// A face, as the filters see it before its pixels are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// In square pixels of the source.
    pub bbox: BBox,
    /// In square pixels of the source.
    pub landmarks: Option<Landmarks>,
    /// What [`HeadPose::of`] says of the landmarks.
    pub pose: Option<HeadPose>,
    /// Names of the zones that hold the face.
    pub zones: &'a [String],
}

/// Why a face is not looked at. [`fmt::Display`] says it in words, with what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rejection {
    NoLandmarks,
    SmallFace {
        side_px: f32,
        min_px: f32,
    },
    NotInZone,
    /// The nose is not between eyes and mouth.
    NotFrontal,
    /// `way`: "aside", "up or down" or "over".
    Turned {
        way: &'static str,
        degrees: f32,
        max: f32,
    },
    /// The points have no pose: the face is seen from the side, or is none.
    NoPose,
    /// `half` of the box that holds all points: "left", "right", "upper" or "lower".
    FaceShifted {
        half: &'static str,
    },
    LowQuality {
        quality: f32,
        min: f32,
    },
    NoTrack,
}

impl Rejection {
    /// Every reason, in the order of the filters.
    pub const REASONS: [&'static str; 7] = [
        "no-landmarks",
        "small-face",
        "not-in-zone",
        "not-frontal",
        "face-shifted",
        "low-quality",
        "no-track",
    ];

    /// Place of the reason in [`Rejection::REASONS`].
    pub fn index(&self) -> usize {
        match self {
            Rejection::NoLandmarks => 0,
            Rejection::SmallFace { .. } => 1,
            Rejection::NotInZone => 2,
            Rejection::NotFrontal | Rejection::Turned { .. } | Rejection::NoPose => 3,
            Rejection::FaceShifted { .. } => 4,
            Rejection::LowQuality { .. } => 5,
            Rejection::NoTrack => 6,
        }
    }

    /// The reason in one word, for machines; stays the same in later versions.
    pub fn reason(&self) -> &'static str {
        Self::REASONS[self.index()]
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::NoLandmarks => f.write_str("the face has no landmarks"),
            Rejection::SmallFace { side_px, min_px } => {
                write!(f, "the face is small: {side_px:.0} px, at least {min_px:.0} px are needed")
            }
            Rejection::NotInZone => f.write_str("the face is in none of the required zones"),
            Rejection::NotFrontal => {
                f.write_str("the face is not frontal: the nose is not between eyes and mouth")
            }
            Rejection::Turned { way, degrees, max } => write!(
                f,
                "the head is turned {way} by {degrees:.0} degrees, at most {max:.0} are allowed"
            ),
            Rejection::NoPose => {
                f.write_str("the points of the face have no pose: it is seen from the side")
            }
            Rejection::FaceShifted { half } => {
                write!(f, "the points of the face are all in the {half} half of its box")
            }
            Rejection::LowQuality { quality, min } => {
                write!(f, "the crop is poor: quality {quality:.2}, at least {min:.2} is needed")
            }
            Rejection::NoTrack => f.write_str("the face is on no track"),
        }
    }
}

impl FilterConfig {
    /// Asks the filters that need no pixels, in their order up to the shifted face. What follows is
    /// [`FilterConfig::check_quality`], then [`FilterConfig::check_track`].
    ///
    /// # Errors
    /// The first filter that refuses the face.
    pub fn check(&self, face: &Subject<'_>) -> Result<(), Rejection> {
        // What is not finite is no place.
        let landmarks =
            face.landmarks.filter(Landmarks::is_finite).ok_or(Rejection::NoLandmarks)?;
        let side_px = face.bbox.min_side();
        if side_px < self.min_face_px {
            return Err(Rejection::SmallFace { side_px, min_px: self.min_face_px });
        }
        let required = &self.required_zones;
        if !required.is_empty() && !face.zones.iter().any(|zone| required.contains(zone)) {
            return Err(Rejection::NotInZone);
        }
        self.check_frontal(&landmarks, face.pose.as_ref())?;
        match shifted_to(&face.bbox, &landmarks).filter(|_| self.require_centered) {
            Some(half) => Err(Rejection::FaceShifted { half }),
            None => Ok(()),
        }
    }

    fn check_frontal(
        &self,
        landmarks: &Landmarks,
        pose: Option<&HeadPose>,
    ) -> Result<(), Rejection> {
        let [left_eye, right_eye, nose, left_mouth, right_mouth] = landmarks.0;
        let face = [left_eye, right_eye, right_mouth, left_mouth];
        if self.require_frontal && !is_strictly_inside(nose, &face) {
            return Err(Rejection::NotFrontal);
        }
        let limits = [self.max_yaw, self.max_pitch, self.max_roll];
        if limits.iter().all(|max| *max <= 0.0) {
            return Ok(());
        }
        let pose = pose.ok_or(Rejection::NoPose)?;
        let ways = ["aside", "up or down", "over"];
        let angles = [pose.yaw, pose.pitch, pose.roll].map(f32::abs);
        let turned = ways.into_iter().zip(angles).zip(limits);
        for ((way, degrees), max) in turned.filter(|(_, max)| *max > 0.0) {
            if degrees > max {
                return Err(Rejection::Turned { way, degrees, max });
            }
        }
        Ok(())
    }

    /// Asks the filter of the crop's quality, 0..=1.
    ///
    /// # Errors
    /// [`Rejection::LowQuality`].
    pub fn check_quality(&self, quality: f32) -> Result<(), Rejection> {
        if quality < self.min_quality {
            return Err(Rejection::LowQuality { quality, min: self.min_quality });
        }
        Ok(())
    }

    /// Asks the filter of faces without a track (id 0).
    ///
    /// # Errors
    /// [`Rejection::NoTrack`].
    pub fn check_track(&self, track_id: u64) -> Result<(), Rejection> {
        if self.require_track && track_id == 0 { Err(Rejection::NoTrack) } else { Ok(()) }
    }
}

/// Does the point lie inside the polygon, and not on its edge? The sides of a face that is seen
/// from the side may cross each other: the rule is that of even and odd.
fn is_strictly_inside(point: Point, polygon: &[Point; 4]) -> bool {
    let mut inside = false;
    for (i, a) in polygon.iter().enumerate() {
        let b = &polygon[(i + 1) % polygon.len()];
        let cross = (b.x - a.x) * (point.y - a.y) - (b.y - a.y) * (point.x - a.x);
        let within = |v: f32, a: f32, b: f32| v >= a.min(b) && v <= a.max(b);
        if cross == 0.0 && within(point.x, a.x, b.x) && within(point.y, a.y, b.y) {
            return false;
        }
        // A ray to the right crosses the side if it lies to the right of the point.
        if (a.y > point.y) != (b.y > point.y) && (cross > 0.0) == (b.y > a.y) {
            inside = !inside;
        }
    }
    inside
}

/// The half of the box that holds all points.
fn shifted_to(bbox: &BBox, landmarks: &Landmarks) -> Option<&'static str> {
    let Point { x, y } = bbox.center();
    let all = |test: &dyn Fn(&Point) -> bool| landmarks.0.iter().all(test);
    if all(&|p| p.x < x) {
        Some("left")
    } else if all(&|p| p.x > x) {
        Some("right")
    } else if all(&|p| p.y < y) {
        Some("upper")
    } else if all(&|p| p.y > y) {
        Some("lower")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: BBox = BBox::new(100.0, 100.0, 80.0, 100.0);

    /// A frontal face in [`BOX`].
    fn points() -> Landmarks {
        let points = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)];
        Landmarks(points.map(|(x, y)| Point::new(BOX.x + x * BOX.w, BOX.y + y * BOX.h)))
    }

    /// The reason why a face with these points in [`BOX`] is refused.
    fn verdict(
        config: &FilterConfig,
        landmarks: Option<Landmarks>,
        zones: &[&str],
    ) -> &'static str {
        let zones: Vec<String> = zones.iter().map(|z| (*z).to_owned()).collect();
        let pose = landmarks.as_ref().and_then(HeadPose::of);
        let face = Subject { bbox: BOX, landmarks, pose, zones: &zones };
        config.check(&face).map_or_else(|r| r.reason(), |()| "")
    }

    fn strict() -> FilterConfig {
        FilterConfig {
            min_face_px: 80.0,
            required_zones: vec!["door".into(), "desk".into()],
            require_frontal: true,
            max_yaw: 40.0,
            max_pitch: 40.0,
            max_roll: 30.0,
            require_centered: true,
            min_quality: 0.5,
            require_track: true,
        }
    }

    #[test]
    fn f1_no_landmarks_is_the_only_filter_that_is_always_on() {
        let all_off = FilterConfig::default();
        assert_eq!(verdict(&all_off, None, &[]), "no-landmarks");
        assert_eq!(verdict(&all_off, Some(points()), &[]), "");
        let mut broken = points();
        broken.0[1].x = f32::NAN;
        assert_eq!(verdict(&all_off, Some(broken), &[]), "no-landmarks");
        // A face from the side, at the edge of its box, passes as well.
        let side = Landmarks([Point::new(500.0, 500.0); 5]);
        assert_eq!(verdict(&all_off, Some(side), &[]), "");
    }

    #[test]
    fn f2_small_face_is_measured_by_its_shorter_side() {
        let at = |min_face_px| FilterConfig { min_face_px, ..Default::default() };
        assert_eq!(verdict(&at(80.0), Some(points()), &[]), "");
        assert_eq!(verdict(&at(80.5), Some(points()), &[]), "small-face");
    }

    #[test]
    fn f3_not_in_zone_means_in_none_of_the_required_ones() {
        let required = |zones: &[&str]| FilterConfig {
            required_zones: zones.iter().map(|z| (*z).to_owned()).collect(),
            ..Default::default()
        };
        let both = required(&["door", "desk"]);
        assert_eq!(verdict(&both, Some(points()), &[]), "not-in-zone");
        assert_eq!(verdict(&both, Some(points()), &["hall"]), "not-in-zone");
        assert_eq!(verdict(&both, Some(points()), &["hall", "desk"]), "");
        assert_eq!(verdict(&required(&[]), Some(points()), &["hall"]), "");
    }

    #[test]
    fn f4_not_frontal_when_the_nose_is_not_strictly_between_eyes_and_mouth() {
        let frontal = FilterConfig { require_frontal: true, ..Default::default() };
        let nose_at = |x: f32, y: f32| {
            let mut points = points();
            points.0[2] = Point::new(BOX.x + x * BOX.w, BOX.y + y * BOX.h);
            verdict(&frontal, Some(points), &[])
        };
        assert_eq!([nose_at(0.5, 0.6), nose_at(0.34, 0.6), nose_at(0.5, 0.79)], ["", "", ""]);
        for (x, y) in [(0.3, 0.6), (0.7, 0.7), (0.5, 0.4), (0.5, 0.8), (0.5, 0.3), (0.9, 0.9)] {
            assert_eq!(nose_at(x, y), "not-frontal", "{x} {y}");
        }
    }

    #[test]
    fn f4_limits_of_the_angles_are_filters_of_their_own() {
        let mut turned = points();
        turned.0[2].x += 0.2 * BOX.w;
        let pose = HeadPose::of(&turned).unwrap();
        let limit = |max_yaw| FilterConfig { max_yaw, ..Default::default() };
        assert_eq!(verdict(&limit(pose.yaw + 1.0), Some(turned), &[]), "");
        assert_eq!(verdict(&limit(pose.yaw - 1.0), Some(turned), &[]), "not-frontal");
        assert_eq!(verdict(&limit(0.0), Some(turned), &[]), "", "0 is off");
        let line = Landmarks([0.0, 1.0, 2.0, 3.0, 4.0].map(|v| Point::new(v, 2.0 * v)));
        assert_eq!(verdict(&limit(80.0), Some(line), &[]), "not-frontal", "no pose");
        let (roll, pitch) = (
            FilterConfig { max_roll: 5.0, ..Default::default() },
            FilterConfig { max_pitch: 60.0, ..Default::default() },
        );
        let mut tilted = points();
        tilted.0[1].y += 12.0;
        tilted.0[4].y += 12.0;
        assert_eq!(verdict(&roll, Some(tilted), &[]), "not-frontal");
        assert_eq!(verdict(&roll, Some(points()), &[]), "");
        let mut raised = points();
        raised.0[2].y = 100.0;
        assert_eq!(verdict(&pitch, Some(raised), &[]), "not-frontal");
    }

    #[test]
    fn f5_face_shifted_when_all_points_are_in_one_half_of_the_box() {
        let centered = FilterConfig { require_centered: true, ..Default::default() };
        let moved = |dx: f32, dy: f32| {
            let move_by = |p: Point| Point::new(p.x + dx * BOX.w, p.y + dy * BOX.h);
            verdict(&centered, Some(Landmarks(points().0.map(move_by))), &[])
        };
        assert_eq!([moved(0.0, 0.0), moved(0.19, 0.09), moved(-0.19, -0.29)], ["", "", ""]);
        for (dx, dy) in [(0.21, 0.0), (-0.21, 0.0), (0.0, 0.11), (0.0, -0.31)] {
            assert_eq!(moved(dx, dy), "face-shifted", "{dx} {dy}");
        }
    }

    #[test]
    fn f6_no_track_and_low_quality_are_asked_last() {
        let strict = strict();
        assert!(strict.check_quality(0.5).is_ok() && strict.check_track(3).is_ok());
        let low = strict.check_quality(0.49).unwrap_err();
        assert_eq!((low.reason(), low.index()), ("low-quality", 5));
        assert_eq!(strict.check_track(0), Err(Rejection::NoTrack));
        let off = FilterConfig::default();
        assert!(off.check_quality(0.0).is_ok() && off.check_track(0).is_ok());
    }

    #[test]
    fn f8_first_filter_that_refuses_gives_the_reason() {
        let config = FilterConfig { min_face_px: 81.0, ..strict() };
        let mut bad = points();
        // Neither frontal nor in the middle.
        bad.0.iter_mut().for_each(|p| p.x += BOX.w);
        bad.0[2].x += BOX.w;
        assert_eq!(verdict(&config, None, &[]), "no-landmarks");
        assert_eq!(verdict(&config, Some(bad), &[]), "small-face");
        let config = strict();
        assert_eq!(verdict(&config, Some(bad), &[]), "not-in-zone");
        assert_eq!(verdict(&config, Some(bad), &["door"]), "not-frontal");
        bad.0[2].x -= BOX.w;
        assert_eq!(verdict(&config, Some(bad), &["door"]), "face-shifted");
        assert_eq!(verdict(&config, Some(points()), &["door"]), "");
    }

    #[test]
    fn words_name_what_was_measured() {
        let words = [
            Rejection::NoLandmarks,
            Rejection::SmallFace { side_px: 31.6, min_px: 50.0 },
            Rejection::NotInZone,
            Rejection::NotFrontal,
            Rejection::Turned { way: "aside", degrees: 51.3, max: 40.0 },
            Rejection::FaceShifted { half: "left" },
            Rejection::LowQuality { quality: 0.123, min: 0.4 },
            Rejection::NoTrack,
        ]
        .map(|r| r.to_string());
        assert_eq!(
            words,
            [
                "the face has no landmarks",
                "the face is small: 32 px, at least 50 px are needed",
                "the face is in none of the required zones",
                "the face is not frontal: the nose is not between eyes and mouth",
                "the head is turned aside by 51 degrees, at most 40 are allowed",
                "the points of the face are all in the left half of its box",
                "the crop is poor: quality 0.12, at least 0.40 is needed",
                "the face is on no track",
            ]
        );
    }
}
