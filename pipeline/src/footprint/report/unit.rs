//! Units of work that energy is divided by.

use std::fmt;

use tamis_schemas::footprint::{Amounts, Interval};

use crate::{Error, Result};

/// A unit of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A million documents that came in.
    MillionDocs,
    /// A gigabyte (10^9 bytes) of documents that came in.
    Gigabyte,
    /// A million tokens of documents that stay. A stricter filter raises it, although the total falls: look at both.
    MillionSurvivorTokens,
    /// A label that was bought.
    Label,
}

/// Energy and emissions of a unit of work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerUnit {
    /// The unit.
    pub unit: Unit,
    /// How many of it the run had.
    pub n_units: f64,
    /// kWh for each.
    pub kwh: Interval,
    /// Grams of `CO2e` for each, embodied ones included in the provisioned view.
    pub g: Interval,
}

impl Unit {
    /// All units.
    pub const ALL: [Self; 4] = [Self::MillionDocs, Self::Gigabyte, Self::MillionSurvivorTokens, Self::Label];

    /// As in `--per`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MillionDocs => "mdoc",
            Self::Gigabyte => "gb",
            Self::MillionSurvivorTokens => "survivor-mtoken",
            Self::Label => "label",
        }
    }

    /// The unit of a name.
    ///
    /// # Errors
    /// `Error::Config` for another name.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name).ok_or_else(|| Error::Config {
            message: format!("there is no unit `{name}`"),
            hint: Some("one of mdoc, gb, survivor-mtoken, label".into()),
        })
    }

    /// How many of it a run had, which may be 0; none if that was not counted.
    pub fn counted(self, run: &Amounts) -> Option<f64> {
        Some(match self {
            Self::MillionDocs => run.docs_in? as f64 / 1e6,
            Self::Gigabyte => run.bytes_in? as f64 / 1e9,
            Self::MillionSurvivorTokens => run.tokens_out? as f64 / 1e6,
            Self::Label => run.labels? as f64,
        })
    }

    /// How many of it a run had; none if that was not counted, or if it is 0.
    pub fn count(self, run: &Amounts) -> Option<f64> {
        self.counted(run).filter(|count| *count > 0.0)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::MillionDocs => "million documents",
            Self::Gigabyte => "GB of input",
            Self::MillionSurvivorTokens => "million survivor tokens",
            Self::Label => "label",
        })
    }
}
