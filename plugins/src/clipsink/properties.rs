//! The properties of clipsink.

use gst::glib;
use gst::prelude::*;

use super::options::{ClipTriggers, Settings};

/// One day: longer clips are recordings.
const LONGEST_NS: u64 = 86_400_000_000_000;
/// What S3 allows for links.
const LONGEST_EXPIRY_S: u32 = 604_800;

type Text = &'static str;

fn string(name: Text, nick: Text, blurb: Text) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).mutable_ready().build()
}

fn flag(name: Text, nick: Text, blurb: Text, value: bool) -> glib::ParamSpec {
    glib::ParamSpecBoolean::builder(name)
        .nick(nick)
        .blurb(blurb)
        .default_value(value)
        .mutable_ready()
        .build()
}

fn time(name: Text, nick: Text, blurb: Text, value: u64) -> glib::ParamSpec {
    let most = LONGEST_NS;
    let spec = glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb).maximum(most);
    spec.default_value(value).mutable_playing().build()
}

pub(super) fn all() -> Vec<glib::ParamSpec> {
    let mut properties = place_properties();
    properties.extend(time_properties());
    properties.extend(content_properties());
    properties.extend(message_properties());
    properties.push(crate::stats::property());
    properties
}

fn place_properties() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    vec![
        string(
            "storage",
            "Storage",
            "Where clips go: a folder, file:///FOLDER or s3://BUCKET/PREFIX?endpoint=…&region=… \
             (unset = what GST_FACE_STORAGE says; without either it is an error)",
        ),
        string("key-prefix", "Key prefix", "Folders before the keys of the clips (unset = none)"),
        string(
            "key-template",
            "Key template",
            "How keys are made, without an ending (unset = \
             {prefix}/{camera}/{yyyy}/{mm}/{dd}/{utc}-{event}-{hash})",
        ),
        string(
            "camera",
            "Camera",
            "Name of the camera in keys, sidecars and messages (unset = none)",
        ),
        string(
            "spool",
            "Spool",
            "Folder on this machine where clips are made and wait until they are stored (unset = \
             what GST_FACE_SPOOL says, else gst-face/spool in the user's state)",
        ),
        glib::ParamSpecUInt64::builder("spool-max-bytes")
            .nick("Bytes of the spool")
            .blurb(
                "Most bytes that wait in the spool to be stored; a clip beyond it is refused by \
                 name. All elements of a process with the same spool must agree",
            )
            .minimum(1 << 20)
            .default_value(defaults.spool_max_bytes)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("link-expiry")
            .nick("Link expiry")
            .blurb("How long links to stored clips are good, in seconds")
            .minimum(1)
            .maximum(LONGEST_EXPIRY_S)
            .default_value(defaults.link_expiry)
            .mutable_ready()
            .build(),
    ]
}

fn time_properties() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    vec![
        time(
            "pre-roll",
            "Pre-roll",
            "What was before the event, in nanoseconds; the clip begins at the key picture before",
            defaults.pre_roll,
        ),
        time(
            "post-roll",
            "Post-roll",
            "What comes after the last event, in nanoseconds",
            defaults.post_roll,
        ),
        glib::ParamSpecUInt64::builder("max-duration")
            .nick("Greatest length")
            .blurb("No clip is extended beyond this, in nanoseconds")
            .minimum(1_000_000_000)
            .maximum(LONGEST_NS)
            .default_value(defaults.max_duration)
            .mutable_playing()
            .build(),
        time(
            "cooldown",
            "Cool-down",
            "No clip begins for this long after the end of one, in nanoseconds. 0: never",
            defaults.cooldown,
        ),
        time(
            "decision-delay",
            "Decision delay",
            "How much later than the picture an event may be told, in nanoseconds: coded pictures \
             are kept for this long besides the pre-roll",
            defaults.decision_delay,
        ),
        glib::ParamSpecUInt64::builder("max-bytes")
            .nick("Bytes kept")
            .blurb(
                "Most bytes of coded pictures that are kept in memory for clips to come, and most \
                 that wait for the disk",
            )
            .minimum(1 << 20)
            .default_value(defaults.max_bytes)
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("on-retrigger", defaults.on_retrigger)
            .nick("On retrigger")
            .blurb("What happens to a clip that is being made when another event comes")
            .mutable_playing()
            .build(),
        glib::ParamSpecFlags::builder::<ClipTriggers>("triggers")
            .nick("Triggers")
            .blurb("Kinds of events that make clips, and that are told; joined by +")
            .default_value(defaults.triggers)
            .mutable_playing()
            .build(),
    ]
}

fn content_properties() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    vec![
        flag(
            "snapshot",
            "Snapshot",
            "Store a JPEG of the best shot beside each clip; faces are copied from raw pictures, \
             of the pad meta or sink",
            defaults.snapshot,
        ),
        flag(
            "sidecar-embeddings",
            "Embeddings in the sidecar",
            "Write the embeddings that the metadata has into the sidecar. They are biometric data",
            defaults.embeddings,
        ),
        string(
            "encoder",
            "Encoder",
            "Element that encodes raw video, such as x264enc (unset = hardware, openh264enc or \
             x264enc, the first that works)",
        ),
        glib::ParamSpecUInt::builder("bitrate")
            .nick("Bit rate")
            .blurb("Of raw video that is encoded, in kbit/s (0 = by size and frame rate)")
            .maximum(200_000)
            .default_value(defaults.bitrate)
            .mutable_ready()
            .build(),
    ]
}

fn message_properties() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    vec![
        string(
            "webhook",
            "Webhook",
            "Address to which events and links to stored clips are posted: https://…, or env:NAME \
             or file:PATH where the address itself is a secret (unset = none)",
        ),
        string(
            "webhook-key",
            "Signing key",
            "Where the key is with which messages are signed: env:NAME or file:PATH (unset = not \
             signed)",
        ),
        string(
            "webhook-token",
            "Bearer token",
            "Where the token of the header Authorization is: env:NAME or file:PATH (unset = none)",
        ),
        flag(
            "webhook-allow-http",
            "Webhook without encryption",
            "Post to http:// addresses of other machines: everybody on the way can read and change \
             the messages",
            defaults.webhook_allow_http,
        ),
        string(
            "exec",
            "Command",
            "Program, with its arguments, that gets events and links on its standard input. No \
             shell is involved (unset = none)",
        ),
        string(
            "message",
            "Message",
            "Template of the message of an event, such as \"{name} at {camera}\" (unset = the event \
             as JSON)",
        ),
        string(
            "message-stored",
            "Message of a stored clip",
            "Template of the message that follows when the clip is stored, such as \"{name}: {url}\" \
             (unset = JSON of format face-clip-stored/1)",
        ),
        glib::ParamSpecEnum::builder_with_default("message-format", defaults.message_format)
            .nick("Message format")
            .blurb("What the templates are written in, and so how values are escaped in them")
            .mutable_ready()
            .build(),
    ]
}
