//! Two clocks: over TCP rtspsrc counts a stream's times by the camera's clock from its first packet on, and
//! cheap clocks differ by seconds in a day. Times would come apart from the pipeline's clock until
//! every picture is late, or waits for its time.

/// A wrong clock is seen in the earliest arrivals of so many ns: what comes late says nothing.
const WINDOW_NS: i64 = 10_000_000_000;
/// Differences up to this are the network's.
const TOLERATED_NS: i64 = 20_000_000;
/// Times are moved by so much per second at most, ns: nobody sees it, and it is ten times what
/// clocks differ by.
const PER_SECOND_NS: i64 = 1_000_000;

/// Compares the times of a connection's buffers with when they come. All times are running times, ns.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// Least lateness of the first window.
    reference: Option<i64>,
    /// Beginning of this window, and its least lateness so far.
    window: Option<(i64, i64)>,
    /// What times are to be moved by.
    wanted: i64,
    /// What they are moved by, and when that was last changed.
    moved: i64,
    last: Option<i64>,
}

impl Drift {
    /// The time that a buffer gets which has `time` by the camera and comes at `now`.
    pub(super) fn correct(&mut self, time: i64, now: i64) -> i64 {
        let late = now.saturating_sub(time);
        let (begin, least) = self.window.unwrap_or((now, late));
        let least = least.min(late);
        self.window = Some((begin, least));
        if now.saturating_sub(begin) >= WINDOW_NS {
            let reference = *self.reference.get_or_insert(least);
            let apart = least.saturating_sub(reference);
            if apart.saturating_sub(self.wanted).abs() > TOLERATED_NS {
                self.wanted = apart;
            }
            self.window = None;
        }
        let passed = now.saturating_sub(self.last.unwrap_or(now)).max(0);
        self.last = Some(now);
        let step = passed.saturating_mul(PER_SECOND_NS) / 1_000_000_000;
        self.moved += (self.wanted - self.moved).clamp(-step, step);
        time.saturating_add(self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const FRAME: i64 = 40 * MS;

    /// Lateness of the last buffer after so many hours of a clock that is slow by `ppm`, and the
    /// greatest step between two buffers beside their distance.
    fn run(hours: i64, ppm: i64) -> (i64, i64) {
        let mut drift = Drift::default();
        let (mut late, mut step, mut before) = (0, 0, None::<i64>);
        for n in 0..hours * 3600 * 25 {
            let now = n * FRAME;
            let camera = now - now / 1_000_000 * ppm;
            // Every third one is held up on the way.
            let arrived = now + if n % 3 == 0 { 30 * MS } else { 0 };
            let time = drift.correct(camera, arrived);
            late = now - time;
            if let Some(before) = before {
                step = step.max((time - before - FRAME).abs());
            }
            before = Some(time);
        }
        (late, step)
    }

    #[test]
    fn clock_of_a_camera_that_is_slow_or_fast_is_followed() {
        for ppm in [-80, 80] {
            let (late, step) = run(8, ppm);
            assert!(late.abs() < 60 * MS, "{late} ns after 8 h at {ppm} ppm");
            assert!(step < MS, "{step}");
        }
    }

    #[test]
    fn times_of_a_good_clock_stay_as_they_are() {
        assert_eq!(run(1, 0), (0, 0));
    }

    #[test]
    fn network_that_is_slow_for_a_while_moves_nothing() {
        let mut drift = Drift::default();
        for n in 0..2500 {
            let now = n * FRAME;
            // Half of a window.
            let held_up = if (600..700).contains(&n) { 300 * MS } else { 0 };
            assert_eq!(drift.correct(now, now + held_up), now);
        }
    }
}
