//! Faces of still pictures: find and embed them all, or choose the one to enrol, and many pictures
//! at a time in their order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::align::AlignedCrop;
use crate::detect::{DetectError, DetectOptions, Detection, Detector};
use crate::embed::{Embedder, Embedding, EmbeddingError, Fingerprint};
use crate::frame::FrameView;
use crate::inference::{InferenceError, PoolOptions};
use crate::model::{ModelSpec, ResolvedModel};
use crate::picture::PictureError;

/// A face of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureFace {
    pub detection: Detection,
    /// `None` if the detector gave no landmarks, or points without extent.
    pub crop: Option<AlignedCrop>,
    /// `None` without a crop, or if the embedder's output for it is no direction.
    pub embedding: Option<Embedding>,
}

/// The face of a picture that is to be enrolled or compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub detection: Detection,
    pub crop: AlignedCrop,
    pub embedding: Embedding,
}

/// What a face must be like to stand for its person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRules {
    /// Least shorter side of the face's box in square pixels.
    pub min_side_px: f32,
    /// Least score of the detection, 0..=1.
    pub min_score: f32,
    /// A second face of at least this part of the chosen one's area (0..=1) makes it unclear who
    /// is meant.
    pub rival_area: f32,
    /// Take the largest face even so.
    pub largest: bool,
}

impl SampleRules {
    /// For faces that stay in a gallery: 48 pixels and a score of .7. A worse picture would draw
    /// strangers towards its person.
    pub const ENROLMENT: Self =
        Self { min_side_px: 48.0, min_score: 0.7, rival_area: 0.6, largest: false };

    /// For a comparison whose result is not kept: every face that is found.
    pub const COMPARISON: Self =
        Self { min_side_px: 0.0, min_score: 0.0, rival_area: 0.6, largest: false };
}

/// Why a picture gives no sample. The picture is at fault, not the program: others may do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    #[error(transparent)]
    Unreadable(#[from] PictureError),
    #[error("no face was found")]
    NoFace,
    #[error("{} faces are about equally large; crop the picture, or ask for the largest", .rivals + 1)]
    SeveralFaces {
        /// Faces beside the largest that are nearly as large, or larger and unusable.
        rivals: usize,
    },
    #[error("the face measures {side_px:.0} pixels, at least {min_px} are needed")]
    SmallFace { side_px: f32, min_px: f32 },
    #[error("the face was found with a score of {score:.2}, at least {min:.2} is needed")]
    LowScore { score: f32, min: f32 },
    #[error("the eyes, nose and mouth were not found")]
    NoLandmarks,
    #[error("the face cannot be embedded")]
    NoEmbedding(#[source] EmbeddingError),
}

impl Rejection {
    /// The reason in one word, for machines; stays the same in later versions.
    pub fn reason(&self) -> &'static str {
        match self {
            Rejection::Unreadable(_) => "unreadable",
            Rejection::NoFace => "no-face",
            Rejection::SeveralFaces { .. } => "several-faces",
            Rejection::SmallFace { .. } => "small-face",
            Rejection::LowScore { .. } => "low-score",
            Rejection::NoLandmarks => "no-landmarks",
            Rejection::NoEmbedding(_) => "no-embedding",
        }
    }
}

/// Why pictures cannot be looked at at all: a model failed.
#[derive(Debug, thiserror::Error)]
pub enum RecognizeError {
    #[error(transparent)]
    Detect(#[from] DetectError),
    #[error(transparent)]
    Embed(#[from] InferenceError),
}

/// Why there is no [`Sample`].
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Failed(#[from] RecognizeError),
}

/// A detector and an embedder over pictures. Every thread has its own; their models run in the
/// pools that the whole process shares, so that a second one is cheap.
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
            options: DetectOptions::of(&detector.spec),
            detector: Detector::load(detector, pools)?,
            embedder: Embedder::load(embedder, pools)?,
            detections: Vec::new(),
        })
    }

    /// What the embeddings can be compared with.
    pub fn fingerprint(&self) -> &Arc<Fingerprint> {
        self.embedder.fingerprint()
    }

    /// The embedder's specification, which has the recommended threshold.
    pub fn embedder(&self) -> &ModelSpec {
        self.embedder.spec()
    }

    /// Every face of a picture, by falling score.
    ///
    /// # Errors
    /// [`RecognizeError`] if a model fails.
    pub fn faces(&mut self, frame: &FrameView<'_>) -> Result<Vec<PictureFace>, RecognizeError> {
        self.detector.detect(frame, &self.options, None, &mut self.detections)?;
        let as_face = |detection: &Detection| {
            let crop = detection.landmarks.and_then(|l| AlignedCrop::cut(frame, &l));
            PictureFace { detection: *detection, crop, embedding: None }
        };
        let mut faces: Vec<PictureFace> = self.detections.iter().map(as_face).collect();
        let crops: Vec<&AlignedCrop> = faces.iter().filter_map(|f| f.crop.as_ref()).collect();
        let embeddings = self.embedder.embed(&crops, None)?;
        let embedded = faces.iter_mut().filter(|f| f.crop.is_some());
        for (face, embedding) in embedded.zip(embeddings) {
            face.embedding = embedding.ok();
        }
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
        self.detector
            .detect(frame, &self.options, None, &mut self.detections)
            .map_err(RecognizeError::Detect)?;
        let detection = *rules.choose(&self.detections, frame.pixel_aspect)?;
        let crop = detection
            .landmarks
            .and_then(|l| AlignedCrop::cut(frame, &l))
            .ok_or(Rejection::NoLandmarks)?;
        let embedding = self.embedder.embed(&[&crop], None).map_err(RecognizeError::Embed)?.pop();
        let embedding =
            embedding.unwrap_or(Err(EmbeddingError::Empty)).map_err(Rejection::NoEmbedding)?;
        Ok(Sample { detection, crop, embedding })
    }
}

impl SampleRules {
    /// The largest face that passes the checks. If none does, the reason is that of the largest.
    fn choose<'a>(
        &self,
        faces: &'a [Detection],
        pixel_aspect: f32,
    ) -> Result<&'a Detection, Rejection> {
        let mut by_area: Vec<&Detection> = faces.iter().collect();
        by_area.sort_by(|a, b| b.bbox.area().total_cmp(&a.bbox.area()));
        let chosen = by_area.iter().find(|face| self.check(face, pixel_aspect).is_ok());
        let Some(chosen) = chosen.copied() else {
            let largest = by_area.first().ok_or(Rejection::NoFace)?;
            self.check(largest, pixel_aspect)?;
            return Ok(largest);
        };
        // A larger face that fails a check counts as well: the bystander would be enrolled under
        // the name of the person in front.
        let limit = self.rival_area * chosen.bbox.area();
        let rivals = by_area.iter().filter(|f| f.bbox.area() >= limit).count() - 1;
        if rivals > 0 && !self.largest {
            return Err(Rejection::SeveralFaces { rivals });
        }
        Ok(chosen)
    }

    /// May this face stand for its person?
    fn check(&self, face: &Detection, pixel_aspect: f32) -> Result<(), Rejection> {
        let side_px = face.bbox.scaled(pixel_aspect, 1.0).min_side();
        if face.landmarks.is_none() {
            Err(Rejection::NoLandmarks)
        } else if side_px < self.min_side_px {
            Err(Rejection::SmallFace { side_px, min_px: self.min_side_px })
        } else if face.score < self.min_score {
            Err(Rejection::LowScore { score: face.score, min: self.min_score })
        } else {
            Ok(())
        }
    }
}

/// Does `work` on every item, each worker in its own thread, and hands the results to `each` on
/// this thread in the order of the items. At most two items per worker are taken ahead of the
/// result that is due, so memory does not grow with their number. Without workers nothing is done.
///
/// ```
/// let mut doubled = Vec::new();
/// face_core::recognizer::in_order(&mut [(), ()], 1..=5, |_, i| i * 2, |i| {
///     doubled.push(i);
///     Ok::<(), std::io::Error>(())
/// })?;
/// assert_eq!(doubled, [2, 4, 6, 8, 10]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The first error of `each`, after which no further item is taken; or that of a thread that
/// cannot be started.
///
/// # Panics
/// If `work` does.
pub fn in_order<W: Send, T: Send, R: Send, E: From<std::io::Error>>(
    workers: &mut [W],
    items: impl IntoIterator<Item = T>,
    work: impl Fn(&mut W, T) -> R + Sync,
    mut each: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let window = 2 * workers.len();
    // As wide as the window, so that handing over never waits.
    let (jobs, queue) = crossbeam_channel::bounded(window);
    let work = &work;
    std::thread::scope(|scope| {
        // Owned by this scope: the workers leave when it is dropped, whichever way that happens.
        let jobs = jobs;
        for (i, worker) in workers.iter_mut().enumerate() {
            let queue: crossbeam_channel::Receiver<(T, crossbeam_channel::Sender<R>)> =
                queue.clone();
            std::thread::Builder::new().name(format!("face-picture-{i}")).spawn_scoped(
                scope,
                move || {
                    for (item, reply) in queue {
                        // Nobody waits any more after an error.
                        let _ = reply.send(work(worker, item));
                    }
                },
            )?;
        }
        drop(queue);
        let mut items = items.into_iter().fuse();
        let mut pending = VecDeque::with_capacity(window);
        loop {
            while pending.len() < window
                && let Some(item) = items.next()
            {
                let (reply, answer) = crossbeam_channel::bounded(1);
                // Fails only if every worker panicked; the answer below then fails, too.
                let _ = jobs.send((item, reply));
                pending.push_back(answer);
            }
            let Some(answer) = pending.pop_front() else { return Ok(()) };
            // Without an answer its worker panicked, which leaving the scope passes on.
            let Ok(result) = answer.recv() else { return Ok(()) };
            each(result)?;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{BBox, Landmarks};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn face(x: f32, side: f32, score: f32) -> Detection {
        let bbox = BBox::new(x, 0.0, side, side);
        Detection { bbox, score, landmarks: Some(Landmarks::default()) }
    }

    fn reason(faces: &[Detection], rules: &SampleRules) -> &'static str {
        rules.choose(faces, 1.0).map_or_else(|r| r.reason(), |_| "chosen")
    }

    #[test]
    fn largest_face_that_passes_is_chosen() {
        let rules = SampleRules::ENROLMENT;
        let faces = [face(0.0, 50.0, 0.99), face(100.0, 100.0, 0.8)];
        assert_eq!(rules.choose(&faces, 1.0).unwrap(), &faces[1]);
        assert_eq!(reason(&[], &rules), "no-face");
        assert_eq!(reason(&[face(0.0, 47.9, 0.9)], &rules), "small-face");
        assert_eq!(reason(&[face(0.0, 48.0, 0.69)], &rules), "low-score");
        let blind = Detection { landmarks: None, ..face(0.0, 90.0, 0.9) };
        assert_eq!(reason(&[blind], &rules), "no-landmarks");
        assert_eq!(reason(&[face(0.0, 20.0, 0.6)], &SampleRules::COMPARISON), "chosen");
    }

    #[test]
    fn second_face_of_60_percent_of_the_area_makes_it_unclear_who_is_meant() {
        let rules = SampleRules::ENROLMENT;
        // Areas 10,000 and 6,084 or 5,929.
        assert_eq!(
            reason(&[face(0.0, 100.0, 0.9), face(200.0, 78.0, 0.9)], &rules),
            "several-faces"
        );
        assert_eq!(reason(&[face(0.0, 100.0, 0.9), face(200.0, 77.0, 0.9)], &rules), "chosen");
        // A larger face that is no good does not make the bystander the person.
        let faces = [face(0.0, 100.0, 0.9), face(200.0, 300.0, 0.65)];
        assert_eq!(reason(&faces, &rules), "several-faces");
        let largest = SampleRules { largest: true, ..rules };
        assert_eq!(largest.choose(&faces, 1.0).unwrap(), &faces[0]);
        assert_eq!(reason(&faces[1..], &largest), "low-score");
    }

    #[test]
    fn sides_are_measured_in_square_pixels() {
        let rules = SampleRules::ENROLMENT;
        let narrow = Detection { bbox: BBox::new(0.0, 0.0, 30.0, 60.0), ..face(0.0, 1.0, 0.9) };
        assert!(rules.choose(&[narrow], 1.0).is_err());
        assert!(rules.choose(&[narrow], 2.0).is_ok());
    }

    #[test]
    fn results_come_in_order_and_few_items_are_taken_ahead() {
        let taken = AtomicUsize::new(0);
        let items = (0..200u64).inspect(|_| {
            taken.fetch_add(1, Ordering::SeqCst);
        });
        let mut results = Vec::new();
        // The workers' speeds differ, so that answers come out of order.
        let work = |count: &mut u64, i: u64| {
            *count += 1;
            (0..(i * 7919 % 13) * 2000).fold(0, |a: u64, b| std::hint::black_box(a ^ b));
            i
        };
        let mut workers = [0u64; 3];
        in_order(&mut workers, items, work, |i| {
            results.push(i);
            assert!(taken.load(Ordering::SeqCst) <= results.len() + 6);
            Ok::<(), std::io::Error>(())
        })
        .unwrap();
        assert_eq!(results, (0..200).collect::<Vec<_>>());
        assert_eq!(workers.iter().sum::<u64>(), 200);
    }

    #[test]
    fn error_of_the_receiver_stops_the_rest() {
        let mut seen = 0;
        let endless = 0u64..;
        let error = in_order(
            &mut [(), ()],
            endless,
            |(), i| i,
            |i| {
                seen += 1;
                if i == 9 { Err(std::io::Error::other("full")) } else { Ok(()) }
            },
        );
        assert_eq!(error.unwrap_err().to_string(), "full");
        assert_eq!(seen, 10);
    }

    #[test]
    fn panic_of_the_work_is_passed_on_and_does_not_hang() {
        let result = std::panic::catch_unwind(|| {
            let work = |(): &mut (), i: u64| assert!(i != 5, "five");
            in_order(&mut [(), ()], 0..100, work, |()| Ok::<(), std::io::Error>(()))
        });
        assert!(result.is_err());
    }
}
