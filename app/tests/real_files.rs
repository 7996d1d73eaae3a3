//! Files that are not quite what one hopes for: turned, cut off, with all kinds of sound, no video.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use face_pipeline::{Analysis, AnalyzeError, AnalyzeOptions, analyze_file};
use gst::prelude::*;
use support::{HAMILTON, WALKING, go_on, media, recognition};

/// Runs a pipeline to its end, to make a file.
fn launch(line: &str) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(line).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &wanted).unwrap();
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{line}: {message:?}");
}

fn analyze(video: &Path, copy: Option<PathBuf>) -> Result<Analysis, AnalyzeError> {
    let options = AnalyzeOptions {
        video: video.to_owned(),
        recognition: recognition(),
        annotate: copy,
        ..AnalyzeOptions::default()
    };
    analyze_file(&options, go_on)
}

fn probe(path: &Path) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-of", "csv=p=0", "-show_entries"])
        .arg("stream=codec_name,width,height,nb_read_frames:stream_side_data=rotation")
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn real_turned_recording_is_analysed_and_copied_upright() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (video, copy) = (folder.path().join("turned.mp4"), folder.path().join("copy.mp4"));
    launch(&format!(
        "filesrc location={} ! decodebin ! videoconvert ! videoflip video-direction=90l ! x264enc \
         ! mp4mux ! filesink location={}",
        media.join("video").join(WALKING).display(),
        video.display()
    ));
    // mp4mux writes no rotation: the matrix of the track header says a quarter turn clockwise.
    let mut bytes = std::fs::read(&video).unwrap();
    let header = bytes.windows(4).position(|w| w == b"tkhd").unwrap();
    let matrix = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x4000_0000i32];
    for (place, value) in bytes[header + 44..].chunks_exact_mut(4).zip(matrix) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    std::fs::write(&video, bytes).unwrap();
    assert_eq!(probe(&video), "h264,270,480,41,-90");
    let analysis = analyze(&video, Some(copy.clone())).unwrap();
    assert!(analysis.tracks.len() >= 2, "{:?}", analysis.tracks);
    let [x, _, w, _] = analysis.tracks[0].best_box;
    assert!(x + w <= 480.0);
    assert_eq!(probe(&copy), "h264,480,270,41");
}

#[test]
fn real_sound_is_copied_where_mp4_takes_it_and_encoded_where_not() {
    let Some(_) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (encoder, codec) in [
        ("avenc_aac", "aac"),
        ("opusenc", "opus"),
        ("lamemp3enc", "mp3"),
        ("avenc_ac3", "ac3"),
        ("vorbisenc", "aac"),
        ("identity", "aac"),
    ] {
        let video = folder.path().join(format!("{encoder}.mkv"));
        launch(&format!(
            "matroskamux name=m ! filesink location={} videotestsrc num-buffers=30 ! x264enc ! \
             h264parse ! m. audiotestsrc num-buffers=48 samplesperbuffer=1000 ! \
             audio/x-raw,rate=48000,channels=2 ! audioconvert ! {encoder} ! m.",
            video.display()
        ));
        let copy = folder.path().join(format!("{encoder}.mp4"));
        let analysis = analyze(&video, Some(copy.clone())).unwrap();
        assert_eq!((analysis.frames, analysis.warnings), (30, vec![]), "{encoder}");
        let streams = probe(&copy);
        let mut lines = streams.lines();
        assert_eq!(lines.next(), Some("h264,320,240,30"), "{encoder}");
        assert!(lines.next().is_some_and(|l| l.starts_with(codec)), "{encoder}: {streams}");
    }
}

#[test]
fn real_sound_that_nothing_decodes_is_left_out_with_a_warning() {
    let Some(_) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (video, copy) = (folder.path().join("flac.mkv"), folder.path().join("copy.mp4"));
    launch(&format!(
        "matroskamux name=m ! filesink location={} videotestsrc num-buffers=30 ! x264enc ! \
         h264parse ! m. audiotestsrc num-buffers=48 ! flacenc ! m.",
        video.display()
    ));
    for decoder in ["flacdec", "avdec_flac"] {
        if let Some(factory) = gst::ElementFactory::find(decoder) {
            factory.set_rank(gst::Rank::NONE);
        }
    }
    let analysis = analyze(&video, Some(copy.clone())).unwrap();
    assert_eq!(analysis.warnings.len(), 1, "{:?}", analysis.warnings);
    assert!(analysis.warnings[0].contains("sound left out"), "{:?}", analysis.warnings);
    assert_eq!(probe(&copy), "h264,320,240,30");
}

#[test]
fn real_file_that_was_cut_off_is_analysed_with_a_warning() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole.mp4"), folder.path().join("cut.mp4"));
    launch(&format!(
        "filesrc location={} ! qtdemux ! h264parse ! mp4mux faststart=true ! filesink location={}",
        media.join("video").join(HAMILTON).display(),
        whole.display()
    ));
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let analysis = analyze(&cut, None).unwrap();
    assert!((50..250).contains(&analysis.frames), "{}", analysis.frames);
    assert!(analysis.warnings.iter().any(|w| w.contains("cut off")), "{:?}", analysis.warnings);
}

#[test]
fn real_picture_is_a_video_of_one_frame() {
    let Some(_) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("a.png");
    launch(&format!(
        "videotestsrc num-buffers=1 ! pngenc ! filesink location={}",
        picture.display()
    ));
    assert_eq!(analyze(&picture, None).unwrap().frames, 1);
}

#[test]
fn real_change_of_size_is_fitted_into_the_copy() {
    let Some(_) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (video, copy) = (folder.path().join("two.h264"), folder.path().join("copy.mp4"));
    let mut both = Vec::new();
    for (i, size) in ["width=321,height=241", "width=640,height=360"].iter().enumerate() {
        let part = folder.path().join(format!("{i}.h264"));
        launch(&format!(
            "videotestsrc num-buffers=20 ! video/x-raw,format=Y444,{size} ! x264enc ! \
             video/x-h264,stream-format=byte-stream ! filesink location={}",
            part.display()
        ));
        both.extend(std::fs::read(part).unwrap());
    }
    std::fs::write(&video, both).unwrap();
    assert_eq!(analyze(&video, Some(copy.clone())).unwrap().frames, 40);
    assert_eq!(probe(&copy), "h264,322,242,40");
}

#[test]
fn real_files_without_video_are_refused_by_name_and_leave_nothing() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let clip = std::fs::read(media.join("video").join(HAMILTON)).unwrap();
    let sound = folder.path().join("sound.ogg");
    launch(&format!(
        "audiotestsrc num-buffers=20 ! vorbisenc ! oggmux ! filesink location={}",
        sound.display()
    ));
    let noise: Vec<u8> =
        (0..50_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let out = tempfile::tempdir().unwrap();
    for video in [
        sound,
        put("text.mp4", b"this is no video\n"),
        put("noise.mp4", &noise),
        // The index of this clip is at its end.
        put("headless.mp4", &clip[..clip.len() / 2]),
    ] {
        let error = analyze(&video, Some(out.path().join("copy.mp4"))).unwrap_err().to_string();
        let name = video.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(name), "{error}");
        assert!(!name.starts_with("sound") || error.contains("no video stream"), "{error}");
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "{name}");
    }
}
