//! What a measurement says.

use std::time::Duration;

use face_core::inference::{self, PoolOptions};
use face_core::model;
use serde::{Deserialize, Serialize};

use super::streams::Ran;
use super::{BenchOptions, memory};
use crate::chain::ChainOptions;

/// A measurement. Times are seconds, and those of the processor sums over all threads; the clock runs
/// from the moment when models and gallery are loaded to the end of the last stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BenchReport {
    /// Frames of all streams that came out of the chain.
    pub frames: u64,
    /// Faces that the detector found on them.
    pub faces: u64,
    /// Faces that were embedded and looked up.
    pub embeds: u64,
    pub wall_s: f64,
    /// Frames of all streams per second.
    pub fps: f64,
    /// Processor time of the process.
    pub cpu_s: f64,
    /// The part of it inside ONNX Runtime's Run.
    pub ort_cpu_s: f64,
    /// What only decoding the same frames costs, if that was measured.
    pub decode_cpu_s: Option<f64>,
    /// `cpu_s` without the two.
    pub other_cpu_s: Option<f64>,
    /// Loading models and gallery and building the pipelines, before the clock runs.
    pub startup_s: f64,
    /// The most memory that was resident, start included; Linux only.
    pub peak_rss_mib: Option<f64>,
    /// The memory that was resident at the end.
    pub rss_mib: Option<f64>,
    /// By how much that had grown since a fifth of the frames.
    pub rss_growth_mib: Option<f64>,
    /// The streams, while all of them ran.
    pub streams: Vec<StreamRate>,
    /// Random embeddings that were searched in the place of a gallery.
    pub generated_samples: u32,
    pub versions: Versions,
}

/// How one stream went while all of them ran.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamRate {
    pub frames: u64,
    pub fps: f64,
}

/// What was measured with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Versions {
    pub face_pipeline: String,
    pub gstreamer: String,
    /// Of the library's file; `None` if that does not tell.
    pub onnxruntime: Option<String>,
    /// The element that decoded.
    pub decoder: Option<String>,
    pub detector: String,
    pub embedder: String,
    /// Where the detector ran; empty if only decoding was measured.
    pub provider: String,
    /// Processors that the process may use.
    pub cores: usize,
}

impl BenchReport {
    /// Takes in what only decoding the same frames costs.
    pub fn set_decoding(&mut self, cpu_s: f64) {
        self.decode_cpu_s = Some(cpu_s);
        self.other_cpu_s = Some((self.cpu_s - self.ort_cpu_s - cpu_s).max(0.0));
    }

    /// Frames of the slowest stream as a part of those of the fastest, while all of them ran.
    pub fn fairness(&self) -> Option<f64> {
        let frames = || self.streams.iter().map(|s| s.frames);
        let (least, most) = (frames().min()?, frames().max()?);
        (most > 0).then(|| least as f64 / most as f64)
    }
}

pub(super) fn report(
    options: &BenchOptions,
    chain: &ChainOptions,
    ran: Ran,
    startup: Duration,
    (cpu, run): (Duration, Duration),
) -> BenchReport {
    let (major, minor, micro, _) = gst::version();
    let named =
        |name: &Option<String>, default: &str| name.as_deref().unwrap_or(default).to_owned();
    let versions = Versions {
        face_pipeline: env!("CARGO_PKG_VERSION").to_owned(),
        gstreamer: format!("{major}.{minor}.{micro}"),
        onnxruntime: if options.decode_only { None } else { runtime_version(chain) },
        decoder: ran.decoder,
        detector: named(&chain.recognition.detector, model::DEFAULT_DETECTOR),
        embedder: named(&chain.recognition.embedder, model::DEFAULT_EMBEDDER),
        provider: ran.provider,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let generated = options.gallery.is_none() && !options.decode_only;
    let mut report = BenchReport {
        frames: ran.frames,
        faces: ran.faces,
        embeds: ran.embeds,
        wall_s: ran.wall.as_secs_f64(),
        fps: ran.frames as f64 / ran.wall.as_secs_f64().max(f64::MIN_POSITIVE),
        cpu_s: cpu.as_secs_f64(),
        ort_cpu_s: run.as_secs_f64(),
        decode_cpu_s: None,
        other_cpu_s: None,
        startup_s: startup.as_secs_f64(),
        peak_rss_mib: memory::peak_mib(),
        rss_mib: ran.resident_mib,
        rss_growth_mib: ran.growth_mib,
        streams: ran.rates,
        generated_samples: if generated { options.samples } else { 0 },
        versions,
    };
    if options.decode_only {
        report.set_decoding(report.cpu_s);
    }
    report
}

/// ONNX Runtime tells its version in the name of its file alone.
fn runtime_version(chain: &ChainOptions) -> Option<String> {
    let options = PoolOptions {
        runtime_library: chain.recognition.runtime_library.clone(),
        ..PoolOptions::default()
    };
    let path = inference::runtime_path(&options).ok()?.canonicalize().ok()?;
    let (_, version) = path.file_name()?.to_str()?.split_once(".so.")?;
    version.split('.').all(|part| part.parse::<u32>().is_ok()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(frames: &[u64]) -> BenchReport {
        BenchReport {
            frames: frames.iter().sum(),
            faces: 0,
            embeds: 0,
            wall_s: 2.0,
            fps: 1.0,
            cpu_s: 4.0,
            ort_cpu_s: 3.0,
            decode_cpu_s: None,
            other_cpu_s: None,
            startup_s: 0.1,
            peak_rss_mib: None,
            rss_mib: None,
            rss_growth_mib: None,
            streams: frames.iter().map(|f| StreamRate { frames: *f, fps: 1.0 }).collect(),
            generated_samples: 0,
            versions: Versions::default(),
        }
    }

    #[test]
    fn other_work_is_what_networks_and_decoding_leave() {
        let mut report = report(&[10]);
        report.set_decoding(0.75);
        assert_eq!((report.decode_cpu_s, report.other_cpu_s), (Some(0.75), Some(0.25)));
        report.set_decoding(1.5);
        assert_eq!(report.other_cpu_s, Some(0.0), "two runs of a loaded machine are not alike");
    }

    #[test]
    fn fairness_is_slowest_by_fastest() {
        assert_eq!(report(&[90, 100, 95]).fairness(), Some(0.9));
        assert_eq!(report(&[7]).fairness(), Some(1.0));
        assert_eq!(report(&[]).fairness(), None);
        assert_eq!(report(&[0, 0]).fairness(), None);
    }
}
