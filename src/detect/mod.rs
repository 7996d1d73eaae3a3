//! Face detection: one pure decoder per model family, and the detector that feeds it.

use std::sync::Arc;
use std::time::Instant;

use ndarray::Array4;
use serde::{Deserialize, Serialize};

use crate::frame::FrameView;
use crate::geometry::{BBox, Landmarks, nms};
use crate::inference::{InferenceError, Pool, PoolOptions, Request};
use crate::model::{Decoder, ModelSpec, ResolvedModel};
use crate::preprocess::{Letterbox, Normalization, Preprocessor};

pub(crate) mod yunet;

/// A face as a detector found it, in pixels of the source picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub bbox: BBox,
    /// Confidence, 0..=1.
    pub score: f32,
    /// `None` for detectors without landmarks.
    pub landmarks: Option<Landmarks>,
}

/// An output of a detector has not the length that its input size demands.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("output '{output}' has {got} values, {wanted} are expected")]
pub struct DecodeError {
    pub output: &'static str,
    pub wanted: usize,
    pub got: usize,
}

/// What counts as a face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectOptions {
    /// Longest side of the detector's input, pixels; larger pictures are shrunk, smaller ones are
    /// never enlarged.
    pub input_size: u32,
    /// Least score, 0..=1.
    pub score_threshold: f32,
    /// Of two boxes with a larger IoU (0..=1) the one of lower score is dropped.
    pub nms_threshold: f32,
    /// Least shorter side of a box in square pixels of the source picture; 0: any.
    pub min_face_size: f32,
    /// At most so many faces, the best by score; 0: any number.
    pub max_faces: usize,
}

impl DetectOptions {
    pub const DEFAULT_INPUT_SIZE: u32 = 640;

    /// The model's own thresholds, any size and number.
    pub fn of(spec: &ModelSpec) -> Self {
        Self {
            input_size: Self::DEFAULT_INPUT_SIZE,
            score_threshold: spec.threshold,
            nms_threshold: spec.nms.unwrap_or(0.45),
            min_face_size: 0.0,
            max_faces: 0,
        }
    }
}

/// Why a picture could not be searched.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error(transparent)]
    Inference(#[from] InferenceError),
    #[error("decode the outputs of model '{model}'")]
    Decode { model: String, source: DecodeError },
}

/// Finds faces. Keeps its buffers: one detector per stream.
#[derive(Debug)]
pub struct Detector {
    pool: Arc<Pool>,
    normalization: Normalization,
    /// Where the decoder's outputs stand among the model's.
    outputs: [usize; 12],
    preprocessor: Preprocessor,
    requests: [Request; 1],
    not_finite: u64,
}

impl Detector {
    /// # Errors
    /// [`InferenceError`] when the model cannot be loaded.
    pub fn load(model: &ResolvedModel, options: &PoolOptions) -> Result<Self, InferenceError> {
        let Decoder::Yunet = model.spec.decoder else {
            return Err(InferenceError::ModelKind {
                path: model.path.clone(),
                id: model.spec.id.clone(),
                reason: "it is not a face detector".to_owned(),
            });
        };
        let pool = Pool::shared(model, options)?;
        // Pool::shared checked that every output is there.
        let place = |name: &str| pool.output_names().iter().position(|n| n == name).unwrap_or(0);
        Ok(Self {
            outputs: yunet::OUTPUTS.map(place),
            normalization: Normalization::from(&model.spec),
            preprocessor: Preprocessor::default(),
            requests: Default::default(),
            not_finite: 0,
            pool,
        })
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub fn spec(&self) -> &ModelSpec {
        &self.pool.model().spec
    }

    /// Faces left out so far because a number of theirs was not finite.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// Finds the faces of `frame`, sorted by falling score, and puts them into `faces` (cleared
    /// first). Waits until `deadline` at most.
    ///
    /// # Errors
    /// [`DetectError`] if the model fails, misses the deadline or gives outputs of wrong shapes.
    pub fn detect(
        &mut self,
        frame: &FrameView<'_>,
        options: &DetectOptions,
        deadline: Option<Instant>,
        faces: &mut Vec<Detection>,
    ) -> Result<(), DetectError> {
        faces.clear();
        let multiple = self.spec().size_multiple.unwrap_or(1);
        let letterbox = Letterbox::fit(frame, options.input_size, multiple);
        let request = &mut self.requests[0];
        let mut data = request.take_input();
        self.preprocessor.letterbox(frame, &letterbox, &self.normalization, &mut data);
        request.input = Array4::from_shape_vec((1, 3, letterbox.height, letterbox.width), data)
            .expect("the letterbox fills the tensor");
        self.pool.run(&mut self.requests, deadline)?;

        let outputs = self.outputs.map(|i| self.requests[0].output(i));
        let (width, height) = (letterbox.width, letterbox.height);
        let bad = yunet::decode(&outputs, width, height, options.score_threshold, faces)
            .map_err(|source| DetectError::Decode { model: self.spec().id.clone(), source })?;
        self.not_finite += bad as u64;
        nms(faces, options.nms_threshold, |f| (f.bbox, f.score));
        for face in faces.iter_mut() {
            face.bbox = letterbox.box_to_source(&face.bbox);
            face.landmarks = face.landmarks.map(|l| letterbox.landmarks_to_source(&l));
        }
        let aspect = frame.pixel_aspect;
        faces.retain(|f| f.bbox.scaled(aspect, 1.0).min_side() >= options.min_face_size);
        if options.max_faces > 0 {
            faces.truncate(options.max_faces);
        }
        Ok(())
    }
}
