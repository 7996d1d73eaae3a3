//! The configuration of DeGirum Face as one of ours. Nothing is left out in silence: what has an effect
//! there and none here is noted with the reason.

mod alerts;
mod recognition;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::config::yaml::{self, Content, Entry, Node};
use super::config::{ConfigError, Place};

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub place: Place,
    /// Keys that lead there, as `alerts.clip_duration`.
    pub key: String,
    pub text: String,
    /// It has an effect there that the translation does not have.
    pub lost: bool,
}

/// A translated configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Of `facectl run`.
    pub yaml: String,
    /// In the order of the file.
    pub notes: Vec<Note>,
}

impl Import {
    /// Does the translation do all that the file asks for?
    pub fn is_whole(&self) -> bool {
        !self.notes.iter().any(|note| note.lost)
    }
}

/// Translates a YAML text, which is called `path` in errors.
///
/// # Errors
/// [`ConfigError::Faults`] if it is no YAML, or no mapping.
pub fn import_degirum(text: &str, path: &Path) -> Result<Import, ConfigError> {
    let fail = |fault| ConfigError::Faults { path: path.to_owned(), faults: vec![fault] };
    let root = yaml::parse(text).map_err(fail)?;
    let Content::Map(entries) = &root.content else {
        let reason = format!("a mapping is wanted, not {}", root.kind());
        return Err(fail(super::config::Fault { place: root.place, path: String::new(), reason }));
    };
    let mut translation = Translation::default();
    translation.all(entries);
    translation.notes.sort_by_key(|note| note.place);
    Ok(Import { yaml: translation.written(), notes: translation.notes })
}

/// Keys and values of a section, as they are written.
type Lines = Vec<(&'static str, String)>;

/// What is known so far.
#[derive(Debug, Default)]
struct Translation {
    notes: Vec<Note>,
    models: Lines,
    gallery: Option<String>,
    source: Lines,
    /// Points of the one zone.
    zone: Option<String>,
    recognition: Lines,
    alerts: Lines,
    clips: Lines,
    publish: Vec<Lines>,
    mount: Option<String>,
    /// Of the source; the reference takes 30 where it is not told.
    frames_per_second: Option<f64>,
}

impl Translation {
    fn all(&mut self, entries: &[Entry]) {
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        self.models([find("face_detector"), find("face_embedder")]);
        if let Some(entry) = find("video_source_fps_override") {
            self.frames_per_second = self.number(entry, "video_source_fps_override");
            let text = "taken for the length of clips alone: times are those of the camera";
            self.note(entry, "video_source_fps_override", text);
        }
        for entry in entries {
            let key = entry.key.as_str();
            match key {
                "face_detector"
                | "face_embedder"
                | "video_source_fps_override"
                | "alerts"
                | "storage" => {}
                "db_path" => self.gallery(entry),
                "cosine_similarity_threshold" => self.threshold(entry),
                "read_consistency_interval" => self.consistency(entry),
                "embeddings_accumulation_limit" => self.accumulation(entry),
                "face_filters" => self.filters(entry),
                "video_source" => self.video_source(entry),
                "video_source_resolution_override" => {
                    let text = "the size is the camera's: a videoscale in a pipeline of your own";
                    self.lose(entry, key, text);
                }
                "credence_count" => {
                    if let Some(count) = self.number(entry, key) {
                        self.recognition.push(("confirm-count", count.to_string()));
                    }
                }
                "live_stream" => self.live_stream(entry),
                _ => self.lose(entry, &shortened(key), "not known: neither translated nor checked"),
            }
        }
        self.alerts(find("alerts"), find("storage"));
        if self.source.is_empty() {
            self.source.push(("uri", quoted("/dev/video0")));
            self.unsaid("video_source", "is not named: the first webcam, as there");
        }
        if !self.recognition.iter().any(|(key, _)| *key == "reid-interval-max") {
            let text = "is not on: there every face of every frame is embedded, here a track is looked at \
                        ever more rarely; recognition.reid-policy: every does as there";
            self.unsaid("face_filters.enable_reid_expiration_filter", text);
        }
    }

    /// Of what the file does not say.
    fn unsaid(&mut self, key: &str, text: &str) {
        let (key, text) = (key.to_owned(), text.to_owned());
        self.notes.push(Note { place: Place::default(), key, text, lost: false });
    }

    fn video_source(&mut self, entry: &Entry) {
        let key = "video_source";
        let Some(text) = self.text(entry, key) else { return };
        if text.parse::<u16>().is_ok() {
            return self.source.push(("uri", quoted(&format!("/dev/video{text}"))));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            self.note(entry, key, "a file is read at the speed of a camera, and ends");
            return self.source.push(("uri", quoted(&text)));
        };
        let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let Some((login, host)) = host.rsplit_once('@') else {
            return self.source.push(("uri", quoted(&text)));
        };
        self.source.push(("uri", quoted(&format!("{scheme}://{host}{path}"))));
        let user = login.split(':').next().unwrap_or_default();
        self.source.push(("username", quoted(user)));
        self.source.push(("password-env", quoted("CAMERA_PASSWORD")));
        self.note(entry, key, "put the camera's password into the environment: CAMERA_PASSWORD");
    }

    fn live_stream(&mut self, entry: &Entry) {
        let Some(entries) = self.mapping(entry, "live_stream") else { return };
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        let path = find("rtsp_url").and_then(|entry| self.text(entry, "live_stream.rtsp_url"));
        for entry in entries {
            let key = format!("live_stream.{}", shortened(&entry.key));
            match entry.key.as_str() {
                "rtsp_url" => {}
                "mode" => match self.text(entry, &key).as_deref() {
                    Some("NONE") | None => {}
                    Some("WEB") => {
                        let path = path.clone().unwrap_or_else(|| "face_tracking".to_owned());
                        self.mount = Some(path);
                        let text = "served by RTSP at port 8554; a page for browsers is MediaMTX's";
                        self.note(entry, &key, text);
                    }
                    _ => {
                        let text = "a service has no window: see pipelines/rtsp-to-screen.sh";
                        self.lose(entry, &key, text);
                    }
                },
                _ => self.lose(entry, &key, "not known"),
            }
        }
    }

    fn note(&mut self, entry: &Entry, key: &str, text: &str) {
        let (key, text) = (key.to_owned(), text.to_owned());
        self.notes.push(Note { place: entry.place, key, text, lost: false });
    }

    fn lose(&mut self, entry: &Entry, key: &str, text: &str) {
        let (key, text) = (key.to_owned(), text.to_owned());
        self.notes.push(Note { place: entry.place, key, text, lost: true });
    }

    /// A text; a number is one, too.
    fn text(&mut self, entry: &Entry, key: &str) -> Option<String> {
        match &entry.value.content {
            Content::Scalar { text, .. } => Some(text.clone()),
            Content::Null => None,
            _ => self.wrong(entry, key, "a text"),
        }
    }

    fn number(&mut self, entry: &Entry, key: &str) -> Option<f64> {
        let text = self.text(entry, key)?;
        match text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0) {
            Some(number) => Some(number),
            None => self.wrong(entry, key, "a number"),
        }
    }

    fn flag(&mut self, entry: &Entry, key: &str) -> Option<bool> {
        match self.text(entry, key)?.to_ascii_lowercase().as_str() {
            // As YAML 1.1 has them, which the reference reads.
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => self.wrong(entry, key, "true or false"),
        }
    }

    fn mapping<'e>(&mut self, entry: &'e Entry, key: &str) -> Option<&'e [Entry]> {
        match &entry.value.content {
            Content::Map(entries) => Some(entries),
            Content::Null => None,
            _ => self.wrong(entry, key, "a mapping"),
        }
    }

    fn wrong<T>(&mut self, entry: &Entry, key: &str, wanted: &str) -> Option<T> {
        self.lose(entry, key, &format!("{wanted} is wanted"));
        None
    }

    /// Our configuration.
    fn written(&self) -> String {
        let mut text =
            "# Translated by facectl import-degirum; see docs/service.md.\nversion: 1\n".to_owned();
        section(&mut text, "", "models", &self.models);
        if let Some(gallery) = &self.gallery {
            text.push_str(&format!("gallery: {gallery}\n"));
        }
        text.push_str("cameras:\n  camera:\n");
        section(&mut text, "    ", "source", &self.source);
        if let Some(points) = &self.zone {
            text.push_str(&format!("    zones:\n      {ZONE}: {}\n", quoted(points)));
        }
        section(&mut text, "    ", "recognition", &self.recognition);
        section(&mut text, "    ", "alerts", &self.alerts);
        section(&mut text, "    ", "clips", &self.clips);
        if !self.publish.is_empty() {
            text.push_str("    publish:\n");
        }
        for target in &self.publish {
            for (n, (key, value)) in target.iter().enumerate() {
                let mark = if n == 0 { "- " } else { "  " };
                text.push_str(&format!("      {mark}{key}: {value}\n"));
            }
        }
        if let Some(mount) = &self.mount {
            text.push_str(&format!("    output:\n      mount: {}\n", quoted(mount)));
        }
        text
    }
}

/// The name of what has none there.
const ZONE: &str = "zone";

fn section(text: &mut String, indent: &str, name: &str, lines: &Lines) {
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("{indent}{name}:\n"));
    for (key, value) in lines {
        text.push_str(&format!("{indent}  {key}: {value}\n"));
    }
}

/// A text in the quotes of JSON, which are those of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What is from outside may be of any length.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
