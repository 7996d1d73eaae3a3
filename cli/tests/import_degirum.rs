//! `facectl import-degirum`: what it prints, and what it says with its exit status.

mod support;

use std::fs;
use std::process::Command;

use face_pipeline::service::config::Config;
use support::Answer;

fn run(folder: &tempfile::TempDir, arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_facectl"));
    command.arg("import-degirum").args(arguments).current_dir(folder);
    Answer::of(&command.output().unwrap())
}

#[test]
fn whole_translation_is_a_configuration_and_the_notes_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = "db_path: people.lance\nvideo_source: clip.mp4\nstorage: {endpoint: ./clips, access_key: '', \
                  secret_key: hunter2, bucket: faces}\nalerts: {alert_mode: ON_ALL}\n";
    fs::write(folder.path().join("theirs.yaml"), theirs).unwrap();
    let answer = run(&folder, &["theirs.yaml"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let config = Config::parse(&answer.stdout, folder.path()).unwrap();
    assert_eq!(config.cameras.len(), 1);
    for said in ["1:1: db_path: a LanceDB database is not read", "AWS_SECRET_ACCESS_KEY"] {
        assert!(answer.stderr.contains(said), "{answer:?}");
    }
    assert!(!answer.stdout.contains("hunter2") && !answer.stderr.contains("hunter2"));

    let answer = run(&folder, &["theirs.yaml", "-o", "ours.yaml"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, ""));
    Config::parse(&fs::read_to_string(folder.path().join("ours.yaml")).unwrap(), folder.path())
        .unwrap();
    run(&folder, &["theirs.yaml", "-o", "ours.yaml"]).is_error(2, &["ours.yaml"]);
}

#[test]
fn what_is_missing_in_a_translation_is_the_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "live_stream: {mode: LOCAL}\n").unwrap();
    let answer = run(&folder, &["a.yaml"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("1:15: live_stream.mode: not translated: "), "{answer:?}");
    assert!(answer.stdout.contains("version: 1"), "{answer:?}");
    fs::write(folder.path().join("b.yaml"), "a: [1\n").unwrap();
    run(&folder, &["b.yaml"]).is_error(2, &["b.yaml:", ": not YAML"]);
    run(&folder, &["nowhere.yaml"]).is_error(2, &["nowhere.yaml"]);
}
