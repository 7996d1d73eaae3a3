//! The pipeline of one connection: from the camera to appsinks, which hand over what comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::glib;
use gst::prelude::*;

use super::address::{Kind, Login};
use super::settings::{CameraProtocols, Plan};

/// Application message in the connection's pipeline: all streams were looked at, none is video.
pub(super) const NO_VIDEO: &str = "face-camera-no-video";
/// How long a camera may take to answer, µs.
const ANSWER_US: u64 = 10_000_000;
/// UDP that brings nothing for so long is given up for TCP, µs.
const UDP_US: u64 = 2_000_000;

/// A kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Video,
    Audio,
}

impl Media {
    fn of(caps: &gst::CapsRef) -> Option<Self> {
        let s = caps.structure(0)?;
        let name = s.name().as_str();
        // RTP says it in a field.
        let media = s.get::<&str>("media").unwrap_or(name.split('/').next().unwrap_or_default());
        match media {
            "video" | "image" => Some(Media::Video),
            "audio" => Some(Media::Audio),
            _ => None,
        }
    }
}

/// Takes the buffers of a connection, on its threads.
pub(super) type Take = Arc<dyn Fn(Media, &gst::Sample) + Send + Sync>;

/// Builds the parts of a connection's pipeline as its streams are found.
#[derive(Clone)]
struct Builder {
    pipeline: glib::WeakRef<gst::Pipeline>,
    take: Take,
    audio: bool,
    /// The pictures wait for their time: a file has no other clock.
    paced: bool,
    has_video: Arc<AtomicBool>,
    has_audio: Arc<AtomicBool>,
}

type Outcome<T> = Result<T, glib::BoolError>;

/// The pipeline, in state NULL.
pub(super) fn build(plan: &Plan, login: Option<Login>, take: Take) -> Outcome<gst::Pipeline> {
    let pipeline = gst::Pipeline::with_name("face-camera");
    let builder = Builder {
        pipeline: pipeline.downgrade(),
        take,
        audio: plan.audio,
        paced: plan.address.kind == Kind::Other,
        has_video: Arc::default(),
        has_audio: Arc::default(),
    };
    match &plan.address.kind {
        Kind::Rtsp => builder.rtsp(&pipeline, plan, login)?,
        Kind::Device(device) => {
            let source = gst::ElementFactory::make("v4l2src").property("device", device).build()?;
            pipeline.add(&source)?;
            let formats = "video/x-raw; image/jpeg; video/x-h264,alignment=au";
            let sink = builder.sink(Media::Video);
            sink.set_caps(Some(&formats.parse::<gst::Caps>()?));
            pipeline.add(&sink)?;
            source.link(&sink)?;
        }
        Kind::Other => {
            let source = gst::ElementFactory::make("urisourcebin");
            let source = source.property("uri", &plan.address.uri).build()?;
            pipeline.add(&source)?;
            source.connect_pad_added(move |source, pad| {
                told(source.upcast_ref(), builder.parse(pad));
            });
        }
    }
    Ok(pipeline)
}

/// A stream that cannot be linked is the end of the connection.
fn told(element: &gst::Element, outcome: Outcome<()>) {
    if let Err(error) = outcome {
        gst::element_error!(element, gst::CoreError::Pad, ("take a stream of it: {error}"));
    }
}

fn caps_of(pad: &gst::Pad) -> gst::Caps {
    pad.current_caps().unwrap_or_else(|| pad.query_caps(None))
}

impl Builder {
    fn rtsp(self, pipeline: &gst::Pipeline, plan: &Plan, login: Option<Login>) -> Outcome<()> {
        let source = gst::ElementFactory::make("rtspsrc")
            .property("location", &plan.address.uri)
            .property("latency", plan.latency_ms)
            .property("tcp-timeout", ANSWER_US)
            .property("timeout", UDP_US)
            // The camera's own clock, as soon as it tells of it.
            .property("add-reference-timestamp-meta", true)
            .build()?;
        if let Some(login) = login {
            source.set_property("user-id", &login.user);
            source.set_property("user-pw", &login.password);
        }
        match plan.protocols {
            CameraProtocols::Tcp => source.set_property_from_str("protocols", "tcp"),
            CameraProtocols::Udp => source.set_property_from_str("protocols", "udp"),
            CameraProtocols::Auto => source.set_property_from_str("protocols", "udp+tcp"),
        }
        if !plan.tls_verify {
            source.set_property_from_str("tls-validation-flags", "no-flags");
        }
        pipeline.add(&source)?;
        // What nobody takes is not even sent.
        let (audio, asked) = (self.audio, [AtomicBool::new(false), AtomicBool::new(false)]);
        source.connect("select-stream", false, move |args| {
            let caps = args.get(2).and_then(|caps| caps.get::<gst::Caps>().ok());
            let wanted = match caps.as_ref().and_then(|caps| Media::of(caps)) {
                Some(Media::Video) => !asked[0].swap(true, Ordering::Relaxed),
                Some(Media::Audio) => audio && !asked[1].swap(true, Ordering::Relaxed),
                None => false,
            };
            Some(wanted.to_value())
        });
        let has_video = self.has_video.clone();
        source.connect_pad_added(move |source, pad| {
            told(source, self.depayload(pad));
        });
        source.connect_no_more_pads(move |source| {
            if !has_video.load(Ordering::SeqCst) {
                let message = gst::Structure::new_empty(NO_VIDEO);
                let message = gst::message::Application::builder(message).src(source).build();
                // Fails only while the pipeline is going down.
                let _ = source.post_message(message);
            }
        });
        Ok(())
    }

    /// A stream of RTP. The elements of common formats are put together here: parsebin asks depayloaders for
    /// pieces that h264parse of 1.22 does not put together again.
    fn depayload(&self, pad: &gst::Pad) -> Outcome<()> {
        let caps = caps_of(pad);
        let encoding = caps.structure(0).and_then(|s| s.get::<&str>("encoding-name").ok());
        let (depay, form, parse) = match encoding {
            Some("H264") => {
                ("rtph264depay", "video/x-h264,stream-format=avc,alignment=au", "h264parse")
            }
            Some("H265") => {
                ("rtph265depay", "video/x-h265,stream-format=hvc1,alignment=au", "h265parse")
            }
            Some("JPEG") => ("rtpjpegdepay", "image/jpeg", "identity"),
            _ => return self.parse(pad),
        };
        let form = gst::ElementFactory::make("capsfilter")
            .property("caps", form.parse::<gst::Caps>()?)
            .build()?;
        let depay = gst::ElementFactory::make(depay).build()?;
        let parse = gst::ElementFactory::make(parse).build()?;
        let sink = self.sink(Media::Video).upcast();
        self.has_video.store(true, Ordering::SeqCst);
        self.append(pad, &[depay, form, parse, sink])
    }

    /// A stream that somebody else knows how to take apart.
    fn parse(&self, pad: &gst::Pad) -> Outcome<()> {
        let parse = gst::ElementFactory::make("parsebin").build()?;
        let builder = self.clone();
        parse.connect_pad_added(move |parse, pad| {
            told(parse, builder.expose(pad));
        });
        self.append(pad, &[parse])
    }

    /// A parsed stream: the first of each kind is taken.
    fn expose(&self, pad: &gst::Pad) -> Outcome<()> {
        let media = Media::of(&caps_of(pad));
        let taken = match media {
            Some(Media::Video) => !self.has_video.swap(true, Ordering::SeqCst),
            Some(Media::Audio) => self.audio && !self.has_audio.swap(true, Ordering::SeqCst),
            None => false,
        };
        let sink = match media.filter(|_| taken) {
            Some(media) => self.sink(media).upcast(),
            None => gst::ElementFactory::make("fakesink").property("async", false).build()?,
        };
        self.append(pad, &[sink])
    }

    fn append(&self, pad: &gst::Pad, elements: &[gst::Element]) -> Outcome<()> {
        let Some(pipeline) = self.pipeline.upgrade() else { return Ok(()) };
        pipeline.add_many(elements)?;
        gst::Element::link_many(elements)?;
        let entry = elements.first().and_then(|element| element.static_pad("sink"));
        let entry = entry.ok_or_else(|| glib::bool_error!("an element has no sink pad"))?;
        // Before the pad is linked: data may come at once.
        for element in elements.iter().rev() {
            element.sync_state_with_parent()?;
        }
        pad.link(&entry).map_err(|error| glib::bool_error!("link {}: {error}", pad.name()))?;
        Ok(())
    }

    fn sink(&self, media: Media) -> gst_app::AppSink {
        let take = self.take.clone();
        let taken = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            take(media, &sample);
            Ok(gst::FlowSuccess::Ok)
        };
        gst_app::AppSink::builder()
            .name(match media {
                Media::Video => "video",
                Media::Audio => "audio",
            })
            .sync(self.paced)
            // No stream waits for another one to begin.
            .async_(false)
            .enable_last_sample(false)
            .callbacks(gst_app::AppSinkCallbacks::builder().new_sample(taken).build())
            .build()
    }
}
