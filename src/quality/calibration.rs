//! Which threshold fits a gallery: how often it would name the wrong person, and how often nobody.

use crate::embed::Embedding;
use crate::gallery::{SearchError, Snapshot};

/// Steps of similarity that are told apart, per unit.
const STEPS: usize = 1000;

/// Samples that are compared with the gallery, evenly spread over it, where it has more: the time
/// grows with their number times that of all samples.
const MAX_PROBES: usize = 2000;

/// One-sided confidence of the bounds, and its quantile of the normal distribution.
const CONFIDENCE: f64 = 0.95;
const QUANTILE: f64 = 1.644_854;

/// How many similarities lie where.
#[derive(Clone, Debug)]
struct Scores {
    counts: Vec<u64>,
    total: u64,
}

impl Scores {
    fn new() -> Self {
        Self { counts: vec![0; 2 * STEPS + 1], total: 0 }
    }

    /// Step of a similarity. The tiny addition undoes the rounding of decimal thresholds to f32.
    fn step(similarity: f32) -> usize {
        let step = (f64::from(similarity) + 1.0) * STEPS as f64 + 1e-4;
        step.clamp(0.0, 2.0 * STEPS as f64) as usize
    }

    fn add(&mut self, similarity: f32) {
        self.counts[Self::step(similarity)] += 1;
        self.total += 1;
    }

    /// How many are at least `threshold`.
    fn from(&self, threshold: f32) -> u64 {
        self.counts[Self::step(threshold)..].iter().sum()
    }
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub count: u64,
    pub of: u64,
}

impl Share {
    /// 0..=1; 0 of nothing.
    pub fn rate(self) -> f64 {
        self.count as f64 / self.of.max(1) as f64
    }

    /// The rate that is not exceeded with a confidence of 95 %, if the trials were independent:
    /// Clopper and Pearson's bound, for a count of 0 about 3 / n (the rule of three), for counts
    /// above 1000 Wilson's. 1 of nothing.
    pub fn upper_bound(self) -> f64 {
        let (k, n) = (self.count as f64, self.of as f64);
        if self.of == 0 || self.count >= self.of {
            return 1.0;
        }
        if self.count > 1000 {
            let z2 = QUANTILE * QUANTILE;
            let p = k / n;
            let spread = (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
            return (p + z2 / (2.0 * n) + QUANTILE * spread) / (1.0 + z2 / n);
        }
        let (mut low, mut high) = (k / n, 1.0);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if self.at_most(middle) > 1.0 - CONFIDENCE { low = middle } else { high = middle }
        }
        high
    }

    /// Probability of at most `count` where each trial has the probability `p`, 0 < p < 1.
    fn at_most(self, p: f64) -> f64 {
        let n = self.of as f64;
        let mut log = n * (1.0 - p).ln();
        let mut sum = log.exp();
        for i in 0..self.count {
            let i = i as f64;
            log += ((n - i) / (i + 1.0)).ln() + (p / (1.0 - p)).ln();
            sum += log.exp();
        }
        sum
    }
}

/// What a threshold would do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub threshold: f32,
    /// Comparisons of a face with a person who is somebody else, and how many pass.
    pub false_accepts: Share,
    /// Faces compared with the other samples of their person, and how many do not pass.
    pub false_rejects: Share,
    /// Faces of people who are not in the gallery, and how many get a name. Grows with the number
    /// of people in the gallery.
    pub strangers_named: Share,
}

/// The threshold for a wanted rate of false accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    pub rates: Rates,
    /// Is the rate shown with a confidence of 95 %? If not, there are too few comparisons, and the
    /// threshold is not below the embedder's.
    pub shown: bool,
    /// Comparisons without any false accept that it takes to show the wanted rate (the rule of
    /// three).
    pub needed: u64,
}

/// The similarities of a gallery with itself and with strangers.
#[derive(Clone, Debug)]
pub struct Calibration {
    genuine: Scores,
    impostor: Scores,
    stranger: Scores,
    /// Samples of the gallery that were compared.
    pub probes: usize,
    /// Faces of strangers that were given.
    pub strangers: usize,
}

impl Calibration {
    /// Compares every sample (of large galleries 2000, evenly spread) with the rest of its person,
    /// and with every other person by their best sample, as searching does; and so each stranger.
    /// Without its own person a sample counts as a stranger, too.
    ///
    /// ```
    /// # use face_core::embed::{Embedding, Fingerprint};
    /// # use face_core::gallery::{Access, Gallery, NewSample};
    /// use face_core::quality::calibration::Calibration;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let probe = Embedding::new(&[1.0, 0.0])?;
    /// # let fingerprint = Fingerprint { model: "m".into(), alignment: "a".into(), probe };
    /// # let gallery = Gallery::open(&folder.path().join("g"), &fingerprint, Access::Create)?;
    /// # let sample = |x, y| Embedding::new(&[x, y]).map(|e| NewSample::new(e, ""));
    /// gallery.enroll("Ada", &[sample(1.0, 0.0)?, sample(1.0, 0.1)?])?;
    /// gallery.enroll("Bo", &[sample(0.0, 1.0)?])?;
    /// let calibration = Calibration::of(&gallery.snapshot(), &[])?;
    /// let rates = calibration.at(0.5);
    /// assert_eq!((rates.false_rejects.count, rates.false_rejects.of), (0, 2));
    /// assert_eq!((rates.false_accepts.count, rates.false_accepts.of), (0, 3));
    /// // Three comparisons show little.
    /// assert!(rates.false_accepts.upper_bound() > 0.6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SearchError`] if a stranger is of another dimension than the gallery.
    pub fn of(gallery: &Snapshot, strangers: &[Embedding]) -> Result<Self, SearchError> {
        let mut calibration = Self {
            genuine: Scores::new(),
            impostor: Scores::new(),
            stranger: Scores::new(),
            probes: 0,
            strangers: strangers.len(),
        };
        let step = gallery.samples().div_ceil(MAX_PROBES).max(1);
        for (i, (owner, row)) in gallery.rows().enumerate().step_by(step) {
            // Rows of a gallery are embeddings already.
            let Ok(embedding) = Embedding::new(row) else { continue };
            let best = gallery.best_by_person(&embedding, Some(i))?;
            calibration.probes += 1;
            best[owner].into_iter().for_each(|s| calibration.genuine.add(s));
            let others = best.iter().enumerate().filter(|(person, _)| *person != owner);
            calibration.add_stranger(others.filter_map(|(_, s)| *s));
        }
        for stranger in strangers {
            let best = gallery.best_by_person(stranger, None)?;
            calibration.add_stranger(best.into_iter().flatten());
        }
        Ok(calibration)
    }

    /// Similarities with people who are all somebody else.
    fn add_stranger(&mut self, similarities: impl Iterator<Item = f32>) {
        let each = similarities.inspect(|s| self.impostor.add(*s));
        each.max_by(f32::total_cmp).into_iter().for_each(|best| self.stranger.add(best));
    }

    /// What the threshold (-1..=1, told apart to .001) would do.
    pub fn at(&self, threshold: f32) -> Rates {
        let passing = |scores: &Scores| Share { count: scores.from(threshold), of: scores.total };
        let accepted = passing(&self.genuine);
        Rates {
            threshold,
            false_accepts: passing(&self.impostor),
            false_rejects: Share { count: accepted.of - accepted.count, of: accepted.of },
            strangers_named: passing(&self.stranger),
        }
    }

    /// The lowest threshold, in steps of .01, above which the rate of false accepts is at most
    /// `far` (0..1) for all that is seen. If the comparisons are too few to show that rate, the
    /// threshold is at least `floor`, the embedder's own. `None` if nothing could be compared, or
    /// even a threshold of 1 lets too many pass.
    pub fn propose(&self, far: f64, floor: f32) -> Option<Proposal> {
        if self.impostor.total == 0 {
            return None;
        }
        let steps = (-100..=100).map(|step| self.at(step as f32 / 100.0));
        let found = steps.into_iter().find(|rates| rates.false_accepts.rate() <= far)?;
        // Above a threshold that is shown to do lies none that does worse.
        let shown = |rates: &Rates| rates.false_accepts.upper_bound() <= far;
        let steps = (-100..=100).map(|step| self.at(step as f32 / 100.0));
        let sure = steps.into_iter().find(|rates| shown(rates));
        let needed = (3.0 / far).ceil() as u64;
        Some(match sure {
            Some(rates) => Proposal { rates, shown: true, needed },
            None => {
                let rates = self.at(found.threshold.max(floor));
                Proposal { rates, shown: false, needed }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(similarities: &[f32]) -> Scores {
        let mut scores = Scores::new();
        similarities.iter().for_each(|s| scores.add(*s));
        scores
    }

    fn calibration(genuine: &[f32], impostor: &[f32]) -> Calibration {
        let impostor = scores(impostor);
        let stranger = impostor.clone();
        Calibration { genuine: scores(genuine), impostor, stranger, probes: 1, strangers: 0 }
    }

    #[test]
    fn threshold_itself_passes() {
        let c = calibration(&[0.4, 0.399, 0.7], &[0.1, 0.4, -1.0, 1.0]);
        let rates = c.at(0.4);
        assert_eq!(rates.false_rejects, Share { count: 1, of: 3 });
        assert_eq!(rates.false_accepts, Share { count: 2, of: 4 });
        assert_eq!(c.at(-1.0).false_accepts.rate(), 1.0);
        assert_eq!(c.at(1.0).false_accepts.count, 1);
    }

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Rule of three; and Clopper-Pearson bounds at a one-sided 95 %.
        let bound = |count, of| Share { count, of }.upper_bound();
        assert!((bound(0, 1000) - 0.002_991).abs() < 1e-5, "{}", bound(0, 1000));
        assert!((bound(0, 10) - 0.258_87).abs() < 1e-4, "{}", bound(0, 10));
        assert!((bound(1, 10) - 0.394_16).abs() < 1e-4, "{}", bound(1, 10));
        assert!((bound(2, 100) - 0.061_62).abs() < 1e-4, "{}", bound(2, 100));
        assert_eq!((bound(0, 0), bound(5, 5)), (1.0, 1.0));
        // The two formulas meet.
        let (exact, approximate) = (bound(1000, 50_000), bound(1001, 50_000));
        assert!((exact / approximate - 1.0).abs() < 0.01, "{exact} {approximate}");
    }

    #[test]
    fn rate_that_cannot_be_shown_is_not_claimed() {
        let few: Vec<f32> = (0..500).map(|i| i as f32 / 2000.0).collect();
        let proposal = calibration(&[0.6], &few).propose(0.001, 0.4).unwrap();
        assert_eq!((proposal.shown, proposal.needed), (false, 3000));
        assert_eq!(proposal.rates.threshold, 0.4);
        // The lowest that fits lies above the embedder's.
        let near: Vec<f32> = few.iter().map(|s| s + 0.3).collect();
        let proposal = calibration(&[0.6], &near).propose(0.001, 0.4).unwrap();
        assert_eq!((proposal.shown, proposal.rates.threshold), (false, 0.55));

        let many: Vec<f32> = (0..10_000).map(|i| i as f32 / 40_000.0).collect();
        let proposal = calibration(&[0.6, 0.1], &many).propose(0.001, 0.4).unwrap();
        assert!(proposal.shown && (proposal.rates.threshold - 0.25).abs() < 1e-6, "{proposal:?}");
        assert_eq!(proposal.rates.false_rejects, Share { count: 1, of: 2 });
        assert!(calibration(&[0.6], &[]).propose(0.001, 0.4).is_none());
        assert!(calibration(&[0.6], &[1.0; 9]).propose(0.001, 0.4).is_none());
    }
}
