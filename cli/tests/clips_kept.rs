//! From a video to clips in a bucket, with the commands that a user types; and do browsers play them?

mod examples;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::Builder;

use examples::Scene;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Environment for a new bucket of every S3 server that the tests have.
fn buckets() -> Vec<String> {
    let (key, secret) = (variable("GST_FACE_TEST_S3_KEY"), variable("GST_FACE_TEST_S3_SECRET"));
    let servers = variable("GST_FACE_TEST_S3");
    let bucket = format!("kept-{}", std::process::id());
    let exports = |endpoint: &str| {
        format!(
            "export AWS_ACCESS_KEY_ID='{key}' AWS_SECRET_ACCESS_KEY='{secret}' \
             GST_FACE_STORAGE='s3://{bucket}/north?endpoint={endpoint}&allow-http=true'\n"
        )
    };
    // The one that makes buckets by itself, and checks signatures.
    servers.split_whitespace().filter_map(|s| s.strip_prefix("s3s=")).map(exports).collect()
}

#[test]
fn real_known_faces_of_a_video_are_clips_in_a_bucket() {
    let Some(scene) = Scene::with_people() else { return };
    let buckets = buckets();
    if buckets.is_empty() {
        eprintln!("skipped: GST_FACE_TEST_S3 names no s3s (scripts/test.sh starts it)");
    }
    for environment in buckets {
        let run = |command: &str| scene.run(&format!("{environment}{command}"));
        run("facectl enroll --gallery people.gallery people");
        run("gst-launch-1.0 filesrc location=party.mp4 ! decodebin ! videoconvert \
             ! onnxfacedetect ! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 \
             ! facetrack ! facerecognize gallery=people.gallery \
             ! clipsink camera=stage triggers=known-face pre-roll=1000000000 post-roll=1000000000");
        run("facectl outbox flush");
        let list = run("facectl clips list --json --person lin-manuel-miranda");
        let clips: Vec<serde_json::Value> = serde_json::from_str::<serde_json::Value>(&list)
            .ok()
            .and_then(|value| value.as_array().cloned())
            .unwrap_or_else(|| {
                list.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
            });
        assert!(!clips.is_empty(), "{list}");
        for clip in &clips {
            for part in ["original", "json", "snapshot"] {
                assert!(clip[part].is_string(), "no {part}: {clip}");
            }
            assert_eq!(clip["camera"], "stage");
            assert_eq!(clip["event"], "known-face");
        }
        let key = clips[0]["original"].as_str().unwrap();
        run(&format!("facectl clips get '{key}' --out found.mp4"));
        run("gst-launch-1.0 -q filesrc location=found.mp4 ! decodebin ! fakesink");
        // Nobody else is in them but those who are in the video.
        assert!(!run("facectl clips list --json --person joe-biden").contains("north"));
    }
}

/// A browser that plays what the project's users look at, if there is one.
fn browser() -> Option<&'static str> {
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        let mut command = Command::new(name);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    });
    if found.is_none() {
        eprintln!("skipped: no Chromium (scripts/setup.sh --tests installs it)");
    }
    found
}

/// What a browser says that plays the file: a page on loopback that asks for it, and tells.
fn played(browser: &str, folder: &Path, file: &Path) -> String {
    // Muted, browsers play without being asked.
    const PAGE: &str = "<!doctype html><title>clip</title><video muted src='/clip.mp4'></video>\
        <script>const v = document.querySelector('video'), tell = t => fetch('/told?' + t);\
        v.onerror = () => tell('error-' + v.error.code);\
        v.onended = () => tell(`played-${v.videoWidth}x${v.videoHeight}-${v.duration.toFixed(1)}`);\
        v.playbackRate = 4; v.play().catch(e => tell('error-' + e.name));</script>";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut child = Command::new("timeout")
        .args(["--kill-after=5", "100", browser, "--headless=new", "--no-sandbox"])
        .args(["--disable-gpu", "--mute-audio", "--autoplay-policy=no-user-gesture-required"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("http://{address}/"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It ends at the latest with the browser, which the last connection of this test wakes.
    let waker = Builder::new().name("browser-end".to_owned()).spawn(move || {
        let status = child.wait();
        let _ =
            TcpStream::connect(address).map(|mut stream| stream.write_all(b"GET /gone \r\n\r\n"));
        status
    });
    let waker = waker.unwrap();
    let mut said = "nothing".to_owned();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut line = String::new();
        if BufReader::new(&stream).read_line(&mut line).is_err() {
            continue;
        }
        let path = line.split(' ').nth(1).unwrap_or_default();
        let (kind, body) = match path {
            "/" => ("text/html", PAGE.as_bytes().to_vec()),
            "/clip.mp4" => ("video/mp4", std::fs::read(file).unwrap()),
            "/gone" => break,
            _ => ("text/plain", Vec::new()),
        };
        if let Some(told) = path.strip_prefix("/told?") {
            said = told.to_owned();
            break;
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        // A browser asks for a piece, and goes when it has seen enough.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    }
    drop(listener);
    // The browser is this test's own, found by its profile.
    let profile = folder.join("profile").display().to_string();
    let _ = Command::new("pkill").args(["-f", &profile]).status();
    let _ = waker.join();
    said
}

#[test]
fn real_clips_play_in_a_browser() {
    let Some(browser) = browser() else { return };
    let Some(scene) = Scene::new() else { return };
    scene.run(
        "gst-launch-1.0 filesrc location=party.mp4 ! parsebin ! video/x-h264 ! tee name=camera \
         camera. ! queue ! clips.sink \
         camera. ! queue ! decodebin ! videoconvert ! onnxfacedetect ! facetrack \
         zones='all=0,0 1,0 1,1 0,1' ! clips.meta \
         clipsink name=clips storage=clips triggers=zone-enter pre-roll=1000000000 \
         post-roll=1000000000 on-retrigger=extend",
    );
    scene.run("facectl outbox flush");
    let found = scene.run("find \"$PWD/clips\" -name '*.mp4'");
    if found.is_empty() && !scene.real {
        eprintln!("skipped: a generated clip shows no faces");
        return;
    }
    assert!(!found.is_empty(), "no clip was made");
    for file in found.lines() {
        let said = played(browser, scene.path(), Path::new(file));
        assert!(said.starts_with("played-640x360-"), "{file}: {said}");
    }
}
