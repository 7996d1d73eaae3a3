//! Elements that the pads' own threads run a stream through, on its way to the recorder: a parser, or
//! an encoder. No thread, no queue: what is pushed in has come out when the call returns, but for what
//! an encoder holds back.

use std::sync::Arc;

use gst::prelude::*;

/// What comes out of an inlet, on the thread that pushed.
pub(super) trait Outlet: Send + Sync + 'static {
    fn buffer(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError>;
    fn event(&self, event: gst::Event);
}

/// A row of elements in the bin, between two pads of ours.
#[derive(Debug)]
pub(super) struct Inlet {
    entry: gst::Pad,
    exit: gst::Pad,
    elements: Vec<gst::Element>,
}

impl Inlet {
    /// Puts the elements into `bin`, linked in this order.
    pub(super) fn new(
        bin: &gst::Bin,
        elements: Vec<gst::Element>,
        outlet: Arc<dyn Outlet>,
    ) -> Result<Self, glib::BoolError> {
        let (Some(first), Some(last)) = (elements.first(), elements.last()) else {
            return Err(glib::bool_error!("there is no element"));
        };
        let pad = |element: &gst::Element, name: &str| {
            let found = element.static_pad(name);
            found.ok_or_else(|| glib::bool_error!("{} has no pad {name}", element.name()))
        };
        let (head, tail) = (pad(first, "sink")?, pad(last, "src")?);
        let entry = gst::Pad::builder(gst::PadDirection::Src).name("entry").build();
        let events = outlet.clone();
        let exit = gst::Pad::builder(gst::PadDirection::Sink)
            .name("exit")
            .chain_function(move |_, _, buffer| outlet.buffer(buffer))
            .event_function(move |_, _, event| {
                events.event(event);
                true
            })
            .query_function(|pad, parent, query| match query.view_mut() {
                // Without a template, a pad takes what it has already and nothing else.
                gst::QueryViewMut::AcceptCaps(query) => {
                    query.set_result(true);
                    true
                }
                gst::QueryViewMut::Caps(query) => {
                    let all = query.filter_owned().unwrap_or_else(gst::Caps::new_any);
                    query.set_result(&all);
                    true
                }
                _ => gst::Pad::query_default(pad, parent, query),
            })
            .build();
        let inlet = Self { entry, exit, elements };
        let built = bin
            .add_many(&inlet.elements)
            .and_then(|()| gst::Element::link_many(&inlet.elements))
            .and_then(|()| inlet.open(&head, &tail));
        match built {
            Ok(()) => Ok(inlet),
            Err(error) => {
                inlet.close(bin);
                Err(error)
            }
        }
    }

    fn open(&self, head: &gst::Pad, tail: &gst::Pad) -> Result<(), glib::BoolError> {
        self.entry.set_active(true)?;
        self.exit.set_active(true)?;
        // The pads belong to no element: only that is not checked.
        let checks = gst::PadLinkCheck::CAPS;
        let linked = self.entry.link_full(head, checks);
        linked
            .and_then(|_| tail.link_full(&self.exit, checks))
            .map_err(|error| glib::bool_error!("{} cannot be linked: {error:?}", head.name()))?;
        for element in self.elements.iter().rev() {
            element.sync_state_with_parent()?;
        }
        Ok(())
    }

    pub(super) fn push(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.entry.push(buffer)
    }

    pub(super) fn event(&self, event: gst::Event) -> bool {
        self.entry.push_event(event)
    }

    /// Asks the encoder for a key picture.
    pub(super) fn force_key_picture(&self) {
        let event = gst_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build();
        self.entry.push_event(event);
    }

    /// Nothing comes out any more.
    pub(super) fn stop(&self) {
        // Fails only for a pad that is not active already.
        let _ = self.exit.set_active(false);
        let _ = self.entry.set_active(false);
    }

    /// Takes the elements out of the bin.
    pub(super) fn close(&self, bin: &gst::Bin) {
        self.stop();
        for element in &self.elements {
            // Down to Null it cannot fail, and one that was never added need not be removed.
            element.set_locked_state(true);
            let _ = element.set_state(gst::State::Null);
            let _ = bin.remove(element);
        }
    }
}
