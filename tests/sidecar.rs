//! Sidecars: the format, its description for other readers, old and foreign ones.

#[path = "support/judge.rs"]
mod judge;

use face_core::clip::{Origin, SCHEMA, Sidecar, SidecarError};
use judge::judged;
use serde_json::Value;

const SCHEMA_FILE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema/face-clip-1.schema.json");

const GOLDEN: &[u8] = include_bytes!("data/clip_v1.json");
const REFERENCE: &[u8] = include_bytes!("data/reference_clip.json");

fn golden() -> Sidecar {
    Sidecar::read(GOLDEN).expect("the golden file is read")
}

#[test]
fn golden_file_is_read_and_written_back_whole() {
    let sidecar = golden();
    assert_eq!(sidecar.origin, Origin::Ours);
    assert_eq!(sidecar.camera, "front door");
    assert_eq!(sidecar.triggers[0].top_k[1].name, "Bob");
    assert_eq!(sidecar.frames[0].faces[0].rect, Some([0.25, 0.25, 0.125, 0.25]));
    let written: Value = serde_json::from_slice(&sidecar.to_json(true).unwrap()).unwrap();
    let expected: Value = serde_json::from_slice(GOLDEN).unwrap();
    let mut written_back = written.clone();
    for number in ["/frames/0/faces/0/box_px", "/frames/0/faces/0/landmarks_px"] {
        // 480 and 480.0 are one number in JSON.
        let pixels: Vec<f64> =
            serde_json::from_value(written.pointer(number).unwrap().clone()).unwrap();
        let before: Vec<f64> =
            serde_json::from_value(expected.pointer(number).unwrap().clone()).unwrap();
        assert_eq!(pixels, before);
        *written_back.pointer_mut(number).unwrap() = expected.pointer(number).unwrap().clone();
    }
    assert_eq!(written_back, expected);
    assert_eq!(Sidecar::read(&sidecar.to_json(true).unwrap()).unwrap(), sidecar);
}

#[test]
fn what_is_written_is_what_the_schema_says() {
    let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let reference = Sidecar::read(REFERENCE).unwrap();
    let right = [
        value(GOLDEN),
        value(&golden().to_json(true).unwrap()),
        value(&golden().to_json(false).unwrap()),
        value(&Sidecar::default().to_json(false).unwrap()),
        // Sidecars of the reference become ones of ours.
        value(&reference.to_json(false).unwrap()),
    ];
    let Some(errors) = judged(SCHEMA_FILE, &right) else { return };
    assert_eq!(errors, vec![None; right.len()]);
    // The schema says no to what is none.
    let wrong = [
        ("/schema", Value::from("face-clip/2")),
        ("/duration_ns", Value::from(-1)),
        ("/start_utc", Value::from("yesterday")),
        ("/media/sha256", Value::from("xyz")),
        ("/triggers/0/similarity", Value::from(7)),
        ("/frames/0/faces/0/box_px", serde_json::json!([1, 2, 3])),
    ]
    .map(|(pointer, wrong)| {
        let mut changed = value(GOLDEN);
        *changed.pointer_mut(pointer).unwrap() = wrong;
        changed
    });
    let errors = judged(SCHEMA_FILE, &wrong).expect("it was there a moment ago");
    assert!(errors.iter().all(Option::is_some), "{errors:?}");
}

/// Every field that is written is described.
#[test]
fn schema_describes_every_field() {
    let schema: Value =
        serde_json::from_slice(include_bytes!("../docs/schema/face-clip-1.schema.json")).unwrap();
    let written: Value = serde_json::from_slice(&golden().to_json(true).unwrap()).unwrap();
    let described = |definition: &str, value: &Value| {
        let properties = match definition {
            "" => &schema["properties"],
            name => &schema["$defs"][name]["properties"],
        };
        for field in value.as_object().expect(definition).keys() {
            assert!(properties.get(field).is_some(), "'{field}' of '{definition}'");
        }
    };
    described("", &written);
    for (definition, pointer) in [
        ("software", "/software"),
        ("missing", "/missing/0"),
        ("trigger", "/triggers/0"),
        ("candidate", "/triggers/0/top_k/0"),
        ("media", "/media"),
        ("video", "/media/video"),
        ("audio", "/media/audio"),
        ("snapshot", "/snapshot"),
        ("model", "/models/0"),
        ("gallery", "/gallery"),
        ("track", "/tracks/0"),
        ("frame", "/frames/0"),
        ("face", "/frames/0/faces/0"),
    ] {
        described(definition, written.pointer(pointer).expect(pointer));
    }
}

#[test]
fn embeddings_are_written_only_if_asked_for() {
    for bytes in [golden().to_json(false).unwrap(), golden().to_lines(false).unwrap()] {
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains("embedding\"") && !text.contains("embeddings"), "{text}");
        assert!(text.contains("Ada Lovelace"));
    }
    let text = String::from_utf8(golden().to_lines(true).unwrap()).unwrap();
    assert!(text.contains("\"embedding\"") && text.contains("\"embeddings\""));
}

#[test]
fn lines_are_the_same_sidecar() {
    let lines = golden().to_lines(true).unwrap();
    assert_eq!(lines.iter().filter(|b| **b == b'\n').count(), 3);
    assert_eq!(Sidecar::read(&lines).unwrap(), golden());
    // A process that is killed leaves half a line.
    let cut = Sidecar::read(&lines[..lines.len() - 10]).unwrap();
    assert!(cut.truncated);
    assert_eq!(cut.frames.len(), 1);
}

#[test]
fn versions_are_told_apart() {
    let mut value: Value = serde_json::from_slice(GOLDEN).unwrap();
    value["from the future"] = serde_json::json!({"x": [1]});
    value["triggers"][0]["mood"] = "curious".into();
    assert_eq!(Sidecar::read(value.to_string().as_bytes()).unwrap(), golden());
    // What an early program does not write yet.
    for optional in ["truncated", "missing", "models", "gallery", "thresholds", "tracks", "frames"]
    {
        value.as_object_mut().unwrap().remove(optional);
    }
    Sidecar::read(value.to_string().as_bytes()).unwrap();
    value["schema"] = "face-clip/2".into();
    let error = Sidecar::read(value.to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, SidecarError::Newer { version: 2 }), "{error}");
    for schema in ["face-clip/", "face-clip/0", "face-analysis/1", "x"] {
        value["schema"] = schema.into();
        let error = Sidecar::read(value.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, SidecarError::Unknown), "{schema}: {error}");
    }
}

#[test]
fn garbage_is_an_error() {
    let deep = "[".repeat(100_000);
    for bytes in [
        &b""[..],
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b"{\"schema\":\"face-clip/1\"}",
        b"{\"properties\":{},\"results\":3}",
        &GOLDEN[..100],
        deep.as_bytes(),
    ] {
        assert!(
            Sidecar::read(bytes).is_err(),
            "{:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
        );
    }
}

#[test]
fn sidecars_of_the_reference_are_read() {
    let sidecar = Sidecar::read(REFERENCE).unwrap();
    assert_eq!((sidecar.origin, sidecar.schema.as_str()), (Origin::Reference, SCHEMA));
    assert_eq!(sidecar.start_utc, None, "local time of an unknown place is no moment");
    assert_eq!(sidecar.duration_ns, 120_000_000);
    let events: Vec<_> = sidecar.triggers.iter().map(|t| (t.event.as_str(), t.offset_ns)).collect();
    assert_eq!(events, [("known-face", Some(40_000_000)), ("unknown-face", Some(80_000_000))]);
    assert_eq!(sidecar.triggers[0].name.as_deref(), Some("Alice"));
    assert_eq!(sidecar.triggers[0].person_id.as_deref(), Some("a1b2"));
    let first = &sidecar.frames[0].faces[0];
    assert_eq!((first.status.as_str(), first.name.as_deref()), ("identifying", None));
    assert_eq!(first.box_px, [10.0, 20.0, 40.5, 60.0]);
    assert_eq!(first.landmarks_px.len(), 10);
    let second = &sidecar.frames[1].faces;
    assert_eq!(second[0].name.as_deref(), Some("Alice"));
    assert_eq!(
        (second[1].status.as_str(), second[1].filter.as_deref()),
        ("filtered", Some("small-face"))
    );
    assert!(sidecar.frames[2].faces.is_empty(), "a face without a box is none");
    assert_eq!(sidecar.tracks.len(), 2);
    assert_eq!(sidecar.tracks[0].name.as_deref(), Some("Alice"));
    // Pictures and vectors of the faces are not taken over.
    assert!(!String::from_utf8(sidecar.to_json(true).unwrap()).unwrap().contains("0.1,0.2"));
}
