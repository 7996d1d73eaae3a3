//! The live status at the bottom of the terminal: a line for each camera and one for the process.

use std::time::{Duration, Instant};

use face_pipeline::service::{CameraStatus, Status};
use indicatif::{MultiProgress, ProgressBar};

use crate::analyze::style;
use crate::output::{counted, printable};

/// How often it is drawn.
const REFRESH: Duration = Duration::from_millis(500);

/// Lines on standard error; hidden where that is no terminal.
pub(super) struct Live {
    all: MultiProgress,
    lines: Vec<ProgressBar>,
    drawn: Option<Instant>,
    /// Processor time of the process, and when that was.
    cpu: Option<(Instant, Duration)>,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { all: MultiProgress::new(), lines: Vec::new(), drawn: None, cpu: None }
    }

    /// Draws the status, if it is time for that.
    pub(super) fn show(&mut self, status: impl FnOnce() -> Status) {
        if self.drawn.is_some_and(|last| last.elapsed() < REFRESH) {
            return;
        }
        self.drawn = Some(Instant::now());
        let status = status();
        let mut texts = cameras(&status.cameras);
        texts.push(self.process(&status));
        while self.lines.len() > texts.len() {
            if let Some(line) = self.lines.pop() {
                line.finish_and_clear();
                self.all.remove(&line);
            }
        }
        while self.lines.len() < texts.len() {
            let line = self.all.add(ProgressBar::new_spinner());
            line.set_style(style("{wide_msg}"));
            self.lines.push(line);
        }
        for (line, text) in self.lines.iter().zip(texts) {
            line.set_message(text);
            line.tick();
        }
    }

    /// Lets something be printed above the lines.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.all.suspend(print)
    }

    pub(super) fn clear(&self) {
        // Fails only where the terminal is gone.
        let _ = self.all.clear();
    }

    fn process(&mut self, status: &Status) -> String {
        let (now, cpu) = (Instant::now(), status.process.cpu);
        let share = self.cpu.replace((now, cpu)).map_or(0.0, |(then, before)| {
            let seconds = now.saturating_duration_since(then).as_secs_f64();
            cpu.saturating_sub(before).as_secs_f64() / seconds.max(1e-3)
        });
        let mut text = format!(
            "{:.0} % of a core, {} MiB",
            share * 100.0,
            status.process.resident_bytes >> 20
        );
        if let Some(outbox) = &status.outbox {
            let waiting = counted(outbox.waiting, "upload", "uploads");
            text.push_str(&format!(", {waiting} waiting, {} sent", outbox.delivered));
            if outbox.given_up > 0 {
                text.push_str(&format!(", {} given up", outbox.given_up));
            }
        }
        text
    }
}

/// A line for each camera, in columns.
fn cameras(all: &[CameraStatus]) -> Vec<String> {
    let shown = |camera: &CameraStatus| printable(&camera.name);
    let width = all.iter().map(|camera| shown(camera).chars().count()).max().unwrap_or(0);
    all.iter().map(|camera| line(camera, &shown(camera), width.min(24))).collect()
}

fn line(camera: &CameraStatus, name: &str, width: usize) -> String {
    let mut text = format!(
        "{name:width$}  {:10}  {:4.1} fps  {:4.1} looks/s  {}",
        camera.state.as_str(),
        camera.frames_per_second,
        camera.looks_per_second,
        counted(camera.faces as u64, "face", "faces"),
    );
    let waiting: u64 = camera.queues.iter().map(|(_, level)| level).sum();
    text.push_str(&format!("  {waiting} queued"));
    if camera.open_clips > 0 {
        text.push_str(&format!("  {}", counted(camera.open_clips, "clip", "clips")));
    }
    if let Some(reason) = &camera.reason {
        text.push_str(&format!("  {}", printable(reason)));
    } else if !camera.names.is_empty() {
        text.push_str(&format!("  {}", printable(&camera.names.join(", "))));
    }
    text
}

#[cfg(test)]
mod tests {
    use face_pipeline::service::CameraState;

    use super::*;

    #[test]
    fn lines_of_cameras_stand_in_columns() {
        let door = CameraStatus {
            name: "door".into(),
            state: CameraState::Running,
            frames_per_second: 14.96,
            looks_per_second: 7.5,
            faces: 2,
            names: vec!["Ada \u{1b}[31m".into(), "Bob".into()],
            queues: vec![("arrived", 1), ("detected", 2)],
            ..CameraStatus::default()
        };
        let yard = CameraStatus {
            name: "back yard".into(),
            state: CameraState::Connecting,
            reason: Some("no route to host".into()),
            ..CameraStatus::default()
        };
        let lines = cameras(&[door, yard]);
        assert_eq!(
            lines,
            [
                "door       running     15.0 fps   7.5 looks/s  2 faces  3 queued  Ada \u{fffd}[31m, Bob",
                "back yard  connecting   0.0 fps   0.0 looks/s  0 faces  0 queued  no route to host",
            ]
        );
    }
}
