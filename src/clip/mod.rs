//! Stored clips: their keys, what is written beside them, and looking after them.

mod clips;
mod forget;
mod key;
mod reference;
mod sidecar;
pub mod utc;

pub use clips::{Clip, ClipError, Clips, Filter, Forgotten, Prune, Report, SidecarState, Summary};
pub use key::{ClipName, KeyParts, KeyTemplate, Part, TemplateError};
pub use sidecar::{
    Audio, Candidate, Face, Frame, Gallery, Media, Missing, Model, Origin, SCHEMA, Sidecar,
    SidecarError, SidecarTrack, Snapshot, Software, Trigger, Video,
};
