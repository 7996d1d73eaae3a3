//! Pads of the elements that work in place on raw video.

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
