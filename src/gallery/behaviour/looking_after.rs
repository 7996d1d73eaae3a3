//! What a roster does, in a file and on a server.

use super::*;
use crate::gallery::Merged;
use crate::quality::Gate;
use crate::quality::audit::audit;

on_both!(
    renamed_person_keeps_everything_else,
    id_finds_its_owner_before_somebody_named_so,
    merged_people_are_one,
    removed_people_and_samples_are_gone_and_the_rest_stays,
    rejected_face_is_not_its_person_any_more,
    expired_people_are_not_matched_and_can_be_removed,
    expiry_takes_effect_without_a_change_of_the_file,
    attributes_and_thresholds_are_checked,
    audit_log_tells_what_was_done_without_names,
    suspects_are_found_with_and_without_everybody_loaded,
);

fn renamed_person_keeps_everything_else(place: &Place) {
    let (gallery, mut roster) = three(place);
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

fn id_finds_its_owner_before_somebody_named_so(place: &Place) {
    let (gallery, roster) = three(place);
    let ann = id(&roster, "Ann Smith");
    gallery.enroll(&ann, &[sample(9)]).unwrap();
    assert_eq!(roster.find(&ann).unwrap().name, "Ann Smith");
}

fn merged_people_are_one(place: &Place) {
    let (gallery, mut roster) = three(place);
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

fn removed_people_and_samples_are_gone_and_the_rest_stays(place: &Place) {
    let (gallery, mut roster) = three(place);
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

fn rejected_face_is_not_its_person_any_more(place: &Place) {
    let (gallery, mut roster) = three(place);
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

fn expired_people_are_not_matched_and_can_be_removed(place: &Place) {
    let (gallery, mut roster) = three(place);
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

fn expiry_takes_effect_without_a_change_of_the_file(place: &Place) {
    let (gallery, mut roster) = three(place);
    let moment = SystemTime::now() + Duration::from_millis(300);
    roster.set_expiry(&id(&roster, "Ann Smith"), Some(moment)).unwrap();
    settle(&gallery);
    let snapshot = gallery.snapshot();
    let known = || snapshot.identify(&embedding(1), 0.9, 0.0, 1).unwrap().status == Status::Known;
    assert!(known() || SystemTime::now() >= moment);
    while SystemTime::now() <= moment {
        std::thread::yield_now();
    }
    assert!(!known());
}

fn attributes_and_thresholds_are_checked(place: &Place) {
    let (_gallery, mut roster) = three(place);
    let bob = id(&roster, "Bob");
    let error = roster.set_attributes(&bob, &serde_json::json!([1])).unwrap_err();
    assert!(matches!(error, GalleryError::Attributes), "{error:?}");
    let error = roster.set_threshold(&bob, Some(f32::NAN)).unwrap_err();
    assert!(matches!(error, GalleryError::Threshold { .. }), "{error:?}");
    let mut reader = Roster::open(roster.location(), Access::Read).unwrap();
    assert!(matches!(reader.clear(), Err(GalleryError::ReadOnly { .. })));
    assert!(matches!(
        Roster::open(Path::new("/nowhere/g"), Access::Create),
        Err(GalleryError::NotFound { .. })
    ));
}

fn audit_log_tells_what_was_done_without_names(place: &Place) {
    let (_gallery, mut roster) = three(place);
    let ann = id(&roster, "Ann Smith");
    roster.rename(&ann, "Ann Jones").unwrap();
    roster.set_threshold(&ann, None).unwrap();
    let log = roster.audit_log(None, 3).unwrap();
    let told: Vec<_> = log.iter().map(|e| (&*e.what, e.count)).collect();
    assert_eq!(told, [("enroll", 1), ("rename", 1), ("set-threshold", 1)]);
    assert!(log[1].at.ends_with('Z') && log[1].person_id.as_ref() == Some(&ann));
    assert!(!format!("{:?}", roster.audit_log(None, 99).unwrap()).contains("Ann"));
}

fn suspects_are_found_with_and_without_everybody_loaded(place: &Place) {
    let (gallery, _) = three(place);
    // Nearly Ann's first, enrolled as Bob, and Cid's once more.
    let mixed = |a: u32, b: u32| {
        let pairs =
            embedding(a).as_slice().to_vec().into_iter().zip(embedding(b).as_slice().to_vec());
        Embedding::new(&pairs.map(|(a, b)| a + 0.1 * b).collect::<Vec<_>>()).unwrap()
    };
    gallery.enroll("Bob", &[NewSample::new(mixed(1, 30), "x")]).unwrap();
    gallery.enroll("Cid", &[NewSample::new(mixed(6, 31), "y")]).unwrap();
    for local_max in [0, usize::MAX] {
        let options = OpenOptions { local_max, ..OpenOptions::default() };
        let opened =
            Gallery::open_with(&place.location, &fingerprint(), Access::Read, options).unwrap();
        assert_eq!(opened.is_loaded(), local_max > 0 || !place.location.is_server());
        let suspects = audit(&opened, &Gate::DEFAULT, 0.6).unwrap();
        let found: Vec<_> =
            suspects.iter().map(|s| (&*s.name, s.sample, s.problem.reason())).collect();
        let conflicts: Vec<_> = found.iter().filter(|f| f.2 != "outlier").copied().collect();
        let expected =
            [("Ann Smith", 0, "conflict"), ("Bob", 2, "conflict"), ("Cid", 1, "near-duplicate")];
        assert_eq!(conflicts, expected, "{local_max}: {found:?}");
        assert_eq!(opened.embeddings_of("nobody").unwrap(), []);
    }
}
