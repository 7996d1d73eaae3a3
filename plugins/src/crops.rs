//! The faces of a buffer, cut out of it: what is enrolled, and what it is measured by.

use face_core::align::AlignedCrop;
use face_core::detect::Detection;
use face_core::frame::FrameView;
use face_core::geometry::{BBox, Landmarks};
use face_core::loose::LooseFace;

use crate::meta::{Face, FrameFaces, Mapping};
use crate::runtime::with_causes;

/// A face of a buffer.
#[derive(Clone, Debug)]
pub struct CutFace {
    /// Its place among the faces of the buffer.
    pub index: usize,
    pub crop: AlignedCrop,
    /// With its surroundings, if they were asked for.
    pub loose: Option<LooseFace>,
    /// Box, score and landmarks in square pixels.
    pub detection: Detection,
}

/// Cuts those faces out that were observed, have landmarks with an extent, and are `wanted`; with
/// `loose` also their surroundings.
///
/// # Errors
/// A text that says why the buffer cannot be looked at.
pub fn cut_faces(
    buffer: &gst::BufferRef,
    info: &gst_video::VideoInfo,
    faces: &FrameFaces,
    loose: bool,
    wanted: impl Fn(&Face) -> bool,
) -> Result<Vec<CutFace>, String> {
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info)
        .map_err(|e| e.to_string())?;
    let view = crate::frame::view(&frame).map_err(|e| with_causes(&e))?;
    let mapping = Mapping::new(faces, info);
    let cut = |(index, face): (usize, &Face)| {
        let landmarks = face.landmarks.filter(|_| face.observed && wanted(face))?;
        let landmarks = mapping.landmarks_to_pixels(&landmarks);
        let crop = AlignedCrop::cut(&view, &landmarks)?;
        let bbox = mapping.box_to_pixels(&face.bbox);
        let loose = loose.then(|| LooseFace::cut(&view, &bbox, &landmarks)).flatten();
        let detection = in_square_pixels(&view, bbox, landmarks, face.score);
        Some(CutFace { index, crop, loose, detection })
    };
    Ok(faces.faces.iter().enumerate().filter_map(cut).collect())
}

/// A face of a picture as the enrolment gate measures it.
pub(crate) fn in_square_pixels(
    view: &FrameView<'_>,
    bbox: BBox,
    landmarks: Landmarks,
    score: f32,
) -> Detection {
    let bbox = bbox.scaled(view.pixel_aspect, 1.0);
    let landmarks = Landmarks(landmarks.0.map(|p| view.to_square(p)));
    Detection { bbox, score, landmarks: Some(landmarks) }
}
