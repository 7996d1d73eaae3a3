//! `facectl clips list`.

use face_core::clip::{Clip, Part, SidecarState, utc};

use super::{Choice, Common, Record, chosen, size};
use crate::gallery::table;
use crate::output::{self, Exit, counted};

/// List clips, the newest first
///
/// A clip without a readable sidecar is listed, too; who is on it is not known.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object per clip and line: clip (what its keys begin with), camera, start, event, \
events, duration_s, people (name, person_id), truncated, bytes, original, json, annotated, \
snapshot (keys), sidecar (read, missing or broken), sidecar_error.")]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let clips = arguments.common.clips()?;
    let found = chosen(&clips, &arguments.choice.filter())?;
    if arguments.common.json {
        for clip in &found {
            output::json(&Record::new(clip))?;
        }
        return Ok(Exit::Success);
    }
    let header = ["START", "SECONDS", "SIZE", "PARTS", "CAMERA", "EVENT", "PEOPLE", "CLIP"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(found.iter().map(row));
    table(&rows)?;
    let bytes = found.iter().map(Clip::bytes).sum();
    let count = counted(found.len() as u64, "clip", "clips");
    output::line(&format!("{count}, {}", size(bytes)))?;
    Ok(Exit::Success)
}

fn row(clip: &Clip) -> [String; 8] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let parts = [
        (Part::Original, 'v'),
        (Part::Annotated, 'a'),
        (Part::Sidecar, 'j'),
        (Part::Snapshot, 's'),
    ];
    let letter = |(part, letter)| if clip.part(part).is_some() { letter } else { '-' };
    let people = match &clip.sidecar {
        SidecarState::Read(summary) => {
            let name = |(name, id): &(String, String)| {
                if name.is_empty() { id.clone() } else { name.clone() }
            };
            summary.people.iter().map(name).collect::<Vec<_>>().join(", ")
        }
        SidecarState::Missing => "? (no sidecar)".to_owned(),
        SidecarState::Broken(_) => "? (broken sidecar)".to_owned(),
    };
    [
        utc::format(clip.start),
        clip.summary().map_or("-".to_owned(), |s| format!("{:.1}", s.duration.as_secs_f64())),
        size(clip.bytes()),
        parts.map(letter).iter().collect(),
        or_dash(&clip.camera),
        or_dash(&clip.event),
        if people.is_empty() { "-".to_owned() } else { people },
        clip.stem.clone(),
    ]
}
