//! Times for coded pictures: every one gets a time to be shown and one to be decoded, whatever of them
//! the stream has, and the places where it may be cut.

use super::ring::Packet;

/// Pictures that are shown before ones decoded earlier follow these closely: H.264 and H.265 keep
/// at most 16 pictures back. What lies further back, ns, is another time.
const REORDER_LIMIT_NS: i64 = 2_000_000_000;
/// Distance of pictures where nothing tells it, ns: 25 a second.
const DEFAULT_STEP_NS: i64 = 40_000_000;
/// Most pictures that wait for a time, or for the next place to cut.
const MOST_WAITING: usize = 64;

/// A coded picture as it arrives. Times are running time in ns, which may lie before 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming<T> {
    pub pts: Option<i64>,
    pub dts: Option<i64>,
    pub duration: Option<i64>,
    /// Can be decoded without any before it.
    pub key: bool,
    pub bytes: u64,
    pub payload: T,
}

/// What comes out of a [`Sequencer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    Packet(Packet<T>),
    /// The time ran back: what follows has nothing to do with what was before.
    Jump,
}

/// Gives pictures both times.
///
/// A stream without decoding times (RTP has none) gets them from its presentation times: between
/// two places where it may be cut, decoding times are the presentation times in rising order, moved
/// so far back that no picture is shown before it is decoded.
#[derive(Debug)]
pub struct Sequencer<T> {
    /// Since the last place to cut, for streams without decoding times.
    section: Vec<Incoming<T>>,
    /// At the beginning of the stream, before the first picture with a time.
    untimed: Vec<Incoming<T>>,
    /// Do pictures bring decoding times? As the first one did.
    has_dts: Option<bool>,
    last_pts: Option<i64>,
    greatest_pts: Option<i64>,
    last_dts: Option<i64>,
    /// How far decoding times lie before the presentation times in rising order.
    shift: i64,
    step: i64,
}

impl<T> Default for Sequencer<T> {
    fn default() -> Self {
        Self {
            section: Vec::new(),
            untimed: Vec::new(),
            has_dts: None,
            last_pts: None,
            greatest_pts: None,
            last_dts: None,
            shift: 0,
            step: DEFAULT_STEP_NS,
        }
    }
}

impl<T> Sequencer<T> {
    /// The distance of pictures by the frame rate of the stream, ns; for those without a time.
    pub fn set_step(&mut self, step_ns: Option<i64>) {
        self.step = step_ns.filter(|step| *step > 0).unwrap_or(DEFAULT_STEP_NS);
    }

    /// Takes the next picture, in the order of decoding, and gives those that are placed.
    pub fn push(&mut self, incoming: Incoming<T>, out: &mut Vec<Step<T>>) {
        let Some(pts) = self.time(&incoming) else {
            self.untimed.push(incoming);
            if self.untimed.len() >= MOST_WAITING {
                // A stream without any time: it begins at 0.
                self.place_untimed(MOST_WAITING as i64 * self.step, out);
            }
            return;
        };
        if !self.untimed.is_empty() {
            self.place_untimed(pts, out);
        }
        self.place(Incoming { pts: Some(pts), ..incoming }, pts, out);
    }

    /// The stream ends, or another one begins: gives what still waits.
    pub fn finish(&mut self, out: &mut Vec<Step<T>>) {
        if !self.untimed.is_empty() {
            self.place_untimed(self.untimed.len() as i64 * self.step, out);
        }
        self.close_section(out);
        let Self { step, .. } = *self;
        *self = Self { step, ..Self::default() };
    }

    /// Forgets everything: after a flush.
    pub fn clear(&mut self) {
        let Self { step, .. } = *self;
        *self = Self { step, ..Self::default() };
    }

    fn time(&self, incoming: &Incoming<T>) -> Option<i64> {
        let step = incoming.duration.filter(|d| *d > 0).unwrap_or(self.step);
        let next = self.last_pts.map(|last| last.saturating_add(step));
        incoming.pts.or(incoming.dts).or(next)
    }

    /// Pictures that came without a time before one of the time `next` lie before it.
    fn place_untimed(&mut self, next: i64, out: &mut Vec<Step<T>>) {
        let waiting = std::mem::take(&mut self.untimed);
        let steps = |incoming: &Incoming<T>| incoming.duration.filter(|d| *d > 0);
        let length: i64 = waiting.iter().map(|i| steps(i).unwrap_or(self.step)).sum();
        let mut pts = next.saturating_sub(length);
        for incoming in waiting {
            let after = pts.saturating_add(steps(&incoming).unwrap_or(self.step));
            self.place(Incoming { pts: Some(pts), ..incoming }, pts, out);
            pts = after;
        }
    }

    fn place(&mut self, incoming: Incoming<T>, pts: i64, out: &mut Vec<Step<T>>) {
        let back = |last: Option<i64>, time: i64| {
            last.is_some_and(|last| time < last.saturating_sub(REORDER_LIMIT_NS))
        };
        let dts = incoming.dts.filter(|_| self.has_dts != Some(false));
        if back(self.greatest_pts, pts) || dts.is_some_and(|dts| back(self.last_dts, dts)) {
            self.finish(out);
            out.push(Step::Jump);
        }
        let has_dts = *self.has_dts.get_or_insert(incoming.dts.is_some());
        let boundary = self.greatest_pts.is_none_or(|greatest| pts > greatest);
        if !has_dts && (boundary || self.section.len() >= MOST_WAITING) {
            self.close_section(out);
        }
        self.greatest_pts = self.greatest_pts.max(Some(pts));
        self.last_pts = Some(pts);
        if has_dts {
            let dts = incoming.dts.unwrap_or(i64::MIN);
            let packet = self.packet(incoming, pts, dts, boundary);
            out.push(Step::Packet(packet));
        } else {
            self.section.push(incoming);
        }
    }

    /// Gives the pictures since the last place to cut, of a stream without decoding times.
    fn close_section(&mut self, out: &mut Vec<Step<T>>) {
        let section = std::mem::take(&mut self.section);
        let mut rising: Vec<i64> = section.iter().filter_map(|incoming| incoming.pts).collect();
        rising.sort_unstable();
        let late = |(incoming, rising): (&Incoming<T>, &i64)| incoming.pts.map(|pts| rising - pts);
        let needed = section.iter().zip(&rising).filter_map(late).max().unwrap_or(0);
        self.shift = self.shift.max(needed);
        for (i, (incoming, rising)) in section.into_iter().zip(rising).enumerate() {
            let pts = incoming.pts.unwrap_or(rising);
            let packet = self.packet(incoming, pts, rising.saturating_sub(self.shift), i == 0);
            out.push(Step::Packet(packet));
        }
    }

    /// Decoding times rise, and nothing is shown before it is decoded; of the two, the first holds
    /// where both cannot.
    fn packet(&mut self, incoming: Incoming<T>, pts: i64, dts: i64, boundary: bool) -> Packet<T> {
        let least = self.last_dts.map_or(i64::MIN, |last| last.saturating_add(1));
        let earliest = pts.saturating_sub(self.step);
        let dts = if dts == i64::MIN { earliest } else { dts };
        let dts = dts.min(pts).max(least);
        self.last_dts = Some(dts);
        Packet {
            pts,
            dts,
            duration: incoming.duration.unwrap_or(0).max(0),
            key: incoming.key,
            boundary,
            bytes: incoming.bytes,
            payload: incoming.payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn picture(pts: Option<i64>, dts: Option<i64>, key: bool) -> Incoming<u32> {
        let ms = |time: Option<i64>| time.map(|t| t * MS);
        Incoming { pts: ms(pts), dts: ms(dts), duration: None, key, bytes: 1, payload: 0 }
    }

    /// Presentation and decoding time in ms, and whether it may be cut there; `None` for a jump.
    fn run(pictures: Vec<Incoming<u32>>) -> Vec<Option<(i64, i64, bool)>> {
        let mut sequencer = Sequencer::default();
        let mut out = Vec::new();
        for picture in pictures {
            sequencer.push(picture, &mut out);
        }
        sequencer.finish(&mut out);
        let shown = |step: Step<u32>| match step {
            Step::Packet(p) => Some((p.pts / MS, p.dts.div_euclid(MS), p.boundary)),
            Step::Jump => None,
        };
        out.into_iter().map(shown).collect()
    }

    fn times(pts: &[i64]) -> Vec<Incoming<u32>> {
        pts.iter().enumerate().map(|(i, t)| picture(Some(*t), None, i == 0)).collect()
    }

    #[test]
    fn stream_in_order_is_decoded_when_it_is_shown() {
        let out = run(times(&[0, 40, 80]));
        assert_eq!(out, [0, 40, 80].map(|t| Some((t, t, true))));
    }

    #[test]
    fn reordered_stream_gets_decoding_times_that_rise_and_precede() {
        // I0 P3 B1 B2 P6 B4 B5, and a pyramid.
        for shown in [vec![0, 120, 40, 80, 240, 160, 200], vec![0, 320, 160, 80, 40, 120, 240, 200]]
        {
            let out: Vec<_> = run(times(&shown)).into_iter().flatten().collect();
            assert_eq!(out.iter().map(|(pts, ..)| *pts).collect::<Vec<_>>(), shown);
            assert!(out.iter().all(|(pts, dts, _)| dts <= pts), "{out:?}");
            assert!(out.windows(2).all(|w| w[0].1 <= w[1].1), "{out:?}");
            let places: Vec<_> = out.iter().filter(|p| p.2).map(|p| p.0).collect();
            assert!(places == [0, 120, 240] || places == [0, 320], "{places:?}");
        }
    }

    #[test]
    fn given_decoding_times_stay() {
        let given = [(0, -80), (120, -40), (40, 0), (80, 40), (240, 80)];
        let pictures = given.map(|(pts, dts)| picture(Some(pts), Some(dts), pts == 0)).to_vec();
        let out = run(pictures);
        let kept: Vec<_> = out.iter().flatten().map(|p| (p.0, p.1)).collect();
        assert_eq!(kept, given);
        assert_eq!(out.iter().flatten().filter(|p| p.2).count(), 3);
    }

    #[test]
    fn first_pictures_without_a_time_lie_before_the_first_with_one() {
        let mut pictures = times(&[1000, 1040]);
        pictures.insert(0, picture(None, None, true));
        pictures.insert(1, picture(None, None, false));
        let out: Vec<_> = run(pictures).into_iter().flatten().map(|p| p.0).collect();
        assert_eq!(out, [920, 960, 1000, 1040]);
    }

    #[test]
    fn later_pictures_without_a_time_follow_the_one_before() {
        let mut pictures = times(&[1000, 1040, 1200]);
        pictures.insert(2, picture(None, None, false));
        let out: Vec<_> = run(pictures).into_iter().flatten().map(|p| p.0).collect();
        assert_eq!(out, [1000, 1040, 1080, 1200]);
    }

    #[test]
    fn stream_without_any_time_begins_at_zero() {
        let out = run((0..3).map(|i| picture(None, None, i == 0)).collect());
        assert_eq!(out.into_iter().flatten().map(|p| p.0).collect::<Vec<_>>(), [0, 40, 80]);
        let many = run((0..200).map(|i| picture(None, None, i == 0)).collect());
        assert_eq!(many.len(), 200);
    }

    #[test]
    fn time_that_runs_back_is_a_jump_and_forwards_is_not() {
        let out = run(times(&[10_000, 10_040, 0, 40]));
        let jumps: Vec<_> = out.iter().map(Option::is_none).collect();
        assert_eq!(jumps, [false, false, true, false, false]);
        assert!(run(times(&[0, 40, 60_000, 60_040])).iter().all(Option::is_some));
        let by_dts = [(0, 0), (40, 40), (39, -9000)];
        let out = run(by_dts.map(|(p, d)| picture(Some(p), Some(d), true)).to_vec());
        assert_eq!(out.iter().filter(|step| step.is_none()).count(), 1);
    }
}
