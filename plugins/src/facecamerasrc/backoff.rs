//! When the next connection is tried.

use std::time::Duration;

/// Before the first try. A camera that only dropped the connection is back at once.
const FIRST: Duration = Duration::from_millis(200);
/// A connection that lasted so long was a good one: after it everything begins anew.
const STABLE: Duration = Duration::from_secs(5);
/// Before another try with a password that was refused: many cameras lock a user out who is wrong often.
const REFUSED: Duration = Duration::from_secs(30);

/// Grows from try to try. Each wait is up to a fifth longer or shorter than planned, so that the
/// cameras of a switch that lost its power are not all asked at the same moment.
#[derive(Debug)]
pub(super) struct Backoff {
    longest: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// `seed` makes two of them differ.
    pub(super) fn new(longest: Duration, seed: u64) -> Self {
        Self { longest, next: FIRST.min(longest), random: seed | 1 }
    }

    /// How long to wait now. `lasted`: how long the connection that was lost gave pictures; `refused`: user or
    /// password were wrong.
    pub(super) fn wait(&mut self, lasted: Option<Duration>, refused: bool) -> Duration {
        if lasted.is_some_and(|lasted| lasted >= STABLE) {
            self.next = FIRST.min(self.longest);
        }
        let wait = if refused { REFUSED.max(self.longest) } else { self.next };
        self.next = (self.next * 2).min(self.longest);
        wait.mul_f64(0.8 + 0.4 * self.fraction())
    }

    /// 0 to 1, by xorshift64 (Marsaglia, 2003).
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn is_about(wait: Duration, planned: Duration) {
        assert!(wait >= planned.mul_f64(0.79) && wait <= planned.mul_f64(1.21), "{wait:?}");
    }

    #[test]
    fn waits_grow_to_the_longest_and_begin_anew_after_a_good_connection() {
        let mut backoff = Backoff::new(S, 7);
        for planned_ms in [200, 400, 800, 1000, 1000] {
            is_about(backoff.wait(None, false), Duration::from_millis(planned_ms));
        }
        is_about(backoff.wait(Some(S), false), S);
        is_about(backoff.wait(Some(9 * S), false), FIRST);
    }

    #[test]
    fn refused_password_waits_long_whatever_was_before() {
        let mut backoff = Backoff::new(S, 7);
        is_about(backoff.wait(None, true), REFUSED);
        is_about(Backoff::new(60 * S, 7).wait(None, true), 60 * S);
    }

    #[test]
    fn cameras_do_not_wait_in_step() {
        let waits = [3, 1 << 40, u64::MAX].map(|seed| Backoff::new(S, seed).wait(None, false));
        assert!(waits[0] != waits[1] && waits[1] != waits[2], "{waits:?}");
    }
}
