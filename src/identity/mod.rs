//! Who a face is, over time: which faces are looked at and when, how sure the result is, and what
//! is known of each track.

use serde::{Deserialize, Serialize};

pub mod alert;
mod confirm;
pub mod explain;
mod filters;
mod relink;
mod schedule;
pub mod summary;
mod track;

pub use confirm::ConfirmConfig;
pub use filters::{FilterConfig, Rejection, Subject};
pub use schedule::{Budget, Look, Moment, NextLook, ReidPolicy, ScheduleConfig};
pub use track::{Change, Observation, TrackIdentities, TrackIdentity, TrackSample, Vote};

/// What is known of a face's identity. A lookup that failed is [`Status::Error`], never
/// [`Status::Unknown`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nobody has asked yet and the face belongs to no track.
    #[default]
    Untracked,
    /// On a track, no result yet.
    Identifying,
    /// A result is there, not yet confirmed by others.
    Confirming,
    Known,
    Unknown,
    /// Near more than one person, or too near the threshold to say.
    Uncertain,
    /// Not looked at on purpose; the filter says why.
    Filtered,
    Error,
}

impl Status {
    pub const ALL: [Status; 8] = [
        Status::Untracked,
        Status::Identifying,
        Status::Confirming,
        Status::Known,
        Status::Unknown,
        Status::Uncertain,
        Status::Filtered,
        Status::Error,
    ];

    /// The name used in metadata, messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Untracked => "untracked",
            Status::Identifying => "identifying",
            Status::Confirming => "confirming",
            Status::Known => "known",
            Status::Unknown => "unknown",
            Status::Uncertain => "uncertain",
            Status::Filtered => "filtered",
            Status::Error => "error",
        }
    }

    /// The status of that name, or `None`.
    pub fn parse(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.as_str() == name)
    }
}
