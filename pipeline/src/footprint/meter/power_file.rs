//! Readings of a power meter that somebody else wrote down: a socket, a rack, the management controller.
//!
//! ```text
//! timestamp,watts                     timestamp,joules
//! 2026-11-30T10:00:00Z,182.5          1796032800,5012.0
//! 2026-11-30T10:00:10Z,190.1          1796032810,5893.5
//! ```
//!
//! Watts are readings of power, and are joined by straight lines; joules are a counter that only grows, and starts again at 0.
//! Timestamps are RFC 3339 or seconds since 1970.

use chrono::DateTime;
use tamis_schemas::footprint::Interval;

use crate::{Error, Result};

/// Between readings that are further apart nothing is known.
const MAX_GAP_SECONDS: f64 = 120.0;

/// Readings by time.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerFile {
    kind: Kind,
    /// Seconds since 1970, and the reading.
    readings: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Watts,
    Joules,
}

impl PowerFile {
    /// Reads the text of a file; `location` is for messages.
    ///
    /// # Errors
    /// `Error::Corrupt` with the line that cannot be read, or that is earlier than the one before.
    pub fn parse(text: &str, location: &str) -> Result<Self> {
        let damaged = |message: String| Error::Corrupt {
            location: location.to_owned(),
            format: "a CSV file of power readings",
            message,
        };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let headers = reader.headers().map_err(|error| damaged(error.to_string()))?;
        let kind = match headers.iter().collect::<Vec<_>>()[..] {
            ["timestamp", "watts"] => Kind::Watts,
            ["timestamp", "joules"] => Kind::Joules,
            _ => {
                let found = headers.iter().collect::<Vec<_>>().join(",");
                return Err(damaged(format!(
                    "line 1 is `{found}`; it must be `timestamp,watts` or `timestamp,joules`"
                )));
            }
        };
        let mut readings: Vec<(f64, f64)> = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            let at = timestamp(&record[0]).ok_or_else(|| {
                damaged(format!("line {line}: `{}` is no time, such as 2026-11-30T10:00:00Z", &record[0]))
            })?;
            let value = record[1].parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
            let value =
                value.ok_or_else(|| damaged(format!("line {line}: `{}` is no reading, 0 or more", &record[1])))?;
            if readings.last().is_some_and(|(before, _)| at <= *before) {
                return Err(damaged(format!("line {line} is not later than the line before; sort the file by time")));
            }
            readings.push((at, value));
        }
        Ok(Self { kind, readings })
    }

    /// When its first and its last reading were, seconds since 1970; none without readings.
    pub fn span(&self) -> Option<(f64, f64)> {
        Some((self.readings.first()?.0, self.readings.last()?.0))
    }

    /// Energy from `start` to `end`, seconds since 1970, in joules; and the share of that time that readings cover.
    ///
    /// The lower bound is what was read, the rest is filled in at the mean power. None if readings cover less than half.
    pub fn energy(&self, start: f64, end: f64) -> Option<(Interval, f64)> {
        let (mut joules, mut covered) = (0.0, 0.0);
        for pair in self.readings.windows(2) {
            let ((from, first), (to, second)) = (pair[0], pair[1]);
            let (begin, stop) = (from.max(start), to.min(end));
            if stop <= begin || to - from > MAX_GAP_SECONDS {
                continue;
            }
            match self.kind {
                Kind::Watts => {
                    let at = |moment: f64| first + (second - first) * (moment - from) / (to - from);
                    joules += f64::midpoint(at(begin), at(stop)) * (stop - begin);
                }
                // It was reset in between: what it counted is not known.
                Kind::Joules if second < first => continue,
                Kind::Joules => joules += (second - first) * (stop - begin) / (to - from),
            }
            covered += stop - begin;
        }
        let ratio = covered / (end - start);
        // Of no time at all it is not a number.
        if ratio.is_nan() || ratio < 0.5 {
            return None;
        }
        let mid = joules / ratio;
        Some((Interval::around(joules, mid, mid), ratio.min(1.0)))
    }
}

fn timestamp(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Some(seconds).filter(|seconds| seconds.is_finite());
    }
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.timestamp_millis() as f64 / 1e3)
}
