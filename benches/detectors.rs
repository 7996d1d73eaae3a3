//! What the detectors of the registry find in the test media at their own settings, and how long they
//! take: prints the table of docs/recognition.md.
//!
//! `cargo bench --bench detectors [-- MEDIA]`: MEDIA holds groups/*.jpg, people/*/*.jpg and video/*.mp4
//! (default: GST_FACE_TEST_MEDIA, else ../shared/media). Frames are decoded by gst-launch-1.0.
//!
//! Every detector looks at every picture in turn, so that a machine that slows down slows all; the
//! time is told as a ratio to that of the default detector on the same picture.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use face_core::detect::{DetectOptions, Detector};
use face_core::frame::{FrameView, PixelFormat, Plane};
use face_core::inference::{PoolOptions, Provider};
use face_core::model::{self, Task};
use face_core::picture::Picture;

type Failure = Box<dyn std::error::Error>;

/// Every so many frames of a video one is looked at.
const EVERY: usize = 5;
/// Timed looks at each picture, after one that is not timed; the shortest counts.
const ROUNDS: usize = 3;
const FOLDERS: [&str; 3] = ["groups", "people", "video"];

/// One frame of a video, I420 without padding.
struct Frame {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl Frame {
    fn view(&self) -> Result<FrameView<'_>, Failure> {
        let stride = self.width as usize;
        let (luma, chroma) = self.data.split_at(stride * self.height as usize);
        let (u, v) = chroma.split_at(chroma.len() / 2);
        let half = stride.div_ceil(2);
        let planes = [
            Plane { data: luma, stride },
            Plane { data: u, stride: half },
            Plane { data: v, stride: half },
        ];
        Ok(FrameView::new(PixelFormat::I420, self.width, self.height, &planes)?)
    }
}

/// A detector with what was seen of it.
struct Row {
    detector: Detector,
    options: DetectOptions,
    /// Faces by folder.
    faces: [usize; 3],
    /// Times as ratios to those of the first row.
    ratios: Vec<f64>,
}

/// Every file below `folder` with one of these endings, sorted.
fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, endings)?);
        } else if path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Every fifth frame of a video.
fn frames(video: &Path) -> Result<Vec<Frame>, Failure> {
    let mut child = Command::new("gst-launch-1.0")
        .args(["-q", "filesrc"])
        .arg(format!("location={}", video.display()))
        // Over RGB, because y4menc writes the padding that decoders leave in their pictures.
        .args(["!", "decodebin", "!", "videoconvert", "!", "video/x-raw,format=RGB"])
        .args(["!", "videoconvert", "!", "video/x-raw,format=I420", "!", "y4menc"])
        .args(["!", "fdsink", "fd=1"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut header = String::new();
    pipe.read_line(&mut header)?;
    let side = |letter: char| {
        let word = header.split_whitespace().find_map(|word| word.strip_prefix(letter));
        word.and_then(|number| number.parse::<u32>().ok()).ok_or("no size in the header")
    };
    let (width, height) = (side('W')?, side('H')?);
    let (w, h) = (width as usize, height as usize);
    let bytes = w * h + 2 * w.div_ceil(2) * h.div_ceil(2);
    let mut frames = Vec::new();
    for index in 0.. {
        if pipe.read_until(b'\n', &mut Vec::new())? == 0 {
            break;
        }
        let mut data = vec![0; bytes];
        pipe.read_exact(&mut data)?;
        if index % EVERY == 0 {
            frames.push(Frame { width, height, data });
        }
    }
    if !child.wait()?.success() || frames.is_empty() {
        return Err(format!("{} cannot be decoded", video.display()).into());
    }
    Ok(frames)
}

/// Lets every detector look at a picture of the folder.
fn look(rows: &mut [Row], folder: usize, frame: &FrameView<'_>) -> Result<(), Failure> {
    let mut faces = Vec::new();
    let mut times = vec![Duration::MAX; rows.len()];
    for round in 0..=ROUNDS {
        for (row, time) in rows.iter_mut().zip(&mut times) {
            let start = Instant::now();
            row.detector.detect(frame, &row.options, None, &mut faces)?;
            if round == 0 {
                row.faces[folder] += faces.len();
            } else {
                *time = start.elapsed().min(*time);
            }
        }
    }
    let first = times.first().map_or(1.0, Duration::as_secs_f64);
    for (row, time) in rows.iter_mut().zip(&times) {
        row.ratios.push(time.as_secs_f64() / first);
    }
    Ok(())
}

fn rows() -> Result<Vec<Row>, Failure> {
    let pool = PoolOptions { provider: Provider::Cpu, threads: 1, ..PoolOptions::default() };
    let mut rows = Vec::new();
    for spec in model::registry().iter().filter(|spec| spec.task == Task::Detector) {
        match model::resolve(&spec.id, Task::Detector) {
            Ok(model) => rows.push(Row {
                options: DetectOptions::of(&model.spec),
                detector: Detector::load(&model, &pool)?,
                faces: [0; 3],
                ratios: Vec::new(),
            }),
            // Without the first one there is nothing to compare with.
            Err(error) if rows.is_empty() => return Err(error.into()),
            Err(error) => eprintln!("skipped: {error}"),
        }
    }
    Ok(rows)
}

fn print(rows: &mut [Row], looked: [usize; 3]) {
    let [groups, people, video] = looked;
    println!(
        "| detector | least score | faces in {groups} group pictures | in {people} pictures of people \
         | in {video} frames | time, {} = 1 | landmarks | licence of the weights |\n\
         |---|---|---|---|---|---|---|---|",
        model::DEFAULT_DETECTOR
    );
    for row in rows {
        let spec = row.detector.spec();
        row.ratios.sort_by(f64::total_cmp);
        let median = row.ratios.get(row.ratios.len() / 2).copied().unwrap_or(f64::NAN);
        println!(
            "| `{}` | {} | {} | {} | {} | {median:.2} | {} | {} |",
            spec.id,
            spec.threshold,
            row.faces[0],
            row.faces[1],
            row.faces[2],
            if spec.decoder.has_landmarks() { "yes" } else { "no" },
            spec.licence
        );
    }
}

fn main() -> Result<(), Failure> {
    // cargo adds options of its own.
    let named = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    let media = named.map(PathBuf::from);
    let media = media.or_else(|| std::env::var_os("GST_FACE_TEST_MEDIA").map(PathBuf::from));
    let media = media.unwrap_or_else(beside);
    if !media.join(FOLDERS[0]).is_dir() {
        eprintln!("skipped: no {} in {}", FOLDERS[0], media.display());
        return Ok(());
    }
    let mut rows = rows()?;
    let mut looked = [0; 3];
    for (folder, name) in FOLDERS.into_iter().enumerate().take(2) {
        for path in files(&media.join(name), &["jpg", "jpeg", "png"])? {
            look(&mut rows, folder, &Picture::open(&path)?.view())?;
            looked[folder] += 1;
        }
    }
    for path in files(&media.join(FOLDERS[2]), &["mp4"])? {
        for frame in frames(&path)? {
            look(&mut rows, 2, &frame.view()?)?;
            looked[2] += 1;
        }
    }
    print(&mut rows, looked);
    Ok(())
}
