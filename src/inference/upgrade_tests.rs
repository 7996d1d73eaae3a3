//! The session swap, with sessions of the CPU in the place of CUDA and TensorRT.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::inference::load::Loader;
use crate::inference::{PoolOptions, runtime_path};
use crate::model::{self, Task};

/// Long enough for a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);
const SHAPE: [usize; 4] = [1, 3, 112, 112];

/// A session of a model of tests/data; `None`, and a word, where there is no runtime.
fn session(name: &str) -> Option<Session> {
    let options = PoolOptions { provider: Provider::Cpu, ..PoolOptions::default() };
    if let Err(error) = runtime_path(&options) {
        eprintln!("skipped: {error}");
        return None;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let model = model::resolve(path.to_str().unwrap(), Task::Embedder).unwrap();
    Some(Loader::new(&model, &options).unwrap().session(Provider::Cpu).unwrap())
}

fn better(session: Session) -> Better {
    let shapes = Shapes { least: SHAPE, usual: SHAPE, most: [4, 3, 112, 112] };
    let probe = Array4::from_shape_fn(SHAPE, |(_, c, y, _)| (c * 112 + y) as f32 / 400.0);
    Better { session, provider: Provider::TensorRt, shapes, probe, least_cosine: 0.999 }
}

fn run(engine: &mut Engine, shape: [usize; 4]) -> Result<Vec<ArrayD<f32>>, String> {
    outputs(engine.session_for(&shape), &Array4::from_elem(shape, 0.5))
}

/// Asks the engine for a session, as a worker does, until the state is no longer `building`.
fn until_decided(engine: &mut Engine, progress: &Progress) -> ProviderInfo {
    let (tick, begun) =
        (crossbeam_channel::tick(Duration::from_millis(5)), std::time::Instant::now());
    while progress.info().state == ProviderState::Building {
        assert!(begun.elapsed() < LIMIT, "nothing came");
        let _ = tick.recv();
        engine.session_for(&SHAPE);
    }
    progress.info()
}

#[test]
fn first_session_serves_until_the_better_one_is_built() {
    let (Some(first), Some(second)) = (session("embedder.onnx"), session("embedder.onnx")) else {
        return;
    };
    let progress = Progress::new(Provider::Cuda, None);
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let mut engine = Engine::improving(first, Provider::TensorRt, &progress, move || {
        gate.recv().map_err(|e| e.to_string())?;
        Ok(better(second))
    });
    let info = progress.info();
    assert_eq!((info.active, info.state), (Provider::Cuda, ProviderState::Building));
    assert!(info.note.unwrap().contains("tensorrt"));
    let changes = progress.changes();
    let before = run(&mut engine, SHAPE).unwrap();
    assert_eq!(progress.changes(), changes);
    go.send_timeout((), LIMIT).unwrap();
    let info = until_decided(&mut engine, &progress);
    let ready =
        ProviderInfo { active: Provider::TensorRt, state: ProviderState::Ready, note: None };
    assert_eq!(info, ready);
    assert!(progress.changes() > changes);
    assert_eq!(run(&mut engine, SHAPE).unwrap(), before);
}

#[test]
fn shapes_that_the_better_one_was_not_built_for_stay_with_the_first() {
    let (Some(first), Some(second)) = (session("embedder.onnx"), session("embedder.onnx")) else {
        return;
    };
    let progress = Progress::new(Provider::Cuda, None);
    let mut engine = Engine::plain(first);
    engine.adopt(better(second), &progress).unwrap();
    let address = |session: &mut Session| std::ptr::from_mut(session);
    let inside = address(engine.session_for(&[4, 3, 112, 112]));
    assert_eq!(inside, address(engine.session_for(&SHAPE)));
    assert_ne!(inside, address(engine.session_for(&[5, 3, 112, 112])));
    assert_ne!(inside, address(engine.session_for(&[1, 3, 96, 112])));
    assert_eq!(run(&mut engine, [5, 3, 112, 112]).unwrap()[0].shape(), [5, 12]);
}

#[test]
fn build_that_fails_or_panics_leaves_the_first_session_and_says_why() {
    type Build = fn() -> Result<Better, String>;
    let builds: [(Build, &str); 2] = [
        (|| Err("no space left".to_owned()), "no space left"),
        (|| panic!("as a broken library may make it"), "panicked"),
    ];
    for (build, reason) in builds {
        let Some(first) = session("embedder.onnx") else { return };
        let progress = Progress::new(Provider::Cuda, None);
        let mut engine = Engine::improving(first, Provider::TensorRt, &progress, build);
        let info = until_decided(&mut engine, &progress);
        assert_eq!((info.active, info.state), (Provider::Cuda, ProviderState::Failed));
        let note = info.note.unwrap();
        assert!(note.contains(reason) && note.contains("cuda goes on"), "{note}");
        run(&mut engine, SHAPE).unwrap();
    }
}

#[test]
fn session_that_computes_something_else_is_not_taken() {
    for (name, word) in [("embedder_coarse.onnx", "shape"), ("embedder_fails.onnx", "")] {
        let (Some(first), Some(other)) = (session("embedder.onnx"), session(name)) else { return };
        let progress = Progress::new(Provider::Cuda, None);
        let mut engine = Engine::plain(first);
        let mut other = better(other);
        // embedder_fails fails on what is nearly white.
        other.probe.fill(if name == "embedder_fails.onnx" { 0.99 } else { 0.5 });
        let reason = engine.adopt(other, &progress).unwrap_err();
        assert!(reason.contains(word), "{reason}");
        assert_eq!(progress.info().state, ProviderState::Failed);
        assert_eq!(run(&mut engine, SHAPE).unwrap()[0].shape(), [1, 12]);
    }
}

#[test]
fn build_of_a_pool_that_is_gone_ends_in_nothing() {
    let (Some(first), Some(second)) = (session("embedder.onnx"), session("embedder.onnx")) else {
        return;
    };
    let progress = Progress::new(Provider::Cuda, None);
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let (over, done) = crossbeam_channel::bounded(1);
    let engine = Engine::improving(first, Provider::TensorRt, &progress, move || {
        let _over: crossbeam_channel::Sender<()> = over;
        gate.recv().map_err(|e| e.to_string())?;
        Ok(better(second))
    });
    drop(engine);
    go.send_timeout((), LIMIT).unwrap();
    assert!(done.recv_timeout(LIMIT).unwrap_err().is_disconnected());
}

#[test]
fn cosine_of_what_is_no_number_is_never_enough() {
    let array =
        |values: &[f32]| ArrayD::from_shape_vec(vec![values.len()], values.to_vec()).unwrap();
    assert_eq!(cosine(&array(&[0.0, 0.0]), &array(&[0.0, 0.0])), 1.0);
    assert_eq!(cosine(&array(&[3.0, 4.0]), &array(&[6.0, 8.0])), 1.0);
    for other in [[f32::NAN, 1.0], [0.0, 0.0], [f32::INFINITY, 1.0]] {
        let enough = cosine(&array(&[3.0, 4.0]), &array(&other)) > 0.5;
        assert!(!enough, "{other:?}");
    }
}
