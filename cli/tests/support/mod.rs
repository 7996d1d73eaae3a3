//! What the tests of facectl share: the program with its environment, and the test media.

#![allow(dead_code, unreachable_pub)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use face_core::inference::{self, PoolOptions};
use serde_json::Value;
use tempfile::TempDir;

/// A place to run facectl in, with models, media and ONNX Runtime.
pub struct Setup {
    pub media: PathBuf,
    pub models: PathBuf,
    folder: TempDir,
}

impl Setup {
    /// `None` where something of it is missing; says so.
    pub fn new() -> Option<Setup> {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
        let models = std::env::var_os("GST_FACE_MODEL_PATH").map(PathBuf::from);
        let models = models.unwrap_or_else(|| shared.join("models"));
        let media = shared.join("media");
        if !media.is_dir() || !models.is_dir() {
            eprintln!("skipped: no ../shared/media or ../shared/models beside the repository");
            return None;
        }
        if let Err(error) = inference::runtime_path(&PoolOptions::default()) {
            eprintln!("skipped: {error}");
            return None;
        }
        Some(Setup { media, models, folder: tempfile::tempdir().unwrap() })
    }

    /// facectl with this environment; one thread, so that tests side by side stay quick.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_facectl"));
        command.args(arguments).env("GST_FACE_MODEL_PATH", &self.models);
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Answer {
        Answer::of(&self.command(arguments).output().unwrap())
    }

    /// A path in the folder of this test.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A file of the test media.
    pub fn media(&self, name: &str) -> String {
        self.media.join(name).to_str().unwrap().to_owned()
    }

    /// A gallery with everybody of people/.
    pub fn people(&self) -> String {
        let gallery = self.path("people.gallery");
        let answer = self.run(&["enroll", "--gallery", &gallery, &self.media("people")]);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        gallery
    }
}

/// What facectl said.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    pub fn of(output: &Output) -> Answer {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let code = output.status.code().expect("not killed");
        Answer { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Every line of standard output as JSON.
    pub fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The only line of standard error is this error.
    pub fn is_error(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.starts_with("facectl: error: "), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no '{part}' in {self:?}");
        }
    }
}

/// Keys of a JSON object in the order of the text; nested objects and arrays are passed over.
pub fn keys(object: &str) -> Vec<String> {
    let (mut keys, mut depth, mut text, mut quoted) = (Vec::new(), 0, String::new(), false);
    let mut last = String::new();
    for c in object.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                last = std::mem::take(&mut text);
            }
            _ if quoted => text.push(c),
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ':' if depth == 1 => keys.push(last.clone()),
            _ => {}
        }
    }
    keys
}
