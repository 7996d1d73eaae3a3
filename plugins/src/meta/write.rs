//! Writing `GstFaceMeta`.

use gst::prelude::*;

use super::fields::{Field, Level};
use super::fields::{attribute, candidate, event, face, frame};
use super::read::Unknown;
use super::{Attribute, Candidate, Event, Face, FrameFaces, META_NAME, VERSION, register};

impl FrameFaces {
    /// Writes the meta to the buffer in place of one that may be there. Readers refuse it when
    /// width or height is 0, or a number is not finite.
    pub fn write(&self, buffer: &mut gst::BufferRef) {
        self.write_keeping(buffer, VERSION, &Unknown::default());
    }

    /// As [`FrameFaces::write`], with the given version, and with the fields that a reader did not
    /// know put back.
    pub(super) fn write_keeping(
        &self,
        buffer: &mut gst::BufferRef,
        version: i32,
        unknown: &Unknown,
    ) {
        register();
        if gst::meta::CustomMeta::from_buffer(buffer, META_NAME).is_err() {
            gst::meta::CustomMeta::add(buffer, META_NAME)
                .expect("a registered meta can be added to a writable buffer");
        }
        let mut meta = gst::meta::CustomMeta::from_mut_buffer(buffer, META_NAME)
            .expect("the meta was added above");
        let structure = meta.mut_structure();
        structure.remove_all_fields();
        self.fill(structure, version, unknown);
    }

    fn fill(&self, s: &mut gst::StructureRef, version: i32, unknown: &Unknown) {
        set(s, &frame::VERSION, version);
        set(s, &frame::FRAME_ID, self.frame_id);
        set(s, &frame::LOOKED, self.looked);
        set(s, &frame::WIDTH, i32::try_from(self.width).unwrap_or(i32::MAX));
        set(s, &frame::HEIGHT, i32::try_from(self.height).unwrap_or(i32::MAX));
        // A default FrameFaces has 0/0, and a fraction may not have the denominator 0.
        let (n, d) = self.par;
        let par = if n > 0 && d > 0 { gst::Fraction::new(n, d) } else { gst::Fraction::new(1, 1) };
        set(s, &frame::PAR, par);
        set(s, &frame::DETECTOR, text(&self.detector));
        set(s, &frame::FACES, structures(&self.faces, |f| f.to_structure(unknown)));
        if !self.events.is_empty() {
            set(s, &frame::EVENTS, structures(&self.events, |e| event_structure(e, unknown)));
        }
        if !self.ended_tracks.is_empty() {
            set(s, &frame::ENDED_TRACKS, gst::Array::new(self.ended_tracks.iter().copied()));
        }
        unknown.restore_frame(s);
    }
}

impl Face {
    fn to_structure(&self, unknown: &Unknown) -> gst::Structure {
        let mut s = gst::Structure::new_empty(Level::Face.structure_name());
        set(&mut s, &face::ID, u64::from(self.id));
        set(&mut s, &face::X, f64::from(self.bbox.x));
        set(&mut s, &face::Y, f64::from(self.bbox.y));
        set(&mut s, &face::W, f64::from(self.bbox.w));
        set(&mut s, &face::H, f64::from(self.bbox.h));
        set(&mut s, &face::OBSERVED, self.observed);
        set(&mut s, &face::SCORE, f64::from(self.score));
        if let Some(landmarks) = &self.landmarks {
            let points = landmarks.0.iter().flat_map(|p| [p.x, p.y]).map(f64::from);
            set(&mut s, &face::LANDMARKS, gst::Array::new(points));
        }
        set_opt(&mut s, &face::QUALITY, self.quality.map(f64::from));
        self.fill_track(&mut s);
        self.fill_identity(&mut s);
        if let Some(pose) = self.pose {
            set(&mut s, &face::POSE, gst::Array::new(pose.map(f64::from)));
        }
        if !self.attributes.is_empty() {
            set(&mut s, &face::ATTRIBUTES, structures(&self.attributes, Attribute::to_structure));
        }
        unknown.restore_face(self.id, &mut s);
        s
    }

    fn fill_track(&self, s: &mut gst::StructureRef) {
        set(s, &face::TRACK_ID, self.track_id);
        if self.was_id != 0 {
            set(s, &face::WAS_ID, self.was_id);
        }
        set(s, &face::TRACK_STATE, self.track_state.as_str());
        set_opt(s, &face::FIRST_SEEN, self.first_seen_ns);
        if !self.zones.is_empty() {
            set(s, &face::ZONES, gst::Array::new(self.zones.iter().map(|z| text(z))));
        }
    }

    fn fill_identity(&self, s: &mut gst::StructureRef) {
        set(s, &face::STATUS, self.status.as_str());
        set(s, &face::FILTER, text(&self.filter));
        set_opt(s, &face::PERSON_ID, self.person_id.as_deref().map(text));
        set_opt(s, &face::NAME, self.name.as_deref().map(text));
        set_opt(s, &face::SIMILARITY, self.similarity.map(f64::from));
        set_opt(s, &face::MARGIN, self.margin.map(f64::from));
        if !self.top_k.is_empty() {
            set(s, &face::TOP_K, structures(&self.top_k, candidate_structure));
        }
        set(s, &face::CONFIRMED, self.confirmed);
        set_opt(s, &face::EMBEDDING, self.embedding.as_deref().map(glib::Bytes::from));
        set_opt(s, &face::FINGERPRINT, self.fingerprint.as_deref().map(text));
    }
}

fn event_structure(e: &Event, unknown: &Unknown) -> gst::Structure {
    let mut s = gst::Structure::new_empty(Level::Event.structure_name());
    set(&mut s, &event::ID, text(&e.id));
    set(&mut s, &event::KIND, text(&e.kind));
    set(&mut s, &event::TRACK_ID, e.track_id);
    set_opt(&mut s, &event::PERSON_ID, e.person_id.as_deref().map(text));
    set_opt(&mut s, &event::NAME, e.name.as_deref().map(text));
    set_opt(&mut s, &event::SIMILARITY, e.similarity.map(f64::from));
    set_opt(&mut s, &event::RUNNING_TIME, e.running_time_ns);
    set_opt(&mut s, &event::UTC, e.utc.as_deref().map(text));
    set_opt(&mut s, &event::CAMERA, e.camera.as_deref().map(text));
    set_opt(&mut s, &event::PREVIOUS_PERSON_ID, e.previous_person_id.as_deref().map(text));
    set_opt(&mut s, &event::PREVIOUS_NAME, e.previous_name.as_deref().map(text));
    if !e.top_k.is_empty() {
        set(&mut s, &event::TOP_K, structures(&e.top_k, candidate_structure));
    }
    set_opt(&mut s, &event::ZONE, e.zone.as_deref().map(text));
    set_opt(&mut s, &event::DWELL, e.dwell_ns);
    if e.dry_run {
        set(&mut s, &event::DRY_RUN, true);
    }
    unknown.restore_event(&e.id, &mut s);
    s
}

/// A person that a face may be, as in `top-k`.
pub(crate) fn candidate_structure(c: &Candidate) -> gst::Structure {
    let mut s = gst::Structure::new_empty(Level::Candidate.structure_name());
    set(&mut s, &candidate::PERSON_ID, text(&c.person_id));
    set(&mut s, &candidate::NAME, text(&c.name));
    set(&mut s, &candidate::SIMILARITY, f64::from(c.similarity));
    s
}

impl Attribute {
    fn to_structure(&self) -> gst::Structure {
        let mut s = gst::Structure::new_empty(Level::Attribute.structure_name());
        set(&mut s, &attribute::NAME, text(&self.name));
        set(&mut s, &attribute::LABEL, text(&self.label));
        set_opt(&mut s, &attribute::CONFIDENCE, self.confidence.map(f64::from));
        s
    }
}

/// A string as GLib can hold it: what is from outside may have a NUL inside, which ends a C string.
pub(crate) fn text(s: &str) -> String {
    s.replace('\0', "\u{FFFD}")
}

fn set(s: &mut gst::StructureRef, field: &Field, value: impl Into<glib::Value> + Send) {
    s.set(field.name, value);
}

fn set_opt(s: &mut gst::StructureRef, field: &Field, value: Option<impl Into<glib::Value> + Send>) {
    if let Some(value) = value {
        s.set(field.name, value);
    }
}

fn structures<T>(items: &[T], to_structure: impl Fn(&T) -> gst::Structure) -> gst::Array {
    gst::Array::new(items.iter().map(|item| to_structure(item).to_send_value()))
}
