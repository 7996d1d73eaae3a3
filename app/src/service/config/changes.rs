//! What another configuration changes: what can be set while cameras play, and which have to be
//! started again.

use std::collections::BTreeSet;

use gst::prelude::*;

use super::settings::is_live;
use super::{Camera, Config, Output, Settings};
use crate::AnalyzeError;
use crate::elements;

/// From one configuration to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The address of health and metrics.
    pub http: bool,
    /// The address of the RTSP server.
    pub rtsp: bool,
    /// By name, in the order of the new configuration and then the old one. Cameras that go on
    /// unchanged are left out.
    pub cameras: Vec<(String, CameraChange)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraChange {
    Added,
    Removed,
    /// Something changes that counts from the start only; `because` are the keys.
    Restart {
        because: Vec<String>,
    },
    /// All of it can be set while the camera plays.
    Set(Vec<PropertyChange>),
}

/// A property that is set while its element plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyChange {
    pub element: Element,
    pub property: String,
    /// `None`: back to the default. See [`super::set`].
    pub value: Option<String>,
}

/// An element of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    Source,
    Detection,
    Tracking,
    Recognition,
    Annotation,
    Clips,
    /// By its place in the list.
    Publish(usize),
}

impl Config {
    /// What has to be done to go on with `new`.
    ///
    /// # Errors
    /// If an element is no longer there.
    pub fn changes(&self, new: &Config) -> Result<Changes, AnalyzeError> {
        let mut cameras = Vec::new();
        for camera in &new.cameras {
            let change = match self.camera(&camera.name) {
                None => Some(CameraChange::Added),
                Some(old) => old.change(camera)?,
            };
            cameras.extend(change.map(|change| (camera.name.clone(), change)));
        }
        let gone = self.cameras.iter().filter(|old| new.camera(&old.name).is_none());
        cameras.extend(gone.map(|old| (old.name.clone(), CameraChange::Removed)));
        Ok(Changes { http: self.http != new.http, rtsp: self.rtsp != new.rtsp, cameras })
    }
}

impl Camera {
    /// Its elements and their settings, in the order of the stream.
    pub fn elements(&self) -> Vec<(Element, &Settings)> {
        let annotation = self.output.as_ref().and_then(|output| output.annotation.as_ref());
        let publish = self.publish.iter().enumerate().map(|(n, s)| (Element::Publish(n), s));
        [
            (Element::Source, Some(&self.source)),
            (Element::Detection, Some(&self.detection)),
            (Element::Tracking, Some(&self.tracking)),
            (Element::Recognition, self.recognition.as_ref()),
            (Element::Annotation, annotation),
            (Element::Clips, self.clips.as_ref()),
        ]
        .into_iter()
        .filter_map(|(element, settings)| Some((element, settings?)))
        .chain(publish)
        .collect()
    }

    fn change(&self, new: &Camera) -> Result<Option<CameraChange>, AnalyzeError> {
        let (old_elements, new_elements) = (self.elements(), new.elements());
        let kinds = |elements: &[(Element, &Settings)]| -> Vec<Element> {
            elements.iter().map(|(element, _)| *element).collect()
        };
        let mut because = Vec::new();
        if kinds(&old_elements) != kinds(&new_elements) {
            because.push("its sections".to_owned());
        }
        let stream = |output: &Option<Output>| {
            output.as_ref().map(|output| (output.mount.clone(), output.bitrate_kbit))
        };
        if stream(&self.output) != stream(&new.output) {
            because.push("output".to_owned());
        }
        let mut live = Vec::new();
        if because.is_empty() {
            for ((element, old), (_, new)) in old_elements.into_iter().zip(new_elements) {
                differences(element, old, new, &mut live, &mut because)?;
            }
        }
        Ok(match (because.is_empty(), live.is_empty()) {
            (false, _) => Some(CameraChange::Restart { because }),
            (true, false) => Some(CameraChange::Set(live)),
            (true, true) => None,
        })
    }
}

/// What of an element's properties differs, by when it can be changed.
fn differences(
    element: Element,
    old: &Settings,
    new: &Settings,
    live: &mut Vec<PropertyChange>,
    because: &mut Vec<String>,
) -> Result<(), AnalyzeError> {
    if old == new {
        return Ok(());
    }
    let factory = elements::make(new.element(), new.element())?;
    let names: BTreeSet<&str> = old.iter().chain(new.iter()).map(|(name, _)| name).collect();
    for name in names.into_iter().filter(|name| old.get(name) != new.get(name)) {
        if factory.find_property(name).is_some_and(|spec| is_live(&spec)) {
            let value = new.get(name).map(str::to_owned);
            live.push(PropertyChange { element, property: name.to_owned(), value });
        } else {
            because.push(format!("{} {name}", new.element()));
        }
    }
    Ok(())
}
