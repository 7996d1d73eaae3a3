use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::gallery::Gallery;
use crate::gallery::behaviour::{self, Place, SHORT, embedding, id, sample, who};

fn three() -> (Place, Gallery, Roster) {
    let place = Place::file();
    let (gallery, roster) = behaviour::three(&place);
    (place, gallery, roster)
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
    assert!(traces(1).iter().all(|t| holds(folder.folder(), t)));
    let forgotten = roster.forget(Some("Ann Jones"), &[], SHORT).unwrap();
    assert_eq!(forgotten, Forgotten { samples: 4, elsewhere: 0, on_server: false });
    for gone in [1, 2, 3, 7].into_iter().flat_map(traces) {
        assert!(!holds(folder.folder(), &gone));
    }
    assert!(!holds(folder.folder(), b"Ann Jones") && !holds(folder.folder(), ann.as_bytes()));
    assert!(traces(4).iter().all(|t| holds(folder.folder(), t)), "Bob stays");
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
    let reader = Connection::open(roster.location().file().unwrap()).unwrap();
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
    let mut later =
        Roster::open_with_timeout(roster.location().file().unwrap(), Access::Write, SHORT).unwrap();
    let error = later.forget(Some("Ann Brown"), &[], SHORT).unwrap_err();
    assert!(matches!(error, GalleryError::NoSuchPerson { .. }), "{error:?}");
    later.forget(Some(&ann), &[], SHORT).unwrap();
    assert_eq!(later.unfinished().unwrap(), 0);
    assert!(!holds(folder.folder(), &embedding(1).to_bytes()));
}

#[test]
fn what_a_killed_backup_left_is_removed() {
    let (folder, _gallery, mut roster) = three();
    let left = folder.folder().join("g.part");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("lock"), b"").unwrap();
    fs::write(left.join("copy"), embedding(1).to_bytes()).unwrap();
    roster.forget(Some("Ann Smith"), &[], SHORT).unwrap();
    assert!(!left.exists());
}

#[test]
fn traces_in_other_files_are_found() {
    let (folder, _gallery, mut roster) = three();
    let outbox = folder.folder().join("outbox/deep");
    fs::create_dir_all(&outbox).unwrap();
    let clip = outbox.join("clip.bin");
    // A part of a picture in the middle of something else.
    let part = [&[1; 50][..], &sample(2).crop_png.unwrap()[40..110], &[2; 50]].concat();
    fs::write(&clip, part).unwrap();
    let temporary = folder.folder().join("g.tmp123");
    fs::write(&temporary, "row of Ann Smith, half written").unwrap();
    let also = [folder.folder().join("outbox")];
    let error = roster.forget(Some("Ann Smith"), &also, SHORT).unwrap_err();
    let GalleryError::Remnants { files, .. } = error else { panic!("{error:?}") };
    assert_eq!(files, [temporary.clone(), clip.clone()]);
    fs::remove_file(clip).unwrap();
    fs::remove_file(temporary).unwrap();
    roster.forget(Some("Ann Smith"), &also, SHORT).unwrap();
    let missing = [folder.folder().join("missing")];
    let error = roster.forget(Some("Bob"), &missing, SHORT).unwrap_err();
    assert!(matches!(error, GalleryError::Failed { .. }), "{error:?}");
}

#[test]
fn what_others_have_too_is_no_remnant() {
    let (_folder, gallery, mut roster) = three();
    gallery.enroll("Ann Smithson", &[sample(1)]).unwrap();
    let forgotten = roster.forget(Some("Ann Smith"), &[], SHORT).unwrap();
    assert_eq!(forgotten, Forgotten { samples: 3, elsewhere: 1, on_server: false });
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
    let raw = Connection::open(roster.location().file().unwrap()).unwrap();
    raw.execute_batch("INSERT INTO forgetting (needles) VALUES (x'00')").unwrap();
    let error = roster.forget(Some("Bob"), &[], SHORT).unwrap_err();
    assert!(matches!(error, GalleryError::Corrupt { .. }), "{error:?}");
}
