//! Files of clips: those that grow, one per stream, playable up to their last half second whenever the
//! process dies; and the one that is stored.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gst::prelude::*;
use parking_lot::Mutex;

/// How much of a growing file a crash costs at most, ms.
const FRAGMENT_MS: u32 = 500;
/// What waits for a disk, bytes.
const MOST_WAITING: u64 = 256 << 10;
/// How long a file may take to be completed.
const END: gst::ClockTime = gst::ClockTime::from_seconds(60);

fn make(factory: &str) -> Result<gst::Element, String> {
    super::encoder::make(factory)
}

fn pipeline(elements: &[&gst::Element]) -> Result<gst::Pipeline, String> {
    let pipeline = gst::Pipeline::new();
    pipeline.add_many(elements.iter().copied()).map_err(|e| e.to_string())?;
    Ok(pipeline)
}

fn file_sink(path: &Path) -> Result<gst::Element, String> {
    let sink = make("filesink")?;
    sink.set_property("location", path);
    sink.set_property("async", false);
    sink.set_property("sync", false);
    Ok(sink)
}

/// The first error on the bus, if there is one.
fn error_on(bus: &gst::Bus) -> Option<String> {
    let message = bus.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(error) => Some(text_of(error)),
        _ => None,
    }
}

fn text_of(error: &gst::message::Error) -> String {
    error.error().message().to_owned()
}

/// Waits for the end of a pipeline.
fn wait(bus: &gst::Bus) -> Result<(), String> {
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    match bus.timed_pop_filtered(END, &kinds) {
        None => Err(format!("it was not complete after {} s", END.seconds())),
        Some(message) => match message.view() {
            gst::MessageView::Error(error) => Err(text_of(error)),
            _ => Ok(()),
        },
    }
}

/// A fragmented MP4 file of one stream.
#[derive(Debug)]
pub(super) struct Growing {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    bus: gst::Bus,
    path: PathBuf,
}

impl Drop for Growing {
    fn drop(&mut self) {
        // Going down to Null cannot fail.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Growing {
    pub(super) fn create(path: &Path, caps: &gst::Caps) -> Result<Self, String> {
        let source = gst_app::AppSrc::builder()
            .caps(caps)
            .format(gst::Format::Time)
            .max_bytes(MOST_WAITING)
            .block(true)
            .build();
        let name = caps.structure(0).map_or("", |s| s.name().as_str());
        let mux = growing_muxer(name)?;
        let sink = file_sink(path)?;
        let pipeline = pipeline(&[source.upcast_ref(), &mux, &sink])?;
        let pad = if name.starts_with("audio/") { "audio_%u" } else { "video_%u" };
        source
            .link_pads(None, &mux, Some(pad))
            .and_then(|()| mux.link(&sink))
            .map_err(|e| e.to_string())?;
        let bus = pipeline.bus().ok_or("a pipeline has no bus")?;
        let growing = Self { pipeline, source, bus, path: path.to_owned() };
        if growing.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(growing.failure("it does not start"));
        }
        Ok(growing)
    }

    fn failure(&self, otherwise: &str) -> String {
        let reason = error_on(&self.bus).unwrap_or_else(|| otherwise.to_owned());
        format!("write '{}': {reason}", self.path.display())
    }

    /// Adds a piece; waits for the disk.
    pub(super) fn push(&self, buffer: gst::Buffer) -> Result<(), String> {
        match self.source.push_buffer(buffer) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failure(&error.to_string())),
        }
    }

    /// Completes the file.
    pub(super) fn finish(self) -> Result<(), String> {
        let ended = self.source.end_of_stream().map_err(|e| e.to_string());
        ended
            .and_then(|_| wait(&self.bus))
            .map_err(|reason| format!("complete '{}': {reason}", self.path.display()))
    }
}

/// A muxer of files that can be read however far they are. For AC-3 the one for MP4 writes the head of
/// the file before it knows what belongs there.
fn growing_muxer(media: &str) -> Result<gst::Element, String> {
    if media == "audio/x-ac3" {
        let mux = make("matroskamux")?;
        mux.set_property("streamable", true);
        return Ok(mux);
    }
    let mux = make("mp4mux")?;
    mux.set_property("fragment-duration", FRAGMENT_MS);
    Ok(mux)
}

/// Matroska files begin so.
const EBML: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];

fn demuxer(path: &Path) -> Result<gst::Element, String> {
    let mut first = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut first));
    make(if read.is_ok() && first == EBML { "matroskademux" } else { "qtdemux" })
}

/// What is made of growing files.
#[derive(Clone, Debug)]
pub(super) struct Whole<'a> {
    pub(super) video: &'a Path,
    /// With where it lies after the first picture is decoded, ns.
    pub(super) sound: Option<(&'a Path, i64)>,
    pub(super) target: &'a Path,
    /// A file to use meanwhile.
    pub(super) scratch: &'a Path,
    /// Number of the pictures, and how long the last one is shown, ns; else as the file has it.
    pub(super) last: Option<(u64, u64)>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) pictures: u64,
    /// From the first picture shown to the end of the last.
    pub(super) duration_ns: u64,
    /// Time of the first picture in the file, ns.
    first_ns: u64,
}

/// Why a file could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WholeError {
    /// There is no picture in it.
    Empty(String),
    Failed(String),
}

impl std::fmt::Display for WholeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

/// Makes one file of the growing ones, with its index at the beginning. Nothing is encoded again.
pub(super) fn whole(what: &Whole<'_>) -> Result<Held, WholeError> {
    let held = Arc::new(Mutex::new(Held::default()));
    let result = remux(what, &held);
    let held = *held.lock();
    match result {
        Ok(()) if held.pictures > 0 => Ok(held),
        Ok(()) => Err(WholeError::Empty("there is no picture in it".to_owned())),
        Err(reason) if held.pictures == 0 => Err(WholeError::Empty(reason)),
        Err(reason) => Err(WholeError::Failed(reason)),
    }
}

fn remux(what: &Whole<'_>, held: &Arc<Mutex<Held>>) -> Result<(), String> {
    let mux = make("mp4mux")?;
    mux.set_property("faststart", true);
    mux.set_property("faststart-file", what.scratch);
    let sink = file_sink(what.target)?;
    let pipeline = pipeline(&[&mux, &sink])?;
    mux.link(&sink).map_err(|e| e.to_string())?;
    let _down = Down(pipeline.clone());
    // Both pads are there before anything flows: the muxer takes none later.
    let video = mux.request_pad_simple("video_%u").ok_or("mp4mux has no pad for video")?;
    read_into(&pipeline, what.video, &video, Some((held.clone(), what.last)))?;
    if let Some((path, offset)) = what.sound {
        let sound = mux.request_pad_simple("audio_%u").ok_or("mp4mux has no pad for sound")?;
        sound.set_offset(offset);
        read_into(&pipeline, path, &sound, None)?;
    }
    let bus = pipeline.bus().ok_or("a pipeline has no bus")?;
    let started = pipeline.set_state(gst::State::Playing);
    let done = match started {
        Ok(_) => wait(&bus),
        Err(_) => Err(error_on(&bus).unwrap_or_else(|| "it does not start".to_owned())),
    };
    done.map_err(|reason| format!("make '{}': {reason}", what.target.display()))
}

/// Brings a pipeline down, however it ended.
struct Down(gst::Pipeline);

impl Drop for Down {
    fn drop(&mut self) {
        // Going down to Null cannot fail.
        let _ = self.0.set_state(gst::State::Null);
    }
}

type Count = (Arc<Mutex<Held>>, Option<(u64, u64)>);

fn read_into(
    pipeline: &gst::Pipeline,
    path: &Path,
    target: &gst::Pad,
    count: Option<Count>,
) -> Result<(), String> {
    let source = make("filesrc")?;
    source.set_property("location", path);
    let demux = demuxer(path)?;
    pipeline.add_many([&source, &demux]).map_err(|e| e.to_string())?;
    source.link(&demux).map_err(|e| e.to_string())?;
    let (target, weak) = (target.clone(), pipeline.downgrade());
    demux.connect_pad_added(move |demux, pad| {
        if let Some((held, last)) = &count {
            let (held, last) = (held.clone(), *last);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if let Some(buffer) = info.buffer_mut() {
                    take(buffer, &held, last);
                }
                gst::PadProbeReturn::Ok
            });
        }
        let Some(pipeline) = weak.upgrade() else { return };
        if let Err(reason) = connect(&pipeline, pad, &target) {
            let text = format!("a stream cannot be put into MP4: {reason}");
            gst::element_error!(demux, gst::CoreError::Pad, ("{text}"));
        }
    });
    Ok(())
}

/// Of MP3 the demuxer does not say which layer it is, and of AC-3 not that its pieces are whole
/// frames, without which the muxer does not take them.
fn connect(pipeline: &gst::Pipeline, pad: &gst::Pad, target: &gst::Pad) -> Result<(), String> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let version = caps.structure(0).and_then(|s| s.get::<i32>("mpegversion").ok());
    let name = caps.structure(0).map_or("", |s| s.name().as_str());
    let parser = match (name, version) {
        ("audio/mpeg", Some(1)) => "mpegaudioparse",
        ("audio/x-ac3", _) => "ac3parse",
        _ => return pad.link(target).map(|_| ()).map_err(|error| format!("{error:?}")),
    };
    let parser = make(parser)?;
    pipeline.add(&parser).map_err(|e| e.to_string())?;
    parser.sync_state_with_parent().map_err(|e| e.to_string())?;
    let pads = parser.static_pad("sink").zip(parser.static_pad("src"));
    let (entry, exit) = pads.ok_or("a parser has no pads")?;
    let linked = exit.link(target).and_then(|_| pad.link(&entry));
    linked.map(|_| ()).map_err(|error| format!("{error:?}"))
}

/// Counts a picture, and gives the last one its own duration.
fn take(buffer: &mut gst::Buffer, held: &Mutex<Held>, last: Option<(u64, u64)>) {
    let mut held = held.lock();
    held.pictures += 1;
    if let Some((pictures, duration)) = last
        && held.pictures == pictures
    {
        buffer.make_mut().set_duration(gst::ClockTime::from_nseconds(duration));
    }
    let Some(pts) = buffer.pts().map(gst::ClockTime::nseconds) else { return };
    if held.pictures == 1 {
        held.first_ns = pts;
    }
    let ends = pts.saturating_add(buffer.duration().map_or(0, gst::ClockTime::nseconds));
    held.duration_ns = held.duration_ns.max(ends.saturating_sub(held.first_ns));
}
