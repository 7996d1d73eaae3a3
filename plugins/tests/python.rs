//! Python programs read the meta in a pad probe, with and without the GStreamer overrides.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const PYTHON: &str = "/usr/bin/python3";

/// Metas with every field, without a detector.
const PIPELINE: &str = "appsrc name=src ! facetrack ! videoconvert ! video/x-raw,format=I420 \
                        ! videoscale ! video/x-raw,width=80,height=60 ! facetrack \
                        ! fakesink name=sink";

/// The plugin that cargo linked for this very test run, in a folder of its own.
fn plugin_folder(temp: &Path) -> PathBuf {
    // `cargo test` leaves target/debug/libgstface.so as the last `cargo build` made it.
    let test = std::env::current_exe().unwrap();
    let library = test.parent().unwrap().join("libgstface.so");
    let folder = temp.join("plugins");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&library, folder.join("libgstface.so"))
        .unwrap_or_else(|e| panic!("{}: {e}", library.display()));
    folder
}

/// Runs tests/python/read_faces.py: what it printed per buffer.
fn read_faces(arguments: &[&str]) -> Vec<Value> {
    let temp = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/read_faces.py");
    let output = Command::new(PYTHON)
        .arg("-B")
        .arg(script)
        .args(arguments)
        .env("GST_PLUGIN_PATH", plugin_folder(temp.path()))
        .env("GST_REGISTRY", temp.path().join("registry.bin"))
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|e| panic!("{PYTHON}: {e}"));
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn python_is_missing() -> bool {
    let missing = !Path::new(PYTHON).exists();
    if missing {
        eprintln!("skipped: no {PYTHON}");
    }
    missing
}

/// A red picture through the whole chain, by the tiny models: two faces, both Ada's.
fn check_chain(overrides: &str) {
    if python_is_missing() {
        return;
    }
    common::init();
    let temp = tempfile::tempdir().unwrap();
    let gallery = temp.path().join("people.gallery");
    common::people::enroll(&gallery, "Ada", common::people::RED);
    let frames = read_faces(&[
        "--overrides",
        overrides,
        &format!(
            "videotestsrc num-buffers=3 pattern=red ! video/x-raw,format=RGB,width=128,height=64 \
             ! onnxfacedetect interval=1 model={} ! facetrack ! facerecognize confirm-count=1 model={} gallery={} \
             ! videoconvert ! video/x-raw,format=I420 ! fakesink name=sink",
            common::data("two_faces.onnx"),
            common::data("embedder.onnx"),
            gallery.display()
        ),
    ]);
    assert_eq!(frames.len(), 3);
    for frame in &frames {
        let faces = frame["faces"].as_array().unwrap();
        assert_eq!(faces.len(), 2, "{frame}");
        for face in faces {
            assert_eq!((&face["name"], &face["status"]), (&json!("Ada"), &json!("known")));
            let numbers = face["box"].as_array().unwrap();
            assert!(numbers.iter().all(|n| n.as_f64().is_some()), "{face}");
        }
    }
}

#[test]
fn names_of_the_whole_chain_are_read_with_overrides() {
    check_chain("required");
}

#[test]
fn names_of_the_whole_chain_are_read_without_overrides() {
    check_chain("blocked");
}

fn check(overrides: &str) {
    if python_is_missing() {
        return;
    }
    let frames = read_faces(&["--overrides", overrides, "--push", "5", PIPELINE]);
    let expected: Vec<Value> = (0..5)
        .map(|n| {
            json!({"frame_id": n, "looked": true, "faces": [{
                "id": 0,
                "box": [0.25, 0.5, 0.125, 0.25],
                "observed": true,
                "name": "Zoë 张",
                "status": "known",
                "track_id": 1,
                "landmarks": [0.0, 0.0625, 0.125, 0.1875, 0.25, 0.3125, 0.375, 0.4375, 0.5, 0.5625],
            }]})
        })
        .collect();
    assert_eq!(frames, expected);
}

#[test]
fn names_and_boxes_are_read_with_overrides() {
    check("required");
}

#[test]
fn names_and_boxes_are_read_without_overrides() {
    check("blocked");
}
