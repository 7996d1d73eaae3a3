//! Times of a video in words.

/// Minutes and seconds, with hours where there are any: 1:02.3, 1:00:02.3. Tenths that are not full
/// are not counted.
pub fn clock(ns: u64) -> String {
    let tenths = ns / 100_000_000;
    let (seconds, minutes, hours) = (tenths / 10 % 60, tenths / 600 % 60, tenths / 36_000);
    let tenth = tenths % 10;
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}.{tenth}")
    } else {
        format!("{minutes}:{seconds:02}.{tenth}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_shows_hours_only_when_needed() {
        assert_eq!(clock(0), "0:00.0");
        assert_eq!(clock(62_390_000_000), "1:02.3");
        assert_eq!(clock(3_602_300_000_000), "1:00:02.3");
    }
}
