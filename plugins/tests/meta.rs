//! The metadata contract on single buffers: what is written is read, what is unknown is kept, what
//! is malformed is an error that names the field.

mod meta_support;

use face_core::geometry::BBox;
use gst::prelude::*;
use gstface::meta::{
    self, Field, FrameFaces, Kind, Level, META_NAME, MetaError, TrackState, VERSION,
};
use meta_support::{full, init, one_face, rois};

fn written(faces: &FrameFaces) -> gst::Buffer {
    let mut buffer = gst::Buffer::new();
    faces.write(buffer.get_mut().unwrap());
    buffer
}

fn structure(buffer: &gst::BufferRef) -> gst::Structure {
    gst::meta::CustomMeta::from_buffer(buffer, META_NAME).unwrap().structure().to_owned()
}

/// Changes the structure of the meta behind the writer's back.
fn tamper(buffer: &mut gst::Buffer, change: impl FnOnce(&mut gst::StructureRef)) {
    let buffer = buffer.get_mut().unwrap();
    let mut meta = gst::meta::CustomMeta::from_mut_buffer(buffer, META_NAME).unwrap();
    change(meta.mut_structure());
}

/// Changes item 0 of an array of structures.
fn tamper_item(
    s: &mut gst::StructureRef,
    array: &str,
    change: impl FnOnce(&mut gst::StructureRef),
) {
    let mut items: Vec<glib::SendValue> = s.get::<gst::Array>(array).unwrap().to_vec();
    let mut item = items[0].get::<gst::Structure>().unwrap();
    change(&mut item);
    items[0] = item.to_send_value();
    s.set(array, gst::Array::from_values(items));
}

fn read(buffer: &gst::Buffer) -> Result<FrameFaces, MetaError> {
    FrameFaces::read(buffer).expect("the buffer has a meta")
}

#[test]
fn what_is_written_is_read() {
    init();
    for faces in [full(3, 640, 480), one_face(u64::MAX, (1, 1), BBox::new(-0.5, 0.0, 2.0, 1.0))] {
        assert_eq!(read(&written(&faces)).unwrap(), faces);
    }
    assert!(FrameFaces::read(&gst::Buffer::new()).is_none());
    assert!(meta::update(gst::Buffer::new().get_mut().unwrap(), |_| ()).is_none());
}

#[test]
fn writing_again_replaces() {
    init();
    let mut buffer = written(&full(1, 640, 480));
    let plain = one_face(2, (320, 240), BBox::new(0.1, 0.1, 0.2, 0.2));
    plain.write(buffer.get_mut().unwrap());
    assert_eq!(read(&buffer).unwrap(), plain);
    assert_eq!(buffer.iter_meta::<gst::Meta>().count(), 1);
    assert!(!structure(&buffer).has_field("events"));
}

#[test]
fn a_nul_inside_a_name_is_replaced() {
    init();
    let mut faces = full(1, 640, 480);
    faces.faces[0].name = Some("Zo\0ë".into());
    faces.faces[0].zones = vec!["\0".into()];
    faces.detector = "a\0".into();
    let back = read(&written(&faces)).unwrap();
    assert_eq!(back.faces[0].name.as_deref(), Some("Zo\u{FFFD}ë"));
    assert_eq!((&*back.faces[0].zones[0], &*back.detector), ("\u{FFFD}", "a\u{FFFD}"));
}

#[test]
fn registering_twice_is_fine() {
    init();
    meta::register();
    meta::register();
    assert!(gst::meta::CustomMeta::is_registered(META_NAME));
}

fn type_matches(kind: Kind, value: &glib::Value) -> bool {
    let items = |check: &dyn Fn(&glib::SendValue) -> bool| {
        value.get::<gst::ArrayRef>().is_ok_and(|a| a.as_slice().iter().all(check))
    };
    match kind {
        Kind::Int => value.is::<i32>(),
        Kind::UInt64 => value.is::<u64>(),
        Kind::Double => value.is::<f64>(),
        Kind::Bool => value.is::<bool>(),
        Kind::String => value.is::<String>(),
        Kind::Bytes => value.is::<glib::Bytes>(),
        Kind::Fraction => value.is::<gst::Fraction>(),
        Kind::Doubles(n) => {
            value.get::<gst::ArrayRef>().is_ok_and(|a| a.as_slice().len() == n)
                && items(&|v| v.is::<f64>())
        }
        Kind::Strings => items(&|v| v.is::<String>()),
        Kind::UInt64s => items(&|v| v.is::<u64>()),
        Kind::Structures(level) => items(&|v| {
            v.get::<&gst::StructureRef>().is_ok_and(|s| s.name() == level.structure_name())
        }),
    }
}

fn check_level(s: &gst::StructureRef, level: Level) {
    let table = meta::fields(level);
    let mut names: Vec<_> = table.iter().map(|f| f.name).collect();
    let mut have: Vec<_> = s.fields().map(|f| f.to_string()).collect();
    names.sort_unstable();
    have.sort_unstable();
    assert_eq!(have, names, "{level:?}");
    for Field { name, kind, .. } in table {
        let value = s.value(*name).unwrap();
        assert!(type_matches(*kind, value), "{level:?} {name}: {value:?} is no {kind:?}");
        if let Kind::Structures(level) = kind {
            let items = value.get::<gst::ArrayRef>().unwrap();
            check_level(items.as_slice()[0].get::<&gst::StructureRef>().unwrap(), *level);
        }
    }
}

#[test]
fn a_full_meta_has_exactly_the_fields_of_the_table() {
    init();
    check_level(&structure(&written(&full(1, 640, 480))), Level::Frame);
}

#[test]
fn optional_fields_may_be_missing_and_required_ones_not() {
    init();
    let faces = full(1, 640, 480);
    for field in meta::fields(Level::Frame) {
        let mut buffer = written(&faces);
        tamper(&mut buffer, |s| s.remove_field(field.name));
        check_missing(&buffer, field, field.name.to_owned());
    }
    for (level, array) in [(Level::Face, "faces"), (Level::Event, "events")] {
        for field in meta::fields(level) {
            let mut buffer = written(&faces);
            tamper(&mut buffer, |s| tamper_item(s, array, |f| f.remove_field(field.name)));
            check_missing(&buffer, field, format!("{array}[0].{}", field.name));
        }
    }
}

fn check_missing(buffer: &gst::Buffer, field: &Field, path: String) {
    match read(buffer) {
        Ok(_) => assert!(field.optional, "{path} was not missed"),
        Err(error) => {
            assert!(!field.optional, "{path}: {error}");
            assert_eq!(error, MetaError::Missing { field: path });
        }
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    init();
    let wrong = || gst::Caps::new_empty_simple("x/y").to_send_value();
    for field in meta::fields(Level::Frame) {
        let mut buffer = written(&full(1, 640, 480));
        tamper(&mut buffer, |s| s.set_value(field.name, wrong()));
        let text = read(&buffer).unwrap_err().to_string();
        assert!(text.contains(&format!("'{}' has type GstCaps", field.name)), "{text}");
    }
    for field in meta::fields(Level::Face) {
        let mut buffer = written(&full(1, 640, 480));
        tamper(&mut buffer, |s| tamper_item(s, "faces", |f| f.set_value(field.name, wrong())));
        let text = read(&buffer).unwrap_err().to_string();
        assert!(text.contains(&format!("'faces[0].{}' has type GstCaps", field.name)), "{text}");
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    init();
    let frame: [(&str, glib::SendValue); 7] = [
        ("version", 0i32.to_send_value()),
        ("width", 0i32.to_send_value()),
        ("height", (-1i32).to_send_value()),
        ("width", u64::MAX.to_send_value()),
        ("par", gst::Fraction::new(-1, 1).to_send_value()),
        ("frame-id", (-1i32).to_send_value()),
        ("ended-tracks", gst::Array::new([-1i32]).to_send_value()),
    ];
    for (name, value) in frame {
        let mut buffer = written(&full(1, 640, 480));
        tamper(&mut buffer, |s| s.set_value(name, value));
        assert!(read(&buffer).unwrap_err().to_string().contains(&format!("'{name}'")));
    }
    let short = || gst::Array::new([0.5f64; 9]).to_send_value();
    let nan = || gst::Array::new([f64::NAN; 10]).to_send_value();
    let face: [(&str, glib::SendValue); 10] = [
        ("x", f64::NAN.to_send_value()),
        ("y", f64::INFINITY.to_send_value()),
        ("w", 1e300f64.to_send_value()),
        ("w", 0f64.to_send_value()),
        ("h", (-1f64).to_send_value()),
        ("score", f64::NAN.to_send_value()),
        ("similarity", f64::NEG_INFINITY.to_send_value()),
        ("landmarks", short()),
        ("landmarks", nan()),
        ("status", "handsome".to_send_value()),
    ];
    for (name, value) in face {
        let mut buffer = written(&full(1, 640, 480));
        tamper(&mut buffer, |s| tamper_item(s, "faces", |f| f.set_value(name, value)));
        let error = read(&buffer).unwrap_err();
        assert!(error.to_string().contains(&format!("'faces[0].{name}'")), "{error}");
        // An update that fails leaves everything as it was.
        let before = structure(&buffer).to_string();
        let updated = meta::update(buffer.get_mut().unwrap(), |f| f.frame_id = 99);
        assert_eq!(updated.unwrap().unwrap_err(), error);
        assert_eq!(structure(&buffer).to_string(), before);
    }
}

#[test]
fn integers_and_lists_of_hand_written_metas_are_understood() {
    init();
    let text = "GstFaceMeta, version=1, frame-id=4, looked=true, width=8, height=6, \
                faces={(structure)\"face, id=0, x=0.5, y=0.5, w=0.25, h=0.25, observed=true, \
                score=0.5, track-id=12\"};";
    let parsed: gst::Structure = text.parse().unwrap();
    let mut buffer = written(&FrameFaces::default());
    tamper(&mut buffer, |s| {
        s.remove_all_fields();
        parsed.iter().for_each(|(name, value)| s.set_value(name, value.clone()));
    });
    let faces = read(&buffer).unwrap();
    assert_eq!((faces.frame_id, faces.par, faces.faces[0].track_id), (4, (1, 1), 12));
    assert_eq!(faces.faces[0].track_state, TrackState::None);
}

#[test]
fn unknown_fields_outlive_an_update_at_every_level() {
    init();
    let mut buffer = written(&full(1, 640, 480));
    tamper(&mut buffer, |s| {
        s.set("camera", "door");
        tamper_item(s, "faces", |f| f.set("mask", true));
        tamper_item(s, "events", |e| e.set("weather", "rain"));
    });
    let result = meta::update(buffer.get_mut().unwrap(), |faces| {
        faces.faces.insert(0, full(0, 1, 1).faces.remove(0));
        faces.faces[0].id = 1;
        faces.faces[1].name = None;
        faces.frame_id = 2;
        "done"
    });
    assert_eq!(result.unwrap().unwrap(), "done");
    let s = structure(&buffer);
    assert_eq!(s.get::<&str>("camera").unwrap(), "door");
    assert_eq!(s.get::<u64>("frame-id").unwrap(), 2);
    let item = |array: &str, i: usize| {
        s.get::<gst::Array>(array).unwrap()[i].get::<gst::Structure>().unwrap()
    };
    assert!(!item("faces", 0).has_field("mask"));
    assert!(item("faces", 1).get::<bool>("mask").unwrap());
    assert!(!item("faces", 1).has_field("name"), "a known field that was cleared stays cleared");
    assert_eq!(item("events", 0).get::<&str>("weather").unwrap(), "rain");
}

#[test]
fn a_newer_version_is_read_leniently_and_stays_newer() {
    init();
    let mut buffer = written(&full(1, 640, 480));
    tamper(&mut buffer, |s| {
        s.set("version", VERSION + 1);
        s.set("par", "square");
        tamper_item(s, "faces", |f| {
            f.set("status", "suspected");
            f.set("pose", gst::Array::new([1f64; 4]));
            f.set("zones", 3i32);
        });
    });
    let faces = read(&buffer).unwrap();
    assert_eq!((faces.par, faces.faces[0].pose, faces.faces[0].zones.len()), ((1, 1), None, 0));
    assert_eq!(faces.faces[0].similarity, Some(0.625));
    meta::update(buffer.get_mut().unwrap(), |f| f.frame_id = 5).unwrap().unwrap();
    let s = structure(&buffer);
    assert_eq!(s.get::<i32>("version").unwrap(), VERSION + 1);
    let face = s.get::<gst::Array>("faces").unwrap()[0].get::<gst::Structure>().unwrap();
    assert_eq!(face.get::<gst::Array>("pose").unwrap().len(), 4);
    assert_eq!(face.get::<i32>("zones").unwrap(), 3);
    // What is required stays required.
    tamper(&mut buffer, |s| s.remove_field("looked"));
    assert_eq!(read(&buffer).unwrap_err(), MetaError::Missing { field: "looked".into() });
}

#[test]
fn a_buffer_held_elsewhere_shares_its_memory_after_the_meta_is_added() {
    init();
    let mut buffer = gst::Buffer::from_mut_slice(vec![7u8; 4096]);
    let held = buffer.clone();
    let faces = full(1, 640, 480);
    faces.write(buffer.make_mut());
    assert!(FrameFaces::read(&held).is_none());
    assert_eq!(read(&buffer).unwrap(), faces);
    assert_eq!(
        held.peek_memory(0).map_readable().unwrap().as_ptr(),
        buffer.peek_memory(0).map_readable().unwrap().as_ptr()
    );
    // And a copy of the buffer has a meta of its own.
    let mut copy = buffer.copy();
    meta::update(copy.get_mut().unwrap(), |f| f.frame_id = 2).unwrap().unwrap();
    assert_eq!((read(&buffer).unwrap().frame_id, read(&copy).unwrap().frame_id), (1, 2));
}

#[test]
fn regions_of_interest_mirror_the_faces_and_are_replaced() {
    init();
    let mut faces = full(1, 640, 480);
    faces.faces.push(faces.faces[0].clone());
    faces.faces[0].track_id = 5;
    faces.faces[1].id = 8;
    faces.faces[1].track_id = 0;
    faces.faces[1].bbox = BBox::new(-0.125, 0.5, 0.25, 1.0);
    faces.faces.push(faces.faces[0].clone());
    faces.faces[2].bbox = BBox::new(1.5, 0.5, 0.25, 0.25);
    let mut buffer = gst::Buffer::new();
    let b = buffer.get_mut().unwrap();
    gst_video::VideoRegionOfInterestMeta::add(b, "car", (1, 2, 3, 4));
    for _ in 0..2 {
        meta::write_rois(b, &faces, 640, 480);
        let both = vec!["detection".to_owned(), "object_id".to_owned()];
        assert_eq!(
            rois(b),
            [(7, (160, 180, 80, 120), both), (8, (0, 240, 80, 240), vec!["detection".to_owned()])]
        );
    }
    assert_eq!(b.iter_meta::<gst_video::VideoRegionOfInterestMeta>().count(), 3);
    let roi = b.iter_meta::<gst_video::VideoRegionOfInterestMeta>().nth(1).unwrap();
    let detection = roi.param("detection").unwrap();
    let number = |name| detection.get::<f64>(name).unwrap();
    assert_eq!(
        ["x_min", "y_min", "x_max", "y_max", "confidence"].map(number),
        [0.25, 0.375, 0.375, 0.625, 0.75]
    );
    assert_eq!(detection.get::<&str>("model_name").unwrap(), "yunet_n");
    assert_eq!(roi.param("object_id").unwrap().get::<i32>("id").unwrap(), 5);
}
