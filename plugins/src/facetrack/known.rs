//! What facetrack remembers of a track beside its motion.

use face_core::geometry::BBox;

/// Side of the crop that embedders see, pixels: larger faces are not clearer to them.
const CLEAR_SIDE_PX: f32 = 112.0;

/// The clearest observation of a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Best {
    /// In fractions of the picture.
    pub(super) bbox: BBox,
    /// Running time, ns.
    pub(super) time_ns: u64,
    clearness: f32,
}

/// The id that a track had before it was joined with an older one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WasId {
    pub(super) id: u64,
    /// Has it stood in the metadata of a buffer?
    pub(super) shown: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// Detection score of the last observation, 0..=1.
    pub(super) score: f32,
    pub(super) best: Option<Best>,
    pub(super) was: Option<WasId>,
}

impl Known {
    /// Takes an observation: `bbox` in fractions, `side_px` its shorter side in pixels.
    pub(super) fn observe(&mut self, time_ns: u64, bbox: BBox, score: f32, side_px: f32) {
        self.score = score;
        let clearness = score * (side_px / CLEAR_SIDE_PX).clamp(0.0, 1.0);
        if self.best.is_none_or(|best| clearness > best.clearness) {
            self.best = Some(Best { bbox, time_ns, clearness });
        }
    }

    /// Takes over what was observed under the id `new_id`, given up for this one. Returns the id
    /// given up before that nobody will see in the metadata any more, if there is such a one.
    pub(super) fn absorb(&mut self, new_id: u64, new: Known) -> Option<u64> {
        self.score = new.score;
        let clearness = |known: &Known| known.best.map(|best| best.clearness);
        if clearness(&new) > clearness(self) {
            self.best = new.best;
        }
        let before = self.was.replace(WasId { id: new_id, shown: false });
        before.and_then(WasId::unseen)
    }

    /// The id that was given up, to be written.
    pub(super) fn show_was_id(&mut self) -> u64 {
        self.was.as_mut().map_or(0, |was| {
            was.shown = true;
            was.id
        })
    }
}

impl WasId {
    /// The id, if it stood on no buffer.
    pub(super) fn unseen(self) -> Option<u64> {
        (!self.shown).then_some(self.id)
    }
}
