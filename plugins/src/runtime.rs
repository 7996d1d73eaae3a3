//! What facedetect and facerecognize share: the properties of inference, the mapping of errors
//! to GStreamer's, and the message that says which provider runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use face_core::gallery::GalleryError;
use face_core::inference::{InferenceError, Pool, PoolOptions, Provider};
use face_core::model::ModelError;
use gst::glib;
use gst::prelude::*;
use parking_lot::Mutex;

/// Where a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstOnnxFaceProvider")]
pub enum ProviderSetting {
    /// CUDA where it loads, else the CPU.
    #[default]
    #[enum_value(name = "CUDA where it loads, else the CPU", nick = "auto")]
    Auto,
    #[enum_value(name = "CPU", nick = "cpu")]
    Cpu,
    #[enum_value(name = "NVIDIA CUDA", nick = "cuda")]
    Cuda,
    #[enum_value(name = "NVIDIA TensorRT", nick = "tensorrt")]
    Tensorrt,
    #[enum_value(name = "Intel OpenVINO", nick = "openvino")]
    Openvino,
}

impl From<ProviderSetting> for Provider {
    fn from(setting: ProviderSetting) -> Self {
        match setting {
            ProviderSetting::Auto => Provider::Auto,
            ProviderSetting::Cpu => Provider::Cpu,
            ProviderSetting::Cuda => Provider::Cuda,
            ProviderSetting::Tensorrt => Provider::TensorRt,
            ProviderSetting::Openvino => Provider::OpenVino,
        }
    }
}

/// The inference properties of an element.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeSettings {
    pub(crate) model: String,
    provider: ProviderSetting,
    device_id: u32,
    threads: u32,
    runtime_library: Option<String>,
    engine_cache: Option<String>,
}

impl RuntimeSettings {
    pub(crate) fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            provider: ProviderSetting::default(),
            device_id: 0,
            threads: 0,
            runtime_library: None,
            engine_cache: None,
        }
    }

    /// The properties, with `model` as the default model's registry name.
    pub(crate) fn properties(model: &str) -> Vec<glib::ParamSpec> {
        let defaults = RuntimeSettings::new(model);
        vec![
            glib::ParamSpecString::builder("model")
                .nick("Model")
                .blurb(
                    "Model to run: a name from the registry (facectl models list) or the path of \
                     an ONNX file",
                )
                .default_value(Some(model))
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("provider", defaults.provider)
                .nick("Execution provider")
                .blurb(
                    "Where the model runs; a provider that is named here and cannot be used is an \
                     error, only auto falls back",
                )
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("device-id")
                .nick("Device index")
                .blurb("Index of the GPU for the providers cuda and tensorrt")
                .maximum(1024)
                .default_value(defaults.device_id)
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("threads")
                .nick("CPU threads")
                .blurb(
                    "Inference threads on the CPU, shared by all elements of the process with the \
                     same model (0 = one per core)",
                )
                .maximum(1024)
                .default_value(defaults.threads)
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("runtime-library")
                .nick("ONNX Runtime library")
                .blurb(
                    "Path of libonnxruntime.so or of its folder (unset = search GST_FACE_ORT_PATH, \
                     ORT_DYLIB_PATH, the plugin's folder, the user's face.toml and the system)",
                )
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("engine-cache")
                .nick("Engine cache")
                .blurb(
                    "Folder that keeps the engines of provider=tensorrt (unset = \
                     GST_FACE_ENGINE_CACHE, else gst-face/tensorrt in the user's cache folder)",
                )
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("active-provider")
                .nick("Active provider")
                .blurb(
                    "Provider that runs the model now, empty before the element has started; with \
                     provider=tensorrt cuda until the engine is built",
                )
                .read_only()
                .build(),
        ]
    }

    /// Sets the property if it is one of these; false if it is not.
    pub(crate) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "model" => {
                self.model = value.get::<Option<String>>().ok().flatten().unwrap_or_default();
            }
            "provider" => self.provider = value.get().unwrap_or_default(),
            "device-id" => self.device_id = value.get().unwrap_or_default(),
            "threads" => self.threads = value.get().unwrap_or_default(),
            "runtime-library" => self.runtime_library = value.get().unwrap_or_default(),
            "engine-cache" => self.engine_cache = value.get().unwrap_or_default(),
            _ => return false,
        }
        true
    }

    /// The property's value if it is one of these, but for `active-provider`.
    pub(crate) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "model" => self.model.to_value(),
            "provider" => self.provider.to_value(),
            "device-id" => self.device_id.to_value(),
            "threads" => self.threads.to_value(),
            "runtime-library" => self.runtime_library.to_value(),
            "engine-cache" => self.engine_cache.to_value(),
            _ => return None,
        })
    }

    pub(crate) fn pool_options(&self) -> PoolOptions {
        PoolOptions {
            provider: self.provider.into(),
            device_id: self.device_id,
            threads: self.threads as usize,
            runtime_library: self.runtime_library.as_ref().map(PathBuf::from),
            runtime_folders: plugin_folder().into_iter().collect(),
            engine_cache: self.engine_cache.as_ref().map(PathBuf::from),
        }
    }
}

/// Which provider runs the model of an element, as it was told last.
#[derive(Debug, Default)]
pub(crate) struct ProviderReport(Mutex<Option<Told>>);

#[derive(Clone, Copy, Debug)]
struct Told {
    requested: Provider,
    active: Provider,
    /// [`Pool::provider_changes`] when it was told.
    changes: u64,
}

impl ProviderReport {
    /// The value of `active-provider`.
    pub(crate) fn active(&self) -> &'static str {
        self.0.lock().map_or("", |told| told.active.as_str())
    }

    /// The element has started: tells which provider runs.
    pub(crate) fn start(&self, element: &gst::Element, settings: &RuntimeSettings, pool: &Pool) {
        let requested = Provider::from(settings.provider);
        *self.0.lock() = Some(Told { requested, active: requested, changes: 0 });
        self.tell(element, pool);
    }

    pub(crate) fn stop(&self) {
        *self.0.lock() = None;
    }

    /// The pool, if its provider has changed since: [`Self::tell`] that when no lock is held.
    pub(crate) fn news(&self, pool: &Arc<Pool>) -> Option<Arc<Pool>> {
        let told = (*self.0.lock())?;
        (told.changes != pool.provider_changes()).then(|| pool.clone())
    }

    /// Posts `provider-info`: which provider was asked for, which one runs, and why not another.
    pub(crate) fn tell(&self, element: &gst::Element, pool: &Pool) {
        // Read first: what changes in between is told with the next buffer.
        let (changes, info) = (pool.provider_changes(), pool.provider_info());
        let requested = {
            let mut told = self.0.lock();
            let Some(told) = told.as_mut() else { return };
            (told.active, told.changes) = (info.active, changes);
            told.requested
        };
        element.notify("active-provider");
        let info = gst::Structure::builder("provider-info")
            .field("model", &pool.model().spec.id)
            .field("requested", requested.as_str())
            .field("active", info.active.as_str())
            .field("state", info.state.as_str())
            .field("note", info.note.unwrap_or_default())
            .build();
        let message = gst::message::Element::builder(info).src(element).build();
        // Without a bus nobody listens.
        let _ = element.post_message(message);
    }
}

/// The folder of the plugin's file; `None` when the plugin is linked into a program.
fn plugin_folder() -> Option<PathBuf> {
    let plugin = gst::Registry::get().find_plugin("face")?;
    plugin.filename()?.parent().map(Path::to_path_buf)
}

/// An error of inference as GStreamer's error at start.
pub(crate) fn start_error(error: &InferenceError) -> gst::ErrorMessage {
    let text = with_causes(error);
    match error {
        InferenceError::Runtime { .. } | InferenceError::Environment { .. } => {
            gst::error_msg!(gst::LibraryError::Init, ("{text}"))
        }
        InferenceError::Model(error) => model_error(error),
        InferenceError::ModelLoad { .. }
        | InferenceError::ModelKind { .. }
        | InferenceError::Provider { .. } => {
            gst::error_msg!(gst::ResourceError::Settings, ("{text}"))
        }
        InferenceError::Thread(_)
        | InferenceError::Run { .. }
        | InferenceError::Deadline { .. }
        | InferenceError::Cancelled { .. } => {
            gst::error_msg!(gst::ResourceError::Failed, ("{text}"))
        }
    }
}

/// An error's text followed by those of its causes.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An error of finding a model as GStreamer's error at start.
pub(crate) fn model_error(error: &ModelError) -> gst::ErrorMessage {
    let text = with_causes(error);
    match error {
        ModelError::UnknownName { .. } | ModelError::NotFound { .. } => {
            gst::error_msg!(gst::ResourceError::NotFound, ("{text}"))
        }
        ModelError::Read { .. } => gst::error_msg!(gst::ResourceError::OpenRead, ("{text}")),
        _ => gst::error_msg!(gst::ResourceError::Settings, ("{text}")),
    }
}

/// An error of the gallery as GStreamer's error at start.
pub(crate) fn gallery_error(error: &GalleryError) -> gst::ErrorMessage {
    gst::error_msg!(gallery_code(error), ("{}", with_causes(error)))
}

fn gallery_code(error: &GalleryError) -> gst::ResourceError {
    match error {
        GalleryError::NotFound { .. } => gst::ResourceError::NotFound,
        GalleryError::Busy { .. } => gst::ResourceError::Busy,
        GalleryError::OtherEmbedder { .. }
        | GalleryError::NewerSchema { .. }
        | GalleryError::Refused { .. } => gst::ResourceError::Settings,
        GalleryError::Unreachable { .. } => gst::ResourceError::OpenRead,
        _ => gst::ResourceError::Read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_shared_gallery_are_told_from_a_server_that_is_away() {
        let (op, path, reason) = ("open", PathBuf::from("postgresql://cam@h/d"), String::new());
        let refused = GalleryError::Refused { op, path: path.clone(), reason: reason.clone() };
        assert_eq!(gallery_code(&refused), gst::ResourceError::Settings);
        let away = GalleryError::Unreachable { op, path: path.clone(), reason: reason.clone() };
        assert_eq!(gallery_code(&away), gst::ResourceError::OpenRead);
        let damaged = GalleryError::Corrupt { op, path, reason };
        assert_eq!(gallery_code(&damaged), gst::ResourceError::Read);
    }
}
