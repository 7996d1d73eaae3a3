//! What facerecognize tells the application and the elements upstream.

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;

use super::imp::{CAT, FaceRecognize};
use super::stream::{FACE_IDENTITY, Options, Report};
use crate::meta;

/// What is to be posted once no lock is held.
#[derive(Default)]
pub(super) struct Posts {
    pub(super) report: Report,
    /// New generation of the gallery.
    pub(super) generation: Option<u64>,
    /// Why the gallery cannot be read any more.
    pub(super) outage: Option<String>,
    /// Somebody should have put faces on the buffers.
    pub(super) missing_upstream: bool,
}

impl FaceRecognize {
    pub(super) fn post(&self, posts: Posts, options: &Options) {
        let obj = self.obj();
        if posts.missing_upstream {
            let text = crate::upstream_check::warning();
            gst::element_imp_warning!(self, gst::StreamError::WrongType, ("{text}"));
        }
        if let Some(text) = posts.outage {
            gst::element_imp_warning!(self, gst::ResourceError::Read, ("{text}"));
        }
        let mut messages = Vec::new();
        if let Some(generation) = posts.generation {
            let changed = gst::Structure::builder("gallery-changed");
            messages.push(changed.field("generation", generation).build());
        }
        for news in posts.report.news {
            gst::debug!(CAT, imp = self, "track {} is {:?}", news.track_id, news.person);
            let mut s = gst::Structure::builder(FACE_IDENTITY)
                .field("track-id", news.track_id)
                .field("event-id", &news.event.id);
            if let Some(person) = &news.person {
                s = s
                    .field("person-id", meta::text(&person.person_id))
                    .field("name", meta::text(&person.name))
                    .field("similarity", f64::from(person.similarity));
            }
            if let Some(previous) = &news.previous {
                s = s.field("previous-name", meta::text(&previous.name));
            }
            if let Some(time) = news.event.running_time_ns {
                s = s.field("running-time", time);
            }
            if let Some(utc) = &news.event.utc {
                s = s.field("utc", utc);
            }
            messages.push(s.build());
        }
        messages.extend(posts.report.messages);
        self.post_elements(messages);
        for relink in posts.report.relinks {
            let (new_id, old_id) = (relink.new_id, relink.old_id);
            // Without a facetrack upstream, or if it knows better, the track stays a new one.
            let agreed = obj.sink_pad().push_event(crate::relink::event(new_id, old_id));
            gst::debug!(CAT, imp = self, "track {new_id} is {old_id} come back: {agreed}");
            if let Some(state) = &mut *self.state.lock() {
                state.stream.relinked(relink, agreed, options);
            }
        }
        for track_id in posts.report.splits {
            gst::debug!(CAT, imp = self, "track {track_id} went over to another face");
            // Without a facetrack upstream the track keeps its id.
            let _ = obj.sink_pad().push_event(crate::split::event(track_id));
        }
    }

    pub(super) fn post_elements(&self, structures: Vec<gst::Structure>) {
        let obj = self.obj();
        for structure in structures {
            let message = gst::message::Element::builder(structure).src(&*obj).build();
            // Without a bus nobody listens.
            let _ = obj.post_message(message);
        }
    }
}
