//! What is done with the pixels of every frame, and with the outputs of a detector, allocates
//! nothing once it has seen a frame of that size. In a process of its own, whose allocator counts.

#[path = "../benches/outputs.rs"]
mod outputs;

use allocation_counter::measure;
use face_core::align::AlignedCrop;
use face_core::detect::{Detection, decode};
use face_core::frame::{FrameView, PixelFormat, Plane};
use face_core::geometry::{Landmarks, Point, nms};
use face_core::model::ChannelOrder;
use face_core::preprocess::{Letterbox, Normalization, Preprocessor};
use face_core::quality::CropQuality;
use face_core::track::{SceneCutConfig, SceneCutDetector};
use outputs::{FAMILIES, Outputs};

const SIZE: [u32; 2] = [322, 182];

/// Frames of all formats, of pixels that are all unlike each other.
fn frames(data: &[u8]) -> impl Iterator<Item = FrameView<'_>> {
    PixelFormat::ALL.into_iter().map(|format| {
        let planes = match format {
            PixelFormat::Nv12 => 2,
            PixelFormat::I420 => 3,
            _ => 1,
        };
        let planes = vec![Plane { data, stride: 4 * SIZE[0] as usize }; planes];
        FrameView::new(format, SIZE[0], SIZE[1], &planes).unwrap()
    })
}

fn pixels() -> Vec<u8> {
    (0..4 * SIZE[0] * SIZE[1]).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Counts the allocations of `work`, which has been done twice before.
fn allocations(mut work: impl FnMut()) -> u64 {
    work();
    work();
    measure(work).count_total
}

#[test]
fn letterbox_allocates_nothing_after_the_first_frame() {
    let data = pixels();
    let normalization =
        Normalization { channels: ChannelOrder::Bgr, mean: [127.0; 3], std: [128.0; 3] };
    for frame in frames(&data) {
        let letterbox = Letterbox::fit(&frame, 160, 32);
        let (mut preprocessor, mut out) = (Preprocessor::default(), Vec::new());
        let work = || preprocessor.letterbox(&frame, &letterbox, &normalization, &mut out);
        assert_eq!(allocations(work), 0, "{:?}", frame.format());
    }
}

#[test]
fn crop_that_is_cut_anew_and_measured_allocates_nothing() {
    let data = pixels();
    let face = [(100.0, 60.0), (140.0, 62.0), (120.0, 85.0), (104.0, 105.0), (136.0, 106.0)];
    let landmarks = Landmarks(face.map(|(x, y)| Point::new(x, y)));
    for frame in frames(&data) {
        let mut crop = AlignedCrop::default();
        let mut sharpness = 0.0;
        let work = || {
            assert!(crop.recut(&frame, &landmarks));
            sharpness = CropQuality::of(&crop).sharpness;
        };
        assert_eq!(allocations(work), 0, "{:?}", frame.format());
        assert!(sharpness > 0.0);
    }
}

#[test]
fn scene_cuts_are_looked_for_without_allocations() {
    let data = pixels();
    for frame in frames(&data) {
        let mut detector = SceneCutDetector::new(SceneCutConfig::default()).unwrap();
        let mut time_ns = 0;
        let work = || {
            time_ns += 40_000_000;
            detector.look(time_ns, &frame);
        };
        assert_eq!(allocations(work), 0, "{:?}", frame.format());
    }
}

#[test]
fn outputs_of_every_family_become_faces_without_allocations() {
    for decoder in FAMILIES {
        let outputs = Outputs::new(decoder, (640, 384));
        let view = outputs.view();
        let mut faces: Vec<Detection> = Vec::new();
        let mut found = 0;
        let work = || {
            faces.clear();
            decode(decoder, &view, (640, 384), 0.5, &mut faces).unwrap();
            found = faces.len();
            nms(&mut faces, 0.45, |face| (face.bbox, face.score));
        };
        assert_eq!(allocations(work), 0, "{decoder:?}");
        assert!(found > 400 && faces.len() > 20, "{decoder:?}: {} of {found}", faces.len());
    }
}
