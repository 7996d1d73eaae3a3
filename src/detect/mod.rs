//! Face detection: one pure decoder per model family, and the detector that feeds it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ndarray::Array4;
use serde::{Deserialize, Serialize};

use crate::cpu::{self, Spent};
use crate::frame::FrameView;
use crate::geometry::{BBox, Landmarks, nms};
use crate::inference::{
    Canceller, Handle, HandleStats, InferenceError, Pool, PoolOptions, Request,
};
use crate::model::{Decoder, ModelSpec, ResolvedModel, Task};
use crate::preprocess::{Letterbox, Normalization, Preprocessor};

mod centerface;
mod decode;
mod output;
mod retinaface;
pub(crate) mod scrfd;
pub(crate) mod ultralight;
pub(crate) mod yunet;

use decode::MOST_OUTPUTS;
pub use decode::decode;
pub use output::{DecodeError, Output};

/// A face as a detector found it, in pixels of the source picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub bbox: BBox,
    /// Confidence, 0..=1.
    pub score: f32,
    /// `None` for detectors without landmarks.
    pub landmarks: Option<Landmarks>,
}

/// What counts as a face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectOptions {
    /// Longest side of the detector's input, pixels; larger pictures are shrunk, smaller ones are
    /// never enlarged. A model of one size shrinks what does not fit into that, too.
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
    handle: Handle,
    normalization: Normalization,
    /// Places of the outputs of the family among those of the model.
    places: [usize; MOST_OUTPUTS],
    preprocessor: Preprocessor,
    /// The frames that were submitted and not finished, the oldest first.
    frames: VecDeque<Frame>,
    /// Requests for the next frames.
    spare: Vec<Request>,
    /// The request of the frame that was finished last.
    request: Request,
    not_finite: u64,
    spent: Spent,
}

/// What the faces of a submitted frame are found by.
#[derive(Debug)]
struct Frame {
    letterbox: Letterbox,
    options: DetectOptions,
    pixel_aspect: f32,
    deadline: Option<Instant>,
}

impl Detector {
    /// # Errors
    /// [`InferenceError`] when the model cannot be loaded.
    pub fn load(model: &ResolvedModel, options: &PoolOptions) -> Result<Self, InferenceError> {
        if model.spec.decoder.task() != Task::Detector {
            return Err(InferenceError::ModelKind {
                path: model.path.clone(),
                id: model.spec.id.clone(),
                reason: "it is not a face detector".to_owned(),
            });
        }
        let pool = Pool::shared(model, options)?;
        // Pool::shared checked that every output is there.
        let place = |name: &str| pool.output_names().iter().position(|n| n == name).unwrap_or(0);
        let places = match model.spec.decoder {
            Decoder::Yunet => yunet::OUTPUTS.map(place),
            // They go by their shapes.
            _ => std::array::from_fn(|place| place),
        };
        Ok(Self {
            places,
            normalization: Normalization::from(&model.spec),
            preprocessor: Preprocessor::default(),
            frames: VecDeque::new(),
            spare: Vec::new(),
            request: Request::default(),
            not_finite: 0,
            spent: Spent::default(),
            handle: pool.handle(),
            pool,
        })
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub fn spec(&self) -> &ModelSpec {
        &self.pool.model().spec
    }

    /// What became of the frames so far.
    pub fn stats(&self) -> HandleStats {
        self.handle.stats()
    }

    /// Processor time of the calling thread around the model.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// Ends the waiting of [`Detector::detect`] and [`Detector::finish`] from another thread.
    pub fn canceller(&self) -> Canceller {
        self.handle.canceller()
    }

    /// Faces left out so far because a number of theirs was not finite.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// Finds the faces of `frame`, sorted by falling score, and puts them into `faces` (cleared
    /// first). Waits until `deadline` at most. Frames that are submitted are given up.
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
        self.give_up();
        self.submit(frame, options, deadline);
        self.finish(faces)
    }

    /// Begins with `frame` and does not wait, so that several frames of a stream are searched at
    /// the same time. It is the caller's business how many.
    pub fn submit(
        &mut self,
        frame: &FrameView<'_>,
        options: &DetectOptions,
        deadline: Option<Instant>,
    ) {
        let letterbox = Letterbox::for_model(frame, self.spec(), options.input_size);
        let mut request = self.spare.pop().unwrap_or_else(|| std::mem::take(&mut self.request));
        let mut data = request.take_input();
        let Self { preprocessor, normalization, spent, .. } = self;
        cpu::timed(&mut spent.preprocess, || {
            preprocessor.letterbox(frame, &letterbox, normalization, &mut data);
        });
        request.input = Array4::from_shape_vec((1, 3, letterbox.height, letterbox.width), data)
            .expect("the letterbox fills the tensor");
        self.handle.submit(request, deadline);
        let (options, pixel_aspect) = (*options, frame.pixel_aspect);
        self.frames.push_back(Frame { letterbox, options, pixel_aspect, deadline });
    }

    /// How many frames are submitted and not finished.
    pub fn submitted(&self) -> usize {
        self.frames.len()
    }

    /// Waits for the oldest submitted frame and puts its faces into `faces`, as
    /// [`Detector::detect`] does. No face without such a frame.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn finish(&mut self, faces: &mut Vec<Detection>) -> Result<(), DetectError> {
        faces.clear();
        let Some(frame) = self.frames.pop_front() else {
            return Ok(());
        };
        let last = std::mem::take(&mut self.request);
        if !last.outputs.is_empty() {
            self.spare.push(last);
        }
        self.handle.receive(&mut self.request, frame.deadline)?;
        let begun = cpu::thread_time();
        let result = self.take_faces(&frame, faces);
        self.spent.decode += cpu::thread_time().saturating_sub(begun);
        result
    }

    /// Reads the faces of `frame` out of the outputs of the last run.
    fn take_faces(&mut self, frame: &Frame, faces: &mut Vec<Detection>) -> Result<(), DetectError> {
        let Frame { letterbox, options, pixel_aspect, .. } = frame;
        let bad = self
            .decode((letterbox.width, letterbox.height), options.score_threshold, faces)
            .map_err(|source| DetectError::Decode { model: self.spec().id.clone(), source })?;
        self.not_finite += bad as u64;
        nms(faces, options.nms_threshold, |f| (f.bbox, f.score));
        for face in faces.iter_mut() {
            face.bbox = letterbox.box_to_source(&face.bbox);
            face.landmarks = face.landmarks.map(|l| letterbox.landmarks_to_source(&l));
        }
        faces.retain(|f| f.bbox.scaled(*pixel_aspect, 1.0).min_side() >= options.min_face_size);
        if options.max_faces > 0 {
            faces.truncate(options.max_faces);
        }
        Ok(())
    }

    /// Gives up the submitted frames.
    pub fn give_up(&mut self) {
        self.handle.give_up();
        self.frames.clear();
    }

    /// Reads the outputs of the last run, for an input of `size` (width, height). Appends to
    /// `faces`; how many were left out because a number was not finite.
    fn decode(
        &self,
        size: (usize, usize),
        threshold: f32,
        faces: &mut Vec<Detection>,
    ) -> Result<usize, DecodeError> {
        let outputs = self.places.map(|place| self.output(place));
        decode(self.spec().decoder, &outputs, size, threshold, faces)
    }

    fn output(&self, index: usize) -> Output<'_> {
        let request = &self.request;
        Output {
            name: self.pool.output_names().get(index).map_or("", String::as_str),
            shape: request.outputs.get(index).map(|o| o.shape()).unwrap_or_default(),
            values: request.output(index),
        }
    }
}
