//! Times in buckets that grow with the time: percentiles in bounded memory.

use std::time::Duration;

/// Buckets per doubling: neighbours differ by an eighth at most, so that the middle of one is
/// wrong by a sixteenth at most.
const STEPS: u64 = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Doublings of a microsecond, up to 69 s.
const DOUBLINGS: usize = 26;
const BUCKETS: usize = STEPS as usize * (DOUBLINGS - STEP_BITS as usize + 1);

/// Counts times, from a microsecond to a minute, in less than a kilobyte.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u32; BUCKETS],
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let count = &mut self.counts[bucket(micros)];
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// How many times were recorded.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The time that a share of all (0..=1) does not exceed, within a sixteenth; zero if there are
    /// none.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return middle(bucket);
            }
        }
        Duration::ZERO
    }
}

/// The first [`STEPS`] buckets are a microsecond wide, every further [`STEPS`] twice as wide as those
/// before.
fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let doubling = micros.ilog2() - STEP_BITS;
    let step = (micros >> doubling) - STEPS;
    ((u64::from(doubling) + 1) * STEPS + step).min(BUCKETS as u64 - 1) as usize
}

fn middle(bucket: usize) -> Duration {
    let (doubling, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if doubling == 0 {
        return Duration::from_micros(step);
    }
    let width = 1 << (doubling - 1);
    Duration::from_nanos(((STEPS + step) * width * 2 + width) * 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times spread over all magnitudes, in an order without pattern (a linear congruential
    /// generator, Numerical Recipes' constants).
    fn times(count: usize) -> Vec<Duration> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / f64::from(u32::MAX)
        };
        std::iter::repeat_with(|| Duration::from_secs_f64(10f64.powf(6.0 * next() - 5.0)))
            .take(count)
            .collect()
    }

    #[test]
    fn percentiles_are_those_of_the_times_within_a_sixteenth() {
        let mut histogram = Histogram::default();
        let mut all = times(10_000);
        all.iter().for_each(|time| histogram.record(*time));
        all.sort();
        assert_eq!(histogram.total(), 10_000);
        for share in [0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
            let exact = all[(share * 10_000.0) as usize - 1].as_secs_f64();
            let found = histogram.quantile(share).as_secs_f64();
            assert!((found / exact - 1.0).abs() <= 1.0 / 16.0 + 1e-3, "{share}: {found} {exact}");
        }
    }

    #[test]
    fn every_time_has_its_bucket_and_none_lies_outside() {
        let mut last = 0;
        for micros in (0..5000).chain((13..64).map(|bits| 1 << bits)) {
            let bucket = bucket(micros);
            assert!(bucket >= last && bucket < BUCKETS, "{micros}: {bucket} after {last}");
            last = bucket;
        }
        assert_eq!(last, BUCKETS - 1);
        assert_eq!((0..9).map(|m| middle(bucket(m)).as_micros()).sum::<u128>(), 36);
    }

    #[test]
    fn nothing_recorded_is_zero() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        histogram.record(Duration::MAX);
        assert!(histogram.quantile(0.5) > Duration::from_secs(60));
    }
}
