//! A deterministic world of walking faces and an imperfect detector, and the baseline that the
//! tracker is compared with.

use super::{Observation, Tracker, TrackerConfig};
use crate::geometry::BBox;

/// A linear congruential generator (the constants of Knuth's MMIX).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 32) as u32
    }

    /// 0..1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 8) as f32 / (1 << 24) as f32
    }

    /// 0..`n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.next()) * n as u64) >> 32) as usize
    }

    /// −1..1, bell-shaped, standard deviation 1/3.
    pub(crate) fn bell(&mut self) -> f32 {
        (self.unit() + self.unit() + self.unit()) * 2.0 / 3.0 - 1.0
    }
}

pub(crate) struct World {
    pub(crate) people: usize,
    /// Frames per second, and every how many of them the detector looks at.
    pub(crate) fps: u64,
    pub(crate) interval: u64,
    pub(crate) seconds: u64,
    /// Share of visible faces that the detector does not find, 0..1.
    pub(crate) missed: f32,
    /// Mean number of false detections per look.
    pub(crate) clutter: f32,
    /// Fastest faces in box sizes per second.
    pub(crate) speed: f32,
}

/// What a tracker made of a world.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Times that a person's id differed from the last one that person had.
    pub(crate) switches: u32,
    /// Observations of people.
    pub(crate) seen: u32,
    /// Observations of people that were given an id.
    pub(crate) tracked: u32,
    /// Confirmed boxes on clutter.
    pub(crate) false_tracks: u32,
}

const WIDTH: f32 = 1280.0;
const HEIGHT: f32 = 720.0;

struct Person {
    x: f32,
    y: f32,
    vx: f32,
    vy: f32,
    size: f32,
}

impl Person {
    fn bbox(&self) -> BBox {
        BBox::new(self.x - self.size * 0.4, self.y - self.size / 2.0, self.size * 0.8, self.size)
    }

    fn walk(&mut self, dt: f32, random: &mut Random, speed: f32) {
        self.x += self.vx * dt;
        self.y += self.vy * dt;
        // People change their pace a little all the time, and turn at the border.
        let change = self.size * speed * 0.3 * dt.sqrt();
        self.vx += random.bell() * change;
        self.vy += random.bell() * change * 0.2;
        let most = self.size * speed;
        self.vx = self.vx.clamp(-most, most);
        self.vy = self.vy.clamp(-most * 0.2, most * 0.2);
        if !(self.size..WIDTH - self.size).contains(&self.x) {
            self.vx = self.vx.abs() * (WIDTH / 2.0 - self.x).signum();
        }
        if !(self.size..HEIGHT - self.size).contains(&self.y) {
            self.vy = self.vy.abs() * (HEIGHT / 2.0 - self.y).signum();
        }
    }
}

/// Anything that gives each observation of a frame an id and says if that is confirmed.
pub(crate) trait Follows {
    fn look(&mut self, time_ns: u64, observations: &[Observation]) -> Vec<Option<(u64, bool)>>;
    fn skip(&mut self, time_ns: u64);
    /// Ids and boxes that are shown for the last frame: no unconfirmed ones.
    fn shown(&self) -> Vec<(u64, BBox)>;
}

impl Follows for Tracker {
    fn look(&mut self, time_ns: u64, observations: &[Observation]) -> Vec<Option<(u64, bool)>> {
        self.update(time_ns, observations);
        let mut ids = vec![None; observations.len()];
        for b in self.boxes() {
            if let Some(i) = b.observation {
                ids[i] = Some((b.track_id, b.state == super::TrackState::Confirmed));
            }
        }
        ids
    }

    fn skip(&mut self, time_ns: u64) {
        self.predict(time_ns);
    }

    fn shown(&self) -> Vec<(u64, BBox)> {
        let confirmed = self.boxes().iter().filter(|b| b.state != super::TrackState::Tentative);
        confirmed.map(|b| (b.track_id, b.bbox)).collect()
    }
}

/// The baseline: the pair of greatest IoU with the last box first, ids kept for as long as the
/// tracker keeps them.
#[derive(Default)]
pub(crate) struct GreedyIou {
    tracks: Vec<(u64, BBox, u64)>,
    ids: u64,
    now: u64,
}

impl Follows for GreedyIou {
    fn look(&mut self, time_ns: u64, observations: &[Observation]) -> Vec<Option<(u64, bool)>> {
        let config = TrackerConfig::default();
        self.now = time_ns;
        self.tracks.retain(|t| time_ns - t.2 <= config.max_lost_ns);
        let mut pairs = Vec::new();
        for (i, track) in self.tracks.iter().enumerate() {
            for (j, o) in observations.iter().enumerate() {
                let iou = track.1.iou(&o.bbox);
                if iou >= config.match_iou && o.score >= config.high_threshold {
                    pairs.push((iou, i, j));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut used = vec![false; self.tracks.len()];
        let mut ids = vec![None; observations.len()];
        for (_, i, j) in pairs {
            if !used[i] && ids[j].is_none() {
                used[i] = true;
                ids[j] = Some((self.tracks[i].0, true));
                self.tracks[i] = (self.tracks[i].0, observations[j].bbox, time_ns);
            }
        }
        for (j, o) in observations.iter().enumerate() {
            if ids[j].is_none() && o.score >= config.new_threshold {
                self.ids += 1;
                self.tracks.push((self.ids, o.bbox, time_ns));
                ids[j] = Some((self.ids, true));
            }
        }
        ids
    }

    fn skip(&mut self, _time_ns: u64) {}

    fn shown(&self) -> Vec<(u64, BBox)> {
        self.tracks.iter().filter(|t| t.2 == self.now).map(|t| (t.0, t.1)).collect()
    }
}

impl World {
    pub(crate) fn run(&self, seed: u64, follows: &mut impl Follows) -> Outcome {
        let mut random = Random::new(seed);
        let mut people: Vec<Person> = (0..self.people)
            .map(|_| {
                let size = 40.0 + 60.0 * random.unit();
                Person {
                    x: size + random.unit() * (WIDTH - 2.0 * size),
                    y: 300.0 + 150.0 * random.bell(),
                    vx: (random.unit() * 2.0 - 1.0) * size * self.speed,
                    vy: 0.0,
                    size,
                }
            })
            .collect();
        let mut last = vec![None; self.people];
        let mut outcome = Outcome::default();
        for frame in 0..self.fps * self.seconds {
            let time_ns = frame * 1_000_000_000 / self.fps;
            for person in &mut people {
                person.walk(1.0 / self.fps as f32, &mut random, self.speed);
            }
            if frame % self.interval != 0 {
                follows.skip(time_ns);
                continue;
            }
            let (observations, truth) = self.detect(&people, &mut random);
            let ids = follows.look(time_ns, &observations);
            for (id, truth) in ids.into_iter().zip(truth) {
                let Some(person) = truth else {
                    outcome.false_tracks += u32::from(id.is_some_and(|(_, confirmed)| confirmed));
                    continue;
                };
                outcome.seen += 1;
                let Some((id, _)) = id else { continue };
                outcome.tracked += 1;
                let before = last[person].replace(id);
                outcome.switches += u32::from(before.is_some_and(|before| before != id));
            }
        }
        outcome
    }

    /// Observations, and the person that each one is of (`None`: clutter).
    fn detect(
        &self,
        people: &[Person],
        random: &mut Random,
    ) -> (Vec<Observation>, Vec<Option<usize>>) {
        let mut found = Vec::new();
        for (i, person) in people.iter().enumerate() {
            let bbox = person.bbox();
            // The nearer face, which is the larger one, hides the other.
            let hidden = people
                .iter()
                .filter(|other| other.size > person.size)
                .map(|other| other.bbox().iou(&bbox))
                .fold(0.0, f32::max);
            let score = 0.85 + 0.1 * random.bell() - hidden;
            let (dx, dy, grown) = (random.bell(), random.bell(), 1.0 + 0.1 * random.bell());
            if random.unit() < self.missed || hidden > 0.45 {
                continue;
            }
            let bbox = BBox::new(
                bbox.x + 0.1 * person.size * dx,
                bbox.y + 0.1 * person.size * dy,
                bbox.w * grown,
                bbox.h * grown,
            );
            found.push((Observation { bbox, score: score.clamp(0.0, 1.0) }, Some(i)));
        }
        while random.unit() < self.clutter / (1.0 + self.clutter) {
            let (x, y) = (random.unit() * WIDTH, random.unit() * HEIGHT);
            let size = 30.0 + 60.0 * random.unit();
            let bbox = BBox::new(x, y, size * 0.8, size);
            found.push((Observation { bbox, score: 0.3 + 0.5 * random.unit() }, None));
        }
        // The order of a detector's output says nothing.
        for i in (1..found.len()).rev() {
            found.swap(i, random.below(i + 1));
        }
        found.into_iter().unzip()
    }
}

/// Outcomes of the tracker and of the baseline, summed over a few seeds.
fn compare(world: &World) -> (Outcome, Outcome) {
    let mut sums = (Outcome::default(), Outcome::default());
    for seed in 1..=5 {
        let mut tracker = Tracker::new(TrackerConfig::default()).expect("default settings");
        let ours = world.run(seed, &mut tracker);
        let greedy = world.run(seed, &mut GreedyIou::default());
        for (sum, one) in [(&mut sums.0, ours), (&mut sums.1, greedy)] {
            sum.switches += one.switches;
            sum.seen += one.seen;
            sum.tracked += one.tracked;
            sum.false_tracks += one.false_tracks;
        }
    }
    eprintln!("tracker {:?}\ngreedy  {:?}", sums.0, sums.1);
    sums
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    let world = World {
        people: 8,
        fps: 30,
        interval: 2,
        seconds: 10,
        missed: 0.1,
        clutter: 0.5,
        speed: 1.5,
    };
    let run = || {
        let mut tracker = Tracker::new(TrackerConfig::default()).expect("default settings");
        world.run(3, &mut tracker)
    };
    assert_eq!(run(), run());
}

#[test]
fn crowd_at_full_rate_switches_far_less_than_greedy() {
    let (ours, greedy) = compare(&World {
        people: 8,
        fps: 30,
        interval: 1,
        seconds: 30,
        missed: 0.1,
        clutter: 0.3,
        speed: 2.0,
    });
    assert!(ours.switches * 2 < greedy.switches, "{ours:?} {greedy:?}");
    assert!(ours.tracked * 100 > ours.seen * 97, "{ours:?}");
}

#[test]
fn fast_faces_at_three_looks_a_second_switch_far_less_than_greedy() {
    let (ours, greedy) = compare(&World {
        people: 5,
        fps: 12,
        interval: 4,
        seconds: 60,
        missed: 0.05,
        clutter: 0.1,
        speed: 2.0,
    });
    assert!(ours.switches * 2 < greedy.switches, "{ours:?} {greedy:?}");
    assert!(ours.tracked * 100 > ours.seen * 97, "{ours:?}");
}

#[test]
fn a_single_walker_never_changes_id_among_clutter_and_misses() {
    let (ours, _) = compare(&World {
        people: 1,
        fps: 25,
        interval: 2,
        seconds: 60,
        missed: 0.2,
        clutter: 0.3,
        speed: 1.5,
    });
    assert_eq!(ours.switches, 0, "{ours:?}");
}
