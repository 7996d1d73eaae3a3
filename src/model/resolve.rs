//! Finding the file of a model.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::file::{self, FileState, check};
use super::{
    ModelError, ModelFile, ModelSpec, PATH_VARIABLE, ResolvedModel, Task, find, registry, spec,
};
use crate::onnx;

/// Folders searched for model files, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPath {
    folders: Vec<PathBuf>,
}

/// A copy of a registry model in one of the folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    pub path: PathBuf,
    pub state: FileState,
}

/// The user's folder for models (`~/.local/share/gst-face/models`, moved by `XDG_DATA_HOME`);
/// `None` without a home folder.
pub fn data_dir() -> Option<PathBuf> {
    dirs::data_dir().map(|folder| folder.join("gst-face").join("models"))
}

/// [`SearchPath::resolve`] in the folders of [`SearchPath::from_env`].
///
/// # Errors
/// As [`SearchPath::resolve`].
pub fn resolve(name_or_path: &str, task: Task) -> Result<ResolvedModel, ModelError> {
    SearchPath::from_env().resolve(name_or_path, task)
}

/// Every registry model with its copies in the folders of [`SearchPath::from_env`]. Reads the
/// files.
pub fn installed() -> Vec<(&'static ModelSpec, Vec<Copy>)> {
    let search = SearchPath::from_env();
    registry().iter().map(|spec| (spec, search.copies(spec))).collect()
}

impl SearchPath {
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// The folders of `GST_FACE_MODEL_PATH`, then [`data_dir`].
    pub fn from_env() -> Self {
        let listed = std::env::var_os(PATH_VARIABLE).unwrap_or_default();
        let folders = std::env::split_paths(&listed)
            .filter(|folder| !folder.as_os_str().is_empty())
            .chain(data_dir())
            .collect();
        Self { folders }
    }

    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Finds a model by its registry name in the folders, or by the path of its .onnx file.
    ///
    /// What a file given by path is, is told by, in this order: a description `STEM.toml` beside
    /// it; its checksum or file name, if they are a registry entry's; its inputs and outputs.
    /// A detector told by the last whose size is fixed gets it freed if the graph allows it.
    /// A file found by name must have the checksum of the registry; copies with another one are
    /// passed over.
    ///
    /// # Errors
    /// [`ModelError`]; the text names the places tried and what to do.
    pub fn resolve(&self, name_or_path: &str, task: Task) -> Result<ResolvedModel, ModelError> {
        let path = Path::new(name_or_path);
        let resolved = if let Some(spec) = find(name_or_path) {
            // First the task: a file of the wrong kind need not be there to be wrong.
            right_task(spec, name_or_path, task)?;
            self.by_name(spec)?
        } else if name_or_path.contains(std::path::MAIN_SEPARATOR) || is_onnx(path) {
            by_path(path, task)?
        } else {
            return Err(ModelError::UnknownName { name: name_or_path.to_owned() });
        };
        Ok(resolved)
    }

    /// The copies of a registry model, in search order. Reads the files.
    pub fn copies(&self, spec: &ModelSpec) -> Vec<Copy> {
        let paths = self.folders.iter().map(|folder| folder.join(&spec.file.name));
        paths
            .map(|path| Copy { state: check(&path, &spec.file), path })
            .filter(|copy| copy.state != FileState::Missing)
            .collect()
    }

    fn by_name(&self, spec: &ModelSpec) -> Result<ResolvedModel, ModelError> {
        let mut first_error = None;
        let mut tried = Vec::new();
        for folder in &self.folders {
            let path = folder.join(&spec.file.name);
            let error = match check(&path, &spec.file) {
                FileState::Intact => return Ok(ResolvedModel { spec: spec.clone(), path }),
                FileState::Missing => {
                    tried.push(format!("'{}'", path.display()));
                    continue;
                }
                FileState::Damaged { sha256: actual } => {
                    ModelError::Checksum { path, expected: spec.file.sha256.clone(), actual }
                }
                FileState::LfsPointer => ModelError::LfsPointer { path },
                FileState::Unreadable { reason } => {
                    ModelError::Read { path, source: std::io::Error::other(reason) }
                }
            };
            first_error.get_or_insert(error);
        }
        Err(first_error.unwrap_or(ModelError::NotFound { name: spec.id.clone(), tried }))
    }
}

fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

fn right_task(spec: &ModelSpec, name: &str, wanted: Task) -> Result<(), ModelError> {
    if spec.task == wanted {
        return Ok(());
    }
    Err(ModelError::WrongTask { name: name.to_owned(), is: spec.task, wanted })
}

fn by_path(path: &Path, task: Task) -> Result<ResolvedModel, ModelError> {
    let name = path.display().to_string();
    let bytes = match file::read(path) {
        Err(ModelError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(ModelError::NotFound { tried: vec![format!("'{name}'")], name });
        }
        other => other?,
    };
    let sha256 = file::hex(&Sha256::digest(&bytes));
    let signature = onnx::signature(&bytes).map_err(|source| ModelError::graph(path, source))?;
    let mut spec = match described(path, &sha256)? {
        Some(spec) => spec,
        None => match known(path, &sha256) {
            Some(spec) => spec.clone(),
            None if task == Task::Detector && spec::is_embedder(&signature) => {
                // Asking for a description would not help: it is the wrong file.
                return Err(ModelError::WrongTask { name, is: Task::Embedder, wanted: task });
            }
            None => spec::recognise(&bytes, &signature, path)?,
        },
    };
    right_task(&spec, &name, task)?;
    if let Some(why) = spec::misfit(&spec, &signature) {
        return Err(ModelError::Mismatch { path: path.to_owned(), id: spec.id, why });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    spec.file = ModelFile { name, bytes: bytes.len() as u64, sha256, ..spec.file };
    Ok(ResolvedModel { spec, path: path.to_owned() })
}

/// The description beside the model file, if there is one.
fn described(path: &Path, sha256: &str) -> Result<Option<ModelSpec>, ModelError> {
    let beside = path.with_extension("toml");
    let text = match std::fs::read_to_string(&beside) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ModelError::Read { path: beside, source }),
    };
    let spec = spec::parse(&text, &beside, path)?;
    if !spec.file.sha256.is_empty() && spec.file.sha256 != sha256 {
        return Err(ModelError::Checksum {
            path: path.to_owned(),
            expected: spec.file.sha256,
            actual: sha256.to_owned(),
        });
    }
    Ok(Some(spec))
}

/// The registry entry of a file: the one of its checksum, else the one of its name.
fn known(path: &Path, sha256: &str) -> Option<&'static ModelSpec> {
    let name = path.file_name().and_then(OsStr::to_str);
    let by_sum = registry().iter().find(|spec| spec.file.sha256 == sha256);
    by_sum.or_else(|| registry().iter().find(|spec| name == Some(spec.file.name.as_str())))
}
