//! `facectl clips`, over a folder, and over a bucket where there is a server.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use face_core::clip::{ClipName, Face, Frame, KeyTemplate, Sidecar, SidecarTrack, Trigger, utc};
use face_core::storage::Storage;
use support::{Answer, keys};
use tempfile::TempDir;

/// A folder with two clips, one of them without a sidecar.
struct Scene {
    folder: TempDir,
    uri: String,
    ada: String,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let uri = folder.path().join("clips").to_str().unwrap().to_owned();
        let storage = Storage::open(&uri).unwrap();
        let ada = fill(&storage);
        Self { folder, uri, ada }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_facectl"));
        command.arg("clips").args(arguments).env("GST_FACE_STORAGE", &self.uri);
        command.current_dir(self.folder.path()).stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(&self.command(arguments).output().unwrap())
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

fn fill(storage: &Storage) -> String {
    let start = utc::parse("2026-01-02T03:04:05.678Z").unwrap();
    let name = ClipName { prefix: "", camera: "front door", start, event: "known-face", id: "1" };
    let stem = KeyTemplate::default().stem(&name);
    let ada = Some("Ada".to_owned());
    let sidecar = Sidecar {
        camera: "front door".to_owned(),
        start_utc: Some("2026-01-02T03:04:05.678Z".to_owned()),
        duration_ns: 5_000_000_000,
        triggers: vec![Trigger {
            event: "known-face".to_owned(),
            name: ada.clone(),
            ..Trigger::default()
        }],
        tracks: vec![SidecarTrack { name: ada.clone(), ..SidecarTrack::default() }],
        frames: vec![Frame {
            faces: vec![Face { name: ada, ..Face::default() }],
            ..Frame::default()
        }],
        ..Sidecar::default()
    };
    storage.put(&format!("{stem}.mp4"), &[7; 2048]).unwrap();
    storage.put(&format!("{stem}.json"), &sidecar.to_json(false).unwrap()).unwrap();
    storage.put(&format!("{stem}.jpg"), b"jpeg").unwrap();
    storage.put("odd\u{1b}[31m.txt", b"").unwrap_err();
    storage.put("old/00000123.mp4", b"old").unwrap();
    storage.put("notes.txt", b"no clip").unwrap();
    stem
}

#[test]
fn clips_are_listed_and_found_by_person() {
    let scene = Scene::new();
    let answer = scene.run(&["list"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let lines: Vec<_> = answer.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", answer.stdout);
    assert!(lines[1].contains("? (no sidecar)") && lines[1].ends_with("old/00000123"));
    for part in
        ["2026-01-02T03:04:05.678Z", "5.0", "v-js", "front door", "known-face", "Ada", &scene.ada]
    {
        assert!(lines[2].contains(part), "{part}: {}", lines[2]);
    }
    assert!(lines[3].starts_with("2 clips, "));

    let answer = scene.run(&["list", "--json", "--person", "Ada"]);
    let records = answer.json();
    assert_eq!(records.len(), 1, "{answer:?}");
    assert_eq!(records[0]["clip"], scene.ada.as_str());
    assert_eq!(records[0]["people"][0]["name"], "Ada");
    assert_eq!(records[0]["annotated"], serde_json::Value::Null);
    let help = scene.run(&["list", "--help"]).stdout.replace('\n', " ");
    let help: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for key in keys(answer.stdout.trim()) {
        assert!(help.contains(&key), "{key} is not in the help");
    }
    for (option, value, count) in [
        ("--camera", "front door", 1),
        ("--camera", "yard", 0),
        ("--event", "known-face", 1),
        ("--since", "2026-01-02", 2),
        ("--until", "2026-01-02", 0),
        ("--until", "2026-01-03", 1),
        ("--person", "nobody", 0),
    ] {
        let answer = scene.run(&["list", "--json", option, value]);
        assert_eq!((answer.code, answer.json().len()), (0, count), "{option} {value}: {answer:?}");
    }
}

#[test]
fn clip_is_fetched_played_and_linked() {
    let scene = Scene::new();
    let answer = scene.run(&["get", &scene.ada, "--out", "clip.mp4"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "clip.mp4\n"), "{answer:?}");
    assert_eq!(fs::read(scene.file("clip.mp4")).unwrap(), [7; 2048]);
    let key = format!("{}.json", scene.ada);
    let answer = scene.run(&["get", &key, "--part", "snapshot", "--json"]);
    let name = answer.json()[0]["file"].as_str().unwrap().to_owned();
    assert!(name.ends_with(".jpg") && !name.contains('/'), "{name}");
    assert_eq!(fs::read(scene.file(&name)).unwrap(), b"jpeg");

    let player = scene.file("player.sh");
    fs::write(&player, "#!/bin/sh\nwc -c < \"$1\"\ndirname \"$1\" > folder\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&player, mode).unwrap();
    let answer = scene.run(&["play", &scene.ada, "--player", "./player.sh"]);
    assert_eq!((answer.code, answer.stdout.trim()), (0, "2048"), "{answer:?}");
    let folder = fs::read_to_string(scene.file("folder")).unwrap();
    assert!(!Path::new(folder.trim()).exists(), "nothing is left behind");
    scene.run(&["play", &scene.ada, "--player", "false"]).is_error(2, &["'false'"]);

    let answer = scene.run(&["link", &scene.ada, "--json"]);
    let record = &answer.json()[0];
    assert!(record["url"].as_str().unwrap().starts_with("file:///"), "{answer:?}");
    assert_eq!(record["expires"], serde_json::Value::Null);
    scene.run(&["link", &scene.ada, "--part", "annotated"]).is_error(2, &["no annotated"]);
    scene.run(&["get", "nothing"]).is_error(2, &["'nothing'", "no clip"]);
}

#[test]
fn removing_needs_consent() {
    let scene = Scene::new();
    for arguments in [
        &["remove", &scene.ada][..],
        &["clear"],
        &["prune", "--older-than", "1d"],
        &["prune", "--person", "Ada"],
        &["forget", "Ada"],
    ] {
        scene.run(arguments).is_error(2, &["--yes"]);
    }
    assert_eq!(scene.run(&["list", "--json"]).json().len(), 2, "nothing was removed");
    assert_eq!(scene.run(&["prune", "--yes"]).code, 2, "what to prune must be said");

    let answer = scene.run(&["prune", "--max-bytes", "1K", "--dry-run"]);
    assert!(answer.stdout.contains(&scene.ada), "{answer:?}");
    let answer = scene.run(&["prune", "--max-bytes", "1K", "--yes", "--json"]);
    assert_eq!(answer.json()[0]["clips"], 1, "{answer:?}");
    assert_eq!(scene.run(&["list", "--json"]).json().len(), 1);
    let answer = scene.run(&["remove", "old/00000123.mp4", "old/00000123", "--yes", "--json"]);
    assert_eq!(answer.json()[0]["clips"], 1, "{answer:?}");
    assert_eq!(scene.run(&["clear", "--yes", "--json"]).json()[0]["clips"], 0);
    assert!(Path::new(&scene.uri).join("notes.txt").is_file());
}

#[test]
fn person_is_forgotten_with_or_without_the_clip() {
    let scene = Scene::new();
    let answer = scene.run(&["forget", "Ada", "--yes", "--json"]);
    assert_eq!((answer.code, &answer.json()[0]["sidecars"]), (0, &1.into()), "{answer:?}");
    assert_eq!(answer.json()[0]["pictures"], 1);
    assert_eq!(scene.run(&["list", "--json", "--person", "Ada"]).json().len(), 0);
    assert_eq!(scene.run(&["list", "--json"]).json().len(), 2);

    let scene = Scene::new();
    fs::write(Path::new(&scene.uri).join("old/00000123.json"), "{").unwrap();
    let answer = scene.run(&["forget", "Ada", "--clips", "--yes"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains("1 clip removed"), "{answer:?}");
    assert!(answer.stderr.contains("old/00000123"), "{answer:?}");
    assert_eq!(scene.run(&["list", "--json"]).json().len(), 1);
}

#[test]
fn clips_are_exported_under_their_keys() {
    let scene = Scene::new();
    let answer = scene.run(&["export", "--out", "copy", "--person", "Ada", "--json"]);
    assert_eq!((answer.code, &answer.json()[0]["objects"]), (0, &3.into()), "{answer:?}");
    assert!(scene.file("copy").join(format!("{}.mp4", scene.ada)).is_file());
    let answer = scene.run(&["list", "--storage", "copy", "--json"]);
    assert_eq!(answer.json().len(), 1, "{answer:?}");
    let answer = scene.run(&["export", "--out", "one", "old/00000123", "--json"]);
    assert_eq!(answer.json()[0]["clips"], 1, "{answer:?}");
}

#[test]
fn storage_that_is_not_there_is_named() {
    let scene = Scene::new();
    let answer =
        Answer::of(&scene.command(&["list"]).env_remove("GST_FACE_STORAGE").output().unwrap());
    answer.is_error(2, &["--storage", "GST_FACE_STORAGE"]);
    scene.run(&["list", "--storage", "typo"]).is_error(2, &["typo"]);
    assert!(!scene.file("typo").exists(), "what reads makes no folders");
    scene.run(&["list", "--storage", "s3://bucket?color=x"]).is_error(2, &["'color'"]);
    scene.run(&["list", "--storage", "s3://me:hunter2@bucket"]).is_error(2, &["AWS_ACCESS_KEY_ID"]);
    let answer = scene.run(&["list", "--key-template", "{camera}"]);
    assert!(answer.code == 2 && answer.stderr.contains("{hash}"), "{answer:?}");
}

#[test]
fn bucket_is_as_good_as_a_folder() {
    let get = |name: &str| std::env::var(name).unwrap_or_default();
    let servers = get("GST_FACE_TEST_S3");
    let Some(endpoint) = servers.split_whitespace().find_map(|s| s.strip_prefix("s3s=")) else {
        eprintln!("skipped: GST_FACE_TEST_S3 names no s3s (scripts/test.sh starts it)");
        return;
    };
    let bucket = format!("cli-{}", std::process::id());
    let uri = format!("s3://{bucket}/north?endpoint={endpoint}&allow-http=true");
    let (key, secret) = (get("GST_FACE_TEST_S3_KEY"), get("GST_FACE_TEST_S3_SECRET"));
    let environment = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(key.clone()),
        "AWS_SECRET_ACCESS_KEY" => Some(secret.clone()),
        _ => None,
    };
    let storage = Storage::open_in(&uri, &Default::default(), &environment).unwrap();
    let ada = fill(&storage);
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene { folder, uri, ada };
    let run = |arguments: &[&str]| {
        let mut command = scene.command(arguments);
        command.env("AWS_ACCESS_KEY_ID", &key).env("AWS_SECRET_ACCESS_KEY", &secret);
        Answer::of(&command.output().unwrap())
    };
    let answer = run(&["list", "--person", "Ada", "--json"]);
    assert_eq!(answer.json().len(), 1, "{answer:?}");
    let answer = run(&["link", &scene.ada]);
    assert!(answer.stdout.contains("X-Amz-Signature="), "{answer:?}");
    assert!(answer.stderr.contains("good until"), "{answer:?}");
    let answer = run(&["get", &scene.ada, "--out", "clip.mp4"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(fs::read(scene.file("clip.mp4")).unwrap().len(), 2048);
    // Without credentials.
    let answer = Answer::of(
        &scene
            .command(&["list"])
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HOME", "/nonexistent")
            .output()
            .unwrap(),
    );
    answer.is_error(2, &["no credentials", "AWS_ACCESS_KEY_ID"]);
    let answer = run(&["clear", "--yes", "--json"]);
    assert_eq!(answer.json()[0]["clips"], 2, "{answer:?}");
}
