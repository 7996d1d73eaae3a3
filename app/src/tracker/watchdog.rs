//! Do frames still come, and fast enough? Pure: every call is given the time.

use std::time::Duration;

/// What is expected of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WatchdogLimits {
    /// Least frames per second, smoothed; 0: any rate will do.
    pub min_rate: f64,
    /// Longest time without a frame, from the start on.
    pub silence: Duration,
    /// Weight of the past in the smoothed distance between frames, 0..1. The rate is judged once
    /// 1 / (1 − smoothing) distances were seen, or `silence` has passed since the first frame.
    pub smoothing: f64,
}

impl Default for WatchdogLimits {
    fn default() -> Self {
        Self { min_rate: 1.0, silence: Duration::from_secs(20), smoothing: 0.95 }
    }
}

impl WatchdogLimits {
    /// Why they make no sense, if they do not.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if !(self.min_rate.is_finite() && self.min_rate >= 0.0) {
            return Err("the least rate is a number of frames per second, 0 or more");
        }
        if self.silence.is_zero() {
            return Err("the longest silence is more than 0");
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            return Err("the smoothing is from 0 to less than 1");
        }
        Ok(())
    }
}

/// Why a stream is taken for stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallReason {
    /// Not one frame came since the start.
    NoFirstFrame,
    /// Frames came, then none.
    Silence,
    /// Frames come, but too few.
    LowRate,
}

impl StallReason {
    /// The name in the message `face-stall`.
    pub fn as_str(self) -> &'static str {
        match self {
            StallReason::NoFirstFrame => "no-first-frame",
            StallReason::Silence => "silence",
            StallReason::LowRate => "low-rate",
        }
    }
}

/// How a stream is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Health {
    /// Frames came, and none of the limits is broken. Before the first frame: false.
    pub ok: bool,
    /// Frames so far.
    pub frames: u64,
    /// Smoothed; 0 until two frames came.
    pub frames_per_second: f64,
    /// Time since the last frame; absent before the first.
    pub last_frame_age: Option<Duration>,
    /// How long ago the stall began that lasts; absent if there is none.
    pub stalled_for: Option<Duration>,
    /// Stalls so far.
    pub stalls: u64,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// Told once per stall. `silent_for`: since the last frame, or the start.
    Stalled { reason: StallReason, silent_for: Duration, rate: f64 },
    /// `stalled_for`: how long the stall lasted.
    Recovered { stalled_for: Duration, rate: f64 },
}

/// A rate is good again when it is so much above the limit: one about it is told once.
const RECOVERY: f64 = 1.1;

/// Watches one stream. Times are those since any fixed moment; one that lies before an earlier one
/// counts as that.
#[derive(Clone, Debug)]
pub(crate) struct Watchdog {
    limits: WatchdogLimits,
    started: Duration,
    first: Option<Duration>,
    last: Option<Duration>,
    frames: u64,
    /// Weighted distances between frames in seconds, the sum of the weights, and their number.
    distances: f64,
    weights: f64,
    counted: u32,
    /// Since when the stall that lasts does, and why.
    stall: Option<(Duration, StallReason)>,
    stalls: u64,
}

impl Watchdog {
    pub(crate) fn new(limits: WatchdogLimits, now: Duration) -> Self {
        Self {
            limits,
            started: now,
            first: None,
            last: None,
            frames: 0,
            distances: 0.0,
            weights: 0.0,
            counted: 0,
            stall: None,
            stalls: 0,
        }
    }

    /// A frame came.
    pub(crate) fn tick(&mut self, now: Duration) {
        let now = self.last.map_or(now, |last| now.max(last));
        self.frames += 1;
        self.first.get_or_insert(now);
        if let Some(last) = self.last.replace(now) {
            let distance = now.saturating_sub(last);
            // A silence is told as such. Held against the frames behind it, it would make them too
            // slow for a long time.
            if distance <= self.limits.silence {
                let new = 1.0 - self.limits.smoothing;
                self.distances =
                    self.limits.smoothing * self.distances + new * distance.as_secs_f64();
                self.weights = self.limits.smoothing * self.weights + new;
                self.counted = self.counted.saturating_add(1);
            }
        }
    }

    /// What changed since the last call. To be called a few times a second.
    pub(crate) fn check(&mut self, now: Duration) -> Option<Change> {
        let silent_for = now.saturating_sub(self.last.unwrap_or(self.started));
        let rate = self.rate();
        match (self.stall, self.fault(now)) {
            (None, Some(reason)) => {
                // Frames that come too rarely are a stall from now on; one that stopped coming has
                // been one since the last of them.
                let since = match reason {
                    StallReason::LowRate => now,
                    _ => now.saturating_sub(silent_for),
                };
                self.stall = Some((since, reason));
                self.stalls += 1;
                Some(Change::Stalled { reason, silent_for, rate })
            }
            (Some((since, _)), None) => {
                self.stall = None;
                Some(Change::Recovered { stalled_for: now.saturating_sub(since), rate })
            }
            _ => None,
        }
    }

    /// Which limit is broken.
    fn fault(&self, now: Duration) -> Option<StallReason> {
        let silent_for = now.saturating_sub(self.last.unwrap_or(self.started));
        if silent_for > self.limits.silence {
            let began = self.last.is_some();
            return Some(if began { StallReason::Silence } else { StallReason::NoFirstFrame });
        }
        let slow = matches!(self.stall, Some((_, StallReason::LowRate)));
        let least = if slow { self.limits.min_rate * RECOVERY } else { self.limits.min_rate };
        (self.is_judged(now) && self.rate() < least).then_some(StallReason::LowRate)
    }

    /// Were there enough frames, or was there enough time, to speak of a rate?
    fn is_judged(&self, now: Duration) -> bool {
        let enough = 1.0 / (1.0 - self.limits.smoothing);
        let long = self.first.is_some_and(|f| now.saturating_sub(f) >= self.limits.silence);
        self.counted > 0 && (f64::from(self.counted) >= enough || long)
    }

    /// Frames per second; 0: unknown.
    fn rate(&self) -> f64 {
        if self.counted == 0 {
            return 0.0;
        }
        // Frames at one and the same time come as fast as they can be told apart.
        self.weights / self.distances.max(1e-9)
    }

    /// Frames so far.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    pub(crate) fn health(&self, now: Duration) -> Health {
        Health {
            ok: self.last.is_some() && self.stall.is_none() && self.fault(now).is_none(),
            frames: self.frames,
            frames_per_second: self.rate(),
            last_frame_age: self.last.map(|last| now.saturating_sub(last)),
            stalled_for: self.stall.map(|(since, _)| now.saturating_sub(since)),
            stalls: self.stalls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn watchdog() -> Watchdog {
        Watchdog::new(WatchdogLimits::default(), at(100.0))
    }

    /// `count` frames, `distance` apart, from `from` on, each followed by a check; what changed,
    /// and the time of the last frame.
    fn run(dog: &mut Watchdog, from: f64, distance: f64, count: u32) -> (Vec<Change>, f64) {
        let mut changes = Vec::new();
        let mut now = from;
        for i in 0..count {
            now = from + f64::from(i) * distance;
            dog.tick(at(now));
            changes.extend(dog.check(at(now)));
        }
        (changes, now)
    }

    /// Checks twice a second between two times.
    fn wait(dog: &mut Watchdog, from: f64, to: f64) -> Vec<Change> {
        let steps = ((to - from) * 2.0) as u32;
        (0..=steps).filter_map(|i| dog.check(at(from + f64::from(i) * 0.5))).collect()
    }

    #[test]
    fn t23_stream_is_unhealthy_before_its_first_frame() {
        let mut dog = watchdog();
        let health = dog.health(at(100.0));
        assert_eq!(health, Health { ok: false, ..Health::default() });
        assert_eq!(dog.check(at(119.9)), None);
        dog.tick(at(119.9));
        assert!(dog.health(at(120.0)).ok);
    }

    #[test]
    fn t23_stream_that_never_begins_is_a_stall_after_the_silence_limit() {
        let mut dog = watchdog();
        let changes = wait(&mut dog, 100.0, 300.0);
        assert_eq!(changes.len(), 1, "{changes:?}");
        let reason = StallReason::NoFirstFrame;
        assert_eq!(
            changes[0],
            Change::Stalled { reason, silent_for: at(20.5), rate: 0.0 },
            "the first check later than 20 s"
        );
        let health = dog.health(at(300.0));
        assert_eq!((health.ok, health.stalled_for), (false, Some(at(200.0))));
        assert_eq!(health.last_frame_age, None);
    }

    #[test]
    fn t23_silence_is_told_once_and_so_is_its_end() {
        let mut dog = watchdog();
        let (changes, last) = run(&mut dog, 101.0, 0.04, 100);
        assert_eq!(changes, []);
        assert!((dog.health(at(last)).frames_per_second - 25.0).abs() < 1e-6);
        assert_eq!(wait(&mut dog, last, last + 20.0), []);
        assert!(dog.health(at(last + 20.0)).ok);
        let changes = wait(&mut dog, last + 20.1, last + 60.0);
        let [Change::Stalled { reason: StallReason::Silence, silent_for, rate }] = changes[..]
        else {
            panic!("{changes:?}");
        };
        assert!((silent_for.as_secs_f64() - 20.1).abs() < 1e-3 && (rate - 25.0).abs() < 1e-6);
        let health = dog.health(at(last + 60.0));
        assert!(!health.ok);
        assert!((health.stalled_for.unwrap().as_secs_f64() - 60.0).abs() < 1e-3);
        // The first frame is enough: the frames behind a gap are not slow because of it.
        let (changes, now) = run(&mut dog, last + 60.0, 0.04, 50);
        let [Change::Recovered { stalled_for, rate }] = changes[..] else { panic!("{changes:?}") };
        assert!((stalled_for.as_secs_f64() - 60.0).abs() < 1e-3 && rate > 24.0);
        let health = dog.health(at(now));
        assert_eq!((health.ok, health.stalls, health.frames), (true, 1, 150));
    }

    #[test]
    fn t23_second_stall_is_told_again() {
        let mut dog = watchdog();
        for round in 0..3 {
            let from = 200.0 + f64::from(round) * 100.0;
            run(&mut dog, from, 0.1, 30);
            let changes = wait(&mut dog, from + 3.0, from + 90.0);
            assert_eq!(changes.len(), 1, "{round}: {changes:?}");
        }
        assert_eq!(dog.health(at(500.0)).stalls, 3);
    }

    #[test]
    fn t23_low_rate_is_a_stall_and_needs_a_better_one_to_end() {
        let mut dog = watchdog();
        run(&mut dog, 101.0, 0.1, 100);
        // 0.5 frames per second: smoothed, the limit is passed within some ten frames.
        let (changes, last) = run(&mut dog, 112.0, 2.0, 60);
        let [Change::Stalled { reason: StallReason::LowRate, rate, .. }] = changes[..] else {
            panic!("{changes:?}");
        };
        assert!((0.9..1.0).contains(&rate), "{rate}");
        // At the limit itself nothing flaps.
        let (changes, last) = run(&mut dog, last + 0.99, 0.99, 300);
        assert_eq!(changes, []);
        let (changes, _) = run(&mut dog, last + 0.1, 0.1, 100);
        assert!(
            matches!(changes[..], [Change::Recovered { rate, .. }] if rate > 1.09),
            "{changes:?}"
        );
    }

    #[test]
    fn t23_one_gap_below_the_limit_is_no_stall() {
        let mut dog = watchdog();
        let (_, last) = run(&mut dog, 101.0, 1.0 / 30.0, 300);
        assert_eq!(wait(&mut dog, last, last + 15.0), []);
        assert_eq!(run(&mut dog, last + 15.0, 1.0 / 30.0, 300).0, []);
    }

    #[test]
    fn t23_slow_start_is_not_judged_by_its_first_frames() {
        let mut dog = watchdog();
        dog.tick(at(101.0));
        // A model is loaded.
        let (changes, _) = run(&mut dog, 109.0, 0.04, 100);
        assert_eq!(changes, []);
        // A stream that is slow from its start is: after the silence limit.
        let mut dog = watchdog();
        let (changes, _) = run(&mut dog, 101.0, 5.0, 10);
        assert!(
            matches!(changes[..], [Change::Stalled { reason: StallReason::LowRate, .. }]),
            "{changes:?}"
        );
    }

    #[test]
    fn t23_any_rate_will_do_where_none_is_asked_for() {
        let limits = WatchdogLimits { min_rate: 0.0, ..WatchdogLimits::default() };
        let mut dog = Watchdog::new(limits, at(0.0));
        assert_eq!(run(&mut dog, 1.0, 19.0, 50).0, []);
    }

    #[test]
    fn t23_times_that_run_backwards_do_no_harm() {
        let mut dog = watchdog();
        for t in [103.0, 101.0, 102.0, 50.0, 104.0] {
            dog.tick(at(t));
            let _ = dog.check(at(t));
        }
        let health = dog.health(at(104.0));
        assert!(health.ok && health.frames_per_second.is_finite(), "{health:?}");
    }

    #[test]
    fn t23_limits_that_make_no_sense_are_refused() {
        let good = WatchdogLimits::default();
        assert_eq!(good.check(), Ok(()));
        for bad in [
            WatchdogLimits { min_rate: f64::NAN, ..good },
            WatchdogLimits { min_rate: -1.0, ..good },
            WatchdogLimits { silence: Duration::ZERO, ..good },
            WatchdogLimits { smoothing: 1.0, ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
