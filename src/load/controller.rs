//! How many looks a second the streams of a process may take, so that it uses the share of the
//! processors that is wanted.
//!
//! What a look costs is not known beforehand, and it changes: with the faces that are there, the
//! model, the clock of the processor. So it is taken from what the last looks have used inside ONNX
//! Runtime, which is nearly all of it on a CPU. On a GPU it may be the smaller part: a look is taken
//! to cost half of everything at least, so that a step leads beyond the target by no more than it
//! was away, and nothing swings.

use std::time::Duration;

/// Looks a second that every stream may take, whatever they cost.
pub(super) const LEAST_RATE: f64 = 1.0;
/// Within this share of the target a distance may be chance: a few looks that cost more.
const NEAR: f64 = 0.15;
/// Share of the way to the target that is gone at once when it is near.
const CALM: f64 = 0.3;
/// No step is larger than this factor.
const LARGEST_STEP: f64 = 4.0;
/// Shortest time between two steps.
const WINDOW: Duration = Duration::from_millis(500);
/// Fewer looks say too little of what one costs, unless the time is that long.
const LOOKS: u64 = 8;
const LONGEST_WINDOW: Duration = Duration::from_secs(1);

/// Is it time for a step?
pub(super) fn step_is_due(elapsed: Duration, looks: u64) -> bool {
    elapsed >= WINDOW && (looks >= LOOKS || elapsed >= LONGEST_WINDOW)
}

/// What happened between two steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage<'a> {
    pub(super) elapsed: Duration,
    /// Processor time that the process has used, and what of it inside ONNX Runtime.
    pub(super) cpu: Duration,
    pub(super) run: Duration,
    /// Looks of all streams.
    pub(super) looks: u64,
    /// Frames of each stream.
    pub(super) frames: &'a [u64],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Controller {
    /// Processors that the process may use.
    cores: f64,
    rate: f64,
}

impl Controller {
    pub(super) fn new(cores: f64) -> Self {
        Self { cores: cores.max(1.0), rate: f64::INFINITY }
    }

    /// Looks a second that each stream may take; infinite: every frame.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Changes the rate after what happened. `target` is the share of the processors that is to be
    /// used, 0..=1.
    pub(super) fn step(&mut self, usage: Usage<'_>, target: f64) {
        let seconds = usage.elapsed.as_secs_f64();
        if seconds <= 0.0 || usage.looks == 0 {
            return;
        }
        let looks = usage.looks as f64 / seconds;
        let used = usage.cpu.as_secs_f64() / seconds;
        let target = target * self.cores;
        let cost = (usage.run.as_secs_f64() / seconds).max(used / 2.0).max(1e-6) / looks;
        let away = target - used;
        let gain = if away.abs() <= NEAR * target { CALM } else { 1.0 };
        // From the looks that there were, not from those that were allowed: where streams cannot
        // take more the rate does not run away.
        let wanted = looks + gain * away / cost;
        let wanted = wanted.clamp(looks / LARGEST_STEP, looks * LARGEST_STEP);
        self.rate = shared_out(wanted, usage.frames, seconds).max(LEAST_RATE);
    }
}

/// The rate at which the streams together take `wanted` looks a second. One with fewer frames than
/// that leaves its share to the others.
fn shared_out(wanted: f64, frames: &[u64], seconds: f64) -> f64 {
    let fps = |frames: u64| frames as f64 / seconds;
    let at = |rate: f64| frames.iter().map(|f| fps(*f).min(rate)).sum::<f64>();
    if wanted >= at(f64::INFINITY) {
        return f64::INFINITY;
    }
    // `at` grows with the rate: what is left over by one guess is spread over those that can take
    // it by the next.
    let mut rate = 0.0;
    for _ in frames {
        let open = frames.iter().filter(|f| fps(**f) > rate).count();
        rate += (wanted - at(rate)) / open.max(1) as f64;
    }
    rate
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn step(controller: &mut Controller, cpu_ms: u64, looks: u64, frames: &[u64]) -> f64 {
        let cpu = Duration::from_millis(cpu_ms);
        controller.step(Usage { elapsed: SECOND, cpu, run: cpu, looks, frames }, 0.8);
        controller.rate()
    }

    #[test]
    fn slow_streams_leave_their_share_to_fast_ones() {
        let near = |rate: f64, wanted: f64| (rate - wanted).abs() < 1e-6;
        assert!(near(shared_out(30.0, &[30, 30, 30], 1.0), 10.0));
        assert!(near(shared_out(30.0, &[5, 30, 30], 1.0), 12.5));
        assert!(near(shared_out(30.0, &[5, 8, 0, 60], 1.0), 17.0));
        assert!(near(shared_out(30.0, &[60, 10, 16], 2.0), 17.0));
        assert_eq!(shared_out(30.0, &[10, 20], 1.0), f64::INFINITY);
        assert_eq!(shared_out(0.0, &[], 1.0), f64::INFINITY);
    }

    #[test]
    fn looks_follow_the_cost() {
        let mut controller = Controller::new(2.0);
        // 20 ms a look, and 1.6 s of processor time to be used every second.
        assert!((step(&mut controller, 2000, 100, &[100, 100]) - 40.0).abs() < 1e-6);
        assert!((step(&mut controller, 1600, 80, &[100, 100]) - 40.0).abs() < 1e-6);
        // Now 40 ms.
        assert!((step(&mut controller, 2000, 50, &[100, 100]) - 20.0).abs() < 1e-6);
        assert_eq!(step(&mut controller, 100, 60, &[100, 100]), f64::INFINITY);
    }

    #[test]
    fn every_stream_has_its_look_a_second_and_silence_changes_nothing() {
        let mut controller = Controller::new(1.0);
        assert_eq!(step(&mut controller, 1000, 2, &[30, 30]), LEAST_RATE);
        assert_eq!(step(&mut controller, 0, 0, &[]), LEAST_RATE);
        assert_eq!(step(&mut controller, 1000, 0, &[30, 30]), LEAST_RATE);
    }
}
