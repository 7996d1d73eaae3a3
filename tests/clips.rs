//! Looking after clips: the same in a folder, in s3s-fs and in moto.

#[path = "support/s3.rs"]
mod s3;

use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use face_core::clip::{
    Clip, ClipError, ClipName, Clips, Face, Filter, Frame, KeyTemplate, Media, Origin, Part, Prune,
    Sidecar, SidecarState, SidecarTrack, Snapshot, Trigger, utc,
};
use face_core::storage::{Storage, StorageError};
use sha2::{Digest, Sha256};

fn go(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn quiet(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Stores a clip of 1000 bytes with a sidecar in which `name` is recognised; its stem.
fn store(storage: &Storage, camera: &str, start: &str, event: &str, name: &str) -> String {
    let moment = utc::parse(start).unwrap();
    let id = format!("{camera} at {start}");
    let key = ClipName { prefix: "", camera, start: moment, event, id: &id };
    let stem = KeyTemplate::default().stem(&key);
    let video = vec![7_u8; 1000];
    let sha256: String = Sha256::digest(&video).iter().map(|b| format!("{b:02x}")).collect();
    let person_id = Some(format!("id-{name}")).filter(|_| !name.is_empty());
    let name = Some(name.to_owned()).filter(|name| !name.is_empty());
    let sidecar = Sidecar {
        id,
        camera: camera.to_owned(),
        start_utc: some(start),
        duration_ns: 5_000_000_000,
        triggers: vec![Trigger {
            event: event.to_owned(),
            track_id: Some(1),
            name: name.clone(),
            person_id: person_id.clone(),
            ..Trigger::default()
        }],
        media: Some(Media { key: format!("{stem}.mp4"), sha256, ..Media::default() }),
        snapshot: Some(Snapshot { track_id: Some(1), ..Snapshot::default() }),
        tracks: vec![SidecarTrack {
            track_id: 1,
            name: name.clone(),
            embeddings: vec![vec![0.5]],
            ..SidecarTrack::default()
        }],
        frames: vec![Frame {
            faces: vec![Face { track_id: Some(1), name, ..Face::default() }],
            ..Frame::default()
        }],
        ..Sidecar::default()
    };
    storage.put(&format!("{stem}.mp4"), &video).unwrap();
    storage.put(&format!("{stem}.json"), &sidecar.to_json(true).unwrap()).unwrap();
    stem
}

fn stems(clips: &[Clip]) -> Vec<&str> {
    clips.iter().map(|clip| clip.stem.as_str()).collect()
}

fn list(clips: &Clips, filter: Filter) -> Vec<Clip> {
    clips.list(&filter, &mut go).unwrap()
}

/// Four clips and things that are none.
fn behaves(storage: Storage) {
    let ada = store(&storage, "front/door", "2026-01-02T03:04:05.678Z", "known-face", "Ada");
    let bob = store(&storage, "yard", "2026-01-03T00:00:00.000Z", "known-face", "Bob");
    let zone = store(&storage, "yard", "2026-01-04T00:00:00.000Z", "zone-enter", "");
    storage.put(&format!("{ada}.jpg"), b"jpeg").unwrap();
    storage.put(&format!("{ada}_annotated.mp4"), b"with a name in it").unwrap();
    storage.put("old/00000123.mp4", b"old").unwrap();
    storage.put("old/00000123.json", include_bytes!("data/reference_clip.json")).unwrap();
    storage.put("broken/x.mp4", b"x").unwrap();
    storage.put("broken/x.json", b"{\"schema\":").unwrap();
    storage.put("alone.mp4", b"alone").unwrap();
    storage.put("notes.txt", b"not a clip").unwrap();
    let clips = Clips::new(storage, KeyTemplate::default());
    finds(&clips, [&ada, &bob, &zone]);
    fetches(&clips, &ada);
    forgets(&clips, [&ada, &bob]);
    removes(&clips, [&bob, &zone]);
}

fn finds(clips: &Clips, [ada, bob, zone]: [&String; 3]) {
    let all = list(clips, Filter::default());
    assert_eq!(all.len(), 6);
    assert!(all.is_sorted_by(|a, b| a.start >= b.start), "the newest first");
    let clip = |stem: &str| all.iter().find(|clip| clip.stem == stem).expect("it is listed");
    let first = clip(ada);
    assert_eq!(first.camera.as_deref(), Some("front/door"), "of the sidecar, not of the key");
    assert_eq!(utc::format(first.start), "2026-01-02T03:04:05.678Z");
    assert_eq!(first.event.as_deref(), Some("known-face"));
    assert_eq!(first.objects().count(), 4);
    let summary = first.summary().expect("its sidecar is read");
    assert_eq!(summary.people, [("Ada".to_owned(), "id-Ada".to_owned())]);
    assert_eq!(summary.duration, Duration::from_secs(5));
    let old = clip("old/00000123").summary().expect("the reference's is read, too");
    assert_eq!(old.origin, Origin::Reference);
    assert_eq!(old.people, [("Alice".to_owned(), "a1b2".to_owned())]);
    assert_eq!(old.events, ["known-face", "unknown-face"]);
    assert!(matches!(clip("broken/x").sidecar, SidecarState::Broken(_)));
    assert_eq!(clip("alone").sidecar, SidecarState::Missing);

    let moment = |text: &str| utc::parse(text);
    for (filter, expected) in [
        (Filter { camera: some("front/door"), ..Filter::default() }, vec![ada]),
        (Filter { person: some("Ada"), ..Filter::default() }, vec![ada]),
        (Filter { person: some("id-Bob"), ..Filter::default() }, vec![bob]),
        (Filter { person: some("nobody"), ..Filter::default() }, vec![]),
        (Filter { event: some("zone-enter"), ..Filter::default() }, vec![zone]),
        (
            Filter {
                since: moment("2026-01-02T03:04:05.678Z"),
                until: moment("2026-01-04"),
                ..Filter::default()
            },
            vec![bob, ada],
        ),
        (Filter { camera: some("yard"), person: some("Ada"), ..Filter::default() }, vec![]),
    ] {
        assert_eq!(stems(&list(clips, filter.clone())), expected, "{filter:?}");
    }
    for key in [ada.clone(), format!("{ada}.mp4"), format!("{ada}.json"), format!("{ada}.jpg")] {
        assert_eq!(&clips.find(&key).unwrap(), first, "{key}");
    }
    assert_eq!(clips.find("alone").unwrap().stem, "alone");
    for key in ["nothing", "notes.txt", "old", &ada[..ada.len() - 1]] {
        let error = clips.find(key).unwrap_err();
        assert!(matches!(error, ClipError::NoSuchClip { .. }), "{key}: {error}");
    }
}

fn fetches(clips: &Clips, ada: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let clip = clips.find(ada).unwrap();
    assert_eq!(clips.get(&clip, Part::Snapshot, 100).unwrap(), b"jpeg");
    assert_eq!(clips.download(&clip, Part::Original, &path, &mut quiet).unwrap().size, 1000);
    assert_eq!(fs::read(&path).unwrap(), vec![7; 1000]);
    let alone = clips.find("alone").unwrap();
    let error = clips.get(&alone, Part::Annotated, 100).unwrap_err();
    assert!(error.to_string().contains("'alone' has no annotated"), "{error}");
    assert!(clips.link(&clip, Part::Original, Duration::from_secs(60)).is_ok());

    let out = folder.path().join("out");
    let all = list(clips, Filter::default());
    let report = clips.export(&all, &out, &mut go).unwrap();
    assert_eq!((report.clips, report.objects), (6, 13));
    assert_eq!(fs::read(out.join(format!("{ada}.jpg"))).unwrap(), b"jpeg");
    assert!(!out.join("notes.txt").exists());
    // What is exported is a storage of its own, and can be exported again.
    let copy = Clips::new(Storage::open(out.to_str().unwrap()).unwrap(), KeyTemplate::default());
    assert_eq!(list(&copy, Filter { person: some("Ada"), ..Filter::default() }).len(), 1);
    clips.export(&all, &out, &mut go).unwrap();

    // A clip that is not what its sidecar says does not get a name.
    let key = format!("{ada}.mp4");
    clips.storage().put(&key, &[8; 1000]).unwrap();
    let other = folder.path().join("other.mp4");
    let error = clips.download(&clip, Part::Original, &other, &mut quiet).unwrap_err();
    assert!(matches!(error, ClipError::Storage(StorageError::Damaged { .. })), "{error}");
    assert!(!other.exists());
    clips.storage().put(&key, &[7; 1000]).unwrap();
}

fn forgets(clips: &Clips, [ada, bob]: [&str; 2]) {
    let forgotten = clips.forget("Ada", false, &mut go).unwrap();
    assert_eq!((forgotten.sidecars, forgotten.pictures, forgotten.clips), (1, 2, 0));
    assert_eq!(forgotten.unreadable, ["broken/x"]);
    let clip = clips.find(ada).unwrap();
    assert_eq!(clip.objects().count(), 2, "the shot and the video with the name are gone");
    let text = clips.get(&clip, Part::Sidecar, 1 << 20).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("Ada\"") && !text.contains("id-Ada") && !text.contains("0.5"), "{text}");
    assert!(text.contains("front/door"));
    assert!(Sidecar::read(text.as_bytes()).is_ok());
    // Nothing is left to do, and others are still known.
    assert_eq!(clips.forget("Ada", false, &mut go).unwrap().sidecars, 0);
    assert!(clips.find(bob).unwrap().shows("Bob"));
    // Of the reference's sidecars, too, by id, with the clip.
    let forgotten = clips.forget("a1b2", true, &mut go).unwrap();
    assert_eq!((forgotten.sidecars, forgotten.clips), (0, 1));
    assert!(clips.find("old/00000123").is_err());
}

fn removes(clips: &Clips, [bob, zone]: [&str; 2]) {
    let all = list(clips, Filter::default());
    let moment = utc::parse("2026-01-03T12:00:00Z");
    let before = Prune { before: moment, ..Prune::default() };
    assert_eq!(before.choose(&all).len(), 2, "{:?}", stems(&all));
    let person = Prune { person: some("Bob"), ..Prune::default() };
    assert_eq!(person.choose(&all)[0].stem, bob);
    let chosen = person.choose(&all);
    let report = clips.remove(chosen, &mut go).unwrap();
    assert_eq!((report.clips, report.objects), (1, 2));
    assert!(clips.find(bob).is_err());
    let left = list(clips, Filter::default());
    assert_eq!(left.len(), 4);
    assert!(left.iter().any(|clip| clip.stem == zone));
    let report = clips.remove(&left, &mut go).unwrap();
    assert_eq!(report.clips, 4);
    assert_eq!(list(clips, Filter::default()), []);
    assert_eq!(clips.storage().get("notes.txt", 100).unwrap(), b"not a clip");
    // Who removes twice has removed.
    clips.remove(&left, &mut go).unwrap();
}

#[test]
fn clips_behave_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    behaves(Storage::open(folder.path().join("clips").to_str().unwrap()).unwrap());
}

#[test]
fn clips_behave_in_buckets() {
    for server in s3::servers() {
        eprintln!("{}", server.name);
        behaves(server.storage());
    }
}

#[test]
fn oldest_clips_go_until_the_rest_fits() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path().to_str().unwrap()).unwrap();
    let stem = |day: u32, name: &str| {
        store(&storage, "c", &format!("2026-01-{day:02}T00:00:00.000Z"), "known-face", name)
    };
    let (one, two, three) = (stem(1, "Ada"), stem(2, "Bob"), stem(3, "Ada"));
    let clips = Clips::new(storage, KeyTemplate::default());
    let all = list(&clips, Filter::default());
    let each = all[0].bytes();
    let choose = |prune: Prune| -> Vec<String> {
        prune.choose(&all).iter().map(|clip| clip.stem.clone()).collect()
    };
    let at_most = |max_bytes| Prune { max_bytes: Some(max_bytes), ..Prune::default() };
    assert_eq!(choose(at_most(each * 3)), [""; 0]);
    assert_eq!(choose(at_most(each * 3 - 1)), [one.as_str()]);
    assert_eq!(choose(at_most(each)), [one.as_str(), &two]);
    assert_eq!(choose(at_most(0)), [one.as_str(), &two, &three]);
    let of_ada = |prune: Prune| choose(Prune { person: some("Ada"), ..prune });
    assert_eq!(of_ada(Prune::default()), [one.as_str(), &three]);
    assert_eq!(of_ada(at_most(each)), [one.as_str()]);
    let before = Prune { before: utc::parse("2026-01-03"), ..Prune::default() };
    assert_eq!(of_ada(before.clone()), [one.as_str()]);
    assert_eq!(choose(before), [one.as_str(), &two]);
    assert_eq!(choose(Prune::default()), [""; 0], "nothing asked, nothing chosen");
}

#[test]
fn who_cancels_gets_no_half_list() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path().to_str().unwrap()).unwrap();
    let stem = store(&storage, "c", "2026-01-01T00:00:00.000Z", "known-face", "Ada");
    let clips = Clips::new(storage, KeyTemplate::default());
    let stop = |_, _| ControlFlow::Break(());
    assert!(matches!(clips.list(&Filter::default(), &mut { stop }), Err(ClipError::Cancelled)));
    let clip = clips.find(&stem).unwrap();
    assert!(matches!(clips.remove([&clip], &mut { stop }), Err(ClipError::Cancelled)));
    assert!(matches!(clips.forget("Ada", true, &mut { stop }), Err(ClipError::Cancelled)));
    assert!(clips.find(&stem).unwrap().shows("Ada"));
}
