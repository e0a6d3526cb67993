//! Types of CSV columns: the narrowest that shows every value of the whole column as it was written.

use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use serde::{Deserialize, Serialize};

/// Types that all values of a column fit, as bits. A column without values fits all; merging is intersection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source) struct Fits(u8);

impl Fits {
    const NONE: Self = Self(0);
    const INT: Self = Self(1);
    const FLOAT: Self = Self(2);
    const BOOL: Self = Self(4);
    const DATE: Self = Self(8);
    const TIMESTAMP: Self = Self(16);
    const TIMESTAMP_UTC: Self = Self(32);
    /// A column without values.
    pub(in crate::source) const ALL: Self = Self(63);

    /// Adds a value.
    pub(super) fn observe(&mut self, value: &str) {
        if *self != Self::NONE {
            self.merge(Self::of(value));
        }
    }

    /// Adds what was found elsewhere.
    pub(in crate::source) fn merge(&mut self, other: Self) {
        self.0 &= other.0;
    }

    /// The type of the column; text if there was no value.
    pub(in crate::source) fn data_type(self) -> DataType {
        let has = |fits: Self| self.0 & fits.0 != 0;
        if self == Self::ALL {
            DataType::Utf8
        } else if has(Self::INT) {
            DataType::Int64
        } else if has(Self::FLOAT) {
            DataType::Float64
        } else if has(Self::BOOL) {
            DataType::Boolean
        } else if has(Self::DATE) {
            DataType::Date32
        } else if has(Self::TIMESTAMP) {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        } else if has(Self::TIMESTAMP_UTC) {
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
        } else {
            DataType::Utf8
        }
    }

    fn of(value: &str) -> Self {
        let bytes = value.as_bytes();
        match bytes.first() {
            Some(b'0'..=b'9') if bytes.get(4) == Some(&b'-') && bytes[..4].iter().all(u8::is_ascii_digit) => {
                Self::of_time(value)
            }
            Some(b'0'..=b'9' | b'-') => Self::of_number(value),
            Some(b't' | b'T' | b'f' | b'F') => {
                let is_bool = matches!(value, "true" | "True" | "TRUE" | "false" | "False" | "FALSE");
                if is_bool { Self::BOOL } else { Self::NONE }
            }
            _ => Self::NONE,
        }
    }

    /// Numbers as JSON writes them: no leading zeros, no plus. `-0` is no integer. Integers beyond `i64` are text, those
    /// beyond 2^53 are not floats.
    fn of_number(value: &str) -> Self {
        let digits = value.strip_prefix('-').unwrap_or(value);
        let n_digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let n_integer = n_digits(digits);
        if n_integer == 0 || (n_integer > 1 && digits.starts_with('0')) {
            return Self::NONE;
        }
        let rest = &digits[n_integer..];
        if rest.is_empty() {
            return match value.parse::<i64>() {
                Err(_) => Self::NONE,
                Ok(0) if value.starts_with('-') => Self::FLOAT,
                Ok(integer) if integer.unsigned_abs() > 1 << 53 => Self::INT,
                Ok(_) => Self(Self::INT.0 | Self::FLOAT.0),
            };
        }
        let rest = match rest.strip_prefix('.') {
            None => rest,
            Some(fraction) => match n_digits(fraction) {
                0 => return Self::NONE,
                n_fraction => &fraction[n_fraction..],
            },
        };
        let is_end = match rest.strip_prefix(['e', 'E']) {
            None => rest.is_empty(),
            Some(exponent) => {
                let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                !exponent.is_empty() && n_digits(exponent) == exponent.len()
            }
        };
        let is_finite = || value.parse::<f64>().is_ok_and(f64::is_finite);
        if is_end && is_finite() { Self::FLOAT } else { Self::NONE }
    }

    /// ISO 8601: `YYYY-MM-DD`, or that and `T` or a space and `HH:MM:SS`, up to six digits of a second, `Z` for UTC.
    fn of_time(value: &str) -> Self {
        let has_shape = |text: &str, shape: &str| {
            text.len() == shape.len()
                && text.bytes().zip(shape.bytes()).all(|(byte, expected)| match expected {
                    b'0' => byte.is_ascii_digit(),
                    b'T' => byte == b'T' || byte == b' ',
                    other => byte == other,
                })
        };
        if has_shape(value, "0000-00-00") {
            return if Date32Type::parse(value).is_some() { Self::DATE } else { Self::NONE };
        }
        let (local, fits) = match value.strip_suffix('Z') {
            Some(local) => (local, Self::TIMESTAMP_UTC),
            None => (value, Self::TIMESTAMP),
        };
        let Some((seconds, fraction)) = local.split_at_checked(19) else { return Self::NONE };
        let is_fraction = fraction.is_empty()
            || (2..=7).contains(&fraction.len())
                && fraction.starts_with('.')
                && fraction.bytes().skip(1).all(|byte| byte.is_ascii_digit());
        let is_time = has_shape(seconds, "0000-00-00T00:00:00") && is_fraction;
        // A leap second is a valid text and no valid time.
        let is_valid = || !seconds.ends_with(":60") && TimestampMicrosecondType::parse(value).is_some();
        if is_time && is_valid() { fits } else { Self::NONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_columns() {
        let cases: &[(&[&str], &str)] = &[
            (&[], "Utf8"),
            (&["1", "-20", "0"], "Int64"),
            (&["9223372036854775807"], "Int64"),
            (&["9223372036854775808"], "Utf8"),
            (&["01"], "Utf8"),
            (&["+1"], "Utf8"),
            (&["1 "], "Utf8"),
            (&["1", "2.50"], "Float64"),
            (&["9007199254740993", "0.5"], "Utf8"),
            (&["-0", "1"], "Float64"),
            (&["1e5", "1.5E-3"], "Float64"),
            (&["1e999"], "Utf8"),
            (&["1.", "2"], "Utf8"),
            (&["nan"], "Utf8"),
            (&["-"], "Utf8"),
            (&["true", "False"], "Boolean"),
            (&["true", "1"], "Utf8"),
            (&["t"], "Utf8"),
            (&["2020-02-29"], "Date32"),
            (&["2021-02-29"], "Utf8"),
            (&["2020-02-29", "2020-02-29 10:00:00"], "Utf8"),
            (&["2020-02-29T10:00:00", "2020-02-29 10:00:00.123456"], "Timestamp(µs)"),
            (&["2020-02-29T10:00:00.1234567"], "Utf8"),
            (&["2020-02-29T10:00:00Z"], "Timestamp(µs, \"+00:00\")"),
            (&["2020-02-29T10:00:00+02:00"], "Utf8"),
            (&["2020-02-29T25:00:00"], "Utf8"),
            (&["2016-12-31T23:59:60"], "Utf8"),
            (&[""], "Utf8"),
            (&["1", ""], "Utf8"),
        ];
        for (values, expected) in cases {
            let mut fits = Fits::ALL;
            for value in *values {
                fits.observe(value);
            }
            assert_eq!(fits.data_type().to_string(), *expected, "{values:?}");
        }
    }
}
