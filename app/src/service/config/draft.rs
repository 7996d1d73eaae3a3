//! What the file says of a camera, or of all of them, before both are put together.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::Fault;
use super::keys::{Key, Section, Sections};
use super::value;
use super::yaml::{Content, Entry, Node, Place};

/// Faults as they are found, and what they are found with.
pub(super) struct Reader<'a> {
    pub(super) sections: &'a Sections,
    /// Relative paths are from here.
    pub(super) folder: &'a Path,
    pub(super) faults: Vec<Fault>,
}

/// A value that the file gives, as the text of a property.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) place: Place,
    pub(super) path: String,
}

/// A section that the file gives.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) place: Place,
    pub(super) path: String,
    /// By property; `None`: the section is `false`.
    pub(super) values: Option<BTreeMap<String, Given>>,
}

/// What a camera, or `defaults`, says.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// By name of the section.
    pub(super) parts: BTreeMap<&'static str, Part>,
    pub(super) zones: Option<Given>,
    /// `None`: the key is not there; empty: it is `false`.
    pub(super) publish: Option<Vec<Part>>,
}

impl Draft {
    /// The same with what `defaults` say of what is not said here.
    pub(super) fn over(mut self, defaults: &Draft) -> Self {
        for (name, common) in &defaults.parts {
            match self.parts.get_mut(name) {
                None => {
                    self.parts.insert(name, common.clone());
                }
                Some(Part { values: Some(own), .. }) => {
                    for (key, value) in common.values.iter().flatten() {
                        own.entry(key.clone()).or_insert_with(|| value.clone());
                    }
                }
                Some(Part { values: None, .. }) => {}
            }
        }
        self.zones = self.zones.or_else(|| defaults.zones.clone());
        self.publish = self.publish.or_else(|| defaults.publish.clone());
        self
    }
}

/// Sections that are there or not; `false` takes back what `defaults` say.
pub(super) const CAN_BE_OFF: [&str; 3] = ["recognition", "clips", "output"];
/// Sections that need no key.
pub(super) const CAN_BE_ON: [&str; 2] = ["clips", "output"];

impl Reader<'_> {
    pub(super) fn fault(&mut self, place: Place, path: &str, reason: impl Into<String>) {
        self.faults.push(Fault::at(place, path, reason));
    }

    /// The entries of a mapping whose keys are among `known`; of the others it is said what they may
    /// have been meant as.
    pub(super) fn entries<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        known: &[&str],
    ) -> Vec<&'n Entry> {
        let entries = match &node.content {
            Content::Map(entries) => entries,
            Content::Null => return Vec::new(),
            _ => {
                let reason = format!("a mapping is wanted, not {}", node.kind());
                self.fault(node.place, path, reason);
                return Vec::new();
            }
        };
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            if known.contains(&entry.key.as_str()) {
                found.push(entry);
            } else {
                self.fault(entry.place, &join(path, &entry.key), unknown(&entry.key, known));
            }
        }
        found
    }

    /// `cameras.NAME` or `defaults`.
    pub(super) fn draft(&mut self, node: &Node, path: &str) -> Draft {
        let sections = self.sections;
        let of_camera = sections.of_camera();
        let mut known: Vec<&str> = of_camera.iter().map(|section| section.name).collect();
        known.push("zones");
        let mut draft = Draft::default();
        for entry in self.entries(node, path, &known) {
            let path = join(path, &entry.key);
            match entry.key.as_str() {
                "zones" => draft.zones = self.value(&sections.zones, entry, &path),
                "publish" => draft.publish = Some(self.targets(&entry.value, &path)),
                "source" => {
                    draft.parts.insert("source", self.source(entry, &path));
                }
                name => {
                    if let Some(section) = of_camera.iter().find(|section| section.name == name) {
                        draft.parts.insert(section.name, self.part(section, &entry.value, &path));
                    }
                }
            }
        }
        draft
    }

    /// A section of its own, or one of `false` and `true`.
    pub(super) fn part(&mut self, section: &Section, node: &Node, path: &str) -> Part {
        let mut part = Part { place: node.place, path: path.to_owned(), values: None };
        if let Content::Scalar { text, quoted: false } = &node.content {
            match text.as_str() {
                "false" if CAN_BE_OFF.contains(&section.name) => return part,
                "true" if CAN_BE_ON.contains(&section.name) => {
                    part.values = Some(BTreeMap::new());
                    return part;
                }
                _ => {}
            }
        }
        let known: Vec<&str> = section.keys.iter().map(|key| key.name.as_str()).collect();
        let mut values = BTreeMap::new();
        for entry in self.entries(node, path, &known) {
            let Some(key) = section.key(&entry.key) else { continue };
            if let Some(given) = self.value(key, entry, &join(path, &entry.key)) {
                values.insert(key.property.clone(), given);
            }
        }
        part.values = Some(values);
        part
    }

    /// A key with nothing behind it keeps its default, like one that is not there.
    pub(super) fn value(&mut self, key: &Key, entry: &Entry, path: &str) -> Option<Given> {
        let node = &entry.value;
        if matches!(node.content, Content::Null) {
            return None;
        }
        match value::read(key, node, self.folder) {
            Ok(text) => Some(Given { text, place: entry.place, path: path.to_owned() }),
            Err(reason) => {
                self.fault(node.place, path, reason);
                None
            }
        }
    }

    /// The address alone, or a mapping.
    fn source(&mut self, entry: &Entry, path: &str) -> Part {
        let node = &entry.value;
        let Content::Scalar { .. } = &node.content else {
            return self.part(&self.sections.source, node, path);
        };
        let key = self.sections.source.key("uri");
        let given = key.and_then(|key| Some((key.name.clone(), self.value(key, entry, path)?)));
        Part { place: node.place, path: path.to_owned(), values: Some(given.into_iter().collect()) }
    }

    fn targets(&mut self, node: &Node, path: &str) -> Vec<Part> {
        match &node.content {
            Content::Scalar { text, quoted: false } if text == "false" => Vec::new(),
            Content::List(targets) => {
                let section = &self.sections.publish;
                let target = |(n, target)| self.part(section, target, &format!("{path}[{n}]"));
                targets.iter().enumerate().map(target).collect()
            }
            _ => {
                let reason = format!("a list of targets is wanted, not {}", node.kind());
                self.fault(node.place, path, reason);
                Vec::new()
            }
        }
    }
}

/// The path of a key below another. Names of cameras are from outside and may be of any length.
pub(super) fn join(path: &str, key: &str) -> String {
    let short: String = key.chars().take(80).collect();
    if path.is_empty() { short } else { format!("{path}.{short}") }
}

fn unknown(key: &str, known: &[&str]) -> String {
    // More letters of difference than this are another word.
    let distance = |name: &str| strsim::damerau_levenshtein(key, name);
    let nearest = match key.len() {
        0..64 => known
            .iter()
            .find(|name| key.len() > 2 && name.starts_with(key))
            .or_else(|| known.iter().min_by_key(|name| distance(name)))
            .filter(|name| name.starts_with(key) || distance(name) <= 2.max(name.len() / 4)),
        _ => None,
    };
    match nearest {
        Some(name) => format!("unknown key, did you mean {name}?"),
        None => format!("unknown key; there are {}", known.join(", ")),
    }
}
