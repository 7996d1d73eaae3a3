//! The gallery of the element: where it is, how much of it is loaded, and how long faces may be
//! looked for by a server.

use std::time::{Duration, Instant};

use face_core::embed::Fingerprint;
use face_core::gallery::{Access, Gallery, LOCAL_MAX, Location, OpenOptions};
use gst::glib;
use gst::prelude::*;

use super::imp::CAT;
use crate::runtime::gallery_error;

/// How long the faces of a frame of a file are looked for on a server; on a live stream that is
/// what is left of the frame's deadline.
const SERVER_LIMIT: Duration = Duration::from_secs(5);

/// How long a live stream goes on without asking a server that gave no answer in time.
const PAUSE: Duration = Duration::from_secs(1);

/// The properties that say where people are.
#[derive(Clone, Debug)]
pub(super) struct GallerySettings {
    location: Option<Location>,
    local_max: u32,
}

impl Default for GallerySettings {
    fn default() -> Self {
        Self { location: None, local_max: u32::try_from(LOCAL_MAX).unwrap_or(u32::MAX) }
    }
}

impl GallerySettings {
    pub(super) fn properties() -> [glib::ParamSpec; 2] {
        let defaults = GallerySettings::default();
        [
            glib::ParamSpecString::builder("gallery")
                .nick("Gallery")
                .blurb(
                    "Gallery of enrolled people, made by facectl enroll: a path, or the address \
                     postgresql://ROLE@HOST/DATABASE of a shared one, its password in PGPASSWORD or \
                     a password file and never in the address (unset = nobody is known)",
                )
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("local-max")
                .nick("Largest loaded gallery")
                .blurb(
                    "A shared gallery with more samples than this is not loaded: its server is \
                     asked who a face is, and a face without an answer in time has the status error",
                )
                .default_value(defaults.local_max)
                .mutable_ready()
                .build(),
        ]
    }

    /// Sets the property if it is one of these; false if it is not.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "gallery" => {
                let text = value.get::<Option<String>>().ok().flatten();
                self.location = text.map(|text| Location::from(&text));
            }
            "local-max" => self.local_max = value.get().unwrap_or_default(),
            _ => return false,
        }
        true
    }

    /// The property's value if it is one of these; never with a password.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "gallery" => {
                let text = self.location.as_ref().map(Location::public);
                Some(text.map(|text| text.to_string_lossy().into_owned()).to_value())
            }
            "local-max" => Some(self.local_max.to_value()),
            _ => None,
        }
    }

    /// Opens the gallery, if there is one.
    pub(super) fn open(
        &self,
        fingerprint: &Fingerprint,
        element: &super::FaceRecognize,
    ) -> Result<Option<Gallery>, gst::ErrorMessage> {
        let Some(location) = &self.location else { return Ok(None) };
        location.refuse_password().map_err(|e| gallery_error(&e))?;
        let options = OpenOptions { local_max: self.local_max as usize, ..OpenOptions::default() };
        let gallery = Gallery::open_with(location, fingerprint, Access::Read, options)
            .map_err(|e| gallery_error(&e))?;
        if gallery.is_loaded() {
            let people = gallery.snapshot().people().len();
            gst::info!(CAT, obj = element, "{location}: {people} people");
        } else {
            gst::info!(CAT, obj = element, "{location}: its server is asked about every face");
        }
        Ok(Some(gallery))
    }
}

/// Until when the faces of a frame may be looked for, and whether the server is asked at all.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// A live stream does not ask before.
    not_before: Option<Instant>,
}

impl Patience {
    /// Until when the faces of a frame are looked for; at once over if a live stream is not to ask.
    pub(super) fn until(&mut self, deadline: Option<Instant>) -> Instant {
        let now = Instant::now();
        let Some(deadline) = deadline else { return now + SERVER_LIMIT };
        match self.not_before.filter(|then| *then > now) {
            Some(_) => now,
            None => deadline,
        }
    }

    /// The search of a live stream had no answer: the next frames go on without.
    pub(super) fn missed(&mut self) {
        let now = Instant::now();
        if self.not_before.is_none_or(|then| then <= now) {
            self.not_before = Some(now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_stream_asks_no_more_for_a_while_after_a_missed_answer() {
        let mut patience = Patience::default();
        let deadline = Instant::now() + Duration::from_millis(700);
        assert_eq!(patience.until(Some(deadline)), deadline);
        patience.missed();
        assert!(patience.until(Some(deadline)) <= Instant::now());
        // A file waits, however often: its results do not depend on the clock.
        assert!(patience.until(None) > Instant::now() + Duration::from_secs(4));
        patience.not_before = Some(Instant::now());
        assert_eq!(patience.until(Some(deadline)), deadline);
    }

    #[test]
    fn password_is_never_given_back() {
        let mut settings = GallerySettings::default();
        let with = "postgresql://cam:geheim@h/d?sslmode=disable";
        assert!(settings.set("gallery", &with.to_value()));
        let text = settings.get("gallery").and_then(|v| v.get::<String>().ok());
        assert_eq!(text.as_deref(), Some("postgresql://cam@h/d"));
        assert!(!format!("{settings:?}").contains("geheim"), "{settings:?}");
        let without = "postgresql://cam@h/d?sslmode=disable";
        assert!(settings.set("gallery", &without.to_value()));
        let text = settings.get("gallery").and_then(|v| v.get::<String>().ok());
        assert_eq!(text.as_deref(), Some(without));
    }
}
