//! Ages as people write them: `90d`, `12w`, `36h`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time_span::parse_units;

/// A length of time, written with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct Age {
    /// Seconds.
    pub seconds: u64,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const UNITS: [(char, u64); 4] = [('h', HOUR), ('d', DAY), ('w', 7 * DAY), ('y', 365 * DAY)];

/// An age that could not be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an age: write hours, days, weeks or years, for instance 36h, 90d, 12w, 1y")]
pub struct ParseAgeError(String);

impl Age {
    /// The age in days, if it is a whole number of them and not none.
    pub fn whole_days(self) -> Option<u64> {
        (self.seconds > 0 && self.seconds.is_multiple_of(DAY)).then_some(self.seconds / DAY)
    }
}

impl FromStr for Age {
    type Err = ParseAgeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = parse_units(text, &UNITS);
        parsed.map(|seconds| Self { seconds }).ok_or_else(|| ParseAgeError(text.to_owned()))
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            seconds if seconds.is_multiple_of(DAY) => write!(f, "{}d", seconds / DAY),
            seconds => write!(f, "{}h", seconds / HOUR),
        }
    }
}

impl Serialize for Age {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        for (text, seconds, shown) in [
            ("0h", 0, "0d"),
            ("36h", 129_600, "36h"),
            ("90d", 7_776_000, "90d"),
            ("2w", 1_209_600, "14d"),
            ("1y", 31_536_000, "365d"),
        ] {
            let age: Age = text.parse().unwrap();
            assert_eq!((age, age.to_string().as_str()), (Age { seconds }, shown), "{text}");
        }
        for bad in ["", "d", "90", "-1d", "1.5d", "1m", "99999999999999999999y"] {
            assert!(bad.parse::<Age>().is_err(), "{bad}");
        }
    }

    #[test]
    fn days_are_whole() {
        for (text, days) in [("48h", Some(2)), ("1y", Some(365)), ("36h", None), ("0d", None)] {
            assert_eq!(text.parse::<Age>().unwrap().whole_days(), days, "{text}");
        }
    }
}
