//! Pieces of a stream by their times: sound, and metadata.

use std::collections::VecDeque;

/// Something with a time, numbered without gaps.
#[derive(Debug)]
pub(super) struct Timed<P> {
    pub(super) kept: VecDeque<(i64, P)>,
    first: u64,
}

impl<P> Default for Timed<P> {
    fn default() -> Self {
        Self { kept: VecDeque::new(), first: 0 }
    }
}

impl<P> Timed<P> {
    pub(super) fn push(&mut self, time: i64, piece: P) {
        self.kept.push_back((time, piece));
    }

    pub(super) fn drop_first(&mut self) -> Option<P> {
        let (_, piece) = self.kept.pop_front()?;
        self.first += 1;
        Some(piece)
    }

    pub(super) fn oldest(&self) -> Option<i64> {
        self.kept.front().map(|(time, _)| *time)
    }

    /// From a number on; what is gone is passed over.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = (u64, i64, &P)> {
        let skip = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let numbered = self.kept.iter().enumerate().skip(skip);
        numbered.map(|(i, (time, piece))| (self.first + i as u64, *time, piece))
    }

    pub(super) fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    pub(super) fn clear(&mut self) {
        self.first = self.end();
        self.kept.clear();
    }
}
