//! Ages as people write them: `90d`, `12w`, `36h`.

use std::str::FromStr;

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) seconds: u64,
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const UNITS: [(char, u64); 4] = [('h', 3600), ('d', 86_400), ('w', 7 * 86_400), ('y', 365 * 86_400)];
        let parsed = UNITS.iter().find_map(|(unit, seconds)| {
            text.strip_suffix(*unit).and_then(|number| number.parse::<u64>().ok()?.checked_mul(*seconds))
        });
        parsed
            .map(|seconds| Self { seconds })
            .ok_or_else(|| format!("`{text}` is not an age; write 36h, 90d, 12w or 1y"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        for (text, seconds) in [("0h", 0), ("36h", 129_600), ("90d", 7_776_000), ("2w", 1_209_600), ("1y", 31_536_000)]
        {
            assert_eq!(text.parse(), Ok(Age { seconds }), "{text}");
        }
        for bad in ["", "d", "90", "-1d", "1.5d", "1m", "99999999999999999999y"] {
            assert!(bad.parse::<Age>().is_err(), "{bad}");
        }
    }
}
