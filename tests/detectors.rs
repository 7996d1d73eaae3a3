//! The detectors beside their authors' own way of running them (tests/reference/detectors.py): on the
//! pictures of tests/data/detectors.jsonl, where what Python found is recorded, and, with
//! GST_FACE_TEST_PYTHON, on all test media.
//!
//! Python runs the files at their own size. On the recorded pictures we run them at ours: the black
//! around the picture is another one, of which no face there is near. The test media have faces that
//! fill their pictures, so that there the sizes are the same as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use face_core::detect::{DetectOptions, Detection, Detector};
use face_core::frame::{FrameView, PixelFormat};
use face_core::geometry::BBox;
use face_core::inference::{PoolOptions, Provider};
use face_core::model::{self, FreeDim, Task};
use face_core::picture::Picture;
use serde::Deserialize;

const DETECTORS: [&str; 4] =
    ["scrfd_500m_bnkps", "retinaface_mnet025", "centerface", "ultralight_rfb320"];
/// A face that is nearer to the threshold than this may be found by one and missed by the other.
const NEAR: f32 = 0.03;

/// What Python found in a picture.
#[derive(Deserialize)]
struct Found {
    picture: String,
    width: u32,
    height: u32,
    /// By detector; box, score and points of each face.
    faces: BTreeMap<String, Vec<Vec<f32>>>,
}

/// A face that Python found.
struct Face<'a> {
    bbox: BBox,
    score: f32,
    points: &'a [[f32; 2]],
}

impl<'a> Face<'a> {
    fn of(numbers: &'a [f32]) -> Self {
        let ([x, y, w, h, score], points) = numbers.split_first_chunk().expect("box and score");
        let points = points.as_chunks().0;
        Self { bbox: BBox::new(*x, *y, *w, *h), score: *score, points }
    }

    /// Is this the same face, with the same points?
    fn is(&self, ours: &Detection) -> bool {
        let reach = 0.02 * self.bbox.min_side() + 0.5;
        let points = ours.landmarks.map(|l| l.0.to_vec()).unwrap_or_default();
        let near = |(p, q): (&face_core::geometry::Point, &[f32; 2])| {
            (p.x - q[0]).hypot(p.y - q[1]) <= reach
        };
        points.len() == self.points.len()
            && ours.bbox.iou(&self.bbox) >= 0.95
            && (ours.score - self.score).abs() <= NEAR
            && points.iter().zip(self.points).all(near)
    }
}

/// Faces of both sides that the other has, and that it should have.
#[derive(Debug, Default)]
struct Agreement {
    theirs: usize,
    same: usize,
    ours: usize,
    ours_there: usize,
}

impl Agreement {
    fn add(&mut self, picture: &str, threshold: f32, theirs: &[Vec<f32>], ours: &[Detection]) {
        let theirs: Vec<_> = theirs.iter().map(|numbers| Face::of(numbers)).collect();
        for face in theirs.iter().filter(|face| face.score >= threshold + NEAR) {
            self.theirs += 1;
            if ours.iter().any(|found| face.is(found)) {
                self.same += 1;
            } else {
                eprintln!("{picture}: {:?} {} is not here", face.bbox, face.score);
            }
        }
        for found in ours.iter().filter(|found| found.score >= threshold + NEAR) {
            self.ours += 1;
            if theirs.iter().any(|face| face.is(found)) {
                self.ours_there += 1;
            } else {
                eprintln!("{picture}: {found:?} is not there");
            }
        }
    }

    fn check(&self, name: &str, least: usize) {
        eprintln!("{name}: {self:?}");
        assert!(self.theirs >= least, "{name}: the media have more faces than {}", self.theirs);
        assert!(self.same as f64 >= 0.98 * self.theirs as f64, "{name}: {self:?}");
        assert!(self.ours_there as f64 >= 0.98 * self.ours as f64, "{name}: {self:?}");
    }
}

fn media() -> Result<PathBuf, String> {
    let folder = std::env::var_os("GST_FACE_TEST_MEDIA").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    let media = folder.unwrap_or_else(beside);
    if media.join("groups").is_dir() { Ok(media) } else { Err("the media are not here".to_owned()) }
}

/// Is the size of the file freed at load, or the file taken as it is?
#[derive(Clone, Copy, PartialEq)]
enum Size {
    Freed,
    AsInTheFile,
}

/// The detector on one thread, and its own thresholds.
fn detector(name: &str, size: Size) -> Result<(Detector, DetectOptions), String> {
    let mut model = model::resolve(name, Task::Detector).map_err(|e| e.to_string())?;
    // CenterFace can only be run at another size than that of its file.
    if size == Size::AsInTheFile && model.spec.free == [FreeDim::Size] {
        model.spec.id.push_str("_640");
        model.spec.free.clear();
        (model.spec.size, model.spec.size_multiple) = (Some([640, 640]), None);
    }
    let options = DetectOptions::of(&model.spec);
    let pool = PoolOptions { provider: Provider::Cpu, threads: 1, ..PoolOptions::default() };
    Ok((Detector::load(&model, &pool).map_err(|e| e.to_string())?, options))
}

fn recorded() -> Vec<Found> {
    let text = include_str!("data/detectors.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("a recorded line")).collect()
}

fn agrees_with_what_is_recorded(name: &str) {
    let prepared = media().and_then(|media| Ok((media, detector(name, Size::Freed)?)));
    let (media, (mut detector, options)) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let mut agreement = Agreement::default();
    let mut faces = Vec::new();
    for found in recorded() {
        let picture = Picture::open(&media.join(&found.picture)).unwrap();
        assert_eq!((picture.width(), picture.height()), (found.width, found.height));
        detector.detect(&picture.view(), &options, None, &mut faces).unwrap();
        let theirs = &found.faces[name];
        agreement.add(&found.picture, options.score_threshold, theirs, &faces);
    }
    agreement.check(name, 40);
    assert_eq!(detector.not_finite(), 0);
}

#[test]
fn real_scrfd_agrees_with_what_is_recorded() {
    agrees_with_what_is_recorded(DETECTORS[0]);
}

#[test]
fn real_retinaface_agrees_with_what_is_recorded() {
    agrees_with_what_is_recorded(DETECTORS[1]);
}

#[test]
fn real_centerface_agrees_with_what_is_recorded() {
    agrees_with_what_is_recorded(DETECTORS[2]);
}

#[test]
fn real_ultralight_agrees_with_what_is_recorded() {
    agrees_with_what_is_recorded(DETECTORS[3]);
}

/// What Python finds in all pictures and in frames of the clips, with the folder of their pixels.
fn live(media: &Path) -> Result<(tempfile::TempDir, Vec<Found>), String> {
    let python = std::env::var_os("GST_FACE_TEST_PYTHON")
        .ok_or("GST_FACE_TEST_PYTHON names no Python with OpenCV")?;
    let model = model::resolve(DETECTORS[0], Task::Detector).map_err(|e| e.to_string())?;
    let models = model.path.parent().expect("a file is in a folder");
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/detectors.py");
    let mut command = Command::new(python);
    command.arg(script).arg("live").args([models, media, folder.path()]);
    let output = command.output().expect("the reference runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    Ok((folder, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()))
}

#[test]
fn real_detectors_agree_with_python_on_the_same_pixels() {
    let (folder, pictures) = match media().and_then(|media| live(&media)) {
        Ok(live) => live,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    for name in DETECTORS {
        let (mut detector, options) = match detector(name, Size::AsInTheFile) {
            Ok(detector) => detector,
            Err(reason) => {
                eprintln!("skipped: {reason}");
                continue;
            }
        };
        let mut agreement = Agreement::default();
        let mut faces = Vec::new();
        for (index, found) in pictures.iter().enumerate() {
            let bgr = std::fs::read(folder.path().join(format!("{index}.bgr"))).unwrap();
            let frame = FrameView::packed(PixelFormat::Bgr, found.width, found.height, &bgr);
            detector.detect(&frame.unwrap(), &options, None, &mut faces).unwrap();
            // A file that is not beside the first one was not looked at.
            let Some(theirs) = found.faces.get(name) else { continue };
            agreement.add(&found.picture, options.score_threshold, theirs, &faces);
        }
        agreement.check(name, 150);
    }
}
