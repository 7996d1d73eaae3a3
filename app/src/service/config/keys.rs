//! Which keys there are. Those of a section that configures an element are the properties of the
//! element: name, range, default and meaning are written down once, there.

use gst::glib;
use gst::prelude::*;

use super::unit;
use crate::{AnalyzeError, elements};

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Flag,
    Whole {
        least: i128,
        most: i128,
    },
    Real {
        least: f64,
        most: f64,
    },
    /// A time, kept in units of so many nanoseconds, as a property wants it.
    Time {
        unit_ns: u64,
        least: u64,
        most: u64,
    },
    Bytes {
        least: u64,
        most: u64,
    },
    Choice(Vec<String>),
    /// Any of them.
    Choices(Vec<String>),
    Text,
    /// Texts, joined by commas.
    Names,
    /// A path, from the folder of the configuration.
    Path,
    /// A path, or an address, which has a scheme.
    Address,
    /// `env:NAME`, `file:PATH`, or an address where that is no secret.
    Place,
    /// A list of rules, or the path of a file with JSON.
    Rules,
    /// Names with the points of polygons.
    Zones,
}

/// One key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// As it is written in a configuration; empty: there is none.
    pub(super) default: String,
    pub(super) meaning: String,
    /// What its value is kept under: the property, as a rule.
    pub(super) property: String,
    /// The property behind it; the element is that of the section.
    pub(super) spec: Option<glib::ParamSpec>,
}

impl Key {
    fn own(name: &str, kind: Kind, default: &str, meaning: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            default: default.to_owned(),
            meaning: meaning.to_owned(),
            property: name.to_owned(),
            spec: None,
        }
    }

    fn of(spec: &glib::ParamSpec) -> Option<Self> {
        let name = spec.name();
        let blurb = spec.blurb().unwrap_or_default().trim_end_matches('.');
        let kind = kind(spec, name, blurb)?;
        let default = shown(spec.default_value(), &kind);
        Some(Self {
            name: name.to_owned(),
            kind,
            default,
            meaning: blurb.to_owned(),
            property: name.to_owned(),
            spec: Some(spec.clone()),
        })
    }

    fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }
}

/// A mapping with keys.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) keys: Vec<Key>,
}

impl Section {
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Where models run: the same for all elements, so that they share the pools.
const PLACE: [&str; 5] = ["provider", "device-id", "threads", "runtime-library", "engine-cache"];
/// Properties that have another place in the configuration, do nothing without the signals of a
/// program, or are another name.
const ELSEWHERE: [&str; 9] = [
    "camera",
    "model",
    "gallery",
    "zones",
    "spool",
    "spool-max-bytes",
    "every-face",
    "enroll-force",
    "store-crops",
];
/// What cameras have that share a machine, unlike the element on its own.
pub(super) const INTERVAL: (&str, &str) = ("interval", "auto");
/// Beginning of the properties that make up the section `alerts`.
const ALERTS: &str = "alert-";

/// All sections.
#[derive(Clone, Debug)]
pub(super) struct Sections {
    pub(super) models: Section,
    pub(super) gallery: Key,
    pub(super) spool: Section,
    pub(super) http: Section,
    pub(super) rtsp: Section,
    pub(super) source: Section,
    pub(super) detection: Section,
    pub(super) tracking: Section,
    pub(super) zones: Key,
    pub(super) recognition: Section,
    pub(super) alerts: Section,
    pub(super) annotation: Section,
    pub(super) clips: Section,
    pub(super) publish: Section,
    pub(super) output: Section,
}

impl Sections {
    pub(super) fn new() -> Result<Self, AnalyzeError> {
        elements::init()?;
        let detector = specs("onnxfacedetect")?;
        let tracker = specs("facetrack")?;
        let recognizer = specs("facerecognize")?;
        let sink = specs("clipsink")?;
        let alert =
            |spec: &glib::ParamSpec| spec.name().starts_with(ALERTS) || spec.name() == "dry-run";
        let (alerts, recognition): (Vec<_>, Vec<_>) = recognizer.iter().cloned().partition(alert);
        let mut alerts = section("alerts", &alerts);
        for key in &mut alerts.keys {
            if let Some(short) = key.name.strip_prefix(ALERTS) {
                key.name = short.to_owned();
            }
        }
        let mut detection = section("detection", &detector);
        for key in detection.keys.iter_mut().filter(|key| key.name == INTERVAL.0) {
            INTERVAL.1.clone_into(&mut key.default);
        }
        Ok(Self {
            models: models(&detector, &recognizer)?,
            gallery: find(&recognizer, "gallery")?,
            spool: Section {
                name: "spool",
                keys: vec![
                    find(&sink, "spool")?.named("folder"),
                    find(&sink, "spool-max-bytes")?.named("max-bytes"),
                ],
            },
            http: server("http", HTTP, "Where the state is told, as /healthz and /metrics"),
            rtsp: server("rtsp", RTSP, "Where annotated streams are served"),
            source: section("source", &specs("facecamerasrc")?),
            detection,
            tracking: section("tracking", &tracker),
            zones: find(&tracker, "zones")?,
            recognition: section("recognition", &recognition),
            alerts,
            annotation: section("annotation", &specs("faceannotate")?),
            clips: section("clips", &sink),
            publish: section("publish", &specs("facepublish")?),
            output: output(),
        })
    }

    /// The sections that a camera and `defaults` have, in the order of the stream.
    pub(super) fn of_camera(&self) -> [&Section; 9] {
        [
            &self.source,
            &self.detection,
            &self.tracking,
            &self.recognition,
            &self.alerts,
            &self.annotation,
            &self.clips,
            &self.publish,
            &self.output,
        ]
    }
}

/// Where health and metrics are told unless the configuration says something else.
pub(super) const HTTP: &str = "127.0.0.1:9797";
/// Where annotated streams are served unless the configuration says something else.
pub(super) const RTSP: &str = "127.0.0.1:8554";

fn server(name: &'static str, address: &str, meaning: &str) -> Section {
    let keys = vec![
        Key::own("address", Kind::Text, address, meaning),
        Key::own(
            "allow-unencrypted",
            Kind::Flag,
            "false",
            "Take an address that other machines reach: whoever does so sees everything, without a \
             password, and everybody on the way, too",
        ),
    ];
    Section { name, keys }
}

fn models(
    detector: &[glib::ParamSpec],
    recognizer: &[glib::ParamSpec],
) -> Result<Section, AnalyzeError> {
    let mut keys = vec![
        find(detector, "model")?.named("detector"),
        find(recognizer, "model")?.named("embedder"),
    ];
    // Two elements have a property of that name.
    for key in &mut keys {
        key.property.clone_from(&key.name);
    }
    let place = detector.iter().filter(|spec| PLACE.contains(&spec.name()));
    keys.extend(place.filter_map(Key::of));
    Ok(Section { name: "models", keys })
}

fn output() -> Section {
    let most = i128::from(u32::MAX / 1000);
    let keys = vec![
        Key::own(
            "mount",
            Kind::Text,
            "",
            "Path of the stream at the RTSP server (unset = the name of the camera)",
        ),
        Key::own(
            "annotate",
            Kind::Flag,
            "true",
            "Draw what `annotation` says; false: the bare picture",
        ),
        Key::own(
            "bitrate",
            Kind::Whole { least: 0, most },
            "0",
            "Of the stream, in kbit/s (0 = by size and frame rate)",
        ),
    ];
    Section { name: "output", keys }
}

fn section(name: &'static str, specs: &[glib::ParamSpec]) -> Section {
    let elsewhere = |name: &str| ELSEWHERE.contains(&name) || PLACE.contains(&name);
    let here = specs.iter().filter(|spec| !elsewhere(spec.name()));
    Section { name, keys: here.filter_map(Key::of).collect() }
}

fn find(specs: &[glib::ParamSpec], name: &str) -> Result<Key, AnalyzeError> {
    let found = specs.iter().find(|spec| spec.name() == name).and_then(Key::of);
    found.ok_or_else(|| AnalyzeError::pipeline(format!("no element has the property {name}")))
}

/// The properties of an element that can be set, in the order of their names.
fn specs(factory: &str) -> Result<Vec<glib::ParamSpec>, AnalyzeError> {
    let element = elements::make(factory, factory)?;
    let own = |spec: &glib::ParamSpec| {
        spec.owner_type() == element.type_() && spec.flags().contains(glib::ParamFlags::WRITABLE)
    };
    let mut specs: Vec<_> = element.list_properties().iter().filter(|s| own(s)).cloned().collect();
    specs.sort_by_key(|spec| spec.name().to_owned());
    Ok(specs)
}

/// `None`: nothing that can be written as text.
fn kind(spec: &glib::ParamSpec, name: &str, blurb: &str) -> Option<Kind> {
    if spec.is::<glib::ParamSpecBoolean>() {
        return Some(Kind::Flag);
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecEnum>() {
        let nicks = spec.enum_class().values().iter().map(|v| v.nick().to_owned()).collect();
        return Some(Kind::Choice(nicks));
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecFlags>() {
        let nicks = spec.flags_class().values().iter().map(|v| v.nick().to_owned()).collect();
        return Some(Kind::Choices(nicks));
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecFloat>() {
        return Some(Kind::Real { least: spec.minimum().into(), most: spec.maximum().into() });
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecDouble>() {
        return Some(Kind::Real { least: spec.minimum(), most: spec.maximum() });
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt>() {
        return Some(number(spec.minimum().into(), spec.maximum().into(), blurb));
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt64>() {
        return Some(number(spec.minimum(), spec.maximum(), blurb));
    }
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecInt>() {
        return Some(Kind::Whole { least: spec.minimum().into(), most: spec.maximum().into() });
    }
    (spec.value_type() == String::static_type()).then(|| text(name))
}

/// A number has its unit where people read it, in the description of the property.
fn number(least: u64, most: u64, blurb: &str) -> Kind {
    let blurb = blurb.to_ascii_lowercase();
    let unit_ns = [("nanoseconds", 1), ("milliseconds", 1_000_000), ("in seconds", 1_000_000_000)]
        .into_iter()
        .find_map(|(unit, ns)| blurb.contains(unit).then_some(ns));
    match unit_ns {
        Some(unit_ns) => Kind::Time { unit_ns, least, most },
        None if blurb.contains("bytes") => Kind::Bytes { least, most },
        None => Kind::Whole { least: least.into(), most: most.into() },
    }
}

fn text(name: &str) -> Kind {
    match name {
        "storage" | "target" | "gallery" | "uri" => Kind::Address,
        "webhook" | "webhook-key" | "webhook-token" => Kind::Place,
        "alert-rules" | "notify" => Kind::Rules,
        "required-zones" => Kind::Names,
        "zones" => Kind::Zones,
        "runtime-library" | "engine-cache" | "spool" => Kind::Path,
        name if name.ends_with("-file") => Kind::Path,
        _ => Kind::Text,
    }
}

fn shown(value: &glib::Value, kind: &Kind) -> String {
    if let Ok(text) = value.get::<Option<String>>() {
        return text.unwrap_or_default();
    }
    if let Some((_, flags)) = glib::FlagsValue::from_value(value) {
        let nicks: Vec<_> = flags.iter().map(|flag| flag.nick()).collect();
        return format!("[{}]", nicks.join(", "));
    }
    if let Some((_, value)) = glib::EnumValue::from_value(value) {
        return value.nick().to_owned();
    }
    let number = value.get::<u64>().or_else(|_| value.get::<u32>().map(u64::from));
    match (number, kind) {
        (Ok(number), Kind::Time { unit_ns, .. }) => unit::time(number.saturating_mul(*unit_ns)),
        (Ok(number), Kind::Bytes { .. }) => unit::bytes(number),
        (Ok(number), _) => number.to_string(),
        (Err(_), Kind::Flag) => value.get::<bool>().unwrap_or_default().to_string(),
        (Err(_), Kind::Real { .. }) => {
            let single = value.get::<f32>().map(|real| real.to_string());
            single.or_else(|_| value.get::<f64>().map(|real| real.to_string())).unwrap_or_default()
        }
        (Err(_), _) => value.get::<i32>().map(|number| number.to_string()).unwrap_or_default(),
    }
}
