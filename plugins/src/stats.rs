//! The property `stats`: what all elements count and measure alike, and what the fields mean.

use std::time::{Duration, Instant};

use face_core::cpu::{self, Spent};
use face_core::inference::{HandleStats, PoolStats};
use face_core::load::Histogram;
use gst::glib;
use gst::prelude::*;
use parking_lot::Mutex;

/// The property, the same for all elements.
pub(crate) fn property() -> glib::ParamSpec {
    glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
        .nick("Statistics")
        .blurb(
            "Counts since start, processor times, times per frame, and what waits; the fields are in \
             docs/elements.md",
        )
        .read_only()
        .build()
}

#[derive(Debug, Default)]
struct Measured {
    buffers: u64,
    looked: u64,
    cpu: Duration,
    times: Histogram,
}

/// Counts buffers and measures what the streaming thread spends on them. Costs two readings of
/// the thread's clock and two of the system's per buffer.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Measured>);

/// The work on one buffer, from its beginning on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lap {
    begun: Instant,
    cpu: Duration,
}

impl Lap {
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), cpu: cpu::thread_time() }
    }
}

impl Meter {
    pub(crate) fn reset(&self) {
        *self.0.lock() = Measured::default();
    }

    /// The work on a buffer is done. Of those that were `looked` at the time is taken down; it is
    /// returned in any case.
    pub(crate) fn end(&self, lap: Lap, looked: bool) -> Duration {
        let took = lap.begun.elapsed();
        self.spent(lap);
        self.passed(took, looked);
        took
    }

    /// The thread goes on to something else.
    pub(crate) fn spent(&self, lap: Lap) {
        let cpu = cpu::thread_time().saturating_sub(lap.cpu);
        self.0.lock().cpu += cpu;
    }

    /// A buffer goes on that was here for so long.
    pub(crate) fn passed(&self, took: Duration, looked: bool) {
        let mut measured = self.0.lock();
        measured.buffers += 1;
        if looked {
            measured.looked += 1;
            measured.times.record(took);
        }
    }

    /// Adds the fields that all elements have.
    pub(crate) fn write(&self, stats: &mut gst::Structure) {
        self.write_beside(Duration::ZERO, stats);
    }

    /// The same with those of inference.
    pub(crate) fn write_inference(&self, work: &Work, stats: &mut gst::Structure) {
        self.write_beside(work.spent.preprocess + work.spent.decode, stats);
        stats.set("inferences", work.handle.done);
        stats.set("cpu-preprocess", ns(work.spent.preprocess));
        stats.set("cpu-run", ns(work.handle.cpu));
        stats.set("cpu-decode", ns(work.spent.decode));
        stats.set("queue-depth", work.pool.queued as u64);
    }

    /// `counted` is the part of the thread's time that has a field of its own.
    fn write_beside(&self, counted: Duration, stats: &mut gst::Structure) {
        let measured = self.0.lock();
        stats.set("buffers", measured.buffers);
        stats.set("looked", measured.looked);
        stats.set("cpu-other", ns(measured.cpu.saturating_sub(counted)));
        for (name, share) in [("time-p50", 0.5), ("time-p95", 0.95), ("time-p99", 0.99)] {
            stats.set(name, ns(measured.times.quantile(share)));
        }
    }
}

/// What an element's use of a model has cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    pub(crate) spent: Spent,
    pub(crate) handle: HandleStats,
    pub(crate) pool: PoolStats,
}

pub(crate) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// All fields of all elements and what they mean; docs/elements.md has them as a table.
pub const FIELDS: &[(&str, &str)] = &[
    ("alerts", "alerts given, dry runs included"),
    ("alerts-cooled-down", "alerts that `alert-cooldown` held back"),
    ("audio-dropped", "streams of sound that clips cannot hold"),
    ("buffers", "buffers that came"),
    ("clips-failed", "clips that were lost"),
    ("clips-spooled", "clips that are complete on this machine"),
    ("clips-started", "clips begun"),
    ("clips-stored", "clips that are where they belong"),
    ("connected", "is the broker connected"),
    (
        "cpu-decode",
        "processor time of the streaming thread that makes faces or embeddings of the model's output, ns",
    ),
    (
        "cpu-other",
        "processor time of the streaming thread inside this element that has no other field, ns",
    ),
    (
        "cpu-preprocess",
        "processor time of the streaming thread that makes the model's input of pixels, ns",
    ),
    (
        "cpu-run",
        "processor time inside ONNX Runtime for this element, on the threads of the pool, ns",
    ),
    ("delivered", "entries of the outbox that were delivered"),
    ("dropped-events", "events that had no room"),
    ("dropped-frames", "frames that had no room"),
    ("embedded", "the same as `inferences`"),
    ("ended-tracks", "tracks that ended"),
    ("errors", "failed writes"),
    ("events", "events taken"),
    ("face-shifted", "faces filtered: not in the middle of their box"),
    ("faces", "faces found, or read from the metadata"),
    (
        "frames",
        "buffers that came, of `facerecognize` those with metadata; of `facepublish` frames that were told",
    ),
    ("inferences", "inputs that the model ran on"),
    ("kept-bytes", "bytes of coded pictures in memory now"),
    ("late", "the sum of `skipped-late`, `skipped-deadline` and `skipped-max-latency`"),
    ("live-tracks", "tracks now"),
    ("look-rate", "looks a second that `interval=auto` allows now, 0: every frame"),
    (
        "looked",
        "buffers that were worked on: searched for faces, a face on them embedded, followed, drawn on, told of",
    ),
    ("low-quality", "faces filtered: poor crops"),
    ("malformed", "buffers whose metadata cannot be read"),
    ("no-landmarks", "faces filtered: without landmarks"),
    ("no-track", "faces filtered: without a track"),
    ("not-finite", "faces left out because the model gave no numbers"),
    ("not-frontal", "faces filtered: turned away"),
    ("not-in-zone", "faces filtered: outside of `required-zones`"),
    ("open-clips", "clips being made now"),
    ("over-budget", "times that a face had to wait for `max-inferences-per-second`"),
    ("pending-bytes", "bytes that wait for the disk now"),
    ("pictures", "coded pictures that came"),
    (
        "queue-depth",
        "what waits for a thread now: inputs of all elements for the model, things to tell, tasks of the thread that writes",
    ),
    ("refused", "events that should have made a clip and did not"),
    ("relinked", "tracks that came back"),
    ("relinked-tracks", "tracks that go on under an older id"),
    ("scene-cuts", "scenes that began"),
    ("search-errors", "faces that could not be looked up"),
    (
        "skipped-deadline",
        "buffers that went on without results because they took longer than a second (live)",
    ),
    (
        "skipped-interval",
        "buffers that were not looked at because of `interval`, or because no face was due",
    ),
    (
        "skipped-late",
        "buffers that were not looked at because they were late by the sink's QoS events (live)",
    ),
    (
        "skipped-max-latency",
        "buffers that were not looked at because they were older than `max-latency` (live)",
    ),
    ("small-face", "faces filtered: too small"),
    (
        "time-p50",
        "half of the looked-at buffers took at most this long in the element, ns, within a sixteenth",
    ),
    ("time-p95", "the same for 95 of 100"),
    ("time-p99", "the same for 99 of 100"),
    ("tracks", "tracks that were told"),
    ("triggers", "events that make clips"),
    ("unreadable", "buffers whose pixels cannot be read"),
    ("unusable", "faces whose crop or embedding is none"),
    ("waiting", "entries that wait in the outbox"),
    ("without-meta", "buffers without metadata"),
];
