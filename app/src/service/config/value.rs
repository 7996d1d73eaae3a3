//! One value of the configuration as the text of a property.

use std::path::Path;

use face_core::zone::Zones;
use serde_json::Value;

use super::keys::{Key, Kind};
use super::unit;
use super::yaml::{Content, Entry, Node};
use crate::elements;

/// Reads the value of a key; relative paths are from `folder`.
///
/// # Errors
/// What is wrong, without the path of the key.
pub(super) fn read(key: &Key, node: &Node, folder: &Path) -> Result<String, String> {
    let text = match &key.kind {
        Kind::Choices(known) => choices(node, known)?.join("+"),
        Kind::Names => texts(node)?.join(","),
        Kind::Rules => rules(node, folder)?,
        Kind::Zones => zones(node)?,
        kind => one(kind, node, folder)?,
    };
    if let Some(spec) = &key.spec {
        elements::value(spec, &text, "the value")?;
    }
    Ok(text)
}

/// A value that is one scalar.
fn one(kind: &Kind, node: &Node, folder: &Path) -> Result<String, String> {
    let Content::Scalar { text, quoted } = &node.content else {
        return Err(format!("{} is wanted, not {}", wanted(kind), node.kind()));
    };
    let refused = || format!("{} is wanted, not {}", wanted(kind), node.kind());
    let plain = (!quoted).then_some(text.as_str());
    match kind {
        Kind::Flag => match plain {
            Some("true" | "false") => Ok(text.clone()),
            _ => Err(refused()),
        },
        Kind::Whole { least, most } => {
            let number = plain.and_then(|text| text.parse::<i128>().ok());
            let number = number.filter(|number| (least..=most).contains(&number));
            number.map(|number| number.to_string()).ok_or_else(refused)
        }
        Kind::Real { least, most } => {
            let number = plain.and_then(|text| text.parse::<f64>().ok());
            let number = number.filter(|number| (least..=most).contains(&number));
            number.map(|number| number.to_string()).ok_or_else(refused)
        }
        Kind::Time { unit_ns, least, most } => {
            let ns = unit::parse_time(text).ok_or_else(refused)?;
            if !ns.is_multiple_of(*unit_ns) {
                return Err(format!(
                    "whole {} are wanted, not {}",
                    unit::name(*unit_ns),
                    node.kind()
                ));
            }
            let number = ns / unit_ns;
            (least..=most).contains(&&number).then(|| number.to_string()).ok_or_else(refused)
        }
        Kind::Bytes { least, most } => {
            let number = unit::parse_bytes(text).filter(|n| (least..=most).contains(&n));
            number.map(|number| number.to_string()).ok_or_else(refused)
        }
        Kind::Choice(known) if !known.contains(text) => Err(refused()),
        Kind::Path => Ok(path(text, folder)),
        Kind::Address => Ok(address(text, folder)),
        Kind::Place => Ok(place(text, folder)),
        _ => Ok(text.clone()),
    }
}

/// What would be right, in words.
pub(super) fn wanted(kind: &Kind) -> String {
    match kind {
        Kind::Flag => "true or false".to_owned(),
        Kind::Whole { least, most } if *most >= i128::from(u32::MAX) => {
            format!("a whole number from {least} on")
        }
        Kind::Whole { least, most } => format!("a whole number from {least} to {most}"),
        Kind::Real { least, most } => format!("a number from {least} to {most}"),
        Kind::Time { unit_ns, least, most } => {
            let [least, most] = [least, most].map(|n| n.saturating_mul(*unit_ns));
            match unit::parse_time(&unit::time(most)) {
                Some(_) => format!("a time from {} to {}", unit::time(least), unit::time(most)),
                None => format!("a time from {} on", unit::time(least)),
            }
        }
        Kind::Bytes { least, most: u64::MAX } => format!("a size from {} on", unit::bytes(*least)),
        Kind::Bytes { least, most } => {
            format!("a size from {} to {}", unit::bytes(*least), unit::bytes(*most))
        }
        Kind::Choice(known) => format!("one of {}", listed(known)),
        Kind::Choices(known) => format!("a list of {}", known.join(", ")),
        Kind::Text => "a text".to_owned(),
        Kind::Names => "a list of names".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Address => "a path or an address".to_owned(),
        Kind::Place => "env:NAME or file:PATH, or an address that is no secret".to_owned(),
        Kind::Rules => "a list of rules or the path of a file".to_owned(),
        Kind::Zones => "a mapping of names to points".to_owned(),
    }
}

/// The words, and numbers among them from the first to the last.
fn listed(known: &[String]) -> String {
    let number = |name: &&String| name.parse::<u32>().is_ok();
    let mut words: Vec<String> = known.iter().filter(|n| !number(n)).cloned().collect();
    let mut numbers = known.iter().filter(number);
    if let Some(first) = numbers.next() {
        words.push(numbers.next_back().map_or(first.clone(), |last| format!("{first} to {last}")));
    }
    words.join(", ")
}

/// A relative path is from the folder of the configuration, wherever the program was started.
fn path(text: &str, folder: &Path) -> String {
    folder.join(text).to_string_lossy().into_owned()
}

fn address(text: &str, folder: &Path) -> String {
    match text.split_once(':') {
        _ if text == "stdout" || text == "-" => text.to_owned(),
        Some(("webhook+file", secret)) => format!("webhook+file:{}", path(secret, folder)),
        Some(("webhook+env", _)) => text.to_owned(),
        Some((_, rest)) if rest.starts_with("//") => text.to_owned(),
        _ => path(text, folder),
    }
}

/// Where a secret is.
fn place(text: &str, folder: &Path) -> String {
    match text.strip_prefix("file:") {
        Some(secret) => format!("file:{}", path(secret, folder)),
        None => text.to_owned(),
    }
}

fn texts(node: &Node) -> Result<Vec<&str>, String> {
    let Content::List(items) = &node.content else {
        return Err(format!("a list is wanted, not {}", node.kind()));
    };
    let text = |item: &'_ Node| match &item.content {
        Content::Scalar { text, .. } if text.contains(',') => {
            Err(format!("a name has no comma: {}", item.kind()))
        }
        Content::Scalar { .. } => Ok(()),
        _ => Err(format!("a text is wanted, not {}", item.kind())),
    };
    items.iter().try_for_each(text)?;
    if items.is_empty() {
        return Err("an empty list: name one, or leave the key out".to_owned());
    }
    Ok(items
        .iter()
        .filter_map(|item| match &item.content {
            Content::Scalar { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect())
}

fn choices<'a>(node: &'a Node, known: &[String]) -> Result<Vec<&'a str>, String> {
    let chosen = texts(node)?;
    match chosen.iter().find(|text| !known.iter().any(|name| name == *text)) {
        Some(wrong) => Err(format!("'{wrong}' is none of {}", known.join(", "))),
        None => Ok(chosen),
    }
}

/// Rules as the JSON that the elements read.
fn rules(node: &Node, folder: &Path) -> Result<String, String> {
    match &node.content {
        Content::List(_) => Ok(json(node).to_string()),
        Content::Scalar { text, .. } if !text.trim_start().starts_with(['[', '{']) => {
            Ok(path(text, folder))
        }
        _ => Err(format!("a list of rules or the path of a file is wanted, not {}", node.kind())),
    }
}

/// Scalars are texts: in rules there is nothing else.
fn json(node: &Node) -> Value {
    match &node.content {
        Content::Null => Value::Null,
        Content::Scalar { text, .. } => Value::String(text.clone()),
        Content::List(items) => items.iter().map(json).collect(),
        Content::Map(entries) => {
            entries.iter().map(|Entry { key, value, .. }| (key.clone(), json(value))).collect()
        }
    }
}

/// Each zone is read alone, so that what is no name cannot become a second zone.
fn zones(node: &Node) -> Result<String, String> {
    let Content::Map(entries) = &node.content else {
        let example = "door: 0.1,0.2 0.5,0.2 0.5,0.9";
        return Err(format!("a mapping of names to points is wanted, as {example}"));
    };
    let mut zones = Vec::with_capacity(entries.len());
    for Entry { key, value, .. } in entries {
        let Content::Scalar { text: points, .. } = &value.content else {
            return Err(format!(
                "the points of '{key}' are a text as 0,0 1,0 1,1, not {}",
                value.kind()
            ));
        };
        let zone = format!("{key}={points}");
        let read: Zones = zone.parse().map_err(|error| format!("{error}"))?;
        let name = key.trim().trim_start_matches('!').trim();
        if read.iter().map(|zone| &*zone.name).ne([name]) {
            return Err(format!("'{key}' is no name of a zone"));
        }
        zones.push(zone);
    }
    Ok(zones.join("; "))
}
