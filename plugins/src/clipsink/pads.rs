//! What comes in by the pads, on their threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use face_core::event::FaceEvent;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;

use super::encoder::{self, Kind};
use super::imp::{CAT, ClipSink, ToRecorder, running_ns};
use super::inlet::Inlet;
use super::metadata::{self, Context};
use super::sound;
use super::stream::{Anchor, Ended, Stream};
use super::worker::Task;
use crate::meta::FrameFaces;
use crate::stats::Lap;
use crate::{camera_time, context_query, upstream_check};

/// Key pictures of an encoder inside are no further apart, ns.
const KEY_DISTANCE_NS: u64 = 950_000_000;
/// Of a file so many bytes wait for the disk at most, where a camera may need `max-bytes`.
const FILE_PENDING_BYTES: u64 = 1 << 20;
const SLOW_DISK: &str = "the disk of the spool is too slow";

fn segment_of(pad: &gst::Pad) -> gst::FormattedSegment<gst::ClockTime> {
    let event = pad.sticky_event::<gst::event::Segment>(0);
    event.and_then(|e| e.segment().downcast_ref().cloned()).unwrap_or_default()
}

/// Elements that are new in the middle of a stream have not seen its segment.
fn pass_on_segment(pad: &gst::Pad, inlet: &Inlet) {
    if let Some(segment) = pad.sticky_event::<gst::event::Segment>(0) {
        inlet.event(segment.into());
    }
}

impl ClipSink {
    pub(super) fn sink_chain(
        &self,
        pad: &gst::Pad,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let lap = Lap::begin();
        let taken = self.take_picture(pad, buffer);
        self.meter.end(lap, taken.is_ok());
        taken
    }

    fn take_picture(
        &self,
        pad: &gst::Pad,
        buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let video = self.inlets.lock().video.clone();
        let Some((kind, inlet)) = video else {
            gst::element_imp_error!(
                self,
                gst::CoreError::Negotiation,
                ("buffer without caps on pad sink")
            );
            return Err(gst::FlowError::NotNegotiated);
        };
        let segment = segment_of(pad);
        let time = buffer.pts().and_then(|pts| running_ns(&segment, pts));
        self.read_clock(&buffer, time);
        if self.pads.lock().meta.is_none() {
            self.look(pad, &buffer, time);
        }
        self.make_room()?;
        if kind == Kind::Raw && self.key_is_due(time) {
            inlet.force_key_picture();
        }
        inlet.push(buffer)
    }

    /// Is the last key picture that was asked for long ago?
    fn key_is_due(&self, time: Option<i64>) -> bool {
        let Some(time) = time else { return false };
        let mut inlets = self.inlets.lock();
        let due = inlets.last_key.is_none_or(|last| time.abs_diff(last) >= KEY_DISTANCE_NS);
        if due {
            inlets.last_key = Some(time);
        }
        due
    }

    /// What waits for the disk has a limit: a file waits, a camera does not.
    fn make_room(&self) -> Result<(), gst::FlowError> {
        let most = self.settings.lock().max_bytes;
        let live = self.is_live();
        let limit = if live { most } else { most.min(FILE_PENDING_BYTES) };
        let waiting = |stream: &Stream| (stream.worker.pending.clone(), stream.overloaded);
        let Some((pending, overloaded)) = self.stream.lock().as_ref().map(waiting) else {
            return Err(gst::FlowError::Flushing);
        };
        let full = pending.bytes() >= limit;
        if full && !live {
            let unblocked = || self.unblocked.load(Ordering::SeqCst);
            pending.wait_below(limit, &unblocked);
            return if unblocked() { Err(gst::FlowError::Flushing) } else { Ok(()) };
        }
        if full == overloaded {
            return Ok(());
        }
        self.with_stream(|stream| {
            stream.overloaded = full;
            stream.recorder.refuse(full.then_some(SLOW_DISK));
            if full {
                stream.recorder.close_all(SLOW_DISK);
            }
        });
        if full {
            self.warn("the disk of the spool is too slow: clips end early, events make none");
        }
        Ok(())
    }

    /// Does upstream say that it is live? Asked once.
    fn is_live(&self) -> bool {
        if let Some(live) = *self.live.lock() {
            return live;
        }
        let mut query = gst::query::Latency::new();
        let live = self.sink.peer_query(&mut query) && query.result().0;
        *self.live.lock() = Some(live);
        live
    }

    /// Cameras tell when a picture was taken, by way of the network or their own clock.
    fn read_clock(&self, buffer: &gst::BufferRef, running: Option<i64>) {
        self.is_live();
        let Some(running) = running else { return };
        if let Some(moment) = camera_time::taken(buffer)
            && let Some(stream) = &mut *self.stream.lock()
        {
            stream.anchor = Some(Anchor { running, moment });
        }
    }

    /// Reads the metadata of a buffer: its faces, and what happened lately.
    fn look(&self, pad: &gst::Pad, buffer: &gst::BufferRef, time: Option<i64>) {
        let faces = FrameFaces::read(buffer);
        let settings = self.settings.lock();
        let (wanted, snapshot) = (settings.triggers, settings.snapshot);
        let embeddings = settings.embeddings;
        drop(settings);
        let mut news = Vec::new();
        let mut warn = (false, None);
        if let Some(stream) = &mut *self.stream.lock() {
            warn.0 = stream.check.saw(faces.is_some());
            match &faces {
                Some(Ok(faces)) => {
                    self.stats.lock().faces += faces.faces.len() as u64;
                    let due = |e: &&FaceEvent| wanted.want(&e.kind) && !e.dry_run;
                    let due = faces.events.iter().filter(due);
                    news.extend(due.filter(|e| stream.seen.is_new(&e.id)).cloned());
                }
                Some(Err(error)) => {
                    self.stats.lock().malformed += 1;
                    if !std::mem::replace(&mut stream.logged_malformed, true) {
                        warn.1 = Some(error.to_string());
                    }
                }
                None => {}
            }
        }
        self.complain(warn);
        let Some(time) = time else { return };
        let faces = faces.and_then(Result::ok);
        if let Some(faces) = faces.as_ref().filter(|_| snapshot) {
            let pixels = self.inlets.lock().pixels.clone();
            let looked = pixels.map(|info| self.shots.lock().look(buffer, &info, faces, time));
            if let Some(Err(reason)) = looked {
                gst::debug!(CAT, imp = self, "no best shot of a picture: {reason}");
            }
        }
        let context = (!news.is_empty()).then(|| Arc::new(Context::of(&context_query::ask(pad))));
        self.stats.lock().triggers += news.len() as u64;
        self.with_stream(|stream| {
            if let Some(context) = context {
                stream.context = context;
            }
            let size = stream.size();
            let frame = faces.map(|faces| metadata::frame(&faces, time, size, embeddings));
            stream.frame(time, frame, news);
        });
    }

    fn complain(&self, (no_upstream, malformed): (bool, Option<String>)) {
        if no_upstream {
            let text = upstream_check::warning();
            gst::element_imp_warning!(self, gst::StreamError::Failed, ("{text}"));
        }
        if let Some(error) = malformed {
            gst::warning!(CAT, imp = self, "metadata that cannot be read, and more of it: {error}");
        }
    }

    pub(super) fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        let inlet = || self.inlets.lock().video.as_ref().map(|(_, inlet)| inlet.clone());
        match event.view() {
            gst::EventView::Caps(caps) => return self.set_video_caps(pad, caps.caps(), &event),
            gst::EventView::StreamStart(_) => self.restart(|ended| ended.sink = false),
            gst::EventView::FlushStart(_) => self.unblocked.store(true, Ordering::SeqCst),
            gst::EventView::FlushStop(_) => {
                self.unblocked.store(false, Ordering::SeqCst);
                self.shots.lock().clear();
                self.inlets.lock().last_key = None;
                self.with_stream(|stream| stream.flush_video("the stream was flushed"));
            }
            gst::EventView::Eos(_) => {
                if let Some(inlet) = inlet() {
                    inlet.event(event);
                }
                let alone = self.pads.lock().meta.is_none();
                self.with_stream(|stream| {
                    stream.ended.sink = true;
                    stream.end_video();
                    if alone {
                        stream.recorder.meta_ended();
                    }
                });
                self.end_if_all();
                return true;
            }
            _ => {}
        }
        if let Some(inlet) = inlet() {
            inlet.event(event);
        }
        true
    }

    pub(super) fn restart(&self, change: impl FnOnce(&mut Ended)) {
        self.with_stream(|stream| {
            change(&mut stream.ended);
            stream.ended.drained = false;
            if !stream.ended.sink {
                stream.recorder.video_restarted();
            }
        });
    }

    /// Another kind of stream needs other elements; of the same kind they do with other caps, too.
    fn set_video_caps(&self, pad: &gst::Pad, caps: &gst::CapsRef, event: &gst::Event) -> bool {
        let Some(kind) = Kind::of(caps) else {
            gst::error!(CAT, imp = self, "caps {caps} are not of a stream that clips are made of");
            return false;
        };
        if self.pads.lock().meta.is_none() {
            self.set_pixels(caps);
        }
        let known = self.inlets.lock().video.as_ref().map(|(known, _)| *known);
        if known != Some(kind) {
            if let Some((_, inlet)) = self.inlets.lock().video.clone() {
                inlet.event(gst::event::Eos::new());
            }
            self.close_inlet(|inlets| inlets.video.take().map(|(_, inlet)| inlet));
            let settings = self.settings.lock().clone();
            let built =
                encoder::elements(kind, caps, settings.encoder.as_deref(), settings.bitrate)
                    .and_then(|elements| self.open_inlet(pad, elements, true));
            match built {
                Ok(inlet) => self.inlets.lock().video = Some((kind, inlet)),
                Err(reason) => {
                    let text = format!("the stream of pad sink cannot be kept: {reason}");
                    gst::element_imp_error!(self, gst::CoreError::MissingPlugin, ("{text}"));
                    return false;
                }
            }
        }
        let inlet = self.inlets.lock().video.as_ref().map(|(_, inlet)| inlet.clone());
        let Some(inlet) = inlet else { return false };
        let taken = inlet.event(event.clone());
        if known != Some(kind) {
            pass_on_segment(pad, &inlet);
        }
        taken
    }

    fn set_pixels(&self, caps: &gst::CapsRef) {
        let system = caps.features(0).is_none_or(|f| f.contains("memory:SystemMemory"));
        let info = gst_video::VideoInfo::from_caps(caps).ok();
        let raw = |info: &gst_video::VideoInfo| info.format() != gst_video::VideoFormat::Encoded;
        self.inlets.lock().pixels = info.filter(|info| system && raw(info));
    }

    fn open_inlet(
        &self,
        pad: &gst::Pad,
        elements: Vec<gst::Element>,
        video: bool,
    ) -> Result<Arc<Inlet>, String> {
        let element = self.obj().downgrade();
        let outlet = Arc::new(ToRecorder { element, video, segment: Mutex::default() });
        let inlet = Inlet::new(self.obj().upcast_ref(), elements, outlet);
        let inlet = Arc::new(inlet.map_err(|error| error.to_string())?);
        if let Some(start) = pad.sticky_event::<gst::event::StreamStart>(0) {
            inlet.event(start.into());
        }
        Ok(inlet)
    }

    /// Everything has come: the thread that writes says when everything is on the disk.
    pub(super) fn end_if_all(&self) {
        let pads = self.pads.lock();
        let (meta, audio) = (pads.meta.is_some(), pads.audio.is_some());
        drop(pads);
        let mut due = false;
        self.with_stream(|stream| {
            let ended = stream.ended;
            gst::debug!(CAT, imp = self, "at the end: {ended:?}; pad meta {meta}, audio {audio}");
            let all = ended.sink && (ended.meta || !meta) && (ended.audio || !audio);
            due = all && !ended.drained;
            if due {
                stream.ended.drained = true;
                stream.recorder.meta_ended();
            }
        });
        if let Some(stream) = self.stream.lock().as_ref().filter(|_| due) {
            stream.worker.send(Task::Drain);
        }
    }

    pub(super) fn meta_pad(&self, template: &gst::PadTemplate) -> gst::Pad {
        gst::Pad::builder_from_template(template)
            .name("meta")
            .chain_function(|pad, parent, buffer| {
                ClipSink::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| {
                        let segment = segment_of(pad);
                        let time = buffer.pts().and_then(|pts| running_ns(&segment, pts));
                        this.look(pad, &buffer, time);
                        Ok(gst::FlowSuccess::Ok)
                    },
                )
            })
            .event_function(|_, parent, event| {
                ClipSink::catch_panic_pad_function(parent, || false, |this| this.meta_event(&event))
            })
            .build()
    }

    fn meta_event(&self, event: &gst::Event) -> bool {
        match event.view() {
            gst::EventView::Caps(caps) => self.set_pixels(caps.caps()),
            gst::EventView::StreamStart(_) => self.restart(|ended| ended.meta = false),
            gst::EventView::FlushStop(_) => self.with_stream(|stream| {
                stream.recorder.meta_restarted();
                stream.ended.meta = false;
            }),
            gst::EventView::Eos(_) => {
                self.with_stream(|stream| {
                    stream.ended.meta = true;
                    stream.recorder.meta_ended();
                });
                self.end_if_all();
            }
            _ => {}
        }
        true
    }

    pub(super) fn audio_pad(&self, template: &gst::PadTemplate) -> gst::Pad {
        gst::Pad::builder_from_template(template)
            .name("audio")
            .chain_function(|_, parent, buffer| {
                ClipSink::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| {
                        let inlet = this.inlets.lock().audio.clone();
                        // A clip is never lost because of its sound.
                        match inlet.map(|inlet| inlet.push(buffer)) {
                            Some(Err(error @ gst::FlowError::Flushing)) => Err(error),
                            _ => Ok(gst::FlowSuccess::Ok),
                        }
                    },
                )
            })
            .event_function(|pad, parent, event| {
                ClipSink::catch_panic_pad_function(
                    parent,
                    || false,
                    |this| this.audio_event(pad, event),
                )
            })
            .build()
    }

    fn audio_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Caps(caps) => {
                self.set_audio_caps(pad, caps.caps(), &event);
                return true;
            }
            gst::EventView::StreamStart(_) => self.restart(|ended| ended.audio = false),
            _ => {}
        }
        let eos = event.type_() == gst::EventType::Eos;
        let inlet = self.inlets.lock().audio.clone();
        if let Some(inlet) = inlet {
            inlet.event(event);
        }
        if eos {
            self.with_stream(|stream| {
                stream.ended.audio = true;
                stream.recorder.sound_ended();
            });
            self.end_if_all();
        }
        true
    }

    fn set_audio_caps(&self, pad: &gst::Pad, caps: &gst::CapsRef, event: &gst::Event) {
        self.close_inlet(|inlets| inlets.audio.take());
        let opened =
            sound::elements(caps).and_then(|elements| self.open_inlet(pad, elements, false));
        match opened {
            Ok(inlet) => {
                inlet.event(event.clone());
                pass_on_segment(pad, &inlet);
                self.inlets.lock().audio = Some(inlet);
            }
            Err(reason) => {
                self.stats.lock().audio_dropped += 1;
                let text = format!("clips are made without sound: {reason}");
                gst::element_imp_warning!(self, gst::StreamError::Format, ("{text}"));
            }
        }
    }
}
