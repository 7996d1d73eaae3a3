//! From the tree of the file to the configuration: sections are read, defaults are put under the
//! cameras, and what has to fit together is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use face_core::gallery::Location;
use face_core::model::{self, Task};

use super::draft::{Draft, Given, Part, Reader, join};
use super::error::{ConfigError, Fault};
use super::keys::{self, Section, Sections};
use super::settings::Settings;
use super::yaml::{self, Content, Node, Place};
use super::{Camera, Config, Output, check};

/// Do the gallery, the models and what a source names have to be there?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    Wanted,
    Anywhere,
}

/// More are another machine's.
const MOST_CAMERAS: usize = 256;
/// Keys at the top, in the order of the documentation.
pub(super) const TOP: [&str; 8] =
    ["version", "models", "gallery", "spool", "http", "rtsp", "defaults", "cameras"];

/// What all cameras share.
struct Common {
    /// Properties of the detector and of the recogniser.
    detector: BTreeMap<String, String>,
    recognizer: BTreeMap<String, String>,
    files: Files,
    /// Properties of clipsink and of facepublish, which have to agree.
    spool: BTreeMap<String, String>,
}

pub(super) fn config(
    text: &str,
    path: &Path,
    folder: &Path,
    files: Files,
) -> Result<Config, ConfigError> {
    let fail = |mut faults: Vec<Fault>| {
        faults.sort_by_key(|fault| fault.place);
        // What is wrong in the defaults is wrong for each camera.
        faults.dedup();
        ConfigError::Faults { path: path.to_owned(), faults }
    };
    let root = yaml::parse(text).map_err(|fault| fail(vec![fault]))?;
    let sections = Sections::new()?;
    let mut reader = Reader { sections: &sections, folder, faults: Vec::new() };
    let config = read(&mut reader, &root, files);
    if reader.faults.is_empty() { Ok(config) } else { Err(fail(reader.faults)) }
}

fn read(reader: &mut Reader, root: &Node, files: Files) -> Config {
    let sections = reader.sections;
    let entries = reader.entries(root, "", &TOP);
    let find = |key: &str| entries.iter().find(|e| e.key == key).map(|e| (e.place, &e.value));
    version(reader, root, find("version").map(|(_, node)| node));
    let part = |section: &Section| {
        find(section.name).map(|(_, node)| reader.part(section, node, section.name))
    };
    let [models, spool, rtsp] = [&sections.models, &sections.spool, &sections.rtsp].map(part);
    let gallery = entries.iter().find(|entry| entry.key == "gallery");
    let gallery = gallery.and_then(|entry| reader.value(&sections.gallery, entry, "gallery"));
    let common = common(reader, models.as_ref(), spool.as_ref(), gallery.as_ref(), files);
    let http = match find("http") {
        Some((_, node)) if is_false(node) => None,
        Some((_, node)) => {
            let part = reader.part(&sections.http, node, "http");
            server(reader, Some(&part), keys::HTTP)
        }
        None => server(reader, None, keys::HTTP),
    };
    let rtsp = server(reader, rtsp.as_ref(), keys::RTSP);
    let defaults = match find("defaults") {
        Some((_, node)) => reader.draft(node, "defaults"),
        None => Draft::default(),
    };
    let cameras = match find("cameras") {
        Some((place, node)) => cameras(reader, place, node, &defaults, &common),
        None => {
            reader.fault(root.place, "cameras", "is missing: name at least one camera");
            Vec::new()
        }
    };
    let outputs = cameras.iter().any(|camera| camera.output.is_some());
    let spool = common.spool.get("spool").map(PathBuf::from);
    Config { cameras, http, rtsp: rtsp.filter(|_| outputs), spool }
}

fn is_false(node: &Node) -> bool {
    matches!(&node.content, Content::Scalar { text, quoted: false } if text == "false")
}

fn version(reader: &mut Reader, root: &Node, node: Option<&Node>) {
    match node.map(|node| (node, &node.content)) {
        None => reader.fault(root.place, "version", "is missing: write version: 1"),
        Some((_, Content::Scalar { text, .. })) if text == "1" => {}
        Some((node, _)) => {
            let reason = format!("{} is not read here, 1 is", node.kind());
            reader.fault(node.place, "version", reason);
        }
    }
}

fn texts(part: Option<&Part>) -> BTreeMap<String, String> {
    let values = part.and_then(|part| part.values.as_ref()).into_iter().flatten();
    values.map(|(property, given)| (property.clone(), given.text.clone())).collect()
}

/// What all elements of a kind have, whatever the camera.
fn common(
    reader: &mut Reader,
    models: Option<&Part>,
    spool: Option<&Part>,
    gallery: Option<&Given>,
    files: Files,
) -> Common {
    let mut detector = texts(models);
    let mut recognizer = detector.clone();
    for (own, other, key, task, values) in [
        ("detector", "embedder", "models.detector", Task::Detector, &mut detector),
        ("embedder", "detector", "models.embedder", Task::Embedder, &mut recognizer),
    ] {
        values.remove(other);
        let given = models.and_then(|part| part.values.as_ref()).and_then(|v| v.get(own));
        let place = given.map_or(Place::default(), |given| given.place);
        let name = values.remove(own);
        if files == Files::Wanted
            && let Err(error) = model::resolve(name.as_deref().unwrap_or(default_model(task)), task)
        {
            reader.fault(place, key, gstface::with_causes(&error));
        }
        if let Some(name) = name {
            values.insert("model".to_owned(), name);
        }
    }
    if let Some(gallery) = gallery {
        let location = Location::from(gallery.text.as_str());
        if let Err(error) = location.refuse_password() {
            reader.fault(gallery.place, &gallery.path, error.to_string());
        }
        if let Some(path) = location.file().filter(|p| files == Files::Wanted && !p.exists()) {
            let reason =
                format!("there is no gallery '{}': facectl enroll makes one", path.display());
            reader.fault(gallery.place, &gallery.path, reason);
        }
        recognizer.insert("gallery".to_owned(), gallery.text.clone());
    }
    Common { detector, recognizer, files, spool: texts(spool) }
}

fn default_model(task: Task) -> &'static str {
    match task {
        Task::Detector => model::DEFAULT_DETECTOR,
        Task::Embedder => model::DEFAULT_EMBEDDER,
    }
}

/// An address to listen at. Those of other machines have to be asked for.
fn server(reader: &mut Reader, part: Option<&Part>, default: &str) -> Option<SocketAddr> {
    let values = texts(part);
    let text = values.get("address").map_or(default, String::as_str);
    let place = part.map_or(Place::default(), |part| part.place);
    let path = join(part.map_or("", |part| &part.path), "address");
    let Ok(address) = text.parse::<SocketAddr>() else {
        reader.fault(place, &path, "an IP address and a port are wanted, as 127.0.0.1:9797");
        return None;
    };
    let open = values.get("allow-unencrypted").is_some_and(|text| text == "true");
    if !address.ip().is_loopback() && !open {
        let reason = format!(
            "other machines reach {address} without a password: take 127.0.0.1, or add \
             allow-unencrypted: true"
        );
        reader.fault(place, &path, reason);
    }
    Some(address)
}

fn cameras(
    reader: &mut Reader,
    place: Place,
    node: &Node,
    defaults: &Draft,
    common: &Common,
) -> Vec<Camera> {
    let Content::Map(entries) = &node.content else {
        reader.fault(place, "cameras", "a mapping is wanted: the name of a camera, and what it is");
        return Vec::new();
    };
    if entries.is_empty() || entries.len() > MOST_CAMERAS {
        let reason = format!("{} cameras, 1 to {MOST_CAMERAS} can be run", entries.len());
        reader.fault(place, "cameras", reason);
        return Vec::new();
    }
    let drafts: Vec<(&str, String, Place, Draft)> = entries
        .iter()
        .map(|entry| {
            let path = join("cameras", &entry.key);
            if let Err(reason) = check::name(&entry.key) {
                reader.fault(entry.place, &path, reason);
            }
            let draft = reader.draft(&entry.value, &path);
            check::draft(reader, &draft);
            (entry.key.as_str(), path, entry.place, draft)
        })
        .collect();
    check::zones(reader, defaults, &drafts.iter().map(|(.., draft)| draft).collect::<Vec<_>>());
    let mut mounts = BTreeSet::new();
    let mut cameras = Vec::with_capacity(drafts.len());
    for (name, path, place, draft) in drafts {
        let draft = draft.over(defaults);
        let building = Building { name, path: &path, place, draft: &draft, common };
        let camera = building.camera(reader);
        if let Some(output) = &camera.output
            && !mounts.insert(output.mount.clone())
        {
            let reason = format!("another camera is served at {}, too", output.mount);
            reader.fault(place, &join(&path, "output.mount"), reason);
        }
        cameras.push(camera);
    }
    cameras
}

/// A camera that is put together: what is said of it, with the defaults, and what all share.
struct Building<'a> {
    name: &'a str,
    path: &'a str,
    place: Place,
    draft: &'a Draft,
    common: &'a Common,
}

impl Building<'_> {
    fn camera(&self, reader: &mut Reader) -> Camera {
        let Self { name, path, place, draft, common } = *self;
        let mut detection = texts(self.part("detection"));
        detection.extend(common.detector.clone());
        let (interval, auto) = keys::INTERVAL;
        detection.entry(interval.to_owned()).or_insert_with(|| auto.to_owned());
        let detection = self.checked(reader, "onnxfacedetect", detection, "detection");
        let mut tracking = self.named(self.part("tracking"));
        if let Some(zones) = &draft.zones {
            tracking.insert("zones".to_owned(), zones.text.clone());
        }
        let tracking = self.checked(reader, "facetrack", tracking, "tracking");
        let recognition = (!self.is_off("recognition")).then(|| {
            let mut values = self.named(self.part("recognition"));
            values.extend(texts(self.part("alerts")));
            values.extend(common.recognizer.clone());
            let section = if self.part("alerts").is_some() { "alerts" } else { "recognition" };
            self.checked(reader, "facerecognize", values, section)
        });
        let clips = self.part("clips").filter(|_| !self.is_off("clips")).map(|given| {
            let mut values = self.named(Some(given));
            values.extend(common.spool.clone());
            self.checked(reader, "clipsink", values, "clips")
        });
        let publish = draft.publish.iter().flatten().map(|given| {
            let mut values = self.named(Some(given));
            values.extend(common.spool.clone());
            let settings = Settings::new("facepublish", values);
            if let Err(reason) = settings.check() {
                reader.fault(given.place, &given.path, reason);
            }
            settings
        });
        let publish = publish.collect();
        let source = texts(self.part("source"));
        let source = match common.files {
            Files::Wanted if source.contains_key("uri") => {
                self.checked(reader, "facecamerasrc", source, "source")
            }
            _ => Settings::new("facecamerasrc", source),
        };
        let output = output(reader, name, path, draft);
        check::camera(reader, path, place, draft);
        let name = name.to_owned();
        Camera { name, source, detection, tracking, recognition, clips, publish, output }
    }

    fn part(&self, section: &str) -> Option<&Part> {
        self.draft.parts.get(section)
    }

    fn is_off(&self, section: &str) -> bool {
        self.part(section).is_some_and(|part| part.values.is_none())
    }

    /// For elements that tell of the camera.
    fn named(&self, part: Option<&Part>) -> BTreeMap<String, String> {
        let mut values = texts(part);
        values.insert("camera".to_owned(), self.name.to_owned());
        values
    }

    /// What is wrong is a fault of the section.
    fn checked(
        &self,
        reader: &mut Reader,
        element: &'static str,
        values: BTreeMap<String, String>,
        section: &str,
    ) -> Settings {
        let settings = Settings::new(element, values);
        if let Err(reason) = settings.check() {
            match self.part(section) {
                Some(part) => reader.fault(part.place, &part.path, reason),
                None => reader.fault(self.place, &join(self.path, section), reason),
            }
        }
        settings
    }
}

fn output(reader: &mut Reader, name: &str, path: &str, draft: &Draft) -> Option<Output> {
    let given = draft.parts.get("output").filter(|part| part.values.is_some())?;
    let values = texts(Some(given));
    let mount = match values.get("mount") {
        Some(mount) => mount.clone(),
        None => check::mount_of(name),
    };
    if let Err(reason) = check::mount(&mount) {
        reader.fault(given.place, &join(path, "output.mount"), reason);
    }
    let annotate = values.get("annotate").is_none_or(|text| text == "true");
    let annotation = texts(draft.parts.get("annotation"));
    Some(Output {
        mount: format!("/{}", mount.trim_start_matches('/')),
        annotation: annotate.then(|| Settings::new("faceannotate", annotation)),
        bitrate_kbit: values.get("bitrate").and_then(|text| text.parse().ok()).unwrap_or(0),
    })
}
