//! Writing into a gallery that is large, or that somebody else searches.

use std::time::Duration;

use super::backend::Backend;
use super::{Access, Enrolled, GalleryError, Location, NewSample, name};
use crate::embed::Fingerprint;

/// An open gallery that is only written to: nothing of it is read into memory, so that opening it
/// and enrolling take as long in a large gallery as in a small one. Whoever searches the gallery
/// sees what was written at the next [`Gallery::refresh`](super::Gallery::refresh).
///
/// ```
/// use face_core::embed::{Embedding, Fingerprint};
/// use face_core::gallery::{Access, Gallery, NewSample, Writer};
/// use std::time::Duration;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("family.gallery");
/// # let probe = Embedding::new(&[1.0, 0.0])?;
/// # let face = Embedding::new(&[0.6, 0.8])?;
/// # let fingerprint = Fingerprint { model: "m".into(), alignment: "a".into(), probe };
/// let gallery = Gallery::open(&path, &fingerprint, Access::Create)?;
/// let mut writer = Writer::open(gallery.location(), gallery.fingerprint(), Duration::from_secs(1))?;
/// writer.enroll("Ada", &[NewSample::new(face, "ada.jpg")])?;
/// gallery.refresh(Duration::ZERO)?;
/// assert_eq!(gallery.snapshot().people().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Writer(Backend);

impl Writer {
    /// Opens an existing gallery for embeddings of `fingerprint`. It and every write wait at most
    /// `wait` for a write of somebody else.
    ///
    /// # Errors
    /// As [`Gallery::open`](super::Gallery::open).
    pub fn open(
        location: impl Into<Location>,
        fingerprint: &Fingerprint,
        wait: Duration,
    ) -> Result<Self, GalleryError> {
        let mut store = Backend::open(&location.into(), Access::Write, Some(fingerprint), wait)?;
        let written = store.fingerprint()?;
        if !written.same_space(fingerprint) {
            return Err(GalleryError::other_embedder(store.path(), &written, fingerprint));
        }
        store.keep_to(&written);
        Ok(Self(store))
    }

    /// As [`Gallery::enroll`](super::Gallery::enroll).
    ///
    /// # Errors
    /// As [`Gallery::enroll`](super::Gallery::enroll).
    pub fn enroll(&mut self, name: &str, samples: &[NewSample]) -> Result<Enrolled, GalleryError> {
        let dim = self.0.fingerprint()?.dim();
        enroll(&mut self.0, dim, name, samples)
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("path", &self.0.path()).finish_non_exhaustive()
    }
}

/// Checks and stores samples of `dim` dimensions.
pub(super) fn enroll(
    store: &mut Backend,
    dim: usize,
    name: &str,
    samples: &[NewSample],
) -> Result<Enrolled, GalleryError> {
    let name = name::checked(name)?;
    if samples.is_empty() {
        return Err(GalleryError::NoSamples { name: name.into() });
    }
    if let Some(got) = samples.iter().map(|s| s.embedding.dim()).find(|d| *d != dim) {
        return Err(GalleryError::Dimension { name: name.into(), expected: dim, got });
    }
    store.enroll(name, &uuid::Uuid::new_v4().to_string(), samples)
}
