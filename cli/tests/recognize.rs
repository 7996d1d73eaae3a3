//! `facectl recognize` and `facectl verify` on real pictures, and what they say when something
//! that they need is missing.

mod support;

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use face_core::embed::{Embedding, Fingerprint};
use face_core::gallery::{Access, Gallery, NewSample};
use serde_json::{Value, json};
use support::{Answer, Setup, keys};

const FACE_KEYS: [&str; 11] = [
    "box",
    "score",
    "landmarks",
    "status",
    "name",
    "person_id",
    "similarity",
    "margin",
    "top_k",
    "filter",
    "properties",
];

/// Names on a picture, by falling score of the faces; null for unknown ones.
fn names(record: &Value) -> Vec<&str> {
    let faces = record["faces"].as_array().unwrap();
    faces.iter().filter_map(|f| f["name"].as_str()).collect()
}

#[test]
fn people_of_group_pictures_are_named_in_the_order_of_the_arguments() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.people();
    let expected: [(&str, &[&str]); 7] = [
        ("groups/obama_and_biden.jpg", &["barack-obama", "joe-biden"]),
        ("expressions/happy.jpg", &[]),
        ("groups/bbt4.jpg", &["amy", "bernadette", "leonard", "penny", "raj", "sheldon"]),
        ("groups/two_people.jpg", &["barack-obama", "joe-biden"]),
        ("groups/bald_guys.jpg", &[]),
        ("groups/bbt3.jpg", &["howard", "leonard", "penny", "raj", "sheldon"]),
        ("expressions/sad.jpg", &[]),
    ];
    let files: Vec<String> = expected.iter().map(|(file, _)| setup.media(file)).collect();
    let mut arguments = vec!["recognize", "--json", "--threads", "3", "--gallery", &gallery];
    arguments.extend(files.iter().map(String::as_str));
    let answer = setup.run(&arguments);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
    let records = answer.json();
    assert_eq!(records.len(), expected.len());
    for (i, (record, (file, people))) in records.iter().zip(expected).enumerate() {
        assert_eq!(record["file"], files[i].as_str());
        assert_eq!(record["frame_id"], i);
        let mut found = names(record);
        found.sort_unstable();
        assert_eq!(found, people, "{file}");
    }
    assert!(records[4]["faces"].as_array().unwrap().len() >= 24);
}

#[test]
fn detector_without_landmarks_recognises_and_enrols_nobody_and_says_so() {
    let Some(setup) = Setup::new() else { return };
    if !setup.models.join("face_detection_ultralight_rfb320.onnx").exists() {
        eprintln!("skipped: no ultralight_rfb320 in {}", setup.models.display());
        return;
    }
    let gallery = setup.people();
    let picture = setup.media("groups/two_people.jpg");
    let detector = ["--detector", "ultralight_rfb320", "--gallery", &gallery];
    let recognise = |more: &[&str]| setup.run(&[&["recognize"], &detector[..], more].concat());
    let answer = recognise(&[&picture]);
    let note = "the detector 'ultralight_rfb320' finds no landmarks: its faces can be neither \
                enrolled nor recognised, choose another one with --detector\n";
    assert_eq!((answer.code, answer.stderr.as_str()), (0, note));
    assert_eq!(answer.stdout.lines().count(), 2, "{answer:?}");
    for line in answer.stdout.lines() {
        assert!(line.contains("filtered, for its eyes, nose and mouth were not found"), "{line}");
    }
    let record = &recognise(&["--json", &picture]).json()[0];
    for face in record["faces"].as_array().unwrap() {
        assert_eq!(
            (&face["status"], &face["filter"]),
            (&json!("filtered"), &json!("no-landmarks"))
        );
        assert!(face["landmarks"].is_null() && face["name"].is_null());
    }
    let empty = setup.path("empty.gallery");
    let person = setup.media("people/barack-obama/1.jpg");
    let arguments =
        ["--detector", "ultralight_rfb320", "--gallery", &empty, "--name", "B", &person];
    let answer = setup.run(&[&["enroll"], &arguments[..]].concat());
    assert_eq!(answer.code, 1, "{answer:?}");
    let said = format!("{}{}", answer.stdout, answer.stderr);
    assert!(said.contains("the eyes, nose and mouth were not found"), "{said}");
    assert!(said.contains("finds no landmarks"), "{said}");
}

#[test]
fn json_of_a_picture_has_exactly_the_documented_shape() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.people();
    let picture = setup.media("groups/obama_and_biden.jpg");
    let arguments = ["recognize", "--json", "--gallery", &gallery, &picture];
    let answer = setup.run(&arguments);
    assert_eq!(keys(answer.stdout.trim()), ["file", "width", "height", "frame_id", "faces"]);
    let faces = answer.stdout.split_once("\"faces\":[").unwrap().1;
    // Up to the end of its last field, an empty object.
    let first = &faces[..faces.find("{}").unwrap() + 3];
    assert_eq!(keys(first), FACE_KEYS);

    let record = &answer.json()[0];
    let size = (record["width"].as_f64().unwrap(), record["height"].as_f64().unwrap());
    let face = &record["faces"][0];
    let numbers = |v: &Value| -> Vec<f64> {
        v.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
    };
    let b = numbers(&face["box"]);
    assert_eq!(b.len(), 4);
    assert!(b[0] >= 0.0 && b[1] >= 0.0 && b[0] + b[2] <= size.0 && b[1] + b[3] <= size.1, "{b:?}");
    let points: Vec<_> = face["landmarks"].as_array().unwrap().iter().map(numbers).collect();
    assert_eq!(points.len(), 5);
    for p in points {
        assert!(p.len() == 2 && (b[0]..b[0] + b[2]).contains(&p[0]), "{p:?} in {b:?}");
    }
    assert_eq!((&face["status"], &face["name"]), (&json!("known"), &json!("barack-obama")));
    assert!(face["similarity"].as_f64().unwrap() > 0.7);
    let top = face["top_k"].as_array().unwrap();
    assert_eq!((top.len(), &top[0]["person_id"]), (3, &face["person_id"]));
    assert!((&top[0]["name"], &top[0]["similarity"]) == (&face["name"], &face["similarity"]));
    let behind = top[0]["similarity"].as_f64().unwrap() - top[1]["similarity"].as_f64().unwrap();
    assert!((face["margin"].as_f64().unwrap() - behind).abs() < 1e-5, "{face}");
    assert_eq!((&face["filter"], &face["properties"]), (&Value::Null, &json!({})));
    assert_eq!((face.get("crop"), face.get("embedding")), (None, None));
    let stranger = &record["faces"][2];
    assert_eq!(stranger["status"], "unknown");
    assert!(stranger["name"].is_null() && stranger["person_id"].is_null());
    assert!(stranger["similarity"].as_f64().unwrap() < 0.4);

    let answer = setup.run(&[&arguments[..], &["--embeddings"]].concat());
    let embedding = numbers(&answer.json()[0]["faces"][0]["embedding"]);
    assert_eq!(embedding.len(), 128);
    assert!((embedding.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-4);
    let more = ["--crops", "--top-k", "1", "--min-margin", "1"];
    let face = setup.run(&[&arguments[..], &more].concat()).json().remove(0)["faces"][0].take();
    assert_eq!((&face["status"], &face["name"]), (&json!("uncertain"), &Value::Null));
    assert_eq!(face["top_k"].as_array().unwrap().len(), 1);
    let png = STANDARD.decode(face["crop"].as_str().unwrap()).unwrap();
    let crop = image::load_from_memory_with_format(&png, image::ImageFormat::Png).unwrap();
    assert_eq!((crop.width(), crop.height()), (112, 112));
    assert_eq!(setup.run(&[&arguments[2..], &["--crops"]].concat()).code, 2);
    let strict = setup.run(&[&arguments[..], &["--threshold", "0.9"]].concat());
    assert_eq!(names(&strict.json()[0]), [""; 0]);
}

#[test]
fn unreadable_picture_does_not_keep_the_others_from_being_looked_at() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.people();
    let bad = setup.path("bad.jpg");
    std::fs::write(&bad, b"\xff\xd8\xff\xe0 no picture").unwrap();
    let (missing, good) = (setup.path("missing.jpg"), setup.media("people/amy/1.png"));
    let arguments = ["recognize", "--gallery", &gallery, &bad, &missing, &good];
    let answer = setup.run(&[&arguments[..], &["--json"]].concat());
    assert_eq!(answer.code, 1);
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((keys(lines[0]), keys(lines[1])), (keys("{\"file\":,\"error\":}"), keys(lines[0])));
    assert_eq!(names(&answer.json()[2]), ["amy"]);
    assert!(answer.json()[1]["error"].as_str().unwrap().contains("No such file"), "{answer:?}");
    let errors: Vec<&str> = answer.stderr.lines().collect();
    assert_eq!(errors.len(), 2, "{answer:?}");
    assert!(errors[0].starts_with("facectl: error: ") && errors[0].contains(&bad), "{answer:?}");

    let text = setup.run(&arguments);
    assert_eq!((text.code, text.stdout.lines().count()), (1, 1));
    assert!(text.stdout.starts_with(&format!("{good}: amy (")), "{text:?}");
}

#[test]
fn verify_tells_one_person_from_two() {
    let Some(setup) = Setup::new() else { return };
    let people = |name: &str| setup.media(&format!("people/{name}"));
    let (a, b) = (people("barack-obama/1.jpg"), people("barack-obama/2.jpg"));
    let same = setup.run(&["verify", "--json", &a, &b]);
    assert_eq!(same.code, 0, "{same:?}");
    assert_eq!(keys(same.stdout.trim()), ["similarity", "same", "threshold"]);
    let answer = &same.json()[0];
    assert_eq!(answer["same"], true);
    assert!((answer["threshold"].as_f64().unwrap() - 0.4).abs() < 1e-6);
    let different = setup.run(&["verify", "--json", &a, &people("joe-biden/1.jpg")]);
    assert_eq!((different.code, &different.json()[0]["same"]), (1, &json!(false)));
    assert!(different.json()[0]["similarity"].as_f64().unwrap() < 0.31);
    let text = setup.run(&["verify", &a, &b, "--threshold", "0.99"]);
    assert_eq!(text.code, 1);
    assert!(text.stdout.starts_with("different people: similarity 0."), "{text:?}");

    let group = setup.media("groups/two_people.jpg");
    let unclear = setup.run(&["verify", "--json", &a, &group]);
    unclear.is_error(2, &[&group, "2 faces"]);
    assert_eq!(unclear.stdout, "");
    assert_eq!(setup.run(&["verify", "--largest", &people("joe-biden/1.jpg"), &group]).code, 0);
    setup.run(&["verify", &a, &setup.path("x.jpg")]).is_error(2, &["x.jpg", "No such file"]);
}

#[test]
fn gallery_that_cannot_be_used_is_named_with_the_reason() {
    let Some(setup) = Setup::new() else { return };
    let picture = setup.media("people/amy/1.png");
    let recognize =
        |gallery: &str| setup.run(&["recognize", "--json", "--gallery", gallery, &picture]);

    let other = setup.path("other.gallery");
    let mut direction = [0.0; 128];
    direction[0] = 1.0;
    let probe = Embedding::new(&direction).unwrap();
    let fingerprint = Fingerprint {
        model: "other-net".into(),
        alignment: "arcface-112".into(),
        probe: probe.clone(),
    };
    let gallery = Gallery::open(Path::new(&other), &fingerprint, Access::Create).unwrap();
    gallery.enroll("x", &[NewSample::new(probe, "")]).unwrap();
    drop(gallery);
    recognize(&other).is_error(2, &[&other, "other-net", "mobilefacenet"]);
    let enroll = setup.run(&["enroll", "--gallery", &other, "--name", "amy", &picture]);
    enroll.is_error(2, &[&other, "other-net"]);

    let missing = setup.path("none.gallery");
    recognize(&missing).is_error(2, &[&missing, "no such file"]);
    assert!(!Path::new(&missing).exists());
    let garbage = setup.path("garbage.gallery");
    std::fs::write(&garbage, vec![7; 8192]).unwrap();
    recognize(&garbage).is_error(2, &[&garbage]);
}

#[test]
fn missing_runtime_or_model_says_where_it_was_looked_for_and_what_to_do() {
    let Some(setup) = Setup::new() else { return };
    let picture = setup.media("people/amy/1.png");
    let arguments = ["verify", &picture, &picture];
    let mut command = setup.command(&arguments);
    command.env("GST_FACE_ORT_PATH", "/nonexistent").env_remove("ORT_DYLIB_PATH");
    let answer = Answer::of(&command.output().unwrap());
    answer.is_error(2, &["ONNX Runtime", "/nonexistent", "GST_FACE_ORT_PATH", "setup.sh"]);
    let wrong = setup.run(&[&arguments[..], &["--runtime-library", "/etc/passwd"]].concat());
    wrong.is_error(2, &["ONNX Runtime", "/etc/passwd"]);

    let empty = setup.path("no-models");
    let mut command = setup.command(&arguments);
    command.env("GST_FACE_MODEL_PATH", &empty).env("XDG_DATA_HOME", setup.path("data"));
    let answer = Answer::of(&command.output().unwrap());
    answer.is_error(2, &[&empty, &setup.path("data"), "facectl models fetch yunet_n_dynamic"]);

    let swapped = setup.run(&[&arguments[..], &["--detector", "mobilefacenet"]].concat());
    swapped.is_error(2, &["mobilefacenet", "a detector is needed"]);
}

#[test]
fn reader_that_leaves_early_is_no_error() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.people();
    let picture = setup.media("people/amy/1.png");
    let mut arguments = vec!["recognize", "--json", "--gallery", &gallery];
    arguments.extend([picture.as_str(); 50]);
    let mut command = setup.command(&arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(0), ""));
}
