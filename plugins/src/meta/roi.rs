//! The region-of-interest view: one `GstVideoRegionOfInterestMeta` per face for readers that know
//! nothing of `GstFaceMeta`. The view is written, never read back: scalers drop its parameters.

use std::ops::ControlFlow;

use super::{Face, FrameFaces, Mapping};

/// `roi_type` of our regions.
pub const ROI_TYPE: &str = "face";

/// Replaces the "face" regions of `buffer`, whose picture is the one of `width` × `height` pixels
/// that the fractions were taken from, by one for every face of `faces` that touches the picture.
pub fn write_rois(buffer: &mut gst::BufferRef, faces: &FrameFaces, width: u32, height: u32) {
    write_mapped_rois(buffer, faces, &Mapping::whole(width, height));
}

/// [`write_rois`] for a picture that was scaled since the fractions were taken.
pub fn write_mapped_rois(buffer: &mut gst::BufferRef, faces: &FrameFaces, mapping: &Mapping) {
    remove_rois(buffer);
    for face in &faces.faces {
        add_roi(buffer, face, &faces.detector, mapping);
    }
}

fn remove_rois(buffer: &mut gst::BufferRef) {
    buffer.foreach_meta_mut(|mut meta| {
        let ours = meta
            .downcast_ref::<gst_video::VideoRegionOfInterestMeta>()
            .is_some_and(|roi| roi.roi_type() == ROI_TYPE);
        ControlFlow::Continue(if ours {
            gst::buffer::BufferMetaForeachAction::Remove
        } else {
            gst::buffer::BufferMetaForeachAction::Keep
        })
    });
}

fn add_roi(buffer: &mut gst::BufferRef, face: &Face, detector: &str, mapping: &Mapping) {
    let (width, height) = mapping.size();
    let Some(clipped) = mapping.box_to_pixels(&face.bbox).clipped(width, height) else {
        return;
    };
    // Whole pixels that cover the box; the cast saturates, and clipping left nothing negative.
    let x0 = clipped.x.floor() as u32;
    let y0 = clipped.y.floor() as u32;
    let x1 = ((clipped.x + clipped.w).ceil() as u32).min(width);
    let y1 = ((clipped.y + clipped.h).ceil() as u32).min(height);
    if x1 <= x0 || y1 <= y0 {
        return;
    }
    let rect = (x0, y0, x1 - x0, y1 - y0);
    let mut roi = gst_video::VideoRegionOfInterestMeta::add(buffer, ROI_TYPE, rect);
    roi.set_id(i32::try_from(face.id).unwrap_or(i32::MAX));
    let (fw, fh) = (f64::from(width), f64::from(height));
    roi.add_param(
        gst::Structure::builder("detection")
            .field("label_id", 0i32)
            .field("confidence", f64::from(face.score))
            .field("x_min", f64::from(clipped.x) / fw)
            .field("y_min", f64::from(clipped.y) / fh)
            .field("x_max", f64::from(clipped.x + clipped.w) / fw)
            .field("y_max", f64::from(clipped.y + clipped.h) / fh)
            .field("rotation", 0f64)
            .field("model_name", super::text(detector))
            .field("layer_name", "")
            .build(),
    );
    // 0 means "no track" to the readers of this structure, and the id is an int there.
    if let Ok(id @ 1..) = i32::try_from(face.track_id) {
        roi.add_param(gst::Structure::builder("object_id").field("id", id).build());
    }
}
