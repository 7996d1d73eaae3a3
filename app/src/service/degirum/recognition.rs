//! Models, database, filters: what FaceRecognizer is configured by.

use super::{Content, Entry, Node, Translation, ZONE, quoted, shortened};

/// At most so many frames pass between two looks at a track there, where nothing else is said.
const EXPIRATION_FRAMES: f64 = 10.0;

impl Translation {
    /// Both models run in one place here.
    pub(super) fn models(&mut self, specs: [Option<&Entry>; 2]) {
        let mut provider: Option<&str> = None;
        for entry in specs.into_iter().flatten() {
            let name = entry.key.as_str();
            let Some(keys) = self.mapping(entry, name) else { continue };
            for key in keys {
                let path = format!("{name}.{}", shortened(&key.key));
                match key.key.as_str() {
                    "hardware" => {
                        let found = self.hardware(key, &path);
                        match (provider, found) {
                            (None, found) => provider = found,
                            (Some(other), Some(found)) if other != found => {
                                let text = format!("both models run on one provider: {other}");
                                self.lose(key, &path, &text);
                            }
                            _ => {}
                        }
                    }
                    "model_name" => {
                        let text = "models of that zoo are no ONNX files: the default model is \
                                    taken, facectl models list has others";
                        self.lose(key, &path, text);
                    }
                    "inference_host_address" => {
                        let local = self.text(key, &path).is_none_or(|text| text == "@local");
                        if !local {
                            let text = "models run in the process itself, on no other host";
                            self.lose(key, &path, text);
                        }
                    }
                    "model_zoo_url" | "token" => {
                        self.note(key, &path, "not needed: facectl models fetch gets the models");
                    }
                    "devices" => self.devices(key, &path),
                    "model_properties" => {
                        self.lose(key, &path, "see the sections detection and recognition");
                    }
                    _ => self.lose(key, &path, "not known"),
                }
            }
        }
        if let Some(provider) = provider {
            self.models.push(("provider", provider.to_owned()));
        }
    }

    /// `RUNTIME/DEVICE` as a provider.
    fn hardware(&mut self, entry: &Entry, path: &str) -> Option<&'static str> {
        let text = self.text(entry, path)?;
        match text.split_once('/') {
            Some((_, "CPU")) => Some("cpu"),
            Some(("TENSORRT", _)) => Some("tensorrt"),
            Some(("OPENVINO", _)) => {
                let text = "which of its devices OpenVINO takes is its own choice";
                self.lose(entry, path, text);
                Some("openvino")
            }
            _ => {
                let text = "no provider runs models on this hardware: auto is taken";
                self.lose(entry, path, text);
                None
            }
        }
    }

    fn devices(&mut self, entry: &Entry, path: &str) {
        let Content::List(devices) = &entry.value.content else {
            return self.lose(entry, path, "a list is wanted");
        };
        let first = devices.first().map(|device| &device.content);
        match first {
            Some(Content::Scalar { text, .. })
                if devices.len() == 1 && text.parse::<u16>().is_ok() =>
            {
                if self.models.iter().all(|(key, _)| *key != "device-id") {
                    self.models.push(("device-id", text.clone()));
                }
            }
            _ => self.lose(entry, path, "models run on one device: name it as models.device-id"),
        }
    }

    pub(super) fn gallery(&mut self, entry: &Entry) {
        let Some(path) = self.text(entry, "db_path") else { return };
        let path = path.trim_end_matches('/');
        let gallery = format!("{}.gallery", path.strip_suffix(".lance").unwrap_or(path));
        let text = format!(
            "a LanceDB database is not read: enrol the people again, facectl enroll --gallery {}",
            shortened(&gallery)
        );
        self.note(entry, "db_path", &text);
        self.gallery = Some(quoted(&gallery));
    }

    pub(super) fn threshold(&mut self, entry: &Entry) {
        let key = "cosine_similarity_threshold";
        let Some(threshold) = self.number(entry, key) else { return };
        if threshold > 1.0 {
            return self.lose(entry, key, "a number from 0 to 1 is wanted");
        }
        self.recognition.push(("threshold", threshold.to_string()));
        let text = "the embedder is another: leave it out for what the model recommends, or see \
                    facectl gallery calibrate";
        self.note(entry, key, text);
    }

    pub(super) fn consistency(&mut self, entry: &Entry) {
        let key = "read_consistency_interval";
        if let Some(seconds) = self.number(entry, key) {
            let ms = (seconds * 1000.0).round().min(f64::from(u32::MAX));
            self.recognition.push(("reload-interval", format!("{ms} ms")));
        } else if matches!(entry.value.content, Content::Null) {
            self.note(entry, key, "changes of the gallery are always seen, after half a second");
        }
    }

    pub(super) fn accumulation(&mut self, entry: &Entry) {
        let key = "embeddings_accumulation_limit";
        if self.number(entry, key).is_some_and(|limit| limit > 0.0) {
            let text = "what is kept of a track is chosen by quality; embeddings are handed out by \
                        recognition.embed-output";
            self.lose(entry, key, text);
        }
    }

    pub(super) fn filters(&mut self, entry: &Entry) {
        let Some(keys) = self.mapping(entry, "face_filters") else { return };
        let find = |key: &str| keys.iter().find(|entry| entry.key == key);
        let mut on = |key: &str| {
            find(key).is_some_and(|entry| {
                self.flag(entry, &format!("face_filters.{key}")).unwrap_or(false)
            })
        };
        let [small, zone, frontal, shift, expiration] = [
            "enable_small_face_filter",
            "enable_zone_filter",
            "enable_frontal_filter",
            "enable_shift_filter",
            "enable_reid_expiration_filter",
        ]
        .map(&mut on);
        for (on, property) in [(frontal, "require-frontal"), (shift, "require-centered")] {
            if on {
                self.recognition.push((property, "true".to_owned()));
            }
        }
        if small && let Some(entry) = find("min_face_size") {
            let size = self.number(entry, "face_filters.min_face_size").unwrap_or(0.0);
            self.recognition.push(("min-face-size", size.round().to_string()));
        }
        if zone && let Some(entry) = find("zone") {
            self.zone(entry);
        }
        if expiration {
            let entry = find("reid_expiration_frames");
            let frames = entry.and_then(|e| self.number(e, "face_filters.reid_expiration_frames"));
            let frames = frames.unwrap_or(EXPIRATION_FRAMES).round().max(1.0);
            self.recognition.push(("reid-interval-max", frames.to_string()));
            self.recognition.push(("reid-interval-max-time", "0".to_owned()));
        }
        for entry in keys {
            let key = format!("face_filters.{}", shortened(&entry.key));
            match entry.key.as_str() {
                "min_face_size" if !small => self.note(entry, &key, "the filter is off there"),
                "zone" if !zone => self.note(entry, &key, "the filter is off there"),
                "reid_expiration_frames" if !expiration => {
                    self.note(entry, &key, "the filter is off there");
                }
                "min_face_size" | "zone" | "reid_expiration_frames" => {}
                known if known.starts_with("enable_") && known.ends_with("_filter") => {}
                _ => self.lose(entry, &key, "not known"),
            }
        }
    }

    /// Points in pixels.
    fn zone(&mut self, entry: &Entry) {
        let number = |node: &Node| match &node.content {
            Content::Scalar { text, .. } => text.parse::<f32>().ok(),
            _ => None,
        };
        let point = |node: &Node| match &node.content {
            Content::List(xy) => match &xy[..] {
                [x, y] => Some(format!("{},{}", number(x)?, number(y)?)),
                _ => None,
            },
            _ => None,
        };
        let points: Option<Vec<String>> = match &entry.value.content {
            Content::List(points) => points.iter().map(point).collect(),
            _ => None,
        };
        let text = points.map(|points| format!("{} px", points.join(" ")));
        let checked =
            text.filter(|text| format!("{ZONE}={text}").parse::<face_core::zone::Zones>().is_ok());
        match checked {
            Some(points) => {
                self.zone = Some(points);
                self.recognition.push(("required-zones", format!("[{ZONE}]")));
            }
            None => self.lose(entry, "face_filters.zone", "three or more points [x, y] are wanted"),
        }
    }
}
