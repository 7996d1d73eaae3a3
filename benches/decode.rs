//! From the outputs of detectors to faces, suppression included: of all families over generated
//! outputs in which every tenth place is a face.

mod outputs;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use face_core::detect::{DetectOptions, Output, decode};
use face_core::geometry::nms;
use face_core::model::{self, Decoder};
use outputs::{FAMILIES, Outputs};

fn bench(
    c: &mut Criterion,
    name: &str,
    decoder: Decoder,
    outputs: &[Output<'_>],
    size: (usize, usize),
    options: &DetectOptions,
) {
    let mut faces = Vec::new();
    c.bench_function(&format!("decode/{name}"), |b| {
        b.iter(|| {
            faces.clear();
            let outputs = black_box(outputs);
            decode(decoder, outputs, size, options.score_threshold, &mut faces)
                .expect("the outputs are of the family");
            nms(&mut faces, options.nms_threshold, |face| (face.bbox, face.score));
            faces.len()
        });
    });
}

fn generated(c: &mut Criterion) {
    let spec = model::find(model::DEFAULT_DETECTOR).expect("known");
    let options = DetectOptions { score_threshold: 0.5, ..DetectOptions::of(spec) };
    let size = (640, 384);
    for decoder in FAMILIES {
        let outputs = Outputs::new(decoder, size);
        bench(c, &format!("dense {decoder:?}"), decoder, &outputs.view(), size, &options);
    }
}

criterion_group!(benches, generated);
criterion_main!(benches);
