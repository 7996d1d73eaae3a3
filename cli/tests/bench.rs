//! `facectl bench` as a user runs it.

mod support;
#[path = "support/tiny.rs"]
mod tiny;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Answer, Setup, keys};

/// facectl bench with the tiny models, of which the detector finds two faces on every picture.
fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_facectl"));
    let models = [
        ["--detector".to_owned(), tiny::data("two_faces.onnx")],
        ["--embedder".to_owned(), tiny::data("embedder.onnx")],
        ["--threads".to_owned(), "1".to_owned()],
    ];
    command.arg("bench").args(models.concat()).args(arguments);
    command
}

fn answer(arguments: &[&str]) -> Answer {
    Answer::of(&bench(arguments).output().unwrap())
}

fn report(arguments: &[&str]) -> Value {
    let answer = answer(&[&["--json"], arguments].concat());
    assert_eq!(answer.code, 0, "{answer:?}");
    let mut lines = answer.json();
    assert_eq!(lines.len(), 1, "{answer:?}");
    lines.remove(0)
}

#[test]
fn what_cannot_be_measured_is_named() {
    for arguments in [
        &[][..],
        &["--streams", "0", "a.mp4"],
        &["--loops", "0", "a.mp4"],
        &["--frames", "0", "a.mp4"],
        &["--every-face", "--interval", "2", "a.mp4"],
        &["--gallery", "g", "--samples", "5", "a.mp4"],
    ] {
        let answer = answer(arguments);
        assert_eq!(answer.code, 2, "{arguments:?}");
        assert!(answer.stderr.starts_with("error: "), "{answer:?}");
    }
    answer(&["/nowhere/a\u{1b}.mp4"]).is_error(2, &["open video '/nowhere/a\u{fffd}.mp4'"]);
    let Some(setup) = Setup::new() else { return };
    let text = setup.path("text.mp4");
    std::fs::write(&text, "no video at all").unwrap();
    answer(&[&text]).is_error(2, &["text.mp4"]);
    let clip = tiny::clip(setup.path("").as_ref(), 1);
    answer(&["--gallery", "/nowhere/g", &clip]).is_error(2, &["/nowhere/g"]);
    let detector = tiny::data("two_faces.onnx");
    let wrong = setup.run(&["bench", "--detector", &detector, "--embedder", &detector, &clip]);
    wrong.is_error(2, &["two_faces.onnx", "an embedder is needed"]);
}

#[test]
fn streams_and_loops_are_counted_as_a_whole() {
    let Some(setup) = Setup::new() else { return };
    let clip = tiny::clip(setup.path("").as_ref(), 1);
    let report = report(&["--every-face", "--streams", "2", "--loops", "3", &clip]);
    assert_eq!(report["frames"], 2 * 3 * 15, "{report}");
    assert_eq!((&report["faces"], &report["embeds"]), (&180.into(), &180.into()), "{report}");
    let streams = report["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 2);
    // One of them had ended then.
    assert!(streams.iter().any(|s| s["frames"] == 45), "{report}");
    let seconds = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert!(seconds("cpu_s") > seconds("ort_cpu_s") && seconds("ort_cpu_s") > 0.0, "{report}");
    assert!(seconds("decode_cpu_s") > 0.0 && seconds("other_cpu_s") >= 0.0, "{report}");
    let fps = seconds("frames") / seconds("wall_s");
    assert!((seconds("fps") - fps).abs() < 1e-6 * fps, "{report}");
    assert!(seconds("peak_rss_mib") > 10.0, "{report}");
    let versions = &report["versions"];
    assert!(versions["decoder"].as_str().unwrap().contains("264"), "{report}");
    assert_eq!(
        (&report["generated_samples"], &versions["provider"]),
        (&1000.into(), &"cpu".into())
    );
}

#[test]
fn a_limit_of_frames_ends_every_stream() {
    let Some(setup) = Setup::new() else { return };
    let clip = tiny::clip(setup.path("").as_ref(), 1);
    let args = ["--frames", "20", "--streams", "2", "--loops", "1000", "--samples", "0"];
    let report = report(&[&args[..], &[&clip]].concat());
    assert_eq!((&report["frames"], &report["generated_samples"]), (&40.into(), &0.into()));
    let decoded = self::report(&["--decode-only", "--loops", "2", &clip]);
    assert_eq!((&decoded["frames"], &decoded["faces"]), (&30.into(), &0.into()));
    assert_eq!(decoded["ort_cpu_s"], 0.0);
    assert_eq!(decoded["decode_cpu_s"], decoded["cpu_s"]);
}

#[test]
fn people_get_lines_and_programs_the_documented_keys() {
    let Some(setup) = Setup::new() else { return };
    let clip = tiny::clip(setup.path("").as_ref(), 1);
    let told = answer(&["--streams", "2", &clip]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.contains("clip.mp4: 30 frames in "), "{told:?}");
    for part in ["networks ", "decoding ", "everything else ", "slowest/fastest ", "1000 random"] {
        assert!(told.stdout.contains(part), "no '{part}' in {told:?}");
    }
    let json = answer(&["--json", &clip]);
    let help = answer(&["--help"]).stdout;
    for key in keys(&json.stdout) {
        assert!(help.contains(&key), "no '{key}' in {help}");
    }
}

#[test]
fn an_interrupt_ends_with_130() {
    let Some(setup) = Setup::new() else { return };
    let clip = tiny::clip(setup.path("").as_ref(), 1);
    let child = bench(&["--loops", "1000000", &clip])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    // Decoding has a process of its own: once it runs, signals are caught.
    let children = format!("/proc/{pid}/task/{pid}/children");
    let begun = Instant::now();
    while std::fs::read_to_string(&children).is_ok_and(|c| c.is_empty()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is decoded");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
}

#[test]
fn real_every_face_of_a_clip_is_embedded() {
    let Some(setup) = Setup::new() else { return };
    let clip = setup.media("video/short_hamilton_clip.mp4");
    let run = |more: &[&str]| {
        let fixed = ["bench", "--json", "--provider", "cpu", "--frames", "60"];
        let answer = setup.run(&[&fixed[..], more, &[&clip]].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.json().remove(0)
    };
    let all = run(&["--every-face"]);
    assert!(all["faces"].as_u64().unwrap() > 60, "{all}");
    assert_eq!(all["faces"], all["embeds"], "{all}");
    let needed = run(&[]);
    assert_eq!(needed["frames"], 60);
    assert!(needed["embeds"].as_u64() < all["embeds"].as_u64(), "{needed}");
    assert!(needed["ort_cpu_s"].as_f64() < all["ort_cpu_s"].as_f64(), "{needed}");
}

/// What benches/compare.sh makes of its runs.
#[test]
fn figures_of_the_comparison_are_right() {
    let benches = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches");
    let python = std::env::var("GST_FACE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let arguments = ["-B", "-m", "unittest", "test_figures"];
    match Command::new(&python).args(arguments).current_dir(benches).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => eprintln!("skipped: {python}: {error}"),
    }
}
