//! The whole pipeline on real clips.

mod support;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use face_core::embed::Embedding;
use face_core::gallery::{Access, Roster};
use face_core::load::Interval;
use face_core::loose::StoreCrops;
use face_core::recognizer::EnrollRules;
use face_pipeline::schema::FrameRecord;
use face_pipeline::{AnalyzeError, VideoEnrollOptions, analyze_file, enroll_from_video};
use support::{HAMILTON, HEADS, WALKING, enrol_people, go_on, media, options, recognition};

fn frames_of(analysis: &face_pipeline::Analysis) -> BTreeMap<&str, u64> {
    analysis.people.iter().map(|p| (p.name.as_str(), p.frames)).collect()
}

fn read_frames(path: &Path) -> Vec<FrameRecord> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// ffprobe's answer about the streams of a file: a line per stream.
fn probe(path: &Path, entries: &str) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", entries, "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end_matches(',').to_owned()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn real_t13_every_face_names_the_people_of_the_clip() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("g.db");
    enrol_people(&media, &gallery);
    let mut options = options(&media, HAMILTON);
    options.gallery = Some((&gallery).into());
    options.recognition.every_face = true;
    let frames = folder.path().join("f.jsonl");
    options.frames = Some(frames.clone());
    options.embeddings = true;
    let analysis = analyze_file(&options, go_on).unwrap();
    assert_eq!(analysis.frames, 275);
    assert_eq!(analysis.warnings, [""; 0]);
    let people = frames_of(&analysis);
    println!("{people:?}");
    assert!(people["lin-manuel-miranda"] >= 115, "{people:?}");
    assert!(people["barack-obama"] >= 45, "{people:?}");
    let others: u64 = people
        .iter()
        .filter(|(name, _)| !["lin-manuel-miranda", "barack-obama"].contains(name))
        .map(|(_, frames)| frames)
        .sum();
    assert!(others <= 2, "{people:?}");
    let records = read_frames(&frames);
    assert_eq!(records.len(), 275);
    assert!(records.iter().zip(0..).all(|(r, i)| r.frame == i));
    assert!(records.windows(2).all(|w| w[0].pts_ns < w[1].pts_ns));
    let faces: Vec<_> = records.iter().flat_map(|r| &r.faces).filter(|f| f.observed).collect();
    let embedded = faces.iter().filter_map(|f| f.embedding.as_ref());
    assert!(embedded.clone().all(|e| e.len() == 128 && Embedding::new(e).is_ok()));
    assert!(embedded.count() * 10 >= faces.len() * 9);
}

#[test]
fn real_default_settings_name_the_same_two_and_nobody_else() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("g.db");
    enrol_people(&media, &gallery);
    let mut options = options(&media, HAMILTON);
    options.gallery = Some((&gallery).into());
    let mut texts = Vec::new();
    for run in 0..2 {
        let json = folder.path().join(format!("{run}.json"));
        let frames = folder.path().join(format!("{run}.jsonl"));
        (options.json, options.frames) = (Some(json.clone()), Some(frames.clone()));
        let analysis = analyze_file(&options, go_on).unwrap();
        let people = frames_of(&analysis);
        println!("{people:?}");
        assert_eq!(
            people.keys().copied().collect::<Vec<_>>(),
            ["barack-obama", "lin-manuel-miranda"]
        );
        let records = read_frames(&frames);
        assert_eq!(records.len(), 275);
        assert!(records.iter().flat_map(|r| &r.faces).all(|f| f.embedding.is_none()));
        texts.push((std::fs::read(json).unwrap(), std::fs::read(frames).unwrap()));
    }
    assert!(texts[0] == texts[1], "two runs on one file differ");
}

#[test]
fn real_t13_annotated_copy_keeps_pictures_and_sound() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&media, HAMILTON);
    let copy = folder.path().join("copy.mp4");
    options.annotate = Some(copy.clone());
    options.recognition.interval = Interval::Every(8);
    let analysis = analyze_file(&options, go_on).unwrap();
    assert_eq!((analysis.frames, analysis.warnings.len()), (275, 0), "{:?}", analysis.warnings);
    assert_eq!(names(folder.path()), ["copy.mp4"]);
    assert_eq!(
        probe(&copy, "stream=codec_name,width,height,nb_read_frames"),
        [
            "h264,640,360,275",
            // Copied as it was: as many packets as the source has.
            "aac,431",
        ]
    );
    let source = media.join("video").join(HAMILTON);
    let bits = |path: &Path| probe(path, "stream=codec_name,sample_rate,channels,bit_rate").pop();
    assert_eq!(bits(&copy), bits(&source));
}

#[test]
fn real_clips_without_sound_have_their_frames() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (clip, frames) in [(HEADS, 56), (WALKING, 41)] {
        let mut options = options(&media, clip);
        let copy = folder.path().join(clip);
        options.annotate = Some(copy.clone());
        let analysis = analyze_file(&options, go_on).unwrap();
        assert_eq!((analysis.frames, analysis.warnings.len()), (frames, 0));
        assert!(!analysis.tracks.is_empty() && analysis.people.is_empty());
        let expected = format!("h264,{frames}");
        assert_eq!(probe(&copy, "stream=codec_name,nb_read_frames"), [expected]);
    }
}

#[test]
fn real_interrupted_run_leaves_nothing() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&media, HAMILTON);
    options.annotate = Some(folder.path().join("copy.mp4"));
    options.json = Some(folder.path().join("a.json"));
    options.frames = Some(folder.path().join("a.jsonl"));
    let stop = |p: face_pipeline::Progress| match p.frames {
        20.. => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let error = analyze_file(&options, stop).unwrap_err();
    assert!(matches!(error, AnalyzeError::Interrupted { .. }), "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn real_t17_people_of_a_video_are_enrolled_and_found_again() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("g.db");
    let enroll = VideoEnrollOptions {
        video: media.join("video").join(HAMILTON),
        gallery: (&gallery).into(),
        recognition: recognition(),
        part: None,
        prefix: "person".to_owned(),
        rules: EnrollRules { store_crops: StoreCrops::Loose, ..EnrollRules::default() },
    };
    let enrolled = enroll_from_video(&enroll, go_on).unwrap();
    println!("{enrolled:?}");
    assert!(enrolled.end_ns.unwrap() < 5_100_000_000);
    let named: Vec<&str> = enrolled.people.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(named[0], "person-1");
    assert!(enrolled.people.iter().all(|p| !p.known && (1..=5).contains(&p.samples)));
    // The clip has small and turned faces, too.
    assert!(!enrolled.refused.is_empty(), "{enrolled:?}");
    let roster = Roster::open(&gallery, Access::Read).unwrap();
    for person in &enrolled.people {
        let stored = roster.samples(&roster.find(&person.name).unwrap().id).unwrap();
        assert_eq!(stored.len(), person.samples);
        assert!(
            stored.iter().all(|s| s.crop && s.loose && s.source.contains(" at ")),
            "{stored:?}"
        );
    }
    drop(roster);
    let again = enroll_from_video(&enroll, go_on).unwrap();
    assert!(again.people.iter().all(|p| p.known && p.samples == 0), "{again:?}");
    let mut options = options(&media, HAMILTON);
    options.gallery = Some((&gallery).into());
    let analysis = analyze_file(&options, go_on).unwrap();
    println!("{:?}", frames_of(&analysis));
    assert!(frames_of(&analysis).contains_key("person-1"));
}
