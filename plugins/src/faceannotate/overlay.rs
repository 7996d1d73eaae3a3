//! Hands sprites to downstream as an overlay composition instead of drawing them.

use super::image::{Image, Sprite};

/// The caps feature of pictures that may carry an overlay composition.
pub(super) const CAPS_FEATURE: &str = "meta:GstVideoOverlayComposition";

/// The format of overlay rectangles: ARGB in the byte order of the machine.
#[cfg(target_endian = "little")]
const FORMAT: gst_video::VideoFormat = gst_video::VideoFormat::Bgra;
#[cfg(target_endian = "big")]
const FORMAT: gst_video::VideoFormat = gst_video::VideoFormat::Argb;

/// Attaches the sprites to the buffer, over what an element upstream has attached.
///
/// # Errors
/// If a sprite cannot be described as an overlay rectangle.
pub(super) fn attach(
    buffer: &mut gst::BufferRef,
    sprites: &[Sprite],
) -> Result<(), glib::BoolError> {
    let rectangles = sprites.iter().map(rectangle).collect::<Result<Vec<_>, _>>()?;
    if let Some(mut meta) = buffer.meta_mut::<gst_video::VideoOverlayCompositionMeta>() {
        let mut all: Vec<_> = meta.overlay().iter().collect();
        all.extend(rectangles);
        let composition = gst_video::VideoOverlayComposition::new(&all)?;
        meta.set_overlay(&composition);
        return Ok(());
    }
    let composition = gst_video::VideoOverlayComposition::new(&rectangles)?;
    gst_video::VideoOverlayCompositionMeta::add(buffer, &composition);
    Ok(())
}

fn rectangle(sprite: &Sprite) -> Result<gst_video::VideoOverlayRectangle, glib::BoolError> {
    let (width, height) = (sprite.image.width(), sprite.image.height());
    let mut pixels = gst::Buffer::from_slice::<Image>(sprite.image.clone());
    let writable =
        pixels.get_mut().ok_or_else(|| glib::bool_error!("a new buffer is not writable"))?;
    let flags = gst_video::VideoFrameFlags::empty();
    gst_video::VideoMeta::add(writable, flags, FORMAT, width, height)?;
    Ok(gst_video::VideoOverlayRectangle::new_raw(
        &pixels,
        sprite.x,
        sprite.y,
        width,
        height,
        gst_video::VideoOverlayFormatFlags::PREMULTIPLIED_ALPHA,
    ))
}
