//! GStreamer elements that find, follow, recognise and draw faces, and keep clips of them.

mod camera_time;
mod cancel;
mod check;
pub mod clipsink;
mod context_query;
pub mod crops;
mod event_hold;
pub mod faceannotate;
pub mod facecamerasrc;
pub mod facedetect;
pub mod facepublish;
pub mod facerecognize;
pub mod facetrack;
mod frame;
mod live;
pub mod meta;
mod pads;
mod relink;
mod runtime;
mod split;
pub mod stats;
mod summary_query;
mod upstream_check;

pub use check::check_settings;
pub use runtime::with_causes;

/// Registers types and the meta, and touches nothing else: this runs in the plugin scanner and in
/// every program that loads the plugin.
fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    meta::register();
    facecamerasrc::register(plugin)?;
    facedetect::register(plugin)?;
    facetrack::register(plugin)?;
    facerecognize::register(plugin)?;
    faceannotate::register(plugin)?;
    clipsink::register(plugin)?;
    facepublish::register(plugin)?;
    Ok(())
}

gst::plugin_define!(
    face,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_REPOSITORY"),
    env!("BUILD_REL_DATE")
);
