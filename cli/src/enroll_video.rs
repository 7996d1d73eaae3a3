//! `facectl enroll --from-video`: the people of the first part of a video, under numbered names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use face_pipeline::{VideoEnrollOptions, VideoEnrollment, VideoPerson, enroll_from_video};
use serde::Serialize;

use crate::analyze::{recognition, watched};
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

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s: &f64| *s > 0.0);
    seconds
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .ok_or_else(|| "a number of seconds above 0 is needed".to_owned())
}

/// A person, for machines.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    /// `enrolled`, or `known`: the gallery had the person already under that name.
    verdict: &'static str,
    pictures: usize,
    samples: usize,
    first_pts_ns: Option<u64>,
}

/// Enrols and prints a line per person. Status 0 if somebody is in the gallery now.
pub(crate) fn run(
    arguments: &VideoArguments,
    video: &Path,
    gallery: &Path,
    as_json: bool,
    models: &ModelOptions,
) -> anyhow::Result<Exit> {
    let options = VideoEnrollOptions {
        video: video.to_owned(),
        gallery: gallery.to_owned(),
        recognition: recognition(models),
        part: arguments.seconds,
        prefix: arguments.prefix.clone(),
    };
    let Some(done) = watched(|progress| enroll_from_video(&options, progress))? else {
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
    Ok(Exit::Success)
}

fn print(person: &VideoPerson, as_json: bool) -> anyhow::Result<()> {
    let VideoPerson { name, pictures, samples, first_pts_ns, .. } = person;
    let verdict = if person.known { "known" } else { "enrolled" };
    if as_json {
        let first_pts_ns = *first_pts_ns;
        return output::json(&Line {
            name,
            verdict,
            pictures: *pictures,
            samples: *samples,
            first_pts_ns,
        });
    }
    let first = first_pts_ns.map(|ns| format!(", first at {:.1} s", ns as f64 / 1e9));
    let text = format!(
        "{verdict:<9}  {name}  {samples} of {pictures} pictures{}",
        first.unwrap_or_default()
    );
    output::line(&printable(&text))
}

fn summary(done: &VideoEnrollment) -> String {
    let enrolled = done.people.iter().filter(|p| !p.known).count();
    let known = done.people.len() - enrolled;
    let mut text = format!("{enrolled} people enrolled");
    if let Some(end) = done.end_ns {
        text += &format!(" from the first {:.1} s", end as f64 / 1e9);
    }
    if known > 0 {
        text += &format!(", {known} known before");
    }
    if done.too_few > 0 {
        text += &format!(", {} left out with too few good pictures", done.too_few);
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
