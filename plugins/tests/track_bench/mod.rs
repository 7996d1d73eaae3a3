//! facetrack in a harness, and faces for it.
#![allow(dead_code, reason = "not every test file uses everything")]

use face_core::geometry::BBox;
use gst::prelude::*;
use gst_check::Harness;
use gstface::meta::{Face, FrameFaces};

use super::meta_support::{init, one_face};

pub(crate) const SIZE: (u32, u32) = (640, 480);
pub(crate) const FRAME_MS: u64 = 40;

/// facetrack with a bus of its own, playing.
pub(crate) struct Bench {
    pub(crate) harness: Harness,
    pub(crate) bus: gst::Bus,
    pub(crate) frames: u64,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Self::with(&[])
    }

    pub(crate) fn with(properties: &[(&str, &str)]) -> Bench {
        init();
        let mut harness = Harness::new("facetrack");
        let element = harness.element().unwrap();
        for (name, value) in properties {
            element.set_property_from_str(name, value);
        }
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        harness.set_src_caps_str("video/x-raw,format=I420,width=640,height=480,framerate=25/1");
        Bench { harness, bus, frames: 0 }
    }

    /// Pushes the next frame with these faces; what facetrack made of it.
    pub(crate) fn push(&mut self, faces: FrameFaces) -> FrameFaces {
        let time = gst::ClockTime::from_mseconds(self.frames * FRAME_MS);
        self.push_at(Some(time), gst::BufferFlags::empty(), faces)
    }

    pub(crate) fn push_at(
        &mut self,
        pts: Option<gst::ClockTime>,
        flags: gst::BufferFlags,
        faces: FrameFaces,
    ) -> FrameFaces {
        let mut buffer = gst::Buffer::new();
        let b = buffer.get_mut().unwrap();
        b.set_pts(pts);
        b.set_flags(flags);
        faces.write(b);
        FrameFaces::read(&self.push_buffer(buffer)).unwrap().unwrap()
    }

    pub(crate) fn push_buffer(&mut self, buffer: gst::Buffer) -> gst::Buffer {
        self.frames += 1;
        self.harness.push_and_pull(buffer).unwrap()
    }

    /// The element messages of that name since the last call; those of other names are lost.
    pub(crate) fn messages(&self, name: &str) -> Vec<gst::Structure> {
        std::iter::from_fn(|| self.bus.pop_filtered(&[gst::MessageType::Element]))
            .filter_map(|m| m.structure().map(|s| s.to_owned()))
            .filter(|s| s.name() == name)
            .collect()
    }

    /// The `face-track` messages since the last call: id, first seen, last seen, observations.
    pub(crate) fn summaries(&self) -> Vec<(u64, u64, u64, u64)> {
        let summary = |s: gst::Structure| {
            let number = |name| s.get::<u64>(name).unwrap();
            let ms = |name| number(name) / 1_000_000;
            (number("track-id"), ms("first-seen"), ms("last-seen"), number("observations"))
        };
        self.messages("face-track").into_iter().map(summary).collect()
    }

    pub(crate) fn warnings(&self) -> Vec<gst::glib::Error> {
        std::iter::from_fn(|| self.bus.pop_filtered(&[gst::MessageType::Warning]))
            .map(|m| match m.view() {
                gst::MessageView::Warning(w) => w.error(),
                _ => unreachable!("only warnings were asked for"),
            })
            .collect()
    }

    pub(crate) fn stat(&self, name: &str) -> u64 {
        let stats: gst::Structure = self.harness.element().unwrap().property("stats");
        stats.get(name).unwrap()
    }
}

/// A face at `x`, moving right by 1 % of the picture per frame where the caller does so.
pub(crate) fn face(x: f32) -> FrameFaces {
    one_face(0, SIZE, BBox::new(x, 0.3, 0.15, 0.25))
}

pub(crate) fn nobody() -> FrameFaces {
    FrameFaces { faces: Vec::new(), ..face(0.0) }
}

pub(crate) fn not_looked() -> FrameFaces {
    FrameFaces { looked: false, ..nobody() }
}

pub(crate) fn only(faces: &FrameFaces) -> &Face {
    let [face] = &faces.faces[..] else { panic!("not one face: {faces:?}") };
    face
}

/// The event by which facerecognize says that the track `new_id` is `old_id` come back.
pub(crate) fn relink(new_id: u64, old_id: u64) -> gst::Event {
    let structure = gst::Structure::builder("face-relink");
    gst::event::CustomUpstream::new(
        structure.field("new-id", new_id).field("old-id", old_id).build(),
    )
}
