//! A storage in an S3 bucket. The only file that names `object_store`.

use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, Error, GetOptions, GetRange,
    MultipartUpload, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, RetryConfig,
};

use super::address::{self, BucketAddress};
use super::credentials::{self, Credentials, Environment};
use super::folder::Source;
use super::{CHUNK, Object, Progress, StorageError, StorageOptions, Stored, Visit};
use crate::net::block_on;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where Amazon looks for a bucket whose region nobody named, and what other servers ignore.
const DEFAULT_REGION: &str = "us-east-1";
/// Name of the object's own note of its checksum: `x-amz-meta-sha256`.
const CHECKSUM: &str = "sha256";
/// Longest part of a server's answer that goes into an error, characters.
const LONGEST_ANSWER: usize = 200;

/// A bucket, or what is below a prefix of it.
#[derive(Debug)]
pub(super) struct Bucket {
    store: AmazonS3,
    prefix: String,
    uri: String,
}

impl Bucket {
    pub(super) fn open(
        mut address: BucketAddress,
        options: &StorageOptions,
        environment: &Environment<'_>,
    ) -> Result<Self, StorageError> {
        let mut uri = format!("s3://{}", address.bucket);
        if !address.prefix.is_empty() {
            uri.push('/');
            uri.push_str(&address.prefix);
        }
        let found = credentials::find(&address, environment)
            .map_err(|reason| StorageError::Credentials { uri: uri.clone(), reason })?;
        let wrong = |reason| StorageError::Uri { uri: uri.clone(), reason };
        if let (None, Some(endpoint)) = (&address.endpoint, &found.endpoint) {
            let checked = address::endpoint(endpoint);
            address.endpoint = Some(checked.map_err(|e| wrong(format!("AWS_ENDPOINT_URL: {e}")))?);
            address::check_encryption(&address).map_err(wrong)?;
        }
        // An error means that the host program has chosen a provider already: that one serves too.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let region = address.region.clone().or(found.region);
        let builder = builder(&address, options)
            .with_region(region.unwrap_or_else(|| DEFAULT_REGION.to_owned()));
        let store = with_credentials(builder, found.credentials)
            .build()
            .map_err(|error| wrong(chain(&error).0))?;
        Ok(Self { store, prefix: address.prefix, uri })
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// The object as errors name it.
    pub(super) fn place(&self, key: &str) -> String {
        format!("{}/{key}", self.uri)
    }

    fn path(&self, key: &str) -> Result<Path, StorageError> {
        let whole = self.whole(key);
        if whole.len() > super::key::LONGEST {
            let reason = "it is longer than 1024 bytes with the prefix of the storage";
            return Err(StorageError::Key { key: key.to_owned(), reason });
        }
        Path::parse(whole).map_err(|_| StorageError::Key {
            key: key.to_owned(),
            reason: "it has characters that the storage does not take",
        })
    }

    fn whole(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }

    /// Asks for the keys before anything else is: where they come from a role, that is a request
    /// of its own, and its failure is no failure of the bucket.
    async fn authorised(&self) -> Result<(), StorageError> {
        match self.store.credentials().get_credential().await {
            Ok(_) => Ok(()),
            Err(error) => Err(StorageError::Credentials {
                uri: self.uri.clone(),
                reason: format!(
                    "none in the environment, no profile, and this machine has no role ({}): set \
                     AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials",
                    chain(&error).0
                ),
            }),
        }
    }

    fn fault(&self, error: &Error, operation: &'static str, key: &str) -> StorageError {
        fault(error, operation, self.place(key), &self.uri)
    }

    pub(super) fn put(
        &self,
        key: &str,
        content: &mut dyn Read,
        stored: &Stored,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::ContentType, content_type(key).into());
        attributes.insert(Attribute::Metadata(CHECKSUM.into()), stored.sha256.clone().into());
        let mut source = Source::new(content, stored, self.place(key));
        block_on(async {
            self.authorised().await?;
            if stored.size <= CHUNK as u64 {
                self.put_whole(key, &path, &mut source, attributes, progress).await?;
            } else {
                self.put_parts(key, &path, &mut source, attributes, progress).await?;
            }
            self.verify(key, &path, stored).await
        })?
    }

    async fn put_whole(
        &self,
        key: &str,
        path: &Path,
        source: &mut Source<'_>,
        attributes: Attributes,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        let total = source.total();
        let mut bytes = Vec::new();
        while let Some(chunk) = source.next_chunk()? {
            bytes.extend_from_slice(&chunk);
        }
        if progress(0, total).is_break() {
            return Err(StorageError::Cancelled);
        }
        let options = PutOptions { attributes, ..PutOptions::default() };
        let put = self.store.put_opts(path, bytes.into(), options).await;
        put.map_err(|e| self.fault(&e, "store", key))?;
        let _ = progress(total, total);
        Ok(())
    }

    async fn put_parts(
        &self,
        key: &str,
        path: &Path,
        source: &mut Source<'_>,
        attributes: Attributes,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let upload = self.store.put_multipart_opts(path, options).await;
        let mut upload = upload.map_err(|e| self.fault(&e, "store", key))?;
        let sent = self.send_parts(key, upload.as_mut(), source, progress).await;
        if sent.is_err() {
            // Parts that nobody completes stay, unseen and paid for. Where the server is away this
            // fails, too: then only a lifecycle rule of the bucket removes them.
            let _ = upload.abort().await;
        }
        sent
    }

    async fn send_parts(
        &self,
        key: &str,
        upload: &mut dyn MultipartUpload,
        source: &mut Source<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        let total = source.total();
        let mut sent = 0;
        loop {
            if progress(sent, total).is_break() {
                return Err(StorageError::Cancelled);
            }
            let Some(chunk) = source.next_chunk()? else { break };
            let size = chunk.len() as u64;
            let part = upload.put_part(chunk.into()).await;
            part.map_err(|e| self.fault(&e, "store a part of", key))?;
            sent += size;
        }
        upload.complete().await.map(|_| ()).map_err(|e| self.fault(&e, "store", key))
    }

    /// A server, or something between it and us, may say yes and not have it.
    async fn verify(&self, key: &str, path: &Path, stored: &Stored) -> Result<(), StorageError> {
        let damaged = |reason: &str| {
            Err(StorageError::Damaged { place: self.place(key), reason: reason.to_owned() })
        };
        match self.look(path).await {
            Ok(object) if object.size != stored.size => damaged("the server has another size"),
            Ok(object) if object.sha256.as_ref().is_some_and(|s| *s != stored.sha256) => {
                damaged("the server has another checksum")
            }
            Ok(_) => Ok(()),
            Err(error) => match self.fault(&error, "look at", key) {
                StorageError::NotFound { .. } => damaged("the server took it and does not have it"),
                // Credentials that may only write are a good idea for a camera.
                StorageError::Denied { .. } => Ok(()),
                other => Err(other),
            },
        }
    }

    async fn look(&self, path: &Path) -> Result<Object, Error> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.store.get_opts(path, options).await?;
        let sha256 = found.attributes.get(&Attribute::Metadata(CHECKSUM.into()));
        Ok(Object {
            key: String::new(),
            size: found.meta.size,
            modified: SystemTime::from(found.meta.last_modified),
            sha256: sha256.map(|value| value.as_ref().to_owned()),
        })
    }

    pub(super) fn head(&self, key: &str) -> Result<Object, StorageError> {
        let path = self.path(key)?;
        block_on(async {
            self.authorised().await?;
            let found = self.look(&path).await.map_err(|e| self.fault(&e, "look at", key))?;
            Ok(Object { key: key.to_owned(), ..found })
        })?
    }

    /// Reads the `size` bytes of an object, in ranges: a request takes a bounded time, and what
    /// came stays.
    pub(super) fn read(
        &self,
        key: &str,
        size: u64,
        into: &mut dyn Write,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        let path = self.path(key)?;
        let mut done = 0;
        let mut version = None;
        loop {
            if progress(done, size).is_break() {
                return Err(StorageError::Cancelled);
            }
            if done >= size {
                return Ok(());
            }
            let end = done.saturating_add(CHUNK as u64).min(size);
            let options = GetOptions {
                range: Some(GetRange::Bounded(done..end)),
                // All ranges are of the same object, even if somebody stores another one.
                if_match: version.clone(),
                ..GetOptions::default()
            };
            let (bytes, e_tag) = block_on(async {
                self.authorised().await?;
                let answer = self.store.get_opts(&path, options).await;
                let answer = answer.map_err(|e| self.fault(&e, "read", key))?;
                let e_tag = answer.meta.e_tag.clone();
                let bytes = answer.bytes().await.map_err(|e| self.fault(&e, "read", key))?;
                Ok::<_, StorageError>((bytes, e_tag))
            })??;
            if bytes.len() as u64 != end - done {
                let reason = format!("{} bytes came, not {}", bytes.len(), end - done);
                return Err(StorageError::Damaged { place: self.place(key), reason });
            }
            into.write_all(&bytes).map_err(|source| StorageError::Io {
                operation: "read",
                path: self.place(key).into(),
                source,
            })?;
            version = e_tag;
            done = end;
        }
    }

    pub(super) fn list(&self, prefix: &str, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        let mut whole = if prefix.is_empty() { self.prefix.clone() } else { self.whole(prefix) };
        if !whole.is_empty() {
            whole.push('/');
        }
        let skip = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        let mut page_token = None;
        loop {
            let options = PaginatedListOptions { page_token, ..PaginatedListOptions::default() };
            let prefix_text = Some(whole.as_str()).filter(|text| !text.is_empty());
            let page = block_on(async {
                self.authorised().await?;
                let page = self.store.list_paginated(prefix_text, options).await;
                page.map_err(|e| self.fault(&e, "list", prefix))
            })??;
            for meta in page.result.objects {
                // A folder's own mark comes without its slash, and is shorter than the prefix.
                let Some(key) = meta.location.as_ref().get(skip..) else { continue };
                if key.is_empty() || super::key::check(key).is_err() {
                    continue;
                }
                let object = Object {
                    key: key.to_owned(),
                    size: meta.size,
                    modified: SystemTime::from(meta.last_modified),
                    sha256: None,
                };
                if visit(object).is_break() {
                    return Ok(());
                }
            }
            page_token = page.page_token;
            if page_token.is_none() {
                return Ok(());
            }
        }
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.path(key)?;
        block_on(async {
            self.authorised().await?;
            match self.store.delete(&path).await {
                Ok(()) => Ok(()),
                Err(error) => match self.fault(&error, "delete", key) {
                    StorageError::NotFound { .. } => Ok(()),
                    other => Err(other),
                },
            }
        })?
    }

    pub(super) fn link(&self, key: &str, expiry: Duration) -> Result<String, StorageError> {
        let path = self.path(key)?;
        block_on(async {
            self.authorised().await?;
            let method = "GET".parse().map_err(|_| StorageError::Rejected {
                operation: "sign a link to",
                place: self.place(key),
                reason: "no such method".to_owned(),
            })?;
            let url = self.store.signed_url(method, &path, expiry).await;
            url.map(String::from).map_err(|e| self.fault(&e, "sign a link to", key))
        })?
    }
}

fn builder(address: &BucketAddress, options: &StorageOptions) -> AmazonS3Builder {
    let plain = address.endpoint.as_ref().is_some_and(|e| e.starts_with("http://"));
    let client = ClientOptions::new()
        .with_timeout(options.timeout)
        .with_connect_timeout(CONNECT_TIMEOUT.min(options.timeout))
        // A machine without certificates can still use a server beside it.
        .with_no_system_certificates(plain)
        .with_allow_http(plain);
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            base: 2.0,
        },
        max_retries: options.retries as usize,
        retry_timeout: options.retry_timeout,
    };
    let path_style = address.path_style.unwrap_or(address.endpoint.is_some());
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&address.bucket)
        .with_client_options(client)
        .with_retry(retry)
        .with_virtual_hosted_style_request(!path_style)
        // Not every server knows the call that deletes several objects at once.
        .with_disable_bulk_delete(true);
    if let Some(endpoint) = &address.endpoint {
        builder = builder.with_endpoint(match endpoint.split_once("://") {
            // The library wants the bucket in it.
            Some((scheme, host)) if !path_style => format!("{scheme}://{}.{host}", address.bucket),
            _ => endpoint.clone(),
        });
    }
    builder
}

fn with_credentials(builder: AmazonS3Builder, credentials: Credentials) -> AmazonS3Builder {
    use AmazonS3ConfigKey as Key;
    match credentials {
        Credentials::Keys(keys) => {
            let builder = builder.with_access_key_id(keys.id).with_secret_access_key(keys.secret);
            match keys.token {
                Some(token) => builder.with_token(token),
                None => builder,
            }
        }
        Credentials::WebIdentity { token_file, role, session } => {
            let builder = builder
                .with_config(Key::WebIdentityTokenFile, token_file)
                .with_config(Key::RoleArn, role);
            match session {
                Some(session) => builder.with_config(Key::RoleSessionName, session),
                None => builder,
            }
        }
        Credentials::Container { path } => {
            builder.with_config(Key::ContainerCredentialsRelativeUri, path)
        }
        Credentials::Pod { address, token_file } => builder
            .with_config(Key::ContainerCredentialsFullUri, address)
            .with_config(Key::ContainerAuthorizationTokenFile, token_file),
        Credentials::Instance { address: Some(address) } => builder.with_metadata_endpoint(address),
        Credentials::Instance { address: None } => builder,
    }
}

/// So that a browser plays what a link leads to.
fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.').map(|(_, ending)| ending) {
        Some("mp4") => "video/mp4",
        Some("json") => "application/json",
        Some("jpg") => "image/jpeg",
        _ => "application/octet-stream",
    }
}

/// The texts of an error and its causes without repetitions, and what the network said.
fn chain(error: &Error) -> (String, Option<HttpErrorKind>) {
    let mut kind = None;
    let mut cause: &dyn std::error::Error = error;
    loop {
        if let Some(error) = cause.downcast_ref::<HttpError>() {
            kind = Some(error.kind());
        }
        match cause.source() {
            Some(next) => cause = next,
            None => break,
        }
    }
    // The outer texts hold the inner ones and the address of the request; the innermost says why.
    let innermost = cause.to_string();
    let text = if kind.is_some() { innermost } else { error.to_string() };
    (text, kind)
}

/// What a failed request means.
fn fault(error: &Error, operation: &'static str, place: String, uri: &str) -> StorageError {
    let (text, kind) = chain(error);
    let code = between(&text, "<Code>", "</Code>").unwrap_or_default();
    match code {
        "NoSuchBucket" => return StorageError::NoBucket { uri: uri.to_owned() },
        "RequestTimeTooSkewed" => return StorageError::ClockSkew { operation, place },
        _ => {}
    }
    let reason = reason(&text, code);
    if let Error::NotFound { .. } = error {
        return StorageError::NotFound { place };
    }
    if let Error::PermissionDenied { .. } | Error::Unauthenticated { .. } = error {
        return StorageError::Denied { operation, place, reason };
    }
    if let Error::Precondition { .. } = error {
        let reason = "it changed while it was read".to_owned();
        return StorageError::Damaged { place, reason };
    }
    if let Some(kind) = kind {
        let reason = match kind {
            HttpErrorKind::Timeout => "it did not answer in time".to_owned(),
            _ => reason,
        };
        return StorageError::Unreachable { operation, place, reason };
    }
    if text.contains("without LOCATION") || code == "AuthorizationHeaderMalformed" {
        let reason = "the bucket is in another region: add region=… to the URI".to_owned();
        return StorageError::Rejected { operation, place, reason };
    }
    match status(&text) {
        // A 200 whose body says that it failed, or an answer that makes no sense.
        None | Some(200..=299) => StorageError::Server { operation, place, reason },
        Some(408 | 429 | 500..=599) => StorageError::Server { operation, place, reason },
        Some(404) => StorageError::NotFound { place },
        Some(401 | 403) => StorageError::Denied { operation, place, reason },
        Some(_) => StorageError::Rejected { operation, place, reason },
    }
}

/// `404` from "… status code: 404 Not Found: …".
fn status(text: &str) -> Option<u16> {
    between(text, "status code: ", " ")?.parse().ok()
}

/// The server's own words, or the library's.
fn reason(text: &str, code: &str) -> String {
    let message = between(text, "<Message>", "</Message>").unwrap_or_default();
    let words = match (code, message) {
        ("", "") => {
            // Without the address of the request, which the error names by its key already, and
            // without pages of HTML.
            let words = text.rsplit_once(" - ").map_or(text, |(_, words)| words);
            words
                .split(['<', '\n'])
                .next()
                .unwrap_or_default()
                .trim_end_matches([':', ' '])
                .to_owned()
        }
        (code, "") => code.to_owned(),
        ("", message) => message.to_owned(),
        (code, message) => format!("{code}: {message}"),
    };
    words.chars().filter(|c| !c.is_control()).take(LONGEST_ANSWER).collect()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = text.split_once(start)?.1;
    Some(rest.split_once(end)?.0)
}
