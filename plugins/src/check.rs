//! Settings are checked without starting anything.

use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::clipsink::ClipSink;
use crate::facecamerasrc::FaceCameraSrc;
use crate::facepublish::FacePublish;
use crate::facerecognize::FaceRecognize;
use crate::facetrack::FaceTrack;

/// Would an element of this plugin start, as far as its properties alone decide? Files and secrets
/// that they name are read, but models, galleries and networks are not asked for. Other elements pass.
///
/// # Errors
/// What its start() would say.
pub fn check_settings(element: &gst::Element) -> Result<(), String> {
    if let Some(element) = element.downcast_ref::<FaceTrack>() {
        element.imp().check()
    } else if let Some(element) = element.downcast_ref::<FaceRecognize>() {
        element.imp().check()
    } else if let Some(element) = element.downcast_ref::<ClipSink>() {
        element.imp().check()
    } else if let Some(element) = element.downcast_ref::<FacePublish>() {
        element.imp().check()
    } else if let Some(element) = element.downcast_ref::<FaceCameraSrc>() {
        element.imp().check()
    } else {
        Ok(())
    }
}
