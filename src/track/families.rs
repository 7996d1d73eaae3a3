//! Families of drawn scenes that trackers fail in: people who cross, people who go behind
//! something, people whom the detector misses. All have jitter, clutter, entries and exits.

use super::score::Score;
use super::simulation::{Follows, GreedyIou, Random};
use super::{Observation, Tracker, TrackerConfig};
use crate::geometry::BBox;

const WIDTH: f32 = 1280.0;
const HEIGHT: f32 = 720.0;
const FPS: u64 = 30;
const FRAMES: u64 = 20 * FPS;
const SEEDS: u64 = 20;
/// A face is not found when this share of it is covered.
const COVERED: f32 = 0.5;

struct Family {
    /// People in the picture at a time.
    people: usize,
    /// Pixels between the heights that people walk at.
    lane_px: f32,
    /// Share of visible faces that are not found.
    missed: f32,
    /// How often a second a person is not found for `burst_frames` in a row.
    bursts: f32,
    burst_frames: u64,
    /// Left and right edges of the things that hide people.
    pillars: &'static [(f32, f32)],
    /// False detections per frame.
    clutter: f32,
}

const CROSSING: Family = Family {
    people: 6,
    lane_px: 0.0,
    missed: 0.05,
    bursts: 0.0,
    burst_frames: 0,
    pillars: &[],
    clutter: 0.05,
};

const OCCLUSION: Family = Family {
    people: 4,
    lane_px: 140.0,
    missed: 0.05,
    bursts: 0.0,
    burst_frames: 0,
    pillars: &[(300.0, 380.0), (620.0, 720.0), (950.0, 1010.0)],
    clutter: 0.05,
};

const MISSED: Family = Family {
    people: 5,
    lane_px: 60.0,
    missed: 0.3,
    bursts: 0.3,
    burst_frames: 20,
    pillars: &[],
    clutter: 0.05,
};

struct Walker {
    person: usize,
    x: f32,
    y: f32,
    /// Pixels per second.
    speed: f32,
    size: f32,
    /// Not found before this frame.
    unseen_until: u64,
    /// Not in the picture before this frame.
    enters: u64,
}

impl Walker {
    /// Somebody who comes in at the left or right edge, up to three seconds later.
    fn entering(
        person: usize,
        slot: usize,
        frame: u64,
        family: &Family,
        random: &mut Random,
    ) -> Self {
        let size = 60.0 + 40.0 * random.unit();
        let pace = size * (0.8 + 1.2 * random.unit());
        let from_left = random.unit() < 0.5;
        Walker {
            person,
            x: if from_left { 0.0 } else { WIDTH },
            y: 150.0 + family.lane_px * slot as f32 + 0.15 * size * random.bell(),
            speed: if from_left { pace } else { -pace },
            size,
            unseen_until: 0,
            enters: frame + (3.0 * FPS as f32 * random.unit()) as u64,
        }
    }

    /// The part of the face that is in the picture; at least half of it is, for those who are.
    fn bbox(&self) -> BBox {
        let (left, right) = (self.x - self.size * 0.4, self.x + self.size * 0.4);
        let (left, right) = (left.max(0.0), right.min(WIDTH));
        BBox::new(left, self.y - self.size / 2.0, right - left, self.size)
    }

    fn walk(&mut self, random: &mut Random) {
        self.x += self.speed / FPS as f32;
        self.y += 0.01 * self.size * random.bell();
        self.speed += 0.15 * self.size * random.bell() / (FPS as f32).sqrt();
    }

    fn is_out(&self) -> bool {
        !(0.0..=WIDTH).contains(&self.x)
    }
}

/// Is somebody about to enter in this frame where another one walks in or out?
fn doorway_is_taken(walkers: &[Walker], slot: usize, frame: u64) -> bool {
    let entering = &walkers[slot];
    let inside = walkers.iter().enumerate().filter(|(i, w)| *i != slot && w.enters <= frame);
    frame > 0
        && entering.enters == frame
        && inside.map(|(_, w)| w.bbox()).any(|b| b.iou(&entering.bbox()) > 0.0)
}

/// Share of `bbox` that is covered by a pillar or by a nearer, which is a larger, face.
fn covered(
    bbox: &BBox,
    walker: &Walker,
    walkers: &[Walker],
    pillars: &[(f32, f32)],
    frame: u64,
) -> f32 {
    let wide = |left: f32, right: f32| (right.min(bbox.x + bbox.w) - left.max(bbox.x)).max(0.0);
    let pillar = pillars.iter().map(|(l, r)| wide(*l, *r) / bbox.w).sum::<f32>();
    let nearer =
        walkers.iter().filter(|w| w.size > walker.size && frame >= w.enters).map(|other| {
            let b = other.bbox();
            let high = (b.y + b.h).min(bbox.y + bbox.h) - b.y.max(bbox.y);
            wide(b.x, b.x + b.w) * high.max(0.0) / bbox.area()
        });
    pillar.max(nearer.fold(0.0, f32::max))
}

impl Family {
    fn run(&self, seed: u64, follows: &mut impl Follows, score: &mut Score) {
        let mut random = Random::new(seed);
        let mut born = 0;
        let mut entering = |slot: usize, frame: u64, random: &mut Random| {
            born += 1;
            Walker::entering(born - 1, slot, frame, self, random)
        };
        let mut walkers: Vec<Walker> = (0..self.people)
            .map(|slot| {
                let mut walker = entering(slot, 0, &mut random);
                walker.enters = 0;
                // Those of the first frame are all over the picture.
                walker.x = 100.0 + (WIDTH - 200.0) * random.unit();
                walker
            })
            .collect();
        for frame in 0..FRAMES {
            for slot in 0..walkers.len() {
                let doorway = doorway_is_taken(&walkers, slot, frame);
                let walker = &mut walkers[slot];
                if doorway {
                    // Two people do not fit through it at once.
                    walker.enters = frame + 1;
                }
                if frame < walker.enters {
                    continue;
                }
                walker.walk(&mut random);
                if walker.is_out() {
                    *walker = entering(slot, frame, &mut random);
                }
            }
            self.look(frame, &mut walkers, &mut random, follows, score);
        }
    }

    fn look(
        &self,
        frame: u64,
        walkers: &mut [Walker],
        random: &mut Random,
        follows: &mut impl Follows,
        score: &mut Score,
    ) {
        let (mut seen, mut hidden, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..walkers.len() {
            if frame < walkers[i].enters {
                continue;
            }
            let bbox = walkers[i].bbox();
            let covered = covered(&bbox, &walkers[i], walkers, self.pillars, frame);
            if random.unit() < self.bursts / FPS as f32 {
                walkers[i].unseen_until = frame + self.burst_frames;
            }
            let jitter = std::array::from_fn(|_| 0.06 * walkers[i].size * random.bell());
            let confidence = 0.85 + 0.1 * random.bell() - 0.8 * covered;
            let missed = random.unit() < self.missed || frame < walkers[i].unseen_until;
            if covered > COVERED {
                hidden.push(bbox);
                continue;
            }
            seen.push((walkers[i].person, bbox));
            if !missed {
                let [dx, dy, dw, dh]: [f32; 4] = jitter;
                let bbox = BBox::new(bbox.x + dx, bbox.y + dy, bbox.w + dw, bbox.h + dh);
                found.push(Observation { bbox, score: confidence.clamp(0.0, 1.0) });
            }
        }
        if random.unit() < self.clutter {
            let size = 40.0 + 60.0 * random.unit();
            let (x, y) = (random.unit() * WIDTH, random.unit() * HEIGHT);
            let bbox = BBox::new(x, y, 0.8 * size, size);
            found.push(Observation { bbox, score: 0.3 + 0.5 * random.unit() });
        }
        follows.look(frame * 1_000_000_000 / FPS, &found);
        score.frame(&seen, &hidden, &follows.shown());
    }

    /// Scores over all seeds: of the tracker, and of the greedy baseline.
    fn compare(&self) -> (Score, Score) {
        let (mut ours, mut greedy) = (Score::default(), Score::default());
        for seed in 1..=SEEDS {
            let mut tracker = Tracker::new(TrackerConfig::default()).expect("default settings");
            tracker.set_picture_size(WIDTH, HEIGHT);
            self.run(seed, &mut tracker, &mut ours);
            self.run(seed, &mut GreedyIou::default(), &mut greedy);
            ours.next_world(seed);
            greedy.next_world(seed);
        }
        for (name, score) in [("tracker", &ours), ("greedy", &greedy)] {
            let (idf1, mota) = (score.idf1(), score.mota());
            eprintln!("{name}: IDF1 {idf1:.3}, MOTA {mota:.3}, {} switches", score.switches);
        }
        (ours, greedy)
    }

    fn check(&self) {
        let (ours, greedy) = self.compare();
        assert!(ours.idf1() >= 0.9, "IDF1 {}", ours.idf1());
        assert!(ours.mota() >= 0.9, "MOTA {}", ours.mota());
        assert!(greedy.switches >= 10, "too easy: {} switches of greedy", greedy.switches);
        assert!(
            ours.switches * 2 <= greedy.switches,
            "{} switches, {} of greedy",
            ours.switches,
            greedy.switches
        );
    }
}

#[test]
fn crossing_people_keep_their_ids() {
    CROSSING.check();
}

#[test]
fn people_behind_something_keep_their_ids() {
    OCCLUSION.check();
}

#[test]
fn people_whom_the_detector_misses_keep_their_ids() {
    MISSED.check();
}
