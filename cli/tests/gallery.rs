//! `facectl gallery` on made-up people, and its search on real ones.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use face_core::embed::{Embedding, Fingerprint};
use face_core::gallery::{Access, Gallery, NewSample, Roster};
use support::{Answer, Setup, keys};

/// A gallery of no model's people.
struct Scene {
    folder: tempfile::TempDir,
    gallery: Gallery,
}

fn embedding(seed: u32) -> Embedding {
    Embedding::new(&std::array::from_fn::<f32, 32, _>(|i| {
        ((seed * 37 + 11) as f32 * (i as f32 + 0.7)).sin()
    }))
    .unwrap()
}

fn sample(seed: u32) -> NewSample {
    NewSample {
        crop_png: Some(embedding(seed + 500).to_bytes()),
        ..NewSample::new(embedding(seed), format!("{seed}.jpg"))
    }
}

/// Names that must come through whole, however odd.
const ODD: [&str; 5] =
    ["O'Brien \"the\" {s}", "👩🏽‍🚀", "عبد الله \u{202e}gnp", "'; DROP TABLE persons; --", "-x 王小明"];

impl Scene {
    /// Ann with the samples 1 to 3, Bob with sample 4.
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let fingerprint = Fingerprint {
            model: "net".into(),
            alignment: "arcface-112".into(),
            probe: embedding(0),
        };
        let path = folder.path().join("g");
        let gallery = Gallery::open(&path, &fingerprint, Access::Create).unwrap();
        gallery.enroll("Ann", &[sample(1), sample(2), sample(3)]).unwrap();
        gallery.enroll("Bob", &[sample(4)]).unwrap();
        Scene { folder, gallery }
    }

    fn path(&self) -> &Path {
        self.gallery.location().file().unwrap()
    }

    fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut facectl = Command::new(env!("CARGO_BIN_EXE_facectl"));
        facectl.args(["gallery", command, "--gallery"]).arg(self.path()).args(arguments);
        facectl.stdin(Stdio::null());
        facectl
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Answer {
        Answer::of(&self.command(command, arguments).output().unwrap())
    }

    /// The JSON of a command that succeeds.
    fn json(&self, command: &str, arguments: &[&str]) -> serde_json::Value {
        let answer = self.run(command, &[&["--json"], arguments].concat());
        assert_eq!((answer.code, &*answer.stderr), (0, ""), "{answer:?}");
        answer.json().remove(0)
    }

    fn names(&self) -> Vec<String> {
        let persons = Roster::open(self.path(), Access::Read).unwrap().persons().unwrap();
        persons.into_iter().map(|p| p.name).collect()
    }

    fn id(&self, name: &str) -> String {
        Roster::open(self.path(), Access::Read).unwrap().find(name).unwrap().id
    }
}

#[test]
fn list_show_and_stats_tell_what_is_there() {
    let scene = Scene::new();
    let (list, ann) = (scene.run("list", &["--json"]), scene.id("Ann"));
    assert_eq!(list.json().len(), 2);
    let fields = [
        "person_id",
        "name",
        "samples",
        "negatives",
        "threshold",
        "expires",
        "expired",
        "created",
        "updated",
        "attributes",
    ];
    assert_eq!(keys(list.stdout.lines().next().unwrap()), fields);
    let text = scene.run("list", &[]).stdout;
    assert!(
        text.contains("NAME\n") && text.contains(&ann) && text.ends_with("2 people\n"),
        "{text}"
    );

    for who in ["Ann", &ann] {
        let shown = scene.json("show", &[who]);
        assert_eq!((&shown["name"], &shown["person_id"]), (&"Ann".into(), &ann.clone().into()));
        assert_eq!(shown["stored"].as_array().unwrap().len(), 3);
        assert_eq!(shown["stored"][1]["source"], "2.jpg");
        assert_eq!(
            (&shown["stored"][1]["crop"], &shown["log"][0]["what"]),
            (&true.into(), &"enroll".into())
        );
    }
    let text = scene.run("show", &["Ann"]).stdout;
    assert!(text.contains("positive  aligned") && text.contains("3.jpg"), "{text}");

    let stats = scene.json("stats", &[]);
    assert_eq!(
        (&stats["persons"], &stats["samples"], &stats["unfinished"]),
        (&2.into(), &4.into(), &0.into())
    );
    assert_eq!((&stats["private"], &stats["dim"]), (&true.into(), &32.into()));
    assert!(scene.run("stats", &[]).stdout.contains("2 people, 4 samples, 0 negative, 0 expired"));
}

#[test]
fn people_are_renamed_merged_and_removed() {
    let scene = Scene::new();
    assert_eq!(scene.json("rename", &["Ann", "Ada"])["previous"], "Ann");
    scene.run("rename", &["Ada", "Bob"]).is_error(2, &["another person of the name \"Bob\""]);
    scene.run("rename", &["nobody", "x"]).is_error(2, &["no person with id or name \"nobody\""]);
    let merged = scene.json("merge", &["Bob", "Ada", "--yes"]);
    assert_eq!((&merged["moved"], &merged["duplicates"]), (&1.into(), &0.into()));
    assert_eq!(scene.names(), ["Ada"]);
    scene.run("merge", &["Ada", "Ada", "--yes"]).is_error(2, &["both are the person"]);

    let stored = scene.json("show", &["Ada"])["stored"].clone();
    let number = stored[0]["sample_id"].to_string();
    assert_eq!(
        scene.json("remove-sample", &[&number, "--yes"])["sample_id"],
        stored[0]["sample_id"]
    );
    scene.run("remove-sample", &[&number, "--yes"]).is_error(2, &["has no sample"]);
    let rejected = stored[1]["sample_id"].to_string();
    assert_eq!(scene.json("reject", &["--sample", &rejected])["name"], "Ada");
    let ada = scene.json("show", &["Ada"]);
    assert_eq!((&ada["samples"], &ada["negatives"]), (&2.into(), &1.into()));

    scene.gallery.enroll("Cid", &[sample(8)]).unwrap();
    // One of the names is wrong: nobody is removed.
    scene.run("remove", &["Cid", "Dan", "--yes"]).is_error(2, &["\"Dan\""]);
    assert_eq!(scene.json("remove", &["Cid", "--yes"])["samples"], 1);
    assert_eq!(scene.json("clear", &["--yes"])["removed"], 1);
    assert!(scene.names().is_empty());
}

#[test]
fn thresholds_and_expiry_are_set_and_taken_away() {
    let scene = Scene::new();
    scene.json("set-threshold", &["Ann", "-0.5"]);
    assert_eq!(scene.json("show", &["Ann"])["threshold"], -0.5);
    assert!(scene.json("set-threshold", &["Ann", "--default"])["threshold"].is_null());
    assert_eq!(scene.run("set-threshold", &["Ann", "1.5"]).code, 2);
    assert_eq!(scene.run("set-threshold", &["Ann"]).code, 2);

    let at = "2031-05-01T10:30:00Z";
    assert_eq!(scene.json("expire", &["Ann", "--at", at])["expires"], "2031-05-01T10:30:00.000Z");
    assert_eq!(scene.json("expire", &[])["removed"], serde_json::json!([]));
    assert!(scene.json("expire", &["Ann", "--never"])["expires"].is_null());
    assert!(scene.json("expire", &["Bob", "--after", "30d"])["expires"].is_string());
    scene.json("expire", &["Bob", "--at", "2001-01-01"]);
    assert!(scene.run("list", &[]).stdout.contains("2001-01-01T00:00:00.000Z (over)"));
    scene.run("expire", &[]).is_error(2, &["remove 1 expired person", "--yes"]);
    let bob = scene.id("Bob");
    assert_eq!(scene.json("expire", &["--yes"])["removed"], serde_json::json!([bob]));
    assert_eq!(scene.names(), ["Ann"]);
    for bad in
        [&["Ann"][..], &["--never"], &["Ann", "--at", "soon"], &["Ann", "--never", "--after", "1d"]]
    {
        assert_eq!(scene.run("expire", bad).code, 2, "{bad:?}");
    }
}

#[test]
fn what_cannot_be_undone_is_refused_without_a_terminal_and_asked_on_one() {
    let scene = Scene::new();
    let destructive: [(&str, &[&str]); 5] = [
        ("remove", &["Ann"]),
        ("remove-sample", &["1"]),
        ("merge", &["Ann", "Bob"]),
        ("forget", &["Ann"]),
        ("clear", &[]),
    ];
    for (command, arguments) in destructive {
        scene.run(command, arguments).is_error(2, &["no terminal", "--yes"]);
        assert_eq!(scene.names(), ["Ann", "Bob"]);
    }
    let terminal = |answer: &str| {
        let facectl = env!("CARGO_BIN_EXE_facectl");
        let command = format!("{facectl} gallery remove --gallery {} Ann", scene.path().display());
        let script = format!("printf '{answer}\\n' | script -qec '{command}' /dev/null");
        Answer::of(&Command::new("bash").args(["-c", &script]).output().unwrap())
    };
    if !Command::new("script").arg("--version").output().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: asking on a terminal (no command 'script')");
        return;
    }
    let no = terminal("n");
    assert!(no.stdout.contains("remove 'Ann'? [y/N]"), "{no:?}");
    assert_eq!((no.code, scene.names().len()), (1, 2), "{no:?}");
    let yes = terminal("y");
    assert_eq!((yes.code, scene.names().len()), (0, 1), "{yes:?}");
}

#[test]
fn every_command_takes_odd_names_and_shows_them_harmless() {
    for name in ODD {
        let scene = Scene::new();
        assert_eq!(scene.json("rename", &["--", "Ann", name])["name"], name);
        let list = scene.run("list", &["--json"]).json();
        assert_eq!(list[0]["name"], name);
        assert_eq!(scene.json("show", &["--", name])["name"], name);
        for command in ["list", "show", "stats"] {
            let who: &[&str] = if command == "show" { &["--", name] } else { &[] };
            let text = scene.run(command, who).stdout;
            assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'), "{text}");
        }
        let shown = name.replace('\u{202e}', "\u{fffd}");
        assert!(scene.run("list", &[]).stdout.contains(&shown));
        assert_eq!(scene.json("set-threshold", &["--", name, "0.5"])["name"], name);
        assert_eq!(scene.json("expire", &["--never", "--", name])["name"], name);
        scene.run("rename", &["--", "Bob", name]).is_error(2, &["another person"]);
        let merged = scene.json("merge", &["--yes", "--", "Bob", name]);
        assert_eq!(merged["name"], name);
        let question = scene.run("remove", &["--", name]);
        question.is_error(2, &[&shown]);
        assert!(!question.stderr.contains('\u{202e}'));
        let (file, copy) = (scene.folder.path().join("people"), scene.folder.path().join("copy"));
        let (file, copy) = (file.to_str().unwrap(), copy.to_str().unwrap());
        assert_eq!(scene.json("export", &[file])["persons"], 1);
        let imported = Command::new(env!("CARGO_BIN_EXE_facectl"))
            .args(["gallery", "import", "--gallery", scene.path().to_str().unwrap(), file])
            .args(["--on-clash", "skip", "--json"])
            .output();
        let imported = Answer::of(&imported.unwrap());
        assert_eq!(imported.code, 0, "{imported:?}");
        scene.json("backup", &[copy]);
        let text = scene.run("audit", &[]).stdout;
        assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'), "{text}");
        let forgotten = scene.json("forget", &["--yes", "--", name]);
        assert_eq!((&forgotten["forgotten"], &forgotten["samples"]), (&true.into(), &4.into()));
        scene.gallery.enroll(name, &[sample(9)]).unwrap();
        assert_eq!(scene.json("remove", &["--yes", "--", name])["name"], name);
    }
    let scene = Scene::new();
    for bad in ["", " ", "a\nb", "a\u{1b}[2Jb", &"x".repeat(10_240)] {
        let answer = scene.run("rename", &["Ann", bad]);
        answer.is_error(2, &["refuse person name"]);
        assert!(!answer.stderr.contains('\u{1b}') && answer.stderr.len() < 1_000);
        for command in ["show", "remove", "forget", "set-threshold"] {
            let rest: &[&str] = match command {
                "set-threshold" => &["0.5"],
                "show" => &[],
                _ => &["--yes"],
            };
            let answer = scene.run(command, &[&[bad], rest].concat());
            answer.is_error(2, &["no person"]);
            assert!(!answer.stderr.contains('\u{1b}'), "{answer:?}");
        }
    }
}

#[test]
fn forgotten_is_said_only_when_nothing_is_left() {
    let scene = Scene::new();
    let outbox = scene.folder.path().join("outbox");
    std::fs::create_dir(&outbox).unwrap();
    let clip = outbox.join("clip");
    std::fs::write(&clip, sample(2).embedding.to_bytes()).unwrap();
    let also = outbox.to_str().unwrap();
    let answer = scene.run("forget", &["Ann", "--yes", "--json", "--wait", "0", "--also", also]);
    answer.is_error(1, &["remnants are in", "clip"]);
    let record = &answer.json()[0];
    assert_eq!(
        (&record["forgotten"], &record["files"][0]),
        (&false.into(), &clip.to_str().unwrap().into())
    );
    assert_eq!(scene.json("stats", &[])["unfinished"], 1);
    assert!(scene.run("stats", &[]).stdout.contains("forgetting 1 person is not finished"));
    std::fs::remove_file(clip).unwrap();
    let answer = scene.run("forget", &["Ann", "--yes", "--also", also]);
    assert_eq!((answer.code, &*answer.stdout), (0, "forgotten\n"), "{answer:?}");
    scene.run("forget", &["Ann", "--yes"]).is_error(2, &["no person with id or name \"Ann\""]);
    assert_eq!(scene.run("forget", &["--yes"]).code, 0);
    // Others who have the gallery open drop the person at their next look.
    assert!(scene.gallery.refresh(Duration::ZERO).unwrap());
    assert_eq!(scene.gallery.snapshot().people().len(), 1);
}

#[test]
fn missing_and_foreign_galleries_are_errors() {
    let scene = Scene::new();
    let missing: PathBuf = scene.folder.path().join("none");
    for command in ["list", "stats", "clear"] {
        let mut facectl = Command::new(env!("CARGO_BIN_EXE_facectl"));
        facectl.args(["gallery", command, "--gallery"]).arg(&missing);
        if command == "clear" {
            facectl.arg("--yes");
        }
        Answer::of(&facectl.output().unwrap()).is_error(2, &["there is no such file"]);
        assert!(!missing.exists());
    }
}

#[test]
fn processes_that_write_at_once_wait_for_each_other_and_readers_see_it_all() {
    let scene = Scene::new();
    for i in 0..8 {
        scene.gallery.enroll(&format!("p{i}"), &[sample(20 + i)]).unwrap();
    }
    let reader = Gallery::open(scene.path(), scene.gallery.fingerprint(), Access::Read).unwrap();
    let writers: Vec<_> = (0..8)
        .map(|i| scene.command("rename", &[&format!("p{i}"), &format!("q{i}")]).spawn().unwrap())
        .collect();
    let mut generation = reader.snapshot().generation();
    let end = generation + 8;
    for mut writer in writers {
        // Searching goes on all the while.
        let found = reader.snapshot().identify(&embedding(4), 0.9, 0.0, 1).unwrap();
        assert_eq!(&*found.best.unwrap().name, "Bob");
        assert!(writer.wait().unwrap().success());
        reader.refresh(Duration::ZERO).unwrap();
        assert!(reader.snapshot().generation() >= generation);
        generation = reader.snapshot().generation();
    }
    assert_eq!(generation, end);
    let snapshot = reader.snapshot();
    let renamed = snapshot.people().iter().filter(|p| p.name.starts_with('q')).count();
    assert_eq!((renamed, snapshot.people().len()), (8, 10));
}

#[test]
fn one_process_enrols_while_others_recognise() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.path("g");
    let (obama, people) = (setup.media("people/barack-obama"), setup.media("people"));
    let picture = format!("{obama}/1.jpg");
    let first = setup.run(&["enroll", "--gallery", &gallery, "--name", "first", &picture]);
    assert_eq!(first.code, 0, "{first:?}");
    // By force: the first picture is there again, under another name.
    let mut enroll = setup.command(&["enroll", "--force", "--gallery", &gallery, &people]);
    let mut enroll = enroll.stdout(Stdio::null()).spawn().unwrap();
    let mut looks = 0;
    while enroll.try_wait().unwrap().is_none() || looks < 2 {
        let found = setup.run(&["recognize", "--json", "--gallery", &gallery, &picture]);
        assert_eq!(found.code, 0, "{found:?}");
        assert_eq!(found.json()[0]["faces"][0]["status"], "known");
        looks += 1;
    }
    assert!(enroll.wait().unwrap().success());
    let stats = setup.run(&["gallery", "stats", "--json", "--gallery", &gallery]);
    assert_eq!(stats.json()[0]["persons"], 13);
}

#[test]
fn search_lists_the_nearest_people_and_heeds_rejections() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.people();
    let picture = setup.media("people/barack-obama/1.jpg");
    let search = |rest: &[&str]| {
        let answer =
            setup.run(&[&["gallery", "search", "--json", "--gallery", &gallery], rest].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.json().remove(0)
    };
    let found = search(&[&picture, "-k", "3"]);
    assert_eq!(
        (&found["status"], &found["top"][0]["name"]),
        (&"known".into(), &"barack-obama".into())
    );
    assert_eq!(found["top"].as_array().unwrap().len(), 3);
    assert!(found["margin"].as_f64().unwrap() > 0.3);
    let mean = search(&[&picture, "--vote", "mean"]);
    assert_eq!(mean["top"][0]["name"], "barack-obama");
    let (best, mean) = (&found["top"][0]["similarity"], &mean["top"][0]["similarity"]);
    assert!(mean.as_f64() < best.as_f64());
    assert_eq!(search(&[&picture, "--min-margin", "1"])["status"], "uncertain");
    let text = setup.run(&["gallery", "search", "--gallery", &gallery, &picture]).stdout;
    assert!(text.starts_with("face 1 (") && text.contains("barack-obama"), "{text}");

    let reject = ["gallery", "reject", "--gallery", &gallery, "barack-obama", &picture];
    let answer = setup.run(&reject);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stdout.contains("is not barack-obama"), "{answer:?}");
    let found = search(&[&picture]);
    assert_eq!(found["status"], "unknown");
    assert_ne!(found["top"][0]["name"], "barack-obama");
    assert!(setup.run(&reject).stdout.contains("as was known"));
}

#[test]
fn forget_searches_the_outbox() {
    let scene = Scene::new();
    let spool = scene.folder.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    let waiting = spool.join("clip.json");
    std::fs::write(&waiting, r#"{"name": "Ann Smith"}"#).unwrap();
    let forget = |rest: &[&str]| {
        let mut command = scene.command("forget", &[&["--yes", "--json"], rest].concat());
        Answer::of(&command.env("GST_FACE_SPOOL", &spool).output().unwrap())
    };
    scene.gallery.enroll("Ann Smith", &[sample(7)]).unwrap();
    let answer = forget(&["Ann Smith"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(answer.json()[0]["files"][0], waiting.to_str().unwrap());
    std::fs::remove_file(&waiting).unwrap();
    let answer = forget(&[]);
    assert_eq!((answer.code, &answer.json()[0]["forgotten"]), (0, &true.into()), "{answer:?}");
}
