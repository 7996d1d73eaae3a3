//! Workers that run closures instead of models.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use ndarray::Array4;
use parking_lot::Mutex;

use super::super::handle::{Handle, LONGEST_LINE};
use super::super::{InferenceError, Request};
use super::{Batching, Runner, Workers};

const BATCH: Batching = Batching { most: 4, gather: Duration::from_millis(1) };
/// Runs of this value fail, and of that one panic.
const FAILS: f32 = -1.0;
const PANICS: f32 = -2.0;

fn request(value: f32) -> Request {
    Request { input: Array4::from_elem((1, 1, 1, 1), value), ..Request::default() }
}

fn requests(values: &[f32]) -> Vec<Request> {
    values.iter().map(|value| request(*value)).collect()
}

fn input(request: &Request) -> Option<f32> {
    request.input.first().copied()
}

/// What came out; the model doubles.
fn outputs(requests: &[Request]) -> Vec<Option<f32>> {
    requests.iter().map(|r| r.output(0).first().copied()).collect()
}

/// A model that doubles, and what was asked of it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Vec<f32>>>>);

impl Log {
    fn runner(&self) -> Runner {
        let runs = self.0.clone();
        Box::new(move |requests| {
            let values: Vec<f32> = requests.iter().filter_map(input).collect();
            runs.lock().push(values.clone());
            assert!(!values.contains(&PANICS), "told to");
            if values.contains(&FAILS) {
                return Err("told to fail".to_owned());
            }
            for (request, value) in requests.iter_mut().zip(&values) {
                request.outputs = vec![ndarray::arr1(&[2.0 * value]).into_dyn()];
            }
            Ok(Duration::from_micros(7 * values.len() as u64))
        })
    }

    /// As [`Log::runner`], but before every run it says so and waits for leave.
    fn gated(&self) -> (Runner, Gate) {
        let ((begun, begins), (leave, leaves)) = (unbounded(), unbounded::<()>());
        let mut runner = self.runner();
        let gated = move |requests: &mut [Request]| {
            let _ = begun.send(());
            let _ = leaves.recv();
            runner(requests)
        };
        (Box::new(gated), Gate { begins, leave })
    }

    fn runs(&self) -> Vec<Vec<f32>> {
        self.0.lock().clone()
    }
}

/// Dropping it opens it.
struct Gate {
    begins: Receiver<()>,
    leave: Sender<()>,
}

impl Gate {
    /// Waits until a run has begun.
    fn begun(&self) {
        self.begins.recv().unwrap();
    }

    fn let_one_go(&self) {
        self.leave.send(()).unwrap();
    }
}

fn workers(runners: Vec<Runner>, batching: Batching) -> Arc<Workers> {
    Arc::new(Workers::start("double", runners, batching).unwrap())
}

/// Waits until so many requests are in the queue.
fn until_queued(workers: &Workers, count: usize) {
    while workers.stats().queued != count {
        std::thread::yield_now();
    }
}

#[test]
fn answers_are_in_the_places_of_their_requests() {
    let log = Log::default();
    let workers = workers((0..3).map(|_| log.runner()).collect(), Batching::NONE);
    let mut handle = workers.handle();
    // More than one line holds.
    let values: Vec<f32> = (0..2 * LONGEST_LINE + 5).map(|i| i as f32).collect();
    let mut all = requests(&values);
    handle.run(&mut all, None).unwrap();
    let doubled: Vec<_> = values.iter().map(|v| Some(2.0 * v)).collect();
    assert_eq!(outputs(&all), doubled);
    assert_eq!(all.iter().filter_map(input).collect::<Vec<_>>(), values);
    handle.run(&mut [], None).unwrap();

    let (pool, own) = (workers.stats(), handle.stats());
    let count = values.len() as u64;
    assert_eq!((pool.queued, pool.runs, pool.requests), (0, count, count));
    assert_eq!((own.done, own.failed, own.late), (count, 0, 0));
    assert_eq!(own.cpu, Duration::from_micros(7 * count));
    assert_eq!(pool.cpu, own.cpu);
    assert_eq!(pool.wall, own.wall);
}

#[test]
fn crowd_does_not_hold_up_a_single_face() {
    let log = Log::default();
    let (runner, gate) = log.gated();
    let workers = workers(vec![runner], Batching::NONE);
    let (mut crowd, mut single) = (workers.handle(), workers.handle());
    std::thread::scope(|scope| {
        scope.spawn(|| crowd.run(&mut requests(&[1.0; 20]), None).unwrap());
        gate.begun();
        scope.spawn(|| single.run(&mut requests(&[2.0]), None).unwrap());
        until_queued(&workers, 20);
        drop(gate);
    });
    let order = log.runs().concat();
    assert_eq!(order.len(), 21);
    // One of the crowd ran when it came, and another was next.
    assert!(order[..3].contains(&2.0), "{order:?}");
}

#[test]
fn failed_request_fails_its_own_frame_only() {
    let log = Log::default();
    let workers = workers(vec![log.runner(), log.runner()], Batching::NONE);
    let (mut bad, mut good) = (workers.handle(), workers.handle());
    let mut frame = requests(&[1.0, FAILS, 3.0]);
    let error = bad.run(&mut frame, None).unwrap_err();
    assert_eq!(error.to_string(), "run model 'double': told to fail");
    assert_eq!(outputs(&frame), [Some(2.0), None, Some(6.0)]);
    assert_eq!((bad.stats().done, bad.stats().failed), (2, 1));
    good.run(&mut requests(&[4.0]), None).unwrap();
    assert_eq!(good.stats().failed, 0);
}

#[test]
fn panic_costs_one_request() {
    let log = Log::default();
    let workers = workers(vec![log.runner()], Batching::NONE);
    let mut handle = workers.handle();
    let mut frame = requests(&[PANICS, 1.0]);
    let error = handle.run(&mut frame, None).unwrap_err();
    assert!(error.to_string().ends_with("the inference thread panicked"), "{error}");
    assert_eq!(outputs(&frame), [None, Some(2.0)]);
    // What it was asked for is still there.
    assert_eq!(input(&frame[0]), Some(PANICS));
    handle.run(&mut requests(&[2.0]), None).unwrap();
}

#[test]
fn batches_hold_requests_of_several_streams() {
    let log = Log::default();
    let (runner, gate) = log.gated();
    let workers = workers(vec![runner], BATCH);
    let mut handles: Vec<Handle> = (0..4).map(|_| workers.handle()).collect();
    std::thread::scope(|scope| {
        let mut first = handles.pop().unwrap();
        scope.spawn(move || first.run(&mut requests(&[0.0]), None).unwrap());
        gate.begun();
        for (handle, value) in handles.iter_mut().zip([1.0, 2.0, 3.0]) {
            scope.spawn(move || {
                let mut frame = requests(&[value, value]);
                handle.run(&mut frame, None).unwrap();
                assert_eq!(outputs(&frame), [Some(2.0 * value); 2]);
            });
        }
        until_queued(&workers, 6);
        drop(gate);
    });
    let mut runs = log.runs();
    assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [1, 4, 2]);
    runs[1].truncate(3);
    runs[1].sort_by(f32::total_cmp);
    assert_eq!(runs[1], [1.0, 2.0, 3.0]);
    assert_eq!((workers.stats().runs, workers.stats().requests), (3, 7));
    // Each counts its share of a run.
    assert_eq!(handles[0].stats().cpu, Duration::from_micros(14));
}

#[test]
fn bad_request_of_a_batch_fails_alone() {
    for bad in [FAILS, PANICS] {
        let log = Log::default();
        let workers = workers(vec![log.runner()], BATCH);
        let mut handle = workers.handle();
        let mut frame = requests(&[1.0, bad, 3.0]);
        handle.run(&mut frame, None).unwrap_err();
        assert_eq!(outputs(&frame), [Some(2.0), None, Some(6.0)]);
        assert_eq!(log.runs(), [vec![1.0, bad, 3.0], vec![1.0], vec![bad], vec![3.0]]);
        assert_eq!((handle.stats().done, handle.stats().failed), (2, 1));
    }
}

#[test]
fn what_missed_its_deadline_does_not_run() {
    let log = Log::default();
    let (runner, gate) = log.gated();
    let workers = workers(vec![runner], Batching::NONE);
    let (mut other, mut live) = (workers.handle(), workers.handle());
    std::thread::scope(|scope| {
        scope.spawn(|| other.run(&mut requests(&[1.0]), None).unwrap());
        gate.begun();
        let mut frame = requests(&[2.0, 3.0]);
        let error = live.run(&mut frame, Some(Instant::now())).unwrap_err();
        assert_eq!(error.to_string(), "model 'double' missed its deadline");
        // They come back as they were.
        assert_eq!(frame.iter().filter_map(input).collect::<Vec<_>>(), [2.0, 3.0]);
        assert_eq!((workers.stats().queued, live.stats().late), (0, 2));
        drop(gate);
        live.run(&mut frame[..1], None).unwrap();
        assert_eq!(outputs(&frame), [Some(4.0), None]);
    });
    assert_eq!(log.runs(), [[1.0], [2.0]]);
}

#[test]
fn worker_drops_what_is_late_when_its_turn_comes() {
    let log = Log::default();
    let (runner, gate) = log.gated();
    let workers = workers(vec![runner], Batching::NONE);
    let mut handle = workers.handle();
    handle.submit(request(1.0), None);
    gate.begun();
    handle.submit(request(2.0), Some(Instant::now()));
    handle.submit(request(3.0), None);
    drop(gate);
    let mut back = Request::default();
    handle.receive(&mut back, None).unwrap();
    let late = handle.receive(&mut back, None).unwrap_err();
    assert!(matches!(late, InferenceError::Deadline { .. }), "{late}");
    assert_eq!(input(&back), Some(2.0));
    handle.receive(&mut back, None).unwrap();
    assert_eq!(log.runs(), [[1.0], [3.0]]);
}

#[test]
fn late_answer_is_not_taken_for_that_of_the_next_frame() {
    let log = Log::default();
    let (runner, gate) = log.gated();
    let workers = workers(vec![runner], Batching::NONE);
    let mut handle = workers.handle();
    let mut frame = requests(&[1.0]);
    handle.submit(frame.remove(0), None);
    gate.begun();
    let mut back = Request::default();
    let error = handle.receive(&mut back, Some(Instant::now())).unwrap_err();
    assert!(matches!(error, InferenceError::Deadline { .. }), "{error}");
    drop(gate);
    let mut frame = requests(&[2.0, 3.0]);
    handle.run(&mut frame, None).unwrap();
    assert_eq!(outputs(&frame), [Some(4.0), Some(6.0)]);
    assert_eq!((handle.stats().done, handle.stats().late), (2, 1));
}

#[test]
fn stopped_stream_does_not_wait_for_the_work_of_others() {
    let log = Log::default();
    let (runner, gate) = log.gated();
    let workers = workers(vec![runner], Batching::NONE);
    let (mut other, mut stopped) = (workers.handle(), workers.handle());
    let canceller = stopped.canceller();
    std::thread::scope(|scope| {
        scope.spawn(|| other.run(&mut requests(&[1.0]), None).unwrap());
        gate.begun();
        let waiting = scope.spawn(|| stopped.run(&mut requests(&[2.0]), None).unwrap_err());
        until_queued(&workers, 1);
        canceller.cancel();
        let error = waiting.join().unwrap();
        assert!(matches!(error, InferenceError::Cancelled { .. }), "{error}");
        assert_eq!(workers.stats().queued, 0);
        drop(gate);
    });
    stopped.run(&mut requests(&[3.0]), None).unwrap_err();
    canceller.resume();
    stopped.run(&mut requests(&[4.0]), None).unwrap();
    assert!(!log.runs().contains(&vec![2.0]));
}

#[test]
fn frames_come_back_in_order_whichever_is_ready_first() {
    let (slow, fast) = (Log::default(), Log::default());
    let (slow_runner, gate) = slow.gated();
    let workers = workers(vec![slow_runner, fast.runner()], Batching::NONE);
    let mut handle = workers.handle();
    for value in [1.0, 2.0, 3.0, 4.0] {
        handle.submit(request(value), None);
    }
    assert_eq!(handle.outstanding(), 4);
    // One is held up; the others are done meanwhile.
    gate.begun();
    while fast.runs().len() < 3 {
        std::thread::yield_now();
    }
    gate.let_one_go();
    let mut back = Request::default();
    for value in [1.0, 2.0, 3.0, 4.0] {
        handle.receive(&mut back, None).unwrap();
        assert_eq!(outputs(std::slice::from_ref(&back)), [Some(2.0 * value)]);
    }
    assert!(handle.receive(&mut back, None).is_err());
    // Nor do answers that nobody fetched come back in the next call.
    handle.submit(request(5.0), None);
    let mut frame = requests(&[6.0]);
    drop(gate);
    handle.run(&mut frame, None).unwrap();
    assert_eq!(outputs(&frame), [Some(12.0)]);
}

#[test]
fn dropped_handle_leaves_nothing_behind() {
    let log = Log::default();
    let (runner, gate) = log.gated();
    let workers = workers(vec![runner], Batching::NONE);
    let (mut gone, mut next) = (workers.handle(), workers.handle());
    for value in [1.0, 2.0, 3.0] {
        gone.submit(request(value), None);
    }
    gate.begun();
    drop(gone);
    assert_eq!(workers.stats().queued, 0);
    drop(gate);
    next.run(&mut requests(&[4.0]), None).unwrap();
    assert_eq!(log.runs(), [[1.0], [4.0]]);
}
