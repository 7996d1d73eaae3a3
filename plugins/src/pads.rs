//! Pads of the elements that work in place on raw video.

use gst::prelude::*;
use gst_base::prelude::*;

/// One sink and one source pad, both always there, with the formats of [`crate::frame::CAPS`].
pub(crate) fn templates() -> Vec<gst::PadTemplate> {
    [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
        .into_iter()
        .filter_map(|(name, direction)| {
            let caps = &crate::frame::CAPS;
            gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps).ok()
        })
        .collect()
}

/// Posts an error if a buffer comes before any caps: BaseTransform would refuse it silently.
///
/// # Errors
/// [`gst::FlowError::NotNegotiated`], after the error was posted.
pub(crate) fn require_caps(element: &gst_base::BaseTransform) -> Result<(), gst::FlowError> {
    if element.sink_pad().has_current_caps() {
        return Ok(());
    }
    gst::element_error!(
        element,
        gst::CoreError::Negotiation,
        ("buffer without caps: put videoconvert before the element")
    );
    Err(gst::FlowError::NotNegotiated)
}
