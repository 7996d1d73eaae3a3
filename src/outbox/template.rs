//! Messages made of a template and of values. Nothing in either is executed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::FaceEvent;

/// What a message is written in, and so how values are escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// A JSON document. Values between quotation marks are escaped; elsewhere they are a whole
    /// value: a string with its quotation marks, a number or `null`.
    Json,
    /// A JSON document whose texts are Markdown, as chat services take it.
    JsonMarkdown,
    Text,
    /// CommonMark.
    Markdown,
}

impl Channel {
    /// The content type that a message is sent with.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::JsonMarkdown => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Markdown => "text/markdown; charset=utf-8",
        }
    }

    fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::JsonMarkdown)
    }
}

/// What a template can ask for, as `{name}` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placeholder {
    /// Name of the person; `unknown` for somebody without one.
    Name,
    PersonId,
    Camera,
    /// Kind of the event, such as `known-face`.
    Event,
    EventId,
    Track,
    /// Cosine similarity, with two digits.
    Similarity,
    Zone,
    /// When it happened, RFC 3339.
    Time,
    /// Key of the stored object.
    Key,
    /// Link to the stored object, made when the message is sent.
    Url,
    /// When that link ends, RFC 3339.
    ExpiresAt,
}

impl Placeholder {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Name,
        Self::PersonId,
        Self::Camera,
        Self::Event,
        Self::EventId,
        Self::Track,
        Self::Similarity,
        Self::Zone,
        Self::Time,
        Self::Key,
        Self::Url,
        Self::ExpiresAt,
    ];

    /// As it stands between braces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::PersonId => "person_id",
            Self::Camera => "camera",
            Self::Event => "event",
            Self::EventId => "event_id",
            Self::Track => "track",
            Self::Similarity => "similarity",
            Self::Zone => "zone",
            Self::Time => "time",
            Self::Key => "key",
            Self::Url => "url",
            Self::ExpiresAt => "expires_at",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|placeholder| placeholder.as_str() == name)
    }

    /// Known only when the message is sent.
    fn is_late(self) -> bool {
        matches!(self, Self::Url | Self::ExpiresAt)
    }
}

/// Why a template cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("the template asks for '{{{name}}}', which there is not; there are {}", known())]
    Unknown { name: String },
    #[error("the template gives no JSON: {reason}")]
    Json { reason: String },
}

fn known() -> String {
    Placeholder::ALL.map(|p| format!("{{{}}}", p.as_str())).join(", ")
}

/// What happened, for templates. What is `None` is empty in texts and `null` in JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    pub name: Option<String>,
    pub person_id: Option<String>,
    pub camera: Option<String>,
    pub event: Option<String>,
    pub event_id: Option<String>,
    pub track: Option<u64>,
    pub similarity: Option<f64>,
    pub zone: Option<String>,
    pub time: Option<String>,
    pub key: Option<String>,
}

impl Values {
    /// The values of an event.
    pub fn of(event: &FaceEvent) -> Self {
        Self {
            name: event.name.clone(),
            person_id: event.person_id.clone(),
            camera: event.camera.clone(),
            event: Some(event.kind.clone()),
            event_id: Some(event.id.clone()),
            track: (event.track_id > 0).then_some(event.track_id),
            similarity: event.similarity.map(f64::from),
            zone: event.zone.clone(),
            time: event.utc.clone(),
            key: None,
        }
    }

    fn get(&self, placeholder: Placeholder) -> Value {
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
        match placeholder {
            Placeholder::Name => text(&self.name),
            Placeholder::PersonId => text(&self.person_id),
            Placeholder::Camera => text(&self.camera),
            Placeholder::Event => text(&self.event),
            Placeholder::EventId => text(&self.event_id),
            Placeholder::Track => self.track.map_or(Value::Null, Value::from),
            // JSON has no number for what is not finite: from() makes it null.
            Placeholder::Similarity => self
                .similarity
                .map_or(Value::Null, |value| Value::from((value * 100.0).round() / 100.0)),
            Placeholder::Zone => text(&self.zone),
            Placeholder::Time => text(&self.time),
            Placeholder::Key => text(&self.key),
            Placeholder::Url | Placeholder::ExpiresAt => Value::Null,
        }
    }
}

/// A link to a stored object, as a message shows it.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct LinkText {
    pub(super) url: String,
    pub(super) expires_at: Option<String>,
}

/// A text with places for values: `{name} was seen at {time}`.
///
/// A place is a known word in braces; other words in braces are an error, everything else stands
/// for itself, so that JSON needs no escapes. `{{name}}` is the text `{name}`.
///
/// ```
/// use face_core::outbox::{Channel, Template, Values};
///
/// let template = Template::parse(r#"{"text": "{name} at {camera}"}"#, Channel::Json)?;
/// let values = Values { name: Some("\"Ada\"".into()), ..Values::default() };
/// assert_eq!(template.fill(&values).text(), Some(r#"{"text": "\"Ada\" at "}"#.into()));
/// # Ok::<(), face_core::outbox::TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    channel: Channel,
    pieces: Vec<Piece>,
}

/// A piece of a template, or of a message that waits for its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Place {
        placeholder: Placeholder,
        /// Between the quotation marks of JSON.
        quoted: bool,
    },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] for a placeholder that there is not, and for JSON that is none.
    pub fn parse(text: &str, channel: Channel) -> Result<Self, TemplateError> {
        let (mut pieces, mut plain, mut quotes) = (Vec::new(), String::new(), Quotes::default());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, from) = rest.split_at(start);
            plain.push_str(before);
            quotes.pass(before);
            if let Some((word, after)) = word(from, "{{", "}}")
                && Placeholder::parse(word).is_some()
            {
                let literal = format!("{{{word}}}");
                quotes.pass(&literal);
                plain.push_str(&literal);
                rest = after;
            } else if let Some((word, after)) = word(from, "{", "}") {
                let Some(placeholder) = Placeholder::parse(word) else {
                    return Err(TemplateError::Unknown { name: word.to_owned() });
                };
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Place { placeholder, quoted: quotes.open });
                rest = after;
            } else {
                plain.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        let template = Self { channel, pieces };
        if channel.is_json() {
            let sample = template.fill(&Values::default()).render(&LinkText::default());
            let parsed = serde_json::from_str::<serde::de::IgnoredAny>(&sample);
            parsed.map_err(|error| TemplateError::Json { reason: error.to_string() })?;
        }
        Ok(template)
    }

    /// Does it ask for a link, so that it can be sent only when the object is stored?
    pub fn has_link(&self) -> bool {
        self.pieces.iter().any(is_late)
    }

    /// Puts the values in. What is known only at sending stays open.
    pub fn fill(&self, values: &Values) -> Message {
        let mut message = Message { channel: self.channel, pieces: Vec::new() };
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => message.push(text),
                Piece::Place { placeholder, .. } if placeholder.is_late() => {
                    message.pieces.push(piece.clone());
                }
                Piece::Place { placeholder, quoted } => {
                    let value = values.get(*placeholder);
                    message.push(&shown(&value, *placeholder, self.channel, *quoted));
                }
            }
        }
        message
    }
}

/// The word between two braces at the beginning of `text`, and what follows.
fn word<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    let inner = text.strip_prefix(open)?;
    let letter = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let end = inner.find(|c| !letter(c))?;
    let (word, rest) = inner.split_at(end);
    let after = rest.strip_prefix(close)?;
    (!word.is_empty()).then_some((word, after))
}

/// Follows whether a text is between the quotation marks of JSON.
#[derive(Debug, Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    fn pass(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' if self.open => self.escaped = true,
                '"' => self.open = !self.open,
                _ => {}
            }
        }
    }
}

fn is_late(piece: &Piece) -> bool {
    matches!(piece, Piece::Place { placeholder, .. } if placeholder.is_late())
}

/// A value as it stands in the message.
fn shown(value: &Value, placeholder: Placeholder, channel: Channel, quoted: bool) -> String {
    if channel.is_json() && !quoted {
        return match value {
            Value::String(text) if channel == Channel::JsonMarkdown => {
                Value::String(markdown(text, placeholder)).to_string()
            }
            value => value.to_string(),
        };
    }
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null if placeholder == Placeholder::Name => "unknown".to_owned(),
        Value::Null => String::new(),
        Value::Number(number) if placeholder == Placeholder::Similarity => {
            number.as_f64().map_or_else(String::new, |value| format!("{value:.2}"))
        }
        value => value.to_string(),
    };
    match channel {
        Channel::Json => json(&text),
        Channel::JsonMarkdown => json(&markdown(&text, placeholder)),
        Channel::Text => plain(&text),
        Channel::Markdown => markdown(&text, placeholder),
    }
}

/// What stands between quotation marks.
fn json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

/// Names come from others: they begin no line, steer no terminal and turn no text around.
fn plain(text: &str) -> String {
    let harmless = |c: char| {
        let reorders = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}');
        let breaks = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
        if c.is_control() || reorders || breaks { char::REPLACEMENT_CHARACTER } else { c }
    };
    text.chars().map(harmless).collect()
}

/// CommonMark lets every ASCII punctuation character be escaped; links, mentions, HTML and lists of
/// chat services all need one. A link of our own stays one, without what could end it early.
fn markdown(text: &str, placeholder: Placeholder) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '(' | ')' | '<' | '>' | '[' | ']' | '\\' | '`' | '*' | '|' | ' '
                if placeholder == Placeholder::Url =>
            {
                escaped.push_str(&format!("%{:02X}", u32::from(c)));
            }
            _ if placeholder == Placeholder::Url => escaped.push(c),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            _ if c.is_ascii_punctuation() => {
                escaped.push('\\');
                escaped.push(c);
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A message, perhaps with a place for the link that is made when it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    channel: Channel,
    pieces: Vec<Piece>,
}

impl Message {
    /// A message that is this JSON, such as a [`FaceEvent`].
    ///
    /// # Errors
    /// The value cannot be JSON: a map whose keys are no texts.
    pub fn json(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_string(value)?;
        Ok(Self { channel: Channel::Json, pieces: vec![Piece::Text(text)] })
    }

    /// What it is written in.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Does it wait for a link?
    pub fn has_link(&self) -> bool {
        self.pieces.iter().any(is_late)
    }

    /// The text; `None` while it waits for a link.
    pub fn text(&self) -> Option<String> {
        (!self.has_link()).then(|| self.render(&LinkText::default()))
    }

    pub(super) fn render(&self, link: &LinkText) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Place { placeholder, quoted } => {
                    let value = match placeholder {
                        Placeholder::Url => Value::from(link.url.as_str()),
                        Placeholder::ExpiresAt => Value::from(link.expires_at.clone()),
                        _ => Value::Null,
                    };
                    text.push_str(&shown(&value, *placeholder, self.channel, *quoted));
                }
            }
        }
        text
    }

    fn push(&mut self, more: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => text.push_str(more),
            _ => self.pieces.push(Piece::Text(more.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str =
        "\"},\"x\":{\"{url}\n$(reboot) `id` <img src=x> @all [a](http://e) \u{202e}";

    fn named(name: &str) -> Values {
        Values { name: Some(name.into()), similarity: Some(0.8749), ..Values::default() }
    }

    fn filled(template: &str, channel: Channel, values: &Values) -> String {
        Template::parse(template, channel).unwrap().fill(values).text().unwrap()
    }

    #[test]
    fn hostile_name_stays_a_value_in_json() {
        let template = r#"{"text": "{name}!", "who": {name}, "s": {similarity}, "t": {track}}"#;
        for channel in [Channel::Json, Channel::JsonMarkdown] {
            let text = filled(template, channel, &named(HOSTILE));
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value.as_object().unwrap().len(), 4, "{text}");
            assert_eq!(value["s"], 0.87);
            assert_eq!(value["t"], Value::Null);
            if channel == Channel::Json {
                assert_eq!(value["text"], format!("{HOSTILE}!"));
                assert_eq!(value["who"], HOSTILE);
            } else {
                assert_eq!(value["who"], markdown(HOSTILE, Placeholder::Name));
            }
        }
    }

    #[test]
    fn hostile_name_stays_in_its_line_and_is_no_markup() {
        let text = filled("{name} seen", Channel::Text, &named(HOSTILE));
        assert!(!text.contains(['\n', '\u{202e}']), "{text}");
        assert!(text.contains("{url}"), "what a value says is not looked into: {text}");
        let text = filled("*{name}*", Channel::Markdown, &named("[x](http://e) <b> @all _a_"));
        assert_eq!(text, r"*\[x\]\(http\:\/\/e\) &lt;b&gt; \@all \_a\_*");
    }

    #[test]
    fn unknown_placeholder_is_named() {
        for (template, name) in
            [("{nmae}", "nmae"), ("a {Name} b", "Name"), ("{name.__class__}", "name.__class__")]
        {
            let error = Template::parse(template, Channel::Text).unwrap_err();
            assert_eq!(error, TemplateError::Unknown { name: name.into() });
            let text = error.to_string();
            assert!(text.contains(&format!("'{{{name}}}'")) && text.contains("{camera}"), "{text}");
        }
    }

    #[test]
    fn braces_that_are_no_placeholder_stand_for_themselves() {
        let values = named("Ada");
        for (template, text) in [
            ("{", "{"),
            ("{}", "{}"),
            ("{{name}} is {name}", "{name} is Ada"),
            ("{ name }", "{ name }"),
            ("{name", "{name"),
            ("a}{name}{", "a}Ada{"),
            ("", ""),
        ] {
            assert_eq!(filled(template, Channel::Text, &values), text);
        }
    }

    #[test]
    fn template_that_gives_no_json_is_refused() {
        for template in ["{name} was here", r#"{"a": "{name}}"#, r#"{"a": x{name}}"#] {
            let error = Template::parse(template, Channel::Json).unwrap_err();
            assert!(matches!(error, TemplateError::Json { .. }), "{template}: {error}");
        }
        assert!(Template::parse(r#"{"a": {"b": {track}}}"#, Channel::Json).is_ok());
    }

    #[test]
    fn link_is_put_in_when_the_message_is_sent() {
        let template =
            Template::parse(r#"{"n":"{name}","u":"{url}","e":{expires_at}}"#, Channel::Json);
        let template = template.unwrap();
        assert!(template.has_link());
        let message = template.fill(&named("{url}"));
        assert_eq!(message.text(), None);
        let journal = serde_json::to_string(&message).unwrap();
        let message: Message = serde_json::from_str(&journal).unwrap();
        let link = LinkText { url: "https://h/x?a=\"1\"".into(), expires_at: None };
        let value: Value = serde_json::from_str(&message.render(&link)).unwrap();
        assert_eq!(value, serde_json::json!({"n": "{url}", "u": link.url, "e": null}));
        let message = Template::parse("[clip]({url})", Channel::Markdown).unwrap();
        let link = LinkText { url: "https://h/x)?a_b".into(), expires_at: None };
        assert_eq!(message.fill(&Values::default()).render(&link), "[clip](https://h/x%29?a_b)");
    }

    #[test]
    fn what_is_missing_is_empty() {
        let text = filled("{name}|{camera}|{similarity}", Channel::Text, &Values::default());
        assert_eq!(text, "unknown||");
        let text = filled("{similarity}", Channel::Text, &named(""));
        assert_eq!(text, "0.87");
    }
}
