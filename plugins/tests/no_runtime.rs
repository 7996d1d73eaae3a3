//! What happens where ONNX Runtime is missing. It is loaded once per process, so that this file
//! has one test and no other beside it.

mod common;

use common::{Rig, element, error_of};
use gst::prelude::*;

#[test]
fn missing_or_useless_runtime_is_an_error_at_start_and_a_good_one_works_later() {
    let folder = tempfile::tempdir().unwrap();
    let useless = folder.path().join("libonnxruntime.so.9");
    std::fs::write(&useless, b"no library").unwrap();
    for (factory, model) in
        [("onnxfacedetect", "two_faces.onnx"), ("facerecognize", "embedder.onnx")]
    {
        let element = element(factory, model);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        for library in ["/nonexistent/libonnxruntime.so", useless.to_str().unwrap()] {
            element.set_property("runtime-library", library);
            assert!(element.set_state(gst::State::Paused).is_err());
            let error = error_of(&bus);
            assert_eq!(error.kind(), Some(gst::LibraryError::Init), "{error}");
            for text in [library, "GST_FACE_ORT_PATH", "scripts/setup.sh"] {
                assert!(error.message().contains(text), "'{text}' is not in: {error}");
            }
            element.set_state(gst::State::Null).unwrap();
        }
    }
    // The elements that run no model need none.
    let track = gst::ElementFactory::make("facetrack").build().unwrap();
    track.set_state(gst::State::Playing).unwrap();
    track.set_state(gst::State::Null).unwrap();

    let caps = "video/x-raw,format=RGB,width=64,height=64,framerate=15/1";
    let mut rig = Rig::new(element("onnxfacedetect", "two_faces.onnx"), caps);
    assert_eq!(rig.faces(rig.grey(0)).faces.len(), 2);
}
