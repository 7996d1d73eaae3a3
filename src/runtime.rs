//! Where the ONNX Runtime library is looked for.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Names under which the system's loader may know the library.
const SYSTEM_NAMES: [&str; 2] = ["libonnxruntime.so.1", "libonnxruntime.so"];

/// The user's settings, `face.toml` in the user's configuration folder under `gst-face`. Keys that
/// are not known here belong to others.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UserSettings {
    #[serde(default)]
    runtime_library: Option<PathBuf>,
}

/// Path of the user's `face.toml`, whether it exists or not.
fn user_settings_path() -> Option<PathBuf> {
    dirs::config_dir().map(|folder| folder.join("gst-face").join("face.toml"))
}

/// What to try, in order: a library, or why a place has none. A library that was named (by
/// property or environment) is the only candidate: falling back to another would hide the mistake.
pub(crate) fn candidates(
    library: Option<&Path>,
    folders: &[PathBuf],
) -> Vec<Result<PathBuf, String>> {
    if let Some(path) = library {
        return vec![library_at(path, "runtime-library")];
    }
    for variable in ["GST_FACE_ORT_PATH", "ORT_DYLIB_PATH"] {
        if let Some(path) = std::env::var_os(variable).filter(|v| !v.is_empty()) {
            return vec![library_at(Path::new(&path), variable)];
        }
    }
    let mut found = Vec::new();
    for folder in folders {
        found.push(library_at(folder, "plugin folder"));
        if let Some(parent) = folder.parent() {
            found.push(library_at(&parent.join("lib"), "plugin folder"));
        }
    }
    if let Some(settings) = user_settings_path() {
        found.push(from_settings(&settings));
    }
    found.extend(SYSTEM_NAMES.map(|name| Ok(PathBuf::from(name))));
    found
}

fn from_settings(path: &Path) -> Result<PathBuf, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{} ({e})", path.display()))?;
    let settings: UserSettings =
        toml::from_str(&text).map_err(|e| format!("{} ({})", path.display(), e.message()))?;
    match settings.runtime_library {
        Some(library) => library_at(&library, &path.display().to_string()),
        None => Err(format!("{} (has no runtime-library)", path.display())),
    }
}

/// The library file at `path`: the file itself, or the newest libonnxruntime.so* in that folder.
fn library_at(path: &Path, why: &str) -> Result<PathBuf, String> {
    if path.is_file() {
        return path.canonicalize().map_err(|e| format!("{} ({why}: {e})", path.display()));
    }
    let entries =
        std::fs::read_dir(path).map_err(|e| format!("{} ({why}: {e})", path.display()))?;
    let mut libraries: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
        })
        .collect();
    libraries.sort();
    libraries.pop().ok_or_else(|| format!("{} ({why}: no libonnxruntime.so in it)", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_without_a_library_says_so_and_names_itself() {
        let dir = tempfile::tempdir().unwrap();
        let error = library_at(dir.path(), "runtime-library").unwrap_err();
        assert!(error.contains(dir.path().to_str().unwrap()), "{error}");
        assert!(error.contains("no libonnxruntime.so"), "{error}");
        let file = dir.path().join("libonnxruntime.so.1.31.1");
        std::fs::write(&file, b"x").unwrap();
        assert_eq!(
            library_at(dir.path(), "x").unwrap().file_name().unwrap(),
            "libonnxruntime.so.1.31.1"
        );
    }

    #[test]
    fn named_library_is_the_only_candidate() {
        let all = candidates(Some(Path::new("/nonexistent/lib.so")), &[PathBuf::from("/tmp")]);
        assert_eq!(all.len(), 1);
        assert!(all[0].as_ref().unwrap_err().contains("/nonexistent/lib.so"));
    }

    #[test]
    fn settings_file_names_the_library() {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("libonnxruntime.so");
        std::fs::write(&library, b"x").unwrap();
        let settings = dir.path().join("face.toml");
        std::fs::write(
            &settings,
            format!("other = 1\nruntime-library = {:?}\n", dir.path().to_str().unwrap()),
        )
        .unwrap();
        assert_eq!(from_settings(&settings).unwrap(), library.canonicalize().unwrap());
        std::fs::write(&settings, "runtime-library = 3").unwrap();
        assert!(from_settings(&settings).is_err());
    }
}
