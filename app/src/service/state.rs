//! What a camera is doing, and when a pipeline that failed is built again. Pure: every call is given
//! the time.

use std::time::Duration;

use serde::Serialize;

/// What a camera is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CameraState {
    /// Its pipeline is being built; models and gallery are loaded.
    #[default]
    Starting,
    /// The pipeline waits for the camera, which is not there yet or was lost.
    Connecting,
    /// Pictures come and are looked at.
    Running,
    /// The camera is connected, but pictures stay away or come too rarely.
    Stalled,
    /// The pipeline failed; it is built again after a while.
    Failed,
    /// The source came to its end, as files do.
    Ended,
    /// It is on the way down: clips are completed.
    Stopping,
}

impl CameraState {
    pub const ALL: [CameraState; 7] = [
        CameraState::Starting,
        CameraState::Connecting,
        CameraState::Running,
        CameraState::Stalled,
        CameraState::Failed,
        CameraState::Ended,
        CameraState::Stopping,
    ];

    /// As it is written in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            CameraState::Starting => "starting",
            CameraState::Connecting => "connecting",
            CameraState::Running => "running",
            CameraState::Stalled => "stalled",
            CameraState::Failed => "failed",
            CameraState::Ended => "ended",
            CameraState::Stopping => "stopping",
        }
    }
}

/// A state, since when, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Condition {
    pub(super) state: CameraState,
    /// Of a camera that does not run: why not, where that is known.
    pub(super) reason: Option<String>,
    /// Time since any fixed moment.
    since: Duration,
}

impl Condition {
    /// True if that is news: another state, or another reason for it.
    pub(super) fn set(
        &mut self,
        state: CameraState,
        reason: Option<String>,
        now: Duration,
    ) -> bool {
        if self.state == state && self.reason == reason {
            return false;
        }
        if self.state != state {
            self.since = now;
        }
        (self.state, self.reason) = (state, reason);
        true
    }

    /// How long the state lasts.
    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }
}

/// Wait after the first failure; doubles with each further one…
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A pipeline that lasted so long had no fault of its own: the next failure is a first one.
const STABLE: Duration = Duration::from_secs(60);

/// When a pipeline that failed is built again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    next: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { next: FIRST_WAIT }
    }
}

impl Retry {
    /// How long to wait now; `lasted`: how long the pipeline played.
    pub(super) fn wait(&mut self, lasted: Duration) -> Duration {
        if lasted >= STABLE {
            self.next = FIRST_WAIT;
        }
        let wait = self.next;
        self.next = (self.next * 2).min(LONGEST_WAIT);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_good_run() {
        let mut retry = Retry::default();
        let waits: Vec<u64> = (0..8).map(|_| retry.wait(SECOND).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(retry.wait(60 * SECOND), SECOND);
        assert_eq!(retry.wait(59 * SECOND), 2 * SECOND);
    }

    #[test]
    fn a_state_is_as_old_as_it_is_whatever_its_reasons() {
        let mut condition = Condition::default();
        assert!(condition.set(CameraState::Failed, Some("a".into()), SECOND));
        assert!(!condition.set(CameraState::Failed, Some("a".into()), 2 * SECOND));
        assert!(condition.set(CameraState::Failed, Some("b".into()), 3 * SECOND));
        assert_eq!(condition.age(5 * SECOND), 4 * SECOND);
        assert!(condition.set(CameraState::Running, None, 6 * SECOND));
        assert_eq!(condition.age(6 * SECOND), Duration::ZERO);
    }

    #[test]
    fn names_are_those_of_json() {
        for state in CameraState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
