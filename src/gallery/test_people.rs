//! Galleries for the tests of backups, exports and migrations.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Access, Gallery, LooseCrop, NewSample};
use crate::align::{AlignedCrop, CROP_SIDE};
use crate::embed::{Embedder, Embedding, Fingerprint};
use crate::inference::{PoolOptions, runtime_path};
use crate::model::{Task, resolve};

pub(super) fn embedding(values: &[f32]) -> Embedding {
    Embedding::new(values).unwrap()
}

fn fingerprint(model: &str, probe: &[f32]) -> Fingerprint {
    Fingerprint { model: model.into(), alignment: "arcface-112".into(), probe: embedding(probe) }
}

pub(super) fn space() -> Fingerprint {
    fingerprint("net-a", &[1.0, 2.0, 3.0])
}

pub(super) fn other_space() -> Fingerprint {
    fingerprint("net-b", &[1.0, -2.0, 3.0])
}

pub(super) fn sample(values: [f32; 3]) -> NewSample {
    let crop_png = Some(b"a picture".to_vec());
    NewSample { crop_png, ..NewSample::new(embedding(&values), "a.jpg") }
}

/// A folder and a gallery's path in it.
pub(super) fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    (folder, path)
}

/// Two samples for everybody.
pub(super) fn with_people(path: &Path, space: &Fingerprint, names: &[&str]) -> Gallery {
    let gallery = Gallery::open(path, space, Access::Create).unwrap();
    for (i, name) in names.iter().enumerate() {
        let both = [0.0, 0.2].map(|z| sample([1.0, i as f32, z]));
        gallery.enroll(name, &both).unwrap();
    }
    gallery
}

pub(super) fn names(gallery: &Gallery) -> Vec<String> {
    gallery.snapshot().people().iter().map(|p| p.name.to_string()).collect()
}

pub(super) fn files(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Numbers that are the same in every run (xorshift, Marsaglia 2003).
pub(super) fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}

/// An embedder of tests/data; `None` without ONNX Runtime, and says so.
pub(super) fn embedder(name: &str) -> Option<Embedder> {
    let options = PoolOptions { threads: 1, ..PoolOptions::default() };
    if let Err(error) = runtime_path(&options) {
        eprintln!("skipped: {error}");
        return None;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let model = resolve(path.to_str().unwrap(), Task::Embedder).unwrap();
    Some(Embedder::load(&model, &options).unwrap())
}

/// A face whose quarters have colours of their own, for the embedders of tests/data.
pub(super) fn face(seed: u64) -> AlignedCrop {
    let mut next = numbers(seed * 7919 + 17);
    let colours: Vec<[u8; 3]> = (0..4).map(|_| std::array::from_fn(|_| next(256) as u8)).collect();
    let pixels = (0..CROP_SIDE * CROP_SIDE).flat_map(|i| {
        let (x, y) = (i % CROP_SIDE, i / CROP_SIDE);
        colours[2 * (2 * y / CROP_SIDE) + 2 * x / CROP_SIDE]
    });
    AlignedCrop::from_rgb(pixels.collect()).unwrap()
}

/// What enrolling that face stores.
pub(super) fn sample_of(embedder: &mut Embedder, face: &AlignedCrop) -> NewSample {
    let embedding = embedder.embed(&[face], None).unwrap().remove(0).unwrap();
    let crop_png = Some(face.to_png().unwrap());
    NewSample { crop_png, ..NewSample::new(embedding, "face.png") }
}

/// A looser picture that gives this face when it is cut: the points are those of the template.
pub(super) fn loose(face: &AlignedCrop) -> LooseCrop {
    let points = [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ];
    LooseCrop { png: face.to_png().unwrap(), points }
}
