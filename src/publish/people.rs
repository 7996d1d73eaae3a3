//! Who is seen now.

use std::collections::BTreeMap;

use serde::Serialize;

use super::FaceFrame;

/// How many faces are seen is told so often at most, ns: the number changes from frame to frame.
const STATE_STEP_NS: u64 = 1_000_000_000;

/// So many people are remembered at most, those seen last.
const MOST_PEOPLE: usize = 4096;

/// Whether a person is seen, as it is told: retained, on a topic of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Person {
    pub person_id: String,
    pub name: String,
    /// `ON` while the person is seen.
    pub present: &'static str,
    /// When the person was seen last, RFC 3339: not kept up to date while present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Cosine similarity when it became sure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
}

/// News about who is seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    pub people: Vec<Person>,
    /// How many faces are seen, and the names of those who are present, if either changed.
    pub state: Option<(usize, Vec<String>)>,
}

#[derive(Debug)]
struct Seen {
    person: Person,
    last_ns: u64,
}

/// Follows who is seen. Only identities that are sure count.
#[derive(Debug)]
pub struct People {
    leave_ns: u64,
    seen: BTreeMap<String, Seen>,
    told: Option<(usize, Vec<String>)>,
    told_ns: u64,
    /// On the last frame that was looked at.
    faces: usize,
    last_ns: u64,
}

impl People {
    /// Who is not seen for longer than `leave_ns` has left.
    pub fn new(leave_ns: u64) -> Self {
        Self { leave_ns, seen: BTreeMap::new(), told: None, told_ns: 0, faces: 0, last_ns: 0 }
    }

    /// Takes in the faces of a frame.
    pub fn see(&mut self, frame: &FaceFrame) -> Change {
        let now = frame.running_time_ns.unwrap_or(self.last_ns);
        self.last_ns = now;
        let mut change = Change::default();
        for face in frame.faces.iter().filter(|face| face.confirmed && face.observed) {
            let (Some(id), Some(name)) = (&face.person_id, &face.name) else { continue };
            let new = || Person {
                person_id: id.clone(),
                name: name.clone(),
                present: "OFF",
                last_seen: None,
                similarity: None,
            };
            let seen = self.seen.entry(id.clone());
            let seen = seen.or_insert_with(|| Seen { person: new(), last_ns: now });
            seen.last_ns = now;
            let came = seen.person.present == "OFF" || seen.person.name != *name;
            seen.person.last_seen.clone_from(&frame.utc);
            if came {
                seen.person.present = "ON";
                seen.person.name.clone_from(name);
                seen.person.similarity = face.similarity;
                change.people.push(seen.person.clone());
            }
        }
        for seen in self.seen.values_mut() {
            // Of a time that jumped, in whichever direction, nobody stays for ever.
            if seen.person.present == "ON" && now.abs_diff(seen.last_ns) > self.leave_ns {
                seen.person.present = "OFF";
                change.people.push(seen.person.clone());
            }
        }
        self.forget();
        if frame.looked {
            self.faces = frame.faces.iter().filter(|face| face.observed).count();
        }
        change.state = self.state(false);
        change
    }

    /// Everybody is gone: the stream has ended.
    pub fn leave(&mut self) -> Change {
        let mut change = Change::default();
        for seen in self.seen.values_mut().filter(|seen| seen.person.present == "ON") {
            seen.person.present = "OFF";
            change.people.push(seen.person.clone());
        }
        self.faces = 0;
        change.state = self.state(true);
        change
    }

    /// The state if it changed: who is there at once, another number of faces after a while.
    fn state(&mut self, at_once: bool) -> Option<(usize, Vec<String>)> {
        let present = self.seen.values().filter(|seen| seen.person.present == "ON");
        let state = (self.faces, present.map(|seen| seen.person.name.clone()).collect::<Vec<_>>());
        let told = self.told.as_ref();
        let same_people = told.is_some_and(|(_, people)| *people == state.1);
        let early = self.last_ns.abs_diff(self.told_ns) < STATE_STEP_NS;
        if told == Some(&state) || (same_people && early && !at_once) {
            return None;
        }
        self.told = Some(state.clone());
        self.told_ns = self.last_ns;
        Some(state)
    }

    /// Those that left longest ago are forgotten first.
    fn forget(&mut self) {
        while self.seen.len() > MOST_PEOPLE {
            let away = self.seen.iter().filter(|(_, seen)| seen.person.present == "OFF");
            let oldest = away.min_by_key(|(_, seen)| seen.last_ns).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { return };
            self.seen.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::Face;

    fn frame(ms: u64, people: &[(&str, bool)]) -> FaceFrame {
        let faces = people.iter().map(|(name, confirmed)| Face {
            person_id: Some(format!("id-{name}")),
            name: Some((*name).to_owned()),
            confirmed: *confirmed,
            observed: true,
            ..Face::default()
        });
        FaceFrame {
            running_time_ns: Some(ms * 1_000_000),
            utc: Some(format!("at {ms}")),
            faces: faces.collect(),
            looked: true,
            ..FaceFrame::default()
        }
    }

    fn told(change: &Change) -> Vec<(&str, &str)> {
        change.people.iter().map(|p| (p.name.as_str(), p.present)).collect()
    }

    #[test]
    fn person_comes_once_and_leaves_after_a_while() {
        let mut people = People::new(5_000_000_000);
        let change = people.see(&frame(0, &[("Ada", false)]));
        assert_eq!(told(&change), [], "not sure yet");
        assert_eq!(change.state, Some((1, vec![])));
        let change = people.see(&frame(40, &[("Ada", true)]));
        assert_eq!(told(&change), [("Ada", "ON")]);
        assert_eq!(change.state, Some((1, vec!["Ada".to_owned()])));
        assert_eq!(people.see(&frame(80, &[("Ada", true)])), Change::default());
        let change = people.see(&frame(120, &[]));
        assert_eq!(change, Change::default(), "the number of faces can wait");
        let change = people.see(&frame(5080, &[]));
        assert_eq!(told(&change), []);
        assert_eq!(change.state, Some((0, vec!["Ada".to_owned()])));
        let change = people.see(&frame(5081, &[]));
        assert_eq!(told(&change), [("Ada", "OFF")]);
        assert_eq!(change.people[0].last_seen.as_deref(), Some("at 80"));
        assert_eq!(change.state, Some((0, vec![])));
    }

    #[test]
    fn frames_without_a_look_say_nothing_of_how_many_there_are() {
        let mut people = People::new(5_000_000_000);
        people.see(&frame(0, &[("Ada", false)]));
        for nth in 1..100 {
            let predicted = FaceFrame { looked: false, ..frame(nth * 40, &[]) };
            assert_eq!(people.see(&predicted), Change::default(), "{nth}");
        }
        assert_eq!(people.see(&frame(4000, &[])).state, Some((0, vec![])));
    }

    #[test]
    fn everybody_leaves_at_the_end_and_after_a_jump() {
        let mut people = People::new(5_000_000_000);
        people.see(&frame(100_000, &[("Ada", true), ("Bob", true)]));
        assert_eq!(told(&people.see(&frame(0, &[("Ada", true)]))), [("Bob", "OFF")]);
        assert_eq!(told(&people.leave()), [("Ada", "OFF")]);
        assert_eq!(people.leave(), Change::default());
    }

    #[test]
    fn crowd_is_forgotten_in_its_order() {
        let mut people = People::new(0);
        for nth in 0..MOST_PEOPLE as u64 + 10 {
            people.see(&frame(nth * 1000, &[(&nth.to_string(), true)]));
        }
        assert_eq!(people.seen.len(), MOST_PEOPLE);
        assert!(!people.seen.contains_key("id-9") && people.seen.contains_key("id-10"));
    }
}
