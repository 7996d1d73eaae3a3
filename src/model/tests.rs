use std::collections::HashSet;
use std::path::Path;

use super::*;
use crate::onnx::testing::Tiny;

const EMBEDDER: &str = r#"
task = "embedder"
decoder = "embedding"
channels = "rgb"
mean = [127.5, 127.5, 127.5]
std = [128, 128, 128]
template = "arcface-112"
dim = 64
threshold = 0.3
free = ["batch"]
"#;

fn put(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a temporary folder can be written");
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}

fn refusal(name: &str, task: Task) -> String {
    told(&SearchPath::default().resolve(name, task).expect_err("refused"))
}

/// The error's text and that of its cause.
fn told(error: &ModelError) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[test]
fn registry_entries_are_complete_and_valid() {
    let mut seen = HashSet::new();
    for spec in registry() {
        spec::validate(spec).unwrap_or_else(|e| panic!("{}: {e:?}", spec.id));
        assert!(seen.insert(&spec.id) && seen.insert(&spec.file.name), "{} is twice", spec.id);
        assert!(seen.insert(&spec.file.sha256), "{}: checksum is twice", spec.id);
        assert!(!spec.id.is_empty() && !spec.description.is_empty());
        assert!(spec.licence != "unknown" && spec.training_data != "unknown", "{}", spec.id);
        assert!(spec.file.name.ends_with(".onnx") && spec.file.bytes > 1024, "{}", spec.id);
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(spec.file.sha256.len() == 64 && spec.file.sha256.chars().all(hex), "{}", spec.id);
        let url = spec.file.url.as_deref();
        assert!(url.is_none_or(|url| url.starts_with("https://")), "{}", spec.id);
        assert!(url.is_some() || !spec.file.url_verified, "{}: no address, yet verified", spec.id);
    }
    assert_eq!(find(DEFAULT_DETECTOR).map(|spec| spec.task), Some(Task::Detector));
    let embedder = find(DEFAULT_EMBEDDER).expect("the default embedder is known");
    assert_eq!((embedder.task, embedder.dim, embedder.threshold), (Task::Embedder, Some(128), 0.4));
    for spec in registry().iter().filter(|spec| !spec.commercial) {
        assert!(spec.id != DEFAULT_DETECTOR && spec.id != DEFAULT_EMBEDDER, "{}", spec.id);
    }
    let dynamic = find("mobilefacenet_dynamic").expect("it is known");
    assert_eq!(dynamic.family(), embedder.family());
}

#[test]
fn missing_model_names_every_place_and_what_to_do() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let search = SearchPath::new(folders.iter().map(|f| f.path().to_owned()).collect());
    let error = search.resolve("mobilefacenet", Task::Embedder).unwrap_err().to_string();
    for folder in &folders {
        let place = folder.path().join("face_recognition_mobilefacenet.onnx");
        assert!(error.contains(place.to_str().unwrap()), "{error}");
    }
    assert!(error.contains("facectl models fetch mobilefacenet"), "{error}");
    let error = search.resolve("mobilefacenet_dynamic", Task::Embedder).unwrap_err().to_string();
    assert!(error.contains("cannot be downloaded") && !error.contains("fetch"), "{error}");
    let error = refusal("/nowhere/x.onnx", Task::Detector);
    assert!(error.contains("'/nowhere/x.onnx'") && error.contains("check the path"), "{error}");
}

#[test]
fn unknown_name_lists_the_known_ones() {
    let error = refusal("yunett", Task::Detector);
    assert!(error.contains("'yunett'") && error.contains("yunet_n_dynamic"), "{error}");
}

#[test]
fn wrong_task_is_refused_before_any_file_is_looked_for() {
    assert_eq!(
        refusal("mobilefacenet", Task::Detector),
        "model 'mobilefacenet' is an embedder, but a detector is needed"
    );
    assert!(refusal("yunet_2023mar", Task::Embedder).contains("is a detector"));
}

#[test]
fn damaged_copy_and_lfs_pointer_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let search = SearchPath::new(vec![folder.path().to_owned()]);
    let spec = find("yunet_n_dynamic").unwrap();
    put(folder.path(), &spec.file.name, vec![7; 4096]);
    let error = search.resolve(&spec.id, Task::Detector).unwrap_err();
    assert!(matches!(error, ModelError::Checksum { .. }), "{error}");
    assert!(error.to_string().contains(&spec.file.sha256), "{error}");
    put(folder.path(), &spec.file.name, "version https://git-lfs.github.com/spec/v1\noid x\n");
    let error = search.resolve(&spec.id, Task::Detector).unwrap_err();
    assert!(matches!(error, ModelError::LfsPointer { .. }), "{error}");
    assert_eq!(search.copies(spec)[0].state, FileState::LfsPointer);
    std::fs::remove_file(folder.path().join(&spec.file.name)).unwrap();
    std::fs::create_dir(folder.path().join(&spec.file.name)).unwrap();
    let error = search.resolve(&spec.id, Task::Detector).unwrap_err();
    assert!(told(&error).contains("not a regular file"), "{error}");
}

#[test]
fn yunet_is_recognised_by_its_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "mine.onnx", Tiny::yunet(64, 96).file());
    let model = SearchPath::default().resolve(&path, Task::Detector).unwrap();
    assert_eq!((model.spec.id.as_str(), model.spec.decoder), ("mine", Decoder::Yunet));
    assert_eq!(model.spec.free, [FreeDim::Size]);
    assert_eq!(model.spec.file.sha256.len(), 64);
    let loaded = onnx::signature(&model.load().unwrap()).unwrap();
    assert_eq!(loaded.inputs[0].fixed(2), None, "the size is free once loaded");
    let dynamic = put(folder.path(), "dynamic.onnx", Tiny::yunet(-1, -1).file());
    let model = SearchPath::default().resolve(&dynamic, Task::Detector).unwrap();
    assert!(model.spec.free.is_empty());
    let error = refusal(&path, Task::Embedder);
    assert!(error.contains("mine.onnx' is a detector"), "{error}");
}

#[test]
fn every_family_is_recognised_by_its_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let recognise = |tiny: Tiny| {
        let path = put(folder.path(), "mine.onnx", tiny.file());
        SearchPath::default().resolve(&path, Task::Detector).unwrap()
    };
    let (batch, size) = (FreeDim::Batch, FreeDim::Size);
    let cases: [(Tiny, Decoder, &[FreeDim]); 6] = [
        (Tiny::scrfd(640, 640), Decoder::Scrfd, &[size]),
        (Tiny::scrfd(-1, -1), Decoder::Scrfd, &[]),
        (Tiny::retinaface(640, 640), Decoder::Retinaface, &[size]),
        (Tiny::retinaface(-1, -1), Decoder::Retinaface, &[]),
        (Tiny::centerface(10, 32, 32), Decoder::Centerface, &[batch, size]),
        (Tiny::centerface(1, 64, 64), Decoder::Centerface, &[size]),
    ];
    for (tiny, decoder, free) in cases {
        let spec = recognise(tiny).spec;
        let known = registry().iter().find(|known| known.decoder == decoder).unwrap();
        assert_eq!((spec.decoder, spec.free.as_slice()), (decoder, free));
        assert_eq!((spec.channels, spec.mean, spec.std), (known.channels, known.mean, known.std));
        assert_eq!((spec.threshold, spec.nms), (known.threshold, known.nms));
        assert_eq!((spec.size, spec.size_multiple), (None, Some(32)));
        assert_eq!((spec.id.as_str(), spec.licence.as_str()), ("mine", "unknown"));
        assert!(!spec.commercial && spec.file.url.is_none());
    }
    let spec = recognise(Tiny::ultralight(480, 640, 17640)).spec;
    assert_eq!((spec.decoder, spec.size), (Decoder::Ultralight, Some([640, 480])));
    assert_eq!((spec.size_multiple, spec.decoder.has_landmarks()), (None, false));
}

#[test]
fn size_that_the_graph_ties_down_stays() {
    let folder = tempfile::tempdir().unwrap();
    let tied = Tiny::scrfd(640, 448).constant("shape", &[1, 2, 8, 20, 20], true).node(
        "Reshape",
        &["data", "shape"],
        "mid",
    );
    let path = put(folder.path(), "mine.onnx", tied.file());
    let model = SearchPath::default().resolve(&path, Task::Detector).unwrap();
    assert_eq!((model.spec.size, model.spec.size_multiple), (Some([448, 640]), None));
    assert!(model.spec.free.is_empty() && model.load().is_ok());
    // Ten pictures at a time cannot be given to it.
    let tied = Tiny::centerface(10, 32, 32).constant("shape", &[2, 5, 3], true).node(
        "Reshape",
        &["input.1", "shape"],
        "mid",
    );
    let path = put(folder.path(), "mine.onnx", tied.file());
    assert!(refusal(&path, Task::Detector).contains("batch"));
}

#[test]
fn networks_that_are_like_a_family_are_not_taken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let one_anchor = (0..9).fold(Tiny::new().input("x", &[1, 3, 64, 64]), |tiny, i| {
        let cells = [64, 16, 4][i / 3];
        tiny.output(&format!("o{i}"), &[1, cells, [1, 4, 10][i % 3]])
    });
    let more = Tiny::retinaface(640, 640).output("more", &[1, 16800, 1]);
    for (name, tiny, part) in [
        ("one anchor per cell", one_anchor, "o0"),
        ("other priors", Tiny::ultralight(240, 320, 4000), "scores"),
        ("priors of no size", Tiny::ultralight(-1, -1, -1), "scores"),
        ("one output more", more, "landms"),
    ] {
        let path = put(folder.path(), "mine.onnx", tiny.file());
        let error = refusal(&path, Task::Detector);
        assert!(error.contains("no known kind") && error.contains(part), "{name}: {error}");
    }
}

#[test]
fn description_of_a_detector_says_its_size_one_way() {
    const DETECTOR: &str = r#"
task = "detector"
decoder = "retinaface"
channels = "bgr"
mean = [104, 117, 123]
std = [1, 1, 1]
size-multiple = 32
threshold = 0.6
nms = 0.4
free = ["size"]
"#;
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "mine.onnx", Tiny::retinaface(640, 320).file());
    put(folder.path(), "mine.toml", DETECTOR);
    let model = SearchPath::default().resolve(&path, Task::Detector).unwrap();
    assert_eq!(model.spec.decoder, Decoder::Retinaface);
    let fixed = DETECTOR.replace("free = [\"size\"]", "");
    let sized = |size: &str| fixed.replace("size-multiple = 32", size);
    put(folder.path(), "mine.toml", sized("size = [320, 640]"));
    let model = SearchPath::default().resolve(&path, Task::Detector).unwrap();
    assert_eq!(model.spec.size, Some([320, 640]));
    for (text, part) in [
        (fixed.clone(), "fixed: free needs \"size\""),
        (sized("size = [640, 320]"), "320 x 640, not 640 x 320"),
        (sized("size = [320, 0]"), "'size' has a side"),
        (sized("size = [320, 4097]"), "'size' has a side"),
        (sized("size = [320, 640]\nsize-multiple = 32"), "beside size-multiple"),
        (DETECTOR.replace("size-multiple = 32", "size = [320, 640]"), "freed"),
        (sized(""), "'size-multiple' is missing"),
        (DETECTOR.replace("retinaface", "scrfd"), "3 outputs, not 9"),
        (DETECTOR.replace("retinaface", "yunet"), "no output 'cls_8'"),
        (DETECTOR.replace("retinaface", "ultralight"), "'size' is missing"),
    ] {
        put(folder.path(), "mine.toml", &text);
        let error = refusal(&path, Task::Detector);
        assert!(error.contains(part), "{part}: {error}");
    }
    let ten = put(folder.path(), "ten.onnx", Tiny::centerface(10, 32, 32).file());
    put(folder.path(), "ten.toml", DETECTOR.replace("retinaface", "centerface"));
    assert!(refusal(&ten, Task::Detector).contains("10 pictures at a time"));
}

#[test]
fn description_in_the_documentation_is_valid() {
    let page = include_str!("../../docs/recognition.md");
    let (_, example) = page.split_once("```toml\n").expect("there is an example");
    let (example, _) = example.split_once("```").expect("it ends");
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "mine.onnx", Tiny::scrfd(640, 640).file());
    put(folder.path(), "mine.toml", example);
    let described = SearchPath::default().resolve(&path, Task::Detector).unwrap().spec;
    let known = find("scrfd_500m_bnkps").unwrap();
    assert_eq!((described.mean, described.std), (known.mean, known.std));
    assert_eq!((described.threshold, &described.free), (known.threshold, &known.free));
}

#[test]
fn embedder_without_description_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "mine.onnx", Tiny::embedder(64).file());
    let error = refusal(&path, Task::Embedder);
    assert!(error.contains("mine.toml") && error.contains("mean"), "{error}");
    assert!(refusal(&path, Task::Detector).contains("is an embedder"));
}

#[test]
fn description_beside_the_file_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "mine.onnx", Tiny::embedder(64).file());
    put(folder.path(), "mine.toml", EMBEDDER);
    let model = SearchPath::default().resolve(&path, Task::Embedder).unwrap();
    assert_eq!((model.spec.id.as_str(), model.spec.dim), ("mine", Some(64)));
    assert_eq!((model.spec.licence.as_str(), model.spec.commercial), ("unknown", false));
    let loaded = onnx::signature(&model.load().unwrap()).unwrap();
    assert_eq!(loaded.inputs[0].fixed(0), None, "the batch is free once loaded");

    put(folder.path(), "mine.toml", format!("{EMBEDDER}[file]\nsha256 = \"00\"\n"));
    assert!(refusal(&path, Task::Embedder).contains("expected 00"));
    put(folder.path(), "mine.toml", EMBEDDER.replace("dim = 64", "dim = 512"));
    let error = refusal(&path, Task::Embedder);
    assert!(error.contains("64 dimensions, not 512"), "{error}");
}

#[test]
fn mistakes_in_a_description_name_file_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "mine.onnx", Tiny::embedder(64).file());
    for (from, to, key) in [
        ("threshold = 0.3", "threshold = 0.3\ncolour = 1", "colour"),
        ("threshold = 0.3", "threshold = 30", "threshold"),
        ("threshold = 0.3", "", "threshold"),
        ("std = [128, 128, 128]", "std = [128, 0, 128]", "std"),
        ("std = [128, 128, 128]", "std = [nan, 1, 1]", "std"),
        ("mean = [127.5, 127.5, 127.5]", "mean = [inf, 1, 1]", "mean"),
        ("dim = 64", "", "dim"),
        ("dim = 64", "dim = 0", "dim"),
        ("dim = 64", "dim = -1", "dim"),
        ("arcface-112", "arcface-113", "template"),
        ("\"embedding\"", "\"yunet\"", "decoder"),
        ("\"embedding\"", "\"scrfd\"", "decoder"),
        ("\"embedding\"", "\"mtcnn\"", "decoder"),
        ("[\"batch\"]", "[\"batch\", \"batch\"]", "free"),
    ] {
        put(folder.path(), "mine.toml", EMBEDDER.replace(from, to));
        let error = refusal(&path, Task::Embedder);
        assert!(error.contains("mine.toml") && error.contains(key), "{to}: {error}");
    }
}

#[test]
fn file_of_a_known_name_must_have_its_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let name = &find("yunet_2023mar").unwrap().file.name;
    let path = put(folder.path(), name, Tiny::embedder(64).file());
    let error = refusal(&path, Task::Detector);
    assert!(error.contains("cls_8") && error.contains("yunet_2023mar"), "{error}");
    put(folder.path(), name, Tiny::yunet(64, 64).file());
    let model = SearchPath::default().resolve(&path, Task::Detector).unwrap();
    assert_eq!(model.spec.id, "yunet_2023mar");
}

#[test]
fn files_that_are_no_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = put(folder.path(), "text.onnx", "hello");
    assert!(refusal(&text, Task::Detector).contains("not a usable ONNX file"));
    let empty = put(folder.path(), "empty.onnx", "");
    assert!(refusal(&empty, Task::Detector).contains("no graph"));
    let pointer = put(folder.path(), "p.onnx", "version https://git-lfs.github.com/spec/v1\n");
    assert!(refusal(&pointer, Task::Detector).contains("Git LFS pointer"));
    let directory = folder.path().to_str().unwrap();
    assert!(refusal(directory, Task::Detector).contains("not a regular file"));
    let other = Tiny::new().input("x", &[1, 3, 8, 8]).output("scores", &[1, 9, 2]).file();
    let other = put(folder.path(), "other.onnx", other);
    let error = refusal(&other, Task::Detector);
    assert!(error.contains("scores") && error.contains("other.toml"), "{error}");
}

#[test]
fn renamed_real_detectors_are_told_by_their_outputs_alone() {
    let Some(folder) = shared() else { return };
    for spec in registry().iter().filter(|spec| spec.task == Task::Detector) {
        let path = folder.join(&spec.file.name);
        let bytes = std::fs::read(&path).unwrap();
        let told = spec::recognise(&bytes, &onnx::signature(&bytes).unwrap(), &path).unwrap();
        assert_eq!((told.decoder, &told.free), (spec.decoder, &spec.free), "{}", spec.id);
        assert_eq!((told.size, told.size_multiple), (spec.size, spec.size_multiple));
    }
}

/// The folder of the real models, if it is here.
fn shared() -> Option<PathBuf> {
    let listed = std::env::var_os(PATH_VARIABLE).unwrap_or_default();
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models");
    let found = std::env::split_paths(&listed)
        .chain([beside])
        .find(|folder| registry().iter().all(|spec| folder.join(&spec.file.name).exists()));
    if found.is_none() {
        eprintln!("skipped: the real models are not here");
    }
    found
}

#[test]
fn real_files_are_intact_and_fit_their_entries() {
    let Some(folder) = shared() else { return };
    let search = SearchPath::new(vec!["/nowhere".into(), folder]);
    for spec in registry() {
        let model = search.resolve(&spec.id, spec.task).unwrap();
        let bytes = std::fs::read(&model.path).unwrap();
        assert_eq!(bytes.len() as u64, spec.file.bytes, "{}", spec.id);
        assert_eq!(spec::misfit(spec, &onnx::signature(&bytes).unwrap()), None, "{}", spec.id);
        let loaded = onnx::signature(&model.load().unwrap()).unwrap();
        let input = &loaded.inputs[0];
        match spec.task {
            Task::Detector => {
                let size = spec.size.map(|[w, h]| (i64::from(h), i64::from(w))).unzip();
                assert_eq!((input.fixed(2), input.fixed(3)), size, "{}", spec.id);
                assert!(input.fixed(0).is_none_or(|batch| batch == 1), "{}", spec.id);
            }
            Task::Embedder => assert_eq!(input.fixed(0), None),
        }
    }
}

#[test]
fn renamed_real_file_is_known_by_its_checksum() {
    let Some(folder) = shared() else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let spec = find(DEFAULT_EMBEDDER).unwrap();
    let bytes = std::fs::read(folder.join(&spec.file.name)).unwrap();
    let path = put(elsewhere.path(), "renamed.onnx", bytes);
    let model = SearchPath::default().resolve(&path, Task::Embedder).unwrap();
    assert_eq!((model.spec.id.as_str(), model.spec.threshold), ("mobilefacenet", 0.4));
}
