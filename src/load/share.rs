//! The streams of the process that share its processors, and the clocks.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::controller::{self, Controller, Usage};
use super::pace::Pace;
use crate::cpu;
use crate::inference::run_time;

static PROCESS: LazyLock<Mutex<Process>> = LazyLock::new(|| Mutex::new(Process::new()));

/// All streams of the process: one controller, so that they do not work against each other.
struct Process {
    controller: Controller,
    members: Vec<Member>,
    /// Frames of each member since the last change: memory for [`Usage`].
    frames: Vec<u64>,
    looks: u64,
    begun: Instant,
    /// Processor time of the process then, and what of it was inside ONNX Runtime.
    cpu: Duration,
    run: Duration,
    next_id: u64,
}

struct Member {
    id: u64,
    frames: u64,
    target: f64,
}

impl Process {
    fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        Self {
            controller: Controller::new(cores),
            members: Vec::new(),
            frames: Vec::new(),
            looks: 0,
            begun: Instant::now(),
            cpu: cpu::process_time(),
            run: run_time(),
            next_id: 0,
        }
    }

    /// What happened so far says nothing of what comes.
    fn begin_window(&mut self, now: Instant) {
        self.begun = now;
        self.cpu = cpu::process_time();
        self.run = run_time();
        self.looks = 0;
        self.members.iter_mut().for_each(|member| member.frames = 0);
    }

    /// Changes the rate if it is time.
    fn tick(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.begun);
        if !controller::step_is_due(elapsed, self.looks) {
            return;
        }
        let cpu = cpu::process_time().saturating_sub(self.cpu);
        self.frames.clear();
        self.frames.extend(self.members.iter().map(|member| member.frames));
        let run = run_time().saturating_sub(self.run);
        let usage = Usage { elapsed, cpu, run, looks: self.looks, frames: &self.frames };
        // Whoever asks for the least is right: the processors are the same for all.
        let target = self.members.iter().map(|member| member.target).fold(1.0, f64::min);
        self.controller.step(usage, target);
        self.begin_window(now);
    }
}

/// A live stream's share of the processors. Leaves them to the others when it is dropped.
#[derive(Debug)]
pub struct Share {
    id: u64,
    pace: Pace,
    /// Looks a second that were allowed at the last frame.
    rate: f64,
}

impl Share {
    /// A stream of a process that is to use this share of its processors, 0..=1.
    pub fn join(target: f64) -> Self {
        let mut process = PROCESS.lock();
        let id = process.next_id;
        process.next_id += 1;
        process.members.push(Member { id, frames: 0, target });
        process.begin_window(Instant::now());
        Self { id, pace: Pace::default(), rate: process.controller.rate() }
    }

    /// Is the frame of this time of the stream to be looked at? To be asked once for each.
    pub fn is_due(&mut self, time_ns: u64, target: f64) -> bool {
        let mut process = PROCESS.lock();
        if let Some(member) = process.members.iter_mut().find(|member| member.id == self.id) {
            member.frames += 1;
            member.target = target;
        }
        process.tick(Instant::now());
        self.rate = process.controller.rate();
        drop(process);
        self.pace.is_due(time_ns, self.rate)
    }

    /// The frame of this time was looked at, and that took so long.
    pub fn looked(&mut self, time_ns: u64, took: Duration) {
        PROCESS.lock().looks += 1;
        self.pace.looked(time_ns, self.rate, took);
    }

    /// Has nothing been looked at for a second, at this time of the stream?
    pub fn is_overdue(&self, time_ns: u64) -> bool {
        self.pace.is_due(time_ns, 0.0)
    }

    /// The stream starts anew.
    pub fn restart(&mut self) {
        self.pace.restart();
    }

    /// Looks a second that the stream may take; `None`: as many as it has frames.
    pub fn rate(&self) -> Option<f64> {
        self.rate.is_finite().then_some(self.rate)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut process = PROCESS.lock();
        process.members.retain(|member| member.id != self.id);
        process.begin_window(Instant::now());
    }
}
