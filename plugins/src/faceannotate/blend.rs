//! Puts sprites into the pixels of a frame.
//!
//! `gst_video_overlay_composition_blend()` knows all our formats, but it unpacks and packs the
//! whole width of the picture for every row of every rectangle, takes BT.601 limited range for
//! granted, drops the chroma of lines that start on an odd row and, in 1.22, takes the padding of
//! RGBx for an alpha. Here the cost is the area of the sprites, and matrix and range are those of
//! the caps.

use gst_video::prelude::*;

use super::image::Sprite;

/// What a component is made of: weights of premultiplied red, green, blue and alpha, in 1/65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weights([i32; 4]);

/// Where the samples of a component are.
struct Component<'a> {
    data: &'a mut [u8],
    /// Bytes from row to row and from sample to sample, and of the first sample.
    row_step: usize,
    step: usize,
    offset: usize,
    /// A sample covers 2^w_sub × 2^h_sub pixels.
    w_sub: u32,
    h_sub: u32,
    weights: Weights,
}

/// Draws the sprites over the frame, in their order.
///
/// # Errors
/// If a plane of the frame cannot be read as its format says.
pub(super) fn blend(
    frame: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
    sprites: &[Sprite],
) -> Result<(), glib::BoolError> {
    let (width, height) = (frame.width(), frame.height());
    let format = frame.format_info();
    if format.has_alpha() {
        return blend_with_alpha(frame, sprites);
    }
    let weights = component_weights(frame.info());
    for (index, &weights) in weights.iter().enumerate().take(format.n_components() as usize) {
        let mut component = component(frame, index, weights)?;
        for sprite in sprites.iter().filter(|s| s.touches(width, height)) {
            component.blend(sprite, width, height);
        }
    }
    Ok(())
}

/// Weights of the components (R, G, B or Y, U, V) of a format without alpha.
fn component_weights(info: &gst_video::VideoInfo) -> [Weights; 3] {
    let fixed = |v: f64| (v * 65536.0).round() as i32;
    if info.is_rgb() {
        let one = 65536;
        return [Weights([one, 0, 0, 0]), Weights([0, one, 0, 0]), Weights([0, 0, one, 0])];
    }
    let colorimetry = info.colorimetry();
    let (kr, kb) = colorimetry.matrix().kr_kb().unwrap_or((0.299, 0.114));
    let full = colorimetry.range() == gst_video::VideoColorRange::Range0_255;
    let (floor, luma, chroma) =
        if full { (0.0, 1.0, 1.0) } else { (16.0 / 255.0, 219.0 / 255.0, 224.0 / 255.0) };
    let y = [kr, 1.0 - kr - kb, kb];
    let row = |coefficients: [f64; 3], scale: f64, base: f64| {
        let [r, g, b] = coefficients.map(|c| fixed(c * scale));
        Weights([r, g, b, fixed(base)])
    };
    let u_range = 0.5 / (1.0 - kb);
    let v_range = 0.5 / (1.0 - kr);
    let center = 128.0 / 255.0;
    [
        row(y, luma, floor),
        row([-y[0] * u_range, -y[1] * u_range, 0.5], chroma, center),
        row([0.5, -y[1] * v_range, -y[2] * v_range], chroma, center),
    ]
}

fn component<'a>(
    frame: &'a mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
    index: usize,
    weights: Weights,
) -> Result<Component<'a>, glib::BoolError> {
    let format = frame.format_info();
    let missing = || glib::bool_error!("format {} has no component {index}", format.name());
    let plane = *format.plane().get(index).ok_or_else(missing)?;
    let step = *format.pixel_stride().get(index).ok_or_else(missing)?;
    let offset = *format.poffset().get(index).ok_or_else(missing)?;
    let w_sub = *format.w_sub().get(index).ok_or_else(missing)?;
    let h_sub = *format.h_sub().get(index).ok_or_else(missing)?;
    let stride = *frame.plane_stride().get(plane as usize).ok_or_else(missing)?;
    let positive = |v: i32| {
        usize::try_from(v).map_err(|_| glib::bool_error!("plane {plane} has the stride {v}"))
    };
    Ok(Component {
        row_step: positive(stride)?,
        step: positive(step)?,
        offset: offset as usize,
        w_sub,
        h_sub,
        weights,
        data: frame.plane_data_mut(plane)?,
    })
}

impl Component<'_> {
    fn blend(&mut self, sprite: &Sprite, width: u32, height: u32) {
        let Some((x0, x1)) = inside(sprite.x, sprite.image.width(), width) else { return };
        let Some((y0, y1)) = inside(sprite.y, sprite.image.height(), height) else { return };
        for row in y0 >> self.h_sub..=(y1 - 1) >> self.h_sub {
            let ys = block(row, self.h_sub, height);
            for column in x0 >> self.w_sub..=(x1 - 1) >> self.w_sub {
                let xs = block(column, self.w_sub, width);
                let pixel = average(sprite, xs, ys);
                if pixel[0] == 0 {
                    continue;
                }
                let at = row as usize * self.row_step + column as usize * self.step + self.offset;
                if let Some(sample) = self.data.get_mut(at) {
                    *sample = self.weights.over(pixel, *sample);
                }
            }
        }
    }
}

/// The part of `at..at + length` inside `0..limit`.
fn inside(at: i32, length: u32, limit: u32) -> Option<(u32, u32)> {
    let from = i64::from(at).max(0);
    let to = (i64::from(at) + i64::from(length)).min(i64::from(limit));
    let range = (u32::try_from(from).ok()?, u32::try_from(to).ok()?);
    (range.0 < range.1).then_some(range)
}

/// The pixels that sample `index` covers; the last one of an odd size covers fewer.
fn block(index: u32, sub: u32, limit: u32) -> (u32, u32) {
    (index << sub, ((index + 1) << sub).min(limit))
}

/// The mean of the sprite's pixels over a block of the picture.
fn average(sprite: &Sprite, xs: (u32, u32), ys: (u32, u32)) -> [u8; 4] {
    let pixel = |x: u32, y: u32| {
        let x = u32::try_from(i64::from(x) - i64::from(sprite.x));
        let y = u32::try_from(i64::from(y) - i64::from(sprite.y));
        match (x, y) {
            (Ok(x), Ok(y)) => sprite.image.pixel(x, y),
            _ => [0; 4],
        }
    };
    if xs.1 - xs.0 == 1 && ys.1 - ys.0 == 1 {
        return pixel(xs.0, ys.0);
    }
    let mut sum = [0u32; 4];
    for y in ys.0..ys.1 {
        for x in xs.0..xs.1 {
            for (sum, value) in sum.iter_mut().zip(pixel(x, y)) {
                *sum += u32::from(value);
            }
        }
    }
    let count = ((xs.1 - xs.0) * (ys.1 - ys.0)).max(1);
    sum.map(|v| ((v + count / 2) / count).min(255) as u8)
}

impl Weights {
    /// `[a, r, g, b]` (premultiplied) over the sample `under`.
    fn over(self, [a, r, g, b]: [u8; 4], under: u8) -> u8 {
        let [wr, wg, wb, wa] = self.0;
        let own =
            wr * i32::from(r) + wg * i32::from(g) + wb * i32::from(b) + wa * i32::from(a) + 32768;
        let rest = i32::from(under) * (255 - i32::from(a));
        ((own >> 16) + (rest + 127) / 255).clamp(0, 255) as u8
    }
}

/// RGBA and BGRA: "over" with an alpha of the picture's own, which is not premultiplied.
fn blend_with_alpha(
    frame: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
    sprites: &[Sprite],
) -> Result<(), glib::BoolError> {
    let (width, height) = (frame.width(), frame.height());
    let format = frame.format_info();
    let offsets: [usize; 4] = match format.poffset() {
        &[r, g, b, a, ..] => [a, r, g, b].map(|v| v as usize),
        _ => return Err(glib::bool_error!("format {} has no alpha", format.name())),
    };
    let Component { data, row_step, step, .. } = component(frame, 0, Weights([0; 4]))?;
    for sprite in sprites {
        let Some((x0, x1)) = inside(sprite.x, sprite.image.width(), width) else { continue };
        let Some((y0, y1)) = inside(sprite.y, sprite.image.height(), height) else { continue };
        for y in y0..y1 {
            for x in x0..x1 {
                let at = y as usize * row_step + x as usize * step;
                if let Some(bytes) = data.get_mut(at..at + step) {
                    over_straight(bytes, offsets, average(sprite, (x, x + 1), (y, y + 1)));
                }
            }
        }
    }
    Ok(())
}

/// Premultiplied `pixel` over straight `bytes`; `offsets` of alpha, red, green and blue in them.
fn over_straight(bytes: &mut [u8], offsets: [usize; 4], pixel: [u8; 4]) {
    let [alpha_at, colors @ ..] = offsets;
    let alpha = u32::from(pixel[0]);
    let Some(&under_alpha) = bytes.get(alpha_at) else { return };
    // In 1/255 of an alpha step, so that nothing is lost before the division.
    let rest = u32::from(under_alpha) * (255 - alpha);
    let total = alpha * 255 + rest;
    if alpha == 0 || total == 0 {
        return;
    }
    for (at, &own) in colors.into_iter().zip(&pixel[1..]) {
        if let Some(value) = bytes.get_mut(at) {
            let sum = u32::from(own) * 255 * 255 + u32::from(*value) * rest;
            *value = ((sum + total / 2) / total).min(255) as u8;
        }
    }
    if let Some(value) = bytes.get_mut(alpha_at) {
        *value = ((total + 127) / 255).min(255) as u8;
    }
}
