//! `facectl track`: the tracker alone, over the detections of a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use face_core::geometry::BBox;
use face_core::track::{Observation, TrackBox, TrackState, Tracker, TrackerConfig};
use face_pipeline::PendingFile;

use crate::output::{self, Exit, counted};

/// Longest line of a file of detections, bytes; a number has at most some twenty digits.
const LONGEST_LINE: u64 = 4096;
/// Highest number of a frame: more than a year at 60 frames per second.
const LAST_FRAME: u32 = 2_000_000_000;

/// Follow the detections of a file, without any picture
///
/// Reads detections in the format of MOTChallenge, runs the tracker of facetrack over them and
/// writes its boxes in the same format, so that the usual tools can score it. Lines are
///
/// `frame,id,left,top,width,height,score[,…]`
///
/// in pixels, frames from 1; the id and what follows the score are ignored. Lines may stand in any
/// order. A frame without detections is one in which the detector found nobody.
///
/// The result has the tracks' ids from 1, of predicted boxes the score 0, and -1,-1,-1 at the end
/// of its lines. Tracks appear in it once they are confirmed. It appears whole, or not at all.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// The detections
    #[arg(long, value_name = "DET.txt")]
    detections: PathBuf,
    /// The result
    #[arg(long, value_name = "RESULT.txt")]
    out: PathBuf,
    /// Frames per second of the video
    #[arg(long, value_name = "N", default_value_t = 30.0, value_parser = frame_rate)]
    fps: f64,
    /// Write predicted boxes too, of tracks that were not seen for at most --max-predicted-time
    #[arg(long)]
    predicted: bool,
    /// Size of the picture in pixels: tracks that leave it take nobody who comes in
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = picture_size)]
    size: Option<(f32, f32)>,
    #[command(flatten)]
    tracker: TrackerOptions,
}

/// The properties of facetrack, and the settings that it does not offer.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Tracker")]
struct TrackerOptions {
    /// Detections from this score on are matched with every track [default: 0.5]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    high_threshold: Option<f32>,
    /// Weaker ones from this score on only continue confirmed tracks [default: 0.1]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    low_threshold: Option<f32>,
    /// Detections of no track open one from this score on [default: 0.6]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    new_threshold: Option<f32>,
    /// Least overlap (IoU) of a track with its detection [default: 0.15]
    #[arg(long, value_name = "IOU", allow_negative_numbers = true)]
    match_iou: Option<f32>,
    /// The same for detections below the high threshold [default: 0.5]
    #[arg(long, value_name = "IOU", allow_negative_numbers = true)]
    low_match_iou: Option<f32>,
    /// Farthest detection, in box sizes, that a track takes without overlap; 0: none [default: 2]
    #[arg(long, value_name = "SIZES", allow_negative_numbers = true)]
    match_distance: Option<f32>,
    /// Two tracks that overlap by more than this IoU are one [default: 0.85]
    #[arg(long, value_name = "IOU", allow_negative_numbers = true)]
    duplicate_iou: Option<f32>,
    /// Frames in a row with a detection before a track is confirmed [default: 2]
    #[arg(long, value_name = "N")]
    confirm_hits: Option<u32>,
    /// Seconds after which a track that is not seen ends [default: 2]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    max_lost_time: Option<u64>,
    /// Seconds for which a track that is not seen is predicted [default: 0.5]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    max_predicted_time: Option<u64>,
}

impl TrackerOptions {
    fn config(&self) -> TrackerConfig {
        let default = TrackerConfig::default();
        TrackerConfig {
            high_threshold: self.high_threshold.unwrap_or(default.high_threshold),
            low_threshold: self.low_threshold.unwrap_or(default.low_threshold),
            new_threshold: self.new_threshold.unwrap_or(default.new_threshold),
            match_iou: self.match_iou.unwrap_or(default.match_iou),
            low_match_iou: self.low_match_iou.unwrap_or(default.low_match_iou),
            match_distance: self.match_distance.unwrap_or(default.match_distance),
            duplicate_iou: self.duplicate_iou.unwrap_or(default.duplicate_iou),
            confirm_hits: self.confirm_hits.unwrap_or(default.confirm_hits),
            max_lost_ns: self.max_lost_time.unwrap_or(default.max_lost_ns),
            max_predicted_ns: self.max_predicted_time.unwrap_or(default.max_predicted_ns),
            max_tracks: default.max_tracks,
        }
    }
}

fn frame_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.01..=1000.0).contains(&value) => Ok(value),
        _ => Err("frames per second from 0.01 to 1000 are needed".to_owned()),
    }
}

/// Nanoseconds.
fn seconds(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=3600.0).contains(&value) => Ok((value * 1e9).round() as u64),
        _ => Err("seconds from 0 to 3600 are needed".to_owned()),
    }
}

fn picture_size(text: &str) -> Result<(f32, f32), String> {
    let side = |text: &str| text.parse::<u16>().ok().filter(|side| *side > 0).map(f32::from);
    let sides = text.split_once('x').and_then(|(w, h)| side(w).zip(side(h)));
    sides.ok_or_else(|| "a size such as 1920x1080 is needed".to_owned())
}

/// What is wrong with a line of detections.
#[derive(Debug, PartialEq, thiserror::Error)]
enum LineError {
    #[error("longer than {LONGEST_LINE} bytes")]
    Long,
    #[error("not UTF-8 text")]
    NotText,
    #[error("{0} fields, at least 7 are needed: frame,id,left,top,width,height,score")]
    Fields(usize),
    #[error("{name} '{text}' is not a number")]
    Number { name: &'static str, text: String },
    #[error("frame '{0}' is not a whole number from 1 to {LAST_FRAME}")]
    Frame(String),
    #[error("the box has no area: width {width}, height {height}")]
    Box { width: f32, height: f32 },
}

/// A detection and its frame, from 1.
type Detection = (u32, Observation);

fn parse(line: &str) -> Result<Detection, LineError> {
    const NAMES: [&str; 7] = ["frame", "id", "left", "top", "width", "height", "score"];
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    if fields.len() < NAMES.len() {
        return Err(LineError::Fields(fields.len()));
    }
    // Programs that write tables of floats write frames as 1.000e+00.
    let frame = fields[0].parse::<f64>().ok().filter(|f| f.fract() == 0.0);
    let frame = frame.filter(|f| (1.0..=f64::from(LAST_FRAME)).contains(f));
    let frame = frame.ok_or_else(|| LineError::Frame(fields[0].to_owned()))?;
    let number = |i: usize| {
        let value = fields[i].parse::<f32>().ok().filter(|v| v.is_finite());
        value.ok_or_else(|| LineError::Number { name: NAMES[i], text: fields[i].to_owned() })
    };
    let bbox = BBox::new(number(2)?, number(3)?, number(4)?, number(5)?);
    if !bbox.is_valid() {
        return Err(LineError::Box { width: bbox.w, height: bbox.h });
    }
    Ok((frame as u32, Observation { bbox, score: number(6)? }))
}

/// The detections of a file by rising frame; those of a frame in their order.
fn read(path: &Path) -> anyhow::Result<Vec<Detection>> {
    let reading = || format!("read detections '{}'", path.display());
    let mut file = BufReader::new(File::open(path).with_context(reading)?);
    let mut detections = Vec::new();
    let mut bytes = Vec::new();
    for number in 1u64.. {
        bytes.clear();
        let read = file.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes);
        if read.with_context(reading)? == 0 {
            break;
        }
        let parsed = match std::str::from_utf8(&bytes) {
            _ if bytes.len() as u64 > LONGEST_LINE => Err(LineError::Long),
            Err(_) => Err(LineError::NotText),
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => parse(line.trim()),
        };
        detections.push(parsed.with_context(|| format!("{}, line {number}", reading()))?);
    }
    detections.sort_by_key(|(frame, _)| *frame);
    Ok(detections)
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut tracker = Tracker::new(arguments.tracker.config()).context("set the tracker up")?;
    if let Some((width, height)) = arguments.size {
        tracker.set_picture_size(width, height);
    }
    let detections = read(&arguments.detections)?;
    let mut file = PendingFile::create(&arguments.out)?;
    let mut summary = Summary::default();
    track(&mut tracker, &detections, arguments.fps, |frame, tracker, found| {
        for track in tracker.boxes() {
            let shown = track.observation.is_some() || arguments.predicted;
            if shown && track.state != TrackState::Tentative {
                summary.boxes += 1;
                write_box(file.writer(), frame, track, found)?;
            }
        }
        summary.confirmed += tracker.ended().iter().filter(|t| t.confirmed).count() as u64;
        Ok(())
    })
    .with_context(|| format!("write '{}'", arguments.out.display()))?;
    tracker.reset();
    summary.confirmed += tracker.ended().iter().filter(|t| t.confirmed).count() as u64;
    file.commit()?;
    let frames = u64::from(detections.last().map_or(0, |(frame, _)| *frame));
    output::note(format_args!(
        "{} in {}: {}, {}",
        counted(detections.len() as u64, "detection", "detections"),
        counted(frames, "frame", "frames"),
        counted(summary.confirmed, "track", "tracks"),
        counted(summary.boxes, "box", "boxes"),
    ));
    Ok(Exit::Success)
}

#[derive(Debug, Default)]
struct Summary {
    confirmed: u64,
    boxes: u64,
}

/// Runs the tracker from frame 1 to the last one of `detections`, which are sorted, and shows every
/// frame with its detections to `each`. Frames without detections in which no track is left are
/// passed over.
fn track(
    tracker: &mut Tracker,
    detections: &[Detection],
    fps: f64,
    mut each: impl FnMut(u32, &Tracker, &[Observation]) -> io::Result<()>,
) -> io::Result<()> {
    let time_ns = |frame: u32| (f64::from(frame - 1) * 1e9 / fps).round() as u64;
    let mut found = Vec::new();
    let mut next = 1;
    for of_frame in detections.chunk_by(|a, b| a.0 == b.0) {
        let frame = of_frame[0].0;
        while next < frame {
            // Also before the first detection: who comes later was not there from the start.
            tracker.update(time_ns(next), &[]);
            each(next, tracker, &[])?;
            next = if tracker.has_tracks() { next + 1 } else { frame };
        }
        found.clear();
        found.extend(of_frame.iter().map(|(_, observation)| *observation));
        tracker.update(time_ns(frame), &found);
        each(frame, tracker, &found)?;
        next = frame + 1;
    }
    Ok(())
}

fn write_box(
    out: &mut dyn Write,
    frame: u32,
    track: &TrackBox,
    found: &[Observation],
) -> io::Result<()> {
    let score = track.observation.and_then(|i| found.get(i)).map_or(0.0, |o| o.score);
    let (id, b) = (track.track_id, &track.bbox);
    writeln!(out, "{frame},{id},{:.2},{:.2},{:.2},{:.2},{score},-1,-1,-1", b.x, b.y, b.w, b.h)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_writer_are_read() {
        let expected = (3, Observation { bbox: BBox::new(10.5, -4.0, 30.0, 40.0), score: 0.75 });
        for line in [
            "3,-1,10.5,-4,30,40,0.75",
            "3, -1, 10.5, -4, 30, 40, 0.75, -1, -1, -1",
            "3.000000e+00,-1.000e+00,1.05e+01,-4.0,3e1,4.0e1,7.5e-1",
            "3,face,10.5,-4,30,40,.75,,",
        ] {
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let cases = [
            ("3 -1 10 4 30 40 0.75", "1 fields, at least 7"),
            ("3,-1,10,4,30,40", "6 fields"),
            ("0,-1,10,4,30,40,1", "frame '0' is not"),
            ("-2,-1,10,4,30,40,1", "frame '-2' is not"),
            ("1.5,-1,10,4,30,40,1", "frame '1.5' is not"),
            ("NaN,-1,10,4,30,40,1", "frame 'NaN' is not"),
            ("4294967296,-1,10,4,30,40,1", "frame '4294967296' is not"),
            ("1,-1,x,4,30,40,1", "left 'x' is not a number"),
            ("1,-1,10,inf,30,40,1", "top 'inf' is not a number"),
            ("1,-1,10,4,1e99,40,1", "width '1e99' is not a number"),
            ("1,-1,10,4,30,40,", "score '' is not a number"),
            ("1,-1,10,4,0,40,1", "no area: width 0, height 40"),
            ("1,-1,10,4,30,-4,1", "no area: width 30, height -4"),
        ];
        for (line, part) in cases {
            let text = parse(line).expect_err(line).to_string();
            assert!(text.contains(part), "{line}: {text}");
        }
    }

    #[test]
    fn long_gaps_cost_no_time() {
        let observation = Observation { bbox: BBox::new(10.0, 10.0, 30.0, 40.0), score: 0.9 };
        let detections: Vec<Detection> =
            [1, 2, 3, LAST_FRAME].iter().map(|frame| (*frame, observation)).collect();
        let mut tracker = Tracker::new(TrackerConfig::default()).unwrap();
        let mut frames = 0u64;
        track(&mut tracker, &detections, 10.0, |_, _, _| {
            frames += 1;
            Ok(())
        })
        .unwrap();
        // Three, those until the track ends after two seconds, and the last.
        assert_eq!(frames, 3 + 21 + 1);
        assert_eq!(tracker.boxes()[0].track_id, 2);
    }
}
