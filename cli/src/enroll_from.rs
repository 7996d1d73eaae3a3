//! `facectl enroll --from`: tracks of an analysis, by the samples that are in it, or of a stored clip.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use face_core::clip::{Clip, Clips};
use face_core::embed::Embedder;
use face_core::gallery::{Access, Gallery, GalleryError, Location};
use face_core::loose::StoreCrops;
use face_core::model::Task;
use face_core::recognizer::{EnrollError, EnrollRules};
use face_pipeline::{
    AnalysisFile, AnalyzeOptions, PendingFile, Sheet, analyze_clip, enroll_from_analysis,
};

use crate::analyze::{recognition, show_clip, watched};
use crate::enroll::{Totals, Verdict};
use crate::options::ModelOptions;
use crate::output::{self, Exit, printable};
use crate::stored::{self, Video};

/// Which tracks of which analysis; part of the arguments of `facectl enroll`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Analysis")]
pub(crate) struct FromArguments {
    /// Enrol tracks of an analysis, as analyze --json --samples writes it, instead of pictures; or of
    /// a stored clip, which is analysed for it: its key with --storage or GST_FACE_STORAGE, or its
    /// address, s3://BUCKET/KEY?… or file:///FOLDER/KEY
    #[arg(long, value_name = "ANALYSIS.json|KEY",
          conflicts_with_all = ["from_video", "largest", "paths"])]
    pub(crate) from: Option<PathBuf>,
    /// What --from names is a clip of this storage: s3://BUCKET/PREFIX?…, file:///FOLDER or a folder
    #[arg(long, value_name = "URI", requires = "from",
          conflicts_with_all = ["paths", "from_video"])]
    pub(crate) storage: Option<String>,
    /// Number of a track that shows the person; may be given several times
    #[arg(long, value_name = "N", requires_all = ["from", "name"],
          conflicts_with_all = ["paths", "from_video"])]
    pub(crate) track: Vec<u64>,
    /// Number of a group whose tracks show the person; may be given several times
    #[arg(long, value_name = "N", requires_all = ["from", "name"],
          conflicts_with_all = ["paths", "from_video"])]
    pub(crate) group: Vec<u64>,
    /// Write a contact sheet of the analysis, to choose tracks by eye; without --name that is all
    #[arg(long, value_name = "OUT.png", requires = "from",
          conflicts_with_all = ["paths", "from_video"])]
    pub(crate) sheet: Option<PathBuf>,
}

/// Whose samples they are, and where they go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) gallery: Option<&'a Location>,
    pub(crate) name: Option<&'a str>,
}

/// Draws the contact sheet, or enrols and prints a line per sample, or both. Status 0 if one of the
/// samples is in the gallery now.
pub(crate) fn run(
    arguments: &FromArguments,
    from: &Path,
    named: Named<'_>,
    as_json: bool,
    models: &ModelOptions,
    rules: EnrollRules,
) -> anyhow::Result<Exit> {
    let chosen = !arguments.track.is_empty() || !arguments.group.is_empty();
    let wanted = match (named.name, named.gallery) {
        (None, _) if arguments.sheet.is_none() => bail!(
            "say whom to enrol: --name NAME with --track N or --group N; --sheet OUT.png draws the \
             tracks to choose from"
        ),
        (None, _) => None,
        (Some(name), _) if !chosen => {
            bail!("say which tracks show '{name}': --track N or --group N")
        }
        (Some(name), None) => bail!("say in which gallery to enrol '{name}': --gallery FILE"),
        (Some(name), Some(gallery)) => Some((name, gallery)),
    };
    if rules.store_crops == StoreCrops::Loose {
        bail!(
            "an analysis has aligned faces and no loose ones: give --store-crops aligned or never, \
             or enrol from the video with --from-video"
        );
    }
    let Some(file) = analysis(from, arguments.storage.as_deref(), models)? else {
        return Ok(Exit::Interrupted);
    };
    if let Some(path) = &arguments.sheet {
        draw(&file, from, path)?;
    }
    match wanted {
        Some((name, gallery)) => {
            let samples = file.samples(&arguments.track, &arguments.group)?;
            enroll((name, gallery), &samples, as_json, models, &rules)
        }
        None => Ok(Exit::Success),
    }
}

/// The analysis of that name, or of the clip of that name; `None` if SIGINT or SIGTERM came.
fn analysis(
    from: &Path,
    storage: Option<&str>,
    models: &ModelOptions,
) -> anyhow::Result<Option<AnalysisFile>> {
    match stored::find("analysis", from, storage)? {
        Video::File(path) => Ok(Some(AnalysisFile::read(&path)?)),
        Video::Clip(clips, clip) => analyzed(&clips, &clip, models),
    }
}

/// Analyses a clip with samples and groups. No gallery has a part in it, so that the numbers of
/// tracks are the same whenever they are asked for, whoever was enrolled meanwhile.
fn analyzed(
    clips: &Clips,
    clip: &Clip,
    models: &ModelOptions,
) -> anyhow::Result<Option<AnalysisFile>> {
    let options = AnalyzeOptions {
        recognition: recognition(models),
        samples: true,
        group: true,
        ..AnalyzeOptions::default()
    };
    let twin = false;
    let done = watched(show_clip, |progress| analyze_clip(clips, clip, &options, twin, progress))?;
    let Some(done) = done else { return Ok(None) };
    for warning in &done.analysis.warnings {
        output::note(format_args!("facectl: warning: {}", printable(warning)));
    }
    Ok(Some(AnalysisFile::new(clip.stem.clone(), done.analysis)))
}

fn draw(file: &AnalysisFile, from: &Path, path: &Path) -> anyhow::Result<()> {
    let same = path.canonicalize().ok().zip(from.canonicalize().ok()).is_some_and(|(a, b)| a == b);
    if same {
        bail!("write '{}': it is the analysis itself", path.display());
    }
    let mut target = PendingFile::create(path)?;
    let sheet = Sheet::draw(file.analysis())?;
    if let Some(warning) = sheet.warning() {
        output::note(format_args!("facectl: warning: {}", printable(&warning)));
    }
    target.write(&sheet.png)?;
    Ok(target.commit()?)
}

fn enroll(
    (name, gallery): (&str, &Location),
    samples: &[face_pipeline::AnalysisSample],
    as_json: bool,
    models: &ModelOptions,
    rules: &EnrollRules,
) -> anyhow::Result<Exit> {
    let model = models.resolve(Task::Embedder)?;
    let mut embedder = Embedder::load(&model, &models.pools()).context("load the model")?;
    let gallery = Gallery::open(gallery, embedder.fingerprint(), Access::Create)?;
    let done = enroll_from_analysis(&gallery, &mut embedder, name, samples, rules);
    let done = done.map_err(|error| match error {
        EnrollError::Gallery(error) => anyhow::Error::new::<GalleryError>(error),
        error => anyhow::Error::new(error).context(format!("enrol '{name}'")),
    })?;
    let mut totals = Totals::default();
    for enrolment in done {
        let verdict = Verdict::of(enrolment, true)?;
        totals.count(&verdict);
        verdict.print(as_json)?;
    }
    totals.end(&gallery, ("sample", "samples"), as_json)
}
