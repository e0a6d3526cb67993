//! What a run used: rows of the ledger, forecasts of the grid, settings.
//!
//! Units are in the names: `_j` joules, `_kwh`, `_g` grams of `CO2e`, `_seconds`, `_bytes`.

mod config;
mod forecast;
mod interval;
mod ledger;

pub use config::{BoundConfig, FootprintConfig, MethodConfig, SiteConfig, ViewConfig};
pub use forecast::{FORECAST_SCHEMA, Forecast, ForecastPoint, Signal};
pub use interval::{BadInterval, Interval, Label};
pub use ledger::{
    Amounts, Component, ComponentRow, FactorRow, IntensityRow, LEDGER_SCHEMA, LedgerRow, MachineRow, OVERHEAD,
    SAMPLE_BY_LARGER, SAMPLE_BY_SMALLER, ScorerChoiceRow, TASKS,
};
