//! Which keys objects may have.

/// Amazon's limit for a whole key, bytes.
pub(super) const LONGEST: usize = 1024;
/// Limit of Linux file systems for a name, less what a temporary name needs.
const LONGEST_PART: usize = 240;
/// Beginning of the names of files that are not whole yet.
pub(super) const PARTIAL: &str = ".part-";

/// Checks that a key names one object in every kind of storage, and nothing outside of it.
pub(super) fn check(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        return Err("it is empty");
    }
    if key.len() > LONGEST {
        return Err("it is longer than 1024 bytes");
    }
    for part in key.split('/') {
        if part.is_empty() {
            return Err("it begins or ends with a slash or has two in a row");
        }
        if part == "." || part == ".." {
            return Err("'.' and '..' lead elsewhere");
        }
        if part.starts_with(PARTIAL) {
            return Err("names that begin with '.part-' are for files that are not whole yet");
        }
        if part.len() > LONGEST_PART {
            return Err("a part of it is longer than 240 bytes");
        }
        // What the store's library refuses, and what other systems take for a separator.
        if part.chars().any(|c| c.is_control() || c == '\\') {
            return Err("it has a control character or a backslash in it");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_inside() {
        for good in ["a", "a/b.mp4", "Tür 3/ü.json", "a b/c%2F", "...", "a#1", ".hidden/x"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = "a/".repeat(512) + "b";
        let long_part = "a".repeat(241);
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "a/.",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{85}b",
            ".part-x",
            "a/.part-/b",
            &long,
            &long_part,
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
