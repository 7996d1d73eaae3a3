//! The message `face-track` at the end of a track.

use std::time::SystemTime;

use face_core::identity::summary::{BestShot, Tally, TrackSummary};
use gst::glib;
use gst::prelude::*;

use crate::camera_time;
use crate::meta;

/// Name of the message, which facetrack posts where no facerecognize does.
pub(super) const FACE_TRACK: &str = "face-track";

pub(super) fn message(
    track: &TrackSummary,
    camera: Option<&str>,
    taken: Option<SystemTime>,
) -> gst::Structure {
    let mut s = gst::Structure::builder(FACE_TRACK)
        .field("track-id", track.track_id)
        .field("first-seen", track.first_seen_ns)
        .field("last-seen", track.last_seen_ns)
        .field("observations", track.observations)
        .field("status", track.status.as_str())
        .field("confirmed", track.confirmed)
        .field("votes", gst::Array::new(track.tallies.iter().map(vote)))
        .field("zones", gst::Array::new(track.dwell_ns.iter().map(|(name, ns)| zone(name, *ns))))
        .build();
    if track.was_id != 0 {
        s.set("was-id", track.was_id);
    }
    if let Some(person) = &track.person {
        s.set("person-id", meta::text(&person.person_id));
        s.set("name", meta::text(&person.name));
    }
    if let Some(similarity) = track.mean_similarity() {
        s.set("mean-similarity", f64::from(similarity));
    }
    if let Some(best) = &track.best {
        set_best(&mut s, best);
    }
    if let Some(camera) = camera {
        s.set("camera", meta::text(camera));
    }
    s.set("utc", camera_time::text(taken));
    s
}

fn vote(tally: &Tally) -> glib::SendValue {
    let mut s = gst::Structure::builder("vote").field("votes", tally.votes).build();
    if let Some((id, name)) = &tally.person {
        s.set("person-id", meta::text(id));
        s.set("name", meta::text(name));
    }
    if let Some(similarity) = tally.mean_similarity {
        s.set("mean-similarity", f64::from(similarity));
    }
    s.to_send_value()
}

fn zone(name: &str, dwell_ns: u64) -> glib::SendValue {
    let s = gst::Structure::builder("zone").field("name", meta::text(name));
    s.field("dwell-time", dwell_ns).build().to_send_value()
}

fn set_best(s: &mut gst::Structure, best: &BestShot) {
    let b = best.bbox;
    s.set("best-box", gst::Array::new([b.x, b.y, b.w, b.h].map(f64::from)));
    s.set("best-time", best.time_ns);
    if let Some(quality) = best.quality {
        s.set("best-quality", f64::from(quality));
    }
    if let Some(png) = best.crop.as_ref().and_then(|crop| crop.to_png().ok()) {
        s.set("crop", glib::Bytes::from_owned(png));
    }
}
