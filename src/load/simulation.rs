//! The controller on a machine that is made up: processors, streams and costs that change.

use std::collections::VecDeque;
use std::time::Duration;

use super::controller::{Controller, Usage, step_is_due};
use super::pace::Pace;

const TICK: f64 = 0.005;
const CORES: f64 = 2.0;
const TARGET: f64 = 0.8;

/// A stream, and its look if one is under way.
#[derive(Default)]
struct Stream {
    fps: f64,
    pace: Pace,
    next_frame: f64,
    /// Times of the frames in the queue before the detector.
    waiting: VecDeque<f64>,
    /// Frames that came to the detector.
    frames: u64,
    /// Time of the frame that is looked at, when that began, and the processor time still needed.
    look: Option<(f64, f64, f64)>,
    looks: u64,
}

/// Since the last step: when it was, the times then, and the looks since.
#[derive(Default)]
struct Window {
    begun: f64,
    cpu: f64,
    run: f64,
    looks: u64,
}

struct Machine {
    streams: Vec<Stream>,
    controller: Controller,
    /// Processor time of a look, s, and by which share single ones differ from it.
    cost: f64,
    noise: f64,
    /// Share of a look that is inside ONNX Runtime.
    in_run: f64,
    /// Processors that are used whether anybody looks or not.
    base: f64,
    /// Processors that other processes leave to this one.
    available: f64,
    now: f64,
    cpu: f64,
    /// Of it that of looks.
    run: f64,
    window: Window,
    random: u32,
}

impl Machine {
    fn new(fps: &[f64], cost: f64) -> Machine {
        Machine {
            streams: fps.iter().map(|fps| Stream { fps: *fps, ..Stream::default() }).collect(),
            controller: Controller::new(CORES),
            cost,
            noise: 0.0,
            in_run: 0.9,
            base: 0.0,
            available: CORES,
            now: 0.0,
            cpu: 0.0,
            run: 0.0,
            window: Window::default(),
            random: 1,
        }
    }

    /// -1..=1 (Numerical Recipes' constants).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.random) / f64::from(u32::MAX) * 2.0 - 1.0
    }

    fn tick(&mut self) {
        self.step();
        let rate = self.controller.rate();
        let (now, cost) = (self.now, self.cost * (1.0 + self.noise * self.random()));
        for stream in &mut self.streams {
            if stream.next_frame <= now {
                stream.waiting.push_back(stream.next_frame);
                stream.next_frame += 1.0 / stream.fps;
                // A queue of two pictures that leaks.
                if stream.waiting.len() > 2 {
                    stream.waiting.pop_front();
                }
            }
            while stream.look.is_none()
                && let Some(time) = stream.waiting.pop_front()
            {
                stream.frames += 1;
                if stream.pace.is_due((time * 1e9) as u64, rate) {
                    stream.look = Some((time, now, cost));
                }
            }
        }
        self.work(rate);
        self.now += TICK;
    }

    /// The looks share the processors; each runs on one of them.
    fn work(&mut self, rate: f64) {
        let base = self.base.min(self.available) * TICK;
        self.cpu += base;
        let running = self.streams.iter().filter(|stream| stream.look.is_some()).count();
        let each = ((self.available * TICK - base) / running.max(1) as f64).min(TICK);
        for stream in &mut self.streams {
            let Some((time, begun, left)) = &mut stream.look else { continue };
            let spent = each.min(*left);
            self.cpu += spent;
            self.run += spent * self.in_run;
            *left -= each;
            if *left <= 0.0 {
                let (time, took) = ((*time * 1e9) as u64, self.now + TICK - *begun);
                stream.pace.looked(time, rate, Duration::from_secs_f64(took));
                stream.look = None;
                stream.looks += 1;
                self.window.looks += 1;
            }
        }
    }

    fn step(&mut self) {
        let Window { begun, cpu, run, looks } = self.window;
        let elapsed = Duration::from_secs_f64(self.now - begun);
        if step_is_due(elapsed, looks) {
            let frames: Vec<u64> =
                self.streams.iter_mut().map(|s| std::mem::take(&mut s.frames)).collect();
            let cpu = Duration::from_secs_f64(self.cpu - cpu);
            let run = Duration::from_secs_f64(self.run - run);
            self.controller.step(Usage { elapsed, cpu, run, looks, frames: &frames }, TARGET);
            self.window = Window { begun: self.now, cpu: self.cpu, run: self.run, looks: 0 };
        }
    }

    fn run(&mut self, seconds: f64) {
        let until = self.now + seconds;
        while self.now < until {
            self.tick();
        }
    }

    /// Share of the processors that the next seconds use, and the looks of each stream in them.
    fn measure(&mut self, seconds: f64) -> (f64, Vec<u64>) {
        let cpu = self.cpu;
        self.streams.iter_mut().for_each(|stream| stream.looks = 0);
        self.run(seconds);
        let looks = self.streams.iter().map(|stream| stream.looks).collect();
        ((self.cpu - cpu) / (seconds * CORES), looks)
    }

    /// Five seconds after a change the target is reached, and then kept.
    fn assert_settles(&mut self, what: &str) {
        self.run(5.0);
        for second in 0..10 {
            let (used, _) = self.measure(2.0);
            assert!((used / TARGET - 1.0).abs() <= 0.1, "{what}: {used:.3} at {second}");
        }
    }
}

#[test]
fn target_is_reached_and_kept_when_the_cost_changes() {
    let mut machine = Machine::new(&[30.0; 4], 0.025);
    machine.assert_settles("at the start");
    machine.cost = 0.06;
    machine.assert_settles("many faces came");
    machine.cost = 0.015;
    machine.assert_settles("they went");
}

#[test]
fn target_is_reached_beside_work_that_no_look_causes() {
    let mut machine = Machine::new(&[25.0; 8], 0.03);
    for base in [0.2, 1.1, 0.4] {
        machine.base = base;
        machine.assert_settles("decoding");
    }
}

/// As on a GPU: what a look costs is what is around the run of the model.
#[test]
fn target_is_reached_where_little_is_inside_the_runtime() {
    let mut machine = Machine::new(&[30.0; 8], 0.02);
    machine.in_run = 0.1;
    machine.assert_settles("GPU");
    machine.cost = 0.01;
    machine.assert_settles("cheaper");
}

#[test]
fn noise_of_single_looks_does_not_sway_it() {
    let mut machine = Machine::new(&[30.0; 6], 0.04);
    machine.noise = 0.6;
    machine.assert_settles("noise");
}

#[test]
fn streams_that_come_and_go_share_what_there_is() {
    let mut machine = Machine::new(&[30.0; 3], 0.03);
    machine.assert_settles("three");
    machine.streams.extend((0..5).map(|_| Stream { fps: 25.0, ..Stream::default() }));
    machine.streams.iter_mut().skip(3).for_each(|stream| stream.next_frame = machine.now);
    machine.assert_settles("eight");
    let (_, looks) = machine.measure(20.0);
    let (least, most) = (looks.iter().min().unwrap(), looks.iter().max().unwrap());
    assert!(*least as f64 >= 0.9 * *most as f64, "{looks:?}");
    machine.streams.truncate(4);
    machine.assert_settles("four");
}

#[test]
fn no_stream_looks_less_than_once_a_second() {
    let mut machine = Machine::new(&[30.0; 8], 0.5);
    machine.run(5.0);
    let (used, looks) = machine.measure(20.0);
    assert!(used > 0.95, "eight looks a second are more than there is: {used}");
    assert!(looks.iter().all(|looks| *looks >= 7), "as many as the machine can: {looks:?}");
    machine.cost = 0.21;
    machine.run(5.0);
    let (_, looks) = machine.measure(20.0);
    assert!(looks.iter().all(|looks| *looks >= 19), "{looks:?}");
}

#[test]
fn light_load_looks_at_every_frame() {
    let mut machine = Machine::new(&[15.0, 30.0], 0.01);
    machine.run(5.0);
    let (_, looks) = machine.measure(10.0);
    assert!(looks[0] >= 148 && looks[1] >= 298, "{looks:?}");
}

/// What other processes take cannot be had back; frames must not pile up, and the target is reached
/// again when they are gone.
#[test]
fn other_processes_are_survived() {
    let mut machine = Machine::new(&[30.0; 4], 0.03);
    machine.assert_settles("alone");
    machine.available = 0.6;
    machine.run(5.0);
    let (used, looks) = machine.measure(10.0);
    // A tenth of its time a stream does not look.
    assert!(used > 0.25, "{used}");
    assert!(looks.iter().all(|looks| *looks >= 40), "{looks:?}");
    machine.available = CORES;
    machine.assert_settles("alone again");
}
