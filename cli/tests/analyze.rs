//! `facectl analyze` and `facectl enroll --from-video` as a user runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn facectl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_facectl")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A clip, if it is here with the models and ONNX Runtime.
fn clip(name: &str) -> Option<PathBuf> {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media/video").join(name);
    let set = |name: &str| std::env::var_os(name).is_some();
    if clip.is_file() && set("GST_FACE_MODEL_PATH") && set("GST_FACE_ORT_PATH") {
        return clip.canonicalize().ok();
    }
    eprintln!("skipped: the shared media, models or ONNX Runtime are not here");
    None
}

#[test]
fn missing_video_is_named_with_status_2() {
    let output = facectl(&["analyze", "--gallery", "g.db", "/nowhere/a\u{1b}.mp4"]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("/nowhere/a\u{fffd}.mp4"), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    for arguments in [
        &["analyze", "-g", "g", "--every-face", "--interval", "3", "v.mp4"][..],
        &["analyze", "-g", "g", "--interval", "0", "v.mp4"],
        &["analyze", "-g", "g", "--threshold", "1.5", "v.mp4"],
        &["analyze", "-g", "g", "--embeddings", "v.mp4"],
        &["analyze", "-g", "g", "--samples", "v.mp4"],
        &["analyze", "-g", "g", "--json", "a.json", "--no-clusters", "v.mp4"],
        &["clips", "annotate", "--storage", "s"],
        &["clips", "annotate", "--storage", "s", "--all", "x.mp4"],
        &["enroll", "-g", "g", "--from-video", "v.mp4", "--name", "x"],
        &["enroll", "-g", "g", "--from-video", "v.mp4", "--seconds", "0"],
        &["enroll", "-g", "g", "--seconds", "3", "x.jpg"],
    ] {
        let output = facectl(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{arguments:?}");
    }
}

#[test]
fn real_people_of_a_video_are_enrolled_and_listed() {
    let Some(clip) = clip("head-pose-face-detection-female-and-male.mp4") else { return };
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("g.db");
    let (gallery, clip) = (gallery.to_str().unwrap(), clip.to_str().unwrap());
    let missing = facectl(&["analyze", "-g", gallery, clip]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains(gallery), "{}", text(&missing.stderr));

    let enrolled = facectl(&["enroll", "-g", gallery, "--from-video", clip, "--json"]);
    assert!(enrolled.status.success(), "{}", text(&enrolled.stderr));
    let lines: Vec<serde_json::Value> =
        text(&enrolled.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["name"], &lines[0]["verdict"]), (&"person-1".into(), &"enrolled".into()));

    assert!(lines.iter().all(|l| l["rejected"].is_array() && l["samples"] != 0), "{lines:?}");
    let shown = facectl(&["gallery", "show", "-g", gallery, "--json", "person-1"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    for sample in shown["stored"].as_array().unwrap() {
        assert_eq!((&sample["crop"], &sample["loose"]), (&true.into(), &false.into()), "{shown}");
    }

    let [json, report, sheet] = ["a.json", "a.html", "a.png"].map(|name| folder.path().join(name));
    let [json_path, report_path, sheet_path] =
        [&json, &report, &sheet].map(|p| p.to_str().unwrap());
    let files = ["--json", json_path, "--report", report_path, "--sheet", sheet_path];
    let output = facectl(&[&["analyze", "-g", gallery], &files[..], &[clip]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(report).unwrap();
    assert!(page.ends_with("</html>\n") && page.contains("<bdi>person-1</bdi>"), "{page}");
    // A card and a row for each of the two. The analysis itself was not asked for pictures.
    assert_eq!(page.matches("<img class=\"face\"").count(), 4, "{page}");
    assert!(std::fs::read(sheet).unwrap().starts_with(b"\x89PNG"));
    assert!(!std::fs::read_to_string(&json).unwrap().contains("best_shot"));
    let table = text(&output.stdout);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains("56 frames") && table.contains("person-2"), "{table}");
    let analysis: serde_json::Value =
        serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(analysis["schema"], "face-analysis/1");
    assert_eq!(analysis["models"]["embedder"], "mobilefacenet");
    assert_eq!(analysis["people"].as_array().unwrap().len(), 2);
}

#[test]
fn real_gate_refuses_faces_of_a_video_and_says_why() {
    let Some(clip) = clip("head-pose-face-detection-female-and-male.mp4") else { return };
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("g.db");
    let (gallery, clip) = (gallery.to_str().unwrap(), clip.to_str().unwrap());
    let enroll = |more: &[&str]| {
        let fixed = ["enroll", "-g", gallery, "--from-video", clip, "--seconds", "2"];
        facectl(&[&fixed[..], more].concat())
    };
    let huge = enroll(&["--min-face-size", "4000"]);
    assert_eq!(huge.status.code(), Some(2));
    let error = text(&huge.stderr);
    assert!(error.contains("nobody is on") && error.contains("small-face"), "{error}");
    assert!(!std::path::Path::new(gallery).exists());

    // Every picture of a person is like the first one, by this rule.
    let near = enroll(&["--near-duplicate", "0.2", "--json", "--store-crops", "loose"]);
    assert!(near.status.success(), "{}", text(&near.stderr));
    let line: serde_json::Value =
        serde_json::from_str(text(&near.stdout).lines().next().unwrap()).unwrap();
    assert_eq!((&line["verdict"], &line["samples"]), (&"enrolled".into(), &1.into()), "{line}");
    let rejected = line["rejected"].as_array().unwrap();
    assert!(!rejected.is_empty(), "{line}");
    for picture in rejected {
        assert_eq!(picture["reason"], "near-duplicate", "{line}");
        assert!(picture["pts_ns"].is_u64() && picture["detail"].is_string(), "{line}");
    }
    let forced = folder.path().join("forced.db");
    let forced = ["-g", forced.to_str().unwrap(), "--from-video", clip, "--seconds", "2"];
    let forced =
        facectl(&[&["enroll", "--near-duplicate", "0.2", "--force"], &forced[..]].concat());
    assert!(text(&forced.stdout).contains("  5 of "), "{}", text(&forced.stdout));
}

#[test]
fn real_interrupt_ends_with_130_and_leaves_nothing() {
    let Some(clip) = clip("short_hamilton_clip.mp4") else { return };
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("g.db");
    let heads = clip.with_file_name("head-pose-face-detection-female-and-male.mp4");
    let enrolled = facectl(&[
        "enroll",
        "-g",
        gallery.to_str().unwrap(),
        "--from-video",
        heads.to_str().unwrap(),
    ]);
    assert!(enrolled.status.success(), "{}", text(&enrolled.stderr));
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let entries = || std::fs::read_dir(&out).unwrap().count();
    let child = Command::new(env!("CARGO_BIN_EXE_facectl"))
        .args(["analyze", "--every-face", "-g"])
        .arg(&gallery)
        .arg("--annotate")
        .arg(out.join("copy.mp4"))
        .arg("--json")
        .arg(out.join("a.json"))
        .arg(&clip)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its temporary files say that it is at work.
    let deadline = Instant::now() + Duration::from_secs(30);
    while entries() == 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(entries(), 0);
}
