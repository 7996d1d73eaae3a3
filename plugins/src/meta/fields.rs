//! The table of all fields of `GstFaceMeta`. The reader and the writer take names from here, and
//! the tables of docs/metadata.md are generated from it.

/// The structure that a field belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Frame,
    Face,
    Event,
    Candidate,
    Attribute,
}

impl Level {
    pub const ALL: [Level; 5] =
        [Level::Frame, Level::Face, Level::Event, Level::Candidate, Level::Attribute];

    /// Name of the `GstStructure` of this level.
    pub const fn structure_name(self) -> &'static str {
        match self {
            Level::Frame => super::META_NAME,
            Level::Face => "face",
            Level::Event => "event",
            Level::Candidate => "candidate",
            Level::Attribute => "attribute",
        }
    }
}

/// How a field is stored in the structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    UInt64,
    Double,
    Bool,
    String,
    Bytes,
    Fraction,
    /// An array of exactly this many doubles.
    Doubles(usize),
    Strings,
    UInt64s,
    /// An array of structures of that level.
    Structures(Level),
}

impl Kind {
    /// The type as C and Python programs know it.
    pub fn describe(self) -> String {
        match self {
            Kind::Int => "int".to_owned(),
            Kind::UInt64 => "uint64".to_owned(),
            Kind::Double => "double".to_owned(),
            Kind::Bool => "boolean".to_owned(),
            Kind::String => "string".to_owned(),
            Kind::Bytes => "GBytes".to_owned(),
            Kind::Fraction => "GstFraction".to_owned(),
            Kind::Doubles(n) => format!("array of {n} double"),
            Kind::Strings => "array of string".to_owned(),
            Kind::UInt64s => "array of uint64".to_owned(),
            Kind::Structures(level) => {
                format!("array of GstStructure `{}`", level.structure_name())
            }
        }
    }
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub level: Level,
    pub name: &'static str,
    pub kind: Kind,
    /// Unit or range; empty when there is none.
    pub unit: &'static str,
    /// An optional field may be missing; the meaning says what that stands for.
    pub optional: bool,
    pub meaning: &'static str,
}

macro_rules! fields {
    ($module:ident, $level:ident: $($id:ident = $name:literal, $kind:expr, $unit:literal, $need:ident, $meaning:literal;)*) => {
        pub(crate) mod $module {
            #[allow(unused_imports)]
            use super::{Field, Kind, Kind::*, Level};
            $(pub(crate) const $id: Field = Field {
                level: Level::$level,
                name: $name,
                kind: $kind,
                unit: $unit,
                optional: fields!(@optional $need),
                meaning: $meaning,
            };)*
            pub(crate) const ALL: &[Field] = &[$($id),*];
        }
    };
    (@optional required) => { false };
    (@optional optional) => { true };
}

fields! { frame, Frame:
    VERSION = "version", Int, "", required, "version of this contract, now 1; a higher one only adds or changes optional fields";
    FRAME_ID = "frame-id", UInt64, "frames", required, "frames since stream-start, counted by facedetect";
    LOOKED = "looked", Bool, "", required, "true: a detector ran on this frame; false: faces of it can only be predicted ones";
    WIDTH = "width", Int, "px", required, "width of the picture that the fractions were taken from, stored pixels";
    HEIGHT = "height", Int, "px", required, "its height";
    PAR = "par", Fraction, "", optional, "its pixel aspect ratio; missing: 1/1";
    DETECTOR = "detector", String, "", optional, "registry id of the detector";
    FACES = "faces", Structures(Level::Face), "", required, "the faces, possibly none";
    EVENTS = "events", Structures(Level::Event), "", optional, "what happened lately; one id may stand on many buffers: act once per id";
    ENDED_TRACKS = "ended-tracks", UInt64s, "", optional, "ids of the tracks that ended on this frame";
}

fields! { face, Face:
    ID = "id", UInt64, "", required, "unique in the frame, equal to the id of the face's region-of-interest meta";
    X = "x", Double, "fraction of the width", required, "left edge of the box; less than 0 when the box begins outside the picture";
    Y = "y", Double, "fraction of the height", required, "upper edge of the box";
    W = "w", Double, "fraction of the width", required, "width of the box, more than 0";
    H = "h", Double, "fraction of the height", required, "height of the box, more than 0";
    OBSERVED = "observed", Bool, "", required, "true: detected on this frame; false: predicted by facetrack, without landmarks";
    SCORE = "score", Double, "0..1", required, "detection score; of a predicted face that of its last detection";
    LANDMARKS = "landmarks", Doubles(10), "fractions", optional, "x and y in turn of the image-left eye, image-right eye, nose tip, image-left and image-right mouth corner";
    QUALITY = "quality", Double, "0..1", optional, "quality of the crop for recognition";
    TRACK_ID = "track-id", UInt64, "", optional, "id of the track; 0 or missing: none";
    WAS_ID = "was-id", UInt64, "", optional, "id that the track had before it was joined with an older one; 0 or missing: none";
    TRACK_STATE = "track-state", String, "none, tentative, confirmed, lost", optional, "state of the track; missing: none";
    FIRST_SEEN = "first-seen", UInt64, "ns of running time", optional, "first observation of the track";
    ZONES = "zones", Strings, "", optional, "names of the zones that hold the face";
    STATUS = "status", String, "untracked, identifying, confirming, known, unknown, uncertain, filtered, error", optional, "what is known of the identity; missing: untracked";
    FILTER = "filter", String, "", optional, "why the face was not looked at; empty or missing: it was";
    PERSON_ID = "person-id", String, "", optional, "id of the person in the gallery";
    NAME = "name", String, "", optional, "name of the person";
    SIMILARITY = "similarity", Double, "cosine, -1..1", optional, "similarity with the nearest person";
    MARGIN = "margin", Double, "cosine", optional, "similarity minus that of the second person";
    TOP_K = "top-k", Structures(Level::Candidate), "", optional, "nearest persons, best first";
    CONFIRMED = "confirmed", Bool, "", optional, "true: enough results agree on the identity; missing: false";
    POSE = "pose", Doubles(3), "degrees", optional, "yaw, pitch and roll of the head";
    ATTRIBUTES = "attributes", Structures(Level::Attribute), "", optional, "further estimates, one structure each";
    EMBEDDING = "embedding", Bytes, "", optional, "little-endian 32-bit floats of unit length; only when asked for";
    FINGERPRINT = "fingerprint", String, "", optional, "model family and alignment of the embedding; only equal ones compare";
}

fields! { event, Event:
    ID = "id", String, "UUID", required, "the same on every buffer that repeats the event";
    KIND = "kind", String, "", required, "what happened: known-face, unknown-face, face-disappeared, identity-changed, face-identity, zone-enter, zone-exit, zone-dwell, or another word";
    TRACK_ID = "track-id", UInt64, "", optional, "id of the track; 0 or missing: none";
    PERSON_ID = "person-id", String, "", optional, "id of the person in the gallery";
    NAME = "name", String, "", optional, "name of the person";
    SIMILARITY = "similarity", Double, "cosine, -1..1", optional, "similarity with that person; of somebody unknown with the nearest one";
    RUNNING_TIME = "running-time", UInt64, "ns of running time", optional, "when it happened";
    UTC = "utc", String, "RFC 3339", optional, "the same as wall-clock time";
    CAMERA = "camera", String, "", optional, "name of the camera, as set on the element that tells";
    PREVIOUS_PERSON_ID = "previous-person-id", String, "", optional, "person that the track was before";
    PREVIOUS_NAME = "previous-name", String, "", optional, "name of that person";
    TOP_K = "top-k", Structures(Level::Candidate), "", optional, "nearest persons, best first";
    ZONE = "zone", String, "", optional, "name of the zone that it is about";
    DWELL = "dwell", UInt64, "ns", optional, "how long the face has been in the zone";
    DRY_RUN = "dry-run", Bool, "", optional, "true: for trial, nobody is to act; missing: false";
}

fields! { candidate, Candidate:
    PERSON_ID = "person-id", String, "", required, "id of the person in the gallery";
    NAME = "name", String, "", required, "name of the person";
    SIMILARITY = "similarity", Double, "cosine, -1..1", required, "similarity with that person";
}

fields! { attribute, Attribute:
    NAME = "name", String, "", required, "what was estimated";
    LABEL = "label", String, "", required, "the estimate";
    CONFIDENCE = "confidence", Double, "0..1", optional, "confidence of the estimate";
}

/// All fields of a level, in the order of the documentation.
pub fn fields(level: Level) -> &'static [Field] {
    match level {
        Level::Frame => frame::ALL,
        Level::Face => face::ALL,
        Level::Event => event::ALL,
        Level::Candidate => candidate::ALL,
        Level::Attribute => attribute::ALL,
    }
}

/// The Markdown table of a level, as docs/metadata.md has it.
pub fn markdown_table(level: Level) -> String {
    let mut table =
        String::from("| field | type | unit or range | | meaning |\n|---|---|---|---|---|\n");
    for f in fields(level) {
        let need = if f.optional { "optional" } else { "required" };
        let row = format!(
            "| `{}` | {} | {} | {need} | {} |\n",
            f.name,
            f.kind.describe(),
            f.unit,
            f.meaning
        );
        table.push_str(&row);
    }
    table
}
