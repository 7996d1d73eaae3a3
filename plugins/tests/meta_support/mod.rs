//! What the tests of the metadata share.
#![allow(dead_code, reason = "not every test file uses everything")]

use face_core::geometry::{BBox, Landmarks, Point};
use face_core::identity::Status;
use gst::prelude::*;
use gstface::meta::{Attribute, Candidate, Event, Face, FrameFaces, TrackState};

pub(crate) fn init() {
    gst::init().unwrap();
    gstface::plugin_register_static().unwrap();
}

/// A frame with every field set, of a picture of `width` × `height` square pixels.
pub(crate) fn full(frame_id: u64, width: u32, height: u32) -> FrameFaces {
    let landmarks = std::array::from_fn(|i| Point::new(0.3 + i as f32 / 64.0, 0.4));
    let known = Face {
        id: 7,
        bbox: BBox::new(0.25, 0.375, 0.125, 0.25),
        observed: true,
        score: 0.75,
        landmarks: Some(Landmarks(landmarks)),
        quality: Some(0.5),
        track_id: u64::MAX,
        was_id: 4,
        track_state: TrackState::Confirmed,
        first_seen_ns: Some(1_000_000),
        zones: vec!["door".into(), "hall".into()],
        status: Status::Known,
        filter: "small".into(),
        person_id: Some("p-1".into()),
        name: Some("Zoë 张".into()),
        similarity: Some(0.625),
        margin: Some(0.125),
        top_k: vec![Candidate {
            person_id: "p-1".into(),
            name: "Zoë 张".into(),
            similarity: 0.625,
        }],
        confirmed: true,
        pose: Some([-10.5, 5.0, 0.25]),
        attributes: vec![Attribute {
            name: "glasses".into(),
            label: "yes".into(),
            confidence: Some(0.5),
        }],
        embedding: Some([0.5f32, -0.5].iter().flat_map(|v| v.to_le_bytes()).collect()),
        fingerprint: Some("family/five-point".into()),
    };
    FrameFaces {
        frame_id,
        looked: true,
        width,
        height,
        par: (1, 1),
        detector: "yunet_n".into(),
        faces: vec![known],
        events: vec![Event {
            id: "5f0c".into(),
            kind: "known-face".into(),
            track_id: 9,
            person_id: Some("p-1".into()),
            name: Some("Zoë 张".into()),
            similarity: Some(0.625),
            running_time_ns: Some(2_000_000),
            utc: Some("2026-01-02T03:04:05Z".into()),
            camera: Some("front door".into()),
            previous_person_id: Some("p-0".into()),
            previous_name: Some("Bob".into()),
            top_k: vec![Candidate {
                person_id: "p-1".into(),
                name: "Zoë 张".into(),
                similarity: 0.625,
            }],
            zone: Some("hall".into()),
            dwell_ns: Some(3_000_000),
            dry_run: true,
        }],
        ended_tracks: vec![2, 3],
    }
}

/// A frame with one plain detection.
pub(crate) fn one_face(frame_id: u64, (width, height): (u32, u32), bbox: BBox) -> FrameFaces {
    let face = Face { bbox, observed: true, score: 0.9, ..Default::default() };
    FrameFaces {
        frame_id,
        looked: true,
        width,
        height,
        par: (1, 1),
        faces: vec![face],
        ..Default::default()
    }
}

/// Pushes the buffers through `appsrc ! HOPS ! appsink` and returns what comes out.
pub(crate) fn through(caps: &str, hops: &str, buffers: Vec<gst::Buffer>) -> Vec<gst::Sample> {
    let description = format!(
        "appsrc name=src format=time max-bytes=0 caps={caps} ! {hops} ! appsink name=sink sync=false"
    );
    let pipeline = gst::parse::launch(&description)
        .unwrap_or_else(|e| panic!("{description}: {e}"))
        .downcast::<gst::Pipeline>()
        .unwrap();
    let src = pipeline.by_name("src").and_downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for buffer in buffers {
        src.push_buffer(buffer).unwrap();
    }
    src.end_of_stream().unwrap();
    let mut samples = Vec::new();
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(20)) {
        samples.push(sample);
    }
    let ended = sink.is_eos();
    let error = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(ended, "{description}: no end of stream, {error:?}");
    samples
}

/// A buffer of `data`, frame `n` of 25 a second.
pub(crate) fn buffer(n: u64, data: Vec<u8>) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(data);
    let b = buffer.get_mut().unwrap();
    b.set_pts(gst::ClockTime::from_mseconds(n * 40));
    b.set_duration(gst::ClockTime::from_mseconds(40));
    buffer
}

/// Id, rectangle and names of the parameters.
pub(crate) type Roi = (i32, (u32, u32, u32, u32), Vec<String>);

/// Our regions of interest.
pub(crate) fn rois(buffer: &gst::BufferRef) -> Vec<Roi> {
    buffer
        .iter_meta::<gst_video::VideoRegionOfInterestMeta>()
        .filter(|roi| roi.roi_type() == gstface::meta::ROI_TYPE)
        .map(|roi| (roi.id(), roi.rect(), roi.params().map(|p| p.name().to_string()).collect()))
        .collect()
}
