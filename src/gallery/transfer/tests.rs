use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::gallery::test_people::*;
use crate::gallery::{Gallery, LooseCrop, NewSample, VoteRule};

fn quiet(_: u64) {}

fn simple(file: &Path, gallery: &Path, clash: Clash) -> Result<Imported, TransferError> {
    import(file, gallery, clash, None, &mut quiet)
}

/// Everything of a gallery but the times of change.
fn contents(path: &Path) -> Vec<(PersonRow, Vec<SampleRow>)> {
    let store = Backend::open(&path.into(), Access::Read, None, BUSY_TIMEOUT).unwrap();
    let people = store.everybody().unwrap();
    people.iter().map(|p| store.person_rows(p.0).unwrap().unwrap()).collect()
}

/// A gallery with everything that can be stored, and its export.
fn exported() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let (folder, path) = folder();
    let gallery = with_people(&path, &space(), &["O'Brien \"x\" 👩🏽‍🚀", "عبد الله", "Ann"]);
    let loose = Some(LooseCrop { png: vec![0, 255, 10], points: [[1.5, -2.25]; 5] });
    let odd = NewSample { loose, ..NewSample::new(embedding(&[0.1, 0.7, 0.3]), "b\n\"c") };
    gallery.enroll("Ann", &[odd]).unwrap();
    let ann = gallery.persons().unwrap().remove(2);
    gallery.set_threshold(&ann.id, Some(0.612_345_7)).unwrap();
    let file = folder.path().join("people.jsonl");
    let counts = export(&path, &file, &[], false).unwrap();
    assert_eq!(counts, Exported { persons: 3, samples: 7 });
    (folder, path, file)
}

#[test]
fn imported_people_are_those_that_were_exported() {
    let (folder, path, file) = exported();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = folder.path().join("new/copy");
    let imported = simple(&file, &copy, Clash::Refuse).unwrap();
    assert_eq!((imported.persons, imported.samples, imported.duplicates), (3, 7, 0));
    assert_eq!(contents(&copy), contents(&path));
    let gallery = Gallery::open(&copy, &space(), Access::Read).unwrap();
    assert_eq!(names(&gallery)[2], "Ann");
    // The same again: nothing is there twice.
    let again = simple(&file, &copy, Clash::Merge).unwrap();
    assert_eq!((again.persons, again.merged, again.samples, again.duplicates), (0, 3, 0, 7));
    let skipped = simple(&file, &copy, Clash::Skip).unwrap();
    assert_eq!((skipped.skipped, skipped.samples, skipped.duplicates), (3, 0, 0));
    let refused = simple(&file, &copy, Clash::Refuse).unwrap_err();
    assert!(matches!(refused, TransferError::Clash { count: 3, .. }), "{refused:?}");
    assert!(!gallery.refresh(std::time::Duration::ZERO).unwrap(), "nothing was written");
    drop(gallery);
    assert!(!files(&folder).iter().any(|name| name.ends_with(".part")));
}

#[test]
fn chosen_people_alone_are_exported() {
    let (folder, path, _) = exported();
    let file = folder.path().join("one");
    let ann = Gallery::open(&path, &space(), Access::Read).unwrap().persons().unwrap().remove(2);
    for who in [&ann.id, &ann.name] {
        let counts = export(&path, &file, std::slice::from_ref(who), true).unwrap();
        assert_eq!(counts, Exported { persons: 1, samples: 3 });
    }
    let error = export(&path, &file, &["nobody".into()], true).unwrap_err();
    assert!(error.to_string().contains("\"nobody\""), "{error}");
    let error = export(&path, &file, &[], false).unwrap_err();
    assert!(matches!(error, TransferError::Exists { .. }), "{error:?}");
}

#[test]
fn changed_or_cut_file_is_refused_as_a_whole() {
    let (folder, _, file) = exported();
    let whole = fs::read(&file).unwrap();
    let (bad, copy) = (folder.path().join("bad"), folder.path().join("copy"));
    let refuse = |bytes: &[u8], what: &str| {
        fs::write(&bad, bytes).unwrap();
        let error = Reader::open(&bad).and_then(|r| r.for_each(&mut |_| Ok(()))).expect_err(what);
        let expected =
            matches!(error, TransferError::Damaged { .. } | TransferError::NewerFormat { .. });
        assert!(expected, "{what}: {error:?}");
    };
    let mut next = numbers(4711);
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 + next(255) as u8;
        refuse(&bytes, &format!("flip at {place}"));
    }
    for _ in 0..50 {
        let length = next(whole.len());
        refuse(&whole[..length], &format!("cut at {length}"));
    }
    for more in [" ", "\n", "{}\n"] {
        refuse(&[&whole, more.as_bytes()].concat(), more);
    }
    // Also after everything else was read.
    let mut bytes = whole.clone();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    fs::write(&bad, &bytes).unwrap();
    let error = simple(&bad, &copy, Clash::Refuse).unwrap_err();
    assert!(matches!(error, TransferError::Damaged { .. }), "{error:?}");
    assert!(!copy.exists());
    let here = with_people(&copy, &space(), &["Zoe"]);
    simple(&bad, &copy, Clash::Merge).unwrap_err();
    assert_eq!(here.persons().unwrap().len(), 1);
}

/// A file that is whole, with contents that nobody should have written.
fn forged(line: &str) -> Vec<u8> {
    let header = serde_json::to_string(&Header::new(&space(), String::new())).unwrap();
    let person = r#"{"person":{"id":"0c7e1b0e-2f6c-4a57-9f0a-7f6a6f0f3f11","name":"Ann","attributes":{},"threshold":null,"expires":null,"created":"2026-11-22T09:30:00.000Z"}}"#;
    let text = format!("{header}\n{person}\n{line}\n");
    use sha2::Digest;
    let sha256 = crate::model::hex(&sha2::Sha256::digest(text.as_bytes()));
    let (people, samples) =
        (text.matches("{\"person\"").count(), text.matches("{\"sample\"").count());
    format!(
        "{text}{{\"end\":{{\"persons\":{people},\"samples\":{samples},\"sha256\":\"{sha256}\"}}}}\n"
    )
    .into()
}

#[test]
fn hostile_contents_are_refused_with_their_line() {
    let (folder, path) = folder();
    let file = folder.path().join("f");
    let person = |change: [&str; 2]| {
        r#"{"person":{"id":"1c7e1b0e-2f6c-4a57-9f0a-7f6a6f0f3f11","name":"Bob","attributes":{},"threshold":0.5,"expires":null,"created":"2026-11-22T09:30:00.000Z"}}"#
            .replace(change[0], change[1])
    };
    let sample = |change: [&str; 2]| {
        r#"{"sample":{"embedding":"AACAPwAAAAAAAAAA","crop":null,"loose":null,"source":"","negative":false,"created":"2026-11-22T09:30:00.000Z"}}"#
            .replace(change[0], change[1])
    };
    for good in [person(["", ""]), sample(["", ""])] {
        fs::write(&file, forged(&good)).unwrap();
        Reader::open(&file).unwrap().for_each(&mut |_| Ok(())).unwrap();
    }
    for bad in [
        person(["Bob", "a\\u001b[31m"]),
        person(["Bob", "  "]),
        person(["1c7e", "'; DROP"]),
        person(["0.5", "1.5"]),
        person(["0.5", "1e99"]),
        person(["{},", "[],"]),
        person(["2026-11-22T", "yesterday"]),
        sample(["AACAPwAAAAAAAAAA", "AACAPwAAAAA="]),
        sample(["AACAPwAAAAAAAAAA", "AADAfwAAAAAAAAAA"]),
        sample(["AACAPwAAAAAAAAAA", "AAAAAAAAAAAAAAAA"]),
        sample(["\"crop\":null", "\"crop\":\"%\""]),
        "{}".into(),
        "{\"other\":1}".into(),
    ] {
        fs::write(&file, forged(&bad)).unwrap();
        let error = simple(&file, &path, Clash::Merge).expect_err(&bad);
        assert!(matches!(error, TransferError::Damaged { .. }), "{bad}: {error:?}");
        assert!(error.to_string().contains("line 3"), "{bad}: {error}");
    }
    for (bytes, part) in [
        (&b""[..], "no export"),
        (b"hello\n", "no export"),
        (b"{\"format\":\"face-people/0\"}\n", "no valid format version"),
        (b"{\"format\":\"face-people/2\"}\n", "newer program"),
        (b"{\"format\":\"face-people/1\"}\n", "first line"),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = simple(&file, &path, Clash::Merge).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(!path.exists());
}

#[test]
fn people_of_one_name_or_one_id_are_merged_and_keep_what_the_gallery_says() {
    let (folder, path, file) = exported();
    let other = folder.path().join("other");
    let gallery = Gallery::open(&other, &space(), Access::Create).unwrap();
    let ann = gallery.enroll("Ann", &[sample([0.3, 0.3, 0.9])]).unwrap();
    let imported = simple(&file, &other, Clash::Merge).unwrap();
    assert_eq!((imported.persons, imported.merged, imported.samples), (2, 1, 7));
    let person = gallery.persons().unwrap().remove(0);
    assert_eq!((person.id, person.samples, person.threshold), (ann.person_id, 4, None));
    // The exported gallery's Ann is another than that one by the id: by the name she is Ann.
    let back = folder.path().join("back");
    export(&other, &back, &["Ann".into()], false).unwrap();
    let imported = simple(&back, &path, Clash::Merge).unwrap();
    assert_eq!((imported.merged, imported.samples, imported.duplicates), (1, 1, 3));
}

#[test]
fn id_of_one_and_name_of_another_is_refused() {
    let (folder, path) = folder();
    let file = folder.path().join("f");
    fs::write(&file, forged("")).unwrap();
    let forged_id = "0c7e1b0e-2f6c-4a57-9f0a-7f6a6f0f3f11";
    // A blank line is no JSON.
    assert!(simple(&file, &path, Clash::Merge).is_err());
    let more = r#"{"sample":{"embedding":"AACAPwAAAAAAAAAA","crop":null,"loose":null,"source":"","created":"2026-11-22T09:30:00.000Z"}}"#;
    let whole = String::from_utf8(forged(more)).unwrap();
    fs::write(&file, &whole).unwrap();
    simple(&file, &path, Clash::Refuse).unwrap();
    let gallery = Gallery::open(&path, &space(), Access::Write).unwrap();
    assert_eq!(gallery.persons().unwrap()[0].id, forged_id);
    gallery.enroll("Bob", &[sample([0.0, 1.0, 0.0])]).unwrap();
    // The id of Ann, the name of Bob.
    let line = whole.lines().nth(1).unwrap();
    let bob = line.replace("Ann", "Bob");
    fs::write(&file, forged(&bob)).unwrap();
    let error = simple(&file, &path, Clash::Merge).unwrap_err();
    assert!(matches!(error, TransferError::TwoPeople { .. }), "{error:?}");
    assert_eq!(contents(&path).len(), 2);
}

#[test]
fn people_of_another_embedder_are_embedded_again_by_their_pictures() {
    let (Some(mut old), Some(mut new)) =
        (embedder("embedder.onnx"), embedder("embedder_coarse.onnx"))
    else {
        return;
    };
    let (folder, path) = folder();
    let gallery = Gallery::open(&path, old.fingerprint(), Access::Create).unwrap();
    for seed in 0..4 {
        let mut sample = sample_of(&mut old, &face(seed));
        sample.crop_png = sample.crop_png.filter(|_| seed != 3);
        gallery.enroll(if seed < 2 { "Ann" } else { "Bob" }, &[sample]).unwrap();
    }
    let file = folder.path().join("f");
    export(&path, &file, &[], false).unwrap();
    let target = folder.path().join("target");
    drop(Gallery::open(&target, new.fingerprint(), Access::Create).unwrap());
    let error = simple(&file, &target, Clash::Refuse).unwrap_err();
    assert!(matches!(error, TransferError::NeedsEmbedder { .. }), "{error:?}");
    let error = import(&file, &target, Clash::Refuse, Some(&mut old), &mut quiet).unwrap_err();
    assert!(matches!(error, TransferError::NeedsEmbedder { .. }), "not the gallery's: {error:?}");
    let mut told = 0;
    // Into the gallery that is there, and into one that is made.
    for target in [target, folder.path().join("made")] {
        let done = import(&file, &target, Clash::Refuse, Some(&mut new), &mut |n| told = n);
        let done = done.unwrap();
        assert_eq!((done.persons, done.samples, told), (2, 3, 4));
        assert_eq!(done.lost, [("Bob".into(), migrate::Lost::NoPicture, 1)]);
        let moved = Gallery::open(&target, new.fingerprint(), Access::Read).unwrap();
        let query = new.embed(&[&face(2)], None).unwrap().remove(0).unwrap();
        let found = moved.snapshot().search(&query, 1, VoteRule::default()).unwrap();
        assert_eq!((&*found[0].name, found[0].similarity > 0.999), ("Bob", true));
    }
}

#[test]
fn aligned_pictures_of_another_alignment_are_not_imported() {
    let (Some(mut old), Some(mut new)) =
        (embedder("embedder.onnx"), embedder("embedder_coarse.onnx"))
    else {
        return;
    };
    let (folder, path) = folder();
    let space =
        Fingerprint { alignment: "another".into(), ..Fingerprint::clone(old.fingerprint()) };
    let gallery = Gallery::open(&path, &space, Access::Create).unwrap();
    gallery.enroll("aligned", &[sample_of(&mut old, &face(1))]).unwrap();
    let loose = Some(loose(&face(2)));
    let both = NewSample { loose, ..sample_of(&mut old, &face(3)) };
    gallery.enroll("both", &[both]).unwrap();
    let file = folder.path().join("f");
    export(&path, &file, &[], false).unwrap();
    let target = folder.path().join("target");
    let done = import(&file, &target, Clash::Refuse, Some(&mut new), &mut quiet).unwrap();
    assert_eq!((done.persons, done.samples), (2, 1));
    assert_eq!(done.lost, [("aligned".into(), migrate::Lost::NoLoosePicture, 1)]);
    let (_, samples) = contents(&target).remove(1);
    assert!(samples[0].crop_png.is_none() && samples[0].loose.is_some());
    let moved = Gallery::open(&target, new.fingerprint(), Access::Read).unwrap();
    let query = new.embed(&[&face(2)], None).unwrap().remove(0).unwrap();
    let found = moved.snapshot().search(&query, 1, VoteRule::default()).unwrap();
    assert_eq!((&*found[0].name, found[0].similarity > 0.999), ("both", true));
}
