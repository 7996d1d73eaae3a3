//! What is wrong with a configuration: everything that was found, each with its place.

use std::fmt;
use std::path::{Path, PathBuf};

use super::yaml::Place;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In the file; line 0: the file as a whole.
    pub place: Place,
    /// Keys that lead there, as `cameras.door.zones`; empty: the file as a whole.
    pub path: String,
    pub reason: String,
}

impl Fault {
    pub(super) fn at(place: Place, path: &str, reason: impl Into<String>) -> Self {
        Self { place, path: path.to_owned(), reason: reason.into() }
    }

    /// As compilers write it, so that editors find the place.
    pub fn in_file(&self, path: &Path) -> String {
        let blank = if self.place.line > 0 { "" } else { " " };
        format!("{}:{blank}{self}", path.display())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.place.line > 0 {
            write!(f, "{}: ", self.place)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read configuration '{}'", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("configuration '{}' is no text in UTF-8", .path.display())]
    NoText { path: PathBuf },
    /// At least one, in the order of the file. The text has a line for each.
    #[error("{}", .faults.iter().map(|f| f.in_file(.path)).collect::<Vec<_>>().join("\n"))]
    Faults { path: PathBuf, faults: Vec<Fault> },
    #[error("look up the properties of the elements")]
    Elements(#[from] crate::AnalyzeError),
}
