//! Why a pipeline does not play, and whether trying again can help.

use crate::chain::top_level_name;
use crate::error::AnalyzeError;

/// Why a pipeline does not play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: String,
    /// Something that stays as it is until a person changes it: a setting, a file, a library.
    pub(super) lasting: bool,
}

impl Fault {
    pub(super) fn passing(reason: String) -> Self {
        Self { reason, lasting: false }
    }
}

/// An element that is missing, or does not take a setting.
impl From<AnalyzeError> for Fault {
    fn from(error: AnalyzeError) -> Self {
        let lasting = !matches!(error, AnalyzeError::Pipeline { .. });
        Self { reason: error.to_string(), lasting }
    }
}

/// What an element says. Which of them is named by its text, where it is one of ours.
pub(super) fn of(error: &gst::message::Error) -> Fault {
    let element = error.src().map(top_level_name).unwrap_or_default();
    let reason = crate::run::reason(error);
    let cause = error.error();
    let lasting = matches!(
        cause.kind::<gst::ResourceError>(),
        Some(
            gst::ResourceError::Settings
                | gst::ResourceError::NotFound
                | gst::ResourceError::OpenRead
        )
    ) || cause.is::<gst::LibraryError>()
        || cause.matches(gst::CoreError::MissingPlugin);
    Fault { reason: format!("{element}: {reason}"), lasting }
}

pub(super) fn unsupported(codec: &str) -> Fault {
    let reason = format!(
        "no GStreamer plugin here can decode {codec}; install gstreamer1.0-libav or the plugin that can"
    );
    Fault { reason, lasting: true }
}
