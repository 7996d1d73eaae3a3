//! The outbox: what is written down arrives, in simulated time; what cannot is told.

#[path = "support/hook.rs"]
mod hook;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use face_core::outbox::{
    Address, Channel, Courier, Delivery, Entry, EntryId, Exec, Item, ItemState, Limits, LinkTo,
    Message, Notice, Object, Outbox, OutboxError, SecretSource, Template, Values, Webhook,
};
use hook::Hook;
use parking_lot::Mutex;
use tempfile::TempDir;

const GO_ON: &dyn Fn() -> bool = &|| false;

fn message(text: &str) -> Message {
    Message::json(&text).unwrap()
}

fn webhook(url: &str, text: &str) -> Webhook {
    Webhook::new(Address::Plain(url.to_owned()), message(text))
}

/// A spool with its outbox.
struct Scene {
    folder: TempDir,
    outbox: Outbox,
    start: SystemTime,
}

impl Scene {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(folder.path(), limits).unwrap();
        Self { folder, outbox, start: SystemTime::now() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn journal(&self, id: &EntryId) -> PathBuf {
        self.path("outbox").join(format!("{id}.json"))
    }

    /// An object in the spool that goes to a folder.
    fn object(&self, name: &str, storage: &Path) -> Object {
        fs::write(self.path(name), name.repeat(10)).unwrap();
        Object::new(name, storage.to_str().unwrap(), &format!("door/{name}"))
    }

    fn append(&self, delivery: impl Into<Delivery>) -> EntryId {
        self.outbox.append_at(Entry::new(delivery), self.start).unwrap()
    }

    fn item(&self, id: &EntryId) -> Item {
        let items = self.outbox.list().unwrap();
        items.into_iter().find(|item| item.id == id.as_str()).expect("the entry is there")
    }

    fn courier(&self) -> Courier {
        Courier::new(&self.outbox).unwrap()
    }
}

/// Rounds at the times that the courier names, until `end` after the start.
fn simulate(courier: &Courier, from: SystemTime, end: Duration) -> usize {
    let (mut now, mut rounds) = (from, 0);
    while now < from + end {
        rounds += 1;
        match courier.round(now, GO_ON).unwrap() {
            Some(next) => now = next.max(now + Duration::from_millis(1)),
            None => break,
        }
    }
    rounds
}

#[test]
fn everything_arrives_after_ten_minutes_without_a_storage() {
    let scene = Scene::new();
    let away = scene.path("away");
    // Where the storage should be is a file: nothing can be stored.
    fs::write(&away, b"").unwrap();
    let hook_up = Arc::new(AtomicBool::new(false));
    let up = hook_up.clone();
    let answer = move |_: &hook::Post, _| {
        if up.load(Ordering::SeqCst) { Some(("200 OK", "")) } else { None }
    };
    let hook = Hook::new(answer);
    let url = hook.url("alerts");
    let mut objects = Vec::new();
    for i in 0..10 {
        let object = scene.object(&format!("clip-{i}.mp4"), &away);
        let id = scene.append(object.clone());
        let mut late = webhook(&url, "");
        let template = Template::parse(r#"{"clip": "{url}"}"#, Channel::Json).unwrap();
        late.message = template.fill(&Values::default());
        late.link = Some(LinkTo::new(&object.storage, &object.key));
        scene.outbox.append_at(Entry::new(late).after(id.clone()), scene.start).unwrap();
        scene.append(webhook(&url, &format!("alert {i}")));
        objects.push(object);
    }
    let ten_minutes = Duration::from_secs(600);
    let rounds = simulate(&scene.courier(), scene.start, ten_minutes);
    let stats = scene.outbox.stats();
    assert_eq!((stats.delivered, stats.waiting, stats.dropped), (0, 30, 0), "{stats:?}");
    assert!(stats.retries < 60, "the places are left alone meanwhile: {stats:?}");
    assert!(rounds > 10, "it is tried again and again");
    let items = scene.outbox.list().unwrap();
    assert_eq!(items.iter().filter(|i| i.state == ItemState::Blocked).count(), 10);
    assert!(items.iter().any(|i| i.last_error.as_deref().is_some_and(|e| e.contains("away"))));

    fs::remove_file(&away).unwrap();
    hook_up.store(true, Ordering::SeqCst);
    let before = hook.posts().len();
    // Another process takes over: the waits are in the journal.
    let later = scene.start + ten_minutes;
    simulate(&scene.courier(), later, Duration::from_secs(400));
    let stats = scene.outbox.stats();
    assert_eq!((stats.delivered, stats.waiting), (30, 0), "{stats:?}");
    for object in objects {
        let stored = fs::read(away.join(&object.key)).unwrap();
        assert_eq!(stored, object.file.to_str().unwrap().repeat(10).as_bytes());
        assert!(!scene.path(object.file.to_str().unwrap()).exists(), "the spool is empty again");
    }
    let bodies: Vec<String> = hook.posts().split_off(before).into_iter().map(|p| p.body).collect();
    assert_eq!(bodies.len(), 20);
    assert_eq!(bodies.iter().filter(|b| b.contains("\"file:///")).count(), 10, "{bodies:?}");
    let rest: Vec<_> = fs::read_dir(scene.path("outbox")).unwrap().collect();
    assert_eq!(rest.len(), 2, "nothing but the locks is left: {rest:?}");
}

#[test]
fn link_follows_when_the_object_is_stored_and_not_before() {
    let scene = Scene::new();
    let hook = Hook::willing();
    let object = scene.object("clip.mp4", &scene.path("storage"));
    let id = scene.append(object.clone());
    let mut late = webhook(&hook.url("x"), "");
    let template = Template::parse("{url}", Channel::Text).unwrap();
    late.message = template.fill(&Values::default());
    let missing = scene.outbox.append(Entry::new(late.clone())).unwrap_err();
    assert!(missing.to_string().contains("cannot be sent"), "{missing}");
    late.link = Some(LinkTo::new(&object.storage, &object.key));
    scene.outbox.append(Entry::new(late).after(id.clone())).unwrap();
    // The file is gone: neither can be sent, and both are told.
    fs::remove_file(scene.path("clip.mp4")).unwrap();
    let courier = scene.courier();
    courier.round(scene.start, GO_ON).unwrap();
    assert_eq!((scene.outbox.stats().given_up, scene.outbox.stats().failed), (2, 2));
    assert!(scene.item(&id).last_error.unwrap().contains("clip.mp4' is gone"));
    assert_eq!(hook.posts().len(), 0);
    // Somebody puts it back; the follower goes with it.
    scene.object("clip.mp4", &scene.path("storage"));
    let follower = scene.outbox.list().unwrap().into_iter().find(|i| i.kind == "webhook").unwrap();
    scene.outbox.retry(&follower.id).unwrap();
    courier.round(SystemTime::now(), GO_ON).unwrap();
    assert_eq!(scene.outbox.stats().delivered, 2, "{:?}", scene.outbox.list());
    assert!(hook.posts()[0].body.ends_with("storage/door/clip.mp4"), "{:?}", hook.posts());
}

#[test]
fn answers_of_a_server_mean_what_they_mean() {
    for (status, headers, state, least) in [
        ("500 Error", "", ItemState::Waiting, 0.5),
        ("503 Busy", "Retry-After: 90\r\n", ItemState::Waiting, 90.0),
        ("503 Busy", "Retry-After: 99999999\r\n", ItemState::Waiting, 3600.0),
        ("429 Slow", "Retry-After: -7\r\n", ItemState::Waiting, 0.5),
        ("425 Early", "", ItemState::Waiting, 0.5),
        ("408 Timeout", "", ItemState::Waiting, 0.5),
        ("400 No", "", ItemState::Failed, 0.0),
        ("404 No", "", ItemState::Failed, 0.0),
        ("410 Gone", "", ItemState::Failed, 0.0),
        ("301 Moved", "Location: http://127.0.0.1:1/\r\n", ItemState::Failed, 0.0),
    ] {
        let scene = Scene::new();
        let hook = Hook::new(move |_, _| Some((status, headers)));
        let id = scene.append(webhook(&hook.url("path?token=hunter2"), "x"));
        let next = scene.courier().round(scene.start, GO_ON).unwrap();
        let item = scene.item(&id);
        assert_eq!(item.state, state, "{status}: {item:?}");
        let error = item.last_error.clone().unwrap();
        assert!(error.contains(status.split(' ').next().unwrap()), "{error}");
        assert!(!format!("{item:?}").contains("hunter2"), "{item:?}");
        assert_eq!(hook.posts().len(), 1, "{status}");
        if state == ItemState::Waiting {
            let wait = next.unwrap().duration_since(scene.start).unwrap().as_secs_f64();
            assert!(wait >= least && wait < least + 10.0, "{status} {headers}: {wait}");
            assert_eq!(item.attempts, 1);
        } else {
            assert_eq!(next, None, "{status}");
        }
    }
}

#[test]
fn entry_that_always_fails_does_not_hold_up_the_others() {
    let scene = Scene::new();
    let poison = |post: &hook::Post, _| {
        Some(if post.body.contains("poison") { ("500 Error", "") } else { ("200 OK", "") })
    };
    let hook = Hook::new(poison);
    let bad = scene.append(webhook(&hook.url("x"), "poison"));
    for i in 0..20 {
        scene.append(webhook(&hook.url("x"), &format!("fine {i}")));
    }
    simulate(&scene.courier(), scene.start, Duration::from_secs(30));
    assert_eq!(scene.outbox.stats().delivered, 20);
    assert!(scene.item(&bad).attempts >= 4, "{:?}", scene.item(&bad));
    assert!(scene.outbox.stats().retries < 12);
}

#[test]
fn webhook_is_signed_and_its_secrets_stay_out_of_the_journal() {
    let scene = Scene::new();
    let hook = Hook::willing();
    let secret = |name: &str, text: &str| {
        fs::write(scene.path(name), text).unwrap();
        SecretSource::File(scene.path(name))
    };
    let mut plain = webhook(&hook.url("a"), "hello");
    plain.sign = Some(secret("key", "whsec_c2lnbmluZy1rZXk=\n"));
    plain.bearer = Some(secret("token", "bearer-token"));
    let id = scene.append(plain);
    let address = secret("address", &hook.url("T000/very-secret"));
    let hidden = Webhook::new(Address::Secret(address), message("x"));
    let hidden = scene.append(hidden);
    let journal = [&id, &hidden].map(|id| fs::read_to_string(scene.journal(id)).unwrap()).concat();
    for secret in ["whsec_", "bearer-token", "very-secret"] {
        assert!(!journal.contains(secret), "{journal}");
    }
    scene.courier().round(scene.start, GO_ON).unwrap();
    let posts = hook.posts();
    let post = posts.iter().find(|post| post.path == "/a").unwrap();
    assert!(posts.iter().any(|post| post.path == "/T000/very-secret"));
    assert_eq!(post.body, "\"hello\"");
    assert_eq!(post.header("content-type"), "application/json");
    assert_eq!(post.header("idempotency-key"), id.as_str());
    assert_eq!(post.header("webhook-id"), id.as_str());
    assert_eq!(post.header("authorization"), "Bearer bearer-token");
    let signed = format!("{id}.{}.{}", post.header("webhook-timestamp"), post.body);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"signing-key");
    use base64::Engine;
    let tag = post.header("webhook-signature").strip_prefix("v1,").unwrap();
    let tag = base64::prelude::BASE64_STANDARD.decode(tag).unwrap();
    ring::hmac::verify(&key, signed.as_bytes(), &tag).expect("the signature is right");
}

#[test]
fn secret_that_is_missing_is_named_and_waited_for() {
    let scene = Scene::new();
    let hook = Hook::willing();
    let mut signed = webhook(&hook.url("a"), "hello");
    signed.sign = Some(SecretSource::Environment("GST_FACE_TEST_NOT_SET".into()));
    let id = scene.append(signed);
    scene.courier().round(scene.start, GO_ON).unwrap();
    let error = scene.item(&id).last_error.unwrap();
    assert!(error.contains("'GST_FACE_TEST_NOT_SET'"), "{error}");
    assert_eq!(hook.posts().len(), 0, "nothing goes out unsigned");
}

#[test]
fn what_can_never_be_sent_is_refused_at_once() {
    let scene = Scene::new();
    fs::write(scene.path("x"), b"1").unwrap();
    fs::create_dir(scene.path("folder")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", scene.path("link")).unwrap();
    let refuse = |delivery: Delivery, part: &str| {
        let error = scene.outbox.append(Entry::new(delivery)).unwrap_err();
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            text.push_str(&source.to_string());
        }
        assert!(text.contains(part), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    };
    for (file, storage, key, part) in [
        ("../x", "/tmp", "k", "not inside"),
        ("/etc/passwd", "/tmp", "k", "not inside"),
        ("", "/tmp", "k", "not inside"),
        ("gone", "/tmp", "k", "gone"),
        ("link", "/tmp", "k", "no plain file"),
        ("folder", "/tmp", "k", "no plain file"),
        ("x", "relative", "k", "not absolute"),
        ("x", "s3://me:hunter2@bucket", "k", "credentials"),
        ("x", "s3://bucket", "../k", "lead elsewhere"),
    ] {
        refuse(Object::new(file, storage, key).into(), part);
    }
    for (url, part) in [
        ("http://example.org/", "not encrypted"),
        ("https://me:hunter2@example.org/", "credentials"),
        ("ftp://example.org/", "'ftp'"),
        ("example.org", "address"),
    ] {
        refuse(webhook(url, "x").into(), part);
    }
    let mut slow = webhook("https://example.org/", "x");
    slow.timeout = Duration::from_secs(3600);
    refuse(slow.into(), "timeout");
    refuse(Exec::new("", vec![], message("x")).into(), "no name");
    refuse(Exec::new("a", vec!["b\0".into()], message("x")).into(), "NUL");
    for id in ["", "a/b", "../a", ".a", "a b", "ä"] {
        assert!(matches!(EntryId::new(id), Err(OutboxError::Id { .. })), "{id}");
    }
    assert_eq!(scene.outbox.list().unwrap(), []);
    assert_eq!(scene.outbox.stats().waiting, 0);
}

#[test]
fn program_gets_the_message_and_no_shell_sees_it() {
    let scene = Scene::new();
    let out = scene.path("out");
    let hostile = "$(touch pwned) `touch pwned`; touch pwned\n\"'";
    let template = Template::parse(r#"{"name": {name}}"#, Channel::Json).unwrap();
    let values = Values { name: Some(hostile.to_owned()), ..Values::default() };
    let script = "cat > \"$0\"; echo \"$GST_FACE_OUTBOX_ID $1\" >> \"$0\"; echo done >&2; exit $2";
    let argument = |text: &str| text.to_owned();
    let args = |code| {
        vec![
            argument("-c"),
            argument(script),
            out.display().to_string(),
            argument("$(id)"),
            argument(code),
        ]
    };
    let id = scene.append(Exec::new("sh", args("0"), template.fill(&values)));
    let courier = scene.courier();
    courier.round(scene.start, GO_ON).unwrap();
    let text = fs::read_to_string(&out).unwrap();
    let (json, rest) = text.rsplit_once('}').unwrap();
    let value: serde_json::Value = serde_json::from_str(&format!("{json}}}")).unwrap();
    assert_eq!(value["name"], hostile);
    assert_eq!(rest.trim(), format!("{id} $(id)"));

    let id = scene.append(Exec::new("sh", args("3"), message("x")));
    courier.round(scene.start, GO_ON).unwrap();
    let item = scene.item(&id);
    assert_eq!((item.state, item.attempts), (ItemState::Waiting, 1), "{item:?}");
    let error = item.last_error.unwrap();
    assert!(error.contains("exit status: 3") && error.contains("done"), "{error}");
    let id = scene.append(Exec::new("gst-face-no-such-program", vec![], message("x")));
    courier.round(scene.start + Duration::from_secs(9), GO_ON).unwrap();
    assert!(scene.item(&id).last_error.unwrap().contains("'gst-face-no-such-program'"));
}

#[test]
fn program_that_hangs_is_killed() {
    let scene = Scene::new();
    let mut hangs = Exec::new("sleep", vec!["600".to_owned()], message("x"));
    hangs.timeout = Duration::from_secs(1);
    let id = scene.append(hangs.clone());
    let started = Instant::now();
    scene.courier().round(scene.start, GO_ON).unwrap();
    assert!(started.elapsed() < Duration::from_secs(30));
    let error = scene.item(&id).last_error.unwrap();
    assert!(error.contains("'sleep'") && error.contains("killed"), "{error}");
    // Being stopped is no failure.
    hangs.timeout = Duration::from_secs(600);
    let scene = Scene::new();
    let id = scene.append(hangs);
    let asked = AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, Ordering::SeqCst) > 3;
    scene.courier().round(scene.start, &stop).unwrap();
    let item = scene.item(&id);
    assert_eq!((item.attempts, item.state), (0, ItemState::Waiting), "{item:?}");
}

#[test]
fn full_spool_drops_old_notifications_and_never_an_object() {
    let limits = Limits { max_bytes: 20_000, max_notifications: 5, ..Limits::default() };
    let scene = Scene::with(limits);
    let told = Arc::new(Mutex::new(Vec::new()));
    let notices = told.clone();
    let down = Hook::new(|_, _| Some(("503 Busy", "Retry-After: 3600\r\n")));
    let sender = scene.outbox.start(Arc::new(move |notice: &Notice| {
        if let Notice::Dropped { item, reason } = notice {
            notices.lock().push((item.id.clone(), reason.clone()));
        }
    }));
    let mut ids = Vec::new();
    for i in 0..8 {
        let mut entry = Entry::new(webhook(&down.url("x"), &format!("{i}")));
        entry.id = Some(EntryId::new(&format!("alert-{i}")).unwrap());
        let now = scene.start + Duration::from_millis(i);
        // The one that is on its way at this moment is spared.
        ids.push(scene.outbox.append_at(entry, now).unwrap());
    }
    drop(sender);
    let dropped = std::mem::take(&mut *told.lock());
    let stats = scene.outbox.stats();
    // Three, or two if an old one was on its way and spared when the last came.
    assert!((2..=3).contains(&dropped.len()), "{dropped:?}");
    assert_eq!((stats.dropped, stats.waiting), (dropped.len() as u64, 8 - dropped.len() as u64));
    assert!(dropped.iter().all(|(id, why)| id < &"alert-4".to_owned() && why.contains("room")));

    let storage = scene.path("storage");
    let big = |name: &str| {
        let mut object = scene.object(name, &storage);
        fs::write(scene.path(name), vec![7; 9_000]).unwrap();
        object.storage = storage.display().to_string();
        object
    };
    scene.append(big("a"));
    scene.append(big("b"));
    assert!(scene.outbox.stats().bytes <= 20_000);
    let error = scene.outbox.append(Entry::new(big("c"))).unwrap_err();
    assert!(matches!(error, OutboxError::Full { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("storage/door/c") && text.contains("20000"), "{text}");
    assert_eq!(scene.outbox.stats().refused, 1);
    assert!(scene.path("c").is_file(), "its file stays with the caller");
    let objects = scene.outbox.list().unwrap();
    assert_eq!(objects.iter().filter(|item| item.kind == "object").count(), 2);
    scene.courier().round(scene.start, GO_ON).unwrap();
    assert!(storage.join("door/a").is_file() && storage.join("door/b").is_file());
    scene.outbox.append(Entry::new(big("c"))).expect("there is room again");
}

#[test]
fn notifications_grow_too_old_and_objects_do_not() {
    let limits = Limits { max_age: Duration::from_secs(3600), ..Limits::default() };
    let scene = Scene::with(limits);
    fs::write(scene.path("away"), b"").unwrap();
    let object = scene.append(scene.object("clip", &scene.path("away")));
    scene.append(Exec::new("false", vec![], message("x")));
    simulate(&scene.courier(), scene.start, Duration::from_secs(3 * 3600));
    let items = scene.outbox.list().unwrap();
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!(items[0].id, object.as_str());
    assert_eq!(scene.outbox.stats().dropped, 1);
    assert!(items[0].attempts > 20, "at least every five minutes: {items:?}");
}

#[test]
fn broken_files_are_told_kept_and_passed_over() {
    let scene = Scene::new();
    let hook = Hook::willing();
    let whole = scene.append(webhook(&hook.url("x"), "whole"));
    let text = fs::read_to_string(scene.journal(&whole)).unwrap();
    let spool = scene.path("outbox");
    let write = |name: &str, text: &str| fs::write(spool.join(name), text).unwrap();
    write("truncated.json", &text[..text.len() / 2]);
    write("empty.json", "");
    write("noise.json", "\u{1}\u{2}[");
    write("other.json", &text);
    write("newer.json", &text.replace("face-outbox/1", "face-outbox/2"));
    write("pigeon.json", &text.replace("\"webhook\"", "\"pigeon\""));
    write("hostile.json", &text.replace("http://127.0.0.1", "http://example.org"));
    write("noschema.json", "{}");
    write(".part-old", "half");
    write("readme.txt", "not ours");
    let folder = scene.folder.path().to_owned();
    let Scene { outbox, folder: _keep, .. } = scene;
    drop(outbox);
    let outbox = Outbox::open(&folder, Limits::default()).unwrap();
    let items = outbox.list().unwrap();
    let unreadable: Vec<(&str, &str)> = items
        .iter()
        .filter(|item| item.state == ItemState::Unreadable)
        .map(|item| (item.id.as_str(), item.kind.as_str()))
        .collect();
    let expected = [
        ("empty", "?"),
        ("hostile", "?"),
        ("newer", "webhook"),
        ("noise", "?"),
        ("noschema", "?"),
        ("other", "?"),
        ("pigeon", "pigeon"),
        ("truncated", "?"),
    ];
    assert_eq!(unreadable, expected);
    assert!(items.iter().all(|item| item.last_error.is_some() == (item.id != whole.as_str())));
    let told = Arc::new(Mutex::new(Vec::new()));
    let notices = told.clone();
    let sender = outbox.start(Arc::new(move |notice: &Notice| {
        let id = match notice {
            Notice::Unreadable { item } | Notice::Delivered { item, .. } => item.id.clone(),
            other => format!("{other:?}"),
        };
        notices.lock().push(id);
    }));
    let until = Instant::now() + Duration::from_secs(30);
    while told.lock().len() < 9 && Instant::now() < until {
        std::thread::yield_now();
    }
    drop(sender);
    let mut told = told.lock().clone();
    told.sort();
    let mut all: Vec<String> = expected.iter().map(|(id, _)| (*id).to_owned()).collect();
    all.push(whole.to_string());
    all.sort();
    assert_eq!(told, all);
    assert!(spool.join("truncated.json").is_file() && spool.join("pigeon.json").is_file());
    assert!(!spool.join(".part-old").exists());
    outbox.drop_entry("truncated").unwrap();
    assert!(matches!(outbox.drop_entry("truncated"), Err(OutboxError::NoEntry { .. })));
    assert_eq!(outbox.stats().unreadable, 7);
}

#[test]
fn entries_of_the_first_version_are_read() {
    let scene = Scene::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/outbox_v1");
    for name in ["clip", "alert", "command", "mqtt"] {
        let name = format!("{name}.json");
        fs::copy(data.join(&name), scene.path("outbox").join(&name)).unwrap();
    }
    fs::write(scene.path("clip.mp4"), b"video").unwrap();
    let items = scene.outbox.list().unwrap();
    let shown: Vec<(&str, &str, &str, ItemState, u32)> = items
        .iter()
        .map(|i| (i.id.as_str(), i.kind.as_str(), i.target.as_str(), i.state, i.attempts))
        .collect();
    let expected = [
        ("clip", "object", "s3://clips/north/door/clip.mp4", ItemState::Waiting, 3),
        ("alert", "webhook", "https://chat.example/hooks", ItemState::Blocked, 0),
        ("command", "exec", "/usr/bin/true", ItemState::Failed, 7),
        ("mqtt", "mqtt", "mqtts://broker.example:8883/faces/door/events", ItemState::Waiting, 1),
    ];
    assert_eq!(shown, expected);
    assert_eq!(items[0].bytes, 5);
    assert!(scene.outbox.stats().bytes > 5);
}

#[test]
fn entry_of_an_id_is_written_once() {
    let scene = Scene::new();
    let hook = Hook::willing();
    let id = EntryId::new("event-1").unwrap();
    for text in ["first", "second"] {
        let entry = Entry::new(webhook(&hook.url("x"), text)).with_id(id.clone());
        assert_eq!(scene.outbox.append(entry).unwrap(), id);
    }
    scene.courier().round(SystemTime::now(), GO_ON).unwrap();
    let bodies: Vec<String> = hook.posts().into_iter().map(|post| post.body).collect();
    assert_eq!(bodies, ["\"first\""]);
}

#[test]
fn one_sends_at_a_time() {
    let scene = Scene::new();
    let hook = Hook::willing();
    let courier = scene.courier();
    assert!(matches!(Courier::new(&scene.outbox), Err(OutboxError::Busy { .. })));
    let other = Outbox::existing(scene.folder.path()).unwrap();
    assert!(matches!(Courier::new(&other), Err(OutboxError::Busy { .. })));
    let delivered = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (d, w) = (delivered.clone(), waiting.clone());
    let sender = scene.outbox.start(Arc::new(move |notice: &Notice| match notice {
        Notice::Waiting { reason } => {
            assert!(reason.contains("another process"), "{reason}");
            w.fetch_add(1, Ordering::SeqCst);
        }
        Notice::Delivered { .. } => {
            d.fetch_add(1, Ordering::SeqCst);
        }
        _ => {}
    }));
    let until = Instant::now() + Duration::from_secs(30);
    while waiting.load(Ordering::SeqCst) == 0 && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(delivered.load(Ordering::SeqCst), 0);
    scene.append(webhook(&hook.url("x"), "x"));
    drop(courier);
    while delivered.load(Ordering::SeqCst) == 0 && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!((waiting.load(Ordering::SeqCst), delivered.load(Ordering::SeqCst)), (1, 1));
    drop(sender);
    drop(Courier::new(&scene.outbox).expect("the threads have ended"));
}

#[test]
fn outboxes_of_a_spool_are_one_in_a_process() {
    let scene = Scene::new();
    let hook = Hook::willing();
    let same = Outbox::open(&scene.path("../").join(scene.folder.path()), Limits::default());
    let same = same.unwrap();
    let limits = Limits { max_notifications: 7, ..Limits::default() };
    let error = Outbox::open(scene.folder.path(), limits).unwrap_err();
    assert!(matches!(error, OutboxError::Limits { .. }), "{error}");
    let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let [first, second] = counts.clone().map(|count| {
        let listen = move |notice: &Notice| {
            if matches!(notice, Notice::Delivered { .. }) {
                count.fetch_add(1, Ordering::SeqCst);
            }
            // Somebody else's code may be bad.
            panic!("a callback panics");
        };
        same.start(Arc::new(listen)).unwrap()
    });
    scene.outbox.append(Entry::new(webhook(&hook.url("x"), "1"))).unwrap();
    let wait = |count: &AtomicUsize, most: usize| {
        let until = Instant::now() + Duration::from_secs(30);
        while count.load(Ordering::SeqCst) < most && Instant::now() < until {
            std::thread::yield_now();
        }
        count.load(Ordering::SeqCst)
    };
    assert_eq!(counts.each_ref().map(|count| wait(count, 1)), [1, 1]);
    drop(first);
    scene.outbox.append(Entry::new(webhook(&hook.url("x"), "2"))).unwrap();
    assert_eq!(wait(&counts[1], 2), 2, "the other one still sends");
    assert_eq!(counts[0].load(Ordering::SeqCst), 1);
    drop(second);
    scene.outbox.append(Entry::new(webhook(&hook.url("x"), "3"))).unwrap();
    assert_eq!(scene.outbox.stats().waiting, 1, "nobody sends any more");
}

#[test]
fn clock_that_was_set_back_stops_nothing() {
    let scene = Scene::new();
    let hook = Hook::willing();
    let tomorrow = scene.start + Duration::from_secs(86_400);
    let entry = Entry::new(webhook(&hook.url("x"), "x"));
    scene.outbox.append_at(entry, tomorrow).unwrap();
    scene.courier().round(scene.start, GO_ON).unwrap();
    assert_eq!(hook.posts().len(), 1);
}
