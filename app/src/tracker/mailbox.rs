//! Between the streaming threads and who waits for events.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::error::TrackerError;
use super::event::{Event, TrackedFrame};

/// Frames that wait to be taken.
const FRAMES: usize = 16;
/// Other events that wait to be taken.
const OTHERS: usize = 1024;

/// Events in their order, bounded: frames wait or give way to newer ones, other events give way.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    /// An event came, or the last one did.
    filled: Condvar,
    /// A frame was taken, or nobody takes any more.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    frames: usize,
    dropped: u64,
    /// Nobody takes frames any more.
    closed: bool,
    /// The last event was put in.
    ended: bool,
}

impl Inner {
    fn is_frame(event: &Event) -> bool {
        matches!(event, Event::Frame(_))
    }

    /// Takes the oldest frame, or the oldest other event, out.
    fn drop_oldest(&mut self, frame: bool) {
        let oldest = self.events.iter().position(|e| Self::is_frame(e) == frame);
        if oldest.and_then(|i| self.events.remove(i)).is_some() {
            self.frames -= usize::from(frame);
            self.dropped += 1;
        }
    }
}

impl Mailbox {
    /// Puts a frame in. If many wait, the oldest is dropped (`leaky`), or this waits.
    pub(crate) fn put_frame(&self, frame: TrackedFrame, leaky: bool) {
        let mut inner = self.inner.lock();
        while inner.frames >= FRAMES && !inner.closed {
            if leaky {
                inner.drop_oldest(true);
            } else {
                self.emptied.wait(&mut inner);
            }
        }
        if inner.closed || inner.ended {
            return;
        }
        inner.frames += 1;
        inner.events.push_back(Event::Frame(Box::new(frame)));
        self.filled.notify_one();
    }

    /// Puts a message or a warning in; never waits.
    pub(crate) fn put(&self, event: Event) {
        let mut inner = self.inner.lock();
        if inner.ended {
            return;
        }
        if inner.events.len() - inner.frames >= OTHERS {
            inner.drop_oldest(false);
        }
        inner.events.push_back(event);
        self.filled.notify_one();
    }

    /// Nobody takes frames any more: lets go who waits for room.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.emptied.notify_all();
    }

    /// Puts the last event in. A second one is none.
    pub(crate) fn end(&self, result: Result<(), TrackerError>) {
        let mut inner = self.inner.lock();
        if !inner.ended {
            inner.ended = true;
            inner.events.push_back(Event::Ended(result));
        }
        inner.closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// Takes the next event, waiting for it up to a moment, or for ever. `None`: it did not come in
    /// time, or the last one was taken.
    pub(crate) fn take(&self, until: Option<Instant>) -> Option<Event> {
        let mut inner = self.inner.lock();
        loop {
            if let Some(event) = inner.events.pop_front() {
                if Inner::is_frame(&event) {
                    inner.frames -= 1;
                    self.emptied.notify_one();
                }
                return Some(event);
            }
            if inner.ended {
                return None;
            }
            match until {
                None => self.filled.wait(&mut inner),
                Some(until) if self.filled.wait_until(&mut inner, until).timed_out() => {
                    // It may have come together with the end of the time.
                    if inner.events.is_empty() {
                        return None;
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// Events that gave way to newer ones.
    pub(crate) fn dropped(&self) -> u64 {
        self.inner.lock().dropped
    }
}

/// The moment so far ahead; a time that nobody lives to see is none.
pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gstface::meta::FrameFaces;

    fn frame(index: u64) -> TrackedFrame {
        TrackedFrame::new(index, None, FrameFaces::default())
    }

    fn taken(mailbox: &Mailbox) -> Vec<String> {
        let text = |event| match event {
            Event::Frame(f) => f.record.frame.to_string(),
            Event::Warning(text) => text,
            other => format!("{other:?}"),
        };
        std::iter::from_fn(|| mailbox.take(Some(Instant::now())).map(text)).collect()
    }

    #[test]
    fn t20_live_frames_give_way_to_newer_ones_and_messages_stay() {
        let mailbox = Mailbox::default();
        mailbox.put(Event::Warning("first".to_owned()));
        (0..100).for_each(|i| mailbox.put_frame(frame(i), true));
        mailbox.put(Event::Warning("last".to_owned()));
        let events = taken(&mailbox);
        assert_eq!(events.len(), FRAMES + 2);
        assert_eq!(
            (&*events[0], &*events[1], &*events[16], &*events[17]),
            ("first", "84", "99", "last")
        );
        assert_eq!(mailbox.dropped(), 84);
    }

    #[test]
    fn t20_frames_of_a_file_wait_for_room_and_keep_their_order() {
        let mailbox = Mailbox::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..200).for_each(|i| mailbox.put_frame(frame(i), false));
                mailbox.end(Ok(()));
            });
            for i in 0..200 {
                let event = mailbox.take(None);
                assert!(matches!(event, Some(Event::Frame(f)) if f.record.frame == i), "{i}");
            }
            assert!(matches!(mailbox.take(None), Some(Event::Ended(Ok(())))));
            assert!(mailbox.take(None).is_none());
        });
        assert_eq!(mailbox.dropped(), 0);
    }

    #[test]
    fn t20_who_waits_for_room_is_let_go_by_a_stop() {
        let mailbox = Mailbox::default();
        (0..FRAMES as u64).for_each(|i| mailbox.put_frame(frame(i), false));
        std::thread::scope(|scope| {
            let blocked = scope.spawn(|| mailbox.put_frame(frame(99), false));
            mailbox.close();
            blocked.join().unwrap();
        });
        assert_eq!(taken(&mailbox).len(), FRAMES);
    }

    #[test]
    fn t20_messages_that_nobody_takes_do_not_grow_without_end() {
        let mailbox = Mailbox::default();
        (0..OTHERS + 5).for_each(|i| mailbox.put(Event::Warning(i.to_string())));
        let events = taken(&mailbox);
        assert_eq!((events.len(), &*events[0]), (OTHERS, "5"));
    }

    #[test]
    fn t20_only_one_end_is_told() {
        let mailbox = Mailbox::default();
        mailbox.end(Ok(()));
        mailbox.end(Err(TrackerError::Rate(0.0)));
        mailbox.put(Event::Warning("late".to_owned()));
        assert_eq!(taken(&mailbox), ["Ended(Ok(()))"]);
    }
}
