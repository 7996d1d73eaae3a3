//! Reading `GstFaceMeta`, which anybody may have written: every field is checked.

use std::collections::HashMap;

use face_core::geometry::{BBox, Landmarks, Point};
use face_core::identity::Status;

use super::fields::{Field, Kind, Level, attribute, candidate, event, face, fields, frame};
use super::{
    Attribute, Candidate, Event, Face, FrameFaces, META_NAME, TrackState, VERSION, register,
};

/// Why a meta cannot be read. `field` is the path of the field, for instance `faces[2].w`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetaError {
    #[error("read GstFaceMeta: field '{field}' is missing")]
    Missing { field: String },
    #[error("read GstFaceMeta: field '{field}' has type {got}, {wanted} wanted")]
    Type { field: String, wanted: String, got: String },
    #[error("read GstFaceMeta: field '{field}' is {value}, {wanted} wanted")]
    Value { field: String, value: String, wanted: &'static str },
}

impl FrameFaces {
    /// True if the buffer has the meta, well-formed or not.
    pub fn is_on(buffer: &gst::BufferRef) -> bool {
        register();
        gst::meta::CustomMeta::from_buffer(buffer, META_NAME).is_ok()
    }

    /// Reads the meta of a buffer; `None` if it has none. A meta of a newer version is read
    /// leniently: an optional field that cannot be understood counts as missing.
    ///
    /// # Errors
    /// [`MetaError`] names the first field that is missing, of the wrong type or out of range.
    pub fn read(buffer: &gst::BufferRef) -> Option<Result<FrameFaces, MetaError>> {
        register();
        let meta = gst::meta::CustomMeta::from_buffer(buffer, META_NAME).ok()?;
        Some(parse(meta.structure(), None).map(|(faces, _)| faces))
    }
}

/// Reads the meta of `buffer`, lets `change` work on it and writes it back; `None` if the buffer
/// has no meta. Fields that this version does not know are kept on the frame, on faces that keep
/// their id, and on events that keep theirs, and so is a newer version number.
///
/// # Errors
/// As [`FrameFaces::read`]; the meta is left as it was.
pub fn update<R>(
    buffer: &mut gst::BufferRef,
    change: impl FnOnce(&mut FrameFaces) -> R,
) -> Option<Result<R, MetaError>> {
    let (mut faces, origin) = match open(buffer)? {
        Ok(opened) => opened,
        Err(error) => return Some(Err(error)),
    };
    let result = change(&mut faces);
    origin.write(&faces, buffer);
    Some(Ok(result))
}

/// What is put back with the faces of a meta that was read to be changed.
#[derive(Debug)]
pub(crate) struct Origin {
    version: i32,
    unknown: Unknown,
}

impl Origin {
    /// Writes the faces in place of those that were read, as [`update`] does.
    pub(crate) fn write(&self, faces: &FrameFaces, buffer: &mut gst::BufferRef) {
        faces.write_keeping(buffer, self.version, &self.unknown);
    }
}

/// Reads the meta of `buffer` in order to change it: [`update`] in two steps, for those who need
/// the buffer in between.
///
/// # Errors
/// As [`FrameFaces::read`].
pub(crate) fn open(buffer: &gst::BufferRef) -> Option<Result<(FrameFaces, Origin), MetaError>> {
    register();
    let meta = gst::meta::CustomMeta::from_buffer(buffer, META_NAME).ok()?;
    let mut unknown = Unknown::default();
    let parsed = parse(meta.structure(), Some(&mut unknown));
    Some(parsed.map(|(faces, version)| (faces, Origin { version: version.max(VERSION), unknown })))
}

type Fields = Vec<(String, glib::SendValue)>;

/// Fields that the reader did not know or, in a meta of a newer version, did not understand.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    frame: Fields,
    faces: HashMap<u32, Fields>,
    events: HashMap<String, Fields>,
}

impl Unknown {
    pub(super) fn restore_frame(&self, s: &mut gst::StructureRef) {
        restore(&self.frame, s);
    }

    pub(super) fn restore_face(&self, id: u32, s: &mut gst::StructureRef) {
        if let Some(fields) = self.faces.get(&id) {
            restore(fields, s);
        }
    }

    pub(super) fn restore_event(&self, id: &str, s: &mut gst::StructureRef) {
        if let Some(fields) = self.events.get(id) {
            restore(fields, s);
        }
    }
}

fn restore(fields: &Fields, s: &mut gst::StructureRef) {
    for (name, value) in fields {
        if !s.has_field(name.as_str()) {
            s.set_value(name.as_str(), value.clone());
        }
    }
}

fn parse(
    s: &gst::StructureRef,
    mut unknown: Option<&mut Unknown>,
) -> Result<(FrameFaces, i32), MetaError> {
    let mut r = Reader { s, path: String::new(), lenient: false, skipped: Vec::new() };
    let version = r.int(&frame::VERSION)?;
    if version < 1 {
        return Err(r.value(&frame::VERSION, version, "1 or more"));
    }
    r.lenient = version > VERSION;
    let mut faces = FrameFaces {
        frame_id: r.required(&frame::FRAME_ID, as_u64)?,
        looked: r.required(&frame::LOOKED, as_bool)?,
        width: r.size(&frame::WIDTH)?,
        height: r.size(&frame::HEIGHT)?,
        par: r.par()?,
        detector: r.optional(&frame::DETECTOR, as_string)?.unwrap_or_default(),
        ended_tracks: r.optional(&frame::ENDED_TRACKS, as_u64s)?.unwrap_or_default(),
        ..Default::default()
    };
    for mut face in r.structures(&frame::FACES)? {
        let parsed = parse_face(&mut face)?;
        if let Some(unknown) = unknown.as_deref_mut() {
            unknown.faces.insert(parsed.id, face.unknown(Level::Face));
        }
        faces.faces.push(parsed);
    }
    for mut event in r.structures(&frame::EVENTS)? {
        let parsed = parse_event(&mut event)?;
        if let Some(unknown) = unknown.as_deref_mut() {
            unknown.events.insert(parsed.id.clone(), event.unknown(Level::Event));
        }
        faces.events.push(parsed);
    }
    if let Some(unknown) = unknown {
        unknown.frame = r.unknown(Level::Frame);
    }
    Ok((faces, version))
}

fn parse_face(r: &mut Reader) -> Result<Face, MetaError> {
    let id = r.required(&face::ID, as_u64)?;
    let id = u32::try_from(id).map_err(|_| r.value(&face::ID, id, "less than 2^32"))?;
    let mut parsed = Face {
        id,
        bbox: parse_box(r)?,
        observed: r.required(&face::OBSERVED, as_bool)?,
        score: r.double(&face::SCORE)?,
        landmarks: r
            .doubles::<10>(&face::LANDMARKS)?
            .map(|v| Landmarks(std::array::from_fn(|i| Point::new(v[2 * i], v[2 * i + 1])))),
        quality: r.optional_double(&face::QUALITY)?,
        track_id: r.optional(&face::TRACK_ID, as_u64)?.unwrap_or(0),
        was_id: r.optional(&face::WAS_ID, as_u64)?.unwrap_or(0),
        track_state: r.name(&face::TRACK_STATE, TrackState::parse)?.unwrap_or_default(),
        first_seen_ns: r.optional(&face::FIRST_SEEN, as_u64)?,
        zones: r.optional(&face::ZONES, as_strings)?.unwrap_or_default(),
        pose: r.doubles::<3>(&face::POSE)?,
        ..Default::default()
    };
    parse_identity(r, &mut parsed)?;
    for mut attribute in r.structures(&face::ATTRIBUTES)? {
        parsed.attributes.push(Attribute {
            name: attribute.required(&attribute::NAME, as_string)?,
            label: attribute.required(&attribute::LABEL, as_string)?,
            confidence: attribute.optional_double(&attribute::CONFIDENCE)?,
        });
    }
    Ok(parsed)
}

fn parse_box(r: &mut Reader) -> Result<BBox, MetaError> {
    let bbox = BBox::new(
        r.double(&face::X)?,
        r.double(&face::Y)?,
        r.double(&face::W)?,
        r.double(&face::H)?,
    );
    for (field, value) in [(&face::W, bbox.w), (&face::H, bbox.h)] {
        if value <= 0.0 {
            return Err(r.value(field, value, "more than 0"));
        }
    }
    Ok(bbox)
}

fn parse_identity(r: &mut Reader, parsed: &mut Face) -> Result<(), MetaError> {
    parsed.status = r.name(&face::STATUS, Status::parse)?.unwrap_or_default();
    parsed.filter = r.optional(&face::FILTER, as_string)?.unwrap_or_default();
    parsed.person_id = r.optional(&face::PERSON_ID, as_string)?;
    parsed.name = r.optional(&face::NAME, as_string)?;
    parsed.similarity = r.optional_double(&face::SIMILARITY)?;
    parsed.margin = r.optional_double(&face::MARGIN)?;
    parsed.confirmed = r.optional(&face::CONFIRMED, as_bool)?.unwrap_or(false);
    parsed.embedding = r.optional(&face::EMBEDDING, as_bytes)?;
    parsed.fingerprint = r.optional(&face::FINGERPRINT, as_string)?;
    parsed.top_k = parse_candidates(r, &face::TOP_K)?;
    Ok(())
}

fn parse_candidates(r: &mut Reader, field: &Field) -> Result<Vec<Candidate>, MetaError> {
    let mut candidates = Vec::new();
    for mut entry in r.structures(field)? {
        candidates.push(Candidate {
            person_id: entry.required(&candidate::PERSON_ID, as_string)?,
            name: entry.required(&candidate::NAME, as_string)?,
            similarity: entry.double(&candidate::SIMILARITY)?,
        });
    }
    Ok(candidates)
}

fn parse_event(r: &mut Reader) -> Result<Event, MetaError> {
    Ok(Event {
        id: r.required(&event::ID, as_string)?,
        kind: r.required(&event::KIND, as_string)?,
        track_id: r.optional(&event::TRACK_ID, as_u64)?.unwrap_or(0),
        person_id: r.optional(&event::PERSON_ID, as_string)?,
        name: r.optional(&event::NAME, as_string)?,
        similarity: r.optional_double(&event::SIMILARITY)?,
        running_time_ns: r.optional(&event::RUNNING_TIME, as_u64)?,
        utc: r.optional(&event::UTC, as_string)?,
        camera: r.optional(&event::CAMERA, as_string)?,
        previous_person_id: r.optional(&event::PREVIOUS_PERSON_ID, as_string)?,
        previous_name: r.optional(&event::PREVIOUS_NAME, as_string)?,
        top_k: parse_candidates(r, &event::TOP_K)?,
        zone: r.optional(&event::ZONE, as_string)?,
        dwell_ns: r.optional(&event::DWELL, as_u64)?,
        dry_run: r.optional(&event::DRY_RUN, as_bool)?.unwrap_or(false),
    })
}

/// One structure of the meta and where it stands in it.
struct Reader<'a> {
    s: &'a gst::StructureRef,
    /// Prefix of the field paths in errors: empty, or `faces[2].`.
    path: String,
    /// The meta is of a newer version.
    lenient: bool,
    /// Optional fields that were there and could not be understood.
    skipped: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    fn field(&self, field: &Field) -> String {
        format!("{}{}", self.path, field.name)
    }

    fn value(&self, field: &Field, value: impl ToString, wanted: &'static str) -> MetaError {
        MetaError::Value { field: self.field(field), value: value.to_string(), wanted }
    }

    fn wrong_type(&self, field: &Field, value: &glib::Value) -> MetaError {
        let (wanted, got) = (field.kind.describe(), value.type_().name().to_owned());
        MetaError::Type { field: self.field(field), wanted, got }
    }

    fn required<T>(
        &mut self,
        field: &Field,
        convert: impl FnOnce(&glib::Value) -> Option<T>,
    ) -> Result<T, MetaError> {
        match self.s.value(field.name) {
            Ok(value) => convert(value).ok_or_else(|| self.wrong_type(field, value)),
            Err(_) => Err(MetaError::Missing { field: self.field(field) }),
        }
    }

    fn optional<T>(
        &mut self,
        field: &Field,
        convert: impl FnOnce(&glib::Value) -> Option<T>,
    ) -> Result<Option<T>, MetaError> {
        let Ok(value) = self.s.value(field.name) else {
            return Ok(None);
        };
        // A NULL string is how C code says "none".
        if matches!(value.get::<Option<&str>>(), Ok(None)) {
            return Ok(None);
        }
        let result = convert(value).ok_or_else(|| self.wrong_type(field, value));
        self.lenient(field, result)
    }

    /// Turns an error of an optional field of a newer version into "missing".
    fn lenient<T>(
        &mut self,
        field: &Field,
        result: Result<T, MetaError>,
    ) -> Result<Option<T>, MetaError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(_) if self.lenient && field.optional => {
                self.skipped.push(field.name);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn int(&mut self, field: &Field) -> Result<i32, MetaError> {
        self.required(field, |v| as_integer(v).and_then(|v| i32::try_from(v).ok()))
    }

    fn size(&mut self, field: &Field) -> Result<u32, MetaError> {
        let size = self.int(field)?;
        u32::try_from(size)
            .ok()
            .filter(|size| *size > 0)
            .ok_or_else(|| self.value(field, size, "1 or more"))
    }

    fn par(&mut self) -> Result<(i32, i32), MetaError> {
        let Some(par) = self.optional(&frame::PAR, |v| v.get::<gst::Fraction>().ok())? else {
            return Ok((1, 1));
        };
        let (n, d) = (par.numer(), par.denom());
        let checked = if n > 0 && d > 0 {
            Ok((n, d))
        } else {
            Err(self.value(&frame::PAR, format!("{n}/{d}"), "a positive fraction"))
        };
        Ok(self.lenient(&frame::PAR, checked)?.unwrap_or((1, 1)))
    }

    fn finite(&self, field: &Field, value: f64) -> Result<f32, MetaError> {
        // What a double holds and a float does not is as useless as an infinity.
        let narrow = value as f32;
        if narrow.is_finite() {
            Ok(narrow)
        } else {
            Err(self.value(field, value, "a finite number"))
        }
    }

    fn double(&mut self, field: &Field) -> Result<f32, MetaError> {
        let value = self.required(field, as_double)?;
        self.finite(field, value)
    }

    fn optional_double(&mut self, field: &Field) -> Result<Option<f32>, MetaError> {
        let Some(value) = self.optional(field, as_double)? else {
            return Ok(None);
        };
        let checked = self.finite(field, value);
        self.lenient(field, checked)
    }

    fn doubles<const N: usize>(&mut self, field: &Field) -> Result<Option<[f32; N]>, MetaError> {
        debug_assert_eq!(field.kind, Kind::Doubles(N));
        let Some(values) = self.optional(field, |v| as_array(v, as_double))? else {
            return Ok(None);
        };
        let checked = values
            .iter()
            .map(|v| self.finite(field, *v))
            .collect::<Result<Vec<f32>, _>>()
            .and_then(|v| {
                let count = v.len();
                <[f32; N]>::try_from(v).map_err(|_| {
                    self.value(field, format!("{count} numbers"), "the count of the documentation")
                })
            });
        self.lenient(field, checked)
    }

    fn name<T>(
        &mut self,
        field: &Field,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, MetaError> {
        let Some(name) = self.optional(field, as_string)? else {
            return Ok(None);
        };
        let parsed = parse(&name).ok_or_else(|| self.value(field, format!("'{name}'"), field.unit));
        self.lenient(field, parsed)
    }

    /// Readers of the structures in an array field.
    fn structures(&mut self, field: &Field) -> Result<Vec<Reader<'a>>, MetaError> {
        let s = self.s;
        let Ok(value) = s.value(field.name) else {
            let missing = MetaError::Missing { field: self.field(field) };
            return if field.optional { Ok(Vec::new()) } else { Err(missing) };
        };
        let found = array_items(value)
            .and_then(|items| {
                items.iter().map(|v| v.get::<&gst::StructureRef>().ok()).collect::<Option<Vec<_>>>()
            })
            .ok_or_else(|| self.wrong_type(field, value));
        let found = self.lenient(field, found)?.unwrap_or_default();
        let readers = found.into_iter().enumerate().map(|(i, s)| Reader {
            s,
            path: format!("{}[{i}].", self.field(field)),
            lenient: self.lenient,
            skipped: Vec::new(),
        });
        Ok(readers.collect())
    }

    /// The fields of this structure that the reader did not take.
    fn unknown(&self, level: Level) -> Fields {
        let known = |name: &str| {
            fields(level).iter().any(|f| f.name == name) && !self.skipped.contains(&name)
        };
        let others = self.s.iter().filter(|(name, _)| !known(name));
        others.map(|(name, value)| (name.to_string(), value.clone())).collect()
    }
}

/// An integer of any width: Python makes an `int` of every small number.
fn as_integer(v: &glib::Value) -> Option<i128> {
    (v.get::<u64>().map(i128::from))
        .or_else(|_| v.get::<i64>().map(i128::from))
        .or_else(|_| v.get::<u32>().map(i128::from))
        .or_else(|_| v.get::<i32>().map(i128::from))
        .ok()
}

fn as_u64(v: &glib::Value) -> Option<u64> {
    as_integer(v).and_then(|v| u64::try_from(v).ok())
}

fn as_double(v: &glib::Value) -> Option<f64> {
    v.get::<f64>().or_else(|_| v.get::<f32>().map(f64::from)).ok()
}

fn as_bool(v: &glib::Value) -> Option<bool> {
    v.get().ok()
}

fn as_string(v: &glib::Value) -> Option<String> {
    v.get().ok()
}

fn as_bytes(v: &glib::Value) -> Option<Vec<u8>> {
    v.get::<glib::Bytes>().ok().map(|b| b.to_vec())
}

fn as_strings(v: &glib::Value) -> Option<Vec<String>> {
    as_array(v, as_string)
}

fn as_u64s(v: &glib::Value) -> Option<Vec<u64>> {
    as_array(v, as_u64)
}

fn as_array<T>(v: &glib::Value, convert: impl Fn(&glib::Value) -> Option<T>) -> Option<Vec<T>> {
    array_items(v)?.iter().map(|item| convert(item)).collect()
}

/// The items of an array or, as hand-written structures often have it, a list.
fn array_items(v: &glib::Value) -> Option<&[glib::SendValue]> {
    if let Ok(array) = v.get::<gst::ArrayRef>() {
        return Some(array.as_slice());
    }
    v.get::<gst::ListRef>().ok().map(|list| list.as_slice())
}
