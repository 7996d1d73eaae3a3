//! Faces of still pictures: who is on them, and which of them is enrolled; one by one, or many
//! pictures at a time in their order.
//!
//! ```no_run
//! use face_core::gallery::{Access, Gallery};
//! use face_core::recognizer::{EnrollRules, PredictOptions, Recognizer};
//! use face_core::{inference::PoolOptions, model};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let detector = model::resolve(model::DEFAULT_DETECTOR, model::Task::Detector)?;
//! let embedder = model::resolve(model::DEFAULT_EMBEDDER, model::Task::Embedder)?;
//! let mut recognizer = Recognizer::load(&detector, &embedder, &PoolOptions::default())?;
//!
//! let path = "family.gallery";
//! let gallery = Gallery::open(path, recognizer.fingerprint(), Access::Create)?;
//! recognizer.enroll_image(&gallery, "Ada Lovelace", "ada.jpg", &EnrollRules::default())?;
//!
//! let prediction = recognizer.predict(&gallery, "group.jpg", &PredictOptions::default())?;
//! for face in &prediction.faces {
//!     println!("{:?}: {} {:?}", face.detection.bbox, face.status.as_str(), face.name);
//! }
//! # Ok(())
//! # }
//! ```

mod batch;
mod enroll;
mod image;
mod predict;
mod sample;

use std::sync::Arc;

use crate::align::AlignedCrop;
use crate::detect::{DetectOptions, Detection, Detector};
use crate::embed::{Embedder, Embedding, EmbeddingError, Fingerprint};
use crate::frame::FrameView;
use crate::geometry::Landmarks;
use crate::inference::{InferenceError, PoolOptions};
use crate::model::{ModelSpec, ResolvedModel};
use crate::quality::Gate;

pub use batch::in_order;
pub use enroll::{
    EnrollError, EnrollRules, EnrolledSamples, Enrolment, GatedSamples, NamedTrack, Stored,
    enroll_samples, gate_samples,
};
pub use image::Image;
pub use predict::{FaceIdentity, PredictError, PredictOptions, Predicted, Prediction, Properties};
pub use sample::{RecognizeError, Rejection, Sample, SampleError, SampleRules};

/// A face of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureFace {
    pub detection: Detection,
    /// `None` if the detector gave no landmarks, or points without extent.
    pub crop: Option<AlignedCrop>,
    /// `None` without a crop, or if the embedder's output for it is no direction.
    pub embedding: Option<Embedding>,
}

/// A detector and an embedder over pictures. Their models run in the pools that the whole process
/// shares. A batch works on as many pictures at a time as [`PoolOptions::threads`] says: while one
/// is decoded, faces are looked for in another and those of a third are embedded.
///
/// ```no_run
/// use face_core::{inference::PoolOptions, model, picture::Picture};
/// use face_core::recognizer::{Recognizer, SampleRules};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let detector = model::resolve(model::DEFAULT_DETECTOR, model::Task::Detector)?;
/// let embedder = model::resolve(model::DEFAULT_EMBEDDER, model::Task::Embedder)?;
/// let mut recognizer = Recognizer::load(&detector, &embedder, &PoolOptions::default())?;
/// let mut sample = |path: &str| -> Result<_, Box<dyn std::error::Error>> {
///     let picture = Picture::open(path.as_ref())?;
///     Ok(recognizer.sample(&picture.view(), &SampleRules::COMPARISON)?.embedding)
/// };
/// let (a, b) = (sample("a.jpg")?, sample("b.jpg")?);
/// println!("cosine similarity {:?}", a.cosine(&b));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Recognizer {
    detector: ResolvedModel,
    embedder: ResolvedModel,
    pools: PoolOptions,
    /// The one that serves single pictures.
    first: Looker,
    /// Further ones for batches, made when the first batch comes.
    others: Vec<Looker>,
}

/// What one thread works with. The models' workers are shared, so that a second one is cheap.
#[derive(Debug)]
struct Looker {
    detector: Detector,
    embedder: Embedder,
    options: DetectOptions,
    detections: Vec<Detection>,
}

impl Recognizer {
    /// Detects with the detector's own thresholds.
    ///
    /// # Errors
    /// [`InferenceError`] when a model cannot be loaded.
    pub fn load(
        detector: &ResolvedModel,
        embedder: &ResolvedModel,
        pools: &PoolOptions,
    ) -> Result<Self, InferenceError> {
        Ok(Self {
            first: Looker::load(detector, embedder, pools)?,
            others: Vec::new(),
            detector: detector.clone(),
            embedder: embedder.clone(),
            pools: pools.clone(),
        })
    }

    /// What the embeddings can be compared with.
    pub fn fingerprint(&self) -> &Arc<Fingerprint> {
        self.first.embedder.fingerprint()
    }

    /// The embedder's specification, which has the recommended threshold.
    pub fn embedder(&self) -> &ModelSpec {
        self.first.embedder.spec()
    }

    /// Every face of a picture, by falling score.
    ///
    /// # Errors
    /// [`RecognizeError`] if a model fails.
    pub fn faces(&mut self, frame: &FrameView<'_>) -> Result<Vec<PictureFace>, RecognizeError> {
        let mut faces = self.first.find(frame)?;
        self.first.embed(&mut faces)?;
        Ok(faces)
    }

    /// The one face of a picture that stands for its person.
    ///
    /// # Errors
    /// [`SampleError::Rejected`] if there is none, with the reason; [`SampleError::Failed`] if a
    /// model fails.
    pub fn sample(
        &mut self,
        frame: &FrameView<'_>,
        rules: &SampleRules,
    ) -> Result<Sample, SampleError> {
        self.first.sample(frame, rules, None, false)
    }

    /// As many as pictures are worked on at a time, at most `most`, at least one.
    fn lookers(&mut self, most: usize) -> Result<Vec<&mut Looker>, InferenceError> {
        let wanted = match self.pools.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let others = wanted.min(most).saturating_sub(1);
        while self.others.len() < others {
            self.others.push(Looker::load(&self.detector, &self.embedder, &self.pools)?);
        }
        let others = self.others.iter_mut().take(others);
        Ok(std::iter::once(&mut self.first).chain(others).collect())
    }
}

impl Looker {
    fn load(
        detector: &ResolvedModel,
        embedder: &ResolvedModel,
        pools: &PoolOptions,
    ) -> Result<Self, InferenceError> {
        Ok(Self {
            options: DetectOptions::of(&detector.spec),
            detector: Detector::load(detector, pools)?,
            embedder: Embedder::load(embedder, pools)?,
            detections: Vec::new(),
        })
    }

    /// Every face of a picture with its crop, by falling score.
    fn find(&mut self, frame: &FrameView<'_>) -> Result<Vec<PictureFace>, RecognizeError> {
        self.detector.detect(frame, &self.options, None, &mut self.detections)?;
        let as_face = |detection: &Detection| {
            let crop = detection.landmarks.and_then(|l| AlignedCrop::cut(frame, &l));
            PictureFace { detection: *detection, crop, embedding: None }
        };
        Ok(self.detections.iter().map(as_face).collect())
    }

    /// Embeds those faces that have a crop.
    fn embed<'a>(
        &mut self,
        faces: impl IntoIterator<Item = &'a mut PictureFace>,
    ) -> Result<(), InferenceError> {
        let mut faces: Vec<_> = faces.into_iter().filter(|f| f.crop.is_some()).collect();
        let crops: Vec<&AlignedCrop> = faces.iter().filter_map(|f| f.crop.as_ref()).collect();
        let embeddings = self.embedder.embed(&crops, None)?;
        for (face, embedding) in faces.iter_mut().zip(embeddings) {
            face.embedding = embedding.ok();
        }
        Ok(())
    }

    /// As [`Recognizer::sample`]. A `gate` is passed before the face is embedded; `force` takes
    /// the best face there is.
    fn sample(
        &mut self,
        frame: &FrameView<'_>,
        rules: &SampleRules,
        gate: Option<&Gate>,
        force: bool,
    ) -> Result<Sample, SampleError> {
        self.detector
            .detect(frame, &self.options, None, &mut self.detections)
            .map_err(RecognizeError::Detect)?;
        let aspect = frame.pixel_aspect;
        let detection = *rules.choose_or_force(&self.detections, aspect, force)?;
        let landmarks = detection.landmarks.ok_or(Rejection::NoLandmarks)?;
        let crop = AlignedCrop::cut(frame, &landmarks).ok_or(Rejection::NoLandmarks)?;
        if let Some(gate) = gate.filter(|_| !force) {
            check(gate, frame, &landmarks, &crop)?;
        }
        let embedding = self.embedder.embed(&[&crop], None).map_err(RecognizeError::Embed)?.pop();
        let embedding =
            embedding.unwrap_or(Err(EmbeddingError::Empty)).map_err(Rejection::NoEmbedding)?;
        Ok(Sample { detection, crop, embedding })
    }
}

/// Passes a face of a frame through the part of a gate that needs the picture only.
fn check(
    gate: &Gate,
    frame: &FrameView<'_>,
    landmarks: &Landmarks,
    crop: &AlignedCrop,
) -> Result<(), Rejection> {
    gate.check_pose(&Landmarks(landmarks.0.map(|p| frame.to_square(p))))?;
    gate.check_crop(crop)?;
    Ok(())
}
