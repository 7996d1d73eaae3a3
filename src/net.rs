//! The process's one tokio runtime, behind blocking calls.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads of the runtime. They wait for sockets and timers; what is computed runs on the thread
/// of the caller.
const THREADS: usize = 2;

/// Why nothing can be waited for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetError {
    /// Waiting here would stop the runtime that calls.
    #[error("called from asynchronous code: use a thread of its own")]
    InsideRuntime,
    #[error("cannot start the threads for network work")]
    Threads(#[source] std::io::Error),
}

/// Runs `future` to its end on the calling thread.
///
/// # Errors
/// [`NetError`], before anything of the future ran.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, NetError> {
    if Handle::try_current().is_ok() {
        return Err(NetError::InsideRuntime);
    }
    Ok(runtime()?.block_on(future))
}

fn runtime() -> Result<&'static Runtime, NetError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("face-net")
        .enable_all()
        .build()
        .map_err(NetError::Threads)?;
    // Of two threads that come here at once one loses, and its runtime, which did nothing, ends.
    Ok(RUNTIME.get_or_init(|| runtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_on_a_thread_of_its_own_only() {
        assert_eq!(block_on(async { 7 }).unwrap(), 7);
        let inside = block_on(async { block_on(async { 7 }) }).unwrap();
        assert!(matches!(inside, Err(NetError::InsideRuntime)), "{inside:?}");
    }
}
