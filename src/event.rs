//! Something that happened to a face, as JSON: the same on the bus, in the metadata of buffers, in
//! files beside clips and wherever events are sent.

use serde::{Deserialize, Serialize};

/// Name of the format, without its version.
const FORMAT: &str = "face-event/";
/// The version that is written; older ones are read.
const VERSION: u32 = 1;

/// One event. Equal `id`s are the same event, however often it is seen: act once per id. Readers
/// must ignore fields that they do not know.
///
/// ```
/// use face_core::event::FaceEvent;
///
/// let event = FaceEvent { id: "4f…".into(), kind: "known-face".into(), ..Default::default() };
/// let text = event.to_json();
/// assert!(text.starts_with(r#"{"schema":"face-event/1","id":"4f…","kind":"known-face""#));
/// assert_eq!(FaceEvent::from_json(&text)?, event);
/// # Ok::<(), face_core::event::EventError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "schema", rename = "face-event/1")]
pub struct FaceEvent {
    /// UUID.
    pub id: String,
    /// What happened: `known-face`, `unknown-face`, `face-disappeared`, `identity-changed`,
    /// `face-identity`, or another word, which readers pass over.
    pub kind: String,
    /// Running time of the picture that it happened in, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_time_ns: Option<u64>,
    /// When it happened by the wall clock, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc: Option<String>,
    /// The camera, as whoever set it up named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// 0: no track.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub track_id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Cosine similarity with that person, -1..=1; of somebody unknown that with the nearest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// Who the track was before, if that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_person_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_name: Option<String>,
    /// The nearest people, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_k: Vec<Candidate>,
    /// The zone that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How long the face has been in the zone, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dwell_ns: Option<u64>,
    /// Decided for trial: nobody is to act.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// A person that a face may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub person_id: String,
    pub name: String,
    /// Cosine similarity, -1..=1.
    pub similarity: f32,
}

/// Why a text is no event.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error("read event: not the JSON of an event")]
    Json(#[source] serde_json::Error),
    #[error("read event: its format is '{schema}', this program reads face-event/1")]
    Schema { schema: String },
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl FaceEvent {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are always JSON")
    }

    /// Reads what [`FaceEvent::to_json`] wrote, in this version or an older one.
    ///
    /// # Errors
    /// [`EventError::Json`] if it is no such JSON, [`EventError::Schema`] if it names no format, or
    /// one of a later version.
    pub fn from_json(text: &str) -> Result<Self, EventError> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(EventError::Json)?;
        let schema = value.get("schema").and_then(|s| s.as_str()).unwrap_or_default();
        let version = schema.strip_prefix(FORMAT).and_then(|v| v.parse::<u32>().ok());
        if !version.is_some_and(|v| (1..=VERSION).contains(&v)) {
            return Err(EventError::Schema { schema: schema.to_owned() });
        }
        serde_json::from_value(value).map_err(EventError::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> FaceEvent {
        FaceEvent {
            id: "0b7e".into(),
            kind: "identity-changed".into(),
            running_time_ns: Some(40_000_000),
            utc: Some("2026-01-02T03:04:05Z".into()),
            camera: Some("door".into()),
            track_id: 7,
            person_id: Some("p-1".into()),
            name: Some("Zoë \"Z\" 张".into()),
            similarity: Some(0.625),
            previous_person_id: Some("p-2".into()),
            previous_name: Some("Bob".into()),
            top_k: vec![Candidate {
                person_id: "p-1".into(),
                name: "Zoë".into(),
                similarity: 0.625,
            }],
            zone: Some("hall".into()),
            dwell_ns: Some(3),
            dry_run: true,
        }
    }

    #[test]
    fn event_is_the_same_after_writing_and_reading() {
        for event in [full(), FaceEvent { id: "x".into(), kind: "y".into(), ..Default::default() }]
        {
            assert_eq!(FaceEvent::from_json(&event.to_json()).unwrap(), event);
        }
    }

    #[test]
    fn written_form_is_the_documented_one() {
        let written = concat!(
            r#"{"schema":"face-event/1","id":"0b7e","kind":"identity-changed","#,
            r#""running_time_ns":40000000,"utc":"2026-01-02T03:04:05Z","camera":"door","#,
            r#""track_id":7,"person_id":"p-1","name":"Zoë \"Z\" 张","similarity":0.625,"#,
            r#""previous_person_id":"p-2","previous_name":"Bob","#,
            r#""top_k":[{"person_id":"p-1","name":"Zoë","similarity":0.625}],"#,
            r#""zone":"hall","dwell_ns":3,"dry_run":true}"#
        );
        assert_eq!(full().to_json(), written);
        let least = FaceEvent { id: "x".into(), kind: "y".into(), ..Default::default() };
        assert_eq!(least.to_json(), r#"{"schema":"face-event/1","id":"x","kind":"y"}"#);
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_formats_refused() {
        let more = r#"{"schema":"face-event/1","id":"x","kind":"new-kind","later":{"a":[1]}}"#;
        let event = FaceEvent::from_json(more).unwrap();
        assert_eq!((event.id.as_str(), event.kind.as_str()), ("x", "new-kind"));
        for schema in ["face-event/2", "face-event/0", "face-event/", "face-analysis/1", ""] {
            let text = format!(r#"{{"schema":"{schema}","id":"x","kind":"y"}}"#);
            let error = FaceEvent::from_json(&text).unwrap_err();
            assert!(error.to_string().contains(&format!("'{schema}'")), "{error}");
        }
        for text in ["", "[]x", r#"{"schema":"face-event/1"}"#] {
            assert!(matches!(FaceEvent::from_json(text), Err(EventError::Json(_))), "{text}");
        }
        for text in ["[]", "{}", r#"{"schema":1,"id":"x","kind":"y"}"#] {
            assert!(matches!(FaceEvent::from_json(text), Err(EventError::Schema { .. })), "{text}");
        }
    }
}
