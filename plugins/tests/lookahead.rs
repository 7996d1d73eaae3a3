//! Several frames of a stream that are searched at a time.

mod common;

use common::{Picture, Rig, at, data, element, error_of, info, init, pull, read, stat};
use gst::prelude::*;
use gstface::meta::FrameFaces;

const SMALL: &str = "video/x-raw,format=RGB,width=64,height=64,framerate=15/1";
const LARGE: &str = "video/x-raw,format=RGB,width=96,height=64,framerate=15/1";

/// appsrc ! onnxfacedetect ! appsink; not live.
struct Chain {
    pipeline: gst::Pipeline,
    src: gst_app::AppSrc,
    sink: gst_app::AppSink,
    detect: gst::Element,
}

impl Chain {
    fn new(model: &str, settings: &str) -> Chain {
        init();
        let model = data(model);
        let pipeline = gst::parse::launch(&format!(
            "appsrc name=src format=time caps={SMALL} \
             ! onnxfacedetect name=detect threads=3 provider=cpu model={model} {settings} \
             ! appsink name=sink sync=false"
        ));
        let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
        let element = |name| pipeline.by_name(name).unwrap();
        let src = element("src").downcast().unwrap();
        let sink = element("sink").downcast().unwrap();
        let detect = element("detect");
        pipeline.set_state(gst::State::Playing).unwrap();
        Chain { pipeline, src, sink, detect }
    }

    fn push(&self, n: u64, caps: &str) {
        let info = info(caps);
        // No two frames are alike.
        let color = [(20 + 9 * n) as u8, 128, 200];
        let picture = Picture::new(info.width(), info.height(), |_, _| color);
        self.src.push_buffer(at(n, picture.to_buffer(&info))).unwrap();
    }

    /// Frame ids, times and faces of all frames that come.
    fn rest(&self) -> Vec<(gst::ClockTime, FrameFaces)> {
        self.src.end_of_stream().unwrap();
        let mut seen = Vec::new();
        loop {
            let Some(sample) = self.sink.try_pull_sample(gst::ClockTime::from_seconds(20)) else {
                assert!(self.sink.is_eos());
                return seen;
            };
            let buffer = sample.buffer_owned().unwrap();
            seen.push((buffer.pts().unwrap(), read(&buffer)));
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn results_are_those_of_one_frame_at_a_time() {
    for interval in [1, 2, 5] {
        let results = [0, 1, 3, 64].map(|lookahead| {
            let settings = format!("interval={interval} lookahead={lookahead}");
            let chain = Chain::new("colours.onnx", &settings);
            for n in 0..23 {
                chain.push(n, SMALL);
            }
            let seen = chain.rest();
            let looked = seen.iter().filter(|(_, faces)| faces.looked).count() as u64;
            let counts = ["frames", "looked", "faces"].map(|name| stat(&chain.detect, name));
            assert_eq!(counts, [23, looked, 4 * looked]);
            seen
        });
        assert_eq!(results[0].len(), 23);
        for (n, (pts, faces)) in results[0].iter().enumerate() {
            assert_eq!(pts.mseconds(), 40 * n as u64);
            assert_eq!((faces.frame_id, faces.looked), (n as u64, n % interval == 0));
        }
        assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
    }
}

#[test]
fn frame_waits_for_those_after_it_and_the_last_for_the_end() {
    let chain = Chain::new("two_faces.onnx", "interval=1 lookahead=2");
    for n in 0..3 {
        chain.push(n, SMALL);
    }
    assert_eq!(read(&pull(&chain.pipeline, &chain.sink).buffer_owned().unwrap()).frame_id, 0);
    let ids: Vec<u64> = chain.rest().iter().map(|(_, faces)| faces.frame_id).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn frames_before_new_caps_keep_their_size() {
    let chain = Chain::new("two_faces.onnx", "interval=1 lookahead=4");
    for (n, caps) in [(0, SMALL), (1, SMALL), (2, LARGE), (3, SMALL)] {
        chain.src.set_caps(Some(&caps.parse().unwrap()));
        chain.push(n, caps);
    }
    let widths: Vec<_> = chain.rest().iter().map(|(_, faces)| faces.width).collect();
    assert_eq!(widths, [64, 64, 96, 64]);
}

#[test]
fn flush_drops_the_frames_that_wait() {
    let chain = Chain::new("two_faces.onnx", "interval=1 lookahead=4");
    for n in 0..6 {
        chain.push(n, SMALL);
    }
    pull(&chain.pipeline, &chain.sink);
    pull(&chain.pipeline, &chain.sink);
    assert!(chain.src.send_event(gst::event::FlushStart::new()));
    assert!(chain.src.send_event(gst::event::FlushStop::new(true)));
    for n in 6..8 {
        chain.push(n, SMALL);
    }
    let times: Vec<_> = chain.rest().iter().map(|(pts, _)| pts.mseconds()).collect();
    assert_eq!(times, [240, 280]);
}

#[test]
fn live_stream_does_not_wait_for_more_frames() {
    let detect = element("onnxfacedetect", "two_faces.onnx");
    detect.set_property("lookahead", 8u32);
    // The harness says that it is live, and gives a buffer for a buffer.
    let mut rig = Rig::new(detect, SMALL);
    for n in 0..3 {
        assert_eq!(rig.faces(rig.grey(n)).frame_id, n);
    }
}

#[test]
fn failure_of_a_frame_ends_the_stream_with_an_error() {
    let chain = Chain::new("fails.onnx", "interval=1 lookahead=2");
    chain.push(0, SMALL);
    chain.src.end_of_stream().unwrap();
    let error = error_of(&chain.pipeline.bus().unwrap());
    assert_eq!(error.kind(), Some(gst::StreamError::Failed));
}

#[test]
fn stop_does_not_wait_for_more_frames() {
    let chain = Chain::new("two_faces.onnx", "interval=1 lookahead=8");
    for n in 0..5 {
        chain.push(n, SMALL);
    }
    chain.pipeline.set_state(gst::State::Null).unwrap();
    // And starts again.
    chain.pipeline.set_state(gst::State::Playing).unwrap();
    chain.push(5, SMALL);
    let ids: Vec<_> = chain.rest().iter().map(|(_, faces)| faces.frame_id).collect();
    assert_eq!(ids, [0]);
}
