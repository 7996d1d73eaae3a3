//! The schema against the parser: another reader's judgement of the same files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::yaml::{self, Content, Node};
use super::{Config, schema};

#[path = "../../../../tests/support/judge.rs"]
mod judge;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema/face-config-1.schema.json");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn schema_in_the_documentation_is_that_of_the_code() {
    let written = format!("{:#}\n", schema().unwrap());
    if std::env::var_os("GST_FACE_UPDATE_DOCS").is_some() {
        fs::write(FILE, &written).unwrap();
    }
    let file = fs::read_to_string(FILE).unwrap_or_default();
    assert!(file == written, "{FILE} is another schema: run with GST_FACE_UPDATE_DOCS=1");
}

/// As readers of YAML see it that do not know the keys.
fn json(node: &Node) -> Value {
    match &node.content {
        Content::Null => Value::Null,
        Content::Scalar { text, quoted: true } => json!(text),
        Content::Scalar { text, .. } => match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
            _ => json!(text),
        },
        Content::List(items) => items.iter().map(json).collect(),
        Content::Map(entries) => {
            let entries = entries.iter().map(|entry| (entry.key.clone(), json(&entry.value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// A block of the documentation, which may be indented; a part of a camera is put into one.
fn whole(lines: &[&str]) -> String {
    let first = lines.first().copied().unwrap_or_default();
    let indent = first.len() - first.trim_start().len();
    let lines = lines.iter().map(|line| line.get(indent..).unwrap_or_default());
    if first.trim_start().starts_with("version:") {
        return lines.map(|line| format!("{line}\n")).collect();
    }
    let camera: String = lines.map(|line| format!("    {line}\n")).collect();
    let mut text = "version: 1\ncameras:\n  any:\n".to_owned();
    if !camera.contains("source:") {
        text.push_str("    source: x.mp4\n");
    }
    if camera.contains("zones: [door]") {
        text.push_str("    zones: {door: '0,0 1,0 1,1'}\n");
    }
    text + &camera
}

/// The configurations of the documentation.
fn documented() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let example = root().join("docs/config.yaml");
    texts.push((example.display().to_string(), fs::read_to_string(example).unwrap()));
    for page in ["README.md", "docs/service.md", "docs/integration.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for (nth, block) in text.split("```yaml\n").skip(1).enumerate() {
            let lines: Vec<&str> = block.lines().take_while(|l| l.trim() != "```").collect();
            texts.push((format!("{page}, block {}", nth + 1), whole(&lines)));
        }
    }
    texts
}

#[test]
fn documented_configurations_are_read_and_fit_the_schema() {
    let texts = documented();
    assert!(texts.len() > 4);
    for (name, text) in &texts {
        if let Err(error) = Config::parse(text, Path::new("/etc/faces")) {
            panic!("{name}: {error}\n{text}");
        }
    }
    let values: Vec<Value> = texts.iter().map(|(_, t)| json(&yaml::parse(t).unwrap())).collect();
    let Some(errors) = judge::judged(FILE, &values) else { return };
    for ((name, text), error) in texts.iter().zip(errors) {
        assert_eq!(error, None, "{name}\n{text}");
    }
}

#[test]
fn what_the_parser_refuses_by_its_form_the_schema_refuses() {
    let camera = |value: Value| json!({"version": 1, "cameras": {"a": value}});
    let wrong = [
        json!({"cameras": {"a": {"source": "x"}}}),
        json!({"version": 2, "cameras": {"a": {"source": "x"}}}),
        json!({"version": 1, "cameras": {}}),
        json!({"version": 1, "cameras": {"a": {"source": "x"}}, "camera": {}}),
        json!({"version": 1, "models": {"provider": "gpu"}, "cameras": {"a": {"source": "x"}}}),
        camera(json!({"source": "x", "zonse": {}})),
        camera(json!({"source": "x", "detection": {"score-threshold": 1.5}})),
        camera(json!({"source": "x", "tracking": {"scene-cut": "yes"}})),
        camera(json!({"source": "x", "tracking": {"max-lost-time": "2 parsecs"}})),
        camera(json!({"source": "x", "recognition": true})),
        camera(json!({"source": "x", "alerts": {"rules": [{"zone": ["a"]}]}})),
        camera(json!({"source": "x", "clips": {"storage": "y", "triggers": ["somebody"]}})),
        camera(json!({"source": "x", "publish": [{"target": "y", "spool": "z"}]})),
        camera(json!({"source": "x", "output": {"bitrate": -1}})),
    ];
    for value in &wrong {
        let text = value.to_string();
        assert!(Config::parse(&text, Path::new("/etc/faces")).is_err(), "{text}");
    }
    let Some(errors) = judge::judged(FILE, &wrong) else { return };
    for (value, error) in wrong.iter().zip(errors) {
        assert!(error.is_some(), "{value}");
    }
}
