//! What a buffer that passes a pad says.

use gst::prelude::*;
use gstface::meta::{FrameFaces, MetaError};

/// The faces of a buffer; of one without metadata, none.
pub(crate) fn faces(buffer: &gst::BufferRef) -> Result<FrameFaces, MetaError> {
    FrameFaces::read(buffer).unwrap_or_else(|| Ok(FrameFaces::default()))
}

/// The time of a buffer in the video, ns: the position that a player shows.
pub(crate) fn stream_time(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<u64> {
    let pts = buffer.pts()?;
    let segment = pad.sticky_event::<gst::event::Segment>(0);
    let time = segment.and_then(|event| {
        let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
        segment.to_stream_time(pts)
    });
    Some(time.unwrap_or(pts).nseconds())
}
