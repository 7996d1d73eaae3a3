//! Which elements stand between the pad `sink` and the recorder.

use gst::prelude::*;

/// Encoders in the order in which they are tried: hardware, then the one that needs less memory.
const ENCODERS: [&str; 8] = [
    "vah264enc",
    "vah264lpenc",
    "nvh264enc",
    "qsvh264enc",
    "v4l2h264enc",
    "vaapih264enc",
    "openh264enc",
    "x264enc",
];
/// Threads of an encoder on the CPU.
const THREADS: u32 = 2;
/// Of the frame rate where the caps have none.
const USUAL_FPS: u32 = 25;
/// Bits per pixel: faces stay clean, at about 6 Mbit/s for 1080p at 30 per second.
const BITS_PER_PIXEL: f64 = 0.1;

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    H264,
    H265,
    Raw,
}

impl Kind {
    pub(super) fn of(caps: &gst::CapsRef) -> Option<Self> {
        match caps.structure(0)?.name().as_str() {
            "video/x-h264" => Some(Self::H264),
            "video/x-h265" => Some(Self::H265),
            "video/x-raw" => Some(Self::Raw),
            _ => None,
        }
    }
}

/// The elements that make a coded stream, as MP4 holds it, of a stream of that kind.
pub(super) fn elements(
    kind: Kind,
    caps: &gst::CapsRef,
    wanted: Option<&str>,
    bitrate_kbit: u32,
) -> Result<Vec<gst::Element>, String> {
    match kind {
        Kind::H264 => coded("h264parse", "video/x-h264", "avc"),
        Kind::H265 => coded("h265parse", "video/x-h265", "hvc1"),
        Kind::Raw => {
            let mut elements = vec![make("videoconvert")?];
            elements.push(encoder(wanted, caps, bitrate_kbit)?);
            elements.extend(coded("h264parse", "video/x-h264", "avc")?);
            Ok(elements)
        }
    }
}

/// Access units with the parameter sets in the caps, so that a change of them is seen.
fn coded(parser: &str, media: &str, format: &str) -> Result<Vec<gst::Element>, String> {
    let caps =
        gst::Caps::builder(media).field("stream-format", format).field("alignment", "au").build();
    let filter = make("capsfilter")?;
    filter.set_property("caps", caps);
    Ok(vec![make(parser)?, filter])
}

pub(super) fn make(factory: &str) -> Result<gst::Element, String> {
    gst::ElementFactory::make(factory).build().map_err(|_| {
        format!("there is no element '{factory}': install the package of GStreamer that has it")
    })
}

/// An H.264 encoder that works here, set up for a live stream: no picture waits for a later one. `wanted`: only
/// that one; `bitrate_kbit` 0: by the size of the pictures.
///
/// # Errors
/// What to install.
pub fn encoder(
    wanted: Option<&str>,
    caps: &gst::CapsRef,
    bitrate_kbit: u32,
) -> Result<gst::Element, String> {
    let candidates = wanted.map_or_else(|| ENCODERS.to_vec(), |name| vec![name]);
    for name in &candidates {
        let Some(factory) = gst::ElementFactory::find(name) else { continue };
        let Ok(encoder) = factory.create().build() else { continue };
        // Hardware that is not there is only noticed now.
        let works = encoder.set_state(gst::State::Ready).is_ok();
        let stopped = encoder.set_state(gst::State::Null).is_ok();
        if works && stopped {
            configure(&encoder, name, caps, bitrate_kbit);
            return Ok(encoder);
        }
    }
    Err(match wanted {
        Some(name) => format!("the encoder '{name}' is not there, or does not start"),
        None => format!("no H.264 encoder works; install one of {}", ENCODERS.join(", ")),
    })
}

fn configure(encoder: &gst::Element, name: &str, caps: &gst::CapsRef, bitrate_kbit: u32) {
    let (fps, default) = measures(caps);
    let kbit = if bitrate_kbit > 0 { bitrate_kbit } else { default };
    let bit = kbit.saturating_mul(1000);
    // At most a second between key pictures: more are asked for by time.
    let gop = fps.max(1);
    let settings: Vec<(&str, String)> = match name {
        "x264enc" => vec![
            ("speed-preset", "ultrafast".into()),
            ("tune", "zerolatency".into()),
            ("threads", THREADS.to_string()),
            ("key-int-max", gop.to_string()),
            ("bitrate", kbit.to_string()),
        ],
        "openh264enc" => vec![
            ("usage-type", "camera".into()),
            ("complexity", "low".into()),
            ("rate-control", "bitrate".into()),
            ("multi-thread", THREADS.to_string()),
            ("gop-size", gop.to_string()),
            ("bitrate", bit.to_string()),
        ],
        "v4l2h264enc" => {
            let controls = format!("controls,video_bitrate={bit},video_gop_size={gop}");
            vec![("extra-controls", controls)]
        }
        _ => vec![
            ("key-int-max", gop.to_string()),
            ("keyframe-period", gop.to_string()),
            ("gop-size", gop.to_string()),
            ("b-frames", "0".into()),
            ("bframes", "0".into()),
            ("bitrate", kbit.to_string()),
        ],
    };
    for (property, value) in settings {
        // Versions differ in what they have.
        if let Some(spec) = encoder.find_property(property)
            && let Ok(value) = glib::Value::deserialize_with_pspec(&value, &spec)
        {
            encoder.set_property_from_value(property, &value);
        }
    }
}

/// Frames per second, and a bit rate in kbit/s that suits the pictures.
fn measures(caps: &gst::CapsRef) -> (u32, u32) {
    let Ok(info) = gst_video::VideoInfo::from_caps(caps) else {
        return (USUAL_FPS, 4000);
    };
    let (n, d) = (f64::from(info.fps().numer()), f64::from(info.fps().denom()));
    let fps = if n > 0.0 && d > 0.0 { (n / d).clamp(1.0, 240.0) } else { f64::from(USUAL_FPS) };
    let pixels = f64::from(info.width()) * f64::from(info.height());
    let kbit = (pixels * fps * BITS_PER_PIXEL / 1000.0).clamp(300.0, 20_000.0);
    (fps.ceil() as u32, kbit as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_rate_suits_the_pictures() {
        gst::init().unwrap();
        let of = |text: &str| measures(&text.parse::<gst::Caps>().unwrap());
        let (fps, kbit) = of("video/x-raw,format=I420,width=1920,height=1080,framerate=30000/1001");
        assert_eq!(fps, 30);
        assert!((6000..6500).contains(&kbit), "{kbit}");
        assert_eq!(of("video/x-raw,format=I420,width=160,height=120,framerate=0/1"), (25, 300));
    }

    #[test]
    fn encoder_that_is_not_there_is_named() {
        gst::init().unwrap();
        let caps = "video/x-raw,format=I420,width=160,height=120,framerate=10/1";
        let caps = caps.parse::<gst::Caps>().unwrap();
        let error = elements(Kind::Raw, &caps, Some("nosuchenc"), 0).unwrap_err();
        assert!(error.contains("'nosuchenc'"), "{error}");
        assert_eq!(elements(Kind::Raw, &caps, None, 0).unwrap().len(), 4);
    }
}
