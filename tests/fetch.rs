//! Downloads from a server on loopback that behaves well and badly.

#[path = "support/http.rs"]
mod http;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use face_core::fetch::{FetchError, FetchOptions, Fetched, fetch};
use face_core::model::{self, ModelFile, ModelSpec};
use http::{Reply, Request, Server};
use sha2::{Digest, Sha256};

const NAME: &str = "test.onnx";
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";

/// Bytes that are not the same anywhere.
fn content() -> Vec<u8> {
    (0..50_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn spec(url: &str) -> ModelSpec {
    let sha256 = Sha256::digest(content()).iter().map(|b| format!("{b:02x}")).collect();
    ModelSpec {
        id: "test".into(),
        file: ModelFile {
            name: NAME.into(),
            sha256,
            bytes: content().len() as u64,
            url: Some(url.into()),
            url_verified: false,
        },
        ..model::find(model::DEFAULT_DETECTOR).expect("it is known").clone()
    }
}

fn quick() -> FetchOptions {
    FetchOptions { delay: Duration::from_millis(1), attempts: 3, ..FetchOptions::default() }
}

fn fetch_from(server: &Server, folder: &Path) -> Result<Fetched, FetchError> {
    let spec = spec(&server.url("/m.onnx"));
    fetch(&spec, folder, &quick(), &mut |_, _| ControlFlow::Continue(()))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The file is there, whole, and nothing else.
fn assert_fetched(result: Result<Fetched, FetchError>, folder: &Path) {
    let fetched = result.unwrap_or_else(|error| panic!("{error}"));
    assert!(fetched.downloaded);
    assert!(std::fs::read(&fetched.path).expect("the file is there") == content());
    assert_eq!(names(folder), [NAME]);
}

fn ranges(server: &Server) -> Vec<Option<usize>> {
    server.requests().iter().map(|request| request.range).collect()
}

#[test]
fn whole_file_is_fetched_once() {
    let server = Server::start(|request| Reply::ranged(&content(), request));
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("made/on/demand");
    let mut steps = Vec::new();
    let spec = spec(&server.url("/m.onnx?key=1"));
    let result = fetch(&spec, &deep, &quick(), &mut |done, total| {
        steps.push((done, total));
        ControlFlow::Continue(())
    });
    assert_fetched(result, &deep);
    let total = content().len() as u64;
    assert_eq!((steps.first(), steps.last()), (Some(&(0, total)), Some(&(total, total))));
    assert!(steps.is_sorted());
    assert_eq!(server.requests()[0].path, "/m.onnx?key=1", "the query is part of the address");
    assert!(!fetch_from(&server, &deep).unwrap().downloaded);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn damaged_file_is_replaced() {
    let server = Server::start(|request| Reply::ranged(&content(), request));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(NAME), b"damaged").unwrap();
    assert_fetched(fetch_from(&server, folder.path()), folder.path());
}

#[test]
fn cut_download_goes_on_where_it_ended() {
    let server = Server::start(|request| {
        let reply = Reply::ranged(&content(), request);
        if request.nth < 4 { reply.cut(30_000) } else { reply }
    });
    let folder = tempfile::tempdir().unwrap();
    assert_fetched(fetch_from(&server, folder.path()), folder.path());
    let asked = [None, Some(30_000), Some(60_000), Some(90_000), Some(120_000)];
    assert_eq!(ranges(&server), asked, "progress is not counted as failure");
}

#[test]
fn next_call_goes_on_where_the_last_one_was_cancelled() {
    let server = Server::start(|request| Reply::ranged(&content(), request));
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(&server.url("/m.onnx"));
    let error = fetch(&spec, folder.path(), &quick(), &mut |done, _| {
        if done > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(error, Err(FetchError::Cancelled)), "{error:?}");
    assert_eq!(names(folder.path()), ["test.onnx.part"]);
    let kept = std::fs::metadata(folder.path().join("test.onnx.part")).unwrap().len() as usize;
    assert!(kept > 0 && kept < content().len(), "{kept}");
    assert_fetched(fetch_from(&server, folder.path()), folder.path());
    assert_eq!(ranges(&server), [None, Some(kept)]);
}

fn resumed_from(part: &[u8], answer: impl Fn(&Request) -> Reply + Send + 'static) -> Server {
    let server = Server::start(answer);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("test.onnx.part"), part).unwrap();
    assert_fetched(fetch_from(&server, folder.path()), folder.path());
    server
}

#[test]
fn left_over_part_is_used_if_it_can_be() {
    let content = content();
    let serve = |request: &Request| Reply::ranged(&self::content(), request);
    assert_eq!(ranges(&resumed_from(&content[..1000], serve)), [Some(1000)]);
    assert!(ranges(&resumed_from(&content, serve)).is_empty(), "nothing is missing");
    // Wrong from the start: found out at the end, then fetched anew.
    assert_eq!(ranges(&resumed_from(&[9; 1000], serve)), [Some(1000), None]);
    let longer = [content.as_slice(), b"more"].concat();
    assert_eq!(ranges(&resumed_from(&longer, serve)), [None]);
}

#[test]
fn server_without_ranges_makes_it_start_over() {
    let content = content();
    let server = resumed_from(&content[..1000], |_| Reply::whole(&self::content()));
    assert_eq!(ranges(&server), [Some(1000)], "the whole answer is taken");
    let server = resumed_from(&content[..1000], |request| match request.range {
        Some(_) => Reply::status(416),
        None => Reply::whole(&self::content()),
    });
    assert_eq!(ranges(&server), [Some(1000), None]);
    // Other bytes than those asked for must not be appended.
    let server = resumed_from(&content[..1000], |request| {
        let shifted = request.range.map(|_| 500);
        Reply::ranged(&self::content(), &Request { range: shifted, ..request.clone() })
    });
    assert_eq!(ranges(&server), [Some(1000), None]);
}

#[test]
fn length_need_not_be_announced() {
    let server = Server::start(|request| {
        let reply = Reply::ranged(&content(), request).unannounced();
        if request.nth == 0 { reply.cut(1000) } else { reply }
    });
    let folder = tempfile::tempdir().unwrap();
    assert_fetched(fetch_from(&server, folder.path()), folder.path());
    assert_eq!(ranges(&server), [None, Some(1000)]);
}

#[test]
fn server_errors_are_retried_and_then_told() {
    let server = Server::start(|request| match request.nth {
        0 => Reply::status(503),
        1 => Reply::status(429),
        _ => Reply::ranged(&content(), request),
    });
    let folder = tempfile::tempdir().unwrap();
    assert_fetched(fetch_from(&server, folder.path()), folder.path());

    let server = Server::start(|_| Reply::status(503));
    let folder = tempfile::tempdir().unwrap();
    let error = fetch_from(&server, folder.path()).unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    assert_eq!(server.requests().len(), 3, "as many attempts as asked for");
    assert!(names(folder.path()).is_empty());

    let server = Server::start(|_| Reply::status(404));
    let error = fetch_from(&server, folder.path()).unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    assert_eq!(server.requests().len(), 1, "asking again would not help");
}

#[test]
fn server_that_always_cuts_is_given_up() {
    let server = Server::start(|_| Reply::whole(&content()).cut(1000));
    let folder = tempfile::tempdir().unwrap();
    let error = fetch_from(&server, folder.path()).unwrap_err();
    assert!(matches!(error, FetchError::Network { .. }), "{error}");
    assert_eq!(server.requests().len(), 3, "starting over is no progress");
    assert_eq!(names(folder.path()), ["test.onnx.part"]);
}

#[test]
fn nobody_there_is_a_network_error() {
    let server = Server::start(|_| Reply::status(200));
    let url = server.url("/m.onnx");
    drop(server);
    let folder = tempfile::tempdir().unwrap();
    let error = fetch(&spec(&url), folder.path(), &quick(), &mut |_, _| ControlFlow::Continue(()))
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&url) && text.to_lowercase().contains("refused"), "{text}");
}

#[test]
fn wrong_bytes_are_deleted() {
    let server = Server::start(|request| {
        let mut wrong = content();
        wrong[77_777] ^= 1;
        Reply::ranged(&wrong, request)
    });
    let folder = tempfile::tempdir().unwrap();
    let error = fetch_from(&server, folder.path()).unwrap_err();
    let FetchError::Checksum { expected, actual, .. } = &error else { panic!("{error}") };
    let text = error.to_string();
    assert!(expected != actual && text.contains(expected) && text.contains(actual), "{text}");
    assert_eq!(server.requests().len(), 1);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn another_length_is_refused() {
    for unannounced in [false, true] {
        let server = Server::start(move |_| {
            let reply = Reply::whole(&[content(), vec![0; 10]].concat());
            if unannounced { reply.unannounced() } else { reply }
        });
        let folder = tempfile::tempdir().unwrap();
        let error = fetch_from(&server, folder.path()).unwrap_err();
        assert!(matches!(error, FetchError::Size { expected: 200_000, .. }), "{error}");
        assert!(names(folder.path()).is_empty());
    }
    // What is there already is not given up for a page that says sorry.
    let server = Server::start(|_| Reply::whole(b"<html>sorry</html>"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("test.onnx.part"), &content()[..1000]).unwrap();
    let error = fetch_from(&server, folder.path()).unwrap_err();
    assert!(matches!(error, FetchError::Size { actual: 18, .. }), "{error}");
    let part = std::fs::read(folder.path().join("test.onnx.part")).unwrap();
    assert!(part == content()[..1000]);
}

#[test]
fn lfs_pointer_is_recognised() {
    for unannounced in [false, true] {
        let server = Server::start(move |_| {
            let reply = Reply::whole(POINTER);
            if unannounced { reply.unannounced() } else { reply }
        });
        let folder = tempfile::tempdir().unwrap();
        let error = fetch_from(&server, folder.path()).unwrap_err();
        assert!(matches!(error, FetchError::LfsPointer { .. }), "{error}");
        assert!(error.to_string().contains("Git LFS"));
        assert!(names(folder.path()).is_empty());
    }
}

#[test]
fn redirects_are_followed_where_it_is_safe() {
    let server = Server::start(|request| match request.path.as_str() {
        "/m.onnx" => Reply::redirect("/real.onnx"),
        _ => Reply::ranged(&content(), request),
    });
    let folder = tempfile::tempdir().unwrap();
    assert_fetched(fetch_from(&server, folder.path()), folder.path());

    for (to, part) in [("http://192.0.2.1/m.onnx", "192.0.2.1"), ("/m.onnx", "too many")] {
        let server = Server::start(move |_| Reply::redirect(to));
        let folder = tempfile::tempdir().unwrap();
        let error = fetch_from(&server, folder.path()).unwrap_err();
        assert!(matches!(error, FetchError::Redirect { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn what_may_not_be_fetched_is_refused_before_any_request() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request| Reply::ranged(&content(), request));
    let go = |spec: &ModelSpec, options: &FetchOptions| {
        fetch(spec, folder.path(), options, &mut |_, _| ControlFlow::Continue(()))
    };
    let plain = spec("http://192.0.2.1/m.onnx");
    assert!(matches!(go(&plain, &quick()), Err(FetchError::Insecure { .. })));
    assert!(matches!(go(&spec("m.onnx"), &quick()), Err(FetchError::Address { .. })));

    let mut nowhere = spec("");
    nowhere.file.url = None;
    let error = go(&nowhere, &quick()).unwrap_err();
    assert!(error.to_string().contains(NAME), "{error}");
    let mut outside = spec(&server.url("/m.onnx"));
    outside.file.name = "../test.onnx".into();
    assert!(matches!(go(&outside, &quick()), Err(FetchError::Incomplete { .. })));

    let research = ModelSpec { commercial: false, ..spec(&server.url("/m.onnx")) };
    let error = go(&research, &quick()).unwrap_err();
    assert!(matches!(error, FetchError::NonCommercial { .. }), "{error}");
    assert!(server.requests().is_empty() && names(folder.path()).is_empty());
    let accepted = FetchOptions { accept_non_commercial: true, ..quick() };
    assert_fetched(go(&research, &accepted), folder.path());
}

#[test]
fn mirror_replaces_the_official_address() {
    let server = Server::start(|request| Reply::ranged(&content(), request));
    let folder = tempfile::tempdir().unwrap();
    let options = FetchOptions { url: Some(server.url("/mirror")), ..quick() };
    let spec = spec("https://192.0.2.1/m.onnx");
    let result = fetch(&spec, folder.path(), &options, &mut |_, _| ControlFlow::Continue(()));
    assert_fetched(result, folder.path());
}

#[test]
fn several_at_once_do_not_disturb_each_other() {
    let server = Server::start(|request| Reply::ranged(&content(), request));
    let folder = tempfile::tempdir().unwrap();
    let results: Vec<_> = std::thread::scope(|scope| {
        let fetches: Vec<_> =
            (0..4).map(|_| scope.spawn(|| fetch_from(&server, folder.path()))).collect();
        fetches.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let downloaded = results.into_iter().map(|r| r.unwrap().downloaded).filter(|d| *d).count();
    assert_eq!(downloaded, 1, "one fetches, the others wait for it");
    assert_eq!(server.requests().len(), 1);
    assert!(std::fs::read(folder.path().join(NAME)).unwrap() == content());
    assert_eq!(names(folder.path()), [NAME]);
}

#[test]
fn asynchronous_code_gets_an_error_not_a_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = runtime.block_on(async {
        let spec = spec("https://192.0.2.1/m.onnx");
        fetch(&spec, folder.path(), &quick(), &mut |_, _| ControlFlow::Continue(()))
    });
    assert!(matches!(error, Err(FetchError::InsideRuntime)), "{error:?}");
}
