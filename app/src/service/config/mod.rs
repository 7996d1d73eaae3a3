//! The configuration of `facectl run`: one YAML file, checked as a whole before anything starts.
//!
//! A section configures an element, and its keys are the element's properties (`keys`): what can be
//! written, in which range, and what it means is asked of the element itself. docs/service.md
//! explains the file, docs/schema/face-config-1.schema.json describes it for editors.

mod build;
mod changes;
mod check;
mod draft;
mod error;
mod keys;
mod schema;
#[cfg(test)]
mod schema_tests;
mod settings;
#[cfg(test)]
mod tests;
mod unit;
mod value;
pub(super) mod yaml;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use changes::{CameraChange, Changes, Element, PropertyChange};
pub use error::{ConfigError, Fault};
pub use schema::{Row, rows, schema};
pub use settings::{Settings, set};
pub use yaml::Place;

/// What one process does: many cameras, and where it tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// In the order of the file; each has another name.
    pub cameras: Vec<Camera>,
    /// Where health and metrics are told; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// Where annotated streams are served; `None`: no camera has an output.
    pub rtsp: Option<SocketAddr>,
    /// The spool of clips and of what is published; `None`: that of the user.
    pub spool: Option<PathBuf>,
}

/// One camera and what is done with its pictures. All elements have their models, gallery, spool
/// and the camera's name in their settings already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Camera {
    pub name: String,
    pub source: Settings,
    pub detection: Settings,
    pub tracking: Settings,
    /// `None`: faces are found and followed only.
    pub recognition: Option<Settings>,
    /// `None`: no clips.
    pub clips: Option<Settings>,
    /// One element per target, in their order.
    pub publish: Vec<Settings>,
    /// `None`: the stream is not served.
    pub output: Option<Output>,
}

/// The stream that is served again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Path at the RTSP server, with its slash: `/door`.
    pub mount: String,
    /// What is drawn; `None`: the bare picture.
    pub annotation: Option<Settings>,
    /// In kbit/s; 0: by size and frame rate.
    pub bitrate_kbit: u32,
}

impl Config {
    /// Reads and checks a file, and looks for the gallery, the models and the secrets that it names.
    ///
    /// # Errors
    /// [`ConfigError`]: everything that is wrong, with its places.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let folder = std::path::absolute(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let folder = folder.parent().unwrap_or(Path::new("/"));
        build::config(&text, path, folder, build::Files::Wanted)
    }

    /// Reads and checks a text whose relative paths are from `folder`; gallery, models and sources
    /// need not be there.
    ///
    /// # Errors
    /// [`ConfigError::Faults`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        build::config(text, Path::new("configuration"), folder, build::Files::Anywhere)
    }

    /// The camera of that name.
    pub fn camera(&self, name: &str) -> Option<&Camera> {
        self.cameras.iter().find(|camera| camera.name == name)
    }
}

/// The text of a file, which may be anything.
fn read(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read;
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more, so that what is too long is told so.
    let most = yaml::LONGEST_TEXT_BYTES as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| ConfigError::NoText { path: path.to_owned() })
}
