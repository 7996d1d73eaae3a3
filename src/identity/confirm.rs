//! When an identity counts as confirmed: after several results that agree.

use std::sync::Arc;

use crate::gallery::Identification;
use crate::identity::Status;

/// How many results must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmConfig {
    /// Agreeing results in a row, the first one included; 0 and 1: the first one is enough.
    pub count: u32,
    /// Time over which all results agreed that confirms as well, ns; 0: only `count` does.
    pub time_ns: u64,
}

impl Default for ConfirmConfig {
    /// Four results; time alone confirms nothing.
    fn default() -> Self {
        Self { count: 4, time_ns: 0 }
    }
}

/// What a result says of a face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the person with this id.
    Person(Arc<str>),
    Unknown,
    Uncertain,
}

impl Verdict {
    /// What `result` says; `None` if it says nothing (an error).
    pub(super) fn of(result: &Identification) -> Option<Verdict> {
        match (result.status, &result.best) {
            (Status::Known, Some(best)) => Some(Verdict::Person(best.person_id.clone())),
            (Status::Unknown, _) => Some(Verdict::Unknown),
            (Status::Uncertain, _) => Some(Verdict::Uncertain),
            _ => None,
        }
    }

    fn is_person(&self) -> bool {
        matches!(self, Verdict::Person(_))
    }

    /// The status of a track of which this is confirmed.
    fn status(&self) -> Status {
        match self {
            Verdict::Person(_) => Status::Known,
            Verdict::Unknown => Status::Unknown,
            Verdict::Uncertain => Status::Uncertain,
        }
    }
}

/// Results in a row that agree.
#[derive(Clone, Debug)]
struct Run {
    verdict: Verdict,
    count: u32,
    since_ns: u64,
}

/// Results for the person whose name the track carries, and those that knew nobody.
#[derive(Clone, Debug)]
struct Tally {
    person: Verdict,
    yes: u32,
    no: u32,
    since_ns: u64,
}

/// How far the identity of a track is confirmed.
///
/// Without a settled verdict the track is `Confirming`, from its first result on.
///
/// A person is settled by enough results if they outnumber those that knew nobody meanwhile: people
/// near the threshold are known on one picture and not on the next, and the face is the same (one
/// that is not is a contradiction, [`Confirmation::broken`]). Such results in a row settle that it
/// is nobody, if they outnumber those for the person. A settled person stays so through all of them
/// (a head that turns away is no other person); only [`Confirmation::reset`] ends that. A settled
/// `Unknown` or `Uncertain` yields to a person at once, who is then to be confirmed, and to the
/// other of the two when that one is confirmed.
#[derive(Clone, Debug, Default)]
pub(super) struct Confirmation {
    settled: Option<Verdict>,
    run: Option<Run>,
    tally: Option<Tally>,
}

impl Confirmation {
    /// The verdict that enough results agree on.
    pub(super) fn settled(&self) -> Option<&Verdict> {
        self.settled.as_ref()
    }

    /// Are there enough results that say the same, and does it say who the face is, or that it is
    /// nobody's of the gallery?
    pub(super) fn is_confirmed(&self) -> bool {
        matches!(self.settled, Some(Verdict::Person(_) | Verdict::Unknown))
    }

    /// Results that agree: on the person if there is one, else those up to the last one.
    pub(super) fn agreeing(&self) -> u32 {
        let run = || self.run.as_ref().map_or(0, |run| run.count);
        self.tally.as_ref().map_or_else(run, |tally| tally.yes)
    }

    /// Identifying, confirming, or what is settled.
    pub(super) fn status(&self) -> Status {
        match (&self.settled, &self.run) {
            (Some(verdict), _) => verdict.status(),
            (None, Some(_)) => Status::Confirming,
            (None, None) => Status::Identifying,
        }
    }

    /// Takes in a result. Returns true if it settled something, or unsettled it.
    pub(super) fn take(&mut self, verdict: Verdict, time_ns: u64, config: &ConfirmConfig) -> bool {
        let same = |run: &Run| run.verdict == verdict && run.count > 0;
        let run = match self.run.take().filter(same) {
            Some(run) => Run { count: run.count.saturating_add(1), ..run },
            None => Run { verdict: verdict.clone(), count: 1, since_ns: time_ns },
        };
        let tally = self.count(&verdict, time_ns);
        let enough = |count: u32, since_ns: u64| {
            let lasted = time_ns.saturating_sub(since_ns);
            count >= config.count || (config.time_ns > 0 && lasted >= config.time_ns)
        };
        let settles = match &tally {
            Some(tally) if verdict.is_person() => {
                tally.yes > tally.no && enough(tally.yes, tally.since_ns)
            }
            Some(tally) => tally.no > tally.yes && enough(run.count, run.since_ns),
            None => enough(run.count, run.since_ns),
        };
        let before = self.settled.clone();
        match &self.settled {
            Some(settled) if settled.is_person() && !verdict.is_person() => {}
            _ if settles => self.settled = Some(verdict),
            Some(settled) if verdict.is_person() && *settled != verdict => self.settled = None,
            _ => {}
        }
        // Whoever the track was taken for is nobody any more.
        let refuted = self.settled.as_ref().is_some_and(|settled| !settled.is_person());
        self.tally = tally.filter(|_| !refuted);
        self.run = Some(run);
        self.settled != before
    }

    /// The tally with this verdict.
    fn count(&mut self, verdict: &Verdict, time_ns: u64) -> Option<Tally> {
        let tally = self.tally.take();
        if !verdict.is_person() {
            return tally.map(|tally| Tally { no: tally.no.saturating_add(1), ..tally });
        }
        let same = tally.filter(|tally| tally.person == *verdict && tally.yes > 0);
        Some(match same {
            Some(tally) => Tally { yes: tally.yes.saturating_add(1), ..tally },
            None => Tally { person: verdict.clone(), yes: 1, no: 0, since_ns: time_ns },
        })
    }

    /// A result contradicted what is known: the agreement starts anew, what is settled stays.
    pub(super) fn broken(&mut self) {
        if let Some(run) = &mut self.run {
            run.count = 0;
        }
        if let Some(tally) = &mut self.tally {
            (tally.yes, tally.no) = (0, 0);
        }
    }

    /// Forgets everything: another face, or the person left the gallery.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(id: &str) -> Verdict {
        Verdict::Person(id.into())
    }

    /// Status after each of the results, which come every 100 ms.
    fn statuses(config: ConfirmConfig, verdicts: &[Verdict]) -> Vec<Status> {
        let mut confirmation = Confirmation::default();
        let take = |(i, verdict): (usize, &Verdict)| {
            confirmation.take(verdict.clone(), i as u64 * 100_000_000, &config);
            confirmation.status()
        };
        verdicts.iter().enumerate().map(take).collect()
    }

    #[test]
    fn t6_fourth_agreeing_result_confirms_and_another_starts_the_count_anew() {
        use Status::{Confirming, Known, Unknown};
        let (ada, bob) = (person("ada"), person("bob"));
        let config = ConfirmConfig::default();
        let four = [ada.clone(), ada.clone(), ada.clone(), ada.clone()];
        assert_eq!(statuses(config, &four), [Confirming, Confirming, Confirming, Known]);
        let mut mixed = vec![ada.clone(); 3];
        mixed.extend(vec![bob; 4]);
        assert_eq!(statuses(config, &mixed)[3..], [Confirming, Confirming, Confirming, Known]);
        // Nobody is an identity, too.
        let nobody = vec![Verdict::Unknown; 4];
        assert_eq!(statuses(config, &nobody), [Confirming, Confirming, Confirming, Unknown]);
        let once = ConfirmConfig { count: 1, ..config };
        assert_eq!(statuses(once, &[ada]), [Known]);
    }

    #[test]
    fn agreement_over_time_confirms_as_well() {
        use Status::{Confirming, Unknown};
        let config = ConfirmConfig { count: 100, time_ns: 200_000_000 };
        let nobody = vec![Verdict::Unknown; 3];
        assert_eq!(statuses(config, &nobody), [Confirming, Confirming, Unknown]);
        let doubtful = [Verdict::Unknown, Verdict::Uncertain, Verdict::Unknown, Verdict::Unknown];
        assert_eq!(
            statuses(config, &doubtful),
            [Confirming; 4],
            "the time counts from the last change"
        );
    }

    #[test]
    fn t6_change_of_identity_takes_the_confirmation_away() {
        let config = ConfirmConfig::default();
        let mut confirmation = Confirmation::default();
        let settles: Vec<bool> =
            (0..5).map(|n| confirmation.take(Verdict::Unknown, n, &config)).collect();
        assert_eq!(settles, [false, false, false, true, false]);
        assert!(confirmation.is_confirmed());
        assert!(confirmation.take(person("ada"), 5, &config));
        assert!(!confirmation.is_confirmed());
        assert_eq!((confirmation.status(), confirmation.agreeing()), (Status::Confirming, 1));
        assert!((6..9).any(|n| confirmation.take(person("ada"), n, &config)));
        assert_eq!(confirmation.status(), Status::Known);
    }

    #[test]
    fn person_near_the_threshold_is_confirmed_by_the_greater_number() {
        use Status::{Confirming, Known, Unknown};
        let (ada, none) = (person("ada"), Verdict::Unknown);
        let config = ConfirmConfig::default();
        let results = |pattern: &str| -> Vec<Verdict> {
            pattern.chars().map(|c| if c == 'a' { ada.clone() } else { none.clone() }).collect()
        };
        let last = |pattern: &str| statuses(config, &results(pattern)).pop().unwrap();
        assert_eq!([last("aa-a"), last("aa-a-a"), last("aaa--a")], [Confirming, Known, Known]);
        // Four, but more that know nobody: they must be outnumbered.
        assert_eq!([last("a--a--a--a"), last("a--a--a--aaaa")], [Confirming, Known]);
        // Four in a row refute a name only if they are more.
        assert_eq!([last("aaa----"), last("a---"), last("a----")], [Unknown, Confirming, Unknown]);
        let six = ConfirmConfig { count: 6, ..config };
        let long = statuses(six, &results("aaaaa-----"));
        assert_eq!(long[9], Confirming);
        assert_eq!(statuses(six, &results("aaaaa------"))[10], Unknown);
    }

    #[test]
    fn settled_person_stays_through_results_that_know_nobody() {
        let config = ConfirmConfig { count: 2, time_ns: 1 };
        let mut confirmation = Confirmation::default();
        for n in 0..2 {
            confirmation.take(person("ada"), n, &config);
        }
        for n in 2..20 {
            let nobody = if n % 7 < 4 { Verdict::Unknown } else { Verdict::Uncertain };
            assert!(!confirmation.take(nobody, n, &config));
            assert_eq!(confirmation.settled(), Some(&person("ada")));
        }
        confirmation.reset();
        assert_eq!(confirmation.status(), Status::Identifying);
    }

    #[test]
    fn doubt_is_settled_but_never_confirmed() {
        let config = ConfirmConfig { count: 2, ..Default::default() };
        let mut confirmation = Confirmation::default();
        for (n, verdict) in [Verdict::Uncertain, Verdict::Uncertain].into_iter().enumerate() {
            confirmation.take(verdict, n as u64, &config);
        }
        assert_eq!(
            (confirmation.status(), confirmation.is_confirmed()),
            (Status::Uncertain, false)
        );
        // One result that knows nobody does not settle that, two do.
        confirmation.take(Verdict::Unknown, 2, &config);
        assert_eq!(confirmation.status(), Status::Uncertain);
        confirmation.take(Verdict::Unknown, 3, &config);
        assert_eq!((confirmation.status(), confirmation.is_confirmed()), (Status::Unknown, true));
    }

    #[test]
    fn contradiction_starts_the_count_and_the_time_anew() {
        let config = ConfirmConfig { count: 4, time_ns: 300 };
        let mut confirmation = Confirmation::default();
        for n in 0..3 {
            confirmation.take(person("ada"), n, &config);
        }
        confirmation.broken();
        assert_eq!((confirmation.agreeing(), confirmation.status()), (0, Status::Confirming));
        confirmation.take(person("ada"), 299, &config);
        confirmation.take(person("ada"), 598, &config);
        assert_eq!((confirmation.agreeing(), confirmation.status()), (2, Status::Confirming));
        confirmation.take(person("ada"), 599, &config);
        assert_eq!(confirmation.status(), Status::Known);
    }
}
