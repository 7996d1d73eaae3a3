//! `facectl gallery reject`: this is not them.

use std::path::PathBuf;

use anyhow::Context;
use face_core::gallery::{Access, Gallery, NewSample};
use face_core::loose::LooseFace;
use face_core::picture::Picture;
use face_core::recognizer::SampleRules;
use serde_json::json;

use super::Common;
use crate::gate::CropOptions;
use crate::options::ModelOptions;
use crate::output::Exit;

/// Say that a picture is not a person, though they were recognised on it
///
/// Faces nearer to a rejected picture than to the person's own pictures are not taken for them any
/// more. A picture that is rejected for a person cannot be enrolled for them again until it is
/// removed (remove-sample).
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Name or id
    #[arg(required_unless_present = "sample")]
    person: Option<String>,
    /// Picture with the face (JPEG, PNG, BMP, WebP)
    #[arg(required_unless_present = "sample")]
    picture: Option<PathBuf>,
    /// Reject a stored sample of its person; its number, from show
    #[arg(long, value_name = "N", conflicts_with_all = ["person", "picture"])]
    sample: Option<i64>,
    /// Take the largest face even if another is nearly as large
    #[arg(long)]
    largest: bool,
    #[command(flatten)]
    crops: CropOptions,
    #[command(flatten)]
    models: ModelOptions,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut roster = arguments.common.roster(Access::Write)?;
    if let Some(sample) = arguments.sample {
        let person_id = roster.reject_sample(sample)?;
        let person = roster.find(&person_id)?;
        let record = json!({
            "person_id": person.id, "name": person.name, "sample_id": sample, "added": true,
        });
        let text = format!("sample {sample} is not {}", person.name);
        return arguments.common.done(&record, &text);
    }
    let (Some(who), Some(path)) = (&arguments.person, &arguments.picture) else {
        anyhow::bail!("a person and a picture are needed, or --sample");
    };
    let person = roster.find(who)?;
    let mut recognizer = arguments.models.recognizer()?;
    let gallery = Gallery::open(roster.location(), recognizer.fingerprint(), Access::Write)?;
    let picture = Picture::open(path)?;
    let rules = SampleRules { largest: arguments.largest, ..SampleRules::COMPARISON };
    let sample = recognizer
        .sample(&picture.view(), &rules)
        .with_context(|| format!("look at '{}'", path.display()))?;
    let mut new = NewSample::new(sample.embedding, path.display().to_string());
    let store = arguments.crops.store_crops;
    new.crop_png = sample.crop.to_png().ok().filter(|_| store.aligned());
    let found = &sample.detection;
    let landmarks = found.landmarks.filter(|_| store.loose());
    let loose = landmarks.and_then(|l| LooseFace::cut(&picture.view(), &found.bbox, &l));
    new.loose = loose.and_then(|l| l.encode().ok());
    let added = gallery.reject(&person.id, &new)?;
    let record = json!({"person_id": person.id, "name": person.name, "added": added});
    let again = if added { "" } else { ", as was known" };
    arguments.common.done(&record, &format!("'{}' is not {}{again}", path.display(), person.name))
}
