//! Time that the metadata of a frame takes: writing it on a buffer, reading it, and changing it, as
//! each element behind the detector does.

#[path = "../tests/meta_support/mod.rs"]
mod meta_support;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use gstface::meta::{self, FrameFaces};

fn written(faces: &FrameFaces) -> gst::Buffer {
    let mut buffer = gst::Buffer::new();
    faces.write(buffer.make_mut());
    buffer
}

/// A frame with so many faces, each with everything that it can have.
fn frame(faces: usize) -> FrameFaces {
    let mut frame = meta_support::full(1, 1920, 1080);
    let first = frame.faces.first().cloned();
    frame.faces = first.into_iter().cycle().take(faces).collect();
    frame
}

fn metadata(c: &mut Criterion) {
    meta_support::init();
    let mut group = c.benchmark_group("metadata");
    for count in [0, 1, 5, 20, 100] {
        let faces = frame(count);
        let buffer = written(&faces);
        group.bench_function(BenchmarkId::new("write", count), |b| {
            b.iter(|| written(black_box(&faces)));
        });
        group.bench_function(BenchmarkId::new("read", count), |b| {
            b.iter(|| FrameFaces::read(black_box(&buffer)));
        });
        group.bench_function(BenchmarkId::new("update", count), |b| {
            let change = |mut buffer: gst::Buffer| {
                meta::update(buffer.make_mut(), |faces| faces.frame_id += 1);
                buffer
            };
            b.iter_batched(|| written(&faces), change, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, metadata);
criterion_main!(benches);
