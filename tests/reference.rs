//! Our detector, alignment and embedder beside OpenCV's FaceDetectorYN, warpAffine and Python's
//! ONNX Runtime, on the very same pixels.

use std::path::Path;
use std::process::Command;

use face_core::align::AlignedCrop;
use face_core::detect::{DetectOptions, Detection, Detector};
use face_core::embed::{Embedder, Embedding};
use face_core::frame::{FrameView, PixelFormat};
use face_core::geometry::BBox;
use face_core::inference::PoolOptions;
use face_core::model::{self, Task};
use serde::Deserialize;

#[derive(Deserialize)]
struct Picture {
    picture: String,
    width: u32,
    height: u32,
    faces: Vec<Face>,
}

#[derive(Deserialize)]
struct Face {
    #[serde(rename = "box")]
    bbox: [f32; 4],
    landmarks: [[f32; 2]; 5],
    crop: usize,
    embedding: Vec<f32>,
}

impl Face {
    fn bbox(&self) -> BBox {
        let [x, y, w, h] = self.bbox;
        BBox::new(x, y, w, h)
    }
}

/// Reference and folder of raw pictures, or why there is none.
fn reference(
    detector: &Path,
    embedder: &Path,
) -> Result<(tempfile::TempDir, Vec<Picture>), String> {
    let python = std::env::var_os("GST_FACE_TEST_PYTHON")
        .ok_or("GST_FACE_TEST_PYTHON names no Python with OpenCV")?;
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    if !media.is_dir() {
        return Err("../shared/media is not there".to_owned());
    }
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/reference.py");
    let output = Command::new(python)
        .arg(script)
        .args([&media, detector, embedder, folder.path()])
        .output()
        .expect("the reference runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let pictures = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    Ok((folder, pictures))
}

fn model_path(name: &str, task: Task) -> Result<model::ResolvedModel, String> {
    model::resolve(name, task).map_err(|e| e.to_string())
}

fn nearest<'a>(faces: &'a [Detection], bbox: &BBox) -> Option<&'a Detection> {
    faces.iter().max_by(|a, b| a.bbox.iou(bbox).total_cmp(&b.bbox.iou(bbox)))
}

struct Comparison {
    faces: usize,
    same: usize,
    ours: usize,
    worst_crop: f32,
    /// Cosines end to end, of the faces found by both.
    cosines: Vec<f32>,
}

fn compare(
    folder: &Path,
    pictures: &[Picture],
    detector: &mut Detector,
    embedder: &mut Embedder,
) -> Comparison {
    let mut c = Comparison { faces: 0, same: 0, ours: 0, worst_crop: 1.0, cosines: Vec::new() };
    let mut found = Vec::new();
    let options = DetectOptions {
        input_size: 8192, // as large as it is: both see the same pixels
        score_threshold: 0.6,
        nms_threshold: 0.45,
        min_face_size: 0.0,
        max_faces: 0,
    };
    for (index, picture) in pictures.iter().enumerate() {
        let bgr = std::fs::read(folder.join(format!("{index}.bgr"))).unwrap();
        let frame =
            FrameView::packed(PixelFormat::Bgr, picture.width, picture.height, &bgr).unwrap();
        detector.detect(&frame, &options, None, &mut found).unwrap();
        c.ours += found.len();
        for face in &picture.faces {
            c.faces += 1;
            let theirs = Embedding::new(&face.embedding).unwrap();
            let crop = std::fs::read(folder.join(format!("{}.rgb", face.crop))).unwrap();
            let crop = AlignedCrop::from_rgb(crop).unwrap();
            let ours = embedder.embed(&[&crop], None).unwrap().remove(0).unwrap();
            c.worst_crop = c.worst_crop.min(ours.cosine(&theirs).unwrap());
            let Some(twin) = nearest(&found, &face.bbox()) else {
                eprintln!("{}: {:?} not found", picture.picture, face.bbox);
                continue;
            };
            let points = twin.landmarks.unwrap().0;
            let near = points.iter().zip(&face.landmarks).all(|(p, q)| {
                (p.x - q[0]).hypot(p.y - q[1]) <= 0.02 * face.bbox().min_side() + 0.5
            });
            if twin.bbox.iou(&face.bbox()) >= 0.95 && near {
                c.same += 1;
                let crop = AlignedCrop::cut(&frame, &twin.landmarks.unwrap()).unwrap();
                let ours = embedder.embed(&[&crop], None).unwrap().remove(0).unwrap();
                c.cosines.push(ours.cosine(&theirs).unwrap());
            } else {
                eprintln!("{}: {:?} is {:?} here", picture.picture, face.bbox, twin.bbox);
            }
        }
    }
    c
}

fn check(detector_name: &str) {
    let prepared = (|| {
        let detector = model_path(detector_name, Task::Detector)?;
        let embedder = model_path(model::DEFAULT_EMBEDDER, Task::Embedder)?;
        let reference = reference(&detector.path, &embedder.path)?;
        Ok::<_, String>((detector, embedder, reference))
    })();
    let (detector, embedder, (folder, pictures)) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let options = PoolOptions { threads: 1, ..PoolOptions::default() };
    let mut detector = Detector::load(&detector, &options).unwrap();
    let mut embedder = Embedder::load(&embedder, &options).unwrap();
    let mut c = compare(folder.path(), &pictures, &mut detector, &mut embedder);
    c.cosines.sort_by(f32::total_cmp);
    eprintln!(
        "{detector_name}: {} pictures, {} faces there, {} here, {} the same; cosine on the same \
         crops at least {:.5}, end to end at least {:.4}",
        pictures.len(),
        c.faces,
        c.ours,
        c.same,
        c.worst_crop,
        c.cosines[0]
    );
    assert!(c.faces > 100, "the media have more faces than {}", c.faces);
    assert!(c.same as f64 >= 0.98 * c.faces as f64);
    assert!(c.ours as f64 <= 1.02 * c.faces as f64);
    assert!(c.worst_crop >= 0.995);
    assert!(c.cosines[0] >= 0.98);
}

#[test]
fn real_yunet_n_agrees_with_opencv() {
    check("yunet_n_dynamic");
}

#[test]
fn real_yunet_s_agrees_with_opencv() {
    check("yunet_2023mar");
}
