//! An element that stops or is flushed does not wait for inference any more.

use face_core::inference::Canceller;
use parking_lot::Mutex;

/// Ends the wait of the streaming thread, which holds the element's state meanwhile. Locked alone.
#[derive(Debug, Default)]
pub(crate) struct Cancel(Mutex<Option<Canceller>>);

impl Cancel {
    /// From now on the work of this model is meant; it runs.
    pub(crate) fn set(&self, canceller: Canceller) {
        *self.0.lock() = Some(canceller);
    }

    /// To be called before the streaming thread is waited for: when a flush begins, and on the way
    /// from PAUSED to READY.
    pub(crate) fn cancel(&self) {
        if let Some(canceller) = &*self.0.lock() {
            canceller.cancel();
        }
    }

    /// To be called when a flush ends.
    pub(crate) fn resume(&self) {
        if let Some(canceller) = &*self.0.lock() {
            canceller.resume();
        }
    }
}
