//! A gallery is restored from a backup while facerecognize runs on it.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::people::{BLUE, CAPS, GREEN, RED, enroll, fingerprint, frame};
use common::{Rig, element};
use face_core::embed::Embedding;
use face_core::gallery::{Access, Gallery, NewSample, backup};
use face_core::identity::Status;
use gst::prelude::*;
use parking_lot::Mutex;

/// Longer than the element may take to look, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    folder: tempfile::TempDir,
    rig: Rig,
    frames: u64,
}

impl World {
    /// An element that runs on a gallery with Ada, who is red.
    fn new(reload_interval: u32) -> World {
        common::init();
        let folder = tempfile::tempdir().unwrap();
        let gallery = folder.path().join("people.gallery");
        enroll(&gallery, "Ada", RED);
        let element = element("facerecognize", "embedder.onnx");
        element.set_property("gallery", gallery.to_str().unwrap());
        element.set_property("reload-interval", reload_interval);
        World { folder, rig: Rig::new(element, CAPS), frames: 0 }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn restore(&self, backup: &Path) {
        backup::restore(backup, self.file("people.gallery"), true).unwrap();
    }

    /// Names of the red, the green and the blue face, of one frame each: nothing is held up and
    /// nothing is lost.
    fn names(&mut self) -> [Option<String>; 3] {
        [RED, GREEN, BLUE].map(|color| {
            let faces = self.rig.faces(frame(self.frames, [color, color], [0, 0]));
            self.frames += 1;
            assert_eq!(faces.faces.len(), 2);
            assert_ne!(faces.faces[0].status, Status::Error);
            faces.faces[0].name.clone()
        })
    }

    /// Looks until the names are these.
    fn wait_for(&mut self, names: [Option<&str>; 3]) {
        let started = Instant::now();
        while self.names().each_ref().map(Option::as_deref) != names {
            assert!(started.elapsed() < PATIENCE, "{:?}", self.names());
        }
    }
}

#[test]
fn people_of_the_restored_gallery_are_known_after_the_reload_interval() {
    let mut world = World::new(100);
    world.wait_for([Some("Ada"), None, None]);
    let (other, file) = (world.file("other.gallery"), world.file("other.backup"));
    enroll(&other, "Grace", GREEN);
    enroll(&other, "Bob", BLUE);
    backup::create(&other, &file, false).unwrap();
    let before = world.file("before.backup");
    backup::create(world.file("people.gallery"), &before, false).unwrap();
    world.restore(&file);
    world.wait_for([None, Some("Grace"), Some("Bob")]);
    let messages = world.rig.messages();
    let told = |name: &str| messages.iter().filter(|m| m.has_name(name)).count();
    assert_eq!(told("gallery-changed"), 1);
    assert!(messages.iter().all(|m| m.type_() != gst::MessageType::Error), "{messages:?}");
    // And what is enrolled after it, as ever.
    enroll(&world.file("people.gallery"), "Ada", RED);
    world.wait_for([Some("Ada"), Some("Grace"), Some("Bob")]);
    // Back, which is a step to fewer changes than were counted before.
    world.restore(&before);
    world.wait_for([Some("Ada"), None, None]);
}

#[test]
fn restored_gallery_of_another_embedder_is_warned_of_and_the_last_people_serve() {
    let mut world = World::new(0);
    world.wait_for([Some("Ada"), None, None]);
    let (other, file) = (world.file("other.gallery"), world.file("other.backup"));
    let space = fingerprint("embedder_coarse.onnx");
    let mut values = vec![0.0; space.dim()];
    values[0] = 1.0;
    let sample = NewSample::new(Embedding::new(&values).unwrap(), "test");
    let foreign = Gallery::open(&other, &space, Access::Create).unwrap();
    foreign.enroll("Eve", &[sample]).unwrap();
    drop(foreign);
    backup::create(&other, &file, false).unwrap();
    let own = world.file("own.backup");
    backup::create(world.file("people.gallery"), &own, false).unwrap();

    let warnings = Arc::new(Mutex::new(Vec::new()));
    let log = warnings.clone();
    gst::log::set_threshold_for_name("facerecognize", gst::DebugLevel::Warning);
    gst::log::add_log_function(move |category, level, _, _, _, _, message| {
        if category.name() == "facerecognize" && level == gst::DebugLevel::Warning {
            log.lock().push(message.get().map(|m| m.to_string()).unwrap_or_default());
        }
    });
    world.restore(&file);
    for _ in 0..10 {
        assert_eq!(world.names(), [Some("Ada".to_owned()), None, None]);
    }
    {
        let warnings = warnings.lock();
        let [warning, ..] = &warnings[..] else { panic!("no warning") };
        assert!(
            warning.contains("embedder_coarse") && warning.contains("people.gallery"),
            "{warning}"
        );
        // Once a second at most.
        assert!(warnings.len() < 5, "{warnings:?}");
    }
    let messages = world.rig.messages();
    assert!(messages.iter().all(|m| m.type_() != gst::MessageType::Error), "{messages:?}");
    // The application is told once.
    let told = messages.iter().filter(|m| m.type_() == gst::MessageType::Warning).count();
    assert_eq!(told, 1, "{messages:?}");
    // Its own contents are taken over again as soon as they are back.
    world.restore(&own);
    enroll(&world.file("people.gallery"), "Grace", GREEN);
    world.wait_for([Some("Ada"), Some("Grace"), None]);
}
