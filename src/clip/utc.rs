//! Moments in UTC as text: `2026-11-23T04:05:06.789Z`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// A moment by the calendar, from 1970 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub year: u64,
    /// From 1.
    pub month: u64,
    /// From 1.
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
    pub millisecond: u64,
}

impl Calendar {
    /// What was before 1970 becomes its beginning.
    pub fn of(moment: SystemTime) -> Self {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / DAY, since.as_secs() % DAY);
        // Years from March on, so that the leap day is the last one; 719468 days are from the first
        // of March of year 0 to 1970. After Howard Hinnant, chrono-compatible date algorithms.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            millisecond: u64::from(since.subsec_millis()),
        }
    }

    /// `None` for a date or time that does not exist, or is before 1970.
    pub fn moment(&self) -> Option<SystemTime> {
        let Self { year, month, day, hour, minute, second, millisecond } = *self;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let before = lengths.get(..usize::try_from(month).ok()?.checked_sub(1)?)?;
        let length = *lengths.get(before.len())?;
        let exists = (1970..=9999).contains(&year) && (1..=length).contains(&day);
        if !exists || hour > 23 || minute > 59 || second > 59 || millisecond > 999 {
            return None;
        }
        let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
        let days = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
            + before.iter().sum::<u64>()
            + day
            - 1;
        let seconds = days * DAY + (hour * 60 + minute) * 60 + second;
        Some(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millisecond))
    }
}

/// `2026-11-23T04:05:06.789Z`.
pub fn format(moment: SystemTime) -> String {
    let Calendar { year, month, day, hour, minute, second, millisecond } = Calendar::of(moment);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// Reads `2026-11-23`, `2026-11-23T04:05:06Z`, and the latter with a fraction of a second, of which
/// milliseconds are kept.
pub fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millisecond = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Calendar { year, month, day, hour, minute, second, millisecond }.moment()
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
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_825_601, "2000-02-29T12:00:01.000Z"),
            (1_801_353_600, "2027-01-31T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
        ] {
            let moment = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(format(moment), text);
            assert_eq!(parse(text), Some(moment));
        }
        // Every day of 400 years, there and back.
        for day in 0..146_097 {
            let moment = UNIX_EPOCH + Duration::from_secs(day * DAY);
            assert_eq!(Calendar::of(moment).moment(), Some(moment), "{day}");
        }
        let moment = UNIX_EPOCH + Duration::from_millis(1_500);
        for text in ["1970-01-01T00:00:01.5Z", "1970-01-01T00:00:01.500999Z"] {
            assert_eq!(parse(text), Some(moment));
        }
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "tomorrow",
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
            "2027-01-31T10:00:00.Z",
            "2027-01-31T10:00:00.1234567890Z",
            "2027-01-31T10:00:00.5+Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
