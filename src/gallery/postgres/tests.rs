//! What only a server can do or suffer. Behaviour that files share is in `behaviour`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::*;
use crate::gallery::behaviour::{
    Place, SHORT, embedding, fingerprint, id, sample, settle, three, until, who,
};
use crate::gallery::{Gallery, Location, OpenOptions, Roster, SearchError, SearchRules, VoteRule};
use crate::identity::Status;

const RULES: SearchRules =
    SearchRules { threshold: 0.9, min_margin: 0.0, top_k: 3, vote: VoteRule::Best };

/// Longer than any search here.
const LONG: Duration = Duration::from_secs(30);

/// Nothing is loaded.
const ASKED: OpenOptions =
    OpenOptions { wait: super::super::BUSY_TIMEOUT, max_samples: 0, local_max: 0 };

fn open(location: &Location, options: OpenOptions) -> Gallery {
    Gallery::open_with(location, &fingerprint(), Access::Write, options).unwrap()
}

/// The same address with something else in the place of `from`.
fn changed(location: &Location, from: &str, to: &str) -> Location {
    let text = location.reveal().into_string().unwrap();
    assert!(text.contains(from));
    Location::from(text.replacen(from, to, 1).as_str())
}

fn password(location: &Location) -> String {
    let text = location.reveal().into_string().unwrap();
    text.split_once("postgres:").unwrap().1.split_once('@').unwrap().0.to_owned()
}

/// All that is ever said of an error.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error:?}");
    let mut next = Some(error);
    while let Some(error) = next {
        text += &error.to_string();
        next = error.source();
    }
    text
}

#[test]
fn wrong_password_is_refused_and_no_password_is_said() {
    let Some(place) = Place::server() else { return };
    let (gallery, roster) = three(&place);
    let right = password(&place.location);
    let wrong = changed(&place.location, &right, "letmein123");
    let error = Gallery::open(&wrong, &fingerprint(), Access::Read).unwrap_err();
    assert!(matches!(error, GalleryError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("the server lets nobody in"), "{error}");
    let all = format!("{gallery:?} {roster:?} {wrong} {wrong:?}{}", said(&error));
    assert!(!all.contains("letmein123") && !all.contains(&right), "{all}");
}

#[test]
fn nobody_at_the_address_is_said_with_the_address() {
    // A port that nobody listens at: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let location = Location::from(format!("postgresql://cam:secret@127.0.0.1:{port}/d").as_str());
    let error = Gallery::open(&location, &fingerprint(), Access::Read).unwrap_err();
    assert!(matches!(error, GalleryError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("'postgresql://cam@127.0.0.1:{port}/d'")));
    assert!(!said(&error).contains("secret"), "{error:?}");
}

#[test]
fn server_that_never_answers_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let location = Location::from(format!("postgresql://cam@127.0.0.1:{port}/d").as_str());
    let started = Instant::now();
    let error = Gallery::open(&location, &fingerprint(), Access::Read).unwrap_err();
    assert!(matches!(error, GalleryError::Unreachable { .. }), "{error:?}");
    assert!(started.elapsed() < LONG);
}

#[test]
fn database_without_pgvector_is_refused_with_what_to_do() {
    let Some(place) = Place::server() else { return };
    let name = format!("d_{}", uuid::Uuid::new_v4().simple());
    let mut admin = place.client();
    admin.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
    let bare = changed(&place.location, "/postgres?", &format!("/{name}?"));
    let error = Gallery::open(&bare, &fingerprint(), Access::Write).unwrap_err();
    assert!(error.to_string().contains("CREATE EXTENSION vector"), "{error}");
    // Who may makes it.
    drop(Gallery::open(&bare, &fingerprint(), Access::Create).unwrap());
    admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
}

#[test]
fn empty_newer_and_damaged_schemas_are_refused() {
    let Some(place) = Place::server() else { return };
    let open = |access| Gallery::open(&place.location, &fingerprint(), access).map(drop);
    assert!(matches!(open(Access::Write), Err(GalleryError::NotFound { .. })));
    let (gallery, _roster) = three(&place);
    drop(gallery);
    let mut raw = place.client();
    raw.batch_execute("UPDATE meta SET schema_version = 7").unwrap();
    let error = open(Access::Create).unwrap_err();
    assert!(matches!(error, GalleryError::NewerSchema { version: 7, .. }), "{error:?}");
    raw.batch_execute("UPDATE meta SET schema_version = 1").unwrap();
    for (damage, reason) in [
        (
            "UPDATE embeddings_1 SET sha256 = decode(repeat('00', 32), 'hex') WHERE sample = 2",
            "sample 2: wrong checksum",
        ),
        ("ALTER TABLE persons RENAME COLUMN name TO title", "\"name\" does not exist"),
        ("ALTER TABLE meta ALTER generation TYPE text", "error deserializing column"),
        ("UPDATE spaces SET probe = '\\x00'", "fingerprint: embedding bytes"),
        ("DELETE FROM meta", "nothing in table meta"),
    ] {
        raw.batch_execute(damage).unwrap();
        let error = open(Access::Read).unwrap_err();
        let text = said(&error);
        assert!(text.contains(reason), "{damage}: {text}");
        assert!(matches!(error, GalleryError::Corrupt { .. }), "{damage}: {text}");
    }
}

#[test]
fn role_that_may_only_read_reads_and_is_told_what_it_lacks() {
    let Some(place) = Place::server() else { return };
    let (gallery, _roster) = three(&place);
    let mut raw = place.client();
    let role = format!("r_{}", uuid::Uuid::new_v4().simple());
    let schema: String = raw.query_one("SELECT current_schema()::text", &[]).unwrap().get(0);
    raw.batch_execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'pw'; GRANT USAGE ON SCHEMA {schema} TO {role}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"
    ))
    .unwrap();
    let own = password(&place.location);
    let location = changed(&place.location, &format!("postgres:{own}"), &format!("{role}:pw"));
    let reader = Gallery::open(&location, &fingerprint(), Access::Read).unwrap();
    gallery.enroll("Dan", &[sample(9)]).unwrap();
    assert_eq!(who(&reader, 9).as_deref(), Some("Dan"));
    let writer = Gallery::open(&location, &fingerprint(), Access::Write).unwrap();
    let error = writer.enroll("Eve", &[sample(10)]).unwrap_err();
    assert!(error.to_string().contains("the role lacks a right"), "{error}");
    drop((reader, writer));
    raw.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
}

#[test]
fn writers_wait_for_each_other_and_readers_for_nobody() {
    let Some(place) = Place::server() else { return };
    let (gallery, mut roster) = three(&place);
    let mut other = place.client();
    other.batch_execute("BEGIN; UPDATE meta SET generation = generation").unwrap();
    let bob = id(&roster, "Bob");
    let error = roster.rename(&bob, "Rob").unwrap_err();
    assert!(matches!(error, GalleryError::Busy { .. }), "{error:?}");
    assert_eq!(who(&gallery, 4).as_deref(), Some("Bob"));
    other.batch_execute("ROLLBACK").unwrap();
    roster.rename(&bob, "Rob").unwrap();
    assert_eq!(who(&gallery, 4).as_deref(), Some("Rob"));
}

#[test]
fn what_files_alone_can_do_says_what_to_use() {
    use crate::gallery::{TransferError, backup};
    let Some(place) = Place::server() else { return };
    let (_gallery, mut roster) = three(&place);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    for error in [
        backup::create(&place.location, &file, false).unwrap_err(),
        backup::restore(&file, &place.location, true).unwrap_err(),
    ] {
        assert!(matches!(&error, TransferError::Gallery(GalleryError::OnServer { .. })));
        assert!(error.to_string().contains("pg_dump"), "{error}");
    }
    let error = roster.forget(Some("Bob"), &[PathBuf::from("/tmp")], SHORT).unwrap_err();
    assert!(matches!(error, GalleryError::OnServer { .. }), "{error:?}");
    assert!(roster.find("Bob").is_ok(), "nothing was deleted");
}

/// A gallery with more samples than the index is asked for at a time: one person has most of them.
fn crowded(place: &Place) -> Gallery {
    let gallery = Gallery::open_with(
        &place.location,
        &fingerprint(),
        Access::Create,
        OpenOptions { max_samples: 0, ..OpenOptions::default() },
    )
    .unwrap();
    let near = |seed: u32, with: u32, part: f32| {
        let (a, b) = (embedding(seed), embedding(with));
        let mixed: Vec<f32> =
            a.as_slice().iter().zip(b.as_slice()).map(|(a, b)| a + part * b).collect();
        NewSample::new(Embedding::new(&mixed).unwrap(), "")
    };
    let many: Vec<_> = (0..1_200).map(|i| near(1, 5_000 + i, 0.2)).collect();
    gallery.enroll("crowd", &many).unwrap();
    for person in 0..40 {
        let seed = 100 + person;
        let own: Vec<_> = (0..4).map(|i| near(seed, 9_000 + 10 * person + i, 0.3)).collect();
        gallery.enroll(&format!("p{person:02}"), &own).unwrap();
    }
    gallery
}

#[test]
fn server_finds_whom_a_search_of_everything_finds() {
    let Some(place) = Place::server() else { return };
    let local = crowded(&place);
    let mut roster = Roster::open(&place.location, Access::Write).unwrap();
    roster.set_threshold(&id(&roster, "p03"), Some(0.999)).unwrap();
    roster.set_expiry(&id(&roster, "p04"), Some(std::time::SystemTime::UNIX_EPOCH)).unwrap();
    let refused = NewSample::new(embedding(105), "");
    local.reject(&id(&roster, "p05"), &refused).unwrap();
    settle(&local);
    let asked = open(&place.location, ASKED);
    assert!(!asked.is_loaded() && local.is_loaded());
    assert_eq!(asked.snapshot().decide(&embedding(1), &RULES), Err(SearchError::NotLoaded));
    for vote in [VoteRule::Best, VoteRule::MeanOfBestThree] {
        for top_k in [1, 3, 60] {
            // 1: the nearest 1200 are of one person.
            for seed in [1, 100, 103, 104, 105, 139, 777] {
                let rules = SearchRules { threshold: 0.8, min_margin: 0.05, top_k, vote };
                let expected = local.snapshot().decide(&embedding(seed), &rules).unwrap();
                let found = asked.identify(&embedding(seed), &rules, LONG).unwrap();
                let what = format!("seed {seed}, {vote:?}, top {top_k}");
                assert_eq!(found.status, expected.status, "{what}");
                assert_eq!(found.top.len(), expected.top.len(), "{what}");
                for (a, b) in found.top.iter().zip(&expected.top) {
                    assert!((a.similarity - b.similarity).abs() < 1e-4, "{what}: {a:?} {b:?}");
                    assert_eq!(a.person_id, b.person_id, "{what}");
                }
            }
        }
    }
    let short = Embedding::new(&[1.0, 0.0]).unwrap();
    let error = asked.identify(&short, &RULES, LONG).unwrap_err();
    assert_eq!(error, SearchError::Dimension { expected: 32, got: 2 });
}

#[test]
fn gallery_that_outgrows_its_limit_is_asked_of_the_server() {
    let Some(place) = Place::server() else { return };
    let (writer, _roster) = three(&place);
    let gallery = open(&place.location, OpenOptions { local_max: 6, ..ASKED });
    assert!(gallery.is_loaded());
    assert_eq!(who(&gallery, 4).as_deref(), Some("Bob"));
    writer.enroll("Dan", &[sample(9)]).unwrap();
    settle(&gallery);
    assert!(!gallery.is_loaded());
    assert_eq!(gallery.snapshot().people().len(), 0);
    for (seed, name) in [(4, "Bob"), (9, "Dan")] {
        let found = gallery.identify(&embedding(seed), &RULES, LONG).unwrap();
        assert_eq!((found.status, &*found.best.unwrap().name), (Status::Known, name));
    }
    // What is written is still news.
    writer.enroll("Eve", &[sample(10)]).unwrap();
    assert!(settle(&gallery));
}

#[test]
fn missed_deadline_is_an_error_and_not_somebody_unknown() {
    let Some(place) = Place::server() else { return };
    three(&place);
    let asked = open(&place.location, ASKED);
    assert_eq!(asked.identify(&embedding(4), &RULES, LONG).unwrap().status, Status::Known);
    let mut other = place.client();
    other.batch_execute("BEGIN; LOCK TABLE embeddings_1 IN ACCESS EXCLUSIVE MODE").unwrap();
    let started = Instant::now();
    let limit = Duration::from_millis(200);
    let error = asked.identify(&embedding(4), &RULES, limit).unwrap_err();
    assert_eq!(error, SearchError::Deadline { limit });
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    other.batch_execute("ROLLBACK").unwrap();
    until("the server answers again", || asked.identify(&embedding(4), &RULES, LONG).is_ok());
}

/// A server of its own, which a test may stop.
struct Server(tempfile::TempDir);

impl Server {
    fn start() -> Self {
        let server = Self(tempfile::tempdir().unwrap());
        server.run("start");
        server
    }

    /// What the script prints.
    fn run(&self, what: &str) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres-server.sh");
        let done = Command::new(script).arg(what).arg(self.0.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("stop");
    }
}

#[test]
fn stopped_server_costs_only_freshness() {
    if std::env::var_os("GST_FACE_TEST_POSTGRES").is_none_or(|url| url.is_empty()) {
        eprintln!("skipped: GST_FACE_TEST_POSTGRES names no server");
        return;
    }
    let server = Server::start();
    let place = Place::at(&server.run("start"));
    let (gallery, roster) = three(&place);
    let asked = open(&place.location, ASKED);
    server.run("stop");
    let mut said = Vec::new();
    until("the loss is said", || {
        let started = Instant::now();
        said.extend(gallery.refresh(Duration::from_millis(50)).err());
        assert!(started.elapsed() < Duration::from_secs(1), "refresh waits for the network");
        !said.is_empty()
    });
    assert!(matches!(said[0], GalleryError::Unreachable { .. }), "{:?}", said[0]);
    // It serves on; what needs the server says so.
    let found = gallery.snapshot().identify(&embedding(4), 0.9, 0.0, 1).unwrap();
    assert_eq!(found.status, Status::Known);
    let error = gallery.enroll("Dan", &[sample(9)]).unwrap_err();
    assert!(matches!(error, GalleryError::Unreachable { .. }), "{error:?}");
    let error = asked.identify(&embedding(4), &RULES, LONG).unwrap_err();
    assert!(matches!(error, SearchError::Server { .. }), "{error:?}");
    assert!(roster.persons().is_err());

    server.run("start");
    // Each connects again by itself.
    assert_eq!(roster.persons().unwrap().len(), 3);
    let writer = Gallery::open(&place.location, &fingerprint(), Access::Write).unwrap();
    writer.enroll("Dan", &[sample(9)]).unwrap();
    until("what was written meanwhile is taken over", || {
        said.extend(gallery.refresh(Duration::from_millis(50)).err());
        gallery.snapshot().people().len() == 4
    });
    assert_eq!(said.len(), 1, "said once: {said:?}");
    assert!(gallery.enroll("Eve", &[sample(10)]).unwrap().created);
    assert_eq!(asked.identify(&embedding(9), &RULES, LONG).unwrap().status, Status::Known);
}

#[test]
fn interrupted_migration_leaves_nothing_that_the_next_one_minds() {
    let Some(place) = Place::server() else { return };
    let (gallery, mut roster) = three(&place);
    let mut to = fingerprint();
    let turned: Vec<f32> = to.probe.as_slice().iter().rev().copied().collect();
    (to.model, to.probe) = ("other".into(), Embedding::new(&turned).unwrap());
    let Location::Server(address) = &place.location else { panic!("a server's place is a file") };
    let store = || Store::open(address, Access::Write, None, SHORT).unwrap();
    let first = store();
    let space = first.begin_migration(&to).unwrap();
    first.fill(space, [(1, &embedding(1)), (4, &embedding(4))].into_iter()).unwrap();
    let error = store().begin_migration(&to).unwrap_err();
    assert!(matches!(error, GalleryError::Busy { .. }), "{error:?}");
    // As a process that was killed. People may be merged and removed with half of a table there.
    drop(first);
    let (ann, bob) = (id(&roster, "Ann Smith"), id(&roster, "Bob"));
    roster.merge(&ann, &bob).unwrap();
    roster.remove(&bob).unwrap();
    let mut next = None;
    until("the lock of the first is gone", || {
        next = store().begin_migration(&to).ok();
        next.is_some()
    });
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() \
                  AND tablename LIKE 'embeddings%'";
    let count: i64 = place.client().query_one(tables, &[]).unwrap().get(0);
    assert_eq!(count, 2, "the one in use and the new one");
    assert_eq!(who(&gallery, 6).as_deref(), Some("Cid"));
}

#[test]
fn changes_beyond_memory_are_read_as_a_whole() {
    let Some(place) = Place::server() else { return };
    let (gallery, mut roster) = three(&place);
    settle(&gallery);
    // As if 100,000 writes had been since, which nobody remembers what they removed of.
    place.client().batch_execute("UPDATE meta SET generation = generation + 100001").unwrap();
    roster.remove(&id(&roster, "Ann Smith")).unwrap();
    assert_eq!((who(&gallery, 1), who(&gallery, 4).as_deref()), (None, Some("Bob")));
    let rewritten = place.client().query_one("SELECT rewritten > 1 FROM meta", &[]).unwrap();
    assert!(rewritten.get::<_, bool>(0));
}
