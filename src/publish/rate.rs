//! How many frames a second are told.

/// Lets so many pass in a second of the stream, evenly.
#[derive(Clone, Debug)]
pub struct Rate {
    step_ns: u64,
    next_ns: u64,
}

impl Rate {
    /// So many a second; 0, and what is no number: all.
    pub fn new(per_second: f64) -> Self {
        let step_ns = if per_second > 0.0 { (1e9 / per_second) as u64 } else { 0 };
        Self { step_ns, next_ns: 0 }
    }

    /// Is the frame of this time told? `None`, a frame without a time, is.
    pub fn permits(&mut self, time_ns: Option<u64>) -> bool {
        let Some(now) = time_ns.filter(|_| self.step_ns > 0) else { return true };
        // Far ahead of it: the time was set back.
        if now < self.next_ns && self.next_ns - now <= self.step_ns {
            return false;
        }
        // On the grid, so that the rate is kept on average; anew after a gap.
        let next = self.next_ns.saturating_add(self.step_ns);
        let on_grid = next > now && self.next_ns <= now;
        self.next_ns = if on_grid { next } else { now.saturating_add(self.step_ns) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn passed(rate: &mut Rate, times: impl Iterator<Item = u64>) -> usize {
        times.filter(|ms| rate.permits(Some(ms * MS))).count()
    }

    #[test]
    fn rate_is_kept_on_average() {
        for (per_second, wanted) in [(5.0, 50), (1.0, 10), (0.5, 5), (30.0, 250), (0.0, 250)] {
            let mut rate = Rate::new(per_second);
            let count = passed(&mut rate, (0..250).map(|n| n * 40));
            assert_eq!(count, wanted, "{per_second}");
        }
    }

    #[test]
    fn jump_in_time_stops_nothing() {
        let mut rate = Rate::new(2.0);
        assert!(rate.permits(Some(3_600_000 * MS)));
        assert!(rate.permits(Some(0)), "back");
        assert!(!rate.permits(Some(499 * MS)));
        assert!(rate.permits(Some(10_000 * MS)), "ahead");
        assert!(!rate.permits(Some(10_400 * MS)));
        assert!(rate.permits(None) && rate.permits(None));
        for wrong in [f64::NAN, -1.0] {
            assert!(Rate::new(wrong).permits(Some(0)));
        }
    }
}
