//! The last seconds of a coded stream, so that a clip can begin before its event.

use std::collections::VecDeque;

/// A coded picture, or a piece of sound. Times are running time in ns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<T> {
    pub pts: i64,
    /// Rises from packet to packet; mostly not later than `pts`.
    pub dts: i64,
    /// 0: not known.
    pub duration: i64,
    /// Can be decoded without any before it.
    pub key: bool,
    /// Everything decoded from here on is shown after everything before: here a stream may be cut.
    pub boundary: bool,
    pub bytes: u64,
    pub payload: T,
}

/// Packets, the oldest first, numbered without gaps. What is too old goes by whole groups of
/// pictures, so that the first packet is always a key picture.
#[derive(Debug)]
pub struct Ring<T> {
    packets: VecDeque<Kept<T>>,
    /// Number of the first packet.
    first: u64,
    bytes: u64,
    newest: Option<i64>,
}

#[derive(Debug)]
struct Kept<T> {
    packet: Packet<T>,
    /// Changes with the format of the stream.
    format: u32,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { packets: VecDeque::new(), first: 0, bytes: 0, newest: None }
    }
}

impl<T> Ring<T> {
    /// Adds a packet. One that cannot be decoded, because no key picture is there, is not kept.
    pub fn push(&mut self, packet: Packet<T>, format: u32) {
        self.newest = self.newest.max(Some(packet.pts));
        if self.packets.is_empty() && !packet.key {
            return;
        }
        self.bytes = self.bytes.saturating_add(packet.bytes);
        self.packets.push_back(Kept { packet, format });
    }

    /// Drops what is not needed to begin at `oldest` (ns), and what is more than `max_bytes`; the
    /// number of bytes dropped for the latter.
    pub fn trim(&mut self, oldest: i64, max_bytes: u64) -> u64 {
        while self.second_key().is_some_and(|(_, pts)| pts <= oldest) {
            self.drop_group();
        }
        let before = self.bytes;
        while self.bytes > max_bytes && !self.packets.is_empty() {
            self.drop_group();
        }
        before - self.bytes
    }

    /// Index and time of the key picture after the first.
    fn second_key(&self) -> Option<(usize, i64)> {
        let later = self.packets.iter().enumerate().skip(1);
        later.map(|(i, kept)| (i, &kept.packet)).find(|(_, p)| p.key).map(|(i, p)| (i, p.pts))
    }

    fn drop_group(&mut self) {
        let group = self.second_key().map_or(self.packets.len(), |(index, _)| index);
        let bytes: u64 = self.packets.drain(..group).map(|kept| kept.packet.bytes).sum();
        self.first += group as u64;
        self.bytes -= bytes;
    }

    /// Forgets everything; numbers go on.
    pub fn clear(&mut self) {
        self.first = self.end();
        self.packets.clear();
        (self.bytes, self.newest) = (0, None);
    }

    /// Where a clip that is to begin at `time` (ns) begins: number and time of the last key picture
    /// that is not later, else of the first one. `None` if there is none.
    pub fn start(&self, time: i64) -> Option<(u64, i64)> {
        let keys = || self.packets.iter().enumerate().filter(|(_, kept)| kept.packet.key);
        let found =
            keys().rev().find(|(_, kept)| kept.packet.pts <= time).or_else(|| keys().next());
        found.map(|(index, kept)| (self.first + index as u64, kept.packet.pts))
    }

    /// The packet of a number, and its format; `None` if it is gone or not there yet.
    pub fn get(&self, number: u64) -> Option<(&Packet<T>, u32)> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.packets.get(index).map(|kept| (&kept.packet, kept.format))
    }

    /// Number of the first packet.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Number of the next packet that comes.
    pub fn end(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Greatest time of all packets since the last [`Ring::clear`], also of those that are gone.
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pts: i64, key: bool) -> Packet<()> {
        Packet { pts, dts: pts, duration: 1, key, boundary: true, bytes: 10, payload: () }
    }

    /// A key picture every ten.
    fn ring(pictures: std::ops::Range<i64>) -> Ring<()> {
        let mut ring = Ring::default();
        pictures.for_each(|t| ring.push(packet(t, t % 10 == 0), 0));
        ring
    }

    #[test]
    fn clip_begins_at_the_key_picture_before_or_at_the_first() {
        let mut ring = ring(0..35);
        assert_eq!(ring.start(25), Some((20, 20)));
        assert_eq!(ring.start(30), Some((30, 30)));
        assert_eq!(ring.start(1000), Some((30, 30)));
        ring.trim(15, u64::MAX);
        assert_eq!(ring.start(5), Some((10, 10)), "the first that is left");
        assert_eq!(Ring::<()>::default().start(5), None);
    }

    #[test]
    fn old_groups_go_as_a_whole_and_numbers_stay() {
        let mut ring = ring(0..35);
        assert_eq!(ring.trim(19, u64::MAX), 0);
        assert_eq!((ring.first(), ring.end(), ring.bytes()), (10, 35, 250));
        assert!(ring.get(9).is_none() && ring.get(35).is_none());
        assert_eq!(ring.get(10).unwrap().0.pts, 10);
        ring.trim(20, u64::MAX);
        assert_eq!(ring.first(), 20);
        ring.trim(1000, u64::MAX);
        assert_eq!(ring.first(), 30, "the last group stays");
        assert_eq!(ring.newest(), Some(34));
    }

    #[test]
    fn bytes_have_a_limit_whatever_the_times() {
        let mut ring = ring(0..35);
        assert_eq!(ring.trim(0, 200), 200);
        assert_eq!((ring.first(), ring.bytes()), (20, 150));
        assert_eq!(ring.trim(0, 40), 150);
        assert!(ring.start(0).is_none());
        ring.push(packet(35, false), 0);
        assert_eq!((ring.end(), ring.bytes()), (35, 0), "it cannot be decoded");
        ring.push(packet(36, true), 0);
        assert_eq!(ring.start(0), Some((35, 36)));
    }

    #[test]
    fn cleared_ring_starts_anew_with_later_numbers() {
        let mut ring = ring(0..15);
        ring.clear();
        assert_eq!((ring.first(), ring.end(), ring.newest()), (15, 15, None));
        ring.push(packet(3, true), 1);
        assert_eq!(ring.get(15).map(|(p, format)| (p.pts, format)), Some((3, 1)));
    }
}
