//! What facectl says: lines and JSON on standard output, errors on standard error, the exit
//! status.

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::time::Duration;

use face_pipeline::service::config::ConfigError;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    /// It was carried out, and the answer is no: unusable input, a problem, another person.
    Negative,
    /// It could not be carried out; clap ends with the same status for wrong arguments.
    Error,
    /// SIGINT or SIGTERM ended it.
    Interrupted,
}

/// Status of a command that was interrupted, as shells have it: 128 and SIGINT's number.
pub(crate) const INTERRUPTED: u8 = 130;

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0u8,
            Exit::Negative => 1,
            Exit::Error => 2,
            Exit::Interrupted => INTERRUPTED,
        })
    }
}

/// The reader of standard output went away, as `head` does: the rest is not wanted.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
struct Closed;

/// Writes one line to standard output.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut line = String::with_capacity(text.len() + 1);
    line.push_str(text);
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(e) => Err(anyhow::Error::new(e).context("write to standard output")),
        Ok(()) => Ok(()),
    }
}

/// Writes one value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Reports what stopped the command.
pub(crate) fn failed(error: &anyhow::Error) -> Exit {
    // Also as it comes from `writeln!`. A cause further down may be a network's broken pipe.
    let pipe = error.downcast_ref::<std::io::Error>();
    if error.is::<Closed>() || pipe.is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) {
        return Exit::Success;
    }
    report(error.as_ref());
    Exit::Error
}

/// Prints an error with its causes to standard error; of a configuration, everything that is wrong on a
/// line of its own.
pub(crate) fn report(error: &(dyn Error + 'static)) {
    let line = |text: &str| note(printable(&format!("facectl: error: {text}")));
    match error.downcast_ref() {
        Some(ConfigError::Faults { path, faults }) => {
            for fault in faults {
                line(&fault.in_file(path));
            }
        }
        _ => line(&with_causes(error)),
    }
}

/// Prints a line beside the output proper. A closed standard error is no reason to fail.
pub(crate) fn note(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The texts of an error and its causes. Some errors repeat their cause in their own text.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// The text as it may be shown on a terminal: names of people and files come from others, and
/// must neither steer the terminal nor reorder the line. JSON has them unchanged.
pub(crate) fn printable(text: &str) -> String {
    let harmless = |c: char| {
        let steers = c.is_control();
        let reorders = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}');
        let breaks = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
        if steers || reorders || breaks { char::REPLACEMENT_CHARACTER } else { c }
    };
    text.chars().map(harmless).collect()
}

/// "1 picture", "2 pictures".
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A progress bar on standard error; hidden when that is no terminal.
pub(crate) fn progress(pictures: usize) -> ProgressBar {
    let bar = ProgressBar::new(pictures as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar} {pos}/{len} pictures, {per_sec:.1}, {eta} left")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_the_terminal_or_reorder_the_line() {
        assert_eq!(
            printable("a\u{1b}[31m\u{202e}b\r\n\u{9b}"),
            "a\u{fffd}[31m\u{fffd}b\u{fffd}\u{fffd}\u{fffd}"
        );
        for name in ["O'Brien \"x\"", "Ольга", "عبد الله", "王小明", "👩🏽‍🚀"]
        {
            assert_eq!(printable(name), name);
        }
    }

    #[test]
    fn causes_follow_their_error_once() {
        let io = std::io::Error::other("disk is gone");
        let error = anyhow::Error::new(io).context("read x").context("enrol");
        assert_eq!(with_causes(error.as_ref()), "enrol: read x: disk is gone");
        let repeated = anyhow::anyhow!("no room").context("write x: no room");
        assert_eq!(with_causes(repeated.as_ref()), "write x: no room");
    }
}
