//! The elements of one camera:
//!
//! ```text
//! facecamerasrc ─ tee ─ decodebin ─ queue ─ onnxfacedetect ─ queue ─ facetrack ─ facerecognize ─ facepublish … ─ tee ─ …
//!                 └─ queue ─ clipsink.sink (what is coded)      clipsink.meta, or .sink of raw pictures ─ queue ─┤
//!                                                               the server of streams ─ faceannotate ─ queue ─┘
//! ```
//!
//! A camera's own coded stream is what clips keep; whether it is one that they can, is known with its
//! first caps. Each tee is there only where a clip or an output needs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;

use super::config::{Camera, Element, Settings};
use super::fault::Fault;
use crate::chain::{self, pad};
use crate::elements::{discard, make, queue, upright};
use crate::error::AnalyzeError;
use crate::rtsp_server::Mount;

/// Between the camera and the clips, where nothing ever waits: enough for pictures that come at once.
const CODED_QUEUE: &str = "clips-coded";
const TOLD_QUEUE: &str = "clips-told";
/// Before what is drawn for the viewers of the stream.
const OUTPUT_QUEUE: &str = "output";

/// Answer of a probe that lets nothing pass. With `Drop` the bindings have released what GStreamer 1.22 then
/// wants to release.
const LEAVE_OUT: gst::PadProbeReturn = gst::PadProbeReturn::Handled;

/// The pipeline of a camera, in state Null. It is brought down when it is dropped.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) pipeline: gst::Pipeline,
    pub(super) source: gst::Element,
    pub(super) detector: gst::Element,
    pub(super) tracker: gst::Element,
    pub(super) recognizer: Option<gst::Element>,
    pub(super) publishers: Vec<gst::Element>,
    pub(super) clips: Option<gst::Element>,
    pub(super) annotation: Option<gst::Element>,
    /// Buffers that come here have passed all elements that write metadata.
    pub(super) end: gst::Pad,
    queues: Vec<(&'static str, gst::Element)>,
}

impl Drop for Line {
    fn drop(&mut self) {
        // Going down to Null cannot fail.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Line {
    /// `mount` is where the stream is served again.
    pub(super) fn build(camera: &Camera, mount: Option<&Arc<Mount>>) -> Result<Line, Fault> {
        let pipeline = gst::Pipeline::new();
        let source = camera.source.make("source")?;
        let detector = camera.detection.make("detect")?;
        let tracker = camera.tracking.make("track")?;
        let recognizer = optional(camera.recognition.as_ref(), "recognize")?;
        let clips = optional(camera.clips.as_ref(), "clips")?;
        let publishers = camera.publish.iter().enumerate();
        let publishers: Vec<gst::Element> = publishers
            .map(|(n, target)| target.make(&format!("publish-{n}")))
            .collect::<Result<_, _>>()?;
        let (arrived, detected) = (queue("arrived")?, queue("detected")?);
        // A camera does not wait: a picture that nobody is ready for gives way to a newer one.
        arrived.set_property_from_str("leaky", "downstream");
        let queues = vec![("arrived", arrived.clone()), ("detected", detected.clone())];

        let mut row = vec![arrived];
        row.extend(upright()?);
        row.extend([detector.clone(), detected, tracker.clone()]);
        row.extend(recognizer.clone());
        row.extend(publishers.iter().cloned());
        let last = match (&clips, mount) {
            (None, None) => discard("frames-end")?,
            _ => tee("told")?,
        };
        row.push(last.clone());
        pipeline.add_many(&row).map_err(AnalyzeError::pipeline)?;
        gst::Element::link_many(&row).map_err(AnalyzeError::pipeline)?;
        pipeline.add(&source).map_err(AnalyzeError::pipeline)?;
        let decode = chain::decoder(&pipeline, pad(&row[0], "sink")?, None, &Arc::default())?;
        let mut line = Line {
            end: pad(&last, "sink")?,
            pipeline,
            source,
            detector,
            tracker,
            recognizer,
            publishers,
            clips,
            annotation: None,
            queues,
        };
        match line.clips.clone() {
            None => line.source.link(&decode).map_err(AnalyzeError::pipeline)?,
            Some(clips) => line.add_clips(&clips, &decode, &last)?,
        }
        if let Some(mount) = mount {
            let annotation = camera.output.as_ref().and_then(|output| output.annotation.as_ref());
            line.add_output(annotation, mount, &last)?;
        }
        Ok(line)
    }

    /// The way to the server of streams. Nothing is drawn for nobody.
    fn add_output(
        &mut self,
        annotation: Option<&Settings>,
        mount: &Arc<Mount>,
        told: &gst::Element,
    ) -> Result<(), Fault> {
        let shown = queue(OUTPUT_QUEUE)?;
        shown.set_property_from_str("leaky", "downstream");
        self.annotation = optional(annotation, "annotate")?;
        let mut row = vec![told.clone(), shown.clone()];
        row.extend(self.annotation.clone());
        row.push(mount.branch().map_err(|error| Fault::passing(error.to_string()))?.upcast());
        self.pipeline.add_many(row.iter().skip(1)).map_err(AnalyzeError::pipeline)?;
        gst::Element::link_many(&row).map_err(AnalyzeError::pipeline)?;
        let mount = mount.clone();
        // The server learns from the first picture what it serves.
        let first = AtomicBool::new(true);
        pad(&shown, "sink")?.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            match mount.is_watched() || first.swap(false, Ordering::Relaxed) {
                true => gst::PadProbeReturn::Ok,
                false => LEAVE_OUT,
            }
        });
        self.queues.push((OUTPUT_QUEUE, shown));
        Ok(())
    }

    /// The two ways to clipsink. They are joined with it when the camera says what it sends.
    fn add_clips(
        &mut self,
        clips: &gst::Element,
        decode: &gst::Element,
        told: &gst::Element,
    ) -> Result<(), AnalyzeError> {
        let coded = tee("coded")?;
        let coded_queue = make("queue", CODED_QUEUE)?;
        let told_queue = queue(TOLD_QUEUE)?;
        // Metadata repeats its events; pictures that clipsink encodes itself may be too many for it.
        told_queue.set_property_from_str("leaky", "downstream");
        let added = [&coded, &coded_queue, &told_queue, clips];
        self.pipeline.add_many(added).map_err(AnalyzeError::pipeline)?;
        self.source.link(&coded).map_err(AnalyzeError::pipeline)?;
        coded.link(decode).map_err(AnalyzeError::pipeline)?;
        told.link(&told_queue).map_err(AnalyzeError::pipeline)?;
        self.queues.push((CODED_QUEUE, coded_queue.clone()));
        self.queues.push((TOLD_QUEUE, told_queue.clone()));
        let joined = AtomicBool::new(false);
        let (weak, tee) = (clips.downgrade(), coded.downgrade());
        let entry = pad(&coded, "sink")?;
        entry.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            let caps = match info.event().map(|event| event.view()) {
                Some(gst::EventView::Caps(event)) => event.caps_owned(),
                _ => return gst::PadProbeReturn::Ok,
            };
            if let (Some(clips), Some(tee)) = (weak.upgrade(), tee.upgrade())
                && !joined.swap(true, Ordering::SeqCst)
                && let Err(error) = join(&clips, &tee, &coded_queue, &told_queue, &caps)
            {
                gst::element_error!(clips, gst::CoreError::Pad, ("{error}"));
            }
            gst::PadProbeReturn::Ok
        });
        let weak = clips.downgrade();
        let pipeline = self.pipeline.downgrade();
        self.source.connect_pad_added(move |source, pad| {
            let (Some(clips), Some(pipeline)) = (weak.upgrade(), pipeline.upgrade()) else {
                return;
            };
            if let Err(error) = join_sound(&pipeline, &clips, pad) {
                gst::element_warning!(
                    source,
                    gst::CoreError::Pad,
                    ("clips without sound: {error}")
                );
            }
        });
        Ok(())
    }

    /// An element, as changes of a configuration name it.
    pub(super) fn element(&self, element: Element) -> Option<&gst::Element> {
        match element {
            Element::Source => Some(&self.source),
            Element::Detection => Some(&self.detector),
            Element::Tracking => Some(&self.tracker),
            Element::Recognition => self.recognizer.as_ref(),
            Element::Annotation => self.annotation.as_ref(),
            Element::Clips => self.clips.as_ref(),
            Element::Publish(n) => self.publishers.get(n),
        }
    }

    /// Pictures that wait in each of the queues.
    pub(super) fn queues(&self) -> Vec<(&'static str, u64)> {
        let level = |queue: &gst::Element| queue.property::<u32>("current-level-buffers");
        self.queues.iter().map(|(name, queue)| (*name, u64::from(level(queue)))).collect()
    }

    /// Ends the stream behind the source, whatever that is doing: everything downstream completes what
    /// it has. The pipeline posts EOS when that is done.
    pub(super) fn finish(&self) {
        for pad in self.source.src_pads() {
            let Some(peer) = pad.peer() else { continue };
            pad.add_probe(gst::PadProbeType::DATA_DOWNSTREAM, |_, _| LEAVE_OUT);
            // The event waits for the buffer that is on its way; who asks for the end does not.
            self.pipeline.call_async(move |_| {
                peer.send_event(gst::event::Eos::new());
            });
        }
    }
}

fn optional(settings: Option<&Settings>, name: &str) -> Result<Option<gst::Element>, AnalyzeError> {
    settings.map(|settings| settings.make(name)).transpose()
}

fn tee(name: &str) -> Result<gst::Element, AnalyzeError> {
    let tee = make("tee", name)?;
    // Until it is known what the camera sends nobody takes anything.
    tee.set_property("allow-not-linked", true);
    Ok(tee)
}

/// Gives clipsink what it keeps: the coded stream with the metadata of the other way, or the pictures
/// with their own metadata.
fn join(
    clips: &gst::Element,
    coded: &gst::Element,
    coded_queue: &gst::Element,
    told_queue: &gst::Element,
    caps: &gst::CapsRef,
) -> Result<(), AnalyzeError> {
    let name = caps.structure(0).map_or("", |s| s.name().as_str());
    if matches!(name, "video/x-h264" | "video/x-h265") {
        coded_queue.link_pads(Some("src"), clips, Some("sink")).map_err(AnalyzeError::pipeline)?;
        coded.link(coded_queue).map_err(AnalyzeError::pipeline)?;
        return told_queue
            .link_pads(Some("src"), clips, Some("meta"))
            .map_err(AnalyzeError::pipeline);
    }
    told_queue.link_pads(Some("src"), clips, Some("sink")).map_err(AnalyzeError::pipeline)
}

/// Gives clipsink the sound of the camera.
fn join_sound(
    pipeline: &gst::Pipeline,
    clips: &gst::Element,
    pad: &gst::Pad,
) -> Result<(), AnalyzeError> {
    if pad.name() != "audio" {
        return Ok(());
    }
    let queue = make("queue", "clips-sound")?;
    pipeline.add(&queue).map_err(AnalyzeError::pipeline)?;
    queue.sync_state_with_parent().map_err(AnalyzeError::pipeline)?;
    queue.link_pads(Some("src"), clips, Some("audio")).map_err(AnalyzeError::pipeline)?;
    pad.link(&self::pad(&queue, "sink")?).map_err(AnalyzeError::pipeline)?;
    Ok(())
}
