use super::*;
use crate::embed::Fingerprint;
use crate::gallery::{Access, Gallery, NewSample};
use crate::geometry::Point;

/// A crop whose grey values are those of `value`.
fn crop(value: impl Fn(usize, usize) -> u8) -> AlignedCrop {
    let grey = |i: usize| [value(i % CROP_SIDE, i / CROP_SIDE); 3];
    AlignedCrop::from_rgb((0..CROP_SIDE * CROP_SIDE).flat_map(grey).collect()).unwrap()
}

/// Waves of this many pixels.
fn waves(length: f32, low: f32, high: f32) -> AlignedCrop {
    crop(|x, y| {
        let wave = |v: usize| (v as f32 * std::f32::consts::TAU / length).sin();
        (low + (high - low) * (2.0 + wave(x) + wave(y)) / 4.0) as u8
    })
}

fn reason(crop: &AlignedCrop) -> &'static str {
    Gate::DEFAULT.check_crop(crop).map_or_else(|unfit| unfit.reason(), |()| "fit")
}

#[test]
fn every_fault_of_the_pixels_has_its_reason() {
    assert_eq!(reason(&waves(9.0, 60.0, 200.0)), "fit");
    assert_eq!(reason(&waves(40.0, 60.0, 200.0)), "blurred");
    assert_eq!(reason(&waves(9.0, 0.0, 60.0)), "dark");
    assert_eq!(reason(&waves(9.0, 225.0, 255.0)), "bright");
    assert_eq!(reason(&waves(9.0, 120.0, 140.0)), "low-contrast");
    assert_eq!(reason(&crop(|_, _| 128)), "low-contrast");
    // Wholly outside the picture.
    assert_eq!(reason(&crop(|_, _| 0)), "dark");
}

#[test]
fn sharpness_does_not_depend_on_exposure() {
    let bright = CropQuality::of(&waves(9.0, 60.0, 220.0));
    let dark = CropQuality::of(&waves(9.0, 20.0, 100.0));
    assert!((bright.sharpness / dark.sharpness - 1.0).abs() < 0.05, "{bright:?} {dark:?}");
    assert!((bright.brightness - 140.0).abs() < 3.0 && bright.contrast > 30.0, "{bright:?}");
}

#[test]
fn edge_of_the_picture_is_no_edge_of_the_face() {
    let blurred = waves(40.0, 60.0, 200.0);
    let rgb = blurred.as_rgb();
    let cut = crop(|x, y| if x < 50 + y / 8 { 0 } else { rgb[(y * CROP_SIDE + x) * 3] });
    assert_eq!(reason(&cut), "blurred");
}

#[test]
fn heads_that_are_turned_away_are_refused() {
    let p = Point::new;
    let frontal = [p(30.0, 40.0), p(70.0, 40.0), p(50.0, 63.0), p(33.0, 86.0), p(67.0, 86.0)];
    let check = |points| Gate::DEFAULT.check_pose(&Landmarks(points));
    assert_eq!(check(frontal), Ok(()));
    let lying = frontal.map(|q| p(q.y, -q.x));
    let tilted = check(lying).unwrap_err();
    assert_eq!(tilted.reason(), "pose");
    assert!(tilted.to_string().contains("turned over by 90 degrees"), "{tilted}");
    let profile = [p(48.0, 40.0), p(58.0, 40.0), p(80.0, 63.0), p(52.0, 86.0), p(60.0, 86.0)];
    assert_eq!(check(profile).unwrap_err().reason(), "pose");
    assert_eq!(check([p(1.0, 1.0); 5]), Err(Unfit::NoPose));
}

/// A unit vector of four dimensions.
fn face(values: [f32; 4]) -> Embedding {
    Embedding::new(&values).unwrap()
}

fn gallery(folder: &tempfile::TempDir, people: &[(&str, &[[f32; 4]])]) -> Gallery {
    let probe = face([1.0, 0.0, 0.0, 0.0]);
    let fingerprint = Fingerprint { model: "m".into(), alignment: "a".into(), probe };
    let gallery = Gallery::open(folder.path().join("g"), &fingerprint, Access::Create).unwrap();
    for (name, samples) in people {
        let samples: Vec<_> = samples.iter().map(|s| NewSample::new(face(*s), "")).collect();
        gallery.enroll(name, &samples).unwrap();
    }
    gallery
}

const ADA: [[f32; 4]; 3] = [[1.0, 0.3, 0.0, 0.0], [1.0, 0.0, 0.3, 0.0], [1.0, 0.2, 0.5, 0.0]];

#[test]
fn faces_are_compared_with_their_person_and_with_others() {
    let folder = tempfile::tempdir().unwrap();
    let gallery = gallery(&folder, &[("Ada", &ADA), ("Bo", &[[0.0, 1.0, 0.0, 0.0]])]);
    let snapshot = gallery.snapshot();
    let check = |name: &str, values| {
        let checked = Gate::DEFAULT.check_person(&snapshot, name, &face(values), 0.4);
        checked.map_or_else(
            |e| match e {
                PersonCheckError::Unfit(unfit) => unfit.reason(),
                PersonCheckError::Search(error) => panic!("{error}"),
            },
            |()| "fit",
        )
    };
    assert_eq!(check("Ada", [1.0, 0.5, 0.5, 0.4]), "fit");
    assert_eq!(check(" Ada ", [1.0, 0.31, 0.0, 0.0]), "near-duplicate");
    assert_eq!(check("Ada", [0.0, 1.0, 0.0, 0.2]), "conflict");
    assert_eq!(check("Ada", [0.0, 0.0, 0.0, 1.0]), "outlier");
    // Bo has one sample: too few to say what is unlike him.
    assert_eq!(check("Bo", [0.0, 0.1, 0.0, 1.0]), "fit");
    // Somebody new.
    assert_eq!(check("Cy", [0.0, 0.0, 0.0, 1.0]), "fit");
    assert_eq!(check("Cy", [1.0, 0.3, 0.0, 0.0]), "conflict");
    let short = Embedding::new(&[1.0, 0.0]).unwrap();
    let error = Gate::DEFAULT.check_person(&snapshot, "Ada", &short, 0.4).unwrap_err();
    assert!(matches!(error, PersonCheckError::Search(_)), "{error:?}");
}

#[test]
fn audit_names_every_suspect_sample_once_per_problem() {
    let folder = tempfile::tempdir().unwrap();
    let mut ada = ADA.to_vec();
    // Nearly the first again, somebody else, and Bo.
    ada.extend([[1.0, 0.31, 0.0, 0.0], [0.0, 0.0, 0.1, 1.0], [0.0, 1.0, 0.0, 0.1]]);
    let people: [(&str, &[[f32; 4]]); 3] =
        [("Ada", &ada), ("Bo", &[[0.0, 1.0, 0.0, 0.0]]), ("Cy", &[[0.0, 0.0, 1.0, -1.0]])];
    let gallery = gallery(&folder, &people);
    let suspects = audit::audit(&gallery, &Gate::DEFAULT, 0.4).unwrap();
    let found: Vec<_> = suspects.iter().map(|s| (&*s.name, s.sample, s.problem.reason())).collect();
    let expected = [
        ("Ada", 3, "near-duplicate"),
        ("Ada", 4, "outlier"),
        ("Ada", 5, "conflict"),
        ("Bo", 0, "conflict"),
    ];
    assert_eq!(found, expected);
    assert!(matches!(suspects[0].duplicate_of, Some(0)));
    assert!(audit::audit(&gallery, &Gate::DEFAULT, 0.4).is_ok());
}
