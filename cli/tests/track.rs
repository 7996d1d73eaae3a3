//! `facectl track`: detections in, tracks out, and what it says of files that cannot be read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// facectl track over these detections.
    fn run(&self, detections: impl AsRef<[u8]>, more: &[&str]) -> Output {
        fs::write(self.path("det.txt"), detections).unwrap();
        Command::new(env!("CARGO_BIN_EXE_facectl"))
            .current_dir(self.folder.path())
            .args(["track", "--detections", "det.txt", "--out", "result.txt"])
            .args(more)
            .output()
            .unwrap()
    }

    /// The lines of the result as numbers: frame, id, left, top, width, height, score, −1, −1, −1.
    fn tracks(&self, detections: &str, more: &[&str]) -> Vec<Vec<f64>> {
        let output = self.run(detections, more);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty());
        let result = fs::read_to_string(self.path("result.txt")).unwrap();
        let line = |l: &str| l.split(',').map(|f| f.parse().expect(l)).collect::<Vec<f64>>();
        let lines: Vec<Vec<f64>> = result.lines().map(line).collect();
        assert!(lines.iter().all(|l| l.len() == 10 && l[7..] == [-1.0; 3]), "{result}");
        lines
    }

    /// Only one line on standard error, with these parts; nothing is left beside the detections.
    fn is_refused(&self, detections: impl AsRef<[u8]>, more: &[&str], parts: &[&str]) {
        let output = self.run(detections, more);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        for part in parts {
            assert!(text.contains(part), "no '{part}' in {text}");
        }
        assert_eq!(files(self.folder.path()), ["det.txt"]);
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// Two people who walk towards each other and pass at a distance; the second is missed in frames
/// 10 to 14.
fn two_people() -> String {
    let mut lines = Vec::new();
    for frame in 1..=30 {
        let x = 100 + 5 * frame;
        lines.push(format!("{frame},-1,{x},100,40,50,0.9,-1,-1,-1"));
        if !(10..15).contains(&frame) {
            lines.push(format!("{frame},-1,{},300,40,50,0.875", 400 - 5 * frame));
        }
    }
    // Lines may stand in any order.
    lines.reverse();
    lines.join("\r\n")
}

#[test]
fn detections_get_the_ids_of_their_people_and_keep_their_boxes() {
    let bench = Bench::new();
    let tracks = bench.tracks(&two_people(), &[]);
    assert_eq!(tracks.len(), 30 + 25);
    let first = tracks.iter().find(|l| l[3] == 100.0).unwrap()[1];
    for line in &tracks {
        let (frame, top) = (line[0], line[3]);
        let (x, id, score) = if top == 100.0 {
            (100.0 + 5.0 * frame, first, 0.9)
        } else {
            (400.0 - 5.0 * frame, 3.0 - first, 0.875)
        };
        assert_eq!(line[1..7], [id, x, top, 40.0, 50.0, score], "{line:?}");
    }
    assert!(tracks.is_sorted_by_key(|l| l[0]));
    assert_eq!(files(bench.folder.path()).len(), 2);
}

#[test]
fn predicted_boxes_are_written_when_asked_for() {
    let bench = Bench::new();
    let tracks = bench.tracks(&two_people(), &["--predicted"]);
    let predicted: Vec<&Vec<f64>> = tracks.iter().filter(|l| l[6] == 0.0).collect();
    assert_eq!(predicted.iter().map(|l| l[0]).collect::<Vec<_>>(), [10., 11., 12., 13., 14.]);
    assert!(predicted.iter().all(|l| (l[2] - (400.0 - 5.0 * l[0])).abs() < 4.0), "{predicted:?}");
    let none = bench.tracks(&two_people(), &["--predicted", "--max-predicted-time", "0"]);
    assert!(none.iter().all(|l| l[6] > 0.0));
}

#[test]
fn settings_reach_the_tracker_and_times_follow_the_frame_rate() {
    let bench = Bench::new();
    // Missed for five frames: half a second at 10 frames a second.
    let ids = |more: &[&str]| {
        let tracks = bench.tracks(&two_people(), more);
        tracks.iter().map(|l| l[1] as u64).max().unwrap()
    };
    assert_eq!(ids(&["--fps", "10"]), 2);
    assert_eq!(ids(&["--fps", "10", "--max-lost-time", "0.45"]), 3);
    assert_eq!(ids(&["--fps", "20", "--max-lost-time", "0.45"]), 2);
    let strong = bench.tracks(&two_people(), &["--high-threshold=0.88", "--new-threshold=0.89"]);
    assert!(strong.iter().all(|l| l[3] == 100.0), "weaker ones open no track");
    let late = bench.tracks(&two_people(), &["--confirm-hits", "31"]);
    // Tracks of the first look are confirmed at once.
    assert!(late.iter().any(|l| l[0] == 1.0));
}

#[test]
fn somebody_who_comes_later_is_confirmed_first() {
    let bench = Bench::new();
    let detections = "5,-1,10,10,40,50,0.9\n6,-1,10,10,40,50,0.9\n7,-1,10,10,40,50,0.9\n";
    let frames: Vec<f64> = bench.tracks(detections, &[]).iter().map(|l| l[0]).collect();
    assert_eq!(frames, [6.0, 7.0]);
}

#[test]
fn a_file_without_detections_gives_an_empty_result() {
    let bench = Bench::new();
    assert!(bench.tracks("", &[]).is_empty());
    assert!(bench.tracks("\n \r\n\n", &[]).is_empty());
}

#[test]
fn hostile_files_are_refused_with_file_and_line() {
    let bench = Bench::new();
    let good = "1,-1,10,10,40,50,0.9\n";
    let line = |bad: &str| format!("{good}\n{bad}\n{good}");
    bench.is_refused(line("1,-1,10,10,40"), &[], &["'det.txt'", "line 3", "5 fields"]);
    bench.is_refused(line("1,-1,10,nan,40,50,0.9"), &[], &["line 3", "top 'nan'"]);
    bench.is_refused(line("1,-1,10,10,-40,50,0.9"), &[], &["line 3", "no area"]);
    bench.is_refused(line("99999999999,-1,1,1,4,5,1"), &[], &["line 3", "frame '99999999999'"]);
    let mut bytes = line("").into_bytes();
    bytes.extend([b'1', 0xff, b',', b'\n']);
    bench.is_refused(&bytes, &[], &["line 5", "not UTF-8"]);
    bench.is_refused(vec![b'1'; 1 << 20], &[], &["line 1", "longer than 4096 bytes"]);
    bench.is_refused(vec![0u8; 100], &[], &["line 1", "1 fields"]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let bench = Bench::new();
    let refused = |more: &[&str], part: &str| bench.is_refused(two_people(), more, &[part]);
    refused(&["--fps", "0"], "frames per second from 0.01 to 1000");
    refused(&["--fps", "nan"], "frames per second from 0.01 to 1000");
    refused(&["--max-lost-time", "-1"], "seconds from 0 to 3600");
    refused(&["--max-lost-time", "0"], "max_lost_ns");
    refused(&["--low-threshold", "0.7"], "low_threshold is 0.7, above high_threshold");
    refused(&["--match-iou", "NaN"], "match_iou");
    refused(&["--size", "640"], "a size such as 1920x1080");
}

#[test]
fn files_that_cannot_be_read_or_written_are_named() {
    let bench = Bench::new();
    let run = |detections: &str, out: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_facectl"))
            .current_dir(bench.folder.path())
            .args(["track", "--detections", detections, "--out", out])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run("none.txt", "result.txt").contains("read detections 'none.txt'"));
    fs::write(bench.path("det.txt"), two_people()).unwrap();
    let text = run("det.txt", "no/such/folder/result.txt");
    assert!(text.contains("no/such/folder"), "{text}");
    assert!(run(".", "result.txt").contains("read detections '.'"));
    assert_eq!(files(bench.folder.path()), ["det.txt"]);
}
