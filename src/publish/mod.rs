//! What is seen, as messages for others: the formats, where they go, and how much of them.
//!
//! Nothing here waits or knows a network; [`mod@file`] alone touches the disk. Delivery is the business of
//! the [outbox](crate::outbox) and of [links to brokers](crate::mqtt).

pub mod dlstreamer;
pub mod file;
pub mod homeassistant;
mod message;
mod notify;
mod people;
mod rate;
pub mod topic;

pub use message::{Best, Dwell, Face, FaceFrame, FaceTrack};
pub use notify::{NotifyError, NotifyRules};
pub use people::{Change, People, Person};
pub use rate::Rate;
