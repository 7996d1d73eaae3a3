//! How much latency an element tells of, by what its work has taken.

use std::time::Duration;

/// Looks after which the promise is checked again.
const LOOKS: usize = 16;
/// Promises are multiples of this: few of them, since every new one makes the pipeline ask again.
const STEP: Duration = Duration::from_millis(10);

/// The time that nearly every look fits into. It only grows: what is shown would stop and jump
/// with every change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Promise {
    recent: [Duration; LOOKS],
    count: usize,
    promised: Duration,
}

impl Promise {
    /// Takes in how long a look took. True if the promise has changed.
    pub fn record(&mut self, took: Duration, most: Duration) -> bool {
        self.recent[self.count] = took;
        self.count += 1;
        if self.count < LOOKS {
            return false;
        }
        self.count = 0;
        self.recent.sort_unstable();
        // One in sixteen may be an accident.
        let usual = self.recent[LOOKS - 2];
        if usual <= self.promised {
            return false;
        }
        let steps = usual.as_nanos().div_ceil(STEP.as_nanos());
        let rounded = STEP * u32::try_from(steps).unwrap_or(u32::MAX);
        let before = std::mem::replace(&mut self.promised, rounded.min(most));
        before != self.promised
    }

    pub fn promised(&self) -> Duration {
        self.promised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(1);

    fn record(promise: &mut Promise, millis: &[u64]) -> usize {
        let looks = millis.iter().map(|ms| Duration::from_millis(*ms));
        looks.filter(|took| promise.record(*took, MOST)).count()
    }

    #[test]
    fn promise_covers_looks_but_not_an_accident() {
        let mut promise = Promise::default();
        let mut looks = [13; LOOKS];
        looks[0] = 900;
        assert_eq!(record(&mut promise, &looks[..LOOKS - 1]), 0);
        assert_eq!(record(&mut promise, &looks[LOOKS - 1..]), 1);
        assert_eq!(promise.promised(), Duration::from_millis(20));
    }

    #[test]
    fn promise_grows_to_the_limit_and_stays() {
        let mut promise = Promise::default();
        assert_eq!(record(&mut promise, &[50; LOOKS]), 1);
        assert_eq!(record(&mut promise, &[20; 4 * LOOKS]), 0);
        assert_eq!(promise.promised(), Duration::from_millis(50));
        assert_eq!(record(&mut promise, &[5000; 2 * LOOKS]), 1);
        assert_eq!(promise.promised(), MOST);
    }
}
