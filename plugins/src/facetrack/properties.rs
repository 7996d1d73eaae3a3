//! The properties of facetrack.

use face_core::track::{SceneCutConfig, TrackerConfig};
use gst::glib;
use gst::prelude::*;

/// One hour, the most that the tracker takes.
const LONGEST_NS: u64 = 3_600_000_000_000;

pub(super) fn all() -> Vec<glib::ParamSpec> {
    let mut properties = association_properties();
    properties.extend(scene_cut_properties());
    properties.extend(zone_properties());
    properties.push(crate::event_hold::property());
    properties.push(crate::stats::property());
    properties
}

type Text = &'static str;

fn float(name: Text, nick: Text, blurb: Text, most: f32, value: f32) -> glib::ParamSpec {
    glib::ParamSpecFloat::builder(name)
        .nick(nick)
        .blurb(blurb)
        .minimum(0.0)
        .maximum(most)
        .default_value(value)
        .mutable_playing()
        .build()
}

fn time(name: Text, nick: Text, blurb: Text, least: u64, value: u64) -> glib::ParamSpec {
    glib::ParamSpecUInt64::builder(name)
        .nick(nick)
        .blurb(blurb)
        .minimum(least)
        .maximum(LONGEST_NS)
        .default_value(value)
        .mutable_playing()
        .build()
}

fn zone_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("zones")
            .nick("Zones")
            .blurb(
                "Polygons with names, as in \"door=0.1,0.2 0.5,0.2 0.5,0.9; !street=0,400 640,400 \
                 640,480 px\": three or more points in fractions of the picture or, before px, in \
                 its pixels; a face in one that has ! before its name is in no zone (unset = no \
                 zones)",
            )
            .mutable_playing()
            .build(),
        time(
            "zone-dwell-time",
            "Zone dwell time",
            "Tell of a track that has been in a zone for this long, in nanoseconds, and again \
             each time it has been there for as long again. 0: never.",
            0,
            0,
        ),
        glib::ParamSpecString::builder("camera")
            .nick("Camera")
            .blurb("Name of the camera in messages and events about zones (unset = none)")
            .mutable_playing()
            .build(),
    ]
}

fn scene_cut_properties() -> Vec<glib::ParamSpec> {
    let default = SceneCutConfig::default();
    vec![
        glib::ParamSpecBoolean::builder("scene-cut")
            .nick("Scene cut")
            .blurb(
                "End all tracks where another scene begins; only then pictures are looked at, \
                 every one of them",
            )
            .mutable_playing()
            .build(),
        float(
            "scene-cut-score",
            "Scene cut score",
            "Least mean difference of hue, saturation and value between two pictures that is a \
             scene cut, 0 to 255.",
            255.0,
            default.score,
        ),
        float(
            "scene-cut-ratio",
            "Scene cut ratio",
            "A scene cut differs at least so many times as much as the four pictures before it \
             did on average.",
            1000.0,
            default.ratio,
        ),
        time(
            "scene-cut-gap",
            "Scene cut gap",
            "Least time between two scene cuts, in nanoseconds.",
            0,
            default.gap_ns,
        ),
    ]
}

fn association_properties() -> Vec<glib::ParamSpec> {
    let default = TrackerConfig::default();
    vec![
        float(
            "high-threshold",
            "High threshold",
            "Faces of at least this detection score (0 to 1) are matched with every track.",
            1.0,
            default.high_threshold,
        ),
        float(
            "low-threshold",
            "Low threshold",
            "Faces of at least this score (0 to 1), but below high-threshold, only continue \
             confirmed tracks; lower ones are ignored. At most high-threshold.",
            1.0,
            default.low_threshold,
        ),
        float(
            "new-threshold",
            "New threshold",
            "A face that belongs to no track opens one from this score (0 to 1) on. At least \
             high-threshold.",
            1.0,
            default.new_threshold,
        ),
        glib::ParamSpecUInt::builder("confirm-hits")
            .nick("Confirm hits")
            .blurb("Looked-at frames in a row with the face before its track is confirmed")
            .minimum(1)
            .default_value(default.confirm_hits)
            .mutable_playing()
            .build(),
        time(
            "max-lost-time",
            "Max lost time",
            "A track not seen for longer than this, in nanoseconds, ends. Until then its face \
             can come back under the same id.",
            1,
            default.max_lost_ns,
        ),
        time(
            "max-predicted-time",
            "Max predicted time",
            "A track gives predicted boxes for this long after it was last seen, in nanoseconds. \
             0: never.",
            0,
            default.max_predicted_ns,
        ),
    ]
}
