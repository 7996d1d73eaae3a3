//! `facectl clips annotate`.

use face_core::clip::{Clip, ClipError, Clips};
use face_pipeline::{AnalyzeError, AnalyzeOptions, ClipAnalysis, analyze_clip};
use serde::Serialize;

use super::{Choice, Common, Watch, chosen};
use crate::analyze::{Looking, show_clip};
use crate::options::ModelOptions;
use crate::output::{self, Exit, counted, printable, with_causes};

/// Draw faces and names into stored clips
///
/// A clip is downloaded to a temporary file and analysed; the copy with boxes and names, which keeps
/// the sound, is stored beside it and ends with _annotated.mp4. Clips that have one are left alone
/// unless --again is given. One that cannot be annotated does not keep the others from it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object per clip and line: clip (what its keys begin with), verdict (annotated, skipped \
or failed), annotated (key), frames, people (names), unnamed_tracks, error.

Exit status: 0 if every clip has its copy, 1 if some could not be annotated, 2 if the command could not \
be carried out, 130 if it was interrupted.")]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    looking: Looking,
    /// Clips: keys of any part of them, or what the keys begin with, as list shows them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    clips: Vec<String>,
    /// All clips that have a video and no annotated one, or those of them that fit the options
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    choice: Choice,
    /// Also clips that are annotated: their copies are replaced
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    models: ModelOptions,
}

/// What became of a clip, for machines.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    clip: &'a str,
    verdict: &'static str,
    annotated: Option<&'a str>,
    frames: Option<u64>,
    people: Vec<&'a str>,
    unnamed_tracks: Option<usize>,
    error: Option<String>,
}

/// How many clips came to what.
#[derive(Debug, Default)]
struct Counts {
    annotated: u64,
    skipped: u64,
    failed: u64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    if arguments.choice.is_given() && !arguments.all {
        anyhow::bail!("--camera, --since, --until, --person and --event choose among --all clips");
    }
    let clips = arguments.common.clips()?;
    let mut counts = Counts::default();
    let (found, watch) = (candidates(arguments, &clips, &mut counts)?, Watch::start("clips")?);
    let options = AnalyzeOptions {
        recognition: arguments.looking.recognition(&arguments.models),
        gallery: arguments.looking.gallery.clone(),
        ..AnalyzeOptions::default()
    };
    for clip in &found {
        if watch.go_on().is_break() {
            return Err(ClipError::Cancelled.into());
        }
        if clip.annotated.is_some() && !arguments.again {
            counts.skipped += 1;
            watch.bar.suspend(|| skipped(arguments, clip))?;
            continue;
        }
        let done = analyze_clip(&clips, clip, &options, true, |progress| {
            show_clip(&watch.bar, progress);
            watch.go_on()
        });
        match done {
            Ok(done) => {
                counts.annotated += 1;
                watch.bar.suspend(|| annotated(arguments, clip, &done))?;
            }
            Err(AnalyzeError::Interrupted { .. }) => return Err(ClipError::Cancelled.into()),
            // What would be wrong with every other clip as well ends it.
            Err(error) if !error.is_of_the_video() => return Err(error.into()),
            Err(error) => {
                counts.failed += 1;
                watch.bar.suspend(|| failed(arguments, &clip.stem, &error))?;
            }
        }
    }
    drop(watch);
    let Counts { annotated, skipped, failed } = counts;
    if !arguments.common.json {
        let clips = counted(annotated, "clip", "clips");
        output::line(&format!("{clips} annotated, {skipped} annotated before, {failed} failed"))?;
    }
    Ok(if failed == 0 { Exit::Success } else { Exit::Negative })
}

/// The clips that are named, or those of --all, the newest first. A key that leads to none is told
/// and counted.
fn candidates(
    arguments: &Arguments,
    clips: &Clips,
    counts: &mut Counts,
) -> anyhow::Result<Vec<Clip>> {
    if arguments.all {
        let mut found = chosen(clips, &arguments.choice.filter())?;
        found.retain(|clip| clip.original.is_some());
        found.retain(|clip| clip.annotated.is_none() || arguments.again);
        return Ok(found);
    }
    let mut found: Vec<Clip> = Vec::new();
    for key in &arguments.clips {
        match clips.find(key).map_err(AnalyzeError::from) {
            Ok(clip) if found.iter().any(|other| other.stem == clip.stem) => {}
            Ok(clip) => found.push(clip),
            Err(error) if !error.is_of_the_video() => return Err(error.into()),
            Err(error) => {
                counts.failed += 1;
                failed(arguments, key, &error)?;
            }
        }
    }
    Ok(found)
}

fn annotated(arguments: &Arguments, clip: &Clip, done: &ClipAnalysis) -> anyhow::Result<()> {
    let analysis = &done.analysis;
    for warning in &analysis.warnings {
        let text = format!("facectl: warning: clip '{}': {warning}", clip.stem);
        output::note(printable(&text));
    }
    let people: Vec<&str> = analysis.people.iter().map(|p| p.name.as_str()).collect();
    let unnamed = analysis.tracks.iter().filter(|t| t.name.is_none()).count();
    if arguments.common.json {
        return output::json(&Line {
            clip: &clip.stem,
            verdict: "annotated",
            annotated: done.twin.as_deref(),
            frames: Some(analysis.frames),
            people,
            unnamed_tracks: Some(unnamed),
            error: None,
        });
    }
    let who = if people.is_empty() { "nobody".to_owned() } else { people.join(", ") };
    let text = format!(
        "annotated  {}  {} frames, {who} recognised, {unnamed} tracks of others",
        clip.stem, analysis.frames
    );
    output::line(&printable(&text))
}

fn skipped(arguments: &Arguments, clip: &Clip) -> anyhow::Result<()> {
    if arguments.common.json {
        let annotated = clip.annotated.as_ref().map(|object| object.key.as_str());
        let line = Line { clip: &clip.stem, verdict: "skipped", annotated, ..Line::default() };
        return output::json(&line);
    }
    output::line(&printable(&format!("skipped    {}  it is annotated", clip.stem)))
}

fn failed(arguments: &Arguments, clip: &str, error: &AnalyzeError) -> anyhow::Result<()> {
    let text = with_causes(error);
    if arguments.common.json {
        let line = Line { clip, verdict: "failed", error: Some(text), ..Line::default() };
        return output::json(&line);
    }
    output::note(printable(&format!("facectl: error: clip '{clip}': {text}")));
    Ok(())
}
