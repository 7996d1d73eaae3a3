//! From source pixels to the models' inputs: the letterboxed picture and the aligned crop, one
//! thread, beside one run of the default detector on the same input where its model is found.

use criterion::{Criterion, criterion_group, criterion_main};
use face_core::align::AlignedCrop;
use face_core::frame::{FrameView, PixelFormat, Plane};
use face_core::geometry::{Landmarks, Point};
use face_core::inference::{Pool, PoolOptions, Provider, Request};
use face_core::model::{self, Task};
use face_core::preprocess::{Letterbox, Normalization, Preprocessor};
use ndarray::Array4;

const DETECTOR_SIDE: u32 = 640;
const MULTIPLE: u32 = 32;

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}

fn nv12(data: &[u8], width: u32, height: u32) -> FrameView<'_> {
    let stride = width as usize;
    let (luma, chroma) = data.split_at(stride * height as usize);
    let planes = [Plane { data: luma, stride }, Plane { data: chroma, stride }];
    FrameView::new(PixelFormat::Nv12, width, height, &planes).expect("as many bytes as a frame")
}

fn letterbox(c: &mut Criterion) {
    let normalization = Normalization::from(model::find(model::DEFAULT_DETECTOR).expect("known"));
    let mut group = c.benchmark_group("letterbox");
    for (width, height) in [(640, 360), (1920, 1080), (3840, 2160)] {
        let data = noise((width * height * 3) as usize);
        let frames = [
            nv12(&data[..(width * height * 3 / 2) as usize], width, height),
            FrameView::packed(PixelFormat::Rgb, width, height, &data).expect("as many bytes"),
        ];
        for frame in frames {
            let target = Letterbox::fit(&frame, DETECTOR_SIDE, MULTIPLE);
            let (mut preprocessor, mut out) = (Preprocessor::default(), Vec::new());
            group.bench_function(format!("{:?} {width}x{height}", frame.format()), |b| {
                b.iter(|| preprocessor.letterbox(&frame, &target, &normalization, &mut out));
            });
        }
    }
    group.finish();
}

fn detector(c: &mut Criterion) {
    let options = PoolOptions { provider: Provider::Cpu, threads: 1, ..PoolOptions::default() };
    let pool = model::resolve(model::DEFAULT_DETECTOR, Task::Detector)
        .map_err(|e| e.to_string())
        .and_then(|model| Pool::shared(&model, &options).map_err(|e| e.to_string()));
    let mut handle = match pool {
        Ok(pool) => pool.handle(),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let input = Array4::from_elem((1, 3, 384, 640), 100.0);
    let mut requests = [Request { input, ..Request::default() }];
    c.bench_function("detector run 640x384", |b| {
        b.iter(|| handle.run(&mut requests, None).expect("the model runs"));
    });
}

fn crop(c: &mut Criterion) {
    let data = noise(1920 * 1080 * 3);
    let face = [(800.0, 400.0), (900.0, 410.0), (850.0, 470.0), (805.0, 520.0), (885.0, 528.0)];
    let landmarks = Landmarks(face.map(|(x, y)| Point::new(x, y)));
    let frames = [
        nv12(&data[..1920 * 1080 * 3 / 2], 1920, 1080),
        FrameView::packed(PixelFormat::Rgb, 1920, 1080, &data).expect("as many bytes"),
    ];
    for frame in frames {
        let mut crop = AlignedCrop::default();
        c.bench_function(&format!("aligned crop {:?}", frame.format()), |b| {
            b.iter(|| assert!(crop.recut(&frame, &landmarks)));
        });
    }
}

criterion_group!(benches, letterbox, detector, crop);
criterion_main!(benches);
