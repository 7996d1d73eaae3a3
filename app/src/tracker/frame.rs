//! A picture of the program's own, and how it becomes a buffer.

use std::borrow::Cow;
use std::fmt;

use face_core::frame::{ColorMatrix, ColorRange, FrameView, PixelFormat};
use gst_video::{VideoColorMatrix, VideoColorRange, VideoFormat};

/// A picture: rows without padding, planes one after another. Subsampled planes of odd sizes round
/// up.
#[derive(Clone)]
pub struct Frame<'a> {
    pub format: PixelFormat,
    /// Pixels, 1..=32767.
    pub width: u32,
    pub height: u32,
    /// Owned data is handed on without a copy; borrowed data is copied.
    pub data: Cow<'a, [u8]>,
    /// Time of the picture, ns; absent: one frame after the one before, by the frame rate. It must
    /// not lie before that of the frame before.
    pub pts_ns: Option<u64>,
    /// Matrix of YUV formats; at first BT.601.
    pub matrix: ColorMatrix,
    /// Range of YUV and grey formats; at first limited.
    pub range: ColorRange,
    /// Width of a pixel divided by its height, .01..=100; at first 1.
    pub pixel_aspect: f32,
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // Not the pixels.
        let Self { format, width, height, data, pts_ns, .. } = self;
        write!(f, "Frame({format:?}, {width}x{height}, {} bytes, {pts_ns:?})", data.len())
    }
}

/// Why a frame cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum FrameFault {
    #[error("no picture has {width}x{height} pixels; 1x1 to 32767x32767 is possible")]
    Size { width: u32, height: u32 },
    #[error("{wanted} bytes are needed for {format:?} of {width}x{height} pixels, got {got}")]
    Length { format: PixelFormat, width: u32, height: u32, wanted: usize, got: usize },
    #[error("its time, {pts_ns} ns, lies before that of the frame before, {last_ns} ns")]
    Time { pts_ns: u64, last_ns: u64 },
    #[error("a pixel aspect ratio of {0} is not possible")]
    PixelAspect(f32),
}

/// Largest width and height: those of GStreamer's own converters.
const LARGEST: u32 = 32_767;

/// Offset and bytes per row of each plane, and the length of all.
#[derive(Debug, PartialEq)]
struct Layout {
    offsets: Vec<usize>,
    strides: Vec<i32>,
    bytes: usize,
}

impl<'a> Frame<'a> {
    /// A picture without a time, BT.601, limited range, square pixels. It is checked when it is
    /// used.
    pub fn new(
        format: PixelFormat,
        width: u32,
        height: u32,
        data: impl Into<Cow<'a, [u8]>>,
    ) -> Self {
        Self {
            format,
            width,
            height,
            data: data.into(),
            pts_ns: None,
            matrix: ColorMatrix::default(),
            range: ColorRange::default(),
            pixel_aspect: 1.0,
        }
    }

    /// The same at a time, ns.
    #[must_use]
    pub fn at(mut self, pts_ns: u64) -> Self {
        self.pts_ns = Some(pts_ns);
        self
    }

    /// A copy of a borrowed picture, without the padding of its rows.
    pub fn copy_of(view: &FrameView) -> Frame<'static> {
        let (format, width, height) = (view.format(), view.width(), view.height());
        let mut data = Vec::new();
        for (plane, (row, rows)) in view.planes().iter().zip(planes(format, width, height)) {
            for y in 0..rows {
                let start = y * plane.stride;
                data.extend_from_slice(plane.data.get(start..start + row).unwrap_or_default());
            }
        }
        let mut frame = Frame::new(format, width, height, data);
        (frame.matrix, frame.range) = (view.matrix, view.range);
        frame.pixel_aspect = view.pixel_aspect;
        frame
    }

    fn layout(&self) -> Result<Layout, FrameFault> {
        let (width, height, format) = (self.width, self.height, self.format);
        if !(1..=LARGEST).contains(&width) || !(1..=LARGEST).contains(&height) {
            return Err(FrameFault::Size { width, height });
        }
        let mut layout = Layout { offsets: Vec::new(), strides: Vec::new(), bytes: 0 };
        for (row, rows) in planes(format, width, height) {
            layout.offsets.push(layout.bytes);
            // At most 4 × 32767.
            layout.strides.push(row as i32);
            layout.bytes += row * rows;
        }
        let (wanted, got) = (layout.bytes, self.data.len());
        if wanted != got {
            return Err(FrameFault::Length { format, width, height, wanted, got });
        }
        Ok(layout)
    }

    /// Caps at a frame rate.
    fn info(&self, rate: gst::Fraction) -> Result<gst_video::VideoInfo, FrameFault> {
        let aspect = FrameFault::PixelAspect(self.pixel_aspect);
        if !(0.01..=100.0).contains(&self.pixel_aspect) {
            return Err(aspect);
        }
        let par = gst::Fraction::approximate_f32(self.pixel_aspect).ok_or(aspect)?;
        let (width, height) = (self.width, self.height);
        let mut builder = gst_video::VideoInfo::builder(video_format(self.format), width, height)
            .fps(rate)
            .par(par);
        let colours = self.colorimetry();
        if let Some(colours) = &colours {
            builder = builder.colorimetry(colours);
        }
        builder.build().map_err(|_| FrameFault::Size { width, height })
    }

    /// `None`: as every picture of the format.
    fn colorimetry(&self) -> Option<gst_video::VideoColorimetry> {
        let yuv = matches!(self.format, PixelFormat::Nv12 | PixelFormat::I420);
        if !yuv && self.format != PixelFormat::Gray8 {
            return None;
        }
        let (matrix, transfer, primaries) = match self.matrix {
            ColorMatrix::Bt601 => (
                VideoColorMatrix::Bt601,
                gst_video::VideoTransferFunction::Bt601,
                gst_video::VideoColorPrimaries::Smpte170m,
            ),
            ColorMatrix::Bt709 => (
                VideoColorMatrix::Bt709,
                gst_video::VideoTransferFunction::Bt709,
                gst_video::VideoColorPrimaries::Bt709,
            ),
            ColorMatrix::Bt2020 => (
                VideoColorMatrix::Bt2020,
                gst_video::VideoTransferFunction::Bt202010,
                gst_video::VideoColorPrimaries::Bt2020,
            ),
        };
        let range = match self.range {
            ColorRange::Full => VideoColorRange::Range0_255,
            ColorRange::Limited => VideoColorRange::Range16_235,
        };
        Some(gst_video::VideoColorimetry::new(range, matrix, transfer, primaries))
    }

    /// The picture as a buffer without a time, and its caps.
    pub(crate) fn into_buffer(
        self,
        rate: gst::Fraction,
    ) -> Result<(gst::Buffer, gst_video::VideoInfo), FrameFault> {
        let layout = self.layout()?;
        let info = self.info(rate)?;
        let (width, height) = (self.width, self.height);
        let mut buffer = gst::Buffer::from_slice(self.data.into_owned());
        // GStreamer's own rows are padded to four bytes: these are as the meta says.
        gst_video::VideoMeta::add_full(
            buffer.make_mut(),
            gst_video::VideoFrameFlags::empty(),
            info.format(),
            width,
            height,
            &layout.offsets,
            &layout.strides,
        )
        .map_err(|_| FrameFault::Size { width, height })?;
        Ok((buffer, info))
    }
}

/// Bytes per row and rows of each plane.
fn planes(format: PixelFormat, width: u32, height: u32) -> Vec<(usize, usize)> {
    let (w, h) = (width as usize, height as usize);
    let (half_w, half_h) = (w.div_ceil(2), h.div_ceil(2));
    match format {
        PixelFormat::Nv12 => vec![(w, h), (2 * half_w, half_h)],
        PixelFormat::I420 => vec![(w, h), (half_w, half_h), (half_w, half_h)],
        PixelFormat::Rgb | PixelFormat::Bgr => vec![(3 * w, h)],
        PixelFormat::Rgba | PixelFormat::Bgra | PixelFormat::Rgbx | PixelFormat::Bgrx => {
            vec![(4 * w, h)]
        }
        PixelFormat::Gray8 => vec![(w, h)],
    }
}

fn video_format(format: PixelFormat) -> VideoFormat {
    match format {
        PixelFormat::Nv12 => VideoFormat::Nv12,
        PixelFormat::I420 => VideoFormat::I420,
        PixelFormat::Rgb => VideoFormat::Rgb,
        PixelFormat::Bgr => VideoFormat::Bgr,
        PixelFormat::Rgba => VideoFormat::Rgba,
        PixelFormat::Bgra => VideoFormat::Bgra,
        PixelFormat::Rgbx => VideoFormat::Rgbx,
        PixelFormat::Bgrx => VideoFormat::Bgrx,
        PixelFormat::Gray8 => VideoFormat::Gray8,
    }
}

#[cfg(test)]
mod tests {
    use face_core::frame::Plane;
    use gst_video::prelude::*;

    use super::*;

    const RATE: (i32, i32) = (30, 1);

    fn buffer(frame: Frame) -> Result<(gst::Buffer, gst_video::VideoInfo), FrameFault> {
        gst::init().unwrap();
        frame.into_buffer(gst::Fraction::new(RATE.0, RATE.1))
    }

    #[test]
    fn t18_every_format_and_odd_size_becomes_the_same_planes() {
        for format in PixelFormat::ALL {
            let bytes: usize = planes(format, 5, 3).iter().map(|(row, rows)| row * rows).sum();
            let data: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
            let (buffer, info) = buffer(Frame::new(format, 5, 3, &data[..])).unwrap();
            let video = gst_video::VideoFrameRef::from_buffer_ref_readable(&buffer, &info).unwrap();
            let mut found: Vec<u8> = Vec::new();
            for (i, (row, rows)) in planes(format, 5, 3).into_iter().enumerate() {
                let stride = video.plane_stride()[i] as usize;
                let plane = video.plane_data(i as u32).unwrap();
                (0..rows).for_each(|y| found.extend(&plane[y * stride..][..row]));
            }
            assert_eq!(found, data, "{format:?}");
        }
    }

    #[test]
    fn t18_owned_data_is_not_copied() {
        let data = vec![7u8; 12];
        let address = data.as_ptr();
        let (buffer, _) = buffer(Frame::new(PixelFormat::Rgb, 2, 2, data)).unwrap();
        assert_eq!(buffer.map_readable().unwrap().as_ptr(), address);
    }

    #[test]
    fn t18_padding_of_a_borrowed_picture_is_left_out() {
        let data: Vec<u8> = (0..32).collect();
        let plane = [Plane { data: &data, stride: 16 }];
        let mut view = FrameView::new(PixelFormat::Rgb, 2, 2, &plane).unwrap();
        view.pixel_aspect = 2.0;
        let frame = Frame::copy_of(&view);
        assert_eq!(*frame.data, [0, 1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 21]);
        assert_eq!(buffer(frame).unwrap().1.par(), gst::Fraction::new(2, 1));
    }

    #[test]
    fn t18_colours_are_what_the_frame_says() {
        let mut frame = Frame::new(PixelFormat::Gray8, 2, 2, vec![0; 4]);
        (frame.matrix, frame.range) = (ColorMatrix::Bt709, ColorRange::Full);
        let (_, info) = buffer(frame).unwrap();
        assert_eq!(info.colorimetry().range(), VideoColorRange::Range0_255);
        let frame = Frame::new(PixelFormat::I420, 1920, 2, vec![0; 1920 * 3]);
        let (_, info) = buffer(frame).unwrap();
        // GStreamer itself would take so wide a picture for BT.709.
        assert_eq!(info.colorimetry().matrix(), VideoColorMatrix::Bt601);
    }

    #[test]
    fn t18_frames_that_are_no_picture_are_refused() {
        let rgb = PixelFormat::Rgb;
        let fault = |w, h, bytes: usize| buffer(Frame::new(rgb, w, h, vec![0; bytes])).unwrap_err();
        assert_eq!(fault(0, 4, 0), FrameFault::Size { width: 0, height: 4 });
        let (width, height) = (u32::MAX, u32::MAX);
        assert_eq!(fault(width, height, 3), FrameFault::Size { width, height });
        for got in [11, 13] {
            let wanted = FrameFault::Length { format: rgb, width: 2, height: 2, wanted: 12, got };
            assert_eq!(fault(2, 2, got), wanted);
        }
        for aspect in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let mut frame = Frame::new(rgb, 2, 2, vec![0; 12]);
            frame.pixel_aspect = aspect;
            assert!(matches!(buffer(frame), Err(FrameFault::PixelAspect(_))), "{aspect}");
        }
    }
}
