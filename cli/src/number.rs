//! Numbers and times for people.

use chrono::DateTime;

/// `1234567` as `1,234,567`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 file`, `1,234 files`.
pub(crate) fn counted(value: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(value), if value == 1 { "" } else { "s" })
}

/// Bytes with a decimal unit: `470.2 MB`.
pub(crate) fn bytes(value: u64) -> String {
    let mut scaled = value as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if scaled < 1000.0 || unit == "TB" {
            return if unit == "B" { format!("{value} B") } else { format!("{scaled:.1} {unit}") };
        }
        scaled /= 1000.0;
    }
    unreachable!("the last unit takes every value")
}

/// A share as a percentage: `29.2 %`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".into() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

/// Seconds since 1970 as `2026-11-29 12:30:00`.
pub(crate) fn utc(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(String::new, |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 12, 123, 1234, 1_234_567].map(count), ["0", "12", "123", "1,234", "1,234,567"]);
        assert_eq!([0, 1, 1234].map(|n| counted(n, "file")), ["0 files", "1 file", "1,234 files"]);
        assert_eq!([0, 999, 1500, 470_200_000].map(bytes), ["0 B", "999 B", "1.5 kB", "470.2 MB"]);
        assert_eq!((percent(1, 3), percent(0, 0)), ("33.3 %".into(), "-".into()));
    }
}
