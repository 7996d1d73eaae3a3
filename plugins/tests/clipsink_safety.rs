//! clipsink when something goes wrong: settings, disks, networks, crashes.

mod clip_support;
#[path = "../../tests/support/hook.rs"]
mod hook;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clip_support::*;
use face_core::clip::{Part, Sidecar};
use face_core::outbox::Outbox;
use gst::prelude::*;
use hook::Hook;

fn error_at_start(scene: &Scene) -> glib::Error {
    let _ = scene.pipeline.set_state(gst::State::Paused);
    let message = scene.wait_for(gst::MessageType::Error);
    scene.pipeline.set_state(gst::State::Null).unwrap();
    match message.view() {
        gst::MessageView::Error(error) => error.error(),
        _ => unreachable!("only errors were asked for"),
    }
}

#[test]
fn settings_that_cannot_work_stop_at_start_and_are_named() {
    for (property, value, word) in [
        ("storage", "", "storage is not set"),
        ("storage", "ftp://somewhere", "storage"),
        ("key-template", "{utc}-x", "{hash}"),
        ("encoder", "nosuchenc", "'nosuchenc'"),
        ("webhook", "http://example.org/", "webhook"),
        ("webhook-key", "hunter2", "webhook-key"),
        ("message", "{nobody}", "message"),
    ] {
        let scene = Scene::new().set("webhook", "https://example.org/").set(property, value);
        let error = error_at_start(&scene);
        assert!(error.matches(gst::ResourceError::Settings), "{property}: {error}");
        assert!(error.message().contains(word), "{property}: {error}");
        assert!(!error.message().contains("hunter2"), "{error}");
        assert_eq!(scene.element.current_state(), gst::State::Null);
    }
}

#[test]
fn folder_that_cannot_be_written_stops_at_start_and_is_named() {
    for property in ["spool", "storage"] {
        let scene = Scene::new().set(property, "/proc/nowhere");
        let error = error_at_start(&scene);
        assert!(error.matches(gst::ResourceError::OpenWrite), "{property}: {error}");
        assert!(error.message().contains("/proc/nowhere"), "{property}: {error}");
    }
}

/// A storage where nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    format!("s3://clips?endpoint=http://127.0.0.1:{port}&allow-http=true")
}

/// Plays ten seconds with an event at 4 s; the element is told of the end.
fn play(scene: &Scene) {
    let stream = h264(250, "tune=zerolatency", "byte-stream");
    let source = scene.source("sink", &stream.caps);
    scene.play();
    for buffer in &stream.buffers {
        let now = pts(buffer) == Some(4 * S);
        let events = if now { vec![event("a", 4 * S)] } else { Vec::new() };
        source.push_buffer(with_meta(buffer, &events)).unwrap();
    }
    source.end_of_stream().unwrap();
}

#[test]
fn end_waits_for_the_spool_and_never_for_the_network() {
    let scene = Scene::new().set("storage", nobody());
    play(&scene);
    let messages = scene.finish();
    assert!(messages.iter().any(|s| s.name() == "clip-spooled"));
    let outbox = Outbox::open(&scene.spool(), Default::default()).unwrap();
    assert_eq!(outbox.stats().waiting, 2, "video and sidecar wait");
    assert_eq!(std::fs::read_dir(scene.spool().join("ready")).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(scene.spool().join("clips")).unwrap().count(), 0);
}

#[test]
fn pipeline_that_is_stopped_in_the_middle_keeps_what_there_is() {
    let stream = h264(125, "tune=zerolatency", "byte-stream");
    let scene = Scene::new();
    let source = scene.source("sink", &stream.caps);
    scene.play();
    for buffer in &stream.buffers[..90] {
        let now = pts(buffer) == Some(4 * S);
        let events = if now { vec![event("a", 4 * S)] } else { Vec::new() };
        source.push_buffer(with_meta(buffer, &events)).unwrap();
    }
    until("the pictures are there", || scene.stat("pictures") >= 88);
    scene.pipeline.set_state(gst::State::Null).unwrap();
    scene.pipeline.set_state(gst::State::Null).unwrap();
    let (clip, sidecar) = scene.clips(1).remove(0);
    assert!(sidecar.truncated);
    assert_eq!(sidecar.missing[0].what, "post-roll");
    let file = scene.file(&clip, Part::Original);
    assert_eq!(decoded(&file), demuxed(&file, "h264").buffers.len());
    // It can be started again.
    scene.pipeline.remove(&source).unwrap();
    play(&scene);
    scene.finish();
    scene.clips(2);
}

#[test]
fn clip_that_has_no_room_is_named_and_counted() {
    let uri = nobody();
    let scene = Scene::new().set("storage", uri.as_str()).set("spool-max-bytes", 1_u64 << 20);
    // What waits already takes all the room.
    let spool = scene.spool();
    std::fs::create_dir_all(&spool).unwrap();
    std::fs::write(spool.join("large"), vec![0; (1 << 20) - 2000]).unwrap();
    let limits = face_core::outbox::Limits { max_bytes: 1 << 20, ..Default::default() };
    let outbox = Outbox::open(&spool, limits).unwrap();
    let object = face_core::outbox::Object::new("large", &uri, "large");
    outbox.append(face_core::outbox::Entry::new(object)).unwrap();
    play(&scene);
    let messages = scene.finish();
    let failed = messages.iter().find(|s| s.name() == "clip-failed").expect("it is told");
    assert!(failed.get::<String>("reason").unwrap().contains("no room"), "{failed:?}");
    let events = failed.get::<gst::Array>("event-ids").unwrap();
    assert_eq!(events[0].get::<String>().unwrap(), "a");
    assert!(!failed.get::<bool>("kept").unwrap());
    assert_eq!(scene.stat("clips-failed"), 1);
    assert_eq!(std::fs::read_dir(spool.join("ready")).unwrap().count(), 0, "nothing is left");
}

#[test]
fn alert_is_posted_at_once_and_the_link_when_the_clip_is_stored() {
    let hook = Hook::new(|_, _| Some(("200 OK", "")));
    let scene = Scene::new()
        .set("webhook", hook.url("/alerts"))
        .set("message-stored", r#"{"stored": {key}, "who": {name}, "link": {url}}"#);
    play(&scene);
    let stored = scene.message("clip-stored");
    until("both messages came", || hook.posts().len() >= 2);
    scene.pipeline.set_state(gst::State::Null).unwrap();
    let bodies: Vec<serde_json::Value> =
        hook.posts().iter().map(|post| serde_json::from_str(&post.body).unwrap()).collect();
    let alert = bodies.iter().find(|b| b["schema"] == "face-event/1").expect("the event");
    assert_eq!((alert["id"].as_str(), alert["name"].as_str()), (Some("a"), Some("Ada")));
    let follow_up = bodies.iter().find(|b| b.get("stored").is_some()).expect("the link");
    let key = stored.get::<String>("key").unwrap();
    assert_eq!(follow_up["stored"].as_str(), Some(key.as_str()));
    assert_eq!(follow_up["who"].as_str(), Some("Ada"));
    assert!(follow_up["link"].as_str().unwrap().ends_with(&key), "{follow_up}");
    assert!(stored.get::<String>("url").unwrap().ends_with(&key));
    assert!(stored.get::<u64>("size").unwrap() > 0);
    assert_eq!(stored.get::<String>("sha256").unwrap().len(), 64);
}

#[test]
fn sidecar_is_what_the_schema_says() {
    let scene = Scene::new();
    play(&scene);
    scene.finish();
    let (clip, _) = scene.clips(1).remove(0);
    let python = std::env::var("GST_FACE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let schema =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/face-clip-1.schema.json");
    let program = "import json, sys\n\
        try: import jsonschema\n\
        except ImportError: sys.exit(77)\n\
        schema, value = (json.load(open(name)) for name in sys.argv[1:])\n\
        jsonschema.Draft202012Validator(schema).validate(value)";
    let sidecar = scene.file(&clip, Part::Sidecar);
    let status = Command::new(&python).args(["-c", program]).arg(&schema).arg(&sidecar).status();
    match status.ok().and_then(|status| status.code()) {
        Some(0) => {}
        Some(77) | None => eprintln!("skipped: no jsonschema for '{python}'"),
        Some(code) => panic!("{}: status {code}", sidecar.display()),
    }
}

/// What is killed: the test below runs it, as a process of its own. A camera that is always there,
/// with an event every second and a half.
#[test]
#[ignore = "is run by the other tests, with an environment of its own"]
fn child_process() {
    init();
    let get = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (folder, round) = (get("CLIPS_FOLDER"), get("CLIPS_ROUND"));
    let stream = h264(400, "bframes=2 b-adapt=false", "byte-stream");
    let mut scene = Scene::new();
    for (property, name) in [("spool", "spool"), ("storage", "clips")] {
        let path = Path::new(&folder).join(name);
        scene = scene.set(property, path.to_str().unwrap());
    }
    let source = scene.source("sink", &stream.caps);
    scene.play();
    println!("\nready");
    for (i, buffer) in stream.buffers.iter().enumerate() {
        let time = pts(buffer).unwrap();
        let events = match i % 90 {
            40 => vec![event(&format!("{round}-{i}"), time)],
            _ => Vec::new(),
        };
        source.push_buffer(with_meta(buffer, &events)).unwrap();
        until("there is room", || source.current_level_buffers() < 3);
        while let Some(message) = scene.bus.pop() {
            tell(&message);
        }
    }
    source.end_of_stream().unwrap();
    loop {
        let message = scene.bus.timed_pop(gst::ClockTime::from_seconds(60)).unwrap();
        tell(&message);
        if message.type_() == gst::MessageType::Eos {
            break;
        }
    }
    loop {
        std::thread::park();
    }
}

fn tell(message: &gst::Message) {
    let Some(structure) = message.structure() else { return };
    if structure.name().starts_with("clip-") {
        let text = |field: &str| structure.get::<String>(field).unwrap_or_default();
        // In one piece, so that a kill leaves no half of it.
        let line = format!("\n{} {} {}\n", structure.name(), text("clip-id"), text("key"));
        use std::io::Write;
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()).unwrap();
    }
}

fn kills() -> u64 {
    match std::env::var("GST_FACE_CRASH_KILLS") {
        Ok(text) => text.parse().expect("GST_FACE_CRASH_KILLS is a number"),
        Err(_) => 8,
    }
}

#[test]
fn killed_at_random_moments_every_spooled_clip_arrives_once_and_every_started_one_is_accounted_for()
{
    let scene = Scene::new();
    let folder = scene.folder.path().to_str().unwrap().to_owned();
    let (mut started, mut spooled) = (BTreeSet::new(), BTreeSet::new());
    let (mut failed, mut keys) = (BTreeSet::new(), BTreeSet::new());
    // The same times in every run (xorshift, Marsaglia 2003).
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..kills() {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let wait = Duration::from_millis(seed % 700);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_process", "--exact", "--ignored", "--nocapture"])
            .env("CLIPS_FOLDER", &folder)
            .env("CLIPS_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "the child has started");
        std::thread::park_timeout(wait);
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("clip-started"), Some(id), Some(key)) => {
                    started.insert(id.to_owned());
                    assert!(!key.is_empty());
                }
                (Some("clip-spooled"), Some(id), Some(key)) => {
                    spooled.insert(id.to_owned());
                    assert!(keys.insert(key.to_owned()), "two clips have the key {key}");
                }
                (Some("clip-failed"), Some(id), _) => _ = failed.insert(id.to_owned()),
                _ => {}
            }
        }
    }
    // The next start completes what was left behind, and names what cannot be.
    failed.extend(last_run(&scene, &mut spooled));
    // Every clip that was acknowledged is there, whole, and no other.
    let storage = scene.storage();
    let mut stored = Vec::new();
    storage
        .list("", &mut |object| {
            stored.push(object.key.clone());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    let videos: Vec<_> = stored.iter().filter(|key| key.ends_with(".mp4")).collect();
    let mut found = BTreeSet::new();
    for key in &videos {
        let json = storage.get(&key.replace(".mp4", ".json"), 1 << 26).unwrap();
        let sidecar = Sidecar::read(&json).unwrap();
        assert!(found.insert(sidecar.id.clone()), "{} is there twice", sidecar.id);
        let file = scene.folder.path().join("clips").join(key);
        assert_eq!(decoded(&file), demuxed(&file, "h264").buffers.len(), "{key}");
        assert!(sidecar.media.unwrap().sha256.len() == 64);
    }
    let gone: Vec<_> = spooled.difference(&found).collect();
    assert!(gone.is_empty(), "acknowledged, and not there: {gone:?}");
    // One that was killed between the last fsync and its message is there, too.
    let known = |id: &&String| found.contains(*id) || failed.contains(*id);
    let lost: Vec<_> = started.iter().filter(|id| !known(id)).collect();
    assert!(lost.is_empty(), "nothing is known of {lost:?}");
    println!(
        "{} started, {} spooled, {} failed by name",
        started.len(),
        spooled.len(),
        failed.len()
    );
    assert!(std::fs::read_dir(scene.spool().join("ready")).unwrap().next().is_none());
    assert!(std::fs::read_dir(scene.spool().join("clips")).unwrap().next().is_none());
}

/// Runs once more, without an event; adds what is spooled, and gives what is not to be had.
fn last_run(scene: &Scene, spooled: &mut BTreeSet<String>) -> BTreeSet<String> {
    let stream = h264(10, "tune=zerolatency", "byte-stream");
    let source = scene.source("sink", &stream.caps);
    scene.play();
    for buffer in &stream.buffers {
        source.push_buffer(with_meta(buffer, &[])).unwrap();
    }
    source.end_of_stream().unwrap();
    let mut failed = BTreeSet::new();
    for structure in scene.finish() {
        let id = structure.get::<String>("clip-id").unwrap_or_default();
        match structure.name().as_str() {
            "clip-spooled" => _ = spooled.insert(id),
            "clip-failed" => _ = failed.insert(id),
            _ => {}
        }
    }
    let outbox = Outbox::open(&scene.spool(), Default::default()).unwrap();
    let courier = face_core::outbox::Courier::new(&outbox).unwrap();
    courier.flush(&mut |_, _| {}, &|| false).unwrap();
    failed
}
