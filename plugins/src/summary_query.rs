//! The query by which facetrack learns whether a facerecognize downstream tells of a track that
//! ended. One that does knows names and zones besides times: two messages per track would confuse.

use gst::prelude::*;

const NAME: &str = "face-track-summary";

/// Asks what is linked to this source pad, through whatever is in between.
pub(crate) fn answered(src: &gst::Pad) -> bool {
    let mut query = gst::query::Custom::new(gst::Structure::new_empty(NAME));
    src.peer_query(&mut query)
}

/// Is the query such a one? An element that posts `face-track` answers it with true.
pub(crate) fn is(query: &gst::QueryRef) -> bool {
    query.type_() == gst::QueryType::Custom
        && query.structure().is_some_and(|structure| structure.name() == NAME)
}
