//! How well real people are told apart, by the whole chain from the file to the gallery.

mod support;

use std::path::Path;

use face_core::embed::Fingerprint;
use face_core::gallery::{Access, Gallery, NewSample};
use face_core::identity::Status;
use face_core::inference::PoolOptions;
use face_core::model::{DEFAULT_DETECTOR, DEFAULT_EMBEDDER, SearchPath, Task};
use face_core::picture::Picture;
use face_core::recognizer::{Recognizer, SampleRules, in_order};
use support::Setup;

/// A sample of a person.
type Labelled = (String, NewSample);

fn samples(setup: &Setup) -> (Vec<Labelled>, Fingerprint, f32) {
    let search = SearchPath::new(vec![setup.models.clone()]);
    let detector = search.resolve(DEFAULT_DETECTOR, Task::Detector).unwrap();
    let embedder = search.resolve(DEFAULT_EMBEDDER, Task::Embedder).unwrap();
    let pools = PoolOptions { threads: 1, ..PoolOptions::default() };
    let recognizer = Recognizer::load(&detector, &embedder, &pools).unwrap();
    let fingerprint = recognizer.fingerprint().as_ref().clone();
    let threshold = recognizer.embedder().threshold;
    let mut files = Vec::new();
    for person in std::fs::read_dir(setup.media.join("people")).unwrap() {
        for file in std::fs::read_dir(person.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.sort();
    let work = |recognizer: &mut Recognizer, path: std::path::PathBuf| {
        let picture = Picture::open(&path).unwrap();
        let sample = recognizer.sample(&picture.view(), &SampleRules::ENROLMENT).unwrap();
        let name = path.parent().and_then(Path::file_name).unwrap().to_str().unwrap();
        (name.to_owned(), NewSample::new(sample.embedding, path.display().to_string()))
    };
    let mut samples = Vec::new();
    in_order(&mut [recognizer], files, work, |sample| {
        samples.push(sample);
        Ok::<(), std::io::Error>(())
    })
    .unwrap();
    (samples, fingerprint, threshold)
}

/// Who the sample is to a gallery of the others.
fn identify(
    (_, sample): &Labelled,
    others: &[&Labelled],
    fingerprint: &Fingerprint,
    threshold: f32,
) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let gallery = Gallery::open(folder.path().join("g"), fingerprint, Access::Create).unwrap();
    for person in others.chunk_by(|a, b| a.0 == b.0) {
        let samples: Vec<NewSample> = person.iter().map(|l| l.1.clone()).collect();
        gallery.enroll(&person[0].0, &samples).unwrap();
    }
    let found = gallery.snapshot().identify(&sample.embedding, threshold, 0.0, 1).unwrap();
    (found.status == Status::Known).then(|| found.best.unwrap().name.to_string())
}

#[test]
fn real_people_leave_one_out() {
    let Some(setup) = Setup::new() else { return };
    let (samples, fingerprint, threshold) = samples(&setup);
    assert_eq!((samples.len(), threshold), (47, 0.40));
    let (mut right, mut asked, mut strangers_named) = (0, 0, Vec::new());
    for (i, sample) in samples.iter().enumerate() {
        let others = samples.iter().enumerate().filter(|(k, _)| *k != i).map(|(_, s)| s);
        let (own, strangers): (Vec<_>, Vec<_>) = others.partition(|o| o.0 == sample.0);
        if !own.is_empty() {
            let mut all = [own, strangers.clone()].concat();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            asked += 1;
            right += usize::from(
                identify(sample, &all, &fingerprint, threshold).as_ref() == Some(&sample.0),
            );
        }
        if let Some(name) = identify(sample, &strangers, &fingerprint, threshold) {
            strangers_named.push((&sample.1.source, name));
        }
    }
    assert_eq!((right, asked), (46, 46));
    assert!(strangers_named.is_empty(), "{strangers_named:?}");
}
