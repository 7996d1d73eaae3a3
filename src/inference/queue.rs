//! Which requests run next: a line per stream, served in turns. It has no clock and no threads.

use std::collections::VecDeque;
use std::time::Instant;

/// A stream's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamId(usize);

/// A request that waits, and what decides when and with which others it runs.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) stream: StreamId,
    /// Only requests of one shape run together.
    pub(super) shape: [usize; 4],
    /// When nobody wants the answer any more.
    pub(super) deadline: Option<Instant>,
    pub(super) item: T,
}

/// Streams take turns by request: one with twenty faces delays one with a single face by a
/// request, not by twenty.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// By stream; the place of a closed stream goes to a new one, so that the lines keep their
    /// memory.
    lines: Vec<VecDeque<Waiting<T>>>,
    vacant: Vec<usize>,
    /// Streams whose line is not empty; the first is next.
    turns: VecDeque<usize>,
    /// Streams that a batch passed over; empty between calls.
    passed: Vec<usize>,
    len: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            vacant: Vec::new(),
            turns: VecDeque::new(),
            passed: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn open(&mut self) -> StreamId {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.lines.push(VecDeque::new());
            self.lines.len() - 1
        });
        StreamId(index)
    }

    /// Ends a stream; what waits of it is dropped.
    pub(super) fn close(&mut self, stream: StreamId) {
        self.withdraw(stream, |_| true, drop);
        self.vacant.push(stream.0);
    }

    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, waiting: Waiting<T>) {
        let index = waiting.stream.0;
        let line = &mut self.lines[index];
        if line.is_empty() {
            self.turns.push_back(index);
        }
        line.push_back(waiting);
        self.len += 1;
    }

    /// Takes back what waits of a stream and is meant by `which`.
    pub(super) fn withdraw(
        &mut self,
        stream: StreamId,
        which: impl Fn(&T) -> bool,
        mut take: impl FnMut(T),
    ) {
        let line = &mut self.lines[stream.0];
        for _ in 0..line.len() {
            match line.pop_front() {
                Some(waiting) if which(&waiting.item) => {
                    self.len -= 1;
                    take(waiting.item);
                }
                other => line.extend(other),
            }
        }
        if line.is_empty() {
            self.turns.retain(|turn| *turn != stream.0);
        }
    }

    /// Fills `batch` up to `most` requests of one shape, one of each stream before a second one
    /// of any. Those that it meets whose deadline has passed go to `late`.
    pub(super) fn take(
        &mut self,
        most: usize,
        now: Instant,
        batch: &mut Vec<Waiting<T>>,
        late: &mut Vec<Waiting<T>>,
    ) {
        while batch.len() < most {
            let Some(index) = self.turns.pop_front() else { break };
            let line = &mut self.lines[index];
            let Some(head) = line.front() else { continue };
            let is_late = head.deadline.is_some_and(|deadline| deadline <= now);
            if !is_late && batch.first().is_some_and(|first| first.shape != head.shape) {
                self.passed.push(index);
                continue;
            }
            self.len -= 1;
            let head = line.pop_front();
            let more = !line.is_empty();
            if is_late {
                late.extend(head);
                if more {
                    self.turns.push_front(index);
                }
            } else {
                batch.extend(head);
                if more {
                    self.turns.push_back(index);
                }
            }
        }
        // They are the first of the next batch: no shape can keep another one waiting for ever.
        while let Some(index) = self.passed.pop() {
            self.turns.push_front(index);
        }
    }

    /// Is there a stream that has no request in `batch`, and so may still send one?
    pub(super) fn more_may_come(&self, batch: &[Waiting<T>]) -> bool {
        let open = self.lines.len() - self.vacant.len();
        let first_of_its_stream =
            |i: &usize| batch[..*i].iter().all(|other| other.stream != batch[*i].stream);
        (0..batch.len()).filter(first_of_its_stream).count() < open
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SMALL: [usize; 4] = [1, 3, 8, 8];
    const LARGE: [usize; 4] = [1, 3, 16, 16];

    fn push(queue: &mut Queue<u32>, stream: StreamId, items: impl IntoIterator<Item = u32>) {
        for item in items {
            queue.push(Waiting { stream, shape: SMALL, deadline: None, item });
        }
    }

    /// The next batch of at most `most`, and what was late at `now`.
    fn take(queue: &mut Queue<u32>, most: usize, now: Instant) -> (Vec<u32>, Vec<u32>) {
        let (mut batch, mut late) = (Vec::new(), Vec::new());
        queue.take(most, now, &mut batch, &mut late);
        let items = |taken: Vec<Waiting<u32>>| taken.into_iter().map(|w| w.item).collect();
        (items(batch), items(late))
    }

    fn drain(queue: &mut Queue<u32>, most: usize) -> Vec<Vec<u32>> {
        let now = Instant::now();
        let batches = std::iter::repeat_with(|| take(queue, most, now).0);
        batches.take_while(|batch| !batch.is_empty()).collect()
    }

    #[test]
    fn streams_are_served_in_turns_and_each_in_its_order() {
        let mut queue = Queue::default();
        let (crowd, single, pair) = (queue.open(), queue.open(), queue.open());
        push(&mut queue, crowd, 0..20);
        push(&mut queue, single, [100]);
        push(&mut queue, pair, [200, 201]);
        assert_eq!(queue.len(), 23);
        let order = drain(&mut queue, 1).concat();
        assert_eq!(order[..6], [0, 100, 200, 1, 201, 2]);
        assert_eq!(order[6..], Vec::from_iter(3..20));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn stream_that_comes_back_queues_behind_those_that_wait() {
        let mut queue = Queue::default();
        let (a, b) = (queue.open(), queue.open());
        push(&mut queue, a, [0]);
        push(&mut queue, b, [10, 11, 12]);
        assert_eq!(take(&mut queue, 1, Instant::now()).0, [0]);
        push(&mut queue, a, [1, 2]);
        assert_eq!(drain(&mut queue, 1).concat(), [10, 1, 11, 2, 12]);
    }

    #[test]
    fn batch_has_a_request_of_each_stream_before_a_second_of_any() {
        let mut queue = Queue::default();
        let (crowd, single) = (queue.open(), queue.open());
        push(&mut queue, crowd, 0..5);
        push(&mut queue, single, [100]);
        assert_eq!(drain(&mut queue, 4), [vec![0, 100, 1, 2], vec![3, 4]]);
    }

    #[test]
    fn batch_is_of_one_shape_and_what_it_passed_over_comes_next() {
        let mut queue = Queue::default();
        let (a, odd, b) = (queue.open(), queue.open(), queue.open());
        push(&mut queue, a, 0..4);
        queue.push(Waiting { stream: odd, shape: LARGE, deadline: None, item: 50 });
        queue.push(Waiting { stream: odd, shape: LARGE, deadline: None, item: 51 });
        push(&mut queue, b, 10..14);
        let batches = drain(&mut queue, 3);
        assert_eq!(batches, [vec![0, 10, 1], vec![50, 51], vec![11, 2, 12], vec![3, 13]]);
    }

    #[test]
    fn late_requests_do_not_run() {
        let mut queue = Queue::default();
        let (a, b) = (queue.open(), queue.open());
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (item, deadline) in [(0, at(5)), (1, at(20)), (2, at(5))] {
            queue.push(Waiting { stream: a, shape: SMALL, deadline: Some(deadline), item });
        }
        push(&mut queue, b, [10]);
        // The deadline itself is too late.
        assert_eq!(take(&mut queue, 2, at(5)), (vec![1, 10], vec![0]));
        assert_eq!(take(&mut queue, 2, at(5)), (vec![], vec![2]));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn withdrawn_requests_do_not_run_and_the_others_keep_their_order() {
        let mut queue = Queue::default();
        let (a, b) = (queue.open(), queue.open());
        push(&mut queue, a, 0..4);
        push(&mut queue, b, [10]);
        let mut back = Vec::new();
        queue.withdraw(a, |item| item % 2 == 0, |item| back.push(item));
        assert_eq!((back, queue.len()), (vec![0, 2], 3));
        assert_eq!(drain(&mut queue, 1).concat(), [1, 10, 3]);
        push(&mut queue, a, [4]);
        queue.withdraw(a, |_| true, drop);
        assert!(drain(&mut queue, 1).is_empty());
        push(&mut queue, a, [5]);
        assert_eq!(drain(&mut queue, 1).concat(), [5]);
    }

    #[test]
    fn place_of_a_closed_stream_is_used_again() {
        let mut queue = Queue::default();
        let (a, b) = (queue.open(), queue.open());
        push(&mut queue, a, [0, 1]);
        queue.close(a);
        assert_eq!(queue.len(), 0);
        let c = queue.open();
        assert_eq!(c, a);
        push(&mut queue, b, [10]);
        push(&mut queue, c, [20]);
        assert_eq!(drain(&mut queue, 1).concat(), [10, 20]);
    }

    #[test]
    fn more_may_come_until_every_stream_is_in_the_batch() {
        let mut queue = Queue::default();
        let (a, b) = (queue.open(), queue.open());
        push(&mut queue, a, [0, 1]);
        let (mut batch, mut late) = (Vec::new(), Vec::new());
        queue.take(8, Instant::now(), &mut batch, &mut late);
        assert_eq!(batch.len(), 2);
        assert!(queue.more_may_come(&batch));
        push(&mut queue, b, [10]);
        queue.take(8, Instant::now(), &mut batch, &mut late);
        assert!(!queue.more_may_come(&batch));
        queue.close(b);
        batch.truncate(1);
        assert!(!queue.more_may_come(&batch));
    }
}
