//! What facetrack posts. The state is not locked here.

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::imp::{CAT, Cut, FaceTrack, Report};
use super::stream::Ended;
use crate::meta::{self, Event};
use crate::{summary_query, upstream_check};

/// Beginning of the kinds of events that are about zones.
pub(super) const ZONE_KIND: &str = "zone-";

impl FaceTrack {
    /// Posts and logs what a buffer, or an event, gave to tell.
    pub(super) fn post(&self, report: Report) {
        if let Some(cut) = &report.cut {
            self.post_cut(cut);
        }
        if let Some(error) = &report.unreadable {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Format,
                ("scene-cut finds no scene cuts in pictures of these caps: {error}; put a videoconvert before facetrack")
            );
        }
        report.events.iter().for_each(|event| self.post_zone(event));
        self.post_ended(&report.ended);
        if report.no_upstream {
            gst::element_imp_warning!(
                self,
                gst::StreamError::WrongType,
                ("{}", upstream_check::warning())
            );
        }
        if report.borders {
            gst::info!(
                CAT,
                imp = self,
                "the picture has another aspect than the detector's: taken for one with borders added"
            );
        }
        if let Some(error) = report.malformed.filter(|_| self.is_first_malformed()) {
            gst::warning!(CAT, imp = self, "{error}; such buffers pass unchanged");
        }
    }

    fn post_cut(&self, cut: &Cut) {
        let structure = gst::Structure::builder("face-scene-cut")
            .field("running-time", cut.running_ns)
            .field("score", f64::from(cut.score))
            .build();
        gst::debug!(CAT, imp = self, "{structure}");
        self.post_element(structure);
    }

    fn post_zone(&self, event: &Event) {
        let kind = event.kind.strip_prefix(ZONE_KIND).unwrap_or(&event.kind);
        let zone = event.zone.as_deref().unwrap_or_default();
        let structure = gst::Structure::builder("face-zone")
            .field("event", kind)
            .field("zone", meta::text(zone))
            .field("track-id", event.track_id)
            .field("dwell-time", event.dwell_ns.unwrap_or_default())
            .field("event-id", &event.id)
            .field_if_some("running-time", event.running_time_ns)
            .field_if_some("utc", event.utc.as_deref())
            .field_if_some("camera", event.camera.as_deref().map(meta::text))
            .build();
        gst::debug!(CAT, imp = self, "{structure}");
        self.post_element(structure);
    }

    /// Sums up the tracks that were confirmed, unless a facerecognize downstream does.
    fn post_ended(&self, ended: &[Ended]) {
        let confirmed = || ended.iter().filter(|e| e.track.confirmed);
        if confirmed().next().is_none() || self.is_summed_up_downstream() {
            return;
        }
        for Ended { track, best, dwells } in confirmed() {
            let zones = dwells.iter().map(|(name, dwell_ns)| {
                gst::Structure::builder("zone")
                    .field("name", meta::text(name))
                    .field("dwell-time", *dwell_ns)
                    .build()
                    .to_send_value()
            });
            let mut summary = gst::Structure::builder("face-track")
                .field("track-id", track.track_id)
                .field("first-seen", track.first_seen_ns)
                .field("last-seen", track.last_seen_ns)
                .field("observations", track.hits)
                .field("zones", gst::Array::new(zones));
            if let Some(best) = best {
                let b = best.bbox;
                let bbox = gst::Array::new([b.x, b.y, b.w, b.h].map(f64::from));
                summary = summary.field("best-box", bbox).field("best-time", best.time_ns);
            }
            self.post_element(summary.build());
        }
    }

    fn is_summed_up_downstream(&self) -> bool {
        self.obj().static_pad("src").is_some_and(|src| summary_query::answered(&src))
    }

    pub(super) fn post_relinked(&self, new_id: u64, old_id: u64, running_ns: Option<u64>) {
        let structure = gst::Structure::builder("face-track-relinked")
            .field("track-id", old_id)
            .field("was-id", new_id)
            .field_if_some("running-time", running_ns)
            .build();
        self.post_element(structure);
    }

    fn post_element(&self, structure: gst::Structure) {
        let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
        // Without a bus there is nobody to tell.
        let _ = self.obj().post_message(message);
    }
}
