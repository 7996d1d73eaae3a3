//! The upstream event by which facerecognize tells facetrack that a track went over to another
//! face: facetrack ends the track, and the face gets a new one.

const NAME: &str = "face-track-split";
const TRACK_ID: &str = "track-id";

pub(crate) fn event(track_id: u64) -> gst::Event {
    let structure = gst::Structure::builder(NAME).field(TRACK_ID, track_id).build();
    gst::event::CustomUpstream::new(structure)
}

/// The track that is to end, if this is such an event.
pub(crate) fn track_id(event: &gst::Event) -> Option<u64> {
    let structure = event.structure().filter(|s| s.name() == NAME)?;
    structure.get(TRACK_ID).ok()
}
