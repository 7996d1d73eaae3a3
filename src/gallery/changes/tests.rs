use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use tempfile::TempDir;

use super::super::search::{Limits, Snapshot};
use super::super::store::Store;
use super::super::test_people::{embedding, folder, numbers, sample, space};
use super::super::{Access, Gallery, GalleryError, Roster, VoteRule, Writer};
use super::Changes;
use crate::embed::{Embedding, Fingerprint};

const SHORT: Duration = Duration::from_millis(100);

/// Small, so that little makes a person with too many samples and a graph.
const LIMITS: Limits = Limits { index_from: 40, graph_from: 40, max_samples: 4 };

fn store(path: &Path) -> Store {
    Store::open(path, Access::Read, Some(&space()), SHORT).unwrap()
}

/// All changes since a generation, in pages of `page` rows.
fn read(store: &Store, page: usize, since: Option<u64>) -> Vec<Changes> {
    let mut all = Vec::new();
    store.changes_by(page, 3, since, &mut |changes| all.push(changes)).unwrap();
    all
}

fn snapshot(pages: Vec<Changes>) -> Snapshot {
    let mut snapshot = Snapshot::empty(3, LIMITS);
    pages.into_iter().for_each(|changes| snapshot.take(changes));
    snapshot.settled()
}

/// Everything that can be seen of a snapshot, without places and row numbers.
fn told(s: &Snapshot) -> String {
    let mut text = format!("{} {}\n", s.generation(), s.samples());
    let any = embedding(&[0.4, -0.7, 0.2]);
    for (place, person) in s.people().by_place() {
        // Samples that went from one to another may come in another order.
        let mut similarities = s.similarities(&any, place).unwrap();
        similarities.sort_by(f32::total_cmp);
        text += &format!("{person:?} {similarities:?}\n");
    }
    let rows = s.rows().map(|(owner, row)| format!("{} {row:?}\n", s.people()[owner].id));
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    text += &rows.concat();
    for query in [[1.0, 0.1, 0.2], [-0.3, 0.5, 0.8], [0.2, -0.9, 0.1]] {
        for vote in [VoteRule::Best, VoteRule::MeanOfBestThree] {
            let found = s.search_exactly(&embedding(&query), 5, vote).unwrap();
            text += &format!("{found:?}\n");
        }
    }
    text
}

fn random_sample(numbers: &mut impl FnMut(usize) -> usize) -> super::super::NewSample {
    sample([0; 3].map(|_| numbers(2001) as f32 - 1000.5))
}

/// Does one thing to the gallery, chosen at random.
fn write(gallery: &Gallery, roster: &mut Roster, numbers: &mut impl FnMut(usize) -> usize) {
    let persons = roster.persons().unwrap();
    let chosen = |n: usize| persons.get(n % persons.len().max(1)).map(|p| p.id.clone());
    let (one, other) = (chosen(numbers(1000)), chosen(numbers(1000)));
    let what = numbers(20);
    let (Some(one), Some(other)) = (one.filter(|_| what > 8), other) else {
        let name = format!("the {}th", numbers(30));
        let samples: Vec<_> = (0..=numbers(3)).map(|_| random_sample(numbers)).collect();
        gallery.enroll(&name, &samples).unwrap();
        return;
    };
    let of_one = roster.samples(&one).unwrap();
    let its = of_one.get(numbers(1000) % of_one.len().max(1)).map(|s| s.id);
    match (what, its) {
        (9 | 10, _) if one != other => drop(roster.merge(&one, &other).unwrap()),
        (11, _) => roster.rename(&one, &format!("renamed {} times", numbers(1_000_000))).unwrap(),
        (12 | 13, Some(its)) => drop(roster.remove_sample(its).unwrap()),
        (14, Some(its)) => drop(roster.reject_sample(its).unwrap()),
        (15, _) => drop(gallery.reject(&one, &random_sample(numbers)).unwrap()),
        (16, _) => drop(roster.remove(&one).unwrap()),
        (17, _) => {
            let moment =
                SystemTime::UNIX_EPOCH + Duration::from_secs(numbers(3) as u64 * 4_000_000_000);
            roster.set_expiry(&one, Some(moment)).unwrap();
        }
        (18, _) => roster.set_threshold(&one, Some(numbers(100) as f32 / 100.0)).unwrap(),
        // Removes everybody who has expired, one by one; or rewrites all pages.
        (19, _) if numbers(2) == 0 => drop(roster.remove_expired().unwrap()),
        (19, _) => drop(roster.forget(Some(&one), &[], SHORT).unwrap()),
        _ => {}
    }
}

#[test]
fn readers_who_apply_changes_see_what_a_whole_load_sees() {
    for seed in 1..=6 {
        let (_folder, path) = folder();
        let gallery = Gallery::open(&path, &space(), Access::Create).unwrap();
        let mut roster = Roster::open_with_timeout(&path, Access::Write, SHORT).unwrap();
        let mut numbers = numbers(seed * 77);
        let store = store(&path);
        let (mut often, mut seldom) = (snapshot(read(&store, 7, None)), snapshot(Vec::new()));
        for step in 0..120 {
            write(&gallery, &mut roster, &mut numbers);
            let catch_up = |s: &mut Snapshot, page| {
                for changes in read(&store, page, Some(s.generation())) {
                    assert!(!changes.whole, "seed {seed}, step {step}");
                    s.take(changes);
                }
                *s = s.clone().settled();
            };
            let whole = told(&snapshot(read(&store, usize::MAX >> 1, None)));
            catch_up(&mut often, 1000);
            assert_eq!(told(&often), whole, "seed {seed}, step {step}");
            if step == 0 {
                seldom = often.clone();
            }
            if numbers(9) == 0 {
                catch_up(&mut seldom, 3);
                assert_eq!(told(&seldom), whole, "seed {seed}, step {step}, after a while");
            }
            assert_eq!(told(&snapshot(read(&store, 5, None))), whole, "seed {seed}, in pages");
        }
        gallery.refresh(Duration::ZERO).unwrap();
        assert_eq!(gallery.snapshot().generation(), often.generation());
        assert_eq!(gallery.snapshot().samples(), often.samples());
    }
}

#[test]
fn pages_between_which_others_write_are_of_one_moment_in_the_end() {
    for seed in 1..=8 {
        let (_folder, path) = folder();
        let gallery = Gallery::open(&path, &space(), Access::Create).unwrap();
        let mut roster = Roster::open_with_timeout(&path, Access::Write, SHORT).unwrap();
        let mut numbers = numbers(seed * 31);
        for _ in 0..60 {
            write(&gallery, &mut roster, &mut numbers);
        }
        let store = store(&path);
        let (mut reader, mut left) = (Snapshot::empty(3, LIMITS), 25);
        store
            .changes_by(4, 3, None, &mut |changes| {
                reader.take(changes);
                // Also writes that make void what was read.
                if left == 12 && seed % 2 == 0 {
                    roster.clear().unwrap();
                }
                if left > 0 {
                    write(&gallery, &mut roster, &mut numbers);
                    left -= 1;
                }
            })
            .unwrap();
        for changes in read(&store, 1000, Some(reader.generation())) {
            reader.take(changes);
        }
        let whole = snapshot(read(&store, 1000, None));
        assert_eq!(told(&reader.settled()), told(&whole), "seed {seed}");
    }
}

#[test]
fn reader_who_missed_dropped_removals_reads_everything() {
    let (_folder, path) = folder();
    let gallery = Gallery::open(&path, &space(), Access::Create).unwrap();
    let mut roster = Roster::open_with_timeout(&path, Access::Write, SHORT).unwrap();
    for i in 0..5 {
        gallery.enroll(&format!("p{i}"), &[sample([1.0, i as f32, 0.0])]).unwrap();
    }
    let before = gallery.snapshot().generation();
    let mut generations = Vec::new();
    for i in 0..4 {
        roster.remove(&roster.find(&format!("p{i}")).unwrap().id).unwrap();
        generations.push(before + i + 1);
    }
    let raw = Connection::open(&path).unwrap();
    let removed =
        || raw.query_row("SELECT count(*) FROM removed", [], |r| r.get::<_, u32>(0)).unwrap();
    assert_eq!(removed(), 4);
    let store = store(&path);
    assert!(!read(&store, 1000, Some(before))[0].whole);
    let mut writer = Store::open(&path, Access::Write, None, SHORT).unwrap();
    writer.prune(2).unwrap();
    assert_eq!(removed(), 2);
    let whole = |since| read(&store, 1000, Some(since))[0].whole;
    assert!(whole(before) && whole(generations[0]));
    assert!(!whole(generations[1]) && !whole(generations[2]));
    assert_eq!(read(&store, 1000, Some(generations[1]))[0].removed_people.len(), 2);
    // And the gallery, which has not looked since, is right.
    assert!(gallery.refresh(Duration::ZERO).unwrap());
    let names: Vec<_> = gallery.snapshot().people().iter().map(|p| p.name.clone()).collect();
    assert_eq!(names, ["p4".into()]);
    // A generation that is yet to come was of another file at this path.
    assert!(whole(1_000_000));
}

#[test]
fn removals_tell_of_nobody() {
    let (_folder, path) = folder();
    let gallery = Gallery::open(&path, &space(), Access::Create).unwrap();
    gallery.enroll("person", &[sample([1.0, 0.0, 0.0])]).unwrap();
    gallery.enroll("sample", &[sample([0.0, 1.0, 0.0])]).unwrap();
    let mut roster = Roster::open_with_timeout(&path, Access::Write, SHORT).unwrap();
    for name in ["person", "sample"] {
        roster.forget(Some(name), &[], SHORT).unwrap();
    }
    assert!(gallery.refresh(Duration::ZERO).unwrap());
    assert!(gallery.snapshot().people().is_empty());
    let raw = Connection::open(&path).unwrap();
    let mut statement = raw.prepare("SELECT generation, kind, row FROM removed").unwrap();
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap();
    let rows: Vec<(i64, i64, i64)> = rows.map(Result::unwrap).collect();
    assert_eq!(rows, [(4, 0, 1), (5, 0, 2)]);
}

/// A gallery that the second version of the schema wrote.
fn version_2() -> (TempDir, PathBuf) {
    let (folder, path) = folder();
    fs::write(&path, include_bytes!("../../../tests/data/gallery_v2.sqlite")).unwrap();
    (folder, path)
}

#[test]
fn gallery_of_version_2_is_upgraded_and_followed_by_its_changes() {
    for access in [Access::Read, Access::Write, Access::Create] {
        let (_folder, path) = version_2();
        let gallery = Gallery::open(&path, &space(), access).unwrap();
        assert_eq!(Gallery::inspect(&path).unwrap().schema_version, 3);
        let snapshot = gallery.snapshot();
        assert_eq!((snapshot.generation(), snapshot.people().len(), snapshot.samples()), (7, 2, 3));
        let ann = snapshot.people()[0].clone();
        assert_eq!((&*ann.name, ann.threshold), ("Ann O'Brien", Some(0.75)));
        assert!(snapshot.people()[1].expires.is_some());
        let refused = snapshot.search(&embedding(&[0.0, 0.8, 0.6]), 2, VoteRule::Best).unwrap();
        assert_eq!(refused.iter().map(|m| &*m.name).collect::<Vec<_>>(), ["Ann O'Brien"]);
        // What was there before the upgrade is followed like what came after.
        let mut roster = Roster::open(&path, Access::Write).unwrap();
        let samples = roster.samples(&ann.id).unwrap();
        roster.remove_sample(samples[0].id).unwrap();
        let other = roster.persons().unwrap()[1].id.clone();
        roster.merge(&other, &ann.id).unwrap();
        let changes = read(&store(&path), 1000, Some(7));
        assert!(!changes[0].whole);
        gallery.refresh(Duration::ZERO).unwrap();
        assert_eq!((gallery.snapshot().people().len(), gallery.snapshot().samples()), (1, 2));
    }
}

#[test]
fn writer_reads_nothing_and_checks_the_same() {
    let (_folder, path) = folder();
    let open = |space: &Fingerprint| Writer::open(&path, space, SHORT);
    assert!(matches!(open(&space()), Err(GalleryError::NotFound { .. })));
    let gallery = Gallery::open(&path, &space(), Access::Create).unwrap();
    let mut writer = open(&space()).unwrap();
    let enrolled = writer.enroll(" Ann ", &[sample([1.0, 0.0, 0.0])]).unwrap();
    assert_eq!((enrolled.created, enrolled.added), (true, 1));
    assert!(matches!(
        writer.enroll("", &[sample([1.0, 0.0, 0.0])]),
        Err(GalleryError::Name { .. })
    ));
    assert!(matches!(writer.enroll("Bob", &[]), Err(GalleryError::NoSamples { .. })));
    let short = super::super::NewSample::new(Embedding::new(&[1.0]).unwrap(), "");
    assert!(matches!(writer.enroll("Bob", &[short]), Err(GalleryError::Dimension { .. })));
    assert!(gallery.refresh(Duration::ZERO).unwrap());
    assert_eq!(&*gallery.snapshot().people()[0].id, enrolled.person_id);
    let other = super::super::test_people::other_space();
    assert!(matches!(open(&other), Err(GalleryError::OtherEmbedder { .. })));
    // A damaged sample is no reason not to write: it is not read.
    Connection::open(&path)
        .unwrap()
        .execute("UPDATE samples SET sha256 = zeroblob(32)", [])
        .unwrap();
    open(&space()).unwrap().enroll("Bob", &[sample([0.0, 1.0, 0.0])]).unwrap();
}
