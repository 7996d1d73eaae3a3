//! `facectl clips get`, `play`, `link` and `export`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use face_core::clip::{Clip, Clips, Part, utc};
use face_core::storage::LINK_EXPIRY;
use serde_json::json;

use super::{Choice, Common, Watch, chosen, size};
use crate::gallery::edit::duration;
use crate::output::{self, Exit, counted, printable};

/// What of a clip.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// The video
    Original,
    /// The video with faces drawn into it
    Annotated,
    /// What is known of it
    Json,
    /// The best shot
    Snapshot,
}

impl From<Which> for Part {
    fn from(which: Which) -> Self {
        match which {
            Which::Original => Self::Original,
            Which::Annotated => Self::Annotated,
            Which::Json => Self::Sidecar,
            Which::Snapshot => Self::Snapshot,
        }
    }
}

/// A clip that is named, and what of it.
#[derive(Debug, clap::Args)]
struct Named {
    /// Key of any part of the clip, or what the keys begin with, as list shows it
    clip: String,
    /// What of it
    #[arg(long, value_enum, default_value_t = Which::Original)]
    part: Which,
}

/// Download a clip, or what belongs to it
#[derive(Debug, clap::Args)]
#[command(after_help = "With --json, one object: file, bytes, sha256.")]
pub(super) struct GetArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    named: Named,
    /// File to write, or a folder [default: the name of the object, here]
    #[arg(long, short, value_name = "PATH")]
    out: Option<PathBuf>,
}

/// Play a clip
///
/// It is downloaded into a temporary file first: the address of a link does not belong on command
/// lines, which everybody on the machine sees.
#[derive(Debug, clap::Args)]
pub(super) struct PlayArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    named: Named,
    /// Program that gets the file as its argument [default: GStreamer's playbin, by gst-launch-1.0]
    #[arg(long, value_name = "PROGRAM")]
    player: Option<PathBuf>,
}

/// Print a link by which anybody can fetch a clip for a while
///
/// The link of a clip in a folder is its file:// address, which does not expire.
#[derive(Debug, clap::Args)]
#[command(after_help = "With --json, one object: url, expires.")]
pub(super) struct LinkArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    named: Named,
    /// How long it is good, at most 7d: 90m, 12h or 2d [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires: Option<Duration>,
}

/// Download clips with all that belongs to them, under their keys
///
/// Videos that are there with the same size are not fetched again.
#[derive(Debug, clap::Args)]
#[command(after_help = "With --json, one object: clips, objects, bytes.")]
pub(super) struct ExportArguments {
    #[command(flatten)]
    common: Common,
    /// Folder to write to; created if it is missing
    #[arg(long, short, value_name = "FOLDER")]
    out: PathBuf,
    /// Clips, as list shows them; without, all that fit the options
    clips: Vec<String>,
    #[command(flatten)]
    choice: Choice,
}

fn download(clips: &Clips, clip: &Clip, part: Part, path: &Path) -> anyhow::Result<(u64, String)> {
    let watch = Watch::start("bytes")?;
    let stored = clips.download(clip, part, path, &mut |done, total| watch.step(done, total))?;
    Ok((stored.size, stored.sha256))
}

pub(super) fn get(arguments: &GetArguments) -> anyhow::Result<Exit> {
    let clips = arguments.common.clips()?;
    let clip = clips.find(&arguments.named.clip)?;
    let part: Part = arguments.named.part.into();
    let name = clip.stem.rsplit('/').next().unwrap_or(&clip.stem);
    let name = format!("{name}{}", part.ending());
    let path = match &arguments.out {
        Some(path) if path.is_dir() => path.join(name),
        Some(path) => path.clone(),
        None => PathBuf::from(name),
    };
    let (bytes, sha256) = download(&clips, &clip, part, &path)?;
    let shown = path.display().to_string();
    let record = json!({"file": shown, "bytes": bytes, "sha256": sha256});
    arguments.common.done(&record, &shown)
}

pub(super) fn play(arguments: &PlayArguments) -> anyhow::Result<Exit> {
    let clips = arguments.common.clips()?;
    let clip = clips.find(&arguments.named.clip)?;
    let part: Part = arguments.named.part.into();
    // Readable to its owner only, and gone when it was played, or could not be: it shows people.
    let folder = tempfile::tempdir().context("create a temporary folder")?;
    let file = folder.path().join(format!("clip{}", part.ending()));
    download(&clips, &clip, part, &file)?;
    let mut command = match &arguments.player {
        Some(player) => Command::new(player),
        None => Command::new("gst-launch-1.0"),
    };
    match arguments.player {
        Some(_) => command.arg(&file),
        None => command.args(["-q", "playbin"]).arg(format!("uri=file://{}", file.display())),
    };
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("start the player '{program}'"))?;
    if !status.success() {
        bail!("the player '{program}' ended with {status}");
    }
    Ok(Exit::Success)
}

pub(super) fn link(arguments: &LinkArguments) -> anyhow::Result<Exit> {
    let clips = arguments.common.clips()?;
    let clip = clips.find(&arguments.named.clip)?;
    let expiry = arguments.expires.unwrap_or(LINK_EXPIRY);
    let link = clips.link(&clip, arguments.named.part.into(), expiry)?;
    let expires = link.expires.map(utc::format);
    if arguments.common.json {
        output::json(&json!({"url": link.url, "expires": expires}))?;
    } else {
        output::line(&link.url)?;
        if let Some(expires) = expires {
            output::note(format!("good until {expires}"));
        }
    }
    Ok(Exit::Success)
}

pub(super) fn export(arguments: &ExportArguments) -> anyhow::Result<Exit> {
    let clips = arguments.common.clips()?;
    let found = if arguments.clips.is_empty() {
        chosen(&clips, &arguments.choice.filter())?
    } else {
        arguments.clips.iter().map(|key| clips.find(key)).collect::<Result<_, _>>()?
    };
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("create '{}'", arguments.out.display()))?;
    let watch = Watch::start("clips")?;
    let report = clips.export(&found, &arguments.out, &mut watch.steps())?;
    drop(watch);
    let record = json!({
        "clips": report.clips, "objects": report.objects, "bytes": report.bytes,
    });
    let count = counted(report.clips as u64, "clip", "clips");
    let out = arguments.out.display().to_string();
    arguments
        .common
        .done(&record, &printable(&format!("{count}, {}, in {out}", size(report.bytes))))
}
