//! facerecognize on a gallery that is on a server, with faces whose identity is a colour.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::people::{BLUE, CAPS, GREEN, RED, enroll, frame, frame_with};
use common::server::Server;
use common::{Rgb, Rig, element};
use face_core::identity::Status;
use gst::prelude::*;
use gstface::meta::Face;
use parking_lot::Mutex;

/// Longer than anything here may take, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a signal may take, and a little for a busy machine.
const SIGNAL_LIMIT: Duration = Duration::from_millis(2000);

/// Ada, who is red, and Grace, who is green.
fn two_people(address: &str) {
    enroll(Path::new(address), "Ada", RED);
    enroll(Path::new(address), "Grace", GREEN);
}

struct World {
    rig: Rig,
    frames: u64,
}

impl World {
    fn new(address: &str, properties: &[(&str, u32)]) -> World {
        let element = element("facerecognize", "embedder.onnx");
        element.set_property("gallery", address);
        element.set_property("enroll-force", true);
        for (name, value) in properties {
            element.set_property(name, value);
        }
        World { rig: Rig::new(element, CAPS), frames: 0 }
    }

    /// A face of that colour on a track, or on none (0).
    fn face(&mut self, color: Rgb, track: u64) -> Face {
        let buffer = frame_with(self.frames, [color, color], [track, 0], |faces| {
            faces.faces.truncate(1);
        });
        self.frames += 1;
        self.rig.faces(buffer).faces.remove(0)
    }

    fn name(&mut self, color: Rgb) -> Option<String> {
        let face = self.face(color, 0);
        assert_ne!(face.status, Status::Error);
        face.name
    }

    /// Looks until the face is somebody's.
    fn wait_for(&mut self, color: Rgb, name: &str) {
        let started = Instant::now();
        loop {
            let face = self.face(color, 0);
            if face.name.as_deref() == Some(name) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{face:?} is not {name}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Texts and codes of the warnings since the last call; there are no errors.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for message in self.rig.messages() {
            match message.view() {
                gst::MessageView::Error(error) => panic!("{error:?}"),
                gst::MessageView::Warning(warning) => {
                    assert!(warning.error().matches(gst::ResourceError::Read), "{warning:?}");
                    warnings.push(warning.error().message().to_owned());
                }
                _ => {}
            }
        }
        warnings
    }

    /// Looks until there is a warning.
    fn wait_for_warning(&mut self, color: Rgb) -> String {
        let started = Instant::now();
        loop {
            self.face(color, 0);
            if let [warning] = &self.warnings()[..] {
                return warning.clone();
            }
            assert!(started.elapsed() < PATIENCE, "no warning");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The answer of a signal, which came in time.
    fn call(&self, signal: &str, args: &[&dyn ToValue]) -> gst::Structure {
        let args: Vec<glib::Value> = args.iter().map(|a| a.to_value()).collect();
        let started = Instant::now();
        let answer = self.rig.element.emit_by_name_with_values(signal, &args).unwrap();
        assert!(started.elapsed() < SIGNAL_LIMIT, "{signal} took {:?}", started.elapsed());
        answer.get().unwrap()
    }
}

fn portrait(color: Rgb) -> gst::Sample {
    let buffer = frame_with(0, [color, color], [0, 0], |faces| faces.faces.truncate(1));
    let caps: gst::Caps = CAPS.parse().unwrap();
    gst::Sample::builder().buffer(&buffer).caps(&caps).build()
}

/// The error of an element that cannot start with that gallery.
fn start_error(address: &str) -> glib::Error {
    let element = element("facerecognize", "embedder.onnx");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    element.set_property("gallery", address);
    let shown = element.property::<String>("gallery");
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(element.set_state(gst::State::Paused).is_err());
    let error = common::error_of(&bus);
    element.set_state(gst::State::Null).unwrap();
    error
}

#[test]
fn password_of_an_address_is_refused_and_never_shown() {
    common::init();
    let said = Arc::new(Mutex::new(Vec::new()));
    let log = said.clone();
    gst::log::set_default_threshold(gst::DebugLevel::Log);
    gst::log::set_threshold_for_name("facerecognize", gst::DebugLevel::Trace);
    gst::log::add_log_function(move |category, _, _, _, _, _, message| {
        let text = message.get().map(|m| m.to_string()).unwrap_or_default();
        log.lock().push(format!("{}: {text}", category.name()));
    });
    let error = start_error("postgresql://cam:geheim@127.0.0.1:1/faces");
    assert!(error.matches(gst::ResourceError::Settings), "{error:?}");
    assert!(error.message().contains("PGPASSWORD"), "{error}");
    let broken = start_error("postgresql://cam:geheim@");
    assert!(broken.matches(gst::ResourceError::Settings), "{broken:?}");
    assert!(!format!("{error:?} {broken:?}").contains("geheim"));
    gst::log::set_default_threshold(gst::DebugLevel::None);
    let said = said.lock();
    let set = said.iter().any(|line| line.contains("postgresql://cam@127.0.0.1:1/faces"));
    assert!(set, "the setting is logged");
    let shown: Vec<_> = said.iter().filter(|line| line.contains("geheim")).collect();
    assert!(shown.is_empty(), "{shown:?}");
}

#[test]
fn server_that_is_away_or_refuses_is_an_error_at_start() {
    let away = start_error("postgresql://cam@127.0.0.1:1/faces");
    assert!(away.matches(gst::ResourceError::OpenRead), "{away:?}");
    let Some(server) = Server::of_test() else { return };
    let (_, place) =
        server.address().split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let refused = start_error(&format!("postgresql://nobody_here@{place}"));
    assert!(refused.matches(gst::ResourceError::Settings), "{refused:?}");
    let nothing = start_error(&server.address());
    assert!(nothing.matches(gst::ResourceError::NotFound), "{nothing:?}");
}

#[test]
fn people_are_named_and_those_of_others_as_soon_as_they_are_enrolled() {
    let Some(server) = Server::of_test() else { return };
    let address = server.address();
    enroll(Path::new(&address), "Ada", RED);
    // The server tells: nobody waits for a minute.
    let mut world = World::new(&address, &[("reload-interval", 500)]);
    assert_eq!(world.name(RED).as_deref(), Some("Ada"));
    assert_eq!(world.name(GREEN), None);
    world.rig.element.set_property("reload-interval", 60_000u32);
    world.name(RED);
    std::thread::sleep(Duration::from_millis(700));
    enroll(Path::new(&address), "Grace", GREEN);
    world.wait_for(GREEN, "Grace");
    // The news may have come in the middle of that frame: the next one tells of it.
    world.name(RED);
    let changes = world.rig.structures("gallery-changed");
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(!world.rig.element.property::<String>("gallery").is_empty());
}

#[test]
fn lost_server_is_told_once_and_known_people_keep_their_names() {
    let Some(server) = Server::of_test() else { return };
    enroll(Path::new(&server.address()), "Ada", RED);
    let proxy = server.proxy();
    let mut world = World::new(&server.address_through(&proxy), &[("reload-interval", 50)]);
    assert_eq!(world.name(RED).as_deref(), Some("Ada"));
    for (person, color) in [("Grace", GREEN), ("Bob", BLUE)] {
        proxy.cut();
        let warning = world.wait_for_warning(RED);
        assert!(warning.contains("127.0.0.1") && warning.contains("known before"), "{warning}");
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(800) {
            assert_eq!(world.name(RED).as_deref(), Some("Ada"));
        }
        assert_eq!(world.warnings(), Vec::<String>::new());
        enroll(Path::new(&server.address()), person, color);
        assert_eq!(world.name(color), None);
        proxy.pass();
        world.wait_for(color, person);
        // The thread says that all is well after it published what was new.
        std::thread::sleep(Duration::from_millis(300));
        world.name(RED);
        assert_eq!(world.warnings(), Vec::<String>::new());
    }
    assert_eq!(world.rig.stat("search-errors"), 0);
}

#[test]
fn large_gallery_is_searched_by_its_server_and_no_answer_is_an_error() {
    let Some(server) = Server::of_test() else { return };
    two_people(&server.address());
    let proxy = server.proxy();
    let address = server.address_through(&proxy);
    let mut world = World::new(&address, &[("reload-interval", 50), ("local-max", 1)]);
    assert_eq!(world.name(RED).as_deref(), Some("Ada"));
    assert_eq!(world.name(GREEN).as_deref(), Some("Grace"));
    let stranger = world.face(BLUE, 0);
    assert_eq!((stranger.status, stranger.name), (Status::Unknown, None));

    proxy.cut();
    for color in [RED, BLUE] {
        let face = world.face(color, 0);
        assert_eq!((face.status, face.name), (Status::Error, None));
    }
    assert_eq!(world.rig.stat("search-errors"), 2);
    assert!(world.wait_for_warning(RED).contains("nobody is recognised"));
    proxy.pass();
    world.wait_for(RED, "Ada");

    proxy.hang();
    let mut waited = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        // Two faces in a frame wait no longer than one.
        let faces = world.rig.faces(frame(world.frames, [RED, GREEN], [0, 0]));
        world.frames += 1;
        assert!(faces.faces.iter().all(|f| f.status == Status::Error), "{faces:?}");
        waited.push(started.elapsed());
    }
    assert!(waited[0] < Duration::from_millis(1400), "{waited:?}");
    // After a missed answer the stream goes on for a while without asking.
    assert!(waited[1] < Duration::from_millis(300), "{waited:?}");
    proxy.pass();
    world.wait_for(GREEN, "Grace");
}

#[test]
fn track_keeps_its_person_when_a_gallery_changes_that_is_not_loaded() {
    let Some(server) = Server::of_test() else { return };
    two_people(&server.address());
    let settings = [("reload-interval", 50), ("local-max", 1)];
    let mut world = World::new(&server.address(), &settings);
    assert_eq!(world.face(RED, 1).name.as_deref(), Some("Ada"));
    world.rig.messages();
    enroll(Path::new(&server.address()), "Bob", BLUE);
    let started = Instant::now();
    let mut changed = false;
    while !changed {
        assert_eq!(world.face(RED, 1).name.as_deref(), Some("Ada"));
        let messages = world.rig.messages();
        assert!(!messages.iter().any(|m| m.has_name("face-identity")), "{messages:?}");
        changed = messages.iter().any(|m| m.has_name("gallery-changed"));
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(world.face(RED, 1).name.as_deref(), Some("Ada"));
}

#[test]
fn signals_write_to_the_server_and_answer_while_it_hangs() {
    let Some(server) = Server::of_test() else { return };
    two_people(&server.address());
    let proxy = server.proxy();
    for settings in [&[("reload-interval", 50)][..], &[("reload-interval", 50), ("local-max", 1)]] {
        let mut world = World::new(&server.address_through(&proxy), settings);
        world.face(RED, 0);
        let answer = world.call("enroll-sample", &[&portrait(BLUE), &"Bob"]);
        assert_eq!(answer.get::<bool>("ok"), Ok(true), "{answer}");
        world.wait_for(BLUE, "Bob");
        let found = world.call("search", &[&portrait(BLUE)]);
        assert!(found.to_string().contains("Bob"), "{found}");
        assert!(world.call("reload", &[]).get::<u64>("generation").unwrap() > 0);

        proxy.hang();
        for (signal, args) in [
            ("enroll-sample", &[&portrait(GREEN) as &dyn ToValue, &"Eve"][..]),
            ("forget", &[&"0"]),
            ("reload", &[]),
        ] {
            let answer = world.call(signal, args);
            assert_eq!(answer.get::<bool>("ok"), Ok(false), "{answer}");
            let reason = answer.get::<String>("reason").unwrap();
            assert!(reason.contains("in time") || reason.contains("answer"), "{reason}");
        }
        world.call("search", &[&portrait(RED)]);
        proxy.pass();
        world.wait_for(RED, "Ada");

        let id = world.face(BLUE, 0).person_id.unwrap();
        let gone = world.call("forget", &[&id]);
        assert_eq!(gone.get::<bool>("ok"), Ok(true), "{gone}");
        assert!(gone.get::<String>("not-covered").unwrap().contains("backups"), "{gone}");
        let started = Instant::now();
        while world.face(BLUE, 0).status != Status::Unknown {
            assert!(started.elapsed() < PATIENCE, "Bob is still known");
        }
    }
}
