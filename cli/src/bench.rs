//! `facectl bench`: how fast a video goes through the elements, and what that costs.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use face_core::gallery::Location;
use face_core::load::Interval;
use face_pipeline::{
    AnalyzeError, BenchOptions, BenchProgress, BenchReport, Recognition, bench as measure,
};
use indicatif::ProgressBar;

use crate::analyze::{recognition, style, watched};
use crate::options::ModelOptions;
use crate::output::{self, Exit, counted, printable};

/// How often a request to stop is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Measure how fast a video goes through the elements
///
/// Finds, follows and recognises the faces of a video as fast as it can be done, and says how long
/// that took, what the processor did meanwhile (the networks, decoding, everything else) and how much
/// memory it took. Models and gallery are loaded before the clock runs. What decoding alone costs is
/// measured first, in a process of its own.
///
/// Without a gallery faces are compared with 1,000 random embeddings, so that searching costs what
/// it costs whoever is in the video.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object: frames, faces, embeds, wall_s, fps, cpu_s (processor seconds of the process), \
ort_cpu_s (of them, inside ONNX Runtime's Run), decode_cpu_s (what decoding alone took), other_cpu_s \
(the rest), startup_s, peak_rss_mib, rss_mib, rss_growth_mib (since a fifth of the frames), streams \
(frames and fps of each while all of them ran), generated_samples, versions.

Compare ratios of runs that took turns on one machine, not times: benches/compare.sh does.")]
pub(crate) struct Arguments {
    /// Gallery of the people to recognise: a file, or postgresql://ROLE@HOST/DATABASE
    #[arg(long, short, value_name = "FILE")]
    gallery: Option<Location>,
    /// Without a gallery: compare with so many random embeddings; 0: look nobody up
    #[arg(long, value_name = "N", default_value_t = 1000, conflicts_with = "gallery",
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    samples: u32,
    /// Look at every frame and recognise every face on it, not only when that is needed to follow
    /// and name people
    #[arg(long, conflicts_with = "interval")]
    every_face: bool,
    /// Look for faces on every N-th frame [default: 2 above 20 frames per second, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=Interval::MOST.into()))]
    interval: Option<u32>,
    /// Show the video so often in this process at the same time
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    streams: u32,
    /// Show the video so many times, one after the other
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    loops: u32,
    /// End after so many frames of each stream
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// Only read and decode the video
    #[arg(long)]
    decode_only: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// The video, a file in any format that GStreamer decodes
    video: PathBuf,
    #[command(flatten)]
    models: ModelOptions,
}

impl Arguments {
    fn options(&self) -> BenchOptions {
        BenchOptions {
            video: self.video.clone(),
            recognition: Recognition {
                interval: self.interval.map_or(Interval::Default, Interval::Every),
                every_face: self.every_face,
                ..recognition(&self.models)
            },
            gallery: self.gallery.clone(),
            samples: self.samples,
            streams: self.streams,
            loops: self.loops,
            frames: self.frames,
            decode_only: self.decode_only,
        }
    }

    /// The same, but only decoding, for another process.
    fn decoding(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["bench", "--decode-only", "--json"].map(Into::into).into();
        let frames = self.frames.map(|frames| ("--frames", frames));
        let counts = [("--streams", self.streams.into()), ("--loops", self.loops.into())];
        for (name, count) in counts.into_iter().chain(frames) {
            words.extend([name.into(), count.to_string().into()]);
        }
        words.extend(["--".into(), self.video.clone().into_os_string()]);
        words
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let report = watched(show, |progress| -> anyhow::Result<BenchReport> {
        let decoding = match arguments.decode_only {
            true => None,
            false => Some(decode(arguments, progress)?),
        };
        let mut report = measure(&arguments.options(), progress)?;
        if let Some(cpu_s) = decoding {
            report.set_decoding(cpu_s);
        }
        Ok(report)
    })?;
    let Some(report) = report else {
        return Ok(Exit::Interrupted);
    };
    if arguments.json {
        output::json(&report)?;
    } else {
        for line in lines(arguments, &report) {
            output::line(&printable(&line))?;
        }
    }
    Ok(Exit::Success)
}

/// Processor seconds of decoding alone, measured in another process: what decoders keep would count
/// as memory of the elements in this one.
fn decode(
    arguments: &Arguments,
    progress: &mut dyn FnMut(BenchProgress) -> ControlFlow<()>,
) -> anyhow::Result<f64> {
    let program = std::env::current_exe().context("find the program facectl")?;
    let mut child = Command::new(&program)
        .args(arguments.decoding())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start '{}'", program.display()))?;
    // Its few lines fit into the pipes: it never waits for us.
    while child.try_wait().context("wait for decoding")?.is_none() {
        if progress(BenchProgress::default()).is_break() {
            // It may have ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return Err(AnalyzeError::Interrupted { path: arguments.video.clone() }.into());
        }
        std::thread::sleep(TICK);
    }
    let output = child.wait_with_output().context("read what decoding gave")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let error = said.lines().find_map(|line| line.strip_prefix("facectl: error: "));
        bail!("{}", error.unwrap_or(said.trim()));
    }
    let report: BenchReport =
        serde_json::from_slice(&output.stdout).context("read what decoding gave")?;
    Ok(report.cpu_s)
}

fn show(bar: &ProgressBar, progress: BenchProgress) {
    /// The bar counts thousandths of the work.
    const WHOLE: u64 = 1000;
    if progress.frames == 0 {
        bar.set_style(style("{spinner} {msg}"));
        bar.set_message("decoding alone, loading models");
        return;
    }
    if let Some(done) = progress.done {
        if bar.length() != Some(WHOLE) {
            bar.set_length(WHOLE);
            bar.set_style(style("{wide_bar} {percent} %, {msg}, {eta} left"));
        }
        bar.set_position((done * WHOLE as f64) as u64);
    }
    bar.set_message(counted(progress.frames, "frame", "frames"));
}

/// The measurement for people.
fn lines(arguments: &Arguments, report: &BenchReport) -> Vec<String> {
    let BenchReport { frames, faces, embeds, wall_s, fps, cpu_s, .. } = report;
    let mut lines = vec![format!(
        "{}: {} in {wall_s:.2} s, {fps:.1} per second; {}, {embeds} embedded",
        arguments.video.display(),
        counted(*frames, "frame", "frames"),
        counted(*faces, "face", "faces"),
    )];
    let busy = cpu_s / wall_s;
    let mut processor = format!("processor  {cpu_s:.2} s, {busy:.2} cores busy");
    if let (Some(decode), Some(other)) = (report.decode_cpu_s, report.other_cpu_s) {
        processor += &format!(
            ": networks {:.2} s, decoding {decode:.2} s, everything else {other:.2} s ({:.1} %)",
            report.ort_cpu_s,
            100.0 * other / cpu_s,
        );
    }
    lines.push(processor);
    if let Some(peak) = report.peak_rss_mib {
        let growth = report.rss_growth_mib.unwrap_or(0.0);
        let grown = format!("{growth:+.1} MiB since a fifth of the frames");
        lines.push(format!("memory     {peak:.1} MiB at most, {grown}"));
    }
    lines.push(format!("start-up   {:.2} s", report.startup_s));
    if let Some(fairness) = report.fairness().filter(|_| report.streams.len() > 1) {
        let fps = report.streams.iter().map(|s| format!("{:.1}", s.fps)).collect::<Vec<_>>();
        let each = fps.join(", ");
        lines.push(format!("streams    {each} frames per second; slowest/fastest {fairness:.2}"));
    }
    if report.generated_samples > 0 {
        let samples = report.generated_samples;
        lines.push(format!("gallery    {samples} random embeddings, made for this run"));
    }
    let v = &report.versions;
    let or_unknown = |version: &Option<String>| version.clone().unwrap_or("unknown".to_owned());
    let mut versions = format!(
        "versions   facectl {}, GStreamer {}, decoder {}, {} cores",
        v.face_pipeline,
        v.gstreamer,
        or_unknown(&v.decoder),
        v.cores,
    );
    if !arguments.decode_only {
        let runtime = or_unknown(&v.onnxruntime);
        versions +=
            &format!(", ONNX Runtime {runtime} on {}, {}, {}", v.provider, v.detector, v.embedder);
    }
    lines.push(versions);
    lines
}
