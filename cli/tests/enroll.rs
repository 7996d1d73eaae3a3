//! `facectl enroll` on real pictures and on bad ones.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use face_core::gallery::Gallery;
use support::{Setup, keys};

#[test]
fn everybody_of_the_people_folder_is_enrolled_once() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.path("new/folder/g");
    let people = setup.media("people");
    let answer = setup.run(&["enroll", "--json", "--gallery", &gallery, &people]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let verdicts = answer.json();
    assert_eq!(verdicts.len(), 47);
    assert!(verdicts.iter().all(|v| v["verdict"] == "enrolled"), "{}", answer.stdout);
    assert!(verdicts.iter().all(|v| v["reason"].is_null() && v["person_id"].is_string()));
    let files: Vec<&str> = verdicts.iter().map(|v| v["file"].as_str().unwrap()).collect();
    assert!(files.is_sorted(), "{files:?}");
    assert_eq!(verdicts[0]["name"], "alex-lacamoire");
    for line in answer.stdout.lines() {
        assert_eq!(keys(line), ["file", "name", "verdict", "reason", "detail", "person_id"]);
    }
    assert!(answer.stderr.contains("47 of 47 pictures enrolled"), "{}", answer.stderr);

    let info = Gallery::inspect(&gallery).unwrap();
    assert_eq!((info.persons, info.samples, info.private), (12, 47, true));
    let mode = std::fs::metadata(&gallery).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Again, after an interruption say: nothing is stored twice.
    let again = setup.run(&["enroll", "--gallery", &gallery, &people]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.contains("0 of 47 pictures enrolled, 47 enrolled before"), "{again:?}");
    assert_eq!(again.stderr, "");
    assert_eq!(Gallery::inspect(&gallery).unwrap().samples, 47);
}

#[test]
fn picture_of_two_equally_large_faces_is_rejected_unless_the_largest_is_asked_for() {
    let Some(setup) = Setup::new() else { return };
    let (gallery, picture) = (setup.path("g"), setup.media("groups/two_people.jpg"));
    let arguments = ["enroll", "--json", "--gallery", &gallery, "--name", "somebody", &picture];
    let answer = setup.run(&arguments);
    assert_eq!(answer.code, 1, "{answer:?}");
    let verdict = &answer.json()[0];
    assert_eq!(
        (&verdict["verdict"], &verdict["reason"]),
        (&"rejected".into(), &"several-faces".into())
    );
    assert!(verdict["detail"].as_str().unwrap().contains("2 faces"), "{verdict}");

    let answer = setup.run(&[&arguments[..], &["--largest"]].concat());
    assert_eq!((answer.code, &answer.json()[0]["verdict"]), (0, &"enrolled".into()));
    // The larger of the two is Joe Biden.
    let picture = setup.media("people/joe-biden/1.jpg");
    let found = setup.run(&["recognize", "--json", "--gallery", &gallery, &picture]).json();
    assert_eq!(found[0]["faces"][0]["name"], "somebody");
}

#[test]
fn bad_files_cost_themselves_only_and_say_why() {
    let Some(setup) = Setup::new() else { return };
    let good = setup.media("people/barack-obama/1.jpg");
    let jpeg = std::fs::read(&good).unwrap();
    let person = setup.path("in/Ann Lee");
    std::fs::create_dir_all(&person).unwrap();
    let write =
        |name: &str, bytes: &[u8]| std::fs::write(format!("{person}/{name}"), bytes).unwrap();
    write("1-empty.jpg", b"");
    write("2-text.png", b"not a picture");
    write("3-cut.jpg", &jpeg[..200]);
    write("4-good.JPG", &jpeg);
    write("notes.txt", b"left out");
    write(".hidden.jpg", b"left out");
    write("5-blank.bmp", &blank_bmp(64, 64));
    let gallery = setup.path("g");
    let answer = setup.run(&["enroll", "--json", "--gallery", &gallery, &setup.path("in")]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let verdicts = answer.json();
    let reasons: Vec<_> = verdicts.iter().map(|v| v["reason"].as_str()).collect();
    let unreadable = Some("unreadable");
    assert_eq!(reasons, [unreadable, unreadable, unreadable, None, Some("no-face")]);
    for (verdict, part) in
        verdicts.iter().zip(["is an empty file", "is not a JPEG", "decode picture"])
    {
        assert!(verdict["detail"].as_str().unwrap().contains(part), "{verdict}");
    }
    let info = Gallery::inspect(&gallery).unwrap();
    assert_eq!((info.persons, info.samples), (1, 1));

    let missing = setup.path("nobody.jpg");
    let text = setup.run(&["enroll", "--gallery", &gallery, "--name", "x", &missing]);
    assert_eq!(text.code, 1, "{text:?}");
    assert!(text.stdout.contains("unreadable: read picture"), "{text:?}");
    assert!(text.stdout.contains("No such file"), "{text:?}");
}

/// A black picture, 24 bits per pixel; the width is a multiple of 4.
fn blank_bmp(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([1, 0, 24, 0]);
    file.resize(0x36 + (3 * width * height) as usize, 0);
    file
}

#[test]
fn face_too_small_to_stand_for_a_person_is_rejected() {
    let Some(setup) = Setup::new() else { return };
    let picture = image::open(setup.media("people/amy/1.png")).unwrap();
    let (tiny, gallery) = (setup.path("tiny.png"), setup.path("g"));
    picture.resize(60, 60, image::imageops::FilterType::Triangle).save(&tiny).unwrap();
    let answer = setup.run(&["enroll", "--json", "--gallery", &gallery, "--name", "x", &tiny]);
    assert_eq!((answer.code, &answer.json()[0]["reason"]), (1, &"small-face".into()));
    assert!(answer.stdout.contains("at least 48 are needed"), "{answer:?}");
}

#[test]
fn what_was_enrolled_before_an_interruption_stays() {
    let Some(setup) = Setup::new() else { return };
    let (gallery, people) = (setup.path("g"), setup.media("people"));
    let arguments = ["enroll", "--threads", "1", "--gallery", &gallery, &people];
    let mut child = setup.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen = lines.map_while(Result::ok).take(3).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen, 3);
    let stored = Gallery::inspect(&gallery).unwrap().samples;
    assert!((3..47).contains(&stored), "{stored}");
    let rest = setup.run(&arguments);
    assert_eq!(rest.code, 0, "{rest:?}");
    assert!(rest.stdout.contains(&format!("{stored} enrolled before")), "{rest:?}");
    assert_eq!(Gallery::inspect(&gallery).unwrap().samples, 47);
}

#[test]
fn names_of_every_script_survive_and_cannot_steer_the_terminal() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.path("g");
    let picture = setup.media("people/joe-biden/1.jpg");
    let name = "O'Brien \"the\" {s} 👩🏽‍🚀 عبد الله \u{202e}gnp";
    let answer = setup.run(&["enroll", "--json", "--gallery", &gallery, "--name", name, &picture]);
    assert_eq!((answer.code, &answer.json()[0]["name"]), (0, &name.into()), "{answer:?}");
    let found = setup.run(&["recognize", "--json", "--gallery", &gallery, &picture]);
    assert_eq!(found.json()[0]["faces"][0]["name"], name);
    let shown = setup.run(&["recognize", "--gallery", &gallery, &picture]);
    assert!(shown.stdout.contains(&name.replace('\u{202e}', "\u{fffd}")), "{shown:?}");

    let search = ["gallery", "search", "--gallery", &gallery, &picture];
    let found = setup.run(&[&search[..], &["--json"]].concat());
    assert_eq!(found.json()[0]["top"][0]["name"], name, "{found:?}");
    let shown = setup.run(&search);
    assert!(shown.stdout.contains(&name.replace('\u{202e}', "\u{fffd}")), "{shown:?}");

    for bad in ["", "  ", "a\nb", "a\u{1b}[2Jb", &"x".repeat(10_240), &"é".repeat(201)] {
        let answer = setup.run(&["enroll", "--gallery", &gallery, "--name", bad, &picture]);
        answer.is_error(2, &["person name"]);
        assert!(!answer.stderr.contains('\u{1b}') && answer.stderr.len() < 1_000, "{answer:?}");
    }
    assert_eq!(Gallery::inspect(&gallery).unwrap().persons, 1);
}

#[test]
fn wrong_arguments_say_what_is_expected() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.path("g");
    let (people, file) = (setup.media("people"), setup.media("people/amy/1.png"));
    let with = |rest: &[&str]| setup.run(&[&["enroll", "--gallery", &gallery], rest].concat());
    with(&[&file]).is_error(2, &[&file, "--name", "DIR/NAME/PICTURE"]);
    with(&["--name", "amy", &people]).is_error(2, &[&people, "leave --name away"]);
    let amy = setup.media("people/amy");
    with(&[&amy]).is_error(2, &[&amy, "one sub-folder per person"]);
    assert_eq!(with(&["--provider", "tpu", &people]).code, 2);
    assert_eq!(setup.run(&["enroll", "--gallery", &gallery]).code, 2);
    assert!(!std::path::Path::new(&gallery).exists());
}
