//! The programs of examples/ do what they say: built as a user builds them, on a real clip.

mod examples;

use std::path::Path;

use examples::{Scene, root, text};

/// A clip with people and their gallery. `None`, and a word why, without.
fn scene() -> Option<Scene> {
    let scene = Scene::with_people()?;
    scene.run("facectl enroll --gallery people.gallery people");
    Some(scene)
}

fn example(name: &str) -> String {
    format!("'{}'", root().join("examples").join(name).display())
}

/// What all three print of the clip, and what they say of a gallery that is not there.
fn check(scene: &Scene, command: &str) {
    let said = scene.run(&format!("{command} party.mp4 people.gallery"));
    assert!(said.contains(": lin-manuel-miranda\n"), "{said}");
    assert!(said.contains("alert: known-face lin-manuel-miranda"), "{said}");
    assert!(!said.contains("joe-biden"), "he is enrolled, and not in the clip\n{said}");
    for wrong in ["party.mp4 nowhere.gallery", "nowhere.mp4 people.gallery", ""] {
        let output = scene.bash(&format!("{command} {wrong}"));
        assert!(!output.status.success(), "{command} {wrong}: {}", text(&output));
        assert!(!output.stderr.is_empty(), "{command} {wrong}: it says why");
    }
}

#[test]
fn real_c_program_reads_names() {
    let Some(scene) = scene() else { return };
    if !scene.bash("gcc --version && pkg-config --exists gstreamer-1.0").status.success() {
        eprintln!("skipped: no gcc, or no pkg-config for gstreamer-1.0");
        return;
    }
    scene.run(&format!(
        "gcc -Wall -Wextra -Wno-unused-parameter -Werror {} -o names \
         $(pkg-config --cflags --libs gstreamer-1.0)",
        example("names.c")
    ));
    check(&scene, "./names");
}

#[test]
fn real_python_program_reads_names_and_enrols() {
    let Some(scene) = scene() else { return };
    let python = "/usr/bin/python3";
    if !scene.bash(&format!("{python} -c 'import gi'")).status.success() {
        eprintln!("skipped: no PyGObject for {python}");
        return;
    }
    let command = format!("{python} -B {}", example("names.py"));
    check(&scene, &command);
    // Of two people who face the camera, and whom nobody knows.
    let said = scene.run(&format!("{command} clip.mp4 people.gallery --enrol 'Somebody New'"));
    assert!(said.contains("as Somebody New"), "{said}");
    let list = scene.run("facectl gallery list --gallery people.gallery");
    assert!(list.contains("Somebody New"), "{list}");
}

#[test]
fn real_rust_program_reads_names() {
    let Some(scene) = scene() else { return };
    // Cargo builds examples with the tests, beside them.
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap().join("examples/names");
    assert!(built.exists(), "{}", built.display());
    check(&scene, &format!("'{}'", built.display()));
    let said = scene.run(&format!("'{}' party.mp4 people.gallery", built.display()));
    let taken = said.lines().find_map(|line| line.strip_suffix(" pictures with faces taken"));
    assert!(taken.is_some_and(|count| count.parse::<u32>().unwrap() > 0), "{said}");
}
