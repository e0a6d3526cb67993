//! A figure with its bounds, and how it came about.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// A figure with bounds: `low <= mid <= high`, all finite.
///
/// Intervals add linearly, bound by bound: what makes one component wrong, such as a wrong guess of the machine, makes the others
/// wrong in the same direction, so that adding in quadrature would promise too much. Units are those of whoever names the field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Bounds")]
pub struct Interval {
    low: f64,
    mid: f64,
    high: f64,
}

/// Three numbers that are no interval.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{low}, {mid}, {high} are no bounds: low <= mid <= high must hold, and all be numbers")]
pub struct BadInterval {
    /// Lower bound.
    pub low: f64,
    /// Best guess.
    pub mid: f64,
    /// Upper bound.
    pub high: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    low: f64,
    mid: f64,
    high: f64,
}

impl Interval {
    /// Nothing at all.
    pub const ZERO: Self = Self { low: 0.0, mid: 0.0, high: 0.0 };

    /// A figure with bounds.
    pub fn new(low: f64, mid: f64, high: f64) -> Result<Self, BadInterval> {
        let is_ordered = low <= mid && mid <= high;
        let is_finite = low.is_finite() && high.is_finite();
        if is_ordered && is_finite { Ok(Self { low, mid, high }) } else { Err(BadInterval { low, mid, high }) }
    }

    /// A figure without doubt, or one whose doubt is not known.
    ///
    /// # Panics
    /// In debug builds, if `value` is not finite.
    pub fn exact(value: f64) -> Self {
        debug_assert!(value.is_finite(), "{value} is no figure");
        Self { low: value, mid: value, high: value }
    }

    /// The three numbers in their order, whatever order they come in.
    ///
    /// # Panics
    /// In debug builds, if one is not finite.
    pub fn around(low: f64, mid: f64, high: f64) -> Self {
        debug_assert!(low.is_finite() && mid.is_finite() && high.is_finite(), "{low}, {mid}, {high} are no figures");
        Self { low: low.min(mid), mid, high: high.max(mid) }
    }

    /// Lower bound.
    pub fn low(&self) -> f64 {
        self.low
    }

    /// Best guess.
    pub fn mid(&self) -> f64 {
        self.mid
    }

    /// Upper bound.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// All three times a number; a negative one counts as 0.
    #[must_use]
    pub fn scale(&self, factor: f64) -> Self {
        let factor = if factor > 0.0 { factor } else { 0.0 };
        Self { low: self.low * factor, mid: self.mid * factor, high: self.high * factor }
    }

    /// Product of two figures that are not negative, bound by bound.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        Self { low: self.low * other.low, mid: self.mid * other.mid, high: self.high * other.high }
    }

    /// What is above `other`, bound by bound: a difference of figures whose errors have one cause. Not below 0.
    #[must_use]
    pub fn above(&self, other: &Self) -> Self {
        let low = (self.low - other.low).max(0.0);
        let mid = (self.mid - other.mid).max(0.0);
        let high = (self.high - other.high).max(0.0);
        Self { low: low.min(mid), mid, high: high.max(mid) }
    }
}

impl TryFrom<Bounds> for Interval {
    type Error = BadInterval;

    fn try_from(Bounds { low, mid, high }: Bounds) -> Result<Self, BadInterval> {
        Self::new(low, mid, high)
    }
}

impl Add for Interval {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { low: self.low + other.low, mid: self.mid + other.mid, high: self.high + other.high }
    }
}

impl Sum for Interval {
    fn sum<I: Iterator<Item = Self>>(intervals: I) -> Self {
        intervals.fold(Self::ZERO, Add::add)
    }
}

/// How a figure came about, the most trustworthy first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// A meter said so; what of it is ours may be a share by CPU time.
    Measured,
    /// Our activity is known, and figures for this kind of machine are published.
    Estimated,
    /// A coefficient that is not about this machine.
    Assumed,
    /// Not known. Never the same as 0.
    Absent,
}

impl Label {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Estimated => "estimated",
            Self::Assumed => "assumed",
            Self::Absent => "absent",
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked() {
        assert!(Interval::new(1.0, 2.0, 3.0).is_ok());
        for (low, mid, high) in [(2.0, 1.0, 3.0), (1.0, 3.0, 2.0), (f64::NAN, 1.0, 2.0), (0.0, 1.0, f64::INFINITY)] {
            assert!(Interval::new(low, mid, high).is_err(), "{low} {mid} {high}");
        }
        assert!(serde_json::from_str::<Interval>(r#"{"low": 2, "mid": 1, "high": 3}"#).is_err());
    }

    #[test]
    fn adds_bound_by_bound() {
        let sum = Interval::around(1.0, 2.0, 4.0) + Interval::around(0.5, 1.0, 3.0).scale(2.0);
        assert_eq!(sum, Interval::around(2.0, 4.0, 10.0));
        let product = Interval::around(1.0, 2.0, 3.0).times(&Interval::around(0.5, 1.0, 2.0));
        assert_eq!(product, Interval::around(0.5, 2.0, 6.0));
        let above = Interval::around(1.0, 2.0, 3.0).above(&Interval::around(0.0, 0.5, 2.9));
        assert!(above.low() <= above.mid() && above.mid() <= above.high(), "{above:?}");
    }

    #[test]
    fn the_worst_label_is_the_greatest() {
        assert_eq!([Label::Measured, Label::Absent, Label::Assumed].into_iter().max(), Some(Label::Absent));
    }
}
