//! Exports, imports, migrations, forgetting and searching, in a file and on a server.

use super::*;
use crate::embed::Embedder;
use crate::gallery::migrate::{self, Lost};
use crate::gallery::test_people::{embedder, face, sample_of};
use crate::gallery::transfer::{Clash, export, import};

on_both!(
    export_and_import_bring_everything,
    import_that_clashes_brings_nobody,
    migrated_gallery_is_of_the_other_space_and_can_come_back,
    merge_before_a_roll_back_holds_after_it,
    migration_that_would_lose_too_much_changes_nothing,
    whoever_is_enrolled_during_a_migration_is_taken_along,
    identify_decides_as_the_snapshot,
    forgotten_person_is_gone_for_everybody,
    writer_enrols_without_reading,
);

/// All that is stored of everybody.
fn contents(location: &Location) -> Vec<String> {
    let store = Backend::open(location, Access::Read, None, BUSY_TIMEOUT).unwrap();
    let people = store.everybody().unwrap();
    people.iter().map(|p| format!("{:?}", store.person_rows(p.0).unwrap().unwrap())).collect()
}

fn export_and_import_bring_everything(place: &Place) {
    let (gallery, mut roster) = three(place);
    let bob = id(&roster, "Bob");
    roster.set_threshold(&bob, Some(0.75)).unwrap();
    roster.set_expiry(&bob, Some(SystemTime::now() + Duration::from_secs(3600))).unwrap();
    roster.set_attributes(&bob, &serde_json::json!({"team": "ünï", "n": [1, null]})).unwrap();
    gallery.reject(&bob, &sample(8)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export");
    let exported = export(&place.location, &file, &[], false).unwrap();
    assert_eq!((exported.persons, exported.samples), (3, 7));
    let before = contents(&place.location);
    assert_eq!(roster.clear().unwrap(), 3);
    let imported = import(&file, &place.location, Clash::Refuse, None, &mut |_| {}).unwrap();
    assert_eq!((imported.persons, imported.samples, imported.duplicates), (3, 7, 0));
    assert_eq!(contents(&place.location), before);
    assert_eq!(who(&gallery, 5).as_deref(), Some("Bob"));
    // Only some, into one that has them.
    export(&place.location, &file, &["Bob".into()], true).unwrap();
    let merged = import(&file, &place.location, Clash::Merge, None, &mut |_| {}).unwrap();
    assert_eq!((merged.merged, merged.samples, merged.duplicates), (1, 0, 3));
    assert_eq!(contents(&place.location), before);
    let error = export(&place.location, &file, &["Dan".into()], true).unwrap_err();
    assert!(error.to_string().contains("no person with id or name \"Dan\""), "{error}");
}

fn import_that_clashes_brings_nobody(place: &Place) {
    let (_gallery, mut roster) = three(place);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export");
    export(&place.location, &file, &[], false).unwrap();
    roster.remove(&id(&roster, "Ann Smith")).unwrap();
    let error = import(&file, &place.location, Clash::Refuse, None, &mut |_| {}).unwrap_err();
    assert!(matches!(error, TransferError::Clash { count: 2, .. }), "{error:?}");
    assert_eq!(roster.persons().unwrap().len(), 2);
}

/// Two embedders of different spaces; `None` without ONNX Runtime.
fn embedders() -> Option<(Embedder, Embedder)> {
    Some((embedder("embedder.onnx")?, embedder("embedder_coarse.onnx")?))
}

/// "person 0" and "person 1" with two samples each, and a sample of the first without a picture.
fn filled(place: &Place, embedder: &mut Embedder) -> Gallery {
    let gallery = Gallery::open(&place.location, embedder.fingerprint(), Access::Create).unwrap();
    for seed in [0, 1, 10, 11] {
        let sample = sample_of(embedder, &face(seed));
        gallery.enroll(&format!("person {}", seed / 10), &[sample]).unwrap();
    }
    let bare = NewSample { crop_png: None, ..sample_of(embedder, &face(2)) };
    gallery.enroll("person 0", &[bare]).unwrap();
    gallery
}

fn name_of(place: &Place, embedder: &mut Embedder, seed: u64) -> Option<String> {
    let gallery = Gallery::open(&place.location, embedder.fingerprint(), Access::Read).unwrap();
    let query = sample_of(embedder, &face(seed)).embedding;
    let found = gallery.snapshot().identify(&query, 0.999, 0.0, 1).unwrap();
    (found.status == Status::Known).then(|| found.best.unwrap().name.to_string())
}

fn migrated_gallery_is_of_the_other_space_and_can_come_back(place: &Place) {
    let Some((mut old, mut new)) = embedders() else { return };
    let reader = filled(place, &mut old);
    let plan = migrate::plan(&place.location, new.fingerprint()).unwrap();
    assert_eq!((plan.samples, plan.lost.clone()), (5, vec![(Lost::NoPicture, 1)]));
    let done = migrate::run(&place.location, &mut new, 1, &mut |_, _| {}).unwrap();
    assert_eq!((done.samples, done.lost, done.duplicates), (4, 1, 0));
    assert_eq!(name_of(place, &mut new, 11).as_deref(), Some("person 1"));
    let error = migrate::run(&place.location, &mut new, 1, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, TransferError::SameSpace { .. }), "{error:?}");
    // Whoever has it open says so, once, and goes on with what they have.
    let mut said = None;
    until("the change of the space is noticed", || {
        said = reader.refresh(Duration::ZERO).err();
        said.is_some()
    });
    assert!(matches!(said, Some(GalleryError::OtherEmbedder { .. })), "{said:?}");
    assert_eq!(reader.snapshot().samples(), 5);
    let late = sample_of(&mut old, &face(77));
    let error = reader.enroll("late", std::slice::from_ref(&late)).unwrap_err();
    assert!(matches!(error, GalleryError::OtherEmbedder { .. }), "{error:?}");

    let migrated = Gallery::open(&place.location, new.fingerprint(), Access::Write).unwrap();
    migrated.enroll("late", &[sample_of(&mut new, &face(77))]).unwrap();
    let way = migrate::way_back(&place.location).unwrap();
    assert_eq!((&*way.model, way.kept_persons, way.kept_samples), ("embedder", 2, 5));
    assert_eq!((way.persons, way.samples), (1, 1));
    assert_eq!(migrate::roll_back(&place.location).unwrap(), way);
    assert_eq!(name_of(place, &mut old, 2).as_deref(), Some("person 0"));
    assert_eq!(reader.persons().unwrap().len(), 2);
    assert!(migrate::roll_back(&place.location).is_err());
    // And once more, which removes what the first left.
    migrate::run(&place.location, &mut new, 1, &mut |_, _| {}).unwrap();
    assert_eq!(name_of(place, &mut new, 0).as_deref(), Some("person 0"));
    migrate::run(&place.location, &mut old, 0, &mut |_, _| {}).unwrap();
    assert_eq!(name_of(place, &mut old, 11).as_deref(), Some("person 1"));
    assert_eq!(Gallery::inspect(&place.location).unwrap().samples, 4);
}

fn merge_before_a_roll_back_holds_after_it(place: &Place) {
    let Some((mut old, mut new)) = embedders() else { return };
    filled(place, &mut old);
    migrate::run(&place.location, &mut new, 1, &mut |_, _| {}).unwrap();
    let mut roster = Roster::open(&place.location, Access::Write).unwrap();
    let (zero, one) = (id(&roster, "person 0"), id(&roster, "person 1"));
    assert_eq!(roster.merge(&zero, &one).unwrap().moved, 2);
    assert_eq!(name_of(place, &mut new, 0).as_deref(), Some("person 1"));
    migrate::roll_back(&place.location).unwrap();
    // A file comes back as it was; on a server only the embeddings do.
    let expected = if place.location.is_server() { "person 1" } else { "person 0" };
    assert_eq!(name_of(place, &mut old, 0).as_deref(), Some(expected));
}

fn migration_that_would_lose_too_much_changes_nothing(place: &Place) {
    let Some((mut old, mut new)) = embedders() else { return };
    filled(place, &mut old);
    let error = migrate::run(&place.location, &mut new, 0, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, TransferError::MoreLost { lost: 1, most: 0, .. }), "{error:?}");
    assert_eq!(name_of(place, &mut old, 11).as_deref(), Some("person 1"));
    assert!(migrate::way_back(&place.location).is_err());
}

fn whoever_is_enrolled_during_a_migration_is_taken_along(place: &Place) {
    let Some((mut old, mut new)) = embedders() else { return };
    let gallery = filled(place, &mut old);
    let late = sample_of(&mut old, &face(50));
    let mut rounds = 0;
    let done = migrate::run(&place.location, &mut new, 1, &mut |_, _| {
        if rounds == 0 {
            gallery.enroll("late", std::slice::from_ref(&late)).unwrap();
        }
        rounds += 1;
    });
    assert_eq!((done.unwrap().samples, rounds), (5, 2));
    assert_eq!(name_of(place, &mut new, 50).as_deref(), Some("late"));
}

fn identify_decides_as_the_snapshot(place: &Place) {
    let (gallery, _roster) = three(place);
    for vote in [VoteRule::Best, VoteRule::MeanOfBestThree] {
        let rules = SearchRules { threshold: 0.9, min_margin: 0.05, top_k: 2, vote };
        for seed in [1, 5, 6, 99] {
            let limit = Duration::from_secs(10);
            let found = gallery.identify(&embedding(seed), &rules, limit).unwrap();
            assert_eq!(found, gallery.snapshot().decide(&embedding(seed), &rules).unwrap());
        }
    }
}

fn forgotten_person_is_gone_for_everybody(place: &Place) {
    let (gallery, mut roster) = three(place);
    let ann = id(&roster, "Ann Smith");
    let forgotten = roster.forget(Some("Ann Smith"), &[], Duration::from_secs(10)).unwrap();
    assert_eq!((forgotten.samples, forgotten.elsewhere), (3, 0));
    assert_eq!(forgotten.on_server, place.location.is_server());
    assert_eq!((who(&gallery, 1), who(&gallery, 4).as_deref()), (None, Some("Bob")));
    let log = roster.audit_log(None, 99).unwrap();
    assert!(!log.iter().any(|e| e.person_id.as_ref() == Some(&ann)), "{log:?}");
    assert_eq!((&*log.last().unwrap().what, log.last().unwrap().count), ("forget", 3));
    assert_eq!(roster.unfinished().unwrap(), 0);
    let error = roster.forget(Some(&ann), &[], SHORT).unwrap_err();
    assert!(matches!(error, GalleryError::NoSuchPerson { .. }), "{error:?}");
}

fn writer_enrols_without_reading(place: &Place) {
    let (gallery, _roster) = three(place);
    let mut writer = Writer::open(&place.location, &fingerprint(), BUSY_TIMEOUT).unwrap();
    assert!(writer.enroll("Dan", &[sample(9)]).unwrap().created);
    assert_eq!(who(&gallery, 9).as_deref(), Some("Dan"));
}
