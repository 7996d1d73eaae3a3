//! The thread that writes: it takes what the pads' threads hand over, in order, and waits for the disk
//! so that they need not.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use face_core::clip::{self, ClipSpool, Frame, Missing, OpenClip, Packet, Spooled, Trigger};
use face_core::event::FaceEvent;
use face_core::outbox::Outbox;
use parking_lot::{Condvar, Mutex};

use super::making::{Lost, Making, rescue};
use super::metadata::Context;
use super::options::Options;
use super::shots::Shot;
use crate::runtime::with_causes;

/// How long stop() waits for clips to be completed. What takes longer is completed at the next start.
const END: Duration = Duration::from_secs(30);

/// What is to be done. Clips have the numbers of the recorder.
#[derive(Debug)]
pub(super) enum Task {
    Open {
        clip: u64,
        triggers: Vec<Trigger>,
        context: Arc<Context>,
    },
    Begin {
        clip: u64,
        start: i64,
        moment: SystemTime,
        caps: gst::Caps,
    },
    Trigger {
        clip: u64,
        trigger: Trigger,
    },
    Picture {
        clip: u64,
        packet: Packet<gst::Buffer>,
    },
    Sound {
        clip: u64,
        packet: Packet<gst::Buffer>,
        caps: gst::Caps,
    },
    Frame {
        clip: u64,
        frame: Frame,
    },
    Close {
        clip: u64,
        cut: bool,
        missing: Vec<Missing>,
        shot: Option<Box<Shot>>,
    },
    /// To be told at once.
    Alert(Box<FaceEvent>),
    /// Everything before is to be done; then say so.
    Drain,
    Stop,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Report {
    Started(OpenClip),
    Spooled(OpenClip, Spooled),
    Lost(OpenClip, Lost),
    /// Something that costs no clip.
    Warning(String),
    /// Everything before [`Task::Drain`] is done.
    Drained,
    /// The thread ended by a fault.
    Panicked(String),
}

/// Told on the thread that writes, without a lock.
pub(super) type Reporter = Arc<dyn Fn(Report) + Send + Sync>;

/// Bytes that were handed over and are not written yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Mutex<u64>,
    changed: Condvar,
}

impl Pending {
    fn add(&self, bytes: u64) {
        *self.bytes.lock() += bytes;
    }

    fn done(&self, bytes: u64) {
        let mut pending = self.bytes.lock();
        *pending = pending.saturating_sub(bytes);
        drop(pending);
        self.changed.notify_all();
    }

    pub(super) fn bytes(&self) -> u64 {
        *self.bytes.lock()
    }

    /// Waits until fewer than `limit` bytes are left, or `stop` says so.
    pub(super) fn wait_below(&self, limit: u64, stop: &dyn Fn() -> bool) {
        let mut pending = self.bytes.lock();
        while *pending >= limit && !stop() {
            self.changed.wait_for(&mut pending, Duration::from_millis(100));
        }
    }
}

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct Worker {
    tasks: Sender<Task>,
    pub(super) pending: Arc<Pending>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Worker {
    pub(super) fn spawn(
        own: ClipSpool,
        outbox: Outbox,
        options: Arc<Options>,
        report: Reporter,
    ) -> std::io::Result<Self> {
        let (tasks, incoming) = unbounded();
        let (alive, ended) = bounded::<()>(0);
        let pending = Arc::new(Pending::default());
        let shared = pending.clone();
        let thread = Builder::new().name("face-clip".to_owned()).spawn(move || {
            let _alive = alive;
            let told = report.clone();
            let kept = Vec::new();
            let mut writing = Writing { own, kept, outbox, options, report, clips: HashMap::new() };
            let done = catch_unwind(AssertUnwindSafe(|| writing.run(&incoming, &shared)));
            if done.is_err() {
                told(Report::Panicked("the thread that writes clips has failed".to_owned()));
            } else {
                writing.own.close();
            }
        })?;
        Ok(Self { tasks, pending, ended, thread })
    }

    /// Never waits.
    pub(super) fn send(&self, task: Task) {
        if let Task::Picture { packet, .. } | Task::Sound { packet, .. } = &task {
            self.pending.add(packet.bytes);
        }
        // Fails only when the thread has failed, which was told.
        let _ = self.tasks.send(task);
    }

    /// How many tasks wait.
    pub(super) fn waiting(&self) -> usize {
        self.tasks.len()
    }

    /// Completes what is open and ends the thread; false if that takes too long.
    pub(super) fn stop(self) -> bool {
        self.send(Task::Stop);
        // Nothing is ever sent: it is closed at the end, or the time is over.
        let ended = self.ended.recv_timeout(END);
        let in_time = !matches!(ended, Err(crossbeam_channel::RecvTimeoutError::Timeout));
        if in_time {
            // What it has to say it said.
            let _ = self.thread.join();
        }
        in_time
    }
}

struct Writing {
    own: ClipSpool,
    /// Clips that could not be completed, and are tried again with the next one.
    kept: Vec<OpenClip>,
    outbox: Outbox,
    options: Arc<Options>,
    report: Reporter,
    clips: HashMap<u64, Making>,
}

impl Writing {
    fn run(&mut self, tasks: &Receiver<Task>, pending: &Pending) {
        self.rescue();
        for task in tasks {
            let bytes = match &task {
                Task::Picture { packet, .. } | Task::Sound { packet, .. } => packet.bytes,
                Task::Stop => break,
                _ => 0,
            };
            self.carry_out(task);
            if bytes > 0 {
                pending.done(bytes);
            }
        }
        // The recorder closes clips before it stops; this is for what it could not.
        for (_, making) in std::mem::take(&mut self.clips) {
            self.close(making, true, Vec::new(), None);
        }
    }

    fn carry_out(&mut self, task: Task) {
        match task {
            Task::Open { clip, triggers, context } => {
                let (making, written) = Making::open(&self.own, &self.options, &context, triggers);
                if let Err(reason) = written {
                    self.warn(format!("a clip is not safe from a crash: {reason}"));
                }
                self.clips.insert(clip, making);
            }
            Task::Begin { clip, start, moment, caps } => {
                let (own, options) = (&self.own, &self.options);
                let Some(making) = self.clips.get_mut(&clip) else { return };
                if let Err(reason) = making.begin(own, options, start, moment, &caps) {
                    making.fail(reason);
                }
                (self.report)(Report::Started(making.open.clone()));
            }
            Task::Trigger { clip, trigger } => {
                let (own, options) = (&self.own, &self.options);
                let Some(making) = self.clips.get_mut(&clip) else { return };
                if let Err(reason) = making.trigger(own, options, trigger) {
                    self.warn(format!("an event of a clip is not written down: {reason}"));
                }
            }
            Task::Picture { clip, packet } => {
                if let Some(making) = self.clips.get_mut(&clip) {
                    making.picture(packet);
                }
            }
            Task::Sound { clip, packet, caps } => {
                let Some(making) = self.clips.get_mut(&clip) else { return };
                if let Err(reason) = making.sound(&self.own, &packet, &caps) {
                    self.warn(format!("a clip goes on without sound: {reason}"));
                }
            }
            Task::Frame { clip, frame } => {
                if let Some(making) = self.clips.get_mut(&clip) {
                    making.frame(frame);
                }
            }
            Task::Close { clip, cut, missing, shot } => {
                self.try_again();
                if let Some(making) = self.clips.remove(&clip) {
                    self.close(making, cut, missing, shot.as_deref());
                }
            }
            Task::Alert(event) => self.alert(&event),
            Task::Drain => {
                self.try_again();
                (self.report)(Report::Drained);
            }
            Task::Stop => {}
        }
    }

    fn close(&mut self, making: Making, cut: bool, missing: Vec<Missing>, shot: Option<&Shot>) {
        let (open, result) = making.close(&self.own, &self.outbox, cut, missing, shot);
        self.settle(open, result);
    }

    /// There may be room again.
    fn try_again(&mut self) {
        for mut open in std::mem::take(&mut self.kept) {
            let truncated = open.sidecar.truncated;
            match rescue(&self.own, &mut open, &self.outbox, truncated) {
                // It was told already.
                Err(Lost { kept: true, .. }) => self.kept.push(open),
                result => self.settle(open, result),
            }
        }
    }

    fn settle(&mut self, open: OpenClip, result: Result<Spooled, Lost>) {
        if let Err(Lost { kept: true, .. }) = &result {
            self.kept.push(open.clone());
        }
        self.tell(&self.own, open, result);
    }

    fn tell(&self, own: &ClipSpool, open: OpenClip, result: Result<Spooled, Lost>) {
        match result {
            Ok(spooled) => (self.report)(Report::Spooled(open, spooled)),
            Err(lost) => {
                let (id, kept) = (open.id().to_owned(), lost.kept);
                (self.report)(Report::Lost(open, lost));
                // After it was told: a crash in between tells it again rather than never.
                if !kept && let Err(error) = clip::discard(own, &id) {
                    self.warn(with_causes(&error));
                }
            }
        }
    }

    fn alert(&self, event: &FaceEvent) {
        let entries = match self.options.notify.alerts(event) {
            Ok(entries) => entries,
            Err(reason) => {
                return self.warn(format!("the event {} is not told: {reason}", event.id));
            }
        };
        for entry in entries {
            if let Err(error) = self.outbox.append(entry) {
                self.warn(format!("the event {} is not told: {}", event.id, with_causes(&error)));
            }
        }
    }

    /// Completes what processes left behind that died.
    fn rescue(&self) {
        let abandoned = match ClipSpool::abandoned(self.own.spool()) {
            Ok(abandoned) => abandoned,
            Err(error) => return self.warn(with_causes(&error)),
        };
        for own in abandoned {
            let (clips, errors) = match own.clips() {
                Ok(found) => found,
                Err(error) => {
                    self.warn(with_causes(&error));
                    continue;
                }
            };
            for error in errors {
                self.warn(with_causes(&error));
            }
            for mut open in clips {
                let result = rescue(&own, &mut open, &self.outbox, true);
                self.tell(&own, open, result);
            }
            own.close();
        }
    }

    fn warn(&self, text: String) {
        (self.report)(Report::Warning(text));
    }
}
