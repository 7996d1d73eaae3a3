//! From the metadata of buffers to what stands beside a clip.

use std::collections::{BTreeMap, HashSet, VecDeque};

use face_core::clip::{self, Candidate, Frame, Gallery, Model, Software, Trigger};
use face_core::embed::Embedding;
use face_core::event::FaceEvent;
use face_core::geometry::{BBox, Point};

use crate::meta::{Face, FrameFaces};

/// Ids of so many events are remembered: each is repeated on the buffers of a minute at most.
const MOST_EVENTS: usize = 4096;

/// Fractions and thresholds are no more exact than this…
const MILLIONTH: f64 = 1e6;
/// … and pixels than this.
const HUNDREDTH: f64 = 100.0;

/// Tells events that were seen before.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    /// Is it the first time?
    pub(super) fn is_new(&mut self, id: &str) -> bool {
        if !self.known.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > MOST_EVENTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// The faces of a buffer, as a sidecar has them. `size` is that of the clip's pictures, in pixels;
/// the time within the clip is not known yet.
pub(super) fn frame(
    faces: &FrameFaces,
    running_ns: i64,
    size: Option<(u32, u32)>,
    embeddings: bool,
) -> Frame {
    let (width, height) = size.unwrap_or((faces.width, faces.height));
    let size = (width as f32, height as f32);
    Frame {
        running_time_ns: u64::try_from(running_ns).ok(),
        looked: faces.looked,
        faces: faces.faces.iter().map(|f| face(f, size, embeddings)).collect(),
        ..Frame::default()
    }
}

fn rounded(value: f64, unit: f64) -> f64 {
    (value * unit).round() / unit
}

fn face(face: &Face, (width, height): (f32, f32), embeddings: bool) -> clip::Face {
    let numbers = |b: &BBox, unit| [b.x, b.y, b.w, b.h].map(|v| rounded(f64::from(v), unit));
    let point = |p: &Point| [p.x, p.y].map(|v| rounded(f64::from(v), HUNDREDTH));
    let points = face.landmarks.as_ref().map(|l| l.scaled(width, height));
    let embedding = face.embedding.as_deref().filter(|_| embeddings);
    clip::Face {
        track_id: (face.track_id != 0).then_some(face.track_id),
        rect: Some(numbers(&face.bbox, MILLIONTH)),
        box_px: numbers(&face.bbox.scaled(width, height), HUNDREDTH),
        score: Some(face.score),
        landmarks_px: points.map(|l| l.0.iter().flat_map(point).collect()).unwrap_or_default(),
        observed: face.observed,
        status: face.status.as_str().to_owned(),
        person_id: face.person_id.clone(),
        name: face.name.clone(),
        similarity: face.similarity,
        filter: (!face.filter.is_empty()).then(|| face.filter.clone()),
        zones: face.zones.clone(),
        embedding: embedding
            .and_then(|bytes| Embedding::from_bytes(bytes).ok())
            .map(|embedding| embedding.as_slice().to_vec()),
    }
}

/// An event as the reason of a clip.
pub(super) fn trigger(event: &FaceEvent) -> Trigger {
    Trigger {
        id: event.id.clone(),
        event: event.kind.clone(),
        utc: event.utc.clone(),
        running_time_ns: event.running_time_ns,
        offset_ns: None,
        track_id: (event.track_id != 0).then_some(event.track_id),
        person_id: event.person_id.clone(),
        name: event.name.clone(),
        similarity: event.similarity,
        top_k: event
            .top_k
            .iter()
            .map(|c| Candidate {
                person_id: c.person_id.clone(),
                name: c.name.clone(),
                similarity: c.similarity,
            })
            .collect(),
        zone: event.zone.clone(),
        reason: None,
    }
}

/// What the elements upstream said of themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Context {
    pub(super) models: Vec<Model>,
    pub(super) gallery: Option<Gallery>,
    pub(super) thresholds: BTreeMap<String, f64>,
    pub(super) elements: BTreeMap<String, String>,
}

impl Context {
    /// Reads the answers to `context_query`.
    pub(super) fn of(facts: &[gst::Structure]) -> Self {
        let mut context = Self::default();
        for facts in facts {
            let text = |field: &str| facts.get::<String>(field).ok();
            let element = text("element").unwrap_or_default();
            if let Some(version) = text("version") {
                context.elements.insert(element.clone(), version);
            }
            if let (Some(task), Some(name)) = (text("task"), text("model")) {
                let (sha256, provider) = (text("sha256"), text("provider"));
                context.models.push(Model { task, name, sha256, provider });
            }
            if let Some(fingerprint) = text("fingerprint") {
                let generation = facts.get::<u64>("generation").ok();
                context.gallery = Some(Gallery { fingerprint, generation });
            }
            for (field, value) in facts.iter() {
                if let Ok(value) = value.get::<f64>() {
                    let name = format!("{element}.{field}");
                    context.thresholds.insert(name, rounded(value, MILLIONTH));
                }
            }
        }
        context
    }

    pub(super) fn software(&self) -> Software {
        let mut elements = self.elements.clone();
        elements.insert("clipsink".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        Software {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            gstreamer: Some(gst::version_string().to_string()),
            elements,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use face_core::geometry::Landmarks;
    use face_core::identity::Status;

    #[test]
    fn event_is_new_once_and_the_memory_has_an_end() {
        let mut seen = Seen::default();
        assert!(seen.is_new("a") && !seen.is_new("a"));
        for n in 0..MOST_EVENTS {
            assert!(seen.is_new(&n.to_string()));
        }
        assert_eq!(seen.known.len(), MOST_EVENTS);
        assert!(seen.is_new("a"));
    }

    #[test]
    fn faces_are_in_fractions_and_in_pixels_of_the_clip() {
        let faces = FrameFaces {
            width: 640,
            height: 360,
            looked: true,
            faces: vec![Face {
                bbox: BBox::new(0.25, 0.5, 0.125, 0.25),
                landmarks: Some(Landmarks([Point::new(0.5, 0.5); 5])),
                observed: true,
                track_id: 3,
                status: Status::Known,
                name: Some("Ada".into()),
                embedding: Some([1.0_f32, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
                ..Face::default()
            }],
            ..FrameFaces::default()
        };
        let with = frame(&faces, 5, Some((1280, 720)), true);
        let face = &with.faces[0];
        assert_eq!(face.rect, Some([0.25, 0.5, 0.125, 0.25]));
        assert_eq!(face.box_px, [320.0, 360.0, 160.0, 180.0]);
        assert_eq!((face.landmarks_px.len(), face.landmarks_px[0]), (10, 640.0));
        assert_eq!(face.embedding, Some(vec![1.0, 0.0]));
        assert_eq!((face.track_id, face.status.as_str()), (Some(3), "known"));
        let without = frame(&faces, -5, None, false);
        assert_eq!(without.faces[0].embedding, None);
        assert_eq!(without.faces[0].box_px, [160.0, 180.0, 80.0, 90.0]);
        assert_eq!(without.running_time_ns, None);
    }

    #[test]
    fn context_is_read_from_what_elements_say() {
        gst::init().unwrap();
        let facts = gst::Structure::builder("facts")
            .field("element", "facerecognize")
            .field("version", "1.2.3")
            .field("task", "embedder")
            .field("model", "m")
            .field("provider", "cpu")
            .field("fingerprint", "f")
            .field("generation", 7u64)
            .field("threshold", 0.4_f64)
            .build();
        let context = Context::of(&[facts, gst::Structure::new_empty("nothing")]);
        assert_eq!(context.thresholds.get("facerecognize.threshold"), Some(&0.4));
        assert_eq!(context.models[0].provider.as_deref(), Some("cpu"));
        assert_eq!(context.gallery.as_ref().and_then(|g| g.generation), Some(7));
        assert_eq!(context.software().elements["facerecognize"], "1.2.3");
    }
}
