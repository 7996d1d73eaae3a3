//! `facectl enroll --from`: tracks of an analysis become people of a gallery.

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use face_core::align::{AlignedCrop, CROP_SIDE};
use face_core::inference::PoolOptions;
use face_core::model::{self, SearchPath, Task};
use face_core::picture::Picture;
use face_core::recognizer::{PictureFace, Recognizer};
use serde_json::{Value, json};
use support::{Answer, Setup};

const SECOND: u64 = 1_000_000_000;

/// facectl where nothing of it needs a model.
fn facectl(arguments: &[&str]) -> Answer {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_facectl"));
    Answer::of(&command.args(arguments).output().unwrap())
}

fn track(id: u64, samples: Vec<Value>) -> Value {
    json!({
        "track_id": id, "first_pts_ns": id * SECOND, "last_pts_ns": (id + 2) * SECOND, "frames": 50,
        "status": "unknown", "name": null, "person_id": null, "similarity": 0.2,
        "best_box": [10.0, 10.0, 90.0, 90.0], "best_pts_ns": (id + 1) * SECOND, "samples": samples,
    })
}

fn analysis(tracks: Vec<Value>, groups: Vec<Value>) -> Value {
    json!({
        "schema": "face-analysis/1", "source": "clips/party.mp4", "frames": 100,
        "duration_ns": 10 * SECOND, "models": {"detector": "yunet", "embedder": "another"},
        "tracks": tracks, "people": [], "groups": groups,
    })
}

fn group(number: u64, tracks: &[u64]) -> Value {
    json!({"group": number, "tracks": tracks, "frames": 50, "intervals_ns": [[0, SECOND]]})
}

/// A sample as an analysis has it; the picture need not be a face.
fn sample(crop: &[u8]) -> Value {
    let points = [[40.0, 50.0], [80.0, 50.0], [60.0, 70.0], [45.0, 90.0], [75.0, 90.0]];
    json!({
        "pts_ns": SECOND, "observations": 3, "box": [10.0, 10.0, 100.0, 100.0], "score": 0.9,
        "landmarks": points, "crop": STANDARD.encode(crop), "embedding": [1.0, 0.0],
    })
}

fn grey() -> Vec<u8> {
    AlignedCrop::from_rgb(vec![120; CROP_SIDE * CROP_SIDE * 3]).unwrap().to_png().unwrap()
}

fn write(folder: &tempfile::TempDir, name: &str, value: &Value) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, value.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn errors_name_the_file_the_track_and_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("g");
    let gallery = gallery.to_str().unwrap();
    let tracks = vec![track(1, vec![sample(&grey())]), track(2, vec![]), track(5, vec![])];
    let file = write(&folder, "a.json", &analysis(tracks, vec![group(4, &[2, 5])]));
    let enroll = |file: &str, more: &[&str]| {
        let fixed = ["enroll", "--gallery", gallery, "--name", "Ada", "--from", file];
        facectl(&[&fixed[..], more].concat())
    };
    for (more, parts) in [
        (&["--track", "9"][..], &["a.json", "no track 9: there are 1, 2, 5"][..]),
        (
            &["--track", "1", "--track", "2"],
            &["a.json", "track 2 has no samples: analyse with --samples"],
        ),
        (&["--group", "4"], &["a.json", "group 4 has no samples"]),
        (&["--group", "1"], &["a.json", "no group 1: there are 4"]),
        (&[], &["which tracks show 'Ada'", "--track"]),
        (&["--track", "1", "--store-crops", "loose"], &["no loose ones"]),
    ] {
        enroll(&file, more).is_error(2, parts);
    }
    let none = write(&folder, "none.json", &analysis(vec![], vec![]));
    enroll(&none, &["--track", "1"]).is_error(2, &["none.json", "no face was followed"]);
    enroll(&none, &["--group", "1"]).is_error(2, &["none.json", "analyse with --group"]);
    enroll("/nowhere/a.json", &["--track", "1"]).is_error(2, &["/nowhere/a.json"]);
    facectl(&["enroll", "--gallery", gallery, "--from", &file]).is_error(2, &["--name", "--sheet"]);
    assert!(!std::path::Path::new(gallery).exists());
}

#[test]
fn file_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("g");
    let enroll = |file: &str| {
        let gallery = gallery.to_str().unwrap();
        let fixed = ["enroll", "--gallery", gallery, "--name", "Ada", "--track", "1", "--from"];
        facectl(&[&fixed[..], &[file]].concat())
    };
    let with = |key: &str, value: Value| {
        let mut changed = sample(&grey());
        changed[key] = value;
        write(&folder, "a.json", &analysis(vec![track(1, vec![sample(&grey()), changed])], vec![]))
    };
    let png = |width: u32, height: u32| {
        let mut file = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(width, height).write_to(&mut file, image::ImageFormat::Png).unwrap();
        Value::from(STANDARD.encode(file.into_inner()))
    };
    for (key, value, part) in [
        ("crop", "not Base64!".into(), "no Base64"),
        ("crop", "AAAA".into(), "not a JPEG"),
        ("crop", "A".repeat(200_000).into(), "letters of Base64"),
        ("crop", png(1000, 1000), "too large"),
        ("crop", png(112, 96), "112x96 pixels"),
        ("embedding", json!([1e39, 0.0]), "not finite"),
        ("embedding", json!([3.0, 4.0]), "length 5.000"),
        ("embedding", json!([0.0, 0.0]), "length zero"),
        ("box", json!([0.0, 0.0, -5.0, 9.0]), "box"),
        ("score", json!(7.0), "score"),
        ("landmarks", json!([[1e39, 0.0], [0, 0], [0, 0], [0, 0], [0, 0]]), "landmarks"),
    ] {
        let answer = enroll(&with(key, value));
        answer.is_error(2, &["a.json", "sample 2 of track 1", part]);
    }
    for (name, text, part) in [
        ("text.json", "hello", "no analysis in JSON"),
        ("other.json", "{\"people\": 3}", "it has no schema"),
        ("newer.json", "{\"schema\": \"face-analysis/2\"}", "face-analysis/2"),
        ("cut.json", "{\"schema\": \"face-analysis/1\", \"tra", "no analysis in JSON"),
        ("part.json", "{\"schema\": \"face-analysis/1\"}", "missing field"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        enroll(path.to_str().unwrap()).is_error(2, &[name, part]);
    }
    assert!(!gallery.exists());
}

#[test]
fn sheet_alone_needs_no_gallery_and_spares_the_analysis() {
    let folder = tempfile::tempdir().unwrap();
    let tracks = vec![track(1, vec![sample(&grey())]), track(2, vec![])];
    let file = write(&folder, "a.json", &analysis(tracks, vec![]));
    let before = std::fs::read(&file).unwrap();
    let sheet = folder.path().join("sheet.png");
    let answer = facectl(&["enroll", "--from", &file, "--sheet", sheet.to_str().unwrap()]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, ""), "{answer:?}");
    let picture = Picture::open(&sheet).unwrap();
    assert!(picture.width() > 300 && picture.height() > 200, "{picture:?}");
    facectl(&["enroll", "--from", &file, "--sheet", &file]).is_error(2, &["the analysis itself"]);
    let missing = folder.path().join("missing/sheet.png");
    facectl(&["enroll", "--from", &file, "--sheet", missing.to_str().unwrap()])
        .is_error(2, &["missing/sheet.png"]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    for arguments in [
        &["enroll", "-g", "g", "--from", "a.json", "x.jpg"][..],
        &["enroll", "-g", "g", "--from", "a.json", "--from-video", "v.mp4"],
        &["enroll", "-g", "g", "--from", "a.json", "--track", "1"],
        &["enroll", "-g", "g", "--track", "1", "--name", "Ada", "x.jpg"],
        &["enroll", "--from", "a.json", "--name", "Ada", "--track", "1"],
        &["enroll", "--sheet", "s.png", "x.jpg"],
        &["enroll", "-g", "g", "--sheet", "s.png", "x.jpg"],
        &["enroll", "x.jpg"],
    ] {
        let answer = facectl(arguments);
        assert_eq!(answer.code, 2, "{arguments:?}");
        assert!(answer.stderr.starts_with("error: "), "{arguments:?}: {answer:?}");
    }
}

/// The largest faces of some pictures as samples, as an analysis with other models has them.
fn real_samples(setup: &Setup, pictures: &[&str]) -> Vec<Value> {
    let models = SearchPath::new(vec![setup.models.clone()]);
    let detector = models.resolve(model::DEFAULT_DETECTOR, Task::Detector).unwrap();
    let embedder = models.resolve(model::DEFAULT_EMBEDDER, Task::Embedder).unwrap();
    let mut recognizer = Recognizer::load(&detector, &embedder, &PoolOptions::default()).unwrap();
    let mut sample = |name: &&str| {
        let picture = Picture::open(setup.media(name).as_ref()).unwrap();
        let faces = recognizer.faces(&picture.view()).unwrap();
        let area = |face: &PictureFace| face.detection.bbox.area();
        let face = faces.into_iter().max_by(|a, b| area(a).total_cmp(&area(b))).unwrap();
        let found = face.detection;
        let points = found.landmarks.unwrap().0.map(|p| [p.x, p.y]);
        let (b, crop) = (found.bbox, face.crop.unwrap().to_png().unwrap());
        json!({
            "pts_ns": SECOND, "observations": 1, "box": [b.x, b.y, b.w, b.h], "score": found.score,
            "landmarks": points, "crop": STANDARD.encode(crop), "embedding": [],
        })
    };
    pictures.iter().map(&mut sample).collect()
}

#[test]
fn real_samples_go_through_the_gate_and_are_recognised_later() {
    let Some(setup) = Setup::new() else { return };
    let obama =
        ["people/barack-obama/1.jpg", "people/barack-obama/2.jpg", "people/barack-obama/1.jpg"];
    let obama = real_samples(&setup, &obama);
    let mut dark = real_samples(&setup, &["people/joe-biden/1.jpg"]);
    dark[0]["crop"] = {
        let black = AlignedCrop::from_rgb(vec![9; CROP_SIDE * CROP_SIDE * 3]).unwrap();
        STANDARD.encode(black.to_png().unwrap()).into()
    };
    let tracks = vec![track(3, obama[..1].to_vec()), track(4, obama[1..].to_vec()), track(7, dark)];
    let file = setup.path("a.json");
    std::fs::write(&file, analysis(tracks, vec![group(2, &[3, 4])]).to_string()).unwrap();
    let gallery = setup.path("g");
    let enroll = |name: &str, more: &[&str]| {
        let fixed = ["enroll", "--json", "-g", &gallery, "--from", &file, "--name", name];
        setup.run(&[&fixed[..], more].concat())
    };
    // A track that is named twice is one.
    let answer = enroll("Obama", &["--track", "4", "--group", "2"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let verdicts = answer.json();
    let of = |key: &str| verdicts.iter().map(|v| v[key].as_str().unwrap_or("")).collect::<Vec<_>>();
    assert_eq!(of("verdict"), ["enrolled", "enrolled", "duplicate"], "{answer:?}");
    assert_eq!(of("file")[0], "party.mp4 track 4 at 1.00 s");
    assert!(answer.stderr.contains("2 of 3 samples enrolled, 1 enrolled before"), "{answer:?}");

    let shown = setup.run(&["gallery", "show", "-g", &gallery, "--json", "Obama"]);
    let stored = &shown.json()[0]["stored"];
    assert_eq!(stored.as_array().unwrap().len(), 2, "{shown:?}");
    assert!(stored.as_array().unwrap().iter().all(|s| s["crop"] == true), "{stored}");
    let picture = setup.media("groups/obama_and_biden.jpg");
    let found = setup.run(&["recognize", "-g", &gallery, "--json", &picture]);
    assert!(found.stdout.contains("\"name\":\"Obama\""), "{found:?}");

    let dark = enroll("Joe", &["--track", "7"]);
    assert_eq!(dark.code, 1, "{dark:?}");
    let verdict = &dark.json()[0];
    assert_eq!((&verdict["verdict"], &verdict["reason"]), (&"rejected".into(), &"dark".into()));
    let other = enroll("Joe", &["--track", "3"]);
    assert_eq!(other.json()[0]["reason"], "conflict", "{other:?}");
    let forced = enroll("Joe", &["--track", "7", "--force", "--store-crops", "never"]);
    assert_eq!(forced.json()[0]["verdict"], "enrolled", "{forced:?}");
}

#[test]
fn real_tracks_of_a_stored_clip_are_enrolled() {
    let Some(setup) = Setup::new() else { return };
    let (store, gallery, sheet) = (setup.path("store"), setup.path("g"), setup.path("sheet.png"));
    std::fs::create_dir_all(format!("{store}/door")).unwrap();
    let video = setup.media("video/head-pose-face-detection-female-and-male.mp4");
    std::fs::copy(video, format!("{store}/door/monday.mp4")).unwrap();
    let from = |key: &str, more: &[&str]| {
        let fixed = ["enroll", "--json", "--from", key, "--storage", &store];
        setup.run(&[&fixed[..], more].concat())
    };
    // What is drawn and what is enrolled has the same numbers: both are seen all the time, and what
    // the gallery learned in between changes nothing.
    let first = ["-g", &gallery, "--name", "Ada", "--track", "1"];
    let answer = from("door/monday", &[&first[..], &["--sheet", &sheet]].concat());
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(Picture::open(sheet.as_ref()).is_ok());
    let answer = from("door/monday.mp4", &["-g", &gallery, "--name", "Bo", "--group", "2"]);
    let verdicts = answer.json();
    assert!(answer.code == 0 && verdicts.len() >= 3, "{answer:?}");
    assert!(verdicts.iter().all(|v| v["verdict"] == "enrolled"), "{answer:?}");
    assert_eq!(verdicts[0]["file"], "monday.mp4 track 2 at 0.00 s");

    let missing = ["-g", &gallery, "--name", "Cy", "--track", "77"];
    from("door/monday", &missing).is_error(2, &["door/monday", "no track 77: there are 1, 2"]);
    from("door/friday", &missing).is_error(2, &["door/friday", "no clip of"]);
    // No annotated twin is made by the way.
    assert_eq!(std::fs::read_dir(format!("{store}/door")).unwrap().count(), 1);
}
