//! The groups of people, for alert rules that name groups. Those of a shared gallery are read on a
//! thread: no frame waits for the network.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use face_core::gallery::{Gallery, GalleryError, Person};
use face_core::identity::alert::groups_of;

/// How long after a server failed it is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Groups by the id of the person.
type Groups = HashMap<String, Vec<String>>;

#[derive(Debug, Default)]
pub(super) struct PeopleGroups {
    groups: Groups,
    /// The gallery's generation that they are of, or are being read of.
    generation: Option<u64>,
    reading: Option<Receiver<Result<Groups, GalleryError>>>,
    not_before: Option<Instant>,
}

impl PeopleGroups {
    pub(super) fn of(&self, person_id: &str) -> &[String] {
        self.groups.get(person_id).map_or(&[], Vec::as_slice)
    }

    /// Reads the groups if the gallery has changed.
    pub(super) fn refresh(
        &mut self,
        gallery: &Gallery,
        generation: u64,
    ) -> Result<(), GalleryError> {
        self.take_read()?;
        let waits = self.not_before.is_some_and(|then| then > Instant::now());
        if self.generation == Some(generation) || self.reading.is_some() || waits {
            return Ok(());
        }
        // Once per generation: what failed in a file would fail on every frame.
        self.generation = Some(generation);
        if gallery.location().is_server() {
            self.read_aside(gallery);
        } else {
            self.groups = read(gallery)?;
        }
        Ok(())
    }

    fn take_read(&mut self) -> Result<(), GalleryError> {
        let Some(reading) = &self.reading else { return Ok(()) };
        let read = match reading.try_recv() {
            Err(TryRecvError::Empty) => return Ok(()),
            read => read,
        };
        self.reading = None;
        match read {
            Ok(Ok(groups)) => {
                self.groups = groups;
                Ok(())
            }
            Ok(Err(error)) => {
                self.again();
                Err(error)
            }
            // The thread ended without a word.
            Err(_) => {
                self.again();
                Ok(())
            }
        }
    }

    fn read_aside(&mut self, gallery: &Gallery) {
        let (sender, reading) = std::sync::mpsc::channel();
        let gallery = gallery.clone();
        let work = move || {
            // The element may have stopped.
            let _ = sender.send(read(&gallery));
        };
        match std::thread::Builder::new().name("face-groups".into()).spawn(work) {
            Ok(_) => self.reading = Some(reading),
            Err(_) => self.again(),
        }
    }

    /// They are to be read again, after a while.
    fn again(&mut self) {
        self.generation = None;
        self.not_before = Some(Instant::now() + PAUSE);
    }
}

fn read(gallery: &Gallery) -> Result<Groups, GalleryError> {
    let groups = |person: &Person| groups_of(&person.attributes);
    Ok(gallery.persons()?.iter().map(|p| (p.id.clone(), groups(p))).collect())
}
