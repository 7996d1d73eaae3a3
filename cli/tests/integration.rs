//! docs/integration.md as a new user follows it: its files and commands in their order, with a
//! camera and a broker on loopback in the place of those that it names.

#[path = "examples/blocks.rs"]
mod blocks;
#[path = "../../tests/support/broker.rs"]
mod broker;
mod examples;

use std::cell::RefCell;
use std::fs;
use std::process::Command;

use examples::{RtspCamera, Scene, root, text};

const CAMERA_PASSWORD: &str = "of-the-camera";

/// From the camera to the entities.
fn section() -> String {
    let page = fs::read_to_string(root().join("docs/integration.md")).unwrap();
    let (_, rest) = page.split_once("\n## From a camera to Home Assistant\n").unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The blocks of steps are indented.
fn yaml(section: &str) -> String {
    let (_, rest) = section.split_once("```yaml\n").unwrap();
    let lines = rest.lines().take_while(|line| line.trim() != "```");
    lines.map(|line| format!("{}\n", line.strip_prefix("   ").unwrap_or(line))).collect()
}

#[test]
fn real_way_from_a_camera_to_home_assistant() {
    let Some(scene) = Scene::with_people() else { return };
    let Some(server) = broker::Server::start() else { return };
    let clip = scene.path().join("party.mp4");
    let login = format!("admin:{CAMERA_PASSWORD}");
    let arguments = [clip.to_str().unwrap(), "--loop", "--login", &login];
    let Some(camera) = RtspCamera::run(&arguments) else { return };
    let (host, port) = server.password.rsplit_once("://").unwrap().1.split_once(':').unwrap();
    let section = section();
    let here = |text: &str| {
        text.replace("rtsp://camera.local/stream", &camera.address)
            .replace("mqtt://homeassistant.local/", &format!("{}/", server.password))
            .replace(
                "-h homeassistant.local -u faces",
                &format!("-h {host} -p {port} -u faces -W 10"),
            )
            .replace("username: faces", &format!("username: {}", broker::USER))
            .replace("-u faces", &format!("-u {}", broker::USER))
            .replace("CAMERA_PASSWORD=…", &format!("CAMERA_PASSWORD={CAMERA_PASSWORD}"))
            .replace("MQTT_PASSWORD=…", &format!("MQTT_PASSWORD={}", broker::PASSWORD))
    };
    // The port of health and metrics may be taken by a neighbour.
    let configuration = here(&yaml(&section)).replace("version: 1\n", "version: 1\nhttp: false\n");
    fs::write(scene.path().join("faces.yaml"), configuration).unwrap();
    let commands: Vec<String> =
        blocks::of_markdown(&section).unwrap().iter().map(|block| here(&block.commands)).collect();
    let [enrol, run, look] = &commands[..] else { panic!("{commands:?}") };

    scene.run(enrol);
    let subscriber = broker::Subscriber::new(&server, "#");
    let output = fs::File::create(scene.path().join("said")).unwrap();
    let mut running = scene.command(run);
    let mut running = running.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    let missing = RefCell::new(vec![
        // Of the first looks at somebody a slow machine may miss most: it may be known-face or
        // identity-changed.
        "faces/front door/events/",
        "faces/front door/state",
        "homeassistant/sensor/",
        "homeassistant/binary_sensor/",
    ]);
    let all = subscriber.until(|got| {
        missing.borrow_mut().retain(|topic| !got.topic.starts_with(topic));
        missing.borrow().is_empty()
    });
    let online =
        |got: &broker::Got| got.topic == "faces/front door/status" && got.payload == "online";
    assert!(all.iter().any(online), "{all:?}");

    let look = format!("export MQTT_PASSWORD={}\n{look}", broker::PASSWORD);
    // Nobody waits for ever: it ends by its own limit, with a status that says so.
    let seen = text(&scene.bash(&look));
    assert!(seen.contains("faces/front door/state") && seen.contains("homeassistant/"), "{seen}");

    let ended = Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap();
    assert!(ended.success());
    subscriber.until(|got| got.payload == "offline");
    running.wait().unwrap();
    let said = fs::read_to_string(scene.path().join("said")).unwrap();
    assert!(said.contains("configuration ok"), "{said}");
}
