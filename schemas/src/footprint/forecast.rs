//! Carbon intensity over time, in the one form that tamis works with.

use serde::{Deserialize, Serialize};

/// What the field `schema` of a forecast says.
pub const FORECAST_SCHEMA: &str = "tamis.forecast/1";

/// Carbon intensity of one zone over time: a forecast, or what came to pass.
///
/// ```json
/// {"schema": "tamis.forecast/1", "zone": "GB", "generated_at": "2026-11-30T00:00:00Z", "signal": "average",
///  "unit": "gCO2eq/kWh", "points": [{"start": "2026-11-30T00:00:00Z", "end": "2026-11-30T00:30:00Z", "value": 121}]}
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// [`FORECAST_SCHEMA`].
    pub schema: String,
    /// Zone, in the words of whoever made it.
    pub zone: String,
    /// When it was made, RFC 3339. Null: not said, and so never stale.
    #[serde(default)]
    pub generated_at: Option<String>,
    /// Average or marginal.
    #[serde(default)]
    pub signal: Signal,
    /// `gCO2e/kWh` or `gCO2eq/kWh`.
    pub unit: String,
    /// By time; none overlaps another.
    pub points: Vec<ForecastPoint>,
}

/// A stretch of time with one intensity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForecastPoint {
    /// Its start, RFC 3339.
    pub start: String,
    /// Its end, RFC 3339.
    pub end: String,
    /// Grams of `CO2e` per kWh.
    pub value: f64,
}

/// What an intensity is a mean of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// All plants that run.
    #[default]
    Average,
    /// The plants that answer to one more kWh.
    Marginal,
}

impl Signal {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::Marginal => "marginal",
        }
    }
}
