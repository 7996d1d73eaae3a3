//! Analyses a stored clip, and puts its annotated twin beside it.

use std::ops::ControlFlow;
use std::path::Path;

use face_core::clip::{Clip, ClipError, Clips, Part};
use face_core::storage::StorageError;

use crate::analyze::{AnalyzeOptions, analyze};
use crate::error::AnalyzeError;
use crate::run::Progress;
use crate::schema::Analysis;

/// How far [`analyze_clip`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipProgress {
    /// Bytes of the clip that are here, and all of them.
    Download {
        done: u64,
        total: u64,
    },
    Analysis(Progress),
    /// Bytes of the annotated twin that are stored, and all of them.
    Upload {
        done: u64,
        total: u64,
    },
}

/// What [`analyze_clip`] did.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipAnalysis {
    /// Its source is the address of the clip.
    pub analysis: Analysis,
    /// Key of the annotated twin, if one was stored.
    pub twin: Option<String>,
}

/// Downloads a stored clip to a temporary file, analyses it as [`crate::analyze_file`] does, and with
/// `twin` stores a copy with boxes and names, which keeps the sound, beside it: under
/// [`Part::Annotated`], in place of one that is there. The video of `options` is not used; its
/// `annotate` is a file of this machine that gets the copy as well.
///
/// The twin appears whole or not at all, and only then the analysis does. `progress` as of
/// [`crate::analyze_file`]; temporary files are for their owner only and go in any case.
///
/// # Errors
/// [`AnalyzeError`], which names the clip; [`AnalyzeError::Clip`] for what its storage says.
pub fn analyze_clip(
    clips: &Clips,
    clip: &Clip,
    options: &AnalyzeOptions,
    twin: bool,
    mut progress: impl FnMut(ClipProgress) -> ControlFlow<()>,
) -> Result<ClipAnalysis, AnalyzeError> {
    let address = |part: Part| format!("{}/{}{}", clips.storage().uri(), clip.stem, part.ending());
    let source = address(Part::Original);
    let folder = tempfile::tempdir().map_err(|e| AnalyzeError::write(&std::env::temp_dir(), e))?;
    let video = folder.path().join("clip.mp4");
    let downloaded = clips.download(clip, Part::Original, &video, &mut |done, total| {
        progress(ClipProgress::Download { done, total })
    });
    downloaded.map_err(|error| failed(error, &source))?;
    let aside = || folder.path().join("annotated.mp4");
    let annotate = options.annotate.clone().or_else(|| twin.then(aside));
    let options = AnalyzeOptions { video, annotate, ..options.clone() };
    let analyzed = analyze(&options, source.clone(), &mut |p| progress(ClipProgress::Analysis(p)));
    let mut finished = analyzed.map_err(|error| match error {
        error @ AnalyzeError::Copy { .. } => error.of_video(Path::new(&address(Part::Annotated))),
        error => error.of_video(Path::new(&source)),
    })?;
    finished.publish_copy()?;
    let mut stored = None;
    if let Some(copy) = options.annotate.filter(|_| twin) {
        let key = format!("{}{}", clip.stem, Part::Annotated.ending());
        let put = clips.storage().put_file(&key, &copy, &mut |done, total| {
            progress(ClipProgress::Upload { done, total })
        });
        put.map_err(|error| failed(error.into(), &source))?;
        stored = Some(key);
    }
    Ok(ClipAnalysis { analysis: finished.publish()?, twin: stored })
}

fn failed(error: ClipError, source: &str) -> AnalyzeError {
    match error {
        ClipError::Cancelled | ClipError::Storage(StorageError::Cancelled) => {
            AnalyzeError::Interrupted { path: source.into() }
        }
        error => error.into(),
    }
}
