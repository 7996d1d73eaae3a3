//! A detector without landmarks in front of all other elements: faces are followed and drawn, and
//! left alone by the recogniser.

mod common;

use common::{Picture, at, data, info, init, read};
use face_core::geometry::BBox;
use face_core::identity::Status;
use gst::prelude::*;
use gst_check::Harness;

const CAPS: &str = "video/x-raw,format=RGB,width=320,height=240,framerate=25/1";
/// Boxes of the model boxes_only in a picture of 320 × 240.
const BOXES: [BBox; 2] = [BBox::new(80.0, 60.0, 80.0, 120.0), BBox::new(200.0, 60.0, 60.0, 90.0)];
const FRAMES: u64 = 6;

#[test]
fn faces_without_landmarks_are_followed_drawn_and_filtered() {
    init();
    let mut harness = Harness::new_parse(&format!(
        "onnxfacedetect model={} provider=cpu threads=1 interval=1 ! facetrack \
         ! facerecognize name=recognizer model={} provider=cpu threads=1 ! faceannotate",
        data("boxes_only.onnx"),
        data("embedder.onnx")
    ));
    harness.set_src_caps_str(CAPS);
    let grey = Picture::new(320, 240, |_, _| [128; 3]);
    let mut tracks = Vec::new();
    for n in 0..FRAMES {
        harness.push(at(n, grey.to_buffer(&info(CAPS)))).unwrap();
        let buffer = harness.try_pull().expect("a buffer for a buffer");
        let faces = read(&buffer);
        assert_eq!(faces.detector, "boxes_only");
        assert_eq!(faces.faces.len(), 2);
        for (face, wanted) in faces.faces.iter().zip(BOXES) {
            assert!(face.bbox.scaled(320.0, 240.0).iou(&wanted) > 0.99, "{face:?}");
            assert!(face.observed && face.landmarks.is_none() && face.pose.is_none());
            assert_eq!((face.status, face.filter.as_str()), (Status::Filtered, "no-landmarks"));
            assert!(face.name.is_none() && face.embedding.is_none());
        }
        tracks.push(faces.faces.iter().map(|face| face.track_id).collect::<Vec<_>>());
        let map = buffer.map_readable().unwrap();
        assert!(map.iter().any(|byte| *byte != 128), "frame {n}: nothing is drawn");
    }
    assert!(tracks[0].iter().all(|id| *id != 0) && tracks[0][0] != tracks[0][1], "{tracks:?}");
    assert!(tracks.iter().all(|ids| *ids == tracks[0]), "{tracks:?}");
    let bin = harness.element().expect("the bin").downcast::<gst::Bin>().expect("a bin");
    let recognizer = bin.by_name("recognizer").expect("it is in the bin");
    assert_eq!(common::stat(&recognizer, "no-landmarks"), 2 * FRAMES);
    assert_eq!(common::stat(&recognizer, "embedded"), 0);
}
