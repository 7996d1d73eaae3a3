//! Python programs read the meta in a pad probe, with and without the GStreamer overrides.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const PYTHON: &str = "/usr/bin/python3";

/// The pipeline under test. With a detector it would begin at a file, and not at `appsrc`.
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

fn check(overrides: &str) {
    if !Path::new(PYTHON).exists() {
        eprintln!("skipped: no {PYTHON}");
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
