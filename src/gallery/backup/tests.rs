use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::gallery::test_people::*;
use crate::gallery::{Gallery, VoteRule};

/// Paths of a gallery and of a backup.
fn paths() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (gallery, backup) = (folder.path().join("g"), folder.path().join("b"));
    (folder, gallery, backup)
}

#[test]
fn restored_gallery_is_the_one_that_was_backed_up() {
    let (folder, path, file) = paths();
    let gallery = with_people(&path, &space(), &["Ann", "O'Brien \"x\" 👩🏽‍🚀", "عبد الله"]);
    let ann = gallery.persons().unwrap().remove(0);
    gallery.set_threshold(&ann.id, Some(0.6)).unwrap();
    let manifest = create(&path, &file, false).unwrap();
    assert_eq!((manifest.persons, manifest.samples, manifest.dim), (3, 6, 3));
    assert_eq!((&*manifest.model, manifest.schema_version), ("net-a", SCHEMA_VERSION));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(verify(&file).unwrap(), manifest);
    let copy = folder.path().join("new/folder/copy");
    assert_eq!(restore(&file, &copy, false).unwrap(), manifest);
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let restored = Gallery::open(&copy, &space(), Access::Read).unwrap();
    assert_eq!(restored.persons().unwrap(), gallery.persons().unwrap());
    for i in 0..3 {
        let query = embedding(&[1.0, i as f32, 0.1]);
        let found = restored.snapshot().search(&query, 3, VoteRule::default()).unwrap();
        assert_eq!(found, gallery.snapshot().search(&query, 3, VoteRule::default()).unwrap());
    }
    drop((gallery, restored));
    assert_eq!(files(&folder), ["b", "g", "new"]);
}

#[test]
fn every_flipped_byte_and_every_cut_is_found() {
    let (folder, path, file) = paths();
    drop(with_people(&path, &space(), &["Ann", "Bob"]));
    create(&path, &file, false).unwrap();
    let whole = fs::read(&file).unwrap();
    let text = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(1).unwrap().0 + 1;
    let bad = folder.path().join("bad");
    let copy = folder.path().join("copy");
    let refuse = |bytes: &[u8], what: &str| {
        fs::write(&bad, bytes).unwrap();
        let error = verify(&bad).expect_err(what);
        let expected =
            matches!(error, TransferError::Damaged { .. } | TransferError::NewerFormat { .. });
        assert!(expected, "{what}: {error:?}");
        assert!(error.to_string().contains(bad.to_str().unwrap()), "{error}");
    };
    let mut next = numbers(20_261_122);
    // Both lines byte by byte, and places of the rest.
    let places: Vec<usize> =
        (0..text).chain((0..300).map(|_| text + next(whole.len() - text))).collect();
    for place in places {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << next(8);
        refuse(&bytes, &format!("flip at {place} of {}", whole.len()));
    }
    for _ in 0..30 {
        let length = next(whole.len());
        refuse(&whole[..length], &format!("cut at {length}"));
    }
    refuse(&[&whole[..], b"x"].concat(), "one byte more");
    let mut last = whole.clone();
    *last.last_mut().unwrap() ^= 1;
    fs::write(&bad, last).unwrap();
    assert!(matches!(restore(&bad, &copy, false), Err(TransferError::Damaged { .. })));
    let gallery = Gallery::open(&path, &space(), Access::Write).unwrap();
    assert!(matches!(restore(&bad, &path, true), Err(TransferError::Damaged { .. })));
    assert!(!gallery.refresh(Duration::ZERO).unwrap(), "nothing was written");
    drop(gallery);
    assert_eq!(files(&folder), ["b", "bad", "g"]);
}

#[test]
fn whoever_has_the_gallery_open_notices_a_restore() {
    let (_folder, path, file) = paths();
    let writer = with_people(&path, &space(), &["Ann", "Bob"]);
    create(&path, &file, false).unwrap();
    writer.enroll("Carl", &[sample([0.0, 0.0, 1.0])]).unwrap();
    let reader = Gallery::open(&path, &space(), Access::Read).unwrap();
    let generation = reader.snapshot().generation();
    assert!(matches!(restore(&file, &path, false), Err(TransferError::Exists { .. })));
    restore(&file, &path, true).unwrap();
    assert_eq!(names(&reader), ["Ann", "Bob", "Carl"]);
    assert!(reader.refresh(Duration::ZERO).unwrap());
    assert_eq!(names(&reader), ["Ann", "Bob"]);
    assert!(reader.snapshot().generation() > generation);
    // And a writer goes on where the backup left off.
    writer.enroll("Dora", &[sample([0.0, 0.3, 1.0])]).unwrap();
    assert!(reader.refresh(Duration::ZERO).unwrap());
    for gallery in [&reader, &writer] {
        assert_eq!(names(gallery), ["Ann", "Bob", "Dora"]);
    }
}

#[test]
fn open_gallery_keeps_its_contents_when_those_of_another_embedder_come() {
    let (folder, path, file) = paths();
    let other = folder.path().join("other");
    drop(with_people(&other, &other_space(), &["Zoe"]));
    create(&other, &file, false).unwrap();
    let writer = with_people(&path, &space(), &["Ann"]);
    let reader = Gallery::open(&path, &space(), Access::Read).unwrap();
    restore(&file, &path, true).unwrap();
    let refused = |result: Result<(), GalleryError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, GalleryError::OtherEmbedder { .. }), "{error:?}");
        assert!(error.to_string().contains("'net-b'"), "{error}");
    };
    refused(reader.refresh(Duration::ZERO).map(drop));
    assert_eq!(names(&reader), ["Ann"]);
    // An embedding of the old space must not get in among the new ones.
    refused(writer.enroll("Bob", &[sample([0.0, 1.0, 0.0])]).map(drop));
    let now = Gallery::open(&path, &other_space(), Access::Read).unwrap();
    assert_eq!(names(&now), ["Zoe"]);
    assert_eq!(now.snapshot().samples(), 2);
}

#[test]
fn backup_is_of_one_moment_while_others_write() {
    let (folder, path, _) = paths();
    let gallery = with_people(&path, &space(), &["Ann"]);
    let done = AtomicBool::new(false);
    let persons = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut count = 0u16;
            while !done.load(Ordering::Relaxed) && count < 2000 {
                count += 1;
                let both = [1.0, 2.0].map(|x| sample([x, f32::from(count), 1.0]));
                gallery.enroll(&format!("p{count}"), &both).unwrap();
            }
        });
        let persons: Vec<u64> = (0..12)
            .map(|i| {
                let file = folder.path().join(format!("b{i}"));
                let manifest = create(&path, &file, false).unwrap();
                assert_eq!(manifest.samples, 2 * manifest.persons, "half an enrolment");
                assert_eq!(verify(&file).unwrap(), manifest);
                manifest.persons
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        persons
    });
    assert!(persons.is_sorted() && persons[0] < persons[11], "{persons:?}");
}

#[test]
fn files_are_not_overwritten_unasked() {
    let (folder, path, file) = paths();
    drop(with_people(&path, &space(), &["Ann"]));
    fs::write(&file, b"mine").unwrap();
    assert!(matches!(create(&path, &file, false), Err(TransferError::Exists { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    create(&path, &file, true).unwrap();
    verify(&file).unwrap();
    let itself = create(&path, &path, true).unwrap_err();
    assert!(matches!(itself, TransferError::Io { .. }), "{itself:?}");
    assert!(Gallery::open(&path, &space(), Access::Read).is_ok());
    // SQLite would play an old log into the restored file.
    let leftover = folder.path().join("gone-wal");
    fs::write(&leftover, b"old").unwrap();
    let error = restore(&file, folder.path().join("gone"), false).unwrap_err();
    assert!(matches!(error, TransferError::Leftover { .. }), "{error:?}");
    assert!(!folder.path().join("gone").exists());
}

#[test]
fn damaged_gallery_is_neither_backed_up_nor_replaced_in_place() {
    let (folder, path, file) = paths();
    drop(with_people(&path, &space(), &["Ann", "Bob"]));
    create(&path, &file, false).unwrap();
    let intact = fs::read(&path).unwrap();
    let stored = embedding(&[1.0, 1.0, 0.2]).to_bytes();
    let place = intact.windows(stored.len()).position(|w| w == stored).unwrap();
    let mut bytes = intact;
    bytes[place] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let second = folder.path().join("second");
    let error = create(&path, &second, false).unwrap_err();
    assert!(error.to_string().contains("wrong checksum"), "{error}");
    assert!(!second.exists());
    // Its structure is good: it can still be replaced while others read.
    restore(&file, &path, true).unwrap();
    assert_eq!(names(&Gallery::open(&path, &space(), Access::Read).unwrap()), ["Ann", "Bob"]);

    fs::write(&path, b"something else entirely, and long enough to be read").unwrap();
    let error = restore(&file, &path, true).unwrap_err();
    assert!(matches!(error, TransferError::Irreplaceable { .. }), "{error:?}");
    assert!(error.to_string().contains("move it"), "{error}");
    let backup_of_nothing = folder.path().join("third");
    let missing = create(folder.path().join("missing"), &backup_of_nothing, false).unwrap_err();
    assert!(matches!(missing, TransferError::Gallery(GalleryError::NotFound { .. })));
}
