//! clipsink with its request pads: metadata of another branch, and sound.

mod clip_support;

use clip_support::*;
use face_core::clip::{Clip, Part, Sidecar};
use gst::prelude::*;

/// A camera's stream on `sink`, and raw pictures with metadata on `meta`.
struct Branches {
    scene: Scene,
    stream: Coded,
    raw: Coded,
    sink: gst_app::AppSrc,
    meta: gst_app::AppSrc,
}

impl Branches {
    fn new() -> Self {
        let stream = h264(250, "bframes=2 b-adapt=false", "byte-stream");
        let raw = collect(
            "videotestsrc num-buffers=250 ! \
             video/x-raw,format=NV12,width=160,height=120,framerate=25/1 ! appsink name=out",
        );
        let scene = Scene::new();
        let sink = scene.source("sink", &stream.caps);
        let meta = scene.source("meta", &raw.caps);
        scene.play();
        Self { scene, stream, raw, sink, meta }
    }

    fn pictures(&self, range: std::ops::Range<usize>) {
        for buffer in &self.stream.buffers[range] {
            self.sink.push_buffer(buffer.clone()).unwrap();
        }
        // What the other branch gets is later than this.
        until("the pictures are there", || self.sink.current_level_buffers() == 0);
    }

    fn looks(&self, range: impl Iterator<Item = usize>, at: usize) {
        for i in range {
            let time = pts(&self.raw.buffers[i]).unwrap();
            let events = if i == at { vec![event("a", time)] } else { Vec::new() };
            self.meta.push_buffer(with_meta(&self.raw.buffers[i], &events)).unwrap();
        }
        until("the metadata is there", || self.meta.current_level_buffers() == 0);
    }

    fn end(&self) -> (Clip, Sidecar) {
        self.sink.end_of_stream().unwrap();
        self.meta.end_of_stream().unwrap();
        self.scene.finish();
        self.scene.clips(1).remove(0)
    }

    /// The clip is from 3 to about 5 s, whole, and bit by bit.
    fn check(&self, clip: &Clip, sidecar: &Sidecar) {
        let file = self.scene.file(clip, Part::Original);
        let coded = demuxed(&file, "h264");
        let whole = units(&self.stream.buffers, "h264");
        assert!(position(&units(&coded.buffers, "h264"), &whole).is_some(), "bytes differ");
        assert_eq!(decoded(&file), coded.buffers.len());
        assert!((50..=53).contains(&coded.buffers.len()), "{}", coded.buffers.len());
        assert_eq!(sidecar.start_running_time_ns, Some(3 * S));
        assert!(clip.snapshot.is_some(), "pictures of the other branch");
    }
}

#[test]
fn metadata_three_seconds_late_keeps_the_camera_s_own_stream() {
    let branches = Branches::new();
    // A step is a second.
    for step in 0..10 {
        branches.pictures(step * 25..(step + 1) * 25);
        if step >= 3 {
            branches.looks((step - 3) * 25..(step - 2) * 25, 75);
        }
    }
    branches.looks(175..250, 75);
    let (clip, sidecar) = branches.end();
    branches.check(&clip, &sidecar);
    assert!(sidecar.missing.is_empty(), "{:?}", sidecar.missing);
    assert_eq!(sidecar.frames.len(), 50);
    assert_eq!(sidecar.frames[0].faces[0].box_px, [40.0, 30.0, 80.0, 60.0]);
}

#[test]
fn metadata_at_a_tenth_of_the_rate_is_enough() {
    let branches = Branches::new();
    for step in 0..10 {
        branches.pictures(step * 25..(step + 1) * 25);
        let looks = (step * 25..(step + 1) * 25).filter(|i| i % 10 == 0 || *i == 75);
        branches.looks(looks, 75);
    }
    let (clip, sidecar) = branches.end();
    branches.check(&clip, &sidecar);
    assert!((5..=7).contains(&sidecar.frames.len()), "{}", sidecar.frames.len());
}

#[test]
fn metadata_that_stops_costs_only_what_it_would_have_said() {
    let branches = Branches::new();
    branches.pictures(0..100);
    branches.looks(0..80, 75);
    branches.pictures(100..250);
    // The stream ends 5 s after the clip does; the other branch never said so.
    branches.sink.end_of_stream().unwrap();
    let spooled = branches.scene.message("clip-spooled");
    assert_eq!(spooled.get::<gst::Array>("missing").unwrap().len(), 1);
    branches.scene.pipeline.set_state(gst::State::Null).unwrap();
    let (clip, sidecar) = branches.scene.clips(1).remove(0);
    branches.check(&clip, &sidecar);
    assert_eq!(sidecar.missing[0].what, "metadata");
}

#[test]
fn either_branch_may_end_first() {
    let branches = Branches::new();
    branches.pictures(0..100);
    branches.looks(0..80, 75);
    branches.meta.end_of_stream().unwrap();
    branches.pictures(100..250);
    let (clip, sidecar) = branches.end();
    branches.check(&clip, &sidecar);

    let branches = Branches::new();
    branches.pictures(0..125);
    branches.sink.end_of_stream().unwrap();
    branches.looks(0..250, 75);
    let (clip, sidecar) = branches.end();
    branches.check(&clip, &sidecar);
}

#[test]
fn request_pads_can_be_released_and_requested_again() {
    let scene = Scene::new();
    let meta = scene.element.request_pad_simple("meta").unwrap();
    let audio = scene.element.request_pad_simple("audio").unwrap();
    scene.element.release_request_pad(&meta);
    scene.element.release_request_pad(&audio);
    assert!(scene.element.request_pad_simple("meta").is_some());
}

/// Sound of 25 pieces a second or so for ten seconds, a second later than it is made.
fn sound(description: &str) -> Coded {
    collect(&format!(
        "audiotestsrc num-buffers=500 samplesperbuffer=960 ! \
         audio/x-raw,format=S16LE,rate=48000,channels=1 ! audioconvert ! {description} ! appsink name=out"
    ))
}

/// A clip with this sound, from 3 to 5 s.
fn with_sound(sound: &Coded, until_ns: u64) -> (Scene, Clip, Sidecar, Vec<gst::Structure>) {
    let stream = h264(250, "tune=zerolatency", "byte-stream");
    let scene = Scene::new();
    let sink = scene.source("sink", &stream.caps);
    let audio = scene.source("audio", &sound.caps);
    scene.play();
    for buffer in sound.buffers.iter().filter(|buffer| pts(buffer) < Some(until_ns)) {
        audio.push_buffer(buffer.clone()).unwrap();
    }
    until("the sound is there", || audio.current_level_buffers() == 0);
    audio.end_of_stream().unwrap();
    // Sound that comes first must still be there when the clip begins.
    for buffer in &stream.buffers {
        let now = pts(buffer) == Some(4 * S);
        let events = if now { vec![event("a", 4 * S)] } else { Vec::new() };
        sink.push_buffer(with_meta(buffer, &events)).unwrap();
    }
    sink.end_of_stream().unwrap();
    let messages = scene.finish();
    let (clip, sidecar) = scene.clips(1).remove(0);
    (scene, clip, sidecar, messages)
}

fn codec_of(file: &std::path::Path) -> (String, Coded) {
    let coded = collect(&format!(
        "filesrc location={} ! qtdemux name=d d.audio_0 ! appsink name=out",
        file.display()
    ));
    (coded.caps.structure(0).unwrap().name().to_string(), coded)
}

#[test]
fn sound_that_mp4_holds_is_copied_and_telephone_sound_becomes_opus() {
    for (encoder, codec, name) in [
        ("avenc_aac ! aacparse", "audio/mpeg", "aac"),
        ("lamemp3enc ! mpegaudioparse", "audio/mpeg", "mp3"),
        ("opusenc ! opusparse", "audio/x-opus", "opus"),
        ("avenc_ac3 ! ac3parse", "audio/x-ac3", "ac3"),
        ("audioresample ! audio/x-raw,rate=8000 ! alawenc", "audio/x-opus", "opus"),
        ("audioresample ! audio/x-raw,rate=8000 ! mulawenc", "audio/x-opus", "opus"),
        ("identity", "audio/x-opus", "opus"),
    ] {
        eprintln!("{encoder}");
        let sound = sound(encoder);
        let (scene, clip, sidecar, _) = with_sound(&sound, u64::MAX);
        let file = scene.file(&clip, Part::Original);
        assert!(sidecar.missing.is_empty(), "{encoder}: {:?}", sidecar.missing);
        let (found, coded) = codec_of(&file);
        assert_eq!(found, codec, "{encoder}");
        assert_eq!(sidecar.media.unwrap().audio.unwrap().codec, name, "{encoder}");
        let (first, last) = (&coded.buffers[0], coded.buffers.last().unwrap());
        // Times in this file begin at 1 s: sound and pictures lie beside each other.
        let (from, to) = (pts(first).unwrap(), pts(last).unwrap());
        assert!(from < S + 150 * MS, "{encoder}: {from}");
        assert!((2800 * MS..3200 * MS).contains(&to), "{encoder}: {to}");
        assert_eq!(decoded(&file), 50, "{encoder}");
        if encoder.contains("aac") {
            let bytes = |buffer: &gst::Buffer| buffer.map_readable().unwrap().to_vec();
            let whole: Vec<_> = sound.buffers.iter().map(bytes).collect();
            let part: Vec<_> = coded.buffers.iter().map(bytes).collect();
            assert!(position(&part, &whole).is_some(), "bytes differ");
        }
    }
}

#[test]
fn sound_that_stops_costs_nothing_but_itself() {
    let (scene, clip, sidecar, _) = with_sound(&sound("opusenc ! opusparse"), 4 * S);
    let file = scene.file(&clip, Part::Original);
    assert_eq!(decoded(&file), 50);
    assert_eq!(sidecar.missing[0].what, "audio");
    let lacks = sidecar.missing[0].duration_ns;
    assert!((900 * MS..1100 * MS).contains(&lacks), "{lacks}");
}

#[test]
fn sound_that_cannot_be_kept_is_named_and_the_clip_is_there() {
    let vorbis = sound("vorbisenc");
    let (scene, clip, sidecar, _) = with_sound(&vorbis, u64::MAX);
    assert_eq!(decoded(&scene.file(&clip, Part::Original)), 50);
    assert!(sidecar.media.unwrap().audio.is_none());
    assert_eq!(scene.stat("audio-dropped"), 1);
}
