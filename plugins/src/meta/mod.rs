//! The metadata contract: `GstFaceMeta`, one custom meta per buffer, written and read here alone.
//!
//! The meta survives everything that keeps the picture whole (queue, tee, videoconvert,
//! videoscale, encoders) and is dropped by what cuts it (videocrop, compositor).

mod coords;
mod fields;
mod read;
mod roi;
mod write;

use face_core::geometry::{BBox, Landmarks};
use face_core::identity::Status;
use gst::meta::MetaTransform;

pub use coords::Mapping;
/// Events of the metadata and their JSON are one type.
pub use face_core::event::{Candidate, FaceEvent as Event};
pub use fields::{Field, Kind, Level, fields, markdown_table};
pub use read::{MetaError, update};
pub(crate) use read::{Origin, open};
pub use roi::{ROI_TYPE, write_mapped_rois, write_rois};
pub(crate) use write::{candidate_structure, text};

/// Name of the meta.
pub const META_NAME: &str = "GstFaceMeta";

/// Version of the contract that is written.
pub const VERSION: i32 = 1;

/// Tags of the meta: an element that changes none of these, or that tells its transform function
/// how, keeps the meta.
const TAGS: &[&str] = &["video", "orientation", "size"];

/// Registers the meta with GStreamer, which must be initialised. Calling it again does nothing.
pub fn register() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // A program may hold this crate twice: linked in, and as the plugin's shared library.
    ONCE.call_once(|| {
        if !gst::meta::CustomMeta::is_registered(META_NAME) {
            gst::meta::CustomMeta::register_with_transform(META_NAME, TAGS, transform);
        }
    });
}

/// Copies the meta when the buffer is copied or the picture is scaled as a whole, and on no other
/// transformation: fractions hold then and only then.
fn transform(
    dest: &mut gst::BufferRef,
    meta: &gst::meta::CustomMeta,
    _src: &gst::BufferRef,
    kind: glib::Quark,
) -> bool {
    let keeps = kind == gst::meta::MetaTransformCopy::quark()
        || kind == gst_video::video_meta::VideoMetaTransformScale::quark();
    if !keeps {
        return false;
    }
    if gst::meta::CustomMeta::from_buffer(dest, META_NAME).is_err()
        && gst::meta::CustomMeta::add(dest, META_NAME).is_err()
    {
        return false;
    }
    let Ok(mut copy) = gst::meta::CustomMeta::from_mut_buffer(dest, META_NAME) else {
        return false;
    };
    let structure = copy.mut_structure();
    structure.remove_all_fields();
    for (name, value) in meta.structure().iter() {
        structure.set_value(name, value.clone());
    }
    true
}

/// What the elements know about one frame. Boxes and landmarks are fractions (0..=1) of the
/// picture of `width` × `height` pixels that the detector saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrameFaces {
    /// Frames since stream-start, counted by facedetect.
    pub frame_id: u64,
    /// Did a detector run on this frame?
    pub looked: bool,
    /// Size of the picture that the fractions were taken from, in stored pixels.
    pub width: u32,
    pub height: u32,
    /// Its pixel aspect ratio, numerator and denominator.
    pub par: (i32, i32),
    /// Registry id of the detector.
    pub detector: String,
    pub faces: Vec<Face>,
    pub events: Vec<Event>,
    /// Ids of the tracks that ended on this frame.
    pub ended_tracks: Vec<u64>,
}

impl FrameFaces {
    /// Size of the picture of the fractions in square pixels, at least 1 × 1.
    pub fn square_size(&self) -> (f32, f32) {
        let (n, d) = self.par;
        let aspect = if n > 0 && d > 0 { n as f32 / d as f32 } else { 1.0 };
        ((self.width as f32 * aspect).max(1.0), (self.height as f32).max(1.0))
    }
}

/// State of a face's track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrackState {
    #[default]
    None,
    Tentative,
    Confirmed,
    Lost,
}

impl TrackState {
    pub const ALL: [TrackState; 4] =
        [TrackState::None, TrackState::Tentative, TrackState::Confirmed, TrackState::Lost];

    /// The name used in metadata and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            TrackState::None => "none",
            TrackState::Tentative => "tentative",
            TrackState::Confirmed => "confirmed",
            TrackState::Lost => "lost",
        }
    }

    /// The state of that name, or `None`.
    pub fn parse(name: &str) -> Option<TrackState> {
        TrackState::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// One face.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Face {
    /// Unique in the frame, equal to the id of the face's region-of-interest meta.
    pub id: u32,
    pub bbox: BBox,
    /// false: predicted by facetrack; such a face has no landmarks and is never embedded.
    pub observed: bool,
    /// Detection score, 0..=1.
    pub score: f32,
    pub landmarks: Option<Landmarks>,
    /// Quality of the crop, 0..=1.
    pub quality: Option<f32>,
    /// 0: no track.
    pub track_id: u64,
    /// The id that this track had before it was joined with an older one; 0: none.
    pub was_id: u64,
    pub track_state: TrackState,
    /// Running time of the track's first observation, ns.
    pub first_seen_ns: Option<u64>,
    /// Names of the zones that hold the face.
    pub zones: Vec<String>,
    pub status: Status,
    /// Why the face was not looked at; empty: it was.
    pub filter: String,
    pub person_id: Option<String>,
    pub name: Option<String>,
    /// Cosine similarity with the nearest person, -1..=1.
    pub similarity: Option<f32>,
    /// Similarity minus that of the second person.
    pub margin: Option<f32>,
    pub top_k: Vec<Candidate>,
    pub confirmed: bool,
    /// Yaw, pitch and roll in degrees.
    pub pose: Option<[f32; 3]>,
    pub attributes: Vec<Attribute>,
    /// Little-endian 32-bit floats; only when asked for.
    pub embedding: Option<Vec<u8>>,
    /// Model family and alignment of the embedding.
    pub fingerprint: Option<String>,
}

/// A further estimate about a face.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribute {
    pub name: String,
    pub label: String,
    /// 0..=1.
    pub confidence: Option<f32>,
}
