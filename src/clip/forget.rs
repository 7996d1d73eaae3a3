//! Taking a person out of a sidecar, whoever wrote it, without losing what else it says.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// What stands in the place of a name inside a longer text.
const REDACTED: &str = "[forgotten]";
/// Fields that say who somebody is.
const IDENTITY: [&str; 5] = ["name", "person_id", "label", "attributes", "db_id"];
/// Fields of somebody that could tell who it is, or how sure that was.
const TRAITS: [&str; 7] =
    ["similarity", "margin", "embedding", "embeddings", "images", "face_properties", "fingerprint"];

/// What was taken out of a sidecar.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Places where the person stood.
    pub(super) places: usize,
    /// Tracks that showed the person.
    pub(super) tracks: BTreeSet<u64>,
    /// The snapshot may show the person.
    pub(super) snapshot: bool,
}

/// Takes everything out that names `person` (a name or an id) or describes their face.
pub(super) fn person(values: &mut [Value], person: &str) -> Taken {
    // A person has a name and an id; a sidecar that has both on one face tells that they are one.
    let mut who = BTreeSet::from([person.to_owned()]);
    loop {
        let before = who.len();
        values.iter().for_each(|value| gather(value, &mut who, &mut BTreeSet::new()));
        if who.len() == before {
            break;
        }
    }
    let mut taken = Taken::default();
    values.iter().for_each(|value| gather(value, &mut who.clone(), &mut taken.tracks));
    for value in values {
        scrub(value, &who, &mut taken);
        if let Some(snapshot) = value.get("snapshot").filter(|snapshot| !snapshot.is_null()) {
            let shows = snapshot.get("track_id").and_then(Value::as_u64);
            taken.snapshot |= shows.is_none_or(|track| taken.tracks.contains(&track));
        }
    }
    taken
}

/// Adds to `who` what else the person is called, and to `tracks` where they were seen.
fn gather(value: &Value, who: &mut BTreeSet<String>, tracks: &mut BTreeSet<u64>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, who, tracks)),
        Value::Object(fields) => {
            if is_person(fields, who) {
                let names = ["name", "person_id", "db_id"].iter().filter_map(|n| fields.get(*n));
                who.extend(
                    names.filter_map(Value::as_str).filter(|n| !n.is_empty()).map(str::to_owned),
                );
                tracks.extend(fields.get("track_id").and_then(Value::as_u64));
            }
            fields.values().for_each(|field| gather(field, who, tracks));
        }
        _ => {}
    }
}

fn is_person(fields: &Map<String, Value>, who: &BTreeSet<String>) -> bool {
    IDENTITY.iter().any(|name| {
        fields.get(*name).and_then(Value::as_str).is_some_and(|value| who.contains(value))
    })
}

fn scrub(value: &mut Value, who: &BTreeSet<String>, taken: &mut Taken) {
    match value {
        Value::Array(items) => {
            let before = items.len();
            // A candidate is nothing but a person: it goes as a whole.
            items.retain(|item| !item.as_object().is_some_and(|fields| is_candidate(fields, who)));
            taken.places += before - items.len();
            items.iter_mut().for_each(|item| scrub(item, who, taken));
        }
        Value::Object(fields) => scrub_object(fields, who, taken),
        Value::String(text) => {
            for name in who {
                if let Some(redacted) = without(text, name) {
                    *text = redacted;
                    taken.places += 1;
                }
            }
        }
        _ => {}
    }
}

fn is_candidate(fields: &Map<String, Value>, who: &BTreeSet<String>) -> bool {
    is_person(fields, who)
        && fields.keys().all(|k| matches!(k.as_str(), "person_id" | "name" | "similarity"))
}

fn scrub_object(fields: &mut Map<String, Value>, who: &BTreeSet<String>, taken: &mut Taken) {
    let person = is_person(fields, who);
    let track = fields.get("track_id").and_then(Value::as_u64);
    if person || track.is_some_and(|track| taken.tracks.contains(&track)) {
        taken.places += usize::from(person);
        for (name, value) in fields.iter_mut() {
            match name.as_str() {
                "status" if person => *value = "unknown".into(),
                "label" if person => *value = "UNKNOWN".into(),
                "name" | "person_id" | "attributes" | "db_id" if person => *value = Value::Null,
                "similarity" if !person => {}
                name if TRAITS.contains(&name) => {
                    *value = if value.is_array() { Value::Array(Vec::new()) } else { Value::Null };
                }
                _ => {}
            }
        }
    }
    let before = fields.len();
    fields.retain(|name, _| !who.contains(name));
    taken.places += before - fields.len();
    fields.values_mut().for_each(|value| scrub(value, who, taken));
}

/// The text without the name where it stands as words of its own; `None` if it does not.
fn without(text: &str, name: &str) -> Option<String> {
    let mut result = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find(name).filter(|_| !name.is_empty()) {
        let (before, from) = rest.split_at(at);
        let after = from.get(name.len()..).unwrap_or_default();
        result.push_str(before);
        let joined = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        if joined(result.chars().next_back()) || joined(after.chars().next()) {
            result.push_str(name);
        } else {
            result.push_str(REDACTED);
            found = true;
        }
        rest = after;
    }
    found.then(|| result + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_words() {
        assert_eq!(
            without("Al met Alice, al and Al.", "Al").as_deref(),
            Some("[forgotten] met Alice, al and [forgotten].")
        );
        assert_eq!(without("Alice", "Al"), None);
        assert_eq!(without("x", ""), None);
    }

    #[test]
    fn person_leaves_and_everybody_else_stays() {
        let mut values = [json!({
            "triggers": [
                {"name": "Ada", "person_id": "p1", "similarity": 0.9, "track_id": 3, "event": "known-face",
                 "top_k": [{"person_id": "p1", "name": "Ada", "similarity": 0.9}, {"person_id": "p2", "name": "Bob", "similarity": 0.2}]},
                {"name": "Bob", "person_id": "p2", "similarity": 0.8, "track_id": 4}
            ],
            "tracks": [{"track_id": 3, "status": "known", "name": "Ada", "embeddings": [[1.0]]}],
            "frames": [{"faces": [
                {"track_id": 3, "status": "identifying", "name": null, "embedding": [0.5], "box_px": [1, 2, 3, 4]},
                {"track_id": 4, "status": "known", "name": "Bob", "embedding": [0.25]}
            ]}],
            "snapshot": {"key": "x.jpg", "track_id": 3},
            "notes": "p1 was seen, and Ada; Adam was not",
            "people": {"Ada": 1, "Bob": 2},
            "future": {"kept": true}
        })];
        let taken = person(&mut values, "Ada");
        assert_eq!((taken.tracks, taken.snapshot), (BTreeSet::from([3]), true));
        assert!(taken.places >= 5, "{}", taken.places);
        let [value] = values;
        let text = value.to_string();
        assert!(
            !text.contains("\"Ada\"") && !text.contains("p1") && !text.contains("Ada;"),
            "{text}"
        );
        assert_eq!(value["triggers"][0]["top_k"].as_array().map(Vec::len), Some(1));
        assert_eq!(value["triggers"][1]["name"], "Bob");
        assert_eq!(value["triggers"][1]["similarity"], 0.8);
        assert_eq!(
            value["tracks"][0],
            json!({"track_id": 3, "status": "unknown", "name": null, "embeddings": []})
        );
        let faces = &value["frames"][0]["faces"];
        assert_eq!(faces[0]["embedding"], json!([]));
        assert_eq!(faces[0]["box_px"], json!([1, 2, 3, 4]));
        assert_eq!(faces[1]["embedding"], json!([0.25]));
        assert_eq!(value["notes"], "[forgotten] was seen, and [forgotten]; Adam was not");
        assert_eq!(value["people"], json!({"Bob": 2}));
        assert_eq!(value["future"]["kept"], true);
    }

    #[test]
    fn nobody_is_taken_out_who_is_not_there() {
        let value =
            json!({"triggers": [{"name": "Bob", "track_id": 1}], "snapshot": {"track_id": 1}});
        let mut values = [value.clone()];
        assert_eq!(person(&mut values, "Ada"), Taken::default());
        assert_eq!(values, [value]);
    }
}
