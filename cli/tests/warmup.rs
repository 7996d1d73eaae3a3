//! `facectl models warmup`, and providers that cannot be used.

mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::process::Command;

use face_core::inference::{self, PoolOptions, Provider};
use support::{Answer, Setup};
use tiny::data;

/// The answer, or a word where there is no runtime.
fn facectl(arguments: &[&str]) -> Option<Answer> {
    if let Err(error) = inference::runtime_path(&PoolOptions::default()) {
        eprintln!("skipped: {error}");
        return None;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_facectl")).args(arguments).output().unwrap();
    Some(Answer::of(&output))
}

#[test]
fn provider_that_builds_nothing_only_loads_the_models() {
    let (detector, embedder) = (data("two_faces.onnx"), data("embedder.onnx"));
    let arguments = ["models", "warmup", "--provider", "cpu", &detector, &embedder];
    let Some(answer) = facectl(&arguments) else { return };
    assert_eq!(answer.code, 0, "{answer:?}");
    let lines: Vec<_> = answer.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{answer:?}");
    assert_eq!(lines[1], format!("{embedder}: loads on cpu, which builds nothing"));
}

#[test]
fn model_that_is_no_model_does_not_keep_the_others_from_being_loaded() {
    let (bad, good) = (data("embedder.toml"), data("embedder.onnx"));
    let arguments = ["models", "warmup", "--provider", "cpu", &bad, "nobody", &good];
    let Some(answer) = facectl(&arguments) else { return };
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains(&bad) && answer.stderr.contains("nobody"), "{answer:?}");
    assert!(answer.stdout.starts_with(&good), "{answer:?}");
}

#[test]
fn provider_that_is_not_there_is_named_with_what_is_missing() {
    let detector = data("two_faces.onnx");
    let Some(answer) = facectl(&["models", "warmup", &detector]) else { return };
    let present = inference::providers_present(&PoolOptions::default()).unwrap();
    if present.contains(&Provider::TensorRt) {
        eprintln!("skipped: this ONNX Runtime has TensorRT");
        return;
    }
    let library = "libonnxruntime_providers_tensorrt.so";
    answer.is_error(1, &["provider tensorrt cannot be used", library]);
}
