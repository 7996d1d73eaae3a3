//! What must not be found in any file after somebody was forgotten: kept as keyed hashes, so that
//! a search which was cut short can be done again without keeping what it looks for.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

/// Longer things are looked for in pieces of so many bytes.
const WINDOW: usize = 32;

/// Two bytes are found everywhere.
const SHORTEST: usize = 3;

/// Values of so few different bytes, such as a run of zeros, are found everywhere, too.
const LEAST_VARIETY: usize = 3;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// Bits of a hash that choose its place in a [`Sieve`].
const SIEVE_BITS: u32 = 20;

/// A set of byte strings, as hashes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Needles {
    /// Multiplier of the rolling hash (Karp and Rabin 1987, modulo 2^64): odd and random.
    key: u64,
    /// Hashes by the length of what they stand for.
    hashes: BTreeMap<usize, HashSet<u64>>,
    /// Hashes of the words that the person is called by, however short.
    names: HashSet<u64>,
}

/// Hashes that were found, each with the length of what it stands for.
pub(super) type Found = HashSet<(usize, u64)>;

/// A search for [`Needles`], prepared for many places.
pub(super) struct Search<'a> {
    needles: &'a Needles,
    sieved: Vec<(usize, &'a HashSet<u64>, Sieve)>,
}

impl Search<'_> {
    /// Adds to `found` what is in `bytes`.
    pub(super) fn bytes(&self, bytes: &[u8], found: &mut Found) {
        for (length, set, sieve) in &self.sieved {
            self.needles.roll(bytes, *length, |hash| {
                if sieve.may_have(hash) && set.contains(&hash) {
                    found.insert((*length, hash));
                }
            });
        }
    }

    /// What is in all that `reader` gives.
    pub(super) fn read(&self, mut reader: impl Read) -> std::io::Result<Found> {
        let longest = self.sieved.iter().map(|s| s.0).max().unwrap_or(0);
        let mut found = Found::new();
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            // What may be the beginning of something stays.
            buffer.drain(..buffer.len().saturating_sub(longest.saturating_sub(1)));
            match (&mut reader).take(CHUNK as u64).read_to_end(&mut buffer)? {
                0 => return Ok(found),
                _ => self.bytes(&buffer, &mut found),
            }
        }
    }
}

/// Says quickly of most hashes that they are not in a set.
struct Sieve(Vec<u64>);

impl Sieve {
    fn new(hashes: &HashSet<u64>) -> Self {
        let mut bits = vec![0u64; 1 << (SIEVE_BITS - 6)];
        for hash in hashes {
            let place = hash >> (64 - SIEVE_BITS);
            bits[(place >> 6) as usize] |= 1 << (place & 63);
        }
        Self(bits)
    }

    #[inline]
    fn may_have(&self, hash: u64) -> bool {
        let place = hash >> (64 - SIEVE_BITS);
        self.0[(place >> 6) as usize] >> (place & 63) & 1 == 1
    }
}

impl Needles {
    /// An empty set with a key of its own.
    pub(super) fn new() -> Self {
        Self { key: uuid::Uuid::new_v4().as_u64_pair().1 | 1, ..Self::default() }
    }

    /// Adds a value, if it is one that is not found everywhere. Long ones in pieces, so that parts
    /// of them are found as well.
    pub(super) fn add(&mut self, value: &[u8]) {
        if value.len() <= WINDOW {
            return self.add_piece(value);
        }
        let (pieces, _) = value.as_chunks::<WINDOW>();
        pieces.iter().for_each(|piece| self.add_piece(piece));
        self.add_piece(&value[value.len() - WINDOW..]);
    }

    /// Adds a word that the person is called by, in one piece.
    pub(super) fn add_name(&mut self, name: &str) {
        self.names.insert(self.hash(name.as_bytes()));
        self.add_piece(name.as_bytes());
    }

    fn add_piece(&mut self, value: &[u8]) {
        let variety = value.iter().collect::<HashSet<_>>().len();
        if value.len() >= SHORTEST && variety >= LEAST_VARIETY {
            let hash = self.hash(value);
            self.hashes.entry(value.len()).or_default().insert(hash);
        }
    }

    /// Is this what somebody was called by?
    pub(super) fn are_of(&self, name: &str) -> bool {
        self.names.contains(&self.hash(name.as_bytes()))
    }

    /// The factors spread the bytes over the whole hash, also for short values.
    fn hash(&self, value: &[u8]) -> u64 {
        value.iter().fold(0, |hash: u64, byte| self.step(hash, *byte))
    }

    #[inline]
    fn step(&self, hash: u64, byte: u8) -> u64 {
        hash.wrapping_mul(self.key).wrapping_add(spread(byte))
    }

    /// A search for them all.
    pub(super) fn search(&self) -> Search<'_> {
        let sieved = self.hashes.iter().map(|(length, set)| (*length, set, Sieve::new(set)));
        Search { needles: self, sieved: sieved.collect() }
    }

    /// The hashes of all pieces of this length.
    fn roll(&self, bytes: &[u8], length: usize, mut each: impl FnMut(u64)) {
        if bytes.len() < length {
            return;
        }
        let leaving = (0..length).fold(1u64, |power, _| power.wrapping_mul(self.key));
        let mut hash = self.hash(&bytes[..length]);
        each(hash);
        for (old, new) in bytes.iter().zip(&bytes[length..]) {
            hash = self.step(hash, *new).wrapping_sub(spread(*old).wrapping_mul(leaving));
            each(hash);
        }
    }

    pub(super) fn remove(&mut self, found: &Found) {
        for (length, hash) in found {
            if let Some(hashes) = self.hashes.get_mut(length) {
                hashes.remove(hash);
            }
        }
        self.hashes.retain(|_, hashes| !hashes.is_empty());
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.key.to_le_bytes().to_vec();
        for name in &self.names {
            bytes.extend(0u64.to_le_bytes());
            bytes.extend(name.to_le_bytes());
        }
        for (length, hashes) in &self.hashes {
            for hash in hashes {
                bytes.extend((*length as u64).to_le_bytes());
                bytes.extend(hash.to_le_bytes());
            }
        }
        bytes
    }

    /// `None` if the bytes are not those of [`Needles::to_bytes`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let mut numbers = numbers.iter().map(|n| u64::from_le_bytes(*n));
        let mut needles = Self { key: numbers.next()?, ..Self::default() };
        while let Some(length) = numbers.next() {
            if length == 0 {
                needles.names.insert(numbers.next()?);
                continue;
            }
            // Names are the longest: 200 characters.
            let length = usize::try_from(length).ok().filter(|l| (SHORTEST..=4096).contains(l))?;
            needles.hashes.entry(length).or_default().insert(numbers.next()?);
        }
        Some(needles)
    }
}

/// A number for a byte: neighbouring bytes get distant ones (SplitMix64's multiplier).
#[inline]
fn spread(byte: u8) -> u64 {
    (u64::from(byte) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands its bytes over in small pieces.
    struct Slowly<'a>(&'a [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = buffer.len().min(7).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn everything_is_found_wherever_it_lies_and_nothing_else() {
        let mut needles = Needles::new();
        let long: Vec<u8> = (0..150u8).collect();
        needles.add_name("Ada Lovelace");
        needles.add(&long);
        let mut hay = vec![0u8; CHUNK - 5];
        hay.extend("Ada Lovelace".as_bytes());
        hay.extend(vec![7u8; CHUNK]);
        assert_eq!(needles.search().read(&hay[..]).unwrap().len(), 1);
        assert_eq!(needles.search().read(&hay[..CHUNK]).unwrap().len(), 0);
        // Half of the long value has a whole piece in it.
        assert!(!needles.search().read(&long[10..75]).unwrap().is_empty());
        assert_eq!(needles.search().read(Slowly(&long)).unwrap().len(), 5);
        assert!(needles.are_of("Ada Lovelace") && !needles.are_of("Ada Lovelacf"));
    }

    #[test]
    fn what_is_everywhere_is_not_looked_for() {
        let mut needles = Needles::new();
        needles.add(&[0; 100]);
        needles.add_name("Bo");
        needles.add(&[1, 2, 1, 2, 1, 2]);
        assert_eq!(needles.hashes.len(), 0);
        assert!(needles.are_of("Bo"), "though it is not searched for");
    }

    #[test]
    fn needles_survive_being_stored_and_can_be_taken_out() {
        let mut needles = Needles::new();
        needles.add(&(0..100u8).collect::<Vec<_>>());
        needles.add_name("name");
        let again = Needles::from_bytes(&needles.to_bytes()).unwrap();
        assert_eq!(again, needles);
        let found = needles.search().read(&b"a name"[..]).unwrap();
        assert_eq!(found.len(), 1);
        needles.remove(&found);
        assert!(needles.search().read(&b"a name"[..]).unwrap().is_empty());
        assert!(needles.are_of("name"));
        for broken in [&[][..], &[1; 9], &[1; 16], &[255; 24]] {
            assert_eq!(Needles::from_bytes(broken), None);
        }
    }
}
