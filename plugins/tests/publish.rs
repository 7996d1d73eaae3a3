//! The element `facepublish`: what it tells where, and that the stream never waits for it.

#[path = "../../tests/support/broker.rs"]
mod broker;
mod common;
#[path = "../../tests/support/hook.rs"]
mod hook;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use broker::{PASSWORD, Server, Subscriber, USER};
use common::people::{CAPS, RED, frame_with};
use common::{Rig, error_of, init};
use face_core::identity::Status;
use gst::prelude::*;
use gstface::meta::{Event, FrameFaces, META_NAME, TrackState};
use hook::Hook;
use serde_json::{Value, json};

fn publisher(target: &str) -> gst::Element {
    init();
    gst::ElementFactory::make("facepublish").property("target", target).build().unwrap()
}

fn event(id: &str, kind: &str) -> Event {
    let name = Some("Ada".to_owned());
    Event { id: id.into(), kind: kind.into(), track_id: 7, name, ..Event::default() }
}

/// Frame `n`: Ada on track 7, and somebody without a track.
fn seen(n: u64, change: impl FnOnce(&mut FrameFaces)) -> gst::Buffer {
    frame_with(n, [RED; 2], [7, 0], |faces| {
        let ada = &mut faces.faces[0];
        ada.track_state = TrackState::Confirmed;
        (ada.status, ada.confirmed) = (Status::Known, true);
        (ada.person_id, ada.name) = (Some("id/ada".into()), Some("Ada".into()));
        (ada.similarity, ada.zones) = (Some(0.75), vec!["door".into()]);
        ada.embedding = Some(vec![0; 16]);
        change(faces);
    })
}

fn nobody(n: u64) -> gst::Buffer {
    seen(n, |faces| faces.faces.clear())
}

/// Stops an element, so that all that it had to tell is told.
fn stop(rig: &Rig) {
    rig.element.set_state(gst::State::Null).unwrap();
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of(lines: &[Value], schema: &str) -> Vec<Value> {
    lines.iter().filter(|line| line["schema"] == schema).cloned().collect()
}

/// Runs frames through an element that writes a file.
fn written(set: impl FnOnce(&gst::Element), frames: Vec<gst::Buffer>) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faces.jsonl");
    let element = publisher(path.to_str().unwrap());
    set(&element);
    let mut rig = Rig::new(element, CAPS);
    for frame in frames {
        rig.run(frame);
    }
    assert!(rig.harness.push_event(gst::event::Eos::new()));
    stop(&rig);
    lines(&path)
}

#[test]
fn frames_events_and_tracks_are_lines_of_a_file() {
    let held = |n, events: &'static [(&'static str, &'static str)]| {
        seen(n, |faces| faces.events = events.iter().map(|(id, kind)| event(id, kind)).collect())
    };
    let frames = vec![
        held(0, &[("a", "known-face")]),
        // Repeated, and something new.
        held(1, &[("a", "known-face"), ("b", "zone-enter")]),
        nobody(2),
        nobody(3),
        seen(4, |faces| faces.ended_tracks = vec![7, 99]),
    ];
    let all = written(|element| element.set_property("camera", "front door"), frames);
    let told = of(&all, "face-frame/1");
    let ids: Vec<&Value> = told.iter().map(|frame| &frame["frame_id"]).collect();
    assert_eq!(ids, [0, 1, 2, 4], "of frames without faces the first after those with");
    assert_eq!(told[0]["camera"], "front door");
    assert_eq!(told[1]["running_time_ns"], 40_000_000);
    let face = &told[0]["faces"][0];
    assert_eq!((&face["name"], &face["status"]), (&json!("Ada"), &json!("known")));
    assert_eq!(
        (&face["zones"], &face["landmarks"].as_array().map(Vec::len)),
        (&json!(["door"]), &Some(10))
    );
    assert!(face.get("embedding").is_none(), "{face}");
    let events = of(&all, "face-event/1");
    let ids: Vec<&Value> = events.iter().map(|event| &event["id"]).collect();
    assert_eq!(ids, ["a", "b"], "each once");
    assert_eq!(events[0]["camera"], "front door");
    let tracks = of(&all, "face-track/1");
    // Seen again on the frame that ended it: a track of its own until the end.
    assert_eq!(tracks.len(), 1, "{tracks:?}");
    let track = &tracks[0];
    assert_eq!((&track["track_id"], &track["observations"]), (&json!(7), &json!(3)));
    assert_eq!((&track["name"], &track["last_seen_ns"]), (&json!("Ada"), &json!(160_000_000)));
    assert_eq!(track["best"]["box"].as_array().map(Vec::len), Some(4));
}

#[test]
fn end_of_the_stream_ends_the_tracks() {
    let all = written(|_| (), (0..3).map(|n| seen(n, |_| ())).collect());
    let tracks = of(&all, "face-track/1");
    assert_eq!((tracks.len(), &tracks[0]["observations"]), (1, &json!(3)));
}

#[test]
fn events_and_rate_choose_what_is_told() {
    let kinds = ["face-identity", "known-face", "zone-exit"];
    let frames = || -> Vec<gst::Buffer> {
        (0..50)
            .map(|n| {
                seen(n, |faces| {
                    let kind = kinds[n as usize % 3];
                    faces.events = vec![event(&n.to_string(), kind)];
                })
            })
            .collect()
    };
    for (flags, kind, count) in
        [("identities", kinds[0], 17), ("alerts", kinds[1], 17), ("zones", kinds[2], 16)]
    {
        let all = written(|element| element.set_property_from_str("events", flags), frames());
        assert_eq!(all.len(), count, "{flags}");
        assert!(all.iter().all(|line| line["kind"] == kind), "{flags}");
    }
    let all = written(
        |element| {
            element.set_property_from_str("events", "frames");
            element.set_property("rate", 5.0_f32);
        },
        frames(),
    );
    assert_eq!(all.len(), 10, "two seconds");
    let all = written(
        |element| {
            element.set_property_from_str("events", "alerts+zones");
            element.set_property("notify", r#"[{"zones": ["door"], "events": ["known-face"]}]"#);
        },
        frames(),
    );
    assert_eq!(all.len(), 17);
    let all = written(|e| e.set_property("empty-frames", true), (0..3).map(nobody).collect());
    assert_eq!(all.len(), 3);
}

#[test]
fn frames_in_the_layout_of_gvametaconvert_are_alone() {
    let frame = seen(1, |faces| faces.events = vec![event("a", "known-face")]);
    let all = written(
        |element| {
            element.set_property_from_str("format", "dlstreamer");
            element.set_property("camera", "cam-1");
        },
        vec![frame],
    );
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["resolution"], json!({"width": 128, "height": 64}));
    assert_eq!((&all[0]["source"], &all[0]["timestamp"]), (&json!("cam-1"), &json!(40_000_000)));
    let object = &all[0]["objects"][0];
    assert_eq!((&object["x"], &object["y"], &object["w"]), (&json!(12), &json!(12), &json!(40)));
    assert_eq!((&object["id"], &object["roi_type"]), (&json!(7), &json!("face")));
    assert_eq!(object["face_id"]["label"], "Ada");
}

#[test]
fn buffers_pass_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mut rig = Rig::new(publisher(path.to_str().unwrap()), CAPS);
    let buffer = seen(0, |_| ());
    let held = buffer.clone();
    let out = rig.run(buffer);
    assert_eq!(out.as_ptr(), held.as_ptr(), "not even its description is copied");
    stop(&rig);
}

#[test]
fn files_rotate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faces.jsonl");
    let element = publisher(&format!("file://{}", path.display()));
    element.set_property("max-file-size", 2000_u64);
    element.set_property("keep-files", 2_u32);
    let mut rig = Rig::new(element, CAPS);
    for n in 0..30 {
        rig.run(seen(n, |_| ()));
    }
    stop(&rig);
    let mut count = 0;
    for name in ["faces.jsonl", "faces.jsonl.1", "faces.jsonl.2"] {
        let path = folder.path().join(name);
        count += lines(&path).len();
        assert!(fs::metadata(&path).unwrap().len() <= 2000, "{name}");
    }
    assert!((3..30).contains(&count), "{count}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn element_starts_and_stops_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faces.jsonl");
    let mut rig = Rig::new(publisher(path.to_str().unwrap()), CAPS);
    rig.run(seen(0, |_| ()));
    for _ in 0..3 {
        for _ in 0..2 {
            stop(&rig);
        }
        rig.element.set_state(gst::State::Playing).unwrap();
    }
    stop(&rig);
    assert_eq!(of(&lines(&path), "face-frame/1").len(), 1);
    let error = rig.bus.pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
}

#[test]
fn flush_and_new_stream_end_the_tracks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faces.jsonl");
    let element = publisher(path.to_str().unwrap());
    element.set_property_from_str("events", "tracks");
    let mut rig = Rig::new(element, CAPS);
    rig.run(seen(0, |_| ()));
    assert!(rig.harness.push_event(gst::event::FlushStart::new()));
    assert!(rig.harness.push_event(gst::event::FlushStop::new(true)));
    assert_eq!(rig.stat("tracks"), 1);
    stop(&rig);
    assert_eq!(lines(&path).len(), 1);
}

#[test]
fn missing_and_malformed_metadata_is_said_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faces.jsonl");
    let mut rig = Rig::new(publisher(path.to_str().unwrap()), CAPS);
    for n in 0..60 {
        let plain = rig.grey(n);
        rig.run(plain);
    }
    let warning = rig.bus.pop_filtered(&[gst::MessageType::Warning]).expect("a warning");
    let gst::MessageView::Warning(warning) = warning.view() else { unreachable!() };
    assert!(warning.error().message().contains("onnxfacedetect"), "{warning:?}");
    let mut broken = rig.grey(61);
    let mut meta = gst::meta::CustomMeta::add(broken.get_mut().unwrap(), META_NAME).unwrap();
    meta.mut_structure().set("version", "one");
    rig.run(broken);
    assert_eq!((rig.stat("without-meta"), rig.stat("malformed")), (60, 1));
    stop(&rig);
    assert_eq!(lines(&path).len(), 0);
}

/// Starts an element that cannot start. Returns the one error it posts.
fn start_fails(element: &gst::Element) -> glib::Error {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err(), "it started");
    let error = error_of(&bus);
    assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none(), "posted once");
    assert_eq!(element.set_state(gst::State::Null), Ok(gst::StateChangeSuccess::Success));
    error
}

#[test]
fn settings_that_cannot_work_are_errors_at_start_that_name_the_property() {
    type Set<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(&str, Set, &str)] = &[
        ("", &[], "target"),
        ("ftp://host/x", &[], "target"),
        ("file://relative", &[], "target"),
        ("mqtt://", &[], "target"),
        ("mqtt://me:hunter2@host/x", &[], "username"),
        ("kafka://me:hunter2@host/x?token=hunter2", &[], "target"),
        ("mqtt://127.0.0.1/a/+", &[], "target"),
        ("mqtt://broker.example/a", &[], "not encrypted"),
        ("http://host.example/x", &[], "not encrypted"),
        ("https://me:hunter2@host.example/x?token=hunter2", &[], "credentials"),
        ("mqtt://127.0.0.1", &[("password-env", "X")], "user name"),
        ("mqtt://127.0.0.1", &[("client-id", "")], "client id"),
        ("mqtts://127.0.0.1", &[("ca-file", "/nowhere/ca.pem")], "ca-file '/nowhere/ca.pem'"),
        (
            "mqtt://127.0.0.1",
            &[("username", "u"), ("password-env", "X"), ("password-file", "y")],
            "password-env and password-file",
        ),
        (
            "mqtt://127.0.0.1",
            &[("home-assistant", "true"), ("home-assistant-prefix", "#")],
            "home-assistant-prefix",
        ),
        ("stdout", &[("home-assistant", "true")], "home-assistant is for an MQTT broker"),
        ("stdout", &[("token-env", "X")], "token-env is for a webhook"),
        ("stdout", &[("max-file-size", "5")], "max-file-size is for a file"),
        ("stdout", &[("notify", "[{\"who\": 1}]")], "notify"),
        ("stdout", &[("format", "dlstreamer"), ("events", "alerts")], "format and events"),
        ("https://127.0.0.1/x", &[("events", "frames")], "format and events"),
    ];
    for (target, properties, wanted) in cases {
        let element = publisher(target);
        let folder = tempfile::tempdir().unwrap();
        element.set_property("spool", folder.path().to_str().unwrap());
        for (name, value) in *properties {
            element.set_property_from_str(name, value);
        }
        let error = start_fails(&element);
        let kind = error.kind::<gst::ResourceError>();
        assert_eq!(kind, Some(gst::ResourceError::Settings), "{target}: {error}");
        let text = error.message();
        assert!(text.starts_with("start facepublish: ") && text.contains(wanted), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn places_that_cannot_be_opened_are_errors_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let away = folder.path().join("away/faces.jsonl");
    let error = start_fails(&publisher(away.to_str().unwrap()));
    assert_eq!(error.kind::<gst::ResourceError>(), Some(gst::ResourceError::OpenWrite));
    assert!(error.message().contains(away.to_str().unwrap()), "{error}");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let element = publisher("https://127.0.0.1:9/x");
    element.set_property("spool", file.to_str().unwrap());
    let error = start_fails(&element);
    assert_eq!(error.kind::<gst::ResourceError>(), Some(gst::ResourceError::OpenWrite));
    assert!(error.message().contains("spool") && error.message().contains("/file'"), "{error}");

    let element = publisher("stdout");
    element.set_property("notify", "/nowhere/rules.json");
    let error = start_fails(&element);
    assert_eq!(error.kind::<gst::ResourceError>(), Some(gst::ResourceError::OpenRead));
    assert!(error.message().contains("/nowhere/rules.json"), "{error}");
}

/// An element that publishes at a broker, with a spool of its own.
fn at_broker(address: &str, folder: &Path) -> gst::Element {
    let element = publisher(&format!("{address}/home/faces"));
    element.set_property("spool", folder.join("spool").to_str().unwrap());
    element.set_property("camera", "front/door");
    element.set_property("drain-time", 20_000_000_000_u64);
    element
}

#[test]
fn broker_gets_everything_on_its_topics() {
    let Some(server) = Server::start() else { return };
    for version in ["3.1.1", "5"] {
        let folder = tempfile::tempdir().unwrap();
        let subscriber = Subscriber::new(&server, "home/#");
        let element = at_broker(&server.plain, folder.path());
        element.set_property_from_str("mqtt-version", version);
        let mut rig = Rig::new(element, CAPS);
        let base = "home/faces/front%2Fdoor";
        subscriber.until(|got| got.topic == format!("{base}/status") && got.payload == "online");
        rig.run(seen(0, |faces| faces.events = vec![event("e-1", "known-face")]));
        // Of a state that changes faster than it is sent, the last value alone is sent.
        let person = format!("{base}/people/id%2Fada");
        let mut all = subscriber.until(|got| got.topic == person && got.json()["present"] == "ON");
        rig.run(seen(1, |faces| faces.ended_tracks = vec![7]));
        stop(&rig);
        all.extend(subscriber.until(|got| got.payload == "offline"));
        let on = |topic: &str| {
            let topic = format!("{base}/{topic}");
            all.iter().filter(move |got| got.topic == topic).collect::<Vec<_>>()
        };
        let frames = on("frames");
        assert_eq!((frames.len(), frames[0].qos), (2, 0), "{all:?}");
        assert_eq!(frames[0].json()["camera"], "front/door");
        let events = on("events/known-face");
        assert_eq!((events.len(), events[0].qos), (1, 1), "{all:?}");
        assert_eq!(events[0].json()["id"], "e-1");
        assert_eq!(on("tracks")[0].json()["track_id"], 7);
        let ada: Vec<Value> = on("people/id%2Fada").iter().map(|got| got.json()).collect();
        assert_eq!(
            (ada.len(), &ada[0]["present"], &ada[1]["present"]),
            (2, &json!("ON"), &json!("OFF"))
        );
        let last = on("state").last().unwrap().json();
        assert_eq!(last, json!({"faces": 0, "people": []}));
        // Who comes later knows, too.
        let late = Subscriber::new(&server, "home/faces/+/people/#").next();
        assert!(late.retained && late.json()["present"] == "OFF", "{late:?}");
        let spool = fs::read_dir(folder.path().join("spool/outbox")).unwrap();
        let left =
            spool.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "json"));
        assert_eq!(left.count(), 0, "all was delivered before the end");
    }
}

#[test]
fn home_assistant_is_told_of_camera_and_people() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let subscriber = Subscriber::new(&server, "homeassistant/#");
    let element = at_broker(&server.plain, folder.path());
    element.set_property("home-assistant", true);
    let mut rig = Rig::new(element, CAPS);
    rig.run(seen(0, |_| ()));
    let configs: Vec<(String, Value)> = (0..4)
        .map(|_| {
            let got = subscriber.next();
            (got.topic.clone(), got.json())
        })
        .collect();
    let ada = configs.iter().find(|(topic, _)| topic.contains("/binary_sensor/")).expect("Ada");
    assert_eq!(ada.1["name"], "Ada");
    assert_eq!(ada.1["state_topic"], "home/faces/front%2Fdoor/people/id%2Fada");
    assert_eq!(ada.1["availability"][0]["topic"], "home/faces/front%2Fdoor/status");
    assert_eq!(configs.iter().filter(|(topic, _)| topic.contains("/sensor/")).count(), 3);
    let nodes: Vec<&Value> = configs.iter().map(|(_, c)| &c["device"]["identifiers"]).collect();
    assert!(nodes.iter().all(|node| *node == nodes[0]), "one device: {nodes:?}");
    stop(&rig);
    let late = Subscriber::new(&server, "homeassistant/#").next();
    assert!(late.retained, "also after a restart of Home Assistant: {late:?}");
}

#[test]
fn events_wait_for_a_broker_that_is_away_and_the_stream_does_not() {
    let Some(server) = Server::start() else { return };
    server.kill();
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(at_broker(&server.plain, folder.path()), CAPS);
    rig.element.set_property("rate", 0.0_f32);
    for n in 0..200 {
        rig.run(seen(n, |faces| faces.events = vec![event(&format!("e-{n}"), "known-face")]));
    }
    let warning =
        rig.bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &[gst::MessageType::Warning]);
    let warning = warning.expect("that it is away is said");
    let gst::MessageView::Warning(warning) = warning.view() else { unreachable!() };
    assert!(warning.error().message().contains(&server.plain), "{warning:?}");
    // Not delivered, and not waited for: the broker is known to be away.
    stop(&rig);
    let waiting = fs::read_dir(folder.path().join("spool/outbox")).unwrap();
    let waiting = waiting
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "json"))
        .count();
    assert_eq!(waiting, 201, "200 events and the track");

    server.restart();
    let subscriber = Subscriber::new(&server, "home/faces/+/events/#");
    let outbox = face_core::outbox::Outbox::existing(&folder.path().join("spool")).unwrap();
    let courier = face_core::outbox::Courier::new(&outbox).unwrap();
    assert_eq!(courier.flush(&mut |_, _| (), &|| false).unwrap().delivered, 201);
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < 200 {
        ids.insert(subscriber.next().json()["id"].as_str().unwrap().to_owned());
    }
    assert!((0..200).all(|n| ids.contains(&format!("e-{n}"))));
}

#[test]
fn broker_with_tls_and_a_password_takes_what_comes() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, PASSWORD).unwrap();
    let subscriber = Subscriber::new(&server, "home/#");
    let tls = at_broker(&server.tls, &folder.path().join("tls"));
    tls.set_property("ca-file", Server::ca_file().to_str().unwrap());
    let password = at_broker(&server.password, &folder.path().join("password"));
    password.set_property("username", USER);
    password.set_property("password-file", secret.to_str().unwrap());
    for element in [tls, password] {
        let mut rig = Rig::new(element, CAPS);
        rig.run(seen(0, |faces| faces.events = vec![event("e-1", "known-face")]));
        subscriber.until(|got| got.topic.ends_with("/events/known-face"));
        stop(&rig);
        subscriber.until(|got| got.payload == "offline");
    }
}

#[test]
fn webhook_gets_events_and_tracks_and_no_frames() {
    let hook = Hook::willing();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let address = folder.path().join("address");
    fs::write(&token, "hunter2").unwrap();
    fs::write(&address, hook.url("secret-path")).unwrap();
    let element = publisher(&format!("webhook+file:{}", address.display()));
    element.set_property("spool", folder.path().join("spool").to_str().unwrap());
    element.set_property("token-file", token.to_str().unwrap());
    element.set_property("notify", r#"[{"persons": ["Ada"], "events": ["known-face"]}]"#);
    element.set_property("drain-time", 20_000_000_000_u64);
    let mut rig = Rig::new(element, CAPS);
    for n in 0..5 {
        rig.run(seen(n, |faces| {
            faces.events = vec![event("e-1", "known-face"), event("e-2", "zone-enter")];
        }));
    }
    let until = Instant::now() + Duration::from_secs(30);
    while rig.stat("delivered") < 1 {
        assert!(Instant::now() < until, "{:?}", rig.element.property::<gst::Structure>("stats"));
        std::thread::yield_now();
    }
    stop(&rig);
    let posts = hook.posts();
    let schemas: Vec<Value> = posts
        .iter()
        .map(|post| serde_json::from_str::<Value>(&post.body).unwrap()["schema"].clone())
        .collect();
    assert_eq!(schemas, ["face-event/1", "face-track/1"], "{posts:?}");
    assert_eq!(posts[0].path, "/secret-path");
    assert_eq!(posts[0].header("authorization"), "Bearer hunter2");
    assert!(posts[0].header("idempotency-key").starts_with("e-1-"));
}
