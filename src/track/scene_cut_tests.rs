//! Scene cuts on drawn pictures.

use super::{SceneCutConfig, SceneCutDetector};
use crate::frame::{FrameView, PixelFormat, Plane};

const FRAME: u64 = 33_333_333;
const NONE: [u64; 0] = [];

fn detector(config: SceneCutConfig) -> SceneCutDetector {
    SceneCutDetector::new(config).expect("valid")
}

/// A picture of one colour in the given format.
fn flat(format: PixelFormat, size: (u32, u32), rgb: [u8; 3]) -> Vec<Vec<u8>> {
    let pixels = (size.0 * size.1) as usize;
    let chroma = (size.0.div_ceil(2) * size.1.div_ceil(2)) as usize;
    let [r, g, b] = rgb.map(f32::from);
    // BT.601, limited range, as FrameView takes it for granted.
    let luma = (16.0 + 0.257 * r + 0.504 * g + 0.098 * b) as u8;
    let u = (128.0 - 0.148 * r - 0.291 * g + 0.439 * b) as u8;
    let v = (128.0 + 0.439 * r - 0.368 * g - 0.071 * b) as u8;
    let [r, g, b] = rgb;
    match format {
        PixelFormat::Nv12 => vec![vec![luma; pixels], [u, v].repeat(chroma)],
        PixelFormat::I420 => vec![vec![luma; pixels], vec![u; chroma], vec![v; chroma]],
        PixelFormat::Rgb => vec![rgb.repeat(pixels)],
        PixelFormat::Bgr => vec![[b, g, r].repeat(pixels)],
        PixelFormat::Rgba | PixelFormat::Rgbx => vec![[r, g, b, 255].repeat(pixels)],
        PixelFormat::Bgra | PixelFormat::Bgrx => vec![[b, g, r, 255].repeat(pixels)],
        PixelFormat::Gray8 => vec![vec![luma; pixels]],
    }
}

fn look(
    detector: &mut SceneCutDetector,
    n: u64,
    format: PixelFormat,
    size: (u32, u32),
    rgb: [u8; 3],
) -> Option<f32> {
    let data = flat(format, size, rgb);
    let planes: Vec<Plane<'_>> = data
        .iter()
        .zip(format.planes())
        .map(|(data, (bytes, sx, _))| Plane { data, stride: size.0.div_ceil(*sx) as usize * bytes })
        .collect();
    let frame = FrameView::new(format, size.0, size.1, &planes).expect("whole planes");
    detector.look(n * FRAME, &frame)
}

const SKIN: [u8; 3] = [200, 150, 120];
const NIGHT: [u8; 3] = [20, 30, 90];

/// The pictures that cuts were found at, where picture `n` has this colour.
fn cuts(config: SceneCutConfig, frames: u64, color: impl Fn(u64) -> [u8; 3]) -> Vec<u64> {
    let mut d = detector(config);
    (0..frames)
        .filter(|&n| look(&mut d, n, PixelFormat::Rgb, (320, 240), color(n)).is_some())
        .collect()
}

#[test]
fn t21_a_cut_is_found_in_every_format_at_its_first_picture() {
    for format in PixelFormat::ALL {
        let mut d = detector(SceneCutConfig::default());
        for n in 0..40 {
            let rgb = if n < 20 { SKIN } else { NIGHT };
            let found = look(&mut d, n, format, (640, 361), rgb);
            assert_eq!(found.is_some(), n == 20, "{format:?} {n} {found:?}");
            assert!(found.is_none_or(|score| score > 60.0), "{format:?} {found:?}");
        }
    }
}

#[test]
fn t21_score_and_ratio_are_both_needed() {
    // A step of 30 in value, a third of that in the mean.
    let step = |n| if n < 10 { [100; 3] } else { [130; 3] };
    assert_eq!(cuts(SceneCutConfig::default(), 20, step), NONE);
    let low = SceneCutConfig { score: 9.9, ..SceneCutConfig::default() };
    assert_eq!(cuts(low.clone(), 20, step), [10]);
    assert_eq!(cuts(SceneCutConfig { score: 10.1, ..low.clone() }, 20, step), NONE);
    // Steps of 12 before: the ratio is 2.5.
    let busy = |n: u64| if n < 10 { [100 + 12 * (n % 2) as u8; 3] } else { [142; 3] };
    assert_eq!(cuts(low.clone(), 20, busy), NONE);
    assert_eq!(cuts(SceneCutConfig { ratio: 2.4, ..low }, 20, busy), [10]);
}

#[test]
fn t21_cuts_keep_their_distance_in_time() {
    // Scenes of six pictures, which are 0.2 s.
    let scenes = |n: u64| if (n / 6).is_multiple_of(2) { SKIN } else { NIGHT };
    let with = |gap_ns| SceneCutConfig { gap_ns, ..SceneCutConfig::default() };
    assert_eq!(cuts(with(0), 30, scenes), [6, 12, 18, 24]);
    assert_eq!(cuts(with(12 * FRAME), 30, scenes), [6, 18]);
    assert_eq!(cuts(SceneCutConfig::default(), 30, scenes), [6, 24]);
}

#[test]
fn no_cut_is_told_before_there_is_something_to_compare_with() {
    let scenes = |n: u64| if n < 4 { SKIN } else { NIGHT };
    assert_eq!(cuts(SceneCutConfig::default(), 20, scenes), NONE);
    let later = |n: u64| if n < 5 { SKIN } else { NIGHT };
    assert_eq!(cuts(SceneCutConfig::default(), 20, later), [5]);
}

#[test]
fn same_pictures_are_no_cut_at_any_setting() {
    let open = SceneCutConfig { score: 0.0, ratio: 0.0, gap_ns: 0 };
    assert_eq!(cuts(open, 20, |_| SKIN), NONE);
}

#[test]
fn noise_of_colour_in_the_dark_is_no_cut() {
    // Hue and saturation jump from one end to the other, as codecs make them do in near-black.
    let dark = |n| if n < 10 { [6, 4, 4] } else { [4, 4, 7] };
    assert_eq!(cuts(SceneCutConfig::default(), 20, dark), NONE);
    let lit = |n| if n < 10 { [150, 100, 100] } else { [100, 100, 175] };
    assert_eq!(cuts(SceneCutConfig::default(), 20, lit), [10]);
    // Two reds on either side of hue 0.
    let reds = |n| if n < 10 { [200, 100, 104] } else { [200, 104, 100] };
    assert_eq!(cuts(SceneCutConfig::default(), 20, reds), NONE);
}

#[test]
fn another_size_or_a_reset_starts_anew() {
    let mut d = detector(SceneCutConfig::default());
    for n in 0..10 {
        assert_eq!(look(&mut d, n, PixelFormat::Nv12, (640, 480), SKIN), None);
    }
    assert_eq!(look(&mut d, 10, PixelFormat::Nv12, (640, 360), NIGHT), None, "another shape");
    assert!(look(&mut d, 11, PixelFormat::Nv12, (640, 360), SKIN).is_some());
    let mut d = detector(SceneCutConfig::default());
    for n in 0..10 {
        look(&mut d, n, PixelFormat::Nv12, (640, 480), SKIN);
    }
    d.reset();
    assert_eq!(look(&mut d, 10, PixelFormat::Nv12, (640, 480), NIGHT), None);
    assert_eq!(look(&mut d, 11, PixelFormat::Nv12, (640, 480), SKIN), None);
}

#[test]
fn time_that_goes_back_and_odd_pictures_do_no_harm() {
    let mut d = detector(SceneCutConfig::default());
    for (i, size) in [(1, 1), (1, 5000), (5000, 1), (3, 3)].into_iter().enumerate() {
        for n in 0..8 {
            let rgb = if n < 5 { SKIN } else { NIGHT };
            look(&mut d, 1000 - 100 * i as u64 + n, PixelFormat::I420, size, rgb);
        }
    }
    d.look(u64::MAX, &FrameView::packed(PixelFormat::Gray8, 1, 1, &[0]).unwrap());
    d.look(0, &FrameView::packed(PixelFormat::Gray8, 1, 1, &[255]).unwrap());
}

#[test]
fn settings_out_of_range_are_named() {
    let base = SceneCutConfig::default();
    let cases = [
        ("scene_cut_score", SceneCutConfig { score: f32::NAN, ..base.clone() }),
        ("scene_cut_score", SceneCutConfig { score: 256.0, ..base.clone() }),
        ("scene_cut_ratio", SceneCutConfig { ratio: -1.0, ..base.clone() }),
        ("scene_cut_gap_ns", SceneCutConfig { gap_ns: u64::MAX, ..base.clone() }),
    ];
    let mut d = detector(base.clone());
    for (name, config) in cases {
        let error = SceneCutDetector::new(config.clone()).expect_err(name);
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(d.set_config(config).map_err(|e| e.to_string()), Err(error.to_string()));
    }
    assert_eq!(d.set_config(base), Ok(()));
}

#[test]
fn memory_is_kept_from_picture_to_picture() {
    let mut d = detector(SceneCutConfig::default());
    let places = |d: &SceneCutDetector| {
        let mut copies = [d.current.as_ptr(), d.previous.as_ptr()];
        copies.sort_unstable();
        (d.rgb.as_ptr(), copies, d.rgb.capacity(), d.current.capacity() + d.previous.capacity())
    };
    for n in 0..2 {
        look(&mut d, n, PixelFormat::I420, (640, 480), SKIN);
    }
    let first = places(&d);
    for n in 2..30 {
        look(&mut d, n, PixelFormat::I420, (640, 480), if n % 7 == 0 { NIGHT } else { SKIN });
        assert_eq!(places(&d), first, "{n}");
    }
}
