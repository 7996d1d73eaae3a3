//! Processor time: what a thread, and what the process, has spent.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Processor time of the calling thread so far.
pub fn thread_time() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// Processor time of all threads of the process so far.
pub fn process_time() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// Processor time that the thread of a stream spent around the runs of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Making the model's input of pixels.
    pub preprocess: Duration,
    /// Making faces or embeddings of the model's output.
    pub decode: Duration,
}

/// Adds what `work` takes of the calling thread's processor time to `spent`.
pub fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begun = thread_time();
    let result = work();
    *spent += thread_time().saturating_sub(begun);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time_and_sleep_takes_none() {
        let (thread, process) = (thread_time(), process_time());
        std::thread::sleep(Duration::from_millis(50));
        let slept = thread_time() - thread;
        assert!(slept < Duration::from_millis(40), "{slept:?}");
        let mut sum = 0_u64;
        while thread_time() - thread < slept + Duration::from_millis(10) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(process_time() - process >= Duration::from_millis(10));
    }
}
