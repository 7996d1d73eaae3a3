//! What other programs see: names, properties, the plugin as a file, and gst-launch-1.0.

mod common;

use std::process::{Command, Output};

use common::{data, element, init};
use gst::prelude::*;

/// The tools of GStreamer with a fresh registry, and nothing of ours but `GST_PLUGIN_PATH`.
struct Tools {
    folder: tempfile::TempDir,
}

impl Tools {
    /// `None`, and a word about it, where the tools are not installed.
    fn new() -> Option<Tools> {
        if Command::new("gst-inspect-1.0").arg("--version").output().is_err() {
            eprintln!("skipped: no gst-inspect-1.0");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // The plugin that cargo linked for this very test.
        let test = std::env::current_exe().unwrap();
        let library = test.parent().unwrap().join("libgstface.so");
        std::fs::create_dir(folder.path().join("plugins")).unwrap();
        std::fs::copy(&library, folder.path().join("plugins/libgstface.so")).unwrap();
        Some(Tools { folder })
    }

    fn run(&self, program: &str, arguments: &str, environment: &[(&str, &str)]) -> Output {
        Command::new(program)
            .args(arguments.split_whitespace())
            .env("GST_PLUGIN_PATH", self.folder.path().join("plugins"))
            .env("GST_REGISTRY", self.folder.path().join("registry.bin"))
            .env("LC_ALL", "C.UTF-8")
            // A warning of somebody else's plugin, made fatal, would end the scan of all.
            .env_remove("G_DEBUG")
            .envs(environment.iter().copied())
            .output()
            .unwrap_or_else(|e| panic!("{program}: {e}"))
    }

    /// The plugin file that owns an element.
    fn owner(&self, element: &str) -> Option<String> {
        let output = self.run("gst-inspect-1.0", element, &[]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.trim_start().starts_with("Filename"));
        line.and_then(|line| line.split_whitespace().last()).map(str::to_owned)
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const ELEMENTS: [&str; 5] =
    ["onnxfacedetect", "facetrack", "facerecognize", "faceannotate", "facepublish"];

#[test]
fn elements_are_inspected_without_onnx_runtime() {
    let Some(tools) = Tools::new() else { return };
    let nowhere = [("GST_FACE_ORT_PATH", "/nonexistent"), ("GST_FACE_MODEL_PATH", "")];
    for name in ELEMENTS {
        let output = tools.run("gst-inspect-1.0", name, &nowhere);
        let text = stdout(&output);
        assert!(output.status.success() && text.contains("libgstface.so"), "{name}: {text}");
        assert!(text.contains("Pad Templates"), "{text}");
    }
    let plugin = stdout(&tools.run("gst-inspect-1.0", "face", &nowhere));
    for name in ELEMENTS {
        assert!(plugin.lines().any(|l| l.trim().starts_with(&format!("{name}:"))), "{plugin}");
    }
}

#[test]
fn alias_is_ours_beside_the_plugin_of_opencv() {
    let Some(tools) = Tools::new() else { return };
    let ours = |owner: Option<String>| owner.is_some_and(|o| o.ends_with("libgstface.so"));
    assert!(ours(tools.owner("onnxfacedetect")));
    if tools.owner("faceblur").is_none() {
        eprintln!("skipped: gstreamer1.0-opencv is not installed");
        return;
    }
    // Should this ever be ours, the alias is not needed any more.
    assert!(!ours(tools.owner("facedetect")));
}

#[test]
fn name_is_ours_in_a_program_that_links_the_plugin() {
    init();
    for name in ["facedetect", "onnxfacedetect"] {
        let factory = gst::ElementFactory::find(name).unwrap();
        assert_eq!(factory.plugin().unwrap().plugin_name(), "face", "{name}");
        let element = factory.create().build().unwrap();
        assert_eq!(element.type_().name(), "GstOnnxFaceDetect");
    }
}

/// The first pipeline of the README with a generated picture in place of a file.
fn first_pipeline(model: &str) -> String {
    format!(
        "-m videotestsrc num-buffers=3 ! video/x-raw,width=320,height=240 ! videoconvert \
         ! onnxfacedetect model={model} ! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 \
         ! faceannotate ! videoconvert ! fakesink"
    )
}

#[test]
fn first_pipeline_runs_with_nothing_but_the_plugin_path() {
    let Some(tools) = Tools::new() else { return };
    let output = tools.run("gst-launch-1.0", &first_pipeline(&data("two_faces.onnx")), &[]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}\n{}", stderr(&output));
    assert!(text.contains("provider-info") && text.contains("two_faces"), "{text}");
}

#[test]
fn user_of_gst_launch_is_told_what_is_missing() {
    let Some(tools) = Tools::new() else { return };
    let pipeline = first_pipeline(&data("two_faces.onnx"));
    let output = tools.run("gst-launch-1.0", &pipeline, &[("GST_FACE_ORT_PATH", "/nonexistent")]);
    let text = stderr(&output);
    assert!(!output.status.success(), "{text}");
    let line =
        text.lines().find(|line| line.starts_with("ERROR:") && line.contains("ONNX Runtime"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("/nonexistent") && line.contains("scripts/setup.sh"), "{line}");

    let empty = tools.folder.path().to_str().unwrap();
    let nowhere = [("GST_FACE_MODEL_PATH", empty), ("XDG_DATA_HOME", empty)];
    let output = tools.run("gst-launch-1.0", &first_pipeline("yunet_n_dynamic"), &nowhere);
    let text = stderr(&output);
    assert!(!output.status.success(), "{text}");
    let said = text.lines().any(|line| {
        line.starts_with("ERROR:") && line.contains(empty) && line.contains("facectl models fetch")
    });
    assert!(said, "{text}");
}

/// Is the value that a new element has the one that gst-inspect-1.0 shows as the default?
fn assert_default(element: &gst::Element, property: &glib::ParamSpec) {
    let (value, default) = (element.property_value(property.name()), property.default_value());
    let same = value.compare(default) == Some(std::cmp::Ordering::Equal)
        || value.serialize().ok() == default.serialize().ok();
    assert!(same, "{}: {value:?} instead of {default:?}", property.name());
}

#[test]
fn properties_are_described_and_have_the_defaults_they_say() {
    init();
    for name in ELEMENTS {
        let element = gst::ElementFactory::make(name).build().unwrap();
        let own = element.list_properties();
        let own = own.iter().filter(|p| p.owner_type() == element.type_());
        for property in own {
            let text = format!("{name}.{}: {:?}", property.name(), property.blurb());
            let nick = property.nick();
            assert!(nick != property.name() && nick.starts_with(char::is_uppercase), "{text}");
            let blurb = property.blurb().unwrap_or_default();
            assert!(blurb.len() > 10, "{text}");
            if !property.flags().contains(glib::ParamFlags::WRITABLE) {
                continue;
            }
            // Says when it may be changed, and begins with the default.
            let mutable = glib::ParamFlags::from_bits_retain(
                gst::PARAM_FLAG_MUTABLE_READY.bits() | gst::PARAM_FLAG_MUTABLE_PLAYING.bits(),
            );
            assert!(property.flags().intersects(mutable), "{text}");
            assert_default(&element, property);
        }
    }
}

#[test]
fn numbers_outside_their_range_do_not_reach_the_elements() {
    let detect = element("onnxfacedetect", "two_faces.onnx");
    let range = |name: &str| {
        let property = detect.find_property(name).unwrap();
        let property = property.downcast_ref::<glib::ParamSpecFloat>().unwrap().clone();
        (property.minimum(), property.maximum())
    };
    assert_eq!((range("score-threshold"), range("iou-threshold")), ((0.0, 1.0), (0.0, 1.0)));
    let size = detect.find_property("input-size").unwrap();
    assert_eq!(size.downcast_ref::<glib::ParamSpecUInt>().unwrap().minimum(), 32);
}
