//! The elements of every pipeline here: what turns pictures upright, and what finds, follows and
//! recognises faces.

use std::fmt;
use std::path::PathBuf;

use face_core::gallery::Location;
use face_core::inference::Provider;
use face_core::load::Interval;
use face_core::model::{self, ResolvedModel, Task};
use gst::glib;
use gst::prelude::*;
use parking_lot::Mutex;

use crate::error::AnalyzeError;

/// Formats that the elements read without a conversion.
const FORMATS: [&str; 9] = ["NV12", "I420", "RGB", "BGR", "RGBA", "BGRA", "RGBx", "BGRx", "GRAY8"];

/// How faces are found, followed and recognised.
#[derive(Clone, Debug, Default)]
pub struct Recognition {
    /// Registry name or path of the detector; the default one if absent.
    pub detector: Option<String>,
    /// Registry name or path of the embedder; the default one if absent.
    pub embedder: Option<String>,
    /// Which frames the detector looks at.
    pub interval: Interval,
    /// Cosine similarity from which a face is a person; the model's own if absent.
    pub threshold: Option<f32>,
    /// Look at every frame and embed every observed face, not only when a track needs it.
    pub every_face: bool,
    pub provider: Provider,
    /// Index of the GPU for CUDA and TensorRT.
    pub device_id: u32,
    /// Inference threads on a CPU; 0: one per core.
    pub threads: u32,
    /// Path of libonnxruntime.so; searched when absent.
    pub runtime_library: Option<PathBuf>,
}

impl Recognition {
    /// The model of the embedder.
    pub(crate) fn embedder_model(&self) -> Result<ResolvedModel, AnalyzeError> {
        let name = self.embedder.as_deref().unwrap_or(model::DEFAULT_EMBEDDER);
        model::resolve(name, Task::Embedder)
            .map_err(|e| AnalyzeError::Model { model: name.to_owned(), source: Box::new(e) })
    }
}

/// Makes an element; `name` is unique in the pipeline and tells errors apart.
pub(crate) fn make(factory: &str, name: &str) -> Result<gst::Element, AnalyzeError> {
    gst::ElementFactory::make(factory).name(name).build().map_err(|_| missing(factory))
}

fn missing(factory: &str) -> AnalyzeError {
    let package = match factory {
        "videoconvert" | "videoscale" | "decodebin" | "audioconvert" | "audioresample"
        | "appsrc" | "appsink" => "gstreamer1.0-plugins-base",
        "videoflip" | "rtspsrc" | "v4l2src" | "mp4mux" | "aacparse" | "mpegaudioparse"
        | "ac3parse" => "gstreamer1.0-plugins-good",
        "x264enc" => "gstreamer1.0-plugins-ugly",
        "h264parse" | "openh264enc" | "opusparse" => "gstreamer1.0-plugins-bad",
        "onnxfacedetect" | "facetrack" | "facerecognize" | "faceannotate" | "facecamerasrc" => {
            "a complete build of the face plugin"
        }
        _ => "libgstreamer1.0-0",
    };
    AnalyzeError::MissingElement { name: factory.to_owned(), package }
}

/// Starts GStreamer and registers the face elements. May be called again.
pub(crate) fn init() -> Result<(), AnalyzeError> {
    /// Were they registered? A second time would free the factories that the classes of the
    /// elements know.
    static REGISTERED: Mutex<bool> = Mutex::new(false);
    let fail = |e: &dyn fmt::Display| AnalyzeError::GStreamer { reason: e.to_string() };
    gst::init().map_err(|e| fail(&e))?;
    let mut registered = REGISTERED.lock();
    if !*registered {
        gstface::plugin_register_static().map_err(|e| fail(&e))?;
        *registered = true;
    }
    Ok(())
}

/// Pictures in a format that the elements read, turned as the file says.
pub(crate) fn upright() -> Result<Vec<gst::Element>, AnalyzeError> {
    let convert = make("videoconvert", "convert")?;
    let formats = make("capsfilter", "formats")?;
    let caps = gst::Caps::builder("video/x-raw").field("format", gst::List::new(FORMATS));
    formats.set_property("caps", caps.build());
    let flip = make("videoflip", "upright")?;
    flip.set_property_from_str("video-direction", "auto");
    Ok(vec![convert, formats, flip])
}

/// An element that can be given properties by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Where the pictures come from: facecamerasrc of an address, v4l2src of a camera, filesrc of a file,
    /// or the element that the program gave. Frames of an iterator and a bin that is described have
    /// none: there, such a property is an error.
    Source,
    /// onnxfacedetect.
    Detector,
    /// facetrack.
    Tracker,
    /// facerecognize.
    Recognizer,
}

impl Stage {
    pub const ALL: [Stage; 4] = [Stage::Source, Stage::Detector, Stage::Tracker, Stage::Recognizer];

    /// `source`, `detector`, `tracker` or `recognizer`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Source => "source",
            Stage::Detector => "detector",
            Stage::Tracker => "tracker",
            Stage::Recognizer => "recognizer",
        }
    }

    /// The stage of that name, or `None`.
    pub fn parse(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A property of an element, as text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Property {
    pub(crate) stage: Stage,
    pub(crate) name: String,
    pub(crate) value: String,
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // Not the value: it may be a password.
        write!(f, "{}.{}", self.stage, self.name)
    }
}

impl Property {
    /// An error if one of them is for a source; there is none, for this reason.
    pub(crate) fn no_source(properties: &[Property], reason: &str) -> Result<(), AnalyzeError> {
        match properties.iter().find(|p| p.stage == Stage::Source) {
            None => Ok(()),
            Some(property) => Err(AnalyzeError::Property {
                element: Stage::Source.to_string(),
                property: property.name.clone(),
                reason: reason.to_owned(),
            }),
        }
    }

    /// Sets it, if `stage` is its element. A name, or a value, that the element does not take is an
    /// error: GLib would abort the process, or bend the value to the nearest one.
    pub(crate) fn apply(&self, stage: Stage, element: &gst::Element) -> Result<(), AnalyzeError> {
        if stage != self.stage {
            return Ok(());
        }
        let factory = match stage {
            Stage::Source => element.factory().map(|f| f.name().to_string()),
            Stage::Detector => Some("onnxfacedetect".to_owned()),
            Stage::Tracker => Some("facetrack".to_owned()),
            Stage::Recognizer => Some("facerecognize".to_owned()),
        };
        let fail = |reason: String| AnalyzeError::Property {
            element: factory.clone().unwrap_or_else(|| stage.to_string()),
            property: self.name.clone(),
            reason,
        };
        // A source may have passwords.
        let value_shown = match stage {
            Stage::Source => "the value".to_owned(),
            _ => format!("'{}'", self.value),
        };
        let spec = element.find_property(&self.name);
        let spec = spec.ok_or_else(|| fail("the element has no such property".to_owned()))?;
        let value = value(&spec, &self.value, &value_shown).map_err(fail)?;
        element.set_property_from_value(&self.name, &value);
        Ok(())
    }
}

/// The value of a property that a text stands for, checked: GLib would abort the process, or bend the
/// value to the nearest one. `shown` is the text for an error.
pub(crate) fn value(
    spec: &glib::ParamSpec,
    text: &str,
    shown: &str,
) -> Result<glib::Value, String> {
    let flags = spec.flags();
    if !flags.contains(glib::ParamFlags::WRITABLE)
        || flags.contains(glib::ParamFlags::CONSTRUCT_ONLY)
    {
        return Err("it cannot be set".to_owned());
    }
    let value = if spec.value_type() == String::static_type() {
        // Deserialising would take quotes and escapes for its own.
        text.to_value()
    } else {
        glib::Value::deserialize_with_pspec(text, spec)
            .map_err(|_| format!("{shown} is no {}", kind(spec)))?
    };
    match fits(spec, &value) {
        Some(true) => Ok(value),
        Some(false) => Err(format!("{shown} is out of range")),
        None => Err(format!("a {} cannot be given as text", kind(spec))),
    }
}

/// Is the value within the range of the property? `None`: of a kind whose values nothing here can
/// check.
fn fits(spec: &glib::ParamSpec, value: &glib::Value) -> Option<bool> {
    /// One kind of number.
    macro_rules! number {
        ($($spec:ident: $kind:ty),*) => {$(
            if let Some(spec) = spec.downcast_ref::<glib::$spec>() {
                let range = spec.minimum()..=spec.maximum();
                return value.get::<$kind>().ok().map(|n| range.contains(&n));
            }
        )*};
    }
    number!(
        ParamSpecInt: i32,
        ParamSpecUInt: u32,
        ParamSpecInt64: i64,
        ParamSpecUInt64: u64,
        ParamSpecFloat: f32,
        ParamSpecDouble: f64
    );
    let free = spec.is::<glib::ParamSpecBoolean>()
        || spec.is::<glib::ParamSpecString>()
        || spec.is::<glib::ParamSpecEnum>()
        || spec.is::<glib::ParamSpecFlags>()
        || spec.is::<glib::ParamSpecBoxed>()
        || spec.is::<gst::ParamSpecArray>();
    free.then_some(true)
}

/// What a property holds, in words.
fn kind(spec: &glib::ParamSpec) -> String {
    let kind = spec.value_type();
    match glib::EnumClass::with_type(kind) {
        Some(class) => {
            let nicks: Vec<&str> = class.values().iter().map(|v| v.nick()).collect();
            format!("one of {}", nicks.join(", "))
        }
        None => kind.name().trim_start_matches('g').to_owned(),
    }
}

/// What finds, follows and recognises faces.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaceOptions<'a> {
    pub(crate) recognition: Recognition,
    pub(crate) gallery: Option<&'a Location>,
    /// Put the embeddings into the metadata.
    pub(crate) embeddings: bool,
    /// Search several frames at a time; for files, where nobody waits for a single frame.
    pub(crate) lookahead: bool,
    /// Set last, so that they win.
    pub(crate) properties: &'a [Property],
}

/// The elements for faces, not linked yet.
#[derive(Debug)]
pub(crate) struct FaceElements {
    pub(crate) detector: gst::Element,
    /// Detection and recognition work side by side; two frames between them are enough.
    between: gst::Element,
    tracker: gst::Element,
    pub(crate) recognizer: gst::Element,
}

impl FaceElements {
    pub(crate) fn build(options: &FaceOptions) -> Result<FaceElements, AnalyzeError> {
        let Recognition { detector: find, embedder, interval, threshold, every_face, .. } =
            &options.recognition;
        let detector = make("onnxfacedetect", "detect")?;
        if let Some(model) = find {
            detector.set_property("model", model);
        }
        if options.lookahead {
            detector.set_property("lookahead", lookahead(options.recognition.threads));
        }
        let interval = if *every_face { Interval::Every(1) } else { *interval };
        let (name, value) = ("interval".to_owned(), interval.to_string());
        Property { stage: Stage::Detector, name, value }.apply(Stage::Detector, &detector)?;
        let tracker = make("facetrack", "track")?;
        let recognizer = make("facerecognize", "recognize")?;
        if let Some(model) = embedder {
            recognizer.set_property("model", model);
        }
        if let Some(gallery) = options.gallery {
            // Whoever looks at the pipeline sees its properties.
            gallery.refuse_password()?;
            recognizer.set_property("gallery", gallery.reveal().to_string_lossy().as_ref());
        }
        if let Some(threshold) = threshold {
            recognizer.set_property("threshold", threshold);
        }
        recognizer.set_property("every-face", every_face);
        recognizer.set_property("embed-output", options.embeddings);
        for element in [&detector, &recognizer] {
            inference(element, &options.recognition);
        }
        for property in options.properties {
            property.apply(Stage::Detector, &detector)?;
            property.apply(Stage::Tracker, &tracker)?;
            property.apply(Stage::Recognizer, &recognizer)?;
        }
        Ok(FaceElements { detector, between: queue("detected")?, tracker, recognizer })
    }

    /// In the order in which they are linked.
    pub(crate) fn in_order(&self) -> [gst::Element; 4] {
        let Self { detector, between, tracker, recognizer } = self;
        [detector, between, tracker, recognizer].map(Clone::clone)
    }
}

/// As many frames beside the one that is waited for as there are inference threads, so that none of
/// them idles while the next picture is decoded.
fn lookahead(threads: u32) -> u32 {
    /// More than one decoder can supply.
    const MOST: u32 = 8;
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    if threads > 0 { threads.min(MOST) } else { cores().min(MOST) }
}

fn inference(element: &gst::Element, options: &Recognition) {
    element.set_property_from_str("provider", options.provider.as_str());
    element.set_property("device-id", options.device_id);
    element.set_property("threads", options.threads);
    if let Some(path) = &options.runtime_library {
        element.set_property("runtime-library", path.to_string_lossy().as_ref());
    }
}

pub(crate) fn queue(name: &str) -> Result<gst::Element, AnalyzeError> {
    let queue = make("queue", name)?;
    queue.set_property("max-size-buffers", 2u32);
    queue.set_property("max-size-bytes", 0u32);
    queue.set_property("max-size-time", 0u64);
    Ok(queue)
}

pub(crate) fn discard(name: &str) -> Result<gst::Element, AnalyzeError> {
    let sink = make("fakesink", name)?;
    sink.set_property("sync", false);
    // A stream that never gets data must not hold up the start.
    sink.set_property("async", false);
    Ok(sink)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_that_the_detector_does_not_take_is_an_error() {
        init().unwrap_or_else(|e| panic!("{e}"));
        let build = |interval| {
            let recognition = Recognition { interval, ..Recognition::default() };
            FaceElements::build(&FaceOptions { recognition, ..FaceOptions::default() })
        };
        assert!(build(Interval::Auto).is_ok() && build(Interval::Every(Interval::MOST)).is_ok());
        let error = build(Interval::Every(61)).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("onnxfacedetect") && error.contains("'61'"), "{error}");
    }

    #[test]
    fn address_of_a_gallery_with_a_password_is_refused_with_the_way_out() {
        init().unwrap_or_else(|e| panic!("{e}"));
        let build = |text: &str| {
            let gallery = Location::from(text);
            FaceElements::build(&FaceOptions { gallery: Some(&gallery), ..FaceOptions::default() })
        };
        let refused = build("postgresql://cam:geheim@h/d").err().map(|e| e.to_string());
        let refused = refused.unwrap_or_else(|| panic!("a password was taken"));
        assert!(refused.contains("PGPASSWORD") && !refused.contains("geheim"), "{refused}");
        let address = "postgresql://cam@h/d?sslmode=disable";
        let faces = build(address).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(faces.recognizer.property::<String>("gallery"), address);
    }
}
