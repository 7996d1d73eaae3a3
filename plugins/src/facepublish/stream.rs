//! What of a stream is told: each event once, frames at their rate, tracks when they have ended.

use std::collections::{HashSet, VecDeque};
use std::time::SystemTime;

use face_core::event::FaceEvent;
use face_core::identity::summary::{TrackSummaries, TrackSummary};
use face_core::publish::{Change, FaceTrack, NotifyRules, People, Rate};

use super::convert;
use super::mailbox::Item;
use super::settings::PublishEvents;
use crate::camera_time;
use crate::meta::FrameFaces;

/// Ids of events that are remembered: each is repeated on the buffers for a while.
const REMEMBERED: usize = 4096;
/// Kind of the events about who a track is taken for.
const IDENTITY: &str = "face-identity";
/// Beginning of the kinds of events that are about zones.
const ZONE: &str = "zone-";

/// What is told; none of it changes while the element runs.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) events: PublishEvents,
    pub(super) notify: NotifyRules,
    pub(super) rate: f64,
    pub(super) empty_frames: bool,
    pub(super) camera: Option<String>,
    /// Who is seen is told, too; ns after which somebody has left.
    pub(super) people: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Stream {
    choice: Choice,
    rate: Rate,
    told: HashSet<String>,
    order: VecDeque<String>,
    tracks: TrackSummaries,
    people: Option<People>,
    /// The frame that was told last had faces.
    had_faces: bool,
    /// Of frames without a time.
    last_ns: u64,
    /// When the last picture was taken, if the camera tells.
    taken: Option<SystemTime>,
}

impl Stream {
    pub(super) fn new(choice: Choice) -> Self {
        Self {
            rate: Rate::new(choice.rate),
            told: HashSet::new(),
            order: VecDeque::new(),
            tracks: TrackSummaries::default(),
            people: choice.people.map(People::new),
            had_faces: false,
            last_ns: 0,
            taken: None,
            choice,
        }
    }

    /// What the faces of a buffer give to tell.
    pub(super) fn take(
        &mut self,
        faces: &FrameFaces,
        running_ns: Option<u64>,
        taken: Option<SystemTime>,
    ) -> Vec<Item> {
        let mut items = Vec::new();
        let now = running_ns.unwrap_or(self.last_ns);
        self.last_ns = now;
        self.taken = taken;
        self.take_frame(faces, running_ns, &mut items);
        for event in &faces.events {
            if self.is_new(&event.id) && self.is_told(event, faces) {
                let camera = event.camera.clone().or_else(|| self.choice.camera.clone());
                items.push(Item::Event(Box::new(FaceEvent { camera, ..event.clone() })));
            }
        }
        if self.choice.events.contains(PublishEvents::TRACKS) {
            for face in &faces.faces {
                let person = convert::person(face);
                if let Some(sighting) = convert::sighting(face, person.as_ref()) {
                    self.tracks.see(&sighting, now);
                }
            }
            for id in &faces.ended_tracks {
                if let Some(track) = self.tracks.end(*id) {
                    items.extend(self.summary(&track));
                }
            }
        }
        items
    }

    fn take_frame(&mut self, faces: &FrameFaces, running_ns: Option<u64>, items: &mut Vec<Item>) {
        // One without faces says that those before are gone.
        let news = !faces.faces.is_empty() || !faces.ended_tracks.is_empty();
        let says = news || self.had_faces || self.choice.empty_frames;
        let wanted = self.choice.events.contains(PublishEvents::FRAMES)
            && says
            && self.rate.permits(running_ns);
        if !wanted && self.people.is_none() {
            return;
        }
        let frame = convert::frame(faces, self.choice.camera.as_deref(), running_ns, self.utc());
        if let Some(people) = &mut self.people {
            items.extend(change(people.see(&frame)));
        }
        if wanted {
            self.had_faces = !faces.faces.is_empty();
            items.push(Item::Frame(Box::new(frame)));
        }
    }

    /// The stream ends or jumps: all tracks have ended, and everybody is gone.
    pub(super) fn end(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        for track in self.tracks.end_all() {
            items.extend(self.summary(&track));
        }
        if let Some(people) = &mut self.people {
            items.extend(change(people.leave()));
        }
        items
    }

    fn summary(&self, track: &TrackSummary) -> Option<Item> {
        // The tracker was never sure that there was a face.
        let camera = self.choice.camera.clone();
        let told = || Item::Track(Box::new(FaceTrack::new(track, camera, self.utc())));
        track.established.then(told)
    }

    fn utc(&self) -> Option<String> {
        Some(camera_time::text(self.taken))
    }

    fn is_new(&mut self, id: &str) -> bool {
        if !self.told.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.told.remove(&oldest);
        }
        true
    }

    fn is_told(&self, event: &FaceEvent, faces: &FrameFaces) -> bool {
        let class = match event.kind.as_str() {
            IDENTITY => PublishEvents::IDENTITIES,
            kind if kind.starts_with(ZONE) => PublishEvents::ZONES,
            _ => PublishEvents::ALERTS,
        };
        if !self.choice.events.contains(class) {
            return false;
        }
        let of_track = |track_id: u64| faces.faces.iter().find(|f| f.track_id == track_id);
        let face = (event.track_id != 0).then(|| of_track(event.track_id)).flatten();
        self.choice.notify.permit(event, face.map_or(&[], |face| &face.zones))
    }
}

fn change(change: Change) -> Option<Item> {
    (change != Change::default()).then(|| Item::Change(Box::new(change)))
}
