//! The text is what the format's page allows, and says what the status says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use face_core::outbox;

use super::super::state::CameraState;
use super::super::status::{CameraStatus, Counts, Delay, Process, Status};
use super::render;

/// A sample: labels and value.
type Sample = (BTreeMap<String, String>, f64);

/// A family of the text: its type and its samples by their full names.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: Vec<(String, Sample)>,
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Labels between their braces.
fn labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect("name=\"");
        assert!(is_name(name), "{name}");
        let (mut value, mut rest) = (String::new(), rest.chars());
        loop {
            match rest.next().expect("the value ends") {
                '"' => break,
                '\\' => value.push(match rest.next() {
                    Some('n') => '\n',
                    Some(c @ ('\\' | '"')) => c,
                    other => panic!("\\{other:?}"),
                }),
                c => value.push(c),
            }
        }
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice");
        text = rest.as_str();
        if !text.is_empty() {
            text = text.strip_prefix(',').expect("a comma between labels");
            assert!(!text.is_empty(), "a comma at the end");
        }
    }
    labels
}

/// Reads the text strictly: families one after the other, each with HELP and TYPE, no sample twice.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n') && !text.contains('\r') && !text.contains("\n\n"));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut current, mut seen) = (String::new(), BTreeSet::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !words.is_empty(), "{line}");
            let kind = lines.next().and_then(|l| l.strip_prefix("# TYPE ")).expect("TYPE");
            let (typed, kind) = kind.split_once(' ').unwrap();
            assert_eq!(typed, name);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            let family = Family { kind: kind.to_owned(), samples: Vec::new() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} twice");
            current = name.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series.to_owned()), "{series} twice");
        let (name, inner) = match series.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').expect("}")),
            None => (series, ""),
        };
        let family = families.get_mut(&current).expect("a family");
        let suffixes =
            if family.kind == "histogram" { &["_bucket", "_sum", "_count"][..] } else { &[""] };
        assert!(suffixes.iter().any(|s| name == format!("{current}{s}")), "{name} in {current}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        family.samples.push((name.to_owned(), (labels(inner), value)));
    }
    families
}

fn camera(name: &str) -> CameraStatus {
    let mut delay = Delay::default();
    for millis in [5, 45, 480, 9000] {
        delay.record(Duration::from_millis(millis));
    }
    CameraStatus {
        name: name.to_owned(),
        state: CameraState::Running,
        counts: Counts {
            frames: 1000,
            looks: 400,
            events: [("known-face".into(), 3), ("zone-enter".into(), 1)].into(),
            ..Counts::default()
        },
        frames_per_second: 14.5,
        names: vec!["Ada".into()],
        faces: 2,
        delay,
        times: vec![("onnxfacedetect", [1, 2, 3].map(Duration::from_millis))],
        queues: vec![("arrived", 2)],
        ..CameraStatus::default()
    }
}

fn value(families: &BTreeMap<String, Family>, name: &str, wanted: &[(&str, &str)]) -> f64 {
    let wanted: BTreeMap<String, String> =
        wanted.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let all = families.values().flat_map(|family| &family.samples);
    let mut found = all.filter(|(n, (labels, _))| n == name && *labels == wanted);
    let (_, (_, value)) = found.next().unwrap_or_else(|| panic!("no {name} {wanted:?}"));
    *value
}

#[test]
fn text_is_what_the_format_allows_and_says_what_is() {
    let stats =
        outbox::Stats { waiting: 4, bytes: 1 << 20, delivered: 9, ..outbox::Stats::default() };
    let status = Status {
        cameras: vec![camera("door"), camera("yard")],
        outbox: Some(stats),
        process: Process { cpu: Duration::from_millis(1500), ..Process::default() },
        reloads: 1,
        refused_reloads: 2,
    };
    let families = parse(&render(&status));
    let get = |name: &str, labels: &[(&str, &str)]| value(&families, name, labels);
    assert_eq!(get("gst_face_frames_total", &[("camera", "yard")]), 1000.0);
    assert_eq!(get("gst_face_frames_per_second", &[("camera", "door")]), 14.5);
    let state = |state| get("gst_face_camera_state", &[("camera", "door"), ("state", state)]);
    assert_eq!((state("running"), state("failed")), (1.0, 0.0));
    let kind = [("camera", "door"), ("kind", "known-face")];
    assert_eq!(get("gst_face_events_total", &kind), 3.0);
    assert_eq!(get("gst_face_outbox_entries", &[("state", "waiting")]), 4.0);
    assert_eq!(get("process_cpu_seconds_total", &[]), 1.5);
    assert_eq!(get("gst_face_reloads_total", &[("result", "refused")]), 2.0);
    let p99 = [("camera", "door"), ("element", "onnxfacedetect"), ("quantile", "0.99")];
    assert_eq!(get("gst_face_element_seconds", &p99), 0.003);
}

#[test]
fn buckets_grow_up_to_the_count() {
    let status = Status { cameras: vec![camera("door")], ..Status::default() };
    let families = parse(&render(&status));
    let buckets: Vec<(f64, f64)> = families["gst_face_delay_seconds"]
        .samples
        .iter()
        .filter(|(name, _)| name.ends_with("_bucket"))
        .map(|(_, (labels, value))| (labels["le"].parse().unwrap(), *value))
        .collect();
    assert!(buckets.is_sorted() && buckets.iter().map(|b| b.1).is_sorted(), "{buckets:?}");
    assert_eq!(buckets.last(), Some(&(f64::INFINITY, 4.0)));
    assert!(buckets.contains(&(0.5, 3.0)) && buckets.contains(&(0.05, 2.0)), "{buckets:?}");
    let labels = [("camera", "door")];
    assert_eq!(value(&families, "gst_face_delay_seconds_count", &labels), 4.0);
    assert_eq!(value(&families, "gst_face_delay_seconds_sum", &labels), 9.53);
}

#[test]
fn names_from_outside_stay_in_their_labels() {
    let name = "a\"} 1\nevil_total 7\\";
    let status = Status { cameras: vec![camera(name)], ..Status::default() };
    let families = parse(&render(&status));
    assert_eq!(value(&families, "gst_face_looks_total", &[("camera", name)]), 400.0);
}

#[test]
fn service_without_cameras_has_all_families() {
    let families = parse(&render(&Status::default()));
    let full = Status { cameras: vec![camera("door")], ..Status::default() };
    let named = |families: &BTreeMap<String, Family>| families.keys().cloned().collect::<Vec<_>>();
    assert_eq!(named(&families), named(&parse(&render(&full))));
    assert!(families["gst_face_frames_total"].samples.is_empty());
}
