//! A frame that is searched, and faces that are embedded, cost the thread that asks a few small
//! allocations, always as many. In a process of its own, whose allocator counts; it counts those
//! of one thread, so that those of the thread that runs the model are not in it.

use std::path::Path;

use allocation_counter::{AllocationInfo, measure};
use face_core::align::AlignedCrop;
use face_core::detect::{DetectOptions, Detector};
use face_core::embed::Embedder;
use face_core::frame::{FrameView, PixelFormat};
use face_core::inference::{PoolOptions, Provider};
use face_core::model::{self, ResolvedModel, Task};

/// Most bytes of all allocations of a call together.
const FEW_BYTES: u64 = 4096;

/// A tiny model of tests/data, and the default one where it is.
fn models(task: Task, tiny: &str, default: &str) -> Vec<ResolvedModel> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(tiny);
    let tiny = model::resolve(path.to_str().expect("a path in Unicode"), task);
    let mut models = vec![tiny.expect("tests/data has it")];
    match model::resolve(default, task) {
        Ok(model) => models.push(model),
        Err(error) => eprintln!("skipped: {error}"),
    }
    models
}

fn options() -> PoolOptions {
    PoolOptions { provider: Provider::Cpu, threads: 1, ..PoolOptions::default() }
}

/// What calls cost after the first ones.
fn costs(mut call: impl FnMut()) -> Vec<AllocationInfo> {
    (0..4).for_each(|_| call());
    (0..5).map(|_| measure(&mut call)).collect()
}

fn assert_few(costs: &[AllocationInfo], what: &ResolvedModel) {
    let id = &what.spec.id;
    for cost in costs {
        assert_eq!(cost.count_total, costs[0].count_total, "{id}: {costs:?}");
        assert!(cost.bytes_total <= FEW_BYTES, "{id}: {costs:?}");
        assert_eq!(cost.count_current, 0, "{id}: what a call allocates it gives back");
    }
}

#[test]
fn searching_a_frame_costs_the_same_few_allocations_every_time() {
    let data: Vec<u8> = (0..640 * 360 * 3u32).map(|i| (i * 31 % 251) as u8).collect();
    let frame = FrameView::packed(PixelFormat::Rgb, 640, 360, &data).expect("as many bytes");
    for model in models(Task::Detector, "two_faces.onnx", model::DEFAULT_DETECTOR) {
        let mut detector = match Detector::load(&model, &options()) {
            Ok(detector) => detector,
            Err(error) => {
                eprintln!("skipped: {error}");
                return;
            }
        };
        let options = DetectOptions::of(&model.spec);
        let mut faces = Vec::with_capacity(64);
        let costs = costs(|| {
            detector.detect(&frame, &options, None, &mut faces).expect("the model runs");
        });
        assert_few(&costs, &model);
    }
}

#[test]
fn embedding_faces_costs_the_same_few_allocations_every_time() {
    let crops = [AlignedCrop::default(), AlignedCrop::default()];
    for model in models(Task::Embedder, "embedder.onnx", model::DEFAULT_EMBEDDER) {
        let mut embedder = match Embedder::load(&model, &options()) {
            Ok(embedder) => embedder,
            Err(error) => {
                eprintln!("skipped: {error}");
                return;
            }
        };
        let crops: Vec<&AlignedCrop> = crops.iter().collect();
        let costs = costs(|| drop(embedder.embed(&crops, None).expect("the model runs")));
        assert_few(&costs, &model);
    }
}
