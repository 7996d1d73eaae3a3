//! Who asks: keys from the environment, from a profile, or from the machine's role; and what the
//! environment says beside them.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::address::BucketAddress;

/// Gives the value of an environment variable; empty ones count as not set.
pub(super) type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Where the right to use a bucket comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    Keys(Keys),
    /// A token of the cluster, exchanged for keys.
    WebIdentity {
        token_file: String,
        role: String,
        session: Option<String>,
    },
    /// The container's role, by a path at the well-known address.
    Container {
        path: String,
    },
    /// The container's role, by an address and a token.
    Pod {
        address: String,
        token_file: String,
    },
    /// The role of the machine, asked from the metadata service.
    Instance {
        address: Option<String>,
    },
}

/// Access keys. The secret parts are not shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// What the surroundings say about a bucket.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Surroundings {
    pub(super) credentials: Credentials,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

/// Looks through the environment and the profile files, in the order of Amazon's own programs: a
/// profile that the URI names, keys in the environment, the profile, a role. The error says what is
/// wrong and what to do.
pub(super) fn find(
    address: &BucketAddress,
    environment: &Environment<'_>,
) -> Result<Surroundings, String> {
    let get = |name: &str| environment(name).filter(|value| !value.is_empty());
    let keys = match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => Some(Keys { id, secret, token: get("AWS_SESSION_TOKEN") }),
        (None, None) => None,
        (Some(_), None) => return Err("AWS_SECRET_ACCESS_KEY is not set".to_owned()),
        (None, Some(_)) => return Err("AWS_ACCESS_KEY_ID is not set".to_owned()),
    };
    let named = address.profile.clone();
    let profile = Profile::read(named.clone().or_else(|| get("AWS_PROFILE")), &get)?;
    let keys = if named.is_some() { None } else { keys };
    let credentials = match (keys, profile.keys()?) {
        (Some(keys), _) | (None, Some(keys)) => Credentials::Keys(keys),
        (None, None) => role(&get)?,
    };
    let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"));
    let endpoint = get("AWS_ENDPOINT_URL_S3").or_else(|| get("AWS_ENDPOINT_URL"));
    Ok(Surroundings {
        credentials,
        region: region.or_else(|| profile.value("region")),
        endpoint: endpoint.or_else(|| profile.value("endpoint_url")),
    })
}

fn role(get: &Environment<'_>) -> Result<Credentials, String> {
    if let (Some(token_file), Some(role)) =
        (get("AWS_WEB_IDENTITY_TOKEN_FILE"), get("AWS_ROLE_ARN"))
    {
        let session = get("AWS_ROLE_SESSION_NAME");
        return Ok(Credentials::WebIdentity { token_file, role, session });
    }
    if let Some(path) = get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        return Ok(Credentials::Container { path });
    }
    if let (Some(address), Some(token_file)) =
        (get("AWS_CONTAINER_CREDENTIALS_FULL_URI"), get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
    {
        return Ok(Credentials::Pod { address, token_file });
    }
    if get("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
        return Err("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in \
            ~/.aws/credentials"
            .to_owned());
    }
    Ok(Credentials::Instance { address: get("AWS_EC2_METADATA_SERVICE_ENDPOINT") })
}

/// One profile of ~/.aws/credentials and ~/.aws/config.
#[derive(Debug, Default)]
struct Profile {
    name: String,
    values: HashMap<String, String>,
}

impl Profile {
    /// The profile `name`, which must exist, or else the default one, which need not.
    fn read(name: Option<String>, get: &Environment<'_>) -> Result<Self, String> {
        let home = get("HOME").map(PathBuf::from).unwrap_or_default().join(".aws");
        let file = |variable: &str, name: &str| match get(variable) {
            Some(path) => PathBuf::from(path),
            None => home.join(name),
        };
        let wanted = name.clone().unwrap_or_else(|| "default".to_owned());
        let config = file("AWS_CONFIG_FILE", "config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let mut values = None;
        // The credentials file comes last: it wins, as with Amazon's own programs.
        for path in [&config, &credentials] {
            let Some(text) = text(path)? else { continue };
            if let Some(found) = section(&text, &wanted) {
                values.get_or_insert_with(HashMap::new).extend(found);
            }
        }
        match (values, name) {
            (Some(values), _) => Ok(Self { name: wanted, values }),
            (None, None) => Ok(Self::default()),
            (None, Some(name)) => Err(format!(
                "there is no profile '{name}' in '{}' and '{}'",
                credentials.display(),
                config.display()
            )),
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn keys(&self) -> Result<Option<Keys>, String> {
        let keys = (self.value("aws_access_key_id"), self.value("aws_secret_access_key"));
        if let (Some(id), Some(secret)) = keys {
            return Ok(Some(Keys { id, secret, token: self.value("aws_session_token") }));
        }
        let other = ["credential_process", "source_profile", "role_arn", "sso_session"];
        match other.iter().find(|name| self.values.contains_key(**name)) {
            Some(name) => Err(format!(
                "the profile '{}' gets its keys by '{name}', which is not known here: export them \
                 into the environment (aws configure export-credentials --format env)",
                self.name
            )),
            None => Ok(None),
        }
    }
}

fn text(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read '{}': {error}", path.display())),
    }
}

/// The values of one section, `[NAME]` or `[profile NAME]`. Nested values, which are indented, are
/// of no interest.
fn section(text: &str, name: &str) -> Option<HashMap<String, String>> {
    let mut values = None;
    let mut inside = false;
    for line in text.lines() {
        let indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(title) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            let title = title.0.trim();
            let title = title.strip_prefix("profile ").map_or(title, str::trim);
            inside = title == name;
            if inside {
                values.get_or_insert_with(HashMap::new);
            }
        } else if let (true, false, Some((key, value))) = (inside, indented, line.split_once('=')) {
            let value = value.split(" #").next().unwrap_or_default().trim().to_owned();
            let values = values.get_or_insert_with(HashMap::new);
            values.insert(key.trim().to_ascii_lowercase(), value);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[default]\naws_access_key_id = A\naws_secret_access_key=s=/+\n\
        region = eu-west-1 # near\n\n[ profile cameras ]\naws_access_key_id = B\n\
        aws_secret_access_key = t\naws_session_token = u\ns3 =\n  max = 3\n[role]\nrole_arn = r\n";

    fn look(pairs: &[(&str, &str)], profile: Option<&str>) -> Result<Surroundings, String> {
        let address =
            BucketAddress { profile: profile.map(str::to_owned), ..BucketAddress::default() };
        let pairs: HashMap<_, _> = pairs.iter().copied().collect();
        find(&address, &|name| pairs.get(name).map(|value| (*value).to_owned()))
    }

    fn id(found: Result<Surroundings, String>) -> String {
        match found.expect("keys are found").credentials {
            Credentials::Keys(keys) => keys.id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn order_is_that_of_amazon() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        std::fs::write(&file, FILE).unwrap();
        let file = ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap());
        let keys = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "e"), file];
        assert_eq!(id(look(&keys, None)), "E");
        assert_eq!(id(look(&keys, Some("cameras"))), "B");
        assert_eq!(id(look(&[file], None)), "A");
        assert_eq!(id(look(&[file, ("AWS_PROFILE", "cameras")], None)), "B");
        let found = look(&[file], None).unwrap();
        assert_eq!(found.region.as_deref(), Some("eu-west-1"));
        assert!(matches!(found.credentials, Credentials::Keys(keys) if keys.secret == "s=/+"));
        let set = [file, ("AWS_REGION", "x"), ("AWS_ENDPOINT_URL", "https://a")];
        let found = look(&set, None).unwrap();
        assert_eq!(
            (found.region.as_deref(), found.endpoint.as_deref()),
            (Some("x"), Some("https://a"))
        );
    }

    #[test]
    fn roles_come_last() {
        let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r")];
        assert!(matches!(look(&web, None).unwrap().credentials, Credentials::WebIdentity { .. }));
        let container = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")];
        let found = look(&container, None).unwrap().credentials;
        assert_eq!(found, Credentials::Container { path: "/x".to_owned() });
        let found = look(&[], None).unwrap().credentials;
        assert_eq!(found, Credentials::Instance { address: None });
        let off = look(&[("AWS_EC2_METADATA_DISABLED", "true")], None).unwrap_err();
        assert!(off.contains("AWS_ACCESS_KEY_ID"), "{off}");
    }

    #[test]
    fn halves_and_unknown_ways_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        std::fs::write(&file, FILE).unwrap();
        let file = ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap());
        for (pairs, profile, word) in [
            (vec![("AWS_ACCESS_KEY_ID", "E")], None, "AWS_SECRET_ACCESS_KEY"),
            (vec![("AWS_SECRET_ACCESS_KEY", "hunter2")], None, "AWS_ACCESS_KEY_ID"),
            (vec![file], Some("nobody"), "'nobody'"),
            (vec![file], Some("role"), "role_arn"),
        ] {
            let error = look(&pairs, profile).unwrap_err();
            assert!(error.contains(word) && !error.contains("hunter2"), "{error}");
        }
        let shown = format!("{:?}", look(&[file], None).unwrap());
        assert!(!shown.contains("s=/+"), "{shown}");
    }
}
