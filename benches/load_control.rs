//! How fast `interval=auto` follows the load: live streams in one process, whose looks become dearer
//! and cheaper, and of which half end.
//!
//! usage: cargo bench -p gst-plugin-face --bench load_control -- [STREAMS [TARGET]]
//!
//! Prints for every phase the time until the processor time of the process stays within a tenth of
//! TARGET percent (mean over a second, read four times a second), its mean from then on, and
//! how often the streams looked: the fewest, the most. Needs the default detector and a machine on
//! which TARGET percent of the processors are free.

use std::time::{Duration, Instant};

use face_core::cpu::process_time;
use gst::prelude::*;

const PHASE: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(250);
/// Readings that a mean is taken over.
const MEAN: usize = 4;

struct Stream {
    pipeline: gst::Element,
    detector: gst::Element,
    looked: u64,
}

impl Stream {
    fn start(target: u32) -> Stream {
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc is-live=true pattern=ball ! video/x-raw,format=NV12,width=640,height=360,\
             framerate=30/1 ! queue leaky=downstream max-size-buffers=2 max-size-bytes=0 max-size-time=0 \
             ! onnxfacedetect name=detect interval=auto cpu-target={target} input-size=320 provider=cpu \
             ! fakesink sync=false"
        ));
        let pipeline = pipeline.expect("all elements are there");
        let bin = pipeline.downcast_ref::<gst::Bin>().expect("several elements are a pipeline");
        let detector = bin.by_name("detect").expect("it has that name");
        pipeline.set_state(gst::State::Playing).expect("the default detector is there");
        Stream { pipeline, detector, looked: 0 }
    }

    /// Looks since the last call.
    fn looks(&mut self) -> u64 {
        let stats: gst::Structure = self.detector.property("stats");
        let looked = stats.get::<u64>("looked").expect("every element has it");
        looked - std::mem::replace(&mut self.looked, looked)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Shares of the processors that were used in each tick of a phase.
fn measure(cores: f64) -> Vec<f64> {
    let (begun, mut shares) = (Instant::now(), Vec::new());
    let (mut at, mut cpu) = (begun, process_time());
    while begun.elapsed() < PHASE {
        std::thread::sleep(TICK);
        let used = process_time() - cpu;
        shares.push(used.as_secs_f64() / (at.elapsed().as_secs_f64() * cores));
        (at, cpu) = (Instant::now(), cpu + used);
    }
    shares
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn phase(name: &str, streams: &mut [Stream], (cores, target): (f64, f64)) {
    for stream in &mut *streams {
        stream.looks();
    }
    let shares = measure(cores);
    let far = |window: &[f64]| (mean(window) / target - 1.0).abs() > 0.1;
    let settled = shares.windows(MEAN).rposition(far).map_or(0, |last| last + 1);
    let looks: Vec<u64> = streams.iter_mut().map(Stream::looks).collect();
    let (least, most) = (looks.iter().min(), looks.iter().max());
    let rate = |looks: Option<&u64>| looks.map_or(0.0, |n| *n as f64 / PHASE.as_secs_f64());
    println!(
        "{name:<28} within a tenth after {:>5.2} s, then {:.1} % in the mean; looks a second: {:.1} to {:.1}",
        settled as f64 * TICK.as_secs_f64(),
        100.0 * mean(&shares[settled.min(shares.len() - 1)..]),
        rate(least),
        rate(most)
    );
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let (count, target) = (numbers.next().unwrap_or(8), numbers.next().unwrap_or(80));
    gst::init().expect("GStreamer starts");
    gstface::plugin_register_static().expect("the elements are registered once");
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    println!("{count} streams, {cores} processors, {target} % wanted");
    let goal = (cores, f64::from(target) / 100.0);
    let mut streams: Vec<Stream> = (0..count).map(|_| Stream::start(target)).collect();
    let set = |streams: &[Stream], size: u32| {
        streams.iter().for_each(|stream| stream.detector.set_property("input-size", size));
    };
    phase("start", &mut streams, goal);
    set(&streams, 640);
    phase("looks four times as dear", &mut streams, goal);
    set(&streams, 320);
    phase("cheap again", &mut streams, goal);
    streams.truncate(count.div_ceil(2) as usize);
    phase("half of the streams", &mut streams, goal);
}
