//! What holds on a live stream only: a late frame is not looked at, and an element tells how much
//! latency its looks add. The elements read QoS events themselves, since BaseTransform would drop
//! the buffer.

use std::time::Duration;

use face_core::load::Promise;
use gst::glib;
use gst::prelude::*;
use gst_base::prelude::*;
use parking_lot::Mutex;

/// On a live stream a frame whose look takes longer than this goes on without results.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// What the latency query said; `None`: not asked yet.
    live: Option<bool>,
    /// Running time before which a buffer comes too late downstream.
    earliest: Option<gst::ClockTime>,
}

/// Why a frame is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// By what the sink says.
    Qos,
    /// By `max-latency`.
    TooOld,
    /// The look took too long.
    Deadline,
}

/// How many frames were not looked at because they were late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LateCounts {
    qos: u64,
    too_old: u64,
    deadline: u64,
}

impl LateCounts {
    pub(crate) fn add(&mut self, late: Late) {
        match late {
            Late::Qos => self.qos += 1,
            Late::TooOld => self.too_old += 1,
            Late::Deadline => self.deadline += 1,
        }
    }

    pub(crate) fn write(&self, stats: &mut gst::Structure) {
        stats.set("late", self.qos + self.too_old + self.deadline);
        stats.set("skipped-late", self.qos);
        stats.set("skipped-max-latency", self.too_old);
        stats.set("skipped-deadline", self.deadline);
    }
}

/// The property `max-latency`.
pub(crate) fn max_latency_property() -> glib::ParamSpec {
    glib::ParamSpecUInt64::builder("max-latency")
        .nick("Maximum latency")
        .blurb(
            "On a live stream, buffers that are older than this when they come, in nanoseconds by \
             the pipeline's clock, go on without inference; what the source holds back (latency of \
             rtspsrc) counts (0 = any age)",
        )
        .mutable_playing()
        .build()
}

/// Is the stream live, and which buffers are late?
#[derive(Debug, Default)]
pub(crate) struct Lateness(Mutex<State>);

impl Lateness {
    /// Forgets what is known: after a flush or a start.
    pub(crate) fn reset(&self) {
        *self.0.lock() = State::default();
    }

    /// Reads a QoS event that goes upstream.
    pub(crate) fn observe(&self, event: &gst::Event) {
        if let gst::EventView::Qos(qos) = event.view() {
            let (_, _, diff, timestamp) = qos.get();
            let mut state = self.0.lock();
            state.earliest = timestamp.filter(|_| diff > 0).map(|timestamp| {
                // As GstBaseTransform: as late again as the buffer was.
                timestamp + gst::ClockTime::from_nseconds(2 * diff.unsigned_abs())
            });
        }
    }

    /// Does upstream say that it is live? Asked once per stream.
    pub(crate) fn is_live(&self, element: &gst_base::BaseTransform) -> bool {
        if let Some(live) = self.0.lock().live {
            return live;
        }
        let mut query = gst::query::Latency::new();
        let live = element.sink_pad().peer_query(&mut query) && query.result().0;
        self.0.lock().live = Some(live);
        live
    }

    /// Why the buffer of a live stream comes too late, if it does. `max_latency_ns` 0: any age.
    pub(crate) fn of(
        &self,
        element: &gst_base::BaseTransform,
        buffer: &gst::BufferRef,
        max_latency_ns: u64,
    ) -> Option<Late> {
        let earliest = self.0.lock().earliest;
        if earliest.is_none() && max_latency_ns == 0 {
            return None;
        }
        let time = running_time(element, buffer)?;
        if max_latency_ns > 0 {
            let age = element.current_running_time()?.saturating_sub(time);
            if age.nseconds() > max_latency_ns {
                return Some(Late::TooOld);
            }
        }
        earliest.is_some_and(|earliest| time < earliest).then_some(Late::Qos)
    }
}

/// `None` without a time, and before the segment.
pub(crate) fn running_time(
    element: &gst_base::BaseTransform,
    buffer: &gst::BufferRef,
) -> Option<gst::ClockTime> {
    element.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts())
}

/// The latency that an element's looks add.
#[derive(Debug, Default)]
pub(crate) struct Latency(Mutex<Promise>);

impl Latency {
    pub(crate) fn reset(&self) {
        *self.0.lock() = Promise::default();
    }

    /// Takes in how long a look took. If more latency is to be told of, the pipeline is asked to ask
    /// for it: to be called without a lock.
    pub(crate) fn looked(&self, element: &gst::Element, took: Duration) {
        let changed = self.0.lock().record(took, DEADLINE);
        if changed {
            // Without a bus nobody listens.
            let _ = element.post_message(gst::message::Latency::builder().src(element).build());
        }
    }

    /// Adds the element's own to what upstream answered.
    pub(crate) fn add_to(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) {
        if direction != gst::PadDirection::Src {
            return;
        }
        if let gst::QueryViewMut::Latency(query) = query.view_mut() {
            let (live, least, most) = query.result();
            let own = self.0.lock().promised();
            let own = gst::ClockTime::try_from(own).unwrap_or_default();
            if live {
                query.set(live, least + own, most.map(|most| most + own));
            }
        }
    }
}
