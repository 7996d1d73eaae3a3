//! A gallery of generated people on the disk.

use std::path::PathBuf;
use std::time::Duration;

use face_core::embed::{Embedding, Fingerprint};
use face_core::gallery::{Access, Gallery, NewSample, Writer};

use super::generator::Faces;

pub(crate) const FACES: Faces = Faces { dim: 128 };

/// Samples of each person.
pub(crate) const EACH: usize = 10;

pub(crate) struct Crowd {
    pub(crate) path: PathBuf,
    _folder: tempfile::TempDir,
}

pub(crate) fn embedding(values: &[f32]) -> Embedding {
    Embedding::new(values).expect("generated vectors are finite")
}

pub(crate) fn fingerprint() -> Fingerprint {
    let probe = embedding(&FACES.sample(usize::MAX >> 1, 0));
    Fingerprint { model: "generated".into(), alignment: "none".into(), probe }
}

pub(crate) fn samples(person: usize, each: usize) -> Vec<NewSample> {
    (0..each).map(|n| NewSample::new(embedding(&FACES.sample(person, n)), "")).collect()
}

impl Crowd {
    /// People 0, 1, 2 … in memory-backed files where there are such: disks differ.
    pub(crate) fn new(people: usize, each: usize) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.expect("a folder for the gallery");
        let path = folder.path().join("crowd.gallery");
        Gallery::open(&path, &fingerprint(), Access::Create).expect("a new gallery");
        let mut writer = Writer::open(&path, &fingerprint(), Duration::from_secs(5))
            .expect("the gallery is there");
        for person in 0..people {
            writer.enroll(&format!("person {person}"), &samples(person, each)).expect("room");
        }
        Self { path, _folder: folder }
    }

    pub(crate) fn open(&self, access: Access) -> Gallery {
        Gallery::open(&self.path, &fingerprint(), access).expect("the gallery is there")
    }
}

/// New samples of enrolled people and samples of strangers, in turns.
pub(crate) fn queries(people: usize, each: usize, count: usize) -> Vec<Embedding> {
    let enrolled = |i: usize| FACES.sample(i * 7919 % people, each + 1);
    let stranger = |i: usize| FACES.sample(people + i, 0);
    let query = |i: usize| embedding(&if i.is_multiple_of(2) { enrolled(i) } else { stranger(i) });
    (0..count).map(query).collect()
}
