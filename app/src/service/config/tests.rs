use std::path::Path;

use super::*;

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/faces")).unwrap_or_else(|error| panic!("{error}"))
}

/// Everything that is wrong, a line each.
fn errors(text: &str) -> String {
    match Config::parse(text, Path::new("/etc/faces")) {
        Err(error) => error.to_string(),
        Ok(config) => panic!("{text}\nwas taken: {config:?}"),
    }
}

/// A configuration whose one camera has these lines.
fn door(lines: &str) -> String {
    let lines = lines.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!("version: 1\ncameras:\n  door:\n    source: rtsp://camera/stream\n{lines}")
}

const WHOLE: &str = "\
version: 1
models: {embedder: mobilefacenet, provider: cpu, threads: 2}
gallery: people.gallery
spool: {folder: spool, max-bytes: 1 GiB}
http: {address: '127.0.0.1:9000'}
rtsp: {address: '0.0.0.0:8554', allow-unencrypted: true}
defaults:
  detection: {min-face-size: 40}
  alerts:
    mode: unknowns
    cooldown: 5 min
    rules:
      - {zones: [door], events: [unknown-face]}
  clips: {storage: clips, triggers: [unknown-face, zone-enter], pre-roll: 2.5}
cameras:
  front door:
    source: {uri: rtsp://camera/stream}
    zones:
      door: 0,0 0.5,0 0.5,1 0,1
      '!street': 0,400 640,400 640,480 px
    tracking: {zone-dwell-time: 10 s}
    recognition: {min-face-size: 60, required-zones: [door], threshold: 0.5}
    publish:
      - {target: 'mqtts://broker/faces', home-assistant: true, username: faces, password-env: MQTT_PASSWORD}
      - {target: events.jsonl, max-file-size: 10 MB, notify: [{events: [unknown-face]}]}
    output: {annotate: true, bitrate: 2000}
    annotation: {draw-landmarks: false}
  hall:
    source: clip.mp4
    clips: false
    alerts: {mode: all}
";

#[test]
fn whole_configuration_becomes_settings_of_elements() {
    let config = parse(WHOLE);
    let door = config.camera("front door").unwrap();
    assert_eq!(door.detection.get("min-face-size"), Some("40"));
    assert_eq!(door.detection.get("threads"), Some("2"));
    assert_eq!(door.detection.get("interval"), Some("auto"));
    let recognition = door.recognition.as_ref().unwrap();
    assert_eq!(recognition.get("gallery"), Some("/etc/faces/people.gallery"));
    assert_eq!(
        (recognition.get("model"), door.detection.get("model")),
        (Some("mobilefacenet"), None)
    );
    assert_eq!(recognition.get("alert-cooldown"), Some("300000000000"));
    assert_eq!(recognition.get("alert-mode"), Some("unknowns"));
    assert_eq!(recognition.get("required-zones"), Some("door"));
    assert!(recognition.get("alert-rules").unwrap().starts_with('['));
    let zones = "door=0,0 0.5,0 0.5,1 0,1; !street=0,400 640,400 640,480 px";
    assert_eq!(door.tracking.get("zones"), Some(zones));
    let clips = door.clips.as_ref().unwrap();
    assert_eq!(clips.get("storage"), Some("/etc/faces/clips"));
    assert_eq!(clips.get("triggers"), Some("unknown-face+zone-enter"));
    assert_eq!(
        (clips.get("pre-roll"), clips.get("spool")),
        (Some("2500000000"), Some("/etc/faces/spool"))
    );
    assert_eq!(clips.get("spool-max-bytes"), door.publish[0].get("spool-max-bytes"));
    assert_eq!(door.publish[0].get("target"), Some("mqtts://broker/faces"));
    assert_eq!(door.publish[1].get("target"), Some("/etc/faces/events.jsonl"));
    let output = door.output.as_ref().unwrap();
    assert_eq!((output.mount.as_str(), output.bitrate_kbit), ("/front-door", 2000));
    assert_eq!(output.annotation.as_ref().unwrap().get("draw-landmarks"), Some("false"));
    let hall = config.camera("hall").unwrap();
    assert_eq!(hall.source.get("uri"), Some("/etc/faces/clip.mp4"));
    assert_eq!(hall.recognition.as_ref().unwrap().get("alert-mode"), Some("all"));
    assert!(hall.clips.is_none() && hall.output.is_none());
    assert_eq!(config.http, Some("127.0.0.1:9000".parse().unwrap()));
    assert_eq!(config.rtsp, Some("0.0.0.0:8554".parse().unwrap()));
    for camera in &config.cameras {
        for (element, settings) in camera.elements() {
            settings.make("any").unwrap_or_else(|error| panic!("{element:?}: {error}"));
        }
    }
}

#[test]
fn shortest_configuration_has_the_defaults() {
    let config = parse(&door(""));
    assert_eq!(config.http, Some(keys::HTTP.parse().unwrap()));
    assert_eq!((config.rtsp, config.spool.clone()), (None, None));
    let camera = &config.cameras[0];
    assert_eq!(
        camera.recognition.as_ref().unwrap().iter().collect::<Vec<_>>(),
        [("camera", "door")]
    );
    assert!(parse("version: 1\nhttp: false\ncameras: {a: {source: x.mp4}}\n").http.is_none());
}

#[test]
fn relative_paths_are_from_the_folder_of_the_file() {
    let config = parse(&door(
        "clips: {storage: 's3://clips/door', webhook: 'file:hook', webhook-key: 'env:KEY'}\n\
         publish: [{target: 'webhook+file:hook'}, {target: stdout}, {target: 'file:///srv/x.jsonl'}]",
    ));
    let camera = &config.cameras[0];
    let clips = camera.clips.as_ref().unwrap();
    assert_eq!(clips.get("storage"), Some("s3://clips/door"));
    assert_eq!(clips.get("webhook"), Some("file:/etc/faces/hook"));
    assert_eq!(clips.get("webhook-key"), Some("env:KEY"));
    let targets: Vec<_> = camera.publish.iter().map(|target| target.get("target")).collect();
    let expected = ["webhook+file:/etc/faces/hook", "stdout", "file:///srv/x.jsonl"].map(Some);
    assert_eq!(targets, expected);
}

#[test]
fn unknown_keys_are_refused_with_their_path_and_place() {
    for (text, said) in [
        (door("zonse: {}"), "5:5: cameras.door.zonse: unknown key, did you mean zones?"),
        (
            door("detection: {min-face: 3}"),
            "cameras.door.detection.min-face: unknown key, did you mean min-face-size?",
        ),
        (
            door("recognition:\n  camera: x"),
            "6:7: cameras.door.recognition.camera: unknown key; there are",
        ),
        (door("alerts: {alert-mode: all}"), "alert-mode: unknown key"),
        (door("colour: red"), "unknown key; there are source, detection"),
        (door("") + "camera: {}\n", "camera: unknown key, did you mean cameras?"),
    ] {
        let errors = errors(&text);
        assert!(errors.contains(said), "{text}\n{errors}");
    }
}

#[test]
fn values_that_do_not_fit_are_refused_with_what_would() {
    for (lines, said) in [
        (
            "detection: {score-threshold: 1.5}",
            "detection.score-threshold: a number from 0 to 1 is wanted, not '1.5'",
        ),
        ("detection: {score-threshold: nan}", "a number from 0 to 1 is wanted"),
        ("detection: {max-faces: -1}", "a whole number from 0 on is wanted, not '-1'"),
        ("detection: {max-faces: '3'}", "a whole number from 0 on is wanted"),
        ("detection: [1]", "a mapping is wanted, not a list"),
        ("tracking: {scene-cut: yes}", "true or false is wanted, not 'yes'"),
        (
            "tracking: {max-lost-time: 2 parsecs}",
            "a time from 1 ns to 1 h is wanted, not '2 parsecs'",
        ),
        ("tracking: {max-lost-time: 2 h}", "a time from 1 ns to 1 h is wanted"),
        ("recognition: {reload-interval: 1 us}", "whole milliseconds are wanted"),
        ("recognition: {reid-policy: sometimes}", "one of adaptive, every, once is wanted"),
        ("clips: {storage: x, triggers: [somebody]}", "'somebody' is none of known-face"),
        ("clips: {storage: x, triggers: known-face}", "a list is wanted, not 'known-face'"),
        ("zones: {door: '0,0 1,0'}", "cameras.door.zones: zone 'door' has 2 points"),
        ("zones: {'a=0,0 1,0 1,1; b': '0,0 1,0 1,1'}", "is no name of a zone"),
        ("zones: door", "a mapping of names to points is wanted"),
        ("publish: stdout", "a list of targets is wanted"),
        ("tracking: false", "a mapping is wanted, not 'false'"),
    ] {
        let errors = errors(&door(lines));
        assert!(errors.contains(said), "{lines}\n{errors}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (lines, said) in [
        ("source: rtsp://ada:geheim@camera/s", "username and password-env"),
        (
            "recognition: {required-zones: [hall]}",
            "recognition.required-zones: there is no zone 'hall'",
        ),
        ("alerts: {rules: [{zones: [hall]}]}", "alerts.rules: there is no zone 'hall'"),
        (
            "alerts: {rules: [{zone: [hall]}]}",
            "alerts: read alert-rules: alert rules: [0].zone is not known",
        ),
        ("alerts: {rules: nowhere.json}", "nowhere.json"),
        ("publish: [{target: x.jsonl, notify: [{zones: [hall]}]}]", "there is no zone 'hall'"),
        ("publish: [{target: 'gopher://x'}]", "publish[0]: target 'gopher://x' is none"),
        (
            "publish: [{target: x.jsonl, home-assistant: true}]",
            "home-assistant is for an MQTT broker alone",
        ),
        ("publish: [{target: x.jsonl}, {target: x.jsonl}]", "publish[1]: the same target twice"),
        ("publish: [{target: 'mqtt://broker.example/faces'}]", "publish[0]"),
        ("clips: {storage: 'ftp://x'}", "cameras.door.clips: storage"),
        ("clips: {storage: x, encoder: nonsuch}", "there is no element 'nonsuch'"),
        (
            "clips: {storage: x, webhook: 'https://x.example', webhook-key: hunter2}",
            "webhook-key: write env:NAME",
        ),
        ("tracking: {low-threshold: 0.9}", "cameras.door.tracking"),
        (
            "recognition: false\nalerts: {mode: all}",
            "there are no alerts where recognition is false",
        ),
        ("output: {mount: a b}", "letters, digits"),
    ] {
        // The second source takes the place of the first.
        let text = match lines.starts_with("source") {
            true => format!("version: 1\ncameras:\n  door:\n    {lines}\n"),
            false => door(lines),
        };
        let errors = errors(&text);
        assert!(errors.contains(said), "{lines}\n{errors}");
        assert!(!errors.contains("geheim") && !errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = "gallery: 'postgresql://cam:geheim@h/d'\nhttp: {address: '0.0.0.0:80'}\nrtsp: {address: x}\ncameras:\n  ' a': {}\n  b: {source: x, output: {mount: /same}}\n  c: {source: y, output: {mount: same}}\n";
    let errors = errors(text);
    let wanted = [
        "configuration:1:1: version: is missing",
        "gallery: ",
        "http.address: other machines reach 0.0.0.0:80 without a password",
        "rtsp.address: an IP address and a port are wanted",
        "cameras. a: a name has 1 to 64 characters",
        "source: is missing",
        "output.mount: another camera is served at /same",
    ];
    let mut rest = errors.as_str();
    for said in wanted {
        let found =
            rest.find(said).unwrap_or_else(|| panic!("no {said} in its place in\n{errors}"));
        rest = &rest[found..];
    }
    assert!(!errors.contains("geheim"), "{errors}");
}

#[test]
fn what_is_no_configuration_at_all_is_told() {
    for (text, said) in [
        ("", "version: is missing"),
        ("version: 2\ncameras: {a: {source: x}}", "'2' is not read here"),
        ("[1, 2]", "a mapping is wanted, not a list"),
        ("version: 1\ncameras: {}", "0 cameras"),
        ("version: 1\ncameras: [{source: x}]", "a mapping is wanted"),
        ("version: 1\ncameras: {a: {source: x}, a: {source: y}}", "'a' is there twice"),
    ] {
        let errors = errors(text);
        assert!(errors.contains(said), "{text}\n{errors}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faces.yaml");
    let load = || Config::load(&file).unwrap_err();
    assert!(matches!(load(), ConfigError::Read { .. }));
    std::fs::write(&file, b"\xff\xfe").unwrap();
    assert!(matches!(load(), ConfigError::NoText { .. }));
    std::fs::write(
        &file,
        "version: 1\ngallery: nowhere.gallery\ncameras: {a: {source: nowhere.mp4}}\n",
    )
    .unwrap();
    let error = load().to_string();
    let at = format!(
        "{}:2:1: gallery: there is no gallery '{}",
        file.display(),
        folder.path().display()
    );
    assert!(error.contains(&at), "{error}");
    assert!(error.contains("cameras.a.source: ") && error.contains("nowhere.mp4"), "{error}");
}

#[test]
fn numbers_with_units_are_those_that_the_descriptions_name() {
    let sections = keys::Sections::new().unwrap();
    let kind = |section: &keys::Section, name: &str| section.key(name).unwrap().kind.clone();
    for name in
        ["event-hold", "max-lost-time", "max-predicted-time", "scene-cut-gap", "zone-dwell-time"]
    {
        assert!(
            matches!(kind(&sections.tracking, name), keys::Kind::Time { unit_ns: 1, .. }),
            "{name}"
        );
    }
    for name in ["pre-roll", "post-roll", "cooldown", "decision-delay", "max-duration"] {
        assert!(
            matches!(kind(&sections.clips, name), keys::Kind::Time { unit_ns: 1, .. }),
            "{name}"
        );
    }
    assert!(matches!(
        kind(&sections.clips, "link-expiry"),
        keys::Kind::Time { unit_ns: 1_000_000_000, .. }
    ));
    assert!(matches!(
        kind(&sections.recognition, "reload-interval"),
        keys::Kind::Time { unit_ns: 1_000_000, .. }
    ));
    assert!(matches!(kind(&sections.publish, "max-file-size"), keys::Kind::Bytes { .. }));
    assert!(matches!(kind(&sections.recognition, "reid-interval-max"), keys::Kind::Whole { .. }));
    // A 64-bit number without a unit would be one that nobody can read.
    for section in sections.of_camera() {
        for key in &section.keys {
            let wide =
                key.spec.as_ref().is_some_and(|spec| spec.is::<gst::glib::ParamSpecUInt64>());
            assert!(!wide || !matches!(key.kind, keys::Kind::Whole { .. }), "{}", key.name);
        }
    }
}

/// The changes between two configurations of one camera.
fn changed(before: &str, after: &str) -> Option<CameraChange> {
    let changes = parse(&door(before)).changes(&parse(&door(after))).unwrap();
    changes.cameras.into_iter().next().map(|(_, change)| change)
}

#[test]
fn what_can_change_while_playing_is_set_and_the_rest_restarts_one_camera() {
    let set = |element, property: &str, value: Option<&str>| PropertyChange {
        element,
        property: property.to_owned(),
        value: value.map(str::to_owned),
    };
    assert_eq!(changed("", ""), None);
    assert_eq!(
        changed(
            "zones: {a: '0,0 1,0 1,1'}\nrecognition: {threshold: 0.5}",
            "recognition: {threshold: 0.4}"
        ),
        Some(CameraChange::Set(vec![
            set(Element::Tracking, "zones", None),
            set(Element::Recognition, "threshold", Some("0.4")),
        ]))
    );
    let restarts = |before: &str, after: &str, reason: &str| {
        let Some(CameraChange::Restart { because }) = changed(before, after) else {
            panic!("{before} to {after} restarts nothing")
        };
        assert!(because.iter().any(|b| b.contains(reason)), "{because:?}");
    };
    restarts("alerts: {rules: [{}]}", "", "alert-rules");
    restarts("", "clips: {storage: x}", "sections");
    restarts("output: true", "output: {mount: other}", "output");
    restarts("publish: [{target: a}]", "publish: [{target: b}]", "facepublish target");
}

#[test]
fn cameras_come_and_go_and_common_settings_touch_all() {
    let two = parse("version: 1\ncameras: {a: {source: x}, b: {source: y}}");
    let other = parse("version: 1\nhttp: false\ncameras: {c: {source: z}, b: {source: y}}");
    let changes = two.changes(&other).unwrap();
    assert!(changes.http && !changes.rtsp);
    assert_eq!(
        changes.cameras,
        [("c".to_owned(), CameraChange::Added), ("a".to_owned(), CameraChange::Removed)]
    );
    let models =
        parse("version: 1\nmodels: {threads: 1}\ncameras: {a: {source: x}, b: {source: y}}");
    let changes = two.changes(&models).unwrap().cameras;
    let restarts = |c: &(String, CameraChange)| matches!(c.1, CameraChange::Restart { .. });
    assert!(changes.len() == 2 && changes.iter().all(restarts), "{changes:?}");
    assert_eq!(two.changes(&two.clone()).unwrap(), Changes::default());
}

/// Texts that are nearly a configuration, and what is left of one when parts are cut out.
#[test]
fn damaged_files_are_errors_and_nothing_worse() {
    for end in (0..WHOLE.len()).step_by(7) {
        let cut = format!("{}{}", &WHOLE[..end], &WHOLE[(end + 13).min(WHOLE.len())..]);
        for text in [&WHOLE[..end], cut.as_str()] {
            let _ = Config::parse(text, Path::new("/etc/faces"));
        }
    }
}
