//! Cameras that run and fail for a while; `scripts/soak.sh` lets them do so for longer.

mod examples;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use examples::{RtspCamera, Scene, root, text};
use serde_json::Value;

/// `facectl watch --json`, which ends when this is dropped.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn new(scene: &Scene, address: &str) -> Watch {
        let command = format!("exec facectl watch --json --gallery people.gallery {address}");
        let mut child = scene.command(&command).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watch { child, lines }
    }

    /// The next message for which that is so. The command is killed after a while, and then there is none.
    fn next(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.next().expect("the command still runs").unwrap();
            let message: Value = serde_json::from_str(&line).unwrap();
            if wanted(&message) {
                return message;
            }
        }
    }

    fn is_camera(message: &Value, state: &str) -> bool {
        message["message"] == "face-camera" && message["state"] == state
    }

    fn is_named(message: &Value) -> bool {
        message["message"] == "face-identity" && message["name"] == "lin-manuel-miranda"
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // timeout hands it on to the command.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn real_people_are_known_again_after_their_camera_was_restarted() {
    let Some(scene) = Scene::with_people() else { return };
    scene.run("facectl enroll --gallery people.gallery people");
    let clip = scene.path().join("party.mp4");
    let clip = clip.to_str().unwrap();
    let Some(mut camera) = RtspCamera::run(&[clip, "--loop"]) else { return };
    let mut watch = Watch::new(&scene, &camera.address);
    watch.next(|message| Watch::is_camera(message, "connected"));
    let mut tracks = vec![watch.next(Watch::is_named)["track_id"].clone()];
    for _ in 0..2 {
        camera.kill();
        watch.next(|message| Watch::is_camera(message, "lost"));
        // Longer than a track waits for its face.
        std::thread::sleep(Duration::from_secs(3));
        let Some(next) = RtspCamera::run(&[clip, "--loop", "--port", camera.port()]) else {
            return;
        };
        camera = next;
        watch.next(|message| Watch::is_camera(message, "connected"));
        tracks.push(watch.next(Watch::is_named)["track_id"].clone());
    }
    println!("tracks of one person over two restarts: {tracks:?}");
}

#[test]
fn real_two_cameras_are_followed_for_half_a_minute() {
    let Some(scene) = Scene::new() else { return };
    if !scene.bash("facectl run --help").status.success() {
        eprintln!("skipped: this facectl has no run");
        return;
    }
    let soak = root().join("scripts/soak.sh");
    let command = format!(
        "FACECTL=$(command -v facectl) '{}' --cameras 2 --seconds 30 party.mp4 clip.mp4",
        soak.display()
    );
    let output = scene.bash(&command);
    assert!(output.status.success(), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    for row in ["| camera-1 |", "| camera-2 |", "| cameras lost | 0 |"] {
        assert!(said.contains(row), "{said}");
    }
}
