//! What goes wrong, and how the elements say so: domain, code, and a text that names the thing.

mod common;

use std::path::Path;

use common::people::{CAPS, RED, WHITE, enroll, frame, frame_with};
use common::{Rig, at, data, element, error_of, init};
use face_core::identity::Status;
use gst::prelude::*;
use gstface::meta::{FrameFaces, META_NAME};

/// Starts an element that cannot start. Returns the one error it posts.
fn start_fails(element: &gst::Element) -> glib::Error {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err(), "it started");
    let error = error_of(&bus);
    assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none(), "posted once");
    assert_eq!(element.set_state(gst::State::Null), Ok(gst::StateChangeSuccess::Success));
    error
}

#[track_caller]
fn assert_error<T: glib::error::ErrorDomain + PartialEq + std::fmt::Debug>(
    error: &glib::Error,
    code: T,
    texts: &[&str],
) {
    assert_eq!(error.kind::<T>(), Some(code), "{error}");
    for text in texts {
        assert!(error.message().contains(text), "'{text}' is not in: {}", error.message());
    }
}

fn detector(model: &str) -> gst::Element {
    let detector = element("onnxfacedetect", "two_faces.onnx");
    detector.set_property("model", model);
    detector
}

fn recognizer(model: &str) -> gst::Element {
    let recognizer = element("facerecognize", "embedder.onnx");
    recognizer.set_property("model", model);
    recognizer
}

#[test]
fn missing_model_is_not_found() {
    for make in [detector, recognizer] {
        let error = start_fails(&make("/nonexistent/model.onnx"));
        assert_error(&error, gst::ResourceError::NotFound, &["/nonexistent/model.onnx"]);
        let error = start_fails(&make("no_such_name"));
        let texts = ["no_such_name", "yunet_n_dynamic", ".onnx"];
        assert_error(&error, gst::ResourceError::NotFound, &texts);
    }
}

#[test]
fn model_that_is_a_folder_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("folder.onnx");
    std::fs::create_dir(&path).unwrap();
    let path = path.to_str().unwrap();
    for make in [detector, recognizer] {
        assert_error(&start_fails(&make(path)), gst::ResourceError::OpenRead, &[path]);
    }
}

#[test]
fn damaged_model_and_lfs_pointer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(data("two_faces.onnx")).unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:8f2383\nsize 232589\n";
    // The name of a registry model, cut short as a broken download leaves it.
    let contents: [(&str, &[u8], &str); 4] = [
        ("cut.onnx", &whole[..whole.len() / 2], "not a usable ONNX file"),
        ("text.onnx", b"this is no model, whatever its name says\n", "not a usable ONNX file"),
        ("empty.onnx", b"", "not a usable ONNX file"),
        ("pointer.onnx", pointer, "git lfs pull"),
    ];
    for (name, bytes, text) in contents {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        for make in [detector, recognizer] {
            assert_error(&start_fails(&make(path)), gst::ResourceError::Settings, &[path, text]);
        }
    }
}

#[test]
fn graph_that_the_runtime_refuses_is_an_error_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator.onnx");
    let mut bytes = std::fs::read(data("two_faces.onnx")).unwrap();
    let at = bytes.windows(6).position(|w| w == b"CumSum").unwrap();
    bytes[at..at + 6].copy_from_slice(b"BumSum");
    std::fs::write(&path, bytes).unwrap();
    let path = path.to_str().unwrap();
    let error = start_fails(&detector(path));
    assert_error(&error, gst::ResourceError::Settings, &[path, "BumSum"]);
}

#[test]
fn model_of_the_wrong_kind_is_refused() {
    let (finds, embeds) = (data("two_faces.onnx"), data("embedder.onnx"));
    let error = start_fails(&detector(&embeds));
    assert_error(&error, gst::ResourceError::Settings, &[&embeds, "embedder", "detector"]);
    let error = start_fails(&recognizer(&finds));
    assert_error(&error, gst::ResourceError::Settings, &[&finds, "detector", "embedder"]);
    let error = start_fails(&detector("mobilefacenet"));
    assert_error(&error, gst::ResourceError::Settings, &["mobilefacenet", "detector"]);
    let error = start_fails(&recognizer("yunet_n_dynamic"));
    assert_error(&error, gst::ResourceError::Settings, &["yunet_n_dynamic", "embedder"]);
}

#[test]
fn embedder_without_or_with_a_wrong_description_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.onnx");
    std::fs::copy(data("embedder.onnx"), &path).unwrap();
    let toml = path.with_extension("toml");
    let (path, toml_text) = (path.to_str().unwrap(), toml.to_str().unwrap());
    let error = start_fails(&recognizer(path));
    assert_error(&error, gst::ResourceError::Settings, &[path, toml_text]);
    let right = std::fs::read_to_string(data("embedder.toml")).unwrap();
    std::fs::write(&toml, right.replace("dim = 12", "dim = 128")).unwrap();
    let error = start_fails(&recognizer(path));
    assert_error(&error, gst::ResourceError::Settings, &[path, "12", "128"]);
    std::fs::write(&toml, right.replace("std = [255.0", "std = [0.0")).unwrap();
    let error = start_fails(&recognizer(path));
    assert_error(&error, gst::ResourceError::Settings, &[toml_text, "'std'"]);
}

#[test]
fn provider_that_is_not_there_is_an_error_and_no_run_on_the_cpu() {
    init();
    let options = face_core::inference::PoolOptions::default();
    let present = face_core::inference::providers_present(&options).unwrap();
    for provider in ["cuda", "tensorrt", "openvino"] {
        if present.iter().any(|p| p.as_str() == provider) {
            eprintln!("skipped: this ONNX Runtime has {provider}");
            continue;
        }
        for element in [detector(&data("two_faces.onnx")), recognizer(&data("embedder.onnx"))] {
            element.set_property_from_str("provider", provider);
            let error = start_fails(&element);
            assert_error(&error, gst::ResourceError::Settings, &[provider, "provider=cpu"]);
            assert_eq!(element.property::<String>("active-provider"), "");
        }
    }
}

#[test]
fn provider_auto_falls_back_and_says_so() {
    let element = detector(&data("two_faces.onnx"));
    element.set_property_from_str("provider", "auto");
    let rig = Rig::new(element, "video/x-raw,format=RGB,width=64,height=64,framerate=15/1");
    let info = rig.structures("provider-info").remove(0);
    assert_eq!(info.get::<&str>("requested").unwrap(), "auto");
    let active = info.get::<String>("active").unwrap();
    assert_eq!(rig.element.property::<String>("active-provider"), active);
    assert_eq!(active == "cpu", !info.get::<&str>("note").unwrap().is_empty(), "{info}");
}

fn with_gallery(path: &Path) -> gst::Element {
    let recognizer = recognizer(&data("embedder.onnx"));
    recognizer.set_property("gallery", path.to_str().unwrap());
    recognizer
}

#[test]
fn gallery_that_cannot_be_used_is_an_error_at_start() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| folder.path().join(name);
    let text = |path: &Path| path.to_str().unwrap().to_owned();

    let missing = named("missing.gallery");
    let error = start_fails(&with_gallery(&missing));
    assert_error(&error, gst::ResourceError::NotFound, &[&text(&missing)]);
    assert!(!missing.exists(), "looking for it does not make it");

    let error = start_fails(&with_gallery(folder.path()));
    assert_error(&error, gst::ResourceError::Read, &[&text(folder.path())]);

    let rubbish = named("rubbish.gallery");
    std::fs::write(&rubbish, vec![0x5a; 5000]).unwrap();
    let error = start_fails(&with_gallery(&rubbish));
    assert_error(&error, gst::ResourceError::Read, &[&text(&rubbish)]);

    let good = named("good.gallery");
    enroll(&good, "Ada", RED);
    let element = with_gallery(&good);
    element.set_property("model", data("embedder_coarse.onnx"));
    let error = start_fails(&element);
    let texts = [&*text(&good), "'embedder'", "'embedder_coarse'"];
    assert_error(&error, gst::ResourceError::Settings, &texts);
}

const FRAMES: &str = "video/x-raw,format=RGB,width=64,height=64,framerate=15/1";

/// A failing run: the flow return, the error, and that the process and the element go on.
fn run_fails(model: &str, texts: &[&str]) {
    let mut rig = Rig::new(detector(&data(model)), FRAMES);
    assert_eq!(rig.harness.push(rig.grey(0)), Err(gst::FlowError::Error));
    let error = error_of(&rig.bus);
    assert_error(&error, gst::StreamError::Failed, texts);
    assert!(rig.harness.try_pull().is_none());
    rig.element.set_state(gst::State::Null).unwrap();
}

#[test]
fn failing_inference_and_wrong_outputs_end_the_stream() {
    run_fails("fails.onnx", &["run model 'fails'"]);
    run_fails("wrong_length.onnx", &["wrong_length", "'kps_32'"]);
}

#[test]
fn failing_embedder_ends_the_stream_and_keeps_the_process() {
    let mut rig = Rig::new(recognizer(&data("embedder_fails.onnx")), CAPS);
    assert_eq!(rig.faces(frame(0, [RED, RED], [0, 0])).faces[0].status, Status::Unknown);
    let flow = rig.harness.push(frame(1, [RED, WHITE], [0, 0]));
    assert_eq!(flow, Err(gst::FlowError::Error));
    let error = error_of(&rig.bus);
    assert_error(&error, gst::StreamError::Failed, &["run model 'embedder_fails'"]);
}

#[test]
fn numbers_that_are_not_finite_cost_their_face_only() {
    let mut rig = Rig::new(detector(&data("not_finite.onnx")), FRAMES);
    for n in 0..5 {
        assert_eq!(rig.faces(rig.grey(n)).faces.len(), 1);
    }
    assert_eq!((rig.stat("not-finite"), rig.stat("faces")), (5, 5));
    assert!(rig.bus.pop_filtered(&[gst::MessageType::Error]).is_none());
}

/// Pushes a buffer before any caps.
fn without_caps(element: gst::Element) -> (Result<gst::FlowSuccess, gst::FlowError>, glib::Error) {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    element.set_state(gst::State::Playing).unwrap();
    let source = gst::Pad::builder(gst::PadDirection::Src).build();
    source.set_active(true).unwrap();
    source.link(&element.static_pad("sink").unwrap()).unwrap();
    source.push_event(gst::event::StreamStart::new("test"));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    source.push_event(gst::event::Segment::new(&segment));
    let flow = source.push(at(0, gst::Buffer::with_size(12).unwrap()));
    element.set_state(gst::State::Null).unwrap();
    (flow, error_of(&bus))
}

#[test]
fn buffer_before_caps_is_not_negotiated() {
    let models = [("onnxfacedetect", "two_faces.onnx"), ("facerecognize", "embedder.onnx")];
    let mut elements: Vec<_> = models.map(|(factory, model)| element(factory, model)).into();
    elements.push(gst::ElementFactory::make("facetrack").build().unwrap());
    for element in elements {
        let (flow, error) = without_caps(element);
        assert_eq!(flow, Err(gst::FlowError::NotNegotiated));
        assert_error(&error, gst::CoreError::Negotiation, &["caps"]);
    }
}

#[test]
fn caps_without_a_size_are_refused() {
    init();
    for caps in
        ["video/x-raw,format=RGB,width=0,height=0", "video/x-raw,format=GRAY16_LE,width=8,height=8"]
    {
        let element = detector(&data("two_faces.onnx"));
        element.set_state(gst::State::Playing).unwrap();
        let pad = element.static_pad("sink").unwrap();
        pad.send_event(gst::event::StreamStart::new("test"));
        assert!(
            !pad.send_event(gst::event::Caps::new(&caps.parse::<gst::Caps>().unwrap())),
            "{caps}"
        );
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn malformed_meta_passes_unchanged_and_is_counted() {
    let mut rig = Rig::new(recognizer(&data("embedder.onnx")), CAPS);
    let mut buffer = frame(0, [RED, RED], [7, 8]);
    let mut meta =
        gst::meta::CustomMeta::from_mut_buffer(buffer.get_mut().unwrap(), META_NAME).unwrap();
    meta.mut_structure().set("faces", "none at all");
    let output = rig.run(buffer);
    assert!(FrameFaces::read(&output).unwrap().is_err());
    assert_eq!((rig.stat("malformed"), rig.stat("frames")), (1, 0));
    assert_eq!(rig.faces(frame(1, [RED, RED], [7, 8])).faces[0].status, Status::Confirming);
}

#[test]
fn hostile_numbers_in_the_meta_do_no_harm() {
    let mut rig = Rig::new(recognizer(&data("embedder.onnx")), CAPS);
    for (n, value) in [f32::MAX, -f32::MAX, 1e30, 1e-38].into_iter().enumerate() {
        let buffer = frame_with(n as u64, [RED, RED], [7, 0], |faces| {
            (faces.width, faces.height, faces.par) = (i32::MAX as u32, 1, (i32::MAX, 1));
            faces.faces[0].bbox.w = value.abs();
            faces.faces[1].landmarks.as_mut().unwrap().0[2].x = value;
            faces.ended_tracks = vec![u64::MAX, 0];
        });
        assert_eq!(rig.faces(buffer).faces.len(), 2);
    }
    assert!(rig.bus.pop_filtered(&[gst::MessageType::Error]).is_none());
}

#[test]
fn buffers_without_meta_bring_one_warning_that_names_the_cure() {
    let track = {
        init();
        gst::ElementFactory::make("facetrack").build().unwrap()
    };
    for element in [recognizer(&data("embedder.onnx")), track] {
        let mut rig = Rig::new(element, CAPS);
        for n in 0..200 {
            rig.run(rig.grey(n));
            let warning = rig.bus.pop_filtered(&[gst::MessageType::Warning]);
            assert_eq!(warning.is_some(), n == 59, "buffer {n}");
            let Some(gst::MessageView::Warning(warning)) = warning.as_ref().map(|w| w.view())
            else {
                continue;
            };
            let text = warning.error().message().to_owned();
            for part in ["onnxfacedetect", "'facedetect'", "plugin 'face'"] {
                assert!(text.contains(part), "'{part}' is not in: {text}");
            }
        }
    }
}
