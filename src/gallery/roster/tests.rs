use std::fs;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::embed::{Embedding, Fingerprint};
use crate::gallery::{Gallery, LooseCrop, NewSample};
use crate::identity::Status;

const SHORT: Duration = Duration::from_millis(20);

/// Many values, as real embeddings have, so that pieces of them are unlike anything else.
fn embedding(seed: u32) -> Embedding {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        // Knuth's MMIX constants.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    Embedding::new(&std::array::from_fn::<f32, 32, _>(|_| next())).unwrap()
}

fn sample(seed: u32) -> NewSample {
    let bytes = |offset: u32| -> Vec<u8> {
        embedding(seed + offset).to_bytes().into_iter().cycle().take(9_000).collect()
    };
    NewSample {
        crop_png: Some(bytes(10_000)),
        loose: Some(LooseCrop { png: bytes(20_000), points: [[seed as f32, 0.5]; 5] }),
        ..NewSample::new(embedding(seed), format!("{seed}.jpg"))
    }
}

fn fingerprint() -> Fingerprint {
    Fingerprint { model: "net".into(), alignment: "arcface-112".into(), probe: embedding(0) }
}

/// Ann (samples 1, 2, 3), Bob (4, 5) and Cid (6).
fn three() -> (TempDir, Gallery, Roster) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g");
    let gallery = Gallery::open(&path, &fingerprint(), Access::Create).unwrap();
    for (name, seeds) in [("Ann Smith", &[1, 2, 3][..]), ("Bob", &[4, 5]), ("Cid", &[6])] {
        gallery.enroll(name, &seeds.iter().map(|s| sample(*s)).collect::<Vec<_>>()).unwrap();
    }
    let roster = Roster::open_with_timeout(&path, Access::Write, SHORT).unwrap();
    (folder, gallery, roster)
}

fn id(roster: &Roster, name: &str) -> String {
    roster.find(name).unwrap().id
}

/// Who a face is, after the gallery has looked at its file.
fn who(gallery: &Gallery, seed: u32) -> Option<String> {
    gallery.refresh(Duration::ZERO).unwrap();
    let found = gallery.snapshot().identify(&embedding(seed), 0.9, 0.0, 1).unwrap();
    (found.status == Status::Known).then(|| found.best.unwrap().name.to_string())
}

#[test]
fn renamed_person_keeps_everything_else() {
    let (_folder, gallery, mut roster) = three();
    let ann = id(&roster, "Ann Smith");
    roster.rename(&ann, " Ann O'Brien \"x\" 👩🏽‍🚀 ").unwrap();
    assert_eq!(who(&gallery, 1).as_deref(), Some("Ann O'Brien \"x\" 👩🏽‍🚀"));
    assert_eq!(id(&roster, "Ann O'Brien \"x\" 👩🏽‍🚀"), ann);
    let error = roster.rename(&ann, "Bob").unwrap_err();
    assert!(error.to_string().contains("another person of the name \"Bob\""), "{error}");
    roster.rename(&ann, "Ann O'Brien \"x\" 👩🏽‍🚀").unwrap();
    for bad in ["", "a\nb", &"x".repeat(10_240)] {
        assert!(matches!(roster.rename(&ann, bad), Err(GalleryError::Name { .. })), "{bad}");
    }
    let error = roster.rename("nobody", "x").unwrap_err();
    assert!(matches!(error, GalleryError::NoSuchPerson { .. }), "{error:?}");
    assert!(matches!(roster.find("Ann Smith"), Err(GalleryError::NoSuchPerson { .. })));
}

#[test]
fn id_finds_its_owner_before_somebody_named_so() {
    let (_folder, gallery, roster) = three();
    let ann = id(&roster, "Ann Smith");
    gallery.enroll(&ann, &[sample(9)]).unwrap();
    assert_eq!(roster.find(&ann).unwrap().name, "Ann Smith");
}

#[test]
fn merged_people_are_one() {
    let (_folder, gallery, mut roster) = three();
    let (ann, bob) = (id(&roster, "Ann Smith"), id(&roster, "Bob"));
    gallery.enroll("Bob", &[sample(1)]).unwrap();
    gallery.reject(&bob, &sample(2)).unwrap();
    roster.set_attributes(&ann, &serde_json::json!({"team": "a", "room": 1})).unwrap();
    roster.set_attributes(&bob, &serde_json::json!({"team": "b"})).unwrap();
    roster.set_threshold(&bob, Some(0.8)).unwrap();
    assert_eq!(roster.merge(&ann, &bob).unwrap(), Merged { moved: 2, duplicates: 1 });
    for seed in 1..=5 {
        assert_eq!(who(&gallery, seed).as_deref(), Some("Bob"), "{seed}");
    }
    let merged = roster.find(&bob).unwrap();
    assert_eq!((merged.samples, merged.negatives, merged.threshold), (5, 0, Some(0.8)));
    assert_eq!(merged.attributes, serde_json::json!({"team": "b", "room": 1}));
    assert!(matches!(roster.find(&ann), Err(GalleryError::NoSuchPerson { .. })));
    assert!(matches!(roster.merge(&ann, &bob), Err(GalleryError::NoSuchPerson { .. })));
    assert!(matches!(roster.merge(&bob, &bob), Err(GalleryError::SamePerson { .. })));
    // The history of both is that of the one who stays.
    assert!(roster.audit_log(Some(&ann), 99).unwrap().is_empty());
    let log = roster.audit_log(Some(&bob), 99).unwrap();
    assert_eq!((&*log[0].what, &*log.last().unwrap().what), ("enroll", "merge"));
}

#[test]
fn removed_people_and_samples_are_gone_and_the_rest_stays() {
    let (_folder, gallery, mut roster) = three();
    let ann = id(&roster, "Ann Smith");
    let samples = roster.samples(&ann).unwrap();
    let told: Vec<_> = samples.iter().map(|s| (&*s.source, s.negative, s.crop, s.loose)).collect();
    assert_eq!(told[..2], [("1.jpg", false, true, true), ("2.jpg", false, true, true)]);
    assert_eq!(roster.remove_sample(samples[1].id).unwrap(), ann);
    assert_eq!((who(&gallery, 1).as_deref(), who(&gallery, 2)), (Some("Ann Smith"), None));
    assert!(matches!(
        roster.remove_sample(samples[1].id),
        Err(GalleryError::NoSuchSample { sample: 2, .. })
    ));
    assert_eq!(roster.remove(&ann).unwrap(), 2);
    assert_eq!((who(&gallery, 1), who(&gallery, 4).as_deref()), (None, Some("Bob")));
    assert!(matches!(roster.remove(&ann), Err(GalleryError::NoSuchPerson { .. })));
    assert_eq!(roster.clear().unwrap(), 2);
    assert_eq!((who(&gallery, 4), roster.persons().unwrap().len()), (None, 0));
    // A cleared gallery still knows its embedder and takes people.
    gallery.enroll("Dan", &[sample(7)]).unwrap();
    assert_eq!(who(&gallery, 7).as_deref(), Some("Dan"));
}

#[test]
fn rejected_face_is_not_its_person_any_more() {
    let (_folder, gallery, mut roster) = three();
    let (ann, bob) = (id(&roster, "Ann Smith"), id(&roster, "Bob"));
    // A sample that was enrolled wrongly.
    let wrong = roster.samples(&ann).unwrap()[0].id;
    assert_eq!(roster.reject_sample(wrong).unwrap(), ann);
    assert_eq!((who(&gallery, 1), who(&gallery, 2).as_deref()), (None, Some("Ann Smith")));
    assert!(roster.samples(&ann).unwrap()[0].negative);
    // A stranger who is taken for Bob: near to Bob, nearer to the rejected picture.
    let mix: Vec<f32> = embedding(4)
        .as_slice()
        .iter()
        .zip(embedding(8).as_slice())
        .map(|(a, b)| a + b / 4.0)
        .collect();
    let stranger = Embedding::new(&mix).unwrap();
    let status = |g: &Gallery| g.snapshot().identify(&stranger, 0.9, 0.0, 1).unwrap().status;
    assert_eq!(status(&gallery), Status::Known);
    assert!(gallery.reject(&bob, &NewSample::new(stranger.clone(), "")).unwrap());
    assert!(!gallery.reject(&bob, &NewSample::new(stranger.clone(), "")).unwrap());
    assert_eq!(status(&gallery), Status::Unknown);
    assert_eq!(who(&gallery, 4).as_deref(), Some("Bob"));
    let bob = roster.find(&bob).unwrap();
    assert_eq!((bob.samples, bob.negatives), (2, 1));
    let short = NewSample::new(Embedding::new(&[1.0]).unwrap(), "");
    assert!(matches!(gallery.reject(&bob.id, &short), Err(GalleryError::Dimension { .. })));
}

#[test]
fn expired_people_are_not_matched_and_can_be_removed() {
    let (_folder, gallery, mut roster) = three();
    let (ann, bob) = (id(&roster, "Ann Smith"), id(&roster, "Bob"));
    let now = SystemTime::now();
    roster.set_expiry(&ann, Some(now - SHORT)).unwrap();
    roster.set_expiry(&bob, Some(now + Duration::from_secs(3600))).unwrap();
    assert_eq!((who(&gallery, 1), who(&gallery, 4).as_deref()), (None, Some("Bob")));
    let persons = roster.persons().unwrap();
    assert_eq!(persons.iter().map(|p| p.expired).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(persons[0].expires.as_ref().map(String::len), Some(24));
    let removed = roster.remove_expired().unwrap();
    assert_eq!(removed.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["Ann Smith"]);
    assert!(roster.remove_expired().unwrap().is_empty());
    roster.set_expiry(&bob, None).unwrap();
    assert_eq!(roster.find(&bob).unwrap().expires, None);
    // A moment beyond all dates is still one.
    roster.set_expiry(&bob, Some(now + Duration::from_secs(1 << 40))).unwrap();
    assert_eq!(roster.find(&bob).unwrap().expires.as_deref(), Some("9999-12-31T23:59:59.999Z"));
}

#[test]
fn expiry_takes_effect_without_a_change_of_the_file() {
    let (_folder, gallery, mut roster) = three();
    let moment = SystemTime::now() + Duration::from_millis(300);
    roster.set_expiry(&id(&roster, "Ann Smith"), Some(moment)).unwrap();
    gallery.refresh(Duration::ZERO).unwrap();
    let snapshot = gallery.snapshot();
    let known = || snapshot.identify(&embedding(1), 0.9, 0.0, 1).unwrap().status == Status::Known;
    assert!(known() || SystemTime::now() >= moment);
    while SystemTime::now() <= moment {
        std::thread::yield_now();
    }
    assert!(!known());
}

#[test]
fn attributes_and_thresholds_are_checked() {
    let (_folder, _gallery, mut roster) = three();
    let bob = id(&roster, "Bob");
    let error = roster.set_attributes(&bob, &serde_json::json!([1])).unwrap_err();
    assert!(matches!(error, GalleryError::Attributes), "{error:?}");
    let error = roster.set_threshold(&bob, Some(f32::NAN)).unwrap_err();
    assert!(matches!(error, GalleryError::Threshold { .. }), "{error:?}");
    let mut reader = Roster::open(roster.path(), Access::Read).unwrap();
    assert!(matches!(reader.clear(), Err(GalleryError::ReadOnly { .. })));
    assert!(matches!(
        Roster::open(Path::new("/nowhere/g"), Access::Create),
        Err(GalleryError::NotFound { .. })
    ));
}

#[test]
fn audit_log_tells_what_was_done_without_names() {
    let (_folder, _gallery, mut roster) = three();
    let ann = id(&roster, "Ann Smith");
    roster.rename(&ann, "Ann Jones").unwrap();
    roster.set_threshold(&ann, None).unwrap();
    let log = roster.audit_log(None, 3).unwrap();
    let told: Vec<_> = log.iter().map(|e| (&*e.what, e.count)).collect();
    assert_eq!(told, [("enroll", 1), ("rename", 1), ("set-threshold", 1)]);
    assert!(log[1].at.ends_with('Z') && log[1].person_id.as_ref() == Some(&ann));
    assert!(!format!("{:?}", roster.audit_log(None, 99).unwrap()).contains("Ann"));
}

/// Does a file of the folder hold these bytes?
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let content = fs::read(entry.unwrap().path()).unwrap_or_default();
        content.windows(bytes.len()).any(|w| w == bytes)
    })
}

#[test]
fn forgotten_person_leaves_no_trace_in_any_file() {
    let (folder, gallery, mut roster) = three();
    let ann = id(&roster, "Ann Smith");
    gallery.reject(&ann, &sample(7)).unwrap();
    roster.rename(&ann, "Ann Jones").unwrap();
    let traces = |seed: u32| {
        let s = sample(seed);
        let points: Vec<u8> = (seed as f32).to_le_bytes().to_vec();
        [
            s.embedding.to_bytes(),
            s.crop_png.unwrap()[..32].to_vec(),
            s.loose.unwrap().png[..32].to_vec(),
        ]
        .into_iter()
        .chain([[points, 0.5f32.to_le_bytes().to_vec()].concat().repeat(2)])
        .collect::<Vec<_>>()
    };
    assert!(traces(1).iter().all(|t| holds(folder.path(), t)));
    let forgotten = roster.forget(Some("Ann Jones"), &[], SHORT).unwrap();
    assert_eq!(forgotten, Forgotten { samples: 4, elsewhere: 0 });
    for gone in [1, 2, 3, 7].into_iter().flat_map(traces) {
        assert!(!holds(folder.path(), &gone));
    }
    assert!(!holds(folder.path(), b"Ann Jones") && !holds(folder.path(), ann.as_bytes()));
    assert!(traces(4).iter().all(|t| holds(folder.path(), t)), "Bob stays");
    assert_eq!((who(&gallery, 1), who(&gallery, 4).as_deref()), (None, Some("Bob")));
    let log = roster.audit_log(None, 1).unwrap();
    assert_eq!((&*log[0].what, &log[0].person_id, log[0].count), ("forget", &None, 4));
    assert_eq!(roster.unfinished().unwrap(), 0);
    let error = roster.forget(Some("Ann Jones"), &[], SHORT).unwrap_err();
    assert!(matches!(error, GalleryError::NoSuchPerson { .. }), "{error:?}");
}

#[test]
fn forgetting_that_a_reader_holds_up_names_the_file_and_can_be_finished() {
    let (folder, _gallery, mut roster) = three();
    let reader = Connection::open(roster.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM samples").unwrap();
    let ann = id(&roster, "Ann Smith");
    let error = roster.forget(Some("Ann Smith"), &[], SHORT).unwrap_err();
    let GalleryError::Remnants { files, .. } = &error else { panic!("{error:?}") };
    assert!(files.iter().any(|f| f.ends_with("g-wal")), "{files:?}");
    assert!(error.to_string().contains("g-wal'") && error.to_string().contains("forget again"));
    assert!(matches!(roster.find(&ann), Err(GalleryError::NoSuchPerson { .. })));
    assert_eq!(roster.unfinished().unwrap(), 1);
    assert!(roster.forget(None, &[], SHORT).is_err());
    drop(reader);
    // By name or by id, in another process say; and nobody else's name counts.
    let mut later = Roster::open_with_timeout(roster.path(), Access::Write, SHORT).unwrap();
    let error = later.forget(Some("Ann Brown"), &[], SHORT).unwrap_err();
    assert!(matches!(error, GalleryError::NoSuchPerson { .. }), "{error:?}");
    later.forget(Some(&ann), &[], SHORT).unwrap();
    assert_eq!(later.unfinished().unwrap(), 0);
    assert!(!holds(folder.path(), &embedding(1).to_bytes()));
}

#[test]
fn what_a_killed_backup_left_is_removed() {
    let (folder, _gallery, mut roster) = three();
    let left = folder.path().join("g.part");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("lock"), b"").unwrap();
    fs::write(left.join("copy"), embedding(1).to_bytes()).unwrap();
    roster.forget(Some("Ann Smith"), &[], SHORT).unwrap();
    assert!(!left.exists());
}

#[test]
fn traces_in_other_files_are_found() {
    let (folder, _gallery, mut roster) = three();
    let outbox = folder.path().join("outbox/deep");
    fs::create_dir_all(&outbox).unwrap();
    let clip = outbox.join("clip.bin");
    // A part of a picture in the middle of something else.
    let part = [&[1; 50][..], &sample(2).crop_png.unwrap()[40..110], &[2; 50]].concat();
    fs::write(&clip, part).unwrap();
    let temporary = folder.path().join("g.tmp123");
    fs::write(&temporary, "row of Ann Smith, half written").unwrap();
    let also = [folder.path().join("outbox")];
    let error = roster.forget(Some("Ann Smith"), &also, SHORT).unwrap_err();
    let GalleryError::Remnants { files, .. } = error else { panic!("{error:?}") };
    assert_eq!(files, [temporary.clone(), clip.clone()]);
    fs::remove_file(clip).unwrap();
    fs::remove_file(temporary).unwrap();
    roster.forget(Some("Ann Smith"), &also, SHORT).unwrap();
    let missing = [folder.path().join("missing")];
    let error = roster.forget(Some("Bob"), &missing, SHORT).unwrap_err();
    assert!(matches!(error, GalleryError::Failed { .. }), "{error:?}");
}

#[test]
fn what_others_have_too_is_no_remnant() {
    let (_folder, gallery, mut roster) = three();
    gallery.enroll("Ann Smithson", &[sample(1)]).unwrap();
    let forgotten = roster.forget(Some("Ann Smith"), &[], SHORT).unwrap();
    assert_eq!(forgotten, Forgotten { samples: 3, elsewhere: 1 });
    assert_eq!(who(&gallery, 1).as_deref(), Some("Ann Smithson"));
    // A name of letters that are everywhere.
    for name in ["a", "persons", "SQLite format 3", "enroll"] {
        gallery.enroll(name, &[sample(50)]).unwrap();
        roster.forget(Some(name), &[], SHORT).unwrap();
    }
}

#[test]
fn damaged_notes_of_a_search_are_an_error() {
    let (_folder, _gallery, mut roster) = three();
    let raw = Connection::open(roster.path()).unwrap();
    raw.execute_batch("INSERT INTO forgetting (needles) VALUES (x'00')").unwrap();
    let error = roster.forget(Some("Bob"), &[], SHORT).unwrap_err();
    assert!(matches!(error, GalleryError::Corrupt { .. }), "{error:?}");
}
