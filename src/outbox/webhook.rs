//! Messages posted over HTTP.
//!
//! Signed as the Standard Webhooks specification 1.0 has it, so that receivers can check them with
//! a library: HMAC-SHA256 over `ID.TIMESTAMP.BODY`.

use std::collections::HashMap;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use ring::hmac;

use super::courier::Outcome;
use super::entry::{Address, EntryId, Webhook};
use crate::fetch::{client_builder, is_loopback, reason, shown};
use crate::net;

/// How often is looked whether sending is to stop.
const POLL: Duration = Duration::from_millis(100);
/// Bounds of what a server may ask for with `Retry-After`.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Beginning of a signing key that is Base64, in the specification.
const KEY_PREFIX: &str = "whsec_";

/// Checks an address. The error repeats nothing of it that may be secret.
pub(super) fn parse(text: &str, allow_http: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("the address is none: {error}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the address has no host".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_http || is_loopback(&url) => Ok(url),
        "http" => {
            Err(format!("'{}' is not encrypted: use https, or allow http explicitly", origin(&url)))
        }
        scheme => Err(format!("'{scheme}' is no scheme for a webhook: use https")),
    }
}

/// Scheme, host and port: paths of chat services are secrets.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Clients, kept for their connections: one for this machine, one for others.
#[derive(Debug, Default)]
pub(super) struct Clients {
    clients: Mutex<HashMap<(bool, bool), Client>>,
}

impl Clients {
    fn get(&self, url: &Url) -> Result<Client, String> {
        let kind = (is_loopback(url), url.scheme() == "http");
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        // A redirect would send the message to who was not named.
        let builder = client_builder(url).redirect(reqwest::redirect::Policy::none());
        let client = builder.build().map_err(reason)?;
        clients.insert(kind, client.clone());
        Ok(client)
    }

    /// Posts `body`. Only 2xx counts as delivered.
    pub(super) fn post(
        &self,
        webhook: &Webhook,
        id: &EntryId,
        body: String,
        now: SystemTime,
        stop: &dyn Fn() -> bool,
    ) -> Outcome {
        let (url, secret) = match address(webhook) {
            Ok(address) => address,
            Err(error) => return Outcome::retry(error),
        };
        let place = if secret { origin(&url) } else { shown(&url) };
        let headers = match headers(webhook, id, &body, now) {
            Ok(headers) => headers,
            Err(error) => return Outcome::retry(format!("cannot post to '{place}': {error}")),
        };
        let client = match self.get(&url) {
            Ok(client) => client,
            Err(error) => return Outcome::retry(format!("cannot post to '{place}': {error}")),
        };
        let request = client.post(url).headers(headers).timeout(webhook.timeout).body(body);
        let answer = net::block_on(async {
            let mut sending = pin!(request.send());
            loop {
                match tokio::time::timeout(POLL, sending.as_mut()).await {
                    Ok(answer) => return Some(answer),
                    Err(_) if stop() => return None,
                    Err(_) => {}
                }
            }
        });
        match answer {
            Err(error) => Outcome::retry(error.to_string()),
            Ok(None) => Outcome::Cancelled,
            Ok(Some(Err(error))) => {
                let why = if error.is_timeout() {
                    format!("no answer within {} s", webhook.timeout.as_secs_f64())
                } else {
                    reason(error)
                };
                Outcome::away(format!("cannot post to '{place}': {why}"))
            }
            Ok(Some(Ok(answer))) => judge(&answer, &place, now),
        }
    }
}

/// What the server's answer means. Its text is not repeated: it may hold what we sent.
fn judge(answer: &Response, place: &str, now: SystemTime) -> Outcome {
    let status = answer.status();
    if status.is_success() {
        return Outcome::Delivered(None);
    }
    let error = format!("'{place}' answered {status}");
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {}
        _ if status.is_server_error() => {}
        _ if status.is_redirection() => {
            return Outcome::Failed(format!("{error}: name the address that it leads to"));
        }
        _ => return Outcome::Failed(error),
    }
    let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = after.and_then(|text| retry_after(text, now));
    Outcome::Retry { error, after, away: false }
}

/// The wait that a server asks for: seconds, or a date.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => http_date(text.trim())?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that is written today (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_once(", ")?.1.split(' ').collect();
    let &[day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    crate::clip::utc::parse(&format!("{year}-{month:02}-{day}T{time}Z"))
}

/// The address, and whether all of it is a secret.
fn address(webhook: &Webhook) -> Result<(Url, bool), String> {
    match &webhook.address {
        Address::Plain(text) => Ok((parse(text, webhook.allow_http)?, false)),
        Address::Secret(source) => {
            let text = source.read()?;
            // What the parser says repeats nothing of the text.
            Ok((parse(&text, webhook.allow_http).map_err(|e| format!("{source}: {e}"))?, true))
        }
    }
}

fn headers(
    webhook: &Webhook,
    id: &EntryId,
    body: &str,
    now: SystemTime,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
    headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(webhook.message.channel().content_type()));
    let id = id.as_str();
    headers.insert("idempotency-key", value(id)?);
    if let Some(source) = &webhook.sign {
        let time = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = signature(&source.read()?, id, time, body)?;
        headers.insert("webhook-id", value(id)?);
        headers.insert("webhook-timestamp", HeaderValue::from(time));
        headers.insert("webhook-signature", value(&signature)?);
    }
    if let Some(source) = &webhook.bearer {
        let token = HeaderValue::from_str(&format!("Bearer {}", source.read()?));
        let mut token = token.map_err(|_| format!("the token in the {source} is none"))?;
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
    }
    Ok(headers)
}

/// `v1,` and the Base64 of the HMAC. `time` is in seconds since 1970.
fn signature(secret: &str, id: &str, time: u64, body: &str) -> Result<String, String> {
    let key = match secret.strip_prefix(KEY_PREFIX) {
        Some(text) => BASE64_STANDARD
            .decode(text)
            .map_err(|_| format!("what follows '{KEY_PREFIX}' in the signing key is no Base64"))?,
        None => secret.as_bytes().to_vec(),
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{time}.{body}").as_bytes());
    Ok(format!("v1,{}", BASE64_STANDARD.encode(tag.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_the_specification() {
        // Test vector of the Standard Webhooks reference libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signed = signature(
            secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let raw = signature("Jefe", "a", 1, "x").unwrap();
        assert_ne!(raw, signature("Jefe", "a", 2, "x").unwrap());
        assert!(signature("whsec_§", "a", 1, "x").is_err());
    }

    #[test]
    fn plain_http_stays_on_the_machine() {
        for (text, allow_http, fine) in [
            ("https://example.org/x", false, true),
            ("https://127.0.0.1/x", false, true),
            ("http://127.0.0.1:8000/x", false, true),
            ("http://localhost/x", false, true),
            ("http://example.org/x", false, false),
            ("http://example.org/x", true, true),
            ("ftp://example.org/x", true, false),
            ("file:///etc/passwd", true, false),
            ("example.org", true, false),
            ("", true, false),
        ] {
            assert_eq!(parse(text, allow_http).is_ok(), fine, "{text}");
        }
        let error = parse("http://me:pw@example.org/hook?token=1", false).unwrap_err();
        assert!(error.contains("'http://example.org'"), "{error}");
    }

    #[test]
    fn wait_that_a_server_asks_for_is_bounded() {
        let now = crate::clip::utc::parse("1994-11-06T08:48:37Z").unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            ("0", Some(1)),
            ("99999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(1)),
            ("Sun, 06 Now 1994 08:49:37 GMT", None),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(text, now).map(|wait| wait.as_secs()), seconds, "{text}");
        }
    }
}
