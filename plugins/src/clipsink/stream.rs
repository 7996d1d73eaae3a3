//! The stream between start() and stop(): what the pads' threads share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use face_core::clip::{
    Frame, Incoming, Order, Packet, Recorder, RecorderConfig, Sequencer, Step, Trigger,
};
use face_core::event::FaceEvent;

use super::metadata::{Context, Seen};
use super::shots::Shot;
use super::worker::{Task, Worker};
use crate::upstream_check::UpstreamCheck;

/// Formats that are remembered: clips that are being made are of the last few.
const MOST_FORMATS: usize = 16;

/// Which pads have had their end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    pub(super) sink: bool,
    pub(super) meta: bool,
    pub(super) audio: bool,
    /// All of them: the thread that writes was told.
    pub(super) drained: bool,
}

/// A moment by the wall clock, and the running time of the picture that was taken then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub(super) running: i64,
    pub(super) moment: SystemTime,
}

impl Anchor {
    pub(super) fn at(&self, running: i64) -> SystemTime {
        let distance = Duration::from_nanos(running.abs_diff(self.running));
        let moved = match running >= self.running {
            true => self.moment.checked_add(distance),
            false => self.moment.checked_sub(distance),
        };
        moved.unwrap_or(self.moment)
    }
}

/// What [`Stream::step`] counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) pictures: u64,
    pub(super) refused: u64,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) recorder: Recorder<gst::Buffer>,
    sequencer: Sequencer<gst::Buffer>,
    pub(super) worker: Worker,
    /// Caps by the number of the format.
    video: HashMap<u32, gst::Caps>,
    sound: HashMap<u32, gst::Caps>,
    pub(super) video_caps: Option<gst::Caps>,
    pub(super) sound_caps: Option<gst::Caps>,
    pub(super) seen: Seen,
    pub(super) context: Arc<Context>,
    pub(super) check: UpstreamCheck,
    pub(super) ended: Ended,
    /// From the metadata of buffers, where cameras tell their time.
    pub(super) anchor: Option<Anchor>,
    /// Tracks of the events of clips that are being made.
    tracks: HashMap<u64, Vec<u64>>,
    pub(super) counts: Counts,
    /// Was it said that the disk is too slow? Until it is not.
    pub(super) overloaded: bool,
    pub(super) logged_malformed: bool,
}

impl Stream {
    pub(super) fn new(config: RecorderConfig, worker: Worker) -> Self {
        Self {
            recorder: Recorder::new(config),
            sequencer: Sequencer::default(),
            worker,
            video: HashMap::new(),
            sound: HashMap::new(),
            video_caps: None,
            sound_caps: None,
            seen: Seen::default(),
            context: Arc::default(),
            check: UpstreamCheck::default(),
            ended: Ended::default(),
            anchor: None,
            tracks: HashMap::new(),
            counts: Counts::default(),
            overloaded: false,
            logged_malformed: false,
        }
    }

    /// Coded pictures of these caps follow. Another frame rate alone is no other format.
    pub(super) fn set_video_caps(&mut self, caps: &gst::Caps) {
        let step = caps.structure(0).and_then(|s| s.get::<gst::Fraction>("framerate").ok());
        let step = step.filter(|fps| fps.numer() > 0 && fps.denom() > 0).map(|fps| {
            i64::from(fps.denom()).saturating_mul(1_000_000_000) / i64::from(fps.numer())
        });
        if !self.video_caps.as_ref().is_some_and(|before| same_format(before, caps)) {
            self.finish_sequence();
            let number = self.recorder.new_format();
            remember(&mut self.video, number, caps);
        }
        self.sequencer.set_step(step);
        self.video_caps = Some(caps.clone());
    }

    pub(super) fn set_sound_caps(&mut self, caps: &gst::Caps) {
        if self.sound_caps.as_ref() != Some(caps) {
            let number = self.recorder.new_sound_format();
            remember(&mut self.sound, number, caps);
            self.sound_caps = Some(caps.clone());
        }
    }

    /// Width and height of the coded pictures.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        let structure = self.video_caps.as_ref()?.structure(0)?;
        let side = |name| structure.get::<i32>(name).ok().and_then(|side| u32::try_from(side).ok());
        Some((side("width")?, side("height")?))
    }

    pub(super) fn picture(&mut self, incoming: Incoming<gst::Buffer>) {
        self.counts.pictures += 1;
        let mut steps = Vec::new();
        self.sequencer.push(incoming, &mut steps);
        self.place(steps);
    }

    fn finish_sequence(&mut self) {
        let mut steps = Vec::new();
        self.sequencer.finish(&mut steps);
        self.place(steps);
    }

    fn place(&mut self, steps: Vec<Step<gst::Buffer>>) {
        for step in steps {
            match step {
                Step::Packet(packet) => self.recorder.picture(packet),
                Step::Jump => self.recorder.jump("the time of the stream ran back"),
            }
        }
    }

    pub(super) fn sound(&mut self, packet: Packet<gst::Buffer>) {
        self.recorder.sound(packet);
    }

    /// What a buffer says, and what happened lately.
    pub(super) fn frame(&mut self, time: i64, frame: Option<Frame>, news: Vec<FaceEvent>) {
        if let Some(frame) = frame {
            self.recorder.frame(time, frame);
        }
        for event in news {
            let trigger = super::metadata::trigger(&event);
            let happened = event.running_time_ns.and_then(|time| i64::try_from(time).ok());
            self.worker.send(Task::Alert(Box::new(event)));
            self.recorder.trigger(Some(happened.unwrap_or(time)), trigger);
        }
        self.recorder.meta_time(time);
    }

    pub(super) fn end_video(&mut self) {
        self.finish_sequence();
        self.recorder.video_ended();
    }

    /// After a flush of the pad `sink`.
    pub(super) fn flush_video(&mut self, reason: &str) {
        self.sequencer.clear();
        self.recorder.jump(reason);
        self.recorder.video_restarted();
        self.anchor = None;
        self.ended = Ended { sink: false, drained: false, ..self.ended };
    }

    /// Hands over what is to be done. `moment` is the wall clock for a running time, `shot` the best
    /// one of these tracks.
    pub(super) fn dispatch(
        &mut self,
        moment: &dyn Fn(&Self, i64) -> SystemTime,
        shot: &dyn Fn(Vec<u64>) -> Option<Shot>,
    ) {
        for order in self.recorder.take_orders() {
            let task = match order {
                Order::Open { clip, triggers, .. } => {
                    self.tracks.insert(clip, tracks(&triggers).collect());
                    Task::Open { clip, triggers, context: self.context.clone() }
                }
                Order::Begin { clip, start, format } => {
                    let Some(caps) = self.video.get(&format).cloned() else { continue };
                    Task::Begin { clip, start, moment: moment(self, start), caps }
                }
                Order::Trigger { clip, trigger } => {
                    self.tracks.entry(clip).or_default().extend(trigger.track_id);
                    Task::Trigger { clip, trigger }
                }
                Order::Picture { clip, packet } => Task::Picture { clip, packet },
                Order::Sound { clip, packet, format } => {
                    let Some(caps) = self.sound.get(&format).cloned() else { continue };
                    Task::Sound { clip, packet, caps }
                }
                Order::Frame { clip, frame } => Task::Frame { clip, frame },
                Order::Close { clip, cut, missing, .. } => {
                    let tracks = self.tracks.remove(&clip).unwrap_or_default();
                    let shot = shot(tracks).map(Box::new);
                    Task::Close { clip, cut, missing, shot }
                }
                Order::Refused { .. } => {
                    self.counts.refused += 1;
                    continue;
                }
            };
            self.worker.send(task);
        }
    }
}

fn tracks(triggers: &[Trigger]) -> impl Iterator<Item = u64> + '_ {
    triggers.iter().filter_map(|trigger| trigger.track_id)
}

fn remember(formats: &mut HashMap<u32, gst::Caps>, number: u32, caps: &gst::Caps) {
    formats.insert(number, caps.clone());
    formats.retain(|known, _| number - known < MOST_FORMATS as u32);
}

/// Can pictures of both stand in one file?
fn same_format(a: &gst::Caps, b: &gst::Caps) -> bool {
    let without_rate = |caps: &gst::Caps| {
        let mut caps = caps.clone();
        for structure in caps.make_mut().iter_mut() {
            structure.remove_field("framerate");
        }
        caps
    };
    without_rate(a) == without_rate(b)
}
