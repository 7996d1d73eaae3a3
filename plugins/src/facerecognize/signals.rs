//! The action signals of facerecognize. Each answers with a structure: `ok`, `reason`, and what was
//! asked for. None of them holds the element's state while it waits for the gallery's file.

use std::time::Duration;

use face_core::align::AlignedCrop;
use face_core::embed::Embedding;
use face_core::gallery::{Access, Gallery, NewSample, Roster};
use face_core::identity::{Status, TrackSample};
use face_core::recognizer::SampleRules;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::FaceRecognize;
use super::imp;
use super::stream::new_sample;
use crate::meta::{Face, FrameFaces, Mapping, text};
use crate::runtime::with_causes;

/// The longest wait for another process that writes to, or reads, the gallery.
const LONGEST_WAIT: Duration = Duration::from_millis(1500);

type Answer = Result<Vec<(&'static str, glib::SendValue)>, String>;

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
            match work(element.imp(), args) {
                Ok(fields) => {
                    answer.set("ok", true);
                    answer.set("reason", "");
                    for (field, value) in fields {
                        answer.set_value(field, value);
                    }
                }
                Err(reason) => {
                    answer.set("ok", false);
                    answer.set("reason", text(&reason));
                    answer.set("person-id", "");
                }
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

/// A face of a sample, and its crop.
struct SampleFace {
    face: Face,
    crop: AlignedCrop,
}

/// The observed faces of a sample that passed the detector, largest first.
fn faces_of(sample: &gst::Sample) -> Result<Vec<SampleFace>, String> {
    let buffer = sample.buffer().ok_or("the sample has no buffer")?;
    let caps = sample.caps().ok_or("the sample has no caps")?;
    let info = gst_video::VideoInfo::from_caps(caps)
        .map_err(|_| format!("the sample is no raw video: {caps}"))?;
    let meta = FrameFaces::read(buffer)
        .ok_or("the sample has no GstFaceMeta: take it from behind onnxfacedetect")?
        .map_err(|e| e.to_string())?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)
        .map_err(|e| e.to_string())?;
    let view = crate::frame::view(&frame).map_err(|e| e.to_string())?;
    let mapping = Mapping::new(&meta, &info);
    let cut = |face: Face| {
        let landmarks = face.landmarks.filter(|_| face.observed)?;
        let crop = AlignedCrop::cut(&view, &mapping.landmarks_to_pixels(&landmarks))?;
        Some(SampleFace { face, crop })
    };
    let mut faces: Vec<SampleFace> = meta.faces.into_iter().filter_map(cut).collect();
    faces.sort_by(|a, b| b.face.bbox.area().total_cmp(&a.face.bbox.area()));
    Ok(faces)
}

impl imp::FaceRecognize {
    fn gallery(&self) -> Result<Gallery, String> {
        let guard = self.state.lock();
        let state = guard.as_ref().ok_or("the element has not started")?;
        let gallery = state.stream.gallery.clone();
        gallery.ok_or_else(|| "no gallery: set the property gallery".to_owned())
    }

    /// The next frame takes over what was written.
    fn written(&self) {
        if let Some(state) = &mut *self.state.lock() {
            state.refresh_now = true;
        }
    }

    fn store(&self, gallery: &Gallery, name: &str, samples: &[NewSample]) -> Answer {
        let (path, fingerprint) = (gallery.path(), gallery.fingerprint());
        let access = Access::Write;
        let enrolled = Gallery::open_with_timeout(path, fingerprint, access, LONGEST_WAIT)
            .and_then(|writer| writer.enroll(name, samples))
            .map_err(|e| with_causes(&e))?;
        self.written();
        Ok(vec![("person-id", enrolled.person_id.to_send_value())])
    }

    /// Embeddings of the crops, one each, where the model gives one.
    fn embed(&self, faces: &[SampleFace]) -> Result<Vec<Option<Embedding>>, String> {
        let mut guard = self.state.lock();
        let state = guard.as_mut().ok_or("the element has not started")?;
        let crops: Vec<&AlignedCrop> = faces.iter().map(|f| &f.crop).collect();
        let deadline = Some(std::time::Instant::now() + LONGEST_WAIT);
        let embedded = state.stream.embedder.embed(&crops, deadline);
        Ok(embedded.map_err(|e| with_causes(&e))?.into_iter().map(Result::ok).collect())
    }

    fn enroll(&self, track_id: u64, name: &str) -> Answer {
        let gallery = self.gallery()?;
        let samples = {
            let guard = self.state.lock();
            let state = guard.as_ref().ok_or("the element has not started")?;
            let track = state.stream.identities.get(track_id);
            track.ok_or_else(|| format!("there is no track {track_id} now"))?.samples().to_vec()
        };
        if samples.is_empty() {
            return Err(format!("track {track_id} has no usable crop yet"));
        }
        let source = format!("track {track_id}");
        let samples: Vec<NewSample> = samples.iter().map(|s| new_sample(s, &source)).collect();
        self.store(&gallery, name, &samples)
    }

    fn enroll_sample(&self, sample: &gst::Sample, name: &str) -> Answer {
        let gallery = self.gallery()?;
        let mut faces = faces_of(sample)?;
        let area = |f: &SampleFace| f.face.bbox.area();
        match &faces[..] {
            [] => return Err("the sample has no observed face with landmarks".to_owned()),
            [first, second, ..]
                if area(second) >= SampleRules::ENROLMENT.rival_area * area(first) =>
            {
                return Err("several-faces: a second one is nearly as large".to_owned());
            }
            _ => faces.truncate(1),
        }
        let embedding = self.embed(&faces)?.pop().flatten();
        let embedding = embedding.ok_or("the face gives no usable embedding")?;
        let SampleFace { face, crop } = faces.remove(0);
        let sample = TrackSample { crop, embedding, weight: face.score };
        self.store(&gallery, name, &[new_sample(&sample, "sample")])
    }

    fn search(&self, sample: &gst::Sample) -> Answer {
        self.gallery()?;
        let faces = faces_of(sample)?;
        let embeddings = self.embed(&faces)?;
        let options = self.options();
        let guard = self.state.lock();
        let state = guard.as_ref().ok_or("the element has not started")?;
        let found = faces.iter().zip(embeddings).map(|(SampleFace { face, .. }, embedding)| {
            let result = embedding.and_then(|e| state.stream.identify(&e, &options));
            let mut s = gst::Structure::builder("face").field("id", u64::from(face.id)).build();
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
        let gallery = self.gallery()?;
        let forgotten = Roster::open_with_timeout(gallery.path(), Access::Write, LONGEST_WAIT)
            .and_then(|mut roster| roster.forget(Some(person_id), &[], LONGEST_WAIT));
        // Also when remnants were found the person is gone from the gallery.
        self.written();
        forgotten.map_err(|e| with_causes(&e))?;
        Ok(vec![("person-id", person_id.to_send_value())])
    }

    fn reload(&self) -> Answer {
        let gallery = self.gallery()?;
        gallery.refresh(Duration::ZERO).map_err(|e| with_causes(&e))?;
        self.written();
        Ok(vec![("generation", gallery.snapshot().generation().to_send_value())])
    }
}
