//! Enrols tracks of an analysis by the samples that it has of them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use face_core::align::{AlignedCrop, CROP_SIDE};
use face_core::detect::Detection;
use face_core::embed::{Embedder, Embedding, EmbeddingError};
use face_core::gallery::{Enrolled, Gallery};
use face_core::geometry::{BBox, Landmarks, Point};
use face_core::identity::TrackSample;
use face_core::picture::Picture;
use face_core::recognizer::{
    EnrollError, EnrollRules, Enrolment, RecognizeError, Rejection, Stored, enroll_samples,
};
use serde::Deserialize;

use crate::enroll_video::sample_source;
use crate::schema::{Analysis, SCHEMA, SampleRecord, TrackSummary};

/// Largest file that is read: the samples of a day with some thousand tracks.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Longest crop in Base64; one without any compression has 51,000 letters.
const MAX_CROP_LETTERS: usize = 128 << 10;
/// How far the length of an embedding may be from 1: it was written with rounded numbers.
const LENGTH_TOLERANCE: f64 = 1e-3;
/// Numbers that are listed in an error before the rest is only counted.
const LISTED: usize = 20;
/// Crops that are embedded at a time.
const BATCH: usize = 32;

/// Why the samples of an analysis cannot be had. The file may come from anybody.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisFileError {
    #[error("read analysis '{name}'")]
    Read {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("read analysis '{name}': it has more than {} MiB", MAX_FILE_BYTES >> 20)]
    TooLarge { name: String },
    #[error("read analysis '{name}': it is no analysis in JSON ({reason})")]
    Json { name: String, reason: String },
    #[error("read analysis '{name}': it is {found:?}, this program reads {SCHEMA:?}")]
    Schema { name: String, found: String },
    /// There is no such track or group.
    #[error("'{name}': no {what} {number}: {there}")]
    Missing { name: String, what: &'static str, number: u64, there: String },
    #[error("'{name}': {what} {number} has no samples: analyse with --samples")]
    NoSamples { name: String, what: &'static str, number: u64 },
    #[error("'{name}': sample {sample} of track {track}: {reason}")]
    Sample { name: String, track: u64, sample: usize, reason: String },
}

/// An analysis that was written before.
#[derive(Clone, Debug)]
pub struct AnalysisFile {
    /// For error texts.
    name: String,
    analysis: Analysis,
}

/// A sample of a track that was checked: it is a face with all that the enrolment gate looks at.
#[derive(Clone, Debug)]
pub struct AnalysisSample {
    pub track_id: u64,
    pub pts_ns: Option<u64>,
    /// Where it comes from, as galleries keep it: video, track and time.
    pub source: String,
    pub crop: AlignedCrop,
    pub detection: Detection,
}

impl AnalysisFile {
    /// Reads a file of at most 1 GiB.
    ///
    /// # Errors
    /// [`AnalysisFileError::Read`], [`AnalysisFileError::TooLarge`], [`AnalysisFileError::Json`],
    /// or [`AnalysisFileError::Schema`] for another version or another program's file.
    pub fn read(path: &Path) -> Result<Self, AnalysisFileError> {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Err(source) => Err(AnalysisFileError::Read { name, source }),
            Ok(_) if bytes.len() as u64 > MAX_FILE_BYTES => {
                Err(AnalysisFileError::TooLarge { name })
            }
            Ok(_) => Self::parse(name, &bytes),
        }
    }

    fn parse(name: String, bytes: &[u8]) -> Result<Self, AnalysisFileError> {
        /// What every version has.
        #[derive(Deserialize)]
        struct Head {
            schema: Option<String>,
        }
        let wrong = |error: serde_json::Error| {
            let (name, reason) = (name.clone(), error.to_string());
            AnalysisFileError::Json { name, reason }
        };
        let found = serde_json::from_slice::<Head>(bytes).map_err(wrong)?.schema;
        let found = found.ok_or_else(|| AnalysisFileError::Json {
            name: name.clone(),
            reason: "it has no schema".to_owned(),
        })?;
        if found != SCHEMA {
            let found = found.chars().take(80).collect();
            return Err(AnalysisFileError::Schema { name, found });
        }
        let analysis = serde_json::from_slice(bytes).map_err(wrong)?;
        Ok(Self { name, analysis })
    }

    /// An analysis that was just made; `name` is for error texts.
    pub fn new(name: String, analysis: Analysis) -> Self {
        Self { name, analysis }
    }

    pub fn analysis(&self) -> &Analysis {
        &self.analysis
    }

    /// The samples of some tracks, and of the tracks of some groups, each track once.
    ///
    /// # Errors
    /// [`AnalysisFileError::Missing`], [`AnalysisFileError::NoSamples`] for a track without any and a
    /// group in which no track has any, or [`AnalysisFileError::Sample`] for one that cannot be.
    pub fn samples<'a>(
        &'a self,
        tracks: &[u64],
        groups: &[u64],
    ) -> Result<Vec<AnalysisSample>, AnalysisFileError> {
        let mut chosen: Vec<&'a TrackSummary> = Vec::new();
        let mut choose = |track: &'a TrackSummary| {
            if chosen.iter().all(|t| t.track_id != track.track_id) {
                chosen.push(track);
            }
        };
        let none = |what, number| {
            let name = self.name.clone();
            AnalysisFileError::NoSamples { name, what, number }
        };
        for &number in tracks {
            let track = self.find(number)?;
            if track.samples.is_empty() {
                return Err(none("track", number));
            }
            choose(track);
        }
        for &number in groups {
            let with_samples = self.group(number)?.into_iter().filter(|t| !t.samples.is_empty());
            let mut with_samples = with_samples.peekable();
            if with_samples.peek().is_none() {
                return Err(none("group", number));
            }
            with_samples.for_each(&mut choose);
        }
        let samples = chosen.into_iter().flat_map(|track| {
            (1..).zip(&track.samples).map(move |(number, sample)| (track.track_id, number, sample))
        });
        samples.map(|(track, number, sample)| self.checked(track, number, sample)).collect()
    }

    fn find(&self, number: u64) -> Result<&TrackSummary, AnalysisFileError> {
        let tracks = &self.analysis.tracks;
        tracks.iter().find(|track| track.track_id == number).ok_or_else(|| {
            let there = listed(tracks.iter().map(|track| track.track_id), "no face was followed");
            AnalysisFileError::Missing { name: self.name.clone(), what: "track", number, there }
        })
    }

    fn group(&self, number: u64) -> Result<Vec<&TrackSummary>, AnalysisFileError> {
        let groups = &self.analysis.groups;
        let group = groups.iter().find(|group| group.group == number).ok_or_else(|| {
            let none = "it has no groups; analyse with --group";
            let there = listed(groups.iter().map(|group| group.group), none);
            AnalysisFileError::Missing { name: self.name.clone(), what: "group", number, there }
        })?;
        group.tracks.iter().map(|track| self.find(*track)).collect()
    }

    fn checked(
        &self,
        track_id: u64,
        number: usize,
        sample: &SampleRecord,
    ) -> Result<AnalysisSample, AnalysisFileError> {
        let wrong = |reason| {
            let name = self.name.clone();
            AnalysisFileError::Sample { name, track: track_id, sample: number, reason }
        };
        check_embedding(&sample.embedding).map_err(wrong)?;
        let video = self.analysis.source.rsplit('/').next().unwrap_or_default();
        Ok(AnalysisSample {
            track_id,
            pts_ns: sample.pts_ns,
            source: sample_source(&format!("{video} track {track_id}"), sample.pts_ns),
            crop: crop(&sample.crop).map_err(wrong)?,
            detection: detection(sample).map_err(wrong)?,
        })
    }
}

/// "there are 1, 2, 5"; what to say of `none`.
fn listed(numbers: impl ExactSizeIterator<Item = u64>, none: &str) -> String {
    let count = numbers.len();
    let shown: Vec<String> = numbers.take(LISTED).map(|number| number.to_string()).collect();
    match (shown.len(), count.saturating_sub(LISTED)) {
        (0, _) => none.to_owned(),
        (_, 0) => format!("there are {}", shown.join(", ")),
        (_, more) => format!("there are {} and {more} more", shown.join(", ")),
    }
}

fn crop(base64: &str) -> Result<AlignedCrop, String> {
    if base64.len() > MAX_CROP_LETTERS {
        return Err(format!("its crop has more than {MAX_CROP_LETTERS} letters of Base64"));
    }
    let file = STANDARD.decode(base64).map_err(|e| format!("its crop is no Base64 ({e})"))?;
    let side = CROP_SIDE as u32;
    let picture = Picture::decode_within("crop", &file, side).map_err(|e| e.to_string())?;
    if (picture.width(), picture.height()) != (side, side) {
        let (width, height) = (picture.width(), picture.height());
        return Err(format!("its crop has {width}x{height} pixels and not {side}x{side}"));
    }
    AlignedCrop::from_rgb(picture.as_rgb().to_vec()).ok_or_else(|| "its crop is no face".to_owned())
}

fn detection(sample: &SampleRecord) -> Result<Detection, String> {
    let [x, y, width, height] = sample.bbox;
    let bbox = BBox::new(x, y, width, height);
    if !bbox.is_valid() {
        return Err("its box is none".to_owned());
    }
    if !(0.0..=1.0).contains(&sample.score) {
        return Err("its score is not from 0 to 1".to_owned());
    }
    let landmarks = Landmarks(sample.landmarks.map(|[x, y]| Point::new(x, y)));
    if !landmarks.is_finite() {
        return Err("its landmarks are not finite".to_owned());
    }
    Ok(Detection { bbox, score: sample.score, landmarks: Some(landmarks) })
}

/// An embedding that is there is a finite unit vector.
fn check_embedding(values: &[f32]) -> Result<(), String> {
    match Embedding::new(values) {
        Err(EmbeddingError::Empty) => return Ok(()),
        Err(error) => return Err(format!("its {error}")),
        Ok(_) => {}
    }
    let length = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    if (length - 1.0).abs() > LENGTH_TOLERANCE {
        return Err(format!("its embedding has the length {length:.3} and not 1"));
    }
    Ok(())
}

/// Enrols samples under a name, in one transaction, through the enrolment gate. Their crops are
/// embedded by `embedder`, which must be the gallery's: what a file calls an embedding of a crop need
/// not be one, and may be another model's.
///
/// One result for each sample, in their order.
///
/// # Errors
/// [`EnrollError`] if the model or the gallery fails, or the name cannot be; nothing is stored then.
/// What the gate refuses is no error but the result of that sample.
pub fn enroll_from_analysis(
    gallery: &Gallery,
    embedder: &mut Embedder,
    name: &str,
    samples: &[AnalysisSample],
    rules: &EnrollRules,
) -> Result<Vec<Enrolment>, EnrollError> {
    let threshold = embedder.spec().threshold;
    let mut embedded = Vec::new();
    for batch in samples.chunks(BATCH) {
        let crops: Vec<&AlignedCrop> = batch.iter().map(|sample| &sample.crop).collect();
        let embeddings = embedder.embed(&crops, None).map_err(RecognizeError::Embed)?;
        embedded.extend(batch.iter().zip(embeddings).map(|(sample, embedding)| {
            let AnalysisSample { crop, detection, .. } = sample;
            embedding.map(|embedding| TrackSample {
                crop: crop.clone(),
                loose: None,
                embedding,
                detection: *detection,
                weight: detection.score,
            })
        }));
    }
    let good = embedded.iter().zip(samples);
    let good = good.filter_map(|(e, s)| Some((e.as_ref().ok()?, s.source.clone())));
    let done = enroll_samples(gallery, name, good, rules, threshold)?;
    let (person_id, created) = done.enrolled.map(|e| (e.person_id, e.created)).unwrap_or_default();
    let mut gated = done.samples.into_iter();
    let results =
        embedded.into_iter().zip(samples).zip(0..).map(|((embedded, sample), frame_id)| {
            let result = match embedded {
                Err(error) => Err(Rejection::NoEmbedding(error)),
                Ok(_) => gated.next().unwrap_or(Err(Rejection::NoFace)),
            };
            let result = result.map(|stored| {
                let new = usize::from(stored == Stored::New);
                Enrolled { person_id: person_id.clone(), created, added: new, duplicates: 1 - new }
            });
            let (source, name) = (sample.source.clone(), name.to_owned());
            Enrolment { frame_id, source, name, result: result.map_err(EnrollError::from) }
        });
    Ok(results.collect())
}
