//! What the documentation says is so: every shell example runs, tables are those of the code, links
//! lead somewhere.
//!
//! `GST_FACE_UPDATE_DOCS=1 cargo nextest run -p facectl --test docs tables` rewrites the tables.

#[path = "examples/blocks.rs"]
mod blocks;
mod examples;
#[path = "examples/tables.rs"]
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use blocks::Example;
use examples::{RtspCamera, Scene, root, search_variables, text};
use gst::prelude::*;

/// README.md and the other pages at the top, and docs/*.md.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = [root().to_owned(), root().join("docs")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    pages.sort();
    assert!(pages.len() >= 4, "{pages:?}");
    pages
}

/// The elements' sources with doc comments.
fn element_sources() -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(root().join("plugins/src")).unwrap() {
        let folder = entry.unwrap().path();
        let files = ["imp.rs", "mod.rs"].map(|name| folder.join(name));
        sources.extend(files.into_iter().filter(|file| file.is_file()));
    }
    sources.sort();
    sources
}

fn examples_of(path: &Path) -> Vec<Example> {
    let text = fs::read_to_string(path).unwrap();
    let rust = path.extension().is_some_and(|ending| ending == "rs");
    let examples = if rust { blocks::of_rust(&text) } else { blocks::of_markdown(&text) };
    examples.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs the examples of some files in their order, in one folder per file. A file that does not
/// show how people are enrolled finds somebody enrolled.
fn run_all(paths: &[PathBuf]) {
    let mut failures = Vec::new();
    let mut ran = 0;
    for path in paths {
        let examples = examples_of(path);
        if examples.is_empty() {
            continue;
        }
        let Some(scene) = Scene::new() else { return };
        let first = examples.iter().find(|e| e.commands.contains("people.gallery"));
        if scene.real && first.is_some_and(|e| !e.commands.contains("enrol")) {
            scene.run("facectl enroll --gallery people.gallery --name somebody photo.jpg");
        }
        let live = examples.iter().any(|e| e.not_run.is_none() && e.commands.contains("rtsp://"));
        let clip = scene.path().join("clip.mp4");
        let camera = if live { RtspCamera::serve(&clip) } else { None };
        for example in examples {
            let place = format!("{}:{}", path.display(), example.line);
            let people = ["people", "photo", "group"].iter().any(|w| example.commands.contains(w));
            if let Some(reason) = &example.not_run {
                eprintln!("{place}: not run: {reason}");
            } else if people && !scene.real {
                eprintln!("skipped: {place}: no photos of people");
            } else if example.commands.contains("rtsp://") && camera.is_none() {
                eprintln!("skipped: {place}: no RTSP server");
            } else {
                let address = camera.as_ref().map_or("", |camera| &camera.address);
                let commands = blocks::headless(&example.commands, root(), address);
                // The live parts of scripts.
                let output = scene
                    .command(&commands)
                    .env("SINK", "fakesink")
                    .env("SOURCE", "videotestsrc is-live=true num-buffers=15")
                    .output()
                    .unwrap();
                ran += 1;
                if !output.status.success() {
                    failures.push(format!("{place}\n{commands}\n{}", text(&output)));
                }
            }
        }
    }
    assert!(ran > 0, "no example ran");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn real_examples_of_the_pages_run() {
    run_all(&pages());
}

#[test]
fn real_examples_of_the_elements_run() {
    let sources = element_sources();
    for element in
        ["facedetect", "facetrack", "facerecognize", "faceannotate", "clipsink", "facepublish"]
    {
        let folder = root().join("plugins/src").join(element);
        let of_element = sources.iter().filter(|path| path.starts_with(&folder));
        let examples: usize = of_element.map(|path| examples_of(path).len()).sum();
        assert!(examples > 0, "{element} has no example in its documentation");
    }
    run_all(&sources);
}

/// In a fresh registry the facedetect of OpenCV's plugin wins.
#[test]
fn examples_use_the_name_that_nobody_else_has() {
    for path in pages().into_iter().chain(element_sources()) {
        for example in examples_of(&path) {
            let pipeline = example.commands.contains("gst-launch-1.0");
            let words = example.commands.split_whitespace();
            for word in words.filter(|_| pipeline) {
                assert_ne!(word, "facedetect", "{}:{}", path.display(), example.line);
            }
        }
    }
}

/// As a user has it after scripts/setup.sh: models and face.toml in the home folder, nothing in the
/// environment but GST_PLUGIN_PATH, and GStreamer has seen none of its plugins yet.
#[test]
fn real_first_pipeline_needs_the_plugin_path_alone() {
    use face_core::inference::{PoolOptions, runtime_path};
    use face_core::model::{DEFAULT_DETECTOR, Task};

    let Some(scene) = Scene::new() else { return };
    let home = scene.path().join("home");
    let data = home.join(".local/share/gst-face");
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(home.join(".config/gst-face")).unwrap();
    let detector = examples::models().resolve(DEFAULT_DETECTOR, Task::Detector).unwrap();
    std::os::unix::fs::symlink(detector.path.parent().unwrap(), data.join("models")).unwrap();
    let runtime = runtime_path(&PoolOptions::default()).unwrap();
    let settings = format!("runtime-library = {:?}\n", runtime.to_str().unwrap());
    fs::write(home.join(".config/gst-face/face.toml"), settings).unwrap();

    let first = examples_of(&root().join("README.md"))
        .into_iter()
        .find(|e| e.not_run.is_none() && e.commands.starts_with("gst-launch-1.0"))
        .expect("README.md has a pipeline");
    let mut command = scene.command(&blocks::headless(&first.commands, root(), ""));
    for variable in search_variables() {
        command.env_remove(variable);
    }
    command.env("HOME", &home).env("GST_REGISTRY", scene.path().join("registry.bin"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}\n{}", first.commands, text(&output));
    if gst::init().is_ok() && gst::Registry::get().find_plugin("opencv").is_none() {
        eprintln!(
            "not shown: that OpenCV's facedetect does not get in the way (gstreamer1.0-opencv)"
        );
    }
}

#[test]
fn tables_are_those_of_the_code() {
    gst::init().unwrap();
    gstface::plugin_register_static().unwrap();
    for path in pages() {
        let document = fs::read_to_string(&path).unwrap();
        let expected = tables::with_tables(&document);
        if document == expected {
            continue;
        }
        if std::env::var_os("GST_FACE_UPDATE_DOCS").is_some() {
            fs::write(&path, expected).unwrap();
        } else {
            panic!("{} has other tables: run with GST_FACE_UPDATE_DOCS=1", path.display());
        }
    }
    let elements = fs::read_to_string(root().join("docs/elements.md")).unwrap();
    let plugin = gst::Registry::get().find_plugin("face").unwrap();
    for feature in gst::Registry::get().features_by_plugin(&plugin.plugin_name()) {
        // Another name of onnxfacedetect.
        let mark = format!("<!-- properties {} -->", feature.name());
        assert!(feature.name() == "facedetect" || elements.contains(&mark), "no {mark}");
    }
}

/// Links to files of the repository.
#[test]
fn links_lead_somewhere() {
    for path in pages() {
        let document = fs::read_to_string(&path).unwrap();
        for (start, _) in document.match_indices("](") {
            let target = &document[start + 2..];
            let target = &target[..target.find(')').unwrap()];
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if file.contains("://") {
                continue;
            }
            let linked =
                if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(linked.exists(), "{}: {target}", path.display());
            if !anchor.is_empty() {
                let linked = fs::read_to_string(&linked).unwrap();
                let found = linked.lines().any(|l| l.starts_with('#') && slug(l) == anchor);
                assert!(found, "{}: {target}", path.display());
            }
        }
    }
}

/// The anchor that GitHub gives a heading.
fn slug(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let text: String = heading.trim_start_matches('#').trim().chars().filter(kept).collect();
    text.to_lowercase().replace(' ', "-")
}
