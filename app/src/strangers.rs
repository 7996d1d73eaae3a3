//! People whom the gallery does not know: which of the tracks without a name show one person.

use std::collections::{BTreeMap, BTreeSet};

use face_core::cluster::{self, Member};

use crate::schema::GroupSummary;
use crate::summary::{Seen, intervals};

/// By what tracks are compared.
#[derive(Debug)]
pub(crate) struct Grouping {
    /// Mean direction of the looks at each track.
    pub(crate) members: BTreeMap<u64, Member>,
    /// Cosine similarity from which two tracks may be one person.
    pub(crate) threshold: f32,
}

/// A track without a name.
#[derive(Debug)]
pub(crate) struct Stranger {
    pub(crate) track_id: u64,
    /// By frames.
    pub(crate) seen: Vec<Seen>,
}

/// The people, those on the most frames first, counted from 1. Two tracks on one frame are two
/// people. A track that nothing is compared of (its face was never embedded, or never clear) is in no
/// group.
pub(crate) fn groups(strangers: &[Stranger], grouping: &Grouping) -> Vec<GroupSummary> {
    let (compared, members): (Vec<&Stranger>, Vec<Member>) = strangers
        .iter()
        .filter_map(|s| Some((s, grouping.members.get(&s.track_id)?.clone())))
        .unzip();
    let apart = |a: usize, b: usize| meet(&compared[a].seen, &compared[b].seen);
    let found = cluster::group(&members, grouping.threshold, apart);
    let mut groups: Vec<GroupSummary> = found
        .into_iter()
        .map(|indices| summary(indices.into_iter().filter_map(|i| compared.get(i).copied())))
        .collect();
    groups.sort_by(|a, b| {
        let first = |group: &GroupSummary| group.intervals_ns.first().copied();
        b.frames.cmp(&a.frames).then_with(|| (first(a), &a.tracks).cmp(&(first(b), &b.tracks)))
    });
    for (number, group) in (1..).zip(&mut groups) {
        group.group = number;
    }
    groups
}

fn summary<'a>(tracks: impl Iterator<Item = &'a Stranger>) -> GroupSummary {
    let mut tracks: Vec<&Stranger> = tracks.collect();
    tracks.sort_by_key(|t| (t.seen.first().map(|s| s.frame), t.track_id));
    let seen = tracks.iter().flat_map(|t| &t.seen).map(|s| (s.frame, s.pts_ns));
    let seen: BTreeSet<(u64, Option<u64>)> = seen.collect();
    GroupSummary {
        group: 0,
        tracks: tracks.iter().map(|t| t.track_id).collect(),
        frames: seen.len() as u64,
        intervals_ns: intervals(seen.into_iter().filter_map(|(_, pts)| pts)),
    }
}

/// Is there a frame on which both were seen?
fn meet(a: &[Seen], b: &[Seen]) -> bool {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        match x.frame.cmp(&y.frame) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => a.next(),
            std::cmp::Ordering::Greater => b.next(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use face_core::embed::Embedding;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn stranger(track_id: u64, frames: std::ops::Range<u64>) -> Stranger {
        let seen = frames.map(|frame| Seen { frame, pts_ns: Some(frame * SECOND) }).collect();
        Stranger { track_id, seen }
    }

    fn grouping(members: &[(u64, f32)]) -> Grouping {
        let member = |(id, degrees): &(u64, f32)| {
            let (sin, cos) = degrees.to_radians().sin_cos();
            (*id, Member { direction: Embedding::new(&[cos, sin]).unwrap(), weight: 1.0 })
        };
        Grouping { members: members.iter().map(member).collect(), threshold: 0.5 }
    }

    #[test]
    fn one_person_seen_five_times_is_one_row() {
        let tracks: Vec<Stranger> = (0..5)
            .map(|i| stranger(i + 1, i * 10..i * 10 + 2))
            .chain([stranger(9, 5..45)])
            .collect();
        let members: Vec<_> = (1..=5).map(|i| (i, i as f32)).chain([(9, 120.0)]).collect();
        let found = groups(&tracks, &grouping(&members));
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].group, found[0].tracks.as_slice(), found[0].frames),
            (1, &[9][..], 40)
        );
        assert_eq!((found[1].group, found[1].tracks.as_slice()), (2, &[1, 2, 3, 4, 5][..]));
        assert_eq!((found[1].frames, found[1].intervals_ns.len()), (10, 5));
        assert_eq!(found[1].intervals_ns[1], [10 * SECOND, 11 * SECOND]);
    }

    #[test]
    fn tracks_on_one_frame_are_two_people() {
        let alike = grouping(&[(1, 0.0), (2, 1.0), (3, 2.0)]);
        let tracks = [stranger(1, 0..10), stranger(2, 9..20), stranger(3, 20..30)];
        let found = groups(&tracks, &alike);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|g| !(g.tracks.contains(&1) && g.tracks.contains(&2))));
    }

    #[test]
    fn tracks_that_cannot_be_compared_are_in_no_group() {
        let found = groups(&[stranger(1, 0..3), stranger(2, 3..6)], &grouping(&[(2, 0.0)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].tracks, [2]);
        assert!(groups(&[], &grouping(&[])).is_empty());
    }

    #[test]
    fn meeting_is_told_from_passing() {
        let at = |frames: &[u64]| -> Vec<Seen> {
            frames.iter().map(|f| Seen { frame: *f, pts_ns: None }).collect()
        };
        assert!(meet(&at(&[1, 3, 9]), &at(&[2, 4, 9])));
        assert!(!meet(&at(&[1, 3, 5]), &at(&[2, 4, 6])));
        assert!(!meet(&[], &at(&[2])));
    }
}
