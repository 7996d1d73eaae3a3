//! Enrols the people of the first part of a video under numbered names.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use face_core::embed::{Embedder, Embedding, Fingerprint};
use face_core::gallery::{Access, Gallery, Location, Snapshot};
use face_core::identity::{Status, TrackSample};
use face_core::inference::PoolOptions;
use face_core::recognizer::{EnrollError, EnrollRules, enroll_samples};
use gst::prelude::*;
use gstface::crops::{self, CutFace};
use gstface::meta::Face;
use parking_lot::Mutex;

use crate::analyze::check_video;
use crate::chain::ChainOptions;
use crate::elements::{self, Recognition};
use crate::error::AnalyzeError;
use crate::people::{Group, People, Sample};
use crate::run::{self, Progress, Tapped};

/// The part of a video that is looked at unless told otherwise: a third, within these limits.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30);
/// Good pictures that a person needs: fewer may be a chance.
const MIN_PICTURES: usize = 5;
/// Samples stored per person.
const SAMPLES: usize = 5;

/// Whom to enrol from which part of a video.
#[derive(Clone, Debug)]
pub struct VideoEnrollOptions {
    pub video: PathBuf,
    /// The gallery; made if it is not there.
    pub gallery: Location,
    pub recognition: Recognition,
    /// Length of the part at the beginning; absent: a third of the video, at least 5 s and at most
    /// 30 s.
    pub part: Option<Duration>,
    /// People are called PREFIX-1, PREFIX-2, … in the order in which they appear; numbers that
    /// the gallery has already are left out.
    pub prefix: String,
    /// What faces must be like, and which pictures of them are stored. By force every face that can
    /// be aligned is a good picture.
    pub rules: EnrollRules,
}

/// What [`enroll_from_video`] did.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoEnrollment {
    /// Those enrolled, and those whom the gallery knew already, by first appearance.
    pub people: Vec<VideoPerson>,
    /// Groups of faces with too few good pictures, not enrolled.
    pub too_few: usize,
    /// Faces that were no good pictures: their number by the reason, in one word.
    pub refused: BTreeMap<&'static str, usize>,
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
    /// Samples stored; none if the gate refused all that were chosen, and then the gallery does not
    /// have the person, unless it knew them.
    pub samples: usize,
    /// Chosen pictures that the gate refused.
    pub rejected: Vec<RejectedPicture>,
    pub first_pts_ns: Option<u64>,
}

/// A picture of a person that is like those that the gallery has, or goes with somebody else's.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectedPicture {
    pub pts_ns: Option<u64>,
    /// In one word, for machines.
    pub reason: &'static str,
    /// The same for people.
    pub detail: String,
}

/// Finds the people of the first part of a video and enrols up to five pictures of each that
/// differ most, with their crops, through the enrolment gate. Nothing is written unless the part was read without an error and somebody was
/// found. `progress` as in [`crate::analyze_file`].
///
/// # Errors
/// [`AnalyzeError`]; [`AnalyzeError::Nobody`] if nobody has enough good pictures.
pub fn enroll_from_video(
    options: &VideoEnrollOptions,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<VideoEnrollment, AnalyzeError> {
    check_video(&options.video)?;
    elements::init()?;
    let (fingerprint, recommended) = embedder(&options.recognition)?;
    let threshold = options.recognition.threshold.unwrap_or(recommended);
    let chain = ChainOptions {
        video: options.video.clone(),
        recognition: Recognition { every_face: true, ..options.recognition.clone() },
        embeddings: true,
        ..ChainOptions::default()
    };
    let seen = Arc::new(Mutex::new(Seen::new(threshold, options)));
    let tap = {
        let seen = seen.clone();
        move |tapped: &Tapped| Ok(seen.lock().add(tapped))
    };
    let ended = run::run(&chain, tap, &mut progress)?;
    let Seen { people, end_ns, refused, unreadable, .. } = std::mem::take(&mut *seen.lock());
    let (groups, few): (Vec<_>, Vec<_>) =
        people.groups().into_iter().partition(|group| group.len() >= MIN_PICTURES);
    if groups.is_empty() {
        return Err(AnalyzeError::Nobody {
            path: options.video.clone(),
            wanted: MIN_PICTURES,
            seconds: end_ns.unwrap_or(0).div_ceil(1_000_000_000),
            refused: refused.iter().map(|(r, n)| format!("{r} {n}")).collect::<Vec<_>>().join(", "),
        });
    }
    let gallery = Gallery::open(&options.gallery, &fingerprint, Access::Create)?;
    let people = store(&gallery, options, threshold, &groups)?;
    let mut warnings = ended.warnings;
    warnings.extend(unreadable.map(|reason| format!("frames that could not be read: {reason}")));
    Ok(VideoEnrollment { people, too_few: few.len(), refused, end_ns, warnings })
}

/// The embedding space, and the threshold that its model recommends.
fn embedder(options: &Recognition) -> Result<(Arc<Fingerprint>, f32), AnalyzeError> {
    let model = options.embedder_model()?;
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
    rules: EnrollRules,
    refused: BTreeMap<&'static str, usize>,
    /// Why the pixels of a frame could not be read; the first time.
    unreadable: Option<String>,
    frame: u64,
    part: Option<Duration>,
    /// Where to stop; known from the first frame on, unless the length of the video is not.
    limit_ns: Option<u64>,
    end_ns: Option<u64>,
}

impl Seen {
    fn new(threshold: f32, options: &VideoEnrollOptions) -> Self {
        let VideoEnrollOptions { part, rules, .. } = *options;
        Self { people: People::new(threshold), part, rules, ..Self::default() }
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
        if let Err(reason) = self.add_faces(tapped) {
            self.unreadable.get_or_insert(reason);
        }
        self.frame += 1;
        ControlFlow::Continue(())
    }

    /// Takes in the good pictures of a frame, and counts the others by their reason.
    fn add_faces(&mut self, tapped: &Tapped) -> Result<(), String> {
        let wanted = |face: &Face| face.status != Status::Filtered && face.embedding.is_some();
        if !tapped.faces.faces.iter().any(wanted) {
            return Ok(());
        }
        let caps = tapped.pad.current_caps().ok_or("they have no caps")?;
        let info = gst_video::VideoInfo::from_caps(&caps).map_err(|e| e.to_string())?;
        let loose = self.rules.store_crops.loose();
        let cut = crops::cut_faces(tapped.buffer, &info, &tapped.faces, loose, wanted)?;
        for CutFace { index, crop, loose, detection } in cut {
            let face = &tapped.faces.faces[index];
            let embedding = face.embedding.as_deref().and_then(|b| Embedding::from_bytes(b).ok());
            let Some(embedding) = embedding else { continue };
            let weight = detection.score * detection.bbox.min_side();
            let picture = TrackSample { crop, loose, embedding, detection, weight };
            match self.rules.check_pixels(&picture) {
                Err(rejection) if !self.rules.force => {
                    *self.refused.entry(rejection.reason()).or_default() += 1;
                }
                _ => {
                    let (frame, pts_ns) = (self.frame, tapped.pts_ns);
                    self.people.add(face.track_id, Sample { face: picture, frame, pts_ns });
                }
            }
        }
        Ok(())
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
    let names = (1u64..).map(|n| format!("{}-{n}", options.prefix));
    let mut names = names.filter(|n| !taken.contains(n)).peekable();
    let mut people = Vec::new();
    for group in groups {
        let mut person = VideoPerson {
            name: String::new(),
            known: false,
            pictures: group.len(),
            samples: 0,
            rejected: Vec::new(),
            first_pts_ns: group.first_pts_ns(),
        };
        if let Some(name) = known_as(&before, group, threshold) {
            person.name = name;
            person.known = true;
        } else if let Some(name) = names.peek() {
            person.name.clone_from(name);
            enroll(gallery, options, threshold, group, &mut person)?;
            if person.samples > 0 {
                names.next();
            }
        }
        people.push(person);
    }
    Ok(people)
}

/// The name under which the gallery knows a group.
fn known_as(gallery: &Snapshot, group: &Group, threshold: f32) -> Option<String> {
    let found = gallery.identify(&group.mean()?, threshold, 0.0, 1).ok()?;
    let best = found.best.filter(|_| found.status == Status::Known)?;
    Some(best.name.to_string())
}

/// Stores the pictures of a group that differ most, under the name that `person` has.
fn enroll(
    gallery: &Gallery,
    options: &VideoEnrollOptions,
    threshold: f32,
    group: &Group,
    person: &mut VideoPerson,
) -> Result<(), AnalyzeError> {
    let video = options.video.file_name().unwrap_or_default().to_string_lossy();
    let chosen = group.most_different(SAMPLES, threshold);
    let pictures = chosen.iter().map(|s| (&s.face, sample_source(&video, s.pts_ns)));
    let done = enroll_samples(gallery, &person.name, pictures, &options.rules, threshold);
    let done = done.map_err(|e| match e {
        EnrollError::Gallery(error) => error.into(),
        error => AnalyzeError::pipeline(error),
    })?;
    person.samples = done.enrolled.map_or(0, |enrolled| enrolled.added);
    for (sample, result) in chosen.iter().zip(done.samples) {
        if let Err(rejection) = result {
            let (reason, detail) = (rejection.reason(), rejection.to_string());
            person.rejected.push(RejectedPicture { pts_ns: sample.pts_ns, reason, detail });
        }
    }
    Ok(())
}

/// Where a sample came from: the file and the time in it.
pub(crate) fn sample_source(video: &str, pts_ns: Option<u64>) -> String {
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
