//! Storages when the network and the server fail.

#[path = "support/s3.rs"]
mod s3;

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use face_core::storage::{Storage, StorageError, StorageOptions};
use s3::{Fate, HASTY, Proxy, Seen, Server, strict_server};

const MIB: usize = 1 << 20;

fn quiet(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn error_body(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so it is</Message></Error>")
}

/// A storage behind a proxy that stands before nothing.
fn faked(fate: impl Fn(&Seen) -> Fate + Send + Sync + 'static) -> (Proxy, Storage) {
    let proxy = Proxy::before(None, fate);
    let server = Server::at(&proxy.endpoint());
    let storage = server.try_open(&server.uri("bucket", "p"), &HASTY).unwrap();
    (proxy, storage)
}

/// A storage in a new bucket of the real server, behind a proxy.
fn disturbed(fate: impl Fn(&Seen) -> Fate + Send + Sync + 'static) -> Option<(Proxy, Storage)> {
    let server = strict_server()?;
    let bucket = server.new_bucket();
    let proxy = Proxy::before(Some(&server), fate);
    let server = server.behind(&proxy);
    let storage = server.try_open(&server.uri(&bucket, "p"), &HASTY).unwrap();
    Some((proxy, storage))
}

#[test]
fn refused_connection_is_worth_another_try() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = Server::at(&endpoint);
    let storage = server.try_open(&server.uri("bucket", "p"), &HASTY).unwrap();
    let error = storage.put("x.mp4", b"1").unwrap_err();
    assert!(matches!(error, StorageError::Unreachable { .. }), "{error:?}");
    assert!(error.is_transient());
    assert!(error.to_string().contains("s3://bucket/p/x.mp4"), "{error}");
}

#[test]
fn server_that_never_answers_is_given_up() {
    let proxy = Proxy::before(None, |_| Fate::Silence);
    let server = Server::at(&proxy.endpoint());
    let options = StorageOptions { timeout: Duration::from_millis(300), retries: 1, ..HASTY };
    let storage = server.try_open(&server.uri("bucket", "p"), &options).unwrap();
    let start = Instant::now();
    let error = storage.put("x", b"1").unwrap_err();
    assert!(matches!(error, StorageError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("in time"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(proxy.seen().len(), 2);
}

#[test]
fn busy_server_is_asked_again() {
    let busy = |seen: &Seen| match seen.nth {
        0 | 1 => Fate::Answer(503, "", error_body("SlowDown")),
        _ => Fate::Pass,
    };
    let Some((proxy, storage)) = disturbed(busy) else { return };
    storage.put("x", b"1").unwrap();
    assert_eq!(storage.get("x", 1).unwrap(), b"1");
    assert!(proxy.seen().len() >= 4);
}

#[test]
fn answers_mean_what_they_mean() {
    for (status, code, is, transient) in [
        (503, "SlowDown", "failed", true),
        (500, "InternalError", "failed", true),
        (429, "TooManyRequests", "failed", true),
        (403, "AccessDenied", "may not", false),
        (403, "RequestTimeTooSkewed", "clock", true),
        (401, "", "may not", false),
        (404, "NoSuchBucket", "no such bucket", false),
        (400, "InvalidRequest", "InvalidRequest: so it is", false),
        (400, "AuthorizationHeaderMalformed", "region", false),
        (301, "PermanentRedirect", "region", false),
    ] {
        let (_proxy, storage) = faked(move |_| Fate::Answer(status, "", error_body(code)));
        let error = storage.put("x", b"1").unwrap_err();
        let text = error.to_string();
        assert!(text.contains(is), "{status} {code}: {text}");
        assert_eq!(error.is_transient(), transient, "{status} {code}: {error:?}");
        assert!(!text.contains("<") && !text.contains("http://"), "{text}");
    }
}

#[test]
fn yes_with_an_error_in_it_is_no() {
    // Without the mark of an object, and with one although nothing was stored.
    let (_proxy, storage) = faked(|_| Fate::Answer(200, "", error_body("InternalError")));
    let error = storage.put("x", b"1").unwrap_err();
    assert!(matches!(error, StorageError::Server { .. }), "{error:?}");
    assert!(error.is_transient());
    let lost = |seen: &Seen| match seen.method.as_str() {
        "PUT" => Fate::Answer(200, "ETag: \"x\"\r\n", error_body("InternalError")),
        _ => Fate::Pass,
    };
    let Some((_proxy, storage)) = disturbed(lost) else { return };
    let error = storage.put("x", b"1").unwrap_err();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error:?}");
    assert!(error.is_transient());
}

#[test]
fn connection_cut_in_the_middle_loses_nothing() {
    // Of every object's first answer only the beginning comes.
    let cut = |seen: &Seen| match seen.method.as_str() {
        "GET" if seen.nth == 4 => Fate::Cut(3 * MIB),
        "PUT" if seen.nth == 0 => Fate::Cut(10),
        _ => Fate::Pass,
    };
    let Some((proxy, storage)) = disturbed(cut) else { return };
    let bytes: Vec<u8> = (0..7 * MIB).map(|i| ((i * 31) >> 3) as u8).collect();
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::write(&from, &bytes).unwrap();
    let stored = storage.put_file("x.mp4", &from, &mut quiet).unwrap();
    let fetched = storage.get_file("x.mp4", &to, &mut quiet).unwrap();
    assert_eq!(stored, fetched);
    assert!(std::fs::read(&to).unwrap() == bytes);
    let seen: Vec<_> = proxy.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(seen, ["PUT", "PUT", "HEAD", "HEAD", "GET", "GET"]);
}

#[test]
fn failed_part_takes_the_others_back() {
    let refuse = |seen: &Seen| match seen.path.contains("partNumber=2") {
        true => Fate::Answer(400, "", error_body("InvalidPart")),
        false => Fate::Pass,
    };
    let Some((proxy, storage)) = disturbed(refuse) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, vec![1; 20 * MIB]).unwrap();
    let error = storage.put_file("x.mp4", &file, &mut quiet).unwrap_err();
    assert!(error.to_string().contains("InvalidPart"), "{error}");
    let seen = proxy.seen();
    let last = seen.last().expect("something was asked");
    assert!(last.method == "DELETE" && last.path.contains("uploadId="), "{last:?}");
    assert!(matches!(storage.head("x.mp4"), Err(StorageError::NotFound { .. })));
}

#[test]
fn upload_whose_end_fails_is_ended_again() {
    // S3 may answer 200 to the last request and say in its body that it failed.
    let fail = |seen: &Seen| match (seen.method.as_str(), seen.nth) {
        ("POST", 4) => Fate::Answer(200, "", error_body("InternalError")),
        _ => Fate::Pass,
    };
    let Some((proxy, storage)) = disturbed(fail) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, vec![1; 20 * MIB]).unwrap();
    storage.put_file("x.mp4", &file, &mut quiet).unwrap();
    assert_eq!(storage.head("x.mp4").unwrap().size, 20 * MIB as u64);
    let posts = proxy.seen().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!(posts, 3, "the beginning, and the end twice");
}

#[test]
fn lists_come_in_pages() {
    let page = |seen: &Seen| {
        let more = !seen.path.contains("continuation-token=next");
        let names: Vec<String> =
            (0..1000).map(|i| format!("p/{}/{i}.mp4", u8::from(!more))).collect();
        let mut body = "<ListBucketResult>".to_owned();
        for name in names.iter().take(if more { 1000 } else { 5 }) {
            body.push_str(&format!(
                "<Contents><Key>{name}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>\
                 <ETag>x</ETag><Size>7</Size></Contents>"
            ));
        }
        if more {
            body.push_str("<NextContinuationToken>next</NextContinuationToken>");
        }
        Fate::Answer(200, "", body + "</ListBucketResult>")
    };
    let (proxy, storage) = faked(page);
    let mut keys = Vec::new();
    let mut visit = |object: face_core::storage::Object| {
        keys.push(object.key);
        ControlFlow::Continue(())
    };
    storage.list("", &mut visit).unwrap();
    assert_eq!(keys.len(), 1005);
    assert_eq!(keys.last().map(String::as_str), Some("1/4.mp4"));
    assert_eq!(proxy.seen().len(), 2);
}

#[test]
fn machine_without_any_credentials_says_so() {
    let proxy = Proxy::before(None, |_| Fate::Answer(404, "", String::new()));
    let endpoint = proxy.endpoint();
    let only_metadata = |name: &str| match name {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT" => Some(endpoint.clone()),
        _ => None,
    };
    let uri = "s3://bucket?endpoint=https://127.0.0.1:1";
    let storage = Storage::open_in(uri, &HASTY, &only_metadata).unwrap();
    let error = storage.put("x", b"1").unwrap_err();
    assert!(matches!(error, StorageError::Credentials { .. }), "{error:?}");
    assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
}
