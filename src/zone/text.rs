//! Zones as text: `door=0.1,0.2 0.5,0.2 0.5,0.9; !street=0,400 640,400 640,480 px`.

use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::polygon::is_flat;
use crate::geometry::Point;

/// Most polygons, including and excluding ones together.
pub const MOST_ZONES: usize = 64;
/// Most points of a polygon.
pub const MOST_POINTS: usize = 100;
/// Most characters of a name.
const LONGEST_NAME: usize = 64;
/// Largest coordinate in pixels.
const LARGEST_PX: f32 = 65_535.0;
/// Characters that have a meaning in the text, or in a list of names.
const RESERVED: [char; 4] = ['=', ';', ',', '!'];

/// A polygon with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Unlike that of every other zone.
    pub name: Arc<str>,
    /// A face in an excluding polygon is in no zone.
    pub exclude: bool,
    /// 3 to [`MOST_POINTS`], not all on one line.
    points: Vec<Point>,
    /// Are the points pixels of the picture instead of fractions?
    pixels: bool,
}

impl Zone {
    /// The points as fractions of a picture of `width` × `height` pixels; points in pixels may lie
    /// outside of it.
    pub(super) fn fractions(&self, width: u32, height: u32) -> impl Iterator<Item = Point> {
        let (w, h) = if self.pixels { (width.max(1), height.max(1)) } else { (1, 1) };
        self.points.iter().map(move |p| Point::new(p.x / w as f32, p.y / h as f32))
    }
}

/// Up to [`MOST_ZONES`] polygons.
///
/// As text, they are separated by semicolons. Each is a name, `=`, and three or more points `x,y`
/// separated by blanks. Coordinates are fractions of width and height, 0 to 1, or, if the last
/// point is followed by `px`, pixels of the picture that the detector saw. `!` before the name
/// makes the polygon an excluding one. Polygons may cross themselves and each other. An empty text
/// is no zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Zones(Vec<Zone>);

impl Zones {
    pub fn iter(&self) -> std::slice::Iter<'_, Zone> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A text that does not describe zones.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ZoneError {
    #[error("zones: {count} of them; give at most {MOST_ZONES}")]
    TooMany { count: usize },
    #[error("zone {number} is '{text}'; write name=x,y x,y x,y")]
    Form { number: usize, text: String },
    #[error(
        "zone {number} has the name '{name}'; give 1 to {LONGEST_NAME} characters, none of them \
         ! , ; = or a control character"
    )]
    Name { number: usize, name: String },
    #[error("zone '{zone}' is there twice; give each a name of its own")]
    Twice { zone: String },
    #[error("zone '{zone}' has {count} points; give 3 to {MOST_POINTS}")]
    Points { zone: String, count: usize },
    #[error("zone '{zone}', point {point} is '{text}'; write x,y")]
    Point { zone: String, point: usize, text: String },
    #[error(
        "zone '{zone}', point {point}: {value} is no fraction from 0 to 1; put px after the last \
         point if these are pixels"
    )]
    Fraction { zone: String, point: usize, value: f32 },
    #[error(
        "zone '{zone}', point {point}: {value} is not a number of pixels from 0 to {LARGEST_PX}"
    )]
    Pixels { zone: String, point: usize, value: f32 },
    #[error("zone '{zone}' has no area: its points lie on one line")]
    Flat { zone: String },
}

impl FromStr for Zones {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        let parts = || text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let count = parts().count();
        if count > MOST_ZONES {
            return Err(ZoneError::TooMany { count });
        }
        let mut zones: Vec<Zone> = Vec::with_capacity(count);
        for (n, part) in parts().enumerate() {
            let zone = parse_zone(n + 1, part)?;
            if zones.iter().any(|z| z.name == zone.name) {
                return Err(ZoneError::Twice { zone: zone.name.to_string() });
            }
            zones.push(zone);
        }
        Ok(Self(zones))
    }
}

fn parse_zone(number: usize, text: &str) -> Result<Zone, ZoneError> {
    let Some((name, points)) = text.split_once('=') else {
        return Err(ZoneError::Form { number, text: shortened(text) });
    };
    let (name, exclude) = match name.trim().strip_prefix('!') {
        Some(name) => (name.trim(), true),
        None => (name.trim(), false),
    };
    let wrong = |c: char| c.is_control() || RESERVED.contains(&c);
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.contains(wrong) {
        return Err(ZoneError::Name { number, name: shortened(name) });
    }
    let points = points.trim();
    let (points, pixels) = match points.strip_suffix("px") {
        Some(points) => (points, true),
        None => (points, false),
    };
    let zone = || name.to_owned();
    let count = points.split_whitespace().count();
    if !(3..=MOST_POINTS).contains(&count) {
        return Err(ZoneError::Points { zone: zone(), count });
    }
    let points: Vec<Point> = points
        .split_whitespace()
        .enumerate()
        .map(|(n, text)| parse_point(name, n + 1, text, pixels))
        .collect::<Result<_, _>>()?;
    if is_flat(&points) {
        return Err(ZoneError::Flat { zone: zone() });
    }
    Ok(Zone { name: name.into(), exclude, points, pixels })
}

fn parse_point(zone: &str, point: usize, text: &str, pixels: bool) -> Result<Point, ZoneError> {
    let numbers = text.split_once(',').and_then(|(x, y)| {
        // A second comma is in y, which then is no number.
        Some((x.parse::<f32>().ok()?, y.parse::<f32>().ok()?))
    });
    let zone = zone.to_owned();
    let Some((x, y)) = numbers else {
        return Err(ZoneError::Point { zone, point, text: shortened(text) });
    };
    let largest = if pixels { LARGEST_PX } else { 1.0 };
    match [x, y].into_iter().find(|v| !(0.0..=largest).contains(v)) {
        Some(value) if pixels => Err(ZoneError::Pixels { zone, point, value }),
        Some(value) => Err(ZoneError::Fraction { zone, point, value }),
        None => Ok(Point::new(x, y)),
    }
}

/// Texts from outside may be of any length; an error shows the first part.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Zones>().expect_err(text).to_string()
    }

    #[test]
    fn names_kinds_and_units_are_read() {
        let text = " door=0.1,0.2 0.5,0.2 0.5,0.9 ; ! Straße 2 = 0,400\t640,400 640,480px;";
        let zones: Zones = text.parse().unwrap();
        let [door, street] = &zones.0[..] else { panic!("{zones:?}") };
        assert_eq!((&*door.name, door.exclude), ("door", false));
        assert_eq!((&*street.name, street.exclude), ("Straße 2", true));
        let points: Vec<Point> = door.fractions(640, 480).collect();
        assert_eq!(points, [(0.1, 0.2), (0.5, 0.2), (0.5, 0.9)].map(|(x, y)| Point::new(x, y)));
        let points: Vec<Point> = street.fractions(1280, 800).collect();
        assert_eq!(points, [(0.0, 0.5), (0.5, 0.5), (0.5, 0.6)].map(|(x, y)| Point::new(x, y)));
        assert!("".parse::<Zones>().unwrap().is_empty());
        assert!(" ; ".parse::<Zones>().unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_zone_and_what_is_wrong() {
        let cases = [
            ("door", "zone 1 is 'door'; write name=x,y x,y x,y"),
            ("a=0,0 1,0 1,1; =0,0 1,0 1,1", "zone 2 has the name ''"),
            ("!!a=0,0 1,0 1,1", "zone 1 has the name '!a'"),
            ("a,b=0,0 1,0 1,1", "zone 1 has the name 'a,b'"),
            ("a\u{1}b=0,0 1,0 1,1", "zone 1 has the name"),
            ("a=0,0 1,0 1,1; !a=0,0 1,0 1,1", "zone 'a' is there twice"),
            ("a=0,0 1,0", "zone 'a' has 2 points; give 3 to 100"),
            ("a=", "zone 'a' has 0 points"),
            ("a=0,0 1,0 1;1", "zone 'a', point 3 is '1'; write x,y"),
            ("a=0,0 1,0 1,1,1", "zone 'a', point 3 is '1,1,1'; write x,y"),
            ("a=0,0 1,0 x,1", "zone 'a', point 3 is 'x,1'; write x,y"),
            ("a=0,0 320,0 1,1", "zone 'a', point 2: 320 is no fraction from 0 to 1; put px"),
            ("a=0,0 1,-0.5 1,1", "zone 'a', point 2: -0.5 is no fraction"),
            ("a=0,0 1,nan 1,1", "zone 'a', point 2: NaN is no fraction"),
            ("a=0,0 inf,0 1,1 px", "zone 'a', point 2: inf is not a number of pixels"),
            ("a=0,0 70000,0 1,1 px", "zone 'a', point 2: 70000 is not a number of pixels"),
            ("a=0,0 0.5,0.5 1,1", "zone 'a' has no area: its points lie on one line"),
        ];
        for (text, start) in cases {
            let error = error(text);
            assert!(error.starts_with(start), "{text}: {error}");
        }
    }

    #[test]
    fn long_texts_are_bounded() {
        let many = (0..=MOST_ZONES).map(|n| format!("z{n}=0,0 1,0 1,1;")).collect::<String>();
        assert_eq!(error(&many), "zones: 65 of them; give at most 64");
        let points = "0,0 1,0 1,1 ".repeat(34);
        assert_eq!(error(&format!("a={points}")), "zone 'a' has 102 points; give 3 to 100");
        assert!(error(&"ü".repeat(100_000)).chars().count() < 200);
        assert!(
            error(&format!("{}=0,0 1,0 1,1", "n".repeat(65))).starts_with("zone 1 has the name")
        );
    }
}
