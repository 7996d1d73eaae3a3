//! Faces whose identity is a colour, as tests/data/embedder.onnx tells them apart.

use std::path::Path;

use face_core::embed::{Embedder, Embedding, Fingerprint};
use face_core::gallery::{Access, Enrolled, Gallery, NewSample};
use face_core::geometry::{BBox, Landmarks, Point};
use face_core::inference::PoolOptions;
use face_core::model::{Task, resolve};
use gstface::meta::{Face, FrameFaces};

use super::{Picture, Rgb, at, data, info};

pub(crate) const RED: Rgb = [220, 20, 20];
pub(crate) const GREEN: Rgb = [20, 220, 20];
pub(crate) const BLUE: Rgb = [20, 20, 220];
/// The embedder finds no direction in it.
pub(crate) const BLACK: Rgb = [0, 0, 0];
/// On it a run of embedder_fails fails.
pub(crate) const WHITE: Rgb = [255, 255, 255];

pub(crate) const CAPS: &str = "video/x-raw,format=RGB,width=128,height=64,framerate=25/1";

/// Points of an upright face, fractions of its box.
const POINTS: [(f32, f32); 5] =
    [(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)];

/// Frame `n`: one face in each half of the picture, in the colours `people`, on the tracks
/// `tracks` (0: none).
pub(crate) fn frame(n: u64, people: [Rgb; 2], tracks: [u64; 2]) -> gst::Buffer {
    frame_with(n, people, tracks, |_| ())
}

/// [`frame`] with a change to what facedetect and facetrack would have written.
pub(crate) fn frame_with(
    n: u64,
    people: [Rgb; 2],
    tracks: [u64; 2],
    change: impl FnOnce(&mut FrameFaces),
) -> gst::Buffer {
    let picture = Picture::new(128, 64, |x, _| people[x as usize / 64]);
    let mut buffer = at(n, picture.to_buffer(&info(CAPS)));
    let mut faces = FrameFaces {
        frame_id: n,
        looked: true,
        width: 128,
        height: 64,
        par: (1, 1),
        faces: vec![face(1, 0.0, tracks[0]), face(2, 0.5, tracks[1])],
        ..Default::default()
    };
    change(&mut faces);
    faces.write(buffer.get_mut().unwrap());
    buffer
}

/// A face of 40 × 40 px in the middle of the half that begins at `left`.
fn face(id: u32, left: f32, track_id: u64) -> Face {
    let bbox = BBox::new(left + 12.0 / 128.0, 12.0 / 64.0, 40.0 / 128.0, 40.0 / 64.0);
    let point = |(x, y): (f32, f32)| Point::new(bbox.x + x * bbox.w, bbox.y + y * bbox.h);
    let landmarks = Some(Landmarks(POINTS.map(point)));
    Face { id, bbox, observed: true, score: 0.9, landmarks, track_id, ..Default::default() }
}

/// What the model calls its embedding space.
pub(crate) fn fingerprint(model: &str) -> Fingerprint {
    let model = resolve(&data(model), Task::Embedder).unwrap();
    let options = PoolOptions { threads: 1, ..Default::default() };
    Fingerprint::clone(Embedder::load(&model, &options).unwrap().fingerprint())
}

/// Enrols a colour under a name, as another process would.
pub(crate) fn enroll(gallery: &Path, name: &str, color: Rgb) -> Enrolled {
    let values: Vec<f32> = color.iter().flat_map(|c| [f32::from(*c); 4]).collect();
    let sample = NewSample::new(Embedding::new(&values).unwrap(), "test");
    let fingerprint = fingerprint("embedder.onnx");
    let gallery = Gallery::open(gallery, &fingerprint, Access::Create).unwrap();
    gallery.enroll(name, &[sample]).unwrap()
}
