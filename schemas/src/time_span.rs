//! Lengths of time as people write them: `90s`, `5m`, `2h`, `1d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number of seconds, written with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct TimeSpan {
    /// How many.
    pub seconds: u64,
}

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
/// A thousand years: sums of times and lengths of time stay far from what numbers hold.
const MAX_SECONDS: u64 = 1000 * 365 * 86_400;

/// A length of time that could not be understood.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a length of time; write for instance 90s, 5m, 2h or 1d")]
pub struct ParseTimeSpanError(String);

impl TimeSpan {
    /// As the standard library counts.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl FromStr for TimeSpan {
    type Err = ParseTimeSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match parse_units(text.trim(), &UNITS) {
            Some(seconds) if seconds <= MAX_SECONDS => Ok(Self { seconds }),
            _ => Err(ParseTimeSpanError(text.to_owned())),
        }
    }
}

/// A whole number with one of these units behind it, times what the unit stands for.
pub(crate) fn parse_units(text: &str, units: &[(char, u64)]) -> Option<u64> {
    units.iter().find_map(|(unit, factor)| text.strip_suffix(*unit)?.parse::<u64>().ok()?.checked_mul(*factor))
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, seconds): &&(char, u64)| self.seconds != 0 && self.seconds.is_multiple_of(*seconds);
        let (unit, seconds) = UNITS.iter().find(fits).unwrap_or(&('s', 1));
        write!(f, "{}{unit}", self.seconds / seconds)
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_units() {
        let check = |text: &str, seconds: u64, shown: &str| {
            let span: TimeSpan = text.parse().unwrap();
            assert_eq!((span.seconds, span.to_string().as_str()), (seconds, shown), "{text}");
        };
        check("90s", 90, "90s");
        check("120s", 120, "2m");
        check("5m", 300, "5m");
        check("24h", 86_400, "1d");
        check("0m", 0, "0s");
        for bad in ["", "5", "m", "-5m", "1.5h", "5 minutes", "99999999999999999999d", "999999d"] {
            assert!(bad.parse::<TimeSpan>().is_err(), "{bad}");
        }
    }
}
