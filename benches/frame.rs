//! A whole frame without GStreamer: the faces of a real picture are found, cut out, embedded and
//! looked up in a gallery of 1,000 generated people; and each step alone. One thread.
//!
//! Needs the default models and groups/bbt1.jpg of GST_FACE_TEST_MEDIA (default: ../shared/media).

#[allow(dead_code, reason = "not every bench uses everything")]
mod crowd;
mod generator;

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, criterion_group, criterion_main};
use crowd::{Crowd, EACH};
use face_core::align::AlignedCrop;
use face_core::detect::{DetectOptions, Detection, Detector};
use face_core::embed::{Embedder, Embedding};
use face_core::frame::FrameView;
use face_core::gallery::{Access, Snapshot, VoteRule};
use face_core::inference::{PoolOptions, Provider};
use face_core::model::{self, Task};
use face_core::picture::Picture;

type Failure = Box<dyn std::error::Error>;

struct Chain {
    detector: Detector,
    embedder: Embedder,
    options: DetectOptions,
    faces: Vec<Detection>,
    crops: Vec<AlignedCrop>,
}

impl Chain {
    fn load() -> Result<Chain, Failure> {
        let pool = PoolOptions { provider: Provider::Cpu, threads: 1, ..PoolOptions::default() };
        let detector = model::resolve(model::DEFAULT_DETECTOR, Task::Detector)?;
        let embedder = model::resolve(model::DEFAULT_EMBEDDER, Task::Embedder)?;
        Ok(Chain {
            options: DetectOptions::of(&detector.spec),
            detector: Detector::load(&detector, &pool)?,
            embedder: Embedder::load(&embedder, &pool)?,
            faces: Vec::new(),
            crops: Vec::new(),
        })
    }

    fn detect(&mut self, frame: &FrameView<'_>) {
        self.detector
            .detect(frame, &self.options, None, &mut self.faces)
            .expect("the detector runs");
    }

    fn align(&mut self, frame: &FrameView<'_>) {
        self.crops.resize_with(self.faces.len(), AlignedCrop::default);
        for (face, crop) in self.faces.iter().zip(&mut self.crops) {
            let landmarks = face.landmarks.expect("the default detector finds them");
            assert!(crop.recut(frame, &landmarks));
        }
    }

    fn embed(&mut self) -> Vec<Embedding> {
        let crops: Vec<&AlignedCrop> = self.crops.iter().collect();
        let embeddings = self.embedder.embed(&crops, None).expect("the embedder runs");
        embeddings.into_iter().map(|e| e.expect("real faces have a direction")).collect()
    }
}

fn search(snapshot: &Snapshot, embeddings: &[Embedding]) {
    for embedding in embeddings {
        let found = snapshot.search(embedding, 2, VoteRule::Best);
        black_box(found.expect("the embedder has as many values as the gallery"));
    }
}

fn prepare() -> Result<(Chain, Picture), Failure> {
    let media = std::env::var_os("GST_FACE_TEST_MEDIA").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    let path = media.unwrap_or_else(beside).join("groups/bbt1.jpg");
    Ok((Chain::load()?, Picture::open(&path)?))
}

fn frame(c: &mut Criterion) {
    let (mut chain, picture) = match prepare() {
        Ok(prepared) => prepared,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let crowd = Crowd::new(1_000, EACH);
    let gallery = crowd.open(Access::Read);
    let snapshot = gallery.snapshot();
    let view = picture.view();
    chain.detect(&view);
    chain.align(&view);
    let embeddings = chain.embed();
    let mut group = c.benchmark_group(format!(
        "{} faces of {}x{}",
        embeddings.len(),
        view.width(),
        view.height()
    ));
    group.bench_function("detect", |b| b.iter(|| chain.detect(&view)));
    group.bench_function("align", |b| b.iter(|| chain.align(&view)));
    group.bench_function("embed", |b| b.iter(|| chain.embed()));
    group.bench_function("search", |b| b.iter(|| search(&snapshot, &embeddings)));
    group.bench_function("whole frame", |b| {
        b.iter(|| {
            chain.detect(&view);
            chain.align(&view);
            search(&snapshot, &chain.embed());
        });
    });
    group.finish();
}

criterion_group!(benches, frame);
criterion_main!(benches);
