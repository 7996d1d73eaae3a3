//! Work on many pictures at a time, results in their order.

use std::collections::VecDeque;

/// Does `work` on every item, each worker in its own thread, and hands the results to `each` on
/// this thread in the order of the items. At most two items per worker are taken ahead of the
/// result that is due, so memory does not grow with their number. Without workers nothing is done.
///
/// ```
/// let mut doubled = Vec::new();
/// face_core::recognizer::in_order(&mut [(), ()], 1..=5, |_, i| i * 2, |i| {
///     doubled.push(i);
///     Ok::<(), std::io::Error>(())
/// })?;
/// assert_eq!(doubled, [2, 4, 6, 8, 10]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The first error of `each`, after which no further item is taken; or that of a thread that
/// cannot be started.
///
/// # Panics
/// If `work` does.
pub fn in_order<W: Send, T: Send, R: Send, E: From<std::io::Error>>(
    workers: &mut [W],
    items: impl IntoIterator<Item = T>,
    work: impl Fn(&mut W, T) -> R + Sync,
    mut each: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let window = 2 * workers.len();
    // As wide as the window, so that handing over never waits.
    let (jobs, queue) = crossbeam_channel::bounded(window);
    let work = &work;
    std::thread::scope(|scope| {
        // Owned by this scope: the workers leave when it is dropped, whichever way that happens.
        let jobs = jobs;
        for (i, worker) in workers.iter_mut().enumerate() {
            let queue: crossbeam_channel::Receiver<(T, crossbeam_channel::Sender<R>)> =
                queue.clone();
            std::thread::Builder::new().name(format!("face-picture-{i}")).spawn_scoped(
                scope,
                move || {
                    for (item, reply) in queue {
                        // Nobody waits any more after an error.
                        let _ = reply.send(work(worker, item));
                    }
                },
            )?;
        }
        drop(queue);
        let mut items = items.into_iter().fuse();
        let mut pending = VecDeque::with_capacity(window);
        loop {
            while pending.len() < window
                && let Some(item) = items.next()
            {
                let (reply, answer) = crossbeam_channel::bounded(1);
                // Fails only if every worker panicked; the answer below then fails, too.
                let _ = jobs.send((item, reply));
                pending.push_back(answer);
            }
            let Some(answer) = pending.pop_front() else { return Ok(()) };
            // Without an answer its worker panicked, which leaving the scope passes on.
            let Ok(result) = answer.recv() else { return Ok(()) };
            each(result)?;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_come_in_order_and_few_items_are_taken_ahead() {
        let taken = AtomicUsize::new(0);
        let items = (0..200u64).inspect(|_| {
            taken.fetch_add(1, Ordering::SeqCst);
        });
        let mut results = Vec::new();
        // The workers' speeds differ, so that answers come out of order.
        let work = |count: &mut u64, i: u64| {
            *count += 1;
            (0..(i * 7919 % 13) * 2000).fold(0, |a: u64, b| std::hint::black_box(a ^ b));
            i
        };
        let mut workers = [0u64; 3];
        in_order(&mut workers, items, work, |i| {
            results.push(i);
            assert!(taken.load(Ordering::SeqCst) <= results.len() + 6);
            Ok::<(), std::io::Error>(())
        })
        .unwrap();
        assert_eq!(results, (0..200).collect::<Vec<_>>());
        assert_eq!(workers.iter().sum::<u64>(), 200);
    }

    #[test]
    fn error_of_the_receiver_stops_the_rest() {
        let mut seen = 0;
        let endless = 0u64..;
        let error = in_order(
            &mut [(), ()],
            endless,
            |(), i| i,
            |i| {
                seen += 1;
                if i == 9 { Err(std::io::Error::other("full")) } else { Ok(()) }
            },
        );
        assert_eq!(error.unwrap_err().to_string(), "full");
        assert_eq!(seen, 10);
    }

    #[test]
    fn panic_of_the_work_is_passed_on_and_does_not_hang() {
        let result = std::panic::catch_unwind(|| {
            let work = |(): &mut (), i: u64| assert!(i != 5, "five");
            in_order(&mut [(), ()], 0..100, work, |()| Ok::<(), std::io::Error>(()))
        });
        assert!(result.is_err());
    }
}
