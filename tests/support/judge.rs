//! Another reader's judgement of JSON by our schemas (jsonschema of Python, from scripts/setup.sh --tests).

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

const JUDGE: &str = "import json, sys, jsonschema\n\
    schema, values = json.load(open(sys.argv[1])), json.load(sys.stdin)\n\
    kind = jsonschema.Draft202012Validator\n\
    kind.check_schema(schema)\n\
    errors = [next(kind(schema).iter_errors(value), None) for value in values]\n\
    print(json.dumps([error and error.message[:200] for error in errors]))";

/// Says of each value whether it is what the file `schema` describes: `None` or what is wrong.
/// `None` in all, and a word why, where nobody judges.
pub(crate) fn judged(schema: &str, values: &[Value]) -> Option<Vec<Option<String>>> {
    let python = std::env::var("GST_FACE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    };
    let present = ask(&["-c", "import jsonschema"]).and_then(|mut child| child.wait());
    if !present.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no jsonschema for '{python}' (GST_FACE_TEST_PYTHON)");
        return None;
    }
    let mut child = ask(&["-c", JUDGE, schema]).expect("Python starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(Value::from(values.to_vec()).to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).expect("it answers in JSON"))
}
