//! From the outputs of detectors to faces, suppression included: of all families over generated
//! outputs in which every tenth place is a face, and of the default detector over a real picture.
//!
//! The latter needs the default detector and groups/bbt1.jpg of GST_FACE_TEST_MEDIA (default:
//! ../shared/media).

mod outputs;

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, criterion_group, criterion_main};
use face_core::detect::{DetectOptions, Output, decode};
use face_core::geometry::nms;
use face_core::inference::{Pool, PoolOptions, Provider, Request};
use face_core::model::{self, Decoder, Task};
use face_core::picture::Picture;
use face_core::preprocess::{Letterbox, Normalization, Preprocessor};
use ndarray::Array4;
use outputs::{FAMILIES, Outputs};

type Failure = Box<dyn std::error::Error>;

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

/// What the default detector answered.
struct Answer {
    names: Vec<String>,
    request: Request,
    /// Size of its input.
    size: (usize, usize),
}

/// The answer to a real picture.
fn answer() -> Result<Answer, Failure> {
    let media = std::env::var_os("GST_FACE_TEST_MEDIA").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    let picture = Picture::open(&media.unwrap_or_else(beside).join("groups/bbt1.jpg"))?;
    let model = model::resolve(model::DEFAULT_DETECTOR, Task::Detector)?;
    let options = PoolOptions { provider: Provider::Cpu, threads: 1, ..PoolOptions::default() };
    let pool = Pool::shared(&model, &options)?;
    let letterbox = Letterbox::for_model(&picture.view(), &model.spec, 640);
    let mut input = Vec::new();
    let normalization = Normalization::from(&model.spec);
    Preprocessor::default().letterbox(&picture.view(), &letterbox, &normalization, &mut input);
    let input = Array4::from_shape_vec((1, 3, letterbox.height, letterbox.width), input)?;
    let mut requests = [Request { input, ..Request::default() }];
    pool.handle().run(&mut requests, None)?;
    let [request] = requests;
    let size = (letterbox.width, letterbox.height);
    Ok(Answer { names: pool.output_names().to_vec(), request, size })
}

fn real(c: &mut Criterion) {
    let Answer { names, request, size } = match answer() {
        Ok(answer) => answer,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let spec = model::find(model::DEFAULT_DETECTOR).expect("known");
    let outputs: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(i, name)| Output {
            name,
            shape: request.outputs[i].shape(),
            values: request.output(i),
        })
        .collect();
    bench(c, "real Yunet", spec.decoder, &outputs, size, &DetectOptions::of(spec));
}

criterion_group!(benches, generated, real);
criterion_main!(benches);
