//! facedetect on models whose answers are known, and on a real one.

mod common;

use common::{
    Picture, Rgb, Rig, at, data, decode, element, info, pull, read, real_media, real_model,
};
use face_core::geometry::BBox;
use gst::prelude::*;
use gst_video::prelude::*;
use gstface::meta::{FrameFaces, ROI_TYPE};

const FORMATS: [&str; 9] = ["NV12", "I420", "RGB", "BGR", "RGBA", "BGRA", "RGBx", "BGRx", "GRAY8"];
/// Boxes of the model two_faces, in pixels of the detector's input.
const FIRST: BBox = BBox::new(8.0, 8.0, 32.0, 32.0);
const SECOND: BBox = BBox::new(32.0, 32.0, 16.0, 16.0);

fn caps(format: &str, width: u32, height: u32, more: &str) -> String {
    format!("video/x-raw,format={format},width={width},height={height},framerate=15/1{more}")
}

/// The model two_faces on frames of 64 × 64.
fn rig() -> Rig {
    Rig::new(element("onnxfacedetect", "two_faces.onnx"), &caps("RGB", 64, 64, ""))
}

/// Boxes in pixels of the picture that the meta is of.
fn boxes(faces: &FrameFaces) -> Vec<BBox> {
    faces.faces.iter().map(|f| f.bbox.scaled(faces.width as f32, faces.height as f32)).collect()
}

fn assert_boxes(got: &[BBox], wanted: &[BBox]) {
    let near = |a: &BBox, b: &BBox| {
        [a.x - b.x, a.y - b.y, a.w - b.w, a.h - b.h].iter().all(|d| d.abs() < 1e-3)
    };
    let same = got.len() == wanted.len() && got.iter().zip(wanted).all(|(a, b)| near(a, b));
    assert!(same, "{got:?} instead of {wanted:?}");
}

#[test]
fn faces_are_written_with_their_places_scores_and_landmarks() {
    let mut rig = rig();
    let faces = rig.faces(rig.grey(0));
    assert_eq!((faces.frame_id, faces.looked, faces.width, faces.height), (0, true, 64, 64));
    assert_eq!((faces.par, faces.detector.as_str()), ((1, 1), "two_faces"));
    assert_boxes(&boxes(&faces), &[FIRST, SECOND]);
    for (face, (id, score)) in faces.faces.iter().zip([(1, 0.9), (2, 0.7)]) {
        assert_eq!((face.id, face.observed, face.track_id), (id, true, 0));
        assert!((face.score - score).abs() < 1e-5, "{}", face.score);
    }
    let eye = faces.faces[0].landmarks.unwrap().0[0];
    let wanted = ((8.0 + 0.34 * 32.0) / 64.0, (8.0 + 0.46 * 32.0) / 64.0);
    assert!((eye.x - wanted.0).abs() < 1e-5 && (eye.y - wanted.1).abs() < 1e-5, "{eye:?}");
    let counts = ["frames", "looked", "late", "unreadable", "not-finite", "faces"];
    assert_eq!(counts.map(|name| rig.stat(name)), [1, 1, 0, 0, 0, 2]);
}

#[test]
fn every_face_has_a_region_of_interest() {
    let mut rig = rig();
    let buffer = rig.run(rig.grey(0));
    let rois: Vec<_> = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>().collect();
    let seen: Vec<_> = rois.iter().map(|r| (r.roi_type(), r.id(), r.rect())).collect();
    assert_eq!(seen, [(ROI_TYPE, 1, (8, 8, 32, 32)), (ROI_TYPE, 2, (32, 32, 16, 16))]);
    for (roi, score) in rois.iter().zip([0.9, 0.7]) {
        let detection = roi.params().find(|p| p.name() == "detection").unwrap();
        assert!((detection.get::<f64>("confidence").unwrap() - score).abs() < 1e-5);
        assert_eq!(detection.get::<&str>("model_name").unwrap(), "two_faces");
    }
}

/// Colours of a tile by its place, far apart in every channel.
fn tile(column: u32, row: u32) -> Rgb {
    const COLORS: [Rgb; 6] = [
        [230, 30, 40],
        [40, 200, 60],
        [50, 70, 220],
        [220, 200, 60],
        [128, 128, 128],
        [20, 160, 170],
    ];
    COLORS[((column + 3 * row) % 6) as usize]
}

/// Mean red, green and blue (0..1) of every tile that lies wholly in the picture, as the model
/// colours saw it.
fn tiles_seen(faces: &FrameFaces) -> Vec<((u32, u32), [f32; 3])> {
    let mut seen = Vec::new();
    for (face, bbox) in faces.faces.iter().zip(boxes(faces)) {
        let (left, top) = (bbox.x.round(), bbox.y.round());
        if left + 32.0 > faces.width as f32 || top + 32.0 > faces.height as f32 {
            continue;
        }
        let points = face.landmarks.unwrap().0;
        let [b, g, r] = [0, 1, 2].map(|i| (points[i].x * faces.width as f32 - left) / 32.0);
        seen.push(((left as u32 / 32, top as u32 / 32), [r, g, b]));
    }
    seen
}

fn assert_tiles(faces: &FrameFaces, grey: bool, tolerance: f32, what: &str) {
    let seen = tiles_seen(faces);
    let count = (faces.width / 32) * (faces.height / 32);
    assert_eq!(seen.len(), count as usize, "{what}");
    for ((column, row), got) in seen {
        let mut wanted = tile(column, row).map(|c| f32::from(c) / 255.0);
        if grey {
            wanted = [got[0]; 3];
        }
        for (g, w) in got.iter().zip(wanted) {
            assert!((g - w).abs() < tolerance, "{what}: tile {column},{row}: {got:?}, {wanted:?}");
        }
    }
}

#[test]
fn colours_are_right_in_every_format_size_matrix_and_range() {
    let matrices = ["", ",colorimetry=bt601", ",colorimetry=bt709", ",colorimetry=1:4:0:0"];
    for format in FORMATS {
        for (width, height) in [(96, 64), (97, 65), (127, 95)] {
            let yuv = matches!(format, "NV12" | "I420");
            for more in &matrices[..if yuv { 4 } else { 1 }] {
                let caps = caps(format, width, height, more);
                let mut rig = Rig::new(element("onnxfacedetect", "colours.onnx"), &caps);
                let picture = Picture::new(width, height, |x, y| tile(x / 32, y / 32));
                let faces = rig.faces(at(0, picture.to_buffer(&rig.info)));
                // Chroma of half resolution mixes neighbours at the edges of tiles.
                let tolerance = if yuv { 0.03 } else { 0.004 };
                assert_tiles(&faces, format == "GRAY8", tolerance, &caps);
            }
        }
    }
}

#[test]
fn gray_is_the_luma_whatever_its_range() {
    for (range, black, white) in [("1:0:0:0", 0, 255), ("2:0:0:0", 16, 235)] {
        let caps = caps("GRAY8", 64, 32, &format!(",colorimetry={range}"));
        let mut rig = Rig::new(element("onnxfacedetect", "colours.onnx"), &caps);
        let pixels: Vec<u8> =
            (0..64 * 32).map(|i| if i % 64 < 32 { black } else { white }).collect();
        let seen = tiles_seen(&rig.faces(at(0, gst::Buffer::from_mut_slice(pixels))));
        assert_eq!(seen.len(), 2, "{range}");
        for (place, got) in seen {
            let wanted = place.0 as f32;
            assert!(got.iter().all(|g| (g - wanted).abs() < 0.01), "{range}: {place:?} {got:?}");
        }
    }
}

/// The picture with 48 bytes of rubbish after every row, and some before every plane.
fn padded(buffer: &gst::Buffer, info: &gst_video::VideoInfo) -> gst::Buffer {
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).unwrap();
    let (mut bytes, mut offsets, mut strides) = (Vec::new(), Vec::new(), Vec::new());
    for plane in 0..frame.n_planes() {
        bytes.extend([0xaa; 24]);
        offsets.push(bytes.len());
        let stride = frame.plane_stride()[plane as usize] as usize;
        strides.push(stride as i32 + 48);
        for row in frame.plane_data(plane).unwrap().chunks(stride) {
            bytes.extend(row);
            bytes.extend([0xaa; 48]);
        }
    }
    let mut padded = gst::Buffer::from_mut_slice(bytes);
    gst_video::VideoMeta::add_full(
        padded.get_mut().unwrap(),
        gst_video::VideoFrameFlags::empty(),
        info.format(),
        info.width(),
        info.height(),
        &offsets,
        &strides,
    )
    .unwrap();
    at(0, padded)
}

#[test]
fn padded_rows_are_not_part_of_the_picture() {
    for format in FORMATS {
        let caps = caps(format, 97, 65, "");
        let picture = Picture::new(97, 65, |x, y| tile(x / 32, y / 32)).to_buffer(&info(&caps));
        let mut tight = Rig::new(element("onnxfacedetect", "colours.onnx"), &caps);
        let mut wide = Rig::new(element("onnxfacedetect", "colours.onnx"), &caps);
        let faces = tight.faces(at(0, picture.clone()));
        assert_eq!(faces.faces.len(), 12, "{format}");
        assert_eq!(wide.faces(padded(&picture, &info(&caps))), faces, "{format}");
    }
}

#[test]
fn wide_pixels_give_right_fractions() {
    // 64 × 64 pixels twice as wide as high are a picture of 128 × 64.
    let caps = caps("RGB", 64, 64, ",pixel-aspect-ratio=2/1");
    let mut rig = Rig::new(element("onnxfacedetect", "two_faces.onnx"), &caps);
    let faces = rig.faces(rig.grey(0));
    assert_eq!(faces.par, (2, 1));
    assert_boxes(&boxes(&faces), &[FIRST.scaled(0.5, 1.0), SECOND.scaled(0.5, 1.0)]);
    // Of the second face, 8 pixels wide and 16 high, the shorter side is 16 square pixels.
    rig.element.set_property("min-face-size", 16u32);
    assert_eq!(rig.faces(rig.grey(1)).faces.len(), 2);
    rig.element.set_property("min-face-size", 17u32);
    assert_eq!(rig.faces(rig.grey(2)).faces.len(), 1);
}

#[test]
fn large_pictures_are_shrunk_to_the_input_size() {
    let big = caps("RGB", 256, 128, "");
    let mut rig = Rig::new(element("onnxfacedetect", "two_faces.onnx"), &big);
    assert_boxes(&boxes(&rig.faces(rig.grey(0))), &[FIRST, SECOND]);
    rig.element.set_property("input-size", 64u32);
    // 64 × 32 has no room for the second face.
    assert_boxes(&boxes(&rig.faces(rig.grey(1))), &[FIRST.scaled(4.0, 4.0)]);
}

#[test]
fn pictures_of_one_pixel_pass_in_every_format() {
    for format in FORMATS {
        for (width, height) in [(1, 1), (3, 1), (1, 5)] {
            let caps = caps(format, width, height, "");
            let mut rig = Rig::new(element("onnxfacedetect", "two_faces.onnx"), &caps);
            assert_boxes(&boxes(&rig.faces(rig.grey(0))), &[FIRST]);
        }
    }
}

/// Which of 8 frames were looked at.
fn looks(interval: &str, framerate: &str) -> Vec<bool> {
    let element = element("onnxfacedetect", "two_faces.onnx");
    element.set_property_from_str("interval", interval);
    let caps = format!("video/x-raw,format=GRAY8,width=64,height=64,framerate={framerate}");
    let mut rig = Rig::new(element, &caps);
    let looks = (0..8u64).map(|n| {
        let faces = rig.faces(rig.grey(n));
        assert_eq!(faces.frame_id, n);
        assert_eq!(faces.faces.len(), if faces.looked { 2 } else { 0 });
        faces.looked
    });
    looks.collect()
}

#[test]
fn interval_says_which_frames_are_looked_at() {
    let every = |n: usize| (0..8).map(|i| i % n == 0).collect::<Vec<_>>();
    assert_eq!(looks("1", "60/1"), every(1));
    assert_eq!(looks("3", "15/1"), every(3));
    for (framerate, n) in [("15/1", 1), ("20/1", 1), ("24000/1001", 2), ("60/1", 2), ("0/1", 1)] {
        for default in ["0", "default"] {
            assert_eq!(looks(default, framerate), every(n), "{framerate}");
        }
    }
}

#[test]
fn thresholds_act_while_playing() {
    let mut rig = rig();
    let mut frame = 0;
    let mut found = |property: &str, value: &str| {
        rig.element.set_property_from_str(property, value);
        frame += 1;
        boxes(&rig.faces(rig.grey(frame)))
    };
    let (both, first) = (&[FIRST, SECOND][..], &[FIRST][..]);
    for (property, value, wanted) in [
        ("score-threshold", "0.8", first),
        ("score-threshold", "0.95", &[]),
        ("score-threshold", "0.65", both),
        ("score-threshold", "0", both),
        ("max-faces", "1", first),
        ("max-faces", "2", both),
        ("max-faces", "0", both),
        ("min-face-size", "16", both),
        ("min-face-size", "17", first),
        ("min-face-size", "33", &[]),
        ("min-face-size", "0", both),
        // The boxes share 64 of 1216 pixels, .053.
        ("iou-threshold", "0.05", first),
        ("iou-threshold", "0.06", both),
        ("iou-threshold", "0", both),
        ("interval", "2", both),
        ("interval", "2", &[]),
    ] {
        assert_boxes(&found(property, value), wanted);
    }
}

#[test]
fn frames_are_counted_from_stream_start() {
    let mut rig = rig();
    for n in 0..3 {
        assert_eq!(rig.faces(rig.grey(n)).frame_id, n);
    }
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    rig.harness.push_event(gst::event::StreamStart::new("another"));
    rig.harness.push_event(gst::event::Caps::new(&rig.info.to_caps().unwrap()));
    rig.harness.push_event(gst::event::Segment::new(&segment));
    assert_eq!(rig.faces(rig.grey(0)).frame_id, 0);
    assert_eq!(rig.stat("frames"), 4);
}

#[test]
fn buffer_that_somebody_holds_shares_its_memory_with_the_output() {
    let mut rig = rig();
    let held = rig.grey(0);
    let output = rig.run(held.clone());
    assert_ne!(held.as_ptr(), output.as_ptr());
    assert_eq!(held.peek_memory(0).as_ptr(), output.peek_memory(0).as_ptr());
    assert!(!FrameFaces::is_on(&held), "the other holder's buffer is untouched");
    assert_eq!(read(&output).faces.len(), 2);
}

#[test]
fn provider_is_told_on_the_bus_and_in_a_property() {
    let element = element("onnxfacedetect", "two_faces.onnx");
    assert_eq!(element.property::<String>("active-provider"), "");
    let rig = Rig::new(element, &caps("RGB", 64, 64, ""));
    assert_eq!(rig.element.property::<String>("active-provider"), "cpu");
    let infos = rig.structures("provider-info");
    let [info] = &infos[..] else { panic!("{infos:?}") };
    let fields = ["model", "requested", "active", "state", "note"];
    let values = fields.map(|f| info.get::<&str>(f).unwrap());
    assert_eq!(values, ["two_faces", "cpu", "cpu", "ready", ""]);
}

#[test]
fn buffer_too_small_for_its_caps_passes_and_is_counted() {
    let mut rig = rig();
    let faces = rig.faces(at(0, gst::Buffer::from_mut_slice(vec![0u8; 100])));
    assert_eq!((faces.looked, faces.faces.len()), (false, 0));
    assert_eq!((rig.stat("unreadable"), rig.stat("looked")), (1, 0));
    assert!(rig.faces(rig.grey(1)).looked);
}

#[test]
fn late_frames_of_a_live_stream_pass_without_a_look() {
    let mut rig = rig();
    assert!(rig.faces(rig.grey(0)).looked);
    // The sink had frame 10 (400 ms) by 40 ms too late: what is due before 480 ms is late as well.
    let qos = gst::event::Qos::builder(gst::QOSType::Underflow, 1.5, 40_000_000)
        .timestamp(gst::ClockTime::from_mseconds(400));
    rig.harness.push_upstream_event(qos.build());
    let looked: Vec<bool> = (11..14).map(|n| rig.faces(rig.grey(n)).looked).collect();
    assert_eq!(looked, [false, true, true]);
    assert_eq!(rig.stat("late"), 1);
}

/// Share of the faces of `a` that have one of `b` in their place.
fn agreement(a: &FrameFaces, b: &FrameFaces, least_iou: f32) -> f32 {
    let matched = |f: &BBox| b.faces.iter().any(|g| g.bbox.iou(f) >= least_iou);
    let count = a.faces.iter().filter(|f| matched(&f.bbox)).count();
    count as f32 / a.faces.len().max(1) as f32
}

#[test]
fn real_faces_are_found_alike_in_every_format() {
    let (Some(model), Some(photo)) =
        (real_model("face_detection_yunet_n_dynamic.onnx"), real_media("groups/two_people.jpg"))
    else {
        return;
    };
    let picture = decode(&photo);
    let mut reference: Option<FrameFaces> = None;
    for format in ["RGB", "BGR", "RGBA", "BGRA", "RGBx", "BGRx", "NV12", "I420", "GRAY8"] {
        let element = element("onnxfacedetect", "two_faces.onnx");
        element.set_property("model", &model);
        // A harness is live, and a busy machine is no reason to skip the look.
        let caps = caps(format, picture.width, picture.height, "");
        let faces = through(&element, &caps, picture.to_buffer(&info(&caps)));
        assert!(faces.looked && faces.faces.len() >= 2, "{format}: {} faces", faces.faces.len());
        let wanted = reference.get_or_insert_with(|| faces.clone());
        let (iou, share) = match format {
            "GRAY8" => (0.7, 0.9),
            "NV12" | "I420" => (0.9, 1.0),
            _ => (0.999, 1.0),
        };
        let both = [agreement(&faces, wanted, iou), agreement(wanted, &faces, iou)];
        assert!(both.iter().all(|a| *a >= share), "{format}: {both:?}");
    }
}

/// One buffer through the element in a pipeline that is not live.
fn through(element: &gst::Element, caps: &str, buffer: gst::Buffer) -> FrameFaces {
    let pipeline = gst::Pipeline::new();
    let caps = caps.parse::<gst::Caps>().unwrap();
    let src = gst_app::AppSrc::builder().caps(&caps).format(gst::Format::Time).build();
    let sink = gst_app::AppSink::builder().sync(false).build();
    pipeline.add_many([src.upcast_ref(), element, sink.upcast_ref()]).unwrap();
    gst::Element::link_many([src.upcast_ref(), element, sink.upcast_ref()]).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    src.push_buffer(at(0, buffer)).unwrap();
    src.end_of_stream().unwrap();
    let faces = read(&pull(&pipeline, &sink).buffer_owned().unwrap());
    pipeline.set_state(gst::State::Null).unwrap();
    faces
}

#[test]
fn model_may_be_named_by_a_path_with_a_description_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("mine.onnx");
    std::fs::copy(data("two_faces.onnx"), &model).unwrap();
    let description = "task = 'detector'\ndecoder = 'yunet'\nchannels = 'bgr'\n\
                       mean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\nsize-multiple = 32\n\
                       threshold = 0.8\nnms = 0.45\n";
    std::fs::write(model.with_extension("toml"), description).unwrap();
    let element = element("onnxfacedetect", "two_faces.onnx");
    element.set_property("model", model.to_str().unwrap());
    let mut rig = Rig::new(element, &caps("RGB", 64, 64, ""));
    let faces = rig.faces(rig.grey(0));
    assert_eq!((faces.detector.as_str(), faces.faces.len()), ("mine", 1));
}
