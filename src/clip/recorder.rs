//! Decides which pictures, sound and metadata of a stream belong to which clip. Time is told by the
//! streams alone; nothing waits here, and nothing is written.

use super::order::{OnRetrigger, Order, RecorderConfig};
use super::ring::{Packet, Ring};
use super::sidecar::{Frame, Missing, Trigger};
use super::timed::Timed;

/// Most sound that is kept, bytes: a minute of the widest that MP4 files hold.
const MOST_SOUND_BYTES: u64 = 16 << 20;
/// Metadata of so many pictures is kept at most.
const MOST_FRAMES: usize = 20_000;
/// What ends so much earlier than it should is missing, ns; a picture more or less is no loss.
const GAP_NS: i64 = 500_000_000;
/// Of an event that is older than everything kept, at least so much of what follows is kept, ns.
const SHORTEST_NS: i64 = 1_000_000_000;

/// A clip that is being made.
#[derive(Debug)]
struct Open {
    clip: u64,
    triggers: Vec<Trigger>,
    /// Where it should begin.
    asked: i64,
    /// Where it does; `None` until a key picture is there.
    start: Option<i64>,
    end: i64,
    /// Number of the packet that comes next.
    next: u64,
    format: u32,
    /// All its pictures are given.
    complete: bool,
    /// End of the last picture given.
    last_end: i64,
    next_sound: u64,
    sound_end: Option<i64>,
    sound_format: Option<u32>,
    next_frame: u64,
    missing: Vec<Missing>,
    /// Another clip follows: no event is added any more.
    succeeded: bool,
}

/// How far the metadata is.
#[derive(Clone, Copy, Debug, Default)]
struct Meta {
    time: Option<i64>,
    ended: bool,
}

/// The last seconds of a stream, and the clips that are being made of it.
#[derive(Debug)]
pub struct Recorder<T> {
    config: RecorderConfig,
    ring: Ring<T>,
    format: u32,
    video_ended: bool,
    sound: Timed<(Packet<T>, u32)>,
    sound_format: u32,
    sound_bytes: u64,
    /// Is sound expected?
    sounding: bool,
    frames: Timed<Frame>,
    meta: Meta,
    clips: Vec<Open>,
    made: u64,
    /// End of the last clip that was closed.
    last_end: Option<i64>,
    orders: Vec<Order<T>>,
    /// Why no clip begins at the moment.
    refusing: Option<&'static str>,
}

impl<T: Clone> Recorder<T> {
    pub fn new(config: RecorderConfig) -> Self {
        Self {
            config,
            ring: Ring::default(),
            format: 0,
            video_ended: false,
            sound: Timed::default(),
            sound_format: 0,
            sound_bytes: 0,
            sounding: false,
            frames: Timed::default(),
            meta: Meta::default(),
            clips: Vec::new(),
            made: 0,
            last_end: None,
            orders: Vec::new(),
            refusing: None,
        }
    }

    /// Takes over other settings; clips that are being made keep their ends.
    pub fn set_config(&mut self, config: RecorderConfig) {
        self.config = config;
    }

    /// With a reason, no clip begins until it is taken back.
    pub fn refuse(&mut self, reason: Option<&'static str>) {
        self.refusing = reason;
    }

    /// What is to be done since the last call.
    pub fn take_orders(&mut self) -> Vec<Order<T>> {
        std::mem::take(&mut self.orders)
    }

    /// Bytes of the pictures and the sound that are kept.
    pub fn bytes(&self) -> u64 {
        self.ring.bytes() + self.sound_bytes
    }

    /// Clips that are being made.
    pub fn open_clips(&self) -> usize {
        self.clips.len()
    }

    /// Another format: its packets cannot follow those before in one file. Its number.
    pub fn new_format(&mut self) -> u32 {
        self.format += 1;
        self.format
    }

    /// The same for sound.
    pub fn new_sound_format(&mut self) -> u32 {
        (self.sound_format, self.sounding) = (self.sound_format + 1, true);
        self.sound_format
    }

    /// There is no sound, or no more.
    pub fn sound_ended(&mut self) {
        self.sounding = false;
    }

    /// Takes the next picture, in the order of decoding.
    pub fn picture(&mut self, packet: Packet<T>) {
        self.ring.push(packet, self.format);
        self.advance();
        self.trim();
    }

    /// Takes the next piece of sound.
    pub fn sound(&mut self, packet: Packet<T>) {
        self.sound_bytes += packet.bytes;
        self.sound.push(packet.pts, (packet, self.sound_format));
        while self.sound_bytes > MOST_SOUND_BYTES {
            let Some((gone, _)) = self.sound.drop_first() else { break };
            self.sound_bytes -= gone.bytes;
        }
        self.advance();
    }

    /// Takes what is known of a picture of this time.
    pub fn frame(&mut self, time: i64, frame: Frame) {
        self.frames.push(time, frame);
        if self.frames.kept.len() > MOST_FRAMES {
            self.frames.drop_first();
        }
        self.advance();
    }

    /// The metadata of all pictures before `time` is there, and the events in it are told.
    pub fn meta_time(&mut self, time: i64) {
        self.meta.time = self.meta.time.max(Some(time));
        self.advance();
    }

    /// There is no more metadata.
    pub fn meta_ended(&mut self) {
        self.meta.ended = true;
        self.advance();
    }

    /// There is metadata again, and its time begins anew.
    pub fn meta_restarted(&mut self) {
        self.meta = Meta::default();
    }

    /// There are no more pictures.
    pub fn video_ended(&mut self) {
        self.video_ended = true;
        self.advance();
    }

    /// There are pictures again.
    pub fn video_restarted(&mut self) {
        self.video_ended = false;
    }

    /// Time of the latest picture.
    pub fn newest(&self) -> Option<i64> {
        self.ring.newest()
    }

    /// The times so far have nothing to do with those to come: closes all clips with what they have.
    pub fn jump(&mut self, reason: &str) {
        self.close_all(reason);
        self.ring.clear();
        self.sound.clear();
        self.sound_bytes = 0;
        self.frames.clear();
        self.meta.time = None;
        self.last_end = None;
    }

    /// Closes all clips with what they have.
    pub fn close_all(&mut self, reason: &str) {
        self.advance();
        for mut open in std::mem::take(&mut self.clips) {
            let until = open.end;
            let lacks = until.saturating_sub(open.last_end);
            if open.start.is_some() && !open.complete && lacks > 0 {
                open.missing.push(missing("post-roll", lacks, reason));
            }
            self.close(open, true);
        }
    }

    /// An event happened at `time`; without one, now.
    pub fn trigger(&mut self, time: Option<i64>, trigger: Trigger) {
        if let Some(reason) = self.refusing {
            return self.orders.push(Order::Refused { trigger, reason });
        }
        let now = || self.ring.newest().or(self.meta.time).unwrap_or(0);
        let time = time.unwrap_or_else(now);
        let from = time.saturating_sub(self.config.pre_roll);
        let end = time.saturating_add(self.config.post_roll.max(1));
        let ring = self.ring.first();
        let policy = self.config.on_retrigger;
        let current = self.clips.last_mut().filter(|open| !open.succeeded);
        if let Some(open) = current
            && from <= open.end
        {
            let limit = open.start.unwrap_or(open.asked).saturating_add(self.config.max_duration);
            let longer = end.min(limit);
            // What would have to be added may be gone.
            let gone = open.start.is_some() && open.next < ring;
            match policy {
                OnRetrigger::Ignore if time < open.end => return self.add(trigger),
                OnRetrigger::Extend if time < limit && !(gone && longer > open.end) => {
                    if longer > open.end {
                        (open.end, open.complete) = (longer, false);
                    }
                    return self.add(trigger);
                }
                OnRetrigger::Split if time < open.asked => return self.add(trigger),
                _ => {}
            }
            open.succeeded = true;
            if policy == OnRetrigger::Split {
                open.end = open.end.min(time.max(open.last_end));
            }
        }
        let last_end = self.clips.last().map(|open| open.end).or(self.last_end);
        let rests = last_end.is_some_and(|e| time < e.saturating_add(self.config.cooldown));
        if rests && self.config.cooldown > 0 {
            return self.orders.push(Order::Refused { trigger, reason: "cooldown" });
        }
        // What the clip before shows is not shown twice.
        let from = last_end.map_or(from, |e| from.max(e.min(time)));
        let end = end.min(from.saturating_add(self.config.max_duration));
        if let Some(open) = self.clips.last_mut() {
            open.succeeded = true;
        }
        self.open(from, end, vec![trigger], None);
        self.advance();
    }

    /// The event belongs to the clip that is being made.
    fn add(&mut self, trigger: Trigger) {
        let Some(open) = self.clips.last_mut() else { return };
        open.triggers.push(trigger.clone());
        let clip = open.clip;
        self.orders.push(Order::Trigger { clip, trigger });
        self.advance();
    }

    fn open(&mut self, asked: i64, end: i64, triggers: Vec<Trigger>, continues: Option<u64>) {
        self.made += 1;
        let clip = self.made;
        self.orders.push(Order::Open { clip, triggers: triggers.clone(), continues });
        self.clips.push(Open {
            clip,
            triggers,
            asked,
            start: None,
            end,
            next: 0,
            format: 0,
            complete: false,
            last_end: asked,
            next_sound: 0,
            sound_end: None,
            sound_format: None,
            next_frame: 0,
            missing: Vec::new(),
            succeeded: false,
        });
    }

    /// Gives clips what has come for them, and closes those that are done.
    fn advance(&mut self) {
        let mut index = 0;
        while index < self.clips.len() {
            let mut open = self.clips.remove(index);
            let next_format = self.give(&mut open);
            if let Some(number) = next_format {
                self.continue_in_another(open, number, index);
            } else if self.is_over(&open) {
                self.close(open, false);
            } else {
                self.clips.insert(index, open);
                index += 1;
            }
        }
    }

    /// Gives a clip its pictures, sound and metadata; the number of the first picture of another
    /// format if one comes before its end.
    fn give(&mut self, open: &mut Open) -> Option<u64> {
        if open.start.is_none() {
            self.begin(open);
        }
        let start = open.start?;
        let mut changed = None;
        while !open.complete {
            let Some((packet, format)) = self.ring.get(open.next) else { break };
            if packet.boundary && packet.pts >= open.end {
                open.complete = true;
            } else if format != open.format {
                (open.complete, changed) = (true, Some(open.next));
            } else {
                open.next += 1;
                // Shown before the first picture, and decoded with what lies before it.
                if packet.pts >= start {
                    let ends = packet.pts.saturating_add(packet.duration);
                    open.last_end = open.last_end.max(ends);
                    let packet = packet.clone();
                    self.orders.push(Order::Picture { clip: open.clip, packet });
                }
            }
        }
        let until = changed.map_or(open.end, |_| open.last_end);
        self.give_sound(open, start, until);
        self.give_frames(open, start, until);
        changed
    }

    fn begin(&mut self, open: &mut Open) {
        let Some((number, start)) = self.ring.start(open.asked) else { return };
        let Some((_, format)) = self.ring.get(number) else { return };
        if start > open.asked {
            let reason = if self.ring.first() == 0 {
                "the stream had just begun"
            } else {
                "pictures of that time were not kept any more"
            };
            open.missing.push(missing("pre-roll", start - open.asked, reason));
        }
        if open.end <= start {
            open.end = start.saturating_add(self.config.post_roll.max(SHORTEST_NS));
        }
        (open.start, open.last_end) = (Some(start), start);
        (open.next, open.format) = (number, format);
        self.orders.push(Order::Begin { clip: open.clip, start, format });
    }

    fn give_sound(&mut self, open: &mut Open, start: i64, until: i64) {
        for (number, time, (packet, format)) in self.sound.from(open.next_sound) {
            if time >= until {
                break;
            }
            open.next_sound = number + 1;
            if time < start {
                continue;
            }
            // A file has one format: the rest is missing.
            if *open.sound_format.get_or_insert(*format) == *format {
                open.sound_end = Some(time.saturating_add(packet.duration));
                let (packet, format) = (packet.clone(), *format);
                self.orders.push(Order::Sound { clip: open.clip, packet, format });
            }
        }
    }

    fn give_frames(&mut self, open: &mut Open, start: i64, until: i64) {
        for (number, time, frame) in self.frames.from(open.next_frame) {
            if time >= until {
                break;
            }
            open.next_frame = number + 1;
            if time >= start {
                self.orders.push(Order::Frame { clip: open.clip, frame: frame.clone() });
            }
        }
    }

    /// The stream changed its format in the middle of the clip: another file goes on.
    fn continue_in_another(&mut self, open: Open, number: u64, index: usize) {
        let (end, succeeded) = (open.end, open.succeeded);
        let triggers = open.triggers.clone();
        let clip = open.clip;
        self.close(open, false);
        let from = self.ring.get(number).map(|(packet, _)| packet.pts);
        let Some(from) = from.filter(|from| *from < end) else { return };
        self.open(from, end, triggers, Some(clip));
        if let Some(mut next) = self.clips.pop() {
            next.succeeded = succeeded;
            self.clips.insert(index, next);
        }
    }

    /// Can nothing change the clip any more, and is everything of it here?
    fn is_over(&self, open: &Open) -> bool {
        let late = open.end.saturating_add(self.config.decision_delay);
        let passed = |time: Option<i64>, limit: i64| time.is_some_and(|time| time >= limit);
        let decided = open.succeeded
            || self.meta.ended
            || passed(self.meta.time, open.end)
            || passed(self.ring.newest(), late);
        let there = open.complete || self.video_ended || passed(self.meta.time, late);
        decided && there
    }

    fn close(&mut self, mut open: Open, cut: bool) {
        self.last_end = Some(open.end);
        if let Some(start) = open.start {
            let end = open.last_end;
            let lacks = open.end.saturating_sub(end);
            let told = open.missing.iter().any(|m| m.what == "post-roll");
            if !open.complete && !told && lacks > GAP_NS {
                let reason = if self.video_ended { "the stream ended" } else { "no pictures came" };
                open.missing.push(missing("post-roll", lacks, reason));
            }
            let known = self.meta.time.unwrap_or(start).max(start);
            if !self.meta.ended && end - known > GAP_NS {
                let reason = "it came too late, or not at all";
                open.missing.push(missing("metadata", end - known, reason));
            }
            let silent = end.saturating_sub(open.sound_end.unwrap_or(start));
            if (self.sounding || open.sound_end.is_some()) && silent > GAP_NS {
                let reason = "it came too late, or not at all, or changed its format";
                open.missing.push(missing("audio", silent, reason));
            }
        }
        let Open { clip, last_end: end, missing, .. } = open;
        self.orders.push(Order::Close { clip, end, cut, missing });
    }

    /// Drops what no clip to come can need.
    fn trim(&mut self) {
        let Some(newest) = self.ring.newest() else { return };
        let keep = self.config.pre_roll.saturating_add(self.config.decision_delay);
        let oldest = newest.saturating_sub(keep);
        self.ring.trim(oldest, self.config.max_bytes);
        // The first group of pictures may begin earlier.
        let oldest = self.ring.start(oldest).map_or(oldest, |(_, start)| start.min(oldest));
        while self.sound.oldest().is_some_and(|time| time < oldest) {
            let Some((gone, _)) = self.sound.drop_first() else { break };
            self.sound_bytes -= gone.bytes;
        }
        while self.frames.oldest().is_some_and(|time| time < oldest) {
            self.frames.drop_first();
        }
    }
}

fn missing(what: &str, duration: i64, reason: &str) -> Missing {
    let duration_ns = u64::try_from(duration).unwrap_or(0);
    Missing { what: what.to_owned(), duration_ns, reason: reason.to_owned() }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
