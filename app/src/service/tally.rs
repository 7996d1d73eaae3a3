//! What the elements of a camera say that they did: their property `stats`, and their messages.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::line::Line;
use super::status::{CameraStatus, Counts};
use crate::tracker::FaceMessage;

/// Rates are those of so much time.
const WINDOW: Duration = Duration::from_secs(5);

/// Counts events as their messages come.
pub(super) fn count(counts: &mut Counts, message: &FaceMessage) {
    let event = message.text("event").unwrap_or_default();
    let kind = match message.name() {
        "face-identity" => {
            counts.identifications += u64::from(message.text("name").is_some());
            "face-identity".to_owned()
        }
        // Their kinds are those of the events in the metadata.
        "face-alert" => event.to_owned(),
        "face-zone" => format!("zone-{event}"),
        "face-track" => "track-ended".to_owned(),
        "face-track-relinked" => "track-relinked".to_owned(),
        "face-scene-cut" => "scene-cut".to_owned(),
        // Clips are counted by clipsink, cameras by their state.
        _ => return,
    };
    *counts.events.entry(kind).or_default() += 1;
}

/// Fields of clipsink's `stats`, and what they are called in [`Counts::clips`].
const CLIPS: [(&str, &str); 5] = [
    ("clips-started", "started"),
    ("clips-spooled", "spooled"),
    ("clips-stored", "stored"),
    ("clips-failed", "failed"),
    ("refused", "refused"),
];
/// Beginning of the fields that count pictures which the detector did not look at, by reason.
const SKIPPED: &str = "skipped-";
/// Fields with the times that an element needs for a buffer.
const TIMES: [&str; 3] = ["time-p50", "time-p95", "time-p99"];

/// `stats` of an element; it counts since its start.
struct Stats(Option<gst::Structure>);

impl Stats {
    fn of(element: Option<&gst::Element>) -> Self {
        let element = element.filter(|e| e.find_property("stats").is_some());
        Self(element.map(|element| element.property::<gst::Structure>("stats")))
    }

    fn number(&self, field: &str) -> u64 {
        self.known(field).unwrap_or(0)
    }

    fn known(&self, field: &str) -> Option<u64> {
        self.0.as_ref()?.get::<u64>(field).ok()
    }

    /// Fields with this beginning, by the rest of their names.
    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, u64> {
        let field = |(name, value): (&gst::glib::GStr, &gst::glib::SendValue)| {
            Some((name.strip_prefix(prefix)?.to_owned(), value.get::<u64>().ok()?))
        };
        self.0.iter().flat_map(|stats| stats.iter()).filter_map(field).collect()
    }
}

/// Fills in what the elements of a running pipeline say; `status.counts` has what messages told of it.
pub(super) fn read(line: &Line, status: &mut CameraStatus) {
    let detector = Stats::of(Some(&line.detector));
    let recognizer = Stats::of(line.recognizer.as_ref());
    let clips = Stats::of(line.clips.as_ref());
    let counts = &mut status.counts;
    counts.looks = detector.number("looked");
    counts.faces = detector.number("faces");
    counts.embeddings = recognizer.number("embedded");
    counts.skipped = detector.with_prefix(SKIPPED);
    for (field, result) in CLIPS {
        if let Some(count) = clips.known(field) {
            counts.clips.insert(result.to_owned(), count);
        }
    }
    let publishers: Vec<Stats> = line.publishers.iter().map(|p| Stats::of(Some(p))).collect();
    let dropped = |stats: &Stats| stats.number("dropped-frames") + stats.number("dropped-events");
    counts.unpublished = publishers.iter().map(dropped).sum();
    status.open_clips = clips.number("open-clips");
    status.kept_bytes = clips.number("kept-bytes");
    status.queues = line.queues();
    let queued = [("onnxfacedetect", &detector), ("facerecognize", &recognizer)];
    let queued = queued.map(|(name, stats)| Some((name, stats.known("queue-depth")?)));
    status.inputs = queued.into_iter().flatten().collect();
    let elements = [
        ("onnxfacedetect", Some(&line.detector)),
        ("facetrack", Some(&line.tracker)),
        ("facerecognize", line.recognizer.as_ref()),
        ("faceannotate", line.annotation.as_ref()),
        ("clipsink", line.clips.as_ref()),
    ];
    status.times = elements
        .into_iter()
        .filter_map(|(name, element)| {
            let stats = Stats::of(element);
            let [p50, p95, p99] = TIMES.map(|field| stats.known(field).map(Duration::from_nanos));
            Some((name, [p50?, p95?, p99?]))
        })
        .collect();
}

/// Rates of the last seconds, from totals that are told now and then.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// When, and the frames and looks up to then.
    totals: VecDeque<(Instant, u64, u64)>,
}

impl Rates {
    /// Frames and looks per second, with these totals of `now`.
    pub(super) fn of(&mut self, now: Instant, frames: u64, looks: u64) -> (f64, f64) {
        self.totals.push_back((now, frames, looks));
        while self.totals.len() > 2
            && let Some((second, ..)) = self.totals.get(1)
            && now.saturating_duration_since(*second) >= WINDOW
        {
            self.totals.pop_front();
        }
        let Some((then, old_frames, old_looks)) = self.totals.front() else { return (0.0, 0.0) };
        let seconds = now.saturating_duration_since(*then).as_secs_f64();
        if seconds <= 0.0 {
            return (0.0, 0.0);
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (rate(frames, *old_frames), rate(looks, *old_looks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, fields: &[(&str, &str)]) -> FaceMessage {
        gst::init().unwrap();
        let mut structure = gst::Structure::new_empty(name);
        for (field, value) in fields {
            structure.set(*field, *value);
        }
        FaceMessage { element: "x".to_owned(), structure }
    }

    #[test]
    fn messages_are_counted_by_the_kinds_of_their_events() {
        let mut counts = Counts::default();
        for message in [
            message("face-identity", &[("name", "Ada")]),
            message("face-identity", &[("previous-name", "Ada")]),
            message("face-alert", &[("event", "known-face")]),
            message("face-zone", &[("event", "enter"), ("zone", "door")]),
            message("face-zone", &[("event", "enter"), ("zone", "gate")]),
            message("face-track", &[]),
            message("clip-stored", &[]),
            message("provider-info", &[]),
        ] {
            count(&mut counts, &message);
        }
        let events =
            [("face-identity", 2), ("known-face", 1), ("track-ended", 1), ("zone-enter", 2)];
        let events = events.map(|(kind, count)| (kind.to_owned(), count));
        assert_eq!((counts.identifications, counts.events), (1, events.into()));
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let (begin, mut rates) = (Instant::now(), Rates::default());
        assert_eq!(rates.of(begin, 0, 0), (0.0, 0.0));
        let mut last = (0.0, 0.0);
        for half in 1..=40_u64 {
            // 30 pictures a second for ten seconds, then 10.
            let frames = if half <= 20 { half * 15 } else { 300 + (half - 20) * 5 };
            let now = begin + Duration::from_millis(500 * half);
            last = rates.of(now, frames, frames / 2);
            if half == 20 {
                assert_eq!(last, (30.0, 15.0));
            }
        }
        assert!((last.0 - 10.0).abs() < 1e-9 && (last.1 - 5.0).abs() < 0.3, "{last:?}");
        assert!(rates.totals.len() < 15);
    }
}
