//! Letterboxes of small pictures, and of all formats beside plain arithmetic.

use super::*;
use crate::frame::{ColorMatrix, ColorRange, Plane};

const PLAIN: Normalization =
    Normalization { channels: ChannelOrder::Rgb, mean: [0.0; 3], std: [1.0; 3] };

fn gradient(width: usize, height: usize, bytes: usize) -> Vec<u8> {
    let value = |i: usize| ((i * 7 + (i / (width * bytes)) * 13) % 256) as u8;
    (0..width * height * bytes).map(value).collect()
}

#[test]
fn picture_that_fits_is_copied_and_padded() {
    let data = gradient(5, 3, 3);
    let frame = FrameView::packed(PixelFormat::Bgr, 5, 3, &data).unwrap();
    let letterbox = Letterbox::fit(&frame, 640, 4);
    assert_eq!((letterbox.width, letterbox.height), (8, 4));
    let bgr = Normalization { channels: ChannelOrder::Bgr, ..PLAIN };
    let mut out = Vec::new();
    Preprocessor::default().letterbox(&frame, &letterbox, &bgr, &mut out);
    for y in 0..4 {
        for x in 0..8 {
            for c in 0..3 {
                let wanted = if x < 5 && y < 3 { data[(y * 5 + x) * 3 + c] } else { 0 };
                assert_eq!(out[c * 32 + y * 8 + x], f32::from(wanted), "{x} {y} {c}");
            }
        }
    }
}

#[test]
fn halving_takes_the_mean_of_four() {
    let data = gradient(8, 4, 1);
    let mut frame = FrameView::packed(PixelFormat::Gray8, 8, 4, &data).unwrap();
    frame.range = ColorRange::Full;
    let letterbox = Letterbox::fit(&frame, 4, 1);
    assert_eq!((letterbox.content_width, letterbox.content_height), (4, 2));
    let mut out = Vec::new();
    Preprocessor::default().letterbox(&frame, &letterbox, &PLAIN, &mut out);
    for y in 0..2 {
        for x in 0..4 {
            let at = |dx, dy| f32::from(data[(2 * y + dy) * 8 + 2 * x + dx]);
            let mean = (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4.0;
            assert!((out[y * 4 + x] - mean).abs() < 1e-4);
        }
    }
}

#[test]
fn primary_colours_come_back_from_every_format() {
    // Y'CbCr of pure red, BT.709, limited range.
    let (y, u, v) = (63u8, 102u8, 240u8);
    let luma = vec![y; 16];
    let nv: Vec<u8> = [u, v].repeat(4);
    let (iu, iv) = (vec![u; 4], vec![v; 4]);
    let plane = |data, stride| Plane { data, stride };
    let mut nv12 =
        FrameView::new(PixelFormat::Nv12, 4, 4, &[plane(&luma, 4), plane(&nv, 4)]).unwrap();
    let planes = [plane(&luma, 4), plane(&iu, 2), plane(&iv, 2)];
    let mut i420 = FrameView::new(PixelFormat::I420, 4, 4, &planes).unwrap();
    nv12.matrix = ColorMatrix::Bt709;
    i420.matrix = ColorMatrix::Bt709;
    let (rgb, bgra) = ([255, 0, 0].repeat(16), [0, 0, 255, 9].repeat(16));
    let frames = [
        nv12,
        i420,
        FrameView::packed(PixelFormat::Rgb, 4, 4, &rgb).unwrap(),
        FrameView::packed(PixelFormat::Bgra, 4, 4, &bgra).unwrap(),
    ];
    for frame in frames {
        let mut out = Vec::new();
        let letterbox = Letterbox::fit(&frame, 4, 4);
        Preprocessor::default().letterbox(&frame, &letterbox, &PLAIN, &mut out);
        for (c, wanted) in [255.0, 0.0, 0.0].into_iter().enumerate() {
            let got = out[c * 16 + 5];
            assert!((got - wanted).abs() <= 2.0, "{:?} {c}: {got}", frame.format());
        }
    }
}

#[test]
fn wide_pixels_are_stretched() {
    let data = gradient(4, 4, 1);
    let mut frame = FrameView::packed(PixelFormat::Gray8, 4, 4, &data).unwrap();
    frame.pixel_aspect = 2.0;
    let letterbox = Letterbox::fit(&frame, 640, 1);
    assert_eq!((letterbox.width, letterbox.height), (8, 4));
    let back = letterbox.box_to_source(&BBox::new(4.0, 2.0, 2.0, 1.0));
    assert_eq!(back, BBox::new(2.0, 2.0, 1.0, 1.0));
}

#[test]
fn model_of_one_size_gets_that_size() {
    let data = gradient(80, 40, 1);
    let frame = FrameView::packed(PixelFormat::Gray8, 80, 40, &data).unwrap();
    let content = |max_side, size| {
        let l = Letterbox::fit_into(&frame, max_side, size);
        assert_eq!([l.width, l.height], size.map(|side| side as usize));
        (l.content_width, l.content_height, l.scale_y)
    };
    assert_eq!(content(640, [320, 240]), (80, 40, 1.0), "never enlarged");
    assert_eq!(content(640, [40, 60]), (40, 20, 0.5));
    assert_eq!(content(640, [60, 10]), (20, 10, 0.25));
    assert_eq!(content(20, [320, 240]), (20, 10, 0.25), "the smaller limit counts");
    assert_eq!(content(0, [1, 1]).0, 1);
    let mut out = Vec::new();
    let letterbox = Letterbox::fit_into(&frame, 640, [24, 16]);
    Preprocessor::default().letterbox(&frame, &letterbox, &PLAIN, &mut out);
    assert_eq!(out.len(), 3 * 24 * 16);
    assert_eq!(out[12 * 24..16 * 24], [0.0; 4 * 24], "below the picture it is black");
    let mut spec = crate::model::find(crate::model::DEFAULT_DETECTOR).unwrap().clone();
    assert_eq!(Letterbox::for_model(&frame, &spec, 640).height, 64);
    (spec.size, spec.size_multiple) = (Some([48, 48]), None);
    assert_eq!(Letterbox::for_model(&frame, &spec, 640).height, 48);
}

#[test]
fn one_pixel_frames_work_in_every_format() {
    for format in PixelFormat::ALL {
        let data = [77u8; 8];
        let planes = vec![Plane { data: &data, stride: 8 }; format.planes().len()];
        let frame = FrameView::new(format, 1, 1, &planes).unwrap();
        let mut out = Vec::new();
        let letterbox = Letterbox::fit(&frame, 640, 32);
        Preprocessor::default().letterbox(&frame, &letterbox, &PLAIN, &mut out);
        assert_eq!(out.len(), 3 * 32 * 32);
    }
}

/// Bytes of a frame with neighbours that are unlike each other, and rows with padding.
struct Noise {
    format: PixelFormat,
    size: [u32; 2],
    planes: Vec<(Vec<u8>, usize)>,
}

impl Noise {
    fn new(format: PixelFormat, size: [u32; 2]) -> Noise {
        let mut state = 7u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let planes = format.planes().iter().map(|(bytes, sx, sy)| {
            let stride = size[0].div_ceil(*sx) as usize * bytes + 3;
            let rows = size[1].div_ceil(*sy) as usize;
            ((0..stride * rows).map(|_| byte()).collect(), stride)
        });
        Noise { format, size, planes: planes.collect() }
    }

    fn view(&self) -> FrameView<'_> {
        let planes: Vec<_> =
            self.planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
        let mut view = FrameView::new(self.format, self.size[0], self.size[1], &planes).unwrap();
        view.matrix = ColorMatrix::Bt709;
        view
    }

    /// Byte `byte` of a plane, whose samples lie `sub` pixels apart, at target pixel (x, y) of a
    /// target `step` pixels apart.
    fn at(&self, plane: usize, byte: usize, [x, y]: [usize; 2], step: [f64; 2]) -> f64 {
        let (bytes, sx, sy) = self.format.planes()[plane];
        let (data, stride) = &self.planes[plane];
        let axis = |i: usize, step: f64, side: u32, sub: u32| {
            let last = side.div_ceil(sub) as usize - 1;
            let place = ((i as f64 + 0.5) * step / f64::from(sub) - 0.5).clamp(0.0, last as f64);
            (place as usize, (place as usize + 1).min(last), place.fract())
        };
        let (x0, x1, wx) = axis(x, step[0], self.size[0], sx);
        let (y0, y1, wy) = axis(y, step[1], self.size[1], sy);
        let value = |x: usize, y: usize| f64::from(data[y * stride + x * bytes + byte]);
        (value(x0, y0) * (1.0 - wx) + value(x1, y0) * wx) * (1.0 - wy)
            + (value(x0, y1) * (1.0 - wx) + value(x1, y1) * wx) * wy
    }

    fn rgb(&self, at: [usize; 2], step: [f64; 2]) -> [f64; 3] {
        let [y, u, v] = match self.format {
            PixelFormat::Nv12 => [(0, 0), (1, 0), (1, 1)],
            PixelFormat::I420 => [(0, 0), (1, 0), (2, 0)],
            PixelFormat::Gray8 => [(0, 0); 3],
            _ => {
                let (positions, _) = interleaved(self.format).unwrap();
                return positions.map(|byte| self.at(0, byte, at, step));
            }
        }
        .map(|(plane, byte)| self.at(plane, byte, at, step));
        let [u, v] = if self.format == PixelFormat::Gray8 { [128.0; 2] } else { [u, v] };
        // ITU-R BT.709, limited range, as it is usually written.
        let (y, u, v) = ((y - 16.0) * 255.0 / 219.0, (u - 128.0) / 224.0, (v - 128.0) / 224.0);
        let rgb = [
            y + 255.0 * 1.5748 * v,
            y - 255.0 * (0.187_324 * u + 0.468_124 * v),
            y + 255.0 * 1.8556 * u,
        ];
        rgb.map(|c| c.clamp(0.0, 255.0))
    }
}

/// Source sizes and longest sides of the target: as it is, halved, by three, by odd parts, by more
/// than shuffling reaches, extreme aspects.
const SHAPES: [([u32; 2], u32); 12] = [
    ([64, 36], 64),
    ([64, 36], 32),
    ([96, 54], 32),
    ([97, 55], 40),
    ([101, 37], 100),
    ([160, 90], 37),
    ([640, 20], 33),
    ([1000, 3], 9),
    ([3, 1000], 31),
    ([2, 2], 1),
    ([1, 9], 9),
    ([5, 1], 3),
];

#[test]
fn every_format_is_sampled_as_plain_arithmetic_says() {
    let mut preprocessor = Preprocessor::default();
    let mut out = Vec::new();
    for ((size, side), format) in SHAPES.into_iter().flat_map(|s| PixelFormat::ALL.map(|f| (s, f)))
    {
        let noise = Noise::new(format, size);
        let letterbox = Letterbox::fit(&noise.view(), side, 1);
        let (w, h) = (letterbox.width, letterbox.height);
        let step = [f64::from(size[0]) / w as f64, f64::from(size[1]) / h as f64];
        preprocessor.letterbox(&noise.view(), &letterbox, &PLAIN, &mut out);
        for (i, c) in (0..w * h).flat_map(|i| (0..3).map(move |c| (i, c))) {
            let (got, wanted) = (f64::from(out[c * w * h + i]), noise.rgb([i % w, i / w], step)[c]);
            assert!((got - wanted).abs() < 0.1, "{format:?} {size:?} {i} {c}: {got}, not {wanted}");
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_tensor() {
    let normalization =
        Normalization { channels: ChannelOrder::Bgr, mean: [104.0, 117.0, 123.0], std: [57.0; 3] };
    for ((size, side), format) in SHAPES.into_iter().flat_map(|s| PixelFormat::ALL.map(|f| (s, f)))
    {
        let noise = Noise::new(format, size);
        let letterbox = Letterbox::fit(&noise.view(), side, 8);
        let mut tensors = levels().into_iter().map(|level| {
            let (mut preprocessor, mut out) = (Preprocessor::default(), Vec::new());
            preprocessor.letterbox_by(level, &noise.view(), &letterbox, &normalization, &mut out);
            out
        });
        let first = tensors.next().unwrap();
        assert!(tensors.all(|tensor| tensor == first), "{format:?} {size:?}");
    }
}

/// The instruction sets of this machine.
fn levels() -> Vec<Level> {
    let best = Level::new();
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
    let mut levels = vec![Level::baseline(), best];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(best.as_sse4_2().map(Level::Sse4_2));
        levels.extend(best.as_avx2().map(Level::Avx2));
    }
    levels
}

#[test]
fn scratch_memory_of_other_formats_and_sizes_leaves_nothing_behind() {
    let mut kept = Preprocessor::default();
    let (mut used, mut fresh) = (Vec::new(), Vec::new());
    for ((size, side), format) in SHAPES.into_iter().flat_map(|s| PixelFormat::ALL.map(|f| (s, f)))
    {
        let noise = Noise::new(format, size);
        let letterbox = Letterbox::fit(&noise.view(), side, 4);
        kept.letterbox(&noise.view(), &letterbox, &PLAIN, &mut used);
        Preprocessor::default().letterbox(&noise.view(), &letterbox, &PLAIN, &mut fresh);
        assert!(used == fresh, "{format:?} {size:?}");
    }
}
