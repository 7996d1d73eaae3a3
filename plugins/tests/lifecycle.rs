//! Starting, stopping, flushing and changing pictures under way.

mod common;

use std::time::{Duration, Instant};

use common::people::{BLUE, CAPS, RED, enroll, frame};
use common::{Picture, Rig, at, data, element, error_of, info, init, pull, read};
use face_core::identity::Status;
use gst::prelude::*;
use gstface::meta::TrackState;

const FRAMES: &str = "video/x-raw,format=RGB,width=64,height=64,framerate=15/1";

/// appsrc ! onnxfacedetect ! queue ! facetrack ! facerecognize ! appsink on the tiny models.
struct Chain {
    pipeline: gst::Pipeline,
    src: gst_app::AppSrc,
    sink: gst_app::AppSink,
}

impl Chain {
    fn new(caps: &str) -> Chain {
        init();
        let pipeline = gst::parse::launch(&format!(
            "appsrc name=src format=time caps={caps} \
             ! onnxfacedetect name=detect threads=1 provider=cpu model={} \
             ! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! facetrack \
             ! facerecognize name=recognize threads=1 provider=cpu model={} \
             ! appsink name=sink sync=false",
            data("two_faces.onnx"),
            data("embedder.onnx")
        ));
        let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
        let src = pipeline.by_name("src").and_downcast().unwrap();
        let sink = pipeline.by_name("sink").and_downcast().unwrap();
        Chain { pipeline, src, sink }
    }

    fn push(&self, n: u64, caps: &str) {
        let info = info(caps);
        let picture = Picture::new(info.width(), info.height(), |_, _| RED);
        self.src.push_buffer(at(n, picture.to_buffer(&info))).unwrap();
    }

    fn pull(&self) -> gst::Sample {
        pull(&self.pipeline, &self.sink)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn chain_starts_and_stops_again_and_again() {
    let chain = Chain::new(FRAMES);
    for _ in 0..3 {
        for state in [gst::State::Playing, gst::State::Ready, gst::State::Paused] {
            chain.pipeline.set_state(state).unwrap();
        }
        chain.pipeline.set_state(gst::State::Playing).unwrap();
        for n in 0..3 {
            chain.push(n, FRAMES);
            let faces = read(&chain.pull().buffer_owned().unwrap());
            assert_eq!((faces.frame_id, faces.faces.len()), (n, 2));
        }
        for _ in 0..2 {
            chain.pipeline.set_state(gst::State::Null).unwrap();
        }
        let detect = chain.pipeline.by_name("detect").unwrap();
        assert_eq!(detect.property::<String>("active-provider"), "");
    }
    let error = chain.pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
}

#[test]
fn end_of_stream_comes_after_the_last_frame() {
    let chain = Chain::new(FRAMES);
    chain.pipeline.set_state(gst::State::Playing).unwrap();
    for n in 0..10 {
        chain.push(n, FRAMES);
    }
    chain.src.end_of_stream().unwrap();
    for _ in 0..10 {
        chain.pull();
    }
    assert!(chain.sink.try_pull_sample(gst::ClockTime::from_seconds(20)).is_none());
    assert!(chain.sink.is_eos());
}

#[test]
fn stop_in_the_middle_is_quick() {
    let chain = Chain::new(FRAMES);
    chain.pipeline.set_state(gst::State::Playing).unwrap();
    for n in 0..200 {
        chain.push(n, FRAMES);
    }
    chain.pull();
    let before = Instant::now();
    chain.pipeline.set_state(gst::State::Null).unwrap();
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
}

#[test]
fn tracks_survive_a_change_of_the_picture_size() {
    // Two detector inputs of one size, so that the model's fixed places are the same fractions.
    let (small, large) = (
        "video/x-raw,format=RGB,width=640,height=480,framerate=15/1",
        "video/x-raw,format=NV12,width=1280,height=960,framerate=15/1",
    );
    let wide = "video/x-raw,format=I420,width=1280,height=720,framerate=15/1";
    let chain = Chain::new(small);
    chain.pipeline.set_state(gst::State::Playing).unwrap();
    let mut ids = Vec::new();
    let mut n = 0;
    for caps in [small, large, wide] {
        chain.src.set_caps(Some(&caps.parse().unwrap()));
        for _ in 0..4 {
            chain.push(n, caps);
            n += 1;
            let sample = chain.pull();
            let faces = read(&sample.buffer_owned().unwrap());
            let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
            assert_eq!((faces.width, faces.height), (info.width(), info.height()));
            assert!(faces.looked && faces.faces.iter().all(|f| f.track_state != TrackState::None));
            ids.push(
                faces.faces.iter().filter(|f| f.observed).map(|f| f.track_id).collect::<Vec<_>>(),
            );
        }
        assert_eq!(ids.last().unwrap(), &ids[0], "{caps}");
    }
    let error = chain.pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
}

#[test]
fn flush_in_the_middle_begins_anew() {
    let chain = Chain::new(FRAMES);
    chain.pipeline.set_state(gst::State::Playing).unwrap();
    let mut ids = Vec::new();
    for round in 0..2 {
        for n in 0..3 {
            chain.push(n, FRAMES);
        }
        let faces: Vec<_> = (0..3).map(|_| read(&chain.pull().buffer_owned().unwrap())).collect();
        let face = faces[2].faces.first().unwrap();
        ids.push(face.track_id);
        assert_eq!(faces[2].frame_id, 3 * round + 2, "a flush is no new stream");
        assert_eq!(face.status, Status::Confirming, "three results are not enough");
        if round == 0 {
            assert!(chain.src.send_event(gst::event::FlushStart::new()));
            assert!(chain.src.send_event(gst::event::FlushStop::new(true)));
        }
    }
    assert_ne!(ids[0], ids[1], "tracks do not live through a flush");
}

#[test]
fn failed_start_leaves_the_element_fit_for_a_good_one() {
    for (factory, good, caps) in
        [("onnxfacedetect", "two_faces.onnx", FRAMES), ("facerecognize", "embedder.onnx", CAPS)]
    {
        let element = element(factory, good);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        for _ in 0..2 {
            element.set_property("model", "/nonexistent.onnx");
            assert!(element.set_state(gst::State::Playing).is_err());
            assert_eq!(error_of(&bus).kind(), Some(gst::ResourceError::NotFound));
            element.set_state(gst::State::Null).unwrap();
            assert_eq!(element.current_state(), gst::State::Null);
            assert_eq!(element.property::<String>("active-provider"), "");
        }
        element.set_property("model", data(good));
        let mut rig = Rig::new(element, caps);
        rig.run(rig.grey(0));
    }
}

/// Inference threads of this process.
#[cfg(target_os = "linux")]
fn workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(|t| name(t.ok()?)).filter(|n| n.starts_with("face-infer")).count()
}

/// Waits until the number of workers is right: a new thread gets its name some time after it began.
#[cfg(target_os = "linux")]
fn wait_for_workers(right: impl Fn(usize) -> bool) {
    let began = Instant::now();
    while !right(workers()) {
        assert!(began.elapsed() < Duration::from_secs(10), "{} workers", workers());
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn elements_share_one_pool_and_the_last_takes_it_down() {
    // Threads are counted: a copy of the model keeps other tests of this process out.
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("shared.onnx");
    std::fs::copy(data("two_faces.onnx"), &model).unwrap();
    let make = || {
        let element = element("onnxfacedetect", "two_faces.onnx");
        element.set_property("model", model.to_str().unwrap());
        element.set_property("threads", 64u32);
        element
    };
    let two = [make(), make()];
    for element in &two {
        element.set_state(gst::State::Playing).unwrap();
        wait_for_workers(|n| n >= 64);
        assert!(workers() < 100, "{} workers", workers());
    }
    two[0].set_state(gst::State::Null).unwrap();
    assert!(workers() >= 64);
    two[1].set_state(gst::State::Null).unwrap();
    wait_for_workers(|n| n < 64);
}

#[test]
fn stop_while_a_signal_enrols_does_not_hang() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("people.gallery");
    enroll(&gallery, "Ada", RED);
    let element = element("facerecognize", "embedder.onnx");
    element.set_property("gallery", gallery.to_str().unwrap());
    element.set_property("enroll-force", true);
    let mut rig = Rig::new(element.clone(), CAPS);
    rig.run(frame(0, [RED, BLUE], [7, 8]));
    let answers = std::thread::scope(|scope| {
        let enrolling = scope.spawn(|| {
            let enroll = |n: i32| {
                let name = format!("person {n}");
                let answer = element.emit_by_name::<gst::Structure>("enroll", &[&8u64, &name]);
                (answer.get::<bool>("ok").unwrap(), answer.get::<String>("reason").unwrap())
            };
            (0..20).map(enroll).collect::<Vec<_>>()
        });
        rig.element.set_state(gst::State::Null).unwrap();
        enrolling.join().unwrap()
    });
    for (ok, reason) in answers {
        assert!(ok || reason == "the element has not started", "{reason}");
    }
}
