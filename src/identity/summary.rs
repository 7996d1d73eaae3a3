//! What was seen of a track from its first to its last frame, for the summary at its end.

use std::collections::BTreeMap;

use crate::align::AlignedCrop;
use crate::gallery::{Identification, Match};
use crate::geometry::BBox;
use crate::identity::Status;

/// So many tracks are followed at most, those seen last: should the news of their ends be lost,
/// memory stays bounded.
const MOST_TRACKS: usize = 4096;

/// People and zones that are counted per track; further ones are left out.
const MOST_PEOPLE: usize = 32;
const MOST_ZONES: usize = 64;

/// A face that was not mentioned for longer than this was not in its zone all the time, ns.
const LONGEST_GAP_NS: u64 = 2_000_000_000;

/// A track on a frame.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// Not 0.
    pub track_id: u64,
    /// The id that the track had before it was joined with an older one; 0: none.
    pub was_id: u64,
    /// Was the face seen on this frame, not only predicted?
    pub observed: bool,
    /// Running time of the track's first observation as the tracker knows it, ns.
    pub first_seen_ns: Option<u64>,
    /// false: the tracker is not sure yet that there is a face.
    pub established: bool,
    pub bbox: BBox,
    /// Detection score, 0..=1.
    pub score: f32,
    /// Quality of the crop, 0..=1.
    pub quality: Option<f32>,
    /// Names of the zones that hold the face.
    pub zones: &'a [String],
    pub status: Status,
    pub confirmed: bool,
    /// Who it is taken for.
    pub person: Option<&'a Match>,
}

/// The picture of a track that shows its face best.
#[derive(Clone, Debug)]
pub struct BestShot {
    pub time_ns: u64,
    /// In the unit of the sightings.
    pub bbox: BBox,
    /// Detection score, 0..=1.
    pub score: f32,
    /// 0..=1.
    pub quality: Option<f32>,
    /// The aligned face, if that was kept.
    pub crop: Option<AlignedCrop>,
}

/// How many results said that a track is this person, or nobody.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// `None`: results that named nobody.
    pub person: Option<(String, String)>,
    pub votes: u32,
    /// Mean cosine similarity of those results with the person, or with the nearest one; `None` if
    /// there was nobody to compare with.
    pub mean_similarity: Option<f32>,
}

/// A track that ended.
#[derive(Clone, Debug)]
pub struct TrackSummary {
    pub track_id: u64,
    /// The id that the track had before it was joined with an older one; 0: none.
    pub was_id: u64,
    /// Time of the first and the last observation, ns.
    pub first_seen_ns: u64,
    pub last_seen_ns: u64,
    /// Frames on which the face was observed, predicted ones not counted.
    pub observations: u64,
    /// Was the tracker ever sure that there is a face?
    pub established: bool,
    /// At the end; what a filter said of single frames does not count.
    pub status: Status,
    pub confirmed: bool,
    /// Who it was taken for at the end, with the last similarity.
    pub person: Option<Match>,
    /// What the results said, most votes first.
    pub tallies: Vec<Tally>,
    /// `None`: the face was only ever predicted.
    pub best: Option<BestShot>,
    /// How long zones held the face, ns, by name.
    pub dwell_ns: BTreeMap<String, u64>,
}

impl TrackSummary {
    /// Mean cosine similarity with the person of the track, over the results that named that
    /// person; without a person that with the nearest one over the results that named nobody.
    pub fn mean_similarity(&self) -> Option<f32> {
        let id = self.person.as_ref().map(|p| &*p.person_id);
        let same = |t: &&Tally| t.person.as_ref().map(|(id, _)| id.as_str()) == id;
        self.tallies.iter().find(same)?.mean_similarity
    }
}

/// Votes for one person, or for nobody.
#[derive(Debug)]
struct Count {
    person: Option<Match>,
    votes: u32,
    sum: f64,
    compared: u32,
}

#[derive(Debug)]
struct Shot {
    /// A face that could be embedded is better than one that could not, whatever their weights.
    rank: (bool, f32),
    shot: BestShot,
}

#[derive(Debug, Default)]
struct Log {
    was_id: u64,
    observed_ns: Option<(u64, u64)>,
    mentioned_ns: u64,
    observations: u64,
    established: bool,
    status: Status,
    confirmed: bool,
    person: Option<Match>,
    counts: Vec<Count>,
    best: Option<Shot>,
    zones: Vec<String>,
    dwell_ns: BTreeMap<String, u64>,
}

/// What was seen of the tracks of one stream.
#[derive(Debug, Default)]
pub struct TrackSummaries {
    tracks: BTreeMap<u64, Log>,
}

impl TrackSummaries {
    /// Takes in a track on the frame of `time_ns`.
    pub fn see(&mut self, sighting: &Sighting<'_>, time_ns: u64) {
        self.join(sighting.was_id, sighting.track_id);
        let new = !self.tracks.contains_key(&sighting.track_id);
        let log = self.tracks.entry(sighting.track_id).or_default();
        if !new {
            log.dwell(sighting.zones, time_ns);
        }
        log.mentioned_ns = time_ns;
        log.zones.clear();
        log.zones.extend_from_slice(sighting.zones);
        log.established |= sighting.established;
        // A face that goes over to another one has no identity for the last frame of its track.
        let says = match sighting.status {
            Status::Filtered | Status::Error => false,
            Status::Untracked | Status::Identifying => log.status == Status::Untracked,
            _ => true,
        };
        if says {
            (log.status, log.confirmed) = (sighting.status, sighting.confirmed);
            log.person = sighting.person.cloned();
        }
        if sighting.observed {
            log.observe(sighting, time_ns);
        }
        if new {
            self.forget_excess();
        }
    }

    /// Takes in a result about a track. `weight` says how well the picture shows the face; `crop` is
    /// kept while none has more weight.
    pub fn vote(&mut self, track_id: u64, result: &Identification, shot: BestShot, weight: f32) {
        let time_ns = shot.time_ns;
        let new = || Log { mentioned_ns: time_ns, ..Log::default() };
        let log = self.tracks.entry(track_id).or_insert_with(new);
        log.vote(result);
        log.offer((true, weight), || shot);
        self.forget_excess();
    }

    /// A track ended. `None` if nothing was ever seen of it.
    pub fn end(&mut self, track_id: u64) -> Option<TrackSummary> {
        self.tracks.remove(&track_id).and_then(|log| log.summary(track_id))
    }

    /// The stream ended or jumped, and all tracks with it.
    pub fn end_all(&mut self) -> Vec<TrackSummary> {
        let tracks = std::mem::take(&mut self.tracks);
        tracks.into_iter().filter_map(|(id, log)| log.summary(id)).collect()
    }

    /// What was seen under `was_id` belongs to `track_id`.
    fn join(&mut self, was_id: u64, track_id: u64) {
        if was_id == 0 || was_id == track_id {
            return;
        }
        let Some(new) = self.tracks.remove(&was_id) else {
            if let Some(log) = self.tracks.get_mut(&track_id) {
                log.was_id = was_id;
            }
            return;
        };
        let log = self.tracks.entry(track_id).or_default();
        log.absorb(new);
        log.was_id = was_id;
    }

    fn forget_excess(&mut self) {
        while self.tracks.len() > MOST_TRACKS {
            let oldest = self.tracks.iter().min_by_key(|(id, log)| (log.mentioned_ns, **id));
            let Some((&oldest, _)) = oldest else { break };
            self.tracks.remove(&oldest);
        }
    }
}

impl Log {
    /// Time since the last mention counts for the zones that held the face then and hold it now.
    fn dwell(&mut self, zones: &[String], time_ns: u64) {
        let passed = time_ns.saturating_sub(self.mentioned_ns);
        if passed > LONGEST_GAP_NS {
            return;
        }
        for zone in std::mem::take(&mut self.zones) {
            if zones.contains(&zone) {
                self.add_dwell(&zone, passed);
            }
        }
    }

    fn add_dwell(&mut self, zone: &str, ns: u64) {
        if let Some(dwell) = self.dwell_ns.get_mut(zone) {
            *dwell = dwell.saturating_add(ns);
        } else if self.dwell_ns.len() < MOST_ZONES {
            self.dwell_ns.insert(zone.to_owned(), ns);
        }
    }

    fn observe(&mut self, sighting: &Sighting<'_>, time_ns: u64) {
        let first = sighting.first_seen_ns.map_or(time_ns, |first| first.min(time_ns));
        let (first, last) = match self.observed_ns {
            Some((known, last)) => (known.min(first), last.max(time_ns)),
            None => (first, time_ns),
        };
        self.observed_ns = Some((first, last));
        self.observations += 1;
        let weight = sighting.quality.unwrap_or(sighting.score) * sighting.bbox.area().sqrt();
        self.offer((false, weight), || BestShot {
            time_ns,
            bbox: sighting.bbox,
            score: sighting.score,
            quality: sighting.quality,
            crop: None,
        });
    }

    fn offer(&mut self, rank: (bool, f32), shot: impl FnOnce() -> BestShot) {
        let better = |best: &Shot| (rank.0, rank.1) > best.rank;
        if rank.1.is_finite() && self.best.as_ref().is_none_or(better) {
            self.best = Some(Shot { rank, shot: shot() });
        }
    }

    fn vote(&mut self, result: &Identification) {
        let person = result.best.as_ref().filter(|_| result.status == Status::Known);
        let similarity = result.best.as_ref().map(|best| best.similarity);
        let id = |p: Option<&Match>| p.map(|p| p.person_id.clone());
        let found = self.counts.iter().position(|c| id(c.person.as_ref()) == id(person));
        let place = match found {
            Some(place) => place,
            None if self.counts.len() > MOST_PEOPLE => return,
            None => {
                let person = person.cloned();
                self.counts.push(Count { person, votes: 0, sum: 0.0, compared: 0 });
                self.counts.len() - 1
            }
        };
        if let Some(count) = self.counts.get_mut(place) {
            count.votes = count.votes.saturating_add(1);
            if let Some(similarity) = similarity.filter(|s| s.is_finite()) {
                count.sum += f64::from(similarity);
                count.compared = count.compared.saturating_add(1);
            }
        }
    }

    /// Takes in what was seen of the same face under another id.
    fn absorb(&mut self, other: Log) {
        self.observed_ns = match (self.observed_ns, other.observed_ns) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        if other.mentioned_ns >= self.mentioned_ns {
            self.mentioned_ns = other.mentioned_ns;
            (self.zones, self.status, self.confirmed) =
                (other.zones, other.status, other.confirmed);
            self.person = other.person.or(self.person.take());
        }
        self.observations += other.observations;
        self.established |= other.established;
        if let Some(theirs) = other.best {
            self.offer(theirs.rank, || theirs.shot);
        }
        for theirs in other.counts {
            let id = |c: &Count| c.person.as_ref().map(|p| p.person_id.clone());
            let room = self.counts.len() <= MOST_PEOPLE;
            match self.counts.iter_mut().find(|c| id(c) == id(&theirs)) {
                Some(count) => {
                    count.votes = count.votes.saturating_add(theirs.votes);
                    count.sum += theirs.sum;
                    count.compared = count.compared.saturating_add(theirs.compared);
                }
                None if room => self.counts.push(theirs),
                None => {}
            }
        }
        for (zone, dwell) in other.dwell_ns {
            self.add_dwell(&zone, dwell);
        }
    }

    fn summary(mut self, track_id: u64) -> Option<TrackSummary> {
        let (first_seen_ns, last_seen_ns) = self.observed_ns?;
        // Of equal ones the one that was named first.
        self.counts.sort_by_key(|count| std::cmp::Reverse(count.votes));
        let tally = |count: &Count| Tally {
            person: count.person.as_ref().map(|p| (p.person_id.to_string(), p.name.to_string())),
            votes: count.votes,
            mean_similarity: (count.compared > 0)
                .then(|| (count.sum / f64::from(count.compared)) as f32),
        };
        Some(TrackSummary {
            track_id,
            was_id: self.was_id,
            first_seen_ns,
            last_seen_ns,
            observations: self.observations,
            established: self.established,
            status: self.status,
            confirmed: self.confirmed,
            tallies: self.counts.iter().map(tally).collect(),
            person: self.person,
            best: self.best.map(|best| best.shot),
            dwell_ns: self.dwell_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const HERE: BBox = BBox::new(0.1, 0.1, 0.2, 0.2);

    fn person(name: &str, similarity: f32) -> Match {
        Match { person_id: format!("id of {name}").into(), name: name.into(), similarity }
    }

    fn result(status: Status, name: &str, similarity: f32) -> Identification {
        let best = person(name, similarity);
        Identification { status, best: Some(best.clone()), margin: None, top: vec![best] }
    }

    fn sighting(track_id: u64) -> Sighting<'static> {
        Sighting {
            track_id,
            was_id: 0,
            observed: true,
            first_seen_ns: None,
            established: true,
            bbox: HERE,
            score: 0.5,
            quality: None,
            zones: &[],
            status: Status::Confirming,
            confirmed: false,
            person: None,
        }
    }

    fn shot(ms: u64) -> BestShot {
        let crop = AlignedCrop::from_rgb(vec![ms as u8; 112 * 112 * 3]);
        BestShot { time_ns: ms * MS, bbox: HERE, score: 0.9, quality: Some(0.4), crop }
    }

    #[test]
    fn t16_summary_has_times_observations_and_the_identity_at_the_end() {
        let mut all = TrackSummaries::default();
        let ada = person("Ada", 0.7);
        all.see(&Sighting { first_seen_ns: Some(20 * MS), ..sighting(3) }, 100 * MS);
        let known = Sighting { status: Status::Known, confirmed: true, ..sighting(3) };
        all.see(&Sighting { person: Some(&ada), ..known }, 140 * MS);
        // What a filter says of one frame is not who it was; a predicted face was not seen.
        all.see(&Sighting { status: Status::Filtered, ..sighting(3) }, 180 * MS);
        all.see(&Sighting { observed: false, person: Some(&ada), ..known }, 220 * MS);
        // The tracker went over to another face, and is told so.
        all.see(
            &Sighting { observed: false, status: Status::Identifying, ..sighting(3) },
            260 * MS,
        );
        let track = all.end(3).unwrap();
        assert_eq!((track.first_seen_ns, track.last_seen_ns), (20 * MS, 180 * MS));
        assert_eq!((track.observations, track.established), (3, true));
        assert_eq!((track.status, track.confirmed, track.person), (Status::Known, true, Some(ada)));
        assert!(all.end(3).is_none());
    }

    #[test]
    fn t16_votes_are_counted_with_their_mean_similarity() {
        let mut all = TrackSummaries::default();
        for (status, name, similarity) in [
            (Status::Unknown, "Bob", 0.25),
            (Status::Known, "Ada", 0.5),
            (Status::Known, "Ada", 1.0),
            (Status::Known, "Bob", 0.5),
            (Status::Uncertain, "Ada", 0.75),
        ] {
            all.vote(3, &result(status, name, similarity), shot(0), 1.0);
        }
        let ada = person("Ada", 1.0);
        all.see(&Sighting { person: Some(&ada), status: Status::Known, ..sighting(3) }, 0);
        let mut track = all.end(3).unwrap();
        let votes = |t: &Tally| {
            (t.person.as_ref().map_or("", |p| p.1.as_str()).to_owned(), t.votes, t.mean_similarity)
        };
        let votes: Vec<_> = track.tallies.iter().map(votes).collect();
        assert_eq!(
            votes,
            [
                (String::new(), 2, Some(0.5)),
                ("Ada".to_owned(), 2, Some(0.75)),
                ("Bob".to_owned(), 1, Some(0.5))
            ]
        );
        assert_eq!(track.mean_similarity(), Some(0.75), "with Ada");
        track.person = None;
        assert_eq!(track.mean_similarity(), Some(0.5), "with whoever was nearest");
        let nobody =
            Identification { status: Status::Unknown, best: None, margin: None, top: Vec::new() };
        all.vote(4, &nobody, shot(0), 1.0);
        all.see(&sighting(4), 0);
        assert_eq!(all.end(4).unwrap().mean_similarity(), None, "the gallery is empty");
    }

    #[test]
    fn t16_best_shot_is_one_that_was_embedded() {
        let mut all = TrackSummaries::default();
        for (ms, score, side) in [(0, 0.5, 0.1), (40, 0.9, 0.2), (80, 0.8, 0.2), (120, 0.2, 0.9)] {
            let bbox = BBox::new(0.0, 0.0, side, side);
            all.see(&Sighting { bbox, score, ..sighting(3) }, ms * MS);
            all.see(&sighting(4), ms * MS);
        }
        for (ms, weight) in [(10, 0.1), (50, 0.3), (90, 0.2), (99, f32::NAN)] {
            all.vote(4, &result(Status::Known, "Ada", 0.7), shot(ms), weight);
        }
        let best = all.end(3).unwrap().best.unwrap();
        assert_eq!((best.time_ns, best.crop.is_none()), (40 * MS, true), "never embedded");
        let best = all.end(4).unwrap().best.unwrap();
        assert_eq!((best.time_ns, best.quality), (50 * MS, Some(0.4)));
        assert_eq!(best.crop.unwrap().as_rgb()[0], 50);
    }

    #[test]
    fn t16_dwell_counts_the_time_between_frames_in_a_zone() {
        let mut all = TrackSummaries::default();
        let (door, both) = (["door".to_owned()], ["hall".to_owned(), "door".to_owned()]);
        for (ms, zones) in [
            (0, &door[..]),
            (40, &door[..]),
            (100, &both[..]),
            (140, &[][..]),
            (200, &both[..]),
            (250, &both[..]),
            // Nobody knows where it was meanwhile.
            (9000, &both[..]),
            (8000, &both[..]),
        ] {
            // A look at the face does not count twice.
            all.vote(3, &result(Status::Known, "Ada", 0.7), shot(ms), 0.5);
            all.see(&Sighting { zones, ..sighting(3) }, ms * MS);
        }
        let dwell = all.end(3).unwrap().dwell_ns;
        let dwell: Vec<_> = dwell.iter().map(|(zone, ns)| (zone.as_str(), ns / MS)).collect();
        assert_eq!(dwell, [("door", 150), ("hall", 50)]);
    }

    #[test]
    fn joined_tracks_have_one_summary() {
        let mut all = TrackSummaries::default();
        let zones = ["door".to_owned()];
        let ada = person("Ada", 0.6);
        all.see(&Sighting { zones: &zones, ..sighting(7) }, 100 * MS);
        all.see(&Sighting { zones: &zones, ..sighting(7) }, 140 * MS);
        all.vote(7, &result(Status::Known, "Ada", 0.5), shot(140), 0.2);
        all.see(&sighting(12), 1000 * MS);
        all.vote(12, &result(Status::Known, "Ada", 0.7), shot(1000), 0.4);
        let known = Sighting { person: Some(&ada), was_id: 12, ..sighting(7) };
        all.see(&known, 1040 * MS);
        all.see(&known, 1080 * MS);
        assert!(all.end(12).is_none(), "it goes on as 7");
        let track = all.end(7).unwrap();
        assert_eq!((track.track_id, track.was_id, track.observations), (7, 12, 5));
        assert_eq!((track.first_seen_ns, track.last_seen_ns), (100 * MS, 1080 * MS));
        assert_eq!((track.tallies.len(), track.tallies[0].votes), (1, 2));
        assert!((track.mean_similarity().unwrap() - 0.6).abs() < 1e-6);
        assert_eq!(track.best.unwrap().time_ns, 1000 * MS);
        assert_eq!(track.dwell_ns["door"], 40 * MS);
    }

    #[test]
    fn end_of_the_stream_ends_every_track_that_was_seen() {
        let mut all = TrackSummaries::default();
        all.see(&sighting(9), 0);
        all.see(&sighting(2), 0);
        all.see(&Sighting { observed: false, ..sighting(5) }, 0);
        let ended: Vec<u64> = all.end_all().iter().map(|t| t.track_id).collect();
        assert_eq!(ended, [2, 9]);
        assert!(all.end_all().is_empty());
    }

    #[test]
    fn memory_is_bounded_when_no_track_ever_ends() {
        let mut all = TrackSummaries::default();
        for id in 1..2 * MOST_TRACKS as u64 {
            let zone = [id.to_string()];
            all.see(&Sighting { zones: &zone, ..sighting(id) }, id);
            all.see(&Sighting { zones: &zone, ..sighting(1) }, id);
            all.see(&Sighting { zones: &zone, ..sighting(1) }, id);
            all.vote(1, &result(Status::Known, &id.to_string(), 0.5), shot(id), 0.5);
        }
        assert_eq!(all.tracks.len(), MOST_TRACKS);
        let track = all.end(1).unwrap();
        assert!(track.tallies.len() <= MOST_PEOPLE + 1, "{}", track.tallies.len());
        assert!(track.dwell_ns.len() <= MOST_ZONES, "{}", track.dwell_ns.len());
    }
}
