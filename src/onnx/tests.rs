use std::path::Path;

use super::testing::Tiny;
use super::*;
use crate::model::FreeDim;

/// The real file `name`, if the test models are here.
fn shared(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("GST_FACE_MODEL_PATH");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models");
    let folders = folder.iter().flat_map(std::env::split_paths).chain([beside]);
    let found = folders.map(|folder| folder.join(name)).find_map(|path| std::fs::read(path).ok());
    if found.is_none() {
        eprintln!("skipped: {name} is not here");
    }
    found
}

fn dims(info: &TensorInfo) -> String {
    info.dims.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

#[test]
fn signature_tells_names_and_dimensions() {
    let file = Tiny::yunet(-1, -1).file();
    let signature = signature(&file).unwrap();
    assert_eq!(signature.inputs.len(), 1);
    assert_eq!(signature.inputs[0].data_type, 1);
    assert_eq!(dims(&signature.inputs[0]), "1x3xnxn");
    assert_eq!(signature.outputs.len(), 12);
    assert_eq!(dims(signature.output("kps_16").unwrap()), "1xnx10");
}

#[test]
fn weights_among_the_inputs_are_not_inputs() {
    let file = Tiny::embedder(4).input("w", &[2]).initializer("w", &[1, 4], true).file();
    let names: Vec<_> = signature(&file).unwrap().inputs.into_iter().map(|i| i.name).collect();
    assert_eq!(names, ["input0"]);
}

#[test]
fn bytes_that_are_no_network_are_refused() {
    assert_eq!(signature(b""), Err(OnnxError::NoGraph));
    assert_eq!(signature(&Tiny::new().file()), Err(OnnxError::Without("output")));
    assert!(signature(b"version https://git-lfs.github.com/spec/v1\n").is_err());
    assert!(signature(b"<!DOCTYPE html><html>").is_err());
    let twice = [Tiny::embedder(4).file(), Tiny::embedder(4).file()].concat();
    assert_eq!(signature(&twice), Err(OnnxError::Twice("graph")));
}

#[test]
fn free_size_forgets_shapes_and_keeps_everything_else() {
    let tiny = Tiny::yunet(64, 96).value_info("mid", &[1, 8, 8, 12]).node("Conv", &["input"], "a");
    let file = tiny.file();
    let freed = free_dims(&file, &[FreeDim::Size]).unwrap();
    let signature = signature(&freed).unwrap();
    assert_eq!(dims(&signature.inputs[0]), "1x3xheightxwidth");
    assert!(signature.outputs.iter().all(|o| dims(o) == "?x?x?" && o.data_type == 1));
    assert!(!freed.windows(3).any(|w| w == b"mid"), "value_info is left out");
    assert!(freed.ends_with(b"kept") && freed.windows(4).any(|w| w == b"Conv"));
    assert_eq!(
        free_dims(&freed, &[FreeDim::Size]).unwrap(),
        freed,
        "a second time changes nothing"
    );
    assert_eq!(free_dims(&file, &[]).unwrap(), file);
}

#[test]
fn free_size_wants_a_picture_as_the_one_input() {
    let flat = Tiny::new().input("x", &[1, 10]).output("y", &[1]).file();
    let error = free_dims(&flat, &[FreeDim::Size]).unwrap_err().to_string();
    assert!(error.contains("'x'") && error.contains("size"), "{error}");
    let two = Tiny::embedder(4).input("second", &[1]).file();
    assert_eq!(free_dims(&two, &[FreeDim::Size]), Err(OnnxError::Twice("input")));
}

/// A picture of 20 × 20 that is resized to `size`, as the middle of a network.
fn resizing(size: &[i64]) -> Tiny {
    Tiny::yunet(64, 96).value_info("small", &[1, 8, 20, 20]).initializer("size", size, true).node(
        "Resize",
        &["small", "", "", "size"],
        "large",
    )
}

#[test]
fn free_size_turns_sizes_of_resize_into_factors() {
    let freed = free_dims(&resizing(&[1, 8, 40, 40]).file(), &[FreeDim::Size]).unwrap();
    assert!(freed.windows(12).any(|w| w == b"large/scales"), "the factors are there");
    let inputs = b"\x0a\x05small\x0a\x00\x0a\x0clarge/scales\x12\x05large";
    assert!(freed.windows(inputs.len()).any(|w| w == inputs), "and stand for the size");
    let twice = free_dims(&freed, &[FreeDim::Size]);
    assert_eq!(twice.unwrap(), freed, "a second time changes nothing");
}

#[test]
fn free_size_refuses_what_it_cannot_follow() {
    let refused = |tiny: Tiny, part: &str| {
        let error = free_dims(&tiny.file(), &[FreeDim::Size]).unwrap_err().to_string();
        assert!(error.contains("size") && error.contains(part), "{error}");
    };
    refused(resizing(&[1, 8, 41, 40]), "[1, 8, 41, 40]");
    let unknown = Tiny::yunet(64, 96).initializer("size", &[1, 8, 40, 40], false);
    refused(unknown.node("Resize", &["small", "", "", "size"], "large"), "'large'");
    for shape in [&[1, 6400, 1][..], &[1, 2, 8, 40, 40], &[0, 0, 1600]] {
        let tiny = Tiny::yunet(64, 96).constant("shape", shape, true);
        refused(tiny.node("Reshape", &["input", "shape"], "flat"), "'flat'");
    }
    for shape in [&[1, -1, 4][..], &[1, 64], &[1, 64, 1, 1]] {
        let tiny = Tiny::yunet(64, 96).constant("shape", shape, true);
        let file = tiny.node("Reshape", &["input", "shape"], "flat").file();
        assert!(free_dims(&file, &[FreeDim::Size]).is_ok(), "{shape:?}");
    }
}

/// All four places a shape may be written in.
fn embedders_with_shape(values: &[i64]) -> Vec<Tiny> {
    let base = || Tiny::embedder(64).node("Reshape", &["input0", "shape"], "output0");
    vec![
        base().initializer("shape", values, true),
        base().initializer("shape", values, false),
        base().constant("shape", values, true),
        base().constant("shape", values, false),
    ]
}

fn shape_values(file: &[u8]) -> Vec<i64> {
    let graph = Graph::parse(graph_bytes(file).unwrap()).unwrap();
    rewrite::shape_of_reshape(&graph).expect("a constant shape")
}

#[test]
fn free_batch_rewrites_the_reshape() {
    for (values, expected) in
        [([1, -1], [-1, 64]), ([1, 64], [-1, 64]), ([-1, 64], [-1, 64]), ([0, -1], [0, -1])]
    {
        for tiny in embedders_with_shape(&values) {
            let file = tiny.file();
            assert_eq!(shape_values(&file), values);
            let freed = free_dims(&file, &[FreeDim::Batch]).unwrap();
            assert_eq!(shape_values(&freed), expected);
            let signature = signature(&freed).unwrap();
            assert_eq!(dims(&signature.inputs[0]), "batchx3x112x112");
            assert_eq!(dims(&signature.outputs[0]), "batchx64");
        }
    }
}

#[test]
fn free_batch_refuses_what_it_cannot_follow() {
    let refused = |tiny: Tiny, part: &str| {
        let error = free_dims(&tiny.file(), &[FreeDim::Batch]).unwrap_err().to_string();
        assert!(error.contains("batch") && error.contains(part), "{error}");
    };
    let reshape = |tiny: Tiny, to: &str| tiny.node("Reshape", &["input0", "shape"], to);
    // -1 in the middle of the network: its length is not known here.
    refused(reshape(Tiny::embedder(64), "mid").constant("shape", &[1, -1], true), "'mid'");
    refused(reshape(Tiny::embedder(64), "output0").constant("shape", &[2, 32], true), "[2, 32]");
    let shared = reshape(Tiny::embedder(64), "output0").constant("shape", &[1, -1], true);
    refused(shared.node("Expand", &["x", "shape"], "y"), "Expand");
    let two = reshape(Tiny::embedder(64).output("other", &[1, 32]), "output0");
    refused(reshape(two, "other").constant("shape", &[1, -1], true), "shared");
    refused(Tiny::new().input("x", &[4, 3, 8, 8]).output("y", &[1, 2]), "'y'");
    refused(Tiny::new().input("x", &[0, 3, 8, 8]).output("y", &[0, 2]), "'x'");
    let four = Tiny::new().input("x", &[4, 3, 8, 8]).output("y", &[4, 2]);
    refused(reshape(four, "y").constant("shape", &[1, 8], true), "[1, 8]");
}

#[test]
fn free_batch_takes_any_batch_that_all_share() {
    let tiny = Tiny::new().input("x", &[10, 3, 32, 32]).output("y", &[10, 2]);
    let tiny = tiny.node("Reshape", &["x", "shape"], "y").constant("shape", &[10, -1], true);
    let freed = free_dims(&tiny.file(), &[FreeDim::Batch]).unwrap();
    assert_eq!(shape_values(&freed), [-1, 2]);
    let signature = signature(&freed).unwrap();
    assert_eq!(dims(&signature.inputs[0]), "batchx3x32x32");
    assert_eq!(dims(&signature.outputs[0]), "batchx2");
    // With the size freed as well, the length of the output is another one.
    let both = free_dims(&tiny.file(), &[FreeDim::Size, FreeDim::Batch]).unwrap_err().to_string();
    assert!(both.contains("[10, -1]"), "{both}");
}

#[test]
fn real_yunet_gets_a_free_size() {
    let Some(file) = shared("face_detection_yunet_2023mar.onnx") else { return };
    assert_eq!(dims(&signature(&file).unwrap().inputs[0]), "1x3x640x640");
    let freed = free_dims(&file, &[FreeDim::Size]).unwrap();
    let signature = signature(&freed).unwrap();
    assert_eq!(dims(&signature.inputs[0]), "1x3xheightxwidth");
    assert_eq!(signature.outputs.len(), 12);
    assert!(free_dims(&file, &[FreeDim::Batch]).is_err(), "its Reshapes fix the batch");
}

#[test]
fn real_detectors_get_a_free_size() {
    for (name, free, resized) in [
        ("face_detection_scrfd_500m_bnkps.onnx", &[FreeDim::Size][..], 2),
        ("face_detection_retinaface_mnet025_640.onnx", &[FreeDim::Size], 0),
        ("face_detection_centerface.onnx", &[FreeDim::Batch, FreeDim::Size], 0),
    ] {
        let Some(file) = shared(name) else { continue };
        let freed = free_dims(&file, free).unwrap();
        let signature = signature(&freed).unwrap();
        assert_eq!((signature.inputs[0].fixed(2), signature.inputs[0].fixed(3)), (None, None));
        assert!(
            signature.outputs.iter().flat_map(|o| &o.dims).flatten().all(|d| *d == Dim::Unknown)
        );
        let scales = freed.windows(7).filter(|w| *w == b"/scales").count();
        assert_eq!(scales, 2 * resized, "{name}: a constant and its use for each");
    }
}

#[test]
fn real_embedder_gets_a_free_batch() {
    let Some(file) = shared("face_recognition_mobilefacenet.onnx") else { return };
    let Some(reference) = shared("face_recognition_mobilefacenet_dynamic.onnx") else { return };
    let freed = free_dims(&file, &[FreeDim::Batch]).unwrap();
    assert_eq!(signature(&freed).unwrap(), signature(&reference).unwrap());
    assert_eq!(shape_values(&freed), shape_values(&reference));
}

/// A generator of test numbers (linear congruential, 2^32).
fn next(seed: &mut u32) -> usize {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*seed >> 8) as usize
}

/// Damaged files may be read or refused, but must end in one of the two.
fn survive(file: &[u8]) -> bool {
    let freed = free_dims(file, &[FreeDim::Batch, FreeDim::Size]);
    signature(file).is_ok() | freed.is_ok()
}

#[test]
fn every_truncation_of_a_tiny_file_is_refused() {
    let file = Tiny::yunet(64, 96).node("Conv", &["input"], "a").file();
    let graph_end = file.len() - b"kept".len() - 4;
    for length in 0..file.len() {
        // The only clean cut is between the graph and the field after it.
        assert_eq!(signature(&file[..length]).is_ok(), length == graph_end + 1, "{length}");
    }
}

#[test]
fn flipped_and_cut_bytes_never_panic() {
    let tiny = embedders_with_shape(&[1, -1]).swap_remove(2).value_info("m", &[1, 2]).file();
    let mut seed = 12345;
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut damaged = tiny.clone();
        for _ in 0..=next(&mut seed) % 3 {
            let at = next(&mut seed) % damaged.len();
            damaged[at] ^= 1 << (next(&mut seed) % 8);
        }
        refused += u32::from(!survive(&damaged));
    }
    assert!(refused > 1000, "only {refused} of 20000 damaged files were refused");
}

#[test]
fn damaged_real_files_never_panic() {
    let Some(file) = shared("face_detection_yunet_2023mar.onnx") else { return };
    let mut seed = 777;
    for _ in 0..300 {
        let cut = next(&mut seed) % file.len();
        assert!(signature(&file[..cut]).is_err(), "cut at {cut}");
        let mut damaged = file.clone();
        for _ in 0..8 {
            let at = next(&mut seed) % damaged.len();
            damaged[at] = next(&mut seed) as u8;
        }
        survive(&damaged);
    }
}
