//! Names of topics: what comes from people and cameras is one level of them, whatever is in it.

use sha2::{Digest, Sha256};

/// Longest level, bytes; a longer one is cut and ends with a hash of the whole.
const LONGEST: usize = 200;

/// Why a text is no beginning of topics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{prefix}' cannot be the beginning of topics: {reason}")]
pub struct PrefixError {
    prefix: String,
    reason: &'static str,
}

/// The topics of one camera: `PREFIX/CAMERA/…`.
///
/// ```
/// use face_core::publish::topic::Topics;
///
/// let topics = Topics::new("home/faces", "front door")?;
/// assert_eq!(topics.event("known-face"), "home/faces/front door/events/known-face");
/// assert_eq!(topics.person("a/b+c"), "home/faces/front door/people/a%2Fb%2Bc");
/// # Ok::<(), face_core::publish::topic::PrefixError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    base: String,
}

impl Topics {
    /// # Errors
    /// [`PrefixError`] for a prefix with an empty level, a wildcard or a control character, or that
    /// begins with `$`.
    pub fn new(prefix: &str, camera: &str) -> Result<Self, PrefixError> {
        check_prefix(prefix)?;
        Ok(Self { base: format!("{prefix}/{}", level(camera)) })
    }

    /// Whether we are there: `online` or `offline`, retained.
    pub fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    pub fn frames(&self) -> String {
        format!("{}/frames", self.base)
    }

    pub fn event(&self, kind: &str) -> String {
        format!("{}/events/{}", self.base, level(kind))
    }

    pub fn tracks(&self) -> String {
        format!("{}/tracks", self.base)
    }

    /// Who and how many are seen now, retained.
    pub fn state(&self) -> String {
        format!("{}/state", self.base)
    }

    /// Whether a person is seen now, retained.
    pub fn person(&self, person_id: &str) -> String {
        format!("{}/people/{}", self.base, level(person_id))
    }
}

/// Can topics begin so?
///
/// # Errors
/// [`PrefixError`].
pub fn check_prefix(prefix: &str) -> Result<(), PrefixError> {
    let reason = if prefix.is_empty() || prefix.split('/').any(str::is_empty) {
        "no part of it may be empty"
    } else if prefix.contains(['+', '#']) {
        "+ and # are for who subscribes"
    } else if prefix.chars().any(char::is_control) {
        "it holds a control character"
    } else if prefix.starts_with('$') {
        "what begins with $ is the broker's own"
    } else if prefix.len() > LONGEST {
        "it is longer than 200 bytes"
    } else {
        return Ok(());
    };
    Err(PrefixError { prefix: prefix.escape_debug().take(LONGEST).collect(), reason })
}

/// A text as one level of a topic. What could divide it, match others or steer a terminal is written
/// as in addresses, `%2F`; different texts stay different.
pub fn level(text: &str) -> String {
    let mut level = String::with_capacity(text.len());
    for (i, c) in text.chars().enumerate() {
        let escape = matches!(c, '/' | '+' | '#' | '%') || c.is_control() || (c == '$' && i == 0);
        if escape {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                level.push_str(&format!("%{byte:02X}"));
            }
        } else {
            level.push(c);
        }
    }
    match level.len() {
        // Nothing else is written so.
        0 => "%".to_owned(),
        length if length <= LONGEST => level,
        _ => {
            let end = (0..=LONGEST).rev().find(|end| level.is_char_boundary(*end));
            level.truncate(end.unwrap_or(0));
            level + "%" + &short_hash(text)
        }
    }
}

/// A text of letters, digits, `_` and `-` alone, as Home Assistant wants its ids; different texts stay
/// different.
pub fn slug(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        return text.to_owned();
    }
    let kept: String = text.chars().take(40).map(|c| if plain(c) { c } else { '_' }).collect();
    format!("{kept}-{}", short_hash(text))
}

fn short_hash(text: &str) -> String {
    Sha256::digest(text).iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mqtt::check_topic;

    const HOSTILE: [&str; 14] = [
        "",
        "%",
        "%2F",
        "/",
        "+",
        "#",
        "a/+/#",
        "$SYS",
        "x\0y",
        "line\nbreak",
        "\u{85}",
        "Zoë 张 \"Z\" \\",
        "..",
        "a$b",
    ];

    #[test]
    fn hostile_names_are_one_level_and_stay_apart() {
        let long = ["x".repeat(5000), "x".repeat(5001), "é".repeat(300), "/".repeat(100)];
        let mut seen = BTreeSet::new();
        for text in HOSTILE.into_iter().chain(long.iter().map(String::as_str)) {
            let topics = Topics::new("faces", text).unwrap();
            for topic in [topics.person(text), topics.event(text), topics.status()] {
                check_topic(&topic).unwrap();
                assert!(topic.len() < 600, "{topic}");
            }
            assert_eq!(topics.person(text).split('/').count(), 4, "{text:?}");
            assert!(topics.person(text).split('/').all(|level| !level.is_empty()), "{text:?}");
            assert!(seen.insert(level(text)), "{text:?} is the same as another");
        }
        assert_eq!(level("a/b"), "a%2Fb");
        assert_eq!(level("Zoë 张"), "Zoë 张");
    }

    #[test]
    fn prefix_is_taken_as_it_is_or_not_at_all() {
        for prefix in ["faces", "home/faces/a b", "%"] {
            assert!(Topics::new(prefix, "door").is_ok(), "{prefix}");
        }
        for prefix in ["", "/", "a/", "/a", "a//b", "a/+", "#", "$SYS/x", "a\0b"] {
            assert!(Topics::new(prefix, "door").is_err(), "{prefix:?}");
        }
    }

    #[test]
    fn ids_hold_only_what_home_assistant_takes() {
        let mut seen = BTreeSet::new();
        for text in HOSTILE {
            let slug = slug(text);
            let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            assert!(!slug.is_empty() && slug.chars().all(fine), "{slug}");
            assert!(seen.insert(slug), "{text:?}");
        }
        assert_eq!(slug("5f0c-12"), "5f0c-12");
    }
}
