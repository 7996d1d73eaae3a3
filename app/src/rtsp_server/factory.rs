//! What the server makes when somebody watches: appsrc, encoder, payloader.

use std::sync::{Arc, OnceLock};

use gst::glib;
use gst::glib::subclass::prelude::*;
use gst::prelude::*;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::subclass::prelude::*;
use gst_rtsp_server::{RTSPMedia, RTSPMediaFactory, gst_rtsp};
use gstface::clipsink::encoder::encoder;
use parking_lot::Mutex;

/// Pictures that wait for the encoder; more would only be late.
const WAITING: u64 = 2;

/// A stream between the pipeline that it comes from and the viewers.
#[derive(Debug, Default)]
pub(super) struct Served {
    bitrate_kbit: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the last picture.
    caps: Option<gst::Caps>,
    /// Where pictures go while somebody watches.
    source: Option<gst_app::AppSrc>,
}

impl Served {
    pub(super) fn new(bitrate_kbit: u32) -> Self {
        Self { bitrate_kbit, state: Mutex::default() }
    }

    /// Is it known what the pictures are?
    pub(super) fn is_ready(&self) -> bool {
        self.state.lock().caps.is_some()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.state.lock().source.is_some()
    }

    pub(super) fn push(&self, sample: &gst::Sample) {
        let Some(mut buffer) = sample.buffer_owned() else { return };
        let caps = sample.caps_owned();
        let (source, changed) = {
            let mut state = self.state.lock();
            let changed = state.caps != caps;
            if changed {
                state.caps.clone_from(&caps);
            }
            (state.source.clone(), changed)
        };
        let Some(source) = source else { return };
        if changed {
            source.set_caps(caps.as_ref());
        }
        // Times of another pipeline: they get the time at which they come.
        let writable = buffer.make_mut();
        writable.set_pts(gst::ClockTime::NONE);
        writable.set_dts(gst::ClockTime::NONE);
        // Refused while the last viewer goes.
        let _ = source.push_buffer(buffer);
    }

    /// Those who watch see the end.
    pub(super) fn close(&self) {
        if let Some(source) = self.state.lock().source.take() {
            let _ = source.end_of_stream();
        }
    }

    /// What makes RTP of the pictures; nothing before the first of them.
    fn element(&self) -> Option<gst::Element> {
        let caps = self.state.lock().caps.clone()?;
        let source = gst_app::AppSrc::builder()
            .name("source")
            .caps(&caps)
            .is_live(true)
            .format(gst::Format::Time)
            .do_timestamp(true)
            .max_buffers(WAITING)
            .max_bytes(0)
            .leaky_type(gst_app::AppLeakyType::Downstream)
            .build();
        let make = |factory: &str| gst::ElementFactory::make(factory).build().ok();
        let pay = gst::ElementFactory::make("rtph264pay").name("pay0").build().ok()?;
        pay.set_property("pt", 96u32);
        // With every key picture: viewers come in the middle.
        pay.set_property("config-interval", -1i32);
        let encoder = encoder(None, &caps, self.bitrate_kbit).ok()?;
        let elements = [source.upcast(), make("videoconvert")?, encoder, make("h264parse")?, pay];
        let bin = gst::Bin::new();
        bin.add_many(&elements).ok()?;
        gst::Element::link_many(&elements).ok()?;
        Some(bin.upcast())
    }

    /// Somebody watches, until the media is taken down.
    fn begin(served: &Arc<Served>, media: &RTSPMedia) {
        let Ok(bin) = media.element().downcast::<gst::Bin>() else { return };
        let source = bin.by_name("source").and_then(|s| s.downcast::<gst_app::AppSrc>().ok());
        let Some(source) = source else { return };
        served.state.lock().source = Some(source.clone());
        let served = Arc::downgrade(served);
        media.connect_unprepared(move |_| {
            let Some(served) = served.upgrade() else { return };
            let mut state = served.state.lock();
            // Another viewer may have come already.
            if state.source.as_ref() == Some(&source) {
                state.source = None;
            }
        });
    }
}

mod imp {
    use super::*;

    #[derive(Debug, Default)]
    pub(crate) struct Factory {
        pub(super) served: OnceLock<Arc<Served>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Factory {
        const NAME: &'static str = "GstOnnxFaceRtspFactory";
        type Type = super::Factory;
        type ParentType = RTSPMediaFactory;
    }

    impl ObjectImpl for Factory {}

    impl RTSPMediaFactoryImpl for Factory {
        fn construct(&self, url: &gst_rtsp::RTSPUrl) -> Option<RTSPMedia> {
            self.served.get().filter(|served| served.is_ready())?;
            self.parent_construct(url)
        }

        fn create_element(&self, _url: &gst_rtsp::RTSPUrl) -> Option<gst::Element> {
            let element = self.served.get().and_then(|served| served.element());
            // The bindings take a missing element for one: one without a stream says the same.
            Some(element.unwrap_or_else(|| gst::Bin::new().upcast()))
        }

        fn configure(&self, media: &RTSPMedia) {
            self.parent_configure(media);
            if let Some(served) = self.served.get() {
                Served::begin(served, media);
            }
        }
    }
}

glib::wrapper! {
    pub(crate) struct Factory(ObjectSubclass<imp::Factory>) @extends RTSPMediaFactory;
}

impl Factory {
    pub(super) fn new(served: Arc<Served>) -> Self {
        let factory: Self = glib::Object::new();
        // It is a new one.
        let _ = factory.imp().served.set(served);
        // One encoder for all.
        factory.set_shared(true);
        factory
    }
}
