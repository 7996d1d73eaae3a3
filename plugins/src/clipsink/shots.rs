//! The best shot of every track: a crop that is copied when a face becomes its track's best.

use std::collections::HashMap;

use face_core::geometry::Landmarks;
use face_core::loose::LooseFace;

use crate::meta::{Face, FrameFaces, Mapping};

/// Tracks whose best shot is kept; of more, the one that was seen longest ago goes.
const MOST_TRACKS: usize = 128;
/// A shot is better if it is so much clearer: not every frame is copied while a face comes nearer.
const BETTER: f32 = 1.05;
/// Side of the crop that embedders see: larger faces are not clearer to them.
const CLEAR_SIDE_PX: f32 = 112.0;

/// A face with its surroundings.
#[derive(Clone, Debug)]
pub(super) struct Shot {
    pub(super) face: LooseFace,
    pub(super) track_id: u64,
    /// Running time, ns.
    pub(super) time: i64,
    clearness: f32,
    seen: i64,
}

/// The best shots of the tracks lately.
#[derive(Debug, Default)]
pub(super) struct Shots(HashMap<u64, Shot>);

impl Shots {
    /// Copies the faces of a buffer that are their tracks' best so far.
    pub(super) fn look(
        &mut self,
        buffer: &gst::BufferRef,
        info: &gst_video::VideoInfo,
        faces: &FrameFaces,
        time: i64,
    ) -> Result<(), String> {
        let mapping = Mapping::new(faces, info);
        let mut frame = None;
        for face in faces.faces.iter().filter(|face| face.observed && face.track_id != 0) {
            let pixels = mapping.box_to_pixels(&face.bbox);
            let clearness = clearness(face, pixels.min_side());
            if let Some(shot) = self.0.get_mut(&face.track_id) {
                shot.seen = time;
                if clearness <= shot.clearness * BETTER {
                    continue;
                }
            }
            if frame.is_none() {
                let mapped = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info);
                frame = Some(mapped.map_err(|error| error.to_string())?);
            }
            let Some(frame) = &frame else { continue };
            let view = crate::frame::view(frame).map_err(|error| error.to_string())?;
            let points = face.landmarks.map(|l| mapping.landmarks_to_pixels(&l));
            // Only where the crop is taken matters here, and that the box tells.
            let points = points.unwrap_or(Landmarks([pixels.center(); 5]));
            let Some(crop) = LooseFace::cut(&view, &pixels, &points) else { continue };
            let track_id = face.track_id;
            self.0.insert(track_id, Shot { face: crop, track_id, time, clearness, seen: time });
        }
        self.bound();
        Ok(())
    }

    fn bound(&mut self) {
        while self.0.len() > MOST_TRACKS {
            let oldest = self.0.iter().min_by_key(|(_, shot)| shot.seen).map(|(id, _)| *id);
            let Some(oldest) = oldest else { return };
            self.0.remove(&oldest);
        }
    }

    /// The best shot for a clip of these tracks: of the first that has one.
    pub(super) fn of(&self, tracks: impl IntoIterator<Item = u64>) -> Option<Shot> {
        tracks.into_iter().find_map(|track| self.0.get(&track)).cloned()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A quality that was measured tells more than any estimate; its size is in it.
fn clearness(face: &Face, side_px: f32) -> f32 {
    let estimate = || face.score * (side_px / CLEAR_SIDE_PX).clamp(0.0, 1.0);
    face.quality.map_or_else(estimate, |quality| 1.0 + quality)
}

#[cfg(test)]
mod tests {
    use super::*;
    use face_core::geometry::BBox;

    fn faces(track_id: u64, quality: f32) -> FrameFaces {
        let face = Face {
            bbox: BBox::new(0.25, 0.25, 0.5, 0.5),
            observed: true,
            quality: Some(quality),
            track_id,
            ..Face::default()
        };
        FrameFaces { width: 64, height: 64, faces: vec![face], ..FrameFaces::default() }
    }

    #[test]
    fn clearer_face_replaces_the_one_before_and_others_do_not() {
        gst::init().unwrap();
        let caps = "video/x-raw,format=GRAY8,width=64,height=64,framerate=25/1";
        let info = gst_video::VideoInfo::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap();
        let picture = |grey: u8| gst::Buffer::from_mut_slice(vec![grey; info.size()]);
        let mut shots = Shots::default();
        let mut look = |grey, track, quality, time| {
            shots.look(&picture(grey), &info, &faces(track, quality), time).unwrap();
            shots.of([9, track]).map(|shot| (shot.time, shot.face.as_rgb()[0]))
        };
        assert_eq!(look(10, 1, 0.2, 1), Some((1, 10)));
        assert_eq!(look(20, 1, 0.21, 2), Some((1, 10)), "hardly better");
        assert_eq!(look(30, 1, 0.9, 3), Some((3, 30)));
        assert_eq!(look(40, 2, 0.1, 4), Some((4, 40)));
        for track in 10..200 {
            look(50, track, 0.5, 5 + track as i64);
        }
        assert_eq!(shots.0.len(), MOST_TRACKS);
        assert!(shots.of([1]).is_none() && shots.of([199]).is_some());
    }
}
