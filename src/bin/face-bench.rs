//! face-bench: how fast, and how alike, the models run on a provider; without GStreamer.
//!
//! Prints one JSON line: frames and faces per second of our detector and embedder, the same as a
//! ratio to the bare runs of the models (no preprocessing, no decoding), and the least cosine of
//! the provider's embeddings with those of the CPU.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use face_core::align::{AlignedCrop, CROP_SIDE};
use face_core::detect::{DetectOptions, Detector};
use face_core::embed::{Embedder, Embedding};
use face_core::frame::{FrameView, PixelFormat};
use face_core::inference::{self, PoolOptions, Provider, Request};
use face_core::model::{self, Task};
use face_core::preprocess::Letterbox;

const HELP: &str = "\
usage: face-bench [--provider cpu|cuda|tensorrt|openvino|auto] [--device N] [--threads N]
                  [--loops N] [--faces N] [--size WIDTHxHEIGHT] [--detector M] [--embedder M]
                  [--runtime-library PATH]

Models are found as facectl finds them (GST_FACE_MODEL_PATH, the user's data folder).";

struct Arguments {
    pool: PoolOptions,
    loops: usize,
    faces: usize,
    size: (u32, u32),
    detector: String,
    embedder: String,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Arguments {
            pool: PoolOptions { provider: Provider::Cpu, ..PoolOptions::default() },
            loops: 100,
            faces: 16,
            size: (640, 360),
            detector: model::DEFAULT_DETECTOR.to_owned(),
            embedder: model::DEFAULT_EMBEDDER.to_owned(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: String| {
                text.parse::<usize>().ok().filter(|n| *n > 0).ok_or(format!("{text}: no number"))
            };
            match word.as_str() {
                "--provider" => {
                    let name = value()?;
                    arguments.pool.provider =
                        Provider::parse(&name).ok_or(format!("{name}: no such provider"))?;
                }
                "--device" => {
                    let text = value()?;
                    arguments.pool.device_id =
                        text.parse().map_err(|_| format!("{text}: no device"))?;
                }
                "--threads" => arguments.pool.threads = number(value()?)?,
                "--loops" => arguments.loops = number(value()?)?,
                "--faces" => arguments.faces = number(value()?)?,
                "--size" => arguments.size = size(&value()?)?,
                "--detector" => arguments.detector = value()?,
                "--embedder" => arguments.embedder = value()?,
                "--runtime-library" => {
                    arguments.pool.runtime_library = Some(PathBuf::from(value()?));
                }
                _ => return Err(format!("unknown argument {word}")),
            }
        }
        Ok(arguments)
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parsed
        .filter(|(w, h)| (1..=16384).contains(w) && (1..=16384).contains(h))
        .ok_or(format!("{text}: no size WIDTHxHEIGHT"))
}

/// Noise, always the same.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}

/// Rounds of a measurement; both sides take turns in each, so that a machine that slows down in the
/// middle slows both.
const ROUNDS: usize = 5;

/// Calls per second of `ours`, and as a ratio to those of `bare`: medians over the rounds.
fn compare<E>(
    loops: usize,
    mut ours: impl FnMut() -> Result<(), E>,
    mut bare: impl FnMut() -> Result<(), E>,
) -> Result<(f64, f64), E> {
    fn rate<E>(loops: usize, work: &mut impl FnMut() -> Result<(), E>) -> Result<f64, E> {
        let start = Instant::now();
        for _ in 0..loops {
            work()?;
        }
        Ok(loops as f64 / start.elapsed().as_secs_f64())
    }
    // Warm-up: the first runs of a shape are slower.
    rate(3, &mut ours)?;
    rate(3, &mut bare)?;
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (a, b) = (rate(loops, &mut ours)?, rate(loops, &mut bare)?);
        rates.push(a);
        ratios.push(a / b);
    }
    rates.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    Ok((rates[ROUNDS / 2], ratios[ROUNDS / 2]))
}

/// Requests that are ready to run.
fn ready(shape: [usize; 4], count: usize) -> Vec<Request> {
    let input = ndarray::Array4::from_elem(shape, 127.0);
    vec![Request { input, ..Request::default() }; count]
}

fn embeddings(
    embedder: &mut Embedder,
    crops: &[&AlignedCrop],
) -> Result<Vec<Embedding>, Box<dyn std::error::Error>> {
    Ok(embedder.embed(crops, None)?.into_iter().collect::<Result<_, _>>()?)
}

fn run(arguments: &Arguments) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    let start = Instant::now();
    let detector = model::resolve(&arguments.detector, Task::Detector)?;
    let embedder = model::resolve(&arguments.embedder, Task::Embedder)?;
    let mut detector = Detector::load(&detector, &arguments.pool)?;
    let cpu = PoolOptions { provider: Provider::Cpu, ..arguments.pool.clone() };
    let mut reference = Embedder::load(&embedder, &cpu)?;
    let mut embedder = Embedder::load(&embedder, &arguments.pool)?;
    let startup = start.elapsed();

    let (width, height) = arguments.size;
    let pixels = noise(width as usize * height as usize * 3, 1);
    let frame = FrameView::packed(PixelFormat::Rgb, width, height, &pixels)?;
    let options = DetectOptions::of(detector.spec());
    let mut faces = Vec::new();
    let letterbox = Letterbox::for_model(&frame, detector.spec(), options.input_size);
    let mut requests = ready([1, 3, letterbox.height, letterbox.width], 1);
    let mut handle = detector.pool().handle();
    let (frames, frames_ratio) = compare(
        arguments.loops,
        || detector.detect(&frame, &options, None, &mut faces).map_err(Box::from),
        || handle.run(&mut requests, None).map_err(Box::<dyn std::error::Error>::from),
    )?;

    let crop = |i| AlignedCrop::from_rgb(noise(CROP_SIDE * CROP_SIDE * 3, i as u32 + 2));
    let crops: Vec<AlignedCrop> = (0..arguments.faces).filter_map(crop).collect();
    let crops: Vec<&AlignedCrop> = crops.iter().collect();
    let mut requests = ready([1, 3, CROP_SIDE, CROP_SIDE], crops.len());
    let mut handle = embedder.pool().handle();
    let (batches, faces_ratio) = compare(
        arguments.loops,
        || embedder.embed(&crops, None).map(drop),
        || handle.run(&mut requests, None),
    )?;

    let ours = embeddings(&mut embedder, &crops)?;
    let theirs = embeddings(&mut reference, &crops)?;
    let cosines = ours.iter().zip(&theirs).filter_map(|(a, b)| a.cosine(b));
    let least = cosines.fold(1.0, f32::min);
    let per_face = crops.len() as f64;
    Ok(serde_json::json!({
        "provider": detector.pool().active_provider(),
        "runtime": inference::runtime_path(&arguments.pool)?,
        "detector": detector.spec().id,
        "embedder": embedder.spec().id,
        "startup_s": startup.as_secs_f64(),
        "frames_per_s": frames,
        "frames_ratio_to_bare": frames_ratio,
        "faces_per_s": batches * per_face,
        "faces_ratio_to_bare": faces_ratio,
        "same_space_as_cpu": embedder.fingerprint().same_space(reference.fingerprint()),
        "least_cosine_with_cpu": least,
    }))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|w| w == "--help" || w == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::parse(words.into_iter()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("face-bench: error: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("face-bench: error: {error}");
            ExitCode::FAILURE
        }
    }
}
