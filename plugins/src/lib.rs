//! GStreamer elements that find, follow, recognise and draw faces.
pub mod meta;
