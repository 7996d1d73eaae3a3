//! Elements that live on `GstFaceMeta` and see none say why: mostly another plugin owns the name
//! `facedetect` (OpenCV's has one), or an element in between dropped the meta.

use gst::prelude::*;

/// Buffers in a row without the meta before the warning.
const PATIENCE: u32 = 60;

/// Counts the buffers without meta since start().
#[derive(Debug, Default)]
pub(crate) struct UpstreamCheck {
    without: u32,
    warned: bool,
}

impl UpstreamCheck {
    /// To be called for every buffer. True once: when the warning is due.
    #[must_use]
    pub(crate) fn saw(&mut self, meta: bool) -> bool {
        self.without = if meta { 0 } else { self.without.saturating_add(1) };
        let due = self.without >= PATIENCE && !self.warned;
        self.warned |= due;
        due
    }
}

/// The text of the warning.
pub(crate) fn warning() -> String {
    let owner = gst::ElementFactory::find("facedetect").and_then(|f| f.plugin());
    let owner = match &owner {
        Some(plugin) => format!("here 'facedetect' is of plugin '{}'", plugin.plugin_name()),
        None => "here no plugin has a 'facedetect'".to_owned(),
    };
    format!(
        "{PATIENCE} buffers came without GstFaceMeta ({owner}): put 'onnxfacedetect' upstream, \
         with nothing in between that drops the meta (videocrop, compositor, a network)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_once_and_only_after_a_run_without_meta() {
        let mut check = UpstreamCheck::default();
        let mut due = |meta, n| (0..n).filter(|_| check.saw(meta)).count();
        assert_eq!(due(false, 59), 0);
        assert_eq!(due(true, 1), 0);
        assert_eq!(due(false, 59), 0);
        assert_eq!(due(false, 1), 1);
        assert_eq!(due(false, 500), 0);
    }
}
