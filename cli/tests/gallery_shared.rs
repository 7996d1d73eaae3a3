//! facectl and a gallery on a server.

mod support;

use std::process::{Command, Stdio};

use face_core::embed::{Embedding, Fingerprint};
use face_core::gallery::{Access, Gallery, NewSample};
use support::{Answer, Setup};

/// The address of a gallery of its own on the server for tests, and the server's password.
struct Shared {
    address: String,
    password: String,
}

impl Shared {
    /// `None` without a server, and says so.
    fn new() -> Option<Self> {
        let url = std::env::var("GST_FACE_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
        let Some(url) = url else {
            eprintln!("skipped: GST_FACE_TEST_POSTGRES names no server");
            return None;
        };
        let (before, rest) = url.split_once("://").unwrap();
        let (login, place) = rest.split_once('@').unwrap();
        let (role, password) = login.split_once(':').unwrap();
        // The name of a test is unique, and the time tells runs apart; names have 63 letters at most.
        let test: String = std::thread::current().name().unwrap().chars().take(20).collect();
        let time = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let address = format!("{before}://{role}@{place}?schema=cli_{test}_{time}");
        Some(Self { address, password: password.to_owned() })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut facectl = Command::new(env!("CARGO_BIN_EXE_facectl"));
        facectl.args(arguments).env("PGPASSWORD", &self.password).stdin(Stdio::null());
        facectl
    }

    /// Runs facectl; nothing that it says has the password.
    fn run(&self, arguments: &[&str]) -> Answer {
        self.said(&mut self.command(arguments))
    }

    fn said(&self, command: &mut Command) -> Answer {
        let answer = Answer::of(&command.output().unwrap());
        assert!(!format!("{answer:?}").contains(&self.password), "{answer:?}");
        answer
    }
}

fn embedding(seed: u32) -> Embedding {
    Embedding::new(&std::array::from_fn::<f32, 8, _>(|i| {
        ((seed * 37 + 11) as f32 * (i as f32 + 0.7)).sin()
    }))
    .unwrap()
}

#[test]
fn people_are_copied_to_the_server_and_looked_after_there() {
    let Some(shared) = Shared::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g");
    let fingerprint =
        Fingerprint { model: "net".into(), alignment: "arcface-112".into(), probe: embedding(0) };
    let gallery = Gallery::open(&file, &fingerprint, Access::Create).unwrap();
    gallery.enroll("Ann", &[1, 2].map(|s| NewSample::new(embedding(s), "a.jpg"))).unwrap();
    gallery.enroll("Bob", &[NewSample::new(embedding(3), "b.jpg")]).unwrap();
    let (file, address) = (file.to_str().unwrap(), &*shared.address);

    let nothing = shared.run(&["gallery", "list", "--gallery", address]);
    nothing.is_error(2, &[address, "no such gallery; enrol somebody"]);
    let planned = shared.run(&["gallery", "copy", "--dry-run", "--json", file, address]);
    assert_eq!((planned.code, &planned.json()[0]["samples"]), (0, &3.into()));
    let copied = shared.run(&["gallery", "copy", "--json", file, address]);
    assert_eq!((copied.code, &copied.json()[0]["persons"]), (0, &2.into()));
    let again = shared.run(&["gallery", "copy", file, address]);
    assert!(again.stdout.contains("0 new people and 0 samples copied"), "{again:?}");

    let stats = shared.run(&["gallery", "stats", "--gallery", address]);
    assert!(stats.stdout.contains("on a server") && stats.stdout.contains("2 people"), "{stats:?}");
    let renamed = shared.run(&["gallery", "rename", "--gallery", address, "Ann", "Anna"]);
    assert_eq!(renamed.code, 0, "{renamed:?}");
    let refused =
        shared.run(&["gallery", "backup", "--gallery", address, &format!("{file}.backup")]);
    refused.is_error(2, &[address, "pg_dump"]);
    // A spool cannot be searched for what only the server knew; that is no reason to fail.
    let spool = folder.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    let forget = ["gallery", "forget", "--gallery", address, "--yes", "Anna"];
    let forgotten = shared.said(shared.command(&forget).env("GST_FACE_SPOOL", &spool));
    assert_eq!(forgotten.code, 0, "{forgotten:?}");
    assert!(forgotten.stderr.contains("is not searched"), "{forgotten:?}");
    assert!(!forgotten.stdout.contains("forgotten"), "{forgotten:?}");
    assert!(forgotten.stdout.contains("write-ahead log"), "{forgotten:?}");
    let list = shared.run(&["gallery", "list", "--json", "--gallery", address]);
    assert_eq!(list.json().len(), 1);
    let cleared = shared.run(&["gallery", "clear", "--yes", "--gallery", address]);
    assert_eq!(cleared.code, 0, "{cleared:?}");
}

#[test]
fn wrong_passwords_are_never_shown() {
    let Some(mut shared) = Shared::new() else { return };
    shared.password = "letmein123".to_owned();
    let with = shared.address.replacen('@', ":letmein123@", 1);
    for address in [&shared.address, &with] {
        let answer = shared.run(&["gallery", "list", "--gallery", address]);
        answer.is_error(2, &[&shared.address, "the server lets nobody in"]);
    }
    let broken = shared.run(&["gallery", "list", "--gallery", "postgresql://u:letmein123@"]);
    broken.is_error(2, &["postgresql://…", "its address cannot be used"]);
    let doctor = shared.run(&["doctor", "--gallery", &with]);
    assert_eq!(doctor.code, 1, "{doctor:?}");
}

#[test]
fn password_in_an_address_is_warned_of_and_kept_out_of_pipelines() {
    let Some(shared) = Shared::new() else { return };
    let fingerprint =
        Fingerprint { model: "net".into(), alignment: "arcface-112".into(), probe: embedding(0) };
    let with = shared.address.replacen('@', &format!(":{}@", shared.password), 1);
    let gallery = Gallery::open(&with, &fingerprint, Access::Create).unwrap();
    gallery.enroll("Ann", &[NewSample::new(embedding(1), "a.jpg")]).unwrap();
    let mut doctor = shared.command(&["doctor", "--json", "--gallery", &with]);
    let doctor = doctor.env("GST_FACE_MODEL_PATH", "/nowhere").env("XDG_DATA_HOME", "/nowhere");
    let doctor = shared.said(doctor);
    let report = &doctor.json()[0];
    let check = report["checks"].as_array().unwrap().iter().find(|c| c["check"] == "gallery");
    let check = check.unwrap();
    // Without models there is no other embedder that the gallery could be not of.
    assert_eq!(check["status"], "warning", "{check}");
    assert!(check["advice"].as_str().unwrap().contains("PGPASSWORD"), "{check}");
    let refused = shared.run(&["analyze", "--gallery", &with, env!("CARGO_MANIFEST_PATH")]);
    refused.is_error(2, &["PGPASSWORD"]);
}

#[test]
fn real_face_is_found_by_the_server() {
    let (Some(shared), Some(setup)) = (Shared::new(), Setup::new()) else { return };
    let people = setup.media("people");
    let mut pictures: Vec<_> = walk(people.as_ref());
    pictures.sort();
    let (first, second) = (&*pictures[0], &*pictures[1]);
    let address = &*shared.address;
    let with_models = |arguments: &[&str]| {
        let mut command = shared.command(arguments);
        shared.said(command.env("GST_FACE_MODEL_PATH", &setup.models))
    };
    let enrolled = with_models(&["enroll", "--gallery", address, "--name", "Ada", first]);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    let found = with_models(&["gallery", "search", "--json", "--gallery", address, first]);
    let record = &found.json()[0];
    assert_eq!((&record["status"], &record["top"][0]["name"]), (&"known".into(), &"Ada".into()));
    // Everybody is loaded to name the faces of pictures.
    let named = with_models(&["recognize", "--gallery", address, first, second]);
    assert!(named.stdout.contains("Ada"), "{named:?}");
}

/// The pictures of a folder of folders.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else if path.extension().is_some_and(|e| e == "jpg") {
            files.push(path.to_str().unwrap().to_owned());
        }
    }
    files
}
