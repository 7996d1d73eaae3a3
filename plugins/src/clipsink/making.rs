//! A clip on the disk while it is being made, on the thread that writes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, SystemTime};

use face_core::clip::{
    self, Audio, ClipName, ClipSpool, Frame, Media, Missing, OpenClip, Packet, Part, Piece,
    Sidecar, Snapshot, Spooled, Trigger, Video, utc,
};
use face_core::outbox::{LinkTo, Outbox};

use super::metadata::Context;
use super::options::Options;
use super::shots::Shot;
use super::writer::{Growing, Held, Whole, WholeError, whole};
use crate::runtime::with_causes;

type Piecemeal = Packet<gst::Buffer>;

/// Why there is no clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) reason: String,
    /// Its files are kept, and it is tried again with the next clip, or at the next start.
    pub(super) kept: bool,
}

impl From<WholeError> for Lost {
    fn from(error: WholeError) -> Self {
        match error {
            WholeError::Empty(reason) => Self { reason, kept: false },
            WholeError::Failed(reason) => Self { reason, kept: true },
        }
    }
}

/// A clip that is being made.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) open: OpenClip,
    /// Running time of the first picture shown.
    start: i64,
    /// Running time at which the first picture is decoded.
    base: i64,
    /// When the first picture was taken.
    start_utc: Option<SystemTime>,
    video: Option<Growing>,
    sound: Option<Growing>,
    lines: Option<BufWriter<File>>,
    /// The last picture, until it is known whether another follows.
    held: Option<Piecemeal>,
    pictures: u64,
    /// Greatest end of a picture.
    end: i64,
    /// What went wrong while it was written.
    failed: Option<String>,
}

impl Making {
    /// Writes the events down: from here on the clip is not forgotten.
    pub(super) fn open(
        own: &ClipSpool,
        options: &Options,
        context: &Context,
        triggers: Vec<Trigger>,
    ) -> (Self, Result<(), String>) {
        let sidecar = Sidecar {
            schema: clip::SCHEMA.to_owned(),
            id: glib::uuid_string_random().to_string(),
            camera: options.camera.clone(),
            software: context.software(),
            models: context.models.clone(),
            gallery: context.gallery.clone(),
            thresholds: context.thresholds.clone(),
            triggers,
            ..Sidecar::default()
        };
        let storage = options.storage.clone();
        let open = OpenClip { storage, sidecar, ..OpenClip::default() };
        let written = own.write(&open).map_err(|error| with_causes(&error));
        let making = Self {
            open,
            start: 0,
            base: 0,
            start_utc: None,
            video: None,
            sound: None,
            lines: None,
            held: None,
            pictures: 0,
            end: 0,
            failed: None,
        };
        (making, written)
    }

    pub(super) fn id(&self) -> &str {
        self.open.id()
    }

    /// The first picture is there: the clip has a key, and its files begin.
    pub(super) fn begin(
        &mut self,
        own: &ClipSpool,
        options: &Options,
        start: i64,
        moment: SystemTime,
        caps: &gst::Caps,
    ) -> Result<(), String> {
        (self.start, self.end, self.start_utc) = (start, start, Some(moment));
        let id = self.id().to_owned();
        let event = self.open.sidecar.triggers.first().map(|t| t.event.clone()).unwrap_or_default();
        let name = ClipName {
            prefix: &options.prefix,
            camera: &options.camera,
            start: moment,
            event: &event,
            id: &id,
        };
        self.open.stem = Some(options.template.stem(&name));
        let sidecar = &mut self.open.sidecar;
        sidecar.start_utc = Some(utc::format(moment));
        sidecar.start_running_time_ns = u64::try_from(start).ok();
        sidecar.media = Some(Media {
            container: "video/mp4".to_owned(),
            video: Some(video(caps)),
            ..Media::default()
        });
        for trigger in &mut sidecar.triggers {
            place(trigger, start);
        }
        let triggers = sidecar.triggers.clone();
        triggers.iter().try_for_each(|trigger| self.follow(options, trigger))?;
        own.write(&self.open).map_err(|error| with_causes(&error))?;
        let path = own.piece(&id, Piece::Lines);
        let failed = |error| format!("write '{}': {error}", path.display());
        self.lines = Some(BufWriter::new(File::create(&path).map_err(failed)?));
        self.video = Some(Growing::create(&own.piece(&id, Piece::Video), caps)?);
        Ok(())
    }

    /// Another event of the clip.
    pub(super) fn trigger(
        &mut self,
        own: &ClipSpool,
        options: &Options,
        mut trigger: Trigger,
    ) -> Result<(), String> {
        if self.start_utc.is_some() {
            place(&mut trigger, self.start);
            self.follow(options, &trigger)?;
        }
        self.open.sidecar.triggers.push(trigger);
        own.write(&self.open).map_err(|error| with_causes(&error))
    }

    fn follow(&mut self, options: &Options, trigger: &Trigger) -> Result<(), String> {
        let Some(key) = self.open.key(Part::Original) else { return Ok(()) };
        let link = LinkTo { expiry: options.link_expiry, ..LinkTo::new(&options.storage, &key) };
        let more = options.notify.follow_ups(&options.camera, trigger, &link)?;
        self.open.follow_ups.extend(more);
        Ok(())
    }

    /// Notes what went wrong; the clip ends where it was.
    pub(super) fn fail(&mut self, reason: String) {
        self.failed.get_or_insert(reason);
    }

    pub(super) fn picture(&mut self, packet: Piecemeal) {
        if self.failed.is_some() {
            return;
        }
        if self.pictures == 0 && self.held.is_none() {
            self.base = packet.dts;
        }
        self.end = self.end.max(packet.pts.saturating_add(packet.duration));
        if let Some(before) = self.held.replace(packet) {
            self.write_picture(&before, before.duration);
        }
    }

    fn write_picture(&mut self, packet: &Piecemeal, duration: i64) {
        let Some(video) = &self.video else { return };
        match video.push(rebased(packet, self.base, duration)) {
            Ok(()) => self.pictures += 1,
            Err(reason) => self.fail(reason),
        }
    }

    /// Sound that cannot be written is left out: the clip goes on.
    pub(super) fn sound(
        &mut self,
        own: &ClipSpool,
        packet: &Piecemeal,
        caps: &gst::Caps,
    ) -> Result<(), String> {
        if self.open.sidecar.media.as_ref().is_some_and(|media| media.audio.is_none()) {
            let path = own.piece(self.id(), Piece::Audio);
            self.sound = Some(Growing::create(&path, caps)?);
            self.open.sound_offset_ns = Some(packet.pts.saturating_sub(self.base));
            if let Some(media) = &mut self.open.sidecar.media {
                media.audio = Some(audio(caps));
            }
            own.write(&self.open).map_err(|error| with_causes(&error))?;
        }
        let Some(sound) = &self.sound else { return Ok(()) };
        let first = self.base.saturating_add(self.open.sound_offset_ns.unwrap_or(0));
        let pushed = sound.push(rebased(packet, first, packet.duration));
        pushed.inspect_err(|_| self.sound = None)
    }

    pub(super) fn frame(&mut self, mut frame: Frame) {
        let Some(lines) = &mut self.lines else { return };
        let time = frame.running_time_ns.and_then(|t| i64::try_from(t).ok()).unwrap_or(self.start);
        frame.pts_ns = u64::try_from(time.saturating_sub(self.start)).unwrap_or(0);
        let since = Duration::from_nanos(frame.pts_ns);
        frame.utc = self.start_utc.and_then(|start| start.checked_add(since)).map(utc::format);
        let mut line = match serde_json::to_vec(&frame) {
            Ok(line) => line,
            Err(error) => return self.fail(format!("write the metadata: {error}")),
        };
        line.push(b'\n');
        if let Err(error) = lines.write_all(&line) {
            self.fail(format!("write the metadata: {error}"));
        }
    }

    /// Completes the clip and gives it to the outbox.
    pub(super) fn close(
        mut self,
        own: &ClipSpool,
        outbox: &Outbox,
        cut: bool,
        missing: Vec<Missing>,
        shot: Option<&Shot>,
    ) -> (OpenClip, Result<Spooled, Lost>) {
        self.open.sidecar.missing = missing;
        let made = self.finish(own, cut);
        let mut open = self.open;
        let result = made.and_then(|start| {
            let jpeg = shot.and_then(|shot| shot.face.to_jpeg().ok().map(|jpeg| (shot, jpeg)));
            open.sidecar.snapshot = jpeg.as_ref().map(|(shot, _)| Snapshot {
                track_id: Some(shot.track_id),
                offset_ns: u64::try_from(shot.time.saturating_sub(start)).ok(),
                ..Snapshot::default()
            });
            hand_over(own, &mut open, jpeg.as_ref().map(|(_, jpeg)| jpeg.as_slice()), outbox)
        });
        (open, result)
    }

    /// Completes the growing files and makes one of them. Running time of its beginning.
    fn finish(&mut self, own: &ClipSpool, cut: bool) -> Result<i64, Lost> {
        let Some(last) = self.held.take() else {
            let reason = self.failed.take().unwrap_or_else(|| "no picture came".to_owned());
            return Err(Lost { reason, kept: false });
        };
        // The file ends where its last picture is decoded, unless that one lasts until the end of
        // the last one shown: readers leave out what lies beyond.
        let until_end = self.end.saturating_sub(last.dts);
        self.write_picture(&last, until_end.max(last.duration));
        let failed = self.failed.take();
        if let Some(mut lines) = self.lines.take()
            && let Err(error) = lines.flush()
        {
            return Err(Lost { reason: format!("write the metadata: {error}"), kept: false });
        }
        let closed = self.video.take().map_or(Ok(()), Growing::finish);
        if let Some(Err(_)) = self.sound.take().map(Growing::finish) {
            self.open.sound_offset_ns = None;
        }
        let failed = failed.or(closed.err());
        let lasts = u64::try_from(last.duration).ok().filter(|duration| *duration > 0);
        let last = lasts.filter(|_| failed.is_none()).map(|duration| (self.pictures, duration));
        let held = assemble(own, &mut self.open, last).map_err(|error| match (&failed, error) {
            (Some(reason), _) => Lost { reason: reason.clone(), kept: false },
            (None, error) => error.into(),
        })?;
        settle(&mut self.open.sidecar, held, cut || failed.is_some());
        Ok(self.start)
    }
}

/// Completes a clip that could not be completed before, such as by a process that died.
pub(super) fn rescue(
    own: &ClipSpool,
    open: &mut OpenClip,
    outbox: &Outbox,
    truncated: bool,
) -> Result<Spooled, Lost> {
    if open.stage == clip::Stage::Ready {
        return clip::resume(own, open, outbox).map_err(|error| lost(&error));
    }
    let held = assemble(own, open, None)?;
    settle(&mut open.sidecar, held, truncated);
    hand_over(own, open, None, outbox)
}

fn hand_over(
    own: &ClipSpool,
    open: &mut OpenClip,
    snapshot: Option<&[u8]>,
    outbox: &Outbox,
) -> Result<Spooled, Lost> {
    clip::complete(own, open, snapshot, outbox).map_err(|error| lost(&error))
}

/// What has no room goes, by the outbox' own rule; anything else can be put right.
fn lost(error: &clip::FinishError) -> Lost {
    use face_core::outbox::OutboxError;
    let full = matches!(error, clip::FinishError::Outbox(OutboxError::Full { .. }));
    Lost { reason: with_causes(error), kept: !full }
}

/// Makes the file that is stored; without its sound if that cannot be read.
fn assemble(
    own: &ClipSpool,
    open: &mut OpenClip,
    last: Option<(u64, u64)>,
) -> Result<Held, WholeError> {
    let id = open.id().to_owned();
    let piece = |piece| own.piece(&id, piece);
    let (video, audio) = (piece(Piece::Video), piece(Piece::Audio));
    let (target, scratch) = (piece(Piece::Whole), piece(Piece::Scratch));
    let offset = open.sound_offset_ns.filter(|_| audio.exists());
    let sound = offset.map(|offset| (audio.as_path(), offset));
    let mut what = Whole { video: &video, sound, target: &target, scratch: &scratch, last };
    let mut made = whole(&what);
    if made.is_err() && sound.is_some() {
        what.sound = None;
        made = whole(&what);
    }
    if what.sound.is_none()
        && let Some(media) = &mut open.sidecar.media
        && let Some(audio) = media.audio.take()
    {
        let duration_ns = made.as_ref().map_or(0, |held| held.duration_ns);
        let reason = format!("the sound ({}) could not be written", audio.codec);
        open.sidecar.missing.push(Missing { what: "audio".to_owned(), duration_ns, reason });
    }
    made
}

/// What is known only at the end.
fn settle(sidecar: &mut Sidecar, held: Held, truncated: bool) {
    sidecar.duration_ns = held.duration_ns;
    sidecar.truncated = truncated;
    let length = Duration::from_nanos(held.duration_ns);
    let start = sidecar.start_utc.as_deref().and_then(utc::parse);
    sidecar.end_utc = start.and_then(|start| start.checked_add(length)).map(utc::format);
    sidecar.end_running_time_ns =
        sidecar.start_running_time_ns.map(|start| start.saturating_add(held.duration_ns));
}

/// When the event was, in the clip.
fn place(trigger: &mut Trigger, start: i64) {
    let time = trigger.running_time_ns.and_then(|time| i64::try_from(time).ok());
    trigger.offset_ns = time.and_then(|time| u64::try_from(time.saturating_sub(start)).ok());
}

/// A packet with times that begin at `base`.
fn rebased(packet: &Piecemeal, base: i64, duration: i64) -> gst::Buffer {
    let mut buffer = packet.payload.clone();
    let time =
        |t: i64| gst::ClockTime::from_nseconds(u64::try_from(t.saturating_sub(base)).unwrap_or(0));
    let length = u64::try_from(duration).ok().filter(|d| *d > 0).map(gst::ClockTime::from_nseconds);
    let changed = buffer.make_mut();
    changed.set_pts(time(packet.pts));
    changed.set_dts(time(packet.dts));
    changed.set_duration(length);
    buffer
}

fn video(caps: &gst::Caps) -> Video {
    let structure = caps.structure(0);
    let size = |field| {
        let size = structure.and_then(|s| s.get::<i32>(field).ok());
        size.and_then(|size| u32::try_from(size).ok()).unwrap_or(0)
    };
    let fraction = |field, default: [u32; 2]| {
        let found = structure.and_then(|s| s.get::<gst::Fraction>(field).ok());
        let parts = found.map(|f| [f.numer(), f.denom()].map(|n| u32::try_from(n).unwrap_or(0)));
        parts.unwrap_or(default)
    };
    let name = structure.map_or("", |s| s.name().as_str());
    Video {
        codec: name.strip_prefix("video/x-").unwrap_or(name).to_owned(),
        caps: shown(caps),
        width: size("width"),
        height: size("height"),
        pixel_aspect: fraction("pixel-aspect-ratio", [1, 1]),
        frame_rate: fraction("framerate", [0, 1]),
    }
}

fn audio(caps: &gst::Caps) -> Audio {
    let name = caps.structure(0).map_or("", |s| s.name().as_str());
    let codec = match name {
        "audio/mpeg" => match caps.structure(0).and_then(|s| s.get::<i32>("mpegversion").ok()) {
            Some(1) => "mp3",
            _ => "aac",
        },
        name => name.strip_prefix("audio/x-").unwrap_or(name),
    };
    Audio { codec: codec.to_owned(), caps: shown(caps) }
}

/// Caps as text, without the parameter sets, which are in the file.
fn shown(caps: &gst::Caps) -> String {
    let mut caps = caps.clone();
    for structure in caps.make_mut().iter_mut() {
        structure.remove_fields(["codec_data", "streamheader"]);
    }
    caps.to_string()
}
