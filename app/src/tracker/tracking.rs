//! A source that is followed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gst::prelude::*;
use parking_lot::{Condvar, Mutex};

use super::TrackerPipeline;
use super::error::TrackerError;
use super::event::{Event, FaceMessage, TrackedFrame};
use super::mailbox::{Mailbox, deadline};
use super::source::{self, Source};
use super::tap::on_buffers;
use super::watchdog::{Change, Health, Watchdog};
use crate::chain::{NO_STREAMS, NO_VIDEO, Reading, pad, top_level_name};
use crate::elements::{discard, init, queue, upright};
use crate::error::AnalyzeError;
use crate::run::{missing_codec, reason};

/// How often the watchdog is asked and a request to stop is looked for.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// Longest that [`Tracking::stop`] waits. A network camera that does not answer is given up at once;
/// the driver of a camera may hang.
const LONGEST_STOP: Duration = Duration::from_secs(10);
/// rtspsrc warns that the server has closed the connection, and then ends the stream as if that was
/// its end. Between the two are the pictures that were under way.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// Warnings told of one stream; the rest repeats them.
const MAX_WARNINGS: usize = 64;

impl TrackerPipeline {
    /// Follows the people of a source until it ends, fails or is stopped. Models and gallery are
    /// loaded before this returns; a network camera that does not answer is told later, by
    /// [`Event::Ended`] or the watchdog.
    ///
    /// # Errors
    /// [`TrackerError`] if the pipeline cannot be built or does not start: a source, a model or a
    /// gallery that cannot be used, a property that an element does not take.
    pub fn start(mut self, from: &Source) -> Result<Tracking, TrackerError> {
        if let Some(limits) = &self.watchdog {
            limits.check().map_err(TrackerError::Watchdog)?;
        }
        init()?;
        let pipeline = gst::Pipeline::new();
        let guard = StopOnError(Some(pipeline.clone()));
        let faces = self.faces()?;
        let arrived = queue("arrived")?;
        let mut chain = vec![arrived.clone()];
        chain.extend(upright()?);
        chain.extend(faces.in_order());
        chain.push(discard("frames-end")?);
        pipeline.add_many(&chain).map_err(AnalyzeError::pipeline)?;
        gst::Element::link_many(&chain).map_err(AnalyzeError::pipeline)?;
        let entry = pad(&arrived, "sink")?;
        let streams = source::connect(from, &pipeline, entry, &self.properties)?;
        for tap in std::mem::take(&mut self.taps) {
            tap.install(&faces)?;
        }
        let shared = Arc::new(Shared::new(&self));
        // After the taps of the program: a frame that is counted was seen by all of them.
        let counter = shared.clone();
        let results = self.results;
        on_buffers(&pad(&faces.recognizer, "src")?, move |frame| {
            let index = counter.tick();
            if results {
                let frame = TrackedFrame::new(index, frame.pts_ns, frame.faces.clone());
                counter.mailbox.put_frame(frame, counter.live.load(Ordering::Relaxed));
            }
        });
        let bus = pipeline.bus().ok_or_else(|| AnalyzeError::pipeline("it has no bus"))?;
        let mut watch = Watch {
            name: from.to_string(),
            shared: shared.clone(),
            pipeline: pipeline.clone(),
            bus,
            reading: streams.map(Reading::new),
            missing: Vec::new(),
            warnings: Vec::new(),
            lost: None,
        };
        watch.play(&arrived)?;
        let name = "face-watch";
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || watch.run());
        thread.map_err(|source| TrackerError::Thread { name, source })?;
        guard.keep();
        Ok(Tracking { shared, pipeline })
    }
}

/// Brings a pipeline down that nobody took over.
struct StopOnError(Option<gst::Pipeline>);

impl StopOnError {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for StopOnError {
    fn drop(&mut self) {
        if let Some(pipeline) = &self.0 {
            // Going down to Null cannot fail.
            let _ = pipeline.set_state(gst::State::Null);
        }
    }
}

/// What a stream is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No frame has come yet.
    Starting,
    Running,
    /// The source has come to its end, or [`Tracking::stop`] was called.
    Ended,
    /// Why it failed.
    Failed(String),
}

/// What the streaming threads, the thread that watches, and the program share. Lock order: `ended`,
/// then that of the mailbox; the watchdog's is held alone.
#[derive(Debug)]
struct Shared {
    mailbox: Mailbox,
    /// Time zero of the watchdog.
    epoch: Instant,
    watchdog: Mutex<Watchdog>,
    /// Are its limits told, or does it only count?
    watched: bool,
    live: AtomicBool,
    stop: AtomicBool,
    /// How it ended; present once the pipeline is down.
    ended: Mutex<Option<State>>,
    down: Condvar,
}

impl Shared {
    fn new(options: &TrackerPipeline) -> Self {
        let limits = options.watchdog.unwrap_or_default();
        Self {
            mailbox: Mailbox::default(),
            epoch: Instant::now(),
            watchdog: Mutex::new(Watchdog::new(limits, Duration::ZERO)),
            watched: options.watchdog.is_some(),
            live: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            ended: Mutex::new(None),
            down: Condvar::new(),
        }
    }

    /// A frame came; its number.
    fn tick(&self) -> u64 {
        let mut watchdog = self.watchdog.lock();
        let index = watchdog.frames();
        watchdog.tick(self.epoch.elapsed());
        index
    }
}

/// A source that is followed. Dropping it stops it.
#[derive(Debug)]
pub struct Tracking {
    shared: Arc<Shared>,
    pipeline: gst::Pipeline,
}

impl Tracking {
    /// The next event, however long it takes; `None` after [`Event::Ended`].
    pub fn wait(&self) -> Option<Event> {
        self.shared.mailbox.take(None)
    }

    /// The next event, if it comes in time.
    pub fn wait_for(&self, timeout: Duration) -> Option<Event> {
        self.shared.mailbox.take(deadline(timeout))
    }

    /// All events up to the last one.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        std::iter::from_fn(|| self.wait())
    }

    /// Events that gave way to newer ones, because nobody took them.
    pub fn dropped_events(&self) -> u64 {
        self.shared.mailbox.dropped()
    }

    pub fn state(&self) -> State {
        if let Some(state) = self.shared.ended.lock().clone() {
            return state;
        }
        match self.shared.watchdog.lock().frames() {
            0 => State::Starting,
            _ => State::Running,
        }
    }

    /// How the stream is doing now. With the watchdog off the default limits apply, and nothing is
    /// posted. A stream that is over is not ok.
    pub fn health(&self) -> Health {
        let mut health = self.shared.watchdog.lock().health(self.shared.epoch.elapsed());
        health.ok &= self.shared.ended.lock().is_none();
        health
    }

    /// Is the source live? Then frames that nobody was ready for are dropped before the detector.
    pub fn is_live(&self) -> bool {
        self.shared.live.load(Ordering::Relaxed)
    }

    /// The pipeline, for what this does not offer: properties that change while it plays, signals
    /// of the elements `detect`, `track` and `recognize`, sync handlers of the bus. Its messages
    /// are taken from the bus here.
    pub fn pipeline(&self) -> &gst::Pipeline {
        &self.pipeline
    }

    /// Stops the stream, within ten seconds; done already, it does nothing. Events that came before
    /// can still be taken, the last of them [`Event::Ended`]. Not to be called from a tap.
    ///
    /// # Errors
    /// [`TrackerError::Stop`] if a source does not let go; its thread is left to itself.
    pub fn stop(&self) -> Result<(), TrackerError> {
        self.shared.stop.store(true, Ordering::SeqCst);
        // A streaming thread may wait for room: the pipeline could not come down.
        self.shared.mailbox.close();
        let until = Instant::now() + LONGEST_STOP;
        let mut ended = self.shared.ended.lock();
        while ended.is_none() {
            if self.shared.down.wait_until(&mut ended, until).timed_out() && ended.is_none() {
                return Err(TrackerError::Stop { seconds: LONGEST_STOP.as_secs() });
            }
        }
        Ok(())
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        // Its thread brings the pipeline down, however long that takes.
        let _ = self.stop();
    }
}

/// The thread that reads the bus and asks the watchdog.
struct Watch {
    name: String,
    shared: Arc<Shared>,
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    /// Of a file.
    reading: Option<Reading>,
    /// Streams that nothing here decodes: are they pictures, and what they are.
    missing: Vec<(bool, String)>,
    warnings: Vec<String>,
    /// When the source last warned that it cannot read, and how.
    lost: Option<(Instant, String)>,
}

impl Watch {
    /// Starts the pipeline. What GStreamer says about preroll tells whether the source is live.
    fn play(&mut self, arrived: &gst::Element) -> Result<(), TrackerError> {
        use gst::StateChangeSuccess::NoPreroll;
        let paused = self.pipeline.set_state(gst::State::Paused);
        if matches!(paused, Ok(NoPreroll)) {
            self.shared.live.store(true, Ordering::Relaxed);
            arrived.set_property_from_str("leaky", "downstream");
        }
        if paused.and_then(|_| self.pipeline.set_state(gst::State::Playing)).is_ok() {
            return Ok(());
        }
        // The reason is on the bus.
        while let Some(message) = self.bus.pop() {
            if let Some(Err(error)) = self.hear(&message) {
                return Err(error);
            }
        }
        Err(AnalyzeError::pipeline("it does not start").into())
    }

    fn run(mut self) {
        // Whatever happens, the pipeline comes down and who waits for its end gets one.
        let result = catch_unwind(AssertUnwindSafe(|| self.listen())).unwrap_or_else(|_| {
            Err(AnalyzeError::pipeline("the thread that watches it panicked").into())
        });
        let state = match &result {
            Ok(()) => State::Ended,
            Err(error) => State::Failed(error.to_string()),
        };
        // Nobody waits for room in a pipeline that comes down.
        self.shared.mailbox.close();
        let _ = self.pipeline.set_state(gst::State::Null);
        let mut ended = self.shared.ended.lock();
        *ended = Some(state);
        // Who has the last event finds the state that belongs to it, and the other way round.
        self.shared.mailbox.end(result);
        drop(ended);
        self.shared.down.notify_all();
    }

    /// Until the end of the stream, or until it is to stop.
    fn listen(&mut self) -> Result<(), TrackerError> {
        while !self.shared.stop.load(Ordering::SeqCst) {
            if let Some(message) = self.bus.timed_pop(TICK)
                && let Some(end) = self.hear(&message)
            {
                return end;
            }
            if self.reading.as_mut().is_some_and(Reading::is_lost) {
                let (name, reason) = (self.name.clone(), NO_STREAMS.to_owned());
                return Err(TrackerError::Source { name, reason });
            }
            self.ask_watchdog();
        }
        Ok(())
    }

    /// Posts `face-stall` when a stall begins or ends.
    fn ask_watchdog(&self) {
        if !self.shared.watched {
            return;
        }
        let now = self.shared.epoch.elapsed();
        let change = self.shared.watchdog.lock().check(now);
        let Some(change) = change else { return };
        let ns = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let builder = gst::Structure::builder("face-stall");
        let structure = match change {
            Change::Stalled { reason, silent_for, rate } => builder
                .field("stalled", true)
                .field("reason", reason.as_str())
                .field("silent-for", ns(silent_for))
                .field("frames-per-second", rate),
            Change::Recovered { stalled_for, rate } => builder
                .field("stalled", false)
                .field("stalled-for", ns(stalled_for))
                .field("frames-per-second", rate),
        };
        let message = gst::message::Element::builder(structure.build()).src(&self.pipeline);
        // Fails only while the pipeline is going down.
        let _ = self.bus.post(message.build());
    }

    /// The end of the stream, if the message says that.
    fn hear(&mut self, message: &gst::Message) -> Option<Result<(), TrackerError>> {
        match message.view() {
            gst::MessageView::Eos(_) => return Some(self.end_of_stream()),
            gst::MessageView::Error(error) => return Some(Err(self.error(error))),
            gst::MessageView::Warning(warning) => {
                let element = message.src().map(top_level_name).unwrap_or_default();
                let text = warning.error().to_string();
                if element == "source" && warning.error().is::<gst::ResourceError>() {
                    self.lost = Some((Instant::now(), text.trim_end_matches('.').to_owned()));
                }
                self.warn(format!("{element}: {text}"));
            }
            gst::MessageView::Latency(_) => {
                // Without it a live pipeline keeps the latency that it started with.
                let _ = self.pipeline.recalculate_latency();
            }
            gst::MessageView::Element(element) => {
                let structure = element.structure();
                if let Some(missing) = structure.filter(|s| s.has_name("missing-plugin")) {
                    self.missing.push(missing_codec(missing));
                } else if let Some(message) = FaceMessage::of(message) {
                    self.shared.mailbox.put(Event::Message(message));
                }
            }
            gst::MessageView::Application(application)
                if application.structure().is_some_and(|s| s.has_name(NO_VIDEO)) =>
            {
                return Some(Err(self
                    .unsupported()
                    .unwrap_or_else(|| TrackerError::NoVideo { name: self.name.clone() })));
            }
            _ => {}
        }
        None
    }

    /// A source that ends without a frame has shown nothing, and one that was lost has not come to
    /// its end.
    fn end_of_stream(&self) -> Result<(), TrackerError> {
        let none = self.shared.watchdog.lock().frames() == 0;
        let lost = self.lost.as_ref().filter(|(at, _)| at.elapsed() < LAST_BREATH);
        let reason = match lost {
            Some((_, reason)) => format!("the connection was lost: {reason}"),
            None if none => "it ended before its first picture".to_owned(),
            None => return Ok(()),
        };
        Err(TrackerError::Source { name: self.name.clone(), reason })
    }

    fn error(&self, error: &gst::message::Error) -> TrackerError {
        let element = error.src().map(top_level_name).unwrap_or_default();
        let reason = reason(error);
        if let Some(unsupported) = self.unsupported() {
            return unsupported;
        }
        match element.as_str() {
            "detect" | "track" | "recognize" => {
                TrackerError::Element { element: element.to_string(), reason }
            }
            _ => TrackerError::Source { name: self.name.clone(), reason },
        }
    }

    fn unsupported(&self) -> Option<TrackerError> {
        let (_, codec) = self.missing.iter().find(|(video, _)| *video)?;
        Some(TrackerError::Unsupported { name: self.name.clone(), codec: codec.clone() })
    }

    fn warn(&mut self, text: String) {
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&text) {
            self.warnings.push(text.clone());
            self.shared.mailbox.put(Event::Warning(text));
        }
    }
}
