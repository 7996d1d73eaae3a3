//! Real clips, models and people for the tests, where they are.
// Each test file uses a part of it.
#![allow(dead_code)]

pub(crate) mod stream;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use face_core::gallery::{Access, Gallery, NewSample};
use face_core::inference::{PoolOptions, Provider};
use face_core::model::{self, SearchPath, Task};
use face_core::picture::Picture;
use face_core::recognizer::{Recognizer, SampleRules};
use face_pipeline::{AnalyzeOptions, Progress, Recognition};

/// The clips.
pub(crate) const HAMILTON: &str = "short_hamilton_clip.mp4";
pub(crate) const WALKING: &str = "face-demographics-walking-and-pause.mp4";
pub(crate) const HEADS: &str = "head-pose-face-detection-female-and-male.mp4";

/// The folder of the shared media, if clips, models and ONNX Runtime are here; says so if not.
pub(crate) fn media() -> Option<PathBuf> {
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media");
    let missing = if !media.join("video").join(HAMILTON).is_file() {
        "the shared media are not here"
    } else if model::registry()
        .iter()
        .filter(|m| [model::DEFAULT_DETECTOR, model::DEFAULT_EMBEDDER].contains(&m.id.as_str()))
        .any(|m| SearchPath::from_env().resolve(&m.id, m.task).is_err())
    {
        "the models are not in GST_FACE_MODEL_PATH"
    } else if std::env::var_os("GST_FACE_ORT_PATH").is_none() {
        "GST_FACE_ORT_PATH names no ONNX Runtime"
    } else {
        return media.canonicalize().ok();
    };
    eprintln!("skipped: {missing}");
    None
}

/// Tests share one machine: one thread per model.
pub(crate) fn recognition() -> Recognition {
    Recognition { provider: Provider::Cpu, threads: 1, ..Recognition::default() }
}

/// An analysis of a clip with nothing written.
pub(crate) fn options(media: &Path, clip: &str) -> AnalyzeOptions {
    AnalyzeOptions {
        video: media.join("video").join(clip),
        recognition: recognition(),
        ..AnalyzeOptions::default()
    }
}

pub(crate) fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Enrols the people of the shared photos.
pub(crate) fn enrol_people(media: &Path, gallery: &Path) {
    let pools = PoolOptions { provider: Provider::Cpu, threads: 1, ..PoolOptions::default() };
    let find = |name, task| model::resolve(name, task).unwrap();
    let detector = find(model::DEFAULT_DETECTOR, Task::Detector);
    let embedder = find(model::DEFAULT_EMBEDDER, Task::Embedder);
    let mut recognizer = Recognizer::load(&detector, &embedder, &pools).unwrap();
    let fingerprint = recognizer.fingerprint().clone();
    let gallery = Gallery::open(gallery, &fingerprint, Access::Create).unwrap();
    let entries = |folder: &Path| {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths
    };
    for person in entries(&media.join("people")) {
        let name = person.file_name().unwrap().to_str().unwrap();
        for photo in entries(&person) {
            let picture = Picture::open(&photo).unwrap();
            let rules = SampleRules { largest: true, ..SampleRules::ENROLMENT };
            if let Ok(sample) = recognizer.sample(&picture.view(), &rules) {
                gallery.enroll(name, &[NewSample::new(sample.embedding, "photo")]).unwrap();
            }
        }
    }
}
