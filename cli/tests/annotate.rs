//! `facectl analyze` of stored clips and `facectl clips annotate`, on the tiny models: over a folder,
//! and over buckets where there are servers.

#[path = "../../tests/support/s3.rs"]
mod s3;
mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::fs;
use std::path::Path;
use std::process::Command;

use face_core::clip::{ClipName, KeyTemplate, utc};
use face_core::storage::Storage;
use gst::prelude::*;
use support::{Answer, Setup, keys};

/// Clips in a storage, and where commands run.
struct Scene {
    setup: Setup,
    uri: String,
    /// What the storage needs to be known.
    environment: Vec<(&'static str, String)>,
    good: String,
    other: String,
    broken: String,
}

impl Scene {
    fn in_folder() -> Option<Scene> {
        let setup = Setup::new()?;
        let uri = setup.path("clips");
        Scene::fill(setup, &Storage::open(&uri).unwrap(), uri.clone(), Vec::new())
    }

    /// Two clips of two cameras that can be looked at, and one that cannot.
    fn fill(
        setup: Setup,
        storage: &Storage,
        uri: String,
        environment: Vec<(&'static str, String)>,
    ) -> Option<Scene> {
        let video = setup.path("made.mp4");
        make(&video);
        let store = |camera: &str, bytes: &[u8]| {
            let start = utc::parse("2026-01-02T03:04:05.678Z").unwrap();
            let name = ClipName { prefix: "", camera, start, event: "unknown-face", id: "1" };
            let stem = KeyTemplate::default().stem(&name);
            storage.put(&format!("{stem}.mp4"), bytes).unwrap();
            stem
        };
        let bytes = fs::read(video).unwrap();
        let (good, other) = (store("door", &bytes), store("yard", &bytes));
        let broken = store("attic", b"this is no video");
        Some(Scene { setup, uri, environment, good, other, broken })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.setup.command(arguments);
        let (detector, embedder) = (tiny::data("two_faces.onnx"), tiny::data("embedder.onnx"));
        command.args(["--threads", "1", "--detector", &detector, "--embedder", &embedder]);
        command.current_dir(self.setup.path(""));
        command.env_remove("GST_FACE_STORAGE").envs(self.environment.clone());
        command
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(&self.command(arguments).output().unwrap())
    }

    /// Which of the clips have an annotated copy.
    fn annotated(&self) -> Vec<bool> {
        let mut command = self.setup.command(&["clips", "list", "--json", "--storage", &self.uri]);
        command.envs(self.environment.clone());
        let found = Answer::of(&command.output().unwrap()).json();
        [&self.good, &self.other, &self.broken]
            .map(|stem| {
                let clip = found.iter().find(|clip| clip["clip"] == stem.as_str()).unwrap();
                clip["annotated"] == format!("{stem}_annotated.mp4").as_str()
            })
            .into()
    }
}

/// A second of colour with sound.
fn make(video: &str) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(&format!(
        "mp4mux name=m ! filesink location={video} videotestsrc num-buffers=30 pattern=checkers-4 ! \
         video/x-raw,width=64,height=64,framerate=30/1 ! videoconvert ! x264enc ! h264parse ! m. \
         audiotestsrc num-buffers=48 samplesperbuffer=1000 ! audio/x-raw,rate=48000 ! \
         audioconvert ! avenc_aac ! aacparse ! m."
    ))
    .unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let timeout = gst::ClockTime::from_seconds(60);
    let end = pipeline.bus().unwrap().timed_pop_filtered(timeout, &wanted).unwrap();
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
}

/// What is the same over a folder and over a bucket.
fn clips_are_analysed_and_annotated(scene: &Scene) {
    let json = scene.setup.path("a.json");
    let (uri, key) = (scene.uri.as_str(), format!("{}.mp4", scene.good));
    let answer = scene.run(&["analyze", &key, "--storage", uri, "--no-annotate"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.contains(&key) && answer.stdout.contains("30 frames"), "{answer:?}");
    assert_eq!(scene.annotated(), [false; 3]);

    let more = ["--storage", uri, "--json", &json, "--group", "--samples"];
    let answer = scene.run(&[&["analyze", &scene.good][..], &more].concat());
    assert_eq!(answer.code, 0, "{answer:?}");
    let rows = answer.stdout.lines().filter(|line| line.starts_with("unknown ")).count();
    assert_eq!(rows, 2, "{answer:?}");
    assert!(answer.stderr.contains(&format!("{}_annotated.mp4", scene.good)), "{answer:?}");
    assert_eq!(scene.annotated(), [true, false, false]);
    let analysis: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert!(analysis["source"].as_str().unwrap().ends_with(&key), "{analysis}");
    for track in analysis["tracks"].as_array().unwrap() {
        assert!(track["samples"][0]["crop"].is_string() && track["best_shot"].is_string());
        assert!(track["group"].is_u64(), "{track}");
    }

    // One clip that cannot be read keeps no other from it.
    let answer = scene.run(&["clips", "annotate", "--all", "--storage", uri, "--json"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let lines = answer.json();
    let verdict = |stem: &str| {
        let line = lines.iter().find(|line| line["clip"] == stem);
        line.map(|line| line["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(lines.len(), 2, "{answer:?}");
    assert_eq!(verdict(&scene.other).as_deref(), Some("annotated"), "{answer:?}");
    assert_eq!(verdict(&scene.broken).as_deref(), Some("failed"), "{answer:?}");
    let error = lines.iter().find_map(|line| line["error"].as_str()).unwrap();
    assert!(error.contains(&scene.broken), "{error}");
    assert_eq!(scene.annotated(), [true, true, false]);
    let help = scene.run(&["clips", "annotate", "--help"]).stdout;
    let help: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for key in keys(answer.stdout.lines().next().unwrap()) {
        assert!(help.contains(&key), "{key} is not in the help");
    }

    let answer =
        scene.run(&["clips", "annotate", &scene.other, &key, &scene.good, "--storage", uri]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.stdout.matches("skipped    ").count(), 2, "one clip is named twice");
    assert!(answer.stdout.ends_with("0 clips annotated, 2 annotated before, 0 failed\n"));
    let answer =
        scene.run(&["clips", "annotate", "--all", "--camera", "yard", "--again", "--storage", uri]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.starts_with(&format!("annotated  {}", scene.other)), "{answer:?}");
    assert_eq!(answer.stdout.lines().count(), 2);
}

#[test]
fn t14_clips_of_a_folder_are_analysed_and_annotated() {
    let Some(scene) = Scene::in_folder() else { return };
    clips_are_analysed_and_annotated(&scene);
}

#[test]
fn t14_clips_of_buckets_are_analysed_and_annotated() {
    for server in s3::servers() {
        let Some(setup) = Setup::new() else { return };
        let uri = server.uri(&server.new_bucket(), "north");
        let storage = server.try_open(&uri, &s3::HASTY).unwrap();
        let environment = vec![
            ("AWS_ACCESS_KEY_ID", server.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", server.secret.clone()),
        ];
        let Some(scene) = Scene::fill(setup, &storage, uri.clone(), environment) else { return };
        clips_are_analysed_and_annotated(&scene);
        let (place, query) = uri.split_once('?').unwrap();
        let address = format!("{place}/{}.mp4?{query}", scene.good);
        let answer = scene.run(&["analyze", &address, "--no-annotate"]);
        assert!(answer.code == 0 && answer.stdout.contains("30 frames"), "{answer:?}");
    }
}

#[test]
fn key_and_file_are_not_confused() {
    let Some(scene) = Scene::in_folder() else { return };
    let key = "2026.mp4";
    let path = scene.setup.path(key);
    fs::copy(scene.setup.path("made.mp4"), &path).unwrap();
    fs::copy(&path, Path::new(&scene.uri).join(key)).unwrap();
    let with_storage = |arguments: &[&str]| {
        let mut command = scene.command(arguments);
        Answer::of(&command.env("GST_FACE_STORAGE", &scene.uri).output().unwrap())
    };
    let twin = Path::new(&scene.uri).join("2026_annotated.mp4");
    // A file that is here wins over the environment's storage, not over one that is named.
    let answer = with_storage(&["analyze", key]);
    assert!(answer.code == 0 && answer.stdout.starts_with("2026.mp4: "), "{answer:?}");
    assert!(!twin.exists() && !Path::new(&scene.setup.path("2026_annotated.mp4")).exists());
    let answer = scene.run(&["analyze", key, "--storage", &scene.uri, "--no-annotate"]);
    assert!(answer.code == 0 && answer.stdout.starts_with("file:///"), "{answer:?}");
    fs::remove_file(&path).unwrap();
    let answer = with_storage(&["analyze", key, "--annotate", "here.mp4"]);
    assert!(answer.code == 0 && answer.stdout.starts_with("file:///"), "{answer:?}");
    assert!(fs::read(&twin).unwrap() == fs::read(scene.setup.path("here.mp4")).unwrap());
    let address = format!("file://{}/{key}", scene.uri);
    let answer = scene.run(&["analyze", &address, "--no-annotate"]);
    assert_eq!(answer.code, 0, "{answer:?}");

    let answer = with_storage(&["analyze", "nothing.mp4"]);
    answer.is_error(2, &["'nothing.mp4'", "neither a file nor a clip of 'file:///"]);
    with_storage(&["analyze", "../nothing.mp4"]).is_error(2, &["neither a file nor a clip"]);
    scene.run(&["analyze", "nothing.mp4"]).is_error(2, &["no such file", "--storage"]);
    let answer = scene.run(&["analyze", "nothing.mp4", "--storage", &scene.uri]);
    answer.is_error(2, &["'nothing.mp4' is no clip of 'file:///"]);
    scene.run(&["analyze", "s3://bucket"]).is_error(2, &["s3://BUCKET/KEY"]);
}

#[test]
fn what_is_wrong_with_every_clip_ends_it_at_once() {
    let Some(scene) = Scene::in_folder() else { return };
    let gallery = scene.setup.path("typo.gallery");
    let annotate = ["clips", "annotate", "--storage", &scene.uri];
    let answer = scene.run(&[&annotate[..], &["--all", "--gallery", &gallery]].concat());
    answer.is_error(2, &["typo.gallery"]);
    let answer = scene.run(&[&annotate[..], &["--camera", "door", &scene.good]].concat());
    answer.is_error(2, &["--all"]);
    let answer = scene.run(&[&annotate[..], &["nothing", &scene.good]].concat());
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("'nothing'") && answer.stdout.contains("1 clip annotated"));
    assert_eq!(scene.annotated(), [true, false, false]);
}
