//! Frames of an iterator, with their faces.

use std::collections::VecDeque;
use std::iter::FusedIterator;

use gst::prelude::*;

use super::TrackerPipeline;
use super::error::TrackerError;
use super::event::{FaceMessage, TrackedFrame};
use super::frame::{Frame, FrameFault};
use crate::chain::top_level_name;
use crate::elements::{Property, init, make};
use crate::error::AnalyzeError;
use crate::run::reason;

/// How long a wait for a result lasts before the bus is looked at.
const POLL: gst::ClockTime = gst::ClockTime::from_mseconds(50);
/// How long the elements may take to tell what they tell at the end of a stream.
const LAST_WORDS: gst::ClockTime = gst::ClockTime::from_seconds(10);
/// Messages kept for [`TrackedFrames::messages`].
const MESSAGES: usize = 1024;

impl TrackerPipeline {
    /// Follows the people of an iterator's frames: one result per frame, in their order. The
    /// iterator is asked on the thread that asks for results, and is never further ahead of them
    /// than [`TrackerPipeline::ahead`] says: however long it is, memory does not grow, and results
    /// that nobody takes stop it.
    ///
    /// `rate` is the number of frames per second, above 0 up to 1000: frames without a time follow
    /// each other at that distance, and the detector's `interval` depends on it. A frame may have
    /// another size or format than the one before.
    ///
    /// A frame that cannot be used (too few bytes, a time that runs back) gives
    /// [`TrackerError::Frame`] in its place, and the stream goes on. After any other error it is
    /// over. Dropping what is returned stops everything.
    ///
    /// # Errors
    /// [`TrackerError`] if the pipeline cannot be built or does not start: a model or the gallery
    /// that cannot be used, a property that an element does not take.
    pub fn frames<'a, I>(
        mut self,
        frames: I,
        rate: f64,
    ) -> Result<TrackedFrames<I::IntoIter>, TrackerError>
    where
        I: IntoIterator<Item = Frame<'a>>,
    {
        let distance = Some(rate).filter(|r| *r > 0.0 && *r <= 1000.0);
        let rate = distance
            .and_then(gst::Fraction::approximate_f64)
            .filter(|r| r.numer() > 0)
            .ok_or(TrackerError::Rate(rate))?;
        Property::no_source(&self.properties, "the frames of an iterator have no source element")?;
        init()?;
        let faces = self.faces()?;
        for tap in std::mem::take(&mut self.taps) {
            tap.install(&faces)?;
        }
        let pipeline = gst::Pipeline::new();
        let source = application_end::<gst_app::AppSrc>("appsrc", "source")?;
        source.set_format(gst::Format::Time);
        let sink = application_end::<gst_app::AppSink>("appsink", "results")?;
        sink.set_sync(false);
        let mut chain = vec![source.clone().upcast()];
        chain.extend(faces.in_order());
        chain.push(sink.clone().upcast::<gst::Element>());
        pipeline.add_many(&chain).map_err(AnalyzeError::pipeline)?;
        gst::Element::link_many(&chain).map_err(AnalyzeError::pipeline)?;
        let mut tracked = TrackedFrames {
            frames: frames.into_iter(),
            clock: Clock::new(rate),
            rate,
            ahead: self.ahead,
            pipeline,
            source,
            sink,
            caps: None,
            pending: VecDeque::new(),
            taken: 0,
            exhausted: false,
            over: false,
            messages: VecDeque::new(),
        };
        if tracked.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(tracked.failure("the pipeline does not start"));
        }
        Ok(tracked)
    }
}

fn application_end<T: IsA<gst::Element>>(factory: &str, name: &str) -> Result<T, AnalyzeError> {
    let other = |_| AnalyzeError::pipeline(format!("{factory} is of another type"));
    make(factory, name)?.downcast::<T>().map_err(other)
}

/// A frame that was taken from the iterator and has no result yet.
#[derive(Debug)]
enum Pending {
    /// In the pipeline, with this time.
    Sent(u64),
    /// Not usable.
    Refused(FrameFault),
}

/// The results of [`TrackerPipeline::frames`].
#[derive(Debug)]
pub struct TrackedFrames<I> {
    frames: I,
    clock: Clock,
    rate: gst::Fraction,
    ahead: usize,
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
    /// Those of the last frame.
    caps: Option<(gst_video::VideoInfo, gst::Caps)>,
    pending: VecDeque<Pending>,
    /// Frames taken from the iterator.
    taken: u64,
    exhausted: bool,
    over: bool,
    messages: VecDeque<FaceMessage>,
}

impl<I> TrackedFrames<I> {
    /// Takes the messages that elements posted since the last call, the last 1024 at most. After the
    /// last result they are complete.
    pub fn messages(&mut self) -> Vec<FaceMessage> {
        self.messages.drain(..).collect()
    }

    /// Looks at the messages that are there; the first error among them.
    fn listen(&mut self) -> Option<TrackerError> {
        let bus = self.pipeline.bus()?;
        while let Some(message) = bus.pop() {
            if let Some(error) = self.hear(&message) {
                return Some(error);
            }
        }
        None
    }

    fn hear(&mut self, message: &gst::Message) -> Option<TrackerError> {
        if let gst::MessageView::Error(error) = message.view() {
            let element = error.src().map(top_level_name).unwrap_or_default().to_string();
            return Some(TrackerError::Element { element, reason: reason(error) });
        }
        if let Some(message) = FaceMessage::of(message) {
            if self.messages.len() >= MESSAGES {
                self.messages.pop_front();
            }
            self.messages.push_back(message);
        }
        None
    }

    /// Ends the stream with the error on the bus.
    fn failure(&mut self, otherwise: &str) -> TrackerError {
        let error = self.listen();
        self.end();
        error.unwrap_or_else(|| AnalyzeError::pipeline(otherwise).into())
    }

    fn end(&mut self) {
        self.over = true;
        // Going down to Null cannot fail.
        let _ = self.pipeline.set_state(gst::State::Null);
    }

    /// After the last result: waits for what the elements say at the end of a stream.
    fn finish(&mut self) -> Option<TrackerError> {
        let mut error = None;
        if let Some(bus) = self.pipeline.bus() {
            let until = std::time::Instant::now() + LAST_WORDS.into();
            while error.is_none() && std::time::Instant::now() < until {
                let Some(message) = bus.timed_pop(POLL) else { continue };
                if let gst::MessageView::Eos(_) = message.view() {
                    break;
                }
                error = self.hear(&message);
            }
        }
        self.end();
        error
    }

    /// The result that came out, for the frame that waits longest.
    fn result(&mut self, sample: &gst::Sample) -> Result<TrackedFrame, TrackerError> {
        let (pts, buffer) = match (self.pending.pop_front(), sample.buffer()) {
            (Some(Pending::Sent(pts)), Some(buffer)) => (pts, buffer),
            _ => return Err(self.failure("a result came that belongs to no frame")),
        };
        // Elements in place neither lose nor add a buffer.
        if buffer.pts().map(gst::ClockTime::nseconds) != Some(pts) {
            return Err(self.failure("a result came that belongs to another frame"));
        }
        let index = self.taken - self.pending.len() as u64 - 1;
        match crate::tap::faces(buffer) {
            Ok(faces) => Ok(TrackedFrame::new(index, Some(pts), faces)),
            Err(e) => Err(self.failure(&e.to_string())),
        }
    }

    /// Sends a frame into the pipeline.
    fn send(&mut self, frame: Frame) -> Result<Pending, TrackerError> {
        let pts = match self.clock.time(frame.pts_ns) {
            Ok(pts) => pts,
            Err(fault) => return Ok(Pending::Refused(fault)),
        };
        let (mut buffer, info) = match frame.into_buffer(self.rate) {
            Ok(sent) => sent,
            Err(fault) => return Ok(Pending::Refused(fault)),
        };
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(pts));
            buffer.set_duration(gst::ClockTime::from_nseconds(self.clock.distance_ns()));
        }
        if self.caps.as_ref().is_none_or(|(last, _)| *last != info) {
            let caps = info.to_caps().map_err(AnalyzeError::pipeline)?;
            self.caps = Some((info, caps));
        }
        let caps = self.caps.as_ref().map(|(_, caps)| caps);
        let sample = gst::Sample::builder().buffer(&buffer).caps_if_some(caps).build();
        match self.source.push_sample(&sample) {
            Ok(_) => Ok(Pending::Sent(pts)),
            Err(_) => Err(self.failure("the pipeline takes no more frames")),
        }
    }
}

impl<'a, I: Iterator<Item = Frame<'a>>> TrackedFrames<I> {
    /// Takes the next frame, if there is one and there is room.
    fn fill(&mut self) -> Result<bool, TrackerError> {
        if self.exhausted || self.pending.len() >= self.ahead {
            return Ok(false);
        }
        match self.frames.next() {
            Some(frame) => {
                self.taken += 1;
                let pending = self.send(frame)?;
                self.pending.push_back(pending);
            }
            None => {
                self.exhausted = true;
                // Refused only after an error, which the bus has.
                let _ = self.source.end_of_stream();
            }
        }
        Ok(true)
    }

    fn advance(&mut self) -> Result<Option<TrackedFrame>, TrackerError> {
        loop {
            if let Some(Pending::Refused(fault)) = self.pending.front() {
                let fault = *fault;
                let index = self.taken - self.pending.len() as u64;
                self.pending.pop_front();
                return Err(TrackerError::Frame { index, fault });
            }
            // A result that is there comes before another frame: an iterator that waits for a
            // camera does not hold it back.
            let waiting = !self.pending.is_empty();
            if waiting && let Some(sample) = self.sink.try_pull_sample(gst::ClockTime::ZERO) {
                return self.result(&sample).map(Some);
            }
            if let Some(error) = self.listen() {
                self.end();
                return Err(error);
            }
            if self.fill()? {
                continue;
            }
            if !waiting {
                return self.finish().map_or(Ok(None), Err);
            }
            if let Some(sample) = self.sink.try_pull_sample(POLL) {
                return self.result(&sample).map(Some);
            }
            if self.sink.is_eos() {
                return Err(self.failure("the pipeline ended before the frames did"));
            }
        }
    }
}

impl<'a, I: Iterator<Item = Frame<'a>>> Iterator for TrackedFrames<I> {
    type Item = Result<TrackedFrame, TrackerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let result = self.advance();
        if result.as_ref().is_err_and(TrackerError::is_final) {
            self.end();
        }
        result.transpose()
    }
}

impl<'a, I: Iterator<Item = Frame<'a>>> FusedIterator for TrackedFrames<I> {}

impl<I> Drop for TrackedFrames<I> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Gives frames their times.
#[derive(Debug)]
struct Clock {
    /// Numerator and denominator of the frames per second, both above 0.
    rate: (u128, u128),
    /// Time of the last frame that had one of its own, and frames since.
    anchor: (u64, u64),
    last: Option<u64>,
}

impl Clock {
    fn new(rate: gst::Fraction) -> Self {
        let positive = |n: i32| u128::from(n.unsigned_abs().max(1));
        Self { rate: (positive(rate.numer()), positive(rate.denom())), anchor: (0, 0), last: None }
    }

    fn distance_ns(&self) -> u64 {
        self.after(1)
    }

    /// The length of so many frames.
    fn after(&self, frames: u64) -> u64 {
        let ns = u128::from(frames) * 1_000_000_000 * self.rate.1 / self.rate.0;
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// The time of the next frame, ns. One that is refused has its place in time, too.
    fn time(&mut self, own: Option<u64>) -> Result<u64, FrameFault> {
        let time = match (own, self.last) {
            (Some(pts_ns), Some(last_ns)) if pts_ns < last_ns => {
                return Err(FrameFault::Time { pts_ns, last_ns });
            }
            (Some(own), _) => {
                self.anchor = (own, 0);
                own
            }
            (None, None) => 0,
            (None, Some(_)) => {
                self.anchor.1 += 1;
                self.anchor.0.saturating_add(self.after(self.anchor.1))
            }
        };
        // The greatest number is GStreamer's "no time".
        let time = time.min(u64::MAX - 1);
        self.last = Some(time);
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t18_frames_without_a_time_follow_at_the_rate_without_drift() {
        let mut clock = Clock::new(gst::Fraction::new(30_000, 1001));
        let times: Vec<u64> = (0..30_001).map(|_| clock.time(None).unwrap()).collect();
        assert_eq!((times[0], times[1], times[30_000]), (0, 33_366_666, 1_001_000_000_000));
    }

    #[test]
    fn t18_own_times_are_kept_and_others_follow_them() {
        let mut clock = Clock::new(gst::Fraction::new(10, 1));
        let ms = 1_000_000;
        let given = [None, Some(500 * ms), None, None, Some(700 * ms), Some(650 * ms), None];
        let times: Vec<_> = given.into_iter().map(|own| clock.time(own).ok()).collect();
        let wanted = [0, 500, 600, 700, 700].map(|t| Some(t * ms));
        assert_eq!(times[..5], wanted);
        assert_eq!(times[5..], [None, Some(800 * ms)]);
    }

    #[test]
    fn t18_times_at_the_end_of_all_numbers_are_times() {
        let mut clock = Clock::new(gst::Fraction::new(1, 1));
        for own in [Some(u64::MAX), None, Some(u64::MAX)] {
            let fault = clock.time(own);
            assert!(fault.is_ok_and(|t| t == u64::MAX - 1), "{fault:?}");
        }
    }
}
