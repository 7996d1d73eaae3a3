//! Whom an analysis shows: a row for each person, for each group of unknown people and for each
//! other track.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use face_core::gallery::MAX_NAME_CHARS;
use face_core::text::one_line;

use crate::schema::{Analysis, TrackSummary};

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Person,
    Group,
    Track,
}

/// Somebody, and when they were seen.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) who: Who,
    /// On one line, whatever the name is.
    pub(crate) title: String,
    /// By time; those that the analysis lists and has.
    pub(crate) tracks: Vec<&'a TrackSummary>,
    pub(crate) frames: u64,
    pub(crate) stretches: Vec<Stretch>,
}

/// A time during which somebody is seen, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The track that covers most of it.
    pub(crate) track: Option<u64>,
}

/// People first, then groups, each as the analysis has them, then tracks that are neither's, by time.
pub(crate) fn rows(analysis: &Analysis) -> Vec<Row<'_>> {
    let by_id: HashMap<u64, &TrackSummary> =
        analysis.tracks.iter().map(|track| (track.track_id, track)).collect();
    let find = |ids: &[u64]| -> Vec<&TrackSummary> {
        ids.iter().filter_map(|id| by_id.get(id).copied()).collect()
    };
    let mut rows: Vec<Row<'_>> = Vec::new();
    for person in &analysis.people {
        let tracks = find(&person.tracks);
        let stretches = stretches(&person.intervals_ns, &tracks);
        let (who, title, frames) = (Who::Person, name(&person.name), person.frames);
        rows.push(Row { who, title, tracks, frames, stretches });
    }
    for group in &analysis.groups {
        let tracks = find(&group.tracks);
        let stretches = stretches(&group.intervals_ns, &tracks);
        let (who, title) = (Who::Group, format!("unknown {}", group.group));
        rows.push(Row { who, title, tracks, frames: group.frames, stretches });
    }
    let listed: HashSet<u64> =
        rows.iter().flat_map(|row| &row.tracks).map(|track| track.track_id).collect();
    let others = analysis.tracks.iter().filter(|track| !listed.contains(&track.track_id));
    rows.extend(others.map(|track| Row {
        who: Who::Track,
        title: track_title(track),
        tracks: vec![track],
        frames: track.frames,
        stretches: stretches(span(track).as_slice(), &[track]),
    }));
    rows
}

/// The name of a track, or its number.
pub(crate) fn track_title(track: &TrackSummary) -> String {
    match &track.name {
        Some(person) => name(person),
        None => format!("track {}", track.track_id),
    }
}

/// A name as it is shown; one without anything to be seen as such.
pub(crate) fn name(text: &str) -> String {
    let name = one_line(text, MAX_NAME_CHARS);
    if name.is_empty() { "(no name)".to_owned() } else { name }
}

/// First and last time of a track.
pub(crate) fn span(track: &TrackSummary) -> Option<[u64; 2]> {
    let first = track.first_pts_ns?;
    Some([first, track.last_pts_ns.unwrap_or(first).max(first)])
}

fn stretches(intervals: &[[u64; 2]], tracks: &[&TrackSummary]) -> Vec<Stretch> {
    let stretch = |&[from, to]: &[u64; 2]| {
        let to = to.max(from);
        let shared = |track: &TrackSummary| {
            let [first, last] = span(track)?;
            last.min(to).checked_sub(first.max(from))
        };
        let covered = tracks.iter().filter_map(|track| Some((shared(track)?, track.track_id)));
        // Of equal ones the first, which came first.
        let most = covered.rev().max_by_key(|(time, _)| *time);
        let track = most.map(|(_, id)| id).or(tracks.first().map(|track| track.track_id));
        Stretch { from, to, track }
    };
    intervals.iter().map(stretch).collect()
}

/// The picture of a track that shows it best: its best shot, else the crop of its first sample. A
/// track of an analysis without pictures has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shot<'a> {
    /// `image/jpeg` or `image/png`.
    pub(crate) mime: &'static str,
    /// The file, in Base64; nothing but its letters.
    pub(crate) base64: &'a str,
    pub(crate) pts_ns: Option<u64>,
}

impl<'a> Shot<'a> {
    pub(crate) fn of(track: &'a TrackSummary) -> Option<Self> {
        let best = track.best_shot.as_deref();
        let best = best.and_then(|base64| Self::checked(base64, track.best_pts_ns));
        best.or_else(|| {
            let sample = track.samples.first()?;
            Self::checked(&sample.crop, sample.pts_ns)
        })
    }

    /// The first of these tracks with the most frames that has a picture.
    pub(crate) fn of_any(tracks: &[&'a TrackSummary]) -> Option<Self> {
        let shown = tracks.iter().filter_map(|track| Some((track.frames, Self::of(track)?)));
        shown.rev().max_by_key(|(frames, _)| *frames).map(|(_, shot)| shot)
    }

    /// The kind is told from the file's first bytes.
    fn checked(base64: &'a str, pts_ns: Option<u64>) -> Option<Self> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        let mime = match base64.get(..11)? {
            start if start.starts_with("/9j/") => "image/jpeg",
            "iVBORw0KGgo" => "image/png",
            _ => return None,
        };
        base64.bytes().all(letter).then_some(Self { mime, base64, pts_ns })
    }

    /// The bytes of the file; `None` if it is no Base64.
    pub(crate) fn decode(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.base64).ok()
    }
}

/// First letters of the first and the last word of a name, for a face without a picture; `?` for
/// somebody without a name.
pub(crate) fn initials(name: Option<&str>) -> String {
    let name = name.map(|name| one_line(name, MAX_NAME_CHARS)).unwrap_or_default();
    let first = |word: &str| word.chars().find(|c| c.is_alphanumeric());
    let mut letters = name.split(' ').filter_map(first);
    let (start, end) = (letters.next(), letters.next_back());
    let letters: String = start.into_iter().chain(end).flat_map(char::to_uppercase).collect();
    if letters.is_empty() { "?".to_owned() } else { letters }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{analysis, group, person, track};

    #[test]
    fn everybody_has_one_row() {
        let mut analysis = analysis(vec![
            track(1, Some("Ada"), 0, 4),
            track(2, None, 1, 2),
            track(3, None, 5, 6),
            track(4, None, 8, 9),
        ]);
        analysis.people = vec![person("Ada", &[1, 99], &[[0, 4]])];
        analysis.groups = vec![group(1, &[2, 3], &[[1, 2], [5, 6]])];
        let rows = rows(&analysis);
        let titles: Vec<&str> = rows.iter().map(|row| row.title.as_str()).collect();
        assert_eq!(titles, ["Ada", "unknown 1", "track 4"]);
        assert_eq!(rows[0].tracks.len(), 1);
        let second = 1_000_000_000;
        let stretch = |from: u64, to: u64, id| Stretch {
            from: from * second,
            to: to * second,
            track: Some(id),
        };
        assert_eq!(rows[1].stretches, [stretch(1, 2, 2), stretch(5, 6, 3)]);
        assert_eq!(rows[2].stretches, [stretch(8, 9, 4)]);
    }

    #[test]
    fn stretches_lead_to_the_track_that_covers_most() {
        let tracks = [track(1, None, 0, 3), track(2, None, 3, 9)];
        let tracks: Vec<&TrackSummary> = tracks.iter().collect();
        let second = 1_000_000_000;
        let found = stretches(&[[0, 9 * second], [20 * second, 10 * second]], &tracks);
        assert_eq!(found[0].track, Some(2));
        // Turned round, and covered by nobody.
        assert_eq!((found[1].from, found[1].to), (20 * second, 20 * second));
        assert_eq!(found[1].track, Some(1));
    }

    #[test]
    fn only_pictures_are_shown() {
        let mut track = track(1, None, 0, 1);
        assert_eq!(Shot::of(&track), None);
        track.best_shot = Some("\" onerror=\"alert(1)".to_owned());
        assert_eq!(Shot::of(&track), None);
        track.best_shot = Some("/9j/AAAAAAA=\" onerror=x".to_owned());
        assert_eq!(Shot::of(&track), None);
        track.best_shot = Some("PHN2Zz48L3N2Zz4=".to_owned());
        assert_eq!(Shot::of(&track), None);
        track.best_shot = Some("/9j/AAAAAAA=".to_owned());
        assert_eq!(Shot::of(&track).unwrap().mime, "image/jpeg");
    }

    #[test]
    fn initials_are_letters_of_any_script() {
        let some = |name| initials(Some(name));
        assert_eq!(some("Ada King Lovelace"), "AL");
        assert_eq!(some("ольга"), "О");
        assert_eq!(some("王小明"), "王");
        assert_eq!(some("<script> \"x"), "SX");
        assert_eq!(some("👩🏽‍🚀"), "?");
        assert_eq!(initials(None), "?");
    }
}
