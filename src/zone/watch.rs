//! Who is in which zone, and since when.

use std::sync::Arc;

use super::Zones;
use super::polygon::{contains, contains_nearly};
use crate::geometry::{BBox, Point};

/// What a track did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneEventKind {
    Enter,
    Exit,
    /// It has been in the zone for the dwell time, or a multiple of it.
    Dwell,
}

impl ZoneEventKind {
    /// The name used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            ZoneEventKind::Enter => "enter",
            ZoneEventKind::Exit => "exit",
            ZoneEventKind::Dwell => "dwell",
        }
    }
}

/// A confirmed track entered a zone, left it, or stays.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneEvent {
    pub kind: ZoneEventKind,
    pub zone: Arc<str>,
    pub track_id: u64,
    /// Time of the look that showed it, ns.
    pub time_ns: u64,
    /// How long the track has been, or was, in the zone, ns.
    pub dwell_ns: u64,
}

/// A track and a zone.
#[derive(Clone, Copy, Debug, Default)]
struct Visit {
    /// Start of the stay; `None` outside.
    since_ns: Option<u64>,
    /// Was the stay told by an event? Not before the track is confirmed.
    told: bool,
    /// When the next dwell event is due.
    dwell_at_ns: u64,
    /// Length of the stays that are over.
    total_ns: u64,
}

#[derive(Debug, Default)]
struct Track {
    id: u64,
    seen_ns: u64,
    /// Bit n: in polygon n, whether it includes or excludes.
    polygons: u64,
    /// As many as there are polygons; those of excluding ones stay empty.
    visits: Vec<Visit>,
}

/// Follows tracks through zones. See the [module](super) documentation for when one is in a zone.
///
/// Boxes are fractions of the picture. Times are ns from any origin; one that goes back counts as
/// no time. What is kept is bounded by the number of tracks that were not [ended](Self::end), and
/// nothing is allocated once it has been that high.
#[derive(Debug, Default)]
pub struct ZoneWatch {
    zones: Zones,
    /// The polygons in fractions.
    polygons: Vec<Vec<Point>>,
    /// Width and height of the picture, pixels.
    picture: (u32, u32),
    dwell_ns: u64,
    /// By rising id.
    tracks: Vec<Track>,
    /// Tracks that are over, kept for their memory.
    spare: Vec<Track>,
    events: Vec<ZoneEvent>,
}

impl ZoneWatch {
    /// Time in a zone after which a dwell event is due, and then again and again, ns. 0: none.
    pub fn set_dwell_ns(&mut self, dwell_ns: u64) {
        if self.dwell_ns == dwell_ns {
            return;
        }
        self.dwell_ns = dwell_ns;
        for track in &mut self.tracks {
            let seen = track.seen_ns;
            for visit in &mut track.visits {
                if let Some(since) = visit.since_ns {
                    visit.dwell_at_ns = next_dwell(since, seen, dwell_ns);
                }
            }
        }
    }

    /// Other zones. Stays in a zone whose name is still there go on, as far as the next look finds
    /// the face in it; from those that are gone tracks exit.
    pub fn set_zones(&mut self, zones: Zones) {
        if self.zones == zones {
            return;
        }
        let old = std::mem::replace(&mut self.zones, zones);
        let places: Vec<Option<usize>> = old
            .iter()
            .map(|o| self.zones.iter().position(|n| n.name == o.name && n.exclude == o.exclude))
            .collect();
        for track in &mut self.tracks {
            let visits = vec![Visit::default(); self.zones.len()];
            let before = std::mem::replace(&mut track.visits, visits);
            let polygons = std::mem::take(&mut track.polygons);
            for (n, ((visit, place), zone)) in
                before.iter().zip(&places).zip(old.iter()).enumerate()
            {
                match place {
                    Some(place) => {
                        track.visits[*place] = *visit;
                        track.polygons |= (polygons >> n & 1) << place;
                    }
                    None => leave(&mut self.events, track.id, track.seen_ns, zone, *visit),
                }
            }
        }
        self.spare.clear();
        self.place_polygons();
    }

    /// The size of the picture that points in pixels are of.
    pub fn set_picture_size(&mut self, width: u32, height: u32) {
        if self.picture != (width, height) {
            self.picture = (width, height);
            self.place_polygons();
        }
    }

    fn place_polygons(&mut self) {
        let (width, height) = self.picture;
        self.polygons = self.zones.iter().map(|z| z.fractions(width, height).collect()).collect();
    }

    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// The track was seen there at a look of `time_ns`. Tracks that were never confirmed give no
    /// events.
    pub fn observe(&mut self, time_ns: u64, track_id: u64, confirmed: bool, bbox: &BBox) {
        if self.zones.is_empty() {
            return;
        }
        let place = self.make_track(track_id, time_ns);
        let track = &mut self.tracks[place];
        let now = time_ns.max(track.seen_ns);
        track.seen_ns = now;
        track.polygons = polygons_of(&self.polygons, bbox, track.polygons);
        let excluded = is_excluded(&self.zones, track.polygons);
        for (n, zone) in self.zones.iter().enumerate().filter(|(_, z)| !z.exclude) {
            let visit = &mut track.visits[n];
            if excluded || track.polygons >> n & 1 == 0 {
                leave(&mut self.events, track_id, now, zone, *visit);
                visit.total_ns += visit.since_ns.take().map_or(0, |since| now - since);
                visit.told = false;
                continue;
            }
            let since = *visit.since_ns.get_or_insert_with(|| {
                visit.dwell_at_ns = next_dwell(now, now, self.dwell_ns);
                now
            });
            let mut tell = |kind| {
                let (zone, dwell_ns) = (zone.name.clone(), now - since);
                self.events.push(ZoneEvent { kind, zone, track_id, time_ns: now, dwell_ns });
            };
            if confirmed && !visit.told {
                visit.told = true;
                tell(ZoneEventKind::Enter);
            }
            if visit.told && self.dwell_ns > 0 && now >= visit.dwell_at_ns {
                visit.dwell_at_ns = next_dwell(since, now, self.dwell_ns);
                tell(ZoneEventKind::Dwell);
            }
        }
    }

    /// Names of the zones that the track is in, as far as it was last [seen](Self::observe).
    pub fn zones_of(&self, track_id: u64) -> impl Iterator<Item = &str> {
        let visits = self.find(track_id).ok().map(|n| &self.tracks[n].visits[..]);
        let visits = visits.unwrap_or_default().iter().zip(self.zones.iter());
        visits.filter(|(v, _)| v.since_ns.is_some()).map(|(_, z)| &*z.name)
    }

    /// Names of the zones that a face without a track is in.
    pub fn zones_at(&self, bbox: &BBox) -> impl Iterator<Item = &str> {
        let polygons = polygons_of(&self.polygons, bbox, 0);
        let polygons = if is_excluded(&self.zones, polygons) { 0 } else { polygons };
        let zones = self.zones.iter().enumerate();
        zones.filter(move |(n, _)| polygons >> n & 1 == 1).map(|(_, z)| &*z.name)
    }

    /// How long the track was in each zone, up to when it was last seen, ns; zones that it never
    /// was in are left out.
    pub fn dwells(&self, track_id: u64) -> impl Iterator<Item = (&str, u64)> {
        let track = self.find(track_id).ok().map(|n| &self.tracks[n]);
        track.into_iter().flat_map(|t| {
            let time = |v: &Visit| v.total_ns + v.since_ns.map_or(0, |since| t.seen_ns - since);
            let visited = |v: &Visit| v.total_ns > 0 || v.since_ns.is_some();
            let visits = t.visits.iter().zip(self.zones.iter());
            visits.filter(move |(v, _)| visited(v)).map(move |(v, z)| (&*z.name, time(v)))
        })
    }

    /// The track is over: it left every zone when it was last seen.
    pub fn end(&mut self, track_id: u64) {
        let Ok(place) = self.find(track_id) else { return };
        let track = self.tracks.remove(place);
        for (visit, zone) in track.visits.iter().zip(self.zones.iter()) {
            leave(&mut self.events, track_id, track.seen_ns, zone, *visit);
        }
        self.spare.push(track);
    }

    /// The track `new_id` goes on under the id `old_id`: stays in a zone where both are go on, the
    /// old track leaves those where the new one is not.
    pub fn relink(&mut self, new_id: u64, old_id: u64) {
        let Ok(new) = self.find(new_id) else { return };
        let new = self.tracks.remove(new);
        let place = self.make_track(old_id, new.seen_ns);
        let old = &mut self.tracks[place];
        let seen = old.seen_ns;
        old.seen_ns = seen.max(new.seen_ns);
        old.polygons = new.polygons;
        let visits = old.visits.iter_mut().zip(&new.visits).zip(self.zones.iter());
        for ((old, new), zone) in visits {
            let total_ns = old.total_ns + new.total_ns;
            match (old.since_ns, new.since_ns) {
                (Some(_), Some(_)) => old.told |= new.told,
                (Some(since), None) => {
                    leave(&mut self.events, old_id, seen, zone, *old);
                    *old = Visit::default();
                    old.total_ns = total_ns + (seen - since);
                    continue;
                }
                (None, _) => *old = *new,
            }
            old.total_ns = total_ns;
        }
        self.spare.push(new);
    }

    /// The events since the last call, in the order in which they happened.
    pub fn drain_events(&mut self) -> impl Iterator<Item = ZoneEvent> {
        self.events.drain(..)
    }

    fn find(&self, track_id: u64) -> Result<usize, usize> {
        self.tracks.binary_search_by_key(&track_id, |t| t.id)
    }

    /// Place of the track, which is made if there is none.
    fn make_track(&mut self, id: u64, seen_ns: u64) -> usize {
        self.find(id).unwrap_or_else(|place| {
            let mut track = self.spare.pop().unwrap_or_default();
            (track.id, track.seen_ns, track.polygons) = (id, seen_ns, 0);
            track.visits.clear();
            track.visits.resize(self.zones.len(), Visit::default());
            self.tracks.insert(place, track);
            place
        })
    }
}

/// The polygons that hold the box, as bits; of those in `before` also those that nearly do.
fn polygons_of(polygons: &[Vec<Point>], bbox: &BBox, before: u64) -> u64 {
    let center = bbox.center();
    polygons.iter().enumerate().fold(0, |bits, (n, polygon)| {
        let inside = if before >> n & 1 == 1 {
            contains_nearly(polygon, bbox)
        } else {
            contains(polygon, center)
        };
        bits | u64::from(inside) << n
    })
}

fn is_excluded(zones: &Zones, polygons: u64) -> bool {
    zones.iter().enumerate().any(|(n, z)| z.exclude && polygons >> n & 1 == 1)
}

/// Tells that a stay is over, if its beginning was told.
fn leave(
    events: &mut Vec<ZoneEvent>,
    track_id: u64,
    time_ns: u64,
    zone: &super::Zone,
    visit: Visit,
) {
    if let Some(since) = visit.since_ns.filter(|_| visit.told) {
        let kind = ZoneEventKind::Exit;
        let (zone, dwell_ns) = (zone.name.clone(), time_ns - since);
        events.push(ZoneEvent { kind, zone, track_id, time_ns, dwell_ns });
    }
}

/// The first multiple of `dwell_ns` after `since_ns` that lies after `now_ns`, which is not before
/// `since_ns`.
fn next_dwell(since_ns: u64, now_ns: u64, dwell_ns: u64) -> u64 {
    let past = (now_ns - since_ns).checked_div(dwell_ns).unwrap_or(0);
    since_ns.saturating_add(dwell_ns.saturating_mul(past.saturating_add(1)))
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
