//! Which names people may have.

use super::GalleryError;

/// Most characters of a name.
pub const MAX_NAME_CHARS: usize = 200;

/// The name as it is stored: without white space around it.
///
/// Everything that can be shown on one line is a name, in any script. Line breaks and control
/// characters would break tables, logs and terminals.
pub(crate) fn checked(name: &str) -> Result<&str, GalleryError> {
    let trimmed = name.trim();
    let reason = if trimmed.is_empty() {
        "it is empty"
    } else if trimmed.contains('\0') {
        "it contains a NUL character"
    } else if trimmed.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        "it contains a line break or another control character"
    } else if trimmed.chars().count() > MAX_NAME_CHARS {
        "it is longer than 200 characters"
    } else if !trimmed.chars().any(is_visible) {
        "it has no visible character"
    } else {
        return Ok(trimmed);
    };
    Err(GalleryError::Name { name: trimmed.chars().take(MAX_NAME_CHARS).collect(), reason })
}

/// Characters that leave nothing on the screen alone: zero-width and direction marks.
fn is_visible(c: char) -> bool {
    !c.is_whitespace()
        && !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(name: &str) -> &'static str {
        match checked(name) {
            Err(GalleryError::Name { reason, .. }) => reason,
            other => panic!("{name:?} gave {other:?}"),
        }
    }

    #[test]
    fn names_of_every_script_are_taken_as_they_are() {
        let longest = "é".repeat(MAX_NAME_CHARS);
        for name in [
            "O'Brien \"the\" %s; DROP TABLE persons;--",
            "Ольга",
            "नरेन्द्र",
            "王小明",
            "عبد الله",
            "\u{200f}שרה\u{200f}",
            "👩🏽‍🚀",
            "x",
            &longest,
        ] {
            assert_eq!(checked(name).unwrap(), name);
        }
        assert_eq!(checked(" \u{3000}Ann  Lee\u{a0}\n").unwrap(), "Ann  Lee");
    }

    #[test]
    fn what_cannot_be_shown_on_one_line_is_refused_with_its_reason() {
        assert_eq!(reason(""), "it is empty");
        assert_eq!(reason(" \t\u{3000}"), "it is empty");
        assert_eq!(reason("a\0b"), "it contains a NUL character");
        for name in ["a\nb", "a\u{1b}[31m", "a\u{7f}", "a\u{9b}b", "a\u{2028}b"] {
            assert_eq!(reason(name), "it contains a line break or another control character");
        }
        assert_eq!(reason(&"é".repeat(MAX_NAME_CHARS + 1)), "it is longer than 200 characters");
        assert_eq!(reason("\u{200b}\u{200e}"), "it has no visible character");
    }

    #[test]
    fn refused_name_does_not_reach_the_terminal_raw() {
        let text = checked("a\u{1b}[31m").unwrap_err().to_string();
        assert!(text.contains("\\u{1b}[31m") && !text.contains('\u{1b}'), "{text}");
    }
}
