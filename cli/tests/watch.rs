//! `facectl watch` as a user runs it.

mod examples;
mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use examples::{RtspCamera, shared_media};
use serde_json::Value;
use support::{Answer, Setup};

/// facectl watch with the tiny models, of which the detector finds two faces on every picture.
fn watch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_facectl"));
    let models = [
        ["--detector".to_owned(), tiny::data("two_faces.onnx")],
        ["--embedder".to_owned(), tiny::data("embedder.onnx")],
        ["--threads".to_owned(), "1".to_owned()],
    ];
    command.arg("watch").args(models.concat()).args(arguments);
    command
}

fn answer(arguments: &[&str]) -> Answer {
    Answer::of(&watch(arguments).output().unwrap())
}

fn messages(output: &Output, name: &str) -> Vec<Value> {
    let lines = Answer::of(output).json();
    lines.into_iter().filter(|line| line["message"] == name).collect()
}

#[test]
fn t19_sources_and_settings_that_cannot_work_are_named() {
    answer(&["/nowhere/a\u{1b}.mp4"]).is_error(2, &["/nowhere/a\u{fffd}.mp4"]);
    answer(&["http://ada:secret@h/x"]).is_error(2, &["http://***@h/x", "rtsp://"]);
    for arguments in [
        &[][..],
        &["--silence", "0", "a.mp4"],
        &["--min-rate", "x", "a.mp4"],
        &["--set", "detector", "a.mp4"],
        &["--set", "window.x=1", "a.mp4"],
        &["--interval", "0", "a.mp4"],
    ] {
        let answer = answer(arguments);
        assert_eq!(answer.code, 2, "{arguments:?}");
        assert!(answer.stderr.starts_with("error: "), "{answer:?}");
    }
    let Some(_) = Setup::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let clip = tiny::clip(folder.path(), 1);
    answer(&["--set", "detector.max-faces=many", &clip])
        .is_error(2, &["onnxfacedetect", "max-faces", "'many'"]);
    answer(&["--min-rate=-1", &clip]).is_error(2, &["watchdog"]);
}

#[test]
fn t19_tracks_of_a_file_are_told_until_its_end() {
    let Some(_) = Setup::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let clip = tiny::clip(folder.path(), 2);
    let output = watch(&["--json", &clip]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(messages(&output, "face-track").len(), 2, "{output:?}");
    // Somebody else's settings are handed on.
    let output = watch(&["--json", "--set", "detector.max-faces=1", &clip]).output().unwrap();
    assert_eq!(messages(&output, "face-track").len(), 1, "{output:?}");
    let told = answer(&[&clip]);
    let ended = told.stdout.lines().filter(|l| l.contains(" ended, seen since 0:00.")).count();
    assert_eq!((told.code, ended), (0, 2), "{told:?}");
}

#[test]
fn t23_interrupt_ends_a_camera_with_130_and_a_lost_one_is_an_error() {
    let Some(_) = Setup::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let clip = tiny::clip(folder.path(), 30);
    let Some(camera) = RtspCamera::serve(clip.as_ref()) else { return };
    let mut child = watch(&["--json", "--min-rate", "1000", "--silence", "2", &camera.address])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The camera sends 15 frames per second: less than is asked for.
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stall = lines
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
        .find(|line| line["message"] == "face-stall")
        .unwrap();
    assert_eq!(
        (&stall["stalled"], &stall["reason"]),
        (&true.into(), &"low-rate".into()),
        "{stall}"
    );
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let address = camera.address.clone();
    drop(camera);
    answer(&["--set", "source.max-retries=0", &address]).is_error(2, &[&address]);
}

#[test]
fn real_t19_names_are_told_as_they_are_found() {
    let (Some(setup), Some(media)) = (Setup::new(), shared_media()) else { return };
    let clip = media.join("video/short_hamilton_clip.mp4");
    let gallery = setup.people();
    let told = setup.run(&["watch", "--gallery", &gallery, clip.to_str().unwrap()]);
    assert_eq!(told.code, 0, "{told:?}");
    for name in ["lin-manuel-miranda", "barack-obama"] {
        assert!(told.stdout.contains(&format!(" is {name} (0.")), "{told:?}");
    }
}
