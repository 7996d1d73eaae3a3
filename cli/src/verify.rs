//! `facectl verify`: are two pictures of one person?

use std::path::{Path, PathBuf};

use anyhow::Context;
use face_core::embed::Embedding;
use face_core::picture::Picture;
use face_core::recognizer::{Recognizer, SampleRules};
use serde::Serialize;

use crate::options::{ModelOptions, similarity};
use crate::output::{self, Exit};

/// Say whether two pictures show the same person
///
/// Compares the largest face of each picture. A picture whose second face has 60 % of its area or
/// more is an error, because it is not clear who is meant (see --largest).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object: similarity (cosine, -1 to 1), same, threshold.

Exit status, as of cmp: 0 the same person, 1 different people, 2 no answer.")]
pub(crate) struct Arguments {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Take the largest face even if another is nearly as large
    #[arg(long)]
    largest: bool,
    /// Least cosine similarity of one person [default: the embedder's own]
    #[arg(long, value_name = "T", value_parser = similarity, allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// The first picture (JPEG, PNG, BMP, WebP)
    a: PathBuf,
    /// The second picture
    b: PathBuf,
    #[command(flatten)]
    models: ModelOptions,
}

#[derive(Debug, Serialize)]
struct Answer {
    similarity: f32,
    same: bool,
    threshold: f32,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut recognizer = arguments.models.recognizer()?;
    let rules = SampleRules { largest: arguments.largest, ..SampleRules::COMPARISON };
    let a = embedding(&mut recognizer, &arguments.a, &rules)?;
    let b = embedding(&mut recognizer, &arguments.b, &rules)?;
    let threshold = arguments.threshold.unwrap_or(recognizer.embedder().threshold);
    let similarity = a.cosine(&b).context("the embeddings differ in dimension")?;
    let same = similarity >= threshold;
    if arguments.json {
        output::json(&Answer { similarity, same, threshold })?;
    } else {
        let (verdict, sign) = if same { ("same person", ">=") } else { ("different people", "<") };
        output::line(&format!("{verdict}: similarity {similarity:.3} {sign} {threshold:.3}"))?;
    }
    Ok(if same { Exit::Success } else { Exit::Negative })
}

fn embedding(
    recognizer: &mut Recognizer,
    path: &Path,
    rules: &SampleRules,
) -> anyhow::Result<Embedding> {
    let picture = Picture::open(path)?;
    let sample = recognizer.sample(&picture.view(), rules);
    Ok(sample.with_context(|| format!("compare '{}'", path.display()))?.embedding)
}
