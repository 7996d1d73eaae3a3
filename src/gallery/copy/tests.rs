use super::*;
use crate::gallery::behaviour::{Place, id, sample, settle, three, who};
use crate::gallery::{Gallery, NewSample};

/// All that is stored of everybody, but when they were last changed.
fn contents(location: &Location) -> Vec<String> {
    let store = Backend::open(location, Access::Read, None, BUSY_TIMEOUT).unwrap();
    let people = store.everybody().unwrap();
    people.iter().map(|p| format!("{:?}", store.person_rows(p.0).unwrap().unwrap())).collect()
}

fn quiet(_: u64, _: u64) {}

fn copies_everything_and_again_nothing(from: &Place, to: &Place) {
    let (gallery, mut roster) = three(from);
    let bob = id(&roster, "Bob");
    roster.set_threshold(&bob, Some(0.8)).unwrap();
    roster.set_attributes(&bob, &serde_json::json!({"team": "a"})).unwrap();
    gallery.reject(&bob, &sample(7)).unwrap();
    let whole = Copied { persons: 3, samples: 7, ..Copied::default() };
    assert_eq!(plan(&from.location, &to.location, &[]).unwrap(), whole);
    assert!(matches!(
        Backend::open(&to.location, Access::Read, None, BUSY_TIMEOUT),
        Err(GalleryError::NotFound { .. })
    ));
    let mut told = Vec::new();
    let copied = run(&from.location, &to.location, &[], &mut |done, all| told.push((done, all)));
    assert_eq!(copied.unwrap(), whole);
    assert_eq!(told, [(1, 3), (2, 3), (3, 3)]);
    assert_eq!(contents(&to.location), contents(&from.location));
    let again = Copied { merged: 3, duplicates: 7, ..Copied::default() };
    assert_eq!(plan(&from.location, &to.location, &[]).unwrap(), again);
    assert_eq!(run(&from.location, &to.location, &[], &mut quiet).unwrap(), again);
    // What is new is brought to who is there, whatever their name is by now.
    gallery.enroll("Cid", &[sample(9)]).unwrap();
    let target = Gallery::open(&to.location, gallery.fingerprint(), Access::Read).unwrap();
    let cid = id(&roster, "Cid");
    roster.rename(&cid, "Sid").unwrap();
    let only = [cid];
    let copied = run(&from.location, &to.location, &only, &mut quiet).unwrap();
    assert_eq!(copied, Copied { merged: 1, samples: 1, duplicates: 1, persons: 0 });
    settle(&target);
    assert_eq!(who(&target, 9).as_deref(), Some("Cid"));
}

#[test]
fn people_go_from_file_to_file() {
    copies_everything_and_again_nothing(&Place::file(), &Place::file());
}

#[test]
fn people_go_from_file_to_server() {
    let Some(server) = Place::server() else { return };
    copies_everything_and_again_nothing(&Place::file(), &server);
}

#[test]
fn people_go_from_server_to_file() {
    let Some(server) = Place::server() else { return };
    copies_everything_and_again_nothing(&server, &Place::file());
}

#[test]
fn interrupted_copy_goes_on_where_it_was() {
    let (from, to) = (Place::file(), Place::file());
    let (_gallery, roster) = three(&from);
    // As a process that was killed after the first person.
    run(&from.location, &to.location, &["Ann Smith".into()], &mut quiet).unwrap();
    let copied = run(&from.location, &to.location, &[], &mut quiet).unwrap();
    assert_eq!((copied.persons, copied.merged, copied.samples), (2, 1, 3));
    assert_eq!(contents(&to.location).len(), roster.persons().unwrap().len());
}

#[test]
fn person_who_would_be_two_is_refused_and_left_out_whole() {
    let (from, to) = (Place::file(), Place::file());
    let (_gallery, mut roster) = three(&from);
    run(&from.location, &to.location, &["Bob".into(), "Cid".into()], &mut quiet).unwrap();
    roster.remove(&id(&roster, "Cid")).unwrap();
    roster.rename(&id(&roster, "Bob"), "Cid").unwrap();
    let before = contents(&to.location);
    let error = run(&from.location, &to.location, &["Cid".into()], &mut quiet).unwrap_err();
    assert!(matches!(&error, TransferError::TwoPeople { name, .. } if name == "Cid"), "{error:?}");
    assert_eq!(contents(&to.location), before);
}

#[test]
fn other_spaces_and_the_gallery_itself_are_refused() {
    let (from, to) = (Place::file(), Place::file());
    let (gallery, _roster) = three(&from);
    let error = run(&from.location, &from.location, &[], &mut quiet).unwrap_err();
    assert!(matches!(error, TransferError::SameGallery { .. }), "{error:?}");
    let mut other = gallery.fingerprint().clone();
    other.model = "other".into();
    let turned: Vec<f32> = other.probe.as_slice().iter().rev().copied().collect();
    other.probe = crate::embed::Embedding::new(&turned).unwrap();
    let there = Gallery::open(&to.location, &other, Access::Create).unwrap();
    there.enroll("Zoe", &[NewSample::new(other.probe.clone(), "")]).unwrap();
    for error in [
        run(&from.location, &to.location, &[], &mut quiet).unwrap_err(),
        plan(&from.location, &to.location, &[]).unwrap_err(),
    ] {
        assert!(matches!(error, TransferError::OtherSpace { .. } | TransferError::Gallery(_)));
        let text = error.to_string();
        assert!(text.contains("'other'") && text.contains("'net'"), "{text}");
    }
    assert_eq!(contents(&to.location).len(), 1);
}
