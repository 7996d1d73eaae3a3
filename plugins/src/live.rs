//! On a live stream a late frame is not looked at: the elements read QoS events themselves, since
//! BaseTransform would drop the buffer.

use gst::prelude::*;
use gst_base::prelude::*;
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// What the latency query said; `None`: not asked yet.
    live: Option<bool>,
    /// Running time before which a buffer comes too late downstream.
    earliest: Option<gst::ClockTime>,
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

    /// Would this buffer come too late?
    pub(crate) fn is_late(
        &self,
        element: &gst_base::BaseTransform,
        buffer: &gst::BufferRef,
    ) -> bool {
        let Some(earliest) = self.0.lock().earliest else {
            return false;
        };
        let segment = element.segment();
        let Some(segment) = segment.downcast_ref::<gst::ClockTime>() else {
            return false;
        };
        segment.to_running_time(buffer.pts()).is_some_and(|time| time < earliest)
    }
}
