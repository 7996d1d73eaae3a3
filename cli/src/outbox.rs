//! `facectl outbox`: what waits to leave this machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use clap::Subcommand;
use face_core::clip::utc;
use face_core::outbox::{Courier, Item, ItemState, Outbox, SPOOL_VARIABLE, default_spool};
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::gallery::Consent;
use crate::output::{self, Exit, counted, printable};

/// Show and send what waits to leave this machine: clips, webhooks, MQTT messages, commands
///
/// Elements write into a spool what they store and whom they tell, and send it in the background.
/// What they could not send yet is listed and sent here.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(ListArguments),
    Flush(FlushArguments),
    Retry(RetryArguments),
    Drop(DropArguments),
}

/// Options of every command here.
#[derive(Debug, clap::Args)]
struct Common {
    /// The spool folder [default: GST_FACE_SPOOL, else gst-face/spool in the folder for the user's
    /// state]
    #[arg(long, value_name = "FOLDER")]
    spool: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show what waits, the oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object per entry: id, kind, state, target, key, after, created, attempts, next_try,
last_error, bytes.

States: waiting; blocked by another entry, which goes first; failed for good and kept; unreadable
because the file is broken or of a newer version.

Exit status: 0 nothing has failed and nothing is unreadable, 1 something is, 2 the spool cannot be read.")]
struct ListArguments {
    #[command(flatten)]
    common: Common,
}

/// Send all that waits now
///
/// Every entry is tried once, without waiting for its time; if a storage or a server turns out to be
/// away, what is for it stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object: delivered, remaining, unreadable.

Exit status: 0 nothing is left, 1 something is, 2 it could not be tried, such as while another process
sends from the spool, 130 it was interrupted.")]
struct FlushArguments {
    #[command(flatten)]
    common: Common,
}

/// Make entries due now that failed
///
/// What they wait for is made due with them. They are sent by whoever sends from the spool, or by
/// flush.
#[derive(Debug, clap::Args)]
#[command(after_help = "With --json, one object: entries.")]
struct RetryArguments {
    #[command(flatten)]
    common: Common,
    /// As list shows them
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Remove entries that are not to be sent
///
/// The file of a clip goes, too. What waits for it fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "With --json, one object: entries.")]
struct DropArguments {
    #[command(flatten)]
    common: Common,
    /// As list shows them
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    match &arguments.action {
        Action::List(arguments) => list(arguments),
        Action::Flush(arguments) => flush(arguments),
        Action::Retry(arguments) => retry(arguments),
        Action::Drop(arguments) => drop_entries(arguments),
    }
}

impl Common {
    fn outbox(&self) -> anyhow::Result<Outbox> {
        let spool = self.spool.clone().or_else(default_spool);
        let spool = spool.ok_or_else(|| {
            anyhow!("no spool is named: give --spool FOLDER, or set {SPOOL_VARIABLE}")
        })?;
        Outbox::existing(&spool).context("open the outbox")
    }
}

/// An entry in JSON.
#[derive(Debug, Serialize)]
struct Record<'a> {
    id: &'a str,
    kind: &'a str,
    state: ItemState,
    target: &'a str,
    key: Option<&'a str>,
    after: Option<&'a str>,
    created: Option<String>,
    attempts: u32,
    next_try: Option<String>,
    last_error: Option<&'a str>,
    bytes: u64,
}

impl<'a> Record<'a> {
    fn new(item: &'a Item) -> Self {
        Self {
            id: &item.id,
            kind: &item.kind,
            state: item.state,
            target: &item.target,
            key: item.key.as_deref(),
            after: item.after.as_deref(),
            created: item.created.map(utc::format),
            attempts: item.attempts,
            next_try: item.next_try.map(utc::format),
            last_error: item.last_error.as_deref(),
            bytes: item.bytes,
        }
    }
}

fn list(arguments: &ListArguments) -> anyhow::Result<Exit> {
    let items = arguments.common.outbox()?.list()?;
    let now = SystemTime::now();
    let bad = |item: &Item| matches!(item.state, ItemState::Failed | ItemState::Unreadable);
    for item in &items {
        if arguments.common.json {
            output::json(&Record::new(item))?;
        } else {
            for text in lines(item, now) {
                output::line(&printable(&text))?;
            }
        }
    }
    if !arguments.common.json {
        let bytes = BinaryBytes(items.iter().map(|item| item.bytes).sum());
        let entries = counted(items.len() as u64, "entry", "entries");
        output::line(&format!("{entries}, {bytes}"))?;
    }
    Ok(if items.iter().any(bad) { Exit::Negative } else { Exit::Success })
}

/// An entry for people: what and where, then how it is doing.
fn lines(item: &Item, now: SystemTime) -> Vec<String> {
    let mut lines = vec![format!("{}  {} to {}", item.id, item.kind, item.target)];
    let mut words = vec![item.state.as_str().to_owned()];
    if item.bytes > 0 {
        words.push(BinaryBytes(item.bytes).to_string());
    }
    if let Some(created) = item.created {
        words.push(format!("{} old", span(now.duration_since(created).unwrap_or_default())));
    }
    if item.attempts > 0 {
        words.push(counted(item.attempts.into(), "attempt", "attempts"));
    }
    match (item.state, item.next_try) {
        (ItemState::Waiting, Some(next)) => words.push(match next.duration_since(now) {
            Ok(wait) if !wait.is_zero() => format!("next in {}", span(wait)),
            _ => "due".to_owned(),
        }),
        (ItemState::Blocked, _) => {
            words.push(format!("after {}", item.after.as_deref().unwrap_or("?")));
        }
        _ => {}
    }
    lines.push(format!("    {}", words.join(", ")));
    lines.extend(item.last_error.iter().map(|error| format!("    {error}")));
    lines
}

/// "42 s", "7 min", "3 h", "12 d".
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn flush(arguments: &FlushArguments) -> anyhow::Result<Exit> {
    let outbox = arguments.common.outbox()?;
    let courier = Courier::new(&outbox)?;
    let stop = Arc::new(AtomicBool::new(false));
    crate::analyze::catch_signals(&stop)?;
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} entries") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    let mut progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let flushed = courier.flush(&mut progress, &|| stop.load(Ordering::SeqCst));
    bar.finish_and_clear();
    let flushed = flushed?;
    let unreadable = outbox.stats().unreadable;
    let remaining = flushed.remaining.len() as u64;
    if arguments.common.json {
        output::json(&json!({
            "delivered": flushed.delivered, "remaining": remaining, "unreadable": unreadable,
        }))?;
    } else {
        for item in &flushed.remaining {
            let why = item.last_error.as_deref().unwrap_or("not tried");
            output::note(printable(&format!("{}  {}: {why}", item.id, item.target)));
        }
        let delivered = counted(flushed.delivered, "entry", "entries");
        output::line(&format!("{delivered} delivered, {remaining} left, {unreadable} unreadable"))?;
    }
    Ok(match (stop.load(Ordering::SeqCst), remaining + unreadable) {
        (true, _) => Exit::Interrupted,
        (false, 0) => Exit::Success,
        (false, _) => Exit::Negative,
    })
}

fn retry(arguments: &RetryArguments) -> anyhow::Result<Exit> {
    let outbox = arguments.common.outbox()?;
    for id in &arguments.ids {
        outbox.retry(id)?;
    }
    done(&arguments.common, arguments.ids.len(), "due")
}

fn drop_entries(arguments: &DropArguments) -> anyhow::Result<Exit> {
    let outbox = arguments.common.outbox()?;
    let items = outbox.list()?;
    if let Some(id) = arguments.ids.iter().find(|id| !items.iter().any(|item| item.id == **id)) {
        return Err(anyhow!("the spool has no entry '{id}'"));
    }
    let what = counted(arguments.ids.len() as u64, "entry", "entries");
    if !arguments.consent.given(&format!("drop {what} undelivered"))? {
        return Ok(Exit::Negative);
    }
    for id in &arguments.ids {
        outbox.drop_entry(id)?;
    }
    done(&arguments.common, arguments.ids.len(), "dropped")
}

fn done(common: &Common, count: usize, what: &str) -> anyhow::Result<Exit> {
    if common.json {
        output::json(&json!({ "entries": count }))?;
    } else {
        output::line(&format!("{} {what}", counted(count as u64, "entry", "entries")))?;
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (seconds, text) in
            [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 d")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
