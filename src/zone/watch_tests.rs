//! The rules of zones (F3 and S13 of the feature table).

use super::{ZoneEvent, ZoneEventKind as Kind, ZoneWatch};
use crate::geometry::BBox;

const MS: u64 = 1_000_000;
const DOOR: &str = "door=0,0 0.5,0 0.5,1 0,1";

fn watch(zones: &str) -> ZoneWatch {
    let mut watch = ZoneWatch::default();
    watch.set_zones(zones.parse().expect(zones));
    watch
}

/// A face of a tenth of the picture with its centre there.
fn at(cx: f32, cy: f32) -> BBox {
    BBox::new(cx - 0.05, cy - 0.05, 0.1, 0.1)
}

/// Kind, zone, track, time and dwell in ms.
type Told = (Kind, String, u64, u64, u64);

fn told(watch: &mut ZoneWatch) -> Vec<Told> {
    let event =
        |e: ZoneEvent| (e.kind, e.zone.to_string(), e.track_id, e.time_ns / MS, e.dwell_ns / MS);
    watch.drain_events().map(event).collect()
}

fn event(kind: Kind, zone: &str, track: u64, time_ms: u64, dwell_ms: u64) -> Told {
    (kind, zone.to_owned(), track, time_ms, dwell_ms)
}

fn zones_at(watch: &ZoneWatch, cx: f32, cy: f32) -> Vec<String> {
    watch.zones_at(&at(cx, cy)).map(str::to_owned).collect()
}

fn zones_of(watch: &ZoneWatch, track: u64) -> Vec<String> {
    watch.zones_of(track).map(str::to_owned).collect()
}

#[test]
fn f3_the_centre_of_the_box_decides_over_several_named_zones() {
    let watch = watch("door=0,0 0.5,0 0.5,1 0,1; top=0,0 1,0 1,0.3 0,0.3");
    assert_eq!(zones_at(&watch, 0.2, 0.2), ["door", "top"]);
    assert_eq!(zones_at(&watch, 0.499, 0.6), ["door"], "though half of the face is outside");
    assert_eq!(zones_at(&watch, 0.8, 0.1), ["top"]);
    assert!(zones_at(&watch, 0.8, 0.8).is_empty());
    assert!(zones_at(&watch, -0.1, 0.2).is_empty(), "outside the picture");
}

#[test]
fn f3_a_face_in_an_excluding_zone_is_in_none() {
    let mut watch = watch("all=0,0 1,0 1,1 0,1; !screen=0.4,0.4 0.6,0.4 0.6,0.6 0.4,0.6");
    assert_eq!(zones_at(&watch, 0.3, 0.3), ["all"]);
    assert!(zones_at(&watch, 0.5, 0.5).is_empty());
    watch.observe(0, 1, true, &at(0.3, 0.5));
    watch.observe(40 * MS, 1, true, &at(0.5, 0.5));
    let expected = [event(Kind::Enter, "all", 1, 0, 0), event(Kind::Exit, "all", 1, 40, 40)];
    assert_eq!(told(&mut watch), expected);
    assert!(zones_of(&watch, 1).is_empty());
}

#[test]
fn f3_pixels_are_those_of_the_picture() {
    let mut watch = watch("left=0,0 320,0 320,480 0,480 px");
    watch.set_picture_size(640, 480);
    assert_eq!(zones_at(&watch, 0.45, 0.5), ["left"]);
    watch.set_picture_size(1280, 960);
    assert!(zones_at(&watch, 0.45, 0.5).is_empty());
    assert_eq!(zones_at(&watch, 0.24, 0.4), ["left"]);
    watch.set_picture_size(0, 0);
    assert_eq!(zones_at(&watch, 0.5, 0.5), ["left"], "no division by zero");
}

#[test]
fn s13_entering_and_leaving_are_told_once_each() {
    let mut watch = watch(DOOR);
    for n in 0..100u64 {
        let x = 0.904 - 0.008 * n as f32;
        watch.observe(n * 40 * MS, 1, true, &at(x, 0.5));
    }
    for n in 100..200u64 {
        let x = 0.1 + 0.008 * (n - 100) as f32;
        watch.observe(n * 40 * MS, 1, true, &at(x, 0.5));
    }
    // Entered at the border; left 0.02, a fifth of the face, beyond it.
    let (entered, left) = (51 * 40, (100 + 53) * 40);
    let expected = [
        event(Kind::Enter, "door", 1, entered, 0),
        event(Kind::Exit, "door", 1, left, left - entered),
    ];
    assert_eq!(told(&mut watch), expected);
}

#[test]
fn s13_trembling_on_a_border_is_one_visit() {
    let mut watch = watch(DOOR);
    for n in 0..500u64 {
        let x = 0.5 + if n % 2 == 0 { -0.015 } else { 0.015 };
        watch.observe(n * 40 * MS, 1, true, &at(x, 0.5));
        assert_eq!(zones_of(&watch, 1), ["door"], "frame {n}");
    }
    assert_eq!(told(&mut watch), [event(Kind::Enter, "door", 1, 0, 0)]);
}

#[test]
fn s13_dwell_is_told_once_per_time_and_visit() {
    let mut watch = watch(DOOR);
    watch.set_dwell_ns(1000 * MS);
    for n in 0..70u64 {
        // Away for a moment at 2.4 s.
        let x = if n == 60 { 0.8 } else { 0.2 };
        watch.observe(n * 40 * MS, 1, true, &at(x, 0.5));
    }
    let expected = [
        event(Kind::Enter, "door", 1, 0, 0),
        event(Kind::Dwell, "door", 1, 1000, 1000),
        event(Kind::Dwell, "door", 1, 2000, 2000),
        event(Kind::Exit, "door", 1, 2400, 2400),
        event(Kind::Enter, "door", 1, 2440, 0),
    ];
    assert_eq!(told(&mut watch), expected);
    assert_eq!(watch.dwells(1).collect::<Vec<_>>(), [("door", (2400 + 320) * MS)]);
    // A gap over several of them is told once, at what it is then.
    watch.observe(9000 * MS, 1, true, &at(0.2, 0.5));
    assert_eq!(told(&mut watch), [event(Kind::Dwell, "door", 1, 9000, 6560)]);
    watch.set_dwell_ns(0);
    watch.observe(20_000 * MS, 1, true, &at(0.2, 0.5));
    assert!(told(&mut watch).is_empty());
    watch.set_dwell_ns(5000 * MS);
    watch.observe(20_040 * MS, 1, true, &at(0.2, 0.5));
    assert!(told(&mut watch).is_empty(), "the time that was off is not made up for");
}

#[test]
fn tracks_are_told_once_they_are_confirmed() {
    let mut watch = watch(DOOR);
    watch.observe(0, 1, false, &at(0.2, 0.5));
    assert_eq!(zones_of(&watch, 1), ["door"]);
    watch.observe(40 * MS, 2, false, &at(0.2, 0.5));
    watch.end(2);
    assert!(told(&mut watch).is_empty());
    watch.observe(80 * MS, 1, true, &at(0.2, 0.5));
    assert_eq!(told(&mut watch), [event(Kind::Enter, "door", 1, 80, 80)]);
}

#[test]
fn tracks_that_end_leave_when_they_were_last_seen() {
    let mut watch = watch(DOOR);
    watch.observe(0, 1, true, &at(0.2, 0.5));
    watch.observe(400 * MS, 1, true, &at(0.2, 0.5));
    watch.observe(2000 * MS, 2, true, &at(0.8, 0.5));
    told(&mut watch);
    watch.end(1);
    watch.end(1);
    watch.end(2);
    assert_eq!(told(&mut watch), [event(Kind::Exit, "door", 1, 400, 400)]);
    assert!(zones_of(&watch, 1).is_empty() && watch.dwells(1).next().is_none());
}

#[test]
fn relinked_tracks_go_on_with_their_visit() {
    let mut watch = watch("door=0,0 0.5,0 0.5,1 0,1; hall=0.5,0 1,0 1,1 0.5,1");
    watch.observe(0, 1, true, &at(0.2, 0.5));
    watch.observe(400 * MS, 1, true, &at(0.2, 0.5));
    watch.observe(1000 * MS, 5, true, &at(0.3, 0.5));
    told(&mut watch);
    watch.relink(5, 1);
    assert_eq!((zones_of(&watch, 1), zones_of(&watch, 5)), (vec!["door".to_owned()], vec![]));
    watch.observe(1040 * MS, 1, true, &at(0.3, 0.5));
    assert!(told(&mut watch).is_empty());
    assert_eq!(watch.dwells(1).collect::<Vec<_>>(), [("door", 1040 * MS)]);
    // Comes back somewhere else: has left where it was last seen.
    watch.observe(2000 * MS, 9, true, &at(0.7, 0.5));
    told(&mut watch);
    watch.relink(9, 1);
    assert_eq!(told(&mut watch), [event(Kind::Exit, "door", 1, 1040, 1040)]);
    assert_eq!(zones_of(&watch, 1), ["hall"]);
    watch.observe(2040 * MS, 1, true, &at(0.7, 0.5));
    assert_eq!(watch.dwells(1).collect::<Vec<_>>(), [("door", 1040 * MS), ("hall", 40 * MS)]);
    watch.relink(77, 1);
    assert_eq!(zones_of(&watch, 1), ["hall"], "nobody has that id");
}

#[test]
fn zones_change_while_tracks_are_in_them() {
    let mut watch = watch("door=0,0 0.5,0 0.5,1 0,1; hall=0,0 1,0 1,1 0,1");
    watch.observe(0, 1, true, &at(0.2, 0.5));
    watch.observe(40 * MS, 1, true, &at(0.2, 0.5));
    told(&mut watch);
    watch.set_zones("new=0,0 1,0 1,1 0,1; door=0,0 0.6,0 0.6,1 0,1".parse().unwrap());
    assert_eq!(told(&mut watch), [event(Kind::Exit, "hall", 1, 40, 40)]);
    watch.observe(80 * MS, 1, true, &at(0.2, 0.5));
    assert_eq!(told(&mut watch), [event(Kind::Enter, "new", 1, 80, 0)]);
    assert_eq!(zones_of(&watch, 1), ["new", "door"]);
    assert_eq!(watch.dwells(1).collect::<Vec<_>>(), [("new", 0), ("door", 80 * MS)]);
    watch.set_zones("".parse().unwrap());
    assert_eq!(told(&mut watch).len(), 2);
    watch.observe(120 * MS, 1, true, &at(0.2, 0.5));
    assert!(watch.is_empty() && told(&mut watch).is_empty() && zones_of(&watch, 1).is_empty());
}

#[test]
fn time_that_goes_back_and_boxes_that_are_none_do_no_harm() {
    let mut watch = watch(DOOR);
    watch.set_dwell_ns(1);
    watch.observe(u64::MAX, 1, true, &at(0.2, 0.5));
    watch.observe(0, 1, true, &at(0.2, 0.5));
    watch.observe(5, 1, true, &BBox::new(f32::NAN, 0.0, 0.0, f32::INFINITY));
    watch.observe(9, 1, true, &at(0.2, 0.5));
    watch.end(1);
    assert!(told(&mut watch).iter().all(|e| e.4 == 0));
}

#[test]
fn t5_what_is_kept_does_not_grow_with_time() {
    let mut watch = watch(DOOR);
    for id in 1..100_000u64 {
        watch.observe(id * MS, id, true, &at(0.2, 0.5));
        if id > 10 {
            watch.end(id - 10);
        }
        watch.drain_events().for_each(drop);
    }
    assert!(watch.tracks.len() <= 11 && watch.spare.len() <= 11);
    assert!(watch.tracks.capacity() < 64 && watch.events.capacity() < 64);
}
