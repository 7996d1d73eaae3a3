//! Where a storage is: the URI and its parameters.

use std::path::PathBuf;

use super::key;

/// What a URI names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address {
    Folder(PathBuf),
    Bucket(BucketAddress),
}

/// `s3://BUCKET/PREFIX?PARAMETERS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BucketAddress {
    pub(super) bucket: String,
    /// Without slash at either end; empty for all of the bucket.
    pub(super) prefix: String,
    /// `http://` or `https://`, host and perhaps port; `None`: Amazon's own for the region.
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) allow_http: bool,
    /// `None`: in the path for an endpoint of one's own, in the host name at Amazon.
    pub(super) path_style: Option<bool>,
}

const PARAMETERS: &str = "endpoint, region, profile, allow-http and path-style are known";

/// Takes the URI apart. The errors are what is wrong with it; they repeat no value that may be a
/// secret.
pub(super) fn parse(uri: &str) -> Result<Address, String> {
    let Some((scheme, rest)) = uri.split_once("://") else {
        if uri.is_empty() {
            return Err("it is empty: s3://BUCKET, file:///FOLDER or a folder is needed".to_owned());
        }
        return Ok(Address::Folder(PathBuf::from(uri)));
    };
    match scheme {
        "s3" => bucket(rest).map(Address::Bucket),
        "file" => folder(rest).map(Address::Folder),
        _ => {
            Err(format!("the scheme '{scheme}' is not known: s3://, file:// or a folder is needed"))
        }
    }
}

/// Takes the address of an object apart: the URI of the folder, or of what the bucket has before the
/// last slash, and the key in it.
pub(super) fn object(address: &str) -> Result<(String, String), String> {
    let (place, query) = match address.split_once('?') {
        Some((place, query)) => (place, format!("?{query}")),
        None => (address, String::new()),
    };
    let (scheme, rest) = place.split_once("://").ok_or("s3:// or file:// is needed")?;
    let name = rest.rsplit_once('/').filter(|(_, name)| !name.is_empty());
    let (folder, name) = name.ok_or("it names no object: s3://BUCKET/KEY or file:///FOLDER/KEY")?;
    // The root of the file system.
    let folder = if folder.is_empty() { "/" } else { folder };
    Ok((format!("{scheme}://{folder}{query}"), decoded(name)?))
}

fn folder(rest: &str) -> Result<PathBuf, String> {
    if rest.contains(['?', '#']) {
        return Err("file:// has no parameters (a '?' in a name is written %3F)".to_owned());
    }
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err("an absolute path is needed, with three slashes: file:///FOLDER".to_owned());
    }
    Ok(PathBuf::from(decoded(path)?))
}

fn bucket(rest: &str) -> Result<BucketAddress, String> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if place.contains('#') || query.contains('#') {
        return Err("a '#' is written %23".to_owned());
    }
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.contains('@') {
        return Err("credentials do not belong into a URI, where everybody sees them: set \
            AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile"
            .to_owned());
    }
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let sized = (3..=255).contains(&bucket.len());
    if !sized || !bucket.chars().all(named) || !bucket.starts_with(|c: char| c.is_alphanumeric()) {
        return Err(
            "the name of a bucket is needed after s3://, 3 or more of a-z, 0-9, '.' and '-'"
                .to_owned(),
        );
    }
    let prefix = decoded(prefix)?.trim_matches('/').to_owned();
    if !prefix.is_empty() {
        key::check(&prefix).map_err(|reason| format!("its prefix cannot be used: {reason}"))?;
    }
    let mut address =
        BucketAddress { bucket: bucket.to_owned(), prefix, ..BucketAddress::default() };
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if seen.contains(&name) {
            return Err(format!("the parameter '{name}' is given twice"));
        }
        seen.push(name);
        parameter(&mut address, name, decoded(value)?)?;
    }
    check_encryption(&address)?;
    Ok(address)
}

fn parameter(address: &mut BucketAddress, name: &str, value: String) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("the parameter '{name}' has no value"));
    }
    match name {
        "endpoint" => address.endpoint = Some(endpoint(&value)?),
        "region" => address.region = Some(value),
        "profile" => address.profile = Some(value),
        "allow-http" => address.allow_http = truth(name, &value)?,
        "path-style" => address.path_style = Some(truth(name, &value)?),
        _ if ["key", "secret", "token", "password"].iter().any(|w| name.contains(w)) => {
            return Err(format!(
                "'{name}' does not belong into a URI, where everybody sees it: set \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile"
            ));
        }
        _ => return Err(format!("the parameter '{name}' is not known: {PARAMETERS}")),
    }
    Ok(())
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("the parameter '{name}' is true or false")),
    }
}

/// Checks an endpoint; its slash at the end goes.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some(host) = host else {
        return Err("an endpoint begins with https:// or http://".to_owned());
    };
    if host.contains('@') {
        return Err("credentials do not belong into an endpoint".to_owned());
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let named = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !name.is_empty() && name.chars().all(letter)
        }
    };
    let numbered = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if !named || !numbered {
        return Err("an endpoint is https:// or http://, a host, and perhaps :PORT".to_owned());
    }
    Ok(text.to_owned())
}

/// Over http everybody on the way sees and changes what is stored: only who asks for it gets it.
pub(super) fn check_encryption(address: &BucketAddress) -> Result<(), String> {
    match &address.endpoint {
        Some(endpoint) if endpoint.starts_with("http://") && !address.allow_http => {
            Err("its endpoint is not encrypted: use https://, or add allow-http=true".to_owned())
        }
        _ => Ok(()),
    }
}

/// Undoes percent-encoding. `+` stays: the form of web pages is not that of URIs.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "a '%' is followed by two hexadecimal digits of UTF-8 text".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()]
            .map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        let [Some(high), Some(low)] = digits else { return Err(wrong()) };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// The URL of a file.
pub(super) fn file_url(path: &std::path::Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut url = "file://".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(text: &str) -> BucketAddress {
        match parse(text) {
            Ok(Address::Bucket(address)) => address,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(s3("s3://clips").prefix, "");
        let address = s3("s3://clips/north/a%20b/?endpoint=https://minio:9000/&region=eu-west-1&\
            profile=cameras&path-style=false");
        let expected = BucketAddress {
            bucket: "clips".to_owned(),
            prefix: "north/a b".to_owned(),
            endpoint: Some("https://minio:9000".to_owned()),
            region: Some("eu-west-1".to_owned()),
            profile: Some("cameras".to_owned()),
            allow_http: false,
            path_style: Some(false),
        };
        assert_eq!(address, expected);
        assert!(s3("s3://clips?endpoint=http%3A%2F%2F127.0.0.1:1&allow-http=true").allow_http);
        assert!(s3("s3://clips?endpoint=http://[::1]:9000&allow-http=true").endpoint.is_some());
        for (uri, path) in
            [("file:///a/b%20c", "/a/b c"), ("file://localhost/a", "/a"), ("a?b", "a?b")]
        {
            assert_eq!(parse(uri), Ok(Address::Folder(PathBuf::from(path))), "{uri}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_repeated() {
        for (uri, word) in [
            ("", "empty"),
            ("gs://bucket", "'gs'"),
            ("s3://", "bucket"),
            ("s3://ab", "bucket"),
            ("s3://a b c", "bucket"),
            ("s3://KEY:hunter2@bucket", "AWS_ACCESS_KEY_ID"),
            ("s3://bucket?secret-access-key=hunter2", "'secret-access-key'"),
            ("s3://bucket?token=hunter2", "'token'"),
            ("s3://bucket?color=hunter2", "'color'"),
            ("s3://bucket?region=", "'region' has no value"),
            ("s3://bucket?region", "'region' has no value"),
            ("s3://bucket?region=a&region=b", "twice"),
            ("s3://bucket?allow-http=hunter2", "true or false"),
            ("s3://bucket?endpoint=minio:9000", "https://"),
            ("s3://bucket?endpoint=http://minio:9000", "allow-http=true"),
            ("s3://bucket?endpoint=https://hunter2@minio", "credentials"),
            ("s3://bucket?endpoint=https://minio/path", "host"),
            ("s3://bucket?endpoint=https://minio:99999", "PORT"),
            ("s3://bucket/../x", "prefix"),
            ("s3://bucket/%ff", "hexadecimal"),
            ("s3://bucket/%2", "hexadecimal"),
            ("file://folder", "three slashes"),
            ("file:///a?region=x", "no parameters"),
        ] {
            let error = parse(uri).unwrap_err();
            assert!(error.contains(word), "{uri}: {error}");
            assert!(!error.contains("hunter2"), "{uri}: {error}");
        }
    }

    #[test]
    fn address_of_an_object_is_its_folder_and_its_key() {
        for (address, uri, key) in [
            ("s3://clips/a/b%20c/x%3F.mp4?region=r", "s3://clips/a/b%20c?region=r", "x?.mp4"),
            ("s3://clips/x.mp4", "s3://clips", "x.mp4"),
            ("file:///srv/clips/x.mp4", "file:///srv/clips", "x.mp4"),
            ("file:///x.mp4", "file:///", "x.mp4"),
        ] {
            assert_eq!(object(address), Ok((uri.to_owned(), key.to_owned())), "{address}");
            assert!(parse(uri).is_ok(), "{uri}");
        }
        for bad in ["s3://clips", "s3://clips/", "file:///srv/", "/srv/x.mp4", "s3://clips/%zz"] {
            assert!(object(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_of_files_are_read_back() {
        let path = std::path::Path::new("/a b/ü?#%.mp4");
        assert_eq!(file_url(path), "file:///a%20b/%C3%BC%3F%23%25.mp4");
        assert_eq!(parse(&file_url(path)), Ok(Address::Folder(path.to_owned())));
    }
}
