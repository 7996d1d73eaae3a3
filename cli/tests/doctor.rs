//! `facectl doctor` with everything there, and with things missing.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use support::{Answer, Setup, keys};

/// The check of that name.
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|c| c["check"] == name).unwrap_or_else(|| panic!("no {name}: {report}"))
}

#[test]
fn complete_installation_has_no_problem() {
    let Some(setup) = Setup::new() else { return };
    let gallery = setup.people();
    let answer = setup.run(&["doctor", "--json", "--gallery", &gallery]);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{}", answer.stdout);
    assert_eq!(keys(answer.stdout.trim()), ["ok", "checks"]);
    let report = &answer.json()[0];
    assert_eq!(report["ok"], true);
    for name in
        ["gstreamer", "onnxruntime", "detector", "embedder", "provider cpu", "embedding", "gallery"]
    {
        assert_eq!(check(report, name)["status"], "ok", "{report}");
    }
    assert!(check(report, "gstreamer")["detail"].as_str().unwrap().contains("version 1."));
    assert!(check(report, "onnxruntime")["detail"].as_str().unwrap().contains("version 1."));
    assert!(check(report, "gallery")["detail"].as_str().unwrap().contains("12 people"));
    // Whether these two are found depends on the machine; that they are looked at does not.
    check(report, "plugin");
    check(report, "facedetect");

    std::fs::set_permissions(&gallery, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = setup.run(&["doctor", "--gallery", &gallery]);
    assert_eq!(open.code, 0, "{open:?}");
    let line = open.stdout.lines().find(|l| l.contains("gallery:")).unwrap();
    assert!(line.starts_with("warning") && line.contains("chmod 600"), "{line}");
}

/// Runs doctor with a registry of its own that knows the plugins of this folder and no others.
fn doctor_with_plugins(setup: &Setup, folder: &str) -> Answer {
    let mut command = setup.command(&["doctor", "--json"]);
    command
        .env("GST_PLUGIN_PATH", setup.path(folder))
        .env("GST_PLUGIN_SYSTEM_PATH", setup.path("none"))
        .env("GST_REGISTRY", setup.path("registry.bin"));
    Answer::of(&command.output().unwrap())
}

#[test]
fn plugin_that_is_found_owns_its_elements() {
    let Some(setup) = Setup::new() else { return };
    let program = Path::new(env!("CARGO_BIN_EXE_facectl"));
    let library = program.with_file_name("deps").join("libgstface.so");
    if !library.is_file() {
        eprintln!("skipped: the plugin was not built to {}", library.display());
        return;
    }
    std::fs::create_dir(setup.path("plugins")).unwrap();
    std::fs::copy(library, setup.path("plugins/libgstface.so")).unwrap();
    let answer = doctor_with_plugins(&setup, "plugins");
    assert_eq!(answer.code, 0, "{answer:?}");
    let report = &answer.json()[0];
    let plugin = check(report, "plugin");
    assert_eq!(plugin["status"], "ok", "{plugin}");
    assert!(plugin["detail"].as_str().unwrap().contains(&setup.path("plugins")), "{plugin}");
    let facedetect = check(report, "facedetect");
    assert_eq!(facedetect["detail"], "the element belongs to plugin 'face'");
}

#[test]
fn plugin_that_cannot_be_loaded_is_a_problem_with_its_file() {
    let Some(setup) = Setup::new() else { return };
    std::fs::create_dir(setup.path("plugins")).unwrap();
    std::fs::write(setup.path("plugins/libgstface.so"), "not a library").unwrap();
    let answer = doctor_with_plugins(&setup, "plugins");
    assert_eq!(answer.code, 1, "{answer:?}");
    let plugin = check(&answer.json()[0], "plugin").clone();
    assert_eq!(plugin["status"], "problem", "{plugin}");
    let file = setup.path("plugins/libgstface.so");
    assert!(plugin["detail"].as_str().unwrap().contains(&file), "{plugin}");
}

#[test]
fn plugin_that_is_not_found_is_a_warning_with_advice() {
    let Some(setup) = Setup::new() else { return };
    let answer = doctor_with_plugins(&setup, "empty");
    assert_eq!(answer.code, 0, "{answer:?}");
    let report = &answer.json()[0];
    let plugin = check(report, "plugin");
    assert_eq!(plugin["status"], "warning");
    assert!(plugin["advice"].as_str().unwrap().contains("GST_PLUGIN_PATH"), "{plugin}");
    assert!(plugin["detail"].as_str().unwrap().contains(&setup.path("empty")), "{plugin}");
    assert_eq!(check(report, "facedetect")["status"], "warning");
}

#[test]
fn every_problem_is_listed_with_what_to_do() {
    let Some(setup) = Setup::new() else { return };
    let models = setup.path("models");
    std::fs::create_dir(&models).unwrap();
    // The detector damaged, the embedder missing.
    let name = "face_detection_yunet_n_dynamic.onnx";
    let mut bytes = std::fs::read(setup.models.join(name)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(format!("{models}/{name}"), bytes).unwrap();
    let gallery = setup.path("g");
    let mut command = setup.command(&["doctor", "--json", "--gallery", &gallery]);
    command
        .env("GST_FACE_MODEL_PATH", &models)
        .env("XDG_DATA_HOME", setup.path("data"))
        .env("GST_FACE_ORT_PATH", "/nonexistent");
    let answer = Answer::of(&command.output().unwrap());
    assert_eq!(answer.code, 1, "{answer:?}");
    let report = &answer.json()[0];
    assert_eq!(report["ok"], false);
    for (name, part) in [
        ("onnxruntime", "/nonexistent"),
        ("detector", "damaged"),
        ("embedder", "facectl models fetch mobilefacenet"),
        ("gallery", "no such file"),
    ] {
        let check = check(report, name);
        assert_eq!(check["status"], "problem", "{check}");
        assert!(check["detail"].as_str().unwrap().contains(part), "{check}");
    }
}

#[test]
fn provider_that_was_asked_for_and_does_not_load_is_a_problem() {
    let Some(setup) = Setup::new() else { return };
    let answer = setup.run(&["doctor", "--json", "--provider", "openvino"]);
    let report = &answer.json()[0];
    if check(report, "provider openvino")["status"] == "ok" {
        eprintln!("skipped: OpenVINO works here");
        return;
    }
    assert_eq!((answer.code, &report["ok"]), (1, &Value::Bool(false)));
    assert_eq!(check(report, "provider openvino")["status"], "problem");
    assert_eq!(check(report, "provider cpu")["status"], "ok");
}
