//! What is published: the formats against their descriptions for other readers.

#[path = "support/judge.rs"]
mod judge;

use face_core::event::{Candidate, FaceEvent};
use face_core::publish::homeassistant::{DEFAULT_PREFIX, Discovery, Entity};
use face_core::publish::topic::Topics;
use face_core::publish::{Best, Dwell, Face, FaceFrame, FaceTrack, dlstreamer};
use judge::judged;
use serde_json::{Value, json};

const SCHEMA_FILE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema/face-publish-1.schema.json");

fn candidate(name: &str, similarity: f32) -> Candidate {
    Candidate { person_id: format!("id-{name}"), name: name.into(), similarity }
}

fn face() -> Face {
    Face {
        id: 3,
        rect: [0.25, 0.125, 0.0625, 0.25],
        score: 0.875,
        observed: true,
        landmarks: vec![0.5; 10],
        quality: Some(0.75),
        track_id: 7,
        track_state: "confirmed".into(),
        status: "known".into(),
        confirmed: true,
        filter: "small".into(),
        person_id: Some("id-Alice".into()),
        name: Some("Alice".into()),
        similarity: Some(0.75),
        margin: Some(0.25),
        top_k: vec![candidate("Alice", 0.75), candidate("Bob", 0.5)],
        zones: vec!["door".into()],
        pose: Some([1.0, -2.0, 0.5]),
    }
}

fn frame() -> FaceFrame {
    FaceFrame {
        camera: Some("cam-1".into()),
        utc: Some("2026-01-02T03:04:05.678901Z".into()),
        running_time_ns: Some(4_233_333_333),
        frame_id: 127,
        looked: true,
        width: 1920,
        height: 1080,
        detector: "yunet_n_dynamic".into(),
        faces: vec![face()],
        ended_tracks: vec![5],
    }
}

fn event() -> FaceEvent {
    FaceEvent {
        id: "0b7e".into(),
        kind: "identity-changed".into(),
        running_time_ns: Some(40_000_000),
        utc: Some("2026-01-02T03:04:05Z".into()),
        camera: Some("door".into()),
        track_id: 7,
        person_id: Some("p-1".into()),
        name: Some("Zoë \"Z\" 张".into()),
        similarity: Some(0.625),
        previous_person_id: Some("p-2".into()),
        previous_name: Some("Bob".into()),
        top_k: vec![candidate("Zoë", 0.625)],
        zone: Some("hall".into()),
        dwell_ns: Some(3),
        dry_run: true,
    }
}

fn track() -> FaceTrack {
    FaceTrack {
        id: "5c1d".into(),
        camera: Some("door".into()),
        utc: Some("2026-01-02T03:04:05Z".into()),
        track_id: 7,
        was_id: 9,
        first_seen_ns: 40_000_000,
        last_seen_ns: 80_000_000,
        observations: 2,
        status: "known".into(),
        confirmed: true,
        person_id: Some("p-1".into()),
        name: Some("Ada".into()),
        similarity: Some(0.5),
        best: Some(Best {
            rect: [0.25, 0.25, 0.5, 0.5],
            running_time_ns: 40_000_000,
            score: 0.875,
            quality: Some(0.5),
        }),
        zones: vec![Dwell { zone: "hall".into(), dwell_ns: 40_000_000 }],
    }
}

fn parsed(text: &str) -> Value {
    assert!(!text.contains('\n'), "one line: {text}");
    serde_json::from_str(text).unwrap()
}

fn values() -> [Value; 6] {
    let least = FaceEvent { id: "x".into(), kind: "y".into(), ..FaceEvent::default() };
    let least_track = FaceTrack { status: "untracked".into(), ..FaceTrack::default() };
    [
        parsed(&frame().to_json()),
        parsed(&event().to_json()),
        parsed(&track().to_json()),
        parsed(&FaceFrame { width: 1, height: 1, ..FaceFrame::default() }.to_json()),
        parsed(&least.to_json()),
        parsed(&least_track.to_json()),
    ]
}

#[test]
fn messages_are_what_the_schema_says() {
    let right = values();
    let Some(errors) = judged(SCHEMA_FILE, &right) else { return };
    assert_eq!(errors, vec![None; right.len()]);
    let wrong = [
        (0, "/schema", json!("face-frame/2")),
        (0, "/faces/0/box", json!([1, 2, 3])),
        (0, "/faces/0/status", json!("whoever")),
        (0, "/utc", json!("yesterday")),
        (1, "/similarity", json!(7)),
        (2, "/observations", json!(-1)),
        (2, "/zones/0/dwell_ns", json!("long")),
    ]
    .map(|(nth, pointer, wrong)| {
        let mut changed = right[nth].clone();
        *changed.pointer_mut(pointer).unwrap() = wrong;
        changed
    });
    let errors = judged(SCHEMA_FILE, &wrong).expect("it was there a moment ago");
    assert!(errors.iter().all(Option::is_some), "{errors:?}");
}

#[test]
fn schema_describes_every_field() {
    let schema = include_str!("../docs/schema/face-publish-1.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let [frame, event, track, ..] = values();
    for (definition, value) in [
        ("frame", &frame),
        ("face", &frame["faces"][0]),
        ("candidate", &frame["faces"][0]["top_k"][0]),
        ("event", &event),
        ("track", &track),
        ("best", &track["best"]),
        ("dwell", &track["zones"][0]),
    ] {
        let described = schema["$defs"][definition]["properties"].as_object().unwrap();
        let written = value.as_object().unwrap();
        let names = |of: &serde_json::Map<String, Value>| of.keys().cloned().collect::<Vec<_>>();
        let (mut described, mut written) = (names(described), names(written));
        described.sort();
        written.sort();
        assert_eq!(described, written, "'{definition}'");
    }
}

#[test]
fn messages_are_read_back_the_same() {
    assert_eq!(serde_json::from_str::<FaceFrame>(&frame().to_json()).unwrap(), frame());
    assert_eq!(serde_json::from_str::<FaceTrack>(&track().to_json()).unwrap(), track());
    let more = frame().to_json().replacen('{', r#"{"later":{"a":1},"#, 1);
    assert_eq!(serde_json::from_str::<FaceFrame>(&more).unwrap(), frame());
}

/// By hand, after what gvametaconvert writes.
#[test]
fn frame_has_the_layout_of_gvametaconvert() {
    let expected = json!({
        "resolution": {"width": 1920, "height": 1080},
        "source": "cam-1",
        "timestamp": 4_233_333_333_u64,
        "objects": [{
            "x": 480, "y": 135, "w": 120, "h": 270,
            "region_id": 3,
            "id": 7,
            "roi_type": "face",
            "detection": {
                "bounding_box": {"x_min": 0.25, "y_min": 0.125, "x_max": 0.3125, "y_max": 0.375},
                "confidence": 0.875, "label_id": 0, "label": "face",
            },
            "face_id": {"label": "Alice", "confidence": 0.75, "label_id": 1_056_914_083},
            "extra_params": {
                "status": "known", "confirmed": true, "observed": true, "filter": "small",
                "person_id": "id-Alice", "margin": 0.25, "top": [["Alice", 0.75], ["Bob", 0.5]],
                "zones": ["door"],
            },
        }],
    });
    let mut written = dlstreamer::frame(&frame());
    let number = written["objects"][0]["face_id"]["label_id"].take();
    assert!(number.as_u64().is_some_and(|number| number < 1 << 31), "{number}");
    assert_eq!(dlstreamer::frame(&frame())["objects"][0]["face_id"]["label_id"], number);
    let mut expected = expected;
    expected["objects"][0]["face_id"]["label_id"] = Value::Null;
    assert_eq!(written, expected);
}

#[test]
fn face_without_track_and_name_lacks_them_in_that_layout() {
    let nobody = Face { id: 1, status: "unknown".into(), ..Face::default() };
    let seen = FaceFrame { width: 10, height: 10, faces: vec![nobody], ..FaceFrame::default() };
    let written = dlstreamer::frame(&seen);
    assert!(written.get("source").is_none() && written.get("timestamp").is_none(), "{written}");
    let object = written["objects"][0].as_object().unwrap();
    assert!(!object.contains_key("id") && !object.contains_key("face_id"), "{written}");
    let far = Face { rect: [f32::MAX; 4], ..Face::default() };
    let far = FaceFrame { width: u32::MAX, height: 1, faces: vec![far], ..FaceFrame::default() };
    assert!(dlstreamer::frame(&far).to_string().contains("\"x\":9223372036854775807"));
}

type Is = fn(&Value) -> bool;

/// The fields that Home Assistant documents for MQTT binary sensors and sensors, of those that we
/// could use, with the type of each.
fn documented(component: &str) -> Vec<(&'static str, Is)> {
    let mut fields: Vec<(&'static str, Is)> = vec![
        ("availability", Value::is_array),
        ("device", Value::is_object),
        ("device_class", Value::is_string),
        ("icon", Value::is_string),
        ("json_attributes_topic", Value::is_string),
        ("name", Value::is_string),
        ("origin", Value::is_object),
        ("qos", Value::is_u64),
        ("state_topic", Value::is_string),
        ("unique_id", Value::is_string),
        ("value_template", Value::is_string),
    ];
    match component {
        "binary_sensor" => {
            fields.extend([("payload_on", Value::is_string as Is)]);
            fields.extend([("payload_off", Value::is_string as Is)]);
        }
        "sensor" => fields.extend([("state_class", Value::is_string as Is)]),
        other => panic!("'{other}' is no component that is used"),
    }
    fields
}

fn check(entity: &Entity, topics: &Topics) -> String {
    let levels: Vec<&str> = entity.topic.split('/').collect();
    let &[DEFAULT_PREFIX, component, node, object, "config"] = levels.as_slice() else {
        panic!("no topic of discovery: {}", entity.topic);
    };
    let id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    assert!(node.chars().all(id) && object.chars().all(id), "{}", entity.topic);
    let config = entity.config.as_object().unwrap();
    let known = documented(component);
    for (name, value) in config {
        let field = known.iter().find(|(known, _)| known == name);
        let (_, right) = field.unwrap_or_else(|| panic!("'{name}' of {}", entity.topic));
        assert!(right(value), "'{name}' is {value}");
    }
    for needed in ["name", "unique_id", "state_topic", "availability", "device", "origin"] {
        assert!(config.contains_key(needed), "'{needed}' of {}", entity.topic);
    }
    let availability = json!([{
        "topic": topics.status(),
        "payload_available": "online",
        "payload_not_available": "offline",
    }]);
    assert_eq!(config["availability"], availability);
    let device = config["device"].as_object().unwrap();
    let fields: Vec<&str> = device.keys().map(String::as_str).collect();
    let known = ["identifiers", "name", "manufacturer", "model", "sw_version"];
    assert!(fields.iter().all(|field| known.contains(field)), "{fields:?}");
    assert_eq!(device["identifiers"], json!([node]));
    assert!(config["origin"]["name"].is_string());
    let classes = ["occupancy", "timestamp"];
    assert!(config.get("device_class").is_none_or(|c| classes.contains(&c.as_str().unwrap())));
    let template = config["value_template"].as_str().unwrap();
    assert!(template.starts_with("{{ ") && template.ends_with(" }}"), "{template}");
    config["unique_id"].as_str().unwrap().to_owned()
}

#[test]
fn discovery_has_the_fields_that_home_assistant_documents() {
    let mut ids = Vec::new();
    let hostile = "{{ states('x') }} \"}/+#\0\n";
    for camera in ["front door", hostile, ""] {
        let topics = Topics::new("home/faces", camera).unwrap();
        let discovery = Discovery::new(DEFAULT_PREFIX, "home/faces", camera, &topics);
        let mut entities = discovery.camera();
        for person in ["5f0c", hostile, "Zoë"] {
            let of_person = discovery.person(person, hostile);
            assert_eq!(of_person[0].config["state_topic"], json!(topics.person(person)));
            for entity in &of_person {
                let template = entity.config["value_template"].as_str().unwrap();
                assert!(!template.contains("states"), "a name is in a template: {template}");
            }
            entities.extend(of_person);
        }
        ids.extend(entities.iter().map(|entity| check(entity, &topics)));
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), count), (24, 24), "unique_id is unique");
}
