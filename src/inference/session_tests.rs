//! Batches of the tiny models of tests/data, on the CPU.

use std::path::Path;

use ndarray::Array4;

use super::super::load::{self, Loader};
use super::super::{PoolOptions, Provider, Request};
use super::*;
use crate::model::{Task, resolve};
use crate::onnx::testing::Tiny;

/// A session of `file`, or of other bytes in its place; `None` without ONNX Runtime.
fn session(file: &str, task: Task, bytes: Option<Vec<u8>>) -> Option<Session> {
    let options = PoolOptions { provider: Provider::Cpu, ..PoolOptions::default() };
    let _building = load::building();
    if let Err(error) = load::runtime(&options) {
        eprintln!("skipped: {error}");
        return None;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let model = resolve(path.to_str().unwrap(), task).unwrap();
    let mut loader = Loader::new(&model, &options).unwrap();
    loader.bytes = bytes.unwrap_or(loader.bytes);
    Some(loader.session(Provider::Cpu).unwrap())
}

fn request(shape: (usize, usize, usize, usize), seed: usize) -> Request {
    let value = |(_, c, y, x)| ((seed * 31 + c * 17 + y * 7 + x) % 251) as f32;
    Request { input: Array4::from_shape_fn(shape, value), ..Request::default() }
}

#[test]
fn batch_gives_each_request_what_it_gets_alone() {
    for (file, task, shape) in [
        ("embedder.onnx", Task::Embedder, (1, 3, 112, 112)),
        ("colours.onnx", Task::Detector, (1, 3, 64, 96)),
        // Two pictures in a request.
        ("embedder.onnx", Task::Embedder, (2, 3, 112, 112)),
    ] {
        let Some(session) = session(file, task, None) else { return };
        assert!(has_free_batch(&session));
        let mut runner = SessionRunner::new(Engine::plain(session));
        let mut together: Vec<Request> = (0..5).map(|seed| request(shape, seed)).collect();
        runner.run(&mut together).unwrap();
        assert!(runner.keeps_apart);
        for (seed, batched) in together.iter().enumerate() {
            let mut alone = request(shape, seed);
            runner.run(std::slice::from_mut(&mut alone)).unwrap();
            assert!(!alone.outputs.is_empty());
            assert_eq!(alone.outputs, batched.outputs, "{file}");
        }
    }
}

#[test]
fn model_of_a_fixed_batch_is_not_batched() {
    let Some(session) = session("boxes_only.onnx", Task::Detector, None) else { return };
    assert!(!has_free_batch(&session));
}

/// Its rows are those of all pictures, and how many there are is free, too.
fn mixes_pictures() -> Vec<u8> {
    let mut file = Tiny::new()
        .input("input", &[-1, 1, 2, 2])
        .initializer("shape", &[-1, 2], true)
        .node("Reshape", &["input", "shape"], "rows")
        .output("rows", &[-1, 2])
        .file();
    // The opset that ONNX Runtime asks for: version 17 of the operators of ONNX.
    file.extend([0x42, 2, 0x10, 17]);
    file
}

#[test]
fn model_that_mixes_the_pictures_of_a_batch_runs_them_one_by_one() {
    let bytes = Some(mixes_pictures());
    let Some(session) = session("embedder.onnx", Task::Embedder, bytes) else { return };
    assert!(has_free_batch(&session));
    let mut runner = SessionRunner::new(Engine::plain(session));
    let mut requests: Vec<Request> = (0..3).map(|seed| request((1, 1, 2, 2), seed)).collect();
    let error = runner.run(&mut requests).unwrap_err();
    assert_eq!(error, "output 0 of a batch is [6, 2]");
    runner.run(&mut requests).unwrap();
    for request in &requests {
        assert_eq!(request.outputs[0].shape(), [2, 2]);
        assert_eq!(request.output(0), request.input.as_slice().unwrap());
    }
}

#[test]
fn output_keeps_its_memory_while_the_shape_is_the_same() {
    let Some(session) = session("embedder.onnx", Task::Embedder, None) else { return };
    let mut runner = SessionRunner::new(Engine::plain(session));
    let mut request = request((1, 3, 112, 112), 1);
    runner.run(std::slice::from_mut(&mut request)).unwrap();
    let memory = request.output(0).as_ptr();
    runner.run(std::slice::from_mut(&mut request)).unwrap();
    assert_eq!(request.output(0).as_ptr(), memory);
    request.input = Array4::zeros((3, 3, 112, 112));
    runner.run(std::slice::from_mut(&mut request)).unwrap();
    assert_eq!(request.outputs[0].shape(), [3, 12]);
}

#[test]
fn run_costs_the_same_few_small_allocations_every_time() {
    for (file, task, shape) in [
        ("embedder.onnx", Task::Embedder, (1, 3, 112, 112)),
        ("two_faces.onnx", Task::Detector, (1, 3, 384, 640)),
    ] {
        let Some(session) = session(file, task, None) else { return };
        let mut runner = SessionRunner::new(Engine::plain(session));
        for count in [1, 3] {
            let mut requests: Vec<Request> = (0..count).map(|seed| request(shape, seed)).collect();
            let mut run = || {
                runner.run(&mut requests).unwrap();
            };
            (0..3).for_each(|_| run());
            let costs: Vec<_> = (0..4).map(|_| allocation_counter::measure(&mut run)).collect();
            for cost in &costs {
                assert_eq!(cost.count_total, costs[0].count_total, "{file}: {costs:?}");
                // What is there at a time, all together: so none is larger.
                assert!(cost.bytes_max <= 4096, "{file}: {costs:?}");
            }
        }
    }
}
