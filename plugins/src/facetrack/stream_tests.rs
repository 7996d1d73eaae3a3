use face_core::frame::PixelFormat;
use face_core::geometry::BBox;

use super::*;

const MS: u64 = 1_000_000;

fn stamp(running_ms: Option<u64>, discont: bool) -> Stamp {
    Stamp { running_ns: running_ms.map(|t| t * MS), step_ns: Some(40 * MS), discont, taken: None }
}

fn frame(x: Option<f32>) -> FrameFaces {
    let face = |x| Face {
        id: 3,
        bbox: BBox::new(x, 0.3, 0.1, 0.2),
        observed: true,
        score: 0.9,
        ..Default::default()
    };
    FrameFaces {
        looked: true,
        width: 720,
        height: 576,
        par: (16, 15),
        faces: x.map(face).into_iter().collect(),
        ..Default::default()
    }
}

#[test]
fn buffers_without_time_follow_the_last_one() {
    let mut stream = Stream::new(TrackerConfig::default()).unwrap();
    assert_eq!(stream.advance(stamp(None, true)).0, 0);
    assert_eq!(stream.advance(stamp(Some(1000), false)).0, 1000 * MS);
    assert_eq!(stream.advance(stamp(None, false)).0, 1040 * MS);
    let unknown = Stamp::default();
    assert_eq!(stream.advance(unknown).0, 1080 * MS);
    assert_eq!(stream.advance(unknown).0, 1080 * MS + FALLBACK_STEP_NS);
}

#[test]
fn only_a_jump_in_time_ends_tracks_at_a_discontinuity() {
    let mut stream = Stream::new(TrackerConfig::default()).unwrap();
    let mut step = |ms, discont| {
        let (time, ended) = stream.advance(stamp(Some(ms), discont));
        stream.follow(time, &mut frame(Some(0.4)));
        ended.len()
    };
    assert_eq!(step(0, true), 0);
    assert_eq!(step(40, true), 0);
    assert_eq!(step(500, true), 0, "a gap shorter than max-lost");
    assert_eq!(step(490, true), 0, "a step back of less than a frame");
    assert_eq!(step(5000, true), 1, "ahead");
    assert_eq!(step(4500, false), 0, "back without DISCONT");
    assert_eq!(step(4000, true), 1, "back");
    assert_eq!(step(100, false), 1, "far back without DISCONT");
}

#[test]
fn predicted_faces_have_their_own_ids_and_the_last_score() {
    let mut stream = Stream::new(TrackerConfig::default()).unwrap();
    stream.follow(0, &mut frame(Some(0.4)));
    let mut missed = frame(None);
    stream.follow(40 * MS, &mut missed);
    let [face] = &missed.faces[..] else { panic!("{missed:?}") };
    assert!(!face.observed && face.landmarks.is_none());
    assert_eq!((face.track_id, face.track_state), (1, TrackState::Lost));
    assert_eq!((face.score, face.first_seen_ns), (0.9, Some(0)));
    assert!(face.bbox.iou(&BBox::new(0.4, 0.3, 0.1, 0.2)) > 0.99, "{:?}", face.bbox);
    // A second facetrack takes it for no observation.
    let mut second = Stream::new(TrackerConfig::default()).unwrap();
    second.follow(0, &mut missed);
    assert!(missed.faces.is_empty());
}

#[test]
fn a_scene_cut_ends_tracks_and_time_goes_on() {
    let mut stream = Stream::new(TrackerConfig::default()).unwrap();
    let dark = [20; 64 * 64 * 3];
    let picture = |data| FrameView::packed(PixelFormat::Rgb, 64, 64, data).unwrap();
    assert!(stream.look(0, &picture(&dark)).is_none(), "off");
    stream.set_scene_cut(Some(SceneCutConfig::default())).unwrap();
    for n in 0..6 {
        assert_eq!(stream.advance(stamp(Some(40 * n), false)).0, 40 * n * MS);
        assert!(stream.look(40 * n * MS, &picture(&dark)).is_none());
        stream.follow(40 * n * MS, &mut frame(Some(0.4)));
    }
    // Settings that change while it plays do not make it forget.
    stream.set_scene_cut(Some(SceneCutConfig { ratio: 2.0, ..Default::default() })).unwrap();
    assert_eq!(stream.advance(stamp(None, false)).0, 240 * MS);
    let light = [220; 64 * 64 * 3];
    let (score, ended) = stream.look(240 * MS, &picture(&light)).unwrap();
    assert!((score - 200.0 / 3.0).abs() < 0.1, "{score}");
    assert_eq!(ended.iter().map(|t| t.track.track_id).collect::<Vec<_>>(), [1]);
    let mut next = frame(Some(0.4));
    stream.follow(240 * MS, &mut next);
    assert_eq!((next.ended_tracks.clone(), next.faces[0].track_id), (vec![1], 2));
    assert_eq!(stream.advance(stamp(None, false)).0, 280 * MS);
}

#[test]
fn tracks_ended_by_a_reset_stand_in_the_next_meta() {
    let mut stream = Stream::new(TrackerConfig::default()).unwrap();
    stream.follow(0, &mut frame(Some(0.4)));
    let ended = stream.reset();
    assert_eq!(
        ended.iter().map(|t| (t.track.track_id, t.track.confirmed)).collect::<Vec<_>>(),
        [(1, true)]
    );
    assert_eq!(stream.live_tracks(), 0);
    let mut next = frame(Some(0.4));
    stream.follow(0, &mut next);
    assert_eq!((next.ended_tracks.clone(), next.faces[0].track_id), (vec![1], 2));
    let mut after = frame(Some(0.4));
    stream.follow(40 * MS, &mut after);
    assert!(after.ended_tracks.is_empty());
}
