//! How often is looked, what is skipped because it is late, and what `stats` tells of it.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Rig, data, element, init, pull, read};
use gst::prelude::*;
use gstface::facedetect::IntervalSetting;

const CAPS: &str = "video/x-raw,format=GRAY8,width=64,height=64,framerate=25/1";

fn rig(settings: &[(&str, &str)]) -> Rig {
    let element = element("onnxfacedetect", "two_faces.onnx");
    for (name, value) in settings {
        element.set_property_from_str(name, value);
    }
    Rig::new(element, CAPS)
}

fn stats(element: &gst::Element) -> gst::Structure {
    element.property("stats")
}

#[test]
fn interval_takes_words_and_numbers() {
    init();
    let shown = |description: &str| {
        let element = gst::parse::launch(&format!("onnxfacedetect {description}")).unwrap();
        let value = element.property_value("interval");
        let (_, value) = glib::EnumValue::from_value(&value).unwrap();
        value.nick().to_owned()
    };
    for (given, wanted) in [
        ("", "default"),
        ("interval=auto", "auto"),
        ("interval=0", "default"),
        ("interval=12", "12"),
    ] {
        assert_eq!(shown(given), wanted);
    }
    for wrong in ["61", "-2", "often", "2.5"] {
        let description = format!("onnxfacedetect interval={wrong}");
        assert!(gst::parse::launch(&description).is_err(), "{wrong}");
    }
    let element = gst::ElementFactory::make("onnxfacedetect").build().unwrap();
    element.set_property("interval", IntervalSetting::N2);
    // As a program in C has it.
    let class = glib::EnumClass::new::<IntervalSetting>();
    assert_eq!(class.value(2).unwrap().nick(), "2");
}

/// Pictures at 50 a second through a detector with `interval=auto`.
fn auto(source: &str, rest: &str) -> (gst::Pipeline, gst::Element) {
    init();
    let description = format!(
        "videotestsrc {source} ! video/x-raw,format=GRAY8,width=64,height=64,framerate=50/1 \
         ! onnxfacedetect name=detect model={} provider=cpu threads=1 interval=auto {rest}",
        data("two_faces.onnx")
    );
    let pipeline = gst::parse::launch(&description).unwrap().downcast::<gst::Pipeline>().unwrap();
    let detector = pipeline.by_name("detect").unwrap();
    (pipeline, detector)
}

/// Uses more than a hundredth of the processors until it is dropped.
struct Busy(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);

impl Busy {
    fn start() -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..=cores / 50).map(|_| {
            let stopped = stop.clone();
            let builder = std::thread::Builder::new().name("face-test-busy".to_owned());
            let work = move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            };
            builder.spawn(work).unwrap()
        });
        let threads = threads.collect();
        Busy(stop, threads)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn auto_looks_once_a_second_at_least_and_at_every_frame_at_most() {
    let (pipeline, detector) = auto("is-live=true", "cpu-target=1 ! appsink name=out sync=false");
    let sink = pipeline.by_name("out").unwrap();
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    let busy = Busy::start();
    pipeline.set_state(gst::State::Playing).unwrap();
    let rate = || stats(&detector).get::<f64>("look-rate").unwrap();
    let frame = || {
        let sample = pull(&pipeline, &sink);
        let faces = read(&sample.buffer_owned().unwrap());
        (sample.buffer().unwrap().pts().unwrap().mseconds(), faces.looked)
    };
    let wait_for = |wanted: f64| {
        let came = (0..6000).any(|_| {
            frame();
            rate() == wanted
        });
        assert!(came, "after two minutes {} looks a second, {wanted} wanted", rate());
    };
    wait_for(1.0);
    // The looks of before may be made up for.
    let mut looks: Vec<u64> =
        (0..250).map(|_| frame()).filter(|(_, looked)| *looked).map(|(time, _)| time).collect();
    looks.remove(0);
    assert!(looks.len() <= 6 && looks.len() >= 2, "{looks:?}");
    assert!(looks.windows(2).all(|w| w[1] - w[0] <= 1500), "{looks:?}");
    assert!(stats(&detector).get::<u64>("skipped-interval").unwrap() >= 200);

    drop(busy);
    detector.set_property("cpu-target", 100u32);
    wait_for(0.0);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn auto_is_the_default_where_the_stream_is_not_live() {
    let (pipeline, detector) = auto("num-buffers=20", "! fakesink");
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends).unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos);
    let stats = stats(&detector);
    pipeline.set_state(gst::State::Null).unwrap();
    let count = |name: &str| stats.get::<u64>(name).unwrap();
    assert_eq!((count("buffers"), count("looked"), count("skipped-interval")), (20, 10, 10));
}

#[test]
fn frames_older_than_max_latency_pass_without_a_look() {
    let mut rig = rig(&[("max-latency", "500000000"), ("interval", "1")]);
    rig.harness.use_testclock();
    let looked = |rig: &mut Rig, now_ms: u64, frame: u64| {
        rig.harness.set_time(gst::ClockTime::from_mseconds(now_ms)).unwrap();
        let buffer = rig.grey(frame);
        rig.faces(buffer).looked
    };
    assert!(looked(&mut rig, 500, 0), "just in time");
    assert!(!looked(&mut rig, 560, 1), "520 ms old");
    assert!(looked(&mut rig, 560, 2));
    rig.element.set_property("max-latency", 0u64);
    assert!(looked(&mut rig, 10_000, 3));
    let counts = ["late", "skipped-max-latency", "skipped-late", "skipped-deadline", "looked"];
    assert_eq!(counts.map(|name| rig.stat(name)), [1, 1, 0, 0, 3]);
}

#[test]
fn latency_of_looks_is_told_once_it_is_known() {
    let mut rig = rig(&[("interval", "1")]);
    let upstream = gst::ClockTime::from_mseconds(40);
    rig.harness.set_upstream_latency(upstream);
    let ask = |rig: &Rig| {
        let mut query = gst::query::Latency::new();
        assert!(rig.element.static_pad("src").unwrap().query(&mut query));
        query.result().1
    };
    assert_eq!(ask(&rig), upstream);
    for n in 0..16 {
        rig.run(rig.grey(n));
    }
    let told = rig.messages().iter().filter(|m| m.type_() == gst::MessageType::Latency).count();
    assert_eq!(told, 1);
    let own = ask(&rig) - upstream;
    assert!(own > gst::ClockTime::ZERO && own <= gst::ClockTime::SECOND, "{own}");
    assert_eq!(own.nseconds() % 10_000_000, 0);
}

#[test]
fn stats_say_where_the_time_went() {
    let mut rig = rig(&[("interval", "2")]);
    for n in 0..10 {
        rig.run(rig.grey(n));
    }
    let counts = ["buffers", "frames", "looked", "inferences", "skipped-interval", "queue-depth"];
    assert_eq!(counts.map(|name| rig.stat(name)), [10, 10, 5, 5, 5, 0]);
    for time in ["cpu-preprocess", "cpu-run", "cpu-decode", "cpu-other"] {
        assert!(rig.stat(time) > 0, "{time}");
    }
    let [half, most, nearly_all] = ["time-p50", "time-p95", "time-p99"].map(|name| rig.stat(name));
    assert!(half > 0 && half <= most && most <= nearly_all, "{half} {most} {nearly_all}");
    rig.element.set_state(gst::State::Null).unwrap();
    rig.element.set_state(gst::State::Playing).unwrap();
    assert_eq!(["buffers", "looked", "time-p50"].map(|name| rig.stat(name)), [0, 0, 0]);
}
