//! `facectl gallery rename`, `merge`, `remove`, `remove-sample`, `set-threshold`, `expire` and
//! `clear`.

use std::time::{Duration, SystemTime};

use face_core::clip::utc::Calendar;
use face_core::gallery::Access;
use serde_json::json;

use super::{Common, Consent};
use crate::options::similarity;
use crate::output::{Exit, counted};

/// Give a person another name
#[derive(Debug, clap::Args)]
pub(super) struct RenameArguments {
    #[command(flatten)]
    common: Common,
    /// Name or id
    person: String,
    /// The new name; at most 200 characters, no line breaks, nobody else's
    name: String,
}

/// Make two people one: all samples go to the second, the first is removed
///
/// Name, threshold and expiry are those of the second; attributes of the first are added where the
/// second has none.
#[derive(Debug, clap::Args)]
pub(super) struct MergeArguments {
    #[command(flatten)]
    common: Common,
    /// Name or id of who goes
    from: String,
    /// Name or id of who stays
    into: String,
    #[command(flatten)]
    consent: Consent,
}

/// Remove people with their samples
///
/// Traces may stay in the file; see forget.
#[derive(Debug, clap::Args)]
pub(super) struct RemoveArguments {
    #[command(flatten)]
    common: Common,
    /// Names or ids
    #[arg(required = true, value_name = "PERSON")]
    people: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

/// Remove one sample of a person
#[derive(Debug, clap::Args)]
pub(super) struct RemoveSampleArguments {
    #[command(flatten)]
    common: Common,
    /// Number of the sample, from show
    sample: i64,
    #[command(flatten)]
    consent: Consent,
}

/// Set from which similarity on a face is this person, instead of the general threshold
#[derive(Debug, clap::Args)]
pub(super) struct SetThresholdArguments {
    #[command(flatten)]
    common: Common,
    /// Name or id
    person: String,
    /// Cosine similarity, -1 to 1
    #[arg(value_parser = similarity, allow_negative_numbers = true,
          required_unless_present = "default")]
    threshold: Option<f32>,
    /// Use the general threshold again
    #[arg(long, conflicts_with = "threshold")]
    default: bool,
}

/// Say when a person expires; without a person, remove everybody who has
///
/// Who has expired is not matched any more, and stays in the gallery until removed.
#[derive(Debug, clap::Args)]
pub(super) struct ExpireArguments {
    #[command(flatten)]
    common: Common,
    /// Name or id
    #[arg(requires = "when")]
    person: Option<String>,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, clap::Args)]
#[group(id = "when", multiple = false, requires = "person")]
struct When {
    /// A moment in UTC: 2027-01-31 or 2027-01-31T18:30:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<SystemTime>,
    /// From now on so long: 90m, 12h or 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    after: Option<Duration>,
    /// Not at all
    #[arg(long)]
    never: bool,
}

/// Remove everybody
///
/// Traces may stay in the file; see forget, or delete the file.
#[derive(Debug, clap::Args)]
pub(super) struct ClearArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    consent: Consent,
}

pub(super) fn rename(arguments: &RenameArguments) -> anyhow::Result<Exit> {
    let mut roster = arguments.common.roster(Access::Write)?;
    let person = roster.find(&arguments.person)?;
    roster.rename(&person.id, &arguments.name)?;
    let name = roster.find(&person.id)?.name;
    let record = json!({"person_id": person.id, "name": name, "previous": person.name});
    arguments.common.done(&record, &format!("{} is {name} now", person.name))
}

pub(super) fn merge(arguments: &MergeArguments) -> anyhow::Result<Exit> {
    let mut roster = arguments.common.roster(Access::Write)?;
    let (from, into) = (roster.find(&arguments.from)?, roster.find(&arguments.into)?);
    let question = format!("merge '{}' into '{}' for good", from.name, into.name);
    if !arguments.consent.given(&question)? {
        return Ok(Exit::Negative);
    }
    let merged = roster.merge(&from.id, &into.id)?;
    let record = json!({
        "person_id": into.id, "name": into.name, "merged": from.id,
        "moved": merged.moved, "duplicates": merged.duplicates,
    });
    let moved = counted(merged.moved as u64, "sample", "samples");
    let text = format!("{} has {moved} of {} now, who is gone", into.name, from.name);
    arguments.common.done(&record, &text)
}

pub(super) fn remove(arguments: &RemoveArguments) -> anyhow::Result<Exit> {
    let mut roster = arguments.common.roster(Access::Write)?;
    let found = arguments.people.iter().map(|who| roster.find(who));
    let mut people = found.collect::<Result<Vec<_>, _>>()?;
    people.sort_by(|a, b| a.id.cmp(&b.id));
    people.dedup_by(|a, b| a.id == b.id);
    let names: Vec<_> = people.iter().map(|p| format!("'{}'", p.name)).collect();
    if !arguments.consent.given(&format!("remove {}", names.join(", ")))? {
        return Ok(Exit::Negative);
    }
    for person in &people {
        let samples = roster.remove(&person.id)?;
        let record = json!({"person_id": person.id, "name": person.name, "samples": samples});
        let count = counted(samples as u64, "sample", "samples");
        arguments.common.done(&record, &format!("removed {} with {count}", person.name))?;
    }
    Ok(Exit::Success)
}

pub(super) fn remove_sample(arguments: &RemoveSampleArguments) -> anyhow::Result<Exit> {
    let mut roster = arguments.common.roster(Access::Write)?;
    if !arguments.consent.given(&format!("remove sample {}", arguments.sample))? {
        return Ok(Exit::Negative);
    }
    let person = roster.remove_sample(arguments.sample)?;
    let record = json!({"sample_id": arguments.sample, "person_id": person});
    arguments.common.done(&record, &format!("removed sample {}", arguments.sample))
}

pub(super) fn set_threshold(arguments: &SetThresholdArguments) -> anyhow::Result<Exit> {
    let mut roster = arguments.common.roster(Access::Write)?;
    let person = roster.find(&arguments.person)?;
    roster.set_threshold(&person.id, arguments.threshold)?;
    let record = json!({
        "person_id": person.id, "name": person.name, "threshold": arguments.threshold,
    });
    let threshold = match arguments.threshold {
        Some(threshold) => format!("a threshold of {threshold:.3}"),
        None => "the general threshold".to_owned(),
    };
    arguments.common.done(&record, &format!("{} has {threshold} now", person.name))
}

pub(super) fn expire(arguments: &ExpireArguments) -> anyhow::Result<Exit> {
    let mut roster = arguments.common.roster(Access::Write)?;
    if let Some(who) = &arguments.person {
        let person = roster.find(who)?;
        let after = arguments.when.after.map(|duration| SystemTime::now() + duration);
        roster.set_expiry(&person.id, arguments.when.at.or(after))?;
        let person = roster.find(&person.id)?;
        let record =
            json!({"person_id": person.id, "name": person.name, "expires": person.expires});
        let text = match &person.expires {
            Some(moment) => format!("{} expires at {moment}", person.name),
            None => format!("{} does not expire", person.name),
        };
        return arguments.common.done(&record, &text);
    }
    let expired = roster.expired()?;
    let people = counted(expired.len() as u64, "expired person", "expired people");
    if !expired.is_empty() && !arguments.consent.given(&format!("remove {people}"))? {
        return Ok(Exit::Negative);
    }
    let removed = roster.remove_expired()?;
    let ids: Vec<_> = removed.iter().map(|p| &p.id).collect();
    let people = counted(removed.len() as u64, "expired person", "expired people");
    arguments.common.done(&json!({"removed": ids}), &format!("removed {people}"))
}

pub(super) fn clear(arguments: &ClearArguments) -> anyhow::Result<Exit> {
    let mut roster = arguments.common.roster(Access::Write)?;
    let people = counted(roster.persons()?.len() as u64, "person", "people");
    let question = format!("remove all {people} of '{}'", roster.location());
    if !arguments.consent.given(&question)? {
        return Ok(Exit::Negative);
    }
    let removed = roster.clear()?;
    let text = format!("removed {}", counted(removed as u64, "person", "people"));
    arguments.common.done(&json!({"removed": removed}), &text)
}

/// 90m, 12h or 30d; at most a century.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "a number and m, h or d is needed, such as 30d".to_owned();
    let unit = text.chars().last().ok_or_else(expected)?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| expected())?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(expected()),
    };
    let seconds = number.checked_mul(seconds).filter(|s| *s <= 36_525 * 86_400);
    seconds.map(Duration::from_secs).ok_or_else(|| "more than a century".to_owned())
}

/// `2027-01-31` or `2027-01-31T18:30:00Z`, from 1970 on.
pub(crate) fn moment(text: &str) -> Result<SystemTime, String> {
    let expected = || "a time in UTC is needed, such as 2027-01-31 or 2027-01-31T18:30:00Z";
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z').ok_or_else(expected)?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2]).ok_or_else(expected)?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2]).ok_or_else(expected)?;
    let moment = Calendar { year, month, day, hour, minute, second, millisecond: 0 }.moment();
    moment.ok_or_else(|| format!("there is no such time from 1970 on; {}", expected()))
}

/// Three numbers with so many digits each.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let parts: [&str; 3] = parts.try_into().ok()?;
    let right = |(part, digits): (&&str, usize)| {
        part.len() == digits && part.bytes().all(|b| b.is_ascii_digit())
    };
    if !parts.iter().zip(digits).all(right) {
        return None;
    }
    Some(parts.map(|part| part.parse().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn seconds(text: &str) -> u64 {
        moment(text).unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(seconds("1970-01-01"), 0);
        assert_eq!(seconds("2000-02-29T12:00:01Z"), 951_825_601);
        assert_eq!(seconds("2027-01-31"), 1_801_353_600);
        assert_eq!(seconds("2100-03-01"), 4_107_542_400);
        for bad in [
            "2027-02-29",
            "2100-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-00",
            "1969-12-31",
            "2027-01-31T24:00:00Z",
            "2027-01-31T10:00:00",
            "2027-1-31",
            "+027-01-01",
            "tomorrow",
            "",
        ] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90m").unwrap().as_secs(), 5_400);
        assert_eq!(duration("30d").unwrap().as_secs(), 2_592_000);
        for bad in ["30", "d", "", "-1d", "1y", "9999999999999999999d", "40000d", "1é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
