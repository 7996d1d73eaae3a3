//! A text as a tree of values, each with its place. Anybody may have written it: size, depth and
//! kinds of contents are limited, and nothing is expanded.

use std::fmt;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::error::Fault;

/// Longer texts are no configuration that somebody wrote.
pub(super) const LONGEST_TEXT_BYTES: usize = 1 << 20;
/// Deepest nesting; a configuration has half of it.
const DEEPEST: usize = 16;

/// Where something stands in the text, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl From<Marker> for Place {
    fn from(marker: Marker) -> Self {
        Self { line: marker.line().max(1), column: marker.col() + 1 }
    }
}

#[derive(Clone, Debug)]
pub(in crate::service) struct Node {
    pub(in crate::service) place: Place,
    pub(in crate::service) content: Content,
}

#[derive(Clone, Debug)]
pub(in crate::service) enum Content {
    /// Nothing behind the key, `~` or `null`.
    Null,
    /// Of which kind it is, says who asks: a name may be `no` or `007`. Quoted ones are text only.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(in crate::service) struct Entry {
    pub(in crate::service) key: String,
    pub(in crate::service) place: Place,
    pub(in crate::service) value: Node,
}

impl Node {
    /// What it is, in words.
    pub(in crate::service) fn kind(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Scalar { text, .. } => {
                let short: String = text.chars().take(60).collect();
                let cut = if short.len() < text.len() { "…" } else { "" };
                format!("'{short}{cut}'")
            }
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Reads one document.
pub(in crate::service) fn parse(text: &str) -> Result<Node, Fault> {
    if text.len() > LONGEST_TEXT_BYTES {
        let reason = format!("{} bytes long, at most {LONGEST_TEXT_BYTES} are read", text.len());
        return Err(Fault::at(Place::default(), "", reason));
    }
    let mut reader = Reader { parser: Parser::new_from_str(text), root: None };
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            _ if reader.root.is_some() => {
                let reason = "a second document begins here, one is read";
                return Err(Fault::at(span.start.into(), "", reason));
            }
            event => reader.root = Some(reader.node(event, span, 0)?),
        }
    }
    let nothing = Node { place: Place { line: 1, column: 1 }, content: Content::Null };
    Ok(reader.root.unwrap_or(nothing))
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    root: Option<Node>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        let wrong = |error: &ScanError| {
            Fault::at((*error.marker()).into(), "", format!("not YAML: {}", error.info()))
        };
        match self.parser.next_event() {
            Some(event) => event.map_err(|error| wrong(&error)),
            None => Err(Fault::at(Place::default(), "", "not YAML: it ends too early")),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        let place = Place::from(span.start);
        let wrong = |reason: String| Err(Fault::at(place, "", reason));
        if depth > DEEPEST {
            return wrong(format!("nested more than {DEEPEST} times"));
        }
        let content = match event {
            Event::Alias(_) => {
                return wrong(
                    "aliases are not read: what all cameras have goes into defaults".into(),
                );
            }
            Event::Scalar(.., Some(tag))
            | Event::SequenceStart(_, Some(tag))
            | Event::MappingStart(_, Some(tag)) => {
                return wrong(format!(
                    "the tag {tag} is not read: a text that begins with ! is quoted"
                ));
            }
            Event::Scalar(text, style, ..) => scalar(&text, style, place)?,
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            other => return wrong(format!("not YAML: {other:?}")),
        };
        Ok(Node { place, content })
    }

    fn list(&mut self, depth: usize) -> Result<Content, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Content::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Content, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Content::Map(entries));
            }
            let key = self.node(event, span, depth + 1)?;
            let place = key.place;
            let Content::Scalar { text: key, .. } = key.content else {
                return Err(Fault::at(place, "", format!("a key is a text, not {}", key.kind())));
            };
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let reason = format!("'{key}' is there twice, first in line {}", first.place.line);
                return Err(Fault::at(place, "", reason));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            entries.push(Entry { key, place, value });
        }
    }
}

fn scalar(text: &str, style: ScalarStyle, place: Place) -> Result<Content, Fault> {
    let quoted = style != ScalarStyle::Plain;
    if !quoted && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Ok(Content::Null);
    }
    // No property of an element and no path can hold one.
    if text.contains('\0') {
        return Err(Fault::at(place, "", "a text with a NUL character"));
    }
    Ok(Content::Scalar { text: text.to_owned(), quoted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn values_have_their_places() {
        let root = parse("a: 1\nb:\n  - x\n  - 'y'\n").unwrap();
        let Content::Map(entries) = &root.content else { panic!("{root:?}") };
        assert_eq!((entries[1].key.as_str(), entries[1].place.to_string()), ("b", "2:1".into()));
        let Content::List(items) = &entries[1].value.content else { panic!("{root:?}") };
        assert_eq!(items[1].place.to_string(), "4:5");
        assert!(matches!(&items[1].content, Content::Scalar { text, quoted: true } if text == "y"));
        assert!(matches!(parse("").unwrap().content, Content::Null));
        assert!(matches!(parse("# nothing\n").unwrap().content, Content::Null));
    }

    #[test]
    fn what_is_no_plain_tree_is_refused_with_its_place() {
        for (text, said) in [
            ("a: [1", "not YAML"),
            ("a: 1\na: 2\n", "2:1: 'a' is there twice, first in line 1"),
            ("a: &x 1\nb: *x\n", "2:4: aliases are not read"),
            ("a: !ruby/object 1\n", "1:4: the tag"),
            ("? [a, b]\n: 1\n", "a key is a text, not a list"),
            ("a: 1\n---\nb: 2\n", "a second document begins here"),
            ("a: \"x\\0y\"\n", "NUL"),
            ("a: *nobody\n", "not YAML"),
            ("a:\n\tb: 1", "not YAML"),
        ] {
            let error = error(text);
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn hostile_texts_cost_little() {
        for text in ["[".repeat(200_000), "- ".repeat(200_000), "{a: ".repeat(100_000)] {
            assert!(error(&text).contains("nested") || error(&text).contains("recursion"));
        }
        assert!(error(&"a".repeat(LONGEST_TEXT_BYTES + 1)).contains("bytes long"));
        let mut laughs = "a: &a [x, x]\n".to_owned();
        for (name, before) in ["b", "c", "d"].iter().zip(["a", "b", "c"]) {
            laughs.push_str(&format!("{name}: &{name} [*{before}, *{before}]\n"));
        }
        assert!(error(&laughs).contains("aliases"));
    }
}
