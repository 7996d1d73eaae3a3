//! What the tests of the documentation and of pipelines/ share: the built plugin and facectl, media
//! under the names that the examples use, bash, an RTSP camera.
#![allow(dead_code, reason = "not every test file uses everything")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use face_core::inference::{PoolOptions, runtime_path};
use face_core::model::{self, SearchPath, Task};
use tempfile::TempDir;

/// Longest that one example may run, seconds.
const LIMIT: &str = "150";

/// Root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cli/ lies in the repository")
}

/// The shared pictures and clips, if this checkout has them.
pub(crate) fn shared_media() -> Option<PathBuf> {
    let folder = std::env::var_os("GST_FACE_TEST_MEDIA")
        .map_or_else(|| root().join("../shared/media"), PathBuf::from);
    folder.canonicalize().ok()
}

/// A folder that holds the built plugin and nothing else: GStreamer looks into every library of
/// the folders that it is given.
pub(crate) fn plugin_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("libgstface.so");
    assert!(built.is_file(), "{} is missing: cargo build --workspace", built.display());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin");
    fs::create_dir_all(&folder).unwrap();
    let link = folder.join("libgstface.so");
    if fs::read_link(&link).ok().as_deref() != Some(built.as_path()) {
        // Another test process may do the same at this moment: the rename is all or nothing.
        let aside = folder.join(format!("link-{}", std::process::id()));
        symlink(&built, &aside).unwrap();
        fs::rename(&aside, &link).unwrap();
    }
    folder
}

/// Why nothing that runs a model can run here.
fn missing() -> Option<String> {
    let search = models();
    for (name, task) in
        [(model::DEFAULT_DETECTOR, Task::Detector), (model::DEFAULT_EMBEDDER, Task::Embedder)]
    {
        if let Err(error) = search.resolve(name, task) {
            return Some(error.to_string());
        }
    }
    runtime_path(&PoolOptions::default()).err().map(|error| error.to_string())
}

/// Where the tests find models.
pub(crate) fn models() -> SearchPath {
    if models_named() {
        return SearchPath::from_env();
    }
    SearchPath::new(vec![root().join("../shared/models")])
}

/// Does the environment say where the models are?
fn models_named() -> bool {
    std::env::var_os(model::PATH_VARIABLE).is_some_and(|folders| !folders.is_empty())
}

/// A temporary folder with media under the names that the examples use.
pub(crate) struct Scene {
    folder: TempDir,
    /// The pictures show people: enrolment works.
    pub(crate) real: bool,
}

impl Scene {
    /// Without models or ONNX Runtime: says so and gives `None`.
    pub(crate) fn new() -> Option<Scene> {
        if let Some(reason) = missing() {
            eprintln!("skipped: {reason}");
            return None;
        }
        let scene = Scene { folder: tempfile::tempdir().unwrap(), real: shared_media().is_some() };
        let bin = scene.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_facectl"), bin.join("facectl")).unwrap();
        let detections = "1,-1,10,10,40,50,0.9\n2,-1,12,10,40,50,0.9\n";
        fs::write(scene.path().join("det.txt"), detections).unwrap();
        match shared_media() {
            Some(media) => scene.link_media(&media),
            None => scene.generate_clip(),
        }
        Some(scene)
    }

    /// As [`Scene::new`], with photos of people.
    pub(crate) fn with_people() -> Option<Scene> {
        let scene = Scene::new()?;
        if !scene.real {
            eprintln!("skipped: no photos of people (GST_FACE_TEST_MEDIA, or ../shared/media)");
            return None;
        }
        Some(scene)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn link_media(&self, media: &Path) {
        let clip = "video/head-pose-face-detection-female-and-male.mp4";
        for (file, name) in [
            (clip, "clip.mp4"),
            ("video/short_hamilton_clip.mp4", "party.mp4"),
            ("people", "people"),
            ("people/barack-obama/1.jpg", "photo.jpg"),
            ("people/barack-obama/2.jpg", "photo2.jpg"),
            ("groups/obama_and_biden.jpg", "group.jpg"),
        ] {
            symlink(media.join(file), self.path().join(name)).unwrap();
        }
    }

    fn generate_clip(&self) {
        let made = self.bash(
            "gst-launch-1.0 -q videotestsrc num-buffers=45 pattern=ball \
             ! video/x-raw,width=320,height=240,framerate=15/1 ! x264enc ! h264parse \
             ! mp4mux ! filesink location=clip.mp4 && ln -s clip.mp4 party.mp4",
        );
        assert!(made.status.success(), "{}", text(&made));
    }

    /// Runs a script with the built plugin and facectl. It is killed after a while.
    pub(crate) fn bash(&self, script: &str) -> Output {
        self.command(script).output().unwrap()
    }

    /// The command behind [`Scene::bash`].
    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = Command::new("timeout");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(["--kill-after=5", LIMIT, "bash", "-euo", "pipefail", "-c", script])
            .current_dir(self.path())
            .env("PATH", format!("{}:{path}", self.path().join("bin").display()))
            .env("GST_PLUGIN_PATH", plugin_folder())
            .env("GST_REGISTRY", registry())
            // A camera that has come to the end of its clip is not waited for.
            .env("RETRIES", "0")
            .env("GST_FACE_SPOOL", self.path().join("spool"))
            // A warning of somebody else's plugin would end the example.
            .env_remove("G_DEBUG")
            .stdin(Stdio::null());
        if !models_named() {
            command.env(model::PATH_VARIABLE, root().join("../shared/models"));
        }
        command
    }

    /// [`Scene::bash`], which must succeed; its standard output.
    pub(crate) fn run(&self, script: &str) -> String {
        let output = self.bash(script);
        assert!(output.status.success(), "{script}\n{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// What GStreamer remembers of plugins, kept from run to run: reading all plugins takes seconds.
fn registry() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("registry.bin")
}

/// Variables by which models, ONNX Runtime and settings are found.
pub(crate) fn search_variables() -> [&'static str; 5] {
    [
        model::PATH_VARIABLE,
        "GST_FACE_ORT_PATH",
        "ORT_DYLIB_PATH",
        "XDG_DATA_HOME",
        "XDG_CONFIG_HOME",
    ]
}

/// Everything that a command said.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A clip served over RTSP on loopback; ends with this value.
pub(crate) struct RtspCamera {
    server: Child,
    pub(crate) address: String,
}

impl RtspCamera {
    /// `None`, and a word why, where GStreamer's RTSP server is not installed for Python.
    pub(crate) fn serve(clip: &Path) -> Option<RtspCamera> {
        Self::run(&[clip.to_str()?])
    }

    /// With these arguments of the script.
    pub(crate) fn run(arguments: &[&str]) -> Option<RtspCamera> {
        let script = root().join("cli/tests/examples/rtsp_server.py");
        let mut server = Command::new("/usr/bin/python3")
            .arg(script)
            .args(arguments)
            .env("GST_PLUGIN_PATH", plugin_folder())
            .env("GST_REGISTRY", registry())
            .env_remove("G_DEBUG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut address = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
        if address.is_empty() {
            eprintln!("skipped: no RTSP server (gir1.2-gst-rtsp-server-1.0, python3-gi)");
            server.wait().unwrap();
            return None;
        }
        Some(RtspCamera { server, address: address.trim().to_owned() })
    }
}

impl RtspCamera {
    pub(crate) fn port(&self) -> &str {
        let place = self.address.trim_start_matches("rtsp://127.0.0.1:");
        place.split('/').next().unwrap()
    }

    /// As a camera that loses its power.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl Drop for RtspCamera {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}
