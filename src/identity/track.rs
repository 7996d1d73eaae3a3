//! The identity of a track: its name, when it is looked at again, and what it was seen with.

use std::collections::HashMap;
use std::sync::Arc;

use crate::align::AlignedCrop;
use crate::detect::Detection;
use crate::embed::Embedding;
use crate::gallery::{Identification, Match};
use crate::geometry::BBox;
use crate::identity::Status;
use crate::identity::confirm::{ConfirmConfig, Confirmation, Verdict};
use crate::identity::filters::Rejection;
use crate::identity::relink::{self, Candidate};
use crate::identity::schedule::{Look, Moment, NextLook, Schedule, ScheduleConfig};
use crate::loose::LooseFace;
use crate::quality::shot::Shot;

/// So many results in a row that contradict a track's identity end it: one alone may be a bad crop.
const CONTRADICTIONS: u32 = 2;

/// A face whose box overlaps its last one by less than this has jumped.
const JUMP_IOU: f32 = 0.3;

/// A face that the detector missed on more looks than [`MISSES`] and for so long was hidden; what a
/// detector misses now and then is shorter.
const HIDDEN_NS: u64 = 200_000_000;
const MISSES: u64 = 1;

/// Least weight of a crop by which a lost track is found again: poorer ones are all alike.
const TELLING: f32 = 0.1;

/// A track that nobody mentioned for so long is forgotten, should the news of its end be lost.
const FORGET_AFTER_NS: u64 = 60_000_000_000;

/// Samples kept per track for enrolling it: the best crops.
const KEPT_SAMPLES: usize = 3;

/// People whose votes are counted per track; results of further ones are not.
const MOST_VOTES: usize = 16;

/// A crop of a track and its embedding.
#[derive(Clone, Debug)]
pub struct TrackSample {
    pub crop: AlignedCrop,
    /// The face with its surroundings, where a gallery is to keep it.
    pub loose: Option<LooseFace>,
    pub embedding: Embedding,
    /// Where the face was found, in square pixels of the picture.
    pub detection: Detection,
    /// What makes a crop the better one among those of its track. facerecognize takes quality of
    /// the shot times score of the detection.
    pub weight: f32,
}

/// What a result did to a track's identity.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    None,
    /// The track has a name now; it had none. Whether it is confirmed the track says.
    Named,
    /// The name, which was not confirmed, is gone: enough other results agree that the face is
    /// nobody's, or too near to several people's.
    Lost {
        previous: Match,
    },
    /// The face is another person's than before: the tracker went over to another face. The track
    /// has no identity until the next look; it had better end. `previous`: the person it was.
    Another {
        previous: Option<Match>,
    },
}

/// How often the results of a track said something.
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    /// The person, with the greatest similarity; `None`: results that named nobody.
    pub person: Option<Match>,
    pub count: u32,
}

/// Who a track is.
#[derive(Clone, Debug, Default)]
pub struct TrackIdentity {
    /// The person, as soon as a result named one. Confirmed or not is a question of
    /// [`TrackIdentity::is_confirmed`].
    pub person: Option<Match>,
    /// The last result that did not contradict the track, whatever it was.
    pub last: Option<Identification>,
    confirmation: Confirmation,
    votes: Vec<Vote>,
    /// Why the face was not looked at on the last frame that had it.
    rejection: Option<Rejection>,
    schedule: Schedule,
    samples: Vec<TrackSample>,
    /// Sum of the embeddings since the identity began.
    sum: Vec<f32>,
    contradictions: u32,
    sight: Option<Sight>,
    /// The face moved by more than its own size since the last look.
    jumped: bool,
    last_mention_ns: u64,
    /// It is no lost track come back: somebody who knows better said so.
    apart: bool,
}

/// When and where a track's face was observed.
#[derive(Clone, Copy, Debug)]
struct Sight {
    first_ns: u64,
    last_ns: u64,
    /// Number of the detector's look.
    look: u64,
    bbox: BBox,
}

impl TrackIdentity {
    /// Identifying until the first result, confirming until enough of them agree, then known,
    /// unknown or uncertain.
    pub fn status(&self) -> Status {
        self.confirmation.status()
    }

    /// Do enough results agree on who it is, or that it is nobody of the gallery?
    pub fn is_confirmed(&self) -> bool {
        self.confirmation.is_confirmed()
    }

    /// Results that agree: on the person if the track has one, else those up to the last one.
    pub fn agreeing(&self) -> u32 {
        self.confirmation.agreeing()
    }

    /// What the results said since the identity began, in the order in which it was first said.
    pub fn votes(&self) -> &[Vote] {
        &self.votes
    }

    /// Why the face was not looked at, if it was filtered when it was observed last.
    pub fn rejection(&self) -> Option<&Rejection> {
        self.rejection.as_ref()
    }

    /// The best crops, best first.
    pub fn samples(&self) -> &[TrackSample] {
        &self.samples
    }

    /// When the track is looked at next, seen from `now`.
    pub fn next_look(&self, now: Moment, config: &ScheduleConfig) -> NextLook {
        self.schedule.next(now, config, self.is_settled())
    }

    /// Times of the first and the last observation, ns; `None` before the first one.
    pub fn observed_ns(&self) -> Option<(u64, u64)> {
        self.sight.map(|sight| (sight.first_ns, sight.last_ns))
    }

    fn is_settled(&self) -> bool {
        self.confirmation.settled().is_some()
    }

    /// Cosine of an embedding with the mean of those of this identity; `None` for the first one.
    fn consistency(&self, embedding: &Embedding) -> Option<f32> {
        Embedding::new(&self.sum).ok()?.cosine(embedding)
    }

    /// Cosine of an embedding with the mean, or with the best crop that is nearest.
    fn resemblance(&self, embedding: &Embedding) -> Option<f32> {
        let samples = self.samples.iter().filter_map(|s| s.embedding.cosine(embedding));
        samples.chain(self.consistency(embedding)).max_by(f32::total_cmp)
    }

    fn add(&mut self, sample: TrackSample) {
        self.sum.resize(sample.embedding.dim(), 0.0);
        for (s, v) in self.sum.iter_mut().zip(sample.embedding.as_slice()) {
            *s += v;
        }
        let place = self.samples.partition_point(|s| s.weight >= sample.weight);
        self.samples.insert(place, sample);
        self.samples.truncate(KEPT_SAMPLES);
    }

    fn vote(&mut self, person: Option<&Match>) {
        let id = |p: &Match| p.person_id.clone();
        let same = |v: &Vote| v.person.as_ref().map(id) == person.map(id);
        if let Some(vote) = self.votes.iter().position(same).and_then(|i| self.votes.get_mut(i)) {
            vote.count = vote.count.saturating_add(1);
            if let (Some(have), Some(new)) = (&mut vote.person, person) {
                have.similarity = have.similarity.max(new.similarity);
            }
        } else if self.votes.len() < MOST_VOTES {
            self.votes.push(Vote { person: person.cloned(), count: 1 });
        }
    }

    /// A face that is suddenly elsewhere, or that was hidden, may be another one: it is looked at
    /// again.
    fn observed(&mut self, bbox: BBox, look: u64, time_ns: u64) {
        let sight =
            self.sight.get_or_insert(Sight { first_ns: time_ns, last_ns: time_ns, look, bbox });
        let missed = look.saturating_sub(sight.look).saturating_sub(1);
        let hidden = missed > MISSES && time_ns.saturating_sub(sight.last_ns) >= HIDDEN_NS;
        let jumped = sight.bbox.iou(&bbox) < JUMP_IOU;
        *sight = Sight { last_ns: time_ns, look, bbox, ..*sight };
        self.jumped |= jumped;
        if jumped || hidden {
            self.schedule.restart();
        }
    }

    /// Does the result say that the face is another one than before?
    fn contradicts(&self, known: Option<&Match>, embedding: &Embedding, threshold: f32) -> bool {
        if let (Some(new), Some(old)) = (known, &self.person) {
            return new.person_id != old.person_id;
        }
        // Crops of an unknown face may be too poor to be alike: without a name or a jump their
        // unlikeness says nothing.
        (self.person.is_some() || self.jumped)
            && self.consistency(embedding).is_some_and(|c| c < threshold / 2.0)
    }

    /// Starts a new identity: the face is another one than before.
    fn begin_anew(&mut self) -> Option<Match> {
        let previous = self.person.take();
        *self = TrackIdentity {
            sight: self.sight,
            last_mention_ns: self.last_mention_ns,
            ..TrackIdentity::default()
        };
        previous
    }

    /// Takes in who a result that contradicts nothing says it is.
    fn take(
        &mut self,
        known: Option<Match>,
        verdict: Option<Verdict>,
        time_ns: u64,
        config: &ConfirmConfig,
    ) -> Change {
        let changed = verdict.is_some_and(|v| self.confirmation.take(v, time_ns, config));
        match (known, &mut self.person) {
            (Some(new), Some(old)) => {
                old.similarity = new.similarity;
                Change::None
            }
            (Some(new), person @ None) => {
                *person = Some(new);
                self.schedule.begin_anew();
                Change::Named
            }
            // A settled person is still settled: this one was not.
            (None, Some(_)) if changed => {
                self.schedule.begin_anew();
                self.person.take().map_or(Change::None, |previous| Change::Lost { previous })
            }
            (None, _) => Change::None,
        }
    }
}

/// What a look at a track gave.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    pub sample: TrackSample,
    pub shot: Shot,
    pub result: &'a Identification,
    /// The embedder's, by which two pictures of a face are told from those of two.
    pub threshold: f32,
}

/// The identities of the tracks of one stream.
#[derive(Debug, Default)]
pub struct TrackIdentities {
    tracks: HashMap<u64, TrackIdentity>,
    /// Ids given up for an older one, should faces with them still come.
    aliases: HashMap<u64, u64>,
    /// Looks of the detector.
    looks: u64,
}

impl TrackIdentities {
    /// The track's identity; a track that was not known is `Identifying`.
    pub fn mention(&mut self, track_id: u64, time_ns: u64) -> &mut TrackIdentity {
        let track = self.tracks.entry(track_id).or_default();
        track.last_mention_ns = time_ns;
        track
    }

    pub fn get(&self, track_id: u64) -> Option<&TrackIdentity> {
        self.tracks.get(&track_id)
    }

    /// Takes in which tracks a frame that the detector looked at has observed faces of, and where
    /// (in any unit), before anything else of that frame. A frame on which at least as many tracks
    /// begin as go on may be the first of a new scene: those that go on are looked at again.
    pub fn begin_frame(
        &mut self,
        time_ns: u64,
        observed: impl Iterator<Item = (u64, BBox)> + Clone,
    ) {
        self.looks += 1;
        let (old, new): (usize, usize) = observed.clone().fold((0, 0), |(old, new), (id, _)| {
            let known = self.tracks.contains_key(&id);
            (old + usize::from(known), new + usize::from(!known))
        });
        let new_scene = old > 0 && new >= old;
        for (id, bbox) in observed {
            let known = self.tracks.contains_key(&id);
            let look = self.looks;
            let track = self.mention(id, time_ns);
            track.observed(bbox, look, time_ns);
            if new_scene && known {
                track.jumped = true;
                track.schedule.restart();
            }
        }
    }

    /// Should the observed face of this track be embedded on this frame? `view` is
    /// [`Shot::view`] of the face.
    pub fn look(&mut self, track_id: u64, now: Moment, view: f32, config: &ScheduleConfig) -> Look {
        let track = self.mention(track_id, now.time_ns);
        track.rejection = None;
        let settled = track.is_settled();
        track.schedule.look(now, view, config, settled)
    }

    /// The observed face of this track is not looked at on this frame. The track stays what it is.
    pub fn reject(&mut self, track_id: u64, time_ns: u64, rejection: Rejection) {
        self.mention(track_id, time_ns).rejection = Some(rejection);
    }

    /// The face of this track was looked at in vain: other faces have their turn first.
    pub fn look_failed(&mut self, track_id: u64, time_ns: u64) {
        self.mention(track_id, time_ns).schedule.tried();
    }

    /// Takes in a result. A known result names the track; the name is provisional until enough
    /// results agree. A confirmed name stays through results that are not known (a turned head is
    /// no other person), until the face contradicts it twice in a row: another person is known, or
    /// the face is unlike the track's earlier ones (cosine below half of the threshold).
    pub fn observe(
        &mut self,
        track_id: u64,
        now: Moment,
        observation: Observation<'_>,
        schedule: &ScheduleConfig,
        confirm: &ConfirmConfig,
    ) -> Change {
        let Observation { sample, shot, result, threshold } = observation;
        let track = self.mention(track_id, now.time_ns);
        track.schedule.looked(now, shot, schedule);
        let known = result.best.clone().filter(|_| result.status == Status::Known);
        track.vote(known.as_ref());
        if track.contradicts(known.as_ref(), &sample.embedding, threshold) {
            track.contradictions += 1;
            track.confirmation.broken();
            // Asked again on the next frame.
            track.schedule.restart();
            return if track.contradictions < CONTRADICTIONS {
                Change::None
            } else {
                Change::Another { previous: track.begin_anew() }
            };
        }
        track.contradictions = 0;
        track.jumped = false;
        track.last = Some(result.clone());
        track.add(sample);
        track.take(known, Verdict::of(result), now.time_ns, confirm)
    }

    /// The lost track that this one, which is not settled yet, continues, by its face on this frame
    /// if that is a good crop: one that was observed last before this one began, is nearer than `threshold` (the
    /// embedder's) and clearly nearer than any other, and was not named as anybody else than
    /// `person`, whom the face was found to be.
    pub fn came_back(
        &self,
        track_id: u64,
        sample: &TrackSample,
        person: Option<&Match>,
        threshold: f32,
    ) -> Option<u64> {
        if sample.weight < TELLING {
            return None;
        }
        let fresh = |track: &&TrackIdentity| !track.is_settled() && !track.apart;
        let new = self.tracks.get(&track_id).filter(fresh)?;
        let (began_ns, _) = new.observed_ns()?;
        let person = person.or(new.person.as_ref());
        let candidate = |(id, track): (&u64, &TrackIdentity)| {
            let similarity = track.resemblance(&sample.embedding).filter(|_| *id != track_id)?;
            let telling = track.samples.first().is_some_and(|best| best.weight >= TELLING);
            let lost = track.sight.is_some_and(|s| s.look < self.looks && s.last_ns < began_ns);
            let other = match (person, &track.person) {
                (Some(a), Some(b)) => a.person_id != b.person_id,
                _ => false,
            };
            Some(Candidate { track_id: *id, similarity, possible: lost && telling && !other })
        };
        relink::came_back(self.tracks.iter().filter_map(candidate), threshold)
    }

    /// The track continues no lost one: it is not asked again.
    pub fn keep_apart(&mut self, track_id: u64) {
        if let Some(track) = self.tracks.get_mut(&track_id) {
            track.apart = true;
        }
    }

    /// The track `new_id` is `old_id`, which was lost: what is known of the old one holds, and
    /// faces that still come with the new id are its own.
    pub fn join(&mut self, new_id: u64, old_id: u64) {
        let new = self.tracks.remove(&new_id);
        let old = self.tracks.entry(old_id).or_default();
        if let Some((new, sight)) = new.and_then(|new| Some((new.last_mention_ns, new.sight?))) {
            old.last_mention_ns = new;
            let first_ns = old.sight.map_or(sight.first_ns, |s| s.first_ns);
            old.sight = Some(Sight { first_ns, ..sight });
        }
        // As after any occlusion.
        old.schedule.restart();
        for id in self.aliases.values_mut().filter(|id| **id == new_id) {
            *id = old_id;
        }
        self.aliases.insert(new_id, old_id);
    }

    /// The id that a track has by now: its own, unless it was joined with an older one.
    pub fn resolve(&self, track_id: u64) -> u64 {
        self.aliases.get(&track_id).copied().unwrap_or(track_id)
    }

    /// Forgets tracks that ended, and those that nobody mentioned for a minute.
    pub fn end(&mut self, ended: &[u64], time_ns: u64) {
        for id in ended {
            self.tracks.remove(id);
        }
        self.tracks.retain(|_, t| time_ns.saturating_sub(t.last_mention_ns) < FORGET_AFTER_NS);
        self.aliases.retain(|_, old| self.tracks.contains_key(old));
    }

    /// After the gallery changed: every track is looked at again. `name_of` gives a person's present
    /// name, or `None` if the person is gone; returns the tracks that lost their person, and whom.
    pub fn gallery_changed(
        &mut self,
        name_of: impl Fn(&str) -> Option<Arc<str>>,
    ) -> Vec<(u64, Match)> {
        let mut lost = Vec::new();
        for (id, track) in &mut self.tracks {
            track.schedule.restart();
            track.votes.retain_mut(|vote| {
                let Some(person) = &mut vote.person else { return true };
                let name = name_of(&person.person_id);
                name.map(|name| person.name = name).is_some()
            });
            let Some(mut person) = track.person.take() else { continue };
            if let Some(name) = name_of(&person.person_id) {
                person.name = name;
                track.person = Some(person);
            } else {
                track.confirmation.reset();
                track.last = None;
                lost.push((*id, person));
            }
        }
        lost
    }

    /// After a gallery changed of which nobody here knows who is in it: every track is looked at
    /// again, and keeps its person until that says otherwise.
    pub fn look_again(&mut self) {
        self.tracks.values_mut().for_each(|track| track.schedule.restart());
    }

    /// Forgets all: another stream begins.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
