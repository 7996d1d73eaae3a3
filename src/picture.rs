//! Still pictures: JPEG, PNG, BMP and WebP files as upright RGB, within limits that keep a crafted
//! file from eating the memory.

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageEncoder, ImageError, ImageReader, Limits};

use crate::align::{AlignedCrop, CROP_SIDE};
use crate::frame::{FrameView, PixelFormat};

/// Largest file that is read: the largest picture that is decoded, stored without compression.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Longest side in pixels: the most that WebP, and nearly the most that a camera, can store.
const MAX_SIDE: u32 = 32_768;

/// Most pixels of a picture: more than the 108 million of the larger sensors of phones.
const MAX_PIXELS: u64 = 120_000_000;

/// Most bytes that a decoder may ask for: as many pixels with four channels.
const MAX_DECODED_BYTES: u64 = 512 << 20;

/// Lower-case endings of the files that [`Picture::open`] is meant for. The contents decide what
/// a file is, not its name.
pub const FILE_ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "bmp", "webp"];

/// Why a picture cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("read picture '{name}'")]
    Read { name: String, source: std::io::Error },
    #[error("picture '{name}' is an empty file")]
    Empty { name: String },
    #[error("'{name}' is not a JPEG, PNG, BMP or WebP picture")]
    Format { name: String },
    #[error("picture '{name}' is too large: {reason}")]
    TooLarge { name: String, reason: String },
    #[error("decode picture '{name}': {reason}")]
    Decode { name: String, reason: String },
}

/// A decoded picture: RGB, 8 bits per channel, turned upright as its EXIF data say. Transparency
/// is dropped.
///
/// ```
/// use face_core::picture::{Picture, PictureError};
///
/// // One white pixel as BMP.
/// let mut file = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
/// file.resize(0x36, 0);
/// file.extend([255, 255, 255, 0]);
/// let picture = Picture::decode("white.bmp", &file)?;
/// assert_eq!((picture.width(), picture.height()), (1, 1));
/// assert_eq!(picture.as_rgb(), [255, 255, 255]);
/// # Ok::<(), PictureError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

impl Picture {
    /// Reads and decodes a file (or pipe).
    ///
    /// # Errors
    /// [`PictureError`], which names the path.
    pub fn open(path: &Path) -> Result<Self, PictureError> {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|source| PictureError::Read { name: name.clone(), source })?;
        Self::decode(&name, &bytes)
    }

    /// Decodes the contents of a file; `name` is for error texts only.
    ///
    /// # Errors
    /// [`PictureError`], which has the name; never [`PictureError::Read`].
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, PictureError> {
        Self::decode_within(name, bytes, MAX_SIDE)
    }

    /// As [`Picture::decode`], for pictures whose size is known: one with a side of more than
    /// `max_side_px` pixels is refused before it is decoded.
    ///
    /// # Errors
    /// As [`Picture::decode`].
    pub fn decode_within(name: &str, bytes: &[u8], max_side_px: u32) -> Result<Self, PictureError> {
        if bytes.is_empty() {
            return Err(PictureError::Empty { name: name.to_owned() });
        }
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let reason = format!("it has more than {} MiB", MAX_FILE_BYTES >> 20);
            return Err(PictureError::TooLarge { name: name.to_owned(), reason });
        }
        // The decoders are other people's code that reads hostile files: a panic there must cost
        // one picture, not the process.
        let max_side = max_side_px.min(MAX_SIDE);
        catch_unwind(AssertUnwindSafe(|| decode(name, bytes, max_side))).unwrap_or_else(|_| {
            let reason = "the decoder gave up".to_owned();
            Err(PictureError::Decode { name: name.to_owned(), reason })
        })
    }

    pub fn width(&self) -> u32 {
        self.width
    }

    pub fn height(&self) -> u32 {
        self.height
    }

    /// Red, green and blue, row by row without padding.
    pub fn as_rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The picture as a frame with square pixels.
    pub fn view(&self) -> FrameView<'_> {
        FrameView::packed(PixelFormat::Rgb, self.width, self.height, &self.rgb)
            .expect("a decoded picture has pixels, three bytes for each")
    }
}

fn decode(name: &str, bytes: &[u8], max_side: u32) -> Result<Picture, PictureError> {
    let fail = |e: ImageError| error(name, &e);
    let too_large = |reason: String| PictureError::TooLarge { name: name.to_owned(), reason };
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| fail(ImageError::IoError(e)))?;
    if reader.format().is_none() {
        return Err(PictureError::Format { name: name.to_owned() });
    }
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(max_side);
    limits.max_image_height = Some(max_side);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        let reason = format!("{width}x{height} pixels are no picture");
        return Err(PictureError::Decode { name: name.to_owned(), reason });
    }
    // Not every decoder keeps the limits it was given: check before it allocates.
    let pixels = u64::from(width) * u64::from(height);
    if width > max_side || height > max_side || pixels > MAX_PIXELS {
        return Err(too_large(format!(
            "{width}x{height} pixels, at most {max_side} per side and {} million are read",
            MAX_PIXELS / 1_000_000
        )));
    }
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(too_large(format!("it takes more than {} MiB", MAX_DECODED_BYTES >> 20)));
    }
    // A picture whose EXIF data are damaged is shown as it is stored.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
    picture.apply_orientation(orientation);
    let rgb = picture.into_rgb8();
    let (width, height) = rgb.dimensions();
    Ok(Picture { width, height, rgb: rgb.into_raw() })
}

fn error(name: &str, e: &ImageError) -> PictureError {
    let name = name.to_owned();
    match e {
        ImageError::Unsupported(u)
            if matches!(u.kind(), image::error::UnsupportedErrorKind::Format(_)) =>
        {
            PictureError::Format { name }
        }
        ImageError::Limits(_) => PictureError::TooLarge { name, reason: e.to_string() },
        _ => PictureError::Decode { name, reason: e.to_string() },
    }
}

impl AlignedCrop {
    /// The crop as a PNG file.
    ///
    /// # Errors
    /// [`PictureError::Decode`] if the encoder fails, which for a crop's fixed size means that
    /// there is no memory.
    pub fn to_png(&self) -> Result<Vec<u8>, PictureError> {
        let side = CROP_SIDE as u32;
        png("aligned crop", side, side, self.as_rgb())
    }
}

/// What a JPEG file that is only looked at loses nobody sees.
const JPEG_QUALITY: u8 = 85;

/// RGB pixels as a JPEG file; `name` is for the error text.
pub(crate) fn jpeg(
    name: &str,
    width: u32,
    height: u32,
    rgb: &[u8],
) -> Result<Vec<u8>, PictureError> {
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
        .write_image(rgb, width, height, image::ExtendedColorType::Rgb8)
        .map_err(|e| error(name, &e))?;
    Ok(jpeg)
}

/// RGB pixels as a PNG file; `name` is for the error text.
pub(crate) fn png(
    name: &str,
    width: u32,
    height: u32,
    rgb: &[u8],
) -> Result<Vec<u8>, PictureError> {
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png)
        .write_image(rgb, width, height, image::ExtendedColorType::Rgb8)
        .map_err(|e| error(name, &e))?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, codecs};

    /// 3 × 2 pixels: red, green, blue; black, white, grey.
    const PIXELS: [u8; 18] =
        [255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 128, 128, 128];

    fn encoded(with: impl FnOnce(&mut Vec<u8>) -> image::ImageResult<()>) -> Vec<u8> {
        let mut bytes = Vec::new();
        with(&mut bytes).unwrap();
        bytes
    }

    fn png() -> Vec<u8> {
        encoded(|b| {
            codecs::png::PngEncoder::new(b).write_image(&PIXELS, 3, 2, ExtendedColorType::Rgb8)
        })
    }

    /// The same JPEG with an EXIF block that says how the picture is to be turned.
    fn jpeg(width: u32, height: u32, pixels: &[u8], orientation: Option<u8>) -> Vec<u8> {
        let mut bytes = encoded(|b| {
            codecs::jpeg::JpegEncoder::new_with_quality(b, 100).write_image(
                pixels,
                width,
                height,
                ExtendedColorType::Rgb8,
            )
        });
        if let Some(value) = orientation {
            let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
            exif.extend([value, 0, 0, 0, 0, 0, 0, 0]);
            let mut segment = vec![0xff, 0xe1, 0, exif.len() as u8 + 2];
            segment.extend(exif);
            bytes.splice(2..2, segment);
        }
        bytes
    }

    #[test]
    fn lossless_formats_decode_to_the_same_rgb() {
        let bmp = encoded(|b| {
            codecs::bmp::BmpEncoder::new(b).write_image(&PIXELS, 3, 2, ExtendedColorType::Rgb8)
        });
        let webp = encoded(|b| {
            codecs::webp::WebPEncoder::new_lossless(b).write_image(
                &PIXELS,
                3,
                2,
                ExtendedColorType::Rgb8,
            )
        });
        for file in [png(), bmp, webp] {
            let picture = Picture::decode("x", &file).unwrap();
            assert_eq!((picture.width(), picture.height()), (3, 2));
            assert_eq!(picture.as_rgb(), PIXELS);
            assert_eq!(picture.view().format(), PixelFormat::Rgb);
        }
    }

    #[test]
    fn grey_and_transparent_and_16_bit_pictures_become_rgb() {
        let grey = encoded(|b| {
            codecs::png::PngEncoder::new(b).write_image(&[7, 9], 2, 1, ExtendedColorType::L8)
        });
        assert_eq!(Picture::decode("x", &grey).unwrap().as_rgb(), [7, 7, 7, 9, 9, 9]);
        let rgba = encoded(|b| {
            let pixel = [1, 2, 3, 0];
            codecs::png::PngEncoder::new(b).write_image(&pixel, 1, 1, ExtendedColorType::Rgba8)
        });
        assert_eq!(Picture::decode("x", &rgba).unwrap().as_rgb(), [1, 2, 3]);
        let deep = encoded(|b| {
            let pixel = [0xff, 0xff, 0, 0, 0x80, 0x80];
            codecs::png::PngEncoder::new(b).write_image(&pixel, 1, 1, ExtendedColorType::Rgb16)
        });
        assert_eq!(Picture::decode("x", &deep).unwrap().as_rgb(), [255, 0, 128]);
    }

    #[test]
    fn exif_orientation_is_applied() {
        // Left half black, right half white, 32 × 16; stored so that it is turned by 90 degrees
        // clockwise to be upright: the left half comes to the top.
        let row: Vec<u8> = (0..32).flat_map(|x| [if x < 16 { 0 } else { 255 }; 3]).collect();
        let pixels = row.repeat(16);
        let plain = Picture::decode("x", &jpeg(32, 16, &pixels, None)).unwrap();
        assert_eq!((plain.width(), plain.height()), (32, 16));
        let turned = Picture::decode("x", &jpeg(32, 16, &pixels, Some(6))).unwrap();
        assert_eq!((turned.width(), turned.height()), (16, 32));
        let at = |x: usize, y: usize| turned.as_rgb()[(y * 16 + x) * 3];
        assert!(at(8, 2) < 20 && at(8, 29) > 235, "{} {}", at(8, 2), at(8, 29));
        // A value that does not exist counts as none.
        let odd = Picture::decode("x", &jpeg(32, 16, &pixels, Some(77))).unwrap();
        assert_eq!((odd.width(), odd.height()), (32, 16));
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        for bytes in [&b"hello, this is text"[..], b"GIF89a\x01\0\x01\0\0\0\0;", b"%PDF-1.7"] {
            let error = Picture::decode("a/b.jpg", bytes).unwrap_err();
            assert!(matches!(error, PictureError::Format { .. }), "{error:?}");
            assert!(error.to_string().contains("'a/b.jpg'"), "{error}");
        }
        let empty = Picture::decode("e.png", b"").unwrap_err();
        assert_eq!(empty.to_string(), "picture 'e.png' is an empty file");
        let folder = Picture::open(Path::new("/")).unwrap_err();
        assert!(matches!(folder, PictureError::Read { .. }), "{folder:?}");
        let missing = Picture::open(Path::new("/nonexistent/x.png")).unwrap_err();
        assert_eq!(missing.to_string(), "read picture '/nonexistent/x.png'");
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_an_error_or_a_picture() {
        let jpeg = jpeg(16, 16, &[90; 16 * 16 * 3], Some(3));
        for file in [png(), jpeg] {
            for end in 1..file.len() {
                let _ = Picture::decode("x", &file[..end]);
            }
            for i in 0..file.len() {
                let mut damaged = file.clone();
                damaged[i] ^= 0xff;
                if let Ok(picture) = Picture::decode("x", &damaged) {
                    let pixels = picture.width() as usize * picture.height() as usize;
                    assert_eq!(picture.as_rgb().len(), 3 * pixels);
                }
            }
        }
        assert!(Picture::decode("x", &png()[..40]).is_err());
    }

    #[test]
    fn decompression_bomb_is_refused_before_it_is_decoded() {
        // A PNG header that promises 30,000 × 30,000 pixels, and one beyond the longest side.
        for (width, height) in [(30_000u32, 30_000u32), (4_000_000, 10)] {
            let mut bomb = png();
            bomb[16..20].copy_from_slice(&width.to_be_bytes());
            bomb[20..24].copy_from_slice(&height.to_be_bytes());
            let crc = crc32(&bomb[12..29]);
            bomb[29..33].copy_from_slice(&crc.to_be_bytes());
            let error = Picture::decode("bomb.png", &bomb).unwrap_err();
            assert!(matches!(error, PictureError::TooLarge { .. }), "{error:?}");
            assert!(error.to_string().contains("'bomb.png'"), "{error}");
        }
    }

    #[test]
    fn picture_larger_than_it_should_be_is_refused() {
        assert!(Picture::decode_within("x", &png(), 3).is_ok());
        let error = Picture::decode_within("x", &png(), 2).unwrap_err();
        assert!(matches!(error, PictureError::TooLarge { .. }), "{error:?}");
    }

    /// CRC-32 of PNG chunks (ISO 3309), bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            }
        }
        !crc
    }

    #[test]
    fn crop_survives_png() {
        let pixels: Vec<u8> = (0..CROP_SIDE * CROP_SIDE * 3).map(|i| (i * 7 % 256) as u8).collect();
        let crop = AlignedCrop::from_rgb(pixels).unwrap();
        let back = Picture::decode("crop", &crop.to_png().unwrap()).unwrap();
        assert_eq!(back.as_rgb(), crop.as_rgb());
    }
}
