//! From pictures and tracks to people of a gallery, through the gate.

use std::time::{Duration, Instant};

use super::sample::RecognizeError;
use super::{Image, Looker, Recognizer, Rejection, SampleError, SampleRules, in_order};
use crate::embed::Embedding;
use crate::gallery::{
    Enrolled, Gallery, GalleryError, NewSample, SearchError, SearchRules, Snapshot, VoteRule,
    checked_name,
};
use crate::identity::TrackSample;
use crate::inference::InferenceError;
use crate::loose::{LooseFace, StoreCrops};
use crate::quality::{Gate, PersonCheckError};

/// How long the server of a gallery that is not loaded may compare faces with everybody.
const SERVER_LIMIT: Duration = Duration::from_secs(5);

/// What may be enrolled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnrollRules {
    /// Which face of a picture is meant, and how large and sure it must be.
    pub sample: SampleRules,
    pub gate: Gate,
    /// Enrol what the rules refuse, too: the largest face that they would take, else the largest
    /// that can be aligned.
    pub force: bool,
    /// Which pictures of the face are kept, from which another model can embed it again.
    pub store_crops: StoreCrops,
}

impl Default for EnrollRules {
    /// The rules and the gate for faces that stay in a gallery, with aligned crops.
    fn default() -> Self {
        Self {
            sample: SampleRules::ENROLMENT,
            gate: Gate::DEFAULT,
            force: false,
            store_crops: StoreCrops::default(),
        }
    }
}

/// Why a picture is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The picture is at fault: others may do.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Failed(#[from] RecognizeError),
    #[error(transparent)]
    Gallery(#[from] GalleryError),
    #[error(transparent)]
    Search(#[from] SearchError),
}

impl From<SampleError> for EnrollError {
    fn from(error: SampleError) -> Self {
        match error {
            SampleError::Rejected(rejection) => EnrollError::Rejected(rejection),
            SampleError::Failed(error) => EnrollError::Failed(error),
        }
    }
}

impl From<PersonCheckError> for EnrollError {
    fn from(error: PersonCheckError) -> Self {
        match error {
            PersonCheckError::Unfit(unfit) => EnrollError::Rejected(unfit.into()),
            PersonCheckError::Search(error) => EnrollError::Search(error),
        }
    }
}

impl From<crate::picture::PictureError> for SampleError {
    fn from(error: crate::picture::PictureError) -> Self {
        SampleError::Rejected(error.into())
    }
}

/// What became of one picture, or of one sample of a track.
#[derive(Debug)]
pub struct Enrolment {
    /// Place of the picture in the batch, or of the track among the tracks, from 0.
    pub frame_id: u64,
    /// Path of the picture, empty if it was no file; of a track what it says.
    pub source: String,
    /// Whose picture it is.
    pub name: String,
    /// A picture that the person has already counts as a duplicate and is not stored again.
    pub result: Result<Enrolled, EnrollError>,
}

/// A track of an analysis, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct NamedTrack<'a> {
    pub name: &'a str,
    /// Where the track came from, e.g. a file and a track id; may be empty.
    pub source: &'a str,
    /// Its best crops, as [`crate::identity::TrackIdentity::samples`] keeps them.
    pub samples: &'a [TrackSample],
}

impl Recognizer {
    /// Enrols the face of a picture.
    ///
    /// # Errors
    /// [`EnrollError`], with the reason if the picture is refused.
    pub fn enroll_image<'a>(
        &mut self,
        gallery: &Gallery,
        name: &str,
        image: impl Into<Image<'a>>,
        rules: &EnrollRules,
    ) -> Result<Enrolled, EnrollError> {
        let sample = self.first.new_sample(&image.into(), rules)?;
        store(gallery, name, sample, rules, self.embedder().threshold)
    }

    /// Enrols many pictures, each with the name of its person, several at a time. `each` gets the
    /// results in the order of the pictures, as they come. At most two pictures per thread are
    /// taken ahead of the result that is due. Every picture is stored by itself, before its result
    /// is told; the gate compares it with those before it.
    ///
    /// ```no_run
    /// # use face_core::recognizer::{EnrollError, Enrolment, EnrollRules, Recognizer};
    /// # fn f(recognizer: &mut Recognizer, gallery: &face_core::gallery::Gallery)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let photos = [("Ada Lovelace", "ada-1.jpg"), ("Ada Lovelace", "ada-2.jpg")];
    /// let rules = EnrollRules::default();
    /// recognizer.enroll_batch(gallery, photos, &rules, |Enrolment { source, result, .. }| {
    ///     match result {
    ///         Ok(_) => println!("{source}: enrolled"),
    ///         Err(EnrollError::Rejected(rejection)) => println!("{source}: {rejection}"),
    ///         Err(error) => return Err(error.into()),
    ///     }
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first error of `each`, after which no further picture is taken; or that of a model or a
    /// thread that cannot be had. What happens to one picture is its result.
    pub fn enroll_batch<'a, I, N, P, E>(
        &mut self,
        gallery: &Gallery,
        images: I,
        rules: &EnrollRules,
        mut each: impl FnMut(Enrolment) -> Result<(), E>,
    ) -> Result<(), E>
    where
        I: IntoIterator<Item = (N, P)>,
        N: Into<String>,
        P: Into<Image<'a>>,
        E: From<std::io::Error> + From<InferenceError>,
    {
        let threshold = self.embedder().threshold;
        let images = images.into_iter().map(|(name, image)| (name.into(), image.into()));
        let most = images.size_hint().1.unwrap_or(usize::MAX);
        let work = |looker: &mut &mut Looker, (frame_id, item): (u64, (String, Image<'_>))| {
            let (name, image) = item;
            let sample = looker.new_sample(&image, rules);
            (frame_id, image.source(), name, sample)
        };
        in_order(&mut self.lookers(most)?, (0..).zip(images), work, |found| {
            let (frame_id, source, name, sample) = found;
            let result = sample
                .map_err(EnrollError::from)
                .and_then(|sample| store(gallery, &name, sample, rules, threshold));
            each(Enrolment { frame_id, source, name, result })
        })
    }

    /// Enrols the samples of tracks under their names, each by itself, through the whole gate.
    ///
    /// # Errors
    /// The first error of `each`, after which no further track is taken. What happens to one sample
    /// is its result.
    pub fn enroll_tracks<'a, E>(
        &self,
        gallery: &Gallery,
        tracks: impl IntoIterator<Item = NamedTrack<'a>>,
        rules: &EnrollRules,
        mut each: impl FnMut(Enrolment) -> Result<(), E>,
    ) -> Result<(), E> {
        let threshold = self.embedder().threshold;
        for (frame_id, track) in (0..).zip(tracks) {
            let (source, name) = (track.source, track.name);
            for sample in track.samples {
                let result = enroll_one(gallery, name, (sample, source), rules, threshold);
                let (source, name) = (source.to_owned(), name.to_owned());
                each(Enrolment { frame_id, source, name, result })?;
            }
        }
        Ok(())
    }
}

impl Looker {
    fn new_sample(
        &mut self,
        image: &Image<'_>,
        rules: &EnrollRules,
    ) -> Result<NewSample, SampleError> {
        let EnrollRules { sample, gate, force, store_crops } = rules;
        let (sample, loose) = image.show(|frame| {
            let sample = self.sample(frame, sample, Some(gate), *force)?;
            let found = &sample.detection;
            let landmarks = found.landmarks.filter(|_| store_crops.loose());
            let loose = landmarks.and_then(|l| LooseFace::cut(frame, &found.bbox, &l));
            Ok::<_, SampleError>((sample, loose))
        })?;
        Ok(NewSample {
            embedding: sample.embedding,
            // Only for another model later: a sample is as good without it.
            crop_png: sample.crop.to_png().ok().filter(|_| store_crops.aligned()),
            loose: loose.and_then(|l| l.encode().ok()),
            source: image.source(),
        })
    }
}

/// What became of a sample that passed the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    New,
    /// The person has the very same one.
    Duplicate,
}

/// What became of samples of one person.
#[derive(Debug)]
pub struct EnrolledSamples {
    /// `None` if every sample was refused; nothing was stored then.
    pub enrolled: Option<Enrolled>,
    /// One for each sample, in their order.
    pub samples: Vec<Result<Stored, Rejection>>,
}

/// Samples of one person that went through the gate, not stored yet.
#[derive(Debug)]
pub struct GatedSamples {
    name: String,
    new: Vec<NewSample>,
    /// If the person has samples of these already: what there is to say of them without writing.
    known: Option<Enrolled>,
    results: Vec<Result<Stored, Rejection>>,
}

impl GatedSamples {
    /// Stores those that passed by `write`, which is called only if there are any.
    ///
    /// # Errors
    /// What `write` gives.
    pub fn store<E>(
        self,
        write: impl FnOnce(&str, &[NewSample]) -> Result<Enrolled, E>,
    ) -> Result<EnrolledSamples, E> {
        let Self { name, new, known, results } = self;
        let enrolled = if new.is_empty() {
            known
        } else {
            let mut enrolled = write(&name, &new)?;
            enrolled.duplicates += known.map_or(0, |known| known.duplicates);
            Some(enrolled)
        };
        Ok(EnrolledSamples { enrolled, samples: results })
    }
}

/// Passes faces of one person that were found, aligned and embedded before, each with the text
/// where it came from, through the whole gate, in their order. They are compared with the snapshot
/// of the gallery; with one that is not loaded by its server, for which `limit` is the time for all
/// of them. `threshold` is the embedder's. With [`EnrollRules::force`] all pass but those that the
/// person has already.
///
/// # Errors
/// [`EnrollError::Gallery`] for the name, or [`EnrollError::Search`].
pub fn gate_samples<'a>(
    gallery: &Gallery,
    name: &str,
    samples: impl IntoIterator<Item = (&'a TrackSample, String)>,
    rules: &EnrollRules,
    threshold: f32,
    limit: Duration,
) -> Result<GatedSamples, EnrollError> {
    let name = checked_name(name)?;
    let until = Instant::now() + limit;
    let snapshot = gallery.snapshot();
    let mut pending: Vec<&Embedding> = Vec::new();
    let (mut new, mut results, mut same) = (Vec::new(), Vec::new(), None);
    for (sample, source) in samples {
        let fit =
            rules.check_sample((gallery, &snapshot), name, &pending, sample, threshold, until);
        match fit {
            Ok(Stored::New) => {
                pending.push(&sample.embedding);
                new.push(new_sample(sample, source, rules.store_crops));
                results.push(Ok(Stored::New));
            }
            Ok(Stored::Duplicate) => {
                same = Some(&sample.embedding);
                results.push(Ok(Stored::Duplicate));
            }
            Err(EnrollError::Rejected(rejection)) => results.push(Err(rejection)),
            Err(error) => return Err(error),
        }
    }
    let duplicates = results.iter().filter(|r| matches!(r, Ok(Stored::Duplicate))).count();
    let known = (duplicates > 0).then(|| {
        let left = until.saturating_duration_since(Instant::now());
        known_before((gallery, &snapshot), name, duplicates, same, left)
    });
    Ok(GatedSamples { name: name.to_owned(), new, known, results })
}

/// Enrols what passes [`gate_samples`], in one transaction.
///
/// # Errors
/// [`EnrollError::Gallery`] or [`EnrollError::Search`]; nothing is stored then.
pub fn enroll_samples<'a>(
    gallery: &Gallery,
    name: &str,
    samples: impl IntoIterator<Item = (&'a TrackSample, String)>,
    rules: &EnrollRules,
    threshold: f32,
) -> Result<EnrolledSamples, EnrollError> {
    let gated = gate_samples(gallery, name, samples, rules, threshold, SERVER_LIMIT)?;
    Ok(gated.store(|name, new| gallery.enroll(name, new))?)
}

/// [`enroll_samples`] of one.
fn enroll_one(
    gallery: &Gallery,
    name: &str,
    (sample, source): (&TrackSample, &str),
    rules: &EnrollRules,
    threshold: f32,
) -> Result<Enrolled, EnrollError> {
    let one = [(sample, source.to_owned())];
    let EnrolledSamples { enrolled, samples } =
        enroll_samples(gallery, name, one, rules, threshold)?;
    let refused = samples.into_iter().find_map(Result::err);
    enrolled.ok_or_else(|| refused.unwrap_or(Rejection::NoFace).into())
}

impl EnrollRules {
    fn check_sample(
        &self,
        (gallery, snapshot): (&Gallery, &Snapshot),
        name: &str,
        pending: &[&Embedding],
        sample: &TrackSample,
        threshold: f32,
        until: Instant,
    ) -> Result<Stored, EnrollError> {
        if !self.force {
            self.check_pixels(sample)?;
        }
        let TrackSample { embedding, .. } = sample;
        let checked = if gallery.is_loaded() {
            self.gate.check_person_with(snapshot, name, pending, embedding, threshold)
        } else {
            let left = until.saturating_duration_since(Instant::now());
            self.gate.check_person_by(gallery, name, pending, embedding, threshold, left)
        };
        match checked {
            Err(PersonCheckError::Unfit(unfit)) if unfit.is_same_picture() => Ok(Stored::Duplicate),
            Err(PersonCheckError::Unfit(_)) if self.force => Ok(Stored::New),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(Stored::New),
        }
    }

    /// The part of the gate that looks at the sample alone. Its box and points are in square pixels.
    ///
    /// # Errors
    /// [`Rejection::SmallFace`], [`Rejection::LowScore`], [`Rejection::NoLandmarks`] or
    /// [`Rejection::Unfit`].
    pub fn check_pixels(&self, sample: &TrackSample) -> Result<(), Rejection> {
        self.sample.check(&sample.detection, 1.0)?;
        let landmarks = sample.detection.landmarks.ok_or(Rejection::NoLandmarks)?;
        self.gate.check_pose(&landmarks)?;
        Ok(self.gate.check_crop(&sample.crop)?)
    }
}

fn new_sample(sample: &TrackSample, source: String, store: StoreCrops) -> NewSample {
    let TrackSample { crop, loose, embedding, .. } = sample;
    NewSample {
        embedding: embedding.clone(),
        crop_png: if store.aligned() { crop.to_png().ok() } else { None },
        loose: loose.as_ref().filter(|_| store.loose()).and_then(|l| l.encode().ok()),
        source,
    }
}

/// The person of that name, who has these samples, `same` among them.
fn known_before(
    (gallery, snapshot): (&Gallery, &Snapshot),
    name: &str,
    duplicates: usize,
    same: Option<&Embedding>,
    limit: Duration,
) -> Enrolled {
    let person = snapshot.people().iter().find(|p| &*p.name == name).map(|p| p.id.to_string());
    // Of a gallery that is not loaded only the server knows; without an answer the id stays empty.
    let asked = || {
        let rules = SearchRules { threshold: 1.0, min_margin: 0.0, top_k: 2, vote: VoteRule::Best };
        let near = gallery.identify(same?, &rules, limit).ok()?.top;
        near.into_iter().find(|p| &*p.name == name).map(|p| p.person_id.to_string())
    };
    let person = person.or_else(|| if gallery.is_loaded() { None } else { asked() });
    Enrolled { person_id: person.unwrap_or_default(), created: false, added: 0, duplicates }
}

/// Passes a sample through the part of the gate that needs the gallery, and stores it.
fn store(
    gallery: &Gallery,
    name: &str,
    sample: NewSample,
    rules: &EnrollRules,
    threshold: f32,
) -> Result<Enrolled, EnrollError> {
    // A name that cannot be is that, whatever the picture is like.
    let name = checked_name(name)?;
    if !rules.force {
        let snapshot = gallery.snapshot();
        let checked = if gallery.is_loaded() {
            rules.gate.check_person(&snapshot, name, &sample.embedding, threshold)
        } else {
            let (face, limit) = (&sample.embedding, SERVER_LIMIT);
            rules.gate.check_person_by(gallery, name, &[], face, threshold, limit)
        };
        match checked {
            // The same file again, or a copy of it under another name.
            Err(PersonCheckError::Unfit(unfit)) if unfit.is_same_picture() => {
                let place = (gallery, &*snapshot);
                return Ok(known_before(place, name, 1, Some(&sample.embedding), SERVER_LIMIT));
            }
            checked => checked?,
        }
    }
    Ok(gallery.enroll(name, &[sample])?)
}
