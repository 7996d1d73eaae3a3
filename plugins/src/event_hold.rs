//! Events on buffers: made with an id and both times, and repeated for a while, so that a buffer
//! dropped downstream loses none.

use std::collections::VecDeque;
use std::time::SystemTime;

use gst::prelude::*;

use crate::camera_time;
use crate::meta::Event;

/// How long an event stays on the buffers, unless set otherwise, ns of running time.
pub(crate) const DEFAULT_HOLD_NS: u64 = 1_000_000_000;
/// The most that can be set, ns: every buffer is written with all of them.
const LONGEST_HOLD_NS: u64 = 60_000_000_000;
/// So many events are repeated at most, the latest: no stream of news makes the metadata grow
/// without end. Each stands on at least the buffer that it happened on.
const MOST: usize = 256;

/// The events that are repeated now.
#[derive(Debug, Default)]
pub(crate) struct EventHold {
    /// With the time from which each has been on the buffers, ns.
    held: VecDeque<(Event, u64)>,
}

impl EventHold {
    /// Writes what happened on the frame of `time_ns`, and what happened up to `hold_ns` before it,
    /// to the events of that frame.
    pub(crate) fn write(
        &mut self,
        news: impl IntoIterator<Item = Event>,
        time_ns: u64,
        hold_ns: u64,
        events: &mut Vec<Event>,
    ) {
        // Of a time that jumped, in whichever direction, nothing stays for ever.
        self.held.retain(|(_, since)| time_ns.abs_diff(*since) < hold_ns);
        events.extend(self.held.iter().map(|(event, _)| event.clone()));
        for event in news {
            events.push(event.clone());
            self.held.push_back((event, time_ns));
        }
        let excess = self.held.len().saturating_sub(MOST);
        self.held.drain(..excess);
    }

    /// Another stream begins: nothing of this one stands on its buffers.
    pub(crate) fn clear(&mut self) {
        self.held.clear();
    }
}

/// An event that happens now, with a new id; `running_ns` is the running time of its picture, and `taken`
/// when it was taken, if that is known.
pub(crate) fn event(
    kind: &str,
    track_id: u64,
    running_ns: Option<u64>,
    taken: Option<SystemTime>,
) -> Event {
    Event {
        id: gst::glib::uuid_string_random().to_string(),
        kind: kind.to_owned(),
        track_id,
        running_time_ns: running_ns,
        utc: Some(camera_time::text(taken)),
        ..Event::default()
    }
}

/// The property `event-hold`.
pub(crate) fn property() -> glib::ParamSpec {
    glib::ParamSpecUInt64::builder("event-hold")
        .nick("Event hold")
        .blurb(
            "Repeat an event in the metadata of the buffers for this long, in nanoseconds of running \
             time. 0: only on the buffer that it happened on",
        )
        .maximum(LONGEST_HOLD_NS)
        .default_value(DEFAULT_HOLD_NS)
        .mutable_playing()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn named(id: &str) -> Event {
        Event { id: id.into(), ..Event::default() }
    }

    /// Ids of the events of a frame.
    fn write(hold: &mut EventHold, news: &[&str], ms: u64, hold_ms: u64) -> Vec<String> {
        let mut events = Vec::new();
        hold.write(news.iter().map(|id| named(id)), ms * MS, hold_ms * MS, &mut events);
        events.into_iter().map(|e| e.id).collect()
    }

    #[test]
    fn event_is_repeated_until_the_time_is_over() {
        let mut hold = EventHold::default();
        assert_eq!(write(&mut hold, &["a"], 100, 50), ["a"]);
        assert_eq!(write(&mut hold, &["b"], 120, 50), ["a", "b"]);
        assert_eq!(write(&mut hold, &[], 149, 50), ["a", "b"]);
        assert_eq!(write(&mut hold, &[], 150, 50), ["b"]);
        assert!(write(&mut hold, &[], 170, 50).is_empty());
        assert_eq!(write(&mut hold, &["c"], 180, 0), ["c"], "always on its own buffer");
        assert!(write(&mut hold, &[], 180, 0).is_empty());
    }

    #[test]
    fn events_of_a_time_far_ahead_do_not_stay() {
        let mut hold = EventHold::default();
        write(&mut hold, &["a"], 10_000, 50);
        assert!(write(&mut hold, &[], 10, 50).is_empty());
        write(&mut hold, &["b"], 20, 50);
        hold.clear();
        assert!(write(&mut hold, &[], 21, 50).is_empty());
    }

    #[test]
    fn there_is_an_end_to_what_is_repeated() {
        let mut hold = EventHold::default();
        let names: Vec<String> = (0..MOST + 9).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(write(&mut hold, &names, 0, 50).len(), MOST + 9);
        let repeated = write(&mut hold, &[], 1, 50);
        assert_eq!((repeated.len(), repeated[0].as_str()), (MOST, "9"));
    }

    #[test]
    fn events_differ_in_their_id_and_know_when_they_were() {
        let (a, b) = (event("known-face", 7, Some(5), None), event("known-face", 7, None, None));
        assert!(a.id != b.id && a.id.len() == 36, "{a:?} {b:?}");
        assert_eq!((a.kind.as_str(), a.track_id, a.running_time_ns), ("known-face", 7, Some(5)));
        assert!(a.utc.as_deref().is_some_and(|utc| utc.ends_with('Z')), "{a:?}");
    }
}
