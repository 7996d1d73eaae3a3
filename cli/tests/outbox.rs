//! `facectl outbox` over a spool that a program left.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use face_core::outbox::{
    Address, Courier, Entry, EntryId, Exec, Limits, Message, Object, Outbox, Webhook,
};
use face_core::storage::{Storage, StorageOptions};
use support::{Answer, keys};
use tempfile::TempDir;

/// A spool with an object, a program that fails, a webhook whose server is away and that waits for
/// the object, and a broken file.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        let outbox = scene.outbox();
        fs::write(scene.path("spool/clip.mp4"), [7; 4096]).unwrap();
        let storage = scene.path("storage").to_str().unwrap().to_owned();
        let object = Object::new("clip.mp4", &storage, "door/clip.mp4");
        let id = |id: &str| EntryId::new(id).unwrap();
        let append = |entry: Entry, name: &str| outbox.append(entry.with_id(id(name))).unwrap();
        append(Entry::new(object), "clip");
        let message = Message::json(&"somebody").unwrap();
        append(Entry::new(Exec::new("false", vec![], message.clone())), "program");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/hook?token=hunter2");
        let webhook = Webhook::new(Address::Plain(url), message);
        append(Entry::new(webhook).after(id("clip")), "hook");
        fs::write(scene.path("spool/outbox/broken.json"), "{").unwrap();
        scene
    }

    fn outbox(&self) -> Outbox {
        Outbox::open(&self.path("spool"), Limits::default()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An entry, as list shows it.
    fn record(&self, id: &str) -> serde_json::Value {
        let records = self.run(&["list", "--json"]).json();
        records.into_iter().find(|record| record["id"] == id).expect("the entry is listed")
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_facectl"));
        command.arg("outbox").args(arguments).env("GST_FACE_SPOOL", self.path("spool"));
        command.stdin(std::process::Stdio::null());
        Answer::of(&command.output().unwrap())
    }
}

#[test]
fn waiting_entries_are_listed() {
    let scene = Scene::new();
    let answer = scene.run(&["list"]);
    assert_eq!(answer.code, 1, "something is unreadable: {answer:?}");
    for part in [
        "clip  object to ",
        "storage/door/clip.mp4",
        "waiting, 4.00 KiB",
        "program  exec to false",
        "after clip",
        "broken.json",
        "unreadable",
        "4 entries",
    ] {
        assert!(answer.stdout.contains(part), "no '{part}' in {}", answer.stdout);
    }
    assert!(!answer.stdout.contains("hunter2"), "{}", answer.stdout);
    let answer = scene.run(&["list", "--json"]);
    assert_eq!(answer.json().len(), 4);
    assert_eq!(scene.record("clip")["key"], "door/clip.mp4");
    assert_eq!(scene.record("hook")["state"], "blocked");
    let help = scene.run(&["list", "--help"]).stdout;
    for key in keys(answer.stdout.lines().next().unwrap()) {
        assert!(help.contains(&key), "{key} is not in the help");
    }
}

#[test]
fn flush_sends_what_can_be_sent_and_names_the_rest() {
    let scene = Scene::new();
    let answer = scene.run(&["flush"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(answer.stdout, "1 entry delivered, 2 left, 1 unreadable\n", "{answer:?}");
    assert!(answer.stderr.contains("'false' ended with"), "{answer:?}");
    assert!(answer.stderr.contains("hook  http://127.0.0.1"), "{answer:?}");
    assert!(!answer.stderr.contains("hunter2"), "{answer:?}");
    assert_eq!(fs::read(scene.path("storage/door/clip.mp4")).unwrap().len(), 4096);
    assert!(!scene.path("spool/clip.mp4").exists());
    assert_eq!(scene.record("program")["attempts"], 1);

    // Every entry is tried, whether it is due or not.
    let answer = scene.run(&["flush", "--json"]);
    assert_eq!(answer.json()[0]["remaining"], 2, "{answer:?}");
    assert_eq!(scene.record("hook")["attempts"], 2);
    scene.run(&["drop", "hook"]).is_error(2, &["--yes"]);
    scene.run(&["drop", "hook", "typo", "--yes"]).is_error(2, &["'typo'"]);
    let answer = scene.run(&["drop", "hook", "program", "broken", "--yes", "--json"]);
    assert_eq!(answer.json()[0]["entries"], 3, "{answer:?}");
    let answer = scene.run(&["flush"]);
    assert_eq!(
        (answer.code, answer.stdout.as_str()),
        (0, "0 entries delivered, 0 left, 0 unreadable\n")
    );
    assert_eq!(scene.run(&["list"]).code, 0);
}

#[test]
fn failed_entry_can_be_tried_again() {
    let scene = Scene::new();
    let clip = scene.path("spool/clip.mp4");
    fs::rename(&clip, scene.path("moved")).unwrap();
    assert_eq!(scene.run(&["flush"]).code, 1);
    assert_eq!(scene.record("clip")["state"], "failed");
    assert_eq!(scene.record("clip")["attempts"], 1);
    assert_eq!(scene.record("hook")["state"], "failed");
    assert_eq!(scene.record("program")["state"], "waiting");
    fs::rename(scene.path("moved"), &clip).unwrap();
    scene.run(&["retry", "nothing"]).is_error(2, &["'nothing'"]);
    assert_eq!(scene.run(&["retry", "hook"]).stdout, "1 entry due\n");
    scene.run(&["flush"]);
    assert!(scene.path("storage/door/clip.mp4").is_file());
}

#[test]
fn spool_in_use_or_missing_is_said() {
    let scene = Scene::new();
    let outbox = scene.outbox();
    let courier = Courier::new(&outbox).unwrap();
    scene.run(&["flush"]).is_error(2, &["another process", "spool"]);
    assert_eq!(scene.run(&["list"]).code, 1, "looking is allowed");
    drop(courier);
    scene.run(&["list", "--spool", "typo"]).is_error(2, &["'typo'"]);
    assert!(!PathBuf::from("typo").exists());
}

#[test]
fn bucket_that_comes_back_gets_what_waited() {
    let get = |name: &str| std::env::var(name).unwrap_or_default();
    let servers = get("GST_FACE_TEST_S3");
    let Some(endpoint) = servers.split_whitespace().find_map(|s| s.strip_prefix("s3s=")) else {
        eprintln!("skipped: GST_FACE_TEST_S3 names no s3s (scripts/test.sh starts it)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene { folder };
    let outbox = scene.outbox();
    let bucket = format!("outbox-{}", std::process::id());
    let uri = format!("s3://{bucket}/north?endpoint={endpoint}&allow-http=true");
    let (key, secret) = (get("GST_FACE_TEST_S3_KEY"), get("GST_FACE_TEST_S3_SECRET"));
    // Above the size from which an object goes in parts.
    let content: Vec<u8> = (0..9_000_000_u32).map(|i| (i % 251) as u8).collect();
    for name in ["one", "two"] {
        fs::write(scene.path("spool").join(name), &content).unwrap();
        let entry = Entry::new(Object::new(name, &uri, name));
        outbox.append(entry.with_id(EntryId::new(name).unwrap())).unwrap();
    }
    drop(outbox);
    let flush = |secret: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_facectl"));
        command.args(["outbox", "flush", "--json"]).env("GST_FACE_SPOOL", scene.path("spool"));
        command.env("AWS_ACCESS_KEY_ID", &key).env("AWS_SECRET_ACCESS_KEY", secret);
        Answer::of(&command.output().unwrap())
    };
    let answer = flush("wrong-secret");
    assert_eq!((answer.code, &answer.json()[0]["remaining"]), (1, &2.into()), "{answer:?}");
    let record = scene.record("one");
    assert_eq!(record["state"], "waiting", "a right can still be given: {record}");
    let error = record["last_error"].as_str().unwrap();
    assert!(error.contains("may not store") && !error.contains("wrong-secret"), "{error}");
    let answer = flush(&secret);
    assert_eq!((answer.code, &answer.json()[0]["delivered"]), (0, &2.into()), "{answer:?}");
    let environment = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(key.clone()),
        "AWS_SECRET_ACCESS_KEY" => Some(secret.clone()),
        _ => None,
    };
    let storage = Storage::open_in(&uri, &StorageOptions::default(), &environment).unwrap();
    for name in ["one", "two"] {
        assert!(storage.get(name, 1 << 30).unwrap() == content, "{name}");
    }
}
