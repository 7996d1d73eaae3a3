//! Stored clips, in a folder, on the tiny models.

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::process::Command;

use face_core::clip::{Clip, Clips, KeyTemplate, Media, Part, Sidecar};
use face_core::storage::Storage;
use face_pipeline::{AnalyzeError, AnalyzeOptions, ClipProgress, analyze_clip};
use support::stream::{PICTURES, launch, tiny, tiny_models};
use tempfile::TempDir;

const STEM: &str = "door/2026/11/23/20261123T040506789Z-known-face-0123456789ab";

/// A storage with a clip that has sound.
struct Scene {
    folder: TempDir,
    clips: Clips,
}

impl Scene {
    /// `None` where the models cannot run.
    fn new() -> Option<Scene> {
        tiny()?;
        let folder = tempfile::tempdir().unwrap();
        let video = folder.path().join("made.mp4");
        launch(&format!(
            "mp4mux name=m ! filesink location={} videotestsrc num-buffers=30 ! {PICTURES} ! \
             videoconvert ! x264enc ! h264parse ! m. audiotestsrc num-buffers=48 \
             samplesperbuffer=1000 ! audio/x-raw,rate=48000,channels=1 ! audioconvert ! avenc_aac \
             ! aacparse ! m.",
            video.display()
        ));
        let uri = folder.path().join("clips");
        let storage = Storage::open(uri.to_str().unwrap()).unwrap();
        storage.put(&format!("{STEM}.mp4"), &fs::read(&video).unwrap()).unwrap();
        Some(Scene { folder, clips: Clips::new(storage, KeyTemplate::default()) })
    }

    fn clip(&self) -> Clip {
        self.clips.find(STEM).unwrap()
    }

    /// Nothing but the clip, and what `others` end with, is in the storage, and no analysis was
    /// written.
    fn has_nothing_but(&self, others: &[&str]) {
        let mut keys = Vec::new();
        self.clips
            .storage()
            .list("", &mut |object| {
                keys.push(object.key);
                ControlFlow::Continue(())
            })
            .unwrap();
        let expected = others.iter().copied().chain([".mp4"]);
        let mut expected: Vec<String> = expected.map(|end| format!("{STEM}{end}")).collect();
        keys.sort();
        expected.sort();
        assert_eq!(keys, expected);
        assert!(!self.folder.path().join("a.json").exists());
    }

    fn options(&self) -> AnalyzeOptions {
        AnalyzeOptions {
            recognition: tiny_models("two_faces.onnx"),
            json: Some(self.folder.path().join("a.json")),
            ..AnalyzeOptions::default()
        }
    }
}

fn go_on(_: ClipProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn t14_clip_gets_an_annotated_twin_with_its_sound() {
    let Some(scene) = Scene::new() else { return };
    let mut steps = Vec::new();
    let options = AnalyzeOptions {
        annotate: Some(scene.folder.path().join("here.mp4")),
        samples: true,
        ..scene.options()
    };
    let done = analyze_clip(&scene.clips, &scene.clip(), &options, true, |progress| {
        steps.push(match progress {
            ClipProgress::Download { .. } => "download",
            ClipProgress::Analysis(_) => "analysis",
            ClipProgress::Upload { .. } => "upload",
        });
        ControlFlow::Continue(())
    })
    .unwrap();
    steps.dedup();
    assert_eq!(steps, ["download", "analysis", "upload"]);
    let twin = format!("{STEM}_annotated.mp4");
    assert_eq!(done.twin.as_ref(), Some(&twin));
    let source = format!("{}/{STEM}.mp4", scene.clips.storage().uri());
    assert_eq!((done.analysis.source, done.analysis.frames), (source, 30));
    assert!(done.analysis.tracks.iter().all(|t| !t.samples.is_empty()));
    let written = fs::read_to_string(options.json.unwrap()).unwrap();
    assert!(written.contains(STEM) && !written.contains("clip.mp4"));

    let annotated = scene.clip().annotated.unwrap();
    assert_eq!(annotated.key, twin);
    let stored = scene.clips.get(&scene.clip(), Part::Annotated, 1 << 24).unwrap();
    let here = options.annotate.unwrap();
    assert!(fs::read(&here).unwrap() == stored, "the copy of this machine is the same");
    let probed = Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0", "-count_frames", "-show_entries"])
        .args(["stream=codec_name,nb_read_frames"])
        .arg(&here)
        .output()
        .unwrap();
    let streams = String::from_utf8(probed.stdout).unwrap();
    let mut streams: Vec<&str> = streams.lines().collect();
    streams.sort_unstable();
    assert!(streams.len() == 2 && streams[0].starts_with("aac,"), "{streams:?}");
    assert_eq!(streams[1], "h264,30");
}

#[test]
fn clip_can_be_analysed_without_a_twin() {
    let Some(scene) = Scene::new() else { return };
    let options = AnalyzeOptions { json: None, ..scene.options() };
    let done = analyze_clip(&scene.clips, &scene.clip(), &options, false, go_on).unwrap();
    assert_eq!((done.twin, done.analysis.frames), (None, 30));
    scene.has_nothing_but(&[]);
}

#[test]
fn whenever_it_is_stopped_nothing_is_left() {
    let Some(scene) = Scene::new() else { return };
    for at in ["Download", "Analysis", "Upload"] {
        let stop = |progress: ClipProgress| match format!("{progress:?}").starts_with(at) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let error = analyze_clip(&scene.clips, &scene.clip(), &scene.options(), true, stop);
        let error = error.unwrap_err();
        assert!(matches!(error, AnalyzeError::Interrupted { .. }), "{at}: {error}");
        assert!(error.to_string().contains(STEM) && !error.is_of_the_video(), "{error}");
        scene.has_nothing_but(&[]);
    }
}

#[test]
fn damaged_clip_is_named_and_leaves_nothing() {
    let Some(scene) = Scene::new() else { return };
    let storage = scene.clips.storage();
    let key = format!("{STEM}.mp4");
    let analyze = || {
        let done = analyze_clip(&scene.clips, &scene.clip(), &scene.options(), true, go_on);
        let error = done.unwrap_err();
        assert!(error.is_of_the_video(), "{error}");
        scene.has_nothing_but(&[]);
        error.to_string()
    };
    let whole = scene.clips.get(&scene.clip(), Part::Original, 1 << 24).unwrap();
    storage.put(&key, b"this is no video").unwrap();
    let error = analyze();
    assert!(error.contains(STEM) && !error.contains("clip.mp4"), "{error}");
    storage.put(&key, &whole[..whole.len() / 2]).unwrap();
    let error = analyze();
    assert!(error.contains(STEM) && !error.contains("clip.mp4"), "{error}");
}

#[test]
fn clip_that_is_not_what_its_sidecar_says_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let media = Media { sha256: "00".repeat(32), ..Media::default() };
    let sidecar = Sidecar { media: Some(media), ..Sidecar::default() };
    let sidecar = sidecar.to_json(false).unwrap();
    scene.clips.storage().put(&format!("{STEM}.json"), &sidecar).unwrap();
    let error = analyze_clip(&scene.clips, &scene.clip(), &scene.options(), true, go_on);
    let error = error.unwrap_err();
    assert!(error.is_of_the_video() && error.to_string().contains("checksum"), "{error}");
    scene.has_nothing_but(&[".json"]);
}

#[test]
fn clip_without_its_video_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let clip = Clip { original: None, ..scene.clip() };
    let error = analyze_clip(&scene.clips, &clip, &scene.options(), true, go_on).unwrap_err();
    assert!(error.is_of_the_video() && error.to_string().contains("no original"), "{error}");
    scene.has_nothing_but(&[]);
}

#[test]
fn twin_that_cannot_be_stored_leaves_no_analysis() {
    let Some(scene) = Scene::new() else { return };
    let clip = scene.clip();
    let place = scene.folder.path().join("clips").join(format!("{STEM}_annotated.mp4"));
    fs::create_dir_all(place.join("in-the-way")).unwrap();
    let error = analyze_clip(&scene.clips, &clip, &scene.options(), true, go_on).unwrap_err();
    assert!(!error.is_of_the_video(), "{error}");
    fs::remove_dir_all(&place).unwrap();
    scene.has_nothing_but(&[]);
}

#[test]
fn wrong_model_is_not_the_clips_fault() {
    let Some(scene) = Scene::new() else { return };
    let mut options = scene.options();
    options.recognition.embedder = Some("no-such-embedder".to_owned());
    for group in [false, true] {
        options.group = group;
        let error = analyze_clip(&scene.clips, &scene.clip(), &options, true, go_on).unwrap_err();
        assert!(!error.is_of_the_video(), "{error:?}");
    }
    scene.has_nothing_but(&[]);
}
