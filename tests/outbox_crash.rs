//! A process that appends and sends is killed at random moments: what it acknowledged arrives.
//!
//! `GST_FACE_CRASH_KILLS=300` kills that often, 30 times by default. A run with the same number
//! kills at the same times; where the process is then, is up to the machine.

#[path = "support/hook.rs"]
mod hook;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use face_core::outbox::{
    Address, Channel, Courier, Entry, EntryId, Limits, LinkTo, Message, Notice, Object, Outbox,
    Template, Values, Webhook,
};
use hook::Hook;

/// Numbers that are the same in every run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn kills() -> u64 {
    match std::env::var("GST_FACE_CRASH_KILLS") {
        Ok(text) => text.parse().expect("GST_FACE_CRASH_KILLS is a number"),
        Err(_) => 30,
    }
}

fn content(name: &str) -> String {
    name.repeat(2000)
}

fn webhook(url: &str, message: Message) -> Webhook {
    Webhook::new(Address::Plain(url.to_owned()), message)
}

/// Says that what it names is in the outbox.
fn acknowledge(what: &str) {
    // In one piece, so that a kill leaves no half of it.
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("\nack {what}\n").as_bytes()).and_then(|()| stdout.flush()).unwrap();
}

/// What is killed: the other tests run it, as a process of its own.
#[test]
#[ignore = "is run by the other tests, with an environment of its own"]
fn child_process() {
    let get = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (spool, url) = (get("OUTBOX_SPOOL"), get("OUTBOX_URL"));
    let (storage, round) = (get("OUTBOX_STORAGE"), get("OUTBOX_ROUND"));
    let spool = Path::new(&spool);
    let outbox = Outbox::open(spool, Limits::default()).unwrap();
    if get("OUTBOX_MODE") == "full" {
        for i in 0..3 {
            let entry = Entry::new(webhook(&url, Message::json(&"x").unwrap()));
            match outbox.append(entry.with_id(EntryId::new(&format!("full-{i}")).unwrap())) {
                Ok(id) => acknowledge(&format!("webhook {id}")),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    println!("\nrefused {error}: {}", cause.unwrap_or_default());
                }
            }
        }
        return;
    }
    let told = Arc::new(|notice: &Notice| match notice {
        Notice::Delivered { item, .. } => println!("\ndelivered {}", item.id),
        Notice::Dropped { item, .. } | Notice::Failed { item } => println!("\nlost {}", item.id),
        _ => {}
    });
    let _sender = outbox.start(told).unwrap();
    // So many that all are delivered in seconds, however fast the disk.
    for i in 0..20 {
        let id = |kind: &str| EntryId::new(&format!("{kind}-{round}-{i}")).unwrap();
        let alert = webhook(&url, Message::json(&id("alert").as_str()).unwrap());
        outbox.append(Entry::new(alert).with_id(id("alert"))).unwrap();
        acknowledge(&format!("webhook {}", id("alert")));

        let name = format!("clip-{round}-{i}");
        fs::write(spool.join(&name), content(&name)).unwrap();
        let object = Object::new(&name, &storage, &name);
        let clip = outbox.append(Entry::new(object).with_id(id("object"))).unwrap();
        acknowledge(&format!("object {name}"));

        let template = Template::parse(r#"{"link": "{url}"}"#, Channel::Json).unwrap();
        let mut link = webhook(&url, template.fill(&Values::default()));
        link.link = Some(LinkTo::new(&storage, &name));
        outbox.append(Entry::new(link).after(clip).with_id(id("link"))).unwrap();
        acknowledge(&format!("webhook {}", id("link")));
    }
    loop {
        std::thread::park();
    }
}

struct Scene {
    folder: tempfile::TempDir,
    hook: Hook,
}

impl Scene {
    fn new(hook: Hook) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), hook }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn spawn(&self, mut command: Command, mode: &str, round: u64) -> Child {
        command
            .env("OUTBOX_SPOOL", self.path("spool"))
            .env("OUTBOX_STORAGE", self.path("storage"))
            .env("OUTBOX_URL", self.hook.url("alerts"))
            .env("OUTBOX_MODE", mode)
            .env("OUTBOX_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Whole lines that the child printed.
    fn lines(child: &mut Child) -> Vec<String> {
        let mut lines = Vec::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        lines
    }

    /// Sends what is left, as the next start of the process would.
    fn drain(&self) -> Outbox {
        let outbox = Outbox::open(self.path("spool").as_ref(), Limits::default()).unwrap();
        let courier = Courier::new(&outbox).unwrap();
        let mut now = SystemTime::now();
        for _ in 0..10_000 {
            match courier.round(now, &|| false).unwrap() {
                Some(next) => now = next,
                None => break,
            }
        }
        drop(courier);
        outbox
    }
}

const CHILD: [&str; 4] = ["child_process", "--exact", "--ignored", "--nocapture"];

fn child() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(CHILD);
    command
}

#[test]
fn killed_process_loses_nothing_acknowledged() {
    // Now and then the server fails, or takes the message and says nothing.
    let moody = |_: &hook::Post, nth: usize| match nth % 7 {
        3 => Some(("503 Busy", "")),
        5 => None,
        _ => Some(("204 No Content", "")),
    };
    let scene = Scene::new(Hook::new(moody));
    let mut numbers = Numbers(20_261_123);
    let (mut webhooks, mut objects) = (BTreeSet::new(), BTreeSet::new());
    let mut said_delivered = BTreeSet::new();
    for round in 0..kills() {
        let mut child = scene.spawn(child(), "run", round);
        std::thread::sleep(Duration::from_millis(20 + numbers.below(200)));
        child.kill().unwrap();
        for line in Scene::lines(&mut child) {
            if let Some(id) = line.strip_prefix("ack webhook ") {
                webhooks.insert(id.to_owned());
            } else if let Some(name) = line.strip_prefix("ack object ") {
                objects.insert(name.to_owned());
            } else if let Some(id) = line.strip_prefix("delivered ") {
                said_delivered.insert(id.to_owned());
            }
            assert!(!line.starts_with("lost "), "{line}");
        }
        assert!(!child.wait().unwrap().success(), "it ended before it was killed");
    }
    assert!(webhooks.len() > 20 && objects.len() > 10, "{} {}", webhooks.len(), objects.len());
    let outbox = scene.drain();
    let stats = outbox.stats();
    assert_eq!((stats.waiting, stats.given_up, stats.unreadable), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.dropped, 0);

    // What a receiver sees that acts once per key.
    let mut bodies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let posts = scene.hook.posts();
    for post in &posts {
        let id = post.header("idempotency-key").to_owned();
        bodies.entry(id).or_default().insert(post.body.clone());
    }
    for id in &webhooks {
        let bodies = bodies.get(id).unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
        assert_eq!(bodies.len(), 1, "one key, two messages: {bodies:?}");
    }
    for name in &objects {
        let stored = fs::read_to_string(scene.path("storage") + "/" + name);
        let stored = stored.unwrap_or_else(|e| panic!("{name} was acknowledged and is lost: {e}"));
        assert!(stored == content(name), "{name} is not what was stored");
        assert!(!Path::new(&(scene.path("spool") + "/" + name)).exists(), "{name} is still there");
    }
    for id in said_delivered {
        let object = id.replace("object-", "clip-");
        let stored = Path::new(&(scene.path("storage") + "/" + &object)).exists();
        assert!(bodies.contains_key(&id) || stored, "{id} was told to be delivered, and is not");
    }
    eprintln!(
        "{} kills: {} messages and {} objects acknowledged, {} requests",
        kills(),
        webhooks.len(),
        objects.len(),
        posts.len()
    );
}

#[test]
fn full_disk_refuses_new_entries_and_keeps_the_old_ones() {
    let scene = Scene::new(Hook::willing());
    let spool = scene.path("spool");
    let outbox = Outbox::open(spool.as_ref(), Limits::default()).unwrap();
    let url = scene.hook.url("alerts");
    let kept = outbox.append(Entry::new(webhook(&url, Message::json(&"kept").unwrap()))).unwrap();
    let files = || {
        let names = fs::read_dir(Path::new(&spool).join("outbox")).unwrap();
        let names: BTreeSet<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names
    };
    let before = files();
    // No file may have a single byte: that is what a full disk, or an exhausted quota, is like.
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    command.args(["-c", script]).arg(std::env::current_exe().unwrap()).args(CHILD);
    let mut child = scene.spawn(command, "full", 0);
    let lines = Scene::lines(&mut child);
    assert!(child.wait().unwrap().success(), "{lines:?}");
    let refused: Vec<&String> = lines.iter().filter(|l| l.starts_with("refused ")).collect();
    assert_eq!(refused.len(), 3, "{lines:?}");
    for line in refused {
        assert!(line.contains("cannot write") && line.contains("full-"), "{line}");
    }
    assert_eq!(files(), before, "nothing is left behind");
    drop(outbox);
    let outbox = scene.drain();
    assert_eq!(outbox.stats().delivered, 1);
    let posts = scene.hook.posts();
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].header("idempotency-key"), kept.as_str());
}
