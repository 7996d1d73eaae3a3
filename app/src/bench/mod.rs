//! Measures the chain: how fast the frames of a video go through it, and what the processor and the
//! memory do meanwhile.
//!
//! Streams stand still, with models and gallery loaded, until all of them are built; only then does
//! the clock run. Nothing is read from the metadata: the elements count themselves.

mod memory;
mod people;
mod report;
mod streams;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use face_core::cpu;
use face_core::gallery::Location;
use face_core::inference;

use crate::analyze::check_video;
use crate::chain::ChainOptions;
use crate::elements::{self, Recognition};
use crate::error::AnalyzeError;

pub use report::{BenchReport, StreamRate, Versions};

/// What is measured.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    pub video: PathBuf,
    pub recognition: Recognition,
    /// The people to recognise.
    pub gallery: Option<Location>,
    /// Without a gallery: how many random embeddings faces are compared with; 0: no gallery.
    pub samples: u32,
    /// Streams of the same video, side by side in this process.
    pub streams: u32,
    /// How many times each stream shows the video.
    pub loops: u32,
    /// End each stream after so many frames.
    pub frames: Option<u64>,
    /// Only read and decode, to know what of the processor time that is.
    pub decode_only: bool,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            video: PathBuf::new(),
            recognition: Recognition::default(),
            gallery: None,
            samples: 1000,
            streams: 1,
            loops: 1,
            frames: None,
            decode_only: false,
        }
    }
}

/// How far a measurement is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BenchProgress {
    /// Frames of all streams so far.
    pub frames: u64,
    /// What part of the work is done, 0..=1, if the length of the video is known.
    pub done: Option<f64>,
}

/// Runs the streams to their end and measures them. `progress` is called ten times a second on the
/// calling thread; [`ControlFlow::Break`] stops with [`AnalyzeError::Interrupted`].
///
/// # Errors
/// [`AnalyzeError`], as of an analysis of the video.
pub fn bench(
    options: &BenchOptions,
    progress: &mut dyn FnMut(BenchProgress) -> ControlFlow<()>,
) -> Result<BenchReport, AnalyzeError> {
    check_video(&options.video)?;
    elements::init()?;
    let begun = Instant::now();
    let mut chain = ChainOptions {
        video: options.video.clone(),
        recognition: options.recognition.clone(),
        gallery: options.gallery.clone(),
        ..ChainOptions::default()
    };
    let wanted = options.gallery.is_none() && !options.decode_only && options.samples > 0;
    let crowd = match wanted {
        true => Some(people::generate(&options.recognition, options.samples)?),
        false => None,
    };
    if let Some(crowd) = &crowd {
        chain.gallery = Some(crowd.location());
    }
    let streams = streams::build(options, &chain)?;
    let made = crowd.as_ref().map_or(Duration::ZERO, |crowd| crowd.made_in);
    let startup = begun.elapsed().saturating_sub(made);

    let before = (cpu::process_time(), inference::run_time());
    let ran = streams.run(options, progress)?;
    let (cpu, run) = (cpu::process_time() - before.0, inference::run_time() - before.1);
    Ok(report::report(options, &chain, ran, startup, (cpu, run)))
}
