//! A status in the text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::time::Duration;

use super::state::CameraState;
use super::status::{CameraStatus, Counts, Delay, Status};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Name, help, and what of a camera the value is.
type Value<From, To> = (&'static str, &'static str, fn(&From) -> To);
/// The same of values by a label, which is named after the help.
type Values = (&'static str, &'static str, &'static str, fn(&Counts) -> &BTreeMap<String, u64>);

/// The text; every family that there can be is in it, whether there is a sample of it or not.
pub(super) fn render(status: &Status) -> String {
    let mut text = Text::default();
    text.family("gst_face_build_info", "gauge", "Version of gst-face");
    text.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    cameras(&mut text, &status.cameras);
    counts(&mut text, &status.cameras);
    times(&mut text, &status.cameras);
    outbox(&mut text, status);
    process(&mut text, status);
    text.0
}

fn cameras(text: &mut Text, all: &[CameraStatus]) {
    text.family("gst_face_camera_state", "gauge", "1 of the state that the camera is in, else 0");
    for camera in all {
        for state in CameraState::ALL {
            let labels = [("camera", &*camera.name), ("state", state.as_str())];
            text.sample("", &labels, u8::from(camera.state == state));
        }
    }
    let gauges: [Value<CameraStatus, f64>; 7] = [
        ("camera_state_seconds", "How long the state of the camera lasts", |c| {
            c.lasts.as_secs_f64()
        }),
        ("frames_per_second", "Pictures of the last seconds that passed, per second", |c| {
            c.frames_per_second
        }),
        ("looks_per_second", "Looks of the detector in the last seconds, per second", |c| {
            c.looks_per_second
        }),
        ("visible_faces", "Faces on the last picture", |c| c.faces as f64),
        ("recognized_faces", "People who are recognised on the last picture", |c| {
            c.names.len() as f64
        }),
        ("open_clips", "Clips that are being made", |c| c.open_clips as f64),
        ("clip_kept_bytes", "Coded pictures that are kept for clips to come", |c| {
            c.kept_bytes as f64
        }),
    ];
    for (name, help, value) in gauges {
        text.family(&format!("gst_face_{name}"), "gauge", help);
        for camera in all {
            text.sample("", &[("camera", &camera.name)], value(camera));
        }
    }
    let help = "Inputs of all cameras that wait for the model which an element uses";
    text.family("gst_face_model_queue_inputs", "gauge", help);
    for camera in all {
        for (element, waiting) in &camera.inputs {
            text.sample("", &[("camera", &camera.name), ("element", element)], waiting);
        }
    }
    text.family("gst_face_queue_frames", "gauge", "Pictures that wait in a queue");
    for camera in all {
        for (queue, level) in &camera.queues {
            text.sample("", &[("camera", &camera.name), ("queue", queue)], level);
        }
    }
}

fn counts(text: &mut Text, all: &[CameraStatus]) {
    let counters: [Value<Counts, u64>; 9] = [
        ("frames", "Pictures that passed all elements", |c| c.frames),
        ("looks", "Pictures on which the detector looked for faces", |c| c.looks),
        ("faces", "Faces that the detector found", |c| c.faces),
        ("embeddings", "Faces that were embedded", |c| c.embeddings),
        ("identifications", "Times that a track got a name", |c| c.identifications),
        ("unpublished", "Frames and events for others that had no room", |c| c.unpublished),
        ("camera_losses", "Connections of the camera that were lost", |c| c.losses),
        ("camera_failures", "Pipelines of the camera that failed", |c| c.failures),
        ("warnings", "Warnings of the elements", |c| c.warnings),
    ];
    for (name, help, value) in counters {
        text.family(&format!("gst_face_{name}_total"), "counter", help);
        for camera in all {
            text.sample("", &[("camera", &camera.name)], value(&camera.counts));
        }
    }
    let maps: [Values; 3] = [
        ("skipped_frames", "Pictures that were not looked at", "reason", |c| &c.skipped),
        ("events", "Events", "kind", |c| &c.events),
        ("clips", "Clips by what became of them", "result", |c| &c.clips),
    ];
    for (name, help, label, value) in maps {
        text.family(&format!("gst_face_{name}_total"), "counter", help);
        for camera in all {
            for (key, count) in value(&camera.counts) {
                text.sample("", &[("camera", &camera.name), (label, key)], count);
            }
        }
    }
}

fn times(text: &mut Text, all: &[CameraStatus]) {
    let help = "From when a picture came until it had passed all elements";
    text.family("gst_face_delay_seconds", "histogram", help);
    for camera in all {
        delay(text, &camera.name, &camera.delay);
    }
    let help = "Time that an element needs for a picture, as it told last";
    text.family("gst_face_element_seconds", "gauge", help);
    for camera in all {
        for (element, quantiles) in &camera.times {
            for (quantile, time) in ["0.5", "0.95", "0.99"].into_iter().zip(quantiles) {
                let labels =
                    [("camera", &*camera.name), ("element", element), ("quantile", quantile)];
                text.sample("", &labels, time.as_secs_f64());
            }
        }
    }
}

fn delay(text: &mut Text, camera: &str, delay: &Delay) {
    for (bound, count) in delay.cumulated() {
        text.sample("_bucket", &[("camera", camera), ("le", &bound.to_string())], count);
    }
    text.sample("_bucket", &[("camera", camera), ("le", "+Inf")], delay.count());
    text.sample("_sum", &[("camera", camera)], delay.sum().as_secs_f64());
    text.sample("_count", &[("camera", camera)], delay.count());
}

fn outbox(text: &mut Text, status: &Status) {
    let stats = status.outbox.as_ref();
    text.family("gst_face_outbox_entries", "gauge", "Clips and messages that wait in the spool");
    if let Some(stats) = stats {
        for (state, count) in [
            ("waiting", stats.waiting),
            ("given-up", stats.given_up),
            ("unreadable", stats.unreadable),
        ] {
            text.sample("", &[("state", state)], count);
        }
    }
    text.family("gst_face_outbox_bytes", "gauge", "Size of what waits in the spool");
    if let Some(stats) = stats {
        text.sample("", &[], stats.bytes);
    }
    for (name, help, value) in [
        ("delivered", "Clips and messages that arrived", stats.map(|s| s.delivered)),
        ("retries", "Attempts to send that failed and are repeated", stats.map(|s| s.retries)),
        ("failed", "Clips and messages that were given up", stats.map(|s| s.failed)),
        ("dropped", "Messages that had no room or were too old", stats.map(|s| s.dropped)),
        ("refused", "Clips and messages that had no room", stats.map(|s| s.refused)),
    ] {
        text.family(&format!("gst_face_outbox_{name}_total"), "counter", help);
        if let Some(value) = value {
            text.sample("", &[], value);
        }
    }
}

/// Under the names that Prometheus has for all processes.
fn process(text: &mut Text, status: &Status) {
    text.family("gst_face_reloads_total", "counter", "Configurations read while running");
    text.sample("", &[("result", "taken")], status.reloads);
    text.sample("", &[("result", "refused")], status.refused_reloads);
    let process = &status.process;
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            "counter",
            "Processor time of the process",
            Duration::as_secs_f64(&process.cpu),
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Memory that the process has in RAM",
            process.resident_bytes as f64,
        ),
        ("process_threads", "gauge", "Threads of the process", process.threads as f64),
        ("process_open_fds", "gauge", "Open files and sockets", process.open_files as f64),
        (
            "process_start_time_seconds",
            "gauge",
            "When the process began, in seconds since 1970",
            process.started,
        ),
    ] {
        text.family(name, kind, help);
        text.sample("", &[], value);
    }
}

/// The text and the family that is being written.
#[derive(Default)]
struct Text(String, String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(help, false));
        name.clone_into(&mut self.1);
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "{}{suffix}", self.1);
        for (n, (name, value)) in labels.iter().enumerate() {
            let before = if n == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{name}=\"{}\"", escaped(value, true));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }
}

/// Quotation marks are escaped in labels alone.
fn escaped(text: &str, label: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if label { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
