//! What the tracks of a video were seen with: for enrolling them, and for telling which of them
//! show one person.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use face_core::align::AlignedCrop;
use face_core::cluster::{self, Look, Member, Thinned};
use face_core::embed::Embedding;
use face_core::picture::PictureError;
use gstface::meta::Face;

use crate::schema::{FaceRecord, SampleRecord};

/// Quality of the best look at a track from which it can be compared. What is more blurred, darker or
/// further turned away is like everything else of the kind: on shared clips such tracks, which are
/// hardly faces, reach 0.008, and people in profile in a dark room 0.03.
const TELLING: f32 = 0.01;

/// What is kept of tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The pictures, too; without, only what is compared.
    pub(crate) crops: bool,
    /// Only the looks that stand for the others of a track.
    pub(crate) clusters: bool,
}

/// One look at a face.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pts_ns: Option<u64>,
    bbox: [f32; 4],
    score: f32,
    landmarks: [[f32; 2]; 5],
    crop: Option<Crop>,
}

#[derive(Clone, Debug)]
enum Crop {
    Raw(AlignedCrop),
    /// Half as many bytes, for as long as the video lasts.
    Png(Vec<u8>),
}

/// The looks of every track.
#[derive(Debug)]
pub(crate) struct TrackSamples {
    wanted: Wanted,
    /// Of tracks that may still be in view.
    open: BTreeMap<u64, Thinned<Picture>>,
    /// Of tracks that are over, made few and small.
    ended: BTreeMap<u64, Vec<Look<Picture>>>,
}

impl TrackSamples {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self { wanted, open: BTreeMap::new(), ended: BTreeMap::new() }
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Is the face of use: was it embedded on this very frame, and is it on a track?
    pub(crate) fn is_due(face: &Face) -> bool {
        face.track_id != 0 && face.embedding.is_some()
    }

    /// Adds a look at a face that is due. `record` is the same in pixels.
    pub(crate) fn add(
        &mut self,
        face: &Face,
        record: &FaceRecord,
        pts_ns: Option<u64>,
        crop: Option<AlignedCrop>,
    ) {
        let embedding = face.embedding.as_deref().and_then(|b| Embedding::from_bytes(b).ok());
        let (Some(embedding), Some(landmarks)) = (embedding, record.landmarks) else { return };
        let crop = crop.map(Crop::Raw);
        let picture = Picture { pts_ns, bbox: record.bbox, score: record.score, landmarks, crop };
        let quality = face.score * face.quality.unwrap_or(0.0);
        let track = self.open.entry(face.track_id).or_default();
        track.add(Look::new(embedding, quality, picture));
    }

    /// A track got the id of an older one.
    pub(crate) fn join(&mut self, given_up: u64, track_id: u64) {
        if let Some(looks) = self.open.remove(&given_up) {
            self.open.entry(track_id).or_default().absorb(looks);
        }
    }

    /// A track is over.
    pub(crate) fn end(&mut self, track_id: u64) -> Result<(), PictureError> {
        let Some(looks) = self.open.remove(&track_id) else { return Ok(()) };
        let mut looks = self.reduced(looks.into_looks());
        for look in &mut looks {
            look.with.shrink()?;
        }
        self.ended.entry(track_id).or_default().extend(looks);
        Ok(())
    }

    fn reduced(&self, looks: Vec<Look<Picture>>) -> Vec<Look<Picture>> {
        if self.wanted.clusters { cluster::representatives(looks) } else { looks }
    }

    /// The looks of every track, by its final id.
    pub(crate) fn finish(
        mut self,
        final_ids: &BTreeMap<u64, u64>,
    ) -> Result<BTreeMap<u64, Vec<Look<Picture>>>, PictureError> {
        for (old, new) in final_ids {
            self.join(*old, *new);
        }
        let open: Vec<u64> = self.open.keys().copied().collect();
        for track_id in open {
            self.end(track_id)?;
        }
        for (old, new) in final_ids {
            if let Some(looks) = self.ended.remove(old) {
                let mut all = self.ended.remove(new).unwrap_or_default();
                all.extend(looks);
                all.sort_by_key(|look| look.with.pts_ns);
                let all = self.reduced(all);
                self.ended.insert(*new, all);
            }
        }
        Ok(self.ended)
    }
}

impl Picture {
    fn shrink(&mut self) -> Result<(), PictureError> {
        if let Some(Crop::Raw(crop)) = &self.crop {
            self.crop = Some(Crop::Png(crop.to_png()?));
        }
        Ok(())
    }
}

/// What groups compare of a track: the mean direction of its looks. The more often it was looked at,
/// the more it counts. `None` if it was never seen clearly enough.
pub(crate) fn member(looks: &[Look<Picture>]) -> Option<Member> {
    if !looks.iter().any(|look| look.quality >= TELLING) {
        return None;
    }
    let weight = looks.iter().map(|look| look.observations as f32).sum();
    Some(Member { direction: cluster::direction(looks)?, weight })
}

/// As they are written; those without a picture are not.
pub(crate) fn records(looks: Vec<Look<Picture>>) -> Vec<SampleRecord> {
    let record = |look: Look<Picture>| {
        let Picture { pts_ns, bbox, score, landmarks, crop } = look.with;
        let Some(Crop::Png(png)) = crop else { return None };
        Some(SampleRecord {
            pts_ns,
            observations: look.observations,
            bbox,
            score,
            landmarks,
            crop: BASE64_STANDARD.encode(png),
            embedding: look.embedding.as_slice().to_vec(),
        })
    };
    looks.into_iter().filter_map(record).collect()
}

#[cfg(test)]
mod tests {
    use face_core::align::CROP_SIDE;
    use face_core::geometry::{BBox, Landmarks, Point};
    use face_core::picture::Picture as Still;

    use super::*;
    use crate::summary::record;

    const EVERYTHING: Wanted = Wanted { crops: true, clusters: true };

    /// A face on track `track_id`, embedded at so many degrees.
    fn face(track_id: u64, degrees: f32) -> Face {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Face {
            bbox: BBox::new(0.25, 0.5, 0.25, 0.25),
            landmarks: Some(Landmarks([Point::new(0.5, 0.5); 5])),
            observed: true,
            score: 0.8,
            quality: Some(0.5),
            track_id,
            embedding: Some(Embedding::new(&[cos, sin]).unwrap().to_bytes()),
            ..Face::default()
        }
    }

    fn crop(value: u8) -> AlignedCrop {
        AlignedCrop::from_rgb(vec![value; CROP_SIDE * CROP_SIDE * 3]).unwrap()
    }

    fn add(samples: &mut TrackSamples, track_id: u64, degrees: f32, at: u64) {
        let face = face(track_id, degrees);
        samples.add(&face, &record(&face, (400.0, 200.0)), Some(at), Some(crop(at as u8)));
    }

    fn finish(samples: TrackSamples, ids: &[(u64, u64)]) -> BTreeMap<u64, Vec<SampleRecord>> {
        let looks = samples.finish(&ids.iter().copied().collect()).unwrap();
        looks.into_iter().map(|(id, looks)| (id, records(looks))).collect()
    }

    #[test]
    fn t12_samples_have_picture_embedding_and_place() {
        let mut samples = TrackSamples::new(EVERYTHING);
        (0..30).for_each(|i| add(&mut samples, 3, if i < 20 { 0.0 } else { 90.0 }, i));
        let all = finish(samples, &[]);
        let of = &all[&3];
        assert_eq!(of.iter().map(|s| s.observations).collect::<Vec<_>>(), [20, 10]);
        assert_eq!(of[0].bbox, [100.0, 100.0, 100.0, 50.0]);
        assert_eq!((of[0].score, of[0].landmarks), (0.8, [[200.0, 100.0]; 5]));
        assert_eq!(of[0].embedding, [1.0, 0.0]);
        let png = BASE64_STANDARD.decode(&of[0].crop).unwrap();
        let still = Still::decode("crop", &png).unwrap();
        assert_eq!(still.as_rgb()[0], of[0].pts_ns.unwrap() as u8, "of that very frame");
    }

    #[test]
    fn without_clusters_every_kept_sample_is_written_in_order() {
        let mut samples = TrackSamples::new(Wanted { clusters: false, ..EVERYTHING });
        (0..30).for_each(|i| add(&mut samples, 3, 0.0, i));
        let all = finish(samples, &[]);
        let times: Vec<_> = all[&3].iter().map(|s| s.pts_ns.unwrap()).collect();
        assert_eq!(times, (0..30).collect::<Vec<_>>());
        assert!(all[&3].iter().all(|s| s.observations == 1));
    }

    #[test]
    fn joined_tracks_have_one_set_of_samples() {
        let mut samples = TrackSamples::new(EVERYTHING);
        (0..4).for_each(|i| add(&mut samples, 1, 0.0, i));
        (4..7).for_each(|i| add(&mut samples, 9, 0.0, i));
        samples.join(9, 1);
        samples.join(9, 1);
        (7..9).for_each(|i| add(&mut samples, 1, 0.0, i));
        // Told only at the end, and of a track that was over.
        (9..12).for_each(|i| add(&mut samples, 12, 0.0, i));
        samples.end(12).unwrap();
        (12..15).for_each(|i| add(&mut samples, 13, 0.0, i));
        let all = finish(samples, &[(12, 1), (13, 1)]);
        assert_eq!(all.keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(all[&1].iter().map(|s| s.observations).sum::<u64>(), 15);
    }

    #[test]
    fn what_is_only_compared_keeps_no_picture() {
        let mut samples = TrackSamples::new(Wanted { crops: false, clusters: true });
        let face = face(3, 30.0);
        samples.add(&face, &record(&face, (400.0, 200.0)), None, None);
        let looks = samples.finish(&BTreeMap::new()).unwrap().remove(&3).unwrap();
        let member = member(&looks).unwrap();
        assert!((member.direction.as_slice()[1] - 0.5).abs() < 1e-6);
        assert_eq!(member.weight, 1.0);
        assert!(records(looks).is_empty());
    }

    #[test]
    fn track_of_blurs_alone_is_not_compared() {
        let looks = |qualities: &[f32]| {
            let mut samples = TrackSamples::new(Wanted { crops: false, clusters: true });
            for (quality, at) in qualities.iter().zip(0..) {
                let face = Face { quality: Some(*quality), ..face(3, at as f32) };
                samples.add(&face, &record(&face, (400.0, 200.0)), None, None);
            }
            samples.finish(&BTreeMap::new()).unwrap().remove(&3).unwrap()
        };
        assert_eq!(member(&looks(&[0.001, 0.002, 0.011])), None);
        assert!(member(&looks(&[0.001, 0.002, 0.02])).is_some());
    }

    #[test]
    fn faces_off_a_track_or_not_embedded_are_not_due() {
        assert!(TrackSamples::is_due(&face(1, 0.0)));
        assert!(!TrackSamples::is_due(&face(0, 0.0)));
        assert!(!TrackSamples::is_due(&Face { embedding: None, ..face(1, 0.0) }));
        let mut samples = TrackSamples::new(EVERYTHING);
        let broken = Face { embedding: Some(vec![1, 2, 3]), ..face(1, 0.0) };
        samples.add(&broken, &record(&broken, (4.0, 4.0)), None, None);
        assert!(finish(samples, &[]).is_empty());
    }
}
