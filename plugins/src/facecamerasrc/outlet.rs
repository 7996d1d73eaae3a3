//! From the pipeline of a connection into the application's: an appsrc, which outlives connections. Times become
//! running times of the application, and what nobody takes is dropped by whole groups of pictures.

use std::time::{Duration, Instant};

use gst::prelude::*;
use parking_lot::Mutex;

use super::drift::Drift;

/// Coded video that waits for downstream at most, by time and by size. Elements downstream of a camera
/// should leak decoded pictures before that.
const LONGEST_QUEUE: gst::ClockTime = gst::ClockTime::from_seconds(3);
const LARGEST_QUEUE: u64 = 64 << 20;
/// Raw pictures that wait at most: a driver has few of them.
const RAW_QUEUE: u64 = 4;
/// Pictures before the first whole one of a connection are of no use; a stream that has no such picture
/// is shown as it is after this time.
const KEY_PATIENCE: Duration = Duration::from_secs(5);

/// How the times of a connection become those of the application.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    pub(super) clock: gst::Clock,
    /// Base time of the application.
    pub(super) base: gst::ClockTime,
    /// Running time of the application when that of the connection was 0, ns.
    pub(super) offset: i64,
    /// Times come from a clock of the camera that nobody corrects.
    pub(super) drifts: bool,
}

impl Timing {
    /// Running time of the application, ns.
    pub(super) fn now(&self) -> i64 {
        signed(self.clock.time().saturating_sub(self.base))
    }
}

/// A time as a number, ns.
pub(super) fn signed(time: gst::ClockTime) -> i64 {
    i64::try_from(time.nseconds()).unwrap_or(i64::MAX)
}

/// What went through since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) buffers: u64,
    pub(super) bytes: u64,
    pub(super) dropped: u64,
}

/// A connection, as its stream knows it.
#[derive(Debug)]
struct Connection {
    number: u64,
    timing: Timing,
    drift: Drift,
    began: Instant,
    /// When the last buffer came, whatever became of it.
    last: Option<Instant>,
    /// None was handed on yet.
    first: bool,
    /// Buffers are left out up to the next one that needs no other.
    wants_key: bool,
    /// End of the last buffer, by time stamp and duration, ns.
    next: Option<i64>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    caps: Option<gst::Caps>,
    counts: Counts,
    /// The latest end of a buffer of any connection, running time, ns.
    end: i64,
}

/// One stream. The lock is not held while something is handed to the appsrc.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) source: gst_app::AppSrc,
    state: Mutex<State>,
}

/// How a stream is doing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulse {
    /// Was a buffer of this connection handed on?
    pub(super) flows: bool,
    /// Time since the last one that came, or since the connection began.
    pub(super) silence: Duration,
}

impl Outlet {
    pub(super) fn new(name: &str) -> Self {
        let source = gst_app::AppSrc::builder()
            .name(name)
            .is_live(true)
            .format(gst::Format::Time)
            // Bounded here: appsrc would wait, or cut coded video anywhere.
            .max_bytes(0)
            .build();
        Self { source, state: Mutex::default() }
    }

    /// A connection begins; what an earlier one still sends is ignored from now on.
    pub(super) fn begin(&self, number: u64, timing: Timing) {
        self.state.lock().connection = Some(Connection {
            number,
            timing,
            drift: Drift::default(),
            began: Instant::now(),
            last: None,
            first: true,
            wants_key: true,
            next: None,
        });
    }

    pub(super) fn end(&self) {
        self.state.lock().connection = None;
    }

    pub(super) fn pulse(&self) -> Pulse {
        match &self.state.lock().connection {
            Some(connection) => Pulse {
                flows: !connection.first,
                silence: connection.last.unwrap_or(connection.began).elapsed(),
            },
            None => Pulse::default(),
        }
    }

    /// Running time up to which there are pictures, ns.
    pub(super) fn latest_end(&self) -> i64 {
        self.state.lock().end
    }

    pub(super) fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// Forgets the last run.
    pub(super) fn reset(&self) {
        *self.state.lock() = State::default();
    }

    /// Hands a buffer of that connection on. Never waits.
    pub(super) fn take(&self, number: u64, sample: &gst::Sample) {
        let Some(mut buffer) = sample.buffer_owned() else { return };
        let caps = sample.caps_owned();
        let raw = caps
            .as_ref()
            .and_then(|caps| caps.structure(0))
            .is_some_and(|s| s.name() == "video/x-raw");
        let full = self.is_full(raw);
        let new_caps = {
            let mut state = self.state.lock();
            let State { connection, caps: last_caps, counts, end } = &mut *state;
            let Some(connection) = connection.as_mut().filter(|c| c.number == number) else {
                return;
            };
            connection.last = Some(Instant::now());
            let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            if full {
                counts.dropped += 1;
                connection.wants_key = true;
                return;
            }
            if !connection.admits(key) {
                counts.dropped += u64::from(!connection.first);
                return;
            }
            let segment = sample.segment();
            let segment = segment.and_then(|s| s.downcast_ref::<gst::ClockTime>());
            *end = connection.stamp(buffer.make_mut(), segment).max(*end);
            counts.buffers += 1;
            counts.bytes += buffer.size() as u64;
            let changed = caps != *last_caps;
            last_caps.clone_from(&caps);
            changed
        };
        if new_caps {
            self.source.set_caps(caps.as_ref());
        }
        // Refused only while the element goes down.
        let _ = self.source.push_buffer(buffer);
    }

    fn is_full(&self, raw: bool) -> bool {
        if raw {
            return self.source.current_level_buffers() >= RAW_QUEUE;
        }
        self.source.current_level_time() > LONGEST_QUEUE
            || self.source.current_level_bytes() > LARGEST_QUEUE
    }
}

impl Connection {
    /// Is a buffer handed on, which needs no other if it is `key`?
    fn admits(&mut self, key: bool) -> bool {
        if key || (self.first && self.began.elapsed() > KEY_PATIENCE) {
            self.wants_key = false;
        }
        !self.wants_key
    }

    /// Gives a buffer its time in the application; when it ends, ns.
    fn stamp(
        &mut self,
        buffer: &mut gst::BufferRef,
        segment: Option<&gst::FormattedSegment<gst::ClockTime>>,
    ) -> i64 {
        let now = self.timing.now();
        let place = |time: Option<gst::ClockTime>| {
            let running = segment?.to_running_time_full(time?)?;
            let ns = signed(running.abs());
            Some(if running.is_negative() { -ns } else { ns } + self.timing.offset)
        };
        let (pts, dts) = (place(buffer.pts()), place(buffer.dts()));
        let stamped = pts.or(dts);
        let pts = match stamped {
            Some(time) if self.timing.drifts => self.drift.correct(time, now),
            Some(time) => time,
            None => self.next.unwrap_or(now),
        };
        let moved = stamped.map_or(0, |time| pts - time);
        let clock = |ns: i64| gst::ClockTime::from_nseconds(u64::try_from(ns).unwrap_or(0));
        buffer.set_pts(clock(pts));
        buffer.set_dts(dts.map(|dts| clock(dts + moved)));
        if std::mem::take(&mut self.first) {
            buffer.set_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC);
        }
        let next = pts + buffer.duration().map_or(0, signed);
        self.next = Some(next);
        next
    }
}
