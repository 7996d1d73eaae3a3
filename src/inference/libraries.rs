//! The shared libraries that an execution provider needs, found as the system's loader finds
//! them: from their files alone, nothing of them runs. The library of a provider names no folders
//! for CUDA and cuDNN, so that those beside ONNX Runtime have to be loaded before it.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::ReadCache;
use object::read::elf::FileHeader;

/// What cuDNN and the provider load by name while they run; no file says that it needs them.
const LOADED_LATER: [&str; 4] = ["libcudnn", "libcufft.", "libnvrtc", "libnvJitLink."];

/// A library that another one needs, and that is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    name: String,
    /// The same library of another version, if there is one.
    other: Option<PathBuf>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name, product(&self.name))?;
        self.other.as_ref().map_or(Ok(()), |path| write!(f, " (found: {})", path.display()))
    }
}

/// Where libraries are looked for.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Beside ONNX Runtime, and where Python packages of NVIDIA lie if it is one itself.
    own: Vec<PathBuf>,
    /// Where the system's loader looks.
    system: Vec<PathBuf>,
}

impl Places {
    pub(super) fn of(runtime: &Path) -> Self {
        let mut own: Vec<_> = runtime.parent().map(Path::to_path_buf).into_iter().collect();
        // …/site-packages/onnxruntime/capi/libonnxruntime.so
        if let Some(packages) = runtime.ancestors().nth(3) {
            let parts = std::fs::read_dir(packages.join("nvidia")).into_iter().flatten();
            own.extend(parts.flatten().map(|entry| entry.path().join("lib")));
            own.push(packages.join("tensorrt_libs"));
        }
        own.retain(|folder| folder.is_dir());
        Self { own, system: system_folders() }
    }

    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        let mut files = self.own.iter().chain(&self.system).map(|folder| folder.join(name));
        files.find(|file| file.is_file())
    }

    /// The file of a library that may be known by its name alone.
    pub(super) fn find_file(&self, library: PathBuf) -> PathBuf {
        let by_name = library.parent().is_some_and(|folder| folder.as_os_str().is_empty());
        let name = library.to_str().filter(|_| by_name);
        name.and_then(|name| self.find(name)).unwrap_or(library)
    }

    /// A library of the same name and another version.
    fn other_version(&self, name: &str) -> Option<PathBuf> {
        let stem = &name[..name.find(".so")? + 3];
        let entries = self.own.iter().chain(&self.system).filter_map(|f| f.read_dir().ok());
        let files = entries.flatten().flatten().map(|entry| entry.path());
        files.filter(|file| starts_with(file, &[stem])).min()
    }

    /// What `library`, and what it needs, would not find. Files that cannot be read as libraries
    /// need nothing: the loader has its own words for them.
    pub(super) fn missing(&self, library: &Path) -> Vec<Missing> {
        let (mut missing, mut seen) = (Vec::new(), HashSet::new());
        let mut waiting = needed(library);
        while let Some(name) = waiting.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            match self.find(&name) {
                Some(file) => waiting.extend(needed(&file)),
                None => missing.push(Missing { other: self.other_version(&name), name }),
            }
        }
        missing.sort_by(|a, b| a.name.cmp(&b.name));
        missing
    }

    /// The libraries of our own folders that `library` needs now or later, those that others need
    /// first: the order in which they can be loaded.
    pub(super) fn to_preload(&self, library: &Path) -> Vec<PathBuf> {
        let mut names = needed(library);
        let entries = self.own.iter().filter_map(|folder| folder.read_dir().ok());
        let files = entries.flatten().flatten().map(|entry| entry.path());
        let mut later: Vec<_> = files.filter(|file| starts_with(file, &LOADED_LATER)).collect();
        later.sort();
        names.extend(later.iter().filter_map(|file| Some(file.file_name()?.to_str()?.to_owned())));
        let (mut order, mut seen) = (Vec::new(), HashSet::new());
        for name in names {
            self.add(name, &mut seen, &mut order);
        }
        order
    }

    fn add(&self, name: String, seen: &mut HashSet<String>, order: &mut Vec<PathBuf>) {
        let mut files = self.own.iter().map(|folder| folder.join(&name));
        let Some(file) = files.find(|file| file.is_file()) else { return };
        if seen.insert(name) {
            for name in needed(&file) {
                self.add(name, seen, order);
            }
            order.push(file);
        }
    }
}

/// Is it a library whose name starts so?
fn starts_with(file: &Path, starts: &[&str]) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.contains(".so") && starts.iter().any(|start| name.starts_with(start))
}

/// `LD_LIBRARY_PATH`, the folders of `/etc/ld.so.conf.d`, and those that loaders know themselves.
fn system_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("LD_LIBRARY_PATH")
        .map(|path| std::env::split_paths(&path).filter(|f| f.is_absolute()).collect())
        .unwrap_or_default();
    let included = std::fs::read_dir("/etc/ld.so.conf.d").into_iter().flatten().flatten();
    let mut files: Vec<_> = included.map(|entry| entry.path()).collect();
    files.push(PathBuf::from("/etc/ld.so.conf"));
    files.sort();
    for text in files.iter().filter_map(|file| std::fs::read_to_string(file).ok()) {
        folders.extend(text.lines().map(str::trim).filter(|l| l.starts_with('/')).map(Into::into));
    }
    folders.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from));
    folders
}

/// Names of the libraries that `library` says it needs.
pub(super) fn needed(library: &Path) -> Vec<String> {
    read_needed(library).unwrap_or_default()
}

fn read_needed(library: &Path) -> Option<Vec<String>> {
    let data = ReadCache::new(File::open(library).ok()?);
    let header = FileHeader64::<Endianness>::parse(&data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, &data).ok()?;
    let table = sections.dynamic_table(endian, &data).ok()?;
    let entries = table.iter().filter(|entry| entry.tag == DT_NEEDED);
    let names = entries.filter_map(|entry| std::str::from_utf8(table.string(entry).ok()?).ok());
    // A name with a folder in it is a path, which is not looked for.
    Some(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
}

/// What a library belongs to, with its version: "CUDA (13)".
fn product(name: &str) -> String {
    let version = name.split_once(".so.").map(|(_, version)| format!(" {version}"));
    let version = version.unwrap_or_default();
    let starts = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    if name == "libcuda.so.1" {
        "NVIDIA's driver".to_owned()
    } else if starts(&["libcudnn"]) {
        format!("cuDNN{version}")
    } else if starts(&["libnvinfer", "libnvonnxparser"]) {
        format!("TensorRT{version}")
    } else if starts(&["libcu", "libnvrtc", "libnvJitLink"]) {
        "CUDA".to_owned()
    } else if starts(&["libopenvino", "libtbb"]) {
        "OpenVINO".to_owned()
    } else {
        "the system".to_owned()
    }
}

/// Which libraries are missing, and what to do about it.
pub(super) fn explain(missing: &[Missing]) -> String {
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    format!("libraries are missing: {}; {}", names.join(", "), advice(missing))
}

/// Most basic first.
fn advice(missing: &[Missing]) -> String {
    let of = |product: &str| missing.iter().any(|m| self::product(&m.name).starts_with(product));
    let mut advice = Vec::new();
    if of("NVIDIA's driver") {
        advice.push("install NVIDIA's driver");
    }
    if of("CUDA") || of("cuDNN") {
        advice.push("get CUDA and cuDNN with scripts/setup.sh --gpu");
    }
    if of("TensorRT") {
        advice.push(
            "get TensorRT of that version for the same CUDA from \
             https://developer.nvidia.com/tensorrt (packages libnvinfer10 and libnvonnxparsers10) \
             and put its libraries beside ONNX Runtime or where the system looks",
        );
    }
    if of("OpenVINO") {
        advice
            .push("put the libraries of the Python package onnxruntime-openvino beside each other");
    }
    if of("the system") {
        advice.push("install the packages that they belong to");
    }
    advice.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shared library without code that says it needs the others; linked with the system's C compiler,
    /// which Rust needs itself.
    fn library(folder: &Path, name: &str, needs: &[&str]) -> PathBuf {
        let file = folder.join(name);
        let mut cc = std::process::Command::new("cc");
        cc.args([
            "-shared",
            "-nostdlib",
            "-x",
            "c",
            "/dev/null",
            "-x",
            "none",
            "-Wl,--no-as-needed",
        ]);
        cc.arg(format!("-Wl,-soname,{name}")).arg("-o").arg(&file);
        cc.args(needs.iter().map(|name| folder.join(name)));
        assert!(cc.status().unwrap().success());
        file
    }

    fn places(own: &Path) -> Places {
        Places { own: vec![own.to_path_buf()], system: Vec::new() }
    }

    fn names(files: &[PathBuf]) -> Vec<&str> {
        files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect()
    }

    #[test]
    fn libraries_are_loaded_before_those_that_need_them() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        library(folder, "libcublasLt.so.13", &[]);
        library(folder, "libcublas.so.13", &["libcublasLt.so.13"]);
        library(folder, "libcudnn_graph.so.9", &[]);
        library(folder, "libcudnn.so.9", &["libcudnn_graph.so.9"]);
        library(folder, "libother.so", &[]);
        let provider = library(folder, "provider.so", &["libcublas.so.13"]);
        let order = places(folder).to_preload(&provider);
        let expected =
            ["libcublasLt.so.13", "libcublas.so.13", "libcudnn_graph.so.9", "libcudnn.so.9"];
        assert_eq!(names(&order), expected);
    }

    #[test]
    fn every_missing_library_is_named_with_what_it_belongs_to() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for name in ["libcuda.so.1", "libcublasLt.so.13", "libnvinfer.so.10", "libcudnn.so.9"] {
            library(folder, name, &[]);
        }
        library(folder, "libcublas.so.13", &["libcublasLt.so.13"]);
        let needs = ["libcuda.so.1", "libcublas.so.13", "libnvinfer.so.10", "libcudnn.so.9"];
        let provider = library(folder, "provider.so", &needs);
        assert_eq!(places(folder).missing(&provider), []);

        for name in ["libcuda.so.1", "libcublasLt.so.13", "libnvinfer.so.10", "libcudnn.so.9"] {
            std::fs::remove_file(folder.join(name)).unwrap();
        }
        library(folder, "libcublasLt.so.12", &[]);
        let missing = places(folder).missing(&provider);
        let texts: Vec<_> = missing.iter().map(ToString::to_string).collect();
        let other = folder.join("libcublasLt.so.12").display().to_string();
        let expected = [
            format!("libcublasLt.so.13 of CUDA (found: {other})"),
            "libcuda.so.1 of NVIDIA's driver".to_owned(),
            "libcudnn.so.9 of cuDNN 9".to_owned(),
            "libnvinfer.so.10 of TensorRT 10".to_owned(),
        ];
        assert_eq!(texts, expected);
        let advice = advice(&missing);
        for word in ["driver", "scripts/setup.sh --gpu", "libnvinfer10"] {
            assert!(advice.contains(word), "{advice}");
        }
    }

    #[test]
    fn what_is_no_library_needs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libcudnn.so.9");
        for bytes in [&b""[..], b"\x7fELF", &[0xff; 4096]] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(needed(&file), [""; 0]);
        }
        // Every cut of a real one.
        library(folder.path(), "liby.so", &[]);
        let whole = std::fs::read(library(folder.path(), "libx.so", &["liby.so"])).unwrap();
        for end in (0..whole.len()).step_by(97) {
            std::fs::write(&file, &whole[..end]).unwrap();
            let _ = needed(&file);
        }
    }

    #[test]
    fn libraries_of_the_system_are_found() {
        let places = Places::of(Path::new("/nonexistent/a/b/libonnxruntime.so"));
        assert!(places.find("libc.so.6").is_some(), "{places:?}");
        let by_name = places.find_file(PathBuf::from("libc.so.6"));
        assert!(by_name.is_absolute());
        assert_eq!(places.find_file(PathBuf::from("/x/libc.so.6")), Path::new("/x/libc.so.6"));
    }

    #[test]
    fn libraries_of_python_packages_are_found_beside_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let packages = folder.path();
        for part in ["onnxruntime/capi", "nvidia/cu13/lib", "nvidia/cudnn/lib"] {
            std::fs::create_dir_all(packages.join(part)).unwrap();
        }
        let cublas = packages.join("nvidia/cu13/lib/libcublas.so.13");
        std::fs::write(&cublas, b"").unwrap();
        let places = Places::of(&packages.join("onnxruntime/capi/libonnxruntime.so.1.31.1"));
        assert_eq!(places.find("libcublas.so.13"), Some(cublas));
    }
}
