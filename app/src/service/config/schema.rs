//! The configuration described for editors and other programs: a JSON Schema, made of the same keys
//! that a configuration is read by.

use serde_json::{Map, Value, json};

use super::build::TOP;
use super::draft::{CAN_BE_OFF, CAN_BE_ON};
use super::keys::{Key, Kind, Section, Sections};
use super::settings::is_live;
use super::unit;
use crate::AnalyzeError;

/// The schema. Every key of a configuration is in it, and no other.
///
/// # Errors
/// If an element of the plugin is missing.
pub fn schema() -> Result<Value, AnalyzeError> {
    let sections = Sections::new()?;
    let mut camera = Map::new();
    for section in sections.of_camera() {
        let schema = match section.name {
            "publish" => json!({
                "description": "Where events are told: a target each (false = nowhere)",
                "anyOf": [{"const": false}, {"type": "array", "items": object(section)}]
            }),
            "source" => json!({
                "description": about(section.name),
                "anyOf": [{"type": "string"}, object(section)]
            }),
            _ => optional(section),
        };
        camera.insert(section.name.to_owned(), schema);
    }
    camera.insert("zones".to_owned(), key(&sections.zones));
    let camera = closed(about("defaults"), camera);
    let mut top = Map::new();
    for name in TOP {
        let schema = match name {
            "version" => json!({"description": "Of the configuration", "const": 1}),
            "models" => object(&sections.models),
            "gallery" => key(&sections.gallery),
            "spool" => object(&sections.spool),
            "http" => json!({
                "description": "false: nowhere",
                "anyOf": [{"const": false}, object(&sections.http)]
            }),
            "rtsp" => object(&sections.rtsp),
            "defaults" => json!({"$ref": "#/$defs/camera"}),
            _ => json!({
                "description": "Names, and what each camera is",
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"$ref": "#/$defs/camera"}
            }),
        };
        top.insert(name.to_owned(), schema);
    }
    let mut root = closed("Configuration of facectl run", top);
    if let Value::Object(root) = &mut root {
        root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        root.insert("$defs".into(), json!({"camera": camera}));
        root.insert("required".into(), json!(["version", "cameras"]));
    }
    Ok(root)
}

/// One line of the tables in the documentation.
#[derive(Clone, Debug)]
pub struct Row {
    pub key: String,
    /// What is written there, in words.
    pub value: String,
    /// Empty: there is none.
    pub default: String,
    pub meaning: String,
    /// Can it change while the cameras play? Otherwise the camera is started again.
    pub live: bool,
}

/// The keys of a section, for the documentation; `None`: there is no such section.
///
/// # Errors
/// If an element of the plugin is missing.
pub fn rows(section: &str) -> Result<Option<Vec<Row>>, AnalyzeError> {
    let sections = Sections::new()?;
    let row = |key: &Key| Row {
        key: key.name.clone(),
        value: super::value::wanted(&key.kind),
        default: key.default.clone(),
        meaning: key.meaning.clone(),
        live: key.spec.as_ref().is_some_and(is_live),
    };
    let common = [&sections.models, &sections.spool, &sections.http, &sections.rtsp];
    let found = common.into_iter().chain(sections.of_camera()).find(|s| s.name == section);
    Ok(found.map(|section| section.keys.iter().map(row).collect()))
}

fn about(section: &str) -> &'static str {
    match section {
        "source" => "Which camera: its address, a device or a file, alone or with more",
        "detection" => "Finding faces: properties of onnxfacedetect",
        "tracking" => "Following faces: properties of facetrack",
        "recognition" => {
            "Who they are: properties of facerecognize (false = faces are followed only)"
        }
        "alerts" => "What there are alerts about: properties of facerecognize without alert-",
        "annotation" => "What is drawn into the output: properties of faceannotate",
        "clips" => "Clips of events: properties of clipsink (false = none)",
        "output" => "The stream served again by RTSP (false = not)",
        "models" => "Which models run, and where",
        "spool" => "Where clips and events wait",
        "defaults" => "What a camera is and what is done with its pictures",
        _ => "",
    }
}

fn closed(description: &str, properties: Map<String, Value>) -> Value {
    json!({
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": false
    })
}

fn object(section: &Section) -> Value {
    let keys = section.keys.iter().map(|k| (k.name.clone(), key(k))).collect();
    closed(about(section.name), keys)
}

fn optional(section: &Section) -> Value {
    let (off, on) = (CAN_BE_OFF.contains(&section.name), CAN_BE_ON.contains(&section.name));
    match (off, on) {
        (true, true) => json!({"anyOf": [{"type": "boolean"}, object(section)]}),
        (true, false) => json!({"anyOf": [{"const": false}, object(section)]}),
        _ => object(section),
    }
}

fn key(key: &Key) -> Value {
    let mut schema = of_kind(&key.kind);
    if let Value::Object(schema) = &mut schema {
        let default = match key.default.as_str() {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        schema.insert("description".into(), format!("{}{default}", key.meaning).into());
    }
    schema
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Whole { least, most } => whole(*least, *most),
        Kind::Real { least, most } => json!({"type": "number", "minimum": least, "maximum": most}),
        Kind::Time { .. } => {
            json!({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": unit::TIME_PATTERN}]})
        }
        Kind::Bytes { .. } => {
            json!({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": unit::SIZE_PATTERN}]})
        }
        Kind::Choice(known) => {
            // A number is one with and without quotation marks.
            let numbers = known.iter().filter_map(|name| name.parse::<u32>().ok());
            let all: Vec<Value> =
                known.iter().map(|n| json!(n)).chain(numbers.map(|n| json!(n))).collect();
            json!({"enum": all})
        }
        Kind::Choices(known) => json!({"type": "array", "minItems": 1, "items": {"enum": known}}),
        Kind::Text | Kind::Path | Kind::Address | Kind::Place => json!({"type": "string"}),
        Kind::Names => json!({"type": "array", "minItems": 1, "items": {"type": "string"}}),
        Kind::Rules => json!({"anyOf": [{"type": "string"}, {"type": "array", "items": rule()}]}),
        Kind::Zones => {
            json!({"type": "object", "additionalProperties": {"type": "string"}})
        }
    }
}

fn whole(least: i128, most: i128) -> Value {
    let mut schema = Map::from_iter([("type".to_owned(), json!("integer"))]);
    for (key, number) in [("minimum", least), ("maximum", most)] {
        // Beyond this there is no limit that anybody could meet.
        if let Some(number) = i64::try_from(number).ok().filter(|n| n.unsigned_abs() < 1 << 53) {
            schema.insert(key.to_owned(), number.into());
        }
    }
    Value::Object(schema)
}

/// A rule about alerts or about what is told.
fn rule() -> Value {
    let names = json!({"type": "array", "minItems": 1, "items": {"type": "string"}});
    let mut keys: Map<String, Value> = ["events", "persons", "groups", "zones"]
        .map(|key| (key.to_owned(), names.clone()))
        .into_iter()
        .collect();
    keys.insert("action".to_owned(), json!({"enum": ["alert", "ignore"]}));
    closed("All conditions must fit; the first rule that fits decides", keys)
}
