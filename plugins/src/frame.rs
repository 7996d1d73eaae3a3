//! A mapped GStreamer video frame as a [`FrameView`].

use std::sync::LazyLock;

use face_core::frame::{ColorMatrix, ColorRange, FrameError, FrameView, PixelFormat, Plane};
use gst_video::prelude::*;
use gst_video::{VideoColorMatrix, VideoColorRange, VideoFormat};

/// The formats that the elements read as they are.
const FORMATS: [(VideoFormat, PixelFormat); 9] = [
    (VideoFormat::Nv12, PixelFormat::Nv12),
    (VideoFormat::I420, PixelFormat::I420),
    (VideoFormat::Rgb, PixelFormat::Rgb),
    (VideoFormat::Bgr, PixelFormat::Bgr),
    (VideoFormat::Rgba, PixelFormat::Rgba),
    (VideoFormat::Bgra, PixelFormat::Bgra),
    (VideoFormat::Rgbx, PixelFormat::Rgbx),
    (VideoFormat::Bgrx, PixelFormat::Bgrx),
    (VideoFormat::Gray8, PixelFormat::Gray8),
];

/// Caps of all formats that the elements read as they are.
pub(crate) static CAPS: LazyLock<gst::Caps> = LazyLock::new(|| {
    gst_video::VideoCapsBuilder::new().format_list(FORMATS.map(|(format, _)| format)).build()
});

/// Why a buffer cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    #[error("the format {0} is not supported")]
    Format(VideoFormat),
    #[error("plane {0} has a negative stride")]
    Stride(usize),
    #[error("plane {0} cannot be read")]
    Plane(usize),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// The frame's planes, format, colorimetry and pixel aspect, without a copy.
pub(crate) fn view<'a>(
    frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>,
) -> Result<FrameView<'a>, ViewError> {
    let info = frame.info();
    let format = FORMATS.iter().find(|(format, _)| *format == info.format());
    let (_, format) = format.ok_or(ViewError::Format(info.format()))?;
    const NONE: Plane<'static> = Plane { data: &[], stride: 0 };
    let mut planes = [NONE; 3];
    let count = (frame.n_planes() as usize).min(planes.len());
    for (i, plane) in planes[..count].iter_mut().enumerate() {
        let stride = usize::try_from(frame.plane_stride()[i]).map_err(|_| ViewError::Stride(i))?;
        let data = frame.plane_data(i as u32).map_err(|_| ViewError::Plane(i))?;
        *plane = Plane { data, stride };
    }
    let mut view = FrameView::new(*format, frame.width(), frame.height(), &planes[..count])?;
    let colorimetry = info.colorimetry();
    view.matrix = match colorimetry.matrix() {
        VideoColorMatrix::Bt709 | VideoColorMatrix::Smpte240m => ColorMatrix::Bt709,
        VideoColorMatrix::Bt2020 => ColorMatrix::Bt2020,
        _ => ColorMatrix::Bt601,
    };
    view.range = match colorimetry.range() {
        VideoColorRange::Range0_255 => ColorRange::Full,
        _ => ColorRange::Limited,
    };
    let par = info.par();
    if par.numer() > 0 && par.denom() > 0 {
        view.pixel_aspect = par.numer() as f32 / par.denom() as f32;
    }
    Ok(view)
}

/// 1 / frame rate; `None` for a variable one.
pub(crate) fn duration_ns(info: &gst_video::VideoInfo) -> Option<u64> {
    let (n, d) = (info.fps().numer(), info.fps().denom());
    let (n, d) = (u64::try_from(n).ok()?, u64::try_from(d).ok()?);
    d.saturating_mul(gst::ClockTime::SECOND.nseconds()).checked_div(n).filter(|ns| *ns > 0)
}
