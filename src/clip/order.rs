//! What a recorder is set to, and what it says is to be done.

use std::str::FromStr;

use super::ring::Packet;
use super::sidecar::{Frame, Missing, Trigger};

/// What happens to a clip that is being made when another event comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRetrigger {
    /// It goes on until the post-roll of the later event.
    #[default]
    Extend,
    /// It ends as it would have.
    Ignore,
    /// It ends at the later event, and another one begins there.
    Split,
}

impl OnRetrigger {
    pub const ALL: [Self; 3] = [Self::Extend, Self::Ignore, Self::Split];

    /// `extend`, `ignore` or `split`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Extend => "extend",
            Self::Ignore => "ignore",
            Self::Split => "split",
        }
    }
}

impl FromStr for OnRetrigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        known.ok_or_else(|| format!("'{text}' is not extend, ignore or split"))
    }
}

/// How long clips are. Times in ns, not negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Before the event; the clip begins at the key picture before that.
    pub pre_roll: i64,
    /// After the last event.
    pub post_roll: i64,
    /// A clip is not made longer than this.
    pub max_duration: i64,
    /// After the end of a clip none begins for this long.
    pub cooldown: i64,
    /// How much later than the picture an event may be told.
    pub decision_delay: i64,
    /// Of coded pictures that are kept for clips to come.
    pub max_bytes: u64,
    pub on_retrigger: OnRetrigger,
}

impl Default for RecorderConfig {
    /// 5 s before and after, 5 min at most, no cool-down, 5 s to decide, 128 MiB.
    fn default() -> Self {
        const SECOND: i64 = 1_000_000_000;
        Self {
            pre_roll: 5 * SECOND,
            post_roll: 5 * SECOND,
            max_duration: 300 * SECOND,
            cooldown: 0,
            decision_delay: 5 * SECOND,
            max_bytes: 128 << 20,
            on_retrigger: OnRetrigger::Extend,
        }
    }
}

/// What is to be done, in this order. Clips are numbered from 1. Times are running time in ns.
#[derive(Clone, Debug, PartialEq)]
pub enum Order<T> {
    /// There will be a clip of these events: to be written down before anything else.
    Open {
        clip: u64,
        triggers: Vec<Trigger>,
        continues: Option<u64>,
    },
    /// Its first picture is shown at `start`, in the format of this number.
    Begin {
        clip: u64,
        start: i64,
        format: u32,
    },
    /// The clip is of this event, too.
    Trigger {
        clip: u64,
        trigger: Trigger,
    },
    Picture {
        clip: u64,
        packet: Packet<T>,
    },
    /// Of the sound of this format.
    Sound {
        clip: u64,
        packet: Packet<T>,
        format: u32,
    },
    Frame {
        clip: u64,
        frame: Frame,
    },
    /// It is complete, but for what is `missing`; its last picture ends at `end`, and was not
    /// `cut` short by anything.
    Close {
        clip: u64,
        end: i64,
        cut: bool,
        missing: Vec<Missing>,
    },
    /// There is no clip of this event, and why.
    Refused {
        trigger: Trigger,
        reason: &'static str,
    },
}
