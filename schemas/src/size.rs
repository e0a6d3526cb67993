//! Sizes in bytes as people write them: `64MiB`, `1GiB`, `1.5GB`, `4096`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// A size that could not be understood.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a size; write for instance 512MiB, 1GiB or 2GB")]
pub struct ParseSizeError(String);

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let (number, factor) = UNITS
            .iter()
            .find_map(|&(unit, factor)| {
                let at = trimmed.len().checked_sub(unit.len())?;
                let is_unit = trimmed.is_char_boundary(at) && trimmed[at..].eq_ignore_ascii_case(unit);
                is_unit.then(|| (trimmed[..at].trim_end(), factor))
            })
            .unwrap_or((trimmed, 1));
        let bytes = number.parse::<f64>().ok().map(|value| value * factor as f64);
        match bytes {
            Some(bytes) if (0.0..1e18).contains(&bytes) => Ok(Self(bytes as u64)),
            _ => Err(ParseSizeError(text.to_owned())),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in UNITS[..4].iter().rev() {
            if self.0 != 0 && self.0.is_multiple_of(*factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_units() {
        let check = |text: &str, bytes: u64, shown: &str| {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown), "{text}");
        };
        check("128MiB", 128 << 20, "128MiB");
        check("1.5 GiB", 3 << 29, "1536MiB");
        check("2gb", 2_000_000_000, "1953125KiB");
        check("4097", 4097, "4097B");
        check("0", 0, "0B");
        for bad in ["", "MiB", "12 parsecs", "-1GiB", "1e30", "NaN"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
