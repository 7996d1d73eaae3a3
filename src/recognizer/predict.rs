//! Who is on a picture.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sample::RecognizeError;
use super::{Image, Looker, PictureFace, Recognizer, Rejection, check, in_order};
use crate::align::AlignedCrop;
use crate::detect::Detection;
use crate::embed::Embedding;
use crate::frame::FrameView;
use crate::gallery::{Gallery, Match, SearchError, SearchRules, Snapshot, VoteRule};
use crate::identity::Status;
use crate::inference::InferenceError;
use crate::picture::PictureError;
use crate::quality::Gate;

/// How faces are recognised, and what is wanted of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PredictOptions {
    /// Cosine similarity (-1..=1) from which a face is a person who has no threshold of their own;
    /// `None`: what the embedder recommends.
    pub threshold: Option<f32>,
    /// By how much (0..=2) the nearest person must be nearer than the second, else the status is
    /// [`Status::Uncertain`]; 0: off.
    pub min_margin: f32,
    /// How the samples of a person make one similarity.
    pub vote: VoteRule,
    /// So many of the nearest people are listed in [`FaceIdentity::top`].
    pub top_k: usize,
    /// Faces that do not pass its checks of pose and pixels are [`Status::Filtered`]; `None`:
    /// every face that can be aligned is looked for.
    pub gate: Option<Gate>,
    /// Hand out the aligned crops.
    pub crops: bool,
    /// Hand out the embeddings.
    pub embeddings: bool,
}

/// What else is known of a face, by name. Empty: nothing computes attributes yet.
pub type Properties = BTreeMap<String, serde_json::Value>;

/// A face of a picture and who it is.
#[derive(Clone, Debug, PartialEq)]
pub struct FaceIdentity {
    /// Box, score and landmarks.
    pub detection: Detection,
    /// [`Status::Known`], [`Status::Unknown`], [`Status::Uncertain`], [`Status::Filtered`] or
    /// [`Status::Error`].
    pub status: Status,
    /// `None` unless known.
    pub name: Option<Arc<str>>,
    /// `None` unless known.
    pub person_id: Option<Arc<str>>,
    /// Cosine similarity (-1..=1) with the nearest person, known or not; `None` if there is none.
    pub similarity: Option<f32>,
    /// How much nearer the nearest person is than the second, 0..=2.
    pub margin: Option<f32>,
    /// The nearest people, nearest first.
    pub top: Vec<Match>,
    /// Why the face was not looked for, in one word; `None` if it was.
    pub filter: Option<&'static str>,
    pub properties: Properties,
    /// If asked for and there is one.
    pub crop: Option<AlignedCrop>,
    /// If asked for and there is one.
    pub embedding: Option<Embedding>,
}

/// The faces of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Place of the picture in the batch, from 0.
    pub frame_id: u64,
    /// Pixels of the upright picture.
    pub width: u32,
    pub height: u32,
    /// By falling score.
    pub faces: Vec<FaceIdentity>,
}

/// Why a picture has no [`Prediction`].
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The picture is at fault: others may do.
    #[error(transparent)]
    Unreadable(#[from] PictureError),
    #[error(transparent)]
    Failed(#[from] RecognizeError),
    /// A setting cannot work, or the gallery is of another embedder.
    #[error(transparent)]
    Search(#[from] SearchError),
}

impl From<InferenceError> for PredictError {
    fn from(error: InferenceError) -> Self {
        PredictError::Failed(error.into())
    }
}

/// One picture of a batch.
#[derive(Debug)]
pub struct Predicted {
    /// Place of the picture in the batch, from 0.
    pub frame_id: u64,
    /// Path of the picture; empty if it was no file.
    pub source: String,
    pub result: Result<Prediction, PredictError>,
}

impl Recognizer {
    /// Finds the faces of a picture and looks for them in `gallery` as of its last refresh.
    ///
    /// # Errors
    /// [`PredictError`] if the picture cannot be read, a model fails, or the gallery cannot be
    /// searched with these settings.
    pub fn predict<'a>(
        &mut self,
        gallery: &Gallery,
        image: impl Into<Image<'a>>,
        options: &PredictOptions,
    ) -> Result<Prediction, PredictError> {
        let options = self.with_threshold(options);
        self.first.predict(&gallery.snapshot(), &image.into(), 0, &options)
    }

    /// As [`Recognizer::predict`] for many pictures, several at a time. `each` gets the results in
    /// the order of the pictures, as they come. At most two pictures per thread are taken ahead of
    /// the result that is due, so `images` may be endless, and frames may be made when they are
    /// asked for. What is enrolled meanwhile counts from the next picture on.
    ///
    /// ```no_run
    /// # use face_core::recognizer::{PredictOptions, Predicted, Recognizer};
    /// # fn f(recognizer: &mut Recognizer, gallery: &face_core::gallery::Gallery)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let options = PredictOptions { min_margin: 0.05, top_k: 3, ..PredictOptions::default() };
    /// let photos = ["a.jpg", "b.jpg", "c.jpg"];
    /// recognizer.predict_batch(gallery, photos, &options, |Predicted { source, result, .. }| {
    ///     match result {
    ///         Ok(prediction) => println!("{source}: {} faces", prediction.faces.len()),
    ///         Err(error) => eprintln!("{source}: {error}"),
    ///     }
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first error of `each`, after which no further picture is taken; or that of a model or a
    /// thread that cannot be had. What happens to one picture is its result.
    pub fn predict_batch<'a, I, E>(
        &mut self,
        gallery: &Gallery,
        images: I,
        options: &PredictOptions,
        each: impl FnMut(Predicted) -> Result<(), E>,
    ) -> Result<(), E>
    where
        I: IntoIterator<Item: Into<Image<'a>>>,
        E: From<std::io::Error> + From<InferenceError>,
    {
        let options = self.with_threshold(options);
        let images = images.into_iter().map(Into::into);
        let most = images.size_hint().1.unwrap_or(usize::MAX);
        let work = |looker: &mut &mut Looker, (frame_id, image): (u64, Image<'_>)| Predicted {
            frame_id,
            source: image.source(),
            result: looker.predict(&gallery.snapshot(), &image, frame_id, &options),
        };
        in_order(&mut self.lookers(most)?, (0..).zip(images), work, each)
    }

    /// The options with a threshold.
    fn with_threshold(&self, options: &PredictOptions) -> PredictOptions {
        let threshold = Some(options.threshold.unwrap_or(self.embedder().threshold));
        PredictOptions { threshold, ..*options }
    }
}

impl Looker {
    fn predict(
        &mut self,
        gallery: &Snapshot,
        image: &Image<'_>,
        frame_id: u64,
        options: &PredictOptions,
    ) -> Result<Prediction, PredictError> {
        image.show(|frame| {
            let mut found = self.find(frame)?;
            let filters: Vec<_> = found.iter().map(|f| filter(f, frame, options)).collect();
            let due = found.iter_mut().zip(&filters).filter(|(_, filter)| filter.is_none());
            self.embed(due.map(|(face, _)| face))?;
            let faces = found.into_iter().zip(filters);
            let faces = faces.map(|(face, filter)| options.identify(gallery, face, filter));
            Ok(Prediction {
                frame_id,
                width: frame.width(),
                height: frame.height(),
                faces: faces.collect::<Result<_, _>>()?,
            })
        })
    }
}

/// Why a face is not looked for.
fn filter(
    face: &PictureFace,
    frame: &FrameView<'_>,
    options: &PredictOptions,
) -> Option<&'static str> {
    let (Some(landmarks), Some(crop)) = (&face.detection.landmarks, &face.crop) else {
        return Some(Rejection::NoLandmarks.reason());
    };
    let gate = options.gate.as_ref()?;
    check(gate, frame, landmarks, crop).err().map(|rejection| rejection.reason())
}

impl PredictOptions {
    fn identify(
        &self,
        gallery: &Snapshot,
        face: PictureFace,
        filter: Option<&'static str>,
    ) -> Result<FaceIdentity, SearchError> {
        let mut identity = FaceIdentity {
            detection: face.detection,
            status: if filter.is_some() { Status::Filtered } else { Status::Error },
            name: None,
            person_id: None,
            similarity: None,
            margin: None,
            top: Vec::new(),
            filter,
            properties: Properties::new(),
            crop: face.crop.filter(|_| self.crops),
            embedding: None,
        };
        let Some(embedding) = face.embedding else {
            return Ok(identity);
        };
        let rules = SearchRules {
            // Without a threshold the search refuses; predict sets the embedder's.
            threshold: self.threshold.unwrap_or(f32::NAN),
            min_margin: self.min_margin,
            top_k: self.top_k,
            vote: self.vote,
        };
        let found = gallery.decide(&embedding, &rules)?;
        identity.status = found.status;
        identity.similarity = found.best.as_ref().map(|best| best.similarity);
        identity.margin = found.margin;
        identity.top = found.top;
        if let Some(best) = found.best.filter(|_| found.status == Status::Known) {
            identity.name = Some(best.name);
            identity.person_id = Some(best.person_id);
        }
        identity.embedding = Some(embedding).filter(|_| self.embeddings);
        Ok(identity)
    }
}
