//! Stored clips: their keys, what is written beside them, and looking after them.

mod clips;
mod finish;
mod forget;
mod key;
mod notify;
mod order;
mod recorder;
mod reference;
mod ring;
mod sequence;
mod sidecar;
mod spool;
mod timed;
pub mod utc;

pub use clips::{Clip, ClipError, Clips, Filter, Forgotten, Prune, Report, SidecarState, Summary};
pub use finish::{FinishError, Spooled, complete, discard, resume};
pub use key::{ClipName, KeyParts, KeyTemplate, Part, TemplateError};
pub use notify::{FollowUp, Notify, STORED_TEMPLATE};
pub use order::{OnRetrigger, Order, RecorderConfig};
pub use recorder::Recorder;
pub use ring::{Packet, Ring};
pub use sequence::{Incoming, Sequencer, Step};
pub use sidecar::{
    Audio, Candidate, Face, Frame, Gallery, Media, Missing, Model, Origin, SCHEMA, Sidecar,
    SidecarError, SidecarTrack, Snapshot, Software, Trigger, Video,
};
pub use spool::{ClipSpool, OpenClip, Piece, SpoolError, Stage};
