//! `facectl gallery audit` and `facectl gallery calibrate` on real people.

mod support;

use serde_json::json;
use support::{Setup, keys};

#[test]
fn audit_finds_the_picture_of_somebody_else_and_the_copy() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.people();
    let clean = setup.run(&["gallery", "audit", "--gallery", &gallery]);
    assert_eq!(clean.code, 0, "{clean:?}");
    assert_eq!(clean.stdout, "0 of 47 samples of 12 people suspect\n");

    // One of amy's pictures among sheldon's, and a copy of it, a little darker.
    let picture = setup.media("people/amy/1.png");
    let copy = setup.path("copy.png");
    let mut image = image::open(&picture).unwrap().to_rgb8();
    image.iter_mut().for_each(|v| *v = (u32::from(*v) * 9 / 10) as u8);
    image.save(&copy).unwrap();
    let enroll = |extra: &[&str]| {
        let arguments = ["enroll", "--json", "--gallery", &gallery, "--name", "sheldon"];
        setup.run(&[&arguments[..], extra].concat())
    };
    let refused = enroll(&[&picture]);
    assert_eq!(
        (refused.code, &refused.json()[0]["reason"]),
        (1, &json!("conflict")),
        "{refused:?}"
    );
    assert!(refused.json()[0]["detail"].as_str().unwrap().contains("nearer to \"amy\""));
    assert_eq!(enroll(&["--force", &picture]).code, 0);
    let near = enroll(&["--near-duplicate", "0.9", &copy]);
    assert_eq!(near.json()[0]["reason"], "near-duplicate", "{near:?}");
    assert_eq!(enroll(&["--force", &copy]).code, 0);

    let arguments = ["gallery", "audit", "--near-duplicate", "0.9", "--gallery", &gallery];
    let found = setup.run(&[&arguments[..], &["--json"]].concat());
    assert_eq!(found.code, 1, "{found:?}");
    let expected =
        ["person_id", "name", "sample", "source", "reason", "detail", "similarity", "other"];
    assert!(found.stdout.lines().all(|line| keys(line) == expected), "{found:?}");
    let records = found.json();
    let of_sheldon: Vec<_> = records.iter().filter(|r| r["name"] == "sheldon").collect();
    assert!(of_sheldon.iter().any(|r| r["source"] == copy.as_str()), "{found:?}");
    assert!(records.iter().all(|r| r["sample"].is_i64() && r["similarity"].is_f64()));
    let conflicts: Vec<_> = records.iter().filter(|r| r["reason"] == "conflict").collect();
    assert!(
        !conflicts.is_empty()
            && conflicts.iter().any(|r| r["other"] == "amy" || r["other"] == "sheldon")
    );
    assert!(found.stderr.contains("of 49 samples of 12 people suspect"), "{found:?}");
    let text = setup.run(&arguments);
    assert_eq!((text.code, text.stdout.lines().count()), (1, records.len() + 1), "{text:?}");
}

#[test]
fn calibration_says_what_it_cannot_show() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.people();
    let plot = setup.path("plot.svg");
    let arguments = ["gallery", "calibrate", "--gallery", &gallery];
    let text = setup.run(&[&arguments[..], &["--plot", &plot]].concat());
    assert_eq!((text.code, text.stderr.as_str()), (0, ""), "{text:?}");
    let first = text.stdout.lines().next().unwrap();
    assert_eq!(first, "12 people with 47 samples (47 compared), 0 faces of strangers");
    // 47 · 11 comparisons: a thousandth cannot be seen, and .40 stays.
    assert!(text.stdout.contains("proposed threshold: 0.40. A rate of 0.10 % is not shown"));
    assert!(text.stdout.contains("517 comparisons say no more than at most 0.58 %"), "{text:?}");
    let svg = std::fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert!(svg.contains("0.40 (proposed, not shown)"), "{svg}");
    // In the legend, and as a curve; nobody was a stranger.
    for (colour, times) in [("#c0392b", 2), ("#2471a3", 2), ("#8e44ad", 1)] {
        let lines = svg.lines().filter(|l| l.starts_with("<polyline") && l.contains(colour));
        assert!(lines.count() >= times, "{colour}: {svg}");
    }
    let picture = setup.path("plot.PNG");
    let text = setup.run(&[&arguments[..], &["--plot", &picture]].concat());
    assert_eq!((text.code, text.stderr.as_str()), (0, ""), "{text:?}");
    let bytes = std::fs::read(&picture).unwrap();
    let drawn = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png).unwrap();
    let drawn = drawn.to_rgb8();
    assert_eq!(drawn.dimensions(), (1520, 880));
    let count = |colour: [u8; 3]| drawn.pixels().filter(|p| p.0 == colour).count();
    // The curves, more of each than the legend has, and the proposal.
    for colour in [[0xc0, 0x39, 0x2b], [0x24, 0x71, 0xa3], [0x1e, 0x84, 0x49]] {
        assert!(count(colour) > 500, "{colour:?}: {}", count(colour));
    }
    // Below the axis there is nothing but its labels.
    let below = drawn.rows().skip(760).flatten();
    assert!(below.clone().any(|p| p.0 == [0; 3]) && below.clone().all(|p| p.0[0] == p.0[1]));
    let nowhere = setup.path("no/such/folder.png");
    let failed = setup.run(&[&arguments[..], &["--plot", &nowhere]].concat());
    failed.is_error(2, &["write plot", &nowhere]);

    let strangers = setup.media("groups");
    let more = ["--json", "--far", "0.02", "--strangers", &strangers];
    let answer = setup.run(&[&arguments[..], &more].concat());
    assert_eq!(answer.code, 0, "{answer:?}");
    let expected = [
        "people",
        "samples",
        "probes",
        "strangers",
        "far",
        "embedder_threshold",
        "proposal",
        "rows",
    ];
    assert_eq!(keys(answer.stdout.trim()), expected);
    let report = &answer.json()[0];
    assert!(report["strangers"].as_u64().unwrap() > 40, "{report}");
    // People of the gallery are on those pictures: they are no strangers, and it shows.
    let rows = report["rows"].as_array().unwrap();
    let at = |threshold: f64| {
        let near =
            |r: &&serde_json::Value| (r["threshold"].as_f64().unwrap() - threshold).abs() < 1e-3;
        rows.iter().find(near).unwrap()
    };
    assert!(at(0.4)["strangers_named"]["count"].as_u64().unwrap() >= 5);
    assert_eq!(at(0.4)["false_rejects"]["of"], 46);
    let proposal = &report["proposal"];
    assert_eq!((&proposal["shown"], &proposal["needed"]), (&json!(true), &json!(150)));
    assert!(proposal["false_accepts"]["upper_bound"].as_f64().unwrap() <= 0.02);

    for (bad, part) in
        [("--far=0", "above 0"), ("--plot=a.pdf", ".svg or .png"), ("--plot=png", ".svg or .png")]
    {
        let refused = setup.run(&[&arguments[..], &[bad]].concat());
        assert!(refused.code == 2 && refused.stderr.contains(part), "{refused:?}");
    }
    let empty = setup.path("nothing");
    std::fs::create_dir(&empty).unwrap();
    let refused = setup.run(&[&arguments[..], &["--strangers", &empty]].concat());
    refused.is_error(2, &["no pictures", &empty]);
}

#[test]
fn gallery_of_one_person_gives_no_threshold() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.path("g");
    let picture = setup.media("people/amy/1.png");
    setup.run(&["enroll", "--gallery", &gallery, "--name", "amy", &picture]);
    let answer = setup.run(&["gallery", "calibrate", "--gallery", &gallery]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains("enrol a second person"), "{answer:?}");
}

#[test]
fn settings_and_force_decide_what_is_enrolled() {
    let Some(setup) = Setup::new() else { return };
    let (gallery, dark) = (setup.path("g"), setup.path("dark.png"));
    let mut image = image::open(setup.media("people/amy/1.png")).unwrap().to_rgb8();
    image.iter_mut().for_each(|v| *v /= 5);
    image.save(&dark).unwrap();
    let enroll = |extra: &[&str]| {
        let arguments = ["enroll", "--json", "--gallery", &gallery, "--name", "amy", &dark];
        setup.run(&[&arguments[..], extra].concat())
    };
    let refused = enroll(&[]);
    assert_eq!((refused.code, &refused.json()[0]["reason"]), (1, &json!("dark")), "{refused:?}");
    let low = enroll(&["--min-brightness", "10"]);
    assert_eq!((low.code, &low.json()[0]["reason"]), (1, &json!("low-contrast")), "{low:?}");
    let allowed = enroll(&["--min-brightness", "10", "--min-contrast", "5"]);
    assert_eq!(
        (allowed.code, &allowed.json()[0]["verdict"]),
        (0, &json!("enrolled")),
        "{allowed:?}"
    );
    let forced = enroll(&["--force"]);
    assert_eq!(forced.json()[0]["verdict"], "duplicate", "{forced:?}");
    assert_eq!(enroll(&["--max-yaw", "-3"]).code, 2);
}
