//! What a gallery does wherever it is: every test runs in a file and on a server.

mod enrolling;
mod looking_after;
mod moving;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::identity::Status;

/// Runs each function as two tests: in a file, and on the server that `GST_FACE_TEST_POSTGRES`
/// names.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod file {
            $(#[test] fn $name() { super::$name(&super::Place::file()); })*
        }
        mod server {
            $(#[test] fn $name() {
                if let Some(place) = super::Place::server() { super::$name(&place); }
            })*
        }
    };
}
use on_both;

pub(in crate::gallery) const SHORT: Duration = Duration::from_millis(20);

/// Where a test has a gallery to itself.
pub(in crate::gallery) struct Place {
    pub(in crate::gallery) location: Location,
    folder: Option<tempfile::TempDir>,
    server: Option<(String, String)>,
}

impl Place {
    pub(in crate::gallery) fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::File(folder.path().join("g"));
        Self { location, folder: Some(folder), server: None }
    }

    /// That of a file.
    pub(in crate::gallery) fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// A schema on the server for tests; `None` without a server, and says so.
    pub(in crate::gallery) fn server() -> Option<Self> {
        let url = std::env::var("GST_FACE_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
        let Some(url) = url else {
            eprintln!("skipped: GST_FACE_TEST_POSTGRES names no server");
            return None;
        };
        Some(Self::at(&url))
    }

    pub(in crate::gallery) fn at(url: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let schema = format!("t_{}_{number}", uuid::Uuid::new_v4().simple());
        let location = Location::from(&format!("{url}?schema={schema}"));
        Self { location, folder: None, server: Some((url.to_owned(), schema)) }
    }

    /// The server's own client, at the schema.
    pub(in crate::gallery) fn client(&self) -> ::postgres::Client {
        let (url, schema) = self.server.as_ref().unwrap();
        let mut client = ::postgres::Client::connect(url, ::postgres::NoTls).unwrap();
        client.batch_execute(&format!("SET search_path = \"{schema}\", public")).unwrap();
        client
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((url, schema)) = &self.server else { return };
        // A server that a test stopped takes its schemas with it.
        if let Ok(mut client) = ::postgres::Client::connect(url, ::postgres::NoTls) {
            let _ = client.batch_execute(&format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"));
        }
    }
}

/// Waits until the snapshot has what was written until now; was there something that is news?
pub(in crate::gallery) fn settle(gallery: &Gallery) -> bool {
    let wanted = gallery.0.store.lock().generation().unwrap();
    let mut news = false;
    until("the snapshot is as new as the store", || {
        news |= gallery.refresh(Duration::ZERO).unwrap();
        gallery.snapshot().generation() >= wanted
    });
    news | gallery.refresh(Duration::ZERO).unwrap()
}

/// Waits for what another thread does.
pub(in crate::gallery) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited a minute: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Many values, as real embeddings have, so that pieces of them are unlike anything else.
pub(in crate::gallery) fn embedding(seed: u32) -> Embedding {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        // Knuth's MMIX constants.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    Embedding::new(&std::array::from_fn::<f32, 32, _>(|_| next())).unwrap()
}

pub(in crate::gallery) fn sample(seed: u32) -> NewSample {
    let bytes = |offset: u32| -> Vec<u8> {
        embedding(seed + offset).to_bytes().into_iter().cycle().take(9_000).collect()
    };
    NewSample {
        crop_png: Some(bytes(10_000)),
        loose: Some(LooseCrop { png: bytes(20_000), points: [[seed as f32, 0.5]; 5] }),
        ..NewSample::new(embedding(seed), format!("{seed}.jpg"))
    }
}

pub(in crate::gallery) fn fingerprint() -> Fingerprint {
    Fingerprint { model: "net".into(), alignment: "arcface-112".into(), probe: embedding(0) }
}

/// Ann (samples 1, 2, 3), Bob (4, 5) and Cid (6).
pub(in crate::gallery) fn three(place: &Place) -> (Gallery, Roster) {
    let gallery = Gallery::open(&place.location, &fingerprint(), Access::Create).unwrap();
    for (name, seeds) in [("Ann Smith", &[1, 2, 3][..]), ("Bob", &[4, 5]), ("Cid", &[6])] {
        gallery.enroll(name, &seeds.iter().map(|s| sample(*s)).collect::<Vec<_>>()).unwrap();
    }
    let roster = Roster::open_with_timeout(&place.location, Access::Write, SHORT).unwrap();
    (gallery, roster)
}

pub(in crate::gallery) fn id(roster: &Roster, name: &str) -> String {
    roster.find(name).unwrap().id
}

/// Who a face is, after the gallery has looked at its file.
pub(in crate::gallery) fn who(gallery: &Gallery, seed: u32) -> Option<String> {
    settle(gallery);
    let found = gallery.snapshot().identify(&embedding(seed), 0.9, 0.0, 1).unwrap();
    (found.status == Status::Known).then(|| found.best.unwrap().name.to_string())
}
