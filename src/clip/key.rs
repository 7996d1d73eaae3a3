//! Under which keys clips are stored.

use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::utc::Calendar;
use crate::model;

/// Longest part of a key that comes from one value, characters: with three bytes for each and
/// everything of the default template around it a name stays below 255 bytes.
const LONGEST_VALUE: usize = 48;
/// Hexadecimal digits of the hash: 48 bits beside the millisecond.
const HASH_DIGITS: usize = 12;

/// An object of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The video.
    Original,
    /// What is known of it, `.json`.
    Sidecar,
    /// The video with faces drawn into it.
    Annotated,
    /// The best shot.
    Snapshot,
}

impl Part {
    pub const ALL: [Self; 4] = [Self::Original, Self::Sidecar, Self::Annotated, Self::Snapshot];

    /// What follows the stem of the clip.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Original => ".mp4",
            Self::Sidecar => ".json",
            Self::Annotated => "_annotated.mp4",
            Self::Snapshot => ".jpg",
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Sidecar => "json",
            Self::Annotated => "annotated",
            Self::Snapshot => "snapshot",
        }
    }

    /// Takes a key apart into the stem of its clip and the part that it is. `None`: not of a clip.
    pub fn of(key: &str) -> Option<(&str, Self)> {
        // The longer ending first.
        [Self::Annotated, Self::Original, Self::Sidecar, Self::Snapshot].into_iter().find_map(
            |part| {
                let stem = key.strip_suffix(part.ending())?;
                (!stem.is_empty() && !stem.ends_with('/')).then_some((stem, part))
            },
        )
    }
}

/// What the key of a clip is made of. All texts may be hostile.
#[derive(Clone, Copy, Debug)]
pub struct ClipName<'a> {
    /// Folders before everything else; may be empty.
    pub prefix: &'a str,
    pub camera: &'a str,
    /// When the clip begins.
    pub start: SystemTime,
    /// Kind of the first trigger, such as `known-face`.
    pub event: &'a str,
    /// Something that no other clip has, such as a UUID. The same id gives the same key.
    pub id: &'a str,
}

/// What a key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyParts {
    /// As it was made fit for a key.
    pub camera: Option<String>,
    /// To the millisecond.
    pub start: Option<SystemTime>,
    pub event: Option<String>,
}

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error("key template '{template}' has the unknown field '{{{field}}}': {FIELDS} are known")]
    Unknown { template: String, field: String },
    #[error("key template '{template}': {reason}")]
    Wrong { template: String, reason: &'static str },
}

const FIELDS: &str = "{prefix}, {camera}, {yyyy}, {mm}, {dd}, {utc}, {event} and {hash}";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Camera,
    Year,
    Month,
    Day,
    Utc,
    Event,
    Hash,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    Field(Field),
}

/// How keys are made: text with fields in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate {
    /// `{prefix}/` stands at its beginning.
    prefixed: bool,
    /// Parts between slashes.
    parts: Vec<Vec<Token>>,
}

impl KeyTemplate {
    /// The template that is used where none is given.
    pub const DEFAULT: &'static str = "{prefix}/{camera}/{yyyy}/{mm}/{dd}/{utc}-{event}-{hash}";

    /// Reads a template, without an ending: that is the part's. It must have `{utc}` and `{hash}`,
    /// or clips would collide.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        let wrong = |reason| TemplateError::Wrong { template: template.to_owned(), reason };
        let (prefixed, rest) = match template.strip_prefix("{prefix}/") {
            Some(rest) => (true, rest),
            None => (false, template),
        };
        let parts: Vec<_> =
            rest.split('/').map(|part| tokens(template, part)).collect::<Result<_, _>>()?;
        let has = |field| parts.iter().flatten().any(|token| *token == Token::Field(field));
        if !has(Field::Hash) || !has(Field::Utc) {
            return Err(wrong("{utc} and {hash} are needed, or clips would collide"));
        }
        for part in &parts {
            match part.as_slice() {
                [] => return Err(wrong("it begins or ends with a slash or has two in a row")),
                // A value never begins with a dot.
                [Token::Text(text), ..] if text.starts_with('.') => {
                    return Err(wrong("a part of it begins with a dot"));
                }
                _ => {}
            }
        }
        let fields = |field| parts.iter().flatten().filter(|t| **t == Token::Field(field)).count();
        if [Field::Camera, Field::Event, Field::Utc, Field::Hash].iter().any(|f| fields(*f) > 1) {
            return Err(wrong("a field stands in it twice"));
        }
        Ok(Self { prefixed, parts })
    }

    /// The key of a clip without its ending, see [`Part::ending`].
    pub fn stem(&self, name: &ClipName<'_>) -> String {
        let mut parts: Vec<String> = Vec::new();
        if self.prefixed {
            parts.extend(name.prefix.split('/').filter(|part| !part.is_empty()).map(fit));
        }
        for part in &self.parts {
            parts.push(part.iter().map(|token| filled(token, name)).collect());
        }
        parts.join("/")
    }

    /// What the stem of a key says, if it was made by this template.
    pub fn read(&self, stem: &str) -> Option<KeyParts> {
        let texts: Vec<&str> = stem.split('/').collect();
        let before = texts.len().checked_sub(self.parts.len())?;
        if before > 0 && !self.prefixed {
            return None;
        }
        let mut found = KeyParts { camera: None, start: None, event: None };
        for (tokens, text) in self.parts.iter().zip(texts.get(before..)?) {
            if !matches(tokens, text, &mut found) {
                return None;
            }
        }
        Some(found)
    }
}

impl Default for KeyTemplate {
    fn default() -> Self {
        let text = |text: &str| Token::Text(text.to_owned());
        let (utc, event) = (Token::Field(Field::Utc), Token::Field(Field::Event));
        let folders = [Field::Camera, Field::Year, Field::Month, Field::Day];
        let mut parts: Vec<_> = folders.map(|field| vec![Token::Field(field)]).into();
        parts.push(vec![utc, text("-"), event, text("-"), Token::Field(Field::Hash)]);
        Self { prefixed: true, parts }
    }
}

fn tokens(template: &str, part: &str) -> Result<Vec<Token>, TemplateError> {
    let wrong = |reason| TemplateError::Wrong { template: template.to_owned(), reason };
    let mut tokens = Vec::new();
    let mut rest = part;
    while !rest.is_empty() {
        let start = rest.find('{').unwrap_or(rest.len());
        let (text, after) = rest.split_at(start);
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '=' | '+');
        if !text.chars().all(fits) {
            return Err(wrong("beside fields it may have letters, digits and - _ . = +"));
        }
        if !text.is_empty() {
            tokens.push(Token::Text(text.to_owned()));
        }
        let Some(after) = after.strip_prefix('{') else { break };
        let (field, after) = after.split_once('}').ok_or(wrong("a brace is not closed"))?;
        tokens.push(Token::Field(match field {
            "camera" => Field::Camera,
            "yyyy" => Field::Year,
            "mm" => Field::Month,
            "dd" => Field::Day,
            "utc" => Field::Utc,
            "event" => Field::Event,
            "hash" => Field::Hash,
            "prefix" => return Err(wrong("{prefix}/ stands at its beginning or nowhere")),
            _ => {
                let (template, field) = (template.to_owned(), field.to_owned());
                return Err(TemplateError::Unknown { template, field });
            }
        }));
        rest = after;
    }
    Ok(tokens)
}

/// A value as a part of a key: letters, digits, `-` and `_`; never empty, never a way elsewhere.
fn fit(value: &str) -> String {
    let harmless = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    let fitted: String = value.chars().take(LONGEST_VALUE).map(harmless).collect();
    if fitted.is_empty() { "unnamed".to_owned() } else { fitted }
}

fn filled(token: &Token, name: &ClipName<'_>) -> String {
    let at = Calendar::of(name.start);
    match token {
        Token::Text(text) => text.clone(),
        Token::Field(Field::Camera) => fit(name.camera),
        Token::Field(Field::Event) => fit(name.event),
        Token::Field(Field::Year) => format!("{:04}", at.year),
        Token::Field(Field::Month) => format!("{:02}", at.month),
        Token::Field(Field::Day) => format!("{:02}", at.day),
        Token::Field(Field::Utc) => format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}{:03}Z",
            at.year, at.month, at.day, at.hour, at.minute, at.second, at.millisecond
        ),
        Token::Field(Field::Hash) => {
            // Of the names before they were made fit: "a/b" and "a_b" are two cameras.
            let mut hasher = Sha256::new();
            for text in [name.prefix, name.camera, name.event, name.id] {
                hasher.update((text.len() as u64).to_le_bytes());
                hasher.update(text);
            }
            let since = name.start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            hasher.update(since.as_nanos().to_le_bytes());
            model::hex(&hasher.finalize()).chars().take(HASH_DIGITS).collect()
        }
    }
}

/// Does `text` come from `tokens`? Values whose length is not fixed are tried from long to short.
fn matches(tokens: &[Token], text: &str, found: &mut KeyParts) -> bool {
    let Some((token, rest)) = tokens.split_first() else { return text.is_empty() };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut fixed = |length: usize, right: &dyn Fn(&str) -> bool| {
        text.split_at_checked(length)
            .is_some_and(|(value, after)| right(value) && matches(rest, after, found))
    };
    match token {
        Token::Text(expected) => fixed(expected.len(), &|value| value == expected),
        Token::Field(Field::Year) => fixed(4, &digits),
        Token::Field(Field::Month | Field::Day) => fixed(2, &digits),
        Token::Field(Field::Hash) => fixed(HASH_DIGITS, &hexadecimal),
        Token::Field(Field::Utc) => {
            let Some((value, after)) = text.split_at_checked(19) else { return false };
            found.start = compact(value);
            found.start.is_some() && matches(rest, after, found)
        }
        Token::Field(field @ (Field::Camera | Field::Event)) => {
            let ends: Vec<usize> = text.char_indices().map(|(at, c)| at + c.len_utf8()).collect();
            ends.into_iter().rev().any(|end| {
                let (value, after) = text.split_at(end);
                let right = fit(value) == value && matches(rest, after, found);
                if right {
                    let into =
                        if *field == Field::Camera { &mut found.camera } else { &mut found.event };
                    *into = Some(value.to_owned());
                }
                right
            })
        }
    }
}

/// `20261123T040506789Z`.
fn compact(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8
        || time.len() != 9
        || !(date.bytes().chain(time.bytes())).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let number = |text: &str, from: usize, to: usize| text.get(from..to)?.parse().ok();
    Calendar {
        year: number(date, 0, 4)?,
        month: number(date, 4, 6)?,
        day: number(date, 6, 8)?,
        hour: number(time, 0, 2)?,
        minute: number(time, 2, 4)?,
        second: number(time, 4, 6)?,
        millisecond: number(time, 6, 9)?,
    }
    .moment()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::utc;

    fn name<'a>(camera: &'a str, id: &'a str) -> ClipName<'a> {
        let start = utc::parse("2026-11-23T04:05:06.789Z").unwrap();
        ClipName { prefix: "site/north", camera, start, event: "known-face", id }
    }

    #[test]
    fn default_template_is_its_text() {
        assert_eq!(KeyTemplate::parse(KeyTemplate::DEFAULT), Ok(KeyTemplate::default()));
    }

    #[test]
    fn keys_are_readable_and_read_back() {
        let template = KeyTemplate::default();
        let stem = template.stem(&name("front-door", "1"));
        let start = "site/north/front-door/2026/11/23/20261123T040506789Z-known-face-";
        assert!(stem.starts_with(start) && stem.len() == start.len() + 12, "{stem}");
        let parts = template.read(&stem).unwrap();
        assert_eq!(parts.camera.as_deref(), Some("front-door"));
        assert_eq!(parts.event.as_deref(), Some("known-face"));
        assert_eq!(parts.start, Some(name("", "").start));
        let flat = KeyTemplate::parse("{camera}-{event}.{utc}_{hash}").unwrap();
        let stem = flat.stem(&name("a-b", "1"));
        assert!(stem.starts_with("a-b-known-face.20261123T040506789Z_"), "{stem}");
        assert_eq!(flat.read(&stem).unwrap().start, parts.start);
        for foreign in [
            "",
            "x",
            "00000123",
            "a/b/c/d/e",
            "cam/2026/11/23/20261323T040506789Z-x-0123456789ab",
            "cam/2026/11/23/20261123T040506789Z-x-0123456789zz",
            "cam/x/11/23/20261123T040506789Z-x-0123456789ab",
        ] {
            assert_eq!(template.read(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn hostile_names_make_harmless_keys() {
        let template = KeyTemplate::default();
        for hostile in [
            "",
            ".",
            "..",
            "../../etc/passwd",
            "/",
            "a/b",
            "a\\b",
            "a\0b",
            "\n",
            "{hash}",
            "%2e%2e",
            "Tür 3",
            "入口",
            "\u{202e}",
            &"x".repeat(10_000),
            &"語".repeat(500),
            "-",
            ".part-x",
        ] {
            let hostile_name =
                ClipName { prefix: hostile, event: hostile, ..name(hostile, hostile) };
            let stem = template.stem(&hostile_name);
            let folder = tempfile::tempdir().unwrap();
            let storage = crate::storage::Storage::open(folder.path().to_str().unwrap()).unwrap();
            for part in Part::ALL {
                let key = format!("{stem}{}", part.ending());
                storage.put(&key, b"x").unwrap_or_else(|e| panic!("{hostile:?}: {e}"));
                assert_eq!(Part::of(&key), Some((stem.as_str(), part)));
            }
            let parts = template.read(&stem).unwrap_or_else(|| panic!("{stem}"));
            assert_eq!(parts.camera, Some(fit(hostile)));
        }
    }

    #[test]
    fn keys_never_collide() {
        let template = KeyTemplate::default();
        let base = name("a/b", "1");
        let soon = base.start + std::time::Duration::from_nanos(1);
        let others = [
            name("a_b", "1"),
            name("a/b", "2"),
            ClipName { start: soon, ..base },
            ClipName { event: "known/face", ..base },
            ClipName { prefix: "site/nort", camera: "ha/b", ..base },
        ];
        let stem = template.stem(&base);
        assert_eq!(template.stem(&base), stem, "the same clip keeps its key");
        for other in &others {
            assert_ne!(template.stem(other), stem, "{other:?}");
        }
    }

    #[test]
    fn templates_that_cannot_work_are_refused() {
        for (template, word) in [
            ("", "{utc} and {hash}"),
            ("{camera}/{utc}", "{utc} and {hash}"),
            ("{camera}/{hash}", "{utc} and {hash}"),
            ("{name}/{utc}-{hash}", "'{name}'"),
            ("/{utc}-{hash}", "slash"),
            ("{camera}//{utc}-{hash}", "slash"),
            ("{utc}-{hash}/", "slash"),
            ("../{utc}-{hash}", "dot"),
            ("{utc}-{hash", "not closed"),
            ("{utc}-{hash}-{hash}", "twice"),
            ("x/{prefix}/{utc}-{hash}", "beginning"),
            ("a b/{utc}-{hash}", "letters"),
        ] {
            let error = KeyTemplate::parse(template).unwrap_err().to_string();
            assert!(error.contains(word), "{template}: {error}");
        }
    }
}
