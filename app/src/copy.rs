//! The annotated copy: pictures drawn on and encoded as H.264, the sound copied as it is where MP4
//! can hold it and encoded again where not.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;
use gstface::clipsink::sound::parser;

use crate::elements::{make, queue};
use crate::error::AnalyzeError;

/// Constant quality of x264; 21 is close to the source, 51 the worst.
const X264_QUALITY: u32 = 21;
/// Bits per pixel and second with which openh264 keeps faces clean, at 30 frames per second.
const OPENH264_BITS_PER_PIXEL: u64 = 5;
/// Key frames at most this many frames apart, so that players can seek.
const KEY_FRAME_DISTANCE: u32 = 120;

/// Names of the elements of the sound begin so.
pub(crate) const AUDIO_PREFIX: &str = "audio-";

/// mp4mux and what feeds it.
#[derive(Debug)]
pub(crate) struct Copy {
    mux: gst::Element,
    sink: gst::Element,
    last: gst::Element,
}

impl Copy {
    /// Appends faceannotate and the encoder to `chain`, the elements that are linked in a row.
    pub(crate) fn build(
        pipeline: &gst::Pipeline,
        path: &Path,
        spool: &Path,
        chain: &mut Vec<gst::Element>,
    ) -> Result<Copy, AnalyzeError> {
        let annotate = make("faceannotate", "annotate")?;
        let convert = make("videoconvert", "copy-convert")?;
        // An MP4 track has one size: a stream that changes it is fitted into the first.
        let scale = make("videoscale", "copy-scale")?;
        let format = make("capsfilter", "copy-format")?;
        format.set_property("caps", i420().build());
        let encoder = encoder()?;
        keep_first_size(&scale, &format, &encoder);
        let parse = make("h264parse", "copy-parse")?;
        chain.extend([queue("recognized")?, annotate, convert, scale, format, encoder]);
        chain.push(parse.clone());

        let mux = make("mp4mux", "copy-mux")?;
        mux.set_property("faststart", true);
        mux.set_property("faststart-file", spool);
        let sink = make("filesink", "copy-file")?;
        sink.set_property("location", path);
        // Nothing arrives before the end: the sink must not hold up the start.
        sink.set_property("async", false);
        pipeline.add_many([&mux, &sink]).map_err(AnalyzeError::pipeline)?;
        Ok(Copy { mux, sink, last: parse })
    }

    /// Links what `build` could not: the encoder is in the pipeline now.
    pub(crate) fn finish(&self) -> Result<(), AnalyzeError> {
        self.last.link_pads(None, &self.mux, Some("video_%u")).map_err(AnalyzeError::pipeline)?;
        self.mux.link(&self.sink).map_err(AnalyzeError::pipeline)
    }

    /// Takes a stream of sound, coded or raw, into the copy.
    pub(crate) fn add_audio(
        &self,
        pipeline: &gst::Pipeline,
        pad: &gst::Pad,
        caps: &gst::CapsRef,
        index: usize,
    ) -> Result<(), AnalyzeError> {
        let name = |part: &str| format!("{AUDIO_PREFIX}{index}-{part}");
        let mut elements = vec![audio_queue(&name("queue"))?];
        match parser(caps) {
            Some(parser) => elements.push(make(parser, &name("parse"))?),
            None => {
                elements.push(make("audioconvert", &name("convert"))?);
                elements.push(make("audioresample", &name("resample"))?);
                elements.extend(audio_encoder(&name)?);
            }
        }
        pipeline.add_many(&elements).map_err(AnalyzeError::pipeline)?;
        gst::Element::link_many(&elements).map_err(AnalyzeError::pipeline)?;
        let (Some(first), Some(last)) = (elements.first(), elements.last()) else {
            return Ok(());
        };
        last.link_pads(None, &self.mux, Some("audio_%u")).map_err(AnalyzeError::pipeline)?;
        for element in elements.iter().rev() {
            element.sync_state_with_parent().map_err(AnalyzeError::pipeline)?;
        }
        let entry =
            first.static_pad("sink").ok_or_else(|| AnalyzeError::pipeline("no sink pad"))?;
        pad.link(&entry).map_err(AnalyzeError::pipeline)?;
        Ok(())
    }
}

/// The muxer waits for the encoder, which looks many frames ahead: the sound of that time must
/// find room, or both wait for ever.
fn audio_queue(name: &str) -> Result<gst::Element, AnalyzeError> {
    let queue = queue(name)?;
    queue.set_property("max-size-buffers", 0u32);
    queue.set_property("max-size-bytes", 64u32 << 20);
    Ok(queue)
}

/// AAC, else Opus.
fn audio_encoder(name: &dyn Fn(&str) -> String) -> Result<Vec<gst::Element>, AnalyzeError> {
    let found = [("avenc_aac", "aacparse"), ("voaacenc", "aacparse"), ("opusenc", "opusparse")]
        .into_iter()
        .find(|(encoder, _)| gst::ElementFactory::find(encoder).is_some());
    let Some((encoder, parser)) = found else {
        return Err(AnalyzeError::MissingElement {
            name: "avenc_aac".to_owned(),
            package: "gstreamer1.0-libav",
        });
    };
    Ok(vec![make(encoder, &name("encode"))?, make(parser, &name("parse"))?])
}

fn i420() -> gst::caps::Builder<gst::caps::NoFeature> {
    gst::Caps::builder("video/x-raw").field("format", "I420")
}

fn encoder() -> Result<gst::Element, AnalyzeError> {
    if gst::ElementFactory::find("x264enc").is_some() {
        let encoder = make("x264enc", "copy-encode")?;
        encoder.set_property_from_str("pass", "qual");
        encoder.set_property("quantizer", X264_QUALITY);
        // The defaults keep half a gigabyte of 1080p frames and take most of the time.
        encoder.set_property_from_str("speed-preset", "veryfast");
        encoder.set_property("rc-lookahead", 10i32);
        encoder.set_property("key-int-max", KEY_FRAME_DISTANCE);
        return Ok(encoder);
    }
    let encoder = make("openh264enc", "copy-encode")?;
    encoder.set_property("gop-size", KEY_FRAME_DISTANCE);
    Ok(encoder)
}

/// Fixes the size of the copy to that of the first picture, made even, as H.264 in 4:2:0 needs.
fn keep_first_size(scale: &gst::Element, format: &gst::Element, encoder: &gst::Element) {
    let Some(pad) = scale.static_pad("sink") else { return };
    let started = AtomicBool::new(false);
    let (format, encoder) = (format.downgrade(), encoder.downgrade());
    let wanted = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
    pad.add_probe(wanted, move |_, info| {
        if info.buffer().is_some() {
            started.store(true, Ordering::Relaxed);
        }
        let Some(gst::EventView::Caps(event)) = info.event().map(|e| e.view()) else {
            return gst::PadProbeReturn::Ok;
        };
        // Until the first picture the size may still change: that a recording is turned is known
        // only after its first size.
        if !started.load(Ordering::Relaxed)
            && let Ok(video) = gst_video::VideoInfo::from_caps(event.caps())
            && let (Some(format), Some(encoder)) = (format.upgrade(), encoder.upgrade())
        {
            fix_size(&video, &format, &encoder);
        }
        gst::PadProbeReturn::Ok
    });
}

fn fix_size(video: &gst_video::VideoInfo, format: &gst::Element, encoder: &gst::Element) {
    let even = |side: u32| side.next_multiple_of(2) as i32;
    let caps = i420()
        .field("width", even(video.width()))
        .field("height", even(video.height()))
        .field("pixel-aspect-ratio", video.par());
    format.set_property("caps", caps.build());
    if encoder.factory().is_some_and(|f| f.name() == "openh264enc") {
        let pixels = u64::from(video.width()) * u64::from(video.height());
        let bits = (pixels * OPENH264_BITS_PER_PIXEL).clamp(500_000, 50_000_000);
        encoder.set_property("bitrate", bits as u32);
    }
}
