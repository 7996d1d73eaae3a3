//! Looks at the faces of a frame: cuts them out, embeds them and takes in who they are.

use std::time::Duration;

use face_core::align::AlignedCrop;
use face_core::cpu;
use face_core::detect::Detection;
use face_core::embed::Embedding;
use face_core::frame::FrameView;
use face_core::gallery::{Identification, Match, SearchError};
use face_core::identity::summary::BestShot;
use face_core::identity::{Change, Moment, Observation, Rejection, Status, TrackSample};
use face_core::inference::InferenceError;
use face_core::loose::LooseFace;
use face_core::quality::CropQuality;
use face_core::quality::shot::Shot;

use super::plan::{Plan, Planned};
use super::stream::{News, Options, Report, Stream, When, event, fill};
use crate::crops::in_square_pixels;
use crate::meta::{Face, FrameFaces, Mapping};

/// A face that is embedded on this frame.
struct Due {
    index: usize,
    crop: AlignedCrop,
    loose: Option<LooseFace>,
    /// In square pixels.
    detection: Detection,
    shot: Shot,
}

/// What a look at the face of a track gave.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    now: Moment,
    sample: TrackSample,
    shot: Shot,
    result: Identification,
    /// What the summary of the track keeps of it.
    best: BestShot,
}

/// A new track whose face is that of a lost one, if facetrack agrees. Nothing was taken in yet.
#[derive(Clone, Debug)]
pub(super) struct Relink {
    pub(super) new_id: u64,
    pub(super) old_id: u64,
    sighting: Sighting,
    when: When,
}

impl Stream {
    /// Looks at the planned faces; without pixels at none of them.
    ///
    /// # Errors
    /// [`InferenceError`] if the model fails.
    pub(super) fn look(
        &mut self,
        view: Option<(&FrameView<'_>, &Mapping)>,
        plan: &Plan,
        faces: &mut FrameFaces,
        options: &Options,
        when: &When,
        report: &mut Report,
    ) -> Result<(), InferenceError> {
        let Some((view, mapping)) = view else {
            for planned in plan.faces.iter().filter(|p| p.measure_only) {
                self.reject(&mut faces.faces[planned.index], Rejection::NoTrack, when.time_ns);
            }
            return Ok(());
        };
        let mut cut = Duration::ZERO;
        let due = cpu::timed(&mut cut, || self.cut(view, mapping, plan, faces, options, when));
        self.cut_time += cut;
        if due.is_empty() {
            return Ok(());
        }
        let untracked = due.iter().filter(|d| faces.faces[d.index].track_id == 0).count();
        if untracked > 0 {
            self.untracked_turn = self.untracked_turn.wrapping_add(untracked);
            self.untracked_since_ns = Some(when.time_ns);
        }
        self.budget.spend(due.len());
        let crops: Vec<&AlignedCrop> = due.iter().map(|d| &d.crop).collect();
        let embeddings = self.embedder.embed(&crops, when.deadline);
        self.stats.handle = self.embedder.stats();
        self.stats.spent = self.embedder.spent();
        self.stats.spent.preprocess += self.cut_time;
        let embeddings = embeddings?;
        self.stats.embedded += embeddings.len() as u64;
        let searcher = self.searcher(options);
        // For all faces of the frame together.
        let until = self.patience.until(when.deadline);
        for (due, embedding) in due.into_iter().zip(embeddings) {
            let face = &mut faces.faces[due.index];
            let Ok(embedding) = embedding else {
                self.unusable(face.track_id, when);
                continue;
            };
            let now = Moment { frame: faces.frame_id, time_ns: when.time_ns };
            let found = searcher.identify(&embedding, until);
            self.take_in(face, due, (embedding, found), options, (now, when), report);
        }
        Ok(())
    }

    /// Cuts the planned faces out, in the order of their turns, as long as the budget lasts.
    fn cut(
        &mut self,
        view: &FrameView<'_>,
        mapping: &Mapping,
        plan: &Plan,
        faces: &mut FrameFaces,
        options: &Options,
        when: &When,
    ) -> Vec<Due> {
        let mut due = Vec::new();
        for Planned { index, view: seen, least, measure_only, .. } in plan.faces.iter().copied() {
            let face = &mut faces.faces[index];
            if due.len() >= plan.available && !measure_only {
                self.stats.over_budget += u64::from(least == 0.0);
                continue;
            }
            let landmarks = face.landmarks.map(|l| mapping.landmarks_to_pixels(&l));
            let Some(landmarks) = landmarks.filter(|l| self.crop.recut(view, l)) else {
                self.unusable(face.track_id, when);
                continue;
            };
            let clarity = Shot::clarity_of(&CropQuality::of(&self.crop));
            let shot = Shot { view: seen, clarity };
            face.quality = Some(shot.quality());
            let checked = options.filters.check_quality(shot.quality());
            let track_id = face.track_id;
            if let Err(rejection) = checked.and_then(|()| options.filters.check_track(track_id)) {
                self.reject(face, rejection, when.time_ns);
            } else if shot.quality() >= least {
                let bbox = mapping.box_to_pixels(&face.bbox);
                let wanted = options.loose_crops && track_id != 0;
                let loose = wanted.then(|| LooseFace::cut(view, &bbox, &landmarks)).flatten();
                let detection = in_square_pixels(view, bbox, landmarks, face.score);
                let crop = std::mem::take(&mut self.crop);
                due.push(Due { index, crop, loose, detection, shot });
            }
        }
        due
    }

    fn unusable(&mut self, track_id: u64, when: &When) {
        self.stats.unusable += 1;
        if track_id != 0 {
            self.identities.look_failed(track_id, when.time_ns);
        }
    }

    fn take_in(
        &mut self,
        face: &mut Face,
        due: Due,
        (embedding, found): (Embedding, Result<Identification, SearchError>),
        options: &Options,
        (now, when): (Moment, &When),
        report: &mut Report,
    ) {
        face.fingerprint = Some(self.fingerprint.clone());
        if options.embed_output {
            face.embedding = Some(embedding.to_bytes());
        }
        let track_id = face.track_id;
        let result = match found {
            Ok(result) => result,
            Err(error) => {
                self.search_failed(face, error, when, report);
                return;
            }
        };
        let known = result.best.as_ref().filter(|_| result.status == Status::Known);
        if track_id == 0 {
            // One result is all there is to agree.
            let settled = result.status != Status::Uncertain && options.confirm.count <= 1;
            fill(face, result.status, settled, known, Some(&result));
            return;
        }
        let own = self.embedder.spec().threshold;
        let weight = face.score * due.shot.quality();
        let Due { crop, loose, detection, shot, .. } = due;
        let sample = TrackSample { crop, loose, embedding, detection, weight };
        let old_id = self.identities.came_back(track_id, &sample, known, own);
        let best = BestShot {
            time_ns: when.time_ns,
            bbox: face.bbox,
            score: face.score,
            quality: face.quality,
            crop: options.alerts.crop.then(|| sample.crop.clone()),
        };
        let sighting = Sighting { now, sample, shot, result, best };
        match old_id {
            Some(old_id) => {
                let when = *when;
                report.relinks.push(Relink { new_id: track_id, old_id, sighting, when });
            }
            None => self.observe(track_id, sighting, options, when, report),
        }
    }

    /// Nothing is known of a face that could not be looked up.
    fn search_failed(
        &mut self,
        face: &mut Face,
        error: SearchError,
        when: &When,
        report: &mut Report,
    ) {
        self.stats.search_errors += 1;
        face.status = Status::Error;
        if face.track_id != 0 {
            self.identities.look_failed(face.track_id, when.time_ns);
        }
        if matches!(error, SearchError::Deadline { .. } | SearchError::Server { .. }) {
            self.patience.missed();
        }
        // The first one says why, the rest had to wait for it.
        report.search_error.get_or_insert(error);
    }

    /// Takes in who the face of a track is, and what news that is.
    fn observe(
        &mut self,
        track_id: u64,
        sighting: Sighting,
        options: &Options,
        when: &When,
        report: &mut Report,
    ) {
        let Sighting { now, sample, shot, result, best } = sighting;
        self.watch.vote(track_id, &result, best, sample.weight);
        let threshold = self.embedder.spec().threshold;
        let observation = Observation { sample, shot, result: &result, threshold };
        let Options { schedule, confirm, .. } = options;
        let previous = match self.identities.observe(track_id, now, observation, schedule, confirm)
        {
            Change::None => return,
            Change::Named => None,
            Change::Lost { previous } => Some(previous),
            Change::Another { previous } => {
                report.splits.push(track_id);
                if previous.is_none() {
                    return;
                }
                previous
            }
        };
        let person: Option<Match> =
            self.identities.get(track_id).and_then(|track| track.person.clone());
        let event = event(track_id, person.as_ref(), when);
        report.news.push(News { track_id, event, person, previous });
    }

    /// What facetrack said of a relink. The face of the new track, which was not taken in before,
    /// is now that of the one or the other; its news come with the next frame.
    pub(super) fn relinked(&mut self, relink: Relink, agreed: bool, options: &Options) {
        let Relink { new_id, old_id, sighting, when } = relink;
        // Another stream may have begun meanwhile.
        if self.identities.get(new_id).is_none() {
            return;
        }
        let mut report = std::mem::take(&mut self.pending);
        if agreed {
            self.stats.relinked += 1;
            self.identities.join(new_id, old_id);
            self.observe(old_id, sighting, options, &when, &mut report);
        } else {
            self.identities.keep_apart(new_id);
            self.observe(new_id, sighting, options, &when, &mut report);
        }
        self.pending = report;
    }
}
