//! `facectl watch`: tells who comes and goes, while it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use face_core::gallery::Location;
use face_core::load::Interval;
use face_pipeline::tracker::{
    Event, FaceMessage, Health, Source, TrackerPipeline, Tracking, WatchdogLimits,
};
use face_pipeline::{Recognition, Stage, clock};
use indicatif::ProgressBar;

use crate::analyze::{catch_signals, recognition, style};
use crate::enroll_video::seconds;
use crate::options::{ModelOptions, similarity};
use crate::output::{self, Exit, printable};

/// How often a request to stop is looked for.
const TICK: Duration = Duration::from_millis(100);

/// Tell who comes and goes, while it happens
///
/// Follows the faces of a network camera, a camera or a video file, and prints a line when a track
/// is recognised or loses its name, when it ends, and when the source stalls or is back. Ends with
/// the source, or when it is interrupted. A network camera that is lost is connected to again until it is
/// back, unless `--set source.max-retries=0` says otherwise.
///
/// Of a camera, pictures that come faster than they can be looked at are left out; a file is looked
/// at as a whole, as fast as it can be.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 if the source came to its end, 2 if the command could not be carried out or the source \
was lost, 130 if it was interrupted.")]
pub(crate) struct Arguments {
    /// Gallery of the people to recognise; without it faces are only found and followed
    #[arg(long, short, value_name = "FILE")]
    gallery: Option<Location>,
    /// Look for faces on every N-th frame, 1 to 60; auto: of a camera on as many as 80 % of the
    /// processors allow, of a file as default; default: every 2nd above 20 frames per second, else every one
    #[arg(long, value_name = "N|auto|default", default_value = "auto")]
    interval: Interval,
    /// Cosine similarity from which a face is a person [default: what the embedder recommends]
    #[arg(long, value_name = "SIMILARITY", value_parser = similarity)]
    threshold: Option<f32>,
    /// Frames per second below which the source counts as stalled; 0: any rate will do
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    min_rate: f64,
    /// Seconds without a frame after which the source counts as stalled
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    silence: Duration,
    /// Set any property of an element: source, detector, tracker or recognizer. May be repeated;
    /// docs/elements.md and gst-inspect-1.0 list them
    #[arg(long, value_name = "ELEMENT.PROPERTY=VALUE", value_parser = setting)]
    set: Vec<Setting>,
    /// Print one JSON object per line: every message of the elements
    #[arg(long)]
    json: bool,
    /// rtsp://USER:PASSWORD@HOST/PATH, a camera (/dev/video0), or a video file
    source: String,
    #[command(flatten)]
    models: ModelOptions,
}

/// A property of an element.
#[derive(Clone, Debug, PartialEq)]
struct Setting {
    stage: Stage,
    name: String,
    value: String,
}

fn setting(text: &str) -> Result<Setting, String> {
    let parts = text.split_once('=').and_then(|(place, value)| {
        let (stage, name) = place.split_once('.')?;
        (!name.is_empty()).then_some((stage, name, value))
    });
    let (stage, name, value) = parts.ok_or("ELEMENT.PROPERTY=VALUE is needed")?;
    let stage = Stage::parse(stage).ok_or_else(|| {
        let known = Stage::ALL.map(Stage::as_str).join(", ");
        format!("there is no element '{stage}'; there are {known}")
    })?;
    Ok(Setting { stage, name: name.to_owned(), value: value.to_owned() })
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let source = Source::parse(&arguments.source)?;
    let limits = WatchdogLimits {
        min_rate: arguments.min_rate,
        silence: arguments.silence,
        ..WatchdogLimits::default()
    };
    let mut pipeline = TrackerPipeline::new().watchdog(Some(limits)).recognition(Recognition {
        interval: arguments.interval,
        threshold: arguments.threshold,
        ..recognition(&arguments.models)
    });
    if let Some(gallery) = &arguments.gallery {
        pipeline = pipeline.gallery(gallery.clone());
    }
    for Setting { stage, name, value } in &arguments.set {
        pipeline = pipeline.property(*stage, name, value);
    }
    let stop = Arc::new(AtomicBool::new(false));
    catch_signals(&stop)?;
    let tracking = pipeline.start(&source)?;
    let bar = ProgressBar::new_spinner();
    bar.set_style(style("{spinner} {msg}"));
    let result = follow(&tracking, &stop, &bar, arguments.json);
    bar.finish_and_clear();
    result
}

/// Prints events until the last one, or until it is to stop.
fn follow(
    tracking: &Tracking,
    stop: &AtomicBool,
    bar: &ProgressBar,
    json: bool,
) -> anyhow::Result<Exit> {
    loop {
        if stop.load(Ordering::Relaxed) {
            tracking.stop()?;
            return Ok(Exit::Interrupted);
        }
        match tracking.wait_for(TICK) {
            Some(Event::Message(message)) if json => {
                bar.suspend(|| output::json(&message.json()))?;
            }
            Some(Event::Message(message)) => {
                if let Some(text) = line(&message) {
                    bar.suspend(|| output::line(&printable(&text)))?;
                }
            }
            Some(Event::Warning(text)) => bar.suspend(|| {
                output::note(format_args!("facectl: warning: {}", printable(&text)));
            }),
            Some(Event::Ended(result)) => {
                result?;
                return Ok(Exit::Success);
            }
            Some(Event::Frame(_)) | None => {}
        }
        bar.set_message(progress(tracking.health()));
        bar.tick();
    }
}

/// How the source is doing.
fn progress(health: Health) -> String {
    let Health { frames, frames_per_second: rate, stalled_for, .. } = health;
    let stalled = stalled_for.map(|t| format!(", stalled for {} s", t.as_secs()));
    format!("{frames} frames, {rate:.1} per second{}", stalled.unwrap_or_default())
}

/// A message in words; `None`: nothing that one waits for.
pub(crate) fn line(message: &FaceMessage) -> Option<String> {
    let track = message.number("track-id").unwrap_or(0);
    let real = |field| message.structure.get::<f64>(field).ok();
    let time = |field| message.number(field).map(clock).unwrap_or_default();
    match message.name() {
        // That auto takes the CPU where there is no GPU is what one expects.
        "provider-info" if message.text("requested") == Some("auto") => None,
        "provider-info" => {
            let note = message.text("note").filter(|note| !note.is_empty())?;
            Some(format!("{}: {note}", message.text("model").unwrap_or_default()))
        }
        "face-identity" => Some(match message.text("name") {
            Some(name) => {
                let similarity = real("similarity").map(|s| format!(" ({s:.2})"));
                let (time, similarity) = (time("running-time"), similarity.unwrap_or_default());
                format!("{time}  track {track} is {name}{similarity}")
            }
            None => {
                let previous = message.text("previous-name").unwrap_or("known");
                format!("{}  track {track} is no longer {previous}", time("running-time"))
            }
        }),
        "face-track" => {
            let (first, last) = (time("first-seen"), time("last-seen"));
            Some(format!("{last}  track {track} ended, seen since {first}"))
        }
        "face-stall" => {
            let seconds = |field| message.number(field).unwrap_or(0) as f64 / 1e9;
            let rate = real("frames-per-second").unwrap_or(0.0);
            Some(match message.text("reason") {
                None => format!("the source is back after {:.0} s", seconds("stalled-for")),
                Some("low-rate") => format!("the source stalls: {rate:.2} frames per second"),
                Some(_) => {
                    format!("the source stalls: no frame for {:.0} s", seconds("silent-for"))
                }
            })
        }
        "face-camera" => Some(match (message.text("state")?, message.text("reason")) {
            ("connected", _) => "the camera is connected".to_owned(),
            ("connecting", None) => return None,
            ("connecting", Some(reason)) => {
                let attempt = message.structure.get::<u32>("attempt").unwrap_or(0);
                format!("the camera is tried again ({attempt}): {reason}")
            }
            (state, reason) => format!("the camera is {state}: {}", reason.unwrap_or_default()),
        }),
        name => Some(format!("{}  {name}{}", time("running-time"), fields(message))),
    }
}

/// The fields of a message, as it is in JSON: pictures are left out.
fn fields(message: &FaceMessage) -> String {
    let mut text = String::new();
    for (field, value) in message.json().as_object().into_iter().flatten() {
        if !["message", "element", "running_time"].contains(&field.as_str()) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!(" {field}={value}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, fields: &[(&str, &dyn gst::glib::value::ToSendValue)]) -> FaceMessage {
        gst::init().unwrap();
        let mut structure = gst::Structure::new_empty(name);
        for (field, value) in fields {
            structure.set_value(*field, value.to_send_value());
        }
        FaceMessage { element: "x".to_owned(), structure }
    }

    #[test]
    fn settings_name_element_property_and_value() {
        let expected = Setting {
            stage: Stage::Tracker,
            name: "zones".to_owned(),
            value: "a=0,0 b".to_owned(),
        };
        assert_eq!(setting("tracker.zones=a=0,0 b"), Ok(expected));
        for bad in ["tracker", "tracker.zones", "tracker.=1", "=1"] {
            assert!(setting(bad).is_err(), "{bad}");
        }
        assert!(setting("window.x=1").unwrap_err().contains("there are source, detector"));
    }

    #[test]
    fn t19_events_are_told_in_words() {
        let second = 1_000_000_000u64;
        for (message, words) in [
            (
                message(
                    "face-identity",
                    &[
                        ("track-id", &4u64),
                        ("name", &"Ada"),
                        ("similarity", &0.678f64),
                        ("running-time", &(62 * second)),
                    ],
                ),
                "1:02.0  track 4 is Ada (0.68)",
            ),
            (
                message("face-identity", &[("track-id", &4u64), ("previous-name", &"Ada")]),
                "  track 4 is no longer Ada",
            ),
            (
                message(
                    "face-track",
                    &[("track-id", &4u64), ("first-seen", &second), ("last-seen", &(2 * second))],
                ),
                "0:02.0  track 4 ended, seen since 0:01.0",
            ),
            (
                message(
                    "face-stall",
                    &[("stalled", &true), ("reason", &"silence"), ("silent-for", &(21 * second))],
                ),
                "the source stalls: no frame for 21 s",
            ),
            (
                message("face-stall", &[("stalled", &false), ("stalled-for", &(30 * second))]),
                "the source is back after 30 s",
            ),
            (
                message(
                    "face-zone",
                    &[("track-id", &4u64), ("zone", &"door"), ("crop", &gst::Buffer::new())],
                ),
                "  face-zone track_id=4 zone=door",
            ),
        ] {
            assert_eq!(line(&message).as_deref(), Some(words));
        }
        let fields: [(&str, &dyn gst::glib::value::ToSendValue); 3] =
            [("model", &"yunet"), ("requested", &"tensorrt"), ("note", &"is being built")];
        let info = message("provider-info", &fields);
        assert_eq!(line(&info).as_deref(), Some("yunet: is being built"));
        assert_eq!(line(&message("provider-info", &[])), None);
    }
}
