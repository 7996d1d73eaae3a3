//! A pipeline without data costs nothing. The only test of its file: it measures its process.

mod common;

use common::people::RED;
use common::{Picture, at, data, info, init, pull};
use face_core::cpu::process_time;
use gst::prelude::*;

const FRAMES: &str = "video/x-raw,format=RGB,width=64,height=64,framerate=15/1";
const MEASURED: gst::ClockTime = gst::ClockTime::from_seconds(3);

/// Share of a processor that the process takes while nothing happens on the bus.
fn share(bus: &gst::Bus) -> f64 {
    let before = process_time();
    let message = bus.timed_pop_filtered(MEASURED, &[gst::MessageType::Error]);
    assert!(message.is_none(), "{message:?}");
    (process_time() - before).as_secs_f64() / MEASURED.nseconds() as f64 * 1e9
}

#[test]
fn idle_pipeline_costs_at_most_a_hundredth_of_a_core() {
    init();
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=src is-live=true format=time caps={FRAMES} \
         ! onnxfacedetect threads=4 provider=cpu model={} \
         ! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! facetrack \
         ! facerecognize threads=4 provider=cpu model={} ! faceannotate \
         ! appsink name=sink sync=false",
        data("two_faces.onnx"),
        data("embedder.onnx")
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let src = pipeline.by_name("src").and_downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().unwrap();
    let bus = pipeline.bus().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    // Every thread has worked once.
    let info = info(FRAMES);
    for n in 0..20 {
        let picture = Picture::new(info.width(), info.height(), |_, _| RED);
        src.push_buffer(at(n, picture.to_buffer(&info))).unwrap();
        pull(&pipeline, &sink);
    }
    let playing = share(&bus);
    pipeline.set_state(gst::State::Paused).unwrap();
    let paused = share(&bus);
    pipeline.set_state(gst::State::Null).unwrap();
    eprintln!("share of a core: {playing:.4} without data, {paused:.4} paused");
    assert!(playing <= 0.01 && paused <= 0.01, "{playing} {paused}");
}
