//! How a service is doing, as the terminal, /healthz and /metrics show it.

use std::collections::BTreeMap;
use std::time::Duration;

use face_core::outbox;
use serde::Serialize;

use super::state::CameraState;

/// How a service is doing.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// In the order of the configuration.
    pub cameras: Vec<CameraStatus>,
    /// What waits to leave this machine; absent where nothing does.
    pub outbox: Option<outbox::Stats>,
    pub process: Process,
    /// Configurations that were taken over while running, and such that were refused.
    pub reloads: u64,
    pub refused_reloads: u64,
}

impl Status {
    /// Do all cameras run? One that came to its end has done what was asked of it.
    pub fn is_healthy(&self) -> bool {
        self.cameras.iter().all(|c| matches!(c.state, CameraState::Running | CameraState::Ended))
    }
}

/// How a camera is doing.
#[derive(Clone, Debug, Default)]
pub struct CameraStatus {
    pub name: String,
    pub state: CameraState,
    /// Of a camera that does not run: why not, where that is known. No password is in it.
    pub reason: Option<String>,
    /// How long the state lasts.
    pub lasts: Duration,
    /// Since the start of the service; it goes on when the pipeline is built again.
    pub counts: Counts,
    /// Pictures that pass, and looks of the detector, per second of the last seconds.
    pub frames_per_second: f64,
    pub looks_per_second: f64,
    /// Faces on the last picture.
    pub faces: usize,
    /// Names of those who are recognised on it, without repetition.
    pub names: Vec<String>,
    /// From when a picture came until it had passed all elements.
    pub delay: Delay,
    /// Time that elements need for a picture: the element and its 50, 95 and 99 %.
    pub times: Vec<(&'static str, [Duration; 3])>,
    /// Pictures that wait in the queues.
    pub queues: Vec<(&'static str, u64)>,
    /// Inputs of all cameras that wait for the model which an element of this one uses.
    pub inputs: Vec<(&'static str, u64)>,
    /// Clips that are being made, and bytes of coded pictures that are kept for clips to come.
    pub open_clips: u64,
    pub kept_bytes: u64,
}

/// What was counted of a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Pictures that passed all elements.
    pub frames: u64,
    /// Pictures on which the detector looked for faces.
    pub looks: u64,
    /// Faces that it found.
    pub faces: u64,
    /// Faces that were embedded.
    pub embeddings: u64,
    /// Times that a track got a name.
    pub identifications: u64,
    /// Pictures that were not looked at, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Events by their kind.
    pub events: BTreeMap<String, u64>,
    /// Clips by what became of them.
    pub clips: BTreeMap<String, u64>,
    /// Frames and events for others that had no room.
    pub unpublished: u64,
    /// Connections of the camera that were lost.
    pub losses: u64,
    /// Pipelines that failed.
    pub failures: u64,
    /// Warnings of the elements.
    pub warnings: u64,
}

impl Counts {
    /// Adds what a pipeline counted that is gone.
    pub(super) fn add(&mut self, other: &Counts) {
        let sum = |all: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>| {
            for (key, count) in more {
                *all.entry(key.clone()).or_default() += count;
            }
        };
        self.frames += other.frames;
        self.looks += other.looks;
        self.faces += other.faces;
        self.embeddings += other.embeddings;
        self.identifications += other.identifications;
        sum(&mut self.skipped, &other.skipped);
        sum(&mut self.events, &other.events);
        sum(&mut self.clips, &other.clips);
        self.unpublished += other.unpublished;
        self.losses += other.losses;
        self.failures += other.failures;
        self.warnings += other.warnings;
    }
}

/// Delays in buckets, as Prometheus wants them: whoever reads them twice knows those in between.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delay {
    /// How many are in each bucket of [`Delay::BOUNDS_MS`]; the last one has those beyond.
    counts: [u64; Delay::BOUNDS_MS.len() + 1],
    sum: Duration,
}

impl Delay {
    /// Upper ends of the buckets.
    pub const BOUNDS_MS: [u64; 14] =
        [10, 20, 50, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 2000, 5000];

    pub(super) fn record(&mut self, delay: Duration) {
        let millis = delay.as_secs_f64() * 1000.0;
        let bucket = Self::BOUNDS_MS.iter().take_while(|bound| millis > **bound as f64).count();
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += delay;
    }

    /// Upper ends in seconds, and how many delays are not above each.
    pub fn cumulated(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = Self::BOUNDS_MS.iter().map(|bound| *bound as f64 / 1000.0);
        bounds.zip(self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }))
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> Duration {
        self.sum
    }
}

/// What the process uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    pub cpu: Duration,
    pub resident_bytes: u64,
    pub threads: u64,
    pub open_files: u64,
    /// Seconds of the wall clock.
    pub started: f64,
}

impl Process {
    /// Now; what /proc does not tell is 0.
    pub(super) fn read(started: f64) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
        };
        let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count);
        Self {
            cpu: face_core::cpu::process_time(),
            resident_bytes: field("VmRSS:").saturating_mul(1024),
            threads: field("Threads:"),
            // The folder itself is open while it is read.
            open_files: open.map_or(0, |count| count.saturating_sub(1) as u64),
            started,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn delays_are_counted_up_to_the_ends_of_their_buckets() {
        let mut delay = Delay::default();
        for millis in [0, 10, 11, 499, 500, 5000, 5001] {
            delay.record(ms(millis));
        }
        let cumulated: Vec<(f64, u64)> = delay.cumulated().collect();
        assert_eq!(&cumulated[..3], [(0.01, 2), (0.02, 3), (0.05, 3)]);
        assert_eq!((cumulated[9], cumulated[13]), ((0.5, 5), (5.0, 6)));
        assert_eq!((delay.count(), delay.sum()), (7, ms(11_021)));
    }

    #[test]
    fn what_is_counted_goes_on_in_the_next_pipeline() {
        let mut first = Counts { frames: 3, ..Counts::default() };
        first.events.insert("known-face".into(), 2);
        let mut second = Counts { frames: 4, ..Counts::default() };
        second.events = [("known-face".into(), 1), ("zone-enter".into(), 5)].into();
        first.add(&second);
        assert_eq!(first.frames, 7);
        assert_eq!(first.events, [("known-face".into(), 3), ("zone-enter".into(), 5)].into());
    }

    #[test]
    fn process_is_read() {
        let process = Process::read(1.0);
        assert!(process.resident_bytes > 1 << 20 && process.threads > 0, "{process:?}");
        assert!(process.open_files > 2, "{process:?}");
    }
}
