use face_core::geometry::{Landmarks, Point};
use face_core::identity::Status;

use super::*;

const STEP_NS: u64 = 40_000_000;

fn face(track_id: u64, name: Option<&str>) -> Face {
    Face {
        bbox: BBox::new(0.25, 0.5, 0.25, 0.25),
        observed: true,
        score: 0.9,
        track_id,
        track_state: TrackState::Confirmed,
        status: if name.is_some() { Status::Known } else { Status::Identifying },
        person_id: name.map(|n| format!("id of {n}")),
        name: name.map(str::to_owned),
        similarity: name.map(|_| 0.75),
        confirmed: name.is_some(),
        ..Face::default()
    }
}

fn frame(faces: Vec<Face>) -> FrameFaces {
    FrameFaces {
        width: 400,
        height: 200,
        par: (1, 1),
        detector: "detector".to_owned(),
        faces,
        ..FrameFaces::default()
    }
}

/// Frames at 25 per second, from `first` on.
fn push(summary: &mut Summary, first: u64, frames: impl IntoIterator<Item = Vec<Face>>) {
    for (i, faces) in frames.into_iter().enumerate() {
        let pts = (first + i as u64) * STEP_NS;
        summary.push(Some(pts), Some(STEP_NS), &frame(faces));
    }
}

fn finish(summary: Summary) -> Analysis {
    summary.finish("a.mp4".to_owned(), "embedder".to_owned(), None)
}

#[test]
fn frames_before_the_name_belong_to_the_person() {
    let mut summary = Summary::default();
    push(&mut summary, 0, vec![vec![face(1, None)]; 3]);
    push(&mut summary, 3, vec![vec![face(1, Some("ada"))]; 5]);
    let analysis = finish(summary);
    assert_eq!((analysis.frames, analysis.duration_ns), (8, Some(8 * STEP_NS)));
    assert_eq!(analysis.people.len(), 1);
    let ada = &analysis.people[0];
    assert_eq!((ada.name.as_str(), ada.frames), ("ada", 8));
    assert_eq!(ada.tracks, [1]);
    assert_eq!(ada.intervals_ns, [[0, 7 * STEP_NS]]);
    let track = &analysis.tracks[0];
    assert_eq!((track.status.as_str(), track.name.as_deref()), ("known", Some("ada")));
    assert_eq!((track.first_pts_ns, track.last_pts_ns), (Some(0), Some(7 * STEP_NS)));
    assert_eq!((track.frames, track.similarity), (8, Some(0.75)));
    assert_eq!(track.best_box, [100.0, 100.0, 100.0, 50.0]);
}

#[test]
fn predicted_faces_are_written_but_not_counted() {
    let mut summary = Summary::default();
    let predicted = Face { observed: false, ..face(1, Some("ada")) };
    push(
        &mut summary,
        0,
        (0..10).map(|i| vec![if i % 2 == 0 { face(1, Some("ada")) } else { predicted.clone() }]),
    );
    let record = summary.push(Some(10 * STEP_NS), None, &frame(vec![predicted]));
    assert!(!record.faces[0].observed);
    let analysis = finish(summary);
    assert_eq!(analysis.people[0].frames, 5);
    assert_eq!(analysis.tracks[0].last_pts_ns, Some(8 * STEP_NS));
}

#[test]
fn name_carried_most_is_final_and_replaces_a_corrected_one() {
    let mut summary = Summary::default();
    push(&mut summary, 0, vec![vec![face(1, Some("bob"))]; 2]);
    push(&mut summary, 2, vec![vec![face(1, Some("ada"))]; 6]);
    let analysis = finish(summary);
    assert_eq!(analysis.tracks[0].name.as_deref(), Some("ada"));
    assert_eq!(analysis.tracks[0].person_id.as_deref(), Some("id of ada"));
    let people: Vec<_> = analysis.people.iter().map(|p| (p.name.as_str(), p.frames)).collect();
    assert_eq!(people, [("ada", 8)]);
}

#[test]
fn of_two_names_carried_as_often_the_later_is_final() {
    let mut summary = Summary::default();
    push(&mut summary, 0, vec![vec![face(1, Some("bob"))]; 3]);
    push(&mut summary, 3, vec![vec![face(1, Some("ada"))]; 3]);
    assert_eq!(finish(summary).tracks[0].name.as_deref(), Some("ada"));
}

#[test]
fn track_that_goes_over_to_another_person_gives_each_their_frames() {
    let mut summary = Summary::default();
    push(&mut summary, 0, vec![vec![face(1, None)]; 2]);
    push(&mut summary, 2, vec![vec![face(1, Some("bob"))]; 40]);
    push(&mut summary, 42, vec![vec![face(1, None)]; 3]);
    push(&mut summary, 45, vec![vec![face(1, Some("ada"))]; 30]);
    push(&mut summary, 75, vec![vec![face(1, None)]; 4]);
    let analysis = finish(summary);
    let people: Vec<_> = analysis.people.iter().map(|p| (p.name.as_str(), p.frames)).collect();
    assert_eq!(people, [("bob", 42), ("ada", 37)]);
    assert!(analysis.people.iter().all(|p| p.tracks == [1]));
    assert_eq!(analysis.people[1].intervals_ns, [[42 * STEP_NS, 78 * STEP_NS]]);
    assert_eq!(analysis.tracks[0].name.as_deref(), Some("bob"));
}

#[test]
fn two_faces_of_a_name_are_one_frame() {
    let mut summary = Summary::default();
    push(&mut summary, 0, vec![vec![face(1, Some("ada")), face(2, Some("ada"))]; 4]);
    let analysis = finish(summary);
    assert_eq!((analysis.people[0].frames, analysis.people[0].tracks.len()), (4, 2));
}

#[test]
fn joined_tracks_have_one_id() {
    let mut summary = Summary::default();
    push(&mut summary, 0, vec![vec![face(1, Some("ada"))]; 3]);
    push(&mut summary, 50, vec![vec![face(7, None)]; 2]);
    let joined = Face { was_id: 7, ..face(1, Some("ada")) };
    push(&mut summary, 52, vec![vec![joined]; 2]);
    assert_eq!(summary.final_ids(), BTreeMap::from([(7, 1)]));
    let analysis = finish(summary);
    assert_eq!(analysis.tracks.len(), 1);
    assert_eq!((analysis.tracks[0].track_id, analysis.tracks[0].frames), (1, 7));
    assert_eq!(analysis.people[0].frames, 7);
    assert_eq!(analysis.people[0].intervals_ns, [[0, 2 * STEP_NS], [50 * STEP_NS, 53 * STEP_NS]]);
}

#[test]
fn tracks_joined_again_and_again_have_the_oldest_id() {
    let mut summary = Summary::default();
    let joined = |id, was_id| vec![Face { was_id, ..face(id, Some("ada")) }];
    push(&mut summary, 0, vec![vec![face(3, None)]; 2]);
    push(&mut summary, 40, vec![vec![face(7, None)]; 2]);
    push(&mut summary, 42, vec![joined(3, 7); 2]);
    // Lost once more: 9 is the face of 3, and 12 is found to be 9 before that is known.
    push(&mut summary, 80, vec![vec![face(9, None)]; 2]);
    push(&mut summary, 120, vec![vec![face(12, None)]; 2]);
    push(&mut summary, 122, vec![joined(9, 12); 2]);
    push(&mut summary, 124, vec![joined(3, 9); 2]);
    assert_eq!(summary.final_ids(), BTreeMap::from([(7, 3), (9, 3), (12, 3)]));
    let analysis = finish(summary);
    assert_eq!(
        analysis.tracks.iter().map(|t| (t.track_id, t.frames)).collect::<Vec<_>>(),
        [(3, 14)]
    );
    assert_eq!(analysis.people[0].tracks, [3]);
}

#[test]
fn ids_that_claim_each_other_do_not_hang() {
    let mut summary = Summary::default();
    let claims = |id, was_id| Face { was_id, ..face(id, None) };
    push(&mut summary, 0, [vec![claims(1, 2)], vec![claims(2, 1)]]);
    assert!(finish(summary).tracks.len() <= 2);
}

#[test]
fn gaps_of_a_second_are_bridged_and_longer_ones_not() {
    let second = 1_000_000_000;
    let times = [0, second, 2 * second, 3 * second + 1, 9 * second];
    assert_eq!(
        intervals(times.into_iter()),
        [[0, 2 * second], [3 * second + 1, 3 * second + 1], [9 * second, 9 * second]]
    );
}

#[test]
fn one_doubtful_detection_is_no_track() {
    let mut summary = Summary::default();
    let doubtful = Face { track_state: TrackState::Tentative, ..face(3, None) };
    push(&mut summary, 0, [vec![doubtful, face(4, None)], vec![face(4, None)]]);
    let ids: Vec<u64> = finish(summary).tracks.iter().map(|t| t.track_id).collect();
    assert_eq!(ids, [4]);
}

#[test]
fn faces_without_a_track_are_people_but_no_tracks() {
    let mut summary = Summary::default();
    push(&mut summary, 0, [vec![Face { track_state: TrackState::None, ..face(0, Some("ada")) }]]);
    let analysis = finish(summary);
    assert!(analysis.tracks.is_empty());
    assert_eq!((analysis.people[0].frames, analysis.people[0].tracks.len()), (1, 0));
}

#[test]
fn times_never_fall_and_missing_ones_stay_missing() {
    let mut summary = Summary::default();
    let times =
        [Some(80), Some(40), None, Some(120)].map(|t| summary.push(t, None, &frame(vec![])).pts_ns);
    assert_eq!(times, [Some(80), Some(80), None, Some(120)]);
    assert_eq!(finish(summary).duration_ns, Some(160));
    let mut untimed = Summary::default();
    untimed.push(None, None, &frame(vec![face(1, Some("ada"))]));
    let analysis = finish(untimed);
    assert_eq!(analysis.duration_ns, None);
    assert!(analysis.people[0].intervals_ns.is_empty());
    assert_eq!(analysis.people[0].frames, 1);
}

#[test]
fn name_that_is_too_near_to_another_does_not_count() {
    let mut summary = Summary::default();
    let maybe = Face { status: Status::Uncertain, confirmed: false, ..face(1, Some("ada")) };
    push(&mut summary, 0, vec![vec![maybe]; 4]);
    let analysis = finish(summary);
    assert!(analysis.people.is_empty());
    assert_eq!(analysis.tracks[0].status, "uncertain");
    assert_eq!(analysis.tracks[0].similarity, Some(0.75));
}

fn confirming(track_id: u64, name: &str) -> Face {
    Face { status: Status::Confirming, confirmed: false, ..face(track_id, Some(name)) }
}

#[test]
fn name_that_was_not_confirmed_counts_only_where_the_track_ends_with_it() {
    let mut summary = Summary::default();
    let nobody = Face { status: Status::Unknown, confirmed: true, ..face(2, None) };
    let doubt = Face { status: Status::Confirming, ..face(3, None) };
    let frames = [
        vec![confirming(1, "ada"), confirming(2, "bob"), confirming(3, "eve")],
        vec![confirming(1, "ada"), nobody, doubt],
    ];
    push(&mut summary, 0, frames);
    // Found to be nobody's for certain, whatever a last result says.
    push(&mut summary, 2, [vec![confirming(2, "bob")]]);
    let analysis = finish(summary);
    let people: Vec<_> = analysis.people.iter().map(|p| (p.name.as_str(), p.frames)).collect();
    assert_eq!(people, [("ada", 2)]);
    let tracks: Vec<_> = analysis.tracks.iter().map(|t| (t.status.as_str(), &t.name)).collect();
    let ada = Some("ada".to_owned());
    assert_eq!(tracks, [("confirming", &ada), ("confirming", &None), ("confirming", &None)]);
}

#[test]
fn confirmed_name_replaces_those_that_were_not() {
    let mut summary = Summary::default();
    push(&mut summary, 0, vec![vec![confirming(1, "bob")]; 40]);
    push(&mut summary, 40, [vec![face(1, Some("ada"))]]);
    push(&mut summary, 41, vec![vec![confirming(1, "eve")]; 40]);
    let analysis = finish(summary);
    let people: Vec<_> = analysis.people.iter().map(|p| (p.name.as_str(), p.frames)).collect();
    assert_eq!(people, [("ada", 81)]);
    assert_eq!(analysis.tracks[0].status, "known");
}

#[test]
fn filtered_face_keeps_the_name_of_its_track() {
    let mut summary = Summary::default();
    let small = Face { status: Status::Filtered, ..face(1, Some("ada")) };
    push(&mut summary, 0, [vec![face(1, Some("ada"))], vec![small.clone()], vec![small]]);
    let analysis = finish(summary);
    assert_eq!(analysis.people[0].frames, 3);
    assert_eq!(analysis.tracks[0].status, "known");
}

#[test]
fn json_has_the_documented_shape() {
    let mut summary = Summary::default();
    let full = Face {
        landmarks: Some(Landmarks([Point::new(0.5, 0.25); 5])),
        embedding: Some([1.0f32, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
        ..face(1, Some("ada"))
    };
    let record = summary.push(Some(0), Some(STEP_NS), &frame(vec![full]));
    let point = serde_json::json!([200.0, 50.0]);
    assert_eq!(
        serde_json::to_value(&record).unwrap(),
        serde_json::json!({
            "pts_ns": 0, "frame": 0, "faces": [{
                "box": [100.0, 100.0, 100.0, 50.0], "score": 0.9f32,
                "landmarks": [point, point, point, point, point],
                "status": "known", "name": "ada", "person_id": "id of ada",
                "similarity": 0.75, "embedding": [1.0, 0.0], "track_id": 1, "observed": true,
            }],
        })
    );
    push(&mut summary, 1, vec![vec![face(1, Some("ada"))]; 1]);
    assert_eq!(
        serde_json::to_value(finish(summary)).unwrap(),
        serde_json::json!({
            "schema": "face-analysis/1", "source": "a.mp4", "frames": 2, "duration_ns": 2 * STEP_NS,
            "models": {"detector": "detector", "embedder": "embedder"},
            "tracks": [{
                "track_id": 1, "first_pts_ns": 0, "last_pts_ns": STEP_NS, "frames": 2,
                "status": "known", "name": "ada", "person_id": "id of ada", "similarity": 0.75,
                "best_box": [100.0, 100.0, 100.0, 50.0], "best_pts_ns": 0,
            }],
            "people": [{"name": "ada", "frames": 2, "tracks": [1], "intervals_ns": [[0, STEP_NS]]}],
        })
    );
}
