//! What waits for the thread that tells it: bounded, so that the stream never waits.

use std::collections::VecDeque;

use face_core::event::FaceEvent;
use face_core::publish::{Change, FaceFrame, FaceTrack};
use parking_lot::{Condvar, Mutex};

/// Frames that wait at most; then the oldest is dropped.
const MOST_FRAMES: usize = 64;
/// Everything else. Only a disk that hangs for minutes lets so much wait.
const MOST_NEWS: usize = 4096;

/// Something to tell.
#[derive(Debug)]
pub(super) enum Item {
    Frame(Box<FaceFrame>),
    Event(Box<FaceEvent>),
    Track(Box<FaceTrack>),
    /// Who is seen now.
    Change(Box<Change>),
}

/// What had no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) frames: u64,
    pub(super) news: u64,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    frames: usize,
    dropped: Dropped,
    closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    queue: Mutex<Queue>,
    ready: Condvar,
}

impl Mailbox {
    /// Never waits. True if something had to be dropped for it.
    pub(super) fn push(&self, item: Item) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        let frame = matches!(item, Item::Frame(_));
        let full = match frame {
            true => queue.frames >= MOST_FRAMES,
            false => queue.items.len() - queue.frames >= MOST_NEWS,
        };
        if full {
            let same = |other: &Item| matches!(other, Item::Frame(_)) == frame;
            if let Some(oldest) = queue.items.iter().position(same) {
                queue.items.remove(oldest);
            }
        } else {
            queue.frames += usize::from(frame);
        }
        let dropped = if frame { &mut queue.dropped.frames } else { &mut queue.dropped.news };
        *dropped += u64::from(full);
        queue.items.push_back(item);
        drop(queue);
        self.ready.notify_one();
        full
    }

    /// Waits for the next; `None`: it is closed and everything was told.
    pub(super) fn pop(&self) -> Option<Item> {
        let mut queue = self.queue.lock();
        while queue.items.is_empty() && !queue.closed {
            self.ready.wait(&mut queue);
        }
        let item = queue.items.pop_front()?;
        queue.frames -= usize::from(matches!(item, Item::Frame(_)));
        Some(item)
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.ready.notify_all();
    }

    /// What waits.
    pub(super) fn len(&self) -> usize {
        self.queue.lock().items.len()
    }

    pub(super) fn dropped(&self) -> Dropped {
        self.queue.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: usize) -> Item {
        Item::Frame(Box::new(FaceFrame { frame_id: id as u64, ..FaceFrame::default() }))
    }

    fn event(id: usize) -> Item {
        Item::Event(Box::new(FaceEvent { id: id.to_string(), ..FaceEvent::default() }))
    }

    #[test]
    fn oldest_frames_give_way_and_events_do_not() {
        let mailbox = Mailbox::default();
        assert!(!mailbox.push(event(0)));
        for id in 0..MOST_FRAMES {
            assert!(!mailbox.push(frame(id)));
        }
        assert!(!mailbox.push(event(1)));
        assert!(mailbox.push(frame(MOST_FRAMES)));
        assert_eq!(mailbox.dropped(), Dropped { frames: 1, news: 0 });
        mailbox.close();
        assert!(!mailbox.push(event(2)), "it is closed");
        let mut all = Vec::new();
        while let Some(item) = mailbox.pop() {
            all.push(match item {
                Item::Frame(frame) => format!("f{}", frame.frame_id),
                Item::Event(event) => format!("e{}", event.id),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(all.len(), MOST_FRAMES + 2);
        assert_eq!((all[0].as_str(), all[1].as_str()), ("e0", "f1"));
        assert_eq!(all[MOST_FRAMES..], ["e1".to_owned(), format!("f{MOST_FRAMES}")]);
    }

    #[test]
    fn there_is_an_end_to_events_too() {
        let mailbox = Mailbox::default();
        for id in 0..MOST_NEWS + 3 {
            assert_eq!(mailbox.push(event(id)), id >= MOST_NEWS);
        }
        assert_eq!(mailbox.dropped(), Dropped { frames: 0, news: 3 });
        assert!(matches!(mailbox.pop(), Some(Item::Event(event)) if event.id == "3"));
    }
}
