//! Downloading model files.
//!
//! Over `reqwest` itself rather than the HTTP store of `object_store`: that one hides the status
//! when a server ignores or refuses a range, fails without a content length, drops the query of an
//! address, and follows redirects to unencrypted addresses.

mod part;

use std::error::Error;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};

use crate::model::{self, FileState, ModelFile, ModelSpec};
use part::Part;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that sends nothing for so long is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_DELAY: Duration = Duration::from_secs(8);
const MAX_REDIRECTS: usize = 5;
/// Requests for one file, however much each of them brought.
const MAX_REQUESTS: u32 = 50;
/// Longest text taken for a Git LFS pointer.
const MAX_POINTER: u64 = 1024;

/// How to fetch a model.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Address to use instead of the official one: a mirror.
    pub url: Option<String>,
    /// Fetch a model whose licence forbids commercial use.
    pub accept_non_commercial: bool,
    /// Requests in a row that bring nothing new before giving up; at least 1.
    pub attempts: u32,
    /// Wait after the first failed request; doubles with each further one, up to 8 s.
    pub delay: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            url: None,
            accept_non_commercial: false,
            attempts: 5,
            delay: Duration::from_millis(500),
        }
    }
}

/// A model file that is there and intact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub path: PathBuf,
    /// False if it was there before.
    pub downloaded: bool,
}

/// Why a model could not be fetched. Addresses are shown without user name and query.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("model '{model}' has no download address: bring your own file '{file}'")]
    NoAddress { model: String, file: String },
    #[error("model '{model}' has no file name, size or checksum to fetch it by")]
    Incomplete { model: String },
    #[error(
        "model '{model}' may not be used commercially (licence {licence}): accept that explicitly \
         to fetch it"
    )]
    NonCommercial { model: String, licence: String },
    #[error("'{url}' is not an address: {reason}")]
    Address { url: String, reason: String },
    #[error("refused '{url}': only https is safe beyond this machine")]
    Insecure { url: String },
    #[error("'{url}' redirects to where it may not: {reason}")]
    Redirect { url: String, reason: String },
    #[error("'{url}' answered {status}")]
    Status { url: String, status: StatusCode },
    #[error("cannot download '{url}': {reason}")]
    Network { url: String, reason: String },
    #[error("'{url}' is a Git LFS pointer, not the file itself: use an address of the file")]
    LfsPointer { url: String },
    #[error("'{url}' is {actual} bytes long, expected {expected}: it is another file")]
    Size { url: String, expected: u64, actual: u64 },
    #[error("'{url}' has the sha256 {actual}, expected {expected}: the download was deleted")]
    Checksum { url: String, expected: String, actual: String },
    #[error("cannot write '{}'", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cancelled; the next fetch goes on from here")]
    Cancelled,
    #[error("a model cannot be fetched from asynchronous code: use a thread of its own")]
    InsideRuntime,
}

impl FetchError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// Told the bytes there are and the bytes there will be; [`ControlFlow::Break`] cancels.
pub type Progress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// Downloads the file of `spec` into `folder`, which is created if it is missing. Blocks.
///
/// The file grows under the name `NAME.part` and gets its own name once its checksum is right and
/// it is on the disk: at any moment the process may end, and the next call goes on. An intact file
/// is not fetched again, a damaged one is replaced. Of several calls at once, in this and other
/// processes, one downloads and the others wait for it.
///
/// # Errors
/// [`FetchError`]. Cut connections and server errors (408, 429, 5xx) are retried first.
pub fn fetch(
    spec: &ModelSpec,
    folder: &Path,
    options: &FetchOptions,
    progress: &mut Progress<'_>,
) -> Result<Fetched, FetchError> {
    let url = address(spec, options)?;
    if tokio::runtime::Handle::try_current().is_ok() {
        return Err(FetchError::InsideRuntime);
    }
    std::fs::create_dir_all(folder).map_err(|e| FetchError::io(folder, e))?;
    let path = folder.join(&spec.file.name);
    if model::check(&path, &spec.file) == FileState::Intact {
        return Ok(Fetched { path, downloaded: false });
    }
    let total = spec.file.bytes;
    let name = folder.join(format!("{}.part", spec.file.name));
    let mut part = Part::lock(name, &mut |bytes| progress(bytes, total))?;
    // Another process may have fetched it while this one waited.
    if model::check(&path, &spec.file) == FileState::Intact {
        part.remove()?;
        return Ok(Fetched { path, downloaded: false });
    }
    part.resume(total)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| FetchError::Network { url: shown(&url), reason: e.to_string() })?;
    let client = client(&url)?;
    let mut download = Download { client, url, file: &spec.file, part, progress };
    if let Err(error) = runtime.block_on(download.run(options)) {
        if download.part.done() == 0 {
            download.part.remove()?;
        }
        return Err(error);
    }
    download.part.finish(&path)?;
    Ok(Fetched { path, downloaded: true })
}

fn address(spec: &ModelSpec, options: &FetchOptions) -> Result<Url, FetchError> {
    let model = spec.id.clone();
    let file = &spec.file;
    let plain = Path::new(&file.name).file_name().is_some_and(|name| name == file.name.as_str());
    if !plain || file.bytes == 0 || file.sha256.is_empty() {
        return Err(FetchError::Incomplete { model });
    }
    if !spec.commercial && !options.accept_non_commercial {
        return Err(FetchError::NonCommercial { model, licence: spec.licence.clone() });
    }
    let Some(text) = options.url.as_ref().or(file.url.as_ref()) else {
        return Err(FetchError::NoAddress { model, file: file.name.clone() });
    };
    let url = Url::parse(text)
        .map_err(|e| FetchError::Address { url: text.clone(), reason: e.to_string() })?;
    if !is_safe(&url, is_loopback(&url)) {
        return Err(FetchError::Insecure { url: shown(&url) });
    }
    Ok(url)
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// May `url` be asked? Services of this machine may, if the user named one (`from_loopback`), but
/// no other server may send us to them.
fn is_safe(url: &Url, from_loopback: bool) -> bool {
    match url.scheme() {
        "https" => from_loopback || !is_loopback(url),
        "http" => from_loopback && is_loopback(url),
        _ => false,
    }
}

/// The address without what may be secret.
pub(crate) fn shown(url: &Url) -> String {
    let end = url.as_str().find(['?', '#']).unwrap_or(url.as_str().len());
    let text = url.as_str().get(..end).unwrap_or_default();
    match (text.split_once("://"), url.has_authority()) {
        (Some((scheme, rest)), true) if !url.username().is_empty() || url.password().is_some() => {
            format!("{scheme}://{}", rest.split_once('@').map_or(rest, |(_, host)| host))
        }
        _ => text.to_owned(),
    }
}

/// What every request of ours has in common: TLS, and the way to services of this machine.
pub(crate) fn client_builder(url: &Url) -> ClientBuilder {
    // An error means that the host program has chosen a provider already: that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let local = is_loopback(url);
    let mut builder = Client::builder()
        .user_agent(concat!("gst-face/", env!("CARGO_PKG_VERSION")))
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT);
    if local {
        builder = builder.no_proxy();
        if url.scheme() == "http" {
            // A machine without certificates can still ask itself.
            builder = builder.tls_certs_only([]);
        }
    }
    builder
}

fn client(url: &Url) -> Result<Client, FetchError> {
    let local = is_loopback(url);
    let redirects = reqwest::redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if is_safe(attempt.url(), local) {
            attempt.follow()
        } else {
            let reason = format!("'{}' is not a safe address", shown(attempt.url()));
            attempt.error(reason)
        }
    });
    client_builder(url).redirect(redirects).build().map_err(|e| network(url, e))
}

/// The error with its causes, without the address, which may hold secrets.
pub(crate) fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        reason.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    reason
}

fn network(url: &Url, error: reqwest::Error) -> FetchError {
    let (redirect, reason) = (error.is_redirect(), reason(error));
    if redirect {
        return FetchError::Redirect { url: shown(url), reason };
    }
    FetchError::Network { url: shown(url), reason }
}

/// What a failed request means for the download.
enum Failure {
    /// The next request may do better.
    Retry(FetchError),
    Fatal(FetchError),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Fatal(error)
    }
}

struct Download<'a, 'b> {
    client: Client,
    url: Url,
    file: &'a ModelFile,
    part: Part,
    progress: &'a mut Progress<'b>,
}

impl Download<'_, '_> {
    /// Asks until the file is whole.
    async fn run(&mut self, options: &FetchOptions) -> Result<(), FetchError> {
        // What an earlier run left may be wrong: then one more try from the start is due.
        let mut left_over = self.part.done() > 0;
        let mut most = self.part.done();
        let mut failures = 0;
        let mut requests = 0;
        self.report()?;
        loop {
            if self.part.done() == self.file.bytes {
                let actual = self.part.sha256();
                if actual == self.file.sha256 {
                    return Ok(());
                }
                if !std::mem::take(&mut left_over) {
                    self.part.remove()?;
                    let expected = self.file.sha256.clone();
                    return Err(FetchError::Checksum { url: shown(&self.url), expected, actual });
                }
                self.part.restart()?;
                most = 0;
            }
            requests += 1;
            let error = match self.request().await {
                Ok(()) => continue,
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Retry(error)) => error,
            };
            failures = if self.part.done() > most { 1 } else { failures + 1 };
            most = most.max(self.part.done());
            if failures >= options.attempts || requests >= MAX_REQUESTS {
                return Err(error);
            }
            self.report()?;
            let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
            tokio::time::sleep(options.delay.saturating_mul(factor).min(MAX_DELAY)).await;
        }
    }

    fn report(&mut self) -> Result<(), FetchError> {
        match (self.progress)(self.part.done(), self.file.bytes) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(FetchError::Cancelled),
        }
    }

    /// One request, for what is missing. `Ok`: as many bytes are there as there should be.
    async fn request(&mut self) -> Result<(), Failure> {
        let mut request = self.client.get(self.url.clone());
        if self.part.done() > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.part.done()));
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_redirect() || error.is_builder() => {
                return Err(Failure::Fatal(network(&self.url, error)));
            }
            Err(error) => return Err(Failure::Retry(network(&self.url, error))),
        };
        let status = response.status();
        let refused = FetchError::Status { url: shown(&self.url), status };
        match status {
            StatusCode::OK => self.whole(response).await,
            StatusCode::PARTIAL_CONTENT if self.part.done() > 0 => {
                match content_range(&response) {
                    Some((start, total)) if start == self.part.done() => {
                        self.expect_size(total)?;
                        self.receive(response).await
                    }
                    // Not the bytes that were asked for.
                    _ => {
                        self.part.restart()?;
                        Err(Failure::Retry(refused))
                    }
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE if self.part.done() > 0 => {
                self.part.restart()?;
                Err(Failure::Retry(refused))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Failure::Retry(refused))
            }
            _ if status.is_server_error() => Err(Failure::Retry(refused)),
            _ => Err(Failure::Fatal(refused)),
        }
    }

    /// Takes an answer that holds all of the file, as of a server that ignores ranges.
    async fn whole(&mut self, mut response: Response) -> Result<(), Failure> {
        if let Some(length) = response.content_length()
            && length != self.file.bytes
        {
            // What is there already may be right: it stays.
            if length <= MAX_POINTER
                && let Ok(Some(start)) = response.chunk().await
                && model::is_lfs_pointer(&start)
            {
                return Err(Failure::Fatal(FetchError::LfsPointer { url: shown(&self.url) }));
            }
            self.expect_size(length)?;
        }
        self.part.restart()?;
        self.receive(response).await
    }

    fn expect_size(&self, actual: u64) -> Result<(), FetchError> {
        if actual == self.file.bytes {
            return Ok(());
        }
        Err(FetchError::Size { url: shown(&self.url), expected: self.file.bytes, actual })
    }

    /// Appends the body of `response`.
    async fn receive(&mut self, mut response: Response) -> Result<(), Failure> {
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => return Err(Failure::Retry(network(&self.url, error))),
            };
            let length = self.part.done().saturating_add(chunk.len() as u64);
            if length > self.file.bytes {
                self.part.remove()?;
                self.expect_size(length)?;
            }
            self.part.append(&chunk)?;
            self.report()?;
        }
        if self.part.done() == self.file.bytes {
            return Ok(());
        }
        // An end without an announced length looks like a cut, or is all there is.
        let url = shown(&self.url);
        if self.part.done() <= MAX_POINTER && model::is_lfs_pointer(&self.part.start(MAX_POINTER)?)
        {
            self.part.remove()?;
            return Err(Failure::Fatal(FetchError::LfsPointer { url }));
        }
        let (done, expected) = (self.part.done(), self.file.bytes);
        let reason = format!("the answer ended after {done} of {expected} bytes");
        Err(Failure::Retry(FetchError::Network { url, reason }))
    }
}

/// Start and total length of a partial answer (`bytes 10-99/100`).
fn content_range(response: &Response) -> Option<(u64, u64)> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, total.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("an address")
    }

    #[test]
    fn only_https_leaves_the_machine() {
        for (text, from_outside, from_loopback) in [
            ("https://example.org/x", true, true),
            ("http://example.org/x", false, false),
            ("http://127.0.0.1:8000/x", false, true),
            ("http://[::1]/x", false, true),
            ("http://localhost/x", false, true),
            ("https://127.0.0.1/x", false, true),
            ("http://127.0.0.1.example.org/x", false, false),
            ("http://localhost.example.org/x", false, false),
            ("file:///etc/passwd", false, false),
            ("ftp://127.0.0.1/x", false, false),
        ] {
            assert_eq!(is_safe(&url(text), false), from_outside, "{text}");
            assert_eq!(is_safe(&url(text), true), from_loopback, "{text}");
        }
    }

    #[test]
    fn secrets_in_addresses_are_not_shown() {
        assert_eq!(shown(&url("https://me:pw@host/a.onnx?key=1#x")), "https://host/a.onnx");
        assert_eq!(shown(&url("https://host/a@b.onnx")), "https://host/a@b.onnx");
    }
}
