//! How well boxes with ids follow people whose places are known: MOTA and id switches (CLEAR MOT,
//! Bernardin and Stiefelhagen 2008) and IDF1 (Ristani et al., arXiv:1609.01775).

use std::collections::BTreeMap;

use super::assignment::Assignment;
use crate::geometry::BBox;

/// Least IoU of a box with the person that it is said to follow.
const SAME: f32 = 0.5;

/// The sums over all frames.
#[derive(Debug, Default)]
pub(crate) struct Score {
    /// Boxes of people, boxes of tracks.
    people: u64,
    boxes: u64,
    missed: u64,
    false_boxes: u64,
    pub(crate) switches: u64,
    /// Frames in which this person and this track were in the same place.
    together: BTreeMap<(usize, u64), u64>,
    /// The last id of every person.
    last: BTreeMap<usize, u64>,
}

impl Score {
    /// Takes one frame: the people that can be seen, the places of those who cannot (a box there
    /// is neither right nor wrong), and the boxes with ids.
    pub(crate) fn frame(
        &mut self,
        people: &[(usize, BBox)],
        hidden: &[BBox],
        boxes: &[(u64, BBox)],
    ) {
        let mut kept = vec![None; people.len()];
        for (row, (person, place)) in people.iter().enumerate() {
            for (col, (id, bbox)) in boxes.iter().enumerate() {
                let iou = place.iou(bbox);
                if iou < SAME {
                    continue;
                }
                *self.together.entry((*person, *id)).or_default() += 1;
                // CLEAR MOT: a pair of the last frame that still fits stays.
                if self.last.get(person) == Some(id) {
                    kept[row] = Some(col);
                }
            }
        }
        let mut free = Assignment::default();
        for (row, (_, place)) in people.iter().enumerate().filter(|(row, _)| kept[*row].is_none()) {
            for (col, (_, bbox)) in boxes.iter().enumerate() {
                let iou = place.iou(bbox);
                if iou >= SAME && !kept.contains(&Some(col)) {
                    free.add(row, col, f64::from(1.0 - iou));
                }
            }
        }
        for &(row, col) in free.solve(1.0) {
            kept[row] = Some(col);
        }
        for ((person, _), col) in people.iter().zip(&kept) {
            let Some(col) = *col else {
                self.missed += 1;
                continue;
            };
            let id = boxes[col].0;
            let before = self.last.insert(*person, id);
            self.switches += u64::from(before.is_some_and(|before| before != id));
        }
        let pardoned = |bbox: &BBox| hidden.iter().any(|place| place.iou(bbox) >= SAME);
        let wrong = boxes.iter().enumerate().filter(|(col, _)| !kept.contains(&Some(*col)));
        let wrong = wrong.filter(|(_, (_, bbox))| !pardoned(bbox)).count() as u64;
        self.false_boxes += wrong;
        self.people += people.len() as u64;
        self.boxes += kept.iter().flatten().count() as u64 + wrong;
    }

    /// Starts over with other people and tracks; the sums stay.
    pub(crate) fn next_world(&mut self, worlds: u64) {
        // Ids of all worlds differ from here on.
        let shift = 1_000_000 * worlds;
        let together = std::mem::take(&mut self.together);
        self.together = together
            .into_iter()
            .map(|((person, id), n)| match id < 1_000_000 {
                true => ((person + shift as usize, id + shift), n),
                false => ((person, id), n),
            })
            .collect();
        self.last.clear();
    }

    /// 1 − (missed + false + switches) / people.
    pub(crate) fn mota(&self) -> f64 {
        1.0 - (self.missed + self.false_boxes + self.switches) as f64 / self.people as f64
    }

    /// Twice the boxes that follow the right person over all boxes and people, where each person
    /// has one right id at most, chosen best for the tracks.
    pub(crate) fn idf1(&self) -> f64 {
        let mut ids: Vec<u64> = self.together.keys().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let people: Vec<usize> = self.together.keys().map(|(person, _)| *person).collect();
        let mut one_to_one = Assignment::default();
        for ((person, id), frames) in &self.together {
            let col = ids.partition_point(|i| i < id);
            let row = people.partition_point(|p| p < person);
            one_to_one.add(row, col, -(*frames as f64));
        }
        let right: u64 = one_to_one
            .solve(0.0)
            .iter()
            .map(|&(row, col)| self.together[&(people[row], ids[col])])
            .sum();
        2.0 * right as f64 / (self.people + self.boxes) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32) -> BBox {
        BBox::new(x, 0.0, 10.0, 10.0)
    }

    #[test]
    fn perfect_tracks_score_one() {
        let mut score = Score::default();
        for n in 0..10 {
            let x = n as f32;
            score.frame(&[(0, at(x)), (1, at(x + 50.0))], &[], &[(7, at(x)), (9, at(x + 50.0))]);
        }
        assert_eq!((score.idf1(), score.mota(), score.switches), (1.0, 1.0, 0));
    }

    #[test]
    fn a_switch_half_way_halves_idf1_and_costs_mota_once() {
        let mut score = Score::default();
        for n in 0..10 {
            score.frame(&[(0, at(0.0))], &[], &[(if n < 5 { 1 } else { 2 }, at(0.0))]);
        }
        assert_eq!((score.idf1(), score.mota(), score.switches), (0.5, 0.9, 1));
    }

    #[test]
    fn misses_and_false_boxes_count_and_the_hidden_are_pardoned() {
        let mut score = Score::default();
        for n in 0..10 {
            let boxes = [(1, at(0.0)), (2, at(100.0)), (3, at(200.0))];
            // Not seen half of the time; one box on nothing, one on somebody hidden.
            score.frame(&[(0, at(0.0))], &[at(200.0)], &boxes[n % 2..]);
        }
        assert_eq!((score.missed, score.false_boxes), (5, 10));
        assert_eq!(score.mota(), 1.0 - 15.0 / 10.0);
        assert_eq!(score.idf1(), 2.0 * 5.0 / (10.0 + 15.0));
    }

    #[test]
    fn a_second_box_on_a_person_neither_switches_nor_counts_as_found() {
        let mut score = Score::default();
        score.frame(&[(0, at(0.0))], &[], &[(1, at(1.0))]);
        // The better box has another id; the pair of the frame before stays.
        score.frame(&[(0, at(0.0))], &[], &[(1, at(1.0)), (2, at(0.0))]);
        assert_eq!((score.switches, score.false_boxes, score.missed), (0, 1, 0));
    }
}
