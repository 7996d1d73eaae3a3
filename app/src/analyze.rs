//! Analyses a video file: who was seen when.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use face_core::gallery::Location;
use face_core::model;
use parking_lot::Mutex;

use crate::chain::ChainOptions;
use crate::elements::{self, Recognition};
use crate::error::AnalyzeError;
use crate::output::{PendingFile, PendingPath, final_path};
use crate::run::{self, Ended, Progress, RunError, Tapped};
use crate::schema::{Analysis, FrameRecord};
use crate::summary::Summary;

/// Pictures that end so much earlier than the file says mean that it was cut off: at least this
/// and a twentieth of the length.
const CUT_OFF_NS: u64 = 1_000_000_000;

/// What to analyse and what to write.
#[derive(Clone, Debug, Default)]
pub struct AnalyzeOptions {
    pub video: PathBuf,
    pub recognition: Recognition,
    /// The people to recognise; without it faces are only found and followed.
    pub gallery: Option<Location>,
    /// Put embeddings into the per-frame records.
    pub embeddings: bool,
    /// Write a copy of the video with boxes and names to this MP4 file; it keeps the sound.
    pub annotate: Option<PathBuf>,
    /// Write the analysis to this file.
    pub json: Option<PathBuf>,
    /// Write a line per frame to this file, while the analysis runs.
    pub frames: Option<PathBuf>,
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
    check_video(&options.video)?;
    check_targets(options)?;
    elements::init()?;
    let mut audio = true;
    let mut lost_sound = None;
    loop {
        let mut outputs = Outputs::create(options)?;
        let chain = ChainOptions {
            video: options.video.clone(),
            recognition: options.recognition.clone(),
            gallery: options.gallery.clone(),
            embeddings: options.embeddings,
            annotate: copy_paths(outputs.copy.as_ref()),
            audio,
        };
        let collector = Arc::new(Mutex::new(Collector::new(outputs.frames.take())));
        let tap = {
            let collector = collector.clone();
            move |tapped: &Tapped| collector.lock().add(tapped).map(ControlFlow::Continue)
        };
        let result = run::run(&chain, tap, &mut progress);
        // Taken out, so that its temporary file goes whatever still holds the tap.
        let collector = std::mem::take(&mut *collector.lock());
        match result {
            Ok(mut ended) => {
                ended.warnings.extend(lost_sound);
                return collector.finish(options, outputs, ended);
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
    for target in [&options.annotate, &options.json, &options.frames].into_iter().flatten() {
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

/// Files under way.
#[derive(Default)]
struct Outputs {
    json: Option<PendingFile>,
    frames: Option<PendingFile>,
    copy: Option<PendingPath>,
}

impl Outputs {
    fn create(options: &AnalyzeOptions) -> Result<Outputs, AnalyzeError> {
        let file = |path: &Option<PathBuf>| path.as_deref().map(PendingFile::create).transpose();
        Ok(Outputs {
            json: file(&options.json)?,
            frames: file(&options.frames)?,
            copy: options.annotate.as_deref().map(PendingPath::create).transpose()?,
        })
    }
}

/// Takes the frames on the streaming thread.
#[derive(Default)]
struct Collector {
    summary: Summary,
    frames: Option<PendingFile>,
}

impl Collector {
    fn new(frames: Option<PendingFile>) -> Self {
        Self { summary: Summary::default(), frames }
    }

    fn add(&mut self, tapped: &Tapped) -> Result<(), AnalyzeError> {
        let record = self.summary.push(tapped.pts_ns, tapped.duration_ns, &tapped.faces);
        match &mut self.frames {
            Some(file) => file.write_line(&json_line(&record)?),
            None => Ok(()),
        }
    }

    fn finish(
        mut self,
        options: &AnalyzeOptions,
        mut outputs: Outputs,
        ended: Ended,
    ) -> Result<Analysis, AnalyzeError> {
        let final_ids = self.summary.final_ids();
        if let Some(file) = self.frames.as_mut().filter(|_| !final_ids.is_empty()) {
            file.rewrite_lines(|line| {
                let mut record: FrameRecord = serde_json::from_str(line)?;
                for face in &mut record.faces {
                    face.track_id = *final_ids.get(&face.track_id).unwrap_or(&face.track_id);
                }
                Ok(serde_json::to_vec(&record)?)
            })?;
        }
        let embedder = options.recognition.embedder.clone();
        let embedder = embedder.unwrap_or_else(|| model::DEFAULT_EMBEDDER.to_owned());
        let mut warnings = ended.warnings;
        warnings.extend(cut_off(self.summary.end_ns(), ended.duration_ns));
        let source = options.video.to_string_lossy().into_owned();
        let mut analysis = self.summary.finish(source, embedder);
        analysis.warnings = warnings;
        if let Some(json) = &mut outputs.json {
            let text = serde_json::to_vec_pretty(&analysis).map_err(AnalyzeError::pipeline)?;
            json.write_line(&text)?;
        }
        // The analysis last: where it is, the others are.
        let Outputs { json, copy, .. } = outputs;
        copy.map(PendingPath::commit).transpose()?;
        self.frames.map(PendingFile::commit).transpose()?;
        json.map(PendingFile::commit).transpose()?;
        Ok(analysis)
    }
}

fn json_line(record: &FrameRecord) -> Result<Vec<u8>, AnalyzeError> {
    serde_json::to_vec(record).map_err(AnalyzeError::pipeline)
}

/// A warning if the pictures end long before the file says.
fn cut_off(end_ns: Option<u64>, duration_ns: Option<u64>) -> Option<String> {
    let (end, duration) = (end_ns?, duration_ns?);
    let short = duration.checked_sub(end)?;
    let seconds = |ns: u64| ns as f64 / 1e9;
    (short > CUT_OFF_NS.max(duration / 20)).then(|| {
        format!(
            "the pictures end at {:.1} s of {:.1} s: the file may be cut off",
            seconds(end),
            seconds(duration)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pictures_are_told_and_rounding_is_not() {
        let second = 1_000_000_000;
        assert_eq!(cut_off(Some(9 * second + second / 2), Some(10 * second)), None);
        assert_eq!(cut_off(Some(99 * second), Some(101 * second)), None);
        assert_eq!(cut_off(Some(11 * second), Some(10 * second)), None);
        assert_eq!(cut_off(None, Some(10 * second)), None);
        assert!(cut_off(Some(5 * second), Some(10 * second)).unwrap().contains("5.0 s of 10.0 s"));
    }

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
