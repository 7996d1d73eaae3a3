//! The upstream event by which facerecognize tells facetrack that a new track is a lost one come
//! back.

const NAME: &str = "face-relink";

/// From the next frame on the track `new_id` is to carry the id `old_id`.
pub(crate) fn event(new_id: u64, old_id: u64) -> gst::Event {
    let structure = gst::Structure::builder(NAME);
    gst::event::CustomUpstream::new(
        structure.field("new-id", new_id).field("old-id", old_id).build(),
    )
}

/// New and old id, if the event is such a one.
pub(crate) fn ids(event: &gst::Event) -> Option<(u64, u64)> {
    let gst::EventView::CustomUpstream(event) = event.view() else { return None };
    let structure = event.structure().filter(|s| s.name() == NAME)?;
    Some((structure.get("new-id").ok()?, structure.get("old-id").ok()?))
}
