//! Letterboxes beside OpenCV's `resize` with INTER_LINEAR, on the very same pixels.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use face_core::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat, Plane};
use face_core::model::ChannelOrder;
use face_core::preprocess::{Letterbox, Normalization, Preprocessor};
use serde::Serialize;

/// OpenCV computes bytes with weights of 11 bits.
const MOST: f32 = 2.0;

/// Source sizes and longest sides of the result: as it is, by 3, 2, 1.5 and odd parts, enlarged
/// chroma, extreme aspects, tiny results.
const SHAPES: [([u32; 2], u32); 12] = [
    ([640, 360], 640),
    ([1920, 1080], 640),
    ([1280, 720], 640),
    ([960, 540], 640),
    ([3840, 2160], 640),
    ([720, 576], 640),
    ([1366, 768], 640),
    ([648, 1152], 641),
    ([2000, 16], 500),
    ([10, 3000], 700),
    ([334, 250], 333),
    ([500, 400], 2),
];

/// Of formats without chroma only: an odd plane of chroma reaches half a pixel beyond the picture,
/// which a resize of that plane alone does not know.
const ODD_SHAPES: [([u32; 2], u32); 4] =
    [([1921, 1081], 640), ([333, 251], 200), ([1, 77], 40), ([77, 1], 77)];

/// One picture that OpenCV resizes.
#[derive(Serialize)]
struct Job {
    width: u32,
    height: u32,
    to: [usize; 2],
    channels: usize,
    float: bool,
}

struct Case {
    format: PixelFormat,
    size: [u32; 2],
    side: u32,
}

impl Case {
    /// The size of the result.
    fn target(&self) -> [usize; 2] {
        let data = vec![0; (self.size[0] * self.size[1]) as usize];
        let grey = FrameView::packed(PixelFormat::Gray8, self.size[0], self.size[1], &data);
        let letterbox = Letterbox::fit(&grey.unwrap(), self.side, 1);
        [letterbox.width, letterbox.height]
    }

    /// Channels of the planes, and by how much they are smaller than the picture.
    fn planes(&self) -> &'static [(usize, u32)] {
        match self.format {
            PixelFormat::Nv12 => &[(1, 1), (2, 2)],
            PixelFormat::I420 => &[(1, 1), (1, 2), (1, 2)],
            PixelFormat::Gray8 => &[(1, 1)],
            PixelFormat::Rgb | PixelFormat::Bgr => &[(3, 1)],
            _ => &[(4, 1)],
        }
    }

    fn jobs(&self) -> impl Iterator<Item = Job> {
        let [width, height] = self.size;
        let to = self.target();
        // Bytes that were rounded before would be made wrong by twice as much.
        let float = self.planes().len() > 1;
        self.planes().iter().map(move |(channels, sub)| Job {
            width: width / sub,
            height: height / sub,
            to,
            channels: *channels,
            float,
        })
    }
}

fn cases() -> Vec<Case> {
    use PixelFormat::*;
    let all = |(size, side)| PixelFormat::ALL.map(|format| Case { format, size, side });
    let odd = |(size, side)| [Gray8, Rgb, Bgra].map(|format| Case { format, size, side });
    SHAPES.into_iter().flat_map(all).chain(ODD_SHAPES.into_iter().flat_map(odd)).collect()
}

/// Lets OpenCV do all jobs; how each came out lies in the folder.
fn opencv(cases: &[Case]) -> Result<tempfile::TempDir, String> {
    let python = std::env::var_os("GST_FACE_TEST_PYTHON")
        .ok_or("GST_FACE_TEST_PYTHON names no Python with OpenCV")?;
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/resize.py"))
        .arg(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .expect("the reference runs");
    let mut lines = child.stdin.take().unwrap();
    for job in cases.iter().flat_map(Case::jobs) {
        writeln!(lines, "{}", serde_json::to_string(&job).unwrap()).unwrap();
    }
    drop(lines);
    assert!(child.wait().unwrap().success());
    Ok(folder)
}

fn letterbox(case: &Case, planes: &[Vec<u8>]) -> Vec<f32> {
    let stride = |(channels, sub): &(usize, u32)| (case.size[0] / sub) as usize * channels;
    let planes: Vec<_> = planes
        .iter()
        .zip(case.planes())
        .map(|(data, plane)| Plane { data, stride: stride(plane) })
        .collect();
    let mut frame = FrameView::new(case.format, case.size[0], case.size[1], &planes).unwrap();
    (frame.matrix, frame.range) = (ColorMatrix::Bt601, ColorRange::Full);
    let plain = Normalization { channels: ChannelOrder::Rgb, mean: [0.0; 3], std: [1.0; 3] };
    let mut out = Vec::new();
    let letterbox = Letterbox::fit(&frame, case.side, 1);
    Preprocessor::default().letterbox(&frame, &letterbox, &plain, &mut out);
    out
}

/// Red, green and blue of every pixel that OpenCV resized.
fn colours(case: &Case, results: &[Vec<u8>]) -> Vec<[f32; 3]> {
    if let [bytes] = results {
        let channels = case.planes()[0].0;
        let places = match case.format {
            PixelFormat::Gray8 => [0; 3],
            PixelFormat::Rgb | PixelFormat::Rgba | PixelFormat::Rgbx => [0, 1, 2],
            _ => [2, 1, 0],
        };
        let pixels = bytes.chunks_exact(channels);
        return pixels.map(|pixel| places.map(|place| f32::from(pixel[place]))).collect();
    }
    let floats = |bytes: &Vec<u8>| -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|float| f32::from_le_bytes(*float)).collect()
    };
    let planes: Vec<Vec<f32>> = results.iter().map(floats).collect();
    let chroma = |pixel: usize| match &planes[1..] {
        [both] => (both[2 * pixel], both[2 * pixel + 1]),
        [u, v] => (u[pixel], v[pixel]),
        _ => panic!("chroma lies in one plane or two"),
    };
    let colour = |(pixel, y): (usize, &f32)| {
        let (u, v) = chroma(pixel);
        let (u, v) = (u - 128.0, v - 128.0);
        // ITU-R BT.601, full range.
        let rgb = [y + 1.402 * v, y - 0.344_136 * u - 0.714_136 * v, y + 1.772 * u];
        rgb.map(|value| value.clamp(0.0, 255.0))
    };
    planes[0].iter().enumerate().map(colour).collect()
}

#[test]
fn letterbox_is_within_two_of_opencv() {
    let cases = cases();
    let folder = match opencv(&cases) {
        Ok(folder) => folder,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let mut job = 0;
    let mut worst = 0.0f32;
    for case in &cases {
        let numbers = job..job + case.planes().len();
        job = numbers.end;
        let read = |kind: &'static str| {
            let path = |number| folder.path().join(format!("{number}.{kind}"));
            numbers.clone().map(move |number| std::fs::read(path(number)).unwrap()).collect()
        };
        let (sources, results): (Vec<_>, Vec<_>) = (read("source"), read("result"));
        let ours = letterbox(case, &sources);
        let theirs = colours(case, &results);
        let pixels = theirs.len();
        assert_eq!(ours.len(), 3 * pixels);
        for (channel, plane) in ours.chunks_exact(pixels).enumerate() {
            for (pixel, (ours, theirs)) in plane.iter().zip(&theirs).enumerate() {
                let apart = (ours - theirs[channel]).abs();
                worst = worst.max(apart);
                let Case { format, size, side } = case;
                assert!(apart <= MOST, "{format:?} {size:?} to {side}, {pixel}: {apart}");
            }
        }
    }
    eprintln!("{} pictures, at most {worst} of 255 apart", cases.len());
}
