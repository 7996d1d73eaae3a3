//! The action signals of facerecognize. Each answers with a structure: `ok`, `reason`, and what was
//! asked for. None of them holds the element's state while it waits for the gallery.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use face_core::align::AlignedCrop;
use face_core::embed::Embedding;
use face_core::gallery::{Access, Gallery, GalleryError, Roster, Writer};
use face_core::identity::{Status, TrackSample};
use face_core::loose::StoreCrops;
use face_core::recognizer::{
    EnrollError, EnrollRules, EnrolledSamples, Rejection, SampleRules, Stored, gate_samples,
};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::FaceRecognize;
use super::imp;
use crate::crops::{self, CutFace};
use crate::meta::{FrameFaces, text};
use crate::runtime::with_causes;

/// How long a signal waits for the stream, and for the gallery or whoever uses it, together.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(1500);

/// So many signals may go on working for callers who gave up; one more is refused.
const MOST_AT_WORK: usize = 4;

/// What forgetting in a shared gallery leaves, as the field `not-covered` of the answer says.
const NOT_COVERED: &str = "what the server keeps of deleted rows: dead rows until VACUUM FULL, its \
                           write-ahead log and archive, replicas and backups";

type Fields = Vec<(&'static str, glib::SendValue)>;
type Answer = Result<Fields, Refusal>;

/// Why a signal did not do what it was asked for, and what else the answer says.
struct Refusal {
    reason: String,
    fields: Fields,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Refusal { reason, fields: Fields::new() }
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

/// Which pictures of a face that is enrolled through a signal the gallery keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstOnnxFaceStoreCrops")]
pub enum StoreCropsSetting {
    #[enum_value(name = "None: the gallery cannot go to another embedder", nick = "never")]
    Never,
    /// Enough for every embedder of the same alignment.
    #[default]
    #[enum_value(name = "The aligned face", nick = "aligned")]
    Aligned,
    #[enum_value(name = "The aligned face and the face with its surroundings", nick = "loose")]
    Loose,
}

/// The properties of the signals that enrol.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EnrollSettings {
    store_crops: StoreCropsSetting,
    force: bool,
}

impl EnrollSettings {
    pub(super) fn properties() -> [glib::ParamSpec; 2] {
        let defaults = EnrollSettings::default();
        [
            glib::ParamSpecEnum::builder_with_default("store-crops", defaults.store_crops)
                .nick("Stored crops")
                .blurb(
                    "Pictures that the gallery keeps of faces enrolled through the signals: never, \
                     the aligned face, or also the loose one with its surroundings, which an \
                     embedder of another alignment would need; counts for faces seen from then on",
                )
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("enroll-force")
                .nick("Enrol by force")
                .blurb(
                    "The signals enroll and enroll-sample store faces that the enrolment gate \
                     refuses, too",
                )
                .default_value(defaults.force)
                .mutable_playing()
                .build(),
        ]
    }

    /// Sets the property if it is one of these; false if it is not.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "store-crops" => self.store_crops = value.get().unwrap_or_default(),
            "enroll-force" => self.force = value.get().unwrap_or_default(),
            _ => return false,
        }
        true
    }

    /// The property's value if it is one of these.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "store-crops" => Some(self.store_crops.to_value()),
            "enroll-force" => Some(self.force.to_value()),
            _ => None,
        }
    }

    /// Are the surroundings of faces to be cut?
    pub(super) fn loose_crops(&self) -> bool {
        self.store_crops == StoreCropsSetting::Loose
    }

    fn rules(&self) -> EnrollRules {
        let store_crops = match self.store_crops {
            StoreCropsSetting::Never => StoreCrops::Never,
            StoreCropsSetting::Aligned => StoreCrops::Aligned,
            StoreCropsSetting::Loose => StoreCrops::Loose,
        };
        EnrollRules { force: self.force, store_crops, ..EnrollRules::default() }
    }
}

/// All signals of the element.
pub(super) fn all() -> Vec<glib::subclass::Signal> {
    let (id, name) = (u64::static_type(), String::static_type());
    let sample = gst::Sample::static_type();
    vec![
        signal("enroll", &[id, name], |imp, args| {
            let track_id = args.get(1).and_then(|a| a.get().ok());
            imp.enroll(track_id.unwrap_or_default(), &words(args, 2))
        }),
        signal("enroll-sample", &[sample, name], |imp, args| {
            imp.enroll_sample(&sample_argument(args)?, &words(args, 2))
        }),
        signal("search", &[sample], |imp, args| imp.search(&sample_argument(args)?)),
        signal("forget", &[name], |imp, args| imp.forget(&words(args, 1))),
        signal("reload", &[], |imp, _| imp.reload()),
        super::explain::signal(),
    ]
}

fn signal(
    name: &'static str,
    types: &[glib::Type],
    work: impl Fn(&imp::FaceRecognize, &[glib::Value]) -> Answer + Send + Sync + 'static,
) -> glib::subclass::Signal {
    glib::subclass::Signal::builder(name)
        .param_types(types.iter().copied())
        .return_type::<gst::Structure>()
        .action()
        .class_handler(move |args| {
            let element = args.first()?.get::<FaceRecognize>().ok()?;
            let mut answer = gst::Structure::new_empty(name);
            let fields = match work(element.imp(), args) {
                Ok(fields) => {
                    answer.set("ok", true);
                    answer.set("reason", "");
                    fields
                }
                Err(Refusal { reason, fields }) => {
                    answer.set("ok", false);
                    answer.set("reason", text(&reason));
                    answer.set("person-id", "");
                    fields
                }
            };
            for (field, value) in fields {
                answer.set_value(field, value);
            }
            Some(answer.to_value())
        })
        .build()
}

fn sample_argument(args: &[glib::Value]) -> Result<gst::Sample, &'static str> {
    args.get(1).and_then(|a| a.get().ok()).ok_or("there is no sample")
}

fn words(args: &[glib::Value], index: usize) -> String {
    args.get(index).and_then(|a| a.get::<Option<String>>().ok().flatten()).unwrap_or_default()
}

/// A face of a sample.
struct SampleFace {
    id: u32,
    cut: CutFace,
}

/// The observed faces of a sample that passed the detector, largest first, with what is around
/// them if they are to be `loose`.
fn faces_of(sample: &gst::Sample, loose: bool) -> Result<Vec<SampleFace>, String> {
    let buffer = sample.buffer().ok_or("the sample has no buffer")?;
    let caps = sample.caps().ok_or("the sample has no caps")?;
    let info = gst_video::VideoInfo::from_caps(caps)
        .map_err(|_| format!("the sample is no raw video: {caps}"))?;
    let meta = FrameFaces::read(buffer)
        .ok_or("the sample has no GstFaceMeta: take it from behind onnxfacedetect")?
        .map_err(|e| e.to_string())?;
    let mut cut = crops::cut_faces(buffer, &info, &meta, loose, |_| true)?;
    cut.sort_by(|a, b| b.detection.bbox.area().total_cmp(&a.detection.bbox.area()));
    Ok(cut.into_iter().map(|cut| SampleFace { id: meta.faces[cut.index].id, cut }).collect())
}

/// What became of a crop, in the answer.
fn verdict(result: &Result<Stored, Rejection>) -> glib::SendValue {
    let (verdict, reason, detail) = match result {
        Ok(Stored::New) => ("enrolled", "", String::new()),
        Ok(Stored::Duplicate) => ("duplicate", "", String::new()),
        Err(rejection) => ("rejected", rejection.reason(), with_causes(rejection)),
    };
    let structure = gst::Structure::builder("sample")
        .field("verdict", verdict)
        .field("reason", reason)
        .field("detail", text(&detail));
    structure.build().to_send_value()
}

impl imp::FaceRecognize {
    /// Does something with the state, once the stream lets go of it.
    pub(super) fn with_state<T>(
        &self,
        until: Instant,
        work: impl FnOnce(&mut imp::State) -> Result<T, String>,
    ) -> Result<T, String> {
        let guard = self.state.try_lock_until(until);
        let mut guard = guard.ok_or("the stream is busy with a frame; try again")?;
        work(guard.as_mut().ok_or("the element has not started")?)
    }

    fn gallery(&self, until: Instant) -> Result<Gallery, String> {
        let gallery = self.with_state(until, |state| Ok(state.stream.gallery.clone()))?;
        gallery.ok_or_else(|| "no gallery: set the property gallery".to_owned())
    }

    /// Does what may wait for a disk, a server or another process, on a thread: the caller is
    /// answered in time, whatever becomes of it.
    fn in_time<T: Send + 'static>(
        &self,
        until: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let at_work = self.at_work.clone();
        if Arc::strong_count(&at_work) >= MOST_AT_WORK + 2 {
            return Err("the gallery has not answered earlier signals yet; try again".to_owned());
        }
        let (sender, answer) = std::sync::mpsc::sync_channel(1);
        let work = move || {
            let _at_work = at_work;
            // Who asked may have given up.
            let _ = sender.send(work());
        };
        let thread = std::thread::Builder::new().name("face-signal".into()).spawn(work);
        thread.map_err(|e| format!("start a thread: {e}"))?;
        let left = until.saturating_duration_since(Instant::now());
        answer.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => "the gallery did not answer in time; what was asked for \
                                          may still happen"
                .to_owned(),
            RecvTimeoutError::Disconnected => "the work on the gallery ended early".to_owned(),
        })
    }

    /// The next frame takes over what was written.
    fn written(&self) {
        self.refresh_now.store(true, Ordering::Release);
    }

    /// Passes samples through the gate, and stores those that it lets pass.
    fn store(
        &self,
        gallery: Gallery,
        name: &str,
        samples: Vec<TrackSample>,
        source: String,
        until: Instant,
    ) -> Answer {
        let threshold =
            self.with_state(until, |state| Ok(state.stream.embedder.spec().threshold))?;
        let rules = self.enroll_settings().rules();
        let name = name.to_owned();
        let work = move || {
            let left = || until.saturating_duration_since(Instant::now());
            // What was enrolled a moment ago is compared with, too. A thread follows a server.
            if !gallery.location().is_server() {
                gallery.reload()?;
            }
            let sources = samples.iter().map(|s| (s, source.clone()));
            let gated = gate_samples(&gallery, &name, sources, &rules, threshold, left())?;
            gated.store(|name, new| {
                let (location, fingerprint) = (gallery.location(), gallery.fingerprint());
                Ok::<_, EnrollError>(
                    Writer::open(location, fingerprint, left())?.enroll(name, new)?,
                )
            })
        };
        let EnrolledSamples { enrolled, samples } =
            self.in_time(until, work)?.map_err(|e| with_causes(&e))?;
        let refused = samples.iter().find_map(|s| s.as_ref().err());
        let reason = refused.map(|r| format!("{}: {}", r.reason(), with_causes(r)));
        let verdicts = gst::Array::new(samples.iter().map(verdict)).to_send_value();
        let Some(enrolled) = enrolled else {
            let reason = reason.unwrap_or_else(|| "there is nothing to enrol".to_owned());
            return Err(Refusal { reason, fields: vec![("samples", verdicts)] });
        };
        if enrolled.added > 0 {
            self.written();
        }
        Ok(vec![("person-id", enrolled.person_id.to_send_value()), ("samples", verdicts)])
    }

    /// Embeddings of the crops, one each, where the model gives one.
    fn embed(
        &self,
        faces: &[SampleFace],
        until: Instant,
    ) -> Result<Vec<Option<Embedding>>, String> {
        let crops: Vec<&AlignedCrop> = faces.iter().map(|f| &f.cut.crop).collect();
        self.with_state(until, |state| {
            let embedded = state.stream.embedder.embed(&crops, Some(until));
            Ok(embedded.map_err(|e| with_causes(&e))?.into_iter().map(Result::ok).collect())
        })
    }

    fn enroll(&self, track_id: u64, name: &str) -> Answer {
        let until = Instant::now() + LONGEST_WAIT;
        let gallery = self.gallery(until)?;
        let samples = self.with_state(until, |state| {
            let track = state.stream.identities.get(track_id);
            Ok(track.ok_or_else(|| format!("there is no track {track_id} now"))?.samples().to_vec())
        })?;
        if samples.is_empty() {
            return Err(format!("track {track_id} has no usable crop yet").into());
        }
        self.store(gallery, name, samples, format!("track {track_id}"), until)
    }

    fn enroll_sample(&self, sample: &gst::Sample, name: &str) -> Answer {
        let until = Instant::now() + LONGEST_WAIT;
        let gallery = self.gallery(until)?;
        let settings = self.enroll_settings();
        let mut faces = faces_of(sample, settings.loose_crops())?;
        let area = |f: &SampleFace| f.cut.detection.bbox.area();
        let nearly =
            |a: &SampleFace, b: &SampleFace| area(b) >= SampleRules::ENROLMENT.rival_area * area(a);
        match &faces[..] {
            [] => return Err("the sample has no observed face with landmarks".into()),
            [first, second, ..] if nearly(first, second) && !settings.force => {
                return Err("several-faces: a second one is nearly as large".into());
            }
            _ => faces.truncate(1),
        }
        let embedding = self.embed(&faces, until)?.pop().flatten();
        let embedding = embedding.ok_or("the face gives no usable embedding")?;
        let CutFace { crop, loose, detection, .. } = faces.remove(0).cut;
        let weight = detection.score;
        let sample = TrackSample { crop, loose, embedding, detection, weight };
        self.store(gallery, name, vec![sample], "sample".to_owned(), until)
    }

    fn search(&self, sample: &gst::Sample) -> Answer {
        let until = Instant::now() + LONGEST_WAIT;
        self.gallery(until)?;
        let faces = faces_of(sample, false)?;
        let embeddings = self.embed(&faces, until)?;
        let options = self.options();
        // A server may take its time: the stream does not wait for it.
        let searcher = self.with_state(until, |state| Ok(state.stream.searcher(&options)))?;
        let found = faces.iter().zip(embeddings).map(|(SampleFace { id, .. }, embedding)| {
            let result = embedding.and_then(|e| searcher.identify(&e, until).ok());
            let mut s = gst::Structure::builder("face").field("id", u64::from(*id)).build();
            s.set("status", result.as_ref().map_or(Status::Error, |r| r.status).as_str());
            if let Some(best) = result.and_then(|r| r.best) {
                s.set("person-id", text(&best.person_id));
                s.set("name", text(&best.name));
                s.set("similarity", f64::from(best.similarity));
            }
            s.to_send_value()
        });
        Ok(vec![("faces", gst::Array::new(found).to_send_value())])
    }

    fn forget(&self, person_id: &str) -> Answer {
        let until = Instant::now() + LONGEST_WAIT;
        let location = self.gallery(until)?.location().clone();
        let who = person_id.to_owned();
        let forgotten = self.in_time(until, move || {
            let mut roster = Roster::open_with_timeout(location, Access::Write, LONGEST_WAIT)?;
            roster.forget(Some(&who), &[], LONGEST_WAIT)
        });
        // Also when remnants were found the person is gone from the gallery.
        self.written();
        let forgotten = forgotten?.map_err(|e| with_causes(&e))?;
        let mut fields: Fields = vec![("person-id", person_id.to_send_value())];
        if forgotten.on_server {
            fields.push(("not-covered", NOT_COVERED.to_send_value()));
        }
        Ok(fields)
    }

    fn reload(&self) -> Answer {
        let until = Instant::now() + LONGEST_WAIT;
        let gallery = self.gallery(until)?;
        let generation = self.in_time(until, move || {
            gallery.reload()?;
            Ok::<_, GalleryError>(gallery.snapshot().generation())
        });
        let generation = generation?.map_err(|e| with_causes(&e))?;
        self.written();
        Ok(vec![("generation", generation.to_send_value())])
    }
}
