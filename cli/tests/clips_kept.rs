//! From a video to clips in a bucket, with the commands that a user types; and do browsers play them?

mod examples;

use std::path::Path;
use std::process::{Command, Stdio};

use examples::{Scene, text};

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

/// What a page says that plays the file.
fn played(browser: &str, folder: &Path, file: &Path) -> String {
    // Muted, browsers play without being asked; the title says how it went.
    let page = format!(
        "<!doctype html><title>waiting</title><video muted src='file://{}'></video><script>\
         const v = document.querySelector('video');\
         v.onerror = () => document.title = 'error ' + v.error.code;\
         v.onended = () => document.title = `played ${{v.videoWidth}}x${{v.videoHeight}} \
         ${{v.getVideoPlaybackQuality().totalVideoFrames > 0}}`;\
         v.playbackRate = 4; v.play().catch(e => document.title = 'error ' + e);</script>",
        file.display()
    );
    let path = folder.join("page.html");
    std::fs::write(&path, page).unwrap();
    let output = Command::new("timeout")
        .args(["--kill-after=5", "100", browser, "--headless=new", "--no-sandbox"])
        .args(["--disable-gpu", "--allow-file-access-from-files", "--mute-audio"])
        .args(["--autoplay-policy=no-user-gesture-required", "--virtual-time-budget=20000"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", path.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    text(&output)
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
        assert!(said.contains("<title>played 640x360 true</title>"), "{file}: {said}");
    }
}
