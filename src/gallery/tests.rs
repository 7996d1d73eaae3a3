use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

/// For tests in which nobody else writes, and in which somebody keeps on writing.
const QUICK: Tuning = Tuning { busy: Duration::from_millis(20), ..TUNING };

fn embedding(values: &[f32]) -> Embedding {
    Embedding::new(values).unwrap()
}

fn fingerprint() -> Fingerprint {
    Fingerprint {
        model: "net-a".into(),
        alignment: "arcface-112".into(),
        probe: embedding(&[1.0, 2.0, 3.0]),
    }
}

fn sample(values: [f32; 3]) -> NewSample {
    NewSample::new(embedding(&values), "photo.jpg")
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.gallery");
    (folder, path)
}

fn create(path: &Path) -> Gallery {
    Gallery::open(path, &fingerprint(), Access::Create).unwrap()
}

fn open_error(path: &Path, access: Access) -> GalleryError {
    Gallery::open_tuned(&path.into(), &fingerprint(), access, QUICK).unwrap_err()
}

/// The error of opening a file that is no (good) gallery; it names the file and leaves it alone.
fn refusal(path: &Path) -> String {
    let before = fs::read(path).ok();
    let mut texts = Vec::new();
    for access in [Access::Read, Access::Write, Access::Create] {
        let error = open_error(path, access);
        assert!(matches!(error, GalleryError::Corrupt { .. }), "{access:?}: {error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        texts.push(error.to_string());
    }
    assert_eq!(fs::read(path).ok(), before);
    assert_eq!(texts[0], texts[2]);
    texts.remove(0)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn failed_enrolment_leaves_nothing_behind() {
    let (_folder, path) = folder();
    let gallery = create(&path);
    let mixed = [sample([1.0, 0.0, 0.0]), NewSample::new(embedding(&[1.0, 0.0]), "")];
    let error = gallery.enroll("Ann", &mixed).unwrap_err();
    assert_eq!(error.to_string(), "enrol \"Ann\": a sample has 2 dimensions, the gallery has 3");
    assert!(matches!(gallery.enroll("Ann", &[]), Err(GalleryError::NoSamples { .. })));
    // The person is inserted, then the second sample's picture fails.
    Connection::open(&path).unwrap().execute_batch("ALTER TABLE crops RENAME TO gone").unwrap();
    let with_crop = NewSample { crop_png: Some(vec![1, 2]), ..sample([0.0, 0.0, 1.0]) };
    let error = gallery.enroll("Ann", &[sample([1.0, 0.0, 0.0]), with_crop.clone()]).unwrap_err();
    assert!(matches!(error, GalleryError::Corrupt { .. }), "{error:?}");
    assert_eq!(gallery.persons().unwrap(), []);
    let raw = Connection::open(&path).unwrap();
    let count = |table| {
        raw.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get::<_, u32>(0)).unwrap()
    };
    assert_eq!((count("persons"), count("samples")), (0, 0));
    raw.execute_batch("ALTER TABLE gone RENAME TO crops").unwrap();
    gallery.enroll("Ann", &[with_crop]).unwrap();
    let png: Vec<u8> = raw.query_row("SELECT png FROM crops", [], |r| r.get(0)).unwrap();
    assert_eq!(png, [1, 2]);
}

#[test]
fn file_is_looked_at_no_more_often_than_asked_for() {
    let (_folder, path) = folder();
    let writer = create(&path);
    let reader = Gallery::open(&path, &fingerprint(), Access::Read).unwrap();
    writer.enroll("Ann", &[sample([1.0, 0.0, 0.0])]).unwrap();
    assert!(!reader.refresh(Duration::from_secs(3600)).unwrap(), "not due yet");
    assert_eq!(reader.snapshot().samples(), 0);
    assert!(reader.refresh(Duration::ZERO).unwrap());
    assert_eq!(reader.snapshot().samples(), 1);
}

#[test]
fn removed_and_replaced_samples_are_read_anew() {
    let (_folder, path) = folder();
    let gallery = create(&path);
    for (i, name) in ["Ann", "Bob", "Cid"].iter().enumerate() {
        let mut values = [0.0; 3];
        values[i] = 1.0;
        gallery.enroll(name, &[sample(values)]).unwrap();
    }
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(
        "PRAGMA foreign_keys = ON; BEGIN; DELETE FROM persons WHERE name = 'Bob'; \
         UPDATE meta SET generation = generation + 1, rewritten = generation + 1; COMMIT",
    )
    .unwrap();
    assert!(gallery.refresh(Duration::ZERO).unwrap());
    let snapshot = gallery.snapshot();
    assert_eq!((snapshot.people().len(), snapshot.samples()), (2, 2));
    let found = snapshot.search(&embedding(&[0.1, 1.0, 0.2]), 3, VoteRule::Best).unwrap();
    assert_eq!(found.iter().map(|m| &*m.name).collect::<Vec<_>>(), ["Cid", "Ann"]);
}

#[test]
fn missing_file_is_made_only_by_create() {
    let (_folder, path) = folder();
    for access in [Access::Read, Access::Write] {
        assert!(matches!(open_error(&path, access), GalleryError::NotFound { .. }));
    }
    assert!(matches!(Gallery::inspect(&path), Err(GalleryError::NotFound { .. })));
    assert!(!path.exists());
    create(&path);
    Gallery::open(&path, &fingerprint(), Access::Write).unwrap();
}

#[test]
fn created_files_and_folders_are_private() {
    let (folder, _) = folder();
    let path = folder.path().join("a/b/people.gallery");
    let gallery = create(&path);
    gallery.enroll("Ann", &[sample([1.0, 0.0, 0.0])]).unwrap();
    assert_eq!((mode(&folder.path().join("a")), mode(&folder.path().join("a/b"))), (0o700, 0o700));
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(mode(&folder.path().join(format!("a/b/people.gallery{suffix}"))), 0o600);
    }
    assert!(Gallery::inspect(&path).unwrap().private);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(!Gallery::inspect(&path).unwrap().private);
}

#[test]
fn files_that_are_no_gallery_are_refused_and_left_alone() {
    let (folder, path) = folder();
    fs::write(&path, "these are not the bytes you are looking for. ".repeat(200)).unwrap();
    assert!(refusal(&path).ends_with("it is not a gallery file"));
    let database = folder.path().join("other.db");
    Connection::open(&database).unwrap().execute_batch("CREATE TABLE bills (sum)").unwrap();
    assert!(refusal(&database).ends_with("it is a database of another program, not a gallery"));
    assert!(refusal(folder.path()).ends_with("it is a folder or a device, not a file"));
    let null = folder.path().join("null");
    symlink("/dev/null", &null).unwrap();
    assert!(open_error(&null, Access::Create).to_string().contains("a folder or a device"));
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    let text = open_error(&empty, Access::Read).to_string();
    assert!(text.ends_with("it is empty; enrol somebody first"), "{text}");
    create(&empty).enroll("Ann", &[sample([1.0, 0.0, 0.0])]).unwrap();
}

#[test]
fn newer_schema_is_refused_clearly() {
    let (_folder, path) = folder();
    drop(create(&path));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    for access in [Access::Read, Access::Write, Access::Create] {
        let error = open_error(&path, access);
        assert!(matches!(error, GalleryError::NewerSchema { version: 7, .. }), "{error:?}");
        let expected = format!(
            "open gallery '{}': has schema version 7, this program knows versions up to 3; use a \
             newer program",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
    }
    Connection::open(&path).unwrap().pragma_update(None, "user_version", -1).unwrap();
    assert!(refusal(&path).contains("no valid schema version"));
}

/// A gallery with one sample, changed by `sql`.
fn damaged(path: &Path, sql: &str) {
    let _ = fs::remove_file(path);
    create(path).enroll("Ann", &[sample([1.0, 0.0, 0.0])]).unwrap();
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn damaged_contents_are_an_error_that_says_what() {
    let (_folder, path) = folder();
    for (sql, reason) in [
        ("UPDATE samples SET embedding = x'0000803f'", "sample 1: wrong checksum"),
        ("UPDATE samples SET sha256 = zeroblob(32)", "sample 1: wrong checksum"),
        ("DELETE FROM meta", "Query returned no rows"),
        ("UPDATE meta SET probe = x'00'", "fingerprint: embedding bytes"),
        ("UPDATE meta SET dim = 4", "the fingerprint has 3 dimensions, not 4"),
        ("UPDATE meta SET generation = -1", "negative generation"),
        ("PRAGMA foreign_keys = OFF; DELETE FROM persons", "sample 1: belongs to nobody"),
        ("DROP TABLE crops; DROP TABLE samples", "no such table: samples"),
        ("PRAGMA foreign_keys = OFF; DROP TABLE persons; CREATE VIEW persons AS SELECT 1", "view"),
    ] {
        damaged(&path, sql);
        let text = refusal(&path);
        assert!(text.contains(reason), "{sql}: {text}");
    }
    damaged(&path, "UPDATE persons SET attributes = '{'");
    let gallery = Gallery::open(&path, &fingerprint(), Access::Read).unwrap();
    assert!(matches!(gallery.persons(), Err(GalleryError::Corrupt { .. })));
}

#[test]
fn damaged_pages_never_panic_and_never_pass_as_whole() {
    let (_folder, path) = folder();
    let gallery = create(&path);
    for i in 0..40 {
        gallery.enroll(&format!("p{i}"), &[sample([1.0, i as f32, 0.0])]).unwrap();
    }
    let whole = gallery.snapshot().samples();
    drop(gallery);
    let bytes = fs::read(&path).unwrap();
    for page in 1..bytes.len() / 4096 {
        let mut broken = bytes.clone();
        broken[page * 4096..][..2048].fill(0xa5);
        fs::write(&path, &broken).unwrap();
        let error = Gallery::inspect(&path).expect_err("page is damaged");
        assert!(matches!(error, GalleryError::Corrupt { .. }), "page {page}: {error:?}");
        // Opening reads no index pages, but what it reads is right.
        if let Ok(g) =
            Gallery::open_tuned(&path.as_path().into(), &fingerprint(), Access::Read, QUICK)
        {
            assert_eq!(g.snapshot().samples(), whole, "page {page}");
        }
    }
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(open_error(&path, Access::Read), GalleryError::Corrupt { .. }));
}

#[test]
fn failed_refresh_keeps_the_last_snapshot() {
    let (_folder, path) = folder();
    let gallery = create(&path);
    gallery.enroll("Ann", &[sample([1.0, 0.0, 0.0])]).unwrap();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(
        "UPDATE samples SET sha256 = zeroblob(32); \
         UPDATE meta SET generation = generation + 1, rewritten = generation + 1",
    )
    .unwrap();
    for _ in 0..2 {
        let error = gallery.refresh(Duration::ZERO).unwrap_err();
        assert!(matches!(error, GalleryError::Corrupt { .. }), "{error:?}");
        assert_eq!(gallery.snapshot().samples(), 1);
    }
    raw.execute_batch("DELETE FROM samples").unwrap();
    assert!(gallery.refresh(Duration::ZERO).unwrap());
    assert_eq!(gallery.snapshot().samples(), 0);
}

#[test]
fn writer_that_keeps_the_lock_makes_others_busy_and_readers_go_on() {
    let (_folder, path) = folder();
    create(&path).enroll("Ann", &[sample([1.0, 0.0, 0.0])]).unwrap();
    let gallery =
        Gallery::open_tuned(&path.as_path().into(), &fingerprint(), Access::Write, QUICK).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; UPDATE meta SET generation = generation + 1").unwrap();
    let error = gallery.enroll("Bob", &[sample([0.0, 1.0, 0.0])]).unwrap_err();
    assert!(matches!(error, GalleryError::Busy { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&format!("write gallery '{}'", path.display())));
    assert!(!gallery.refresh(Duration::ZERO).unwrap());
    assert_eq!(gallery.persons().unwrap().len(), 1);
    Gallery::open_tuned(&path.as_path().into(), &fingerprint(), Access::Create, QUICK).unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    assert!(gallery.enroll("Bob", &[sample([0.0, 1.0, 0.0])]).unwrap().created);
}

#[test]
fn large_gallery_builds_its_graph_in_the_background_and_closes_at_once() {
    let (_folder, path) = folder();
    let limits = Limits { index_from: 100, graph_from: 100, ..TUNING.limits };
    let tuning = Tuning { limits, ..TUNING };
    let gallery =
        Gallery::open_tuned(&path.as_path().into(), &fingerprint(), Access::Create, tuning)
            .unwrap();
    let mut numbers = test_people::numbers(11);
    for i in 0..400 {
        let values = [0; 3].map(|_| numbers(2001) as f32 - 1000.0);
        gallery.enroll(&format!("p{i}"), &[sample(values)]).unwrap();
    }
    gallery.0.current.wait_for_graph();
    gallery.enroll("Bob", &[sample([0.0, 0.0, 1.0])]).unwrap();
    let snapshot = gallery.snapshot();
    let covered = snapshot.graph().expect("the graph is built").rows();
    assert!((300..=400).contains(&covered), "{covered}");
    let found = snapshot.search(&embedding(&[0.0, 0.0, 1.0]), 1, VoteRule::Best).unwrap();
    assert_eq!(&*found[0].name, "Bob");
    // Who is removed is in no graph soon after.
    let id = found[0].person_id.to_string();
    Roster::open(&path, Access::Write).unwrap().remove(&id).unwrap();
    gallery.refresh(Duration::ZERO).unwrap();
    gallery.0.current.wait_for_graph();
    let snapshot = gallery.snapshot();
    assert_eq!((snapshot.graph().unwrap().forgotten(), snapshot.people().len()), (1, 400));
    // Again, and closed while the thread is at work.
    drop(
        Gallery::open_tuned(&path.as_path().into(), &fingerprint(), Access::Read, tuning).unwrap(),
    );
}

#[test]
fn names_with_a_meaning_for_sqlite_are_ordinary_files() {
    let (folder, _) = folder();
    for name in [":memory:", "file:x?mode=memory", "ü 'q\".gallery"] {
        let path = folder.path().join(name);
        create(&path).enroll("Ann", &[sample([1.0, 0.0, 0.0])]).unwrap();
        assert!(path.is_file(), "{name}");
        assert_eq!(Gallery::inspect(&path).unwrap().persons, 1);
    }
}

#[test]
fn gallery_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Gallery>();
}

/// A gallery that the first version of the schema wrote: two people, three samples, one crop.
fn version_1() -> (TempDir, PathBuf) {
    let (folder, path) = folder();
    fs::write(&path, include_bytes!("../../tests/data/gallery_v1.sqlite")).unwrap();
    (folder, path)
}

#[test]
fn gallery_of_version_1_is_upgraded_whatever_it_is_opened_for() {
    for access in [Access::Read, Access::Write, Access::Create] {
        let (_folder, path) = version_1();
        let gallery = Gallery::open(&path, &fingerprint(), access).unwrap();
        let persons = gallery.persons().unwrap();
        let told: Vec<_> = persons.iter().map(|p| (&*p.name, p.samples, p.threshold)).collect();
        assert_eq!(told, [("Ann O'Brien", 2, Some(0.75)), ("عبد الله", 1, None)]);
        assert_eq!(gallery.snapshot().samples(), 3);
        assert_eq!(Gallery::inspect(&path).unwrap().schema_version, 3);
        let raw = Connection::open(&path).unwrap();
        let png: Vec<u8> = raw.query_row("SELECT png FROM crops", [], |r| r.get(0)).unwrap();
        assert_eq!(png, b"no real picture");
        // What is new works on it.
        let writer = create(&path);
        let loose = LooseCrop { png: vec![1], points: [[1.0, 2.0]; 5] };
        let new = NewSample { loose: Some(loose), ..sample([0.0, 0.0, 1.0]) };
        writer.enroll("Ann O'Brien", &[new]).unwrap();
        let points: Vec<u8> =
            raw.query_row("SELECT points FROM loose_crops", [], |r| r.get(0)).unwrap();
        assert_eq!(points[..8], [0, 0, 128, 63, 0, 0, 0, 64]);
    }
}

#[test]
fn old_gallery_that_cannot_be_written_is_refused_with_what_to_do() {
    let (folder, path) = version_1();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let opened = Gallery::open(&path, &fingerprint(), Access::Read);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    // Modes do not stop root.
    if let Err(error) = opened {
        let text = error.to_string();
        assert!(matches!(error, GalleryError::OlderSchema { version: 1, .. }), "{error:?}");
        assert!(text.contains("copy it to where you may write"), "{text}");
    }
}
