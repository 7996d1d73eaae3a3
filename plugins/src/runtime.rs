//! What facedetect and facerecognize share: the properties of inference, the mapping of errors
//! to GStreamer's, and the message that says which provider runs.

use std::path::{Path, PathBuf};

use face_core::gallery::GalleryError;
use face_core::inference::{InferenceError, Pool, PoolOptions, Provider};
use face_core::model::ModelError;
use gst::glib;
use gst::prelude::*;

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
}

impl RuntimeSettings {
    pub(crate) fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            provider: ProviderSetting::default(),
            device_id: 0,
            threads: 0,
            runtime_library: None,
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
            glib::ParamSpecString::builder("active-provider")
                .nick("Active provider")
                .blurb("Provider that runs the model, empty before the element has started")
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
        }
    }

    /// Posts `provider-info`: which provider was asked for, which one runs, and why not another.
    pub(crate) fn post_provider(&self, element: &gst::Element, pool: &Pool) {
        let info = gst::Structure::builder("provider-info")
            .field("model", &pool.model().spec.id)
            .field("requested", Provider::from(self.provider).as_str())
            .field("active", pool.active_provider().as_str())
            .field("note", pool.provider_note().unwrap_or_default())
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
