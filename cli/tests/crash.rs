//! facectl is killed at random moments: the gallery opens, every acknowledged enrolment is there, and
//! nothing half-done is.
//!
//! `GST_FACE_CRASH_KILLS=1000` kills that often, 300 times while people are enrolled; 60 by default. A run with the same number kills at
//! the same places of its plan; where the process is then, is up to the machine.

mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use face_core::gallery::{Access, Gallery, Roster, backup};
use support::Setup;
use tiny::{Numbers, data};

/// Samples by the name of their person and the picture they come from.
type Contents = BTreeSet<(String, String)>;

/// Pictures that one enrolment is given.
const PICTURES: usize = 6;

struct Scene<'a> {
    setup: &'a Setup,
    gallery: String,
    embedders: [String; 2],
    numbers: Numbers,
    pictures: Vec<String>,
    /// What is in the gallery.
    contents: Contents,
    enrolments: usize,
    acknowledged: usize,
    forgotten: usize,
}

fn contents(gallery: &str) -> Contents {
    let roster = Roster::open(gallery, Access::Read).unwrap();
    let mut contents = Contents::new();
    for person in roster.persons().unwrap() {
        let samples = roster.samples(&person.id).unwrap();
        assert!(!samples.is_empty(), "half an enrolment: {} has no sample", person.name);
        for sample in samples {
            let pictures = sample.crop && sample.loose;
            assert!(pictures, "half an enrolment: {} has no picture", sample.source);
            contents.insert((person.name.clone(), sample.source));
        }
    }
    contents
}

impl Scene<'_> {
    /// Runs a command, kills it at some moment before `longest`, or lets it end before that. Gives
    /// the lines that it printed, and whether it ended by itself, and well.
    fn kill<S: AsRef<str>>(&mut self, arguments: &[S], longest: Duration) -> (Vec<String>, bool) {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let moment = longest.mul_f64(self.numbers.below(1000) as f64 / 1000.0);
        let mut command = self.setup.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (lines, ended) = mpsc::channel();
        let reader = std::thread::Builder::new()
            .name("lines".into())
            .spawn(move || {
                // A line without an end was not printed.
                let mut whole = Vec::new();
                let mut stdout = stdout;
                let mut line = String::new();
                while stdout.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
                    whole.push(std::mem::take(&mut line));
                }
                // Nobody waits any more after a kill.
                let _ = lines.send(());
                whole
            })
            .unwrap();
        // The end of its output, or the moment.
        let by_itself = ended.recv_timeout(moment).is_ok();
        if !by_itself {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        (reader.join().unwrap(), by_itself && status.success())
    }

    /// The gallery is whole: its structure, and every embedding by its checksum.
    fn check(&self) -> Contents {
        Gallery::inspect(&self.gallery).unwrap();
        let copy = self.setup.path("check");
        backup::create(&self.gallery, copy.as_ref(), true).unwrap();
        contents(&self.gallery)
    }

    fn embedder(&self) -> String {
        let model = Gallery::inspect(&self.gallery).unwrap().model;
        let file = format!("{model}.onnx");
        self.embedders.iter().find(|e| e.ends_with(&file)).unwrap().clone()
    }

    fn enrol(&mut self, longest: Duration) {
        // None is part of another one: what is forgotten is looked for.
        let name = format!("enrolled {:06}", self.enrolments);
        self.enrolments += 1;
        let mut arguments = tiny::enroll(&self.gallery, &self.embedder(), &name);
        arguments.extend(self.pictures.iter().cloned());
        let (lines, _) = self.kill(&arguments, longest);
        let now = self.check();
        for line in &lines {
            let verdict: serde_json::Value = serde_json::from_str(line).unwrap();
            if verdict["verdict"] == "enrolled" {
                self.acknowledged += 1;
                let file = verdict["file"].as_str().unwrap().to_owned();
                assert!(now.contains(&(name.clone(), file)), "acknowledged and gone: {line}");
            }
        }
        assert!(self.contents.is_subset(&now), "an earlier enrolment is gone");
        let others = now.iter().filter(|(n, _)| *n != name).count();
        assert_eq!(others, self.contents.len());
        self.contents = now;
    }

    fn back_up(&mut self, longest: Duration) {
        let file = self.setup.path("backup");
        let before = std::fs::read(&file).ok();
        let arguments = ["gallery", "backup", "--yes", "-g", &self.gallery.clone(), &file];
        let (_, done) = self.kill(&arguments, longest);
        assert_eq!(self.check(), self.contents);
        let after = std::fs::read(&file).ok();
        if after != before || done {
            let manifest = backup::verify(file.as_ref()).unwrap();
            assert_eq!(manifest.samples, self.contents.len() as u64);
        }
    }

    /// Puts back an earlier state, all of it or nothing.
    fn restore(&mut self, longest: Duration) {
        let file = self.setup.path("earlier");
        let other = self.setup.path("earlier.gallery");
        let arguments = ["gallery", "restore", "--yes", &file, "-g", &self.gallery.clone()];
        let (_, done) = self.kill(&arguments, longest);
        let (now, earlier) = (self.check(), contents(&other));
        assert!(now == earlier || (now == self.contents && !done), "half a restore");
        self.contents = now;
    }

    /// Takes in people of a file, all or none.
    fn import(&mut self, longest: Duration) {
        let file = self.setup.path("others.jsonl");
        let others = contents(&self.setup.path("others.gallery"));
        let embedder = self.embedder();
        let gallery = self.gallery.clone();
        let arguments = [
            "gallery",
            "import",
            "--threads",
            "1",
            "--on-clash",
            "merge",
            "--embedder",
            &embedder,
            &file,
            "--gallery",
            &gallery,
        ];
        let (_, done) = self.kill(&arguments, longest);
        let now = self.check();
        let all: Contents = self.contents.union(&others).cloned().collect();
        assert!(now == all || (now == self.contents && !done), "half an import");
        self.contents = now;
    }

    /// Makes one person of two; nobody is without samples meanwhile.
    fn merge(&mut self, longest: Duration) {
        let names: BTreeSet<String> = self.contents.iter().map(|(name, _)| name.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        if names.len() < 2 {
            return;
        }
        let from = names[self.numbers.below(names.len() - 1)].clone();
        let into = names[names.len() - 1].clone();
        let gallery = self.gallery.clone();
        let arguments = ["gallery", "merge", "--yes", "--gallery", &gallery, &from, &into];
        let (_, done) = self.kill(&arguments, longest);
        let now = self.check();
        let moved = |(name, source): &(String, String)| {
            (if *name == from { into.clone() } else { name.clone() }, source.clone())
        };
        let merged: Contents = self.contents.iter().map(moved).collect();
        assert!(now == merged || (now == self.contents && !done), "half a merge");
        self.contents = now;
    }

    /// Erases a person, all of them or nothing; what is left undone is done by another run.
    fn forget(&mut self, longest: Duration) {
        let names: BTreeSet<String> = self.contents.iter().map(|(name, _)| name.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        if names.len() < 3 {
            return;
        }
        let name = names[self.numbers.below(names.len())].clone();
        let gallery = self.gallery.clone();
        // The galleries before a migration hold the person, too; forget would name them.
        for model in ["embedder", "embedder_coarse"] {
            let before = face_core::gallery::migrate::before(Path::new(&gallery), model);
            let _ = std::fs::remove_file(before);
        }
        let (_, done) =
            self.kill(&["gallery", "forget", "--yes", "--gallery", &gallery, &name], longest);
        let now = self.check();
        let without: Contents = self.contents.iter().filter(|(n, _)| *n != name).cloned().collect();
        assert!(now == without || (now == self.contents && !done), "half a person is forgotten");
        if now == without {
            // Without a name it ends what others began.
            if !done {
                let rest = self.setup.run(&["gallery", "forget", "--yes", "--gallery", &gallery]);
                assert_eq!(rest.code, 0, "{rest:?}");
            }
            assert_eq!(
                Roster::open(gallery.as_str(), Access::Read).unwrap().unfinished().unwrap(),
                0
            );
            for file in [gallery.clone(), format!("{gallery}-wal")] {
                let bytes = std::fs::read(&file).unwrap_or_default();
                let found = bytes.windows(name.len()).any(|w| w == name.as_bytes());
                assert!(!found, "'{name}' is still in {file}");
            }
            self.forgotten += 1;
        }
        self.contents = now;
    }

    /// Goes to the other embedder.
    fn migrate(&mut self, longest: Duration) {
        let from = self.embedder();
        let to = self.embedders.iter().find(|e| **e != from).unwrap().clone();
        let gallery = self.gallery.clone();
        let arguments =
            ["gallery", "migrate", "--threads", "1", "--yes", "--model", &to, "-g", &gallery];
        let (_, done) = self.kill(&arguments, longest);
        assert_eq!(self.check(), self.contents);
        assert!(!done || self.embedder() == to);
        if self.embedder() == to {
            // The way back was on the disk before.
            let model = Gallery::inspect(&gallery).unwrap().model;
            let before = face_core::gallery::migrate::before(Path::new(&gallery), &model);
            backup::verify(&before).unwrap();
        }
    }
}

fn kills() -> usize {
    match std::env::var("GST_FACE_CRASH_KILLS") {
        Ok(text) => text.parse().expect("GST_FACE_CRASH_KILLS is a number"),
        Err(_) => 60,
    }
}

#[test]
fn killed_process_loses_nothing_acknowledged_and_leaves_nothing_half_done() {
    let Some(setup) = Setup::new() else { return };
    let embedders = [data("embedder.onnx"), data("embedder_coarse.onnx")];
    let pictures: Vec<String> =
        (0..PICTURES).map(|i| setup.path(&format!("picture-{i}.bmp"))).collect();
    for (path, seed) in pictures.iter().zip(1..) {
        tiny::picture(path, seed);
    }
    let others = tiny::gallery(&setup, "others.gallery", &embedders[0], 3);
    let earlier = tiny::gallery(&setup, "earlier.gallery", &embedders[0], 2);
    let gallery = tiny::gallery(&setup, "gallery", &embedders[0], 1);
    for arguments in [
        ["gallery", "export", "-g", &others, &setup.path("others.jsonl")],
        ["gallery", "backup", "-g", &earlier, &setup.path("earlier")],
    ] {
        let answer = setup.run(&arguments);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    // How long a whole enrolment takes here; the others take about as long or less.
    let started = Instant::now();
    let mut arguments = tiny::enroll(&setup.path("timed.gallery"), &embedders[0], "timed");
    arguments.extend(pictures.iter().cloned());
    assert_eq!(setup.run(&arguments).code, 0);
    let longest = started.elapsed();

    let mut scene = Scene {
        setup: &setup,
        contents: contents(&gallery),
        gallery,
        embedders,
        numbers: Numbers(20_261_122),
        pictures,
        enrolments: 0,
        acknowledged: 0,
        forgotten: 0,
    };
    for _ in 0..kills() {
        match scene.numbers.below(10) {
            0..=2 => scene.enrol(longest.mul_f64(1.1)),
            3 => scene.back_up(longest / 2),
            4 => scene.restore(longest / 2),
            5 => scene.import(longest),
            6 => scene.merge(longest / 2),
            7 => scene.forget(longest / 2),
            _ => scene.migrate(longest),
        }
    }
    assert!(scene.acknowledged > 0, "no enrolment got anywhere");
    let Scene { acknowledged, enrolments, forgotten, .. } = scene;
    eprintln!(
        "{} kills: {acknowledged} pictures acknowledged in {enrolments} enrolments, {forgotten} \
         people forgotten",
        kills()
    );
}
