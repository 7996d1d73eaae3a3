//! Places where a program sees the buffers with their faces.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gst::prelude::*;
use gstface::meta::FrameFaces;
use parking_lot::Mutex;

use crate::elements::FaceElements;
use crate::error::AnalyzeError;

/// Behind which element a tap sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TapPoint {
    /// Faces were found: boxes, landmarks, scores.
    Detector,
    /// Faces were found, followed and recognised: everything that the metadata has.
    Recognizer,
}

/// A buffer that passes a tap.
#[derive(Debug)]
pub struct TapFrame<'a> {
    /// The picture with its metadata. It can be kept by cloning it, without a copy of the pixels;
    /// many that are kept may keep a decoder from going on.
    pub buffer: &'a gst::Buffer,
    pub faces: FrameFaces,
    /// Time of the picture in the video, ns.
    pub pts_ns: Option<u64>,
    pad: &'a gst::Pad,
}

impl TapFrame<'_> {
    /// Format and size of the picture.
    pub fn caps(&self) -> Option<gst::Caps> {
        self.pad.current_caps()
    }

    /// Buffer, caps and segment, to be kept or sent elsewhere; the action signals of facerecognize
    /// take such a sample.
    pub fn sample(&self) -> gst::Sample {
        let segment = self.pad.sticky_event::<gst::event::Segment>(0);
        let builder = gst::Sample::builder().buffer(self.buffer);
        let (caps, segment) = (self.caps(), segment.as_ref().map(|s| s.segment()));
        builder.caps_if_some(caps.as_ref()).segment_if_some(segment).build()
    }
}

type Look = Box<dyn FnMut(&TapFrame) + Send>;

/// A closure and where it looks.
pub(crate) struct Tap {
    point: TapPoint,
    look: Look,
}

impl Tap {
    pub(crate) fn new(point: TapPoint, look: impl FnMut(&TapFrame) + Send + 'static) -> Self {
        Self { point, look: Box::new(look) }
    }

    /// Puts the tap where it belongs.
    pub(crate) fn install(self, faces: &FaceElements) -> Result<(), AnalyzeError> {
        let element = match self.point {
            TapPoint::Detector => &faces.detector,
            TapPoint::Recognizer => &faces.recognizer,
        };
        on_buffers(&crate::chain::pad(element, "src")?, self.look);
        Ok(())
    }
}

/// Calls `look` with every buffer that passes the pad. GLib would abort the process if it
/// panicked in a probe: the stream ends with an error instead.
pub(crate) fn on_buffers(pad: &gst::Pad, look: impl FnMut(&TapFrame) + Send + 'static) {
    let look = Mutex::new(Some(look));
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        // A meta that cannot be read, as a source may send it, was logged by the elements.
        let faces = crate::tap::faces(buffer).unwrap_or_default();
        let pts_ns = crate::tap::stream_time(pad, buffer);
        let frame = TapFrame { buffer, faces, pts_ns, pad };
        let mut guard = look.lock();
        let Some(called) = &mut *guard else { return gst::PadProbeReturn::Drop };
        if catch_unwind(AssertUnwindSafe(|| called(&frame))).is_ok() {
            return gst::PadProbeReturn::Ok;
        }
        // Dropping it may panic as well, and its state may be anything.
        std::mem::forget(guard.take());
        drop(guard);
        if let Some(element) = pad.parent_element() {
            gst::element_error!(element, gst::CoreError::Failed, ("a tap panicked"));
        }
        gst::PadProbeReturn::Drop
    });
}
