//! Samples, best shots and groups of an analysis, on the tiny models.

mod support;

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use face_core::picture::Picture;
use face_pipeline::schema::FrameRecord;
use face_pipeline::{Analysis, AnalyzeOptions, analyze_file};
use support::go_on;
use support::stream::{PICTURES, launch, tiny, tiny_models};

const RED: &str = "solid-color foreground-color=0xffc04020";
/// Black and white, as sharp as it gets.
const SHARP: &str = "checkers-4";

/// A second of two faces that stay where they are.
fn options(folder: &Path, pattern: &str) -> AnalyzeOptions {
    let video = folder.join("made.mp4");
    launch(&format!(
        "videotestsrc num-buffers=30 pattern={pattern} ! {PICTURES} ! videoconvert ! x264enc ! h264parse ! mp4mux ! filesink location={}",
        video.display()
    ));
    let mut recognition = tiny_models("two_faces.onnx");
    recognition.every_face = true;
    AnalyzeOptions { video, recognition, json: Some(folder.join("a.json")), ..Default::default() }
}

fn written(folder: &Path) -> (String, Analysis) {
    let text = std::fs::read_to_string(folder.join("a.json")).unwrap();
    let analysis = serde_json::from_str(&text).unwrap();
    (text, analysis)
}

#[test]
fn t15_every_track_has_samples_that_can_be_enrolled() {
    if tiny().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path(), RED);
    (options.samples, options.frames) = (true, Some(folder.path().join("a.jsonl")));
    let analysis = analyze_file(&options, go_on).unwrap();
    let (text, read) = written(folder.path());
    assert_eq!((text.lines().count(), &read), (1, &analysis), "a line that says the same");
    assert_eq!(analysis.tracks.len(), 2, "{analysis:?}");
    assert_eq!(analysis.groups.len(), 0);
    for track in &analysis.tracks {
        // All looks are the same: one stands for all.
        assert_eq!(track.samples.len(), 1);
        let sample = &track.samples[0];
        assert!((25..=30).contains(&sample.observations), "{}", sample.observations);
        assert_eq!(sample.embedding.len(), 12);
        let length: f32 = sample.embedding.iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-4);
        assert_eq!((sample.bbox, sample.landmarks.len()), (track.best_box, 5));
        let crop = BASE64_STANDARD.decode(&sample.crop).unwrap();
        let crop = Picture::decode("crop", &crop).unwrap();
        assert_eq!((crop.width(), crop.height()), (112, 112));
        let shot = BASE64_STANDARD.decode(track.best_shot.as_ref().unwrap()).unwrap();
        assert!(shot.starts_with(&[0xff, 0xd8, 0xff]));
        let shot = Picture::decode("shot", &shot).unwrap();
        // 1.6 times the box, as far as it lies in the picture.
        assert_eq!(shot.height(), if track.best_box[3] > 20.0 { 50 } else { 26 });
        for picture in [crop, shot] {
            let middle = picture.width() * picture.height() / 2 + picture.width() / 2;
            let pixel = &picture.as_rgb()[middle as usize * 3..][..3];
            let near = pixel.iter().zip([0xc0u8, 0x40, 0x20]).all(|(a, b)| a.abs_diff(b) < 12);
            assert!(near, "{pixel:?}");
        }
    }
    let lines = std::fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
    let records = lines.lines().map(|line| serde_json::from_str::<FrameRecord>(line).unwrap());
    // They were in the metadata, for the samples; nobody asked for them here.
    assert!(records.flat_map(|r| r.faces).all(|face| face.embedding.is_none()));
}

#[test]
fn without_clusters_there_is_a_sample_per_look() {
    if tiny().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path(), RED);
    (options.samples, options.clusters) = (true, false);
    let analysis = analyze_file(&options, go_on).unwrap();
    for track in &analysis.tracks {
        assert!((25..=30).contains(&track.samples.len()), "{}", track.samples.len());
        assert!(track.samples.iter().all(|s| s.observations == 1));
        assert!(track.samples.windows(2).all(|w| w[0].pts_ns < w[1].pts_ns));
    }
}

#[test]
fn what_is_not_asked_for_is_not_written() {
    if tiny().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path(), RED);
    analyze_file(&options, go_on).unwrap();
    let (text, _) = written(folder.path());
    for field in ["samples", "best_shot", "group", "embedding"] {
        assert!(!text.contains(&format!("\"{field}")), "{field}: {text}");
    }
    options.pictures = true;
    analyze_file(&options, go_on).unwrap();
    let (text, analysis) = written(folder.path());
    assert!(analysis.tracks.iter().all(|t| t.best_shot.is_some()));
    assert!(!text.contains("\"samples") && !text.contains("\"embedding"), "{text}");
}

#[test]
fn faces_of_one_picture_are_two_people_however_alike() {
    if tiny().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path(), SHARP);
    options.group = true;
    let analysis = analyze_file(&options, go_on).unwrap();
    assert_eq!(analysis, written(folder.path()).1);
    let groups: Vec<_> = analysis.groups.iter().map(|g| (g.group, g.tracks.len())).collect();
    assert_eq!(groups, [(1, 1), (2, 1)]);
    for group in &analysis.groups {
        let track = analysis.tracks.iter().find(|t| t.track_id == group.tracks[0]).unwrap();
        assert_eq!((track.group, track.frames), (Some(group.group), group.frames));
        let times = [track.first_pts_ns.unwrap(), track.last_pts_ns.unwrap()];
        assert_eq!(group.intervals_ns, [times]);
        assert!(track.samples.is_empty() && track.best_shot.is_none());
    }
}

#[test]
fn what_was_never_seen_clearly_is_in_no_group() {
    if tiny().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Of one colour: nothing of a face can be seen.
    let mut options = options(folder.path(), RED);
    options.group = true;
    let analysis = analyze_file(&options, go_on).unwrap();
    assert_eq!((analysis.tracks.len(), analysis.groups.len()), (2, 0));
    assert!(analysis.tracks.iter().all(|t| t.group.is_none()));
}
