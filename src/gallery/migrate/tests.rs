use std::time::Duration;

use super::*;
use crate::gallery::test_people::*;
use crate::gallery::{Gallery, GalleryError, LooseCrop, NewSample};
use crate::identity::Status;

/// Both embedders of the tests: the gallery's, and the one it moves to.
fn embedders() -> Option<(Embedder, Embedder)> {
    Some((embedder("embedder.onnx")?, embedder("embedder_coarse.onnx")?))
}

/// Three people with two samples each; the second sample of the second has no picture.
fn gallery(path: &Path, embedder: &mut Embedder) -> Gallery {
    let gallery = Gallery::open(path, embedder.fingerprint(), Access::Create).unwrap();
    for person in 0..3u64 {
        for i in 0..2 {
            let mut sample = sample_of(embedder, &face(10 * person + i));
            sample.crop_png = sample.crop_png.filter(|_| (person, i) != (1, 1));
            gallery.enroll(&format!("person {person}"), &[sample]).unwrap();
        }
    }
    gallery
}

fn quiet(_: u64, _: u64) {}

/// Who a face is in a gallery of that embedder.
fn who(path: &Path, embedder: &mut Embedder, seed: u64) -> String {
    let gallery = Gallery::open(path, embedder.fingerprint(), Access::Read).unwrap();
    let embedding = embedder.embed(&[&face(seed)], None).unwrap().remove(0).unwrap();
    let found = gallery.snapshot().identify(&embedding, 0.999, 0.0, 1).unwrap();
    assert_eq!(found.status, Status::Known, "{seed}: {found:?}");
    found.best.unwrap().name.to_string()
}

#[test]
fn migrated_people_are_found_in_the_new_space_and_rolled_back_in_the_old() {
    let Some((mut old, mut new)) = embedders() else { return };
    let (folder, path) = folder();
    let writer = gallery(&path, &mut old);
    let reader = Gallery::open(&path, old.fingerprint(), Access::Read).unwrap();
    let before_it = reader.persons().unwrap();

    let plan = plan(&path, new.fingerprint()).unwrap();
    assert_eq!((&*plan.from, &*plan.to, plan.samples), ("embedder", "embedder_coarse", 6));
    assert_eq!((plan.lost.clone(), plan.lost()), (vec![(Lost::NoPicture, 1)], 1));
    assert_eq!(plan.emptied, Vec::<String>::new());
    let mut told = Vec::new();
    let done = run(&path, &mut new, 1, &mut |done, all| told.push((done, all))).unwrap();
    assert_eq!((done.samples, done.lost, done.duplicates), (5, 1, 0));
    assert_eq!(told, [(6, 6)]);
    for seed in [0, 1, 10, 20, 21] {
        assert_eq!(who(&path, &mut new, seed), format!("person {}", seed / 10));
    }
    // Whoever has it open goes on with the old contents, and neither mixes nor is mixed up.
    let error = reader.refresh(Duration::ZERO).unwrap_err();
    assert!(matches!(error, GalleryError::OtherEmbedder { .. }), "{error:?}");
    assert_eq!(reader.snapshot().samples(), 6);
    let late = sample_of(&mut old, &face(77));
    let error = writer.enroll("late", std::slice::from_ref(&late)).unwrap_err();
    assert!(matches!(error, GalleryError::OtherEmbedder { .. }), "{error:?}");

    let late = sample_of(&mut new, &face(77));
    // Times of enrolments have milliseconds.
    let migrated = Gallery::open(&path, new.fingerprint(), Access::Write).unwrap();
    migrated.enroll("late", &[late]).unwrap();
    let way = way_back(&path).unwrap();
    assert_eq!((way.persons, way.samples, &way.before), (1, 1, &done.before));
    assert_eq!(&*way.model, "embedder");
    assert_eq!(roll_back(&path).unwrap(), way);
    // Two changes of the space later they are at home again.
    assert!(reader.refresh(Duration::ZERO).unwrap());
    assert_eq!((reader.persons().unwrap(), reader.snapshot().samples()), (before_it, 6));
    assert_eq!(who(&path, &mut old, 11), "person 1");
    let error = roll_back(&path).unwrap_err();
    assert!(matches!(error, TransferError::NoWayBack { .. }), "{error:?}");
    drop((reader, writer, migrated));
    assert_eq!(files(&folder), ["g"]);
}

#[test]
fn migration_that_would_lose_more_than_allowed_changes_nothing() {
    let Some((mut old, mut new)) = embedders() else { return };
    let (folder, path) = folder();
    let gallery = gallery(&path, &mut old);
    let damaged =
        NewSample { crop_png: Some(b"no picture".to_vec()), ..sample_of(&mut old, &face(99)) };
    gallery.enroll("unlucky", &[damaged]).unwrap();
    // The new model sees no direction in black, the old one would not either.
    let black = AlignedCrop::from_rgb(vec![0; CROP_SIDE * CROP_SIDE * 3]).unwrap();
    let crop_png = Some(black.to_png().unwrap());
    let dark = NewSample { crop_png, ..sample_of(&mut old, &face(98)) };
    gallery.enroll("dark", &[dark]).unwrap();
    let planned = plan(&path, new.fingerprint()).unwrap();
    assert_eq!(planned.lost, [(Lost::NoPicture, 1), (Lost::Unreadable, 1)]);
    assert_eq!(planned.emptied, ["unlucky"]);
    let error = run(&path, &mut new, planned.lost(), &mut quiet).unwrap_err();
    assert!(matches!(error, TransferError::MoreLost { lost: 3, most: 2, .. }), "{error:?}");
    assert!(!gallery.refresh(Duration::ZERO).unwrap());
    assert_eq!(who(&path, &mut old, 20), "person 2");
    drop(gallery);
    assert_eq!(files(&folder), ["g"]);
    let done = run(&path, &mut new, u64::MAX, &mut quiet).unwrap();
    assert_eq!((done.samples, done.lost), (5, 3));
    let error = run(&path, &mut new, u64::MAX, &mut quiet).unwrap_err();
    assert!(matches!(error, TransferError::SameSpace { .. }), "{error:?}");
}

#[test]
fn whoever_is_enrolled_meanwhile_is_taken_along() {
    let Some((mut old, mut new)) = embedders() else { return };
    let (_folder, path) = folder();
    let gallery = gallery(&path, &mut old);
    let late = sample_of(&mut old, &face(50));
    let mut rounds = 0;
    let done = run(&path, &mut new, 1, &mut |_, _| {
        if rounds == 0 {
            gallery.enroll("late", std::slice::from_ref(&late)).unwrap();
        }
        rounds += 1;
    });
    assert_eq!((done.unwrap().samples, rounds), (6, 2));
    assert_eq!(who(&path, &mut new, 50), "late");
    // And is in what the roll-back brings.
    roll_back(&path).unwrap();
    assert_eq!(who(&path, &mut old, 50), "late");
}

#[test]
fn endless_enrolments_end_the_migration_not_the_gallery() {
    let Some((mut old, mut new)) = embedders() else { return };
    let (_folder, path) = folder();
    let gallery = gallery(&path, &mut old);
    let mut seed = 100;
    let error = run(&path, &mut new, 1, &mut |_, _| {
        seed += 1;
        gallery.enroll("late", &[sample_of(&mut old, &face(seed))]).unwrap();
    });
    assert!(matches!(error, Err(TransferError::TooBusy { .. })), "{error:?}");
    assert_eq!(who(&path, &mut old, seed), "late");
}

#[test]
fn face_is_cut_again_from_the_looser_picture() {
    let Some((mut old, mut new)) = embedders() else { return };
    let (_folder, path) = folder();
    let gallery = Gallery::open(&path, old.fingerprint(), Access::Create).unwrap();
    let face = face(5);
    let loose = Some(loose(&face));
    let sample = NewSample { crop_png: None, loose, ..sample_of(&mut old, &face) };
    gallery.enroll("Ann", &[sample]).unwrap();
    let done = run(&path, &mut new, 0, &mut quiet).unwrap();
    assert_eq!((done.samples, done.lost), (1, 0));
    assert_eq!(who(&path, &mut new, 5), "Ann");
}

#[test]
fn aligned_picture_of_another_alignment_is_not_used() {
    let Some((mut old, mut new)) = embedders() else { return };
    let (_folder, path) = folder();
    let space =
        Fingerprint { alignment: "another".into(), ..Fingerprint::clone(old.fingerprint()) };
    let gallery = Gallery::open(&path, &space, Access::Create).unwrap();
    // What is aligned otherwise looks like somebody else.
    let both = NewSample { loose: Some(loose(&face(5))), ..sample_of(&mut old, &face(6)) };
    gallery.enroll("both", &[both]).unwrap();
    gallery.enroll("aligned", &[sample_of(&mut old, &face(7))]).unwrap();
    let bare = NewSample { crop_png: None, ..sample_of(&mut old, &face(8)) };
    gallery.enroll("bare", &[bare]).unwrap();
    let damaged = LooseCrop { png: b"no picture".to_vec(), ..loose(&face(9)) };
    let damaged = NewSample { loose: Some(damaged), ..sample_of(&mut old, &face(9)) };
    gallery.enroll("damaged", &[damaged]).unwrap();

    let planned = plan(&path, new.fingerprint()).unwrap();
    let lost = [(Lost::NoPicture, 1), (Lost::Unreadable, 1), (Lost::NoLoosePicture, 1)];
    assert_eq!(planned.lost, lost);
    assert_eq!(planned.emptied, ["aligned", "bare", "damaged"]);
    let done = run(&path, &mut new, planned.lost(), &mut quiet).unwrap();
    assert_eq!((done.samples, done.lost), (1, 3));
    assert_eq!(who(&path, &mut new, 5), "both");
    // Nor is it afterwards, when the gallery goes on to a third embedder.
    assert_eq!(plan(&path, old.fingerprint()).unwrap().lost, []);
    run(&path, &mut old, 0, &mut quiet).unwrap();
    assert_eq!(who(&path, &mut old, 5), "both");
}

#[test]
fn name_of_the_kept_gallery_stays_in_its_folder() {
    let name = before("/a/g".as_ref(), "../x y\u{1b}é");
    assert_eq!(name, Path::new("/a/g.before-..-x-y--"));
}
