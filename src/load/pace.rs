//! Which frames of a stream are looked at when so many looks a second are allowed.

use std::time::Duration;

/// Two looks are no further apart than this, whatever is allowed.
const LONGEST_NS: f64 = 1e9;
/// Share of its time that a stream may spend looking: beyond it frames pile up before it.
const BUSY_SHARE: f64 = 0.9;
/// Weight of the newest look in the mean of what looks take.
const NEWEST: f64 = 0.2;

/// The looks of one stream, in the time of the stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When the last look was due; up to one look more than were allowed may be made up for.
    due_ns: Option<f64>,
    /// What a look takes, in the mean.
    took_ns: f64,
}

impl Pace {
    /// Is the frame of this time to be looked at, if `rate` looks a second are allowed?
    pub(super) fn is_due(&self, time_ns: u64, rate: f64) -> bool {
        let Some(due_ns) = self.due_ns else { return true };
        let since = time_ns as f64 - due_ns;
        // Before the last look: the stream has jumped.
        since < -LONGEST_NS || since >= self.distance(rate)
    }

    /// A frame of this time was looked at, and that took so long.
    pub(super) fn looked(&mut self, time_ns: u64, rate: f64, took: Duration) {
        let took_ns = took.as_nanos() as f64;
        let weight = if self.due_ns.is_none() { 1.0 } else { NEWEST };
        self.took_ns += weight * (took_ns - self.took_ns);
        let (now, distance) = (time_ns as f64, self.distance(rate));
        // Frames come when they come: what one was too late by, the next one is too early.
        let due = self.due_ns.map_or(now, |due| due + distance);
        self.due_ns = Some(due.clamp(now - distance, now));
    }

    /// The stream starts anew: its next frame is looked at.
    pub(super) fn restart(&mut self) {
        self.due_ns = None;
    }

    /// From one look to the next, ns.
    fn distance(&self, rate: f64) -> f64 {
        (1e9 / rate).max(self.took_ns / BUSY_SHARE).min(LONGEST_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at the frames of `seconds` seconds at `fps`, `late_ns` by turns 0 and so much late.
    fn looks(fps: f64, rate: f64, took: Duration, late_ns: u64) -> Vec<u64> {
        let mut pace = Pace::default();
        let mut looks = Vec::new();
        for frame in 0..(10.0 * fps) as u64 {
            let time = (frame as f64 * 1e9 / fps) as u64 + frame % 2 * late_ns;
            if pace.is_due(time, rate) {
                pace.looked(time, rate, took);
                looks.push(time);
            }
        }
        looks
    }

    fn longest_gap(looks: &[u64]) -> u64 {
        looks.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0)
    }

    #[test]
    fn looks_are_as_many_as_allowed_and_evenly_spread() {
        for (fps, rate) in [(30.0, 12.0), (25.0, 10.0), (30.0, 29.0), (15.0, 2.5), (60.0, 7.7)] {
            let looks = looks(fps, rate, Duration::ZERO, 3_000_000);
            assert!((looks.len() as f64 - 10.0 * rate).abs() <= 2.0, "{rate}: {}", looks.len());
            let most = (1e9 / rate + 2e9 / fps) as u64 + 3_000_000;
            assert!(longest_gap(&looks) <= most, "{rate}: {}", longest_gap(&looks));
        }
        assert_eq!(looks(30.0, f64::INFINITY, Duration::ZERO, 0).len(), 300);
    }

    #[test]
    fn one_look_a_second_is_the_least() {
        for rate in [0.0, 1e-9, 0.4] {
            let looks = looks(30.0, rate, Duration::from_secs(5), 0);
            assert_eq!(looks.len(), 10, "{rate}");
        }
    }

    #[test]
    fn stream_never_spends_all_its_time_looking() {
        let looks = looks(30.0, f64::INFINITY, Duration::from_millis(90), 0);
        assert!((95..=100).contains(&looks.len()), "{}", looks.len());
    }

    #[test]
    fn jumps_restart_the_count() {
        let mut pace = Pace::default();
        pace.looked(100_000_000_000, 1.0, Duration::ZERO);
        assert!(!pace.is_due(99_900_000_000, 1.0));
        assert!(pace.is_due(5, 1.0), "the stream began anew");
        pace.looked(5, 1.0, Duration::ZERO);
        assert!(!pace.is_due(10, 1.0) && pace.is_due(1_000_000_005, 1.0));
        pace.restart();
        assert!(pace.is_due(11, 1.0));
    }
}
