//! Enrolling and finding, in a file and on a server.

use super::*;

on_both!(
    enrolled_people_are_found_now_and_after_reopening,
    odd_names_come_back_as_they_are,
    exact_duplicates_are_stored_once_per_person,
    another_handle_sees_an_enrolment_after_refresh,
    own_threshold_is_stored_and_searched_with,
    reader_cannot_write,
    inspection_needs_no_model,
    gallery_of_another_embedder_is_refused_with_both_names,
    handles_that_create_and_enrol_at_once_lose_nothing,
);

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

fn create(place: &Place) -> Gallery {
    Gallery::open(&place.location, &fingerprint(), Access::Create).unwrap()
}

fn enrolled_people_are_found_now_and_after_reopening(place: &Place) {
    let gallery = create(place);
    let ann = gallery.enroll(" Ann ", &[sample([1.0, 0.0, 0.0]), sample([0.9, 0.1, 0.0])]).unwrap();
    assert_eq!((ann.created, ann.added, ann.duplicates), (true, 2, 0));
    let more = gallery.enroll("Ann", &[sample([0.8, 0.2, 0.0])]).unwrap();
    assert_eq!((more.created, more.added), (false, 1));
    assert_eq!(more.person_id, ann.person_id);
    gallery.enroll("Bob", &[sample([0.0, 1.0, 0.0])]).unwrap();
    let reopened = Gallery::open(&place.location, &fingerprint(), Access::Read).unwrap();
    for gallery in [&gallery, &reopened] {
        let snapshot = gallery.snapshot();
        assert_eq!((snapshot.people().len(), snapshot.samples()), (2, 4));
        let id = snapshot.identify(&embedding(&[0.0, 1.0, 0.1]), 0.5, 0.1, 5).unwrap();
        assert_eq!((id.status, &*id.best.unwrap().name), (Status::Known, "Bob"));
        assert_eq!(&*id.top[1].person_id, ann.person_id);
    }
    let persons = reopened.persons().unwrap();
    assert_eq!(
        persons.iter().map(|p| (&*p.name, p.samples)).collect::<Vec<_>>(),
        [("Ann", 3), ("Bob", 1)]
    );
    assert_eq!(persons[0].attributes, serde_json::json!({}));
    assert!(persons[0].created.ends_with('Z') && persons[0].created <= persons[0].updated);
    assert_eq!(uuid::Uuid::parse_str(&persons[0].id).unwrap().get_version_num(), 4);
}

fn odd_names_come_back_as_they_are(place: &Place) {
    let gallery = create(place);
    let names =
        ["O'Brien\"; DROP TABLE persons;--", "عبد الله", "👩🏽‍🚀", "王小明", "ann", "Ann", "%_\\"];
    for (i, name) in names.iter().enumerate() {
        assert!(gallery.enroll(name, &[sample([1.0, i as f32, 0.0])]).unwrap().created);
    }
    let reopened = Gallery::open(&place.location, &fingerprint(), Access::Read).unwrap();
    assert_eq!(reopened.persons().unwrap().iter().map(|p| &*p.name).collect::<Vec<_>>(), names);
    let found: Vec<_> = reopened.snapshot().people().iter().map(|p| p.name.to_string()).collect();
    assert_eq!(found, names);
    let error = gallery.enroll(" \u{3000}", &[sample([1.0, 0.0, 0.0])]).unwrap_err();
    assert_eq!(error.to_string(), "refuse person name \"\": it is empty");
}

fn exact_duplicates_are_stored_once_per_person(place: &Place) {
    let gallery = create(place);
    let same = [sample([1.0, 0.0, 0.0]), sample([0.0, 1.0, 0.0]), sample([1.0, 0.0, 0.0])];
    let first = gallery.enroll("Ann", &same).unwrap();
    assert_eq!((first.added, first.duplicates), (2, 1));
    let generation = gallery.snapshot().generation();
    let again = gallery.enroll("Ann", &same).unwrap();
    assert_eq!((again.created, again.added, again.duplicates), (false, 0, 3));
    assert_eq!(gallery.snapshot().generation(), generation, "nothing was written");
    let other = gallery.enroll("Bob", &same[..1]).unwrap();
    assert_eq!((other.added, other.duplicates), (1, 0));
    assert_eq!(gallery.snapshot().generation(), generation + 1);
}

fn another_handle_sees_an_enrolment_after_refresh(place: &Place) {
    let writer = create(place);
    writer.enroll("Ann", &[sample([1.0, 0.0, 0.0])]).unwrap();
    let reader = Gallery::open(&place.location, &fingerprint(), Access::Read).unwrap();
    let old = reader.snapshot();
    assert!(!reader.refresh(Duration::ZERO).unwrap());
    writer.enroll("Bob", &[sample([0.0, 1.0, 0.0])]).unwrap();
    writer.enroll("Ann", &[sample([0.0, 0.0, 1.0])]).unwrap();
    assert!(settle(&reader), "it is news");
    assert!(!reader.refresh(Duration::ZERO).unwrap());
    let new = reader.snapshot();
    assert_eq!((new.people().len(), new.samples()), (2, 3));
    let found = new.search(&embedding(&[0.0, 0.1, 1.0]), 1, VoteRule::Best).unwrap();
    assert_eq!(&*found[0].name, "Ann");
    assert_eq!((old.people().len(), old.samples()), (1, 1), "a snapshot never changes");
    assert_eq!(new.generation(), writer.snapshot().generation());
}

fn own_threshold_is_stored_and_searched_with(place: &Place) {
    let gallery = create(place);
    let id = gallery.enroll("Ann", &[sample([1.0, 0.0, 0.0])]).unwrap().person_id;
    let query = embedding(&[1.0, 1.0, 0.0]);
    let status = |g: &Gallery| g.snapshot().identify(&query, 0.5, 0.0, 1).unwrap().status;
    assert_eq!(status(&gallery), Status::Known);
    gallery.set_threshold(&id, Some(0.9)).unwrap();
    assert_eq!(status(&gallery), Status::Unknown);
    let reader = Gallery::open(&place.location, &fingerprint(), Access::Read).unwrap();
    assert_eq!(status(&reader), Status::Unknown);
    assert_eq!(reader.persons().unwrap()[0].threshold, Some(0.9));
    gallery.set_threshold(&id, None).unwrap();
    assert!(settle(&reader));
    assert_eq!(status(&reader), Status::Known);
    for bad in [f32::NAN, 1.5, -2.0] {
        let error = gallery.set_threshold(&id, Some(bad)).unwrap_err();
        assert!(matches!(error, GalleryError::Threshold { .. }), "{error:?}");
    }
    let error = gallery.set_threshold("nobody", None).unwrap_err();
    assert!(error.to_string().ends_with("has no person with id or name \"nobody\""), "{error}");
}

fn reader_cannot_write(place: &Place) {
    create(place);
    let reader = Gallery::open(&place.location, &fingerprint(), Access::Read).unwrap();
    let error = reader.enroll("Ann", &[sample([1.0, 0.0, 0.0])]).unwrap_err();
    assert!(matches!(error, GalleryError::ReadOnly { .. }), "{error:?}");
    assert!(matches!(reader.set_threshold("x", None), Err(GalleryError::ReadOnly { .. })));
}

fn inspection_needs_no_model(place: &Place) {
    let gallery = create(place);
    gallery.enroll("Ann", &[sample([1.0, 0.0, 0.0]), sample([0.0, 1.0, 0.0])]).unwrap();
    let info = Gallery::inspect(&place.location).unwrap();
    let expected = GalleryInfo {
        schema_version: info.schema_version,
        model: "net-a".into(),
        alignment: "arcface-112".into(),
        dim: 3,
        persons: 1,
        samples: 2,
        private: true,
    };
    assert_eq!(info, expected);
    assert!(info.schema_version > 0);
}

fn gallery_of_another_embedder_is_refused_with_both_names(place: &Place) {
    create(place);
    let text = |other: &Fingerprint| {
        let error = Gallery::open(&place.location, other, Access::Write).unwrap_err();
        assert!(matches!(error, GalleryError::OtherEmbedder { .. }), "{error:?}");
        error.to_string()
    };
    let start = format!("open gallery '{}': written by embedder ", place.location);
    let other_probe = embedding(&[3.0, 2.0, 1.0]);
    let net_b = Fingerprint { model: "net-b".into(), probe: other_probe.clone(), ..fingerprint() };
    assert_eq!(text(&net_b), format!("{start}'net-a', this pipeline uses 'net-b'"));
    let weights = Fingerprint { probe: other_probe, ..fingerprint() };
    let expected = format!("{start}'net-a', this pipeline uses 'net-a with other weights'");
    assert_eq!(text(&weights), expected);
    let dim = Fingerprint { probe: embedding(&[1.0, 2.0]), ..fingerprint() };
    assert!(text(&dim).contains("'net-a (arcface-112, 2 dimensions)'"), "{}", text(&dim));
    // Another name for the same space is welcome.
    let renamed = Fingerprint { model: "net-a-int8".into(), ..fingerprint() };
    Gallery::open(&place.location, &renamed, Access::Write).unwrap();
}

fn handles_that_create_and_enrol_at_once_lose_nothing(place: &Place) {
    let start = std::sync::Barrier::new(6);
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                let gallery = create(place);
                for i in 0..5 {
                    let new = [sample([1.0, thread as f32, i as f32])];
                    gallery.enroll("all", &new).unwrap();
                    gallery.enroll(&format!("{thread}"), &new).unwrap();
                }
            });
        }
    });
    let gallery = Gallery::open(&place.location, &fingerprint(), Access::Read).unwrap();
    let persons = gallery.persons().unwrap();
    assert_eq!(persons.len(), 7);
    assert_eq!(persons.iter().find(|p| p.name == "all").unwrap().samples, 30);
    assert_eq!(gallery.snapshot().generation(), 61);
}
