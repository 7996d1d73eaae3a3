//! Times and sizes as people write them.

const TIMES: [(&str, f64); 6] =
    [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 60e9), ("h", 3600e9)];
const SIZES: [(&str, f64); 7] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("KiB", 1024.0),
    ("MB", 1e6),
    ("MiB", 1_048_576.0),
    ("GB", 1e9),
    ("GiB", 1_073_741_824.0),
];
/// As a regular expression, for the schema.
pub(super) const TIME_PATTERN: &str = "^[0-9]+(\\.[0-9]+)? ?(ns|us|ms|s|min|h)$";
pub(super) const SIZE_PATTERN: &str = "^[0-9]+(\\.[0-9]+)? ?(B|kB|KiB|MB|MiB|GB|GiB)$";

/// Nanoseconds of "1.5 s", "500 ms", "2 min", "1 h"; a number alone is seconds.
pub(super) fn parse_time(text: &str) -> Option<u64> {
    parse(text, &TIMES, 1e9)
}

/// Bytes of "512 MiB", "10 GB"; a number alone is bytes.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    parse(text, &SIZES, 1.0)
}

fn parse(text: &str, units: &[(&str, f64)], alone: f64) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim_start_matches(' ') {
        "" if unit.is_empty() => alone,
        unit => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    let starts = number.starts_with(|c: char| c.is_ascii_digit());
    let value = number.parse::<f64>().ok().filter(|_| starts && !number.ends_with('.'))? * factor;
    // Beyond this a float has no unit digit any more.
    (value < 9e15).then_some(value.round() as u64)
}

/// The shortest text without a fraction.
pub(super) fn time(ns: u64) -> String {
    let scales = [
        ("h", 3_600_000_000_000),
        ("min", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1000),
    ];
    shown(ns, &scales, "0", "ns")
}

/// The shortest text without a fraction.
pub(super) fn bytes(bytes: u64) -> String {
    let scales = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KiB", 1024),
        ("kB", 1000),
    ];
    shown(bytes, &scales, "0", "B")
}

/// Of a unit of time, in the plural.
pub(super) fn name(unit_ns: u64) -> &'static str {
    match unit_ns {
        1_000_000_000 => "seconds",
        1_000_000 => "milliseconds",
        _ => "nanoseconds",
    }
}

fn shown(value: u64, scales: &[(&str, u64)], none: &str, least: &str) -> String {
    if value == 0 {
        return none.to_owned();
    }
    match scales.iter().find(|(_, scale)| value.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{} {unit}", value / scale),
        None => format!("{value} {least}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_and_shown() {
        for (text, ns) in [
            ("5 s", 5_000_000_000),
            ("500 ms", 500_000_000),
            ("0.1s", 100_000_000),
            ("2 min", 120_000_000_000),
            ("1.5", 1_500_000_000),
            ("0", 0),
            ("1 h", 3_600_000_000_000),
        ] {
            assert_eq!(parse_time(text), Some(ns), "{text}");
            assert_eq!(parse_time(&time(ns)), Some(ns), "{text}");
        }
        for text in [
            "",
            "s",
            "-1 s",
            "5 parsecs",
            "1e3 s",
            ".5 s",
            "5. s",
            "1 s ",
            "5 ",
            "inf",
            "1.2.3 s",
            "9999999 h",
        ] {
            assert_eq!(parse_time(text), None, "{text:?}");
        }
        assert_eq!(parse_bytes("10 GiB"), Some(10 << 30));
        assert_eq!(parse_bytes("100 MB"), Some(100_000_000));
        assert_eq!(parse_bytes("7"), Some(7));
        assert_eq!((time(300_000_000_000), bytes(128 << 20)), ("5 min".into(), "128 MiB".into()));
        assert_eq!(
            (time(0), time(1_500_000_000), bytes(1001)),
            ("0".into(), "1500 ms".into(), "1001 B".into())
        );
    }
}
