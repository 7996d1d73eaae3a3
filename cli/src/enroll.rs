//! `facectl enroll`: from pictures to people of a gallery.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use face_core::gallery::{Access, Gallery, GalleryError, Location};
use face_core::picture::FILE_ENDINGS;
use face_core::recognizer::{EnrollError, EnrollRules, Enrolment};
use serde::Serialize;

use crate::enroll_from::{self, FromArguments};
use crate::enroll_video::{self, VideoArguments};
use crate::gate::{CropOptions, GateOptions};
use crate::options::ModelOptions;
use crate::output::{self, Exit, counted, printable};

/// Enrol people from pictures
///
/// Of each picture the largest face that is good enough is stored under the name: at least 48
/// pixels wide and found with a score of at least .7. A picture whose second face has 60 % of its
/// area or more is rejected, because it is not clear who is meant (see --largest). So is a face
/// that is blurred, too dark or too bright, turned away, nearly the same as one that the person
/// has, unlike all of theirs, or nearer to another person: one poor picture draws strangers towards
/// its person. --force enrols it all the same.
///
/// Prints a verdict per picture: enrolled, duplicate (the very same face was there already), or
/// rejected with the reason: unreadable, no-face, several-faces, small-face, low-score,
/// no-landmarks, no-embedding, dark, bright, low-contrast, blurred, pose, near-duplicate, outlier,
/// conflict or refused-name. Every picture is stored by itself: what was enrolled before an
/// interruption stays, and enrolling again goes on from there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 if every picture could be read and at least one is in the gallery now, 1 if not, 2 \
if the command could not be carried out.")]
pub(crate) struct Arguments {
    /// Gallery file, or postgresql://ROLE@HOST/DATABASE of a shared gallery; made, readable by you
    /// only, if there is none
    #[arg(long, short, value_name = "FILE", required_unless_present = "sheet")]
    gallery: Option<Location>,
    /// Whose pictures these are. Without it, give folders with one sub-folder of pictures per
    /// person, named after them
    #[arg(long, short)]
    name: Option<String>,
    /// Take the largest face even if another is nearly as large
    #[arg(long)]
    largest: bool,
    /// Enrol what would be rejected, too, of each picture the largest face, of a video every one;
    /// not what has no face
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    crops: CropOptions,
    /// Print one JSON object per picture: file, name, verdict, reason, detail, person_id; with
    /// --from the same per sample, file being video, track and time; with --from-video per person: name, verdict, pictures, samples, first_pts_ns, rejected (pts_ns,
    /// reason, detail of pictures that the gate refused)
    #[arg(long)]
    json: bool,
    /// Pictures (JPEG, PNG, BMP, WebP); without --name: folders of the form DIR/NAME/PICTURE
    #[arg(required_unless_present_any = ["from_video", "from"], value_name = "PICTURE|DIR")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    quality: GateOptions,
    #[command(flatten)]
    video: VideoArguments,
    #[command(flatten)]
    from: FromArguments,
    #[command(flatten)]
    models: ModelOptions,
}

/// A picture and whose it is.
struct Candidate {
    name: String,
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Enrolled,
    Duplicate,
    Rejected,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Enrolled => "enrolled",
            Outcome::Duplicate => "duplicate",
            Outcome::Rejected => "rejected",
        }
    }
}

/// What became of a picture.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    file: String,
    name: String,
    verdict: Outcome,
    /// In one word, for machines.
    reason: Option<&'static str>,
    /// The same for people.
    detail: Option<String>,
    person_id: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Totals {
    pictures: usize,
    enrolled: usize,
    duplicates: usize,
    unreadable: usize,
}

impl Arguments {
    fn rules(&self) -> EnrollRules {
        EnrollRules {
            sample: self.quality.sample_rules(self.largest),
            gate: self.quality.gate(),
            force: self.force,
            store_crops: self.crops.store_crops,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let Arguments { gallery, json, models, name, .. } = arguments;
    if let Some(from) = &arguments.from.from {
        let named = enroll_from::Named { gallery: gallery.as_ref(), name: name.as_deref() };
        let rules = arguments.rules();
        return enroll_from::run(&arguments.from, from, named, *json, models, rules);
    }
    // Without it clap lets only --from pass.
    let gallery = gallery.as_ref().context("--gallery is missing")?;
    if let Some(video) = &arguments.video.from_video {
        let rules = arguments.rules();
        return enroll_video::run(&arguments.video, video, gallery, *json, models, rules);
    }
    let candidates = match name {
        Some(name) => named_candidates(name, &arguments.paths)?,
        None => folder_candidates(&arguments.paths)?,
    };
    let mut recognizer = models.recognizer()?;
    let gallery = Gallery::open(gallery, recognizer.fingerprint(), Access::Create)?;
    let rules = arguments.rules();
    let bar = output::progress(candidates.len());
    let mut totals = Totals::default();
    let pictures = candidates.into_iter().map(|candidate| (candidate.name, candidate.path));
    let result = recognizer.enroll_batch(&gallery, pictures, &rules, |enrolment| {
        let verdict = Verdict::of(enrolment, name.is_some())?;
        totals.count(&verdict);
        bar.suspend(|| verdict.print(*json))?;
        bar.inc(1);
        anyhow::Ok(())
    });
    bar.finish_and_clear();
    result?;
    totals.end(&gallery, ("picture", "pictures"), *json)
}

fn named_candidates(name: &str, paths: &[PathBuf]) -> anyhow::Result<Vec<Candidate>> {
    if let Some(folder) = paths.iter().find(|p| p.is_dir()) {
        bail!(
            "'{}' is a folder: give the pictures of '{name}' one by one, or leave --name away for \
             folders of the form DIR/NAME/PICTURE",
            folder.display()
        );
    }
    let candidate = |path: &PathBuf| Candidate { name: name.to_owned(), path: path.clone() };
    Ok(paths.iter().map(candidate).collect())
}

/// The pictures of DIR/NAME/PICTURE, sorted, hidden files and folders left out.
fn folder_candidates(paths: &[PathBuf]) -> anyhow::Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for folder in paths {
        if !folder.is_dir() {
            bail!(
                "'{}' is not a folder: say whose picture it is with --name NAME, or give a folder \
                 of the form DIR/NAME/PICTURE",
                folder.display()
            );
        }
        let before = candidates.len();
        for person in entries(folder)?.into_iter().filter(|p| p.is_dir()) {
            let name = person.file_name().and_then(OsStr::to_str);
            let name = name.with_context(|| {
                format!("the name of folder '{}' is not UTF-8: rename it", person.display())
            })?;
            let pictures = entries(&person)?.into_iter().filter(|p| is_picture(p));
            candidates.extend(pictures.map(|path| Candidate { name: name.to_owned(), path }));
        }
        if candidates.len() == before {
            bail!(
                "no pictures in '{}': one sub-folder per person is expected, named after them, \
                 with pictures ending in {}",
                folder.display(),
                FILE_ENDINGS.join(", ")
            );
        }
    }
    Ok(candidates)
}

pub(crate) fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = read().with_context(|| format!("read folder '{}'", folder.display()))?;
    let hidden =
        |p: &PathBuf| p.file_name().is_some_and(|n| n.as_encoded_bytes().first() == Some(&b'.'));
    paths.retain(|p| !hidden(p));
    paths.sort();
    Ok(paths)
}

pub(crate) fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    FILE_ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)) && path.is_file()
}

impl Verdict {
    /// A refused name ends the command if it was given for all pictures, and costs the pictures of
    /// its folder otherwise.
    pub(crate) fn of(enrolment: Enrolment, one_name: bool) -> anyhow::Result<Self> {
        let Enrolment { source: file, name, result, .. } = enrolment;
        let rejected = |reason, detail| Verdict {
            file: file.clone(),
            name: name.clone(),
            verdict: Outcome::Rejected,
            reason: Some(reason),
            detail: Some(detail),
            person_id: None,
        };
        Ok(match result {
            Ok(enrolled) => {
                let new = enrolled.added > 0;
                let verdict = if new { Outcome::Enrolled } else { Outcome::Duplicate };
                let person_id = Some(enrolled.person_id);
                Verdict { file, name, verdict, reason: None, detail: None, person_id }
            }
            Err(EnrollError::Rejected(rejection)) => {
                rejected(rejection.reason(), output::with_causes(&rejection))
            }
            Err(EnrollError::Gallery(error @ GalleryError::Name { .. })) if !one_name => {
                rejected("refused-name", error.to_string())
            }
            Err(EnrollError::Gallery(error)) => return Err(error.into()),
            Err(error) => return Err(error).with_context(|| format!("look at '{file}'")),
        })
    }

    pub(crate) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            return output::json(self);
        }
        let mut text = format!("{:<9}  {}", self.verdict.as_str(), self.file);
        match (self.reason, &self.detail) {
            (Some(reason), Some(detail)) => text += &format!("  {reason}: {detail}"),
            _ => text += &format!("  as {}", self.name),
        }
        output::line(&printable(&text))
    }
}

impl Totals {
    pub(crate) fn count(&mut self, verdict: &Verdict) {
        self.pictures += 1;
        match verdict.verdict {
            Outcome::Enrolled => self.enrolled += 1,
            Outcome::Duplicate => self.duplicates += 1,
            Outcome::Rejected if verdict.reason == Some("unreadable") => self.unreadable += 1,
            Outcome::Rejected => {}
        }
    }

    /// Says what was done, and how the command ends. What is counted is called `one` or `many`.
    pub(crate) fn end(
        &self,
        gallery: &Gallery,
        (one, many): (&str, &str),
        as_json: bool,
    ) -> anyhow::Result<Exit> {
        let summary = self.summary(gallery, (one, many));
        if as_json {
            // Standard output is for the machine.
            output::note(summary);
        } else {
            output::line(&summary)?;
        }
        Ok(self.exit())
    }

    fn summary(&self, gallery: &Gallery, (one, many): (&str, &str)) -> String {
        let Self { pictures, enrolled, duplicates, unreadable } = self;
        let rejected = pictures - enrolled - duplicates;
        let pictures_text = counted(*pictures as u64, one, many);
        let mut text = format!("{enrolled} of {pictures_text} enrolled");
        if *duplicates > 0 {
            text += &format!(", {duplicates} enrolled before");
        }
        if rejected > 0 {
            text += &format!(", {rejected} rejected");
        }
        if *unreadable > 0 {
            text += &format!(" ({unreadable} of them unreadable)");
        }
        let snapshot = gallery.snapshot();
        let people = counted(snapshot.people().len() as u64, "person", "people");
        let samples = counted(snapshot.samples() as u64, "picture", "pictures");
        let gallery = printable(&gallery.location().to_string());
        text + &format!("; '{gallery}' has {people} with {samples}")
    }

    fn exit(&self) -> Exit {
        let some = self.enrolled + self.duplicates > 0;
        if some && self.unreadable == 0 { Exit::Success } else { Exit::Negative }
    }
}
