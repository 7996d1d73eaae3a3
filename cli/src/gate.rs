//! The options that say which pictures are good enough to stand for a person, and which are kept.

use face_core::loose::StoreCrops;
use face_core::quality::Gate;
use face_core::recognizer::SampleRules;

use crate::options::similarity;

/// The option of commands that store pictures of faces.
#[derive(Debug, clap::Args)]
pub(crate) struct CropOptions {
    /// Which pictures of a face the gallery keeps: never any (it can then never go to another
    /// embedder), the aligned face, or also the loose one with its surroundings, from which another
    /// alignment can be cut
    #[arg(long, value_name = "never|aligned|loose", default_value = StoreCrops::default().as_str())]
    pub(crate) store_crops: StoreCrops,
}

/// Options of commands that pass samples through the enrolment gate.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Quality")]
pub(crate) struct GateOptions {
    /// Least sharpness, 0 to about 2 (blurred: below .02; 0: any)
    #[arg(long, value_name = "S", default_value_t = Gate::DEFAULT.min_sharpness, value_parser = number)]
    min_sharpness: f32,
    /// Least mean brightness of the face, 0 to 255
    #[arg(long, value_name = "B", default_value_t = Gate::DEFAULT.min_brightness, value_parser = number)]
    min_brightness: f32,
    /// Greatest mean brightness of the face, 0 to 255
    #[arg(long, value_name = "B", default_value_t = Gate::DEFAULT.max_brightness, value_parser = number)]
    max_brightness: f32,
    /// Least contrast of the face: standard deviation of its brightness, 0 to 128
    #[arg(long, value_name = "C", default_value_t = Gate::DEFAULT.min_contrast, value_parser = number)]
    min_contrast: f32,
    /// Most degrees that the head is turned aside
    #[arg(long, value_name = "DEGREES", default_value_t = Gate::DEFAULT.max_yaw, value_parser = number)]
    max_yaw: f32,
    /// Most degrees that the head is raised or lowered
    #[arg(long, value_name = "DEGREES", default_value_t = Gate::DEFAULT.max_pitch, value_parser = number)]
    max_pitch: f32,
    /// Most degrees that the head is tilted
    #[arg(long, value_name = "DEGREES", default_value_t = Gate::DEFAULT.max_roll, value_parser = number)]
    max_roll: f32,
    #[command(flatten)]
    comparison: ComparisonOptions,
    /// Least shorter side of the face in pixels
    #[arg(long, value_name = "PX", default_value_t = SampleRules::ENROLMENT.min_side_px, value_parser = number)]
    min_face_size: f32,
    /// Least score of the detection, 0 to 1
    #[arg(long, value_name = "SCORE", default_value_t = SampleRules::ENROLMENT.min_score, value_parser = number)]
    min_score: f32,
}

/// The part of the gate that compares a sample with others.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Quality")]
pub(crate) struct ComparisonOptions {
    /// Cosine similarity with a sample of the same person from which a picture adds nothing
    #[arg(long, value_name = "T", default_value_t = Gate::DEFAULT.near_duplicate, value_parser = similarity)]
    near_duplicate: f32,
    /// Least cosine similarity with the person's nearest sample; -1: any
    #[arg(long, value_name = "T", default_value_t = Gate::DEFAULT.outlier, value_parser = similarity,
          allow_negative_numbers = true)]
    outlier: f32,
    /// Samples a person needs before --outlier counts
    #[arg(long, value_name = "N", default_value_t = Gate::DEFAULT.outlier_from)]
    outlier_from: usize,
    /// Cosine similarity with another person from which it matters that they are nearer; 1: never
    /// [default: the embedder's threshold]
    #[arg(long, value_name = "T", value_parser = similarity, allow_negative_numbers = true)]
    conflict: Option<f32>,
}

impl ComparisonOptions {
    pub(crate) fn gate(&self) -> Gate {
        let ComparisonOptions { near_duplicate, outlier, outlier_from, conflict } = *self;
        Gate { near_duplicate, outlier, outlier_from, conflict, ..Gate::DEFAULT }
    }
}

impl GateOptions {
    pub(crate) fn gate(&self) -> Gate {
        Gate {
            min_sharpness: self.min_sharpness,
            min_brightness: self.min_brightness,
            max_brightness: self.max_brightness,
            min_contrast: self.min_contrast,
            max_yaw: self.max_yaw,
            max_pitch: self.max_pitch,
            max_roll: self.max_roll,
            ..self.comparison.gate()
        }
    }

    pub(crate) fn sample_rules(&self, largest: bool) -> SampleRules {
        let GateOptions { min_face_size, min_score, .. } = *self;
        SampleRules { min_side_px: min_face_size, min_score, largest, ..SampleRules::ENROLMENT }
    }
}

fn number(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("a number from 0 on is needed".to_owned()),
    }
}
