//! The query by which clipsink learns with which models and thresholds faces were found: it goes
//! upstream, and every element of ours on its way adds what it knows.

use face_core::inference::Provider;
use face_core::model::ModelSpec;
use gst::prelude::*;

const NAME: &str = "face-context";

/// Asks what is upstream of this sink pad: a structure for every element, by its name.
pub(crate) fn ask(sink: &gst::Pad) -> Vec<gst::Structure> {
    let mut query = gst::query::Custom::new(gst::Structure::new_empty(NAME));
    // Whether anybody knew anything is seen in the structure.
    sink.peer_query(&mut query);
    let Some(structure) = query.structure() else { return Vec::new() };
    structure.iter().filter_map(|(_, value)| value.get::<gst::Structure>().ok()).collect()
}

/// Is the query such a one, on its way upstream?
pub(crate) fn is(direction: gst::PadDirection, query: &gst::QueryRef) -> bool {
    direction == gst::PadDirection::Src
        && query.type_() == gst::QueryType::Custom
        && query.structure().is_some_and(|structure| structure.name() == NAME)
}

/// What there is to say of a model.
pub(crate) fn model(task: &str, spec: &ModelSpec, provider: Provider) -> gst::structure::Builder {
    gst::Structure::builder("facts")
        .field("provider", provider.as_str())
        .field("task", task)
        .field("model", &spec.id)
        .field("sha256", &spec.file.sha256)
}

/// Adds what an element knows; `factory` is its documented name.
pub(crate) fn add(
    query: &mut gst::QueryRef,
    element: &gst::Element,
    factory: &str,
    facts: gst::structure::Builder,
) {
    let facts = facts.field("element", factory).field("version", env!("CARGO_PKG_VERSION")).build();
    if let gst::QueryViewMut::Custom(query) = query.view_mut() {
        query.structure_mut().set(element.name().as_str(), facts);
    }
}
