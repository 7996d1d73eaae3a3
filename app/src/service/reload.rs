//! Going on with another configuration.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

use super::camera::{Handle, Order};
use super::config::{CameraChange, Changes, Config};
use super::{DRAIN, Service, ServiceError, serve, spool};
use crate::rtsp_server::RtspServer;

/// What another configuration changed; cameras by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// They start again, because of these keys.
    pub restarted: Vec<(String, Vec<String>)>,
    /// They go on, with these properties set.
    pub set: Vec<(String, Vec<String>)>,
}

impl Reload {
    /// Is everything as it was?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Service {
    /// Goes on with `new`: cameras are added and taken out, those whose change needs it start again, the
    /// others go on and notice nothing.
    ///
    /// # Errors
    /// [`ServiceError`] if an address cannot be served on or the spool cannot be opened. Nothing has
    /// changed then.
    pub fn reload(&mut self, new: Config) -> Result<Reload, ServiceError> {
        let result = self.change(new);
        let count = match &result {
            Ok(_) => &self.shared.reloads,
            Err(_) => &self.shared.refused_reloads,
        };
        count.fetch_add(1, Ordering::Relaxed);
        result
    }

    fn change(&mut self, new: Config) -> Result<Reload, ServiceError> {
        let mut changes = self.config.changes(&new)?;
        // What may fail comes first.
        let spool = spool(&new)?;
        if changes.http {
            let http = new.http.map(|address| serve(address, &self.shared)).transpose()?;
            self.http = http;
        }
        if changes.rtsp {
            let rtsp = new.rtsp.map(RtspServer::start).transpose()?;
            self.rtsp = rtsp.map(Arc::new);
            move_streams(&mut changes, &new);
        }
        let old_spool = std::mem::replace(&mut *self.shared.spool.lock(), spool);
        let mut reload = Reload::default();
        for (name, change) in changes.cameras {
            self.apply(name, change, &new, &mut reload)?;
        }
        drop(old_spool);
        // Status and metrics have them in the order of the file.
        let place = |name: &str| new.cameras.iter().position(|camera| camera.name == name);
        self.shared.cameras.lock().sort_by_key(|handle| place(&handle.name));
        self.leaving.retain(|handle| handle.ended().is_none());
        self.config = new;
        Ok(reload)
    }

    fn apply(
        &mut self,
        name: String,
        change: CameraChange,
        new: &Config,
        reload: &mut Reload,
    ) -> Result<(), ServiceError> {
        let camera = new.camera(&name);
        match (change, camera) {
            (CameraChange::Added, Some(camera)) => {
                // Whether it starts is told as its state.
                let (first, _) = sync_channel(0);
                let handle = self.handle(camera, first)?;
                self.shared.cameras.lock().push(handle);
                reload.added.push(name);
            }
            (CameraChange::Restart { because }, Some(camera)) => {
                self.order(&name, Order::Replace(Box::new(camera.clone()), self.rtsp.clone()));
                reload.restarted.push((name, because));
            }
            (CameraChange::Set(changes), Some(camera)) => {
                let properties = changes.iter().map(|change| change.property.clone()).collect();
                self.order(&name, Order::Set(Box::new(camera.clone()), changes));
                reload.set.push((name, properties));
            }
            (CameraChange::Removed, _) => {
                self.order(&name, Order::Stop(DRAIN));
                let mut cameras = self.shared.cameras.lock();
                let gone = |handle: &mut Handle| handle.name == name;
                self.leaving.extend(cameras.extract_if(.., gone));
                reload.removed.push(name);
            }
            // A camera that is to run is one of the new configuration.
            (_, None) => {}
        }
        Ok(())
    }

    fn order(&self, name: &str, order: Order) {
        if let Some(handle) = self.shared.cameras.lock().iter().find(|h| h.name == name) {
            handle.order(order);
        }
    }
}

/// Cameras whose streams are served find their server at their start.
fn move_streams(changes: &mut Changes, new: &Config) {
    for camera in new.cameras.iter().filter(|camera| camera.output.is_some()) {
        let restart = CameraChange::Restart { because: vec!["rtsp address".to_owned()] };
        match changes.cameras.iter_mut().find(|(name, _)| *name == camera.name) {
            Some((_, change @ CameraChange::Set(_))) => *change = restart,
            Some(_) => {}
            None => changes.cameras.push((camera.name.clone(), restart)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(rtsp: u16, hall: &str) -> Config {
        let text = format!(
            "version: 1\nrtsp: {{address: '127.0.0.1:{rtsp}'}}\nhttp: false\ncameras:\n  \
             door: {{source: rtsp://a/b, output: true}}\n  \
             gate: {{source: rtsp://a/c, output: true}}\n  \
             hall: {{source: rtsp://a/d{hall}}}\n"
        );
        Config::parse(&text, Path::new("/")).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn another_server_of_streams_restarts_those_who_are_served() {
        let (old, new) = (config(8554, ""), config(8555, ", tracking: {max-lost-time: 5 s}"));
        let mut changes = old.changes(&new).unwrap();
        assert!(changes.rtsp, "{changes:?}");
        move_streams(&mut changes, &new);
        let mut restarted: Vec<&str> = changes
            .cameras
            .iter()
            .filter(|(_, change)| matches!(change, CameraChange::Restart { .. }))
            .map(|(name, _)| name.as_str())
            .collect();
        restarted.sort_unstable();
        assert_eq!(restarted, ["door", "gate"]);
    }
}
