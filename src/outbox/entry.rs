//! What waits in an outbox, and how it is written down.

use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::secret::SecretSource;
use super::template::Message;
use super::{OutboxError, webhook};
use crate::clip::utc;
use crate::mqtt::{self, Broker};
use crate::storage::{self, LINK_EXPIRY};

/// Name of the format, without its version.
const FORMAT: &str = "face-outbox/";
/// The version that is written; older ones are read.
const VERSION: u32 = 1;

/// Names an entry. The receiver of a webhook gets it as idempotency key: equal ids are the same
/// message, however often it comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryId(String);

impl EntryId {
    /// An id of one's own choice: 1 to 128 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, not beginning
    /// with a dot.
    ///
    /// # Errors
    /// [`OutboxError::Id`].
    pub fn new(id: &str) -> Result<Self, OutboxError> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=128).contains(&id.len()) && id.bytes().all(letter) && !id.starts_with('.') {
            return Ok(Self(id.to_owned()));
        }
        Err(OutboxError::Id { id: id.to_owned() })
    }

    /// A new id; later ones come later in the alphabet.
    pub(super) fn unique(now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(format!("{:013}-{}", since.as_millis(), uuid::Uuid::new_v4().simple()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EntryId {
    type Error = OutboxError;

    fn try_from(id: String) -> Result<Self, OutboxError> {
        Self::new(&id)
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> Self {
        id.0
    }
}

/// Something to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `None`: a new one. An entry whose id waits already is not written again.
    pub id: Option<EntryId>,
    /// Sent after this one was delivered; given up with it. One that is not in the outbox is taken
    /// as delivered.
    pub after: Option<EntryId>,
    pub delivery: Delivery,
}

impl Entry {
    pub fn new(delivery: impl Into<Delivery>) -> Self {
        Self { id: None, after: None, delivery: delivery.into() }
    }

    #[must_use]
    pub fn with_id(self, id: EntryId) -> Self {
        Self { id: Some(id), ..self }
    }

    #[must_use]
    pub fn after(self, id: EntryId) -> Self {
        Self { after: Some(id), ..self }
    }
}

/// What is sent, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Delivery {
    Object(Object),
    Webhook(Webhook),
    Exec(Exec),
    Mqtt(Mqtt),
}

impl From<Object> for Delivery {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl From<Webhook> for Delivery {
    fn from(webhook: Webhook) -> Self {
        Self::Webhook(webhook)
    }
}

impl From<Exec> for Delivery {
    fn from(exec: Exec) -> Self {
        Self::Exec(exec)
    }
}

impl From<Mqtt> for Delivery {
    fn from(mqtt: Mqtt) -> Self {
        Self::Mqtt(mqtt)
    }
}

/// A file of the spool that goes to a storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Relative to the spool. It is removed when it is stored.
    pub file: PathBuf,
    /// URI of the storage: `s3://…`, `file:///…` or an absolute path.
    pub storage: String,
    pub key: String,
    /// Bytes; set by the outbox.
    #[serde(default)]
    pub(super) size: u64,
}

impl Object {
    pub fn new(file: impl Into<PathBuf>, storage: &str, key: &str) -> Self {
        Self { file: file.into(), storage: storage.to_owned(), key: key.to_owned(), size: 0 }
    }
}

/// Where a webhook goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Address {
    /// An address without a secret in it.
    Plain(String),
    /// The whole address is a secret, as those of chat services are.
    Secret(SecretSource),
}

/// A message that is posted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    pub address: Address,
    /// Post to an `http://` address of another machine: everybody on the way can read and change
    /// the message.
    #[serde(default)]
    pub allow_http: bool,
    pub message: Message,
    /// The object that the message's `{url}` leads to.
    #[serde(default)]
    pub link: Option<LinkTo>,
    /// Key of the signature.
    #[serde(default)]
    pub sign: Option<SecretSource>,
    /// Token for the header `Authorization: Bearer`.
    #[serde(default)]
    pub bearer: Option<SecretSource>,
    /// For the whole request, 1 s to 10 min.
    #[serde(with = "seconds")]
    pub timeout: Duration,
}

impl Webhook {
    /// To an address, unsigned, with 10 s for the request.
    pub fn new(address: Address, message: Message) -> Self {
        let timeout = Duration::from_secs(10);
        let (link, sign, bearer) = (None, None, None);
        Self { address, allow_http: false, message, link, sign, bearer, timeout }
    }
}

/// A message that a program gets on its standard input. Its environment names the entry in
/// `GST_FACE_OUTBOX_ID`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// A path, or a name that is looked up in `PATH`; no shell is involved.
    pub program: PathBuf,
    /// As they are: nothing is put into them.
    #[serde(default)]
    pub args: Vec<String>,
    pub message: Message,
    /// The object that the message's `{url}` leads to.
    #[serde(default)]
    pub link: Option<LinkTo>,
    /// The program is killed after this time, 1 s to 10 min.
    #[serde(with = "seconds")]
    pub timeout: Duration,
}

impl Exec {
    /// A program with 30 s of time.
    pub fn new(program: impl Into<PathBuf>, args: Vec<String>, message: Message) -> Self {
        let timeout = Duration::from_secs(30);
        Self { program: program.into(), args, message, link: None, timeout }
    }
}

/// A message that is published at a broker, which acknowledges it (QoS 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mqtt {
    pub broker: Broker,
    pub topic: String,
    /// Keep it for those who subscribe later.
    #[serde(default)]
    pub retain: bool,
    pub message: Message,
    /// The object that the message's `{url}` leads to.
    #[serde(default)]
    pub link: Option<LinkTo>,
    /// For connection and acknowledgement, 1 s to 10 min.
    #[serde(with = "seconds")]
    pub timeout: Duration,
}

impl Mqtt {
    /// Not retained, with 30 s of time.
    pub fn new(broker: Broker, topic: &str, message: Message) -> Self {
        let timeout = Duration::from_secs(30);
        Self { broker, topic: topic.to_owned(), retain: false, message, link: None, timeout }
    }
}

/// An object for which a link is made when the message is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkTo {
    /// URI of the storage, as in [`Object`].
    pub storage: String,
    pub key: String,
    /// How long the link is good, 1 s to 7 days.
    #[serde(with = "seconds")]
    pub expiry: Duration,
}

impl LinkTo {
    /// A link for an hour.
    pub fn new(storage: &str, key: &str) -> Self {
        Self { storage: storage.to_owned(), key: key.to_owned(), expiry: LINK_EXPIRY }
    }
}

impl Delivery {
    /// Can it be sent at all? What elements ask at start; [`super::Outbox::append`] does, too.
    ///
    /// # Errors
    /// [`OutboxError::Entry`] or [`OutboxError::Storage`], with what is wrong.
    pub fn check(&self) -> Result<(), OutboxError> {
        match self {
            Self::Object(object) => {
                let inside = |part| matches!(part, Component::Normal(_));
                let file = &object.file;
                if file.as_os_str().is_empty() || !file.components().all(inside) {
                    let path = file.display();
                    return Err(OutboxError::entry(format!("'{path}' is not inside the spool")));
                }
                Ok(storage::check_address(&object.storage, &object.key)?)
            }
            Self::Webhook(webhook) => {
                check_message(&webhook.message, webhook.link.as_ref(), webhook.timeout)?;
                match &webhook.address {
                    Address::Plain(url) => {
                        let url = webhook::parse(url, webhook.allow_http);
                        let url = url.map_err(OutboxError::entry)?;
                        refuse_credentials(&url)
                    }
                    Address::Secret(_) => Ok(()),
                }
            }
            Self::Exec(exec) => {
                if exec.program.as_os_str().is_empty() {
                    return Err(OutboxError::entry("the program has no name"));
                }
                let zero = exec.args.iter().any(|a| a.contains('\0'));
                if zero || exec.program.to_string_lossy().contains('\0') {
                    return Err(OutboxError::entry("the program or an argument holds a NUL"));
                }
                check_message(&exec.message, exec.link.as_ref(), exec.timeout)
            }
            Self::Mqtt(mqtt) => {
                mqtt.broker.check()?;
                mqtt::check_topic(&mqtt.topic)?;
                check_message(&mqtt.message, mqtt.link.as_ref(), mqtt.timeout)
            }
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Object(_) => "object",
            Self::Webhook(_) => "webhook",
            Self::Exec(_) => "exec",
            Self::Mqtt(_) => "mqtt",
        }
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Bytes in the spool beside the entry itself.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Object(object) => object.size,
            _ => 0,
        }
    }

    /// What may be away as a whole: the storage, the server, the program. Shown to people.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Object(object) => storage_shown(&object.storage),
            Self::Webhook(webhook) => match &webhook.address {
                Address::Plain(url) => {
                    Url::parse(url).map_or_else(|_| "?".to_owned(), |url| webhook::origin(&url))
                }
                Address::Secret(source) => format!("address in the {source}"),
            },
            Self::Exec(exec) => exec.program.display().to_string(),
            Self::Mqtt(mqtt) => mqtt.broker.shown(),
        }
    }

    /// Where it goes, without secrets.
    pub(super) fn target(&self) -> String {
        match self {
            Self::Object(object) => {
                format!("{}/{}", self.place().trim_end_matches('/'), object.key)
            }
            Self::Webhook(webhook) => match &webhook.address {
                Address::Plain(url) => {
                    Url::parse(url).map_or_else(|_| "?".to_owned(), |url| crate::fetch::shown(&url))
                }
                Address::Secret(_) => self.place(),
            },
            Self::Exec(_) => self.place(),
            Self::Mqtt(mqtt) => format!("{}/{}", self.place(), mqtt.topic),
        }
    }
}

/// The journal is no place for secrets.
fn refuse_credentials(url: &Url) -> Result<(), OutboxError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    Err(OutboxError::entry(format!(
        "credentials do not belong into the address '{}': name a bearer token, or keep the whole \
         address as a secret",
        crate::fetch::shown(url)
    )))
}

fn check_message(
    message: &Message,
    link: Option<&LinkTo>,
    timeout: Duration,
) -> Result<(), OutboxError> {
    if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&timeout) {
        return Err(OutboxError::entry("its timeout is not between 1 s and 10 min"));
    }
    match link {
        Some(link) => {
            let week = Duration::from_secs(7 * 86_400);
            if !(Duration::from_secs(1)..=week).contains(&link.expiry) {
                return Err(OutboxError::entry("its link is not good for 1 s to 7 days"));
            }
            Ok(storage::check_address(&link.storage, &link.key)?)
        }
        None if message.has_link() => {
            Err(OutboxError::entry("its message has a place for a link, but there is no object"))
        }
        None => Ok(()),
    }
}

/// The storage without its parameters.
fn storage_shown(uri: &str) -> String {
    uri.split('?').next().unwrap_or_default().to_owned()
}

/// An entry as its file holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    schema: String,
    pub(super) id: EntryId,
    #[serde(with = "moment")]
    pub(super) created: SystemTime,
    #[serde(default)]
    pub(super) after: Option<EntryId>,
    #[serde(flatten)]
    pub(super) delivery: Delivery,
    #[serde(default)]
    pub(super) attempts: u32,
    #[serde(with = "moment")]
    pub(super) next_try: SystemTime,
    #[serde(default)]
    pub(super) last_error: Option<String>,
    /// Given up; kept until somebody looks, or the place is needed.
    #[serde(default)]
    pub(super) failed: bool,
}

/// Why a file of the journal is no entry for this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) reason: String,
    /// The kind, if the file is whole and only its kind or version is not known here.
    pub(super) kind: Option<String>,
}

impl Record {
    pub(super) fn new(id: EntryId, entry: Entry, now: SystemTime) -> Self {
        let (attempts, last_error, failed) = (0, None, false);
        let (after, delivery) = (entry.after, entry.delivery);
        let schema = format!("{FORMAT}{VERSION}");
        Self {
            schema,
            id,
            created: now,
            after,
            delivery,
            attempts,
            next_try: now,
            last_error,
            failed,
        }
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, OutboxError> {
        let mut bytes = serde_json::to_vec(self).map_err(OutboxError::Json)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the file of entry `name`.
    pub(super) fn from_json(name: &str, bytes: &[u8]) -> Result<Self, Unreadable> {
        let broken = |reason: String| Unreadable { reason, kind: None };
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|e| broken(format!("it is not whole: {e}")))?;
        let text = |field: &str| value.get(field).and_then(|v| v.as_str());
        let version = text("schema").and_then(|s| s.strip_prefix(FORMAT)?.parse::<u32>().ok());
        let kind = text("kind").map(str::to_owned);
        match (version, kind.as_deref()) {
            (None, _) => return Err(broken(format!("it is no {FORMAT}{VERSION}"))),
            (Some(version), _) if version > VERSION => {
                let reason = format!("{FORMAT}{version} is newer than this program");
                return Err(Unreadable { reason, kind });
            }
            (_, Some("object" | "webhook" | "exec" | "mqtt")) => {}
            (_, other) => {
                let reason = format!("this program cannot send '{}'", other.unwrap_or_default());
                return Err(Unreadable { reason, kind });
            }
        }
        let record: Self = serde_json::from_value(value)
            .map_err(|error| broken(format!("a field is wrong: {error}")))?;
        if record.id.as_str() != name {
            return Err(broken(format!("it is the entry '{}'", record.id)));
        }
        // It may have been put there by somebody else: the same rules as for new ones.
        record.delivery.check().map_err(|e| broken(super::error::with_causes(&e)))?;
        Ok(record)
    }
}

/// Path of an object's file.
pub(super) fn file_of(root: &Path, object: &Object) -> PathBuf {
    root.join(&object.file)
}

mod moment {
    use super::{SystemTime, utc};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(moment: &SystemTime, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&utc::format(*moment))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(d)?;
        utc::parse(&text).ok_or_else(|| de::Error::custom(format!("'{text}' is no moment")))
    }
}

mod seconds {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(time: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(d)?).map_err(de::Error::custom)
    }
}
