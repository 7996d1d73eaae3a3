//! The real `facectl models` against a server on loopback.

#[path = "../../tests/support/http.rs"]
mod http;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use http::{Reply, Server};

const DETECTOR: &str = "yunet_n_dynamic";
const FILE: &str = "face_detection_yunet_n_dynamic.onnx";

/// `facectl` with a home and a search path of its own.
fn facectl(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_facectl"));
    command
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env_remove("GST_FACE_MODEL_PATH")
        .stdin(Stdio::null());
    command
}

fn run(home: &Path, args: &[&str]) -> Output {
    facectl(home).arg("models").args(args).output().expect("facectl can be started")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("output is UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("output is UTF-8")
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn data(home: &Path) -> PathBuf {
    home.join("data/gst-face/models")
}

/// The real model `FILE`, if it is here.
fn real_model() -> Option<Vec<u8>> {
    let listed = std::env::var_os("GST_FACE_MODEL_PATH").unwrap_or_default();
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models");
    let mut folders = std::env::split_paths(&listed).chain([beside]);
    let found = folders.find_map(|folder| std::fs::read(folder.join(FILE)).ok());
    if found.is_none() {
        eprintln!("skipped: {FILE} is not here");
    }
    found
}

/// Runs `models fetch DETECTOR` with the server as a mirror.
fn fetch(home: &Path, server: &Server) -> Output {
    run(home, &["fetch", DETECTOR, "--url", &server.url("/m.onnx")])
}

#[test]
fn list_tells_licence_address_and_what_is_installed() {
    let home = home();
    let output = run(home.path(), &["list"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line = |name: &str| {
        let mut lines = stdout(&output).lines();
        lines.find(|line| line.split(' ').next() == Some(name)).expect("a line per model")
    };
    assert!(line(DETECTOR).contains("Apache-2.0") && line(DETECTOR).contains("322.9 kB"));
    assert!(line(DETECTOR).contains("address not verified") && line(DETECTOR).contains(" no"));
    assert!(line("mobilefacenet_dynamic").contains("bring your own file"));
    let scrfd = line("scrfd_500m_bnkps");
    assert!(scrfd.contains("non-commercial research") && scrfd.contains(" no "), "{scrfd}");
    assert!(stdout(&output).lines().any(|line| line.starts_with(&format!("{DETECTOR} *"))));
}

#[test]
fn list_json_is_complete() {
    let home = home();
    std::fs::create_dir_all(data(home.path())).unwrap();
    std::fs::write(data(home.path()).join(FILE), "damaged").unwrap();
    let output = run(home.path(), &["list", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(stdout(&output)).expect("JSON");
    let rows = rows.as_array().expect("an array");
    let row = rows.iter().find(|row| row["name"] == DETECTOR).expect("the detector is known");
    assert_eq!(row["task"], "detector");
    assert_eq!((row["bytes"].as_u64(), row["commercial"].as_bool()), (Some(322_906), Some(true)));
    assert_eq!((&row["url_verified"], &row["intact"]), (&false.into(), &false.into()));
    assert_eq!(row["copies"][0]["state"], "damaged");
    assert!(row["copies"][0]["path"].as_str().is_some_and(|path| path.ends_with(FILE)));
}

#[test]
fn fetch_resumes_and_path_and_verify_find_the_result() {
    let Some(content) = real_model() else { return };
    let body = content.clone();
    let server = Server::start(move |request| match request.nth {
        0 => Reply::ranged(&body, request).cut(100_000),
        1 => Reply::status(503),
        _ => Reply::ranged(&body, request),
    });
    let home = home();
    let output = fetch(home.path(), &server);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let path = data(home.path()).join(FILE);
    assert_eq!(stdout(&output), format!("{}\n", path.display()));
    assert!(stderr(&output).contains("licence Apache-2.0"), "{}", stderr(&output));
    assert!(std::fs::read(&path).unwrap() == content);
    let asked: Vec<_> = server.requests().iter().map(|request| request.range).collect();
    assert_eq!(asked, [None, Some(100_000), Some(100_000)]);

    let again = fetch(home.path(), &server);
    assert!(stderr(&again).contains("already installed"), "{}", stderr(&again));
    assert_eq!(server.requests().len(), 3, "an intact file is not fetched again");

    let located = run(home.path(), &["path", DETECTOR]);
    assert_eq!((located.status.code(), located.stdout), (Some(0), output.stdout));
    let verified = run(home.path(), &["verify", DETECTOR]);
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
    assert!(stdout(&verified).contains(": intact"));
    // The default embedder is not there.
    let all = run(home.path(), &["verify"]);
    assert_eq!(all.status.code(), Some(1));
    assert!(stdout(&all).contains("mobilefacenet: missing; run 'facectl models fetch"));

    let mut damaged = content;
    damaged[1000] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let verified = run(home.path(), &["verify", DETECTOR]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(stdout(&verified).contains("damaged"), "{}", stdout(&verified));
    assert_eq!(run(home.path(), &["path", DETECTOR]).status.code(), Some(2));
}

#[test]
fn fetch_into_a_folder_says_if_it_is_not_searched() {
    let Some(content) = real_model() else { return };
    let server = Server::start(move |request| Reply::ranged(&content, request));
    let (home, folder) = (home(), tempfile::tempdir().unwrap());
    let dir = folder.path().to_str().unwrap();
    let output =
        run(home.path(), &["fetch", DETECTOR, "--dir", dir, "--url", &server.url("/m.onnx")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("add it to GST_FACE_MODEL_PATH"), "{}", stderr(&output));
    assert!(folder.path().join(FILE).exists() && !data(home.path()).exists());
    let searched = facectl(home.path())
        .env("GST_FACE_MODEL_PATH", format!("/nowhere:{dir}"))
        .args(["models", "path", DETECTOR])
        .output()
        .unwrap();
    assert_eq!(stdout(&searched).trim(), folder.path().join(FILE).to_str().unwrap());
}

#[test]
fn failed_fetch_exits_1_and_leaves_nothing() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    let cases: [(Reply, &str); 4] = [
        (Reply::status(404), "404"),
        (Reply::whole(pointer), "Git LFS pointer"),
        (Reply::whole(b"<html>sorry</html>"), "18 bytes long, expected 322906"),
        (Reply::whole(&vec![1; 322_906]), "sha256"),
    ];
    for (reply, part) in cases {
        let server = Server::start(move |_| reply.clone());
        let home = home();
        let output = fetch(home.path(), &server);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""), "{part}");
        let error = stderr(&output).lines().last().unwrap_or_default();
        assert!(error.starts_with("facectl: error: ") && error.contains(part), "{error}");
        assert_eq!(std::fs::read_dir(data(home.path())).unwrap().count(), 0, "{part}");
    }
}

#[test]
fn model_without_an_address_says_so() {
    let home = home();
    let output = run(home.path(), &["fetch", "mobilefacenet_dynamic"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("bring your own file"), "{}", stderr(&output));
}

#[test]
fn missing_model_names_the_places_and_the_command() {
    let home = home();
    let output = run(home.path(), &["path", DETECTOR]);
    assert_eq!(output.status.code(), Some(2));
    let place = data(home.path()).join(FILE);
    assert!(stderr(&output).contains(place.to_str().unwrap()), "{}", stderr(&output));
    assert!(stderr(&output).contains("facectl models fetch yunet_n_dynamic"));
}

#[test]
fn wrong_usage_exits_2() {
    let home = home();
    for args in [
        &["fetch"][..],
        &["fetch", "nonsense"],
        &["fetch", "--all", "--default"],
        &["fetch", DETECTOR, "mobilefacenet", "--url", "http://127.0.0.1:1/"],
        &["fetch", "--default", "--url", "http://127.0.0.1:1/"],
        &["path"],
        &["verify", "nonsense"],
        &["sing"],
    ] {
        let output = run(home.path(), args);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""), "{args:?}");
        assert!(stderr(&output).contains("error:"), "{args:?}: {}", stderr(&output));
    }
    let help = run(home.path(), &["fetch", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("--accept-non-commercial"));
}

#[test]
fn closed_output_is_no_error() {
    let home = home();
    for args in [&["list"][..], &["list", "--json"], &["verify", DETECTOR]] {
        let mut command = facectl(home.path());
        command.arg("models").args(args).stderr(Stdio::piped());
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut child = command.stdout(writer).spawn().expect("facectl can be started");
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        assert_eq!((child.wait().unwrap().code(), error.as_str()), (Some(0), ""), "{args:?}");
    }
}
