//! Streams of one video, side by side in this process, each as often as it is asked for.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::{BenchOptions, BenchProgress, StreamRate, memory};
use crate::chain::{Chain, ChainOptions, ENOUGH, NO_STREAMS, Reading, file_source, pad, post};
use crate::elements::discard;
use crate::error::AnalyzeError;
use crate::run::Messages;

/// How often progress is reported and memory is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Streams that stand still.
pub(super) struct Streams<'a> {
    streams: Vec<Stream<'a>>,
    /// Messages of all pipelines, with the number of their stream: nobody has to look for them.
    messages: Receiver<(usize, gst::Message)>,
}

struct Stream<'a> {
    chain: Chain,
    messages: Messages<'a>,
    seen: Arc<Seen>,
    reading: Reading,
    loops_left: u32,
    duration_ns: Option<u64>,
    /// Once it has ended.
    counted: Option<Counted>,
}

/// What passed the end of the chain.
#[derive(Debug, Default)]
struct Seen {
    frames: AtomicU64,
    /// Time of the last frame.
    position_ns: AtomicU64,
}

/// What the elements counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    pub(super) faces: u64,
    pub(super) embeds: u64,
    /// Of the detector; empty if nothing was detected.
    pub(super) provider: String,
    pub(super) decoder: Option<String>,
}

/// A measurement.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) frames: u64,
    pub(super) faces: u64,
    pub(super) embeds: u64,
    pub(super) wall: Duration,
    /// While all streams ran.
    pub(super) rates: Vec<StreamRate>,
    pub(super) resident_mib: Option<f64>,
    pub(super) growth_mib: Option<f64>,
    pub(super) provider: String,
    pub(super) decoder: Option<String>,
}

/// Builds the pipelines and starts everything but what reads and decodes.
pub(super) fn build<'a>(
    options: &BenchOptions,
    chain: &'a ChainOptions,
) -> Result<Streams<'a>, AnalyzeError> {
    let (sender, messages) = channel();
    let mut streams = Streams { streams: Vec::new(), messages };
    for index in 0..options.streams as usize {
        let mut stream = Stream::build(options, chain)?;
        let bus = stream.chain.pipeline.bus();
        let bus = bus.ok_or_else(|| AnalyzeError::pipeline("it has no bus"))?;
        let sender = sender.clone();
        bus.set_sync_handler(move |_, message| {
            // Nobody listens any more when the measurement is over.
            let _ = sender.send((index, message.clone()));
            gst::BusSyncReply::Drop
        });
        stream.hold(true);
        let started = stream.chain.pipeline.set_state(gst::State::Playing);
        if started.is_err() {
            // The reason was told.
            for (_, message) in streams.messages.try_iter().filter(|(of, _)| *of == index) {
                let _ = stream.messages.handle(&message)?;
            }
            return Err(AnalyzeError::pipeline("it does not start"));
        }
        streams.streams.push(stream);
    }
    Ok(streams)
}

impl<'a> Stream<'a> {
    fn build(options: &BenchOptions, chain: &'a ChainOptions) -> Result<Self, AnalyzeError> {
        let messages = Messages::new(chain);
        let chain = match options.decode_only {
            true => decoding(chain)?,
            false => Chain::build(chain)?,
        };
        let seen = Arc::new(Seen::default());
        count(&chain.tap, seen.clone(), options.frames.unwrap_or(u64::MAX));
        let reading = Reading::new(chain.streams.clone());
        let loops_left = options.loops.max(1);
        Ok(Self { chain, messages, seen, reading, loops_left, duration_ns: None, counted: None })
    }

    /// Keeps what reads and decodes as it is while the rest starts, or lets it follow.
    fn hold(&self, hold: bool) {
        for element in self.inlet() {
            element.set_locked_state(hold);
            if !hold {
                // What is wrong with the file comes as a message.
                let _ = element.sync_state_with_parent();
            }
        }
    }

    /// What decodes and what reads.
    fn inlet(&self) -> impl Iterator<Item = gst::Element> {
        ["decode", "source"].into_iter().filter_map(|name| self.chain.pipeline.by_name(name))
    }

    /// The video is at its end: once more from its start, unless that was the last time.
    fn over(&mut self, enough: bool) -> Result<(), AnalyzeError> {
        self.loops_left = self.loops_left.saturating_sub(1);
        if self.loops_left == 0 || enough {
            let counted = Counted {
                faces: counter(&self.chain, "detect", "faces"),
                embeds: counter(&self.chain, "recognize", "embedded"),
                provider: provider(&self.chain),
                decoder: decoder(&self.chain),
            };
            self.counted = Some(counted);
            return Ok(());
        }
        let pipeline = &self.chain.pipeline;
        pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO).map_err(|_| {
            AnalyzeError::Stream {
                path: self.messages.video(),
                reason: "it cannot be shown again from its start; measure one loop".to_owned(),
            }
        })
    }

    /// What part of its work is done.
    fn done(&mut self, options: &BenchOptions) -> Option<f64> {
        if self.counted.is_some() {
            return Some(1.0);
        }
        let frames = self.seen.frames.load(Ordering::Relaxed);
        if self.duration_ns.is_none() && frames > 0 {
            let duration = self.chain.pipeline.query_duration::<gst::ClockTime>();
            self.duration_ns = duration.map(gst::ClockTime::nseconds).filter(|ns| *ns > 0);
        }
        let position = self.seen.position_ns.load(Ordering::Relaxed);
        let of_loop = self.duration_ns.map(|whole| (position as f64 / whole as f64).min(1.0));
        let loops = f64::from(options.loops.max(1));
        let played = of_loop.map(|part| (loops - f64::from(self.loops_left) + part) / loops);
        let of_frames =
            options.frames.map(|wanted| (frames as f64 / wanted.max(1) as f64).min(1.0));
        match (played, of_frames) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        }
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        // What is held does not go down with the pipeline either.
        self.inlet().for_each(|element| {
            element.set_locked_state(false);
        });
    }
}

/// What only reads and decodes.
fn decoding(options: &ChainOptions) -> Result<Chain, AnalyzeError> {
    let pipeline = gst::Pipeline::with_name("face-pipeline");
    let sink = discard("frames-end")?;
    pipeline.add(&sink).map_err(AnalyzeError::pipeline)?;
    let tap = pad(&sink, "sink")?;
    let streams = file_source(&pipeline, &options.video, tap.clone(), None)?.streams;
    Ok(Chain { pipeline, tap, streams })
}

/// Counts what passes `tap`, up to the wanted number.
fn count(tap: &gst::Pad, seen: Arc<Seen>, wanted: u64) {
    tap.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        let before = seen.frames.load(Ordering::Relaxed);
        if before >= wanted {
            return gst::PadProbeReturn::Ok;
        }
        seen.frames.store(before + 1, Ordering::Relaxed);
        if let Some(pts) = buffer.pts() {
            seen.position_ns.store(pts.nseconds(), Ordering::Relaxed);
        }
        if before + 1 == wanted
            && let Some(element) = pad.parent()
        {
            post(&element, ENOUGH, None);
        }
        gst::PadProbeReturn::Ok
    });
}

/// A counter of an element's property `stats`; 0 if it has none.
fn counter(chain: &Chain, element: &str, name: &str) -> u64 {
    let element = chain.pipeline.by_name(element);
    let stats = element.map(|e| e.property::<gst::Structure>("stats"));
    stats.and_then(|stats| stats.get(name).ok()).unwrap_or(0)
}

fn provider(chain: &Chain) -> String {
    let detector = chain.pipeline.by_name("detect");
    detector.map(|e| e.property("active-provider")).unwrap_or_default()
}

/// Factory of the video decoder that decodebin chose.
fn decoder(chain: &Chain) -> Option<String> {
    chain.pipeline.iterate_recurse().into_iter().flatten().find_map(|element| {
        let factory = element.factory()?;
        let class = factory.metadata("klass")?;
        let video = class.contains("Decoder") && class.contains("Video");
        video.then(|| factory.name().to_string())
    })
}

impl Streams<'_> {
    /// Lets the streams go and waits for their ends.
    pub(super) fn run(
        mut self,
        options: &BenchOptions,
        progress: &mut dyn FnMut(BenchProgress) -> ControlFlow<()>,
    ) -> Result<Ran, AnalyzeError> {
        let begun = Instant::now();
        let mut growth = Growth::default();
        let (mut rates, mut wall) = (Vec::new(), Duration::ZERO);
        let mut ticked = begun;
        self.streams.iter().for_each(|stream| stream.hold(false));
        while self.streams.iter().any(|stream| stream.counted.is_none()) {
            match self.messages.recv_timeout(TICK.saturating_sub(ticked.elapsed())) {
                Ok((index, message)) => {
                    if self.handle(index, &message)? {
                        wall = begun.elapsed();
                        if rates.is_empty() {
                            rates = self.rates(wall);
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(AnalyzeError::pipeline("its messages are lost"));
                }
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                growth.look(self.frames());
                self.tick(options, progress)?;
            }
        }
        growth.look(self.frames());
        self.ran(wall, rates, &growth)
    }

    /// Takes in a message; true if its stream has ended with it.
    fn handle(&mut self, index: usize, message: &gst::Message) -> Result<bool, AnalyzeError> {
        let Some(stream) = self.streams.get_mut(index) else { return Ok(false) };
        if stream.counted.is_some() || stream.messages.handle(message)?.is_continue() {
            return Ok(false);
        }
        stream.over(!matches!(message.view(), gst::MessageView::Eos(_)))?;
        let ended = stream.counted.is_some();
        if ended && self.streams.iter().any(|stream| stream.counted.is_none()) {
            // What is behind the last wanted frame must not cost the others anything.
            let _ = self.streams[index].chain.pipeline.set_state(gst::State::Null);
        }
        Ok(ended)
    }

    fn tick(
        &mut self,
        options: &BenchOptions,
        progress: &mut dyn FnMut(BenchProgress) -> ControlFlow<()>,
    ) -> Result<(), AnalyzeError> {
        let path = options.video.clone();
        if self.streams.iter_mut().any(|s| s.counted.is_none() && s.reading.is_lost()) {
            return Err(AnalyzeError::Stream { path, reason: NO_STREAMS.to_owned() });
        }
        let parts: Option<Vec<f64>> = self.streams.iter_mut().map(|s| s.done(options)).collect();
        let done = parts.map(|parts| parts.iter().sum::<f64>() / parts.len().max(1) as f64);
        match progress(BenchProgress { frames: self.frames(), done }) {
            ControlFlow::Break(()) => Err(AnalyzeError::Interrupted { path }),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    fn frames(&self) -> u64 {
        self.streams.iter().map(|s| s.seen.frames.load(Ordering::Relaxed)).sum()
    }

    fn rates(&self, wall: Duration) -> Vec<StreamRate> {
        let rate = |stream: &Stream| {
            let frames = stream.seen.frames.load(Ordering::Relaxed);
            StreamRate { frames, fps: frames as f64 / wall.as_secs_f64() }
        };
        self.streams.iter().map(rate).collect()
    }

    fn ran(
        &self,
        wall: Duration,
        rates: Vec<StreamRate>,
        growth: &Growth,
    ) -> Result<Ran, AnalyzeError> {
        let mut ran = Ran {
            frames: self.frames(),
            wall,
            rates,
            resident_mib: growth.last(),
            growth_mib: growth.mib(),
            ..Ran::default()
        };
        for stream in &self.streams {
            if stream.seen.frames.load(Ordering::Relaxed) == 0 {
                return Err(AnalyzeError::NoFrames { path: stream.messages.video() });
            }
            let counted = stream.counted.clone().unwrap_or_default();
            ran.faces += counted.faces;
            ran.embeds += counted.embeds;
            (ran.provider, ran.decoder) = (counted.provider, counted.decoder);
        }
        Ok(ran)
    }
}

/// Resident memory by frames.
#[derive(Debug, Default)]
struct Growth(Vec<(u64, f64)>);

impl Growth {
    fn look(&mut self, frames: u64) {
        self.0.extend(memory::resident_mib().map(|mib| (frames, mib)));
    }

    fn last(&self) -> Option<f64> {
        self.0.last().map(|(_, mib)| *mib)
    }

    /// By how much it grew after the first fifth of the frames, in which everything is used for the
    /// first time.
    fn mib(&self) -> Option<f64> {
        let (frames, last) = self.0.last()?;
        let first = self.0.iter().find(|(so_far, _)| *so_far >= frames / 5)?;
        Some(last - first.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_first_fifth_is_no_growth() {
        let growth = Growth(vec![(0, 10.0), (90, 40.0), (200, 50.0), (700, 52.0), (1000, 51.0)]);
        assert_eq!(growth.mib(), Some(1.0));
        assert_eq!(growth.last(), Some(51.0));
        assert_eq!(Growth::default().mib(), None);
    }
}
