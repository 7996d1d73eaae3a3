//! What passes a camera's pipeline: how many pictures, how late, and who is on them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use face_core::identity::Status as Identity;
use gst::prelude::*;
use parking_lot::Mutex;

use super::status::Delay;
use crate::tracker::{Watchdog, WatchdogLimits};

/// How often it is looked who is there: reading the metadata costs more than counting.
const LOOK: Duration = Duration::from_millis(250);
/// Longest time without a picture from a camera that says that it is connected.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// Of all pipelines that a camera has in turn. Filled on a streaming thread, read by the thread of the
/// camera; the lock is held alone.
#[derive(Debug)]
pub(super) struct Passed {
    /// Time zero of the watchdog.
    epoch: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    watchdog: Watchdog,
    delay: Delay,
    looked: Option<Instant>,
    faces: usize,
    names: Vec<String>,
}

/// What passed so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) frames: u64,
    /// No picture came for long.
    pub(super) silent: bool,
    pub(super) delay: Delay,
    pub(super) faces: usize,
    pub(super) names: Vec<String>,
}

impl Passed {
    pub(super) fn new() -> Arc<Self> {
        // How many pictures a camera sends is its own business.
        let limits =
            WatchdogLimits { min_rate: 0.0, silence: SILENCE, ..WatchdogLimits::default() };
        let inner = Inner {
            watchdog: Watchdog::new(limits, Duration::ZERO),
            delay: Delay::default(),
            looked: None,
            faces: 0,
            names: Vec::new(),
        };
        Arc::new(Self { epoch: Instant::now(), inner: Mutex::new(inner) })
    }

    /// Watches the buffers that come to a pad.
    pub(super) fn watch(self: &Arc<Self>, pad: &gst::Pad) {
        let counter = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                counter.count(pad, buffer);
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn count(&self, pad: &gst::Pad, buffer: &gst::BufferRef) {
        let late = delay(pad, buffer);
        let now = Instant::now();
        let due = {
            let mut inner = self.inner.lock();
            inner.watchdog.tick(self.epoch.elapsed());
            if let Some(late) = late {
                inner.delay.record(late);
            }
            inner.looked.is_none_or(|last| now.saturating_duration_since(last) >= LOOK)
        };
        if due {
            let (faces, names) = people(buffer);
            let mut inner = self.inner.lock();
            inner.looked = Some(now);
            (inner.faces, inner.names) = (faces, names);
        }
    }

    /// What passed; without pictures nobody is there.
    pub(super) fn seen(&self) -> Seen {
        let now = self.epoch.elapsed();
        let inner = self.inner.lock();
        let health = inner.watchdog.health(now);
        let old = health.last_frame_age.is_none_or(|age| age > 4 * LOOK);
        let (faces, names) = if old { (0, Vec::new()) } else { (inner.faces, inner.names.clone()) };
        let silent = !health.ok && health.frames > 0;
        Seen { frames: health.frames, silent, delay: inner.delay.clone(), faces, names }
    }
}

/// How much later than its own time the buffer is here.
fn delay(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<Duration> {
    let now = pad.parent_element()?.current_running_time()?;
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = segment.segment().downcast_ref::<gst::ClockTime>()?.clone();
    let time = segment.to_running_time(buffer.pts()?)?;
    Some(Duration::from_nanos(now.saturating_sub(time).nseconds()))
}

/// How many faces there are, and the names of those who are recognised.
fn people(buffer: &gst::BufferRef) -> (usize, Vec<String>) {
    // A meta that cannot be read was logged by the elements.
    let frame = crate::tap::faces(buffer).unwrap_or_default();
    let known = frame.faces.iter().filter(|face| face.status == Identity::Known);
    let mut names: Vec<String> = known.filter_map(|face| face.name.clone()).collect();
    names.sort();
    names.dedup();
    (frame.faces.len(), names)
}
