//! Alerts, clips and messages: what FaceTracker adds.

use super::{Entry, Lines, Translation, quoted, shortened};

/// Frames of a clip there, where nothing else is said.
const CLIP_FRAMES: f64 = 100.0;
/// Frames per second there, where the source tells none.
const FRAMES_PER_SECOND: f64 = 30.0;
/// Where the address of a message is put, which may be a secret.
const ADDRESS: &str = "NOTIFICATION_URL";

impl Translation {
    pub(super) fn alerts(&mut self, alerts: Option<&Entry>, storage: Option<&Entry>) {
        let keys = alerts.and_then(|entry| self.mapping(entry, "alerts")).unwrap_or_default();
        let find = |key: &str| keys.iter().find(|entry| entry.key == key);
        // As there, nothing is told unless it is asked for.
        let mode = find("alert_mode").and_then(|e| self.text(e, "alerts.alert_mode"));
        let (mode, triggers) = match mode.as_deref().unwrap_or("NONE") {
            "ON_UNKNOWNS" => ("unknowns", "[unknown-face]"),
            "ON_KNOWNS" => ("knowns", "[known-face]"),
            "ON_ALL" => ("all", "[known-face, unknown-face]"),
            other => {
                if let Some(entry) = find("alert_mode").filter(|_| other != "NONE") {
                    self.lose(entry, "alerts.alert_mode", "not known: there are no alerts");
                }
                ("none", "")
            }
        };
        self.alerts.push(("mode", mode.to_owned()));
        let once = find("alert_once").and_then(|e| self.flag(e, "alerts.alert_once"));
        let repeat = if once.unwrap_or(true) { "once" } else { "on-change" };
        self.alerts.push(("repeat", repeat.to_owned()));
        let place = storage.and_then(|entry| self.storage(entry));
        self.clips(find("clip_duration"), place, triggers);
        self.message(find("notification_config"), find("notification_message"), mode);
        for entry in keys {
            let key = format!("alerts.{}", shortened(&entry.key));
            match entry.key.as_str() {
                "alert_mode"
                | "alert_once"
                | "clip_duration"
                | "notification_config"
                | "notification_message" => {}
                "notification_timeout_s" => {
                    let text = "messages wait for a day, also over a restart, and are tried again";
                    self.note(entry, &key, text);
                }
                _ => self.lose(entry, &key, "not known"),
            }
        }
    }

    /// Where clips go.
    fn storage(&mut self, entry: &Entry) -> Option<String> {
        let keys = self.mapping(entry, "storage")?;
        let (mut endpoint, mut bucket) = (None, None);
        for entry in keys {
            let key = format!("storage.{}", shortened(&entry.key));
            match entry.key.as_str() {
                "endpoint" => endpoint = self.text(entry, &key),
                "bucket" => bucket = self.text(entry, &key),
                "url_expiration_s" => {
                    if let Some(seconds) = self.number(entry, &key) {
                        self.clips.push(("link-expiry", format!("{} s", seconds.round())));
                    }
                }
                "access_key" | "secret_key" => {
                    if self.text(entry, &key).is_some_and(|text| !text.is_empty()) {
                        let text = "secrets are not copied: put them into the environment, \
                                    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
                        self.note(entry, &key, text);
                    }
                }
                _ => self.lose(entry, &key, "not known"),
            }
        }
        let (endpoint, bucket) = (endpoint?, bucket.unwrap_or_default());
        if endpoint.is_empty() {
            return None;
        }
        if endpoint.starts_with(['.', '/']) {
            return Some(format!("{}/{bucket}", endpoint.trim_end_matches('/')));
        }
        // TLS, whatever is written there.
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host);
        let host = host.trim_end_matches('/');
        Some(format!("s3://{bucket}?endpoint=https://{host}"))
    }

    fn clips(&mut self, duration: Option<&Entry>, place: Option<String>, triggers: &str) {
        let key = "alerts.clip_duration";
        let frames = duration.and_then(|entry| self.number(entry, key)).unwrap_or(CLIP_FRAMES);
        let Some(place) = place.filter(|_| !triggers.is_empty() && frames >= 2.0) else {
            if let Some(entry) = duration {
                let text = match frames {
                    1.0 => {
                        return self.lose(
                            entry,
                            key,
                            "no pictures alone: clips have one beside them",
                        );
                    }
                    _ => "no clips there, either: they need a storage and alerts",
                };
                self.note(entry, key, text);
            }
            return self.clips.clear();
        };
        let rate = self.frames_per_second.filter(|rate| *rate > 0.0).unwrap_or(FRAMES_PER_SECOND);
        let before = (frames / 2.0).floor();
        let ms = |frames: f64| format!("{} ms", (frames / rate * 1000.0).round());
        self.clips.push(("storage", quoted(&place)));
        self.clips.push(("triggers", triggers.to_owned()));
        self.clips.push(("pre-roll", ms(before)));
        self.clips.push(("post-roll", ms(frames - before - 1.0)));
        // Clips there are no longer for a second alert.
        self.clips.push(("on-retrigger", "ignore".to_owned()));
        if let Some(entry) = duration {
            let text = format!("times instead of frames: at {rate} frames per second");
            self.note(entry, key, &text);
        }
    }

    fn message(&mut self, to: Option<&Entry>, text: Option<&Entry>, mode: &str) {
        let key = "alerts.notification_config";
        let told = to.and_then(|entry| self.text(entry, key));
        let address = told.as_deref().unwrap_or("json://console");
        let words = text.and_then(|e| self.text(e, "alerts.notification_message"));
        if mode == "none" {
            return;
        }
        let target = match address.split_once("://") {
            Some(("json", "console")) => "stdout".to_owned(),
            Some((scheme @ ("http" | "https"), _)) => {
                if let Some(entry) = to {
                    let text = format!("put the address into the environment: {ADDRESS}");
                    self.note(entry, key, &text);
                }
                if !self.clips.is_empty() {
                    return self.message_of_clips(text, words.as_deref(), scheme == "http");
                }
                format!("webhook+env:{ADDRESS}")
            }
            _ => {
                if let Some(entry) = to {
                    let text = "Apprise is not called: a program of yours can be, by clips.exec";
                    self.lose(entry, key, text);
                }
                return;
            }
        };
        if let Some(entry) = text {
            let text = "alerts are told as JSON; messages of your own words come with clips";
            self.lose(entry, "alerts.notification_message", text);
        }
        let mut lines: Lines = vec![("target", quoted(&target)), ("events", "[alerts]".to_owned())];
        if address.starts_with("http://") {
            lines.push(("allow-unencrypted", "true".to_owned()));
        }
        self.publish.push(lines);
    }

    /// A clip's messages are sent when it is stored, so that they have its link.
    fn message_of_clips(&mut self, entry: Option<&Entry>, words: Option<&str>, plain: bool) {
        self.clips.push(("webhook", quoted(&format!("env:{ADDRESS}"))));
        if plain {
            self.clips.push(("webhook-allow-http", "true".to_owned()));
        }
        let words =
            words.unwrap_or("${time}: Unknown person detected. Saved video: [${filename}](${url})");
        match template(words) {
            Some(text) => {
                self.clips.push(("message-format", "text".to_owned()));
                self.clips.push(("message-stored", quoted(&text)));
                if let Some(entry) = entry {
                    let text = "sent when the clip is stored; before that the event is sent at once, \
                                as clips.message says";
                    self.note(entry, "alerts.notification_message", text);
                }
            }
            None => {
                if let Some(entry) = entry {
                    let text = "there the text is a program: see docs/clips.md for the words of a template";
                    self.lose(entry, "alerts.notification_message", text);
                }
            }
        }
    }
}

/// A text of the reference as one of our templates; `None`: it asks for what ours do not know.
fn template(words: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = words;
    loop {
        let (plain, from) = rest.split_once("${").map_or((rest, None), |(a, b)| (a, Some(b)));
        if plain.contains('{') {
            return None;
        }
        text.push_str(plain);
        let Some(from) = from else { return Some(text) };
        let (name, after) = from.split_once('}')?;
        text.push_str(match name.trim() {
            "time" => "{time}",
            "filename" => "{key}",
            "url" => "{url}",
            _ => return None,
        });
        rest = after;
    }
}
