//! When a face is looked at again, and whose turn it is when there is not enough time for all.

use crate::quality::shot::Shot;

/// A picture is clearly better than another one from this ratio of their qualities on: as much as a
/// face that is half as large again. It bounds the cost, too: from the poorest picture that counts
/// ([`POOREST`]) to a perfect one there are six such steps.
const CLEARLY_BETTER: f32 = 1.5;

/// Poorer pictures tell nothing that is worth a look out of turn.
const POOREST: f32 = 0.1;

/// From one measurement of a crop for its sharpness to the next: a blur of motion lasts longer than
/// a frame.
const PEEK_NS: u64 = 100_000_000;

/// How the looks at a track are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReidPolicy {
    /// At once, then ever more rarely.
    #[default]
    Adaptive,
    /// On every frame.
    Every,
    /// As adaptive until an identity is settled, then never again, unless the face may be
    /// another's, or the gallery changed.
    Once,
}

/// When tracks are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleConfig {
    pub policy: ReidPolicy,
    /// The longest wait between two looks is so many frames, or `max_wait_ns` if that is longer.
    pub max_wait_frames: u32,
    pub max_wait_ns: u64,
}

impl Default for ScheduleConfig {
    /// Adaptive, 30 frames or a second.
    fn default() -> Self {
        Self { policy: ReidPolicy::Adaptive, max_wait_frames: 30, max_wait_ns: 1_000_000_000 }
    }
}

/// A frame and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Number of the frame.
    pub frame: u64,
    pub time_ns: u64,
}

/// Is a face to be looked at on this frame?
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Look {
    No,
    /// It is its turn. Of several faces that with the greatest rank is first.
    Due {
        rank: u64,
    },
    /// Only if the crop turns out to be clearly sharper than the best one so far, so that its
    /// quality ([`Shot::quality`]) is at least this.
    IfClearer {
        quality: f32,
        rank: u64,
    },
}

/// When a track is looked at next, as seen from a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextLook {
    Now,
    /// When so many frames and so much time have passed; 0: that one has.
    After {
        frames: u64,
        ns: u64,
    },
    /// Only when something happens that restarts the schedule.
    Never,
}

/// When one track is looked at: at once, then after 1, 2, 4, 8 … frames up to the longest wait;
/// anew from the start when something happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    last: Option<Moment>,
    /// Frames from the last look to the next.
    wait: u64,
    /// Since when the face waits for its turn.
    due_since_ns: Option<u64>,
    last_peek_ns: Option<u64>,
    /// The best picture that was looked at.
    best: Shot,
}

impl Schedule {
    /// The face is to be looked at on the next frame, and the waits begin anew.
    pub(super) fn restart(&mut self) {
        self.wait = 0;
    }

    /// The last look, which is over, was the first of a new identity.
    pub(super) fn begin_anew(&mut self) {
        self.wait = 1;
    }

    pub(super) fn next(&self, now: Moment, config: &ScheduleConfig, settled: bool) -> NextLook {
        let Some(last) = self.last.filter(|_| self.wait > 0) else { return NextLook::Now };
        match config.policy {
            ReidPolicy::Every => return NextLook::Now,
            ReidPolicy::Once if settled => return NextLook::Never,
            _ => {}
        }
        // A stream that starts again counts its frames anew.
        let Some(passed) = now.frame.checked_sub(last.frame) else { return NextLook::Now };
        let longest = u64::from(config.max_wait_frames);
        let frames = self.wait.min(longest).saturating_sub(passed);
        let capped = self.wait >= longest;
        let ns = if capped {
            config.max_wait_ns.saturating_sub(now.time_ns.saturating_sub(last.time_ns))
        } else {
            0
        };
        if frames == 0 && ns == 0 { NextLook::Now } else { NextLook::After { frames, ns } }
    }

    /// Is it the track's turn? `view` is [`Shot::view`] of the face on this frame.
    pub(super) fn look(
        &mut self,
        now: Moment,
        view: f32,
        config: &ScheduleConfig,
        settled: bool,
    ) -> Look {
        let frozen = settled && config.policy == ReidPolicy::Once;
        let better = (CLEARLY_BETTER * self.best.quality()).max(POOREST);
        if self.last.is_some() && !frozen && view * self.best.clarity >= better {
            // As sharp as the best one, it is clearly better.
            self.restart();
        }
        if self.next(now, config, settled) == NextLook::Now {
            return Look::Due { rank: self.wait_for_turn(now, config) };
        }
        let rested = self
            .last_peek_ns
            .is_none_or(|peek| now.time_ns.saturating_sub(peek) >= PEEK_NS || peek > now.time_ns);
        if frozen || !rested || view < better {
            return Look::No;
        }
        self.last_peek_ns = Some(now.time_ns);
        Look::IfClearer { quality: better, rank: config.max_wait_ns / 2 }
    }

    /// Rank of a face whose turn it is: the longer it waits the greater. One that nobody has looked
    /// at goes before all that wait for less than the longest wait, so that nobody starves.
    fn wait_for_turn(&mut self, now: Moment, config: &ScheduleConfig) -> u64 {
        let since = *self.due_since_ns.get_or_insert(now.time_ns);
        let head_start = if self.last.is_none() { config.max_wait_ns.max(1) } else { 0 };
        now.time_ns.saturating_sub(since).saturating_add(head_start)
    }

    /// The face was looked at in vain: the others have their turn first.
    pub(super) fn tried(&mut self) {
        self.due_since_ns = None;
    }

    /// The face was looked at.
    pub(super) fn looked(&mut self, now: Moment, shot: Shot, config: &ScheduleConfig) {
        if shot.quality() >= (CLEARLY_BETTER * self.best.quality()).max(POOREST) {
            self.wait = 0;
        }
        if shot.quality() >= self.best.quality() {
            self.best = shot;
        }
        let longest = u64::from(config.max_wait_frames).max(1);
        self.wait = self.wait.saturating_mul(2).clamp(1, longest);
        self.last = Some(now);
        self.due_since_ns = None;
    }
}

/// How many faces may still be looked at, where that is limited.
///
/// A bucket that fills at the allowed rate and holds one more than a quarter of a second's worth:
/// over `t` seconds at most `rate · t` and one such bucket full are spent.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    tokens: f64,
    last_ns: Option<u64>,
}

impl Budget {
    /// How many may be looked at now, with `per_second` allowed; 0: as many as there are.
    pub fn available(&mut self, per_second: u32, time_ns: u64) -> usize {
        if per_second == 0 {
            self.last_ns = None;
            return usize::MAX;
        }
        let rate = f64::from(per_second);
        let full = 1.0 + rate / 4.0;
        self.tokens = match self.last_ns {
            // Time that goes back gives nothing.
            Some(last) => {
                let seconds = time_ns.saturating_sub(last) as f64 / 1e9;
                (self.tokens + rate * seconds).min(full)
            }
            None => full,
        };
        self.last_ns = Some(time_ns);
        // What rounding took is not lacking.
        (self.tokens + 1e-6) as usize
    }

    /// So many were looked at.
    pub fn spend(&mut self, count: usize) {
        self.tokens = (self.tokens - count as f64).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_NS: u64 = 40_000_000;

    fn at(frame: u64) -> Moment {
        Moment { frame, time_ns: frame * STEP_NS }
    }

    fn shot(view: f32, clarity: f32) -> Shot {
        Shot { view, clarity }
    }

    /// Frames of `range` on which the face is looked at.
    fn looks(
        schedule: &mut Schedule,
        config: &ScheduleConfig,
        settled: bool,
        range: std::ops::Range<u64>,
    ) -> Vec<u64> {
        let due = |frame: &u64| {
            let due = matches!(schedule.look(at(*frame), 0.5, config, settled), Look::Due { .. });
            if due {
                schedule.looked(at(*frame), shot(0.5, 1.0), config);
            }
            due
        };
        range.filter(due).collect()
    }

    #[test]
    fn t4_looks_come_at_once_and_then_twice_as_late_up_to_the_cap() {
        let config = ScheduleConfig { max_wait_ns: 0, ..Default::default() };
        let found = looks(&mut Schedule::default(), &config, false, 100..240);
        assert_eq!(found, [100, 101, 103, 107, 115, 131, 161, 191, 221]);
        let ten = ScheduleConfig { max_wait_frames: 10, ..config };
        assert_eq!(
            looks(&mut Schedule::default(), &ten, true, 0..46),
            [0, 1, 3, 7, 15, 25, 35, 45]
        );
        // A second is longer than ten frames.
        let second = ScheduleConfig { max_wait_frames: 10, ..Default::default() };
        assert_eq!(looks(&mut Schedule::default(), &second, true, 0..80), [0, 1, 3, 7, 15, 40, 65]);
    }

    #[test]
    fn t4_identity_change_and_restart_begin_the_waits_anew() {
        let config = ScheduleConfig::default();
        let mut schedule = Schedule::default();
        assert_eq!(looks(&mut schedule, &config, false, 0..20), [0, 1, 3, 7, 15]);
        schedule.restart();
        assert_eq!(looks(&mut schedule, &config, false, 20..40), [20, 21, 23, 27, 35]);
        schedule.looked(at(50), shot(0.5, 1.0), &config);
        // The look at frame 50 showed somebody else.
        schedule.begin_anew();
        assert_eq!(looks(&mut schedule, &config, false, 51..70), [51, 53, 57, 65]);
    }

    #[test]
    fn every_looks_at_all_and_once_until_it_is_settled() {
        let every = ScheduleConfig { policy: ReidPolicy::Every, ..Default::default() };
        assert_eq!(looks(&mut Schedule::default(), &every, true, 0..5), [0, 1, 2, 3, 4]);
        let once = ScheduleConfig { policy: ReidPolicy::Once, ..Default::default() };
        let mut schedule = Schedule::default();
        assert_eq!(looks(&mut schedule, &once, false, 0..8), [0, 1, 3, 7]);
        assert_eq!(looks(&mut schedule, &once, true, 8..500), [0; 0]);
        assert_eq!(schedule.next(at(500), &once, true), NextLook::Never);
        assert_eq!(schedule.look(at(500), 1.0, &once, true), Look::No, "not for a better picture");
        schedule.restart();
        assert_eq!(looks(&mut schedule, &once, true, 500..520), [500]);
    }

    #[test]
    fn next_look_counts_down_in_frames_and_time() {
        let config = ScheduleConfig::default();
        let mut schedule = Schedule::default();
        assert_eq!(schedule.next(at(0), &config, false), NextLook::Now);
        looks(&mut schedule, &config, false, 0..16);
        let next = |frame| schedule.next(at(frame), &config, false);
        assert_eq!(next(20), NextLook::After { frames: 11, ns: 0 });
        assert_eq!(next(31), NextLook::Now);
        assert_eq!(next(3), NextLook::Now, "frames are counted anew");
        looks(&mut schedule, &config, false, 31..32);
        let ns = 1_000_000_000 - 5 * STEP_NS;
        assert_eq!(schedule.next(at(36), &config, false), NextLook::After { frames: 25, ns });
    }

    #[test]
    fn clearly_larger_face_is_looked_at_at_once_a_slightly_larger_one_is_not() {
        let config = ScheduleConfig::default();
        let mut schedule = Schedule::default();
        assert_eq!(looks(&mut schedule, &config, true, 0..16), [0, 1, 3, 7, 15]);
        assert_eq!(schedule.look(at(16), 0.74, &config, true), Look::No);
        assert!(matches!(schedule.look(at(16), 0.76, &config, true), Look::Due { .. }));
        schedule.looked(at(16), shot(0.76, 1.0), &config);
        // The waits begin anew.
        assert!(matches!(schedule.look(at(17), 0.76, &config, true), Look::Due { .. }));
    }

    #[test]
    fn of_a_blurred_face_the_sharpness_is_measured_again_now_and_then() {
        let config = ScheduleConfig::default();
        let mut schedule = Schedule::default();
        schedule.look(at(0), 0.8, &config, true);
        schedule.looked(at(0), shot(0.8, 0.25), &config);
        schedule.wait = 30;
        let mut peeks = Vec::new();
        for frame in 1..10 {
            match schedule.look(at(frame), 0.8, &config, true) {
                Look::IfClearer { quality, .. } => {
                    assert!((quality - 0.3).abs() < 1e-6);
                    peeks.push(frame);
                }
                look => assert_eq!(look, Look::No),
            }
        }
        assert_eq!(peeks, [1, 4, 7]);
        schedule.looked(at(10), shot(0.8, 0.5), &config);
        assert!(matches!(schedule.look(at(11), 0.8, &config, true), Look::Due { .. }));
        // A face that is small and sharp cannot get clearer without getting larger.
        let mut sharp = Schedule::default();
        sharp.looked(at(0), shot(0.3, 0.9), &config);
        sharp.wait = 30;
        assert!((1..20).all(|f| sharp.look(at(f), 0.3, &config, true) == Look::No));
    }

    #[test]
    fn new_faces_go_first_and_then_who_waits_longest() {
        let config = ScheduleConfig::default();
        let rank =
            |schedule: &mut Schedule, frame| match schedule.look(at(frame), 0.5, &config, false) {
                Look::Due { rank } => rank,
                look => panic!("{look:?}"),
            };
        let mut old = Schedule::default();
        old.looked(at(0), shot(0.5, 1.0), &config);
        rank(&mut old, 1);
        let mut later = Schedule::default();
        later.looked(at(5), shot(0.5, 1.0), &config);
        let (waiting, second) = (rank(&mut old, 6), rank(&mut later, 6));
        assert!(waiting > second, "{waiting} {second}");
        assert!(rank(&mut Schedule::default(), 6) > waiting);
        // Not for ever: after the longest wait an old face goes before a new one.
        assert!(rank(&mut old, 40) > rank(&mut Schedule::default(), 40));
        // A look in vain sends it to the end of the queue.
        old.tried();
        assert_eq!(rank(&mut old, 41), 0);
    }

    #[test]
    fn budget_is_kept_over_time_and_refilled_evenly() {
        for rate in [1u32, 3, 10, 25, 1000] {
            let mut budget = Budget::default();
            let mut spent = 0;
            for frame in 0..250 {
                let count = budget.available(rate, frame * STEP_NS).min(100);
                budget.spend(count);
                spent += count;
                let seconds = (frame * STEP_NS) as f64 / 1e9;
                let most = f64::from(rate) * seconds + f64::from(rate) / 4.0 + 1.001;
                assert!(spent as f64 <= most, "{rate} {frame} {spent} {most}");
            }
            // Frames that could take no more than 100 waste nothing either.
            assert!(spent as f64 >= 9.9 * f64::from(rate).min(1000.0) - 1.0, "{rate} {spent}");
        }
    }

    #[test]
    fn budget_of_nothing_is_no_limit_and_time_that_goes_back_gives_none() {
        let mut budget = Budget::default();
        assert_eq!(budget.available(0, 0), usize::MAX);
        assert_eq!(budget.available(8, 1_000_000_000), 3);
        budget.spend(3);
        assert_eq!(budget.available(8, 0), 0);
        assert_eq!(budget.available(8, 125_000_000), 1);
    }
}
