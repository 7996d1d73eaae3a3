//! Where secrets come from. The journal names the place, never what is there.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longest secret that is read from a file, bytes.
const LONGEST: u64 = 64 << 10;

/// The place of a secret. It is looked up when something is sent, so that a changed one is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretSource {
    /// A variable of the environment of the process that sends.
    Environment(String),
    /// A file; white space at its end does not count.
    File(PathBuf),
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "environment variable '{name}'"),
            Self::File(path) => write!(f, "file '{}'", path.display()),
        }
    }
}

impl SecretSource {
    /// Reads the secret. The error says which place has none, and why.
    ///
    /// # Errors
    /// The text.
    pub fn read(&self) -> Result<String, String> {
        let secret = match self {
            Self::Environment(name) => {
                std::env::var(name).map_err(|_| format!("there is no secret in the {self}"))?
            }
            Self::File(path) => {
                let failed = |error| format!("cannot read the secret in the {self}: {error}");
                let mut text = String::new();
                let file = File::open(path).map_err(failed)?;
                file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
                text
            }
        };
        let secret = secret.trim_end();
        if secret.is_empty() {
            return Err(format!("the secret in the {self} is empty"));
        }
        Ok(secret.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_read_from_its_file_and_places_without_one_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let source = SecretSource::File(path.clone());
        assert!(source.read().unwrap_err().contains(path.to_str().unwrap()));
        std::fs::write(&path, "\n").unwrap();
        assert!(source.read().unwrap_err().contains("empty"));
        std::fs::write(&path, "hunter2 \r\n").unwrap();
        assert_eq!(source.read().unwrap(), "hunter2");
        let source = SecretSource::Environment("GST_FACE_NO_SUCH_SECRET".into());
        assert!(source.read().unwrap_err().contains("'GST_FACE_NO_SUCH_SECRET'"));
    }
}
