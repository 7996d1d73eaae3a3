//! From pictures and tracks to people of a gallery, through the gate.

use super::sample::RecognizeError;
use super::{Image, Looker, Recognizer, Rejection, SampleError, SampleRules, in_order};
use crate::gallery::{Enrolled, Gallery, GalleryError, NewSample, SearchError, checked_name};
use crate::identity::TrackSample;
use crate::inference::InferenceError;
use crate::quality::{Gate, PersonCheckError};

/// What may be enrolled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnrollRules {
    /// Which face of a picture is meant, and how large and sure it must be.
    pub sample: SampleRules,
    pub gate: Gate,
    /// Enrol what the rules refuse, too: the largest face that they would take, else the largest
    /// that can be aligned.
    pub force: bool,
    /// Keep the aligned crop, from which another model can embed the face again.
    pub crops: bool,
}

impl Default for EnrollRules {
    /// The rules and the gate for faces that stay in a gallery, with crops.
    fn default() -> Self {
        Self { sample: SampleRules::ENROLMENT, gate: Gate::DEFAULT, force: false, crops: true }
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

    /// Enrols the samples of tracks under their names, each by itself. Their pixels pass the gate
    /// as those of pictures do; size, score and pose were those of the track's best faces.
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
            for sample in track.samples {
                let fit = if rules.force { Ok(()) } else { rules.gate.check_crop(&sample.crop) };
                let new = NewSample {
                    embedding: sample.embedding.clone(),
                    crop_png: sample.crop.to_png().ok().filter(|_| rules.crops),
                    loose: None,
                    source: track.source.to_owned(),
                };
                let result = fit
                    .map_err(|unfit| EnrollError::Rejected(unfit.into()))
                    .and_then(|()| store(gallery, track.name, new, rules, threshold));
                let (source, name) = (track.source.to_owned(), track.name.to_owned());
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
        let EnrollRules { sample, gate, force, crops } = rules;
        let sample = image.show(|frame| self.sample(frame, sample, Some(gate), *force))?;
        Ok(NewSample {
            embedding: sample.embedding,
            // Only for another model later: a sample is as good without it.
            crop_png: sample.crop.to_png().ok().filter(|_| *crops),
            loose: None,
            source: image.source(),
        })
    }
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
        let checked = rules.gate.check_person(&snapshot, name, &sample.embedding, threshold);
        match checked {
            // The same file again, or a copy of it under another name.
            Err(PersonCheckError::Unfit(unfit)) if unfit.is_same_picture() => {
                let person = snapshot.people().iter().find(|p| &*p.name == name.trim());
                let person_id = person.map(|p| p.id.to_string()).unwrap_or_default();
                return Ok(Enrolled { person_id, created: false, added: 0, duplicates: 1 });
            }
            checked => checked?,
        }
    }
    Ok(gallery.enroll(name, &[sample])?)
}
