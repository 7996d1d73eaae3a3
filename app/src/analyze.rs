//! Analyses a video file: who was seen when.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use face_core::gallery::Location;
use parking_lot::Mutex;

use crate::chain::ChainOptions;
use crate::collector::{Collector, Finished, Outputs};
use crate::elements::{self, Recognition};
use crate::error::AnalyzeError;
use crate::output::{PendingPath, final_path};
use crate::run::{self, Progress, RunError, Tapped};
use crate::schema::Analysis;

/// What to analyse and what to write.
#[derive(Clone, Debug)]
pub struct AnalyzeOptions {
    pub video: PathBuf,
    pub recognition: Recognition,
    /// The people to recognise; without it faces are only found, followed and embedded.
    pub gallery: Option<Location>,
    /// Put embeddings into the per-frame records.
    pub embeddings: bool,
    /// Put pictures and embeddings of every track into the analysis, to enrol it by: biometric data.
    /// Up to 256 looks are kept of a track, 10 MB for as long as it is in view.
    pub samples: bool,
    /// Of the samples only the real ones nearest to the middles of their clusters, one for every 25
    /// and at least three, see [`face_core::cluster::representatives`]; else all that were kept. On by
    /// default.
    pub clusters: bool,
    /// Put the clearest picture of every track into the analysis. Samples bring it, too.
    pub pictures: bool,
    /// Say which of the tracks without a name show one person, by the threshold of `recognition`.
    pub group: bool,
    /// Write a copy of the video with boxes and names to this MP4 file; it keeps the sound.
    pub annotate: Option<PathBuf>,
    /// Write the analysis to this file.
    pub json: Option<PathBuf>,
    /// Write a line per frame to this file, while the analysis runs.
    pub frames: Option<PathBuf>,
    /// Write a web page that shows the analysis to this file: [`crate::report`]. It has the clearest
    /// picture of every track.
    pub report: Option<PathBuf>,
    /// Write a contact sheet of the tracks to this PNG file: [`crate::Sheet`].
    pub sheet: Option<PathBuf>,
}

impl Default for AnalyzeOptions {
    fn default() -> Self {
        Self {
            video: PathBuf::new(),
            recognition: Recognition::default(),
            gallery: None,
            embeddings: false,
            samples: false,
            clusters: true,
            pictures: false,
            group: false,
            annotate: None,
            json: None,
            frames: None,
            report: None,
            sheet: None,
        }
    }
}

impl AnalyzeOptions {
    /// Are there pictures of tracks in the analysis?
    pub(crate) fn has_pictures(&self) -> bool {
        self.pictures || self.samples
    }

    /// Are the embeddings of tracks kept, for samples or for groups?
    pub(crate) fn needs_looks(&self) -> bool {
        self.samples || self.group
    }
}

/// Analyses a video from the first to the last frame. `progress` is called ten times a second on
/// the calling thread; [`ControlFlow::Break`] stops the analysis. Results depend on the file, the
/// models and the options alone, not on the speed of the machine.
///
/// Output files appear whole under their names at the end, or not at all. A file that ends early
/// is analysed as far as it goes, with a warning; frames that a decoder steps over because they are
/// damaged are missing. Any other error of the stream, even after many good frames, is an error, so that no
/// analysis of a part is taken for one of the whole. Sound that cannot be kept in the annotated
/// copy is left out with a warning.
///
/// # Errors
/// [`AnalyzeError`]; a request to stop is [`AnalyzeError::Interrupted`].
pub fn analyze_file(
    options: &AnalyzeOptions,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Analysis, AnalyzeError> {
    analyze(options, options.video.to_string_lossy().into_owned(), &mut progress)?.publish()
}

/// Analyses a video that is called `source`; the files are left without their names.
pub(crate) fn analyze(
    options: &AnalyzeOptions,
    source: String,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Finished, AnalyzeError> {
    check_video(&options.video)?;
    check_targets(options)?;
    elements::init()?;
    let threshold = match options.recognition.threshold {
        None if options.group => options.recognition.embedder_model()?.spec.threshold,
        given => given.unwrap_or_default(),
    };
    let mut audio = true;
    let mut lost_sound = None;
    loop {
        let mut outputs = Outputs::create(options)?;
        let chain = ChainOptions {
            video: options.video.clone(),
            recognition: options.recognition.clone(),
            gallery: options.gallery.clone(),
            embeddings: options.embeddings || options.needs_looks(),
            // The looks of a track must be those of one person.
            scene_cuts: options.needs_looks(),
            annotate: copy_paths(outputs.copy.as_ref()),
            audio,
        };
        let collector = Arc::new(Mutex::new(Collector::new(options, outputs.frames.take())));
        let tap = {
            let collector = collector.clone();
            move |tapped: &Tapped| collector.lock().add(tapped).map(ControlFlow::Continue)
        };
        let result = run::run(&chain, tap, progress);
        // Taken out, so that its temporary file goes whatever still holds the tap.
        let collector = std::mem::take(&mut *collector.lock());
        match result {
            Ok(mut ended) => {
                ended.warnings.extend(lost_sound);
                return collector.finish(options, source, threshold, outputs, ended);
            }
            Err(RunError::Audio(reason)) if audio => {
                audio = false;
                lost_sound = Some(format!("sound left out of the copy: {reason}"));
            }
            Err(error) => return Err(name_target(error.into(), options)),
        }
    }
}

fn copy_paths(copy: Option<&PendingPath>) -> Option<(PathBuf, PathBuf)> {
    copy.map(|c| (c.path().to_owned(), c.spool().to_owned()))
}

/// Errors name the file that was asked for, not the temporary one.
fn name_target(error: AnalyzeError, options: &AnalyzeOptions) -> AnalyzeError {
    match (error, &options.annotate) {
        (AnalyzeError::Copy { reason, .. }, Some(path)) => {
            AnalyzeError::Copy { path: path.clone(), reason }
        }
        (error, _) => error,
    }
}

/// Refuses what cannot be a video before anything is started.
pub(crate) fn check_video(path: &Path) -> Result<(), AnalyzeError> {
    let fail = |source| AnalyzeError::Open { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(fail)?;
    let not = |reason| Err(AnalyzeError::NotAFile { path: path.to_owned(), reason });
    if metadata.is_dir() {
        return not("it is a folder");
    }
    if metadata.is_file() {
        if metadata.len() == 0 {
            return not("it is empty");
        }
        std::fs::File::open(path).map_err(fail)?;
    }
    Ok(())
}

/// Refuses outputs that would overwrite the video or each other.
fn check_targets(options: &AnalyzeOptions) -> Result<(), AnalyzeError> {
    let mut taken = vec![final_path(&options.video)?];
    let AnalyzeOptions { annotate, json, frames, report, sheet, .. } = options;
    for target in [annotate, json, frames, report, sheet].into_iter().flatten() {
        let path = final_path(target)?;
        // A terminal or a pipe may take several.
        let special = std::fs::metadata(&path).is_ok_and(|m| !m.is_file());
        if taken.contains(&path) && !special {
            let reason = if path == taken[0] {
                "it is the video itself"
            } else {
                "two outputs have this name"
            };
            return Err(AnalyzeError::Target { path: target.clone(), reason: reason.to_owned() });
        }
        taken.push(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_may_not_be_the_video_or_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let video = folder.path().join("a.mp4");
        std::fs::write(&video, "x").unwrap();
        let mut options = AnalyzeOptions { video: video.clone(), ..Default::default() };
        options.annotate = Some(folder.path().join(".").join("a.mp4"));
        let text = analyze_file(&options, |_| ControlFlow::Continue(())).unwrap_err().to_string();
        assert!(text.contains("the video itself"), "{text}");
        options.annotate = Some(folder.path().join("b"));
        options.json = Some(folder.path().join("b"));
        let text = analyze_file(&options, |_| ControlFlow::Continue(())).unwrap_err().to_string();
        assert!(text.contains("two outputs"), "{text}");
    }

    #[test]
    fn missing_empty_and_folder_videos_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.mp4");
        std::fs::write(&empty, "").unwrap();
        for (path, word) in [
            (folder.path().join("gone.mp4"), "gone.mp4"),
            (empty, "is empty"),
            (folder.path().to_owned(), "is a folder"),
        ] {
            let options = AnalyzeOptions { video: path, ..Default::default() };
            let error = analyze_file(&options, |_| ControlFlow::Continue(())).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
