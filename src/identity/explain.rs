//! Why a track is what it is, in plain words that name the values which were compared.

use std::fmt::Write as _;

use crate::gallery::{Identification, Match};
use crate::identity::{NextLook, Status};

/// What is known of a track, and by which settings.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// 0: the face is on no track.
    pub track_id: u64,
    /// Of the track, whatever a filter or an error did to its last frame.
    pub status: Status,
    /// Who it is taken for.
    pub person: Option<&'a Match>,
    /// The last result.
    pub last: Option<&'a Identification>,
    /// Cosine similarity from which a face is a person.
    pub threshold: f32,
    /// The same for the nearest person of the last result, if they have a threshold of their own.
    pub own_threshold: Option<f32>,
    pub min_margin: f32,
    /// Results that agree, and how many are needed.
    pub agreeing: u32,
    pub needed: u32,
    /// What the results said: a name, or `None` for nobody, and how often.
    pub votes: Vec<(Option<&'a str>, u32)>,
    /// Why the face was not looked at, if it was filtered when it was last seen: the reason in one
    /// word, and in a sentence.
    pub filter: Option<(&'a str, String)>,
    /// Why the last look-up failed, if it did.
    pub error: Option<&'a str>,
    pub next_look: NextLook,
}

/// Sentences about the track, in one line.
pub fn explain(facts: &Facts<'_>) -> String {
    if facts.track_id == 0 {
        return "A face without a track is untracked: it is looked up by itself on every frame that \
                the detector looks at, and nothing is kept of it."
            .to_owned();
    }
    let mut text = opening(facts);
    if let Some(last) = facts.last {
        text.push(' ');
        text.push_str(&result(last, facts));
    }
    if facts.last.is_some() {
        let Facts { agreeing, needed, .. } = facts;
        let _ = write!(text, " Results that agree: {agreeing}, needed: {needed}.");
    }
    if !facts.votes.is_empty() {
        let vote = |(name, count): &(Option<&str>, u32)| {
            format!("{} {count}", name.map_or_else(|| "nobody".to_owned(), quoted))
        };
        let votes: Vec<String> = facts.votes.iter().map(vote).collect();
        let _ = write!(text, " Votes so far: {}.", votes.join(", "));
    }
    let _ = write!(text, " Next look: {}.", next(facts.next_look));
    text
}

/// What is said about a track that there is not.
pub fn no_such_track(track_id: u64) -> String {
    format!("There is no track {track_id} now: it has ended, or never was.")
}

fn opening(facts: &Facts<'_>) -> String {
    let id = facts.track_id;
    let stands = match (facts.status, facts.person) {
        (Status::Untracked | Status::Identifying, _) => "no result yet".to_owned(),
        (Status::Confirming, Some(person)) => format!("perhaps {}", quoted(&person.name)),
        (Status::Confirming, None) => "perhaps nobody of the gallery".to_owned(),
        (Status::Known, person) => person.map_or_else(String::new, |p| quoted(&p.name)),
        (Status::Unknown, _) => "nobody of the gallery".to_owned(),
        (Status::Uncertain, _) => "too near to call".to_owned(),
        (Status::Filtered | Status::Error, _) => "not looked at".to_owned(),
    };
    let status = facts.status.as_str();
    if let Some((reason, words)) = &facts.filter {
        return format!(
            "Track {id} is filtered ({reason}): {words}. What was known of it stays: {status}, \
             {stands}."
        );
    }
    if let Some(error) = facts.error {
        return format!(
            "Track {id} is error: the last look-up failed, which says nothing about who it is \
             ({error}). What was known of it stays: {status}, {stands}."
        );
    }
    format!("Track {id} is {status}: {stands}.")
}

/// The last result, with what was compared.
fn result(last: &Identification, facts: &Facts<'_>) -> String {
    let Some(best) = &last.best else {
        return "The gallery has nobody to compare with.".to_owned();
    };
    let own = facts.own_threshold;
    let threshold = own.unwrap_or(facts.threshold);
    let passes = best.similarity >= threshold;
    let side = if passes { "at least" } else { "below" };
    let whose = if own.is_some() { "their own threshold" } else { "the threshold" };
    let mut text = format!(
        "Last result: {} is nearest with similarity {:.3}, {side} {whose} {threshold:.3}",
        quoted(&best.name),
        best.similarity
    );
    match last.margin {
        Some(margin) => {
            let second = last.top.get(1).map_or_else(String::new, |second| {
                format!(", {} with {:.3}", quoted(&second.name), second.similarity)
            });
            let _ = write!(text, "; {margin:.3} before the second{second}");
            let min = facts.min_margin;
            if min > 0.0 {
                let side = if margin < min { "less than" } else { "at least" };
                let _ = write!(text, ", {side} the margin {min:.3}");
            }
        }
        None => text.push_str("; there is no second person"),
    }
    if last.status == Status::Uncertain && !passes {
        text.push_str("; a person farther away passes");
    }
    text.push('.');
    text
}

fn next(look: NextLook) -> String {
    match look {
        NextLook::Now => "on the next frame that shows the face".to_owned(),
        NextLook::After { frames: 0, ns } => format!("in {}", seconds(ns)),
        NextLook::After { frames: 1, ns: 0 } => "in 1 frame".to_owned(),
        NextLook::After { frames, ns: 0 } => format!("in {frames} frames"),
        NextLook::After { frames, ns } => format!("in {frames} frames and {}", seconds(ns)),
        NextLook::Never => "only if the face may be another's, or the gallery changes".to_owned(),
    }
}

fn seconds(ns: u64) -> String {
    format!("{:.1} s", ns as f64 / 1e9)
}

/// A name from outside stays in its place: on one line, between quotation marks.
fn quoted(name: &str) -> String {
    let clean = |c: char| if c.is_control() || c == '"' { '\u{FFFD}' } else { c };
    format!("\"{}\"", name.chars().map(clean).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str, similarity: f32) -> Match {
        Match { person_id: name.into(), name: name.into(), similarity }
    }

    fn result(status: Status, people: &[(&str, f32)]) -> Identification {
        let top: Vec<Match> = people.iter().map(|(name, s)| person(name, *s)).collect();
        let margin = (top.len() > 1).then(|| top[0].similarity - top[1].similarity);
        Identification { status, best: top.first().cloned(), margin, top }
    }

    fn facts(status: Status) -> Facts<'static> {
        Facts {
            track_id: 7,
            status,
            person: None,
            last: None,
            threshold: 0.36,
            own_threshold: None,
            min_margin: 0.0,
            agreeing: 0,
            needed: 4,
            votes: Vec::new(),
            filter: None,
            error: None,
            next_look: NextLook::Now,
        }
    }

    #[test]
    fn golden_untracked_and_no_such_track() {
        assert_eq!(
            explain(&Facts { track_id: 0, ..facts(Status::Untracked) }),
            "A face without a track is untracked: it is looked up by itself on every frame that the \
             detector looks at, and nothing is kept of it."
        );
        assert_eq!(no_such_track(9), "There is no track 9 now: it has ended, or never was.");
    }

    #[test]
    fn golden_identifying() {
        assert_eq!(
            explain(&facts(Status::Identifying)),
            "Track 7 is identifying: no result yet. Next look: on the next frame that shows the \
             face."
        );
    }

    #[test]
    fn golden_confirming() {
        let ada = person("Ada", 0.712);
        let last = result(Status::Known, &[("Ada", 0.712), ("Bob", 0.253)]);
        let text = explain(&Facts {
            person: Some(&ada),
            last: Some(&last),
            min_margin: 0.05,
            agreeing: 2,
            votes: vec![(None, 1), (Some("Ada"), 2)],
            next_look: NextLook::After { frames: 1, ns: 0 },
            ..facts(Status::Confirming)
        });
        assert_eq!(
            text,
            "Track 7 is confirming: perhaps \"Ada\". Last result: \"Ada\" is nearest with \
             similarity 0.712, at least the threshold 0.360; 0.459 before the second, \"Bob\" with \
             0.253, at least the margin 0.050. Results that agree: 2, needed: 4. Votes so \
             far: nobody 1, \"Ada\" 2. Next look: in 1 frame."
        );
    }

    #[test]
    fn golden_known() {
        let ada = person("Ada", 0.712);
        // She has turned away meanwhile.
        let last = result(Status::Unknown, &[("Ada", 0.3101)]);
        let text = explain(&Facts {
            person: Some(&ada),
            last: Some(&last),
            own_threshold: Some(0.5),
            agreeing: 1,
            votes: vec![(Some("Ada"), 5), (None, 1)],
            next_look: NextLook::After { frames: 12, ns: 400_000_000 },
            ..facts(Status::Known)
        });
        assert_eq!(
            text,
            "Track 7 is known: \"Ada\". Last result: \"Ada\" is nearest with similarity 0.310, below \
             their own threshold 0.500; there is no second person. Results that agree: 1, \
             needed: 4. Votes so far: \"Ada\" 5, nobody 1. Next look: in 12 frames and 0.4 s."
        );
    }

    #[test]
    fn golden_unknown() {
        let last = result(Status::Unknown, &[]);
        let text = explain(&Facts {
            last: Some(&last),
            agreeing: 6,
            votes: vec![(None, 6)],
            next_look: NextLook::After { frames: 0, ns: 150_000_000 },
            ..facts(Status::Unknown)
        });
        assert_eq!(
            text,
            "Track 7 is unknown: nobody of the gallery. The gallery has nobody to compare with. \
             Results that agree: 6, needed: 4. Votes so far: nobody 6. Next look: in 0.1 s."
        );
    }

    #[test]
    fn golden_uncertain() {
        let last = result(Status::Uncertain, &[("Ada", 0.51), ("Bob", 0.495)]);
        let uncertain = Facts {
            last: Some(&last),
            min_margin: 0.05,
            agreeing: 4,
            votes: vec![(None, 4)],
            next_look: NextLook::Never,
            ..facts(Status::Uncertain)
        };
        assert_eq!(
            explain(&uncertain),
            "Track 7 is uncertain: too near to call. Last result: \"Ada\" is nearest with similarity \
             0.510, at least the threshold 0.360; 0.015 before the second, \"Bob\" with 0.495, less \
             than the margin 0.050. Results that agree: 4, needed: 4. Votes so far: nobody \
             4. Next look: only if the face may be another's, or the gallery changes."
        );
        let strict = explain(&Facts { own_threshold: Some(0.6), min_margin: 0.0, ..uncertain });
        assert!(
            strict.contains(
                "below their own threshold 0.600; 0.015 before the second, \"Bob\" with 0.495; a \
                 person farther away passes."
            ),
            "{strict}"
        );
    }

    #[test]
    fn golden_filtered() {
        let ada = person("Ada", 0.712);
        let last = result(Status::Known, &[("Ada", 0.712)]);
        let words = "the face is small: 32 px, at least 50 px are needed".to_owned();
        let text = explain(&Facts {
            person: Some(&ada),
            last: Some(&last),
            agreeing: 4,
            votes: vec![(Some("Ada"), 4)],
            filter: Some(("small-face", words)),
            next_look: NextLook::After { frames: 3, ns: 0 },
            ..facts(Status::Known)
        });
        assert_eq!(
            text,
            "Track 7 is filtered (small-face): the face is small: 32 px, at least 50 px are needed. \
             What was known of it stays: known, \"Ada\". Last result: \"Ada\" is nearest with \
             similarity 0.712, at least the threshold 0.360; there is no second person. Results that \
             agree: 4, needed: 4. Votes so far: \"Ada\" 4. Next look: in 3 frames."
        );
    }

    #[test]
    fn golden_error() {
        let error = "search gallery: the embedding has 3 dimensions, the gallery has 4";
        assert_eq!(
            explain(&Facts { error: Some(error), ..facts(Status::Identifying) }),
            "Track 7 is error: the last look-up failed, which says nothing about who it is (search \
             gallery: the embedding has 3 dimensions, the gallery has 4). What was known of it \
             stays: identifying, no result yet. Next look: on the next frame that shows the face."
        );
    }

    #[test]
    fn name_from_outside_does_not_break_the_line() {
        let evil = person("Ada\"\nTrack 8 is known", 0.9);
        let text = explain(&Facts { person: Some(&evil), ..facts(Status::Known) });
        assert!(!text.contains('\n') && text.contains("\"Ada\u{FFFD}\u{FFFD}Track 8"), "{text}");
    }
}
