//! From the faces of every frame to who was seen when.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use face_core::embed::Embedding;
use face_core::geometry::BBox;
use face_core::identity::Status;
use gstface::meta::{Face, FrameFaces, TrackState};

use crate::schema::{
    Analysis, FaceRecord, FrameRecord, Models, PersonSummary, SCHEMA, TrackSummary,
};
use crate::strangers::{self, Grouping, Stranger};

/// Appearances of a person that are no further apart are one stretch.
const MERGE_GAP_NS: u64 = 1_000_000_000;
/// A name carried over so much time was no mistake.
const LASTING_NS: u64 = 1_000_000_000;
/// Side of the crop that embedders see: larger faces are not clearer to them.
const CLEAR_SIDE_PX: f32 = 112.0;

/// A frame on which a face was observed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) frame: u64,
    pub(crate) pts_ns: Option<u64>,
}

/// A name that a track carried.
#[derive(Debug)]
struct Named {
    name: String,
    person_id: Option<String>,
    similarity: Option<f32>,
    /// Did enough results agree on it?
    confirmed: bool,
}

#[derive(Debug)]
struct Best {
    clearness: f32,
    bbox: [f32; 4],
    pts_ns: Option<u64>,
    /// A JPEG file.
    shot: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Track {
    /// Did the tracker believe in it? One doubtful detection alone is no track of the result.
    confirmed: bool,
    status: (u64, &'static str),
    /// Was it found for certain that the face is nobody's, or too near to several people's?
    nobody: bool,
    /// Nearest similarity while nobody was recognised.
    similarity: Option<f32>,
    named: Vec<Named>,
    /// Every observation, with the index of the name that it carried.
    seen: Vec<(Seen, Option<usize>)>,
    best: Option<Best>,
}

impl Track {
    /// True: nothing clearer was seen of the track before.
    fn add(&mut self, face: &Face, seen: Seen, bbox: [f32; 4]) -> bool {
        self.status = (seen.frame, face.status.as_str());
        self.nobody |= matches!(face.status, Status::Unknown | Status::Uncertain);
        let index = carried_name(face).map(|name| self.index(name));
        match index.and_then(|i| self.named.get_mut(i)) {
            Some(named) => {
                named.person_id = face.person_id.clone().or(named.person_id.take());
                named.similarity = greater(named.similarity, face.similarity);
                named.confirmed |= face.confirmed;
            }
            None => self.similarity = greater(self.similarity, face.similarity),
        }
        self.seen.push((seen, index));
        let side = bbox[2].min(bbox[3]);
        // A crop that was measured tells more than any that was not; its size is in its quality.
        let unmeasured = || face.score * (side / CLEAR_SIDE_PX).clamp(0.0, 1.0);
        let clearness = face.quality.map_or_else(unmeasured, |quality| 1.0 + quality);
        let clearest = self.best.as_ref().is_none_or(|b| clearness > b.clearness);
        if clearest {
            self.best = Some(Best { clearness, bbox, pts_ns: seen.pts_ns, shot: None });
        }
        clearest
    }

    fn index(&mut self, name: &str) -> usize {
        self.named.iter().position(|n| n.name == name).unwrap_or_else(|| {
            self.named.push(Named {
                name: name.to_owned(),
                person_id: None,
                similarity: None,
                confirmed: false,
            });
            self.named.len() - 1
        })
    }

    /// Takes over what was observed under another id.
    fn absorb(&mut self, other: Track) {
        self.confirmed |= other.confirmed;
        self.nobody |= other.nobody;
        self.status = self.status.max(other.status);
        self.similarity = greater(self.similarity, other.similarity);
        let mut indices = Vec::with_capacity(other.named.len());
        for more in other.named {
            let index = self.index(&more.name);
            if let Some(named) = self.named.get_mut(index) {
                named.person_id = named.person_id.take().or(more.person_id);
                named.similarity = greater(named.similarity, more.similarity);
                named.confirmed |= more.confirmed;
            }
            indices.push(index);
        }
        let moved = |index: Option<usize>| index.and_then(|i| indices.get(i).copied());
        self.seen.extend(other.seen.into_iter().map(|(seen, index)| (seen, moved(index))));
        self.seen.sort_by_key(|(seen, _)| seen.frame);
        if let Some(best) = other.best
            && self.best.as_ref().is_none_or(|b| best.clearness > b.clearness)
        {
            self.best = Some(best);
        }
    }

    /// Observations that carried a name.
    fn carried(&self, index: usize) -> impl DoubleEndedIterator<Item = &Seen> {
        self.seen.iter().filter(move |(_, i)| *i == Some(index)).map(|(seen, _)| seen)
    }

    /// Does the name count? A confirmed one does. One that is not counts if the video, or the face
    /// in it, was over before enough results could agree: the track carried it to its end, and
    /// nothing else was ever confirmed.
    fn counts(&self, index: usize) -> bool {
        let confirmed = |named: &Named| named.confirmed;
        if self.nobody || self.named.iter().any(confirmed) {
            return self.named.get(index).is_some_and(confirmed);
        }
        self.seen.last().is_some_and(|(_, last)| *last == Some(index))
    }

    /// Index of the name that counts and was carried on the most frames; of two equal ones the
    /// later.
    fn final_name(&self) -> Option<usize> {
        let support =
            |i: &usize| (self.carried(*i).count(), self.carried(*i).next_back().map(|s| s.frame));
        (0..self.named.len()).filter(|i| self.counts(*i)).max_by_key(support)
    }

    /// Did the track carry the name so long that it was no mistake? Then the track went over from
    /// one person to another, as it may where a scene is cut.
    fn carried_long(&self, index: usize) -> bool {
        let mut carried = self.carried(index);
        let first = carried.next().and_then(|s| s.pts_ns);
        match (first, carried.next_back().and_then(|s| s.pts_ns)) {
            (Some(first), Some(last)) => last - first >= LASTING_NS,
            _ => false,
        }
    }

    /// Whose each observation is. Those that carried no name (not recognised yet, turned away),
    /// or one that was a mistake, go to the next person of the track, else to the last.
    fn owners(&self) -> Vec<(Seen, usize)> {
        let final_name = self.final_name();
        let right: Vec<bool> = (0..self.named.len())
            .map(|i| Some(i) == final_name || (self.counts(i) && self.carried_long(i)))
            .collect();
        let owner = |index: Option<usize>| index.filter(|i| right.get(*i) == Some(&true));
        let mut current = self.seen.iter().rev().find_map(|(_, index)| owner(*index));
        let mut owners = Vec::with_capacity(self.seen.len());
        for (seen, index) in self.seen.iter().rev() {
            current = owner(*index).or(current);
            owners.extend(current.map(|owner| (*seen, owner)));
        }
        owners
    }

    fn summary(&self, track_id: u64) -> Option<TrackSummary> {
        let best = self.best.as_ref()?;
        let name = self.final_name().and_then(|i| self.named.get(i));
        let times = || self.seen.iter().filter_map(|(seen, _)| seen.pts_ns);
        Some(TrackSummary {
            track_id,
            first_pts_ns: times().min(),
            last_pts_ns: times().max(),
            frames: self.seen.len() as u64,
            status: match name {
                Some(named) if named.confirmed => Status::Known.as_str(),
                Some(_) => Status::Confirming.as_str(),
                None => self.status.1,
            }
            .to_owned(),
            name: name.map(|n| n.name.clone()),
            person_id: name.and_then(|n| n.person_id.clone()),
            similarity: name.map_or(self.similarity, |n| n.similarity).map(rounded),
            best_box: best.bbox,
            best_pts_ns: best.pts_ns,
            best_shot: best.shot.as_ref().map(|jpeg| BASE64_STANDARD.encode(jpeg)),
            samples: Vec::new(),
            group: None,
        })
    }
}

/// Takes the frames of a video one by one.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    frames: u64,
    last_pts_ns: Option<u64>,
    end_ns: Option<u64>,
    detector: String,
    tracks: BTreeMap<u64, Track>,
    /// Observations with a name but without a track.
    loose: BTreeMap<String, Vec<Seen>>,
    /// Ids given up for an older one.
    relinked: BTreeMap<u64, u64>,
    /// Tracks of which the last frame had the clearest face so far.
    clearest: Vec<u64>,
}

impl Summary {
    /// Adds the next frame. `pts_ns` and `duration_ns` are stream time; a time that lies before
    /// that of the frame before is set to it.
    pub(crate) fn push(
        &mut self,
        pts_ns: Option<u64>,
        duration_ns: Option<u64>,
        faces: &FrameFaces,
    ) -> FrameRecord {
        let pts_ns = pts_ns.map(|pts| pts.max(self.last_pts_ns.unwrap_or(0)));
        if let Some(pts) = pts_ns {
            // Without a duration the last distance between frames stands for it.
            let step = self.last_pts_ns.map_or(0, |last| pts - last);
            self.end_ns = self.end_ns.max(Some(pts.saturating_add(duration_ns.unwrap_or(step))));
            self.last_pts_ns = Some(pts);
        }
        let frame = self.frames;
        self.frames += 1;
        if self.detector.is_empty() {
            self.detector.clone_from(&faces.detector);
        }
        let size = (faces.width as f32, faces.height as f32);
        let seen = Seen { frame, pts_ns };
        self.clearest.clear();
        let records = faces.faces.iter().map(|face| self.face(face, seen, size)).collect();
        FrameRecord { pts_ns, frame, faces: records }
    }

    fn face(&mut self, face: &Face, seen: Seen, (w, h): (f32, f32)) -> FaceRecord {
        let record = record(face, (w, h));
        if face.was_id != 0 && face.was_id != face.track_id {
            self.relinked.insert(face.was_id, face.track_id);
        }
        if face.track_id != 0 {
            let track = self.tracks.entry(face.track_id).or_default();
            track.confirmed |= face.track_state == TrackState::Confirmed;
            if face.observed && track.add(face, seen, record.bbox) {
                self.clearest.push(face.track_id);
            }
        } else if face.observed
            && face.status == Status::Known
            && let Some(name) = &face.name
        {
            self.loose.entry(name.clone()).or_default().push(seen);
        }
        record
    }

    /// Tracks of which the last frame had the clearest face so far.
    pub(crate) fn clearest(&self) -> &[u64] {
        &self.clearest
    }

    /// The clearest face of a track, as a JPEG file.
    pub(crate) fn set_shot(&mut self, track_id: u64, jpeg: Vec<u8>) {
        if let Some(best) = self.tracks.get_mut(&track_id).and_then(|t| t.best.as_mut()) {
            best.shot = Some(jpeg);
        }
    }

    /// End of the last picture so far.
    pub(crate) fn end_ns(&self) -> Option<u64> {
        self.end_ns
    }

    /// Ids that were given up, each with the id that its track has in the end.
    pub(crate) fn final_ids(&self) -> BTreeMap<u64, u64> {
        let last = |mut id: u64| {
            // An id is given up for an older one, so that this ends; a file that says otherwise
            // must not hang us.
            for _ in 0..self.relinked.len() {
                match self.relinked.get(&id) {
                    Some(next) => id = *next,
                    None => break,
                }
            }
            id
        };
        self.relinked.keys().map(|id| (*id, last(*id))).filter(|(a, b)| a != b).collect()
    }

    /// The result. `embedder` is the registry name of the model; with `grouping` those without a name
    /// are told apart, too.
    pub(crate) fn finish(
        mut self,
        source: String,
        embedder: String,
        grouping: Option<&Grouping>,
    ) -> Analysis {
        for (old, new) in self.final_ids() {
            if let Some(track) = self.tracks.remove(&old) {
                self.tracks.entry(new).or_default().absorb(track);
            }
        }
        self.tracks.retain(|_, track| track.confirmed || track.final_name().is_some());
        let mut tracks: Vec<TrackSummary> =
            self.tracks.iter().filter_map(|(id, track)| track.summary(*id)).collect();
        tracks.sort_by_key(|t| (t.first_pts_ns, t.track_id));
        let groups = grouping.map(|g| strangers::groups(&self.strangers(), g)).unwrap_or_default();
        for track in &mut tracks {
            let group = groups.iter().find(|g| g.tracks.contains(&track.track_id));
            track.group = group.map(|g| g.group);
        }
        Analysis {
            schema: SCHEMA.to_owned(),
            source,
            frames: self.frames,
            duration_ns: self.end_ns,
            models: Models { detector: self.detector.clone(), embedder },
            people: self.people(),
            groups,
            tracks,
            warnings: Vec::new(),
        }
    }

    /// Tracks without a name.
    fn strangers(&self) -> Vec<Stranger> {
        let nameless = self.tracks.iter().filter(|(_, track)| track.final_name().is_none());
        let stranger = |(id, track): (&u64, &Track)| Stranger {
            track_id: *id,
            seen: track.seen.iter().map(|(seen, _)| *seen).collect(),
        };
        nameless.map(stranger).collect()
    }

    fn people(&self) -> Vec<PersonSummary> {
        type Appearances = (Vec<u64>, BTreeSet<(u64, Option<u64>)>);
        let mut people: BTreeMap<&str, Appearances> = BTreeMap::new();
        for (id, track) in &self.tracks {
            for (seen, owner) in track.owners() {
                let Some(named) = track.named.get(owner) else { continue };
                let (tracks, frames) = people.entry(&named.name).or_default();
                if !tracks.contains(id) {
                    tracks.push(*id);
                }
                frames.insert((seen.frame, seen.pts_ns));
            }
        }
        // Faces that are on no track speak for themselves.
        for (name, seen) in &self.loose {
            let (_, frames) = people.entry(name).or_default();
            frames.extend(seen.iter().map(|s| (s.frame, s.pts_ns)));
        }
        let mut people: Vec<PersonSummary> = people
            .into_iter()
            .map(|(name, (tracks, seen))| PersonSummary {
                name: name.to_owned(),
                frames: seen.len() as u64,
                tracks,
                intervals_ns: intervals(seen.into_iter().filter_map(|(_, pts)| pts)),
            })
            .collect();
        people.sort_by(|a, b| b.frames.cmp(&a.frames).then_with(|| a.name.cmp(&b.name)));
        people
    }
}

/// The name that a face carries: of one that is recognised, or not yet confirmed, or filtered on this
/// frame. One that is too near to another person carries none that counts.
fn carried_name(face: &Face) -> Option<&str> {
    let carries = matches!(face.status, Status::Known | Status::Confirming | Status::Filtered);
    face.name.as_deref().filter(|_| carries)
}

/// Stretches of rising times whose gaps are at most [`MERGE_GAP_NS`].
pub(crate) fn intervals(times: impl Iterator<Item = u64>) -> Vec<[u64; 2]> {
    let mut intervals: Vec<[u64; 2]> = Vec::new();
    for time in times {
        match intervals.last_mut() {
            Some([_, end]) if time.saturating_sub(*end) <= MERGE_GAP_NS => *end = time.max(*end),
            _ => intervals.push([time, time]),
        }
    }
    intervals
}

pub(crate) fn record(face: &Face, (w, h): (f32, f32)) -> FaceRecord {
    let BBox { x, y, w: bw, h: bh } = face.bbox.scaled(w, h);
    FaceRecord {
        bbox: [x, y, bw, bh].map(hundredth),
        score: rounded(face.score),
        landmarks: face
            .landmarks
            .as_ref()
            .map(|l| l.scaled(w, h).0.map(|p| [hundredth(p.x), hundredth(p.y)])),
        status: face.status.as_str().to_owned(),
        name: face.name.clone(),
        person_id: face.person_id.clone(),
        similarity: face.similarity.map(rounded),
        embedding: face
            .embedding
            .as_deref()
            .and_then(|bytes| Embedding::from_bytes(bytes).ok())
            .map(|e| e.as_slice().to_vec()),
        track_id: face.track_id,
        observed: face.observed,
    }
}

/// Hundredths of a pixel are below what a detector knows.
fn hundredth(px: f32) -> f32 {
    (px * 100.0).round() / 100.0
}

fn rounded(similarity: f32) -> f32 {
    (similarity * 10_000.0).round() / 10_000.0
}

fn greater(a: Option<f32>, b: Option<f32>) -> Option<f32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
