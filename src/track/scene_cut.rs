//! Scene cuts: does a picture show another scene than the one before it?
//!
//! A small copy of every picture is compared with that of the picture before: the mean absolute
//! difference of hue, saturation and value. A cut stands out by that score itself and by its ratio
//! to the scores just before, which are high too where somebody walks through the picture
//! (the adaptive detector of PySceneDetect, made causal: it looks at earlier pictures only).
//!
//! Two things differ from there, both because hue and saturation of dark pixels are noise that
//! a video codec makes anew at every key frame. Hue is an angle, so that two reds on either side
//! of 0 are neighbours; and differences of hue and saturation count in proportion to the
//! brightness of the pixel, below [`DARK`]. Without that, key frames of a dark scene are cuts.

use super::config::{TrackerConfigError, in_range};
use crate::frame::{FrameView, PixelFormat};
use crate::model::ChannelOrder;
use crate::preprocess::{Letterbox, Normalization, Preprocessor};

/// Longest side of the compared copies in pixels.
const SIDE_PX: u32 = 240;
/// Pictures are only shrunk if that makes them smaller by more than this factor.
const WORTH_SHRINKING: f32 = 1.5;
/// How many scores the last one is compared with. A cut is not told before there are so many.
const BEFORE: usize = 4;
/// Value, 0..=255, from which on hue and saturation count fully.
const DARK: f32 = 32.0;
/// Half a turn of hue as OpenCV scales it for 8 bits, so that thresholds are of that scale.
const HALF_TURN: f32 = 90.0;
/// The longest [`SceneCutConfig::gap_ns`]: one hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Copied as they are, channels 0..=255.
const PLAIN: Normalization =
    Normalization { channels: ChannelOrder::Rgb, mean: [0.0; 3], std: [1.0; 3] };

/// When a change of the picture is a cut.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneCutConfig {
    /// Least mean difference of two pictures, 0..=255. Default 15.
    pub score: f32,
    /// Least ratio of the score to the mean of the four scores before it, 0..=1000. Default 3.
    pub ratio: f32,
    /// Least time between two cuts, ns, at most one hour. Default 0.5 s: 15 frames of 30 a second.
    pub gap_ns: u64,
}

impl Default for SceneCutConfig {
    fn default() -> Self {
        Self { score: 15.0, ratio: 3.0, gap_ns: 500_000_000 }
    }
}

impl SceneCutConfig {
    /// # Errors
    /// The first setting that is out of its range or not a number.
    pub fn validate(&self) -> Result<(), TrackerConfigError> {
        in_range("scene_cut_score", self.score.into(), 0.0, 255.0)?;
        in_range("scene_cut_ratio", self.ratio.into(), 0.0, 1000.0)?;
        in_range("scene_cut_gap_ns", self.gap_ns as f64, 0.0, LONGEST_NS as f64)
    }
}

/// Hue 0..180, saturation and value 0..=255 of one pixel.
type Hsv = [f32; 3];

/// Finds the cuts of a stream. Keeps its memory, so that pictures of the same size allocate
/// nothing after the second.
#[derive(Debug, Default)]
pub struct SceneCutDetector {
    config: SceneCutConfig,
    preprocessor: Preprocessor,
    rgb: Vec<f32>,
    current: Vec<Hsv>,
    previous: Vec<Hsv>,
    /// Size of the copy in `previous`, and whether it has no colour; `None`: there is no copy.
    previous_kind: Option<(usize, usize, bool)>,
    /// The last scores, the oldest first; the last `scored` of them are real.
    scores: [f32; BEFORE],
    scored: usize,
    last_cut_ns: Option<u64>,
}

impl SceneCutDetector {
    /// # Errors
    /// If the settings are not [valid](SceneCutConfig::validate).
    pub fn new(config: SceneCutConfig) -> Result<Self, TrackerConfigError> {
        config.validate()?;
        Ok(Self { config, ..Self::default() })
    }

    /// Other settings from the next picture on.
    ///
    /// # Errors
    /// If they are not [valid](SceneCutConfig::validate); the old ones stay.
    pub fn set_config(&mut self, config: SceneCutConfig) -> Result<(), TrackerConfigError> {
        config.validate()?;
        self.config = config;
        Ok(())
    }

    /// Forgets the pictures seen so far: the next one begins a stream.
    pub fn reset(&mut self) {
        self.previous_kind = None;
        self.scored = 0;
        self.last_cut_ns = None;
    }

    /// Takes the next picture, of time `time_ns` in ns from any origin. Returns the score if a new
    /// scene begins with it.
    ///
    /// The score is the mean over hue, saturation and value; of grey formats, which have no
    /// colour, it is that of the value alone. A picture whose shape differs from that of the one
    /// before is compared with the next one only.
    pub fn look(&mut self, time_ns: u64, frame: &FrameView<'_>) -> Option<f32> {
        let kind = self.shrink(frame);
        std::mem::swap(&mut self.current, &mut self.previous);
        // `current` is now the picture before.
        if self.previous_kind.replace(kind) != Some(kind) {
            return None;
        }
        let score = difference(&self.current, &self.previous, kind.2);
        let mean = self.scores.iter().sum::<f32>() / BEFORE as f32;
        let enough = self.scored >= BEFORE;
        self.scores.rotate_left(1);
        self.scores[BEFORE - 1] = score;
        self.scored = (self.scored + 1).min(BEFORE);
        let spaced =
            self.last_cut_ns.is_none_or(|last| time_ns.saturating_sub(last) >= self.config.gap_ns);
        // After pictures that were all the same any change stands out.
        let cut = enough
            && spaced
            && score >= self.config.score
            && score >= self.config.ratio * mean
            && score > 0.0;
        cut.then(|| {
            self.last_cut_ns = Some(time_ns);
            score
        })
    }

    /// Fills `current` with the small copy; returns its size, and whether it has no colour.
    fn shrink(&mut self, frame: &FrameView<'_>) -> (usize, usize, bool) {
        let (width, height) = frame.square_size();
        let kept = SIDE_PX as f32 * WORTH_SHRINKING;
        let side = if width.max(height) > kept { SIDE_PX } else { kept as u32 };
        let letterbox = Letterbox::fit(frame, side, 1);
        self.preprocessor.letterbox(frame, &letterbox, &PLAIN, &mut self.rgb);
        let plane = letterbox.width * letterbox.height;
        let (red, rest) = self.rgb.split_at(plane);
        let (green, blue) = rest.split_at(plane);
        self.current.clear();
        self.current.extend(red.iter().zip(green).zip(blue).map(|((r, g), b)| hsv(*r, *g, *b)));
        (letterbox.width, letterbox.height, frame.format() == PixelFormat::Gray8)
    }
}

fn hsv(r: f32, g: f32, b: f32) -> Hsv {
    let value = r.max(g).max(b);
    let chroma = value - r.min(g).min(b);
    if chroma <= 0.0 {
        return [0.0, 0.0, value];
    }
    let sixth = HALF_TURN / 3.0;
    let hue = if value == r {
        sixth * (g - b) / chroma
    } else if value == g {
        sixth * (2.0 + (b - r) / chroma)
    } else {
        sixth * (4.0 + (r - g) / chroma)
    };
    [hue.rem_euclid(2.0 * HALF_TURN), 255.0 * chroma / value, value]
}

/// Mean absolute difference of two copies of the same size, 0..=255.
fn difference(a: &[Hsv], b: &[Hsv], grey: bool) -> f32 {
    let mut sums = [0f64; 2];
    for (a, b) in a.iter().zip(b) {
        let apart = (a[0] - b[0]).abs();
        let hue = apart.min(2.0 * HALF_TURN - apart);
        let weight = (a[2].max(b[2]) / DARK).min(1.0);
        sums[0] += f64::from((hue + (a[1] - b[1]).abs()) * weight);
        sums[1] += f64::from((a[2] - b[2]).abs());
    }
    let count = a.len().max(1) as f64;
    (if grey { sums[1] / count } else { (sums[0] + sums[1]) / (3.0 * count) }) as f32
}

#[cfg(test)]
#[path = "scene_cut_tests.rs"]
mod tests;
