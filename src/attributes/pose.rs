//! Which way a head is turned, from the five points of a face.

use serde::Serialize;

use crate::geometry::{Landmarks, Point};

/// The five points of an average face in three dimensions, in distances of the eyes: x to the
/// right and y down as in a picture, z away from the camera. x and y are the proportions of the
/// ArcFace template, the mean of many frontal faces. A nose stands out by about half the distance
/// of the pupils (31 of 63 mm), the corners of the mouth by about a tenth: the usual proportions of
/// anthropometry.
const MODEL: [[f64; 3]; 5] = [
    [-0.5, 0.0, 0.0],
    [0.5, 0.0, 0.0],
    [0.0, 0.571, -0.5],
    [-0.415, 1.156, -0.1],
    [0.415, 1.156, -0.1],
];

/// How a head is turned. Left and right are those of the picture; whoever looks into the camera
/// straight has three angles near 0. Pitch is the least sure of them: a long nose and a lowered
/// head look alike, so that it may be off by ten degrees and more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeadPose {
    /// Degrees, -90..=90; above 0: turned to the right.
    pub yaw: f32,
    /// Degrees, -180..=180; above 0: looking up.
    pub pitch: f32,
    /// Degrees, -180..=180; above 0: tilted clockwise, to the right.
    pub roll: f32,
    /// The same as scores, each 0..=1.
    pub scores: PoseScores,
}

/// How far a head is turned, tilted or raised, each 0 (not at all) to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PoseScores {
    /// 1: the nose is half a distance of the eyes left of the middle of the face.
    pub turned_left: f32,
    /// As `turned_left`, to the right.
    pub turned_right: f32,
    /// 1: the line of the eyes is 30 degrees off the horizontal, the right eye higher.
    pub tilted_left: f32,
    /// As `tilted_left`, the left eye higher.
    pub tilted_right: f32,
    /// 1: raised by 45 degrees.
    pub up: f32,
}

impl HeadPose {
    /// From the points of a face in square pixels. `None` if they are not finite or too near to
    /// each other to tell.
    ///
    /// ```
    /// use face_core::attributes::pose::HeadPose;
    /// use face_core::geometry::{Landmarks, Point};
    ///
    /// let p = Point::new;
    /// let frontal = [p(30.0, 40.0), p(70.0, 40.0), p(50.0, 63.0), p(33.0, 86.0), p(67.0, 86.0)];
    /// let pose = HeadPose::of(&Landmarks(frontal)).ok_or("no pose")?;
    /// assert!(pose.yaw.abs() < 1.0 && pose.roll.abs() < 1.0 && pose.pitch.abs() < 3.0);
    /// let mut turned = frontal;
    /// turned[2].x = 62.0;
    /// let pose = HeadPose::of(&Landmarks(turned)).ok_or("no pose")?;
    /// assert!(pose.yaw > 25.0 && pose.scores.turned_right > 0.5);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn of(points: &Landmarks) -> Option<HeadPose> {
        let [r1, r2] = orthonormal(fit(points)?)?;
        // Third row of the rotation: the cross product of the first two. The rotation is
        // Rz(roll) Ry(yaw) Rx(pitch), with the signs of yaw and pitch turned round.
        let r3 = [
            r1[1] * r2[2] - r1[2] * r2[1],
            r1[2] * r2[0] - r1[0] * r2[2],
            r1[0] * r2[1] - r1[1] * r2[0],
        ];
        let degrees = |radians: f64| radians.to_degrees() as f32;
        Some(HeadPose {
            yaw: degrees(r3[0].clamp(-1.0, 1.0).asin()),
            pitch: -degrees(r3[1].atan2(r3[2])),
            roll: degrees(r2[0].atan2(r1[0])),
            scores: PoseScores::of(points)?,
        })
    }
}

impl PoseScores {
    /// As [`HeadPose::of`].
    fn of(points: &Landmarks) -> Option<PoseScores> {
        let Landmarks([left, right, nose, mouth_left, mouth_right]) = *points;
        let middle = |a: Point, b: Point| Point::new((a.x + b.x) / 2.0, (a.y + b.y) / 2.0);
        let (eyes, mouth) = (middle(left, right), middle(mouth_left, mouth_right));
        let distance = left.distance(right);
        // Across the face: the direction of eyes and mouth together.
        let across = Point::new(
            right.x - left.x + mouth_right.x - mouth_left.x,
            right.y - left.y + mouth_right.y - mouth_left.y,
        );
        let length = across.x.hypot(across.y);
        let height = (mouth.y - eyes.y).abs();
        if !points.is_finite() || distance <= 0.0 || length <= 0.0 {
            return None;
        }
        let face = middle(eyes, mouth);
        let aside = ((nose.x - face.x) * across.x + (nose.y - face.y) * across.y) / length;
        let turned = (2.0 * aside / distance).clamp(-1.0, 1.0);
        let slope = (right.y - left.y).atan2(right.x - left.x).to_degrees();
        let tilted = (slope / 30.0).clamp(-1.0, 1.0);
        // Of a face that looks straight ahead the nose is half-way from the eyes to the mouth.
        // Of a face that lies on its side nothing can be said.
        let nose = if height > 0.0 { (nose.y - eyes.y) / height } else { 0.5 };
        let raised = (2.0 * (0.5 - nose).clamp(-0.5, 0.5)).asin();
        let up = (raised * 4.0 / std::f32::consts::PI).clamp(0.0, 1.0);
        Some(PoseScores {
            turned_left: (-turned).max(0.0),
            turned_right: turned.max(0.0),
            tilted_left: (-tilted).max(0.0),
            tilted_right: tilted.max(0.0),
            up,
        })
    }
}

/// The two rows of the scaled orthographic projection that takes the model nearest to the points,
/// by least squares (the first step of POSIT: DeMenthon and Davis 1995).
fn fit(points: &Landmarks) -> Option<[[f64; 3]; 2]> {
    let mean = |values: [f64; 5]| values.iter().sum::<f64>() / 5.0;
    let image = [points.0.map(|p| f64::from(p.x)), points.0.map(|p| f64::from(p.y))];
    let centre = [0, 1, 2].map(|axis| mean(MODEL.map(|m| m[axis])));
    let model = MODEL.map(|m| [0, 1, 2].map(|axis| m[axis] - centre[axis]));
    let moment = |a: usize, b: usize| model.iter().map(|m| m[a] * m[b]).sum::<f64>();
    // The model is symmetric, so x is independent of y and z.
    let (xx, yy, yz, zz) = (moment(0, 0), moment(1, 1), moment(1, 2), moment(2, 2));
    let determinant = yy * zz - yz * yz;
    let row = |values: [f64; 5]| {
        let middle = mean(values);
        let dot = |axis: usize| -> f64 {
            model.iter().zip(values).map(|(m, v)| m[axis] * (v - middle)).sum()
        };
        let (x, y, z) = (dot(0), dot(1), dot(2));
        [x / xx, (zz * y - yz * z) / determinant, (yy * z - yz * y) / determinant]
    };
    let rows = image.map(row);
    rows.iter().flatten().all(|v| v.is_finite()).then_some(rows)
}

/// The nearest two rows of a rotation: B of B = S·R with S symmetric. `None` if the rows are
/// (nearly) one direction.
fn orthonormal(rows: [[f64; 3]; 2]) -> Option<[[f64; 3]; 2]> {
    let dot = |a: &[f64; 3], b: &[f64; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (a, b, c) = (dot(&rows[0], &rows[0]), dot(&rows[0], &rows[1]), dot(&rows[1], &rows[1]));
    // The square root of the symmetric matrix [[a, b], [b, c]] is that matrix plus s on its
    // diagonal, divided by t, with s the root of its determinant.
    let determinant = a * c - b * b;
    let s = determinant.sqrt();
    let t = (a + c + 2.0 * s).sqrt();
    if !(determinant > 1e-6 * (a + c) * (a + c) && t > 1e-6) {
        return None;
    }
    let (p, q, r) = ((a + s) / t, b / t, (c + s) / t);
    let inverse = 1.0 / (p * r - q * q);
    let mix = |x: f64, y: f64| [0, 1, 2].map(|k| inverse * (x * rows[0][k] + y * rows[1][k]));
    Some([mix(r, -q), mix(-q, p)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The model turned, seen from afar.
    fn turned(yaw: f64, pitch: f64, roll: f64) -> Landmarks {
        let [yaw, pitch, roll] = [yaw, pitch, roll].map(f64::to_radians);
        Landmarks(MODEL.map(|[x, y, z]| {
            // Looking up: what stands out goes up. Then to the right, then clockwise.
            let (y, z) = (y * pitch.cos() + z * pitch.sin(), z * pitch.cos() - y * pitch.sin());
            let (x, z) = (x * yaw.cos() - z * yaw.sin(), z * yaw.cos() + x * yaw.sin());
            let _ = z;
            let (x, y) = (x * roll.cos() - y * roll.sin(), y * roll.cos() + x * roll.sin());
            Point::new((300.0 + 80.0 * x) as f32, (200.0 + 80.0 * y) as f32)
        }))
    }

    #[test]
    fn angles_of_a_turned_model_come_back() {
        for yaw in [-60.0, -20.0, 0.0, 35.0, 75.0] {
            for pitch in [-40.0, 0.0, 25.0] {
                for roll in [-120.0, -10.0, 0.0, 44.0] {
                    let pose = HeadPose::of(&turned(yaw, pitch, roll)).unwrap();
                    let found = [pose.yaw, pose.pitch, pose.roll].map(f64::from);
                    for (found, wanted) in found.into_iter().zip([yaw, pitch, roll]) {
                        assert!((found - wanted).abs() < 0.1, "{found:?} {wanted}");
                    }
                }
            }
        }
    }

    #[test]
    fn scores_follow_their_definitions() {
        let scores = |yaw, pitch, roll| HeadPose::of(&turned(yaw, pitch, roll)).unwrap().scores;
        let straight = scores(0.0, 0.0, 0.0);
        assert!(
            [straight.turned_left, straight.turned_right, straight.up].map(|s| s < 0.02)
                == [true; 3]
        );
        let left = scores(-30.0, 0.0, 0.0);
        assert!(left.turned_left > 0.4 && left.turned_right == 0.0, "{left:?}");
        let right = scores(80.0, 0.0, 0.0);
        assert_eq!((right.turned_left, right.turned_right), (0.0, 1.0));
        let tilted = scores(0.0, 0.0, 15.0);
        assert!((tilted.tilted_right - 0.5).abs() < 0.01 && tilted.tilted_left == 0.0);
        assert_eq!(scores(0.0, 0.0, -45.0).tilted_left, 1.0);
        assert!(scores(0.0, 25.0, 0.0).up > 0.2);
        assert_eq!(scores(0.0, -25.0, 0.0).up, 0.0);
        // A nose at a quarter of the way to the mouth: asin(2 · 0.25) · 4 / π.
        let p = Point::new;
        let raised = [p(0.0, 0.0), p(40.0, 0.0), p(20.0, 10.0), p(4.0, 40.0), p(36.0, 40.0)];
        let up = HeadPose::of(&Landmarks(raised)).unwrap().scores.up;
        assert!((up - 0.5f32.asin() * 4.0 / std::f32::consts::PI).abs() < 1e-6, "{up}");
    }

    #[test]
    fn points_that_are_no_face_have_no_pose() {
        let at = |points: [(f32, f32); 5]| Landmarks(points.map(|(x, y)| Point::new(x, y)));
        assert_eq!(HeadPose::of(&at([(3.0, 4.0); 5])), None);
        assert_eq!(HeadPose::of(&at([0.0, 1.0, 2.0, 3.0, 4.0].map(|i| (i, 2.0 * i)))), None);
        let mut broken = turned(0.0, 0.0, 0.0);
        for value in [f32::NAN, f32::INFINITY, f32::MAX] {
            broken.0[3].y = value;
            assert_eq!(HeadPose::of(&broken), None, "{value}");
        }
    }
}
