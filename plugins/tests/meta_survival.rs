//! Which elements keep `GstFaceMeta` and which drop it, on real pipelines: a GStreamer that
//! changes it is seen here.

mod meta_support;

use face_core::geometry::BBox;
use gst_video::prelude::*;
use gstface::meta::{FrameFaces, Mapping};
use meta_support::{buffer, full, init, one_face, rois, through};

const SIZE: (u32, u32) = (160, 120);
const CAPS: &str = "video/x-raw,format=I420,width=160,height=120,framerate=25/1";

/// Luma of frame `n`, far enough from its neighbours to be told apart after a lossy codec.
fn luma(n: u64) -> u8 {
    20 + 7 * n as u8
}

fn frames(count: u64) -> Vec<gst::Buffer> {
    let luma_bytes = (SIZE.0 * SIZE.1) as usize;
    let frame = |n| {
        let mut data = vec![luma(n); luma_bytes];
        data.resize(luma_bytes * 3 / 2, 128);
        let mut buffer = buffer(n, data);
        let b = buffer.get_mut().unwrap();
        let faces = full(n, SIZE.0, SIZE.1);
        faces.write(b);
        gstface::meta::write_rois(b, &faces, SIZE.0, SIZE.1);
        buffer
    };
    (0..count).map(frame).collect()
}

fn faces_of(sample: &gst::Sample) -> Option<FrameFaces> {
    FrameFaces::read(sample.buffer().unwrap()).map(|r| r.unwrap())
}

/// Every buffer that comes out has the whole meta of its own frame.
fn assert_kept(hops: &str, least: usize) {
    init();
    let samples = through(CAPS, hops, frames(20));
    assert!(samples.len() >= least, "{hops}: {} buffers", samples.len());
    for sample in &samples {
        let faces = faces_of(sample).unwrap_or_else(|| panic!("{hops}: dropped"));
        assert_eq!(faces, full(faces.frame_id, SIZE.0, SIZE.1), "{hops}");
    }
}

fn assert_dropped(hops: &str) {
    init();
    let samples = through(CAPS, hops, frames(5));
    assert!(!samples.is_empty(), "{hops}");
    assert!(samples.iter().all(|s| faces_of(s).is_none()), "{hops}: kept");
}

#[test]
fn queue_and_tee_keep() {
    assert_kept("queue", 20);
    assert_kept("tee name=t ! queue ! fakesink async=false t. ! queue", 20);
}

#[test]
fn videoconvert_keeps() {
    assert_kept(
        "videoconvert ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=NV12",
        20,
    );
}

#[test]
fn videorate_keeps() {
    assert_kept("videorate ! video/x-raw,framerate=50/1", 38);
    assert_kept("videorate ! video/x-raw,framerate=5/1", 4);
}

#[test]
fn videoscale_keeps() {
    assert_kept("videoscale ! video/x-raw,width=320,height=240", 20);
    assert_kept("videoscale ! video/x-raw,width=320,height=180", 20);
}

#[test]
fn overlays_keep() {
    assert_kept("textoverlay text=x ! timeoverlay", 20);
}

#[test]
fn cutting_and_composing_drops() {
    assert_dropped("videocrop left=16");
    assert_dropped("videobox left=16 ! video/x-raw,width=144");
    assert_dropped("compositor");
}

/// GStreamer 1.22 does not tell metas of a flip; docs/metadata.md says so.
#[test]
fn videoflip_keeps_and_does_not_flip() {
    assert_kept("videoflip method=horizontal-flip", 20);
}

/// The picture says which frame it is, whatever the codec did to times and order.
fn assert_on_right_frame(hops: &str) {
    init();
    let samples =
        through(CAPS, &format!("{hops} ! videoconvert ! video/x-raw,format=I420"), frames(20));
    assert_eq!(samples.len(), 20, "{hops}");
    for (n, sample) in samples.iter().enumerate() {
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let frame =
            gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &info)
                .unwrap();
        let middle = frame.plane_data(0).unwrap()[frame.plane_stride()[0] as usize * 60 + 80];
        let faces = faces_of(sample).unwrap_or_else(|| panic!("{hops}: dropped"));
        assert!(
            middle.abs_diff(luma(faces.frame_id)) <= 2,
            "{hops}: frame {n} has {}",
            faces.frame_id
        );
        assert_eq!(faces.frame_id, n as u64, "{hops}");
    }
}

#[test]
fn h264_keeps_on_the_right_frame() {
    assert_on_right_frame(
        "x264enc tune=zerolatency speed-preset=ultrafast ! h264parse ! avdec_h264",
    );
}

#[test]
fn h264_with_reordered_frames_keeps_on_the_right_frame() {
    let encoder =
        "x264enc bframes=3 b-adapt=false rc-lookahead=10 speed-preset=veryfast key-int-max=30";
    // Order of coding is not order of showing, or the test would show nothing.
    init();
    let coded = through(CAPS, &format!("{encoder} ! h264parse"), frames(20));
    let ids: Vec<u64> = coded.iter().map(|s| faces_of(s).unwrap().frame_id).collect();
    assert!(!ids.is_sorted(), "{ids:?}");
    for (sample, id) in coded.iter().zip(&ids) {
        let first = coded.iter().filter_map(|s| s.buffer()?.pts()).min().unwrap();
        let shown = sample.buffer().unwrap().pts().unwrap() - first;
        assert_eq!(shown.mseconds(), id * 40);
    }
    assert_on_right_frame(&format!("{encoder} ! h264parse ! avdec_h264"));
}

#[test]
fn other_codecs_keep_on_the_right_frame() {
    assert_on_right_frame("jpegenc ! jpegparse ! jpegdec");
    assert_on_right_frame("vp8enc deadline=1 ! vp8dec");
}

/// A bright square stands where the face is; after scaling the mapped box must cover it.
fn assert_mapped(from: (u32, u32), scaled: &str, bordered: bool) {
    init();
    let bbox = BBox::new(0.25, 0.5, 0.25, 0.25);
    let square = bbox.scaled(from.0 as f32, from.1 as f32);
    let stride = from.0.next_multiple_of(4);
    let inside = |x: u32, y: u32| {
        (square.x..square.x + square.w).contains(&(x as f32))
            && (square.y..square.y + square.h).contains(&(y as f32))
    };
    let data = (0..stride * from.1)
        .map(|i| if inside(i % stride, i / stride) { 235 } else { 40 })
        .collect();
    let mut buffer = buffer(0, data);
    one_face(0, from, bbox).write(buffer.get_mut().unwrap());
    let caps =
        format!("video/x-raw,format=GRAY8,width={},height={},framerate=25/1", from.0, from.1);
    let samples = through(&caps, &format!("videoscale {scaled}"), vec![buffer]);
    let info = gst_video::VideoInfo::from_caps(samples[0].caps().unwrap()).unwrap();
    let frame =
        gst_video::VideoFrameRef::from_buffer_ref_readable(samples[0].buffer().unwrap(), &info)
            .unwrap();
    let faces = faces_of(&samples[0]).unwrap();
    let mapping = Mapping::new(&faces, &info);
    assert_eq!(mapping.bordered(), bordered, "{scaled}");
    let mapped = mapping.box_to_pixels(&faces.faces[0].bbox);
    let seen = bright_box(&frame);
    assert!(mapped.iou(&seen) > 0.9, "{scaled}: {mapped:?} {seen:?}");
    let back = mapping.box_to_fractions(&mapped);
    assert!(back.iou(&bbox) > 0.999, "{scaled}: {back:?}");
}

fn bright_box(frame: &gst_video::VideoFrameRef<&gst::BufferRef>) -> BBox {
    let (data, stride) = (frame.plane_data(0).unwrap(), frame.plane_stride()[0] as usize);
    let (mut x0, mut y0, mut x1, mut y1) = (usize::MAX, usize::MAX, 0, 0);
    for y in 0..frame.height() as usize {
        for x in (0..frame.width() as usize).filter(|x| data[y * stride + x] > 137) {
            (x0, y0, x1, y1) = (x0.min(x), y0.min(y), x1.max(x + 1), y1.max(y + 1));
        }
    }
    BBox::new(x0 as f32, y0 as f32, (x1 - x0) as f32, (y1 - y0) as f32)
}

#[test]
fn coordinates_hold_after_scaling_without_borders() {
    assert_mapped((320, 240), "! video/x-raw,width=160,height=120", false);
    // Stretched with a pixel aspect that makes up for it.
    assert_mapped((320, 240), "! video/x-raw,width=320,height=120,pixel-aspect-ratio=1/2", false);
    // The display aspect changes, and without borders the fractions hold, but nothing in the meta
    // can say so: such a pipeline must set the pixel aspect.
}

#[test]
fn coordinates_are_mapped_into_borders() {
    assert_mapped(
        (320, 180),
        "add-borders=true ! video/x-raw,width=160,height=160,pixel-aspect-ratio=1/1",
        true,
    );
    assert_mapped(
        (240, 240),
        "add-borders=true ! video/x-raw,width=320,height=180,pixel-aspect-ratio=1/1",
        true,
    );
    assert_mapped(
        (320, 180),
        "add-borders=true ! video/x-raw,width=180,height=320,pixel-aspect-ratio=2/1",
        true,
    );
}

#[test]
fn region_parameters_are_lost_where_the_meta_is_kept() {
    init();
    let samples = through(CAPS, "videoscale ! video/x-raw,width=80,height=60", frames(1));
    let b = samples[0].buffer().unwrap();
    // Regions are a view for others: our elements never read them.
    assert_eq!(rois(b), [(7, (20, 22, 10, 15), vec![])]);
    assert!(FrameFaces::read(b).is_some());
}
