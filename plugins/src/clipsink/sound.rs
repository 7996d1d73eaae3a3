//! How sound gets into an MP4 file: as it is where that can be, else as Opus.

use gst::prelude::*;

use super::encoder::make;

/// Bits per second of sound that is encoded: clear speech, and more than a telephone has.
const OPUS_BITRATE: i32 = 48_000;

/// The parser that makes a coded sound fit for MP4; `None` if MP4 cannot hold it.
pub fn parser(caps: &gst::CapsRef) -> Option<&'static str> {
    let structure = caps.structure(0)?;
    let number = |field: &str| structure.get::<i32>(field).ok();
    let channels = number("channels").unwrap_or(1);
    match structure.name().as_str() {
        "audio/mpeg" => match (number("mpegversion"), number("layer")) {
            (Some(2 | 4), _) => (channels <= 8).then_some("aacparse"),
            (Some(1), Some(3)) => (channels <= 2).then_some("mpegaudioparse"),
            _ => None,
        },
        "audio/x-opus" => Some("opusparse"),
        "audio/x-ac3" => (channels <= 6).then_some("ac3parse"),
        _ => None,
    }
}

/// The elements for a stream of sound.
///
/// # Errors
/// A text that says why it is left out.
pub(super) fn elements(caps: &gst::CapsRef) -> Result<Vec<gst::Element>, String> {
    if let Some(parser) = parser(caps) {
        let mut elements = vec![make(parser)?];
        if parser == "aacparse" {
            // The form that MP4 has; streams mostly have another.
            let raw = gst::Caps::builder("audio/mpeg").field("stream-format", "raw").build();
            let filter = make("capsfilter")?;
            filter.set_property("caps", raw);
            elements.push(filter);
        }
        return Ok(elements);
    }
    let name = caps.structure(0).map_or("", |s| s.name().as_str());
    let decoder = match name {
        "audio/x-raw" => None,
        "audio/x-alaw" => Some("alawdec"),
        "audio/x-mulaw" => Some("mulawdec"),
        _ => return Err(format!("MP4 files have no sound of the kind '{name}'")),
    };
    let mut elements = Vec::new();
    if let Some(decoder) = decoder {
        elements.push(make(decoder)?);
    }
    for factory in ["audioconvert", "audioresample", "opusenc", "opusparse"] {
        elements.push(make(factory)?);
    }
    for encoder in &elements {
        if encoder.factory().is_some_and(|factory| factory.name() == "opusenc") {
            encoder.set_property("bitrate", OPUS_BITRATE);
        }
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(caps: &str) -> Result<Vec<String>, String> {
        gst::init().unwrap();
        let elements = elements(&caps.parse::<gst::Caps>().unwrap())?;
        Ok(elements.iter().map(|e| e.factory().unwrap().name().to_string()).collect())
    }

    #[test]
    fn what_mp4_holds_is_only_parsed() {
        for (caps, first) in [
            ("audio/mpeg,mpegversion=4,channels=2,rate=48000,stream-format=adts", "aacparse"),
            ("audio/mpeg,mpegversion=1,layer=3,channels=2,rate=44100", "mpegaudioparse"),
            ("audio/x-opus,channel-mapping-family=0", "opusparse"),
            ("audio/x-ac3,channels=6,rate=48000", "ac3parse"),
        ] {
            let names = names(caps).unwrap();
            assert_eq!(names[0], first);
            assert!(names.iter().all(|name| !name.ends_with("enc")), "{names:?}");
        }
    }

    #[test]
    fn telephone_and_raw_sound_become_opus_and_anything_else_is_named() {
        assert_eq!(names("audio/x-alaw,rate=8000,channels=1").unwrap()[0], "alawdec");
        assert_eq!(names("audio/x-mulaw,rate=8000,channels=1").unwrap()[0], "mulawdec");
        let raw = names("audio/x-raw,format=S16LE,rate=48000,channels=2").unwrap();
        assert!(raw.contains(&"opusenc".to_owned()));
        assert!(names("audio/x-vorbis").unwrap_err().contains("'audio/x-vorbis'"));
    }
}
