//! Where a stream comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gst::prelude::*;

use super::error::TrackerError;
use crate::analyze::check_video;
use crate::chain::{self, Decoded, Streams};
use crate::elements::{Property, Stage, make};
use crate::error::AnalyzeError;

/// Where a stream comes from.
#[derive(Clone)]
pub enum Source {
    /// A video file, in any format that GStreamer decodes.
    File(PathBuf),
    /// A network camera: rtsp:// or rtsps://, with user and password in the address if it asks for
    /// them. It is read by facecamerasrc, which connects again when it is lost; the properties of
    /// [`Stage::Source`] are those of that element: with `max-retries` 0 a loss is the end.
    Rtsp(String),
    /// A camera of this machine, by its device: /dev/video0.
    Camera(String),
    /// A GStreamer bin as gst-launch-1.0 takes it, which ends with an element that gives raw video
    /// in the memory of the system: `videotestsrc is-live=true`.
    Bin(String),
    /// An element with a pad `src` that gives such video: an appsrc, a bin of the program. It
    /// must be in no pipeline.
    Element(gst::Element),
}

impl Source {
    /// What a user names: an address, a device, a file.
    ///
    /// # Errors
    /// [`TrackerError::Address`] for an address of another kind.
    pub fn parse(text: &str) -> Result<Source, TrackerError> {
        if ["rtsp://", "rtsps://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Source::Rtsp(text.to_owned()));
        }
        if text.contains("://") {
            return Err(TrackerError::Address { address: without_password(text) });
        }
        if text.starts_with("/dev/video") {
            return Ok(Source::Camera(text.to_owned()));
        }
        Ok(Source::File(PathBuf::from(text)))
    }
}

/// As errors and logs name it: without the user and the password of an address.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "video '{}'", path.display()),
            Source::Rtsp(address) => write!(f, "camera '{}'", without_password(address)),
            Source::Camera(device) => write!(f, "camera '{device}'"),
            Source::Bin(description) => write!(f, "source '{}'", shown(description)),
            Source::Element(element) => write!(f, "source '{}'", element.name()),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An address with *** for its user and password.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => address.to_owned(),
    }
}

/// A description, with its addresses without passwords.
fn shown(description: &str) -> String {
    let words: Vec<String> = description
        .split(' ')
        // A password is a property of some sources.
        .map(|word| match word.split_once('=') {
            Some((name, _)) if name.ends_with("pw") || name.contains("pass") => {
                format!("{name}=***")
            }
            _ => without_password(word),
        })
        .collect();
    words.join(" ")
}

/// Puts the source into the pipeline, its pictures going to `entry`. A file comes with the streams
/// that were found in it.
pub(crate) fn connect(
    source: &Source,
    pipeline: &gst::Pipeline,
    entry: gst::Pad,
    properties: &[Property],
) -> Result<Option<Arc<Streams>>, TrackerError> {
    let set = |element: &gst::Element| {
        properties.iter().try_for_each(|p| p.apply(Stage::Source, element))
    };
    match source {
        Source::File(path) => {
            let Decoded { source, streams } = file(path, pipeline, entry)?;
            set(&source)?;
            Ok(Some(streams))
        }
        Source::Rtsp(address) => {
            let rtsp = rtsp(address, pipeline, entry)?;
            set(&rtsp)?;
            Ok(None)
        }
        Source::Camera(device) => {
            let camera = make("v4l2src", "source")?;
            camera.set_property("device", device);
            set(&camera)?;
            let decode = chain::decoder(pipeline, entry, None, &Arc::default())?;
            pipeline.add(&camera).map_err(AnalyzeError::pipeline)?;
            camera.link(&decode).map_err(AnalyzeError::pipeline)?;
            Ok(None)
        }
        Source::Bin(description) => {
            Property::no_source(properties, "a bin has its properties in its description")?;
            let bin = bin(description)?;
            link(&bin.upcast(), pipeline, &entry, source)?;
            Ok(None)
        }
        Source::Element(element) => {
            set(element)?;
            link(element, pipeline, &entry, source)?;
            Ok(None)
        }
    }
}

fn file(path: &Path, pipeline: &gst::Pipeline, entry: gst::Pad) -> Result<Decoded, AnalyzeError> {
    check_video(path)?;
    chain::file_source(pipeline, path, entry, None)
}

/// A network camera, which is connected to again whenever it is lost.
fn rtsp(
    address: &str,
    pipeline: &gst::Pipeline,
    entry: gst::Pad,
) -> Result<gst::Element, AnalyzeError> {
    let source = make("facecamerasrc", "source")?;
    source.set_property("uri", address);
    let decode = chain::decoder(pipeline, entry, None, &Arc::default())?;
    pipeline.add(&source).map_err(AnalyzeError::pipeline)?;
    source.link(&decode).map_err(AnalyzeError::pipeline)?;
    Ok(source)
}

/// A bin with the pad that the description ends with, whenever that comes: decodebin has none at
/// first.
fn bin(description: &str) -> Result<gst::Bin, TrackerError> {
    let fail =
        |reason: String| TrackerError::Description { description: shown(description), reason };
    const END: &str = "face-source-end";
    let whole = format!("{description} ! capsfilter caps=video/x-raw name={END}");
    let bin = gst::parse::bin_from_description(&whole, false).map_err(|e| fail(e.to_string()))?;
    let end = bin.by_name(END).and_then(|end| end.static_pad("src"));
    let end = end.ok_or_else(|| fail("it has no end".to_owned()))?;
    let ghost = gst::GhostPad::builder_with_target(&end).map_err(|e| fail(e.to_string()))?;
    bin.add_pad(&ghost.name("src").build()).map_err(|e| fail(e.to_string()))?;
    Ok(bin)
}

fn link(
    element: &gst::Element,
    pipeline: &gst::Pipeline,
    entry: &gst::Pad,
    source: &Source,
) -> Result<(), TrackerError> {
    let fail =
        |reason: &str| TrackerError::Source { name: source.to_string(), reason: reason.to_owned() };
    let pad = element.static_pad("src").ok_or_else(|| fail("it has no pad 'src'"))?;
    if pad.is_linked() || element.parent().is_some() {
        return Err(fail("it is in a pipeline already"));
    }
    pipeline.add(element).map_err(AnalyzeError::pipeline)?;
    pad.link(entry).map_err(|_| fail("it gives no raw video"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t19_sources_are_told_apart_by_their_names() {
        assert!(matches!(Source::parse("rtsp://h/s").unwrap(), Source::Rtsp(_)));
        assert!(matches!(Source::parse("rtsps://h").unwrap(), Source::Rtsp(_)));
        assert!(matches!(Source::parse("/dev/video2").unwrap(), Source::Camera(_)));
        assert!(matches!(Source::parse("a b.mp4").unwrap(), Source::File(_)));
        let error = Source::parse("https://user:secret@h/x").unwrap_err().to_string();
        assert!(error.contains("https://***@h/x") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn t19_passwords_are_not_told() {
        for (address, wanted) in [
            ("rtsp://ada:p@ss@cam/s", "camera 'rtsp://***@cam/s'"),
            ("rtsp://ada:p%40ss@cam:554/s?a=b@c", "camera 'rtsp://***@cam:554/s?a=b@c'"),
            ("rtsp://cam/s@x", "camera 'rtsp://cam/s@x'"),
        ] {
            let source = Source::Rtsp(address.to_owned());
            assert_eq!((source.to_string(), format!("{source:?}")), (wanted.into(), wanted.into()));
        }
        let bin = "rtspsrc location=rtsp://a:b@c/ user-pw=x ! decodebin";
        assert_eq!(
            Source::Bin(bin.to_owned()).to_string(),
            "source 'rtspsrc location=rtsp://***@c/ user-pw=*** ! decodebin'"
        );
    }

    #[test]
    fn t19_bin_that_is_none_is_named() {
        gst::init().unwrap();
        let error = bin("videotestsrc ! nonsuch").unwrap_err().to_string();
        assert!(error.contains("nonsuch"), "{error}");
        assert!(bin("videotestsrc is-live=true ! videorate").is_ok());
    }
}
