//! The single place that decides "this is an alert".
//!
//! It is told what is known of each track, frame by frame, and which tracks ended. It counts in
//! tracks, not in frames or looks: what a filter says of a face, a missed detection or a pause of
//! the schedule changes nothing of what was told already.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

pub use rules::{Action, AlertRule, AlertRules, RuleError, groups_of};

use crate::gallery::Match;
use crate::identity::Status;

/// So many tracks are remembered at most, those seen last: should the news of their ends be lost,
/// memory stays bounded.
const MOST_TRACKS: usize = 4096;

/// From so many people on, those whose cool-down is over are forgotten.
const MANY_PEOPLE: usize = 1024;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// A person of the gallery is there.
    KnownFace,
    /// Somebody is there who is nobody of the gallery.
    UnknownFace,
    /// A track whose identity was confirmed has ended.
    FaceDisappeared,
    /// The confirmed identity of a track is another one than was told.
    IdentityChanged,
}

impl AlertKind {
    pub const ALL: [AlertKind; 4] = [
        AlertKind::KnownFace,
        AlertKind::UnknownFace,
        AlertKind::FaceDisappeared,
        AlertKind::IdentityChanged,
    ];

    /// The name used in metadata, messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertKind::KnownFace => "known-face",
            AlertKind::UnknownFace => "unknown-face",
            AlertKind::FaceDisappeared => "face-disappeared",
            AlertKind::IdentityChanged => "identity-changed",
        }
    }

    /// The kind of that name, or `None`.
    pub fn parse(name: &str) -> Option<AlertKind> {
        AlertKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// About whom alerts are given. A change of identity concerns both, the old and the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlertMode {
    None,
    Unknowns,
    Knowns,
    #[default]
    All,
}

impl AlertMode {
    fn concerns(self, identity: &Identity) -> bool {
        match self {
            AlertMode::None => false,
            AlertMode::Unknowns => identity.person().is_none(),
            AlertMode::Knowns => identity.person().is_some(),
            AlertMode::All => true,
        }
    }
}

/// How often a track alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlertRepeat {
    /// One alert about who it is, and one when it ends.
    Once,
    /// One more each time that another identity is confirmed.
    #[default]
    OnChange,
    /// Also the same again, [`AlertSettings::interval_ns`] after the last one.
    Interval,
}

/// What decides about alerts.
#[derive(Clone, Debug)]
pub struct AlertSettings {
    pub mode: AlertMode,
    pub repeat: AlertRepeat,
    /// Of [`AlertRepeat::Interval`], ns.
    pub interval_ns: u64,
    /// So long after an alert there is no second one of the same kind about the same person, ns,
    /// whatever the track; 0: off. People who are not in the gallery cannot be told apart, so that
    /// every track of theirs alerts.
    pub cooldown_ns: u64,
    /// Everything is decided and counted as usual, but the alerts say that nobody is to act.
    pub dry_run: bool,
    pub rules: Arc<AlertRules>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            mode: AlertMode::default(),
            repeat: AlertRepeat::default(),
            interval_ns: 60_000_000_000,
            cooldown_ns: 0,
            dry_run: false,
            rules: Arc::default(),
        }
    }
}

/// What is known of a track on a frame.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// Not 0.
    pub track_id: u64,
    /// The id that the track had before it was joined with an older one; 0: none.
    pub was_id: u64,
    /// Was the face seen on this frame, not only predicted? Only then it can alert.
    pub observed: bool,
    pub status: Status,
    /// Do enough results agree on the status, and on the person if there is one?
    pub confirmed: bool,
    /// The person, if the status is [`Status::Known`].
    pub person: Option<&'a Match>,
    /// Cosine similarity with the nearest person, of the last result.
    pub similarity: Option<f32>,
    /// Groups of the person, see [`groups_of`].
    pub groups: &'a [String],
    /// Names of the zones that hold the face.
    pub zones: &'a [String],
}

impl Verdict<'_> {
    fn identity(&self) -> Option<Identity> {
        if !self.confirmed {
            return None;
        }
        match self.status {
            Status::Known => self.person.cloned().map(Identity::Person),
            Status::Unknown => Some(Identity::Nobody),
            _ => None,
        }
    }
}

/// An alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub kind: AlertKind,
    /// By its latest id.
    pub track_id: u64,
    /// Who it is; of [`AlertKind::FaceDisappeared`] who it was.
    pub person: Option<Match>,
    /// Cosine similarity with that person, else with the nearest one.
    pub similarity: Option<f32>,
    /// Of [`AlertKind::IdentityChanged`]: whom the alert before named.
    pub previous: Option<Match>,
    /// The zones that hold, or last held, the face.
    pub zones: Vec<String>,
    pub dry_run: bool,
}

/// How many alerts there were since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlertCounts {
    /// Given, those of a dry run included.
    pub given: u64,
    /// Not given, since the person was still cooling down.
    pub cooled_down: u64,
}

/// A confirmed identity.
#[derive(Clone, Debug)]
enum Identity {
    Nobody,
    Person(Match),
}

impl Identity {
    fn person(&self) -> Option<&Match> {
        match self {
            Identity::Nobody => None,
            Identity::Person(person) => Some(person),
        }
    }

    /// The same person may have another name or similarity by now.
    fn is(&self, other: &Identity) -> bool {
        self.person().map(|p| &p.person_id) == other.person().map(|p| &p.person_id)
    }

    fn appearance(&self) -> AlertKind {
        match self {
            Identity::Nobody => AlertKind::UnknownFace,
            Identity::Person(_) => AlertKind::KnownFace,
        }
    }
}

/// What was told of a track, and what is known of it.
#[derive(Debug, Default)]
struct Track {
    /// The id by which it was last seen: an older one or, until facetrack has joined them, the new
    /// one.
    seen_as: u64,
    last_seen_ns: u64,
    /// The last confirmed identity.
    identity: Option<Identity>,
    similarity: Option<f32>,
    groups: Vec<String>,
    zones: Vec<String>,
    /// What the last alert about this track said, and when.
    told: Option<(Identity, u64)>,
}

/// What was told of the tracks of one stream.
#[derive(Debug, Default)]
pub struct Alerts {
    /// By the id under which the track is remembered.
    tracks: HashMap<u64, Track>,
    /// Ids of tracks that are remembered under the id of the older track they continue.
    joined: HashMap<u64, u64>,
    /// When people last alerted, ns.
    last: HashMap<(AlertKind, Arc<str>), u64>,
    counts: AlertCounts,
}

impl Alerts {
    /// How many alerts there were.
    pub fn counts(&self) -> AlertCounts {
        self.counts
    }

    /// Takes in what is known of a track on the frame of `time_ns`.
    pub fn see(
        &mut self,
        verdict: &Verdict<'_>,
        time_ns: u64,
        settings: &AlertSettings,
    ) -> Option<Alert> {
        if verdict.was_id != 0 {
            self.join(verdict.was_id, verdict.track_id);
        }
        let key = self.key(verdict.track_id);
        let track = self.tracks.entry(key).or_default();
        track.seen_as = verdict.track_id;
        track.last_seen_ns = time_ns;
        track.zones.clear();
        track.zones.extend_from_slice(verdict.zones);
        let identity = verdict.identity().filter(|_| verdict.observed);
        let alert = identity.and_then(|identity| {
            track.similarity = verdict.similarity;
            track.groups.clear();
            track.groups.extend_from_slice(verdict.groups);
            track.identity = Some(identity.clone());
            let (kind, previous) = due(track, &identity, time_ns, settings)?;
            track.told = Some((identity.clone(), time_ns));
            Some(alert(track, kind, &identity, previous, settings))
        });
        self.forget_excess(key);
        alert.and_then(|alert| self.give(alert, time_ns, settings))
    }

    /// A track ended.
    pub fn end(&mut self, track_id: u64, time_ns: u64, settings: &AlertSettings) -> Option<Alert> {
        let key = self.key(track_id);
        self.joined.remove(&track_id);
        if self.tracks.get(&key).is_some_and(|track| track.seen_as != track_id) {
            // One of two ids of one track came to its end, the track goes on by the other.
            if key == track_id {
                self.rename(key);
            }
            return None;
        }
        let track = self.tracks.remove(&key)?;
        self.joined.retain(|_, old| *old != key);
        let identity = track.identity.as_ref()?;
        let kind = AlertKind::FaceDisappeared;
        if !permits(settings, &track, kind, identity, None) {
            return None;
        }
        let alert = alert(&track, kind, identity, None, settings);
        self.give(alert, time_ns, settings)
    }

    /// The stream ended or jumped, and all tracks with it.
    pub fn end_all(&mut self, time_ns: u64, settings: &AlertSettings) -> Vec<Alert> {
        let mut ids: Vec<u64> = self.tracks.values().map(|track| track.seen_as).collect();
        ids.sort_unstable();
        let alerts = ids.into_iter().filter_map(|id| self.end(id, time_ns, settings)).collect();
        self.joined.clear();
        alerts
    }

    /// The track `new_id` is found to be the older track `old_id` come back: it does not alert
    /// again.
    pub fn join(&mut self, new_id: u64, old_id: u64) {
        let old_key = self.key(old_id);
        if new_id == old_id || self.key(new_id) == old_key {
            return;
        }
        let Some(new) = self.tracks.remove(&new_id) else {
            self.joined.insert(new_id, old_key);
            return;
        };
        match self.tracks.get_mut(&old_key) {
            Some(old) => {
                old.seen_as = new.seen_as;
                old.last_seen_ns = new.last_seen_ns;
                old.told = new.told.or(old.told.take());
                old.identity = new.identity.or(old.identity.take());
            }
            None => {
                self.tracks.insert(old_key, new);
            }
        }
        self.joined.values_mut().filter(|old| **old == new_id).for_each(|old| *old = old_key);
        self.joined.insert(new_id, old_key);
    }

    /// Another stream begins; who cools down stays.
    pub fn clear(&mut self) {
        self.tracks.clear();
        self.joined.clear();
    }

    fn key(&self, track_id: u64) -> u64 {
        self.joined.get(&track_id).copied().unwrap_or(track_id)
    }

    /// Remembers the track of this key under the id by which it was last seen.
    fn rename(&mut self, key: u64) {
        let Some(track) = self.tracks.remove(&key) else { return };
        let new = track.seen_as;
        self.joined.remove(&new);
        self.joined.values_mut().filter(|old| **old == key).for_each(|old| *old = new);
        self.tracks.insert(new, track);
    }

    /// Forgets tracks that nobody has mentioned for the longest, but not the one of `key`.
    fn forget_excess(&mut self, key: u64) {
        while self.tracks.len() > MOST_TRACKS {
            let others = self.tracks.iter().filter(|(id, _)| **id != key);
            let Some((&oldest, _)) = others.min_by_key(|(id, t)| (t.last_seen_ns, **id)) else {
                break;
            };
            self.tracks.remove(&oldest);
            self.joined.retain(|_, old| *old != oldest);
        }
        if self.joined.len() > MOST_TRACKS {
            self.joined.retain(|_, old| self.tracks.contains_key(old));
        }
    }

    /// Gives the alert unless its person still cools down.
    fn give(&mut self, alert: Alert, time_ns: u64, settings: &AlertSettings) -> Option<Alert> {
        if let Some(person) = &alert.person {
            let cools = |since: &u64| time_ns.abs_diff(*since) < settings.cooldown_ns;
            let key = (alert.kind, person.person_id.clone());
            if self.last.get(&key).is_some_and(cools) {
                self.counts.cooled_down += 1;
                return None;
            }
            if self.last.len() >= MANY_PEOPLE {
                self.last.retain(|_, since| cools(since));
            }
            self.last.insert(key, time_ns);
        }
        self.counts.given += 1;
        Some(alert)
    }
}

/// The alert that is due and permitted about a track of this confirmed identity, and whom the one
/// before named.
fn due(
    track: &Track,
    identity: &Identity,
    time_ns: u64,
    settings: &AlertSettings,
) -> Option<(AlertKind, Option<Identity>)> {
    let appearance = identity.appearance();
    let appears = || permits(settings, track, appearance, identity, None);
    let Some((told, when)) = &track.told else {
        return appears().then_some((appearance, None));
    };
    if told.is(identity) {
        let over = time_ns.saturating_sub(*when) >= settings.interval_ns;
        let again = settings.repeat == AlertRepeat::Interval && over;
        return (again && appears()).then_some((appearance, None));
    }
    if settings.repeat == AlertRepeat::Once {
        return None;
    }
    let changed = AlertKind::IdentityChanged;
    if permits(settings, track, changed, identity, Some(told)) {
        return Some((changed, Some(told.clone())));
    }
    // Who asked for known-face alone wants to hear of this person all the same.
    appears().then_some((appearance, None))
}

fn permits(
    settings: &AlertSettings,
    track: &Track,
    kind: AlertKind,
    identity: &Identity,
    previous: Option<&Identity>,
) -> bool {
    let concerned = settings.mode.concerns(identity)
        || previous.is_some_and(|previous| settings.mode.concerns(previous));
    concerned && settings.rules.permit(kind, identity.person(), &track.groups, &track.zones)
}

fn alert(
    track: &Track,
    kind: AlertKind,
    identity: &Identity,
    previous: Option<Identity>,
    settings: &AlertSettings,
) -> Alert {
    Alert {
        kind,
        track_id: track.seen_as,
        person: identity.person().cloned(),
        similarity: identity.person().map(|p| p.similarity).or(track.similarity),
        previous: previous.and_then(|previous| previous.person().cloned()),
        zones: track.zones.clone(),
        dry_run: settings.dry_run,
    }
}
