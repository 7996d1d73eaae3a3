//! `facectl gallery calibrate`: which threshold fits a gallery.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use face_core::embed::Embedding;
use face_core::gallery::{Access, Gallery, Location};
use face_core::quality::calibration::{Calibration, Proposal, Rates, Share};
use face_core::recognizer::{PredictError, PredictOptions, Recognizer};
use serde::Serialize;

use super::plot;
use crate::enroll::{entries, is_picture};
use crate::options::ModelOptions;
use crate::output::{self, Exit, counted};

/// Say which threshold fits a gallery
///
/// Compares every sample with the rest of its person (false rejects) and with every other person
/// (false accepts), and so every face of --strangers: pictures of people who are not in the
/// gallery. Prints what thresholds would do, and proposes one for a wanted rate of false accepts.
///
/// A rate is shown only by enough comparisons: n of them without a false accept show that the rate
/// is below 3/n with a confidence of 95 %, and nothing below that. Pictures of one person are not
/// independent of each other, so that the bounds are on the bold side. Where there are too few
/// comparisons for the wanted rate, this is said, and the embedder's own threshold is the least
/// that is proposed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json, one object: people, samples, probes (samples compared, at most 2000), strangers \
(faces), far (wanted), embedder_threshold, proposal (or null): threshold, shown, needed \
(comparisons to show the wanted rate) and the rates; rows: threshold and the rates. Rates are \
false_accepts, false_rejects and strangers_named, each with count, of, rate and upper_bound (95 %).

Exit status: 0 if a threshold is proposed, 1 if there is nothing to compare, 2 if the command could \
not be carried out.")]
pub(crate) struct Arguments {
    /// Gallery file, or postgresql://ROLE@HOST/DATABASE of a shared gallery
    #[arg(long, short, value_name = "FILE")]
    gallery: Location,
    /// Folder of pictures of people who are not in the gallery, or of such folders
    #[arg(long, value_name = "DIR")]
    strangers: Option<PathBuf>,
    /// Wanted rate of false accepts: comparisons of a face with somebody else that pass
    #[arg(long, value_name = "RATE", default_value_t = 0.001, value_parser = rate)]
    far: f64,
    /// Draw the rates over the threshold, as SVG or PNG by the name's ending
    #[arg(long, value_name = "OUT.svg|OUT.png", value_parser = plot_file)]
    plot: Option<PlotFile>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: ModelOptions,
}

#[derive(Debug, Serialize)]
struct ShareRecord {
    count: u64,
    of: u64,
    rate: f64,
    upper_bound: f64,
}

#[derive(Debug, Serialize)]
struct RatesRecord {
    threshold: f32,
    false_accepts: ShareRecord,
    false_rejects: ShareRecord,
    strangers_named: ShareRecord,
}

#[derive(Debug, Serialize)]
struct ProposalRecord {
    shown: bool,
    needed: u64,
    #[serde(flatten)]
    rates: RatesRecord,
}

#[derive(Debug, Serialize)]
struct Report {
    people: usize,
    samples: usize,
    probes: usize,
    strangers: usize,
    far: f64,
    embedder_threshold: f32,
    proposal: Option<ProposalRecord>,
    rows: Vec<RatesRecord>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|r| (1e-9..1.0).contains(r));
    rate.ok_or_else(|| "a rate above 0 and below 1 is needed, such as 0.001".to_owned())
}

/// Where a plot goes, and as what.
#[derive(Clone, Debug)]
struct PlotFile {
    path: PathBuf,
    png: bool,
}

fn plot_file(text: &str) -> Result<PlotFile, String> {
    let path = PathBuf::from(text);
    let is = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    match (is("svg"), is("png")) {
        (true, _) => Ok(PlotFile { path, png: false }),
        (_, true) => Ok(PlotFile { path, png: true }),
        _ => Err("the plot is SVG or PNG: a name that ends in .svg or .png is needed".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut recognizer = arguments.models.recognizer()?;
    let gallery = Gallery::open(&arguments.gallery, recognizer.fingerprint(), Access::Read)?;
    let (strangers, mut exit) = match &arguments.strangers {
        Some(folder) => strangers(&mut recognizer, &gallery, folder)?,
        None => (Vec::new(), Exit::Success),
    };
    let snapshot = gallery.snapshot();
    let calibration = Calibration::of(&snapshot, &strangers)?;
    let embedder_threshold = recognizer.embedder().threshold;
    let proposal = calibration.propose(arguments.far, embedder_threshold);
    if proposal.is_none() {
        exit = Exit::Negative;
    }
    let rows: Vec<Rates> = (2..=16).map(|step| calibration.at(step as f32 * 0.05)).collect();
    if let Some(PlotFile { path, png }) = &arguments.plot {
        let drawing = plot::draw(&calibration, proposal.as_ref(), arguments.far);
        let bytes = if *png { drawing.to_png()? } else { drawing.to_svg().into_bytes() };
        std::fs::write(path, bytes).with_context(|| format!("write plot '{}'", path.display()))?;
    }
    let report = Report {
        people: snapshot.people().len(),
        samples: snapshot.samples(),
        probes: calibration.probes,
        strangers: calibration.strangers,
        far: arguments.far,
        embedder_threshold,
        proposal: proposal.map(|p| ProposalRecord {
            shown: p.shown,
            needed: p.needed,
            rates: p.rates.into(),
        }),
        rows: rows.iter().map(|rates| (*rates).into()).collect(),
    };
    if arguments.json {
        output::json(&report)?;
    } else {
        print(&report, &rows, proposal.as_ref())?;
    }
    Ok(exit)
}

/// The faces of the pictures of a folder and of its folders. A picture that cannot be read is said
/// and makes the status 1.
fn strangers(
    recognizer: &mut Recognizer,
    gallery: &Gallery,
    folder: &Path,
) -> anyhow::Result<(Vec<Embedding>, Exit)> {
    let mut pictures = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            pictures.extend(entries(&path)?.into_iter().filter(|p| is_picture(p)));
        } else if is_picture(&path) {
            pictures.push(path);
        }
    }
    if pictures.is_empty() {
        bail!("no pictures in '{}': JPEG, PNG, BMP or WebP files are expected", folder.display());
    }
    let options = PredictOptions { embeddings: true, ..PredictOptions::default() };
    let bar = output::progress(pictures.len());
    let (mut faces, mut exit) = (Vec::new(), Exit::Success);
    let result = recognizer.predict_batch(gallery, pictures, &options, |predicted| {
        bar.inc(1);
        match predicted.result {
            Ok(found) => faces.extend(found.faces.into_iter().filter_map(|f| f.embedding)),
            Err(PredictError::Unreadable(error)) => {
                exit = Exit::Negative;
                bar.suspend(|| output::report(&error));
            }
            Err(error) => {
                let file = predicted.source;
                return Err(error).with_context(|| format!("look at '{file}'"));
            }
        }
        anyhow::Ok(())
    });
    bar.finish_and_clear();
    result?;
    if faces.is_empty() {
        bail!("no faces on the pictures in '{}'", folder.display());
    }
    Ok((faces, exit))
}

impl From<Share> for ShareRecord {
    fn from(share: Share) -> Self {
        let (rate, upper_bound) = (share.rate(), share.upper_bound());
        Self { count: share.count, of: share.of, rate, upper_bound }
    }
}

impl From<Rates> for RatesRecord {
    fn from(rates: Rates) -> Self {
        Self {
            // Seven digits of an f32 say nothing: thresholds are multiples of .01.
            threshold: rates.threshold,
            false_accepts: rates.false_accepts.into(),
            false_rejects: rates.false_rejects.into(),
            strangers_named: rates.strangers_named.into(),
        }
    }
}

fn print(report: &Report, rows: &[Rates], proposal: Option<&Proposal>) -> anyhow::Result<()> {
    let Report { people, samples, probes, strangers, far, embedder_threshold, .. } = report;
    let people = counted(*people as u64, "person", "people");
    let samples = counted(*samples as u64, "sample", "samples");
    let strangers = counted(*strangers as u64, "face", "faces");
    output::line(&format!(
        "{people} with {samples} ({probes} compared), {strangers} of strangers"
    ))?;
    output::line(&format!(
        "{:>9}  {:>24}  {:>10}  {:>20}  {:>20}",
        "threshold", "false accepts", "at most", "false rejects", "strangers named"
    ))?;
    let proposed = proposal.map(|p| p.rates);
    let extra = proposed.filter(|p| !rows.iter().any(|r| (r.threshold - p.threshold).abs() < 1e-3));
    let mut rows: Vec<Rates> = rows.iter().copied().chain(extra).collect();
    rows.sort_by(|a, b| a.threshold.total_cmp(&b.threshold));
    for rates in rows {
        let mark = proposed.is_some_and(|p| p.threshold == rates.threshold);
        output::line(&format!(
            "{:>9.2}  {:>24}  {:>10}  {:>20}  {:>20}{}",
            rates.threshold,
            share(rates.false_accepts),
            percent(rates.false_accepts.upper_bound()),
            share(rates.false_rejects),
            share(rates.strangers_named),
            if mark { "  <" } else { "" }
        ))?;
    }
    let Some(proposal) = proposal else {
        return output::line(
            "no threshold can be proposed: there is nobody to compare with, or every threshold \
             lets too many pass; enrol a second person, or give --strangers",
        );
    };
    let Proposal { rates, shown, needed } = proposal;
    let of = rates.false_accepts.of;
    output::line(&if *shown {
        format!(
            "proposed threshold: {:.2}, for false accepts in at most {} of the comparisons (with a \
             confidence of 95 %)",
            rates.threshold,
            percent(*far)
        )
    } else {
        format!(
            "proposed threshold: {:.2}. A rate of {} is not shown by it: {of} comparisons say no \
             more than at most {} (with a confidence of 95 %), {needed} without a false accept are \
             needed; the embedder's own threshold is {embedder_threshold:.2}. Enrol more people, \
             or give --strangers",
            rates.threshold,
            percent(*far),
            percent(rates.false_accepts.upper_bound())
        )
    })
}

fn share(share: Share) -> String {
    if share.of == 0 {
        return "none compared".to_owned();
    }
    format!("{}/{} {}", share.count, share.of, percent(share.rate()))
}

/// With so many digits that small rates are told from 0.
fn percent(rate: f64) -> String {
    let percent = 100.0 * rate;
    match percent {
        0.0 => "0 %".to_owned(),
        p if p < 0.1 => format!("{p:.4} %"),
        p if p < 10.0 => format!("{p:.2} %"),
        p => format!("{p:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_plots_are_checked() {
        assert_eq!(rate("0.001"), Ok(0.001));
        for bad in ["0", "1", "-1", "nan", "x", ""] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert!(!plot_file("a/b.SVG").unwrap().png && plot_file("b.png").unwrap().png);
        assert!(plot_file("a.pdf").unwrap_err().contains(".svg or .png"));
    }

    #[test]
    fn small_rates_are_told_from_none() {
        let text = [0.0, 0.0001, 0.0058, 0.5].map(percent);
        assert_eq!(text, ["0 %", "0.0100 %", "0.58 %", "50.0 %"]);
        assert_eq!(share(Share { count: 1, of: 200 }), "1/200 0.50 %");
        assert_eq!(share(Share::default()), "none compared");
    }
}
