//! Programs that are given a message.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::courier::Outcome;
use super::entry::{EntryId, Exec};

/// How often is looked whether the program has ended.
const POLL: Duration = Duration::from_millis(20);
/// Bytes of what the program said that an error repeats.
const LAST_WORDS: u64 = 300;

/// Runs the program with `message` on its standard input, and waits for its end.
///
/// The message comes from a file without a name, and what it says goes to one: with pipes a program
/// that leaves its input alone, or children that outlive it, could hold up the sender for ever.
pub(super) fn run(exec: &Exec, id: &EntryId, message: &str, stop: &dyn Fn() -> bool) -> Outcome {
    let program = exec.program.display();
    let files = input(message).and_then(|input| Ok((input, tempfile::tempfile()?)));
    let (input, words) = match files {
        Ok(files) => files,
        Err(error) => {
            return Outcome::retry(format!("cannot prepare the input of '{program}': {error}"));
        }
    };
    let said = match words.try_clone() {
        Ok(said) => said,
        Err(error) => return Outcome::retry(format!("cannot start '{program}': {error}")),
    };
    let child = Command::new(&exec.program)
        .args(&exec.args)
        .env("GST_FACE_OUTBOX_ID", id.as_str())
        .stdin(Stdio::from(input))
        .stdout(Stdio::null())
        .stderr(Stdio::from(said))
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        // It may be installed later; who gives up is the age limit.
        Err(error) => return Outcome::retry(format!("cannot start '{program}': {error}")),
    };
    match wait(&mut child, exec.timeout, stop) {
        Ended::Status(status) if status.success() => Outcome::Delivered(None),
        Ended::Status(status) => {
            let words = last_words(words);
            Outcome::retry(format!("'{program}' ended with {status}{words}"))
        }
        Ended::Late => {
            let seconds = exec.timeout.as_secs_f64();
            Outcome::retry(format!("'{program}' did not end within {seconds} s and was killed"))
        }
        Ended::Stopped => Outcome::Cancelled,
        Ended::Lost(error) => Outcome::retry(format!("cannot wait for '{program}': {error}")),
    }
}

fn input(message: &str) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(message.as_bytes())?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

enum Ended {
    Status(ExitStatus),
    Late,
    Stopped,
    Lost(std::io::Error),
}

fn wait(child: &mut Child, timeout: Duration, stop: &dyn Fn() -> bool) -> Ended {
    let started = Instant::now();
    let why = loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ended::Status(status),
            Ok(None) => {}
            Err(error) => break Ended::Lost(error),
        }
        if started.elapsed() >= timeout {
            break Ended::Late;
        }
        if stop() {
            break Ended::Stopped;
        }
        std::thread::sleep(POLL);
    };
    // It may have ended just now: then there is nobody to kill.
    let _ = child.kill();
    let _ = child.wait();
    why
}

/// The end of what the program wrote to standard error, in one line.
fn last_words(mut file: File) -> String {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS)))
        .and_then(|_| file.take(LAST_WORDS).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.trim() {
        "" => String::new(),
        text if read.is_ok() => format!(": {text}"),
        _ => String::new(),
    }
}
