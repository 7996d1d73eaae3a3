//! `facectl enroll --from-video`: the people of the first part of a video, under numbered names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use face_core::gallery::Location;
use face_core::recognizer::EnrollRules;
use face_pipeline::{VideoEnrollOptions, VideoEnrollment, VideoPerson, enroll_from_video};
use serde::Serialize;

use crate::analyze::{recognition, show, watched};
use crate::options::ModelOptions;
use crate::output::{self, Exit, printable};

/// Where the people come from; part of the arguments of `facectl enroll`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Video")]
pub(crate) struct VideoArguments {
    /// Enrol the people of the first part of a video as person-1, person-2, … instead of pictures
    #[arg(long, value_name = "VIDEO", conflicts_with_all = ["name", "largest", "paths"])]
    pub(crate) from_video: Option<PathBuf>,
    /// Seconds of the video to look at [default: a third of it, from 5 to 30 s]
    #[arg(long, value_name = "N", requires = "from_video", conflicts_with = "paths",
          value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,
    /// What the people are called before their number
    #[arg(long, requires = "from_video", conflicts_with = "paths", default_value = "person")]
    pub(crate) prefix: String,
}

/// A length of time from the command line, more than 0.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s: &f64| *s > 0.0);
    seconds
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .ok_or_else(|| "a number of seconds above 0 is needed".to_owned())
}

/// A person, for machines.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    /// `enrolled`; `known`: the gallery had the person already under that name; `rejected`: the gate
    /// refused every picture, and nothing was stored.
    verdict: &'static str,
    pictures: usize,
    samples: usize,
    first_pts_ns: Option<u64>,
    rejected: Vec<Rejected<'a>>,
}

/// A picture that the gate refused.
#[derive(Debug, Serialize)]
struct Rejected<'a> {
    pts_ns: Option<u64>,
    /// In one word, for machines.
    reason: &'static str,
    /// The same for people.
    detail: &'a str,
}

/// Enrols and prints a line per person. Status 0 if one of them is in the gallery now.
pub(crate) fn run(
    arguments: &VideoArguments,
    video: &Path,
    gallery: &Location,
    as_json: bool,
    models: &ModelOptions,
    rules: EnrollRules,
) -> anyhow::Result<Exit> {
    let options = VideoEnrollOptions {
        video: video.to_owned(),
        gallery: gallery.clone(),
        recognition: recognition(models),
        part: arguments.seconds,
        prefix: arguments.prefix.clone(),
        rules,
    };
    let Some(done) = watched(show, |progress| enroll_from_video(&options, progress))? else {
        return Ok(Exit::Interrupted);
    };
    for warning in &done.warnings {
        output::note(format_args!("facectl: warning: {}", printable(warning)));
    }
    for person in &done.people {
        print(person, as_json)?;
    }
    let summary = summary(&done);
    if as_json {
        // Standard output is for the machine.
        output::note(summary);
    } else {
        output::line(&summary)?;
    }
    let some = done.people.iter().any(|p| p.known || p.samples > 0);
    Ok(if some { Exit::Success } else { Exit::Negative })
}

fn print(person: &VideoPerson, as_json: bool) -> anyhow::Result<()> {
    let VideoPerson { name, pictures, samples, rejected, first_pts_ns, .. } = person;
    let verdict = match (person.known, samples) {
        (true, _) => "known",
        (false, 0) => "rejected",
        (false, _) => "enrolled",
    };
    if as_json {
        let rejected = rejected.iter().map(|r| Rejected {
            pts_ns: r.pts_ns,
            reason: r.reason,
            detail: &r.detail,
        });
        return output::json(&Line {
            name,
            verdict,
            pictures: *pictures,
            samples: *samples,
            first_pts_ns: *first_pts_ns,
            rejected: rejected.collect(),
        });
    }
    let at = |ns: &u64| format!("{:.1} s", *ns as f64 / 1e9);
    let first = first_pts_ns.as_ref().map(|ns| format!(", first at {}", at(ns)));
    let text = format!(
        "{verdict:<9}  {name}  {samples} of {pictures} pictures{}",
        first.unwrap_or_default()
    );
    output::line(&printable(&text))?;
    for picture in rejected {
        let at = picture.pts_ns.as_ref().map_or("?".to_owned(), at);
        let text = format!("{:<9}  {name}  at {at}  {}: {}", "", picture.reason, picture.detail);
        output::line(&printable(&text))?;
    }
    Ok(())
}

fn summary(done: &VideoEnrollment) -> String {
    let enrolled = done.people.iter().filter(|p| p.samples > 0).count();
    let known = done.people.iter().filter(|p| p.known).count();
    let rejected = done.people.len() - enrolled - known;
    let mut text = format!("{enrolled} people enrolled");
    if let Some(end) = done.end_ns {
        text += &format!(" from the first {:.1} s", end as f64 / 1e9);
    }
    if known > 0 {
        text += &format!(", {known} known before");
    }
    if rejected > 0 {
        text += &format!(", {rejected} rejected");
    }
    if done.too_few > 0 {
        text += &format!(", {} left out with too few good pictures", done.too_few);
    }
    if !done.refused.is_empty() {
        let reasons: Vec<String> = done.refused.iter().map(|(r, n)| format!("{r} {n}")).collect();
        text += &format!("; faces that were no good pictures: {}", reasons.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        for wrong in ["0", "-1", "inf", "nan", "1e300", "x", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
