//! `facectl analyze`: who is seen when in a video.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use face_core::gallery::Location;
use face_core::load::Interval;
use face_pipeline::schema::{PersonSummary, TrackSummary};
use face_pipeline::{
    Analysis, AnalyzeError, AnalyzeOptions, ClipProgress, Progress, Recognition, analyze_clip,
    analyze_file, clock,
};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::options::{ModelOptions, similarity};
use crate::output::{self, Exit, printable};
use crate::stored::{self, Video};

/// What the bar says while a clip comes.
const DOWNLOAD: &str = "fetching";

/// Stretches that are listed per person before the rest is only counted.
const SHOWN_STRETCHES: usize = 8;

/// Say who is seen when in a video
///
/// Finds the faces of a video, follows them, and recognises the people of a gallery. Prints who
/// was seen when; with --json and --frames writes what was found to files, with --annotate a copy
/// of the video with boxes and names, which keeps the sound, with --report a web page.
///
/// A stored clip is downloaded to a temporary file; its annotated copy is stored beside it and ends
/// with _annotated.mp4, unless --no-annotate is given.
///
/// Output files appear whole at the end, or not at all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 if the video was analysed to its end, 2 if the command could not be carried out, 130 \
if it was interrupted.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    looking: Looking,
    /// Write the embeddings of the faces into the file of --frames. They are biometric data
    #[arg(long, requires = "frames")]
    embeddings: bool,
    /// Write what tracks can be enrolled by into the file of --json: aligned pictures and embeddings
    /// of every track, and its best shot. They are biometric data
    #[arg(long, requires = "json")]
    samples: bool,
    /// Of every track all samples (up to 256), not only those that stand for the others
    #[arg(long, requires = "samples")]
    no_clusters: bool,
    /// Say which of the faces that nobody is known for are one person
    #[arg(long)]
    group: bool,
    /// Write a copy of the video with boxes and names
    #[arg(long, value_name = "OUT.mp4")]
    annotate: Option<PathBuf>,
    /// Store no annotated copy beside a stored clip
    #[arg(long)]
    no_annotate: bool,
    /// Write the analysis: tracks, people and when they were seen
    #[arg(long, value_name = "OUT.json")]
    json: Option<PathBuf>,
    /// Write one JSON object per frame
    #[arg(long, value_name = "OUT.jsonl")]
    frames: Option<PathBuf>,
    /// Write a web page that shows who is seen when: one file, which asks for nothing
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    /// Write a contact sheet, to choose tracks by eye
    #[arg(long, value_name = "OUT.png")]
    sheet: Option<PathBuf>,
    /// The video is a clip of this storage: s3://BUCKET/PREFIX?…, file:///FOLDER or a folder
    #[arg(long, short, value_name = "URI")]
    storage: Option<String>,
    /// The video, in any format that GStreamer decodes; or a stored clip: its key with --storage or
    /// GST_FACE_STORAGE, or its address, s3://BUCKET/KEY?… or file:///FOLDER/KEY
    video: PathBuf,
    #[command(flatten)]
    models: ModelOptions,
}

/// Options that say how a video is looked at, and for whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Looking {
    /// Gallery of the people to recognise: a file, or postgresql://ROLE@HOST/DATABASE; without it
    /// faces are only found and followed
    #[arg(long, short, value_name = "FILE")]
    pub(crate) gallery: Option<Location>,
    /// Look at every frame and recognise every face on it, not only when that is needed to follow
    /// and name people; slower, and counts every frame
    #[arg(long, conflicts_with = "interval")]
    every_face: bool,
    /// Look for faces on every N-th frame [default: 2 above 20 frames per second, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=Interval::MOST.into()))]
    interval: Option<u32>,
    /// Cosine similarity from which a face is a person [default: what the embedder recommends]
    #[arg(long, value_name = "SIMILARITY", value_parser = similarity)]
    threshold: Option<f32>,
}

impl Looking {
    pub(crate) fn recognition(&self, models: &ModelOptions) -> Recognition {
        Recognition {
            interval: self.interval.map_or(Interval::Default, Interval::Every),
            threshold: self.threshold,
            every_face: self.every_face,
            ..recognition(models)
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let video = stored::find("video", &arguments.video, arguments.storage.as_deref())?;
    let mut options = AnalyzeOptions {
        video: PathBuf::new(),
        recognition: arguments.looking.recognition(&arguments.models),
        gallery: arguments.looking.gallery.clone(),
        embeddings: arguments.embeddings,
        samples: arguments.samples,
        clusters: !arguments.no_clusters,
        pictures: arguments.samples,
        group: arguments.group,
        annotate: arguments.annotate.clone(),
        json: arguments.json.clone(),
        frames: arguments.frames.clone(),
        report: arguments.report.clone(),
        sheet: arguments.sheet.clone(),
    };
    let mut twin = None;
    let result = match video {
        Video::File(path) => {
            options.video = path;
            watched(show, |progress| analyze_file(&options, progress))?
        }
        Video::Clip(clips, clip) => {
            let store = !arguments.no_annotate;
            let done = watched(show_clip, |progress| {
                analyze_clip(&clips, &clip, &options, store, progress)
            })?;
            twin = done.as_ref().and_then(|done| done.twin.clone());
            done.map(|done| done.analysis)
        }
    };
    let Some(analysis) = result else {
        return Ok(Exit::Interrupted);
    };
    for warning in &analysis.warnings {
        output::note(format_args!("facectl: warning: {}", printable(warning)));
    }
    // A device such as /dev/stdout is for the machine: the table would spoil it.
    let spoils = |path: &PathBuf| path.starts_with("/dev/") && path.as_os_str() != "/dev/null";
    let AnalyzeOptions { json, frames, report, sheet, .. } = &options;
    if ![json, frames, report, sheet].into_iter().flatten().any(spoils) {
        for line in table(&analysis) {
            output::line(&printable(&line))?;
        }
    }
    if let Some(key) = twin {
        output::note(printable(&format!("the annotated copy is stored as '{key}'")));
    }
    Ok(Exit::Success)
}

/// How the models are run, from the options that every command has.
pub(crate) fn recognition(models: &ModelOptions) -> Recognition {
    Recognition {
        detector: Some(models.detector.clone()),
        embedder: Some(models.embedder.clone()),
        provider: models.place.provider,
        device_id: models.place.device_id,
        threads: u32::from(models.place.threads),
        runtime_library: models.place.runtime_library.clone(),
        ..Recognition::default()
    }
}

/// Runs `work` with a progress bar that `show` draws; `None` if SIGINT or SIGTERM stopped it.
pub(crate) fn watched<P, T, E: Into<anyhow::Error>>(
    show: impl Fn(&ProgressBar, P),
    work: impl FnOnce(&mut dyn FnMut(P) -> ControlFlow<()>) -> Result<T, E>,
) -> anyhow::Result<Option<T>> {
    let stop = Arc::new(AtomicBool::new(false));
    catch_signals(&stop)?;
    let bar = ProgressBar::new(0);
    bar.set_style(style("{spinner} {pos} s, {msg}"));
    bar.enable_steady_tick(Duration::from_millis(500));
    let result = work(&mut |progress| {
        show(&bar, progress);
        if stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    bar.finish_and_clear();
    match result.map_err(E::into) {
        Err(e) if matches!(e.downcast_ref(), Some(AnalyzeError::Interrupted { .. })) => Ok(None),
        result => result.map(Some),
    }
}

pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The bar counts milliseconds of the video; without a length it only says how far it is.
pub(crate) fn show(bar: &ProgressBar, progress: Progress) {
    let position = progress.position_ns.unwrap_or(0);
    if let Some(duration) = progress.duration_ns.filter(|d| *d > 0) {
        if bar.length() != Some(duration / 1_000_000) {
            bar.set_length(duration / 1_000_000);
            bar.set_style(style("{wide_bar} {percent} %, {msg}, {eta} left"));
        }
        bar.set_position(position.min(duration) / 1_000_000);
    } else {
        bar.set_position(position / 1_000_000_000);
    }
    bar.set_message(format!("{} frames", progress.frames));
}

/// The bar counts bytes while a clip is on its way, and milliseconds while it is looked at.
pub(crate) fn show_clip(bar: &ProgressBar, progress: ClipProgress) {
    let (what, done, total) = match progress {
        ClipProgress::Analysis(progress) => {
            // Its style is set again when the length is another one.
            if bar.message() == DOWNLOAD {
                bar.set_length(0);
            }
            return show(bar, progress);
        }
        ClipProgress::Download { done, total } => (DOWNLOAD, done, total),
        ClipProgress::Upload { done, total } => ("storing", done, total),
    };
    if bar.message() != what {
        bar.set_style(style("{wide_bar} {bytes}/{total_bytes}, {msg}"));
        bar.set_message(what);
    }
    bar.set_length(total);
    bar.set_position(done);
}

/// Sets `stop` on SIGINT and SIGTERM. A second signal ends the process at once.
pub(crate) fn catch_signals(stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // Handlers run in this order: the first signal finds `stop` unset.
        let status = output::INTERRUPTED.into();
        signal_hook::flag::register_conditional_shutdown(signal, status, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .context("catch signals")?;
    }
    Ok(())
}

/// Who was seen when: the people, and then those whom nobody knows; most seen first.
fn table(analysis: &Analysis) -> Vec<String> {
    let ungrouped = |t: &&TrackSummary| t.name.is_none() && t.group.is_none();
    let others = analysis.tracks.iter().filter(ungrouped).count();
    let unknown = match analysis.groups.len() {
        0 => String::new(),
        groups => format!(", {groups} unknown people"),
    };
    let mut lines = vec![format!(
        "{}: {} frames{}, {} people recognised{unknown}, {others} tracks of others",
        analysis.source,
        analysis.frames,
        analysis.duration_ns.map(|ns| format!(", {}", clock(ns))).unwrap_or_default(),
        analysis.people.len(),
    )];
    let rows = rows(analysis);
    if rows.is_empty() {
        return lines;
    }
    let width = |name: &str| name.chars().count();
    let widest = rows.iter().map(|row| width(&row.name)).max().unwrap_or(0).clamp(4, 40);
    lines.push(format!("{:widest$}  {:>7}  {:>10}  seen", "name", "frames", "similarity"));
    for Row { name, frames, similarity, intervals_ns } in rows {
        let similarity = similarity.map(|s| format!("{s:.2}")).unwrap_or_default();
        let mut seen: Vec<String> = intervals_ns
            .iter()
            .take(SHOWN_STRETCHES)
            .map(|[from, to]| format!("{}–{}", clock(*from), clock(*to)))
            .collect();
        let more = intervals_ns.len().saturating_sub(SHOWN_STRETCHES);
        if more > 0 {
            seen.push(format!("and {more} more times"));
        }
        lines.push(format!("{name:widest$}  {frames:>7}  {similarity:>10}  {}", seen.join(", ")));
    }
    lines
}

/// Somebody in the table.
struct Row<'a> {
    name: String,
    frames: u64,
    similarity: Option<f32>,
    intervals_ns: &'a [[u64; 2]],
}

fn rows(analysis: &Analysis) -> Vec<Row<'_>> {
    let similarity = |person: &PersonSummary| {
        let tracks = analysis.tracks.iter().filter(|t| t.name.as_ref() == Some(&person.name));
        tracks.filter_map(|t| t.similarity).max_by(f32::total_cmp)
    };
    let people = analysis.people.iter().map(|person| Row {
        name: person.name.clone(),
        frames: person.frames,
        similarity: similarity(person),
        intervals_ns: &person.intervals_ns,
    });
    let unknown = analysis.groups.iter().map(|group| Row {
        name: format!("unknown {}", group.group),
        frames: group.frames,
        similarity: None,
        intervals_ns: &group.intervals_ns,
    });
    people.chain(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn analysis(people: serde_json::Value) -> Analysis {
        serde_json::from_value(serde_json::json!({
            "schema": "face-analysis/1", "source": "a.mp4", "frames": 100,
            "duration_ns": 4_000_000_000u64,
            "models": {"detector": "d", "embedder": "e"}, "tracks": [], "people": people,
        }))
        .unwrap()
    }

    #[test]
    fn table_lists_people_with_their_stretches() {
        let stretch = |s: u64| [s * 1_000_000_000, (s + 1) * 1_000_000_000];
        let many: Vec<_> = (0..10).map(|i| stretch(i * 5)).collect();
        let lines = table(&analysis(serde_json::json!([
            {"name": "Ada", "frames": 50, "tracks": [1], "intervals_ns": many},
            {"name": "Bo", "frames": 2, "tracks": [2], "intervals_ns": [stretch(3)]},
        ])));
        assert_eq!(lines.len(), 4);
        assert!(lines[2].starts_with("Ada ") && lines[2].contains("0:05.0–0:06.0"), "{}", lines[2]);
        assert!(lines[2].ends_with("and 2 more times"), "{}", lines[2]);
        assert!(lines[3].ends_with("0:03.0–0:04.0"), "{}", lines[3]);
    }

    #[test]
    fn unknown_people_are_rows_of_their_own() {
        let mut analysis = analysis(serde_json::json!([
            {"name": "Ada", "frames": 50, "tracks": [1], "intervals_ns": [[0, 1_000_000_000]]},
        ]));
        analysis.groups = serde_json::from_value(serde_json::json!([
            {"group": 1, "tracks": [2, 5], "frames": 90,
             "intervals_ns": [[0, 1_000_000_000], [3_000_000_000u64, 4_000_000_000u64]]},
            {"group": 2, "tracks": [3], "frames": 2, "intervals_ns": [[0, 0]]},
        ]))
        .unwrap();
        let lines = table(&analysis);
        assert!(
            lines[0].contains("1 people recognised, 2 unknown people, 0 tracks"),
            "{}",
            lines[0]
        );
        assert_eq!(lines.len(), 5);
        assert!(lines[2].starts_with("Ada   "), "{}", lines[2]);
        assert!(lines[3].starts_with("unknown 1       90"), "{}", lines[3]);
        assert!(lines[3].ends_with("  0:00.0–0:01.0, 0:03.0–0:04.0"), "{}", lines[3]);
        assert!(lines[4].starts_with("unknown 2"), "{}", lines[4]);
    }

    #[test]
    fn nobody_is_one_line() {
        let lines = table(&analysis(serde_json::json!([])));
        assert_eq!(lines, ["a.mp4: 100 frames, 0:04.0, 0 people recognised, 0 tracks of others"]);
    }
}
