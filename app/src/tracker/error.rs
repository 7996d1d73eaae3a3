//! Why a stream could not be followed.

use super::frame::FrameFault;
use crate::error::AnalyzeError;

/// Why a stream could not be followed. Addresses are named without the password in them.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    /// The pipeline could not be built.
    #[error(transparent)]
    Build(#[from] AnalyzeError),
    #[error("watchdog: {0}")]
    Watchdog(&'static str),
    #[error("frame rate {0}: a number of frames per second above 0, up to 1000, is needed")]
    Rate(f64),
    #[error(
        "source '{address}': only rtsp:// and rtsps:// addresses, cameras (/dev/video0) and files \
         are known; describe others as a GStreamer bin"
    )]
    Address { address: String },
    #[error("source '{description}': {reason}")]
    Description { description: String, reason: String },
    #[error("read {name}: {reason}")]
    Source { name: String, reason: String },
    #[error("read {name}: it has no video stream")]
    NoVideo { name: String },
    #[error(
        "read {name}: no GStreamer plugin here can decode {codec}; install gstreamer1.0-libav or \
         the plugin that can"
    )]
    Unsupported { name: String, codec: String },
    /// The detector, the tracker, the recogniser or a tap failed.
    #[error("{element}: {reason}")]
    Element { element: String, reason: String },
    /// One frame cannot be used. The stream goes on.
    #[error("frame {index}: {fault}")]
    Frame { index: u64, fault: FrameFault },
    #[error("start thread '{name}'")]
    Thread { name: &'static str, source: std::io::Error },
    #[error("stop: the source did not let go within {seconds} s")]
    Stop { seconds: u64 },
}

impl TrackerError {
    /// Does the stream end with it? Only a frame that cannot be used is passed over.
    pub fn is_final(&self) -> bool {
        !matches!(self, TrackerError::Frame { .. })
    }
}
