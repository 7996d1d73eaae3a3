//! One camera: a thread of its own builds its pipeline, hears its bus, builds it again when it failed,
//! and takes it down. What hangs in a camera's driver holds up this thread and no other.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use gst::prelude::*;
use parking_lot::Mutex;

use super::DRAIN;
use super::config::{self, Camera, PropertyChange};
use super::event::{Event, What};
use super::fault::{self, Fault};
use super::line::Line;
use super::passed::{Passed, SILENCE};
use super::state::{CameraState, Condition, Retry};
use super::status::{CameraStatus, Counts};
use super::tally::{self, Rates};
use crate::rtsp_server::{Mount, RtspServer};
use crate::tracker::FaceMessage;

/// How often the status is brought up to date.
const TICK: Duration = Duration::from_millis(500);
/// A thread that was not heard of for so long hangs; models and engines may take long to load.
const HUNG: Duration = Duration::from_secs(60);
/// Warnings told of one pipeline; the rest repeats them.
const MAX_WARNINGS: usize = 64;

/// What a thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Goes on with this configuration, which differs in what can be set while it plays.
    Set(Box<Camera>, Vec<PropertyChange>),
    /// Starts again with this configuration, and this server of streams.
    Replace(Box<Camera>, Option<Arc<RtspServer>>),
    /// Completes what is there, within so much time, and ends.
    Stop(Duration),
}

#[derive(Debug)]
enum Input {
    /// Of the pipeline of that number.
    Message(u64, gst::Message),
    Order(Order),
}

/// What the thread tells whoever asks. The locks are held alone.
#[derive(Debug)]
struct Shared {
    status: Mutex<CameraStatus>,
    /// When the thread was last heard of.
    beat: Mutex<Instant>,
    /// Was everything completed? Told by [`Handle::ended`].
    complete: Mutex<Option<bool>>,
}

/// The name of a camera, and how its first pipeline started.
pub(super) type First = (String, Result<(), Fault>);

/// A camera that runs. Dropping it tells the thread to stop, and does not wait for it.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) name: String,
    orders: Sender<Input>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Starts the thread. The first pipeline has started, or why it does not is told, when `first`
    /// receives.
    pub(super) fn start(
        camera: Camera,
        server: Option<Arc<RtspServer>>,
        events: SyncSender<Event>,
        first: SyncSender<First>,
    ) -> std::io::Result<Self> {
        let name = camera.name.clone();
        let (orders, inputs) = channel();
        let status = CameraStatus { name: name.clone(), ..CameraStatus::default() };
        let shared = Arc::new(Shared {
            status: Mutex::new(status),
            beat: Mutex::new(Instant::now()),
            complete: Mutex::default(),
        });
        let worker = Worker {
            camera,
            server,
            mount: None,
            inputs,
            inbox: orders.clone(),
            events,
            shared: shared.clone(),
            epoch: Instant::now(),
            passed: Passed::new(),
            condition: Condition::default(),
            retry: Retry::default(),
            life: None,
            lives: 0,
            again: None,
            told: Counts::default(),
            before: Counts::default(),
            rates: Rates::default(),
            warnings: Vec::new(),
            later: VecDeque::new(),
        };
        let thread = Builder::new().name("face-camera-run".to_owned());
        let thread = thread.spawn(move || worker.run(first))?;
        Ok(Self { name, orders, shared, thread })
    }

    pub(super) fn order(&self, order: Order) {
        // A thread that panicked takes none; its status says so.
        let _ = self.orders.send(Input::Order(order));
    }

    pub(super) fn status(&self) -> CameraStatus {
        let mut status = self.shared.status.lock().clone();
        let silent = self.shared.beat.lock().elapsed();
        if silent > HUNG && status.state != CameraState::Starting {
            status.state = CameraState::Failed;
            status.reason = Some(format!("it has not answered for {} s", silent.as_secs()));
        }
        status
    }

    /// After [`Order::Stop`]: was everything completed? `None`: the thread is not at its end yet.
    pub(super) fn ended(&self) -> Option<bool> {
        self.thread.is_finished().then(|| self.shared.complete.lock().unwrap_or(false))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.order(Order::Stop(Duration::ZERO));
    }
}

/// A pipeline that plays.
#[derive(Debug)]
struct Life {
    line: Line,
    begun: Instant,
    /// Does the camera give pictures, by what the source says?
    connected: bool,
    /// Why it does not.
    lost: Option<String>,
}

/// How a pipeline ended.
enum End {
    OfStream,
    Failed(Fault),
}

struct Worker {
    camera: Camera,
    /// Serves the streams of all cameras again.
    server: Option<Arc<RtspServer>>,
    /// Where it serves that of this one; it stays while a pipeline is built again.
    mount: Option<Arc<Mount>>,
    inputs: Receiver<Input>,
    /// For the buses of the pipelines.
    inbox: Sender<Input>,
    events: SyncSender<Event>,
    shared: Arc<Shared>,
    /// Time zero of `condition`.
    epoch: Instant,
    passed: Arc<Passed>,
    condition: Condition,
    retry: Retry,
    life: Option<Life>,
    /// Pipelines so far.
    lives: u64,
    /// When the next pipeline is built.
    again: Option<Instant>,
    /// What messages told, and what the elements of former pipelines counted.
    told: Counts,
    before: Counts,
    rates: Rates,
    warnings: Vec<String>,
    /// Orders that came while something else was being completed.
    later: VecDeque<Order>,
}

impl Worker {
    fn run(mut self, first: SyncSender<First>) {
        let (shared, events, name) =
            (self.shared.clone(), self.events.clone(), self.camera.name.clone());
        let ended = catch_unwind(AssertUnwindSafe(move || {
            let started = self.start();
            // Nobody waits for it when the camera is added later.
            let _ = first.try_send((self.camera.name.clone(), started));
            drop(first);
            let complete = self.work();
            *self.shared.complete.lock() = Some(complete);
        }));
        if ended.is_err() {
            let reason = Some("its thread panicked; start the program again".to_owned());
            let mut status = shared.status.lock();
            (status.state, status.reason) = (CameraState::Failed, reason.clone());
            drop(status);
            let what = What::State(CameraState::Failed, reason);
            let _ = events.try_send(Event { camera: name, what });
        }
    }

    /// Until it is told to stop; was everything completed?
    fn work(&mut self) -> bool {
        let mut refreshed = Instant::now();
        loop {
            let now = Instant::now();
            *self.shared.beat.lock() = now;
            if self.again.is_some_and(|at| at <= now) {
                // Why it failed is told as a state.
                let _ = self.start();
            }
            if now.saturating_duration_since(refreshed) >= TICK {
                refreshed = now;
                self.refresh();
            }
            let left = |at: Instant| at.saturating_duration_since(Instant::now());
            let wait = left(refreshed + TICK).min(self.again.map_or(TICK, left));
            let input = match self.later.pop_front() {
                Some(order) => Input::Order(order),
                None => match self.inputs.recv_timeout(wait) {
                    Ok(input) => input,
                    // Nothing came: this has a sender itself.
                    Err(_) => continue,
                },
            };
            match input {
                Input::Message(life, message) => {
                    if life == self.lives && self.life.is_some() {
                        self.listen(&message);
                    }
                }
                Input::Order(Order::Set(camera, changes)) => self.set(*camera, &changes),
                Input::Order(Order::Replace(camera, server)) => {
                    self.complete(DRAIN);
                    (self.camera, self.server) = (*camera, server);
                    self.mount = None;
                    self.retry = Retry::default();
                    let _ = self.start();
                }
                Input::Order(Order::Stop(limit)) => return self.complete(limit),
            }
        }
    }

    fn listen(&mut self, message: &gst::Message) {
        match self.hear(message) {
            Some(End::OfStream) => self.end(CameraState::Ended, None),
            Some(End::Failed(fault)) => self.fail(&fault),
            None => {}
        }
    }

    /// Builds the pipeline and lets it play.
    fn start(&mut self) -> Result<(), Fault> {
        self.again = None;
        self.lives += 1;
        self.warnings.clear();
        self.turn(CameraState::Starting, None);
        let played = self.play();
        *self.shared.beat.lock() = Instant::now();
        match played {
            Ok(life) => {
                self.life = Some(life);
                self.turn(CameraState::Connecting, None);
                Ok(())
            }
            Err(fault) => {
                self.fail(&fault);
                Err(fault)
            }
        }
    }

    fn play(&mut self) -> Result<Life, Fault> {
        if self.mount.is_none()
            && let (Some(server), Some(output)) = (&self.server, &self.camera.output)
        {
            let mount = server.mount(&output.mount, output.bitrate_kbit);
            let mount = mount.map_err(|error| Fault::passing(error.to_string()))?;
            self.mount = Some(Arc::new(mount));
        }
        let line = Line::build(&self.camera, self.mount.as_ref())?;
        let bus = line.pipeline.bus().ok_or_else(|| Fault::passing("it has no bus".to_owned()))?;
        let (life, inbox) = (self.lives, self.inbox.clone());
        let wrong = Arc::new(Mutex::new(None));
        let first = wrong.clone();
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(error) = message.view() {
                first.lock().get_or_insert_with(|| fault::of(error));
            }
            if is_wanted(message) {
                // The thread may be at its end.
                let _ = inbox.send(Input::Message(life, message.clone()));
            }
            gst::BusSyncReply::Drop
        });
        self.passed.watch(&line.end);
        if line.pipeline.set_state(gst::State::Playing).is_err() {
            let fault = wrong.lock().take();
            return Err(fault.unwrap_or_else(|| Fault::passing("it does not start".to_owned())));
        }
        Ok(Life { line, begun: Instant::now(), connected: false, lost: None })
    }

    /// The end of the pipeline, if the message says that.
    fn hear(&mut self, message: &gst::Message) -> Option<End> {
        match message.view() {
            gst::MessageView::Eos(_) => return Some(End::OfStream),
            gst::MessageView::Error(error) => return Some(End::Failed(fault::of(error))),
            gst::MessageView::Warning(warning) => {
                let element = message.src().map(crate::chain::top_level_name).unwrap_or_default();
                self.warn(format!("{element}: {}", warning.error()));
            }
            gst::MessageView::Latency(_) => {
                if let Some(life) = &self.life {
                    // Without it a live pipeline keeps the latency that it started with.
                    let _ = life.line.pipeline.recalculate_latency();
                }
            }
            gst::MessageView::Application(application)
                if application.structure().is_some_and(|s| s.has_name(crate::chain::NO_VIDEO)) =>
            {
                return Some(End::Failed(Fault::passing("it has no video stream".to_owned())));
            }
            gst::MessageView::Element(element) => {
                let structure = element.structure();
                if let Some(missing) = structure.filter(|s| s.has_name("missing-plugin")) {
                    let (video, codec) = crate::run::missing_codec(missing);
                    return video.then(|| End::Failed(fault::unsupported(&codec)));
                }
                if let Some(message) = FaceMessage::of(message) {
                    self.take(message);
                }
            }
            _ => {}
        }
        None
    }

    /// A message of an element of ours.
    fn take(&mut self, message: FaceMessage) {
        if message.name() == "face-camera" {
            let Some(life) = &mut self.life else { return };
            let state = message.text("state").unwrap_or_default();
            self.told.losses += u64::from(state == "lost");
            life.connected = state == "connected";
            match message.text("reason") {
                _ if life.connected => life.lost = None,
                Some(reason) => life.lost = Some(reason.to_owned()),
                None => {}
            }
            self.judge();
            return;
        }
        tally::count(&mut self.told, &message);
        self.tell(What::Message(message));
    }

    /// What the camera is doing, while its pipeline plays.
    fn judge(&mut self) {
        let Some(life) =
            self.life.as_ref().filter(|_| self.condition.state != CameraState::Stopping)
        else {
            return;
        };
        let (state, reason) = match life.connected {
            false => (CameraState::Connecting, life.lost.clone()),
            true if self.passed.seen().silent => {
                let reason = format!("no picture for more than {} s", SILENCE.as_secs());
                (CameraState::Stalled, Some(reason))
            }
            true => (CameraState::Running, None),
        };
        self.turn(state, reason);
    }

    /// Sets what can be set while it plays; what is set again at the next start in any case.
    fn set(&mut self, camera: Camera, changes: &[PropertyChange]) {
        self.camera = camera;
        let Some(life) = &self.life else { return };
        let mut refused = Vec::new();
        for change in changes {
            let Some(element) = life.line.element(change.element) else { continue };
            if let Err(error) = config::set(element, &change.property, change.value.as_deref()) {
                refused.push(error.to_string());
            }
        }
        refused.into_iter().for_each(|text| self.warn(text));
    }

    fn fail(&mut self, fault: &Fault) {
        let lasted = self.life.as_ref().map_or(Duration::ZERO, |life| life.begun.elapsed());
        self.told.failures += 1;
        self.end(CameraState::Failed, Some(fault.reason.clone()));
        self.again = Some(Instant::now() + self.retry.wait(lasted));
    }

    /// Completes what is there, and takes the pipeline down. True: nothing was cut short.
    fn complete(&mut self, limit: Duration) -> bool {
        self.again = None;
        let until = Instant::now() + limit;
        self.turn(CameraState::Stopping, None);
        let mut complete = true;
        // Without a picture there is nothing to be completed.
        if let Some(life) = self.life.as_ref().filter(|_| self.passed.seen().frames > 0) {
            life.line.finish();
            complete = self.wait_for_end(until);
        }
        if !complete {
            self.warn(format!(
                "clips were not completed within {} s; the next start completes them",
                limit.as_secs()
            ));
        }
        self.end(CameraState::Stopping, None);
        complete
    }

    /// Hears the bus until the stream has ended.
    fn wait_for_end(&mut self, until: Instant) -> bool {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.inputs.recv_timeout(left) {
                Ok(Input::Message(life, message)) if life == self.lives => {
                    match self.hear(&message) {
                        Some(End::OfStream) => return true,
                        Some(End::Failed(fault)) => {
                            self.warn(fault.reason);
                            return false;
                        }
                        None => {}
                    }
                }
                Ok(Input::Order(order)) => self.later.push_back(order),
                Ok(Input::Message(..)) => {}
                Err(_) => return false,
            }
        }
    }

    /// Takes the pipeline down.
    fn end(&mut self, state: CameraState, reason: Option<String>) {
        if let Some(life) = self.life.take() {
            let mut status = CameraStatus::default();
            tally::read(&life.line, &mut status);
            self.before.add(&status.counts);
            drop(life);
        }
        self.turn(state, reason);
        self.refresh();
    }

    /// Brings the status up to date.
    fn refresh(&mut self) {
        self.judge();
        let seen = self.passed.seen();
        let mut status = CameraStatus { name: self.camera.name.clone(), ..CameraStatus::default() };
        if let Some(life) = &self.life {
            tally::read(&life.line, &mut status);
        }
        status.counts.add(&self.before);
        status.counts.add(&self.told);
        status.counts.frames = seen.frames;
        let rates = self.rates.of(Instant::now(), seen.frames, status.counts.looks);
        (status.frames_per_second, status.looks_per_second) = rates;
        (status.faces, status.names, status.delay) = (seen.faces, seen.names, seen.delay);
        status.state = self.condition.state;
        status.reason.clone_from(&self.condition.reason);
        status.lasts = self.condition.age(self.epoch.elapsed());
        *self.shared.status.lock() = status;
    }

    fn turn(&mut self, state: CameraState, reason: Option<String>) {
        if !self.condition.set(state, reason.clone(), self.epoch.elapsed()) {
            return;
        }
        let mut status = self.shared.status.lock();
        (status.state, status.reason) = (state, reason.clone());
        status.lasts = Duration::ZERO;
        drop(status);
        self.tell(What::State(state, reason));
    }

    fn warn(&mut self, text: String) {
        self.told.warnings += 1;
        if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&text) {
            self.warnings.push(text.clone());
            self.tell(What::Warning(text));
        }
    }

    fn tell(&self, what: What) {
        // Nobody takes them: what happens goes on.
        let _ = self.events.try_send(Event { camera: self.camera.name.clone(), what });
    }
}

/// Is it a message that says something here? There are many more.
fn is_wanted(message: &gst::Message) -> bool {
    use gst::MessageType as Type;
    matches!(
        message.type_(),
        Type::Error | Type::Warning | Type::Eos | Type::Element | Type::Latency | Type::Application
    )
}
