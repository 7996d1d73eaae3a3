//! Objects under keys, in an S3 bucket or in a folder: what clips are kept in.
//!
//! All calls block the calling thread. They may be made from several threads at once.

mod address;
mod bucket;
mod credentials;
mod error;
mod folder;
mod key;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::model;
use address::Address;
use bucket::Bucket;
pub use error::StorageError;
use folder::Folder;

/// Environment variable that names the storage where a command is given none.
pub const STORAGE_VARIABLE: &str = "GST_FACE_STORAGE";

/// How long a link is good if nothing else is asked for.
pub const LINK_EXPIRY: Duration = Duration::from_secs(3600);
/// What S3 allows.
const LONGEST_EXPIRY: Duration = Duration::from_secs(7 * 86_400);

/// Bytes that are read, sent and received at once; files up to this size are sent in one piece.
/// Servers take no parts below 5 MiB.
const CHUNK: usize = 8 << 20;

/// How a storage is opened, and how patient it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageOptions {
    /// For one request, with its answer: 8 MiB at most are in it.
    pub timeout: Duration,
    /// A request that failed because of the network or the server (5xx, 429) is repeated so often…
    pub retries: u32,
    /// … for so long, waiting 0.2 s and then twice as long each time.
    pub retry_timeout: Duration,
    /// Make a folder that is missing. What only reads had better say that it is not there.
    pub create: bool,
}

impl Default for StorageOptions {
    /// 5 min for a request, which is 220 kbit/s; 4 retries within 60 s.
    fn default() -> Self {
        let (timeout, retry_timeout) = (Duration::from_secs(300), Duration::from_secs(60));
        Self { timeout, retries: 4, retry_timeout, create: true }
    }
}

/// An object of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was stored, by the clock of the server.
    pub modified: SystemTime,
    /// Noted when it was stored, in lower-case hexadecimal: by [`Storage::head`] of an object of a
    /// bucket that this library put there.
    pub sha256: Option<String>,
}

/// What was stored or fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    /// In lower-case hexadecimal.
    pub sha256: String,
}

/// A link to an object. Whoever has it may read the object: the address is not for logs, and is
/// not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    pub url: String,
    /// `None`: it does not expire, as the path of a file.
    pub expires: Option<SystemTime>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Told the bytes done and the bytes in all; [`ControlFlow::Break`] cancels.
pub type Progress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;
/// Told every object of a list; [`ControlFlow::Break`] ends it.
pub type Visit<'a> = dyn FnMut(Object) -> ControlFlow<()> + 'a;

/// A place for objects.
#[derive(Debug)]
pub struct Storage {
    place: Place,
    uri: String,
}

#[derive(Debug)]
enum Place {
    Folder(Folder),
    Bucket(Box<Bucket>),
}

impl Storage {
    /// Opens `s3://BUCKET/PREFIX?PARAMETERS`, `file:///FOLDER` or a plain folder. A folder is
    /// created if it is missing; a server is not asked yet.
    ///
    /// # Errors
    /// [`StorageError::Uri`] for what is wrong with the URI, [`StorageError::Credentials`],
    /// [`StorageError::Io`] for the folder.
    pub fn open(uri: &str) -> Result<Self, StorageError> {
        Self::open_with(uri, &StorageOptions::default())
    }

    /// [`Storage::open`], more or less patient.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_with(uri: &str, options: &StorageOptions) -> Result<Self, StorageError> {
        Self::open_in(uri, options, &|name| std::env::var(name).ok())
    }

    /// [`Storage::open_with`], with `environment` instead of the process's own variables: for a
    /// program that keeps its credentials elsewhere.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_in(
        uri: &str,
        options: &StorageOptions,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, StorageError> {
        let address =
            address::parse(uri).map_err(|reason| StorageError::Uri { uri: shown(uri), reason })?;
        match address {
            Address::Folder(path) => {
                let folder = Folder::open(&path, options.create)?;
                let uri = address::file_url(folder.root());
                Ok(Self { place: Place::Folder(folder), uri })
            }
            Address::Bucket(address) => {
                let bucket = Bucket::open(address, options, environment)?;
                let uri = bucket.uri().to_owned();
                Ok(Self { place: Place::Bucket(Box::new(bucket)), uri })
            }
        }
    }

    /// Takes the address of an object apart, `s3://BUCKET/KEY?PARAMETERS` or `file:///FOLDER/KEY`:
    /// the URI of a storage, and the key of the object in it.
    ///
    /// # Errors
    /// [`StorageError::Uri`].
    pub fn split_address(address: &str) -> Result<(String, String), StorageError> {
        address::object(address).map_err(|reason| StorageError::Uri { uri: shown(address), reason })
    }

    /// The URI without its parameters, with the real path of a folder.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Stores `bytes` under `key`, in place of what may be there.
    ///
    /// # Errors
    /// [`StorageError`]. What was there before stays if it fails.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<Stored, StorageError> {
        let stored =
            Stored { size: bytes.len() as u64, sha256: model::hex(&Sha256::digest(bytes)) };
        self.store(key, &mut &bytes[..], stored, &mut |_, _| ControlFlow::Continue(()))
    }

    /// Stores the file `path` under `key`, in place of what may be there. Large files go to a
    /// bucket in parts of 8 MiB; if one fails, all of them are taken back.
    ///
    /// # Errors
    /// [`StorageError`]. What was there before stays if it fails.
    pub fn put_file(
        &self,
        key: &str,
        path: &Path,
        progress: &mut Progress<'_>,
    ) -> Result<Stored, StorageError> {
        let failed = |source| StorageError::io("read", path, source);
        let mut file = File::open(path).map_err(failed)?;
        let mut hasher = Sha256::new();
        let size = model::hash_into(&mut file, &mut hasher).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let stored = Stored { size, sha256: model::hex(&hasher.finalize()) };
        self.store(key, &mut file, stored, progress)
    }

    fn store(
        &self,
        key: &str,
        content: &mut dyn Read,
        stored: Stored,
        progress: &mut Progress<'_>,
    ) -> Result<Stored, StorageError> {
        check(key)?;
        match &self.place {
            Place::Folder(folder) => folder.put(key, content, &stored, progress)?,
            Place::Bucket(bucket) => bucket.put(key, content, &stored, progress)?,
        }
        Ok(stored)
    }

    /// Reads an object of at most `limit` bytes.
    ///
    /// # Errors
    /// [`StorageError`]; [`StorageError::TooLarge`] beyond `limit`.
    pub fn get(&self, key: &str, limit: u64) -> Result<Vec<u8>, StorageError> {
        let mut bytes = Vec::new();
        self.fetch(key, Some(limit), &mut bytes, &mut |_, _| ControlFlow::Continue(()))?;
        Ok(bytes)
    }

    /// Reads an object into the file `path`, which appears, or changes, when all of it is there
    /// and, for an object that this library put into a bucket, its checksum is right.
    ///
    /// # Errors
    /// [`StorageError`]. The file stays as it was if it fails.
    pub fn get_file(
        &self,
        key: &str,
        path: &Path,
        progress: &mut Progress<'_>,
    ) -> Result<Stored, StorageError> {
        let failed =
            |source| StorageError::Io { operation: "write", path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mut part =
            tempfile::Builder::new().prefix(key::PARTIAL).tempfile_in(folder).map_err(failed)?;
        let mut writer = Noting { file: part.as_file_mut(), error: None };
        let fetched = self.fetch(key, None, &mut writer, progress);
        if let Some(source) = writer.error {
            return Err(failed(source));
        }
        let stored = fetched?;
        part.as_file().sync_all().map_err(failed)?;
        part.persist(path).map_err(|error| failed(error.error))?;
        Ok(stored)
    }

    fn fetch(
        &self,
        key: &str,
        limit: Option<u64>,
        into: &mut dyn Write,
        progress: &mut Progress<'_>,
    ) -> Result<Stored, StorageError> {
        check(key)?;
        let allowed = |size: u64| match limit {
            Some(limit) if size > limit => {
                Err(StorageError::TooLarge { place: self.place_of(key), size, limit })
            }
            _ => Ok(()),
        };
        let mut sink = Hashing { into, hasher: Sha256::new(), size: 0 };
        let object = match &self.place {
            Place::Folder(folder) => {
                let (mut file, object) = folder.read(key)?;
                allowed(object.size)?;
                self.copy(&mut file, &object, &mut sink, progress)?;
                object
            }
            Place::Bucket(bucket) => {
                let object = bucket.head(key)?;
                allowed(object.size)?;
                bucket.read(key, object.size, &mut sink, progress)?;
                object
            }
        };
        let stored = Stored { size: sink.size, sha256: model::hex(&sink.hasher.finalize()) };
        let place = || self.place_of(key);
        if stored.size != object.size {
            let reason = format!("{} bytes came, not {}", stored.size, object.size);
            return Err(StorageError::Damaged { place: place(), reason });
        }
        match &object.sha256 {
            Some(sha256) if *sha256 != stored.sha256 => {
                let reason = "its checksum is another".to_owned();
                Err(StorageError::Damaged { place: place(), reason })
            }
            _ => Ok(stored),
        }
    }

    fn copy(
        &self,
        file: &mut File,
        object: &Object,
        sink: &mut Hashing<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), StorageError> {
        let place = self.place_of(&object.key);
        let failed =
            |source| StorageError::Io { operation: "read", path: place.as_str().into(), source };
        let mut chunk = vec![0; usize::try_from(object.size).unwrap_or(CHUNK).clamp(1, CHUNK)];
        loop {
            if progress(sink.size, object.size).is_break() {
                return Err(StorageError::Cancelled);
            }
            let count = folder::read_up_to(file, &mut chunk).map_err(failed)?;
            if count == 0 {
                return Ok(());
            }
            sink.write_all(chunk.get(..count).unwrap_or_default()).map_err(failed)?;
        }
    }

    /// What is known of an object without reading it.
    ///
    /// # Errors
    /// [`StorageError`]; [`StorageError::NotFound`].
    pub fn head(&self, key: &str) -> Result<Object, StorageError> {
        check(key)?;
        match &self.place {
            Place::Folder(folder) => folder.head(key),
            Place::Bucket(bucket) => bucket.head(key),
        }
    }

    /// Visits every object whose key begins with the folder `prefix` (without slash at its end), or
    /// every object for an empty one; a bucket by pages of 1000.
    ///
    /// # Errors
    /// [`StorageError`]. Objects before it were visited.
    pub fn list(&self, prefix: &str, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        if !prefix.is_empty() {
            check(prefix)?;
        }
        match &self.place {
            Place::Folder(folder) => folder.list(prefix, visit),
            Place::Bucket(bucket) => bucket.list(prefix, visit),
        }
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn delete(&self, key: &str) -> Result<(), StorageError> {
        check(key)?;
        match &self.place {
            Place::Folder(folder) => folder.delete(key),
            Place::Bucket(bucket) => bucket.delete(key),
        }
    }

    /// A link by which anybody can read the object for so long, 1 s to 7 days; it ends earlier with
    /// the credentials of a role. Nobody looks whether the object exists. In a folder: its
    /// `file://` URL, which does not expire.
    ///
    /// # Errors
    /// [`StorageError`]; [`StorageError::Expiry`].
    pub fn link(&self, key: &str, expiry: Duration) -> Result<Link, StorageError> {
        check(key)?;
        if expiry < Duration::from_secs(1) || expiry > LONGEST_EXPIRY {
            return Err(StorageError::Expiry { seconds: expiry.as_secs() });
        }
        match &self.place {
            Place::Folder(folder) => {
                Ok(Link { url: address::file_url(&folder.path(key)?), expires: None })
            }
            Place::Bucket(bucket) => {
                // Taken before the signature, so that it never promises too much.
                let expires = SystemTime::now() + expiry;
                Ok(Link { url: bucket.link(key, expiry)?, expires: Some(expires) })
            }
        }
    }

    fn place_of(&self, key: &str) -> String {
        match &self.place {
            Place::Folder(folder) => folder.root().join(key).display().to_string(),
            Place::Bucket(bucket) => bucket.place(key),
        }
    }
}

/// Can there be an object `key` in the storage `uri`? Nothing is opened or asked.
///
/// # Errors
/// [`StorageError::Uri`], [`StorageError::Key`].
pub(crate) fn check_address(uri: &str, key: &str) -> Result<(), StorageError> {
    let wrong = |reason| StorageError::Uri { uri: shown(uri), reason };
    match address::parse(uri).map_err(wrong)? {
        Address::Folder(path) if !path.is_absolute() => {
            Err(wrong("its path is not absolute".to_owned()))
        }
        _ => check(key),
    }
}

/// The URI as an error may show it: without what could be a secret.
fn shown(uri: &str) -> String {
    let uri = uri.split(['?', '#']).next().unwrap_or_default();
    match uri.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, rest)) => format!("{scheme}://…@{rest}"),
            None => uri.to_owned(),
        },
        None => uri.to_owned(),
    }
}

fn check(key: &str) -> Result<(), StorageError> {
    key::check(key).map_err(|reason| StorageError::Key { key: key.to_owned(), reason })
}

/// Hashes what goes through it.
struct Hashing<'a> {
    into: &'a mut dyn Write,
    hasher: Sha256,
    size: u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.into.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.into.flush()
    }
}

/// Keeps the error of writing the target, so that it is not taken for one of the storage.
struct Noting<'a> {
    file: &'a mut File,
    error: Option<std::io::Error>,
}

impl Write for Noting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write_all(bytes).map(|()| bytes.len()).map_err(|error| {
            let kind = error.kind();
            self.error = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
