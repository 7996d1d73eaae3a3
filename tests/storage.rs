//! Storages: the same behaviour in a folder, in s3s-fs, which checks signatures, and in moto.

#[path = "support/s3.rs"]
mod s3;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use face_core::storage::{Object, Storage, StorageError};
use s3::{HASTY, servers, strict_server};

const MIB: usize = 1 << 20;

/// Bytes that do not repeat within a part.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn keys(storage: &Storage, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    storage
        .list(prefix, &mut |object: Object| {
            keys.push(object.key);
            ControlFlow::Continue(())
        })
        .expect("the list is made");
    keys.sort();
    keys
}

/// Everything that a storage promises, whatever it is.
fn behaves(storage: &Storage) {
    small_objects(storage);
    odd_keys(storage);
    large_files(storage);
    links(storage);
}

fn small_objects(storage: &Storage) {
    let before = SystemTime::now() - Duration::from_secs(5);
    assert!(matches!(storage.get("a/1.json", 10), Err(StorageError::NotFound { .. })));
    assert!(matches!(storage.head("a/1.json"), Err(StorageError::NotFound { .. })));
    assert_eq!(keys(storage, ""), [""; 0]);
    storage.delete("a/1.json").expect("what is gone is gone");

    let stored = storage.put("a/1.json", b"{}").unwrap();
    assert_eq!(stored.size, 2);
    assert_eq!(stored.sha256, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    let object = storage.head("a/1.json").unwrap();
    assert_eq!((object.key.as_str(), object.size), ("a/1.json", 2));
    assert!(object.modified > before, "{object:?}");
    storage.put("a/1.json", b"other").unwrap();
    assert_eq!(storage.get("a/1.json", 5).unwrap(), b"other");
    let error = storage.get("a/1.json", 4).unwrap_err();
    assert!(matches!(error, StorageError::TooLarge { size: 5, limit: 4, .. }), "{error}");
    storage.put("a/b/empty", b"").unwrap();
    assert_eq!(storage.get("a/b/empty", 0).unwrap(), b"");

    // A prefix is a folder, not a beginning of a name.
    storage.put("ab", b"x").unwrap();
    assert_eq!(keys(storage, "a"), ["a/1.json", "a/b/empty"]);
    assert_eq!(keys(storage, ""), ["a/1.json", "a/b/empty", "ab"]);
    assert_eq!(keys(storage, "nobody"), [""; 0]);
    let mut count = 0;
    let mut first = |_| {
        count += 1;
        ControlFlow::Break(())
    };
    storage.list("", &mut first).unwrap();
    assert_eq!(count, 1);
    for key in ["a/1.json", "a/b/empty", "ab"] {
        storage.delete(key).unwrap();
    }
    assert_eq!(keys(storage, ""), [""; 0]);
}

fn odd_keys(storage: &Storage) {
    let odd = ["Tür 3/a b.json", "100%/x+y&z=1.json", "q?#/'\"<>.json", "…/%2e%2e.json"];
    for key in odd {
        storage.put(key, key.as_bytes()).unwrap_or_else(|e| panic!("{key}: {e}"));
        assert_eq!(storage.get(key, 100).unwrap(), key.as_bytes(), "{key}");
    }
    let mut expected = odd.map(str::to_owned);
    expected.sort();
    assert_eq!(keys(storage, ""), expected);
    for key in odd {
        storage.delete(key).unwrap();
    }
    for key in ["", "/etc/passwd", "../outside", "a/../../outside", "a//b", "a\\b", "a\nb"] {
        for error in [
            storage.put(key, b"x").unwrap_err(),
            storage.get(key, 9).unwrap_err(),
            storage.head(key).unwrap_err(),
            storage.delete(key).unwrap_err(),
            storage.link(key, Duration::from_secs(9)).unwrap_err(),
        ] {
            assert!(matches!(error, StorageError::Key { .. }), "{key:?}: {error}");
        }
    }
}

fn large_files(storage: &Storage) {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from.mp4"), folder.path().join("to.mp4"));
    // Two whole parts and a rest, and exactly one part.
    for size in [17 * MIB + 5, 8 * MIB] {
        let bytes = noise(size);
        fs::write(&from, &bytes).unwrap();
        let mut told = Vec::new();
        let mut progress = |done, total| {
            told.push((done, total));
            ControlFlow::Continue(())
        };
        let stored = storage.put_file("clip.mp4", &from, &mut progress).unwrap();
        assert_eq!(stored.size, size as u64);
        assert!(told.is_sorted(), "{told:?}");
        assert_eq!(told.last(), Some(&(size as u64, size as u64)), "{told:?}");
        fs::write(&to, b"what was there").unwrap();
        let fetched =
            storage.get_file("clip.mp4", &to, &mut |_, _| ControlFlow::Continue(())).unwrap();
        assert_eq!(fetched, stored);
        assert!(fs::read(&to).unwrap() == bytes);
    }
    // Who cancels changes nothing.
    fs::write(&from, noise(20 * MIB)).unwrap();
    let half = |done, total| {
        if done * 2 > total { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let error = storage.put_file("clip.mp4", &from, &mut { half }).unwrap_err();
    assert!(matches!(error, StorageError::Cancelled), "{error}");
    assert_eq!(storage.head("clip.mp4").unwrap().size, 8 * MIB as u64);
    let stop = |_, _| ControlFlow::Break(());
    let error = storage.get_file("clip.mp4", &to, &mut { stop }).unwrap_err();
    assert!(matches!(error, StorageError::Cancelled), "{error}");
    assert_eq!(fs::metadata(&to).unwrap().len(), 8 * MIB as u64);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no part is left");

    let error = storage.get_file("none", &to, &mut |_, _| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, StorageError::NotFound { .. }), "{error}");
    let missing = folder.path().join("missing");
    let error = storage.put_file("x", &missing, &mut |_, _| ControlFlow::Continue(()));
    let error = error.unwrap_err().to_string();
    assert!(error.contains(missing.to_str().unwrap()), "{error}");
    storage.delete("clip.mp4").unwrap();
}

fn links(storage: &Storage) {
    storage.put("Tür/a b.json", b"{\"linked\":1}").unwrap();
    let hour = Duration::from_secs(3600);
    let before = SystemTime::now();
    let link = storage.link("Tür/a b.json", hour).unwrap();
    if let Some(path) = link.url.strip_prefix("file://") {
        assert_eq!(link.expires, None);
        assert!(path.ends_with("/T%C3%BCr/a%20b.json"), "{path}");
    } else {
        let expires = link.expires.expect("a link expires");
        assert!(expires >= before + hour && expires < before + hour * 2);
        let (status, answer) = s3::ask(&link.url, "GET");
        assert!(status == 200 && answer.contains("{\"linked\":1}"), "{answer}");
        let (_, headers) = answer.split_once("\r\n").unwrap();
        assert!(headers.to_lowercase().contains("content-type: application/json"), "{answer}");
        assert!(!format!("{link:?}").contains("Signature"));
    }
    for expiry in [Duration::ZERO, Duration::from_secs(7 * 86_400 + 1)] {
        assert!(matches!(storage.link("a", expiry), Err(StorageError::Expiry { .. })));
    }
    storage.delete("Tür/a b.json").unwrap();
}

#[test]
fn folder_behaves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/when missing");
    behaves(&Storage::open(path.to_str().unwrap()).unwrap());
    let storage = Storage::open(&format!("file://{}/url%20too", folder.path().display())).unwrap();
    storage.put("x", b"1").unwrap();
    assert!(folder.path().join("url too/x").is_file());
    assert_eq!(storage.uri(), format!("file://{}/url%20too", folder.path().display()));
    // Everything was deleted again, and with it the folders that it needed.
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn buckets_behave() {
    for server in servers() {
        eprintln!("{}", server.name);
        behaves(&server.storage());
    }
}

#[test]
fn storages_in_one_bucket_do_not_see_each_other() {
    for server in servers() {
        let bucket = server.new_bucket();
        let open = |prefix: &str| server.try_open(&server.uri(&bucket, prefix), &HASTY).unwrap();
        let (one, two, all) = (open("one"), open("one-more/deep"), open(""));
        one.put("x", b"1").unwrap();
        two.put("x", b"2").unwrap();
        assert_eq!(keys(&one, ""), ["x"], "{}", server.name);
        assert_eq!(keys(&two, ""), ["x"], "{}", server.name);
        assert_eq!(keys(&all, ""), ["one-more/deep/x", "one/x"], "{}", server.name);
        assert_eq!(two.get("x", 9).unwrap(), b"2");
        assert_eq!(one.uri(), format!("s3://{bucket}/one"));
    }
}

#[test]
fn wrong_credentials_and_buckets_are_said_to_be_so() {
    if let Some(server) = strict_server() {
        let bucket = server.new_bucket();
        let wrong = s3::Server { secret: "hunter2-and-more".to_owned(), ..server.clone() };
        let storage = wrong.try_open(&wrong.uri(&bucket, "p"), &HASTY).unwrap();
        for error in [
            storage.put("x", b"1").unwrap_err(),
            storage.head("x").unwrap_err(),
            storage.list("", &mut |_| ControlFlow::Continue(())).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(matches!(error, StorageError::Denied { .. }), "{error:?}");
            assert!(text.contains(&format!("s3://{bucket}/p")), "{text}");
            assert!(!text.contains("hunter2") && !error.is_transient(), "{text}");
        }
        // A link cannot be turned into one to another object.
        let storage = server.storage();
        storage.put("x", b"1").unwrap();
        storage.put("y", b"2").unwrap();
        let link = storage.link("x", Duration::from_secs(60)).unwrap();
        assert_eq!(s3::ask(&link.url, "GET").0, 200);
        let status = s3::ask(&link.url.replace("/x?", "/y?"), "GET").0;
        assert!((400..500).contains(&status), "{status}");
    }
    for server in servers().into_iter().filter(|server| server.name == "moto") {
        let storage = server.try_open(&server.uri("no-such-bucket", ""), &HASTY).unwrap();
        let error = storage.put("x", b"1").unwrap_err();
        assert!(matches!(error, StorageError::NoBucket { .. }), "{error:?}");
    }
}

/// Storages whose URI or surroundings are wrong are refused before anything is sent.
#[test]
fn what_cannot_work_is_refused_at_once() {
    let open = |uri: &str| Storage::open_in(uri, &HASTY, &|_| None).unwrap_err();
    let error = open("s3://me:hunter2@bucket/x?color=hunter2").to_string();
    assert!(error.contains("AWS_ACCESS_KEY_ID") && !error.contains("hunter2"), "{error}");
    let error = open("s3://bucket?color=hunter2").to_string();
    assert!(error.contains("'color'") && !error.contains("hunter2"), "{error}");
    let error = open("s3://bucket?profile=nobody").to_string();
    assert!(error.contains("'nobody'"), "{error}");
    let plain = |name: &str| match name {
        "AWS_ENDPOINT_URL" => Some("http://minio:9000".to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("x".to_owned()),
        _ => None,
    };
    let error = Storage::open_in("s3://bucket", &HASTY, &plain).unwrap_err().to_string();
    assert!(error.contains("allow-http"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Storage::open(path.to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn links_do_not_lead_out_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), b"secret").unwrap();
    let storage = Storage::open(root.to_str().unwrap()).unwrap();
    storage.put("inside", b"1").unwrap();
    symlink(&outside, root.join("away")).unwrap();
    symlink(outside.join("secret"), root.join("file")).unwrap();
    symlink(root.join("inside"), root.join("alias")).unwrap();
    for key in ["away/secret", "file", "alias", "away/new/x"] {
        for error in [
            storage.get(key, 100).unwrap_err(),
            storage.head(key).unwrap_err(),
            storage.put(key, b"2").unwrap_err(),
            storage.delete(key).unwrap_err(),
            storage.link(key, Duration::from_secs(9)).unwrap_err(),
        ] {
            assert!(matches!(error, StorageError::Link { .. }), "{key}: {error}");
        }
    }
    assert_eq!(keys(&storage, ""), ["inside"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    // The storage itself may be behind a link: who named it meant that.
    symlink(&root, folder.path().join("door")).unwrap();
    let door = Storage::open(folder.path().join("door").to_str().unwrap()).unwrap();
    assert_eq!(door.get("inside", 1).unwrap(), b"1");
}

#[test]
fn folder_is_private_and_shows_whole_objects_only() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let storage = Storage::open(root.to_str().unwrap()).unwrap();
    storage.put("camera/x.json", b"1").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join("camera")), 0o700);
    assert_eq!(mode(&root.join("camera/x.json")), 0o600);
    // What a killed process left, and what nobody could have stored.
    fs::write(root.join("camera/.part-abc"), b"half").unwrap();
    fs::write(root.join("camera/back\\slash"), b"odd").unwrap();
    assert_eq!(keys(&storage, ""), ["camera/x.json"]);
    // A folder is no object, and an object no folder.
    assert!(matches!(storage.get("camera", 9), Err(StorageError::NotFound { .. })));
    assert!(matches!(storage.head("camera/x.json/y"), Err(StorageError::NotFound { .. })));
    assert_eq!(keys(&storage, "camera/x.json"), [""; 0]);
    assert!(storage.put("camera/x.json/y", b"1").is_err());
    assert!(storage.put("camera", b"1").is_err());
    assert_eq!(storage.get("camera/x.json", 1).unwrap(), b"1");
}

#[test]
fn file_that_changes_while_it_is_stored_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path().join("s").to_str().unwrap()).unwrap();
    let file = folder.path().join("growing.mp4");
    fs::write(&file, vec![1; 9 * MIB]).unwrap();
    let mut grow = |done, _| {
        if done == 0 {
            fs::write(&file, vec![2; 10 * MIB]).unwrap();
        }
        ControlFlow::Continue(())
    };
    let error = storage.put_file("x.mp4", &file, &mut grow).unwrap_err();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
    assert_eq!(keys(&storage, ""), [""; 0]);
}
