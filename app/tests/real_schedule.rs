//! What the schedule of facerecognize saves on a real clip, and what it costs.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use gst::prelude::*;
use gstface::meta::FrameFaces;
use support::{HAMILTON, enrol_people, media};

#[derive(Debug, Default)]
struct Outcome {
    embedded: u64,
    /// Observed faces.
    faces: u64,
    /// First frame that has the name, and the first that has it confirmed.
    named: BTreeMap<String, u64>,
    confirmed: BTreeMap<String, u64>,
}

/// The clip through the elements, where the detector looks at every `interval`th frame.
fn run(media: &Path, gallery: &Path, policy: &str, interval: u32) -> Outcome {
    gst::init().unwrap();
    gstface::plugin_register_static().unwrap();
    let pipeline = gst::parse::launch(&format!(
        "filesrc location={} ! decodebin ! videoconvert ! onnxfacedetect interval={interval} provider=cpu threads=1 \
         ! facetrack scene-cut=true ! facerecognize name=recognize provider=cpu threads=1 \
         gallery={} reid-policy={policy} ! appsink name=out sync=false",
        media.join("video").join(HAMILTON).display(),
        gallery.display()
    ));
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("out").and_downcast::<gst_app::AppSink>().unwrap();
    let recognize = pipeline.by_name("recognize").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut outcome = Outcome::default();
    while let Ok(sample) = sink.pull_sample() {
        let faces = FrameFaces::read(sample.buffer().unwrap()).unwrap().unwrap();
        for face in faces.faces.iter().filter(|f| f.observed) {
            outcome.faces += 1;
            let Some(name) = &face.name else { continue };
            outcome.named.entry(name.clone()).or_insert(faces.frame_id);
            if face.confirmed {
                outcome.confirmed.entry(name.clone()).or_insert(faces.frame_id);
            }
        }
    }
    let bus = pipeline.bus().unwrap();
    assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none());
    outcome.embedded = recognize.property::<gst::Structure>("stats").get("embedded").unwrap();
    pipeline.set_state(gst::State::Null).unwrap();
    outcome
}

#[test]
fn real_schedule_embeds_a_fifth_and_names_the_same_people_as_early() {
    let Some(media) = media() else { return };
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("g.db");
    enrol_people(&media, &gallery);
    // As --every-face does, and as the default is.
    let every = run(&media, &gallery, "every", 1);
    let adaptive = run(&media, &gallery, "adaptive", 2);
    println!("{every:?}\n{adaptive:?}");
    assert!(every.embedded * 10 >= every.faces * 9, "{every:?}");
    assert!(adaptive.embedded * 5 <= every.embedded, "{adaptive:?}");
    let people = ["barack-obama", "lin-manuel-miranda"];
    assert_eq!(adaptive.confirmed.keys().collect::<Vec<_>>(), people);
    assert_eq!(every.confirmed.keys().collect::<Vec<_>>(), people);
    for person in people {
        let (early, late) = (every.named[person], adaptive.named[person]);
        assert!(late <= early + 5, "{person}: {late} instead of {early}");
    }
}
