use std::path::Path;

use super::*;
use crate::service::config::{Config, Settings};

fn import(text: &str) -> (Config, Import) {
    let import = import_degirum(text, Path::new("theirs.yaml")).unwrap();
    let config = Config::parse(&import.yaml, Path::new("/etc/faces"))
        .unwrap_or_else(|error| panic!("{error}\n{}", import.yaml));
    (config, import)
}

fn lost(import: &Import) -> Vec<&str> {
    import.notes.iter().filter(|note| note.lost).map(|note| note.key.as_str()).collect()
}

fn recognition(config: &Config) -> &Settings {
    config.cameras[0].recognition.as_ref().unwrap()
}

const TRACKER: &str = "\
face_detector:
  hardware: TENSORRT/GPU
  inference_host_address: \"@local\"
  devices: [1]
face_embedder:
  hardware: TENSORRT/GPU
  inference_host_address: \"@local\"
  token: dg_secret
db_path: ./face_reid_db.lance
cosine_similarity_threshold: 0.5
read_consistency_interval: 0.25
embeddings_accumulation_limit: 0
face_filters:
  enable_small_face_filter: true
  min_face_size: 50
  enable_zone_filter: yes
  zone: [[100, 100], [500, 100], [500, 400.5]]
  enable_frontal_filter: true
  enable_shift_filter: false
  enable_reid_expiration_filter: true
  reid_expiration_frames: 15
storage:
  endpoint: s3.example.org
  access_key: AKIAEXAMPLE
  secret_key: hunter2
  bucket: unknown-faces
  url_expiration_s: 7200
video_source: rtsp://admin:pass%40word@192.168.1.100:554/stream?channel=1
credence_count: 6
alerts:
  alert_mode: ON_UNKNOWNS
  alert_once: false
  clip_duration: 90
  notification_config: https://hooks.example.org/T0/secret
  notification_message: '${time}: somebody at the gate: [${filename}](${url})'
  notification_timeout_s: 10
live_stream:
  mode: WEB
  rtsp_url: gate
";

#[test]
fn tracker_keeps_its_meaning_and_its_secrets_stay_behind() {
    let (config, import) = import(TRACKER);
    assert!(import.is_whole(), "{:?}", lost(&import));
    let camera = &config.cameras[0];
    assert_eq!(camera.source.get("uri"), Some("rtsp://192.168.1.100:554/stream?channel=1"));
    assert_eq!(camera.detection.get("provider"), Some("tensorrt"));
    assert_eq!(camera.detection.get("device-id"), Some("1"));
    let zones = camera.tracking.get("zones");
    assert_eq!(zones, Some("zone=100,100 500,100 500,400.5 px"));
    let expected = [
        ("alert-mode", "unknowns"),
        ("alert-repeat", "on-change"),
        ("confirm-count", "6"),
        ("gallery", "/etc/faces/./face_reid_db.gallery"),
        ("min-face-size", "50"),
        ("reid-interval-max", "15"),
        ("reid-interval-max-time", "0"),
        ("reload-interval", "250"),
        ("require-frontal", "true"),
        ("required-zones", "zone"),
        ("threshold", "0.5"),
    ];
    for (property, value) in expected {
        assert_eq!(recognition(&config).get(property), Some(value), "{property}");
    }
    assert_eq!(recognition(&config).get("require-centered"), None);
    let clips = camera.clips.as_ref().unwrap();
    for (property, value) in [
        ("storage", "s3://unknown-faces?endpoint=https://s3.example.org"),
        ("triggers", "unknown-face"),
        ("pre-roll", "1500000000"),
        ("post-roll", "1467000000"),
        ("on-retrigger", "ignore"),
        ("link-expiry", "7200"),
        ("webhook", "env:NOTIFICATION_URL"),
        ("message-stored", "{time}: somebody at the gate: [{key}]({url})"),
    ] {
        assert_eq!(clips.get(property), Some(value), "{property}");
    }
    assert_eq!(camera.output.as_ref().unwrap().mount, "/gate");
    for secret in ["pass%40word", "hunter2", "AKIAEXAMPLE", "T0/secret", "dg_secret"] {
        assert!(!import.yaml.contains(secret), "{secret}");
        assert!(!import.notes.iter().any(|note| note.text.contains(secret)), "{secret}");
    }
    for variable in ["CAMERA_PASSWORD", "AWS_SECRET_ACCESS_KEY", "NOTIFICATION_URL"] {
        assert!(import.notes.iter().any(|note| note.text.contains(variable)), "{variable}");
    }
}

#[test]
fn what_is_not_said_is_what_the_reference_does() {
    let (config, import) = import("db_path: people.lance\nvideo_source: 2\n");
    assert!(import.is_whole(), "{:?}", lost(&import));
    assert_eq!(config.cameras[0].source.get("uri"), Some("/dev/video2"));
    assert_eq!(recognition(&config).get("alert-mode"), Some("none"));
    assert_eq!(recognition(&config).get("alert-repeat"), Some("once"));
    assert!(config.cameras[0].clips.is_none() && config.cameras[0].publish.is_empty());
    let (config, _) = self::import("{}");
    assert_eq!(config.cameras[0].source.get("uri"), Some("/dev/video0"));
}

#[test]
fn alerts_without_a_storage_are_published() {
    let text = "video_source: clip.mp4\nalerts: {alert_mode: ON_ALL}\n";
    let (config, import) = import(text);
    assert!(import.is_whole(), "{:?}", lost(&import));
    assert_eq!(config.cameras[0].publish[0].get("target"), Some("stdout"));
    assert_eq!(config.cameras[0].publish[0].get("events"), Some("alerts"));
    let text = "alerts:\n  alert_mode: ON_ALL\n  notification_config: http://127.0.0.1:8000/notify\n  \
                notification_message: '${time}'\n";
    let import = import_degirum(text, Path::new("x")).unwrap();
    assert_eq!(lost(&import), ["alerts.notification_message"]);
    assert!(import.yaml.contains("webhook+env:NOTIFICATION_URL"), "{}", import.yaml);
}

#[test]
fn what_has_no_like_here_is_named_key_by_key() {
    let text = "\
face_detector: {hardware: HAILORT/HAILO8, inference_host_address: '@cloud', model_zoo_url: degirum/hailo}
face_embedder: {model_name: arcface, inference_host_address: '192.168.1.5:8778', devices: [0, 1], model_properties: {x: 1}}
embeddings_accumulation_limit: 30
video_source_resolution_override: [640, 480]
storage: {endpoint: ./clips, access_key: '', secret_key: '', bucket: faces}
alerts:
  alert_mode: ON_KNOWNS
  clip_duration: 1
  notification_config: 'mailto://user:hunter2@example.org'
  notification_message: '${json.dumps(result)}'
live_stream: {mode: LOCAL}
colour: red
";
    let (config, import) = import(text);
    let mut lost = lost(&import);
    lost.sort_unstable();
    let expected = [
        "alerts.clip_duration",
        "alerts.notification_config",
        "colour",
        "embeddings_accumulation_limit",
        "face_detector.hardware",
        "face_detector.inference_host_address",
        "face_embedder.devices",
        "face_embedder.inference_host_address",
        "face_embedder.model_name",
        "face_embedder.model_properties",
        "live_stream.mode",
        "video_source_resolution_override",
    ];
    assert_eq!(lost, expected);
    assert!(!import.is_whole() && config.cameras[0].clips.is_none());
    assert!(import.notes.iter().all(|note| !note.text.contains("hunter2")));
    assert!(import.notes.is_sorted_by_key(|note| note.place));
}

#[test]
fn folder_of_clips_has_the_bucket_below_it() {
    let text = "storage: {endpoint: ./clips/, bucket: faces}\nalerts: {alert_mode: ON_ALL, clip_duration: 60}\n\
                video_source_fps_override: 15\n";
    let (config, _) = import(text);
    let clips = config.cameras[0].clips.as_ref().unwrap();
    assert_eq!(clips.get("storage"), Some("/etc/faces/./clips/faces"));
    assert_eq!(clips.get("pre-roll"), Some("2000000000"));
}

#[test]
fn wrong_values_are_lost_and_hostile_ones_stay_text() {
    let text = "\
cosine_similarity_threshold: 7
credence_count: many
face_filters: {enable_zone_filter: true, zone: [[1, 2], [3, 4]], enable_small_face_filter: perhaps}
video_source: \"x\\ncameras: {}\"
live_stream: [1]
";
    let (config, import) = import(text);
    let lost = lost(&import);
    for key in [
        "cosine_similarity_threshold",
        "credence_count",
        "face_filters.zone",
        "face_filters.enable_small_face_filter",
        "live_stream",
    ] {
        assert!(lost.contains(&key), "{key}: {lost:?}");
    }
    assert_eq!(config.cameras[0].source.get("uri"), Some("/etc/faces/x\ncameras: {}"));
    for text in ["", "[1]", "a: [", "a: *x"] {
        assert!(import_degirum(text, Path::new("x")).is_err(), "{text}");
    }
}
