//! `TrackerPipeline` on a real clip: the same as an analysis of the file.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use face_core::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat, Plane};
use face_pipeline::schema::FrameRecord;
use face_pipeline::tracker::{Event, Frame, Source, TrackedFrame, TrackerPipeline};
use face_pipeline::{Analysis, analyze_file};
use gst::prelude::*;
use gst_video::prelude::*;
use support::stream::all;
use support::{HAMILTON, enrol_people, go_on, media, options, recognition};

/// The analysis of the clip with its lines, and a pipeline that should give the same.
fn expected(media: &Path, folder: &Path) -> (Analysis, Vec<FrameRecord>, TrackerPipeline) {
    let gallery = folder.join("g.db");
    enrol_people(media, &gallery);
    let mut options = options(media, HAMILTON);
    options.gallery = Some((&gallery).into());
    options.frames = Some(folder.join("frames.jsonl"));
    let analysis = analyze_file(&options, go_on).unwrap();
    let lines = std::fs::read_to_string(folder.join("frames.jsonl")).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (analysis, lines, TrackerPipeline::new().recognition(recognition()).gallery(gallery))
}

/// As an analysis rewrites them: a track that was joined with an older one has its id from its
/// beginning.
fn with_final_ids(frames: Vec<TrackedFrame>) -> Vec<FrameRecord> {
    let mut relinked = BTreeMap::new();
    for face in frames.iter().flat_map(|f| &f.meta.faces) {
        if face.was_id != 0 && face.was_id != face.track_id {
            relinked.insert(face.was_id, face.track_id);
        }
    }
    let mut records: Vec<FrameRecord> = frames.into_iter().map(|f| f.record).collect();
    for face in records.iter_mut().flat_map(|r| &mut r.faces) {
        while let Some(id) = relinked.get(&face.track_id) {
            face.track_id = *id;
        }
    }
    records
}

/// Frames of every track and name.
fn tracks(records: &[FrameRecord]) -> BTreeMap<(u64, Option<&str>), usize> {
    let mut tracks = BTreeMap::new();
    for face in records.iter().flat_map(|r| &r.faces) {
        *tracks.entry((face.track_id, face.name.as_deref())).or_default() += 1;
    }
    tracks
}

#[test]
fn real_t19_file_as_a_source_gives_what_the_analysis_gives() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (analysis, lines, pipeline) = expected(&media, folder.path());
    let source = Source::File(media.join("video").join(HAMILTON));
    let tracking = pipeline.results(true).start(&source).unwrap();
    let (events, result) = all(&tracking);
    result.unwrap();
    let mut names = Vec::new();
    let mut frames = Vec::new();
    for event in events {
        match event {
            Event::Frame(frame) => frames.push(*frame),
            Event::Message(m) => names.extend(m.text("name").map(str::to_owned)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(with_final_ids(frames), lines);
    names.sort();
    names.dedup();
    let mut people: Vec<&str> = analysis.people.iter().map(|p| p.name.as_str()).collect();
    people.sort();
    assert_eq!(names, people);
}

#[test]
fn real_t18_decoded_frames_give_what_the_analysis_gives() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (analysis, lines, pipeline) = expected(&media, folder.path());
    let (pictures, rate) = Pictures::open(media.join("video").join(HAMILTON));
    let frames: Result<Vec<_>, _> = pipeline.frames(pictures, rate).unwrap().collect();
    let records = with_final_ids(frames.unwrap());
    assert_eq!(records.len() as u64, analysis.frames);
    assert_eq!(tracks(&records), tracks(&lines));
    assert_eq!(records, lines);
}

/// The pictures of a file, decoded one by one.
struct Pictures {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    first: Option<gst::Sample>,
}

impl Pictures {
    /// With their number per second.
    fn open(file: PathBuf) -> (Pictures, f64) {
        gst::init().unwrap();
        let pipeline = gst::parse::launch(
            "filesrc name=file ! qtdemux ! h264parse ! avdec_h264 ! video/x-raw,format=I420 \
             ! appsink name=out sync=false max-buffers=2",
        );
        let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
        pipeline.by_name("file").unwrap().set_property("location", file);
        let sink = pipeline.by_name("out").and_downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let first = sink.pull_sample().unwrap();
        let info = gst_video::VideoInfo::from_caps(first.caps().unwrap()).unwrap();
        let rate = f64::from(info.fps().numer()) / f64::from(info.fps().denom());
        (Pictures { pipeline, sink, first: Some(first) }, rate)
    }
}

impl Iterator for Pictures {
    type Item = Frame<'static>;

    fn next(&mut self) -> Option<Frame<'static>> {
        let sample = self.first.take().or_else(|| self.sink.pull_sample().ok())?;
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let buffer = sample.buffer().unwrap();
        let video = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).unwrap();
        let plane = |i: u32| Plane {
            data: video.plane_data(i).unwrap(),
            stride: video.plane_stride()[i as usize] as usize,
        };
        let planes = [plane(0), plane(1), plane(2)];
        let mut view =
            FrameView::new(PixelFormat::I420, info.width(), info.height(), &planes).unwrap();
        view.matrix = match info.colorimetry().matrix() {
            gst_video::VideoColorMatrix::Bt709 => ColorMatrix::Bt709,
            _ => ColorMatrix::Bt601,
        };
        view.range = match info.colorimetry().range() {
            gst_video::VideoColorRange::Range0_255 => ColorRange::Full,
            _ => ColorRange::Limited,
        };
        let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().unwrap().clone();
        let time = segment.to_stream_time(buffer.pts()).unwrap();
        Some(Frame::copy_of(&view).at(time.nseconds()))
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
