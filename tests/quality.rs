//! The enrolment gate and recognition on real pictures, and on the same pictures made worse. Prints
//! the tables of docs/recognition.md:
//!
//! `cargo nextest run -p face-core --test quality --no-capture`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use face_core::embed::{Embedder, Embedding, Fingerprint};
use face_core::frame::{FrameView, PixelFormat};
use face_core::gallery::migrate::{self, Lost};
use face_core::gallery::{Access, Gallery, NewSample};
use face_core::identity::{Status, TrackSample};
use face_core::inference::{self, PoolOptions};
use face_core::loose::{LooseFace, StoreCrops};
use face_core::model::{self, SearchPath, Task};
use face_core::picture::Picture;
use face_core::quality::Gate;
use face_core::recognizer::{
    EnrollError, EnrollRules, Enrolment, Image, NamedTrack, PredictError, PredictOptions,
    Predicted, Recognizer, Sample, SampleRules,
};
use image::{RgbImage, imageops};

/// The margin that recognition is measured with.
const MARGIN: f32 = 0.05;

type Failure = Box<dyn std::error::Error>;

/// A picture of a person.
struct Photo {
    person: String,
    file: String,
    picture: Picture,
    /// Shorter side of the face.
    side: f32,
    embedding: Embedding,
}

struct People {
    recognizer: Recognizer,
    embedder: Embedder,
    photos: Vec<Photo>,
    folder: tempfile::TempDir,
}

impl People {
    /// `None` where media, models or ONNX Runtime are missing; says so.
    fn new() -> Option<People> {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
        let named = std::env::var_os(model::PATH_VARIABLE).is_some_and(|v| !v.is_empty());
        let search = match named {
            true => SearchPath::from_env(),
            false => SearchPath::new(vec![shared.join("models")]),
        };
        let find = |name, task| search.resolve(name, task);
        let detector = find(model::DEFAULT_DETECTOR, Task::Detector);
        let embedder = find(model::DEFAULT_EMBEDDER, Task::Embedder);
        let media = shared.join("media/people");
        let (Ok(detector), Ok(embedder), true) = (detector, embedder, media.is_dir()) else {
            eprintln!("skipped: no models, or no ../shared/media/people");
            return None;
        };
        if let Err(error) = inference::runtime_path(&PoolOptions::default()) {
            eprintln!("skipped: {error}");
            return None;
        }
        let pools = PoolOptions::default();
        let mut recognizer = Recognizer::load(&detector, &embedder, &pools).unwrap();
        // In the same pool: the model is not loaded twice.
        let embedder = Embedder::load(&embedder, &pools).unwrap();
        let photos = photos(&media, &mut recognizer);
        assert_eq!(photos.len(), 47);
        Some(People { recognizer, embedder, photos, folder: tempfile::tempdir().unwrap() })
    }

    fn gallery(&self, name: &str) -> Gallery {
        let path = self.folder.path().join(name);
        Gallery::open(&path, self.recognizer.fingerprint(), Access::Create).unwrap()
    }

    /// A gallery of the photos that `is_in`.
    fn gallery_of(&self, name: &str, is_in: impl Fn(&Photo) -> bool) -> Gallery {
        let gallery = self.gallery(name);
        let photos: Vec<&Photo> = self.photos.iter().filter(|p| is_in(p)).collect();
        for person in photos.chunk_by(|a, b| a.person == b.person) {
            let sample = |p: &&Photo| NewSample::new(p.embedding.clone(), p.file.clone());
            let samples: Vec<NewSample> = person.iter().map(sample).collect();
            gallery.enroll(&person[0].person, &samples).unwrap();
        }
        gallery
    }
}

fn photos(media: &Path, recognizer: &mut Recognizer) -> Vec<Photo> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let files = entries(media).into_iter().flat_map(|person| entries(&person));
    let photo = |file: PathBuf| {
        let picture = Picture::open(&file).unwrap();
        let sample = recognizer.sample(&picture.view(), &SampleRules::ENROLMENT).unwrap();
        let person = file.parent().and_then(Path::file_name).unwrap().to_str().unwrap();
        Photo {
            person: person.to_owned(),
            file: file.to_str().unwrap().to_owned(),
            side: sample.detection.bbox.min_side(),
            embedding: sample.embedding,
            picture,
        }
    };
    files.map(photo).collect()
}

/// How a picture is made worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    None,
    /// Gaussian, σ in per cent of the shorter side of the face.
    Blur(u8),
    /// Every value times so many per cent.
    Light(u8),
    /// Shrunk until the face measures so many pixels.
    Shrunk(u8),
    /// The same, and enlarged to its old size.
    Enlarged(u8),
}

impl Fault {
    const ALL: [Fault; 8] = [
        Fault::None,
        Fault::Blur(2),
        Fault::Blur(3),
        Fault::Blur(4),
        Fault::Light(20),
        Fault::Light(15),
        Fault::Shrunk(24),
        Fault::Enlarged(24),
    ];

    fn name(self) -> String {
        match self {
            Fault::None => "as it is".to_owned(),
            Fault::Blur(percent) => format!("blurred, σ {percent} % of the face"),
            Fault::Light(percent) => format!("darkened to {percent} %"),
            Fault::Shrunk(px) => format!("shrunk to {px} px"),
            Fault::Enlarged(px) => format!("shrunk to {px} px and enlarged"),
        }
    }

    fn applied(self, photo: &Photo) -> RgbImage {
        let (w, h) = (photo.picture.width(), photo.picture.height());
        let mut image = RgbImage::from_raw(w, h, photo.picture.as_rgb().to_vec()).unwrap();
        let filter = imageops::FilterType::Triangle;
        let shrunk = |px: u8| {
            let scale = f32::from(px) / photo.side;
            let scaled = |v: u32| (v as f32 * scale).round() as u32;
            imageops::resize(&image, scaled(w), scaled(h), filter)
        };
        match self {
            Fault::None => image,
            Fault::Blur(percent) => {
                imageops::fast_blur(&image, photo.side * f32::from(percent) / 100.0)
            }
            Fault::Light(percent) => {
                image
                    .iter_mut()
                    .for_each(|v| *v = (u32::from(*v) * u32::from(percent) / 100) as u8);
                image
            }
            Fault::Shrunk(px) => shrunk(px),
            Fault::Enlarged(px) => imageops::resize(&shrunk(px), w, h, filter),
        }
    }
}

fn view(image: &RgbImage) -> FrameView<'_> {
    FrameView::packed(PixelFormat::Rgb, image.width(), image.height(), image.as_raw()).unwrap()
}

fn row(cells: impl IntoIterator<Item = String>) {
    println!("| {} |", cells.into_iter().collect::<Vec<_>>().join(" | "));
}

#[test]
fn real_people_pass_the_gate_in_every_order_and_none_of_the_poor_pictures_does() {
    let Some(mut people) = People::new() else { return };
    let gallery = people.gallery("forwards");
    let backwards = people.gallery("backwards");
    let People { recognizer, photos, .. } = &mut people;
    let rules = EnrollRules::default();
    let files = |photos: &[Photo]| -> Vec<(String, PathBuf)> {
        photos.iter().map(|p| (p.person.clone(), PathBuf::from(&p.file))).collect()
    };
    let mut seen = 0;
    let mut stored = |Enrolment { frame_id, source, result, .. }: Enrolment| {
        assert_eq!(frame_id, seen % 47);
        assert_eq!(result.unwrap_or_else(|e| panic!("{source}: {e}")).added, 1);
        seen += 1;
        Ok::<(), Failure>(())
    };
    recognizer.enroll_batch(&gallery, files(photos), &rules, &mut stored).unwrap();
    let reversed = files(photos).into_iter().rev();
    recognizer.enroll_batch(&backwards, reversed, &rules, &mut stored).unwrap();
    assert_eq!(seen, 94);
    let again = |Enrolment { result, .. }: Enrolment| {
        let result = result.unwrap();
        assert_eq!((result.added, result.duplicates), (0, 1));
        assert!(!result.person_id.is_empty());
        Ok::<(), Failure>(())
    };
    recognizer.enroll_batch(&gallery, files(photos), &rules, again).unwrap();

    println!("\n| pictures | refused | reasons |\n|---|---|---|");
    let empty = people.gallery("poor");
    let People { recognizer, photos, .. } = &mut people;
    for fault in &Fault::ALL[1..] {
        let images: Vec<RgbImage> = photos.iter().map(|p| fault.applied(p)).collect();
        let named = photos.iter().zip(&images);
        let named = named.map(|(p, i)| (p.person.clone(), view(i)));
        let mut reasons = BTreeMap::new();
        recognizer
            .enroll_batch(&empty, named, &rules, |Enrolment { name, result, .. }| {
                let Err(EnrollError::Rejected(rejection)) = result else {
                    panic!("{fault:?} of {name} is enrolled: {result:?}");
                };
                *reasons.entry(rejection.reason()).or_insert(0) += 1;
                Ok::<(), Failure>(())
            })
            .unwrap();
        let reasons: Vec<String> = reasons.iter().map(|(r, n)| format!("`{r}` {n}")).collect();
        row([fault.name(), format!("{} of {}", images.len(), images.len()), reasons.join(", ")]);
    }
    assert_eq!(empty.snapshot().samples(), 0);
}

/// What became of the faces of pictures.
#[derive(Default)]
struct Tally {
    right: usize,
    wrong: usize,
    uncertain: usize,
    unknown: usize,
    filtered: usize,
    no_face: usize,
}

impl Tally {
    fn count(
        &mut self,
        people: &mut Recognizer,
        gallery: &Gallery,
        image: &RgbImage,
        name: &str,
        gate: Option<Gate>,
    ) {
        let options =
            PredictOptions { min_margin: MARGIN, top_k: 2, gate, ..PredictOptions::default() };
        let found = people.predict(gallery, view(image), &options).unwrap();
        if found.faces.is_empty() {
            self.no_face += 1;
        }
        for face in found.faces {
            let counter = match (face.status, &face.name) {
                (Status::Known, Some(found)) if **found == *name => &mut self.right,
                (Status::Known, Some(_)) => &mut self.wrong,
                (Status::Uncertain, None) => &mut self.uncertain,
                (Status::Unknown, None) => &mut self.unknown,
                (Status::Filtered, None) => &mut self.filtered,
                other => panic!("{other:?}"),
            };
            *counter += 1;
        }
    }

    fn cells(&self) -> [String; 6] {
        let Tally { right, wrong, uncertain, unknown, filtered, no_face } = self;
        [right, wrong, uncertain, unknown, filtered, no_face].map(|n| n.to_string())
    }
}

#[test]
fn real_people_leave_one_out_with_margin_and_gate() {
    let Some(mut people) = People::new() else { return };
    let names: Vec<(usize, String, String)> = people
        .photos
        .iter()
        .enumerate()
        .map(|(i, p)| (i, p.person.clone(), p.file.clone()))
        .collect();
    let mut tallies: BTreeMap<(bool, Fault), Tally> = BTreeMap::new();
    let mut strangers: BTreeMap<(bool, Fault), Tally> = BTreeMap::new();
    for (i, person, file) in &names {
        let own = people.gallery_of(&format!("own-{i}"), |p| p.file != *file);
        let others = people.gallery_of(&format!("others-{i}"), |p| p.person != *person);
        let alone = people.photos.iter().filter(|p| p.person == *person).count() == 1;
        for fault in Fault::ALL {
            let image = fault.applied(&people.photos[*i]);
            for gated in [false, true] {
                let gate = gated.then_some(Gate::DEFAULT);
                if !alone {
                    let tally = tallies.entry((gated, fault)).or_default();
                    tally.count(&mut people.recognizer, &own, &image, person, gate);
                }
                let tally = strangers.entry((gated, fault)).or_default();
                tally.count(&mut people.recognizer, &others, &image, "nobody", gate);
            }
        }
    }
    println!(
        "\n| pictures | gate | right name | wrong name | uncertain | unknown | filtered | no face | strangers named | strangers uncertain |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    // Without and with the gate.
    let (mut asked, mut wrong) = ([0; 2], [0; 2]);
    for ((gated, fault), tally) in &tallies {
        let stranger = &strangers[&(*gated, *fault)];
        let gate = if *gated { "on" } else { "off" }.to_owned();
        let named = [stranger.wrong, stranger.uncertain].map(|n| n.to_string());
        row([fault.name(), gate].into_iter().chain(tally.cells()).chain(named));
        if *fault == Fault::None {
            assert_eq!((tally.right, tally.wrong, stranger.wrong), (46, 0, 0), "gate {gated}");
        } else {
            asked[usize::from(*gated)] += 46 + 47;
            wrong[usize::from(*gated)] += tally.wrong + stranger.wrong;
        }
    }
    println!("\n{wrong:?} wrong names for {asked:?} poor pictures without and with the gate");
    assert!(wrong[0] * 100 <= asked[0] && wrong[1] == 0, "{wrong:?} of {asked:?}");
}

#[test]
fn real_settings_and_force_change_what_is_enrolled() {
    let Some(mut people) = People::new() else { return };
    let gallery = people.gallery("g");
    let dark = Fault::Light(15).applied(&people.photos[10]);
    let other = Image::from(people.photos[20].picture.clone());
    let person = people.photos[10].person.clone();
    let file = people.photos[10].file.clone();
    let People { recognizer, .. } = &mut people;
    let rules = EnrollRules::default();
    let reason = |result: Result<_, EnrollError>| match result {
        Err(EnrollError::Rejected(rejection)) => rejection.reason(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(recognizer.enroll_image(&gallery, &person, view(&dark), &rules)), "dark");
    let gate = Gate { min_brightness: 5.0, min_contrast: 2.0, ..Gate::DEFAULT };
    let lax = EnrollRules { gate, ..rules };
    let enrolled = recognizer.enroll_image(&gallery, &person, view(&dark), &lax).unwrap();
    assert!(enrolled.created && enrolled.added == 1);
    recognizer.enroll_image(&gallery, &person, file.as_str(), &rules).unwrap();
    // The same face under another name.
    let conflict = recognizer.enroll_image(&gallery, "somebody else", file.as_str(), &rules);
    assert_eq!(reason(conflict), "conflict");
    let strict = EnrollRules { gate: Gate { near_duplicate: 0.5, ..Gate::DEFAULT }, ..rules };
    let near = recognizer.enroll_image(&gallery, &person, view(&dark), &strict);
    assert!(matches!(reason(near), "dark"));
    let lax_near = EnrollRules { gate: Gate { near_duplicate: 0.5, ..gate }, ..rules };
    let changed = Fault::Light(30).applied(&people.photos[10]);
    let People { recognizer, .. } = &mut people;
    let near = recognizer.enroll_image(&gallery, &person, view(&changed), &lax_near);
    assert_eq!(reason(near), "near-duplicate");
    // Another person's face under this name, once there are enough samples to tell.
    let outlier = EnrollRules { gate: Gate { outlier_from: 2, ..Gate::DEFAULT }, ..rules };
    let refused = recognizer.enroll_image(&gallery, &person, other.clone(), &outlier);
    assert_eq!(reason(refused), "outlier");
    let force = EnrollRules { force: true, ..outlier };
    assert_eq!(recognizer.enroll_image(&gallery, &person, other, &force).unwrap().added, 1);
    let small = Fault::Shrunk(24).applied(&people.photos[10]);
    let People { recognizer, .. } = &mut people;
    assert_eq!(reason(recognizer.enroll_image(&gallery, "x", view(&small), &rules)), "small-face");
    assert_eq!(recognizer.enroll_image(&gallery, "x", view(&small), &force).unwrap().added, 1);
    assert_eq!(
        reason(recognizer.enroll_image(&gallery, "x", "/nonexistent", &force)),
        "unreadable"
    );
}

#[test]
fn real_batch_streams_in_order_and_never_holds_the_whole_input() {
    let Some(mut people) = People::new() else { return };
    let gallery = people.gallery_of("g", |_| true);
    let image = people.photos[0].picture.clone();
    let threads = std::thread::available_parallelism().unwrap().get() as u64;
    // Endless: the caller ends it.
    let taken = std::sync::atomic::AtomicU64::new(0);
    let images =
        std::iter::repeat_with(|| match taken.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            3 => Image::Path("/nonexistent.jpg".into()),
            _ => Image::Picture(image.clone()),
        });
    let options = PredictOptions { top_k: 3, crops: true, embeddings: true, ..Default::default() };
    let mut next = 0;
    let ended = people.recognizer.predict_batch(&gallery, images, &options, |predicted| {
        let Predicted { frame_id, source, result } = predicted;
        assert_eq!(frame_id, next);
        next += 1;
        assert!(taken.load(std::sync::atomic::Ordering::SeqCst) <= next + 2 * threads);
        match (frame_id, result) {
            (3, Err(PredictError::Unreadable(error))) => {
                assert_eq!(source, "/nonexistent.jpg");
                assert!(error.to_string().contains("/nonexistent.jpg"));
            }
            (12, _) => return Err("enough".into()),
            (_, result) => {
                let found = result.unwrap();
                let face = &found.faces[0];
                assert_eq!(found.frame_id, frame_id);
                assert_eq!(face.name.as_deref(), Some("alex-lacamoire"));
                assert_eq!((face.status, face.filter, face.top.len()), (Status::Known, None, 3));
                assert!(face.margin.unwrap() > 0.3 && face.similarity.unwrap() > 0.99);
                assert!(face.crop.is_some() && face.embedding.is_some());
                assert!(face.properties.is_empty() && face.person_id.is_some());
            }
        }
        Ok::<(), Failure>(())
    });
    assert_eq!(ended.unwrap_err().to_string(), "enough");
    assert_eq!(next, 13);
}

#[test]
fn real_tracks_are_enrolled_under_their_names() {
    let Some(mut people) = People::new() else { return };
    let gallery = people.gallery("g");
    let mut sample = |i: usize| {
        let photo = &people.photos[i];
        let rules = SampleRules::ENROLMENT;
        let sample = people.recognizer.sample(&photo.picture.view(), &rules).unwrap();
        let loose = sample.detection.landmarks;
        let loose =
            loose.and_then(|l| LooseFace::cut(&photo.picture.view(), &sample.detection.bbox, &l));
        let Sample { crop, embedding, detection } = sample;
        let weight = detection.score;
        TrackSample { crop, loose, embedding, detection, weight }
    };
    let (first, second) = ([sample(2), sample(3)], [sample(30)]);
    let person = people.photos[2].person.clone();
    let track = |name, samples| NamedTrack { name, source: "party.mp4 track 7", samples };
    let tracks = [track(person.as_str(), &first[..]), track("Bo", &second[..])];
    let mut results = Vec::new();
    let rules = EnrollRules::default();
    let enrolled = people.recognizer.enroll_tracks(&gallery, tracks, &rules, |enrolment| {
        assert_eq!(enrolment.source, "party.mp4 track 7");
        results.push((enrolment.frame_id, enrolment.name, enrolment.result.unwrap().added));
        Ok::<(), Failure>(())
    });
    enrolled.unwrap();
    assert_eq!(results, [(0, person.clone(), 1), (0, person.clone(), 1), (1, "Bo".to_owned(), 1)]);
    // The second track's face under the first one's name.
    let wrong = [track("Cy", &second[..])];
    let refused = people.recognizer.enroll_tracks(&gallery, wrong, &rules, |enrolment| {
        match enrolment.result {
            Err(EnrollError::Rejected(rejection)) => assert_eq!(rejection.reason(), "conflict"),
            other => panic!("{other:?}"),
        }
        Ok::<(), Failure>(())
    });
    refused.unwrap();
    let found = people.recognizer.predict(
        &gallery,
        people.photos[3].file.as_str(),
        &PredictOptions::default(),
    );
    assert_eq!(found.unwrap().faces[0].name.as_deref(), Some(person.as_str()));
}

#[test]
fn real_people_come_to_another_alignment_by_their_loose_crops() {
    let Some(mut people) = People::new() else { return };
    let path = people.folder.path().join("g");
    // As if the embedder had aligned otherwise: aligned pictures are of no use then.
    let own = Fingerprint::clone(people.recognizer.fingerprint());
    let other = Fingerprint { alignment: "another".into(), ..own.clone() };
    let gallery = Gallery::open(&path, &other, Access::Create).unwrap();
    let People { recognizer, embedder, photos, .. } = &mut people;
    for (i, photo) in photos.iter().enumerate() {
        // Every fifth without its surroundings.
        let store_crops = if i % 5 == 4 { StoreCrops::Aligned } else { StoreCrops::Loose };
        let rules = EnrollRules { store_crops, ..EnrollRules::default() };
        recognizer.enroll_image(&gallery, &photo.person, photo.file.as_str(), &rules).unwrap();
    }
    drop(gallery);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("47 samples with aligned and 38 loose crops: {} KB", bytes / 1000);
    let plan = migrate::plan(&path, &own).unwrap();
    assert_eq!((plan.samples, &plan.lost[..]), (47, &[(Lost::NoLoosePicture, 9)][..]));
    let done = migrate::run(&path, embedder, plan.lost(), &mut |_, _| ()).unwrap();
    assert_eq!((done.samples, done.lost), (38, 9));
    // The faces are those of the pictures, but for the rounding of one more resampling.
    let migrated = Gallery::open(&path, &own, Access::Read).unwrap();
    let snapshot = migrated.snapshot();
    let mut least = f32::INFINITY;
    for (i, photo) in photos.iter().enumerate().filter(|(i, _)| i % 5 != 4) {
        let found = snapshot.identify(&photo.embedding, 0.4, MARGIN, 1).unwrap();
        let best = found.best.unwrap();
        assert_eq!((found.status, &*best.name), (Status::Known, &*photo.person), "{i}");
        least = least.min(best.similarity);
    }
    println!("least similarity of a face with itself by its loose crop: {least:.3}");
    assert!(least > 0.95, "{least}");
}
