//! Zones: named areas of the picture, and who is in them.
//!
//! [`Zones`] are polygons with names, read from text. [`ZoneWatch`] says of every track which zones
//! it is in, and tells when it enters one, leaves it, or stays.
//!
//! A face is where the centre of its box is. It is in a zone if that point is in the polygon by the
//! even-odd rule, and in no excluding polygon. A point on a left or upper border is inside, one on
//! a right or lower border is not: a point on the common border of two zones is in exactly one.
//!
//! A track that is in a zone stays in it until its face is outside by more than [`MARGIN`] of the
//! box's own width and height, so that a face that trembles on a border does not come and go.

mod polygon;
mod text;
mod watch;

pub use polygon::MARGIN;
pub use text::{MOST_POINTS, MOST_ZONES, Zone, ZoneError, Zones};
pub use watch::{ZoneEvent, ZoneEventKind, ZoneWatch};
