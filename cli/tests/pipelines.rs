//! Every script of pipelines/ runs. Webcams are replaced by files, screens by fakesink, network
//! cameras by an RTSP server on loopback.

#[path = "../../tests/support/broker.rs"]
mod broker;
mod examples;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use examples::{RtspCamera, Scene, root, text};
use gst::prelude::*;

/// What is tested below.
const SCRIPTS: [&str; 10] = [
    "alerts.sh",
    "annotated-to-rtsp.sh",
    "clips.sh",
    "enrol.sh",
    "file-to-annotated-file.sh",
    "image-to-json.sh",
    "publish-mqtt.sh",
    "rtsp-to-screen.sh",
    "several-cameras.sh",
    "webcam-to-screen.sh",
];

fn script(name: &str) -> String {
    format!("'{}'", root().join("pipelines").join(name).display())
}

/// Enrols all people into people.gallery. False, and a word why, if there are none.
fn enrol(scene: &Scene) -> bool {
    if scene.real {
        scene.run(&format!("{} people.gallery people", script("enrol.sh")));
    } else {
        eprintln!("no photos of people: without a gallery, on a generated clip");
    }
    scene.real
}

/// Pictures (or sound buffers) that `branch` of a file gives.
fn count(file: &Path, branch: &str) -> u64 {
    gst::init().unwrap();
    let launch = format!("filesrc name=file ! qtdemux name=demux {branch} ! fakesink name=sink");
    let pipeline = gst::parse::launch(&launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("file").unwrap().set_property("location", file);
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let end = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &end).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    let stats: gst::Structure = pipeline.by_name("sink").unwrap().property("stats");
    pipeline.set_state(gst::State::Null).unwrap();
    stats.get("rendered").unwrap()
}

#[test]
fn every_script_is_tested_and_explains_itself() {
    let found: BTreeSet<String> = fs::read_dir(root().join("pipelines"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "environment.sh")
        .collect();
    assert_eq!(found, SCRIPTS.map(str::to_owned).into());
    for name in SCRIPTS {
        let run = |arguments: &str| {
            let command = format!("{} {arguments}", script(name));
            std::process::Command::new("bash").args(["-c", &command]).output().unwrap()
        };
        let help = run("--help");
        assert!(help.status.success(), "{}", text(&help));
        assert!(text(&help).contains(&format!("usage: pipelines/{name}")), "{}", text(&help));
        let wrong = run("--no-such-option 1 2 3 4");
        assert!(!wrong.status.success(), "{name} took an unknown option: {}", text(&wrong));
    }
}

#[test]
fn real_clips() {
    let Some(scene) = Scene::new() else { return };
    let real = enrol(&scene);
    let gallery = if real { "GALLERY=people.gallery " } else { "TRIGGERS=unknown-face " };
    let said = scene.run(&format!(
        "{gallery}CAMERA=party SPOOL=spool {} party.mp4 'kept clips'",
        script("clips.sh")
    ));
    scene.run("facectl outbox flush --spool spool");
    if real {
        assert!(said.contains("clip-spooled"), "{said}");
        let list =
            scene.run("facectl clips list --storage 'kept clips' --person lin-manuel-miranda");
        assert!(list.contains("party") && list.contains("known-face"), "{list}");
    }
}

#[test]
fn real_clips_of_a_network_camera() {
    let Some(scene) = Scene::new() else { return };
    let Some(camera) = RtspCamera::serve(&scene.path().join("party.mp4")) else { return };
    let gallery = if enrol(&scene) { "GALLERY=people.gallery " } else { "" };
    let said = scene.run(&format!(
        "{gallery}CAMERA=gate SPOOL=spool {} {} kept",
        script("clips.sh"),
        camera.address
    ));
    scene.run("facectl outbox flush --spool spool");
    if !scene.real {
        return;
    }
    assert!(said.contains("clip-spooled"), "{said}");
    let found = scene.run("find \"$PWD/kept\" -name '*.mp4'");
    let file = Path::new(found.lines().next().expect("a clip"));
    assert!(count(file, "demux.video_0 ! queue") > 25, "{found}");
    // Packets of a network camera have no decoding times; players want them to rise.
    let played = scene.bash(&format!("ffmpeg -v warning -i '{}' -f null -", file.display()));
    if played.status.code() == Some(127) {
        eprintln!("skipped: ffmpeg is not installed");
    } else {
        assert_eq!(text(&played).trim(), "exit status: 0", "{}", text(&played));
    }
}

#[test]
fn real_file_to_annotated_file() {
    let Some(scene) = Scene::new() else { return };
    let gallery = if enrol(&scene) { "GALLERY=people.gallery " } else { "" };
    let said = scene.run(&format!(
        "{gallery}{} party.mp4 'annotated copy.mp4'",
        script("file-to-annotated-file.sh")
    ));
    let copy = scene.path().join("annotated copy.mp4");
    let frames = |file: &Path| count(file, "demux.video_0 ! h264parse ! avdec_h264");
    assert_eq!(frames(&copy), frames(&scene.path().join("party.mp4")));
    assert!(!scene.path().join("annotated copy.mp4.partial").exists());
    if scene.real {
        assert!(said.contains("video: ") && said.contains("name=lin-manuel-miranda"), "{said}");
        assert!(said.contains("name=barack-obama"), "{said}");
        assert!(count(&copy, "demux.audio_0 ! aacparse") > 100, "the sound is lost");
    } else {
        assert_eq!(said, "");
    }
}

/// Marks the first picture track of an MP4 file as recorded a quarter turn to the left: the matrix of
/// its tkhd box (ISO/IEC 14496-12, 8.3.2), 40 bytes after the box's name.
fn turn_sideways(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let header = bytes.windows(4).position(|name| name == b"tkhd").unwrap() + 4;
    assert_eq!(bytes[header], 0, "a tkhd box of version 0 is expected");
    let turn: [i32; 5] = [0, 0x1_0000, 0, -0x1_0000, 0];
    for (place, value) in bytes[header + 40..].chunks_exact_mut(4).zip(turn) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    fs::write(file, bytes).unwrap();
}

#[test]
fn sideways_recording_comes_out_upright() {
    let Some(scene) = Scene::new() else { return };
    let sideways = scene.path().join("sideways.mp4");
    scene.run(
        "gst-launch-1.0 -q videotestsrc num-buffers=5 ! video/x-raw,width=64,height=48 \
         ! x264enc ! mp4mux ! filesink location=sideways.mp4",
    );
    turn_sideways(&sideways);
    scene.run(&format!("{} sideways.mp4 copy.mp4", script("file-to-annotated-file.sh")));
    let upright = "demux.video_0 ! h264parse ! avdec_h264 ! video/x-raw,width=48,height=64";
    assert_eq!(count(&scene.path().join("copy.mp4"), upright), 5);
}

#[test]
fn annotated_copy_of_what_is_no_video_is_an_error_and_leaves_nothing() {
    let Some(scene) = Scene::new() else { return };
    fs::write(scene.path().join("text.mp4"), "no video").unwrap();
    let output = scene.bash(&format!("{} text.mp4 copy.mp4", script("file-to-annotated-file.sh")));
    assert!(!output.status.success(), "{}", text(&output));
    for left in ["copy.mp4", "copy.mp4.partial"] {
        assert!(!scene.path().join(left).exists(), "{left} was left");
    }
    let same = scene.bash(&format!("{} clip.mp4 ./clip.mp4", script("file-to-annotated-file.sh")));
    assert!(text(&same).contains("is the video itself"), "{}", text(&same));
}

#[test]
fn real_webcam_to_screen() {
    let Some(scene) = Scene::new() else { return };
    let gallery = if enrol(&scene) { "GALLERY=people.gallery " } else { "" };
    // A recording in its own time stands for the camera.
    let said = scene.run(&format!(
        "{gallery}SOURCE='filesrc location=party.mp4' SINK='fakesink sync=true' {}",
        script("webcam-to-screen.sh")
    ));
    assert_eq!(said.contains("camera: ") && said.contains("name="), scene.real, "{said}");
    // Raw pictures of a live source, and nobody enrolled.
    scene.run(&format!(
        "SOURCE='videotestsrc is-live=true num-buffers=15' SINK=fakesink {}",
        script("webcam-to-screen.sh")
    ));
}

#[test]
fn real_t24_rtsp_to_screen() {
    let Some(scene) = Scene::new() else { return };
    let Some(camera) = RtspCamera::serve(&scene.path().join("party.mp4")) else { return };
    let gallery = if enrol(&scene) { "GALLERY=people.gallery " } else { "" };
    let said = scene.run(&format!(
        "{gallery}SINK='fakesink sync=true' {} {}",
        script("rtsp-to-screen.sh"),
        camera.address
    ));
    assert_eq!(said.contains("camera: ") && said.contains("name="), scene.real, "{said}");

    let wrong = scene.bash(&format!(
        "SINK=fakesink {} {}-elsewhere",
        script("rtsp-to-screen.sh"),
        camera.address
    ));
    assert!(!wrong.status.success(), "{}", text(&wrong));
    assert!(text(&wrong).contains("Not found"), "{}", text(&wrong));
}

#[test]
fn real_t24_annotated_stream_is_sent_to_a_server() {
    let Some(scene) = Scene::new() else { return };
    let taken = scene.path().join("taken.mkv");
    let media = format!(
        "( rtph264depay name=depay0 ! h264parse ! matroskamux ! filesink location={} )",
        taken.display()
    );
    let Some(server) = RtspCamera::run(&[&media, "--record"]) else { return };
    scene.run(&format!("{} clip.mp4 {}", script("annotated-to-rtsp.sh"), server.address));
    drop(server);
    let size = fs::metadata(&taken).map_or(0, |file| file.len());
    assert!(size > 10_000, "{size} bytes");
}

#[test]
fn real_several_cameras_in_one_process() {
    let Some(scene) = Scene::new() else { return };
    let Some(camera) = RtspCamera::serve(&scene.path().join("clip.mp4")) else { return };
    let gallery = if enrol(&scene) { "GALLERY=people.gallery " } else { "" };
    let said = scene.run(&format!(
        "{gallery}SINK=fakesink INTERVAL=2 {} party.mp4 {} party.mp4",
        script("several-cameras.sh"),
        camera.address
    ));
    for number in [1, 3] {
        let named = said.contains(&format!("camera-{number}: "));
        assert_eq!(named, scene.real, "camera-{number}\n{said}");
    }
    assert!(!said.contains("camera-2: "), "nobody of that clip is enrolled\n{said}");
}

#[test]
fn real_alerts() {
    let Some(scene) = Scene::new() else { return };
    let gallery = if enrol(&scene) { "GALLERY=people.gallery " } else { "" };
    let all = scene.run(&format!("{gallery}CAMERA='front door' {} party.mp4", script("alerts.sh")));
    if !scene.real {
        assert_eq!(all, "");
        return;
    }
    let lines = |said: &str, parts: &[&str]| -> usize {
        said.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    };
    let known =
        ["face-alert: ", "event=known-face", "name=lin-manuel-miranda", "camera=\"front\\ door\""];
    assert!(lines(&all, &known) >= 1, "{all}");
    assert!(lines(&all, &["face-alert: ", "event=face-disappeared"]) >= 1, "{all}");
    assert!(lines(&all, &["face-track: ", "name=lin-manuel-miranda", "votes="]) >= 1, "{all}");
    // Every alert is told once.
    let id = |line: &'_ str| {
        line.split("event-id=").nth(1).and_then(|rest| rest.get(..36)).map(str::to_owned)
    };
    let ids: Vec<String> = all.lines().filter_map(id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{all}");

    fs::write(scene.path().join("rules.json"), r#"[{"persons": ["lin-manuel-miranda"]}]"#).unwrap();
    let one = scene
        .run(&format!("{gallery}RULES=rules.json DRY_RUN=true {} party.mp4", script("alerts.sh")));
    let alerts = lines(&one, &["face-alert: "]);
    assert!(alerts >= 1, "{one}");
    assert_eq!(
        alerts,
        lines(&one, &["face-alert: ", "name=lin-manuel-miranda", "dry-run=true"]),
        "{one}"
    );
    let wrong = scene.bash(&format!("RULES=nowhere.json {} party.mp4", script("alerts.sh")));
    assert!(!wrong.status.success(), "{}", text(&wrong));
    assert!(text(&wrong).contains("read alert-rules 'nowhere.json'"), "{}", text(&wrong));
}

#[test]
fn real_image_to_json() {
    let Some(scene) = Scene::with_people() else { return };
    assert!(enrol(&scene));
    let said =
        scene.run(&format!("{} people.gallery photo.jpg group.jpg", script("image-to-json.sh")));
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert_eq!(lines[0]["faces"][0]["name"], "barack-obama", "{said}");
    let names: Vec<_> =
        lines[1]["faces"].as_array().unwrap().iter().map(|f| f["name"].clone()).collect();
    assert!(names.contains(&"joe-biden".into()), "{said}");
}

#[test]
fn real_enrol_one_person() {
    let Some(scene) = Scene::with_people() else { return };
    scene.run(&format!("{} one.gallery 'Barack Obama' photo.jpg", script("enrol.sh")));
    let said = scene.run(&format!("{} one.gallery photo2.jpg", script("image-to-json.sh")));
    let line: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(line["faces"][0]["name"], "Barack Obama", "{said}");
    let missing = scene.bash(&format!("{} one.gallery nowhere", script("enrol.sh")));
    assert!(text(&missing).contains("no folder 'nowhere'"), "{}", text(&missing));
}

#[test]
fn real_publish_mqtt() {
    let Some(scene) = Scene::new() else { return };
    let Some(server) = broker::Server::start() else { return };
    let gallery = if enrol(&scene) { "GALLERY=people.gallery " } else { "" };
    let subscriber = broker::Subscriber::new(&server, "#");
    scene.run(&format!(
        "{gallery}CAMERA='front door' HOME_ASSISTANT=true SPOOL=spool RATE=5 {} party.mp4 {}/faces",
        script("publish-mqtt.sh"),
        server.plain
    ));
    let all = subscriber.until(|got| got.payload == "offline");
    let on = |part: &str| all.iter().filter(|got| got.topic.contains(part)).count();
    assert_eq!(all.iter().filter(|got| got.payload == "online").count(), 1, "{all:?}");
    assert!(on("homeassistant/sensor/") >= 2, "{all:?}");
    if !scene.real {
        return;
    }
    assert!(on("faces/front door/events/known-face") >= 1, "{all:?}");
    assert!(on("faces/front door/frames") >= 5 && on("faces/front door/tracks") >= 2, "{all:?}");
    let people = all.iter().filter(|got| got.topic.starts_with("faces/front door/people/"));
    let people: BTreeSet<String> =
        people.map(|got| got.json()["name"].as_str().unwrap().to_owned()).collect();
    assert!(people.contains("lin-manuel-miranda"), "{people:?}");
    let sensors = all.iter().filter(|got| got.topic.starts_with("homeassistant/binary_sensor/"));
    assert_eq!(sensors.count(), people.len());
    let wrong =
        scene.bash(&format!("{} party.mp4 mqtt://broker.example/x", script("publish-mqtt.sh")));
    assert!(!wrong.status.success(), "{}", text(&wrong));
    assert!(text(&wrong).contains("allow-unencrypted"), "{}", text(&wrong));
}
