//! `facectl gallery backup`, `restore`, `export`, `import` and `migrate`.

mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::os::unix::fs::PermissionsExt;

use face_core::gallery::Gallery;
use support::Setup;
use tiny::data;

fn counts(gallery: &str) -> (String, u64, u64) {
    let info = Gallery::inspect(gallery).unwrap();
    (info.model, info.persons, info.samples)
}

#[test]
fn backup_is_restored_and_nothing_is_overwritten_unasked() {
    let Some(setup) = Setup::new() else { return };
    let embedder = data("embedder.onnx");
    let gallery = tiny::gallery(&setup, "g", &embedder, 3);
    let backup = setup.path("b");
    let answer = setup.run(&["gallery", "backup", "--json", "--gallery", &gallery, &backup]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let manifest = &answer.json()[0];
    assert_eq!((&manifest["persons"], &manifest["samples"]), (&3.into(), &3.into()));
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let again = setup.run(&["gallery", "backup", "--gallery", &gallery, &backup]);
    again.is_error(2, &["replace", "--yes"]);
    assert_eq!(setup.run(&["gallery", "backup", "--yes", "--gallery", &gallery, &backup]).code, 0);

    let more = setup.path("more.bmp");
    tiny::picture(&more, 77);
    let mut arguments = tiny::enroll(&gallery, &embedder, "late");
    arguments.push(more);
    assert_eq!(setup.run(&arguments).code, 0);
    let refused = setup.run(&["gallery", "restore", &backup, "--gallery", &gallery]);
    refused.is_error(2, &["4 people with 4 samples", "3 people with 3 samples", "--yes"]);
    assert_eq!(counts(&gallery).1, 4);
    let answer = setup.run(&["gallery", "restore", "--yes", &backup, "--gallery", &gallery]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.contains("3 people with 3 samples restored"), "{answer:?}");
    assert_eq!(counts(&gallery).1, 3);

    let mut bytes = std::fs::read(&backup).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&backup, bytes).unwrap();
    let other = setup.path("other");
    let damaged = setup.run(&["gallery", "restore", "--yes", &backup, "--gallery", &other]);
    damaged.is_error(2, &["wrong checksum"]);
    assert!(!std::path::Path::new(&other).exists());
    let nothing = setup.run(&["gallery", "backup", "--gallery", &other, &setup.path("x")]);
    nothing.is_error(2, &["no such file"]);
}

#[test]
fn export_goes_into_a_gallery_of_another_embedder() {
    let Some(setup) = Setup::new() else { return };
    let (fine, coarse) = (data("embedder.onnx"), data("embedder_coarse.onnx"));
    let gallery = tiny::gallery(&setup, "g", &fine, 2);
    let file = setup.path("people.jsonl");
    let answer = setup.run(&["gallery", "export", "--gallery", &gallery, &file]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let one = setup.path("one.jsonl");
    let arguments =
        ["gallery", "export", "--json", "--person", "person 1", "--gallery", &gallery, &one];
    let answer = setup.run(&arguments);
    assert_eq!((answer.code, &answer.json()[0]["persons"]), (0, &1.into()), "{answer:?}");

    let copy = setup.path("copy");
    assert_eq!(setup.run(&["gallery", "import", &file, "--gallery", &copy]).code, 0);
    assert_eq!(counts(&copy), ("embedder".into(), 2, 2));
    let clash = setup.run(&["gallery", "import", &one, "--gallery", &copy]);
    clash.is_error(2, &["1 of its people", "\"person 1\"", "merged"]);
    let merged = setup.run(&[
        "gallery",
        "import",
        "--json",
        "--on-clash",
        "merge",
        &file,
        "--gallery",
        &copy,
    ]);
    let told = &merged.json()[0];
    assert_eq!((&told["merged"], &told["duplicates"]), (&2.into(), &2.into()), "{merged:?}");

    let other = setup.path("other");
    let arguments = [
        "gallery",
        "import",
        "--embedder",
        &coarse,
        "--provider",
        "cpu",
        &file,
        "--gallery",
        &other,
    ];
    let answer = setup.run(&arguments);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(counts(&other), ("embedder_coarse".into(), 2, 2));
    // The same people by another model, and nothing is taken for new.
    let answer = setup.run(&[&arguments[..], &["--on-clash", "skip"]].concat());
    assert!(answer.stdout.contains("2 people skipped"), "{answer:?}");
}

#[test]
fn migration_tells_what_is_lost_and_can_be_rolled_back() {
    let Some(setup) = Setup::new() else { return };
    let (fine, coarse) = (data("embedder.onnx"), data("embedder_coarse.onnx"));
    let gallery = tiny::gallery(&setup, "g", &fine, 3);
    // One whose picture was not stored.
    {
        use face_core::embed::Embedding;
        use face_core::gallery::{Access, NewSample};
        let setup_space = face_core::gallery::transfer::space_of;
        let file = setup.path("space.jsonl");
        assert_eq!(setup.run(&["gallery", "export", "--gallery", &gallery, &file]).code, 0);
        let space = setup_space(file.as_ref()).unwrap();
        let gallery = Gallery::open(&gallery, &space, Access::Write).unwrap();
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let sample = NewSample::new(Embedding::new(&values).unwrap(), "");
        gallery.enroll("without", &[sample]).unwrap();
    }
    let migrate =
        ["gallery", "migrate", "--threads", "1", "--model", &coarse, "--gallery", &gallery];
    let asked = setup.run(&migrate);
    assert_eq!(asked.code, 2, "{asked:?}");
    for part in [
        "3 samples of 4 can go from 'embedder' to 'embedder_coarse'",
        "lost: 1 sample without a stored picture",
        "no sample left: without",
        "--yes",
    ] {
        assert!(asked.stderr.contains(part), "no '{part}' in {asked:?}");
    }
    assert_eq!(counts(&gallery), ("embedder".into(), 4, 4));
    let answer = setup.run(&[&migrate[..], &["--yes"]].concat());
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(counts(&gallery), ("embedder_coarse".into(), 4, 3));
    let already = setup.run(&migrate);
    assert_eq!(already.code, 0, "{already:?}");
    assert!(already.stderr.contains("already"), "{already:?}");
    // Recognised in the new space.
    let detector = data("two_faces.onnx");
    let picture = setup.path("g-1.bmp");
    let found = setup.run(&[
        "recognize",
        "--json",
        "--gallery",
        &gallery,
        "--detector",
        &detector,
        "--embedder",
        &coarse,
        &picture,
    ]);
    let faces = &found.json()[0]["faces"];
    assert_eq!(faces[0]["name"], "person 1", "{found:?}");

    let back = ["gallery", "migrate", "--rollback", "--gallery", &gallery];
    setup.run(&back).is_error(2, &["bring", "'embedder'", "--yes"]);
    let answer = setup.run(&[&back[..], &["--yes"]].concat());
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(counts(&gallery), ("embedder".into(), 4, 4));
    setup.run(&[&back[..], &["--yes"]].concat()).is_error(2, &["there is no"]);
    // Nothing says what to do.
    assert_eq!(setup.run(&["gallery", "migrate", "--gallery", &gallery]).code, 2);
}

#[test]
fn real_people_are_known_again_after_restore_and_import() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.people();
    let (backup, export) = (setup.path("b"), setup.path("e"));
    let (restored, imported) = (setup.path("restored"), setup.path("imported"));
    for arguments in [
        ["gallery", "backup", "--gallery", &gallery, &backup],
        ["gallery", "restore", &backup, "--gallery", &restored],
        ["gallery", "export", "--gallery", &gallery, &export],
        ["gallery", "import", &export, "--gallery", &imported],
    ] {
        let answer = setup.run(&arguments);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    let picture = setup.media("groups/two_people.jpg");
    let who = |gallery: &str| setup.run(&["recognize", "--json", "--gallery", gallery, &picture]);
    let expected = who(&gallery);
    assert_eq!(expected.code, 0, "{expected:?}");
    assert_eq!(who(&restored).stdout, expected.stdout);
    assert_eq!(who(&imported).stdout, expected.stdout);
}
