//! A gallery of people who do not exist, so that searching costs what it costs, whoever is in the
//! video.

use std::time::{Duration, Instant};

use face_core::embed::{Embedder, Embedding};
use face_core::gallery::{Access, Gallery, Location, NewSample, Writer};
use face_core::inference::PoolOptions;

use crate::elements::Recognition;
use crate::error::AnalyzeError;

/// Every sample is compared, whosever it is; writing fewer people is quicker.
const SAMPLES_EACH: u32 = 20;
/// How long a write waits for another one; there is none.
const WAIT: Duration = Duration::from_secs(5);

/// A gallery in a temporary folder.
pub(super) struct Crowd {
    folder: tempfile::TempDir,
    /// How long the gallery was written, without loading the embedder.
    pub(super) made_in: Duration,
    /// Kept, so that the elements get its sessions and not new ones beside them.
    _embedder: Embedder,
}

impl Crowd {
    pub(super) fn location(&self) -> Location {
        Location::from(self.folder.path().join("gallery.db"))
    }
}

/// Writes `samples` random embeddings, always the same ones.
pub(super) fn generate(recognition: &Recognition, samples: u32) -> Result<Crowd, AnalyzeError> {
    // As facerecognize asks for it in a program that links the plugin.
    let options = PoolOptions {
        provider: recognition.provider,
        device_id: recognition.device_id,
        threads: recognition.threads as usize,
        runtime_library: recognition.runtime_library.clone(),
        ..PoolOptions::default()
    };
    let embedder = Embedder::load(&recognition.embedder_model()?, &options)?;
    let begun = Instant::now();
    let folder = tempfile::tempdir().map_err(|e| AnalyzeError::write(&std::env::temp_dir(), e))?;
    let fingerprint = embedder.fingerprint().clone();
    let mut crowd = Crowd { folder, made_in: Duration::ZERO, _embedder: embedder };
    drop(Gallery::open(crowd.location(), &fingerprint, Access::Create)?);
    let mut writer = Writer::open(crowd.location(), &fingerprint, WAIT)?;
    let mut random = Random(1);
    let mut left = samples;
    while left > 0 {
        let count = left.min(SAMPLES_EACH);
        let mut person = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let values: Vec<f32> = (0..fingerprint.dim()).map(|_| random.next()).collect();
            person.push(NewSample::new(Embedding::new(&values)?, ""));
        }
        writer.enroll(&format!("nobody {left}"), &person)?;
        left -= count;
    }
    crowd.made_in = begun.elapsed();
    Ok(crowd)
}

/// Numbers between -1 and 1, the same in every run (SplitMix64: Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
