//! GStreamer glue: caps, the choice between attaching and blending, the buffer loop.

use std::sync::LazyLock;

use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use parking_lot::Mutex;

use super::image::Sprite;
use super::scene::Drawing;
use super::settings::Settings;
use super::style::Picture;
use super::{blend, overlay};
use crate::meta::{FrameFaces, Mapping};
use crate::stats::{Lap, Meter};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "faceannotate",
        gst::DebugColorFlags::empty(),
        Some("Draws boxes and names of faces"),
    )
});

const FORMATS: [gst_video::VideoFormat; 9] = [
    gst_video::VideoFormat::Nv12,
    gst_video::VideoFormat::I420,
    gst_video::VideoFormat::Rgb,
    gst_video::VideoFormat::Bgr,
    gst_video::VideoFormat::Rgba,
    gst_video::VideoFormat::Bgra,
    gst_video::VideoFormat::Rgbx,
    gst_video::VideoFormat::Bgrx,
    gst_video::VideoFormat::Gray8,
];

/// What becomes of the drawing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Output {
    /// Into the pixels.
    #[default]
    Blend,
    /// The caps allow a composition; downstream has not been asked yet whether it draws it.
    Ask,
    /// To the buffer.
    Attach,
}

#[derive(Debug, Default)]
struct State {
    info: Option<gst_video::VideoInfo>,
    output: Output,
    /// Downstream took the caps feature (as a sink of any caps does) but does not draw
    /// compositions: caps without the feature are negotiated instead.
    refused: bool,
    drawing: Option<Drawing>,
    warned: Warned,
}

/// What has been logged for this stream.
#[derive(Debug, Default)]
struct Warned {
    malformed: bool,
    borders: bool,
    labels: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    faces: u64,
    malformed: u64,
}

/// Lock order: settings, state, stats. None is held while something is asked of another element.
#[derive(Debug, Default)]
pub struct FaceAnnotate {
    settings: Mutex<Settings>,
    state: Mutex<State>,
    stats: Mutex<Stats>,
    meter: Meter,
}

#[glib::object_subclass]
impl ObjectSubclass for FaceAnnotate {
    const NAME: &'static str = "GstOnnxFaceAnnotate";
    type Type = super::FaceAnnotate;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for FaceAnnotate {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(Settings::specs);
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        gst::info!(CAT, imp = self, "setting {} to {value:?}", pspec.name());
        self.settings.lock().set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            return self.stats().to_value();
        }
        let value = self.settings.lock().get(pspec.name());
        value.unwrap_or_else(|| pspec.default_value().clone())
    }
}

impl GstObjectImpl for FaceAnnotate {}

impl ElementImpl for FaceAnnotate {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face annotator",
                "Filter/Effect/Video",
                "Draws boxes, names and landmarks of the faces that upstream found",
                "The gst-face maintainers",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let plain = gst_video::VideoCapsBuilder::new().format_list(FORMATS).build();
            let mut caps = with_feature(&plain);
            caps.merge(plain);
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .into_iter()
                .filter_map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
                })
                .collect()
        });
        &TEMPLATES
    }
}

impl BaseTransformImpl for FaceAnnotate {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        *self.state.lock() = State::default();
        *self.stats.lock() = Stats::default();
        self.meter.reset();
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *self.state.lock() = State::default();
        Ok(())
    }

    fn transform_caps(
        &self,
        direction: gst::PadDirection,
        caps: &gst::Caps,
        filter: Option<&gst::Caps>,
    ) -> Option<gst::Caps> {
        let refused = self.state.lock().refused;
        let caps = other_side(direction, caps, refused);
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    fn fixate_caps(
        &self,
        direction: gst::PadDirection,
        caps: &gst::Caps,
        othercaps: gst::Caps,
    ) -> gst::Caps {
        // Whatever downstream lists first: a picture left alone is better than one drawn over.
        let preferred: gst::Caps = othercaps
            .iter_with_features()
            .filter(|(_, features)| features.contains(overlay::CAPS_FEATURE))
            .map(|(structure, features)| (structure.to_owned(), features.to_owned()))
            .collect();
        let wanted = if preferred.is_empty() { othercaps } else { preferred };
        self.parent_fixate_caps(direction, caps, wanted)
    }

    fn set_caps(&self, incaps: &gst::Caps, outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = gst_video::VideoInfo::from_caps(incaps)
            .map_err(|e| gst::loggable_error!(CAT, "no video format in caps {incaps}: {e}"))?;
        let asks = outcaps.features(0).is_some_and(|f| f.contains(overlay::CAPS_FEATURE));
        gst::debug!(CAT, imp = self, "caps {incaps} to {outcaps}");
        let mut state = self.state.lock();
        state.info = Some(info);
        state.output = if asks && !state.refused { Output::Ask } else { Output::Blend };
        state.drawing = None;
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.type_() {
            gst::EventType::Caps => {
                self.state.lock().refused = false;
                if !self.parent_sink_event(event.clone()) {
                    return false;
                }
                // A second time without the feature, before the first buffer is sent.
                self.decide_output() || self.parent_sink_event(event)
            }
            gst::EventType::StreamStart => {
                self.state.lock().warned = Warned::default();
                self.parent_sink_event(event)
            }
            _ => self.parent_sink_event(event),
        }
    }

    fn src_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::Reconfigure {
            // Somebody else may be there now.
            self.state.lock().refused = false;
        }
        self.parent_src_event(event)
    }

    fn transform_ip(&self, buf: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let lap = Lap::begin();
        // Renegotiated by downstream: no caps event came through sink_event().
        if self.state.lock().output == Output::Ask && !self.decide_output() {
            self.obj().reconfigure_src();
        }
        let Some((sprites, info, output)) = self.sprites(buf)? else {
            self.meter.end(lap, false);
            return Ok(gst::FlowSuccess::Ok);
        };
        gst::log!(CAT, imp = self, "{} sprites, {output:?}", sprites.len());
        let done = if output == Output::Attach {
            overlay::attach(buf, &sprites)
        } else {
            self.blend(buf, &info, &sprites)
        };
        done.map_err(|e| {
            gst::element_imp_error!(
                self,
                gst::StreamError::Failed,
                ["draw faces on a {}x{} picture: {e}", info.width(), info.height()]
            );
            gst::FlowError::Error
        })?;
        self.meter.end(lap, true);
        Ok(gst::FlowSuccess::Ok)
    }
}

impl FaceAnnotate {
    fn stats(&self) -> gst::Structure {
        let stats = *self.stats.lock();
        let mut structure = gst::Structure::builder("stats")
            .field("faces", stats.faces)
            .field("malformed", stats.malformed)
            .build();
        self.meter.write(&mut structure);
        structure
    }

    /// Asks downstream whether it draws compositions, if the caps allow them. False if it does
    /// not, and caps without the feature would do: they are to be negotiated.
    fn decide_output(&self) -> bool {
        if self.state.lock().output != Output::Ask {
            return true;
        }
        let srcpad = self.obj().src_pad().clone();
        let Some(caps) = srcpad.current_caps() else { return true };
        let mut query = gst::query::Allocation::new(Some(&caps), false);
        let draws = srcpad.peer_query(&mut query)
            && query.find_allocation_meta::<gst_video::VideoOverlayCompositionMeta>().is_some();
        // A capsfilter with the feature insists on it.
        let attach = draws || !srcpad.peer_query_accept_caps(&without_feature(&caps));
        gst::debug!(CAT, imp = self, "downstream draws compositions: {draws}, attach: {attach}");
        let mut state = self.state.lock();
        state.output = if attach { Output::Attach } else { Output::Blend };
        state.refused = !attach;
        attach
    }

    /// What to draw on this buffer and how, or `None` for nothing.
    fn sprites(
        &self,
        buf: &gst::BufferRef,
    ) -> Result<Option<(Vec<Sprite>, gst_video::VideoInfo, Output)>, gst::FlowError> {
        let options = self.settings.lock().options();
        let mut state = self.state.lock();
        let State { info, output, drawing, warned, .. } = &mut *state;
        let Some(info) = info else { return Err(gst::FlowError::NotNegotiated) };
        let faces = match FrameFaces::read(buf) {
            None => return Ok(None),
            Some(Ok(faces)) if faces.faces.is_empty() => return Ok(None),
            Some(Ok(faces)) => faces,
            Some(Err(e)) => {
                self.stats.lock().malformed += 1;
                if !std::mem::replace(&mut warned.malformed, true) {
                    gst::warning!(CAT, imp = self, "nothing drawn, further ones not logged: {e}");
                }
                return Ok(None);
            }
        };
        self.stats.lock().faces += faces.faces.len() as u64;
        let mapping = Mapping::new(&faces, info);
        if mapping.bordered() && !std::mem::replace(&mut warned.borders, true) {
            let (width, height) = mapping.size();
            gst::info!(
                CAT,
                imp = self,
                "faces are of a {}x{} picture, this one has {width}x{height}: borders assumed",
                faces.width,
                faces.height
            );
        }
        if !drawing.as_ref().is_some_and(|d| d.is_for(&options)) {
            *drawing = None;
        }
        let drawing = drawing.get_or_insert_with(|| Drawing::new(picture(info), options));
        let (sprites, failed) = drawing.sprites(&faces, &mapping);
        if let Some(e) = failed
            && !std::mem::replace(&mut warned.labels, true)
        {
            gst::warning!(CAT, imp = self, "label left out, further ones not logged: {e}");
        }
        Ok((!sprites.is_empty()).then(|| (sprites, info.clone(), *output)))
    }

    fn blend(
        &self,
        buf: &mut gst::BufferRef,
        info: &gst_video::VideoInfo,
        sprites: &[Sprite],
    ) -> Result<(), glib::BoolError> {
        let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(buf, info)?;
        blend::blend(&mut frame, sprites)
    }
}

fn picture(info: &gst_video::VideoInfo) -> Picture {
    let (n, d) = (info.par().numer(), info.par().denom());
    let par = if n > 0 && d > 0 { f64::from(n) / f64::from(d) } else { 1.0 };
    let subsampled = info.format_info().w_sub().iter().any(|&sub| sub > 0);
    Picture {
        width: info.width(),
        height: info.height(),
        par,
        grid: if subsampled { 2 } else { 1 },
    }
}

/// The caps of the other pad. To caps without the feature it may be added downstream, unless
/// downstream `refused`; caps that have it keep it, as a composition of another element may be on
/// the buffers.
fn other_side(direction: gst::PadDirection, caps: &gst::Caps, refused: bool) -> gst::Caps {
    if refused {
        return caps.clone();
    }
    let mut featured = gst::Caps::new_empty();
    let mut plain = gst::Caps::new_empty();
    for (structure, features) in caps.iter_with_features() {
        let one = gst::Caps::builder_full_with_features(features.to_owned())
            .structure(structure.to_owned())
            .build();
        if features.is_any() {
            plain.merge(one);
        } else if features.contains(overlay::CAPS_FEATURE) {
            if direction == gst::PadDirection::Src {
                plain.merge(without_feature(&one));
            }
            featured.merge(one);
        } else {
            if direction == gst::PadDirection::Sink {
                featured.merge(with_feature(&one));
            }
            plain.merge(one);
        }
    }
    featured.merge(plain);
    featured
}

fn with_feature(caps: &gst::CapsRef) -> gst::Caps {
    changed_features(caps, |features| features.add(overlay::CAPS_FEATURE))
}

fn without_feature(caps: &gst::CapsRef) -> gst::Caps {
    changed_features(caps, |features| features.remove(overlay::CAPS_FEATURE))
}

fn changed_features(caps: &gst::CapsRef, change: impl Fn(&mut gst::CapsFeaturesRef)) -> gst::Caps {
    caps.iter_with_features()
        .map(|(structure, features)| {
            let mut features = features.to_owned();
            change(&mut features);
            (structure.to_owned(), features)
        })
        .collect()
}
