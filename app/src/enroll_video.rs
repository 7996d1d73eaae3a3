//! Enrols the people of the first part of a video under numbered names.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use face_core::embed::{Embedder, Embedding, Fingerprint};
use face_core::gallery::{Access, Gallery, NewSample};
use face_core::identity::Status;
use face_core::inference::PoolOptions;
use face_core::model::{self, Task};
use gst::prelude::*;
use parking_lot::Mutex;

use crate::analyze::check_video;
use crate::chain::{self, ChainOptions, Recognition};
use crate::error::AnalyzeError;
use crate::people::{Group, People, Sample};
use crate::run::{self, Progress, Tapped};

/// The part of a video that is looked at unless told otherwise: a third, within these limits.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30);
/// Faces smaller than this are blurred when they are brought to the 112 px of the embedder.
const MIN_SIDE_PX: f32 = 40.0;
/// Doubtful detections are often profiles or half hidden.
const MIN_SCORE: f32 = 0.7;
/// Good pictures that a person needs: fewer may be a chance.
const MIN_PICTURES: usize = 5;
/// Samples stored per person.
const SAMPLES: usize = 5;

/// Whom to enrol from which part of a video.
#[derive(Clone, Debug)]
pub struct VideoEnrollOptions {
    pub video: PathBuf,
    /// The gallery; made if it is not there.
    pub gallery: PathBuf,
    pub recognition: Recognition,
    /// Length of the part at the beginning; absent: a third of the video, at least 5 s and at most
    /// 30 s.
    pub part: Option<Duration>,
    /// People are called PREFIX-1, PREFIX-2, … in the order in which they appear; numbers that
    /// the gallery has already are left out.
    pub prefix: String,
}

/// What [`enroll_from_video`] did.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoEnrollment {
    /// Those enrolled, and those whom the gallery knew already, by first appearance.
    pub people: Vec<VideoPerson>,
    /// Groups of faces with too few good pictures, not enrolled.
    pub too_few: usize,
    /// How much of the video was looked at, nanoseconds.
    pub end_ns: Option<u64>,
    pub warnings: Vec<String>,
}

/// A person of a video.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoPerson {
    pub name: String,
    /// The gallery knew the person under that name: nothing was stored.
    pub known: bool,
    /// Good pictures found.
    pub pictures: usize,
    /// Samples stored.
    pub samples: usize,
    pub first_pts_ns: Option<u64>,
}

/// Finds the people of the first part of a video and enrols up to five pictures of each that
/// differ most. Nothing is written unless the part was read without an error and somebody was
/// found. `progress` as in [`crate::analyze_file`].
///
/// # Errors
/// [`AnalyzeError`]; [`AnalyzeError::Nobody`] if nobody has enough good pictures.
pub fn enroll_from_video(
    options: &VideoEnrollOptions,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<VideoEnrollment, AnalyzeError> {
    check_video(&options.video)?;
    chain::init()?;
    let (fingerprint, recommended) = embedder(&options.recognition)?;
    let threshold = options.recognition.threshold.unwrap_or(recommended);
    let chain = ChainOptions {
        video: options.video.clone(),
        recognition: Recognition { every_face: true, ..options.recognition.clone() },
        embeddings: true,
        ..ChainOptions::default()
    };
    let seen = Arc::new(Mutex::new(Seen::new(threshold, options.part)));
    let tap = {
        let seen = seen.clone();
        move |tapped: &Tapped| Ok(seen.lock().add(tapped))
    };
    let ended = run::run(&chain, tap, &mut progress)?;
    let Seen { people, end_ns, .. } = std::mem::take(&mut *seen.lock());
    let (groups, few): (Vec<_>, Vec<_>) =
        people.groups().into_iter().partition(|group| group.len() >= MIN_PICTURES);
    if groups.is_empty() {
        return Err(AnalyzeError::Nobody {
            path: options.video.clone(),
            wanted: MIN_PICTURES,
            seconds: end_ns.unwrap_or(0).div_ceil(1_000_000_000),
        });
    }
    let gallery = Gallery::open(&options.gallery, &fingerprint, Access::Create)?;
    let people = store(&gallery, options, threshold, &groups)?;
    Ok(VideoEnrollment { people, too_few: few.len(), end_ns, warnings: ended.warnings })
}

/// The embedding space, and the threshold that its model recommends.
fn embedder(options: &Recognition) -> Result<(Arc<Fingerprint>, f32), AnalyzeError> {
    let name = options.embedder.as_deref().unwrap_or(model::DEFAULT_EMBEDDER);
    let model = model::resolve(name, Task::Embedder)
        .map_err(|e| AnalyzeError::Model { model: name.to_owned(), source: Box::new(e) })?;
    // The pool of facerecognize: with the same options, the model is loaded once.
    let pool = PoolOptions {
        provider: options.provider,
        device_id: options.device_id,
        threads: options.threads as usize,
        runtime_library: options.runtime_library.clone(),
        ..PoolOptions::default()
    };
    let embedder = Embedder::load(&model, &pool)?;
    Ok((embedder.fingerprint().clone(), model.spec.threshold))
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    people: People,
    frame: u64,
    part: Option<Duration>,
    /// Where to stop; known from the first frame on, unless the length of the video is not.
    limit_ns: Option<u64>,
    end_ns: Option<u64>,
}

impl Seen {
    fn new(threshold: f32, part: Option<Duration>) -> Self {
        Self { people: People::new(threshold), part, ..Self::default() }
    }

    fn add(&mut self, tapped: &Tapped) -> ControlFlow<()> {
        if self.frame == 0 {
            let part = self.part.unwrap_or_else(|| default_part(video_length(tapped.pad)));
            self.limit_ns = Some(u64::try_from(part.as_nanos()).unwrap_or(u64::MAX));
        }
        if let (Some(pts), Some(limit)) = (tapped.pts_ns, self.limit_ns)
            && pts >= limit
        {
            return ControlFlow::Break(());
        }
        self.end_ns = self.end_ns.max(tapped.pts_ns.map(|p| p + tapped.duration_ns.unwrap_or(0)));
        let (w, h) = (tapped.faces.width as f32, tapped.faces.height as f32);
        for face in &tapped.faces.faces {
            let good = face.observed
                && face.status != Status::Filtered
                && face.score >= MIN_SCORE
                && face.bbox.scaled(w, h).min_side() >= MIN_SIDE_PX;
            let embedding = face.embedding.as_deref().and_then(|b| Embedding::from_bytes(b).ok());
            if let Some(embedding) = embedding.filter(|_| good) {
                let sample = Sample { embedding, frame: self.frame, pts_ns: tapped.pts_ns };
                self.people.add(face.track_id, sample);
            }
        }
        self.frame += 1;
        ControlFlow::Continue(())
    }
}

/// Asks the demuxer, upstream of the element that the pad belongs to.
fn video_length(pad: &gst::Pad) -> Option<Duration> {
    let element = pad.parent_element()?;
    let length = element.static_pad("sink")?.peer_query_duration::<gst::ClockTime>()?;
    Some(Duration::from_nanos(length.nseconds()))
}

fn default_part(length: Option<Duration>) -> Duration {
    length.map_or(LONGEST, |l| (l / 3).clamp(SHORTEST, LONGEST))
}

fn store(
    gallery: &Gallery,
    options: &VideoEnrollOptions,
    threshold: f32,
    groups: &[Group],
) -> Result<Vec<VideoPerson>, AnalyzeError> {
    let before = gallery.snapshot();
    let taken: Vec<String> = gallery.persons()?.into_iter().map(|p| p.name).collect();
    let mut names =
        (1u64..).map(|n| format!("{}-{n}", options.prefix)).filter(|n| !taken.contains(n));
    let source = options.video.file_name().unwrap_or_default().to_string_lossy();
    let mut people = Vec::new();
    for group in groups {
        let mut person = VideoPerson {
            name: String::new(),
            known: false,
            pictures: group.len(),
            samples: 0,
            first_pts_ns: group.first().and_then(|s| s.pts_ns),
        };
        let known = group.mean().and_then(|mean| {
            let found = before.identify(&mean, threshold, 0.0, 1).ok()?;
            found.best.filter(|_| found.status == Status::Known)
        });
        if let Some(known) = known {
            person.name = known.name.to_string();
            person.known = true;
        } else if let Some(name) = names.next() {
            let samples: Vec<NewSample> = group
                .most_different(SAMPLES, threshold)
                .into_iter()
                .map(|s| NewSample::new(s.embedding.clone(), sample_source(&source, s.pts_ns)))
                .collect();
            person.samples = gallery.enroll(&name, &samples)?.added;
            person.name = name;
        }
        people.push(person);
    }
    Ok(people)
}

/// Where a sample came from: the file and the time in it.
fn sample_source(video: &str, pts_ns: Option<u64>) -> String {
    match pts_ns {
        Some(pts) => format!("{video} at {:.2} s", pts as f64 / 1e9),
        None => video.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_is_a_third_within_limits() {
        let seconds = Duration::from_secs;
        assert_eq!(default_part(Some(seconds(60))), seconds(20));
        assert_eq!(default_part(Some(seconds(9))), SHORTEST);
        assert_eq!(default_part(Some(seconds(7200))), LONGEST);
        assert_eq!(default_part(None), LONGEST);
    }
}
