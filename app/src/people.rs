//! Groups the faces of a video by person, without a gallery.

use std::collections::{BTreeMap, BTreeSet};

use face_core::cluster::{self, Member};
use face_core::embed::Embedding;
use face_core::identity::TrackSample;

/// Pictures that are kept of a group, with their pixels: the least alike ones.
const KEPT: usize = 8;

/// A good picture of a face.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) face: TrackSample,
    /// Number of the frame.
    pub(crate) frame: u64,
    pub(crate) pts_ns: Option<u64>,
}

impl Sample {
    /// Cosine similarity; 1 where it cannot be told.
    fn similarity(&self, other: &Sample) -> f32 {
        self.face.embedding.cosine(&other.face.embedding).unwrap_or(1.0)
    }
}

/// Pictures of one person.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    count: usize,
    /// At most [`KEPT`].
    kept: Vec<Sample>,
    /// Sum of the embeddings.
    sum: Vec<f32>,
    frames: BTreeSet<u64>,
    first: (u64, Option<u64>),
}

impl Group {
    fn new(sample: Sample) -> Self {
        Self {
            count: 1,
            sum: sample.face.embedding.as_slice().to_vec(),
            frames: BTreeSet::from([sample.frame]),
            first: (sample.frame, sample.pts_ns),
            kept: vec![sample],
        }
    }

    fn push(&mut self, sample: Sample) {
        self.absorb(Group::new(sample));
    }

    fn absorb(&mut self, other: Group) {
        for (sum, value) in self.sum.iter_mut().zip(&other.sum) {
            *sum += value;
        }
        self.count += other.count;
        self.frames.extend(other.frames);
        if other.first.0 < self.first.0 {
            self.first = other.first;
        }
        self.kept.extend(other.kept);
        while self.kept.len() > KEPT {
            self.drop_one();
        }
    }

    /// Of the two pictures that are most alike the poorer one is given up.
    fn drop_one(&mut self) {
        let mut most = (f32::NEG_INFINITY, 0);
        for (i, a) in self.kept.iter().enumerate() {
            for (j, b) in self.kept.iter().enumerate().skip(i + 1) {
                let similarity = a.similarity(b);
                if similarity > most.0 {
                    let poorer = if a.face.weight < b.face.weight { i } else { j };
                    most = (similarity, poorer);
                }
            }
        }
        self.kept.remove(most.1);
    }

    /// Number of pictures.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The mean direction; `None` if the pictures cancel out.
    pub(crate) fn mean(&self) -> Option<Embedding> {
        Embedding::new(&self.sum).ok()
    }

    /// Time of the first picture.
    pub(crate) fn first_pts_ns(&self) -> Option<u64> {
        self.first.1
    }

    /// Up to `count` pictures: the most typical one, then always the one that is least like those
    /// chosen. Pictures less like the mean than `threshold` may show somebody else.
    pub(crate) fn most_different(&self, count: usize, threshold: f32) -> Vec<&Sample> {
        let Some(mean) = self.mean() else { return Vec::new() };
        let typical = |s: &Sample| s.face.embedding.cosine(&mean).unwrap_or(-1.0);
        let mut left: Vec<(&Sample, f32)> = self
            .kept
            .iter()
            .filter(|s| typical(s) >= threshold)
            .map(|s| (s, -typical(s)))
            .collect();
        let mut chosen: Vec<&Sample> = Vec::new();
        while chosen.len() < count {
            // Second field: greatest similarity with those chosen, at first minus that with the mean.
            let next = left.iter().enumerate().min_by(|a, b| a.1.1.total_cmp(&b.1.1));
            let Some(next) = next.map(|(i, _)| i) else { break };
            let (sample, _) = left.remove(next);
            for (other, nearest) in &mut left {
                let similarity = other.similarity(sample);
                *nearest = if chosen.is_empty() { similarity } else { nearest.max(similarity) };
            }
            chosen.push(sample);
        }
        chosen
    }
}

/// Collects pictures by track, then joins the tracks of a person.
#[derive(Debug, Default)]
pub(crate) struct People {
    threshold: f32,
    tracks: BTreeMap<u64, Vec<Group>>,
}

impl People {
    /// Faces are one person from a cosine similarity of `threshold` on.
    pub(crate) fn new(threshold: f32) -> Self {
        Self { threshold, tracks: BTreeMap::new() }
    }

    /// Adds a picture. A track is mostly one person; one that went over to another person is
    /// split.
    pub(crate) fn add(&mut self, track: u64, sample: Sample) {
        let groups = self.tracks.entry(track).or_default();
        let similarity =
            |g: &Group| g.mean().and_then(|m| m.cosine(&sample.face.embedding)).unwrap_or(-1.0);
        // Track 0 is every face without one: several may be on a frame.
        let nearest = groups
            .iter_mut()
            .filter(|g| !g.frames.contains(&sample.frame))
            .map(|g| (similarity(g), g))
            .filter(|(s, _)| *s >= self.threshold)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match nearest {
            Some((_, group)) => group.push(sample),
            None => groups.push(Group::new(sample)),
        }
    }

    /// The people, by first appearance: what [`cluster::group`] finds to be one person is joined.
    /// Nobody is twice on a frame.
    pub(crate) fn groups(self) -> Vec<Group> {
        let all = self.tracks.into_values().flatten();
        // Pictures that cancel out are like nobody's.
        let (all, mut groups): (Vec<_>, Vec<_>) = all.partition(|group| group.mean().is_some());
        let member =
            |group: &Group| Some(Member { direction: group.mean()?, weight: group.count as f32 });
        let members: Vec<Member> = all.iter().filter_map(member).collect();
        let apart = |a: usize, b: usize| !all[a].frames.is_disjoint(&all[b].frames);
        let found = cluster::group(&members, self.threshold, apart);
        let mut all: Vec<Option<Group>> = all.into_iter().map(Some).collect();
        for indices in found {
            let mut parts = indices.into_iter().filter_map(|i| all.get_mut(i)?.take());
            let Some(mut person) = parts.next() else { continue };
            parts.for_each(|part| person.absorb(part));
            groups.push(person);
        }
        groups.sort_by_key(|g| g.first.0);
        groups
    }
}

#[cfg(test)]
mod tests {
    use face_core::align::{AlignedCrop, CROP_SIDE};
    use face_core::detect::Detection;
    use face_core::geometry::BBox;

    use super::*;

    /// A unit vector in the plane of axes `axis` and `axis + 1`, turned by `degrees`.
    fn sample(axis: usize, degrees: f32, frame: u64) -> Sample {
        let mut v = [0.0; 8];
        (v[axis + 1], v[axis]) = degrees.to_radians().sin_cos();
        let face = TrackSample {
            crop: AlignedCrop::from_rgb(vec![0; CROP_SIDE * CROP_SIDE * 3]).unwrap(),
            loose: None,
            embedding: Embedding::new(&v).unwrap(),
            detection: Detection {
                bbox: BBox::new(0.0, 0.0, 60.0, 60.0),
                score: 0.9,
                landmarks: None,
            },
            weight: 0.9,
        };
        Sample { face, frame, pts_ns: Some(frame) }
    }

    #[test]
    fn tracks_of_a_person_are_joined_and_others_kept_apart() {
        let mut people = People::new(0.5);
        for frame in 0..10 {
            people.add(1, sample(0, frame as f32, frame));
            people.add(2, sample(4, frame as f32, frame));
            people.add(3, sample(0, 20.0 + frame as f32, 100 + frame));
        }
        let groups = people.groups();
        assert_eq!(groups.iter().map(Group::len).collect::<Vec<_>>(), [20, 10]);
    }

    #[test]
    fn people_on_one_frame_are_never_joined() {
        let mut people = People::new(0.5);
        people.add(1, sample(0, 0.0, 7));
        people.add(2, sample(0, 5.0, 7));
        assert_eq!(people.groups().len(), 2);
    }

    #[test]
    fn track_that_goes_over_to_another_person_is_split() {
        let mut people = People::new(0.5);
        (0..6).for_each(|f| people.add(1, sample(0, 0.0, f)));
        (6..9).for_each(|f| people.add(1, sample(4, 0.0, f)));
        let lens: Vec<_> = people.groups().iter().map(Group::len).collect();
        assert_eq!(lens, [6, 3]);
    }

    #[test]
    fn chosen_pictures_are_typical_first_then_far_apart() {
        let mut people = People::new(0.5);
        for (frame, degrees) in [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0), (4, -30.0)] {
            people.add(1, sample(0, degrees, frame));
        }
        let groups = people.groups();
        let frames: Vec<u64> = groups[0].most_different(3, 0.5).iter().map(|s| s.frame).collect();
        assert_eq!(frames[0], 1);
        assert_eq!(frames[1..].iter().collect::<BTreeSet<_>>(), BTreeSet::from([&3, &4]));
        assert_eq!(groups[0].most_different(9, 0.5).len(), 5);
    }

    #[test]
    fn few_pictures_are_kept_and_they_are_the_least_alike() {
        let mut people = People::new(0.5);
        for frame in 0..200 {
            // Mostly the same picture, with a turned head now and then.
            let degrees =
                if frame % 40 == 39 { 10.0 + frame as f32 / 8.0 } else { frame as f32 / 400.0 };
            people.add(1, sample(0, degrees, frame));
        }
        let groups = people.groups();
        assert_eq!((groups[0].len(), groups[0].kept.len()), (200, KEPT));
        assert_eq!(groups[0].first_pts_ns(), Some(0));
        let turned = groups[0].kept.iter().filter(|s| s.frame % 40 == 39).count();
        assert_eq!(turned, 5);
    }
}
